/* Tasks: labels against sentences worked out by hand, splits, what is withheld. */
#include "support.h"

#include <saelab/world.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static sl_err err;

enum { MAX_T = 64, MAX_F = 160 };
typedef struct instance { int32_t tokens[MAX_T]; uint8_t uses[MAX_T], on[MAX_T * MAX_F], unknown[MAX_T * MAX_F]; } instance;

static sl_world *task(sl_ctx *ctx, const char *name, const char *key, const char *text)
{
    _Alignas(max_align_t) char opts[SL_WORLD_OPTS];
    const sl_world_info *info = sl_world_find(name);
    sl_world *w;
    sl_opts_default(info->opts, opts);
    if (key)
        sl_assert_ok(sl_opts_set(ctx, info->opts, opts, key, text, "test", SL_ARG, &err));
    sl_assert_ok(sl_world_new(ctx, name, opts, 42, &w, &err));
    assert_true(sl_world_task(w)->T <= MAX_T && sl_world_truth_of(w)->n <= MAX_F);
    return w;
}

/* Words separated by spaces as tokens, the rest <bos>. */
static void spell(const sl_world *w, const char *words, int32_t *tokens)
{
    const sl_task_info *t = sl_world_task(w);
    char text[512], *word, *rest = text;
    int n = 0;
    memset(tokens, 0, MAX_T * sizeof *tokens);
    snprintf(text, sizeof text, "%s", words);
    while ((word = strtok_r(rest, " ", &rest)) != NULL) {
        int32_t id = -1;
        for (int32_t v = 0; v < t->vocab; v++)
            if (strcmp(t->word[v], word) == 0)
                id = v;
        if (id < 0)
            fail_msg("no word '%s'", word);
        tokens[n++] = id;
    }
    assert_true(n <= t->T);
}

static int64_t feature(const sl_world *w, const char *name)
{
    const sl_world_truth *t = sl_world_truth_of(w);
    for (int64_t f = 0; f < t->n; f++)
        if (strcmp(t->feature[f].name, name) == 0)
            return f;
    fail_msg("no feature '%s'", name);
    return -1;
}

/* '1' on, '0' off, '?' not yet determined. */
static char label(const sl_world *w, const instance *i, int64_t position, const char *name)
{
    int64_t at = position * sl_world_truth_of(w)->n + feature(w, name);
    return i->unknown[at] ? '?' : i->on[at] ? '1' : '0';
}

/* The labels of a feature over the first positions, as a text. */
static void assert_labels(const sl_world *w, const instance *i, const char *name, const char *want)
{
    char got[MAX_T + 1] = "";
    for (size_t p = 0; p < strlen(want); p++)
        got[p] = want[p] == '.' ? '.' : label(w, i, (int64_t)p, name);
    if (strcmp(got, want) != 0)
        fail_msg("%s is %s, expected %s", name, got, want);
}

static instance read_words(const sl_world *w, const char *words)
{
    instance i;
    spell(w, words, i.tokens);
    sl_assert_ok(sl_task_labels(w, i.tokens, i.on, i.unknown, &err));
    return i;
}

/* ---- labels by hand ---- */

static void test_arithmetic(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    sl_world *w = task(ctx, "arithmetic", NULL, NULL);
    assert_int_equal(sl_world_truth_of(w)->n, 60 + 3 + 32);
    instance i = read_words(w, "<bos> 1 2 3 + 9 8 4 = 7 0 1 1"); /* 123 + 984 = 1107, units first */
    /*                          0     1 2 3 4 5 6 7 8 9 ...                        */
    assert_labels(w, &i, "a2=1", "?111111111111");
    assert_labels(w, &i, "a0=3", "???1111111111");
    assert_labels(w, &i, "a0=4", "???0000000000");
    assert_labels(w, &i, "b0=4", "???????111111");
    assert_labels(w, &i, "carry0", "???????000000"); /* 3 + 4 */
    assert_labels(w, &i, "carry1", "???????111111"); /* 2 + 8 */
    assert_labels(w, &i, "carry2", "???????111111"); /* 1 + 9 + 1 */
    assert_labels(w, &i, "s0=7", "???????111111");
    assert_labels(w, &i, "s1=0", "???????111111");
    assert_labels(w, &i, "s2=1", "???????111111");
    assert_labels(w, &i, "s3=1", "???????111111");
    assert_labels(w, &i, "s3=0", "???????000000");
    const sl_world_feature *f = sl_world_truth_of(w)->feature;
    assert_int_equal(f[feature(w, "carry0")].order, 2);
    assert_int_equal(f[feature(w, "s1=5")].order, 3);
    assert_int_equal(f[feature(w, "s1=5")].family, f[feature(w, "s1=0")].family);
    assert_int_equal(f[feature(w, "s1=5")].atom[2], feature(w, "carry0"));
    spell(w, "<bos> 1 2 3 + 9 8 4 = 7 0 1 0", i.tokens);
    sl_assert_fails(sl_task_labels(w, i.tokens, i.on, i.unknown, &err), SL_DATA, "these tokens are none");
    i.tokens[3] = 99;
    sl_assert_fails(sl_task_labels(w, i.tokens, i.on, i.unknown, &err), SL_DATA, "token 3 is 99");
    sl_world_free(w);
    w = task(ctx, "arithmetic", "order", "plain");
    i = read_words(w, "<bos> 1 2 3 + 9 8 4 = 1 1 0 7");
    assert_int_equal(label(w, &i, 8, "s0=7"), '1');
    sl_world_free(w);
    sl_ctx_free(ctx);
}

