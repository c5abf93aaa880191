/* safetensors: bytes against a hand-written file, round trips, and every way in which a header can lie. */
#include "io_support.h"

static sl_err err;
static sl_ctx *ctx;
static const char *dir;

/* Writes a file of this header and `n_data` zero bytes. */
static const char *craft(const char *header, size_t n_data)
{
    static char bytes[1 << 16];
    size_t n = strlen(header);
    const char *path = in_dir(dir, "crafted.safetensors");
    memset(bytes, 0, 8 + n + n_data);
    bytes[0] = (char)(n & 0xff);
    bytes[1] = (char)(n >> 8);
    memcpy(bytes + 8, header, n);
    put_file(path, bytes, 8 + n + n_data);
    return path;
}

static void refused(const char *header, size_t n_data, const char *text)
{
    sl_dict d;
    sl_assert_fails(sl_safetensors_read(ctx, craft(header, n_data), &d, &err), SL_DATA, text);
    assert_non_null(strstr(err.msg, "crafted.safetensors"));
    assert_int_equal(d.n, 0);
}

static void round_trip(void **state)
{
    (void)state;
    const char *path = in_dir(dir, "a.safetensors");
    float w[6] = { 1, -2, 3.5f, 0, 1e-38f, -0.0f };
    int32_t ids[3] = { 7, -1, INT32_MAX };
    double s = 0.1;
    uint16_t h[2] = { 0x3f80, 0xc000 };
    uint8_t b[3] = { 1, 0, 1 };
    const char *names[] = { "W_enc", "ids", "scale", "flags", "half", "none" };
    sl_tensor t[] = {
        sl_tensor_of(SL_F32, w, 2, (int64_t)2, (int64_t)3), sl_tensor_of(SL_I32, ids, 1, (int64_t)3), sl_tensor_of(SL_F64, &s, 0),
        sl_tensor_of(SL_BOOL, b, 1, (int64_t)3), sl_tensor_of(SL_BF16, h, 1, (int64_t)2), sl_tensor_of(SL_F32, w, 2, (int64_t)0, (int64_t)4),
    };
    json_t *meta = json_pack("{s:s}", "who", "caf\xc3\xa9 \"q\"");
    sl_assert_ok(sl_safetensors_write(ctx, path, 6, names, t, meta, &err));
    json_decref(meta);
    sl_dict d;
    sl_assert_ok(sl_safetensors_read(ctx, path, &d, &err));
    assert_int_equal(d.n, 6);
    for (int i = 0; i < 6; i++) {
        assert_string_equal(d.v[i].name, names[i]); /* the given order */
        assert_int_equal(d.v[i].t.dtype, t[i].dtype);
        assert_true(sl_same_shape(&d.v[i].t, &t[i]));
        sl_assert_same_bits(names[i], d.v[i].t.data, t[i].data, sl_nbytes(&t[i]));
        assert_int_equal((uintptr_t)d.v[i].t.data % sl_dtype_size(t[i].dtype), 0);
    }
    assert_string_equal(json_string_value(json_object_get(d.meta, "who")), "caf\xc3\xa9 \"q\"");
    assert_null(sl_dict_get(&d, "b_dec"));
    sl_dict_release(&d);
}

/* A file as the format's description has it, written by hand. */
static void hand_written(void **state)
{
    (void)state;
    const char *path = in_dir(dir, "hand.safetensors");
    static const char header[] = "{\"x\":{\"dtype\":\"F32\",\"shape\":[1,2],\"data_offsets\":[0,8]},\"__metadata__\":{\"a\":\"b\"}}  ";
    static const unsigned char data[8] = { 0, 0, 0x80, 0x3f, 0, 0, 0x20, 0xc0 }; /* 1, -2.5 */
    char bytes[256] = { (char)(sizeof header - 1) };
    memcpy(bytes + 8, header, sizeof header - 1);
    memcpy(bytes + 8 + sizeof header - 1, data, 8);
    put_file(path, bytes, 8 + sizeof header - 1 + 8);
    sl_dict d;
    sl_assert_ok(sl_safetensors_read(ctx, path, &d, &err));
    const sl_tensor *x = sl_dict_get(&d, "x");
    const float want[2] = { 1, -2.5f };
    sl_assert_same_bits("x", x->data, want, 8);
    assert_string_equal(json_string_value(json_object_get(d.meta, "a")), "b");
    sl_dict_release(&d);

    sl_tensor t = sl_tensor_of(SL_F32, (void *)(uintptr_t)want, 1, (int64_t)2);
    const char *name = "x";
    char *got;
    size_t n;
    sl_assert_ok(sl_safetensors_write(ctx, path, 1, &name, &t, NULL, &err));
    sl_assert_ok(sl_file_read(ctx, path, &got, &n, &err));
    static const char json[] = "{\"x\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}";
    assert_int_equal(n, 64 + 8);
    static const unsigned char length[8] = { 56 };
    sl_assert_same_bits("length", got, length, 8);
    sl_assert_same_bits("json", got + 8, json, sizeof json - 1);
    for (size_t i = 8 + sizeof json - 1; i < 64; i++)
        assert_int_equal(got[i], ' ');
    sl_assert_same_bits("data", got + 64, data, 8);
    sl_free(ctx, got);
}

