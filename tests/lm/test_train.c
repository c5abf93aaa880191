/* Training: the same bits for any thread count and after any interruption; what stops it; what it reports. */
#include "fixture.h"
#include "io/io.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ITERS = 14 };

static void release(sl_ctx *ctx, sl_lm *m, sl_corpus *c, sl_lm_result *r)
{
    if (r)
        sl_free(ctx, r->curve);
    tiny_corpus_free(ctx, c);
    sl_lm_free(m);
}

/* Dropout, three passes a batch, all that could depend on order. */
static sl_lm *train_tiny(sl_ctx *ctx, bool fast, const char *dir, sl_lm_result *r)
{
    sl_err err;
    sl_lm_config c = tiny_config(!fast, fast);
    c.dropout = .1;
    sl_lm *m = tiny_model(ctx, &c, SL_F32, 3);
    sl_corpus text = tiny_corpus(ctx, 3000, 11, 500);
    sl_lm_train_config t = tiny_training(ITERS);
    t.optimizer = fast ? SL_LM_MUON : SL_LM_ADAMW;
    sl_assert_ok(sl_lm_train(m, &text, &t, sl_test_dir(dir), r, &err));
    tiny_corpus_free(ctx, &text);
    return m;
}

static void same_for_any_thread_count(void **state)
{
    (void)state;
    for (int fast = 0; fast < 2; fast++) {
        sl_ctx *one = sl_test_ctx(1);
        sl_lm_result a, b;
        sl_lm *m = train_tiny(one, fast, "lm_threads", &a);
        assert_true(a.best_val_loss < 2.0 && a.curve[0].val_loss > 2.2); /* ln 11 = 2.40; the sequence's entropy is ln 2 = .69 */
        for (int threads = 2; threads <= 4; threads += 2) {
            sl_ctx *more = sl_test_ctx(threads);
            sl_lm *n = train_tiny(more, fast, "lm_threads", &b);
            assert_same_weights(m, n);
            assert_int_equal(a.n_curve, b.n_curve);
            for (int64_t i = 0; i < a.n_curve; i++)
                assert_true(a.curve[i].train_loss == b.curve[i].train_loss && a.curve[i].val_loss == b.curve[i].val_loss);
            sl_free(more, b.curve);
            sl_lm_free(n);
            sl_ctx_free(more);
        }
        sl_free(one, a.curve);
        sl_lm_free(m);
        sl_ctx_free(one);
    }
}

/* Cancels when the progress report of iteration `at` comes. */
typedef struct stopper { sl_ctx *ctx; int64_t at; } stopper;
static void stop_at(void *user, const sl_event *e)
{
    stopper *s = user;
    if (e->kind == SL_EVENT_PROGRESS && e->done == (double)s->at)
        sl_cancel(s->ctx, 2);
}

static void interrupted_is_uninterrupted(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(2);
    sl_err err;
    sl_lm_result whole, part;
    sl_lm *want = train_tiny(ctx, false, "lm_whole", &whole);
    sl_lm_train_config t = tiny_training(ITERS);
    sl_corpus text = tiny_corpus(ctx, 3000, 11, 500);
    const char *dir = sl_test_dir("lm_parts");
    for (int64_t at = 4; at <= 16; at += 4) { /* 4, 8, 12: between evaluations; 16: to the end */
        stopper s = { .at = at };
        s.ctx = sl_ctx_new(&(sl_ctx_opts){ .n_threads = 2, .on_event = stop_at, .event_user = &s });
        sl_lm *m = tiny_model(s.ctx, sl_lm_cfg(want), SL_F32, 99); /* its start does not matter: the checkpoint has all */
        if (at == 4) {
            sl_lm_free(m);
            m = tiny_model(s.ctx, sl_lm_cfg(want), SL_F32, 3);
        }
        if (at < ITERS)
            sl_assert_fails(sl_lm_train(m, &text, &t, dir, &part, &err), SL_CANCELLED, "the same command goes on from there");
        else {
            sl_assert_ok(sl_lm_train(m, &text, &t, dir, &part, &err));
            assert_same_weights(want, m);
            assert_int_equal(part.n_curve, whole.n_curve);
            for (int64_t i = 0; i < whole.n_curve; i++)
                assert_true(part.curve[i].iter == whole.curve[i].iter && part.curve[i].val_loss == whole.curve[i].val_loss);
            assert_true(part.best_val_loss == whole.best_val_loss && part.final_train_loss == whole.final_train_loss);
            sl_free(s.ctx, part.curve);
        }
        sl_lm_free(m);
        sl_ctx_free(s.ctx);
    }
    sl_free(ctx, whole.curve);
    release(ctx, want, &text, NULL);
    sl_ctx_free(ctx);
}

