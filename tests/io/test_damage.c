/* Damaged files: cut at every length and with every byte changed, a reader gives a clean error or tensors that can be read. */
#include "io_support.h"

#include <stdlib.h>
#include <zip.h>

static sl_err err;
static sl_ctx *ctx;
static const char *dir;

/* Every byte of what was read is touched, so that a wrong length is seen by the sanitizer. */
static uint64_t touch(const sl_dict *d)
{
    uint64_t sum = 0;
    for (int i = 0; i < d->n; i++)
        sum ^= sl_xxh64(d->v[i].t.data, sl_nbytes(&d->v[i].t)) ^ sl_xxh64(d->v[i].name, strlen(d->v[i].name));
    return sum;
}

typedef sl_status (*reader)(sl_ctx *, const char *, sl_dict *, sl_err *);

/* Whether the reader took it. */
static bool attempt(reader read, const char *path, const void *data, size_t n)
{
    sl_dict d;
    put_file(path, data, n);
    err = (sl_err){ 0 };
    sl_status st = read(ctx, path, &d, &err);
    if (st == SL_OK) {
        static volatile uint64_t sink;
        sink ^= touch(&d);
        sl_dict_release(&d);
        return true;
    }
    if (st != SL_DATA)
        fail_msg("%s: %s", sl_status_name(st), err.msg);
    assert_int_equal(st, err.code);
    assert_non_null(strstr(err.msg, "damaged"));
    assert_int_equal(d.n, 0);
    return false;
}

static void damage(reader read, const char *path, char *data, size_t n)
{
    const char *broken = in_dir(dir, "damaged");
    (void)path;
    assert_true(attempt(read, broken, data, n));
    for (size_t i = 0; i < n; i++)
        assert_false(attempt(read, broken, data, i));
    static const unsigned char flips[] = { 0x01, 0x10, 0xff };
    int refused = 0;
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < sizeof flips; k++) {
            data[i] = (char)((unsigned char)data[i] ^ flips[k]);
            refused += !attempt(read, broken, data, n);
            data[i] = (char)((unsigned char)data[i] ^ flips[k]);
        }
    assert_true(refused > 100);
    /* runs of bytes from a fixed generator */
    uint32_t seed = 1;
    for (int round = 0; round < 300; round++) {
        char *copy = malloc(n);
        memcpy(copy, data, n);
        for (int k = 0; k < 4; k++) {
            seed = seed * 1664525u + 1013904223u;
            copy[(seed >> 8) % n] = (char)(seed >> 3);
        }
        (void)attempt(read, broken, copy, n);
        free(copy);
    }
}

static void damage_file(reader read, const char *name)
{
    char *data;
    size_t n;
    sl_assert_ok(sl_file_read(ctx, in_dir(dir, name), &data, &n, &err));
    damage(read, name, data, n);
    sl_free(ctx, data);
}

static void safetensors(void **state)
{
    (void)state;
    float x[6] = { 1, 2, 3, 4, 5, 6 };
    uint8_t b[3] = { 1, 2, 3 };
    const char *names[2] = { "W_enc", "b" };
    sl_tensor t[2] = { sl_tensor_of(SL_F32, x, 2, (int64_t)2, (int64_t)3), sl_tensor_of(SL_U8, b, 1, (int64_t)3) };
    json_t *meta = json_pack("{s:s}", "k", "v");
    sl_assert_ok(sl_safetensors_write(ctx, in_dir(dir, "a.safetensors"), 2, names, t, meta, &err));
    json_decref(meta);
    damage_file(sl_safetensors_read, "a.safetensors");
}

static void npy(void **state)
{
    (void)state;
    float x[6] = { 1, 2, 3, 4, 5, 6 };
    sl_tensor t = sl_tensor_of(SL_F32, x, 2, (int64_t)2, (int64_t)3);
    sl_assert_ok(sl_npy_write(ctx, in_dir(dir, "a.npy"), &t, &err));
    damage_file(sl_npy_open, "a.npy");
}

static void npz(void **state)
{
    (void)state;
    const char *path = in_dir(dir, "a.npz");
    zip_t *z = zip_open(path, ZIP_CREATE | ZIP_TRUNCATE, NULL);
    for (int i = 0; i < 2; i++) {
        zip_int64_t at = zip_file_add(z, i ? "x.npy" : "y.npy", zip_source_file(z, in_dir(dir, "a.npy"), 0, -1), 0);
        assert_int_equal(zip_set_file_compression(z, (zip_uint64_t)at, i ? ZIP_CM_DEFLATE : ZIP_CM_STORE, 0), 0);
    }
    assert_int_equal(zip_close(z), 0);
    damage_file(sl_npz_read, "a.npz");
}

/* Only the bytes that the zip's checksums do not cover get through: fuzz_pickle bends the pickle itself. */
static void torch(void **state)
{
    (void)state;
    char *data;
    size_t n;
    sl_assert_ok(sl_file_read(ctx, "tests/goldens/torch/linear.pt", &data, &n, &err));
    damage(sl_torch_read, "linear.pt", data, n);
    sl_free(ctx, data);
}

static int start(void **state) { (void)state; ctx = sl_test_ctx(1); dir = keep(sl_test_dir("damage")); return 0; }
static int stop(void **state) { (void)state; sl_ctx_free(ctx); return 0; }

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(safetensors), cmocka_unit_test(npy), cmocka_unit_test(npz), cmocka_unit_test(torch) };
    return cmocka_run_group_tests_name("io_damage", tests, start, stop);
}
