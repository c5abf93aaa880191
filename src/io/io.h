/* Containers: named tensors in files, atomic files, checkpoints. Knows nothing of what the tensors mean.
 * Every length that comes from a file is checked before use. All file access goes through sl_io, where tests inject failures. */
#ifndef SL_IO_H
#define SL_IO_H

#include <saelab/tensor.h>
#include <jansson.h>
#include <stdio.h>

/* ---- files ---- */

/* Errors of this section: SL_MISSING (no such file), SL_MEM, SL_IO (with the system's reason), naming the path. */

/* Fails the n-th create/write/fsync/rename/mkdir (counted from 1, over all threads) with ENOSPC, once; 0: never. Tests only. */
void sl_io_fail_at(int64_t n); /* SAELAB_FAIL_IO=n in the environment does the same for a whole program */

/* A file written under a temporary name beside `path` (PATH.tmp-PID-N), fsync'ed and renamed by commit; abort, or a failed
 * commit, leaves nothing. A killed process leaves its temporary file: whoever holds the folder's lock calls sl_dir_sweep.
 * Permissions are 0666 & ~umask, as for every file written here. */
typedef struct sl_atomic sl_atomic;
sl_status sl_atomic_open(sl_ctx *ctx, const char *path, sl_atomic **out, sl_err *err) SL_USE_RESULT;
sl_status sl_atomic_write(sl_atomic *f, const void *data, size_t n, sl_err *err) SL_USE_RESULT;
sl_status sl_atomic_printf(sl_atomic *f, sl_err *err, const char *fmt, ...) SL_PRINTF(3, 4);
sl_status sl_atomic_commit(sl_atomic *f, sl_err *err) SL_USE_RESULT; /* frees f in every case */
void sl_atomic_abort(sl_atomic *f);                                  /* frees f; NULL is legal */
/* Leaves n bytes out (zeros, until they are patched); writes bytes at a place before the end of what was written or left out. */
sl_status sl_atomic_skip(sl_atomic *f, int64_t n, sl_err *err) SL_USE_RESULT;
sl_status sl_atomic_patch(sl_atomic *f, const void *data, size_t n, int64_t at, sl_err *err) SL_USE_RESULT;
sl_status sl_file_write(sl_ctx *ctx, const char *path, const void *data, size_t n, sl_err *err) SL_USE_RESULT; /* atomic */
/* Adds a line (and its newline when it has none) by one write(2), for logs. What a failed write left of it is cut off again. */
sl_status sl_file_append(sl_ctx *ctx, const char *path, const char *line, sl_err *err) SL_USE_RESULT;
sl_status sl_file_read(sl_ctx *ctx, const char *path, char **data, size_t *n, sl_err *err) SL_USE_RESULT; /* 0-terminated, sl_free */
sl_status sl_json_save(sl_ctx *ctx, const char *path, const json_t *j, sl_err *err) SL_USE_RESULT; /* indent 2, reals with 17 digits. NULL is SL_NUMERIC: jansson makes NULL of NaN */
sl_status sl_json_load_file(sl_ctx *ctx, const char *path, json_t **out, sl_err *err) SL_USE_RESULT; /* SL_DATA names line and column; duplicate keys and depth > 2048 are refused; json_decref */

/* A file of `size` bytes written in any order (shards of a store). It is not atomic: its folder has to be. Writes outside
 * the size are SL_ARG. close: fsync; frees f in every case. abort: closes and frees, the file stays; NULL is legal. */
typedef struct sl_scatter sl_scatter;
sl_status sl_scatter_open(sl_ctx *ctx, const char *path, int64_t size, sl_scatter **out, sl_err *err) SL_USE_RESULT;
sl_status sl_scatter_write(sl_scatter *f, const void *data, size_t n, int64_t at, sl_err *err) SL_USE_RESULT;
sl_status sl_scatter_close(sl_scatter *f, sl_err *err) SL_USE_RESULT;
void sl_scatter_abort(sl_scatter *f);

/* A file that grows over several starts of the program, under PATH.part: open says how much is there already. finish: fsync, rename to
 * PATH; close: keeps the part; each frees f in every case. restart: empties the part. close(NULL) is legal. */
