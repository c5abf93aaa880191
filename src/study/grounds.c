/* Data sets of a run: activations of the text, rows of worlds, activations of the transformers of tasks. */
#include "study/revisions.h"
#include "study/stages.h"

#include <saelab/rng.h>

#include <string.h>

/* ---- activations of the text ---- */

enum { CHECK_TOKENS = 4096 };

/* The first held-out document that nothing is measured on. */
static int64_t after_evaluation(const sl_run *r, int64_t first, int64_t end)
{
    const sl_plan_acts *a = &r->plan->acts;
    int64_t used = a->eval_tokens > a->splice_tokens ? a->eval_tokens : a->splice_tokens, doc = first;
    while (doc < end && r->corpus.doc[doc] - r->corpus.doc[first] < used)
        doc++;
    return doc;
}

static sl_status run_acts(void *arg, const char *dir, sl_err *err)
{
    sl_job *j = arg;
    sl_run *r = j->r;
    SL_TRY(sl_run_corpus(r, err));
    int64_t first, end;
    bool heldout = j->heldout || r->plan->run.folds > 1;
    sl_run_documents(&r->corpus, heldout, &first, &end);
    if (j->check)
        first = after_evaluation(r, first, end);
    if (first == end)
        return sl_fail(err, SL_DATA, "early_stop", "fewer eval_tokens", "no held-out text is left to look at while training");
    sl_lm *lm = NULL;
    char store[SL_PATH + 16];
    snprintf(store, sizeof store, "%s/store", dir);
    SL_TRY(sl_run_load_lm(r, &lm, err));
    sl_capture_config cc = { .n_tokens = j->check ? CHECK_TOKENS : heldout ? r->plan->acts.eval_tokens : r->plan->acts.train_tokens, .drop_first = true,
                             .store = { .dtype = SL_F32, .shuffle = !j->heldout, .seed = 0 } };
    if (j->t && j->t->steps * j->t->arm->train.batch < cc.n_tokens) /* no more than it trains on */
        cc.n_tokens = j->t->steps * j->t->arm->train.batch;
    if (j->t)
        cc.noise = (sl_token_noise){ .p = j->t->arm->perturb.p_tok, .to = j->t->arm->perturb.token_to };
    sl_status st = sl_lm_capture(lm, r->lm[0].key, &r->corpus, first, end, r->plan->acts.hook, &cc, store, err);
    sl_lm_free(lm);
    return st;
}

/* t: of an arm that trains on changed tokens, or NULL. */
static sl_status acts_stage(sl_run *r, bool heldout, sl_trained *t, sl_artifact *out, sl_err *err)
{
    bool folds = r->plan->run.folds > 1; /* folds lie on text that the language model was not trained on */
    int64_t tokens = heldout || folds ? r->plan->acts.eval_tokens : r->plan->acts.train_tokens;
    json_t *f = json_pack("{s:s, s:I, s:b, s:b}", "hook", r->plan->acts.hook, "tokens", (json_int_t)tokens, "heldout", heldout || folds, "shuffle", !heldout);
    sl_job j = { .r = r, .t = t, .heldout = heldout };
    if (f && t)
        json_object_set_new(f, "changed", json_pack("{s:I, s:f, s:I}", "rows", (json_int_t)(t->steps * t->arm->train.batch), "p_tok", t->arm->perturb.p_tok, "token_to", (json_int_t)t->arm->perturb.token_to));
    return sl_run_stage(r, "acts_capture", REV_ACTS, f, (const char *const[4]){ r->lm[0].key }, run_acts, &j, out, err);
}

sl_status sl_ground_changed_tokens(sl_run *r, sl_trained *t, sl_err *err) { return acts_stage(r, false, t, &t->rows, err); }

static sl_status check_stage(sl_run *r, sl_artifact *out, sl_err *err)
{
    json_t *f = json_pack("{s:s, s:I, s:I, s:i}", "hook", r->plan->acts.hook, "eval_tokens", (json_int_t)r->plan->acts.eval_tokens, "splice_tokens",
                          (json_int_t)r->plan->acts.splice_tokens, "check_tokens", (int)CHECK_TOKENS);
    sl_job j = { .r = r, .heldout = true, .check = true };
    return sl_run_stage(r, "acts_capture", REV_ACTS, f, (const char *const[4]){ r->lm[0].key }, run_acts, &j, out, err);
}

