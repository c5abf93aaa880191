/* Requests in, answers out, over libmicrohttpd: its threads take turns over connections, none of them waits in a handler. */
#include "base/utf8.h"
#include "io/io.h"
#include "serve/http_internal.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { THREADS = 4, CONNECTIONS = 512, IDLE_SECONDS = 60, HEADER_BYTES = 32 << 10, JSON_FLAGS = JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(7) };

/* ---- answers ---- */

static int status_of(sl_status st)
{
    switch (st) {
    case SL_OK: return 200;
    case SL_ARG: case SL_CONFIG: case SL_DATA: case SL_SHAPE: case SL_NUMERIC: return 400;
    case SL_MISSING: return 404;
    case SL_EXISTS: return 409;
    case SL_UNAVAILABLE: return 501;
    case SL_BUSY: case SL_MEM: case SL_CANCELLED: return 503;
    default: return 500;
    }
}

/* Only files of our own run or style a page, nothing guesses types, no address leaks out. */
static void security_headers(struct MHD_Response *r)
{
    MHD_add_response_header(r, "Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
                                                          "form-action 'self'; base-uri 'none'; frame-ancestors 'self'");
    MHD_add_response_header(r, "X-Content-Type-Options", "nosniff");
    MHD_add_response_header(r, "Referrer-Policy", "no-referrer");
    MHD_add_response_header(r, "Cross-Origin-Resource-Policy", "same-origin");
}

static enum MHD_Result send_bytes(sl__exchange *x, int status, const void *data, size_t n, enum MHD_ResponseMemoryMode mode, const char *type, const char *etag)
{
    struct MHD_Response *r = MHD_create_response_from_buffer(n, (void *)(uintptr_t)data, mode);
    if (!r)
        return MHD_NO;
    security_headers(r);
    MHD_add_response_header(r, "Content-Type", type);
    MHD_add_response_header(r, "Cache-Control", etag ? "no-cache" : "no-store"); /* a file is kept, and asked about */
    if (etag)
        MHD_add_response_header(r, "ETag", etag);
    if (x->reply.cookie[0])
        MHD_add_response_header(r, "Set-Cookie", x->reply.cookie);
    if (x->reply.download[0]) {
        char how[128];
        snprintf(how, sizeof how, "attachment; filename=\"%s\"", x->reply.download);
        MHD_add_response_header(r, "Content-Disposition", how);
    }
    if (status == 503)
        MHD_add_response_header(r, "Retry-After", "1");
    if (status == 405 && x->route)
        MHD_add_response_header(r, "Allow", x->route->method);
    enum MHD_Result done = MHD_queue_response(x->connection, (unsigned)status, r);
    MHD_destroy_response(r);
    return done;
}

static enum MHD_Result send_error(sl__exchange *x, int status)
{
    const sl_err *e = &x->err;
    json_t *j = json_pack("{s:{s:s, s:s, s:s, s:s}}", "error", "code", sl_status_name(e->code), "where", e->where, "what", e->what, "expected", e->expected);
    char *text = j ? json_dumps(j, JSON_FLAGS) : NULL;
    json_decref(j);
    if (!text) /* a name that was cut within a character */
        return send_bytes(x, status, "{\"error\":{\"code\":\"usage\",\"what\":\"bad request\"}}", 46, MHD_RESPMEM_PERSISTENT, "application/json", NULL);
    return send_bytes(x, status, text, strlen(text), MHD_RESPMEM_MUST_FREE, "application/json", NULL);
}

static enum MHD_Result refuse(sl__exchange *x, int status, sl_status code, const char *expected, const char *what)
{
    sl_fail(&x->err, code, x->q.path, expected, "%s", what);
    return send_error(x, status);
}

