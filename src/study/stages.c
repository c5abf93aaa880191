/* language model -> data sets -> SAEs and baselines -> evaluations. Each artifact holds a result.json. */
#include "study/stages.h"

#include "study/revisions.h"

#include <string.h>
#include <time.h>

enum { N_SPEED_TOKENS = 400 };

sl_status sl_run_corpus(sl_run *r, sl_err *err)
{
    if (r->has_corpus)
        return SL_OK;
    SL_TRY(sl_corpus_new(r->ctx, &r->text, r->plan->lm_tok, NULL, &r->corpus, err));
    r->has_corpus = true;
    return SL_OK;
}

void sl_run_documents(const sl_corpus *c, bool heldout, int64_t *first, int64_t *end)
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

void sl_run_fold(const sl_run *r, int64_t fold, int64_t *first, int64_t *end)
{
    int64_t a, b, c, n = r->plan->run.folds;
    sl_run_documents(&r->corpus, true, &a, &c);
    for (b = n > 1 ? a : c; b < c && r->corpus.doc[b] - r->corpus.doc[a] < r->plan->acts.eval_tokens;) /* what is captured */
        b++;
    *first = a + (b - a) * fold / n;
    *end = a + (b - a) * (fold + 1) / n;
}

sl_trained *sl_run_replicates(const sl_run *r, int arm, int set, int64_t *n)
{
    const sl_arm *a = sl_plan_cell(r->plan, arm, set);
    *n = a ? sl_plan_replicates(r->plan, a, set) : 0;
    for (int i = 0; a && i < r->n_trained; i++)
        if (r->trained[i].i_arm == arm && r->trained[i].i_set == set)
            return &r->trained[i];
    return NULL;
}

sl_status sl_run_load_lm(sl_run *r, sl_lm **lm, sl_err *err)
{
    char model[SL_PATH + 16];
    snprintf(model, sizeof model, "%s/model", r->lm[0].dir);
    return sl_lm_load(r->ctx, model, lm, NULL, err);
}

sl_status sl_run_save(sl_ctx *ctx, const char *dir, const char *name, json_t *result, sl_err *err)
{
    char path[SL_PATH + 64];
    snprintf(path, sizeof path, "%s/%.48s", dir, name);
    sl_status st = result ? sl_json_save(ctx, path, result, err) : sl_fail(err, SL_MEM, path, NULL, "no memory for the result");
    json_decref(result);
    return st;
}

sl_status sl_run_stage(sl_run *r, const char *name, int revision, json_t *fields, const char *const input[4],
                       sl_status (*run)(void *, const char *, sl_err *), sl_job *job, sl_artifact *out, sl_err *err)
{
    sl_stage s = { .name = name, .revision = revision, .fields = fields, .run = run, .arg = job };
    for (int i = 0; i < 4; i++)
        s.input[i] = input[i];
    sl_status st = fields ? sl_cache_stage(r->cache, &s, out, err) : sl_fail(err, SL_MEM, name, NULL, "no memory for its fields");
    json_decref(fields);
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
    sl_job *j = arg;
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
    SL_GO(sl_run_save(r->ctx, dir, "result.json",
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
    sl_job j = { .r = r, .seed = seed };
    return sl_run_stage(r, "lm_train", REV_LM, f, (const char *const[4]){ r->text.sha256 }, run_lm, &j, out, err);
}

/* ---- all of them ---- */

/* A failure of one arm and seed is a result too: it is kept, shown, and the run goes on. */
static sl_status train_and_judge(sl_run *r, sl_trained *t, sl_err *err)
{
    sl_err own = { 0 };
    sl_status st = sl_fit_stage(r, t, &own);
    if (st == SL_OK)
        st = sl_judge_stage(r, t, &own);
    if (st == SL_OK)
        return SL_OK;
    if (st != SL_NUMERIC) {
        if (err)
            *err = own;
        return st;
    }
    t->failed = st;
    snprintf(t->failure, sizeof t->failure, "%.500s", own.msg);
    sl_log(r->ctx, SL_LOG_WARN, "arm %s on %s, seed %lld failed: %s", t->arm->name, r->ground[t->i_set].name, (long long)t->seed, own.msg);
    return SL_OK;
}

static sl_status prepare(sl_run *r, sl_err *err)
{
    const sl_plan *p = r->plan;
    r->lm = sl_alloc(r->ctx, (size_t)p->lm.seeds * sizeof *r->lm);
    r->ground = sl_alloc(r->ctx, (size_t)p->n_sets * sizeof *r->ground);
    r->trained = sl_alloc(r->ctx, (size_t)(p->n_cells * p->run.seeds * p->run.folds) * sizeof *r->trained);
    r->agreement = sl_alloc(r->ctx, (size_t)p->n_cells * sizeof *r->agreement);
    if (!r->lm || !r->ground || !r->trained || !r->agreement)
        return sl_fail(err, SL_MEM, p->run_name, NULL, "no memory for its stages");
    for (int s = 0; s < p->n_sets; s++) {
        r->ground[s].set = &p->set[s];
        snprintf(r->ground[s].name, sizeof r->ground[s].name, "%s", s == 0 ? r->text.name : p->set[s].name);
    }
    for (int c = 0; c < p->n_cells; c++)
        r->ground[p->cell[c].set].used = true;
    return SL_OK;
}

/* All replicates of an arm on a data set, and what they agree on. */
static sl_status cell_stages(sl_run *r, int cell, sl_err *err)
{
    const sl_cell *c = &r->plan->cell[cell];
    int64_t n = sl_plan_replicates(r->plan, &c->is, c->set), seeds = c->set == 0 ? n / r->plan->run.folds : n;
    for (int64_t i = 0; i < n; i++) {
        sl_trained *t = &r->trained[r->n_trained++];
        *t = (sl_trained){ .arm = &c->is, .i_arm = c->arm, .i_set = c->set, .replicate = i, .seed = i % seeds, .fold = i / seeds };
        sl_log(r->ctx, SL_LOG_INFO, "%s: %s, %d of %d", r->ground[c->set].name, c->is.name, (int)i + 1, (int)n);
        SL_TRY(train_and_judge(r, t, err));
    }
    return c->is.sweep ? SL_OK : sl_agreement_stage(r, cell, &r->agreement[cell], err);
}

sl_status sl_run_stages(sl_run *r, sl_err *err)
{
    const sl_plan *p = r->plan;
    SL_TRY(prepare(r, err));
    for (int64_t s = 0; s < p->lm.seeds; s++)
        SL_TRY(lm_stage(r, s, &r->lm[s], err));
    for (int s = 0; s < p->n_sets; s++)
        if (r->ground[s].used)
            SL_TRY(sl_ground_make(r, &r->ground[s], err));
    for (int c = 0; c < p->n_cells; c++)
        SL_TRY(cell_stages(r, c, err));
    return SL_OK;
}

void sl_run_release(sl_run *r)
{
    for (int s = 0; r->ground && s < r->plan->n_sets; s++)
        sl_ground_release(&r->ground[s]);
    if (r->has_corpus)
        sl_corpus_release(r->ctx, &r->corpus);
    sl_text_release(r->ctx, &r->text);
    sl_free(r->ctx, r->lm);
    sl_free(r->ctx, r->ground);
    sl_free(r->ctx, r->trained);
    sl_free(r->ctx, r->agreement);
}
