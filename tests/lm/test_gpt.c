/* The model: shapes, leaks, hooks, gradients. */
#include "fixture.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { B = 3, T = 8, V = 11, C = 16 };

static void some_ids(int32_t *ids, int64_t n)
{
    sl_rng r = sl_rng_at(5, SL_RNG_TEST, 2, 0);
    for (int64_t i = 0; i < n; i++)
        ids[i] = (int32_t)sl_rng_below(&r, V);
}

/* Every variant is run by these two. */
static void later_tokens_do_not_leak(sl_ctx *ctx, const sl_lm_config *c)
{
    sl_lm *m = tiny_model(ctx, c, SL_F32, 3);
    shake(m, 4, .2);
    int32_t ids[B * T];
    some_ids(ids, B * T);
    float *before = logits_of(m, ids, B, T, NULL);
    for (int t = 0; t + 1 < T; t++) {
        int32_t kept = ids[T + t + 1];
        ids[T + t + 1] = (kept + 1) % V;
        float *after = logits_of(m, ids, B, T, NULL);
        sl_assert_same_bits("sequence 0", after, before, sizeof(float) * T * V);
        sl_assert_same_bits("positions up to t", after + T * V, before + T * V, sizeof(float) * (size_t)((t + 1) * V));
        assert_memory_not_equal(after + (T + t + 1) * V, before + (T + t + 1) * V, sizeof(float) * V);
        ids[T + t + 1] = kept;
        sl_free(ctx, after);
    }
    sl_free(ctx, before);
    sl_lm_free(m);
}

static void causal(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(2);
    for (int i = 0; i < 4; i++) {
        sl_lm_config c = tiny_config(i & 1, i & 2);
        later_tokens_do_not_leak(ctx, &c);
    }
    sl_ctx_free(ctx);
}

typedef struct splice { float *copy; double factor; int calls; } splice;

/* Replaces the stream by a copy of itself times a factor. */
static sl_var splice_fn(void *user, sl_tape *t, sl_var x)
{
    splice *s = user;
    const sl_tensor *v = sl_value(t, x);
    s->calls++;
    assert_int_equal(v->dim[2], C);
    float *copy = sl_tape_scratch(t, sl_nbytes(v));
    for (int64_t i = 0; i < sl_numel(v); i++)
        copy[i] = (float)s->factor * ((float *)v->data)[i];
    sl_tensor y = *v;
    y.data = copy;
    return sl_replace(t, x, sl_const(t, &y));
}

static void splicing_itself_changes_nothing(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(2);
    sl_lm_config c = tiny_config(true, false);
    sl_lm *m = tiny_model(ctx, &c, SL_F32, 3);
    shake(m, 4, .2);
    int32_t ids[B * T];
    some_ids(ids, B * T);
    float *plain = logits_of(m, ids, B, T, NULL);
    const char *sites[] = { "resid_pre", "resid_post", "mlp_out" };
    for (int layer = 0; layer < 2; layer++)
        for (int site = 0; site < 3; site++) {
            char name[64];
            sl_err err;
            splice s = { .factor = 1 };
            sl_gpt_hook h = { .fn = splice_fn, .user = &s };
            snprintf(name, sizeof name, "blocks.%d.hook_%s", layer, sites[site]);
            sl_assert_ok(sl_hook_parse(name, &c, &h.at, &err));
            float *same = logits_of(m, ids, B, T, &h);
            sl_assert_close_f32(name, same, plain, B * T * V, 1e-5, 0); /* the bound */
            s.factor = -1; /* a scale alone would vanish in the last norm */
            float *other = logits_of(m, ids, B, T, &h);
            assert_int_equal(s.calls, 2);
            double most = 0;
            for (int i = 0; i < B * T * V; i++)
                most = fmax(most, fabs((double)(other[i] - plain[i])));
            assert_true(most > 1e-3); /* the hook is really in the path */
            sl_free(ctx, same);
            sl_free(ctx, other);
        }
    sl_free(ctx, plain);
    sl_lm_free(m);
    sl_ctx_free(ctx);
}

