/* A fuzz target is LLVMFuzzerTestOneInput in a file of its own: libFuzzer calls it, or driver.c with mutations of fuzz/corpus. A parser
 * must take any bytes and give SL_OK with data that can be read, or an error with its code and line. */
#ifndef SL_FUZZ_H
#define SL_FUZZ_H

#include "io/io.h"

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

sl_ctx *fuzz_ctx(void);                  /* made once; one thread */
const char *fuzz_folder(void);           /* a temporary folder of this process, made once and removed at its end */
const char *fuzz_path(const char *name); /* a file in it; valid until the next call */
void fuzz_put(const char *path, const void *data, size_t n);

/* Aborts when the status and the error disagree, or an error has no line. */
void fuzz_check(sl_status st, const sl_err *err);
/* Checks, touches every byte of what was read, and releases it. */
void fuzz_dict(sl_status st, const sl_err *err, sl_dict *d);

#endif
