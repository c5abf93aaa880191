/* The context: allocator, events, cancellation, attachments, memory kept until the end. */
#include "base/threads.h"

#include <saelab/ctx.h>

#include <assert.h>
#include <omp.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { N_ATTACH = 16, HUGE_PAGE = 2 << 20, HUGE_FROM = 4 << 20 };

typedef struct kept { struct kept *next; max_align_t data[]; } kept;

struct sl_ctx {
    sl_ctx_opts o;
    char *cache_dir;
    int n_threads;
    volatile sig_atomic_t cancelled;
    int64_t n_alloc;
    pthread_mutex_t lock; /* n_alloc, kept */
    kept *kept;
    struct { const void *key; void *value; void (*free_fn)(sl_ctx *, void *); } attach[N_ATTACH];
    int n_attach;
    sl_event_fn tap;
    void *tap_user;
};

static char *default_cache_dir(const char *asked)
{
    const char *env = getenv("SAELAB_CACHE"), *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    char path[1024];
    if (asked && *asked)
        snprintf(path, sizeof path, "%s", asked);
    else if (env && *env)
        snprintf(path, sizeof path, "%s", env);
    else if (xdg && *xdg)
        snprintf(path, sizeof path, "%s/saelab", xdg);
    else
        snprintf(path, sizeof path, "%s/.cache/saelab", home && *home ? home : "/tmp");
    if (path[0] == '/')
        return strdup(path);
    char *here = realpath(".", NULL), full[1540];
    if (!here)
        return NULL;
    snprintf(full, sizeof full, "%.500s/%s", here, path);
    free(here);
    return strdup(full);
}

sl_ctx *sl_ctx_new(const sl_ctx_opts *opts)
{
    sl_ctx *ctx = calloc(1, sizeof *ctx);
    if (!ctx)
        return NULL;
    if (opts)
        ctx->o = *opts;
    ctx->cache_dir = default_cache_dir(ctx->o.cache_dir);
    if (!ctx->cache_dir) {
        free(ctx);
        return NULL;
    }
    ctx->n_threads = ctx->o.n_threads > 0 ? ctx->o.n_threads : sl_default_threads();
    pthread_mutex_init(&ctx->lock, NULL);
    /* Every parallel region of ours says num_threads; libraries called inside or between them must not open their own. */
    omp_set_num_threads(1);
    return ctx;
}

void sl_ctx_free(sl_ctx *ctx)
{
    if (!ctx)
        return;
    for (int i = ctx->n_attach - 1; i >= 0; i--)
        if (ctx->attach[i].free_fn)
            ctx->attach[i].free_fn(ctx, ctx->attach[i].value);
    while (ctx->kept) {
        kept *next = ctx->kept->next;
        free(ctx->kept);
        ctx->kept = next;
    }
    pthread_mutex_destroy(&ctx->lock);
    free(ctx->cache_dir);
    free(ctx);
}

int sl_ctx_threads(const sl_ctx *ctx) { return ctx->n_threads; }
const sl_ctx_opts *sl_ctx_options(const sl_ctx *ctx) { return &ctx->o; }
const char *sl_ctx_cache_dir(const sl_ctx *ctx) { return ctx->cache_dir; }
void sl_cancel(sl_ctx *ctx, int signal_number) { ctx->cancelled = signal_number; }
int sl_cancelled(const sl_ctx *ctx) { return (int)ctx->cancelled; }

/* ---- events ---- */

void sl_ctx_tap(sl_ctx *ctx, sl_event_fn fn, void *user)
{
    ctx->tap = fn;
    ctx->tap_user = user;
}

static void emit(sl_ctx *ctx, const sl_event *e)
{
    if (ctx->o.on_event)
        ctx->o.on_event(ctx->o.event_user, e);
    if (ctx->tap)
        ctx->tap(ctx->tap_user, e);
}

void sl_log(sl_ctx *ctx, sl_level level, const char *fmt, ...)
{
    char text[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    emit(ctx, &(sl_event){ .kind = SL_EVENT_LOG, .level = level, .text = text });
}

void sl_progress(sl_ctx *ctx, const char *task, double done, double total, const char *unit, const char *fmt, ...)
{
    char text[256] = "";
    if (fmt) {
        va_list ap;
        va_start(ap, fmt);
        vsnprintf(text, sizeof text, fmt, ap);
        va_end(ap);
    }
    emit(ctx, &(sl_event){ .kind = SL_EVENT_PROGRESS, .text = fmt ? text : NULL, .task = task, .done = done, .total = total, .unit = unit });
}

/* ---- memory ---- */

static bool counted(sl_ctx *ctx)
{
    pthread_mutex_lock(&ctx->lock);
    int64_t n = ++ctx->n_alloc;
    pthread_mutex_unlock(&ctx->lock);
    return ctx->o.fail_alloc_at == 0 || n != ctx->o.fail_alloc_at;
}

void *sl_alloc(sl_ctx *ctx, size_t bytes)
{
    if (!counted(ctx) || bytes > SIZE_MAX / 2)
        return NULL;
    size_t align = bytes >= HUGE_FROM ? HUGE_PAGE : 64;
    size_t size = (bytes + align - 1) / align * align;
    void *p = aligned_alloc(align, size ? size : align);
    if (!p)
        return NULL;
    if (align == HUGE_PAGE)
        (void)madvise(p, size, MADV_HUGEPAGE); /* a hint: fewer TLB misses in the products */
    memset(p, 0, bytes);
    return p;
}

void sl_free(sl_ctx *ctx, void *p)
{
    (void)ctx;
    free(p);
}

char *sl_strdup(sl_ctx *ctx, const char *s)
{
    size_t n = strlen(s) + 1;
    char *d = sl_alloc(ctx, n);
    return d ? memcpy(d, s, n) : NULL;
}

int64_t sl_alloc_count(const sl_ctx *ctx) { return ctx->n_alloc; }

void *sl_keep(sl_ctx *ctx, size_t bytes)
{
    kept *k = counted(ctx) && bytes < SIZE_MAX / 2 ? calloc(1, sizeof *k + bytes) : NULL;
    if (!k)
        return NULL;
    pthread_mutex_lock(&ctx->lock);
    k->next = ctx->kept;
    ctx->kept = k;
    pthread_mutex_unlock(&ctx->lock);
    return k->data;
}

const char *sl_intern(sl_ctx *ctx, const char *s)
{
    size_t n = strlen(s) + 1;
    char *d = sl_keep(ctx, n);
    return d ? memcpy(d, s, n) : NULL;
}

/* ---- attachments ---- */

void *sl_ctx_attachment(sl_ctx *ctx, const void *key)
{
    for (int i = 0; i < ctx->n_attach; i++)
        if (ctx->attach[i].key == key)
            return ctx->attach[i].value;
    return NULL;
}

sl_status sl_ctx_attach(sl_ctx *ctx, const void *key, void *value, void (*free_fn)(sl_ctx *, void *), sl_err *err)
{
    assert(!sl_ctx_attachment(ctx, key));
    if (ctx->n_attach == N_ATTACH)
        return sl_fail(err, SL_MEM, "context", NULL, "no room for a further attachment");
    ctx->attach[ctx->n_attach].key = key;
    ctx->attach[ctx->n_attach].value = value;
    ctx->attach[ctx->n_attach++].free_fn = free_fn;
    return SL_OK;
}

const char *sl_version(void) { return SL_VERSION; }
