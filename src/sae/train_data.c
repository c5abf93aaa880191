/* What the trainer does with rows: normalisation x -> (x - mean) * scale, the first b_dec, folding, and rows that are not finite. */
#include "io/io.h"
#include "sae/train.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { FIRST_ROWS = 8192 }; /* rows that the mean (where the source brings none), d_bar and b_dec are taken from */

void sl_sae_trainer_save_offender(sl_sae_trainer *t, const sl_act_batch *b)
{
    char name[64], path[1024];
    if (!t->dir)
        return;
    snprintf(name, sizeof name, "nonfinite-step-%lld.npy", (long long)t->step);
    sl_tensor x = sl_tensor_of(SL_F32, (void *)(uintptr_t)b->x, 2, b->n, t->s->d_in);
    sl_err why;
    if (sl_path_join(path, sizeof path, t->dir, name, &why) == SL_OK && sl_npy_write(t->ctx, path, &x, &why) == SL_OK)
        sl_log(t->ctx, SL_LOG_WARN, "the offending batch is in %s", path);
    else
        sl_log(t->ctx, SL_LOG_WARN, "the offending batch could not be saved: %s", why.msg);
}

/* what: "row" or "target of row"; x [n, d] belongs to b */
static sl_status all_finite(sl_sae_trainer *t, const sl_act_batch *b, const char *what, const float *x, int64_t d, sl_err *err)
{
    sl_tensor v = sl_tensor_of(SL_F32, (void *)(uintptr_t)x, 2, b->n, d);
    int64_t bad = t->k->not_finite(t->k, &v), r = bad / d;
    if (bad < 0)
        return SL_OK;
    sl_sae_trainer_save_offender(t, b);
    return sl_fail(err, SL_NUMERIC, "activations", "finite numbers", "step %lld: %s %lld of the batch (row %lld of the data), column %lld is %g",
                   (long long)t->step, what, (long long)r, b->row ? (long long)b->row[r] : -1LL, (long long)(bad % d), (double)x[bad]);
}

sl_status sl_sae_trainer_next(sl_sae_trainer *t, int64_t n, sl_act_batch *out, sl_err *err)
{
    double begin = sl_clock();
    SL_TRY(t->src->next(t->src, n, out, err));
    t->wait += sl_clock() - begin;
    if (out->n < 1 || out->n > n)
        return sl_fail(err, SL_SHAPE, "activations", "1 row to as many as asked for", "%lld rows where %lld were asked for", (long long)out->n, (long long)n);
    SL_TRY(all_finite(t, out, "row", out->x, t->s->d_in, err));
    if (!t->has_target)
        return SL_OK;
    if (!out->y)
        return sl_fail(err, SL_SHAPE, "activations", "rows with targets", "a batch came without targets");
    return all_finite(t, out, "target of row", out->y, t->s->d_out, err);
}

static void normalize(const sl_kern *k, const sl_sae_norm *m, const float *rows, int64_t n, sl_tensor *x)
{
    sl_tensor raw = sl_tensor_of(SL_F32, (void *)(uintptr_t)rows, 2, n, m->d);
    *x = sl_tensor_of(SL_F32, m->buffer, 2, n, m->d);
    if (m->mean) {
        sl_tensor mean = sl_tensor_of(SL_F32, m->mean, 1, m->d);
        k->add_row(k, &raw, -1, &mean, x);
        k->axpby(k, m->scale, x, 0, x);
    } else
        k->axpby(k, m->scale, &raw, 0, x);
}

void sl_sae_trainer_normalize(sl_sae_trainer *t, const sl_act_batch *b, sl_tensor *x, sl_tensor *y)
{
    sl_sae_trainer *o = t->like ? t->like : t;
    *x = sl_tensor_of(SL_F32, o->in.buffer, 2, b->n, t->s->d_in);
    *y = t->has_target ? sl_tensor_of(SL_F32, o->target.buffer, 2, b->n, t->s->d_out) : *x;
    if (o->rows_at == t->samples)
        return;
    normalize(t->k, &o->in, b->x, b->n, x);
    if (t->has_target)
        normalize(t->k, &o->target, b->y, b->n, y);
    o->rows_at = t->samples;
}

/* ---- mean and variance of the first rows ---- */

typedef struct moments {        /* of rows [n, d]; sums are of x - shift, so that a large mean costs no digits */
    int64_t d, n;
    float *shift;               /* [d] */
    double *mean;               /* [d] the sum until finish_moments */
    double sq, var;             /* var: mean |x - mean|^2 */
    float *rows;                /* [FIRST_ROWS, d] all of them, where their median is wanted; or NULL */
} moments;

