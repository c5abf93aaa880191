/* Philox4x32-10 streams (Random123). The block counter is (block, row_lo, row_hi, step_lo); the key mixes seed, purpose and step_hi. */
#include <saelab/rng.h>

#include <Random123/philox.h>
#include <math.h>
#include <string.h>

void sl_philox4x32(const uint32_t ctr[4], const uint32_t key[2], uint32_t out[4])
{
    philox4x32_ctr_t c = { { ctr[0], ctr[1], ctr[2], ctr[3] } };
    philox4x32_key_t k = { { key[0], key[1] } };
    philox4x32_ctr_t r = philox4x32(c, k);
    memcpy(out, r.v, 4 * sizeof *out);
}

sl_rng sl_rng_at(uint64_t seed, sl_purpose purpose, uint64_t step, uint64_t row)
{
    sl_rng r = { .ctr = { 0, (uint32_t)row, (uint32_t)(row >> 32), (uint32_t)step },
                 .key = { (uint32_t)seed, (uint32_t)(seed >> 32) ^ ((uint32_t)purpose * 0x9E3779B9u) ^ (uint32_t)(step >> 32) } };
    return r;
}

uint32_t sl_rng_u32(sl_rng *r)
{
    if (r->have == 0) {
        sl_philox4x32(r->ctr, r->key, r->out);
        r->ctr[0]++;
        r->have = 4;
    }
    return r->out[4 - r->have--];
}

uint64_t sl_rng_u64(sl_rng *r)
{
    uint64_t hi = sl_rng_u32(r);
    return hi << 32 | sl_rng_u32(r);
}

uint64_t sl_rng_below(sl_rng *r, uint64_t n)
{
    uint64_t limit = UINT64_MAX - UINT64_MAX % n, v; /* rejection: no modulo bias */
    do
        v = sl_rng_u64(r);
    while (v >= limit);
    return v % n;
}

double sl_rng_uniform(sl_rng *r) { return (double)(sl_rng_u64(r) >> 11) * 0x1p-53; }

double sl_rng_normal(sl_rng *r)
{
    double u = 1.0 - sl_rng_uniform(r), v = sl_rng_uniform(r); /* u in (0, 1] */
    return sqrt(-2.0 * log(u)) * cos(6.283185307179586477 * v);
}

void sl_rng_perm(sl_rng *r, int64_t *idx, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        idx[i] = i;
    for (int64_t i = n - 1; i > 0; i--) {
        int64_t j = (int64_t)sl_rng_below(r, (uint64_t)i + 1), t = idx[i];
        idx[i] = idx[j];
        idx[j] = t;
    }
}
