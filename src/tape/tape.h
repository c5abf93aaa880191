/* A small define-by-run reverse-mode tape over a fixed operator table.
 *
 * A step:  sl_tape_reset; build with sl_<operator>(tape, ...) -> sl_var; sl_tape_backward(tape, loss). The first failure is
 * sticky: later calls are no-ops returning an invalid variable, and sl_tape_backward (or sl_tape_status) returns it, so model
 * code has no status checks. The tape owns every tensor of the step in an arena that is reset, not freed: after the first step
 * nothing is allocated. Gradients of parameters are ADDED to sl_param.grad (clear with sl_params_zero_grad).
 * One thread builds and runs a tape; kernels are parallel inside. */
#ifndef SL_TAPE_H
#define SL_TAPE_H

#include "kern/kern.h"

typedef struct sl_tape sl_tape;
typedef struct sl_var { int32_t id; } sl_var; /* id 0: none */
typedef struct sl_code { sl_var v; } sl_code; /* a sparse code: a variable whose value is the CSR's val */

/* ---- parameters: weights, gradients, moments ---- */

enum {
    SL_PARAM_DECAY = 1,     /* AdamW decays it (nanoGPT: tensors of two or more dimensions) */
    SL_PARAM_UNIT_ROWS = 2, /* rows kept at norm 1: gradient projected before the optimizer, renormalised after */
    SL_PARAM_MATRIX = 4,    /* Muon may orthogonalise its update (hidden matrices only) */
    SL_PARAM_NO_PROJECT = 32, /* with SL_PARAM_UNIT_ROWS: the gradient is taken as it is */
    SL_PARAM_FROZEN = 8,    /* no gradient is computed, never updated */
    SL_PARAM_TERMS = 16     /* a dictionary [F, d] whose gradient operators on sparse codes leave as terms, see sl_params_dense */
};

enum { SL_PARAM_MAX_TERMS = 4 };

typedef struct sl_param {
    char name[96];          /* "transformer.h.0.attn.c_attn.weight", "W_enc" */
    sl_tensor value, grad, m, v; /* same shape; m, v: Adam moments (Muon uses m only) */
    unsigned flags;
    double lr_scale;        /* multiplies the learning rate, 1 by default */
    uint64_t version;       /* raised at each change of value: packed copies are cached by it */
    /* Of SL_PARAM_TERMS: the gradient is `grad`, if `dense`, and the terms, which borrow from the tape until its reset. grad.data is NULL
     * until something needs it. */
    sl_term term[SL_PARAM_MAX_TERMS];
    int n_terms;
    bool dense;
    struct sl_params *set;
} sl_param;

typedef struct sl_params sl_params; /* a set of parameters of one dtype in one span */

/* dtype F32 or F64 (else SL_ARG); SL_MEM. Free with sl_params_free (NULL is legal). */
sl_status sl_params_new(sl_ctx *ctx, sl_dtype dtype, sl_params **out, sl_err *err) SL_USE_RESULT;
void sl_params_free(sl_params *ps);
/* Declares one tensor; dims as int64_t. Pointers stay valid until free. Call before sl_params_build, which reports what this
 * one cannot: NULL without memory. */
sl_param *sl_params_add(sl_params *ps, unsigned flags, const char *name, int n_dim, ...);
/* One allocation for all values and gradients, and m and v when with_moments (the optimizers need them); zeroed. SL_MEM. */
sl_status sl_params_build(sl_params *ps, bool with_moments, sl_err *err) SL_USE_RESULT;
int sl_params_count(const sl_params *ps);
sl_param *sl_params_at(sl_params *ps, int i);              /* in the order of declaration */
sl_param *sl_params_find(sl_params *ps, const char *name); /* NULL when there is none */
int64_t sl_params_numel(const sl_params *ps);
void sl_params_zero_grad(sl_params *ps);
/* Makes every gradient a whole array in sl_param.grad, for who wants to read it after a backward pass. SL_MEM. */
sl_status sl_params_dense(sl_params *ps, sl_err *err) SL_USE_RESULT;
void sl_param_touch(sl_param *p); /* value was changed by hand */
/* Fills with N(0, std) or U(-a, a) from (seed, SL_RNG_INIT, 0, index of the parameter). */
void sl_param_normal(sl_params *ps, sl_param *p, uint64_t seed, double std);
void sl_param_uniform(sl_params *ps, sl_param *p, uint64_t seed, double a);

