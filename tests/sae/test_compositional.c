/* Acceptance of the compositional variant (science.md I.3, I.11, I.12): formulas by the book, gradients of every tensor, nothing composed from
 * one latent, no order among tokens, a TopK SAE where rho is 0; and the reader of <saelab/compose.h>. */
#include "composed.h"
#include "loss.h"
#include "support.h"

#include <saelab/compose.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

static float *some_rows(void)
{
    static float x[CROWS * CD];
    sl_rng g = sl_rng_at(5, SL_RNG_TEST, 71, 0);
    for (int i = 0; i < CROWS * CD; i++)
        x[i] = (float)sl_rng_normal(&g);
    return x;
}

static void encoded(sl_ctx *ctx, sl_sae *s, const float *x, sl_codes *z, float xhat[CROWS * CD])
{
    sl_err err;
    sl_assert_ok(sl_codes_new(ctx, CROWS, sl_sae_about(s).max_active, z, &err));
    sl_assert_ok(sl_sae_encode(s, x, CROWS, z, xhat, &err));
}

/* ---- formulas ---- */

static void formulas(void **state)
{
    (void)state;
    const float *x = some_rows();
    for (const arm *a = arms; a->label; a++) {
        sl_ctx *ctx = sl_test_ctx(1);
        sl_sae *s = composed_sae(ctx, a, SL_F32);
        sl_codes z;
        float xhat[CROWS * CD], expected[CROWS * CD];
        int of_size[CK + 1] = { 0 }, composing = 0;
        encoded(ctx, s, x, &z, xhat);
        for (int r = 0; r < CROWS; r++) {
            composed c;
            compose_by_the_book(s, &z, r, x + r * CD, &c);
            of_size[c.n]++;
            for (int d = 0; d < CD; d++) {
                expected[r * CD + d] = (float)c.xhat[d];
                composing += d == 0 && fabs(c.branch[d]) > 1e-3;
            }
        }
        if (!of_size[0] || !of_size[1] || !of_size[2] || !of_size[CK] || composing < 3)
            fail_msg("%s: %d rows without a token, %d of one, %d of two, %d of the most; %d compose", a->label, of_size[0], of_size[1], of_size[2], of_size[CK], composing);
        sl_assert_close_f32(a->label, xhat, expected, CROWS * CD, 2e-4, 2e-4);
        sl_codes_release(ctx, &z);
        sl_sae_free(s);
        sl_ctx_free(ctx);
    }
}

/* ---- gradients (I.3) ---- */

enum { GROWS = 4 };
typedef struct problem { sl_sae *s; double x[GROWS * CD], residual[GROWS * CD]; sl_tensor xt, rt; sl_sae_batch batch; bool flip; } problem;

static sl_var build(sl_tape *t, void *user)
{
    problem *p = user;
    return loss_to_check(t, p->s, &p->xt, &p->xt, &p->batch, p->flip);
}

/* Compositions 0, 3, 6, 9 have been idle for long. */
static void some_idle(problem *p)
{
    for (int q = 0; q < CM; q += 3)
        ((double *)p->s->extra[SL_COMP_IDLE]->value.data)[q] = 1e6;
    p->batch.residual = &p->rt;
}

static void start(problem *p, sl_ctx *ctx, const arm *a)
{
    sl_rng g = sl_rng_at(5, SL_RNG_TEST, 72, 0);
    memset(p, 0, sizeof *p);
    p->s = composed_sae(ctx, a, SL_F64);
    for (int f = 0; f < CF; f++) /* more tokens a row: CK, mostly */
        ((double *)p->s->b_enc->value.data)[f] += 1.5;
    for (int i = 0; i < GROWS * CD; i++) {
        p->x[i] = sl_rng_normal(&g);
        p->residual[i] = sl_rng_normal(&g);
    }
    p->xt = sl_tensor_of(SL_F64, p->x, 2, (int64_t)GROWS, (int64_t)CD);
    p->rt = sl_tensor_of(SL_F64, p->residual, 2, (int64_t)GROWS, (int64_t)CD);
    p->batch = (sl_sae_batch){ .step = 90, .steps = 100, .n = GROWS, .d_bar = 9.5 };
}

