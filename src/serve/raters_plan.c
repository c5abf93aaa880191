/* Who judges what, and in which order. */
#include "serve/raters.h"

#include <saelab/rng.h>
#include <string.h>

/* ---- judges ---- */

typedef struct loads { int64_t n, *total, *in_method, *together; } loads; /* n raters; in_method [methods, n]; together [n, n] features shared */

/* The rater that is to judge feature f next: least loaded in its method, then in all, then least often with those chosen already; equal ones by lot. */
static int64_t next_judge(const loads *l, const uint8_t *mine, const int64_t *of_method, const int64_t *lot)
{
    int64_t best = -1, best_met = 0;
    for (int64_t k = 0; k < l->n; k++) {
        int64_t q = lot[k], met = 0;
        if (mine[q])
            continue;
        for (int64_t b = 0; b < l->n; b++)
            met += mine[b] ? l->together[q * l->n + b] : 0;
        bool better = best < 0 || of_method[q] < of_method[best] ||
                      (of_method[q] == of_method[best] && (l->total[q] < l->total[best] || (l->total[q] == l->total[best] && met < best_met)));
        if (better) {
            best = q;
            best_met = met;
        }
    }
    return best;
}

static void assign(loads *l, uint8_t *mine, int32_t method, int64_t per_feature, sl_rng *r, int64_t *lot)
{
    for (int64_t k = 0; k < per_feature; k++) {
        sl_rng_perm(r, lot, l->n);
        int64_t q = next_judge(l, mine, l->in_method + method * l->n, lot);
        for (int64_t b = 0; b < l->n; b++)
            if (mine[b]) {
                l->together[q * l->n + b]++;
                l->together[b * l->n + q]++;
            }
        mine[q] = 1;
        l->total[q]++;
        l->in_method[method * l->n + q]++;
    }
}

sl_status sl__plan_judges(sl_ctx *ctx, const int32_t *method, int64_t n_features, int n_methods, int64_t raters, int64_t per_feature, uint64_t seed, uint8_t *judge, sl_err *err)
{
    loads l = { .n = raters };
    int64_t *order = sl_alloc(ctx, (size_t)n_features * sizeof *order), *lot = sl_alloc(ctx, (size_t)raters * sizeof *lot);
    l.total = sl_alloc(ctx, (size_t)(raters * (1 + n_methods + raters)) * sizeof *l.total);
    l.in_method = l.total ? l.total + raters : NULL;
    l.together = l.total ? l.in_method + raters * n_methods : NULL;
    sl_status st = order && lot && l.total ? SL_OK : sl_fail(err, SL_MEM, "raters", NULL, "no memory for %lld of them", (long long)raters);
    if (st == SL_OK) {
        sl_rng r = sl_rng_at(seed, SL_RNG_RATERS, 3, 0);
        memset(judge, 0, (size_t)(n_features * raters));
        sl_rng_perm(&r, order, n_features);
        for (int64_t i = 0; i < n_features; i++)
            assign(&l, judge + order[i] * raters, method[order[i]], per_feature, &r, lot);
    }
    sl_free(ctx, order);
    sl_free(ctx, lot);
    sl_free(ctx, l.total);
    return st;
}

/* ---- order ---- */

static void shuffle(sl_rng *r, sl__rater_turn *v, int64_t n)
{
    for (int64_t i = n - 1; i > 0; i--) {
        int64_t k = (int64_t)sl_rng_below(r, (uint64_t)(i + 1));
        sl__rater_turn t = v[i];
        v[i] = v[k];
        v[k] = t;
    }
}

/* Adds the items of feature f with a task of `tasks` (bits). */
static void add(const sl__rater_items *items, int64_t f, unsigned tasks, int64_t session, sl__rater_turn *turns, int64_t *n)
{
    for (int64_t i = 0; i < items->n; i++)
        if (items->v[i].feature == f && tasks >> items->v[i].task & 1)
            turns[(*n)++] = (sl__rater_turn){ i, session };
}

sl_status sl__plan_turns(sl_ctx *ctx, const sl__rater_items *items, const uint8_t *mine, int64_t n_features, const sl_raters_opts *o, int64_t rater, sl__rater_turn *turns, int64_t *n, sl_err *err)
{
    sl_rng r = sl_rng_at((uint64_t)o->seed, SL_RNG_RATERS, 4, (uint64_t)rater);
    int64_t *order = sl_alloc(ctx, (size_t)n_features * sizeof *order), *own = sl_alloc(ctx, (size_t)n_features * sizeof *own), n_own = 0;
    int64_t *catches = sl_alloc(ctx, (size_t)items->n * sizeof *catches), n_catches = 0, used = 0;
    sl_status st = order && own && catches ? SL_OK : sl_fail(err, SL_MEM, "raters", NULL, "no memory for the order of questions");
    *n = 0;
    if (st != SL_OK)
        goto done;
    sl_rng_perm(&r, order, n_features);
    for (int64_t i = 0; i < n_features; i++)
        if (mine[order[i]])
            own[n_own++] = order[i];
    for (int64_t i = 0; i < items->n; i++)
        if (items->v[i].feature < 0)
            catches[n_catches++] = i;
    for (int64_t from = 0, session = 0; from < n_own; from += o->session, session++) {
        int64_t end = from + o->session < n_own ? from + o->session : n_own, first = *n;
        for (int64_t i = from; i < end; i++)
            add(items, own[i], 1u << RATE_INTRUDER | 1u << RATE_COMPOSITION, session, turns, n);
        for (int64_t k = 0; k < o->catches && used < n_catches; k++)
            turns[(*n)++] = (sl__rater_turn){ catches[used++], session };
        shuffle(&r, turns + first, *n - first);
        for (int64_t i = from; i < end; i++) {
            add(items, own[i], 1u << RATE_DETECTION, session, turns, n);
            add(items, own[i], 1u << RATE_RATING, session, turns, n);
        }
    }
done:
    sl_free(ctx, order);
    sl_free(ctx, own);
    sl_free(ctx, catches);
    return st;
}