/* ---- optimizer: one step = finite check, project, global norm, clip, Adam or Muon, renormalise ---- */

typedef enum sl_optim_kind { SL_OPTIM_ADAMW, SL_OPTIM_MUON /* Muon on SL_PARAM_MATRIX, AdamW on the rest */ } sl_optim_kind;
typedef struct sl_optim {
    sl_optim_kind kind;
    double lr, beta1, beta2, eps; /* AdamW, as torch.optim.AdamW (Loshchilov, Hutter 2019, arXiv 1711.05101) */
    double weight_decay;          /* decoupled, of parameters with SL_PARAM_DECAY, by AdamW and by Muon */
    double clip;                  /* greatest global gradient norm, as torch.nn.utils.clip_grad_norm_; 0: off */
    double muon_lr, muon_momentum; /* Muon: see muon.c; .02 and .95 are its author's */
    bool clip_first;              /* clip before projecting: the norm is of unprojected gradients. Else project, clip, update, renormalise */
    int64_t step;                 /* steps done: state, with the m and v of the parameters */
} sl_optim;
/* Unit rows: gradients are projected first (so the norm is of projected ones), rows renormalised last. The learning rate of a
 * parameter is lr (muon_lr) * lr_scale. grad_norm, before clipping, may be NULL.
 * SL_NUMERIC names step and element of the first non-finite gradient ("step 17: gradient of W_enc[3, 5] is not finite");
 * nothing is changed then. SL_MEM only at the first step. */
sl_status sl_optim_step(sl_optim *o, sl_params *ps, double *grad_norm, sl_err *err) SL_USE_RESULT;

typedef struct sl_schedule {
    enum { SL_SCHED_CONSTANT, SL_SCHED_COSINE, SL_SCHED_LINEAR_DECAY /* constant, then linear to min_lr */ } kind;
    double lr, min_lr;
    int64_t warmup;      /* of every kind: lr (step + 1) / (warmup + 1) before this step */
    int64_t decay_start; /* LINEAR_DECAY only: its last step at lr */
    int64_t steps;       /* lr_decay_iters: min_lr from this step on */
} sl_schedule;
double sl_schedule_at(const sl_schedule *s, int64_t step); /* step from 0; nanoGPT's get_lr for COSINE */

/* ---- the tape ---- */

/* dtype F32 (the context's best kernels) or F64 (ref), else SL_ARG; SL_MEM. Free with sl_tape_free (NULL is legal). */
sl_status sl_tape_new(sl_ctx *ctx, sl_dtype dtype, sl_tape **out, sl_err *err) SL_USE_RESULT;
void sl_tape_free(sl_tape *t);
void sl_tape_reset(sl_tape *t);              /* a new step: forgets variables, values and failure, keeps memory */
void sl_tape_no_grad(sl_tape *t, bool on);   /* on: operators keep nothing for a backward pass. Stays over resets */
/* Keys of dropout: (seed, step, call site), call sites counted from the last call of this or reset. Micro-batches of one
 * optimizer step are steps of their own here. Call after reset. */
void sl_tape_random(sl_tape *t, uint64_t seed, uint64_t step);
/* SL_OK or the first failure since reset: SL_SHAPE and SL_ARG name operator, shapes found and expected; SL_MEM. */
sl_status sl_tape_status(const sl_tape *t, sl_err *err);
/* Gradients of everything that loss (a scalar) depends on, for d loss = 1. Returns the sticky failure; SL_SHAPE for a loss
 * that is no scalar; SL_ARG for one without anything that has a gradient. */
sl_status sl_tape_backward(sl_tape *t, sl_var loss, sl_err *err) SL_USE_RESULT;
/* The same for d loss = scale (gradient accumulation over micro-batches). */
sl_status sl_tape_backward_scaled(sl_tape *t, sl_var loss, double scale, sl_err *err) SL_USE_RESULT;
const sl_kern *sl_tape_kern(const sl_tape *t);

