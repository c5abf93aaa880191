/* Composition recovery and the whole evaluation, on worlds made by hand. */
#include "worked.h"

#include "eval/compose.h"

#include <saelab/rng.h>

/* Four atoms; 0 and 1 compose, 2 and 3 compose, 1 and 2 too but withheld. Rows: all 16 combinations, REPEAT times. */
enum { ATOMS = 4, REPEAT = 10, ROWS = 16 * REPEAT };
static const sl_world_feature features[ATOMS] = { { .order = 1, .family = 0 }, { .order = 1, .family = 1 }, { .order = 1, .family = 2 }, { .order = 1, .family = 3 } };
static const sl_world_set sets[3] = { { .order = 2, .feature = { 0, 1 } }, { .order = 2, .feature = { 2, 3 } }, { .order = 2, .feature = { 1, 2 }, .withheld = true } };
static const sl_world_truth truth = { .n = ATOMS, .feature = features, .set = sets, .n_sets = 3 };

static float on(int64_t row, int atom) { return (float)((row % 16) >> atom & 1); }

static sl_sparse atoms(void)
{
    float v[ROWS * ATOMS];
    for (int64_t r = 0; r < ROWS; r++)
        for (int a = 0; a < ATOMS; a++)
            v[r * ATOMS + a] = on(r, a);
    return worked_sparse(v, ROWS, ATOMS);
}

/* A unit that fires where atoms a and b are on, and says that it is made of c and d. */
typedef struct claim { int a, b, c, d; } claim;

static sl_recovery judged(sl_ctx *ctx, const claim *claims, int64_t n, bool withheld)
{
    sl_err err;
    float *fires = calloc((size_t)(ROWS * n), sizeof *fires);
    double *share = calloc((size_t)(n * ATOMS), sizeof *share);
    for (int64_t u = 0; u < n; u++) {
        for (int64_t r = 0; r < ROWS; r++)
            fires[r * n + u] = on(r, claims[u].a) * on(r, claims[u].b);
        share[u * ATOMS + claims[u].c] = share[u * ATOMS + claims[u].d] = .5;
    }
    sl_sparse g = atoms();
    sl_units units = { n, ATOMS, worked_sparse(fires, ROWS, n), share };
    sl_relations rel;
    sl_recovery got;
    int32_t family[ATOMS];
    sl_assert_ok(sl_atoms_of(ctx, &truth, &g, &g, family, &err));
    sl_assert_same_bits("atoms of the latents", family, (const int32_t[]){ 0, 1, 2, 3 }, sizeof family);
    sl_assert_ok(sl_relations_of(ctx, &truth, &g, &rel, &err));
    assert_true(rel.n == 3 && rel.v[0].fired == ROWS / 4 && rel.v[2].withheld);
    sl_assert_ok(sl_recover(ctx, &units, &rel, family, 20, withheld, NULL, NULL, &got, &err));
    sl_relations_release(ctx, &rel);
    worked_release(&units.fires);
    worked_release(&g);
    free(share);
    free(fires);
    return got;
}

static void is(sl_recovery r, int64_t hits, int64_t wrong, int64_t strict, int64_t targets)
{
    assert_int_equal(r.hits, hits);
    assert_int_equal(r.wrong, wrong);
    assert_int_equal(r.wrong_strict, strict);
    assert_int_equal(r.targets, targets);
}

static void claims(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    sl_recovery r = judged(ctx, (const claim[]){ { 0, 1, 0, 1 }, { 2, 3, 2, 3 }, { 2, 3, 2, 3 } }, 3, false); /* perfect; once though claimed twice */
    is(r, 2, 0, 0, 2);
    assert_true(sl_recovery_f1(&r, false) == 1 && sl_recovery_f1(&r, true) == 1);
    r = judged(ctx, (const claim[]){ { 0, 0, 0, 0 }, { 1, 1, 1, 1 }, { 2, 2, 2, 2 } }, 3, false); /* blind: atoms alone, phi .58 with a pair */
    is(r, 0, 0, 0, 2);
    assert_true(sl_recovery_f1(&r, true) == 0);
    r = judged(ctx, (const claim[]){ { 0, 1, 0, 1 }, { 2, 3, 0, 3 }, { 0, 3, 0, 3 } }, 3, false); /* right; wrong atoms; no relation at all */
    is(r, 1, 1, 2, 2);
    sl_assert_close_f64("F1", &(double){ sl_recovery_f1(&r, false) }, &(double){ 2 / 4. }, 1, 1e-12, 0);
    sl_assert_close_f64("strict F1", &(double){ sl_recovery_f1(&r, true) }, &(double){ 2 / 5. }, 1, 1e-12, 0);
    r = judged(ctx, (const claim[]){ { 1, 2, 1, 2 }, { 0, 1, 0, 1 } }, 2, true); /* the withheld one; another is neither hit nor error */
    is(r, 1, 0, 0, 1);
    r = judged(ctx, (const claim[]){ { 1, 2, 1, 2 } }, 1, false);
    is(r, 0, 0, 0, 2);
    sl_ctx_free(ctx);
}

