/* Is a branch more than main effects? Ridge regression of y on [1, z, 1(z > 0)], fitted on three fifths of the documents, penalty chosen on one
 * fifth, scored on the last (science.md C7). The penalty of a column is lambda times its sum of squares: the same for all units of z. */
#include "eval/compose.h"
#include "kern/linalg.h"

#include <math.h>
#include <string.h>

enum { PARTS = 5, CHOOSES = 3, SCORES = 4, MIN_ROWS = 50 };
static const double penalties[] = { 1e-5, 1e-3, 1e-2, 1e-1, 1 };
enum { N_PENALTIES = sizeof penalties / sizeof *penalties };

typedef struct ridge {
    const sl_eval_data *d;
    const float *y;
    int64_t dim, n_live, p;  /* p = 1 + 2 n_live columns */
    int32_t *live;           /* [d_sae] place among those that fire where it is fitted, -1 */
    uint8_t *part;           /* [n_rows] */
    double *gram, *cross;    /* [p, p], [p, dim] */
    double *work, *w, *at;   /* [p, p], [p, dim], [dim] */
} ridge;

static bool prepare(sl_ctx *ctx, ridge *g)
{
    for (int64_t j = 0; j < g->d->d_sae; j++)
        g->live[j] = -1;
    for (int64_t r = 0; r < g->d->n_rows; r++)
        for (int64_t e = g->d->z.row_ptr[r]; g->part[r] < CHOOSES && e < g->d->z.row_ptr[r + 1]; e++)
            if (g->live[g->d->z.idx[e]] < 0)
                g->live[g->d->z.idx[e]] = (int32_t)g->n_live++;
    g->p = 1 + 2 * g->n_live;
    if (g->n_live > SL_RIDGE_LATENTS)
        return false;
    size_t square = (size_t)(g->p * g->p) * sizeof(double), tall = (size_t)(g->p * g->dim) * sizeof(double);
    g->gram = sl_alloc(ctx, square);
    g->work = sl_alloc(ctx, square);
    g->cross = sl_alloc(ctx, tall);
    g->w = sl_alloc(ctx, tall);
    g->at = sl_alloc(ctx, (size_t)g->dim * sizeof *g->at);
    return true;
}

/* The columns that are not 0 in a row: the constant, then value and indicator of each active latent. Returns how many. */
static int64_t columns_of(const ridge *g, int64_t row, int64_t *col, double *v)
{
    int64_t n = 1;
    col[0] = 0;
    v[0] = 1;
    for (int64_t e = g->d->z.row_ptr[row]; e < g->d->z.row_ptr[row + 1]; e++) {
        int64_t j = g->live[g->d->z.idx[e]];
        if (j < 0)
            continue;
        col[n] = 1 + 2 * j;
        v[n++] = (double)g->d->z.val[e];
        col[n] = 2 + 2 * j;
        v[n++] = 1;
    }
    return n;
}

static void add_row(ridge *g, int64_t row, const int64_t *col, const double *v, int64_t n)
{
    for (int64_t a = 0; a < n; a++) {
        for (int64_t b = 0; b < n; b++)
            g->gram[col[a] * g->p + col[b]] += v[a] * v[b];
        for (int64_t k = 0; k < g->dim; k++)
            g->cross[col[a] * g->dim + k] += v[a] * (double)g->y[row * g->dim + k];
    }
}

static sl_status solve(ridge *g, double penalty, sl_err *err)
{
    memcpy(g->work, g->gram, (size_t)(g->p * g->p) * sizeof *g->work);
    memcpy(g->w, g->cross, (size_t)(g->p * g->dim) * sizeof *g->w);
    for (int64_t c = 1; c < g->p; c++)
        g->work[c * g->p + c] *= 1 + penalty;
    return sl_solve_spd(g->work, g->p, g->w, g->dim, err);
}

/* Sum of squares that w leaves on the rows of a part. */
static double left_on(ridge *g, int part, int64_t *col, double *v)
{
    double left = 0;
    for (int64_t r = 0; r < g->d->n_rows; r++) {
        if (g->part[r] != part)
            continue;
        int64_t n = columns_of(g, r, col, v);
        for (int64_t k = 0; k < g->dim; k++)
            g->at[k] = (double)g->y[r * g->dim + k];
        for (int64_t a = 0; a < n; a++)
            for (int64_t k = 0; k < g->dim; k++)
                g->at[k] -= v[a] * g->w[col[a] * g->dim + k];
        for (int64_t k = 0; k < g->dim; k++)
            left += g->at[k] * g->at[k];
    }
    return left;
}

static sl_status fit(ridge *g, int64_t *col, double *v, double *left, sl_err *err)
{
    double least = INFINITY;
    for (int64_t r = 0; r < g->d->n_rows; r++)
        if (g->part[r] < CHOOSES)
            add_row(g, r, col, v, columns_of(g, r, col, v));
    for (int i = 0; i < N_PENALTIES; i++) {
        SL_TRY(solve(g, penalties[i], err));
        double now = left_on(g, CHOOSES, col, v);
        if (now < least) {
            least = now;
            *left = left_on(g, SCORES, col, v);
        }
    }
    return SL_OK;
}

static sl_status check_parts(const ridge *g, sl_err *err)
{
    int64_t rows[PARTS] = { 0 };
    for (int64_t r = 0; r < g->d->n_rows; r++)
        rows[g->part[r]]++;
    for (int i = 0; i < PARTS; i++)
        if (rows[i] == 0)
            return sl_fail(err, SL_DATA, "regression of the branch", NULL, "too few documents to split");
    return SL_OK;
}

sl_status sl_ridge_left(sl_ctx *ctx, const sl_eval_data *d, const float *y, int64_t dim, double *left, uint8_t *scored, sl_err *err)
{
    ridge g = { .d = d, .y = y, .dim = dim };
    int64_t *col = sl_alloc(ctx, (size_t)(1 + 2 * d->d_sae) * sizeof *col);
    double *v = sl_alloc(ctx, (size_t)(1 + 2 * d->d_sae) * sizeof *v);
    g.live = sl_alloc(ctx, (size_t)d->d_sae * sizeof *g.live);
    sl_status st;
    SL_GO(sl_have("regression of the branch", 3, (const void *const[]){ col, v, g.live }, err));
    SL_GO(d->n_rows < MIN_ROWS ? sl_fail(err, SL_DATA, "regression of the branch", NULL, "fewer than %d rows", (int)MIN_ROWS) : SL_OK);
    SL_GO(sl_split_rows(ctx, d, PARTS, &g.part, err));
    SL_GO(check_parts(&g, err));
    SL_GO(prepare(ctx, &g) ? SL_OK : sl_fail(err, SL_DATA, "regression of the branch", NULL, "more than %d live latents", (int)SL_RIDGE_LATENTS));
    SL_GO(sl_have("regression of the branch", 5, (const void *const[]){ g.gram, g.work, g.cross, g.w, g.at }, err));
    SL_GO(fit(&g, col, v, left, err));
    for (int64_t r = 0; r < d->n_rows; r++)
        scored[r] = g.part[r] == SCORES;
done:
    sl_free(ctx, g.at);
    sl_free(ctx, g.w);
    sl_free(ctx, g.cross);
    sl_free(ctx, g.work);
    sl_free(ctx, g.gram);
    sl_free(ctx, g.part);
    sl_free(ctx, g.live);
    sl_free(ctx, v);
    sl_free(ctx, col);
    return st;
}
