/* Rows of a finished SAE perturbed for measurements: the layer of training on raw activations. Sizes are relative to x - mean, which is what
 * the normalisation of training makes of |x|: a uniform scale cancels. */
#include "sae/perturb.h"

#include <math.h>
#include <string.h>

enum { CHUNK = 512, FIT_CHUNK = 256 };

struct sl_perturber {
    sl_perturb_config c;
    sl_perturb *layer;
    sl_sae *s;
    sl_tape *tape;          /* of clean codes */
    float *mean;            /* [d_in] what sizes are measured from, borrowed from s; NULL: 0 */
};

static bool needs_fit(const sl_perturb_config *c) { return sl_perturb_selects(c) || c->type == SL_PERTURB_SHAPED; }

/* Clean codes of n rows, on p's tape until its next use. */
static sl_status encode(sl_perturber *p, const float *x, int64_t n, const sl_csr **z, sl_err *err)
{
    sl_tensor rows = sl_tensor_of(SL_F32, (void *)(uintptr_t)x, 2, n, p->s->d_in);
    sl_tape_reset(p->tape);
    sl_code code = sl_perturb_code(p->tape, p->s->ops->encode(p->tape, p->s, sl_const(p->tape, &rows), NULL));
    SL_TRY(sl_tape_status(p->tape, err));
    *z = sl_code_csr(p->tape, code);
    return SL_OK;
}

static sl_status all_finite(const sl_perturber *p, const float *x, int64_t n, int64_t first, sl_err *err)
{
    const sl_kern *k = sl_tape_kern(p->tape);
    sl_tensor rows = sl_tensor_of(SL_F32, (void *)(uintptr_t)x, 2, n, p->s->d_in);
    int64_t bad = k->not_finite(k, &rows);
    if (bad >= 0)
        return sl_fail(err, SL_NUMERIC, "activations", "finite numbers", "row %lld, column %lld is %g", (long long)(first + bad / p->s->d_in),
                       (long long)(bad % p->s->d_in), (double)x[bad]);
    return SL_OK;
}

/* Rows less the mean in *centred. */
static sl_status centre(sl_perturber *p, const float *fit, int64_t n, float **centred, sl_err *err)
{
    int64_t d = p->s->d_in;
    *centred = sl_alloc(p->s->ctx, (size_t)(n * d) * sizeof **centred);
    if (!*centred)
        return sl_fail(err, SL_MEM, "perturb", NULL, "no memory for %lld rows", (long long)n);
    for (int64_t i = 0; i < n * d; i++)
        (*centred)[i] = fit[i] - (p->mean ? p->mean[i % d] : 0);
    return SL_OK;
}

static sl_status learn(sl_perturber *p, const float *fit, int64_t n, sl_err *err)
{
    SL_TRY(all_finite(p, fit, n, 0, err));
    if (p->c.type == SL_PERTURB_SHAPED) {
        float *rows = NULL;
        sl_status st = centre(p, fit, n, &rows, err);
        if (st == SL_OK)
            st = sl_perturb_fit(p->layer, rows, n, err);
        sl_free(p->s->ctx, rows);
        return st;
    }
    for (int64_t r = 0; r < n; r += FIT_CHUNK) {
        const sl_csr *z;
        SL_TRY(encode(p, fit + r * p->s->d_in, n - r < FIT_CHUNK ? n - r : FIT_CHUNK, &z, err));
        sl_perturb_see(p->layer, z);
    }
    sl_perturb_refresh(p->layer);
    return SL_OK;
}

