/* TopK encoding: proposals, made exact bit by bit, and the decision. See simd_topk.h. */
#include "kern/simd_topk.h"

#include <float.h>
#include <math.h>
#include <omp.h>

/* ---- norms ---- */

float SL_V(sl_topk_root)(float sum_sq, int64_t d)
{
    double sq = (double)sum_sq * (1 + (double)(d + 16) * FLT_EPSILON) + (double)d * FLT_MIN;
    return (float)(sqrt(sq) * (1 + 1e-6));
}

float SL_V(sl_topk_norm)(const float *x, int64_t d)
{
    vf s0 = vf_set(0), s1 = vf_set(0);
    int64_t i = 0;
    for (; i + 2 * VW <= d; i += 2 * VW) {
        vf a = vf_load(x + i), b = vf_load(x + i + VW);
        s0 = vf_fma(a, a, s0);
        s1 = vf_fma(b, b, s1);
    }
    for (; i < d; i += VW) {
        vf a = vf_get(x + i, d - i);
        s0 = vf_fma(a, a, s0);
    }
    return SL_V(sl_topk_root)(vf_sum(s0 + s1), d);
}

/* ---- proposals ---- */

/* Hoare, "Find", CACM 4(7), 1961, algorithm 65. */
float SL_V(sl_topk_kth)(float *v, int64_t n, int64_t k)
{
    int64_t lo = 0, hi = n - 1;
    while (lo < hi) {
        float pivot = v[(lo + hi) / 2];
        int64_t a = lo, b = hi;
        while (a <= b) {
            while (v[a] > pivot)
                a++;
            while (v[b] < pivot)
                b--;
            if (a <= b) {
                float t = v[a];
                v[a++] = v[b];
                v[b--] = t;
            }
        }
        if (k - 1 > b && k - 1 < a)
            break;
        if (k - 1 <= b)
            hi = b;
        else
            lo = a;
    }
    return v[k - 1];
}

static int32_t candidate(int32_t at) { return at < 0 ? ~at : at; }

float SL_V(sl_topk_exact)(const topk *j, int64_t r, int32_t f) { return vf_exact_dot(j->x + (j->r0 + r) * j->d, j->w + f * j->d, j->d) + j->bias[f]; }

/* Makes the proposals from `first` on whose bound is not below `from` exact; how many that were. */
static int64_t make_exact(topk *j, int64_t r, int32_t first, float from)
{
    int32_t *at = j->at + r * j->cap, n = j->count[r], next = first;
    float *val = j->val + r * j->cap;
    int64_t made = 0;
    for (int32_t i = first; i < n; i++) {
        if (at[i] < 0 || val[i] < from)
            continue;
        for (next = next > i ? next : i + 1; next < n && (at[next] < 0 || val[next] < from); next++) {}
        if (next < n)
            fetch_row(j->w + j->feature[at[next]] * j->d, j->d);
        val[i] = SL_V(sl_topk_exact)(j, r, j->feature[at[i]]);
        if (j->keep)
            topk_put_byte(j, r, at[i], val[i]);
        at[i] = ~at[i];
        made++;
    }
    return made;
}

/* Drops what cannot reach the limit. */
static void drop(topk *j, int64_t r)
{
    int32_t *at = j->at + r * j->cap, n = j->count[r], kept = 0;
    float *val = j->val + r * j->cap;
    for (int32_t i = 0; i < n; i++) {
        at[kept] = at[i];
        val[kept] = val[i];
        kept += !(val[i] < j->limit[r]);
    }
    j->count[r] = kept;
}

/* Raises the limit to the k-th largest exact value. sort: [cap] */
static void raise_limit(topk *j, int64_t r, float *sort)
{
    const int32_t *at = j->at + r * j->cap;
    const float *val = j->val + r * j->cap;
    int64_t known = 0;
    for (int32_t i = 0; i < j->count[r]; i++)
        if (at[i] < 0 && val[i] >= j->limit[r])
            sort[known++] = val[i];
    if (known >= j->k)
        j->limit[r] = fmaxf(j->limit[r], SL_V(sl_topk_kth)(sort, known, j->k));
    drop(j, r);
}

