/* The manifest of an activation store. */
#include "data/acts_store.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define FORMAT "saelab-acts"
enum { VERSION = 1 };

static const char *const COLUMN[SL_ACTS_COLUMNS] = { "x", "token", "doc", "pos" };

int64_t sl__acts_rows(const sl__acts_manifest *m, int64_t shard)
{
    int64_t rest = m->n_rows - shard * m->shard_rows;
    return rest < m->shard_rows ? rest : m->shard_rows;
}

int sl__acts_tensors(const sl__acts_manifest *m, int64_t shard, const char *names[SL_ACTS_COLUMNS], sl_tensor t[SL_ACTS_COLUMNS],
                     int column[SL_ACTS_COLUMNS])
{
    int n = 0;
    int64_t rows = sl__acts_rows(m, shard);
    for (int c = 0; c < SL_ACTS_COLUMNS; c++) {
        if (!m->col[c])
            continue;
        names[n] = COLUMN[c];
        t[n] = c == 0 ? sl_tensor_of(m->dtype, NULL, 2, rows, m->d_in) : sl_tensor_of(SL_I32, NULL, 1, rows);
        column[n++] = c;
    }
    return n;
}

static void file_name(int64_t shard, char out[40]) { snprintf(out, 40, "acts-%05" PRId64 ".safetensors", shard); }

sl_status sl__acts_file(const char *dir, int64_t shard, char path[SL_ACTS_PATH], sl_err *err)
{
    char name[40];
    file_name(shard, name);
    return sl_path_join(path, SL_ACTS_PATH, dir, name, err);
}

/* data_hash = SHA-256 over what the manifest says: description, rows, checksums; not over paths, nor over how often it was written. */
static sl_status hash_of(sl_ctx *ctx, const sl__acts_manifest *m, char hex[65], sl_err *err)
{
    size_t size = 1024 + (size_t)m->n_shards * 48;
    char *text = sl_alloc(ctx, size);
    if (!text)
        return sl_fail(err, SL_MEM, "activation store", NULL, "no memory for its hash");
    size_t n = (size_t)snprintf(text, size,
                                FORMAT " %d\nd_in %" PRId64 "\nn_rows %" PRId64 "\nhook %s\nmodel %s\ndataset %s\ndtype %s\nshuffle %d %" PRIu64
                                "\ncolumns %d%d%d\nscale %.17g\nmean %016" PRIx64 "\nlabels %016" PRIx64 "\n",
                                VERSION, m->d_in, m->n_rows, m->hook, m->model, m->dataset, sl_dtype_name(m->dtype), m->shuffle, m->seed,
                                m->col[1], m->col[2], m->col[3], m->scale, m->mean_sum, m->labels_sum);
    for (int64_t i = 0; i < m->n_shards; i++)
        n += (size_t)snprintf(text + n, size - n, "%" PRId64 " %016" PRIx64 "\n", sl__acts_rows(m, i), m->shard_sum[i]);
    sl_sha256_hex(text, n, hex);
    sl_free(ctx, text);
    return SL_OK;
}

/* ---- writing ---- */

static json_t *sum_json(uint64_t sum)
{
    char hex[20];
    snprintf(hex, sizeof hex, "%016" PRIx64, sum);
    return json_string(hex);
}

static json_t *shards_json(const sl__acts_manifest *m)
{
    json_t *list = json_array();
    for (int64_t i = 0; i < m->n_shards; i++) {
        char name[40];
        file_name(i, name);
        json_array_append_new(list, json_pack("{s:s, s:I, s:o}", "file", name, "rows", (json_int_t)sl__acts_rows(m, i), "xxh3", sum_json(m->shard_sum[i])));
    }
    return list;
}

