/* Training an SAE, fitting a baseline. */
#include "study/revisions.h"
#include "study/stages.h"

#include <saelab/sweep.h>

#include <math.h>
#include <string.h>

static json_t *number_or_null(double v) { return isfinite(v) ? json_real(v) : json_null(); }

/* One point of training, under the names of the first experiment too; with a perturbation layer also what it did at that step. An epoch is `rows`. */
static json_t *point_json(const char *variant, const sl_sae_step *c, const sl_perturb_point *p, double rows)
{
    json_t *j = json_pack("{s:I, s:I, s:f, s:f, s:o, s:f, s:f, s:f, s:f, s:f}", "step", (json_int_t)c->step, "samples", (json_int_t)c->samples, "epoch",
                          (double)c->samples / rows, "loss", c->loss, "fvu", number_or_null(c->fvu), "l0", c->l0, "dead", c->dead, "total_loss", c->loss,
                          "recon_loss", c->recon, "l1_loss", c->penalty);
    for (int i = 0; sl_variant_watched(variant, i); i++)
        json_object_set_new(j, sl_variant_watched(variant, i), number_or_null(c->own[i]));
    json_object_set_new(j, "stability_loss", p ? number_or_null(p->stability) : json_null());
    json_object_set_new(j, "fss", p ? number_or_null(p->fss) : json_null());
    if (!p)
        return j;
    json_object_set_new(j, "eps", number_or_null(p->eps));
    json_object_set_new(j, "change", number_or_null(p->change));
    json_object_set_new(j, "achieved", number_or_null(p->achieved));
    json_object_set_new(j, "gamma", number_or_null(p->gamma));
    return j;
}

static json_t *sae_curve(const char *variant, const sl_sae_result *res, const sl_perturb_result *noise, double rows)
{
    json_t *a = json_array();
    for (int64_t i = 0; i < res->n_curve; i++)
        json_array_append_new(a, point_json(variant, &res->curve[i], i < noise->n_curve ? &noise->curve[i] : NULL, rows));
    return a;
}

static json_t *checks_json(const sl_perturb_result *n)
{
    json_t *a = json_array();
    for (int64_t i = 0; i < n->n_checks; i++) {
        const sl_stop_check *c = &n->checks[i];
        json_array_append_new(a, json_pack("{s:I, s:f, s:f, s:f}", "step", (json_int_t)c->step, "fss", c->fss, "fvu", c->fvu, "dead", c->dead));
    }
    return a;
}

static json_t *noise_json(const sl_perturb_result *n)
{
    return json_pack("{s:I, s:I, s:o, s:I, s:I, s:I, s:I, s:f, s:f, s:o}", "skipped", (json_int_t)n->skipped, "rows", (json_int_t)n->rows, "eps", number_or_null(n->eps),
                     "saturated", (json_int_t)n->saturated, "stopped_at", (json_int_t)n->stopped_at, "steps", (json_int_t)n->steps, "chosen_step",
                     (json_int_t)n->chosen_step, "generate_share", n->generate_share, "forward_share", n->forward_share, "checks", checks_json(n));
}

static int64_t own_width(const sl_sae_train_config *t, int64_t d_in) { return t->d_sae ? t->d_sae : t->expansion * d_in; }

/* d_sae of an arm: its own, or the one that gives it as many trained numbers as the arm named by size_of. */
static sl_status width_of(const sl_job *j, int64_t d_in, int64_t *d_sae, sl_err *err)
{
    const sl_arm *a = j->t->arm, *of = a->as_large_as;
    int64_t n;
    *d_sae = own_width(&a->train, d_in);
    if (!of)
        return SL_OK;
    SL_TRY(sl_sae_count_weights(j->r->ctx, of->train.variant, d_in, own_width(&of->train, d_in), of->own, &n, err));
    *d_sae = sl_sae_topk_width(n, d_in);
    return SL_OK;
}

