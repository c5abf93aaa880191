/* The stability of whole SAEs: curves, scores and reports on a world, noise of low rank, attacks against the certified radius. */
#include "../sae/rows.h"
#include "support.h"

#include "sae/variant.h"

#include <math.h>
#include <saelab/stability.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 400, K = 5 };

static const sl_metric *find(const sl_metrics *m, const char *name)
{
    const sl_metric *v = sl_metrics_get(m, name);
    if (!v)
        fail_msg("no %s", name);
    return v;
}

static double value(const sl_metrics *m, const char *name)
{
    const sl_metric *v = find(m, name);
    if (v->is_null)
        fail_msg("%s is null: %s", name, v->reason);
    return v->value;
}

static void is(const sl_metrics *m, const char *name, double expected, double tolerance)
{
    double got = value(m, name);
    sl_assert_close_f64(name, &got, &expected, 1, tolerance, 0);
}

/* A TopK SAE that knows the directions [m, d]: W_enc = W_dec. */
static sl_sae *that_knows(sl_ctx *ctx, const float *dir, int64_t m, int64_t d, int64_t k)
{
    sl_err err;
    sl_sae *s;
    sl_assert_ok(sl_sae_new(ctx, "topk", d, m, &(sl_topk_options){ .k = k }, 1, &s, &err));
    memcpy(s->W_enc->value.data, dir, (size_t)(m * d) * sizeof *dir);
    memcpy(s->W_dec->value.data, dir, (size_t)(m * d) * sizeof *dir);
    sl_param_touch(s->W_enc);
    sl_param_touch(s->W_dec);
    return s;
}

typedef struct scene { sl_ctx *ctx; sl_world *world; sl_act_source *rows; const sl_world_truth *truth; sl_sae *s; } scene;

static scene open_scene(int threads)
{
    sl_err err;
    scene c = { .ctx = sl_test_ctx(threads) };
    sl_assert_ok(sl_world_new(c.ctx, "toy_128", NULL, 42, &c.world, &err));
    sl_assert_ok(sl_world_open(c.world, SL_WORLD_TEST, &c.rows, &err));
    c.truth = sl_world_truth_of(c.world);
    c.s = that_knows(c.ctx, c.truth->dir, c.truth->n, c.truth->d, K);
    return c;
}

static void close_scene(scene *c)
{
    sl_sae_free(c->s);
    sl_act_source_free(c->rows);
    sl_world_free(c->world);
    sl_ctx_free(c->ctx);
}

static sl_stability_options options(const char *noise)
{
    sl_stability_options o;
    sl_opts_default(sl_stability_opts, &o);
    o.rows = ROWS;
    o.draws = 50;
    o.noise = noise;
    return o;
}

/* ---- the whole ---- */

static void no_noise_is_one(const sl_stability_point *p)
{
    static const char *const ones[] = { "fss", "fss_macro", "fss_adj", "sci", "sci_sem", "sci_rsa", "jaccard", "overlap" };
    assert_true(p->strength == 0 && p->achieved == 0 && p->valid == ROWS && p->skipped == 0);
    for (size_t i = 0; i < sizeof ones / sizeof *ones; i++)
        if (value(&p->m, ones[i]) != 1)
            fail_msg("%s is %.17g without noise", ones[i], value(&p->m, ones[i]));
}

static void gauss_curve(const sl_stability_curve *c, const sl_metrics *m)
{
    assert_string_equal(c->noise, "gauss");
    assert_string_equal(c->axis, "eps");
    assert_int_equal(c->n, 10);
    no_noise_is_one(&c->point[0]);
    double area = 0;
    for (int i = 1; i < c->n; i++) {
        const sl_stability_point *p = &c->point[i], *q = p - 1;
        sl_assert_close_f64("achieved", &p->achieved, &p->strength, 1, 0, 1e-4);
        assert_true(value(&p->m, "fss") < value(&q->m, "fss") && value(&p->m, "overlap") <= value(&q->m, "overlap"));
        if (p->strength <= .5)
            area += (p->achieved - q->achieved) * (value(&p->m, "fss") + value(&q->m, "fss")) / 2 / .5;
    }
    assert_true(value(&c->point[9].m, "fvu") > value(&c->point[0].m, "fvu"));
    is(&c->m, "auc", area, 1e-5);
    is(m, "auc", value(&c->m, "auc"), 0);
    is(m, "auc_gauss", value(&c->m, "auc"), 0);
    const sl_metric *auc = find(m, "auc_gauss");
    assert_true(auc->has_interval && auc->lo < auc->value && auc->value < auc->hi);
    is(m, "fss", value(&c->point[5].m, "fss"), 0); /* eps .2 */
    is(m, "noisy_f1", value(&c->point[5].m, "f1"), 0);
    assert_true(value(&c->point[9].m, "f1_h") < value(&c->point[0].m, "f1_h"));
}

