#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    sl_err err = { 0 };
    sl_dict d;
    int64_t step;
    fuzz_put(fuzz_path("step-000000003.safetensors"), data, n);
    fuzz_dict(sl_checkpoint_load(fuzz_ctx(), fuzz_folder(), &d, &step, &err), &err, &d);
    return 0;
}
