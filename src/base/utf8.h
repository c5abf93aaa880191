/* UTF-8 as RFC 3629 has it: no overlong forms, no surrogates, nothing above U+10FFFF. */
#ifndef SL_UTF8_H
#define SL_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Length 1..4 of the character that begins s[0..n), its code point in *cp; 0 when the bytes are not valid there (or n is 0). */
size_t sl_utf8_decode(const char *s, size_t n, uint32_t *cp);
/* Bytes of a valid code point, 1..4. */
size_t sl_utf8_encode(uint32_t cp, char out[4]);
/* True when all of s[0..n) is valid; else *bad (NULL is legal) is the offset of the first byte that is not. */
bool sl_utf8_valid(const char *s, size_t n, size_t *bad);

#endif
