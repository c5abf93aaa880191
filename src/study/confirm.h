/* A confirmation (science.md G3): arms x seeds x generators, decided by a rule that was fixed before the seeds ran.
 *
 *   confirm:                          # in experiment.yaml; worlds, arms and smoke as in a run's section
 *     worlds: {toy_128: {...}, synth1k: {...}}
 *     arms: {gauss_1: {of: gauss, ratio: 1.4, variant: topk, perturb: {...}}, gauss_2: {of: gauss, ...}}     # settings of families
 *     design: {rule: purification, seeds: 12, screening: toy_128, retuning: synth1k, worlds: "synth1k,synth_hier"}
 *     slots: {base: {of: base}, treatment: {of: "gauss,inject"}, uniform: {like: treatment, perturb: {select: uniform}}}
 *
 * Settings are chosen on the selection seeds: screening keeps the best `finalists` families of a slot, retuning the best setting of those. A slot
 * is an arm of the confirmation. The steps of an arm are those of its world times `at`, or, at equal compute, times R / ratio, R the ratio of the
 * treatment: every comparator is given the compute that the treatment's steps cost. */
#ifndef SL_STUDY_CONFIRM_H
#define SL_STUDY_CONFIRM_H

#include "study/stages.h"

enum { CONFIRM_REVISION = 1 }; /* raised when the figures of an evaluation change */
enum { SL_RULE_PURIFICATION, SL_RULE_COMPOSITION };

typedef struct sl_design { /* option table sl_design_opts */
    int rule;                     /* purification|composition */
    int64_t seeds, first_seed;    /* fresh ones, first_seed .. first_seed + seeds - 1 */
    int64_t selection_seeds, first_selection;
    int64_t finalists;            /* families of a slot that screening leaves */
    const char *pilot;            /* data set of the calibration arms (of: pilot), NULL: none; seeds 0 .. seeds - 1 */
    const char *screening, *retuning; /* data sets, NULL: no such stage */
    const char *worlds;           /* data sets of the confirmation, commas between them */
    const char *once;             /* data sets shown beside it for one seed, outside the rule; NULL: none */
    const char *extended;         /* data sets on which the claim's own slots are shown for every seed, outside the rule (--extended); NULL: none */
    const char *select;           /* the metric that settings are chosen by */
    const char *treatment;        /* slot that the claim is about; slots and data sets by their part in the rule: */
    const char *comparators;      /* slots that it has to beat, commas between them */
    const char *base;             /* purification: the plain SAE at equal compute; it is the first comparator */
    const char *base_1, *base_2;  /* the same with 1.0 and 2.0 times the treatment's steps */
    const char *targeted, *uniform; /* injection of chosen latents, and of any */
    const char *matched, *shuffle;/* composition: TopK with as many parameters; partners shuffled */
    const char *noise;            /* kinds of noise of the robustness curves; "": none */
    int64_t stability_rows;       /* rows of those */
} sl_design;
extern const sl_opt sl_design_opts[];

/* ---- the plan ---- */

typedef struct sl_slot {
    char name[48];
    const char *of, *like, *perturb_like; /* families; a slot whose arm is copied; a slot whose perturbation it gets */
    double at;                    /* as of an arm; negative: its arm's own */
    sl_ynode perturb;             /* changes of the copy */
    int arm;                      /* index of the chosen setting, -1: none yet */
    double eps;                   /* of a norm-matched perturbation, once it is known; negative: the arm's own */
} sl_slot;

typedef struct sl_confirm {
    sl_ctx *ctx;
    sl_plan plan;
    sl_yaml *doc;
    sl_design d;
    sl_slot *slot;                /* [n_slots] */
    int n_slots;
    sl_cache cache;
    const char *dir;              /* where results go */
    struct sl_fit *fit;           /* [n_fits] of all stages, in the order of running */
    int n_fits, room;
    double done, total;           /* plain steps finished, and of the whole plan: the progress bar */
} sl_confirm;

