/* Families "truth_probes" and "label_probes": what a linear probe reads off codes (peers.md 4.5, science.md D4).
 *   probe_SET_k1, _k2, _k5   logistic regression on the k latents with the largest |mean z(positive) - mean z(negative)|
 *   probe_SET_dense          on all latents           probe_SET_x   on x, the ceiling
 * SET is "truth" for true features, else the label set. A class is probed one against the rest, with classes weighted alike; the value is the mean
 * over classes of balanced accuracy on documents that training did not see, and its t interval is over classes. Chance: .5. */
#include "eval/families.h"
#include "eval/measured.h"

#include <saelab/probe.h>
#include <saelab/rng.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { K1, K2, K5, DENSE, ON_X, KINDS };
enum { TRAIN_ROWS = 1000, TEST_ROWS = 500 /* of each side */, LEAST_TRAIN = 20, LEAST_TEST = 10, MOST_CLASSES = 64, MOST_K = 5 };
static const char *const suffix[KINDS] = { "k1", "k2", "k5", "dense", "x" };
static const int ks[] = { 1, 2, 5 };
static const sl_logistic_opts how = { .C = 1, .balanced = true, .max_iterations = 100 };

typedef struct prober {
    sl_ctx *ctx;
    const sl_eval_data *d;
    uint8_t *part;              /* [n_rows] 0 .. 3; 3 is the test part */
    int8_t *side;               /* [n_rows] 1 positive, 0 negative, -1 not used */
    int32_t *rows;              /* [n] picked: training rows, then test rows */
    uint8_t *y;                 /* [n] */
    int64_t n_train, n;
    double *w;                  /* [columns + 1] */
    double *score;              /* [n] */
    double *difference;         /* [d_sae] */
    float *few;                 /* [n, MOST_K] the chosen columns */
    double sum[KINDS][MOST_CLASSES];
    int64_t classes;
} prober;

/* ---- rows ---- */

/* Up to `most` rows of one side and part, spread evenly over all of them. */
static int64_t take(prober *p, bool test, int8_t side, int64_t most)
{
    int64_t all = 0, seen = 0, taken = 0;
    for (int64_t r = 0; r < p->d->n_rows; r++)
        all += (p->part[r] == 3) == test && p->side[r] == side;
    for (int64_t r = 0; r < p->d->n_rows; r++) {
        if ((p->part[r] == 3) != test || p->side[r] != side)
            continue;
        if (all <= most || seen * most / all != (seen + 1) * most / all) {
            p->rows[p->n] = (int32_t)r;
            p->y[p->n++] = side == 1;
            taken++;
        }
        seen++;
    }
    return taken;
}

/* False where a side has too few rows. */
static bool pick_rows(prober *p)
{
    p->n = 0;
    int64_t pos = take(p, false, 1, TRAIN_ROWS), neg = take(p, false, 0, TRAIN_ROWS);
    p->n_train = p->n;
    int64_t test_pos = take(p, true, 1, TEST_ROWS), test_neg = take(p, true, 0, TEST_ROWS);
    return pos >= LEAST_TRAIN && neg >= LEAST_TRAIN && test_pos >= LEAST_TEST && test_neg >= LEAST_TEST;
}

/* ---- one class ---- */

/* The k latents with the largest difference of means, largest first; lower number first among equals. */
static void rank_latents(prober *p, int32_t chosen[MOST_K])
{
    const sl_sparse *z = &p->d->z;
    double count[2] = { 0 };
    memset(p->difference, 0, (size_t)p->d->d_sae * sizeof *p->difference);
    for (int64_t i = 0; i < p->n_train; i++)
        count[p->y[i]]++;
    for (int64_t i = 0; i < p->n_train; i++)
        for (int64_t e = z->row_ptr[p->rows[i]]; e < z->row_ptr[p->rows[i] + 1]; e++)
            p->difference[z->idx[e]] += (p->y[i] ? 1 : -1) * (double)z->val[e] / count[p->y[i]];
    for (int k = 0; k < MOST_K; k++) {
        int32_t best = -1;
        for (int64_t j = 0; j < p->d->d_sae; j++) {
            bool taken = false;
            for (int i = 0; i < k; i++)
                taken |= chosen[i] == j;
            if (!taken && (best < 0 || fabs(p->difference[j]) > fabs(p->difference[best])))
                best = (int32_t)j;
        }
        chosen[k] = best; /* -1 past the last latent */
    }
}

