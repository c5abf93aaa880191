/* Steering: a feature's own value changes nothing, 0 ablates, sampling equals the whole window; reading; what is refused. */
#include "fixture.h"
#include "support.h"

#include "lm/gpt.h"

#include <math.h>
#include <saelab/steer.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static sl_err err;

typedef struct rig { sl_ctx *ctx; sl_lm *lm; sl_tok *tok; sl_sae *sae; sl_steer *s; int64_t V; } rig;

static int set_up(void **state)
{
    static rig r;
    char path[600];
    r = (rig){ .ctx = sl_test_ctx(2) };
    const char *dir = sl_test_dir("steer");
    sl_assert_ok(fixture_make(r.ctx, dir, &err));
    snprintf(path, sizeof path, "%s/lm", dir);
    sl_assert_ok(sl_lm_load(r.ctx, path, &r.lm, &r.tok, &err));
    snprintf(path, sizeof path, "%s/sae-a", dir);
    sl_assert_ok(sl_sae_load(r.ctx, path, &r.sae, &err));
    sl_assert_ok(sl_steer_new(r.ctx, r.lm, r.sae, "blocks.1.hook_resid_pre", &r.s, &err));
    r.V = sl_lm_cfg(r.lm)->vocab_size;
    *state = &r;
    return 0;
}

static int tear_down(void **state)
{
    rig *r = *state;
    sl_steer_free(r->s);
    sl_sae_free(r->sae);
    sl_tok_free(r->tok);
    sl_lm_free(r->lm);
    sl_ctx_free(r->ctx);
    return 0;
}

static double most_apart(const float *a, const float *b, int64_t n)
{
    double most = 0;
    for (int64_t i = 0; i < n; i++)
        most = fmax(most, fabs((double)a[i] - (double)b[i]));
    return most;
}

static void own_value(void **state)
{
    rig *r = *state;
    float *plain = calloc((size_t)r->V, sizeof *plain), *held = calloc((size_t)r->V, sizeof *held);
    int tried = 0;
    for (int32_t id = 0; id < r->V; id += 3) { /* windows of one token: its value is the feature's own everywhere */
        sl_reading read;
        sl_assert_ok(sl_steer_logits(r->s, NULL, 0, &id, 1, plain, &err));
        sl_assert_ok(sl_steer_read(r->s, &id, 1, &read, &err));
        int64_t n = read.z.row_ptr[1];
        for (int64_t e = 0; e < n; e++, tried++) {
            sl_clamp c = { read.z.idx[e], (double)read.z.val[e] };
            sl_assert_ok(sl_steer_logits(r->s, &c, 1, &id, 1, held, &err));
            assert_true(most_apart(plain, held, r->V) <= 1e-4);
            c.value *= 3;
            sl_assert_ok(sl_steer_logits(r->s, &c, 1, &id, 1, held, &err));
            assert_true(most_apart(plain, held, r->V) > 1e-4);
            sl_assert_ok(sl_steer_read(r->s, &id, 1, &read, &err));
        }
    }
    assert_true(tried > 10);
    free(plain);
    free(held);
}

/* Takes z_j W_dec_j out of the stream. */
typedef struct ablation { const sl_reading *read; const float *row; int64_t feature, C; float *x; } ablation;

static sl_var take_out(void *user, sl_tape *t, sl_var x)
{
    ablation *a = user;
    sl_tensor with = *sl_value(t, x);
    memcpy(a->x, with.data, sl_nbytes(&with));
    for (int64_t r = 0; r < sl_rows(&with); r++)
        for (int64_t e = a->read->z.row_ptr[r]; e < a->read->z.row_ptr[r + 1]; e++)
            for (int64_t i = 0; i < a->C && a->read->z.idx[e] == a->feature; i++)
                a->x[r * a->C + i] -= a->read->z.val[e] * a->row[i];
    with.data = a->x;
    return sl_replace(t, x, sl_const(t, &with));
}

