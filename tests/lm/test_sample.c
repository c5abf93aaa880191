/* Sampling: the cache gives what full recomputation gives; the window slides; draws follow temperature, top-k and seed. */
#include "fixture.h"

#include <math.h>
#include <string.h>

enum { T = 8, V = 11 };

typedef struct text { int32_t ids[4096]; int64_t n, stop; } text;

static bool take(void *user, int32_t id)
{
    text *t = user;
    assert_true(id >= 0 && id < V);
    t->ids[t->n++] = id;
    return t->n != t->stop;
}

static text sampled(sl_lm *m, const int32_t *prompt, int64_t n, const sl_lm_sample_config *c)
{
    text t = { .n = 0 };
    sl_err err;
    sl_assert_ok(sl_lm_sample(m, prompt, n, c, take, &t, &err));
    return t;
}

/* Greedy continuation by running the whole window anew for each token; past block_size as the header says. */
static text recomputed(sl_lm *m, const int32_t *prompt, int64_t n_prompt, int64_t n_new)
{
    int32_t window[T];
    int64_t n = n_prompt < T ? n_prompt : T;
    memcpy(window, prompt + n_prompt - n, (size_t)n * sizeof *window);
    text t = { .n = 0 };
    while (t.n < n_new) {
        float *logits = logits_of(m, window, 1, n, NULL), *last = logits + (n - 1) * V;
        int best = 0;
        for (int v = 1; v < V; v++)
            best = last[v] > last[best] ? v : best;
        sl_free(m->ctx, logits);
        t.ids[t.n++] = best;
        if (n == T) {
            memmove(window, window + T - (T / 2 - 1), (T / 2 - 1) * sizeof *window);
            n = T / 2 - 1;
        }
        window[n++] = best;
    }
    return t;
}

static void cache_is_full_recomputation(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(2);
    const int32_t prompt[12] = { 1, 5, 2, 9, 9, 0, 10, 3, 4, 4, 7, 1 };
    for (int i = 0; i < 4; i++) {
        sl_lm_config c = tiny_config(i & 1, i & 2);
        sl_lm *m = tiny_model(ctx, &c, SL_F32, 3);
        shake(m, (uint64_t)(4 + i), .4);
        for (int64_t n = 1; n <= 12; n++) { /* shorter than, equal to and longer than the window */
            sl_lm_sample_config s = { .max_new_tokens = 30 };
            text want = recomputed(m, prompt, n, 30), got = sampled(m, prompt, n, &s);
            assert_int_equal(got.n, 30);
            assert_memory_equal(got.ids, want.ids, 30 * sizeof *got.ids);
        }
        sl_lm_free(m);
    }
    sl_ctx_free(ctx);
}

/* A model whose logits are ln(v + 1) whatever the context: head rows along a constant hidden state. */
static sl_lm *known_model(sl_ctx *ctx)
{
    sl_lm_config c = tiny_config(true, false);
    c.tie_head = false;
    sl_lm *m = tiny_model(ctx, &c, SL_F32, 3);
    memset(m->ln_f_w->value.data, 0, sl_nbytes(&m->ln_f_w->value));
    memset(m->head->value.data, 0, sl_nbytes(&m->head->value));
    ((float *)m->ln_f_b->value.data)[0] = 1; /* hidden = (1, 0, ...) */
    for (int v = 0; v < V; v++)
        ((float *)m->head->value.data)[v * 16] = logf((float)(v + 1));
    sl_param_touch(m->ln_f_w);
    sl_param_touch(m->ln_f_b);
    sl_param_touch(m->head);
    return m;
}

static void draws_follow_the_distribution(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    sl_lm *m = known_model(ctx);
    const struct { double temperature; int64_t top_k; } cases[] = { { 1, 0 }, { 1, 3 }, { .5, 0 }, { 2, 5 }, { 1, 11 }, { 1, 1 } };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sl_lm_sample_config s = { .max_new_tokens = 4000, .top_k = cases[i].top_k, .seed = 5, .temperature = cases[i].temperature };
        text t = sampled(m, NULL, 0, &s);
        double p[V], total = 0, seen[V] = { 0 };
        int64_t first = s.top_k ? V - s.top_k : 0;
        for (int v = 0; v < V; v++)
            total += p[v] = v < first ? 0 : pow(v + 1, 1 / s.temperature);
        for (int64_t j = 0; j < t.n; j++)
            seen[t.ids[j]] += 1. / (double)t.n;
        for (int v = 0; v < V; v++) { /* five standard errors */
            double want = p[v] / total, tol = 1e-9 + 5 * sqrt(want * (1 - want) / 4000);
            if (fabs(seen[v] - want) > tol)
                fail_msg("case %d, token %d: frequency %g, probability %g", (int)i, v, seen[v], want);
        }
    }
    sl_lm_free(m);
    sl_ctx_free(ctx);
}

