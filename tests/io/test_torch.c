/* Files of torch.save: every dtype and view against what PyTorch says, and all that must be refused. Files by goldens/make_torch_files.py. */
#include "io_support.h"

#include "io/pickle.h"

#include <zip.h>

static sl_err err;
static sl_ctx *ctx;
static const char *dir;

static const char *golden(const char *name)
{
    char path[600];
    snprintf(path, sizeof path, "tests/goldens/torch/%s", name);
    return keep(path);
}

static void values(void **state)
{
    (void)state;
    static const char *const files[] = { "mixed.pt", "protocol4.pt" };
    for (int f = 0; f < 2; f++) {
        sl_dict got, want;
        sl_assert_ok(sl_torch_read(ctx, golden(files[f]), &got, &err));
        sl_assert_ok(sl_safetensors_read(ctx, golden("expected.safetensors"), &want, &err));
        assert_int_equal(got.n, want.n);
        assert_int_equal(got.n, 21);
        for (int i = 0; i < want.n; i++) {
            const sl_tensor *w = &want.v[i].t, *g = sl_dict_get(&got, want.v[i].name);
            if (!g || g->dtype != w->dtype || g->n_dim != w->n_dim || !sl_same_shape(g, w))
                fail_msg("%s: missing, or another shape or dtype", want.v[i].name);
            sl_assert_same_bits(want.v[i].name, g->data, w->data, sl_nbytes(w));
        }
        sl_dict_release(&got);
        sl_dict_release(&want);
    }
}

static void modules(void **state)
{
    (void)state;
    sl_dict d;
    const sl_tensor *t;
    sl_assert_ok(sl_torch_read(ctx, golden("linear.pt"), &d, &err));
    assert_int_equal(d.n, 2);
    sl_assert_ok(sl_dict_need_as(&d, "linear.pt", "weight", SL_F32, 2, (const int64_t[]){ 2, 3 }, &t, &err));
    sl_dict_release(&d);
}

/* A toy SAE that somebody trained and saved. */
static void real_file(void **state)
{
    (void)state;
    const char *path = sl_test_data("toy-model-sae/sae.pt");
    sl_dict d;
    const sl_tensor *t;
    if (!path)
        skip();
    sl_assert_ok(sl_torch_read(ctx, path, &d, &err));
    sl_assert_ok(sl_dict_need_as(&d, path, "W_enc", SL_F32, 2, (const int64_t[]){ 64, 32 }, &t, &err));
    sl_assert_ok(sl_dict_need_as(&d, path, "b_dec", SL_F32, 1, (const int64_t[]){ 32 }, &t, &err));
    sl_dict_release(&d);
}

static void refused(void **state)
{
    (void)state;
    static const struct { const char *file, *text; } bad[] = {
        { "evil.pt", "wants to call 'posix.system', which is refused (expected plain tensors; nothing of a pickle is ever run)" },
        { "complex.pt", "wants to call 'torch.ComplexFloatStorage', which is refused" },
        { "no_dict.pt", "holds something else (expected a dictionary of tensors" },
        { "expanded.pt", "tensor 'w': its shape and strides do not fit its storage of 1 elements" },
        { "old.pt", "a bare pickle; load and save it again" },
        { "big_endian.pt", "another byte order" },
        { "expected.safetensors", "a file of torch.save" },
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        sl_dict d;
        sl_assert_fails(sl_torch_read(ctx, golden(bad[i].file), &d, &err), SL_DATA, bad[i].text);
        assert_int_equal(d.n, 0);
    }
    sl_dict d;
    sl_assert_fails(sl_torch_read(ctx, golden("none.pt"), &d, &err), SL_MISSING, "none.pt");
}

/* ---- zips made here ---- */

typedef struct entry { const char *name; const void *data; size_t n; } entry;

