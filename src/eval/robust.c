/* Stability of a finished SAE on held-out rows: sl_eval_stability. The parts: robust_level.c perturbs and scores, robust_curve.c draws curves,
 * robust_weights.c, robust_response.c and robust_truth.c have the other scores, stability.c the scores of codes. */
#include "eval/robust.h"

#include "sae/variant.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { MOST_NOISES = 32 };

/* ---- which noises ---- */

static sl_status no_such_noise(const char *name, size_t length, sl_err *err)
{
    char text[64];
    snprintf(text, sizeof text, "%.*s", (int)length, name);
    return sl_fail(err, SL_ARG, "noise", "types of perturbation with commas between them, or all", "there is no '%s'", text);
}

/* The types named in text, in their order; each once. */
static sl_status read_noises(const char *text, int type[MOST_NOISES], int *n, sl_err *err)
{
    const char *const *names = sl_opts_find(sl_perturb_opts, "type")->choices;
    *n = 0;
    if (text && strcmp(text, "all") == 0) {
        for (int i = SL_PERTURB_NONE + 1; names[i]; i++)
            type[(*n)++] = i;
        return SL_OK;
    }
    for (const char *at = text ? text : ""; *at;) {
        size_t length = strcspn(at, ",");
        int found = 0;
        for (int i = SL_PERTURB_NONE + 1; names[i]; i++)
            found = strlen(names[i]) == length && strncmp(names[i], at, length) == 0 ? i : found;
        for (int i = 0; i < *n; i++)
            found = type[i] == found ? 0 : found;
        if (!found)
            return no_such_noise(at, length, err);
        type[(*n)++] = found;
        at += length + (at[length] == ',');
    }
    return SL_OK;
}

/* ---- the subject ---- */

static void set_spread(sl_subject *u)
{
    const sl_eval_data *d = &u->g.data;
    double n = (double)d->n_rows;
    u->spread = 0;
    for (int64_t i = 0; i < d->d_in; i++) {
        double sum = 0, sq = 0, shift = (double)d->x[i];
        for (int64_t r = 0; r < d->n_rows; r++) {
            double v = (double)d->x[r * d->d_in + i] - shift;
            sum += v;
            sq += v * v;
        }
        u->spread += fmax(0, sq - sum * sum / n) / n;
    }
}

/* Classes of sci_sem: the true features that are on, else the tokens. */
static sl_status set_classes(sl_subject *u, sl_err *err)
{
    int64_t n = u->g.data.n_rows;
    int32_t most = 0;
    if (u->g.data.g.row_ptr)
        u->classes = u->g.data.g;
    if (u->classes.row_ptr || !u->g.token)
        return SL_OK;
    u->class_ptr = sl_alloc(u->ctx, (size_t)(n + 1) * sizeof *u->class_ptr);
    u->class_one = sl_alloc(u->ctx, (size_t)n * sizeof *u->class_one);
    SL_TRY(sl_have("classes", 2, (const void *const[]){ u->class_ptr, u->class_one }, err));
    for (int64_t r = 0; r < n; r++) {
        if (u->g.token[r] < 0)
            return SL_OK;
        most = u->g.token[r] > most ? u->g.token[r] : most;
        u->class_ptr[r + 1] = r + 1;
        u->class_one[r] = 1;
    }
    u->classes = (sl_sparse){ n, (int64_t)most + 1, u->class_ptr, u->g.token, u->class_one };
    return SL_OK;
}

static bool any_direction(const float *w, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (w[i] != 0)
            return true;
    return false;
}

static sl_status set_truth(sl_subject *u, const sl_world_truth *t, sl_err *err)
{
    sl_eval_data *d = &u->g.data;
    if (!t || !t->dir || t->d != d->d_in || !d->g.row_ptr || !any_direction(d->W_dec, d->d_sae * d->d_in))
        return SL_OK;
    d->n_truth = t->n;
    d->truth = t->dir;
    SL_TRY(sl_matching_new(u->ctx, d, &u->match, err));
    u->has_truth = true;
    return SL_OK;
}

static sl_status open_subject(sl_subject *u, sl_act_source *rows, const sl_world_truth *truth, sl_err *err)
{
    sl_coder coder = sl_coder_of(u->s);
    if (sl_sae_about(u->s).has_target)
        return sl_fail(err, SL_UNAVAILABLE, "stability", "an SAE", "it predicts a target, which these metrics do not know");
    SL_TRY(sl_gather(u->ctx, &coder, rows, u->o->rows, truth ? truth->n : 0, &u->g, err));
    if (u->g.data.n_rows < 2)
        return sl_fail(err, SL_DATA, "activations", "at least 2 rows", "there is one");
    u->mean = u->s->mean;
    u->g.data.seed = (uint64_t)u->o->seed;
    set_spread(u);
    SL_TRY(set_classes(u, err));
    return set_truth(u, truth, err);
}

static void close_subject(sl_subject *u)
{
    sl_matching_release(u->ctx, &u->match);
    sl_free(u->ctx, u->class_ptr);
    sl_free(u->ctx, u->class_one);
    sl_gathered_release(u->ctx, &u->g);
}

/* ---- the whole ---- */

