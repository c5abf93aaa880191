/* npy, npz and pickled dictionaries: bytes against numpy's format description, then against numpy itself where it is installed. */
#include "io_support.h"

#include <stdlib.h>
#include <zip.h>

static sl_err err;
static sl_ctx *ctx;
static const char *dir;

/* An npy file of this version and dictionary, padded as numpy does, with n bytes of data. */
static const char *craft(int version, const char *dict, const void *data, size_t n)
{
    static char bytes[8192];
    const char *path = in_dir(dir, "crafted.npy");
    size_t head = version == 1 ? 10 : 12, len = strlen(dict), total = (head + len + 1 + 63) / 64 * 64;
    memset(bytes, ' ', sizeof bytes);
    memcpy(bytes, "\x93NUMPY", 6);
    bytes[6] = (char)version;
    bytes[7] = bytes[10] = bytes[11] = 0;
    bytes[8] = (char)((total - head) & 0xff);
    bytes[9] = (char)((total - head) >> 8);
    memcpy(bytes + head, dict, len);
    bytes[total - 1] = '\n';
    memcpy(bytes + total, data, n);
    put_file(path, bytes, total + n);
    return path;
}

static void refused(const char *dict, size_t n, const char *text)
{
    sl_tensor t;
    char data[64] = { 0 };
    sl_assert_fails(sl_npy_read(ctx, craft(1, dict, data, n), &t, &err), SL_DATA, text);
    assert_null(t.data);
}

static void versions_and_orders(void **state)
{
    (void)state;
    const float c[6] = { 1, 2, 3, 4, 5, 6 }, f[6] = { 1, 4, 2, 5, 3, 6 };
    for (int version = 1; version <= 3; version++) {
        sl_tensor t;
        sl_assert_ok(sl_npy_read(ctx, craft(version, "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }", c, 24), &t, &err));
        assert_int_equal(t.n_dim, 2);
        assert_int_equal(t.dim[0], 2);
        assert_int_equal(t.dim[1], 3);
        sl_assert_same_bits("C order", t.data, c, 24);
        sl_free(ctx, t.data);
        sl_assert_ok(sl_npy_read(ctx, craft(version, "{\"shape\":(2L,3L),\"fortran_order\":True,\"descr\":\"<f4\"}", f, 24), &t, &err));
        sl_assert_same_bits("Fortran order", t.data, c, 24);
        sl_free(ctx, t.data);
    }
}

static void fortran_in_three_dimensions(void **state)
{
    (void)state;
    uint8_t f[24], c[24];
    for (int i = 0; i < 2; i++)
        for (int j = 0; j < 3; j++)
            for (int k = 0; k < 4; k++) {
                f[i + 2 * (j + 3 * k)] = (uint8_t)(100 * i + 10 * j + k);
                c[(i * 3 + j) * 4 + k] = (uint8_t)(100 * i + 10 * j + k);
            }
    sl_tensor t;
    sl_assert_ok(sl_npy_read(ctx, craft(1, "{'descr': '|u1', 'fortran_order': True, 'shape': (2, 3, 4), }", f, 24), &t, &err));
    sl_assert_same_bits("values", t.data, c, 24);
    sl_free(ctx, t.data);
}

