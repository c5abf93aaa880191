/* Codes of a whole store into one safetensors file, CSR: indptr I64 [n + 1], idx I32 [nnz], val F32 [nnz].
 * nnz is known only at the end, and the format wants the header first and its data without holes: room for the longest header and for
 * indptr is left out and patched, idx follows as it comes, and val waits in a second file, which is added behind it. */
#include "io/io.h"
#include "sae/variant.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

enum { BATCH = 4096, ENTRIES = 1 << 24 /* of a batch */, COPY = 1 << 20 };

typedef struct job {
    sl_sae *s;
    sl_act_source *acts;
    const char *path;
    char side[1024];        /* values */
    int64_t n, nnz, room;   /* rows; entries so far; bytes before indptr */
    int64_t most, batch;    /* entries of a row at most; rows at once */
    sl_codes z;
    json_t *meta;
    sl_atomic *out, *values;
} job;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- header ---- */

static json_t *describe(const sl_sae *s, const sl_act_source *acts, const sl_sae_print *print)
{
    char rows[32], width[32];
    snprintf(rows, sizeof rows, "%lld", (long long)acts->info.n_rows);
    snprintf(width, sizeof width, "%lld", (long long)s->d_sae);
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s}", "format", "saelab-codes", "n_rows", rows, "d_sae", width, "variant", s->ops->info.name,
                     "model", acts->info.model, "hook", acts->info.hook, "data_hash", acts->info.data_hash, "fingerprint", print->text);
}

/* The bytes before the data for `nnz` entries, in `header` (sl_free). */
static sl_status plan(const job *j, int64_t nnz, char **header, int64_t *size, sl_err *err)
{
    static const char *const names[] = { "indptr", "idx", "val" };
    const sl_tensor t[] = { sl_tensor_of(SL_I64, NULL, 1, j->n + 1), sl_tensor_of(SL_I32, NULL, 1, nnz), sl_tensor_of(SL_F32, NULL, 1, nnz) };
    int64_t at[4];
    SL_TRY(sl_safetensors_plan(j->s->ctx, j->path, 3, names, t, j->meta, header, at, err));
    *size = at[0];
    return SL_OK;
}

/* The header for nnz, with spaces behind its JSON up to the room that was left. */
static sl_status patch_header(const job *j, sl_err *err)
{
    char *header, *padded = sl_alloc(j->s->ctx, (size_t)j->room);
    int64_t size;
    sl_status st = padded ? plan(j, j->nnz, &header, &size, err) : sl_fail(err, SL_MEM, j->path, NULL, "no memory for the header");
    if (st == SL_OK) {
        memset(padded, ' ', (size_t)j->room);
        memcpy(padded, header, (size_t)size);
        for (int i = 0; i < 8; i++)
            padded[i] = (char)((uint64_t)(j->room - 8) >> (8 * i) & 0xff);
        st = sl_atomic_patch(j->out, padded, (size_t)j->room, 0, err);
        sl_free(j->s->ctx, header);
    }
    sl_free(j->s->ctx, padded);
    return st;
}

/* ---- rows ---- */

static sl_status put_batch(job *j, int64_t row, int64_t n, sl_err *err)
{
    int64_t count = j->z.row_ptr[n];
    for (int64_t i = 1; i <= n; i++)
        j->z.row_ptr[i] += j->nnz;
    SL_TRY(sl_atomic_patch(j->out, j->z.row_ptr + 1, (size_t)n * sizeof(int64_t), j->room + (row + 1) * (int64_t)sizeof(int64_t), err));
    SL_TRY(sl_atomic_write(j->out, j->z.idx, (size_t)count * sizeof *j->z.idx, err));
    SL_TRY(sl_atomic_write(j->values, j->z.val, (size_t)count * sizeof *j->z.val, err));
    j->nnz += count;
    return SL_OK;
}

