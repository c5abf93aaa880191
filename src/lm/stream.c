/* Activations of a hook point as they are asked for. The windows of the text, in an order that is new in every pass, are cut into blocks; a block is
 * computed while the one before it is given out, in step with it, and its rows are shuffled. Everything follows from (pass, block, row). */
#include "data/acts_store.h"
#include "lm/gpt.h"

#include <saelab/rng.h>

#include <stdio.h>
#include <string.h>

enum { PASS_TOKENS = 4096, STEP_ORDER = 8, STEP_ROWS = 16 /* above the rounds of acts_perm.c, in the same random streams */ };

typedef struct window { int64_t start, doc, pos; int32_t len; } window;

typedef struct block {
    int64_t pass, index;    /* of the pass over the text; in it */
    int64_t first, n_w;     /* windows in the order of the pass */
    int64_t w_done;
    int64_t n, made;        /* rows; of those computed */
    float *x;               /* [room, d] */
    int64_t *row, *order;   /* [room] */
    int32_t *token, *doc, *pos;
} block;

typedef struct stream {
    sl_ctx *ctx;
    sl_lm *m;
    const sl_corpus *c;
    sl_hook_id at;
    uint64_t seed;
    sl_token_noise noise;
    int drop;               /* leading positions left out of every window */
    int64_t most;           /* windows of a forward pass */
    window *w;
    int64_t n_w, n_rows;    /* of one pass over the text */
    int64_t per_block, room;/* windows; rows at most */
    int32_t *ids;           /* [most, T] */
    block now, next;
    int64_t given;          /* rows of `now` */
    int64_t cap;            /* of the batch */
    float *x;
    int64_t *row;
    int32_t *token, *doc, *pos;
} stream;

static int64_t rows_in(const stream *s, const window *w) { return w->len > s->drop ? w->len - s->drop : 0; }

static sl__perm order_of(const stream *s, int64_t pass)
{
    sl_rng r = sl_rng_at(s->seed, SL_RNG_SHUFFLE, STEP_ORDER, (uint64_t)pass);
    return sl__perm_of((uint64_t)s->n_w, sl_rng_u64(&r), true);
}

/* ---- blocks ---- */

static void plan_block(const stream *s, block *b, int64_t pass, int64_t index)
{
    sl__perm p = order_of(s, pass);
    b->pass = pass;
    b->index = index;
    b->first = index * s->per_block;
    b->n_w = s->n_w - b->first < s->per_block ? s->n_w - b->first : s->per_block;
    b->w_done = b->made = b->n = 0;
    for (int64_t i = 0; i < b->n_w; i++)
        b->n += rows_in(s, &s->w[sl__perm_from(&p, (uint64_t)(b->first + i))]);
    sl_rng r = sl_rng_at(s->seed, SL_RNG_SHUFFLE, (uint64_t)(STEP_ROWS + pass), (uint64_t)index);
    sl_rng_perm(&r, b->order, b->n);
}

static void plan_next(stream *s)
{
    bool last = s->now.first + s->now.n_w == s->n_w;
    plan_block(s, &s->next, s->now.pass + last, last ? 0 : s->now.index + 1);
}

static void keep_window(stream *s, block *b, const window *w, const float *v)
{
    int64_t d = s->m->c.n_embd;
    for (int64_t t = s->drop; t < w->len; t++, b->made++) {
        memcpy(b->x + b->made * d, v + t * d, (size_t)d * sizeof *v);
        b->row[b->made] = w->start + t;
        b->token[b->made] = s->c->ids[w->start + t];
        b->doc[b->made] = (int32_t)w->doc;
        b->pos[b->made] = (int32_t)(w->pos + t);
    }
}

