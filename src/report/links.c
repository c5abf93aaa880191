/* Addresses of files beside a page. */
#include "report/links.h"

#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool resolve(const char *dir, char out[PATH_MAX]) { return realpath(*dir ? dir : ".", out) != NULL; }

static bool folder_of(const char *path, char out[PATH_MAX])
{
    char dir[PATH_MAX];
    const char *slash = strrchr(path, '/');
    if (slash == path)
        return resolve("/", out);
    snprintf(dir, sizeof dir, "%.*s", slash ? (int)(slash - path < PATH_MAX ? slash - path : PATH_MAX - 1) : 1, slash ? path : ".");
    return resolve(dir, out);
}

/* Bytes that two absolute paths share, whole names only. */
static size_t shared(const char *a, const char *b)
{
    size_t n = 0, whole = 0;
    while (a[n] && a[n] == b[n]) {
        n++;
        if (a[n] == '/' || a[n] == 0)
            whole = b[n] == '/' || b[n] == 0 ? n : whole;
    }
    return whole;
}

/* How many folders a path names. */
static int depth(const char *s)
{
    int n = 0;
    for (; *s; s++)
        n += *s == '/' && s[1] != 0;
    return n;
}

static size_t escape(const char *s, char *out, size_t size)
{
    static const char KEPT[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~/";
    size_t n = 0;
    for (; *s && n + 4 < size; s++)
        n += (size_t)(strchr(KEPT, *s) ? snprintf(out + n, size - n, "%c", *s) : snprintf(out + n, size - n, "%%%02X", (unsigned char)*s));
    return *s ? size : n;
}

const char *sl_relative_link(const char *page, const char *dir, const char *file, char *out, size_t size)
{
    char from[PATH_MAX], to[PATH_MAX];
    size_t n = 0;
    snprintf(out, size, "%s", file);
    if (!folder_of(page, from) || !resolve(dir, to))
        return out;
    size_t same = shared(from, to);
    const char *rest = to + same + (to[same] == '/');
    for (int up = depth(from + same); up > 0 && n + 4 < size; up--)
        n += (size_t)snprintf(out + n, size - n, "../");
    n += escape(rest, out + n, size - n);
    if (n + strlen(file) + 2 >= size)
        snprintf(out, size, "%s", file);
    else
        snprintf(out + n, size - n, "%s%s", *rest ? "/" : "", file);
    return out;
}
