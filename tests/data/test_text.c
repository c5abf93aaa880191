/* Finding texts: the order of the folders, checks, fallbacks, bad files. Everything happens in a folder of its own, offline. */
#include "support.h"

#include "data/fallback.h"
#include "data/search.h"
#include "io/io.h"

#include <saelab/data.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static sl_err err;
static char root[512], warned[1024];
static char shakespeare[PATH_MAX], enwik8_gz[PATH_MAX], text8_gz[PATH_MAX], wiki[PATH_MAX]; /* "" when missing */
static char *real_path;                                                                      /* PATH of the caller */
static const char SHAKESPEARE_SHA[] = "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed";

static void on_event(void *user, const sl_event *e)
{
    (void)user;
    if (e->kind == SL_EVENT_LOG && e->level == SL_LOG_WARN)
        snprintf(warned, sizeof warned, "%s", e->text);
}

static sl_ctx *context(const char *data_dir, int64_t fail_at)
{
    static char cache[600], asked[600]; /* the context borrows them */
    snprintf(cache, sizeof cache, "%s/cache", root);
    snprintf(asked, sizeof asked, "%s", data_dir ? data_dir : "");
    warned[0] = 0;
    return sl_ctx_new(&(sl_ctx_opts){ .n_threads = 1, .on_event = on_event, .data_dir = asked, .cache_dir = cache, .fail_alloc_at = fail_at });
}

/* root/below, its parents made; 8 can be held at a time */
static const char *at(const char *below)
{
    static char path[8][600];
    static int slot;
    char *p = path[slot++ % 8], folder[600];
    snprintf(p, sizeof path[0], "%s/%s", root, below);
    snprintf(folder, sizeof folder, "%.*s", (int)(strrchr(p, '/') - p), p);
    sl_assert_ok(sl_dir_make(folder, &err));
    return p;
}

static void put(const char *below, const char *text)
{
    sl_ctx *c = sl_test_ctx(1);
    sl_assert_ok(sl_file_write(c, at(below), text, strlen(text), &err));
    sl_ctx_free(c);
}

static void link_to(const char *target, const char *below) { assert_int_equal(symlink(target, at(below)), 0); }

static int fresh(void **s)
{
    (void)s;
    setenv("PATH", real_path, 1);
    setenv("SAELAB_OFFLINE", "1", 1);
    unsetenv("SAELAB_DATA");
    snprintf(root, sizeof root, "%s", sl_test_dir("text")); /* so deep that its four parents are all below root */
    assert_int_equal(mkdir(at("a/b/c/here"), 0777) | chdir(at("a/b/c/here")), 0);
    return 0;
}

/* ---- folders ---- */

static void order_of_folders(void **s)
{
    (void)s;
    sl_ctx *c = context(at("asked"), 0);
    char path[512];
    sl_assert_fails(sl_data_file(c, "x/y.txt", path, &err), SL_MISSING, "x/y.txt: not found in 0 folders (expected it below --data-dir");
    const char *const FOUND[] = { "cache/data/x/y.txt", "shared/data/x/y.txt", "a/b/c/shared/data/x/y.txt", "env/x/y.txt", "asked/x/y.txt" };
    setenv("SAELAB_DATA", at("env"), 1);
    for (size_t i = 0; i < sizeof FOUND / sizeof FOUND[0]; i++) { /* each is before those that were there already */
        put(FOUND[i], "text");
        sl_assert_ok(sl_data_file(c, "x/y.txt", path, &err));
        char a[PATH_MAX], b[PATH_MAX];
        assert_string_equal(realpath(path, a), realpath(at(FOUND[i]), b));
    }
    sl_ctx_free(c);
    c = context("/no/such/folder", 0);
    sl_assert_ok(sl_data_file(c, "x/y.txt", path, &err));
    assert_string_equal(warned, "--data-dir /no/such/folder: there is no such folder");
    sl_ctx_free(c);
}

