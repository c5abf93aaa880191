/* The perturbation layer: sizes, targets, streams of noise, selection, attacks and the controller (science.md I.4, I.6-I.8, I.10). */
#include "perturb_case.h"

static void encode(sl_ctx *ctx, sl_sae *s, const float *x, sl_codes *z)
{
    sl_err err;
    sl_assert_ok(sl_codes_new(ctx, N, F, z, &err));
    sl_assert_ok(sl_sae_encode(s, x, N, z, NULL, &err));
}

static double at(const sl_codes *z, int row, int f)
{
    for (int64_t e = z->row_ptr[row]; e < z->row_ptr[row + 1]; e++)
        if (z->idx[e] == f)
            return (double)z->val[e];
    return 0;
}

/* What most tests work on: a TopK SAE, normal rows and their codes. */
typedef struct subject { sl_ctx *ctx; sl_sae *s; rows x; sl_codes z; } subject;

static void begin(subject *u)
{
    u->ctx = sl_test_ctx(1);
    u->s = topk(u->ctx);
    rows_normal(&u->x, N, D, 0, 1);
    encode(u->ctx, u->s, u->x.x, &u->z);
}

static void end(subject *u)
{
    sl_codes_release(u->ctx, &u->z);
    rows_release(&u->x);
    sl_sae_free(u->s);
    sl_ctx_free(u->ctx);
}

static void norms_are_exact(void **state)
{
    (void)state;
    static result r;
    static const int types[] = { SL_PERTURB_GAUSS, SL_PERTURB_UNIFORM, SL_PERTURB_SHAPED, SL_PERTURB_DIRECT, SL_PERTURB_FGSM, SL_PERTURB_PGD };
    subject u;
    begin(&u);
    for (size_t i = 0; i <= sizeof types / sizeof *types; i++) {
        sl_perturb_config c = config(i ? types[i - 1] : SL_PERTURB_GAUSS);
        c.rank = i ? 0 : 4; /* the first: of low rank */
        c.attack_steps = 3;
        c.components = 8;
        apply(u.ctx, u.s, &c, u.x.x, 0, .3, &r);
        for (int b = 0; b < N; b++) {
            assert_int_equal(r.valid[b], 1);
            double got = size(r.x + b * D, u.x.x + b * D) / size(u.x.x + b * D, NULL);
            if (!(fabs(got - .3) < 2e-6))
                fail_msg("type %d, row %d: |delta| / |x| is %.9g", c.type, b, got);
        }
        assert_true(fabs(r.achieved - .3) < 1e-6);
        sl_codes_release(u.ctx, &r.z);
    }
    end(&u);
}

/* Rows depend on (seed, step, row, view) alone: not on threads, not on how the batch is cut; another seed and view are others. */
static void noise_is_a_function_of_its_key(void **state)
{
    (void)state;
    static result a, b;
    static const int types[] = { SL_PERTURB_GAUSS, SL_PERTURB_UNIFORM, SL_PERTURB_MASK, SL_PERTURB_MASK_ROTATED, SL_PERTURB_INJECT, SL_PERTURB_DIRECT,
                                 SL_PERTURB_FEATDROP, SL_PERTURB_LATENT, SL_PERTURB_PGD, SL_PERTURB_SHAPED };
    rows x;
    rows_normal(&x, N, D, 0, 1);
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        for (int team = 0; team < 3; team++) {
            sl_ctx *ctx = sl_test_ctx((const int[]){ 1, 2, 8 }[team]);
            sl_sae *s = topk(ctx);
            sl_perturb_config c = config(types[i]);
            c.eps = .5;
            apply(ctx, s, &c, x.x, 0, -1, team ? &b : &a);
            if (team)
                sl_assert_same_bits("threads", a.x, b.x, sizeof a.x);
            if (team)
                sl_codes_release(ctx, &b.z);
            if (team == 2) {
                c.seed = 4;
                apply(ctx, s, &c, x.x, 0, -1, &b);
                assert_memory_not_equal(a.x, b.x, sizeof a.x);
                sl_codes_release(ctx, &b.z);
                c.seed = 3;
                apply(ctx, s, &c, x.x, 1, -1, &b);
                assert_memory_not_equal(a.x, b.x, sizeof a.x);
                sl_codes_release(ctx, &b.z);
            }
            if (team == 0)
                sl_codes_release(ctx, &a.z);
            sl_sae_free(s);
            sl_ctx_free(ctx);
        }
    }
    rows_release(&x);
}

