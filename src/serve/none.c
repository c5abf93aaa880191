/* In place of the server where its libraries were missing when this was built. */
#include <saelab/marks.h>
#include <saelab/serve.h>

static sl_status missing(sl_err *err)
{
    return sl_fail(err, SL_UNAVAILABLE, NULL, "install libmicrohttpd-dev and libsqlite3-dev and build again", "built without its libraries");
}

sl_status sl_serve_open(sl_ctx *ctx, int n_paths, const char *const *paths, const sl_serve_config *c, sl_server **out, sl_err *err)
{
    (void)ctx;
    (void)n_paths;
    (void)paths;
    (void)c;
    *out = NULL;
    return missing(err);
}

void sl_serve_wait(sl_server *s) { (void)s; }
void sl_serve_close(sl_server *s) { (void)s; }
int sl_serve_sets(const sl_server *s) { return s == NULL; }
int sl_serve_port(const sl_server *s) { return s == NULL; }
const char *sl_serve_url(const sl_server *s) { return s ? "" : "none"; }
const char *sl_serve_tunnel(const sl_server *s) { return s ? "" : "none"; }

sl_status sl_marks_open(sl_ctx *ctx, const char *dir, sl_marks **out, sl_err *err)
{
    (void)ctx;
    (void)dir;
    *out = NULL;
    return missing(err);
}

void sl_marks_close(sl_marks *m) { (void)m; }

sl_status sl_marks_label(sl_marks *m, int64_t id, const char *text, const char *source, double score, sl_err *err)
{
    (void)m;
    (void)id;
    (void)text;
    (void)source;
    (void)score;
    return missing(err);
}

sl_status sl_marks_each(sl_marks *m, void (*each)(void *user, int64_t id, bool star, const char *tags, const char *best), void *user, sl_err *err)
{
    (void)m;
    (void)each;
    (void)user;
    return missing(err);
}

sl_status sl_marks_labels(sl_marks *m, void (*each)(void *user, int64_t id, const sl_label *label), void *user, sl_err *err)
{
    (void)m;
    (void)each;
    (void)user;
    return missing(err);
}

sl_status sl_marks_begin(sl_marks *m, sl_err *err)
{
    (void)m;
    return missing(err);
}

sl_status sl_marks_end(sl_marks *m, bool keep, sl_err *err)
{
    (void)m;
    (void)keep;
    return missing(err);
}
