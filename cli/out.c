/* Results on stdout: text for people, or the one JSON document of --json. */
#include "cli.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

void say(const cli *c, const char *fmt, ...)
{
    if (c->com.json)
        return;
    va_list ap;
    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
}

void next_step(cli *c, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(c->next, sizeof c->next, fmt, ap);
    va_end(ap);
}

/* Columns on a terminal: code points, as the tables hold no wide characters. */
static int width(const char *s)
{
    int n = 0;
    for (; *s; s++)
        n += ((unsigned char)*s & 0xc0) != 0x80;
    return n;
}

static bool numeric(const char *s)
{
    s += *s == '-';
    return (*s >= '0' && *s <= '9') || !*s;
}

/* Width and alignment of one column. */
typedef struct column { int wide; bool right; } column;

static column measure(bool heading, int n_rows, int n_cols, int k, const char *const *cells)
{
    column col = { 0, heading };
    for (int i = 0; i < n_rows; i++) {
        const char *s = cells[i * n_cols + k];
        col.wide = width(s) > col.wide ? width(s) : col.wide;
        col.right = col.right && (i == 0 || numeric(s));
    }
    return col;
}

void say_table(const cli *c, bool heading, int n_rows, int n_cols, const char *const *cells)
{
    for (int r = 0; r < n_rows && !c->com.json; r++) {
        int gap = 0; /* spaces owed: none are written at the end of a line */
        for (int k = 0; k < n_cols; k++) {
            const char *s = cells[r * n_cols + k];
            column col = measure(heading, n_rows, n_cols, k, cells);
            int pad = col.wide - width(s);
            if (*s)
                printf("%*s%s", gap + (col.right ? pad : 0), "", s);
            gap = (*s ? (col.right ? 0 : pad) : gap + col.wide) + 2;
        }
        printf("\n");
    }
}

const char *text_count(char out[32], int64_t n)
{
    char digits[24];
    int len = snprintf(digits, sizeof digits, "%lld", (long long)(n < 0 ? -n : n)), k = 0;
    if (n < 0)
        out[k++] = '-';
    for (int i = 0; i < len; i++) {
        if (i > 0 && (len - i) % 3 == 0)
            out[k++] = ',';
        out[k++] = digits[i];
    }
    out[k] = 0;
    return out;
}

const char *text_bytes(char out[32], int64_t n)
{
    static const char *const unit[] = { "B", "kB", "MB", "GB", "TB" };
    double v = (double)n;
    int i = 0;
    for (; fabs(v) >= 999.5 && i < 4; i++)
        v /= 1000;
    snprintf(out, 32, i == 0 || fabs(v) >= 99.95 ? "%.0f %s" : "%.1f %s", v, unit[i]);
    return out;
}

const char *text_time(char out[32], double seconds)
{
    if (!isfinite(seconds) || seconds < 0 || seconds > 1e9)
        return strcpy(out, "?");
    long long s = (long long)(seconds + .5);
    if (seconds < 9.95)
        snprintf(out, 32, "%.1f s", seconds);
    else if (s < 100)
        snprintf(out, 32, "%lld s", s);
    else if (s < 3600)
        snprintf(out, 32, "%lld:%02lld", s / 60, s % 60);
    else
        snprintf(out, 32, "%lld:%02lld:%02lld", s / 3600, s / 60 % 60, s % 60);
    return out;
}

json_t *json_real_or_null(double v) { return isfinite(v) ? json_real(v) : json_null(); }

static void print_document(json_t *doc)
{
    if (doc)
        json_dumpf(doc, stdout, JSON_INDENT(2) | JSON_PRESERVE_ORDER | JSON_REAL_PRECISION(17));
    printf("\n");
    json_decref(doc);
}

void out_result(const cli *c)
{
    print_document(json_pack("{s:i, s:s, s:O?}", "schema", 1, "command", c->cmd->name, "result", c->result));
}

void out_error(const char *name, const sl_err *err)
{
    print_document(json_pack("{s:i, s:s, s:{s:s, s:s, s:s, s:s}}", "schema", 1, "command", name, "error", "code", sl_status_name(err->code),
                             "where", err->where, "what", err->what, "expected", err->expected));
}

int exit_code(const cli *c, sl_status st)
{
    switch (st) {
    case SL_OK: return 0;
    case SL_ARG:
    case SL_CONFIG:
    case SL_EXISTS: return 2;
    case SL_CANCELLED: return 128 + (c->ctx ? sl_cancelled(c->ctx) : 0);
    default: return 1;
    }
}

sl_status out_file(const char *path, const char *text, sl_err *err)
{
    char tmp[1200];
    snprintf(tmp, sizeof tmp, "%.1100s.tmp", path);
    FILE *f = fopen(tmp, "wb");
    bool ok = f && fputs(text, f) >= 0 && fflush(f) == 0 && fsync(fileno(f)) == 0;
    int why = errno;
    if (f && fclose(f) != 0)
        ok = false;
    if (ok && rename(tmp, path) == 0)
        return SL_OK;
    if (ok)
        why = errno;
    if (f)
        remove(tmp);
    return sl_fail(err, SL_IO, path, "a file that can be written", "%s", strerror(why));
}
