/* Random directions, read out by TopK with tied weights: the floor that a trained dictionary has to beat (arXiv 2602.14111). From a Gaussian,
 * or rows of the data themselves. */
#include "eval/baselines/baseline.h"

#include <saelab/rng.h>


static const char *const FROM[] = { "gauss", "rows", NULL };
const sl_opt sl_random_opts[] = {
    SL_OPT_INT(sl_random_options, k, 32, 1, 65536, "latents", "directions kept a row"),
    SL_OPT_INT(sl_random_options, d_sae, 256, 1, 1 << 24, "latents", "directions"),
    SL_OPT_CHOICE(sl_random_options, from, 0, FROM, "what they are drawn from: a Gaussian, or rows of the data"),
    SL_OPT_BOOL(sl_random_options, center, 1, "subtract the mean of the rows first"),
    SL_OPT_END
};

static int64_t k_of(const void *o)
{
    return ((const sl_random_options *)o)->k;
}

static int64_t n_latents(const void *o, const sl_baseline_data *d)
{
    (void)d;
    return ((const sl_random_options *)o)->d_sae;
}

static sl_status check(const void *o, const sl_baseline_data *d, sl_err *err)
{
    const sl_random_options *r = o;
    return r->from == 1 ? sl_base_rows_enough(d, r->d_sae, err) : SL_OK;
}

static void gauss(sl_baseline *b)
{
    float *W = b->W_dec.data;
    for (int64_t j = 0; j < b->d_sae; j++) {
        sl_rng r = sl_rng_at(b->seed, SL_RNG_INIT, 0, (uint64_t)j);
        for (int64_t i = 0; i < b->d_in; i++)
            W[j * b->d_in + i] = (float)sl_rng_normal(&r);
    }
}

static sl_status fit(sl_baseline *b, const sl_baseline_data *d, sl_err *err)
{
    const sl_random_options *o = (const void *)b->opts;
    sl_tensor xc = { 0 };
    sl_status st;
    SL_GO(sl_base_own(b, b->d_in, err));
    SL_GO(sl_base_center(b, d, o->center, &xc, err));
    if (o->from == 1)
        SL_GO(sl_base_random_rows(b, &xc, &b->W_dec, err));
    else
        gauss(b);
    b->kern->row_normalize(b->kern, &b->W_dec);
    b->kern->copy(b->kern, &b->W_dec, &b->W_enc);
    b->converged = true;
done:
    sl_free(b->ctx, xc.data);
    return st;
}

const sl_baseline_ops sl_base_random = {
    .info = { .name = "random", .what = "random directions, TopK with tied weights", .source = "arXiv 2602.14111", .opts = sl_random_opts,
              .opts_size = sizeof(sl_random_options), .linear = true },
    .objective = "none", .enc_width = 1, .has_b_enc = true, .k = k_of, .n_latents = n_latents, .check = check, .fit = fit, .encode = sl_base_encode_topk,
};
