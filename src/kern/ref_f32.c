/* The plain C kernels for f32. */
#define REAL float
#define REAL_DTYPE SL_F32
#define DOT sl_dot_f32

#include "kern/ref_common_tmpl.h"
#include "kern/ref_gemm_tmpl.h"
#include "kern/ref_dense_tmpl.h"
#include "kern/ref_norm_tmpl.h"
#include "kern/ref_lm_tmpl.h"
#include "kern/ref_decode_tmpl.h"
#include "kern/ref_sparse_tmpl.h"
#include "kern/ref_codes_tmpl.h"
#include "kern/ref_stability_tmpl.h"
#include "kern/ref_latents_tmpl.h"
#include "kern/ref_compose_tmpl.h"
#include "kern/ref_optim_tmpl.h"
#include "kern/ref_table_tmpl.h"

void sl_kern_ref_f32(sl_kern *k) { fill_table(k); }