/* When checkpoints are taken changes nothing; a finished run returns at once; metrics.csv has a row an evaluation. */
static void checkpoints_change_nothing(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    sl_err err;
    sl_lm_result a, b;
    sl_lm *want = train_tiny(ctx, false, "lm_rare", &a), *m = tiny_model(ctx, sl_lm_cfg(want), SL_F32, 3);
    sl_corpus text = tiny_corpus(ctx, 3000, 11, 500);
    sl_lm_train_config t = tiny_training(ITERS);
    t.checkpoint_seconds = 0; /* before every update */
    const char *dir = sl_test_dir("lm_often");
    sl_assert_ok(sl_lm_train(m, &text, &t, dir, &b, &err));
    assert_same_weights(want, m);
    assert_int_equal(b.n_curve, 1 + ITERS / 5 + 1);
    assert_int_equal(b.tokens, ITERS * 6 * 8);
    sl_free(ctx, b.curve);
    shake(m, 1, 1);
    sl_assert_ok(sl_lm_train(m, &text, &t, dir, &b, &err)); /* finished: nothing is trained, the weights come back */
    assert_same_weights(want, m);
    assert_int_equal(b.iters, ITERS);

    char path[1024], *csv;
    size_t n;
    snprintf(path, sizeof path, "%s/metrics.csv", dir);
    sl_assert_ok(sl_file_read(ctx, path, &csv, &n, &err));
    int lines = 0;
    for (size_t i = 0; i < n; i++)
        lines += csv[i] == '\n';
    assert_int_equal(lines, 1 + b.n_curve);
    assert_memory_equal(csv, "iter,train_loss,val_loss,lr,seconds,tokens\n0,", 45);
    sl_free(ctx, csv);
    t.seed++;
    sl_assert_fails(sl_lm_train(m, &text, &t, dir, &(sl_lm_result){ 0 }, &err), SL_EXISTS, "another configuration");
    sl_free(ctx, a.curve);
    sl_lm_free(want);
    release(ctx, m, &text, &b);
    sl_ctx_free(ctx);
}

static void best_weights_are_kept(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    sl_err err;
    sl_lm_config c = tiny_config(false, false);
    sl_lm *m = tiny_model(ctx, &c, SL_F32, 3);
    sl_corpus text = tiny_corpus(ctx, 120, 11, 500);
    sl_rng dice = sl_rng_at(2, SL_RNG_TEST, 0, 0);
    for (int i = 0; i < 120; i++)
        text.ids[i] = (int32_t)sl_rng_below(&dice, 11); /* nothing to learn but by heart */
    sl_lm_train_config t = tiny_training(160);
    t.eval_interval = 20;
    t.eval_iters = 20;
    sl_lm_result r;
    sl_assert_ok(sl_lm_train(m, &text, &t, sl_test_dir("lm_best"), &r, &err));
    double least = INFINITY;
    for (int64_t i = 0; i < r.n_curve; i++)
        least = fmin(least, r.curve[i].val_loss);
    assert_true(r.best_val_loss == least && r.curve[r.n_curve - 1].val_loss > least + .05);
    double now;
    int64_t n;
    sl_assert_ok(sl_lm_eval(m, text.ids + text.train_end, text.n - text.train_end, &now, &n, &err));
    assert_int_equal(n, (12 - 1) / 8 * 8);
    assert_true(now < r.curve[r.n_curve - 1].val_loss - .05);
    release(ctx, m, &text, &r);
    sl_ctx_free(ctx);
}

