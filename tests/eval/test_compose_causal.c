/* Attribution and its check by ablation, on a composer whose truth is known: the readers of saelab/compose.h are replaced (--wrap) by
 *   z = x > 0      drive_q = sum over i, j in S of A_q(i,j) z_i z_j      c = drive      pi_q(i,j) = A_q(i,j) z_i z_j      P = 1/2 everywhere
 * where leaving latent j out takes exactly its attribution away, and Delta_ij = pi(i,j) + pi(j,i). */
#include "worked.h"

#include "eval/compose.h"

#include <saelab/rng.h>

enum { D = 6, M = 2, HEADS = 2, ROOM = 1024 };
struct sl_compose {
    double A[M][D][D];
    double change_of_codes;     /* what codes make of c differs from rows by this factor: ablation disagrees */
    bool no_pairs;              /* as attention=deep_sets */
    int64_t row_ptr[ROOM + 1], c_ptr[ROOM + 1], p_ptr[ROOM + 1];
    int32_t idx[ROOM * D], c_idx[ROOM * M];
    float val[ROOM * D], c_val[ROOM * M], gate[ROOM * D], drive[ROOM * M], branch[ROOM * D], attention[ROOM * HEADS * D * D];
};

sl_compose_info __wrap_sl_compose_about(const sl_compose *c);
sl_status __wrap_sl_compose_rows(sl_compose *c, const float *x, int64_t n, sl_compose_view *out, sl_err *err);
sl_status __wrap_sl_compose_codes(sl_compose *c, const sl_codes *z, int64_t first, int64_t n, sl_compose_view *out, sl_err *err);
sl_status __wrap_sl_compose_attribution(sl_compose *c, int64_t row, int64_t q, bool even_inactive, float *pi, sl_err *err);

sl_compose_info __wrap_sl_compose_about(const sl_compose *c)
{
    (void)c;
    return (sl_compose_info){ .d_c = 4, .n_head = HEADS, .m_c = M, .k_c = M, .depth = 1, .rho = 1, .sigma = 1 };
}

/* Everything that follows from the tokens of row r. */
static void compose_row(sl_compose *c, int64_t r, double scale)
{
    int64_t n = c->row_ptr[r + 1] - c->row_ptr[r], at = c->row_ptr[r];
    c->c_ptr[r + 1] = c->c_ptr[r];
    for (int q = 0; q < M; q++) {
        double drive = 0;
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = 0; j < n; j++)
                drive += c->A[q][c->idx[at + i]][c->idx[at + j]] * (double)c->val[at + i] * (double)c->val[at + j];
        c->drive[r * M + q] = (float)drive;
        if (drive > 0) {
            c->c_idx[c->c_ptr[r + 1]] = q;
            c->c_val[c->c_ptr[r + 1]++] = (float)(scale * drive);
        }
    }
    c->p_ptr[r + 1] = c->p_ptr[r] + HEADS * n * n;
    for (int64_t e = c->p_ptr[r]; e < c->p_ptr[r + 1]; e++)
        c->attention[e] = .5f;
}

static void view(sl_compose *c, int64_t n, sl_compose_view *out)
{
    *out = (sl_compose_view){ .n_rows = n, .z = { n, ROOM * D, c->row_ptr, c->idx, c->val }, .p_ptr = c->p_ptr, .attention = c->attention, .gate = c->gate,
                              .drive = c->drive, .c = { n, ROOM * M, c->c_ptr, c->c_idx, c->c_val }, .branch = c->branch };
}

sl_status __wrap_sl_compose_rows(sl_compose *c, const float *x, int64_t n, sl_compose_view *out, sl_err *err)
{
    (void)err;
    assert_true(n >= 1 && n <= ROOM);
    for (int64_t r = 0; r < n; r++) {
        int64_t at = c->row_ptr[r];
        for (int32_t j = 0; j < D; j++)
            if (x[r * D + j] > 0) {
                c->idx[at] = j;
                c->val[at++] = x[r * D + j];
            }
        c->row_ptr[r + 1] = at;
        compose_row(c, r, 1);
    }
    view(c, n, out);
    return SL_OK;
}

