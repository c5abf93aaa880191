/* Language models: nanoGPT's GPT, trained here or loaded, with hook points named as TransformerLens does. */
#ifndef SAELAB_LM_H
#define SAELAB_LM_H

#include <saelab/data.h>

typedef struct sl_lm_config { /* option table sl_lm_opts */
    int64_t n_layer, n_head, n_embd, block_size, vocab_size;
    double dropout;
    bool bias;             /* in Linears and LayerNorms */
    int norm, pos, mlp;    /* choices: layernorm|rmsnorm, learned|rotary, gelu|relu2 (nanoGPT: the first of each) */
    bool tie_head;
} sl_lm_config;

typedef struct sl_lm_train_config { /* option table sl_lm_train_opts; names are nanoGPT's */
    int64_t batch_size, gradient_accumulation_steps, max_iters, warmup_iters, lr_decay_iters, eval_interval, eval_iters, log_interval, seed;
    double learning_rate, min_lr, weight_decay, beta1, beta2, grad_clip;
    int optimizer;         /* adamw|muon */
    double muon_lr;
    double max_seconds;    /* stop (with schedule compressed by nobody: a cut) after this wall time, 0: never */
    int64_t checkpoint_seconds;
} sl_lm_train_config;

extern const sl_opt sl_lm_opts[], sl_lm_train_opts[];

typedef struct sl_lm_preset { const char *name, *what; const char *dataset; sl_tok_kind tok; sl_lm_config lm; sl_lm_train_config train; } sl_lm_preset;
extern const sl_lm_preset sl_lm_presets[]; /* name NULL ends it: nanogpt_char, nanogpt_cpu, template_gpt2, quick, speedrun, smoke */

typedef struct sl_lm sl_lm;
sl_status sl_lm_new(sl_ctx *ctx, const sl_lm_config *c, uint64_t seed, sl_lm **out, sl_err *err) SL_USE_RESULT;
void sl_lm_free(sl_lm *m);
const sl_lm_config *sl_lm_cfg(const sl_lm *m);
int64_t sl_lm_n_params(const sl_lm *m, bool embedding); /* nanoGPT counts without position embeddings */
/* A model folder: config.json, model.safetensors (GPT-2's tensor names), tokenizer.json */
sl_status sl_lm_save(sl_lm *m, const sl_tok *tok, const char *dir, sl_err *err) SL_USE_RESULT;
sl_status sl_lm_load(sl_ctx *ctx, const char *dir, sl_lm **out, sl_tok **tok /* may be NULL */, sl_err *err) SL_USE_RESULT;

typedef struct sl_lm_curve { int64_t iter; double train_loss, val_loss, lr, seconds; } sl_lm_curve;
typedef struct sl_lm_result {
    double final_train_loss, best_val_loss, total_train_time; /* s */
    int64_t tokens, iters;
    sl_lm_curve *curve; int64_t n_curve; /* sl_free */
} sl_lm_result;
/* Trains m on the corpus. dir: checkpoints and metrics.csv go there; an unfinished run of the same configuration resumes bit for bit.
 * SL_CANCELLED after a checkpoint; SL_NUMERIC with step and tensor. */
sl_status sl_lm_train(sl_lm *m, const sl_corpus *c, const sl_lm_train_config *t, const char *dir, sl_lm_result *out, sl_err *err) SL_USE_RESULT;
/* Mean loss over whole non-overlapping windows of ids, nats per token. */
sl_status sl_lm_eval(sl_lm *m, const int32_t *ids, int64_t n, double *loss, int64_t *n_scored, sl_err *err) SL_USE_RESULT;

typedef struct sl_lm_sample_config { int64_t max_new_tokens, top_k, seed; double temperature; } sl_lm_sample_config;
extern const sl_opt sl_lm_sample_opts[];
/* Calls `token` for each new id until it returns false. Uses a KV cache; past block_size the window slides as nanoGPT crops (see lm/sample.c). */
sl_status sl_lm_sample(sl_lm *m, const int32_t *prompt, int64_t n_prompt, const sl_lm_sample_config *c, bool (*token)(void *, int32_t), void *user, sl_err *err) SL_USE_RESULT;

/* Hook points: blocks.L.hook_resid_pre | hook_resid_post | hook_mlp_out. */
typedef struct sl_hook_id { int layer; enum { SL_HOOK_RESID_PRE, SL_HOOK_RESID_POST, SL_HOOK_MLP_OUT } site; } sl_hook_id;
sl_status sl_hook_parse(const char *name, const sl_lm_config *c, sl_hook_id *out, sl_err *err) SL_USE_RESULT;

typedef struct sl_capture_config { int64_t n_tokens; bool drop_first; /* position 0 of every window (BOS, huge norms) */ int64_t batch; sl_acts_opts store; } sl_capture_config;
/* Runs the model over ids (documents kept apart) and stores the hook's activations. */
sl_status sl_lm_capture(sl_lm *m, const char *model_name, const sl_corpus *c, int64_t first_doc, int64_t end_doc, const char *hook, const sl_capture_config *cc, const char *dir, sl_err *err) SL_USE_RESULT;

#endif
