/* What every variant promises of its training, over the table of cases: the same bits for any number of threads, resume, reload. */
#include "cases.h"
#include "rows.h"
#include "support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { D = 12, F = 40, N = 300, BATCH = 64, STEPS = 40 };

typedef struct run { float *w; int64_t n_w; double scalar[SL_SAE_SCALARS]; sl_sae_step curve[STEPS]; } run;

static sl_sae_train_config config(void)
{
    sl_sae_train_config c;
    sl_opts_default(sl_sae_train_opts, &c);
    c.steps = STEPS;
    c.batch = BATCH;
    c.lr = 5e-3;
    c.checkpoint_seconds = 0;
    c.dead_window = 1; /* what did not fire in the last batch: so that AuxK has work */
    return c;
}

static void planted(rows *r, const sl_sae *s)
{
    rows_planted(r, N, D, 20, 3, 6, NULL);
    if (s->ops->d_out)
        rows_targets(r, s->d_out, 9);
}

static sl_sae *make(sl_ctx *ctx, const variant_case *c)
{
    sl_err err;
    sl_sae *s;
    sl_assert_ok(sl_sae_new(ctx, c->variant, D, F, c->opts, 8, &s, &err));
    return s;
}

static void take(const sl_sae *s, run *out)
{
    out->n_w = sl_params_numel(s->params);
    out->w = malloc((size_t)out->n_w * sizeof *out->w);
    float *to = out->w;
    for (int i = 0; i < sl_params_count(s->params); i++) {
        const sl_tensor *t = &sl_params_at(s->params, i)->value;
        memcpy(to, t->data, sl_nbytes(t));
        to += sl_numel(t);
    }
    memcpy(out->scalar, s->state, sizeof out->scalar);
}

static void train(int threads, const variant_case *c, const char *dir, run *out)
{
    sl_ctx *ctx = sl_test_ctx(threads);
    sl_err err;
    sl_sae *s = make(ctx, c);
    rows r;
    planted(&r, s);
    sl_sae_train_config tc = config();
    sl_sae_result res;
    sl_assert_ok(sl_sae_train(s, &r.src, &tc, dir, &res, &err));
    assert_int_equal(res.n_curve, STEPS);
    memcpy(out->curve, res.curve, sizeof out->curve);
    take(s, out);
    sl_free(ctx, res.curve);
    rows_release(&r);
    sl_sae_free(s);
    sl_ctx_free(ctx);
}

static void same_run(const variant_case *c, run *a, const run *b)
{
    assert_int_equal(a->n_w, b->n_w);
    sl_assert_same_bits(c->variant, a->w, b->w, (size_t)b->n_w * sizeof *b->w);
    sl_assert_same_bits(c->variant, a->scalar, b->scalar, sizeof b->scalar);
    for (int i = 0; i < STEPS; i++)
        sl_assert_same_bits("curve", &a->curve[i], &b->curve[i], offsetof(sl_sae_step, seconds));
    free(a->w);
}

static void any_number_of_threads(void **state)
{
    (void)state;
    for (const variant_case *c = variant_cases; c->variant; c++) {
        run one, more;
        train(1, c, NULL, &one);
        for (int threads = 2; threads <= 4; threads *= 2) {
            train(threads, c, NULL, &more);
            same_run(c, &more, &one);
        }
        const sl_sae_step *first = &one.curve[0], *last = &one.curve[STEPS - 1];
        print_message("%s %s: fvu %.3f -> %.3f, l0 %.1f, dead %.2f\n", c->variant, c->label, first->fvu, last->fvu, last->l0, last->dead);
        assert_true(last->fvu < c->fvu * first->fvu);
        double dead = 0;
        for (int i = 0; i < STEPS; i++)
            dead += one.curve[i].dead;
        assert_true(!c->uses_dead || dead > 0);
        for (int i = 0; i < sl_sae_n_state(sl_sae_ops_find(c->variant)); i++)
            assert_true(isfinite(one.scalar[i]));
        free(one.w);
    }
}

