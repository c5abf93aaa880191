/* Importing activations: every container, shape and dtype, several files, tokens, labels, and files that do not fit together. */
#include "acts_support.h"

#include <math.h>
#include <zip.h>

static sl_err err;
static sl_ctx *ctx;
static const char *in, *out;  /* folders of the inputs and of the stores */
static const sl_acts_import_opts PLAIN = { .hook = "blocks.0.mlp_out", .model = "mine", .store = { .dtype = SL_F32 } };

static const char *fresh_store(void)
{
    out = path_in(sl_test_dir("import_out"), "");
    return path_in(out, "store");
}

static const char *npy(const char *name, sl_tensor t)
{
    const char *path = path_in(in, name);
    sl_assert_ok(sl_npy_write(ctx, path, &t, &err));
    return path;
}

static sl_act_source *import(const char *const *paths, int n, const sl_acts_import_opts *o)
{
    const char *dir = fresh_store();
    sl_act_source *s;
    sl_assert_ok(sl_acts_import(ctx, n, paths, dir, o, &err));
    sl_assert_ok(sl_acts_open(ctx, dir, true, &s, &err));
    return s;
}

/* The import fails and leaves nothing behind. */
static void refused(const char *const *paths, int n, const sl_acts_import_opts *o, sl_status code, const char *text)
{
    const char *dir = fresh_store();
    sl_assert_fails(sl_acts_import(ctx, n, paths, dir, o, &err), code, text);
    assert_false(sl_path_exists(dir));
    assert_int_equal(count_entries(out), 0);
}

static void expect(sl_act_source *s, const float *x, int64_t n)
{
    sl_act_batch b;
    assert_int_equal(s->info.n_rows, n);
    sl_assert_ok(s->next(s, n, &b, &err));
    sl_assert_same_bits("rows", b.x, x, (size_t)(n * s->info.d_in) * sizeof *x);
}

static void every_container(void **state)
{
    (void)state;
    float x[6] = { 1, 2, 3, 4, 5, 7 }, other[3] = { 0 };
    sl_tensor t = sl_tensor_of(SL_F32, x, 2, (int64_t)3, (int64_t)2), vec = sl_tensor_of(SL_F32, other, 1, (int64_t)3);
    const char *p = npy("a.npy", t), *names[2] = { "scale", "acts" };
    sl_act_source *s = import(&p, 1, &PLAIN);
    expect(s, x, 3);
    assert_string_equal(s->info.hook, "blocks.0.mlp_out");
    assert_string_equal(s->info.model, "mine");
    assert_string_equal(s->info.dataset, "a");
    assert_false(s->info.has_tokens);
    sl_act_source_free(s);

    p = path_in(in, "a.safetensors");
    sl_assert_ok(sl_safetensors_write(ctx, p, 2, names, (sl_tensor[]){ vec, t }, NULL, &err));
    s = import(&p, 1, &PLAIN);
    expect(s, x, 3);
    sl_act_source_free(s);

    p = path_in(in, "a.npz");
    zip_t *z = zip_open(p, ZIP_CREATE | ZIP_TRUNCATE, NULL);
    assert_true(zip_file_add(z, "arr_0.npy", zip_source_file(z, path_in(in, "a.npy"), 0, -1), 0) >= 0);
    assert_int_equal(zip_close(z), 0);
    s = import(&p, 1, &PLAIN);
    expect(s, x, 3);
    sl_act_source_free(s);
}