static void test_boolean(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    sl_world *w = task(ctx, "boolean", NULL, NULL);
    instance i = read_words(w, "<bos> A = 1 ; B = 0 ; C = 1 ; D = 1 ; ( ( NOT A OR B ) XOR C ) = 1");
    int64_t at = 27; /* the last '=' */
    assert_labels(w, &i, "A=1", "???11111111111111111111111111");
    assert_labels(w, &i, "B=1", "???????0000000000000000000000");
    assert_labels(w, &i, "D=1", "???????????????11111111111111");
    assert_labels(w, &i, "root_op=XOR", "???????????????????????????1");
    assert_int_equal(label(w, &i, at, "root_op=OR"), '0');
    assert_int_equal(label(w, &i, at, "left_op=OR"), '1');
    assert_int_equal(label(w, &i, at, "right_op=AND"), '0');
    assert_int_equal(label(w, &i, at, "right_op=OR"), '0');
    assert_int_equal(label(w, &i, at, "left=1"), '0');
    assert_int_equal(label(w, &i, at, "right=1"), '1');
    assert_int_equal(label(w, &i, at, "root=1"), '1');
    i = read_words(w, "<bos> A = 1 ; B = 0 ; C = 1 ; D = 0 ; NOT D = 1");
    assert_int_equal(label(w, &i, 19, "root=1"), '1');
    assert_int_equal(label(w, &i, 19, "left=1"), '?');
    spell(w, "<bos> A = 1 ; B = 0 ; C = 1 ; D = 0 ; ( A AND B = 0", i.tokens);
    sl_assert_fails(sl_task_labels(w, i.tokens, i.on, i.unknown, &err), SL_DATA, "these tokens are none");
    sl_world_free(w);
    sl_ctx_free(ctx);
}

static void test_grammar(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    sl_world *w = task(ctx, "grammar", NULL, NULL);
    assert_int_equal(sl_world_task(w)->vocab, 36);
    instance i = read_words(w, "<bos> the dog near some old cats runs today <eos>");
    /*                          0     1   2   3    4    5   6    7    8     9   */
    assert_labels(w, &i, "Det", "0100100000");
    assert_labels(w, &i, "N", "0010001000");
    assert_labels(w, &i, "Adj", "0000010000");
    assert_labels(w, &i, "VI", "0000000100");
    assert_labels(w, &i, "mark", "1000000001");
    assert_labels(w, &i, "head_sg", "??11111111"); /* "the" does not tell */
    assert_labels(w, &i, "last_sg", "??11110000");
    assert_labels(w, &i, "in_PP", "0001111000");
    assert_labels(w, &i, "expects", "0010001000");
    assert_labels(w, &i, "need_sg", "0010001000");
    assert_labels(w, &i, "attractor", "??00001111");
    assert_labels(w, &i, "need_sg_attractor", "0000001000");
    assert_labels(w, &i, "need_sg_attractor_in_PP", "0000001000");
    i = read_words(w, "<bos> some red kings that see a boy like the ship <eos>");
    /*                 0     1    2   3     4    5   6 7   8    9   10   11  */
    assert_labels(w, &i, "head_sg", "?00000000000"); /* "some" tells */
    assert_labels(w, &i, "in_Rel", "000011110000");
    assert_labels(w, &i, "VT", "000001001000");
    assert_labels(w, &i, "expects", "000100010000");
    assert_labels(w, &i, "need_sg", "000000000000");
    assert_labels(w, &i, "attractor", "???000011111");
    static const char *const wrong[] = {
        "<bos> the dog run <eos>", "<bos> a dogs run <eos>", "<bos> the dog that runs the cat sleeps <eos>", "<bos> the dog near a cat", "<bos> the dog near a cat near a boy runs <eos>",
        "<bos> the dog <eos>", "<bos> the dog sees <eos>", "<bos> the dog runs the cat <eos>", "<bos> the dog that see the cat runs <eos>",
    };
    for (size_t k = 0; k < sizeof wrong / sizeof *wrong; k++) {
        spell(w, wrong[k], i.tokens);
        if (sl_task_labels(w, i.tokens, i.on, i.unknown, &err) != SL_DATA)
            fail_msg("'%s' was accepted", wrong[k]);
    }
    sl_world_free(w);
    sl_ctx_free(ctx);
}