static void stops_in_time(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    sl_err err;
    sl_lm_config c = tiny_config(false, false);
    sl_lm *m = tiny_model(ctx, &c, SL_F32, 3);
    sl_corpus text = tiny_corpus(ctx, 3000, 11, 500);
    sl_lm_train_config t = tiny_training(1000000000);
    t.max_seconds = .2;
    sl_lm_result r;
    sl_assert_ok(sl_lm_train(m, &text, &t, sl_test_dir("lm_in_time"), &r, &err));
    assert_true(r.iters > 0 && r.iters < t.max_iters && r.total_train_time >= .2);
    assert_int_equal(r.curve[r.n_curve - 1].iter, r.iters); /* evaluated where it stopped */
    release(ctx, m, &text, &r);
    sl_ctx_free(ctx);
}

typedef struct counter { sl_ctx *ctx; int64_t early, late; } counter;
static void count_allocations(void *user, const sl_event *e)
{
    counter *s = user;
    if (e->kind == SL_EVENT_PROGRESS && e->done == 7)
        s->early = sl_alloc_count(s->ctx);
    if (e->kind == SL_EVENT_PROGRESS && e->done == 10)
        s->late = sl_alloc_count(s->ctx);
}

static void no_allocation_after_the_first_steps(void **state)
{
    (void)state;
    counter s = { 0 };
    sl_ctx *ctx = s.ctx = sl_ctx_new(&(sl_ctx_opts){ .n_threads = 2, .on_event = count_allocations, .event_user = &s });
    sl_lm_result r;
    sl_lm *m = train_tiny(ctx, false, "lm_allocations", &r);
    assert_true(s.early > 0);
    assert_int_equal(s.late, s.early);
    sl_free(ctx, r.curve);
    sl_lm_free(m);
    sl_ctx_free(ctx);
}

/* A NaN in a weight: the iteration and the tensor are named, the batch is kept, nothing is updated. */
static void nan_stops_training(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    sl_err err;
    sl_lm_config c = tiny_config(true, false);
    sl_lm *m = tiny_model(ctx, &c, SL_F32, 3);
    sl_corpus text = tiny_corpus(ctx, 3000, 11, 500);
    sl_lm_train_config t = tiny_training(ITERS);
    t.eval_interval = 1000000;
    sl_lm_result r;
    const char *dir = sl_test_dir("lm_nan");
    sl_param *p = sl_params_find(m->ps, "transformer.h.1.mlp.c_fc.weight");
    ((float *)p->value.data)[5] = NAN;
    sl_param_touch(p);
    sl_assert_fails(sl_lm_train(m, &text, &t, dir, &r, &err), SL_NUMERIC, "iteration 0: transformer.h.1.mlp.c_fc.weight");
    char path[1024];
    snprintf(path, sizeof path, "%s/bad-batch.safetensors", dir);
    sl_dict d;
    sl_dict_init(ctx, &d);
    sl_assert_ok(sl_safetensors_read(ctx, path, &d, &err));
    assert_int_equal(sl_numel(sl_dict_get(&d, "ids")), 16); /* two windows of eight */
    sl_dict_release(&d);
    double loss;
    sl_assert_fails(sl_lm_eval(m, text.ids, 100, &loss, NULL, &err), SL_NUMERIC, "transformer.h.1.mlp.c_fc.weight");
    release(ctx, m, &text, NULL);
    sl_ctx_free(ctx);
}

/* A finite loss with an infinite gradient: found by the optimizer's check. */
static void infinite_gradient_stops_training(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    sl_err err;
    sl_lm_config c = tiny_config(true, false);
    c.n_layer = 1;
    c.tie_head = false;
    sl_lm *m = tiny_model(ctx, &c, SL_F32, 3);
    sl_corpus text = tiny_corpus(ctx, 3000, 11, 500);
    sl_lm_train_config t = tiny_training(ITERS);
    sl_lm_result r;
    const char *dir = sl_test_dir("lm_inf");
    /* mlp_proj = 0 hides an MLP of huge activations from the loss, but not from its own gradient; a small stream under the last norm
     * and a large head make that gradient overflow */
    const struct { const char *name; float scale, add; } change[] = {
        { "transformer.h.0.mlp.c_proj.weight", 0, 0 }, { "transformer.h.0.mlp.c_fc.bias", 0, 3e38f }, { "transformer.wte.weight", 1e-3f, 0 },
        { "transformer.wpe.weight", 1e-3f, 0 }, { "transformer.h.0.attn.c_proj.weight", 0, 0 }, { "lm_head.weight", 100, 0 } };
    for (size_t i = 0; i < sizeof change / sizeof *change; i++) {
        sl_param *p = sl_params_find(m->ps, change[i].name);
        for (int64_t j = 0; j < sl_numel(&p->value); j++)
            ((float *)p->value.data)[j] = ((float *)p->value.data)[j] * change[i].scale + change[i].add;
        sl_param_touch(p);
    }
    sl_assert_fails(sl_lm_train(m, &text, &t, dir, &r, &err), SL_NUMERIC, "transformer.h.0.mlp.c_proj.weight");
    char path[1024];
    snprintf(path, sizeof path, "%s/bad-batch.safetensors", dir);
    assert_true(sl_path_exists(path));
    release(ctx, m, &text, NULL);
    sl_ctx_free(ctx);
}