static void all_dtypes(void **state)
{
    (void)state;
    static const struct { const char *descr; sl_dtype dtype; } d[] = {
        { "<f2", SL_F16 }, { "<f4", SL_F32 }, { "<f8", SL_F64 }, { "|i1", SL_I8 }, { "|u1", SL_U8 }, { "<u2", SL_U16 },
        { "<i4", SL_I32 }, { "<i8", SL_I64 }, { "|b1", SL_BOOL },
    };
    char data[24] = { 1, 0, 1 }, dict[100];
    for (size_t i = 0; i < sizeof d / sizeof *d; i++) {
        size_t n = 3 * sl_dtype_size(d[i].dtype);
        sl_tensor t, back;
        snprintf(dict, sizeof dict, "{'descr': '%s', 'fortran_order': False, 'shape': (3,), }", d[i].descr);
        sl_assert_ok(sl_npy_read(ctx, craft(1, dict, data, n), &t, &err));
        assert_int_equal(t.dtype, d[i].dtype);
        sl_assert_ok(sl_npy_write(ctx, in_dir(dir, "out.npy"), &t, &err));
        sl_assert_ok(sl_npy_read(ctx, in_dir(dir, "out.npy"), &back, &err));
        assert_int_equal(back.dtype, d[i].dtype);
        assert_true(sl_same_shape(&t, &back));
        sl_assert_same_bits(d[i].descr, back.data, data, n);
        sl_free(ctx, t.data);
        sl_free(ctx, back.data);
    }
    uint16_t h[1] = { 0 };
    sl_tensor b = sl_tensor_of(SL_BF16, h, 1, (int64_t)1);
    sl_assert_fails(sl_npy_write(ctx, in_dir(dir, "bf16.npy"), &b, &err), SL_ARG, "no dtype for BF16");
}

static void written_bytes(void **state)
{
    (void)state;
    float x[2] = { 1, -2 };
    sl_tensor t = sl_tensor_of(SL_F32, x, 1, (int64_t)2), scalar = sl_tensor_of(SL_F32, x, 0);
    char *got;
    size_t n;
    sl_assert_ok(sl_npy_write(ctx, in_dir(dir, "out.npy"), &t, &err));
    sl_assert_ok(sl_file_read(ctx, in_dir(dir, "out.npy"), &got, &n, &err));
    char want[136];
    memset(want, ' ', sizeof want);
    memcpy(want, "\x93NUMPY\x01\x00\x76\x00{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }", 67);
    want[127] = '\n';
    memcpy(want + 128, x, 8);
    assert_int_equal(n, 136);
    sl_assert_same_bits("file", got, want, n);
    sl_free(ctx, got);
    sl_assert_ok(sl_npy_write(ctx, in_dir(dir, "out.npy"), &scalar, &err));
    sl_tensor back;
    sl_assert_ok(sl_npy_read(ctx, in_dir(dir, "out.npy"), &back, &err));
    assert_int_equal(back.n_dim, 0);
    assert_true(*(float *)back.data == 1);
    sl_free(ctx, back.data);
}

static void opened_without_copy(void **state)
{
    (void)state;
    const double x[2] = { 1, 2 };
    sl_dict d;
    sl_assert_ok(sl_npy_open(ctx, craft(1, "{'descr': '<f8', 'fortran_order': False, 'shape': (2,), }", x, 16), &d, &err));
    const uint8_t *p = d.v[0].t.data;
    assert_true(p > d.map.data && p < d.map.data + d.map.n);
    sl_assert_same_bits("x", p, x, 16);
    sl_dict_release(&d);
}

