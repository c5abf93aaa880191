/* Worlds: registry, building, and the source that makes rows into batches. */
#include "data/worlds/world.h"
#include "io/io.h"

#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <string.h>

static const char REVISION[] = "1"; /* raised whenever a row of any world changes */

static const sl_world_ops *const worlds[] = {
    &sl_world_toy_song, &sl_world_toy_sharkey, &sl_world_toy_elhage, &sl_world_toy_composed, &sl_world_comp_ood, &sl_world_toy_128,
    &sl_world_synth1k, &sl_world_synth_hier, &sl_world_synth16k, &sl_world_synth_comp,
    &sl_world_arithmetic, &sl_world_boolean, &sl_world_grammar, &sl_world_dyck2,
};
enum { N_WORLDS = sizeof worlds / sizeof *worlds };

const char *const sl_world_splits[] = { "train", "test", "ood", "all", NULL };

/* ---- registry ---- */

const sl_world_info *sl_world_at(int i) { return i >= 0 && i < N_WORLDS ? &worlds[i]->info : NULL; }

static const sl_world_ops *find(const char *name)
{
    for (int i = 0; name && i < N_WORLDS; i++)
        if (sl_name_equal(worlds[i]->info.name, name))
            return worlds[i];
    return NULL;
}

const sl_world_info *sl_world_find(const char *name)
{
    const sl_world_ops *ops = find(name);
    return ops ? &ops->info : NULL;
}

static sl_status unknown_world(const char *name, sl_err *err)
{
    for (int i = 0; name && i < N_WORLDS; i++)
        if (sl_name_close(name, worlds[i]->info.name))
            return sl_fail(err, SL_ARG, name, worlds[i]->info.name, "no such world");
    return sl_fail(err, SL_ARG, name ? name : "world", "a name of `saelab world list`", "no such world");
}

/* ---- life ---- */

sl_rng sl_world_rng(const sl_world *w, sl_world_use use, unsigned part, uint64_t item)
{
    return sl_rng_at(w->seed, SL_RNG_WORLD, (uint64_t)use << 8 | part, item);
}

void *sl_world_alloc(sl_world *w, size_t bytes)
{
    void *p = sl_arena_alloc(w->arena, bytes);
    if (p)
        memset(p, 0, bytes);
    return p;
}

sl_status sl_world_no_memory(const sl_world *w, sl_err *err)
{
    return sl_fail(err, SL_MEM, w->ops->info.name, NULL, "no memory for the world");
}

typedef struct text { char *at; size_t left; } text;

static void put_text(void *user, const char *piece)
{
    text *t = user;
    size_t n = strlen(piece);
    n = n < t->left ? n : t->left;
    memcpy(t->at, piece, n);
    t->at += n;
    t->left -= n;
}

static void identify(sl_world *w)
{
    enum { ROOM = 4096 };
    char what[ROOM];
    text t = { what, sizeof what };
    char head[128];
    snprintf(head, sizeof head, "world %s revision %s seed %llu\n", w->ops->info.name, REVISION, (unsigned long long)w->seed);
    put_text(&t, head);
    sl_opts_dump(w->ops->info.opts, w->opts, 0, put_text, &t);
    sl_sha256_hex(what, sizeof what - t.left, w->id);
}

/* Options in C structs come from programs too: the table's limits hold for them as well. */
static sl_status check_options(const sl_world *w, sl_err *err)
{
    for (const sl_opt *o = w->ops->info.opts; o->type != SL_T_END; o++) {
        const char *at = w->opts + o->offset;
        double v = o->type == SL_T_INT ? (double)*(const int64_t *)(const void *)at : o->type == SL_T_FLOAT ? *(const double *)(const void *)at : o->def;
        char want[256];
        sl_opts_expected(o, want, sizeof want);
        if ((o->type == SL_T_INT || o->type == SL_T_FLOAT) && !(v >= o->min && v <= o->max))
            return sl_fail(err, SL_ARG, o->name, want, "%s: %g", w->ops->info.name, v);
    }
    return SL_OK;
}

