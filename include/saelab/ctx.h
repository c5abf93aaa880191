/* The context: allocator, threads, events and cancellation. No other state of the library is global.
 * Everything that a context makes must be freed before the context is. */
#ifndef SAELAB_CTX_H
#define SAELAB_CTX_H

#include <saelab/status.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct sl_ctx sl_ctx;

/* ---- events: the library never prints; the command line tool draws these ---- */

typedef enum sl_level { SL_LOG_DEBUG, SL_LOG_INFO, SL_LOG_WARN } sl_level;

typedef struct sl_event {
    enum { SL_EVENT_LOG, SL_EVENT_PROGRESS } kind;
    sl_level level;         /* log */
    const char *text;       /* log: one line; progress: extra figures such as "loss 1.91  l0 31.8", or NULL */
    const char *task;       /* progress: "train lm", stable while one bar lives */
    double done, total;     /* progress: in `unit`; total <= 0 when unknown; done == total ends the bar */
    const char *unit;       /* "steps", "tokens", "bytes" */
} sl_event;

typedef void (*sl_event_fn)(void *user, const sl_event *event);

typedef struct sl_ctx_opts {
    int n_threads;          /* 0: min(physical cores, affinity, cgroup quota) */
    sl_event_fn on_event;   /* NULL: silent. Called from the thread that works, never from two at once */
    void *event_user;
    const char *data_dir;   /* --data-dir; NULL: SAELAB_DATA, ../shared/data, the user's cache */
    const char *cache_dir;  /* NULL: SAELAB_CACHE, else XDG_CACHE_HOME/saelab, else ~/.cache/saelab */
    const char *kern;       /* NULL or "": best; "ref": plain C only; "ref+simd"; see saelab/kern_info.h */
    bool bf16;              /* bf16 products where the CPU has them, else a warning and f32; what was used is recorded as precision */
    int64_t fail_alloc_at;  /* tests: the n-th allocation fails, counted from 1; 0: never */
} sl_ctx_opts;

/* opts NULL: defaults. Returns NULL only without memory. Free with sl_ctx_free (NULL is legal). */
sl_ctx *sl_ctx_new(const sl_ctx_opts *opts);
void sl_ctx_free(sl_ctx *ctx);

int sl_ctx_threads(const sl_ctx *ctx);
const sl_ctx_opts *sl_ctx_options(const sl_ctx *ctx);
const char *sl_ctx_cache_dir(const sl_ctx *ctx); /* absolute, not necessarily there yet */

/* Cancellation: async-signal-safe to set; long loops ask and leave with SL_CANCELLED after a checkpoint. */
void sl_cancel(sl_ctx *ctx, int signal_number);
int sl_cancelled(const sl_ctx *ctx); /* 0, or the signal's number */

/* A second listener beside the options' own (a run's log.txt); fn NULL ends it. */
void sl_ctx_tap(sl_ctx *ctx, sl_event_fn fn, void *user);

void sl_log(sl_ctx *ctx, sl_level level, const char *fmt, ...) SL_PRINTF(3, 4);
void sl_progress(sl_ctx *ctx, const char *task, double done, double total, const char *unit, const char *fmt, ...)
    SL_PRINTF(6, 7);

/* ---- memory: 64-byte aligned, zeroed; spans over 4 MB ask the kernel for huge pages ---- */

void *sl_alloc(sl_ctx *ctx, size_t bytes); /* NULL: out of memory (or injected); bytes 0 gives a valid pointer */
void sl_free(sl_ctx *ctx, void *p);        /* NULL is legal */
char *sl_strdup(sl_ctx *ctx, const char *s);
int64_t sl_alloc_count(const sl_ctx *ctx); /* calls of sl_alloc so far: a training loop must not raise it */
void *sl_keep(sl_ctx *ctx, size_t bytes);          /* zeroed, lives as long as ctx; NULL without memory */
const char *sl_intern(sl_ctx *ctx, const char *s); /* a copy that lives as long as ctx; NULL without memory */

/* Arena: blocks that grow, reset keeps them. */
typedef struct sl_arena sl_arena;
sl_arena *sl_arena_new(sl_ctx *ctx, size_t first_block);
void sl_arena_free(sl_arena *a);
void *sl_arena_alloc(sl_arena *a, size_t bytes); /* 64-byte aligned, NOT zeroed */
void sl_arena_reset(sl_arena *a);

/* One attachment a layer: lazily made singletons (the kernel tables) that die with the context. */
void *sl_ctx_attachment(sl_ctx *ctx, const void *key);
sl_status sl_ctx_attach(sl_ctx *ctx, const void *key, void *value, void (*free_fn)(sl_ctx *, void *), sl_err *err)
    SL_USE_RESULT;

const char *sl_version(void);

#endif