static sl_status make_report(const sl_subject *u, sl_stability_report *r, int n_curves, sl_err *err)
{
    size_t m = (size_t)u->g.data.d_sae;
    r->d_sae = u->g.data.d_sae;
    r->fss_j = sl_alloc(u->ctx, m * sizeof *r->fss_j);
    r->sci_j = sl_alloc(u->ctx, m * sizeof *r->sci_j);
    r->rate = sl_alloc(u->ctx, m * sizeof *r->rate);
    r->rate_perturbed = sl_alloc(u->ctx, m * sizeof *r->rate_perturbed);
    r->curve = sl_alloc(u->ctx, (size_t)n_curves * sizeof *r->curve);
    return sl_have("stability", 5, (const void *const[]){ r->fss_j, r->sci_j, r->rate, r->rate_perturbed, r->curve }, err);
}

/* As it stands in `from`, floor and interval too, under another name; prefix "" keeps the name. */
static sl_status copy_metric(sl_ctx *ctx, const sl_metric *m, const char *name, sl_metrics *out, sl_err *err)
{
    if (m->is_null)
        return sl_metrics_null(ctx, out, name, m->reason, err);
    SL_TRY(sl_metrics_put(ctx, out, name, m->value, m->n, err));
    if (m->has_floor)
        sl_metrics_floor(out, name, m->floor);
    if (m->has_interval)
        sl_metrics_interval(out, name, m->lo, m->hi);
    return SL_OK;
}

/* The plain scores; fvu of noisy rows has a name of its own, so has their F1. */
static sl_status put_plain(const sl_subject *u, sl_metrics *out, sl_stability_report *report, sl_err *err)
{
    static const char *const renamed[][2] = { { "fvu", "noisy_fvu" }, { "f1", "noisy_f1" }, { "f1_h", "noisy_f1_h" } };
    sl_perturb_config c = sl_noise_config(u, SL_PERTURB_GAUSS, u->o->eps);
    sl_noised l;
    sl_stability_point p = { 0 };
    sl_status st;
    SL_GO(sl_noised_run(u, &c, u->g.data.n_rows, false, &l, err));
    SL_GO(sl_noised_score(u, &l, &p, NULL, report, err));
    for (int i = 0; i < p.m.n; i++) {
        const char *name = p.m.v[i].name;
        for (int k = 0; k < 3; k++)
            name = strcmp(p.m.v[i].name, renamed[k][0]) == 0 ? renamed[k][1] : name;
        SL_GO(copy_metric(u->ctx, &p.m.v[i], name, out, err));
    }
done:
    sl_metrics_release(u->ctx, &p.m);
    sl_noised_release(u->ctx, &l);
    return st;
}

static sl_status put_curve(const sl_subject *u, int type, const sl_stability_curve *c, sl_metrics *out, sl_err *err)
{
    for (int i = 0; i < c->m.n; i++) {
        char name[64];
        snprintf(name, sizeof name, "%.40s_%s", c->m.v[i].name, c->noise);
        SL_TRY(copy_metric(u->ctx, &c->m.v[i], name, out, err));
    }
    return type == SL_PERTURB_GAUSS ? copy_metric(u->ctx, sl_metrics_get(&c->m, "auc"), "auc", out, err) : SL_OK;
}

static sl_status run_all(const sl_subject *u, const int *type, int n, sl_metrics *out, sl_stability_report *report, sl_err *err)
{
    SL_TRY(put_plain(u, out, report, err));
    SL_TRY(sl_put_weights(u, out, err));
    SL_TRY(sl_put_responses(u, out, err));
    for (int i = 0; i < n; i++) {
        sl_status st = sl_curve_run(u, type[i], &report->curve[i], err);
        report->n_curves = i + 1;
        SL_TRY(st);
        SL_TRY(put_curve(u, type[i], &report->curve[i], out, err));
    }
    return SL_OK;
}

sl_status sl_eval_stability(sl_ctx *ctx, sl_sae *s, sl_act_source *rows, const sl_stability_options *o, const sl_world_truth *truth, sl_metrics *out,
                            sl_stability_report *report, sl_err *err)
{
    sl_subject u = { .ctx = ctx, .s = s, .o = o };
    sl_stability_report own = { 0 };
    int type[MOST_NOISES], n;
    sl_status st;
    if (report)
        *report = (sl_stability_report){ 0 };
    SL_GO(read_noises(o->noise, type, &n, err));
    SL_GO(open_subject(&u, rows, truth, err));
    SL_GO(make_report(&u, &own, n, err));
    SL_GO(run_all(&u, type, n, out, &own, err));
    if (report) {
        *report = own;
        own = (sl_stability_report){ 0 };
    }
done:
    sl_stability_report_release(ctx, &own);
    close_subject(&u);
    return st;
}

void sl_stability_report_release(sl_ctx *ctx, sl_stability_report *r)
{
    for (int i = 0; i < r->n_curves; i++)
        sl_curve_release(ctx, &r->curve[i]);
    sl_free(ctx, r->curve);
    sl_free(ctx, r->fss_j);
    sl_free(ctx, r->sci_j);
    sl_free(ctx, r->rate);
    sl_free(ctx, r->rate_perturbed);
    *r = (sl_stability_report){ 0 };
}
