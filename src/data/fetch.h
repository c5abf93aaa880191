/* Downloads into memory. */
#ifndef SL_DATA_FETCH_H
#define SL_DATA_FETCH_H

#include <saelab/ctx.h>

/* The whole of `url` (redirects followed); more than max_bytes is refused. Progress events carry `task`.
 *   out  0-terminated, n bytes, sl_free by the caller
 * Returns SL_IO (no network, refused, cut off: the line names the url), SL_CANCELLED, SL_MEM, SL_UNAVAILABLE (built without
 * libcurl, or SAELAB_OFFLINE is set). */
sl_status sl_fetch(sl_ctx *ctx, const char *url, const char *task, size_t max_bytes, char **out, size_t *n, sl_err *err)
    SL_USE_RESULT;

/* SAELAB_OFFLINE is set to something else than "" or "0". */
bool sl_offline(void);

#endif
