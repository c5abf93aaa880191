/* Family "letters": first-letter absorption (Chanin et al. 2024, as SAEBench computes it: peers.md 4.5). For each letter: a probe on x finds the
 * direction p; a k-sparse probe finds the main latents (one more while F1 rises by more than RISE, at most MOST_MAIN); then for every word of
 * the test part that the probe gets right: does something else carry p where the main latents do not?
 *   absorb_letters       mean over letters of the mean fraction        absorb_letters_full   share of words with full absorption
 *   letters_used         letters whose probe has F1 > .6 on the test part; fewer than LEAST_LETTERS: null
 * Differs: latents are ranked by difference of means (SAEBench: by an L1 probe), and a latent's projection is z_j (d_j . p), not z_j cos, so that
 * decoders of any norm count right. Meant for models of 2B parameters and SAEs of 16k latents: on small ones letters are hardly hierarchical, and a
 * low value says little. Floors: rows of z shuffled. */
#include "eval/families.h"
#include "eval/letters.h"

#include <saelab/probe.h>

#include <math.h>
#include <string.h>

enum { N_LETTERS = 26, LEAST_LETTERS = 20, MOST_MAIN = 10, SIDE = 1500 /* training rows of each side */, LEAST_ROWS = 20, TOP = 3 };
#define RISE .03
#define PROBE_F1 .6
static const char *const names[] = { "absorb_letters", "absorb_letters_full", "letters_used", NULL };
static const sl_logistic_opts how = { .C = 1, .balanced = true, .max_iterations = 60 };

void sl_letter_word(const double *proj, const double *cos, const uint8_t *active, const uint8_t *is_main, int64_t n, double P, double *fraction, bool *full)
{
    double M = 0, A = 0, top[TOP] = { 0 }, best = 0;
    int64_t at = -1;
    bool main_off = true;
    for (int64_t j = 0; j < n; j++) {
        if (is_main[j]) {
            M += proj[j];
            main_off &= !active[j];
            continue;
        }
        if (proj[j] > best) {
            best = proj[j];
            at = j;
        }
        double v = cos[j] >= .1 && proj[j] > 0 ? proj[j] : 0;
        for (int t = 0; t < TOP; t++)
            if (v > top[t]) {
                double moved = top[t];
                top[t] = v;
                v = moved;
            }
    }
    for (int t = 0; t < TOP; t++)
        A += top[t];
    double a = A < P - M ? A : P - M;
    *fraction = M >= P || !(A / P >= .4) ? 0 : M <= 0 ? 1 : a / (a + M);
    *full = main_off && at >= 0 && cos[at] >= .025 && P >= 0 && best / P >= .4;
}

/* ---- rows and probes of a letter ---- */

typedef struct speller {
    sl_ctx *ctx;
    const sl_eval_data *d;
    const int32_t *y;           /* [n_rows] letters */
    uint8_t *part;              /* [n_rows] 3: test */
    const int32_t *perm;        /* [n_rows] row of z that goes with a row; NULL: the same */
    int32_t *rows;              /* [2 SIDE] training rows */
    uint8_t *on;                /* [2 SIDE] */
    int64_t n_train;
    double log_odds;            /* of the letter among all training rows */
    double *probe;              /* [d_in + 1] */
    double *few_w, *score;      /* [MOST_MAIN + 1], [n_rows] */
    float *few;                 /* [2 SIDE, MOST_MAIN] */
    double *difference;         /* [d_sae] */
    double *dot, *cos, *proj;   /* [d_sae] d_j . p, cos(d_j, p), z_j d_j . p */
    uint8_t *is_main, *active, *test_on; /* [d_sae], [d_sae], [n_rows] */
} speller;

static int64_t z_row(const speller *p, int64_t row) { return p->perm ? p->perm[row] : row; }

static bool pick_rows(speller *p, int letter)
{
    int64_t all[2] = { 0 }, seen[2] = { 0 }, taken[2] = { 0 };
    for (int64_t r = 0; r < p->d->n_rows; r++)
        if (p->y[r] >= 0 && p->part[r] != 3)
            all[p->y[r] == letter]++;
    p->n_train = 0;
    for (int64_t r = 0; r < p->d->n_rows; r++) {
        if (p->y[r] < 0 || p->part[r] == 3)
            continue;
        bool on = p->y[r] == letter;
        bool take = all[on] <= SIDE || seen[on] * SIDE / all[on] != (seen[on] + 1) * SIDE / all[on]; /* evenly over all */
        seen[on]++;
        if (!take)
            continue;
        p->rows[p->n_train] = (int32_t)r;
        p->on[p->n_train++] = on;
        taken[on]++;
    }
    if (taken[0] < LEAST_ROWS || taken[1] < LEAST_ROWS)
        return false;
    p->log_odds = log((double)all[1] / (double)all[0]);
    return true;
}

