/* The folders that data files are looked for in. */
#ifndef SL_DATA_SEARCH_H
#define SL_DATA_SEARCH_H

#include <saelab/ctx.h>

enum { SL_MAX_FOLDERS = 16 };
typedef struct sl_folders { char path[SL_MAX_FOLDERS][512]; int n; } sl_folders;

/* --data-dir; SAELAB_DATA; shared/data in the four parents of the working folder, nearest first; the cache's data folder. Only those that
 * exist. */
void sl_data_folders(sl_ctx *ctx, sl_folders *out);

#endif