/* How many of v [n] are not below t; v is readable up to the next whole vector. */
static int64_t count_from(const float *v, int64_t n, float t)
{
    int64_t i = 0, count = 0;
    for (; i + VW <= n; i += VW)
        count += __builtin_popcount(vf_not_below(vf_load(v + i), vf_set(t)));
    return i < n ? count + __builtin_popcount(vf_not_below(vf_load(v + i), vf_set(t)) & ((1u << (n - i)) - 1)) : count;
}

/* By halving: what at least k of v [n] reach, none of which is below low, and not many more than k. NaN counts as infinite. */
static float reached(const float *v, int64_t n, int64_t k, float low)
{
    enum { HALVINGS = 16, NEAR = 8 };
    float high = low;
    for (int64_t i = 0; i < n; i++)
        high = v[i] > high && v[i] <= FLT_MAX ? v[i] : high;
    for (int i = 0; i < HALVINGS; i++) {
        float middle = low + (high - low) / 2;
        int64_t reach = count_from(v, n, middle);
        if (reach < k) {
            high = middle;
            continue;
        }
        low = middle;
        if (reach <= k + k / NEAR)
            break;
    }
    return low;
}

/* Raises the limit by bounds alone: a value is at most 2 slack below its bound, and a third pays for the roundings of the bound and of what
 * is done here. */
static void raise_by_bounds(topk *j, int64_t r)
{
    const float *val = j->val + r * j->cap;
    int64_t n = j->count[r];
    if (n < j->k || count_from(val, n, INFINITY) > 0)
        return;
    j->limit[r] = fmaxf(j->limit[r], reached(val, n, j->k, j->limit[r]) - 3 * j->slack[r]);
    drop(j, r);
}

/* Makes the k that look best exact, or a few more. */
static int64_t make_best_exact(topk *j, int64_t r, float *sort)
{
    int32_t n = j->count[r];
    if (n < j->k)
        return 0;
    int64_t made = make_exact(j, r, 0, reached(j->val + r * j->cap, n, j->k, j->limit[r]));
    raise_limit(j, r, sort);
    return made;
}

/* Room for another panel of proposals, if it takes making all of them exact. */
static void make_room(topk *j, int64_t r, float *sort)
{
    if (j->tight)
        raise_by_bounds(j, r);
    if (j->count[r] + NR <= j->cap)
        return;
    make_best_exact(j, r, sort);
    if (j->count[r] + NR > j->cap) {
        make_exact(j, r, 0, j->limit[r]);
        raise_limit(j, r, sort);
    }
    if (j->count[r] + NR > j->cap) { /* ties */
        j->count[r] = -1;
        j->limit[r] = INFINITY;
    }
}

void SL_V(sl_topk_propose)(topk *j, int64_t r, int64_t p, uint32_t hits, const float *bounds)
{
    int32_t n = j->count[r];
    if (n < 0)
        return;
    int32_t *at = j->at + r * j->cap;
    float *val = j->val + r * j->cap;
    for (; hits; hits &= hits - 1) {
        int c = __builtin_ctz(hits);
        at[n] = (int32_t)(p + c);
        val[n++] = bounds[c];
    }
    j->count[r] = n;
    if (n + NR > j->most)
        make_room(j, r, topk_sort(j, omp_get_thread_num()));
}

/* What the limit may be at the end, were values normal: tails reach sqrt(2 log(n / k)) deviations. Bounds below it wait until then: most
 * will be below the limit, and those that are not are made exact in the end. */
static float forecast(const topk *j, int64_t r)
{
    double seen = log((double)j->p1 / (double)j->k), all = log((double)j->n / (double)j->k);
    return seen > .5 ? j->limit[r] * (float)sqrt(all / seen) : j->limit[r];
}

/* Place of the first proposal of the part in hand. */
static int32_t first_of_part(const topk *j, int64_t r)
{
    int32_t first = j->count[r];
    while (first > 0 && candidate(j->at[r * j->cap + first - 1]) >= j->p0)
        first--;
    return first;
}

