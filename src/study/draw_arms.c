/* Arms beside one another: every seed a dot, the mean with its t interval, what chance gives; and fidelity against sparsity. */
#include "study/draw.h"

#include <saelab/stats.h>

#include <math.h>
#include <string.h>

typedef struct figure { const char *key, *title, *label; } figure;

static const figure FIGURES[] = {
    { "fvu", "Unexplained variance", "FVU (lower is better)" },
    { "ce_loss_score", "Loss recovered when spliced in", "share of the loss recovered" },
    { "mcc_dec_abs", "Directions found", "MCC of the decoder, |cos|" },
    { "f1_h", "Features found", "F1 of the matched latent (F1_h)" },
    { "f1_sel", "Features that one latent detects", "F1 of the selected latent" },
    { "absorb", "Absorption of children into parents", "absorption" },
    { "fss", "Stability of codes under noise", "FSS at gauss noise, eps .2" },
    { "auc", "Robustness over noise", "area under the FSS curve" },
    { "ood_gap", "Withheld combinations", "FVU on them minus FVU" },
    { "comp_f1", "Compositions found", "composition F1" },
    { "comp_f1_withheld", "Compositions of withheld pairs found", "composition F1 on withheld combinations" },
    { "comp_energy", "What compositions explain", "share of the variance" },
    { "gain", "Gain on the reference arm", "FVU of the reference minus FVU" },
    { "causal_pi", "Does attribution agree with ablation?", "Spearman of |attribution| and |change|" },
    { "dead_compositions", "Compositions that never fire", "share" },
};

/* The values of one metric: per arm, the seeds' own. */
typedef struct column { double *v; int64_t n; } column;

static int arm_of(const sl_drawing *d, json_t *r)
{
    const char *a = json_string_value(json_object_get(r, "arm")), *set = json_string_value(json_object_get(r, "dataset"));
    for (int i = 0; a && set && strcmp(set, d->now) == 0 && i < d->n_arms; i++)
        if (strcmp(d->arm[i], a) == 0)
            return i;
    return -1;
}

/* A key of the record, or of its map `in`. */
static sl_status read_columns(sl_drawing *d, const char *in, const char *key, column out[SL_DRAW_ARMS], int64_t *total, sl_err *err)
{
    size_t k;
    json_t *r;
    *total = 0;
    for (int i = 0; i < d->n_arms; i++) {
        out[i] = (column){ .v = sl_draw_numbers(d, (int64_t)json_array_size(d->records)) };
        if (!out[i].v)
            return sl_fail(err, SL_MEM, "plots", NULL, "no memory for the values of %s", key);
    }
    json_array_foreach(d->records, k, r) {
        int i = arm_of(d, r);
        json_t *v = json_object_get(in ? json_object_get(r, in) : r, key);
        if (i < 0 || !json_is_number(v))
            continue;
        out[i].v[out[i].n++] = json_number_value(v);
        (*total)++;
    }
    return SL_OK;
}

typedef struct points { double *x, *y, *lo, *hi; int64_t n; } points;

static sl_status new_points(sl_drawing *d, int64_t n, points *p, sl_err *err)
{
    *p = (points){ .x = sl_draw_numbers(d, n), .y = sl_draw_numbers(d, n), .lo = sl_draw_numbers(d, n), .hi = sl_draw_numbers(d, n) };
    return p->x && p->y && p->lo && p->hi ? SL_OK : sl_fail(err, SL_MEM, "plots", NULL, "no memory for %lld points", (long long)n);
}

static void add_point(points *p, double x, double y, double lo, double hi)
{
    p->x[p->n] = x;
    p->y[p->n] = y;
    p->lo[p->n] = lo;
    p->hi[p->n++] = hi;
}

/* Seeds stand side by side, left of the mean. */
static void fill(const column *c, int n_arms, points *seeds, points *means)
{
    for (int i = 0; i < n_arms; i++) {
        for (int64_t s = 0; s < c[i].n; s++)
            add_point(seeds, i - .12 - .16 * (c[i].n > 1 ? (double)s / (double)(c[i].n - 1) : 0), c[i].v[s], 0, 0);
        if (c[i].n == 0)
            continue;
        sl_stat t = sl_stat_of(c[i].v, c[i].n);
        add_point(means, i + .1, t.mean, t.has_se ? t.lo : t.mean, t.has_se ? t.hi : t.mean);
    }
}

