/* hf: references: their form, and copies of them on this machine. The layout of both caches is the hub library's:
 * (models|datasets)--OWNER--REPO/refs/REVISION holds a commit, and .../snapshots/COMMIT/ the files. */
#include "data/hub.h"
#include "io/io.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- form ---- */

static const struct { const char *ending; sl_hub_kind kind; } KINDS[] = {
    { ".safetensors", SL_HUB_WEIGHTS }, { ".npz", SL_HUB_WEIGHTS },
    { ".json", SL_HUB_TEXT }, { ".jsonl", SL_HUB_TEXT }, { ".txt", SL_HUB_TEXT }, { ".md", SL_HUB_TEXT }, { ".csv", SL_HUB_TEXT }, { ".tsv", SL_HUB_TEXT },
    { ".yaml", SL_HUB_TEXT }, { ".yml", SL_HUB_TEXT },
    { ".pt", SL_HUB_PICKLE }, { ".pth", SL_HUB_PICKLE }, { ".bin", SL_HUB_PICKLE }, { ".pkl", SL_HUB_PICKLE }, { ".pickle", SL_HUB_PICKLE }, { ".ckpt", SL_HUB_PICKLE },
};

sl_hub_kind sl_hub_kind_of(const char *name)
{
    const char *dot = strrchr(name, '.');
    for (size_t i = 0; dot && i < sizeof KINDS / sizeof *KINDS; i++)
        if (strcmp(dot, KINDS[i].ending) == 0)
            return KINDS[i].kind;
    return SL_HUB_OTHER;
}

/* Words of letters, digits, - _ . + = between single slashes; none begins with a dot. */
static bool plain_path(const char *s, int min_words, int max_words)
{
    int words = 0;
    while (*s) {
        size_t n = strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.+=");
        if (n == 0 || *s == '.' || (s[n] && s[n] != '/') || (s[n] == '/' && !s[n + 1]))
            return false;
        s += n + (s[n] == '/');
        words++;
    }
    return words >= min_words && words <= max_words;
}

sl_status sl_hub_parse(const char *ref, sl_hub_ref *out, sl_err *err)
{
    static const char form[] = "hf:OWNER/REPO[/FOLDER or FILE][@REVISION]", datasets[] = "datasets/";
    char text[700];
    *out = (sl_hub_ref){ .revision = "main" };
    int n = strncmp(ref, "hf:", 3) == 0 ? snprintf(text, sizeof text, "%s", ref + 3) : -1;
    char *p = text, *at = n >= 0 ? strrchr(text, '@') : NULL;
    if (n < 0 || n >= (int)sizeof text)
        return sl_fail(err, SL_ARG, ref, form, "is no reference to the hub");
    if (at) {
        *at = 0;
        if (!plain_path(at + 1, 1, 4) || strlen(at + 1) >= sizeof out->revision)
            return sl_fail(err, SL_ARG, ref, form, "'%.80s' is no revision", at + 1);
        memcpy(out->revision, at + 1, strlen(at + 1) + 1);
    }
    out->dataset = strncmp(p, datasets, sizeof datasets - 1) == 0;
    p += out->dataset ? sizeof datasets - 1 : 0;
    if (!plain_path(p, 2, 30))
        return sl_fail(err, SL_ARG, ref, form, "is no reference to the hub");
    char *slash = strchr(strchr(p, '/') + 1, '/');
    if (slash)
        *slash = 0;
    if (strlen(p) >= sizeof out->repo || (slash && strlen(slash + 1) >= sizeof out->sub))
        return sl_fail(err, SL_ARG, ref, form, "the reference is too long");
    memcpy(out->repo, p, strlen(p) + 1);
    if (slash)
        memcpy(out->sub, slash + 1, strlen(slash + 1) + 1);
    out->file = sl_hub_kind_of(out->sub) != SL_HUB_OTHER;
    return SL_OK;
}

/* ---- copies ---- */

/* models--owner--repo */
static void repo_folder(const sl_hub_ref *r, char out[256])
{
    const char *slash = strchr(r->repo, '/');
    snprintf(out, 256, "%s--%.*s--%s", r->dataset ? "datasets" : "models", (int)(slash - r->repo), r->repo, slash + 1);
}

