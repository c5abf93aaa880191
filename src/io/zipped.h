/* Shared by the readers of zip files (npz, PyTorch). Errors: SL_DATA with the reason, SL_MEM. */
#ifndef SL_IO_ZIPPED_H
#define SL_IO_ZIPPED_H

#include <saelab/ctx.h>
#include <zip.h>

sl_status sl__zip_open(const char *path, const char *expected, zip_t **out, sl_err *err) SL_USE_RESULT; /* zip_discard by the caller */
sl_status sl__zip_fail(sl_err *err, const char *where, const char *expected, int code);
sl_status sl__zip_check(const char *where, const zip_stat_t *s, sl_err *err) SL_USE_RESULT; /* can this entry be read, and is its size possible? */
sl_status sl__zip_bytes(const char *where, zip_file_t *f, void *out, size_t n, sl_err *err) SL_USE_RESULT; /* the next n bytes */
sl_status sl__zip_end(const char *where, zip_file_t *f, sl_err *err) SL_USE_RESULT; /* nothing is left, and the CRC is right */

#endif
