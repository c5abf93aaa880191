/* Status codes and the one line of error text. */
#include <saelab/status.h>

#include <stdio.h>
#include <string.h>

static const struct { const char *name, *text; } STATUS[SL_N_STATUS] = {
#define X(code, name, text) { name, text },
    SL_STATUS_LIST(X)
#undef X
};

const char *sl_status_name(sl_status code)
{
    return (unsigned)code < SL_N_STATUS ? STATUS[code].name : "unknown";
}

const char *sl_status_text(sl_status code)
{
    return (unsigned)code < SL_N_STATUS ? STATUS[code].text : "unknown status";
}

/* Control characters in quoted file contents must not break the line or the terminal. */
static void one_line(char *s)
{
    for (; *s; s++)
        if ((unsigned char)*s < 32 || (unsigned char)*s == 127)
            *s = '?';
}

sl_status sl_fail(sl_err *err, sl_status code, const char *where, const char *expected, const char *fmt, ...)
{
    if (!err)
        return code;
    va_list ap;
    va_start(ap, fmt);
    err->code = code;
    snprintf(err->where, sizeof err->where, "%s", where ? where : "");
    snprintf(err->expected, sizeof err->expected, "%s", expected ? expected : "");
    vsnprintf(err->what, sizeof err->what, fmt, ap);
    va_end(ap);
    one_line(err->where);
    one_line(err->what);
    one_line(err->expected);
    const char *what = err->what[0] ? err->what : sl_status_text(code);
    snprintf(err->msg, sizeof err->msg, "%s%s%s%s%s%s", err->where, err->where[0] ? ": " : "", what,
             err->expected[0] ? " (expected " : "", err->expected, err->expected[0] ? ")" : "");
    return code;
}