sl_var sl_const(sl_tape *t, const sl_tensor *x);       /* borrowed until reset; no gradient */
sl_var sl_leaf(sl_tape *t, const sl_tensor *x);        /* borrowed; gradient readable after backward */
sl_var sl_param_var(sl_tape *t, sl_param *p);          /* the same variable when asked twice in a step */
const sl_tensor *sl_value(const sl_tape *t, sl_var v); /* NULL when v failed; stays where it is until reset */
const sl_tensor *sl_grad(const sl_tape *t, sl_var v);  /* NULL: none. Only leaves keep theirs until reset; a parameter's is its own */
double sl_scalar(const sl_tape *t, sl_var v);          /* value of a scalar, f64 on any tape; NaN when v failed or is no scalar */
const sl_csr *sl_code_csr(const sl_tape *t, sl_code z); /* NULL when z failed */
/* Scratch that lives until reset, for callers that prepare inputs. Zeroed. NULL makes the tape fail. */
void *sl_tape_scratch(sl_tape *t, size_t bytes);

/* ---- operators: formulas, derivatives and what each keeps stand in its file, op_*.c ----
 * Wrong shapes are SL_SHAPE, wrong numbers SL_ARG, both sticky. [..] is any number of leading dimensions. A variable may be
 * used any number of times. Optional inputs are {0}. Tensors given by pointer are borrowed until reset, and so are params. */

sl_var sl_add(sl_tape *t, sl_var a, sl_var b);                     /* equal shapes; scalars too */
sl_var sl_sub(sl_tape *t, sl_var a, sl_var b);
sl_var sl_mul(sl_tape *t, sl_var a, sl_var b);
sl_var sl_scale(sl_tape *t, sl_var a, double s);
sl_var sl_add_row(sl_tape *t, sl_var x, sl_var r);                 /* x [.., D] + r [D] */
sl_var sl_sub_row(sl_tape *t, sl_var x, sl_var r);
sl_var sl_mul_row(sl_tape *t, sl_var x, sl_var r);
sl_var sl_matmul(sl_tape *t, sl_var a, sl_var b, bool tb);         /* a [.., K] b [K, N] or, tb, b [N, K] transposed */
sl_var sl_linear(sl_tape *t, sl_var x, sl_var W, sl_var b, sl_act act); /* act(x W^T + b), x [.., K], W [N, K], b [N] or {0} */
/* act((x - c) W^T + b), c [K]: what x - c as an input gives, but c's gradient costs no product of the batch's size. */
sl_var sl_linear_from(sl_tape *t, sl_var x, sl_var c, sl_var W, sl_var b, sl_act act);
sl_var sl_activation(sl_tape *t, sl_var x, sl_act act);
sl_var sl_dropout(sl_tape *t, sl_var x, double p);                 /* 0 <= p < 1; p = 0 returns x itself */
sl_var sl_layernorm(sl_tape *t, sl_var x, sl_var gain, sl_var bias); /* x [.., D], eps 1e-5; bias may be {0} */
sl_var sl_rmsnorm(sl_tape *t, sl_var x, sl_var gain);              /* x [.., D], eps 1e-6; gain may be {0} */
sl_var sl_embed(sl_tape *t, const sl_tensor *ids, sl_var table);   /* ids I32 [..], table [V, C] -> [.., C] */
sl_var sl_rotary(sl_tape *t, sl_var qkv, int n_head, double base); /* turns the q and k thirds of [B, T, 3C] */
/* causal; [B, T, 3C] -> [B, T, C]; dropout on the attention weights */
sl_var sl_attention(sl_tape *t, sl_var qkv, int n_head, double dropout_p);
/* Mean cross-entropy in nats of x W^T, x [.., C], W [V, C], against targets (I32, one a row; -1 does not count). Logits are
 * made in row chunks, never kept whole. 0 when no row counts. */
sl_var sl_head_xent(sl_tape *t, sl_var x, sl_var W, const sl_tensor *targets);
sl_var sl_xent(sl_tape *t, sl_var logits, const sl_tensor *targets); /* the same from logits [.., V] */
sl_var sl_sum(sl_tape *t, sl_var x);                               /* of all elements -> scalar */
sl_var sl_mean(sl_tape *t, sl_var x);
sl_var sl_sq_dist(sl_tape *t, sl_var a, sl_var b);                 /* sum (a - b)^2 -> scalar */
sl_var sl_stop_grad(sl_tape *t, sl_var x);
sl_var sl_freeze(sl_tape *t, sl_var x);                            /* stop_grad that also stands still in gradient checks */
sl_var sl_row_norm(sl_tape *t, sl_var W);                          /* [F, D] -> [F] */
sl_var sl_replace(sl_tape *t, sl_var x, sl_var with);              /* value and gradient of `with`, shape checked: a splice */

