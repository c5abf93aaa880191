/* Writing HTML: a file that remembers its first failure, so that a page reads as a page. */
#ifndef SL_REPORT_HTML_H
#define SL_REPORT_HTML_H

#include "io/io.h"

typedef struct sl_html {
    sl_atomic *f;
    sl_status st;   /* the first failure; later calls do nothing */
    sl_err *err;
} sl_html;

void sl_h(sl_html *h, const char *markup);                        /* as it is */
void sl_h_bytes(sl_html *h, const char *markup, size_t n);        /* the same, n bytes */
/* Text: < > & and quotes are escaped, bytes that are not UTF-8 become U+FFFD, control characters but line ends and tabs are dropped.
 * Good between tags and between quotes. NULL is nothing. */
void sl_h_text(sl_html *h, const char *text);
void sl_h_textf(sl_html *h, const char *fmt, ...) SL_PRINTF(2, 3); /* formatted (cut at 1 kB), then as sl_h_text */

/* The picture in an SVG file as an <svg> element of the page: its ids get `prefix`, so that pictures do not meet, and nothing in it may run
 * or fetch. Colours of our plots become the page's variables (style.c); a picture with others is of class "paper", on white. title and desc:
 * what a screen reader says. Returns SL_DATA when the file is no SVG or holds scripts or references; then nothing is written. */
sl_status sl_h_svg(sl_html *h, const char *file, const char *svg, const char *prefix, const char *title, const char *desc, sl_err *err) SL_USE_RESULT;

void sl_h_style(sl_html *h);  /* the <style> of every page */
void sl_h_script(sl_html *h); /* a <script>, last in the body, that puts buttons above tables to copy them; a page is whole without it */

#endif
