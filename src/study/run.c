/* The contract of a run: work in OUT.partial, locked; renamed when whole; a finished run returns at once. */
#include "study/results.h"
#include "study/stages.h"

#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

const sl_opt sl_run_opts[] = {
    { .name = "out_dir", .type = SL_T_STR, .offset = offsetof(sl_run_config, out_dir), .help = "folder of the run, named as in the plan (run_0)", .short_name = 'o' },
    SL_OPT_CHOICE(sl_run_config, profile, SL_PROFILE_QUICK, sl_profiles, "quick: minutes, no claims; full: the papers' own sizes; smoke: seconds"),
    SL_OPT_BOOL(sl_run_config, no_cache, 0, "run every stage anew, inside the run's folder"),
    SL_OPT_STR(sl_run_config, dataset, NULL, "another text than the plan's: a name of `saelab data list`"),
    SL_OPT_END
};

typedef struct place {
    char out[SL_PATH], partial[SL_PATH + 16], name[64];
    int lock;
    FILE *log;
} place;

/* ---- where the run goes ---- */

static sl_status locate(const char *out_dir, place *p, sl_err *err)
{
    *p = (place){ .lock = -1 };
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
static sl_status finished_key(sl_ctx *ctx, const char *out, char key[65], sl_err *err)
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

static sl_status take_lock(place *p, sl_err *err)
{
    struct stat s;
    if (lstat(p->partial, &s) == 0 && !S_ISDIR(s.st_mode))
        return sl_fail(err, SL_ARG, p->partial, "a folder, or nothing", "it is not a folder");
    if (mkdir(p->partial, 0777) != 0 && errno != EEXIST)
        return sl_fail(err, SL_IO, p->partial, "a folder that can be written", "cannot make it: %s", strerror(errno));
    SL_TRY(sl_dir_lock(p->partial, &p->lock, err));
    return sl_dir_sweep(p->partial, err);
}

static void log_line(void *user, const sl_event *e)
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

/* ---- finishing ---- */

/* An older run of another key stays, as OUT.old-N. */
static sl_status move_old(sl_ctx *ctx, const char *out, sl_err *err)
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

static sl_status finish(sl_run *r, place *p, const char *key, sl_err *err)
{
    char path[SL_PATH + 32];
    snprintf(path, sizeof path, "%s/run.json", p->partial);
    json_t *j = json_pack("{s:s, s:s, s:s, s:s, s:s, s:I}", "key", key, "study", r->plan->study, "run", r->plan->run_name, "profile",
                          sl_profiles[r->plan->profile], "saelab", sl_version(), "finished", (json_int_t)time(NULL));
    sl_status st = sl_json_save(r->ctx, path, j, err);
    json_decref(j);
    SL_TRY(st);
    snprintf(path, sizeof path, "%s/stages", p->partial); /* of a run without the cache */
    SL_TRY(sl_dir_remove(path, err));
    SL_TRY(move_old(r->ctx, p->out, err));
    return sl_path_rename(p->partial, p->out, err);
}

static sl_status run_key(const sl_run *r, char key[65], sl_err *err)
{
    json_t *fields = json_pack("{s:o, s:s}", "plan", sl_plan_json(r->plan), "text", r->text.name);
    sl_stage s = { .name = "run", .revision = SL_RESULTS_REVISION, .fields = fields, .input = { r->text.sha256 } };
    sl_status st = fields ? sl_stage_key(r->cache, &s, key, err) : sl_fail(err, SL_MEM, "run", NULL, "no memory for its key");
    json_decref(fields);
    return st;
}

/* The work itself, in the locked partial folder. */
static sl_status work(sl_run *r, place *p, const char *key, sl_err *err)
{
    char path[SL_PATH + 32];
    snprintf(path, sizeof path, "%s/log.txt", p->partial);
    p->log = fopen(path, "a");
    if (!p->log)
        return sl_fail(err, SL_IO, path, "a folder that can be written", "%s", strerror(errno));
    sl_ctx_tap(r->ctx, log_line, p->log);
    sl_log(r->ctx, SL_LOG_INFO, "run %s of study %s, profile %s; working in %s", p->name, r->plan->study, sl_profiles[r->plan->profile], p->partial);
    if (r->text.note[0])
        sl_log(r->ctx, SL_LOG_WARN, "text: %s", r->text.note);
    sl_status st = sl_run_stages(r, err);
    if (st == SL_OK)
        st = sl_results_write(r, p->partial, err);
    if (st == SL_OK)
        st = finish(r, p, key, err);
    sl_log(r->ctx, st == SL_OK ? SL_LOG_INFO : SL_LOG_WARN, "%s", st == SL_OK ? "done" : err && err->msg[0] ? err->msg : sl_status_text(st));
    sl_ctx_tap(r->ctx, NULL, NULL);
    fclose(p->log);
    return st;
}

sl_status sl_study_run(sl_ctx *ctx, const char *study_dir, const sl_run_config *c, sl_err *err)
{
    place p;
    sl_plan plan = { .ctx = ctx };
    sl_cache cache;
    sl_run r = { .ctx = ctx, .plan = &plan, .cache = &cache };
    char key[65], old[65], root[SL_PATH + 32];
    SL_TRY(locate(c->out_dir, &p, err));
    SL_TRY(sl_plan_load(ctx, study_dir, p.name, c->profile, &plan, err));
    if (c->dataset)
        plan.run.dataset = c->dataset;
    sl_status st = SL_OK;
    SL_GO(finished_key(ctx, p.out, old, err));
    SL_GO(sl_text_find(ctx, plan.run.dataset, true, &r.text, err));
    snprintf(root, sizeof root, "%s/stages", p.partial);
    if (c->no_cache)
        SL_GO(take_lock(&p, err));
    SL_GO(sl_cache_open(ctx, c->no_cache ? root : NULL, &cache, err));
    SL_GO(run_key(&r, key, err));
    if (strcmp(key, old) == 0) {
        sl_log(ctx, SL_LOG_INFO, "%s is finished already; nothing to do", p.out);
        if (c->no_cache)
            st = sl_dir_remove(p.partial, err);
        goto done;
    }
    if (!c->no_cache)
        SL_GO(take_lock(&p, err));
    st = work(&r, &p, key, err);
done:
    sl_dir_unlock(p.lock);
    sl_run_release(&r);
    sl_plan_release(&plan);
    return st;
}
