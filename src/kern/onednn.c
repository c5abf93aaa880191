/* Matrix products by oneDNN. */
#include "kern/kern.h"

sl_status sl_kern_onednn(sl_kern *k, sl_err *err)
{
    (void)k;
    (void)err;
    return SL_OK;
}
