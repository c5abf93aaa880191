/* PolySAE (arXiv 2602.01322, the form with one shared U): TopK latents with a decoder of squares and cubes of their projections.
 *   z = TopK_k(W_enc (x - b_dec) + b_enc)    u = U^T z    x^ = b_dec + W_dec^T z + lambda_2 C_2^T u^2 + lambda_3 C_3^T u^3    L as TopK's
 * U [d_sae, rank] has orthonormal columns. It contains self-terms z_i^2. Differs from the authors': their linear part is U C_1 with the rank of
 * d_in, of which u is the first columns; ours is W_dec itself, free of U (so that rows of W_dec are features' directions, of norm 1), which
 * contains theirs. And the retraction after a step is the polar one by Newton-Schulz, U <- U (3 - U^T U) / 2 three times, where they take QR's
 * factor: both are retractions of the same constraint, equal to first order in the step (Absil, Mahony, Sepulchre 2008, section 4.1). */
#include "sae/variant.h"

#include <math.h>

static const sl_opt options[] = {
    SL_OPT_INT(sl_polysae_options, k, 32, 1, 65536, "latents", "active latents a row"),
    SL_OPT_INT(sl_polysae_options, k_aux, 0, 0, 1 << 20, "latents", "dead latents in AuxK; 0: half of d_in"),
    SL_OPT_FLOAT(sl_polysae_options, aux_alpha, 1 / 32., 0, 1e3, "", "weight of AuxK; 0: off"),
    SL_OPT_INT(sl_polysae_options, rank, 0, 0, 1 << 16, "", "columns of U; 0: 64, or as many as d_in and d_sae allow"),
    SL_OPT_BOOL(sl_polysae_options, cubic, 1, "cubes beside the squares"),
    SL_OPT_FLOAT(sl_polysae_options, lambda_2, -.5, -10, 10, "", "first weight of the squares"),
    SL_OPT_FLOAT(sl_polysae_options, lambda_3, .5, -10, 10, "", "first weight of the cubes"),
    SL_OPT_END
};

enum { U, C_2, L_2, C_3, L_3 }; /* s->extra */
enum { RANK = 64, FIRST_RETRACTIONS = 24, RETRACTIONS = 3 };

static int64_t rank_of(const sl_polysae_options *o, int64_t d_in, int64_t d_sae)
{
    int64_t most = d_in < d_sae ? d_in : d_sae;
    return o->rank > 0 ? o->rank : RANK < most ? RANK : most;
}

static sl_status check(const void *opts, int64_t d_in, int64_t d_sae, sl_err *err)
{
    const sl_polysae_options *o = opts;
    if (o->k > d_sae)
        return sl_fail(err, SL_ARG, "k", "at most d_sae", "%lld active latents of %lld", (long long)o->k, (long long)d_sae);
    if (o->rank > d_in || o->rank > d_sae)
        return sl_fail(err, SL_ARG, "rank", "at most d_in and d_sae", "%lld columns", (long long)o->rank);
    return SL_OK;
}

static int64_t max_active(const void *opts, int64_t d_sae)
{
    (void)d_sae;
    return ((const sl_polysae_options *)opts)->k;
}

static void declare(sl_sae *s)
{
    const sl_polysae_options *o = s->opts;
    int64_t R = rank_of(o, s->d_in, s->d_sae);
    s->extra[U] = sl_params_add(s->params, 0, "U_poly", 2, s->d_sae, R);
    s->extra[C_2] = sl_params_add(s->params, 0, "C_2", 2, R, s->d_in);
    s->extra[L_2] = sl_params_add(s->params, 0, "lambda_2", 1, (int64_t)1);
    if (!o->cubic)
        return;
    s->extra[C_3] = sl_params_add(s->params, 0, "C_3", 2, R, s->d_in);
    s->extra[L_3] = sl_params_add(s->params, 0, "lambda_3", 1, (int64_t)1);
}