static void zero_ablates(void **state)
{
    rig *r = *state;
    enum { N = 24 };
    static const char text[] = "the old king went down to";
    int32_t *ids;
    int64_t n;
    sl_reading read;
    sl_tensor W;
    float *held = calloc((size_t)(N * r->V), sizeof *held), *plain = calloc((size_t)(N * r->V), sizeof *plain), x[N * FIXTURE_WIDTH];
    sl_assert_ok(sl_tok_encode(r->tok, text, N, &ids, &n, &err));
    assert_int_equal(n, N);
    sl_assert_ok(sl_steer_logits(r->s, NULL, 0, ids, N, plain, &err));
    sl_assert_ok(sl_sae_weight(r->sae, "W_dec", &W, &err));
    sl_assert_ok(sl_steer_read(r->s, ids, N, &read, &err));
    int64_t j = read.z.idx[read.z.row_ptr[10]];
    ablation a = { &read, (const float *)W.data + j * FIXTURE_WIDTH, j, FIXTURE_WIDTH, x };
    sl_tensor in = sl_tensor_of(SL_I32, ids, 2, (int64_t)1, (int64_t)N);
    sl_gpt_hook hook = { { .layer = 1, .site = SL_HOOK_RESID_PRE }, take_out, &a };
    sl_tape_reset(r->lm->tape);
    sl_var l = sl_gpt_logits(r->lm->tape, r->lm, sl_gpt_hidden(r->lm->tape, r->lm, &in, &hook));
    sl_assert_ok(sl_tape_status(r->lm->tape, &err));
    float *expected = calloc((size_t)(N * r->V), sizeof *expected);
    memcpy(expected, sl_value(r->lm->tape, l)->data, (size_t)(N * r->V) * sizeof *expected);
    sl_assert_ok(sl_steer_logits(r->s, &(sl_clamp){ j, 0 }, 1, ids, N, held, &err));
    assert_true(most_apart(held, expected, N * r->V) <= 1e-4);
    assert_true(most_apart(held, plain, N * r->V) > 1e-3);
    free(expected);
    free(held);
    free(plain);
    sl_free(r->ctx, ids);
}

typedef struct taken { int32_t id[64]; int n; } taken;

static bool take(void *user, int32_t id)
{
    taken *t = user;
    t->id[t->n++] = id;
    return true;
}

/* The most probable token, again and again, from whole windows. */
static void sampling(void **state)
{
    rig *r = *state;
    enum { N = 12 };
    const sl_clamp c[] = { { 7, 30 }, { 3, 40 } };
    taken steered = { .n = 0 }, plain = { .n = 0 };
    int32_t ids[FIXTURE_BLOCK] = { 5, 9, 2 };
    sl_lm_sample_config o;
    float *logits = calloc((size_t)(FIXTURE_BLOCK * r->V), sizeof *logits);
    sl_opts_default(sl_lm_sample_opts, &o);
    o.temperature = 0;
    o.max_new_tokens = N;
    sl_assert_ok(sl_steer_sample(r->s, c, 2, ids, 3, &o, take, &steered, &err));
    sl_assert_ok(sl_steer_sample(r->s, NULL, 0, ids, 3, &o, take, &plain, &err));
    assert_int_equal(steered.n, N);
    for (int i = 0; i < N; i++) {
        sl_assert_ok(sl_steer_logits(r->s, c, 2, ids, 3 + i, logits, &err));
        const float *last = logits + (2 + i) * r->V;
        int32_t best = 0;
        for (int32_t v = 1; v < r->V; v++)
            best = last[v] > last[best] ? v : best;
        assert_int_equal(steered.id[i], best);
        ids[3 + i] = best;
    }
    assert_memory_not_equal(steered.id, plain.id, N * sizeof(int32_t));
    taken twice = { .n = 0 };
    sl_assert_ok(sl_lm_sample(r->lm, (int32_t[]){ 5, 9, 2 }, 3, &o, take, &twice, &err));
    assert_memory_equal(plain.id, twice.id, N * sizeof(int32_t));
    free(logits);
}

