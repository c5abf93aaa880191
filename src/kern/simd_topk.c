/* TopK encoding. The product x W^T, made in register tiles, only proposes: a value that it gives differs from the one of
 * kern/dot.h by at most `slack`, so a feature can be among the k largest only if its proposal reaches the k-th largest proposal
 * so far less twice the slack. At the end kern/dot.h decides among the few that are left: the codes of every layer, bit for bit.
 *
 * slack = gamma |x| max |w| + 16 u max |b| + underflow. A sum of n rounded products is off by at most n u sum |x_i w_i| (u = 2^-24;
 * Higham 2002, "Accuracy and stability of numerical algorithms", section 3.1), and sum |x_i w_i| <= |x| |w|. The product's
 * chains are kc long and their sums are added, kern/dot.h's are d / 32; 64 and 16 leave room for the bias and for the roundings
 * of the bound itself. A row whose slack is not finite, or with too many proposals (ties), is made of exact values alone. */
#include "kern/simd_sparse.h"

#include <assert.h>
#include <float.h>
#include <math.h>
#include <omp.h>
#include <string.h>

enum {
    KC = 384,               /* longest chain of a product */
    MC = 96,                /* most rows of a block, */
    A_FLOATS = 1 << 16,     /* and most elements of x in it: it stays in the second-level cache */
    W_FLOATS = 1 << 20,     /* of W, packed for all threads at once */
    PROPOSALS = 1 << 23,    /* held at once */
    EXACT_ROWS = 8          /* rows without proposals share one reading of W */
};

typedef struct job {
    const float *x, *w, *bias;
    const int32_t *feature; /* [n] the candidates, ascending */
    int64_t n, d, k;
    int64_t kc, mc, nc;     /* cuts of d, rows, features */
    double gamma, w_norm, b_max; /* w_norm, b_max: largest |w_f| and |b_f| of the features in hand and before */
    int64_t r0, m;          /* rows in hand, [r0, r0 + m): */
    int64_t cap;
    int32_t *at;            /* [m, cap] proposed candidates, ascending, */
    float *val;             /* [m, cap] and what the product gave */
    float *norm, *kth, *limit; /* [m] |x|, rounded up; at most the k-th largest proposal, -inf while unknown; what a proposal must reach */
    int32_t *count;         /* [m] proposals, -1: exact values needed */
    int32_t *exact;         /* [m] list of such rows */
    int64_t p0;             /* candidates in hand from here on */
    float *packed;          /* panels of NR candidates, [d, NR] each */
    float *share;           /* per thread: [n_share] */
    int64_t n_share;
    sl_csr *z;
} job;

static float *share_of(const job *j) { return j->share + omp_get_thread_num() * j->n_share; }

/* The k-th largest (k from 1) of v [n], none of them NaN; v is reordered. Hoare, "Find", CACM 4(7), 1961, algorithm 65. */
static float kth_largest(float *v, int64_t n, int64_t k)
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

/* ---- bounds ---- */

/* |x|, not below the true one; inf or NaN when that is not known. */
static float norm_above(const float *x, int64_t d)
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
    double sq = (double)vf_sum(s0 + s1) * (1 + (double)(d + 16) * FLT_EPSILON) + (double)d * FLT_MIN;
    return (float)(sqrt(sq) * (1 + 1e-6));
}

static void set_limit(job *j, int64_t r)
{
    if (j->count[r] < 0)
        return;
    double slack = j->gamma * (double)j->norm[r] * j->w_norm + 16 * (FLT_EPSILON / 2) * j->b_max + (double)(j->d + 1) * FLT_MIN;
    float s = (float)(slack * (1 + 1e-6));
    if (isfinite(s))
        j->limit[r] = fmaxf(j->kth[r] - 2 * s, -s); /* below -s no value is positive */
    else {
        j->count[r] = -1;
        j->limit[r] = INFINITY;
    }
}

