/* From a coder and a source of rows to the plain arrays that the families take. */
#include "eval/measured.h"

#include <string.h>

enum { CHUNK_CODES = 1 << 22, CHUNK_ROWS = 1024 };

/* ---- sparse rows that grow ---- */

typedef struct growing { int64_t *ptr; int32_t *idx; float *val; int64_t n, nnz, room; } growing;

static sl_status make_room(sl_ctx *ctx, growing *g, int64_t need, sl_err *err)
{
    if (need <= g->room)
        return SL_OK;
    int64_t room = need > 2 * g->room ? need : 2 * g->room;
    int32_t *idx = sl_alloc(ctx, (size_t)room * sizeof *idx);
    float *val = sl_alloc(ctx, (size_t)room * sizeof *val);
    if (!idx || !val) {
        sl_free(ctx, idx);
        sl_free(ctx, val);
        return sl_fail(err, SL_MEM, "evaluation", "fewer rows", "no memory for %lld codes", (long long)room);
    }
    if (g->nnz) {
        memcpy(idx, g->idx, (size_t)g->nnz * sizeof *idx);
        memcpy(val, g->val, (size_t)g->nnz * sizeof *val);
    }
    sl_free(ctx, g->idx);
    sl_free(ctx, g->val);
    g->idx = idx;
    g->val = val;
    g->room = room;
    return SL_OK;
}

static sl_status append(sl_ctx *ctx, growing *g, const sl_codes *z, int64_t n, sl_err *err)
{
    int64_t first = z->row_ptr[0], nnz = z->row_ptr[n] - first;
    SL_TRY(make_room(ctx, g, g->nnz + nnz, err));
    if (nnz) {
        memcpy(g->idx + g->nnz, z->idx + first, (size_t)nnz * sizeof *g->idx);
        memcpy(g->val + g->nnz, z->val + first, (size_t)nnz * sizeof *g->val);
    }
    for (int64_t r = 1; r <= n; r++)
        g->ptr[g->n + r] = g->nnz + z->row_ptr[r] - first;
    g->n += n;
    g->nnz += nnz;
    return SL_OK;
}

/* One row of marks [n] as entries of 1. */
static sl_status append_marks(sl_ctx *ctx, growing *g, const uint8_t *mark, int64_t n, sl_err *err)
{
    SL_TRY(make_room(ctx, g, g->nnz + n, err));
    for (int64_t c = 0; c < n; c++)
        if (mark[c]) {
            g->idx[g->nnz] = (int32_t)c;
            g->val[g->nnz++] = 1;
        }
    g->ptr[++g->n] = g->nnz;
    return SL_OK;
}

static sl_status start(sl_ctx *ctx, growing *g, int64_t n_rows, sl_err *err)
{
    g->ptr = sl_alloc(ctx, (size_t)(n_rows + 1) * sizeof *g->ptr);
    return sl_have("evaluation", 1, (const void *const[]){ g->ptr }, err);
}

/* Hands the arrays over. */
static sl_sparse take(const growing *g, int64_t n_cols) { return (sl_sparse){ g->n, n_cols, g->ptr, g->idx, g->val }; }

static void drop(sl_ctx *ctx, sl_sparse *s)
{
    sl_free(ctx, (void *)(uintptr_t)s->row_ptr);
    sl_free(ctx, (void *)(uintptr_t)s->idx);
    sl_free(ctx, (void *)(uintptr_t)s->val);
    *s = (sl_sparse){ 0 };
}

/* ---- gathering ---- */

typedef struct gatherer {
    sl_ctx *ctx;
    const sl_coder *c;
    int64_t n, n_truth, done;
    sl_codes codes;         /* of a chunk */
    growing z, g, unknown;
    float *x;
    int32_t *doc, *pos, *token;
    int64_t *row;
    bool has_doc, has_truth, has_unknown, has_token;
} gatherer;

