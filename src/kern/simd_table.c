/* The slots of one instruction set. */
#include "kern/simd_table.h"
#include "kern/simd.h"

void SL_V(sl_simd_fill)(sl_kern *k)
{
    k->gemm = SL_V(sl_simd_gemm);
    k->gemv = SL_V(sl_simd_gemv), k->attend = SL_V(sl_simd_attend);
}
