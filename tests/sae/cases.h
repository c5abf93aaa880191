/* One row or more for every variant: the options that the tests of all variants run it with, and what it promises.
 * test_variants.c walks the registry and this table, and fails for a variant without a row. */
#ifndef SL_TEST_CASES_H
#define SL_TEST_CASES_H

#include "sae/variant.h"

typedef struct variant_case {
    const char *variant, *label;    /* label: what distinguishes cases of one variant */
    const void *opts;
    int64_t k;              /* exactly min(k, number positive) latents: of each row when encoding, or, in training, see per_batch. 0: any number */
    bool per_batch;         /* training keeps min(B k, number positive) of the whole batch; encoding has a threshold instead */
    bool own_decoder;       /* x^ is not linear in z */
    bool ordered;           /* features are not interchangeable in training; encoding they are */
    bool uses_dead;         /* its loss changes when latents are dead */
    double fvu;             /* 40 steps on planted rows bring the FVU below this share of its first value */
} variant_case;

extern const variant_case variant_cases[]; /* ended by variant NULL */

#endif
