/* Shared parts of the metric families. */
#include "eval/measured.h"

#include <saelab/rng.h>

#include <math.h>
#include <string.h>

sl_sparse sl_sparse_of(const sl_codes *z, int64_t n_rows, int64_t n_cols)
{
    return (sl_sparse){ n_rows, n_cols, z->row_ptr, z->idx, z->val };
}

sl_status sl_have(const char *what, int n, const void *const *p, sl_err *err)
{
    for (int i = 0; i < n; i++)
        if (!p[i])
            return sl_fail(err, SL_MEM, what, NULL, "out of memory");
    return SL_OK;
}

/* ---- columns ---- */

sl_status sl_columns_new(sl_ctx *ctx, const sl_sparse *s, sl_columns *out, sl_err *err)
{
    int64_t nnz = s->row_ptr[s->n_rows];
    *out = (sl_columns){ .n_rows = s->n_rows, .n_cols = s->n_cols };
    out->ptr = sl_alloc(ctx, (size_t)(s->n_cols + 1) * sizeof *out->ptr);
    out->row = sl_alloc(ctx, (size_t)nnz * sizeof *out->row);
    out->val = sl_alloc(ctx, (size_t)nnz * sizeof *out->val);
    sl_status st = sl_have("codes by latent", 3, (const void *const[]){ out->ptr, out->row, out->val }, err);
    if (st != SL_OK) {
        sl_columns_release(ctx, out);
        return st;
    }
    for (int64_t e = 0; e < nnz; e++)
        out->ptr[s->idx[e] + 1]++;
    for (int64_t j = 0; j < s->n_cols; j++)
        out->ptr[j + 1] += out->ptr[j];
    for (int64_t r = 0; r < s->n_rows; r++)
        for (int64_t e = s->row_ptr[r]; e < s->row_ptr[r + 1]; e++) {
            int64_t at = out->ptr[s->idx[e]]++;
            out->row[at] = (int32_t)r;
            out->val[at] = s->val[e];
        }
    memmove(out->ptr + 1, out->ptr, (size_t)s->n_cols * sizeof *out->ptr); /* each now holds its end */
    out->ptr[0] = 0;
    return SL_OK;
}

void sl_columns_release(sl_ctx *ctx, sl_columns *c)
{
    sl_free(ctx, c->ptr);
    sl_free(ctx, c->row);
    sl_free(ctx, c->val);
    *c = (sl_columns){ 0 };
}

double sl_column_sum(const sl_columns *c, int64_t j, double *sum_sq)
{
    double sum = 0, sq = 0;
    for (int64_t e = c->ptr[j]; e < c->ptr[j + 1]; e++) {
        sum += (double)c->val[e];
        sq += (double)c->val[e] * (double)c->val[e];
    }
    if (sum_sq)
        *sum_sq = sq;
    return sum;
}

int64_t sl_alive(const sl_columns *c)
{
    int64_t n = 0;
    for (int64_t j = 0; j < c->n_cols; j++)
        n += sl_fired(c, j) > 0;
    return n;
}

/* ---- what fires together ---- */

sl_status sl_cross(sl_ctx *ctx, const sl_columns *z, const sl_sparse *g, const int32_t *perm, void (*see)(void *, const sl_cross_row *), void *user, sl_err *err)
{
    int64_t *co = sl_alloc(ctx, (size_t)g->n_cols * sizeof *co);
    double *prod = sl_alloc(ctx, (size_t)g->n_cols * sizeof *prod);
    int32_t *feature = sl_alloc(ctx, (size_t)g->n_cols * sizeof *feature);
    sl_status st;
    SL_GO(sl_have("codes against true codes", 3, (const void *const[]){ co, prod, feature }, err));
    for (int64_t j = 0; j < z->n_cols; j++) {
        int64_t n = 0;
        for (int64_t e = z->ptr[j]; e < z->ptr[j + 1]; e++) {
            int64_t row = perm ? perm[z->row[e]] : z->row[e];
            for (int64_t i = g->row_ptr[row]; i < g->row_ptr[row + 1]; i++) {
                int32_t f = g->idx[i];
                if (co[f]++ == 0)
                    feature[n++] = f;
                prod[f] += (double)z->val[e] * (double)g->val[i];
            }
        }
        see(user, &(sl_cross_row){ j, n, feature, co, prod });
        for (int64_t i = 0; i < n; i++) {
            co[feature[i]] = 0;
            prod[feature[i]] = 0;
        }
    }
done:
    sl_free(ctx, feature);
    sl_free(ctx, prod);
    sl_free(ctx, co);
    return st;
}

/* ---- orders and parts of the rows ---- */

sl_status sl_shuffled_rows(sl_ctx *ctx, uint64_t seed, int64_t n, int32_t **perm, sl_err *err)
{
    int64_t *order = sl_alloc(ctx, (size_t)n * sizeof *order);
    *perm = sl_alloc(ctx, (size_t)n * sizeof **perm);
    sl_status st;
    SL_GO(sl_have("shuffled control", 2, (const void *const[]){ order, *perm }, err));
    sl_rng r = sl_rng_at(seed, SL_RNG_EVAL, SL_DRAW_SHUFFLE, 0);
    sl_rng_perm(&r, order, n);
    for (int64_t i = 0; i < n; i++)
        (*perm)[i] = (int32_t)order[i];
done:
    if (st != SL_OK) {
        sl_free(ctx, *perm);
        *perm = NULL;
    }
    sl_free(ctx, order);
    return st;
}

