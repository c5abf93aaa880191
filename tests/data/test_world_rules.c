/* Superposition worlds against their definitions. */
#include "worlds.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static sl_err err;

static void test_toy_song(void **state)
{
    enum { N = 20000 };
    (void)state;
    open_world o = begin_world(2, "toy_song", "", 42, SL_WORLD_TRAIN);
    double l0, sum = 0;
    assert_int_equal(o.src->info.n_rows, 50000);
    int64_t *c = firing_counts(&o, N, &l0);
    ASSERT_NEAR(l0, 3, 0);
    assert_rates(c, o.t->p, 0, 32, N);
    sl_act_batch b = world_rows(&o, N);
    for (int64_t i = 0; i < 3 * N; i++)
        sum += (double)b.truth->val[i];
    ASSERT_NEAR(sum / (3 * N), sqrt(2 / 3.14159265358979), 5 * .603 / sqrt(3. * N)); /* |N(0, 1)| has sd .603 */
    sl_assert_ok(o.src->seek(o.src, 49999, &err));
    b = world_rows(&o, 2); /* the data set begins anew */
    assert_int_equal(b.row[0], 49999);
    assert_int_equal(b.row[1], 0);
    free(c);
    end_world(&o);
}

static void test_toy_128(void **state)
{
    enum { N = 40000 };
    (void)state;
    open_world o = begin_world(2, "toy_128", "", 42, SL_WORLD_TRAIN);
    double l0, sum = 0;
    for (int f = 0; f < 128; f++)
        sum += o.t->p[f];
    ASSERT_NEAR(sum, 5.6, 1e-9);
    int64_t *c = firing_counts(&o, N, &l0);
    ASSERT_NEAR(l0, 5.6, .06);
    assert_rates(c, o.t->p, 0, 128, N);
    assert_int_equal(o.t->n_in_tree, 64);
    sl_act_batch b = world_rows(&o, 5000);
    for (int64_t r = 0; r < 5000; r++)
        for (int32_t p = 0; p < 16; p++) {
            int on = 0;
            for (int32_t k = 0; k < 3; k++) {
                int32_t child = 16 + 3 * p + k;
                assert_int_equal(o.t->parent[child], p);
                on += code_value(&b, r, child) > 0;
            }
            assert_true(on == 0 || (on == 1 && code_value(&b, r, p) > 0));
        }
    for (int64_t i = 0; i < b.truth->row_ptr[5000]; i++)
        assert_true(b.truth->val[i] >= .5f && b.truth->val[i] <= 1.5f);
    free(c);
    end_world(&o);
}

/* Variance over mean of the firings of a feature in `batch` rows, averaged over features: 1 for independent rows. */
static double dispersion(const sl_act_batch *b, int64_t batch, int64_t n)
{
    int64_t n_batch = b->n / batch, used = 0;
    double *c = calloc((size_t)n * (size_t)n_batch, sizeof *c), sum = 0;
    assert_non_null(c);
    for (int64_t r = 0; r < b->n; r++)
        for (int64_t i = b->truth->row_ptr[r]; i < b->truth->row_ptr[r + 1]; i++)
            c[b->truth->idx[i] * n_batch + r / batch]++;
    for (int64_t f = 0; f < n; f++) {
        double mean = 0, sq = 0;
        for (int64_t k = 0; k < n_batch; k++) {
            mean += c[f * n_batch + k] / (double)n_batch;
            sq += c[f * n_batch + k] * c[f * n_batch + k] / (double)n_batch;
        }
        if (mean < .25) /* too rare to tell */
            continue;
        sum += (sq - mean * mean) / mean;
        used++;
    }
    free(c);
    return sum / (double)used;
}

static void test_toy_sharkey(void **state)
{
    enum { N = 20000 };
    (void)state;
    open_world o = begin_world(2, "toy_sharkey", "", 42, SL_WORLD_TRAIN);
    double l0;
    int64_t *c = firing_counts(&o, N, &l0);
    ASSERT_NEAR(l0, .971, .03); /* not the nominal 5 */
    ASSERT_NEAR(o.t->p[0], 5. / 512, 1e-12);
    assert_rates(c, o.t->p, 0, 512, N);
    sl_act_batch b = world_rows(&o, 128 * 128);
    ASSERT_NEAR(dispersion(&b, 128, 512), 1, .1);
    free(c);
    end_world(&o);

    o = begin_world(2, "toy_sharkey", "n=64,d=16,l0=3,batch=128,variant=correlated", 42, SL_WORLD_TRAIN);
    c = firing_counts(&o, 128 * 128, &l0);
    ASSERT_NEAR(l0, 3, .15); /* 3, and the features that empty rows get */
    sl_assert_ok(o.src->seek(o.src, 0, &err));
    b = world_rows(&o, 128 * 128);
    for (int64_t r = 0; r < b.n; r++)
        assert_true(b.truth->row_ptr[r + 1] > b.truth->row_ptr[r]);
    double shared = dispersion(&b, 128, 64); /* one draw a batch: what fires in it fires often */
    if (shared < 2)
        fail_msg("dispersion over batches %.2f", shared);
    free(c);
    end_world(&o);
}