/* Every stride-th element of every tensor; with the wrong sign a few are enough. */
static void check(sl_ctx *ctx, problem *p, const char *label, int64_t stride)
{
    sl_err err;
    sl_gradcheck g;
    int64_t all = 0;
    for (int i = 0; i < sl_params_count(p->s->params); i++)
        all += sl_params_at(p->s->params, i)->flags & SL_PARAM_FROZEN ? 0 : (sl_numel(&sl_params_at(p->s->params, i)->value) + stride - 1) / stride;
    sl_assert_ok(sl_params_check(ctx, p->s->params, build, p, stride, &g, &err));
    assert_int_equal(g.n_checked, all);
    if (!(g.max_rel_err < 1e-6))
        fail_msg("%s: relative error %g: %s", label, g.max_rel_err, g.worst);
    p->flip = true;
    sl_assert_ok(sl_params_check(ctx, p->s->params, build, p, 50, &g, &err));
    assert_true(g.max_rel_err > .5);
}

static void gradients(void **state)
{
    (void)state;
    for (const arm *a = arms; a->label; a++) {
        sl_ctx *ctx = sl_test_ctx(1);
        problem p;
        start(&p, ctx, a);
        check(ctx, &p, a->label, a == arms ? 1 : 5);
        sl_sae_free(p.s);
        sl_ctx_free(ctx);
    }
}

static void gradients_with_idle_compositions(void **state)
{
    (void)state;
    arm a = arms[0];
    a.o.aux_c_alpha = .5;
    sl_ctx *ctx = sl_test_ctx(1);
    problem p;
    start(&p, ctx, &a);
    some_idle(&p);
    check(ctx, &p, "idle", 1);
    sl_sae_free(p.s);
    sl_ctx_free(ctx);
}

/* ---- one latent (I.11) ---- */

/* With one token a row: no composition at all, where pairs are what is composed; else there are some, so that the test can fail. */
static void one_latent_composes_nothing(void **state)
{
    (void)state;
    const float *x = some_rows();
    for (const arm *a = arms; a->label; a++) {
        sl_ctx *ctx = sl_test_ctx(1);
        sl_err err;
        sl_sae *s = composed_sae(ctx, a, SL_F32);
        sl_compose *c;
        sl_compose_view v;
        ((sl_compositional_options *)s->opts)->k = 1;
        sl_assert_ok(sl_compose_open(s, &c, &err));
        sl_assert_ok(sl_compose_rows(c, x, CROWS, &v, &err));
        bool pairs = a->o.comp_in == SL_COMP_IN_Z && a->o.attention != SL_COMP_DEEP_SETS && a->o.attention != SL_COMP_LENGTH_ONE
                     && (a->o.self_subtraction || a->o.value == SL_COMP_HADAMARD);
        double drive = 0, branch = 0;
        for (int i = 0; i < CROWS * CM; i++)
            drive = fmax(drive, fabs((double)v.drive[i]));
        for (int i = 0; i < CROWS * CD; i++)
            branch = fmax(branch, fabs((double)v.branch[i]));
        assert_true(v.z.row_ptr[CROWS] > CROWS / 2 && v.z.row_ptr[CROWS] <= CROWS);
        if (pairs != (drive == 0 && branch == 0 && v.c.row_ptr[CROWS] == 0))
            fail_msg("%s: drive %g, branch %g, %lld compositions", a->label, drive, branch, (long long)v.c.row_ptr[CROWS]);
        sl_compose_close(c);
        sl_sae_free(s);
        sl_ctx_free(ctx);
    }
}

/* ---- order of tokens (I.11) ---- */

enum { STRIDE = 7 }; /* feature f of one SAE is feature 7 f mod CF of the other */