static void gather(prober *p, const int32_t chosen[MOST_K], int k)
{
    const sl_sparse *z = &p->d->z;
    memset(p->few, 0, (size_t)(p->n * k) * sizeof *p->few);
    for (int64_t i = 0; i < p->n; i++)
        for (int64_t e = z->row_ptr[p->rows[i]]; e < z->row_ptr[p->rows[i] + 1]; e++)
            for (int c = 0; c < k; c++)
                if (chosen[c] == z->idx[e])
                    p->few[i * k + c] = z->val[e];
}

/* rows: which rows of X go with p->y. */
static sl_status fit_and_score(prober *p, const sl_design *X, const int32_t *rows, double *accuracy, sl_err *err)
{
    sl_probe_score s;
    SL_TRY(sl_logistic(p->ctx, X, rows, p->y, p->n_train, &how, p->w, err));
    for (int64_t i = p->n_train; i < p->n; i++)
        p->score[i] = sl_logistic_score(X, rows[i], p->w);
    SL_TRY(sl_probe_score_of(p->ctx, p->score + p->n_train, p->y + p->n_train, p->n - p->n_train, &s, err));
    *accuracy = s.accuracy;
    return SL_OK;
}

static sl_status probe_class(prober *p, sl_err *err)
{
    int32_t chosen[MOST_K], own[2 * (TRAIN_ROWS + TEST_ROWS)];
    int64_t at = p->classes++;
    rank_latents(p, chosen);
    for (int32_t i = 0; i < (int32_t)p->n; i++)
        own[i] = i;
    for (int k = 0; k < 3; k++) {
        gather(p, chosen, ks[k]);
        SL_TRY(fit_and_score(p, &(sl_design){ .n_cols = ks[k], .x = p->few }, own, &p->sum[k][at], err));
    }
    SL_TRY(fit_and_score(p, &(sl_design){ .n_cols = p->d->d_sae, .z = &p->d->z }, p->rows, &p->sum[DENSE][at], err));
    p->sum[ON_X][at] = NAN;
    return p->d->x ? fit_and_score(p, &(sl_design){ .n_cols = p->d->d_in, .x = p->d->x }, p->rows, &p->sum[ON_X][at], err) : SL_OK;
}

/* ---- a set ---- */

static sl_status put(prober *p, const char *set, sl_metrics *out, sl_err *err)
{
    for (int k = 0; k < KINDS; k++) {
        char name[64];
        snprintf(name, sizeof name, "probe_%.32s_%s", set, suffix[k]);
        if (k == ON_X && !p->d->x)
            continue;
        if (p->classes == 0) {
            SL_TRY(sl_metrics_null(p->ctx, out, name, "no class has 20 rows on both sides in training and 10 in the test part", err));
            continue;
        }
        sl_stat s = sl_stat_of(p->sum[k], p->classes);
        SL_TRY(sl_put_floored(p->ctx, out, name, s.mean, p->classes, .5, err));
        if (s.has_se)
            sl_metrics_interval(out, name, s.lo, s.hi);
    }
    return SL_OK;
}

static sl_status prepare(prober *p, sl_err *err)
{
    const sl_eval_data *d = p->d;
    size_t n = 2 * (TRAIN_ROWS + TEST_ROWS), columns = (size_t)(d->d_sae > d->d_in ? d->d_sae : d->d_in);
    SL_TRY(sl_split_rows(p->ctx, d, 4, &p->part, err));
    p->side = sl_alloc(p->ctx, (size_t)d->n_rows);
    p->rows = sl_alloc(p->ctx, n * sizeof *p->rows);
    p->y = sl_alloc(p->ctx, n);
    p->w = sl_alloc(p->ctx, (columns + MOST_K + 1) * sizeof *p->w);
    p->score = sl_alloc(p->ctx, n * sizeof *p->score);
    p->difference = sl_alloc(p->ctx, (size_t)d->d_sae * sizeof *p->difference);
    p->few = sl_alloc(p->ctx, n * MOST_K * sizeof *p->few);
    return sl_have("probes", 7, (const void *const[]){ p->side, p->rows, p->y, p->w, p->score, p->difference, p->few }, err);
}

static void release(prober *p)
{
    void *all[] = { p->part, p->side, p->rows, p->y, p->w, p->score, p->difference, p->few };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        sl_free(p->ctx, all[i]);
}

