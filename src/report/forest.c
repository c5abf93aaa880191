/* Effects as a picture, drawn here: text and marks in SVG that take the page's colours. */
#include "report/forest.h"

#include <saelab/stats.h>

#include <math.h>
#include <string.h>

enum { MOST_ROWS = 48, MOST_SEEDS = 32, ROW = 24, LABEL = 250, FIELD = 400, WIDTH = 860, TOP = 30 };

typedef struct effect {
    const char *dataset, *arm, *base, *metric;
    double d[MOST_SEEDS], mean, lo, hi, chance;
    int n;
    bool has_interval, has_chance;
} effect;

typedef struct forest {
    effect row[MOST_ROWS];
    int n;
    double from, to; /* of the axis */
} forest;

/* ---- what is shown ---- */

static json_t *seeds_of(const sl_facts *f, const char *arm, const char *metric)
{
    char key[160];
    snprintf(key, sizeof key, "%s_%s", arm, metric);
    return json_object_get(f->lists, key);
}

static const char *metric_of(const sl_facts *f)
{
    static const char *const SCORES[] = { "ce_loss_score", "f1_h", "ev", NULL };
    for (const char *const *m = SCORES; *m; m++)
        if (sl_facts_figure(f, f->arm[0], *m).known)
            return *m;
    return NULL;
}

static bool fill(const sl_facts *f, const char *arm, const char *metric, effect *e)
{
    json_t *a = seeds_of(f, arm, metric), *b = seeds_of(f, f->arm[0], metric);
    double x[MOST_SEEDS], y[MOST_SEEDS];
    sl_paired p;
    *e = (effect){ .dataset = f->dataset, .arm = arm, .base = f->arm[0], .metric = metric };
    for (size_t i = 0; i < json_array_size(a) && i < json_array_size(b) && e->n < MOST_SEEDS; i++) {
        json_t *u = json_array_get(a, i), *v = json_array_get(b, i);
        if (!json_is_number(u) || !json_is_number(v))
            continue;
        x[e->n] = json_number_value(u);
        y[e->n] = json_number_value(v);
        e->d[e->n] = x[e->n] - y[e->n];
        e->mean += e->d[e->n++];
    }
    if (e->n == 0)
        return false;
    e->mean /= e->n;
    e->has_interval = e->n > 1 && sl_paired_test(f->ctx, x, y, e->n, .95, 0, &p, NULL) == SL_OK;
    e->lo = e->has_interval ? p.lo : e->mean;
    e->hi = e->has_interval ? p.hi : e->mean;
    sl_figure own = sl_facts_figure(f, arm, metric), base = sl_facts_figure(f, f->arm[0], metric);
    e->has_chance = own.has_floor && base.known;
    e->chance = own.floor - base.mean;
    return true;
}

static void gather(sl_facts *f, forest *t)
{
    double most = 0;
    for (int i = 0; i < f->n_datasets; i++) {
        sl_facts_dataset(f, i);
        const char *metric = f->n_arms > 1 ? metric_of(f) : NULL;
        for (int a = 1; metric && a < f->n_arms && t->n < MOST_ROWS; a++)
            t->n += fill(f, f->arm[a], metric, &t->row[t->n]);
    }
    sl_facts_dataset(f, 0);
    for (int i = 0; i < t->n; i++)
        for (int s = 0; s < t->row[i].n; s++)
            most = fmax(most, fabs(t->row[i].d[s]));
    t->from = t->to = 0;
    for (int i = 0; i < t->n; i++) { /* an interval of two seeds is wide: it may leave the picture, with an arrow */
        t->from = fmin(t->from, fmax(t->row[i].lo, -2 * most));
        t->to = fmax(t->to, fmin(t->row[i].hi, 2 * most));
        for (int s = 0; s < t->row[i].n; s++) {
            t->from = fmin(t->from, t->row[i].d[s]);
            t->to = fmax(t->to, t->row[i].d[s]);
        }
    }
    double room = t->to > t->from ? .06 * (t->to - t->from) : 1;
    t->from -= room;
    t->to += room;
}

/* ---- how ---- */

static double at(const forest *t, double v) { return LABEL + FIELD * (fmin(fmax(v, t->from), t->to) - t->from) / (t->to - t->from); }

static void words(sl_html *h, double x, double y, const char *how, const char *text)
{
    char tag[120];
    snprintf(tag, sizeof tag, "<text x=\"%.1f\" y=\"%.1f\" %s>", x, y, how);
    sl_h(h, tag);
    sl_h_text(h, text);
    sl_h(h, "</text>");
}

static void line(sl_html *h, const char *class, double x0, double y0, double x1, double y1)
{
    char tag[160];
    snprintf(tag, sizeof tag, "<line class=\"%s\" x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\"/>", class, x0, y0, x1, y1);
    sl_h(h, tag);
}

