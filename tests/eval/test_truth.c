/* Metrics against ground truth, worked out by hand. */
#include "worked.h"

#include "eval/measured.h"

#include <saelab/match.h>

/* Four features along the axes of R^4; four latents: d_0 = f_0, d_1 = -f_1, d_2 = (f_2 + f_0) / sqrt 2 ... see each test. */
static const float axes[16] = { 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1 };

static void measure(sl_ctx *ctx, const sl_eval_data *d, const char *family, sl_metrics *m)
{
    sl_err err;
    sl_assert_ok(sl_measure(ctx, d, NULL, (const char *const[]){ family, NULL }, m, &err));
}

/* Decoder 3 f_0, -f_1, f_1 + f_2 against f_0 .. f_3: |cos| matched 1 + 1 + .7071, signed: f_0, f_1+f_2 to f_1 or f_2 (.7071), -f_1 to f_3 (0).
 * Best features 0, 1, 1 (ties: the lower): 2 of 3 distinct. mmcs (1 + 1 + s) / 3, back (1 + 1 + s + 0) / 4. */
static void directions(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    sl_metrics m = { 0 };
    const float W[] = { 3, 0, 0, 0, 0, -1, 0, 0, 0, 1, 1, 0 };
    const double s = sqrt(.5);
    sl_eval_data d = { .d_in = 4, .d_sae = 3, .W_dec = W, .n_truth = 4, .truth = axes };
    measure(ctx, &d, "directions", &m);
    worked_is(&m, "mcc_dec_abs", (2 + s) / 3);
    worked_is(&m, "mcc_dec_signed", (1 + s) / 3);
    worked_is(&m, "uniq", 2 / 3.);
    worked_is(&m, "mmcs", (2 + s) / 3);
    worked_is(&m, "mmcs_back", (2 + s) / 4);
    sl_floor f;
    sl_err err;
    sl_assert_ok(sl_mcc_floor(ctx, 3, 4, 4, true, &f, &err));
    worked_is(&m, "mcc_floor", f.mean);
    worked_is(&m, "mcc_adj", ((2 + s) / 3 - f.mean) / (1 - f.mean));
    const sl_metric *abs_row = sl_metrics_get(&m, "mcc_dec_abs"), *uniq = sl_metrics_get(&m, "uniq");
    double chance = (1 - pow(.75, 3)) * 4 / 3;
    assert_true(abs_row->has_floor && abs_row->floor == f.mean && abs_row->n == 3);
    sl_assert_close_f64("floor of uniq", &uniq->floor, &chance, 1, 1e-9, 0);
    worked_null(&m, "scr", "NOT RUN");
    worked_null(&m, "tpp", "NOT RUN");
    worked_null(&m, "ravel", "NOT RUN");
    d.W_dec = (float[12]){ 0 };
    measure(ctx, &d, "directions", &m);
    worked_null(&m, "mcc_dec_abs", "every direction is zero");
    sl_metrics_release(ctx, &m);
    sl_ctx_free(ctx);
}

/* g_0 = 1 1 0 0, g_1 = 0 1 0 1 over four rows, repeated 100 times; z_0 = 2 g_0, z_1 = 1 1 1 0, z_2 never. Pearson: z_0-g_0 1, z_0-g_1 0,
 * z_1-g_0: cov .5 - .375 = .125, sd sqrt(3/16) and .5: .57735; z_1-g_1: .25 - .375 = -.125, |r| = .57735. mcc_code (1 + .57735) / 2.
 * purity: z_0 1, z_1 1/2, mean over the two alive. */
static void codes(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    sl_metrics m = { 0 };
    float *z = worked_repeat((float[]){ 2, 1, 0, 2, 1, 0, 0, 1, 0, 0, 0, 0 }, 4, 3, 100);
    float *g = worked_repeat((float[]){ 1, 0, 1, 1, 0, 0, 0, 1 }, 4, 2, 100);
    sl_eval_data d = { .d_sae = 3, .n_truth = 2, .n_rows = 400, .z = worked_sparse(z, 400, 3), .g = worked_sparse(g, 400, 2) };
    measure(ctx, &d, "codes", &m);
    worked_is(&m, "mcc_code", (1 + sqrt(1 / 3.)) / 2);
    worked_is(&m, "purity", .75);
    assert_true(sl_metrics_get(&m, "mcc_code")->has_floor && sl_metrics_get(&m, "mcc_code")->floor < .2 && sl_metrics_get(&m, "purity")->n == 2);
    worked_release(&d.g);
    for (int i = 0; i < 800; i++)
        g[i] = 1;
    d.g = worked_sparse(g, 400, 2);
    measure(ctx, &d, "codes", &m);
    worked_null(&m, "mcc_code", "no true feature varies");
    worked_release(&d.g);
    worked_release(&d.z);
    free(g);
    free(z);
    sl_metrics_release(ctx, &m);
    sl_ctx_free(ctx);
}

