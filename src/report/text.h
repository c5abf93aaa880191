/* Text made safe for where it goes. */
#ifndef SL_REPORT_TEXT_H
#define SL_REPORT_TEXT_H

#include <stddef.h>

/* One line of valid UTF-8: control characters become spaces, bytes that are not UTF-8 become '?'. Cut at `size` - 1 bytes, never inside
 * a character. NULL is "". Returns out. */
const char *sl_one_line(const char *s, char *out, size_t size);
/* The same between single quotes as gnuplot reads them, where only the quote itself is special (it is doubled). */
const char *sl_gnuplot_quoted(const char *s, char *out, size_t size);

#endif
