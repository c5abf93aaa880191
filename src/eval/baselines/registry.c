/* All baselines, in the order of the listing. */
#include "eval/baselines/baseline.h"

static const sl_baseline_ops *const all[] = {
    &sl_base_pca, &sl_base_topk_pca, &sl_base_ica, &sl_base_nmf, &sl_base_semi_nmf, &sl_base_kmeans, &sl_base_fista, &sl_base_fista_oracle, &sl_base_random,
};
enum { N = sizeof all / sizeof *all };

const sl_baseline_info *sl_baseline_at(int i)
{
    return i >= 0 && i < N ? &all[i]->info : NULL;
}

const sl_baseline_ops *sl_baseline_ops_find(const char *name)
{
    for (int i = 0; name && i < N; i++)
        if (sl_name_equal(name, all[i]->info.name))
            return all[i];
    return NULL;
}

const sl_baseline_info *sl_baseline_find(const char *name)
{
    const sl_baseline_ops *ops = sl_baseline_ops_find(name);
    return ops ? &ops->info : NULL;
}
