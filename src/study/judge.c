/* Evaluation of one SAE or baseline: on held-out rows, inside the language model, against the truth of a world. */
#include "study/revisions.h"
#include "study/stages.h"

#include <saelab/measure.h>

#include <math.h>
#include <string.h>

/* What one evaluation works on. */
typedef struct subject {
    sl_sae *sae;
    sl_baseline *baseline; /* in place of an SAE */
    sl_coder coder;
    sl_metrics m;
} subject;

static sl_status open_subject(sl_run *r, const sl_trained *t, subject *s, sl_err *err)
{
    char path[SL_PATH + 16];
    snprintf(path, sizeof path, "%s/model", t->sae.dir);
    if (t->arm->baseline) {
        SL_TRY(sl_baseline_load(r->ctx, path, &s->baseline, err));
        s->coder = sl_baseline_coder(s->baseline);
    } else {
        SL_TRY(sl_sae_load(r->ctx, path, &s->sae, err));
        s->coder = sl_coder_of(s->sae);
    }
    return SL_OK;
}

/* ---- files ---- */

json_t *sl_judge_json(const sl_metrics *m)
{
    json_t *o = json_object();
    for (int i = 0; i < m->n; i++) {
        const sl_metric *v = &m->v[i];
        json_t *j = v->is_null ? json_pack("{s:n, s:s}", "value", "reason", v->reason) : json_pack("{s:f, s:I}", "value", v->value, "n", (json_int_t)v->n);
        if (v->has_floor)
            json_object_set_new(j, "floor", json_real(v->floor));
        if (v->has_interval)
            json_object_set_new(j, "interval", json_pack("[f, f]", v->lo, v->hi));
        if (v->has_control)
            json_object_set_new(j, "control", json_real(v->control));
        json_object_set_new(o, v->name, j);
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

static sl_status save_distributions(sl_run *r, sl_sae *sae, sl_act_source *rows, int64_t n, const char *dir, sl_err *err)
{
    sl_eval_dist d;
    SL_TRY(sl_eval_distributions(r->ctx, sae, rows, n, &d, err));
    return sl_run_save(r->ctx, dir, "distributions.json", json_pack("{s:o, s:o}", "latent", histogram_json(d.latent, SL_DIST_LATENT), "input", histogram_json(d.input, SL_DIST_INPUT)), err);
}

/* ---- the parts ---- */

/* Held-out rows: metrics, firing rates, histograms. */
static sl_status on_rows(sl_run *r, const sl_ground *g, const sl_trained *t, subject *s, const char *dir, sl_err *err)
{
    sl_act_source *rows = NULL;
    int64_t n = sl_ground_eval_rows(r, g), d_sae = s->coder.d_sae;
    char path[SL_PATH + 32];
    float *rates = sl_alloc(r->ctx, (size_t)d_sae * sizeof *rates);
    sl_tensor rate = sl_tensor_of(SL_F32, rates, 1, d_sae);
    sl_status st = rates ? SL_OK : sl_fail(err, SL_MEM, "sae_eval", NULL, "no memory for %lld firing rates", (long long)d_sae);
    if (st != SL_OK)
        return st;
    snprintf(path, sizeof path, "%s/firing_rates.npy", dir);
    SL_GO(sl_ground_open(r, g, SL_ROWS_TEST, t, &rows, err));
    SL_GO(sl_eval_coder_rows(r->ctx, &s->coder, rows, n, &s->m, rates, err));
    SL_GO(sl_npy_write(r->ctx, path, &rate, err));
    if (s->sae)
        SL_GO(save_distributions(r, s->sae, rows, n, dir, err));
done:
    sl_act_source_free(rows);
    sl_free(r->ctx, rates);
    return st;
}

static sl_status in_model(sl_run *r, const sl_trained *t, subject *s, sl_err *err)
{
    sl_lm *lm = NULL;
    int64_t first, end;
    SL_TRY(sl_run_corpus(r, err));
    sl_run_fold(r, t->fold, &first, &end);
    SL_TRY(sl_run_load_lm(r, &lm, err));
    sl_status st = sl_eval_coder_splice(r->ctx, lm, &s->coder, r->plan->acts.hook, &r->corpus, first, end, r->plan->acts.splice_tokens, &s->m, err);
    sl_lm_free(lm);
    return st;
}

/* A random decoder with as many latents, as many of them active a row: what chance finds by the same means. */
static sl_status fit_control(sl_run *r, const sl_eval_data *d, sl_baseline **out, sl_err *err)
{
    int64_t k = (int64_t)llround((double)d->z.row_ptr[d->n_rows] / (double)d->n_rows);
    sl_random_options o = { .k = k < 1 ? 1 : k > d->d_sae ? d->d_sae : k, .d_sae = d->d_sae, .center = true };
    return sl_baseline_fit(r->ctx, "random", &(sl_baseline_data){ .x = d->x, .n = d->n_rows, .d_in = d->d_in }, &o, 0, out, err);
}

/* Directions and codes against the truth of the world. */
static sl_status against_truth(sl_run *r, const sl_ground *g, const sl_trained *t, subject *s, sl_err *err)
{
    static const char *const families[] = { "directions", "codes", "firing", "selected", "hierarchy", "splitting", "rates", NULL };
    const sl_world_truth *truth = sl_world_truth_of(g->world);
    sl_gathered rows = { 0 }, again = { 0 };
    sl_baseline *random = NULL;
    sl_act_source *src = NULL;
    sl_status st;
    SL_GO(sl_ground_open(r, g, SL_ROWS_TEST, t, &src, err));
    SL_GO(sl_gather(r->ctx, &s->coder, src, g->set->size.eval_rows, truth->n, &rows, err));
    rows.data.n_truth = truth->n;
    rows.data.truth = truth->d == rows.data.d_in ? truth->dir : NULL;
    rows.data.parent = truth->parent && truth->n_in_tree ? truth->parent : NULL;
    SL_GO(fit_control(r, &rows.data, &random, err));
    sl_coder control = sl_baseline_coder(random);
    SL_GO(sl_gather_again(r->ctx, &control, &rows, &again, err));
    SL_GO(sl_measure(r->ctx, &rows.data, &again.data, families, &s->m, err));
done:
    sl_gathered_release(r->ctx, &again);
    sl_baseline_free(random);
    sl_gathered_release(r->ctx, &rows);
    sl_act_source_free(src);
    return st;
}

/* One metric of every point of a curve, with its interval: null where there is none. */
static void put_curve(json_t *to, const sl_stability_curve *c, const char *key)
{
    json_t *y = json_array(), *lo = json_array(), *hi = json_array();
    for (int i = 0; i < c->n; i++) {
        const sl_metric *m = sl_metrics_get(&c->point[i].m, key);
        bool known = m && !m->is_null;
        json_array_append_new(y, known ? json_real(m->value) : json_null());
        json_array_append_new(lo, known && m->has_interval ? json_real(m->lo) : json_null());
        json_array_append_new(hi, known && m->has_interval ? json_real(m->hi) : json_null());
    }
    json_object_set_new(to, key, json_pack("{s:o, s:o, s:o}", "y", y, "lo", lo, "hi", hi));
}

static json_t *curve_json(const sl_stability_curve *c)
{
    static const char *const keys[] = { "fss", "sci", "overlap", "fvu", "f1_h" };
    json_t *strength = json_array(), *achieved = json_array(), *j = json_object();
    for (int i = 0; i < c->n; i++) {
        json_array_append_new(strength, json_real(c->point[i].strength));
        json_array_append_new(achieved, json_real(c->point[i].achieved));
    }
    json_object_set_new(j, "axis", json_string(c->axis));
    json_object_set_new(j, "strength", strength);
    json_object_set_new(j, "achieved", achieved);
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        put_curve(j, c, keys[i]);
    return j;
}

static json_t *report_json(const sl_stability_report *r)
{
    json_t *curves = json_object(), *clean = histogram_json(r->magnitude, SL_RATE_BINS), *noisy = histogram_json(r->magnitude_perturbed, SL_RATE_BINS);
    for (int i = 0; i < r->n_curves; i++)
        json_object_set_new(curves, r->curve[i].noise, curve_json(&r->curve[i]));
    return json_pack("{s:o, s:o, s:o}", "curves", curves, "magnitude", clean, "magnitude_perturbed", noisy);
}

/* fss_latents.npy [d_sae] f32; NaN: fires too rarely. */
static sl_status save_latents(sl_run *r, const sl_stability_report *report, const char *dir, sl_err *err)
{
    char path[SL_PATH + 32];
    float *v = sl_alloc(r->ctx, (size_t)report->d_sae * sizeof *v);
    sl_tensor t = sl_tensor_of(SL_F32, v, 1, report->d_sae);
    if (!v)
        return sl_fail(err, SL_MEM, "sae_eval", NULL, "no memory for %lld latents", (long long)report->d_sae);
    for (int64_t j = 0; j < report->d_sae; j++)
        v[j] = (float)report->fss_j[j];
    snprintf(path, sizeof path, "%s/fss_latents.npy", dir);
    sl_status st = sl_npy_write(r->ctx, path, &t, err);
    sl_free(r->ctx, v);
    return st;
}

/* Does the code survive noise? Scores at one strength, and the curves that the plan asks for in stability.json. */
static sl_status under_noise(sl_run *r, const sl_ground *g, const sl_trained *t, subject *s, const char *dir, sl_err *err)
{
    sl_stability_options o;
    sl_stability_report report = { 0 };
    sl_act_source *rows = NULL;
    if (!s->sae)
        return sl_metrics_null(r->ctx, &s->m, "fss", "a baseline is not perturbed", err);
    sl_opts_default(sl_stability_opts, &o);
    o.noise = strcmp(r->plan->run.stability, "none") == 0 ? "" : r->plan->run.stability;
    o.rows = sl_ground_eval_rows(r, g) < o.rows ? sl_ground_eval_rows(r, g) : o.rows;
    sl_status st;
    SL_GO(sl_ground_open(r, g, SL_ROWS_TEST, t, &rows, err));
    SL_GO(sl_eval_stability(r->ctx, s->sae, rows, &o, g->world ? sl_world_truth_of(g->world) : NULL, &s->m, &report, err));
    SL_GO(sl_run_save(r->ctx, dir, "stability.json", report_json(&report), err));
    SL_GO(save_latents(r, &report, dir, err));
done:
    sl_stability_report_release(r->ctx, &report);
    sl_act_source_free(rows);
    return st;
}

/* Rows with the combinations that training never showed: fvu_ood, and the gap to the other rows. */
static sl_status on_withheld(sl_run *r, const sl_ground *g, const sl_trained *t, subject *s, sl_err *err)
{
    sl_act_source *rows = NULL;
    sl_metrics m = { 0 };
    sl_status st;
    SL_GO(sl_ground_open(r, g, SL_ROWS_OOD, t, &rows, err));
    SL_GO(sl_eval_coder_rows(r->ctx, &s->coder, rows, g->set->size.eval_rows, &m, NULL, err));
    const sl_metric *ood = sl_metrics_get(&m, "fvu"), *id = sl_metrics_get(&s->m, "fvu");
    if (ood && !ood->is_null && id && !id->is_null) {
        SL_GO(sl_metrics_put(r->ctx, &s->m, "ood_gap", ood->value - id->value, ood->n, err));
        SL_GO(sl_metrics_put(r->ctx, &s->m, "fvu_ood", ood->value, ood->n, err));
    } else {
        SL_GO(sl_metrics_null(r->ctx, &s->m, "ood_gap", "no fvu of one of the two kinds of rows", err));
    }
done:
    sl_metrics_release(r->ctx, &m);
    sl_act_source_free(rows);
    return st;
}

static sl_status run_judge(void *arg, const char *dir, sl_err *err)
{
    sl_job *j = arg;
    sl_run *r = j->r;
    subject s = { 0 };
    sl_status st;
    SL_GO(open_subject(r, j->t, &s, err));
    SL_GO(on_rows(r, j->g, j->t, &s, dir, err));
    if (j->g->world)
        SL_GO(against_truth(r, j->g, j->t, &s, err));
    else
        SL_GO(in_model(r, j->t, &s, err));
    if (j->g->world && j->g->set->world->has_ood)
        SL_GO(on_withheld(r, j->g, j->t, &s, err));
    if (r->plan->run.stability)
        SL_GO(under_noise(r, j->g, j->t, &s, dir, err));
    if (r->plan->run.composition)
        SL_GO(sl_judge_composition(r, j->g, j->t, s.sae, &s.coder, dir, &s.m, err));
    SL_GO(sl_run_save(r->ctx, dir, "result.json", sl_judge_json(&s.m), err));
done:
    sl_baseline_free(s.baseline);
    sl_sae_free(s.sae);
    sl_metrics_release(r->ctx, &s.m);
    return st;
}

sl_status sl_judge_stage(sl_run *r, sl_trained *t, sl_err *err)
{
    sl_job j = { .r = r, .g = &r->ground[t->i_set], .t = t };
    json_t *f = j.g->world ? json_pack("{s:I}", "eval_rows", (json_int_t)j.g->set->size.eval_rows)
                           : json_pack("{s:I, s:s}", "splice_tokens", (json_int_t)r->plan->acts.splice_tokens, "hook", r->plan->acts.hook);
    if (f && r->plan->run.stability)
        json_object_set_new(f, "stability", json_string(r->plan->run.stability));
    if (f && r->plan->run.composition)
        json_object_set_new(f, "composition", json_integer(REV_COMPOSITION));
    return sl_run_stage(r, "sae_eval", REV_EVAL, f, (const char *const[4]){ t->sae.key, sl_ground_key(j.g, true), j.g->world ? NULL : r->lm[0].key }, run_judge, &j, &t->eval, err);
}