static void a_batch_may_be_cut(void **state)
{
    (void)state;
    static float whole[N * D], part[N * D];
    uint8_t valid[N];
    sl_err err;
    subject u;
    begin(&u);
    sl_perturb_config c = config(SL_PERTURB_GAUSS);
    sl_perturber *p;
    sl_assert_ok(sl_perturber_new(u.s, &c, NULL, 0, &p, &err));
    sl_assert_ok(sl_perturber_apply(p, u.x.x, N, 0, 2, 0, .2, &(sl_perturbed){ .x = whole, .valid = valid }, &err));
    sl_assert_ok(sl_perturber_apply(p, u.x.x, 31, 0, 2, 0, .2, &(sl_perturbed){ .x = part, .valid = valid }, &err));
    sl_assert_ok(sl_perturber_apply(p, u.x.x + 31 * D, N - 31, 31, 2, 0, .2, &(sl_perturbed){ .x = part + 31 * D, .valid = valid }, &err));
    sl_assert_same_bits("cut", whole, part, sizeof whole);
    sl_perturber_free(p);
    end(&u);
}

/* x' - x is the sum over latents of (z* - z) times the decoder's row: of featdrop, of equivariant inject and of latent. */
static void targets_say_what_was_moved(void **state)
{
    (void)state;
    static result r;
    static const int types[] = { SL_PERTURB_FEATDROP, SL_PERTURB_INJECT, SL_PERTURB_LATENT };
    subject u;
    sl_tensor W;
    sl_err err;
    begin(&u);
    sl_assert_ok(sl_sae_weight(u.s, "W_dec", &W, &err));
    for (int i = 0; i < 3; i++) {
        sl_perturb_config c = config(types[i]);
        c.q = 2;
        apply(u.ctx, u.s, &c, u.x.x, 0, .4, &r);
        for (int b = 0; b < N; b++) {
            double want[D] = { 0 };
            int moved = 0;
            for (int f = 0; f < F; f++) {
                double by = at(&r.z, b, f) - at(&u.z, b, f);
                moved += fabs(by) > 0;
                for (int j = 0; j < D; j++)
                    want[j] += by * (double)((float *)W.data)[f * D + j];
                if (types[i] == SL_PERTURB_INJECT)
                    assert_true(by >= 0 && (by == 0 || at(&u.z, b, f) == 0)); /* only latents that were off */
                if (types[i] == SL_PERTURB_FEATDROP)
                    assert_true(by == 0 || at(&r.z, b, f) == 0);
            }
            assert_int_equal(r.valid[b], 1);
            assert_int_equal(moved, types[i] == SL_PERTURB_LATENT ? K : 2);
            for (int j = 0; j < D; j++)
                assert_true(fabs(want[j] - ((double)r.x[b * D + j] - (double)u.x.x[b * D + j])) < 1e-5);
        }
        sl_codes_release(u.ctx, &r.z);
    }
    end(&u);
}

/* I.6: pre-activations of x + sum alpha_j d_j are a + sum alpha_j M_j, M = W_enc W_dec^T. */
static void injection_is_leakage(void **state)
{
    (void)state;
    static result r;
    subject u;
    begin(&u);
    sl_perturb_config c = config(SL_PERTURB_INJECT);
    apply(u.ctx, u.s, &c, u.x.x, 0, -1, &r);
    const float *We = u.s->W_enc->value.data, *Wd = u.s->W_dec->value.data;
    for (int b = 0; b < N; b++)
        for (int f = 0; f < F; f++) {
            double direct = 0, leaked = 0;
            for (int j = 0; j < D; j++) {
                direct += (double)We[f * D + j] * (double)r.x[b * D + j];
                leaked += (double)We[f * D + j] * (double)u.x.x[b * D + j];
            }
            for (int g = 0; g < F; g++) {
                double alpha = at(&r.z, b, g) - at(&u.z, b, g), m = 0;
                for (int j = 0; alpha > 0 && j < D; j++)
                    m += (double)We[f * D + j] * (double)Wd[g * D + j];
                leaked += alpha * m;
            }
            assert_true(fabs(direct - leaked) < 1e-4);
        }
    sl_codes_release(u.ctx, &r.z);
    end(&u);
}

