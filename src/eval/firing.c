/* Family "firing": does a latent fire where its true feature does? Fires means z > 0.
 *   f1, prec, rec, phi          latent j against g = argmax |cos(d_j, f_g)|, mean over ALL latents, dead ones as 0 (SynthSAEBench, 2602.14687)
 *   f1_alive                    the same mean over the latents that fire
 *   f1_h, prec_h, rec_h, phi_h  mean over the true features that fire in these rows, of the latent matched one-to-one; unmatched: 0 (science.md G3)
 * Floors: rows of z shuffled. Intervals: jackknife over GROUPS groups of documents, the matching kept. */
#include "eval/families.h"
#include "eval/measured.h"

#include <math.h>

enum { GROUPS = 20, KINDS = 4, SETS = 3 };
enum { BY_LATENT, ALIVE, BY_FEATURE };

static const char *const names[] = { "f1", "prec", "rec", "phi", "f1_alive", "f1_h", "prec_h", "rec_h", "phi_h", NULL };

typedef struct tally {
    const sl_eval_data *d;
    sl_columns z, g;
    sl_matching match;
    uint8_t *group;             /* [n_rows] */
    int32_t *stamp;             /* [n_rows] the pair in which g last fired there, from 1 */
    int32_t pair;
    int64_t rows[GROUPS];       /* rows in each group */
    double sum[SETS][KINDS][GROUPS + 1]; /* over pairs; entry GROUPS: all rows, entry q: without group q */
    int64_t count[SETS];
} tally;

static void scores(sl_overlap o, double v[KINDS])
{
    v[0] = sl_f1(o);
    v[1] = sl_precision(o);
    v[2] = sl_recall(o);
    v[3] = sl_phi(o);
}

/* Adds the scores of latent j against feature g, over all rows and without each group. */
static void add_pair(tally *t, const int32_t *perm, int64_t j, int64_t g, bool sets[SETS])
{
    sl_overlap all = { .n = t->d->n_rows }, part[GROUPS] = { 0 };
    t->pair++;
    for (int64_t e = t->g.ptr[g]; e < t->g.ptr[g + 1]; e++) {
        t->stamp[t->g.row[e]] = t->pair;
        part[t->group[t->g.row[e]]].b++;
    }
    for (int64_t e = t->z.ptr[j]; e < t->z.ptr[j + 1]; e++) {
        int32_t row = perm ? perm[t->z.row[e]] : t->z.row[e];
        part[t->group[row]].a++;
        part[t->group[row]].both += t->stamp[row] == t->pair;
    }
    for (int q = 0; q < GROUPS; q++) {
        all.a += part[q].a;
        all.b += part[q].b;
        all.both += part[q].both;
    }
    for (int q = 0; q <= GROUPS; q++) {
        double v[KINDS];
        sl_overlap left = q == GROUPS ? all : (sl_overlap){ all.n - t->rows[q], all.a - part[q].a, all.b - part[q].b, all.both - part[q].both };
        scores(left, v);
        for (int s = 0; s < SETS; s++)
            for (int kind = 0; sets[s] && kind < KINDS; kind++)
                t->sum[s][kind][q] += v[kind];
    }
}

static void add_all(tally *t, const int32_t *perm)
{
    for (int s = 0; s < SETS; s++) {
        t->count[s] = 0;
        for (int i = 0; i < KINDS * (GROUPS + 1); i++)
            t->sum[s][i / (GROUPS + 1)][i % (GROUPS + 1)] = 0;
    }
    for (int64_t j = 0; j < t->d->d_sae; j++) {
        bool alive = sl_fired(&t->z, j) > 0;
        t->count[BY_LATENT]++;
        t->count[ALIVE] += alive;
        if (alive)
            add_pair(t, perm, j, t->match.best[j], (bool[SETS]){ true, true, false });
    }
    for (int64_t g = 0; g < t->d->n_truth; g++) {
        int32_t j = t->match.of_truth[g];
        t->count[BY_FEATURE] += sl_fired(&t->g, g) > 0;
        if (j >= 0 && sl_fired(&t->g, g) > 0)
            add_pair(t, perm, j, g, (bool[SETS]){ false, false, true });
    }
}

