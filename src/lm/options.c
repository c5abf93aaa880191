/* Option tables and presets of the language model. */
#include <saelab/lm.h>

static const char *const norms[] = { "layernorm", "rmsnorm", NULL };
static const char *const positions[] = { "learned", "rotary", NULL };
static const char *const mlps[] = { "gelu", "relu2", "relu", NULL };
static const char *const optimizers[] = { "adamw", "muon", NULL };
static const char *const schedules[] = { "cosine", "linear", NULL };
static const char *const weights[] = { "f32", "bf16", NULL };

#define BIG 1e12

const sl_opt sl_lm_opts[] = {
    SL_OPT_INT(sl_lm_config, n_layer, 6, 1, 1000, "blocks", "transformer blocks"),
    SL_OPT_INT(sl_lm_config, n_head, 6, 1, 1000, "heads", "attention heads; divides n_embd"),
    SL_OPT_INT(sl_lm_config, n_embd, 384, 1, 65536, "", "width of the residual stream"),
    SL_OPT_INT(sl_lm_config, block_size, 256, 1, 65536, "tokens", "context length"),
    SL_OPT_INT(sl_lm_config, vocab_size, 0, 0, 2147483647., "tokens", "0: the tokenizer's"),
    SL_OPT_FLOAT(sl_lm_config, dropout, 0.2, 0, 0.99, "", "probability of dropping, in training"),
    SL_OPT_BOOL(sl_lm_config, bias, 0, "biases in linear layers and layer norms"),
    SL_OPT_CHOICE(sl_lm_config, norm, SL_LM_LAYERNORM, norms, "normalisation"),
    SL_OPT_CHOICE(sl_lm_config, pos, SL_LM_LEARNED, positions, "positions"),
    SL_OPT_CHOICE(sl_lm_config, mlp, SL_LM_GELU, mlps, "activation of the MLP"),
    SL_OPT_BOOL(sl_lm_config, tie_head, 1, "the head's weights are the token embedding's"),
    SL_OPT_END
};

const sl_opt sl_lm_train_opts[] = {
    SL_OPT_INT(sl_lm_train_config, batch_size, 64, 1, 1e6, "windows", "windows a micro-step"),
    SL_OPT_INT(sl_lm_train_config, gradient_accumulation_steps, 1, 1, 1e5, "", "micro-steps an iteration"),
    SL_OPT_INT(sl_lm_train_config, max_iters, 5000, 0, BIG, "iterations", "updates"),
    SL_OPT_INT(sl_lm_train_config, warmup_iters, 100, 0, BIG, "iterations", "linear warm-up of the learning rate"),
    SL_OPT_INT(sl_lm_train_config, lr_decay_iters, 5000, 1, BIG, "iterations", "min_lr is reached here"),
    SL_OPT_INT(sl_lm_train_config, eval_interval, 250, 1, BIG, "iterations", "between evaluations"),
    SL_OPT_INT(sl_lm_train_config, eval_iters, 200, 1, 1e6, "batches", "of each split in an evaluation"),
    SL_OPT_INT(sl_lm_train_config, log_interval, 10, 1, BIG, "iterations", "between progress reports"),
    SL_OPT_INT(sl_lm_train_config, seed, 1337, 0, 9e15, "", "of weights, batches and dropout"),
    SL_OPT_FLOAT(sl_lm_train_config, learning_rate, 1e-3, 0, 100, "", "peak learning rate of AdamW"),
    SL_OPT_FLOAT(sl_lm_train_config, min_lr, 1e-4, 0, 100, "", "learning rate at lr_decay_iters"),
    SL_OPT_FLOAT(sl_lm_train_config, weight_decay, 0.1, 0, 100, "", "on tensors of two or more dimensions"),
    SL_OPT_FLOAT(sl_lm_train_config, beta1, 0.9, 0, 0.999999, "", "of Adam"),
    SL_OPT_FLOAT(sl_lm_train_config, beta2, 0.99, 0, 0.9999999, "", "of Adam"),
    SL_OPT_FLOAT(sl_lm_train_config, grad_clip, 1, 0, 1e9, "", "largest global gradient norm; 0: off"),
    SL_OPT_CHOICE(sl_lm_train_config, optimizer, SL_LM_ADAMW, optimizers, "optimizer of the hidden matrices"),
    SL_OPT_FLOAT(sl_lm_train_config, muon_lr, 0.02, 0, 100, "", "peak learning rate of Muon"),
    SL_OPT_CHOICE(sl_lm_train_config, schedule, SL_LM_COSINE, schedules, "shape of the learning rate"),
    SL_OPT_INT(sl_lm_train_config, decay_start, 0, 0, BIG, "iterations", "schedule linear: constant before"),
    SL_OPT_INT(sl_lm_train_config, micro_tokens, 4096, 1, 1e9, "tokens", "of one forward and backward pass"),
    SL_OPT_FLOAT(sl_lm_train_config, max_seconds, 0, 0, 1e9, "s", "stop after this wall time; 0: never"),
    SL_OPT_INT(sl_lm_train_config, checkpoint_seconds, 60, 0, 1e6, "s", "between checkpoints"),
    SL_OPT_END
};

