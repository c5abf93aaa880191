/* The activation store when things go wrong: bad rows, damaged files, a full disk, no memory. */
#include "acts_support.h"

#include <math.h>
#include <unistd.h>

static sl_err err;
static sl_ctx *ctx;
static const sl_acts_opts SHUFFLED = { .dtype = SL_F32, .shuffle = true, .seed = 42, .shard_rows = 30 };

/* ---- writing ---- */

static void bad_rows(void **state)
{
    (void)state;
    const char *base = path_in(sl_test_dir("acts_bad"), "");
    const char *dir = path_in(base, "store");
    rows *r = make_rows();
    sl_act_info info = make_info();
    const float values[] = { NAN, INFINITY, -INFINITY };
    for (int k = 0; k < 3; k++) {
        sl_acts_writer *w;
        sl_assert_ok(sl_acts_create(ctx, dir, &info, 100, &SHUFFLED, &w, &err));
        sl_assert_ok(sl_acts_append(w, r->x, 10, NULL, NULL, NULL, &err));
        r->x[17 * D + 3] = values[k];
        sl_assert_fails(sl_acts_append(w, r->x + 10 * D, 20, NULL, NULL, NULL, &err), SL_NUMERIC, "row 17 of the input, column 3");
        sl_assert_fails(sl_acts_finish(w, &err), SL_DATA, "17 rows came of 100");
        r = make_rows();
        assert_int_equal(count_entries(base), 0);
    }
    sl_acts_opts half = { .dtype = SL_F16 };
    sl_acts_writer *w;
    sl_assert_ok(sl_acts_create(ctx, dir, &info, 100, &half, &w, &err));
    r->x[2 * D + 1] = 70000;
    sl_assert_fails(sl_acts_append(w, r->x, 20, NULL, NULL, NULL, &err), SL_NUMERIC, "row 2 of the input, column 1: 70000 is too large for F16");
    sl_acts_abort(w);
    sl_acts_abort(NULL);
    make_rows();
    assert_int_equal(count_entries(base), 0);
}

static void wrong_use(void **state)
{
    (void)state;
    const char *base = path_in(sl_test_dir("acts_use"), "");
    const char *dir = path_in(base, "store");
    const rows *r = make_rows();
    sl_act_info info = make_info();
    sl_acts_writer *w, *second;
    sl_assert_ok(sl_acts_create(ctx, dir, &info, 10, &SHUFFLED, &w, &err));
    sl_assert_fails(sl_acts_create(ctx, dir, &info, 10, &SHUFFLED, &second, &err), SL_BUSY, "another process");
    assert_null(second);
    sl_assert_ok(sl_acts_append(w, r->x, 5, r->token, NULL, NULL, &err));
    sl_assert_fails(sl_acts_append(w, r->x, 5, NULL, NULL, NULL, &err), SL_ARG, "with all rows or with none");
    sl_assert_fails(sl_acts_append(w, r->x, 5, r->token, r->doc, NULL, &err), SL_ARG, "with all rows or with none");
    sl_assert_fails(sl_acts_append(w, r->x, 6, r->token, NULL, NULL, &err), SL_DATA, "more than the 10 rows");
    sl_assert_fails(sl_acts_finish(w, &err), SL_DATA, "5 rows came of 10");
    assert_int_equal(count_entries(base), 0);
    sl_acts_opts o = { .dtype = SL_I32 };
    sl_assert_fails(sl_acts_create(ctx, dir, &info, 10, &o, &w, &err), SL_ARG, "dtype I32");
    o = (sl_acts_opts){ .dtype = SL_F32, .shard_rows = 1 };
    sl_assert_fails(sl_acts_create(ctx, dir, &info, 1000, &o, &w, &err), SL_ARG, "at most 512 shards");
    sl_assert_fails(sl_acts_create(ctx, dir, &info, 0, &SHUFFLED, &w, &err), SL_ARG, "0 rows");
    sl_assert_fails(sl_acts_create(ctx, "", &info, 10, &SHUFFLED, &w, &err), SL_ARG, "empty");
    o = (sl_acts_opts){ .dtype = SL_F32 };
    sl_assert_fails(sl_acts_create(ctx, dir, &info, (int64_t)1 << 40, &o, &w, &err), SL_IO, "the disk has");
    const char *labels[2] = { "a", "b\nc" };
    info.labels = labels;
    info.n_labels = 2;
    sl_assert_fails(sl_acts_create(ctx, dir, &info, 10, &SHUFFLED, &w, &err), SL_DATA, "2 labels for 10 rows");
    sl_assert_fails(sl_acts_create(ctx, dir, &info, 2, &SHUFFLED, &w, &err), SL_DATA, "has several");
    info = make_info();
    memcpy(info.hook, "\xff\xfe", 3);
    sl_assert_ok(sl_acts_create(ctx, dir, &info, 10, &SHUFFLED, &w, &err));
    sl_assert_ok(sl_acts_append(w, r->x, 10, NULL, NULL, NULL, &err));
    sl_assert_fails(sl_acts_finish(w, &err), SL_ARG, "UTF-8");
    assert_int_equal(count_entries(base), 0);
    sl_assert_ok(make_store(ctx, dir, 10, 10, &SHUFFLED, true, &err));
    sl_assert_fails(make_store(ctx, dir, 10, 10, &SHUFFLED, true, &err), SL_EXISTS, "already there");
    sl_assert_fails(make_store(ctx, path_in(dir, "manifest.json/x"), 10, 10, &SHUFFLED, true, &err), SL_EXISTS, "is a file");
}