static sl_status encode(gatherer *k, const float *x, int64_t n, sl_err *err)
{
    SL_TRY(k->c->encode(k->c->self, x, n, &k->codes, NULL, err));
    return append(k->ctx, &k->z, &k->codes, n, err);
}

static sl_status take_truth(gatherer *k, const sl_act_batch *b, sl_err *err)
{
    SL_TRY(append(k->ctx, &k->g, b->truth, b->n, err));
    for (int64_t r = 0; b->unknown && r < b->n; r++)
        SL_TRY(append_marks(k->ctx, &k->unknown, b->unknown + r * k->n_truth, k->n_truth, err));
    return SL_OK;
}

static sl_status take_batch(gatherer *k, const sl_act_batch *b, sl_err *err)
{
    size_t n = (size_t)b->n;
    memcpy(k->x + k->done * k->c->d_in, b->x, n * (size_t)k->c->d_in * sizeof *k->x);
    if (k->done == 0) {
        k->has_doc = b->doc && b->pos;
        k->has_token = b->token != NULL;
        k->has_truth = b->truth != NULL && k->n_truth > 0;
        k->has_unknown = b->unknown != NULL && k->has_truth;
    }
    for (int64_t r = 0; r < b->n; r++)
        k->row[k->done + r] = b->row ? b->row[r] : k->done + r;
    if (k->has_doc) {
        memcpy(k->doc + k->done, b->doc, n * sizeof *k->doc);
        memcpy(k->pos + k->done, b->pos, n * sizeof *k->pos);
    }
    if (k->has_token)
        memcpy(k->token + k->done, b->token, n * sizeof *k->token);
    if (k->has_truth)
        SL_TRY(take_truth(k, b, err));
    SL_TRY(encode(k, b->x, b->n, err));
    k->done += b->n;
    return SL_OK;
}

static sl_status prepare(gatherer *k, bool rows_too, sl_err *err)
{
    int64_t chunk = CHUNK_CODES / k->c->max_active;
    chunk = chunk < 16 ? 16 : chunk > CHUNK_ROWS ? CHUNK_ROWS : chunk;
    SL_TRY(sl_codes_new(k->ctx, chunk, k->c->max_active, &k->codes, err));
    SL_TRY(start(k->ctx, &k->z, k->n, err));
    if (!rows_too)
        return SL_OK;
    SL_TRY(start(k->ctx, &k->g, k->n, err));
    SL_TRY(start(k->ctx, &k->unknown, k->n, err));
    k->x = sl_alloc(k->ctx, (size_t)(k->n * k->c->d_in) * sizeof *k->x);
    k->doc = sl_alloc(k->ctx, (size_t)k->n * sizeof *k->doc);
    k->pos = sl_alloc(k->ctx, (size_t)k->n * sizeof *k->pos);
    k->token = sl_alloc(k->ctx, (size_t)k->n * sizeof *k->token);
    k->row = sl_alloc(k->ctx, (size_t)k->n * sizeof *k->row);
    return sl_have("evaluation", 5, (const void *const[]){ k->x, k->doc, k->pos, k->token, k->row }, err);
}

/* Everything goes to *out, which frees it. */
static void hand_over(gatherer *k, sl_gathered *out)
{
    sl_sparse z = take(&k->z, k->c->d_sae), g = take(&k->g, k->n_truth), unknown = take(&k->unknown, k->n_truth);
    out->data = (sl_eval_data){ .d_in = k->c->d_in, .d_sae = k->c->d_sae, .n_rows = k->done, .W_dec = k->c->W_dec, .x = k->x, .z = z, .doc = k->doc,
                                .pos = k->pos, .n_truth = k->n_truth, .g = g, .unknown = unknown };
    out->row = k->row;
    out->token = k->token;
    if (!k->has_truth)
        drop(k->ctx, &out->data.g);
    if (!k->has_unknown)
        drop(k->ctx, &out->data.unknown);
    if (!k->has_doc) {
        sl_free(k->ctx, k->doc);
        sl_free(k->ctx, k->pos);
        out->data.doc = out->data.pos = NULL;
    }
    if (!k->has_token) {
        sl_free(k->ctx, k->token);
        out->token = NULL;
    }
    sl_codes_release(k->ctx, &k->codes);
}

