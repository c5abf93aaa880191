/* What the cache holds, and dropping what was least recently used. */
#include "study/cache.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static int64_t dir_bytes(const char *path)
{
    DIR *d = opendir(path);
    int64_t total = 0;
    for (struct dirent *e; d && (e = readdir(d));) {
        char sub[SL_PATH + 300];
        struct stat s;
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        snprintf(sub, sizeof sub, "%s/%s", path, e->d_name);
        if (lstat(sub, &s) == 0)
            total += S_ISDIR(s.st_mode) ? dir_bytes(sub) : (int64_t)s.st_size;
    }
    if (d)
        closedir(d);
    return total;
}

/* One artifact's entry; false when the folder is none of ours. */
static bool read_entry(sl_ctx *ctx, const char *root, const char *name, sl_cache_entry *e)
{
    char path[SL_PATH + 300];
    snprintf(path, sizeof path, "%s/%s/stage.json", root, name);
    struct stat s;
    json_t *j = NULL;
    if (stat(path, &s) != 0 || sl_json_load_file(ctx, path, &j, NULL) != SL_OK)
        return false;
    const char *key = json_string_value(json_object_get(j, "key")), *stage = json_string_value(json_object_get(j, "stage"));
    bool ok = key && stage;
    if (ok) {
        snprintf(e->key, sizeof e->key, "%s", key);
        snprintf(e->stage, sizeof e->stage, "%s", stage);
        e->seconds = json_number_value(json_object_get(j, "seconds"));
        e->used = (int64_t)s.st_mtime;
        path[strlen(path) - strlen("/stage.json")] = 0;
        e->bytes = dir_bytes(path);
    }
    json_decref(j);
    return ok;
}

static int newest_first(const void *a, const void *b)
{
    int64_t x = ((const sl_cache_entry *)a)->used, y = ((const sl_cache_entry *)b)->used;
    return x < y ? 1 : x > y ? -1 : strcmp(((const sl_cache_entry *)a)->key, ((const sl_cache_entry *)b)->key);
}

sl_status sl_cache_list(sl_ctx *ctx, sl_cache_entry **out, int *n, sl_err *err)
{
    const char *root = sl_ctx_cache_dir(ctx);
    int cap = 0, used = 0;
    DIR *d = opendir(root);
    for (struct dirent *e; d && (e = readdir(d));)
        cap++;
    *n = 0;
    *out = sl_alloc(ctx, (size_t)(cap + 1) * sizeof **out);
    if (!*out) {
        if (d)
            closedir(d);
        return sl_fail(err, SL_MEM, root, NULL, "no memory to list %d entries", cap);
    }
    if (d)
        rewinddir(d);
    for (struct dirent *e; d && used < cap && (e = readdir(d));)
        used += read_entry(ctx, root, e->d_name, &(*out)[used]);
    if (d)
        closedir(d);
    qsort(*out, (size_t)used, sizeof **out, newest_first);
    *n = used;
    return SL_OK;
}

sl_status sl_cache_prune(sl_ctx *ctx, int64_t keep_bytes, int64_t *freed, sl_err *err)
{
    sl_cache_entry *e;
    int n;
    *freed = 0;
    SL_TRY(sl_cache_list(ctx, &e, &n, err));
    int64_t total = 0;
    sl_status st = SL_OK;
    for (int i = 0; i < n && st == SL_OK; i++) {
        total += e[i].bytes;
        if (total <= keep_bytes)
            continue;
        char dir[SL_PATH];
        snprintf(dir, sizeof dir, "%.900s/%.60s-%.16s", sl_ctx_cache_dir(ctx), e[i].stage, e[i].key);
        st = sl_dir_remove(dir, err);
        *freed += st == SL_OK ? e[i].bytes : 0;
    }
    sl_free(ctx, e);
    return st;
}
