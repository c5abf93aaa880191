/* Pairs of latents: how often they fire together, what a nonlinear decoder makes of them beyond their sum, their covariance. */
#include "eval/compose.h"

#include <math.h>
#include <stdlib.h>

enum { CHUNK = 512 };

/* ---- which pairs ---- */

static int by_both(const void *a, const void *b)
{
    const sl_pair *x = a, *y = b;
    if (x->both != y->both)
        return x->both > y->both ? -1 : 1;
    return x->i != y->i ? (x->i > y->i) - (x->i < y->i) : (x->j > y->j) - (x->j < y->j);
}

sl_status sl_pairs_of(sl_ctx *ctx, const sl_sparse *z, int64_t min_rows, sl_pair **out, int64_t *n, sl_err *err)
{
    int64_t m = z->n_cols, found = 0;
    *out = NULL;
    *n = 0;
    if (m > SL_COMPOSE_LATENTS)
        return sl_fail(err, SL_UNAVAILABLE, "pairs of latents", NULL, "more than %d latents: no room for their pairs", (int)SL_COMPOSE_LATENTS);
    int32_t *both = sl_alloc(ctx, (size_t)(m * m) * sizeof *both);
    SL_TRY(sl_have("pairs of latents", 1, (const void *const[]){ both }, err));
    for (int64_t r = 0; r < z->n_rows; r++)
        for (int64_t a = z->row_ptr[r]; a < z->row_ptr[r + 1]; a++)
            for (int64_t b = a + 1; b < z->row_ptr[r + 1]; b++)
                both[z->idx[a] * m + z->idx[b]]++;
    for (int64_t e = 0; e < m * m; e++)
        found += both[e] > 0 && both[e] >= min_rows;
    *out = sl_alloc(ctx, (size_t)found * sizeof **out);
    sl_status st = sl_have("pairs of latents", 1, (const void *const[]){ *out }, err);
    for (int64_t e = 0; st == SL_OK && e < m * m; e++)
        if (both[e] > 0 && both[e] >= min_rows)
            (*out)[(*n)++] = (sl_pair){ (int32_t)(e / m), (int32_t)(e % m), both[e], 0 };
    sl_free(ctx, both);
    if (st == SL_OK && *n > 0)
        qsort(*out, (size_t)*n, sizeof **out, by_both);
    *n = *n < SL_PAIRS_MAX ? *n : SL_PAIRS_MAX;
    return st;
}

/* ---- what the decoder makes of them ---- */

typedef struct decoding {
    sl_sae *s;
    sl_pair *pair;
    int64_t n, d_sae, d;
    float *value;           /* [d_sae] mean active value */
    float *alone, *none;    /* [d_sae, d] x^ of one latent; [d] of none */
    float *xhat;            /* [CHUNK, d] */
    sl_codes z;
} decoding;

static sl_status decode_alone(decoding *k, sl_err *err)
{
    k->z.row_ptr[1] = 0;
    SL_TRY(sl_sae_decode(k->s, &k->z, 1, k->none, err));
    for (int64_t first = 0; first < k->d_sae; first += CHUNK) {
        int64_t n = k->d_sae - first < CHUNK ? k->d_sae - first : CHUNK, at = 0;
        for (int64_t r = 0; r < n; r++) {
            if (k->value[first + r] > 0) {
                k->z.idx[at] = (int32_t)(first + r);
                k->z.val[at++] = k->value[first + r];
            }
            k->z.row_ptr[r + 1] = at;
        }
        SL_TRY(sl_sae_decode(k->s, &k->z, n, k->alone + first * k->d, err));
    }
    return SL_OK;
}

static double interaction(const decoding *k, const sl_pair *p, const float *xhat)
{
    double sq = 0;
    for (int64_t c = 0; c < k->d; c++) {
        double v = (double)xhat[c] - (double)k->alone[p->i * k->d + c] - (double)k->alone[p->j * k->d + c] + (double)k->none[c];
        sq += v * v;
    }
    return sqrt(sq);
}

static sl_status decode_pairs(decoding *k, sl_err *err)
{
    for (int64_t first = 0; first < k->n; first += CHUNK) {
        int64_t n = k->n - first < CHUNK ? k->n - first : CHUNK;
        for (int64_t r = 0; r < n; r++) {
            const sl_pair *p = &k->pair[first + r];
            k->z.idx[2 * r] = p->i;
            k->z.idx[2 * r + 1] = p->j;
            k->z.val[2 * r] = k->value[p->i];
            k->z.val[2 * r + 1] = k->value[p->j];
            k->z.row_ptr[r + 1] = 2 * r + 2;
        }
        SL_TRY(sl_sae_decode(k->s, &k->z, n, k->xhat, err));
        for (int64_t r = 0; r < n; r++)
            k->pair[first + r].score = interaction(k, &k->pair[first + r], k->xhat + r * k->d);
    }
    return SL_OK;
}

