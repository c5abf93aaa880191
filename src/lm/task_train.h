/* The trainer of tasks, shared by task.c (the loop) and task_state.c (checkpoints). */
#ifndef SL_LM_TASK_TRAIN_H
#define SL_LM_TASK_TRAIN_H

#include "lm/task.h"

enum { SL_TASK_SAVE_S = 60 }; /* s between checkpoints */

typedef struct sl_task_batch { int32_t *ids, *targets; uint8_t *uses; int64_t n, T; } sl_task_batch; /* room for n instances */

typedef struct sl_task_trainer {
    sl_lm *m;
    const sl_world *w;
    const sl_task_train_config *t;
    const char *dir;         /* of checkpoints; NULL: none */
    sl_task_batch b;
    sl_optim opt;
    sl_schedule schedule;
    sl_task_result now;      /* steps done, with what they led to */
    double before, begin, saved; /* s of earlier processes; clock at the start, at the last checkpoint */
} sl_task_trainer;

/* dir/checkpoints/step-*.safetensors: param/NAME, adam_m/NAME, adam_v/NAME, state/scalars. Random numbers need no state: instances are numbered. */
sl_status sl_task_save(sl_task_trainer *r, sl_err *err) SL_USE_RESULT;
/* Takes up what is there, or leaves r as it is. SL_EXISTS: of another task, configuration or kernel set. */
sl_status sl_task_resume(sl_task_trainer *r, sl_err *err) SL_USE_RESULT;

#endif
