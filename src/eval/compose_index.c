/* Interaction index of a unit's pairs by ablation: the mean of Delta_ij = c_q(S) - c_q(S \ i) - c_q(S \ j) + c_q(S \ {i, j}) over rows in which q is
 * active and both latents are (science.md C7), c_q recomputed by the network each time. */
#include "eval/compose.h"

#include <math.h>

enum { ROWS = 32, KINDS = 4 }; /* all, without i, without j, without both */
static const double sign[KINDS] = { 1, -1, -1, 1 };

static bool has(const sl_sparse *z, int64_t row, int32_t latent)
{
    for (int64_t e = z->row_ptr[row]; e < z->row_ptr[row + 1]; e++)
        if (z->idx[e] == latent && z->val[e] > 0)
            return true;
    return false;
}

/* Row `at` of out: the latents of z's row, less i where bit 0 of kind is set, less j where bit 1 is. */
static void put_row(const sl_sparse *z, int64_t row, int32_t i, int32_t j, int kind, int64_t at, sl_codes *out)
{
    int64_t to = out->row_ptr[at];
    for (int64_t e = z->row_ptr[row]; e < z->row_ptr[row + 1]; e++) {
        if (((kind & 1) && z->idx[e] == i) || ((kind & 2) && z->idx[e] == j))
            continue;
        out->idx[to] = z->idx[e];
        out->val[to++] = z->val[e];
    }
    out->row_ptr[at + 1] = to;
}

static double value_of(const sl_codes *c, int64_t row, int32_t q)
{
    for (int64_t e = c->row_ptr[row]; e < c->row_ptr[row + 1]; e++)
        if (c->idx[e] == q)
            return (double)c->val[e];
    return 0;
}

static sl_status index_of(sl_compose *r, const sl_sparse *z, const sl_columns *c, int32_t q, int32_t i, int32_t j, sl_codes *rows, double *out, sl_err *err)
{
    int64_t n = 0;
    sl_compose_view v;
    for (int64_t e = c->ptr[q]; e < c->ptr[q + 1] && n < ROWS; e++) {
        if (!has(z, c->row[e], i) || !has(z, c->row[e], j))
            continue;
        for (int kind = 0; kind < KINDS; kind++)
            put_row(z, c->row[e], i, j, kind, n * KINDS + kind, rows);
        n++;
    }
    *out = n ? 0 : NAN;
    if (n == 0)
        return SL_OK;
    SL_TRY(sl_compose_codes(r, rows, 0, n * KINDS, &v, err));
    for (int64_t row = 0; row < n * KINDS; row++)
        *out += sign[row % KINDS] * value_of(&v.c, row, q) / (double)n;
    return SL_OK;
}

sl_status sl_unit_indices(sl_ctx *ctx, sl_compose *r, const sl_sparse *z, const sl_columns *c, sl_composition_unit *u, sl_err *err)
{
    int64_t most = 1;
    sl_codes rows = { 0 };
    for (int64_t k = 0; k < z->n_rows; k++)
        most = z->row_ptr[k + 1] - z->row_ptr[k] > most ? z->row_ptr[k + 1] - z->row_ptr[k] : most;
    SL_TRY(sl_codes_new(ctx, ROWS * KINDS, most, &rows, err));
    sl_status st = SL_OK;
    for (int32_t k = 0; k < u->n_pairs && st == SL_OK; k++)
        st = index_of(r, z, c, u->q, u->pair[k].i, u->pair[k].j, &rows, &u->pair[k].index, err);
    sl_codes_release(ctx, &rows);
    return st;
}
