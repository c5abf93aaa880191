/* Every metric of every family, given what cannot be measured: a status that says why, or null with a reason; never a number that stands for
 * "unknown", and never a number that is not finite. The table of families is walked, so that a new one is tested too. */
#include "worked.h"

#include <saelab/probe.h>
#include <saelab/rng.h>

#include <stdio.h>

enum { N = 600, D = 6, M = 8, G = 5 };

typedef struct world {
    sl_ctx *ctx;
    sl_eval_data d;
    sl_corpus corpus;
    float x[N * D], W[M * D], truth[G * D], z[N * M], g[N * G];
    int32_t parent[G], doc[N], pos[N], y[N];
    sl_label_set labels[2];
    char text[N];
} world;

/* Something that every family can measure. */
static void make(world *w, sl_ctx *ctx)
{
    sl_err err;
    memset(w, 0, sizeof *w);
    w->ctx = ctx;
    for (int i = 0; i < G; i++) {
        w->parent[i] = i == 1 ? 0 : -1;
        w->truth[i * D + i] = 1;
        w->W[i * D + i] = 2;
    }
    for (int j = G; j < M; j++)
        w->W[j * D + D - 1] = 1;
    for (int r = 0; r < N; r++) {
        sl_rng rng = sl_rng_at(5, SL_RNG_TEST, 0, (uint64_t)r);
        w->text[r] = (char)('a' + sl_rng_below(&rng, 22));
        w->doc[r] = r / 20;
        w->pos[r] = r % 20;
        w->y[r] = (int32_t)sl_rng_below(&rng, 2);
        for (int i = 0; i < G; i++)
            w->g[r * G + i] = i != 1 || w->g[r * G] > 0 ? sl_rng_below(&rng, 3) == 0 : 0;
        for (int j = 0; j < M; j++)
            w->z[r * M + j] = j < G ? w->g[r * G + j] * (1 + (float)sl_rng_uniform(&rng)) : sl_rng_below(&rng, 4) == 0;
        for (int i = 0; i < D; i++)
            w->x[r * D + i] = (float)sl_rng_normal(&rng) + (i < G ? 3 * w->g[r * G + i] : 0);
    }
    sl_text t = { .name = "t", .bytes = w->text, .n = N };
    sl_assert_ok(sl_corpus_new(ctx, &t, SL_TOK_BYTE, NULL, &w->corpus, &err));
    sl_free(ctx, w->corpus.doc);
    w->corpus.n_docs = N / 20;
    w->corpus.doc = sl_alloc(ctx, (N / 20 + 1) * sizeof *w->corpus.doc);
    for (int i = 0; i <= N / 20; i++)
        w->corpus.doc[i] = 20 * i;
    w->labels[0] = (sl_label_set){ "first_letter", 26, w->y };
    w->labels[1] = (sl_label_set){ "coin", 2, w->y };
    w->d = (sl_eval_data){ .d_in = D, .d_sae = M, .n_rows = N, .W_dec = w->W, .x = w->x, .z = worked_sparse(w->z, N, M), .doc = w->doc, .n_truth = G,
                           .truth = w->truth, .g = worked_sparse(w->g, N, G), .parent = w->parent, .corpus = &w->corpus, .pos = w->pos,
                           .labels = w->labels, .n_labels = 2 };
}

static void unmake(world *w)
{
    worked_release(&w->d.z);
    worked_release(&w->d.g);
    sl_corpus_release(w->ctx, &w->corpus);
}

/* ---- what is done to it ---- */

static void nan_x(world *w) { w->x[7] = NAN; }
static void inf_x(world *w) { w->x[7] = INFINITY; }
static void nan_directions(world *w) { w->W[1] = NAN; }
static void inf_directions(world *w) { w->W[1] = -INFINITY; }
static void nan_truth(world *w) { w->truth[2] = NAN; }
static float *values(sl_sparse *s) { return (float *)(uintptr_t)s->val; }
static void nan_code(world *w) { values(&w->d.z)[3] = NAN; }
static void inf_code(world *w) { values(&w->d.z)[3] = INFINITY; }
static void negative_code(world *w) { values(&w->d.z)[3] = -1; }
static void nan_true_code(world *w) { values(&w->d.g)[3] = NAN; }
static void no_rows(world *w) { w->d.n_rows = w->d.z.n_rows = w->d.g.n_rows = 0; }
static void no_latents(world *w) { w->d.d_sae = w->d.z.n_cols = 0; }
static void no_features(world *w) { w->d.n_truth = w->d.g.n_cols = 0; }
static void other_shape(world *w) { w->d.z.n_rows = N - 1; }
static void column_beyond(world *w) { ((int32_t *)(uintptr_t)w->d.z.idx)[0] = M; }
static void label_beyond(world *w) { w->y[4] = 26; }
static void parent_beyond(world *w) { w->parent[0] = G; }
static void place_beyond(world *w) { w->pos[4] = 20; }