/* Jackknife over the groups that have rows: se^2 = (G - 1) / G sum (v_q - mean)^2, t interval with G - 1 degrees of freedom. */
static void put_interval(const tally *t, const char *name, int set, int kind, sl_metrics *out)
{
    double v[GROUPS], mean = 0, sq = 0, n = 0, value = t->sum[set][kind][GROUPS] / (double)t->count[set];
    for (int q = 0; q < GROUPS; q++) {
        v[q] = t->sum[set][kind][q] / (double)t->count[set];
        mean += t->rows[q] ? v[q] : 0;
        n += t->rows[q] > 0;
    }
    if (n < 2)
        return;
    mean /= n;
    for (int q = 0; q < GROUPS; q++)
        sq += t->rows[q] ? (v[q] - mean) * (v[q] - mean) : 0;
    double half = sl_t_quantile(.975, n - 1) * sqrt((n - 1) / n * sq);
    sl_metrics_interval(out, name, value - half, value + half);
}

static sl_status put(sl_ctx *ctx, tally *t, sl_metrics *out, sl_err *err)
{
    static const struct { int set, kind; } of[] = { { BY_LATENT, 0 }, { BY_LATENT, 1 }, { BY_LATENT, 2 }, { BY_LATENT, 3 }, { ALIVE, 0 },
                                                    { BY_FEATURE, 0 }, { BY_FEATURE, 1 }, { BY_FEATURE, 2 }, { BY_FEATURE, 3 } };
    add_all(t, NULL);
    for (int i = 0; names[i]; i++) {
        SL_TRY(sl_metrics_put(ctx, out, names[i], t->sum[of[i].set][of[i].kind][GROUPS] / (double)t->count[of[i].set], t->count[of[i].set], err));
        put_interval(t, names[i], of[i].set, of[i].kind, out);
    }
    int32_t *perm;
    SL_TRY(sl_shuffled_rows(ctx, t->d->seed, t->d->n_rows, &perm, err));
    add_all(t, perm);
    sl_free(ctx, perm);
    for (int i = 0; names[i]; i++)
        sl_metrics_floor(out, names[i], t->sum[of[i].set][of[i].kind][GROUPS] / (double)t->count[of[i].set]);
    return SL_OK;
}

static sl_status run(sl_ctx *ctx, const sl_eval_data *d, sl_metrics *out, sl_err *err)
{
    tally t = { .d = d };
    sl_status st;
    SL_GO(sl_columns_new(ctx, &d->z, &t.z, err));
    SL_GO(sl_columns_new(ctx, &d->g, &t.g, err));
    if (sl_alive(&t.z) == 0 || sl_alive(&t.g) == 0) {
        st = sl_put_nulls(ctx, out, names, sl_alive(&t.z) ? "no true feature fires" : "no latent fires", err);
        goto done;
    }
    SL_GO(sl_matching_new(ctx, d, &t.match, err));
    SL_GO(sl_split_rows(ctx, d, GROUPS, &t.group, err));
    t.stamp = sl_alloc(ctx, (size_t)d->n_rows * sizeof *t.stamp);
    SL_GO(sl_have("firing", 1, (const void *const[]){ t.stamp }, err));
    for (int64_t r = 0; r < d->n_rows; r++)
        t.rows[t.group[r]]++;
    SL_GO(put(ctx, &t, out, err));
done:
    sl_free(ctx, t.stamp);
    sl_free(ctx, t.group);
    sl_matching_release(ctx, &t.match);
    sl_columns_release(ctx, &t.g);
    sl_columns_release(ctx, &t.z);
    return st;
}

const sl_family sl_family_firing = {
    "firing", "where latents and true features fire", SL_NEED_DIRECTIONS | SL_NEED_TRUTH | SL_NEED_CODES | SL_NEED_TRUE_CODES, names, run
};
