/* What every variant promises of its mathematics, over the registry and the table of cases: gradients, numbers of latents, features without
 * an order, linear decoding, folding. Of its training: test_variants_train.c. */
#include "cases.h"
#include "loss.h"
#include "rows.h"
#include "support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { D = 12, F = 40, MANY = 60 };

static const sl_sae_ops *ops_of(const variant_case *c)
{
    const sl_sae_ops *ops = sl_sae_ops_find(c->variant);
    if (!ops)
        fail_msg("a case for '%s', which is not registered", c->variant);
    return ops;
}

static void every_variant_has_a_case(void **state)
{
    (void)state;
    for (int v = 0; sl_variant_at(v); v++) {
        int n = 0;
        for (const variant_case *c = variant_cases; c->variant; c++)
            n += strcmp(c->variant, sl_variant_at(v)->name) == 0;
        if (n == 0)
            fail_msg("variant '%s' has no row in tests/sae/cases.c", sl_variant_at(v)->name);
    }
    for (const variant_case *c = variant_cases; c->variant; c++)
        ops_of(c);
}

static void fill(sl_param *p, uint64_t row, double scale)
{
    sl_rng g = sl_rng_at(5, SL_RNG_TEST, 7, row);
    for (int64_t i = 0; i < sl_numel(&p->value); i++) {
        double v = scale * sl_rng_normal(&g);
        if (p->value.dtype == SL_F64)
            ((double *)p->value.data)[i] = v;
        else
            ((float *)p->value.data)[i] = (float)v;
    }
    sl_param_touch(p);
}

/* Weights in general position: not tied, rows not of norm 1, biases not 0. */
static void shake(sl_sae *s)
{
    for (int i = 0; i < sl_params_count(s->params); i++)
        fill(sl_params_at(s->params, i), (uint64_t)i, sl_params_at(s->params, i)->value.n_dim > 1 ? .6 : .3);
}

/* ---- gradients ---- */

enum { GB = 6, GD = 7, GF = 16 };

typedef struct problem {
    sl_sae *s;
    double x[GB * GD], *y, *residual;   /* y, residual [GB, d_out] */
    uint8_t alive[GF];
    sl_tensor xt, yt, alive_t, residual_t;
    sl_sae_batch batch;
    bool flip;
} problem;

static double *normals(int64_t n, uint64_t row)
{
    double *v = malloc((size_t)n * sizeof *v);
    sl_rng g = sl_rng_at(6, SL_RNG_TEST, 8, row);
    for (int64_t i = 0; i < n; i++)
        v[i] = sl_rng_normal(&g);
    return v;
}

static void start(problem *p, sl_ctx *ctx, const variant_case *c, bool dead)
{
    sl_err err;
    memset(p, 0, sizeof *p);
    sl_assert_ok(sl_sae_make(ctx, c->variant, GD, GF, c->opts, 3, SL_F64, true, &p->s, &err));
    shake(p->s);
    double *x = normals(GB * GD, 1);
    memcpy(p->x, x, sizeof p->x);
    free(x);
    p->y = normals(GB * p->s->d_out, 2);
    p->residual = normals(GB * p->s->d_out, 3);
    p->xt = sl_tensor_of(SL_F64, p->x, 2, (int64_t)GB, (int64_t)GD);
    p->yt = sl_tensor_of(SL_F64, p->y, 2, (int64_t)GB, p->s->d_out);
    p->residual_t = sl_tensor_of(SL_F64, p->residual, 2, (int64_t)GB, p->s->d_out);
    p->alive_t = sl_tensor_of(SL_U8, p->alive, 1, (int64_t)GF);
    p->batch = (sl_sae_batch){ .step = 3, .steps = 100, .n = GB, .d_bar = 5.5 };
    for (int f = 0; f < GF && dead; f++) {
        p->alive[f] = f % 3 == 0;
        p->batch.n_dead += !p->alive[f];
        p->batch.alive = &p->alive_t;
        p->batch.residual = &p->residual_t;
    }
}

static void stop(problem *p)
{
    free(p->y);
    free(p->residual);
    sl_sae_free(p->s);
}

static sl_var build(sl_tape *t, void *user)
{
    problem *p = user;
    return loss_to_check(t, p->s, &p->xt, p->s->ops->d_out ? &p->yt : &p->xt, &p->batch, p->flip);
}

