/* Language models: nanoGPT's GPT, trained here or loaded, with hook points named as TransformerLens does.
 *
 *     sl_lm_new or sl_lm_load -> sl_lm_train -> sl_lm_save;   sl_lm_eval, sl_lm_sample, sl_lm_capture at any time after.
 *
 * A model belongs to one context and is used by one thread (kernels are parallel inside). Losses are nats per token. */
#ifndef SAELAB_LM_H
#define SAELAB_LM_H

#include <saelab/data.h>

/* ---- configuration: names and defaults are nanoGPT's ---- */

enum { SL_LM_LAYERNORM, SL_LM_RMSNORM };  /* norm */
enum { SL_LM_LEARNED, SL_LM_ROTARY };     /* pos */
enum { SL_LM_GELU, SL_LM_RELU2, SL_LM_RELU }; /* mlp */
enum { SL_LM_ADAMW, SL_LM_MUON };         /* optimizer */
enum { SL_LM_COSINE, SL_LM_LINEAR };      /* schedule */

typedef struct sl_lm_config { /* option table sl_lm_opts */
    int64_t n_layer, n_head, n_embd, block_size;
    int64_t vocab_size;    /* 0 in an option table: the tokenizer's; sl_lm_new wants it set */
    double dropout;        /* on embeddings, attention weights and both residual branches; training only */
    bool bias;             /* in Linears and LayerNorms */
    int norm, pos, mlp;    /* choices: layernorm|rmsnorm, learned|rotary, gelu|relu2|relu (nanoGPT: the first of each) */
    bool tie_head;         /* logits = x wte^T */
} sl_lm_config;

typedef struct sl_lm_train_config { /* option table sl_lm_train_opts */
    int64_t batch_size, gradient_accumulation_steps, max_iters, warmup_iters, lr_decay_iters, eval_interval, eval_iters, log_interval, seed;
    double learning_rate, min_lr, weight_decay, beta1, beta2, grad_clip;
    int optimizer;         /* adamw|muon: Muon moves the hidden matrices, AdamW the rest */
    double muon_lr;        /* follows the schedule of learning_rate, in proportion */
    int schedule;          /* cosine: nanoGPT's get_lr; linear: constant until decay_start, then linear to min_lr */
    int64_t decay_start;   /* iteration at which `linear` starts to fall */
    /* Tokens of one forward and backward pass: a batch is cut into the largest equal parts of whole windows that hold no more, so
     * that activations stay near the caches. Part of the configuration because it changes rounding and dropout masks. */
    int64_t micro_tokens;
    /* Wall time after which training stops after the step in hand, evaluates and ends as if max_iters were reached; 0: never. The schedule is not
     * compressed. A run that is cut so depends on the machine's speed: it is excluded from every claim of bit-identical results. */
    double max_seconds;
    int64_t checkpoint_seconds; /* s between checkpoints; changes no result */
} sl_lm_train_config;

extern const sl_opt sl_lm_opts[], sl_lm_train_opts[];

typedef struct sl_lm_preset {
    const char *name, *what, *dataset; /* dataset: one of sl_datasets */
    sl_tok_kind tok;
    sl_lm_config lm;                   /* vocab_size 0: the tokenizer's */
    sl_lm_train_config train;
} sl_lm_preset;
/* name NULL ends it: nanogpt_char, nanogpt_cpu, template_gpt2, quick, speedrun, smoke */
extern const sl_lm_preset sl_lm_presets[];
const sl_lm_preset *sl_lm_preset_find(const char *name); /* '-' equals '_'; NULL when there is none */

/* ---- models ---- */

typedef struct sl_lm sl_lm;
/* GPT-2's initialisation (Radford et al. 2019, section 2.3, as nanoGPT does it): N(0, .02), projections into the residual stream
 * N(0, .02 / sqrt(2 n_layer)), gains 1, biases 0. SL_CONFIG names the field that is wrong; SL_MEM. */