static void zero_variance(void **state)
{
    (void)state;
    const char *base = path_in(sl_test_dir("acts_zero"), "");
    sl_act_info info = { .d_in = 2 };
    const float x[6] = { 0.1f, 3, 0.1f, 3, 0.1f, 3 };
    sl_acts_writer *w;
    sl_assert_ok(sl_acts_create(ctx, path_in(base, "store"), &info, 3, &SHUFFLED, &w, &err));
    sl_assert_ok(sl_acts_append(w, x, 3, NULL, NULL, NULL, &err));
    sl_assert_fails(sl_acts_finish(w, &err), SL_DATA, "all 3 rows are the same: the variance is zero");
    assert_int_equal(count_entries(base), 0);
}

static void a_cut_off_capture_starts_again(void **state)
{
    (void)state;
    const char *base = path_in(sl_test_dir("acts_cut"), "");
    const char *dir = path_in(base, "store");
    sl_assert_ok(sl_dir_make(path_in(base, "store.partial/sub"), &err));
    put_file(path_in(base, "store.partial/acts-00009.safetensors"), "old", 3);
    sl_assert_ok(make_store(ctx, dir, 100, 10, &SHUFFLED, true, &err));
    assert_int_equal(count_entries(base), 1);
    assert_int_equal(count_entries(dir), 6);
    sl_assert_ok(make_store(ctx, path_in(base, "slash//"), 100, 10, &SHUFFLED, true, &err));
    assert_true(sl_path_is_dir(path_in(base, "slash")));
}

static void full_disk(void **state)
{
    (void)state;
    const char *base = path_in(sl_test_dir("acts_full"), "");
    const char *dir = path_in(base, "store");
    sl_acts_opts o = SHUFFLED;
    o.shard_rows = 3;
    sl_status st = SL_IO;
    int n = 0;
    while (st != SL_OK) {
        sl_io_fail_at(++n);
        st = make_store(ctx, dir, 6, 2, &o, true, &err);
        sl_io_fail_at(0);
        if (st != SL_OK) {
            assert_int_equal(st, SL_IO);
            assert_non_null(strstr(err.msg, "No space left"));
            assert_int_equal(count_entries(base), 0);
        }
        assert_true(n < 100);
    }
    /* folder; 2 x (create, header, fsync); 6 rows of 4 writes; mean and manifest of 4 each; rename; and the one that passes */
    assert_int_equal(n, 1 + 6 + 24 + 8 + 1 + 1);
    sl_act_source *s;
    sl_assert_ok(sl_acts_open(ctx, dir, true, &s, &err));
    sl_act_source_free(s);
}