static const char *zipped(const char *name, int n, const entry *e)
{
    const char *path = in_dir(dir, name);
    zip_t *z = zip_open(path, ZIP_CREATE | ZIP_TRUNCATE, NULL);
    assert_non_null(z);
    for (int i = 0; i < n; i++) {
        zip_source_t *s = zip_source_buffer(z, e[i].data, e[i].n, 0);
        assert_true(s && zip_file_add(z, e[i].name, s, 0) >= 0);
    }
    assert_int_equal(zip_close(z), 0);
    return path;
}

/* {'w': tensor of `elements` in storage '0', from `offset`, shape (rows, cols), strides (row, 1)} */
static size_t one_tensor(char *out, int elements, int offset, int rows, int cols, int row)
{
    char *p = out;
    static const char head[] = "\x80\x02}X\x01\0\0\0wctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\0" "0X\x03\0\0\0cpuK";
    memcpy(p, head, sizeof head - 1);
    p += sizeof head - 1;
    const char tail[] = { (char)elements, 't', 'Q', 'K', (char)offset, 'K', (char)rows, 'K', (char)cols, (char)0x86, 'K', (char)row, 'K', 1, (char)0x86, (char)0x89, '}', 't', 'R', 's', '.' };
    memcpy(p, tail, sizeof tail);
    return sizeof head - 1 + sizeof tail;
}

static void views(void **state)
{
    (void)state;
    char pickle[300];
    const float x[6] = { 0, 1, 2, 3, 4, 5 }, want[4] = { 1, 2, 4, 5 };
    sl_dict d;
    size_t n = one_tensor(pickle, 6, 1, 2, 2, 3);
    const char *path = zipped("view.pt", 2, (entry[]){ { "r/data.pkl", pickle, n }, { "r/data/0", x, sizeof x } });
    sl_assert_ok(sl_torch_read(ctx, path, &d, &err));
    sl_assert_same_bits("w", d.v[0].t.data, want, sizeof want);
    sl_dict_release(&d);
    static const struct { int elements, offset, rows, cols, row; const char *text; } bad[] = {
        { 6, 2, 2, 2, 3, "do not fit its storage of 6" },       /* the last element is behind the end */
        { 6, 0, 3, 3, 0, "do not fit its storage of 6" },       /* more elements than the storage has */
        { 7, 0, 2, 2, 3, "its storage has 24 bytes, 7 elements of F32 need others" },
        { 5, 0, 2, 2, 3, "its storage has 24 bytes, 5 elements" },
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        n = one_tensor(pickle, bad[i].elements, bad[i].offset, bad[i].rows, bad[i].cols, bad[i].row);
        path = zipped("bad.pt", 2, (entry[]){ { "r/data.pkl", pickle, n }, { "r/data/0", x, sizeof x } });
        sl_assert_fails(sl_torch_read(ctx, path, &d, &err), SL_DATA, bad[i].text);
    }
    n = one_tensor(pickle, 6, 0, 2, 3, 3);
    sl_assert_fails(sl_torch_read(ctx, zipped("no_storage.pt", 1, (entry[]){ { "r/data.pkl", pickle, n } }), &d, &err), SL_DATA, "has no entry 'r/data/0'");
    sl_assert_fails(sl_torch_read(ctx, zipped("no_pickle.pt", 1, (entry[]){ { "r/data/0", x, sizeof x } }), &d, &err), SL_DATA, "has no entry 'NAME/data.pkl'");
}

