/* The contract of a run: work in OUT.partial, locked; renamed when whole; a finished run returns at once. */
#include "study/place.h"
#include "study/results.h"
#include "study/stages.h"

#include <errno.h>
#include <string.h>
#include <time.h>

const sl_opt sl_run_opts[] = {
    { .name = "out_dir", .type = SL_T_STR, .offset = offsetof(sl_run_config, out_dir), .help = "folder of the run, named as in the plan (run_0)", .short_name = 'o' },
    SL_OPT_CHOICE(sl_run_config, profile, SL_PROFILE_QUICK, sl_profiles, "quick: minutes, no claims; full: the papers' own sizes; smoke: seconds"),
    SL_OPT_BOOL(sl_run_config, no_cache, 0, "run every stage anew, inside the run's folder"),
    SL_OPT_STR(sl_run_config, dataset, NULL, "another text than the plan's: a name of `saelab data list`"),
    SL_OPT_END
};

/* ---- finishing ---- */

static sl_status finish(sl_run *r, sl_place *p, const char *key, sl_err *err)
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
    SL_TRY(sl_place_move_old(r->ctx, p->out, err));
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
static sl_status work(sl_run *r, sl_place *p, const char *key, sl_err *err)
{
    char path[SL_PATH + 32];
    snprintf(path, sizeof path, "%s/log.txt", p->partial);
    p->log = fopen(path, "a");
    if (!p->log)
        return sl_fail(err, SL_IO, path, "a folder that can be written", "%s", strerror(errno));
    sl_ctx_tap(r->ctx, sl_place_log_line, p->log);
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
    sl_place p;
    sl_plan plan = { .ctx = ctx };
    sl_cache cache;
    sl_run r = { .ctx = ctx, .plan = &plan, .cache = &cache };
    char key[65], old[65], root[SL_PATH + 32];
    SL_TRY(sl_place_locate(c->out_dir, &p, err));
    SL_TRY(sl_plan_load(ctx, study_dir, p.name, c->profile, &plan, err));
    if (c->dataset)
        plan.run.dataset = c->dataset;
    sl_status st = SL_OK;
    SL_GO(sl_place_finished_key(ctx, p.out, old, err));
    SL_GO(sl_text_find(ctx, plan.run.dataset, true, &r.text, err));
    snprintf(root, sizeof root, "%s/stages", p.partial);
    if (c->no_cache)
        SL_GO(sl_place_lock(&p, err));
    SL_GO(sl_cache_open(ctx, c->no_cache ? root : NULL, &cache, err));
    SL_GO(run_key(&r, key, err));
    if (strcmp(key, old) == 0) {
        sl_log(ctx, SL_LOG_INFO, "%s is finished already; nothing to do", p.out);
        if (c->no_cache)
            st = sl_dir_remove(p.partial, err);
        goto done;
    }
    if (!c->no_cache)
        SL_GO(sl_place_lock(&p, err));
    st = work(&r, &p, key, err);
done:
    sl_dir_unlock(p.lock);
    sl_run_release(&r);
    sl_plan_release(&plan);
    return st;
}
