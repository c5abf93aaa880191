/* Atomic files, appending, folders, hashes, JSON files, and a disk that is full at every possible moment. */
#include "io_support.h"

#include <math.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static sl_err err;
static sl_ctx *ctx;

static void atomic_write(void **state)
{
    (void)state;
    const char *dir = keep(sl_test_dir("atomic")), *path = in_dir(dir, "a.txt");
    sl_atomic *f;
    sl_assert_ok(sl_atomic_open(ctx, path, &f, &err));
    sl_assert_ok(sl_atomic_printf(f, &err, "%d %s\n", 7, "rows"));
    assert_false(sl_path_exists(path)); /* not before commit */
    assert_int_equal(count_entries(dir), 1);
    sl_assert_ok(sl_atomic_commit(f, &err));
    assert_content(ctx, path, "7 rows\n");
    assert_int_equal(count_entries(dir), 1);

    sl_assert_ok(sl_atomic_open(ctx, path, &f, &err));
    sl_assert_ok(sl_atomic_write(f, "lost", 4, &err));
    sl_atomic_abort(f);
    sl_atomic_abort(NULL);
    assert_content(ctx, path, "7 rows\n");
    assert_int_equal(count_entries(dir), 1);
}

static void large_and_long_writes(void **state)
{
    (void)state;
    const char *path = in_dir(sl_test_dir("large"), "a.bin");
    enum { N = 300000 };
    char *data = sl_alloc(ctx, N + 1), *back;
    size_t n;
    for (int i = 0; i < N; i++)
        data[i] = (char)('a' + i % 23);
    sl_atomic *f;
    sl_assert_ok(sl_atomic_open(ctx, path, &f, &err));
    sl_assert_ok(sl_atomic_write(f, data, 60000, &err));
    sl_assert_ok(sl_atomic_write(f, data + 60000, 10000, &err));
    sl_assert_ok(sl_atomic_write(f, data + 70000, N - 70000, &err));
    sl_assert_ok(sl_atomic_printf(f, &err, "%s", data)); /* longer than any buffer */
    sl_assert_ok(sl_atomic_commit(f, &err));
    sl_assert_ok(sl_file_read(ctx, path, &back, &n, &err));
    assert_int_equal(n, 2 * N);
    sl_assert_same_bits("first", back, data, N);
    sl_assert_same_bits("second", back + N, data, N);
    sl_free(ctx, back);
    sl_free(ctx, data);
}

static void permissions_follow_umask(void **state)
{
    (void)state;
    const char *dir = keep(sl_test_dir("umask"));
    struct stat s;
    mode_t old = umask(027);
    sl_assert_ok(sl_file_write(ctx, in_dir(dir, "a"), "x", 1, &err));
    assert_int_equal(stat(in_dir(dir, "a"), &s), 0);
    assert_int_equal(s.st_mode & 0777, 0640);
    umask(0);
    sl_assert_ok(sl_file_write(ctx, in_dir(dir, "b"), "x", 1, &err));
    assert_int_equal(stat(in_dir(dir, "b"), &s), 0);
    assert_int_equal(s.st_mode & 0777, 0666);
    umask(old);
}

static void full_disk_leaves_nothing(void **state)
{
    (void)state;
    const char *dir = keep(sl_test_dir("full")), *path = in_dir(dir, "a.txt");
    sl_status st = SL_IO;
    int n = 0;
    while (st != SL_OK) {
        sl_io_fail_at(++n);
        st = sl_file_write(ctx, path, "text", 4, &err);
        sl_io_fail_at(0);
        if (st != SL_OK) {
            assert_int_equal(st, SL_IO);
            assert_non_null(strstr(err.msg, "No space left"));
            assert_non_null(strstr(err.msg, "a.txt"));
            assert_int_equal(count_entries(dir), 0);
        }
    }
    assert_int_equal(n, 5); /* create, write, fsync, rename each failed once */
    assert_content(ctx, path, "text");
    /* an existing file survives */
    for (n = 1; n <= 4; n++) {
        sl_io_fail_at(n);
        sl_assert_fails(sl_file_write(ctx, path, "other", 5, &err), SL_IO, "No space left");
        sl_io_fail_at(0);
        assert_content(ctx, path, "text");
        assert_int_equal(count_entries(dir), 1);
    }
}

