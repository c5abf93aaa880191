/* The table of metric families, the check of what they are given, and the run. */
#include "eval/families.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

const sl_family *const sl_families[] = {
    &sl_family_directions, &sl_family_codes, &sl_family_firing, &sl_family_selected, &sl_family_hierarchy, &sl_family_splitting,
    &sl_family_truth_probes, &sl_family_label_probes, &sl_family_letters, &sl_family_explain, &sl_family_rates, NULL
};

/* Never computed, and why. */
static const struct { const char *name, *reason; } not_run[] = {
    { "scr", "NOT RUN: fails an audit of its reliability (arXiv 2605.18229), and needs a model of 2B parameters" },
    { "tpp", "NOT RUN: fails an audit of its reliability (arXiv 2605.18229), and needs a model of 2B parameters" },
    { "ravel", "NOT RUN: needs a model that knows cities and laureates, and is invalid for non-additive decoders" },
};

/* ---- checks ---- */

static sl_status all_finite(const char *what, const float *v, int64_t rows, int64_t cols, sl_err *err)
{
    for (int64_t i = 0; v && i < rows * cols; i++)
        if (!isfinite(v[i]))
            return sl_fail(err, SL_NUMERIC, what, "finite numbers", "row %lld, column %lld is %g", (long long)(i / cols), (long long)(i % cols), (double)v[i]);
    return SL_OK;
}

static sl_status sparse_row(const char *what, const sl_sparse *s, int64_t r, sl_err *err)
{
    if (s->row_ptr[r + 1] < s->row_ptr[r])
        return sl_fail(err, SL_DATA, what, "row_ptr that does not fall", "row %lld", (long long)r);
    int32_t before = -1;
    for (int64_t e = s->row_ptr[r]; e < s->row_ptr[r + 1]; e++) {
        if (s->idx[e] <= before || s->idx[e] >= s->n_cols)
            return sl_fail(err, SL_DATA, what, "rising columns within the matrix", "row %lld: column %d of %lld", (long long)r, (int)s->idx[e], (long long)s->n_cols);
        if (!isfinite(s->val[e]))
            return sl_fail(err, SL_NUMERIC, what, "finite numbers", "row %lld, column %d is %g", (long long)r, (int)s->idx[e], (double)s->val[e]);
        if (!(s->val[e] > 0))
            return sl_fail(err, SL_DATA, what, "positive entries only", "row %lld, column %d is %g", (long long)r, (int)s->idx[e], (double)s->val[e]);
        before = s->idx[e];
    }
    return SL_OK;
}

static sl_status sparse(const char *what, const sl_sparse *s, int64_t n_rows, int64_t n_cols, sl_err *err)
{
    if (!s->row_ptr)
        return SL_OK;
    if (s->n_rows != n_rows || s->n_cols != n_cols)
        return sl_fail(err, SL_SHAPE, what, NULL, "%lld x %lld where %lld x %lld are expected", (long long)s->n_rows, (long long)s->n_cols, (long long)n_rows, (long long)n_cols);
    if (s->row_ptr[0] != 0)
        return sl_fail(err, SL_DATA, what, "row_ptr that starts at 0", "it starts at %lld", (long long)s->row_ptr[0]);
    for (int64_t r = 0; r < n_rows; r++)
        SL_TRY(sparse_row(what, s, r, err));
    return SL_OK;
}

static sl_status numbers_within(const char *what, const int32_t *v, int64_t n, int64_t least, int64_t end, sl_err *err)
{
    for (int64_t i = 0; v && i < n; i++)
        if (v[i] < least || v[i] >= end)
            return sl_fail(err, SL_DATA, what, NULL, "entry %lld is %d, outside %lld to %lld", (long long)i, (int)v[i], (long long)least, (long long)(end - 1));
    return SL_OK;
}

static sl_status text_within(const sl_eval_data *d, sl_err *err)
{
    if (!d->corpus)
        return SL_OK;
    if (!d->doc || !d->pos)
        return sl_fail(err, SL_SHAPE, "text", "doc and pos of every row", "a corpus without the places of the rows in it");
    SL_TRY(numbers_within("doc", d->doc, d->n_rows, 0, d->corpus->n_docs, err));
    for (int64_t r = 0; r < d->n_rows; r++) {
        int64_t at = d->corpus->doc[d->doc[r]] + d->pos[r];
        if (d->pos[r] < 0 || at >= d->corpus->doc[d->doc[r] + 1])
            return sl_fail(err, SL_DATA, "pos", "a token of its document", "row %lld: token %d of document %d", (long long)r, (int)d->pos[r], (int)d->doc[r]);
    }
    return SL_OK;
}

