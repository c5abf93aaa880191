/* The columns of a feature index as a table (RFC 4180). */
#include "io/io.h"
#include "report/feature_text.h"

#include <stdlib.h>
#include <string.h>

typedef struct table { sl_atomic *f; sl_err *err; } table;

/* A field of text: quoted where it has to be. */
static sl_status put_text(const table *t, const char *text)
{
    if (!strpbrk(text, ",\"\r\n"))
        return sl_atomic_printf(t->f, t->err, "%s", text);
    SL_TRY(sl_atomic_printf(t->f, t->err, "\""));
    for (const char *s = text; *s; s++)
        SL_TRY(sl_atomic_printf(t->f, t->err, *s == '"' ? "\"\"" : "%c", *s));
    return sl_atomic_printf(t->f, t->err, "\"");
}

static sl_status put_value(const table *t, const sl_features *f, const sl_features_column *c, int64_t id)
{
    char text[SL_FEATURE_TEXT];
    double v = sl_features_value(c, id);
    SL_TRY(sl_atomic_printf(t->f, t->err, ","));
    if (v != v)
        return SL_OK;
    if (c->type != SL_COLUMN_STRING)
        return sl_atomic_printf(t->f, t->err, "%.9g", v);
    sl_feature_plain(f, (int32_t)v, text);
    return put_text(t, text);
}

static sl_status put_rows(sl_ctx *ctx, const table *t, const sl_features *f, const sl_feature_list *which)
{
    int n_columns;
    const sl_features_column *c = sl_features_columns(f, &n_columns);
    SL_TRY(sl_atomic_printf(t->f, t->err, "feature,label"));
    for (int k = 0; k < n_columns; k++)
        SL_TRY(sl_atomic_printf(t->f, t->err, ",%s", c[k].name));
    SL_TRY(sl_atomic_printf(t->f, t->err, "\r\n"));
    for (int64_t i = 0; i < sl_feature_list_n(f, which); i++) {
        sl_feature j;
        SL_TRY(sl_features_get(f, sl_feature_list_at(which, i), &j, t->err));
        SL_TRY(sl_atomic_printf(t->f, t->err, "%lld,", (long long)j.id));
        SL_TRY(put_text(t, sl_feature_list_label(which, j.id)));
        for (int k = 0; k < n_columns; k++)
            SL_TRY(put_value(t, f, &c[k], j.id));
        SL_TRY(sl_atomic_printf(t->f, t->err, "\r\n"));
        if (sl_cancelled(ctx))
            return sl_fail(t->err, SL_CANCELLED, "features", NULL, "stopped");
    }
    return SL_OK;
}

sl_status sl_features_csv(sl_ctx *ctx, const sl_features *f, const sl_feature_list *which, const char *path, sl_err *err)
{
    table t = { .err = err };
    SL_TRY(sl_atomic_open(ctx, path, &t.f, err));
    sl_status st = put_rows(ctx, &t, f, which);
    if (st == SL_OK)
        return sl_atomic_commit(t.f, err);
    sl_atomic_abort(t.f);
    return st;
}
