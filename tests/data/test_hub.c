/* hf: references: their form, the hub library's cache, downloads from a server on loopback (hub_server.py), resumed, checked, refused. */
#include "data/hub.h"
#include "files.h"
#include "io/io.h"

#include <saelab/data.h>

#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static sl_err err;
static sl_ctx *ctx;
static char root[512], cache[600], endpoint[64];
static int server_in = -1;
static pid_t server;
enum { SIZE = 50000 };
static char weights[SIZE];

static void path_in(char out[1200], const char *folder, const char *name) { snprintf(out, 1200, "%s/%s", folder, name); }

static void put(const char *name, const void *data, size_t n)
{
    char path[1200];
    path_in(path, root, name);
    put_file(path, data, n);
}

static void mode(const char *text) { put("mode", text, strlen(text)); }

/* How often `text` is in the server's log; the log is emptied. */
static int requests(const char *text)
{
    char path[1200], *log;
    size_t n;
    int count = 0;
    path_in(path, root, "log");
    if (!sl_path_exists(path))
        return 0;
    sl_assert_ok(sl_file_read(ctx, path, &log, &n, &err));
    for (const char *p = log; (p = strstr(p, text)) != NULL; p++)
        count++;
    sl_free(ctx, log);
    put("log", "", 0);
    return count;
}

static void empty_cache(void)
{
    sl_assert_ok(sl_dir_clear(cache, &err));
    mode("");
    put("log", "", 0);
}

static void assert_file(const char *path, const void *data, size_t n)
{
    char *got;
    size_t n_got;
    sl_assert_ok(sl_file_read(ctx, path, &got, &n_got, &err));
    assert_int_equal(n_got, n);
    sl_assert_same_bits(path, got, data, n);
    sl_free(ctx, got);
}

/* ---- form ---- */

static void forms(void **state)
{
    (void)state;
    sl_hub_ref r;
    sl_assert_ok(sl_hub_parse("hf:own/sae", &r, &err));
    assert_true(!r.dataset && !r.file && !r.sub[0]);
    assert_string_equal(r.repo, "own/sae");
    assert_string_equal(r.revision, "main");
    sl_assert_ok(sl_hub_parse("hf:datasets/own/texts/a/b.txt@refs/pr/1", &r, &err));
    assert_true(r.dataset && r.file);
    assert_string_equal(r.repo, "own/texts");
    assert_string_equal(r.sub, "a/b.txt");
    assert_string_equal(r.revision, "refs/pr/1");
    static const char *const bad[] = { "hf:", "hf:own", "hf:own/", "hf:/own/sae", "hf:own/sae/", "hf:own//sae", "hf:own/../sae", "hf:own/sae/..", "hf:own/sae@",
                                       "hf:own/sae@../x", "hf:own/sa e", "hf:own/sae?x", "hf:own/sae/%2e%2e", "hf:own/.git" };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        sl_assert_fails(sl_hub_parse(bad[i], &r, &err), SL_ARG, "expected hf:OWNER/REPO");
}

static void plain_paths(void **state)
{
    (void)state;
    char path[1024];
    sl_assert_ok(sl_ref_path(ctx, "some/folder", path, &err));
    assert_string_equal(path, "some/folder");
}

/* ---- downloads ---- */

static void folder(void **state)
{
    (void)state;
    char path[1024], file[1200];
    empty_cache();
    sl_assert_ok(sl_ref_path(ctx, "hf:own/sae/layer_3", path, &err));
    path_in(file, path, "sae_weights.safetensors");
    assert_file(file, weights, SIZE);
    path_in(file, path, "cfg.json");
    assert_file(file, "{}", 2);
    path_in(file, path, "ae.pt");
    assert_false(sl_path_exists(file));
    path_in(file, path, "below");
    assert_false(sl_path_exists(file));
    assert_int_equal(requests("/resolve/"), 2);
    sl_assert_ok(sl_ref_path(ctx, "hf:own/sae/layer_3", path, &err)); /* from the cache */
    assert_int_equal(requests("GET") + requests("/"), 0);
    sl_assert_ok(sl_ref_get(ctx, "hf:own/sae/layer_3", true, path, &err)); /* asks, and finds all there */
    assert_int_equal(requests("/resolve/"), 0);
}

