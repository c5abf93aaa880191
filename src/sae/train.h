/* The trainer's inside: one struct, split over train.c (start, step, end), sweep.c (the loop), train_options.c, train_data.c (normalisation), train_dead.c,
 * train_keep.c (controls, running mean), train_state.c (checkpoints), perturb_train.c and perturb_stop.c (the perturbation layer). */
#ifndef SL_SAE_TRAIN_H
#define SL_SAE_TRAIN_H

#include "sae/perturb.h"

/* x_n = (x - mean) * scale of rows [n, d], into a buffer of the trainer's batch. */
typedef struct sl_sae_norm {
    int64_t d;
    float *mean;                /* [d], NULL: not subtracted */
    double scale;
    float *buffer;              /* [batch, d] */
} sl_sae_norm;

typedef struct sl_sae_trainer sl_sae_trainer;
struct sl_sae_trainer {
    sl_ctx *ctx;
    sl_sae *s;
    sl_act_source *src;
    const sl_sae_train_config *c;
    const char *dir;            /* NULL: nothing is written */
    sl_tape *tape;
    const sl_kern *k;
    sl_optim optim;
    sl_schedule sched;
    char key[65];               /* of everything that decides the weights; checkpoints carry it */

    int64_t batch;              /* rows a step: c->batch, or all rows of a smaller source */
    bool has_target;            /* rows have targets of their own, and the variant learns them */
    sl_sae_norm in, target;     /* target: only where has_target */
    sl_sae_trainer *like;       /* another training of the same rows and the same normalisation, whose buffers serve this one too; or NULL */
    int64_t rows_at;            /* buffers hold the batch after this many rows; -1: none */
    double d_bar;               /* mean |y|^2 of the targets about their mean, normalised */

    int64_t *since;             /* [d_sae] rows since each latent fired */
    uint8_t *fired, *alive;     /* [d_sae] in this batch; within the window */
    int64_t window, n_dead;
    sl_sae_seen seen;           /* of this batch */

    float *start_dec;           /* W_dec as it was first, where a control holds it there; else NULL */
    float *ema;                 /* running mean of all weights, one after the other; NULL: not wanted */

    sl_perturb *perturb;        /* NULL: none */
    const sl_perturb_config *pc; /* NULL: none */
    sl_perturb_point *trace;    /* [n_curve] beside curve; NULL: none */
    sl_param *own_enc;          /* tied_weights: s->W_enc's own, while s->W_enc is s->W_dec; else NULL */
    sl_act_source *held_out;    /* early_stop: rows that no step sees, from where it stands; NULL: none */
    struct sl_sae_stop *stop;   /* early_stop: what it looked at and the weights that it keeps; NULL: off */
    sl_perturb_point point;     /* of this step */
    int64_t steps;              /* that will be run: c->steps, or fewer once early stopping has decided */

    int64_t step, samples;      /* done */
    sl_sae_step *curve;
    int64_t n_curve, log_every;
    double before, start, wait; /* seconds of earlier runs; clock at start; seconds waited for activations, all runs */
};

double sl_clock(void);          /* seconds, monotonic */
double sl_sae_trainer_seconds(const sl_sae_trainer *t);

/* train.c: s, src, c and dir are set by the caller. Open makes first weights and state, or those of dir/checkpoints. */
sl_status sl_sae_trainer_open(sl_sae_trainer *t, sl_err *err) SL_USE_RESULT;
sl_status sl_sae_trainer_step(sl_sae_trainer *t, const sl_act_batch *b, sl_err *err) SL_USE_RESULT; /* b: the rows after t->samples */
sl_status sl_sae_trainer_finish(sl_sae_trainer *t, sl_err *err) SL_USE_RESULT; /* after the last step: the SAE is ready */
void sl_sae_trainer_result(sl_sae_trainer *t, sl_sae_result *out);  /* once; takes the curve */
sl_status sl_sae_trainer_report(sl_sae_trainer *t, sl_perturb_result *out) SL_USE_RESULT; /* only where t->perturb; once; takes its curve. SL_MEM */
void sl_sae_trainer_close(sl_sae_trainer *t);                       /* frees all but s */

/* train_options.c */
sl_status sl_sae_trainer_check(const sl_sae *s, const sl_act_source *acts, const sl_sae_train_config *c, sl_err *err) SL_USE_RESULT;
void sl_sae_trainer_plan(sl_sae_trainer *t);                        /* batch, window, optimizer, schedule */
sl_status sl_sae_trainer_first_weights(sl_sae_trainer *t, sl_err *err) SL_USE_RESULT; /* by recipe and options, but b_dec */
sl_bias_init sl_sae_trainer_bias(const sl_sae_trainer *t);

/* train_dead.c */
void sl_sae_trainer_see(sl_sae_trainer *t, sl_latents z, int64_t n); /* fills fired and seen */
void sl_sae_trainer_count_dead(sl_sae_trainer *t);                  /* fills alive and n_dead */
void sl_sae_trainer_age(sl_sae_trainer *t, int64_t n);              /* n rows later */
sl_status sl_sae_trainer_resample(sl_sae_trainer *t, const sl_sae_pass *p, sl_err *err) SL_USE_RESULT;

