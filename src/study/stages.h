/* The stages of a run: language model, activations, and on each data set each SAE (or baseline) and its evaluation. */
#ifndef SL_STUDY_STAGES_H
#define SL_STUDY_STAGES_H

#include "study/bank.h"
#include "study/cache.h"
#include "study/plan.h"

/* A data set in use. */
typedef struct sl_ground {
    const sl_plan_set *set;
    char name[64];           /* of the text or world really used: the key in the result files */
    bool used;               /* an arm is on it */
    sl_artifact train, heldout; /* activations of the text; with folds both are of the held-out text, train in random order */
    sl_artifact check;       /* activations of the held-out text after those, for early stopping; key "": no arm of the text stops early */
    sl_world *world;
    sl_artifact task;        /* transformer of a task */
    sl_lm *task_lm;
    sl_bank *bank;           /* of its rows of training, for fits that come after another on the same ones; NULL: none. The owner's */
    char key[65];            /* of what its rows are a function of: world, and transformer of a task */
} sl_ground;

/* One trained SAE, or fitted baseline, and its evaluation. */
typedef struct sl_trained {
    const sl_arm *arm;
    int i_arm, i_set;
    int64_t replicate;       /* of the arm on the data set: fold * seeds + seed */
    int64_t seed, fold;
    int64_t steps;           /* that the SAE is trained; with early stopping or how.steps_of known only once this or that arm is trained */
    sl_artifact rows;        /* activations that it alone trains on, of changed tokens; key "": those of the ground */
    sl_artifact sae, eval;
    sl_status failed;        /* SL_OK, or why this arm and seed has no result; the others go on */
    char failure[512];
} sl_trained;

typedef struct sl_run {
    sl_ctx *ctx;
    const sl_plan *plan;
    sl_cache *cache;
    sl_text text;
    sl_corpus corpus;        /* made when first needed */
    bool has_corpus;
    sl_artifact *lm;         /* [plan->lm.seeds] */
    sl_ground *ground;       /* [plan->n_sets] */
    sl_trained *trained;     /* [n_trained], by data set, arm, replicate */
    int n_trained;
    sl_artifact *agreement;  /* [plan->n_cells] between the replicates of a cell; key "" where there are fewer than two */
} sl_run;
/* The first replicate of a cell, and how many there are. */
sl_trained *sl_run_replicates(const sl_run *r, int arm, int set, int64_t *n);

/* Runs all stages in order; a failed SAE is recorded, a failed language model ends the run. */
sl_status sl_run_stages(sl_run *r, sl_err *err) SL_USE_RESULT;
void sl_run_release(sl_run *r);

/* ---- what the stages share ---- */

typedef struct sl_job { sl_run *r; sl_ground *g; sl_trained *t; int64_t seed; bool heldout, check; } sl_job; /* argument of a stage; what it needs is set */

/* The tokenised text in r->corpus, made when it is not there yet. */
sl_status sl_run_corpus(sl_run *r, sl_err *err) SL_USE_RESULT;
/* Documents of the training part, or of the held-out part, that no language-model window crossed into. */
void sl_run_documents(const sl_corpus *c, bool heldout, int64_t *first, int64_t *end);
/* Documents of a fold of the held-out part. */
void sl_run_fold(const sl_run *r, int64_t fold, int64_t *first, int64_t *end);
sl_status sl_run_load_lm(sl_run *r, sl_lm **lm, sl_err *err) SL_USE_RESULT;
/* DIR/NAME; takes result, NULL of which is SL_MEM. */
sl_status sl_run_save(sl_ctx *ctx, const char *dir, const char *name, json_t *result, sl_err *err) SL_USE_RESULT;
/* Runs a stage of these fields (taken; NULL is SL_MEM); inputs as of sl_stage. */
sl_status sl_run_stage(sl_run *r, const char *name, int revision, json_t *fields, const char *const input[4],
                       sl_status (*run)(void *, const char *, sl_err *), sl_job *job, sl_artifact *out, sl_err *err) SL_USE_RESULT;

/* ---- grounds.c: data sets ---- */

/* Activations of the text that a model makes of changed tokens, for an arm with site token. */
sl_status sl_ground_changed_tokens(sl_run *r, sl_trained *t, sl_err *err) SL_USE_RESULT;
/* Builds the world, trains the transformer of a task, captures the activations of the text. */
sl_status sl_ground_make(sl_run *r, sl_ground *g, sl_err *err) SL_USE_RESULT;
void sl_ground_release(sl_ground *g);
/* Keys of what its rows of training and of evaluation depend on. */
const char *sl_ground_key(const sl_ground *g, bool heldout);
/* SL_ROWS_CHECK: neither trained on nor measured on, for early stopping. */
enum { SL_ROWS_TRAIN, SL_ROWS_TEST, SL_ROWS_OOD, SL_ROWS_CHECK };
/* A source of its rows for a replicate. Those of training begin elsewhere for every seed, so that a seed is an order of the data too. */
sl_status sl_ground_open(sl_run *r, const sl_ground *g, int rows, const sl_trained *t, sl_act_source **out, sl_err *err) SL_USE_RESULT;
/* Rows of a source of documents in memory: those of documents [first, end), or (outside) the others. Takes `of`, on failure too. SL_DATA: none. */
sl_status sl_rows_of_documents(sl_ctx *ctx, sl_act_source *of, int64_t first, int64_t end, bool outside, sl_act_source **out, sl_err *err) SL_USE_RESULT;
int64_t sl_ground_eval_rows(const sl_run *r, const sl_ground *g);

/* ---- fits.c, judge.c, agreement.c ---- */

sl_status sl_fit_stage(sl_run *r, sl_trained *t, sl_err *err) SL_USE_RESULT;
sl_status sl_judge_stage(sl_run *r, sl_trained *t, sl_err *err) SL_USE_RESULT;
/* judge_compose.c: does it compose? Metrics, and composition.json in dir. sae NULL: a baseline. */
sl_status sl_judge_composition(sl_run *r, const sl_ground *g, const sl_trained *t, sl_sae *sae, const sl_coder *coder, const char *dir, sl_metrics *m, sl_err *err) SL_USE_RESULT;
/* {metric: {value, n, floor, interval, control} or {value: null, reason}} */
json_t *sl_judge_json(const sl_metrics *m);
/* Agreement between the replicates of a cell (science.md B8); nothing where fewer than two are there. */
sl_status sl_agreement_stage(sl_run *r, int cell, sl_artifact *out, sl_err *err) SL_USE_RESULT;

#endif
