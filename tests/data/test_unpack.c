/* UTF-8, gzip and zip, running programs, downloads. */
#include "support.h"

#include "data/fetch.h"
#include "data/spawn.h"
#include "data/unpack.h"
#include "base/utf8.h"
#include "io/io.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zip.h>
#include <zlib.h>

static sl_ctx *ctx;
static sl_err err;

static void utf8_known(void **s)
{
    (void)s;
    static const struct { const char *bytes; size_t len; uint32_t cp; } CASES[] = {
        { "A", 1, 0x41 }, { "\x7F", 1, 0x7F }, { "\xC2\x80", 2, 0x80 }, { "\xDF\xBF", 2, 0x7FF }, { "\xE0\xA0\x80", 3, 0x800 },
        { "\xED\x9F\xBF", 3, 0xD7FF }, { "\xEE\x80\x80", 3, 0xE000 }, { "\xEF\xBF\xBF", 3, 0xFFFF },
        { "\xF0\x90\x80\x80", 4, 0x10000 }, { "\xF4\x8F\xBF\xBF", 4, 0x10FFFF },
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        uint32_t cp = 0;
        char back[4];
        assert_int_equal(sl_utf8_decode(CASES[i].bytes, CASES[i].len, &cp), CASES[i].len);
        assert_int_equal(cp, CASES[i].cp);
        assert_int_equal(sl_utf8_encode(cp, back), CASES[i].len);
        assert_memory_equal(back, CASES[i].bytes, CASES[i].len);
        if (CASES[i].len > 1) /* cut off */
            assert_int_equal(sl_utf8_decode(CASES[i].bytes, CASES[i].len - 1, &cp), 0);
    }
}

static void utf8_refused(void **s)
{
    (void)s;
    static const char *const BAD[] = { "\x80", "\xBF", "\xC0\x80", "\xC1\xBF", "\xE0\x9F\xBF", "\xED\xA0\x80", "\xF0\x8F\xBF\xBF", "\xF4\x90\x80\x80",
                                       "\xF5\x80\x80\x80", "\xFF", "\xC3(", "\xE2\x82(", "\xF0\x9F\x98(" };
    for (size_t i = 0; i < sizeof BAD / sizeof BAD[0]; i++) {
        char text[16];
        size_t at = 99;
        int n = snprintf(text, sizeof text, "ab%s", BAD[i]);
        assert_false(sl_utf8_valid(text, (size_t)n, &at));
        assert_int_equal(at, 2);
    }
    size_t at;
    assert_true(sl_utf8_valid("", 0, &at));
}

/* gzip of data; size of it in *n */
static void *gzipped(const char *data, size_t size, size_t *n)
{
    z_stream z = { 0 };
    assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY), Z_OK);
    size_t cap = deflateBound(&z, size);
    unsigned char *out = malloc(cap);
    z.next_in = (unsigned char *)(uintptr_t)data;
    z.avail_in = (unsigned)size;
    z.next_out = out;
    z.avail_out = (unsigned)cap;
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    *n = z.total_out;
    deflateEnd(&z);
    return out;
}

static void gunzip(void **s)
{
    (void)s;
    enum { N = 200000 };
    char *data = malloc(N), *out;
    for (int i = 0; i < N; i++)
        data[i] = (char)(i * 31 % 251);
    size_t size, n;
    unsigned char *gz = gzipped(data, N, &size);
    sl_assert_ok(sl_gunzip(ctx, "x.gz", gz, size, N, &out, &n, &err));
    assert_int_equal(n, N);
    assert_memory_equal(out, data, N);
    sl_free(ctx, out);
    sl_assert_fails(sl_gunzip(ctx, "x.gz", gz, size, N - 1, &out, &n, &err), SL_DATA, "more than 199999");
    sl_assert_fails(sl_gunzip(ctx, "x.gz", gz, size - 9, N, &out, &n, &err), SL_DATA, "x.gz: cut off");
    sl_assert_fails(sl_gunzip(ctx, "x.gz", data, N, N, &out, &n, &err), SL_DATA, "expected a gzip file");
    gz[size / 2] ^= 0x55;
    sl_assert_fails(sl_gunzip(ctx, "x.gz", gz, size, N, &out, &n, &err), SL_DATA, "corrupt");
    gz[size / 2] ^= 0x55;
    gz = realloc(gz, 2 * size); /* two members, as `cat a.gz b.gz` makes */
    memcpy(gz + size, gz, size);
    sl_assert_ok(sl_gunzip(ctx, "x.gz", gz, 2 * size, 2 * N, &out, &n, &err));
    assert_int_equal(n, 2 * N);
    assert_memory_equal(out + N, data, N);
    sl_free(ctx, out);
    free(gz);
    free(data);
}

