/* Family "explain": can a latent be put into words? No language model is asked (science.md E2). For up to LATENTS alive latents an explanation is
 * searched on documents of the training part, and tried on the test part:
 *   explain_detect   balanced accuracy of "explained" against "fires"          explain_f1   its F1
 *   explain_fuzz     AUC of the fit to it between rows that fire and silent rows of the same documents (wrongly highlighted tokens)
 *   explain_sim      Pearson r of z with the mean z of the term that holds
 *   intruder         share of trials in which naive Bayes over n-grams finds the one silent context of five (chance .2)
 *   token_purity     1 - H(token | fires) / H(token)       token_purity_rest   the same without the latent's commonest token
 * Values are means over latents, intervals t over latents. Floors: rows of z shuffled. The last three need text. */
#include "eval/explain.h"
#include "eval/families.h"

#include <saelab/probe.h>
#include <saelab/rng.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { LATENTS = 48, ROWS = 12000, LEAST_TRAIN = 20, LEAST_TEST = 10 };
enum { DETECT, F1, FUZZ, SIM, INTRUDER, PURITY, PURITY_REST, KINDS };
static const char *const names[] = { "explain_detect", "explain_f1", "explain_fuzz", "explain_sim", "intruder", "token_purity", "token_purity_rest", NULL };

typedef struct teller {
    sl_ctx *ctx;
    const sl_eval_data *d;
    sl_columns z;
    sl_predicates p;
    int64_t n;
    int32_t *rows, *at;     /* [n] rows picked; [n_rows] place among them, -1: not picked */
    uint8_t *train, *test, *on; /* [n] */
    float *value;           /* [n] */
    double *fit; uint8_t *side; /* [2 n] of the highlights */
    double *got[2];         /* [KINDS * LATENTS] real, shuffled */
    int64_t scored;
} teller;

/* ---- one latent ---- */

static void take_latent(teller *t, int64_t j, const int32_t *perm)
{
    memset(t->on, 0, (size_t)t->n);
    memset(t->value, 0, (size_t)t->n * sizeof *t->value);
    for (int64_t e = t->z.ptr[j]; e < t->z.ptr[j + 1]; e++) {
        int32_t i = t->at[perm ? perm[t->z.row[e]] : t->z.row[e]];
        if (i >= 0) {
            t->on[i] = 1;
            t->value[i] = t->z.val[e];
        }
    }
}

static bool enough(const teller *t)
{
    int64_t train[2] = { 0 }, test[2] = { 0 };
    for (int64_t i = 0; i < t->n; i++) {
        train[t->on[i]] += t->train[i];
        test[t->on[i]] += t->test[i];
    }
    return train[0] >= LEAST_TRAIN && train[1] >= LEAST_TRAIN && test[0] >= LEAST_TEST && test[1] >= LEAST_TEST;
}

static sl_status detect(teller *t, const sl_explanation *e, double *v, sl_err *err)
{
    int64_t n = 0;
    for (int64_t i = 0; i < t->n; i++)
        if (t->test[i]) {
            t->fit[n] = sl_explained(&t->p, e, i) >= 0 ? 1 : -1;
            t->side[n++] = t->on[i];
        }
    sl_probe_score s;
    SL_TRY(sl_probe_score_of(t->ctx, t->fit, t->side, n, &s, err));
    v[DETECT] = s.accuracy;
    v[F1] = s.f1;
    return SL_OK;
}

static int32_t doc_of(const teller *t, int64_t i)
{
    return t->d->doc ? t->d->doc[t->rows[i]] : (int32_t)((int64_t)t->rows[i] * SL_EVAL_BLOCKS / t->d->n_rows);
}

/* Every test row that fires, and for each the nearest silent test row of the same document. */
static sl_status fuzz(teller *t, const sl_explanation *e, double *v, sl_err *err)
{
    int64_t n = 0, wrong = 0;
    for (int64_t i = 0; i < t->n; i++) {
        if (!t->test[i] || !t->on[i])
            continue;
        t->fit[n] = sl_fit(&t->p, e, i);
        t->side[n++] = 1;
        int64_t silent = -1;
        for (int64_t away = 1; silent < 0 && away < t->n; away++) {
            for (int s = 0; s < 2 && silent < 0; s++) {
                int64_t k = s ? i + away : i - away;
                if (k >= 0 && k < t->n && t->test[k] && !t->on[k] && doc_of(t, k) == doc_of(t, i))
                    silent = k;
            }
            if (away > 64) /* far from it already */
                break;
        }
        if (silent >= 0) {
            t->fit[n] = sl_fit(&t->p, e, silent);
            t->side[n++] = 0;
            wrong++;
        }
    }
    v[FUZZ] = NAN;
    if (wrong < LEAST_TEST)
        return SL_OK;
    sl_probe_score s;
    SL_TRY(sl_probe_score_of(t->ctx, t->fit, t->side, n, &s, err));
    v[FUZZ] = s.auc;
    return SL_OK;
}

