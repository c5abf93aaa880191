/* What training refuses, and what it leaves behind when it must stop. */
#include "cases.h"
#include "rows.h"
#include "support.h"

#include "io/io.h"
#include "sae/variant.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { D = 6, F = 20, N = 300, BATCH = 50 };

static sl_sae_train_config config(void)
{
    sl_sae_train_config c;
    sl_opts_default(sl_sae_train_opts, &c);
    c.steps = 20;
    c.batch = BATCH;
    c.checkpoint_seconds = 0;
    return c;
}

static sl_sae *make(sl_ctx *ctx)
{
    sl_err err;
    sl_sae *s;
    sl_assert_ok(sl_sae_new(ctx, "topk", D, F, &(sl_topk_options){ .k = 2 }, 1, &s, &err));
    return s;
}

/* A source with one bad value in the row that is delivered as number `bad`, counted since it was last wound. */
typedef struct trap { rows r; int64_t bad; float value; sl_status (*next)(sl_act_source *, int64_t, sl_act_batch *, sl_err *); } trap;

static sl_status next_trapped(sl_act_source *s, int64_t n, sl_act_batch *out, sl_err *err)
{
    trap *t = (trap *)(void *)((char *)s - offsetof(trap, r.src));
    int64_t first = t->r.at;
    SL_TRY(t->next(s, n, out, err));
    if (t->bad >= first && t->bad < first + n)
        t->r.out[(t->bad - first) * D + 4] = t->value;
    return SL_OK;
}

static void start(trap *t, int64_t bad, float value)
{
    *t = (trap){ .bad = bad, .value = value };
    rows_normal(&t->r, N, D, 0, 1);
    t->next = t->r.src.next;
    t->r.src.next = next_trapped;
}

static char *read_all(sl_ctx *ctx, const char *dir, const char *name, size_t *n)
{
    char path[600], *text;
    sl_err err;
    snprintf(path, sizeof path, "%s/%s", dir, name);
    sl_assert_ok(sl_file_read(ctx, path, &text, n, &err));
    return text;
}

static const char NEWEST[] = "checkpoints/step-000000008.safetensors";

/* Stops at step 8 with a checkpoint. */
static void until_checkpoint(sl_ctx *ctx, const char *dir)
{
    sl_err err;
    trap t;
    start(&t, -1, 0);
    t.r.cancel = ctx;
    t.r.cancel_at = 8 * BATCH - 1;
    sl_sae *s = make(ctx);
    sl_sae_train_config c = config();
    sl_sae_result res;
    sl_assert_fails(sl_sae_train(s, &t.r.src, &c, dir, &res, &err), SL_CANCELLED, "after step 8 of 20");
    sl_sae_free(s);
    rows_release(&t.r);
}

static void not_a_number_stops(void **state)
{
    (void)state;
    const char *dir = sl_test_dir("nan");
    sl_ctx *ctx = sl_test_ctx(1);
    sl_err err;
    until_checkpoint(ctx, dir);
    sl_ctx_free(ctx);
    ctx = sl_test_ctx(1);
    size_t n_before, n_after;
    char *before = read_all(ctx, dir, NEWEST, &n_before);
    trap t;
    start(&t, 12 * BATCH + 7, NAN); /* after 12 steps */
    sl_sae *s = make(ctx);
    sl_sae_train_config c = config();
    sl_sae_result res;
    sl_assert_fails(sl_sae_train(s, &t.r.src, &c, dir, &res, &err), SL_NUMERIC,
                    "activations: step 12: row 7 of the batch (row 7 of the data), column 4 is nan");
    assert_null(res.curve);
    char *after = read_all(ctx, dir, NEWEST, &n_after);
    assert_int_equal(n_before, n_after);
    assert_memory_equal(before, after, n_before); /* nothing overwritten */
    char path[600];
    sl_tensor x;
    snprintf(path, sizeof path, "%s/nonfinite-step-12.npy", dir);
    sl_assert_ok(sl_npy_read(ctx, path, &x, &err));
    assert_int_equal(x.dim[0], BATCH);
    assert_int_equal(x.dim[1], D);
    assert_true(isnan(((float *)x.data)[7 * D + 4]));
    for (int64_t j = 0; j < 7 * D; j++)
        assert_true(((float *)x.data)[j] == t.r.x[j]); /* 12 batches of 50 are two epochs: row 0 again */
    sl_free(ctx, x.data);
    t.bad = -1; /* the data are mended: it goes on from the checkpoint */
    sl_assert_ok(sl_sae_train(s, &t.r.src, &c, dir, &res, &err));
    assert_int_equal(res.last.step, 20);
    sl_free(ctx, res.curve);
    sl_free(ctx, before);
    sl_free(ctx, after);
    sl_sae_free(s);
    rows_release(&t.r);
    sl_ctx_free(ctx);
}

