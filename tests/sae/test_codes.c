/* What codes are: exactly min(k, positive) a row, the right ones; decoding is linear; the order of features means nothing; errors. */
#include "rows.h"
#include "support.h"

#include "sae/variant.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { N = 37, D = 9, F = 40, K = 6 };

static sl_sae *make(sl_ctx *ctx, const char *variant, const void *opts)
{
    sl_err err;
    sl_sae *s;
    sl_assert_ok(sl_sae_new(ctx, variant, D, F, opts, 11, &s, &err));
    sl_rng g = sl_rng_at(2, SL_RNG_TEST, 3, 4);
    float *b = s->b_enc->value.data, *c = s->b_dec->value.data;
    for (int f = 0; f < F; f++) /* most latents are mostly off, so that some rows have fewer than k positive ones */
        b[f] = (float)(.3 * sl_rng_normal(&g) - (f < 4 ? 0 : 2.5));
    for (int j = 0; j < D; j++)
        c[j] = (float)(.2 * sl_rng_normal(&g));
    sl_param_touch(s->b_enc);
    sl_param_touch(s->b_dec);
    return s;
}

static double pre(const sl_sae *s, const float *x, int f)
{
    const float *w = (const float *)s->W_enc->value.data + f * D, *c = s->b_dec->value.data;
    double a = (double)((const float *)s->b_enc->value.data)[f];
    for (int j = 0; j < D; j++)
        a += ((double)x[j] - (double)c[j]) * (double)w[j];
    return a;
}

static void check_row(const sl_sae *s, const float *x, const sl_codes *z, int64_t r, int64_t k)
{
    double a[F];
    int positive = 0;
    for (int f = 0; f < F; f++) {
        a[f] = pre(s, x, f);
        positive += a[f] > 0;
    }
    int64_t n = z->row_ptr[r + 1] - z->row_ptr[r];
    assert_int_equal(n, positive < k ? positive : k);
    double smallest = INFINITY;
    bool in[F] = { false };
    for (int64_t e = z->row_ptr[r]; e < z->row_ptr[r + 1]; e++) {
        assert_true(z->val[e] > 0);
        assert_true(e == z->row_ptr[r] || z->idx[e] > z->idx[e - 1]);
        assert_true(fabs((double)z->val[e] - a[z->idx[e]]) < 1e-5);
        in[z->idx[e]] = true;
        smallest = fmin(smallest, (double)z->val[e]);
    }
    for (int f = 0; f < F && n == k; f++)
        assert_true(in[f] || a[f] < smallest + 1e-6);
}

static void right_latents(const char *variant, const void *opts, int64_t k)
{
    sl_ctx *ctx = sl_test_ctx(2);
    sl_err err;
    sl_sae *s = make(ctx, variant, opts);
    rows r;
    rows_normal(&r, N, D, 0, 1);
    sl_codes z;
    sl_assert_ok(sl_codes_new(ctx, N, sl_sae_about(s).max_active, &z, &err));
    float *xhat = malloc(N * D * sizeof *xhat), *again = malloc(N * D * sizeof *again);
    sl_assert_ok(sl_sae_encode(s, r.x, N, &z, xhat, &err));
    int64_t full = 0, part = 0;
    for (int64_t i = 0; i < N; i++) {
        check_row(s, r.x + i * D, &z, i, k);
        full += z.row_ptr[i + 1] - z.row_ptr[i] == k;
        part += z.row_ptr[i + 1] - z.row_ptr[i] < k;
    }
    assert_true(part > 0 && (k == F || full > 0)); /* both kinds of row were seen */
    sl_assert_ok(sl_sae_decode(s, &z, N, again, &err));
    sl_assert_close_f32("decode", again, xhat, N * D, 1e-6, 1e-5);
    free(xhat);
    free(again);
    sl_codes_release(ctx, &z);
    rows_release(&r);
    sl_sae_free(s);
    sl_ctx_free(ctx);
}

static void topk_right_latents(void **state)
{
    (void)state;
    right_latents("topk", &(sl_topk_options){ .k = K, .aux_alpha = 1 }, K);
}

static void standard_right_latents(void **state)
{
    (void)state;
    right_latents("standard", NULL, F);
}