static void test_dyck2(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    sl_world *w = task(ctx, "dyck2", "length", "8");
    instance i = read_words(w, "<bos> ( [ ] ( ) ) [ ]");
    assert_labels(w, &i, "depth=0", "100000101");
    assert_labels(w, &i, "depth=2", "001010000");
    assert_labels(w, &i, "top=(", "010111000");
    assert_labels(w, &i, "top=[", "001000010");
    assert_labels(w, &i, "depth=2,top=[", "001000000");
    assert_labels(w, &i, "depth=1,top=[", "000000010");
    spell(w, "<bos> ( [ ) ] ( ) ( )", i.tokens);
    sl_assert_fails(sl_task_labels(w, i.tokens, i.on, i.unknown, &err), SL_DATA, "these tokens are none");
    sl_world_free(w);
    sl_ctx_free(ctx);
}

/* ---- instances and splits ---- */

static const char *const tasks[] = { "arithmetic", "boolean", "grammar", "dyck2" };

/* Every instance of every split is one of the task, and its uses make sense. */
static void test_instances(void **state)
{
    enum { N = 400 };
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    for (int k = 0; k < 4; k++) {
        sl_world *w = task(ctx, tasks[k], NULL, NULL);
        const sl_task_info *t = sl_world_task(w);
        for (int s = 0; s < SL_WORLD_N_SPLIT; s++)
            for (int64_t n = 0; n < N; n++) {
                instance i;
                sl_assert_ok(sl_task_instances(w, (sl_world_split)s, n, 1, i.tokens, i.uses, &err));
                sl_assert_ok(sl_task_labels(w, i.tokens, i.on, i.unknown, &err));
                int rows = 0, scored = 0;
                for (int64_t p = 0; p < t->T; p++) {
                    rows += (i.uses[p] & SL_TASK_ROW) != 0;
                    scored += (i.uses[p] & SL_TASK_SCORE) != 0;
                    if (i.uses[p] & SL_TASK_SCORE) {
                        assert_true(i.uses[p] & SL_TASK_LOSS);
                        assert_true(p + 1 < t->T && (!t->side || t->side[i.tokens[p + 1]]));
                    }
                }
                assert_true(rows > 0 && scored > 0);
            }
        sl_world_free(w);
    }
    sl_ctx_free(ctx);
}

static void test_instances_depend_on_their_number(void **state)
{
    enum { N = 30 };
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    for (int k = 0; k < 4; k++) {
        static int32_t all[N * MAX_T], one[MAX_T], other[N * MAX_T];
        static uint8_t uses[N * MAX_T], use[MAX_T];
        sl_world *w = task(ctx, tasks[k], NULL, NULL);
        size_t T = (size_t)sl_world_task(w)->T;
        sl_assert_ok(sl_task_instances(w, SL_WORLD_TRAIN, 100, N, all, uses, &err));
        sl_assert_ok(sl_task_instances(w, SL_WORLD_TRAIN, 117, 1, one, use, &err));
        assert_memory_equal(one, all + 17 * T, T * sizeof *one);
        assert_memory_equal(use, uses + 17 * T, T);
        sl_assert_ok(sl_task_instances(w, SL_WORLD_ALL, 100, N, other, uses, &err));
        assert_true(memcmp(all, other, N * T * sizeof *all) != 0);
        sl_assert_fails(sl_task_instances(w, SL_WORLD_N_SPLIT, 0, 1, one, use, &err), SL_ARG, "split 4");
        sl_assert_fails(sl_task_instances(w, SL_WORLD_TRAIN, -1, 1, one, use, &err), SL_ARG, "instance -1");
        sl_world_free(w);
    }
    sl_world *w;
    int32_t tokens[4];
    uint8_t bytes[4];
    sl_assert_ok(sl_world_new(ctx, "toy_song", NULL, 1, &w, &err));
    assert_null(sl_world_task(w));
    sl_assert_fails(sl_task_instances(w, SL_WORLD_TRAIN, 0, 1, tokens, bytes, &err), SL_ARG, "has rows, not instances");
    sl_assert_fails(sl_task_labels(w, tokens, bytes, bytes, &err), SL_ARG, "has rows, not instances");
    sl_world_free(w);
    sl_ctx_free(ctx);
}

