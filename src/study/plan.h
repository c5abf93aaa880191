/* The plan: experiment.yaml, one section per run, resolved for one run and profile.
 *
 *   run_1:
 *     what, dataset, seeds             the fields of sl_plan_run; dataset is the text
 *     lm:     {preset, seeds, ...}     the language model, one for all runs that say the same
 *     acts:   {hook, train_tokens...}  its activations: the data set "text"
 *     worlds: {NAME: {like, world, samples, eval_rows, OPTIONS OF THE WORLD, every_arm: {...}, arms: {ARM: {...}}}}
 *     arms:   {NAME: {variant or baseline, on: [text, NAME...], options...}}
 *     smoke, full: {seeds, lm, acts, worlds, every_world, every_arm, arms}   what differs from quick
 *
 * sweep: [{OPTION OF perturb: [values]}...] in an arm makes a grid of arms of it (plan_sweep.c).
 * Every arm meets every data set unless `on` says which. Later ones win: the arm, the data set's every_arm, its arms.NAME, then the
 * same three of the profile. `like: NAME` begins with all of a data set before it, its options too where it is the same world.
 * every_arm sets the options that an arm has; one that no arm has is an error. */
#ifndef SL_STUDY_PLAN_H
#define SL_STUDY_PLAN_H

#include <saelab/baseline.h>
#include <saelab/eval.h>
#include <saelab/perturb.h>
#include <saelab/stability.h>
#include <saelab/study.h>
#include <saelab/task.h>
#include <saelab/world.h>

#include <jansson.h>

enum { SL_PROFILE_QUICK, SL_PROFILE_FULL, SL_PROFILE_SMOKE };
extern const char *const sl_profiles[]; /* "quick", "full", "smoke", NULL */

typedef struct sl_plan_run {
    const char *what;
    const char *dataset;
    int64_t seeds;           /* SAE seeds: 0 .. seeds-1 */
    int64_t folds;           /* of the held-out text, each measured on by SAEs trained on the others; 1: no cross-validation */
    const char *stability;   /* kinds of noise to draw robustness curves of ("gauss,inject", "all"); "none": only the plain scores; NULL: not measured */
    bool composition;        /* measured: does an SAE compose? */
    const char *reference;   /* arm that the gain of the others is taken from; NULL: no gains */
} sl_plan_run;

typedef struct sl_plan_lm { const char *preset; int64_t seeds; } sl_plan_lm;

typedef struct sl_plan_acts {
    const char *hook;
    int64_t train_tokens, eval_tokens, splice_tokens;
} sl_plan_acts;

typedef struct sl_plan_world { /* option table sl_plan_world_opts */
    int64_t samples;         /* training rows of an SAE: steps = samples / batch; 0: the arm's steps */
    int64_t eval_rows;
    int64_t world_seed;
} sl_plan_world;

/* A data set: the text's activations (world NULL), or a world. */
typedef struct sl_plan_set {
    char name[48];           /* "text", or the key in the plan */
    const sl_world_info *world;
    sl_plan_world size;
    sl_task_train_config task; /* of the transformer of a task */
    void *wopts;             /* the world's own options */
    int like;                /* data set that it is a copy of, with changes; 0: none */
} sl_plan_set;

typedef struct sl_arm_how { /* option table sl_arm_opts */
    int64_t rows;            /* baselines: rows to fit on */
    double budget;           /* factor on the steps, for comparisons at equal compute */
    int64_t seeds;           /* fewer than the run's; 0: as many */
    const char *of;          /* confirmations: the family that it is a setting of; NULL: its own name */
    double ratio;            /* confirmations: compute of one of its steps, a plain step being 1 */
    double at;               /* confirmations: its steps in units of the treatment's; 0: at equal compute, by ratio */
    int64_t samples;         /* training rows on a world, in place of the world's own number; 0: that */
    const char *steps_of;    /* an arm before this one: as many steps as that one really ran with the same seed, times budget; NULL: its own */
    const char *size_of;     /* topk: an arm of the run; d_sae is what gives as many trained numbers as that one has on the same data (sl_sae_topk_width); NULL: its own */
} sl_arm_how;

/* One arm on one data set: a named configuration of an SAE or of a baseline. */
typedef struct sl_arm {
    char name[48];
    const char *sweep;                 /* the arm whose grid it is a point of: in results.jsonl and the heat maps, not among the arms; NULL: none */
    sl_arm_how how;
    sl_sae_train_config train;         /* of an SAE */
    sl_perturb_config perturb;         /* its perturbation layer, under `perturb` */
    const sl_variant_info *variant;    /* NULL: a baseline */
    const sl_baseline_info *baseline;  /* NULL: an SAE */
    void *own;                         /* the option struct of the variant or the baseline */
    const struct sl_arm *as_large_as;  /* what size_of names, on the same data; NULL: nothing */
} sl_arm;

typedef struct sl_cell { int arm, set; sl_arm is; } sl_cell; /* one arm on one data set */

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
    sl_plan_set *set;              /* [n_sets]; set[0] is the text */
    int n_sets;
    const char **arm;              /* [n_arms] names */
    int *arm_of, *arm_at;          /* [n_arms] place under `arms`; combination of its `sweep`, -1: it has none */
    int n_arms;
    sl_cell *cell;                 /* [n_cells], by data set, then by arm */
    int n_cells;
} sl_plan;

extern const sl_opt sl_plan_lm_opts[], sl_plan_acts_opts[], sl_plan_world_opts[], sl_arm_opts[];

/* Reads STUDY_DIR/experiment.yaml and resolves `run_name` for `profile`. SL_MISSING (no file), SL_CONFIG (file:line:column),
 * SL_ARG (no such run: the names there are). */
sl_status sl_plan_load(sl_ctx *ctx, const char *study_dir, const char *run_name, int profile, sl_plan *out, sl_err *err) SL_USE_RESULT;
/* The same from text; `name` opens the error lines. */
sl_status sl_plan_parse(sl_ctx *ctx, const char *name, const char *text, const char *run_name, int profile, sl_plan *out, sl_err *err) SL_USE_RESULT;
void sl_plan_release(sl_plan *p);
/* Everything resolved, for keys and config.yaml. */
json_t *sl_plan_json(const sl_plan *p);
json_t *sl_arm_json(const sl_arm *a);
json_t *sl_plan_set_json(const sl_plan_set *s);
/* The names of the runs of a plan file, joined by ", ". */
sl_status sl_plan_names(sl_ctx *ctx, const char *study_dir, char *out, size_t size, sl_err *err) SL_USE_RESULT;
/* The arm on the data set; NULL where it is not on it. */
const sl_arm *sl_plan_cell(const sl_plan *p, int arm, int set);
/* How often the arm is trained on the data set: seeds, times folds on the text. */
int64_t sl_plan_replicates(const sl_plan *p, const sl_arm *a, int set);

#endif