const sl_opt sl_lm_sample_opts[] = {
    SL_OPT_INT(sl_lm_sample_config, max_new_tokens, 500, 0, BIG, "tokens", "tokens to add"),
    SL_OPT_INT(sl_lm_sample_config, top_k, 200, 0, 2147483647., "tokens", "sample among the k most probable; 0: all"),
    SL_OPT_INT(sl_lm_sample_config, seed, 1337, 0, 9e15, "", "of the draws"),
    SL_OPT_FLOAT(sl_lm_sample_config, temperature, 0.8, 0, 1000, "", "1: as trained, 0: the most probable token"),
    SL_OPT_CHOICE(sl_lm_sample_config, weights, SL_LM_WEIGHTS_F32, weights, "storage of the weights"),
    SL_OPT_END
};

/* What the presets share: nanoGPT's config/train_shakespeare_char.py; and that with another learning rate or warm-up. */
#define CHAR_TRAIN_AT(lr, warm_up)                                                                                         \
    .gradient_accumulation_steps = 1, .warmup_iters = warm_up, .log_interval = 10, .seed = 1337,                           \
    .learning_rate = lr, .min_lr = 1e-4, .weight_decay = 0.1, .beta1 = 0.9, .beta2 = 0.99, .grad_clip = 1,                \
    .muon_lr = 0.02, .micro_tokens = 4096, .checkpoint_seconds = 60
#define CHAR_TRAIN CHAR_TRAIN_AT(1e-3, 100)
/* What the fast presets share, beyond nanoGPT: rotary positions (Su et al. 2021), RMSNorm (Zhang & Sennrich 2019), squared ReLU
 * (So et al. 2021) and the Muon optimizer (Jordan et al. 2024). */
#define FAST_LM .norm = SL_LM_RMSNORM, .pos = SL_LM_ROTARY, .mlp = SL_LM_RELU2, .tie_head = true

const sl_lm_preset sl_lm_presets[] = {
    { "nanogpt_char", "nanoGPT's train_shakespeare_char.py: 10.7 M parameters", "shakespeare_char", SL_TOK_CHAR,
      { .n_layer = 6, .n_head = 6, .n_embd = 384, .block_size = 256, .dropout = 0.2, .tie_head = true },
      { CHAR_TRAIN, .batch_size = 64, .max_iters = 5000, .lr_decay_iters = 5000, .eval_interval = 250, .eval_iters = 200 } },
    { "nanogpt_cpu", "the CPU command of nanoGPT's README, learning rate 4e-3 for its 1e-3: 0.8 M parameters", "shakespeare_char", SL_TOK_CHAR,
      { .n_layer = 4, .n_head = 4, .n_embd = 128, .block_size = 64, .tie_head = true },
      { CHAR_TRAIN_AT(4e-3, 100), .batch_size = 12, .max_iters = 2000, .lr_decay_iters = 2000, .eval_interval = 250, .eval_iters = 20 } },
    { "nanogpt_cpu_fast", "nanoGPT's loss of that command, 1.88, in a third of its time", "shakespeare_char", SL_TOK_CHAR,
      { FAST_LM, .n_layer = 4, .n_head = 4, .n_embd = 128, .block_size = 64 },
      { CHAR_TRAIN_AT(4e-3, 30), .batch_size = 12, .max_iters = 450, .lr_decay_iters = 450, .eval_interval = 450, .eval_iters = 20,
        .optimizer = SL_LM_MUON } },
    { "template_gpt2", "a 6-layer GPT over GPT-2's tokens: 45 M parameters", "shakespeare_char", SL_TOK_GPT2,
      { .n_layer = 6, .n_head = 8, .n_embd = 512, .block_size = 256, .dropout = 0.1, .bias = true, .tie_head = true },
      { CHAR_TRAIN, .batch_size = 16, .max_iters = 2000, .lr_decay_iters = 2000, .eval_interval = 250, .eval_iters = 20 } },
    { "quick", "for a study in minutes: at most 150 s on two cores", "shakespeare_char", SL_TOK_CHAR,
      { FAST_LM, .n_layer = 4, .n_head = 4, .n_embd = 128, .block_size = 128 },
      { CHAR_TRAIN, .batch_size = 8, .max_iters = 1200, .lr_decay_iters = 1200, .eval_interval = 600, .eval_iters = 40,
        .optimizer = SL_LM_MUON, .schedule = SL_LM_LINEAR, .decay_start = 480, .max_seconds = 146 } },
    { "speedrun", "the best validation loss within 301 s on two cores", "shakespeare_char", SL_TOK_CHAR,
      { FAST_LM, .n_layer = 4, .n_head = 4, .n_embd = 128, .block_size = 256 },
      { CHAR_TRAIN, .batch_size = 8, .max_iters = 1600, .lr_decay_iters = 1600, .eval_interval = 100000, .eval_iters = 40,
        .optimizer = SL_LM_MUON, .schedule = SL_LM_LINEAR, .decay_start = 640, .max_seconds = 290 } },
    { "smoke", "a few seconds, for tests", "shakespeare_char", SL_TOK_CHAR,
      { .n_layer = 2, .n_head = 2, .n_embd = 32, .block_size = 32, .tie_head = true },
      { CHAR_TRAIN, .batch_size = 8, .max_iters = 200, .lr_decay_iters = 200, .eval_interval = 250, .eval_iters = 5 } },
    { .name = NULL },
};

static bool same_name(const char *a, const char *b)
{
    for (; *a || *b; a++, b++)
        if ((*a == '-' ? '_' : *a) != (*b == '-' ? '_' : *b))
            return false;
    return true;
}

const sl_lm_preset *sl_lm_preset_find(const char *name)
{
    for (const sl_lm_preset *p = sl_lm_presets; p->name; p++)
        if (same_name(p->name, name))
            return p;
    return NULL;
}