sl_status sl__acts_save(sl_ctx *ctx, const char *dir, const sl__acts_manifest *m, sl_err *err)
{
    char path[SL_ACTS_PATH], hash[65], seed[32];
    SL_TRY(sl_path_join(path, sizeof path, dir, "manifest.json", err));
    SL_TRY(hash_of(ctx, m, hash, err));
    snprintf(seed, sizeof seed, "%" PRIu64, m->seed);
    json_t *j = json_pack("{s:s, s:i, s:I, s:I, s:s, s:s, s:s, s:s}", "format", FORMAT, "version", VERSION, "d_in", (json_int_t)m->d_in, "n_rows",
                          (json_int_t)m->n_rows, "hook", m->hook, "model", m->model, "dataset", m->dataset, "dtype", sl_dtype_name(m->dtype));
    json_t *more = json_pack("{s:b, s:s, s:b, s:b, s:b, s:b, s:f, s:o, s:o, s:I, s:o, s:s}", "shuffled", m->shuffle, "shuffle_seed", seed, "has_tokens",
                             m->col[1], "has_docs", m->col[2], "has_positions", m->col[3], "has_labels", m->labels, "scale", m->scale, "mean_xxh3",
                             sum_json(m->mean_sum), "labels_xxh3", m->labels ? sum_json(m->labels_sum) : json_null(), "shard_rows",
                             (json_int_t)m->shard_rows, "shards", shards_json(m), "data_hash", hash);
    sl_status st;
    if (!j || !more || json_object_update(j, more) != 0)
        st = sl_fail(err, SL_ARG, path, "UTF-8", "hook, model or dataset cannot be written");
    else
        st = sl_json_save(ctx, path, j, err);
    json_decref(more);
    json_decref(j);
    return st;
}

/* ---- reading ---- */

static sl_status read_sum(const json_t *j, const char *file, const char *key, uint64_t *out, sl_err *err)
{
    char text[17];
    SL_TRY(sl_json_text(j, file, key, text, sizeof text, err));
    if (strspn(text, "0123456789abcdef") != 16)
        return sl_fail(err, SL_DATA, file, "16 hexadecimal digits", "the field '%s' is '%s'", key, text);
    *out = strtoull(text, NULL, 16);
    return SL_OK;
}

static sl_status read_seed(const json_t *j, const char *file, uint64_t *out, sl_err *err)
{
    char text[21];
    SL_TRY(sl_json_text(j, file, "shuffle_seed", text, sizeof text, err));
    if (!*text || strspn(text, "0123456789") != strlen(text))
        return sl_fail(err, SL_DATA, file, "a whole number as text", "the field 'shuffle_seed' is '%s'", text);
    *out = strtoull(text, NULL, 10);
    return SL_OK;
}

static sl_status read_shards(sl_ctx *ctx, const json_t *j, const char *file, sl__acts_manifest *m, sl_err *err)
{
    const json_t *list = json_object_get(j, "shards");
    m->n_shards = (m->n_rows - 1) / m->shard_rows + 1;
    if (!json_is_array(list) || (int64_t)json_array_size(list) != m->n_shards)
        return sl_fail(err, SL_DATA, file, NULL, "lists %zu shards, but %lld rows in shards of %lld need %lld", json_array_size(list),
                       (long long)m->n_rows, (long long)m->shard_rows, (long long)m->n_shards);
    m->shard_sum = sl_alloc(ctx, (size_t)m->n_shards * sizeof *m->shard_sum);
    if (!m->shard_sum)
        return sl_fail(err, SL_MEM, file, NULL, "no memory for %lld shards", (long long)m->n_shards);
    for (int64_t i = 0; i < m->n_shards; i++) {
        const json_t *s = json_array_get(list, (size_t)i);
        char name[40], want[40];
        int64_t rows;
        file_name(i, want);
        SL_TRY(sl_json_text(s, file, "file", name, sizeof name, err));
        SL_TRY(sl_json_int(s, file, "rows", 1, m->shard_rows, &rows, err));
        SL_TRY(read_sum(s, file, "xxh3", &m->shard_sum[i], err));
        if (strcmp(name, want) != 0 || rows != sl__acts_rows(m, i))
            return sl_fail(err, SL_DATA, file, NULL, "shard %lld is '%s' with %lld rows, not '%s' with %lld", (long long)i, name, (long long)rows,
                           want, (long long)sl__acts_rows(m, i));
    }
    return SL_OK;
}

