/* Training: same bits for any thread count, resume equals uninterrupted, recovery of a planted dictionary, revival of dead latents. */
#include "rows.h"
#include "support.h"

#include "io/io.h"
#include "sae/variant.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { D = 12, F = 80, N = 500, STEPS = 40, BATCH = 64 };

static sl_sae_train_config config(void)
{
    sl_sae_train_config c;
    sl_opts_default(sl_sae_train_opts, &c);
    c.steps = STEPS;
    c.batch = BATCH;
    c.lr = 5e-3;
    c.checkpoint_seconds = 0;
    c.dead_window = 2 * BATCH; /* so that AuxK has work */
    return c;
}

static sl_sae *make(sl_ctx *ctx, const char *variant)
{
    sl_err err;
    sl_sae *s;
    const void *opts = strcmp(variant, "topk") == 0 ? (const void *)&(sl_topk_options){ .k = 3, .k_aux = 5, .aux_alpha = .1 } : NULL;
    sl_assert_ok(sl_sae_new(ctx, variant, D, F, opts, 8, &s, &err));
    return s;
}

/* All weights, one after the other. */
static void weights(const sl_sae *s, float out[2 * F * D + F + D])
{
    static const char *const names[] = { "W_enc", "b_enc", "W_dec", "b_dec" };
    for (int i = 0; i < 4; i++) {
        sl_tensor t;
        sl_err err;
        sl_assert_ok(sl_sae_weight(s, names[i], &t, &err));
        memcpy(out, t.data, sl_nbytes(&t));
        out += sl_numel(&t);
    }
}

typedef struct run { float w[2 * F * D + F + D]; sl_sae_step curve[64]; int64_t n; } run;

static void train(int threads, const char *variant, const char *dir, run *out)
{
    sl_ctx *ctx = sl_test_ctx(threads);
    sl_err err;
    rows r;
    rows_planted(&r, N, D, 20, 3, 6, NULL);
    sl_sae *s = make(ctx, variant);
    sl_sae_train_config c = config();
    sl_sae_result res;
    sl_assert_ok(sl_sae_train(s, &r.src, &c, dir, &res, &err));
    weights(s, out->w);
    assert_true(res.n_curve > 0 && res.n_curve <= 64);
    out->n = res.n_curve;
    memcpy(out->curve, res.curve, (size_t)res.n_curve * sizeof *res.curve);
    sl_free(ctx, res.curve);
    sl_sae_free(s);
    rows_release(&r);
    sl_ctx_free(ctx);
}

static void same_run(const run *a, const run *b)
{
    sl_assert_same_bits("weights", a->w, b->w, sizeof a->w);
    assert_int_equal(a->n, b->n);
    for (int64_t i = 0; i < a->n; i++)
        sl_assert_same_bits("curve", &a->curve[i], &b->curve[i], offsetof(sl_sae_step, seconds));
}

static void any_thread_count(void **state)
{
    (void)state;
    for (int v = 0; v < 2; v++) { /* the others: test_variants.c */
        run one, more;
        train(1, sl_variant_at(v)->name, NULL, &one);
        for (int threads = 2; threads <= 4; threads *= 2) {
            train(threads, sl_variant_at(v)->name, NULL, &more);
            same_run(&more, &one);
        }
        assert_int_equal(one.n, STEPS);
        assert_true(strcmp(sl_variant_at(v)->name, "topk") != 0 || one.curve[STEPS / 2].dead > 0);
        print_message("%s: fvu %.3f -> %.3f, dead at the end %.2f\n", sl_variant_at(v)->name, one.curve[0].fvu, one.curve[STEPS - 1].fvu, one.curve[STEPS - 1].dead);
        assert_true(one.curve[STEPS - 1].fvu < .7 * one.curve[0].fvu);
    }
}

