/* A source that is read one batch ahead by a thread. Two slots: the caller has one, the thread fills the other. */
#include "base/threads.h"
#include "io/io.h"

#include <saelab/data.h>

#include <pthread.h>
#include <string.h>

enum { EMPTY, FULL, IN_USE };

typedef struct slot {
    int state;
    sl_status st;           /* of the batch */
    sl_err err;
    sl_act_batch b;         /* its pointers go into the buffers */
    int64_t cap;            /* rows that they hold */
    float *x, *y;
    int64_t *row;
    int32_t *side[3];       /* token, doc, pos */
} slot;

typedef struct ahead {
    sl_ctx *ctx;
    sl_act_source *from;
    int64_t d_in, d_out;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t change;
    /* under the lock */
    int64_t n;              /* rows of a batch; 0: the thread rests */
    bool busy, stop;        /* busy: the thread is inside `from` */
    int fill, give;         /* slots that come next */
    slot slot[2];
    /* the caller's */
    int64_t delivered;      /* rows */
} ahead;

/* ---- the thread ---- */

static void free_slot(sl_ctx *ctx, slot *s)
{
    void *all[] = { s->x, s->y, s->row, s->side[0], s->side[1], s->side[2] };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        sl_free(ctx, all[i]);
    *s = (slot){ .state = EMPTY };
}

static sl_status need_slot(ahead *a, slot *s, int64_t n, sl_err *err)
{
    size_t rows = (size_t)n;
    if (n <= s->cap)
        return SL_OK;
    free_slot(a->ctx, s);
    s->x = sl_alloc(a->ctx, rows * (size_t)a->d_in * sizeof *s->x);
    s->y = sl_alloc(a->ctx, rows * (size_t)a->d_out * sizeof *s->y);
    s->row = sl_alloc(a->ctx, rows * sizeof *s->row);
    bool good = s->x && s->y && s->row;
    for (int i = 0; i < 3; i++)
        good = (s->side[i] = sl_alloc(a->ctx, rows * sizeof(int32_t))) != NULL && good;
    if (!good) {
        free_slot(a->ctx, s);
        return sl_fail(err, SL_MEM, "activations", NULL, "no memory to read %lld rows ahead", (long long)n);
    }
    s->cap = n;
    return SL_OK;
}

static const int32_t *copy_side(int32_t *to, const int32_t *from, int64_t n)
{
    return from ? memcpy(to, from, (size_t)n * sizeof *to) : NULL;
}

static sl_status fetch(ahead *a, slot *s, int64_t n, sl_err *err)
{
    sl_act_batch b;
    SL_TRY(a->from->next(a->from, n, &b, err));
    if (b.n < 1 || b.n > n)
        return sl_fail(err, SL_SHAPE, "activations", "1 row to as many as asked for", "%lld rows where %lld were asked for", (long long)b.n, (long long)n);
    SL_TRY(need_slot(a, s, b.n, err));
    s->b = (sl_act_batch){ .n = b.n, .x = memcpy(s->x, b.x, (size_t)(b.n * a->d_in) * sizeof *s->x) };
    s->b.row = b.row ? memcpy(s->row, b.row, (size_t)b.n * sizeof *s->row) : NULL;
    s->b.y = b.y ? memcpy(s->y, b.y, (size_t)(b.n * a->d_out) * sizeof *s->y) : NULL;
    s->b.token = copy_side(s->side[0], b.token, b.n);
    s->b.doc = copy_side(s->side[1], b.doc, b.n);
    s->b.pos = copy_side(s->side[2], b.pos, b.n);
    return SL_OK;
}

static void *read_on(void *user)
{
    ahead *a = user;
    sl_thread_begin();
    pthread_mutex_lock(&a->lock);
    while (!a->stop) {
        slot *s = &a->slot[a->fill];
        int64_t n = a->n;
        if (n == 0 || s->state != EMPTY) {
            pthread_cond_wait(&a->change, &a->lock);
            continue;
        }
        a->busy = true;
        pthread_mutex_unlock(&a->lock);
        sl_err err = { .msg = "" };
        sl_status st = fetch(a, s, n, &err);
        pthread_mutex_lock(&a->lock);
        a->busy = false;
        s->state = FULL;
        s->st = st;
        s->err = err;
        a->fill = !a->fill;
        if (st != SL_OK)
            a->n = 0;
        pthread_cond_broadcast(&a->change);
    }
    pthread_mutex_unlock(&a->lock);
    return NULL;
}

