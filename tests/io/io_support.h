/* Helpers of the io tests: plain files without fsync, and folders looked at. */
#ifndef SL_IO_TEST_SUPPORT_H
#define SL_IO_TEST_SUPPORT_H

#include "io/io.h"
#include "files.h"

#include <dirent.h>
#include <string.h>

/* A copy of the path that stays valid: equal paths share one. */
static inline const char *keep(const char *path)
{
    static char kept[200][700];
    int i = 0;
    while (i < 199 && kept[i][0] && strcmp(kept[i], path) != 0)
        i++;
    assert_true(i < 199 && strlen(path) < sizeof kept[0]);
    return memcpy(kept[i], path, strlen(path) + 1);
}

static inline const char *in_dir(const char *dir, const char *name)
{
    char path[1400];
    snprintf(path, sizeof path, "%.650s/%.650s", dir, name);
    return keep(path);
}

static inline void assert_content(sl_ctx *ctx, const char *path, const char *text)
{
    char *data;
    size_t n;
    sl_err err = { 0 };
    sl_assert_ok(sl_file_read(ctx, path, &data, &n, &err));
    assert_int_equal(n, strlen(text));
    assert_string_equal(data, text);
    sl_free(ctx, data);
}

#endif
