/* Life and use of an SAE: weights, encoding, decoding. */
#include "sae/variant.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const int64_t MAX_WEIGHTS = (int64_t)1 << 40; /* of one matrix: so that no size overflows */

/* ---- making ---- */

static sl_status check_option(const sl_opt *o, const void *opts, sl_err *err)
{
    const char *field = (const char *)opts + o->offset;
    double v = o->def, lo = o->min, hi = o->max;
    if (o->type == SL_T_INT)
        v = (double)*(const int64_t *)field;
    else if (o->type == SL_T_FLOAT)
        v = *(const double *)field;
    else if (o->type == SL_T_CHOICE) {
        v = *(const int *)field;
        for (lo = 0, hi = -1; o->choices[(int)hi + 1]; hi++) {}
    } else
        return SL_OK;
    if (v >= lo && v <= hi)
        return SL_OK;
    char expected[64];
    snprintf(expected, sizeof expected, "%g to %g", lo, hi);
    return sl_fail(err, SL_ARG, o->name, expected, "%g is out of range", v);
}

sl_status sl_sae_check_options(const sl_opt *table, const void *opts, sl_err *err)
{
    for (const sl_opt *o = table; o->type != SL_T_END; o++)
        SL_TRY(check_option(o, opts, err));
    return SL_OK;
}

static sl_status set_options(sl_sae *s, const void *vopts, sl_err *err)
{
    const sl_variant_info *info = &s->ops->info;
    s->opts = sl_alloc(s->ctx, info->opts_size);
    if (!s->opts)
        return sl_fail(err, SL_MEM, info->name, NULL, "no memory for its options");
    if (vopts)
        memcpy(s->opts, vopts, info->opts_size);
    else
        sl_opts_default(info->opts, s->opts);
    SL_TRY(sl_sae_check_options(info->opts, s->opts, err));
    return s->ops->check ? s->ops->check(s->opts, s->d_in, s->d_sae, err) : SL_OK;
}

static sl_status set_d_out(sl_sae *s, sl_err *err)
{
    s->d_out = s->ops->d_out(s->opts, s->d_in);
    if (s->d_out >= 1 && s->d_out <= MAX_WEIGHTS / s->d_sae)
        return SL_OK;
    return sl_fail(err, SL_ARG, "d_out", "at least 1, and at most 2^40 weights", "%lld outputs", (long long)s->d_out);
}

static sl_status make_weights(sl_sae *s, sl_dtype dtype, bool trainable, sl_err *err)
{
    unsigned terms = trainable ? SL_PARAM_TERMS : 0;
    SL_TRY(sl_params_new(s->ctx, dtype, &s->params, err));
    if (!s->ops->no_encoder) {
        s->W_enc = sl_params_add(s->params, terms, "W_enc", 2, s->d_sae, s->d_in);
        s->b_enc = sl_params_add(s->params, 0, "b_enc", 1, s->d_sae);
    }
    s->W_dec = sl_params_add(s->params, terms | (s->ops->unit_decoder(s->opts) ? SL_PARAM_UNIT_ROWS : 0), "W_dec", 2, s->d_sae, s->d_out);
    s->b_dec = sl_params_add(s->params, 0, "b_dec", 1, s->d_out);
    if (s->ops->declare)
        s->ops->declare(s);
    SL_TRY(sl_params_build(s->params, trainable, err)); /* reports what sl_params_add could not */
    return trainable ? sl_sae_init(s, err) : SL_OK;
}

int sl_sae_n_state(const sl_sae_ops *ops)
{
    int n = 0;
    while (ops->state && ops->state[n].name)
        n++;
    return n;
}

/* Rows of W_dec of the recipe's norm, W_enc the same array (both are feature-major) where that fits, all else 0. */
static void first_weights(sl_sae *s, const sl_kern *k)
{
    const sl_recipe *r = s->recipe;
    sl_param *first = s->W_enc && (r->raw_encoder || s->d_in != s->d_out) ? s->W_enc : s->W_dec;
    if (r->uniform_init)
        sl_param_uniform(s->params, first, s->seed, 1 / sqrt((double)s->d_in));
    else
        sl_param_normal(s->params, first, s->seed, 1);
    if (first == s->W_dec || !r->raw_encoder)
        k->row_normalize(k, &first->value);
    if (s->d_in != s->d_out)
        sl_param_normal(s->params, s->W_dec, s->seed, 1);
    else if (first == s->W_enc)
        k->copy(k, &first->value, &s->W_dec->value);
    k->row_normalize(k, &s->W_dec->value);
    if (r->decoder_norm != 1)
        k->axpby(k, r->decoder_norm, &s->W_dec->value, 0, &s->W_dec->value);
    if (first == s->W_dec && s->W_enc)
        k->copy(k, &s->W_dec->value, &s->W_enc->value);
}

