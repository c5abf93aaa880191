/* What the codes of one feature say: statistics, histogram, tokens, contexts, co-firing. Blocks of features are gathered from the scratch file, so that
 * memory does not grow with rows; each feature has one owner, so that the threads do not matter. */
#include "eval/features.h"

#include <saelab/rng.h>

#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

enum {
    BLOCK = 1 << 25 /* active latents in memory */, APART = 16 /* see sl_context_kind */, WALK = 400 /* candidates for the top */, TRIES = 16 /* for each random choice */,
    COFIRE_ROWS = 2048
};
enum { STREAM_QUANTILE = 100, STREAM_NEAR = 300, STREAM_SILENT = 400 }; /* steps of the random streams, one a purpose */

/* One feature's active rows. */
typedef struct active { const int32_t *at; const float *value; int64_t n; } active;

/* What a thread needs. */
typedef struct worker {
    sl_fentry *order;       /* [room] row and value, strongest first */
    int64_t room;
    double *mass;           /* [strings] */
    int32_t *seen;          /* [strings] touched ones */
    int32_t *count, *met;   /* [features] co-firing, touched ones */
} worker;

typedef struct block { int64_t first, end; int64_t *ptr; int32_t *at; float *value; } block;

/* ---- gathering a block ---- */

/* Entries of features [from, end) of the block, rows ascending. */
static void gather_slice(const sl_fbuild *b, const block *k, int64_t from, int64_t end, int64_t *cursor)
{
    for (int64_t at = 0; at < b->n; at++) {
        int64_t row = b->arrived[at];
        const sl_fentry *e = b->codes.entry + b->codes.ptr[row], *stop = b->codes.entry + b->codes.ptr[row + 1];
        while (e < stop && e->id < from)
            e++;
        for (; e < stop && e->id < end; e++) {
            int64_t to = cursor[e->id - k->first]++;
            k->at[to] = (int32_t)at;
            k->value[to] = e->value;
        }
    }
}

/* One slice a thread, of about as many entries. */
static void gather(const sl_fbuild *b, const block *k, int64_t *cursor, int n_threads)
{
    int64_t n = k->end - k->first;
    memcpy(cursor, k->ptr, (size_t)n * sizeof *cursor);
#pragma omp parallel for num_threads(n_threads) schedule(static, 1)
    for (int t = 0; t < n_threads; t++) {
        int64_t from = 0, end = 0;
        while (from < n && k->ptr[from] < k->ptr[n] / n_threads * t)
            from++;
        for (end = from; end < n && (t == n_threads - 1 || k->ptr[end] < k->ptr[n] / n_threads * (t + 1));)
            end++;
        gather_slice(b, k, k->first + from, k->first + end, cursor);
    }
}

/* ---- statistics ---- */

static int by_value(const void *a, const void *b)
{
    const sl_fentry *x = a, *y = b;
    if (x->value != y->value)
        return x->value > y->value ? -1 : 1;
    return x->id < y->id ? -1 : x->id > y->id;
}

static void statistics(sl_fbuild *b, worker *w, int64_t j, const active *a)
{
    double sum = 0;
    for (int64_t i = 0; i < a->n; i++) {
        w->order[i] = (sl_fentry){ a->at[i], a->value[i] };
        sum += a->value[i];
    }
    qsort(w->order, (size_t)a->n, sizeof *w->order, by_value);
    float max = a->n ? w->order[0].value : 0;
    b->x.density[j] = (float)((double)a->n / (double)b->n);
    b->x.max[j] = max;
    b->x.mean[j] = a->n ? (float)(sum / (double)a->n) : 0;
    for (int64_t i = 0; i < a->n; i++) {
        int bin = (int)((double)a->value[i] / max * SL_FEATURE_BINS);
        b->x.hist[j * SL_FEATURE_BINS + (bin < SL_FEATURE_BINS ? bin : SL_FEATURE_BINS - 1)]++;
    }
}

/* The strings that hold most of its activation. */
static void tokens(sl_fbuild *b, worker *w, int64_t j, const active *a)
{
    int32_t id[SL_FEATURE_TOKENS];
    float mass[SL_FEATURE_TOKENS];
    sl_fbest best = { .room = SL_FEATURE_TOKENS, .id = id, .value = mass };
    int64_t n = 0;
    double sum = 0;
    for (int64_t i = 0; i < a->n; i++) {
        int32_t s = b->x.row_string[a->at[i]];
        sum += a->value[i];
        if (s < 0)
            continue;
        if (w->mass[s] == 0)
            w->seen[n++] = s;
        w->mass[s] += a->value[i];
    }
    for (int64_t i = 0; i < n; i++) {
        sl_fbest_add(&best, w->seen[i], (float)(w->mass[w->seen[i]] / sum));
        w->mass[w->seen[i]] = 0;
    }
    for (int i = 0; i < SL_FEATURE_TOKENS; i++) {
        b->x.token[j * SL_FEATURE_TOKENS + i] = i < best.n ? id[i] : -1;
        b->x.token_share[j * SL_FEATURE_TOKENS + i] = i < best.n ? mass[i] : 0;
    }
    b->x.top_token[j] = best.n ? id[0] : -1;
    b->x.top_share[j] = best.n ? mass[0] : NAN;
}