static double simulate(const teller *t, const sl_explanation *e)
{
    double sum[SL_TERMS + 1] = { 0 }, n[SL_TERMS + 1] = { 0 }, m[5] = { 0 }, rows = 0;
    for (int64_t i = 0; i < t->n; i++)
        if (t->train[i]) {
            int k = sl_explained(&t->p, e, i) + 1;
            sum[k] += (double)t->value[i];
            n[k]++;
        }
    for (int64_t i = 0; i < t->n; i++)
        if (t->test[i]) {
            int k = sl_explained(&t->p, e, i) + 1;
            double x = n[k] > 0 ? sum[k] / n[k] : 0, y = (double)t->value[i];
            const double part[] = { x, y, x * x, y * y, x * y };
            for (int q = 0; q < 5; q++)
                m[q] += part[q];
            rows++;
        }
    double vx = m[2] - m[0] * m[0] / rows, vy = m[3] - m[1] * m[1] / rows;
    return vx > 1e-12 * m[2] && vy > 0 ? (m[4] - m[0] * m[1] / rows) / sqrt(vx * vy) : 0; /* a constant prediction explains nothing */
}

static sl_status score(teller *t, int64_t j, double *v, sl_err *err)
{
    sl_explanation e;
    sl_token_scores s = { NAN, NAN, NAN };
    SL_TRY(sl_explain(t->ctx, &t->p, t->train, t->on, &e, err));
    SL_TRY(detect(t, &e, v, err));
    SL_TRY(fuzz(t, &e, v, err));
    v[SIM] = simulate(t, &e);
    if (t->d->corpus)
        SL_TRY(sl_token_scores_of(t->ctx, t->d, t->rows, t->on, t->n, (uint64_t)j, &s, err));
    v[INTRUDER] = s.intruder;
    v[PURITY] = s.purity;
    v[PURITY_REST] = s.purity_rest;
    return SL_OK;
}

/* ---- all of them ---- */

/* Latents in a random order, until LATENTS of them could be scored as they are and shuffled. */
static sl_status score_all(teller *t, const int32_t *perm, const int64_t *order, sl_err *err)
{
    for (int64_t i = 0; i < t->z.n_cols && t->scored < LATENTS; i++) {
        bool both = sl_fired(&t->z, order[i]) > 0;
        for (int shuffled = 1; both && shuffled >= 0; shuffled--) {
            take_latent(t, order[i], shuffled ? perm : NULL);
            both = enough(t);
            if (both)
                SL_TRY(score(t, order[i], t->got[shuffled] + t->scored * KINDS, err));
        }
        t->scored += both;
        if (sl_cancelled(t->ctx))
            return sl_fail(err, SL_CANCELLED, "explanations", NULL, "stopped");
    }
    return SL_OK;
}

static sl_status put_kind(teller *t, int kind, sl_metrics *out, sl_err *err)
{
    double v[LATENTS], chance = 0;
    int64_t n = 0, n_chance = 0;
    for (int64_t i = 0; i < t->scored; i++) {
        double x = t->got[0][i * KINDS + kind], y = t->got[1][i * KINDS + kind];
        if (isfinite(x))
            v[n++] = x;
        chance += isfinite(y) ? y : 0;
        n_chance += isfinite(y);
    }
    if (n == 0)
        return sl_metrics_null(t->ctx, out, names[kind], kind >= INTRUDER && !t->d->corpus ? "the rows have no text" : "no latent has the rows that it takes", err);
    sl_stat s = sl_stat_of(v, n);
    SL_TRY(sl_metrics_put(t->ctx, out, names[kind], s.mean, n, err));
    sl_metrics_floor(out, names[kind], n_chance ? chance / (double)n_chance : NAN);
    if (s.has_se)
        sl_metrics_interval(out, names[kind], s.lo, s.hi);
    return SL_OK;
}

typedef struct place { int32_t doc, pos, row; } place;

static int by_place(const void *a, const void *b)
{
    const place *x = a, *y = b;
    return x->doc != y->doc ? (x->doc > y->doc) - (x->doc < y->doc) : x->pos != y->pos ? (x->pos > y->pos) - (x->pos < y->pos) : x->row - y->row;
}

