/* Splicing into a tiny GPT: identity changes nothing, zeros do, and the losses are those of the documents taken one by one. */
#include "support.h"

#include "lm/gpt.h"
#include "sae/variant.h"

#include <math.h>
#include <saelab/eval.h>
#include <saelab/rng.h>
#include <string.h>

enum { V = 20, C = 12, T = 8, N_IDS = 200, N_DOCS = 7 };

typedef struct lab { sl_ctx *ctx; sl_lm *lm; sl_corpus corpus; int32_t ids[N_IDS]; int64_t doc[N_DOCS + 1]; } lab;

static void start(lab *l)
{
    sl_err err;
    memset(l, 0, sizeof *l);
    l->ctx = sl_test_ctx(2);
    sl_lm_config c = { .n_layer = 2, .n_head = 2, .n_embd = C, .block_size = T, .vocab_size = V, .bias = true, .tie_head = true };
    sl_assert_ok(sl_lm_new(l->ctx, &c, 3, &l->lm, &err));
    for (int i = 0; i < sl_params_count(l->lm->ps); i++) { /* far from its small first weights, so that the stream matters */
        sl_param *p = sl_params_at(l->lm->ps, i);
        if (p->value.n_dim == 2)
            sl_param_normal(l->lm->ps, p, 5, .4);
    }
    sl_rng g = sl_rng_at(1, SL_RNG_TEST, 2, 3);
    for (int i = 0; i < N_IDS; i++)
        l->ids[i] = (int32_t)sl_rng_below(&g, V);
    const int64_t doc[] = { 0, 17, 18, 27, 35, 60, 62, N_IDS }; /* two windows, one token, one window, one short of it, a rest, two tokens */
    memcpy(l->doc, doc, sizeof doc);
    l->corpus = (sl_corpus){ .ids = l->ids, .n = N_IDS, .doc = l->doc, .n_docs = N_DOCS };
}

static void end(lab *l)
{
    sl_lm_free(l->lm);
    sl_ctx_free(l->ctx);
}

static double value(const sl_metrics *m, const char *name)
{
    const sl_metric *v = sl_metrics_get(m, name);
    if (!v || v->is_null)
        fail_msg("%s is %s", name, v ? v->reason : "missing");
    return v->value;
}

/* Mean loss over documents [first, end), windows of exact length one by one, without padding. */
static double plain_loss(lab *l, int64_t first, int64_t last, int64_t *n)
{
    sl_err err;
    sl_tape *t;
    double sum = 0;
    sl_assert_ok(sl_tape_new(l->ctx, SL_F32, &t, &err));
    *n = 0;
    for (int64_t d = first; d < last; d++)
        for (int64_t at = l->doc[d]; at + 1 < l->doc[d + 1]; at += T) {
            int64_t len = l->doc[d + 1] - 1 - at < T ? l->doc[d + 1] - 1 - at : T;
            sl_tensor ids = sl_tensor_of(SL_I32, l->ids + at, 2, (int64_t)1, len), next = sl_tensor_of(SL_I32, l->ids + at + 1, 2, (int64_t)1, len);
            sl_tape_reset(t);
            sum += sl_scalar(t, sl_gpt_loss(t, l->lm, &ids, &next, NULL)) * (double)len;
            *n += len;
            sl_assert_ok(sl_tape_status(t, &err));
        }
    sl_tape_free(t);
    return sum / (double)*n;
}

static void identity_changes_nothing(void **state)
{
    (void)state;
    lab l;
    sl_err err;
    start(&l);
    const char *const hooks[] = { "blocks.0.hook_resid_pre", "blocks.1.hook_resid_pre", "blocks.1.hook_resid_post", "blocks.0.hook_mlp_out" };
    for (int i = 0; i < 4; i++) {
        sl_metrics m = { 0 };
        int64_t n;
        sl_assert_ok(sl_eval_splice(l.ctx, l.lm, NULL, hooks[i], &l.corpus, 0, N_DOCS, 0, &m, &err));
        double plain = plain_loss(&l, 0, N_DOCS, &n);
        assert_int_equal(sl_metrics_get(&m, "ce_orig")->n, n);
        assert_true(fabs(value(&m, "ce_orig") - plain) < 1e-6);
        assert_true(fabs(value(&m, "ce_delta")) <= 1e-5);
        assert_true(fabs(value(&m, "ce_zero") - plain) > 1e-3);
        assert_true(value(&m, "kl_sae") <= 1e-9 && value(&m, "kl_zero") > 1e-3 && fabs(value(&m, "kl_score") - 1) < 1e-6);
        sl_metrics_release(l.ctx, &m);
    }
    end(&l);
}

static sl_var no_stream(void *user, sl_tape *t, sl_var x)
{
    (void)user;
    return sl_scale(t, x, 0);
}

