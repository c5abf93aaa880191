/* nanoGPT's GPT on the tape. For lm itself and for eval, which splices into it; programs use saelab/lm.h. */
#ifndef SL_GPT_H
#define SL_GPT_H

#include "tape/tape.h"

#include <saelab/lm.h>

typedef struct sl_gpt_layer { /* C = n_embd; a member is NULL where the configuration has none */
    sl_param *ln_1_w, *ln_1_b;           /* [C] */
    sl_param *c_attn_w, *c_attn_b;       /* [3C, C] rows q, k, v; [3C] */
    sl_param *c_proj_w, *c_proj_b;       /* [C, C], [C] */
    sl_param *ln_2_w, *ln_2_b;           /* [C] */
    sl_param *c_fc_w, *c_fc_b;           /* [4C, C], [4C] */
    sl_param *mlp_proj_w, *mlp_proj_b;   /* [C, 4C], [C] */
} sl_gpt_layer;

struct sl_lm {
    sl_ctx *ctx;
    sl_lm_config c;
    sl_params *ps;
    sl_param *wte;              /* [V, C] */
    sl_param *wpe;              /* [block_size, C]; NULL: rotary */
    sl_param *ln_f_w, *ln_f_b;  /* [C] */
    sl_param *head;             /* [V, C]: wte when tied */
    sl_gpt_layer *h;            /* [n_layer] */
    sl_tape *tape;              /* of training, evaluation and capture */
};

#define SL_GPT_ROTARY_BASE 10000. /* Su et al. 2021 */
#define SL_GPT_LN_EPS 1e-5        /* as sl_layernorm and sl_rmsnorm of the tape */
#define SL_GPT_RMS_EPS 1e-6

/* sl_lm_new for any dtype of the tape: f64 models are for gradient checks. */
sl_status sl_gpt_new(sl_ctx *ctx, const sl_lm_config *c, sl_dtype dtype, uint64_t seed, sl_lm **out, sl_err *err) SL_USE_RESULT;

/* Reads or replaces the stream at one point: fn gets x [B, T, C] and returns what goes on from there (x itself to read).
 * RESID_PRE of layer L is called BEFORE block L runs, on its input. */
typedef struct sl_gpt_hook {
    sl_hook_id at;
    sl_var (*fn)(void *user, sl_tape *t, sl_var x);
    void *user;
} sl_gpt_hook;

/* ids I32 [B, T], T <= block_size, every id in the vocabulary (the caller's promise); hook may be NULL. Without dropout. */
sl_var sl_gpt_hidden(sl_tape *t, sl_lm *m, const sl_tensor *ids, const sl_gpt_hook *hook); /* [B, T, C] after the last norm */
sl_var sl_gpt_logits(sl_tape *t, sl_lm *m, sl_var hidden);                                  /* [B, T, V] */
/* Mean cross-entropy against targets I32 [B, T]; -1 is not scored. */
sl_var sl_gpt_loss(sl_tape *t, sl_lm *m, const sl_tensor *ids, const sl_tensor *targets, const sl_gpt_hook *hook);
/* The same with the configuration's dropout: for training. */
sl_var sl_gpt_train_loss(sl_tape *t, sl_lm *m, const sl_tensor *ids, const sl_tensor *targets);
/* The value at a hook point; runs only the blocks that it needs. [B, T, C] */
sl_var sl_gpt_site(sl_tape *t, sl_lm *m, const sl_tensor *ids, sl_hook_id at);

static inline sl_act sl_gpt_act(const sl_lm_config *c) /* of the MLP */
{
    return c->mlp == SL_LM_RELU2 ? SL_ACT_RELU2 : c->mlp == SL_LM_RELU ? SL_ACT_RELU : SL_ACT_GELU;
}

/* xxHash of every parameter, in their order: what activations of the model depend on. */
uint64_t sl_gpt_weights_hash(const sl_lm *m);
/* First parameter that is not finite, or NULL. */
const sl_param *sl_gpt_bad_param(sl_lm *m);

/* ---- inside lm ---- */

/* Largest divisor d of rows with d * T <= tokens, at least 1. */
int64_t sl_lm_micro_rows(int64_t rows, int64_t T, int64_t tokens);
/* Row r of iteration `iter`: a window of block_size + 1 ids that starts uniformly within ids[0, n). Fills rows [r0, r0 + n_rows). */
typedef struct sl_windows { const int32_t *ids; int64_t n; uint64_t seed; sl_purpose purpose; } sl_windows;
void sl_lm_windows(const sl_windows *w, uint64_t iter, int64_t r0, const sl_tensor *x, const sl_tensor *y);
/* SL_DATA naming the position of the first id outside [0, vocab). */
sl_status sl_lm_check_ids(const sl_lm *m, const int32_t *ids, int64_t n, sl_err *err) SL_USE_RESULT;

/* token_noise.c: changes ids [count] of the text from `place` on. */
sl_status sl_token_noise_check(const sl_token_noise *n, int64_t vocab, sl_err *err) SL_USE_RESULT;
void sl_token_noise_apply(const sl_token_noise *n, int64_t vocab, int64_t place, int64_t pass, int32_t *ids, int64_t count);

#endif