/* Finite rows, but so large that the gradient overflows. */
static void infinite_gradient_stops(void **state)
{
    (void)state;
    const char *dir = sl_test_dir("inf");
    sl_ctx *ctx = sl_test_ctx(1);
    sl_err err;
    trap t;
    start(&t, 8192 + 3, 3e38f); /* beyond the first rows, which the normalisation is taken from */
    t.r.src.info.n_rows = -1;   /* endless */
    sl_sae *s = make(ctx);
    sl_sae_train_config c = config();
    c.steps = 400;
    sl_sae_result res;
    sl_assert_fails(sl_sae_train(s, &t.r.src, &c, dir, &res, &err), SL_NUMERIC, "step 163: gradient of W_enc");
    char path[600];
    snprintf(path, sizeof path, "%s/nonfinite-step-163.npy", dir);
    assert_true(sl_path_exists(path));
    sl_sae_free(s);
    rows_release(&t.r);
    sl_ctx_free(ctx);
}

static void bad_data(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    sl_err err;
    sl_sae *s = make(ctx);
    sl_sae_train_config c = config();
    sl_sae_result res;
    trap t;
    start(&t, -1, 0);
    t.r.src.info.d_in = D + 1;
    sl_assert_fails(sl_sae_train(s, &t.r.src, &c, NULL, &res, &err), SL_SHAPE, "rows of 7 for an SAE of d_in 6");
    t.r.src.info.d_in = D;
    t.r.src.info.n_rows = 1;
    sl_assert_fails(sl_sae_train(s, &t.r.src, &c, NULL, &res, &err), SL_DATA, "at least 2 rows");
    t.r.src.info.n_rows = N;
    t.bad = 130; /* among the rows of the normalisation */
    t.value = INFINITY;
    sl_assert_fails(sl_sae_train(s, &t.r.src, &c, NULL, &res, &err), SL_NUMERIC, "column 4 is inf");
    for (int64_t i = 0; i < N * D; i++)
        t.r.x[i] = (float)(i % D);
    t.bad = -1;
    sl_assert_fails(sl_sae_train(s, &t.r.src, &c, NULL, &res, &err), SL_DATA, "zero variance");
    t.r.src.info.mean = t.r.x;
    t.r.src.info.scale = 0;
    t.r.x[0] = 3;
    sl_assert_fails(sl_sae_train(s, &t.r.src, &c, NULL, &res, &err), SL_DATA, "their scale is 0");
    sl_sae_free(s);
    rows_release(&t.r);
    sl_ctx_free(ctx);
}

static void bad_configuration(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    sl_err err;
    sl_sae *s = make(ctx);
    sl_sae_result res;
    trap t;
    start(&t, -1, 0);
    const struct { size_t at; double value; bool real; const char *message; } bad[] = {
        { offsetof(sl_sae_train_config, steps), 0, false, "steps: 0 is out of range" },
        { offsetof(sl_sae_train_config, batch), -3, false, "batch: -3 is out of range" },
        { offsetof(sl_sae_train_config, lr), NAN, true, "lr: nan is out of range" },
        { offsetof(sl_sae_train_config, decay_fraction), 1.5, true, "decay_fraction: 1.5 is out of range" },
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        sl_sae_train_config c = config();
        char *field = (char *)&c + bad[i].at;
        if (bad[i].real)
            *(double *)(void *)field = bad[i].value;
        else
            *(int64_t *)(void *)field = (int64_t)bad[i].value;
        sl_assert_fails(sl_sae_train(s, &t.r.src, &c, NULL, &res, &err), SL_ARG, bad[i].message);
    }
    sl_sae_free(s);
    rows_release(&t.r);
    sl_ctx_free(ctx);
}

