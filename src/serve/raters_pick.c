/* Which features are judged: a uniform sample of those that fire often enough, the same number of each method in each third of firing rates. */
#include "base/sorted.h"
#include "serve/raters.h"

#include <saelab/rng.h>
#include <stdlib.h>
#include <string.h>

typedef struct candidate { int64_t id; double density; int stratum; } candidate;
typedef struct pool { candidate *v; int64_t n; } pool;

static sl_status check_index(const sl_raters_method *m, const sl_features *f, sl_err *err)
{
    const sl_features_info *i = sl_features_about(f);
    if (i->kind == SL_ROWS_PLAIN)
        return sl_fail(err, SL_DATA, m->name, "an index of tokens", "its rows have no text that a person could read");
    if (i->quantiles != RATERS_DECILES)
        return sl_fail(err, SL_DATA, m->name, "`saelab features build` with --quantiles 10 --per-quantile 6 --near-misses 6 --silent 14",
                       "its index has %d quantiles of contexts", i->quantiles);
    return SL_OK;
}

/* All features with enough contexts. */
static sl_status find_candidates(sl_ctx *ctx, const sl_raters_method *m, pool *p, sl_err *err)
{
    int64_t n = sl_features_about(m->index)->n_features;
    p->v = sl_alloc(ctx, (size_t)n * sizeof *p->v);
    if (!p->v)
        return sl_fail(err, SL_MEM, m->name, NULL, "no memory for %lld features", (long long)n);
    for (int64_t id = 0; id < n; id++) {
        sl_feature j;
        bool enough;
        SL_TRY(sl__card_of(m->index, id, NULL, &enough, err));
        SL_TRY(sl_features_get(m->index, id, &j, err));
        if (enough)
            p->v[p->n++] = (candidate){ .id = id, .density = j.density };
    }
    return SL_OK;
}

/* The thirds of all candidates' firing rates; every method uses the same bounds. */
static sl_status stratify(sl_ctx *ctx, pool *p, int n_methods, double bound[2], sl_err *err)
{
    int64_t n = 0;
    for (int m = 0; m < n_methods; m++)
        n += p[m].n;
    double *all = sl_alloc(ctx, (size_t)(n + 1) * sizeof *all);
    if (!all)
        return sl_fail(err, SL_MEM, "features", NULL, "no memory for %lld of them", (long long)n);
    n = 0;
    for (int m = 0; m < n_methods; m++)
        for (int64_t i = 0; i < p[m].n; i++)
            all[n++] = p[m].v[i].density;
    qsort(all, (size_t)n, sizeof *all, sl_rising);
    bound[0] = all[n / 3];
    bound[1] = all[2 * n / 3];
    sl_free(ctx, all);
    for (int m = 0; m < n_methods; m++)
        for (int64_t i = 0; i < p[m].n; i++)
            p[m].v[i].stratum = (p[m].v[i].density >= bound[0]) + (p[m].v[i].density >= bound[1]);
    return SL_OK;
}

/* How many of each stratum: a third each; what a method lacks in one comes, for all methods, from the others. */
static sl_status quotas(const sl_raters_method *methods, const pool *p, int n_methods, int64_t want, int64_t quota[3], sl_err *err)
{
    int64_t least[3] = { INT64_MAX, INT64_MAX, INT64_MAX }, sum = 0;
    for (int m = 0; m < n_methods; m++) {
        int64_t have[3] = { 0 };
        for (int64_t i = 0; i < p[m].n; i++)
            have[p[m].v[i].stratum]++;
        for (int s = 0; s < 3; s++)
            least[s] = have[s] < least[s] ? have[s] : least[s];
        if (p[m].n < want)
            return sl_fail(err, SL_DATA, methods[m].name, "fewer --features, or an index of more tokens",
                           "%lld of its features fire often enough for all questions, %lld are wanted", (long long)p[m].n, (long long)want);
    }
    for (int s = 0; s < 3; s++) {
        quota[s] = want / 3 + (s < want % 3);
        quota[s] = quota[s] < least[s] ? quota[s] : least[s];
        sum += quota[s];
    }
    for (bool more = true; sum < want && more;) {
        more = false;
        for (int s = 0; s < 3 && sum < want; s++)
            if (quota[s] < least[s]) {
                quota[s]++;
                sum++;
                more = true;
            }
    }
    return sum == want ? SL_OK : sl_fail(err, SL_DATA, "features", "fewer --features", "the methods share only %lld features of the same firing rates", (long long)sum);
}