static void fill_beside(const column *c, int n_arms, points *p)
{
    for (int i = 0; i < n_arms; i++)
        if (c[i].n > 0)
            add_point(p, i + .1, sl_stat_of(c[i].v, c[i].n).mean, 0, 0);
}

static sl_status draw_figure(sl_drawing *d, const figure *f, sl_err *err)
{
    column value[SL_DRAW_ARMS], floor[SL_DRAW_ARMS], control[SL_DRAW_ARMS];
    int64_t n, n_floor, n_control;
    points seeds, means, chance, random;
    const char *names[SL_DRAW_ARMS];
    char name[64];
    SL_TRY(read_columns(d, NULL, f->key, value, &n, err));
    if (n == 0)
        return SL_OK;
    SL_TRY(read_columns(d, "floor", f->key, floor, &n_floor, err));
    SL_TRY(read_columns(d, "control", f->key, control, &n_control, err));
    SL_TRY(new_points(d, n, &seeds, err));
    SL_TRY(new_points(d, d->n_arms, &means, err));
    SL_TRY(new_points(d, d->n_arms, &chance, err));
    SL_TRY(new_points(d, d->n_arms, &random, err));
    fill(value, d->n_arms, &seeds, &means);
    fill_beside(floor, d->n_arms, &chance);
    fill_beside(control, d->n_arms, &random);
    sl_series s[4] = { { .name = "each seed", .x = seeds.x, .y = seeds.y, .n = seeds.n },
                       { .name = "mean and 95% interval", .x = means.x, .y = means.y, .lo = means.lo, .hi = means.hi, .n = means.n } };
    int k = 2;
    if (n_floor > 0)
        s[k++] = (sl_series){ .name = "chance", .x = chance.x, .y = chance.y, .n = chance.n };
    if (n_control > 0)
        s[k++] = (sl_series){ .name = "random decoder", .x = random.x, .y = random.y, .n = random.n };
    for (int i = 0; i < d->n_arms; i++)
        names[i] = d->arm[i];
    snprintf(name, sizeof name, "arms_%s", f->key);
    sl_plot p = { .name = name, .title = f->title, .x_label = "", .y_label = f->label, .caption = "t interval over seeds; none where there is one seed.",
                  .kind = SL_PLOT_POINTS, .series = s, .n_series = k, .categories = names, .n_categories = d->n_arms };
    return sl_draw_write(d, &p, err);
}

/* Fidelity against sparsity: one series an arm, one point a seed. */
static sl_status draw_front(sl_drawing *d, sl_err *err)
{
    column l0[SL_DRAW_ARMS], fvu[SL_DRAW_ARMS];
    sl_series s[SL_DRAW_ARMS];
    int64_t n, m;
    SL_TRY(read_columns(d, NULL, "l0", l0, &n, err));
    SL_TRY(read_columns(d, NULL, "fvu", fvu, &m, err));
    if (n == 0 || n != m)
        return SL_OK;
    for (int i = 0; i < d->n_arms; i++)
        s[i] = (sl_series){ .name = d->arm[i], .x = l0[i].v, .y = fvu[i].v, .n = l0[i].n };
    sl_plot p = { .name = "l0_fvu", .title = "Fidelity and sparsity", .x_label = "L0 (latents per row)", .y_label = "FVU (lower is better)",
                  .caption = "A point a seed; arms compare fairly where their L0 is the same.", .kind = SL_PLOT_POINTS, .log_x = true, .log_y = true,
                  .series = s, .n_series = d->n_arms };
    return sl_draw_write(d, &p, err);
}

sl_status sl_draw_arms(sl_drawing *d, sl_err *err)
{
    for (size_t i = 0; i < sizeof FIGURES / sizeof FIGURES[0]; i++)
        SL_TRY(draw_figure(d, &FIGURES[i], err));
    return draw_front(d, err);
}
