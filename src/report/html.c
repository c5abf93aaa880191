/* Escaping. */
#include "report/html.h"
#include "base/utf8.h"

#include <string.h>

void sl_h_bytes(sl_html *h, const char *markup, size_t n)
{
    if (h->st == SL_OK)
        h->st = sl_atomic_write(h->f, markup, n, h->err);
}

void sl_h(sl_html *h, const char *markup) { sl_h_bytes(h, markup, strlen(markup)); }

static const char *escaped(uint32_t cp)
{
    switch (cp) {
    case '<': return "&lt;";
    case '>': return "&gt;";
    case '&': return "&amp;";
    case '"': return "&quot;";
    case '\'': return "&#39;";
    default: return (cp < 32 && cp != '\n' && cp != '\t') || cp == 127 ? "" : NULL;
    }
}

void sl_h_text(sl_html *h, const char *text)
{
    size_t n = text ? strlen(text) : 0, from = 0;
    for (size_t i = 0, len; i < n; i += len) {
        uint32_t cp;
        len = sl_utf8_decode(text + i, n - i, &cp);
        const char *instead = len ? escaped(cp) : "\xEF\xBF\xBD";
        len = len ? len : 1;
        if (!instead)
            continue;
        sl_h_bytes(h, text + from, i - from);
        sl_h(h, instead);
        from = i + len;
    }
    sl_h_bytes(h, text ? text + from : "", n - from);
}

void sl_h_textf(sl_html *h, const char *fmt, ...)
{
    char text[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    sl_h_text(h, text);
}
