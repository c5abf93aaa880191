/* Strings of a feature index as text. */
#ifndef SL_REPORT_FEATURE_TEXT_H
#define SL_REPORT_FEATURE_TEXT_H

#include <saelab/feature_export.h>

enum { SL_FEATURE_TEXT = 640 };
/* UTF-8: bytes that are no character become U+FFFD. Cut at the size, never inside a character. */
void sl_feature_plain(const sl_features *f, int32_t id, char out[SL_FEATURE_TEXT]);
/* The same with what one cannot see made visible: line ends, tabs and control characters as symbols, bytes that are no character as \xNN. */
void sl_feature_visible(const sl_features *f, int32_t id, char out[SL_FEATURE_TEXT]);

static inline int64_t sl_feature_list_n(const sl_features *f, const sl_feature_list *l) { return l->id ? l->n : sl_features_about(f)->n_features; }
static inline int64_t sl_feature_list_at(const sl_feature_list *l, int64_t i) { return l->id ? l->id[i] : i; }
static inline const char *sl_feature_list_label(const sl_feature_list *l, int64_t id)
{
    const char *s = l->label ? l->label(l->user, id) : NULL;
    return s ? s : "";
}

#endif