static sl_status start_moments(sl_ctx *ctx, int64_t d, moments *m, sl_err *err)
{
    *m = (moments){ .d = d, .shift = sl_alloc(ctx, (size_t)d * sizeof *m->shift), .mean = sl_alloc(ctx, (size_t)d * sizeof *m->mean) };
    return m->shift && m->mean ? SL_OK : sl_fail(err, SL_MEM, "sae train", NULL, "no memory for the mean of %lld columns", (long long)d);
}

static void add_rows(moments *m, const float *x, int64_t n)
{
    if (m->rows)
        memcpy(m->rows + m->n * m->d, x, (size_t)(n * m->d) * sizeof *x);
    if (m->n == 0)
        memcpy(m->shift, x, (size_t)m->d * sizeof *m->shift);
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < m->d; j++) {
            double v = (double)x[i * m->d + j] - (double)m->shift[j];
            m->mean[j] += v;
            m->sq += v * v;
        }
    m->n += n;
}

static void finish_moments(moments *m)
{
    double off = 0;
    for (int64_t j = 0; j < m->d; j++) {
        m->mean[j] /= (double)m->n;
        off += m->mean[j] * m->mean[j];
        m->mean[j] += (double)m->shift[j];
    }
    m->var = m->sq / (double)m->n - off;
}

static sl_status first_moments(sl_sae_trainer *t, moments *in, moments *target, sl_err *err)
{
    int64_t want = t->src->info.n_rows > 0 && t->src->info.n_rows < FIRST_ROWS ? t->src->info.n_rows : FIRST_ROWS;
    while (in->n < want) {
        sl_act_batch b;
        SL_TRY(sl_sae_trainer_next(t, want - in->n < t->batch ? want - in->n : t->batch, &b, err));
        add_rows(in, b.x, b.n);
        if (t->has_target)
            add_rows(target, b.y, b.n);
    }
    finish_moments(in);
    if (t->has_target)
        finish_moments(target);
    return SL_OK;
}

/* known, known_scale: of the source, or NULL */
static sl_status normalisation(sl_sae_trainer *t, const moments *m, const float *known, double known_scale, sl_sae_norm *out, sl_err *err)
{
    if (!(m->var > 0))
        return sl_fail(err, SL_DATA, "activations", "rows that differ", "the first rows are all the same: zero variance");
    if (t->c->normalize) {
        out->mean = sl_alloc(t->ctx, (size_t)m->d * sizeof *out->mean);
        if (!out->mean)
            return sl_fail(err, SL_MEM, "sae train", NULL, "no memory for the mean of %lld columns", (long long)m->d);
        for (int64_t j = 0; j < m->d; j++)
            out->mean[j] = known ? known[j] : (float)m->mean[j];
        out->scale = known ? known_scale : sqrt((double)m->d / m->var);
    }
    if (!(out->scale > 0) || !isfinite(out->scale))
        return sl_fail(err, SL_DATA, "activations", "a positive number", "their scale is %g", out->scale);
    return SL_OK;
}

/* The geometric median, by Weiszfeld's iteration from the mean: at most 100 rounds, until a round moves it less than 1e-5 of its spread.
 * It replaces m->mean. A row at the median weighs as if it were 1e-6 of the spread away. */
static sl_status find_median(sl_ctx *ctx, moments *m, sl_err *err)
{
    double *sum = sl_alloc(ctx, (size_t)m->d * sizeof *sum), spread = sqrt(m->var), moved = INFINITY;
    if (!sum)
        return sl_fail(err, SL_MEM, "sae train", NULL, "no memory for the median of %lld columns", (long long)m->d);
    for (int round = 0; round < 100 && moved > 1e-5 * spread; round++) {
        double weights = 0;
        memset(sum, 0, (size_t)m->d * sizeof *sum);
        for (int64_t i = 0; i < m->n; i++) {
            const float *x = m->rows + i * m->d;
            double sq = 0;
            for (int64_t j = 0; j < m->d; j++)
                sq += ((double)x[j] - m->mean[j]) * ((double)x[j] - m->mean[j]);
            double w = 1 / fmax(sqrt(sq), 1e-6 * spread);
            for (int64_t j = 0; j < m->d; j++)
                sum[j] += w * (double)x[j];
            weights += w;
        }
        moved = 0;
        for (int64_t j = 0; j < m->d; j++) {
            double to = sum[j] / weights;
            moved += (to - m->mean[j]) * (to - m->mean[j]);
            m->mean[j] = to;
        }
        moved = sqrt(moved);
    }
    sl_free(ctx, sum);
    return SL_OK;
}

