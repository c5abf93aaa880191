/* A small SAE, a perturbation of its rows, and their size: what tests of the perturbation layer begin with. */
#ifndef SL_TEST_PERTURB_CASE_H
#define SL_TEST_PERTURB_CASE_H

#include "rows.h"
#include "support.h"

#include "sae/perturb.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { N = 96, D = 24, F = 64, K = 5 };

static inline sl_sae *small_sae(sl_ctx *ctx, const char *variant, const void *opts)
{
    sl_err err;
    sl_sae *s;
    sl_assert_ok(sl_sae_new(ctx, variant, D, F, opts, 7, &s, &err));
    return s;
}

static inline sl_sae *topk(sl_ctx *ctx) { return small_sae(ctx, "topk", &(sl_topk_options){ .k = K }); }

static inline sl_perturb_config config(int type)
{
    sl_perturb_config c;
    sl_opts_default(sl_perturb_opts, &c);
    c.type = type;
    c.seed = 3;
    return c;
}

typedef struct result { float x[N * D]; uint8_t valid[N]; sl_codes z; double achieved; } result;

static inline void apply(sl_ctx *ctx, sl_sae *s, const sl_perturb_config *c, const float *x, int view, double eps, result *r)
{
    sl_err err;
    sl_perturber *p;
    sl_assert_ok(sl_perturber_new(s, c, x, N, &p, &err));
    sl_assert_ok(sl_codes_new(ctx, N, F, &r->z, &err));
    sl_perturbed out = { .x = r->x, .valid = r->valid, .target = &r->z };
    sl_assert_ok(sl_perturber_apply(p, x, N, 100, 5, view, eps, &out, &err));
    r->achieved = out.achieved;
    sl_perturber_free(p);
}

static inline double size(const float *a, const float *b)
{
    double sq = 0;
    for (int j = 0; j < D; j++) {
        double v = (double)a[j] - (b ? (double)b[j] : 0);
        sq += v * v;
    }
    return sqrt(sq);
}

#endif