static void test_toy_composed(void **state)
{
    enum { N = 4000 };
    (void)state;
    open_world o = begin_world(2, "toy_composed", "", 42, SL_WORLD_TRAIN);
    sl_act_batch b = world_rows(&o, N);
    int pair[4] = { 0 };
    for (int64_t r = 0; r < N; r++) {
        int64_t at = b.truth->row_ptr[r];
        assert_int_equal(b.truth->row_ptr[r + 1] - at, 2);
        assert_true(b.truth->idx[at] < 2 && b.truth->idx[at + 1] >= 2);
        assert_true(b.truth->val[at] == b.truth->val[at + 1]);
        pair[2 * b.truth->idx[at] + b.truth->idx[at + 1] - 2]++;
    }
    for (int k = 0; k < 4; k++)
        ASSERT_NEAR(pair[k], N / 4, 5 * sqrt(N * 3 / 16.));
    assert_int_equal(o.t->n_sets, 4);
    end_world(&o);

    o = begin_world(2, "toy_composed", "amplitude=independent,one_hot=.75", 42, SL_WORLD_TRAIN);
    b = world_rows(&o, N);
    int single = 0, equal = 0;
    for (int64_t r = 0; r < N; r++) {
        int64_t at = b.truth->row_ptr[r], n = b.truth->row_ptr[r + 1] - at;
        single += n == 1;
        equal += n == 2 && b.truth->val[at] == b.truth->val[at + 1];
    }
    ASSERT_NEAR(single, .75 * N, 5 * sqrt(N * .1875));
    assert_int_equal(equal, 0);
    end_world(&o);
}

static void test_comp_ood(void **state)
{
    enum { N = 2500 };
    (void)state;
    const sl_world_split splits[] = { SL_WORLD_TRAIN, SL_WORLD_TEST, SL_WORLD_OOD, SL_WORLD_ALL };
    for (int s = 0; s < 4; s++) {
        open_world o = begin_world(2, "comp_ood", "", 5, splits[s]);
        sl_act_batch b = world_rows(&o, N);
        int with_0 = 0, withheld = 0;
        assert_int_equal(o.t->d, 47);
        assert_int_equal(o.src->info.n_rows, N);
        for (int64_t r = 0; r < N; r++) {
            int second = 0;
            assert_int_equal(b.truth->row_ptr[r + 1] - b.truth->row_ptr[r], 10);
            for (int32_t f = 50; f < 100; f++)
                second += code_value(&b, r, f) > 0;
            bool zero = code_value(&b, r, 0) > 0;
            with_0 += zero;
            withheld += zero && second > 0;
            if (splits[s] == SL_WORLD_OOD)
                assert_int_equal(second, 9);
        }
        if (splits[s] == SL_WORLD_TRAIN || splits[s] == SL_WORLD_TEST) {
            assert_int_equal(withheld, 0);
            ASSERT_NEAR(with_0, N / 2, 5 * sqrt(N) / 2);
        } else
            assert_int_equal(withheld > N / 20, 1);
        end_world(&o);
    }
    open_world o = begin_world(2, "comp_ood", "rows=0", 5, SL_WORLD_TRAIN);
    double l0;
    int64_t *c = firing_counts(&o, 30000, &l0);
    assert_rates(c, o.t->p, 0, 100, 30000);
    assert_int_equal(o.t->n_sets, 50);
    assert_true(o.t->set[0].withheld && o.t->set[0].feature[0] == 0 && o.t->set[0].feature[1] == 50);
    free(c);
    end_world(&o);
}

static bool complete(const sl_act_batch *b, int64_t r, const sl_world_set *s)
{
    for (int32_t k = 0; k < s->order; k++)
        if (!(code_value(b, r, s->feature[k]) > 0))
            return false;
    return true;
}