sl_status sl_eval_data_check(const sl_eval_data *d, sl_err *err)
{
    bool rows = d->x || d->z.row_ptr || d->g.row_ptr;
    if (d->d_in < 0 || d->d_sae < 0 || d->n_truth < 0 || ((d->W_dec || d->x || d->truth) && d->d_in < 1))
        return sl_fail(err, SL_SHAPE, "evaluation", "dimensions of at least 1", "d_in %lld, d_sae %lld", (long long)d->d_in, (long long)d->d_sae);
    if ((rows && d->n_rows < 1) || d->n_rows > INT32_MAX)
        return sl_fail(err, SL_DATA, "evaluation", "1 row to 2^31 - 1", "%lld rows", (long long)d->n_rows);
    if (((d->W_dec || d->z.row_ptr) && d->d_sae < 1) || ((d->truth || d->g.row_ptr) && d->n_truth < 1))
        return sl_fail(err, SL_DATA, "evaluation", "at least one of each", "%lld latents, %lld true features", (long long)d->d_sae, (long long)d->n_truth);
    SL_TRY(all_finite("W_dec", d->W_dec, d->d_sae, d->d_in, err));
    SL_TRY(all_finite("x", d->x, d->n_rows, d->d_in, err));
    SL_TRY(all_finite("true directions", d->truth, d->n_truth, d->d_in, err));
    SL_TRY(sparse("codes", &d->z, d->n_rows, d->d_sae, err));
    SL_TRY(sparse("true codes", &d->g, d->n_rows, d->n_truth, err));
    SL_TRY(sparse("unknown entries", &d->unknown, d->n_rows, d->n_truth, err));
    SL_TRY(numbers_within("parent", d->parent, d->n_truth, -1, d->n_truth, err));
    if (!d->corpus)
        SL_TRY(numbers_within("doc", d->doc, d->n_rows, 0, INT32_MAX, err));
    for (int i = 0; i < d->n_labels; i++)
        SL_TRY(numbers_within(d->labels[i].name, d->labels[i].y, d->n_rows, -1, d->labels[i].n_classes, err));
    return text_within(d, err);
}

/* ---- the run ---- */

static unsigned there(const sl_eval_data *d)
{
    return (d->W_dec ? SL_NEED_DIRECTIONS : 0u) | (d->x ? SL_NEED_X : 0u) | (d->z.row_ptr ? SL_NEED_CODES : 0u) | (d->truth ? SL_NEED_TRUTH : 0u)
           | (d->g.row_ptr ? SL_NEED_TRUE_CODES : 0u) | (d->parent ? SL_NEED_PARENTS : 0u) | (d->corpus ? SL_NEED_TEXT : 0u) | (d->n_labels ? SL_NEED_LABELS : 0u);
}

static bool named(const char *const *names, const char *name)
{
    for (; names && *names; names++)
        if (sl_name_equal(*names, name))
            return true;
    return !names;
}

static sl_status names_exist(const char *const *names, sl_err *err)
{
    for (; names && *names; names++) {
        int i = 0;
        while (sl_families[i] && !sl_name_equal(sl_families[i]->name, *names))
            i++;
        if (!sl_families[i])
            return sl_fail(err, SL_ARG, *names, NULL, "there is no such family of metrics");
    }
    return SL_OK;
}

/* One family on the data, and on the control, whose values go beside. */
static sl_status run(sl_ctx *ctx, const sl_family *f, const sl_eval_data *d, const sl_eval_data *control, sl_metrics *out, sl_err *err)
{
    SL_TRY(f->run(ctx, d, out, err));
    if (!control || (f->needs & ~there(control)))
        return SL_OK;
    sl_metrics m = { 0 };
    sl_status st = f->run(ctx, control, &m, err);
    for (int i = 0; st == SL_OK && i < m.n; i++)
        if (!m.v[i].is_null)
            sl_metrics_control(out, m.v[i].name, m.v[i].value);
    sl_metrics_release(ctx, &m);
    return st;
}

sl_status sl_measure(sl_ctx *ctx, const sl_eval_data *d, const sl_eval_data *control, const char *const *names, sl_metrics *out, sl_err *err)
{
    SL_TRY(names_exist(names, err));
    SL_TRY(sl_eval_data_check(d, err));
    if (control)
        SL_TRY(sl_eval_data_check(control, err));
    int n = 0;
    while (sl_families[n])
        n++;
    for (int i = 0; i < n; i++) {
        const sl_family *f = sl_families[i];
        if (!named(names, f->name) || (f->needs & ~there(d)))
            continue;
        if (sl_cancelled(ctx))
            return sl_fail(err, SL_CANCELLED, "evaluation", NULL, "stopped");
        sl_progress(ctx, "measure", i, n, "families", "%s", f->what);
        SL_TRY(run(ctx, f, d, control, out, err));
    }
    sl_progress(ctx, "measure", n, n, "families", NULL);
    for (size_t i = 0; i < sizeof not_run / sizeof *not_run; i++)
        SL_TRY(sl_metrics_null(ctx, out, not_run[i].name, not_run[i].reason, err));
    return SL_OK;
}
