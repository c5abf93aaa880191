/* Tables: layers by name, their life, and memory. */
#include "f64.h"

#include "kern/scratch.h"

#include <stdlib.h>
#include <string.h>

static void names(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(3);
    const sl_kern *ref, *again, *f32, *f64;
    sl_err err;
    sl_assert_ok(sl_kern_named(ctx, "ref", &ref, &err));
    sl_assert_ok(sl_kern_named(ctx, "ref", &again, &err));
    assert_ptr_equal(ref, again);
    assert_string_equal(ref->id, "ref");
    assert_int_equal(ref->dtype, SL_F32);
    assert_int_equal(ref->n_threads, 3);
    assert_ptr_equal(ref->ctx, ctx);
    sl_assert_ok(sl_kern_get(ctx, SL_F64, &f64, &err));
    assert_int_equal(f64->dtype, SL_F64);
    assert_string_equal(f64->id, "ref");
    sl_assert_ok(sl_kern_get(ctx, SL_F32, &f32, &err));
    assert_int_equal(f32->dtype, SL_F32);
    assert_int_equal(strncmp(f32->id, "ref", 3), 0);
    static const char *const bad[] = { "", "blas", "simd", "ref+", "ref+ref", "ref+simd+simd", "ref+onednn+simd", "refx", "+ref" };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        sl_assert_fails(sl_kern_named(ctx, bad[i], &f32, &err), SL_ARG, "unknown layers");
        assert_null(f32);
    }
    sl_ctx_free(ctx);
}

/* The context's option comes before SL_KERN, and that before "all layers". */
static void restricted(void **state)
{
    (void)state;
    char *before = getenv("SL_KERN") ? strdup(getenv("SL_KERN")) : NULL;
    sl_err err;
    const sl_kern *k, *named;
    setenv("SL_KERN", "nonsense", 1);
    sl_ctx *ctx = sl_ctx_new(&(sl_ctx_opts){ .kern = "ref", .n_threads = 1 });
    sl_assert_ok(sl_kern_get(ctx, SL_F32, &k, &err));
    sl_assert_ok(sl_kern_named(ctx, "ref", &named, &err));
    assert_ptr_equal(k, named);
    sl_ctx_free(ctx);
    ctx = sl_test_ctx(1);
    sl_assert_fails(sl_kern_get(ctx, SL_F32, &k, &err), SL_ARG, "nonsense");
    sl_assert_ok(sl_kern_get(ctx, SL_F64, &k, &err)); /* always ref */
    setenv("SL_KERN", "ref", 1);
    sl_assert_ok(sl_kern_get(ctx, SL_F32, &k, &err));
    assert_string_equal(k->id, "ref");
    sl_ctx_free(ctx);
    if (before)
        setenv("SL_KERN", before, 1);
    else
        unsetenv("SL_KERN");
    free(before);
}

static void without_memory(void **state)
{
    (void)state;
    sl_err err;
    const sl_kern *k;
    for (int64_t n = 1; n <= 2; n++) { /* the list of tables, then the table */
        sl_ctx *ctx = sl_ctx_new(&(sl_ctx_opts){ .fail_alloc_at = n });
        sl_assert_fails(sl_kern_get(ctx, SL_F64, &k, &err), SL_MEM, "no memory");
        sl_assert_ok(sl_kern_get(ctx, SL_F64, &k, &err));
        sl_ctx_free(ctx);
    }
}

static void encode_once(const sl_kern *k, sl_csr *z)
{
    double x[] = { 1, 2 }, w[] = { 1, 2, 3 }, b[] = { 0, 0, 0 };
    sl_tensor X = t2(x, 2, 1), W = t2(w, 3, 1), Bias = t1(b, 3);
    k->encode_topk(k, &X, &W, &Bias, NULL, 2, z);
}

/* A slot that finds no memory says so for good, and gives an empty code. */
static void scratch_fails(void **state)
{
    (void)state;
    sl_err err;
    const sl_kern *k;
    int64_t row_ptr[3] = { 9, 9, 9 };
    int32_t idx[4];
    double val[4];
    sl_csr z = { .n_rows = 2, .n_cols = 3, .capacity = 4, .row_ptr = row_ptr, .idx = idx, .val = val };
    sl_ctx *ctx = sl_ctx_new(&(sl_ctx_opts){ .fail_alloc_at = 3, .n_threads = 1 });
    sl_assert_ok(sl_kern_get(ctx, SL_F64, &k, &err));
    assert_false(sl_kern_failed(k));
    encode_once(k, &z);
    assert_true(sl_kern_failed(k));
    assert_int_equal(row_ptr[2], 0);
    encode_once(k, &z); /* this time there is memory */
    assert_true(sl_kern_failed(k));
    assert_int_equal(row_ptr[2], 4);
    sl_ctx_free(ctx);
}

static void scratch_grows_only(void **state)
{
    (void)state;
    sl_err err;
    const sl_kern *k;
    sl_ctx *ctx = sl_test_ctx(1);
    sl_assert_ok(sl_kern_get(ctx, SL_F64, &k, &err));
    char *p = sl_kern_scratch(k, SL_SCRATCH_ROWS, 1000);
    assert_non_null(p);
    assert_int_equal((uintptr_t)p % 64, 0);
    int64_t n = sl_alloc_count(ctx);
    assert_ptr_equal(sl_kern_scratch(k, SL_SCRATCH_ROWS, 1000), p);
    assert_ptr_equal(sl_kern_scratch(k, SL_SCRATCH_ROWS, 0), p);
    assert_int_equal(sl_alloc_count(ctx), n);
    p = sl_kern_scratch(k, SL_SCRATCH_ROWS, 5000);
    assert_non_null(p);
    memset(p, 1, 5000);
    assert_int_equal(sl_alloc_count(ctx), n + 1);
    sl_ctx_free(ctx);
}

/* Reductions never write past their partial sums. */
static void chunks_fit(void **state)
{
    (void)state;
    for (int64_t n = 1; n < (int64_t)1 << 40; n = n * 3 + 1)
        for (int64_t least = 1; least <= 4096; least *= 64) {
            int64_t chunk = sl_chunk_of(n, least);
            assert_true(chunk >= least && (n + chunk - 1) / chunk <= SL_N_PARTIAL);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names), cmocka_unit_test(restricted), cmocka_unit_test(without_memory),
        cmocka_unit_test(scratch_fails), cmocka_unit_test(scratch_grows_only),
        cmocka_unit_test(chunks_fit),
    };
    return cmocka_run_group_tests_name("kern_table", tests, NULL, NULL);
}
