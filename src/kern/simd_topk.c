/* TopK encoding: the slot. See simd_topk.h for the idea; the order of work is: rows in hand (all, unless there are very many), parts of W
 * that stay in cache, blocks of rows, one thread each. */
#include "kern/simd_topk.h"

#include <assert.h>
#include <math.h>
#include <omp.h>
#include <string.h>

enum { PROPOSALS = 1 << 22 /* held at once */ };

/* Candidates of [0, F), those without skip. */
static int64_t list_candidates(const uint8_t *skip, int64_t F, int32_t *feature)
{
    int64_t n = 0;
    for (int64_t f = 0; f < F; f++)
        if (!skip || !skip[f])
            feature[n++] = (int32_t)f;
    return n;
}

bool SL_V(sl_topk_memory)(topk *j, const sl_kern *k, int64_t packed)
{
    size_t m = (size_t)j->m, cap = (size_t)j->cap;
    int64_t exactly = (TOPK_EXACT_ROWS + 1) * j->n;
    j->n_share = sl_round_up(MR * j->d + (j->cap > exactly ? j->cap : exactly), 16);
    j->share = sl_kern_scratch(k, SL_SIMD_A, (size_t)(k->n_threads * j->n_share) * sizeof(float));
    j->packed = sl_kern_scratch(k, SL_SIMD_B, (size_t)packed * sizeof(float));
    j->at = sl_kern_scratch(k, SL_SCRATCH_ENTRY, m * cap * sizeof *j->at);
    j->val = sl_kern_scratch(k, SL_SCRATCH_ENTRY_ROW, m * cap * sizeof *j->val);
    j->norm = sl_kern_scratch(k, SL_SIMD_ROWS, m * (3 * sizeof(float) + 2 * sizeof(int32_t)));
    if (!j->share || !j->packed || !j->at || !j->val || !j->norm)
        return false;
    j->limit = j->norm + m;
    j->slack = j->limit + m;
    j->count = (int32_t *)(void *)(j->slack + m);
    j->exact = j->count + m;
    return true;
}

/* Bounds are kept in steps of 1/25 of what a value's deviation would be were x and the first features random: a few more candidates each. */
static void choose_units(topk *j)
{
    enum { SOME = 64, STEPS = 25 };
    double sq = 0;
    int64_t some = sl_min64(SOME, j->n);
    for (int64_t i = 0; i < some; i++) {
        double norm = SL_V(sl_topk_norm)(j->w + i * j->d, j->d);
        sq += norm * norm / (double)some;
    }
    for (int64_t r = 0; r < j->m; r++) {
        double unit = (double)j->norm[r] * sqrt(sq / (double)j->d) / STEPS;
        j->keep->unit[j->r0 + r] = isfinite(unit) ? (float)fmin(fmax(unit, 1e-20), 1e20) : 1;
    }
}

/* The k-th largest value of the row at the features of a code near by, if it has so many: no more than the k-th largest of all. sort: [cap] */
static float first_limit(const topk *j, int64_t r, float *sort)
{
    int64_t from = j->near->row_ptr[j->r0 + r], n = j->near->row_ptr[j->r0 + r + 1] - from;
    if (n < j->k || n > j->cap)
        return 0;
    for (int64_t e = 0; e < n; e++) {
        sort[e] = SL_V(sl_topk_exact)(j, r, j->near->idx[from + e]);
        if (isnan(sort[e]))
            return 0;
    }
    return fmaxf(0, SL_V(sl_topk_kth)(sort, n, j->k));
}

static void begin_rows(topk *j, int team)
{
    #pragma omp parallel for num_threads(team) schedule(static)
    for (int64_t r = 0; r < j->m; r++) {
        j->norm[r] = SL_V(sl_topk_norm)(j->x + (j->r0 + r) * j->d, j->d);
        j->limit[r] = j->near ? first_limit(j, r, topk_sort(j, omp_get_thread_num())) : 0;
        j->count[r] = 0;
    }
    if (j->keep)
        choose_units(j);
    if (j->int8)
        SL_V(sl_topk_int8_rows)(j, team);
    else
        j->w_norm = j->b_max = 0;
}

/* Is there a block of that kind? */
static bool any_block(const topk *j, int kind)
{
    bool any = false;
    for (int64_t i = 0; j->int8 && i < j->m; i += j->mc)
        any = any || j->dense[i / j->mc] == kind;
    return any;
}

