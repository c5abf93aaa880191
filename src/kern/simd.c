/* Vector kernels: overrides of the slots that this CPU runs faster. */
#include "kern/kern.h"

void sl_kern_simd(sl_kern *k) { (void)k; }