sl_status sl_perturber_new(sl_sae *s, const sl_perturb_config *c, const float *fit, int64_t n_fit, sl_perturber **out, sl_err *err)
{
    *out = NULL;
    SL_TRY(sl_sae_usable(s, err));
    if (s->row_norm)
        return sl_fail(err, SL_UNAVAILABLE, "sae", "one that takes rows as they are", "it normalises each row by itself");
    if (c->type == SL_PERTURB_NONE)
        return sl_fail(err, SL_ARG, "type", "a kind of noise", "it is none");
    if (needs_fit(c) && (!fit || n_fit < 2))
        return sl_fail(err, SL_ARG, "fit", "rows to learn from", "this type of noise needs at least 2");
    sl_perturber *p = sl_alloc(s->ctx, sizeof *p);
    if (!p)
        return sl_fail(err, SL_MEM, "perturb", NULL, "no memory");
    *p = (sl_perturber){ .c = *c, .s = s, .mean = s->mean };
    p->c.views = 1 + (c->antithetic || c->mode == SL_STABILITY_TWO_VIEW); /* buffers of one view are used */
    sl_status st = sl_perturb_new(s, &p->c, CHUNK, &p->layer, err);
    if (st == SL_OK)
        st = sl_tape_new(s->ctx, SL_F32, &p->tape, err);
    if (st == SL_OK)
        sl_tape_no_grad(p->tape, true);
    if (st == SL_OK && needs_fit(c))
        st = learn(p, fit, n_fit, err);
    if (st == SL_OK)
        *out = p;
    else
        sl_perturber_free(p);
    return st;
}

void sl_perturber_free(sl_perturber *p)
{
    if (!p)
        return;
    sl_ctx *ctx = p->s->ctx;
    sl_perturb_free(p->layer);
    sl_tape_free(p->tape);
    sl_free(ctx, p);
}

/* Appends z* of rows 0 .. n - 1 of the chunk to codes from row r on. */
static sl_status put_target(sl_perturber *p, const sl_csr *z, const sl_perturb_view *v, int64_t r, int64_t n, sl_codes *out, sl_err *err)
{
    sl_tape *t = p->tape;
    sl_code code = sl_code_const(t, z);
    if (v->add.n_rows)
        code = sl_code_add(t, code, sl_code_const(t, &v->add));
    if (v->drop.n_rows)
        code = sl_code_minus(t, code, sl_code_const(t, &v->drop));
    SL_TRY(sl_tape_status(t, err));
    const sl_csr *got = sl_code_csr(t, code);
    const float *val = got->val;
    int64_t at = out->row_ptr[r];
    for (int64_t i = 0; i < n; i++) {
        for (int64_t e = got->row_ptr[i]; e < got->row_ptr[i + 1]; e++) {
            if (!(val[e] > 0)) /* a latent that the noise turned off */
                continue;
            if (at == out->capacity)
                return sl_fail(err, SL_SHAPE, "target", "n * (max_active + q) entries", "%lld entries do not hold the targets", (long long)out->capacity);
            out->idx[at] = got->idx[e];
            out->val[at++] = val[e];
        }
        out->row_ptr[r + i + 1] = at;
    }
    return SL_OK;
}

sl_status sl_perturber_apply(sl_perturber *p, const float *x, int64_t n, int64_t first_row, int64_t step, int view, double eps, sl_perturbed *out, sl_err *err)
{
    int64_t d = p->s->d_in, n_valid = 0;
    sl_perturb_view *v = &p->layer->view[0];
    SL_TRY(all_finite(p, x, n, first_row, err));
    if (out->target && (out->target->n_rows < n || n < 0))
        return sl_fail(err, SL_SHAPE, "target", "room for every row", "%lld rows for %lld", (long long)out->target->n_rows, (long long)n);
    if (out->target)
        out->target->row_ptr[0] = 0;
    out->achieved = 0;
    for (int64_t r = 0; r < n; r += CHUNK) {
        int64_t m = n - r < CHUNK ? n - r : CHUNK;
        const sl_csr *z;
        SL_TRY(encode(p, x + r * d, m, &z, err));
        SL_TRY(sl_perturb_make(p->layer, x + r * d, p->mean, z, m, (sl_perturb_key){ step, first_row + r, view }, eps >= 0 ? eps : sl_perturb_eps(&p->c), 0, err));
        memcpy(out->x + r * d, v->x.data, (size_t)(m * d) * sizeof *out->x);
        memcpy(out->valid + r, v->valid, (size_t)m);
        out->achieved += v->achieved * (double)v->n_valid;
        n_valid += v->n_valid;
        if (out->target)
            SL_TRY(put_target(p, z, v, r, m, out->target, err));
    }
    out->achieved = n_valid ? out->achieved / (double)n_valid : 0;
    return SL_OK;
}