static void finds_shakespeare(void **s)
{
    (void)s;
    if (!shakespeare[0])
        skip();
    const char *const PLACES[] = { "asked/tinyshakespeare/input.txt", "asked/shakespeare_char/input.txt", "asked/tinyshakespeare.txt",
                                   "cache/data/shakespeare_char/input.txt" };
    for (size_t i = 0; i < sizeof PLACES / sizeof PLACES[0]; i++) {
        link_to(shakespeare, PLACES[i]);
        sl_ctx *c = context(at("asked"), 0);
        sl_text t;
        sl_assert_ok(sl_text_find(c, "shakespeare_char", false, &t, &err));
        assert_string_equal(t.name, "shakespeare_char");
        assert_string_equal(t.path, at(PLACES[i]));
        assert_string_equal(t.sha256, SHAKESPEARE_SHA);
        assert_string_equal(t.note, "");
        assert_int_equal(t.n, 1115394);
        assert_memory_equal(t.bytes, "First Citizen:", 14);
        sl_text_release(c, &t);
        assert_null(t.bytes);
        sl_ctx_free(c);
        assert_int_equal(unlink(at(PLACES[i])), 0);
        put("asked/other", "");
    }
}

static void passes_over_spoilt(void **s)
{
    (void)s;
    sl_text t;
    put("asked/tinyshakespeare/input.txt", "First Citizen: not the whole of it");
    sl_ctx *c = context(at("asked"), 0);
    sl_assert_fails(sl_text_find(c, "shakespeare_char", false, &t, &err), SL_MISSING, "shakespeare_char: ");
    assert_non_null(strstr(err.msg, "SAELAB_OFFLINE"));
    assert_non_null(strstr(err.expected, "--data-dir"));
    assert_non_null(strstr(warned, "passed over as shakespeare_char"));
    assert_non_null(strstr(warned, "expected 1115394 bytes"));
    assert_null(t.bytes);
    if (shakespeare[0]) { /* right size, wrong contents; then a whole one behind it */
        char *text;
        size_t n;
        sl_assert_ok(sl_file_read(c, shakespeare, &text, &n, &err));
        text[1000] ^= 1;
        sl_assert_ok(sl_file_write(c, at("asked/tinyshakespeare/input.txt"), text, n, &err));
        sl_free(c, text);
        link_to(shakespeare, "asked/shakespeare_char/input.txt");
        sl_assert_ok(sl_text_find(c, "shakespeare_char", false, &t, &err));
        assert_non_null(strstr(warned, "its SHA-256 is"));
        assert_string_equal(t.path, at("asked/shakespeare_char/input.txt"));
        sl_text_release(c, &t);
    }
    sl_ctx_free(c);
}

static void prefixes(void **s)
{
    (void)s;
    sl_text t;
    sl_ctx *c = context(at("asked"), 0);
    if (!enwik8_gz[0] || !text8_gz[0] || !wiki[0]) {
        sl_ctx_free(c);
        skip();
    }
    link_to(enwik8_gz, "asked/enwik8-prefix/enwik8.first4154399.gz");
    link_to(text8_gz, "asked/text8-prefix/text8.first3010294.gz");
    link_to(wiki, "asked/wikitext-2/wiki.valid.raw");
    sl_assert_ok(sl_text_find(c, "enwik8", false, &t, &err));
    assert_string_equal(t.name, "enwik8_first4154399");
    assert_int_equal(t.n, 4154399);
    assert_memory_equal(t.bytes, "<mediawiki ", 11);
    assert_non_null(strstr(t.note, "4154399"));
    sl_text_release(c, &t);
    put("asked/enwik8/enwik8", "too short to be the whole"); /* passed over, the prefix serves */
    sl_assert_ok(sl_text_find(c, "enwik8", false, &t, &err));
    assert_string_equal(t.name, "enwik8_first4154399");
    assert_non_null(strstr(warned, "expected 100000000 bytes"));
    sl_text_release(c, &t);
    sl_assert_ok(sl_text_find(c, "text8", false, &t, &err));
    assert_string_equal(t.name, "text8_first3010294");
    assert_memory_equal(t.bytes, " anarchism originated", 21);
    sl_text_release(c, &t);
    sl_assert_ok(sl_text_find(c, "wikitext2_valid", false, &t, &err));
    assert_int_equal(t.n, 1146846);
    assert_string_equal(t.note, "");
    sl_text_release(c, &t);
    sl_ctx_free(c);
}

static void tinystories(void **s)
{
    (void)s;
    const char *file = getenv("TEST_STORIES");
    if (!file)
        skip();
    sl_text t;
    sl_ctx *c = context(file, 0);
    sl_assert_ok(sl_text_find(c, "tinystories", false, &t, &err));
    assert_string_equal(t.name, "tinystories_a_3117");
    assert_int_equal(t.n, 2555528);
    int64_t docs = 0;
    for (const char *p = t.bytes; (p = strstr(p, "<|endoftext|>")); p++)
        docs++;
    assert_int_equal(docs, 3117);
    sl_text_release(c, &t);
    sl_ctx_free(c);
}

