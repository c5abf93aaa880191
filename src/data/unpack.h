/* Texts come plain, gzipped, as the first member of a zip, or as GPT-2 tokens. All sizes are bounded before memory is taken. */
#ifndef SL_DATA_UNPACK_H
#define SL_DATA_UNPACK_H

#include <saelab/ctx.h>

/* The unpacked bytes: 0-terminated, *n of them, sl_free by the caller. `where` names the file in errors; more than max_bytes
 * is SL_DATA. Returns SL_DATA (cut off, not of this format), SL_MEM. */
sl_status sl_gunzip(sl_ctx *ctx, const char *where, const void *data, size_t size, size_t max_bytes, char **out, size_t *n,
                    sl_err *err) SL_USE_RESULT;
sl_status sl_unzip_first(sl_ctx *ctx, const char *where, const void *data, size_t size, size_t max_bytes, char **out,
                         size_t *n, sl_err *err) SL_USE_RESULT;
/* True when the bytes begin as gzip does. */
bool sl_is_gzip(const void *data, size_t size);

#endif
