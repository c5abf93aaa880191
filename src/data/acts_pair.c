/* Two activation sources of the same rows in the same order, read as one whose rows have targets. */
#include "io/io.h"

#include <saelab/data.h>

#include <stdio.h>
#include <string.h>

typedef struct pair {
    sl_ctx *ctx;
    sl_act_source *x, *y;
} pair;

static sl_status same(const char *what, const int32_t *a, const int32_t *b, int64_t n, sl_err *err)
{
    for (int64_t i = 0; a && b && i < n; i++)
        if (a[i] != b[i])
            return sl_fail(err, SL_DATA, "targets", "the same text in the same order", "%s of row %lld of the batch is %d, of its target %d", what,
                           (long long)i, (int)a[i], (int)b[i]);
    return SL_OK;
}

static sl_status next(sl_act_source *s, int64_t n, sl_act_batch *out, sl_err *err)
{
    pair *p = s->impl;
    sl_act_batch y;
    SL_TRY(p->x->next(p->x, n, out, err));
    SL_TRY(p->y->next(p->y, out->n, &y, err));
    if (y.n != out->n)
        return sl_fail(err, SL_DATA, "targets", "as many as there are rows", "%lld targets for %lld rows", (long long)y.n, (long long)out->n);
    for (int64_t i = 0; out->row && y.row && i < y.n; i++)
        if (out->row[i] != y.row[i])
            return sl_fail(err, SL_DATA, "targets", "the same rows in the same order", "row %lld comes with the target of row %lld",
                           (long long)out->row[i], (long long)y.row[i]);
    SL_TRY(same("the token", out->token, y.token, y.n, err));
    SL_TRY(same("the document", out->doc, y.doc, y.n, err));
    SL_TRY(same("the position", out->pos, y.pos, y.n, err));
    out->y = y.x;
    return SL_OK;
}

static sl_status seek(sl_act_source *s, int64_t row, sl_err *err)
{
    pair *p = s->impl;
    SL_TRY(p->x->seek(p->x, row, err));
    return p->y->seek(p->y, row, err);
}

static void close_pair(sl_act_source *s)
{
    pair *p = s->impl;
    sl_ctx *ctx = p->ctx;
    sl_act_source_free(p->x);
    sl_act_source_free(p->y);
    sl_free(ctx, p);
    sl_free(ctx, s);
}

static sl_act_info info_of(const sl_act_source *x, const sl_act_source *y)
{
    sl_act_info info = x->info;
    char text[160];
    info.d_out = y->info.d_in;
    memcpy(info.hook_y, y->info.hook, sizeof info.hook_y);
    info.mean_y = y->info.mean;
    info.scale_y = y->info.scale;
    snprintf(text, sizeof text, "pair\n%s\n%s\n", x->info.data_hash, y->info.data_hash);
    sl_sha256_hex(text, strlen(text), info.data_hash);
    return info;
}

static sl_status fits(const sl_act_source *x, const sl_act_source *y, sl_err *err)
{
    if (x->info.n_rows != y->info.n_rows)
        return sl_fail(err, SL_SHAPE, "targets", "as many as there are rows", "%lld targets for %lld rows", (long long)y->info.n_rows, (long long)x->info.n_rows);
    if (x->info.d_out > 0 || y->info.d_out > 0)
        return sl_fail(err, SL_ARG, "targets", "rows without targets", "one of the sources has targets already");
    return SL_OK;
}

sl_status sl_acts_pair(sl_ctx *ctx, sl_act_source *x, sl_act_source *y, sl_act_source **out, sl_err *err)
{
    *out = NULL;
    sl_act_source *s = sl_alloc(ctx, sizeof *s);
    pair *p = sl_alloc(ctx, sizeof *p);
    sl_status st = s && p ? fits(x, y, err) : sl_fail(err, SL_MEM, "targets", NULL, "no memory");
    if (st != SL_OK) {
        sl_free(ctx, s);
        sl_free(ctx, p);
        sl_act_source_free(x);
        sl_act_source_free(y);
        return st;
    }
    *p = (pair){ ctx, x, y };
    *s = (sl_act_source){ .info = info_of(x, y), .impl = p, .next = next, .seek = seek, .close = close_pair };
    *out = s;
    return SL_OK;
}
