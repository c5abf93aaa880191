/* Arms of a grid: `sweep` of an arm is a list of maps {option of perturb: [values]}; every combination of the values of a map is an arm of its own,
 * NAME_value_value. */
#include "study/plan_parts.h"

#include <string.h>

static int values_of(sl_ynode v) { return sl_ynode_kind(v) == SL_Y_LIST ? sl_ynode_len(v) : 1; }

static int combinations(sl_ynode map)
{
    int n = 1;
    for (int i = 0; i < sl_ynode_len(map); i++)
        n *= values_of(sl_ynode_at(map, i));
    return n;
}

sl_status sl_plan_sweep_count(sl_ynode arm, int *out, sl_err *err)
{
    sl_ynode list = sl_ynode_get(arm, "sweep");
    char where[256];
    *out = 0;
    if (sl_ynode_kind(list) == SL_Y_NONE)
        return SL_OK;
    sl_ynode_where(list, where);
    if (sl_ynode_kind(list) != SL_Y_LIST || sl_ynode_len(list) == 0)
        return sl_fail(err, SL_CONFIG, where, "sweep: [{type: [gauss, pgd], eps: [.1, .2]}, ...]", "the sweep is not a list of maps");
    for (int i = 0; i < sl_ynode_len(list); i++) {
        sl_ynode map = sl_ynode_at(list, i);
        sl_ynode_where(map, where);
        if (sl_ynode_kind(map) != SL_Y_MAP || combinations(map) < 1 || combinations(map) > SL_SWEEP_MOST)
            return sl_fail(err, SL_CONFIG, where, "options of perturb with 1 to 1000 combinations of values", "this part of the sweep has none, or too many");
        *out += combinations(map);
    }
    return *out <= SL_SWEEP_MOST ? SL_OK : sl_fail(err, SL_CONFIG, where, "at most 1000 arms", "the sweep has %d", *out);
}

/* The map and the combination in it that the i-th arm of the sweep has. */
static sl_ynode part_of(sl_ynode arm, int *i)
{
    sl_ynode list = sl_ynode_get(arm, "sweep");
    int k = 0;
    while (*i >= combinations(sl_ynode_at(list, k)))
        *i -= combinations(sl_ynode_at(list, k++));
    return sl_ynode_at(list, k);
}

/* The last option changes fastest. */
static sl_ynode value_at(sl_ynode map, int option, int i)
{
    for (int k = sl_ynode_len(map) - 1; k > option; k--)
        i /= values_of(sl_ynode_at(map, k));
    sl_ynode v = sl_ynode_at(map, option);
    return sl_ynode_kind(v) == SL_Y_LIST ? sl_ynode_at(v, i % sl_ynode_len(v)) : v;
}

void sl_plan_sweep_name(sl_ynode arm, int i, const char *base, char out[64])
{
    sl_ynode map = part_of(arm, &i);
    snprintf(out, 64, "%.40s", base);
    for (int k = 0; k < sl_ynode_len(map); k++) {
        const char *text = sl_ynode_text(value_at(map, k, i));
        size_t n = strlen(out);
        snprintf(out + n, 64 - n, "_%s", text ? text : "?");
    }
}

sl_status sl_plan_sweep_set(sl_plan *p, sl_arm *a, sl_ynode arm, int i, sl_err *err)
{
    sl_ynode map = part_of(arm, &i);
    for (int k = 0; k < sl_ynode_len(map); k++) {
        const char *key = sl_ynode_text(sl_ynode_key(map, k)), *text = sl_ynode_text(value_at(map, k, i));
        char where[256];
        sl_ynode_where(value_at(map, k, i), where);
        if (!text)
            return sl_fail(err, SL_CONFIG, where, "one value", "a list or map stands where a value belongs");
        SL_TRY(sl_opts_set(p->ctx, sl_perturb_opts, &a->perturb, key ? key : "", text, where, SL_CONFIG, err));
    }
    return SL_OK;
}