static bool stops_early(const sl_run *r, int set)
{
    bool any = false;
    for (int c = 0; c < r->plan->n_cells; c++)
        any = any || (r->plan->cell[c].set == set && r->plan->cell[c].is.variant && r->plan->cell[c].is.perturb.early_stop);
    return any;
}

/* ---- transformers of tasks ---- */

static sl_status run_task(void *arg, const char *dir, sl_err *err)
{
    sl_job *j = arg;
    sl_run *r = j->r;
    const sl_task_train_config *t = &j->g->set->task;
    sl_lm_config c = sl_task_lm_config(j->g->world, t);
    sl_task_result res;
    sl_lm *lm = NULL;
    char model[SL_PATH + 16], checkpoints[SL_PATH + 16];
    snprintf(model, sizeof model, "%s/model", dir);
    snprintf(checkpoints, sizeof checkpoints, "%s/checkpoints", dir);
    sl_log(r->ctx, SL_LOG_INFO, "%s: training its transformer once, up to %lld steps; later runs find it in the cache", j->g->name, (long long)t->steps);
    SL_TRY(sl_lm_new(r->ctx, &c, (uint64_t)t->seed, &lm, err));
    sl_status st = SL_OK;
    SL_GO(sl_task_train(lm, j->g->world, t, dir, &res, err));
    SL_GO(sl_lm_save(lm, sl_world_task(j->g->world)->tok, model, err));
    SL_GO(sl_dir_remove(checkpoints, err));
    if (!res.gate.passed)
        sl_log(r->ctx, SL_LOG_WARN, "%s: its transformer scores %.3f, less than the gate of %.2f", j->g->name, res.gate.score, sl_world_task(j->g->world)->gate);
    SL_GO(sl_run_save(r->ctx, dir, "result.json", json_pack("{s:I, s:f, s:f, s:f, s:b}", "steps", (json_int_t)res.steps, "seconds", res.seconds, "loss", res.loss,
                                                            "gate_score", res.gate.score, "gate_passed", res.gate.passed), err));
done:
    sl_lm_free(lm);
    return st;
}

static sl_status make_task(sl_run *r, sl_ground *g, sl_err *err)
{
    sl_job j = { .r = r, .g = g };
    char model[SL_PATH + 16], both[2 * 64 + 1];
    json_t *f = sl_plan_set_json(g->set);
    json_t *task = json_incref(json_object_get(f, "task"));
    json_decref(f);
    if (g->set->task.steps == 0) /* as many as the world says, which is part of what decides the weights */
        json_object_set_new(task, "steps", json_integer((json_int_t)sl_world_task(g->world)->steps));
    SL_TRY(sl_run_stage(r, "task_train", REV_TASK, task, (const char *const[4]){ sl_world_id(g->world) }, run_task, &j, &g->task, err));
    snprintf(model, sizeof model, "%s/model", g->task.dir);
    snprintf(both, sizeof both, "%s%s", g->key, g->task.key);
    sl_sha256_hex(both, strlen(both), g->key);
    return sl_lm_load(r->ctx, model, &g->task_lm, NULL, err);
}

sl_status sl_ground_make(sl_run *r, sl_ground *g, sl_err *err)
{
    if (!g->set->world) {
        SL_TRY(acts_stage(r, false, NULL, &g->train, err));
        SL_TRY(acts_stage(r, true, NULL, &g->heldout, err));
        return stops_early(r, 0) ? check_stage(r, &g->check, err) : SL_OK;
    }
    SL_TRY(sl_world_new(r->ctx, g->set->world->name, g->set->wopts, (uint64_t)g->set->size.world_seed, &g->world, err));
    snprintf(g->key, sizeof g->key, "%s", sl_world_id(g->world));
    return sl_world_task(g->world) ? make_task(r, g, err) : SL_OK;
}

void sl_ground_release(sl_ground *g)
{
    sl_lm_free(g->task_lm);
    sl_world_free(g->world);
    g->task_lm = NULL;
    g->world = NULL;
}

const char *sl_ground_key(const sl_ground *g, bool heldout) { return g->world ? g->key : heldout ? g->heldout.key : g->train.key; }

int64_t sl_ground_eval_rows(const sl_run *r, const sl_ground *g) { return g->world ? g->set->size.eval_rows : r->plan->acts.eval_tokens; }