static void scattered_file(void **state)
{
    (void)state;
    const char *path = in_dir(sl_test_dir("scatter"), "a");
    sl_scatter *f;
    sl_assert_ok(sl_scatter_open(ctx, path, 10, &f, &err));
    sl_assert_ok(sl_scatter_write(f, "wxyz", 4, 6, &err));
    sl_assert_ok(sl_scatter_write(f, "abcdef", 6, 0, &err));
    sl_assert_fails(sl_scatter_write(f, "zz", 2, 9, &err), SL_ARG, "outside");
    sl_assert_fails(sl_scatter_write(f, "zz", 2, -1, &err), SL_ARG, "outside");
    sl_assert_ok(sl_scatter_close(f, &err));
    assert_content(ctx, path, "abcdefwxyz");
    sl_io_fail_at(1);
    sl_assert_fails(sl_scatter_open(ctx, path, 10, &f, &err), SL_IO, "No space left");
    sl_assert_ok(sl_scatter_open(ctx, path, 10, &f, &err));
    sl_io_fail_at(1);
    sl_assert_fails(sl_scatter_write(f, "a", 1, 0, &err), SL_IO, "No space left");
    sl_io_fail_at(1);
    sl_assert_fails(sl_scatter_close(f, &err), SL_IO, "No space left");
    sl_io_fail_at(0);
    sl_scatter_abort(NULL);
}

static void appending(void **state)
{
    (void)state;
    const char *path = in_dir(sl_test_dir("append"), "log.csv");
    sl_assert_ok(sl_file_append(ctx, path, "step,loss", &err));
    sl_assert_ok(sl_file_append(ctx, path, "1,2.5\n", &err));
    assert_content(ctx, path, "step,loss\n1,2.5\n");
    sl_io_fail_at(2);
    sl_assert_fails(sl_file_append(ctx, path, "2,2.4", &err), SL_IO, "cannot append: No space left");
    sl_io_fail_at(0);
    assert_content(ctx, path, "step,loss\n1,2.5\n");
}

static void reading_errors(void **state)
{
    (void)state;
    const char *dir = keep(sl_test_dir("read"));
    char *data;
    size_t n;
    sl_mmap m;
    sl_assert_fails(sl_file_read(ctx, in_dir(dir, "none"), &data, &n, &err), SL_MISSING, "none: cannot open: No such file");
    sl_assert_fails(sl_file_read(ctx, dir, &data, &n, &err), SL_IO, "folder");
    sl_assert_fails(sl_mmap_open(in_dir(dir, "none"), &m, &err), SL_MISSING, "none");
    sl_assert_fails(sl_mmap_open(dir, &m, &err), SL_IO, "folder");
    sl_assert_fails(sl_file_write(ctx, dir, "x", 1, &err), SL_EXISTS, "is a folder");
    sl_assert_fails(sl_file_write(ctx, in_dir(dir, "no/such/a"), "x", 1, &err), SL_MISSING, "cannot create");
    put_file(in_dir(dir, "empty"), "", 0);
    sl_assert_ok(sl_mmap_open(in_dir(dir, "empty"), &m, &err));
    assert_int_equal(m.n, 0);
    sl_mmap_close(&m);
    sl_assert_ok(sl_file_read(ctx, in_dir(dir, "empty"), &data, &n, &err));
    assert_int_equal(n, 0);
    assert_string_equal(data, "");
    sl_free(ctx, data);
    put_file(in_dir(dir, "abc"), "abc", 3);
    sl_assert_ok(sl_mmap_open(in_dir(dir, "abc"), &m, &err));
    sl_assert_same_bits("map", m.data, "abc", 3);
    sl_mmap_will_need(&m, m.data + 1, 2);
    sl_mmap_will_need(&m, m.data + 1, 3); /* beyond the end: ignored */
    sl_mmap_close(&m);
    char longer[2000];
    memset(longer, 'a', sizeof longer - 1);
    longer[sizeof longer - 1] = 0;
    sl_assert_fails(sl_file_write(ctx, longer, "x", 1, &err), SL_ARG, "too long");
}

