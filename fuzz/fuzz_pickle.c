/* The pickle of a .pt file, zipped here with four storages of 64 bytes: the zip's checksums would hide the pickle from mutations. */
#include "fuzz.h"

#include <stdlib.h>
#include <zip.h>

static void add(zip_t *z, const char *name, const void *data, size_t n)
{
    zip_source_t *s = zip_source_buffer(z, data, n, 0);
    zip_int64_t i = s ? zip_file_add(z, name, s, 0) : -1;
    if (i < 0 || zip_set_file_compression(z, (zip_uint64_t)i, ZIP_CM_STORE, 0) != 0)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static const char storage[64] = { 1, 2, 3 };
    static const char *const keys[] = { "r/data/0", "r/data/1", "r/data/2", "r/data/3" };
    sl_err err = { 0 };
    sl_dict d;
    const char *path = fuzz_path("input");
    (void)remove(path);
    zip_t *z = zip_open(path, ZIP_CREATE | ZIP_TRUNCATE, NULL);
    if (!z)
        abort();
    add(z, "r/data.pkl", data, n);
    for (int i = 0; i < 4; i++)
        add(z, keys[i], storage, sizeof storage);
    if (zip_close(z) != 0)
        abort();
    fuzz_dict(sl_torch_read(fuzz_ctx(), path, &d, &err), &err, &d);
    return 0;
}