sl_status __wrap_sl_compose_codes(sl_compose *c, const sl_codes *z, int64_t first, int64_t n, sl_compose_view *out, sl_err *err)
{
    (void)err;
    assert_true(first == 0 && n >= 1 && n <= ROOM);
    for (int64_t r = 0; r < n; r++) {
        int64_t at = c->row_ptr[r];
        for (int64_t e = z->row_ptr[r]; e < z->row_ptr[r + 1]; e++, at++) {
            c->idx[at] = z->idx[e];
            c->val[at] = z->val[e];
        }
        c->row_ptr[r + 1] = at;
        compose_row(c, r, c->change_of_codes);
    }
    view(c, n, out);
    return SL_OK;
}

sl_status __wrap_sl_compose_attribution(sl_compose *c, int64_t row, int64_t q, bool even_inactive, float *pi, sl_err *err)
{
    int64_t n = c->row_ptr[row + 1] - c->row_ptr[row], at = c->row_ptr[row];
    if (c->no_pairs)
        return sl_fail(err, SL_UNAVAILABLE, "attribution", NULL, "there are no pairs");
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < n; j++)
            pi[i * n + j] = c->drive[row * M + q] > 0 || even_inactive ? (float)(c->A[q][c->idx[at + i]][c->idx[at + j]] * (double)c->val[at + i] * (double)c->val[at + j]) : 0;
    return SL_OK;
}

/* ---- a case ---- */

typedef struct world {
    sl_ctx *ctx;
    sl_compose *c;
    sl_eval_data d;
    sl_branch b;
    float *x;
} world;

/* n rows of three to six latents; composition 0 is of all pairs (unequal ones), 1 of the pair 1-4 alone. */
static world make(int64_t n)
{
    sl_err err;
    world w = { .ctx = sl_test_ctx(1) };
    w.c = calloc(1, sizeof *w.c);
    w.c->change_of_codes = 1;
    w.x = calloc((size_t)(n * D), sizeof *w.x);
    sl_rng rng = sl_rng_at(1, SL_RNG_TEST, 0, 0);
    for (int i = 0; i < D; i++)
        for (int j = 0; j < D; j++)
            w.c->A[0][i][j] = i == j ? 0 : .1 + sl_rng_uniform(&rng);
    w.c->A[1][1][4] = 2;
    for (int64_t r = 0; r < n; r++)
        for (int j = 0; j < D; j++)
            w.x[r * D + j] = j < 3 || sl_rng_uniform(&rng) < .5 ? (float)(.5 + sl_rng_uniform(&rng)) : 0;
    w.d = (sl_eval_data){ .seed = 1, .d_in = D, .d_sae = D, .n_rows = n, .x = w.x, .z = worked_sparse(w.x, n, D) };
    sl_compose_view v;
    sl_assert_ok(__wrap_sl_compose_rows(w.c, w.x, n, &v, &err));
    w.b.m_c = M;
    sl_assert_ok(sl_codes_new(w.ctx, n, M, &w.b.c, &err));
    memcpy(w.b.c.row_ptr, v.c.row_ptr, (size_t)(n + 1) * sizeof *v.c.row_ptr);
    memcpy(w.b.c.idx, v.c.idx, (size_t)v.c.row_ptr[n] * sizeof *v.c.idx);
    memcpy(w.b.c.val, v.c.val, (size_t)v.c.row_ptr[n] * sizeof *v.c.val);
    return w;
}

static void drop(world *w)
{
    sl_branch_release(w->ctx, &w->b);
    worked_release(&w->d.z);
    free(w->x);
    free(w->c);
    sl_ctx_free(w->ctx);
}

static void ablation(void **state)
{
    (void)state;
    sl_err err;
    world w = make(300);
    sl_metrics m = { 0 };
    sl_composition_opts o = sl_composition_defaults();
    sl_assert_ok(sl_put_causal(w.ctx, w.c, &w.d, &w.b, &o, &m, &err));
    assert_true(sl_metrics_get(&m, "causal_pi")->n == 2000);
    assert_true(worked_value(&m, "attribution_error") < 1e-5);
    assert_true(worked_value(&m, "causal_pi") > .9999);
    assert_true(worked_value(&m, "index_pi") > .9999);
    assert_true(worked_value(&m, "index_mean") > .1);
    worked_null(&m, "index_attention", "does not vary");
    w.c->A[0][0][1] += 5; /* c was found without it: a sum that the attribution does not have */
    w.c->change_of_codes = 3;
    sl_assert_ok(sl_put_causal(w.ctx, w.c, &w.d, &w.b, &o, &m, &err));
    assert_true(worked_value(&m, "causal_pi") < .999);
    memset(w.b.c.row_ptr, 0, (size_t)(w.d.n_rows + 1) * sizeof *w.b.c.row_ptr);
    sl_assert_ok(sl_put_causal(w.ctx, w.c, &w.d, &w.b, &o, &m, &err));
    worked_null(&m, "causal_pi", "no composition is active");
    sl_metrics_release(w.ctx, &m);
    drop(&w);
}