/* with_gauss: the same injection and target, and noise of exactly that size more. */
static void noise_on_top_of_an_injection(void **state)
{
    (void)state;
    static result plain, more;
    subject u;
    begin(&u);
    sl_perturb_config c = config(SL_PERTURB_INJECT);
    apply(u.ctx, u.s, &c, u.x.x, 0, -1, &plain);
    c.with_gauss = .3;
    apply(u.ctx, u.s, &c, u.x.x, 0, -1, &more);
    for (int b = 0; b < N; b++) {
        assert_int_equal(more.valid[b], plain.valid[b]);
        double got = size(more.x + b * D, plain.x + b * D) / size(u.x.x + b * D, NULL);
        assert_true(!plain.valid[b] || fabs(got - .3) < 1e-5);
        for (int f = 0; f < F; f++)
            assert_true(at(&more.z, b, f) == at(&plain.z, b, f));
    }
    sl_codes_release(u.ctx, &plain.z);
    sl_codes_release(u.ctx, &more.z);
    end(&u);
}

static void quantisation_by_hand(void **state)
{
    (void)state;
    sl_err err;
    uint8_t valid;
    float x[3] = { 7, -3.4f, .4f }, out[3];
    sl_ctx *ctx = sl_test_ctx(1);
    sl_sae *s;
    sl_perturber *p;
    sl_assert_ok(sl_sae_new(ctx, "topk", 3, 4, &(sl_topk_options){ .k = 1 }, 7, &s, &err));
    sl_perturb_config c = config(SL_PERTURB_QUANT);
    c.quant = SL_QUANT_INT4; /* a step is 7 / 7 */
    sl_assert_ok(sl_perturber_new(s, &c, NULL, 0, &p, &err));
    sl_assert_ok(sl_perturber_apply(p, x, 1, 0, 0, 0, -1, &(sl_perturbed){ .x = out, .valid = &valid }, &err));
    sl_assert_close_f32("int4", out, (float[]){ 7, -3, 0 }, 3, 1e-6, 0);
    sl_perturber_free(p);
    sl_sae_free(s);
    sl_ctx_free(ctx);
}

static void opposite_views_cancel(void **state)
{
    (void)state;
    static result a, b;
    subject u;
    begin(&u);
    sl_perturb_config c = config(SL_PERTURB_GAUSS);
    c.antithetic = true;
    c.views = 2;
    apply(u.ctx, u.s, &c, u.x.x, 0, .2, &a);
    apply(u.ctx, u.s, &c, u.x.x, 1, .2, &b);
    for (int i = 0; i < N * D; i++)
        assert_true(fabs((double)a.x[i] + (double)b.x[i] - 2 * (double)u.x.x[i]) < 1e-5);
    sl_codes_release(u.ctx, &a.z);
    sl_codes_release(u.ctx, &b.z);
    end(&u);
}

/* Rows of zeros are skipped and stay; a NaN is named; constant rows work. */
static void odd_rows(void **state)
{
    (void)state;
    static const int types[] = { SL_PERTURB_GAUSS, SL_PERTURB_FEATDROP, SL_PERTURB_QUANT, SL_PERTURB_PGD, SL_PERTURB_MASK };
    float x[3 * D] = { 0 }, out[3 * D];
    uint8_t valid[3];
    sl_err err;
    sl_ctx *ctx = sl_test_ctx(1);
    sl_sae *s = topk(ctx);
    for (int j = 0; j < D; j++)
        x[D + j] = 1;
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        sl_perturb_config c = config(types[i]);
        sl_perturber *p;
        sl_assert_ok(sl_perturber_new(s, &c, NULL, 0, &p, &err));
        sl_assert_ok(sl_perturber_apply(p, x, 2, 0, 0, 0, -1, &(sl_perturbed){ .x = out, .valid = valid }, &err));
        assert_int_equal(valid[0], 0);
        for (int j = 0; j < D; j++)
            assert_true(out[j] == 0 && isfinite(out[D + j]));
        x[2 * D + 4] = NAN;
        assert_int_equal(sl_perturber_apply(p, x, 3, 10, 0, 0, -1, &(sl_perturbed){ .x = out, .valid = valid }, &err), SL_NUMERIC);
        assert_non_null(strstr(err.msg, "row 12, column 4"));
        x[2 * D + 4] = 0;
        sl_perturber_free(p);
    }
    sl_sae_free(s);
    sl_ctx_free(ctx);
}