static enum MHD_Result send_reply(sl__exchange *x)
{
    sl_http_reply *r = &x->reply;
    if (x->st != SL_OK)
        return send_error(x, r->status ? r->status : status_of(x->st));
    int status = r->status ? r->status : 200;
    if (!r->json)
        return send_bytes(x, status, r->text ? r->text : "", r->text ? r->n_text : 0, MHD_RESPMEM_MUST_COPY, r->type ? r->type : "text/plain; charset=utf-8", NULL);
    char *text = json_dumps(r->json, JSON_FLAGS);
    if (!text)
        return refuse(x, 500, SL_MEM, NULL, "the answer could not be written");
    return send_bytes(x, status, text, strlen(text), MHD_RESPMEM_MUST_FREE, "application/json", NULL);
}

/* ---- files in the program ---- */

static const char *type_of(const char *path)
{
    static const char *const types[][2] = { { ".html", "text/html; charset=utf-8" }, { ".js", "text/javascript; charset=utf-8" }, { ".css", "text/css; charset=utf-8" },
                                            { ".svg", "image/svg+xml" }, { ".png", "image/png" } };
    const char *dot = strrchr(path, '.');
    for (size_t i = 0; dot && i < sizeof types / sizeof *types; i++)
        if (strcmp(dot, types[i][0]) == 0)
            return types[i][1];
    return "application/octet-stream";
}

static const sl_http_file *file_of(const sl_http *h, const char *path)
{
    const char *name = *path ? path : "index.html";
    for (const sl_http_file *f = h->c.files; f && f->path; f++)
        if (strcmp(f->path, name) == 0)
            return f;
    return NULL;
}

static enum MHD_Result send_file(sl__exchange *x, const sl_http_file *f)
{
    char etag[32];
    snprintf(etag, sizeof etag, "\"%016llx\"", (unsigned long long)sl_xxh64(f->data, f->n));
    const char *have = sl_http_header(&x->q, "If-None-Match");
    if (have && strcmp(have, etag) == 0)
        return send_bytes(x, 304, "", 0, MHD_RESPMEM_PERSISTENT, type_of(f->path), etag);
    return send_bytes(x, 200, f->data, f->n, MHD_RESPMEM_PERSISTENT, type_of(f->path), etag);
}

/* ---- routes ---- */

static bool same_method(const char *route, const char *asked)
{
    return strcmp(route, asked) == 0 || (strcmp(route, "GET") == 0 && strcmp(asked, "HEAD") == 0);
}

/* Does the path fit? Then its ':' parts are cut out of it: `path` is changed, and so only for the route that is taken. */
static bool fits(const char *route, const char *path, size_t at[SL_HTTP_PARTS], size_t len[SL_HTTP_PARTS])
{
    const char *from = path;
    int n = 0;
    for (;;) {
        size_t a = strcspn(route, "/"), b = strcspn(path, "/");
        if (a == 1 && *route == ':') {
            if (b == 0)
                return false;
            assert(n < SL_HTTP_PARTS);
            at[n] = (size_t)(path - from);
            len[n++] = b;
        } else if (a != b || strncmp(route, path, a) != 0)
            return false;
        route += a;
        path += b;
        if (!*route || !*path)
            return !*route && !*path;
        route++;
        path++;
    }
}

/* The route of path and method; without one, x->route is a route of that path with another method, or NULL. */
static bool find_route(sl__exchange *x)
{
    size_t at[SL_HTTP_PARTS] = { 0 }, len[SL_HTTP_PARTS] = { 0 };
    for (const sl_http_route *r = x->http->c.routes; r && r->method; r++) {
        memset(len, 0, sizeof len);
        if (!fits(r->path, x->path, at, len))
            continue;
        x->route = r;
        if (!same_method(r->method, x->q.method))
            continue;
        char *words = x->path + strlen(x->path) + 1; /* a second copy behind the first: the path stays whole for messages */
        memcpy(words, x->path, strlen(x->path) + 1);
        for (int i = 0; i < SL_HTTP_PARTS && len[i]; i++) {
            words[at[i] + len[i]] = 0;
            x->q.part[i] = words + at[i];
        }
        return true;
    }
    return false;
}

