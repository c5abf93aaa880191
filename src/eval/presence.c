/* The presence filter: a logistic probe on x for each true feature. */
#include <saelab/presence.h>
#include <saelab/probe.h>

#include <math.h>
#include <string.h>

typedef struct table {
    int64_t n, d, nf;
    float *x;               /* [n, d] */
    uint8_t *on, *unknown;  /* [n, nf] */
    uint8_t *held_out;      /* [n] */
} table;

typedef struct part { int32_t *rows; uint8_t *y; double *f; int64_t n, n_on; } part; /* rows of one side where the feature is determined */

static sl_status read_rows(sl_ctx *ctx, sl_act_source *src, table *t, sl_err *err)
{
    enum { BATCH = 1024 };
    for (int64_t at = 0; at < t->n;) {
        sl_act_batch b;
        SL_TRY(src->next(src, t->n - at < BATCH ? t->n - at : BATCH, &b, err));
        if (!b.truth)
            return sl_fail(err, SL_DATA, src->info.dataset, "rows of a world", "these rows have no ground truth");
        memcpy(t->x + at * t->d, b.x, (size_t)(b.n * t->d) * sizeof *b.x);
        for (int64_t i = 0; i < b.n; i++) {
            for (int64_t k = b.truth->row_ptr[i]; k < b.truth->row_ptr[i + 1]; k++) {
                if (b.truth->idx[k] >= t->nf)
                    return sl_fail(err, SL_DATA, src->info.dataset, "fewer features", "feature %d of %lld", (int)b.truth->idx[k], (long long)t->nf);
                t->on[(at + i) * t->nf + b.truth->idx[k]] = 1;
            }
            if (b.unknown)
                memcpy(t->unknown + (at + i) * t->nf, b.unknown + i * t->nf, (size_t)t->nf);
            t->held_out[at + i] = (b.doc ? (int64_t)b.doc[i] : b.row[i]) % 2 == 1;
        }
        at += b.n;
        if (sl_cancelled(ctx))
            return sl_fail(err, SL_CANCELLED, "presence", NULL, "stopped by a signal");
    }
    return SL_OK;
}

static void take(const table *t, int64_t feature, int side, part *p)
{
    p->n = p->n_on = 0;
    for (int64_t r = 0; r < t->n; r++)
        if (t->held_out[r] == side && !t->unknown[r * t->nf + feature]) {
            p->rows[p->n] = (int32_t)r;
            p->y[p->n] = t->on[r * t->nf + feature];
            p->n_on += p->y[p->n++];
        }
}

static const char *not_scored(const part *train, const part *test)
{
    if (test->n == 0 || train->n == 0)
        return "never determined at these rows";
    if (test->n_on == 0 || train->n_on == 0)
        return "never on";
    return test->n_on == test->n || train->n_on == train->n ? "always on" : NULL;
}

static sl_status score(sl_ctx *ctx, const table *t, int64_t feature, part side[2], double *w, sl_presence *out, sl_err *err)
{
    sl_design X = { .n_cols = t->d, .x = t->x };
    sl_probe_score s;
    part *test = &side[1];
    take(t, feature, 0, &side[0]);
    take(t, feature, 1, test);
    *out = (sl_presence){ .auc = NAN, .n = test->n, .n_on = test->n_on, .reason = not_scored(&side[0], test) };
    if (out->reason)
        return SL_OK;
    SL_TRY(sl_logistic(ctx, &X, side[0].rows, side[0].y, side[0].n, &(sl_logistic_opts){ .C = 1, .balanced = true, .max_iterations = 100 }, w, err));
    for (int64_t i = 0; i < test->n; i++)
        test->f[i] = sl_logistic_score(&X, test->rows[i], w);
    SL_TRY(sl_probe_score_of(ctx, test->f, test->y, test->n, &s, err));
    out->auc = s.auc;
    out->present = s.auc >= SL_PRESENT_AUC;
    return SL_OK;
}

static bool allocate(sl_ctx *ctx, table *t, part side[2], double **w)
{
    size_t n = (size_t)t->n, cells = n * (size_t)t->nf;
    t->x = sl_alloc(ctx, n * (size_t)t->d * sizeof *t->x);
    t->on = sl_alloc(ctx, cells);
    t->unknown = sl_alloc(ctx, cells);
    t->held_out = sl_alloc(ctx, n);
    *w = sl_alloc(ctx, (size_t)(t->d + 1) * sizeof **w);
    bool good = t->x && t->on && t->unknown && t->held_out && *w;
    for (int i = 0; i < 2; i++) {
        side[i].rows = sl_alloc(ctx, n * sizeof *side[i].rows);
        side[i].y = sl_alloc(ctx, n);
        side[i].f = sl_alloc(ctx, n * sizeof *side[i].f);
        good = good && side[i].rows && side[i].y && side[i].f;
    }
    return good;
}

static void release(sl_ctx *ctx, table *t, part side[2], double *w)
{
    void *all[] = { t->x, t->on, t->unknown, t->held_out, w, side[0].rows, side[0].y, side[0].f, side[1].rows, side[1].y, side[1].f };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        sl_free(ctx, all[i]);
}

sl_status sl_presence_filter(sl_ctx *ctx, sl_act_source *rows, int64_t n_rows, int64_t n_features, sl_presence *out, sl_err *err)
{
    table t = { .n = n_rows, .d = rows->info.d_in, .nf = n_features };
    part side[2] = { { 0 }, { 0 } };
    double *w = NULL;
    if (n_rows < 1 || n_rows > INT32_MAX || n_features < 1)
        return sl_fail(err, SL_ARG, "presence", "at least one row and one feature", "%lld rows, %lld features", (long long)n_rows, (long long)n_features);
    sl_status st = allocate(ctx, &t, side, &w) ? SL_OK : sl_fail(err, SL_MEM, "presence", NULL, "no memory for %lld rows", (long long)n_rows);
    if (st == SL_OK)
        st = read_rows(ctx, rows, &t, err);
    for (int64_t f = 0; f < n_features && st == SL_OK; f++) {
        st = score(ctx, &t, f, side, w, &out[f], err);
        sl_progress(ctx, "presence filter", (double)(f + 1), (double)n_features, "features", NULL);
    }
    release(ctx, &t, side, w);
    return st;
}
