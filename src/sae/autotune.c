/* The L0 autotuner. See autotune.h and science.md B6, whose scheme for magnitudes this is: an integral controller that all but rests while
 * things move the right way by themselves, so that it does not run ahead of a network that follows slowly. */
#include "sae/autotune.h"

#include <math.h>

static const double RATE = .003;     /* of ln factor a step at full error */
static const double DAMPED = .01;    /* of it while l0 moves towards the target */
static const double KEEP = .98;      /* of the mean l0, a step */
static const double CLOSE = .005;    /* errors below this move nothing */
static const double LIMIT = 13.8155; /* ln 1e6: of ln factor, either way */
static const double REPORTED = .05;  /* error at the end that is a warning */

sl_var sl_sae_penalty_norms(sl_tape *t, const sl_sae *s)
{
    return s->W_dec->flags & SL_PARAM_UNIT_ROWS ? (sl_var){ 0 } : sl_row_norm(t, sl_param_var(t, s->W_dec));
}

double sl_autotune_factor(const sl_sae *s)
{
    return exp(s->state[SL_TUNE_LOG]);
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
    double *log_factor = &s->state[SL_TUNE_LOG], *l0 = &s->state[SL_TUNE_L0], *before = &s->state[SL_TUNE_BEFORE];
    *before = *l0;
    *l0 = *l0 < 0 ? seen->l0 : KEEP * *l0 + (1 - KEEP) * seen->l0;
    double e = fmin(1, *l0 / target - 1), moved = *before < 0 ? 0 : *l0 - *before;
    if (fabs(e) >= CLOSE && (double)(b->step + 1) > hold * (double)b->steps)
        *log_factor = fmin(LIMIT, fmax(-LIMIT, *log_factor + RATE * (e * moved < 0 ? DAMPED : 1) * e));
    if (b->step + 1 == b->steps)
        report(s, target);
}
