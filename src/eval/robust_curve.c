/* A robustness curve: the scores at rising strength of one kind of noise (science.md B1, B7).
 *   auc     area under FSS over the achieved magnitude 0 to AUC_END, by trapezoids, divided by AUC_END
 *   eps_50  where FSS first falls to .5, between two points linearly
 * The interval of auc resamples documents, the same ones at every strength. */
#include "eval/robust.h"

#include <math.h>
#include <stdio.h>

#define AUC_END .5
#define HALF .5
enum { MOST_POINTS = 10 };

typedef struct axis { const char *name; int n; double strength[MOST_POINTS - 1]; } axis;
static const axis EPS = { "eps", 9, { .01, .02, .05, .1, .2, .3, .5, .75, 1 } }, ALPHA = { "alpha", 3, { .25, .5, 1 } }, Q = { "q", 3, { 1, 2, 4 } },
                  BITS = { "bits", 3, { 6, 4, 3 } };

static const axis *axis_of(int type)
{
    return type == SL_PERTURB_INJECT ? &ALPHA : type == SL_PERTURB_FEATDROP ? &Q : type == SL_PERTURB_QUANT ? &BITS : &EPS;
}

static sl_perturb_config config_of(const sl_subject *u, int type, double strength)
{
    const axis *a = axis_of(type);
    sl_perturb_config c = sl_noise_config(u, type, a == &EPS ? strength : u->o->eps);
    if (a == &ALPHA)
        c.alpha = strength;
    else if (a == &Q)
        c.q = (int64_t)strength;
    else if (a == &BITS)
        c.quant = strength == 6 ? SL_QUANT_INT6 : strength == 4 ? SL_QUANT_INT4 : SL_QUANT_INT3;
    return c;
}

/* ---- what a curve comes to ---- */

/* y over x, both [n], x rising (points that do not go on are left out) up to AUC_END; NaN where the curve ends before. */
static double area(const double *x, const double *y, int n)
{
    double sum = 0;
    int last = 0;
    for (int i = 1; i < n; i++) {
        if (!(x[i] > x[last]) || isnan(y[i]))
            continue;
        double end = x[i] < AUC_END ? x[i] : AUC_END, at_end = y[last] + (y[i] - y[last]) * (end - x[last]) / (x[i] - x[last]);
        sum += (end - x[last]) * (y[last] + at_end) / 2;
        last = i;
        if (end == AUC_END)
            return sum / AUC_END;
    }
    return NAN;
}

/* Where y first falls to HALF; NaN where it does not. */
static double half_point(const double *x, const double *y, int n)
{
    for (int i = 1; i < n; i++)
        if (y[i] <= HALF && y[i - 1] > HALF)
            return x[i - 1] + (x[i] - x[i - 1]) * (y[i - 1] - HALF) / (y[i - 1] - y[i]);
    return NAN;
}

typedef struct boot { const sl_cluster_sums *part; /* [n, SL_TALLY_CLUSTERS] */ const double *x; const int32_t *used; int n; } boot;

static double resampled_area(void *user, const int32_t *pick, int64_t n_docs)
{
    const boot *b = user;
    double y[MOST_POINTS];
    for (int i = 0; i < b->n; i++) {
        double diff = 0, total = 0;
        for (int64_t k = 0; k < n_docs; k++) {
            const sl_cluster_sums *s = &b->part[i * SL_TALLY_CLUSTERS + b->used[pick[k]]];
            diff += s->diff;
            total += s->total;
        }
        y[i] = total > 0 ? 1 - diff / total : NAN;
    }
    return area(b->x, y, b->n);
}

static sl_status put_area_interval(const sl_subject *u, const sl_cluster_sums *part, const double *x, int n, sl_metrics *out, sl_err *err)
{
    int32_t used[SL_TALLY_CLUSTERS], n_used = 0;
    sl_boot b;
    for (int32_t k = 0; k < SL_TALLY_CLUSTERS; k++)
        if (part[k].total > 0)
            used[n_used++] = k;
    if (n_used < 2 || u->o->draws < 2)
        return SL_OK;
    boot of = { part, x, used, n };
    SL_TRY(sl_boot_of(u->ctx, resampled_area, &of, n_used, &(sl_boot_opts){ u->o->draws, .95, (uint64_t)u->o->seed }, &b, err));
    sl_metrics_interval(out, "auc", b.lo, b.hi);
    return SL_OK;
}