/* The gradients of U and C_2, which nobody needs now, hold the copy of U and U^T U: rank <= d_in, so that they fit. */
static void retract(sl_sae *s, const sl_kern *k, int times)
{
    sl_param *p = s->extra[U];
    int64_t R = p->value.dim[1];
    sl_tensor G = sl_tensor_of(p->value.dtype, s->extra[C_2]->grad.data, 2, R, R);
    for (int i = 0; i < times; i++) {
        k->copy(k, &p->value, &p->grad);
        k->gemm(k, &(sl_gemm){ .a = &p->grad, .ta = true, .b = &p->grad, .c = &G, .alpha = 1 });
        k->gemm(k, &(sl_gemm){ .a = &p->grad, .b = &G, .c = &p->value, .alpha = -.5, .beta = 1.5 });
    }
    k->fill(k, 0, &p->grad);
    k->fill(k, 0, &s->extra[C_2]->grad);
    sl_param_touch(p);
}

static void init(sl_sae *s, const sl_kern *k)
{
    const sl_polysae_options *o = s->opts;
    double F = (double)s->d_sae, R = (double)s->extra[U]->value.dim[1];
    sl_param_normal(s->params, s->extra[U], s->seed, 1 / (sqrt(F) + sqrt(R))); /* singular values up to about 1 */
    retract(s, k, FIRST_RETRACTIONS);
    for (int i = C_2; i <= C_3 && s->extra[i]; i += C_3 - C_2) {
        sl_param_normal(s->params, s->extra[i], s->seed, sqrt(2 / R));
        k->fill(k, i == C_2 ? o->lambda_2 : o->lambda_3, &s->extra[i + 1]->value);
    }
}

static sl_latents encode(sl_tape *t, const sl_sae *s, sl_var x, const sl_sae_batch *b)
{
    const sl_polysae_options *o = s->opts;
    sl_var W = sl_param_var(t, s->W_enc), c = sl_param_var(t, s->b_enc);
    return (sl_latents){ .sparse = sl_encode_topk(t, sl_sae_center(t, s, x), W, c, sl_sae_k_now(b, o->k, s->d_sae)) };
}

static sl_var decode(sl_tape *t, const sl_sae *s, sl_var x, sl_latents z)
{
    (void)x;
    sl_var u = sl_sparse_decode(t, z.sparse, sl_param_var(t, s->extra[U]), (sl_var){ 0 }), power = u, y = sl_sae_reconstruct(t, s, z);
    for (int i = C_2; i <= C_3 && s->extra[i]; i += C_3 - C_2) {
        power = sl_mul(t, power, u);
        y = sl_add(t, y, sl_scale_by(t, sl_matmul(t, power, sl_param_var(t, s->extra[i]), false), sl_param_var(t, s->extra[i + 1])));
    }
    return y;
}

static sl_var loss(sl_tape *t, const sl_sae *s, const sl_sae_pass *p, const sl_sae_batch *b)
{
    const sl_polysae_options *o = s->opts;
    return sl_sae_topk_loss(t, s, p, o->k_aux, o->aux_alpha, b);
}

static void after_step(sl_tape *t, sl_sae *s, const sl_sae_pass *p, const sl_sae_batch *b, const sl_sae_seen *seen)
{
    (void)p;
    (void)b;
    (void)seen;
    retract(s, sl_tape_kern(t), RETRACTIONS);
}

/* Latents are the same numbers before and after: only what leaves the polynomial changes its unit. */
static bool fold(const sl_kern *k, sl_sae *s, const sl_sae_fold *f)
{
    for (int i = C_2; i <= C_3 && s->extra[i]; i += C_3 - C_2)
        k->axpby(k, 1 / f->scale_out, &s->extra[i]->value, 0, &s->extra[i]->value);
    return sl_sae_fold_linear(k, s, f);
}

const sl_sae_ops sl_sae_polysae = {
    .info = { "polysae", "TopK latents with a polynomial decoder (a control)", "arXiv 2602.01322", options, sizeof(sl_polysae_options) },
    .check = check, .unit_decoder = sl_sae_always_unit, .max_active = max_active,
    .declare = declare, .init = init, .encode = encode, .decode = decode, .loss = loss, .after_step = after_step, .fold = fold,
};
