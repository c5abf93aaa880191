/* Containers: named tensors in files, atomic files, checkpoints. Knows nothing of what the tensors mean.
 * Every length that comes from a file is checked before use. All file access goes through sl_io, where tests inject failures. */
#ifndef SL_IO_H
#define SL_IO_H

#include <saelab/tensor.h>
#include <jansson.h>
#include <stdio.h>

/* ---- files ---- */

/* Fails the n-th write/fsync/rename (counted from 1) with ENOSPC; 0: never. Tests only. */
void sl_io_fail_at(int64_t n);

/* A file written under a temporary name beside `path`, fsync'ed and renamed by commit; abort (or a missing commit) leaves nothing. */
typedef struct sl_atomic sl_atomic;
sl_status sl_atomic_open(sl_ctx *ctx, const char *path, sl_atomic **out, sl_err *err) SL_USE_RESULT;
sl_status sl_atomic_write(sl_atomic *f, const void *data, size_t n, sl_err *err) SL_USE_RESULT;
sl_status sl_atomic_printf(sl_atomic *f, sl_err *err, const char *fmt, ...) SL_PRINTF(3, 4);
sl_status sl_atomic_commit(sl_atomic *f, sl_err *err) SL_USE_RESULT; /* frees f in every case */
void sl_atomic_abort(sl_atomic *f);                                  /* frees f; NULL is legal */
sl_status sl_file_write(sl_ctx *ctx, const char *path, const void *data, size_t n, sl_err *err) SL_USE_RESULT; /* atomic */
sl_status sl_file_append(sl_ctx *ctx, const char *path, const char *line, sl_err *err) SL_USE_RESULT; /* one write(2), for logs */
sl_status sl_file_read(sl_ctx *ctx, const char *path, char **data, size_t *n, sl_err *err) SL_USE_RESULT; /* 0-terminated, sl_free */
sl_status sl_json_save(sl_ctx *ctx, const char *path, const json_t *j, sl_err *err) SL_USE_RESULT; /* indent 2, reals with 17 digits; refuses NaN */
sl_status sl_json_load_file(sl_ctx *ctx, const char *path, json_t **out, sl_err *err) SL_USE_RESULT; /* error names line and column */

typedef struct sl_mmap { const uint8_t *data; size_t n; } sl_mmap;
sl_status sl_mmap_open(const char *path, sl_mmap *out, sl_err *err) SL_USE_RESULT;
void sl_mmap_close(sl_mmap *m);

sl_status sl_dir_make(const char *path, sl_err *err) SL_USE_RESULT;      /* with parents; fine when there */
sl_status sl_dir_remove(const char *path, sl_err *err) SL_USE_RESULT;    /* with its contents; fine when not there */
sl_status sl_path_rename(const char *from, const char *to, sl_err *err) SL_USE_RESULT;
bool sl_path_exists(const char *path);
bool sl_path_is_dir(const char *path);
sl_status sl_path_join(char *out, size_t size, const char *a, const char *b, sl_err *err) SL_USE_RESULT;
sl_status sl_file_sha256(sl_ctx *ctx, const char *path, char hex[65], sl_err *err) SL_USE_RESULT; /* nettle */
void sl_sha256_hex(const void *data, size_t n, char hex[65]);
uint64_t sl_xxh64(const void *data, size_t n);                           /* XXH3-64 */

/* ---- dictionaries of named tensors ---- */

typedef struct sl_named { char *name; sl_tensor t; } sl_named;
typedef struct sl_dict {     /* owned: release with sl_dict_release */
    sl_ctx *ctx;
    sl_named *v;
    int n, cap;
    json_t *meta;            /* safetensors __metadata__ (string to string), or NULL */
    sl_mmap map;             /* tensors may borrow from it */
} sl_dict;
void sl_dict_init(sl_ctx *ctx, sl_dict *d);
void sl_dict_release(sl_dict *d);
const sl_tensor *sl_dict_get(const sl_dict *d, const char *name); /* NULL: none */
/* The tensor `name` with that dtype class (SL_F32: any floating dtype accepted by sl_to_f32) and shape (dim -1: any), else
 * SL_MISSING or SL_SHAPE naming file, tensor, found and expected. */
sl_status sl_dict_need(const sl_dict *d, const char *file, const char *name, int n_dim, const int64_t *dim, const sl_tensor **out, sl_err *err) SL_USE_RESULT;

/* safetensors: 8-byte header length, JSON header, data. Reading maps the file. */
sl_status sl_safetensors_read(sl_ctx *ctx, const char *path, sl_dict *out, sl_err *err) SL_USE_RESULT;
/* names[i], tensors[i] (borrowed); meta: string to string or NULL. Names are written in the given order. */
sl_status sl_safetensors_write(sl_ctx *ctx, const char *path, int n, const char *const *names, const sl_tensor *tensors, const json_t *meta, sl_err *err) SL_USE_RESULT;
/* npy (1.0-3.0; C or Fortran order read, C order given) and npz (stored or deflated, libzip; tensors named without .npy) */
sl_status sl_npy_read(sl_ctx *ctx, const char *path, sl_tensor *out /* sl_free(data) */, sl_err *err) SL_USE_RESULT;
sl_status sl_npy_write(sl_ctx *ctx, const char *path, const sl_tensor *t, sl_err *err) SL_USE_RESULT;
sl_status sl_npz_read(sl_ctx *ctx, const char *path, sl_dict *out, sl_err *err) SL_USE_RESULT;
/* A dict of JSON-like values as an object npy that numpy.load(path, allow_pickle=True).item() reads (pickle protocol 2). */
sl_status sl_npy_write_pickled(sl_ctx *ctx, const char *path, const json_t *value, sl_err *err) SL_USE_RESULT;

/* ---- checkpoints: one safetensors file, metadata {version, kind, key, step, checksum, ...}; the last two are kept ---- */

/* Writes dir/step-%09d.safetensors (checksummed) and removes all but the newest two. meta gains version and checksum. */
sl_status sl_checkpoint_save(sl_ctx *ctx, const char *dir, int64_t step, int n, const char *const *names, const sl_tensor *tensors, const json_t *meta, sl_err *err) SL_USE_RESULT;
/* The newest whole one: a truncated or corrupt file is reported through sl_log and the one before it is used.
 * SL_MISSING when there is none; SL_DATA when all are corrupt. */
sl_status sl_checkpoint_load(sl_ctx *ctx, const char *dir, sl_dict *out, int64_t *step, sl_err *err) SL_USE_RESULT;

#endif