static sl_status write_and_read(sl_ctx *small, const char *dir, bool write)
{
    if (write)
        SL_TRY(make_store(small, dir, 100, 50, &SHUFFLED, true, &err));
    sl_act_source *s;
    sl_act_batch b;
    SL_TRY(sl_acts_open(small, dir, true, &s, &err));
    sl_status st = s->next(s, 40, &b, &err);
    if (st == SL_OK)
        st = s->next(s, 80, &b, &err);
    else if (s->next(s, 40, &b, NULL) == SL_OK) /* a failed batch can be asked for again, from the same row */
        assert_int_equal(b.row[0], 0);
    sl_act_source_free(s);
    return st;
}

static void no_memory(void **state)
{
    (void)state;
    const char *base = path_in(sl_test_dir("acts_memory"), "");
    const char *dir = path_in(base, "store");
    for (int write = 1; write >= 0; write--) {
        sl_status st = SL_MEM;
        int n = 0;
        while (st != SL_OK) {
            sl_ctx *small = sl_ctx_new(&(sl_ctx_opts){ .n_threads = 1, .fail_alloc_at = ++n });
            if (write)
                sl_assert_ok(sl_dir_remove(dir, &err));
            st = write_and_read(small, dir, write);
            if (st != SL_OK && st != SL_MEM)
                fail_msg("allocation %d: %s", n, err.msg);
            assert_false(sl_path_exists(path_in(base, "store.partial")));
            sl_ctx_free(small);
        }
        assert_true(n > 20);
    }
}

/* ---- reading ---- */

static const char *fresh(void)
{
    const char *dir = path_in(sl_test_dir("acts_damage"), "store");
    sl_assert_ok(make_store(ctx, dir, 100, 10, &SHUFFLED, true, &err));
    return dir;
}

static void damaged(const char *dir, bool verify, sl_status code, const char *text)
{
    sl_act_source *s;
    sl_assert_fails(sl_acts_open(ctx, dir, verify, &s, &err), code, text);
    assert_null(s);
}

static void missing_files(void **state)
{
    (void)state;
    const char *dir = fresh();
    damaged(path_in(dir, "none"), false, SL_MISSING, "is no activation store (expected a folder with manifest.json)");
    assert_int_equal(unlink(path_in(dir, "acts-00002.safetensors")), 0);
    damaged(dir, false, SL_MISSING, "acts-00002.safetensors: cannot open");
    dir = fresh();
    assert_int_equal(unlink(path_in(dir, "mean.safetensors")), 0);
    damaged(dir, false, SL_MISSING, "mean.safetensors");
}

static void truncated_files(void **state)
{
    (void)state;
    static const char *const names[] = { "acts-00000.safetensors", "acts-00003.safetensors", "mean.safetensors", "manifest.json" };
    const char *dir = fresh();
    for (int k = 0; k < 4; k++) {
        char *data;
        size_t n;
        const char *path = path_in(dir, names[k]);
        sl_assert_ok(sl_file_read(ctx, path, &data, &n, &err));
        for (size_t i = 0; i + 2 < n; i += 7) { /* without the manifest's last newline it is still whole */
            put_file(path, data, i);
            damaged(dir, false, SL_DATA, names[k]);
        }
        put_file(path, data, n);
        sl_free(ctx, data);
    }
}

/* Replaces the text in the manifest. */
static void edit(const char *dir, const char *from, const char *to)
{
    char *data, out[8192];
    size_t n;
    sl_assert_ok(sl_file_read(ctx, path_in(dir, "manifest.json"), &data, &n, &err));
    char *at = strstr(data, from);
    assert_non_null(at);
    int k = snprintf(out, sizeof out, "%.*s%s%s", (int)(at - data), data, to, at + strlen(from));
    assert_true(k > 0 && k < (int)sizeof out);
    put_file(path_in(dir, "manifest.json"), out, (size_t)k);
    sl_free(ctx, data);
}