static void permute(const sl_sae *s, sl_sae *p)
{
    for (int i = 0; i < sl_params_count(s->params); i++) {
        const sl_tensor *from = &sl_params_at(s->params, i)->value, *to = &sl_params_at(p->params, i)->value;
        size_t row = sl_nbytes(from) / CF;
        for (int f = 0; f < CF && from->dim[0] == CF; f++)
            memcpy((char *)to->data + (size_t)(STRIDE * f % CF) * row, (const char *)from->data + (size_t)f * row, row);
        sl_param_touch(sl_params_at(p->params, i));
    }
}

static int64_t place_of(const sl_codes *z, int64_t row, int32_t feature)
{
    for (int64_t e = z->row_ptr[row]; e < z->row_ptr[row + 1]; e++)
        if (z->idx[e] == feature)
            return e - z->row_ptr[row];
    fail_msg("row %lld has no feature %d", (long long)row, (int)feature);
    return 0;
}

/* Attention and gates of row r move with their tokens. */
static void same_tokens(const char *label, const sl_compose_view *u, const sl_compose_view *v, int64_t r)
{
    int64_t n = u->z.row_ptr[r + 1] - u->z.row_ptr[r], at[CK];
    assert_int_equal(v->z.row_ptr[r + 1] - v->z.row_ptr[r], n);
    for (int64_t i = 0; i < n; i++)
        at[i] = place_of(&v->z, r, (int32_t)(STRIDE * u->z.idx[u->z.row_ptr[r] + i] % CF));
    for (int64_t i = 0; i < n; i++) {
        sl_assert_close_f32(label, v->gate + v->z.row_ptr[r] + at[i], u->gate + u->z.row_ptr[r] + i, 1, 1e-5, 1e-5);
        for (int64_t h = 0; h < CH; h++)
            for (int64_t j = 0; j < n; j++)
                sl_assert_close_f32(label, v->attention + v->p_ptr[r] + (h * n + at[i]) * n + at[j], u->attention + u->p_ptr[r] + (h * n + i) * n + j, 1, 1e-5, 1e-5);
    }
}

static void tokens_have_no_order(void **state)
{
    (void)state;
    const float *x = some_rows();
    for (const arm *a = arms; a->label; a++) {
        sl_ctx *ctx = sl_test_ctx(1);
        sl_err err;
        sl_sae *s = composed_sae(ctx, a, SL_F32), *p = composed_sae(ctx, a, SL_F32);
        sl_compose *cs, *cp;
        sl_compose_view u, v;
        permute(s, p);
        sl_assert_ok(sl_compose_open(s, &cs, &err));
        sl_assert_ok(sl_compose_open(p, &cp, &err));
        sl_assert_ok(sl_compose_rows(cs, x, CROWS, &u, &err));
        sl_assert_ok(sl_compose_rows(cp, x, CROWS, &v, &err));
        for (int64_t r = 0; r < CROWS && !a->o.partner_shuffle; r++) /* whom a partner's tokens meet does depend on their order */
            same_tokens(a->label, &u, &v, r);
        if (!a->o.partner_shuffle) {
            sl_assert_close_f32(a->label, v.drive, u.drive, CROWS * CM, 2e-5, 2e-5);
            sl_assert_close_f32(a->label, v.branch, u.branch, CROWS * CD, 2e-5, 2e-5);
        }
        sl_compose_close(cs);
        sl_compose_close(cp);
        sl_sae_free(s);
        sl_sae_free(p);
        sl_ctx_free(ctx);
    }
}

/* ---- rho = 0 (I.12) ---- */