/* Sparse codes: x [.., d_in], W feature-major [F, d_in], 1 <= k <= F. At most k a row, only positive values, the indices of a
 * row ascending. The values are a variable, z.v [rows * k], zero beyond the last entry. Selection has no gradient. */
sl_code sl_encode_topk(sl_tape *t, sl_var x, sl_var W_enc, sl_var b_enc /* [F] */, int64_t k);
/* The same code; what is learnt of all features on the way is kept for sl_encode_moved, a byte a row and feature. */
sl_code sl_encode_topk_keep(sl_tape *t, sl_var x, sl_var W_enc, sl_var b_enc, int64_t k);
/* sl_encode_topk of rows x2 beside those of `clean`, a code of sl_encode_topk_keep by the same weights. data NULL: none. Where x2 is about
 * x + coef dirs no second product is needed; what that leaves out costs time only. Tensors are borrowed until reset. */
typedef struct sl_move {
    sl_code clean;
    sl_tensor dirs, coef;  /* [n, d_in]; [rows, q]: q = n, every direction in turn, unless `at` says which */
    sl_tensor at;          /* I32 [rows, q], < 0: no more */
    sl_tensor latent;      /* I32 [n]: features that dirs are likely to make active */
} sl_move;
sl_code sl_encode_moved(sl_tape *t, sl_var x2, sl_var W_enc, sl_var b_enc, int64_t k, const sl_move *how);
/* skip [F] U8: features that are no candidates (AuxK) */
sl_code sl_encode_topk_among(sl_tape *t, sl_var x, sl_var W_enc, sl_var b_enc, int64_t k, const sl_tensor *skip);
/* sl_sparse_decode of the same selection, without a bias, for many latents a row of few features: these features' rows are gathered once. [rows, d] */
sl_var sl_decode_among(sl_tape *t, sl_var x, sl_var W_enc, sl_var b_enc, sl_var W_dec, int64_t k, const sl_tensor *skip);
sl_code sl_encode_batch(sl_tape *t, sl_var x, sl_var W_enc, sl_var b_enc, int64_t total); /* the `total` largest of the whole batch */
sl_code sl_code_slice(sl_tape *t, sl_code z, int64_t from, int64_t to);                    /* its features from <= f < to */
sl_code sl_code_add(sl_tape *t, sl_code a, sl_code b);
sl_var sl_sparse_decode(sl_tape *t, sl_code z, sl_var W_dec, sl_var b_dec /* [d_in] or {0} */);

/* Tokens: the active features of each row, at most SL_TOKENS_MAX (sl_tokens in kern/kern.h says what each is). Tables have a row a feature of z, or,
 * by_token, a row an entry of its capacity. Lists of attention: a token itself and the keep - 1 others of largest product; keep 0: all. */
typedef struct sl_pairs { sl_var v; } sl_pairs; /* P [capacity, n_head, keep], 0 where a list is shorter */
sl_pairs sl_attend(sl_tape *t, sl_code z, sl_var QK /* [.., 2 d_c]; {0}: every P of a list is the same */, int n_head, int64_t keep, bool by_token);
const sl_tensor *sl_pairs_at(const sl_tape *t, sl_pairs P); /* U8 of P's shape: places in the row; NULL when P failed */
typedef struct sl_mix {
    sl_var V, gate, w;          /* [.., d_c] (product: [.., 2 d_c]); gate [.., 1] and w [d_c, 1], both or neither */
    double unit;                /* a token's value is its row of V times unit z; by_token: its row */
    bool subtract, product, shuffle, each, by_token;
} sl_mix;
sl_var sl_mix_tokens(sl_tape *t, sl_pairs P, sl_code z, sl_mix m);  /* sum_i g_i O_i [rows, d_c]; each: g_i O_i [capacity, d_c] */
sl_var sl_pairs_entropy(sl_tape *t, sl_pairs P);                    /* mean over tokens and heads, nats -> scalar */
sl_code sl_code_rows(sl_tape *t, sl_code z);                        /* each entry as a row of its own: [capacity] rows */
sl_code sl_const_code(sl_tape *t, const sl_csr *z);                 /* borrowed until reset; no gradient; values of the tape's dtype */
sl_var sl_scale_by(sl_tape *t, sl_var x, sl_var s /* [1] */);
sl_var sl_softplus(sl_tape *t, sl_var x);
sl_var sl_decorrelate(sl_tape *t, sl_var x /* [B, D] */);           /* mean squared correlation of two columns -> scalar */

