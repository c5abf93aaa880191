/* A linear baseline as an SAE of variant topk. */
#include "eval/baselines/baseline.h"

#include "sae/variant.h"

#include <string.h>

sl_status sl_baseline_to_sae(const sl_baseline *b, sl_sae **out, sl_err *err)
{
    *out = NULL;
    if (!b->ops->info.linear)
        return sl_fail(err, SL_UNAVAILABLE, b->ops->info.name, "pca, topk_pca, ica or random", "its encoder is no linear map, so no SAE says the same");
    sl_topk_options o;
    sl_opts_default(sl_variant_find("topk")->opts, &o);
    o.k = b->k;
    sl_sae *s;
    SL_TRY(sl_sae_new(b->ctx, "topk", b->d_in, b->d_sae, &o, b->seed, &s, err));
    const sl_tensor *from[4] = { &b->W_enc, &b->b_enc, &b->W_dec, &b->b_dec };
    sl_param *to[4] = { s->W_enc, s->b_enc, s->W_dec, s->b_dec };
    for (int i = 0; i < 4; i++) {
        memcpy(to[i]->value.data, from[i]->data, sl_nbytes(from[i]));
        sl_param_touch(to[i]);
    }
    memcpy(s->hook, b->hook, sizeof s->hook);
    memcpy(s->model, b->model, sizeof s->model);
    memcpy(s->dataset, b->dataset, sizeof s->dataset);
    *out = s;
    return SL_OK;
}
