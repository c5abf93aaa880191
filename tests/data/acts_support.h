/* Helpers of the activation-store tests: rows whose first value is their number, stores made of them, files patched. */
#ifndef SL_ACTS_TEST_SUPPORT_H
#define SL_ACTS_TEST_SUPPORT_H

#include "data/acts_store.h"
#include "files.h"

#include <dirent.h>
#include <string.h>

enum { D = 5 };

/* Row i is (i, i/2, -i, 1, i % 3); token 7 i, doc i / 4, pos i % 4. */
typedef struct rows { float x[200 * D]; int32_t token[200], doc[200], pos[200]; } rows;

static inline rows *make_rows(void)
{
    static rows r;
    for (int i = 0; i < 200; i++) {
        const float row[D] = { (float)i, 0.5f * (float)i, (float)-i, 1, (float)(i % 3) };
        memcpy(r.x + i * D, row, sizeof row);
        r.token[i] = 7 * i;
        r.doc[i] = i / 4;
        r.pos[i] = i % 4;
    }
    return &r;
}

static inline sl_act_info make_info(void)
{
    return (sl_act_info){ .d_in = D, .hook = "blocks.1.hook_resid_pre", .model = "tiny", .dataset = "numbers" };
}

/* Writes n rows in appends of `step`. */
static inline sl_status make_store(sl_ctx *ctx, const char *dir, int n, int step, const sl_acts_opts *o, bool side, sl_err *err)
{
    const rows *r = make_rows();
    sl_act_info info = make_info();
    sl_acts_writer *w;
    SL_TRY(sl_acts_create(ctx, dir, &info, n, o, &w, err));
    for (int i = 0; i < n; i += step) {
        int k = n - i < step ? n - i : step;
        sl_status st = sl_acts_append(w, r->x + i * D, k, side ? r->token + i : NULL, side ? r->doc + i : NULL, side ? r->pos + i : NULL, err);
        if (st != SL_OK) {
            sl_acts_abort(w);
            return st;
        }
    }
    return sl_acts_finish(w, err);
}

/* The path stays valid: equal paths share one. */
static inline const char *path_in(const char *dir, const char *name)
{
    static char kept[100][600];
    char path[1400];
    int i = 0;
    snprintf(path, sizeof path, "%.650s/%.650s", dir, name);
    while (i < 99 && kept[i][0] && strcmp(kept[i], path) != 0)
        i++;
    assert_true(i < 99 && strlen(path) < sizeof kept[0]);
    return memcpy(kept[i], path, strlen(path) + 1);
}

#endif
