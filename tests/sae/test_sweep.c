/* Many SAEs in one pass: each one's bits are those of its own training, also after stops and kills at different steps. */
#include "../support.h"
#include "rows.h"

#include "sae/variant.h"

#include <saelab/sweep.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N = 300, D = 16, F = 40, BATCH = 32, STEPS = 24, MOST = 8 };

/* What differs between the SAEs of the sweep. */
typedef struct member { const char *variant; int64_t d_sae, steps; uint64_t seed; double lr; bool normalize; int source; } member;
static const member MEMBERS[] = {
    { "topk", F, STEPS, 1, 3e-3, true, 0 },      { "topk", F, STEPS, 2, 3e-3, true, 0 },         { "batchtopk", F, STEPS, 1, 3e-3, true, 0 },
    { "standard", 24, STEPS - 7, 1, 1e-2, true, 0 }, { "jumprelu", F, STEPS, 1, 3e-3, false, 0 }, { "topk", 64, STEPS, 1, 3e-3, true, 1 },
};
enum { N_MEMBERS = sizeof MEMBERS / sizeof *MEMBERS };

typedef struct lot {
    sl_ctx *ctx;
    rows source[2];
    int64_t asked[2];               /* calls of next of each source */
    sl_sae_train_config train[N_MEMBERS];
    char dir[N_MEMBERS][600];
    sl_sweep_run run[N_MEMBERS];
} lot;

static sl_status (*plain_next)(sl_act_source *s, int64_t n, sl_act_batch *out, sl_err *err);
static lot *counted;

static sl_status count_next(sl_act_source *s, int64_t n, sl_act_batch *out, sl_err *err)
{
    counted->asked[s == &counted->source[1].src]++;
    return plain_next(s, n, out, err);
}

static void start(lot *l, const char *dir)
{
    sl_err err;
    memset(l, 0, sizeof *l);
    l->ctx = sl_test_ctx(2);
    rows_planted(&l->source[0], N, D, 20, 3, 6, NULL);
    rows_planted(&l->source[1], N, D, 20, 3, 7, NULL);
    for (int i = 0; i < N_MEMBERS; i++) {
        const member *m = &MEMBERS[i];
        _Alignas(max_align_t) char opts[256];
        const sl_variant_info *v = sl_variant_find(m->variant);
        sl_opts_default(v->opts, opts);
        if (sl_opts_find(v->opts, "k"))
            sl_assert_ok(sl_opts_set(l->ctx, v->opts, opts, "k", "4", "test", SL_ARG, &err));
        sl_opts_default(sl_sae_train_opts, &l->train[i]);
        l->train[i].steps = m->steps;
        l->train[i].batch = BATCH;
        l->train[i].lr = m->lr;
        l->train[i].normalize = m->normalize;
        l->train[i].dead_window = 100;
        l->train[i].resample_every = 10;
        if (dir)
            snprintf(l->dir[i], sizeof l->dir[i], "%s/%d", dir, i);
        l->run[i] = (sl_sweep_run){ .acts = &l->source[m->source].src, .train = &l->train[i], .dir = dir ? l->dir[i] : NULL };
        sl_assert_ok(sl_sae_new(l->ctx, m->variant, D, m->d_sae, opts, m->seed, &l->run[i].sae, &err));
    }
}

static void end(lot *l)
{
    for (int i = 0; i < N_MEMBERS; i++) {
        sl_free(l->ctx, l->run[i].result.curve);
        sl_sae_free(l->run[i].sae);
    }
    rows_release(&l->source[0]);
    rows_release(&l->source[1]);
    sl_ctx_free(l->ctx);
}

static void same_sae(const lot *a, const lot *b, int i)
{
    static const char *const names[] = { "W_enc", "W_dec", "b_enc", "b_dec" };
    for (int k = 0; k < 4; k++) {
        sl_tensor x, y;
        sl_err err;
        sl_assert_ok(sl_sae_weight(a->run[i].sae, names[k], &x, &err));
        sl_assert_ok(sl_sae_weight(b->run[i].sae, names[k], &y, &err));
        sl_assert_same_bits(names[k], x.data, y.data, sl_nbytes(&x));
    }
    sl_assert_same_bits("state", a->run[i].sae->state, b->run[i].sae->state, sizeof a->run[i].sae->state);
    assert_int_equal(a->run[i].result.n_curve, b->run[i].result.n_curve);
    for (int64_t s = 0; s < a->run[i].result.n_curve; s++)
        sl_assert_same_bits("curve", &a->run[i].result.curve[s], &b->run[i].result.curve[s], offsetof(sl_sae_step, seconds));
}

static void train_alone(lot *l, int i)
{
    sl_err err;
    sl_assert_ok(sl_sae_train(l->run[i].sae, l->run[i].acts, l->run[i].train, l->run[i].dir, &l->run[i].result, &err));
}

static void train_all(lot *l)
{
    sl_err err;
    sl_assert_ok(sl_sae_train_many(l->run, N_MEMBERS, &err));
    for (int i = 0; i < N_MEMBERS; i++)
        assert_int_equal(l->run[i].status, SL_OK);
}

