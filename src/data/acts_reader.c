/* Reading an activation store: the shards are mapped, rows come in their stored (shuffled) order and are checked as they go out. */
#include "data/acts_store.h"

#include <inttypes.h>
#include <string.h>

typedef struct store {
    sl_ctx *ctx;
    char dir[SL_ACTS_PATH];
    sl__acts_manifest m;
    sl_dict *shards;                               /* [n_shards], mapped */
    const sl_tensor *(*cols)[SL_ACTS_COLUMNS];     /* [n_shards], into shards; NULL: no such column */
    float *mean;
    char *label_text;
    const char **labels;
    int64_t at;                                    /* next row, 0..n_rows-1 */
    int64_t cap;                                   /* rows that the buffers hold */
    float *x;
    int64_t *row;
    int32_t *side[SL_ACTS_COLUMNS];                /* [0] unused */
} store;

/* ---- delivering ---- */

static void free_buffers(store *s)
{
    sl_free(s->ctx, s->x);
    sl_free(s->ctx, s->row);
    s->x = NULL;
    s->row = NULL;
    for (int c = 1; c < SL_ACTS_COLUMNS; c++) {
        sl_free(s->ctx, s->side[c]);
        s->side[c] = NULL;
    }
    s->cap = 0;
}

static sl_status need_buffers(store *s, int64_t n, sl_err *err)
{
    if (n <= s->cap)
        return SL_OK;
    free_buffers(s);
    bool good = (s->x = sl_alloc(s->ctx, (size_t)(n * s->m.d_in) * sizeof *s->x)) != NULL;
    good = good && (s->row = sl_alloc(s->ctx, (size_t)n * sizeof *s->row)) != NULL;
    for (int c = 1; c < SL_ACTS_COLUMNS; c++)
        if (s->m.col[c])
            good = good && (s->side[c] = sl_alloc(s->ctx, (size_t)n * sizeof **s->side)) != NULL;
    if (!good) {
        free_buffers(s);
        return sl_fail(err, SL_MEM, s->dir, NULL, "no memory for a batch of %" PRId64 " rows", n);
    }
    s->cap = n;
    return SL_OK;
}

static int64_t first_not_finite(const float *x, int64_t n)
{
    uint32_t bad = 0;
    for (int64_t i = 0; i < n; i++) { /* exponent all ones; no branch, so that it is as fast as the copy */
        uint32_t bits;
        memcpy(&bits, &x[i], sizeof bits);
        bad |= (uint32_t)((bits & 0x7f800000u) == 0x7f800000u);
    }
    for (int64_t i = 0; bad && i < n; i++)
        if (x[i] - x[i] != 0)
            return i;
    return -1;
}

/* Rows [first, first + n) of one shard to the place `to` of the buffers. */
static sl_status copy_rows(store *s, int64_t shard, int64_t first, int64_t n, int64_t to, sl_err *err)
{
    int64_t d = s->m.d_in;
    const char *src = s->cols[shard][0]->data;
    float *x = s->x + to * d;
    sl_to_f32(src + (size_t)(first * d) * sl_dtype_size(s->m.dtype), s->m.dtype, x, n * d);
    int64_t bad = first_not_finite(x, n * d);
    if (bad >= 0) {
        char path[SL_ACTS_PATH];
        SL_TRY(sl__acts_file(s->dir, shard, path, err));
        return sl_fail(err, SL_NUMERIC, path, "finite numbers", "row %" PRId64 " of this shard, column %" PRId64 ": %g", first + bad / d, bad % d,
                       (double)x[bad]);
    }
    for (int64_t i = 0; i < n; i++)
        s->row[to + i] = shard * s->m.shard_rows + first + i;
    for (int c = 1; c < SL_ACTS_COLUMNS; c++)
        if (s->m.col[c])
            memcpy(s->side[c] + to, (const int32_t *)s->cols[shard][c]->data + first, (size_t)n * sizeof(int32_t));
    return SL_OK;
}

