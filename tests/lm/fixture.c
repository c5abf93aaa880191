#include "fixture.h"

#include <stdio.h>
#include <string.h>

sl_lm_config tiny_config(bool bias, bool fast)
{
    return (sl_lm_config){ .n_layer = 2, .n_head = 2, .n_embd = 16, .block_size = 8, .vocab_size = 11, .bias = bias,
                           .norm = fast ? SL_LM_RMSNORM : SL_LM_LAYERNORM, .pos = fast ? SL_LM_ROTARY : SL_LM_LEARNED,
                           .mlp = fast ? SL_LM_RELU2 : SL_LM_GELU, .tie_head = !fast };
}

sl_lm *tiny_model(sl_ctx *ctx, const sl_lm_config *c, sl_dtype dtype, uint64_t seed)
{
    sl_err err;
    sl_lm *m = NULL;
    sl_assert_ok(sl_gpt_new(ctx, c, dtype, seed, &m, &err));
    return m;
}

sl_corpus tiny_corpus(sl_ctx *ctx, int64_t n, int32_t vocab, int64_t doc)
{
    sl_corpus c = { .name = "tiny", .sha256 = "00", .n = n, .train_end = n * 9 / 10, .val_end = n, .n_docs = (n + doc - 1) / doc };
    c.ids = sl_alloc(ctx, (size_t)n * sizeof *c.ids);
    c.doc = sl_alloc(ctx, (size_t)(c.n_docs + 1) * sizeof *c.doc);
    sl_rng r = sl_rng_at(1, SL_RNG_TEST, 0, 0);
    for (int64_t i = 1; i < n; i++)
        c.ids[i] = (int32_t)((c.ids[i - 1] * 3 + 1 + (int32_t)sl_rng_below(&r, 2)) % vocab);
    for (int64_t d = 0; d <= c.n_docs; d++)
        c.doc[d] = d * doc < n ? d * doc : n;
    return c;
}

void tiny_corpus_free(sl_ctx *ctx, sl_corpus *c)
{
    sl_free(ctx, c->ids);
    sl_free(ctx, c->doc);
}

sl_lm_train_config tiny_training(int64_t iters)
{
    return (sl_lm_train_config){ .batch_size = 6, .gradient_accumulation_steps = 1, .max_iters = iters, .warmup_iters = 3,
                                 .lr_decay_iters = iters, .eval_interval = 5, .eval_iters = 2, .log_interval = 1, .seed = 7,
                                 .learning_rate = 1e-2, .min_lr = 1e-3, .weight_decay = .1, .beta1 = .9, .beta2 = .99, .grad_clip = 1,
                                 .muon_lr = .02, .micro_tokens = 16, .checkpoint_seconds = 1000 };
}

void shake(sl_lm *m, uint64_t seed, double size)
{
    sl_rng r = sl_rng_at(seed, SL_RNG_TEST, 1, 0);
    for (int i = 0; i < sl_params_count(m->ps); i++) {
        sl_param *p = sl_params_at(m->ps, i);
        for (int64_t j = 0; j < sl_numel(&p->value); j++) {
            double d = size * sl_rng_normal(&r);
            if (p->value.dtype == SL_F64)
                ((double *)p->value.data)[j] += d;
            else
                ((float *)p->value.data)[j] += (float)d;
        }
        sl_param_touch(p);
    }
}

float *logits_of(sl_lm *m, const int32_t *ids, int64_t B, int64_t T, const sl_gpt_hook *hook)
{
    sl_tensor x = sl_tensor_of(SL_I32, (void *)(uintptr_t)ids, 2, B, T);
    sl_tape_reset(m->tape);
    const sl_tensor *y = sl_value(m->tape, sl_gpt_logits(m->tape, m, sl_gpt_hidden(m->tape, m, &x, hook)));
    assert_non_null(y);
    float *copy = sl_alloc(m->ctx, (size_t)sl_numel(y) * sizeof *copy);
    sl_to_f32(y->data, y->dtype, copy, sl_numel(y));
    return copy;
}

void assert_same_weights(sl_lm *a, sl_lm *b)
{
    assert_int_equal(sl_params_count(a->ps), sl_params_count(b->ps));
    for (int i = 0; i < sl_params_count(a->ps); i++) {
        const sl_param *p = sl_params_at(a->ps, i), *q = sl_params_at(b->ps, i);
        assert_string_equal(p->name, q->name);
        sl_assert_same_bits(p->name, p->value.data, q->value.data, sl_nbytes(&p->value));
    }
}