static void as_topk(sl_ctx *ctx, const sl_sae *s, sl_sae **topk)
{
    sl_err err;
    sl_assert_ok(sl_sae_make(ctx, "topk", CD, CF, &(sl_topk_options){ .k = CK, .k_aux = 3, .aux_alpha = .5 }, 3, SL_F32, true, topk, &err));
    const sl_param *from[] = { s->W_enc, s->b_enc, s->W_dec, s->b_dec };
    sl_param *to[] = { (*topk)->W_enc, (*topk)->b_enc, (*topk)->W_dec, (*topk)->b_dec };
    for (int i = 0; i < 4; i++) {
        memcpy(to[i]->value.data, from[i]->value.data, sl_nbytes(&from[i]->value));
        sl_param_touch(to[i]);
    }
    (*topk)->stage = SL_SAE_READY;
}

static void without_rho_a_topk_sae(void **state)
{
    (void)state;
    const float *x = some_rows();
    for (const arm *a = arms; a->label; a++) {
        sl_ctx *ctx = sl_test_ctx(1);
        sl_sae *s = composed_sae(ctx, a, SL_F32), *topk;
        sl_codes z, zt;
        float xhat[CROWS * CD], plain[CROWS * CD];
        as_topk(ctx, s, &topk);
        encoded(ctx, topk, x, &zt, plain);
        *(float *)s->extra[SL_COMP_RHO]->value.data = a->o.residual ? 0 : .8f;
        sl_param_touch(s->extra[SL_COMP_RHO]);
        encoded(ctx, s, x, &z, xhat);
        sl_assert_same_bits(a->label, z.idx, zt.idx, (size_t)zt.row_ptr[CROWS] * sizeof *z.idx);
        sl_assert_same_bits(a->label, z.val, zt.val, (size_t)zt.row_ptr[CROWS] * sizeof *z.val);
        if (a->o.residual)
            sl_assert_same_bits(a->label, xhat, plain, sizeof plain);
        else
            assert_memory_not_equal(xhat, plain, sizeof plain);
        sl_codes_release(ctx, &z);
        sl_codes_release(ctx, &zt);
        sl_sae_free(s);
        sl_sae_free(topk);
        sl_ctx_free(ctx);
    }
}

/* ---- equal size ---- */

/* The example of science.md C4: 525,570 numbers, as many as a TopK SAE of 512 latents has, nearly. */
static void equal_size(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    sl_err err;
    sl_compositional_options o;
    int64_t n, none;
    sl_opts_default(sl_variant_find("compositional")->opts, &o);
    sl_assert_ok(sl_sae_count_weights(ctx, "compositional", 512, 256, &o, &n, &err));
    assert_int_equal(n, 525570);
    assert_int_equal(sl_sae_topk_width(n, 512), 512);
    sl_assert_ok(sl_sae_count_weights(ctx, "topk", 512, 512, NULL, &n, &err));
    assert_int_equal(n, 512 * 1025 + 512);
    for (int64_t off = -512; off <= 512; off += 512)
        assert_int_equal(sl_sae_topk_width(n + off, 512), 512);
    assert_int_equal(sl_sae_topk_width(n + 513, 512), 513);
    assert_int_equal(sl_sae_topk_width(3, 512), 1);
    o.attention = SL_COMP_FROZEN_QK; /* 2 d_c^2 numbers that are not trained */
    sl_assert_ok(sl_sae_count_weights(ctx, "compositional", 512, 256, &o, &n, &err));
    assert_int_equal(n, 525570 - 2 * 128 * 128);
    sl_assert_fails(sl_sae_count_weights(ctx, "none", 512, 256, NULL, &none, &err), SL_ARG, "no variant 'none'");
    o.k_c = 1000;
    sl_assert_fails(sl_sae_count_weights(ctx, "compositional", 512, 256, &o, &none, &err), SL_ARG, "k_c");
    sl_ctx_free(ctx);
}

/* ---- the reader ---- */

static bool has_pairs(const arm *a) { return a->o.comp_in == SL_COMP_IN_Z && a->o.attention != SL_COMP_DEEP_SETS; }