/* resid_pre of block L is its input: with block L's branches at zero, replacing before equals replacing after. */
static void resid_pre_comes_before_the_block(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    sl_lm_config c = tiny_config(false, false);
    sl_lm *m = tiny_model(ctx, &c, SL_F32, 3);
    shake(m, 4, .2);
    int32_t ids[B * T];
    some_ids(ids, B * T);
    splice zero = { .factor = 0 };
    sl_gpt_hook pre = { { 1, SL_HOOK_RESID_PRE }, splice_fn, &zero }, post = { { 0, SL_HOOK_RESID_POST }, splice_fn, &zero };
    sl_gpt_hook last = { { 1, SL_HOOK_RESID_POST }, splice_fn, &zero };
    float *a = logits_of(m, ids, B, T, &pre), *b = logits_of(m, ids, B, T, &post), *z = logits_of(m, ids, B, T, &last);
    sl_assert_same_bits("input of block 1 = output of block 0", a, b, sizeof(float) * B * T * V);
    for (int i = 0; i < B * T * V; i++)
        assert_true(z[i] == 0); /* layernorm of zero without bias, times the head */
    sl_free(ctx, a);
    sl_free(ctx, b);
    sl_free(ctx, z);
    sl_lm_free(m);
    sl_ctx_free(ctx);
}

/* sl_gpt_site gives what a reading hook sees in the whole pass. */
static sl_var read_fn(void *user, sl_tape *t, sl_var x)
{
    memcpy(((splice *)user)->copy, sl_value(t, x)->data, sl_nbytes(sl_value(t, x)));
    return x;
}

static void site_is_what_the_hook_sees(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(2);
    sl_lm_config c = tiny_config(true, false);
    sl_lm *m = tiny_model(ctx, &c, SL_F32, 3);
    int32_t ids[B * T];
    some_ids(ids, B * T);
    sl_tensor x = sl_tensor_of(SL_I32, ids, 2, (int64_t)B, (int64_t)T);
    float seen[B * T * C];
    for (int layer = 0; layer < 2; layer++)
        for (int site = SL_HOOK_RESID_PRE; site <= SL_HOOK_MLP_OUT; site++) {
            splice s = { .copy = seen };
            sl_gpt_hook h = { .fn = read_fn, .user = &s };
            h.at.layer = layer;
            h.at.site = site == 0 ? SL_HOOK_RESID_PRE : site == 1 ? SL_HOOK_RESID_POST : SL_HOOK_MLP_OUT;
            sl_free(ctx, logits_of(m, ids, B, T, &h));
            sl_tape_reset(m->tape);
            const sl_tensor *v = sl_value(m->tape, sl_gpt_site(m->tape, m, &x, h.at));
            assert_non_null(v);
            sl_assert_same_bits("site", v->data, seen, sizeof seen);
        }
    sl_lm_free(m);
    sl_ctx_free(ctx);
}

typedef struct built { sl_lm *m; sl_tensor x, y; } built;

static sl_var build_loss(sl_tape *t, void *user)
{
    built *b = user;
    return sl_gpt_loss(t, b->m, &b->x, &b->y, NULL);
}

static void gradients_of_the_whole_model(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    for (int i = 0; i < 4; i++) {
        sl_lm_config c = tiny_config(i & 1, i & 2);
        sl_lm *m = tiny_model(ctx, &c, SL_F64, 3);
        shake(m, 4, .3);
        int32_t ids[2 * B * T];
        some_ids(ids, 2 * B * T);
        ids[B * T + 3] = -1; /* a target that is not scored */
        built b = { m, sl_tensor_of(SL_I32, ids, 2, (int64_t)B, (int64_t)T), sl_tensor_of(SL_I32, ids + B * T, 2, (int64_t)B, (int64_t)T) };
        sl_err err;
        sl_gradcheck g;
        sl_assert_ok(sl_params_check(ctx, m->ps, build_loss, &b, 23, &g, &err));
        if (!(g.max_rel_err < 1e-6) || g.n_checked < 250)
            fail_msg("variant %d: relative error %g at %s, %d checked", i, g.max_rel_err, g.worst, g.n_checked);
        sl_lm_free(m);
    }
    sl_ctx_free(ctx);
}

static void start_is_gpt2s(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(2);
    sl_lm_config c = { .n_layer = 8, .n_head = 4, .n_embd = 64, .block_size = 32, .vocab_size = 100, .bias = true, .tie_head = true };
    sl_lm *m = tiny_model(ctx, &c, SL_F32, 3);
    const struct { const char *name; double mean, std; } want[] = {
        { "transformer.wte.weight", 0, .02 }, { "transformer.wpe.weight", 0, .02 }, { "transformer.h.7.attn.c_attn.weight", 0, .02 },
        { "transformer.h.7.attn.c_proj.weight", 0, .005 }, { "transformer.h.0.mlp.c_fc.weight", 0, .02 },
        { "transformer.h.0.mlp.c_proj.weight", 0, .005 }, { "transformer.h.3.mlp.c_fc.bias", 0, 0 }, { "transformer.h.3.ln_2.weight", 1, 0 },
        { "transformer.ln_f.bias", 0, 0 } };
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        const sl_param *p = sl_params_find(m->ps, want[i].name);
        assert_non_null(p);
        int64_t n = sl_numel(&p->value);
        double s = 0, q = 0;
        for (int64_t j = 0; j < n; j++) {
            double v = (double)((float *)p->value.data)[j];
            s += v / (double)n;
            q += (v - want[i].mean) * (v - want[i].mean) / (double)n;
        }
        double tol = 5 * want[i].std / sqrt((double)n); /* five standard errors */
        if (fabs(s - want[i].mean) > tol || fabs(sqrt(q) - want[i].std) > tol)
            fail_msg("%s: mean %g std %g, want %g %g", want[i].name, s, sqrt(q), want[i].mean, want[i].std);
    }
    /* wte 6400 + wpe 2048 + 8 blocks of 12 C^2 + 13 C + ln_f 2 C */
    assert_int_equal(sl_lm_n_params(m, true), 6400 + 2048 + 8 * (12 * 64 * 64 + 13 * 64) + 128);
    assert_int_equal(sl_lm_n_params(m, false), sl_lm_n_params(m, true) - 2048);
    sl_lm_free(m);
    sl_ctx_free(ctx);
}