/* Every option of the run reaches it: changed, it changes the weights. */
static void options_matter(void **state)
{
    (void)state;
    static const struct { const char *name, *text; } change[] = {
        { "steps", "39" }, { "batch", "63" }, { "warmup", "0" }, { "lr", "0.004" }, { "decay_fraction", "0.1" }, { "beta1", "0.8" },
        { "beta2", "0.99" }, { "clip", "0.001" }, { "dead_window", "1" }, { "normalize", "false" } };
    run base;
    train(1, "topk", NULL, &base);
    for (size_t i = 0; i < sizeof change / sizeof *change; i++) {
        sl_ctx *ctx = sl_test_ctx(1);
        sl_err err;
        rows r;
        float w[2 * F * D + F + D];
        rows_planted(&r, N, D, 20, 3, 6, NULL);
        sl_sae *s = make(ctx, "topk");
        sl_sae_train_config c = config();
        sl_assert_ok(sl_opts_set(ctx, sl_sae_train_opts, &c, change[i].name, change[i].text, "test", SL_ARG, &err));
        sl_sae_result res;
        sl_assert_ok(sl_sae_train(s, &r.src, &c, NULL, &res, &err));
        weights(s, w);
        if (memcmp(w, base.w, sizeof w) == 0)
            fail_msg("%s changes nothing", change[i].name);
        sl_free(ctx, res.curve);
        sl_sae_free(s);
        rows_release(&r);
        sl_ctx_free(ctx);
    }
}

static char *read_all(sl_ctx *ctx, const char *dir, const char *name)
{
    char path[600], *text;
    size_t n;
    sl_err err;
    snprintf(path, sizeof path, "%s/%s", dir, name);
    sl_assert_ok(sl_file_read(ctx, path, &text, &n, &err));
    return text;
}

/* metrics.csv without its last column, the seconds */
static char *metrics_of(sl_ctx *ctx, const char *dir)
{
    char *text = read_all(ctx, dir, "metrics.csv"), *to = text;
    for (char *line = text; *line;) {
        char *end = strchr(line, '\n');
        assert_non_null(end);
        *end = 0;
        char *comma = strrchr(line, ',');
        assert_non_null(comma);
        memmove(to, line, (size_t)(comma - line));
        to += comma - line;
        *to++ = '\n';
        line = end + 1;
    }
    *to = 0;
    return text;
}

/* Runs until row `at` is asked for; the signal is seen before the next step. */
static void train_until(const char *variant, const char *dir, int64_t at)
{
    sl_ctx *ctx = sl_test_ctx(2);
    sl_err err;
    rows r;
    rows_planted(&r, N, D, 20, 3, 6, NULL);
    r.cancel = ctx;
    r.cancel_at = at; /* the N rows for the normalisation come first, then the source is wound back */
    sl_sae *s = make(ctx, variant);
    sl_sae_train_config c = config();
    sl_sae_result res;
    sl_assert_fails(sl_sae_train(s, &r.src, &c, dir, &res, &err), SL_CANCELLED, "stopped by signal 2 after step");
    sl_codes z;
    sl_assert_ok(sl_codes_new(ctx, N, F, &z, &err));
    sl_assert_fails(sl_sae_encode(s, r.x, N, &z, NULL, &err), SL_ARG, "its training did not finish");
    sl_assert_fails(sl_sae_save(s, dir, &err), SL_ARG, "its training did not finish");
    sl_codes_release(ctx, &z);
    sl_sae_free(s);
    rows_release(&r);
    sl_ctx_free(ctx);
}

static void resume_equals_uninterrupted(void **state)
{
    (void)state;
    for (int v = 0; v < 2; v++) {
        const char *name = sl_variant_at(v)->name, *a = sl_test_dir("whole"), *b = sl_test_dir("parts");
        run whole, parts;
        train(1, name, a, &whole);
        train_until(name, b, N + 2 * BATCH);      /* second epoch: the position matters */
        train_until(name, b, N + 20 * BATCH + 7); /* again, from the first checkpoint */
        train(4, name, b, &parts);
        same_run(&parts, &whole);
        sl_ctx *ctx = sl_test_ctx(1);
        char *ma = metrics_of(ctx, a), *mb = metrics_of(ctx, b);
        assert_string_equal(ma, mb);
        static const char begin[] = "step,samples,loss,fvu,l0,dead,lr,recon_loss,penalty\n1,64,";
        assert_int_equal(strncmp(ma, begin, sizeof begin - 1), 0);
        sl_free(ctx, ma);
        sl_free(ctx, mb);
        sl_ctx_free(ctx);
        train(2, name, b, &parts); /* finished: the same again, without training */
        same_run(&parts, &whole);
    }
}