static sl_status first_bias(sl_sae_trainer *t, moments *m, const sl_sae_norm *y, sl_err *err)
{
    if (m->rows)
        SL_TRY(find_median(t->ctx, m, err));
    float *b_dec = t->s->b_dec->value.data;
    for (int64_t j = 0; j < m->d; j++)
        b_dec[j] = sl_sae_trainer_bias(t) == SL_BIAS_ZERO ? 0 : (float)((m->mean[j] - (y->mean ? (double)y->mean[j] : 0)) * y->scale);
    sl_param_touch(t->s->b_dec);
    return SL_OK;
}

static sl_status use_moments(sl_sae_trainer *t, moments *in, moments *target, sl_err *err)
{
    const sl_act_info *info = &t->src->info;
    SL_TRY(normalisation(t, in, info->mean, info->scale, &t->in, err));
    if (t->has_target)
        SL_TRY(normalisation(t, target, info->mean_y, info->scale_y, &t->target, err));
    const sl_sae_norm *y = t->has_target ? &t->target : &t->in;
    moments *m = t->has_target ? target : in;
    t->d_bar = y->scale * y->scale * m->var;
    return first_bias(t, m, y, err);
}

static sl_status keep_rows(sl_sae_trainer *t, moments *m, sl_err *err)
{
    if (sl_sae_trainer_bias(t) != SL_BIAS_MEDIAN)
        return SL_OK;
    m->rows = sl_alloc(t->ctx, (size_t)(FIRST_ROWS * m->d) * sizeof *m->rows);
    return m->rows ? SL_OK : sl_fail(err, SL_MEM, "sae train", NULL, "no memory for %d rows of %lld", FIRST_ROWS, (long long)m->d);
}

sl_status sl_sae_trainer_prepare_data(sl_sae_trainer *t, sl_err *err)
{
    moments in = { 0 }, target = { 0 };
    sl_status st = start_moments(t->ctx, t->s->d_in, &in, err);
    if (st == SL_OK && t->has_target)
        st = start_moments(t->ctx, t->s->d_out, &target, err);
    if (st == SL_OK)
        st = keep_rows(t, t->has_target ? &target : &in, err);
    if (st == SL_OK)
        st = t->src->seek(t->src, 0, err);
    if (st == SL_OK)
        st = first_moments(t, &in, &target, err);
    if (st == SL_OK)
        st = use_moments(t, &in, &target, err);
    if (st == SL_OK)
        st = t->src->seek(t->src, 0, err);
    sl_free(t->ctx, in.rows);
    sl_free(t->ctx, target.rows);
    sl_free(t->ctx, in.shift);
    sl_free(t->ctx, in.mean);
    sl_free(t->ctx, target.shift);
    sl_free(t->ctx, target.mean);
    return st;
}

/* ---- folding ---- */

sl_status sl_sae_trainer_fold(sl_sae_trainer *t, sl_err *err)
{
    sl_sae *s = t->s;
    const sl_kern *k = t->k;
    const sl_sae_norm *y = t->has_target ? &t->target : &t->in;
    sl_tensor mean = sl_tensor_of(SL_F32, t->in.mean, 1, s->d_in), mean_y = sl_tensor_of(SL_F32, y->mean, 1, s->d_out);
    sl_sae_fold f = { t->in.mean ? &mean : NULL, y->mean ? &mean_y : NULL, t->in.scale, y->scale };
    if (!(s->ops->fold ? s->ops->fold(k, s, &f) : sl_sae_fold_linear(k, s, &f)))
        return sl_fail(err, SL_MEM, "sae train", NULL, "no memory to fold the normalisation into the weights");
    for (int i = 0; i < sl_params_count(s->params); i++) {
        sl_param *p = sl_params_at(s->params, i);
        sl_param_touch(p);
        if (k->not_finite(k, &p->value) >= 0)
            return sl_fail(err, SL_NUMERIC, p->name, "finite numbers", "a weight is not finite after step %lld", (long long)t->step);
    }
    s->mean = t->in.mean;
    t->in.mean = NULL;
    s->scale = t->in.scale;
    s->stage = SL_SAE_READY;
    return SL_OK;
}
