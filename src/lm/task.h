/* Shared by the trainer of tasks and the source of their activations. */
#ifndef SL_LM_TASK_H
#define SL_LM_TASK_H

#include "lm/gpt.h"

#include <saelab/task.h>

/* SL_ARG: w is no task, or m has another vocabulary or too short a context. */
sl_status sl_task_fits(const sl_lm *m, const sl_world *w, sl_err *err) SL_USE_RESULT;

#endif
