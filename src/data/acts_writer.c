/* Writing an activation store. Rows go straight to their shuffled place in the shards, so that memory holds one row whatever the
 * store's size. Everything is written into DIR.partial, locked, and renamed at the end: a store is there whole or not at all. A capture
 * that was cut off starts again, and removes what the last one left. */
#include "data/acts_store.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>

enum { DEFAULT_SHARD = 256 << 20, DEFAULT_MAX_SHARDS = 256 };

typedef struct shard {
    sl_scatter *f;
    int64_t at[SL_ACTS_COLUMNS]; /* where each column begins, bytes */
} shard;

struct sl_acts_writer {
    sl_ctx *ctx;
    char dir[SL_ACTS_PATH], partial[SL_ACTS_PATH];
    int lock;
    sl__acts_manifest m;
    sl__perm perm;
    shard *shards;       /* [n_shards], opened by the first append, which shows the columns */
    int64_t n_in;        /* rows so far */
    const char *source;  /* where rows come from in errors: the store, or a file whose first row was number source_row */
    int64_t source_row;
    double *mean, *m2;   /* [d_in] running mean and sum of squared deviations (Welford 1962) of the rows as stored */
    void *stored;        /* one row of the store's dtype */
    float *back;         /* the same as the reader will see it */
};

/* ---- creating ---- */

static sl_status set_dir(sl_acts_writer *w, const char *dir, sl_err *err)
{
    size_t n = strlen(dir);
    while (n > 1 && dir[n - 1] == '/')
        n--;
    if (n == 0 || n + 10 > SL_ACTS_PATH)
        return sl_fail(err, SL_ARG, dir, NULL, n ? "the path is too long" : "the folder's name is empty");
    snprintf(w->dir, sizeof w->dir, "%.*s", (int)n, dir);
    snprintf(w->partial, sizeof w->partial, "%.*s.partial", (int)n, dir);
    return sl_path_exists(w->dir) ? sl_fail(err, SL_EXISTS, w->dir, "a new folder", "is already there") : SL_OK;
}

static sl_status set_shards(sl_acts_writer *w, int64_t asked, sl_err *err)
{
    sl__acts_manifest *m = &w->m;
    int64_t row = m->d_in * (int64_t)sl_dtype_size(m->dtype);
    m->shard_rows = asked;
    if (asked == 0) { /* larger ones rather than thousands of open files */
        int64_t even = (m->n_rows - 1) / DEFAULT_MAX_SHARDS + 1;
        m->shard_rows = DEFAULT_SHARD / row > even ? DEFAULT_SHARD / row : even;
    }
    if (m->shard_rows > m->n_rows)
        m->shard_rows = m->n_rows;
    m->n_shards = (m->n_rows - 1) / m->shard_rows + 1;
    if (m->n_shards > SL_ACTS_MAX_SHARDS)
        return sl_fail(err, SL_ARG, w->dir, "at most 512 shards", "shards of %" PRId64 " rows make %" PRId64 " shards", m->shard_rows, m->n_shards);
    return SL_OK;
}

static sl_status set_manifest(sl_acts_writer *w, const sl_act_info *info, int64_t n_rows, const sl_acts_opts *o, sl_err *err)
{
    sl__acts_manifest *m = &w->m;
    if (o->dtype != SL_F32 && o->dtype != SL_F16 && o->dtype != SL_BF16)
        return sl_fail(err, SL_ARG, w->dir, "F32, F16 or BF16", "a store of dtype %s", sl_dtype_name(o->dtype));
    if (n_rows < 1 || n_rows > (int64_t)1 << 40 || info->d_in < 1 || info->d_in > 1 << 20 || o->shard_rows < 0)
        return sl_fail(err, SL_ARG, w->dir, "at least one row of at least one value", "a store of %" PRId64 " rows of %" PRId64 " values", n_rows, info->d_in);
    if (info->labels && info->n_labels != n_rows)
        return sl_fail(err, SL_DATA, w->dir, "one label a row", "%" PRId64 " labels for %" PRId64 " rows", info->n_labels, n_rows);
    m->n_rows = n_rows;
    m->d_in = info->d_in;
    m->dtype = o->dtype;
    m->shuffle = o->shuffle;
    m->seed = o->seed;
    m->labels = info->labels != NULL;
    memcpy(m->hook, info->hook, sizeof m->hook);
    memcpy(m->model, info->model, sizeof m->model);
    memcpy(m->dataset, info->dataset, sizeof m->dataset);
    w->perm = sl__perm_of((uint64_t)n_rows, o->seed, o->shuffle);
    return set_shards(w, o->shard_rows, err);
}

