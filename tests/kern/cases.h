/* One case a slot of the kernel table: makes inputs, runs the slot on the table it is given and records every output. The same
 * function serves f32 and f64 (inputs are f32 numbers in both), so test_layers compares any layer with ref. */
#ifndef SL_TEST_KERN_CASES_H
#define SL_TEST_KERN_CASES_H

#include "support.h"

#include "kern/kern.h"

enum { N_SHAPE = 6, MAX_BLOCK = 96 };
typedef struct kshape { int64_t m, n, k; /* rows, columns, inner */ int64_t B, T, hd; int H; /* attention */ } kshape;

typedef struct krun {
    const sl_kern *k;
    kshape s;
    int unaligned;      /* data starts one element past an aligned address */
    sl_rng rng;
    void *block[MAX_BLOCK];
    int n_block;
    double *out;        /* everything recorded */
    int64_t n_out, cap;
} krun;

typedef struct kcase {
    const char *name;
    size_t slot;        /* offsetof(sl_kern, slot) */
    void (*run)(krun *r);
    /* |f32 layer - ref f64| <= atol + rtol |ref f64|; both 0: the layer gives the bits of ref f32 */
    double atol, rtol;
} kcase;
extern const kcase kcases_dense[], kcases_lm[], kcases_sparse[], kcases_latents[], kcases_compose[]; /* end with a NULL name */

#define KCASE(slot_, run_, atol_, rtol_) { #slot_, offsetof(sl_kern, slot_), run_, atol_, rtol_ }

/* Tensors of the table's dtype, freed with the run. Unused dimensions: 0. */
sl_tensor kt_random(krun *r, int64_t a, int64_t b, int64_t c); /* uniform, mean 0, variance about 1; an eighth is 0 */
sl_tensor kt_nan(krun *r, int64_t a, int64_t b, int64_t c);    /* outputs that must be written whole, or beta = 0 */
sl_tensor kt_ids(krun *r, int64_t a, int64_t b, int64_t below, bool some_negative); /* I32 */
sl_csr kt_csr(krun *r, int64_t rows, int64_t cols, int64_t capacity);                /* entries unset */
sl_csr kt_csr_random(krun *r, int64_t rows, int64_t cols);                           /* about a quarter full, some rows empty */
sl_tensor kt_val(krun *r, const sl_csr *z);                                          /* z's values as a tensor */

void kt_record(krun *r, const sl_tensor *t);
void kt_record_csr(krun *r, const sl_csr *z);
void kt_number(krun *r, double v);

void kt_begin(krun *r, const sl_kern *k, int shape, uint64_t seed);
void kt_end(krun *r);

#endif