/* The last block's attention, gates, drive and compositions of every row. */
static void view_by_the_book(const arm *a, const sl_sae *s, const float *x, const sl_compose_view *v)
{
    for (int64_t r = 0; r < v->n_rows; r++) {
        composed c;
        float drive[CM], branch[CD], made[CM] = { 0 }, expected[CM];
        compose_by_the_book(s, &v->z, r, x + r * CD, &c);
        for (int q = 0; q < CM; q++) {
            drive[q] = (float)c.drive[q];
            expected[q] = (float)c.c[q];
        }
        for (int d = 0; d < CD; d++)
            branch[d] = (float)c.branch[d];
        for (int64_t e = v->c.row_ptr[r]; e < v->c.row_ptr[r + 1]; e++)
            made[v->c.idx[e]] = v->c.val[e];
        sl_assert_close_f32(a->label, v->drive + r * CM, drive, CM, 1e-4, 1e-4);
        sl_assert_close_f32(a->label, made, expected, CM, 1e-4, 1e-4);
        sl_assert_close_f32(a->label, v->branch + r * CD, branch, CD, 2e-4, 2e-4);
        for (int h = 0; h < CH && has_pairs(a); h++)
            for (int i = 0; i < c.n; i++)
                for (int j = 0; j < c.n; j++)
                    sl_assert_close_f32(a->label, v->attention + v->p_ptr[r] + (h * c.n + i) * c.n + j, &(float){ (float)c.P[h][i][j] }, 1, 2e-5, 2e-5);
        for (int i = 0; i < c.n && has_pairs(a); i++)
            sl_assert_close_f32(a->label, v->gate + v->z.row_ptr[r] + i, &(float){ (float)c.gate[i] }, 1, 2e-5, 2e-5);
    }
}

/* sum_ij pi_q(i, j) is the drive of q, or 0 where q is not active; what a token says to itself is nothing, where it is subtracted. */
static void attribution_sums(const arm *a, sl_compose *c, const sl_compose_view *v)
{
    sl_err err;
    float pi[CK * CK];
    for (int64_t r = 0; r < v->n_rows; r++)
        for (int64_t q = 0; q < CM; q++)
            for (int even = 0; even < 2; even++) {
                int64_t n = v->z.row_ptr[r + 1] - v->z.row_ptr[r];
                double sum = 0;
                bool active = even, itself = a->o.attention == SL_COMP_LENGTH_ONE || (!a->o.self_subtraction && a->o.value == SL_COMP_LINEAR);
                sl_assert_ok(sl_compose_attribution(c, r, q, even, pi, &err));
                for (int64_t i = 0; i < n * n; i++) {
                    sum += (double)pi[i];
                    assert_true(itself || i % (n + 1) != 0 || pi[i] == 0);
                }
                for (int64_t e = v->c.row_ptr[r]; e < v->c.row_ptr[r + 1]; e++)
                    active = active || v->c.idx[e] == q;
                sl_assert_close_f64(a->label, &sum, &(double){ active ? (double)v->drive[r * CM + q] : 0 }, 1, 1e-4, 1e-4);
            }
}

/* Latent `j` of every row taken out of the codes: the drive is what the book makes of the rest. */
static void ablation(const arm *a, const sl_sae *s, sl_compose *c, const sl_codes *z, int64_t j, const float *x)
{
    sl_err err;
    int64_t ptr[CROWS + 1] = { 0 }, n = 0;
    int32_t idx[CROWS * CK];
    float val[CROWS * CK];
    sl_compose_view v;
    for (int64_t r = 0; r < CROWS; r++) {
        for (int64_t e = z->row_ptr[r]; e < z->row_ptr[r + 1]; e++)
            if (e - z->row_ptr[r] != j) {
                idx[n] = z->idx[e];
                val[n++] = z->val[e];
            }
        ptr[r + 1] = n;
    }
    sl_codes less = { CROWS, n, ptr, idx, val };
    sl_assert_ok(sl_compose_codes(c, &less, 0, CROWS, &v, &err));
    view_by_the_book(a, s, x, &v);
}

