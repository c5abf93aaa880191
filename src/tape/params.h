/* The inside of a set of parameters: for the optimizers. */
#ifndef SL_PARAMS_H
#define SL_PARAMS_H

#include "tape/tape.h"

struct sl_params {
    sl_ctx *ctx;
    const sl_kern *kern;
    sl_dtype dtype;
    sl_param **p;
    int n, cap;
    bool no_memory;      /* an sl_params_add failed: the build will say so */
    void *span;
    void *muon;          /* scratch of Muon, made at its first step */
};

/* A trained matrix of two dimensions flagged SL_PARAM_MATRIX. */
bool sl_is_muon(const sl_param *p);
/* One Muon step of a matrix; grad_scale is the clip factor. SL_MEM at the first step only. */
sl_status sl_muon_prepare(sl_params *ps, sl_err *err) SL_USE_RESULT;
void sl_muon_step(sl_params *ps, const sl_optim *o, sl_param *p, double grad_scale);

#endif
