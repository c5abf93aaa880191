/* Rows of some documents of a store, held in memory. */
#include "study/stages.h"

#include <string.h>

typedef struct kept {
    sl_ctx *ctx;
    sl_act_source *of;      /* whose info is borrowed */
    int64_t n, d, at;
    float *x;               /* [n, d] */
    int64_t *row;
    int32_t *token, *doc, *pos; /* [n] */
} kept;

static sl_status next(sl_act_source *s, int64_t n, sl_act_batch *out, sl_err *err)
{
    kept *k = s->impl;
    (void)err;
    if (k->at == k->n)
        k->at = 0;
    n = n < k->n - k->at ? n : k->n - k->at;
    *out = (sl_act_batch){ .x = k->x + k->at * k->d, .n = n, .row = k->row + k->at, .token = k->token + k->at, .doc = k->doc + k->at, .pos = k->pos + k->at };
    k->at += n;
    return SL_OK;
}

static sl_status seek(sl_act_source *s, int64_t row, sl_err *err)
{
    kept *k = s->impl;
    (void)err;
    k->at = row % k->n;
    return SL_OK;
}

static void close_kept(sl_act_source *s)
{
    kept *k = s->impl;
    sl_ctx *ctx = k->ctx;
    sl_act_source_free(k->of);
    sl_free(ctx, k->x);
    sl_free(ctx, k->row);
    sl_free(ctx, k->token);
    sl_free(ctx, k->doc);
    sl_free(ctx, k->pos);
    sl_free(ctx, k);
    sl_free(ctx, s);
}

static void take(kept *k, const sl_act_batch *b, int64_t i)
{
    memcpy(k->x + k->n * k->d, b->x + i * k->d, (size_t)k->d * sizeof *k->x);
    k->row[k->n] = b->row[i];
    k->token[k->n] = b->token[i];
    k->doc[k->n] = b->doc[i];
    k->pos[k->n++] = b->pos[i];
}

static sl_status read_all(kept *k, int64_t first, int64_t end, bool outside, sl_err *err)
{
    int64_t total = k->of->info.n_rows;
    k->x = sl_alloc(k->ctx, (size_t)(total * k->d) * sizeof *k->x);
    k->row = sl_alloc(k->ctx, (size_t)total * sizeof *k->row);
    k->token = sl_alloc(k->ctx, (size_t)total * sizeof *k->token);
    k->doc = sl_alloc(k->ctx, (size_t)total * sizeof *k->doc);
    k->pos = sl_alloc(k->ctx, (size_t)total * sizeof *k->pos);
    if (!k->x || !k->row || !k->token || !k->doc || !k->pos)
        return sl_fail(err, SL_MEM, "folds", "fewer eval_tokens", "no memory for %lld rows", (long long)total);
    for (int64_t have = 0; have < total;) {
        sl_act_batch b;
        SL_TRY(k->of->next(k->of, total - have < 4096 ? total - have : 4096, &b, err));
        for (int64_t i = 0; i < b.n; i++)
            if ((b.doc[i] >= first && b.doc[i] < end) != outside)
                take(k, &b, i);
        have += b.n;
    }
    return k->n > 1 ? SL_OK : sl_fail(err, SL_DATA, "folds", "more eval_tokens, or fewer folds", "no rows of documents %lld to %lld", (long long)first, (long long)end - 1);
}

sl_status sl_rows_of_documents(sl_ctx *ctx, sl_act_source *of, int64_t first, int64_t end, bool outside, sl_act_source **out, sl_err *err)
{
    sl_act_source *s = sl_alloc(ctx, sizeof *s);
    kept *k = sl_alloc(ctx, sizeof *k);
    if (!s || !k) {
        sl_act_source_free(of);
        sl_free(ctx, k);
        sl_free(ctx, s);
        return sl_fail(err, SL_MEM, "folds", NULL, "no memory for a source");
    }
    *k = (kept){ .ctx = ctx, .of = of, .d = of->info.d_in };
    *s = (sl_act_source){ .info = of->info, .impl = k, .next = next, .seek = seek, .close = close_kept };
    sl_status st = of->info.has_tokens ? read_all(k, first, end, outside, err)
                                       : sl_fail(err, SL_DATA, "folds", "rows with documents", "the rows do not say what document they are of");
    if (st != SL_OK) {
        close_kept(s);
        return st;
    }
    s->info.n_rows = k->n;
    *out = s;
    return SL_OK;
}
