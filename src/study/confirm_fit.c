/* One fit of a confirmation: its world, its training, its evaluation, each found in the cache when it was done before. A seed is a realisation of
 * the world (its truth and its rows), the first weights and the noise; all arms of a seed see the same rows: that is the pairing. */
#include "study/confirm.h"

#include <math.h>
#include <string.h>

const char *const sl_phases[] = { "pilot", "screening", "retuning", "confirmation", "once", "extended" };

double sl_fit_metric(const sl_fit *f, const char *metric)
{
    json_t *v = json_object_get(json_object_get(json_object_get(f->result, "metrics"), metric), "value");
    return json_is_number(v) ? json_number_value(v) : NAN;
}

const char *sl_confirm_noise(const sl_confirm *c, const sl_fit *f)
{
    return c->d.noise && f->phase >= SL_PHASE_CONFIRMATION ? c->d.noise : "";
}

/* ---- the stage of the evaluation ---- */

typedef struct judging { sl_run *r; const sl_confirm *c; sl_fit *f; } judging;

static sl_status run_judge(void *arg, const char *dir, sl_err *err)
{
    judging *j = arg;
    j->f->t.eval = (sl_artifact){ 0 };
    snprintf(j->f->t.eval.dir, sizeof j->f->t.eval.dir, "%s", dir);
    return sl_confirm_judge(j->r, j->c, j->f, err);
}

static sl_status judge_stage(sl_run *r, const sl_confirm *c, sl_fit *f, sl_err *err)
{
    const sl_design *d = &c->d;
    judging j = { r, c, f };
    json_t *fields = json_pack("{s:i, s:I, s:s, s:I}", "rule", d->rule, "rows", (json_int_t)r->ground[0].set->size.eval_rows, "noise", sl_confirm_noise(c, f), "stability_rows",
                               (json_int_t)d->stability_rows);
    if (!fields)
        return sl_fail(err, SL_MEM, "confirm_judge", NULL, "no memory for its fields");
    sl_stage s = { .name = "confirm_judge", .revision = CONFIRM_REVISION, .fields = fields, .input = { f->t.sae.key, sl_ground_key(&r->ground[0], true) }, .run = run_judge, .arg = &j };
    sl_artifact made;
    sl_status st = sl_cache_stage(r->cache, &s, &made, err);
    json_decref(fields);
    f->t.eval = made;
    return st;
}

/* ---- the whole ---- */

static sl_status load(sl_ctx *ctx, sl_fit *f, sl_err *err)
{
    char path[SL_PATH + 16];
    snprintf(path, sizeof path, "%s/result.json", f->t.eval.dir);
    return sl_json_load_file(ctx, path, &f->result, err);
}

void sl_confirm_ground_release(sl_confirm_ground *k)
{
    sl_bank_free(k->ground.bank);
    k->ground.bank = NULL;
    sl_ground_release(&k->ground);
}

/* Rows that the longest fit of the phase on the same data set and seed reads. */
static int64_t most_rows(const sl_confirm *c, const sl_fit *f)
{
    int64_t most = 1;
    for (int i = 0; i < c->n_fits; i++) {
        const sl_fit *o = &c->fit[i];
        int64_t n = o->is.train.steps * o->is.train.batch;
        most = o->phase == f->phase && o->set == f->set && o->seed == f->seed && o->is.variant && n > most ? n : most;
    }
    return most;
}

/* The world of the data set and seed of f, made unless it is the one that is there. */
static sl_status make_ground(sl_run *r, const sl_confirm *c, sl_confirm_ground *k, const sl_fit *f, sl_err *err)
{
    if (k->index == f->set && k->seed == f->seed && k->ground.world)
        return SL_OK;
    sl_confirm_ground_release(k);
    *k = (sl_confirm_ground){ .set = c->plan.set[f->set], .index = f->set, .seed = f->seed };
    k->ground = (sl_ground){ .set = &k->set, .used = true };
    k->set.size.world_seed += f->seed;
    snprintf(k->ground.name, sizeof k->ground.name, "%s", k->set.name);
    sl_status st = sl_ground_make(r, &k->ground, err);
    if (st == SL_OK && !k->ground.task_lm) /* rows of tasks do not begin at the seed's own place, and are dear in memory */
        st = sl_bank_new(r->ctx, most_rows(c, f), sl_world_truth_of(k->ground.world)->d, &k->ground.bank, err);
    if (st != SL_OK)
        sl_confirm_ground_release(k);
    return st;
}

static sl_status fit_and_judge(sl_run *r, const sl_confirm *c, sl_confirm_ground *k, sl_fit *f, sl_err *err)
{
    SL_TRY(make_ground(r, c, k, f, err));
    SL_TRY(sl_fit_stage(r, &f->t, err));
    SL_TRY(judge_stage(r, c, f, err));
    return load(r->ctx, f, err);
}

sl_status sl_confirm_fit(sl_ctx *ctx, const sl_confirm *c, sl_cache *cache, sl_confirm_ground *kept, sl_fit *f, sl_err *err)
{
    sl_run r = { .ctx = ctx, .plan = &c->plan, .cache = cache, .ground = &kept->ground };
    sl_err own = { 0 };
    f->t = (sl_trained){ .arm = &f->is, .i_arm = f->arm, .i_set = 0, .seed = f->seed };
    sl_status st = fit_and_judge(&r, c, kept, f, &own);
    if (st == SL_NUMERIC) { /* a result too: it is kept and shown, the others go on */
        f->t.failed = st;
        snprintf(f->t.failure, sizeof f->t.failure, "%.500s", own.msg);
        sl_log(ctx, SL_LOG_WARN, "%s: %s on %s, seed %lld failed: %s", sl_phases[f->phase], f->name, c->plan.set[f->set].name, (long long)f->seed, own.msg);
        return SL_OK;
    }
    if (st != SL_OK && err)
        *err = own;
    return st;
}