/* d_0 = f_0, d_1 = f_1, d_2 = f_1 and dead, d_3 = f_3; f_3 never fires. Over 4 rows: g_0 1 1 0 0, g_1 0 1 0 1, g_2 0 0 1 0; z_0 1 1 1 0, z_1 0 0 0 1,
 * z_3 0 0 1 0. Pairs (a, b, both): 0: (3, 2, 2): F1 .8, prec 2/3, rec 1, phi (4*2 - 6)/sqrt(3*1*2*2) = .57735; 1: (1, 2, 1): F1 2/3, prec 1, rec .5,
 * phi (4 - 2)/sqrt(1*3*2*2) = .57735; 2: 0; 3: 0. Over features that fire (0, 1, 2): 2 is unmatched or matched with |cos| 0 by a dead latent: 0. */
static void firing(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    sl_metrics m = { 0 };
    const float W[] = { 1, 0, 0, 0, 0, 1, 0, 0, 0, .5f, 0, 0, 0, 0, 0, 1 };
    const double phi = sqrt(1 / 3.);
    float *z = worked_repeat((float[]){ 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 1, 0, 1, 0, 0 }, 4, 4, 50);
    float *g = worked_repeat((float[]){ 1, 0, 0, 0, 1, 1, 0, 0, 0, 0, 1, 0, 0, 1, 0, 0 }, 4, 4, 50);
    sl_eval_data d = { .d_in = 4, .d_sae = 4, .W_dec = W, .n_truth = 4, .truth = axes, .n_rows = 200, .z = worked_sparse(z, 200, 4),
                       .g = worked_sparse(g, 200, 4) };
    measure(ctx, &d, "firing", &m);
    worked_is(&m, "f1", (.8 + 2 / 3.) / 4);
    worked_is(&m, "prec", (2 / 3. + 1) / 4);
    worked_is(&m, "rec", 1.5 / 4);
    worked_is(&m, "phi", 2 * phi / 4);
    worked_is(&m, "f1_alive", (.8 + 2 / 3.) / 3);
    worked_is(&m, "f1_h", (.8 + 2 / 3.) / 3);
    worked_is(&m, "rec_h", .5);
    worked_is(&m, "phi_h", 2 * phi / 3);
    const sl_metric *f1 = sl_metrics_get(&m, "f1");
    assert_true(f1->has_floor && f1->floor < f1->value && f1->has_interval && f1->n == 4 && sl_metrics_get(&m, "f1_h")->n == 3);
    assert_true(f1->hi - f1->lo < 1e-9); /* every block is the same */
    worked_release(&d.z);
    memset(z, 0, 800 * sizeof *z);
    d.z = worked_sparse(z, 200, 4);
    measure(ctx, &d, "firing", &m);
    worked_null(&m, "f1", "no latent fires");
    worked_release(&d.g);
    worked_release(&d.z);
    free(z);
    free(g);
    sl_metrics_release(ctx, &m);
    sl_ctx_free(ctx);
}

/* The jackknife interval of a recall: one latent that fires in the share of g's rows that differs by block. With 50 blocks in 20 groups the
 * interval must hold the value, and be wider when the blocks differ more. */
