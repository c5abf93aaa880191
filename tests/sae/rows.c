/* Activation sources for tests. */
#include "rows.h"

#include <math.h>
#include <saelab/rng.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Rows come in order and wrap around: epoch e's row i is row i. */
static sl_status next(sl_act_source *s, int64_t n, sl_act_batch *out, sl_err *err)
{
    rows *r = s->impl;
    (void)err;
    if (n > r->room) {
        r->out = realloc(r->out, (size_t)(n * r->d) * sizeof *r->out);
        r->id = realloc(r->id, (size_t)n * sizeof *r->id);
        if (r->y)
            r->out_y = realloc(r->out_y, (size_t)(n * r->d_out) * sizeof *r->out_y);
        r->room = n;
    }
    for (int64_t i = 0; i < n; i++) {
        if (r->cancel && r->at == r->cancel_at)
            sl_cancel(r->cancel, 2);
        r->id[i] = r->at % r->n;
        memcpy(r->out + i * r->d, r->x + r->id[i] * r->d, (size_t)r->d * sizeof *r->out);
        if (r->y)
            memcpy(r->out_y + i * r->d_out, r->y + r->id[i] * r->d_out, (size_t)r->d_out * sizeof *r->out_y);
        r->at++;
    }
    *out = (sl_act_batch){ .x = r->out, .n = n, .row = r->id, .y = r->out_y };
    return SL_OK;
}

static sl_status seek(sl_act_source *s, int64_t row, sl_err *err)
{
    (void)err;
    ((rows *)s->impl)->at = row;
    return SL_OK;
}

static void close_rows(sl_act_source *s) { (void)s; }

static void start(rows *r, int64_t n, int64_t d)
{
    *r = (rows){ .n = n, .d = d, .x = calloc((size_t)(n * d), sizeof *r->x) };
    r->src = (sl_act_source){ .info = { .n_rows = n, .d_in = d, .scale = 1 }, .impl = r, .next = next, .seek = seek, .close = close_rows };
    snprintf(r->src.info.hook, sizeof r->src.info.hook, "blocks.1.hook_resid_pre");
    snprintf(r->src.info.model, sizeof r->src.info.model, "tiny");
    snprintf(r->src.info.dataset, sizeof r->src.info.dataset, "made_up");
    snprintf(r->src.info.data_hash, sizeof r->src.info.data_hash, "rows-%lld-%lld", (long long)n, (long long)d);
}

void rows_normal(rows *r, int64_t n, int64_t d, double mean, uint64_t seed)
{
    start(r, n, d);
    sl_rng g = sl_rng_at(seed, SL_RNG_TEST, 0, 0);
    for (int64_t i = 0; i < n * d; i++)
        r->x[i] = (float)(sl_rng_normal(&g) + mean);
}

static float *unit_rows(sl_rng *g, int64_t n, int64_t d)
{
    float *w = calloc((size_t)(n * d), sizeof *w);
    for (int64_t f = 0; f < n; f++) {
        double sq = 0;
        for (int64_t j = 0; j < d; j++) {
            double v = sl_rng_normal(g);
            w[f * d + j] = (float)v;
            sq += v * v;
        }
        for (int64_t j = 0; j < d; j++)
            w[f * d + j] = (float)((double)w[f * d + j] / sqrt(sq));
    }
    return w;
}

void rows_planted(rows *r, int64_t n, int64_t d, int64_t n_features, int64_t k, uint64_t seed, float **dictionary)
{
    start(r, n, d);
    sl_rng g = sl_rng_at(seed, SL_RNG_TEST, 1, 0);
    float *w = unit_rows(&g, n_features, d);
    for (int64_t i = 0; i < n; i++)
        for (int64_t q = 0; q < k; q++) {
            int64_t f = (int64_t)sl_rng_below(&g, (uint64_t)n_features);
            double c = .5 + sl_rng_uniform(&g);
            for (int64_t j = 0; j < d; j++)
                r->x[i * d + j] += (float)(c * (double)w[f * d + j]);
        }
    if (dictionary)
        *dictionary = w;
    else
        free(w);
}

void rows_targets(rows *r, int64_t d_out, uint64_t seed)
{
    sl_rng g = sl_rng_at(seed, SL_RNG_TEST, 2, 0);
    float *map = unit_rows(&g, d_out, r->d);
    r->d_out = r->src.info.d_out = d_out;
    r->src.info.scale_y = 1;
    r->y = calloc((size_t)(r->n * d_out), sizeof *r->y);
    for (int64_t i = 0; i < r->n; i++)
        for (int64_t o = 0; o < d_out; o++) {
            double v = 0;
            for (int64_t j = 0; j < r->d; j++)
                v += (double)map[o * r->d + j] * (double)r->x[i * r->d + j];
            r->y[i * d_out + o] = (float)fmax(0, v);
        }
    free(map);
}

void rows_release(rows *r)
{
    free(r->y);
    free(r->out_y);
    free(r->x);
    free(r->id);
    free(r->out);
    *r = (rows){ 0 };
}