static int64_t trained_numel(const sl_sae *s)
{
    int64_t n = 0;
    for (int i = 0; i < sl_params_count(s->params); i++)
        n += sl_params_at(s->params, i)->flags & SL_PARAM_FROZEN ? 0 : sl_numel(&sl_params_at(s->params, i)->value);
    return n;
}

static double value_of(sl_ctx *ctx, problem *p)
{
    sl_err err;
    sl_tape *t;
    sl_assert_ok(sl_tape_new(ctx, SL_F64, &t, &err));
    double v = sl_scalar(t, build(t, p));
    sl_assert_ok(sl_tape_status(t, &err));
    sl_tape_free(t);
    return v;
}

static void gradients(void **state)
{
    (void)state;
    for (const variant_case *c = variant_cases; c->variant; c++) {
        double value[2];
        for (int dead = 0; dead < 2; dead++) {
            sl_ctx *ctx = sl_test_ctx(1);
            sl_err err;
            problem p;
            sl_gradcheck g;
            start(&p, ctx, c, dead);
            value[dead] = value_of(ctx, &p);
            sl_assert_ok(sl_params_check(ctx, p.s->params, build, &p, 1, &g, &err));
            assert_int_equal(g.n_checked, trained_numel(p.s));
            if (!(g.max_rel_err < 1e-6))
                fail_msg("%s %s%s: relative error %g: %s", c->variant, c->label, dead ? ", some dead" : "", g.max_rel_err, g.worst);
            p.flip = true;
            sl_assert_ok(sl_params_check(ctx, p.s->params, build, &p, 1, &g, &err));
            assert_true(g.max_rel_err > .5);
            stop(&p);
            sl_ctx_free(ctx);
        }
        if (c->uses_dead != (value[0] != value[1]))
            fail_msg("%s %s: loss %g, with dead latents %g", c->variant, c->label, value[0], value[1]);
    }
}

/* ---- codes ---- */

static sl_sae *shaken(sl_ctx *ctx, const variant_case *c)
{
    sl_err err;
    sl_sae *s;
    sl_assert_ok(sl_sae_new(ctx, c->variant, D, F, c->opts, 11, &s, &err));
    shake(s);
    for (int f = 4; f < F && s->b_enc; f++) /* most latents mostly off, so that some rows have fewer than k positive ones */
        ((float *)s->b_enc->value.data)[f] -= 3.5f;
    return s;
}

static int positives(const sl_sae *s, const float *x)
{
    const float *W = s->W_enc->value.data, *b = s->b_enc->value.data, *c = s->b_dec->value.data;
    int n = 0;
    for (int f = 0; f < F; f++) {
        double a = (double)b[f];
        for (int j = 0; j < D; j++)
            a += ((double)x[j] - (s->center_input ? (double)c[j] : 0)) * (double)W[f * D + j];
        n += a > 0;
    }
    return n;
}

static void count_row(void *user, int64_t first, const sl_csr *part)
{
    int *n = user;
    for (int64_t r = 0; r < part->n_rows; r++)
        for (int64_t e = part->row_ptr[r]; e < part->row_ptr[r + 1]; e++) {
            n[first + r]++;
            assert_true(((const float *)part->val)[e] > 0);
            assert_true(e == part->row_ptr[r] || part->idx[e] > part->idx[e - 1]);
        }
}

static void right_number_of_latents(void **state)
{
    (void)state;
    for (const variant_case *c = variant_cases; c->variant; c++) {
        if (c->k == 0)
            continue;
        sl_ctx *ctx = sl_test_ctx(2);
        sl_err err;
        sl_sae *s = shaken(ctx, c);
        rows r;
        rows_normal(&r, MANY, D, 0, 1);
        sl_tape *t;
        sl_assert_ok(sl_tape_new(ctx, SL_F32, &t, &err));
        sl_tensor x = sl_tensor_of(SL_F32, r.x, 2, (int64_t)MANY, (int64_t)D);
        sl_sae_batch b = { .step = 3, .steps = 10, .n = MANY, .d_bar = D };
        int got[MANY] = { 0 }, sum = 0, all = 0, full = 0, part = 0;
        sl_latents_visit(t, s->ops->encode(t, s, sl_const(t, &x), &b), count_row, got);
        sl_assert_ok(sl_tape_status(t, &err));
        for (int i = 0; i < MANY; i++) {
            int n = positives(s, r.x + i * D);
            full += n >= c->k, part += n < c->k, sum += got[i], all += n;
            if (!c->per_batch)
                assert_int_equal(got[i], n < c->k ? n : c->k);
        }
        assert_true(full > 5 && part > 5); /* both kinds of row were seen */
        if (c->per_batch)
            assert_int_equal(sum, all < MANY * c->k ? all : MANY * c->k);
        sl_tape_free(t);
        rows_release(&r);
        sl_sae_free(s);
        sl_ctx_free(ctx);
    }
}