static sl_status read_head(const json_t *j, const char *file, sl__acts_manifest *m, sl_err *err)
{
    char format[32], dtype[8];
    int64_t version;
    if (sl_json_text(j, file, "format", format, sizeof format, NULL) != SL_OK || strcmp(format, FORMAT) != 0)
        return sl_fail(err, SL_DATA, file, FORMAT, "is no manifest of an activation store");
    SL_TRY(sl_json_int(j, file, "version", 1, INT32_MAX, &version, err));
    if (version != VERSION)
        return sl_fail(err, SL_DATA, file, "1", "an activation store of version %lld", (long long)version);
    SL_TRY(sl_json_int(j, file, "d_in", 1, INT32_MAX, &m->d_in, err));
    SL_TRY(sl_json_int(j, file, "n_rows", 1, (int64_t)1 << 48, &m->n_rows, err));
    SL_TRY(sl_json_int(j, file, "shard_rows", 1, (int64_t)1 << 48, &m->shard_rows, err));
    SL_TRY(sl_json_text(j, file, "hook", m->hook, sizeof m->hook, err));
    SL_TRY(sl_json_text(j, file, "model", m->model, sizeof m->model, err));
    SL_TRY(sl_json_text(j, file, "dataset", m->dataset, sizeof m->dataset, err));
    SL_TRY(sl_json_text(j, file, "dtype", dtype, sizeof dtype, err));
    m->dtype = strcmp(dtype, "F32") == 0 ? SL_F32 : strcmp(dtype, "F16") == 0 ? SL_F16 : strcmp(dtype, "BF16") == 0 ? SL_BF16 : SL_N_DTYPE;
    if (m->dtype == SL_N_DTYPE)
        return sl_fail(err, SL_DATA, file, "F32, F16 or BF16", "the field 'dtype' is '%s'", dtype);
    return SL_OK;
}

static sl_status read_rest(sl_ctx *ctx, const json_t *j, const char *file, sl__acts_manifest *m, char hash[65], sl_err *err)
{
    m->col[0] = true;
    SL_TRY(sl_json_bool(j, file, "shuffled", &m->shuffle, err));
    SL_TRY(read_seed(j, file, &m->seed, err));
    SL_TRY(sl_json_bool(j, file, "has_tokens", &m->col[1], err));
    SL_TRY(sl_json_bool(j, file, "has_docs", &m->col[2], err));
    SL_TRY(sl_json_bool(j, file, "has_positions", &m->col[3], err));
    SL_TRY(sl_json_bool(j, file, "has_labels", &m->labels, err));
    SL_TRY(sl_json_real(j, file, "scale", &m->scale, err));
    if (m->scale <= 0)
        return sl_fail(err, SL_DATA, file, "above 0", "the field 'scale' is %g", m->scale);
    SL_TRY(read_sum(j, file, "mean_xxh3", &m->mean_sum, err));
    if (m->labels)
        SL_TRY(read_sum(j, file, "labels_xxh3", &m->labels_sum, err));
    SL_TRY(read_shards(ctx, j, file, m, err));
    char said[65];
    SL_TRY(sl_json_text(j, file, "data_hash", said, sizeof said, err));
    SL_TRY(hash_of(ctx, m, hash, err));
    if (strcmp(said, hash) != 0)
        return sl_fail(err, SL_DATA, file, hash, "the data_hash is '%s': the manifest was changed", said);
    return SL_OK;
}

sl_status sl__acts_load(sl_ctx *ctx, const char *dir, sl__acts_manifest *m, char hash[65], sl_err *err)
{
    char path[SL_ACTS_PATH];
    json_t *j = NULL;
    *m = (sl__acts_manifest){ 0 };
    SL_TRY(sl_path_join(path, sizeof path, dir, "manifest.json", err));
    sl_status st;
    if (!sl_path_exists(path))
        return sl_fail(err, SL_MISSING, dir, "a folder with manifest.json", "is no activation store");
    SL_GO(sl_json_load_file(ctx, path, &j, err));
    SL_GO(read_head(j, path, m, err));
    SL_GO(read_rest(ctx, j, path, m, hash, err));
done:
    json_decref(j);
    if (st != SL_OK) {
        sl_free(ctx, m->shard_sum);
        m->shard_sum = NULL;
    }
    return st;
}
