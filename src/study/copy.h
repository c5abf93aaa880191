/* Copies of artifacts into a run's folder. */
#ifndef SL_STUDY_COPY_H
#define SL_STUDY_COPY_H

#include <saelab/ctx.h>

/* Every regular file of `from` (one level) into the folder `to`, made when missing. */
sl_status sl_copy_dir(sl_ctx *ctx, const char *from, const char *to, sl_err *err) SL_USE_RESULT;
sl_status sl_copy_file(sl_ctx *ctx, const char *from_dir, const char *to_dir, const char *name, sl_err *err) SL_USE_RESULT;

#endif
