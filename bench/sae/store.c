/* Is the trainer kept busy by a slow disk? Rows come at a fixed rate, alone and read ahead. */
#include "bench.h"

#include <saelab/sae.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

typedef struct slow {
    const float *x;             /* [n, d] */
    int64_t n, d, at;
    double bytes_per_s;
    int64_t *row;               /* [n] 0 .. */
    float *out;                 /* [n, d] */
} slow;

/* As a read of so many bytes from a disk of that rate: the call lasts at least as long. */
static sl_status next(sl_act_source *s, int64_t n, sl_act_batch *out, sl_err *err)
{
    slow *w = s->impl;
    double begin = now(), want = 4 * (double)(n * w->d) / w->bytes_per_s;
    (void)err;
    for (int64_t i = 0; i < n * w->d; i++)
        w->out[i] = w->x[(w->at * w->d + i) % (w->n * w->d)];
    w->at += n;
    double left = want - (now() - begin);
    if (left > 0)
        nanosleep(&(struct timespec){ (time_t)left, (long)(1e9 * fmod(left, 1)) }, NULL);
    *out = (sl_act_batch){ .x = w->out, .n = n };
    return SL_OK;
}

static sl_status seek(sl_act_source *s, int64_t row, sl_err *err)
{
    (void)err;
    ((slow *)s->impl)->at = row;
    return SL_OK;
}

static void close_slow(sl_act_source *s) { free(s); }

static sl_act_source *source_of(slow *w)
{
    sl_act_source *s = calloc(1, sizeof *s);
    if (s)
        *s = (sl_act_source){ .info = { .n_rows = w->n, .d_in = w->d, .scale = 1, .data_hash = "slow rows" }, .impl = w, .next = next, .seek = seek,
                              .close = close_slow };
    return s;
}

/* Share of the time in which the trainer works; NAN when it cannot be measured. */
static double busy(sl_ctx *ctx, slow *w, const size *z, bool ahead, int64_t steps)
{
    sl_err err;
    sl_sae *s = NULL;
    sl_topk_options o;
    sl_sae_train_config c;
    sl_sae_result r = { 0 };
    sl_act_source *acts = source_of(w);
    sl_opts_default(sl_variant_find("topk")->opts, &o);
    sl_opts_default(sl_sae_train_opts, &c);
    o.k = z->k;
    c.batch = z->B;
    c.steps = steps;
    sl_status st = acts ? SL_OK : SL_MEM;
    if (st == SL_OK && ahead)
        st = sl_acts_prefetch(ctx, acts, &acts, &err);
    if (st == SL_OK)
        st = sl_sae_new(ctx, "topk", z->d, z->F, &o, 0, &s, &err);
    if (st == SL_OK)
        st = sl_sae_train(s, acts, &c, NULL, &r, &err);
    if (st != SL_OK)
        fprintf(stderr, "bench_sae: %s\n", err.msg);
    sl_act_source_free(acts);
    sl_sae_free(s);
    sl_free(ctx, r.curve);
    return st == SL_OK ? 1 - r.wait_share : NAN;
}

double store_busy(sl_ctx *ctx, bool quick)
{
    static const double rates[] = { 500e6, 100e6 };
    size z = { 768, quick ? 4096 : 24576, 32, quick ? 1024 : 4096 };
    int64_t n = 4 * z.B;
    double at_500 = NAN;
    float *W = room(2048 * z.d), *x = room(n * z.d), *out = room(n * z.d);
    make_dictionary(W, 2048, z.d, ROWS_SUMS);
    make_rows(x, n, W, 2048, z.d, ROWS_SUMS, 1);
    for (int i = 0; i < 2; i++) {
        slow w = { .x = x, .n = n, .d = z.d, .bytes_per_s = rates[i], .out = out };
        double alone = busy(ctx, &w, &z, false, quick ? 8 : 20), ahead = busy(ctx, &w, &z, true, quick ? 8 : 20);
        at_500 = i == 0 ? ahead : at_500;
        printf("  rows at %.0f MB/s, d %lld F %lld B %lld: trainer busy %.1f %%, without reading ahead %.1f %%\n", 1e-6 * rates[i], (long long)z.d,
               (long long)z.F, (long long)z.B, 100 * ahead, 100 * alone);
        fflush(stdout);
    }
    free(W);
    free(x);
    free(out);
    return at_500;
}