/* decode(a z1 + b z2) - b_dec = a (decode(z1) - b_dec) + b (decode(z2) - b_dec); decode(0) = b_dec */
static void decode_is_linear(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    sl_err err;
    sl_sae *s = make(ctx, "topk", &(sl_topk_options){ .k = K });
    sl_codes z;
    sl_assert_ok(sl_codes_new(ctx, 4, F, &z, &err));
    const int32_t idx[] = { 1, 5, 5, 30, 1, 5, 30 };
    const float val[] = { 1, 2, 3, 4, 2, 2 * 2 + 3 * 3, 3 * 4 };
    memcpy(z.idx, idx, sizeof idx);
    memcpy(z.val, val, sizeof val);
    memcpy(z.row_ptr, (int64_t[]){ 0, 2, 4, 7, 7 }, 5 * sizeof(int64_t)); /* z1; z2; 2 z1 + 3 z2; 0 */
    float y[4][D];
    sl_assert_ok(sl_sae_decode(s, &z, 4, y[0], &err));
    const float *b = s->b_dec->value.data;
    for (int j = 0; j < D; j++) {
        double expected = 2 * (double)(y[0][j] - b[j]) + 3 * (double)(y[1][j] - b[j]) + (double)b[j];
        assert_true(fabs((double)y[2][j] - expected) < 1e-4);
        assert_true(y[3][j] == b[j]);
    }
    sl_codes_release(ctx, &z);
    sl_sae_free(s);
    sl_ctx_free(ctx);
}

/* Feature f of one SAE is feature (7 f) mod F of the other. */
static void feature_order_means_nothing(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    sl_err err;
    sl_sae *s = make(ctx, "topk", &(sl_topk_options){ .k = K }), *p = make(ctx, "topk", &(sl_topk_options){ .k = K });
    for (int f = 0; f < F; f++) {
        int to = 7 * f % F;
        memcpy((float *)p->W_enc->value.data + to * D, (float *)s->W_enc->value.data + f * D, D * sizeof(float));
        memcpy((float *)p->W_dec->value.data + to * D, (float *)s->W_dec->value.data + f * D, D * sizeof(float));
        ((float *)p->b_enc->value.data)[to] = ((float *)s->b_enc->value.data)[f];
    }
    sl_param_touch(p->W_enc);
    sl_param_touch(p->W_dec);
    sl_param_touch(p->b_enc);
    rows r;
    rows_normal(&r, N, D, 0, 1);
    sl_codes a, b;
    float *ya = malloc(N * D * sizeof *ya), *yb = malloc(N * D * sizeof *yb);
    sl_assert_ok(sl_codes_new(ctx, N, K, &a, &err));
    sl_assert_ok(sl_codes_new(ctx, N, K, &b, &err));
    sl_assert_ok(sl_sae_encode(s, r.x, N, &a, ya, &err));
    sl_assert_ok(sl_sae_encode(p, r.x, N, &b, yb, &err));
    for (int64_t i = 0; i < N; i++) {
        assert_int_equal(a.row_ptr[i + 1], b.row_ptr[i + 1]);
        for (int64_t e = a.row_ptr[i]; e < a.row_ptr[i + 1]; e++) {
            int64_t q = a.row_ptr[i];
            while (q < a.row_ptr[i + 1] && b.idx[q] != 7 * a.idx[e] % F)
                q++;
            assert_true(q < a.row_ptr[i + 1] && b.val[q] == a.val[e]); /* sl_dot decides: the same bits */
        }
    }
    sl_assert_close_f32("reconstruction", yb, ya, N * D, 1e-5, 1e-5); /* summed in another order */
    free(ya);
    free(yb);
    sl_codes_release(ctx, &a);
    sl_codes_release(ctx, &b);
    rows_release(&r);
    sl_sae_free(s);
    sl_sae_free(p);
    sl_ctx_free(ctx);
}