static void checkpoints_of_another_training(void **state)
{
    (void)state;
    const char *dir = sl_test_dir("other");
    run first;
    train(1, "topk", dir, &first);
    sl_ctx *ctx = sl_test_ctx(1);
    sl_err err;
    rows r;
    rows_planted(&r, N, D, 20, 3, 6, NULL);
    sl_sae_result res;
    sl_sae_train_config c = config();
    char *before = metrics_of(ctx, dir);
    sl_sae *s = make(ctx, "topk");
    c.lr *= 2;
    sl_assert_fails(sl_sae_train(s, &r.src, &c, dir, &res, &err), SL_EXISTS, "checkpoints of another training are there");
    c = config();
    snprintf(r.src.info.data_hash, sizeof r.src.info.data_hash, "other rows");
    sl_assert_fails(sl_sae_train(s, &r.src, &c, dir, &res, &err), SL_EXISTS, "checkpoints of another training are there");
    char *after = metrics_of(ctx, dir);
    assert_string_equal(before, after); /* untouched */
    sl_free(ctx, before);
    sl_free(ctx, after);
    sl_sae_free(s);
    rows_release(&r);
    sl_ctx_free(ctx);
}

/* Mean over true features of the largest cosine with a decoder row. */
static double recovery(const float *w, int64_t n_w, const float *truth, int64_t n_truth, int64_t d)
{
    double mean = 0;
    for (int64_t g = 0; g < n_truth; g++) {
        double best = -1;
        for (int64_t f = 0; f < n_w; f++) {
            double dot = 0, sq = 0;
            for (int64_t j = 0; j < d; j++) {
                dot += (double)w[f * d + j] * (double)truth[g * d + j];
                sq += (double)w[f * d + j] * (double)w[f * d + j];
            }
            best = fmax(best, dot / sqrt(sq));
        }
        mean += best / (double)n_truth;
    }
    return mean;
}

static void planted_dictionary_is_found(void **state)
{
    (void)state;
    enum { d = 32, features = 64, width = 64 };
    sl_ctx *ctx = sl_test_ctx(1);
    sl_err err;
    rows r;
    float *truth;
    rows_planted(&r, 20000, d, features, 3, 1, &truth);
    sl_sae *s;
    sl_assert_ok(sl_sae_new(ctx, "topk", d, width, &(sl_topk_options){ .k = 3, .aux_alpha = 1 / 32. }, 0, &s, &err));
    sl_tensor W;
    sl_assert_ok(sl_sae_weight(s, "W_dec", &W, &err));
    double before = recovery(W.data, width, truth, features, d);
    sl_sae_train_config c = config();
    c.steps = 1000;
    c.batch = 128;
    c.lr = 5e-3;
    c.dead_window = 20000;
    sl_sae_result res;
    sl_assert_ok(sl_sae_train(s, &r.src, &c, NULL, &res, &err));
    double after = recovery(W.data, width, truth, features, d);
    print_message("planted dictionary: mean max cos %.3f before, %.3f after; fvu %.3f, dead %.3f, %.1f s\n", before, after, res.last.fvu, res.last.dead, res.seconds);
    assert_true(before < .55 && after > .85); /* before: chance for 64 random rows in 32 dimensions */
    assert_true(res.last.fvu < .2 && res.last.l0 <= 3);
    assert_int_equal(res.last.step, c.steps);
    assert_int_equal(res.last.samples, c.steps * c.batch);
    assert_true(res.n_curve > 150 && res.n_curve <= 220);
    assert_true(res.wait_share >= 0 && res.wait_share < 1);
    assert_true(res.last.lr < .02 * c.lr);
    sl_free(ctx, res.curve);
    free(truth);
    sl_sae_free(s);
    rows_release(&r);
    sl_ctx_free(ctx);
}

