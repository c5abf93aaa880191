/* Is attribution what ablation finds? For a row, a composition q active in it and two of its latents i, j (science.md C7), with c_q recomputed:
 *   |pi_q(j)| = |sum_i pi(i,j) + pi(j,i)|  against  |c_q(S) - c_q(S \ j)|
 *   |pi_q(i,j) + pi_q(j,i)|, and mean over heads of (P_ij + P_ji) / 2, against |Delta|,
 *   Delta = c_q(S) - c_q(S \ i) - c_q(S \ j) + c_q(S \ {i, j})
 * Attention alone is no evidence: its agreement stands beside that of the attribution. */
#include "eval/compose.h"

#include <saelab/rng.h>

#include <math.h>
#include <string.h>

enum { BATCH = 128, KINDS = 3 };
enum { WITHOUT_J, WITHOUT_I, WITHOUT_BOTH };

static const char *const names[] = { "attribution_error", "causal_pi", "index_pi", "index_attention", "index_mean", NULL };

typedef struct triple { int64_t row; int32_t q, i, j; } triple; /* i, j: places among the tokens of the row */

typedef struct causal {
    sl_compose *r;
    const sl_eval_data *d;
    int64_t n;
    triple *t;              /* [n] */
    float *x, *pi;          /* [BATCH, d_in], [most, most] */
    sl_codes less;          /* [BATCH KINDS] rows without one or two tokens */
    double full[BATCH];     /* c_q(S) */
    double *pi_j, *pi_ij, *p_ij, *change, *index; /* [n] absolute values of the above */
    double worst, drive_sq; /* of |sum pi - drive|; sum of drive^2 */
} causal;

static double value_of(const sl_codes *c, int64_t row, int32_t q)
{
    for (int64_t e = c->row_ptr[row]; e < c->row_ptr[row + 1]; e++)
        if (c->idx[e] == q)
            return (double)c->val[e];
    return 0;
}

/* Draws (row, q) among the active compositions of rows with two latents or more, then two of its latents. */
static int64_t draw(causal *k, const sl_branch *b, uint64_t seed, int64_t n, int64_t *entry, int64_t *row_of)
{
    int64_t usable = 0;
    for (int64_t r = 0; r < k->d->n_rows; r++)
        for (int64_t e = b->c.row_ptr[r]; k->d->z.row_ptr[r + 1] - k->d->z.row_ptr[r] >= 2 && e < b->c.row_ptr[r + 1]; e++) {
            entry[usable] = e;
            row_of[usable++] = r;
        }
    sl_rng rng = sl_rng_at(seed, SL_RNG_EVAL, SL_DRAW_TRIPLES, 0);
    for (int64_t t = 0; usable > 0 && t < n; t++) {
        uint64_t at = sl_rng_below(&rng, (uint64_t)usable);
        int64_t row = row_of[at], tokens = k->d->z.row_ptr[row + 1] - k->d->z.row_ptr[row];
        int32_t i = (int32_t)sl_rng_below(&rng, (uint64_t)tokens), j = (int32_t)sl_rng_below(&rng, (uint64_t)(tokens - 1));
        k->t[t] = (triple){ row, b->c.idx[entry[at]], i, j + (j >= i) };
    }
    return usable > 0 ? n : 0;
}

/* What the attribution and the attention of row `at` of the last call say of triple t. */
static sl_status attribute(causal *k, const sl_compose_view *v, int64_t at, int64_t t, sl_err *err)
{
    const triple *w = &k->t[t];
    int64_t n = v->z.row_ptr[at + 1] - v->z.row_ptr[at], heads = sl_compose_about(k->r).n_head;
    double sum = 0, of_j = 0, p = 0, drive = (double)v->drive[at * sl_compose_about(k->r).m_c + w->q];
    SL_TRY(sl_compose_attribution(k->r, at, w->q, false, k->pi, err));
    for (int64_t e = 0; e < n * n; e++) {
        sum += (double)k->pi[e];
        of_j += e / n == w->j || e % n == w->j ? (double)k->pi[e] : 0;
    }
    for (int64_t h = 0; h < heads; h++) {
        const float *P = v->attention + v->p_ptr[at] + h * n * n;
        p += ((double)P[w->i * n + w->j] + (double)P[w->j * n + w->i]) / 2 / (double)heads;
    }
    k->pi_j[t] = fabs(of_j);
    k->pi_ij[t] = fabs((double)k->pi[w->i * n + w->j] + (double)k->pi[w->j * n + w->i]);
    k->p_ij[t] = p;
    k->worst = fmax(k->worst, fabs(sum - drive));
    k->drive_sq += drive * drive;
    return SL_OK;
}

/* The three ablated versions of row `at` of the last call. */
static void ablate(causal *k, const sl_compose_view *v, int64_t at, const triple *w)
{
    for (int kind = 0; kind < KINDS; kind++) {
        int64_t row = at * KINDS + kind, to = k->less.row_ptr[row], from = v->z.row_ptr[at];
        for (int64_t e = from; e < v->z.row_ptr[at + 1]; e++) {
            bool is_i = e - from == w->i, is_j = e - from == w->j;
            if ((is_j && kind != WITHOUT_I) || (is_i && kind != WITHOUT_J))
                continue;
            k->less.idx[to] = v->z.idx[e];
            k->less.val[to++] = v->z.val[e];
        }
        k->less.row_ptr[row + 1] = to;
    }
}