static void bad_configurations(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    sl_err err;
    sl_lm *m;
    sl_lm_config c = tiny_config(true, false);
    c.n_head = 3;
    sl_assert_fails(sl_lm_new(ctx, &c, 0, &m, &err), SL_CONFIG, "a multiple of n_head");
    c = tiny_config(true, true);
    c.n_head = 16;
    sl_assert_fails(sl_lm_new(ctx, &c, 0, &m, &err), SL_CONFIG, "even head size");
    c = tiny_config(true, false);
    c.vocab_size = 0;
    sl_assert_fails(sl_lm_new(ctx, &c, 0, &m, &err), SL_CONFIG, "vocab_size");
    c = tiny_config(true, false);
    c.dropout = 1;
    sl_assert_fails(sl_lm_new(ctx, &c, 0, &m, &err), SL_CONFIG, "dropout");
    c = tiny_config(true, false);
    c.n_layer = 0;
    sl_assert_fails(sl_lm_new(ctx, &c, 0, &m, &err), SL_CONFIG, "n_layer");
    c = tiny_config(true, false);
    c.block_size = 0;
    sl_assert_fails(sl_lm_new(ctx, &c, 0, &m, &err), SL_CONFIG, "block_size");
    sl_ctx_free(ctx);
}

static void hook_names(void **state)
{
    (void)state;
    sl_err err;
    sl_hook_id id;
    sl_lm_config c = { .n_layer = 12 };
    sl_assert_ok(sl_hook_parse("blocks.11.hook_resid_post", &c, &id, &err));
    assert_int_equal(id.layer, 11);
    assert_int_equal(id.site, SL_HOOK_RESID_POST);
    sl_assert_ok(sl_hook_parse("blocks.0.hook_mlp_out", &c, &id, &err));
    assert_int_equal(id.site, SL_HOOK_MLP_OUT);
    const char *bad[] = { "", "blocks", "blocks.12.hook_resid_pre", "blocks.-1.hook_resid_pre", "blocks.1.hook_resid_pre ", "blocks.01.hook_resid_pre",
                          "blocks.1.hook_q", "block.1.hook_resid_pre", "blocks.x.hook_resid_pre", "blocks.99999999999.hook_resid_pre" };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        sl_assert_fails(sl_hook_parse(bad[i], &c, &id, &err), SL_ARG, "L from 0 to 11");
}

/* A failed allocation anywhere in the constructor is SL_MEM and leaks nothing (AddressSanitizer sees to that). */
static void construction_without_memory(void **state)
{
    (void)state;
    sl_lm_config c = tiny_config(true, false);
    int failures = 0;
    for (int64_t n = 1; n < 200; n++) {
        sl_ctx *ctx = sl_ctx_new(&(sl_ctx_opts){ .n_threads = 1, .fail_alloc_at = n });
        sl_err err;
        sl_lm *m = NULL;
        sl_status st = sl_lm_new(ctx, &c, 0, &m, &err);
        assert_true(st == SL_MEM || (st == SL_OK && m));
        failures += st == SL_MEM;
        sl_lm_free(m);
        sl_ctx_free(ctx);
    }
    assert_true(failures > 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(causal), cmocka_unit_test(splicing_itself_changes_nothing), cmocka_unit_test(resid_pre_comes_before_the_block),
        cmocka_unit_test(site_is_what_the_hook_sees), cmocka_unit_test(gradients_of_the_whole_model), cmocka_unit_test(start_is_gpt2s),
        cmocka_unit_test(bad_configurations), cmocka_unit_test(hook_names), cmocka_unit_test(construction_without_memory) };
    return cmocka_run_group_tests_name("lm_gpt", tests, NULL, NULL);
}