static sl_status encode_rows(job *j, sl_err *err)
{
    SL_TRY(j->acts->seek(j->acts, 0, err));
    for (int64_t row = 0; row < j->n;) {
        sl_act_batch b;
        SL_TRY(j->acts->next(j->acts, j->n - row < j->batch ? j->n - row : j->batch, &b, err));
        sl_err why = { 0 };
        sl_status st = sl_sae_encode(j->s, b.x, b.n, &j->z, NULL, &why);
        if (st != SL_OK) {
            char where[64];
            snprintf(where, sizeof where, "rows from %lld", (long long)row);
            return sl_fail(err, st, where, why.expected, "%s", why.what);
        }
        SL_TRY(put_batch(j, row, b.n, err));
        row += b.n;
        sl_progress(j->s->ctx, "encode", (double)row, (double)j->n, "rows", "l0 %.2f", (double)j->nnz / (double)row);
        if (sl_cancelled(j->s->ctx))
            return sl_fail(err, SL_CANCELLED, j->path, NULL, "stopped");
    }
    return SL_OK;
}

/* The values, behind the indices. */
static sl_status append_values(job *j, sl_err *err)
{
    sl_mmap m;
    sl_status st = sl_atomic_commit(j->values, err);
    j->values = NULL;
    SL_TRY(st);
    SL_TRY(sl_mmap_open(j->side, &m, err));
    for (size_t at = 0; st == SL_OK && at < m.n; at += COPY)
        st = sl_atomic_write(j->out, m.data + at, m.n - at < COPY ? m.n - at : COPY, err);
    sl_mmap_close(&m);
    return st;
}

static sl_status write_file(job *j, sl_err *err)
{
    char *longest;
    SL_TRY(plan(j, j->n * j->most, &longest, &j->room, err));
    sl_free(j->s->ctx, longest);
    SL_TRY(sl_atomic_open(j->s->ctx, j->path, &j->out, err));
    SL_TRY(sl_atomic_open(j->s->ctx, j->side, &j->values, err));
    SL_TRY(sl_atomic_skip(j->out, j->room + (j->n + 1) * (int64_t)sizeof(int64_t), err));
    SL_TRY(encode_rows(j, err));
    SL_TRY(append_values(j, err));
    SL_TRY(patch_header(j, err));
    sl_status st = sl_atomic_commit(j->out, err);
    j->out = NULL;
    return st;
}

static sl_status check(const sl_sae *s, const sl_act_source *acts, const char *path, sl_err *err)
{
    if (acts->info.d_in != s->d_in)
        return sl_fail(err, SL_SHAPE, "activations", NULL, "rows of %lld, and the SAE takes %lld", (long long)acts->info.d_in, (long long)s->d_in);
    if (acts->info.n_rows < 1)
        return sl_fail(err, SL_ARG, "activations", "a store", "the number of rows is not known");
    if (strlen(path) > 900)
        return sl_fail(err, SL_ARG, path, NULL, "the path is too long");
    return SL_OK;
}

sl_status sl_sae_encode_store(sl_sae *s, sl_act_source *acts, const char *path, sl_sae_encoded *out, sl_err *err)
{
    job j = { .s = s, .acts = acts, .path = path, .n = acts->info.n_rows, .most = s->ops->max_active(s->opts, s->d_sae) };
    sl_sae_print print;
    double start = now();
    sl_status st;
    *out = (sl_sae_encoded){ 0 };
    j.batch = j.most > 0 && ENTRIES / j.most < BATCH ? (ENTRIES / j.most < 16 ? 16 : ENTRIES / j.most) : BATCH;
    SL_TRY(check(s, acts, path, err));
    snprintf(j.side, sizeof j.side, "%s.values", path);
    if (sl_path_exists(j.side))
        return sl_fail(err, SL_EXISTS, j.side, NULL, "is there already, and would be overwritten");
    SL_GO(sl_sae_fingerprint(s, &print, err));
    j.meta = describe(s, acts, &print);
    if (!j.meta)
        SL_GO(sl_fail(err, SL_MEM, path, NULL, "no memory for the header"));
    SL_GO(sl_codes_new(s->ctx, j.batch, j.most, &j.z, err));
    SL_GO(write_file(&j, err));
    *out = (sl_sae_encoded){ j.n, j.nnz, j.room + (j.n + 1 + j.nnz) * 8, now() - start };
done:
    sl_atomic_abort(j.out);
    sl_atomic_abort(j.values);
    (void)remove(j.side);
    json_decref(j.meta);
    sl_codes_release(s->ctx, &j.z);
    return st;
}