static void dot(sl_html *h, const char *class, double x, double y, double r)
{
    char tag[120];
    snprintf(tag, sizeof tag, "<circle class=\"%s\" cx=\"%.1f\" cy=\"%.1f\" r=\"%.1f\"/>", class, x, y, r);
    sl_h(h, tag);
}

static void arrow(sl_html *h, double x, double y, int way)
{
    char tag[160];
    snprintf(tag, sizeof tag, "<polygon class=\"mean\" points=\"%.1f,%.1f %.1f,%.1f %.1f,%.1f\"/>", x + 5 * way, y, x - 3 * way, y - 4, x - 3 * way, y + 4);
    sl_h(h, tag);
}

static void row(sl_html *h, const forest *t, const effect *e, double y)
{
    char text[160];
    words(h, LABEL - 14, y + 4, "text-anchor=\"end\"", e->arm);
    if (e->has_chance && e->chance >= t->from && e->chance <= t->to)
        line(h, "chance", at(t, e->chance), y - 9, at(t, e->chance), y + 9);
    if (e->has_interval) {
        line(h, "bar", at(t, e->lo), y, at(t, e->hi), y);
        if (e->lo < t->from)
            arrow(h, at(t, e->lo), y, -1);
        if (e->hi > t->to)
            arrow(h, at(t, e->hi), y, 1);
    }
    for (int s = 0; s < e->n; s++)
        dot(h, "dot", at(t, e->d[s]), y, 3.5);
    dot(h, "mean", at(t, e->mean), y, 4.5);
    if (e->has_interval)
        snprintf(text, sizeof text, "%+.3f [%+.3f, %+.3f]", e->mean, e->lo, e->hi);
    else
        snprintf(text, sizeof text, "%+.3f", e->mean);
    words(h, LABEL + FIELD + 14, y + 4, "", text);
}

/* A step of 1, 2 or 5 times a power of ten that gives four to nine ticks. */
static double step_of(double range)
{
    double p = pow(10, floor(log10(range / 4)));
    return range / (5 * p) >= 4 ? 5 * p : range / (2 * p) >= 4 ? 2 * p : p;
}

static void axis(sl_html *h, const forest *t, double bottom)
{
    double step = step_of(t->to - t->from);
    for (double v = ceil(t->from / step) * step; v <= t->to; v += step) {
        char text[32];
        double tick = fabs(v) < step / 2 ? 0 : v;
        snprintf(text, sizeof text, "%.3g", tick);
        line(h, "zero", at(t, tick), bottom, at(t, tick), bottom + 4);
        words(h, at(t, tick), bottom + 17, "class=\"low\" text-anchor=\"middle\"", text);
    }
    line(h, "zero", at(t, 0), TOP - 8, at(t, 0), bottom);
    line(h, "zero", LABEL, bottom, LABEL + FIELD, bottom);
}

static void picture(sl_html *h, const forest *t)
{
    int groups = 0;
    for (int i = 0; i < t->n; i++)
        groups += i == 0 || t->row[i].dataset != t->row[i - 1].dataset;
    double y = TOP, bottom = TOP + ROW * (t->n + groups);
    char tag[200];
    snprintf(tag, sizeof tag, "<svg role=\"img\" viewBox=\"0 0 %d %.0f\" aria-labelledby=\"forest-title forest-desc\">", (int)WIDTH, bottom + 28);
    sl_h(h, tag);
    sl_h(h, "<title id=\"forest-title\">Effect of each arm</title><desc id=\"forest-desc\">Difference to the first arm, seed by seed; the same numbers are on the right of each row.</desc>\n");
    axis(h, t, bottom);
    for (int i = 0; i < t->n; i++) {
        const effect *e = &t->row[i];
        if (i == 0 || e->dataset != t->row[i - 1].dataset) {
            char text[200];
            snprintf(text, sizeof text, "%s: %s less that of %s", e->dataset ? e->dataset : "", e->metric, e->base);
            words(h, 0, y + 4, "class=\"low\"", text);
            y += ROW;
        }
        row(h, t, e, y);
        sl_h(h, "\n");
        y += ROW;
    }
    sl_h(h, "</svg>\n");
}

sl_status sl_forest(sl_html *h, sl_facts *f, sl_err *err)
{
    forest *t = sl_alloc(f->ctx, sizeof *t);
    if (!t)
        return sl_fail(err, SL_MEM, f->dir, NULL, "no memory");
    gather(f, t);
    if (t->n > 0) {
        sl_h(h, "<div class=\"forest wide\">\n");
        picture(h, t);
        sl_h(h, "</div>\n<p class=\"key\">Right of the line is better. Pale dots: seeds; dark dot and bar: mean and its 95 % t interval, paired by seed; dashed mark: what chance gives. "
                "ce_loss_score: share of the model's loss that the SAE keeps; f1_h: true features found; ev: variance explained.</p>\n");
    }
    sl_free(f->ctx, t);
    return SL_OK;
}
