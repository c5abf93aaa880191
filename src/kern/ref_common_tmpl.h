/* Plain C kernels, compiled once with REAL float and once with REAL double (ref_f32.c, ref_f64.c). Sums are kept in double
 * for both, so that the f32 table is an oracle for the faster layers. */
#ifndef SL_KERN_REF_COMMON_H
#define SL_KERN_REF_COMMON_H

#include "kern/dot.h"
#include "kern/scratch.h"

#include <assert.h>
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <string.h>

/* Columns that one owner sums at a time, in an accumulator on its stack. */
enum { TILE = 64 };

static REAL *real(const sl_tensor *t)
{
    assert(t->dtype == REAL_DTYPE);
    return t->data;
}

static const int32_t *ids_of(const sl_tensor *t)
{
    assert(t->dtype == SL_I32);
    return t->data;
}

/* v + beta * old, where old is not read when beta is 0 (it may be garbage) */
static REAL plus(REAL v, double beta, const REAL *old)
{
    return beta == 0 ? v : v + (REAL)beta * *old;
}

static int64_t at_most(int64_t a, int64_t b) { return a < b ? a : b; }

/* The eight 16-bit lanes of a mask's block, see sl_mask_key. */
static void mask_lanes(const sl_mask_key *key, uint64_t block, uint32_t lane[8])
{
    const uint32_t ctr[4] = { (uint32_t)block, (uint32_t)(block >> 32), (uint32_t)key->stream, (uint32_t)(key->stream >> 32) };
    const uint32_t k[2] = { (uint32_t)key->seed, (uint32_t)(key->seed >> 32) };
    uint32_t word[4];
    sl_philox4x32(ctr, k, word);
    for (int i = 0; i < 8; i++)
        lane[i] = i % 2 ? word[i / 2] >> 16 : word[i / 2] & 0xffffu;
}

static uint32_t mask_limit(const sl_mask_key *key) { return (uint32_t)lround(key->p * 65536); }

#endif