/* Composites that are values of one variable (family 9) of the same atoms count once. */
static void families(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    sl_err err;
    const sl_world_feature f[] = { { .order = 1, .family = 0 }, { .order = 1, .family = 1 }, { .order = 2, .family = 9, .n_atom = 2, .atom = { 1, 0 } },
                                   { .order = 2, .family = 9, .n_atom = 2, .atom = { 0, 1 } } };
    const sl_world_truth t = { .n = 4, .feature = f };
    const float v[] = { 1, 1, 1, 0, 1, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0 };
    float *rows = worked_repeat(v, 4, 4, 25);
    sl_sparse g = worked_sparse(rows, 100, 4);
    sl_relations rel;
    sl_recovery r;
    double share[16] = { [8] = .5, [9] = .5, [12] = .5, [13] = .5 };
    sl_units u = { 4, 4, g, share };
    int32_t family[4], composite[4];
    double phi[4];
    sl_assert_ok(sl_atoms_of(ctx, &t, &g, &g, family, &err));
    assert_true(family[2] == -1 && family[3] == -1 && family[1] == 1); /* composites are no atoms */
    sl_assert_ok(sl_relations_of(ctx, &t, &g, &rel, &err));
    assert_true(rel.n == 2 && rel.v[0].atom[0] == 0 && rel.v[0].atom[1] == 1);
    sl_assert_ok(sl_recover(ctx, &u, &rel, family, 20, false, composite, phi, &r, &err));
    is(r, 1, 0, 0, 1);
    assert_true(composite[2] == 0 && composite[3] == 1 && composite[0] == -1 && fabs(phi[2] - 1) < 1e-9);
    sl_relations_release(ctx, &rel);
    worked_release(&g);
    free(rows);
    sl_ctx_free(ctx);
}

/* A linear code of three latents: two atoms, and (seeing) one for their product. */
static sl_eval_data linear_code(float *x, int64_t n, bool seeing)
{
    static const float eye[] = { 1, 0, 0, 0, 1, 0, 0, 0, 1 };
    sl_rng rng = sl_rng_at(5, SL_RNG_TEST, 0, 0);
    for (int64_t r = 0; r < n; r++) {
        for (int j = 0; j < 2; j++)
            x[3 * r + j] = sl_rng_uniform(&rng) < .5 ? (float)(.5 + sl_rng_uniform(&rng)) : 0;
        x[3 * r + 2] = seeing ? x[3 * r] * x[3 * r + 1] : 0;
    }
    return (sl_eval_data){ .seed = 1, .d_in = 3, .d_sae = 3, .n_rows = n, .W_dec = eye, .x = x, .z = worked_sparse(x, n, 3) };
}

/* Without an SAE, from codes alone: post-hoc pairs find the composition where a latent stands for it. */
static void whole(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    sl_err err;
    enum { N = 600 };
    float x[3 * N], g[2 * N];
    const sl_world_truth t = { .n = 2, .feature = features, .set = sets, .n_sets = 1 };
    sl_composition_opts o = sl_composition_defaults();
    for (int seeing = 0; seeing < 2; seeing++) {
        sl_metrics m = { 0 };
        sl_composition_pictures p = { 0 };
        sl_eval_data d = linear_code(x, N, seeing);
        for (int64_t r = 0; r < N; r++)
            memcpy(g + 2 * r, x + 3 * r, 2 * sizeof *g);
        d.n_truth = 2;
        d.g = worked_sparse(g, N, 2);
        sl_assert_ok(sl_eval_composition(ctx, NULL, &(sl_composition_input){ &d, &d, &t }, &o, &m, &p, &err));
        worked_is(&m, "comp_f1", seeing);
        worked_is(&m, "comp_f1_posthoc", seeing);
        worked_is(&m, "comp_recall", seeing);
        worked_null(&m, "comp_f1_withheld", "withholds no relation");
        worked_null(&m, "comp_gap", "not measured on both");
        worked_null(&m, "comp_f1_units", "not a compositional SAE");
        worked_null(&m, "comp_f1_pairs", "a baseline");
        worked_null(&m, "causal_pi", "not a compositional SAE");
        worked_null(&m, "comp_energy", "a baseline");
        worked_null(&m, "fvu_ood_ratio", "a baseline");
        worked_is(&m, "mcc_code_gap", 0);
        if (!seeing)
            worked_null(&m, "comp_precision", "nothing was claimed");
        sl_assert_ok(sl_eval_composition(ctx, NULL, &(sl_composition_input){ &d, NULL, NULL }, &o, &m, NULL, &err));
        worked_null(&m, "comp_f1", "no ground truth");
        worked_null(&m, "f1_h_gap", "no rows with withheld combinations");
        worked_release(&d.g);
        worked_release(&d.z);
        sl_composition_pictures_release(ctx, &p);
        sl_metrics_release(ctx, &m);
    }
    sl_ctx_free(ctx);
}