static sl_status walk(gatherer *k, sl_act_source *rows, sl_err *err)
{
    SL_TRY(rows->seek(rows, 0, err));
    while (k->done < k->n) {
        sl_act_batch b;
        int64_t ask = k->n - k->done < k->codes.n_rows ? k->n - k->done : k->codes.n_rows;
        if (sl_cancelled(k->ctx))
            return sl_fail(err, SL_CANCELLED, "evaluation", NULL, "stopped");
        SL_TRY(rows->next(rows, ask, &b, err));
        if (b.n < 1 || b.n > ask)
            return sl_fail(err, SL_SHAPE, "activations", "1 row to as many as asked for", "%lld rows where %lld were asked for", (long long)b.n, (long long)ask);
        SL_TRY(take_batch(k, &b, err));
    }
    return SL_OK;
}

sl_status sl_gather(sl_ctx *ctx, const sl_coder *c, sl_act_source *rows, int64_t max_rows, int64_t n_truth, sl_gathered *out, sl_err *err)
{
    int64_t n = rows->info.n_rows;
    *out = (sl_gathered){ 0 };
    if (rows->info.d_in != c->d_in)
        return sl_fail(err, SL_SHAPE, "activations", "rows as wide as the SAE's d_in", "rows of %lld for an SAE of d_in %lld", (long long)rows->info.d_in, (long long)c->d_in);
    if (n < 0 && max_rows <= 0)
        return sl_fail(err, SL_ARG, "max_rows", "at least 1", "an endless source needs a number of rows");
    n = n < 0 || (max_rows > 0 && max_rows < n) ? max_rows : n;
    if (n < 1)
        return sl_fail(err, SL_DATA, "activations", "at least 1 row", "there are no rows to evaluate on");
    gatherer k = { .ctx = ctx, .c = c, .n = n, .n_truth = n_truth };
    sl_status st = prepare(&k, true, err);
    if (st == SL_OK)
        st = walk(&k, rows, err);
    hand_over(&k, out);
    return st;
}

sl_status sl_gather_again(sl_ctx *ctx, const sl_coder *c, const sl_gathered *of, sl_gathered *out, sl_err *err)
{
    *out = (sl_gathered){ .shares = true };
    if (of->data.d_in != c->d_in)
        return sl_fail(err, SL_SHAPE, "control", "the d_in of the rows", "%lld where the rows have %lld", (long long)c->d_in, (long long)of->data.d_in);
    gatherer k = { .ctx = ctx, .c = c, .n = of->data.n_rows };
    sl_status st = prepare(&k, false, err);
    for (int64_t r = 0; st == SL_OK && r < k.n; r += k.codes.n_rows)
        st = encode(&k, of->data.x + r * c->d_in, k.n - r < k.codes.n_rows ? k.n - r : k.codes.n_rows, err);
    sl_codes_release(ctx, &k.codes);
    out->data = of->data;
    out->data.W_dec = c->W_dec;
    out->data.d_sae = c->d_sae;
    out->data.z = take(&k.z, c->d_sae);
    return st;
}

void sl_gathered_release(sl_ctx *ctx, sl_gathered *g)
{
    drop(ctx, &g->data.z);
    if (!g->shares) {
        drop(ctx, &g->data.g);
        drop(ctx, &g->data.unknown);
        sl_free(ctx, (void *)(uintptr_t)g->data.x);
        sl_free(ctx, (void *)(uintptr_t)g->data.doc);
        sl_free(ctx, (void *)(uintptr_t)g->data.pos);
        sl_free(ctx, g->row);
        sl_free(ctx, g->token);
    }
    *g = (sl_gathered){ 0 };
}