static void intervals(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    double width[2];
    for (int uneven = 0; uneven < 2; uneven++) {
        sl_metrics m = { 0 };
        float z[500], g[500];
        for (int r = 0; r < 500; r++) {
            g[r] = 1;
            z[r] = uneven ? r / 10 % 2 : r % 2; /* whole blocks on and off, or every other row */
        }
        sl_eval_data d = { .d_in = 1, .d_sae = 1, .W_dec = (float[]){ 1 }, .n_truth = 1, .truth = (float[]){ 1 }, .n_rows = 500,
                           .z = worked_sparse(z, 500, 1), .g = worked_sparse(g, 500, 1) };
        measure(ctx, &d, "firing", &m);
        const sl_metric *rec = sl_metrics_get(&m, "rec");
        worked_is(&m, "rec", .5);
        assert_true(rec->has_interval && rec->lo <= .5 && rec->hi >= .5);
        width[uneven] = rec->hi - rec->lo;
        sl_metrics_release(ctx, &m);
        worked_release(&d.z);
        worked_release(&d.g);
    }
    assert_true(width[0] < 1e-9 && width[1] > .1 && width[1] < .5); /* 50 coin-flip blocks: 4 se = 4 * .5 / sqrt(50) = .28 */
    sl_ctx_free(ctx);
}

/* z fires at 3 where g is on, at 1 where it is off in half of the rows: with the threshold F1 is 1, without it less. g_1 is on where z_1 is, but
 * half of its rows are unknown, where z_1 is off: left out. g_2 fires in one row and is not scored. */
static void selected(void **state)
{
    (void)state;
    enum { n = 400 };
    sl_ctx *ctx = sl_test_ctx(1);
    sl_metrics m = { 0 };
    float z[2 * n] = { 0 }, g[3 * n] = { 0 }, unknown[3 * n] = { 0 };
    for (int r = 0; r < n; r++) {
        g[3 * r] = r % 4 == 0;
        z[2 * r] = r % 4 == 0 ? 3 : r % 2 ? 1 : 0;
        z[2 * r + 1] = r % 8 == 3 ? 1 : 0;
        g[3 * r + 1] = r % 8 == 3 ? 1 : 0;
        unknown[3 * r + 1] = r % 8 == 7 ? 1 : 0;
        g[3 * r + 2] = r == 0;
    }
    sl_eval_data d = { .d_sae = 2, .n_truth = 3, .n_rows = n, .z = worked_sparse(z, n, 2), .g = worked_sparse(g, n, 3), .unknown = worked_sparse(unknown, n, 3) };
    measure(ctx, &d, "selected", &m);
    worked_is(&m, "f1_sel", 1);
    worked_is(&m, "prec_sel", 1);
    worked_is(&m, "rec_sel", 1);
    worked_is(&m, "phi_sel", 1);
    assert_true(sl_metrics_get(&m, "f1_sel")->n == 2 && sl_metrics_get(&m, "f1_sel")->floor < .6);
    /* a latent that also fires in the unknown rows: counted as wrong unless they are left out */
    for (int r = 0; r < n; r++)
        z[2 * r + 1] = r % 4 == 3;
    worked_release(&d.z);
    d.z = worked_sparse(z, n, 2);
    measure(ctx, &d, "selected", &m);
    worked_is(&m, "f1_sel", 1);
    worked_release(&d.unknown);
    measure(ctx, &d, "selected", &m);
    worked_is(&m, "f1_sel", (1 + 2 / 3.) / 2);
    worked_release(&d.z);
    worked_release(&d.g);
    sl_metrics_release(ctx, &m);
    sl_ctx_free(ctx);
}

/* f_0 is the parent of f_1. Parent rows: 40 with the child, in 30 of which z_0 is off; 20 without, in 5 of which it is off. */
static void absorption(void **state)
{
    (void)state;
    enum { n = 100 };
    sl_ctx *ctx = sl_test_ctx(1);
    sl_err err;
    sl_metrics m = { 0 };
    float z[2 * n] = { 0 }, g[2 * n] = { 0 };
    for (int r = 0; r < 60; r++) {
        g[2 * r] = 1;
        g[2 * r + 1] = r < 40 ? 2 : 0;
        z[2 * r] = r >= 30 && (r < 40 || r >= 45);
        z[2 * r + 1] = r < 40;
    }
    const int32_t parent[] = { -1, 0 }, flat[] = { -1, -1 };
    sl_eval_data d = { .d_in = 4, .d_sae = 2, .W_dec = axes, .n_truth = 2, .truth = axes, .n_rows = n, .z = worked_sparse(z, n, 2),
                       .g = worked_sparse(g, n, 2), .parent = parent };
    measure(ctx, &d, "hierarchy", &m);
    worked_is(&m, "absorb_rate", .75);
    worked_is(&m, "absorb", .75 - .25);
    worked_is(&m, "absorb_unmatched", 0);
    assert_true(sl_metrics_get(&m, "absorb")->has_floor && sl_metrics_get(&m, "absorb")->n == 1);
    double score[2];
    uint8_t matched[2];
    sl_assert_ok(sl_absorption_by_parent(ctx, &d, score, matched, &err));
    assert_true(fabs(score[0] - .5) < 1e-12 && isnan(score[1]) && matched[0] == 1 && matched[1] == 0);
    d.W_dec = axes + 8; /* other directions: nothing is matched */
    measure(ctx, &d, "hierarchy", &m);
    worked_is(&m, "absorb_unmatched", 1);
    worked_null(&m, "absorb", "no parent is matched");
    d.parent = flat;
    measure(ctx, &d, "hierarchy", &m);
    worked_null(&m, "absorb", "no true feature has a child");
    d.parent = NULL;
    sl_assert_fails(sl_absorption_by_parent(ctx, &d, score, matched, &err), SL_ARG, "something is missing");
    worked_release(&d.z);
    worked_release(&d.g);
    sl_metrics_release(ctx, &m);
    sl_ctx_free(ctx);
}

