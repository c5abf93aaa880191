/* Does the code still listen? Guards against scores that insensitivity would raise (science.md B7).
 *   sel       mean |z(x_a) - z(x_b)| over real pairs of rows with |x_a - x_b| = eps |x_a - mean| (1 +- .1), divided by mean |z(x + delta) - z(x)| of
 *             gauss noise of that eps: above 1 where real differences count for more than noise. At the smallest eps with LEAST_PAIRS pairs: sel_eps
 *   inj_resp  sum (z'_j - z_j) / sum alpha_j over injected latents j, x' = x + sum alpha_j d_j; 1 at best. TopK encodes with k + q, so that
 *             the newcomer need not push another one out */
#include "eval/robust.h"

#include <math.h>

enum { LEAST_PAIRS = 1000, MOST_PAIRS = 20000, PAIR_ROWS = 2048 };
#define WIDTH .1

/* |z(r) - p(q)|^2 */
static double row_sq_distance(const sl_sparse *z, int64_t r, const sl_sparse *p, int64_t q)
{
    double sum = 0;
    int64_t a = z->row_ptr[r], a_end = z->row_ptr[r + 1], b = p->row_ptr[q], b_end = p->row_ptr[q + 1];
    while (a < a_end || b < b_end) {
        int32_t i = a < a_end ? z->idx[a] : INT32_MAX, j = b < b_end ? p->idx[b] : INT32_MAX;
        double v = i <= j ? (double)z->val[a++] : 0, w = j <= i ? (double)p->val[b++] : 0;
        sum += (v - w) * (v - w);
    }
    return sum;
}

/* ---- selectivity ---- */

typedef struct pairs {
    const sl_subject *u;
    int64_t n;                  /* rows */
    float *cos;                 /* [n, n] of centred rows */
    double *norm;               /* [n] */
} pairs;

static sl_status pairs_new(const sl_subject *u, pairs *p, sl_err *err)
{
    const sl_eval_data *d = &u->g.data;
    *p = (pairs){ .u = u, .n = d->n_rows < PAIR_ROWS ? d->n_rows : PAIR_ROWS };
    float *x = sl_alloc(u->ctx, (size_t)(p->n * d->d_in) * sizeof *x);
    sl_status st;
    p->cos = sl_alloc(u->ctx, (size_t)(p->n * p->n) * sizeof *p->cos);
    p->norm = sl_alloc(u->ctx, (size_t)p->n * sizeof *p->norm);
    SL_GO(sl_have("selectivity", 3, (const void *const[]){ x, p->cos, p->norm }, err));
    for (int64_t r = 0; r < p->n; r++) {
        p->norm[r] = sl_subject_norm(u, r);
        for (int64_t i = 0; i < d->d_in; i++)
            x[r * d->d_in + i] = d->x[r * d->d_in + i] - (u->mean ? u->mean[i] : 0);
    }
    SL_GO(sl_cosines(u->ctx, x, p->n, x, p->n, d->d_in, p->cos, err));
done:
    sl_free(u->ctx, x);
    return st;
}

static bool is_pair(const pairs *p, int64_t a, int64_t b, double eps)
{
    double sq = p->norm[a] * p->norm[a] + p->norm[b] * p->norm[b] - 2 * p->norm[a] * p->norm[b] * (double)p->cos[a * p->n + b];
    double ratio = sqrt(fmax(0, sq)) / (eps * p->norm[a]);
    return a != b && p->norm[a] > 0 && fabs(ratio - 1) <= WIDTH;
}

/* How many pairs there are; *mean of the distance of every stride-th one's codes (stride 0: none is looked at). */
static int64_t walk_pairs(const pairs *p, double eps, int64_t stride, double *mean)
{
    int64_t found = 0, used = 0;
    double sum = 0;
    for (int64_t a = 0; a < p->n; a++)
        for (int64_t b = 0; b < p->n; b++)
            if (is_pair(p, a, b, eps) && found++ % (stride ? stride : 1) == 0 && stride) {
                sum += sqrt(row_sq_distance(&p->u->g.data.z, a, &p->u->g.data.z, b));
                used++;
            }
    *mean = used ? sum / (double)used : 0;
    return found;
}

/* Mean |z(x + delta) - z(x)| of gauss noise. */
static sl_status noise_response(const sl_subject *u, double eps, double *mean, sl_err *err)
{
    const sl_eval_data *d = &u->g.data;
    sl_perturb_config c = sl_noise_config(u, SL_PERTURB_GAUSS, eps);
    sl_noised l;
    sl_status st;
    SL_GO(sl_noised_run(u, &c, d->n_rows, false, &l, err));
    sl_sparse z = sl_sparse_of(&l.perturbed, d->n_rows, d->d_sae);
    *mean = 0;
    for (int64_t r = 0; r < d->n_rows; r++)
        *mean += l.valid[r] ? sqrt(row_sq_distance(&d->z, r, &z, r)) : 0;
    *mean /= l.n_valid ? (double)l.n_valid : 1;
done:
    sl_noised_release(u->ctx, &l);
    return st;
}

