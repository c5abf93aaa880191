/* cfg.json of an SAE folder of 2 x 3 weights: whatever it claims, they are compared with it. */
#include "fuzz.h"

#include <saelab/sae.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static const float w[12] = { 1, -1, 2 };
    sl_err err = { 0 };
    sl_sae *s;
    const char *path = fuzz_path("sae_weights.safetensors");
    if (!sl_path_exists(path)) {
        const sl_tensor t[] = { sl_tensor_of(SL_F32, (void *)(uintptr_t)w, 2, (int64_t)2, (int64_t)3), sl_tensor_of(SL_F32, (void *)(uintptr_t)w, 1, (int64_t)3),
                                sl_tensor_of(SL_F32, (void *)(uintptr_t)w, 2, (int64_t)3, (int64_t)2), sl_tensor_of(SL_F32, (void *)(uintptr_t)w, 1, (int64_t)2) };
        const char *const names[] = { "W_enc", "b_enc", "W_dec", "b_dec" };
        fuzz_check(sl_safetensors_write(fuzz_ctx(), path, 4, names, t, NULL, &err), &err);
    }
    fuzz_put(fuzz_path("cfg.json"), data, n);
    fuzz_check(sl_sae_load(fuzz_ctx(), fuzz_folder(), &s, &err), &err);
    sl_sae_free(s);
    return 0;
}