static void codes_of(sl_ctx *ctx, sl_sae *s, const rows *r, sl_codes *z, float **xhat)
{
    sl_err err;
    sl_assert_ok(sl_codes_new(ctx, r->n, sl_sae_about(s).max_active, z, &err));
    *xhat = calloc((size_t)(r->n * s->d_out), sizeof **xhat);
    sl_assert_ok(sl_sae_encode(s, r->x, r->n, z, *xhat, &err));
}

/* Feature f of one SAE is feature (7 f) mod F of the other, in every weight that has a row a feature. */
static void feature_order_means_nothing(void **state)
{
    (void)state;
    for (const variant_case *c = variant_cases; c->variant; c++) {
        sl_ctx *ctx = sl_test_ctx(1);
        sl_sae *s = shaken(ctx, c), *p = shaken(ctx, c);
        for (int i = 0; i < sl_params_count(s->params); i++) {
            const sl_tensor *from = &sl_params_at(s->params, i)->value, *to = &sl_params_at(p->params, i)->value;
            size_t row = sl_nbytes(from) / F;
            for (int f = 0; f < F && from->dim[0] == F; f++)
                memcpy((char *)to->data + (size_t)(7 * f % F) * row, (const char *)from->data + (size_t)f * row, row);
            sl_param_touch(sl_params_at(p->params, i));
        }
        rows r;
        rows_normal(&r, MANY, D, 0, 1);
        sl_codes a, b;
        float *ya, *yb;
        codes_of(ctx, s, &r, &a, &ya);
        codes_of(ctx, p, &r, &b, &yb);
        assert_true(a.row_ptr[MANY] > MANY / 2);
        for (int64_t i = 0; i < MANY; i++) {
            assert_int_equal(a.row_ptr[i + 1], b.row_ptr[i + 1]);
            for (int64_t e = a.row_ptr[i]; e < a.row_ptr[i + 1]; e++) {
                int64_t q = a.row_ptr[i];
                while (q < a.row_ptr[i + 1] && b.idx[q] != 7 * a.idx[e] % F)
                    q++;
                assert_true(q < a.row_ptr[i + 1] && fabs((double)b.val[q] - (double)a.val[e]) < 1e-5);
            }
        }
        sl_assert_close_f32(c->variant, yb, ya, MANY * s->d_out, 2e-5, 2e-5);
        free(ya);
        free(yb);
        sl_codes_release(ctx, &a);
        sl_codes_release(ctx, &b);
        rows_release(&r);
        sl_sae_free(s);
        sl_sae_free(p);
        sl_ctx_free(ctx);
    }
}

/* decode(2 z1 + 3 z2) - decode(0) = 2 (decode(z1) - decode(0)) + 3 (decode(z2) - decode(0)) */
static void decode_is_linear(void **state)
{
    (void)state;
    for (const variant_case *c = variant_cases; c->variant; c++) {
        sl_ctx *ctx = sl_test_ctx(1);
        sl_err err;
        sl_sae *s = shaken(ctx, c);
        sl_codes z;
        sl_assert_ok(sl_codes_new(ctx, 4, F, &z, &err));
        memcpy(z.idx, (int32_t[]){ 1, 5, 5, 30, 1, 5, 30 }, 7 * sizeof *z.idx);
        memcpy(z.val, (float[]){ 1, 2, 3, 4, 2, 2 * 2 + 3 * 3, 3 * 4 }, 7 * sizeof *z.val);
        memcpy(z.row_ptr, (int64_t[]){ 0, 2, 4, 7, 7 }, 5 * sizeof *z.row_ptr);
        float *y = calloc((size_t)(4 * s->d_out), sizeof *y);
        sl_assert_ok(sl_sae_decode(s, &z, 4, y, &err));
        double off = 0, size = 0;
        for (int64_t j = 0; j < s->d_out; j++) {
            double zero = (double)y[3 * s->d_out + j], sum = 2 * ((double)y[j] - zero) + 3 * ((double)y[s->d_out + j] - zero) + zero;
            off = fmax(off, fabs((double)y[2 * s->d_out + j] - sum));
            size = fmax(size, fabs(sum - zero));
        }
        assert_true(size > 1 && (c->own_decoder || off < 1e-4)); /* own_decoder: only that decoding works */
        free(y);
        sl_codes_release(ctx, &z);
        sl_sae_free(s);
        sl_ctx_free(ctx);
    }
}