static double leak_of(const scene *c, const double *rate)
{
    const float *w = c->truth->dir;
    double sum = 0;
    int64_t n = 0, d = c->truth->d;
    for (int64_t i = 0; i < c->truth->n; i++) {
        if (rate[i] * ROWS < SL_STABILITY_ALIVE - .5)
            continue;
        for (int64_t j = 0; j < c->truth->n; j++) {
            double dot = 0;
            for (int64_t k = 0; k < d; k++)
                dot += (double)w[i * d + k] * (double)w[j * d + k];
            sum += j == i ? 0 : dot * dot;
            n += j != i;
        }
    }
    return sqrt(sum / (double)n);
}

static void on_a_world(void **state)
{
    (void)state;
    static const char *const names[] = { "fss", "fss_macro", "fss_adj", "pct_change", "sci", "sci_sem", "sci_rsa", "jaccard", "overlap", "ks_magnitude", "ks_rate",
                                         "noisy_fvu", "noisy_f1", "noisy_f1_h", "csr_q05", "csr_q25", "csr_q50", "csr_q75", "csr_q95", "csr_q", "cos_ed", "noise_gain",
                                         "leak_rms", "sel", "sel_eps", "inj_resp", "auc", "auc_gauss", "eps_50_gauss", "auc_sci_gauss", "auc_overlap_gauss", "auc_inject", "auc_quant" };
    scene c = open_scene(2);
    sl_err err;
    sl_metrics m = { 0 };
    sl_stability_report r;
    sl_stability_options o = options("gauss,inject,quant");
    sl_assert_ok(sl_eval_stability(c.ctx, c.s, c.rows, &o, c.truth, &m, &r, &err));
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        assert_true(isfinite(find(&m, names[i])->value));
    assert_int_equal(r.n_curves, 3);
    gauss_curve(&r.curve[0], &m);
    assert_string_equal(r.curve[1].axis, "alpha");
    assert_string_equal(r.curve[2].axis, "bits");
    no_noise_is_one(&r.curve[1].point[0]);
    assert_true(r.curve[2].n == 4 && r.curve[2].point[1].achieved < r.curve[2].point[3].achieved);
    is(&m, "cos_ed", 1, 1e-6);
    is(&m, "noise_gain", 1, 1e-6);
    is(&m, "leak_rms", leak_of(&c, r.rate), 1e-5);
    assert_true(value(&m, "csr_q05") < value(&m, "csr_q50") && value(&m, "csr_q50") < value(&m, "csr_q95") && value(&m, "csr_q05") >= 0);
    assert_true(value(&m, "inj_resp") > .5 && value(&m, "inj_resp") < 1.2);
    assert_true(r.d_sae == c.truth->n);
    int64_t alive = 0;
    double mean = 0;
    for (int64_t j = 0; j < r.d_sae; j++) {
        assert_true(isnan(r.fss_j[j]) == (r.rate[j] * ROWS < SL_STABILITY_ALIVE - .5));
        alive += !isnan(r.fss_j[j]);
        mean += isnan(r.fss_j[j]) ? 0 : r.fss_j[j];
    }
    is(&m, "fss_macro", mean / (double)alive, 1e-12);
    sl_stability_report_release(c.ctx, &r);
    sl_metrics_release(c.ctx, &m);
    close_scene(&c);
}

