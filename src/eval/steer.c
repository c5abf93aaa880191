/* Steering and reading: the model's stream at a hook through an SAE. */
#include "lm/gpt.h"
#include "sae/variant.h"

#include <saelab/steer.h>

#include <math.h>
#include <string.h>

struct sl_steer {
    sl_ctx *ctx;
    sl_lm *lm;
    sl_sae *sae;
    sl_sae_info info;
    sl_hook_id at;
    int64_t T, C, V;
    sl_codes z, clamped;        /* [T] rows; clamped has room for SL_STEER_CLAMPS more in each */
    float *x, *xhat, *steered;  /* [T, C] */
    float *loss[2];             /* [T]: original, spliced */
    int64_t n;                  /* rows of the last reading */
    const sl_clamp *clamp;      /* of the call that runs */
    int n_clamps;
    sl_status status;           /* of the hook */
    sl_err *err;
};

/* ---- clamping rows ---- */

/* Row r of `from` with the clamped features at their values, 0 leaving them out, as row r of `to`; order by index is kept. */
static void clamp_row(const sl_codes *from, int64_t r, const sl_clamp *clamp, int n, sl_codes *to)
{
    int64_t e = from->row_ptr[r], end = from->row_ptr[r + 1], o = to->row_ptr[r];
    int c = 0;
    while (e < end || c < n) {
        if (c < n && (e == end || clamp[c].feature <= from->idx[e])) {
            if (e < end && clamp[c].feature == from->idx[e])
                e++;
            if (clamp[c].value > 0) {
                to->idx[o] = (int32_t)clamp[c].feature;
                to->val[o++] = (float)clamp[c].value;
            }
            c++;
        } else {
            to->idx[o] = from->idx[e];
            to->val[o++] = from->val[e++];
        }
    }
    to->row_ptr[r + 1] = o;
}

static sl_status edit_rows(void *self, float *x, int64_t n, sl_err *err)
{
    sl_steer *s = self;
    SL_TRY(sl_sae_encode(s->sae, x, n, &s->z, NULL, err));
    s->clamped.row_ptr[0] = 0;
    for (int64_t r = 0; r < n; r++)
        clamp_row(&s->z, r, s->clamp, s->n_clamps, &s->clamped);
    SL_TRY(sl_sae_decode(s->sae, &s->z, n, s->xhat, err));
    SL_TRY(sl_sae_decode(s->sae, &s->clamped, n, s->steered, err));
    for (int64_t i = 0; i < n * s->C; i++)
        x[i] += s->steered[i] - s->xhat[i];
    return SL_OK;
}

/* Checks the clamps and keeps them sorted by feature, in `sorted`. */
static sl_status take_clamps(sl_steer *s, const sl_clamp *clamps, int n, sl_clamp sorted[SL_STEER_CLAMPS], sl_err *err)
{
    if (n < 0 || n > SL_STEER_CLAMPS)
        return sl_fail(err, SL_ARG, "steering", NULL, "%d features at once are too many (at most %d)", n, SL_STEER_CLAMPS);
    for (int i = 0; i < n; i++) {
        sl_clamp c = clamps[i];
        int at = i;
        if (c.feature < 0 || c.feature >= s->info.d_sae)
            return sl_fail(err, SL_ARG, "steering", NULL, "there is no feature %lld among %lld", (long long)c.feature, (long long)s->info.d_sae);
        if (!isfinite(c.value) || c.value < 0 || c.value > 1e6)
            return sl_fail(err, SL_ARG, "steering", "a value from 0 to 1e6", "feature %lld cannot be held at %g", (long long)c.feature, c.value);
        for (; at > 0 && sorted[at - 1].feature > c.feature; at--)
            sorted[at] = sorted[at - 1];
        if (at > 0 && sorted[at - 1].feature == c.feature)
            return sl_fail(err, SL_ARG, "steering", NULL, "feature %lld is named twice", (long long)c.feature);
        sorted[at] = c;
    }
    s->clamp = sorted;
    s->n_clamps = n;
    return SL_OK;
}

static sl_status check_ids(const sl_steer *s, const int32_t *ids, int64_t n, sl_err *err)
{
    if (n < 1 || n > s->T)
        return sl_fail(err, SL_ARG, "text", NULL, "%lld tokens (the model takes 1 to %lld)", (long long)n, (long long)s->T);
    return sl_lm_check_ids(s->lm, ids, n, err);
}

/* ---- life ---- */

