/* Training on a task, its gate, and its activations. */
#include "support.h"

#include "io/io.h"
#include "lm/gpt.h"

#include <saelab/task.h>

#include <math.h>
#include <string.h>

static sl_err err;

typedef struct model { sl_ctx *ctx; sl_world *w; sl_lm *m; sl_task_train_config t; } model;

/* A small model of sums of one digit. */
static model begin(int threads)
{
    model o = { .ctx = sl_test_ctx(threads) };
    _Alignas(max_align_t) char opts[SL_WORLD_OPTS];
    const sl_world_info *info = sl_world_find("arithmetic");
    sl_opts_default(info->opts, opts);
    sl_assert_ok(sl_opts_set(o.ctx, info->opts, opts, "digits", "1", "test", SL_ARG, &err));
    sl_assert_ok(sl_world_new(o.ctx, "arithmetic", opts, 42, &o.w, &err));
    sl_opts_default(sl_task_train_opts, &o.t);
    o.t.n_layer = 2;
    o.t.n_head = 2;
    o.t.n_embd = 32;
    o.t.batch = 32;
    o.t.lr = 5e-3;
    o.t.max_seconds = 0;
    sl_lm_config c = sl_task_lm_config(o.w, &o.t);
    assert_int_equal(c.vocab_size, 13);
    assert_int_equal(c.block_size, 7);
    sl_assert_ok(sl_lm_new(o.ctx, &c, 1, &o.m, &err));
    return o;
}

static void end(model *o)
{
    sl_lm_free(o->m);
    sl_world_free(o->w);
    sl_ctx_free(o->ctx);
}

static void test_passes_the_gate(void **state)
{
    (void)state;
    model o = begin(1);
    sl_task_score before;
    sl_task_result r;
    sl_assert_ok(sl_task_gate(o.m, o.w, 0, 300, &before, &err));
    assert_int_equal(before.n, 300);
    assert_true(before.score < .2 && !before.passed && isnan(before.attractor));
    o.t.steps = 2000;
    o.t.min_steps = 0;
    o.t.gate_every = 100;
    o.t.gate_instances = 200;
    sl_assert_ok(sl_task_train(o.m, o.w, &o.t, NULL, &r, &err));
    assert_true(r.gate.passed && r.gate.score >= .99);
    assert_int_equal(r.steps % 100, 0);
    assert_true(r.steps < 2000);
    assert_int_equal(r.gate.n, 800); /* the second try is four times as large */
    end(&o);
}

/* The same bits for any number of threads; min_steps holds training back. */
static void test_threads(void **state)
{
    (void)state;
    model a = begin(1), b = begin(2);
    sl_task_result ra, rb;
    a.t.steps = b.t.steps = 20;
    sl_assert_ok(sl_task_train(a.m, a.w, &a.t, NULL, &ra, &err));
    sl_assert_ok(sl_task_train(b.m, b.w, &b.t, NULL, &rb, &err));
    assert_int_equal(ra.steps, 20);
    sl_assert_same_bits("loss", &ra.loss, &rb.loss, sizeof ra.loss);
    end(&a);
    end(&b);
}

static void stop_at_ten(void *user, const sl_event *e)
{
    model *o = user;
    if (e->kind == SL_EVENT_PROGRESS && e->done > 9.5)
        sl_cancel(o->ctx, 2);
}

/* Stopped and taken up again in a new process: the same bits as in one go. Checkpoints of other settings are refused. */
static void test_resumes(void **state)
{
    (void)state;
    model whole = begin(1), first = begin(1), second = begin(2);
    char dir[512], path[600];
    sl_task_result r, parts;
    snprintf(dir, sizeof dir, "%s", sl_test_dir("task"));
    snprintf(path, sizeof path, "%s/checkpoints", dir);
    whole.t.steps = first.t.steps = second.t.steps = 30;
    whole.t.gate_every = first.t.gate_every = second.t.gate_every = 8;
    sl_assert_ok(sl_task_train(whole.m, whole.w, &whole.t, NULL, &r, &err));
    sl_ctx_tap(first.ctx, stop_at_ten, &first);
    sl_assert_fails(sl_task_train(first.m, first.w, &first.t, dir, &parts, &err), SL_CANCELLED, "stopped by a signal at step 11");
    assert_true(sl_path_is_dir(path));
    second.t.lr = 1e-4;
    sl_assert_fails(sl_task_train(second.m, second.w, &second.t, dir, &parts, &err), SL_EXISTS, "another task, configuration");
    second.t.lr = whole.t.lr;
    sl_assert_ok(sl_task_train(second.m, second.w, &second.t, dir, &parts, &err));
    assert_int_equal(parts.steps, 30);
    sl_assert_same_bits("loss", &r.loss, &parts.loss, sizeof r.loss);
    sl_assert_same_bits("score", &r.gate.score, &parts.gate.score, sizeof r.gate.score);
    for (int i = 0; i < sl_params_count(whole.m->ps); i++) {
        const sl_tensor *a = &sl_params_at(whole.m->ps, i)->value, *b = &sl_params_at(second.m->ps, i)->value;
        sl_assert_same_bits(sl_params_at(whole.m->ps, i)->name, a->data, b->data, sl_nbytes(a));
    }
    end(&whole);
    end(&first);
    end(&second);
}