/* One forward pass: the next windows of the block. */
static sl_status some_rows(stream *s, block *b, sl_err *err)
{
    sl__perm p = order_of(s, b->pass);
    int64_t T = s->m->c.block_size, n = b->n_w - b->w_done < s->most ? b->n_w - b->w_done : s->most;
    const window *w[PASS_TOKENS];
    memset(s->ids, 0, (size_t)(n * T) * sizeof *s->ids);
    for (int64_t i = 0; i < n; i++) {
        w[i] = &s->w[sl__perm_from(&p, (uint64_t)(b->first + b->w_done + i))];
        memcpy(s->ids + i * T, s->c->ids + w[i]->start, (size_t)w[i]->len * sizeof *s->ids);
        sl_token_noise_apply(&s->noise, s->m->c.vocab_size, w[i]->start, b->pass, s->ids + i * T, w[i]->len);
    }
    sl_tensor ids = sl_tensor_of(SL_I32, s->ids, 2, n, T);
    sl_tape_reset(s->m->tape);
    sl_var v = sl_gpt_site(s->m->tape, s->m, &ids, s->at);
    SL_TRY(sl_tape_status(s->m->tape, err));
    for (int64_t i = 0; i < n; i++)
        keep_window(s, b, w[i], (const float *)sl_value(s->m->tape, v)->data + i * T * s->m->c.n_embd);
    b->w_done += n;
    return SL_OK;
}

static sl_status compute(stream *s, block *b, int64_t rows, sl_err *err)
{
    while (b->made < rows && b->w_done < b->n_w)
        SL_TRY(some_rows(s, b, err));
    return SL_OK;
}

static sl_status step_on(stream *s, sl_err *err)
{
    do {
        block old = s->now;
        SL_TRY(compute(s, &s->next, s->next.n, err));
        s->now = s->next;
        s->next = old;
        s->given = 0;
        plan_next(s);
    } while (s->now.n == 0);
    return SL_OK;
}

/* ---- the source ---- */

static void give(stream *s, int64_t to, int64_t n)
{
    int64_t d = s->m->c.n_embd;
    const block *b = &s->now;
    for (int64_t i = 0; i < n; i++, to++) {
        int64_t r = b->order[s->given + i];
        memcpy(s->x + to * d, b->x + r * d, (size_t)d * sizeof *s->x);
        s->row[to] = b->row[r];
        s->token[to] = b->token[r];
        s->doc[to] = b->doc[r];
        s->pos[to] = b->pos[r];
    }
    s->given += n;
}

static void free_batch(stream *s)
{
    void *all[] = { s->x, s->row, s->token, s->doc, s->pos };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        sl_free(s->ctx, all[i]);
    s->x = NULL;
    s->row = NULL;
    s->token = s->doc = s->pos = NULL;
    s->cap = 0;
}

static sl_status need_batch(stream *s, int64_t n, sl_err *err)
{
    size_t rows = (size_t)n;
    if (n <= s->cap)
        return SL_OK;
    free_batch(s);
    s->x = sl_alloc(s->ctx, rows * (size_t)s->m->c.n_embd * sizeof *s->x);
    s->row = sl_alloc(s->ctx, rows * sizeof *s->row);
    s->token = sl_alloc(s->ctx, rows * sizeof *s->token);
    s->doc = sl_alloc(s->ctx, rows * sizeof *s->doc);
    s->pos = sl_alloc(s->ctx, rows * sizeof *s->pos);
    if (!s->x || !s->row || !s->token || !s->doc || !s->pos) {
        free_batch(s);
        return sl_fail(err, SL_MEM, "activations", NULL, "no memory for a batch of %lld rows", (long long)n);
    }
    s->cap = n;
    return SL_OK;
}

static sl_status next(sl_act_source *src, int64_t n, sl_act_batch *out, sl_err *err)
{
    stream *s = src->impl;
    if (n < 1 || n > INT32_MAX)
        return sl_fail(err, SL_ARG, "activations", "at least one row", "a batch of %lld rows", (long long)n);
    SL_TRY(need_batch(s, n, err));
    for (int64_t got = 0; got < n;) {
        if (s->given == s->now.n)
            SL_TRY(step_on(s, err));
        SL_TRY(compute(s, &s->now, s->now.n, err));
        int64_t take = n - got < s->now.n - s->given ? n - got : s->now.n - s->given;
        give(s, got, take);
        got += take;
        SL_TRY(compute(s, &s->next, s->given < s->next.n ? s->given : s->next.n, err));
    }
    *out = (sl_act_batch){ .x = s->x, .n = n, .row = s->row, .token = s->token, .doc = s->doc, .pos = s->pos };
    return SL_OK;
}