sl_status sl_sae_init(sl_sae *s, sl_err *err)
{
    const sl_kern *k;
    SL_TRY(sl_kern_get(s->ctx, s->W_dec->value.dtype, &k, err));
    for (int i = 0; i < sl_params_count(s->params); i++) {
        sl_param *p = sl_params_at(s->params, i);
        sl_tensor *all[] = { &p->value, &p->m, &p->v };
        for (int j = 0; j < 3; j++)
            if (all[j]->data)
                k->fill(k, 0, all[j]);
    }
    for (int i = 0; i < sl_sae_n_state(s->ops); i++)
        s->state[i] = s->ops->state[i].first;
    first_weights(s, k);
    if (s->ops->init)
        s->ops->init(s, k);
    for (int i = 0; i < sl_params_count(s->params); i++)
        sl_param_touch(sl_params_at(s->params, i));
    return SL_OK;
}

sl_status sl_sae_make_of(sl_ctx *ctx, const sl_sae_ops *ops, int64_t d_in, int64_t d_sae, const void *vopts, uint64_t seed, sl_dtype dtype,
                         bool trainable, sl_sae **out, sl_err *err)
{
    *out = NULL;
    if (d_in < 1 || d_sae < 1 || d_sae > INT32_MAX || d_in > MAX_WEIGHTS / d_sae)
        return sl_fail(err, SL_ARG, "d_in, d_sae", "at least 1, and at most 2^40 weights", "an SAE of %lld x %lld", (long long)d_sae, (long long)d_in);
    sl_sae *s = sl_alloc(ctx, sizeof *s);
    if (!s)
        return sl_fail(err, SL_MEM, "sae", NULL, "no memory");
    *s = (sl_sae){ .ctx = ctx, .ops = ops, .recipe = sl_recipe_at(0), .d_in = d_in, .d_out = d_in, .d_sae = d_sae, .seed = seed, .center_input = true, .scale = 1 };
    for (int i = 0; i < sl_sae_n_state(ops); i++)
        s->state[i] = ops->state[i].first;
    sl_status st = set_options(s, vopts, err);
    if (st == SL_OK && ops->d_out)
        st = set_d_out(s, err);
    if (st == SL_OK)
        st = make_weights(s, dtype, trainable, err);
    if (st == SL_OK)
        *out = s;
    else
        sl_sae_free(s);
    return st;
}

sl_status sl_sae_make(sl_ctx *ctx, const char *variant, int64_t d_in, int64_t d_sae, const void *vopts, uint64_t seed, sl_dtype dtype,
                      bool trainable, sl_sae **out, sl_err *err)
{
    const sl_sae_ops *ops = sl_sae_ops_find(variant);
    if (ops)
        return sl_sae_make_of(ctx, ops, d_in, d_sae, vopts, seed, dtype, trainable, out, err);
    *out = NULL;
    return sl_fail(err, SL_ARG, "variant", "one that `saelab sae variants` lists", "there is no variant '%s'", variant ? variant : "");
}

sl_status sl_sae_new(sl_ctx *ctx, const char *variant, int64_t d_in, int64_t d_sae, const void *vopts, uint64_t seed, sl_sae **out, sl_err *err)
{
    return sl_sae_make(ctx, variant, d_in, d_sae, vopts, seed, SL_F32, true, out, err);
}

sl_status sl_sae_count_weights(sl_ctx *ctx, const char *variant, int64_t d_in, int64_t d_sae, const void *vopts, int64_t *n, sl_err *err)
{
    sl_sae *s;
    *n = 0;
    SL_TRY(sl_sae_make(ctx, variant, d_in, d_sae, vopts, 0, SL_F32, false, &s, err));
    for (int i = 0; i < sl_params_count(s->params); i++) {
        const sl_param *p = sl_params_at(s->params, i);
        *n += p->flags & SL_PARAM_FROZEN ? 0 : sl_numel(&p->value);
    }
    sl_sae_free(s);
    return SL_OK;
}