/* An edit at each site equals the same edit on the tape. */
static sl_status shift_rows(void *user, float *x, int64_t n, sl_err *e)
{
    (void)e;
    for (int64_t i = 0; i < n * FIXTURE_WIDTH; i++)
        x[i] += *(float *)user * (float)(i % FIXTURE_WIDTH % 5 - 2);
    return SL_OK;
}

static sl_var shift_tape(void *user, sl_tape *t, sl_var x)
{
    static float data[FIXTURE_BLOCK * FIXTURE_WIDTH];
    sl_tensor with = *sl_value(t, x);
    memcpy(data, with.data, sl_nbytes(&with));
    assert_int_equal(shift_rows(user, data, sl_rows(&with), NULL), SL_OK);
    with.data = data;
    return sl_replace(t, x, sl_const(t, &with));
}

static void edits_at_every_site(void **state)
{
    rig *r = *state;
    static const char *const hooks[] = { "blocks.0.hook_resid_pre", "blocks.0.hook_mlp_out", "blocks.1.hook_resid_post" };
    float by = .7f;
    sl_lm_sample_config o;
    sl_opts_default(sl_lm_sample_opts, &o);
    o.temperature = 0;
    o.max_new_tokens = 6;
    for (int h = 0; h < 3; h++) {
        taken got = { .n = 0 };
        int32_t ids[16] = { 4, 8, 1 };
        sl_lm_edit edit = { .fn = shift_rows, .user = &by };
        sl_assert_ok(sl_hook_parse(hooks[h], sl_lm_cfg(r->lm), &edit.at, &err));
        sl_assert_ok(sl_lm_sample_edited(r->lm, ids, 3, &o, &edit, take, &got, &err));
        for (int i = 0; i < 6; i++) {
            sl_tensor in = sl_tensor_of(SL_I32, ids, 2, (int64_t)1, (int64_t)(3 + i));
            sl_gpt_hook hook = { edit.at, shift_tape, &by };
            sl_tape_reset(r->lm->tape);
            sl_var l = sl_gpt_logits(r->lm->tape, r->lm, sl_gpt_hidden(r->lm->tape, r->lm, &in, &hook));
            sl_assert_ok(sl_tape_status(r->lm->tape, &err));
            const float *last = (const float *)sl_value(r->lm->tape, l)->data + (2 + i) * r->V;
            int32_t best = 0;
            for (int32_t v = 1; v < r->V; v++)
                best = last[v] > last[best] ? v : best;
            assert_int_equal(got.id[i], best);
            ids[3 + i] = best;
        }
    }
}

static void reading(void **state)
{
    rig *r = *state;
    int32_t *ids;
    int64_t n;
    double sum = 0, whole;
    sl_reading read;
    sl_assert_ok(sl_tok_encode(r->tok, "the mill, asked the boy at the ga", 33, &ids, &n, &err));
    assert_int_equal(n, FIXTURE_BLOCK + 1);
    sl_assert_ok(sl_lm_eval(r->lm, ids, n, &whole, NULL, &err));
    sl_assert_ok(sl_steer_read(r->s, ids, FIXTURE_BLOCK, &read, &err));
    assert_true(isnan(read.loss[0]));
    for (int i = 1; i < FIXTURE_BLOCK; i++)
        sum += (double)read.loss[i];
    /* the evaluation scores one token more: it lies within what that one can add */
    assert_true(sum <= whole * FIXTURE_BLOCK + 1e-3 && sum > whole * FIXTURE_BLOCK - 20);
    float pre[FIXTURE_BLOCK], need[FIXTURE_BLOCK];
    for (int64_t row = 0; row < FIXTURE_BLOCK; row++)
        assert_true(read.z.row_ptr[row + 1] - read.z.row_ptr[row] <= FIXTURE_K);
    for (int64_t j = 0; j < FIXTURE_FEATURES; j += 5) {
        sl_assert_ok(sl_steer_why(r->s, j, pre, need, &err));
        for (int64_t row = 0; row < FIXTURE_BLOCK; row++) {
            double z = 0;
            for (int64_t e = read.z.row_ptr[row]; e < read.z.row_ptr[row + 1]; e++)
                z = read.z.idx[e] == j ? (double)read.z.val[e] : z;
            if (z > 0)
                assert_float_equal(pre[row], z, 1e-4);
            else
                assert_true((double)pre[row] <= (double)need[row] + 1e-4);
        }
    }
    sl_free(r->ctx, ids);
}

