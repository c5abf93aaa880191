/* The ablation of kinds of noise: a heat map of what each does to a metric, by its strength and its weight, against the plain arm. */
#include "study/draw.h"

#include "base/sorted.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_ROWS = 24, MOST_GAMMAS = 5, MOST_RANKS = 5, MOST_COLUMNS = MOST_GAMMAS * MOST_RANKS, MOST_CELLS = 1024 };

typedef struct figure { const char *key, *title, *label; } figure;

static const figure FIGURES[] = {
    { "f1_h", "Kinds of noise: features found", "F1_h, more than the plain arm's" },
    { "fss", "Kinds of noise: stability under gauss noise", "FSS, more than the plain arm's" },
    { "fvu", "Kinds of noise: unexplained variance", "FVU, more than the plain arm's" },
    { "ce_loss_score", "Kinds of noise: loss recovered when spliced in", "share, more than the plain arm's" },
};

typedef struct cell { int row; double strength, gamma, sum, n; } cell;
typedef struct grid {
    char row[MOST_ROWS][40];
    cell cell[MOST_CELLS];
    double gamma[MOST_GAMMAS];
    int n_rows, n_cells, n_gammas, n_ranks;
    double plain, n_plain;
} grid;

/* "inject", "inject invariant", "token random", "gauss symmetric" */
static void row_name(json_t *perturb, char out[40])
{
    const char *type = json_string_value(json_object_get(perturb, "type")), *target = json_string_value(json_object_get(perturb, "target")),
               *mode = json_string_value(json_object_get(perturb, "mode"));
    bool said = type && target && ((strcmp(type, "inject") == 0 && strcmp(target, "invariant") == 0) || strcmp(type, "token") == 0);
    bool usual = !mode || strcmp(mode, "stopgrad_clean") == 0;
    snprintf(out, 40, "%.12s%s%.10s%s%.12s", type ? type : "?", said ? " " : "", said ? target : "", usual ? "" : " ", usual ? "" : mode);
}

static int row_of(grid *g, json_t *perturb)
{
    char name[40];
    int i = 0;
    row_name(perturb, name);
    while (i < g->n_rows && strcmp(g->row[i], name) != 0)
        i++;
    if (i == MOST_ROWS)
        return -1;
    if (i == g->n_rows)
        memcpy(g->row[g->n_rows++], name, sizeof name);
    return i;
}

static bool same(double a, double b) { return fabs(a - b) <= 1e-9 * (fabs(a) + fabs(b)); }

static int cell_of(grid *g, int row, double strength, double gamma)
{
    int i = 0;
    while (i < g->n_cells && !(g->cell[i].row == row && same(g->cell[i].strength, strength) && same(g->cell[i].gamma, gamma)))
        i++;
    if (i == MOST_CELLS)
        return -1;
    if (i == g->n_cells)
        g->cell[g->n_cells++] = (cell){ .row = row, .strength = strength, .gamma = gamma };
    return i;
}

/* How many strengths of the cell's kind are weaker. */
static int rank_of(const grid *g, const cell *c)
{
    int n = 0;
    for (int i = 0; i < g->n_cells; i++) {
        bool first = true;
        for (int j = 0; j < i; j++)
            first = first && !(g->cell[j].row == c->row && same(g->cell[j].strength, g->cell[i].strength));
        n += first && g->cell[i].row == c->row && !same(g->cell[i].strength, c->strength) && g->cell[i].strength < c->strength;
    }
    return n;
}

static void find_columns(grid *g)
{
    for (int i = 0; i < g->n_cells; i++) {
        int k = 0, rank = rank_of(g, &g->cell[i]);
        while (k < g->n_gammas && !same(g->gamma[k], g->cell[i].gamma))
            k++;
        if (k == g->n_gammas && k < MOST_GAMMAS)
            g->gamma[g->n_gammas++] = g->cell[i].gamma;
        g->n_ranks = rank >= g->n_ranks && rank < MOST_RANKS ? rank + 1 : g->n_ranks;
    }
    qsort(g->gamma, (size_t)g->n_gammas, sizeof *g->gamma, sl_rising);
}

/* Column of a cell: strengths side by side, in each the weights; -1: there are too many. */
static int column_of(const grid *g, const cell *c)
{
    int k = 0, rank = rank_of(g, c);
    while (k < g->n_gammas && !same(g->gamma[k], c->gamma))
        k++;
    return rank < g->n_ranks && k < g->n_gammas ? rank * g->n_gammas + k : -1;
}