/* How many of v [n] are not below t; v has room for whole vectors. */
static int64_t count_from(const float *v, int64_t n, vf t)
{
    int64_t count = 0;
    for (int64_t i = 0; i < n; i += VW) {
        uint32_t there = n - i < VW ? ((uint32_t)1 << (n - i)) - 1 : UINT32_MAX;
        count += __builtin_popcount(vf_not_below(vf_load(v + i), t) & there);
    }
    return count;
}

/* The k-th largest of v [n], n >= k, or a little less: halving steps between the least and the largest. */
static float near_kth(const float *v, int64_t n, int64_t k)
{
    float lo = v[0], hi = v[0];
    for (int64_t i = 1; i < n; i++) {
        lo = v[i] < lo ? v[i] : lo;
        hi = v[i] > hi ? v[i] : hi;
    }
    for (int step = 0; step < 24; step++) {
        float mid = lo / 2 + hi / 2;
        int64_t count = count_from(v, n, vf_set(mid));
        if (count < k)
            hi = mid;
        else
            lo = mid;
        if (count == k)
            break;
    }
    return lo;
}

/* Raises the row's limit by what has been proposed, and drops the proposals below it. */
static void tighten(job *j, int64_t r)
{
    int32_t *at = j->at + r * j->cap, n = j->count[r], kept = 0;
    float *val = j->val + r * j->cap;
    j->kth[r] = near_kth(val, n, j->k);
    set_limit(j, r);
    for (int32_t i = 0; i < n; i++) {
        at[kept] = at[i];
        val[kept] = val[i];
        kept += !(val[i] < j->limit[r]);
    }
    j->count[r] = kept;
    if (kept + NR > j->cap) {
        j->count[r] = -1;
        j->limit[r] = INFINITY;
    }
}

/* ---- the product ---- */

/* A panel: column c is candidate p + c; past the last one, that again, and its results are not looked at. */
static void pack_panel(const job *j, int64_t p, float *out, double *w_norm, double *b_max)
{
    int64_t d = j->d;
    for (int64_t c = 0; c < NR; c += 8) {
        const float *row[8];
        for (int64_t i = 0; i < 8; i++) {
            int32_t f = j->feature[sl_min64(p + c + i, j->n - 1)];
            row[i] = j->w + f * d;
            double norm = norm_above(row[i], d), b = fabs((double)j->bias[f]);
            *w_norm = isfinite(norm) ? fmax(*w_norm, norm) : INFINITY;
            *b_max = isfinite(b) ? fmax(*b_max, b) : INFINITY;
        }
        for (int64_t k = 0; k < d; k++)
            for (int64_t i = 0; i < 8; i++)
                out[k * NR + c + i] = row[i][k];
    }
}

static void pack(job *j, int64_t n, int team)
{
    double w_norm = j->w_norm, b_max = j->b_max;
    #pragma omp parallel for num_threads(team) schedule(static) reduction(max : w_norm, b_max)
    for (int64_t p = 0; p < n; p += NR)
        pack_panel(j, j->p0 + p, j->packed + p * j->d, &w_norm, &b_max);
    j->w_norm = w_norm;
    j->b_max = b_max;
}

static void propose(job *j, int64_t r, int64_t p, uint32_t hits, const float *v)
{
    int32_t n = j->count[r];
    if (n < 0)
        return;
    int32_t *at = j->at + r * j->cap;
    float *val = j->val + r * j->cap;
    for (; hits; hits &= hits - 1) {
        int c = __builtin_ctz(hits);
        at[n] = (int32_t)(p + c);
        val[n++] = v[c];
    }
    j->count[r] = n;
    if (n + NR > j->cap)
        tighten(j, r);
}

