/* Pictures inside a page: nothing in them may run or fetch, and their colours become those of the page, light or dark. */
#include "report/html.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

/* ---- colours ---- */

/* What gnuplot's scripts here use (plot.c, picture.c), and the variable of the page's style that stands for it. */
static const struct { uint32_t rgb; const char *name; } COLOURS[] = {
    { 0xFFFFFF, "--bg" }, { 0x111111, "--ink" }, { 0x222222, "--ink" }, { 0x444444, "--axis" }, { 0x666666, "--soft" }, { 0x888888, "--soft" }, { 0xE6E6E6, "--grid" },
    { 0x0072B2, "--c1" }, { 0xD55E00, "--c2" }, { 0x009E73, "--c3" }, { 0xCC79A7, "--c4" }, { 0xE69F00, "--c5" }, { 0x56B4E9, "--c6" }, { 0x555555, "--c7" },
    { 0x000000, "--c8" },
};
enum { N_COLOURS = sizeof COLOURS / sizeof COLOURS[0] };

/* Length of the colour that s begins with, `#0072B2` or `rgb(  0, 114, 178)`; 0: none. */
static size_t colour(const char *s, uint32_t *rgb)
{
    unsigned r, g, b;
    int n = 0;
    if (s[0] == '#' && strspn(s + 1, "0123456789abcdefABCDEF") == 6 && sscanf(s, "#%2x%2x%2x%n", &r, &g, &b, &n) == 3) {
        *rgb = r << 16 | g << 8 | b;
        return (size_t)n;
    }
    if (strncmp(s, "rgb(", 4) == 0 && sscanf(s, "rgb( %u , %u , %u )%n", &r, &g, &b, &n) == 3 && n > 0 && r < 256 && g < 256 && b < 256) {
        *rgb = r << 16 | g << 8 | b;
        return (size_t)n;
    }
    return 0;
}

static const char *variable(uint32_t rgb)
{
    for (int i = 0; i < N_COLOURS; i++)
        if (COLOURS[i].rgb == rgb)
            return COLOURS[i].name;
    return NULL;
}

/* A picture with colours of its own (a field, a graph) stays on white paper. */
static bool follows_page(const char *s, const char *end)
{
    uint32_t rgb;
    for (; s < end; s++)
        if ((*s == '#' || *s == 'r') && colour(s, &rgb) && !variable(rgb))
            return false;
    return true;
}

/* ---- the picture ---- */

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

/* The body with `prefix` in front of every id and every reference to one, and with the page's colours where it follows the page. */
static void put_body(sl_html *h, const char *s, const char *end, const char *prefix, bool themed)
{
    static const char *const MARKS[] = { " id='", " id=\"", "href='#", "href=\"#", "url(#", NULL };
    const char *from = s;
    while (s < end) {
        uint32_t rgb = 0;
        size_t keep = 0, skip = !themed ? 0 : *s == '#' || *s == 'r' ? colour(s, &rgb) : strncmp(s, "black\"", 6) == 0 ? 5 : 0; /* gnuplot's text is "black" */
        for (const char *const *m = MARKS; *m && !skip && !keep; m++)
            keep = strncmp(s, *m, strlen(*m)) == 0 ? strlen(*m) : 0;
        if (keep || skip) {
            sl_h_bytes(h, from, (size_t)(s + keep - from));
            sl_h(h, skip ? "var(" : "");
            sl_h(h, skip == 5 ? "--ink" : skip ? variable(rgb) : prefix);
            sl_h(h, skip ? ")" : "");
            from = s + keep + skip;
        }
        s += keep + skip ? keep + skip : 1;
    }
    sl_h_bytes(h, from, (size_t)(end - from));
}

/* gnuplot's own title and description say nothing of the picture: past them. */
static const char *after_signature(const char *body, const char *end)
{
    const char *title = strstr(body, "<title>Gnuplot</title>"), *desc = strstr(body, "<desc>Produced by GNUPLOT");
    const char *past = title && title < end ? title + strlen("<title>Gnuplot</title>") : body;
    const char *close = desc && desc < end ? strstr(desc, "</desc>") : NULL;
    return close && close < end ? close + strlen("</desc>") : past;
}

sl_status sl_h_svg(sl_html *h, const char *file, const char *svg, const char *prefix, const char *title, const char *desc, sl_err *err)
{
    const char *tag = strstr(svg, "<svg"), *body = tag ? strchr(tag, '>') : NULL, *end = body ? strstr(body, "</svg>") : NULL;
    char box[64];
    if (!end || !view_box(tag, body, box))
        return sl_fail(err, SL_DATA, file, "an SVG picture with a viewBox", "this is none");
    const char *bad = forbidden(body, end);
    if (bad)
        return sl_fail(err, SL_DATA, file, "a picture that neither runs nor fetches anything", "it holds %s", bad);
    bool themed = follows_page(body, end);
    sl_h(h, themed ? "<svg role=\"img\" viewBox=\"" : "<svg class=\"paper\" role=\"img\" viewBox=\"");
    sl_h(h, box);
    sl_h(h, "\" aria-labelledby=\"");
    sl_h_text(h, prefix);
    sl_h(h, "title\"><title id=\"");
    sl_h_text(h, prefix);
    sl_h(h, "title\">");
    sl_h_text(h, title);
    sl_h(h, "</title><desc>");
    sl_h_text(h, desc);
    sl_h(h, "</desc>");
    put_body(h, after_signature(body + 1, end), end, prefix, themed);
    sl_h(h, "</svg>");
    return SL_OK;
}
