/* saelab cache list | prune: finished stages of earlier runs. */
#include "cmd.h"

#include <stdlib.h>
#include <time.h>

static sl_status list(cli *c, sl_err *err)
{
    enum { COLS = 5 };
    sl_cache_entry *e = NULL;
    int n = 0;
    char total[32];
    int64_t bytes = 0;
    SL_TRY(sl_cache_list(c->ctx, &e, &n, err));
    const char **cells = calloc((size_t)(n + 1) * COLS, sizeof *cells);
    char (*text)[4][32] = calloc((size_t)n + 1, sizeof *text);
    c->result = json_pack("{s:s, s:[]}", "folder", sl_ctx_cache_dir(c->ctx), "entries");
    static const char *const heading[COLS] = { "STAGE", "KEY", "SIZE", "TOOK", "LAST USED" };
    for (int k = 0; cells && k < COLS; k++)
        cells[k] = heading[k];
    for (int i = 0; i < n && cells && text; i++) {
        const char **row = cells + (i + 1) * COLS;
        time_t used = (time_t)e[i].used;
        struct tm tm;
        snprintf(text[i][0], 32, "%.12s", e[i].key);
        strftime(text[i][3], 32, "%Y-%m-%d %H:%M", localtime_r(&used, &tm));
        row[0] = e[i].stage;
        row[1] = text[i][0];
        row[2] = text_bytes(text[i][1], e[i].bytes);
        row[3] = text_time(text[i][2], e[i].seconds);
        row[4] = text[i][3];
        bytes += e[i].bytes;
        json_array_append_new(json_object_get(c->result, "entries"), json_pack("{s:s, s:s, s:I, s:o, s:I}", "stage", e[i].stage, "key", e[i].key, "bytes",
                                                                               (json_int_t)e[i].bytes, "seconds", json_real_or_null(e[i].seconds), "used",
                                                                               (json_int_t)e[i].used));
    }
    if (n > 0 && cells && text)
        say_table(c, true, n + 1, COLS, cells);
    say(c, "%d stages, %s in %s\n", n, text_bytes(total, bytes), sl_ctx_cache_dir(c->ctx));
    json_object_set_new(c->result, "bytes", json_integer((json_int_t)bytes));
    next_step(c, "saelab cache prune --keep 1");
    free(text);
    free(cells);
    sl_free(c->ctx, e);
    return SL_OK;
}

const command CMD_CACHE_LIST = { .name = "cache list", .args = "", .what = "List the finished stages that later runs can use.", .run = list };

typedef struct prune_cfg { double keep; } prune_cfg;
static const sl_opt PRUNE_OPTS[] = { SL_OPT_FLOAT(prune_cfg, keep, 20, 0, 1e9, "GB", "how much may stay; 0: nothing"), SL_OPT_END };
static const opt_group PRUNE_GROUPS[] = { { "Options", NULL, PRUNE_OPTS, 0 }, { NULL, NULL, NULL, 0 } };

static sl_status prune(cli *c, sl_err *err)
{
    const prune_cfg *p = c->cfg;
    int64_t freed = 0;
    char b[32];
    SL_TRY(sl_cache_prune(c->ctx, (int64_t)(p->keep * 1e9), &freed, err));
    say(c, "%s freed in %s\n", text_bytes(b, freed), sl_ctx_cache_dir(c->ctx));
    c->result = json_pack("{s:I}", "freed_bytes", (json_int_t)freed);
    next_step(c, "saelab cache list");
    return SL_OK;
}

const command CMD_CACHE_PRUNE = {
    .name = "cache prune", .args = "", .what = "Remove finished stages, least recently used first.",
    .examples = "  saelab cache prune --keep 5\n", .groups = PRUNE_GROUPS, .cfg_size = sizeof(prune_cfg), .run = prune,
};