int64_t SL_V(sl_topk_to_rescore)(const topk *j, int64_t r)
{
    float from = forecast(j, r);
    int64_t n = 0;
    for (int32_t i = j->count[r] < 0 ? 0 : first_of_part(j, r); i < j->count[r]; i++)
        n += j->at[r * j->cap + i] >= 0 && !(j->val[r * j->cap + i] < from);
    return n;
}

void SL_V(sl_topk_forget)(topk *j, int64_t r)
{
    if (j->count[r] >= 0)
        j->count[r] = first_of_part(j, r);
}

void SL_V(sl_topk_rescore)(topk *j, int64_t r)
{
    float *sort = topk_sort(j, omp_get_thread_num());
    if (j->count[r] < 0)
        return;
    if (j->tight)
        raise_by_bounds(j, r);
    if (j->tight && !j->int8)
        return;
    if (j->p0 == 0 || !(j->limit[r] > 0))
        make_best_exact(j, r, sort);
    if (j->p0 > 0 && j->limit[r] > 0 && j->p1 < j->n) {
        make_exact(j, r, first_of_part(j, r), forecast(j, r));
        raise_limit(j, r, sort);
    }
}

/* ---- the decision ---- */

/* Row r takes the k largest positive of v [n], the first of equals; value i is candidate at[i] or ~at[i], or i when at is NULL.
 * sort: [n] */
static void choose(const topk *j, int64_t r, const float *v, const int32_t *at, int64_t n, float *sort)
{
    int32_t *idx = j->z->idx + (j->r0 + r) * j->k;
    float *val = (float *)j->z->val + (j->r0 + r) * j->k, least = 0;
    int64_t m = 0, equals = 0, taken = 0;
    for (int64_t i = 0; i < n; i++)
        if (v[i] > 0)
            sort[m++] = v[i];
    if (m > j->k) {
        least = SL_V(sl_topk_kth)(sort, m, j->k);
        equals = j->k;
        for (int64_t i = 0; i < m; i++)
            equals -= sort[i] > least;
    }
    for (int64_t i = 0; i < n; i++)
        if (v[i] > least || (v[i] == least && equals-- > 0)) {
            idx[taken] = j->feature[at ? candidate(at[i]) : i];
            val[taken++] = v[i];
        }
    j->z->row_ptr[j->r0 + r + 1] = taken;
}

static void decide(topk *j, int64_t r)
{
    float *sort = topk_sort(j, omp_get_thread_num());
    if (j->count[r] < 0)
        return;
    if (j->int8)
        make_best_exact(j, r, sort);
    make_exact(j, r, 0, -INFINITY);
    choose(j, r, j->val + r * j->cap, j->at + r * j->cap, j->count[r], sort);
}

/* Rows that have no proposals, m of them. v: [m, n], sort: [n] */
static void decide_exactly(const topk *j, const int32_t *rows, int64_t m, float *v, float *sort)
{
    for (int64_t p = 0; p < j->n; p++)
        for (int64_t i = 0; i < m; i++)
            v[i * j->n + p] = SL_V(sl_topk_exact)(j, rows[i], j->feature[p]);
    for (int64_t i = 0; i < m; i++)
        choose(j, rows[i], v + i * j->n, NULL, j->n, sort);
}

void SL_V(sl_topk_decide)(topk *j, int team)
{
    int64_t n = 0;
    #pragma omp parallel for num_threads(team) schedule(dynamic, 16)
    for (int64_t r = 0; r < j->m; r++)
        decide(j, r);
    for (int64_t r = 0; r < j->m; r++)
        if (j->count[r] < 0)
            j->exact[n++] = (int32_t)r;
    #pragma omp parallel for num_threads(team) schedule(dynamic)
    for (int64_t i = 0; i < n; i += TOPK_EXACT_ROWS) {
        float *v = topk_sort(j, omp_get_thread_num());
        decide_exactly(j, j->exact + i, sl_min64(TOPK_EXACT_ROWS, n - i), v, v + TOPK_EXACT_ROWS * j->n);
    }
}