/* One step of AuxK training on rows of one source, with latents below `n_dead` named dead. */
static void step_with_dead(sl_sae *s, sl_tape *t, sl_optim *o, const float *x, int64_t n, int64_t n_dead, const sl_tensor *alive)
{
    sl_err err;
    sl_tensor rows_t = sl_tensor_of(SL_F32, (void *)(uintptr_t)x, 2, n, (int64_t)D);
    sl_sae_batch b = { .steps = 1000, .n = n, .d_bar = D, .n_dead = n_dead, .alive = n_dead ? alive : NULL };
    sl_tape_reset(t);
    sl_var v = sl_const(t, &rows_t);
    sl_sae_pass pass = sl_sae_forward(t, s, v, v, &b);
    sl_var loss = s->ops->loss(t, s, &pass, &b);
    sl_params_zero_grad(s->params);
    sl_assert_ok(sl_tape_backward(t, loss, &err));
    sl_assert_ok(sl_optim_step(o, s->params, NULL, &err));
}

/* How many of the first n_dead latents fire on x. */
static int64_t firing(sl_ctx *ctx, sl_sae *s, const float *x, int64_t n, int64_t n_dead)
{
    sl_err err;
    sl_codes z;
    bool fires[F] = { false };
    int64_t count = 0;
    sl_assert_ok(sl_codes_new(ctx, n, F, &z, &err));
    sl_assert_ok(sl_sae_encode(s, x, n, &z, NULL, &err));
    for (int64_t e = 0; e < z.row_ptr[n]; e++)
        fires[z.idx[e]] = true;
    for (int64_t f = 0; f < n_dead; f++)
        count += fires[f];
    sl_codes_release(ctx, &z);
    return count;
}

/* The encoders of ten latents are shrunk a hundredfold: they never win a place among the k, so without AuxK nothing moves them. */
static int64_t revived(sl_ctx *ctx, double alpha)
{
    enum { dead = 10, width = 30, n = 256 };
    sl_err err;
    sl_sae *s;
    rows r;
    rows_planted(&r, n, D, 20, 3, 6, NULL);
    sl_assert_ok(sl_sae_new(ctx, "topk", D, width, &(sl_topk_options){ .k = 2, .aux_alpha = alpha }, 4, &s, &err));
    float *w = s->W_enc->value.data;
    for (int64_t i = 0; i < dead * D; i++)
        w[i] *= .01f;
    sl_param_touch(s->W_enc);
    assert_int_equal(firing(ctx, s, r.x, n, dead), 0);
    uint8_t alive[width];
    for (int f = 0; f < width; f++)
        alive[f] = f >= dead;
    sl_tensor mask = sl_tensor_of(SL_U8, alive, 1, (int64_t)width);
    sl_tape *t;
    sl_assert_ok(sl_tape_new(ctx, SL_F32, &t, &err));
    sl_optim o = { .kind = SL_OPTIM_ADAMW, .lr = 3e-3, .beta1 = .9, .beta2 = .999, .eps = 1e-8 };
    for (int i = 0; i < 400; i++)
        step_with_dead(s, t, &o, r.x, n, dead, &mask);
    int64_t back = firing(ctx, s, r.x, n, dead);
    sl_tape_free(t);
    sl_sae_free(s);
    rows_release(&r);
    return back;
}

static void auxk_revives(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    int64_t without = revived(ctx, 0), with = revived(ctx, 1 / 32.);
    print_message("of 10 dead latents, %lld fire again without AuxK and %lld with it\n", (long long)without, (long long)with);
    assert_int_equal(without, 0);
    assert_true(with >= 7);
    sl_ctx_free(ctx);
}

