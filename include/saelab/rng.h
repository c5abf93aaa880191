/* Counter-based random numbers: Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"),
 * from Random123. A stream is a pure function of (seed, purpose, step, row), so that results do not depend on thread
 * count, on order, or on when a checkpoint was taken. */
#ifndef SAELAB_RNG_H
#define SAELAB_RNG_H

#include <stddef.h>
#include <stdint.h>

/* Purposes are appended, never renumbered: they are part of every result. */
typedef enum sl_purpose {
    SL_RNG_INIT = 1,     /* weights; row = tensor index */
    SL_RNG_BATCH = 2,    /* which samples make a batch; step = step */
    SL_RNG_DROPOUT = 3,
    SL_RNG_SHUFFLE = 4,
    SL_RNG_SAMPLE = 5,   /* text sampling */
    SL_RNG_WORLD = 6,
    SL_RNG_NOISE = 7,
    SL_RNG_EVAL = 8,
    SL_RNG_TEST = 9,
    SL_RNG_BOOT = 10,
    SL_RNG_RESAMPLE = 11, /* rows that dead latents start anew from; step = step */
    SL_RNG_RATERS = 12   /* human study: features, contexts, orders; step = which of those */
} sl_purpose;

typedef struct sl_rng {
    uint32_t ctr[4], key[2];
    uint32_t out[4];
    int have; /* unread words of out */
} sl_rng;

sl_rng sl_rng_at(uint64_t seed, sl_purpose purpose, uint64_t step, uint64_t row);
uint32_t sl_rng_u32(sl_rng *r);
uint64_t sl_rng_u64(sl_rng *r);
uint64_t sl_rng_below(sl_rng *r, uint64_t n); /* uniform in [0, n), n >= 1, without bias */
double sl_rng_uniform(sl_rng *r);             /* [0, 1), 53 bits */
double sl_rng_normal(sl_rng *r);              /* N(0, 1), Box-Muller, one of the pair kept by neither */
void sl_rng_perm(sl_rng *r, int64_t *idx, int64_t n); /* Fisher-Yates over 0..n-1 */

/* The raw block function, for kernels that make their own counters. */
void sl_philox4x32(const uint32_t ctr[4], const uint32_t key[2], uint32_t out[4]);

#endif