static void new_is_tied_and_unit(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    sl_err err;
    sl_sae *s, *other;
    sl_assert_ok(sl_sae_new(ctx, "topk", D, F, &(sl_topk_options){ .k = K }, 1, &s, &err));
    sl_assert_ok(sl_sae_new(ctx, "topk", D, F, &(sl_topk_options){ .k = K }, 2, &other, &err));
    sl_tensor enc, dec, b;
    sl_assert_ok(sl_sae_weight(s, "W_enc", &enc, &err));
    sl_assert_ok(sl_sae_weight(s, "W_dec", &dec, &err));
    sl_assert_ok(sl_sae_weight(s, "b_enc", &b, &err));
    sl_assert_same_bits("tied", enc.data, dec.data, sl_nbytes(&dec));
    for (int f = 0; f < F; f++) {
        double sq = 0;
        for (int j = 0; j < D; j++)
            sq += pow((double)((float *)dec.data)[f * D + j], 2);
        assert_true(fabs(sq - 1) < 1e-5);
        assert_true(((float *)b.data)[f] == 0);
    }
    sl_assert_ok(sl_sae_weight(other, "W_dec", &enc, &err));
    assert_memory_not_equal(enc.data, dec.data, sl_nbytes(&dec)); /* another seed, another SAE */
    sl_assert_fails(sl_sae_weight(s, "W_gate", &enc, &err), SL_MISSING, "W_gate");
    sl_sae_free(s);
    sl_sae_free(other);
    sl_ctx_free(ctx);
}

static void bad_arguments(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    sl_err err;
    sl_sae *s = NULL;
    sl_assert_fails(sl_sae_new(ctx, "tokp", D, F, NULL, 0, &s, &err), SL_ARG, "tokp");
    sl_assert_fails(sl_sae_new(ctx, "topk", D, 31, NULL, 0, &s, &err), SL_ARG, "k: 32 active latents of 31");
    sl_assert_fails(sl_sae_new(ctx, "topk", D, F, &(sl_topk_options){ .k = 0 }, 0, &s, &err), SL_ARG, "k: 0 is out of range");
    sl_assert_fails(sl_sae_new(ctx, "standard", D, F, &(sl_standard_options){ .l1 = NAN }, 0, &s, &err), SL_ARG, "l1: nan is out of range");
    sl_assert_fails(sl_sae_new(ctx, "standard", D, F, &(sl_standard_options){ .decoder = 2 }, 0, &s, &err), SL_ARG, "decoder: 2 is out of range");
    sl_assert_fails(sl_sae_new(ctx, "topk", 0, F, NULL, 0, &s, &err), SL_ARG, "d_in");
    sl_assert_fails(sl_sae_new(ctx, "topk", (int64_t)1 << 40, F, NULL, 0, &s, &err), SL_ARG, "d_in");
    assert_null(s);
    s = make(ctx, "topk", &(sl_topk_options){ .k = K });
    rows r;
    rows_normal(&r, N, D, 0, 1);
    sl_codes z;
    sl_assert_ok(sl_codes_new(ctx, 3, K, &z, &err));
    sl_assert_fails(sl_sae_encode(s, r.x, 4, &z, NULL, &err), SL_SHAPE, "4 rows into codes of 3");
    sl_assert_ok(sl_sae_encode(s, r.x, 3, &z, NULL, &err));
    z.capacity = z.row_ptr[3] - 1;
    sl_assert_fails(sl_sae_encode(s, r.x, 3, &z, NULL, &err), SL_SHAPE, "do not hold");
    z.capacity = 3 * K;
    r.x[D + 2] = INFINITY;
    sl_assert_fails(sl_sae_encode(s, r.x, 3, &z, NULL, &err), SL_NUMERIC, "row 1, column 2 is inf");
    sl_codes_release(ctx, &z);
    sl_assert_fails(sl_codes_new(ctx, INT64_MAX / 4, 8, &z, &err), SL_ARG, "codes");
    rows_release(&r);
    sl_sae_free(s);
    sl_ctx_free(ctx);
}

