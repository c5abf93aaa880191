/* Cleaning of titles, labels and names before they go into scripts. */
#include "report/text.h"
#include "base/utf8.h"

#include <string.h>

/* `quotes`: ' and ` become the typographic ones, which mean nothing to gnuplot. */
static size_t clean(const char *s, bool quotes, char *out, size_t room)
{
    size_t k = 0, n = s ? strlen(s) : 0;
    for (size_t i = 0, len; i < n; i += len) {
        uint32_t cp = 0;
        const char *from = s + i;
        len = sl_utf8_decode(s + i, n - i, &cp);
        if (len == 0)
            from = "?";
        else if (cp < 32 || cp == 127)
            from = " ";
        else if (quotes && cp == '\'')
            from = "\xE2\x80\x99";
        else if (quotes && cp == '`')
            from = "\xE2\x80\x98";
        size_t m = from == s + i ? len : strlen(from);
        if (k + m > room)
            break;
        memcpy(out + k, from, m);
        k += m;
        len = len ? len : 1;
    }
    return k;
}

const char *sl_one_line(const char *s, char *out, size_t size)
{
    out[clean(s, false, out, size - 1)] = 0;
    return out;
}

const char *sl_gnuplot_quoted(const char *s, char *out, size_t size)
{
    out[0] = '\'';
    size_t k = 1 + clean(s, true, out + 1, size - 3);
    out[k++] = '\'';
    out[k] = 0;
    return out;
}
