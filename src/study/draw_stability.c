/* Pictures of perturbation training: what noise does to activations, whether robust latents are the reproducible ones, what a step costs, arms at
 * equal steps beside arms at equal compute, and the ablation of kinds of noise. */
#include "study/draw.h"

#include <saelab/measure.h>
#include <saelab/stats.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_SEEDS = 100, MOST_ARMS_APART = 6, TENTHS = 10 };

/* sae-ARM-seedS/FILE; NULL when it is not there. */
static json_t *arm_file(sl_drawing *d, const char *arm, int64_t seed, const char *file)
{
    char folder[150], path[SL_PATH + 220];
    json_t *j = NULL;
    sl_results_folder(folder, sizeof folder, *d->tag ? d->now : "", arm, seed);
    snprintf(path, sizeof path, "%.1000s/%s/%s", d->dir, folder, file);
    return sl_path_exists(path) && sl_json_load_file(d->ctx, path, &j, NULL) == SL_OK ? j : NULL;
}

/* ---- activations, clean and perturbed ---- */

typedef struct magnitudes { double x[SL_RATE_BINS], clean[SL_RATE_BINS], noisy[SL_RATE_BINS], n[2]; bool curves; } magnitudes;

static void add_magnitudes(magnitudes *m, json_t *j)
{
    json_t *a = json_object_get(j, "magnitude"), *b = json_object_get(j, "magnitude_perturbed");
    for (size_t i = 0; i < SL_RATE_BINS; i++) {
        double u = json_number_value(json_array_get(a, i)), v = json_number_value(json_array_get(b, i));
        m->clean[i] += u;
        m->noisy[i] += v;
        m->n[0] += u;
        m->n[1] += v;
    }
    m->curves = m->curves || json_object_size(json_object_get(j, "curves")) > 0;
}

static sl_status draw_activations(sl_drawing *d, const char *arm, sl_err *err)
{
    magnitudes m = { .n = { 0 } };
    char name[96], title[128];
    for (int64_t s = 0; s < MOST_SEEDS; s++) {
        json_t *j = arm_file(d, arm, s, "stability.json");
        if (j)
            add_magnitudes(&m, j);
        json_decref(j);
    }
    if (!m.curves || !(m.n[0] > 0) || !(m.n[1] > 0)) /* only where robustness is the run's subject */
        return SL_OK;
    double apart = 0, below[2] = { 0 };
    for (int i = 0; i < SL_RATE_BINS; i++) {
        m.x[i] = pow(2, SL_RATE_MAG_MIN + i);
        m.clean[i] /= m.n[0];
        m.noisy[i] /= m.n[1];
        below[0] += m.clean[i];
        below[1] += m.noisy[i];
        apart = fmax(apart, fabs(below[0] - below[1]));
    }
    sl_series s[] = { { .name = "clean", .x = m.x, .y = m.clean, .n = SL_RATE_BINS }, { .name = "gauss noise, eps .2", .x = m.x, .y = m.noisy, .n = SL_RATE_BINS } };
    snprintf(name, sizeof name, "activations_noise_%.40s", arm);
    snprintf(title, sizeof title, "Active values under noise: %.48s", arm);
    char caption[128];
    snprintf(caption, sizeof caption, "Held-out rows, octave bins, all seeds. Kolmogorov-Smirnov distance of the two: %.3f (over bins).", apart);
    sl_plot p = { .name = name, .title = title, .x_label = "activation of a firing latent", .y_label = "share of firings", .caption = caption,
                  .kind = SL_PLOT_STEPS, .log_x = true, .series = s, .n_series = 2 };
    return sl_draw_write(d, &p, err);
}

/* ---- are robust latents the reproducible ones? ---- */

typedef struct tenths { double x[TENTHS], y[TENTHS], lo[TENTHS], hi[TENTHS]; int64_t n; } tenths;

static void read_tenths(sl_drawing *d, const char *arm, tenths *t)
{
    json_t *j = arm_file(d, arm, 0, "reproducibility.json"), *x = json_object_get(j, "fss"), *y = json_object_get(j, "pi"), *se = json_object_get(j, "pi_se");
    for (t->n = 0; t->n < TENTHS && t->n < (int64_t)json_array_size(x); t->n++) {
        double by = 1.96 * json_number_value(json_array_get(se, (size_t)t->n));
        t->x[t->n] = json_number_value(json_array_get(x, (size_t)t->n));
        t->y[t->n] = json_number_value(json_array_get(y, (size_t)t->n));
        t->lo[t->n] = fmax(0, t->y[t->n] - by);
        t->hi[t->n] = fmin(1, t->y[t->n] + by);
    }
    json_decref(j);
}