/* The hub library's cache; "" when there is no home. */
static void hub_cache(char out[800])
{
    static const struct { const char *variable, *below; } places[] = {
        { "HF_HUB_CACHE", "" }, { "HF_HOME", "/hub" }, { "XDG_CACHE_HOME", "/huggingface/hub" }, { "HOME", "/.cache/huggingface/hub" },
    };
    out[0] = 0;
    for (size_t i = 0; i < sizeof places / sizeof *places && !out[0]; i++) {
        const char *v = getenv(places[i].variable);
        if (v && *v)
            snprintf(out, 800, "%.700s%s", v, places[i].below);
    }
}

/* The commit that a revision stands for there: what refs/REVISION holds, or the revision itself. */
static void commit_of(sl_ctx *ctx, const char *repo, const sl_hub_ref *r, char commit[100])
{
    char path[1300], *text;
    size_t n;
    sl_err none;
    snprintf(path, sizeof path, "%.1100s/refs/%s", repo, r->revision);
    snprintf(commit, 100, "%s", r->revision);
    if (!sl_path_exists(path) || sl_file_read(ctx, path, &text, &n, &none) != SL_OK)
        return;
    size_t len = strspn(text, "0123456789abcdefABCDEF");
    if (len >= 7 && len < 100)
        snprintf(commit, 100, "%.*s", (int)len, text);
    sl_free(ctx, text);
}

/* A folder of the hub library's cache may hold a part of what the repository has: it counts when it has weights, or a data set's text. */
static bool has_contents(const char *path, bool dataset)
{
    bool found = false;
    DIR *d = opendir(path);
    for (struct dirent *e = d ? readdir(d) : NULL; e && !found; e = readdir(d)) {
        sl_hub_kind kind = sl_hub_kind_of(e->d_name);
        found = kind == SL_HUB_WEIGHTS || (dataset && kind == SL_HUB_TEXT);
    }
    if (d)
        closedir(d);
    return found;
}

static bool find_below(sl_ctx *ctx, const char *cache, const sl_hub_ref *r, bool own, char path[1024])
{
    char folder[256], repo[1200], commit[100], mark[1200];
    repo_folder(r, folder);
    snprintf(repo, sizeof repo, "%s/%s", cache, folder);
    commit_of(ctx, repo, r, commit);
    int n = snprintf(path, 1024, "%s/snapshots/%s%s%s", repo, commit, r->sub[0] ? "/" : "", r->sub);
    if (n >= 1024 || !sl_path_exists(path))
        return false;
    if (!sl_path_is_dir(path))
        return r->file;
    snprintf(mark, sizeof mark, "%s/" SL_HUB_WHOLE, path);
    return own ? sl_path_exists(mark) : has_contents(path, r->dataset);
}

static void own_cache(sl_ctx *ctx, char out[800])
{
    snprintf(out, 800, "%.780s/hub", sl_ctx_cache_dir(ctx));
}

bool sl_hub_find(sl_ctx *ctx, const sl_hub_ref *r, bool own_only, char path[1024])
{
    char cache[800];
    hub_cache(cache);
    if (!own_only && cache[0] && find_below(ctx, cache, r, false, path))
        return true;
    own_cache(ctx, cache);
    return find_below(ctx, cache, r, true, path);
}

sl_status sl_hub_folder(sl_ctx *ctx, const sl_hub_ref *r, const char *commit, char path[1024], sl_err *err)
{
    char cache[800], folder[256];
    own_cache(ctx, cache);
    repo_folder(r, folder);
    int n = snprintf(path, 1024, "%s/%s/snapshots/%s", cache, folder, commit);
    return n < 900 ? SL_OK : sl_fail(err, SL_ARG, cache, "a shorter path", "the cache folder's path is too long");
}

sl_status sl_hub_remember(sl_ctx *ctx, const sl_hub_ref *r, const char *commit, sl_err *err)
{
    char cache[800], folder[256], path[1200];
    if (strcmp(commit, r->revision) == 0)
        return SL_OK;
    own_cache(ctx, cache);
    repo_folder(r, folder);
    snprintf(path, sizeof path, "%s/%s/refs/%s", cache, folder, r->revision);
    char *slash = strrchr(path, '/');
    *slash = 0;
    SL_TRY(sl_dir_make(path, err));
    *slash = '/';
    return sl_file_write(ctx, path, commit, strlen(commit), err);
}