/* Dense latents: pre-activations a, codes z [.., F]; theta, gain, shift, w [F]. Straight-through gradients of window eps > 0 and what a
 * gradient check makes of them: op_latents.c. */
sl_var sl_jumprelu(sl_tape *t, sl_var a, sl_var theta, double eps);             /* a 1[a > theta], positive values only */
sl_var sl_l0_step(sl_tape *t, sl_var a, sl_var theta, double eps);              /* number of the codes of jumprelu -> scalar */
sl_var sl_hinge(sl_tape *t, sl_var a, sl_var theta, const sl_tensor *skip);     /* sum max(theta - a, 0) where skip [F] U8 is 0 -> scalar */
sl_var sl_gate(sl_tape *t, sl_var pi, sl_var gain, sl_var shift);               /* max(gain pi + shift, 0) where pi > 0, else 0 */
sl_var sl_penalize(sl_tape *t, sl_var z, sl_var w /* or {0}: 1 */, sl_penalty p); /* sum phi(w z) -> scalar */

/* Stability of codes under perturbation: op_stability.c. Structures, weights and selections have no gradient. */
sl_code sl_code_const(sl_tape *t, const sl_csr *z);                             /* borrowed until reset; no gradient */
sl_code sl_code_freeze(sl_tape *t, sl_code z);                                  /* sl_freeze of a code */
sl_code sl_code_of(sl_tape *t, sl_var dense);                                   /* the positive elements of z [.., F] */
sl_code sl_encode_at(sl_tape *t, sl_var x, sl_var W_enc, sl_var b_enc, sl_code where); /* x W_enc^T + b_enc at the entries of `where`, of any sign */
sl_code sl_code_minus(sl_tape *t, sl_code a, sl_code b);                        /* entries of a where b has none */
sl_code sl_code_keep(sl_tape *t, sl_code z, const sl_tensor *limit);            /* the limit[r] (I32) largest of row r */
sl_var sl_row_weights(sl_tape *t, sl_code z, sl_code clean, const sl_tensor *keep); /* csr_row_weights of kern.h: [rows]; keep U8 [rows] */
sl_var sl_col_weights(sl_tape *t, sl_code z, sl_var w);                         /* sum of w [rows] over the rows that have the feature: [F] */
sl_var sl_stability(sl_tape *t, sl_code p, sl_code z, sl_var w);                /* sum_b w_b sum over the entries of p of (p - z)^2 -> scalar */

/* ---- the operator table and its gradient checker ---- */

typedef struct sl_op sl_op;
extern const sl_op *const sl_op_table[]; /* NULL-terminated */
typedef struct sl_gradcheck { double max_rel_err; char worst[160]; int n_checked; } sl_gradcheck;
/* Runs op's examples in f64 on ref against central differences of every input element; the error's definition is in check.c,
 * correct operators stay below 1e-6. worst: operator, example, input, element and both derivatives. flip: negate the analytic
 * gradient of the first input (to see the checker fail). SL_MEM. */
sl_status sl_op_check(sl_ctx *ctx, const sl_op *op, uint64_t seed, bool flip, sl_gradcheck *out, sl_err *err) SL_USE_RESULT;
const char *sl_op_name(const sl_op *op);
/* The same for a whole model: `build` makes the scalar loss on a f64 tape from ps (F64), the same at each call; every
 * stride-th element of every parameter that is not frozen is checked. The gradients in ps are overwritten. */
sl_status sl_params_check(sl_ctx *ctx, sl_params *ps, sl_var (*build)(sl_tape *t, void *user), void *user, int64_t stride,
                          sl_gradcheck *out, sl_err *err) SL_USE_RESULT;

#endif