static sl_status draw_reproducibility(sl_drawing *d, sl_err *err)
{
    tenths *t = sl_arena_alloc(d->arena, SL_DRAW_ARMS * sizeof *t);
    sl_series s[SL_DRAW_ARMS];
    int n = 0;
    if (!t)
        return sl_fail(err, SL_MEM, "plots", NULL, "no memory for reproducibility");
    for (int i = 0; i < d->n_arms && n < MOST_ARMS_APART; i++) {
        read_tenths(d, d->arm[i], &t[n]);
        if (t[n].n > 1) {
            s[n] = (sl_series){ .name = d->arm[i], .x = t[n].x, .y = t[n].y, .lo = t[n].lo, .hi = t[n].hi, .n = t[n].n };
            n++;
        }
    }
    sl_plot p = { .name = "fss_reproducibility", .title = "Are robust latents the reproducible ones?", .x_label = "FSS of a latent under gauss noise, eps .2 (tenths of the latents)",
                  .y_label = "share of other seeds with it (cos >= .7)",
                  .caption = "Latents of all seeds in tenths by their FSS; band: 95% interval over latents. Frequency is not held constant here: see robust_reproducible.",
                  .kind = SL_PLOT_LINES, .series = s, .n_series = n };
    return n > 0 ? sl_draw_write(d, &p, err) : SL_OK;
}

/* ---- arms of records ---- */

typedef struct value { double sum, lo, hi; int64_t n; } value;

static void add_value(value *v, double x)
{
    v->lo = v->n ? fmin(v->lo, x) : x;
    v->hi = v->n ? fmax(v->hi, x) : x;
    v->sum += x;
    v->n++;
}

/* Mean over seeds of a record's number by arm, and whether the arm is perturbed. */
typedef struct arms { value of[SL_DRAW_ARMS]; double steps[SL_DRAW_ARMS]; bool perturbed[SL_DRAW_ARMS]; } arms;

static void read_arms(const sl_drawing *d, const char *key, arms *out)
{
    size_t k;
    json_t *r;
    *out = (arms){ .steps = { 0 } };
    json_array_foreach(d->records, k, r) {
        const char *name = json_string_value(json_object_get(r, "arm")), *set = json_string_value(json_object_get(r, "dataset"));
        json_t *v = json_object_get(r, key);
        for (int i = 0; name && set && strcmp(set, d->now) == 0 && i < d->n_arms; i++) {
            if (strcmp(d->arm[i], name) != 0)
                continue;
            out->perturbed[i] = json_is_object(json_object_get(r, "perturb"));
            out->steps[i] = fmax(out->steps[i], json_number_value(json_object_get(r, "steps")));
            if (json_is_number(v))
                add_value(&out->of[i], json_number_value(v));
        }
    }
}

/* ---- what a step costs ---- */

enum { P_GENERATE, P_FORWARD, P_BACKWARD, P_PLAIN, N_OVERHEAD }; /* from the top of a bar */

static double mean_of(const value *v) { return v->n ? v->sum / (double)v->n : 0; }

/* Heights of one bar, each with all below it, in plain steps. */
static void stack(double step, double generate, double forward, bool perturbed, double height[N_OVERHEAD])
{
    height[P_GENERATE] = step;
    height[P_FORWARD] = step - generate;
    height[P_BACKWARD] = step - generate - forward;
    height[P_PLAIN] = perturbed ? fmin(1, height[P_BACKWARD]) : step;
}

static sl_status draw_overhead(sl_drawing *d, sl_err *err)
{
    static const char *const part[N_OVERHEAD] = { "making views", "their codes and loss", "their gradients, and the rest", "plain step" };
    arms a, made, codes;
    double x[SL_DRAW_ARMS], y[N_OVERHEAD][SL_DRAW_ARMS], lo[SL_DRAW_ARMS], hi[SL_DRAW_ARMS], height[N_OVERHEAD];
    const char *names[SL_DRAW_ARMS];
    char caption[250];
    int n = 0, plain = 0;
    bool any = false;
    read_arms(d, "step_ms", &a);
    read_arms(d, "generate_ms", &made);
    read_arms(d, "forward_ms", &codes);
    while (plain < d->n_arms && (a.perturbed[plain] || a.of[plain].n == 0))
        plain++;
    if (plain == d->n_arms)
        return SL_OK;
    double base = mean_of(&a.of[plain]);
    for (int i = 0; i < d->n_arms; i++) {
        if (a.of[i].n == 0)
            continue;
        any = any || a.perturbed[i];
        stack(mean_of(&a.of[i]) / base, mean_of(&made.of[i]) / base, mean_of(&codes.of[i]) / base, a.perturbed[i], height);
        for (int p = 0; p < N_OVERHEAD; p++)
            y[p][n] = height[p];
        x[n] = n;
        lo[n] = a.of[i].lo / base;
        hi[n] = a.of[i].hi / base;
        names[n++] = d->arm[i];
    }
    snprintf(caption, sizeof caption, "Time of a training step, %s being 1 (%.3g ms); marks: least and most of the seeds. As it was when each SAE was trained: compare under equal load only.",
             d->arm[plain], base);
    sl_series s[N_OVERHEAD];
    for (int p = 0; p < N_OVERHEAD; p++)
        s[p] = (sl_series){ .name = part[p], .x = x, .y = y[p], .lo = p == P_PLAIN ? lo : NULL, .hi = p == P_PLAIN ? hi : NULL, .n = n }; /* marks over all bars */
    sl_plot p = { .name = "overhead", .title = "What a step costs", .x_label = "", .y_label = "time of a step / plain step", .caption = caption, .kind = SL_PLOT_BARS,
                  .in_front = true, .series = s, .n_series = N_OVERHEAD, .categories = names, .n_categories = n };
    return any ? sl_draw_write(d, &p, err) : SL_OK;
}