static sl_status seek(sl_act_source *src, int64_t row, sl_err *err)
{
    stream *s = src->impl;
    if (row < 0)
        return sl_fail(err, SL_ARG, "activations", "from 0", "seek to row %lld", (long long)row);
    int64_t pass = row / s->n_rows, index = 0, left = row % s->n_rows;
    sl__perm p = order_of(s, pass);
    for (int64_t rows; index < (s->n_w - 1) / s->per_block; index++, left -= rows) {
        rows = 0;
        for (int64_t i = index * s->per_block; i < (index + 1) * s->per_block; i++)
            rows += rows_in(s, &s->w[sl__perm_from(&p, (uint64_t)i)]);
        if (left < rows)
            break;
    }
    if (s->now.pass != pass || s->now.index != index) {
        plan_block(s, &s->now, pass, index);
        plan_next(s);
    }
    s->given = left;
    return SL_OK;
}

static void free_block(sl_ctx *ctx, block *b)
{
    void *all[] = { b->x, b->row, b->order, b->token, b->doc, b->pos };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        sl_free(ctx, all[i]);
}

static void close_stream(sl_act_source *src)
{
    stream *s = src->impl;
    sl_ctx *ctx = s->ctx;
    free_batch(s);
    free_block(ctx, &s->now);
    free_block(ctx, &s->next);
    sl_free(ctx, s->w);
    sl_free(ctx, s->ids);
    sl_lm_free(s->m);
    sl_free(ctx, s);
    sl_free(ctx, src);
    sl_ctx_free(ctx);
}

/* ---- opening ---- */

/* The windows of the documents, until they hold n_tokens rows (0: all). out NULL: only counts. */
static int64_t list_windows(const stream *s, int64_t first, int64_t end, int64_t n_tokens, window *out, int64_t *rows)
{
    int64_t T = s->m->c.block_size, n = 0;
    *rows = 0;
    for (int64_t d = first; d < end; d++)
        for (int64_t from = s->c->doc[d]; from < s->c->doc[d + 1] && (n_tokens == 0 || *rows < n_tokens); from += T, n++) {
            int64_t left = s->c->doc[d + 1] - from;
            window w = { from, d, from - s->c->doc[d], (int32_t)(left < T ? left : T) };
            *rows += rows_in(s, &w);
            if (out)
                out[n] = w;
        }
    return n;
}

static bool new_block(stream *s, block *b)
{
    size_t n = (size_t)s->room;
    b->x = sl_alloc(s->ctx, n * (size_t)s->m->c.n_embd * sizeof *b->x);
    b->row = sl_alloc(s->ctx, n * sizeof *b->row);
    b->order = sl_alloc(s->ctx, n * sizeof *b->order);
    b->token = sl_alloc(s->ctx, n * sizeof *b->token);
    b->doc = sl_alloc(s->ctx, n * sizeof *b->doc);
    b->pos = sl_alloc(s->ctx, n * sizeof *b->pos);
    return b->x && b->row && b->order && b->token && b->doc && b->pos;
}