/* Rows i .. i + m of those in hand; sums [m, NR] of candidates p .. */
static void filter(job *j, int64_t i, int64_t m, int64_t p, float *sums)
{
    _Alignas(64) float bias[NR];
    uint32_t valid = (uint32_t)(((uint64_t)1 << sl_min64(NR, j->n - p)) - 1);
    for (int64_t c = 0; c < NR; c++)
        bias[c] = j->bias[j->feature[sl_min64(p + c, j->n - 1)]];
    vf b0 = vf_load(bias), b1 = vf_load(bias + VW);
    for (int64_t r = i; r < i + m; r++, sums += NR) {
        vf v0 = vf_load(sums) + b0, v1 = vf_load(sums + VW) + b1, limit = vf_set(j->limit[r]);
        uint32_t hits = (vf_not_below(v0, limit) | vf_not_below(v1, limit) << VW) & valid;
        if (!hits)
            continue;
        vf_store(sums, v0);
        vf_store(sums + VW, v1);
        propose(j, r, p, hits, sums);
    }
}

/* sums [m, NR] of one panel: passes of kc, each a chain of its own. x: row r of the block at x + r d, last: its last whole tile's
 * rows are padded in `pad` when x ends before them. */
static void sum_panel(const job *j, const float *x, int64_t m, const float *pad, const float *panel, float *sums)
{
    _Alignas(64) float tile[MR * NR];
    for (int64_t k0 = 0; k0 < j->d; k0 += j->kc)
        for (int64_t r = 0; r < m; r += MR) {
            const float *a = pad && m - r < MR ? pad + k0 : x + r * j->d + k0;
            int64_t kc = sl_min64(j->kc, j->d - k0);
            if (k0 == 0) {
                SL_V(sl_simd_micro)(kc, a, j->d, 1, panel, sums + r * NR, NR);
                continue;
            }
            SL_V(sl_simd_micro)(kc, a, j->d, 1, panel + k0 * NR, tile, NR);
            for (int64_t e = 0; e < MR * NR; e += VW)
                vf_store(sums + r * NR + e, vf_load(sums + r * NR + e) + vf_load(tile + e));
        }
}

/* Rows i .. i + m against the candidates in hand. */
static void screen_block(job *j, int64_t i, int64_t m, int64_t n)
{
    _Alignas(64) float sums[(MC + MR) * NR];
    float *pad = share_of(j);
    const float *x = j->x + (j->r0 + i) * j->d;
    int64_t part = m % MR;
    memset(pad, 0, (size_t)(MR * j->d) * sizeof *pad);
    memcpy(pad, x + (m - part) * j->d, (size_t)(part * j->d) * sizeof *pad);
    for (int64_t r = i; r < i + m; r++)
        set_limit(j, r);
    for (int64_t p = 0; p < n; p += NR) {
        sum_panel(j, x, m, part ? pad : NULL, j->packed + p * j->d, sums);
        filter(j, i, m, j->p0 + p, sums);
    }
}

static void screen(job *j, int team)
{
    #pragma omp parallel for num_threads(team) schedule(static)
    for (int64_t r = 0; r < j->m; r++) {
        j->norm[r] = norm_above(j->x + (j->r0 + r) * j->d, j->d);
        j->kth[r] = -INFINITY;
        j->count[r] = 0;
    }
    j->w_norm = j->b_max = 0;
    for (j->p0 = 0; j->p0 < j->n; j->p0 += j->nc) {
        int64_t n = sl_min64(j->nc, j->n - j->p0);
        pack(j, n, team);
        #pragma omp parallel for num_threads(team) schedule(dynamic)
        for (int64_t i = 0; i < j->m; i += j->mc)
            screen_block(j, i, sl_min64(j->mc, j->m - i), n);
    }
}

/* ---- the decision ---- */

