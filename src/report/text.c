/* Cleaning of titles, labels and names before they go into scripts. */
#include "report/text.h"
#include "data/utf8.h"

#include <string.h>

/* `doubled` is the character that is written twice, 0 for none. */
static size_t clean(const char *s, char doubled, char *out, size_t room)
{
    size_t k = 0, n = s ? strlen(s) : 0;
    for (size_t i = 0; i < n;) {
        uint32_t cp;
        size_t len = sl_utf8_decode(s + i, n - i, &cp);
        const char *from = len == 0 ? "?" : cp < 32 || cp == 127 ? " " : s + i;
        size_t m = len == 0 || from[0] == ' ' ? 1 : len;
        bool twice = doubled && len == 1 && s[i] == doubled;
        if (k + m + twice > room)
            break;
        memcpy(out + k, from, m);
        k += m;
        if (twice)
            out[k++] = doubled;
        i += len ? len : 1;
    }
    return k;
}

const char *sl_one_line(const char *s, char *out, size_t size)
{
    out[clean(s, 0, out, size - 1)] = 0;
    return out;
}

const char *sl_gnuplot_quoted(const char *s, char *out, size_t size)
{
    out[0] = '\'';
    size_t k = 1 + clean(s, '\'', out + 1, size - 3);
    out[k++] = '\'';
    out[k] = 0;
    return out;
}