/* ---- a request ---- */

static void *uri_seen(void *user, const char *uri, struct MHD_Connection *connection)
{
    sl__exchange *x = calloc(1, sizeof *x);
    if (!x)
        return NULL;
    x->http = user;
    x->connection = connection;
    x->bad_uri = strstr(uri, "%00") != NULL; /* would end the decoded text */
    return x;
}

static enum MHD_Result valid_pair(void *bad, enum MHD_ValueKind kind, const char *key, const char *value)
{
    (void)kind;
    if (!sl_utf8_valid(key, strlen(key), NULL) || (value && !sl_utf8_valid(value, strlen(value), NULL)))
        *(bool *)bad = true;
    return MHD_YES;
}

static bool has_body(const char *method) { return strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0; }

/* A page elsewhere cannot make a browser send JSON here without asking first, and that is never answered. */
static bool is_json(const sl_http_req *q)
{
    const char *type = sl_http_header(q, "Content-Type");
    return type && strncmp(type, "application/json", 16) == 0 && (type[16] == 0 || type[16] == ';' || type[16] == ' ');
}

/* What can be said before the body comes; MHD_YES with *go: read on. */
static enum MHD_Result begin(sl__exchange *x, const char *method, const char *url, bool *go)
{
    bool bad = x->bad_uri;
    *go = false;
    x->begun = true;
    x->q.method = method;
    x->q.path = "";
    x->q.connection = x->connection;
    if (strlen(url) >= sizeof x->path / 2)
        return refuse(x, 414, SL_ARG, NULL, "the address is too long");
    MHD_get_connection_values(x->connection, MHD_GET_ARGUMENT_KIND, valid_pair, &bad);
    if (bad || url[0] != '/' || !sl_utf8_valid(url, strlen(url), NULL))
        return refuse(x, 400, SL_ARG, "UTF-8", "the address is not text");
    snprintf(x->path, sizeof x->path, "%s", url + 1);
    x->q.path = x->path;
    const sl_http_file *f = file_of(x->http, x->path);
    if (f)
        return has_body(method) ? refuse(x, 405, SL_ARG, "GET", "this is a file") : send_file(x, f);
    if (!find_route(x))
        return x->route ? refuse(x, 405, SL_ARG, x->route->method, "this address does not take the method") : refuse(x, 404, SL_MISSING, NULL, "there is no such page");
    if (!has_body(method)) {
        *go = true;
        return MHD_YES;
    }
    const char *length = sl_http_header(&x->q, "Content-Length");
    if (!length)
        return refuse(x, 411, SL_ARG, "Content-Length", "the body's length is missing");
    size_t max = x->route->max_body ? x->route->max_body : SL_HTTP_BODY;
    if (strlen(length) > 12 || strtoull(length, NULL, 10) > max)
        return refuse(x, 413, SL_ARG, NULL, "the body is too large");
    if (!is_json(&x->q))
        return refuse(x, 415, SL_ARG, "application/json", "the body's type is something else");
    x->cap = (size_t)strtoull(length, NULL, 10);
    x->body = x->cap ? malloc(x->cap) : NULL;
    if (x->cap && !x->body)
        return refuse(x, 503, SL_MEM, NULL, "no memory for the body");
    *go = true;
    return MHD_YES;
}

static enum MHD_Result take_body(sl__exchange *x, const char *data, size_t *n)
{
    if (*n > x->cap - x->n)
        return MHD_NO; /* more than was announced */
    memcpy(x->body + x->n, data, *n);
    x->n += *n;
    *n = 0;
    return MHD_YES;
}

void sl__http_run(sl__exchange *x)
{
    x->st = x->route->fn(x->http->c.user, &x->q, &x->reply, &x->err);
}