static void unzip(void **s)
{
    (void)s;
    char path[600], *file, *out;
    size_t size, n;
    snprintf(path, sizeof path, "%s/a.zip", sl_test_dir("unzip"));
    static const char TEXT[] = "one member, and long enough to be deflated: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    zip_t *z = zip_open(path, ZIP_CREATE, NULL);
    zip_file_add(z, "member", zip_source_buffer(z, TEXT, sizeof TEXT - 1, 0), 0);
    assert_int_equal(zip_close(z), 0);
    sl_assert_ok(sl_file_read(ctx, path, &file, &size, &err));
    sl_assert_ok(sl_unzip_first(ctx, path, file, size, 1000, &out, &n, &err));
    assert_int_equal(n, sizeof TEXT - 1);
    assert_string_equal(out, TEXT);
    sl_free(ctx, out);
    sl_assert_fails(sl_unzip_first(ctx, path, file, size, 10, &out, &n, &err), SL_DATA, "more than 10");
    sl_assert_fails(sl_unzip_first(ctx, "b.zip", file, size / 2, 1000, &out, &n, &err), SL_DATA, "b.zip");
    sl_assert_fails(sl_unzip_first(ctx, "c.zip", "PK nothing of a zip", 19, 1000, &out, &n, &err), SL_DATA, "expected a zip file");
    file[45] ^= 0x55; /* inside the deflated data */
    sl_assert_fails(sl_unzip_first(ctx, "d.zip", file, size, 1000, &out, &n, &err), SL_DATA, "corrupt");
    sl_free(ctx, file);
}

static sl_status run(const char *script, double limit, bool merge, const char *folder, char **out, size_t *n)
{
    const char *const argv[] = { "sh", "-c", script, NULL };
    return sl_spawn(ctx, argv, &(sl_spawn_opts){ .limit_s = limit, .merge_stderr = merge, .folder = folder }, out, n, &err);
}

static void spawn(void **s)
{
    (void)s;
    char *out;
    size_t n;
    sl_assert_ok(run("printf 'out'; printf err >&2", 10, false, NULL, &out, &n));
    assert_string_equal(out, "out");
    sl_free(ctx, out);
    sl_assert_ok(run("printf out; printf err >&2", 10, true, NULL, &out, &n));
    assert_string_equal(out, "outerr");
    sl_free(ctx, out);
    sl_assert_ok(run("pwd; cat", 10, false, "/", &out, &n)); /* standard input is empty */
    assert_string_equal(out, "/\n");
    sl_free(ctx, out);
    sl_assert_ok(run("head -c 300000 /dev/zero", 10, false, NULL, &out, &n));
    assert_int_equal(n, 300000);
    sl_free(ctx, out);
    sl_assert_fails(run("echo why; exit 3", 10, false, NULL, &out, &n), SL_IO, "sh: ended with code 3");
    assert_string_equal(out, "why\n");
    sl_free(ctx, out);
    sl_assert_fails(run("kill -9 $$", 10, false, NULL, &out, &n), SL_IO, "ended by signal 9");
    sl_free(ctx, out);
    sl_assert_fails(run("exec sleep 60", .2, false, NULL, &out, &n), SL_IO, "did not end in time");
    assert_null(out);
    sl_assert_fails(run("exec >&-; exec sleep 60", .2, false, NULL, &out, &n), SL_IO, "ended by signal 9");
    sl_free(ctx, out);
    const char *const missing[] = { "no-such-program-here", NULL };
    sl_assert_fails(sl_spawn(ctx, missing, &(sl_spawn_opts){ .limit_s = 1 }, &out, &n, &err), SL_UNAVAILABLE, "not installed");
    sl_ctx *stopped = sl_test_ctx(1);
    sl_cancel(stopped, 2);
    const char *const argv[] = { "sleep", "60", NULL };
    sl_assert_fails(sl_spawn(stopped, argv, &(sl_spawn_opts){ .limit_s = 60 }, &out, &n, &err), SL_CANCELLED, "stopped");
    sl_ctx_free(stopped);
}

static void fetch(void **s)
{
    (void)s;
    char path[600], url[700], *out;
    size_t n;
    snprintf(path, sizeof path, "%s/file", sl_test_dir("fetch"));
    snprintf(url, sizeof url, "file://%s", path);
    sl_assert_ok(sl_file_write(ctx, path, "contents", 8, &err));
    setenv("SAELAB_OFFLINE", "1", 1);
    sl_status st = sl_fetch(ctx, url, "file", 100, &out, &n, &err);
    assert_int_equal(st, SL_UNAVAILABLE);
    if (!strstr(err.msg, "SAELAB_OFFLINE"))
        skip(); /* built without libcurl */
    setenv("SAELAB_OFFLINE", "0", 1);
    sl_assert_ok(sl_fetch(ctx, url, "file", 8, &out, &n, &err));
    assert_int_equal(n, 8);
    assert_string_equal(out, "contents");
    sl_free(ctx, out);
    sl_assert_fails(sl_fetch(ctx, url, "file", 7, &out, &n, &err), SL_DATA, "larger than the 7 bytes");
    sl_assert_fails(sl_fetch(ctx, "file:///no/such/file", "file", 7, &out, &n, &err), SL_IO, "download failed");
    sl_assert_fails(sl_fetch(ctx, "http://127.0.0.1:1/x", "file", 7, &out, &n, &err), SL_IO, "http://127.0.0.1:1/x: download failed");
    sl_assert_ok(sl_file_write(ctx, path, "", 0, &err));
    sl_assert_fails(sl_fetch(ctx, url, "file", 7, &out, &n, &err), SL_IO, "the answer is empty");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(utf8_known), cmocka_unit_test(utf8_refused), cmocka_unit_test(gunzip),
        cmocka_unit_test(unzip),      cmocka_unit_test(spawn),        cmocka_unit_test(fetch),
    };
    ctx = sl_test_ctx(1);
    int failed = cmocka_run_group_tests_name("data_unpack", tests, NULL, NULL);
    sl_ctx_free(ctx);
    return failed;
}
