/* Status codes and error text. Every fallible function returns sl_status and takes `sl_err *err` last
 * (NULL is legal). Bad data, files, memory and flags are a status; bugs of the caller are an assert. */
#ifndef SAELAB_STATUS_H
#define SAELAB_STATUS_H

#include <stdarg.h>

/*        code         short name       sentence */
#define SL_STATUS_LIST(X)                                          \
    X(SL_OK,          "ok",           "done")                      \
    X(SL_ARG,         "usage",        "bad argument or option")    \
    X(SL_CONFIG,      "config",       "bad configuration")         \
    X(SL_DATA,        "data",         "bad data")                  \
    X(SL_SHAPE,       "shape",        "wrong shape")               \
    X(SL_IO,          "io",           "input or output failed")    \
    X(SL_MEM,         "memory",       "out of memory")             \
    X(SL_NUMERIC,     "numeric",      "non-finite number")         \
    X(SL_MISSING,     "missing",      "not found")                 \
    X(SL_EXISTS,      "exists",       "already there")             \
    X(SL_BUSY,        "busy",         "used by another process")   \
    X(SL_CANCELLED,   "cancelled",    "stopped by a signal")       \
    X(SL_UNAVAILABLE, "unavailable",  "not built in or not installed")

typedef enum sl_status {
#define X(code, name, text) code,
    SL_STATUS_LIST(X)
#undef X
    SL_N_STATUS
} sl_status;

#define SL_USE_RESULT __attribute__((warn_unused_result))
#define SL_PRINTF(fmt, first) __attribute__((format(printf, fmt, first)))

/* What went wrong. `where` is file:line:column, a tensor, an offset or an option; `expected` may be empty. */
typedef struct sl_err {
    sl_status code;
    char where[256];
    char what[384];
    char expected[256];
    char msg[928]; /* the one line a person reads: "where: what (expected ...)" */
} sl_err;

const char *sl_status_name(sl_status code);
const char *sl_status_text(sl_status code);

/* Fills *err (when not NULL) and returns `code`, so that `return sl_fail(...)` is the idiom. `where` and `expected`
 * may be NULL or "". */
sl_status sl_fail(sl_err *err, sl_status code, const char *where, const char *expected, const char *fmt, ...)
    SL_PRINTF(5, 6);

#define SL_TRY(call)                  \
    do {                              \
        sl_status st_try_ = (call);   \
        if (st_try_ != SL_OK)         \
            return st_try_;           \
    } while (0)

/* The same inside a function that cleans up at `done:`, with its result in a local `st`. */
#define SL_GO(call)                   \
    do {                              \
        st = (call);                  \
        if (st != SL_OK)              \
            goto done;                \
    } while (0)

#endif