/* Latents f_0, f_0, (f_1 + .5 f_2) and a dead one along f_2: f_0 is split in two, f_1 is found once, so split (1 + 0) / 2, share 1/2. f_1 and f_2 fire
 * together (phi 1): hedge of (1, 2) is cos(d_2, f_2) = .5 / sqrt(1.25); (2, 1): f_2 is matched to the dead latent along f_2, which mixes nothing in: mean
 * of the two. Alone: f_0 in 25 rows, where z_0 always and z_1 in 15 of them fire: 2 latents at least at .5, over 3 alive. */
static void splitting(void **state)
{
    (void)state;
    enum { n = 100 };
    sl_ctx *ctx = sl_test_ctx(1);
    sl_metrics m = { 0 };
    const float W[] = { 1, 0, 0, 0, 1, 0, 0, 0, 0, 1, .5f, 0, 0, 0, 1, 0 };
    float z[4 * n] = { 0 }, g[4 * n] = { 0 };
    for (int r = 0; r < n; r++) {
        g[4 * r] = r < 25;
        g[4 * r + 1] = g[4 * r + 2] = r >= 50;
        z[4 * r] = r < 25;
        z[4 * r + 1] = r < 15;
        z[4 * r + 2] = r >= 50;
    }
    sl_eval_data d = { .d_in = 4, .d_sae = 4, .W_dec = W, .n_truth = 4, .truth = axes, .n_rows = n, .z = worked_sparse(z, n, 4), .g = worked_sparse(g, n, 4) };
    measure(ctx, &d, "splitting", &m);
    worked_is(&m, "split", .5);
    worked_is(&m, "split_share", .5);
    worked_is(&m, "hedge", .5 / sqrt(1.25) / 2);
    worked_is(&m, "poly", 2 / 3.);
    assert_true(sl_metrics_get(&m, "hedge")->n == 2 && sl_metrics_get(&m, "hedge")->has_floor);
    worked_release(&d.z);
    worked_release(&d.g);
    sl_metrics_release(ctx, &m);
    sl_ctx_free(ctx);
}

/* Rates .5, .25, .25, 0 over 40 rows. Gini of (0, 10, 10, 20): sum (2i - 5) v / (4 * 40) = (-10 + 10 + 60) / 160. Latent 0 fires 20 times, at 1 and
 * 4 equally often: 1 bit. Rows of one latent have hoyer 1; (1, 1) has (2 - sqrt 2) / 1. */