int64_t sl_sae_topk_width(int64_t n, int64_t d_in)
{
    int64_t a_latent = 2 * d_in + 1, width = (n - d_in + a_latent / 2) / a_latent;
    return width > 1 ? width : 1;
}

void sl_sae_free(sl_sae *s)
{
    if (!s)
        return;
    sl_tape_free(s->tape);
    sl_params_free(s->params);
    sl_free(s->ctx, s->opts);
    sl_free(s->ctx, s->mean);
    sl_free(s->ctx, s);
}

/* ---- asking ---- */

sl_sae_info sl_sae_about(const sl_sae *s)
{
    sl_sae_info i = { .d_in = s->d_in, .d_out = s->d_out, .d_sae = s->d_sae, .has_target = s->ops->d_out != NULL, .scale = s->scale, .has_mean = s->mean != NULL };
    snprintf(i.variant, sizeof i.variant, "%s", s->ops->info.name);
    memcpy(i.hook, s->hook, sizeof i.hook);
    memcpy(i.hook_out, s->hook_out, sizeof i.hook_out);
    memcpy(i.model, s->model, sizeof i.model);
    memcpy(i.dataset, s->dataset, sizeof i.dataset);
    i.max_active = s->ops->max_active(s->opts, s->d_sae);
    i.format = s->format ? s->format : "";
    i.row_norm = sl_row_norm_name(s->row_norm);
    i.center_input = s->center_input;
    i.l1 = s->ops->l1 ? s->ops->l1(s) : 0;
    return i;
}

const void *sl_sae_options(const sl_sae *s)
{
    return s->opts;
}

sl_status sl_sae_weight(const sl_sae *s, const char *name, sl_tensor *out, sl_err *err)
{
    const sl_param *p = sl_params_find(s->params, name);
    if (!p)
        return sl_fail(err, SL_MISSING, name, "the name of one of its weights", "the SAE has no such weight");
    *out = p->value;
    return SL_OK;
}

sl_status sl_sae_usable(const sl_sae *s, sl_err *err)
{
    if (s->stage == SL_SAE_TRAINING)
        return sl_fail(err, SL_ARG, "sae", "a training that ended", "its training did not finish");
    return SL_OK;
}

/* ---- encoding ---- */

typedef struct sink { sl_codes *z; int64_t row; bool full; } sink; /* row: first row of the chunk */

static void append(void *user, int64_t first, const sl_csr *part)
{
    sink *k = user;
    int64_t at = k->z->row_ptr[k->row + first], n = part->row_ptr[part->n_rows];
    k->full = k->full || n > k->z->capacity - at;
    if (k->full)
        return;
    memcpy(k->z->idx + at, part->idx, (size_t)n * sizeof *part->idx);
    memcpy(k->z->val + at, part->val, (size_t)n * sizeof(float));
    for (int64_t r = 0; r < part->n_rows; r++)
        k->z->row_ptr[k->row + first + r + 1] = at + part->row_ptr[r + 1];
}

static sl_status encode_chunk(sl_sae *s, const float *x, int64_t row, int64_t n, sl_codes *z, float *xhat, sl_err *err)
{
    sl_tape *t = s->tape;
    const sl_kern *k = sl_tape_kern(t);
    sl_tensor rows = sl_tensor_of(SL_F32, (void *)(uintptr_t)x, 2, n, s->d_in);
    int64_t bad = k->not_finite(k, &rows);
    if (bad >= 0)
        return sl_fail(err, SL_NUMERIC, "activations", "finite numbers", "row %lld, column %lld is %g",
                       (long long)(row + bad / s->d_in), (long long)(bad % s->d_in), (double)x[bad]);
    sl_tape_reset(t);
    if (s->row_norm)
        SL_TRY(sl_rows_normalize(t, s->row_norm, &rows, err));
    sl_sae_pass p = { .x = sl_const(t, &rows) };
    if (xhat)
        p = sl_sae_forward(t, s, p.x, p.x, NULL);
    else
        p.z = s->ops->encode(t, s, p.x, NULL);
    sink k2 = { z, row, false };
    sl_latents_visit(t, p.z, append, &k2);
    SL_TRY(sl_tape_status(t, err));
    if (k2.full)
        return sl_fail(err, SL_SHAPE, "codes", "n * max_active entries", "%lld entries do not hold the latents of rows %lld to %lld",
                       (long long)z->capacity, (long long)row, (long long)(row + n - 1));
    if (xhat)
        memcpy(xhat, sl_value(t, p.xhat)->data, (size_t)(n * s->d_out) * sizeof *xhat);
    if (xhat && !s->ops->d_out) /* SAELens leaves the outputs of transcoders as they are */
        sl_rows_restore(s->row_norm, x, n, s->d_in, xhat);
    return SL_OK;
}

