/* Where a run or a confirmation goes: OUT.partial while it is made, locked; OUT when it is whole. */
#ifndef SL_STUDY_PLACE_H
#define SL_STUDY_PLACE_H

#include "study/cache.h"

typedef struct sl_place {
    char out[SL_PATH], partial[SL_PATH + 16], name[64];
    int lock;
    FILE *log;
} sl_place;

/* The folder that --out_dir names: its parent has to be there. SL_ARG. */
sl_status sl_place_locate(const char *out_dir, sl_place *p, sl_err *err) SL_USE_RESULT;
/* The key in OUT/run.json; "" when OUT is not there or empty. SL_ARG when OUT is something of somebody else's. */
sl_status sl_place_finished_key(sl_ctx *ctx, const char *out, char key[65], sl_err *err) SL_USE_RESULT;
/* Makes and locks OUT.partial; what killed writers left in it goes. End with sl_dir_unlock(p->lock). */
sl_status sl_place_lock(sl_place *p, sl_err *err) SL_USE_RESULT;
/* An older run of another key stays, as OUT.old-N. */
sl_status sl_place_move_old(sl_ctx *ctx, const char *out, sl_err *err) SL_USE_RESULT;
/* An sl_event_fn: user is a FILE. */
void sl_place_log_line(void *user, const sl_event *e);

#endif