/* Where each document's blocks begin; *length: positions a block. Documents are one block each where there are enough of them. */
static int64_t lay_out(const sl_eval_data *d, int64_t *first, int64_t lowest, int64_t n_docs, int64_t *length)
{
    int64_t used = 0, span = 0, n = 0;
    for (int64_t r = 0; r < d->n_rows; r++) {
        int64_t end = (d->pos ? d->pos[r] : 0) + 1;
        int64_t *longest = &first[d->doc[r] - lowest];
        *longest = end > *longest ? end : *longest;
    }
    for (int64_t k = 0; k < n_docs; k++) {
        used += first[k] > 0;
        span += first[k];
    }
    *length = used >= SL_EVAL_BLOCKS ? span : (span + SL_EVAL_BLOCKS - 1) / SL_EVAL_BLOCKS;
    for (int64_t k = 0; k < n_docs; k++) {
        int64_t blocks = (first[k] + *length - 1) / *length;
        first[k] = n;
        n += blocks;
    }
    return n;
}

/* block [n_rows]: the document of each row; its part of a document where there are fewer than SL_EVAL_BLOCKS; of the rows without documents. */
static sl_status blocks_of(sl_ctx *ctx, const sl_eval_data *d, int32_t *block, int64_t *n_blocks, sl_err *err)
{
    int64_t lowest = INT32_MAX, highest = 0, length;
    for (int64_t r = 0; d->doc && r < d->n_rows; r++) {
        lowest = d->doc[r] < lowest ? d->doc[r] : lowest;
        highest = d->doc[r] > highest ? d->doc[r] : highest;
    }
    *n_blocks = SL_EVAL_BLOCKS;
    for (int64_t r = 0; !d->doc && r < d->n_rows; r++)
        block[r] = (int32_t)(r * SL_EVAL_BLOCKS / d->n_rows);
    if (!d->doc)
        return SL_OK;
    int64_t n_docs = highest - lowest + 1, *first = sl_alloc(ctx, (size_t)n_docs * sizeof *first);
    SL_TRY(sl_have("splits", 1, (const void *const[]){ first }, err));
    *n_blocks = lay_out(d, first, lowest, n_docs, &length);
    for (int64_t r = 0; r < d->n_rows; r++)
        block[r] = (int32_t)(first[d->doc[r] - lowest] + (d->pos ? d->pos[r] : 0) / length);
    sl_free(ctx, first);
    return SL_OK;
}

/* Numbers the blocks that have rows in a random order, in turn over the parts. */
static sl_status deal(sl_ctx *ctx, uint64_t seed, const int32_t *block, int64_t n_rows, int64_t n_blocks, int n_parts, uint8_t *part, sl_err *err)
{
    int64_t *order = sl_alloc(ctx, (size_t)n_blocks * sizeof *order);
    uint8_t *of_block = sl_alloc(ctx, (size_t)n_blocks);
    bool *used = sl_alloc(ctx, (size_t)n_blocks * sizeof *used);
    sl_status st;
    SL_GO(sl_have("splits", 3, (const void *const[]){ order, of_block, used }, err));
    for (int64_t r = 0; r < n_rows; r++)
        used[block[r]] = true;
    sl_rng rng = sl_rng_at(seed, SL_RNG_EVAL, SL_DRAW_SPLIT, 0);
    sl_rng_perm(&rng, order, n_blocks);
    for (int64_t i = 0, next = 0; i < n_blocks; i++)
        if (used[order[i]])
            of_block[order[i]] = (uint8_t)(next++ % n_parts);
    for (int64_t r = 0; r < n_rows; r++)
        part[r] = of_block[block[r]];
done:
    sl_free(ctx, used);
    sl_free(ctx, of_block);
    sl_free(ctx, order);
    return st;
}

sl_status sl_split_rows(sl_ctx *ctx, const sl_eval_data *d, int n_parts, uint8_t **part, sl_err *err)
{
    int64_t n_blocks = 0;
    int32_t *block = sl_alloc(ctx, (size_t)d->n_rows * sizeof *block);
    *part = sl_alloc(ctx, (size_t)d->n_rows);
    sl_status st;
    SL_GO(sl_have("splits", 2, (const void *const[]){ block, *part }, err));
    SL_GO(blocks_of(ctx, d, block, &n_blocks, err));
    SL_GO(deal(ctx, d->seed, block, d->n_rows, n_blocks, n_parts, *part, err));
done:
    if (st != SL_OK) {
        sl_free(ctx, *part);
        *part = NULL;
    }
    sl_free(ctx, block);
    return st;
}

/* ---- putting ---- */

sl_status sl_put_nulls(sl_ctx *ctx, sl_metrics *out, const char *const *names, const char *reason, sl_err *err)
{
    for (; *names; names++)
        SL_TRY(sl_metrics_null(ctx, out, *names, reason, err));
    return SL_OK;
}

sl_status sl_put_floored(sl_ctx *ctx, sl_metrics *out, const char *name, double value, int64_t n, double floor, sl_err *err)
{
    SL_TRY(sl_metrics_put(ctx, out, name, value, n, err));
    sl_metrics_floor(out, name, floor);
    return SL_OK;
}

/* ---- two binary variables ---- */

double sl_f1(sl_overlap o)
{
    return o.both ? 2 * (double)o.both / (double)(o.a + o.b) : 0;
}

double sl_precision(sl_overlap o)
{
    return o.both ? (double)o.both / (double)o.a : 0;
}

double sl_recall(sl_overlap o)
{
    return o.both ? (double)o.both / (double)o.b : 0;
}

double sl_phi(sl_overlap o)
{
    double n = (double)o.n, a = (double)o.a, b = (double)o.b, spread = a * (n - a) * b * (n - b);
    return spread > 0 ? (n * (double)o.both - a * b) / sqrt(spread) : 0;
}