/* Each pickle alone, as bytes. */
static void bad_pickles(void **state)
{
    (void)state;
    static const struct { const char *bytes; size_t n; const char *text; } bad[] = {
#define P(bytes, text) { bytes, sizeof bytes - 1, text }
        P("", "byte 0 of the pickle: it is cut off"),
        P("\x80\x02}", "byte 3 of the pickle: it is cut off"),
        P("\x80\x01}.", "byte 0 of the pickle: an unknown protocol"),
        P("\x80\x02X\xff\xff\xff\xff" "a.", "it is cut off"),
        P("\x80\x02.", "byte 2 of the pickle: a value is missing on the stack"),
        P("\x80\x02(.", "a value is missing on the stack"),
        P("\x80\x02t.", "a mark is missing on the stack"),
        P("\x80\x02K\x01u.", "a mark is missing on the stack"),
        P("\x80\x02](K\x01u.", "items without a container"),
        P("\x80\x02}(K\x01u.", "items without a container"),
        P("\x80\x02K\x01K\x02" "a.", "items without a container"),
        P("\x80\x02h\x05.", "a memo entry that was not written"),
        P("\x80\x02}r\xff\xff\xff\x7f.", "a wrong memo entry"),
        P("\x80\x02}K\x01" "b" ".", NULL),
        P("\x80\x02K\x01K\x01" "b" ".", "an object with a state"),
        P("\x80\x02" "cos\nsystem\nX\x02\0\0\0ls\x85R.", "wants to call 'os.system'"),
        P("\x80\x04\x8c\x08" "builtins\x8c\x04" "eval\x93.", "wants to call 'builtins.eval'"),
        P("\x80\x02(ios\nsystem\n.", "opcode 0x69 is refused"),
        P("\x80\x02}\x81.", "opcode 0x81 is refused"),
        P("\x80\x02" "ccollections\nOrderedDict\nK\x01\x85R.", "a call with wrong arguments"),
        P("\x80\x02" "ctorch\nFloatStorage\n)R.", "a call with wrong arguments"),
        P("\x80\x02" "ctorch._utils\n_rebuild_tensor_v2\n)R.", "a tensor with wrong arguments"),
        P("\x80\x02)Q.", "a persistent id that is no storage"),
        P("\x80\x02\x8a\x09" "aaaaaaaaa.", "a whole number that is too large"),
        P("\x80\x02X\x02\0\0\0a\0.", "a text that cannot be a name"),
#undef P
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        sl_arena *a = sl_arena_new(ctx, 1024);
        const sl_pk *v;
        if (bad[i].text)
            sl_assert_fails(sl_pickle_parse("p", (const uint8_t *)bad[i].bytes, bad[i].n, a, &v, &err), SL_DATA, bad[i].text);
        else
            sl_assert_ok(sl_pickle_parse("p", (const uint8_t *)bad[i].bytes, bad[i].n, a, &v, &err));
        sl_arena_free(a);
    }
}

/* A list within itself, and a few bytes that unfold into 2^40 values. */
static void endless(void **state)
{
    (void)state;
    sl_dict d;
    const char loop[] = "\x80\x02}X\x01\0\0\0a]q\0h\0as.";
    sl_assert_fails(sl_torch_read(ctx, zipped("loop.pt", 1, (entry[]){ { "r/data.pkl", loop, sizeof loop - 1 } }), &d, &err), SL_DATA, "too many values within values");
    char laughs[600] = "\x80\x02K\x01q\x00";
    size_t n = 6;
    for (int i = 0; i < 14; i++) { /* l[i + 1] = [l[i]] * 8 */
        char part[24] = { ']', 'q', (char)(i + 1), '(' };
        int at = 4;
        for (int j = 0; j < 8; j++) {
            part[at++] = 'h';
            part[at++] = (char)i;
        }
        part[at++] = 'e';
        memcpy(laughs + n, part, (size_t)at);
        n += (size_t)at;
    }
    const char end[] = "}X\x01\0\0\0ah\x0es.";
    memcpy(laughs + n, end, sizeof end - 1);
    n += sizeof end - 1;
    sl_assert_fails(sl_torch_read(ctx, zipped("laughs.pt", 1, (entry[]){ { "r/data.pkl", laughs, n } }), &d, &err), SL_DATA, "too many values within values");
}

static int start(void **state)
{
    (void)state;
    ctx = sl_test_ctx(1);
    dir = keep(sl_test_dir("torch"));
    return 0;
}

static int stop(void **state)
{
    (void)state;
    sl_ctx_free(ctx);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values), cmocka_unit_test(modules), cmocka_unit_test(real_file), cmocka_unit_test(refused),
        cmocka_unit_test(views), cmocka_unit_test(bad_pickles), cmocka_unit_test(endless),
    };
    return cmocka_run_group_tests_name("io_torch", tests, start, stop);
}