/* Row r takes the k largest positive of v [n], the first of equals; value i is candidate at[i], or i when at is NULL. sort: [n] */
static void choose(const job *j, int64_t r, const float *v, const int32_t *at, int64_t n, float *sort)
{
    int32_t *idx = j->z->idx + (j->r0 + r) * j->k;
    float *val = (float *)j->z->val + (j->r0 + r) * j->k, least = 0;
    int64_t m = 0, equals = 0, taken = 0;
    for (int64_t i = 0; i < n; i++)
        if (v[i] > 0)
            sort[m++] = v[i];
    if (m > j->k) {
        least = kth_largest(sort, m, j->k);
        equals = j->k;
        for (int64_t i = 0; i < m; i++)
            equals -= sort[i] > least;
    }
    for (int64_t i = 0; i < n; i++)
        if (v[i] > least || (v[i] == least && equals-- > 0)) {
            idx[taken] = j->feature[at ? at[i] : i];
            val[taken++] = v[i];
        }
    j->z->row_ptr[j->r0 + r + 1] = taken;
}

static float exact(const job *j, int64_t r, int32_t f) { return vf_exact_dot(j->x + (j->r0 + r) * j->d, j->w + f * j->d, j->d) + j->bias[f]; }

static void decide(job *j, int64_t r)
{
    float *v = share_of(j), *sort = v + j->cap;
    if (j->count[r] > j->k)
        tighten(j, r);
    const int32_t *at = j->at + r * j->cap;
    int64_t n = j->count[r];
    for (int64_t i = 0; i < n; i++) {
        if (i + 1 < n)
            fetch_row(j->w + j->feature[at[i + 1]] * j->d, j->d);
        v[i] = exact(j, r, j->feature[at[i]]);
    }
    if (n >= 0)
        choose(j, r, v, at, n, sort);
}

/* Rows that have no proposals, m <= EXACT_ROWS of them. */
static void decide_exactly(const job *j, const int32_t *rows, int64_t m)
{
    float *v = share_of(j), *sort = v + EXACT_ROWS * j->n;
    for (int64_t p = 0; p < j->n; p++)
        for (int64_t i = 0; i < m; i++)
            v[i * j->n + p] = exact(j, rows[i], j->feature[p]);
    for (int64_t i = 0; i < m; i++)
        choose(j, rows[i], v + i * j->n, NULL, j->n, sort);
}

static void decide_all(job *j, int team)
{
    int64_t n = 0;
    #pragma omp parallel for num_threads(team) schedule(dynamic, 16)
    for (int64_t r = 0; r < j->m; r++)
        decide(j, r);
    for (int64_t r = 0; r < j->m; r++)
        if (j->count[r] < 0)
            j->exact[n++] = (int32_t)r;
    #pragma omp parallel for num_threads(team) schedule(dynamic)
    for (int64_t i = 0; i < n; i += EXACT_ROWS)
        decide_exactly(j, j->exact + i, sl_min64(EXACT_ROWS, n - i));
}

/* ---- the slot ---- */

/* Candidates of [0, F), those without skip. */
static int64_t list_candidates(const uint8_t *skip, int64_t F, int32_t *feature)
{
    int64_t n = 0;
    for (int64_t f = 0; f < F; f++)
        if (!skip || !skip[f])
            feature[n++] = (int32_t)f;
    return n;
}

/* Cuts the work. What decides the product's bits, kc, comes from d alone; but no bit of the result depends on it anyway. */
static void cut(job *j, int64_t B, int team)
{
    int64_t passes = (j->d + KC - 1) / KC, chunks;
    j->kc = passes ? (j->d + passes - 1) / passes : 1;
    j->gamma = 1.01 * (FLT_EPSILON / 2) * (double)(j->kc + passes + j->d / SL_DOT_LANES + 64);
    j->nc = sl_round_up(1 + W_FLOATS / (j->d + 1), NR);
    chunks = (j->n + j->nc - 1) / j->nc;
    j->nc = chunks ? sl_round_up((j->n + chunks - 1) / chunks, NR) : NR;
    j->cap = sl_round_up(sl_min64(j->n, 4 * j->k + NR) + NR, NR);
    j->m = sl_min64(B, PROPOSALS / j->cap + 1);
    j->mc = A_FLOATS / (j->d + 1) / MR * MR;
    j->mc = j->mc > MC ? MC : j->mc < MR ? MR : j->mc;
    while (j->mc > 4 * MR && (j->m + j->mc - 1) / j->mc < 8 * team)
        j->mc = sl_round_up(j->mc / 2, MR);
}