static void where(void **s)
{
    (void)s;
    char path[512];
    put("asked/enwik8/enwik8", "not read, so that its size does not matter");
    sl_ctx *c = context(at("asked"), 0);
    sl_assert_ok(sl_data_where(c, "enwik8", path, &err));
    assert_string_equal(path, at("asked/enwik8/enwik8"));
    sl_assert_ok(sl_data_where(c, "grammar", path, &err));
    assert_string_equal(path, "");
    sl_assert_fails(sl_data_where(c, "text8", path, &err), SL_MISSING, "text8: not found");
    assert_string_equal(path, "");
    sl_assert_fails(sl_data_where(c, "text9", path, &err), SL_ARG, "there is no 'text9'");
    sl_ctx_free(c);
}

static void unknown_names(void **s)
{
    (void)s;
    sl_text t;
    char path[512];
    sl_ctx *c = context(NULL, 0);
    sl_assert_fails(sl_text_find(c, "shakespear", true, &t, &err), SL_ARG, "there is no 'shakespear' (expected shakespeare_char, enwik8, text8");
    sl_assert_fails(sl_data_get(c, "shakespear", path, &err), SL_ARG, "there is no 'shakespear'");
    sl_assert_fails(sl_data_get(c, "grammar", path, &err), SL_UNAVAILABLE, "nothing to download");
    sl_assert_fails(sl_text_find(c, "wikitext2_valid", false, &t, &err), SL_MISSING, "wikitext2_valid: ");
    sl_ctx_free(c);
}

/* ---- downloads and the cache ---- */

static void cached(void **s)
{
    (void)s;
    char path[512];
    sl_ctx *c = context(NULL, 0);
    sl_assert_fails(sl_data_get(c, "shakespeare_char", path, &err), SL_UNAVAILABLE, "https://");
    put("cache/data/shakespeare_char/input.txt", "spoilt");
    sl_assert_fails(sl_data_get(c, "shakespeare_char", path, &err), SL_UNAVAILABLE, "https://");
    assert_non_null(strstr(warned, "is not whole, downloading it again"));
    if (shakespeare[0]) {
        unlink(at("cache/data/shakespeare_char/input.txt"));
        link_to(shakespeare, "cache/data/shakespeare_char/input.txt");
        sl_assert_ok(sl_data_get(c, "shakespeare_char", path, &err));
        assert_string_equal(path, at("cache/data/shakespeare_char/input.txt"));
    }
    sl_ctx_free(c);
}

/* A server that stands for the network (as a proxy) and gives something else than the data set: nothing of it is kept. */
static void wrong_download(void **s)
{
    (void)s;
    static const char SERVER[] =
        "exec python3 -c 'import socket\n"
        "s = socket.create_server((\"127.0.0.1\", 0)); s.settimeout(30)\n"
        "print(s.getsockname()[1], flush=True)\n"
        "for body in (b\"not a zip\", b\"not a zip\"):\n"
        "    c, _ = s.accept(); c.recv(65536)\n"
        "    c.sendall(b\"HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\nConnection: close\\r\\n\\r\\n\" % len(body) + body); c.close()\n'";
    char proxy[64], path[512];
    int port = 0;
    sl_ctx *c = context(NULL, 0);
    if (sl_data_get(c, "text8", path, &err) != SL_UNAVAILABLE || !strstr(err.msg, "SAELAB_OFFLINE")) {
        sl_ctx_free(c);
        skip(); /* built without libcurl */
    }
    FILE *server = popen(SERVER, "r");
    assert_non_null(server);
    assert_int_equal(fscanf(server, "%d", &port), 1);
    snprintf(proxy, sizeof proxy, "http://127.0.0.1:%d", port);
    setenv("http_proxy", proxy, 1);
    unsetenv("no_proxy");
    setenv("SAELAB_OFFLINE", "0", 1);
    sl_assert_fails(sl_data_get(c, "text8", path, &err), SL_DATA, "http://mattmahoney.net/dc/text8.zip: the download's SHA-256 is");
    sl_assert_fails(sl_data_get(c, "enwik8", path, &err), SL_DATA, "it holds 9 bytes (expected 100000000 bytes)");
    unsetenv("http_proxy");
    assert_int_equal(pclose(server), 0);
    assert_false(sl_path_exists(at("cache/data/text8/text8")));
    assert_false(sl_path_exists(at("cache/data/enwik8/enwik8")));
    sl_ctx_free(c);
}

