/* Mean attribution of compositions to pairs of latents, I_q(i,j), and what follows from it: participants, pairs, heat maps (science.md C7). */
#include "eval/compose.h"

#include <math.h>
#include <string.h>

/* ---- one composition ---- */

sl_status sl_mean_pi_new(sl_ctx *ctx, int64_t d_sae, sl_mean_pi *out, sl_err *err)
{
    size_t n = (size_t)(d_sae * d_sae);
    *out = (sl_mean_pi){ .d_sae = d_sae };
    if (d_sae > SL_COMPOSE_LATENTS)
        return sl_fail(err, SL_UNAVAILABLE, "attribution", NULL, "more than %d latents: no room for their pairs", (int)SL_COMPOSE_LATENTS);
    out->touched = sl_alloc(ctx, n * sizeof *out->touched);
    out->mean = sl_alloc(ctx, n * sizeof *out->mean);
    out->count = sl_alloc(ctx, n * sizeof *out->count);
    sl_status st = sl_have("attribution", 3, (const void *const[]){ out->touched, out->mean, out->count }, err);
    if (st != SL_OK)
        sl_mean_pi_release(ctx, out);
    return st;
}

void sl_mean_pi_release(sl_ctx *ctx, sl_mean_pi *m)
{
    sl_free(ctx, m->touched);
    sl_free(ctx, m->mean);
    sl_free(ctx, m->count);
    *m = (sl_mean_pi){ 0 };
}

void sl_mean_pi_clear(sl_mean_pi *m)
{
    for (int64_t t = 0; t < m->n_touched; t++) {
        m->mean[m->touched[t]] = 0;
        m->count[m->touched[t]] = 0;
    }
    m->n_touched = 0;
}

void sl_mean_pi_add(sl_mean_pi *m, const int32_t *token, int64_t n, const float *pi)
{
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < n; j++) {
            int64_t at = token[i] * m->d_sae + token[j];
            if (m->count[at]++ == 0)
                m->touched[m->n_touched++] = at;
            m->mean[at] += (double)pi[i * n + j];
        }
}

void sl_mean_pi_finish(sl_mean_pi *m)
{
    for (int64_t t = 0; t < m->n_touched; t++)
        m->mean[m->touched[t]] /= (double)m->count[m->touched[t]];
}

void sl_mean_pi_shares(const sl_mean_pi *m, double *share)
{
    double all = 0;
    memset(share, 0, (size_t)m->d_sae * sizeof *share);
    for (int64_t t = 0; t < m->n_touched; t++) {
        double v = fabs(m->mean[m->touched[t]]);
        share[m->touched[t] / m->d_sae] += v;
        share[m->touched[t] % m->d_sae] += v;
        all += v;
    }
    for (int64_t i = 0; all > 0 && i < m->d_sae; i++)
        share[i] /= 2 * all;
}

/* ---- a unit of the pictures ---- */

/* Latents with the n largest values above `least`, largest first; returns how many. */
static int32_t largest(const double *v, int64_t m, int32_t n, double least, int32_t *out)
{
    int32_t k = 0;
    for (int64_t i = 0; i < m; i++) {
        if (!(v[i] > 0) || v[i] < least || (k == n && v[i] <= v[out[k - 1]]))
            continue;
        int32_t at = k < n ? k++ : n - 1;
        for (; at > 0 && v[out[at - 1]] < v[i]; at--)
            out[at] = out[at - 1];
        out[at] = (int32_t)i;
    }
    return k;
}

static void fill_pairs(const sl_mean_pi *m, sl_composition_unit *u)
{
    for (int64_t t = 0; t < m->n_touched; t++) {
        int64_t i = m->touched[t] / m->d_sae, j = m->touched[t] % m->d_sae;
        double v = m->mean[i * m->d_sae + j] + m->mean[j * m->d_sae + i];
        if (i >= j || v == 0)
            continue;
        int32_t at = u->n_pairs < SL_UNIT_PAIRS ? u->n_pairs++ : SL_UNIT_PAIRS;
        for (; at > 0 && fabs(u->pair[at - 1].attribution) < fabs(v); at--)
            if (at < SL_UNIT_PAIRS)
                u->pair[at] = u->pair[at - 1];
        if (at < SL_UNIT_PAIRS) {
            u->pair[at].i = (int32_t)i;
            u->pair[at].j = (int32_t)j;
            u->pair[at].attribution = v;
        }
    }
}

static void fill_rows(const sl_columns *c, sl_composition_unit *u)
{
    for (int64_t e = c->ptr[u->q]; e < c->ptr[u->q + 1]; e++) {
        double v = (double)c->val[e];
        int32_t at = u->n_rows < SL_UNIT_ROWS ? u->n_rows++ : SL_UNIT_ROWS;
        for (; at > 0 && u->top[at - 1].value < v; at--)
            if (at < SL_UNIT_ROWS)
                u->top[at] = u->top[at - 1];
        if (at < SL_UNIT_ROWS) {
            u->top[at].row = c->row[e];
            u->top[at].value = v;
        }
    }
}

static void fill_unit(const sl_mean_pi *m, const double *share, const sl_columns *c, int64_t q, sl_composition_unit *u)
{
    *u = (sl_composition_unit){ .q = (int32_t)q, .fired = sl_fired(c, q), .relation = -1 };
    u->n_participants = largest(share, m->d_sae, SL_UNIT_PARTICIPANTS, SL_PARTICIPANT, u->participant);
    for (int32_t i = 0; i < u->n_participants; i++)
        u->share[i] = share[u->participant[i]];
    u->n_heat = largest(share, m->d_sae, SL_UNIT_HEAT, 0, u->heat_feature);
    for (int32_t i = 0; i < u->n_heat; i++)
        for (int32_t j = 0; j < u->n_heat; j++)
            u->heat[i][j] = (float)m->mean[u->heat_feature[i] * m->d_sae + u->heat_feature[j]];
    fill_pairs(m, u);
    fill_rows(c, u);
}