/* A random compositional SAE through everything: its attribution is exact, ablation is measured, the decoder's pairs are too. */
static void compositional(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    sl_err err;
    enum { N = 600, D = 8, M = 16, K = 4 };
    float x[N * D];
    sl_sae *s;
    sl_tensor t;
    sl_codes z;
    sl_compositional_options v;
    sl_opts_default(sl_variant_find("compositional")->opts, &v);
    v.k = K;
    v.d_c = D;
    v.n_head = 2;
    v.m_c = 8;
    v.k_c = 4;
    sl_assert_ok(sl_sae_new(ctx, "compositional", D, M, &v, 3, &s, &err));
    sl_assert_ok(sl_sae_weight(s, "rho", &t, &err));
    ((float *)t.data)[0] = 5;
    sl_rng rng = sl_rng_at(9, SL_RNG_TEST, 0, 0);
    for (int64_t i = 0; i < N * D; i++)
        x[i] = (float)sl_rng_normal(&rng);
    sl_assert_ok(sl_codes_new(ctx, N, K, &z, &err));
    sl_assert_ok(sl_sae_encode(s, x, N, &z, NULL, &err));
    sl_assert_ok(sl_sae_weight(s, "W_dec", &t, &err));
    sl_eval_data d = { .seed = 1, .d_in = D, .d_sae = M, .n_rows = N, .x = x, .W_dec = t.data, .z = sl_sparse_of(&z, N, M) };
    sl_metrics m = { 0 };
    sl_composition_pictures p = { 0 };
    sl_composition_opts o = sl_composition_defaults();
    o.n_triples = 300;
    o.min_rows = 5;
    sl_assert_ok(sl_eval_composition(ctx, s, &(sl_composition_input){ &d, NULL, NULL }, &o, &m, &p, &err));
    assert_true(worked_value(&m, "attribution_error") < 1e-4);
    assert_true(worked_value(&m, "l0_c") > 0 && worked_value(&m, "dead_compositions") < 1);
    assert_true(worked_value(&m, "branch_energy") > worked_value(&m, "comp_energy") && worked_value(&m, "comp_energy") > 0);
    assert_true(worked_value(&m, "causal_pi") > .2 && worked_value(&m, "index_mean") > 0);
    assert_true(isfinite(worked_value(&m, "interaction_cooccurrence")) && isfinite(worked_value(&m, "decoder_cooccurrence")));
    assert_true(p.n_units > 0 && p.n_edges > 0 && p.n_attention == M && p.n_head == 2 && p.d_sae == M);
    for (int i = 0; i < m.n; i++)
        assert_true(isfinite(m.v[i].value) && (!m.v[i].is_null || m.v[i].reason[0]));
    sl_composition_pictures_release(ctx, &p);
    sl_metrics_release(ctx, &m);
    sl_codes_release(ctx, &z);
    sl_sae_free(s);
    sl_ctx_free(ctx);
}

static void bad_inputs(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    sl_err err;
    float x[300];
    sl_metrics m = { 0 };
    sl_composition_opts o = sl_composition_defaults();
    sl_eval_data d = linear_code(x, 100, true), bad = d;
    sl_composition_input in = { &bad, NULL, NULL };
    bad.x = NULL;
    sl_assert_fails(sl_eval_composition(ctx, NULL, &in, &o, &m, NULL, &err), SL_DATA, "something of them is missing");
    bad = d;
    bad.n_rows = 0;
    sl_assert_fails(sl_eval_composition(ctx, NULL, &in, &o, &m, NULL, &err), SL_DATA, "0 rows");
    bad = d;
    bad.z.n_cols = 4;
    sl_assert_fails(sl_eval_composition(ctx, NULL, &in, &o, &m, NULL, &err), SL_SHAPE, "100 x 4");
    bad = d;
    x[7] = NAN;
    sl_assert_fails(sl_eval_composition(ctx, NULL, &in, &o, &m, NULL, &err), SL_NUMERIC, "row 2, column 1");
    x[7] = 0;
    bad.n_truth = 3;
    bad.g = d.z;
    in.truth = &truth;
    sl_assert_fails(sl_eval_composition(ctx, NULL, &in, &o, &m, NULL, &err), SL_SHAPE, "3 features where the world has 4");
    o.n_triples = 0;
    sl_assert_fails(sl_eval_composition(ctx, NULL, &in, &o, &m, NULL, &err), SL_ARG, "n_triples");
    sl_sae *s;
    o = sl_composition_defaults();
    sl_assert_ok(sl_sae_new(ctx, "standard", 3, 5, NULL, 0, &s, &err));
    bad = d;
    in.truth = NULL;
    sl_assert_fails(sl_eval_composition(ctx, s, &in, &o, &m, NULL, &err), SL_SHAPE, "where the SAE has 3 and 5");
    assert_int_equal(m.n, 0); /* no number came of it */
    sl_sae_free(s);
    worked_release(&d.z);
    sl_metrics_release(ctx, &m);
    sl_ctx_free(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(claims), cmocka_unit_test(families), cmocka_unit_test(whole), cmocka_unit_test(compositional),
                                        cmocka_unit_test(bad_inputs) };
    return cmocka_run_group_tests_name("eval_compose_recover", tests, NULL, NULL);
}
