/* `saelab study plot`: the plots and pages of finished runs again, and the page of the study. */
#include "study/results.h"

#include <saelab/report.h>

#include <stdio.h>
#include <string.h>

enum { RUNS = 64 };

typedef struct drawn {
    sl_ctx *ctx;
    const char *study_dir;
    sl_page_run run[RUNS];
    const char *first;       /* folder of the first run that is there */
    int n, n_there;
} drawn;

/* ---- which runs ---- */

/* The last name in a path, as text that lives as long as the context. */
static const char *last_name(sl_ctx *ctx, const char *path)
{
    char name[256];
    size_t end = strlen(path), from;
    while (end > 1 && path[end - 1] == '/')
        end--;
    for (from = end; from > 0 && path[from - 1] != '/'; from--)
        ;
    snprintf(name, sizeof name, "%.*s", (int)(end - from), path + from);
    return sl_intern(ctx, name);
}

static sl_status add(drawn *d, const char *name, const char *what, const char *dir, sl_err *err)
{
    if (d->n == RUNS)
        return sl_fail(err, SL_ARG, d->study_dir, NULL, "more than %d runs", RUNS);
    if (!name || !what)
        return sl_fail(err, SL_MEM, d->study_dir, NULL, "no memory for the names of runs");
    d->run[d->n++] = (sl_page_run){ name, what, dir };
    d->n_there += dir != NULL;
    if (dir && !d->first)
        d->first = dir;
    return SL_OK;
}

static sl_status add_named(drawn *d, const char *dir, sl_err *err)
{
    sl_plan p;
    const char *name = last_name(d->ctx, dir), *what = "";
    if (!sl_path_is_dir(dir))
        return sl_fail(err, SL_MISSING, dir, "the folder of a finished run", "there is no such folder");
    if (name && sl_plan_load(d->ctx, d->study_dir, name, SL_PROFILE_QUICK, &p, NULL) == SL_OK) {
        what = sl_intern(d->ctx, p.run.what);
        sl_plan_release(&p);
    }
    return add(d, name, what, dir, err);
}

/* Every run of the plan, whether it is there or not: in the caller's folder, or beside the plan. */
static sl_status add_planned(drawn *d, sl_err *err)
{
    char names[512], path[SL_PATH], *save = NULL;
    SL_TRY(sl_plan_names(d->ctx, d->study_dir, names, sizeof names, err));
    for (char *name = strtok_r(names, ", ", &save); name; name = strtok_r(NULL, ", ", &save)) {
        sl_plan p;
        SL_TRY(sl_plan_load(d->ctx, d->study_dir, name, SL_PROFILE_QUICK, &p, err));
        const char *what = sl_intern(d->ctx, p.run.what);
        sl_plan_release(&p);
        if (sl_path_is_dir(name))
            snprintf(path, sizeof path, "%s", name);
        else
            SL_TRY(sl_path_join(path, sizeof path, d->study_dir, name, err));
        SL_TRY(add(d, sl_intern(d->ctx, name), what, sl_path_is_dir(path) ? sl_intern(d->ctx, path) : NULL, err));
    }
    return d->n_there ? SL_OK : sl_fail(err, SL_MISSING, d->study_dir, "a finished run: --out_dir of an earlier `study run`", "no run of the plan is here to draw");
}

/* ---- the page of the study ---- */

/* The folder that a run lies in: "." for "run_0". */
static void folder_of(const char *run, char out[SL_PATH])
{
    size_t n = strlen(run);
    while (n > 1 && run[n - 1] == '/')
        n--;
    while (n > 0 && run[n - 1] != '/')
        n--;
    snprintf(out, SL_PATH, "%.*s", n ? (int)n : 1, n ? run : ".");
}

static bool has_confirm(const char *dir, char out[SL_PATH])
{
    char path[SL_PATH];
    return sl_path_join(out, SL_PATH, dir, "confirm", NULL) == SL_OK && sl_path_join(path, sizeof path, out, "confirm.json", NULL) == SL_OK && sl_path_exists(path);
}

static sl_status study_page(const drawn *d, const char *path, sl_err *err)
{
    char dir[SL_PATH], confirm[SL_PATH], plan_path[SL_PATH], names[512], *save = NULL;
    sl_plan plan;
    SL_TRY(sl_plan_names(d->ctx, d->study_dir, names, sizeof names, err));
    SL_TRY(sl_plan_load(d->ctx, d->study_dir, strtok_r(names, ", ", &save), SL_PROFILE_QUICK, &plan, err));
    sl_study_page page = { .study = plan.study, .question = plan.question, .run = d->run, .n_runs = d->n, .plan = plan_path };
    folder_of(d->first, dir);
    sl_status st = sl_path_join(plan_path, sizeof plan_path, d->study_dir, "experiment.yaml", err);
    if (has_confirm(dir, confirm) || has_confirm(d->study_dir, confirm))
        page.confirm = confirm;
    if (st == SL_OK)
        st = sl_report_study(d->ctx, &page, path, err);
    sl_plan_release(&plan);
    return st;
}

sl_status sl_study_plot(sl_ctx *ctx, const char *study_dir, int n_runs, const char *const *runs, const char *page, char *shown, sl_err *err)
{
    drawn d = { .ctx = ctx, .study_dir = study_dir };
    char dir[SL_PATH], path[SL_PATH];
    if (shown)
        *shown = 0;
    for (int i = 0; i < n_runs; i++)
        SL_TRY(add_named(&d, runs[i], err));
    if (n_runs == 0)
        SL_TRY(add_planned(&d, err));
    for (int i = 0; i < d.n; i++) {
        if (!d.run[i].dir)
            continue;
        SL_TRY(sl_draw_run(ctx, d.run[i].dir, err));
        sl_log(ctx, SL_LOG_INFO, "drawn: %s/plots, %s/report.html", d.run[i].dir, d.run[i].dir);
    }
    if (n_runs == 1 && !page)
        return SL_OK;
    folder_of(d.first, dir);
    SL_TRY(sl_path_join(path, sizeof path, dir, "report.html", err));
    SL_TRY(study_page(&d, page ? page : path, err));
    if (shown)
        snprintf(shown, 1024, "%.1023s", page ? page : path);
    return SL_OK;
}