static void reader(void **state)
{
    (void)state;
    const float *x = some_rows();
    for (const arm *a = arms; a->label; a++) {
        sl_ctx *ctx = sl_test_ctx(1);
        sl_err err;
        sl_sae *s = composed_sae(ctx, a, SL_F32);
        sl_compose *c;
        sl_compose_view v;
        sl_codes z;
        float xhat[CROWS * CD], drive[CROWS * CM], one;
        sl_assert_ok(sl_compose_open(s, &c, &err));
        sl_assert_ok(sl_compose_rows(c, x, CROWS, &v, &err));
        view_by_the_book(a, s, x, &v);
        memcpy(drive, v.drive, sizeof drive);
        if (has_pairs(a))
            attribution_sums(a, c, &v);
        else
            sl_assert_fails(sl_compose_attribution(c, 0, 0, false, &one, &err), SL_UNAVAILABLE, "pairs of tokens");
        encoded(ctx, s, x, &z, xhat);
        if (a->o.comp_in == SL_COMP_IN_X) {
            sl_assert_fails(sl_compose_codes(c, &z, 0, CROWS, &v, &err), SL_UNAVAILABLE, "composes x");
        } else {
            sl_assert_ok(sl_compose_codes(c, &z, 0, CROWS, &v, &err));
            sl_assert_same_bits(a->label, v.drive, drive, sizeof drive);
            ablation(a, s, c, &z, 0, x);
            ablation(a, s, c, &z, 2, x);
        }
        sl_codes_release(ctx, &z);
        sl_compose_close(c);
        sl_sae_free(s);
        sl_ctx_free(ctx);
    }
}

static void reader_errors(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    sl_err err;
    sl_sae *s = composed_sae(ctx, &arms[0], SL_F32), *topk;
    sl_compose *c, *none;
    sl_compose_view v;
    float pi[CK * CK], *x = some_rows(), bad[2 * CD] = { 0 };
    as_topk(ctx, s, &topk);
    sl_assert_fails(sl_compose_open(topk, &none, &err), SL_UNAVAILABLE, "variant topk");
    s->stage = SL_SAE_TRAINING;
    assert_int_equal(sl_compose_open(s, &none, &err), SL_ARG);
    s->stage = SL_SAE_READY;
    sl_assert_ok(sl_compose_open(s, &c, &err));
    sl_assert_fails(sl_compose_rows(c, x, 0, &v, &err), SL_ARG, "0 rows");
    bad[CD + 3] = NAN;
    sl_assert_fails(sl_compose_rows(c, bad, 2, &v, &err), SL_NUMERIC, "row 1, column 3");
    sl_assert_fails(sl_compose_attribution(c, 0, 0, false, pi, &err), SL_ARG, "row 0");
    sl_assert_ok(sl_compose_rows(c, x, 2, &v, &err));
    sl_assert_fails(sl_compose_attribution(c, 2, 0, false, pi, &err), SL_ARG, "row 2");
    sl_assert_fails(sl_compose_attribution(c, 0, CM, false, pi, &err), SL_ARG, "composition 12");
    sl_codes z = { 1, 1, (int64_t[]){ 0, 1 }, (int32_t[]){ CF }, (float[]){ 1 } };
    sl_assert_fails(sl_compose_codes(c, &z, 0, 1, &v, &err), SL_ARG, "latent 16");
    sl_assert_fails(sl_compose_codes(c, &z, 0, 2, &v, &err), SL_ARG, "rows 0 to 1 of 1");
    sl_compose_close(c);
    sl_sae_free(topk);
    sl_sae_free(s);
    sl_ctx_free(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(formulas), cmocka_unit_test(gradients), cmocka_unit_test(gradients_with_idle_compositions), cmocka_unit_test(one_latent_composes_nothing),
        cmocka_unit_test(tokens_have_no_order), cmocka_unit_test(without_rho_a_topk_sae), cmocka_unit_test(equal_size), cmocka_unit_test(reader), cmocka_unit_test(reader_errors),
    };
    return cmocka_run_group_tests_name("sae_compositional", tests, NULL, NULL);
}
