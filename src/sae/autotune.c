/* What variants with a penalty share, the L0 autotuner above all. See autotune.h. */
#include "sae/autotune.h"

#include <math.h>

static const double INTEGRAL = 40;   /* by which ln factor moves over a whole run at error 1, */
static const double FASTEST = .02;   /* and at most in a step, as the latents follow no faster */
static const double DAMPING = 2;     /* per unit by which the error changes */
static const double CLIP = 1.5;      /* greatest error that counts: a factor of 4.5 */
static const double LIMIT = 13.8155; /* ln 1e6: of ln factor, either way */
static const double REPORTED = .05;  /* relative error at the end that is a warning */

sl_var sl_sae_dense(sl_tape *t, const sl_sae *s, sl_var x, sl_act act)
{
    sl_var W = sl_param_var(t, s->W_enc), b = sl_param_var(t, s->b_enc);
    return s->center_input ? sl_linear_from(t, x, sl_param_var(t, s->b_dec), W, b, act) : sl_linear(t, x, W, b, act);
}

sl_var sl_sae_penalty_norms(sl_tape *t, const sl_sae *s)
{
    return s->W_dec->flags & SL_PARAM_UNIT_ROWS ? (sl_var){ 0 } : sl_row_norm(t, sl_param_var(t, s->W_dec));
}

double sl_autotune_factor(const sl_sae *s)
{
    return exp(s->state[SL_TUNE_LOG]);
}

static double error_of(double l0, double target)
{
    return fmax(-CLIP, fmin(CLIP, log(fmax(l0 / target, 1e-6))));
}

static void report(const sl_sae *s, double target)
{
    double l0 = s->state[SL_TUNE_L0], factor = sl_autotune_factor(s);
    bool limited = fabs(s->state[SL_TUNE_LOG]) >= LIMIT, off = fabs(l0 / target - 1) > REPORTED;
    sl_log(s->ctx, limited || off ? SL_LOG_WARN : SL_LOG_INFO, "L0 autotuner: l0 %.4g of target %.4g; the penalty's weight was multiplied by %.4g%s", l0,
           target, factor, limited ? ", its limit" : "");
}

void sl_autotune_step(sl_sae *s, double target, double hold, const sl_sae_batch *b, const sl_sae_seen *seen)
{
    if (!(target > 0))
        return;
    double *log_factor = &s->state[SL_TUNE_LOG], *l0 = &s->state[SL_TUNE_L0];
    double keep = fmax(0, fmin(.98, 1 - 100 / (double)b->steps)), before = *l0 < 0 ? seen->l0 : *l0;
    *l0 = keep * before + (1 - keep) * seen->l0;
    double e = error_of(*l0, target), moved = e - error_of(before, target);
    if ((double)(b->step + 1) > hold * (double)b->steps)
        *log_factor = fmin(LIMIT, fmax(-LIMIT, *log_factor + fmin(FASTEST, INTEGRAL / (double)b->steps) * e + DAMPING * moved));
    if (b->step + 1 == b->steps)
        report(s, target);
}