static void test_synth_comp(void **state)
{
    enum { N = 6000 };
    (void)state;
    for (sl_world_split s = SL_WORLD_TRAIN; s <= SL_WORLD_ALL; s++) {
        open_world o = begin_world(2, "synth_comp", "", 5, s);
        sl_act_batch b = world_rows(&o, N);
        int64_t orders[5] = { 0 }, withheld = 0, planted = 0;
        assert_int_equal(o.t->n_sets, 88);
        for (int64_t t = 0; t < 88; t++) {
            orders[o.t->set[t].order]++;
            withheld += o.t->set[t].withheld;
            if (o.t->set[t].order == 2)
                assert_true(o.t->p[o.t->set[t].feature[0]] * o.t->p[o.t->set[t].feature[1]] >= 1e-3);
        }
        assert_true(orders[2] == 64 && orders[3] == 16 && orders[4] == 8 && withheld == 13);
        for (int64_t r = 0; r < N; r++) {
            int hidden = 0;
            for (int64_t t = 0; t < 88; t++) {
                bool all = complete(&b, r, &o.t->set[t]);
                hidden += all && o.t->set[t].withheld;
                planted += all && o.t->set[t].order == 4;
            }
            assert_true(s == SL_WORLD_ALL || (hidden > 0) == (s == SL_WORLD_OOD));
        }
        ASSERT_NEAR((double)planted, 8 * 2e-3 * N, 5 * sqrt(8 * 2e-3 * N) + 2); /* one in 10^6 rows without planting */
        end_world(&o);
    }
}

/* The largest order of a complete set over rows [from, from + n). */
static int32_t largest_order(open_world *o, int64_t from, int64_t n)
{
    int32_t most = 0;
    sl_assert_ok(o->src->seek(o->src, from, &err));
    sl_act_batch b = world_rows(o, n);
    for (int64_t r = 0; r < n; r++)
        for (int64_t t = 0; t < o->t->n_sets; t++)
            if (o->t->set[t].order > most && complete(&b, r, &o->t->set[t]))
                most = o->t->set[t].order;
    return most;
}

static void test_curriculum(void **state)
{
    enum { THIRD = 2000 };
    static const int32_t rising[] = { 2, 3, 4, 4 }, falling[] = { 4, 3, 2, 2 };
    (void)state;
    open_world up = begin_world(2, "synth_comp", "l0=12,curriculum=6000", 5, SL_WORLD_TRAIN), down = begin_world(2, "synth_comp", "l0=12,curriculum=-6000", 5, SL_WORLD_TRAIN);
    open_world test = begin_world(2, "synth_comp", "l0=12,curriculum=6000", 5, SL_WORLD_TEST);
    for (int k = 0; k < 4; k++) {
        assert_int_equal(largest_order(&up, k * THIRD, THIRD), rising[k]);
        assert_int_equal(largest_order(&down, k * THIRD, THIRD), falling[k]);
    }
    assert_int_equal(largest_order(&test, 0, THIRD), 4);
    end_world(&up);
    end_world(&down);
    end_world(&test);
}

static void test_compositions_add(void **state)
{
    (void)state;
    open_world zero = begin_world(2, "synth_comp", "beta=0", 5, SL_WORLD_ALL), one = begin_world(2, "synth_comp", "beta=.3,form=min", 5, SL_WORLD_ALL);
    sl_act_batch a = world_rows(&zero, 2000), b = world_rows(&one, 2000);
    int64_t d = one.t->d, with = 0;
    for (int64_t r = 0; r < 2000; r++)
        for (int64_t j = 0; j < d; j++) {
            double want = (double)a.x[r * d + j];
            for (int64_t t = 0; t < one.t->n_sets; t++) {
                const sl_world_set *s = &one.t->set[t];
                double least = INFINITY;
                for (int32_t k = 0; k < s->order; k++)
                    least = fmin(least, code_value(&b, r, s->feature[k]));
                want += least > 0 ? .3 * least * (double)s->dir[j] : 0;
                with += least > 0;
            }
            ASSERT_NEAR((double)b.x[r * d + j], want, 1e-4);
        }
    assert_true(with / d > 300);
    end_world(&zero);
    end_world(&one);
}