/* The same bits with one thread and with two, and all kinds of noise run. */
static void all_noises_any_threads(void **state)
{
    (void)state;
    sl_err err;
    sl_metrics m[2] = { { 0 } };
    sl_stability_options o = options("all");
    o.rows = 100;
    o.draws = 0;
    for (int t = 0; t < 2; t++) {
        scene c = open_scene(t + 1);
        sl_metrics all = { 0 };
        sl_assert_ok(sl_eval_stability(c.ctx, c.s, c.rows, &o, NULL, &all, NULL, &err));
        m[t].v = malloc((size_t)all.n * sizeof *all.v);
        memcpy(m[t].v, all.v, (size_t)all.n * sizeof *all.v);
        m[t].n = all.n;
        sl_metrics_release(c.ctx, &all);
        close_scene(&c);
    }
    assert_int_equal(m[0].n, m[1].n);
    for (int i = 0; i < m[0].n; i++) {
        assert_string_equal(m[0].v[i].name, m[1].v[i].name);
        if (m[0].v[i].value != m[1].v[i].value)
            fail_msg("%s: %.17g with one thread, %.17g with two", m[0].v[i].name, m[0].v[i].value, m[1].v[i].value);
    }
    assert_non_null(sl_metrics_get(&m[0], "auc_pgd"));
    free(m[0].v);
    free(m[1].v);
}

/* Orthogonal latents and rows of three positive coordinates: what is injected arrives whole although the row is full, nothing leaks. Read at half the
 * size it arrives by half. */
static void response_by_hand(void **state)
{
    (void)state;
    enum { N = 8, ACTIVE = 3, COUNT = 200 };
    sl_ctx *ctx = sl_test_ctx(1);
    sl_err err;
    float eye[N * N] = { 0 };
    rows r;
    rows_normal(&r, COUNT, N, 0, 5);
    for (int i = 0; i < N; i++)
        eye[i * N + i] = 1;
    for (int i = 0; i < COUNT * N; i++)
        r.x[i] = (i % N + i / N) % N < ACTIVE ? 1 + fabsf(r.x[i]) : 0;
    sl_sae *s = that_knows(ctx, eye, N, N, ACTIVE);
    sl_metrics m = { 0 };
    sl_stability_options o = options("");
    sl_assert_ok(sl_eval_stability(ctx, s, &r.src, &o, NULL, &m, NULL, &err));
    is(&m, "inj_resp", 1, 1e-6);
    is(&m, "leak_rms", 0, 1e-9);
    is(&m, "cos_ed", 1, 1e-9);
    assert_null(sl_metrics_get(&m, "auc"));
    float *W = s->W_enc->value.data;
    for (int i = 0; i < N; i++)
        W[i * N + i] = .5f;
    W[1] = .5f; /* the first latent reads the second as well: cos 1 / sqrt 2, leak 1 of 8 * 7 */
    sl_param_touch(s->W_enc);
    sl_assert_ok(sl_eval_stability(ctx, s, &r.src, &o, NULL, &m, NULL, &err));
    is(&m, "leak_rms", sqrt(1 / 56.), 1e-6);
    is(&m, "cos_ed", (7 + sqrt(.5)) / 8, 1e-6);
    is(&m, "noise_gain", (7 + sqrt(2)) / 8, 1e-6);
    W[1] = 0;
    sl_param_touch(s->W_enc);
    sl_assert_ok(sl_eval_stability(ctx, s, &r.src, &o, NULL, &m, NULL, &err));
    is(&m, "inj_resp", .5, 1e-6);
    sl_metrics_release(ctx, &m);
    rows_release(&r);
    sl_sae_free(s);
    sl_ctx_free(ctx);
}

/* ---- noise of low rank (I.7) ---- */

static sl_perturb_config gauss(double eps, int64_t rank)
{
    sl_perturb_config c;
    sl_opts_default(sl_perturb_opts, &c);
    c.type = SL_PERTURB_GAUSS;
    c.eps = eps;
    c.rank = rank;
    return c;
}

typedef struct clean { const float *x; sl_codes z; int64_t n, d, m; } clean;