/* Points of grids only; the plain arm is the one of them that is not perturbed, and the mean of its seeds what the others are compared with. */
static void fill(const sl_drawing *d, const char *key, grid *g)
{
    size_t k;
    json_t *r;
    const char *plain = NULL;
    json_array_foreach(d->records, k, r) {
        const char *set = json_string_value(json_object_get(r, "dataset")), *arm = json_string_value(json_object_get(r, "arm"));
        json_t *v = json_object_get(r, key), *p = json_object_get(r, "perturb");
        if (!set || !arm || strcmp(set, d->now) != 0 || !json_is_number(v) || !json_is_string(json_object_get(r, "sweep")))
            continue;
        if (!json_is_object(p)) {
            plain = plain ? plain : arm;
            g->plain += strcmp(arm, plain) == 0 ? json_number_value(v) : 0;
            g->n_plain += strcmp(arm, plain) == 0;
            continue;
        }
        int row = row_of(g, p);
        int at = row < 0 ? -1 : cell_of(g, row, json_number_value(json_object_get(p, "strength")), json_number_value(json_object_get(p, "gamma")));
        if (at < 0)
            continue;
        g->cell[at].sum += json_number_value(v);
        g->cell[at].n += 1;
    }
}

/* Rows of the picture; returns how many cells have a value, -1 without memory. */
static int fill_rows(sl_drawing *d, grid *g, sl_series s[MOST_ROWS])
{
    int n = g->n_ranks * g->n_gammas, cells = 0;
    for (int r = 0; r < g->n_rows; r++) {
        double *y = sl_draw_numbers(d, n);
        if (!y)
            return -1;
        for (int c = 0; c < n; c++)
            y[c] = NAN;
        s[r] = (sl_series){ .name = g->row[r], .x = y, .y = y, .n = n };
        for (int i = 0; i < g->n_cells; i++) {
            int c = g->cell[i].row == r ? column_of(g, &g->cell[i]) : -1;
            if (c < 0)
                continue;
            y[c] = g->cell[i].sum / g->cell[i].n - g->plain / g->n_plain;
            cells++;
        }
    }
    return cells;
}

static void name_columns(const grid *g, char name[MOST_COLUMNS][32], const char *names[MOST_COLUMNS])
{
    static const char *const strengths[][MOST_RANKS] = { { "" }, { "weak", "strong" }, { "weak", "medium", "strong" }, { "1", "2", "3", "4" }, { "1", "2", "3", "4", "5" } };
    for (int c = 0; c < g->n_ranks * g->n_gammas; c++) {
        snprintf(name[c], 32, "%s", strengths[g->n_ranks - 1][c / g->n_gammas]);
        if (g->n_gammas > 1)
            snprintf(name[c] + strlen(name[c]), 32 - strlen(name[c]), "%s%.3g", g->n_ranks > 1 ? ", " : "", g->gamma[c % g->n_gammas]);
        names[c] = name[c];
    }
}

static sl_status draw_figure(sl_drawing *d, const figure *f, sl_err *err)
{
    grid *g = sl_arena_alloc(d->arena, sizeof *g);
    sl_series s[MOST_ROWS];
    char column[MOST_COLUMNS][32], name[64];
    const char *names[MOST_COLUMNS];
    if (!g)
        return sl_fail(err, SL_MEM, "plots", NULL, "no memory for the ablation");
    memset(g, 0, sizeof *g);
    fill(d, f->key, g);
    find_columns(g);
    int n = g->n_ranks * g->n_gammas, cells = fill_rows(d, g, s);
    if (cells < 0)
        return sl_fail(err, SL_MEM, "plots", NULL, "no memory for the ablation");
    if (!(g->n_plain > 0) || g->n_rows < 2 || n < 2 || 2 * cells < g->n_rows * n) /* no grid */
        return SL_OK;
    name_columns(g, column, names);
    snprintf(name, sizeof name, "ablation_%s", f->key);
    sl_plot p = { .name = name, .title = f->title, .x_label = "strength, weight gamma", .y_label = f->label,
                  .caption = "Against the plain arm at equal steps, mean of the seeds; exploratory, no claim. Strengths: eps of gauss, uniform, shaped, mask, direct, fgsm, pgd, latent; "
                             "alpha of inject; q of featdrop; bits of quant; share of changed tokens.",
                  .kind = SL_PLOT_CELLS, .series = s, .n_series = g->n_rows, .categories = names, .n_categories = n };
    return sl_draw_write(d, &p, err);
}

sl_status sl_draw_ablation(sl_drawing *d, sl_err *err)
{
    for (size_t i = 0; i < sizeof FIGURES / sizeof FIGURES[0]; i++)
        SL_TRY(draw_figure(d, &FIGURES[i], err));
    return SL_OK;
}
