/* One comparison as it is printed and recorded: effect, interval, n, floor, and what was matched. */
#include "eval/effect.h"

#include <math.h>
#include <stdio.h>

const char *const sl_effect_head[SL_EFFECT_COLS] = { "METRIC", "COMPARED", "EFFECT", "INTERVAL", "P", "N", "FLOOR", "L0", "COMPUTE" };

static sl_effect named(const char *metric, const char *treatment, const char *control)
{
    sl_effect e = { .is_null = true };
    snprintf(e.metric, sizeof e.metric, "%s", metric);
    snprintf(e.treatment, sizeof e.treatment, "%s", treatment);
    snprintf(e.control, sizeof e.control, "%s", control);
    return e;
}

sl_effect sl_effect_null(const char *metric, const char *treatment, const char *control, const char *reason)
{
    sl_effect e = named(metric, treatment, control);
    snprintf(e.reason, sizeof e.reason, "%s", reason);
    return e;
}

sl_effect sl_effect_of(const char *metric, const char *treatment, const char *control, const sl_paired *p, double level)
{
    sl_effect e = named(metric, treatment, control);
    e.is_null = false;
    e.effect = p->effect;
    e.lo = p->lo;
    e.hi = p->hi;
    e.level = level;
    e.n = p->n;
    e.p = p->flip.p;
    e.has_p = true;
    return e;
}

sl_matched sl_l0_matched(double l0_a, double l0_b)
{
    if (!(isfinite(l0_a) && isfinite(l0_b) && l0_a > 0 && l0_b > 0))
        return SL_MATCHED_UNKNOWN;
    double larger = l0_a > l0_b ? l0_a : l0_b;
    return fabs(l0_a - l0_b) <= .02 * larger ? SL_MATCHED_YES : SL_MATCHED_NO;
}

static const char *matched_text(sl_matched m)
{
    static const char *const words[] = { "not recorded", "NOT matched", "matched" };
    return words[m];
}

void sl_effect_cells(const sl_effect *e, char cells[SL_EFFECT_COLS][SL_EFFECT_CELL])
{
    enum { METRIC, COMPARED, EFFECT, INTERVAL, P, N, FLOOR, L0, COMPUTE };
    for (int i = 0; i < SL_EFFECT_COLS; i++)
        cells[i][0] = 0;
    snprintf(cells[METRIC], SL_EFFECT_CELL, "%s", e->metric);
    snprintf(cells[COMPARED], SL_EFFECT_CELL, "%s - %s", e->treatment, e->control);
    if (e->is_null) {
        snprintf(cells[EFFECT], SL_EFFECT_CELL, "-");
        snprintf(cells[INTERVAL], SL_EFFECT_CELL, "%s", e->reason);
        return;
    }
    snprintf(cells[EFFECT], SL_EFFECT_CELL, "%+.4g", e->effect);
    snprintf(cells[INTERVAL], SL_EFFECT_CELL, "[%+.4g, %+.4g]", e->lo, e->hi);
    if (e->has_p)
        snprintf(cells[P], SL_EFFECT_CELL, "%.3g", e->p);
    snprintf(cells[N], SL_EFFECT_CELL, "%lld", (long long)e->n);
    if (e->has_floor)
        snprintf(cells[FLOOR], SL_EFFECT_CELL, "%.4g", e->floor);
    else
        snprintf(cells[FLOOR], SL_EFFECT_CELL, "-");
    snprintf(cells[L0], SL_EFFECT_CELL, "%s", matched_text(e->l0));
    snprintf(cells[COMPUTE], SL_EFFECT_CELL, "%s", matched_text(e->compute));
}

/* ---- the record ---- */

static json_t *real_if(bool there, double v)
{
    return there && isfinite(v) ? json_real(v) : json_null();
}

static json_t *matched_json(sl_matched m)
{
    return m == SL_MATCHED_UNKNOWN ? json_null() : json_boolean(m == SL_MATCHED_YES);
}

sl_status sl_effect_json(const sl_effect *e, json_t **out, sl_err *err)
{
    bool there = !e->is_null;
    *out = json_pack("{s:s, s:s, s:s, s:o, s:o, s:o, s:o, s:I, s:o, s:o, s:o, s:o}", "metric", e->metric, "treatment", e->treatment, "control", e->control,
                     "effect", real_if(there, e->effect), "lo", real_if(there, e->lo), "hi", real_if(there, e->hi), "level", real_if(there, e->level),
                     "n", (json_int_t)e->n, "p", real_if(e->has_p, e->p), "floor", real_if(e->has_floor, e->floor), "l0_matched", matched_json(e->l0),
                     "compute_matched", matched_json(e->compute));
    if (*out && e->is_null)
        json_object_set_new(*out, "reason", json_string(e->reason));
    return *out ? SL_OK : sl_fail(err, SL_MEM, e->metric, NULL, "no memory for its record");
}