/* ---- contexts ---- */

/* The contexts of feature j so far: slots from `slot` on. */
typedef struct picked { sl_fbuild *b; const active *a; int64_t j, slot; int n; } picked;

static int64_t passage_of(const sl_findex *x, int64_t at)
{
    int64_t lo = 0, hi = x->size[FD_PASSAGES];
    while (hi - lo > 1) {
        int64_t mid = lo + (hi - lo) / 2;
        *(x->passage[mid] <= at ? &lo : &hi) = mid;
    }
    return lo;
}

/* Do the APART rows that end at p and q, within their passages, read the same? Rows that stand alone are never the same. */
static bool same_words(const sl_findex *x, int64_t p, int64_t q)
{
    if (x->row_string[p] != x->row_string[q] || x->row_string[p] < 0)
        return false;
    int64_t k = passage_of(x, p), room_p = p - x->passage[k] + 1, room_q = q - x->passage[passage_of(x, q)] + 1;
    int64_t n = room_p < room_q ? room_p : room_q;
    if ((n < APART && room_p != room_q) || x->passage[k + 1] - x->passage[k] == 1)
        return false;
    for (int64_t i = 1; i < (n < APART ? n : APART); i++)
        if (x->row_string[p - i] != x->row_string[q - i])
            return false;
    return true;
}

static bool same_place(const sl_findex *x, int64_t p, int64_t q)
{
    return (p < q ? q - p : p - q) < APART && passage_of(x, p) == passage_of(x, q);
}

