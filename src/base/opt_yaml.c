/* A YAML map read through an option table. */
#include <saelab/opt.h>

#include <stdio.h>
#include <string.h>

static bool listed(const char *const *names, const char *name)
{
    for (int i = 0; names && names[i]; i++)
        if (sl_name_equal(names[i], name))
            return true;
    return false;
}

static sl_status set_list(sl_ctx *ctx, const sl_opt *table, void *cfg, const char *name, sl_ynode list, sl_err *err)
{
    char where[256];
    for (int i = 0; i < sl_ynode_len(list); i++) {
        sl_ynode item = sl_ynode_at(list, i);
        sl_ynode_where(item, where);
        if (sl_ynode_kind(item) != SL_Y_SCALAR)
            return sl_fail(err, SL_CONFIG, where, "text", "an item of %s is a list or a map", name);
        SL_TRY(sl_opts_set(ctx, table, cfg, name, sl_ynode_text(item), where, SL_CONFIG, err));
    }
    return SL_OK;
}

static sl_status set_one(sl_ctx *ctx, const sl_opt *table, void *cfg, sl_ynode key, sl_ynode value, sl_err *err)
{
    const char *name = sl_ynode_text(key);
    const sl_opt *o = sl_opts_find(table, name);
    char where[256], expected[256];
    sl_ynode_where(o ? value : key, where);
    if (o && o->type == SL_T_STRS) {
        *(sl_strs *)((char *)cfg + o->offset) = (sl_strs){ NULL, 0 }; /* the file replaces what stood there */
        if (sl_ynode_kind(value) == SL_Y_LIST)
            return set_list(ctx, table, cfg, name, value, err);
        if (sl_ynode_is_null(value))
            return SL_OK;
    }
    if (o && sl_ynode_kind(value) != SL_Y_SCALAR) {
        sl_opts_expected(o, expected, sizeof expected);
        return sl_fail(err, SL_CONFIG, where, expected, "%s is a %s", o->name, sl_ynode_kind(value) == SL_Y_LIST ? "list" : "map");
    }
    const char *text = !o ? "" : o->type == SL_T_STR && sl_ynode_is_null(value) ? "" : sl_ynode_text(value);
    return sl_opts_set(ctx, table, cfg, name, text, where, SL_CONFIG, err);
}

sl_status sl_opts_from_yaml(sl_ctx *ctx, const sl_opt *table, void *cfg, sl_ynode map, const char *const *skip, sl_err *err)
{
    char where[256];
    if (sl_ynode_kind(map) == SL_Y_NONE || sl_ynode_is_null(map))
        return SL_OK;
    if (sl_ynode_kind(map) != SL_Y_MAP) {
        sl_ynode_where(map, where);
        return sl_fail(err, SL_CONFIG, where, "key: value lines", "not a map");
    }
    for (int i = 0; i < sl_ynode_len(map); i++) {
        sl_ynode key = sl_ynode_key(map, i);
        if (!listed(skip, sl_ynode_text(key)))
            SL_TRY(set_one(ctx, table, cfg, key, sl_ynode_at(map, i), err));
    }
    return SL_OK;
}