static void one_file(void **state)
{
    (void)state;
    char path[1024];
    empty_cache();
    sl_assert_ok(sl_ref_path(ctx, "hf:datasets/own/texts/corpus.txt", path, &err));
    assert_file(path, "some text\n", 10);
    sl_assert_ok(sl_ref_path(ctx, "hf:own/sae/layer_3/cfg.json", path, &err));
    assert_file(path, "{}", 2);
    sl_text t;
    sl_assert_ok(sl_text_file(ctx, "hf:datasets/own/texts/corpus.txt", &t, &err));
    assert_string_equal(t.name, "corpus");
    assert_int_equal(t.n, 10);
    sl_text_release(ctx, &t);
}

/* A part of an earlier download, right or wrong, and a server that cannot go on from it. */
static void resumed(void **state)
{
    (void)state;
    static const struct { const char *mode; bool wrong; int transfers, ranges; } ways[] = {
        { "", false, 1, 1 }, { "norange", false, 2, 1 }, { "", true, 2, 1 },
    };
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        char path[1024], file[1200], part[1300];
        empty_cache();
        mode("short");
        sl_assert_fails(sl_ref_path(ctx, "hf:own/sae/layer_3", path, &err), SL_IO, "download failed");
        snprintf(part, sizeof part, "%s/hub/models--own--sae/snapshots/0123456789abcdef0123456789abcdef01234567/layer_3/sae_weights.safetensors.part", cache);
        char first[30000];
        memcpy(first, weights, sizeof first);
        first[7] ^= (char)ways[i].wrong;
        sl_assert_ok(sl_dir_make(cache, &err));
        put_file(part, first, sizeof first);
        mode(ways[i].mode);
        put("log", "", 0);
        sl_assert_ok(sl_ref_path(ctx, "hf:own/sae/layer_3", path, &err));
        path_in(file, path, "sae_weights.safetensors");
        assert_file(file, weights, SIZE);
        assert_false(sl_path_exists(part));
        char log[1200], *text;
        size_t n;
        path_in(log, root, "log");
        sl_assert_ok(sl_file_read(ctx, log, &text, &n, &err));
        int ranges = 0, transfers = 0;
        for (const char *p = text; (p = strstr(p, "sae_weights.safetensors ")) != NULL; p++, transfers++)
            ranges += strncmp(p, "sae_weights.safetensors bytes=30000-", 36) == 0;
        sl_free(ctx, text);
        assert_int_equal(ranges, ways[i].ranges);
        assert_int_equal(transfers, ways[i].transfers);
    }
}

static void refused(void **state)
{
    (void)state;
    char path[1024];
    empty_cache();
    sl_assert_fails(sl_ref_path(ctx, "hf:own/sae/layer_3/ae.pt", path, &err), SL_UNAVAILABLE, "is a pickle, which can run code where others load it: it is not downloaded");
    sl_assert_fails(sl_ref_path(ctx, "hf:own/sae/pickles", path, &err), SL_UNAVAILABLE, "pickles/ae.pt is a pickle");
    sl_assert_fails(sl_ref_path(ctx, "hf:own/sae/none", path, &err), SL_MISSING, "404");
    sl_assert_fails(sl_ref_path(ctx, "hf:own/none", path, &err), SL_MISSING, "404");
    sl_assert_fails(sl_ref_path(ctx, "hf:own/sae@other", path, &err), SL_MISSING, "404");
    sl_assert_fails(sl_ref_path(ctx, "hf:own/sae/layer_3/none.json", path, &err), SL_MISSING, "no such file");
    sl_assert_fails(sl_ref_path(ctx, "hf:own/sae/empty", path, &err), SL_MISSING, "there are none in it");
    mode("wrong");
    sl_assert_fails(sl_ref_path(ctx, "hf:own/sae/layer_3", path, &err), SL_DATA, "the download's ");
    mode("private");
    sl_assert_fails(sl_ref_path(ctx, "hf:own/sae/layer_3", path, &err), SL_UNAVAILABLE, "needs an account (401)");
    mode("");
    sl_assert_ok(sl_ref_path(ctx, "hf:own/sae/layer_3", path, &err)); /* nothing wrong was kept */
    setenv("SAELAB_OFFLINE", "1", 1);
    sl_assert_ok(sl_ref_path(ctx, "hf:own/sae/layer_3", path, &err));
    sl_assert_fails(sl_ref_path(ctx, "hf:own/sae/layer_4", path, &err), SL_UNAVAILABLE, "SAELAB_OFFLINE is set");
    unsetenv("SAELAB_OFFLINE");
}