/* Reads `confirm` of STUDY_DIR/experiment.yaml. SL_MISSING: the plan has no such section; SL_CONFIG. Release it after a failure too. */
sl_status sl_confirm_load(sl_ctx *ctx, const char *study_dir, int profile, sl_confirm *out, sl_err *err) SL_USE_RESULT;
void sl_confirm_release(sl_confirm *c); /* c zeroed, or loaded */
const char *sl_arm_family(const sl_arm *a);
/* Is `name` in a list with commas? */
bool sl_listed(const char *list, const char *name);
bool sl_confirm_in_claim(const sl_confirm *c, const char *slot); /* the treatment, what it has to beat, what the rule sets beside it */
int sl_confirm_set(const sl_confirm *c, const char *name); /* index of a data set, -1: none */

/* ---- choices (confirm_choose.c) ---- */

const sl_arm *sl_confirm_arm(const sl_confirm *c, int arm); /* as it is on its first data set; NULL: on none */
/* Is a family in a slot at all; is it one of the best `finalists` of a slot in screening? */
bool sl_confirm_is_used(const sl_confirm *c, const char *family);
bool sl_confirm_is_finalist(const sl_confirm *c, const char *family);
/* Every slot gets its arm. SL_DATA: a slot of which no setting has a value. */
sl_status sl_confirm_choose(sl_confirm *c, sl_err *err) SL_USE_RESULT;
double sl_confirm_ratio(const sl_confirm *c); /* R */
/* An arm, or a slot, on a data set, with the steps that it gets. */
sl_status sl_confirm_arm_on(const sl_confirm *c, int arm, int set, sl_arm *out, sl_err *err) SL_USE_RESULT;
sl_status sl_confirm_slot_on(const sl_confirm *c, const struct sl_slot *s, int set, sl_arm *out, sl_err *err) SL_USE_RESULT;

/* ---- one fit ---- */

enum { SL_PHASE_PILOT, SL_PHASE_SCREENING, SL_PHASE_RETUNING, SL_PHASE_CONFIRMATION, SL_PHASE_ONCE, SL_PHASE_EXTENDED };
extern const char *const sl_phases[];

typedef struct sl_fit {
    int phase, set;
    int arm;                      /* index of the arm, or of the slot in the confirmation and after it */
    char name[48];                /* of the arm or slot */
    sl_arm is;                    /* with its steps; borrows the plan's options */
    int64_t seed;
    double weight;                /* its cost in plain steps */
    sl_trained t;                 /* artifacts, failure */
    json_t *result;               /* {metrics: {NAME: {value, ...}}, absorb: [...], achieved: x}; NULL: failed */
} sl_fit;

/* Runs fits [first, first + n), several at a time, one thread each; a numeric failure is kept in the fit, any other ends it all. */
sl_status sl_confirm_fits(sl_confirm *c, int first, int n, sl_err *err) SL_USE_RESULT;
/* A worker's own world, kept while its fits are of one data set and seed. Start from { 0 }. */
typedef struct sl_confirm_ground { sl_ground ground; sl_plan_set set; int index; int64_t seed; } sl_confirm_ground;
void sl_confirm_ground_release(sl_confirm_ground *k);
/* Trains and evaluates one with the context of its worker. */
sl_status sl_confirm_fit(sl_ctx *ctx, const sl_confirm *c, sl_cache *cache, sl_confirm_ground *kept, sl_fit *f, sl_err *err) SL_USE_RESULT;
/* The evaluation of a fit: result.json in dir. r has one data set, fit->t.i_set 0 of it. */
sl_status sl_confirm_judge(sl_run *r, const sl_confirm *c, sl_fit *f, sl_err *err) SL_USE_RESULT;
const char *sl_confirm_noise(const sl_confirm *c, const sl_fit *f); /* kinds of noise that it is measured with; "" in the phases of choosing */
/* A metric of a fit; NaN when it failed or the metric is null. */
double sl_fit_metric(const sl_fit *f, const char *metric);
/* The fit of a phase, data set, slot and seed; NULL: none. */
const sl_fit *sl_fit_of(const sl_confirm *c, int phase, int set, int slot, int64_t seed);