static void what_does_not_fit_is_refused(void **state)
{
    (void)state;
    sl_err err;
    sl_ctx *ctx = sl_test_ctx(1);
    sl_sae *s = topk(ctx), *mp = small_sae(ctx, "matching_pursuit", NULL);
    sl_perturb_config c = config(SL_PERTURB_GAUSS);
    c.site = SL_PERTURB_SITE_TOKEN;
    assert_int_equal(sl_perturb_check(s, &c, &err), SL_UNAVAILABLE);
    c.site = SL_PERTURB_SITE_LATENT;
    assert_int_equal(sl_perturb_check(s, &c, &err), SL_ARG);
    c = config(SL_PERTURB_GAUSS);
    c.rank = D + 1;
    assert_int_equal(sl_perturb_check(s, &c, &err), SL_ARG);
    c = config(SL_PERTURB_MASK);
    c.antithetic = true;
    c.views = 2;
    assert_int_equal(sl_perturb_check(s, &c, &err), SL_ARG);
    c = config(SL_PERTURB_GAUSS);
    c.with_gauss = .1;
    assert_int_equal(sl_perturb_check(s, &c, &err), SL_ARG);
    c = config(SL_PERTURB_QUANT);
    c.adaptive = true;
    assert_int_equal(sl_perturb_check(s, &c, &err), SL_ARG);
    c = config(SL_PERTURB_PGD);
    assert_int_equal(sl_perturb_check(mp, &c, &err), SL_ARG);
    c = config(SL_PERTURB_GAUSS);
    c.tied_weights = true;
    assert_int_equal(sl_perturb_check(mp, &c, &err), SL_ARG);
    c = config(SL_PERTURB_INJECT);
    sl_perturber *p;
    assert_int_equal(sl_perturber_new(s, &c, NULL, 0, &p, &err), SL_ARG); /* nothing to learn from */
    assert_null(p);
    sl_sae_free(s);
    sl_sae_free(mp);
    sl_ctx_free(ctx);
}

/* The brief's names of eps and gamma. */
static void other_names(void **state)
{
    (void)state;
    sl_perturb_config c = config(SL_PERTURB_GAUSS);
    assert_true(sl_perturb_eps(&c) == .2 && sl_perturb_gamma(&c) == 1);
    c.noise_std = .1;
    c.stability_coefficient = .5;
    assert_true(sl_perturb_eps(&c) == .1 && sl_perturb_gamma(&c) == .5);
}

/* ---- attacks ---- */

/* The certified radius of a TopK row with k active latents (science.md B3). */
static double radius(const sl_sae *s, const float *x, const sl_codes *z, int row)
{
    const float *W = s->W_enc->value.data;
    double a[F], r = INFINITY;
    for (int f = 0; f < F; f++) {
        a[f] = 0;
        for (int j = 0; j < D; j++)
            a[f] += (double)W[f * D + j] * (double)x[row * D + j];
    }
    for (int64_t e = z->row_ptr[row]; e < z->row_ptr[row + 1]; e++) {
        const float *w = W + z->idx[e] * D;
        r = fmin(r, a[z->idx[e]] / size(w, NULL));
        for (int f = 0; f < F; f++)
            if (at(z, row, f) == 0)
                r = fmin(r, (a[z->idx[e]] - a[f]) / size(w, W + f * D));
    }
    return r;
}

/* I.8: inside the certified radius no attack changes the support; pgd changes codes more than random noise of the same size. */
static void attacks_keep_to_the_bound(void **state)
{
    (void)state;
    static result r, random;
    static float inside[N * D];
    subject u;
    sl_codes after;
    double attacked = 0, noisy = 0;
    begin(&u);
    sl_perturb_config c = config(SL_PERTURB_PGD), g = config(SL_PERTURB_GAUSS);
    c.attack_steps = 5;
    c.restarts = 2;
    apply(u.ctx, u.s, &c, u.x.x, 0, .3, &r);
    apply(u.ctx, u.s, &g, u.x.x, 0, .3, &random);
    for (int b = 0; b < N; b++) {
        double by = .999 * fmin(radius(u.s, u.x.x, &u.z, b) / (.3 * size(u.x.x + b * D, NULL)), 1);
        for (int j = b * D; j < (b + 1) * D; j++)
            inside[j] = (float)((double)u.x.x[j] + by * ((double)r.x[j] - (double)u.x.x[j]));
    }
    encode(u.ctx, u.s, inside, &after);
    assert_int_equal(after.row_ptr[N], u.z.row_ptr[N]);
    sl_assert_same_bits("support", after.idx, u.z.idx, (size_t)u.z.row_ptr[N] * sizeof *u.z.idx);
    for (int way = 0; way < 2; way++) {
        sl_codes_release(u.ctx, &after);
        encode(u.ctx, u.s, way ? random.x : r.x, &after);
        for (int b = 0; b < N; b++)
            for (int f = 0; f < F; f++)
                *(way ? &noisy : &attacked) += pow(at(&after, b, f) - at(&u.z, b, f), 2);
    }
    assert_true(attacked > 1.5 * noisy);
    sl_codes_release(u.ctx, &after);
    sl_codes_release(u.ctx, &r.z);
    sl_codes_release(u.ctx, &random.z);
    end(&u);
}