/* ---- equal steps beside equal compute ---- */

typedef struct panel_figure { const char *key, *title, *label; } panel_figure;

static const panel_figure PANELS[] = {
    { "f1_h", "Features found", "F1 of the matched latent (F1_h)" }, { "mcc_dec_abs", "Directions found", "MCC of the decoder, |cos|" },
    { "absorb", "Absorption", "absorption (lower is better)" },      { "fvu", "Unexplained variance", "FVU (lower is better)" },
    { "fss", "Stability under noise", "FSS at gauss noise, eps .2" }, { "ce_loss_score", "Loss recovered when spliced in", "share of the loss recovered" },
};

typedef struct panel { double x[2 * SL_DRAW_ARMS + 1], y[2 * SL_DRAW_ARMS + 1], lo[2 * SL_DRAW_ARMS + 1], hi[2 * SL_DRAW_ARMS + 1]; const char *name[2 * SL_DRAW_ARMS + 1]; int n, n_columns; } panel;

static void add_column(panel *p, const char *name, const value *v)
{
    p->name[p->n_columns] = name;
    if (v && v->n > 0) {
        p->x[p->n] = p->n_columns;
        p->y[p->n] = v->sum / (double)v->n;
        p->lo[p->n] = v->lo;
        p->hi[p->n++] = v->hi;
    }
    p->n_columns++;
}

/* Left the arms of as many steps as the first plain one; right the plain ones of more steps and the perturbed ones again. */
static sl_status draw_panels(sl_drawing *d, const panel_figure *f, sl_err *err)
{
    arms a;
    panel p = { .n = 0 };
    char name[64], title[128];
    int plain = 0, more = 0;
    read_arms(d, f->key, &a);
    while (plain < d->n_arms && (a.perturbed[plain] || a.of[plain].n == 0))
        plain++;
    for (int i = 0; plain < d->n_arms && i < d->n_arms; i++)
        more += !a.perturbed[i] && a.of[i].n > 0 && a.steps[i] > a.steps[plain];
    if (plain == d->n_arms || more == 0)
        return SL_OK;
    for (int i = 0; i < d->n_arms; i++)
        if (a.of[i].n > 0 && !(a.steps[i] > a.steps[plain]))
            add_column(&p, d->arm[i], &a.of[i]);
    add_column(&p, "|", NULL);
    for (int i = 0; i < d->n_arms; i++)
        if (a.of[i].n > 0 && (a.perturbed[i] || a.steps[i] > a.steps[plain]))
            add_column(&p, d->arm[i], &a.of[i]);
    snprintf(name, sizeof name, "equal_%s", f->key);
    snprintf(title, sizeof title, "%s: equal steps | equal compute", f->title);
    sl_series s = { .name = "mean", .x = p.x, .y = p.y, .lo = p.lo, .hi = p.hi, .n = p.n };
    sl_plot q = { .name = name, .title = title, .x_label = "", .y_label = f->label,
                  .caption = "Left of the bar: as many steps. Right: the plain arm has the compute of a perturbed one (its budget in the plan). Mean and range of the seeds; a few seeds prove nothing.",
                  .kind = SL_PLOT_POINTS, .series = &s, .n_series = 1, .categories = p.name, .n_categories = p.n_columns };
    return sl_draw_write(d, &q, err);
}

/* ---- all ---- */

sl_status sl_draw_stability(sl_drawing *d, sl_err *err)
{
    for (int i = 0; i < d->n_arms && i < MOST_ARMS_APART; i++)
        SL_TRY(draw_activations(d, d->arm[i], err));
    SL_TRY(draw_reproducibility(d, err));
    SL_TRY(draw_overhead(d, err));
    for (size_t i = 0; i < sizeof PANELS / sizeof PANELS[0]; i++)
        SL_TRY(draw_panels(d, &PANELS[i], err));
    return sl_draw_ablation(d, err);
}
