/* PCA: eigenvectors of the covariance (Pearson 1901; Hotelling 1933), each as two latents v and -v.
 *   pca        the k leading components, all kept: the best linear reconstruction with k numbers a row
 *   topk_pca   all d_in components, of which each row keeps the k with the largest |v . x~| */
#include "eval/baselines/baseline.h"

#include "kern/linalg.h"

const sl_opt sl_pca_opts[] = {
    SL_OPT_INT(sl_pca_options, k, 32, 1, 65536, "latents", "components, of which every row has one of the two signs"),
    SL_OPT_END
};
const sl_opt sl_topk_pca_opts[] = {
    SL_OPT_INT(sl_pca_options, k, 32, 1, 65536, "latents", "components kept a row"),
    SL_OPT_END
};

static int64_t k_of(const void *opts)
{
    return ((const sl_pca_options *)opts)->k;
}

static int64_t leading(const void *opts, const sl_baseline_data *d)
{
    (void)d;
    return 2 * k_of(opts);
}

static int64_t all(const void *opts, const sl_baseline_data *d)
{
    (void)opts;
    return 2 * d->d_in;
}

static sl_status check(const void *opts, const sl_baseline_data *d, sl_err *err)
{
    if (k_of(opts) > d->d_in)
        return sl_fail(err, SL_ARG, "k", "at most d_in", "%lld components of %lld columns", (long long)k_of(opts), (long long)d->d_in);
    return SL_OK;
}

static sl_status fit(sl_baseline *b, const sl_baseline_data *d, sl_err *err)
{
    size_t n = (size_t)d->d_in;
    sl_tensor xc = { 0 };
    double *cov = sl_alloc(b->ctx, n * n * sizeof *cov), *w = sl_alloc(b->ctx, n * sizeof *w);
    sl_status st = cov && w ? SL_OK : sl_fail(err, SL_MEM, "covariance", NULL, "no memory for %zu x %zu numbers", n, n);
    if (st != SL_OK)
        goto done;
    SL_GO(sl_base_own(b, b->d_in, err));
    SL_GO(sl_base_center(b, d, true, &xc, err));
    SL_GO(sl_base_covariance(b, &xc, cov, err));
    SL_GO(sl_eigh(cov, d->d_in, w, err));
    for (int64_t j = 0; j < b->d_sae / 2; j++)
        sl_base_signed_pair(b, j, cov + j * d->d_in, cov + j * d->d_in);
    b->converged = true;
done:
    sl_free(b->ctx, xc.data);
    sl_free(b->ctx, w);
    sl_free(b->ctx, cov);
    return st;
}

const sl_baseline_ops sl_base_pca = {
    .info = { .name = "pca", .what = "principal components, the k leading ones", .source = "Hotelling 1933", .opts = sl_pca_opts,
              .opts_size = sizeof(sl_pca_options), .linear = true },
    .objective = "|x - x^|^2", .enc_width = 1, .has_b_enc = true, .k = k_of, .n_latents = leading, .check = check, .fit = fit, .encode = sl_base_encode_topk,
};

const sl_baseline_ops sl_base_topk_pca = {
    .info = { .name = "topk_pca", .what = "principal components, the k largest of each row", .source = "Hotelling 1933", .opts = sl_topk_pca_opts,
              .opts_size = sizeof(sl_pca_options), .linear = true },
    .objective = "|x - x^|^2", .enc_width = 1, .has_b_enc = true, .k = k_of, .n_latents = all, .check = check, .fit = fit, .encode = sl_base_encode_topk,
};