static void take_rows(scene *c, int64_t n, clean *out)
{
    sl_err err;
    sl_act_batch b;
    sl_assert_ok(c->rows->next(c->rows, n, &b, &err));
    assert_int_equal(b.n, n);
    *out = (clean){ .x = b.x, .n = n, .d = c->truth->d, .m = c->truth->n };
    sl_assert_ok(sl_codes_new(c->ctx, n, K, &out->z, &err));
    sl_assert_ok(sl_sae_encode(c->s, b.x, n, &out->z, NULL, &err));
}

/* fss of one step's noise; every |delta| is eps |x| exactly. */
static double fss_of(scene *c, const clean *z, sl_perturber *p, int64_t step, double eps)
{
    enum { MOST = 256 };
    static float x[MOST * 64];
    uint8_t valid[MOST];
    sl_err err;
    sl_codes q;
    sl_metrics m = { 0 };
    sl_assert_ok(sl_perturber_apply(p, z->x, z->n, 0, step, 0, -1, &(sl_perturbed){ .x = x, .valid = valid }, &err));
    for (int64_t r = 0; r < z->n; r++) {
        double sq = 0, all = 0;
        for (int64_t i = r * z->d; i < (r + 1) * z->d; i++) {
            sq += pow((double)x[i] - (double)z->x[i], 2);
            all += pow((double)z->x[i], 2);
        }
        assert_true(!valid[r] || fabs(sqrt(sq / all) / eps - 1) < 1e-4);
    }
    sl_assert_ok(sl_codes_new(c->ctx, z->n, K, &q, &err));
    sl_assert_ok(sl_sae_encode(c->s, x, z->n, &q, NULL, &err));
    sl_stability_codes of = { .clean = sl_sparse_of(&z->z, z->n, z->m), .perturbed = sl_sparse_of(&q, z->n, z->m), .valid = valid };
    of.target = of.clean;
    sl_assert_ok(sl_stability_scores(c->ctx, &of, &m, NULL, NULL, &err));
    double fss = value(&m, "fss");
    sl_metrics_release(c->ctx, &m);
    sl_codes_release(c->ctx, &q);
    return fss;
}

static void low_rank_like_full(void **state)
{
    (void)state;
    enum { STEPS = 24 };
    scene c = open_scene(2);
    clean z;
    sl_stat stat[2];
    take_rows(&c, 256, &z);
    for (int k = 0; k < 2; k++) {
        sl_err err;
        sl_perturb_config config = gauss(.3, k ? 16 : 0);
        sl_perturber *p;
        double v[STEPS];
        sl_assert_ok(sl_perturber_new(c.s, &config, NULL, 0, &p, &err));
        for (int t = 0; t < STEPS; t++)
            v[t] = fss_of(&c, &z, p, t, .3);
        stat[k] = sl_stat_of(v, STEPS);
        sl_perturber_free(p);
    }
    assert_true(stat[0].se > 0 && stat[1].se > 0 && stat[1].se < .02);
    assert_true(fabs(stat[0].mean - stat[1].mean) < 3 * sqrt(stat[0].se * stat[0].se + stat[1].se * stat[1].se));
    sl_codes_release(c.ctx, &z.z);
    close_scene(&c);
}

/* ---- attacks against the certified radius (I.8) ---- */

