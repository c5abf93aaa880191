/* A text as an activation source, for tests. */
#include "text_rows.h"

#include "sae/variant.h"
#include "support.h"

#include <saelab/rng.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const int32_t *from(const int32_t *v, int64_t at) { return v ? v + at : NULL; }

static sl_status next(sl_act_source *s, int64_t n, sl_act_batch *out, sl_err *err)
{
    text_rows *t = s->impl;
    if (n > t->n - t->at)
        return sl_fail(err, SL_ARG, "text rows", NULL, "only %lld left", (long long)(t->n - t->at));
    *out = (sl_act_batch){ .x = t->x + t->at * t->d, .n = n, .row = t->row + t->at, .token = from(t->token, t->at), .doc = from(t->doc, t->at),
                           .pos = from(t->pos, t->at) };
    t->at += n;
    return SL_OK;
}

static sl_status seek(sl_act_source *s, int64_t row, sl_err *err)
{
    (void)err;
    ((text_rows *)s->impl)->at = row;
    return SL_OK;
}

static void close_rows(sl_act_source *s) { (void)s; }

void text_rows_new(text_rows *t, int64_t n, int64_t d)
{
    *t = (text_rows){ .n = n, .d = d, .x = calloc((size_t)(n * d), sizeof *t->x), .token = calloc((size_t)n, sizeof *t->token),
                      .doc = calloc((size_t)n, sizeof *t->doc), .pos = calloc((size_t)n, sizeof *t->pos), .row = calloc((size_t)n, sizeof *t->row) };
    void *own[] = { t->x, t->token, t->doc, t->pos, t->row };
    memcpy(t->own, own, sizeof own);
    for (int64_t i = 0; i < n; i++) {
        t->pos[i] = (int32_t)i;
        t->row[i] = i;
    }
    t->src = (sl_act_source){ .info = { .n_rows = n, .d_in = d, .scale = 1, .has_tokens = true }, .impl = t, .next = next, .seek = seek, .close = close_rows };
    snprintf(t->src.info.hook, sizeof t->src.info.hook, "blocks.1.hook_resid_pre");
    snprintf(t->src.info.model, sizeof t->src.info.model, "tiny");
    snprintf(t->src.info.dataset, sizeof t->src.info.dataset, "made_up");
    snprintf(t->src.info.data_hash, sizeof t->src.info.data_hash, "text");
}

static void swap(void *a, void *b, size_t n)
{
    char c[256];
    memcpy(c, a, n);
    memcpy(a, b, n);
    memcpy(b, c, n);
}

void text_rows_shuffle(text_rows *t, uint64_t seed)
{
    sl_rng r = sl_rng_at(seed, SL_RNG_TEST, 0, 0);
    for (int64_t i = t->n - 1; i > 0; i--) {
        int64_t j = (int64_t)sl_rng_below(&r, (uint64_t)i + 1);
        if (j == i)
            continue;
        swap(t->x + i * t->d, t->x + j * t->d, (size_t)t->d * sizeof *t->x);
        swap(t->token + i, t->token + j, sizeof *t->token);
        swap(t->doc + i, t->doc + j, sizeof *t->doc);
        swap(t->pos + i, t->pos + j, sizeof *t->pos);
    }
}

void text_rows_release(text_rows *t)
{
    for (size_t i = 0; i < sizeof t->own / sizeof *t->own; i++)
        free(t->own[i]);
}

sl_sae *identity_sae(sl_ctx *ctx, int64_t d, const float *W_dec)
{
    sl_err err;
    sl_sae *s;
    sl_assert_ok(sl_sae_new(ctx, "standard", d, d, NULL, 1, &s, &err));
    float *enc = s->W_enc->value.data, *dec = s->W_dec->value.data;
    memset(enc, 0, (size_t)(d * d) * sizeof *enc);
    memset(dec, 0, (size_t)(d * d) * sizeof *dec);
    for (int64_t i = 0; i < d; i++)
        enc[i * d + i] = dec[i * d + i] = 1;
    if (W_dec)
        memcpy(dec, W_dec, (size_t)(d * d) * sizeof *dec);
    sl_param_touch(s->W_enc);
    sl_param_touch(s->W_dec);
    return s;
}
