/* Explanations found in planted text, the intruder, purity, first letters. */
#include "worked.h"

#include "eval/explain.h"
#include "eval/letters.h"

#include <saelab/rng.h>

/* ---- the search, by hand ---- */

/* 10 rows; predicates 0: rows 0-4, 1: rows 3-7, 2: rows 5, 6, 8. On: rows 3, 4 (0 and 1), 8. */
static void searched(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    sl_err err;
    int64_t ptr[] = { 0, 1, 2, 3, 5, 7, 9, 11, 12, 13, 13 };
    int32_t id[] = { 0, 0, 0, 0, 1, 0, 1, 1, 2, 1, 2, 1, 2 };
    const sl_predicates p = { 10, 3, ptr, id };
    const uint8_t all[] = { 1, 1, 1, 1, 1, 1, 1, 1, 1, 1 }, on[] = { 0, 0, 0, 1, 1, 0, 0, 0, 1, 0 };
    sl_explanation e;
    sl_assert_ok(sl_explain(ctx, &p, all, on, &e, &err));
    /* (0 and 1): F1 4/5 - .02; then 2: rows 5, 6, 8: hits 3 of 5 + ... F1 2 * 3 / (5 + 3) = .75 < .8: stops */
    assert_true(e.n == 1 && fabs(e.f1 - .8) < 1e-12 && fabs(e.precision[0] - 1) < 1e-12);
    assert_true(e.literal[0][0] + e.literal[0][1] == 1);
    assert_true(sl_explained(&p, &e, 3) == 0 && sl_explained(&p, &e, 0) == -1 && sl_explained(&p, &e, 9) == -1);
    assert_true(sl_fit(&p, &e, 4) == 1 && sl_fit(&p, &e, 0) == .5 && sl_fit(&p, &e, 9) == 0);
    /* where row 8 is the only one to be seen, 2 alone says it: rows 5 and 6 are not used */
    const uint8_t few[] = { 1, 1, 1, 0, 0, 0, 0, 1, 1, 1 };
    sl_assert_ok(sl_explain(ctx, &p, few, on, &e, &err));
    assert_true(e.n == 1 && e.f1 == 1 && e.literal[0][0] == 2 && e.literal[0][1] == -1);
    sl_ctx_free(ctx);
}

/* ---- planted text ---- */

typedef struct planted { sl_corpus c; int32_t *doc, *pos; int64_t n; char *text; } planted;

/* 30 documents of 400 bytes: words of the letters a-f, digits, commas. */
static void plant(sl_ctx *ctx, planted *p)
{
    enum { docs = 30, bytes = 400 };
    sl_err err;
    p->n = docs * bytes;
    p->text = malloc((size_t)p->n);
    for (int64_t i = 0; i < p->n; i++) {
        sl_rng r = sl_rng_at(8, SL_RNG_TEST, 0, (uint64_t)i);
        p->text[i] = "abcdef 0123,"[sl_rng_below(&r, 12)];
    }
    sl_text t = { .name = "planted", .bytes = p->text, .n = (size_t)p->n };
    sl_assert_ok(sl_corpus_new(ctx, &t, SL_TOK_BYTE, NULL, &p->c, &err));
    sl_free(ctx, p->c.doc);
    p->c.doc = sl_alloc(ctx, (docs + 1) * sizeof *p->c.doc);
    p->c.n_docs = docs;
    p->doc = malloc((size_t)p->n * sizeof *p->doc);
    p->pos = malloc((size_t)p->n * sizeof *p->pos);
    for (int64_t i = 0; i < p->n; i++) {
        p->doc[i] = (int32_t)(i / bytes);
        p->pos[i] = (int32_t)(i % bytes);
    }
    for (int64_t d = 0; d <= docs; d++)
        p->c.doc[d] = d * bytes;
}

static void release(sl_ctx *ctx, planted *p)
{
    sl_corpus_release(ctx, &p->c);
    free(p->doc);
    free(p->pos);
    free(p->text);
}

static void explain_one(sl_ctx *ctx, const planted *p, bool (*fires)(const planted *, int64_t), sl_metrics *m)
{
    sl_err err;
    float *z = malloc((size_t)p->n * sizeof *z);
    for (int64_t i = 0; i < p->n; i++)
        z[i] = fires(p, i) ? 2 : 0;
    sl_eval_data d = { .d_sae = 1, .n_rows = p->n, .z = worked_sparse(z, p->n, 1), .doc = p->doc, .pos = p->pos, .corpus = &p->c };
    sl_assert_ok(sl_measure(ctx, &d, NULL, (const char *const[]){ "explain", NULL }, m, &err));
    worked_release(&d.z);
    free(z);
}