static void screen_in_f32(topk *j, int64_t i)
{
    int64_t m = sl_min64(j->mc, j->m - i);
    SL_V(sl_topk_f32_screen)(j, i, m, topk_pad(j, omp_get_thread_num()));
    for (int64_t r = i; r < i + m; r++)
        SL_V(sl_topk_rescore)(j, r);
}

static void screen_block(topk *j, int64_t i)
{
    if (j->int8 && j->p0 > 0 && !j->dense[i / j->mc])
        SL_V(sl_topk_int8_screen)(j, i, sl_min64(j->mc, j->m - i), omp_get_thread_num());
    else
        screen_in_f32(j, i);
}

/* Blocks that gave up have the part of W in hand again, in f32. */
static void screen_again(topk *j, bool packed, int team)
{
    if (!packed)
        SL_V(sl_topk_f32_pack)(j, team);
    #pragma omp parallel for num_threads(team) schedule(dynamic)
    for (int64_t i = 0; i < j->m; i += j->mc)
        if (j->dense[i / j->mc] == TOPK_GAVE_UP) {
            j->dense[i / j->mc] = TOPK_DENSE;
            screen_in_f32(j, i);
        }
}

static void screen(topk *j, int team)
{
    for (j->p0 = 0; j->p0 < j->n; j->p0 = j->p1) {
        j->p1 = sl_min64(j->p0 + j->nc, j->n);
        j->tight = !j->int8 || j->p0 == 0;
        bool in_f32 = j->tight || any_block(j, TOPK_DENSE);
        if (in_f32)
            SL_V(sl_topk_f32_pack)(j, team);
        #pragma omp parallel for num_threads(team) schedule(dynamic)
        for (int64_t i = 0; i < j->m; i += j->mc)
            screen_block(j, i);
        if (any_block(j, TOPK_GAVE_UP))
            screen_again(j, in_f32, team);
    }
}

/* Closes the gaps between rows from .. from + rows that were written k entries apart; row_ptr[r + 1] holds the count of row r. */
void SL_V(sl_topk_compact)(sl_csr *z, int64_t from, int64_t rows, int64_t k)
{
    float *val = z->val;
    int64_t start = z->row_ptr[from];
    for (int64_t r = from; r < from + rows; r++) {
        int64_t n = z->row_ptr[r + 1], to = z->row_ptr[r], at = start + (r - from) * k;
        if (to != at) {
            memmove(z->idx + to, z->idx + at, (size_t)n * sizeof *z->idx);
            memmove(val + to, val + at, (size_t)n * sizeof *val);
        }
        z->row_ptr[r + 1] = to + n;
    }
}

/* What was kept of rows in hand that go by exact values alone is void. */
static void forget_exact_rows(topk *j)
{
    for (int64_t r = 0; j->keep && r < j->m; r++)
        if (j->count[r] < 0)
            memset(j->keep->top + (j->r0 + r) * j->n, 255, (size_t)j->n);
}

static void encode(const sl_kern *k, const sl_tensor *x, const sl_tensor *W, const sl_tensor *b, const sl_tensor *skip, int64_t n_active,
                   sl_bounds *keep, const sl_csr *near, sl_csr *z)
{
    int64_t B = sl_rows(x), F = sl_rows(W);
    topk j = { .x = x->data, .w = W->data, .bias = b->data, .d = sl_cols(W), .k = sl_min64(n_active, F), .z = z, .keep = keep, .near = near };
    assert(sl_cols(x) == j.d && sl_numel(b) == F && z->n_rows == B && z->n_cols == F && z->capacity >= B * j.k);
    assert(!skip || (skip->dtype == SL_U8 && sl_numel(skip) == F));
    int team = sl_team(k, B * F * j.d / 8);
    int32_t *feature = sl_kern_scratch(k, SL_SCRATCH_PTR, (size_t)F * sizeof *feature);
    memset(z->row_ptr, 0, (size_t)(B + 1) * sizeof *z->row_ptr);
    if (!feature || j.k == 0)
        return;
    j.feature = feature;
    j.n = list_candidates(skip ? skip->data : NULL, F, feature);
    j.cap = sl_round_up(sl_min64(j.n, 8 * j.k + 256) + 2 * NR, NR);
    j.m = sl_min64(B, PROPOSALS / j.cap + 1);
    SL_V(sl_topk_f32_cut)(&j, j.m, team);
    if ((!skip && !SL_V(sl_topk_int8_begin)(&j, k, j.m) && sl_kern_failed(k)) || !SL_V(sl_topk_memory)(&j, k, j.nc * j.d))
        return;
    j.most = !j.int8 ? sl_min64(j.cap, 3 * j.k + 4 * NR) : j.cap;
    for (int64_t at_once = j.m; j.r0 < B; j.r0 += j.m) {
        j.m = sl_min64(at_once, B - j.r0);
        begin_rows(&j, team);
        screen(&j, team);
        if (any_block(&j, TOPK_FAILED)) {
            sl_kern_impl_of(k)->failed = true;
            return;
        }
        forget_exact_rows(&j);
        SL_V(sl_topk_decide)(&j, team);
        if (keep) {
            keep->w_norm = fmax(keep->w_norm, j.w_norm);
            keep->b_max = fmax(keep->b_max, j.b_max);
        }
    }
    SL_V(sl_topk_compact)(z, 0, B, j.k);
}

