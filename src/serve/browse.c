/* The feature browser: its routes, its pages, its life. */
#include "serve/browse.h"

#include <string.h>

struct sl_server {
    sl_ctx *ctx;
    sl__browse *b;
    sl_http *h;
};

extern const sl_http_file sl_web_browse[]; /* web/, embedded by cmake */

static const sl_http_route ROUTES[] = {
    { "GET", "api/sets", sl__get_sets, 0, 0 },
    { "GET", "api/set/:/rows", sl__get_rows, 0, 0 },
    { "GET", "api/set/:/density", sl__get_density, 0, 0 },
    { "GET", "api/set/:/feature/:", sl__get_feature, 0, 0 },
    { "GET", "api/set/:/around/:", sl__get_around, 0, 0 },
    { "GET", "api/set/:/compositions", sl__get_compositions, 0, 0 },
    { "GET", "api/set/:/composition/:", sl__get_composition, 0, 0 },
    { "GET", "api/set/:/stability", sl__get_stability, 0, 0 },
    { "POST", "api/set/:/mark/:", sl__post_mark, 0, 8 << 10 },
    { "GET", "api/set/:/compare/:", sl__get_compare, SL_HTTP_COMPUTE, 0 },
    { "POST", "api/set/:/text", sl__post_text, SL_HTTP_COMPUTE, 0 },
    { "POST", "api/set/:/steer", sl__post_steer, SL_HTTP_COMPUTE, 0 },
    { NULL, NULL, NULL, 0, 0 }
};

sl_status sl_serve_open(sl_ctx *ctx, int n_paths, const char *const *paths, const sl_serve_config *c, sl_server **out, sl_err *err)
{
    sl_server *s = sl_alloc(ctx, sizeof *s);
    sl_status st = SL_OK;
    *out = NULL;
    if (!s)
        return sl_fail(err, SL_MEM, NULL, NULL, "no memory for the server");
    s->ctx = ctx;
    SL_GO(sl__browse_open(ctx, n_paths, paths, &s->b, err));
    SL_GO(sl_http_open(ctx, &(sl_http_config){ .host = c->host, .port = (int)c->port, .routes = ROUTES, .files = sl_web_browse, .user = s->b }, &s->h, err));
done:
    if (st == SL_OK)
        *out = s;
    else
        sl_serve_close(s);
    return st;
}

void sl_serve_wait(sl_server *s) { sl_http_wait(s->h); }

void sl_serve_close(sl_server *s)
{
    if (!s)
        return;
    sl_http_close(s->h);
    sl__browse_free(s->b);
    sl_free(s->ctx, s);
}

int sl_serve_sets(const sl_server *s) { return s->b->n_sets; }
int sl_serve_port(const sl_server *s) { return sl_http_port(s->h); }
const char *sl_serve_url(const sl_server *s) { return sl_http_url(s->h); }
const char *sl_serve_tunnel(const sl_server *s) { return sl_http_tunnel(s->h); }
