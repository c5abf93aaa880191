/* The variants, in the order in which listings show them. */
#include "sae/variant.h"

#include <string.h>

static const sl_sae_ops *const variants[] = {
    &sl_sae_standard, &sl_sae_topk, &sl_sae_batchtopk, &sl_sae_matryoshka, &sl_sae_matryoshka_topk, &sl_sae_matching_pursuit,
    &sl_sae_jumprelu, &sl_sae_gated, &sl_sae_p_anneal, &sl_sae_transcoder, &sl_sae_skip_transcoder, &sl_sae_mlp_decoder,
    &sl_sae_polysae, &sl_sae_compositional,
    NULL
};

const sl_sae_ops *sl_sae_ops_find(const char *name)
{
    for (int i = 0; variants[i]; i++)
        if (name && strcmp(variants[i]->info.name, name) == 0)
            return variants[i];
    return NULL;
}

const sl_variant_info *sl_variant_at(int i)
{
    int n = (int)(sizeof variants / sizeof *variants) - 1;
    return i >= 0 && i < n ? &variants[i]->info : NULL;
}

const sl_variant_info *sl_variant_find(const char *name)
{
    const sl_sae_ops *ops = sl_sae_ops_find(name);
    return ops ? &ops->info : NULL;
}

const char *sl_variant_watched(const char *variant, int i)
{
    const sl_sae_ops *ops = sl_sae_ops_find(variant);
    for (int k = 0; ops && ops->watched && ops->watched[k]; k++)
        if (k == i)
            return ops->watched[k];
    return NULL;
}
