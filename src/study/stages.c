/* language model -> activations (train, held out) -> SAEs -> evaluations. Each artifact holds a result.json. */
#include "study/stages.h"

#include <string.h>
#include <time.h>

/* Raise one when the numbers of its stage change; tests/study holds a golden figure of each. */
enum { REV_LM = 2, REV_ACTS = 1, REV_SAE = 3, REV_EVAL = 2 };
enum { N_SPEED_TOKENS = 400 };

typedef struct job { sl_run *r; int64_t seed; sl_trained *t; bool heldout; } job;

sl_status sl_run_corpus(sl_run *r, sl_err *err)
{
    if (r->has_corpus)
        return SL_OK;
    SL_TRY(sl_corpus_new(r->ctx, &r->text, r->plan->lm_tok, NULL, &r->corpus, err));
    r->has_corpus = true;
    return SL_OK;
}

static sl_status save_result(sl_ctx *ctx, const char *dir, json_t *result, sl_err *err)
{
    char path[SL_PATH + 16];
    snprintf(path, sizeof path, "%s/result.json", dir);
    sl_status st = result ? sl_json_save(ctx, path, result, err) : sl_fail(err, SL_MEM, path, NULL, "no memory for the result");
    json_decref(result);
    return st;
}

/* ---- language model ---- */

typedef struct speed { int64_t n; } speed;

static bool count_token(void *user, int32_t id)
{
    (void)id;
    ((speed *)user)->n++;
    return true;
}

static sl_status sampling_speed(sl_lm *lm, double *tokens_per_s, sl_err *err)
{
    struct timespec a, b;
    speed s = { 0 };
    const int32_t prompt = 0;
    sl_lm_sample_config c;
    sl_opts_default(sl_lm_sample_opts, &c);
    c.max_new_tokens = N_SPEED_TOKENS;
    clock_gettime(CLOCK_MONOTONIC, &a);
    SL_TRY(sl_lm_sample(lm, &prompt, 1, &c, count_token, &s, err));
    clock_gettime(CLOCK_MONOTONIC, &b);
    double seconds = (double)(b.tv_sec - a.tv_sec) + 1e-9 * (double)(b.tv_nsec - a.tv_nsec);
    *tokens_per_s = seconds > 0 ? (double)s.n / seconds : 0;
    return SL_OK;
}

static json_t *curve_json(const sl_lm_result *res)
{
    json_t *a = json_array();
    for (int64_t i = 0; i < res->n_curve; i++) {
        const sl_lm_curve *c = &res->curve[i];
        json_array_append_new(a, json_pack("{s:I, s:f, s:f, s:f, s:f}", "iter", (json_int_t)c->iter, "train_loss", c->train_loss,
                                           "val_loss", c->val_loss, "lr", c->lr, "seconds", c->seconds));
    }
    return a;
}

static sl_status run_lm(void *arg, const char *dir, sl_err *err)
{
    job *j = arg;
    sl_run *r = j->r;
    SL_TRY(sl_run_corpus(r, err));
    sl_lm_config c = r->plan->lm_config;
    c.vocab_size = sl_tok_vocab(r->corpus.tok);
    sl_lm_train_config t = r->plan->lm_train;
    t.seed = j->seed;
    sl_lm *lm = NULL;
    sl_lm_result res = { 0 };
    double speed_tokens = 0;
    char model[SL_PATH + 16], checkpoints[SL_PATH + 16];
    snprintf(model, sizeof model, "%s/model", dir);
    snprintf(checkpoints, sizeof checkpoints, "%s/checkpoints", dir);
    sl_status st = SL_OK;
    SL_GO(sl_lm_new(r->ctx, &c, (uint64_t)j->seed, &lm, err));
    SL_GO(sl_lm_train(lm, &r->corpus, &t, dir, &res, err));
    SL_GO(sl_lm_save(lm, r->corpus.tok, model, err));
    SL_GO(sampling_speed(lm, &speed_tokens, err));
    SL_GO(sl_dir_remove(checkpoints, err)); /* the artifact is the model; nothing resumes from here on */
    SL_GO(save_result(r->ctx, dir,
                      json_pack("{s:f, s:f, s:f, s:f, s:I, s:I, s:o}", "final_train_loss", res.final_train_loss, "best_val_loss",
                                res.best_val_loss, "total_train_time", res.total_train_time, "avg_inference_tokens_per_second",
                                speed_tokens, "tokens", (json_int_t)res.tokens, "params", (json_int_t)sl_lm_n_params(lm, true),
                                "curve", curve_json(&res)), err));
done:
    sl_free(r->ctx, res.curve);
    sl_lm_free(lm);
    return st;
}

