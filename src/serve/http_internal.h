/* Shared by the files of the HTTP server. */
#ifndef SL_SERVE_HTTP_INTERNAL_H
#define SL_SERVE_HTTP_INTERNAL_H

#include "serve/http.h"

#include <microhttpd.h>
#include <pthread.h>

/* One request from its first line to its last byte. */
typedef struct sl__exchange {
    sl_http *http;
    struct MHD_Connection *connection;
    const sl_http_route *route;
    sl_http_req q;
    char path[512];             /* q.part point into it */
    char *body;
    size_t n, cap;
    bool begun, finished;       /* headers were seen; the handler has run */
    bool bad_uri;
    sl_http_reply reply;
    sl_status st;
    sl_err err;
    struct sl__exchange *next;  /* in the queue */
} sl__exchange;

/* The thread that computes, and what waits for it. */
typedef struct sl__queue {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t more;
    sl__exchange *first, *last;
    int n;
    bool running, stop;
} sl__queue;

struct sl_http {
    sl_ctx *ctx;
    sl_http_config c;
    struct MHD_Daemon *daemon;
    sl__queue queue;
    int port;
    char url[128], tunnel[256];
};

/* A listening socket at host:port or, while busy, one of the ports after it; fills port, url and tunnel. */
sl_status sl__http_listen(sl_http *h, int *fd, sl_err *err) SL_USE_RESULT;

/* Runs the handler of x and keeps what it says. */
void sl__http_run(sl__exchange *x);

sl_status sl__queue_start(sl__queue *q, sl_err *err) SL_USE_RESULT;
/* Puts x in and its connection to sleep; false when it is full or stopping. */
bool sl__queue_push(sl__queue *q, sl__exchange *x);
/* Waits for the one that computes; those that wait are answered SL_CANCELLED. */
void sl__queue_stop(sl__queue *q);

#endif