static void folders(void **state)
{
    (void)state;
    const char *dir = keep(sl_test_dir("dirs"));
    char p[64], deep[600];
    sl_assert_ok(sl_path_join(p, sizeof p, "a", "b", &err));
    assert_string_equal(p, "a/b");
    sl_assert_ok(sl_path_join(p, sizeof p, "a/", "b", &err));
    assert_string_equal(p, "a/b");
    sl_assert_fails(sl_path_join(p, 4, "aa", "b", &err), SL_ARG, "too long");
    snprintf(deep, sizeof deep, "%s/x/y/z", dir);
    sl_assert_ok(sl_dir_make(deep, &err));
    sl_assert_ok(sl_dir_make(deep, &err));
    assert_true(sl_path_is_dir(deep));
    put_file(in_dir(deep, "keep"), "1", 1);
    put_file(in_dir(deep, "a.json.tmp-123-0"), "1", 1);
    put_file(in_dir(deep, "a.tmp-notes"), "1", 1);
    sl_assert_ok(sl_dir_sweep(dir, &err));
    assert_int_equal(count_entries(deep), 2);
    sl_assert_fails(sl_dir_make(in_dir(deep, "keep/sub"), &err), SL_EXISTS, "is a file");
    /* a link to a folder outside is removed, not followed */
    const char *outside = keep(sl_test_dir("outside"));
    put_file(in_dir(outside, "mine"), "1", 1);
    assert_int_equal(symlink(outside, in_dir(deep, "link")), 0);
    sl_assert_ok(sl_dir_remove(in_dir(dir, "x"), &err));
    assert_false(sl_path_exists(in_dir(dir, "x")));
    assert_int_equal(count_entries(outside), 1);
    sl_assert_ok(sl_dir_remove(in_dir(dir, "x"), &err));
    put_file(in_dir(dir, "file"), "1", 1);
    sl_assert_fails(sl_dir_remove(in_dir(dir, "file"), &err), SL_IO, "file");
    sl_assert_ok(sl_path_rename(in_dir(dir, "file"), in_dir(dir, "file2"), &err));
    assert_false(sl_path_exists(in_dir(dir, "file")));
    sl_assert_fails(sl_path_rename(in_dir(dir, "file"), in_dir(dir, "file3"), &err), SL_MISSING, "cannot rename");
    sl_assert_ok(sl_dir_make(in_dir(dir, "d"), &err));
    sl_assert_fails(sl_path_rename(in_dir(dir, "d"), outside, &err), SL_EXISTS, "already");
    assert_true(sl_disk_free(dir) > 0);
    assert_int_equal(sl_disk_free(in_dir(dir, "none")), -1);
}

static void one_lock_a_folder(void **state)
{
    (void)state;
    const char *dir = keep(sl_test_dir("lock"));
    int first, second;
    sl_assert_ok(sl_dir_make(in_dir(dir, "a"), &err));
    sl_assert_ok(sl_dir_lock(in_dir(dir, "a"), &first, &err));
    sl_assert_fails(sl_dir_lock(in_dir(dir, "a"), &second, &err), SL_BUSY, "another process");
    assert_int_equal(second, -1);
    sl_assert_ok(sl_path_rename(in_dir(dir, "a"), in_dir(dir, "b"), &err));
    sl_assert_fails(sl_dir_lock(in_dir(dir, "b"), &second, &err), SL_BUSY, "another process"); /* it follows the folder */
    sl_dir_unlock(first);
    sl_dir_unlock(-1);
    sl_assert_ok(sl_dir_lock(in_dir(dir, "b"), &second, &err));
    sl_dir_unlock(second);
    sl_assert_fails(sl_dir_lock(in_dir(dir, "a"), &first, &err), SL_MISSING, "cannot open the folder");
}

static void hashes(void **state)
{
    (void)state;
    static const char *const ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"; /* FIPS 180-2, B.1 */
    char hex[65];
    sl_sha256_hex("abc", 3, hex);
    assert_string_equal(hex, ABC);
    const char *dir = keep(sl_test_dir("hash"));
    put_file(in_dir(dir, "abc"), "abc", 3);
    sl_assert_ok(sl_file_sha256(ctx, in_dir(dir, "abc"), hex, &err));
    assert_string_equal(hex, ABC);
    sl_assert_fails(sl_file_sha256(ctx, in_dir(dir, "none"), hex, &err), SL_MISSING, "none");
    assert_true(sl_xxh64("", 0) == 0x2d06800538d394c2u); /* XXH3-64 of nothing, from its specification */
}

