/* Escaping, and pictures inside a page. */
#include "report/html.h"
#include "base/utf8.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

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

/* ---- pictures ---- */

/* What a picture may not hold: it could run, or fetch something. */
static const char *forbidden(const char *svg, const char *end)
{
    static const char *const WORDS[] = { "<script", "<foreignobject", "<image", "<iframe", "<style", "<!entity", "javascript:", "@import", NULL };
    for (const char *s = svg; s < end; s++) {
        for (const char *const *w = WORDS; *w; w++)
            if (strncasecmp(s, *w, strlen(*w)) == 0)
                return *w;
        if (strncasecmp(s, "href=", 5) == 0 && s[6] != '#')
            return "href";
        if (strncasecmp(s, "url(", 4) == 0 && s[4] != '#')
            return "url()";
        if (isspace((unsigned char)s[0]) && strncasecmp(s + 1, "on", 2) == 0) { /* onload="..." */
            size_t word = strspn(s + 1, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ");
            if (s[1 + word] == '=')
                return "an event handler";
        }
    }
    return NULL;
}

/* The four numbers of viewBox="0 0 760 470". */
static bool view_box(const char *tag, const char *end, char out[64])
{
    const char *v = strstr(tag, "viewBox=\"");
    if (!v || v > end)
        return false;
    v += 9;
    size_t n = strspn(v, "0123456789. -");
    if (v[n] != '"' || n == 0 || n >= 64)
        return false;
    snprintf(out, 64, "%.*s", (int)n, v);
    return true;
}

/* The body with `prefix` in front of every id and every reference to one. */
static void put_body(sl_html *h, const char *s, const char *end, const char *prefix)
{
    static const char *const MARKS[] = { " id='", " id=\"", "href='#", "href=\"#", "url(#", NULL };
    const char *from = s;
    for (; s < end; s++)
        for (const char *const *m = MARKS; *m; m++) {
            size_t n = strlen(*m);
            if (strncmp(s, *m, n) != 0)
                continue;
            sl_h_bytes(h, from, (size_t)(s + n - from));
            sl_h(h, prefix);
            from = s + n;
        }
    sl_h_bytes(h, from, (size_t)(end - from));
}

sl_status sl_h_svg(sl_html *h, const char *file, const char *svg, const char *prefix, const char *alt, sl_err *err)
{
    const char *tag = strstr(svg, "<svg"), *body = tag ? strchr(tag, '>') : NULL, *end = body ? strstr(body, "</svg>") : NULL;
    char box[64];
    if (!end || !view_box(tag, body, box))
        return sl_fail(err, SL_DATA, file, "an SVG picture with a viewBox", "this is none");
    const char *bad = forbidden(body, end);
    if (bad)
        return sl_fail(err, SL_DATA, file, "a picture that neither runs nor fetches anything", "it holds %s", bad);
    const char *title = strstr(body, "<title>Gnuplot</title>"); /* a tooltip that says nothing */
    if (title && title < end)
        body = title + strlen("<title>Gnuplot</title>") - 1;
    sl_h(h, "<svg role=\"img\" viewBox=\"");
    sl_h(h, box);
    sl_h(h, "\" aria-label=\"");
    sl_h_text(h, alt);
    sl_h(h, "\">");
    put_body(h, body + 1, end, prefix);
    sl_h(h, "</svg>");
    return SL_OK;
}