static sl_status put_ratio(const sl_subject *u, const pairs *p, double eps, int64_t found, sl_metrics *out, sl_err *err)
{
    double real, noise;
    walk_pairs(p, eps, 1 + found / MOST_PAIRS, &real);
    SL_TRY(noise_response(u, eps, &noise, err));
    SL_TRY(sl_metrics_put(u->ctx, out, "sel_eps", eps, found, err));
    return noise > 0 ? sl_metrics_put(u->ctx, out, "sel", real / noise, found, err) : sl_metrics_null(u->ctx, out, "sel", "noise of this size changes no code", err);
}

static sl_status put_selectivity(const sl_subject *u, sl_metrics *out, sl_err *err)
{
    static const double at[] = { .01, .02, .05, .1, .2, .3, .5, .75, 1 };
    static const char *const names[] = { "sel", "sel_eps", NULL };
    pairs p;
    sl_status st;
    SL_GO(pairs_new(u, &p, err));
    int64_t found = 0;
    size_t k = 0;
    for (double none; k < sizeof at / sizeof *at && found < LEAST_PAIRS; k++)
        found = walk_pairs(&p, at[k], 0, &none);
    SL_GO(found < LEAST_PAIRS ? sl_put_nulls(u->ctx, out, names, "fewer than 1000 pairs of rows are near each other", err) : put_ratio(u, &p, at[k - 1], found, out, err));
done:
    sl_free(u->ctx, p.cos);
    sl_free(u->ctx, p.norm);
    return st;
}

/* ---- injection response ---- */

/* Value of latent j in row r of sparse codes. */
static double value_of(const sl_sparse *z, int64_t r, int32_t j)
{
    for (int64_t e = z->row_ptr[r]; e < z->row_ptr[r + 1]; e++)
        if (z->idx[e] == j)
            return (double)z->val[e];
    return 0;
}

typedef struct injection {
    const sl_subject *u;
    const sl_noised *l;
    sl_linear_encoder e;        /* k > 0: TopK, with room for q more */
    double *row, *a;            /* [d_in], [d_sae] */
    uint8_t *support;           /* [d_sae] */
    double gained, asked;
    int64_t n;
} injection;

/* The injected latents of a row are those whose target exceeds the clean code. */
static void add_row(injection *k, int64_t r)
{
    const sl_eval_data *d = &k->u->g.data;
    sl_sparse target = sl_sparse_of(&k->l->target, d->n_rows, d->d_sae), perturbed = sl_sparse_of(&k->l->perturbed, d->n_rows, d->d_sae);
    if (k->e.k > 0) {
        for (int64_t i = 0; i < d->d_in; i++)
            k->row[i] = (double)k->l->x[r * d->d_in + i];
        sl_linear_support(&k->e, k->row, k->a, k->support);
    }
    for (int64_t e = target.row_ptr[r]; e < target.row_ptr[r + 1]; e++) {
        int32_t j = target.idx[e];
        double z = value_of(&d->z, r, j), alpha = (double)target.val[e] - z;
        if (!(alpha > 0))
            continue;
        k->gained += (k->e.k > 0 ? (k->support[j] ? k->a[j] : 0) : value_of(&perturbed, r, j)) - z;
        k->asked += alpha;
        k->n++;
    }
}

static sl_status respond(injection *k, int64_t n, int64_t q, sl_err *err)
{
    const sl_eval_data *d = &k->u->g.data;
    sl_status st = sl_linear_encoder_of(k->u->s, &k->e, err);
    if (st == SL_UNAVAILABLE)
        k->e.k = 0;
    else
        SL_TRY(st);
    k->e.k += k->e.k > 0 ? q : 0;
    k->row = sl_alloc(k->u->ctx, (size_t)d->d_in * sizeof *k->row);
    k->a = sl_alloc(k->u->ctx, (size_t)d->d_sae * sizeof *k->a);
    k->support = sl_alloc(k->u->ctx, (size_t)d->d_sae);
    SL_TRY(sl_have("injection response", 3, (const void *const[]){ k->row, k->a, k->support }, err));
    for (int64_t r = 0; r < n; r++)
        if (k->l->valid[r])
            add_row(k, r);
    return SL_OK;
}

static sl_status put_injection(const sl_subject *u, sl_metrics *out, sl_err *err)
{
    sl_perturb_config c = sl_noise_config(u, SL_PERTURB_INJECT, u->o->eps);
    sl_noised l;
    injection k = { .u = u, .l = &l };
    int64_t n = sl_few_rows(u);
    sl_status st;
    SL_GO(sl_noised_run(u, &c, n, true, &l, err));
    SL_GO(respond(&k, n, c.q, err));
    SL_GO(k.asked > 0 ? sl_metrics_put(u->ctx, out, "inj_resp", k.gained / k.asked, k.n, err) : sl_metrics_null(u->ctx, out, "inj_resp", "nothing could be injected", err));
done:
    sl_linear_encoder_release(u->ctx, &k.e);
    sl_free(u->ctx, k.row);
    sl_free(u->ctx, k.a);
    sl_free(u->ctx, k.support);
    sl_noised_release(u->ctx, &l);
    return st;
}

sl_status sl_put_responses(const sl_subject *u, sl_metrics *out, sl_err *err)
{
    SL_TRY(put_selectivity(u, out, err));
    return put_injection(u, out, err);
}