static bool get_memory(job *j, const sl_kern *k)
{
    size_t m = (size_t)j->m, cap = (size_t)j->cap;
    int64_t screening = MR * j->d, deciding = 2 * j->cap, exactly = (EXACT_ROWS + 1) * j->n;
    j->n_share = screening > deciding ? screening : deciding;
    j->n_share = sl_round_up(j->n_share > exactly ? j->n_share : exactly, 16);
    j->share = sl_kern_scratch(k, SL_SIMD_A, (size_t)(k->n_threads * j->n_share) * sizeof(float));
    j->packed = sl_kern_scratch(k, SL_SIMD_B, (size_t)(j->nc * j->d) * sizeof(float));
    j->at = sl_kern_scratch(k, SL_SCRATCH_ENTRY, m * cap * sizeof *j->at);
    j->val = sl_kern_scratch(k, SL_SCRATCH_ENTRY_ROW, m * cap * sizeof *j->val);
    j->norm = sl_kern_scratch(k, SL_SIMD_ROWS, m * (3 * sizeof(float) + 2 * sizeof(int32_t)));
    if (!j->share || !j->packed || !j->at || !j->val || !j->norm)
        return false;
    j->kth = j->norm + m;
    j->limit = j->kth + m;
    j->count = (int32_t *)(void *)(j->limit + m);
    j->exact = j->count + m;
    return true;
}

/* Closes the gaps between rows that were written k entries apart; row_ptr[r + 1] holds the count of row r. */
static void compact(sl_csr *z, int64_t k)
{
    float *val = z->val;
    z->row_ptr[0] = 0;
    for (int64_t r = 0; r < z->n_rows; r++) {
        int64_t n = z->row_ptr[r + 1], to = z->row_ptr[r];
        if (to != r * k) {
            memmove(z->idx + to, z->idx + r * k, (size_t)n * sizeof *z->idx);
            memmove(val + to, val + r * k, (size_t)n * sizeof *val);
        }
        z->row_ptr[r + 1] = to + n;
    }
}

void SL_V(sl_simd_encode_topk)(const sl_kern *k, const sl_tensor *x, const sl_tensor *W, const sl_tensor *b, const sl_tensor *skip,
                               int64_t n_active, sl_csr *z)
{
    int64_t B = sl_rows(x), F = sl_rows(W);
    job j = { .x = x->data, .w = W->data, .bias = b->data, .d = sl_cols(W), .k = sl_min64(n_active, F), .z = z };
    assert(sl_cols(x) == j.d && sl_numel(b) == F && z->n_rows == B && z->n_cols == F && z->capacity >= B * j.k);
    assert(!skip || (skip->dtype == SL_U8 && sl_numel(skip) == F));
    int team = sl_team(k, B * F * j.d / 8);
    int32_t *feature = sl_kern_scratch(k, SL_SCRATCH_PTR, (size_t)F * sizeof *feature);
    memset(z->row_ptr, 0, (size_t)(B + 1) * sizeof *z->row_ptr);
    if (!feature || j.k == 0)
        return;
    j.feature = feature;
    j.n = list_candidates(skip ? skip->data : NULL, F, feature);
    cut(&j, B, team);
    if (!get_memory(&j, k))
        return;
    for (int64_t at_once = j.m; j.r0 < B; j.r0 += j.m) {
        j.m = sl_min64(at_once, B - j.r0);
        screen(&j, team);
        decide_all(&j, team);
    }
    compact(z, j.k);
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
