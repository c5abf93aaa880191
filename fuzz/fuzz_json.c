#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    sl_err err = { 0 };
    json_t *j;
    char text[16];
    int64_t i;
    double r;
    bool b;
    const char *path = fuzz_path("input");
    fuzz_put(path, data, n);
    sl_status st = sl_json_load_file(fuzz_ctx(), path, &j, &err);
    fuzz_check(st, &err);
    if (st != SL_OK)
        return 0;
    fuzz_check(sl_json_int(j, path, "d_in", 1, 100, &i, &err), &err);
    fuzz_check(sl_json_real(j, path, "scale", &r, &err), &err);
    fuzz_check(sl_json_bool(j, path, "flag", &b, &err), &err);
    fuzz_check(sl_json_text(j, path, "name", text, sizeof text, &err), &err);
    json_decref(j);
    return 0;
}
