/* Ranges and logarithmic ticks: gnuplot's own show a lone decade, or none, where the range is narrow. */
#include "report/axis.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void sl_axis_see(sl_axis *a, double v)
{
    if (!isfinite(v) || (a->log && v <= 0))
        return;
    a->lo = a->any ? fmin(a->lo, v) : v;
    a->hi = a->any ? fmax(a->hi, v) : v;
    a->any = true;
}

void sl_axis_pad(sl_axis *a, double share, bool from_zero)
{
    if (!a->any) {
        a->lo = a->log ? 1 : 0;
        a->hi = a->log ? 10 : 1;
        return;
    }
    if (a->log) {
        double factor = fmax(pow(a->hi / a->lo, share), share > 0 ? 1.1 : 1);
        a->lo /= factor;
        a->hi *= factor;
        if (a->hi <= a->lo * (1 + 1e-9)) {
            a->lo /= 2;
            a->hi *= 2;
        }
        return;
    }
    double span = a->hi - a->lo, size = fmax(fabs(a->lo), fabs(a->hi));
    if (span <= 1e-9 * size) /* one value: a tenth of it around, so that it does not sit on the frame */
        span = size > 0 ? size : 1, share = fmax(share, .1);
    bool zero = from_zero && a->lo >= 0;
    a->lo = zero ? 0 : a->lo - share * span;
    a->hi += share * span;
}

/* One tick, when it lies inside; returns how many were written. */
static int tick(const sl_axis *a, double v, char *out, size_t size)
{
    if (v < a->lo * (1 - 1e-9) || v > a->hi * (1 + 1e-9))
        return 0;
    size_t n = strlen(out);
    const char *comma = n > 1 ? ", " : "";
    int exponent = (int)floor(log10(v) + 1e-9);
    double digit = v / pow(10, exponent);
    bool powers = a->lo < 5e-4 || a->hi > 1.1e5; /* one way of writing numbers an axis */
    if (!powers || abs(exponent) < 2)
        snprintf(out + n, size - n, "%s'%.6g' %.9g", comma, v, v);
    else if (fabs(digit - 1) < 1e-9)
        snprintf(out + n, size - n, "%s'10^{%d}' %.9g", comma, exponent, v);
    else
        snprintf(out + n, size - n, "%s'%.6g·10^{%d}' %.9g", comma, digit, exponent, v);
    return 1;
}

void sl_axis_log_ticks(const sl_axis *a, char *out, size_t size)
{
    static const double DIGITS[3][9] = { { 1 }, { 1, 2, 5 }, { 1, 2, 3, 4, 5, 6, 7, 8, 9 } };
    static const int N_DIGITS[3] = { 1, 3, 9 };
    enum { ENOUGH = 3, MANY = 9 };
    double decades = log10(a->hi / a->lo);
    int first = (int)floor(log10(a->lo)), last = (int)ceil(log10(a->hi)), step = 1;
    while ((last - first) / step > MANY)
        step++;
    for (int set = 0; set < 3 && decades >= .5; set++) {
        int n = 0;
        snprintf(out, size, "(");
        for (int e = first; e <= last; e += set ? 1 : step)
            for (int d = 0; d < N_DIGITS[set]; d++)
                n += tick(a, DIGITS[set][d] * pow(10, e), out, size);
        if (n >= ENOUGH || set == 2)
            break;
    }
    if (decades < .5) { /* nearly linear: about five round numbers */
        double raw = (a->hi - a->lo) / 5, unit = pow(10, floor(log10(raw)));
        double by = raw / unit > 5 ? 10 * unit : raw / unit > 2 ? 5 * unit : raw / unit > 1 ? 2 * unit : unit;
        snprintf(out, size, "(");
        for (double i = ceil(a->lo / by - 1e-9); i * by <= a->hi * (1 + 1e-9); i++)
            tick(a, i * by, out, size);
    }
    size_t n = strlen(out);
    snprintf(out + n, size - n, ")");
}