static sl_status set_memory(sl_acts_writer *w, sl_err *err)
{
    sl_ctx *ctx = w->ctx;
    size_t d = (size_t)w->m.d_in, n = (size_t)w->m.n_shards;
    if (!(w->m.shard_sum = sl_alloc(ctx, n * sizeof *w->m.shard_sum)) || !(w->shards = sl_alloc(ctx, n * sizeof *w->shards)) ||
        !(w->mean = sl_alloc(ctx, d * sizeof *w->mean)) || !(w->m2 = sl_alloc(ctx, d * sizeof *w->m2)) ||
        !(w->stored = sl_alloc(ctx, d * sizeof(float))) || !(w->back = sl_alloc(ctx, d * sizeof *w->back)))
        return sl_fail(err, SL_MEM, w->dir, NULL, "no memory to write the store");
    return SL_OK;
}

static sl_status make_folder(sl_acts_writer *w, sl_err *err)
{
    SL_TRY(sl_dir_make(w->partial, err));
    SL_TRY(sl_dir_lock(w->partial, &w->lock, err));
    SL_TRY(sl_dir_clear(w->partial, err));
    double need = (double)w->m.n_rows * ((double)w->m.d_in * (double)sl_dtype_size(w->m.dtype) + 12);
    int64_t have = sl_disk_free(w->partial);
    if (have >= 0 && need > (double)have)
        return sl_fail(err, SL_IO, w->dir, NULL, "the store needs %.1f GB, the disk has %.1f GB free", need * 1e-9, (double)have * 1e-9);
    return SL_OK;
}

static sl_status write_labels(sl_acts_writer *w, const char *const *labels, sl_err *err)
{
    char path[SL_ACTS_PATH];
    sl_atomic *f;
    sl_status st = SL_OK;
    SL_TRY(sl_path_join(path, sizeof path, w->partial, "labels.txt", err));
    SL_TRY(sl_atomic_open(w->ctx, path, &f, err));
    for (int64_t i = 0; st == SL_OK && i < w->m.n_rows; i++) {
        const char *text = labels[sl__perm_from(&w->perm, (uint64_t)i)];
        if (strchr(text, '\n'))
            st = sl_fail(err, SL_DATA, w->dir, "one line a label", "the label '%.100s' has several", text);
        else
            st = sl_atomic_printf(f, err, "%s\n", text);
    }
    if (st == SL_OK)
        return sl_atomic_commit(f, err);
    sl_atomic_abort(f);
    return st;
}

sl_status sl_acts_create(sl_ctx *ctx, const char *dir, const sl_act_info *info, int64_t n_rows, const sl_acts_opts *opts, sl_acts_writer **out,
                         sl_err *err)
{
    *out = NULL;
    sl_acts_writer *w = sl_alloc(ctx, sizeof *w);
    if (!w)
        return sl_fail(err, SL_MEM, dir, NULL, "no memory to write the store");
    w->ctx = ctx;
    w->lock = -1;
    sl_status st;
    SL_GO(set_dir(w, dir, err));
    SL_GO(set_manifest(w, info, n_rows, opts, err));
    SL_GO(set_memory(w, err));
    SL_GO(make_folder(w, err));
    if (info->labels)
        SL_GO(write_labels(w, info->labels, err));
    sl__acts_source(w, w->dir);
    *out = w;
    return SL_OK;
done:
    sl_acts_abort(w);
    return st;
}

/* ---- appending ---- */

void sl__acts_source(sl_acts_writer *w, const char *source)
{
    w->source = source;
    w->source_row = w->n_in;
}

