/* An SAE as what the evaluators take. */
#include <saelab/eval.h>

static sl_status encode(void *self, const float *x, int64_t n, sl_codes *z, float *xhat, sl_err *err)
{
    return sl_sae_encode(self, x, n, z, xhat, err);
}

sl_coder sl_coder_of(sl_sae *s)
{
    sl_sae_info i = sl_sae_about(s);
    sl_tensor W = { 0 };
    sl_status st = sl_sae_weight(s, "W_dec", &W, NULL);
    return (sl_coder){ i.d_in, i.d_sae, i.max_active, i.l1, st == SL_OK ? W.data : NULL, s, encode, i.has_target ? i.d_out : 0 };
}

/* Everything here compares x^ with x. */
static sl_status is_of_x(const sl_sae *s, sl_err *err)
{
    sl_sae_info i = sl_sae_about(s);
    return i.has_target ? sl_fail(err, SL_UNAVAILABLE, i.variant, "an SAE", "it predicts a target, which these metrics do not know") : SL_OK;
}

sl_status sl_eval_rows(sl_ctx *ctx, sl_sae *s, sl_act_source *rows, int64_t max_rows, sl_metrics *out, float *rates, sl_err *err)
{
    sl_coder c = sl_coder_of(s);
    return sl_eval_coder_rows(ctx, &c, rows, max_rows, out, rates, err);
}

sl_status sl_eval_splice(sl_ctx *ctx, sl_lm *lm, sl_sae *s, const char *hook, const sl_corpus *c, int64_t first_doc, int64_t end_doc, int64_t max_tokens, sl_metrics *out, sl_err *err)
{
    if (s)
        SL_TRY(is_of_x(s, err));
    sl_coder coder = s ? sl_coder_of(s) : (sl_coder){ 0 };
    return sl_eval_coder_splice(ctx, lm, s ? &coder : NULL, hook, c, first_doc, end_doc, max_tokens, out, err);
}
