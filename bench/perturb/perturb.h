/* Inside bench_perturb: an arm is a way of training; each is measured in a process of its own, so that its peak memory is its own. */
#ifndef SL_BENCH_PERTURB_H
#define SL_BENCH_PERTURB_H

#include "../sae/bench.h"
#include "sae/train.h"

typedef struct arm {
    const char *name, *variant;
    int type, mode;
    int64_t rank;
    bool dense; /* the encoder's product in f32, whatever the program would choose */
    bool everywhere; /* measured at the large shapes too */
} arm;
enum { PLAIN, DENSE, GAUSS_LOWRANK, INJECT, GAUSS_FULL, DIRECT, FEATDROP, DENOISE, CONTRACTIVE, ENC_L2, MATRYOSHKA, N_ARM };
extern const arm arms[N_ARM];
enum { RANK = 16 }; /* directions of gauss_lowrank */

/* ---- arm.c ---- */

typedef struct arm_job {
    size s;
    int arm, skip, steps;
    bool cpu;                 /* seconds of the process, on one thread, not of the clock */
    int threads, views, rank; /* 0, 0, -1: all; as the arm has them */
} arm_job;
enum { PART_GENERATE, PART_FORWARD, N_SPENT };
typedef struct arm_result { double seconds, spent[N_SPENT], rss, loss; } arm_result; /* medians a step; spent by the perturbation layer */
sl_perturb_config arm_config(int which);
int arm_child(const arm_job *j);                    /* prints one JSON line */
bool arm_run(const char *self, const arm_job *j, arm_result *out);
double arm_flops(const size *s, int which);         /* multiply-adds count 2; products and gathers of a step, not the optimizer */

/* ---- check.c ---- */

/* Rows whose perturbed code is not, bit for bit, the code of x + delta by the definition (plain C on kern/dot.h); prints a line an arm. */
int64_t check_codes(sl_ctx *ctx, int64_t n_rows);

#endif