static void rates(void **state)
{
    (void)state;
    enum { n = 40 };
    sl_ctx *ctx = sl_test_ctx(1);
    sl_err err;
    sl_metrics m = { 0 };
    float z[4 * n] = { 0 };
    for (int r = 0; r < n; r++) {
        z[4 * r] = r < 10 ? 1 : r < 20 ? 4 : 0;
        z[4 * r + 1] = r < 10;
        z[4 * r + 2] = r >= 30;
    }
    sl_eval_data d = { .d_sae = 4, .n_rows = n, .z = worked_sparse(z, n, 4) };
    measure(ctx, &d, "rates", &m);
    worked_is(&m, "rate_q50", log10(.25));
    worked_is(&m, "rate_q95", log10(.25) + .9 * (log10(.5) - log10(.25)));
    worked_is(&m, "rate_gini", 60 / 160.);
    worked_is(&m, "magnitude_bits", 1);
    worked_is(&m, "hoyer", (20 + 10 * (2 - sqrt(2))) / 30);
    int64_t fired[4], magnitude[4 * SL_RATE_BINS];
    sl_rate_histograms(&d.z, fired, magnitude);
    assert_true(fired[0] == 20 && fired[1] == 10 && fired[3] == 0 && magnitude[12] == 10 && magnitude[14] == 10 && magnitude[13] == 0);
    double ks, third = 1 / 3.;
    sl_assert_ok(sl_ks(ctx, (double[]){ 3, 1, 2 }, 3, (double[]){ 2, 3, 4 }, 3, &ks, &err));
    sl_assert_close_f64("ks", &ks, &third, 1, 1e-12, 0);
    sl_assert_ok(sl_ks(ctx, (double[]){ 1, 1 }, 2, (double[]){ 2 }, 1, &ks, &err));
    assert_true(ks == 1);
    sl_assert_fails(sl_ks(ctx, (double[]){ 1 }, 0, (double[]){ 2 }, 1, &ks, &err), SL_DATA, "at least one");
    sl_assert_fails(sl_ks(ctx, (double[]){ 1 }, 1, (double[]){ NAN }, 1, &ks, &err), SL_NUMERIC, "value 0 of the second");
    worked_release(&d.z);
    sl_metrics_release(ctx, &m);
    sl_ctx_free(ctx);
}

/* Two documents of 100 positions, 20 parts: 50 blocks of 4 positions, each in one part, each part with some; 200 documents: whole ones. */
static void splits(void **state)
{
    (void)state;
    enum { n = 200 };
    sl_ctx *ctx = sl_test_ctx(1);
    sl_err err;
    int32_t doc[n], pos[n];
    for (int many = 0; many < 2; many++) {
        uint8_t *part, *again;
        int rows[20] = { 0 };
        for (int r = 0; r < n; r++) {
            doc[r] = many ? r / 2 : r / 100;
            pos[r] = many ? 1000 * (r % 2) : r % 100;
        }
        sl_eval_data d = { .n_rows = n, .doc = doc, .pos = pos, .seed = 3 };
        sl_assert_ok(sl_split_rows(ctx, &d, 20, &part, &err));
        sl_assert_ok(sl_split_rows(ctx, &d, 20, &again, &err));
        assert_memory_equal(part, again, n);
        for (int r = 0; r < n; r++) {
            assert_true(part[r] < 20);
            rows[part[r]]++;
            if (r % (many ? 2 : 4))
                assert_int_equal(part[r], part[r - 1]);
        }
        for (int p = 0; p < 20; p++)
            assert_true(rows[p] >= 8 && rows[p] <= 12);
        sl_free(ctx, part);
        sl_free(ctx, again);
    }
    sl_ctx_free(ctx);
}

/* A control's values go beside. */
static void control(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    sl_err err;
    sl_metrics m = { 0 };
    const float other[] = { 1, 1, 0, 0 };
    sl_eval_data d = { .d_in = 4, .d_sae = 1, .W_dec = axes, .n_truth = 4, .truth = axes }, c = d;
    c.W_dec = other;
    sl_assert_ok(sl_measure(ctx, &d, &c, NULL, &m, &err));
    const sl_metric *v = sl_metrics_get(&m, "mcc_dec_abs");
    assert_true(v->has_control && fabs(v->control - sqrt(.5)) < 1e-6 && fabs(v->value - 1) < 1e-6);
    assert_null(sl_metrics_get(&m, "f1")); /* its needs are not met */
    sl_assert_fails(sl_measure(ctx, &d, NULL, (const char *const[]){ "nonsense", NULL }, &m, &err), SL_ARG, "nonsense");
    sl_metrics_release(ctx, &m);
    sl_ctx_free(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(directions), cmocka_unit_test(codes), cmocka_unit_test(firing), cmocka_unit_test(intervals), cmocka_unit_test(selected),
        cmocka_unit_test(absorption), cmocka_unit_test(splitting), cmocka_unit_test(rates), cmocka_unit_test(splits),
        cmocka_unit_test(control),
    };
    return cmocka_run_group_tests_name("eval_truth", tests, NULL, NULL);
}
