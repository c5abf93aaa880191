/* The list of metrics, statistics over seeds, and the result record. */
#include "support.h"

#include "eval/record.h"

#include <math.h>
#include <string.h>

static void list_of_metrics(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    sl_err err;
    sl_metrics m = { 0 };
    sl_assert_ok(sl_metrics_put(ctx, &m, "l0", 3.5, 10, &err));
    sl_assert_ok(sl_metrics_put(ctx, &m, "fvu", NAN, 10, &err));
    sl_assert_ok(sl_metrics_put(ctx, &m, "ev", -INFINITY, 10, &err));
    sl_assert_ok(sl_metrics_null(ctx, &m, "f1", "no ground truth", &err));
    assert_true(sl_metrics_get(&m, "l0")->value == 3.5 && sl_metrics_get(&m, "l0")->n == 10);
    assert_string_equal(sl_metrics_get(&m, "fvu")->reason, "not finite");
    assert_true(sl_metrics_get(&m, "ev")->is_null && sl_metrics_get(&m, "ev")->value == 0);
    assert_null(sl_metrics_get(&m, "nothing"));
    sl_assert_ok(sl_metrics_put(ctx, &m, "fvu", .25, 7, &err)); /* replaces, in its place */
    assert_true(!m.v[1].is_null && m.v[1].value == .25 && m.v[1].reason[0] == 0 && m.n == 4);
    for (int i = 0; i < 100; i++) { /* grows */
        char name[16];
        snprintf(name, sizeof name, "m%d", i);
        sl_assert_ok(sl_metrics_put(ctx, &m, name, i, 1, &err));
    }
    assert_true(m.n == 104 && sl_metrics_get(&m, "m99")->value == 99 && sl_metrics_get(&m, "l0")->value == 3.5);
    sl_metrics_release(ctx, &m);
    assert_null(m.v);
    sl_ctx_free(ctx);
}

/* Quantiles from the tables of Student's t; df 1 is tan(pi (p - 1/2)), df 2 has a closed form too. */
static void quantiles_of_t(void **state)
{
    (void)state;
    const struct { double p, df, t; } known[] = {
        { .975, 1, 12.706204736432095 }, { .975, 2, 4.302652729696142 }, { .975, 4, 2.776445105197793 }, { .975, 11, 2.200985160082949 },
        { .95, 5, 2.015048372669157 }, { .995, 30, 2.749995653567231 }, { .5, 7, 0 }, { .975, 1e7, 1.959964 },
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        double t = sl_t_quantile(known[i].p, known[i].df), mirrored = -sl_t_quantile(1 - known[i].p, known[i].df);
        sl_assert_close_f64("t", &t, &known[i].t, 1, 1e-9, known[i].df > 1e6 ? 1e-6 : 1e-10);
        sl_assert_close_f64("-t", &mirrored, &known[i].t, 1, 1e-9, 1e-6);
    }
}

static void mean_and_interval(void **state)
{
    (void)state;
    sl_stat s = sl_stat_of((double[]){ 1, 2, 3, 4, 5 }, 5);
    assert_true(s.n == 5 && s.mean == 3 && s.has_se);
    sl_assert_close_f64("se", &s.se, &(double){ sqrt(.5) }, 1, 1e-14, 0);
    sl_assert_close_f64("lo", &s.lo, &(double){ 3 - 2.776445105197793 * sqrt(.5) }, 1, 1e-9, 0);
    sl_assert_close_f64("hi", &s.hi, &(double){ 3 + 2.776445105197793 * sqrt(.5) }, 1, 1e-9, 0);
    s = sl_stat_of((double[]){ 7 }, 1);
    assert_true(s.mean == 7 && !s.has_se && s.se == 0 && s.lo == 7 && s.hi == 7);
    s = sl_stat_of((double[]){ 1e9 + 1, 1e9 + 2, 1e9 + 3 }, 3); /* no cancellation */
    sl_assert_close_f64("se", &s.se, &(double){ 1 / sqrt(3) }, 1, 1e-9, 0);
}

