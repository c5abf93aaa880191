/* Where data files may be. */
#include "data/search.h"
#include "data/fetch.h"
#include "io/io.h"

#include <saelab/data.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PARENTS = 4 }; /* a study folder lies two below the checkout, a build's folders three */

bool sl_offline(void)
{
    const char *v = getenv("SAELAB_OFFLINE");
    return v && *v && strcmp(v, "0") != 0;
}

static void add(sl_folders *f, const char *folder, const char *below)
{
    char path[512];
    int n = snprintf(path, sizeof path, "%s%s", folder, below);
    if (f->n < SL_MAX_FOLDERS && n < (int)sizeof path && sl_path_is_dir(path))
        memcpy(f->path[f->n++], path, sizeof path);
}

void sl_data_folders(sl_ctx *ctx, sl_folders *out)
{
    out->n = 0;
    const char *asked = sl_ctx_options(ctx)->data_dir, *env = getenv("SAELAB_DATA");
    if (asked && *asked) {
        add(out, asked, "");
        if (out->n == 0)
            sl_log(ctx, SL_LOG_WARN, "--data-dir %s: there is no such folder", asked);
    }
    if (env && *env)
        add(out, env, "");
    char here[480];
    if (getcwd(here, sizeof here)) {
        char *slash;
        for (int i = 0; i < PARENTS && (slash = strrchr(here, '/')); i++) {
            *slash = 0;
            add(out, here, "/shared/data");
        }
    }
    add(out, sl_ctx_cache_dir(ctx), "/data");
}

sl_status sl_data_file(sl_ctx *ctx, const char *relative, char path[512], sl_err *err)
{
    sl_folders f;
    sl_data_folders(ctx, &f);
    for (int i = 0; i < f.n; i++) {
        sl_err no = { 0 };
        if (sl_path_join(path, 512, f.path[i], relative, &no) == SL_OK && sl_path_exists(path))
            return SL_OK;
    }
    return sl_fail(err, SL_MISSING, relative, "it below --data-dir, SAELAB_DATA, ../shared/data or the cache", "not found in %d folders", f.n);
}
