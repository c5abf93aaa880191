/* Running the programs that draw, and looking at what they left. */
#include "report/picture.h"

#include "data/spawn.h"
#include "report/text.h"

#include <ctype.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LIMIT_S = 20, LINE = 1024 };

typedef struct drawer { const char *program, *package, *made; } drawer; /* made: what it needs to have been built with */
static const drawer GNUPLOT = { "gnuplot", "gnuplot-nox", "gnuplot 5 with the terminals svg and pngcairo (Debian's gnuplot-nox)" };
static const drawer DOT = { "dot", "graphviz", "Graphviz with the formats svg and png (Debian's graphviz)" };
static const char *const ENDINGS[] = { "svg", "png", NULL };

/* An old picture never stands for a new one. */
static void remove_pictures(const char *dir, const char *name)
{
    char path[LINE];
    for (const char *const *e = ENDINGS; *e; e++) {
        snprintf(path, sizeof path, "%s/%s.%s", dir, name, *e);
        unlink(path);
    }
}

/* gnuplot ends with 0 even when a terminal is missing, so the pictures themselves are looked at. */
static sl_status check_pictures(const drawer *d, const char *dir, const char *name, const char *said, sl_err *err)
{
    char path[LINE], line[200];
    struct stat s;
    for (const char *const *e = ENDINGS; *e; e++) {
        snprintf(path, sizeof path, "%s/%s.%s", dir, name, *e);
        if (stat(path, &s) != 0 || s.st_size == 0)
            return sl_fail(err, SL_UNAVAILABLE, path, d->made, "%s made no picture: %s", d->program, sl_one_line(said, line, sizeof line));
    }
    return SL_OK;
}

static sl_status draw(sl_ctx *ctx, const drawer *d, const char *const *argv, const char *dir, const char *name, const char *script, sl_err *err)
{
    char line[200], *said = NULL;
    size_t n;
    sl_err own = { 0 };
    remove_pictures(dir, name);
    sl_status st = sl_spawn(ctx, argv, &(sl_spawn_opts){ .limit_s = LIMIT_S, .merge_stderr = true, .folder = dir }, &said, &n, &own);
    if (st == SL_UNAVAILABLE) {
        char package[64];
        snprintf(package, sizeof package, "Debian's package %s", d->package);
        st = sl_fail(err, st, d->program, package, "not installed: %s/%s has what it would draw, no picture was made", dir, script);
    } else if (st != SL_OK)
        st = sl_fail(err, st, script, NULL, "%s: %s %s", d->program, own.what, sl_one_line(said, line, sizeof line));
    if (st == SL_OK)
        st = check_pictures(d, dir, name, said, err);
    sl_free(ctx, said);
    return st;
}

sl_status sl_gnuplot_run(sl_ctx *ctx, const char *dir, const char *name, sl_err *err)
{
    char script[LINE];
    snprintf(script, sizeof script, "%s.gp", name);
    return draw(ctx, &GNUPLOT, (const char *const[]){ "gnuplot", "-d", script, NULL }, dir, name, script, err);
}

sl_status sl_graphviz_run(sl_ctx *ctx, const char *dir, const char *name, sl_err *err)
{
    char script[LINE], svg[LINE], png[LINE];
    snprintf(script, sizeof script, "%s.dot", name);
    snprintf(svg, sizeof svg, "-o%s.svg", name);
    snprintf(png, sizeof png, "-o%s.png", name);
    return draw(ctx, &DOT, (const char *const[]){ "dot", "-Tsvg", svg, "-Tpng", png, script, NULL }, dir, name, script, err);
}

sl_status sl_picture_name(const char *name, sl_err *err)
{
    const char *s = name;
    while (s && (isalnum((unsigned char)*s) || *s == '_' || *s == '-'))
        s++;
    if (name && *name && !*s && s - name <= 100)
        return SL_OK;
    return sl_fail(err, SL_ARG, "plot", "letters, digits, _ and -", "'%s' names no file", name ? name : "");
}

sl_status sl_picture_file(sl_ctx *ctx, const char *dir, const char *name, const char *ending, sl_status (*put)(sl_atomic *, const void *, sl_err *), const void *what,
                          sl_err *err)
{
    char path[LINE];
    int n = snprintf(path, sizeof path, "%s/%s.%s", dir, name, ending);
    if (n >= (int)sizeof path)
        return sl_fail(err, SL_ARG, dir, "a shorter path", "the path is too long");
    sl_atomic *f;
    SL_TRY(sl_atomic_open(ctx, path, &f, err));
    sl_status st = put(f, what, err);
    if (st == SL_OK)
        return sl_atomic_commit(f, err);
    sl_atomic_abort(f);
    return st;
}
