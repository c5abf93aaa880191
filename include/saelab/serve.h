/* Pages in a browser, from one process of ours; nothing is fetched from elsewhere. */
#ifndef SAELAB_SERVE_H
#define SAELAB_SERVE_H

#include <saelab/opt.h>

typedef struct sl_serve_config { /* option table sl_serve_opts */
    const char *host;   /* address to listen on */
    int64_t port;       /* the first to try: a busy one takes the next; 0: any free one */
} sl_serve_config;
extern const sl_opt sl_serve_opts[];

#endif