/* F1 of the probe on x over the test part; < 0 where a class is missing there. */
static sl_status probe_x(speller *p, int letter, double *f1, sl_err *err)
{
    const sl_design X = { .n_cols = p->d->d_in, .x = p->d->x };
    int64_t n = 0, pos = 0;
    SL_TRY(sl_logistic(p->ctx, &X, p->rows, p->on, p->n_train, &how, p->probe, err));
    p->probe[p->d->d_in] += p->log_odds; /* it was fitted to classes of equal weight */
    for (int64_t r = 0; r < p->d->n_rows; r++)
        if (p->y[r] >= 0 && p->part[r] == 3) {
            p->score[n] = sl_logistic_score(&X, r, p->probe);
            p->test_on[n++] = p->y[r] == letter;
            pos += p->y[r] == letter;
        }
    *f1 = -1;
    if (pos == 0 || pos == n)
        return SL_OK;
    sl_probe_score s;
    SL_TRY(sl_probe_score_of(p->ctx, p->score, p->test_on, n, &s, err));
    *f1 = s.f1;
    return SL_OK;
}

/* ---- main latents ---- */

static void differences(speller *p)
{
    double count[2] = { 0 };
    memset(p->difference, 0, (size_t)p->d->d_sae * sizeof *p->difference);
    for (int64_t i = 0; i < p->n_train; i++)
        count[p->on[i]]++;
    for (int64_t i = 0; i < p->n_train; i++)
        for (int64_t row = z_row(p, p->rows[i]), e = p->d->z.row_ptr[row]; e < p->d->z.row_ptr[row + 1]; e++)
            p->difference[p->d->z.idx[e]] += (p->on[i] ? 1 : -1) * (double)p->d->z.val[e] / count[p->on[i]];
}

/* Column k of `few` becomes latent j; columns are k + 1 then. */
static void add_column(speller *p, int k, int64_t j)
{
    for (int64_t i = p->n_train - 1; i >= 0; i--) {
        float v = 0;
        for (int64_t row = z_row(p, p->rows[i]), e = p->d->z.row_ptr[row]; e < p->d->z.row_ptr[row + 1]; e++)
            v = p->d->z.idx[e] == j ? p->d->z.val[e] : v;
        memmove(p->few + i * (k + 1), p->few + i * k, (size_t)k * sizeof *p->few);
        p->few[i * (k + 1) + k] = v;
    }
}

static sl_status find_main(speller *p, sl_err *err)
{
    double before = 0;
    int32_t own[2 * SIDE];
    for (int32_t i = 0; i < 2 * SIDE; i++)
        own[i] = i;
    differences(p);
    memset(p->is_main, 0, (size_t)p->d->d_sae);
    for (int k = 0; k < MOST_MAIN && k < p->d->d_sae; k++) {
        int64_t best = -1;
        for (int64_t j = 0; j < p->d->d_sae; j++)
            if (!p->is_main[j] && (best < 0 || fabs(p->difference[j]) > fabs(p->difference[best])))
                best = j;
        add_column(p, k, best);
        const sl_design X = { .n_cols = k + 1, .x = p->few };
        sl_probe_score s;
        SL_TRY(sl_logistic(p->ctx, &X, own, p->on, p->n_train, &how, p->few_w, err));
        for (int64_t i = 0; i < p->n_train; i++)
            p->score[i] = sl_logistic_score(&X, i, p->few_w);
        SL_TRY(sl_probe_score_of(p->ctx, p->score, p->on, p->n_train, &s, err));
        if (k > 0 && s.f1 <= before + RISE)
            break;
        p->is_main[best] = 1;
        before = s.f1;
    }
    return SL_OK;
}

/* ---- words ---- */

static void project_decoder(speller *p, double norm)
{
    int64_t d = p->d->d_in;
    for (int64_t j = 0; j < p->d->d_sae; j++) {
        double dot = 0, sq = 0;
        for (int64_t c = 0; c < d; c++) {
            double w = (double)p->d->W_dec[j * d + c];
            dot += w * p->probe[c] / norm;
            sq += w * w;
        }
        p->dot[j] = dot;
        p->cos[j] = sq > 0 ? dot / sqrt(sq) : 0;
    }
}

typedef struct spelled { double fraction, full; int64_t letters; } spelled; /* sums over letters */

static void score_words(speller *p, int letter, double norm, spelled *out)
{
    const sl_design X = { .n_cols = p->d->d_in, .x = p->d->x };
    double sum = 0, all = 0;
    int64_t words = 0;
    project_decoder(p, norm);
    for (int64_t r = 0; r < p->d->n_rows; r++) {
        double f = p->y[r] == letter && p->part[r] == 3 ? sl_logistic_score(&X, r, p->probe) : -1, fraction;
        bool full;
        if (!(f > 0))
            continue;
        memset(p->proj, 0, (size_t)p->d->d_sae * sizeof *p->proj);
        memset(p->active, 0, (size_t)p->d->d_sae);
        for (int64_t row = z_row(p, r), e = p->d->z.row_ptr[row]; e < p->d->z.row_ptr[row + 1]; e++) {
            p->proj[p->d->z.idx[e]] = (double)p->d->z.val[e] * p->dot[p->d->z.idx[e]];
            p->active[p->d->z.idx[e]] = 1;
        }
        sl_letter_word(p->proj, p->cos, p->active, p->is_main, p->d->d_sae, (f - p->probe[p->d->d_in]) / norm, &fraction, &full);
        sum += fraction;
        all += full;
        words++;
    }
    if (!words)
        return;
    out->letters++;
    out->fraction += sum / (double)words;
    out->full += all / (double)words;
}