/* ---- the source ---- */

/* Stops the thread's reading, forgets what is there, and goes to `row`. Holds the lock. */
static sl_status move(ahead *a, int64_t row, sl_err *err)
{
    a->n = 0;
    while (a->busy)
        pthread_cond_wait(&a->change, &a->lock);
    a->slot[0].state = a->slot[1].state = EMPTY;
    a->fill = a->give = 0;
    SL_TRY(a->from->seek(a->from, row, err));
    a->delivered = row;
    return SL_OK;
}

static sl_status take(ahead *a, int64_t n, sl_act_batch *out, sl_err *err)
{
    slot *before = &a->slot[!a->give], *s = &a->slot[a->give];
    if (before->state == IN_USE)
        before->state = EMPTY;
    if (n != a->n && !(s->state == FULL && s->st != SL_OK)) { /* what was read ahead is cut otherwise */
        SL_TRY(move(a, a->delivered, err));
        a->n = n;
        s = &a->slot[a->give];
    }
    pthread_cond_broadcast(&a->change);
    while (s->state != FULL)
        pthread_cond_wait(&a->change, &a->lock);
    s->state = IN_USE;
    a->give = !a->give;
    if (s->st != SL_OK) {
        *err = s->err;
        return s->st;
    }
    *out = s->b;
    a->delivered += s->b.n;
    return SL_OK;
}

static sl_status next(sl_act_source *src, int64_t n, sl_act_batch *out, sl_err *err)
{
    ahead *a = src->impl;
    if (n < 1 || n > INT32_MAX)
        return sl_fail(err, SL_ARG, "activations", "at least one row", "a batch of %lld rows", (long long)n);
    sl_err why = { .msg = "" };
    pthread_mutex_lock(&a->lock);
    sl_status st = take(a, n, out, &why);
    pthread_mutex_unlock(&a->lock);
    if (st != SL_OK && err)
        *err = why;
    return st;
}

static sl_status seek(sl_act_source *src, int64_t row, sl_err *err)
{
    ahead *a = src->impl;
    pthread_mutex_lock(&a->lock);
    sl_status st = move(a, row, err);
    pthread_mutex_unlock(&a->lock);
    return st;
}

static void release(ahead *a, sl_act_source *s)
{
    sl_ctx *ctx = a->ctx;
    sl_act_source_free(a->from);
    free_slot(ctx, &a->slot[0]);
    free_slot(ctx, &a->slot[1]);
    pthread_cond_destroy(&a->change);
    pthread_mutex_destroy(&a->lock);
    sl_free(ctx, a);
    sl_free(ctx, s);
}

static void close_ahead(sl_act_source *src)
{
    ahead *a = src->impl;
    pthread_mutex_lock(&a->lock);
    a->stop = true;
    pthread_cond_broadcast(&a->change);
    pthread_mutex_unlock(&a->lock);
    pthread_join(a->thread, NULL);
    release(a, src);
}

sl_status sl_acts_prefetch(sl_ctx *ctx, sl_act_source *from, sl_act_source **out, sl_err *err)
{
    *out = NULL;
    sl_act_source *s = sl_alloc(ctx, sizeof *s);
    ahead *a = sl_alloc(ctx, sizeof *a);
    if (!s || !a || from->info.n_rows < 0) {
        sl_status st = s && a ? sl_fail(err, SL_ARG, "activations", "a store or a model's", "rows of a world are made where they are used")
                              : sl_fail(err, SL_MEM, "activations", NULL, "no memory to read ahead");
        sl_free(ctx, s);
        sl_free(ctx, a);
        sl_act_source_free(from);
        return st;
    }
    *a = (ahead){ .ctx = ctx, .from = from, .d_in = from->info.d_in, .d_out = from->info.d_out };
    pthread_mutex_init(&a->lock, NULL);
    pthread_cond_init(&a->change, NULL);
    *s = (sl_act_source){ .info = from->info, .impl = a, .next = next, .seek = seek, .close = close_ahead };
    if (pthread_create(&a->thread, NULL, read_on, a) != 0) {
        release(a, s);
        return sl_fail(err, SL_MEM, "activations", NULL, "no thread to read ahead");
    }
    *out = s;
    return SL_OK;
}
