/* Fetching what an hf: reference names. The hub's interface, at HF_ENDPOINT or https://huggingface.co:
 *   /api/(models|datasets)/REPO/revision/REVISION     {"sha": COMMIT}
 *   /api/(models|datasets)/REPO/tree/COMMIT/FOLDER    [{"type": "file", "path", "size", "oid": git's name, "lfs": {"oid": SHA-256}}]
 *   /[datasets/]REPO/resolve/COMMIT/PATH              the bytes
 * Every file is compared with the size and the hash of that listing before it gets its name. */
#include "data/fetch.h"
#include "data/hub.h"
#include "io/io.h"

#include <saelab/data.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_ANSWER = 16 << 20 };

typedef struct hub {
    sl_ctx *ctx;
    const char *ref;
    sl_hub_ref r;
    char endpoint[300], commit[100];
    char folder[1024];      /* of the commit, in saelab's cache */
} hub;

static void take_endpoint(hub *h)
{
    const char *v = getenv("HF_ENDPOINT");
    snprintf(h->endpoint, sizeof h->endpoint, "%.280s", v && *v ? v : "https://huggingface.co");
    size_t n = strlen(h->endpoint);
    while (n > 0 && h->endpoint[n - 1] == '/')
        h->endpoint[--n] = 0;
}

static sl_status ask(const hub *h, const char *what, const char *commit, const char *sub, json_t **out, sl_err *err)
{
    char url[1400], *text;
    size_t n;
    json_error_t why;
    snprintf(url, sizeof url, "%s/api/%s/%s/%s/%s%s%s", h->endpoint, h->r.dataset ? "datasets" : "models", h->r.repo, what, commit, *sub ? "/" : "", sub);
    SL_TRY(sl_fetch(h->ctx, url, "ask the hub", MAX_ANSWER, &text, &n, err));
    *out = json_loadb(text, n, JSON_REJECT_DUPLICATES, &why);
    sl_free(h->ctx, text);
    return *out ? SL_OK : sl_fail(err, SL_DATA, url, "JSON", "the hub's answer: %s", why.text);
}

static sl_status ask_commit(hub *h, sl_err *err)
{
    json_t *answer;
    SL_TRY(ask(h, "revision", h->r.revision, "", &answer, err));
    const char *sha = json_string_value(json_object_get(answer, "sha"));
    size_t n = sha ? strlen(sha) : 0;
    bool good = n >= 7 && n < sizeof h->commit && strspn(sha, "0123456789abcdef") == n;
    if (good)
        memcpy(h->commit, sha, n + 1);
    json_decref(answer);
    return good ? SL_OK : sl_fail(err, SL_DATA, h->ref, "a commit", "the hub's answer has no \"sha\"");
}

/* ---- one file ---- */

static sl_status check_hash(const hub *h, const char *part, const char *path, const json_t *entry, sl_err *err)
{
    const char *sha256 = json_string_value(json_object_get(json_object_get(entry, "lfs"), "oid"));
    const char *git = json_string_value(json_object_get(entry, "oid"));
    char hex[65] = "";
    if (sha256)
        SL_TRY(sl_file_sha256(h->ctx, part, hex, err));
    else if (git)
        SL_TRY(sl_file_git_blob(h->ctx, part, hex, err));
    else
        return sl_fail(err, SL_DATA, h->ref, NULL, "the hub gives no hash of %.200s", path);
    return strcmp(hex, sha256 ? sha256 : git) == 0 ? SL_OK
           : sl_fail(err, SL_DATA, path, sha256 ? sha256 : git, "the download's %s is %s", sha256 ? "SHA-256" : "git hash", hex);
}

static sl_status fill(const hub *h, sl_partial *f, int64_t have, const char *path, int64_t size, const json_t *entry, sl_err *err)
{
    char url[1400], task[300];
    const char *slash = strrchr(path, '/');
    snprintf(url, sizeof url, "%s/%s%s/resolve/%s/%s", h->endpoint, h->r.dataset ? "datasets/" : "", h->r.repo, h->commit, path);
    snprintf(task, sizeof task, "get %.280s", slash ? slash + 1 : path);
    SL_TRY(sl_fetch_file(h->ctx, url, task, size, f, have, err));
    sl_status st = check_hash(h, sl_partial_path(f), path, entry, err);
    if (st == SL_DATA && have > 0) {
        sl_log(h->ctx, SL_LOG_WARN, "%s: what an earlier download left does not fit; it comes anew", path);
        SL_TRY(sl_partial_restart(f, err));
        SL_TRY(sl_fetch_file(h->ctx, url, task, size, f, 0, err));
        st = check_hash(h, sl_partial_path(f), path, entry, err);
    }
    if (st == SL_DATA) {
        sl_err none;
        (void)!sl_partial_restart(f, &none); /* the next try must not go on from what is wrong */
    }
    return st;
}

/* entry: of the listing. A file that is there already was checked when it came. */
static sl_status get_file(const hub *h, const char *path, const json_t *entry, sl_err *err)
{
    char target[1500];
    int64_t size, have;
    sl_partial *f;
    int n = snprintf(target, sizeof target, "%s/%s", h->folder, path);
    SL_TRY(sl_json_int(entry, h->ref, "size", 0, INT64_MAX / 2, &size, err));
    if (n >= 1000)
        return sl_fail(err, SL_ARG, h->ref, "a shorter path", "the path of %.100s in the cache is too long", path);
    if (sl_path_exists(target))
        return SL_OK;
    char *slash = strrchr(target, '/');
    *slash = 0;
    SL_TRY(sl_dir_make(target, err));
    int64_t room = sl_disk_free(target);
    *slash = '/';
    if (room >= 0 && room < size)
        return sl_fail(err, SL_IO, path, "more room in the cache folder", "it has %lld bytes and %lld are free", (long long)size, (long long)room);
    SL_TRY(sl_partial_open(h->ctx, target, &f, &have, err));
    sl_status st = fill(h, f, have, path, size, entry, err);
    if (st == SL_OK)
        return sl_partial_finish(f, err);
    sl_partial_close(f);
    return st;
}

