/* I.8: an attack never beats the certified radius. Every row is attacked (ten steps, three starts), the attack is scaled to .999 of the row's radius, and
 * the support must be the same. test_eval_pgd_bound [ROWS] prints what it saw: 2,000 rows, by hand 100,000. */
#include "support.h"

#include <saelab/sae_variants.h>
#include <saelab/stability.h>
#include <saelab/world.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { D = 64, F = 128, BLOCK = 500 };
static int64_t n_rows = 2000;

static sl_sae *trained(sl_ctx *ctx, sl_world *world)
{
    sl_err err;
    sl_sae *s;
    sl_sae_result r;
    sl_act_source *rows;
    sl_sae_train_config c;
    sl_opts_default(sl_sae_train_opts, &c);
    c.steps = 400;
    c.batch = 256;
    c.lr = 2e-3;
    sl_topk_options o;
    sl_opts_default(sl_variant_find("topk")->opts, &o);
    o.k = 5;
    sl_assert_ok(sl_world_open(world, SL_WORLD_TRAIN, &rows, &err));
    sl_assert_ok(sl_sae_new(ctx, "topk", D, F, &o, 1, &s, &err));
    sl_assert_ok(sl_sae_train(s, rows, &c, NULL, &r, &err));
    sl_free(ctx, r.curve);
    sl_act_source_free(rows);
    return s;
}

typedef struct seen { int64_t rows, broken, beyond; double least; } seen;

/* One block of rows; *beyond counts attacks that change the support at 8 radii: they do attack. */
static void attack(sl_ctx *ctx, sl_sae *s, const sl_linear_encoder *e, sl_perturber *p, const sl_act_batch *b, int64_t first, seen *out)
{
    static float x[BLOCK * D];
    static double csr[BLOCK];
    uint8_t valid[BLOCK], before[F], after[F];
    double row[D], a[F];
    sl_err err;
    sl_assert_ok(sl_certified_radii(ctx, s, b->x, b->n, NULL, csr, &err));
    sl_assert_ok(sl_perturber_apply(p, b->x, b->n, first, 0, 0, -1, &(sl_perturbed){ .x = x, .valid = valid }, &err));
    for (int64_t r = 0; r < b->n; r++) {
        double size = 0, delta = 0;
        for (int j = 0; j < D; j++) {
            row[j] = (double)b->x[r * D + j];
            size += row[j] * row[j];
            delta += pow((double)x[r * D + j] - row[j], 2);
        }
        if (!valid[r] || !(delta > 0) || !isfinite(csr[r]))
            continue;
        sl_linear_support(e, row, a, before);
        for (int far = 0; far < 2; far++) {
            double by = (far ? 8 : .999) * csr[r] * sqrt(size / delta);
            for (int j = 0; j < D; j++)
                row[j] = (double)b->x[r * D + j] + by * ((double)x[r * D + j] - (double)b->x[r * D + j]);
            sl_linear_support(e, row, a, after);
            bool changed = memcmp(before, after, sizeof after) != 0;
            *(far ? &out->beyond : &out->broken) += changed;
        }
        out->least = fmin(out->least, csr[r]);
        out->rows++;
    }
}

static void pgd_never_beats_the_radius(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(2);
    sl_err err;
    sl_world *world;
    sl_act_source *rows;
    sl_linear_encoder e;
    sl_perturber *p;
    sl_perturb_config c;
    seen got = { .least = INFINITY };
    sl_assert_ok(sl_world_new(ctx, "toy_128", NULL, 42, &world, &err));
    sl_sae *s = trained(ctx, world);
    sl_opts_default(sl_perturb_opts, &c);
    c.type = SL_PERTURB_PGD;
    c.eps = .05;
    c.attack_steps = 10;
    c.restarts = 3;
    sl_assert_ok(sl_linear_encoder_of(s, &e, &err));
    sl_assert_ok(sl_perturber_new(s, &c, NULL, 0, &p, &err));
    sl_assert_ok(sl_world_open(world, SL_WORLD_TEST, &rows, &err));
    for (int64_t at = 0; at < n_rows;) {
        sl_act_batch b;
        sl_assert_ok(rows->next(rows, n_rows - at < BLOCK ? n_rows - at : BLOCK, &b, &err));
        attack(ctx, s, &e, p, &b, at, &got);
        at += b.n;
    }
    printf("%lld rows attacked, %lld supports changed within .999 of their radius, %lld at 8 radii; smallest radius %.3g |x|\n", (long long)got.rows,
           (long long)got.broken, (long long)got.beyond, got.least);
    assert_int_equal(got.broken, 0);
    assert_true(got.rows > n_rows * 9 / 10 && got.beyond > got.rows / 2);
    sl_act_source_free(rows);
    sl_perturber_free(p);
    sl_linear_encoder_release(ctx, &e);
    sl_sae_free(s);
    sl_world_free(world);
    sl_ctx_free(ctx);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(pgd_never_beats_the_radius) };
    n_rows = argc > 1 ? strtoll(argv[1], NULL, 10) : n_rows;
    return cmocka_run_group_tests_name("eval_pgd_bound", tests, NULL, NULL);
}
