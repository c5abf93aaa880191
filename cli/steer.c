/* lm sample --steer SAE:FEATURE=VALUE: a text with features of an SAE held at values. */
#include "cmd.h"

#include <stdlib.h>
#include <string.h>

static sl_status bad(const char *text, sl_err *err)
{
    return sl_fail(err, SL_ARG, "--steer", "SAE:FEATURE=VALUE, for example my_sae:17=8", "'%.120s'", text);
}

/* Cuts "SAE:17=8" into its parts; path [512]. The last ':' counts: an SAE's path may have others. */
static sl_status parse(const char *text, char path[512], sl_clamp *out, sl_err *err)
{
    char feature[32];
    const char *colon = strrchr(text, ':'), *equal = colon ? strchr(colon, '=') : NULL;
    if (!equal || colon == text || colon - text >= 512 || equal - colon - 1 >= (long)sizeof feature)
        return bad(text, err);
    snprintf(path, 512, "%.*s", (int)(colon - text), text);
    snprintf(feature, sizeof feature, "%.*s", (int)(equal - colon - 1), colon + 1);
    return sl_parse_int(feature, &out->feature) && sl_parse_number(equal + 1, &out->value) ? SL_OK : bad(text, err);
}

sl_status steer_open(cli *c, const sl_strs *list, sl_lm *lm, steering *out, sl_err *err)
{
    char path[512] = "", other[512];
    *out = (steering){ .n = list->n };
    if (list->n > SL_STEER_CLAMPS)
        return sl_fail(err, SL_ARG, "--steer", NULL, "more than %d features", SL_STEER_CLAMPS);
    for (int i = 0; i < list->n; i++) {
        SL_TRY(parse(list->v[i], i ? other : path, &out->clamp[i], err));
        if (i && strcmp(other, path) != 0)
            return sl_fail(err, SL_ARG, "--steer", "features of one SAE", "'%.100s' and '%.100s' are two SAEs", path, other);
    }
    SL_TRY(sl_sae_load(c->ctx, path, &out->sae, err));
    return sl_steer_new(c->ctx, lm, out->sae, sl_sae_about(out->sae).hook, &out->steer, err);
}

void steer_close(steering *s)
{
    sl_steer_free(s->steer);
    sl_sae_free(s->sae);
}