/* train_keep.c */
sl_status sl_sae_trainer_keep(sl_sae_trainer *t, sl_err *err) SL_USE_RESULT; /* before the first step */
void sl_sae_trainer_after_step(sl_sae_trainer *t);
sl_tensor sl_sae_trainer_ema_of(const sl_sae_trainer *t, int i);    /* of the i-th weight; only where t->ema */
void sl_sae_trainer_use_ema(sl_sae_trainer *t);                     /* at the end: the weights become their mean */

/* train_data.c: normalisation, d_bar and the first b_dec from the first rows; leaves the source at row 0. */
sl_status sl_sae_trainer_prepare_data(sl_sae_trainer *t, sl_err *err) SL_USE_RESULT;
/* The next batch of raw rows, waited for and checked; a non-finite one is saved and reported. */
sl_status sl_sae_trainer_next(sl_sae_trainer *t, int64_t n, sl_act_batch *out, sl_err *err) SL_USE_RESULT;
void sl_sae_trainer_normalize(sl_sae_trainer *t, const sl_act_batch *b, sl_tensor *x, sl_tensor *y); /* y: x again where there is no target */
void sl_sae_trainer_save_offender(sl_sae_trainer *t, const sl_act_batch *b); /* dir/nonfinite-step-N.npy, N steps done */
sl_status sl_sae_trainer_fold(sl_sae_trainer *t, sl_err *err) SL_USE_RESULT; /* the normalisation into the weights: the SAE takes raw rows from here on */

/* perturb_stop.c: early stopping */
enum { SL_STOP_KEEP = 4, SL_STOP_NUMBERS = 4 };
typedef struct sl_sae_stop {
    float *rows;                /* [n_rows, d_in] normalised, held out */
    int64_t n_rows, n_weights, n_state, room;
    double *check;              /* [room, SL_STOP_NUMBERS] step, fss, fvu, dead of every check, PT_CHECKS of them */
    double *kept;               /* [SL_STOP_KEEP, SL_STOP_NUMBERS] of the candidates; step 0: a free place */
    float *weights;             /* [SL_STOP_KEEP, n_weights] theirs */
    double *state;              /* [SL_STOP_KEEP, n_state] their variant's */
    int64_t chosen;             /* step of the one that became the SAE; 0: none */
} sl_sae_stop;
sl_status sl_sae_trainer_stop_new(sl_sae_trainer *t, sl_err *err) SL_USE_RESULT;       /* nothing where it is not wanted */
sl_status sl_sae_trainer_stop_data(sl_sae_trainer *t, sl_err *err) SL_USE_RESULT;      /* the held-out rows */
sl_status sl_sae_trainer_stop_check(sl_sae_trainer *t, sl_err *err) SL_USE_RESULT;     /* after a step */
void sl_sae_trainer_decay_from(sl_sae_trainer *t, int64_t step);                       /* the final decay begins at this step */
void sl_sae_trainer_stop_choose(sl_sae_trainer *t);                                    /* at the end: the best candidate's weights */
sl_status sl_sae_trainer_stop_report(sl_sae_trainer *t, sl_perturb_result *out) SL_USE_RESULT; /* its checks; SL_MEM */
void sl_sae_trainer_stop_free(sl_sae_trainer *t);

/* perturb_train.c; all but the last only where t->perturb */
sl_status sl_sae_trainer_perturb_new(sl_sae_trainer *t, sl_err *err) SL_USE_RESULT;    /* the layer, and tied weights */
sl_status sl_sae_trainer_perturb_data(sl_sae_trainer *t, sl_err *err) SL_USE_RESULT;   /* what it takes from the first rows; the source ends at row 0 */
sl_status sl_sae_trainer_noisy(sl_sae_trainer *t, const sl_tensor *rows, sl_var *x, sl_err *err) SL_USE_RESULT; /* mode denoise: x + delta */
sl_status sl_sae_trainer_perturb(sl_sae_trainer *t, const sl_sae_pass *p, const sl_sae_batch *b, sl_var *loss, sl_err *err) SL_USE_RESULT; /* adds its terms */
void sl_sae_trainer_untie(sl_sae_trainer *t);

/* train_state.c */
void sl_sae_trainer_make_key(sl_sae_trainer *t);
sl_status sl_sae_trainer_save(sl_sae_trainer *t, sl_err *err) SL_USE_RESULT;
sl_status sl_sae_trainer_resume(sl_sae_trainer *t, sl_err *err) SL_USE_RESULT; /* from dir/checkpoints, if there; metrics.csv is cut back to it */
sl_status sl_sae_trainer_log(sl_sae_trainer *t, const sl_sae_step *row, sl_err *err) SL_USE_RESULT;

#endif