/* Asks for the rows that the next two calls will want, so that the disk works while the caller computes. */
static void read_ahead(store *s, int64_t at, int64_t n)
{
    int64_t shard = at / s->m.shard_rows, first = at % s->m.shard_rows, rows = sl__acts_rows(&s->m, shard);
    size_t row = (size_t)s->m.d_in * sl_dtype_size(s->m.dtype);
    int64_t want = 2 * n < rows - first ? 2 * n : rows - first;
    sl_mmap_will_need(&s->shards[shard].map, (const char *)s->cols[shard][0]->data + (size_t)first * row, (size_t)want * row);
}

static sl_status next(sl_act_source *src, int64_t n, sl_act_batch *out, sl_err *err)
{
    store *s = src->impl;
    int64_t at = s->at;
    if (n < 1 || n > INT32_MAX)
        return sl_fail(err, SL_ARG, s->dir, "at least one row", "a batch of %" PRId64 " rows", n);
    SL_TRY(need_buffers(s, n, err));
    for (int64_t got = 0; got < n;) {
        int64_t shard = at / s->m.shard_rows, first = at % s->m.shard_rows, rest = sl__acts_rows(&s->m, shard) - first;
        int64_t take = n - got < rest ? n - got : rest;
        SL_TRY(copy_rows(s, shard, first, take, got, err));
        got += take;
        at = (at + take) % s->m.n_rows;
    }
    s->at = at;
    read_ahead(s, at, n);
    *out = (sl_act_batch){ .x = s->x, .n = n, .row = s->row, .token = s->side[1], .doc = s->side[2], .pos = s->side[3] };
    return SL_OK;
}

static sl_status seek(sl_act_source *src, int64_t row, sl_err *err)
{
    store *s = src->impl;
    if (row < 0)
        return sl_fail(err, SL_ARG, s->dir, "from 0", "seek to row %" PRId64, row);
    s->at = row % s->m.n_rows;
    return SL_OK;
}

static void close_store(sl_act_source *src)
{
    store *s = src->impl;
    sl_ctx *ctx = s->ctx;
    free_buffers(s);
    for (int64_t i = 0; s->shards && i < s->m.n_shards; i++)
        sl_dict_release(&s->shards[i]);
    sl_free(ctx, s->shards);
    sl_free(ctx, (void *)s->cols);
    sl_free(ctx, s->m.shard_sum);
    sl_free(ctx, s->mean);
    sl_free(ctx, s->label_text);
    sl_free(ctx, (void *)s->labels);
    sl_free(ctx, s);
    sl_free(ctx, src);
}

void sl_act_source_free(sl_act_source *s)
{
    if (s)
        s->close(s);
}

/* ---- opening ---- */

static sl_status same_sum(const char *path, const void *data, size_t n, uint64_t want, sl_err *err)
{
    uint64_t got = sl_xxh64(data, n);
    if (got == want)
        return SL_OK;
    return sl_fail(err, SL_DATA, path, NULL, "the checksum is %016" PRIx64 ", the manifest has %016" PRIx64 ": the file is corrupt", got, want);
}

static sl_status open_shard(store *s, int64_t i, bool verify, sl_err *err)
{
    const char *names[SL_ACTS_COLUMNS];
    sl_tensor t[SL_ACTS_COLUMNS];
    int column[SL_ACTS_COLUMNS], n = sl__acts_tensors(&s->m, i, names, t, column);
    char path[SL_ACTS_PATH];
    sl_dict *d = &s->shards[i];
    SL_TRY(sl__acts_file(s->dir, i, path, err));
    SL_TRY(sl_safetensors_read(s->ctx, path, d, err));
    for (int k = 0; k < n; k++)
        SL_TRY(sl_dict_need_as(d, path, names[k], t[k].dtype, t[k].n_dim, t[k].dim, &s->cols[i][column[k]], err));
    return verify ? same_sum(path, d->map.data, d->map.n, s->m.shard_sum[i], err) : SL_OK;
}

static sl_status open_mean(store *s, sl_err *err)
{
    char path[SL_ACTS_PATH];
    sl_dict d;
    const sl_tensor *t;
    SL_TRY(sl_path_join(path, sizeof path, s->dir, "mean.safetensors", err));
    SL_TRY(sl_safetensors_read(s->ctx, path, &d, err));
    sl_status st;
    SL_GO(same_sum(path, d.map.data, d.map.n, s->m.mean_sum, err));
    SL_GO(sl_dict_need_as(&d, path, "mean", SL_F32, 1, &s->m.d_in, &t, err));
    s->mean = sl_alloc(s->ctx, sl_nbytes(t));
    if (!s->mean)
        SL_GO(sl_fail(err, SL_MEM, path, NULL, "no memory for the mean"));
    memcpy(s->mean, t->data, sl_nbytes(t));
done:
    sl_dict_release(&d);
    return st;
}

