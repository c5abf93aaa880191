/* One code point of UTF-8, strictly: no overlong forms, no surrogates, nothing above U+10FFFF. */
#ifndef SL_UTF8_H
#define SL_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes of the code point at s (n >= 1 of them readable), its value in *cp; 0 when they are not UTF-8. */
size_t sl_utf8_next(const char *s, size_t n, uint32_t *cp);
bool sl_is_utf8(const char *s, size_t n);

#endif
