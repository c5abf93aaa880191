/* The list of metrics: name, value or null with a reason. */
#include <saelab/eval.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

void sl_metrics_release(sl_ctx *ctx, sl_metrics *m)
{
    sl_free(ctx, m->v);
    *m = (sl_metrics){ 0 };
}

static sl_metric *find(const sl_metrics *m, const char *name)
{
    for (int i = 0; i < m->n; i++)
        if (strcmp(m->v[i].name, name) == 0)
            return &m->v[i];
    return NULL;
}

const sl_metric *sl_metrics_get(const sl_metrics *m, const char *name)
{
    return find(m, name);
}

static sl_status row_for(sl_ctx *ctx, sl_metrics *m, const char *name, sl_metric **out, sl_err *err)
{
    *out = find(m, name);
    if (!*out && m->n == m->cap) {
        int cap = m->cap ? 2 * m->cap : 32;
        sl_metric *v = sl_alloc(ctx, (size_t)cap * sizeof *v);
        if (!v)
            return sl_fail(err, SL_MEM, name, NULL, "no memory for a metric");
        if (m->n)
            memcpy(v, m->v, (size_t)m->n * sizeof *v);
        sl_free(ctx, m->v);
        m->v = v;
        m->cap = cap;
    }
    if (!*out)
        *out = &m->v[m->n++];
    **out = (sl_metric){ 0 };
    snprintf((*out)->name, sizeof (*out)->name, "%s", name);
    return SL_OK;
}

sl_status sl_metrics_put(sl_ctx *ctx, sl_metrics *m, const char *name, double value, int64_t n, sl_err *err)
{
    if (!isfinite(value))
        return sl_metrics_null(ctx, m, name, "not finite", err);
    sl_metric *row;
    SL_TRY(row_for(ctx, m, name, &row, err));
    row->value = value;
    row->n = n;
    return SL_OK;
}

sl_status sl_metrics_null(sl_ctx *ctx, sl_metrics *m, const char *name, const char *reason, sl_err *err)
{
    sl_metric *row;
    SL_TRY(row_for(ctx, m, name, &row, err));
    row->is_null = true;
    snprintf(row->reason, sizeof row->reason, "%s", reason);
    return SL_OK;
}

static sl_metric *with_value(const sl_metrics *m, const char *name)
{
    sl_metric *row = find(m, name);
    return row && !row->is_null ? row : NULL;
}

void sl_metrics_floor(sl_metrics *m, const char *name, double floor)
{
    sl_metric *row = with_value(m, name);
    if (!row || !isfinite(floor))
        return;
    row->floor = floor;
    row->has_floor = true;
}

void sl_metrics_interval(sl_metrics *m, const char *name, double lo, double hi)
{
    sl_metric *row = with_value(m, name);
    if (!row || !isfinite(lo) || !isfinite(hi))
        return;
    row->lo = lo;
    row->hi = hi;
    row->has_interval = true;
}

void sl_metrics_control(sl_metrics *m, const char *name, double control)
{
    sl_metric *row = with_value(m, name);
    if (!row || !isfinite(control))
        return;
    row->control = control;
    row->has_control = true;
}