static void seeds_and_threads(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1), *two = sl_test_ctx(2);
    sl_lm_config c = tiny_config(true, false);
    sl_lm *m = tiny_model(ctx, &c, SL_F32, 3), *n = tiny_model(two, &c, SL_F32, 3);
    sl_lm_sample_config s = { .max_new_tokens = 100, .seed = 5, .temperature = 1 };
    const int32_t prompt[] = { 3, 1 };
    text a = sampled(m, prompt, 2, &s), b = sampled(n, prompt, 2, &s);
    assert_memory_equal(a.ids, b.ids, 100 * sizeof *a.ids);
    s.seed = 6;
    b = sampled(m, prompt, 2, &s);
    assert_memory_not_equal(a.ids, b.ids, 100 * sizeof *a.ids);
    sl_lm_free(m);
    sl_lm_free(n);
    sl_ctx_free(ctx);
    sl_ctx_free(two);
}

/* bf16 weights: the same text as a model whose matrices were rounded to bf16, once past the prompt. */
static void bf16_is_rounded_weights(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(2);
    sl_lm_config c = tiny_config(true, false);
    sl_lm *m = tiny_model(ctx, &c, SL_F32, 3);
    shake(m, 4, .4);
    const int32_t prompt[] = { 3 };
    sl_lm_sample_config s = { .max_new_tokens = 7, .weights = SL_LM_WEIGHTS_BF16 }; /* one-token prompt, no slide: all by gemv */
    text a = sampled(m, prompt, 1, &s);
    s.weights = SL_LM_WEIGHTS_F32;
    for (int i = 0; i < sl_params_count(m->ps); i++) {
        sl_param *p = sl_params_at(m->ps, i);
        if (!strstr(p->name, "wpe") && p->value.n_dim == 2 && p != m->wte)
            for (int64_t j = 0; j < sl_numel(&p->value); j++)
                ((float *)p->value.data)[j] = sl_bf16_to_f32(sl_f32_to_bf16(((float *)p->value.data)[j]));
        sl_param_touch(p);
    }
    text b = sampled(m, prompt, 1, &s);
    assert_memory_equal(a.ids, b.ids, 7 * sizeof *a.ids);
    sl_lm_free(m);
    sl_ctx_free(ctx);
}

static void stops_and_errors(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    sl_err err;
    sl_lm_config c = tiny_config(true, false);
    sl_lm *m = tiny_model(ctx, &c, SL_F32, 3);
    text t = { .stop = 4 };
    sl_lm_sample_config s = { .max_new_tokens = 100, .temperature = 1 };
    sl_assert_ok(sl_lm_sample(m, NULL, 0, &s, take, &t, &err));
    assert_int_equal(t.n, 4); /* the callback ended it */
    s.max_new_tokens = 0;
    assert_int_equal(sampled(m, NULL, 0, &s).n, 0);
    const int32_t bad[] = { 1, 11 };
    sl_assert_fails(sl_lm_sample(m, bad, 2, &s, take, &t, &err), SL_DATA, "token 1: id 11 of 11");
    s.max_new_tokens = 9;
    ((float *)m->ln_f_w->value.data)[2] = NAN;
    sl_param_touch(m->ln_f_w);
    sl_assert_fails(sl_lm_sample(m, NULL, 0, &s, take, &t, &err), SL_NUMERIC, "logits of new token 0");
    ((float *)m->ln_f_w->value.data)[2] = 1;
    sl_param_touch(m->ln_f_w);
    sl_cancel(ctx, 2);
    sl_assert_fails(sl_lm_sample(m, NULL, 0, &s, take, &t, &err), SL_CANCELLED, "after 1 tokens");
    sl_lm_free(m);
    sl_ctx_free(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(cache_is_full_recomputation), cmocka_unit_test(draws_follow_the_distribution),
                                        cmocka_unit_test(seeds_and_threads), cmocka_unit_test(bf16_is_rounded_weights), cmocka_unit_test(stops_and_errors) };
    return cmocka_run_group_tests_name("lm_sample", tests, NULL, NULL);
}