/* ---- selection, controller ---- */

static void selections_choose_the_inactive(void **state)
{
    (void)state;
    static result r;
    subject u;
    begin(&u);
    for (int how = SL_SELECT_NN; how <= SL_SELECT_UNIFORM; how++) {
        sl_perturb_config c = config(SL_PERTURB_INJECT);
        c.select = how;
        c.q = 3;
        apply(u.ctx, u.s, &c, u.x.x, 0, -1, &r);
        for (int b = 0; b < N; b++)
            assert_int_equal(r.z.row_ptr[b + 1] - r.z.row_ptr[b], K + 3);
        sl_codes_release(u.ctx, &r.z);
    }
    end(&u);
}

/* I.18: with FSS = 1 - eps the controller brings eps to 1 - target, or to its limit. */
static void the_controller_settles(void **state)
{
    (void)state;
    sl_err err;
    sl_ctx *ctx = sl_test_ctx(1);
    sl_sae *s = topk(ctx);
    sl_perturb_config c = config(SL_PERTURB_GAUSS);
    sl_perturb *p;
    c.adaptive = true;
    c.target_fss = .9;
    sl_assert_ok(sl_perturb_new(s, &c, 4, &p, &err));
    for (int i = 0; i < 4000; i++)
        sl_perturb_steer(p, sl_perturb_eps_now(p), 1);
    assert_true(fabs(1 - sl_perturb_eps_now(p) - .9) < .02 * .9 && p->v[PT_SATURATED] == 0);
    for (int i = 0; i < 9000; i++)
        sl_perturb_steer(p, 0, 1); /* nothing ever changes the code */
    assert_true(fabs(sl_perturb_eps_now(p) - c.eps_max) < 1e-12 && p->v[PT_SATURATED] > 0);
    sl_perturb_free(p);
    sl_sae_free(s);
    sl_ctx_free(ctx);
}

static void standing_still_is_seen(void **state)
{
    (void)state;
    sl_err err;
    sl_ctx *ctx = sl_test_ctx(1);
    sl_sae *s = topk(ctx);
    sl_perturb_config c = config(SL_PERTURB_GAUSS);
    sl_perturb *p;
    sl_assert_ok(sl_perturb_new(s, &c, 4, &p, &err));
    for (int i = 0; i < 12; i++)
        assert_false(sl_perturb_settled(p, 1, 1 - .05 * i, .5)); /* stability alone never stops a training */
    for (int i = 0; i < 12; i++)
        assert_false(sl_perturb_settled(p, .9, .3, .2)); /* too early */
    assert_true(sl_perturb_settled(p, .9, .3, .31));
    assert_false(sl_perturb_settled(p, .95, .3, .32));
    sl_perturb_free(p);
    sl_sae_free(s);
    sl_ctx_free(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(norms_are_exact),
        cmocka_unit_test(noise_is_a_function_of_its_key),
        cmocka_unit_test(a_batch_may_be_cut),
        cmocka_unit_test(targets_say_what_was_moved),
        cmocka_unit_test(injection_is_leakage),
        cmocka_unit_test(noise_on_top_of_an_injection),
        cmocka_unit_test(quantisation_by_hand),
        cmocka_unit_test(opposite_views_cancel),
        cmocka_unit_test(odd_rows),
        cmocka_unit_test(what_does_not_fit_is_refused),
        cmocka_unit_test(other_names),
        cmocka_unit_test(attacks_keep_to_the_bound),
        cmocka_unit_test(selections_choose_the_inactive),
        cmocka_unit_test(the_controller_settles),
        cmocka_unit_test(standing_still_is_seen),
    };
    return cmocka_run_group_tests_name("sae_perturb", tests, NULL, NULL);
}