static const struct { const char *name; void (*spoil)(world *); sl_status status; const char *says; } refused[] = {
    { "NaN in x", nan_x, SL_NUMERIC, "x: row 1, column 1 is nan" },
    { "infinite x", inf_x, SL_NUMERIC, "x: row 1, column 1 is inf" },
    { "NaN in directions", nan_directions, SL_NUMERIC, "W_dec: row 0, column 1" },
    { "infinite directions", inf_directions, SL_NUMERIC, "W_dec: row 0, column 1" },
    { "NaN in the truth", nan_truth, SL_NUMERIC, "true directions: row 0, column 2" },
    { "NaN in codes", nan_code, SL_NUMERIC, "codes: row" },
    { "infinite codes", inf_code, SL_NUMERIC, "codes: row" },
    { "negative codes", negative_code, SL_DATA, "positive entries only" },
    { "NaN in true codes", nan_true_code, SL_NUMERIC, "true codes: row" },
    { "no rows", no_rows, SL_DATA, "0 rows" },
    { "no latents", no_latents, SL_DATA, "0 latents" },
    { "no features", no_features, SL_DATA, "0 true features" },
    { "other shapes", other_shape, SL_SHAPE, "codes: 599 x 8 where 600 x 8" },
    { "a column beyond the last", column_beyond, SL_DATA, "column 8 of 8" },
    { "a label beyond the last", label_beyond, SL_DATA, "entry 4 is 26" },
    { "a parent beyond the last", parent_beyond, SL_DATA, "entry 0 is 5" },
    { "a place beyond the text", place_beyond, SL_DATA, "row 4: token 20" },
};

static void is_refused(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    sl_err err;
    world *w = malloc(sizeof *w);
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        sl_metrics m = { 0 };
        make(w, ctx);
        refused[i].spoil(w);
        err.msg[0] = 0;
        sl_status st = sl_measure(ctx, &w->d, NULL, NULL, &m, &err);
        if (st != refused[i].status || !strstr(err.msg, refused[i].says) || m.n != 0)
            fail_msg("%s: %s, '%s', %d metrics", refused[i].name, sl_status_name(st), err.msg, m.n);
        sl_metrics_release(ctx, &m);
        unmake(w);
    }
    free(w);
    sl_ctx_free(ctx);
}

/* ---- inputs that are legal and cannot be measured ---- */

static void refill(world *w, float z, float g)
{
    for (int i = 0; i < N * M; i++)
        w->z[i] = z;
    for (int i = 0; i < N * G; i++)
        w->g[i] = g;
    worked_release(&w->d.z);
    worked_release(&w->d.g);
    w->d.z = worked_sparse(w->z, N, M);
    w->d.g = worked_sparse(w->g, N, G);
}

static void dead(world *w) { refill(w, 0, 1); }
static void silent_truth(world *w)
{
    refill(w, 1, 0);
    memset(w->W, 0, sizeof w->W);
}
static void one_row(world *w)
{
    w->d.n_rows = w->d.z.n_rows = w->d.g.n_rows = 1;
    w->d.parent = NULL;
    memset(w->W, 0, sizeof w->W);
}
static void constant(world *w)
{
    refill(w, 1, 1);
    for (int i = 0; i < N * D; i++)
        w->x[i] = 3;
    memset(w->W, 0, sizeof w->W);
    for (int i = 0; i < N; i++)
        w->y[i] = 1;
}

/* Metrics that stay what they are: shares and counts of what is there. */
static const struct { const char *name; void (*spoil)(world *); const char *may_be_numbers; } unmeasurable[] = {
    { "dead latents", dead, " mcc_dec_abs mcc_dec_signed mcc_floor mcc_adj mcc_adj_signed uniq mmcs mmcs_back " /* weights alone */ },
    { "silent truth", silent_truth, " absorb_unmatched letters_used hoyer magnitude_bits rate_gini rate_q05 rate_q25 rate_q50 rate_q75 rate_q95"
                                    " probe_coin_k1 probe_coin_k2 probe_coin_k5 probe_coin_dense probe_coin_x" /* labels that vary are still probed */
                                    " probe_first_letter_k1 probe_first_letter_k2 probe_first_letter_k5 probe_first_letter_dense probe_first_letter_x " },
    { "one row", one_row, " letters_used hoyer rate_gini rate_q05 rate_q25 rate_q50 rate_q75 rate_q95 f1 prec rec phi f1_alive f1_h prec_h rec_h phi_h " },
    { "constant", constant, " absorb_unmatched letters_used hoyer magnitude_bits rate_gini rate_q05 rate_q25 rate_q50 rate_q75 rate_q95 f1 prec rec phi"
                            " f1_alive f1_h prec_h rec_h phi_h f1_sel prec_sel rec_sel phi_sel " },
};

