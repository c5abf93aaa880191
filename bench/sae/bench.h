/* Inside bench_sae. Whole steps run in child processes (this program again, or a peer's driver), so that each one's peak memory is its own;
 * what is measured inside one process is taken in turns. */
#ifndef SL_BENCH_SAE_H
#define SL_BENCH_SAE_H

#include "figures.h"
#include "kern/kern.h"

#include <saelab/data.h>

typedef struct size { int64_t d, F, k, B; } size;

/* ---- rows.c ---- */

typedef enum rows_kind { ROWS_SUMS, ROWS_GAUSSIAN, ROWS_OUTLIERS, ROWS_STORE, ROWS_HARD, N_ROWS_KIND } rows_kind;
extern const char *const rows_names[N_ROWS_KIND];
/* W [F, d]: rows of norm about 1. HARD: nearly the same row F times, so that no bound tells them apart. */
void make_dictionary(float *W, int64_t F, int64_t d, rows_kind kind);
/* x [n, d]. SUMS: 40 features with coefficients .3 to 1.3 and a little noise; OUTLIERS: two dimensions that dominate; not STORE. */
void make_rows(float *x, int64_t n, const float *W, int64_t F, int64_t d, rows_kind kind, uint64_t seed);
float *room(int64_t n); /* floats; ends the program without memory */

/* ---- machine.c ---- */

double fma_gflops(int threads); /* what the multiply-add instructions of this CPU give, measured */
double copy_gbytes(int threads); /* memory: bytes read and written a second in a copy of arrays far larger than caches */
double peak_rss(void);          /* bytes, of this process */

/* ---- step.c: the child that trains ---- */

enum { PART_ENCODE, PART_DECODE, PART_GRAD, PART_SWEEP, N_PART };
extern const char *const part_names[N_PART];
typedef struct step_job { size s; int skip, steps; double dead; const char *acts; /* store or NULL */ } step_job;
typedef struct step_result { double seconds, part[N_PART], rss, loss_first, loss_last; } step_result; /* medians */
int step_child(const step_job *j);                     /* prints one JSON line */
bool step_run(const char *self, const step_job *j, step_result *out);
#define PEER_LIMIT "90"                                /* s that a step of a peer in bf16 may take */
bool peer_run(const char *python, const char *peer, const char *mode, const step_job *j, const char *npy, step_result *out);

/* ---- store.c ---- */

/* Trains from rows that come at 500 MB/s; prints, and returns the share of the time in which the trainer was busy. */
double store_busy(sl_ctx *ctx, bool quick);

/* ---- encoder.c ---- */

/* Rows in which the codes of each way differ from the definition (plain C on kern/dot.h), over all kinds of rows; prints a line a way. */
int64_t check_rows(sl_ctx *ctx, int64_t n_rows);
/* Prints the table; returns the ratio to the f32 instruction peak at d 768 on sums of features. */
double encoder_table(sl_ctx *ctx, const char *acts, bool quick, double *hard_ratio);

#endif
