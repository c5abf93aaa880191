/* Changed tokens in front of a model: site token of the perturbation layer (science.md B1). */
#include "lm/gpt.h"

#include <saelab/rng.h>

sl_status sl_token_noise_check(const sl_token_noise *n, int64_t vocab, sl_err *err)
{
    if (!(n->p >= 0 && n->p <= 1))
        return sl_fail(err, SL_ARG, "p_tok", "a share from 0 to 1", "it is %g", n->p);
    if (n->p > 0 && n->to >= vocab)
        return sl_fail(err, SL_ARG, "token_to", "a token of the model", "it is %lld and the vocabulary has %lld", (long long)n->to, (long long)vocab);
    return SL_OK;
}

void sl_token_noise_apply(const sl_token_noise *n, int64_t vocab, int64_t place, int64_t pass, int32_t *ids, int64_t count)
{
    for (int64_t i = 0; n->p > 0 && i < count; i++) {
        sl_rng r = sl_rng_at(n->seed, SL_RNG_NOISE, (uint64_t)(place + i), (uint64_t)pass);
        if (!(sl_rng_uniform(&r) < n->p))
            continue;
        if (n->to >= 0)
            ids[i] = (int32_t)n->to;
        else if (vocab > 1) /* any but its own */
            ids[i] = (int32_t)(((int64_t)ids[i] + 1 + (int64_t)sl_rng_below(&r, (uint64_t)vocab - 1)) % vocab);
    }
}