/* Composition 1 is of 1 and 4 alone: half of it each, in every row with both. */
static void attributions(void **state)
{
    (void)state;
    sl_err err;
    world w = make(200);
    sl_composition_pictures p = { 0 };
    double share[M * D], strength[D * D] = { 0 }, sum = 0;
    sl_assert_ok(sl_attributions(w.ctx, w.c, &w.d, &w.b, 5, share, strength, &p, &err));
    sl_assert_close_f64("shares of 1", share + D, (const double[]){ 0, .5, 0, 0, .5, 0 }, D, 1e-12, 0);
    for (int i = 0; i < D; i++)
        sum += share[i];
    sl_assert_close_f64("sum of shares of 0", &sum, &(double){ 1 }, 1, 1e-12, 0);
    assert_int_equal(p.n_compositions, M);
    sl_assert_close_f64("all of the energy", &(double){ p.unit[0].energy + p.unit[1].energy }, &(double){ 1 }, 1, 1e-12, 0);
    assert_true(p.n_units == 2 && p.unit[0].q == 0 && p.unit[1].q == 1 && p.unit[0].fired == 200);
    const sl_composition_unit *u = &p.unit[1];
    double of_pair = 0, rows = 0, largest = 0, index = 0, sq[2] = { 0 };
    for (int64_t e = 0; e < w.b.c.row_ptr[200]; e++)
        sq[w.b.c.idx[e]] += (double)w.b.c.val[e] * (double)w.b.c.val[e];
    sl_assert_close_f64("energy of 1", &u->energy, &(double){ sq[1] / (sq[0] + sq[1]) }, 1, 1e-12, 0);
    for (int64_t r = 0; r < 200; r++) {
        double v = 2 * (double)w.x[r * D + 1] * (double)w.x[r * D + 4];
        index += rows < 32 ? v / 32 : 0; /* without 1, without 4 and without both c is 0 */
        of_pair += v;
        rows += v > 0;
        largest = v > largest ? v : largest;
    }
    of_pair /= rows;
    assert_true(u->n_pairs == 1 && u->pair[0].i == 1 && u->pair[0].j == 4 && u->n_participants == 2 && u->fired == (int64_t)rows && u->n_rows == SL_UNIT_ROWS);
    sl_assert_close_f64("I(1, 4)", &u->pair[0].attribution, &of_pair, 1, 1e-5, 0);
    sl_assert_close_f64("Delta(1, 4)", &u->pair[0].index, &index, 1, 1e-5, 0);
    sl_assert_close_f64("largest", &u->top[0].value, &largest, 1, 1e-5, 0);
    assert_true(u->top[7].value <= u->top[6].value && u->n_heat == 2);
    for (int k = 1; k < p.unit[0].n_pairs; k++)
        assert_true(fabs(p.unit[0].pair[k].attribution) <= fabs(p.unit[0].pair[k - 1].attribution));
    sl_composition_pictures_release(w.ctx, &p);
    w.c->no_pairs = true;
    sl_assert_fails(sl_attributions(w.ctx, w.c, &w.d, &w.b, 5, share, strength, NULL, &err), SL_UNAVAILABLE, "there are no pairs");
    drop(&w);
}

static void attention(void **state)
{
    (void)state;
    sl_err err;
    world w = make(100);
    sl_composition_pictures p = { 0 };
    sl_assert_ok(sl_attention_means(w.ctx, w.c, &w.d, 4, &p, &err));
    assert_true(p.n_attention == 4 && p.n_head == HEADS);
    bool always[D] = { 0 };
    for (int a = 0; a < 4; a++)
        always[p.attention_feature[a]] = true;
    assert_true(always[0] && always[1] && always[2]);
    for (int e = 0; e < HEADS * 16; e++)
        sl_assert_close_f32("mean attention", &p.attention[e], &(float){ .5f }, 1, 1e-6, 0);
    sl_composition_pictures_release(w.ctx, &p);
    drop(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(ablation), cmocka_unit_test(attributions), cmocka_unit_test(attention) };
    return cmocka_run_group_tests_name("eval_compose_causal", tests, NULL, NULL);
}
