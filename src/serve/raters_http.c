/* The raters' pages: two addresses, each of which wants the secret of the rater's link in a header (a page elsewhere cannot send it, and no log keeps it:
 * in the link it stands behind the '#'). */
#include "serve/http.h"
#include "serve/raters.h"

#include <string.h>

extern const sl_http_file sl_web_raters[];

enum { ANSWER_BYTES = 4096 };

static sl_status who(sl_raters *r, const sl_http_req *q, sl_http_reply *reply, int64_t *rater, sl_err *err)
{
    sl_status st = sl__rater_of(r, sl_http_header(q, "X-Rater"), rater, err);
    if (st == SL_MISSING)
        reply->status = 403;
    return st;
}

static sl_status get_next(void *user, const sl_http_req *q, sl_http_reply *reply, sl_err *err)
{
    int64_t rater;
    SL_TRY(who(user, q, reply, &rater, err));
    return sl__rater_next(user, rater, &reply->json, err);
}

/* {"item", "answer", "ms", "version"}; answers with the next question once the answer is on the disk. */
static sl_status post_answer(void *user, const sl_http_req *q, sl_http_reply *reply, sl_err *err)
{
    int64_t rater, ms;
    const char *item, *version;
    SL_TRY(who(user, q, reply, &rater, err));
    SL_TRY(sl_http_body_text(q, "item", 64, &item, err));
    SL_TRY(sl_http_body_text(q, "version", 64, &version, err));
    SL_TRY(sl_http_body_int(q, "ms", 0, INT32_MAX, &ms, err));
    sl_status st = sl__rater_answer(user, rater, item, json_object_get(q->body, "answer"), ms, version, err);
    if (st == SL_UNAVAILABLE)
        reply->status = 410;
    SL_TRY(st);
    return sl__rater_next(user, rater, &reply->json, err);
}

static const sl_http_route ROUTES[] = {
    { "GET", "api/rater/next", get_next, 0, 0 },
    { "POST", "api/rater/answer", post_answer, 0, ANSWER_BYTES },
    { 0 },
};

sl_status sl__raters_listen(sl_raters *r, const sl_serve_config *c, sl_http **out, sl_err *err)
{
    return sl_http_open(r->ctx, &(sl_http_config){ .host = c->host, .port = (int)c->port, .routes = ROUTES, .files = sl_web_raters, .user = r }, out, err);
}

/* The links, from raters.txt: "1 SECRET" a line. */
static sl_status show_links(sl_raters *r, const sl_http *h, void (*ready)(void *, const char *), void *user, sl_err *err)
{
    char path[RATERS_PATH], line[RATERS_PATH], *text;
    size_t n;
    SL_TRY(sl__raters_file(r, "raters.txt", path, err));
    SL_TRY(sl_file_read(r->ctx, path, &text, &n, err));
    for (char *at = text, *end; *at && (end = strchr(at, '\n')) != NULL; at = end + 1) {
        char number[16], token[RATERS_TOKEN + 1];
        if (sscanf(at, "%15s %32s", number, token) != 2)
            continue;
        snprintf(line, sizeof line, "rater %s  %sraters.html#%s", number, sl_http_url(h), token);
        ready(user, line);
    }
    sl_free(r->ctx, text);
    return SL_OK;
}

sl_status sl_raters_serve(sl_raters *r, const sl_serve_config *c, void (*ready)(void *, const char *), void *user, sl_err *err)
{
    sl_raters_state s;
    sl_http *h;
    SL_TRY(sl_raters_tell(r, &s, err));
    if (s.frozen)
        return sl_fail(err, SL_ARG, r->dir, "a study that is not frozen", "nobody may answer any more");
    SL_TRY(sl__raters_listen(r, c, &h, err));
    sl_status st = show_links(r, h, ready, user, err);
    if (st == SL_OK && *sl_http_tunnel(h)) {
        char line[512];
        snprintf(line, sizeof line, "on your own machine, first:  %s", sl_http_tunnel(h));
        ready(user, line);
    }
    if (st == SL_OK)
        sl_http_wait(h);
    sl_http_close(h);
    return st;
}
