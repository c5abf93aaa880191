/* What the machine gives: for `saelab doctor` and for the record in config.yaml. */
#ifndef SAELAB_KERN_INFO_H
#define SAELAB_KERN_INFO_H

#include <saelab/ctx.h>

typedef struct sl_machine {
    char cpu[96], isa[96];      /* "AMD EPYC", "avx2 fma f16c" */
    char kernels[96];           /* id of the f32 kernel table */
    bool has_avx2, has_avx512, has_vnni, has_bf16, has_amx;
    bool bf16;                  /* products of the f32 table take bf16: asked for (sl_ctx_opts), and the CPU has them */
    int physical_cores, threads;
    double quota;               /* cgroup CPUs, 0: none */
    int64_t mem_total, mem_available; /* bytes */
} sl_machine;
sl_status sl_machine_info(sl_ctx *ctx, sl_machine *out, sl_err *err) SL_USE_RESULT;
/* Compares the fast kernels with ref on small odd shapes; SL_NUMERIC names the slot. */
sl_status sl_kern_selftest(sl_ctx *ctx, sl_err *err) SL_USE_RESULT;

#endif