static sl_status lm_stage(sl_run *r, int64_t seed, sl_artifact *out, sl_err *err)
{
    json_t *plan = sl_plan_json(r->plan);
    json_t *f = json_pack("{s:O, s:O, s:i, s:I}", "lm_config", json_object_get(plan, "lm_config"), "lm_train",
                          json_object_get(plan, "lm_train"), "tokenizer", (int)r->plan->lm_tok, "seed", (json_int_t)seed);
    json_decref(plan);
    job j = { .r = r, .seed = seed };
    sl_stage s = { .name = "lm_train", .revision = REV_LM, .fields = f, .input = { r->text.sha256 }, .run = run_lm, .arg = &j };
    sl_status st = f ? sl_cache_stage(r->cache, &s, out, err) : sl_fail(err, SL_MEM, "lm_train", NULL, "no memory for its fields");
    json_decref(f);
    return st;
}

/* ---- activations ---- */

/* Documents of the training part, or of the held-out part, that no language-model window crossed into. */
static void document_range(const sl_corpus *c, bool heldout, int64_t *first, int64_t *end)
{
    int64_t split = 0;
    while (split < c->n_docs && c->doc[split + 1] <= c->train_end)
        split++;
    int64_t held = split;
    while (held < c->n_docs && c->doc[held] < c->train_end) /* the document across the border belongs to neither */
        held++;
    *first = heldout ? held : 0;
    *end = heldout ? c->n_docs : split;
}

static sl_status load_lm(sl_run *r, sl_lm **lm, sl_err *err)
{
    char model[SL_PATH + 16];
    snprintf(model, sizeof model, "%s/model", r->lm[0].dir);
    return sl_lm_load(r->ctx, model, lm, NULL, err);
}

static sl_status run_acts(void *arg, const char *dir, sl_err *err)
{
    job *j = arg;
    sl_run *r = j->r;
    SL_TRY(sl_run_corpus(r, err));
    int64_t first, end;
    document_range(&r->corpus, j->heldout, &first, &end);
    sl_lm *lm = NULL;
    char store[SL_PATH + 16];
    snprintf(store, sizeof store, "%s/store", dir);
    SL_TRY(load_lm(r, &lm, err));
    sl_capture_config cc = { .n_tokens = j->heldout ? r->plan->acts.eval_tokens : r->plan->acts.train_tokens, .drop_first = true,
                             .store = { .dtype = SL_F32, .shuffle = !j->heldout, .seed = 0 } };
    sl_status st = sl_lm_capture(lm, r->lm[0].key, &r->corpus, first, end, r->plan->acts.hook, &cc, store, err);
    sl_lm_free(lm);
    return st;
}

static sl_status acts_stage(sl_run *r, bool heldout, sl_artifact *out, sl_err *err)
{
    int64_t tokens = heldout ? r->plan->acts.eval_tokens : r->plan->acts.train_tokens;
    json_t *f = json_pack("{s:s, s:I, s:b}", "hook", r->plan->acts.hook, "tokens", (json_int_t)tokens, "heldout", heldout);
    job j = { .r = r, .heldout = heldout };
    sl_stage s = { .name = "acts_capture", .revision = REV_ACTS, .fields = f, .input = { r->lm[0].key }, .run = run_acts, .arg = &j };
    sl_status st = f ? sl_cache_stage(r->cache, &s, out, err) : sl_fail(err, SL_MEM, "acts_capture", NULL, "no memory for its fields");
    json_decref(f);
    return st;
}

/* ---- sparse autoencoders ---- */

static sl_status open_acts(sl_run *r, const sl_artifact *a, sl_act_source **out, sl_err *err)
{
    char store[SL_PATH + 16];
    snprintf(store, sizeof store, "%s/store", a->dir);
    return sl_acts_open(r->ctx, store, false, out, err);
}

static json_t *sae_curve(const sl_sae_result *res)
{
    json_t *a = json_array();
    for (int64_t i = 0; i < res->n_curve; i++) {
        const sl_sae_step *c = &res->curve[i];
        json_array_append_new(a, json_pack("{s:I, s:I, s:f, s:f, s:f, s:f}", "step", (json_int_t)c->step, "samples",
                                           (json_int_t)c->samples, "loss", c->loss, "fvu", c->fvu, "l0", c->l0, "dead", c->dead));
    }
    return a;
}