void SL_V(sl_simd_encode_topk)(const sl_kern *k, const sl_tensor *x, const sl_tensor *W, const sl_tensor *b, const sl_tensor *skip,
                               int64_t n_active, sl_csr *z)
{
    encode(k, x, W, b, skip, n_active, NULL, NULL, z);
}

void SL_V(sl_simd_encode_topk_keep)(const sl_kern *k, const sl_tensor *x, const sl_tensor *W, const sl_tensor *b, int64_t n_active, sl_bounds *keep, sl_csr *z)
{
    keep->w_norm = keep->b_max = 0;
    encode(k, x, W, b, NULL, n_active, keep, NULL, z);
}

void SL_V(sl_topk_encode_near)(const sl_kern *k, const sl_tensor *x, const sl_tensor *W, const sl_tensor *b, int64_t n_active, const sl_csr *near, sl_csr *z)
{
    encode(k, x, W, b, NULL, n_active, NULL, near, z);
}

void SL_V(sl_simd_encode_at)(const sl_kern *k, const sl_tensor *x, const sl_tensor *W, const sl_tensor *b, sl_csr *z)
{
    const float *in = x->data, *w = W->data, *bias = b->data;
    float *val = z->val;
    int64_t d = sl_cols(W);
    assert(sl_cols(x) == d && sl_rows(x) == z->n_rows && sl_rows(W) == z->n_cols);
    #pragma omp parallel for num_threads(sl_team(k, z->row_ptr[z->n_rows] * d)) schedule(static)
    for (int64_t r = 0; r < z->n_rows; r++)
        for (int64_t e = z->row_ptr[r]; e < z->row_ptr[r + 1]; e++) {
            if (e + 1 < z->row_ptr[r + 1])
                fetch_row(w + z->idx[e + 1] * d, d);
            val[e] = vf_exact_dot(in + r * d, w + z->idx[e] * d, d) + bias[z->idx[e]];
        }
}

/* The same of values at hand. sort: [F] */
static int64_t keep_row(const float *v, int64_t F, int64_t most, float *sort, int32_t *idx, float *val)
{
    float least = 0;
    int64_t positive = 0, equals = 0, kept = 0;
    for (int64_t f = 0; f < F; f++) {
        sort[positive] = v[f];
        positive += v[f] > 0;
    }
    if (positive > most) {
        least = SL_V(sl_topk_kth)(sort, positive, most);
        equals = most;
        for (int64_t i = 0; i < positive; i++)
            equals -= sort[i] > least;
    }
    for (int64_t f = 0; f < F; f++)
        if (v[f] > least || (v[f] == least && equals-- > 0)) {
            idx[kept] = (int32_t)f;
            val[kept++] = v[f];
        }
    return kept;
}

void SL_V(sl_simd_csr_topk)(const sl_kern *k, const sl_tensor *dense, int64_t most, int64_t row0, sl_csr *z)
{
    const float *v = dense->data;
    int64_t rows = sl_rows(dense), F = sl_cols(dense), limit = sl_min64(most, F), share = sl_round_up(F + 1, 16), start = row0 ? z->row_ptr[row0] : 0;
    float *val = (float *)z->val + start;
    int32_t *idx = z->idx + start;
    assert(row0 + rows <= z->n_rows && z->n_cols == F && z->capacity >= start + rows * limit);
    float *sort = sl_kern_scratch(k, SL_SIMD_A, (size_t)(k->n_threads * share) * sizeof *sort);
    if (!sort)
        return;
    #pragma omp parallel for num_threads(sl_team(k, rows * F)) schedule(static)
    for (int64_t r = 0; r < rows; r++)
        z->row_ptr[row0 + r + 1] = keep_row(v + r * F, F, limit, sort + omp_get_thread_num() * share, idx + r * limit, val + r * limit);
    z->row_ptr[row0] = start;
    SL_V(sl_topk_compact)(z, row0, rows, limit);
}