static enum MHD_Result finish(sl__exchange *x)
{
    if (x->n > 0) {
        json_error_t why;
        x->q.body = json_loadb(x->body, x->n, JSON_REJECT_DUPLICATES, &why);
        if (!x->q.body) {
            char what[256];
            snprintf(what, sizeof what, "line %d, column %d of the body: not JSON", why.line, why.column);
            return refuse(x, 400, SL_ARG, "a JSON object", what);
        }
    }
    if (x->route->flags & SL_HTTP_COMPUTE)
        return sl__queue_push(&x->http->queue, x) ? MHD_YES : refuse(x, 503, SL_BUSY, NULL, "too many requests wait already; try again");
    sl__http_run(x);
    return send_reply(x);
}

static enum MHD_Result answer(void *user, struct MHD_Connection *c, const char *url, const char *method, const char *version, const char *upload, size_t *n, void **con)
{
    sl__exchange *x = *con;
    bool go = true;
    (void)user;
    (void)c;
    (void)version;
    if (!x)
        return MHD_NO; /* no memory */
    if (!x->begun)
        return begin(x, method, url, &go);
    if (*n > 0)
        return x->body ? take_body(x, upload, n) : MHD_NO;
    return x->finished ? send_reply(x) : finish(x);
}

static void completed(void *user, struct MHD_Connection *c, void **con, enum MHD_RequestTerminationCode why)
{
    sl_http *h = user;
    sl__exchange *x = *con;
    (void)c;
    (void)why;
    if (!x)
        return;
    json_decref(x->q.body);
    json_decref(x->reply.json);
    sl_free(h->ctx, x->reply.text);
    free(x->body);
    free(x);
    *con = NULL;
}

/* ---- life ---- */

sl_status sl_http_open(sl_ctx *ctx, const sl_http_config *c, sl_http **out, sl_err *err)
{
    sl_http *h = sl_alloc(ctx, sizeof *h);
    int fd = -1;
    sl_status st;
    *out = NULL;
    if (!h)
        return sl_fail(err, SL_MEM, NULL, NULL, "no memory for the server");
    h->ctx = ctx;
    h->c = *c;
    SL_GO(sl__http_listen(h, &fd, err));
    SL_GO(sl__queue_start(&h->queue, err));
    h->daemon = MHD_start_daemon(MHD_USE_POLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL, answer, h,
                                 MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_THREAD_POOL_SIZE, (unsigned)(c->threads > 0 ? c->threads : THREADS),
                                 MHD_OPTION_CONNECTION_LIMIT, (unsigned)CONNECTIONS, MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)IDLE_SECONDS,
                                 MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)HEADER_BYTES, MHD_OPTION_URI_LOG_CALLBACK, uri_seen, h,
                                 MHD_OPTION_NOTIFY_COMPLETED, completed, h, MHD_OPTION_END);
    fd = -1; /* the daemon's from here on, also when it fails */
    if (!h->daemon)
        SL_GO(sl_fail(err, SL_IO, h->url, NULL, "the server does not start"));
done:
    if (fd >= 0)
        close(fd);
    if (st == SL_OK)
        *out = h;
    else
        sl_http_close(h);
    return st;
}

void sl_http_wait(sl_http *h)
{
    while (!sl_cancelled(h->ctx))
        nanosleep(&(struct timespec){ .tv_nsec = 100000000 }, NULL);
}

void sl_http_close(sl_http *h)
{
    if (!h)
        return;
    if (h->daemon) {
        int fd = MHD_quiesce_daemon(h->daemon);
        sl__queue_stop(&h->queue);
        MHD_stop_daemon(h->daemon);
        if (fd >= 0)
            close(fd);
    } else
        sl__queue_stop(&h->queue);
    sl_free(h->ctx, h);
}

int sl_http_port(const sl_http *h) { return h->port; }
const char *sl_http_url(const sl_http *h) { return h->url; }
const char *sl_http_tunnel(const sl_http *h) { return h->tunnel; }