static void record(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    sl_err err;
    sl_metrics m = { 0 };
    sl_assert_ok(sl_metrics_put(ctx, &m, "l0", 31.5, 1000, &err));
    sl_assert_ok(sl_metrics_put(ctx, &m, "mcc_dec_abs", .8, 64, &err));
    sl_metrics_floor(&m, "mcc_dec_abs", .33);
    sl_metrics_interval(&m, "mcc_dec_abs", .7, .9);
    sl_metrics_control(&m, "mcc_dec_abs", .35);
    sl_assert_ok(sl_metrics_null(ctx, &m, "ce_sae", "no language model", &err));
    sl_assert_ok(sl_metrics_put(ctx, &m, "latent_entropy", .9, 64, &err)); /* not a key of K5: comes behind */
    sl_record r = { .run_id = "run_1", .arm = "topk", .seed_init = 3, .seed_data = -1, .steps = 100, .samples = 6400, .wall_s = 1.5, .flops = NAN, .peak_rss = -1, .l0_target = 32 };
    json_t *j;
    sl_assert_ok(sl_record_json(&r, &m, &j, &err));
    static const char *const keys[] = { /* science.md K5 */
        "run_id", "git", "cpu", "seed_init", "seed_data", "arm", "config_hash", "data_hash", "steps", "samples", "wall_s", "flops", "peak_rss",
        "l0_target", "l0", "fvu", "ev", "ce_orig", "ce_sae", "ce_zero", "dead", "dense_gt10pct", "mcc_dec_abs", "mcc_dec_signed", "mcc_floor",
        "mcc_code", "uniq", "f1", "prec", "rec", "phi", "absorb", "split", "fss", "sci", "jaccard", "overlap", "csr_q", "auc", "sel", "inj_resp",
        "cos_ed", "noise_gain", "leak_rms", "comp_energy", "comp_f1", "ood_gap", "status", "notes", "latent_entropy", "n", "floor", "interval", "control",
        "reasons" };
    assert_int_equal(json_object_size(j), sizeof keys / sizeof *keys);
    const json_t *why = json_object_get(j, "reasons");
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const json_t *v = json_object_get(j, keys[i]);
        if (!v)
            fail_msg("%s is missing", keys[i]);
        assert_true(json_is_null(v) == (json_object_get(why, keys[i]) != NULL)); /* a reason beside every null, and only there */
    }
    assert_string_equal(json_string_value(json_object_get(why, "ce_sae")), "no language model");
    assert_string_equal(json_string_value(json_object_get(why, "fvu")), "not measured");
    assert_string_equal(json_string_value(json_object_get(why, "flops")), "not recorded");
    assert_string_equal(json_string_value(json_object_get(why, "seed_data")), "not recorded");
    assert_true(json_real_value(json_object_get(j, "l0")) == 31.5 && json_integer_value(json_object_get(j, "seed_init")) == 3);
    assert_int_equal(json_integer_value(json_object_get(json_object_get(j, "n"), "l0")), 1000);
    assert_true(json_real_value(json_object_get(json_object_get(j, "floor"), "mcc_dec_abs")) == .33);
    const json_t *interval = json_object_get(json_object_get(j, "interval"), "mcc_dec_abs");
    assert_true(json_real_value(json_array_get(interval, 0)) == .7 && json_real_value(json_array_get(interval, 1)) == .9);
    assert_true(json_real_value(json_object_get(json_object_get(j, "control"), "mcc_dec_abs")) == .35);
    assert_null(json_object_get(json_object_get(j, "interval"), "l0"));
    json_decref(j);
    sl_metrics_release(ctx, &m);
    sl_ctx_free(ctx);
}

static void beside_a_value(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    sl_err err;
    sl_metrics m = { 0 };
    sl_metrics_floor(&m, "f1", .1); /* nothing is there yet */
    sl_assert_ok(sl_metrics_put(ctx, &m, "f1", .5, 9, &err));
    sl_assert_ok(sl_metrics_null(ctx, &m, "phi", "no ground truth", &err));
    sl_metrics_floor(&m, "f1", NAN);
    sl_metrics_interval(&m, "f1", .4, INFINITY);
    sl_metrics_control(&m, "f1", NAN);
    sl_metrics_floor(&m, "phi", .1);
    sl_metrics_interval(&m, "phi", .1, .2);
    sl_metrics_control(&m, "phi", .1);
    for (int i = 0; i < m.n; i++)
        assert_true(!m.v[i].has_floor && !m.v[i].has_interval && !m.v[i].has_control);
    sl_metrics_floor(&m, "f1", .1);
    sl_metrics_interval(&m, "f1", .4, .6);
    sl_metrics_control(&m, "f1", .2);
    const sl_metric *v = sl_metrics_get(&m, "f1");
    assert_true(v->has_floor && v->floor == .1 && v->has_interval && v->lo == .4 && v->hi == .6 && v->has_control && v->control == .2);
    sl_assert_ok(sl_metrics_put(ctx, &m, "f1", .7, 9, &err)); /* a new value has none of it */
    v = sl_metrics_get(&m, "f1");
    assert_true(!v->has_floor && !v->has_interval && !v->has_control);
    sl_metrics_release(ctx, &m);
    sl_ctx_free(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(list_of_metrics), cmocka_unit_test(quantiles_of_t), cmocka_unit_test(mean_and_interval), cmocka_unit_test(record), cmocka_unit_test(beside_a_value),
    };
    return cmocka_run_group_tests_name("eval_metrics", tests, NULL, NULL);
}