static void json_files(void **state)
{
    (void)state;
    const char *dir = keep(sl_test_dir("json")), *path = in_dir(dir, "a.json");
    json_t *j = json_pack("{s:f, s:[i, n]}", "x", 0.1, "v", 3);
    sl_assert_ok(sl_json_save(ctx, path, j, &err));
    assert_content(ctx, path, "{\n  \"x\": 0.10000000000000001,\n  \"v\": [\n    3,\n    null\n  ]\n}\n");
    json_t *back;
    sl_assert_ok(sl_json_load_file(ctx, path, &back, &err));
    assert_true(json_equal(j, back));
    json_decref(back);
    json_decref(j);
    sl_assert_fails(sl_json_save(ctx, path, json_real(NAN), &err), SL_NUMERIC, "not finite");

    put_file(path, "{\n \"a\": 1,\n \"a\": 2}", 19);
    sl_assert_fails(sl_json_load_file(ctx, path, &back, &err), SL_DATA, "a.json:3:");
    assert_null(back);
    put_file(path, "{\"a\": }", 7);
    sl_assert_fails(sl_json_load_file(ctx, path, &back, &err), SL_DATA, "a.json:1:7");
    char deep[20001];
    memset(deep, '[', 20000);
    put_file(path, deep, 20000);
    sl_assert_fails(sl_json_load_file(ctx, path, &back, &err), SL_DATA, "depth");
    sl_assert_fails(sl_json_load_file(ctx, in_dir(dir, "none"), &back, &err), SL_MISSING, "none");
}

static void json_full_disk(void **state)
{
    (void)state;
    const char *dir = keep(sl_test_dir("jsonfull"));
    json_t *j = json_pack("{s:i}", "a", 1);
    for (int n = 1; n <= 4; n++) {
        sl_io_fail_at(n);
        sl_assert_fails(sl_json_save(ctx, in_dir(dir, "a.json"), j, &err), SL_IO, "No space left");
        sl_io_fail_at(0);
        assert_int_equal(count_entries(dir), 0);
    }
    json_decref(j);
}

static void json_fields(void **state)
{
    (void)state;
    json_t *j = json_pack("{s:i, s:f, s:b, s:s}", "n", 5, "x", 2.5, "on", 1, "name", "topk");
    int64_t n;
    double x;
    bool on;
    char name[5], tiny[4];
    sl_assert_ok(sl_json_int(j, "f", "n", 0, 9, &n, &err));
    assert_int_equal(n, 5);
    sl_assert_ok(sl_json_real(j, "f", "x", &x, &err));
    assert_true(x == 2.5);
    sl_assert_ok(sl_json_real(j, "f", "n", &x, &err));
    assert_true(x == 5);
    sl_assert_ok(sl_json_bool(j, "f", "on", &on, &err));
    assert_true(on);
    sl_assert_ok(sl_json_text(j, "f", "name", name, sizeof name, &err));
    assert_string_equal(name, "topk");
    sl_assert_fails(sl_json_int(j, "f", "n", 6, 9, &n, &err), SL_DATA, "f: the field 'n' has a wrong value (expected a whole number from 6 to 9)");
    sl_assert_fails(sl_json_int(j, "f", "x", 0, 9, &n, &err), SL_DATA, "'x' has a wrong value");
    sl_assert_fails(sl_json_int(j, "f", "k", 0, 9, &n, &err), SL_DATA, "the field 'k' is missing");
    sl_assert_fails(sl_json_real(j, "f", "name", &x, &err), SL_DATA, "'name' has a wrong value");
    sl_assert_fails(sl_json_bool(j, "f", "n", &on, &err), SL_DATA, "true or false");
    sl_assert_fails(sl_json_text(j, "f", "name", tiny, sizeof tiny, &err), SL_DATA, "at most 3 bytes");
    json_decref(j);
}

static int start(void **state) { (void)state; ctx = sl_test_ctx(1); return 0; }
static int stop(void **state) { (void)state; sl_ctx_free(ctx); return 0; }

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(atomic_write), cmocka_unit_test(large_and_long_writes), cmocka_unit_test(permissions_follow_umask),
        cmocka_unit_test(full_disk_leaves_nothing), cmocka_unit_test(scattered_file), cmocka_unit_test(appending),
        cmocka_unit_test(reading_errors), cmocka_unit_test(folders), cmocka_unit_test(one_lock_a_folder), cmocka_unit_test(hashes), cmocka_unit_test(json_files),
        cmocka_unit_test(json_full_disk), cmocka_unit_test(json_fields),
    };
    return cmocka_run_group_tests_name("io_file", tests, start, stop);
}