sl_status sl_world_new(sl_ctx *ctx, const char *name, const void *wopts, uint64_t seed, sl_world **out, sl_err *err)
{
    *out = NULL;
    const sl_world_ops *ops = find(name);
    if (!ops)
        return unknown_world(name, err);
    sl_world *w = sl_alloc(ctx, sizeof *w);
    if (!w)
        return sl_fail(err, SL_MEM, ops->info.name, NULL, "no memory for the world");
    w->ctx = ctx;
    w->ops = ops;
    w->seed = seed;
    w->arena = sl_arena_new(ctx, 1 << 16);
    sl_status st = SL_OK;
    if (wopts)
        memcpy(w->opts, wopts, ops->info.opts_size);
    else
        sl_opts_default(ops->info.opts, w->opts);
    SL_GO(w->arena ? check_options(w, err) : sl_world_no_memory(w, err));
    identify(w);
    SL_GO(ops->build(w, err));
    *out = w;
    return SL_OK;
done:
    sl_world_free(w);
    return st;
}

void sl_world_free(sl_world *w)
{
    if (!w)
        return;
    sl_ctx *ctx = w->ctx;
    sl_tok_free((sl_tok *)(uintptr_t)w->task.tok);
    sl_arena_free(w->arena);
    sl_free(ctx, w);
}

const sl_world_info *sl_world_about(const sl_world *w) { return &w->ops->info; }
const char *sl_world_id(const sl_world *w) { return w->id; }
const sl_world_truth *sl_world_truth_of(const sl_world *w) { return &w->truth; }
const sl_task_info *sl_world_task(const sl_world *w) { return w->ops->info.kind == SL_WORLD_TASK ? &w->task : NULL; }

double sl_world_form_value(sl_world_form form, const float *value, int32_t order)
{
    double product = 1, least = INFINITY;
    for (int32_t i = 0; i < order; i++) {
        product *= (double)value[i];
        least = (double)value[i] < least ? (double)value[i] : least;
    }
    return form == SL_FORM_PRODUCT ? product : form == SL_FORM_MIN ? least : 1;
}

/* ---- the source ---- */

typedef struct source {
    const sl_world *w;
    const sl_kern *k;
    sl_world_split split;
    int64_t at;              /* next row */
    int64_t cap, slot;       /* rows that the buffers hold; entries that a row may have before it is made again */
    int64_t *row, *count;    /* [cap] */
    int32_t *idx;            /* [cap, slot] */
    float *val, *x;          /* [cap, slot], [cap, d] */
    char *scratch;           /* [threads, scratch_bytes] */
    size_t scratch_bytes;
    int threads;
    sl_codes truth;
} source;

enum { FIRST_SLOT = 64 };

static void free_rows(source *s)
{
    sl_ctx *ctx = s->w->ctx;
    sl_free(ctx, s->row);
    sl_free(ctx, s->count);
    sl_free(ctx, s->idx);
    sl_free(ctx, s->val);
    sl_free(ctx, s->x);
    sl_codes_release(ctx, &s->truth);
    s->row = s->count = NULL;
    s->idx = NULL;
    s->val = s->x = NULL;
    s->cap = 0;
}

static sl_status need_rows(source *s, int64_t n, int64_t slot, sl_err *err)
{
    if (n <= s->cap && slot <= s->slot)
        return SL_OK;
    sl_ctx *ctx = s->w->ctx;
    size_t rows = (size_t)n, entries = rows * (size_t)slot;
    free_rows(s);
    s->row = sl_alloc(ctx, rows * sizeof *s->row);
    s->count = sl_alloc(ctx, rows * sizeof *s->count);
    s->idx = sl_alloc(ctx, entries * sizeof *s->idx);
    s->val = sl_alloc(ctx, entries * sizeof *s->val);
    s->x = sl_alloc(ctx, rows * (size_t)s->w->truth.d * sizeof *s->x);
    sl_status st = sl_codes_new(ctx, n, slot, &s->truth, err);
    if (st != SL_OK || !s->row || !s->count || !s->idx || !s->val || !s->x) {
        free_rows(s);
        return sl_fail(err, SL_MEM, s->w->ops->info.name, NULL, "no memory for a batch of %lld rows", (long long)n);
    }
    s->cap = n;
    s->slot = slot;
    return SL_OK;
}