sl_status sl_lm_new(sl_ctx *ctx, const sl_lm_config *c, uint64_t seed, sl_lm **out, sl_err *err) SL_USE_RESULT;
void sl_lm_free(sl_lm *m); /* NULL is legal */
const sl_lm_config *sl_lm_cfg(const sl_lm *m);
int64_t sl_lm_n_params(const sl_lm *m, bool embedding); /* embedding false: without position embeddings, as nanoGPT counts */

/* A model folder: config.json, model.safetensors (names of nanoGPT and GPT-2; matrices [out, in]), tokenizer.json.
 * Save writes each file whole or not at all; SL_IO. */
sl_status sl_lm_save(sl_lm *m, const sl_tok *tok, const char *dir, sl_err *err) SL_USE_RESULT;
/* SL_MISSING (folder, file or tensor), SL_DATA (not a model, truncated, tokenizer of another vocabulary), SL_SHAPE (a tensor's
 * shape), SL_CONFIG (config.json), SL_NUMERIC (a weight is not finite). *tok is freed by the caller. */
sl_status sl_lm_load(sl_ctx *ctx, const char *dir, sl_lm **out, sl_tok **tok /* may be NULL */, sl_err *err) SL_USE_RESULT;

/* ---- training ---- */

typedef struct sl_lm_curve { int64_t iter; double train_loss, val_loss, lr, seconds; } sl_lm_curve;
typedef struct sl_lm_result {
    double final_train_loss;   /* of the last evaluation, over eval_iters random batches of the training split */
    double best_val_loss;      /* the smallest of all evaluations: these weights are what the model holds at the end */
    double total_train_time;   /* s, evaluations included, summed over resumed parts */
    int64_t tokens, iters;     /* trained on; iterations done */
    sl_lm_curve *curve; int64_t n_curve; /* one row an evaluation; sl_free */
} sl_lm_result;
/* Trains m on the corpus as nanoGPT's train.py: random windows of the training split, AdamW with decay on tensors of two or more
 * dimensions, gradient clipping, warm-up and cosine decay, evaluation on random batches of both splits every eval_interval iterations and at the end.
 * Differs: exactly max_iters updates (nanoGPT makes one more, after its last evaluation).
 * dir/checkpoints/ and dir/metrics.csv (a row an evaluation) are written; an unfinished run of the same configuration, data and
 * kernels found there resumes bit for bit, a finished one returns at once; one of another configuration is SL_EXISTS.
 * SL_DATA: the corpus is shorter than a window, or of another vocabulary. SL_CANCELLED: after a checkpoint.
 * SL_NUMERIC: the first non-finite loss or gradient, with iteration and tensor; dir/bad-batch.safetensors holds the batch. */
sl_status sl_lm_train(sl_lm *m, const sl_corpus *c, const sl_lm_train_config *t, const char *dir, sl_lm_result *out, sl_err *err) SL_USE_RESULT;

/* Mean loss over whole non-overlapping windows of ids: windows start at 0, block_size, 2 block_size, ... and every position predicts
 * its successor. SL_DATA: fewer than block_size + 1 ids, or an id outside the vocabulary; SL_NUMERIC. n_scored may be NULL. */
sl_status sl_lm_eval(sl_lm *m, const int32_t *ids, int64_t n, double *loss, int64_t *n_scored, sl_err *err) SL_USE_RESULT;

/* ---- sampling ---- */

enum { SL_LM_WEIGHTS_F32, SL_LM_WEIGHTS_BF16 };
typedef struct sl_lm_sample_config { /* option table sl_lm_sample_opts */
    int64_t max_new_tokens, top_k /* 0: all */, seed;
    double temperature;    /* 0: the most probable token */
    int weights;           /* f32|bf16: bf16 weights (f32 sums) halve the memory traffic */
} sl_lm_sample_config;
extern const sl_opt sl_lm_sample_opts[];
/* Calls `token` for each new id until it returns false. An empty prompt starts from id 0 (nanoGPT: a newline). Uses a KV cache. When the window
 * is full, the last block_size / 2 tokens are kept and run again at positions 0, 1, ...: nanoGPT crops to the last block_size tokens at every step,
 * which moves every position and so cannot use a cache; up to block_size tokens both give the same distributions.
 * SL_DATA: an id outside the vocabulary; SL_CANCELLED. */