static sl_status open_shard(sl_acts_writer *w, int64_t i, sl_err *err)
{
    const char *names[SL_ACTS_COLUMNS];
    sl_tensor t[SL_ACTS_COLUMNS];
    int column[SL_ACTS_COLUMNS], n = sl__acts_tensors(&w->m, i, names, t, column);
    int64_t at[SL_ACTS_COLUMNS + 1];
    char path[SL_ACTS_PATH], *header;
    SL_TRY(sl__acts_file(w->partial, i, path, err));
    SL_TRY(sl_safetensors_plan(w->ctx, path, n, names, t, NULL, &header, at, err));
    sl_status st = sl_scatter_open(w->ctx, path, at[n], &w->shards[i].f, err);
    if (st == SL_OK)
        st = sl_scatter_write(w->shards[i].f, header, (size_t)at[0], 0, err);
    for (int k = 0; k < n; k++)
        w->shards[i].at[column[k]] = at[k];
    sl_free(w->ctx, header);
    return st;
}

static sl_status set_columns(sl_acts_writer *w, const int32_t *const side[SL_ACTS_COLUMNS], sl_err *err)
{
    if (w->n_in == 0 && !w->m.col[0]) {
        w->m.col[0] = true;
        for (int c = 1; c < SL_ACTS_COLUMNS; c++)
            w->m.col[c] = side[c] != NULL;
        for (int64_t i = 0; i < w->m.n_shards; i++)
            SL_TRY(open_shard(w, i, err));
    }
    for (int c = 1; c < SL_ACTS_COLUMNS; c++)
        if (w->m.col[c] != (side[c] != NULL))
            return sl_fail(err, SL_ARG, w->dir, NULL, "tokens, documents and positions come with all rows or with none");
    return SL_OK;
}

/* The row in the store's dtype and as the reader will see it, and that it is finite. */
static sl_status convert_row(sl_acts_writer *w, const float *x, sl_err *err)
{
    int64_t d = w->m.d_in, row = w->n_in - w->source_row;
    sl_from_f32(x, w->m.dtype, w->stored, d);
    sl_to_f32(w->stored, w->m.dtype, w->back, d);
    for (int64_t i = 0; i < d; i++) {
        if (!isfinite(x[i]))
            return sl_fail(err, SL_NUMERIC, w->source, "finite numbers", "row %" PRId64 " of the input, column %" PRId64 ": %g", row, i, (double)x[i]);
        if (!isfinite(w->back[i]))
            return sl_fail(err, SL_NUMERIC, w->source, NULL, "row %" PRId64 " of the input, column %" PRId64 ": %g is too large for %s", row, i,
                           (double)x[i], sl_dtype_name(w->m.dtype));
    }
    return SL_OK;
}

static void add_moments(sl_acts_writer *w)
{
    double inv = 1.0 / (double)(w->n_in + 1);
    for (int64_t i = 0; i < w->m.d_in; i++) {
        double delta = (double)w->back[i] - w->mean[i];
        w->mean[i] += delta * inv;
        w->m2[i] += delta * ((double)w->back[i] - w->mean[i]);
    }
}

static sl_status put_row(sl_acts_writer *w, const int32_t *const side[SL_ACTS_COLUMNS], int64_t r, sl_err *err)
{
    int64_t place = (int64_t)sl__perm_to(&w->perm, (uint64_t)w->n_in), row = place % w->m.shard_rows;
    const shard *s = &w->shards[place / w->m.shard_rows];
    assert(s->f); /* after a failed append only abort or finish are legal */
    size_t bytes = (size_t)w->m.d_in * sl_dtype_size(w->m.dtype);
    SL_TRY(sl_scatter_write(s->f, w->stored, bytes, s->at[0] + row * (int64_t)bytes, err));
    for (int c = 1; c < SL_ACTS_COLUMNS; c++)
        if (side[c])
            SL_TRY(sl_scatter_write(s->f, &side[c][r], sizeof(int32_t), s->at[c] + row * (int64_t)sizeof(int32_t), err));
    return SL_OK;
}

sl_status sl_acts_append(sl_acts_writer *w, const float *x, int64_t n, const int32_t *token, const int32_t *doc, const int32_t *pos, sl_err *err)
{
    const int32_t *const side[SL_ACTS_COLUMNS] = { NULL, token, doc, pos };
    if (n > w->m.n_rows - w->n_in)
        return sl_fail(err, SL_DATA, w->dir, NULL, "more than the %" PRId64 " rows that were announced", w->m.n_rows);
    SL_TRY(set_columns(w, side, err));
    for (int64_t r = 0; r < n; r++) {
        SL_TRY(convert_row(w, x + r * w->m.d_in, err));
        SL_TRY(put_row(w, side, r, err));
        add_moments(w);
        w->n_in++;
    }
    return SL_OK;
}