/* The only checkpoint is truncated: training says so and does not start over. */
static void corrupt_checkpoint(void **state)
{
    (void)state;
    const char *dir = sl_test_dir("corrupt");
    sl_ctx *ctx = sl_test_ctx(1);
    sl_err err;
    until_checkpoint(ctx, dir);
    sl_ctx_free(ctx);
    ctx = sl_test_ctx(1);
    char path[600];
    size_t n;
    char *text = read_all(ctx, dir, NEWEST, &n);
    snprintf(path, sizeof path, "%s/%s", dir, NEWEST);
    assert_int_equal(truncate(path, (off_t)n / 2), 0);
    trap t;
    start(&t, -1, 0);
    sl_sae *s = make(ctx);
    sl_sae_train_config c = config();
    sl_sae_result res;
    sl_assert_fails(sl_sae_train(s, &t.r.src, &c, dir, &res, &err), SL_DATA, "");
    sl_free(ctx, text);
    sl_sae_free(s);
    rows_release(&t.r);
    sl_ctx_free(ctx);
}

/* Once every part of a variant has been at work (compositions are first found dead after nine tenths of the run) the loop allocates nothing. */
enum { SETTLED = 56, LAST = 59 };
static int64_t counts[2];
static sl_ctx *counted;

static sl_status next_counting(sl_act_source *s, int64_t n, sl_act_batch *out, sl_err *err)
{
    rows *r = s->impl;
    if (r->at == SETTLED * BATCH || r->at == LAST * BATCH)
        counts[r->at > SETTLED * BATCH] = sl_alloc_count(counted);
    return ((trap *)(void *)((char *)s - offsetof(trap, r.src)))->next(s, n, out, err);
}

static void loop_allocates_nothing(void **state)
{
    (void)state;
    for (const variant_case *v = variant_cases; v->variant; v++) {
        sl_err err;
        sl_ctx *ctx = counted = sl_test_ctx(1);
        trap t;
        start(&t, -1, 0);
        t.r.src.next = next_counting;
        sl_sae *s;
        sl_assert_ok(sl_sae_new(ctx, v->variant, D, F, v->opts, 1, &s, &err));
        if (s->ops->d_out)
            rows_targets(&t.r, s->d_out, 9);
        sl_sae_train_config c = config();
        c.steps = LAST + 1;
        c.dead_window = BATCH; /* AuxK is at work from the second step */
        sl_sae_result res;
        sl_assert_ok(sl_sae_train(s, &t.r.src, &c, NULL, &res, &err));
        assert_true(counts[0] > 0);
        assert_int_equal(counts[1], counts[0]);
        sl_free(ctx, res.curve);
        sl_sae_free(s);
        rows_release(&t.r);
        sl_ctx_free(ctx);
    }
}

/* Every allocation may fail: SL_MEM, and nothing leaks. */
static void out_of_memory(void **state)
{
    (void)state;
    bool done = false;
    int failed = 0;
    for (int64_t n = 1; !done && n < 400; n++) {
        sl_ctx *ctx = sl_ctx_new(&(sl_ctx_opts){ .fail_alloc_at = n, .n_threads = 1 });
        sl_err err;
        sl_sae *s = NULL;
        sl_sae_result res = { 0 };
        trap t;
        if (!ctx)
            continue;
        start(&t, -1, 0);
        sl_status st = sl_sae_new(ctx, "topk", D, F, &(sl_topk_options){ .k = 2, .aux_alpha = .1 }, 0, &s, &err);
        sl_sae_train_config c = config();
        c.steps = 4;
        c.dead_window = BATCH;
        if (st == SL_OK)
            st = sl_sae_train(s, &t.r.src, &c, NULL, &res, &err);
        if (st != SL_OK)
            assert_int_equal(st, SL_MEM);
        failed += st == SL_MEM;
        done = st == SL_OK && sl_alloc_count(ctx) < n;
        sl_free(ctx, res.curve);
        sl_sae_free(s);
        rows_release(&t.r);
        sl_ctx_free(ctx);
    }
    assert_true(done && failed > 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(not_a_number_stops), cmocka_unit_test(infinite_gradient_stops), cmocka_unit_test(bad_data),
        cmocka_unit_test(bad_configuration), cmocka_unit_test(corrupt_checkpoint), cmocka_unit_test(loop_allocates_nothing),
        cmocka_unit_test(out_of_memory),
    };
    return cmocka_run_group_tests_name("sae_train_errors", tests, NULL, NULL);
}
