/* Strings of a feature index as text. */
#include "report/feature_text.h"

#include "base/utf8.h"

#include <stdio.h>
#include <string.h>

/* U+FFFD; symbols of U+2400 for what is below a space. */
static size_t shown(uint32_t cp, bool visible, char out[8])
{
    const char *word = cp == '\n' ? "\xe2\x8f\x8e" : cp == '\t' ? "\xe2\x87\xa5" : cp == 127 ? "\xe2\x90\xa1" : NULL;
    if (!visible || (cp >= 32 && !word))
        return 0;
    return (size_t)(word ? snprintf(out, 8, "%s", word) : snprintf(out, 8, "\xe2\x90%c", (char)(0x80 + cp)));
}

static void text_of(const sl_features *f, int32_t id, bool visible, char out[SL_FEATURE_TEXT])
{
    size_t n, at = 0, len;
    const char *s = sl_features_string(f, id, &n);
    for (size_t i = 0; i < n && at + 8 < SL_FEATURE_TEXT; i += len) {
        uint32_t cp;
        char word[8];
        len = sl_utf8_decode(s + i, n - i, &cp);
        size_t k = len ? shown(cp, visible, word) : (size_t)snprintf(word, sizeof word, visible ? "\\x%02X" : "\xEF\xBF\xBD", (unsigned char)s[i]);
        memcpy(out + at, k ? word : s + i, k ? k : len);
        at += k ? k : len;
        len = len ? len : 1;
    }
    out[at] = 0;
}

void sl_feature_plain(const sl_features *f, int32_t id, char out[SL_FEATURE_TEXT]) { text_of(f, id, false, out); }
void sl_feature_visible(const sl_features *f, int32_t id, char out[SL_FEATURE_TEXT]) { text_of(f, id, true, out); }
