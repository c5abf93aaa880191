/* Vector kernels: overrides of the slots that this CPU runs faster. The choice is by instruction set alone, never by timing, so
 * that the same machine always gives the same bits. */
#include "kern/scratch.h"
#include "kern/simd_table.h"

#include <stdio.h>
#include <string.h>

void sl_kern_simd(sl_kern *k)
{
    const char *name = NULL;
    sl_int8 g;
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq")
        && __builtin_cpu_supports("avx512vl")) {
        sl_simd_fill_avx512(k);
        sl_simd_int8_avx512(&g);
        name = "avx512";
    } else if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
        sl_simd_fill_avx2(k);
        sl_simd_int8_avx2(&g);
        name = "avx2";
    }
#endif
    size_t n = strlen(k->id);
    if (!name)
        return;
    snprintf(k->id + n, sizeof k->id - n, "+simd/%s", name);
    sl_kern_add_int8(k, SL_INT8_SIMD, &g);
}
