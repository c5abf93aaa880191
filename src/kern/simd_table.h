/* What simd.c needs of the files that are compiled once per instruction set: their slots put into the table. */
#ifndef SL_SIMD_TABLE_H
#define SL_SIMD_TABLE_H

#include "kern/kern.h"

void sl_simd_fill_avx2(sl_kern *k);
void sl_simd_fill_avx512(sl_kern *k);

#endif