static void bad_headers(void **state)
{
    (void)state;
    refused("{'descr': '>f4', 'fortran_order': False, 'shape': (1,), }", 4, "big-endian dtype '>f4' is not supported");
    refused("{'descr': '|O', 'fortran_order': False, 'shape': (), }", 4, "Python objects '|O' is not supported");
    refused("{'descr': '<c8', 'fortran_order': False, 'shape': (1,), }", 8, "dtype '<c8' is not supported");
    refused("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }", 4, "a plain dtype");
    refused("{'descr': '<f4', 'fortran_order': Maybe, 'shape': (1,), }", 4, "True or False");
    refused("{'descr': '<f4', 'fortran_order': False, 'shape': (1,2,3,4,5), }", 4, "at most 4 dimensions");
    refused("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }", 4, "a dimension");
    refused("{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,), }", 4, "below 2^63");
    refused("{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387904,4), }", 4, "overflows");
    refused("{'descr': '<f4', 'fortran_order': False, 'shape': 1, }", 4, "parentheses");
    refused("{'descr': '<f4', 'fortran_order': False}", 4, "once each");
    refused("{'descr': '<f4', 'descr': '<f4', 'shape': (1,)}", 4, "once each");
    refused("{'descr': '<f4', 'fortran_order': False, 'shape': (1,), 'more': 1}", 4, "once each");
    refused("{'descr': '<f4', 'fortran_order': False, 'shape': (1,), } x", 4, "once each");
    refused("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }", 4, "4 bytes of data, the shape needs 8: the file is truncated");
    refused("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }", 12, "12 bytes of data, the shape needs 8");
    refused("'descr'", 4, "byte 10: bad npy header (expected '{')");
    sl_tensor t;
    sl_assert_fails(sl_npy_read(ctx, craft(4, "{}", "", 0), &t, &err), SL_DATA, "npy version 4");
    put_file(in_dir(dir, "text.npy"), "hello, this is text", 19);
    sl_assert_fails(sl_npy_read(ctx, in_dir(dir, "text.npy"), &t, &err), SL_DATA, "is no npy file");
    sl_assert_fails(sl_npy_read(ctx, in_dir(dir, "none.npy"), &t, &err), SL_MISSING, "none.npy");
}

/* ---- npz ---- */

static void add_npy(zip_t *z, const char *name, const char *path, zip_int32_t method)
{
    zip_source_t *s = zip_source_file(z, path, 0, -1);
    assert_non_null(s);
    zip_int64_t i = zip_file_add(z, name, s, 0);
    assert_true(i >= 0);
    assert_int_equal(zip_set_file_compression(z, (zip_uint64_t)i, method, 0), 0);
}

static void npz(void **state)
{
    (void)state;
    const char *path = in_dir(dir, "a.npz");
    static float x[4000];
    for (int i = 0; i < 4000; i++)
        x[i] = (float)(i % 7);
    sl_tensor t = sl_tensor_of(SL_F32, x, 2, (int64_t)1000, (int64_t)4);
    sl_assert_ok(sl_npy_write(ctx, in_dir(dir, "x.npy"), &t, &err));
    const float f[6] = { 1, 4, 2, 5, 3, 6 }, c[6] = { 1, 2, 3, 4, 5, 6 };
    const char *fortran = craft(2, "{'descr': '<f4', 'fortran_order': True, 'shape': (2, 3), }", f, 24);
    zip_t *z = zip_open(path, ZIP_CREATE | ZIP_TRUNCATE, NULL);
    add_npy(z, "x.npy", in_dir(dir, "x.npy"), ZIP_CM_DEFLATE);
    add_npy(z, "sub/arr_0.npy", fortran, ZIP_CM_STORE);
    assert_int_equal(zip_close(z), 0);
    sl_dict d;
    sl_assert_ok(sl_npz_read(ctx, path, &d, &err));
    assert_int_equal(d.n, 2);
    const sl_tensor *a = sl_dict_get(&d, "x"), *b = sl_dict_get(&d, "sub/arr_0");
    assert_true(a && b && sl_same_shape(a, &t));
    sl_assert_same_bits("x", a->data, x, sizeof x);
    sl_assert_same_bits("arr_0", b->data, c, sizeof c);
    sl_dict_release(&d);

    z = zip_open(path, ZIP_CREATE | ZIP_TRUNCATE, NULL);
    add_npy(z, "readme.txt", in_dir(dir, "x.npy"), ZIP_CM_STORE);
    assert_int_equal(zip_close(z), 0);
    sl_assert_fails(sl_npz_read(ctx, path, &d, &err), SL_DATA, "readme.txt");
    put_file(path, "not a zip", 9);
    sl_assert_fails(sl_npz_read(ctx, path, &d, &err), SL_DATA, "a.npz");
    sl_assert_fails(sl_npz_read(ctx, in_dir(dir, "none.npz"), &d, &err), SL_MISSING, "none.npz");
    sl_assert_fails(sl_npz_read(ctx, dir, &d, &err), SL_IO, "folder");
}