/* ---- the table ---- */

typedef struct sl_table {
    int n_metrics, n_worlds, n_arms;
    int64_t n_seeds;
    const char *const *metric, *const *world, *const *arm;
    double *v;                    /* [n_metrics, n_worlds, n_arms, n_seeds]; NaN: failed, or not measured */
} sl_table;
/* [n_seeds] of a metric, world and arm; NULL: one of them is not in the table. */
double *sl_table_at(const sl_table *t, const char *metric, const char *world, const char *arm);
int sl_table_arm(const sl_table *t, const char *arm); /* -1: none */
/* a - b by seed, over the seeds that both have; n < 2: effect is all that is said, lo and hi are infinite. NaN effect: no seed. */
typedef struct sl_diff { int64_t n; double effect, lo, hi, p; } sl_diff;
sl_diff sl_table_diff(sl_ctx *ctx, const sl_table *t, const char *metric, const char *world, const char *a, const char *b);
/* The same of given values [n], NaN left out. */
sl_diff sl_diff_of(sl_ctx *ctx, const double *a, const double *b, int64_t n);
double sl_table_mean(const sl_table *t, const char *metric, const char *world, const char *arm); /* over the seeds there are; NaN: none */
int64_t sl_table_missing(const sl_table *t, const char *metric, const char *world, const char *arm); /* seeds without a value */

/* ---- decision rules: pure functions of a table ---- */

typedef enum sl_verdict { SL_SUPPORTED, SL_NOT_SUPPORTED, SL_INCONCLUSIVE, SL_COMPOSES, SL_DECODER_CAPACITY } sl_verdict;
extern const char *const sl_verdicts[]; /* "SUPPORTED", "NOT SUPPORTED", "INCONCLUSIVE", "COMPOSES", "decoder capacity, not composition" */

typedef struct sl_check {
    char what[80];                /* "F1_h above enc_l2" */
    char metric[64], world[48], a[48], b[48];
    sl_diff diff;
    double bound;                 /* what the rule asks of it */
    bool passed, below;           /* below: the interval lies wholly on the wrong side of 0 */
    bool complete;                /* every seed was there */
} sl_check;
enum { SL_CHECKS = 64 };
typedef struct sl_decision {
    sl_verdict verdict;
    char sentence[1024];
    sl_check check[SL_CHECKS];
    int n_checks;
} sl_decision;

/* science.md G3, purification. base: the slot that stands for the plain SAE at equal compute. */
typedef struct sl_purification_rule { const char *treatment, *base, *comparator[8]; int n_comparators; } sl_purification_rule;
void sl_decide_purification(sl_ctx *ctx, const sl_table *t, const sl_purification_rule *r, sl_decision *out);
/* "Targeting helps" only where targeted - uniform of F1_h is above 0 on every world; the sentence. */
void sl_decide_targeting(sl_ctx *ctx, const sl_table *t, const char *targeted, const char *uniform, sl_decision *out);
/* science.md G3, composition: worlds "null" (beta = 0) and "full" (beta = 1) */
typedef struct sl_composition_rule { const char *null_world, *full_world, *treatment, *shuffle, *matched, *comparator[8]; int n_comparators; } sl_composition_rule;
void sl_decide_composition(sl_ctx *ctx, const sl_table *t, const sl_composition_rule *r, sl_decision *out);

/* ---- what is left behind ---- */

/* confirm.json, results.jsonl, results.md, report.html, plots, in c->dir. */
sl_status sl_confirm_write(sl_confirm *c, sl_err *err) SL_USE_RESULT;

#endif