/* Of the real rows (out[0]) and of shuffled ones (out[1]). */
static sl_status spell(speller *p, const int32_t *perm, spelled out[2], sl_err *err)
{
    out[0] = out[1] = (spelled){ 0 };
    for (int letter = 0; letter < N_LETTERS; letter++) {
        double f1, sq = 0;
        if (!pick_rows(p, letter))
            continue;
        SL_TRY(probe_x(p, letter, &f1, err));
        for (int64_t c = 0; c < p->d->d_in; c++)
            sq += p->probe[c] * p->probe[c];
        if (!(f1 > PROBE_F1) || !(sq > 0))
            continue;
        for (int shuffled = 0; shuffled < 2; shuffled++) {
            p->perm = shuffled ? perm : NULL;
            SL_TRY(find_main(p, err));
            score_words(p, letter, sqrt(sq), &out[shuffled]);
        }
    }
    return SL_OK;
}

/* ---- */

static sl_status prepare(speller *p, sl_err *err)
{
    size_t m = (size_t)p->d->d_sae, n = (size_t)p->d->n_rows, side = 2 * SIDE;
    SL_TRY(sl_split_rows(p->ctx, p->d, 4, &p->part, err));
    p->rows = sl_alloc(p->ctx, side * sizeof *p->rows);
    p->on = sl_alloc(p->ctx, side);
    p->probe = sl_alloc(p->ctx, (size_t)(p->d->d_in + 1) * sizeof *p->probe);
    p->few_w = sl_alloc(p->ctx, (MOST_MAIN + 1) * sizeof *p->few_w);
    p->score = sl_alloc(p->ctx, (n > side ? n : side) * sizeof *p->score);
    p->few = sl_alloc(p->ctx, side * MOST_MAIN * sizeof *p->few);
    p->difference = sl_alloc(p->ctx, m * sizeof *p->difference);
    p->dot = sl_alloc(p->ctx, m * sizeof *p->dot);
    p->cos = sl_alloc(p->ctx, m * sizeof *p->cos);
    p->proj = sl_alloc(p->ctx, m * sizeof *p->proj);
    p->is_main = sl_alloc(p->ctx, m);
    p->active = sl_alloc(p->ctx, m);
    p->test_on = sl_alloc(p->ctx, n);
    return sl_have("letters", 13, (const void *const[]){ p->rows, p->on, p->probe, p->few_w, p->score, p->few, p->difference, p->dot, p->cos, p->proj,
                                                         p->is_main, p->active, p->test_on }, err);
}

static void release(speller *p)
{
    void *all[] = { p->part, p->rows, p->on, p->probe, p->few_w, p->score, p->few, p->difference, p->dot, p->cos, p->proj, p->is_main, p->active, p->test_on };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        sl_free(p->ctx, all[i]);
}

static sl_status put(speller *p, const spelled s[2], sl_metrics *out, sl_err *err)
{
    SL_TRY(sl_metrics_put(p->ctx, out, "letters_used", (double)s[0].letters, p->d->n_rows, err));
    if (s[0].letters < LEAST_LETTERS)
        return sl_put_nulls(p->ctx, out, (const char *const[]){ "absorb_letters", "absorb_letters_full", NULL },
                            "fewer than 20 letters have a probe on x with F1 > .6", err);
    double n = (double)s[0].letters;
    sl_log(p->ctx, SL_LOG_WARN, "absorb_letters: meant for models of 2B parameters and 16k latents; a low value of a small model says little");
    SL_TRY(sl_put_floored(p->ctx, out, "absorb_letters", s[0].fraction / n, s[0].letters, s[1].fraction / n, err));
    return sl_put_floored(p->ctx, out, "absorb_letters_full", s[0].full / n, s[0].letters, s[1].full / n, err);
}

static sl_status run(sl_ctx *ctx, const sl_eval_data *d, sl_metrics *out, sl_err *err)
{
    speller p = { .ctx = ctx, .d = d };
    int32_t *perm = NULL;
    spelled s[2];
    sl_status st;
    for (int i = 0; i < d->n_labels; i++)
        if (strcmp(d->labels[i].name, "first_letter") == 0 && d->labels[i].n_classes == N_LETTERS)
            p.y = d->labels[i].y;
    if (!p.y || d->z.row_ptr[d->n_rows] == 0)
        return sl_put_nulls(ctx, out, names, p.y ? "no latent fires" : "the rows have no labels of first letters", err);
    SL_GO(prepare(&p, err));
    SL_GO(sl_shuffled_rows(ctx, d->seed, d->n_rows, &perm, err));
    SL_GO(spell(&p, perm, s, err));
    SL_GO(put(&p, s, out, err));
done:
    sl_free(ctx, perm);
    release(&p);
    return st;
}

const sl_family sl_family_letters = {
    "letters", "first-letter absorption", SL_NEED_DIRECTIONS | SL_NEED_X | SL_NEED_CODES | SL_NEED_LABELS, names, run
};