static void unaligned_data(void **state)
{
    (void)state;
    sl_dict d; /* one byte before the floats: they cannot be used where they lie */
    sl_assert_ok(sl_safetensors_read(ctx, craft("{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},"
                                                "\"b\":{\"dtype\":\"F64\",\"shape\":[2],\"data_offsets\":[1,17]}}", 17), &d, &err));
    assert_int_equal((uintptr_t)sl_dict_get(&d, "b")->data % 8, 0);
    sl_dict_release(&d);
}

static void lying_headers(void **state)
{
    (void)state;
    refused("[]", 0, "byte 8: bad header (expected a JSON object)");
    refused("{\"x\":", 0, "bad header");
    refused("{\"x\":3}", 0, "tensor 'x'");
    refused("{\"x\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4, "tensor 'x'");
    refused("{\"x\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4],\"more\":1}}", 4, "tensor 'x'");
    refused("{\"x\":{\"dtype\":\"F8_E4M3\",\"shape\":[4],\"data_offsets\":[0,4]}}", 4, "dtype 'F8_E4M3' is not supported");
    refused("{\"x\":{\"dtype\":7,\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "no 'dtype'");
    refused("{\"x\":{\"dtype\":\"F32\",\"shape\":1,\"data_offsets\":[0,4]}}", 4, "no 'shape'");
    refused("{\"x\":{\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,4]}}", 4, "wrong dimension");
    refused("{\"x\":{\"dtype\":\"F32\",\"shape\":[1.0],\"data_offsets\":[0,4]}}", 4, "wrong dimension");
    refused("{\"x\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1],\"data_offsets\":[0,4]}}", 4, "too many dimensions");
    refused("{\"x\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,4]}}", 4, "overflows");
    refused("{\"x\":{\"dtype\":\"F32\",\"shape\":[99999999999999999999],\"data_offsets\":[0,4]}}", 4, "bad header");
    refused("{\"x\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]}}", 4, "4 bytes at byte 62, but its shape and dtype need 8");
    refused("{\"x\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 4, "ends beyond the file");
    refused("{\"x\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,0]}}", 4, "wrong 'data_offsets'");
    refused("{\"x\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[-4,0]}}", 4, "wrong 'data_offsets'");
    refused("{\"x\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0]}}", 4, "no 'data_offsets'");
    refused("{\"x\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 5, "1 bytes belong to no tensor");
    refused("{\"x\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}", 8, "a hole before tensor 'x'");
    refused("{\"x\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},\"y\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}", 8,
            "tensors 'x' and 'y' overlap");
    refused("{\"x\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},\"x\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}", 8, "duplicate");
    refused("{\"__metadata__\":{\"a\":1}}", 0, "__metadata__");
    refused("{\"__metadata__\":[]}", 0, "__metadata__");
}

static void lying_lengths(void **state)
{
    (void)state;
    sl_dict d;
    const char *path = in_dir(dir, "crafted.safetensors");
    put_file(path, "\x05\0\0\0", 4);
    sl_assert_fails(sl_safetensors_read(ctx, path, &d, &err), SL_DATA, "4 bytes");
    put_file(path, "\xff\0\0\0\0\0\0\0{}", 10);
    sl_assert_fails(sl_safetensors_read(ctx, path, &d, &err), SL_DATA, "truncated");
    put_file(path, "\xff\xff\xff\xff\xff\xff\xff\xff{}", 10);
    sl_assert_fails(sl_safetensors_read(ctx, path, &d, &err), SL_DATA, "18446744073709551615 bytes");
    sl_assert_fails(sl_safetensors_read(ctx, in_dir(dir, "none"), &d, &err), SL_MISSING, "none");
    char deep[20001];
    memset(deep, '[', 20000);
    memcpy(deep, "{\"x\":", 5);
    deep[20000] = 0;
    refused(deep, 0, "depth");
}

static void bad_writes(void **state)
{
    (void)state;
    const char *path = in_dir(dir, "bad.safetensors"), *names[2] = { "x", "x" }, *broken[1] = { "\xff\xfe" };
    float x[1] = { 1 };
    sl_tensor t[2] = { sl_tensor_of(SL_F32, x, 1, (int64_t)1), sl_tensor_of(SL_F32, x, 1, (int64_t)1) };
    json_t *meta = json_pack("{s:i}", "a", 1);
    sl_assert_fails(sl_safetensors_write(ctx, path, 2, names, t, NULL, &err), SL_ARG, "two tensors named 'x'");
    sl_assert_fails(sl_safetensors_write(ctx, path, 1, names, t, meta, &err), SL_ARG, "'a' is no text");
    sl_assert_fails(sl_safetensors_write(ctx, path, 1, broken, t, NULL, &err), SL_ARG, "tensor name");
    json_decref(meta);
    assert_false(sl_path_exists(path));
}

static void full_disk_and_no_memory(void **state)
{
    (void)state;
    const char *sub = keep(sl_test_dir("st_full")), *path = in_dir(sub, "a.safetensors"), *name = "x";
    static float x[40000];
    sl_tensor t = sl_tensor_of(SL_F32, x, 2, (int64_t)200, (int64_t)200);
    sl_status st = SL_IO;
    int n = 0;
    while (st != SL_OK) {
        sl_io_fail_at(++n);
        st = sl_safetensors_write(ctx, path, 1, &name, &t, NULL, &err);
        sl_io_fail_at(0);
        assert_int_equal(count_entries(sub), st == SL_OK);
    }
    assert_int_equal(n, 6); /* create, two writes, fsync, rename */
    for (n = 1, st = SL_MEM; st != SL_OK; n++) {
        sl_ctx *small = sl_ctx_new(&(sl_ctx_opts){ .fail_alloc_at = n });
        sl_dict d;
        st = sl_safetensors_read(small, path, &d, &err);
        assert_true(st == SL_OK || st == SL_MEM);
        if (st == SL_OK)
            sl_dict_release(&d);
        sl_ctx_free(small);
    }
    assert_true(n > 3);
    for (n = 1, st = SL_MEM; st != SL_OK; n++) {
        sl_ctx *small = sl_ctx_new(&(sl_ctx_opts){ .fail_alloc_at = n });
        st = sl_safetensors_write(small, path, 1, &name, &t, NULL, &err);
        assert_true(st == SL_OK || st == SL_MEM);
        sl_ctx_free(small);
    }
    assert_int_equal(count_entries(sub), 1);
}

static void needed_tensors(void **state)
{
    (void)state;
    sl_dict d;
    sl_dict_init(ctx, &d);
    const sl_tensor *t;
    sl_assert_ok(sl_dict_add(&d, "w", sl_tensor_of(SL_F16, sl_alloc(ctx, 12), 2, (int64_t)2, (int64_t)3), &err));
    sl_assert_ok(sl_dict_add(&d, "i", sl_tensor_of(SL_I32, sl_alloc(ctx, 8), 1, (int64_t)2), &err));
    sl_assert_fails(sl_dict_add(&d, "w", sl_tensor_of(SL_F16, sl_alloc(ctx, 2), 0), &err), SL_EXISTS, "two tensors");
    const int64_t any[2] = { -1, 3 }, other[2] = { 2, 4 };
    sl_assert_ok(sl_dict_need(&d, "f", "w", 2, any, &t, &err));
    assert_int_equal(t->dim[0], 2);
    sl_assert_fails(sl_dict_need(&d, "f", "w", 2, other, &t, &err), SL_SHAPE, "f: the tensor 'w' has shape [2, 3] (expected shape [2, 4])");
    sl_assert_fails(sl_dict_need(&d, "f", "w", 1, any, &t, &err), SL_SHAPE, "(expected shape [*])");
    sl_assert_fails(sl_dict_need(&d, "f", "u", 1, any, &t, &err), SL_MISSING, "f: has no tensor 'u'");
    sl_assert_fails(sl_dict_need(&d, "f", "i", 1, any, &t, &err), SL_SHAPE, "has dtype I32 (expected F32, F64, F16 or BF16)");
    sl_assert_ok(sl_dict_need_as(&d, "f", "i", SL_I32, 1, any, &t, &err));
    sl_assert_fails(sl_dict_need_as(&d, "f", "w", SL_F32, 2, any, &t, &err), SL_SHAPE, "has dtype F16 (expected F32)");
    assert_null(t);
    sl_dict_release(&d);
    assert_int_equal(d.n, 0);
}

static int start(void **state) { (void)state; ctx = sl_test_ctx(1); dir = keep(sl_test_dir("safetensors")); return 0; }
static int stop(void **state) { (void)state; sl_ctx_free(ctx); return 0; }

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trip), cmocka_unit_test(hand_written), cmocka_unit_test(unaligned_data), cmocka_unit_test(lying_headers),
        cmocka_unit_test(lying_lengths), cmocka_unit_test(bad_writes), cmocka_unit_test(full_disk_and_no_memory), cmocka_unit_test(needed_tensors),
    };
    return cmocka_run_group_tests_name("io_safetensors", tests, start, stop);
}