/* Any allocation may fail: the line says so, and nothing leaks (AddressSanitizer sees to that). */
static void training_without_memory(void **state)
{
    (void)state;
    sl_lm_config c = tiny_config(true, false);
    sl_lm_train_config t = tiny_training(1);
    int failures = 0;
    for (int64_t n = 1; n < 1000; n += 3) {
        sl_ctx *ctx = sl_ctx_new(&(sl_ctx_opts){ .n_threads = 1, .fail_alloc_at = n }), *sure = sl_test_ctx(1);
        sl_corpus text = tiny_corpus(sure, 300, 11, 500);
        sl_err err;
        sl_lm *m = NULL;
        sl_lm_result r = { 0 };
        sl_status st = sl_lm_new(ctx, &c, 0, &m, &err);
        if (st == SL_OK)
            st = sl_lm_train(m, &text, &t, sl_test_dir("lm_no_memory"), &r, &err);
        if (st != SL_OK && st != SL_MEM)
            fail_msg("allocation %d: %s", (int)n, err.msg);
        failures += st == SL_MEM;
        sl_free(ctx, r.curve);
        sl_lm_free(m);
        tiny_corpus_free(sure, &text);
        sl_ctx_free(sure);
        sl_ctx_free(ctx);
        if (st == SL_OK)
            break;
    }
    assert_true(failures > 20);
}

/* A disk that is full at any write stops the run with SL_IO; with room again the same call ends as if nothing had been. */
static void training_on_a_full_disk(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    sl_err err;
    sl_lm_config c = tiny_config(true, false);
    sl_corpus text = tiny_corpus(ctx, 3000, 11, 500);
    sl_lm_train_config t = tiny_training(6);
    t.checkpoint_seconds = 0;
    sl_lm_result r;
    sl_lm *want = tiny_model(ctx, &c, SL_F32, 3);
    sl_assert_ok(sl_lm_train(want, &text, &t, sl_test_dir("lm_disk"), &r, &err));
    sl_free(ctx, r.curve);
    int failures = 0;
    for (int64_t at = 1; at < 400; at += 5) {
        const char *dir = sl_test_dir("lm_disk");
        sl_lm *m = tiny_model(ctx, &c, SL_F32, 3);
        sl_io_fail_at(at);
        sl_status st = sl_lm_train(m, &text, &t, dir, &r, &err);
        sl_io_fail_at(0);
        if (st == SL_IO) {
            failures++;
            sl_lm_free(m); /* a new process would start from here */
            m = tiny_model(ctx, &c, SL_F32, 3);
            sl_assert_ok(sl_lm_train(m, &text, &t, dir, &r, &err));
        } else
            assert_int_equal(st, SL_OK);
        assert_same_weights(want, m);
        sl_free(ctx, r.curve);
        sl_lm_free(m);
        if (st == SL_OK)
            break;
    }
    assert_true(failures > 3);
    release(ctx, want, &text, NULL);
    sl_ctx_free(ctx);
}

