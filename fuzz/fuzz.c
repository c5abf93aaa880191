/* What the targets share. */
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char folder[256];
static sl_ctx *context;

static void clean(void)
{
    sl_err err;
    (void)!sl_dir_remove(folder, &err);
    sl_ctx_free(context);
}

static void start(void)
{
    const char *tmp = getenv("TMPDIR");
    if (folder[0])
        return;
    snprintf(folder, sizeof folder, "%.200s/saelab-fuzz-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    context = sl_ctx_new(&(sl_ctx_opts){ .n_threads = 1 });
    if (!context || !mkdtemp(folder))
        abort();
    atexit(clean);
}

sl_ctx *fuzz_ctx(void)
{
    start();
    return context;
}

const char *fuzz_folder(void)
{
    start();
    return folder;
}

const char *fuzz_path(const char *name)
{
    static char path[512];
    start();
    snprintf(path, sizeof path, "%s/%.200s", folder, name);
    return path;
}

void fuzz_put(const char *path, const void *data, size_t n)
{
    (void)remove(path); /* a new file: some file systems flush one that was cut to nothing and written again */
    FILE *f = fopen(path, "wb");
    if (!f || fwrite(data, 1, n, f) != n || fclose(f) != 0)
        abort();
}

void fuzz_check(sl_status st, const sl_err *err)
{
    if (st != SL_OK && (st != err->code || !err->msg[0] || strchr(err->msg, '\n')))
        abort();
}

void fuzz_dict(sl_status st, const sl_err *err, sl_dict *d)
{
    static volatile uint64_t sink;
    fuzz_check(st, err);
    if (st != SL_OK && d->n != 0)
        abort();
    for (int i = 0; i < d->n; i++)
        sink ^= sl_xxh64(d->v[i].t.data, sl_nbytes(&d->v[i].t)) ^ sl_xxh64(d->v[i].name, strlen(d->v[i].name));
    sl_dict_release(d);
}
