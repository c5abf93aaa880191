/* A small HTTP server for pages of ours: routes, JSON in and out, files that lie in the program. No request names a file of the disk.
 *
 *   static const sl_http_route routes[] = {
 *       { "GET",  "api/rows",        rows,  0, 0 },
 *       { "POST", "api/star/:",      star,  SL_HTTP_COMPUTE, 4096 },      a ':' is one part of the path: q->part[0]
 *       { 0 }
 *   };
 *   sl_http_open(ctx, &(sl_http_config){ .routes = routes, .files = sl_web_browse, .user = me }, &h, err);
 *   sl_http_wait(h);        until sl_cancel
 *   sl_http_close(h);
 *
 * Handlers run on a few threads at once, and so only read what they share or lock it. Those marked SL_HTTP_COMPUTE run one after another on one
 * thread, which alone may use models and kernels; the connection sleeps meanwhile. */
#ifndef SL_SERVE_HTTP_H
#define SL_SERVE_HTTP_H

#include <saelab/ctx.h>

#include <jansson.h>

enum { SL_HTTP_COMPUTE = 1 };
enum { SL_HTTP_PARTS = 4, SL_HTTP_QUEUE = 64, SL_HTTP_BODY = 64 << 10 };

typedef struct sl_http sl_http;

/* A request, valid during the handler. Path, query and body are valid UTF-8. */
typedef struct sl_http_req {
    const char *method, *path;          /* path: decoded, without the first '/' */
    const char *part[SL_HTTP_PARTS];    /* what stood for each ':' of the route; never empty */
    json_t *body;                       /* of POST, PUT and DELETE: a JSON object or array, NULL when there was none; borrowed */
    void *connection;
} sl_http_req;

/* What a handler answers: `json`, or else `text`. Both are taken. */
typedef struct sl_http_reply {
    int status;             /* 0: 200 */
    json_t *json;
    char *text;             /* [n_text], from sl_alloc */
    size_t n_text;
    const char *type;       /* of the text: "text/csv; charset=utf-8"; static */
    char download[64];      /* the browser keeps it as a file of this name; "" shows it */
    char cookie[256];       /* Set-Cookie, or "" */
} sl_http_reply;

/* A failure becomes its line as JSON, {"error": {"code", "where", "what", "expected"}}, with the status of its code: SL_ARG, SL_CONFIG, SL_DATA, SL_SHAPE
 * and SL_NUMERIC 400, SL_MISSING 404, SL_EXISTS 409, SL_UNAVAILABLE 501, SL_BUSY, SL_MEM and SL_CANCELLED 503, SL_IO 500. r->status, when set, wins. */
typedef sl_status (*sl_http_fn)(void *user, const sl_http_req *q, sl_http_reply *r, sl_err *err);

typedef struct sl_http_route {
    const char *method;     /* "GET" (which answers HEAD too), "POST", "PUT", "DELETE"; NULL ends the list */
    const char *path;       /* "api/sae/:", without the first '/' */
    sl_http_fn fn;
    int flags;              /* SL_HTTP_COMPUTE */
    size_t max_body;        /* bytes; 0: SL_HTTP_BODY */
} sl_http_route;

/* A file that lies in the program (cmake: sl_embed). */
typedef struct sl_http_file {
    const char *path;       /* "browse.css"; "index.html" answers "/" too; NULL ends the list */
    const unsigned char *data;
    size_t n;
} sl_http_file;

typedef struct sl_http_config {
    const char *host;       /* NULL: 127.0.0.1; a name or an address of this machine */
    int port;               /* the first to try; 0: any free one */
    int tries;              /* a busy port takes the next, so many times; 0: 20 */
    int threads;            /* of handlers; 0: 4 */
    const sl_http_route *routes;
    const sl_http_file *files;
    void *user;
} sl_http_config;

/* Listens and answers from here on. The configuration's lists are borrowed until close. SL_ARG: no such host, or not one of this machine; SL_BUSY: all
 * ports tried are busy; SL_IO: the system's reason; SL_MEM; SL_UNAVAILABLE: built without libmicrohttpd. */
sl_status sl_http_open(sl_ctx *ctx, const sl_http_config *c, sl_http **out, sl_err *err) SL_USE_RESULT;
/* Until sl_cancel (a signal). */
void sl_http_wait(sl_http *h);
/* Answers what is being computed, ends all else. NULL is legal. */
void sl_http_close(sl_http *h);
int sl_http_port(const sl_http *h);
const char *sl_http_url(const sl_http *h); /* "http://127.0.0.1:8000/" */
/* The line that brings the page from an SSH session's machine to the person's own, or "" outside of one (or when it listens to everybody). */
const char *sl_http_tunnel(const sl_http *h);

/* ---- for handlers ---- */

/* A value of the query; NULL when it is not there. The first one of several. */
const char *sl_http_query(const sl_http_req *q, const char *key);
/* The same as a whole number, `otherwise` when it is not there. SL_ARG: not a number, or outside of min..max. */
sl_status sl_http_query_int(const sl_http_req *q, const char *key, int64_t otherwise, int64_t min, int64_t max, int64_t *out, sl_err *err) SL_USE_RESULT;
/* part[i] of the path as a whole number: SL_MISSING when it is none, or outside of 0 .. end - 1 (the page does not exist). */
sl_status sl_http_part_int(const sl_http_req *q, int i, int64_t end, int64_t *out, sl_err *err) SL_USE_RESULT;
const char *sl_http_header(const sl_http_req *q, const char *name); /* NULL when it is not there */
/* Fields of the body. SL_ARG names the field: not there, of another type, out of range. Text is borrowed, valid UTF-8 of at most max bytes. */
sl_status sl_http_body_text(const sl_http_req *q, const char *key, size_t max, const char **out, sl_err *err) SL_USE_RESULT;
sl_status sl_http_body_int(const sl_http_req *q, const char *key, int64_t min, int64_t max, int64_t *out, sl_err *err) SL_USE_RESULT;
sl_status sl_http_body_real(const sl_http_req *q, const char *key, double min, double max, double *out, sl_err *err) SL_USE_RESULT;
sl_status sl_http_body_bool(const sl_http_req *q, const char *key, bool *out, sl_err *err) SL_USE_RESULT;

#endif