static bool is_e(const planted *p, int64_t i) { return p->text[i] == 'e'; }
static bool is_digit_after_space(const planted *p, int64_t i) { return i > 0 && p->text[i] < '4' && p->text[i] >= '0' && p->text[i - 1] == ' '; }
static bool at_random(const planted *p, int64_t i)
{
    sl_rng r = sl_rng_at(9, SL_RNG_TEST, 0, (uint64_t)i);
    return p->n > 0 && sl_rng_below(&r, 10) == 0;
}
static bool never(const planted *p, int64_t i) { return p->n < i; }

static void explained(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    sl_metrics m = { 0 };
    planted p;
    plant(ctx, &p);
    explain_one(ctx, &p, is_e, &m);
    worked_is(&m, "explain_detect", 1);
    worked_is(&m, "explain_f1", 1);
    worked_is(&m, "explain_fuzz", 1);
    worked_is(&m, "explain_sim", 1);
    worked_is(&m, "token_purity", 1);
    worked_null(&m, "token_purity_rest", "no latent"); /* nothing but its commonest token */
    assert_true(fabs(sl_metrics_get(&m, "explain_detect")->floor - .5) < .05 && fabs(sl_metrics_get(&m, "explain_sim")->floor) < .1);
    assert_true(fabs(sl_metrics_get(&m, "token_purity")->floor) < .05);
    explain_one(ctx, &p, is_digit_after_space, &m); /* a conjunction: class and previous token, or the like */
    assert_true(worked_value(&m, "explain_f1") > .95);
    double four = 1 - log(4) / log(12); /* four digits of twelve characters, alike */
    assert_true(fabs(worked_value(&m, "token_purity") - four) < .02);
    explain_one(ctx, &p, at_random, &m);
    assert_true(fabs(worked_value(&m, "explain_detect") - .5) < .05 && fabs(worked_value(&m, "token_purity")) < .05);
    assert_true(fabs(worked_value(&m, "intruder") - .2) < .45);
    explain_one(ctx, &p, never, &m);
    worked_null(&m, "explain_detect", "no latent fires");
    release(ctx, &p);
    sl_metrics_release(ctx, &m);
    sl_ctx_free(ctx);
}

/* Rows that fire stand among "abab..." and the others among "1212...": the intruder is plain. */
static void the_intruder_is_found(void **state)
{
    (void)state;
    enum { n = 600 };
    sl_ctx *ctx = sl_test_ctx(1);
    sl_err err;
    char text[n];
    for (int i = 0; i < n; i++)
        text[i] = i < n / 2 ? "ab"[i % 2] : "12"[i % 2];
    sl_text t = { .name = "t", .bytes = text, .n = n };
    sl_corpus c;
    sl_assert_ok(sl_corpus_new(ctx, &t, SL_TOK_BYTE, NULL, &c, &err));
    c.n_docs = 1;
    c.doc[1] = n;
    int32_t doc[n] = { 0 }, pos[n], rows[n];
    uint8_t on[n];
    for (int i = 0; i < n; i++) {
        pos[i] = rows[i] = i;
        on[i] = i < n / 2;
    }
    sl_eval_data d = { .n_rows = n, .doc = doc, .pos = pos, .corpus = &c };
    sl_token_scores s;
    sl_assert_ok(sl_token_scores_of(ctx, &d, rows, on, n, 0, &s, &err));
    assert_true(s.intruder > .95 && fabs(s.purity - .5) < 1e-9); /* ln 2 of ln 4 */
    assert_true(fabs(s.purity_rest - 1) < 1e-9); /* without "a" only "b" is left of it */
    memset(on, 0, sizeof on);
    sl_assert_ok(sl_token_scores_of(ctx, &d, rows, on, n, 0, &s, &err));
    assert_true(isnan(s.intruder) && isnan(s.purity));
    sl_corpus_release(ctx, &c);
    sl_ctx_free(ctx);
}

/* ---- first letters ---- */

