/* Where a run or a confirmation goes: OUT.partial while it is made, locked; OUT when it is whole. */
#include "study/place.h"

#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* ---- where the run goes ---- */

sl_status sl_place_locate(const char *out_dir, sl_place *p, sl_err *err)
{
    *p = (sl_place){ .lock = -1 };
    if (!out_dir || !*out_dir)
        return sl_fail(err, SL_ARG, "--out_dir", "--out_dir=run_0", "no folder was given for the run");
    char a[SL_PATH], b[SL_PATH], parent[PATH_MAX];
    snprintf(a, sizeof a, "%s", out_dir);
    snprintf(b, sizeof b, "%s", out_dir);
    const char *base = basename(a), *dir = dirname(b);
    if (strcmp(base, ".") == 0 || strcmp(base, "..") == 0 || strcmp(base, "/") == 0 || strlen(base) >= sizeof p->name)
        return sl_fail(err, SL_ARG, "--out_dir", "a folder whose last part is a run of the plan, as in --out_dir=run_0", "'%s' names no run", out_dir);
    if (!realpath(dir, parent))
        return sl_fail(err, SL_ARG, dir, "an existing folder to put the run in", "%s", strerror(errno));
    snprintf(p->name, sizeof p->name, "%s", base);
    int n = snprintf(p->out, sizeof p->out, "%s/%s", strcmp(parent, "/") == 0 ? "" : parent, base);
    if (n < 0 || n >= SL_PATH - 32)
        return sl_fail(err, SL_ARG, "--out_dir", "a shorter path", "the path is too long");
    snprintf(p->partial, sizeof p->partial, "%s.partial", p->out);
    return SL_OK;
}

/* The key in OUT/run.json; "" when OUT is not there or empty. SL_ARG when OUT is something of somebody else's. */
sl_status sl_place_finished_key(sl_ctx *ctx, const char *out, char key[65], sl_err *err)
{
    key[0] = 0;
    struct stat s;
    if (lstat(out, &s) != 0)
        return errno == ENOENT ? SL_OK : sl_fail(err, SL_ARG, out, "a folder that can be read", "%s", strerror(errno));
    if (!S_ISDIR(s.st_mode))
        return sl_fail(err, SL_ARG, out, "a folder that is not there yet", "it is not a folder");
    char path[SL_PATH + 16];
    snprintf(path, sizeof path, "%s/run.json", out);
    json_t *j = NULL;
    const char *k = NULL;
    if (sl_path_exists(path) && sl_json_load_file(ctx, path, &j, NULL) == SL_OK)
        k = json_string_value(json_object_get(j, "key"));
    if (k && strlen(k) == 64)
        memcpy(key, k, 65);
    json_decref(j);
    if (!k && rmdir(out) != 0) /* an empty folder is nobody's: it makes way */
        return sl_fail(err, SL_ARG, out, "a finished run of saelab, or nothing", "the folder has other things in it");
    return SL_OK;
}

sl_status sl_place_lock(sl_place *p, sl_err *err)
{
    struct stat s;
    if (lstat(p->partial, &s) == 0 && !S_ISDIR(s.st_mode))
        return sl_fail(err, SL_ARG, p->partial, "a folder, or nothing", "it is not a folder");
    if (mkdir(p->partial, 0777) != 0 && errno != EEXIST)
        return sl_fail(err, SL_IO, p->partial, "a folder that can be written", "cannot make it: %s", strerror(errno));
    SL_TRY(sl_dir_lock(p->partial, &p->lock, err));
    return sl_dir_sweep(p->partial, err);
}

void sl_place_log_line(void *user, const sl_event *e)
{
    if (e->kind != SL_EVENT_LOG || e->level == SL_LOG_DEBUG)
        return;
    char stamp[32];
    time_t t = time(NULL);
    struct tm tm;
    strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&t, &tm));
    fprintf(user, "%s %s%s\n", stamp, e->level == SL_LOG_WARN ? "warning: " : "", e->text);
    fflush(user);
}

/* An older run of another key stays, as OUT.old-N. */
sl_status sl_place_move_old(sl_ctx *ctx, const char *out, sl_err *err)
{
    if (!sl_path_exists(out))
        return SL_OK;
    char old[SL_PATH + 32];
    for (int n = 1;; n++) {
        snprintf(old, sizeof old, "%s.old-%d", out, n);
        if (!sl_path_exists(old))
            break;
    }
    SL_TRY(sl_path_rename(out, old, err));
    sl_log(ctx, SL_LOG_INFO, "the run that was in %s is now %s", out, old);
    return SL_OK;
}