/* The method's sample, filled with contexts. */
static sl_status take(sl_ctx *ctx, const sl_raters_method *method, int m, const pool *p, const int64_t quota[3], uint64_t seed, sl__rater_material *out, sl_err *err)
{
    int64_t taken[3] = { 0 }, *order = sl_alloc(ctx, (size_t)p->n * sizeof *order);
    sl_rng r = sl_rng_at(seed, SL_RNG_RATERS, 1, (uint64_t)m);
    sl_status st = order ? SL_OK : sl_fail(err, SL_MEM, "features", NULL, "no memory");
    if (order)
        sl_rng_perm(&r, order, p->n);
    for (int64_t i = 0; st == SL_OK && i < p->n; i++) {
        const candidate *c = &p->v[order[i]];
        bool enough;
        if (taken[c->stratum]++ >= quota[c->stratum])
            continue;
        sl__rater_feature *f = &out->feature[out->n_features++];
        *f = (sl__rater_feature){ .method = m, .stratum = c->stratum };
        st = sl__card_of(method->index, c->id, f, &enough, err);
    }
    sl_free(ctx, order);
    return st;
}

/* As many compositions of the method as there are features of it, at random. */
static sl_status take_pairs(sl_ctx *ctx, const sl_raters_method *method, int m, int64_t want, uint64_t seed, sl__rater_material *out, sl_err *err)
{
    int64_t n = sl_features_about(method->compositions)->n_features, taken = 0, *order = sl_alloc(ctx, (size_t)n * sizeof *order);
    sl_rng r = sl_rng_at(seed, SL_RNG_RATERS, 2, (uint64_t)m);
    sl_status st = order ? SL_OK : sl_fail(err, SL_MEM, "compositions", NULL, "no memory");
    if (order)
        sl_rng_perm(&r, order, n);
    for (int64_t i = 0; st == SL_OK && i < n && taken < want; i++) {
        sl__rater_pair *p = &out->pair[out->n_pairs++];
        bool enough;
        *p = (sl__rater_pair){ .method = m };
        st = sl__pair_of(method, order[i], p, &enough, err);
        taken += enough;
        if (st == SL_OK && !enough) {
            out->n_pairs--;
            json_decref(p->shows);
            json_decref(p->others);
            json_decref(p->card[0]);
            json_decref(p->card[1]);
        }
    }
    sl_free(ctx, order);
    return st;
}

sl_status sl__pick_features(sl_ctx *ctx, const sl_raters_method *methods, int n, const sl_raters_opts *o, sl__rater_material *m, sl_raters_made *made, sl_err *err)
{
    pool p[SL_MAX_GROUPS] = { { 0 } };
    sl_status st = SL_OK;
    m->n_methods = n;
    m->feature = sl_alloc(ctx, (size_t)(n * o->features) * sizeof *m->feature);
    m->pair = sl_alloc(ctx, (size_t)(n * o->features + n) * sizeof *m->pair);
    if (!m->feature || !m->pair)
        return sl_fail(err, SL_MEM, "features", NULL, "no memory");
    for (int i = 0; i < n; i++) {
        m->method[i] = methods[i].name;
        SL_GO(check_index(&methods[i], methods[i].index, err));
        SL_GO(find_candidates(ctx, &methods[i], &p[i], err));
        made->n_eligible[i] = p[i].n;
    }
    SL_GO(stratify(ctx, p, n, made->bound, err));
    SL_GO(quotas(methods, p, n, o->features, made->stratum, err));
    for (int i = 0; i < n; i++) {
        SL_GO(take(ctx, &methods[i], i, &p[i], made->stratum, (uint64_t)o->seed, m, err));
        if (methods[i].compositions)
            SL_GO(take_pairs(ctx, &methods[i], i, o->features, (uint64_t)o->seed, m, err));
    }
done:
    for (int i = 0; i < n; i++)
        sl_free(ctx, p[i].v);
    return st;
}
