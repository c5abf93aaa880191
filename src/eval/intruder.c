/* Token scores of a latent: the intruder test by naive Bayes, and purity. */
#include "eval/explain.h"

#include <saelab/rng.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SIDE = 8 /* tokens of context on both sides */, BUCKETS = 1 << 12, TRIALS = 8, SHOWN = 5, LEAST = 8, MOST_N = 3 };

/* ---- contexts as bags of hashed n-grams, n = 1 .. 3 ---- */

typedef struct bag { int n, bucket[MOST_N * (2 * SIDE + 1)]; } bag;

static void fill_bag(const sl_eval_data *d, int32_t row, bag *b)
{
    const sl_corpus *c = d->corpus;
    int64_t first = c->doc[d->doc[row]], end = c->doc[d->doc[row] + 1], at = first + d->pos[row];
    int64_t lo = at - SIDE > first ? at - SIDE : first, hi = at + SIDE + 1 < end ? at + SIDE + 1 : end;
    b->n = 0;
    for (int64_t t = lo; t < hi; t++) {
        uint64_t h = 1469598103934665603u;
        for (int n = 1; n <= MOST_N && t + n <= hi; n++) {
            h = (h ^ ((uint64_t)c->ids[t + n - 1] + 1)) * 1099511628211u;
            b->bucket[b->n++] = (int)((h >> 20) % BUCKETS);
        }
    }
}

/* Mean log-likelihood ratio of bag i: n-grams of the other shown contexts against the background. */
static double belongs(const bag *shown, int i, const double *background)
{
    double sum = 0, total = 0;
    for (int o = 0; o < SHOWN; o++)
        total += o != i ? shown[o].n : 0;
    for (int k = 0; k < shown[i].n; k++) {
        double n = 0;
        for (int o = 0; o < SHOWN; o++)
            for (int q = 0; o != i && q < shown[o].n; q++)
                n += shown[o].bucket[q] == shown[i].bucket[k];
        double back = background[shown[i].bucket[k]]; /* smoothed by the background itself, as heavy as the evidence */
        sum += log((n / total + back) / (2 * back));
    }
    return sum / shown[i].n;
}

static void background_of(const sl_eval_data *d, const int32_t *rows, int64_t n, double *background)
{
    double total = 0;
    bag b;
    for (int i = 0; i < BUCKETS; i++)
        background[i] = 1;
    for (int64_t i = 0; i < n; i++) {
        fill_bag(d, rows[i], &b);
        for (int k = 0; k < b.n; k++)
            background[b.bucket[k]]++;
        total += b.n;
    }
    for (int i = 0; i < BUCKETS; i++)
        background[i] /= total + BUCKETS;
}

/* The r-th row with on == want. */
static int64_t nth(const uint8_t *on, int64_t n, uint8_t want, uint64_t r)
{
    for (int64_t i = 0; i < n; i++)
        if (on[i] == want && r-- == 0)
            return i;
    return -1;
}

static double intruder(const sl_eval_data *d, const int32_t *rows, const uint8_t *on, int64_t n, int64_t n_on, uint64_t latent, const double *background)
{
    double right = 0;
    for (int trial = 0; trial < TRIALS; trial++) {
        sl_rng r = sl_rng_at(d->seed, SL_RNG_EVAL, SL_DRAW_INTRUDER, latent * TRIALS + (uint64_t)trial);
        bag shown[SHOWN];
        int64_t picked[SHOWN];
        int found = 0, guess = 0;
        while (found < SHOWN - 1) { /* LEAST > SHOWN - 1: there are enough different ones */
            int64_t i = nth(on, n, 1, sl_rng_below(&r, (uint64_t)n_on));
            bool again = false;
            for (int k = 0; k < found; k++)
                again |= picked[k] == i;
            if (!again)
                picked[found++] = i;
        }
        picked[SHOWN - 1] = nth(on, n, 0, sl_rng_below(&r, (uint64_t)(n - n_on)));
        for (int k = 0; k < SHOWN; k++)
            fill_bag(d, rows[picked[k]], &shown[k]);
        double least = INFINITY;
        for (int k = 0; k < SHOWN; k++) {
            double v = belongs(shown, k, background);
            if (v < least) {
                least = v;
                guess = k;
            }
        }
        right += guess == SHOWN - 1;
    }
    return right / TRIALS;
}

/* ---- purity ---- */

/* Entropy of the ids, and the commonest; `skip` is left out. v [n] is sorted. */
static double entropy(const int32_t *v, int64_t n, int32_t skip, int32_t *top)
{
    int64_t left = 0, most = 0;
    double h = 0;
    for (int64_t i = 0; i < n; i++)
        left += v[i] != skip;
    for (int64_t i = 0, end; i < n; i = end) {
        for (end = i; end < n && v[end] == v[i]; end++)
            ;
        if (v[i] == skip)
            continue;
        double p = (double)(end - i) / (double)left;
        h -= p * log(p);
        if (end - i > most) {
            most = end - i;
            *top = v[i];
        }
    }
    return h;
}

static int rising(const void *a, const void *b)
{
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return (x > y) - (x < y);
}

/* 1 - H(token | on) / H(token); the rest: both without the latent's commonest token. NaN where the tokens do not vary. */
static void purities(const sl_eval_data *d, const int32_t *rows, const uint8_t *on, int64_t n, int32_t *ids, sl_token_scores *out)
{
    double h[2][2];
    int32_t top = -1, unused;
    int64_t n_on = 0;
    for (int which = 0; which < 2; which++) {
        int64_t k = 0;
        for (int64_t i = 0; i < n; i++)
            if (which || on[i])
                ids[k++] = d->corpus->ids[d->corpus->doc[d->doc[rows[i]]] + d->pos[rows[i]]];
        qsort(ids, (size_t)k, sizeof *ids, rising);
        h[which][0] = entropy(ids, k, -1, which ? &unused : &top);
        h[which][1] = entropy(ids, k, top, &unused);
        for (int64_t i = 0; !which && i < k; i++)
            n_on += ids[i] != top;
    }
    out->purity = h[1][0] > 0 ? 1 - h[0][0] / h[1][0] : NAN;
    out->purity_rest = h[1][1] > 0 && n_on > 0 ? 1 - h[0][1] / h[1][1] : NAN;
}

sl_status sl_token_scores_of(sl_ctx *ctx, const sl_eval_data *d, const int32_t *rows, const uint8_t *on, int64_t n, uint64_t latent, sl_token_scores *out, sl_err *err)
{
    int64_t n_on = 0;
    for (int64_t i = 0; i < n; i++)
        n_on += on[i];
    *out = (sl_token_scores){ NAN, NAN, NAN };
    if (n_on < LEAST || n_on == n)
        return SL_OK;
    double *background = sl_alloc(ctx, BUCKETS * sizeof *background);
    int32_t *ids = sl_alloc(ctx, (size_t)n * sizeof *ids);
    sl_status st;
    SL_GO(sl_have("intruder", 2, (const void *const[]){ background, ids }, err));
    background_of(d, rows, n, background);
    out->intruder = intruder(d, rows, on, n, n_on, latent, background);
    purities(d, rows, on, n, ids, out);
done:
    sl_free(ctx, ids);
    sl_free(ctx, background);
    return st;
}
