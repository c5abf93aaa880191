/* Exact matching against all permutations, chance floors against the table of science.md section 0, agreement between seeds. */
#include "support.h"

#include <saelab/match.h>
#include <saelab/rng.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

static float *normals(int64_t n, uint64_t seed)
{
    float *v = malloc((size_t)n * sizeof *v);
    sl_rng r = sl_rng_at(seed, SL_RNG_TEST, 0, 0);
    for (int64_t i = 0; i < n; i++)
        v[i] = (float)sl_rng_normal(&r);
    return v;
}

/* ---- matching ---- */

/* The best sum over all ways to give every row of score [n, m], n <= m, a column of its own. */
static double brute(const float *score, int n, int m, int row, unsigned taken)
{
    if (row == n)
        return 0;
    double best = -INFINITY;
    for (int j = 0; j < m; j++)
        if (!(taken >> j & 1)) {
            double rest = (double)score[row * m + j] + brute(score, n, m, row + 1, taken | 1u << j);
            best = rest > best ? rest : best;
        }
    return best;
}

static void against_all_permutations(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    sl_err err;
    for (int n = 1; n <= 8; n++)
        for (int m = n; m <= 8; m++)
            for (uint64_t seed = 0; seed < 4; seed++) {
                float *s = normals((int64_t)n * m, seed), turned[64];
                for (int i = 0; seed == 3 && i < n * m; i++)
                    s[i] = (float)((int)(s[i] * 2)); /* many ties */
                double total, best = brute(s, n, m, 0, 0), sum = 0;
                int32_t match[8];
                sl_assert_ok(sl_assign(ctx, s, n, m, match, &total, &err));
                unsigned taken = 0;
                for (int i = 0; i < n; i++) {
                    assert_true(match[i] >= 0 && match[i] < m && !(taken >> match[i] & 1));
                    taken |= 1u << match[i];
                    sum += (double)s[i * m + match[i]];
                }
                sl_assert_close_f64("total", &total, &best, 1, 1e-6, 0);
                sl_assert_close_f64("sum of the pairs", &sum, &best, 1, 1e-6, 0);
                for (int i = 0; i < n * m; i++)
                    turned[i % m * n + i / m] = s[i];
                sl_assert_ok(sl_assign(ctx, turned, m, n, match, &total, &err));
                sl_assert_close_f64("turned", &total, &best, 1, 1e-6, 0);
                int pairs = 0;
                for (int i = 0; i < m; i++)
                    pairs += match[i] >= 0;
                assert_int_equal(pairs, n);
                free(s);
            }
    double total;
    int32_t none[1];
    sl_assert_fails(sl_assign(ctx, (float[]){ 1 }, 0, 1, none, &total, &err), SL_DATA, "at least one row");
    sl_ctx_free(ctx);
}

/* (1, 0), (1, 1) against (0, 2), (-3, 0), (0, 0): cos 0, -1, 0; .7071, -.7071, 0. */
static void cosines(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    sl_err err;
    const float a[] = { 1, 0, 1, 1 }, b[] = { 0, 2, -3, 0, 0, 0 };
    float cos[6];
    sl_assert_ok(sl_cosines(ctx, a, 2, b, 3, 2, cos, &err));
    sl_assert_close_f32("cos", cos, (float[]){ 0, -1, 0, .70710678f, -.70710678f, 0 }, 6, 1e-6, 0);
    double mcc;
    int32_t match[2];
    sl_assert_ok(sl_mcc_dec(ctx, a, 2, b, 3, 2, true, match, &mcc, &err)); /* 1 with b_1, .7071 with b_0 */
    assert_true(fabs(mcc - (1 + sqrt(.5)) / 2) < 1e-6 && match[0] == 1 && match[1] == 0);
    sl_assert_ok(sl_mcc_dec(ctx, a, 2, b, 3, 2, false, match, &mcc, &err)); /* 0 with b_2, .7071 with b_0 */
    assert_true(fabs(mcc - sqrt(.5) / 2) < 1e-6 && match[0] == 2 && match[1] == 0);
    sl_assert_fails(sl_cosines(ctx, (float[]){ 1, NAN }, 1, b, 3, 2, cos, &err), SL_NUMERIC, "row 0, column 1 is not finite");
    sl_assert_fails(sl_cosines(ctx, a, 0, b, 3, 2, cos, &err), SL_DATA, "at least one");
    sl_assert_fails(sl_mcc_dec(ctx, a, 0, b, 3, 2, true, NULL, &mcc, &err), SL_DATA, "at least one");
    sl_ctx_free(ctx);
}

/* ---- chance ---- */

static void floors_of_the_table(void **state)
{
    (void)state;
    static const struct { int64_t n, d; double is_signed, is_abs; } rows[] = { /* those that take milliseconds */
        { 32, 16, .458, .521 }, { 50, 33, .352, .396 }, { 100, 47, .337, .369 }, { 128, 64, .298, .328 }, { 256, 512, .118, .128 },
    };
    sl_ctx *ctx = sl_test_ctx(2);
    sl_err err;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        sl_floor f, again;
        sl_assert_ok(sl_mcc_floor(ctx, rows[i].n, rows[i].n, rows[i].d, false, &f, &err));
        sl_assert_close_f64("signed", &f.mean, &rows[i].is_signed, 1, .01, 0);
        sl_assert_ok(sl_mcc_floor(ctx, rows[i].n, rows[i].n, rows[i].d, true, &f, &err));
        sl_assert_close_f64("abs", &f.mean, &rows[i].is_abs, 1, .01, 0);
        assert_true(f.n_dicts >= 3 && f.n_dicts <= 20 && f.se < .01);
        int64_t allocations = sl_alloc_count(ctx);
        sl_assert_ok(sl_mcc_floor(ctx, rows[i].n, rows[i].n, rows[i].d, true, &again, &err));
        assert_true(sl_alloc_count(ctx) == allocations); /* kept */
        sl_assert_same_bits("kept", &again, &f, sizeof f);
    }
    sl_ctx_free(ctx);
}