static sl_status run_sae(void *arg, const char *dir, sl_err *err)
{
    job *j = arg;
    sl_run *r = j->r;
    sl_sae_train_config t = j->t->arm->train;
    t.seed = j->seed;
    sl_act_source *acts = NULL;
    sl_sae *sae = NULL;
    sl_sae_result res = { 0 };
    char model[SL_PATH + 16], checkpoints[SL_PATH + 16];
    snprintf(model, sizeof model, "%s/model", dir);
    snprintf(checkpoints, sizeof checkpoints, "%s/checkpoints", dir);
    sl_status st = SL_OK;
    SL_GO(open_acts(r, &r->acts_train, &acts, err));
    int64_t d_sae = t.d_sae ? t.d_sae : t.expansion * acts->info.d_in;
    SL_GO(sl_sae_new(r->ctx, t.variant, acts->info.d_in, d_sae, j->t->arm->vopts, (uint64_t)j->seed, &sae, err));
    SL_GO(sl_sae_train(sae, acts, &t, dir, &res, err));
    SL_GO(sl_sae_save(sae, model, err));
    SL_GO(sl_dir_remove(checkpoints, err));
    SL_GO(save_result(r->ctx, dir,
                      json_pack("{s:f, s:f, s:f, s:I, s:I, s:o}", "seconds", res.seconds, "loss", res.last.loss, "wait_share",
                                res.wait_share, "steps", (json_int_t)t.steps, "samples", (json_int_t)res.last.samples, "curve",
                                sae_curve(&res)), err));
done:
    sl_free(r->ctx, res.curve);
    sl_sae_free(sae);
    sl_act_source_free(acts);
    return st;
}

static sl_status sae_stage(sl_run *r, sl_trained *t, sl_err *err)
{
    json_t *f = json_pack("{s:o, s:I}", "arm", sl_arm_json(t->arm), "seed", (json_int_t)t->seed);
    job j = { .r = r, .seed = t->seed, .t = t };
    sl_stage s = { .name = "sae_train", .revision = REV_SAE, .fields = f, .input = { r->acts_train.key }, .run = run_sae, .arg = &j };
    sl_status st = f ? sl_cache_stage(r->cache, &s, &t->sae, err) : sl_fail(err, SL_MEM, "sae_train", NULL, "no memory for its fields");
    json_decref(f);
    return st;
}

/* ---- evaluation ---- */

static json_t *metrics_json(const sl_metrics *m)
{
    json_t *o = json_object();
    for (int i = 0; i < m->n; i++) {
        const sl_metric *v = &m->v[i];
        json_object_set_new(o, v->name, v->is_null ? json_pack("{s:n, s:s}", "value", "reason", v->reason)
                                                   : json_pack("{s:f, s:I}", "value", v->value, "n", (json_int_t)v->n));
    }
    return o;
}

static json_t *histogram_json(const int64_t *n, int bins)
{
    json_t *a = json_array();
    for (int i = 0; i < bins; i++)
        json_array_append_new(a, json_integer(n[i]));
    return a;
}

static sl_status save_distributions(sl_run *r, sl_sae *sae, sl_act_source *rows, const char *dir, sl_err *err)
{
    sl_eval_dist d;
    char path[SL_PATH + 32];
    SL_TRY(sl_eval_distributions(r->ctx, sae, rows, r->plan->acts.eval_tokens, &d, err));
    snprintf(path, sizeof path, "%s/distributions.json", dir);
    json_t *j = json_pack("{s:o, s:o}", "latent", histogram_json(d.latent, SL_DIST_LATENT), "input", histogram_json(d.input, SL_DIST_INPUT));
    sl_status st = j ? sl_json_save(r->ctx, path, j, err) : sl_fail(err, SL_MEM, path, NULL, "no memory");
    json_decref(j);
    return st;
}

