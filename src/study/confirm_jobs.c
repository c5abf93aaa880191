/* Fits as independent jobs: each worker is a thread with a context of its own that computes with one thread, so that nothing is shared but the
 * plan, which nobody changes. The caller's thread watches: it alone reports events and asks for cancellation. Results do not depend on the
 * number of workers, since a fit is a function of its plan and seed. */
#include "study/confirm.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

enum { MOST_WORKERS = 64, TEXT = 600, QUEUE = 64 };

typedef struct message { sl_level level; char text[TEXT]; } message;

typedef struct pool {
    sl_confirm *c;
    sl_fit *fit;
    int n;
    atomic_int next;
    atomic_bool stop;
    pthread_mutex_t lock;       /* of all below */
    pthread_cond_t news;
    message queue[QUEUE];
    int queued, finished, working;
    double weight;              /* of finished fits */
    sl_status st;               /* the first failure that ends it all */
    sl_err err;
} pool;

typedef struct worker {
    pool *p;
    sl_ctx *ctx;
    sl_cache cache;
    sl_confirm_ground ground;
    pthread_t thread;
    bool started;
    double part;                /* share of the fit under work; under the pool's lock */
    double weight;              /* of that fit */
} worker;

/* Warnings are passed on by the watching thread; of the rest only how far the training is. */
static void heard(void *user, const sl_event *e)
{
    worker *w = user;
    pool *p = w->p;
    pthread_mutex_lock(&p->lock);
    if (e->kind == SL_EVENT_PROGRESS && e->total > 0 && strcmp(e->task, "train sae") == 0)
        w->part = e->done / e->total;
    if (e->kind == SL_EVENT_LOG && e->level == SL_LOG_WARN && p->queued < QUEUE) {
        p->queue[p->queued].level = e->level;
        snprintf(p->queue[p->queued++].text, TEXT, "%s", e->text);
    }
    pthread_mutex_unlock(&p->lock);
}

static void finished(worker *w, const sl_fit *f, sl_status st, const sl_err *err)
{
    pool *p = w->p;
    pthread_mutex_lock(&p->lock);
    p->finished++;
    p->weight += f->weight;
    w->part = w->weight = 0;
    if (st != SL_OK && p->st == SL_OK) {
        p->st = st;
        p->err = *err;
        atomic_store(&p->stop, true);
    }
    pthread_cond_signal(&p->news);
    pthread_mutex_unlock(&p->lock);
}

static void *work(void *arg)
{
    worker *w = arg;
    pool *p = w->p;
    for (int i; !atomic_load(&p->stop) && (i = atomic_fetch_add(&p->next, 1)) < p->n;) {
        sl_err err = { 0 };
        pthread_mutex_lock(&p->lock);
        w->weight = p->fit[i].weight;
        pthread_mutex_unlock(&p->lock);
        sl_status st = sl_confirm_fit(w->ctx, p->c, &w->cache, &w->ground, &p->fit[i], &err);
        finished(w, &p->fit[i], st, &err);
    }
    pthread_mutex_lock(&p->lock);
    p->working--;
    pthread_cond_signal(&p->news);
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

static sl_status start(pool *p, worker *w, sl_err *err)
{
    sl_ctx_opts o = *sl_ctx_options(p->c->ctx);
    o.n_threads = 1;
    o.on_event = heard;
    o.event_user = w;
    o.fail_alloc_at = 0;
    o.cache_dir = sl_ctx_cache_dir(p->c->ctx);
    w->p = p;
    w->ctx = sl_ctx_new(&o);
    if (!w->ctx)
        return sl_fail(err, SL_MEM, "confirm", "fewer --threads", "no memory for a worker");
    SL_TRY(sl_cache_open(w->ctx, p->c->cache.root, &w->cache, err));
    pthread_mutex_lock(&p->lock);
    p->working++;
    pthread_mutex_unlock(&p->lock);
    w->started = pthread_create(&w->thread, NULL, work, w) == 0;
    if (w->started)
        return SL_OK;
    pthread_mutex_lock(&p->lock);
    p->working--;
    pthread_mutex_unlock(&p->lock);
    return sl_fail(err, SL_MEM, "confirm", "fewer --threads", "the system starts no more threads");
}

/* Events that workers left; called with the lock, which is given up while they are told. */
static void tell(pool *p, const worker *w, int n)
{
    message *m = p->queued ? sl_alloc(p->c->ctx, (size_t)p->queued * sizeof *m) : NULL;
    int n_messages = m ? p->queued : 0, done = p->finished;
    double weight = p->weight;
    for (int i = 0; i < n; i++)
        weight += w[i].part * w[i].weight;
    if (m)
        memcpy(m, p->queue, (size_t)p->queued * sizeof *m);
    p->queued = 0;
    pthread_mutex_unlock(&p->lock);
    for (int i = 0; i < n_messages; i++)
        sl_log(p->c->ctx, m[i].level, "%s", m[i].text);
    sl_free(p->c->ctx, m);
    sl_progress(p->c->ctx, "confirm", p->c->done + weight, p->c->total, "steps", "%s: fit %d of %d", sl_phases[p->fit->phase], done < p->n ? done + 1 : done, p->n);
    pthread_mutex_lock(&p->lock);
}

/* Until all workers are through. */
static void watch(pool *p, const worker *w, int n)
{
    int told = 0;
    pthread_mutex_lock(&p->lock);
    while (p->working > 0) {
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec += 1;
        pthread_cond_timedwait(&p->news, &p->lock, &until);
        int signal = sl_cancelled(p->c->ctx);
        for (int i = 0; signal && i < n && told != signal; i++)
            sl_cancel(w[i].ctx, signal);
        told = signal;
        atomic_store(&p->stop, atomic_load(&p->stop) || signal);
        tell(p, w, n);
    }
    tell(p, w, n);
    pthread_mutex_unlock(&p->lock);
}

sl_status sl_confirm_fits(sl_confirm *c, int first, int n, sl_err *err)
{
    if (n < 1)
        return SL_OK;
    int threads = sl_ctx_threads(c->ctx), n_workers = threads < n ? threads : n, started = 0;
    n_workers = n_workers < MOST_WORKERS ? n_workers : MOST_WORKERS;
    pool p = { .c = c, .fit = c->fit + first, .n = n };
    worker *w = sl_alloc(c->ctx, (size_t)n_workers * sizeof *w);
    if (!w)
        return sl_fail(err, SL_MEM, "confirm", NULL, "no memory for workers");
    pthread_mutex_init(&p.lock, NULL);
    pthread_cond_init(&p.news, NULL);
    sl_status st = SL_OK;
    for (; started < n_workers && st == SL_OK; started++)
        st = start(&p, &w[started], err);
    if (st != SL_OK)
        atomic_store(&p.stop, true);
    watch(&p, w, started);
    for (int i = 0; i < started; i++) {
        if (w[i].started)
            pthread_join(w[i].thread, NULL);
        sl_confirm_ground_release(&w[i].ground);
        sl_ctx_free(w[i].ctx);
    }
    pthread_cond_destroy(&p.news);
    pthread_mutex_destroy(&p.lock);
    sl_free(c->ctx, w);
    c->done += p.weight;
    if (st == SL_OK && sl_cancelled(c->ctx))
        return sl_fail(err, SL_CANCELLED, "confirm", NULL, "stopped; the same command goes on from here");
    if (st == SL_OK && p.st != SL_OK && err)
        *err = p.err;
    return st == SL_OK ? p.st : st;
}
