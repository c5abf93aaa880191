/* What gradient checks of SAEs differentiate. */
#ifndef SL_TEST_SAE_LOSS_H
#define SL_TEST_SAE_LOSS_H

#include "sae/variant.h"

/* The variant's loss for rows x and targets y. flip: the value is -L and its gradient +dL, a wrong sign that a check has to find. */
static inline sl_var loss_to_check(sl_tape *t, sl_sae *s, const sl_tensor *x, const sl_tensor *y, const sl_sae_batch *batch, bool flip)
{
    sl_var in = sl_const(t, x);
    sl_sae_pass pass = sl_sae_forward(t, s, in, y == x ? in : sl_const(t, y), batch);
    sl_var loss = s->ops->loss(t, s, &pass, batch);
    return flip ? sl_add(t, loss, sl_scale(t, sl_stop_grad(t, loss), -2)) : loss;
}

#endif
