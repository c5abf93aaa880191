/* The stage cache: keys, lookup, running once. */
#include "study/cache.h"

#include "kern/kern.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

json_t *sl_opts_json(const sl_opt *table, const void *cfg)
{
    json_t *o = json_object();
    for (const sl_opt *p = table; o && p->type != SL_T_END; p++) {
        char text[1024];
        sl_opts_text(p, cfg, text, sizeof text);
        json_object_set_new(o, p->name, json_string(text));
    }
    return o;
}

sl_status sl_cache_open(sl_ctx *ctx, const char *root, sl_cache *out, sl_err *err)
{
    *out = (sl_cache){ .ctx = ctx };
    if (!root)
        root = sl_ctx_cache_dir(ctx);
    snprintf(out->root, sizeof out->root, "%s", root);
    const sl_kern *k;
    SL_TRY(sl_kern_get(ctx, SL_F32, &k, err));
    snprintf(out->kernels, sizeof out->kernels, "%.80s %s", k->id, strstr(k->id, " bf16") ? "bf16" : "f32");
    return sl_dir_make(out->root, err);
}

sl_status sl_stage_key(const sl_cache *c, const sl_stage *s, char key[65], sl_err *err)
{
    json_t *inputs = json_array();
    for (int i = 0; i < 4 && s->input[i]; i++)
        json_array_append_new(inputs, json_string(s->input[i]));
    json_t *all = json_pack("{s:s, s:i, s:O, s:o, s:s}", "stage", s->name, "revision", s->revision, "fields", s->fields,
                            "inputs", inputs, "kernels", c->kernels);
    char *text = all ? json_dumps(all, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
    json_decref(all);
    if (!text)
        return sl_fail(err, SL_MEM, s->name, NULL, "no memory for the stage's key");
    sl_sha256_hex(text, strlen(text), key);
    free(text);
    return SL_OK;
}

/* Is `dir` the finished artifact of `key`? Then its time is read, and it is marked as used now. */
static bool finished(sl_cache *c, const char *dir, const char *key, double *seconds)
{
    char path[SL_PATH + 16];
    snprintf(path, sizeof path, "%s/stage.json", dir);
    json_t *j = NULL;
    if (!sl_path_exists(path) || sl_json_load_file(c->ctx, path, &j, NULL) != SL_OK)
        return false;
    const char *k = json_string_value(json_object_get(j, "key"));
    bool ok = k && strcmp(k, key) == 0;
    if (ok) {
        *seconds = json_number_value(json_object_get(j, "seconds"));
        utimensat(AT_FDCWD, path, NULL, 0);
    }
    json_decref(j);
    return ok;
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Holds the stage's lock file; waits, saying so, while another process has it. */
static sl_status lock_stage(sl_cache *c, const char *path, const char *name, int *fd, sl_err *err)
{
    *fd = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0666);
    if (*fd < 0)
        return sl_fail(err, SL_IO, path, "a cache folder that can be written", "cannot lock: %s", strerror(errno));
    bool told = false;
    while (flock(*fd, LOCK_EX | LOCK_NB) != 0) {
        if (!told)
            sl_log(c->ctx, SL_LOG_INFO, "another process is at stage %s; waiting for it", name);
        told = true;
        if (sl_cancelled(c->ctx)) {
            close(*fd);
            return sl_fail(err, SL_CANCELLED, name, NULL, "stopped while waiting");
        }
        nanosleep(&(struct timespec){ .tv_nsec = 200000000 }, NULL);
    }
    return SL_OK;
}

static sl_status make_artifact(sl_cache *c, const sl_stage *s, sl_artifact *a, sl_err *err)
{
    char partial[SL_PATH + 16], path[SL_PATH + 32];
    snprintf(partial, sizeof partial, "%s.partial", a->dir);
    SL_TRY(sl_dir_make(partial, err));
    double start = now(), before = 0;
    snprintf(path, sizeof path, "%s/seconds.json", partial); /* time of earlier, cut-off attempts */
    json_t *j = NULL;
    if (sl_path_exists(path) && sl_json_load_file(c->ctx, path, &j, NULL) == SL_OK)
        before = json_number_value(json_object_get(j, "seconds"));
    json_decref(j);
    sl_status st = s->run(s->arg, partial, err);
    a->seconds = before + now() - start;
    if (st != SL_OK) {
        j = json_pack("{s:f}", "seconds", a->seconds);
        if (sl_json_save(c->ctx, path, j, NULL) != SL_OK) /* only the stage's own time is lost */
            sl_log(c->ctx, SL_LOG_DEBUG, "cannot note the time of stage %s", s->name);
        json_decref(j);
        return st;
    }
    unlink(path);
    snprintf(path, sizeof path, "%s/stage.json", partial);
    j = json_pack("{s:s, s:s, s:i, s:f, s:O}", "key", a->key, "stage", s->name, "revision", s->revision, "seconds", a->seconds,
                  "fields", s->fields);
    st = sl_json_save(c->ctx, path, j, err);
    json_decref(j);
    if (st == SL_OK)
        st = sl_dir_remove(a->dir, err); /* an older artifact whose stage.json is damaged */
    return st == SL_OK ? sl_path_rename(partial, a->dir, err) : st;
}

sl_status sl_cache_stage(sl_cache *c, const sl_stage *s, sl_artifact *out, sl_err *err)
{
    *out = (sl_artifact){ 0 };
    SL_TRY(sl_stage_key(c, s, out->key, err));
    snprintf(out->dir, sizeof out->dir, "%.900s/%.60s-%.16s", c->root, s->name, out->key);
    if (finished(c, out->dir, out->key, &out->seconds)) {
        out->cached = true;
        sl_log(c->ctx, SL_LOG_INFO, "%s: cached (took %.1f s when made)", s->name, out->seconds);
        return SL_OK;
    }
    char lock[SL_PATH + 16];
    snprintf(lock, sizeof lock, "%s.lock", out->dir);
    int fd;
    SL_TRY(lock_stage(c, lock, s->name, &fd, err));
    sl_status st = SL_OK;
    if (finished(c, out->dir, out->key, &out->seconds))
        out->cached = true;
    else
        st = make_artifact(c, s, out, err);
    unlink(lock);
    close(fd);
    return st;
}