/* KL(original || zeros) over one window, from softmaxes in double. */
static void divergence(void **state)
{
    (void)state;
    lab l;
    sl_err err;
    start(&l);
    sl_tape *t;
    sl_metrics m = { 0 };
    sl_hook_id at;
    double logp[2][T * V], kl = 0;
    sl_tensor ids = sl_tensor_of(SL_I32, l.ids + l.doc[2], 2, (int64_t)1, (int64_t)T);
    sl_assert_ok(sl_hook_parse("blocks.1.hook_resid_pre", sl_lm_cfg(l.lm), &at, &err));
    sl_assert_ok(sl_tape_new(l.ctx, SL_F32, &t, &err));
    for (int zeroed = 0; zeroed < 2; zeroed++) {
        sl_var y = sl_gpt_logits(t, l.lm, sl_gpt_hidden(t, l.lm, &ids, zeroed ? &(sl_gpt_hook){ at, no_stream, NULL } : NULL));
        sl_assert_ok(sl_tape_status(t, &err));
        const float *v = sl_value(t, y)->data;
        for (int i = 0; i < T; i++) {
            double z = 0;
            for (int k = 0; k < V; k++)
                z += exp((double)v[i * V + k]);
            for (int k = 0; k < V; k++)
                logp[zeroed][i * V + k] = (double)v[i * V + k] - log(z);
        }
    }
    for (int i = 0; i < T * V; i++)
        kl += exp(logp[0][i]) * (logp[0][i] - logp[1][i]) / T;
    sl_assert_ok(sl_eval_splice(l.ctx, l.lm, NULL, "blocks.1.hook_resid_pre", &l.corpus, 2, 3, 0, &m, &err));
    assert_true(fabs(value(&m, "kl_zero") - kl) < 1e-5 * (1 + kl));
    sl_tape_free(t);
    sl_metrics_release(l.ctx, &m);
    end(&l);
}

/* z = ReLU((x, -x)), x^ = z+ - z-: a perfect SAE of 2 C latents; then with one direction lost. */
static sl_sae *perfect(sl_ctx *ctx)
{
    sl_err err;
    sl_sae *s;
    sl_assert_ok(sl_sae_new(ctx, "standard", C, 2 * C, NULL, 0, &s, &err));
    float *enc = s->W_enc->value.data, *dec = s->W_dec->value.data;
    memset(enc, 0, 2 * C * C * sizeof *enc);
    for (int j = 0; j < C; j++) {
        enc[j * C + j] = 1;
        enc[(C + j) * C + j] = -1;
    }
    memcpy(dec, enc, 2 * C * C * sizeof *dec);
    sl_param_touch(s->W_enc);
    sl_param_touch(s->W_dec);
    return s;
}

static void perfect_and_damaged(void **state)
{
    (void)state;
    lab l;
    sl_err err;
    start(&l);
    sl_sae *s = perfect(l.ctx);
    sl_metrics m = { 0 };
    sl_assert_ok(sl_eval_splice(l.ctx, l.lm, s, "blocks.1.hook_resid_pre", &l.corpus, 0, N_DOCS, 0, &m, &err));
    assert_true(fabs(value(&m, "ce_delta")) <= 1e-5);
    memset((float *)s->W_dec->value.data, 0, 3 * C * sizeof(float));
    sl_param_touch(s->W_dec);
    sl_assert_ok(sl_eval_splice(l.ctx, l.lm, s, "blocks.1.hook_resid_pre", &l.corpus, 0, N_DOCS, 0, &m, &err));
    double orig = value(&m, "ce_orig"), sae = value(&m, "ce_sae");
    assert_true(fabs(sae - orig) > 1e-3);
    const struct { const char *name; double value; } same[] = {
        { "ce_delta", sae - orig }, { "transformer_loss", orig }, { "transformer_perplexity", exp(orig) }, { "downstream_loss_original", orig },
        { "downstream_loss_reconstructed", sae }, { "downstream_loss_delta_absolute", sae - orig }, { "downstream_loss_delta_percent", 100 * (sae - orig) / orig },
    };
    for (size_t i = 0; i < sizeof same / sizeof *same; i++)
        assert_true(value(&m, same[i].name) == same[i].value);
    assert_true(value(&m, "ce_zero") < orig); /* random text: silence is the better guess, so that a score means nothing */
    assert_true(sl_metrics_get(&m, "ce_loss_score")->is_null);
    sl_metrics_release(l.ctx, &m);
    sl_sae_free(s);
    end(&l);
}

static bool take(void *user, int32_t id)
{
    int32_t **at = user;
    *(*at)++ = id;
    return true;
}