/* ---- true features ---- */

static sl_status probe_truth(prober *p, const sl_columns *g, const sl_columns *unknown, sl_metrics *out, sl_err *err)
{
    int64_t *order = sl_alloc(p->ctx, (size_t)g->n_cols * sizeof *order);
    SL_TRY(sl_have("probes", 1, (const void *const[]){ order }, err));
    sl_rng r = sl_rng_at(p->d->seed, SL_RNG_EVAL, SL_DRAW_PICK, 1);
    sl_rng_perm(&r, order, g->n_cols); /* MOST_CLASSES of them, at random */
    sl_status st = SL_OK;
    for (int64_t i = 0; st == SL_OK && i < g->n_cols && p->classes < MOST_CLASSES; i++) {
        int64_t f = order[i];
        memset(p->side, 0, (size_t)p->d->n_rows);
        for (int64_t e = g->ptr[f]; e < g->ptr[f + 1]; e++)
            p->side[g->row[e]] = 1;
        for (int64_t e = unknown->ptr ? unknown->ptr[f] : 0; unknown->ptr && e < unknown->ptr[f + 1]; e++)
            p->side[unknown->row[e]] = -1;
        if (pick_rows(p))
            st = probe_class(p, err);
    }
    sl_free(p->ctx, order);
    return st == SL_OK ? put(p, "truth", out, err) : st;
}

static const char *const truth_names[] = { "probe_truth_k1", "probe_truth_k2", "probe_truth_k5", "probe_truth_dense", "probe_truth_x", NULL };

static sl_status run_truth(sl_ctx *ctx, const sl_eval_data *d, sl_metrics *out, sl_err *err)
{
    prober p = { .ctx = ctx, .d = d };
    sl_columns g = { 0 }, unknown = { 0 };
    sl_status st;
    if (d->z.row_ptr[d->n_rows] == 0)
        return sl_put_nulls(ctx, out, truth_names, "no latent fires", err);
    SL_GO(prepare(&p, err));
    SL_GO(sl_columns_new(ctx, &d->g, &g, err));
    if (d->unknown.row_ptr)
        SL_GO(sl_columns_new(ctx, &d->unknown, &unknown, err));
    SL_GO(probe_truth(&p, &g, &unknown, out, err));
done:
    sl_columns_release(ctx, &unknown);
    sl_columns_release(ctx, &g);
    release(&p);
    return st;
}

const sl_family sl_family_truth_probes = { "truth_probes", "probes of true features", SL_NEED_CODES | SL_NEED_TRUE_CODES, truth_names, run_truth };

/* ---- label sets ---- */

static sl_status probe_set(prober *p, const sl_label_set *s, sl_metrics *out, sl_err *err)
{
    p->classes = 0;
    for (int32_t c = s->n_classes == 2 ? 1 : 0; c < s->n_classes && p->classes < MOST_CLASSES; c++) {
        for (int64_t r = 0; r < p->d->n_rows; r++)
            p->side[r] = s->y[r] < 0 ? -1 : s->y[r] == c;
        if (pick_rows(p))
            SL_TRY(probe_class(p, err));
    }
    return put(p, s->name, out, err);
}

static sl_status null_set(sl_ctx *ctx, const char *set, sl_metrics *out, sl_err *err)
{
    for (int k = 0; k < KINDS; k++) {
        char name[64];
        snprintf(name, sizeof name, "probe_%.32s_%s", set, suffix[k]);
        SL_TRY(sl_metrics_null(ctx, out, name, "no latent fires", err));
    }
    return SL_OK;
}

static sl_status run_labels(sl_ctx *ctx, const sl_eval_data *d, sl_metrics *out, sl_err *err)
{
    prober p = { .ctx = ctx, .d = d };
    bool dead = d->z.row_ptr[d->n_rows] == 0;
    sl_status st = prepare(&p, err);
    for (int i = 0; st == SL_OK && i < d->n_labels; i++)
        st = dead ? null_set(ctx, d->labels[i].name, out, err) : probe_set(&p, &d->labels[i], out, err);
    release(&p);
    return st;
}

static const char *const label_names[] = { "probe_*", NULL };
const sl_family sl_family_label_probes = { "label_probes", "probes of labels", SL_NEED_CODES | SL_NEED_LABELS, label_names, run_labels };