static sl_status run_sae(void *arg, const char *dir, sl_err *err)
{
    sl_job *j = arg;
    sl_run *r = j->r;
    sl_sae_train_config t = j->t->arm->train;
    t.seed = j->t->seed;
    t.steps = j->t->steps;
    sl_act_source *acts = NULL, *held_out = NULL;
    sl_sae *sae = NULL;
    sl_sae_result res = { 0 };
    sl_perturb_result noise = { 0 };
    sl_perturb_config perturb = j->t->arm->perturb;
    perturb.seed = j->t->seed;
    perturb.site = perturb.site == SL_PERTURB_SITE_TOKEN ? SL_PERTURB_SITE_BY_TYPE : perturb.site; /* its rows are made of changed tokens already */
    char model[SL_PATH + 16], checkpoints[SL_PATH + 16];
    snprintf(model, sizeof model, "%s/model", dir);
    snprintf(checkpoints, sizeof checkpoints, "%s/checkpoints", dir);
    sl_status st = SL_OK;
    SL_GO(sl_ground_open(r, j->g, SL_ROWS_TRAIN, j->t, &acts, err));
    int64_t d_sae;
    SL_GO(width_of(j, acts->info.d_in, &d_sae, err));
    SL_GO(sl_sae_new(r->ctx, t.variant, acts->info.d_in, d_sae, j->t->arm->own, (uint64_t)t.seed, &sae, err));
    if (perturb.early_stop)
        SL_GO(sl_ground_open(r, j->g, SL_ROWS_CHECK, j->t, &held_out, err));
    sl_sweep_run one = { .sae = sae, .acts = acts, .train = &t, .dir = dir, .perturb = &perturb, .held_out = held_out };
    st = sl_sae_train_many(&one, 1, err);
    res = one.result;
    noise = one.perturbed;
    SL_GO(st);
    double rows = acts->info.n_rows > 0 ? (double)acts->info.n_rows : (double)(t.steps * t.batch); /* of an endless source: all that is trained on */
    SL_GO(sl_sae_save(sae, model, err));
    SL_GO(sl_dir_remove(checkpoints, err));
    SL_GO(sl_run_save(r->ctx, dir, "result.json",
                      json_pack("{s:f, s:f, s:f, s:I, s:I, s:o, s:o}", "seconds", res.seconds, "loss", res.last.loss, "wait_share",
                                res.wait_share, "steps", (json_int_t)res.last.step, "samples", (json_int_t)res.last.samples, "curve",
                                sae_curve(t.variant, &res, &noise, rows), "perturb", sl_perturb_wanted(&perturb) ? noise_json(&noise) : json_null()), err));
done:
    sl_perturb_result_release(r->ctx, &noise);
    sl_free(r->ctx, res.curve);
    sl_sae_free(sae);
    sl_act_source_free(held_out);
    sl_act_source_free(acts);
    return st;
}

/* ---- baselines ---- */

/* n rows [n, d_in] of the source; sl_free. */
static sl_status read_rows(sl_run *r, sl_act_source *acts, int64_t n, float **out, sl_err *err)
{
    int64_t d = acts->info.d_in, have = 0;
    float *x = sl_alloc(r->ctx, (size_t)(n * d) * sizeof *x);
    if (!x)
        return sl_fail(err, SL_MEM, "baseline", "fewer rows", "no memory for %lld rows", (long long)n);
    while (have < n) {
        sl_act_batch b;
        sl_status st = acts->next(acts, n - have < 1024 ? n - have : 1024, &b, err);
        if (st != SL_OK) {
            sl_free(r->ctx, x);
            return st;
        }
        memcpy(x + have * d, b.x, (size_t)(b.n * d) * sizeof *x);
        have += b.n;
    }
    *out = x;
    return SL_OK;
}

static json_t *baseline_curve(const sl_baseline_about *about)
{
    json_t *a = json_array();
    for (int64_t i = 0; i < about->n_curve; i++)
        json_array_append_new(a, json_pack("{s:I, s:f}", "step", (json_int_t)i, "loss", about->curve[i]));
    return a;
}

/* metrics.csv as training SAEs leaves it. */
static sl_status save_curve(sl_run *r, const char *dir, const sl_baseline_about *about, sl_err *err)
{
    char path[SL_PATH + 16];
    sl_atomic *f;
    snprintf(path, sizeof path, "%s/metrics.csv", dir);
    SL_TRY(sl_atomic_open(r->ctx, path, &f, err));
    sl_status st = sl_atomic_printf(f, err, "iteration,objective\n");
    for (int64_t i = 0; i < about->n_curve && st == SL_OK; i++)
        st = sl_atomic_printf(f, err, "%lld,%.9g\n", (long long)i, about->curve[i]);
    if (st == SL_OK)
        return sl_atomic_commit(f, err);
    sl_atomic_abort(f);
    return st;
}

