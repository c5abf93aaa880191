/* Every slot of every layer against ref, on odd shapes, and with the same bits for 1, 2 and 4 threads. */
#include "cases.h"

#include <stdio.h>
#include <string.h>

static const kcase *const families[] = { kcases_dense, kcases_lm, kcases_sparse, kcases_latents, kcases_compose };
enum { N_FAMILY = sizeof families / sizeof *families };

static const int team[] = { 1, 2, 4 };
enum { N_TEAM = 3 };

static void every_slot_has_a_case(void **state)
{
    (void)state;
    for (size_t slot = offsetof(sl_kern, gemm); slot < sizeof(sl_kern); slot += sizeof(void (*)(void))) {
        int found = 0;
        for (int f = 0; f < N_FAMILY; f++)
            for (const kcase *c = families[f]; c->name; c++)
                found += c->slot == slot;
        if (found != 1)
            fail_msg("slot %zu of sl_kern has %d cases", (slot - offsetof(sl_kern, gemm)) / sizeof(void (*)(void)), found);
    }
}

static void run_case(krun *r, const kcase *c, const sl_kern *k, int shape)
{
    kt_begin(r, k, shape, 3 + c->slot);
    c->run(r);
    assert_false(sl_kern_failed(k));
}

/* One slot of a layer, on tables of 1, 2 and 4 threads, against ref in f32 or f64. */
static void check_case(const kcase *c, int shape, const sl_kern *const layer[N_TEAM], const sl_kern *f32, const sl_kern *f64)
{
    bool exact = c->atol == 0 && c->rtol == 0;
    char what[128];
    krun ref, got, other;
    run_case(&ref, c, exact ? f32 : f64, shape);
    run_case(&got, c, layer[0], shape);
    snprintf(what, sizeof what, "%s, shape %d, %s", c->name, shape, layer[0]->id);
    if (got.n_out != ref.n_out)
        fail_msg("%s: %lld numbers, expected %lld", what, (long long)got.n_out, (long long)ref.n_out);
    if (exact)
        sl_assert_same_bits(what, got.out, ref.out, (size_t)ref.n_out * sizeof *ref.out);
    else
        sl_assert_close_f64(what, got.out, ref.out, ref.n_out, c->atol, c->rtol);
    for (int t = 1; t < N_TEAM; t++) {
        run_case(&other, c, layer[t], shape);
        snprintf(what, sizeof what, "%s, shape %d, %s, %d threads", c->name, shape, layer[t]->id, team[t]);
        assert_int_equal(other.n_out, got.n_out);
        sl_assert_same_bits(what, other.out, got.out, (size_t)got.n_out * sizeof *got.out);
        kt_end(&other);
    }
    kt_end(&ref);
    kt_end(&got);
}

/* *state: the layers' names, or "f64" */
static void layer_agrees_with_ref(void **state)
{
    const char *layers = *state;
    sl_ctx *ctx[N_TEAM];
    const sl_kern *layer[N_TEAM], *f32, *f64;
    sl_err err;
    for (int t = 0; t < N_TEAM; t++) {
        ctx[t] = sl_test_ctx(team[t]);
        if (strcmp(layers, "f64") == 0)
            sl_assert_ok(sl_kern_get(ctx[t], SL_F64, &layer[t], &err));
        else
            sl_assert_ok(sl_kern_named(ctx[t], layers, &layer[t], &err));
        assert_int_equal(layer[t]->n_threads, team[t]);
    }
    sl_assert_ok(sl_kern_named(ctx[0], "ref", &f32, &err));
    sl_assert_ok(sl_kern_get(ctx[0], SL_F64, &f64, &err));
    for (int f = 0; f < N_FAMILY; f++)
        for (const kcase *c = families[f]; c->name; c++)
            for (int shape = 0; shape < N_SHAPE; shape++)
                check_case(c, shape, layer, layer[0] == f64 ? f64 : f32, f64);
    for (int t = 0; t < N_TEAM; t++)
        sl_ctx_free(ctx[t]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_slot_has_a_case),
        { "ref", layer_agrees_with_ref, NULL, NULL, "ref" },
        { "f64", layer_agrees_with_ref, NULL, NULL, "f64" },
        { "ref+simd", layer_agrees_with_ref, NULL, NULL, "ref+simd" },
        { "ref+simd+onednn", layer_agrees_with_ref, NULL, NULL, "ref+simd+onednn" },
    };
    return cmocka_run_group_tests_name("kern_layers", tests, NULL, NULL);
}