static void test_agreement(void **state)
{
    (void)state;
    model o = begin(2);
    sl_world *w;
    sl_lm *m;
    sl_task_score s;
    sl_assert_ok(sl_world_new(o.ctx, "grammar", NULL, 42, &w, &err));
    sl_lm_config c = sl_task_lm_config(w, &o.t);
    sl_assert_ok(sl_lm_new(o.ctx, &c, 1, &m, &err));
    sl_assert_ok(sl_task_gate(m, w, 0, 500, &s, &err));
    assert_int_equal(s.n, 500); /* one main verb a sentence */
    assert_true(s.n_attractor > 40 && s.n_attractor < 110); /* .3 of the sentences have a second noun, half of them of the other number */
    assert_true(s.score > .3 && s.score < .7 && !s.passed);
    sl_assert_fails(sl_task_gate(o.m, w, 0, 10, &s, &err), SL_ARG, "the model has 13 tokens");
    sl_lm_free(m);
    sl_world_free(w);
    sl_assert_ok(sl_world_new(o.ctx, "toy_song", NULL, 42, &w, &err));
    sl_assert_fails(sl_task_gate(o.m, w, 0, 10, &s, &err), SL_ARG, "needs no model");
    sl_world_free(w);
    end(&o);
}

/* Rows carry the labels of their instance and position; cuts, threads and seeks change no bit. */
static void test_source(void **state)
{
    enum { N = 150, D = 32, PER = 2 /* '=' and the first digit of the sum */ };
    static float whole[N * D];
    (void)state;
    model o = begin(1), p = begin(3);
    sl_act_source *a, *b;
    sl_act_batch r;
    int64_t nf = sl_world_truth_of(o.w)->n;
    sl_assert_ok(sl_task_open(o.m, o.w, SL_WORLD_TRAIN, NULL, &a, &err));
    sl_assert_ok(sl_task_open(p.m, p.w, SL_WORLD_TRAIN, NULL, &b, &err));
    assert_string_equal(a->info.hook, "blocks.1.hook_resid_post");
    assert_int_equal(a->info.d_in, D);
    sl_assert_same_bits("hash", a->info.data_hash, b->info.data_hash, sizeof a->info.data_hash);
    sl_assert_ok(a->next(a, N, &r, &err));
    memcpy(whole, r.x, sizeof whole);
    for (int64_t i = 0; i < N; i++) {
        int32_t tokens[7];
        uint8_t uses[7], on[7 * 64], unknown[7 * 64];
        assert_int_equal(r.row[i], i);
        assert_int_equal(r.doc[i], i / PER);
        assert_int_equal(r.pos[i], 4 + i % PER);
        sl_assert_ok(sl_task_instances(o.w, SL_WORLD_TRAIN, r.doc[i], 1, tokens, uses, &err));
        sl_assert_ok(sl_task_labels(o.w, tokens, on, unknown, &err));
        assert_int_equal(r.token[i], tokens[r.pos[i]]);
        for (int64_t f = 0, k = r.truth->row_ptr[i]; f < nf; f++) {
            bool there = k < r.truth->row_ptr[i + 1] && r.truth->idx[k] == f;
            assert_int_equal(there, on[r.pos[i] * nf + f]);
            k += there;
            assert_int_equal(r.unknown[i * nf + f], unknown[r.pos[i] * nf + f]);
        }
    }
    for (int64_t at = 0, n = 1; at < N; at += n, n = at + 40 < N ? 40 : N - at) {
        sl_assert_ok(b->next(b, n, &r, &err));
        sl_assert_same_bits("cut", r.x, whole + at * D, (size_t)(n * D) * sizeof *whole);
    }
    sl_assert_ok(b->seek(b, 131, &err)); /* past the first chunk of 64 instances */
    sl_assert_ok(b->next(b, 10, &r, &err));
    assert_int_equal(r.row[0], 131);
    assert_int_equal(r.doc[0], 131 / PER);
    sl_assert_same_bits("seek", r.x, whole + 131 * D, 10 * D * sizeof *whole);
    sl_assert_fails(b->seek(b, -1, &err), SL_ARG, "from 0");
    sl_assert_fails(b->next(b, 0, &r, &err), SL_ARG, "at least one row");
    sl_act_source_free(a);
    sl_act_source_free(b);
    sl_assert_fails(sl_task_open(o.m, o.w, SL_WORLD_N_SPLIT, NULL, &a, &err), SL_ARG, "split 4");
    sl_assert_fails(sl_task_open(o.m, o.w, SL_WORLD_TRAIN, "blocks.9.hook_resid_post", &a, &err), SL_ARG, "blocks.9");
    end(&o);
    end(&p);
}

static void test_source_without_memory(void **state)
{
    (void)state;
    for (int64_t at = 1;; at++) {
        sl_ctx *ctx = sl_ctx_new(&(sl_ctx_opts){ .n_threads = 1, .fail_alloc_at = at });
        sl_world *w = NULL;
        sl_lm *m = NULL;
        sl_act_source *src = NULL;
        sl_act_batch b;
        if (!ctx)
            continue;
        sl_status st = sl_world_new(ctx, "dyck2", NULL, 1, &w, &err);
        sl_lm_config c = { .n_layer = 2, .n_head = 1, .n_embd = 8, .block_size = 33, .vocab_size = 5, .bias = true, .mlp = SL_LM_RELU };
        if (st == SL_OK)
            st = sl_lm_new(ctx, &c, 1, &m, &err);
        if (st == SL_OK)
            st = sl_task_open(m, w, SL_WORLD_TRAIN, NULL, &src, &err);
        if (st == SL_OK)
            st = src->next(src, 10, &b, &err);
        sl_act_source_free(src);
        sl_lm_free(m);
        sl_world_free(w);
        sl_ctx_free(ctx);
        if (st == SL_OK)
            break;
        assert_int_equal(st, SL_MEM);
        assert_true(at < 2000);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_passes_the_gate), cmocka_unit_test(test_resumes), cmocka_unit_test(test_threads), cmocka_unit_test(test_agreement),
        cmocka_unit_test(test_source), cmocka_unit_test(test_source_without_memory),
    };
    return cmocka_run_group_tests_name("task", tests, NULL, NULL);
}