/* Rows a chunk: enough to keep the threads busy, few enough to keep dense latents small. */
static int64_t chunk_rows(const sl_sae *s)
{
    int64_t rows = (1 << 24) / s->d_sae;
    return rows < 16 ? 16 : rows > 1024 ? 1024 : rows;
}

static sl_status need_tape(sl_sae *s, sl_err *err)
{
    SL_TRY(sl_sae_usable(s, err));
    if (!s->tape)
        SL_TRY(sl_tape_new(s->ctx, SL_F32, &s->tape, err));
    sl_tape_no_grad(s->tape, true);
    return SL_OK;
}

sl_status sl_sae_encode(sl_sae *s, const float *x, int64_t n, sl_codes *z, float *xhat, sl_err *err)
{
    SL_TRY(need_tape(s, err));
    if (n < 0 || n > z->n_rows)
        return sl_fail(err, SL_SHAPE, "codes", "room for every row", "%lld rows into codes of %lld", (long long)n, (long long)z->n_rows);
    z->row_ptr[0] = 0;
    for (int64_t r = 0, step = chunk_rows(s); r < n; r += step)
        SL_TRY(encode_chunk(s, x + r * s->d_in, r, n - r < step ? n - r : step, z, xhat ? xhat + r * s->d_out : NULL, err));
    return SL_OK;
}

/* Rows r .. r + n - 1 through the variant's own decoder. */
static sl_status decode_chunk(sl_sae *s, const sl_codes *z, int64_t r, int64_t n, float *xhat, sl_err *err)
{
    sl_tape *t = s->tape;
    sl_tape_reset(t);
    int64_t *row_ptr = sl_tape_scratch(t, (size_t)(n + 1) * sizeof *row_ptr), from = z->row_ptr[r];
    void *nothing = sl_tape_scratch(t, sizeof(int64_t));
    SL_TRY(sl_tape_status(t, err));
    for (int64_t i = 0; i <= n; i++)
        row_ptr[i] = z->row_ptr[r + i] - from;
    sl_csr csr = { n, s->d_sae, row_ptr[n], row_ptr, z->idx + from, z->val + from };
    if (row_ptr[n] == 0) /* a capacity of 1 all the same */
        csr = (sl_csr){ n, s->d_sae, 1, row_ptr, nothing, nothing };
    sl_var y = s->ops->decode(t, s, (sl_var){ 0 }, (sl_latents){ .sparse = sl_const_code(t, &csr) });
    SL_TRY(sl_tape_status(t, err));
    memcpy(xhat, sl_value(t, y)->data, (size_t)(n * s->d_out) * sizeof *xhat);
    return SL_OK;
}

sl_status sl_sae_decode(sl_sae *s, const sl_codes *z, int64_t n, float *xhat, sl_err *err)
{
    SL_TRY(need_tape(s, err));
    if (n < 0 || n > z->n_rows)
        return sl_fail(err, SL_SHAPE, "codes", "as many rows as are asked for", "%lld rows of codes of %lld", (long long)n, (long long)z->n_rows);
    if (s->row_norm)
        return sl_fail(err, SL_UNAVAILABLE, "codes", "sl_sae_encode's xhat", "this SAE normalises each row, so that codes alone do not say x^");
    if (n == 0)
        return SL_OK;
    for (int64_t r = 0, step = chunk_rows(s); s->ops->decode && r < n; r += step)
        SL_TRY(decode_chunk(s, z, r, n - r < step ? n - r : step, xhat + r * s->d_out, err));
    if (s->ops->decode)
        return SL_OK;
    const sl_kern *k = sl_tape_kern(s->tape);
    sl_csr csr = { n, s->d_sae, z->capacity, z->row_ptr, z->idx, z->val };
    sl_tensor y = sl_tensor_of(SL_F32, xhat, 2, n, s->d_out);
    k->sparse_decode(k, &csr, &s->W_dec->value, &s->b_dec->value, &y);
    return SL_OK;
}
