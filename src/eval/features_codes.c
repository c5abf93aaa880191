/* One pass over the rows: codes to a scratch file, and what is counted on the way. */
#include "eval/features.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum { BATCH = 4096, ENTRIES = 1 << 24 /* of a batch */ };

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void sl_fcodes_release(sl_ctx *ctx, sl_fcodes *c)
{
    sl_mmap_close(&c->map);
    if (c->path[0])
        (void)remove(c->path);
    sl_free(ctx, c->ptr);
    *c = (sl_fcodes){ 0 };
}

/* ---- a batch ---- */

/* The rows' tokens and places; rows have them from the first batch on, or not at all. */
static sl_status keep_places(sl_fbuild *b, const sl_act_batch *a, int64_t row, sl_err *err)
{
    const int32_t *from[] = { a->token, a->doc, a->pos };
    int32_t **to[] = { &b->token, &b->doc, &b->pos };
    for (int i = 0; i < 3; i++) {
        if (row == 0 && from[i] && !(*to[i] = sl_alloc(b->ctx, (size_t)b->n * sizeof **to[i])))
            return sl_fail(err, SL_MEM, "rows", "fewer tokens", "no memory for the places of %lld rows", (long long)b->n);
        if (!from[i] != !*to[i])
            return sl_fail(err, SL_DATA, "rows", NULL, "some have a token and place, some do not");
        if (from[i])
            memcpy(*to[i] + row, from[i], (size_t)a->n * sizeof **to[i]);
    }
    return SL_OK;
}

static sl_status keep_codes(sl_fbuild *b, const sl_codes *z, int64_t row, int64_t n, sl_fentry *buffer, sl_atomic *f, sl_err *err)
{
    int64_t n_entries = z->row_ptr[n];
    for (int64_t e = 0; e < n_entries; e++) {
        buffer[e] = (sl_fentry){ z->idx[e], z->val[e] };
        b->x.fired[z->idx[e]]++;
    }
    for (int64_t r = 1; r <= n; r++)
        b->codes.ptr[row + r] = b->codes.ptr[row] + z->row_ptr[r];
    return sl_atomic_write(f, buffer, (size_t)n_entries * sizeof *buffer, err);
}

static void count_truth(sl_fbuild *b, const sl_codes *z, const sl_codes *g, int64_t n)
{
    int64_t T = b->in->truth->n;
    for (int64_t r = 0; r < n; r++)
        for (int64_t t = g->row_ptr[r]; t < g->row_ptr[r + 1]; t++) {
            b->truth_fired[g->idx[t]]++;
            for (int64_t e = z->row_ptr[r]; e < z->row_ptr[r + 1]; e++)
                b->both[z->idx[e] * T + g->idx[t]]++;
        }
}

/* ---- all rows ---- */

typedef struct pass { sl_codes z; sl_fentry *buffer; sl_atomic *f; int64_t batch; } pass;

static sl_status one_batch(sl_fbuild *b, pass *p, int64_t row, sl_act_batch *a, sl_err *err)
{
    sl_err why = { 0 };
    sl_act_source *rows = b->in->rows;
    SL_TRY(rows->next(rows, b->n - row < p->batch ? b->n - row : p->batch, a, err));
    sl_status st = b->coder.encode(b->coder.self, a->x, a->n, &p->z, NULL, &why);
    if (st != SL_OK) {
        char where[64];
        snprintf(where, sizeof where, "rows from %lld", (long long)row);
        return sl_fail(err, st, where, why.expected, "%s", why.what);
    }
    SL_TRY(keep_places(b, a, row, err));
    SL_TRY(keep_codes(b, &p->z, row, a->n, p->buffer, p->f, err));
    if (b->both && !a->truth)
        return sl_fail(err, SL_DATA, "rows", NULL, "they do not say which true features are on");
    if (b->both)
        count_truth(b, &p->z, a->truth, a->n);
    return SL_OK;
}

static sl_status all_batches(sl_fbuild *b, pass *p, sl_err *err)
{
    sl_act_batch a;
    SL_TRY(b->in->rows->seek(b->in->rows, 0, err));
    for (int64_t row = 0; row < b->n; row += a.n) {
        SL_TRY(one_batch(b, p, row, &a, err));
        sl_progress(b->ctx, "encode", (double)(row + a.n), (double)b->n, "rows", "l0 %.2f", (double)b->codes.ptr[row + a.n] / (double)(row + a.n));
        if (sl_cancelled(b->ctx))
            return sl_fail(err, SL_CANCELLED, "feature index", NULL, "stopped");
    }
    return SL_OK;
}

static sl_status need_truth(sl_fbuild *b, sl_err *err)
{
    int64_t F = b->x.size[FD_FEATURES], T = b->in->truth ? b->in->truth->n : 0;
    if (T == 0)
        return SL_OK;
    b->both = sl_alloc(b->ctx, (size_t)(F * T) * sizeof *b->both);
    b->truth_fired = sl_alloc(b->ctx, (size_t)T * sizeof *b->truth_fired);
    return b->both && b->truth_fired ? SL_OK : sl_fail(err, SL_MEM, "feature index", NULL, "no memory for %lld true features", (long long)T);
}

sl_status sl_fbuild_codes(sl_fbuild *b, sl_err *err)
{
    int64_t most = b->coder.max_active;
    pass p = { .batch = most > 0 && ENTRIES / most < BATCH ? (ENTRIES / most < 16 ? 16 : ENTRIES / most) : BATCH };
    double start = now();
    sl_status st;
    SL_GO(sl_codes_new(b->ctx, p.batch, most, &p.z, err));
    SL_GO(need_truth(b, err));
    p.buffer = sl_alloc(b->ctx, (size_t)(p.batch * most) * sizeof *p.buffer);
    b->codes.ptr = sl_alloc(b->ctx, (size_t)(b->n + 1) * sizeof *b->codes.ptr);
    if (!p.buffer || !b->codes.ptr)
        SL_GO(sl_fail(err, SL_MEM, "feature index", "fewer tokens", "no memory for %lld rows", (long long)b->n));
    SL_GO(sl_atomic_open(b->ctx, b->codes.path, &p.f, err));
    SL_GO(all_batches(b, &p, err));
    st = sl_atomic_commit(p.f, err);
    p.f = NULL;
    if (st == SL_OK)
        st = sl_mmap_open(b->codes.path, &b->codes.map, err);
    b->codes.entry = (const sl_fentry *)(const void *)b->codes.map.data;
done:
    sl_atomic_abort(p.f);
    sl_free(b->ctx, p.buffer);
    sl_codes_release(b->ctx, &p.z);
    b->encode_seconds = now() - start;
    return st;
}