static void every_dtype(void **state)
{
    (void)state;
    const float x[4] = { 1, -2.5f, 0.25f, 1024 }; /* exact in all of them */
    double d[4];
    uint16_t h[4], b[4];
    for (int i = 0; i < 4; i++) {
        d[i] = x[i];
        h[i] = sl_f32_to_f16(x[i]);
        b[i] = sl_f32_to_bf16(x[i]);
    }
    const char *names[3] = { "d", "h", "b" }, *path = path_in(in, "kinds.safetensors");
    sl_tensor t[3] = { sl_tensor_of(SL_F64, d, 2, (int64_t)2, (int64_t)2), sl_tensor_of(SL_F16, h, 2, (int64_t)2, (int64_t)2),
                       sl_tensor_of(SL_BF16, b, 2, (int64_t)2, (int64_t)2) };
    sl_assert_ok(sl_safetensors_write(ctx, path, 3, names, t, NULL, &err));
    refused(&path, 1, &PLAIN, SL_ARG, "3 tensors could be the activations (expected PATH:NAME)");
    for (int i = 0; i < 3; i++) {
        char arg[1100];
        snprintf(arg, sizeof arg, "%s:%s", path, names[i]);
        const char *p = arg;
        sl_act_source *s = import(&p, 1, &PLAIN);
        expect(s, x, 2);
        sl_act_source_free(s);
    }
    char arg[1100];
    snprintf(arg, sizeof arg, "%s:none", path);
    const char *p = arg;
    refused(&p, 1, &PLAIN, SL_MISSING, "has no tensor 'none'");
}

static void positions_and_several_files(void **state)
{
    (void)state;
    float x[24], y[12], all[36];
    for (int i = 0; i < 36; i++)
        all[i] = (float)(i * i);
    memcpy(x, all, sizeof x);
    memcpy(y, all + 24, sizeof y);
    const char *p[2] = { npy("x3.npy", sl_tensor_of(SL_F32, x, 3, (int64_t)3, (int64_t)4, (int64_t)2)),
                         npy("y3.npy", sl_tensor_of(SL_F32, y, 3, (int64_t)2, (int64_t)3, (int64_t)2)) };
    static const int32_t doc[18] = { 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 4, 4, 4 };
    static const int32_t pos[18] = { 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 0, 1, 2 };
    sl_act_source *s = import(p, 2, &PLAIN);
    sl_act_batch b;
    expect(s, all, 18);
    sl_assert_ok(s->next(s, 18, &b, &err));
    assert_null(b.token);
    sl_assert_same_bits("doc", b.doc, doc, sizeof doc);
    sl_assert_same_bits("pos", b.pos, pos, sizeof pos);
    sl_act_source_free(s);
}

static void tokens(void **state)
{
    (void)state;
    float x[12];
    for (int i = 0; i < 12; i++)
        x[i] = (float)i;
    int64_t ids[6] = { 5, 50256, 0, 1, 2, 3 };
    uint16_t small[6] = { 5, 50256, 0, 1, 2, 3 };
    const char *p = npy("t.npy", sl_tensor_of(SL_F32, x, 3, (int64_t)2, (int64_t)3, (int64_t)2));
    sl_acts_import_opts o = PLAIN;
    for (int k = 0; k < 2; k++) {
        o.tokens = k ? npy("ids.npy", sl_tensor_of(SL_U16, small, 1, (int64_t)6)) : npy("ids.npy", sl_tensor_of(SL_I64, ids, 2, (int64_t)2, (int64_t)3));
        sl_act_source *s = import(&p, 1, &o);
        sl_act_batch b;
        assert_true(s->info.has_tokens);
        sl_assert_ok(s->next(s, 6, &b, &err));
        for (int i = 0; i < 6; i++)
            assert_int_equal(b.token[i], ids[i]);
        assert_int_equal(b.pos[5], 2);
        sl_act_source_free(s);
    }
    o.tokens = npy("ids.npy", sl_tensor_of(SL_I64, ids, 1, (int64_t)5));
    refused(&p, 1, &o, SL_SHAPE, "ids.npy: 5 tokens for 6 rows");
    ids[3] = -1;
    o.tokens = npy("ids.npy", sl_tensor_of(SL_I64, ids, 1, (int64_t)6));
    refused(&p, 1, &o, SL_DATA, "ids.npy: token 3 is -1");
    o.tokens = npy("ids.npy", sl_tensor_of(SL_F32, x, 1, (int64_t)6));
    refused(&p, 1, &o, SL_SHAPE, "token ids of dtype F32");
    o.tokens = path_in(in, "none.npy");
    refused(&p, 1, &o, SL_MISSING, "none.npy");
}