static sl_status prepare(stream *s, const char *lm_dir, int64_t first, int64_t end, const char *hook, const sl_stream_config *sc, sl_err *err)
{
    SL_TRY(sl_lm_load(s->ctx, lm_dir, &s->m, NULL, err));
    int64_t T = s->m->c.block_size;
    SL_TRY(sl_hook_parse(hook, &s->m->c, &s->at, err));
    SL_TRY(sl_token_noise_check(&sc->noise, s->m->c.vocab_size, err));
    if (first < 0 || end > s->c->n_docs || first >= end)
        return sl_fail(err, SL_ARG, s->c->name, "documents of the corpus", "documents %lld to %lld of %lld", (long long)first, (long long)end, (long long)s->c->n_docs);
    if (sc->shuffle_rows < 1 || sc->n_tokens < 0)
        return sl_fail(err, SL_ARG, "shuffle_rows", "at least 1", "%lld rows of %lld", (long long)sc->shuffle_rows, (long long)sc->n_tokens);
    SL_TRY(sl_lm_check_ids(s->m, s->c->ids + s->c->doc[first], s->c->doc[end] - s->c->doc[first], err));
    s->n_w = list_windows(s, first, end, sc->n_tokens, NULL, &s->n_rows);
    if (s->n_rows == 0)
        return sl_fail(err, SL_DATA, s->c->name, "at least one token", "documents %lld to %lld give no rows", (long long)first, (long long)end);
    s->most = T < PASS_TOKENS ? PASS_TOKENS / T : 1;
    s->per_block = (sc->shuffle_rows + T - 1) / T;
    s->per_block = s->per_block < s->n_w ? s->per_block : s->n_w;
    s->room = s->per_block * T;
    s->w = sl_alloc(s->ctx, (size_t)s->n_w * sizeof *s->w);
    s->ids = sl_alloc(s->ctx, (size_t)(s->most * T) * sizeof *s->ids);
    if (!s->w || !s->ids || !new_block(s, &s->now) || !new_block(s, &s->next))
        return sl_fail(err, SL_MEM, "activations", "fewer rows to shuffle", "no memory to shuffle %lld rows", (long long)s->room);
    list_windows(s, first, end, sc->n_tokens, s->w, &s->n_rows);
    sl_tape_no_grad(s->m->tape, true);
    plan_block(s, &s->now, 0, 0);
    plan_next(s);
    return SL_OK;
}

/* The rows follow from the weights, the text, the hook and the order. */
static void describe(const stream *s, const char *lm_dir, const char *hook, sl_act_info *info)
{
    char what[512];
    uint64_t weights = sl_gpt_weights_hash(s->m);
    *info = (sl_act_info){ .n_rows = s->n_rows, .d_in = s->m->c.n_embd, .scale = 1, .has_tokens = true };
    snprintf(info->hook, sizeof info->hook, "%s", hook);
    snprintf(info->model, sizeof info->model, "%s", lm_dir);
    snprintf(info->dataset, sizeof info->dataset, "%s", s->c->name);
    snprintf(what, sizeof what, "stream 1 %016llx %s %s %lld %lld %d %lld %llu", (unsigned long long)weights, s->c->sha256, hook, (long long)s->w[0].start,
             (long long)s->n_rows, s->drop, (long long)s->per_block, (unsigned long long)s->seed);
    if (s->noise.p > 0)
        snprintf(what + strlen(what), sizeof what - strlen(what), " tokens %.17g %lld %llu", s->noise.p, (long long)s->noise.to, (unsigned long long)s->noise.seed);
    sl_sha256_hex(what, strlen(what), info->data_hash);
}

sl_status sl_lm_stream(sl_ctx *ctx, const char *lm_dir, const sl_corpus *c, int64_t first_doc, int64_t end_doc, const char *hook, const sl_stream_config *sc,
                       sl_act_source **out, sl_err *err)
{
    sl_ctx_opts o = *sl_ctx_options(ctx);
    o.n_threads = sl_ctx_threads(ctx);
    o.on_event = NULL;
    o.fail_alloc_at = 0;
    *out = NULL;
    sl_ctx *own = sl_ctx_new(&o);
    sl_act_source *src = own ? sl_alloc(own, sizeof *src) : NULL;
    stream *s = own ? sl_alloc(own, sizeof *s) : NULL;
    if (!src || !s) {
        sl_free(own, src);
        sl_free(own, s);
        sl_ctx_free(own);
        return sl_fail(err, SL_MEM, lm_dir, NULL, "no memory to run the model");
    }
    *s = (stream){ .ctx = own, .c = c, .seed = sc->seed, .noise = sc->noise, .drop = sc->drop_first };
    *src = (sl_act_source){ .impl = s, .next = next, .seek = seek, .close = close_stream };
    sl_status st = prepare(s, lm_dir, first_doc, end_doc, hook, sc, err);
    if (st != SL_OK) {
        close_stream(src);
        return st;
    }
    describe(s, lm_dir, hook, &src->info);
    *out = src;
    return SL_OK;
}