/* ---- rows ---- */

/* A source that begins `from` rows in. */
typedef struct shifted { sl_ctx *ctx; sl_act_source *of; int64_t from; } shifted;

static sl_status next(sl_act_source *s, int64_t n, sl_act_batch *out, sl_err *err)
{
    shifted *k = s->impl;
    return k->of->next(k->of, n, out, err);
}

static sl_status seek(sl_act_source *s, int64_t row, sl_err *err)
{
    shifted *k = s->impl;
    return k->of->seek(k->of, k->from + row, err);
}

static void close_shifted(sl_act_source *s)
{
    shifted *k = s->impl;
    sl_ctx *ctx = k->ctx;
    sl_act_source_free(k->of);
    sl_free(ctx, k);
    sl_free(ctx, s);
}

/* Takes `of`, on failure too. */
static sl_status shift(sl_ctx *ctx, sl_act_source *of, int64_t from, sl_act_source **out, sl_err *err)
{
    sl_act_source *s = sl_alloc(ctx, sizeof *s);
    shifted *k = sl_alloc(ctx, sizeof *k);
    sl_status st = s && k ? of->seek(of, from, err) : sl_fail(err, SL_MEM, "rows", NULL, "no memory for a source");
    if (st != SL_OK) {
        sl_act_source_free(of);
        sl_free(ctx, k);
        sl_free(ctx, s);
        return st;
    }
    *k = (shifted){ ctx, of, from };
    *s = (sl_act_source){ .info = of->info, .impl = k, .next = next, .seek = seek, .close = close_shifted };
    *out = s;
    return SL_OK;
}

/* The first row of a seed: anywhere in a data set, far apart in an endless stream. A task's stream would have to be run through up to there. */
static int64_t first_row(const sl_act_source *s, const sl_ground *g, int64_t seed)
{
    if (s->info.n_rows > 0) {
        sl_rng rng = sl_rng_at((uint64_t)seed, SL_RNG_BATCH, 0, 0);
        return (int64_t)sl_rng_below(&rng, (uint64_t)s->info.n_rows);
    }
    return g->task_lm ? 0 : seed << 32;
}

/* Activations of the text: all of a store, or what the replicate's fold leaves. */
static sl_status open_text(sl_run *r, const sl_ground *g, int rows, const sl_trained *t, sl_act_source **out, sl_err *err)
{
    char store[SL_PATH + 16];
    int64_t first, end;
    bool folds = r->plan->run.folds > 1, train = rows == SL_ROWS_TRAIN;
    const sl_artifact *of = rows == SL_ROWS_CHECK ? &g->check : train && t->rows.key[0] ? &t->rows : train || folds ? &g->train : &g->heldout;
    snprintf(store, sizeof store, "%s/store", of->dir);
    SL_TRY(sl_acts_open(r->ctx, store, false, out, err));
    if (!folds || rows == SL_ROWS_CHECK)
        return SL_OK;
    sl_act_source *all = *out;
    sl_status st = sl_run_corpus(r, err);
    if (st != SL_OK) {
        sl_act_source_free(all);
        return st;
    }
    sl_run_fold(r, t->fold, &first, &end);
    return sl_rows_of_documents(r->ctx, all, first, end, train, out, err);
}

sl_status sl_ground_open(sl_run *r, const sl_ground *g, int rows, const sl_trained *t, sl_act_source **out, sl_err *err)
{
    sl_world_split split = rows == SL_ROWS_TRAIN ? SL_WORLD_TRAIN : rows == SL_ROWS_OOD ? SL_WORLD_OOD : SL_WORLD_TEST;
    sl_act_source *s = NULL;
    if (g->task_lm)
        SL_TRY(sl_task_open(g->task_lm, g->world, split, NULL, &s, err));
    else if (g->world)
        SL_TRY(sl_world_open(g->world, split, &s, err));
    else
        SL_TRY(open_text(r, g, rows, t, &s, err));
    int64_t from = rows == SL_ROWS_TRAIN ? first_row(s, g, t->seed) : rows == SL_ROWS_CHECK && g->world ? g->set->size.eval_rows : 0;
    if (g->bank && rows == SL_ROWS_TRAIN)
        return sl_bank_open(g->bank, s, from, out, err);
    if (from > 0)
        return shift(r->ctx, s, from, out, err);
    *out = s;
    return SL_OK;
}