/* The hub library's layout: refs/main names the commit, snapshots/COMMIT holds links into blobs. */
static void hub_cache(void **state)
{
    (void)state;
    char home[700], path[1024], want[1200], file[1200];
    empty_cache();
    snprintf(home, sizeof home, "%s/hf", root);
    snprintf(path, sizeof path, "%s/hub/models--own--sae/snapshots/00000000000000000000000000000000000000aa/layer_3", home);
    sl_assert_ok(sl_dir_make(path, &err));
    path_in(file, path, "sae_weights.safetensors");
    put_file(file, "x", 1);
    memcpy(want, path, sizeof path);
    snprintf(path, sizeof path, "%s/hub/models--own--sae/refs", home);
    sl_assert_ok(sl_dir_make(path, &err));
    path_in(file, path, "main");
    put_file(file, "00000000000000000000000000000000000000aa\n", 41);
    setenv("SAELAB_OFFLINE", "1", 1);
    setenv("HF_HOME", home, 1);
    sl_assert_ok(sl_ref_path(ctx, "hf:own/sae/layer_3", path, &err));
    assert_string_equal(path, want);
    sl_assert_ok(sl_ref_path(ctx, "hf:own/sae/layer_3@00000000000000000000000000000000000000aa", path, &err));
    assert_string_equal(path, want);
    sl_assert_fails(sl_ref_path(ctx, "hf:own/sae/layer_4", path, &err), SL_UNAVAILABLE, "SAELAB_OFFLINE");
    setenv("HF_HUB_CACHE", root, 1); /* goes before HF_HOME */
    sl_assert_fails(sl_ref_path(ctx, "hf:own/sae/layer_3", path, &err), SL_UNAVAILABLE, "SAELAB_OFFLINE");
    unsetenv("HF_HUB_CACHE");
    unsetenv("HF_HOME");
    unsetenv("SAELAB_OFFLINE");
}

/* ---- the server ---- */

static void make_files(void)
{
    static const char *const folders[] = { "files/layer_3/below", "files/layer_4", "files/pickles", "files/empty", "cache", "home" };
    char path[1200];
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        path_in(path, root, folders[i]);
        sl_assert_ok(sl_dir_make(path, &err));
    }
    for (int i = 0; i < SIZE; i++)
        weights[i] = (char)(i * 31 + i / 256);
    put("files/layer_3/sae_weights.safetensors", weights, SIZE);
    put("files/layer_3/cfg.json", "{}", 2);
    put("files/layer_3/ae.pt", "pickle", 6);
    put("files/layer_3/picture.png", "png", 3);
    put("files/layer_3/below/more.npz", "npz", 3);
    put("files/pickles/ae.pt", "pickle", 6);
    put("files/corpus.txt", "some text\n", 10);
}

static int start(void **state)
{
    (void)state;
    int in[2], out[2];
    char port[16] = "";
    snprintf(root, sizeof root, "%s", sl_test_dir("hub"));
    snprintf(cache, sizeof cache, "%s/cache", root);
    ctx = sl_ctx_new(&(sl_ctx_opts){ .n_threads = 1, .cache_dir = cache });
    if (!ctx || pipe(in) != 0 || pipe(out) != 0)
        return -1;
    make_files();
    server = fork();
    if (server == 0) {
        dup2(in[0], 0);
        dup2(out[1], 1);
        close(in[1]);
        close(out[0]);
        execlp("python3", "python3", "tests/data/hub_server.py", root, (char *)NULL);
        _exit(127);
    }
    close(in[0]);
    close(out[1]);
    server_in = in[1];
    size_t n = 0;
    for (char c; n < sizeof port - 1 && read(out[0], &c, 1) == 1 && c != '\n';)
        port[n++] = c;
    close(out[0]);
    snprintf(endpoint, sizeof endpoint, "http://127.0.0.1:%s/", port);
    setenv("HF_ENDPOINT", endpoint, 1);
    setenv("HOME", root, 1);
    static const char *const none[] = { "HF_HOME", "HF_HUB_CACHE", "XDG_CACHE_HOME", "SAELAB_OFFLINE", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY" };
    for (size_t i = 0; i < sizeof none / sizeof *none; i++)
        unsetenv(none[i]);
    return n > 0 ? 0 : -1;
}

static int stop(void **state)
{
    (void)state;
    close(server_in);
    waitpid(server, NULL, 0);
    sl_ctx_free(ctx);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(forms), cmocka_unit_test(plain_paths), cmocka_unit_test(folder), cmocka_unit_test(one_file), cmocka_unit_test(resumed),
        cmocka_unit_test(refused), cmocka_unit_test(hub_cache),
    };
    return cmocka_run_group_tests_name("data_hub", tests, start, stop);
}