sl_status sl_steer_new(sl_ctx *ctx, sl_lm *lm, sl_sae *sae, const char *hook, sl_steer **out, sl_err *err)
{
    const sl_lm_config *c = sl_lm_cfg(lm);
    sl_sae_info info = sl_sae_about(sae);
    sl_hook_id at;
    sl_status st = SL_OK;
    *out = NULL;
    SL_TRY(sl_hook_parse(hook, c, &at, err));
    if (info.has_target)
        return sl_fail(err, SL_UNAVAILABLE, hook, NULL, "a transcoder writes elsewhere: steering needs an SAE of the stream itself");
    if (strcmp(info.row_norm, "none") != 0)
        return sl_fail(err, SL_UNAVAILABLE, hook, NULL, "this SAE normalises each row (%s): codes alone do not say x^", info.row_norm);
    if (info.d_in != c->n_embd)
        return sl_fail(err, SL_SHAPE, hook, NULL, "the SAE has d_in %lld, the model %lld", (long long)info.d_in, (long long)c->n_embd);
    sl_steer *s = sl_alloc(ctx, sizeof *s);
    if (!s)
        return sl_fail(err, SL_MEM, hook, NULL, "no memory for steering");
    *s = (sl_steer){ .ctx = ctx, .lm = lm, .sae = sae, .info = info, .at = at, .T = c->block_size, .C = c->n_embd, .V = c->vocab_size };
    size_t n = (size_t)(s->T * s->C);
    SL_GO(sl_codes_new(ctx, s->T, info.max_active, &s->z, err));
    SL_GO(sl_codes_new(ctx, s->T, info.max_active + SL_STEER_CLAMPS, &s->clamped, err));
    s->x = sl_alloc(ctx, (3 * n + 2 * (size_t)s->T) * sizeof(float));
    if (!s->x)
        SL_GO(sl_fail(err, SL_MEM, hook, NULL, "no memory for steering"));
    s->xhat = s->x + n;
    s->steered = s->xhat + n;
    s->loss[0] = s->steered + n;
    s->loss[1] = s->loss[0] + s->T;
done:
    if (st == SL_OK)
        *out = s;
    else
        sl_steer_free(s);
    return st;
}

void sl_steer_free(sl_steer *s)
{
    if (!s)
        return;
    sl_codes_release(s->ctx, &s->z);
    sl_codes_release(s->ctx, &s->clamped);
    sl_free(s->ctx, s->x);
    sl_free(s->ctx, s);
}

/* ---- the model over a window ---- */

static sl_var put_rows(sl_tape *t, sl_var x, float *data)
{
    sl_tensor with = *sl_value(t, x);
    with.data = data;
    return sl_replace(t, x, sl_const(t, &with));
}

static sl_var hook_clamp(void *user, sl_tape *t, sl_var x)
{
    sl_steer *s = user;
    const sl_tensor *v = sl_value(t, x);
    if (!v || s->status != SL_OK)
        return x;
    memcpy(s->x, v->data, sl_nbytes(v));
    s->status = edit_rows(s, s->x, sl_rows(v), s->err);
    return s->status == SL_OK ? put_rows(t, x, s->x) : x;
}

static sl_var hook_read(void *user, sl_tape *t, sl_var x)
{
    sl_steer *s = user;
    const sl_tensor *v = sl_value(t, x);
    if (!v || s->status != SL_OK)
        return x;
    memcpy(s->x, v->data, sl_nbytes(v));
    s->status = sl_sae_encode(s->sae, s->x, sl_rows(v), &s->z, s->xhat, s->err);
    return x;
}

static sl_var hook_splice(void *user, sl_tape *t, sl_var x)
{
    sl_steer *s = user;
    return sl_value(t, x) ? put_rows(t, x, s->xhat) : x;
}

/* Logits with the stream changed by fn (NULL: as it is), borrowed until the tape's next use. */
static sl_status run(sl_steer *s, const int32_t *ids, int64_t n, sl_var (*fn)(void *, sl_tape *, sl_var), sl_tensor *logits, sl_err *err)
{
    sl_tape *t = s->lm->tape;
    sl_tensor in = sl_tensor_of(SL_I32, (void *)(uintptr_t)ids, 2, (int64_t)1, n);
    sl_gpt_hook hook = { s->at, fn, s };
    s->status = SL_OK;
    s->err = err;
    sl_tape_reset(t);
    sl_var l = sl_gpt_logits(t, s->lm, sl_gpt_hidden(t, s->lm, &in, fn ? &hook : NULL));
    SL_TRY(s->status);
    SL_TRY(sl_tape_status(t, err));
    *logits = *sl_value(t, l);
    if (sl_tape_kern(t)->not_finite(sl_tape_kern(t), logits) >= 0)
        return sl_fail(err, SL_NUMERIC, "steering", "a smaller value", "the model's logits are not finite");
    return SL_OK;
}

sl_status sl_steer_logits(sl_steer *s, const sl_clamp *clamps, int n_clamps, const int32_t *ids, int64_t n, float *logits, sl_err *err)
{
    sl_clamp sorted[SL_STEER_CLAMPS];
    sl_tensor l;
    SL_TRY(take_clamps(s, clamps, n_clamps, sorted, err));
    SL_TRY(check_ids(s, ids, n, err));
    SL_TRY(run(s, ids, n, n_clamps ? hook_clamp : NULL, &l, err));
    memcpy(logits, l.data, sl_nbytes(&l));
    return SL_OK;
}