static void changed_manifest(void **state)
{
    (void)state;
    static const struct { const char *from, *to, *text; } edits[] = {
        { "\"saelab-acts\"", "\"other\"", "is no manifest of an activation store" },
        { "\"version\": 1", "\"version\": 2", "version 2" },
        { "\"d_in\": 5", "\"d_in\": 6", "data_hash" },
        { "\"d_in\": 5", "\"d_in\": 0", "'d_in' has a wrong value" },
        { "\"n_rows\": 100", "\"n_rows\": 200", "lists 4 shards, but 200 rows in shards of 30 need 7" },
        { "\"n_rows\": 100", "\"n_rows\": 99", "shard 3" },
        { "\"n_rows\": 100", "\"n_rows\": \"100\"", "'n_rows' has a wrong value" },
        { "\"shard_rows\": 30", "\"shard_rows\": 0", "'shard_rows' has a wrong value" },
        { "\"dtype\": \"F32\"", "\"dtype\": \"F64\"", "'dtype' is 'F64'" },
        { "\"dtype\": \"F32\"", "\"dtype\": \"F16\"", "data_hash" },
        { "\"hook\": \"blocks.1", "\"hook\": \"blocks.2", "data_hash" },
        { "\"shuffle_seed\": \"42\"", "\"shuffle_seed\": \"-1\"", "'shuffle_seed' is '-1'" },
        { "\"shuffle_seed\": \"42\"", "\"shuffle_seed\": \"43\"", "data_hash" },
        { "\"has_tokens\": true", "\"has_tokens\": 1", "'has_tokens' has a wrong value" },
        { "\"scale\": ", "\"scale\": -", "'scale' is -" },
        { "acts-00001.safetensors", "../../../etc/passwd", "shard 1 is '../../../etc/passwd'" },
        { "\"mean_xxh3\": \"", "\"mean_xxh3\": \"0", "'mean_xxh3' has a wrong value" },
        { "\"data_hash\": \"", "\"data_hash\": \"0", "'data_hash' has a wrong value" },
        { "\"shards\"", "\"pieces\"", "lists 0 shards" },
        { "{\n  \"format\"", "{\n  \"format\": 1,\n  \"format\"", "manifest.json:3:" },
    };
    const char *dir = fresh();
    char *data;
    size_t n;
    sl_assert_ok(sl_file_read(ctx, path_in(dir, "manifest.json"), &data, &n, &err));
    for (size_t i = 0; i < sizeof edits / sizeof *edits; i++) {
        edit(dir, edits[i].from, edits[i].to);
        damaged(dir, false, SL_DATA, edits[i].text);
        put_file(path_in(dir, "manifest.json"), data, n);
    }
    sl_free(ctx, data);
    sl_act_source *s;
    sl_assert_ok(sl_acts_open(ctx, dir, true, &s, &err));
    sl_act_source_free(s);
}

static void swapped_shards(void **state)
{
    (void)state;
    const char *dir = fresh();
    sl_assert_ok(sl_path_rename(path_in(dir, "acts-00000.safetensors"), path_in(dir, "t"), &err));
    sl_assert_ok(sl_path_rename(path_in(dir, "acts-00001.safetensors"), path_in(dir, "acts-00000.safetensors"), &err));
    sl_assert_ok(sl_path_rename(path_in(dir, "t"), path_in(dir, "acts-00001.safetensors"), &err));
    damaged(dir, true, SL_DATA, "acts-00000.safetensors: the checksum is");
    sl_assert_ok(sl_path_rename(path_in(dir, "acts-00003.safetensors"), path_in(dir, "acts-00000.safetensors"), &err));
    damaged(dir, false, SL_SHAPE, "the tensor 'x' has shape [10, 5] (expected shape [30, 5])");
}

