/* Tasks of saelab/world.h in a small transformer: training it, the gate that it has to pass, and its activations with ground truth. */
#ifndef SAELAB_TASK_H
#define SAELAB_TASK_H

#include <saelab/lm.h>
#include <saelab/world.h>

typedef struct sl_task_train_config { /* option table sl_task_train_opts; the defaults are science.md D3's */
    int64_t n_layer, n_head, n_embd;
    int64_t steps, batch, warmup, seed;
    double lr, beta2, max_seconds;  /* max_seconds: wall time after which training stops; 0: never */
    int64_t gate_every, gate_instances; /* the gate is tried every so many steps, on so many fresh instances */
    int64_t min_steps;              /* training goes on for so many steps even where the gate is passed before */
} sl_task_train_config;
extern const sl_opt sl_task_train_opts[];

typedef struct sl_task_score {
    double score;           /* of the task's measure, over all instances */
    double attractor;       /* agreement where head and last noun differ; NaN where the task knows no attractors */
    int64_t n, n_attractor; /* instances (exact_match) or positions (agreement) behind the two */
    bool passed;            /* both reach the gate */
} sl_task_score;

typedef struct sl_task_result {
    int64_t steps;
    double seconds, loss;   /* loss of the last step's batch, nats a scored token */
    sl_task_score gate;     /* on instances that were never trained on */
} sl_task_result;

/* The configuration of a pre-LN decoder for a task: n_layer blocks of width n_embd, ReLU MLP of 4 n_embd, learned positions, no dropout. */
sl_lm_config sl_task_lm_config(const sl_world *w, const sl_task_train_config *t);
/* Trains m on instances of SL_WORLD_ALL, made as they are needed, with Adam and the loss on the scored tokens alone: learning rate lr after
 * `warmup` steps, then a cosine to lr / 20. Ends at the first gate that is passed (from min_steps
 * on), or after `steps` or max_seconds.
 * dir (NULL: nothing is written): dir/checkpoints, every minute and when stopped, from which the same call goes on bit for bit; the caller removes
 * them once the model is saved.
 * SL_ARG: not a task, or m has another vocabulary or too short a context; SL_EXISTS: checkpoints of another training; SL_NUMERIC: a loss
 * that is not finite; SL_CANCELLED: after a checkpoint; SL_MEM. */
sl_status sl_task_train(sl_lm *m, const sl_world *w, const sl_task_train_config *t, const char *dir, sl_task_result *out, sl_err *err) SL_USE_RESULT;
/* The gate on instances [first, first + n) of SL_WORLD_ALL. Training uses instances from 0 on and tries the gate on ones from 2^40 on. */
sl_status sl_task_gate(sl_lm *m, const sl_world *w, int64_t first, int64_t n, sl_task_score *out, sl_err *err) SL_USE_RESULT;

/* Activations of m at the task's rows (after block sl_task_info.layer, or the last one of a shallower model, or at `hook`), endless. Batches carry truth (features that are on, value 1),
 * unknown, token, doc (the instance) and pos. seek runs through the instances before the row. The source must be closed before m and w.
 * SL_ARG: not a task, OOD of a world without one, no such hook; SL_MEM. */
sl_status sl_task_open(sl_lm *m, const sl_world *w, sl_world_split split, const char *hook, sl_act_source **out, sl_err *err) SL_USE_RESULT;

#endif