static void table(void **s)
{
    (void)s;
    int n = 0;
    for (const sl_dataset_info *d = sl_datasets; d->name; d++, n++) {
        assert_non_null(d->what);
        assert_non_null(d->licence);
        assert_true(!d->sha256 || strlen(d->sha256) == 64);
        assert_true(!d->archive_sha256 || strlen(d->archive_sha256) == 64);
        assert_true(!d->url || ((d->sha256 || d->archive_sha256) && d->bytes > 0)); /* no download without a pinned hash */
    }
    assert_true(n >= 6);
}

/* ---- fallbacks ---- */

static void king_james(void **s)
{
    (void)s;
    sl_ctx *c = context(NULL, 0);
    sl_text t;
    if (sl_text_find(c, "king_james", false, &t, &err) != SL_OK) {
        assert_non_null(strstr(err.msg, "bible-kjv"));
        sl_ctx_free(c);
        skip();
    }
    assert_string_equal(t.name, "king_james");
    assert_in_range(t.n, 4000000, 5000000);
    assert_memory_equal(t.bytes, "Ge1:1 In the beginning God created", 34);
    assert_memory_equal(t.bytes + t.n - 6, "Amen.\n", 6);
    assert_string_equal(t.note, "");
    sl_text_release(c, &t);
    sl_assert_ok(sl_text_find(c, "shakespeare_char", true, &t, &err));
    assert_string_equal(t.name, "king_james");
    assert_non_null(strstr(t.note, "shakespeare_char is not here"));
    assert_non_null(strstr(t.note, "SAELAB_OFFLINE"));
    assert_non_null(strstr(t.note, "King James"));
    sl_text_release(c, &t);
    sl_ctx_free(c);
}

/* Programs that are not the real `bible`. */
static void wrong_bible(void **s)
{
    (void)s;
    sl_text t;
    put("bin/bible", "#!/bin/sh\necho 'Ge1:1 In the beginning'\n");
    chmod(at("bin/bible"), 0755);
    setenv("PATH", at("bin"), 1);
    sl_ctx *c = context(NULL, 0);
    sl_assert_fails(sl_text_find(c, "king_james", false, &t, &err), SL_MISSING, "gave 23 bytes");
    put("bin/bible", "#!/bin/sh\nexit 4\n");
    chmod(at("bin/bible"), 0755);
    sl_assert_fails(sl_text_find(c, "king_james", false, &t, &err), SL_MISSING, "ended with code 4");
    sl_ctx_free(c);
}

static void grammar(void **s)
{
    (void)s;
    setenv("PATH", at("nothing"), 1);
    sl_ctx *c = context(NULL, 0);
    sl_text t, u;
    sl_assert_ok(sl_text_find(c, "enwik8", true, &t, &err));
    assert_string_equal(t.name, "grammar");
    assert_non_null(strstr(t.note, "enwik8 is not here"));
    assert_non_null(strstr(t.note, "built-in grammar"));
    assert_true(t.n >= 1000000);
    sl_assert_ok(sl_text_find(c, "grammar", false, &u, &err));
    assert_string_equal(u.note, "");
    assert_string_equal(u.sha256, t.sha256);
    assert_string_equal(u.sha256, "8e2409baee50bdff77982a79c5e0ff037e15f97e384a3f5318ee9503cc8d8f22"); /* the text is part of every result that was got from it */
    for (size_t i = 0; i < t.n; i++)
        assert_true(t.bytes[i] == '\n' || (t.bytes[i] >= ' ' && t.bytes[i] <= 'z'));
    sl_text_release(c, &t);
    sl_text_release(c, &u);
    char *other;
    size_t n;
    sl_assert_ok(sl_grammar_text(c, 2, 1000, &other, &n, &err));
    assert_in_range(n, 1000, 20000);
    sl_free(c, other);
    sl_ctx_free(c);
}

/* ---- --text FILE ---- */