/* On text that the model itself finds likeliest the loss is low, zeros raise it, and the score is defined. */
static void score(void **state)
{
    (void)state;
    lab l;
    sl_err err;
    start(&l);
    int32_t *at = l.ids + 1;
    sl_lm_sample_config greedy;
    sl_opts_default(sl_lm_sample_opts, &greedy);
    greedy.max_new_tokens = T;
    greedy.top_k = 1;
    sl_assert_ok(sl_lm_sample(l.lm, l.ids, 1, &greedy, take, &at, &err));
    sl_sae *s = perfect(l.ctx);
    sl_metrics m = { 0 };
    sl_assert_ok(sl_eval_splice(l.ctx, l.lm, s, "blocks.1.hook_resid_pre", &l.corpus, 0, 1, T, &m, &err));
    assert_true(fabs(value(&m, "ce_loss_score") - 1) < 1e-4);
    memset((float *)s->W_dec->value.data, 0, 3 * C * sizeof(float));
    sl_param_touch(s->W_dec);
    sl_assert_ok(sl_eval_splice(l.ctx, l.lm, s, "blocks.1.hook_resid_pre", &l.corpus, 0, 1, T, &m, &err));
    double orig = value(&m, "ce_orig"), sae = value(&m, "ce_sae"), zeroed = value(&m, "ce_zero");
    assert_true(zeroed > orig && sae > orig);
    assert_true(value(&m, "ce_loss_score") == (zeroed - sae) / (zeroed - orig) && value(&m, "ce_loss_score") < 1);
    sl_metrics_release(l.ctx, &m);
    sl_sae_free(s);
    end(&l);
}

static void ranges(void **state)
{
    (void)state;
    lab l;
    sl_err err;
    start(&l);
    sl_metrics m = { 0 };
    int64_t n;
    double plain = plain_loss(&l, 2, 4, &n);
    sl_assert_ok(sl_eval_splice(l.ctx, l.lm, NULL, "blocks.0.hook_resid_pre", &l.corpus, 2, 4, 0, &m, &err));
    assert_true(fabs(value(&m, "ce_orig") - plain) < 1e-6 && sl_metrics_get(&m, "ce_orig")->n == n);
    sl_assert_ok(sl_eval_splice(l.ctx, l.lm, NULL, "blocks.0.hook_resid_pre", &l.corpus, 0, N_DOCS, 9, &m, &err));
    assert_int_equal(sl_metrics_get(&m, "ce_orig")->n, 16); /* whole windows until 9 tokens are reached */
    sl_assert_fails(sl_eval_splice(l.ctx, l.lm, NULL, "blocks.0.hook_resid_pre", &l.corpus, 1, 2, 0, &m, &err), SL_DATA, "nothing to score");
    sl_assert_fails(sl_eval_splice(l.ctx, l.lm, NULL, "blocks.0.hook_resid_pre", &l.corpus, 0, N_DOCS + 1, 0, &m, &err), SL_ARG, "0 to 8 of 7");
    sl_assert_fails(sl_eval_splice(l.ctx, l.lm, NULL, "blocks.2.hook_resid_pre", &l.corpus, 0, 1, 0, &m, &err), SL_ARG, "blocks.2");
    sl_sae *s;
    sl_assert_ok(sl_sae_new(l.ctx, "standard", C + 1, 4, NULL, 0, &s, &err));
    sl_assert_fails(sl_eval_splice(l.ctx, l.lm, s, "blocks.0.hook_resid_pre", &l.corpus, 0, 1, 0, &m, &err), SL_SHAPE, "d_in 13");
    sl_sae_free(s);
    l.ids[5] = V;
    sl_assert_fails(sl_eval_splice(l.ctx, l.lm, NULL, "blocks.0.hook_resid_pre", &l.corpus, 0, 1, 0, &m, &err), SL_DATA, "");
    sl_metrics_release(l.ctx, &m);
    end(&l);
}

/* A stream that is not finite stops with the SAE's message, and no metric is put. */
static void not_finite(void **state)
{
    (void)state;
    lab l;
    sl_err err;
    start(&l);
    sl_sae *s = perfect(l.ctx);
    ((float *)l.lm->wte->value.data)[l.ids[0] * C] = INFINITY;
    sl_param_touch(l.lm->wte);
    sl_metrics m = { 0 };
    sl_assert_fails(sl_eval_splice(l.ctx, l.lm, s, "blocks.0.hook_resid_pre", &l.corpus, 0, 1, 0, &m, &err), SL_NUMERIC, "row 0, column 0 is inf");
    assert_int_equal(m.n, 0);
    sl_metrics_release(l.ctx, &m);
    sl_sae_free(s);
    end(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(identity_changes_nothing), cmocka_unit_test(divergence), cmocka_unit_test(perfect_and_damaged), cmocka_unit_test(score), cmocka_unit_test(ranges), cmocka_unit_test(not_finite),
    };
    return cmocka_run_group_tests_name("eval_splice", tests, NULL, NULL);
}
