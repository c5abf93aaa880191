/* Histograms of latents and activations over held-out rows, for pictures: fixed bins, so that runs can be laid over each other
 * (science.md A1 T8, B7). */
#include "eval/pass.h"

#include <math.h>

typedef struct seen {
    const sl_act_info *info;
    sl_eval_dist *out;
} seen;

static int64_t bin_of(double position, int n)
{
    return position < 0 ? 0 : position >= n ? n - 1 : (int64_t)position;
}

static void see(void *user, const sl_pass_chunk *c)
{
    seen *s = user;
    int64_t nnz = c->z->row_ptr[c->n], n = c->n * s->info->d_in;
    for (int64_t e = 0; e < nnz; e++)
        s->out->latent[bin_of(2 * (log2((double)c->z->val[e]) - SL_DIST_LATENT_MIN), SL_DIST_LATENT)]++;
    for (int64_t i = 0; i < n; i++) {
        double mean = s->info->mean ? (double)s->info->mean[i % s->info->d_in] : 0, v = ((double)c->x[i] - mean) * s->info->scale;
        s->out->input[bin_of((v - SL_DIST_INPUT_MIN) / SL_DIST_INPUT_STEP, SL_DIST_INPUT)]++;
    }
    s->out->n_latents += nnz;
    s->out->n_inputs += n;
}

sl_status sl_eval_distributions(sl_ctx *ctx, sl_sae *s, sl_act_source *rows, int64_t max_rows, sl_eval_dist *out, sl_err *err)
{
    int64_t n;
    *out = (sl_eval_dist){ 0 };
    sl_coder c = sl_coder_of(s);
    if (c.d_out > 0)
        return sl_fail(err, SL_UNAVAILABLE, "distributions", "an SAE", "a transcoder's targets are not its inputs");
    return sl_eval_pass(ctx, &c, rows, max_rows, see, &(seen){ &rows->info, out }, &n, err);
}