static void same_bits_as_alone(void **state)
{
    (void)state;
    lot alone, together;
    start(&alone, NULL);
    start(&together, NULL);
    for (int i = 0; i < N_MEMBERS; i++)
        train_alone(&alone, i);
    counted = &together;
    plain_next = together.source[0].src.next;
    together.source[0].src.next = together.source[1].src.next = count_next;
    train_all(&together);
    for (int i = 0; i < N_MEMBERS; i++)
        same_sae(&together, &alone, i);
    /* the first rows, for the mean, are asked for by each; steps are read once for the five SAEs of source 0 */
    int64_t first = (N + BATCH - 1) / BATCH;
    assert_int_equal(together.asked[0], 5 * first + STEPS);
    assert_int_equal(together.asked[1], first + STEPS);
    end(&alone);
    end(&together);
}

/* Stops when row `at` of source 0 is asked for. */
static void stopped(const char *dir, int64_t at)
{
    lot l;
    sl_err err;
    start(&l, dir);
    l.source[0].cancel = l.ctx;
    l.source[0].cancel_at = at;
    sl_assert_fails(sl_sae_train_many(l.run, N_MEMBERS, &err), SL_CANCELLED, "stopped by signal 2 after step");
    for (int i = 0; i < N_MEMBERS; i++)
        assert_int_equal(l.run[i].status, SL_CANCELLED);
    end(&l);
}

static void resumes(void **state)
{
    (void)state;
    lot whole, parts;
    const char *dir = sl_test_dir("sweep");
    start(&whole, NULL);
    train_all(&whole);
    stopped(dir, N + 2 * BATCH);
    stopped(dir, N + 13 * BATCH);
    start(&parts, dir);
    train_all(&parts);
    for (int i = 0; i < N_MEMBERS; i++)
        same_sae(&parts, &whole, i);
    end(&parts);
    start(&parts, dir); /* finished: the same again, without a step */
    parts.source[0].cancel = parts.ctx;
    parts.source[0].cancel_at = N;
    train_all(&parts);
    for (int i = 0; i < N_MEMBERS; i++)
        same_sae(&parts, &whole, i);
    end(&parts);
    end(&whole);
}

/* As after a kill between two checkpoints: one SAE is finished, others are half-way, the rest has not begun. */
static void resumes_from_different_steps(void **state)
{
    (void)state;
    lot whole, some;
    const char *dir = sl_test_dir("uneven");
    start(&whole, NULL);
    train_all(&whole);
    start(&some, dir);
    train_alone(&some, 1);
    end(&some);
    for (int half = 0; half < 2; half++) {
        sl_err err;
        start(&some, dir);
        some.source[0].cancel = some.ctx;
        some.source[0].cancel_at = N + (half ? 11 : 3) * BATCH;
        sl_assert_fails(sl_sae_train_many(some.run + (half ? 4 : 2), half ? 1 : 2, &err), SL_CANCELLED, "stopped by signal");
        end(&some);
    }
    start(&some, dir);
    train_all(&some);
    for (int i = 0; i < N_MEMBERS; i++)
        same_sae(&some, &whole, i);
    end(&some);
    end(&whole);
}

static void one_that_fails(void **state)
{
    (void)state;
    lot whole, l;
    sl_err err;
    start(&whole, NULL);
    train_all(&whole);
    start(&l, NULL);
    l.train[0].normalize = false;
    float most = 0;
    for (int64_t i = 0; i < N * D; i++)
        most = fmaxf(most, fabsf(l.source[1].x[i]));
    for (int64_t i = 0; i < N * D; i++) /* each number is finite, and their sums with weights are not */
        l.source[1].x[i] *= 3e38f / most;
    l.run[0].acts = &l.source[1].src;
    sl_status st = sl_sae_train_many(l.run, 5, &err);
    assert_int_equal(st, SL_OK);
    assert_int_equal(l.run[0].status, SL_NUMERIC);
    assert_non_null(strstr(l.run[0].err.msg, "step"));
    for (int i = 1; i < 5; i++) {
        assert_int_equal(l.run[i].status, SL_OK);
        same_sae(&l, &whole, i);
    }
    end(&l);
    end(&whole);
}

static void refused(void **state)
{
    (void)state;
    lot l;
    sl_err err;
    start(&l, NULL);
    sl_assert_fails(sl_sae_train_many(l.run, 0, &err), SL_ARG, "there is none to train");
    l.train[1].batch = BATCH + 1;
    sl_assert_fails(sl_sae_train_many(l.run, N_MEMBERS, &err), SL_ARG, "batches of 32 and of 33 rows");
    l.train[1].batch = BATCH;
    l.train[2].lr = -1;
    sl_assert_fails(sl_sae_train_many(l.run, N_MEMBERS, &err), SL_ARG, "lr");
    for (int i = 0; i < N_MEMBERS; i++)
        assert_int_equal(l.run[i].status, SL_ARG);
    end(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_bits_as_alone), cmocka_unit_test(resumes), cmocka_unit_test(resumes_from_different_steps),
        cmocka_unit_test(one_that_fails), cmocka_unit_test(refused),
    };
    return cmocka_run_group_tests_name("sae_sweep", tests, NULL, NULL);
}