/* The first of its active rows that is not before `at`. */
static int64_t first_from(const active *a, int64_t at)
{
    int64_t lo = 0, hi = a->n;
    while (lo < hi) {
        int64_t mid = lo + (hi - lo) / 2;
        if (a->at[mid] < at)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static bool silent_at(const active *a, int64_t at)
{
    int64_t i = first_from(a, at);
    return i == a->n || a->at[i] != at;
}

/* Activations around row `at`, in 1 .. 255 of the feature's largest where it fires. */
static void levels(const picked *p, int64_t at, uint8_t *level)
{
    const sl_findex *x = &p->b->x;
    const active *a = p->a;
    int64_t k = passage_of(x, at), from = at - p->b->o->before, end = from + x->size[FD_WINDOW];
    int64_t first = from > x->passage[k] ? from : x->passage[k];
    end = end < x->passage[k + 1] ? end : x->passage[k + 1];
    memset(level, 0, (size_t)x->size[FD_WINDOW]);
    for (int64_t i = first_from(a, first); i < a->n && a->at[i] < end; i++) {
        int step = (int)lround(255 * (double)a->value[i] / x->max[p->j]);
        level[a->at[i] - from] = (uint8_t)(step < 1 ? 1 : step);
    }
}

/* Takes row `at` unless one like it is there; active contexts are compared with active ones, silent ones with silent ones. */
static bool take(picked *p, int64_t at, float value, int kind)
{
    sl_findex *x = &p->b->x;
    for (int i = 0; i < p->n; i++) {
        int64_t s = p->slot + i, other = x->context_at[s];
        if ((x->context_value[s] > 0) != (value > 0))
            continue;
        if (same_place(x, at, other))
            return false;
        if (same_words(x, at, other)) {
            x->context_same[s] += kind == SL_CONTEXT_TOP && x->context_same[s] < 255;
            return false;
        }
    }
    int64_t s = p->slot + p->n++;
    x->context_at[s] = (int32_t)at;
    x->context_value[s] = value;
    x->context_kind[s] = (uint8_t)kind;
    x->context_same[s] = 0;
    levels(p, at, x->context_level + s * x->size[FD_WINDOW]);
    return true;
}

static void take_top(picked *p, const worker *w)
{
    int64_t walk = p->a->n < WALK ? p->a->n : WALK;
    for (int64_t i = 0, got = 0; i < walk && got < p->b->o->top; i++)
        got += take(p, w->order[i].id, w->order[i].value, SL_CONTEXT_TOP);
}

/* Ranks [from, end) of part q, the strongest part first. */
static void take_quantile(picked *p, const worker *w, int64_t q)
{
    const sl_features_opts *o = p->b->o;
    int64_t part = o->quantiles - 1 - q, from = p->a->n * part / o->quantiles, end = p->a->n * (part + 1) / o->quantiles;
    sl_rng r = sl_rng_at((uint64_t)o->seed, SL_RNG_EVAL, (uint64_t)(STREAM_QUANTILE + q), (uint64_t)p->j);
    for (int64_t i = 0, got = 0; end > from && i < TRIES * o->per_quantile && got < o->per_quantile; i++) {
        const sl_fentry *e = &w->order[from + (int64_t)sl_rng_below(&r, (uint64_t)(end - from))];
        got += take(p, e->id, e->value, (int)(SL_FQUANTILE + q));
    }
}

/* Rows of the strings that it fires on, the commonest first, where it is silent; each string in turn. */
static void take_near(picked *p)
{
    const sl_fbuild *b = p->b;
    const int32_t *token = b->x.token + p->j * SL_FEATURE_TOKENS;
    sl_rng r = sl_rng_at((uint64_t)b->o->seed, SL_RNG_EVAL, STREAM_NEAR, (uint64_t)p->j);
    for (int64_t i = 0, got = 0; b->string_rows && i < TRIES * b->o->near_misses && got < b->o->near_misses; i++) {
        int32_t s = token[i % SL_FEATURE_TOKENS];
        if (s < 0)
            continue;
        int32_t first = b->string_rows_ptr[s], n = b->string_rows_ptr[s + 1] - first;
        int64_t at = b->string_rows[first + (int32_t)sl_rng_below(&r, (uint64_t)n)];
        if (silent_at(p->a, at))
            got += take(p, at, 0, SL_CONTEXT_NEAR);
    }
}

static void take_silent(picked *p)
{
    const sl_fbuild *b = p->b;
    sl_rng r = sl_rng_at((uint64_t)b->o->seed, SL_RNG_EVAL, STREAM_SILENT, (uint64_t)p->j);
    for (int64_t i = 0, got = 0; i < TRIES * b->o->silent && got < b->o->silent; i++) {
        int64_t at = (int64_t)sl_rng_below(&r, (uint64_t)b->n);
        if (silent_at(p->a, at))
            got += take(p, at, 0, SL_CONTEXT_SILENT);
    }
}

static void contexts(sl_fbuild *b, const worker *w, int64_t j, const active *a)
{
    picked p = { b, a, j, j * b->contexts, 0 };
    if (a->n > 0) {
        take_top(&p, w);
        for (int64_t q = b->o->quantiles - 1; q >= 0; q--)
            take_quantile(&p, w, q);
        take_near(&p);
        take_silent(&p);
    }
    b->x.context_ptr[j + 1] = p.n;
}

/* ---- co-firing ---- */

/* Rows that the two share, in m rows of the first of all of its n: a share of P(ij). */
static float phi(const sl_fbuild *b, int64_t i, int64_t j, double together)
{
    double n = (double)b->n, pi = b->x.fired[i] / n, pj = b->x.fired[j] / n, scale = sqrt(pi * (1 - pi) * pj * (1 - pj));
    return scale > 0 ? (float)((pi * together - pi * pj) / scale) : 0;
}

static void cofiring(sl_fbuild *b, worker *w, int64_t j, const active *a)
{
    int64_t m = a->n < COFIRE_ROWS ? a->n : COFIRE_ROWS, near = b->x.size[FD_NEAR], n_met = 0;
    sl_fbest best = { .room = (int)near, .id = b->x.cofire_id + j * near, .value = b->x.cofire + j * near };
    for (int64_t i = 0; i < m; i++) {
        int64_t row = b->arrived[a->at[i * a->n / m]];
        for (int64_t e = b->codes.ptr[row]; e < b->codes.ptr[row + 1]; e++) {
            int32_t id = b->codes.entry[e].id;
            if (w->count[id]++ == 0)
                w->met[n_met++] = id;
        }
    }
    for (int64_t i = 0; i < n_met; i++) {
        int32_t id = w->met[i];
        float v = phi(b, j, id, (double)w->count[id] / (double)m);
        if (id != j && v > 0)
            sl_fbest_add(&best, id, v);
        w->count[id] = 0;
    }
    for (int64_t i = best.n; i < near; i++)
        b->x.cofire_id[j * near + i] = -1;
}

/* ---- all features ---- */

static void free_worker(sl_ctx *ctx, worker *w)
{
    sl_free(ctx, w->order);
    sl_free(ctx, w->mass);
    sl_free(ctx, w->seen);
    sl_free(ctx, w->count);
    sl_free(ctx, w->met);
}

static sl_status new_worker(sl_fbuild *b, int64_t room, worker *w, sl_err *err)
{
    size_t F = (size_t)b->x.size[FD_FEATURES], S = (size_t)b->x.size[FD_STRINGS_1];
    *w = (worker){ .room = room, .order = sl_alloc(b->ctx, (size_t)room * sizeof *w->order), .mass = sl_alloc(b->ctx, S * sizeof *w->mass),
                   .seen = sl_alloc(b->ctx, S * sizeof *w->seen), .count = sl_alloc(b->ctx, F * sizeof *w->count), .met = sl_alloc(b->ctx, F * sizeof *w->met) };
    return w->order && w->mass && w->seen && w->count && w->met ? SL_OK : sl_fail(err, SL_MEM, "feature index", "fewer threads", "no memory for a thread's lists");
}

static void one_feature(sl_fbuild *b, worker *w, const block *k, int64_t j)
{
    int64_t first = k->ptr[j - k->first];
    active a = { k->at + first, k->value + first, k->ptr[j - k->first + 1] - first };
    statistics(b, w, j, &a);
    tokens(b, w, j, &a);
    contexts(b, w, j, &a);
    cofiring(b, w, j, &a);
}

/* Features from k->first on, as many as fit; at least one. */
static void plan_block(const sl_fbuild *b, block *k)
{
    k->end = k->first;
    k->ptr[0] = 0;
    do {
        k->ptr[k->end - k->first + 1] = k->ptr[k->end - k->first] + b->x.fired[k->end];
        k->end++;
    } while (k->end < b->x.size[FD_FEATURES] && k->ptr[k->end - k->first] + b->x.fired[k->end] <= BLOCK);
}

static sl_status all_blocks(sl_fbuild *b, block *k, worker *w, int64_t *cursor, int n_threads, sl_err *err)
{
    int64_t F = b->x.size[FD_FEATURES];
    for (k->first = 0; k->first < F; k->first = k->end) {
        plan_block(b, k);
        gather(b, k, cursor, n_threads);
#pragma omp parallel for num_threads(n_threads) schedule(dynamic, 16)
        for (int64_t j = k->first; j < k->end; j++)
            if (!sl_cancelled(b->ctx))
                one_feature(b, &w[omp_get_thread_num()], k, j);
        sl_progress(b->ctx, "contexts", (double)k->end, (double)F, "features", NULL);
        if (sl_cancelled(b->ctx))
            return sl_fail(err, SL_CANCELLED, "feature index", NULL, "stopped");
    }
    return SL_OK;
}

/* Slots that were not used go. */
static void compact(sl_fbuild *b)
{
    sl_findex *x = &b->x;
    int64_t F = x->size[FD_FEATURES], window = x->size[FD_WINDOW];
    for (int64_t j = 0; j < F; j++) {
        int64_t to = x->context_ptr[j], from = j * b->contexts, n = x->context_ptr[j + 1];
        memmove(x->context_at + to, x->context_at + from, (size_t)n * sizeof *x->context_at);
        memmove(x->context_value + to, x->context_value + from, (size_t)n * sizeof *x->context_value);
        memmove(x->context_kind + to, x->context_kind + from, (size_t)n);
        memmove(x->context_same + to, x->context_same + from, (size_t)n);
        memmove(x->context_level + to * window, x->context_level + from * window, (size_t)(n * window));
        x->context_ptr[j + 1] += (int32_t)to;
    }
    x->size[FD_CONTEXTS] = x->context_ptr[F];
}

sl_status sl_fbuild_pick(sl_fbuild *b, sl_err *err)
{
    int64_t F = b->x.size[FD_FEATURES], room = 0, entries = b->codes.ptr[b->n];
    int n_threads = sl_ctx_threads(b->ctx);
    for (int64_t j = 0; j < F; j++)
        room = b->x.fired[j] > room ? b->x.fired[j] : room;
    int64_t cap = entries < BLOCK ? entries : room > BLOCK ? room : BLOCK;
    block k = { .ptr = sl_alloc(b->ctx, (size_t)(F + 1) * sizeof *k.ptr), .at = sl_alloc(b->ctx, (size_t)cap * sizeof *k.at),
                .value = sl_alloc(b->ctx, (size_t)cap * sizeof *k.value) };
    int64_t *cursor = sl_alloc(b->ctx, (size_t)F * sizeof *cursor);
    worker *w = sl_alloc(b->ctx, (size_t)n_threads * sizeof *w);
    sl_status st = k.ptr && k.at && k.value && cursor && w ? SL_OK : sl_fail(err, SL_MEM, "feature index", NULL, "no memory for %lld active latents", (long long)cap);
    for (int t = 0; st == SL_OK && t < n_threads; t++)
        st = new_worker(b, room, &w[t], err);
    if (st == SL_OK)
        st = all_blocks(b, &k, w, cursor, n_threads, err);
    if (st == SL_OK)
        compact(b);
    for (int t = 0; w && t < n_threads; t++)
        free_worker(b->ctx, &w[t]);
    void *all[] = { k.ptr, k.at, k.value, cursor, w };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        sl_free(b->ctx, all[i]);
    return st;
}
