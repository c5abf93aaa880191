/* A bank of rows, and the source that reads through it. */
#include "study/bank.h"

#include <string.h>

sl_status sl_bank_new(sl_ctx *ctx, int64_t rows, int64_t d, sl_bank **out, sl_err *err)
{
    int64_t most = SL_BANK_BYTES / (d * (int64_t)sizeof(float));
    sl_bank *b = *out = sl_alloc(ctx, sizeof *b);
    if (!b)
        return sl_fail(err, SL_MEM, "rows", NULL, "no memory for a bank of rows");
    *b = (sl_bank){ .ctx = ctx, .d = d, .room = rows < most ? rows : most };
    b->x = sl_alloc(ctx, (size_t)(b->room * d) * sizeof *b->x);
    b->row = sl_alloc(ctx, (size_t)b->room * sizeof *b->row);
    if (b->x && b->row)
        return SL_OK;
    sl_bank_free(b);
    *out = NULL;
    return sl_fail(err, SL_MEM, "rows", NULL, "no memory for %lld rows", (long long)rows);
}

void sl_bank_free(sl_bank *b)
{
    if (!b)
        return;
    sl_free(b->ctx, b->x);
    sl_free(b->ctx, b->row);
    sl_free(b->ctx, b);
}

typedef struct reader { sl_bank *bank; sl_act_source *of; int64_t from, at, of_at; /* rows delivered; row of the source that comes next */ } reader;

static sl_status source_to(reader *r, int64_t row, sl_err *err)
{
    if (r->of_at == row)
        return SL_OK;
    r->of_at = row;
    return r->of->seek(r->of, r->from + row, err);
}

/* The bank gets rows until it holds `end`. */
static sl_status fill(reader *r, int64_t end, sl_err *err)
{
    sl_bank *b = r->bank;
    while (b->n < end) {
        sl_act_batch got;
        SL_TRY(source_to(r, b->n, err));
        SL_TRY(r->of->next(r->of, end - b->n, &got, err));
        memcpy(b->x + b->n * b->d, got.x, (size_t)(got.n * b->d) * sizeof *b->x);
        for (int64_t i = 0; i < got.n; i++)
            b->row[b->n + i] = got.row ? got.row[i] : r->from + b->n + i;
        b->n += got.n;
        r->of_at += got.n;
    }
    return SL_OK;
}

static sl_status next(sl_act_source *s, int64_t n, sl_act_batch *out, sl_err *err)
{
    reader *r = s->impl;
    if (r->at + n > r->bank->room) {
        SL_TRY(source_to(r, r->at, err));
        SL_TRY(r->of->next(r->of, n, out, err));
        r->of_at += out->n;
        r->at += out->n;
        return SL_OK;
    }
    SL_TRY(fill(r, r->at + n, err));
    *out = (sl_act_batch){ .x = r->bank->x + r->at * r->bank->d, .n = n, .row = r->bank->row + r->at };
    r->at += n;
    return SL_OK;
}

static sl_status seek(sl_act_source *s, int64_t row, sl_err *err)
{
    (void)err;
    ((reader *)s->impl)->at = row;
    return SL_OK;
}

static void close_reader(sl_act_source *s)
{
    reader *r = s->impl;
    sl_ctx *ctx = r->bank->ctx;
    sl_act_source_free(r->of);
    sl_free(ctx, r);
    sl_free(ctx, s);
}

sl_status sl_bank_open(sl_bank *b, sl_act_source *of, int64_t from, sl_act_source **out, sl_err *err)
{
    sl_act_source *s = sl_alloc(b->ctx, sizeof *s);
    reader *r = sl_alloc(b->ctx, sizeof *r);
    if (!s || !r || of->info.d_in != b->d) {
        bool wide = of->info.d_in != b->d;
        sl_act_source_free(of);
        sl_free(b->ctx, s);
        sl_free(b->ctx, r);
        return wide ? sl_fail(err, SL_SHAPE, "rows", NULL, "rows of another width than the bank's") : sl_fail(err, SL_MEM, "rows", NULL, "no memory for a source");
    }
    *r = (reader){ b, of, from, 0, -1 };
    *s = (sl_act_source){ .info = of->info, .impl = r, .next = next, .seek = seek, .close = close_reader };
    *out = s;
    return SL_OK;
}
