/* Text made safe for where it goes. */
#ifndef SL_REPORT_TEXT_H
#define SL_REPORT_TEXT_H

#include <stddef.h>

/* One line of valid UTF-8: control characters become spaces, bytes that are not UTF-8 become '?'. Cut at `size` - 1 bytes, never inside
 * a character. NULL is "". Returns out. */
const char *sl_one_line(const char *s, char *out, size_t size);
/* The same between single quotes for gnuplot, where ' and ` become the typographic quotes: gnuplot's own way, doubling, is not safe with
 * every text. `size` is 3 or more. */
const char *sl_gnuplot_quoted(const char *s, char *out, size_t size);

#endif
