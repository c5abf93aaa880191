/* Effects as a picture, drawn here: text and marks in SVG that take the page's colours. */
#include "report/forest.h"

#include <math.h>
#include <string.h>

enum { ROW = 24, LABEL = 340, FIELD = 400, WIDTH = 950, TOP = 30 };

typedef struct forest {
    const sl_arm_effect *row;
    int n;
    double from, to; /* of the axis */
} forest;

/* ---- the axis ---- */

static double most_of(const sl_arm_effect *e)
{
    double most = e->n ? 0 : fabs(e->mean);
    for (int s = 0; s < e->n; s++)
        most = fmax(most, fabs(e->d[s]));
    return most;
}

static void find_axis(forest *t)
{
    double most = 0;
    for (int i = 0; i < t->n; i++)
        most = fmax(most, most_of(&t->row[i]));
    t->from = t->to = 0;
    for (int i = 0; i < t->n; i++) { /* an interval of two seeds is wide: it may leave the picture, with an arrow */
        const sl_arm_effect *e = &t->row[i];
        t->from = fmin(t->from, fmin(e->mean, fmax(e->lo, -2 * most)));
        t->to = fmax(t->to, fmax(e->mean, fmin(e->hi, 2 * most)));
        for (int s = 0; s < e->n; s++) {
            t->from = fmin(t->from, e->d[s]);
            t->to = fmax(t->to, e->d[s]);
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

static void row(sl_html *h, const forest *t, const sl_arm_effect *e, double y)
{
    char text[160];
    words(h, LABEL - 14, y + 4, "text-anchor=\"end\"", e->arm);
    if (e->has_mark && e->mark >= t->from && e->mark <= t->to)
        line(h, "chance", at(t, e->mark), y - 9, at(t, e->mark), y + 9);
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
    int digits = t->to - t->from < .3 ? 4 : 3;
    if (e->has_interval)
        snprintf(text, sizeof text, "%+.*f [%+.*f, %+.*f]", digits, e->mean, digits, e->lo, digits, e->hi);
    else
        snprintf(text, sizeof text, "%+.*f", digits, e->mean);
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

static bool is_new_group(const forest *t, int i) { return i == 0 || strcmp(t->row[i].dataset, t->row[i - 1].dataset) != 0; }

static void group(sl_html *h, const sl_arm_effect *e, double y)
{
    char text[200];
    snprintf(text, sizeof text, e->metric ? "%s: %s less that of %s" : "%s", e->dataset, e->metric, e->base);
    words(h, 0, y + 4, "class=\"low\"", text);
}

static void picture(sl_html *h, const forest *t, const char *id, const char *title)
{
    int groups = 0;
    for (int i = 0; i < t->n; i++)
        groups += is_new_group(t, i);
    double y = TOP, bottom = TOP + ROW * (t->n + groups);
    char tag[200];
    snprintf(tag, sizeof tag, "<svg role=\"img\" viewBox=\"0 0 %d %.0f\" aria-labelledby=\"%s-title %s-desc\">", (int)WIDTH, bottom + 28, id, id);
    sl_h(h, tag);
    snprintf(tag, sizeof tag, "<title id=\"%s-title\">", id);
    sl_h(h, tag);
    sl_h_text(h, title);
    snprintf(tag, sizeof tag, "</title><desc id=\"%s-desc\">", id);
    sl_h(h, tag);
    sl_h(h, "Difference between two arms, seed by seed; the same numbers are on the right of each row.</desc>\n");
    axis(h, t, bottom);
    for (int i = 0; i < t->n; i++) {
        if (is_new_group(t, i)) {
            group(h, &t->row[i], y);
            y += ROW;
        }
        row(h, t, &t->row[i], y);
        sl_h(h, "\n");
        y += ROW;
    }
    sl_h(h, "</svg>\n");
}

void sl_forest_of(sl_html *h, const sl_arm_effect *row, int n, const char *id, const char *title)
{
    forest t = { .row = row, .n = n };
    if (n == 0)
        return;
    find_axis(&t);
    sl_h(h, "<div class=\"forest wide\">\n");
    picture(h, &t, id, title);
    sl_h(h, "</div>\n");
}

void sl_forest_key(sl_html *h)
{
    sl_h(h, "<p class=\"key\">Right of the line is better. Pale dots: seeds; dark dot and bar: mean and its 95 % t interval, paired by seed; dashed mark: what chance gives. "
            "ce_loss_score: share of the model's loss that the SAE keeps; f1_h: true features found; ev: variance explained.</p>\n");
}

sl_status sl_forest(sl_html *h, sl_facts *f, sl_err *err)
{
    sl_arm_effect *row = sl_alloc(f->ctx, SL_EFFECTS * sizeof *row);
    if (!row)
        return sl_fail(err, SL_MEM, f->dir, NULL, "no memory");
    int n = sl_arm_effects(f, row, SL_EFFECTS);
    sl_forest_of(h, row, n, "forest", "Effect of each arm");
    if (n > 0)
        sl_forest_key(h);
    sl_free(f->ctx, row);
    return SL_OK;
}