/* ---- finishing ---- */

static sl_status sum_file(const char *path, uint64_t *sum, sl_err *err)
{
    sl_mmap map;
    SL_TRY(sl_mmap_open(path, &map, err));
    *sum = sl_xxh64(map.data, map.n);
    sl_mmap_close(&map);
    return SL_OK;
}

static sl_status close_shards(sl_acts_writer *w, sl_err *err)
{
    for (int64_t i = 0; i < w->m.n_shards; i++) {
        char path[SL_ACTS_PATH];
        sl_scatter *f = w->shards[i].f;
        w->shards[i].f = NULL;
        SL_TRY(sl_scatter_close(f, err));
        SL_TRY(sl__acts_file(w->partial, i, path, err));
        SL_TRY(sum_file(path, &w->m.shard_sum[i], err));
    }
    return SL_OK;
}

/* scale = sqrt(d_in / mean |x - mean|^2): science.md section 0, "scale by one scalar s so that mean |x|^2 = d" */
static sl_status write_moments(sl_acts_writer *w, sl_err *err)
{
    char path[SL_ACTS_PATH];
    double sum = 0;
    for (int64_t i = 0; i < w->m.d_in; i++) {
        sum += w->m2[i];
        w->back[i] = (float)w->mean[i];
    }
    w->m.scale = sqrt((double)w->m.d_in / (sum / (double)w->m.n_rows));
    if (!(sum > 0) || !isfinite(w->m.scale))
        return sl_fail(err, SL_DATA, w->dir, "rows that differ", "all %" PRId64 " rows are the same: the variance is zero, so there is nothing to scale by",
                       w->m.n_rows);
    const char *name = "mean";
    sl_tensor mean = sl_tensor_of(SL_F32, w->back, 1, w->m.d_in);
    SL_TRY(sl_path_join(path, sizeof path, w->partial, "mean.safetensors", err));
    SL_TRY(sl_safetensors_write(w->ctx, path, 1, &name, &mean, NULL, err));
    SL_TRY(sum_file(path, &w->m.mean_sum, err));
    if (!w->m.labels)
        return SL_OK;
    SL_TRY(sl_path_join(path, sizeof path, w->partial, "labels.txt", err));
    return sum_file(path, &w->m.labels_sum, err);
}

static void release(sl_acts_writer *w)
{
    for (int64_t i = 0; w->shards && i < w->m.n_shards; i++)
        sl_scatter_abort(w->shards[i].f);
    sl_dir_unlock(w->lock);
    sl_free(w->ctx, w->m.shard_sum);
    sl_free(w->ctx, w->shards);
    sl_free(w->ctx, w->mean);
    sl_free(w->ctx, w->m2);
    sl_free(w->ctx, w->stored);
    sl_free(w->ctx, w->back);
    sl_free(w->ctx, w);
}

sl_status sl_acts_finish(sl_acts_writer *w, sl_err *err)
{
    sl_status st;
    if (w->n_in != w->m.n_rows)
        SL_GO(sl_fail(err, SL_DATA, w->dir, NULL, "%" PRId64 " rows came of %" PRId64 " that were announced", w->n_in, w->m.n_rows));
    SL_GO(close_shards(w, err));
    SL_GO(write_moments(w, err));
    SL_GO(sl__acts_save(w->ctx, w->partial, &w->m, err));
    SL_GO(sl_path_rename(w->partial, w->dir, err));
    release(w);
    return SL_OK;
done:
    sl_acts_abort(w);
    return st;
}

void sl_acts_abort(sl_acts_writer *w)
{
    if (!w)
        return;
    sl_err err;
    if (w->lock >= 0 && sl_dir_remove(w->partial, &err) != SL_OK) /* without the lock the folder is another's */
        sl_log(w->ctx, SL_LOG_WARN, "%s", err.msg);
    release(w);
}