/* Runs until row `at` is asked for; the signal is seen before the next step. */
static void train_until(const variant_case *c, const char *dir, int64_t at)
{
    sl_ctx *ctx = sl_test_ctx(2);
    sl_err err;
    sl_sae *s = make(ctx, c);
    rows r;
    planted(&r, s);
    r.cancel = ctx;
    r.cancel_at = at; /* the N rows for the normalisation come first, then the source is wound back */
    sl_sae_train_config tc = config();
    sl_sae_result res;
    sl_assert_fails(sl_sae_train(s, &r.src, &tc, dir, &res, &err), SL_CANCELLED, "stopped by signal 2 after step");
    rows_release(&r);
    sl_sae_free(s);
    sl_ctx_free(ctx);
}

static void resume_equals_uninterrupted(void **state)
{
    (void)state;
    for (const variant_case *c = variant_cases; c->variant; c++) {
        const char *dir = sl_test_dir("parts");
        run whole, parts;
        train(1, c, NULL, &whole);
        train_until(c, dir, N + 2 * BATCH);      /* second epoch: the position matters */
        train_until(c, dir, N + 20 * BATCH + 7); /* again, from the first checkpoint */
        train(4, c, dir, &parts);
        same_run(c, &parts, &whole);
        train(2, c, dir, &parts); /* finished: the same again, without training */
        same_run(c, &parts, &whole);
        free(whole.w);
    }
}

static void codes_of(sl_ctx *ctx, sl_sae *s, const rows *r, sl_codes *z, float **xhat)
{
    sl_err err;
    sl_assert_ok(sl_codes_new(ctx, r->n, sl_sae_about(s).max_active, z, &err));
    *xhat = calloc((size_t)(r->n * s->d_out), sizeof **xhat);
    sl_assert_ok(sl_sae_encode(s, r->x, r->n, z, *xhat, &err));
}

static void same_options(const sl_sae *a, const sl_sae *b)
{
    assert_int_equal(a->d_out, b->d_out);
    for (const sl_opt *o = a->ops->info.opts; o->type != SL_T_END; o++) {
        if (strcmp(o->name, "d_out") == 0) /* 0, which means d_in, comes back as a number */
            continue;
        char ta[128], tb[128];
        sl_opts_text(o, a->opts, ta, sizeof ta);
        sl_opts_text(o, b->opts, tb, sizeof tb);
        assert_string_equal(ta, tb);
    }
}

static void reload_gives_the_same(void **state)
{
    (void)state;
    for (const variant_case *c = variant_cases; c->variant; c++) {
        const char *dir = sl_test_dir("reload");
        sl_ctx *ctx = sl_test_ctx(1);
        sl_err err;
        sl_sae *s = make(ctx, c), *back;
        rows r;
        planted(&r, s);
        sl_sae_train_config tc = config();
        sl_sae_result res;
        sl_assert_ok(sl_sae_train(s, &r.src, &tc, NULL, &res, &err));
        sl_assert_ok(sl_sae_save(s, dir, &err));
        sl_assert_ok(sl_sae_load(ctx, dir, &back, &err));
        assert_ptr_equal(back->ops, s->ops);
        assert_ptr_equal(back->recipe, s->recipe);
        same_options(s, back);
        sl_assert_same_bits("state", back->state, s->state, sizeof s->state);
        sl_codes a, b;
        float *ya, *yb;
        codes_of(ctx, s, &r, &a, &ya);
        codes_of(ctx, back, &r, &b, &yb);
        assert_true(a.row_ptr[N] > N / 2);
        sl_assert_same_bits("rows", b.row_ptr, a.row_ptr, (N + 1) * sizeof *a.row_ptr);
        sl_assert_same_bits("latents", b.idx, a.idx, (size_t)a.row_ptr[N] * sizeof *a.idx);
        sl_assert_same_bits("values", b.val, a.val, (size_t)a.row_ptr[N] * sizeof *a.val);
        sl_assert_same_bits("reconstruction", yb, ya, (size_t)(N * s->d_out) * sizeof *ya);
        free(ya);
        free(yb);
        sl_codes_release(ctx, &a);
        sl_codes_release(ctx, &b);
        sl_free(ctx, res.curve);
        rows_release(&r);
        sl_sae_free(back);
        sl_sae_free(s);
        sl_ctx_free(ctx);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_number_of_threads), cmocka_unit_test(resume_equals_uninterrupted), cmocka_unit_test(reload_gives_the_same),
    };
    return cmocka_run_group_tests_name("sae_variants_train", tests, NULL, NULL);
}