/* Every byte of a shard, changed: verify sees it. */
static void verify_sees_every_byte(void **state)
{
    (void)state;
    const char *dir = fresh(), *path = path_in(dir, "acts-00003.safetensors");
    char *data;
    size_t n;
    sl_assert_ok(sl_file_read(ctx, path, &data, &n, &err));
    for (size_t i = 0; i < n; i += 3) {
        data[i] ^= 0x20;
        put_file(path, data, n);
        data[i] ^= 0x20;
        sl_act_source *s;
        sl_status st = sl_acts_open(ctx, dir, true, &s, &err);
        assert_true(st == SL_DATA || st == SL_SHAPE || st == SL_MISSING);
        assert_non_null(strstr(err.msg, "acts-00003.safetensors"));
    }
    sl_free(ctx, data);
}

/* Row 12, column 2 of shard 1 becomes NaN (then infinity) behind the store's back. */
static void nan_on_disk(void **state)
{
    (void)state;
    const float values[] = { NAN, INFINITY };
    const char *dir = fresh(), *path = path_in(dir, "acts-00001.safetensors");
    sl_dict d;
    sl_assert_ok(sl_safetensors_read(ctx, path, &d, &err));
    size_t at = (size_t)((const uint8_t *)sl_dict_get(&d, "x")->data - d.map.data) + (12 * D + 2) * sizeof(float);
    sl_dict_release(&d);
    for (int k = 0; k < 2; k++) {
        char *data;
        size_t n;
        sl_assert_ok(sl_file_read(ctx, path, &data, &n, &err));
        memcpy(data + at, &values[k], sizeof(float));
        put_file(path, data, n);
        sl_free(ctx, data);
        sl_act_source *s;
        sl_act_batch b;
        damaged(dir, true, SL_DATA, "corrupt");
        sl_assert_ok(sl_acts_open(ctx, dir, false, &s, &err));
        sl_assert_ok(s->next(s, 42, &b, &err));
        sl_assert_fails(s->next(s, 20, &b, &err), SL_NUMERIC, "acts-00001.safetensors: row 12 of this shard, column 2");
        sl_assert_ok(s->seek(s, 43, &err));
        sl_assert_ok(s->next(s, 57, &b, &err));
        sl_act_source_free(s);
    }
}

static void changed_labels(void **state)
{
    (void)state;
    const char *dir = path_in(sl_test_dir("acts_lab"), "store");
    sl_act_info info = make_info();
    const char *labels[3] = { "a", "b", "c" };
    info.labels = labels;
    info.n_labels = 3;
    sl_acts_writer *w;
    sl_assert_ok(sl_acts_create(ctx, dir, &info, 3, &SHUFFLED, &w, &err));
    sl_assert_ok(sl_acts_append(w, make_rows()->x, 3, NULL, NULL, NULL, &err));
    sl_assert_ok(sl_acts_finish(w, &err));
    put_file(path_in(dir, "labels.txt"), "a\nb\nd\n", 6);
    damaged(dir, false, SL_DATA, "labels.txt: the checksum is");
    assert_int_equal(unlink(path_in(dir, "labels.txt")), 0);
    damaged(dir, false, SL_MISSING, "labels.txt");
}

static int start(void **state) { (void)state; ctx = sl_test_ctx(1); return 0; }
static int stop(void **state) { (void)state; sl_ctx_free(ctx); return 0; }

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_rows), cmocka_unit_test(wrong_use), cmocka_unit_test(zero_variance), cmocka_unit_test(a_cut_off_capture_starts_again),
        cmocka_unit_test(full_disk), cmocka_unit_test(no_memory), cmocka_unit_test(missing_files), cmocka_unit_test(truncated_files),
        cmocka_unit_test(changed_manifest), cmocka_unit_test(swapped_shards), cmocka_unit_test(verify_sees_every_byte), cmocka_unit_test(nan_on_disk),
        cmocka_unit_test(changed_labels),
    };
    return cmocka_run_group_tests_name("data_acts_faults", tests, start, stop);
}
