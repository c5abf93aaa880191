/* Checkpoints: one safetensors file a step, the last two kept, each with a checksum over everything that it holds. */
#include "io/internal.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#define VERSION "1"

/* ---- checksum: XXH3 folded over the metadata and the tensors in file order ---- */

static uint64_t text_hash(const char *s) { return sl_xxh64(s, strlen(s)); }

static uint64_t fold_meta(const json_t *meta)
{
    const char *key;
    json_t *v;
    uint64_t h = 0;
    json_object_foreach((json_t *)(uintptr_t)meta, key, v) {
        if (strcmp(key, "checksum") == 0)
            continue;
        uint64_t parts[3] = { h, text_hash(key), text_hash(json_string_value(v)) };
        h = sl_xxh64(parts, sizeof parts);
    }
    return h;
}

static uint64_t fold_tensor(uint64_t h, const char *name, const sl_tensor *t)
{
    uint64_t parts[4 + SL_MAX_DIM] = { h, text_hash(name), text_hash(sl_dtype_name(t->dtype)), sl_xxh64(t->data, sl_nbytes(t)) };
    for (int i = 0; i < t->n_dim; i++)
        parts[4 + i] = (uint64_t)t->dim[i] + 1;
    return sl_xxh64(parts, sizeof parts);
}

/* ---- saving ---- */

static bool set_text(json_t *j, const char *key, const char *text) { return json_object_set_new(j, key, json_string(text)) == 0; }

static sl_status full_meta(const char *path, int64_t step, int n, const char *const *names, const sl_tensor *tensors,
                           const json_t *meta, json_t **out, sl_err *err)
{
    char text[32];
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)(uintptr_t)meta, key, v)
        if (!json_is_string(v))
            return sl_fail(err, SL_ARG, path, "a text", "the metadata '%.100s' is none", key);
    *out = meta ? json_copy((json_t *)(uintptr_t)meta) : json_object();
    snprintf(text, sizeof text, "%" PRId64, step);
    if (!*out || !set_text(*out, "version", VERSION) || !set_text(*out, "step", text))
        return sl_fail(err, SL_MEM, path, NULL, "no memory for the metadata");
    uint64_t h = fold_meta(*out);
    for (int i = 0; i < n; i++)
        h = fold_tensor(h, names[i], &tensors[i]);
    snprintf(text, sizeof text, "%016" PRIx64, h);
    return set_text(*out, "checksum", text) ? SL_OK : sl_fail(err, SL_MEM, path, NULL, "no memory for the metadata");
}

static sl_status file_of(const char *dir, int64_t step, char path[SL_PATH], sl_err *err)
{
    char name[64];
    snprintf(name, sizeof name, "step-%09" PRId64 ".safetensors", step);
    return sl_path_join(path, SL_PATH, dir, name, err);
}

/* The step of a file name, or -1. */
static int64_t step_of(const char *name)
{
    int64_t v = 0;
    const char *p = name + 5;
    if (strncmp(name, "step-", 5) != 0)
        return -1;
    for (; *p >= '0' && *p <= '9' && v < INT64_MAX / 100; p++)
        v = v * 10 + (*p - '0');
    return p - name >= 14 && strcmp(p, ".safetensors") == 0 ? v : -1;
}

/* The largest step in dir below `below`, or -1. */
static sl_status newest_below(const char *dir, int64_t below, int64_t *step, sl_err *err)
{
    *step = -1;
    DIR *d = opendir(dir);
    if (!d)
        return sl__fail_errno(err, dir, "open the folder");
    for (struct dirent *e; (e = readdir(d)) != NULL;) {
        int64_t s = step_of(e->d_name);
        if (s < below && s > *step)
            *step = s;
    }
    closedir(d);
    return SL_OK;
}