/* Before: x^_n of normalised rows. After folding: x^ of the raw rows, which is x^_n / c_y + mu_y, from as many latents. */
static void folding_changes_nothing(void **state)
{
    (void)state;
    const double c_in = .5, c_out = .25;
    for (const variant_case *c = variant_cases; c->variant; c++) {
        sl_ctx *ctx = sl_test_ctx(1);
        sl_err err;
        sl_sae *s = shaken(ctx, c);
        sl_tape *t;
        rows r, normal;
        rows_normal(&r, MANY, D, 0, 1);
        rows_normal(&normal, MANY, D, 0, 1);
        int O = (int)s->d_out;
        float mean[D], mean_out[D], xhat[MANY * D];
        assert_true(O <= D);
        for (int j = 0; j < D; j++) {
            mean[j] = (float)(.3 * j - 1);
            mean_out[j] = s->ops->d_out ? (float)(1 - .2 * j) : mean[j];
        }
        for (int i = 0; i < MANY * D; i++)
            normal.x[i] = (float)(c_in * ((double)r.x[i] - (double)mean[i % D]));
        sl_tensor raw = sl_tensor_of(SL_F32, r.x, 2, (int64_t)MANY, (int64_t)D), x = sl_tensor_of(SL_F32, normal.x, 2, (int64_t)MANY, (int64_t)D);
        sl_tensor m = sl_tensor_of(SL_F32, mean, 1, (int64_t)D), my = sl_tensor_of(SL_F32, mean_out, 1, s->d_out);
        double cy = s->ops->d_out ? c_out : c_in;
        const sl_kern *k;
        sl_assert_ok(sl_kern_get(ctx, SL_F32, &k, &err));
        if (!s->W_enc) /* its rows are of norm 1 when it is trained */
            k->row_normalize(k, &s->W_dec->value);
        sl_assert_ok(sl_tape_new(ctx, SL_F32, &t, &err));
        sl_sae_pass p = sl_sae_forward(t, s, sl_const(t, &x), (sl_var){ 0 }, NULL);
        int before[MANY] = { 0 }, after[MANY] = { 0 }, differ = 0;
        sl_latents_visit(t, p.z, count_row, before);
        sl_assert_ok(sl_tape_status(t, &err));
        for (int i = 0; i < MANY * O; i++)
            xhat[i] = (float)((double)((const float *)sl_value(t, p.xhat)->data)[i] / cy + (double)mean_out[i % O]);
        sl_sae_fold f = { &m, &my, c_in, cy };
        assert_true(s->ops->fold ? s->ops->fold(k, s, &f) : sl_sae_fold_linear(k, s, &f));
        for (int i = 0; i < sl_params_count(s->params); i++)
            sl_param_touch(sl_params_at(s->params, i));
        sl_tape_reset(t);
        p = sl_sae_forward(t, s, sl_const(t, &raw), (sl_var){ 0 }, NULL);
        sl_latents_visit(t, p.z, count_row, after);
        sl_assert_ok(sl_tape_status(t, &err));
        sl_assert_close_f32(c->variant, sl_value(t, p.xhat)->data, xhat, MANY * O, 2e-4, 2e-4);
        for (int i = 0; i < MANY; i++)
            differ += before[i] != after[i];
        assert_int_equal(differ, 0);
        sl_tape_free(t);
        rows_release(&r);
        rows_release(&normal);
        sl_sae_free(s);
        sl_ctx_free(ctx);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_variant_has_a_case), cmocka_unit_test(gradients), cmocka_unit_test(right_number_of_latents),
        cmocka_unit_test(feature_order_means_nothing), cmocka_unit_test(decode_is_linear), cmocka_unit_test(folding_changes_nothing),
    };
    return cmocka_run_group_tests_name("sae_variants", tests, NULL, NULL);
}
