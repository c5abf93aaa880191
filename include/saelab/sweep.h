/* Many SAEs in one pass over their activations. Every one ends with the bits that it would have trained alone (sl_sae_train is the pass with one):
 * rows are read once for all SAEs of a source, and normalised once for those that normalise alike; the SAEs take turns at the batch. */
#ifndef SAELAB_SWEEP_H
#define SAELAB_SWEEP_H

#include <saelab/perturb.h>

typedef struct sl_sweep_run {
    /* set by the caller */
    sl_sae *sae;                        /* new, as sl_sae_train wants it */
    sl_act_source *acts;                /* several runs may name the same one; it is then read once for all of them */
    const sl_sae_train_config *train;
    const char *dir;                    /* as sl_sae_train's; NULL: nothing is written */
    const sl_perturb_config *perturb;   /* as sl_sae_train_perturbed's; NULL: none */
    sl_act_source *held_out;            /* for perturb->early_stop: rows that no step sees, read from where it stands; NULL: none */
    /* filled */
    sl_perturb_result perturbed;        /* where it is not NULL and wanted; sl_perturb_result_release */
    sl_status status;                   /* SL_OK, or what stopped this one */
    sl_err err;                         /* why */
    sl_sae_result result;               /* seconds and wait_share are the whole pass's; curve: sl_free, also after a failure */
} sl_sweep_run;

/* Trains all. A run that fails by itself (SL_NUMERIC: a learning rate too high) leaves the others going on, and its reason in `err`; what concerns
 * all of them, or a sweep of one, is returned: errors as sl_sae_train's, and SL_ARG: no runs, runs on one source with batches of different
 * sizes, or of different contexts. Stopped, every SAE has a checkpoint, from which the same call goes on, also where a kill left them at different steps:
 * those ahead wait for the others. SL_CANCELLED: every unfinished run then has this status. */
sl_status sl_sae_train_many(sl_sweep_run *runs, int n, sl_err *err) SL_USE_RESULT;

#endif
