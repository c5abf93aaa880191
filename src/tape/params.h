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

/* A gradient as a whole array that can be added to; false without memory. */
bool sl_param_need_grad(sl_param *p);
/* Keeps a term of the gradient; false: this parameter keeps none, or no more. */
bool sl_param_add_term(sl_param *p, const sl_csc *at, const sl_tensor *coef, const sl_tensor *rows);
bool sl_param_make_dense(sl_param *p); /* the terms into the whole array */

/* A trained matrix of two dimensions flagged SL_PARAM_MATRIX. */
bool sl_is_muon(const sl_param *p);
/* One Muon step of a matrix; grad_scale is the clip factor. SL_MEM at the first step only. */
sl_status sl_muon_prepare(sl_params *ps, sl_err *err) SL_USE_RESULT;
void sl_muon_step(sl_params *ps, const sl_optim *o, sl_param *p, double grad_scale);

#endif