static sl_status batch(causal *k, int64_t first, int64_t n, sl_err *err)
{
    sl_compose_view v;
    for (int64_t r = 0; r < n; r++)
        memcpy(k->x + r * k->d->d_in, k->d->x + k->t[first + r].row * k->d->d_in, (size_t)k->d->d_in * sizeof *k->x);
    SL_TRY(sl_compose_rows(k->r, k->x, n, &v, err));
    for (int64_t r = 0; r < n; r++) {
        k->full[r] = value_of(&v.c, r, k->t[first + r].q);
        SL_TRY(attribute(k, &v, r, first + r, err));
        ablate(k, &v, r, &k->t[first + r]);
    }
    SL_TRY(sl_compose_codes(k->r, &k->less, 0, n * KINDS, &v, err));
    for (int64_t r = 0; r < n; r++) {
        int32_t q = k->t[first + r].q;
        double no_j = value_of(&v.c, r * KINDS + WITHOUT_J, q), no_i = value_of(&v.c, r * KINDS + WITHOUT_I, q);
        k->change[first + r] = fabs(k->full[r] - no_j);
        k->index[first + r] = fabs(k->full[r] - no_i - no_j + value_of(&v.c, r * KINDS + WITHOUT_BOTH, q));
    }
    return SL_OK;
}

static sl_status put(sl_ctx *ctx, const causal *k, sl_metrics *out, sl_err *err)
{
    double r, mean = 0, rms = sqrt(k->drive_sq / (double)k->n);
    SL_TRY(sl_metrics_put(ctx, out, "attribution_error", rms > 0 ? k->worst / rms : k->worst, k->n, err));
    SL_TRY(sl_spearman(ctx, k->pi_j, k->change, k->n, &r, err));
    SL_TRY(sl_put_r(ctx, out, "causal_pi", r, k->n, err));
    SL_TRY(sl_spearman(ctx, k->pi_ij, k->index, k->n, &r, err));
    SL_TRY(sl_put_r(ctx, out, "index_pi", r, k->n, err));
    SL_TRY(sl_spearman(ctx, k->p_ij, k->index, k->n, &r, err));
    SL_TRY(sl_put_r(ctx, out, "index_attention", r, k->n, err));
    for (int64_t t = 0; t < k->n; t++)
        mean += k->index[t] / (double)k->n;
    return sl_metrics_put(ctx, out, "index_mean", mean, k->n, err);
}

static sl_status prepare(sl_ctx *ctx, causal *k, int64_t n, sl_err *err)
{
    int64_t most = 1;
    for (int64_t r = 0; r < k->d->n_rows; r++)
        most = k->d->z.row_ptr[r + 1] - k->d->z.row_ptr[r] > most ? k->d->z.row_ptr[r + 1] - k->d->z.row_ptr[r] : most;
    double **v[] = { &k->pi_j, &k->pi_ij, &k->p_ij, &k->change, &k->index };
    for (int i = 0; i < 5; i++)
        *v[i] = sl_alloc(ctx, (size_t)n * sizeof **v[i]);
    k->t = sl_alloc(ctx, (size_t)n * sizeof *k->t);
    k->x = sl_alloc(ctx, (size_t)(BATCH * k->d->d_in) * sizeof *k->x);
    k->pi = sl_alloc(ctx, (size_t)(most * most) * sizeof *k->pi);
    SL_TRY(sl_have("ablation", 8, (const void *const[]){ k->pi_j, k->pi_ij, k->p_ij, k->change, k->index, k->t, k->x, k->pi }, err));
    return sl_codes_new(ctx, BATCH * KINDS, most, &k->less, err);
}

sl_status sl_put_causal(sl_ctx *ctx, sl_compose *r, const sl_eval_data *d, const sl_branch *b, const sl_composition_opts *o, sl_metrics *out, sl_err *err)
{
    causal k = { .r = r, .d = d };
    size_t entries = (size_t)b->c.row_ptr[d->n_rows];
    int64_t *entry = sl_alloc(ctx, entries * sizeof *entry), *row_of = sl_alloc(ctx, entries * sizeof *row_of);
    sl_status st;
    SL_GO(sl_have("ablation", 2, (const void *const[]){ entry, row_of }, err));
    SL_GO(prepare(ctx, &k, o->n_triples, err));
    k.n = draw(&k, b, o->seed, o->n_triples, entry, row_of);
    for (int64_t first = 0; first < k.n; first += BATCH)
        SL_GO(batch(&k, first, k.n - first < BATCH ? k.n - first : BATCH, err));
    st = k.n > 0 ? put(ctx, &k, out, err) : sl_put_nulls(ctx, out, names, "no composition is active in a row of two latents or more", err);
done:
    if (k.less.row_ptr)
        sl_codes_release(ctx, &k.less);
    double *const v[] = { k.pi_j, k.pi_ij, k.p_ij, k.change, k.index };
    for (int i = 0; i < 5; i++)
        sl_free(ctx, v[i]);
    sl_free(ctx, k.pi);
    sl_free(ctx, k.x);
    sl_free(ctx, k.t);
    sl_free(ctx, row_of);
    sl_free(ctx, entry);
    return st;
}
