#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    sl_err err = { 0 };
    sl_dict d;
    const char *path = fuzz_path("input");
    fuzz_put(path, data, n);
    fuzz_dict(sl_torch_read(fuzz_ctx(), path, &d, &err), &err, &d);
    return 0;
}
