/* Built without libcurl: downloads say what is missing. */
#include "data/fetch.h"

sl_status sl_fetch(sl_ctx *ctx, const char *url, const char *task, size_t max_bytes, char **out, size_t *n, sl_err *err)
{
    (void)ctx, (void)task, (void)max_bytes;
    *out = NULL;
    *n = 0;
    return sl_fail(err, SL_UNAVAILABLE, url, NULL,
                   "this build has no downloads: install libcurl4-gnutls-dev and build again, or fetch the file by hand");
}
