/* The example of docs/ADD_A_VARIANT.md, built from the page itself (see CMakeLists.txt): it trains, and is what the page says it is. */
#include "rows.h"
#include "support.h"

#include "sae/variant.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

extern const sl_sae_ops sl_sae_abstopk;
typedef struct { int64_t k; } options; /* as on the page */

enum { D = 10, F = 60, H = F / 2, N = 400, K = 4 };

/* The K latents of largest |a_f|, f < H, with the pair's second half for negative ones. */
static void right_latents(const sl_sae *s, const float *x, const sl_codes *z, int64_t r)
{
    const float *W = s->W_enc->value.data, *b = s->b_enc->value.data, *c = s->b_dec->value.data;
    double a[H], least = INFINITY, most = 0;
    bool in[H] = { false };
    for (int f = 0; f < H; f++) {
        a[f] = (double)b[f];
        for (int j = 0; j < D; j++)
            a[f] += ((double)x[j] - (double)c[j]) * (double)W[f * D + j];
    }
    assert_int_equal(z->row_ptr[r + 1] - z->row_ptr[r], K);
    for (int64_t e = z->row_ptr[r]; e < z->row_ptr[r + 1]; e++) {
        int f = z->idx[e] % H;
        assert_true(!in[f] && (a[f] > 0) == (z->idx[e] < H) && fabs(fabs(a[f]) - (double)z->val[e]) < 1e-4);
        in[f] = true;
        least = fmin(least, fabs(a[f]));
    }
    for (int f = 0; f < H; f++)
        most = in[f] ? most : fmax(most, fabs(a[f]));
    assert_true(least >= most - 1e-5);
}

static void the_example_trains(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(2);
    sl_err err;
    sl_sae *s;
    rows r;
    sl_codes z;
    sl_sae_result res;
    sl_assert_ok(sl_sae_make_of(ctx, &sl_sae_abstopk, D, F, &(options){ K }, 1, SL_F32, true, &s, &err));
    rows_planted(&r, N, D, 16, 3, 6, NULL);
    sl_sae_train_config c;
    sl_opts_default(sl_sae_train_opts, &c);
    c.steps = 150;
    c.batch = 64;
    c.lr = 5e-3;
    sl_assert_ok(sl_sae_train(s, &r.src, &c, NULL, &res, &err));
    print_message("abstopk: fvu %.3f -> %.3f\n", res.curve[0].fvu, res.last.fvu);
    assert_true(res.last.fvu < .6 * res.curve[0].fvu);
    const float *W = s->W_dec->value.data;
    for (int i = 0; i < H * D; i++)
        assert_true(W[i] == -W[H * D + i]);
    sl_assert_ok(sl_codes_new(ctx, N, K, &z, &err));
    sl_assert_ok(sl_sae_encode(s, r.x, N, &z, NULL, &err));
    for (int64_t i = 0; i < N; i++)
        right_latents(s, r.x + i * D, &z, i);
    sl_codes_release(ctx, &z);
    sl_free(ctx, res.curve);
    rows_release(&r);
    sl_sae_free(s);
    sl_ctx_free(ctx);
}

static void it_refuses_an_odd_width(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    sl_err err;
    sl_sae *s;
    sl_assert_fails(sl_sae_make_of(ctx, &sl_sae_abstopk, D, F + 1, &(options){ K }, 1, SL_F32, true, &s, &err), SL_ARG, "61 latents");
    assert_null(s);
    assert_null(sl_sae_ops_find("abstopk")); /* an example, no variant of ours */
    sl_ctx_free(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(the_example_trains), cmocka_unit_test(it_refuses_an_odd_width) };
    return cmocka_run_group_tests_name("sae_add_a_variant", tests, NULL, NULL);
}
