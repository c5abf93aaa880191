/* Hook names, as TransformerLens writes them. */
#include <saelab/lm.h>

#include <stdio.h>
#include <string.h>

static const char *const sites[] = { "hook_resid_pre", "hook_resid_post", "hook_mlp_out" };

sl_status sl_hook_parse(const char *name, const sl_lm_config *c, sl_hook_id *out, sl_err *err)
{
    char expected[128], where[160], again[64];
    snprintf(expected, sizeof expected, "blocks.L.hook_resid_pre, hook_resid_post or hook_mlp_out with L from 0 to %d",
             (int)c->n_layer - 1);
    snprintf(where, sizeof where, "hook '%.120s'", name);
    int layer = -1, end = 0;
    if (sscanf(name, "blocks.%9d.%n", &layer, &end) != 1 || end == 0 || layer < 0 || layer >= c->n_layer)
        return sl_fail(err, SL_ARG, where, expected, "no such layer");
    for (int site = 0; site < 3; site++) {
        snprintf(again, sizeof again, "blocks.%d.%s", layer, sites[site]);
        if (strcmp(again, name) == 0) { /* the whole name, in its only spelling */
            out->layer = layer;
            out->site = site == 0 ? SL_HOOK_RESID_PRE : site == 1 ? SL_HOOK_RESID_POST : SL_HOOK_MLP_OUT;
            return SL_OK;
        }
    }
    return sl_fail(err, SL_ARG, where, expected, "no such hook point");
}