/* ---- folders ---- */

/* The path of an entry, when it is a file directly in `sub` and as plain as a path has to be; else NULL. */
static const char *entry_path(const json_t *entry, const char *sub)
{
    const char *type = json_string_value(json_object_get(entry, "type")), *path = json_string_value(json_object_get(entry, "path"));
    size_t n = strlen(sub);
    if (!type || !path || strcmp(type, "file") != 0 || strlen(path) > 400 || strstr(path, "..") || path[0] == '/')
        return NULL;
    if (n > 0 && (strncmp(path, sub, n) != 0 || path[n] != '/'))
        return NULL;
    const char *name = path + n + (n > 0);
    return *name && !strchr(name, '/') && !strpbrk(name, " ?#%&\\") ? path : NULL;
}

static sl_status refuse_pickle(const hub *h, const char *path, sl_err *err)
{
    return sl_fail(err, SL_UNAVAILABLE, h->ref, "safetensors, npz, json or text", "%.200s is a pickle, which can run code where others load it: it is not downloaded", path);
}

static sl_status get_folder(const hub *h, const json_t *list, sl_err *err)
{
    size_t i;
    json_t *entry;
    int n = 0;
    const char *pickle = NULL;
    char mark[1500];
    json_array_foreach(list, i, entry) {
        const char *path = entry_path(entry, h->r.sub);
        sl_hub_kind kind = path ? sl_hub_kind_of(path) : SL_HUB_OTHER;
        if (kind == SL_HUB_PICKLE) {
            sl_log(h->ctx, SL_LOG_INFO, "%s: not downloaded: a pickle can run code", path);
            pickle = path;
        }
        if (kind != SL_HUB_WEIGHTS && kind != SL_HUB_TEXT)
            continue;
        SL_TRY(get_file(h, path, entry, err));
        n += kind == SL_HUB_WEIGHTS || h->r.dataset;
    }
    if (n == 0 && pickle)
        return refuse_pickle(h, pickle, err);
    if (n == 0)
        return sl_fail(err, SL_MISSING, h->ref, "a folder with safetensors or npz files", "there are none in it");
    snprintf(mark, sizeof mark, "%s%s%s/" SL_HUB_WHOLE, h->folder, h->r.sub[0] ? "/" : "", h->r.sub);
    return sl_file_write(h->ctx, mark, h->commit, strlen(h->commit), err);
}

static sl_status get_one(const hub *h, const json_t *list, sl_err *err)
{
    size_t i;
    json_t *entry;
    json_array_foreach(list, i, entry) {
        const char *path = json_string_value(json_object_get(entry, "path"));
        if (path && strcmp(path, h->r.sub) == 0)
            return get_file(h, path, entry, err);
    }
    return sl_fail(err, SL_MISSING, h->ref, NULL, "there is no such file in the repository");
}

static sl_status download(hub *h, sl_err *err)
{
    json_t *list;
    char parent[400];
    snprintf(parent, sizeof parent, "%s", h->r.sub);
    char *slash = strrchr(parent, '/');
    if (h->r.file)
        *(slash ? slash : parent) = 0;
    SL_TRY(ask(h, "tree", h->commit, parent, &list, err));
    sl_status st = !json_is_array(list) ? sl_fail(err, SL_DATA, h->ref, "a list of files", "the hub's answer is something else")
                   : h->r.file ? get_one(h, list, err) : get_folder(h, list, err);
    json_decref(list);
    return st;
}

/* With the commit's folder locked: two downloads of it would write the same parts. */
static sl_status get(hub *h, sl_err *err)
{
    int lock;
    SL_TRY(ask_commit(h, err));
    SL_TRY(sl_hub_folder(h->ctx, &h->r, h->commit, h->folder, err));
    SL_TRY(sl_dir_make(h->folder, err));
    SL_TRY(sl_dir_lock(h->folder, &lock, err));
    sl_status st = download(h, err);
    if (st == SL_OK)
        st = sl_hub_remember(h->ctx, &h->r, h->commit, err);
    sl_dir_unlock(lock);
    return st;
}

sl_status sl_ref_get(sl_ctx *ctx, const char *ref, bool renew, char path[1024], sl_err *err)
{
    hub h = { .ctx = ctx, .ref = ref };
    SL_TRY(sl_hub_parse(ref, &h.r, err));
    take_endpoint(&h);
    if (h.r.file && sl_hub_kind_of(h.r.sub) == SL_HUB_PICKLE)
        return refuse_pickle(&h, h.r.sub, err);
    if (!renew && sl_hub_find(ctx, &h.r, false, path))
        return SL_OK;
    if (sl_offline())
        return sl_fail(err, SL_UNAVAILABLE, ref, "a copy in the hub's cache or in saelab's", "not downloaded: SAELAB_OFFLINE is set");
    SL_TRY(get(&h, err));
    return sl_hub_find(ctx, &h.r, true, path) ? SL_OK : sl_fail(err, SL_DATA, ref, NULL, "the download is not in the cache");
}

sl_status sl_ref_path(sl_ctx *ctx, const char *ref, char path[1024], sl_err *err)
{
    if (strncmp(ref, "hf:", 3) == 0)
        return sl_ref_get(ctx, ref, false, path, err);
    int n = snprintf(path, 1024, "%s", ref);
    return n < 1024 ? SL_OK : sl_fail(err, SL_ARG, ref, NULL, "the path is too long");
}
