/* Downloads, into memory or into a file. */
#ifndef SL_DATA_FETCH_H
#define SL_DATA_FETCH_H

#include "io/io.h"

/* The whole of `url` (redirects followed); more than max_bytes is refused. Progress events carry `task`.
 *   out  0-terminated, n bytes, sl_free by the caller
 * Returns SL_IO (no network, refused, cut off: the line names the url), SL_CANCELLED, SL_MEM, SL_MISSING (404), SL_UNAVAILABLE (401 or 403,
 * built without libcurl, or SAELAB_OFFLINE is set). */
sl_status sl_fetch(sl_ctx *ctx, const char *url, const char *task, size_t max_bytes, char **out, size_t *n, sl_err *err)
    SL_USE_RESULT;

/* The whole of `url`, `size` bytes, into a file of which `have` bytes are there from an earlier start: only the rest is asked for; a server
 * that cannot do that sends all anew. What came stays in the file when it fails.
 * Returns as sl_fetch, and SL_MISSING (404), SL_UNAVAILABLE (401, 403), SL_DATA (longer than size), SL_IO (shorter; the disk). */
sl_status sl_fetch_file(sl_ctx *ctx, const char *url, const char *task, int64_t size, sl_partial *file, int64_t have, sl_err *err)
    SL_USE_RESULT;

/* SAELAB_OFFLINE is set to something else than "" or "0". */
bool sl_offline(void);

#endif
