/* The plan: experiment.yaml, one section per run, resolved for one run and profile. */
#ifndef SL_STUDY_PLAN_H
#define SL_STUDY_PLAN_H

#include <saelab/eval.h>
#include <saelab/study.h>

#include <jansson.h>

enum { SL_PROFILE_QUICK, SL_PROFILE_FULL, SL_PROFILE_SMOKE };
extern const char *const sl_profiles[]; /* "quick", "full", "smoke", NULL */

typedef struct sl_plan_run { /* option table sl_plan_run_opts */
    const char *what;
    const char *dataset;
    int64_t seeds;           /* SAE seeds: 0 .. seeds-1 */
} sl_plan_run;

typedef struct sl_plan_lm { const char *preset; int64_t seeds; } sl_plan_lm;

typedef struct sl_plan_acts {
    const char *hook;
    int64_t train_tokens, eval_tokens, splice_tokens;
} sl_plan_acts;

/* One arm: a named SAE configuration. */
typedef struct sl_arm {
    char name[48];
    sl_sae_train_config train;
    void *vopts;             /* the variant's own option struct */
    const sl_variant_info *variant;
} sl_arm;

typedef struct sl_plan {
    sl_ctx *ctx;
    const char *study, *question;
    char run_name[64];
    int profile;
    sl_plan_run run;
    sl_plan_lm lm;
    sl_lm_config lm_config;        /* of the preset, with the plan's changes */
    sl_lm_train_config lm_train;
    sl_tok_kind lm_tok;
    sl_plan_acts acts;
    sl_arm *arm;
    int n_arms;
} sl_plan;

extern const sl_opt sl_plan_run_opts[], sl_plan_lm_opts[], sl_plan_acts_opts[];

/* Reads STUDY_DIR/experiment.yaml and resolves `run_name` for `profile`. SL_MISSING (no file), SL_CONFIG (file:line:column),
 * SL_ARG (no such run: the names there are). */
sl_status sl_plan_load(sl_ctx *ctx, const char *study_dir, const char *run_name, int profile, sl_plan *out, sl_err *err) SL_USE_RESULT;
/* The same from text; `name` opens the error lines. */
sl_status sl_plan_parse(sl_ctx *ctx, const char *name, const char *text, const char *run_name, int profile, sl_plan *out, sl_err *err) SL_USE_RESULT;
void sl_plan_release(sl_plan *p);
/* Everything resolved, for keys and config.yaml. */
json_t *sl_plan_json(const sl_plan *p);
json_t *sl_arm_json(const sl_arm *a);
/* The names of the runs of a plan file, joined by ", ". */
sl_status sl_plan_names(sl_ctx *ctx, const char *study_dir, char *out, size_t size, sl_err *err) SL_USE_RESULT;

#endif
