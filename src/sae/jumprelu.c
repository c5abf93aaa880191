/* JumpReLU SAE (Rajamanoharan et al. 2024, arXiv 2407.14435, eq. 5-12).
 *   a = W_enc (x - b_dec) + b_enc      z_j = a_j 1[a_j > theta_j]      x^ = W_dec^T z + b_dec
 *   L = |x - x^|^2 / (B d_bar) + w(t) S        with S one of
 *     target   (L0 / target_l0 - 1)^2                                          (dictionary_learning; their section 7)
 *     l0       L0                                                              (their eq. 9)
 *     tanh     mean_b sum_j tanh(tanh_scale z_j |d_j|)                         (Anthropic, January 2025 update; SAELens)
 * L0 = mean_b sum_j 1[a_j > theta_j]. Gradients of theta are straight-through with a rectangle of width `bandwidth` (op_latents.c), also
 * under the step; w(t) rises over the first l0_warmup of the steps. pre_act > 0 adds pre_act sum max(theta_j - a_j, 0) / B over dead latents,
 * which nothing else reaches. SAELens weighs that by |d_j|: the same for rows of norm 1. space=log trains ln theta,
 * which keeps it positive but nearly still once it is small (SAELens #494).
 * target_l0 > 0 with l0 or tanh: the autotuner moves w (autotune.h).
 * Differs from the paper: S in latents a row and not divided by anything, the reconstruction term by d_bar (recipe saelab); bandwidth and
 * first threshold are in units of normalised pre-activations (about 1), where the paper has .001 for data of mean |x|^2 = 1. The recipe
 * dictionary_learning applies the step to z, as that code does: a window that z = 0 lies in then counts latents that are far below. */
#include "sae/autotune.h"

#include <math.h>

enum { PENALTY_TARGET, PENALTY_L0, PENALTY_TANH };
enum { SPACE_DIRECT, SPACE_LOG };
static const char *const penalties[] = { "target", "l0", "tanh", NULL };
static const char *const spaces[] = { "direct", "log", NULL };

static const sl_opt options[] = {
    SL_OPT_CHOICE(sl_jumprelu_options, penalty, PENALTY_TARGET, penalties, "squared distance of L0 from target_l0, L0 itself, or a sum of tanh"),
    SL_OPT_FLOAT(sl_jumprelu_options, weight, 1, 0, 1e6, "", "of the penalty"),
    SL_OPT_FLOAT(sl_jumprelu_options, l0_warmup, .1, 0, 1, "of the steps", "share of the run over which the weight rises from 0"),
    SL_OPT_FLOAT(sl_jumprelu_options, target_l0, 32, 0, 1e6, "latents", "active latents a row; 0 (not with target): the weight stays"),
    SL_OPT_FLOAT(sl_jumprelu_options, bandwidth, .05, 1e-6, 100, "", "width of the straight-through window"),
    SL_OPT_FLOAT(sl_jumprelu_options, threshold, .01, 1e-9, 100, "", "the first theta"),
    SL_OPT_CHOICE(sl_jumprelu_options, space, SPACE_DIRECT, spaces, "theta itself is trained, or its logarithm"),
    SL_OPT_FLOAT(sl_jumprelu_options, tanh_scale, 4, 1e-6, 1e6, "", "steepness of penalty tanh"),
    SL_OPT_FLOAT(sl_jumprelu_options, pre_act, 3e-6, 0, 1e3, "", "weight of the term that raises dead latents; 0: off"),
    SL_OPT_END
};

enum { THETA };                 /* s->extra */
enum { IN_LOG = SL_AUTOTUNE_N }; /* s->state: 1 while "threshold" holds ln theta */
static const sl_sae_scalar state[] = { SL_AUTOTUNE_STATE, { "threshold_in_log", 0 }, { 0 } };

static sl_status check(const void *opts, int64_t d_in, int64_t d_sae, sl_err *err)
{
    const sl_jumprelu_options *o = opts;
    (void)d_in;
    (void)d_sae;
    if (o->penalty == PENALTY_TARGET && !(o->target_l0 > 0))
        return sl_fail(err, SL_ARG, "target_l0", "a number > 0 with penalty target", "it is %g", o->target_l0);
    return SL_OK;
}