/* A stored entry whose numbers were changed is caught by the zip's CRC. */
static void npz_checksum(void **state)
{
    (void)state;
    const char *path = in_dir(dir, "crc.npz");
    const float x[4] = { 1.5f, 2.5f, 3.5f, 4.5f };
    zip_t *z = zip_open(path, ZIP_CREATE | ZIP_TRUNCATE, NULL);
    add_npy(z, "x.npy", craft(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (4,), }", x, 16), ZIP_CM_STORE);
    assert_int_equal(zip_close(z), 0);
    char *data;
    size_t n, at = 0;
    sl_assert_ok(sl_file_read(ctx, path, &data, &n, &err));
    while (at + 16 <= n && memcmp(data + at, x, 16) != 0)
        at++;
    assert_true(at + 16 <= n);
    sl_dict d;
    for (size_t i = 0; i < 16; i++) {
        data[at + i] ^= 1;
        put_file(path, data, n);
        data[at + i] ^= 1;
        sl_assert_fails(sl_npz_read(ctx, path, &d, &err), SL_DATA, "crc.npz: x.npy: ");
    }
    sl_free(ctx, data);
}

static void no_memory_and_full_disk(void **state)
{
    (void)state;
    const char *sub = keep(sl_test_dir("npy_full")), *path = in_dir(sub, "a.npy"), *arch = in_dir(sub, "a.npz");
    const float f[6] = { 1, 4, 2, 5, 3, 6 };
    put_file(path, "", 0);
    sl_assert_ok(sl_dir_clear(sub, &err));
    sl_tensor t = sl_tensor_of(SL_F32, (void *)(uintptr_t)f, 1, (int64_t)6);
    json_t *j = json_pack("{s:i}", "a", 1);
    for (int n = 1; n <= 4; n++) { /* create, write, fsync, rename */
        sl_io_fail_at(n);
        sl_assert_fails(sl_npy_write(ctx, path, &t, &err), SL_IO, "No space left");
        sl_io_fail_at(n);
        sl_assert_fails(sl_npy_write_pickled(ctx, path, j, &err), SL_IO, "No space left");
        sl_io_fail_at(0);
        assert_int_equal(count_entries(sub), 0);
    }
    json_decref(j);
    zip_t *z = zip_open(arch, ZIP_CREATE | ZIP_TRUNCATE, NULL);
    add_npy(z, "x.npy", craft(1, "{'descr': '<f4', 'fortran_order': True, 'shape': (2, 3), }", f, 24), ZIP_CM_DEFLATE);
    assert_int_equal(zip_close(z), 0);
    sl_status st = SL_MEM;
    int n = 0;
    while (st != SL_OK) {
        sl_ctx *small = sl_ctx_new(&(sl_ctx_opts){ .fail_alloc_at = ++n });
        sl_dict d;
        st = sl_npz_read(small, arch, &d, &err);
        assert_true(st == SL_OK || st == SL_MEM);
        if (st == SL_OK)
            sl_dict_release(&d);
        sl_ctx_free(small);
    }
    assert_true(n >= 6); /* header, data, C order, list, name, then none fails */
    for (n = 1, st = SL_MEM; st != SL_OK; n++) {
        sl_ctx *small = sl_ctx_new(&(sl_ctx_opts){ .fail_alloc_at = n });
        st = sl_npy_read(small, in_dir(dir, "crafted.npy"), &t, &err);
        assert_true(st == SL_OK || st == SL_MEM);
        if (st == SL_OK)
            sl_free(small, t.data);
        sl_ctx_free(small);
    }
}

/* ---- pickled dictionaries ---- */

static json_t *results(void)
{
    return json_pack("{s:i, s:I, s:f, s:b, s:b, s:n, s:s, s:[f, i, [], {}], s:{s:i}}", "seed", -3, "big", (json_int_t)1 << 40, "loss", 0.1,
                     "t", 1, "f", 0, "none", "name", "caf\xc3\xa9", "list", 1.5, 2, "in", "k", 7);
}

static void pickled_bytes(void **state)
{
    (void)state;
    json_t *j = json_pack("{s:i, s:[f, n], s:s}", "a", -2, "b", 1.5, "c", "xy");
    sl_assert_ok(sl_npy_write_pickled(ctx, in_dir(dir, "p.npy"), j, &err));
    json_decref(j);
    char *got;
    size_t n;
    sl_assert_ok(sl_file_read(ctx, in_dir(dir, "p.npy"), &got, &n, &err));
    static const char head[] = "\x93NUMPY\x01\x00\x76\x00{'descr': '|O', 'fortran_order': False, 'shape': (), }";
    /* PROTO 2; GLOBAL numpy array; EMPTY_DICT MARK; BINUNICODE a, BININT -2; BINUNICODE b, EMPTY_LIST MARK BINFLOAT 1.5 NONE
     * APPENDS; BINUNICODE c, BINUNICODE xy; SETITEMS TUPLE1 REDUCE STOP: from the opcode table of Python's pickletools */
    static const char pickle[] = "\x80\x02" "cnumpy\narray\n" "}(" "X\x01\0\0\0" "a" "J\xfe\xff\xff\xff" "X\x01\0\0\0" "b" "]("
                                 "G\x3f\xf8\0\0\0\0\0\0" "N" "e" "X\x01\0\0\0" "c" "X\x02\0\0\0" "xy" "u" "\x85R.";
    sl_assert_same_bits("header", got, head, sizeof head - 1);
    assert_int_equal(got[127], '\n');
    assert_int_equal(n, 128 + sizeof pickle - 1);
    sl_assert_same_bits("pickle", got + 128, pickle, sizeof pickle - 1);
    sl_free(ctx, got);
    json_t *list = json_array();
    sl_assert_fails(sl_npy_write_pickled(ctx, in_dir(dir, "q.npy"), list, &err), SL_ARG, "a JSON object");
    json_decref(list);
}

static const char *python(void)
{
    const char *env = getenv("SAELAB_TEST_PYTHON");
    return env && *env ? env : "python3";
}

/* What numpy reads is what was written; Python's own unpickler is asked where numpy is missing. */
static void pickled_in_python(void **state)
{
    (void)state;
    const char *path = in_dir(dir, "all_results.npy"), *script = in_dir(dir, "check.py");
    json_t *j = results();
    sl_assert_ok(sl_npy_write_pickled(ctx, path, j, &err));
    json_decref(j);
    static const char text[] =
        "import pickle, sys\n"
        "class Plain(pickle.Unpickler):\n"
        "    def find_class(self, module, name):\n"
        "        assert (module, name) == ('numpy', 'array')\n"
        "        return lambda d: d\n"
        "f = open(sys.argv[1], 'rb'); f.seek(128)\n"
        "d = Plain(f).load()\n"
        "assert f.read() == b''\n"
        "want = dict(seed=-3, big=1 << 40, loss=.1, t=True, f=False, none=None, name='caf\\u00e9', list=[1.5, 2, [], {}])\n"
        "want['in'] = dict(k=7)\n"
        "assert d == want and list(d) == list(want) and type(d['list'][1]) is int, d\n"
        "try:\n"
        "    import numpy\n"
        "except ImportError:\n"
        "    sys.exit(77)\n"
        "n = numpy.load(sys.argv[1], allow_pickle=True)\n"
        "assert n.shape == () and n.item() == want, n\n";
    put_file(script, text, sizeof text - 1);
    char cmd[3200];
    snprintf(cmd, sizeof cmd, "'%s' '%s' '%s'", python(), script, path);
    int rc = system(cmd);
    assert_true(rc == 0 || rc == 77 << 8);
    if (rc != 0) {
        print_message("SKIP: numpy is not installed (SAELAB_TEST_PYTHON names another python)\n");
        skip();
    }
}

/* npy and npz as numpy writes them, and ours as numpy reads them. */
static void exchanged_with_numpy(void **state)
{
    (void)state;
    static const char text[] =
        "import sys\n"
        "try:\n"
        "    import numpy as np\n"
        "except ImportError:\n"
        "    sys.exit(77)\n"
        "d = sys.argv[1]\n"
        "x = np.arange(24, dtype=np.float32).reshape(2, 3, 4)\n"
        "np.save(d + '/n_c.npy', x); np.save(d + '/n_f.npy', np.asfortranarray(x))\n"
        "np.savez(d + '/n_s.npz', x=x, y=np.asfortranarray(x)); np.savez_compressed(d + '/n_z.npz', x)\n"
        "y = np.load(d + '/ours.npy'); assert y.dtype == np.float64 and y.tolist() == [[1., 2.], [3., 4.]], y\n";
    const char *script = in_dir(dir, "exchange.py");
    double y[4] = { 1, 2, 3, 4 };
    sl_tensor t = sl_tensor_of(SL_F64, y, 2, (int64_t)2, (int64_t)2);
    sl_assert_ok(sl_npy_write(ctx, in_dir(dir, "ours.npy"), &t, &err));
    put_file(script, text, sizeof text - 1);
    char cmd[3200];
    snprintf(cmd, sizeof cmd, "'%s' '%s' '%s'", python(), script, dir);
    int rc = system(cmd);
    if (rc == 77 << 8) {
        print_message("SKIP: numpy is not installed (SAELAB_TEST_PYTHON names another python)\n");
        skip();
    }
    assert_int_equal(rc, 0);
    float x[24];
    for (int i = 0; i < 24; i++)
        x[i] = (float)i;
    const char *const names[] = { "n_c.npy", "n_f.npy" };
    for (int i = 0; i < 2; i++) {
        sl_assert_ok(sl_npy_read(ctx, in_dir(dir, names[i]), &t, &err));
        assert_int_equal(t.n_dim, 3);
        sl_assert_same_bits(names[i], t.data, x, sizeof x);
        sl_free(ctx, t.data);
    }
    sl_dict d;
    sl_assert_ok(sl_npz_read(ctx, in_dir(dir, "n_s.npz"), &d, &err));
    sl_assert_same_bits("npz x", sl_dict_get(&d, "x")->data, x, sizeof x);
    sl_assert_same_bits("npz y", sl_dict_get(&d, "y")->data, x, sizeof x);
    sl_dict_release(&d);
    sl_assert_ok(sl_npz_read(ctx, in_dir(dir, "n_z.npz"), &d, &err));
    sl_assert_same_bits("npz arr_0", sl_dict_get(&d, "arr_0")->data, x, sizeof x);
    sl_dict_release(&d);
}

static int start(void **state) { (void)state; ctx = sl_test_ctx(1); dir = keep(sl_test_dir("npy")); return 0; }
static int stop(void **state) { (void)state; sl_ctx_free(ctx); return 0; }

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(versions_and_orders), cmocka_unit_test(fortran_in_three_dimensions), cmocka_unit_test(all_dtypes),
        cmocka_unit_test(written_bytes), cmocka_unit_test(opened_without_copy), cmocka_unit_test(bad_headers), cmocka_unit_test(npz), cmocka_unit_test(npz_checksum),
        cmocka_unit_test(no_memory_and_full_disk), cmocka_unit_test(pickled_bytes), cmocka_unit_test(pickled_in_python),
        cmocka_unit_test(exchanged_with_numpy),
    };
    return cmocka_run_group_tests_name("io_npy", tests, start, stop);
}