static void files(void **s)
{
    (void)s;
    sl_text t;
    sl_ctx *c = context(NULL, 0);
    put("some.notes.txt", "hello");
    sl_assert_ok(sl_text_file(c, at("some.notes.txt"), &t, &err));
    assert_string_equal(t.name, "some.notes");
    assert_string_equal(t.sha256, "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824");
    assert_int_equal(t.n, 5);
    sl_text_release(c, &t);
    put(".hidden", "x");
    sl_assert_ok(sl_text_file(c, at(".hidden"), &t, &err));
    assert_string_equal(t.name, ".hidden");
    sl_text_release(c, &t);
    put("empty.txt", "");
    sl_assert_fails(sl_text_file(c, at("empty.txt"), &t, &err), SL_DATA, "empty.txt: the file is empty");
    sl_assert_fails(sl_text_file(c, at("none.txt"), &t, &err), SL_MISSING, "none.txt");
    sl_assert_fails(sl_text_file(c, root, &t, &err), SL_DATA, "it is a folder");
    if (enwik8_gz[0]) {
        char *gz;
        size_t n;
        sl_assert_ok(sl_text_file(c, enwik8_gz, &t, &err));
        assert_string_equal(t.name, "enwik8");
        sl_text_release(c, &t);
        sl_assert_ok(sl_file_read(c, enwik8_gz, &gz, &n, &err));
        sl_assert_ok(sl_file_write(c, at("cut.txt.gz"), gz, n / 2, &err));
        sl_free(c, gz);
        sl_assert_fails(sl_text_file(c, at("cut.txt.gz"), &t, &err), SL_DATA, "cut.txt.gz: cut off");
    }
    sl_ctx_free(c);
}

static void allocations(void **s)
{
    (void)s;
    put("asked/shakespeare_char/input.txt", "no");
    put("a.txt", "hello");
    setenv("PATH", at("nothing"), 1);
    int failures = 0;
    for (int64_t n = 1; n < 40; n++) {
        sl_ctx *c = context(at("asked"), n);
        sl_text t = { 0 }, u = { 0 };
        sl_status st = sl_text_file(c, at("a.txt"), &t, &err);
        if (st == SL_OK)
            st = sl_text_find(c, "shakespeare_char", true, &u, &err);
        bool done = st == SL_OK && sl_alloc_count(c) < n;
        sl_text_release(c, &t);
        sl_text_release(c, &u);
        sl_ctx_free(c);
        if (done)
            break;
        assert_int_equal(st, SL_MEM);
        failures++;
    }
    assert_in_range(failures, 2, 38);
}

static void locate(const char *name, char path[PATH_MAX])
{
    const char *p = sl_test_data(name);
    if (!p || !realpath(p, path))
        path[0] = 0;
}

int main(void)
{
    static char stories[PATH_MAX];
    locate("tinyshakespeare/input.txt", shakespeare);
    locate("enwik8-prefix/enwik8.first4154399.gz", enwik8_gz);
    locate("text8-prefix/text8.first3010294.gz", text8_gz);
    locate("wikitext-2/wiki.valid.raw", wiki);
    locate("tinystories/tinystories_a_3117.gpt2.u16.bin", stories);
    if (stories[0]) { /* the folder above both the stories and the tokenizer that they need */
        *strrchr(stories, '/') = 0;
        *strrchr(stories, '/') = 0;
        setenv("TEST_STORIES", stories, 1);
    }
    real_path = strdup(getenv("PATH") ? getenv("PATH") : "");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(order_of_folders, fresh), cmocka_unit_test_setup(finds_shakespeare, fresh),
        cmocka_unit_test_setup(passes_over_spoilt, fresh), cmocka_unit_test_setup(prefixes, fresh),
        cmocka_unit_test_setup(tinystories, fresh),      cmocka_unit_test_setup(where, fresh),
        cmocka_unit_test_setup(unknown_names, fresh),
        cmocka_unit_test_setup(cached, fresh),           cmocka_unit_test_setup(wrong_download, fresh),
        cmocka_unit_test_setup(table, fresh),
        cmocka_unit_test_setup(king_james, fresh),       cmocka_unit_test_setup(wrong_bible, fresh),
        cmocka_unit_test_setup(grammar, fresh),          cmocka_unit_test_setup(files, fresh),
        cmocka_unit_test_setup(allocations, fresh),
    };
    int failed = cmocka_run_group_tests_name("data_text", tests, NULL, NULL);
    free(real_path);
    return failed;
}