static int by_bytes(const void *a, const void *b) { return memcmp(a, b, MAX_T * sizeof(int32_t)); }

/* TRAIN and TEST share no instance, even where there are few: the sums of two digits. */
static void test_train_and_test_are_disjoint(void **state)
{
    enum { N = 1500 };
    static int32_t train[N][MAX_T], test[N][MAX_T];
    static uint8_t uses[MAX_T];
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    sl_world *w = task(ctx, "arithmetic", "digits", "2");
    for (int i = 0; i < N; i++) {
        sl_assert_ok(sl_task_instances(w, SL_WORLD_TRAIN, i, 1, train[i], uses, &err));
        sl_assert_ok(sl_task_instances(w, SL_WORLD_TEST, i, 1, test[i], uses, &err));
    }
    qsort(train, N, sizeof *train, by_bytes);
    for (int i = 0; i < N; i++)
        assert_null(bsearch(test[i], train, N, sizeof *train, by_bytes));
    sl_world_free(w);
    sl_ctx_free(ctx);
}

/* The pairs (a0, b0) of TRAIN and TEST never occur in OOD, and 20 of 100 are withheld. */
static void test_withheld_pairs(void **state)
{
    enum { N = 4000 };
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    sl_world *w = task(ctx, "arithmetic", NULL, NULL);
    int seen[SL_WORLD_N_SPLIT][100] = { { 0 } }, n_ood = 0, n_train = 0;
    for (int s = 0; s < SL_WORLD_N_SPLIT; s++)
        for (int64_t n = 0; n < N; n++) {
            instance i;
            sl_assert_ok(sl_task_instances(w, (sl_world_split)s, n, 1, i.tokens, i.uses, &err));
            seen[s][10 * (i.tokens[3] - 2) + i.tokens[7] - 2]++; /* a0, b0; digit 0 is token 2 */
        }
    for (int p = 0; p < 100; p++) {
        n_ood += seen[SL_WORLD_OOD][p] > 0;
        n_train += seen[SL_WORLD_TRAIN][p] > 0;
        assert_true(!(seen[SL_WORLD_OOD][p] && (seen[SL_WORLD_TRAIN][p] || seen[SL_WORLD_TEST][p])));
        assert_true(seen[SL_WORLD_ALL][p] > 0);
    }
    assert_int_equal(n_ood, 20);
    assert_int_equal(n_train, 80);
    sl_world_free(w);
    sl_ctx_free(ctx);
}

/* Head noun and main verb of a sentence, from its words: the main verb is the one whose position is scored before. */
static void test_withheld_words(void **state)
{
    enum { N = 3000 };
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    sl_world *w = task(ctx, "grammar", NULL, NULL);
    bool seen[2][36] = { { false } };
    int pairs[2] = { 0, 0 };
    for (int ood = 0; ood < 2; ood++)
        for (int64_t n = 0; n < N; n++) {
            instance i;
            int noun = -1, verb = -1;
            sl_assert_ok(sl_task_instances(w, ood ? SL_WORLD_OOD : SL_WORLD_TRAIN, n, 1, i.tokens, i.uses, &err));
            for (int p = 0; p + 1 < 14; p++) {
                noun = noun < 0 && i.tokens[p] >= 5 && i.tokens[p] < 17 ? (i.tokens[p] - 5) / 2 : noun;
                verb = i.uses[p] & SL_TASK_SCORE ? (i.tokens[p + 1] - 23) / 2 : verb;
            }
            seen[ood][6 * noun + verb] = true;
        }
    for (int k = 0; k < 36; k++) {
        assert_false(seen[0][k] && seen[1][k]);
        pairs[0] += seen[0][k];
        pairs[1] += seen[1][k];
    }
    assert_int_equal(pairs[0], 29);
    assert_int_equal(pairs[1], 7);
    sl_world_free(w);
    sl_ctx_free(ctx);
}