static sl_status open_labels(store *s, sl_err *err)
{
    char path[SL_ACTS_PATH];
    size_t n;
    SL_TRY(sl_path_join(path, sizeof path, s->dir, "labels.txt", err));
    SL_TRY(sl_file_read(s->ctx, path, &s->label_text, &n, err));
    SL_TRY(same_sum(path, s->label_text, n, s->m.labels_sum, err));
    s->labels = sl_alloc(s->ctx, (size_t)s->m.n_rows * sizeof *s->labels);
    if (!s->labels)
        return sl_fail(err, SL_MEM, path, NULL, "no memory for %" PRId64 " labels", s->m.n_rows);
    int64_t rows = 0;
    for (char *p = s->label_text, *end; (end = strchr(p, '\n')) != NULL; p = end + 1) {
        *end = 0;
        if (rows < s->m.n_rows)
            s->labels[rows] = p;
        rows++;
    }
    if (rows != s->m.n_rows)
        return sl_fail(err, SL_DATA, path, NULL, "%" PRId64 " labels for %" PRId64 " rows", rows, s->m.n_rows);
    return SL_OK;
}

static void fill_info(const store *s, const char hash[65], sl_act_info *info)
{
    *info = (sl_act_info){ .n_rows = s->m.n_rows, .d_in = s->m.d_in, .mean = s->mean, .scale = s->m.scale, .has_tokens = s->m.col[1],
                           .labels = s->labels, .n_labels = s->labels ? s->m.n_rows : 0 };
    memcpy(info->hook, s->m.hook, sizeof info->hook);
    memcpy(info->model, s->m.model, sizeof info->model);
    memcpy(info->dataset, s->m.dataset, sizeof info->dataset);
    memcpy(info->data_hash, hash, sizeof info->data_hash);
}

static sl_status open_all(store *s, const char *dir, bool verify, char hash[65], sl_err *err)
{
    if (strlen(dir) >= sizeof s->dir)
        return sl_fail(err, SL_ARG, dir, NULL, "the path is too long");
    memcpy(s->dir, dir, strlen(dir) + 1);
    SL_TRY(sl__acts_load(s->ctx, dir, &s->m, hash, err));
    s->shards = sl_alloc(s->ctx, (size_t)s->m.n_shards * sizeof *s->shards);
    s->cols = sl_alloc(s->ctx, (size_t)s->m.n_shards * sizeof *s->cols);
    if (!s->shards || !s->cols)
        return sl_fail(err, SL_MEM, dir, NULL, "no memory for %" PRId64 " shards", s->m.n_shards);
    for (int64_t i = 0; i < s->m.n_shards; i++)
        sl_dict_init(s->ctx, &s->shards[i]);
    for (int64_t i = 0; i < s->m.n_shards; i++)
        SL_TRY(open_shard(s, i, verify, err));
    SL_TRY(open_mean(s, err));
    return s->m.labels ? open_labels(s, err) : SL_OK;
}

sl_status sl_acts_open(sl_ctx *ctx, const char *dir, bool verify, sl_act_source **out, sl_err *err)
{
    char hash[65] = "";
    *out = NULL;
    sl_act_source *src = sl_alloc(ctx, sizeof *src);
    store *s = sl_alloc(ctx, sizeof *s);
    if (!src || !s) {
        sl_free(ctx, src);
        sl_free(ctx, s);
        return sl_fail(err, SL_MEM, dir, NULL, "no memory to open the store");
    }
    s->ctx = ctx;
    *src = (sl_act_source){ .impl = s, .next = next, .seek = seek, .close = close_store };
    sl_status st = open_all(s, dir, verify, hash, err);
    if (st != SL_OK) {
        close_store(src);
        return st;
    }
    fill_info(s, hash, &src->info);
    *out = src;
    return SL_OK;
}
