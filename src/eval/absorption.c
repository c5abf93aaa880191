/* Family "hierarchy": does a child silence its parent's latent? For each parent matched with |cos| >= .5 by latent j:
 *   absorb           P(z_j = 0 | parent, child) - P(z_j = 0 | parent, no child)     (science.md G3), mean over the parents
 *   absorb_rate      P(z_j = 0 | parent, child)                                     (science.md D2)
 *   absorb_unmatched share of the parents without such a latent
 * A parent needs LEAST rows with a child and LEAST without. A k below the true L0 raises both: repeat with an evaluation k of 2 L0.
 * Floors: rows of z shuffled. */
#include "eval/families.h"
#include "eval/measured.h"

#include <math.h>

enum { LEAST = 5 };
static const char *const names[] = { "absorb", "absorb_rate", "absorb_unmatched", NULL };

typedef struct silent { int64_t n, off; } silent; /* rows, and those in which the latent is off */

static bool fires_in(const sl_sparse *z, int64_t row, int32_t latent)
{
    for (int64_t e = z->row_ptr[row]; e < z->row_ptr[row + 1]; e++)
        if (z->idx[e] == latent)
            return true;
    return false;
}

static bool child_in(const sl_eval_data *d, int64_t row, int64_t parent)
{
    for (int64_t e = d->g.row_ptr[row]; e < d->g.row_ptr[row + 1]; e++)
        if (d->parent[d->g.idx[e]] == parent)
            return true;
    return false;
}

static void count(const sl_eval_data *d, const sl_columns *g, const int32_t *perm, int64_t parent, int32_t latent, silent with[2])
{
    with[0] = with[1] = (silent){ 0 };
    for (int64_t e = g->ptr[parent]; e < g->ptr[parent + 1]; e++) {
        int64_t row = g->row[e];
        silent *s = &with[child_in(d, row, parent)];
        s->n++;
        s->off += !fires_in(&d->z, perm ? perm[row] : row, latent);
    }
}

typedef struct found { double score, rate; int64_t parents, matched, scored; } found; /* sums over the parents scored */

/* score and matched as sl_absorption_by_parent, or NULL */
static found walk(const sl_eval_data *d, const sl_columns *g, const sl_matching *k, const bool *is_parent, const int32_t *perm, double *score, uint8_t *matched)
{
    found f = { 0 };
    for (int64_t p = 0; p < d->n_truth; p++) {
        if (score)
            score[p] = NAN;
        if (matched)
            matched[p] = 0;
        if (!is_parent[p])
            continue;
        f.parents++;
        int32_t j = k->of_truth[p];
        if (j < 0 || fabs((double)k->cos[j * d->n_truth + p]) < SL_MATCHED_COS)
            continue;
        f.matched++;
        if (matched)
            matched[p] = 1;
        silent with[2];
        count(d, g, perm, p, j, with);
        if (with[0].n < LEAST || with[1].n < LEAST)
            continue;
        double rate = (double)with[1].off / (double)with[1].n, own = rate - (double)with[0].off / (double)with[0].n;
        f.scored++;
        f.rate += rate;
        f.score += own;
        if (score)
            score[p] = own;
    }
    return f;
}

typedef struct parts { sl_columns g; sl_matching match; bool *is_parent; int64_t n_parents; } parts;

static sl_status prepare(sl_ctx *ctx, const sl_eval_data *d, parts *p, sl_err *err)
{
    SL_TRY(sl_columns_new(ctx, &d->g, &p->g, err));
    SL_TRY(sl_matching_new(ctx, d, &p->match, err));
    p->is_parent = sl_alloc(ctx, (size_t)d->n_truth * sizeof *p->is_parent);
    SL_TRY(sl_have("hierarchy", 1, (const void *const[]){ p->is_parent }, err));
    for (int64_t g = 0; g < d->n_truth; g++)
        if (d->parent[g] >= 0 && !p->is_parent[d->parent[g]]) {
            p->is_parent[d->parent[g]] = true;
            p->n_parents++;
        }
    return SL_OK;
}

static void release(sl_ctx *ctx, parts *p)
{
    sl_free(ctx, p->is_parent);
    sl_matching_release(ctx, &p->match);
    sl_columns_release(ctx, &p->g);
}

sl_status sl_absorption_by_parent(sl_ctx *ctx, const sl_eval_data *d, double *score, uint8_t *matched, sl_err *err)
{
    if (!d->z.row_ptr || !d->W_dec || !d->truth || !d->g.row_ptr || !d->parent)
        return sl_fail(err, SL_ARG, "absorption", "codes, directions, true codes and directions, parents", "something is missing");
    SL_TRY(sl_eval_data_check(d, err));
    parts p = { 0 };
    sl_status st = prepare(ctx, d, &p, err);
    if (st == SL_OK)
        walk(d, &p.g, &p.match, p.is_parent, NULL, score, matched);
    release(ctx, &p);
    return st;
}

static sl_status put(sl_ctx *ctx, const sl_eval_data *d, const parts *p, sl_metrics *out, sl_err *err)
{
    found f = walk(d, &p->g, &p->match, p->is_parent, NULL, NULL, NULL);
    SL_TRY(sl_metrics_put(ctx, out, "absorb_unmatched", 1 - (double)f.matched / (double)f.parents, f.parents, err));
    if (f.scored == 0)
        return sl_put_nulls(ctx, out, (const char *const[]){ "absorb", "absorb_rate", NULL },
                            f.matched ? "no matched parent has 5 rows with a child and 5 without" : "no parent is matched with |cos| >= .5", err);
    int32_t *perm;
    SL_TRY(sl_shuffled_rows(ctx, d->seed, d->n_rows, &perm, err));
    found chance = walk(d, &p->g, &p->match, p->is_parent, perm, NULL, NULL);
    sl_free(ctx, perm);
    SL_TRY(sl_put_floored(ctx, out, "absorb", f.score / (double)f.scored, f.scored, chance.score / (double)f.scored, err));
    return sl_put_floored(ctx, out, "absorb_rate", f.rate / (double)f.scored, f.scored, chance.rate / (double)f.scored, err);
}

static sl_status run(sl_ctx *ctx, const sl_eval_data *d, sl_metrics *out, sl_err *err)
{
    parts p = { 0 };
    sl_status st = prepare(ctx, d, &p, err);
    if (st == SL_OK && p.n_parents == 0)
        st = sl_put_nulls(ctx, out, names, "no true feature has a child", err);
    else if (st == SL_OK && d->z.row_ptr[d->n_rows] == 0)
        st = sl_put_nulls(ctx, out, names, "no latent fires", err);
    else if (st == SL_OK)
        st = put(ctx, d, &p, out, err);
    release(ctx, &p);
    return st;
}

const sl_family sl_family_hierarchy = {
    "hierarchy", "children that silence their parent's latent",
    SL_NEED_DIRECTIONS | SL_NEED_TRUTH | SL_NEED_CODES | SL_NEED_TRUE_CODES | SL_NEED_PARENTS, names, run
};