static void test_trees(void **state)
{
    enum { N = 20000 };
    (void)state;
    open_world o = begin_world(2, "synth_hier", "", 42, SL_WORLD_TRAIN);
    double l0;
    int64_t *c = firing_counts(&o, N, &l0);
    ASSERT_NEAR(l0, 8, .15);
    assert_int_equal(o.t->n_in_tree, 672);
    assert_rates(c, o.t->p, 0, 32, N);    /* roots */
    assert_rates(c, o.t->p, 672, 768, N); /* free */
    free(c);
    sl_act_batch b = world_rows(&o, 3000);
    for (int64_t r = 0; r < b.n; r++) {
        int32_t children[768] = { 0 };
        for (int64_t i = b.truth->row_ptr[r]; i < b.truth->row_ptr[r + 1]; i++) {
            int32_t p = o.t->parent[b.truth->idx[i]];
            assert_true(b.truth->val[i] >= .5f && b.truth->val[i] <= 1.5f);
            if (p >= 0) {
                assert_true(code_value(&b, r, p) > 0);
                assert_int_equal(++children[p], 1);
            }
        }
    }
    end_world(&o);

    o = begin_world(2, "synth1k", "ortho_steps=0", 42, SL_WORLD_TRAIN);
    c = firing_counts(&o, N, &l0);
    ASSERT_NEAR(l0, 8, .25);
    assert_int_equal(o.t->n_in_tree, 336);
    double p[1024]; /* correlated through e, but each fires with its own p; a value below 0, which is off, is rare but not impossible */
    for (int f = 0; f < 1024; f++)
        p[f] = o.t->p[f] * .5 * erfc(-o.t->mean[f] / o.t->std[f] / sqrt(2));
    assert_rates(c, p, 0, 16, N);
    assert_rates(c, p, 336, 1024, N);
    free(c);
    end_world(&o);
}

/* Pairs of free features fire together as a pair of correlated normals does: a rank of one, so large that it shows. */
static void test_correlations(void **state)
{
    enum { N = 40000, F = 40 };
    (void)state;
    open_world o = begin_world(2, "synth1k", "n=40,d=8,roots=0,rank=1,correlation=10,p_min=.2,p_max=.21,std_mean=0,std_std=0,ortho_steps=0", 42, SL_WORLD_TRAIN);
    sl_act_batch b = world_rows(&o, N);
    int64_t both[F][F] = { { 0 } };
    for (int64_t r = 0; r < N; r++)
        for (int64_t i = b.truth->row_ptr[r]; i < b.truth->row_ptr[r + 1]; i++)
            for (int64_t j = i + 1; j < b.truth->row_ptr[r + 1]; j++)
                both[b.truth->idx[i]][b.truth->idx[j]]++;
    double least = 1, most = 0;
    for (int i = 0; i < F; i++)
        for (int j = i + 1; j < F; j++) {
            double share = (double)both[i][j] / N;
            least = fmin(least, share);
            most = fmax(most, share);
        }
    /* the factor is scaled so that the largest |L| is sqrt(.99): pairs from nearly opposed (0) over independent (.04) to nearly equal (.2) */
    if (!(least < .025 && most > .1 && most <= .21))
        fail_msg("pairs fire together with probability %.4f to %.4f", least, most);
    end_world(&o);
}

static void test_synth16k(void **state)
{
    enum { N = 3000, SAMPLE = 20 };
    (void)state;
    open_world o = begin_world(2, "synth16k", "ortho_steps=0", 42, SL_WORLD_TRAIN);
    double l0, sum = 0, bias = 0;
    assert_int_equal(o.t->n, 16384);
    assert_int_equal(o.t->d, 768);
    assert_int_equal(o.t->n_in_tree, 10880);
    ASSERT_NEAR(o.t->p[0], .4, 1e-12);
    ASSERT_NEAR(o.t->p[16383], 5e-4, 1e-12);
    for (int j = 0; j < 768; j++)
        bias += (double)o.t->bias[j] * (double)o.t->bias[j];
    ASSERT_NEAR(sqrt(bias), .5, 1e-5);
    int64_t *c = firing_counts(&o, N, &l0), top = 0;
    ASSERT_NEAR(l0, 34.3, 1);
    for (int f = 0; f < 4096; f++)
        top += c[f];
    ASSERT_NEAR((double)top / N, 25, 1);
    ASSERT_NEAR((double)c[0] / N, .4, 5 * sqrt(.24 / N));
    for (int i = 0; i < SAMPLE; i++) { /* mean over a sample of features of the largest |cos| with any other */
        const float *f = o.t->dir + (int64_t)i * 800 * 768;
        double best = 0;
        for (int64_t g = 0; g < 16384; g++) {
            float dot = 0;
            for (int j = 0; j < 768; j++)
                dot += f[j] * o.t->dir[g * 768 + j];
            if (g != (int64_t)i * 800)
                best = fmax(best, fabs((double)dot));
        }
        sum += best;
    }
    ASSERT_NEAR(sum / SAMPLE, .15, .01);
    free(c);
    end_world(&o);
}

