/* A permutation of 0..n-1 as a pure function: a Feistel network of eight rounds over blocks of 2 h bits, 4^h >= n, whose round
 * function is Philox; a value outside 0..n-1 is put through again until it falls inside (cycle walking: Black and Rogaway 2002,
 * "Ciphers with arbitrary finite domains"). 4^h < 4 n, so fewer than four turns are expected. It needs no memory, so that a store of
 * any size is shuffled while it is written, and it can be turned round. */
#include "data/acts_store.h"

#include <saelab/rng.h>

enum { ROUNDS = 8 };

sl__perm sl__perm_of(uint64_t n, uint64_t seed, bool shuffle)
{
    sl__perm p = { .n = n, .seed = seed };
    if (shuffle && n > 1)
        for (p.half = 1; p.half < 31 && (uint64_t)1 << (2 * p.half) < n;)
            p.half++;
    return p;
}

static uint64_t round_value(const sl__perm *p, int round, uint64_t half_block)
{
    sl_rng r = sl_rng_at(p->seed, SL_RNG_SHUFFLE, (uint64_t)round, half_block);
    return sl_rng_u32(&r) & (((uint64_t)1 << p->half) - 1);
}

static uint64_t forward(const sl__perm *p, uint64_t v)
{
    uint64_t left = v >> p->half, right = v & (((uint64_t)1 << p->half) - 1);
    for (int i = 0; i < ROUNDS; i++) {
        uint64_t next = left ^ round_value(p, i, right);
        left = right;
        right = next;
    }
    return left << p->half | right;
}

static uint64_t backward(const sl__perm *p, uint64_t v)
{
    uint64_t left = v >> p->half, right = v & (((uint64_t)1 << p->half) - 1);
    for (int i = ROUNDS - 1; i >= 0; i--) {
        uint64_t before = right ^ round_value(p, i, left);
        right = left;
        left = before;
    }
    return left << p->half | right;
}

uint64_t sl__perm_to(const sl__perm *p, uint64_t i)
{
    if (p->half == 0)
        return i;
    do
        i = forward(p, i);
    while (i >= p->n);
    return i;
}

uint64_t sl__perm_from(const sl__perm *p, uint64_t i)
{
    if (p->half == 0)
        return i;
    do
        i = backward(p, i);
    while (i >= p->n);
    return i;
}