/* Ascending by feature; worlds put most of a row in order. */
static void sort_row(sl_world_row *r)
{
    for (int64_t i = 1; i < r->n; i++) {
        int32_t f = r->idx[i];
        float v = r->val[i];
        int64_t j = i;
        for (; j > 0 && r->idx[j - 1] > f; j--) {
            r->idx[j] = r->idx[j - 1];
            r->val[j] = r->val[j - 1];
        }
        r->idx[j] = f;
        r->val[j] = v;
    }
}

static sl_world_row begin_row(const source *s, int64_t i)
{
    return (sl_world_row){ .rng = sl_world_rng(s->w, SL_USE_ROW, s->split, (uint64_t)s->row[i]), .split = s->split, .row = s->row[i],
                           .cap = s->slot, .idx = s->idx + i * s->slot, .val = s->val + i * s->slot };
}

/* Makes the rows; returns the entries of the longest one, which are more than s->slot when the rows have to be made again. */
static int64_t make_rows(source *s, int64_t n)
{
    int64_t longest = 0;
#pragma omp parallel for num_threads(s->threads) schedule(static) reduction(max : longest)
    for (int64_t i = 0; i < n; i++) {
        sl_world_row r = begin_row(s, i);
        r.scratch = s->scratch + (size_t)omp_get_thread_num() * s->scratch_bytes;
        s->w->ops->row(s->w, &r);
        if (r.n <= r.cap)
            sort_row(&r);
        s->count[i] = r.n;
        longest = r.n > longest ? r.n : longest;
    }
    return longest;
}

static void pack(source *s, int64_t n)
{
    s->truth.row_ptr[0] = 0;
    for (int64_t i = 0; i < n; i++) {
        int64_t at = s->truth.row_ptr[i];
        memcpy(s->truth.idx + at, s->idx + i * s->slot, (size_t)s->count[i] * sizeof *s->idx);
        memcpy(s->truth.val + at, s->val + i * s->slot, (size_t)s->count[i] * sizeof *s->val);
        s->truth.row_ptr[i + 1] = at + s->count[i];
    }
}

/* x = codes times directions + bias, then what is not linear. */
static void decode(source *s, int64_t n)
{
    const sl_world_truth *t = &s->w->truth;
    sl_csr z = { .n_rows = n, .n_cols = t->n, .capacity = s->truth.capacity, .row_ptr = s->truth.row_ptr, .idx = s->truth.idx, .val = s->truth.val };
    sl_tensor W = sl_tensor_of(SL_F32, (void *)(uintptr_t)t->dir, 2, t->n, t->d), x = sl_tensor_of(SL_F32, s->x, 2, n, t->d);
    sl_tensor bias = sl_tensor_of(SL_F32, (void *)(uintptr_t)t->bias, 1, t->d);
    s->k->sparse_decode(s->k, &z, &W, t->bias ? &bias : NULL, &x);
    if (!s->w->ops->finish)
        return;
#pragma omp parallel for num_threads(s->threads) schedule(static)
    for (int64_t i = 0; i < n; i++) {
        sl_world_row r = begin_row(s, i);
        r.n = s->count[i];
        s->w->ops->finish(s->w, &r, s->x + i * t->d);
    }
}

