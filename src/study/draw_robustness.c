/* Robustness curves: sae-ARM-seedN/stability.json of all seeds of an arm, averaged. */
#include "study/draw.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_POINTS = 32, MOST_SEEDS = 100 };

typedef struct curve { double x[MOST_POINTS], y[MOST_POINTS], lo[MOST_POINTS], hi[MOST_POINTS]; int64_t n, seeds[MOST_POINTS]; } curve;

static double number_at(json_t *list, int64_t i)
{
    json_t *v = json_array_get(list, (size_t)i);
    return json_is_number(v) ? json_number_value(v) : NAN;
}

/* Adds a seed's curve: the mean over seeds, and their range. With one seed the range is its own interval. */
static void add_seed(curve *c, json_t *noise)
{
    json_t *x = json_object_get(noise, "achieved"), *fss = json_object_get(noise, "fss"), *y = json_object_get(fss, "y");
    int64_t n = (int64_t)json_array_size(x);
    for (int64_t i = 0; i < n && i < MOST_POINTS; i++) {
        double v = number_at(y, i);
        if (!isfinite(v))
            continue;
        bool first = c->seeds[i] == 0;
        double lo = number_at(json_object_get(fss, "lo"), i), hi = number_at(json_object_get(fss, "hi"), i);
        double k = (double)c->seeds[i]++;
        c->x[i] = (c->x[i] * k + number_at(x, i)) / (k + 1);
        c->y[i] = (c->y[i] * k + v) / (k + 1);
        c->lo[i] = first ? (isfinite(lo) ? lo : v) : fmin(c->lo[i], v);
        c->hi[i] = first ? (isfinite(hi) ? hi : v) : fmax(c->hi[i], v);
        c->n = i + 1 > c->n ? i + 1 : c->n;
    }
}

static sl_status read_arm(sl_drawing *d, const char *arm, const char *noise, curve *c, sl_err *err)
{
    char folder[150], path[SL_PATH + 200];
    *c = (curve){ .n = 0 };
    for (int64_t s = 0; s < MOST_SEEDS; s++) {
        json_t *j = NULL;
        sl_results_folder(folder, sizeof folder, *d->tag ? d->now : "", arm, s);
        snprintf(path, sizeof path, "%.1000s/%s/stability.json", d->dir, folder);
        if (!sl_path_exists(path))
            continue;
        SL_TRY(sl_json_load_file(d->ctx, path, &j, err));
        add_seed(c, json_object_get(json_object_get(j, "curves"), noise));
        json_decref(j);
    }
    return SL_OK;
}

/* Points that are null in every seed are left out. */
static void squeeze(curve *c)
{
    int64_t n = 0;
    for (int64_t i = 0; i < c->n; i++)
        if (c->seeds[i] > 0) {
            c->x[n] = c->x[i];
            c->y[n] = c->y[i];
            c->lo[n] = c->lo[i];
            c->hi[n++] = c->hi[i];
        }
    c->n = n;
}

static sl_status draw_noise(sl_drawing *d, const char *noise, sl_err *err)
{
    curve *c = sl_arena_alloc(d->arena, SL_DRAW_ARMS * sizeof *c);
    sl_series s[SL_DRAW_ARMS];
    char name[64], title[128];
    int n = 0;
    if (!c)
        return sl_fail(err, SL_MEM, "plots", NULL, "no memory for robustness curves");
    for (int i = 0; i < d->n_arms; i++) {
        SL_TRY(read_arm(d, d->arm[i], noise, &c[n], err));
        squeeze(&c[n]);
        if (c[n].n > 0) {
            s[n] = (sl_series){ .name = d->arm[i], .x = c[n].x, .y = c[n].y, .lo = c[n].lo, .hi = c[n].hi, .n = c[n].n };
            n++;
        }
    }
    snprintf(name, sizeof name, "robustness_%s", noise);
    snprintf(title, sizeof title, "Robustness of codes: %s", noise);
    sl_plot p = { .name = name, .title = title, .x_label = "achieved magnitude, mean |delta| / |x|", .y_label = "FSS (1: the code does not change)",
                  .caption = "Line: mean of the seeds; band: their range, or the 95% interval over documents where there is one seed.",
                  .kind = SL_PLOT_LINES, .series = s, .n_series = n };
    return n > 0 ? sl_draw_write(d, &p, err) : SL_OK;
}

sl_status sl_draw_robustness(sl_drawing *d, sl_err *err)
{
    static const char *const noises[] = { "gauss", "uniform", "shaped", "mask", "mask_rotated", "featdrop", "inject", "direct", "fgsm", "pgd", "quant", "latent" };
    for (size_t i = 0; i < sizeof noises / sizeof noises[0]; i++)
        SL_TRY(draw_noise(d, noises[i], err));
    return SL_OK;
}
