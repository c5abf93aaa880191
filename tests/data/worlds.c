#include "worlds.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

open_world begin_world(int threads, const char *name, const char *set, uint64_t seed, sl_world_split split)
{
    sl_err err;
    _Alignas(max_align_t) char opts[SL_WORLD_OPTS];
    open_world o = { .ctx = sl_test_ctx(threads) };
    const sl_world_info *info = sl_world_find(name);
    assert_non_null(info);
    sl_opts_default(info->opts, opts);
    char text[256], *item, *rest = text;
    snprintf(text, sizeof text, "%s", set);
    while ((item = strtok_r(rest, ",", &rest)) != NULL) {
        char *value = strchr(item, '=');
        *value = 0;
        sl_assert_ok(sl_opts_set(o.ctx, info->opts, opts, item, value + 1, "test", SL_ARG, &err));
    }
    sl_assert_ok(sl_world_new(o.ctx, name, opts, seed, &o.w, &err));
    sl_assert_ok(sl_world_open(o.w, split, &o.src, &err));
    o.t = sl_world_truth_of(o.w);
    return o;
}

void end_world(open_world *o)
{
    sl_act_source_free(o->src);
    sl_world_free(o->w);
    sl_ctx_free(o->ctx);
}

sl_act_batch world_rows(open_world *o, int64_t n)
{
    sl_act_batch b;
    sl_err err;
    sl_assert_ok(o->src->next(o->src, n, &b, &err));
    assert_int_equal(b.n, n);
    return b;
}

double code_value(const sl_act_batch *b, int64_t r, int32_t f)
{
    for (int64_t i = b->truth->row_ptr[r]; i < b->truth->row_ptr[r + 1]; i++)
        if (b->truth->idx[i] == f)
            return (double)b->truth->val[i];
    return 0;
}

int64_t *firing_counts(open_world *o, int64_t n, double *l0)
{
    int64_t *c = calloc((size_t)o->t->n, sizeof *c);
    sl_act_batch b = world_rows(o, n);
    for (int64_t i = 0; i < b.truth->row_ptr[n]; i++)
        c[b.truth->idx[i]]++;
    *l0 = (double)b.truth->row_ptr[n] / (double)n;
    return c;
}

void assert_rates(const int64_t *c, const double *p, int64_t from, int64_t to, int64_t n)
{
    double chi = 0;
    for (int64_t f = from; f < to; f++) {
        double want = p[f] * (double)n, sd = sqrt(want * (1 - p[f]));
        if (fabs((double)c[f] - want) > 5 * sd + 1)
            fail_msg("feature %lld fired %lld times, expected %.1f +- %.1f", (long long)f, (long long)c[f], want, sd);
        chi += ((double)c[f] - want) * ((double)c[f] - want) / (sd * sd);
    }
    double k = (double)(to - from);
    if (chi > k + 6 * sqrt(2 * k))
        fail_msg("chi-square %.1f of %.0f features", chi, k);
}