static void pgd_never_beats(void **state)
{
    (void)state;
    enum { N = 256 };
    scene c = open_scene(2);
    sl_err err;
    clean z;
    sl_linear_encoder e;
    static float x[N * 64];
    static double csr[N];
    uint8_t valid[N], before[128], after[128];
    double a[128], row[64];
    int certified = 0, changed = 0;
    take_rows(&c, N, &z);
    sl_assert_ok(sl_linear_encoder_of(c.s, &e, &err));
    sl_assert_ok(sl_certified_radii(c.ctx, c.s, z.x, N, NULL, csr, &err));
    for (int level = 0; level < 3; level++) {
        sl_perturb_config config = gauss((double[]){ .01, .03, .1 }[level], 0);
        config.type = SL_PERTURB_PGD;
        config.attack_steps = 10;
        config.restarts = 2;
        sl_perturber *p;
        sl_assert_ok(sl_perturber_new(c.s, &config, NULL, 0, &p, &err));
        sl_assert_ok(sl_perturber_apply(p, z.x, N, 0, 0, 0, -1, &(sl_perturbed){ .x = x, .valid = valid }, &err));
        sl_perturber_free(p);
        for (int r = 0; r < N; r++) {
            for (int i = 0; i < 64; i++)
                row[i] = (double)z.x[r * 64 + i];
            sl_linear_support(&e, row, a, before);
            for (int i = 0; i < 64; i++)
                row[i] = (double)x[r * 64 + i];
            sl_linear_support(&e, row, a, after);
            bool same = memcmp(before, after, sizeof after) == 0, is_certified = config.eps < .999 * csr[r];
            if (is_certified && !same)
                fail_msg("row %d, certified to %g, gave way at %g", r, csr[r], config.eps);
            certified += is_certified;
            changed += !same;
        }
    }
    assert_true(certified > 100 && changed > 100);
    sl_linear_encoder_release(c.ctx, &e);
    sl_codes_release(c.ctx, &z.z);
    close_scene(&c);
}

/* ---- refusals ---- */

static void refusals(void **state)
{
    (void)state;
    scene c = open_scene(1);
    sl_err err;
    sl_metrics m = { 0 };
    sl_stability_report r;
    rows narrow;
    sl_stability_options o = options("gauss,nonsense");
    sl_assert_fails(sl_eval_stability(c.ctx, c.s, c.rows, &o, NULL, &m, &r, &err), SL_ARG, "'nonsense'");
    assert_true(r.n_curves == 0 && !r.fss_j);
    o.noise = "none";
    sl_assert_fails(sl_eval_stability(c.ctx, c.s, c.rows, &o, NULL, &m, &r, &err), SL_ARG, "'none'");
    o.noise = "gauss";
    rows_normal(&narrow, 30, 7, 0, 1);
    sl_assert_fails(sl_eval_stability(c.ctx, c.s, &narrow.src, &o, NULL, &m, &r, &err), SL_SHAPE, "rows of 7");
    rows_release(&narrow);
    rows_normal(&narrow, 30, 64, 0, 1);
    narrow.x[64 * 3 + 2] = NAN;
    sl_assert_fails(sl_eval_stability(c.ctx, c.s, &narrow.src, &o, NULL, &m, &r, &err), SL_NUMERIC, "row 3, column 2");
    assert_int_equal(m.n, 0);
    sl_sae *t;
    sl_assert_ok(sl_sae_new(c.ctx, "transcoder", 64, 8, NULL, 0, &t, &err));
    sl_assert_fails(sl_eval_stability(c.ctx, t, c.rows, &o, NULL, &m, &r, &err), SL_UNAVAILABLE, "target");
    sl_sae_free(t);
    /* rows that are all zero, a code that never fires: nulls with reasons, no number */
    for (int i = 0; i < 30 * 64; i++)
        narrow.x[i] = 0;
    sl_assert_ok(sl_eval_stability(c.ctx, c.s, &narrow.src, &o, NULL, &m, &r, &err));
    static const char *const silent[] = { "fss", "sci", "overlap", "csr_q50", "cos_ed", "leak_rms", "inj_resp", "sel", "noisy_fvu", "auc" };
    for (size_t i = 0; i < sizeof silent / sizeof *silent; i++)
        if (!find(&m, silent[i])->is_null)
            fail_msg("%s is %g where nothing is there", silent[i], find(&m, silent[i])->value);
    sl_stability_report_release(c.ctx, &r);
    sl_metrics_release(c.ctx, &m);
    rows_release(&narrow);
    close_scene(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(on_a_world), cmocka_unit_test(all_noises_any_threads), cmocka_unit_test(response_by_hand),
        cmocka_unit_test(low_rank_like_full), cmocka_unit_test(pgd_never_beats), cmocka_unit_test(refusals),
    };
    return cmocka_run_group_tests_name("eval_stability_sae", tests, NULL, NULL);
}