static sl_status next(sl_act_source *src, int64_t n, sl_act_batch *out, sl_err *err)
{
    source *s = src->impl;
    if (n < 1 || n > INT32_MAX)
        return sl_fail(err, SL_ARG, s->w->ops->info.name, "at least one row", "a batch of %lld rows", (long long)n);
    SL_TRY(need_rows(s, n, s->slot, err));
    for (;;) {
        for (int64_t i = 0; i < n; i++)
            s->row[i] = src->info.n_rows > 0 ? (s->at + i) % src->info.n_rows : s->at + i;
        int64_t longest = make_rows(s, n);
        if (longest <= s->slot)
            break;
        SL_TRY(need_rows(s, n, 2 * longest, err));
    }
    pack(s, n);
    decode(s, n);
    s->at += n;
    *out = (sl_act_batch){ .x = s->x, .n = n, .row = s->row, .truth = &s->truth };
    return SL_OK;
}

static sl_status seek(sl_act_source *src, int64_t row, sl_err *err)
{
    source *s = src->impl;
    if (row < 0)
        return sl_fail(err, SL_ARG, s->w->ops->info.name, "from 0", "seek to row %lld", (long long)row);
    s->at = row;
    return SL_OK;
}

static void close_source(sl_act_source *src)
{
    source *s = src->impl;
    sl_ctx *ctx = s->w->ctx;
    free_rows(s);
    sl_free(ctx, s->scratch);
    sl_free(ctx, s);
    sl_free(ctx, src);
}

static sl_status open_source(const sl_world *w, sl_world_split split, source *s, sl_err *err)
{
    *s = (source){ .w = w, .split = split, .slot = FIRST_SLOT, .threads = sl_ctx_threads(w->ctx) };
    SL_TRY(sl_kern_get(w->ctx, SL_F32, &s->k, err));
    s->scratch_bytes = w->ops->scratch ? (w->ops->scratch(w) + 63) / 64 * 64 : 0;
    s->scratch = sl_alloc(w->ctx, s->scratch_bytes * (size_t)s->threads);
    return s->scratch ? SL_OK : sl_world_no_memory(w, err);
}

static void describe(const sl_world *w, sl_world_split split, sl_act_info *info)
{
    char what[128];
    *info = (sl_act_info){ .n_rows = w->ops->n_rows ? w->ops->n_rows(w, split) : -1, .d_in = w->truth.d, .scale = 1 };
    snprintf(info->hook, sizeof info->hook, "world.%s", sl_world_splits[split]);
    snprintf(info->model, sizeof info->model, "%s", w->ops->info.name);
    snprintf(info->dataset, sizeof info->dataset, "%s", w->ops->info.name);
    snprintf(what, sizeof what, "%s %s", w->id, sl_world_splits[split]);
    sl_sha256_hex(what, strlen(what), info->data_hash);
}

static bool withholds(const sl_world *w)
{
    for (int64_t t = 0; t < w->truth.n_sets; t++)
        if (w->truth.set[t].withheld)
            return true;
    return false;
}

sl_status sl_world_open(const sl_world *w, sl_world_split split, sl_act_source **out, sl_err *err)
{
    const sl_world_info *info = &w->ops->info;
    *out = NULL;
    if (info->kind != SL_WORLD_SUPERPOSITION)
        return sl_fail(err, SL_ARG, info->name, "a superposition world", "a task has activations only in a model that was trained on it");
    if ((int)split < 0 || split >= SL_WORLD_N_SPLIT || (split == SL_WORLD_OOD && !withholds(w)))
        return sl_fail(err, SL_ARG, info->name, "train, test or all", "nothing is withheld in this world: it has no such split");
    sl_act_source *src = sl_alloc(w->ctx, sizeof *src);
    source *s = sl_alloc(w->ctx, sizeof *s);
    sl_status st = src && s ? open_source(w, split, s, err) : sl_world_no_memory(w, err);
    if (st != SL_OK) {
        sl_free(w->ctx, src);
        sl_free(w->ctx, s);
        return st;
    }
    *src = (sl_act_source){ .impl = s, .next = next, .seek = seek, .close = close_source };
    describe(w, split, &src->info);
    *out = src;
    return SL_OK;
}
