/* Adaptive magnitude and early stopping (science.md B6).
 *   f_t = mean of the training FSS with .99     e = (f_t - tau) / (1 - tau)
 *   ln eps += eta clip(e, -1, 1) (.5 if e (f_t - f_{t-1}) < 0, else 1), eta 3e-3; not at all while |e| < .02
 * Differs from B6: .5 where it has .01, with which eps all but stands still as soon as f moves the right way (twice the target after 4,000
 * steps, where this one is within 2 % of it). */
#include "sae/perturb.h"

#include <math.h>

double sl_perturb_eps_now(const sl_perturb *p)
{
    return p->c->adaptive ? exp(p->v[PT_LN_EPS]) : sl_perturb_eps(p->c);
}

void sl_perturb_steer(sl_perturb *p, double num, double den)
{
    const sl_perturb_config *c = p->c;
    p->v[PT_FSS_NUM] = .99 * p->v[PT_FSS_NUM] + num;
    p->v[PT_FSS_DEN] = .99 * p->v[PT_FSS_DEN] + den;
    if (!(p->v[PT_FSS_DEN] > 0))
        return;
    double f = 1 - p->v[PT_FSS_NUM] / p->v[PT_FSS_DEN], e = (f - c->target_fss) / (1 - c->target_fss), last = p->v[PT_LAST_F];
    p->v[PT_LAST_F] = f;
    if (!c->adaptive || isnan(last) || fabs(e) < .02)
        return;
    double by = 3e-3 * fmax(-1, fmin(1, e)) * (e * (f - last) < 0 ? .5 : 1), low = log(c->eps_min), high = log(c->eps_max);
    double to = p->v[PT_LN_EPS] + by;
    p->v[PT_LN_EPS] = fmax(low, fmin(high, to));
    p->v[PT_SATURATED] += to <= low || to >= high;
}

bool sl_perturb_settled(sl_perturb *p, double fss, double fvu, double share)
{
    double d_fss = fabs(fss - p->v[PT_LAST_FSS]), d_fvu = fabs(fvu - p->v[PT_LAST_FVU]);
    bool still = !isnan(p->v[PT_LAST_FSS]) && d_fss < .002 && d_fvu < .005 * fvu;
    p->v[PT_STABLE] = still ? p->v[PT_STABLE] + 1 : 0;
    p->v[PT_LAST_FSS] = fss;
    p->v[PT_LAST_FVU] = fvu;
    return share >= .3 && p->v[PT_STABLE] >= (double)p->c->patience;
}