/* Codes and decoder norms in the raw space are those of the normalised space: training on 3 x + 7 gives 3 x^ + 7. */
static void normalisation_is_folded(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    sl_err err;
    float *xhat[2];
    sl_codes z[2];
    for (int i = 0; i < 2; i++) {
        rows r;
        rows_planted(&r, N, D, 20, 3, 6, NULL);
        for (int64_t e = 0; i && e < N * D; e++)
            r.x[e] = 3 * r.x[e] + 7;
        sl_sae *s = make(ctx, "topk");
        sl_sae_train_config c = config();
        c.steps = 15;
        sl_sae_result res;
        sl_assert_ok(sl_sae_train(s, &r.src, &c, NULL, &res, &err));
        sl_sae_info info = sl_sae_about(s);
        assert_true(info.has_mean && info.scale > 0 && info.max_active == 3);
        assert_string_equal(info.hook, "blocks.1.hook_resid_pre");
        assert_string_equal(info.model, "tiny");
        assert_string_equal(info.dataset, "made_up");
        xhat[i] = malloc(N * D * sizeof **xhat);
        sl_assert_ok(sl_codes_new(ctx, N, 3, &z[i], &err));
        sl_assert_ok(sl_sae_encode(s, r.x, N, &z[i], xhat[i], &err));
        const float *w = s->W_dec->value.data;
        for (int f = 0; f < F; f++) { /* unit rows in the normalised space */
            double sq = 0;
            for (int j = 0; j < D; j++)
                sq += pow((double)w[f * D + j] * info.scale, 2);
            assert_true(fabs(sq - 1) < 1e-5);
        }
        sl_free(ctx, res.curve);
        sl_assert_fails(sl_sae_train(s, &r.src, &c, NULL, &res, &err), SL_ARG, "it was trained or loaded before");
        sl_sae_free(s);
        rows_release(&r);
    }
    int64_t same = 0;
    for (int64_t e = 0; e < N * D; e++)
        same += fabs(3 * (double)xhat[0][e] + 7 - (double)xhat[1][e]) < 2e-3;
    assert_true(same > .98 * N * D); /* rounding may swap a latent here and there */
    for (int i = 0; i < 2; i++) {
        free(xhat[i]);
        sl_codes_release(ctx, &z[i]);
    }
    sl_ctx_free(ctx);
}

/* Without normalisation b_dec starts at the mean of the rows and nothing is folded. */
static void without_normalisation(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    sl_err err;
    rows r;
    rows_normal(&r, 2000, D, 5, 3);
    sl_sae *s = make(ctx, "standard");
    sl_sae_train_config c = config();
    c.normalize = false;
    c.steps = 1;
    c.lr = 0;
    sl_sae_result res;
    sl_assert_ok(sl_sae_train(s, &r.src, &c, NULL, &res, &err));
    for (int j = 0; j < D; j++) {
        double mean = 0;
        for (int64_t i = 0; i < r.n; i++)
            mean += (double)r.x[i * D + j] / (double)r.n;
        assert_true(fabs((double)((float *)s->b_dec->value.data)[j] - mean) < 1e-5);
    }
    assert_true(!sl_sae_about(s).has_mean && sl_sae_about(s).scale == 1);
    sl_free(ctx, res.curve);
    sl_sae_free(s);
    rows_release(&r);
    sl_ctx_free(ctx);
}

/* The trainer's own dead latents: with AuxK fewer stay dead. */
static void trainer_counts_dead(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    sl_err err;
    double dead[2];
    for (int i = 0; i < 2; i++) {
        rows r;
        rows_planted(&r, 10000, 32, 256, 3, 9, NULL);
        sl_sae *s;
        sl_assert_ok(sl_sae_new(ctx, "topk", 32, 256, &(sl_topk_options){ .k = 3, .aux_alpha = i ? 1 / 32. : 0 }, 4, &s, &err));
        sl_sae_train_config c = config();
        c.steps = 600;
        c.batch = 128;
        c.lr = 2e-2; /* high: it kills latents */
        c.dead_window = 5000;
        sl_sae_result res;
        sl_assert_ok(sl_sae_train(s, &r.src, &c, NULL, &res, &err));
        assert_true(res.curve[0].dead == 0);
        dead[i] = res.last.dead;
        sl_free(ctx, res.curve);
        sl_sae_free(s);
        rows_release(&r);
    }
    print_message("dead share %.3f without AuxK, %.3f with it\n", dead[0], dead[1]);
    assert_true(dead[0] > .1 && dead[1] < .7 * dead[0]);
    sl_ctx_free(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_thread_count), cmocka_unit_test(options_matter), cmocka_unit_test(resume_equals_uninterrupted), cmocka_unit_test(checkpoints_of_another_training),
        cmocka_unit_test(planted_dictionary_is_found), cmocka_unit_test(auxk_revives), cmocka_unit_test(normalisation_is_folded),
        cmocka_unit_test(without_normalisation), cmocka_unit_test(trainer_counts_dead),
    };
    return cmocka_run_group_tests_name("sae_train", tests, NULL, NULL);
}