/* ---- agreement between seeds ---- */

/* Rows of w in another order and with other lengths. */
static float *permuted(const float *w, int64_t n, int64_t d)
{
    float *p = malloc((size_t)(n * d) * sizeof *p);
    for (int64_t i = 0; i < n * d; i++)
        p[i] = w[(i / d * 7 + 3) % n * d + i % d] * (float)(1 + i / d);
    return p;
}

static void a_permuted_copy_agrees(void **state)
{
    (void)state;
    enum { n = 30, d = 12 };
    sl_ctx *ctx = sl_test_ctx(1);
    sl_err err;
    float *w = normals(n * d, 1), *p = permuted(w, n, d), *other = normals(n * d, 2);
    sl_pwmcc r;
    double pi[2][n], *both[] = { pi[0], pi[1] };
    sl_assert_ok(sl_pwmcc_of(ctx, (sl_dictionary[]){ { w, w, NULL, n }, { p, p, NULL, n } }, 2, d, both, &r, &err));
    assert_true(fabs(r.pwmcc - 1) < 1e-6 && fabs(r.mmcs - 1) < 1e-6 && fabs(r.share_07 - 1) < 1e-9 && fabs(r.share_09 - 1) < 1e-9);
    assert_true(fabs(r.same_partner - 1) < 1e-9 && r.n_pairs == 1 && r.n_alive == 2 * n && r.floor > .3 && r.floor < .6);
    for (int j = 0; j < n; j++)
        assert_true(pi[0][j] == 1 && pi[1][j] == 1);
    /* encoders of another dictionary have other partners; random dictionaries are near the floor */
    sl_assert_ok(sl_pwmcc_of(ctx, (sl_dictionary[]){ { w, w, NULL, n }, { p, other, NULL, n } }, 2, d, NULL, &r, &err));
    assert_true(r.same_partner < .4);
    sl_pwmcc path[2];
    const sl_dictionary at[] = { { w, NULL, NULL, n }, { other, NULL, NULL, n }, { w, NULL, NULL, n }, { p, NULL, NULL, n } };
    sl_assert_ok(sl_pwmcc_trajectory(ctx, at, 2, 2, d, path, &err));
    assert_true(fabs(path[0].pwmcc - path[0].floor) < .1 && fabs(path[1].pwmcc - 1) < 1e-6 && isnan(path[0].same_partner));
    free(w);
    free(p);
    free(other);
    sl_ctx_free(ctx);
}

/* Three SAEs of two latents in the plane: A = x, y; B = x, -y; C = y and a dead one. A-B: cos 1 and -1 (match x-x, y-(-y)), mean 0; A-C: 1
 * (one pair); B-C: best of (0, -1) is 0. Mean (0 + 1 + 0) / 3. */
static void three_by_hand(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    sl_err err;
    const float a[] = { 1, 0, 0, 1 }, b[] = { 1, 0, 0, -1 }, c[] = { 0, 1, 1, 0 };
    const uint8_t alive[] = { 1, 0 }, none[] = { 0, 0 };
    sl_pwmcc r;
    double pi[3][2], *each[] = { pi[0], pi[1], pi[2] };
    sl_dictionary s[] = { { a, NULL, NULL, 2 }, { b, NULL, NULL, 2 }, { c, NULL, alive, 2 } };
    sl_assert_ok(sl_pwmcc_of(ctx, s, 3, 2, each, &r, &err));
    assert_true(fabs(r.pwmcc - 1 / 3.) < 1e-6 && r.n_pairs == 3 && r.n_alive == 5 && fabs(r.share_07 - (.5 + 1) / 3) < 1e-9);
    assert_true(pi[0][0] == .5 && pi[0][1] == .5 && pi[1][0] == .5 && pi[1][1] == 0 && pi[2][0] == .5 && isnan(pi[2][1]));
    s[2].alive = none;
    sl_assert_fails(sl_pwmcc_of(ctx, s, 3, 2, NULL, &r, &err), SL_DATA, "SAE 2 has none");
    sl_assert_fails(sl_pwmcc_of(ctx, s, 1, 2, NULL, &r, &err), SL_DATA, "at least 2 SAEs");
    const float bad[] = { 1, 0, INFINITY, 1 };
    s[0].W_dec = bad;
    s[2].alive = alive;
    sl_assert_fails(sl_pwmcc_of(ctx, s, 3, 2, NULL, &r, &err), SL_NUMERIC, "row 1, column 0");
    sl_ctx_free(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(against_all_permutations), cmocka_unit_test(cosines), cmocka_unit_test(floors_of_the_table),
        cmocka_unit_test(a_permuted_copy_agrees), cmocka_unit_test(three_by_hand),
    };
    return cmocka_run_group_tests_name("eval_match", tests, NULL, NULL);
}