static sl_status run_baseline(void *arg, const char *dir, sl_err *err)
{
    sl_job *j = arg;
    sl_run *r = j->r;
    const sl_arm *arm = j->t->arm;
    const sl_world_truth *truth = j->g->world ? sl_world_truth_of(j->g->world) : NULL;
    sl_act_source *acts = NULL;
    sl_baseline *b = NULL;
    float *x = NULL;
    char model[SL_PATH + 16];
    snprintf(model, sizeof model, "%s/model", dir);
    sl_status st = SL_OK;
    SL_GO(sl_ground_open(r, j->g, SL_ROWS_TRAIN, j->t, &acts, err));
    int64_t n = acts->info.n_rows > 0 && acts->info.n_rows < arm->how.rows ? acts->info.n_rows : arm->how.rows;
    SL_GO(read_rows(r, acts, n, &x, err));
    sl_baseline_data data = { .x = x, .n = n, .d_in = acts->info.d_in, .hook = acts->info.hook, .model = acts->info.model, .dataset = acts->info.dataset };
    if (arm->baseline->needs_dictionary && truth && truth->d == data.d_in) {
        data.dictionary = truth->dir;
        data.n_dictionary = truth->n;
        data.bias = truth->bias;
    }
    SL_GO(sl_baseline_fit(r->ctx, arm->baseline->name, &data, arm->own, (uint64_t)j->t->seed, &b, err));
    SL_GO(sl_baseline_save(b, model, err));
    sl_baseline_about about = sl_baseline_tell(b);
    SL_GO(save_curve(r, dir, &about, err));
    SL_GO(sl_run_save(r->ctx, dir, "result.json", json_pack("{s:b, s:I, s:I, s:o}", "converged", about.converged, "steps", (json_int_t)about.n_curve, "samples",
                                                            (json_int_t)n, "curve", baseline_curve(&about)), err));
done:
    sl_free(r->ctx, x);
    sl_baseline_free(b);
    sl_act_source_free(acts);
    return st;
}

/* The steps that a trained SAE really ran. */
static sl_status steps_run(const sl_run *r, const sl_trained *t, int64_t *steps, sl_err *err)
{
    char path[SL_PATH + 16];
    json_t *result = NULL;
    snprintf(path, sizeof path, "%s/result.json", t->sae.dir);
    SL_TRY(sl_json_load_file(r->ctx, path, &result, err));
    *steps = (int64_t)json_integer_value(json_object_get(result, "steps"));
    json_decref(result);
    return *steps > 0 ? SL_OK : sl_fail(err, SL_DATA, path, "steps", "it does not say how many steps were run");
}

/* Those of the arm named by steps_of with the same seed, times budget. SL_NUMERIC: it failed. */
static sl_status steps_as(const sl_run *r, const sl_trained *t, int64_t *steps, sl_err *err)
{
    const sl_trained *of = NULL;
    for (int i = 0; i < r->n_trained && !of; i++)
        if (r->trained[i].i_set == t->i_set && r->trained[i].replicate == t->replicate && strcmp(r->trained[i].arm->name, t->arm->how.steps_of) == 0)
            of = &r->trained[i];
    if (!of || of->failed)
        return sl_fail(err, SL_NUMERIC, "steps_of", NULL, "arm %s, whose steps are wanted, failed", t->arm->how.steps_of);
    SL_TRY(steps_run(r, of, steps, err));
    *steps = (int64_t)llround(t->arm->how.budget * (double)*steps);
    return SL_OK;
}

/* What an SAE's weights depend on, besides its training rows. */
static json_t *sae_fields(const sl_run *r, const sl_trained *t)
{
    const sl_ground *g = &r->ground[t->i_set];
    json_t *arm = sl_arm_json(t->arm), *f;
    char steps[32];
    snprintf(steps, sizeof steps, "%lld", (long long)t->steps);
    if (t->arm->how.steps_of)
        json_object_set_new(arm, "steps", json_string(steps));
    f = json_pack("{s:o, s:I}", "arm", arm, "seed", (json_int_t)t->seed);
    if (t->arm->as_large_as)
        json_object_set_new(f, "size_of", sl_arm_json(t->arm->as_large_as));
    if (t->arm->variant && t->arm->perturb.early_stop)
        json_object_set_new(f, "check", g->world ? json_integer(g->set->size.eval_rows) : json_string(g->check.key));
    return f;
}

sl_status sl_fit_stage(sl_run *r, sl_trained *t, sl_err *err)
{
    t->steps = t->arm->variant ? t->arm->train.steps : 0;
    if (t->arm->how.steps_of)
        SL_TRY(steps_as(r, t, &t->steps, err));
    if (t->arm->variant && t->arm->perturb.site == SL_PERTURB_SITE_TOKEN)
        SL_TRY(sl_ground_changed_tokens(r, t, err));
    json_t *f = sae_fields(r, t);
    sl_job j = { .r = r, .g = &r->ground[t->i_set], .t = t };
    if (t->i_set == 0 && r->plan->run.folds > 1)
        json_object_set_new(f, "fold", json_pack("[I, I]", (json_int_t)t->fold, (json_int_t)r->plan->run.folds));
    bool sae = t->arm->variant != NULL;
    SL_TRY(sl_run_stage(r, sae ? "sae_train" : "baseline_fit", sae ? REV_SAE : REV_BASELINE, f, (const char *const[4]){ t->rows.key[0] ? t->rows.key : sl_ground_key(j.g, false) },
                        sae ? run_sae : run_baseline, &j, &t->sae, err));
    return sae && t->arm->perturb.early_stop ? steps_run(r, t, &t->steps, err) : SL_OK;
}