static bool listed(const char *list, const char *name)
{
    char word[80];
    snprintf(word, sizeof word, " %s ", name);
    return strstr(list, word) != NULL;
}

static void is_null_with_a_reason(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    sl_err err;
    world *w = malloc(sizeof *w);
    for (size_t i = 0; i < sizeof unmeasurable / sizeof *unmeasurable; i++) {
        sl_metrics m = { 0 };
        make(w, ctx);
        unmeasurable[i].spoil(w);
        sl_assert_ok(sl_measure(ctx, &w->d, NULL, NULL, &m, &err));
        for (int k = 0; k < m.n; k++) {
            const sl_metric *v = &m.v[k];
            bool good = v->is_null ? strlen(v->reason) > 8 && v->value == 0 : isfinite(v->value) && v->n > 0 && listed(unmeasurable[i].may_be_numbers, v->name);
            if (!good)
                fail_msg("%s: %s is %s (%g, n %lld)", unmeasurable[i].name, v->name, v->is_null ? v->reason : "a number", v->value, (long long)v->n);
        }
        sl_metrics_release(ctx, &m);
        unmake(w);
    }
    free(w);
    sl_ctx_free(ctx);
}

/* ---- every family puts what it says, and each value is finite ---- */

static bool declared(const char *name)
{
    if (!strcmp(name, "scr") || !strcmp(name, "tpp") || !strcmp(name, "ravel"))
        return true;
    for (int f = 0; sl_families[f]; f++)
        for (int i = 0; sl_families[f]->metrics[i]; i++) {
            const char *known = sl_families[f]->metrics[i];
            size_t n = strlen(known);
            if (known[n - 1] == '*' ? strncmp(name, known, n - 1) == 0 : strcmp(name, known) == 0)
                return true;
        }
    return false;
}

static void every_metric_is_put(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    sl_err err;
    sl_metrics m = { 0 }, again = { 0 };
    world *w = malloc(sizeof *w);
    make(w, ctx);
    sl_assert_ok(sl_measure(ctx, &w->d, &w->d, NULL, &m, &err));
    for (int f = 0; sl_families[f]; f++)
        for (int i = 0; sl_families[f]->metrics[i]; i++) {
            const char *name = sl_families[f]->metrics[i];
            if (!strchr(name, '*') && !sl_metrics_get(&m, name))
                fail_msg("%s: %s was not put", sl_families[f]->name, name);
        }
    for (int k = 0; k < m.n; k++) {
        const sl_metric *v = &m.v[k];
        if (!declared(v->name) || !isfinite(v->value) || (v->has_floor && !isfinite(v->floor)) || (v->has_interval && !(v->lo <= v->hi)) || (v->is_null && !v->reason[0]))
            fail_msg("%s: %g", v->name, v->value);
        if (!v->is_null && (!v->has_control || v->control != v->value)) /* its own control */
            fail_msg("%s: control %g, value %g", v->name, v->control, v->value);
    }
    sl_assert_ok(sl_measure(ctx, &w->d, &w->d, NULL, &again, &err));
    sl_assert_same_bits("again", again.v, m.v, (size_t)m.n * sizeof *m.v);
    sl_metrics_release(ctx, &again);
    sl_metrics_release(ctx, &m);
    unmake(w);
    free(w);
    sl_ctx_free(ctx);
}

/* The n-th allocation fails, for every n: a status, nothing lost. */
static void no_memory(void **state)
{
    (void)state;
    sl_err err;
    world *w = malloc(sizeof *w);
    for (int64_t n = 1, done = 0; !done; n += 7) {
        sl_ctx *ctx = sl_ctx_new(&(sl_ctx_opts){ .n_threads = 1 }), *poor = sl_ctx_new(&(sl_ctx_opts){ .n_threads = 1, .fail_alloc_at = n });
        sl_metrics m = { 0 };
        if (!poor) {
            sl_ctx_free(ctx);
            continue;
        }
        make(w, ctx);
        const char *const cheap[] = { "directions", "codes", "firing", "selected", "hierarchy", "splitting", "rates", "label_probes", NULL };
        sl_status st = sl_measure(poor, &w->d, NULL, cheap, &m, &err);
        assert_true(st == SL_OK || st == SL_MEM);
        done = st == SL_OK;
        sl_metrics_release(poor, &m);
        unmake(w);
        sl_ctx_free(poor);
        sl_ctx_free(ctx);
    }
    free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(is_refused), cmocka_unit_test(is_null_with_a_reason), cmocka_unit_test(every_metric_is_put), cmocka_unit_test(no_memory),
    };
    return cmocka_run_group_tests_name("eval_bad_inputs", tests, NULL, NULL);
}
