/* A world opened for a test, and what its rows and rates are held against. */
#ifndef SL_TEST_WORLDS_H
#define SL_TEST_WORLDS_H

#include "support.h"

#include <saelab/world.h>

typedef struct open_world { sl_ctx *ctx; sl_world *w; sl_act_source *src; const sl_world_truth *t; } open_world;

/* The world `name` with options "key=value,key=value", and a source of `split`. */
open_world begin_world(int threads, const char *name, const char *set, uint64_t seed, sl_world_split split);
void end_world(open_world *o);
/* The next n rows, all of them. */
sl_act_batch world_rows(open_world *o, int64_t n);
/* Value of feature f in row r, 0 when off. */
double code_value(const sl_act_batch *b, int64_t r, int32_t f);
/* How often each feature is on, in n rows; free(). */
int64_t *firing_counts(open_world *o, int64_t n, double *l0);
/* Features [from, to) fire with probability p: each within 5 standard errors, their chi-square within 6 of its own. */
void assert_rates(const int64_t *c, const double *p, int64_t from, int64_t to, int64_t n);

#define ASSERT_NEAR(got, want, within)                                                                                \
    do {                                                                                                              \
        double got_ = (got), want_ = (want);                                                                          \
        if (!(fabs(got_ - want_) <= (within)))                                                                        \
            fail_msg("%s is %.6g, expected %.6g +- %.2g", #got, got_, want_, (double)(within));                       \
    } while (0)

#endif