/* ROWS of them, evenly over all, in the order of the text. */
static sl_status pick_rows(teller *t, sl_err *err)
{
    const sl_eval_data *d = t->d;
    uint8_t *part = NULL;
    place *picked = sl_alloc(t->ctx, (size_t)d->n_rows * sizeof *picked);
    sl_status st;
    SL_GO(sl_have("explanations", 1, (const void *const[]){ picked }, err));
    SL_GO(sl_split_rows(t->ctx, d, 3, &part, err));
    for (int64_t r = 0; r < d->n_rows; r++) {
        t->at[r] = -1;
        if (d->n_rows <= ROWS || r * ROWS / d->n_rows != (r + 1) * ROWS / d->n_rows)
            picked[t->n++] = (place){ d->doc ? d->doc[r] : 0, d->pos ? d->pos[r] : 0, (int32_t)r };
    }
    qsort(picked, (size_t)t->n, sizeof *picked, by_place);
    for (int64_t i = 0; i < t->n; i++) {
        int32_t r = picked[i].row;
        t->rows[i] = r;
        t->at[r] = (int32_t)i;
        t->train[i] = part[r] < 2;
        t->test[i] = part[r] == 2;
    }
done:
    sl_free(t->ctx, part);
    sl_free(t->ctx, picked);
    return st;
}

static sl_status prepare(teller *t, sl_err *err)
{
    size_t n = t->d->n_rows < ROWS ? (size_t)t->d->n_rows : ROWS;
    SL_TRY(sl_columns_new(t->ctx, &t->d->z, &t->z, err));
    t->rows = sl_alloc(t->ctx, n * sizeof *t->rows);
    t->at = sl_alloc(t->ctx, (size_t)t->d->n_rows * sizeof *t->at);
    t->train = sl_alloc(t->ctx, n);
    t->test = sl_alloc(t->ctx, n);
    t->on = sl_alloc(t->ctx, n);
    t->value = sl_alloc(t->ctx, n * sizeof *t->value);
    t->fit = sl_alloc(t->ctx, 2 * n * sizeof *t->fit);
    t->side = sl_alloc(t->ctx, 2 * n);
    for (int i = 0; i < 2; i++)
        t->got[i] = sl_alloc(t->ctx, KINDS * LATENTS * sizeof *t->got[i]);
    SL_TRY(sl_have("explanations", 10, (const void *const[]){ t->rows, t->at, t->train, t->test, t->on, t->value, t->fit, t->side, t->got[0], t->got[1] }, err));
    SL_TRY(pick_rows(t, err));
    return sl_predicates_new(t->ctx, t->d, t->rows, t->n, &t->p, err);
}

static void release(teller *t)
{
    void *all[] = { t->rows, t->at, t->train, t->test, t->on, t->value, t->fit, t->side, t->got[0], t->got[1] };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        sl_free(t->ctx, all[i]);
    sl_predicates_release(t->ctx, &t->p);
    sl_columns_release(t->ctx, &t->z);
}

static sl_status run(sl_ctx *ctx, const sl_eval_data *d, sl_metrics *out, sl_err *err)
{
    teller t = { .ctx = ctx, .d = d };
    int32_t *perm = NULL;
    int64_t *order = NULL;
    sl_status st;
    if (!d->corpus && !d->g.row_ptr)
        return sl_put_nulls(ctx, out, names, "there is neither text nor truth to explain by", err);
    if (d->z.row_ptr[d->n_rows] == 0)
        return sl_put_nulls(ctx, out, names, "no latent fires", err);
    SL_GO(prepare(&t, err));
    SL_GO(sl_shuffled_rows(ctx, d->seed, d->n_rows, &perm, err));
    order = sl_alloc(ctx, (size_t)d->d_sae * sizeof *order);
    SL_GO(sl_have("explanations", 1, (const void *const[]){ order }, err));
    sl_rng r = sl_rng_at(d->seed, SL_RNG_EVAL, SL_DRAW_PICK, 2);
    sl_rng_perm(&r, order, d->d_sae);
    SL_GO(score_all(&t, perm, order, err));
    for (int kind = 0; st == SL_OK && kind < KINDS; kind++)
        st = put_kind(&t, kind, out, err);
done:
    sl_free(ctx, order);
    sl_free(ctx, perm);
    release(&t);
    return st;
}

const sl_family sl_family_explain = { "explain", "explanations in words", SL_NEED_CODES, names, run };