static sl_status run_eval(void *arg, const char *dir, sl_err *err)
{
    job *j = arg;
    sl_run *r = j->r;
    SL_TRY(sl_run_corpus(r, err));
    sl_metrics m = { 0 };
    sl_act_source *rows = NULL;
    sl_sae *sae = NULL;
    sl_lm *lm = NULL;
    float *rates = NULL;
    int64_t first, end;
    char path[SL_PATH + 16];
    document_range(&r->corpus, true, &first, &end);
    sl_status st = SL_OK;
    snprintf(path, sizeof path, "%s/model", j->t->sae.dir);
    SL_GO(sl_sae_load(r->ctx, path, &sae, err));
    SL_GO(open_acts(r, &r->acts_heldout, &rows, err));
    SL_GO(load_lm(r, &lm, err));
    int64_t d_sae = sl_sae_about(sae).d_sae;
    rates = sl_alloc(r->ctx, (size_t)d_sae * sizeof *rates);
    if (!rates)
        SL_GO(sl_fail(err, SL_MEM, "sae_eval", NULL, "no memory for %lld firing rates", (long long)d_sae));
    SL_GO(sl_eval_rows(r->ctx, sae, rows, r->plan->acts.eval_tokens, &m, rates, err));
    SL_GO(sl_eval_splice(r->ctx, lm, sae, r->plan->acts.hook, &r->corpus, first, end, r->plan->acts.splice_tokens, &m, err));
    snprintf(path, sizeof path, "%s/firing_rates.npy", dir);
    sl_tensor t = sl_tensor_of(SL_F32, rates, 1, d_sae);
    SL_GO(sl_npy_write(r->ctx, path, &t, err));
    SL_GO(save_distributions(r, sae, rows, dir, err));
    SL_GO(save_result(r->ctx, dir, metrics_json(&m), err));
done:
    sl_free(r->ctx, rates);
    sl_lm_free(lm);
    sl_act_source_free(rows);
    sl_sae_free(sae);
    sl_metrics_release(r->ctx, &m);
    return st;
}

static sl_status eval_stage(sl_run *r, sl_trained *t, sl_err *err)
{
    json_t *f = json_pack("{s:I, s:s}", "splice_tokens", (json_int_t)r->plan->acts.splice_tokens, "hook", r->plan->acts.hook);
    job j = { .r = r, .t = t };
    sl_stage s = { .name = "sae_eval", .revision = REV_EVAL, .fields = f, .input = { t->sae.key, r->acts_heldout.key, r->lm[0].key },
                   .run = run_eval, .arg = &j };
    sl_status st = f ? sl_cache_stage(r->cache, &s, &t->eval, err) : sl_fail(err, SL_MEM, "sae_eval", NULL, "no memory for its fields");
    json_decref(f);
    return st;
}

/* A failure of one arm and seed is a result too: it is kept, shown, and the run goes on. */
static sl_status train_and_eval(sl_run *r, sl_trained *t, sl_err *err)
{
    sl_err own = { 0 };
    sl_status st = sae_stage(r, t, &own);
    if (st == SL_OK)
        st = eval_stage(r, t, &own);
    if (st == SL_OK)
        return SL_OK;
    if (st != SL_NUMERIC) {
        if (err)
            *err = own;
        return st;
    }
    t->failed = st;
    snprintf(t->failure, sizeof t->failure, "%.500s", own.msg);
    sl_log(r->ctx, SL_LOG_WARN, "arm %s, seed %lld failed: %s", t->arm->name, (long long)t->seed, own.msg);
    return SL_OK;
}

sl_status sl_run_stages(sl_run *r, sl_err *err)
{
    const sl_plan *p = r->plan;
    r->lm = sl_alloc(r->ctx, (size_t)p->lm.seeds * sizeof *r->lm);
    r->trained = sl_alloc(r->ctx, (size_t)(p->n_arms * p->run.seeds) * sizeof *r->trained);
    if (!r->lm || !r->trained)
        return sl_fail(err, SL_MEM, p->run_name, NULL, "no memory for its stages");
    for (int64_t s = 0; s < p->lm.seeds; s++)
        SL_TRY(lm_stage(r, s, &r->lm[s], err));
    SL_TRY(acts_stage(r, false, &r->acts_train, err));
    SL_TRY(acts_stage(r, true, &r->acts_heldout, err));
    for (int a = 0; a < p->n_arms; a++)
        for (int64_t s = 0; s < p->run.seeds; s++) {
            sl_trained *t = &r->trained[r->n_trained++];
            *t = (sl_trained){ .arm = &p->arm[a], .seed = s };
            SL_TRY(train_and_eval(r, t, err));
        }
    return SL_OK;
}

void sl_run_release(sl_run *r)
{
    if (r->has_corpus)
        sl_corpus_release(r->ctx, &r->corpus);
    sl_text_release(r->ctx, &r->text);
    sl_free(r->ctx, r->lm);
    sl_free(r->ctx, r->trained);
}
