/* The stages of a baseline run: language model, activations, each SAE, each evaluation. */
#ifndef SL_STUDY_STAGES_H
#define SL_STUDY_STAGES_H

#include "study/cache.h"
#include "study/plan.h"

/* One trained SAE and its evaluation. */
typedef struct sl_trained {
    const sl_arm *arm;
    int64_t seed;
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
    sl_artifact acts_train, acts_heldout;
    sl_trained *trained;     /* [n_trained], arm-major, seeds inside */
    int n_trained;
} sl_run;

/* Runs all stages in order; a failed SAE is recorded, a failed language model ends the run. */
sl_status sl_run_stages(sl_run *r, sl_err *err) SL_USE_RESULT;
/* The tokenised text in r->corpus, made when it is not there yet. */
sl_status sl_run_corpus(sl_run *r, sl_err *err) SL_USE_RESULT;
void sl_run_release(sl_run *r);

#endif
