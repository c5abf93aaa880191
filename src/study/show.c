/* `saelab study show` and `saelab study plot`. */
#include "study/results.h"

#include <stdio.h>
#include <string.h>

static sl_status show_run(sl_ctx *ctx, const char *study_dir, const char *name, void (*put)(void *, const char *), void *user, sl_err *err)
{
    char line[512];
    for (int profile = 0; sl_profiles[profile]; profile++) {
        sl_plan p;
        SL_TRY(sl_plan_load(ctx, study_dir, name, profile, &p, err));
        if (profile == 0) {
            snprintf(line, sizeof line, "%s: %s", name, p.run.what);
            put(user, line);
        }
        snprintf(line, sizeof line, "  %-5s  %s, model %s x %lld seed%s, %lld SAE seed%s, %lld training and %lld held-out tokens at %s",
                 sl_profiles[profile], p.run.dataset, p.lm.preset, (long long)p.lm.seeds, p.lm.seeds == 1 ? "" : "s", (long long)p.run.seeds,
                 p.run.seeds == 1 ? "" : "s", (long long)p.acts.train_tokens, (long long)p.acts.eval_tokens, p.acts.hook);
        put(user, line);
        for (int a = 0; a < p.n_arms; a++) {
            const sl_sae_train_config *t = &p.arm[a].train;
            snprintf(line, sizeof line, "         %-12s %s, d_sae %lld, %lld steps of %lld, lr %g", p.arm[a].name, p.arm[a].variant->name,
                     (long long)t->d_sae, (long long)t->steps, (long long)t->batch, t->lr);
            put(user, line);
        }
        sl_plan_release(&p);
    }
    return SL_OK;
}

sl_status sl_study_show(sl_ctx *ctx, const char *study_dir, void (*put)(void *, const char *), void *user, sl_err *err)
{
    char names[512], *save = NULL;
    SL_TRY(sl_plan_names(ctx, study_dir, names, sizeof names, err));
    for (char *name = strtok_r(names, ", ", &save); name; name = strtok_r(NULL, ", ", &save))
        SL_TRY(show_run(ctx, study_dir, name, put, user, err));
    return SL_OK;
}

sl_status sl_study_plot(sl_ctx *ctx, const char *study_dir, int n_runs, const char *const *runs, sl_err *err)
{
    char names[512], path[SL_PATH], *save = NULL;
    int drawn = 0;
    for (int i = 0; i < n_runs; i++) {
        if (!sl_path_is_dir(runs[i]))
            return sl_fail(err, SL_MISSING, runs[i], "the folder of a finished run", "there is no such folder");
        SL_TRY(sl_draw_run(ctx, runs[i], err));
        sl_log(ctx, SL_LOG_INFO, "drawn: %s/plots, %s/report.html", runs[i], runs[i]);
    }
    if (n_runs > 0)
        return SL_OK;
    SL_TRY(sl_plan_names(ctx, study_dir, names, sizeof names, err));
    for (char *name = strtok_r(names, ", ", &save); name; name = strtok_r(NULL, ", ", &save)) {
        if (!sl_path_is_dir(name)) /* runs lie in the caller's folder, or beside the plan */
            SL_TRY(sl_path_join(path, sizeof path, study_dir, name, err));
        else
            snprintf(path, sizeof path, "%s", name);
        if (!sl_path_is_dir(path))
            continue;
        SL_TRY(sl_draw_run(ctx, path, err));
        sl_log(ctx, SL_LOG_INFO, "drawn: %s/plots, %s/report.html", path, path);
        drawn++;
    }
    return drawn ? SL_OK : sl_fail(err, SL_MISSING, study_dir, "a finished run: --out_dir of an earlier `study run`", "no run of the plan is here to draw");
}