static void labels(void **state)
{
    (void)state;
    float x[6] = { 0, 1, 2, 3, 4, 6 };
    const char *p = npy("l.npy", sl_tensor_of(SL_F32, x, 2, (int64_t)3, (int64_t)2));
    static const char *const good[] = { "cat\ndog\nbird", "cat\ndog\nbird\n", "cat\r\ndog\r\nbird\r\n" };
    sl_acts_import_opts o = PLAIN;
    o.labels = path_in(in, "labels.txt");
    o.store.shuffle = true;
    o.store.seed = 3;
    for (int k = 0; k < 3; k++) {
        put_file(o.labels, good[k], strlen(good[k]));
        sl_act_source *s = import(&p, 1, &o);
        sl_act_batch b;
        sl_assert_ok(s->next(s, 3, &b, &err));
        for (int i = 0; i < 3; i++)
            assert_string_equal(s->info.labels[b.row[i]], b.x[2 * i] == 0 ? "cat" : b.x[2 * i] == 2 ? "dog" : "bird");
        sl_act_source_free(s);
    }
    put_file(o.labels, "cat\ndog\n", 8);
    refused(&p, 1, &o, SL_SHAPE, "labels.txt: 2 labels for 3 rows (expected one line a row)");
    put_file(o.labels, "cat\ndog\n\n\n", 10);
    refused(&p, 1, &o, SL_SHAPE, "4 labels for 3 rows");
    put_file(o.labels, "", 0);
    refused(&p, 1, &o, SL_SHAPE, "0 labels for 3 rows");
    put_file(o.labels, "a\nb\0\nc\n", 8);
    refused(&p, 1, &o, SL_DATA, "zero byte");
}

static void what_does_not_fit(void **state)
{
    (void)state;
    float x[12] = { 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11 };
    int32_t ids[4] = { 1, 2, 3, 4 };
    const char *narrow = npy("narrow.npy", sl_tensor_of(SL_F32, x, 2, (int64_t)4, (int64_t)2));
    const char *wide = npy("wide.npy", sl_tensor_of(SL_F32, x, 2, (int64_t)4, (int64_t)3));
    const char *cube = npy("cube.npy", sl_tensor_of(SL_F32, x, 3, (int64_t)2, (int64_t)2, (int64_t)2));
    const char *flat = npy("flat.npy", sl_tensor_of(SL_F32, x, 1, (int64_t)4));
    const char *whole = npy("whole.npy", sl_tensor_of(SL_I32, ids, 2, (int64_t)2, (int64_t)2));
    const char *empty = npy("empty.npy", sl_tensor_of(SL_F32, x, 2, (int64_t)0, (int64_t)2));
    const char *text = path_in(in, "text.csv"), *none = path_in(in, "none.npy");
    put_file(text, "1,2", 3);
    refused((const char *[]){ narrow, wide }, 2, &PLAIN, SL_SHAPE, "rows of 3 values, but ");
    assert_non_null(strstr(err.msg, "wide.npy: "));
    assert_non_null(strstr(err.msg, "narrow.npy has rows of 2"));
    refused((const char *[]){ narrow, cube }, 2, &PLAIN, SL_SHAPE, "has positions");
    refused(&flat, 1, &PLAIN, SL_SHAPE, "flat.npy: holds no activations: F32 [4] (expected [n, d] or [batch, pos, d]");
    refused(&whole, 1, &PLAIN, SL_SHAPE, "holds no activations: I32 [2, 2]");
    refused(&empty, 1, &PLAIN, SL_DATA, "at least one row");
    refused(&text, 1, &PLAIN, SL_ARG, "text.csv: activations cannot be read");
    refused(&none, 1, &PLAIN, SL_MISSING, "none.npy: cannot open");
    refused(NULL, 0, &PLAIN, SL_ARG, "nothing to import");
    const char *dir = fresh_store();
    sl_assert_ok(sl_acts_import(ctx, 1, &narrow, dir, &PLAIN, &err));
    sl_assert_fails(sl_acts_import(ctx, 1, &narrow, dir, &PLAIN, &err), SL_EXISTS, "already there");
    sl_act_source *s;
    sl_assert_ok(sl_acts_open(ctx, dir, true, &s, &err));
    sl_act_source_free(s);
}

