/* What the pictures of a run are drawn from: its own files only, so that a changed plot retrains nothing. */
#ifndef SL_STUDY_DRAW_H
#define SL_STUDY_DRAW_H

#include "study/results.h"

#include <saelab/report.h>

enum { SL_DRAW_ARMS = 24, SL_DRAW_SETS = 12 };

typedef struct sl_drawing {
    sl_ctx *ctx;
    sl_arena *arena;
    const char *dir;
    char plots[SL_PATH];
    json_t *all;                       /* all_results.json */
    json_t *records;                   /* lines of results.jsonl */
    bool no_gnuplot;
    char set[SL_DRAW_SETS][64];            /* data sets, the text first */
    int n_sets;
    const char *now;                   /* the one that is drawn */
    bool is_world;                     /* not the text */
    char tag[72];                      /* ends the names of its plots: "", or "_WORLD" */
    char arm[SL_DRAW_ARMS][48];          /* arms on it */
    int n_arms;
    bool composed;                     /* compositions of an earlier data set are drawn */
} sl_drawing;

/* Averages over seeds, with their range. */
typedef struct sl_draw_curve { double *x, *y, *lo, *hi; int64_t n; } sl_draw_curve;

double *sl_draw_numbers(sl_drawing *d, int64_t n); /* of the arena; NULL without memory */
/* gnuplot missing is not a failure of the run: data and scripts are there, and the reader is told once. */
sl_status sl_draw_write(sl_drawing *d, const sl_plot *p, sl_err *err) SL_USE_RESULT;
/* A status of gnuplot or Graphviz: what sl_draw_write makes of it. */
sl_status sl_draw_done(sl_drawing *d, sl_status st, const sl_err *own, sl_err *err) SL_USE_RESULT;
/* Points of one arm in the lists whose name ends in `tail`: x_key against y_key; of the arena. n 0: there are none. */
sl_status sl_draw_read_curve(sl_drawing *d, const char *tail, const char *arm, const char *x_key, const char *y_key, sl_draw_curve *out, sl_err *err) SL_USE_RESULT;
/* draw_compose.c: what compositional SAEs compose. */
sl_status sl_draw_compositions(sl_drawing *d, sl_err *err) SL_USE_RESULT;
/* draw_arms.c: the arms of the current data set beside one another. */
sl_status sl_draw_arms(sl_drawing *d, sl_err *err) SL_USE_RESULT;
/* draw_stability.c: noise on activations, robust and reproducible latents, cost of a step, equal steps and equal compute, the ablation. */
sl_status sl_draw_stability(sl_drawing *d, sl_err *err) SL_USE_RESULT;
/* draw_ablation.c: heat maps kind of noise x (strength, weight), where the run has such a grid. */
sl_status sl_draw_ablation(sl_drawing *d, sl_err *err) SL_USE_RESULT;
/* draw_robustness.c: a picture a kind of noise, scores against its achieved magnitude. */
sl_status sl_draw_robustness(sl_drawing *d, sl_err *err) SL_USE_RESULT;

#endif