static void bad_texts(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    sl_err err;
    sl_lm_config c = tiny_config(true, false);
    sl_lm *m = tiny_model(ctx, &c, SL_F32, 3);
    sl_lm_train_config t = tiny_training(ITERS);
    sl_lm_result r;
    double loss;
    sl_corpus text = tiny_corpus(ctx, 80, 11, 500); /* 72 + 8: one short in the validation split */
    sl_assert_fails(sl_lm_train(m, &text, &t, sl_test_dir("lm_short"), &r, &err), SL_DATA, "block_size 8");
    sl_assert_fails(sl_lm_eval(m, text.ids, 8, &loss, NULL, &err), SL_DATA, "8 tokens, block_size 8");
    text.ids[17] = 11;
    sl_assert_fails(sl_lm_eval(m, text.ids, 80, &loss, NULL, &err), SL_DATA, "token 17: id 11 of 11");
    tiny_corpus_free(ctx, &text);
    text = tiny_corpus(ctx, 3000, 12, 500);
    sl_assert_fails(sl_lm_train(m, &text, &t, sl_test_dir("lm_vocabulary"), &r, &err), SL_DATA, "id 11 of 11");
    release(ctx, m, &text, NULL);
    sl_ctx_free(ctx);
}

/* The mean over whole windows, against a sum by hand over the model's logits. */
static void evaluation_by_hand(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(2);
    sl_err err;
    sl_lm_config c = tiny_config(true, false);
    sl_lm *m = tiny_model(ctx, &c, SL_F32, 3);
    shake(m, 4, .3);
    enum { N = 3 * 8 + 5 };
    sl_corpus text = tiny_corpus(ctx, N, 11, 500);
    float *logits = logits_of(m, text.ids, 3, 8, NULL);
    double want = 0, got;
    int64_t n;
    for (int i = 0; i < 24; i++) {
        double sum = 0;
        for (int v = 0; v < 11; v++)
            sum += exp((double)logits[i * 11 + v]);
        want += (log(sum) - (double)logits[i * 11 + text.ids[i + 1]]) / 24;
    }
    sl_assert_ok(sl_lm_eval(m, text.ids, N, &got, &n, &err));
    assert_int_equal(n, 24);
    sl_assert_close_f64("loss", &got, &want, 1, 1e-6, 0);
    sl_free(ctx, logits);
    release(ctx, m, &text, NULL);
    sl_ctx_free(ctx);
}

static void presets_and_tables(void **state)
{
    (void)state;
    const char *names[] = { "nanogpt_char", "nanogpt_cpu", "nanogpt_cpu_fast", "template_gpt2", "quick", "speedrun", "smoke" };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const sl_lm_preset *p = sl_lm_preset_find(names[i]);
        assert_non_null(p);
        assert_true(p == &sl_lm_presets[i]);
        const struct { const sl_opt *table; const void *cfg; } both[] = { { sl_lm_opts, &p->lm }, { sl_lm_train_opts, &p->train } };
        sl_ctx *ctx = sl_test_ctx(1);
        for (int b = 0; b < 2; b++)
            for (const sl_opt *o = both[b].table; o->name; o++) { /* every preset is a legal configuration */
                char text[64], copy[512];
                sl_err err;
                sl_opts_text(o, both[b].cfg, text, sizeof text);
                sl_assert_ok(sl_opts_set(ctx, both[b].table, copy, o->name, text, names[i], SL_CONFIG, &err));
            }
        sl_ctx_free(ctx);
    }
    assert_null(sl_lm_preset_find("gpt5"));
    const sl_lm_preset *cpu = sl_lm_preset_find("nanogpt-cpu"); /* nanoGPT's README */
    assert_non_null(cpu);
    assert_int_equal(cpu->lm.n_layer, 4);
    assert_int_equal(cpu->lm.n_embd, 128);
    assert_int_equal(cpu->lm.block_size, 64);
    assert_int_equal(cpu->train.batch_size, 12);
    assert_true(cpu->lm.dropout == 0 && !cpu->lm.bias && cpu->train.beta2 == .99);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_for_any_thread_count), cmocka_unit_test(interrupted_is_uninterrupted), cmocka_unit_test(checkpoints_change_nothing),
        cmocka_unit_test(best_weights_are_kept), cmocka_unit_test(stops_in_time), cmocka_unit_test(no_allocation_after_the_first_steps),
        cmocka_unit_test(nan_stops_training), cmocka_unit_test(infinite_gradient_stops_training), cmocka_unit_test(training_without_memory),
        cmocka_unit_test(training_on_a_full_disk), cmocka_unit_test(bad_texts),
        cmocka_unit_test(evaluation_by_hand), cmocka_unit_test(presets_and_tables) };
    return cmocka_run_group_tests_name("lm_train", tests, NULL, NULL);
}