/* Combinations of ops, and of bracket kinds at depths 3 and 4, read from labels. */
static void test_withheld_structures(void **state)
{
    enum { N = 3000 };
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    for (int which = 0; which < 2; which++) {
        static const char *const ops[] = { "AND", "OR", "XOR" };
        sl_world *w = task(ctx, which ? "dyck2" : "boolean", NULL, NULL);
        int64_t T = sl_world_task(w)->T;
        bool seen[2][27] = { { false } };
        for (int ood = 0; ood < 2; ood++)
            for (int64_t n = 0; n < N / (which + 1); n++) {
                instance i;
                char name[64];
                int combo = -1;
                sl_assert_ok(sl_task_instances(w, ood ? SL_WORLD_OOD : SL_WORLD_TRAIN, n, 1, i.tokens, i.uses, &err));
                sl_assert_ok(sl_task_labels(w, i.tokens, i.on, i.unknown, &err));
                for (int64_t p = 0; p < T && which; p++) { /* depth 4 is entered from depth 3 */
                    for (int a = 0; a < 2; a++)
                        for (int b = 0; b < 2 && p > 0; b++) {
                            snprintf(name, sizeof name, "depth=3,top=%c", "(["[a]);
                            bool before = label(w, &i, p - 1, name) == '1';
                            snprintf(name, sizeof name, "depth=4,top=%c", "(["[b]);
                            if (before && label(w, &i, p, name) == '1')
                                seen[ood][2 * a + b] = true;
                        }
                }
                for (int64_t p = 0; p < T && !which; p++)
                    for (int c = 0; c < 27 && i.uses[p] & SL_TASK_SCORE; c++) {
                        bool all = true;
                        for (int q = 0; q < 3; q++) {
                            snprintf(name, sizeof name, "%s_op=%s", q == 0 ? "root" : q == 1 ? "left" : "right", ops[q == 0 ? c / 9 : q == 1 ? c / 3 % 3 : c % 3]);
                            all = all && label(w, &i, p, name) == '1';
                        }
                        combo = all ? c : combo;
                    }
                if (combo >= 0)
                    seen[ood][combo] = true;
                assert_true(which || !ood || combo >= 0);
            }
        int n[3] = { 0 };
        for (int c = 0; c < 27; c++) {
            n[0] += seen[0][c];
            n[1] += seen[1][c];
            n[2] += seen[0][c] && seen[1][c];
        }
        if (which)
            assert_true(n[0] == 3 && n[1] == 4); /* an OOD sequence may hold the others as well */
        else
            assert_true(n[0] == 22 && n[1] == 5 && n[2] == 0);
        sl_world_free(w);
    }
    sl_ctx_free(ctx);
}

/* Shares of the grammar's rules. */
static void test_grammar_shares(void **state)
{
    enum { N = 6000 };
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    sl_world *w = task(ctx, "grammar", NULL, NULL);
    int pp = 0, rel = 0, singular = 0, adverb = 0;
    for (int64_t n = 0; n < N; n++) {
        instance i;
        sl_assert_ok(sl_task_instances(w, SL_WORLD_ALL, n, 1, i.tokens, i.uses, &err));
        for (int p = 0; p + 1 < 14; p++) {
            pp += i.tokens[p] == 20 || i.tokens[p] == 21;
            rel += i.tokens[p] == 22;
            adverb += i.tokens[p] == 35;
            singular += i.uses[p] & SL_TASK_SCORE && sl_world_task(w)->side[i.tokens[p + 1]] == 1;
        }
    }
    assert_true(abs(pp - N / 5) < 5 * 31 && abs(rel - N / 10) < 5 * 24 && abs(adverb - N / 10) < 5 * 24 && abs(singular - N / 2) < 5 * 39);
    sl_world_free(w);
    sl_ctx_free(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_arithmetic), cmocka_unit_test(test_boolean), cmocka_unit_test(test_grammar), cmocka_unit_test(test_dyck2),
        cmocka_unit_test(test_instances), cmocka_unit_test(test_instances_depend_on_their_number), cmocka_unit_test(test_train_and_test_are_disjoint),
        cmocka_unit_test(test_withheld_pairs), cmocka_unit_test(test_withheld_words), cmocka_unit_test(test_withheld_structures),
        cmocka_unit_test(test_grammar_shares),
    };
    return cmocka_run_group_tests_name("tasks", tests, NULL, NULL);
}
