/* Pages in a browser, from one process of ours; nothing is fetched from elsewhere. */
#ifndef SAELAB_SERVE_H
#define SAELAB_SERVE_H

#include <saelab/opt.h>

typedef struct sl_serve_config { /* option table sl_serve_opts */
    const char *host;   /* address to listen on */
    int64_t port;       /* the first to try: a busy one takes the next; 0: any free one */
} sl_serve_config;
extern const sl_opt sl_serve_opts[];

/* The feature browser over indices of features (saelab/features.h). */
typedef struct sl_server sl_server;
/* paths: indices, folders that have one (an SAE's), or folders of such folders (a run's); none: the current folder. Answers from here on, on threads of its own:
 * nobody else may use ctx's models and kernels meanwhile. SL_MISSING: no such folder, or no index there; SL_BUSY: every port tried is busy; SL_ARG: the
 * host; SL_UNAVAILABLE: built without libmicrohttpd or SQLite; what sl_features_open and sl_marks_open say. */
sl_status sl_serve_open(sl_ctx *ctx, int n_paths, const char *const *paths, const sl_serve_config *c, sl_server **out, sl_err *err) SL_USE_RESULT;
void sl_serve_wait(sl_server *s);  /* until sl_cancel */
void sl_serve_close(sl_server *s); /* NULL is legal */
int sl_serve_sets(const sl_server *s); /* indices that are open */
int sl_serve_port(const sl_server *s);
const char *sl_serve_url(const sl_server *s);    /* "http://127.0.0.1:8000/" */
const char *sl_serve_tunnel(const sl_server *s); /* the ssh line that brings the page to the person's own machine, or "" outside of SSH */

#endif
