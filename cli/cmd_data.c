/* saelab data list | get: the texts that the program knows. */
#include "cmd.h"

#include <string.h>

/* Where a data set is now, without downloading it: a short word for the table. */
static const char *present(cli *c, const sl_dataset_info *d, char path[512])
{
    sl_err err;
    bool found = sl_data_where(c->ctx, d->name, path, &err) == SL_OK;
    if (!found)
        path[0] = 0;
    if (!found && strcmp(d->name, "king_james") == 0 && on_path("bible"))
        return "here"; /* printed by the program of Debian's bible-kjv */
    return found ? (path[0] ? "here" : "built in") : d->url ? "get" : "missing";
}

static sl_status list(cli *c, sl_err *err)
{
    enum { COLS = 4, MAX = 32 };
    const char *cells[(MAX + 1) * COLS] = { "NAME", "SIZE", "WHERE", "WHAT" };
    char sizes[MAX][32], path[512];
    int n = 0;
    (void)err;
    c->result = json_array();
    for (const sl_dataset_info *d = sl_datasets; d->name && n < MAX; d++, n++) {
        const char **row = cells + (n + 1) * COLS;
        row[0] = d->name;
        row[1] = d->bytes ? text_bytes(sizes[n], d->bytes) : "";
        row[2] = present(c, d, path);
        row[3] = d->what;
        json_array_append_new(c->result, json_pack("{s:s, s:s, s:I, s:s, s:s?, s:s?}", "name", d->name, "what", d->what, "bytes", (json_int_t)d->bytes,
                                                   "state", row[2], "path", path[0] ? path : NULL, "licence", d->licence));
    }
    say_table(c, true, n + 1, COLS, cells);
    next_step(c, "saelab lm train -o my_lm --dataset %s", sl_datasets[0].name);
    return SL_OK;
}

static sl_status get(cli *c, sl_err *err)
{
    char path[512];
    SL_TRY(sl_data_get(c->ctx, c->args[0], path, err));
    c->result = json_pack("{s:s, s:s}", "name", c->args[0], "path", path);
    say(c, "%s\n", path);
    next_step(c, "saelab lm train -o my_lm --dataset %s", c->args[0]);
    return SL_OK;
}

const command CMD_DATA_LIST = { .name = "data list", .args = "", .what = "List the texts that it knows, and which are here.", .run = list };
const command CMD_DATA_GET = { .name = "data get", .args = "NAME", .min_args = 1, .max_args = 1,
                               .what = "Download a text into the cache, checking its SHA-256.",
                               .examples = "  saelab data get shakespeare_char\n", .run = get };