typedef struct sl_partial sl_partial;
sl_status sl_partial_open(sl_ctx *ctx, const char *path, sl_partial **out, int64_t *have, sl_err *err) SL_USE_RESULT;
sl_status sl_partial_write(sl_partial *f, const void *data, size_t n, sl_err *err) SL_USE_RESULT;
sl_status sl_partial_restart(sl_partial *f, sl_err *err) SL_USE_RESULT;
const char *sl_partial_path(const sl_partial *f); /* of the part */
sl_status sl_partial_finish(sl_partial *f, sl_err *err) SL_USE_RESULT;
void sl_partial_close(sl_partial *f);

/* Fields of a JSON object read from `file`; SL_DATA names file and field when it is missing, of another type or out of range. */
sl_status sl_json_int(const json_t *obj, const char *file, const char *key, int64_t min, int64_t max, int64_t *out, sl_err *err) SL_USE_RESULT;
sl_status sl_json_real(const json_t *obj, const char *file, const char *key, double *out, sl_err *err) SL_USE_RESULT;
sl_status sl_json_bool(const json_t *obj, const char *file, const char *key, bool *out, sl_err *err) SL_USE_RESULT;
sl_status sl_json_text(const json_t *obj, const char *file, const char *key, char *out, size_t size, sl_err *err) SL_USE_RESULT;

/* The whole file, read only (a file cut short by others while mapped kills the process). An empty file gives data NULL, n 0. */
typedef struct sl_mmap { const uint8_t *data; size_t n; } sl_mmap;
sl_status sl_mmap_open(const char *path, sl_mmap *out, sl_err *err) SL_USE_RESULT;
void sl_mmap_close(sl_mmap *m);
void sl_mmap_will_need(const sl_mmap *m, const void *from, size_t n); /* read ahead; ranges outside the map are ignored */

sl_status sl_dir_make(const char *path, sl_err *err) SL_USE_RESULT;      /* with parents; fine when there */
sl_status sl_dir_remove(const char *path, sl_err *err) SL_USE_RESULT;    /* with its contents; fine when not there */
sl_status sl_dir_clear(const char *path, sl_err *err) SL_USE_RESULT;     /* removes only the contents */
sl_status sl_dir_sweep(const char *path, sl_err *err) SL_USE_RESULT;     /* removes what killed writers left (*.tmp-*), also in folders below */
/* One writer a folder: SL_BUSY while another process (or another sl_dir_lock of this one) holds it. The lock ends with the process;
 * the folder may be renamed under it. unlock(-1) is legal. */
sl_status sl_dir_lock(const char *path, int *lock, sl_err *err) SL_USE_RESULT;
void sl_dir_unlock(int lock);
int64_t sl_disk_free(const char *path);                                  /* bytes free on the disk that holds this path; -1: unknown */
/* Replaces a file; SL_EXISTS when `to` is a folder that is not empty. */
sl_status sl_path_rename(const char *from, const char *to, sl_err *err) SL_USE_RESULT;
bool sl_path_exists(const char *path);
bool sl_path_is_dir(const char *path);
sl_status sl_path_join(char *out, size_t size, const char *a, const char *b, sl_err *err) SL_USE_RESULT;
sl_status sl_file_sha256(sl_ctx *ctx, const char *path, char hex[65], sl_err *err) SL_USE_RESULT; /* nettle */
sl_status sl_file_git_blob(sl_ctx *ctx, const char *path, char hex[41], sl_err *err) SL_USE_RESULT; /* git's name of its contents: SHA-1 of "blob SIZE", 0, bytes */
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
/* Takes t.data (sl_alloc'ed), also on failure. SL_EXISTS when the name is there already. */
sl_status sl_dict_add(sl_dict *d, const char *name, sl_tensor t, sl_err *err) SL_USE_RESULT;
bool sl_dtype_floating(sl_dtype dtype); /* F32, F64, F16, BF16: what sl_to_f32 accepts */
/* The tensor `name` of a floating dtype and that shape (dim -1: any), else SL_MISSING or SL_SHAPE naming file, tensor, found
 * and expected. It is borrowed from d and must not be written to: it may be a mapped file. */
sl_status sl_dict_need(const sl_dict *d, const char *file, const char *name, int n_dim, const int64_t *dim, const sl_tensor **out, sl_err *err) SL_USE_RESULT;
/* The same with exactly this dtype. */
sl_status sl_dict_need_as(const sl_dict *d, const char *file, const char *name, sl_dtype dtype, int n_dim, const int64_t *dim, const sl_tensor **out, sl_err *err) SL_USE_RESULT;