static void refusals(void **state)
{
    rig *r = *state;
    sl_steer *s;
    sl_reading read;
    int32_t id = 1, bad = 10000, many[FIXTURE_BLOCK + 1] = { 0 };
    float *l = calloc((size_t)(FIXTURE_BLOCK * r->V), sizeof *l), v[2];
    sl_clamp lots[SL_STEER_CLAMPS + 1] = { { 0 } };
    sl_assert_fails(sl_steer_new(r->ctx, r->lm, r->sae, "blocks.9.hook_resid_pre", &s, &err), SL_ARG, "blocks");
    sl_assert_fails(sl_steer_logits(r->s, &(sl_clamp){ FIXTURE_FEATURES, 1 }, 1, &id, 1, l, &err), SL_ARG, "no feature 96");
    sl_assert_fails(sl_steer_logits(r->s, &(sl_clamp){ 1, -1 }, 1, &id, 1, l, &err), SL_ARG, "cannot be held at -1");
    sl_assert_fails(sl_steer_logits(r->s, &(sl_clamp){ 1, NAN }, 1, &id, 1, l, &err), SL_ARG, "cannot be held");
    sl_assert_fails(sl_steer_logits(r->s, (sl_clamp[]){ { 1, 2 }, { 1, 3 } }, 2, &id, 1, l, &err), SL_ARG, "named twice");
    sl_assert_fails(sl_steer_logits(r->s, lots, SL_STEER_CLAMPS + 1, &id, 1, l, &err), SL_ARG, "too many");
    sl_assert_fails(sl_steer_logits(r->s, NULL, 0, &bad, 1, l, &err), SL_DATA, "");
    sl_assert_fails(sl_steer_logits(r->s, NULL, 0, many, FIXTURE_BLOCK + 1, l, &err), SL_ARG, "33 tokens");
    sl_assert_fails(sl_steer_logits(r->s, NULL, 0, many, 0, l, &err), SL_ARG, "0 tokens");
    sl_assert_ok(sl_steer_read(r->s, &id, 1, &read, &err));
    sl_assert_fails(sl_steer_why(r->s, -1, v, v + 1, &err), SL_ARG, "no feature");
    sl_sae *wide, *gated;
    sl_assert_ok(sl_sae_new(r->ctx, "topk", 8, 64, NULL, 1, &wide, &err));
    sl_assert_fails(sl_steer_new(r->ctx, r->lm, wide, "blocks.1.hook_resid_pre", &s, &err), SL_SHAPE, "d_in 8");
    sl_sae_free(wide);
    sl_assert_ok(sl_sae_new(r->ctx, "transcoder", FIXTURE_WIDTH, 64, NULL, 1, &gated, &err));
    sl_assert_fails(sl_steer_new(r->ctx, r->lm, gated, "blocks.1.hook_resid_pre", &s, &err), SL_UNAVAILABLE, "transcoder");
    sl_sae_free(gated);
    free(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(own_value), cmocka_unit_test(zero_ablates),        cmocka_unit_test(sampling),
                                        cmocka_unit_test(reading),   cmocka_unit_test(edits_at_every_site), cmocka_unit_test(refusals) };
    return cmocka_run_group_tests_name("steer", tests, set_up, tear_down);
}
