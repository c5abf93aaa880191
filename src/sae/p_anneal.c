/* p-annealing (Karvonen et al. 2024, arXiv 2408.00113, section 3.2): an L1 penalty that turns into an L_p one.
 *   z = ReLU(W_enc (x - b_dec) + b_enc)      x^ = W_dec^T z + b_dec
 *   L = |x - x^|^2 / (B d_bar) + lambda(t) sum_j phi_p(z_j |d_j|) / (B sqrt(d_bar)),      phi_p(u) = (u + 1e-6)^p - 1e-6^p
 * p is 1 for the first anneal_start of the run, then goes to p_end in `updates` equal steps until anneal_end. When p moves to p', lambda is
 * multiplied by the ratio of the mean penalties under p and p' over the 10 steps before, so that the penalty's size does not jump.
 * target_l0 > 0: the autotuner moves lambda as well (autotune.h).
 * Differs from the paper: the offset, which bounds the slope at 0 (science.md H; the constant that it leaves is subtracted), and the units of the
 * terms (recipe saelab). Differs from dictionary_learning: sums of z^p as in the paper, where its default takes their p-th root; latents
 * are not resampled (its resampling writes to a copy and changes nothing). */
#include "sae/autotune.h"

#include <math.h>

enum { QUEUE = 10 }; /* steps whose penalties are compared when p moves */

static const sl_opt options[] = {
    SL_OPT_FLOAT(sl_p_anneal_options, l1, .2, 0, 1e6, "", "weight of the penalty while p is 1"),
    SL_OPT_FLOAT(sl_p_anneal_options, l1_warmup, .05, 0, 1, "of the steps", "share of the run over which the penalty rises from 0"),
    SL_OPT_FLOAT(sl_p_anneal_options, p_end, .2, .01, 1, "", "the last exponent"),
    SL_OPT_FLOAT(sl_p_anneal_options, anneal_start, .3, 0, 1, "of the steps", "share of the run after which p falls"),
    SL_OPT_FLOAT(sl_p_anneal_options, anneal_end, .8, 0, 1, "of the steps", "share of the run after which p is p_end"),
    SL_OPT_INT(sl_p_anneal_options, updates, 10, 1, 1000000, "", "equal steps in which p falls"),
    SL_OPT_FLOAT(sl_p_anneal_options, target_l0, 0, 0, 1e6, "latents", "active latents a row that the weight is tuned to; 0: it stays"),
    SL_OPT_END
};

/* s->state: ln of what the changes of p have multiplied lambda by; penalties of the last steps under p and under the next p */
enum { LOG_SCALE = SL_AUTOTUNE_N, SUM_NOW, SUM_NEXT };
static const sl_sae_scalar state[] = { SL_AUTOTUNE_STATE, { "p_log_scale", 0 }, { "p_sum_now", 0 }, { "p_sum_next", 0 }, { 0 } };

static sl_status check(const void *opts, int64_t d_in, int64_t d_sae, sl_err *err)
{
    const sl_p_anneal_options *o = opts;
    (void)d_in;
    (void)d_sae;
    if (o->anneal_end < o->anneal_start)
        return sl_fail(err, SL_ARG, "anneal_end", "at least anneal_start", "%g after a start at %g", o->anneal_end, o->anneal_start);
    return SL_OK;
}

static double l1(const sl_sae *s)
{
    return ((const sl_p_anneal_options *)s->opts)->l1 * exp(s->state[LOG_SCALE]) * sl_autotune_factor(s);
}

/* How many times p has moved before this step. */
static int64_t moves(const sl_p_anneal_options *o, int64_t step, int64_t steps)
{
    double part = ((double)step / (double)steps - o->anneal_start) / fmax(o->anneal_end - o->anneal_start, 1e-12);
    return part < 0 ? 0 : part >= 1 ? o->updates : (int64_t)(part * (double)o->updates);
}

static sl_penalty penalty_after(const sl_p_anneal_options *o, int64_t n_moves)
{
    double part = fmin(1, (double)n_moves / (double)o->updates);
    return (sl_penalty){ SL_PENALTY_POWER, 1 + part * (o->p_end - 1) };
}

static sl_latents encode(sl_tape *t, const sl_sae *s, sl_var x, const sl_sae_batch *b)
{
    (void)b;
    return (sl_latents){ .dense = sl_sae_dense(t, s, x, SL_ACT_RELU) };
}

static sl_var loss(sl_tape *t, const sl_sae *s, const sl_sae_pass *p, const sl_sae_batch *b)
{
    const sl_p_anneal_options *o = s->opts;
    double weight = l1(s) * sl_sae_ramp(s, b, o->l1_warmup) * sl_sae_penalty_factor(s, b);
    sl_var penalty = sl_penalize(t, p->z.dense, sl_sae_penalty_norms(t, s), penalty_after(o, moves(o, b->step, b->steps)));
    return sl_add(t, sl_sae_reconstruction_loss(t, s, p, b), sl_scale(t, penalty, weight));
}

/* Under p now and under the p after the next move; the sums start anew where p moves. */
static void weigh(sl_tape *t, sl_sae *s, const sl_sae_pass *p, const sl_sae_batch *b)
{
    const sl_p_anneal_options *o = s->opts;
    int64_t now = moves(o, b->step, b->steps), soon = moves(o, b->step + QUEUE, b->steps), next = moves(o, b->step + 1, b->steps);
    if (soon == now)
        return;
    const sl_kern *k = sl_tape_kern(t);
    sl_var norms = sl_sae_penalty_norms(t, s);
    sl_penalty before = penalty_after(o, now), after = penalty_after(o, next > now ? next : now + 1);
    const sl_tensor *z = sl_value(t, p->z.dense), *w = sl_value(t, norms);
    s->state[SUM_NOW] += k->penalty(k, &before, z, w);
    s->state[SUM_NEXT] += k->penalty(k, &after, z, w);
}

static void after_step(sl_tape *t, sl_sae *s, const sl_sae_pass *p, const sl_sae_batch *b, const sl_sae_seen *seen)
{
    const sl_p_anneal_options *o = s->opts;
    weigh(t, s, p, b);
    if (moves(o, b->step + 1, b->steps) > moves(o, b->step, b->steps)) {
        if (s->state[SUM_NOW] > 0 && s->state[SUM_NEXT] > 0)
            s->state[LOG_SCALE] += log(s->state[SUM_NOW] / s->state[SUM_NEXT]);
        s->state[SUM_NOW] = s->state[SUM_NEXT] = 0;
    }
    sl_autotune_step(s, o->target_l0, o->l1_warmup, b, seen);
}

const sl_sae_ops sl_sae_p_anneal = {
    .info = { "p_anneal", "an L1 penalty annealed to a root", "arXiv 2408.00113", options, sizeof(sl_p_anneal_options) },
    .saelens = "standard", .state = state,
    .check = check, .unit_decoder = sl_sae_always_unit, .max_active = sl_sae_all_active, .l1 = l1,
    .encode = encode, .loss = loss, .after_step = after_step,
};
