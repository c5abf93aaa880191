/* Figures as words. */
#include "report/figures.h"

#include <math.h>

const char *sl_or_unknown(const char *s) { return *s ? s : "unknown"; }

/* Digits after the point, so that the standard error has two that count, or the figure four. */
static int decimals(const sl_figure *v)
{
    double scale = v->has_se && v->se > 0 ? v->se : fabs(v->mean) / 100;
    int d = scale > 0 ? 1 - (int)floor(log10(scale)) : 3;
    return d < 0 ? 0 : d > 6 ? 6 : d;
}

void sl_h_number(sl_html *h, double v, int digits)
{
    if (v == 0)
        sl_h(h, "0");
    else if ((fabs(v) >= 1e7 || fabs(v) < 1e-4))
        sl_h_textf(h, "%.3g", v);
    else
        sl_h_textf(h, "%.*f", digits, v);
}

void sl_h_figure(sl_html *h, const sl_figure *v)
{
    if (!v->known) {
        sl_h(h, "<td class=\"none\">");
        sl_h_text(h, v->reason);
        sl_h(h, "</td>");
        return;
    }
    sl_h(h, "<td>");
    sl_h_number(h, v->mean, decimals(v));
    if (v->has_se) {
        sl_h(h, " <span class=\"se\">± ");
        sl_h_number(h, v->se, decimals(v));
        sl_h(h, "</span>");
    }
    if (v->has_floor) {
        sl_h(h, " <span class=\"se\">(chance ");
        sl_h_number(h, v->floor, decimals(v));
        sl_h(h, ")</span>");
    }
    sl_h(h, "</td>");
}

void sl_duration(char *out, size_t size, double s)
{
    if (s < 120)
        snprintf(out, size, "%.3g s", s);
    else if (s < 7200)
        snprintf(out, size, "%.0f min %02.0f s", floor(s / 60), fmod(s, 60));
    else
        snprintf(out, size, "%.0f h %02.0f min", floor(s / 3600), floor(fmod(s, 3600) / 60));
}

void sl_h_fact(sl_html *h, const char *name, const char *value)
{
    sl_h(h, "<dt>");
    sl_h_text(h, name);
    sl_h(h, "</dt><dd>");
    sl_h_text(h, sl_or_unknown(value));
    sl_h(h, "</dd>\n");
}

void sl_h_file(sl_html *h, const char *name, const char *text)
{
    if (!text)
        return;
    sl_h(h, "<details><summary>");
    sl_h_text(h, name);
    sl_h(h, "</summary><pre>");
    sl_h_text(h, text);
    sl_h(h, "</pre></details>\n");
}