/* Three latents, the first is main. */
static void absorption_of_a_word(void **state)
{
    (void)state;
    const uint8_t main[] = { 1, 0, 0 }, on[] = { 1, 1, 1 }, off[] = { 0, 1, 1 };
    const double cos[] = { .9, .5, .02 };
    double f;
    bool full;
    sl_letter_word((const double[]){ 1, 2, 9 }, cos, on, main, 3, 4, &f, &full); /* A = 2 (.02 < .1), a = min(2, 3), 2 / 3 */
    assert_true(fabs(f - 2 / 3.) < 1e-12 && !full);
    sl_letter_word((const double[]){ 1, 4, 0 }, cos, on, main, 3, 4, &f, &full); /* a = P - M = 3, 3 / 4 */
    assert_true(fabs(f - .75) < 1e-12);
    sl_letter_word((const double[]){ 4, 4, 0 }, cos, on, main, 3, 4, &f, &full); /* M >= P */
    assert_true(f == 0);
    sl_letter_word((const double[]){ 1, 1.5, 0 }, cos, on, main, 3, 4, &f, &full); /* A / P = .375 */
    assert_true(f == 0);
    sl_letter_word((const double[]){ 0, 2, 0 }, cos, off, main, 3, 4, &f, &full); /* M = 0 */
    assert_true(f == 1 && full);
    sl_letter_word((const double[]){ 0, 1.5, 9 }, cos, off, main, 3, 4, &f, &full); /* the largest has cos .02 */
    assert_true(f == 0 && !full);
    sl_letter_word((const double[]){ 0, 2, 0 }, cos, off, main, 3, -4, &f, &full);
    assert_true(f == 0 && !full);
}

/* 22 letters, each a direction of x, and a latent each. A third of all words is of a kind that has a direction and a latent of its own; this latent
 * also points along letter 0, and where it fires on words of letter 0 the letter's own latent is silent: 1/22 of the letters has a mean fraction of a
 * third. (It fires on every letter, so that it is no main latent of letter 0.) */
static void letters_absorbed(void **state)
{
    (void)state;
    enum { n = 6600, L = 22, d = L + 1, m = L + 1 };
    sl_ctx *ctx = sl_test_ctx(1);
    sl_err err;
    float *x = calloc(n * d, sizeof *x), *z = calloc(n * m, sizeof *z), W[m * d] = { 0 };
    int32_t *y = malloc(n * sizeof *y);
    for (int j = 0; j < L; j++)
        W[j * d + j] = 2;
    W[L * d] = 2;
    W[L * d + L] = 2;
    for (int i = 0; i < n; i++) {
        int letter = i % L;
        bool kind = i / L % 3 == 0, special = kind && letter == 0;
        sl_rng r = sl_rng_at(4, SL_RNG_TEST, 0, (uint64_t)i);
        y[i] = letter;
        x[i * d + letter] = 4;
        x[i * d + L] = kind ? 4 : 0;
        for (int c = 0; c < d; c++)
            x[i * d + c] += .1f * (float)sl_rng_normal(&r);
        z[i * m + letter] = special ? 0 : 2;
        z[i * m + L] = kind ? 2 : 0;
    }
    const sl_label_set set = { "first_letter", 26, y };
    sl_eval_data e = { .d_in = d, .d_sae = m, .n_rows = n, .x = x, .W_dec = W, .z = worked_sparse(z, n, m), .labels = &set, .n_labels = 1 };
    sl_metrics v = { 0 };
    sl_assert_ok(sl_measure(ctx, &e, NULL, (const char *const[]){ "letters", NULL }, &v, &err));
    worked_is(&v, "letters_used", L);
    double got = worked_value(&v, "absorb_letters"), full = worked_value(&v, "absorb_letters_full");
    if (fabs(got - 1 / 66.) > .006 || fabs(full - 1 / 66.) > .006)
        fail_msg("%g %g", got, full);
    e.n_rows = 660; /* 22 letters of 30 words: too few of each for a probe */
    e.z.n_rows = 660;
    sl_assert_ok(sl_measure(ctx, &e, NULL, (const char *const[]){ "letters", NULL }, &v, &err));
    e.n_rows = e.z.n_rows = 300;
    sl_assert_ok(sl_measure(ctx, &e, NULL, (const char *const[]){ "letters", NULL }, &v, &err));
    worked_null(&v, "absorb_letters", "fewer than 20 letters");
    worked_release(&e.z);
    sl_metrics_release(ctx, &v);
    free(y);
    free(z);
    free(x);
    sl_ctx_free(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(searched), cmocka_unit_test(explained), cmocka_unit_test(the_intruder_is_found), cmocka_unit_test(absorption_of_a_word),
        cmocka_unit_test(letters_absorbed),
    };
    return cmocka_run_group_tests_name("eval_explain", tests, NULL, NULL);
}
