/* `saelab study show`. */
#include "study/results.h"

#include <stdio.h>
#include <string.h>

/* ---- the table run x data set x arms x seeds x samples ---- */

static const char HEAD[] = "run       data set           seeds  samples an arm          measured on  arms";

/* "614,400" */
static const char *with_commas(int64_t v, char out[32])
{
    char digits[24];
    int n = snprintf(digits, sizeof digits, "%lld", (long long)v), k = 0;
    for (int i = 0; i < n; i++) {
        if (i > 0 && (n - i) % 3 == 0)
            out[k++] = ',';
        out[k++] = digits[i];
    }
    out[k] = 0;
    return out;
}

static int64_t samples_of(const sl_arm *a) { return a->variant ? a->train.steps * a->train.batch : a->how.rows; }

/* One line: arms in the order of the plan, and the least and the most samples that one of them sees. */
static void show_set(const sl_plan *p, int set, void (*put)(void *, const char *), void *user)
{
    char line[1024], a[32], b[32], range[72], arms[700] = "";
    int64_t least = INT64_MAX, most = 0, seeds = 0;
    for (int i = 0; i < p->n_arms; i++) {
        const sl_arm *arm = sl_plan_cell(p, i, set);
        if (!arm)
            continue;
        int64_t n = samples_of(arm);
        least = n < least ? n : least;
        most = n > most ? n : most;
        seeds = sl_plan_replicates(p, arm, set) > seeds ? sl_plan_replicates(p, arm, set) : seeds;
        if (arm->sweep && i > 0 && p->arm_of[i - 1] == p->arm_of[i])
            continue; /* a grid stands for its arms, behind the number of them */
        int of_grid = 1;
        while (arm->sweep && i + of_grid < p->n_arms && p->arm_of[i + of_grid] == p->arm_of[i])
            of_grid++;
        snprintf(arms + strlen(arms), sizeof arms - strlen(arms), arm->sweep ? "%s%s (%d)" : "%s%s", arms[0] ? ", " : "", arm->sweep ? arm->sweep : arm->name, of_grid);
    }
    if (most == 0)
        return;
    snprintf(range, sizeof range, "%s%s%s", with_commas(least, a), least < most ? " to " : "", least < most ? with_commas(most, b) : "");
    int64_t rows = p->set[set].world ? p->set[set].size.eval_rows : p->acts.eval_tokens;
    snprintf(line, sizeof line, "%-9s %-18s %5lld  %-22s  %11s  %s", p->run_name, set ? p->set[set].name : p->run.dataset, (long long)seeds, range,
             with_commas(rows, a), arms);
    put(user, line);
}

static sl_status show_profile(sl_ctx *ctx, const char *study_dir, int profile, void (*put)(void *, const char *), void *user, sl_err *err)
{
    char names[512], line[64], *save = NULL;
    SL_TRY(sl_plan_names(ctx, study_dir, names, sizeof names, err));
    snprintf(line, sizeof line, "profile %s", sl_profiles[profile]);
    put(user, line);
    put(user, HEAD);
    for (char *name = strtok_r(names, ", ", &save); name; name = strtok_r(NULL, ", ", &save)) {
        sl_plan p;
        SL_TRY(sl_plan_load(ctx, study_dir, name, profile, &p, err));
        for (int s = 0; s < p.n_sets; s++)
            show_set(&p, s, put, user);
        sl_plan_release(&p);
    }
    put(user, "");
    return SL_OK;
}

/* Every run in every profile, before a line is shown. */
static sl_status check_plan(sl_ctx *ctx, const char *study_dir, sl_err *err)
{
    char names[512], *save = NULL;
    for (int profile = 0; sl_profiles[profile]; profile++) {
        SL_TRY(sl_plan_names(ctx, study_dir, names, sizeof names, err));
        for (char *name = strtok_r(names, ", ", &save); name; name = strtok_r(NULL, ", ", &save)) {
            sl_plan p;
            SL_TRY(sl_plan_load(ctx, study_dir, name, profile, &p, err));
            sl_plan_release(&p);
        }
    }
    return SL_OK;
}

sl_status sl_study_show(sl_ctx *ctx, const char *study_dir, void (*put)(void *, const char *), void *user, sl_err *err)
{
    char names[512], line[512], *save = NULL;
    SL_TRY(check_plan(ctx, study_dir, err));
    SL_TRY(sl_plan_names(ctx, study_dir, names, sizeof names, err));
    for (int profile = 0; sl_profiles[profile]; profile++)
        SL_TRY(show_profile(ctx, study_dir, profile, put, user, err));
    for (char *name = strtok_r(names, ", ", &save); name; name = strtok_r(NULL, ", ", &save)) {
        sl_plan p;
        SL_TRY(sl_plan_load(ctx, study_dir, name, SL_PROFILE_QUICK, &p, err));
        snprintf(line, sizeof line, "%s: %s", name, p.run.what);
        put(user, line);
        sl_plan_release(&p);
    }
    return SL_OK;
}