/* Removes every checkpoint except `keep` and the newest before it. */
static void prune(sl_ctx *ctx, const char *dir, int64_t keep)
{
    int64_t before, s = INT64_MAX;
    char path[SL_PATH];
    if (newest_below(dir, keep, &before, NULL) != SL_OK)
        return;
    while (newest_below(dir, s, &s, NULL) == SL_OK && s >= 0) {
        if (s == keep || s == before)
            continue;
        if (file_of(dir, s, path, NULL) != SL_OK || unlink(path) != 0)
            sl_log(ctx, SL_LOG_WARN, "%s: the old checkpoint of step %" PRId64 " cannot be removed", dir, s);
    }
}

sl_status sl_checkpoint_save(sl_ctx *ctx, const char *dir, int64_t step, int n, const char *const *names,
                             const sl_tensor *tensors, const json_t *meta, sl_err *err)
{
    char path[SL_PATH];
    json_t *full = NULL;
    if (step < 0)
        return sl_fail(err, SL_ARG, dir, "a step from 0", "a checkpoint of step %" PRId64, step);
    SL_TRY(file_of(dir, step, path, err));
    SL_TRY(sl_dir_make(dir, err));
    SL_TRY(sl_dir_sweep(dir, err));
    sl_status st = full_meta(path, step, n, names, tensors, meta, &full, err);
    if (st == SL_OK)
        st = sl_safetensors_write(ctx, path, n, names, tensors, full, err);
    json_decref(full);
    if (st == SL_OK)
        prune(ctx, dir, step);
    return st;
}

/* ---- loading ---- */

static sl_status check(const char *path, int64_t step, const sl_dict *d, sl_err *err)
{
    char text[32];
    const char *version = json_string_value(json_object_get(d->meta, "version"));
    const char *said = json_string_value(json_object_get(d->meta, "checksum"));
    const char *at = json_string_value(json_object_get(d->meta, "step"));
    if (!version || !said || !at)
        return sl_fail(err, SL_DATA, path, NULL, "is no checkpoint: version, step or checksum is missing");
    if (strcmp(version, VERSION) != 0)
        return sl_fail(err, SL_DATA, path, VERSION, "a checkpoint of version '%.20s'", version);
    uint64_t h = fold_meta(d->meta);
    for (int i = 0; i < d->n; i++)
        h = fold_tensor(h, d->v[i].name, &d->v[i].t);
    snprintf(text, sizeof text, "%016" PRIx64, h);
    if (strcmp(text, said) != 0)
        return sl_fail(err, SL_DATA, path, said, "the checksum is %s: the file is corrupt", text);
    snprintf(text, sizeof text, "%" PRId64, step);
    return strcmp(text, at) == 0 ? SL_OK : sl_fail(err, SL_DATA, path, text, "is a checkpoint of step %.20s under another name", at);
}

static sl_status load_one(sl_ctx *ctx, const char *dir, int64_t step, sl_dict *out, sl_err *err)
{
    char path[SL_PATH];
    SL_TRY(file_of(dir, step, path, err));
    SL_TRY(sl_safetensors_read(ctx, path, out, err));
    sl_status st = check(path, step, out, err);
    if (st != SL_OK)
        sl_dict_release(out);
    return st;
}

sl_status sl_checkpoint_load(sl_ctx *ctx, const char *dir, sl_dict *out, int64_t *step, sl_err *err)
{
    sl_err first = { 0 }, e = { 0 };
    sl_dict_init(ctx, out);
    *step = -1;
    for (int64_t s = INT64_MAX;;) {
        SL_TRY(newest_below(dir, s, &s, err));
        if (s < 0)
            break;
        sl_status st = load_one(ctx, dir, s, out, &e);
        if (st == SL_OK) {
            *step = s;
            return SL_OK;
        }
        if (st == SL_MEM) /* says nothing about the file: going back to an older one would lose work */
            return sl_fail(err, SL_MEM, e.where, e.expected, "%s", e.what);
        sl_log(ctx, SL_LOG_WARN, "%s; trying the checkpoint before it", e.msg);
        if (first.code == SL_OK)
            first = e;
    }
    if (first.code == SL_OK)
        return sl_fail(err, SL_MISSING, dir, NULL, "holds no checkpoint");
    return sl_fail(err, SL_DATA, first.where, first.expected, "no checkpoint is whole: %s", first.what);
}
