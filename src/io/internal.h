/* Shared inside io: counted system calls, error lines of errno, checked sizes, npy headers. */
#ifndef SL_IO_INTERNAL_H
#define SL_IO_INTERNAL_H

#include "io/io.h"

#include <sys/types.h>

enum { SL_PATH = 1024 }; /* longest path handled; longer ones are SL_ARG */

/* The system calls that can fill a disk. Each counts towards sl_io_fail_at; -1 and errno on failure. */
int sl__create(const char *path, int flags); /* open(flags | O_CREAT | O_CLOEXEC, 0666), so that the umask decides */
int sl__write_all(int fd, const void *data, size_t n);                 /* 0, or -1 */
int sl__pwrite_all(int fd, const void *data, size_t n, int64_t at);    /* 0, or -1 */
int sl__fsync(int fd);
int sl__rename(const char *from, const char *to);
int sl__mkdir(const char *path);

/* "PATH: cannot VERB: No space left on device"; SL_MISSING for ENOENT, SL_MEM for ENOMEM, else SL_IO. Reads errno first. */
sl_status sl__fail_errno(sl_err *err, const char *path, const char *verb);
void sl__sync_parent(const char *path); /* makes a rename durable; failure is no error: some file systems refuse */

/* *out = a * b for a, b >= 0; false when that overflows int64_t. */
bool sl__mul(int64_t a, int64_t b, int64_t *out);

/* Appends without looking for the name. Takes t.data (freed on failure unless it lies in the map). */
sl_status sl__dict_push(sl_dict *d, const char *name, sl_tensor t, sl_err *err);

/* The header of an npy file. */
typedef struct sl__npy {
    sl_tensor t;       /* dtype and shape; data NULL */
    bool fortran;
    size_t data_at;    /* bytes before the data */
} sl__npy;
/* The bytes needed to know the header's length, and that length with everything before the data; SL_DATA when not npy. */
enum { SL_NPY_START = 12, SL_NPY_HEAD = 256 };
/* What stands before the data of t, *n bytes; SL_ARG: npy has no such dtype. */
sl_status sl__npy_head(const char *path, const sl_tensor *t, char head[SL_NPY_HEAD], size_t *n, sl_err *err) SL_USE_RESULT;
const char *sl__npy_descr(sl_dtype dtype); /* "<f4"; NULL: npy has none */
sl_status sl__npy_header_size(const char *file, const uint8_t *start, size_t n, size_t *size, sl_err *err);
sl_status sl__npy_parse(const char *file, const uint8_t *bytes, size_t n, sl__npy *out, sl_err *err);
/* C order from Fortran order: dst[i0,i1,..] = src at i0 + d0 (i1 + d1 (..)). */
void sl__npy_from_fortran(const sl_tensor *shape, const void *src, void *dst);

#endif