/* safetensors: 8-byte header length, JSON header, data. Reading maps the file; a tensor that is not aligned in it is copied.
 * SL_DATA names file, tensor and byte offset: header longer than the file or 100 MB, malformed JSON, unknown dtype, a shape that
 * overflows or does not fit its offsets, offsets outside the file, overlaps, holes, duplicate names. */
sl_status sl_safetensors_read(sl_ctx *ctx, const char *path, sl_dict *out, sl_err *err) SL_USE_RESULT;
/* The bytes before the data (padded to 64) for tensors of these shapes (data is not looked at), and where each one's data begins
 * in the file, at[n + 1], the last being the file's size. header: sl_free. For files that are written in parts. */
sl_status sl_safetensors_plan(sl_ctx *ctx, const char *path, int n, const char *const *names, const sl_tensor *tensors, const json_t *meta, char **header, int64_t *at, sl_err *err) SL_USE_RESULT;
/* names[i], tensors[i] (borrowed); meta: string to string or NULL. Names are written in the given order; two of the same name
 * and metadata that is no text are SL_ARG. */
sl_status sl_safetensors_write(sl_ctx *ctx, const char *path, int n, const char *const *names, const sl_tensor *tensors, const json_t *meta, sl_err *err) SL_USE_RESULT;
/* npy (1.0-3.0; C or Fortran order read, C order given; f2 f4 f8 i1 u1 u2 i4 i8 b1, little-endian) and npz (stored or deflated,
 * libzip; tensors named without .npy). SL_DATA names file (and entry) and byte offset. BF16 has no npy dtype: SL_ARG. */
sl_status sl_npy_read(sl_ctx *ctx, const char *path, sl_tensor *out /* sl_free(data) */, sl_err *err) SL_USE_RESULT;
sl_status sl_npy_write(sl_ctx *ctx, const char *path, const sl_tensor *t, sl_err *err) SL_USE_RESULT;
/* The same as a dictionary of one tensor, named "", that borrows from the mapped file where order and alignment allow. */
sl_status sl_npy_open(sl_ctx *ctx, const char *path, sl_dict *out, sl_err *err) SL_USE_RESULT;
/* names without .npy; whole or not at all. The same tensors give the same bytes. */
sl_status sl_npz_write(sl_ctx *ctx, const char *path, int n, const char *const *names, const sl_tensor *tensors, sl_err *err) SL_USE_RESULT;
sl_status sl_npz_read(sl_ctx *ctx, const char *path, sl_dict *out, sl_err *err) SL_USE_RESULT;
/* What torch.save wrote (.pt, PyTorch 1.6 or newer): a dictionary of tensors. Containers within it are joined by dots ("ae.b_dec",
 * "groups.0"), numbers become tensors of no dimensions (I64, F64, BOOL), texts and None are left out; views are copied to C order.
 * The pickle inside is parsed, never run: SL_DATA names the byte and what it wanted to call. SL_DATA too: not a zip, a missing or damaged
 * entry, a storage or a view of the wrong size, values within values without end, big-endian data. */
sl_status sl_torch_read(sl_ctx *ctx, const char *path, sl_dict *out, sl_err *err) SL_USE_RESULT;
/* A JSON object (else SL_ARG) as an object npy that numpy.load(path, allow_pickle=True).item() reads (pickle protocol 2). */
sl_status sl_npy_write_pickled(sl_ctx *ctx, const char *path, const json_t *value, sl_err *err) SL_USE_RESULT;

/* ---- checkpoints: one safetensors file, metadata {version, kind, key, step, checksum, ...}; the last two are kept ---- */

/* Writes dir/step-%09d.safetensors (dir is made) and removes all but this and the newest one before it; steps after this one belong to a course that
 * was given up and go too. meta (string to string, or NULL) gains version, step and checksum: XXH3 over the metadata and over
 * each tensor's name, dtype, shape and XXH3 of its data. */
sl_status sl_checkpoint_save(sl_ctx *ctx, const char *dir, int64_t step, int n, const char *const *names, const sl_tensor *tensors, const json_t *meta, sl_err *err) SL_USE_RESULT;
/* Releases with sl_dict_release. The newest whole one: a truncated or corrupt file is reported through sl_log and the one before it is used.
 * SL_MISSING when there is none; SL_DATA when all are corrupt. */
sl_status sl_checkpoint_load(sl_ctx *ctx, const char *dir, sl_dict *out, int64_t *step, sl_err *err) SL_USE_RESULT;

#endif
