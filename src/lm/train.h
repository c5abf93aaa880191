/* The trainer's state, shared by train.c (the loop) and train_state.c (checkpoints, metrics.csv). */
#ifndef SL_LM_TRAIN_H
#define SL_LM_TRAIN_H

#include "lm/gpt.h"

enum { SL_LM_PATH = 1024 };

typedef struct sl_trainer {
    sl_lm *m;
    const sl_corpus *c;
    const sl_lm_train_config *t;
    const char *dir;
    char key[65];            /* of configuration, data and kernels: what a checkpoint must match */
    sl_optim opt;
    sl_schedule schedule;
    int64_t micro_rows;      /* windows of one pass; divides batch_size */
    sl_tensor x, y;          /* [micro_rows, T] I32, owned through x.data */
    sl_tensor *best;         /* [parameters]: the weights at best_val; owned, data of all through best[0].data */

    /* state: what a checkpoint holds besides the parameters, their moments and `best` */
    int64_t iter;            /* updates done */
    double best_val, elapsed;/* s before this process */
    bool finished;
    sl_lm_curve *curve;      /* [n_curve], room for cap_curve */
    int64_t n_curve, cap_curve;

    double t_start, t_saved; /* s of the monotonic clock: start of this process's part, last checkpoint */
} sl_trainer;

double sl_lm_clock(void); /* s, monotonic */
double sl_trainer_seconds(const sl_trainer *r);
/* Fills r->key. */
sl_status sl_trainer_key(sl_trainer *r, sl_err *err) SL_USE_RESULT;
sl_status sl_trainer_save(sl_trainer *r, sl_err *err) SL_USE_RESULT;
/* Takes up what dir/checkpoints holds, or leaves r as it is when there is nothing; then writes metrics.csv anew from the curve. */
sl_status sl_trainer_resume(sl_trainer *r, sl_err *err) SL_USE_RESULT;
/* Appends to the curve and to metrics.csv. */
sl_status sl_trainer_log(sl_trainer *r, const sl_lm_curve *row, sl_err *err) SL_USE_RESULT;
/* Keeps the batch in x and y as dir/bad-batch.safetensors; failing to is only logged. */
void sl_trainer_save_bad_batch(sl_trainer *r);

#endif