/* Every allocation of making and encoding may fail: SL_MEM, and nothing leaks. */
static void out_of_memory(void **state)
{
    (void)state;
    rows r;
    rows_normal(&r, N, D, 0, 1);
    bool done = false;
    int failed = 0;
    for (int64_t n = 1; !done && n < 200; n++) {
        sl_ctx *ctx = sl_ctx_new(&(sl_ctx_opts){ .fail_alloc_at = n, .n_threads = 1 });
        sl_err err;
        sl_sae *s = NULL;
        sl_codes z = { 0 };
        if (!ctx)
            continue;
        sl_status st = sl_sae_new(ctx, "topk", D, F, &(sl_topk_options){ .k = K }, 0, &s, &err);
        if (st == SL_OK)
            st = sl_codes_new(ctx, N, K, &z, &err);
        if (st == SL_OK)
            st = sl_sae_encode(s, r.x, N, &z, NULL, &err);
        if (st != SL_OK)
            assert_int_equal(st, SL_MEM);
        failed += st == SL_MEM;
        done = st == SL_OK && sl_alloc_count(ctx) < n;
        sl_codes_release(ctx, &z);
        sl_sae_free(s);
        sl_ctx_free(ctx);
    }
    assert_true(done && failed > 5);
    rows_release(&r);
}

/* Dense latents become CSR in parts, rows are encoded in chunks: no seam shows. */
static void no_seams(void **state)
{
    (void)state;
    enum { d = 2, width = 8192, n = 2100, part = 700 };
    sl_ctx *ctx = sl_test_ctx(1);
    sl_err err;
    sl_sae *s;
    sl_assert_ok(sl_sae_new(ctx, "standard", d, width, NULL, 3, &s, &err));
    float *b = s->b_enc->value.data;
    for (int f = 0; f < width; f++)
        b[f] = f % 50 ? -1e9f : 0; /* few fire */
    sl_param_touch(s->b_enc);
    rows r;
    rows_normal(&r, n, d, 0, 1);
    sl_codes all, some;
    sl_assert_ok(sl_codes_new(ctx, n, width / 50 + 1, &all, &err));
    sl_assert_ok(sl_codes_new(ctx, part, width / 50 + 1, &some, &err));
    sl_assert_ok(sl_sae_encode(s, r.x, n, &all, NULL, &err));
    for (int64_t first = 0; first < n; first += part) {
        sl_assert_ok(sl_sae_encode(s, r.x + first * d, part, &some, NULL, &err));
        for (int64_t i = 0; i < part; i++) {
            int64_t at = all.row_ptr[first + i], to = some.row_ptr[i], len = some.row_ptr[i + 1] - to;
            assert_true(len > 0 && len == all.row_ptr[first + i + 1] - at);
            assert_memory_equal(all.idx + at, some.idx + to, (size_t)len * sizeof(int32_t));
            sl_assert_close_f32("codes", all.val + at, some.val + to, len, 1e-6, 1e-6);
        }
    }
    sl_codes_release(ctx, &all);
    sl_codes_release(ctx, &some);
    rows_release(&r);
    sl_sae_free(s);
    sl_ctx_free(ctx);
}

static void registry_is_whole(void **state)
{
    (void)state;
    int n = 0;
    for (const sl_variant_info *v; (v = sl_variant_at(n)); n++) {
        const sl_sae_ops *ops = sl_sae_ops_find(v->name);
        assert_ptr_equal(sl_variant_find(v->name), v);
        assert_non_null(ops);
        assert_true(v->what && *v->what && v->paper && *v->paper && v->opts && v->opts_size > 0);
        assert_true(ops->unit_decoder && ops->max_active && ops->encode && ops->loss);
        for (const sl_opt *o = v->opts; o->type != SL_T_END; o++)
            assert_true(o->help && *o->help && o->offset < v->opts_size);
    }
    assert_true(n >= 2);
    assert_null(sl_variant_at(-1));
    assert_null(sl_variant_find("none"));
    assert_null(sl_variant_find(NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(topk_right_latents), cmocka_unit_test(standard_right_latents), cmocka_unit_test(decode_is_linear),
        cmocka_unit_test(feature_order_means_nothing), cmocka_unit_test(new_is_tied_and_unit), cmocka_unit_test(bad_arguments),
        cmocka_unit_test(out_of_memory), cmocka_unit_test(no_seams),
        cmocka_unit_test(registry_is_whole),
    };
    return cmocka_run_group_tests_name("sae_codes", tests, NULL, NULL);
}