static void values_of(const sl_stability_curve *c, const char *name, double *y)
{
    for (int i = 0; i < c->n; i++) {
        const sl_metric *m = sl_metrics_get(&c->point[i].m, name);
        y[i] = m && !m->is_null ? m->value : NAN;
    }
}

static sl_status put_summary(const sl_subject *u, sl_stability_curve *c, const sl_cluster_sums *part, sl_err *err)
{
    static const char *const of[][2] = { { "auc", "fss" }, { "auc_sci", "sci" }, { "auc_overlap", "overlap" } };
    double x[MOST_POINTS], y[MOST_POINTS];
    for (int i = 0; i < c->n; i++)
        x[i] = c->point[i].achieved;
    for (int k = 0; k < 3; k++) {
        values_of(c, of[k][1], y);
        double v = area(x, y, c->n);
        SL_TRY(isnan(v) ? sl_metrics_null(u->ctx, &c->m, of[k][0], "the noise does not reach a magnitude of .5, or there is no score", err)
                        : sl_metrics_put(u->ctx, &c->m, of[k][0], v, c->point[0].valid, err));
    }
    values_of(c, "fss", y);
    double at = half_point(x, y, c->n);
    SL_TRY(isnan(at) ? sl_metrics_null(u->ctx, &c->m, "eps_50", "FSS stays above .5", err) : sl_metrics_put(u->ctx, &c->m, "eps_50", at, c->point[0].valid, err));
    return sl_metrics_get(&c->m, "auc")->is_null ? SL_OK : put_area_interval(u, part, x, c->n, &c->m, err);
}

/* ---- the curve ---- */

static sl_status run_point(const sl_subject *u, int type, sl_stability_point *p, sl_cluster_sums *part, sl_err *err)
{
    sl_perturb_config c = config_of(u, type, p->strength);
    sl_noised l;
    sl_status st;
    SL_GO(sl_noised_run(u, p->strength > 0 ? &c : NULL, u->g.data.n_rows, false, &l, err));
    SL_GO(sl_noised_score(u, &l, p, part, NULL, err));
done:
    sl_noised_release(u->ctx, &l);
    return st;
}

sl_status sl_curve_run(const sl_subject *u, int type, sl_stability_curve *out, sl_err *err)
{
    const axis *a = axis_of(type);
    const sl_opt *names = sl_opts_find(sl_perturb_opts, "type");
    *out = (sl_stability_curve){ .n = a->n + 1 };
    snprintf(out->noise, sizeof out->noise, "%s", names->choices[type]);
    snprintf(out->axis, sizeof out->axis, "%s", a->name);
    out->point = sl_alloc(u->ctx, (size_t)out->n * sizeof *out->point);
    sl_cluster_sums *part = sl_alloc(u->ctx, (size_t)(out->n * SL_TALLY_CLUSTERS) * sizeof *part);
    sl_status st;
    SL_GO(sl_have("robustness curve", 2, (const void *const[]){ out->point, part }, err));
    for (int i = 0; i < out->n; i++) {
        out->point[i].strength = i ? a->strength[i - 1] : 0;
        SL_GO(run_point(u, type, &out->point[i], part + i * SL_TALLY_CLUSTERS, err));
        sl_progress(u->ctx, "stability", i + 1, out->n, "strengths", "%s", out->noise);
    }
    SL_GO(put_summary(u, out, part, err));
done:
    sl_free(u->ctx, part);
    return st;
}

void sl_curve_release(sl_ctx *ctx, sl_stability_curve *c)
{
    for (int i = 0; c->point && i < c->n; i++)
        sl_metrics_release(ctx, &c->point[i].m);
    sl_free(ctx, c->point);
    sl_metrics_release(ctx, &c->m);
    *c = (sl_stability_curve){ 0 };
}
