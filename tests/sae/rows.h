/* Activation sources for tests: rows in memory, and rows made from a planted sparse dictionary. */
#ifndef SL_TEST_ROWS_H
#define SL_TEST_ROWS_H

#include <saelab/data.h>

typedef struct rows {
    sl_act_source src;      /* &rows.src is what is passed on */
    float *x;               /* [n, d] */
    int64_t *id;            /* [batch] of the last batch */
    float *out;             /* [batch, d] of the last batch */
    float *y, *out_y;       /* targets [n, d_out] and those of the last batch; NULL: none */
    int64_t n, d, d_out, at, room;
    sl_ctx *cancel;         /* cancelled when row cancel_at is asked for; NULL: never */
    int64_t cancel_at;
} rows;

/* n rows of d normal numbers plus `mean` in each column. Release with rows_release. */
void rows_normal(rows *r, int64_t n, int64_t d, double mean, uint64_t seed);
/* x = sum of k of n_features unit vectors with coefficients in [.5, 1.5]; dictionary [n_features, d] (malloc, caller's) if not NULL. */
void rows_planted(rows *r, int64_t n, int64_t d, int64_t n_features, int64_t k, uint64_t seed, float **dictionary);
/* Gives every row a target of d_out numbers: ReLU of a random linear map of it. */
void rows_targets(rows *r, int64_t d_out, uint64_t seed);
void rows_release(rows *r);

#endif