sl_status sl_lm_sample(sl_lm *m, const int32_t *prompt, int64_t n_prompt, const sl_lm_sample_config *c, bool (*token)(void *, int32_t), void *user, sl_err *err) SL_USE_RESULT;

/* ---- hook points: blocks.L.hook_resid_pre | hook_resid_post | hook_mlp_out ---- */

typedef struct sl_hook_id { int layer; enum { SL_HOOK_RESID_PRE, SL_HOOK_RESID_POST, SL_HOOK_MLP_OUT } site; } sl_hook_id;
/* SL_ARG names what is wrong with the name and which layers there are. */
sl_status sl_hook_parse(const char *name, const sl_lm_config *c, sl_hook_id *out, sl_err *err) SL_USE_RESULT;

/* Changes rows x [n, n_embd] at a hook in place, while a text is written; a failure ends it. Each row by itself: with the cache of keys and values rows come
 * once, in whatever portions. */
typedef struct sl_lm_edit {
    sl_hook_id at;
    sl_status (*fn)(void *user, float *x, int64_t n, sl_err *err);
    void *user;
} sl_lm_edit;
/* sl_lm_sample with an edit (NULL: none). */
sl_status sl_lm_sample_edited(sl_lm *m, const int32_t *prompt, int64_t n_prompt, const sl_lm_sample_config *c, const sl_lm_edit *edit, bool (*token)(void *, int32_t), void *user, sl_err *err) SL_USE_RESULT;

/* Tokens that the model reads changed (Masked Regularization, arXiv 2604.06495, and its random twin): each with probability p, to token `to`, or (-1)
 * to any other one. A function of (seed, place in the text, pass over it). Rows keep the ids of the text itself. */
typedef struct sl_token_noise { double p; int64_t to; uint64_t seed; } sl_token_noise;

typedef struct sl_capture_config {
    int64_t n_tokens;      /* rows at most; 0: all there are */
    bool drop_first;       /* leave out position 0 of every window (BOS, huge norms) */
    int64_t batch;         /* windows a forward pass; 0: as many as fit 4096 tokens */
    sl_acts_opts store;
    sl_token_noise noise;  /* p 0: none */
} sl_capture_config;
/* Runs the model over documents [first_doc, end_doc) in windows of block_size that start anew in each document, and stores the
 * hook's activations (one row a token, in a new store at dir). SL_ARG, SL_DATA (no rows), SL_CANCELLED, and what the store says. */
sl_status sl_lm_capture(sl_lm *m, const char *model_name, const sl_corpus *c, int64_t first_doc, int64_t end_doc, const char *hook, const sl_capture_config *cc, const char *dir, sl_err *err) SL_USE_RESULT;

typedef struct sl_stream_config {
    int64_t n_tokens;      /* rows of a pass over the text at most, from its first documents; 0: all there are */
    bool drop_first;       /* as in a capture */
    int64_t shuffle_rows;  /* rows that are mixed with one another, in whole windows; twice as many are held in memory */
    uint64_t seed;         /* of the order */
    sl_token_noise noise;  /* p 0: none */
} sl_stream_config;
/* The rows that a capture would store, made as they are asked for: windows come in random order, another one in each pass over the text, and rows
 * are shuffled within blocks of about shuffle_rows; while one block is given out the next is computed bit by bit. Rows are a function of their
 * place, so that seek costs one block. n_rows is one pass; `row` is the place of the token in the corpus; mean and scale are not known.
 * It has a copy of the model and a context of its own: sl_acts_prefetch may run it in another thread. c is borrowed. Errors as sl_lm_load's and
 * sl_lm_capture's. */
sl_status sl_lm_stream(sl_ctx *ctx, const char *lm_dir, const sl_corpus *c, int64_t first_doc, int64_t end_doc, const char *hook, const sl_stream_config *sc, sl_act_source **out, sl_err *err) SL_USE_RESULT;

#endif