static void declare(sl_sae *s)
{
    s->extra[THETA] = sl_params_add(s->params, 0, "threshold", 1, s->d_sae);
}

static void init(sl_sae *s, const sl_kern *k)
{
    const sl_jumprelu_options *o = s->opts;
    s->state[IN_LOG] = o->space == SPACE_LOG;
    k->fill(k, o->space == SPACE_LOG ? log(o->threshold) : o->threshold, &s->extra[THETA]->value);
}

static sl_var theta(sl_tape *t, const sl_sae *s)
{
    sl_var v = sl_param_var(t, s->extra[THETA]);
    return s->state[IN_LOG] > 0 ? sl_activation(t, v, SL_ACT_EXP) : v;
}

static sl_latents encode(sl_tape *t, const sl_sae *s, sl_var x, const sl_sae_batch *b)
{
    const sl_jumprelu_options *o = s->opts;
    (void)b;
    sl_var a = sl_sae_dense(t, s, x, SL_ACT_NONE);
    return (sl_latents){ .dense = sl_jumprelu(t, a, theta(t, s), o->bandwidth), .pre = a };
}

static sl_var one(sl_tape *t)
{
    const sl_kern *k = sl_tape_kern(t);
    sl_tensor v = sl_tensor_of(k->dtype, sl_tape_scratch(t, sl_dtype_size(k->dtype)), 0);
    if (v.data)
        k->fill(k, 1, &v);
    return sl_const(t, &v);
}

static sl_var sparsity(sl_tape *t, const sl_sae *s, const sl_sae_pass *p, const sl_sae_batch *b)
{
    const sl_jumprelu_options *o = s->opts;
    if (o->penalty == PENALTY_TANH) {
        sl_var sum = sl_penalize(t, p->z.dense, sl_sae_penalty_norms(t, s), (sl_penalty){ SL_PENALTY_TANH, o->tanh_scale });
        return sl_scale(t, sum, 1 / (double)b->n);
    }
    sl_var l0 = sl_scale(t, sl_l0_step(t, s->recipe->step_on_code ? p->z.dense : p->z.pre, theta(t, s), o->bandwidth), 1 / (double)b->n);
    return o->penalty == PENALTY_L0 ? l0 : sl_sq_dist(t, sl_scale(t, l0, 1 / o->target_l0), one(t));
}

static sl_var loss(sl_tape *t, const sl_sae *s, const sl_sae_pass *p, const sl_sae_batch *b)
{
    const sl_jumprelu_options *o = s->opts;
    sl_var l = sl_sae_reconstruction_loss(t, s, p, b);
    l = sl_add(t, l, sl_scale(t, sparsity(t, s, p, b), o->weight * sl_autotune_factor(s) * sl_sae_ramp(s, b, o->l0_warmup)));
    if (b->n_dead > 0 && o->pre_act > 0)
        l = sl_add(t, l, sl_scale(t, sl_hinge(t, p->z.pre, theta(t, s), b->alive), o->pre_act / (double)b->n));
    return l;
}

static void after_step(sl_tape *t, sl_sae *s, const sl_sae_pass *p, const sl_sae_batch *b, const sl_sae_seen *seen)
{
    const sl_jumprelu_options *o = s->opts;
    (void)t;
    (void)p;
    sl_autotune_step(s, o->penalty == PENALTY_TARGET ? 0 : o->target_l0, o->l0_warmup, b, seen);
}

/* Pre-activations are the same numbers before and after, so theta stays; from here on it is theta itself. */
static bool fold(const sl_kern *k, sl_sae *s, const sl_sae_fold *f)
{
    sl_tensor *v = &s->extra[THETA]->value;
    if (s->state[IN_LOG] > 0)
        k->act(k, SL_ACT_EXP, v, v);
    s->state[IN_LOG] = 0;
    return sl_sae_fold_linear(k, s, f);
}

const sl_sae_ops sl_sae_jumprelu = {
    .info = { "jumprelu", "a threshold for each latent, trained straight-through", "arXiv 2407.14435", options, sizeof(sl_jumprelu_options) },
    .saelens = "jumprelu", .state = state,
    .check = check, .unit_decoder = sl_sae_always_unit, .max_active = sl_sae_all_active,
    .declare = declare, .init = init, .encode = encode, .loss = loss, .after_step = after_step, .fold = fold,
};
