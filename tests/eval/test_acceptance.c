/* From a world to the metrics: gathering, and acceptance test I.17 of science.md. */
#include "worked.h"

#include <saelab/baseline.h>
#include <saelab/match.h>
#include <saelab/world.h>

static void train(sl_ctx *ctx, sl_world *world, int64_t d_sae, int64_t k, int64_t steps, uint64_t seed, sl_sae **s)
{
    sl_err err;
    sl_act_source *rows;
    sl_sae_result r = { 0 };
    sl_sae_train_config t;
    sl_opts_default(sl_sae_train_opts, &t);
    t.steps = steps;
    t.batch = 128;
    t.lr = 5e-3;
    t.seed = (int64_t)seed;
    sl_assert_ok(sl_world_open(world, SL_WORLD_TRAIN, &rows, &err));
    sl_assert_ok(sl_sae_new(ctx, "topk", rows->info.d_in, d_sae, &(sl_topk_options){ .k = k, .aux_alpha = 1 / 32. }, seed, s, &err));
    sl_assert_ok(sl_sae_train(*s, rows, &t, NULL, &r, &err));
    sl_free(ctx, r.curve);
    sl_act_source_free(rows);
}

static void gather(sl_ctx *ctx, sl_world *world, const sl_coder *c, int64_t n, sl_gathered *g)
{
    sl_err err;
    sl_act_source *rows;
    const sl_world_truth *t = sl_world_truth_of(world);
    sl_assert_ok(sl_world_open(world, SL_WORLD_TEST, &rows, &err));
    sl_assert_ok(sl_gather(ctx, c, rows, n, t->n, g, &err));
    g->data.truth = t->dir;
    g->data.parent = t->parent;
    sl_act_source_free(rows);
}

/* A TopK SAE on toy_song: mcc well above the floor (.52) on at least four of five seeds; and a random decoder beside it does no better than it. */
static void toy_song(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    sl_err err;
    int above = 0;
    for (uint64_t seed = 0; seed < 5; seed++) {
        sl_world *world;
        sl_sae *s;
        sl_metrics m = { 0 };
        sl_gathered g, again;
        sl_baseline *random;
        sl_assert_ok(sl_world_new(ctx, "toy_song", NULL, 42, &world, &err));
        train(ctx, world, 32, 3, 700, seed, &s);
        sl_coder c = sl_coder_of(s);
        gather(ctx, world, &c, 2000, &g);
        sl_random_options o = { .k = 3, .d_sae = 32, .center = true };
        sl_assert_ok(sl_baseline_fit(ctx, "random", &(sl_baseline_data){ .x = g.data.x, .n = g.data.n_rows, .d_in = g.data.d_in }, &o, seed, &random, &err));
        sl_coder chance = sl_baseline_coder(random);
        sl_assert_ok(sl_gather_again(ctx, &chance, &g, &again, &err));
        sl_assert_ok(sl_measure(ctx, &g.data, &again.data, (const char *const[]){ "directions", "codes", "firing", "selected", NULL }, &m, &err));
        const sl_metric *mcc = sl_metrics_get(&m, "mcc_dec_abs"), *f1 = sl_metrics_get(&m, "f1_h"), *code = sl_metrics_get(&m, "mcc_code");
        assert_true(fabs(mcc->floor - .521) < .01 && fabs(mcc->control - .521) < .08);
        above += mcc->value > .7 && f1->value > f1->floor + .2 && f1->value > f1->control + .1 && code->value > code->floor + .3;
        sl_gathered_release(ctx, &again);
        sl_gathered_release(ctx, &g);
        sl_baseline_free(random);
        sl_metrics_release(ctx, &m);
        sl_sae_free(s);
        sl_world_free(world);
    }
    if (above < 4)
        fail_msg("%d of 5 seeds", above);
    sl_ctx_free(ctx);
}

/* Rows, codes and truth are those that source and coder give, however they are cut; the truth of a world as its own code has mcc 1. */
static void gathered(void **state)
{
    (void)state;
    enum { n = 2500 };
    sl_ctx *ctx = sl_test_ctx(1);
    sl_err err;
    sl_world *world;
    sl_sae *s;
    sl_gathered g, again;
    sl_act_source *rows;
    sl_act_batch b;
    sl_assert_ok(sl_world_new(ctx, "toy_128", NULL, 1, &world, &err));
    const sl_world_truth *t = sl_world_truth_of(world);
    sl_assert_ok(sl_sae_new(ctx, "topk", t->d, 128, &(sl_topk_options){ .k = 5 }, 1, &s, &err));
    sl_coder c = sl_coder_of(s);
    gather(ctx, world, &c, n, &g);
    sl_assert_ok(sl_eval_data_check(&g.data, &err));
    assert_true(g.data.n_rows == n && g.data.d_sae == 128 && g.data.g.n_rows == n && g.data.z.n_cols == 128);
    sl_codes z;
    sl_assert_ok(sl_codes_new(ctx, n, 5, &z, &err));
    sl_assert_ok(sl_sae_encode(s, g.data.x, n, &z, NULL, &err));
    sl_assert_same_bits("codes", g.data.z.val, z.val, (size_t)z.row_ptr[n] * sizeof(float));
    sl_assert_same_bits("rows", g.data.z.row_ptr, z.row_ptr, (n + 1) * sizeof *z.row_ptr);
    sl_assert_ok(sl_world_open(world, SL_WORLD_TEST, &rows, &err));
    sl_assert_ok(rows->next(rows, n, &b, &err));
    sl_assert_same_bits("x", g.data.x, b.x, (size_t)(n * t->d) * sizeof(float));
    sl_assert_same_bits("truth", g.data.g.val, b.truth->val, (size_t)b.truth->row_ptr[n] * sizeof(float));
    sl_assert_ok(sl_gather_again(ctx, &c, &g, &again, &err));
    sl_assert_same_bits("again", again.data.z.val, z.val, (size_t)z.row_ptr[n] * sizeof(float));
    again.data.W_dec = t->dir; /* the truth, as if it had been learned */
    again.data.d_sae = t->n;
    sl_sparse learned = again.data.z;
    again.data.z = g.data.g;
    sl_metrics m = { 0 };
    sl_assert_ok(sl_measure(ctx, &again.data, NULL, (const char *const[]){ "directions", "codes", "firing", "hierarchy", "splitting", NULL }, &m, &err));
    worked_is(&m, "mcc_dec_abs", 1);
    worked_is(&m, "uniq", 1);
    worked_is(&m, "f1_h", 1);
    worked_is(&m, "absorb", 0);
    worked_is(&m, "split", 0);
    assert_true(worked_value(&m, "mcc_code") > .999);
    again.data.z = learned;
    sl_assert_fails(sl_gather(ctx, &c, rows, 0, t->n, &(sl_gathered){ 0 }, &err), SL_ARG, "endless");
    rows->info.d_in++;
    sl_assert_fails(sl_gather(ctx, &c, rows, 9, t->n, &(sl_gathered){ 0 }, &err), SL_SHAPE, "rows of");
    c.d_in++;
    sl_gathered other;
    sl_assert_fails(sl_gather_again(ctx, &c, &g, &other, &err), SL_SHAPE, "where the rows have");
    sl_act_source_free(rows);
    sl_metrics_release(ctx, &m);
    sl_codes_release(ctx, &z);
    sl_gathered_release(ctx, &again);
    sl_gathered_release(ctx, &g);
    sl_sae_free(s);
    sl_world_free(world);
    sl_ctx_free(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(gathered), cmocka_unit_test(toy_song) };
    return cmocka_run_group_tests_name("eval_acceptance", tests, NULL, NULL);
}