sl_status sl_decoder_pairs(sl_ctx *ctx, sl_sae *s, const sl_sparse *z, sl_pair *pair, int64_t n, sl_err *err)
{
    sl_sae_info i = sl_sae_about(s);
    decoding k = { .s = s, .pair = pair, .n = n, .d_sae = i.d_sae, .d = i.d_out };
    sl_columns c = { 0 };
    sl_status st;
    SL_GO(sl_columns_new(ctx, z, &c, err));
    SL_GO(sl_codes_new(ctx, CHUNK, 2, &k.z, err));
    k.value = sl_alloc(ctx, (size_t)k.d_sae * sizeof *k.value);
    k.alone = sl_alloc(ctx, (size_t)(k.d_sae * k.d) * sizeof *k.alone);
    k.none = sl_alloc(ctx, (size_t)k.d * sizeof *k.none);
    k.xhat = sl_alloc(ctx, (size_t)(CHUNK * k.d) * sizeof *k.xhat);
    SL_GO(sl_have("pairs of latents", 4, (const void *const[]){ k.value, k.alone, k.none, k.xhat }, err));
    for (int64_t j = 0; j < k.d_sae; j++)
        k.value[j] = sl_fired(&c, j) ? (float)(sl_column_sum(&c, j, NULL) / (double)sl_fired(&c, j)) : 0;
    SL_GO(decode_alone(&k, err));
    SL_GO(decode_pairs(&k, err));
done:
    sl_free(ctx, k.xhat);
    sl_free(ctx, k.none);
    sl_free(ctx, k.alone);
    sl_free(ctx, k.value);
    if (k.z.row_ptr)
        sl_codes_release(ctx, &k.z);
    if (c.ptr)
        sl_columns_release(ctx, &c);
    return st;
}

void sl_covariance_pairs(const sl_columns *z, sl_pair *pair, int64_t n)
{
    double rows = (double)z->n_rows;
    for (int64_t p = 0; p < n; p++) {
        int64_t a = z->ptr[pair[p].i], b = z->ptr[pair[p].j];
        double prod = 0;
        while (a < z->ptr[pair[p].i + 1] && b < z->ptr[pair[p].j + 1]) {
            if (z->row[a] == z->row[b])
                prod += (double)z->val[a] * (double)z->val[b];
            int32_t ra = z->row[a], rb = z->row[b];
            a += ra <= rb;
            b += rb <= ra;
        }
        pair[p].score = prod / rows - sl_column_sum(z, pair[p].i, NULL) / rows * sl_column_sum(z, pair[p].j, NULL) / rows;
    }
}

/* ---- pairs as units ---- */

static bool row_has(const sl_sparse *z, int64_t r, int32_t j)
{
    int64_t lo = z->row_ptr[r], hi = z->row_ptr[r + 1];
    while (lo < hi) {
        int64_t mid = lo + (hi - lo) / 2;
        if (z->idx[mid] < j)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < z->row_ptr[r + 1] && z->idx[lo] == j;
}

sl_status sl_pair_units(sl_ctx *ctx, const sl_sparse *z, const sl_pair *pair, int64_t n, sl_units *out, sl_err *err)
{
    int64_t nnz = 0;
    for (int64_t p = 0; p < n; p++)
        nnz += pair[p].both;
    int64_t *ptr = sl_alloc(ctx, (size_t)(z->n_rows + 1) * sizeof *ptr), at = 0;
    int32_t *idx = sl_alloc(ctx, (size_t)nnz * sizeof *idx);
    float *val = sl_alloc(ctx, (size_t)nnz * sizeof *val);
    double *share = sl_alloc(ctx, (size_t)(n * z->n_cols) * sizeof *share);
    *out = (sl_units){ n, z->n_cols, { z->n_rows, n, ptr, idx, val }, share };
    sl_status st = sl_have("pairs of latents", 4, (const void *const[]){ ptr, idx, val, share }, err);
    if (st != SL_OK) {
        sl_units_release(ctx, out);
        return st;
    }
    for (int64_t r = 0; r < z->n_rows; r++) {
        for (int64_t p = 0; p < n; p++)
            if (row_has(z, r, pair[p].i) && row_has(z, r, pair[p].j)) {
                idx[at] = (int32_t)p;
                val[at++] = 1;
            }
        ptr[r + 1] = at;
    }
    for (int64_t p = 0; p < n; p++)
        share[p * z->n_cols + pair[p].i] = share[p * z->n_cols + pair[p].j] = .5;
    return SL_OK;
}

void sl_units_release(sl_ctx *ctx, sl_units *u)
{
    sl_free(ctx, (void *)(uintptr_t)u->fires.row_ptr);
    sl_free(ctx, (void *)(uintptr_t)u->fires.idx);
    sl_free(ctx, (void *)(uintptr_t)u->fires.val);
    sl_free(ctx, u->share);
    *u = (sl_units){ 0 };
}
