/* Studies: the plan in experiment.yaml, the stages it expands to, the cache, and the contract of a run. */
#ifndef SAELAB_STUDY_H
#define SAELAB_STUDY_H

#include <saelab/opt.h>

typedef struct sl_run_config { /* option table sl_run_opts: the flags of `saelab study run` */
    const char *out_dir;       /* its basename names the run */
    int profile;               /* quick|full|smoke */
    bool no_cache;
    const char *dataset;       /* NULL: the plan's */
} sl_run_config;
extern const sl_opt sl_run_opts[];

/* Runs one run of the study in study_dir (holding experiment.yaml). Contract: docs/DESIGN.md "The contract of a run". */
sl_status sl_study_run(sl_ctx *ctx, const char *study_dir, const sl_run_config *c, sl_err *err) SL_USE_RESULT;
/* Draws the plots and pages of finished runs again; runs are folders, n_runs 0: all runs of the plan, in the working folder or beside the plan. Several runs, all
 * of them, or a `page`: then the page of the study too (sl_report_study), at `page`, NULL: report.html beside the first run, with the confirmation in confirm/ beside
 * the runs or the plan. shown [1024] gets its path, "" where none was written; NULL: not wanted. SL_MISSING: no such folder, no run to draw; SL_IO; SL_MEM. */
sl_status sl_study_plot(sl_ctx *ctx, const char *study_dir, int n_runs, const char *const *runs, const char *page, char *shown, sl_err *err) SL_USE_RESULT;
sl_status sl_study_show(sl_ctx *ctx, const char *study_dir, void (*put)(void *, const char *), void *user, sl_err *err) SL_USE_RESULT;

/* The confirmation of a study (section `confirm` of its plan; science.md G3): settings chosen on selection seeds, fresh seeds, a decision rule.
 * Fits run as many at a time as the context has threads; finished ones are found in the cache, so that a killed confirmation goes on. out_dir gets
 * confirm.json, results.jsonl, results.md, report.html. SL_MISSING: the plan has no such section. */
typedef struct sl_confirm_config { /* option table sl_confirm_opts */
    const char *out_dir;
    int profile;
    bool extended; /* the claim on the data sets of design.extended too, outside the rule */
} sl_confirm_config;
extern const sl_opt sl_confirm_opts[];
sl_status sl_study_confirm(sl_ctx *ctx, const char *study_dir, const sl_confirm_config *c, sl_err *err) SL_USE_RESULT;
/* A tiny model, an SAE and n features with their contexts, through `put`, line by line. */
sl_status sl_study_demo(sl_ctx *ctx, int n_features, void (*put)(void *, const char *), void *user, sl_err *err) SL_USE_RESULT;

/* ---- cache ---- */
typedef struct sl_cache_entry { char key[65], stage[48]; int64_t bytes; double seconds; int64_t used; /* unix time */ } sl_cache_entry;
sl_status sl_cache_list(sl_ctx *ctx, sl_cache_entry **out, int *n, sl_err *err) SL_USE_RESULT; /* sl_free */
sl_status sl_cache_prune(sl_ctx *ctx, int64_t keep_bytes, int64_t *freed, sl_err *err) SL_USE_RESULT;

#endif