/* ---- all compositions ---- */

typedef struct walk {
    sl_compose *r;
    const sl_eval_data *d;
    sl_columns c;
    sl_mean_pi mean;
    float *x, *pi;          /* [SL_MEAN_ROWS, d_in], [max_active, max_active] */
    double *fired;          /* [m_c] */
    double energy;          /* sum of c_q^2 over rows and compositions */
    int32_t *shown;         /* [n_units] */
    int32_t n_shown;
} walk;

static double energy_of(const sl_columns *c, int64_t q)
{
    double sq;
    sl_column_sum(c, q, &sq);
    return sq;
}

static sl_status mean_of(walk *w, int64_t q, sl_err *err)
{
    int64_t n = sl_fired(&w->c, q), d = w->d->d_in;
    sl_compose_view v;
    n = n < SL_MEAN_ROWS ? n : SL_MEAN_ROWS;
    for (int64_t r = 0; r < n; r++)
        memcpy(w->x + r * d, w->d->x + w->c.row[w->c.ptr[q] + r] * d, (size_t)d * sizeof *w->x);
    sl_mean_pi_clear(&w->mean);
    SL_TRY(sl_compose_rows(w->r, w->x, n, &v, err));
    for (int64_t r = 0; r < n; r++) {
        int64_t from = v.z.row_ptr[r];
        SL_TRY(sl_compose_attribution(w->r, r, q, false, w->pi, err));
        sl_mean_pi_add(&w->mean, v.z.idx + from, v.z.row_ptr[r + 1] - from, w->pi);
    }
    sl_mean_pi_finish(&w->mean);
    return SL_OK;
}

static sl_status walk_all(sl_ctx *ctx, walk *w, double *share, double *strength, sl_composition_pictures *p, sl_err *err)
{
    int64_t m = w->d->d_sae;
    for (int64_t q = 0; q < w->c.n_cols; q++) {
        if (sl_cancelled(ctx))
            return sl_fail(err, SL_CANCELLED, "composition", NULL, "stopped");
        if (sl_fired(&w->c, q) == 0)
            continue;
        SL_TRY(mean_of(w, q, err));
        sl_mean_pi_shares(&w->mean, share + q * m);
        for (int64_t t = 0; t < w->mean.n_touched; t++) {
            int64_t i = w->mean.touched[t] / m, j = w->mean.touched[t] % m;
            strength[(i < j ? i : j) * m + (i < j ? j : i)] += fabs(w->mean.mean[w->mean.touched[t]]);
        }
        for (int32_t k = 0; k < w->n_shown; k++) {
            if (w->shown[k] != q)
                continue;
            fill_unit(&w->mean, share + q * m, &w->c, q, &p->unit[k]);
            p->unit[k].energy = energy_of(&w->c, q) / w->energy;
            SL_TRY(sl_unit_indices(ctx, w->r, &w->d->z, &w->c, &p->unit[k], err));
        }
    }
    return SL_OK;
}

static sl_status choose_units(sl_ctx *ctx, walk *w, int64_t n_units, sl_composition_pictures *p, sl_err *err)
{
    if (!p || n_units < 1)
        return SL_OK;
    w->fired = sl_alloc(ctx, (size_t)w->c.n_cols * sizeof *w->fired);
    w->shown = sl_alloc(ctx, (size_t)n_units * sizeof *w->shown);
    p->unit = sl_alloc(ctx, (size_t)n_units * sizeof *p->unit);
    SL_TRY(sl_have("pictures", 3, (const void *const[]){ w->fired, w->shown, p->unit }, err));
    for (int64_t q = 0; q < w->c.n_cols; q++) {
        w->fired[q] = (double)sl_fired(&w->c, q);
        w->energy += energy_of(&w->c, q);
    }
    w->n_shown = largest(w->fired, w->c.n_cols, (int32_t)n_units, 0, w->shown);
    p->n_units = w->n_shown;
    p->n_compositions = w->c.n_cols;
    return SL_OK;
}

sl_status sl_attributions(sl_ctx *ctx, sl_compose *r, const sl_eval_data *d, const sl_branch *b, int64_t n_units, double *share, double *strength,
                          sl_composition_pictures *p, sl_err *err)
{
    walk w = { .r = r, .d = d };
    int64_t most = 1;
    for (int64_t k = 0; k < d->n_rows; k++)
        most = d->z.row_ptr[k + 1] - d->z.row_ptr[k] > most ? d->z.row_ptr[k + 1] - d->z.row_ptr[k] : most;
    sl_status st;
    sl_sparse c = sl_sparse_of(&b->c, d->n_rows, b->m_c);
    SL_GO(sl_mean_pi_new(ctx, d->d_sae, &w.mean, err));
    SL_GO(sl_columns_new(ctx, &c, &w.c, err));
    w.x = sl_alloc(ctx, (size_t)(SL_MEAN_ROWS * d->d_in) * sizeof *w.x);
    w.pi = sl_alloc(ctx, (size_t)(most * most) * sizeof *w.pi);
    SL_GO(sl_have("attribution", 2, (const void *const[]){ w.x, w.pi }, err));
    SL_GO(choose_units(ctx, &w, n_units, p, err));
    SL_GO(walk_all(ctx, &w, share, strength, p, err));
done:
    sl_free(ctx, w.shown);
    sl_free(ctx, w.fired);
    sl_free(ctx, w.pi);
    sl_free(ctx, w.x);
    if (w.c.ptr)
        sl_columns_release(ctx, &w.c);
    sl_mean_pi_release(ctx, &w.mean);
    return st;
}