sl_status sl_steer_sample(sl_steer *s, const sl_clamp *clamps, int n_clamps, const int32_t *prompt, int64_t n_prompt, const sl_lm_sample_config *c,
                          bool (*token)(void *, int32_t), void *user, sl_err *err)
{
    sl_clamp sorted[SL_STEER_CLAMPS];
    SL_TRY(take_clamps(s, clamps, n_clamps, sorted, err));
    sl_lm_edit edit = { s->at, edit_rows, s };
    return sl_lm_sample_edited(s->lm, prompt, n_prompt, c, n_clamps ? &edit : NULL, token, user, err);
}

/* ---- reading ---- */

/* loss[i + 1] = log sum exp of row i - its logit of ids[i + 1]. */
static void token_losses(const sl_tensor *logits, const int32_t *ids, int64_t n, int64_t V, float *loss)
{
    loss[0] = NAN;
    for (int64_t i = 0; i + 1 < n; i++) {
        const float *l = (const float *)logits->data + i * V;
        double top = l[0], sum = 0;
        for (int64_t v = 1; v < V; v++)
            top = l[v] > top ? l[v] : top;
        for (int64_t v = 0; v < V; v++)
            sum += exp(l[v] - top);
        loss[i + 1] = (float)(top + log(sum) - l[ids[i + 1]]);
    }
}

sl_status sl_steer_read(sl_steer *s, const int32_t *ids, int64_t n, sl_reading *out, sl_err *err)
{
    sl_tensor l;
    s->n = 0;
    SL_TRY(check_ids(s, ids, n, err));
    SL_TRY(run(s, ids, n, hook_read, &l, err));
    token_losses(&l, ids, n, s->V, s->loss[0]);
    SL_TRY(run(s, ids, n, hook_splice, &l, err));
    token_losses(&l, ids, n, s->V, s->loss[1]);
    s->n = n;
    *out = (sl_reading){ .z = s->z, .x = s->x, .loss = s->loss[0], .loss_spliced = s->loss[1] };
    return SL_OK;
}

/* What a latent has to exceed in row r. */
static float needed(const sl_steer *s, const sl_tensor *own, int64_t feature, int64_t r)
{
    float least = INFINITY;
    if (own)
        return ((const float *)own->data)[feature];
    if (s->sae->ops->threshold)
        return (float)s->sae->ops->threshold(s->sae);
    if (strcmp(s->info.variant, "topk") != 0 || s->z.row_ptr[r + 1] - s->z.row_ptr[r] < s->info.max_active)
        return 0; /* fewer than k were positive */
    for (int64_t e = s->z.row_ptr[r]; e < s->z.row_ptr[r + 1]; e++)
        least = s->z.val[e] < least ? s->z.val[e] : least;
    return least;
}

sl_status sl_steer_why(const sl_steer *s, int64_t feature, float *pre, float *threshold, sl_err *err)
{
    static const char *const affine[] = { "standard", "topk", "batchtopk", "jumprelu", "matryoshka", "p_anneal", NULL };
    sl_tensor W, b, b_dec, own;
    int v = 0;
    if (feature < 0 || feature >= s->info.d_sae || s->n == 0)
        return sl_fail(err, SL_ARG, "feature", NULL, s->n ? "there is no feature %lld" : "no text was read (feature %lld)", (long long)feature);
    while (affine[v] && strcmp(affine[v], s->info.variant) != 0)
        v++;
    if (!affine[v])
        return sl_fail(err, SL_UNAVAILABLE, s->info.variant, NULL, "the encoder of this variant has no single pre-activation");
    SL_TRY(sl_sae_weight(s->sae, "W_enc", &W, err));
    SL_TRY(sl_sae_weight(s->sae, "b_enc", &b, err));
    SL_TRY(sl_sae_weight(s->sae, "b_dec", &b_dec, err));
    bool has_own = strcmp(s->info.variant, "jumprelu") == 0;
    if (has_own)
        SL_TRY(sl_sae_weight(s->sae, "threshold", &own, err));
    const float *w = (const float *)W.data + feature * s->C, *shift = b_dec.data;
    for (int64_t r = 0; r < s->n; r++) {
        double sum = ((const float *)b.data)[feature];
        for (int64_t i = 0; i < s->C; i++)
            sum += w[i] * ((double)s->x[r * s->C + i] - (s->info.center_input ? shift[i] : 0));
        pre[r] = (float)sum;
        threshold[r] = needed(s, has_own ? &own : NULL, feature, r);
    }
    return SL_OK;
}
