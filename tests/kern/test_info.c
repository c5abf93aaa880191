/* What the machine gives, and the self-test. */
#include "support.h"

#include "kern/kern.h"

#include <saelab/kern_info.h>

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void machine(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(2);
    sl_machine m;
    const sl_kern *k;
    sl_err err;
    sl_assert_ok(sl_machine_info(ctx, &m, &err));
    sl_assert_ok(sl_kern_get(ctx, SL_F32, &k, &err));
    assert_string_equal(m.kernels, k->id);
    assert_int_equal(m.threads, 2);
    assert_true(m.physical_cores >= 1);
    assert_true(m.quota >= 0);
    assert_int_equal(m.mem_total / (1 << 20), (int64_t)sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE) / (1 << 20));
    assert_true(m.mem_available > 0 && m.mem_available <= m.mem_total);
    assert_true(m.has_avx2 == (strstr(m.isa, "avx2") && strstr(m.isa, "fma")));
#if defined __x86_64__
    assert_true(m.cpu[0] != 0);
    assert_int_equal(m.has_avx2, __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"));
    assert_int_equal(m.has_avx512, __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw"));
#endif
    sl_ctx_free(ctx);
}

static void selftest_passes(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(2);
    sl_err err;
    sl_assert_ok(sl_kern_selftest(ctx, &err));
    sl_ctx_free(ctx);
}

static void wrong_adam(const sl_kern *k, const sl_adam *a, sl_tensor *w, const sl_tensor *g, sl_tensor *m, sl_tensor *v)
{
    (void)k, (void)a, (void)w, (void)g, (void)m, (void)v;
}

static void wrong_decode(const sl_kern *k, const sl_csr *z, const sl_tensor *W, const sl_tensor *bias, sl_tensor *y)
{
    (void)z, (void)W, (void)bias;
    k->fill(k, 0, y);
}

/* A table with a broken slot is found out, and the slot named. */
static void selftest_fails(void **state)
{
    (void)state;
    sl_err err;
    for (int i = 0; i < 2; i++) {
        sl_ctx *ctx = sl_test_ctx(1);
        const sl_kern *k;
        sl_assert_ok(sl_kern_get(ctx, SL_F32, &k, &err));
        sl_kern *broken = (sl_kern *)(uintptr_t)k;
        if (i)
            broken->adam = wrong_adam;
        else
            broken->sparse_decode = wrong_decode;
        sl_assert_fails(sl_kern_selftest(ctx, &err), SL_NUMERIC, i ? "adam: " : "sparse_decode");
        sl_ctx_free(ctx);
    }
}

static void selftest_without_memory(void **state)
{
    (void)state;
    sl_err err;
    sl_ctx *ctx = sl_test_ctx(1);
    const sl_kern *k;
    sl_assert_ok(sl_kern_get(ctx, SL_F32, &k, &err));
    sl_assert_ok(sl_kern_named(ctx, "ref", &k, &err));
    int64_t made = sl_alloc_count(ctx);
    sl_ctx_free(ctx);
    ctx = sl_ctx_new(&(sl_ctx_opts){ .fail_alloc_at = made + 1, .n_threads = 1 });
    sl_assert_fails(sl_kern_selftest(ctx, &err), SL_MEM, "self-test");
    sl_ctx_free(ctx);
    ctx = sl_ctx_new(&(sl_ctx_opts){ .fail_alloc_at = made + 2, .n_threads = 1 }); /* a slot's scratch */
    sl_assert_fails(sl_kern_selftest(ctx, &err), SL_MEM, "self-test");
    sl_ctx_free(ctx);
}

int main(void)
{
    unsetenv("SL_KERN"); /* the fast table and ref must be two tables */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(machine), cmocka_unit_test(selftest_passes), cmocka_unit_test(selftest_fails),
        cmocka_unit_test(selftest_without_memory),
    };
    return cmocka_run_group_tests_name("kern_info", tests, NULL, NULL);
}