static void nan_names_the_file(void **state)
{
    (void)state;
    float x[8] = { 0, 1, 2, 3, 4, 5, 6, 7 }, y[8] = { 0, 1, 2, 3, 4, NAN, 6, 7 };
    double huge[4] = { 1, 2, 1e300, 3 };
    const char *p[2] = { npy("first.npy", sl_tensor_of(SL_F32, x, 2, (int64_t)4, (int64_t)2)),
                         npy("second.npy", sl_tensor_of(SL_F32, y, 2, (int64_t)4, (int64_t)2)) };
    refused(p, 2, &PLAIN, SL_NUMERIC, "second.npy: row 2 of the input, column 1: nan");
    p[0] = npy("huge.npy", sl_tensor_of(SL_F64, huge, 2, (int64_t)2, (int64_t)2));
    refused(p, 1, &PLAIN, SL_NUMERIC, "huge.npy: row 1 of the input, column 0: inf");
}

/* More rows than a chunk of the copy holds, and a stop in the middle. */
static void cancel(void *user, const sl_event *e)
{
    if (e->kind == SL_EVENT_PROGRESS && e->done < e->total)
        sl_cancel(*(sl_ctx **)user, 15);
}

static void many_rows_and_cancellation(void **state)
{
    (void)state;
    enum { N = 3000, W = 1000 };
    float *x = sl_alloc(ctx, (size_t)N * W * sizeof *x);
    for (int i = 0; i < N * W; i++)
        x[i] = (float)(i % 8191);
    const char *p = npy("many.npy", sl_tensor_of(SL_F32, x, 2, (int64_t)N, (int64_t)W));
    sl_act_source *s = import(&p, 1, &PLAIN);
    expect(s, x, N);
    sl_act_source_free(s);
    sl_free(ctx, x);
    sl_ctx *stopped = NULL;
    stopped = sl_ctx_new(&(sl_ctx_opts){ .n_threads = 1, .on_event = cancel, .event_user = &stopped });
    const char *dir = fresh_store();
    sl_assert_fails(sl_acts_import(stopped, 1, &p, dir, &PLAIN, &err), SL_CANCELLED, "nothing was written");
    assert_int_equal(count_entries(out), 0);
    sl_ctx_free(stopped);
}

static void full_disk_and_no_memory(void **state)
{
    (void)state;
    float x[8] = { 0, 1, 2, 3, 4, 5, 6, 7 };
    int32_t ids[4] = { 1, 2, 3, 4 };
    const char *p = npy("small.npy", sl_tensor_of(SL_F32, x, 2, (int64_t)4, (int64_t)2));
    sl_acts_import_opts o = PLAIN;
    o.tokens = npy("small_ids.npy", sl_tensor_of(SL_I32, ids, 1, (int64_t)4));
    o.labels = path_in(in, "small.txt");
    put_file(o.labels, "a\nb\nc\nd\n", 8);
    for (int kind = 0; kind < 2; kind++) {
        sl_status st = SL_MEM;
        const char *dir = fresh_store();
        int n = 0;
        while (st != SL_OK) {
            sl_ctx *c = sl_ctx_new(&(sl_ctx_opts){ .n_threads = 1, .fail_alloc_at = kind ? ++n : 0 });
            sl_io_fail_at(kind ? 0 : ++n);
            st = sl_acts_import(c, 1, &p, dir, &o, &err);
            sl_io_fail_at(0);
            if (st != SL_OK) {
                assert_int_equal(st, kind ? SL_MEM : SL_IO);
                assert_int_equal(count_entries(out), 0);
            }
            sl_ctx_free(c);
        }
        assert_true(n > 20);
    }
}

static int start(void **state)
{
    (void)state;
    ctx = sl_test_ctx(1);
    in = path_in(sl_test_dir("import_in"), "");
    return 0;
}

static int stop(void **state) { (void)state; sl_ctx_free(ctx); return 0; }

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_container), cmocka_unit_test(every_dtype), cmocka_unit_test(positions_and_several_files), cmocka_unit_test(tokens),
        cmocka_unit_test(labels), cmocka_unit_test(what_does_not_fit), cmocka_unit_test(nan_names_the_file),
        cmocka_unit_test(many_rows_and_cancellation), cmocka_unit_test(full_disk_and_no_memory),
    };
    return cmocka_run_group_tests_name("data_acts_import", tests, start, stop);
}