/* The same draws with and without scaling: a child's value is multiplied by its parent's over the parent's mean. */
static void test_scaled_children(void **state)
{
    (void)state;
    open_world a = begin_world(2, "synth1k", "ortho_steps=0", 9, SL_WORLD_TRAIN), b = begin_world(2, "synth1k", "ortho_steps=0,scale_children_by_parent=true", 9, SL_WORLD_TRAIN);
    sl_act_batch x = world_rows(&a, 2000), y = world_rows(&b, 2000);
    int64_t nnz = x.truth->row_ptr[2000], scaled = 0;
    assert_int_equal(nnz, y.truth->row_ptr[2000]);
    for (int64_t r = 0; r < 2000; r++)
        for (int64_t i = x.truth->row_ptr[r]; i < x.truth->row_ptr[r + 1]; i++) {
            int32_t f = x.truth->idx[i], p = a.t->parent[f];
            assert_int_equal(f, y.truth->idx[i]);
            double factor = p >= 0 ? code_value(&y, r, p) / a.t->mean[p] : 1;
            ASSERT_NEAR((double)y.truth->val[i], (double)x.truth->val[i] * factor, 1e-4 * (double)x.truth->val[i] * factor + 1e-6);
            scaled += p >= 0 && fabs(factor - 1) > .01;
        }
    assert_true(scaled > 100);
    end_world(&a);
    end_world(&b);
}

/* sum_{i != j} cos^2 of a dictionary. */
static double overlap(const sl_world_truth *t)
{
    double sum = 0;
    for (int64_t i = 0; i < t->n; i++)
        for (int64_t j = 0; j < i; j++) {
            double dot = 0;
            for (int64_t k = 0; k < t->d; k++)
                dot += (double)t->dir[i * t->d + k] * (double)t->dir[j * t->d + k];
            sum += 2 * dot * dot;
        }
    return sum;
}

static void test_orthogonalized(void **state)
{
    (void)state;
    open_world a = begin_world(2, "synth1k", "n=200,d=50,roots=0,ortho_steps=0", 9, SL_WORLD_TRAIN), b = begin_world(2, "synth1k", "n=200,d=50,roots=0,ortho_steps=100", 9, SL_WORLD_TRAIN);
    double before = overlap(a.t), after = overlap(b.t), tight = 200. * 200 / 50 - 200; /* no 200 directions in 50 dimensions do better (Welch 1974) */
    if (!(after < tight + .5 * (before - tight) && after >= tight - 1e-6))
        fail_msg("sum of squared cosines %.2f before, %.2f after, bound %.2f", before, after, tight);
    end_world(&a);
    end_world(&b);
}

/* As many dimensions as features, all always on: the model learns the identity, up to a rotation. */
static void test_toy_elhage(void **state)
{
    (void)state;
    open_world o = begin_world(2, "toy_elhage", "n=2,d=2,sparsity=0,importance=1,steps=1500,batch=64,lr=.01", 42, SL_WORLD_TRAIN);
    double dot = (double)o.t->dir[0] * (double)o.t->dir[2] + (double)o.t->dir[1] * (double)o.t->dir[3], most[2] = { 0, 0 };
    ASSERT_NEAR(dot, 0, .1);
    sl_act_batch b = world_rows(&o, 2000);
    assert_int_equal(b.truth->row_ptr[2000], 4000);
    for (int64_t i = 0; i < 4000; i++)
        most[b.truth->idx[i]] = fmax(most[b.truth->idx[i]], (double)b.truth->val[i]);
    ASSERT_NEAR(most[0], 1, .06); /* |W_i|: the code of x_i = 1 */
    ASSERT_NEAR(most[1], 1, .06);
    end_world(&o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_toy_song), cmocka_unit_test(test_toy_128), cmocka_unit_test(test_toy_sharkey),
        cmocka_unit_test(test_toy_composed), cmocka_unit_test(test_comp_ood), cmocka_unit_test(test_synth_comp), cmocka_unit_test(test_curriculum),
        cmocka_unit_test(test_compositions_add), cmocka_unit_test(test_trees), cmocka_unit_test(test_correlations),
        cmocka_unit_test(test_synth16k), cmocka_unit_test(test_scaled_children), cmocka_unit_test(test_orthogonalized),
        cmocka_unit_test(test_toy_elhage),
    };
    return cmocka_run_group_tests_name("world rules", tests, NULL, NULL);
}
