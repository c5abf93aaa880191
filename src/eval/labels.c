/* Properties of tokens that can be read off the text. */
#include "eval/reader.h"

#include <saelab/probe.h>

#include <ctype.h>
#include <stdio.h>
#include <string.h>

enum { FIRST_LETTER, CAPITAL, DIGIT, QUOTED, LANGUAGE, N_SETS };
enum { N_WORDS = 8, LEAST_WORDS = 5 };

const char *const sl_languages[] = { "en", "de", "fr", "es", "it", "nl", "pt", NULL };
static const char *const function_words[][N_WORDS] = {
    { "the", "of", "and", "to", "is", "that", "was", "with" },
    { "der", "die", "und", "das", "ist", "nicht", "ein", "mit" },
    { "le", "les", "et", "des", "est", "une", "dans", "qui" },
    { "el", "los", "que", "una", "por", "las", "con", "para" },
    { "il", "che", "di", "della", "per", "non", "sono", "gli" },
    { "het", "een", "van", "dat", "niet", "zijn", "voor", "ook" },
    { "não", "uma", "dos", "para", "com", "os", "em", "são" },
};
enum { N_LANGUAGES = sizeof function_words / sizeof *function_words };

static bool letter(char c) { return isascii((unsigned char)c) && isalpha((unsigned char)c); }

/* ---- one document ---- */

static int32_t language_of(const sl_reader *r)
{
    int64_t count[N_LANGUAGES] = { 0 };
    for (int64_t i = 0; i < r->n;) {
        int64_t end = i;
        while (end < r->n && (letter(r->bytes[end]) || (unsigned char)r->bytes[end] >= 128))
            end++;
        for (int l = 0; l < N_LANGUAGES && end > i; l++)
            for (int w = 0; w < N_WORDS; w++) {
                const char *word = function_words[l][w];
                count[l] += strlen(word) == (size_t)(end - i) && strncmp(word, r->bytes + i, (size_t)(end - i)) == 0;
            }
        i = end > i ? end : i + 1;
    }
    int best = 0;
    int64_t second = 0;
    for (int l = 1; l < N_LANGUAGES; l++)
        best = count[l] > count[best] ? l : best;
    for (int l = 0; l < N_LANGUAGES; l++)
        second = l != best && count[l] > second ? count[l] : second;
    return count[best] >= LEAST_WORDS && count[best] >= 2 * second ? best : -1;
}

static void label(const sl_reader *r, int64_t token, int32_t language, int64_t row, sl_label_set *sets)
{
    int64_t at = r->start[token], end = r->start[token + 1];
    while (at < end && isspace((unsigned char)r->bytes[at]))
        at++;
    if (at == end)
        return;
    char c = r->bytes[at];
    sets[DIGIT].y[row] = isdigit((unsigned char)c) != 0;
    sets[LANGUAGE].y[row] = language;
    if (c != '"')
        sets[QUOTED].y[row] = r->in_quotes[at];
    if (!letter(c))
        return;
    sets[CAPITAL].y[row] = isupper((unsigned char)c) != 0;
    while (at > 0 && letter(r->bytes[at - 1]))
        at--;
    sets[FIRST_LETTER].y[row] = tolower((unsigned char)r->bytes[at]) - 'a';
}

/* ---- all rows ---- */

static sl_status make_sets(sl_ctx *ctx, int64_t n_rows, sl_label_set **out, sl_err *err)
{
    static const struct { const char *name; int32_t n_classes; } what[N_SETS] = {
        { "first_letter", 26 }, { "capital", 2 }, { "digit", 2 }, { "quoted", 2 }, { "language", N_LANGUAGES }
    };
    sl_label_set *s = *out = sl_alloc(ctx, N_SETS * sizeof *s);
    SL_TRY(sl_have("labels", 1, (const void *const[]){ s }, err));
    for (int i = 0; i < N_SETS; i++) {
        snprintf(s[i].name, sizeof s[i].name, "%s", what[i].name);
        s[i].n_classes = what[i].n_classes;
        s[i].y = sl_alloc(ctx, (size_t)n_rows * sizeof *s[i].y);
        SL_TRY(sl_have("labels", 1, (const void *const[]){ s[i].y }, err));
        for (int64_t r = 0; r < n_rows; r++)
            s[i].y[r] = -1;
    }
    return SL_OK;
}

/* Rows in the order of their documents: next[i] is the row after i in the same document, first[doc] the first. */
static sl_status walk(sl_reader *r, const int32_t *doc, const int32_t *pos, int64_t n_rows, sl_label_set *sets, sl_err *err)
{
    int32_t *first = sl_alloc(r->ctx, (size_t)r->c->n_docs * sizeof *first), *next = sl_alloc(r->ctx, (size_t)n_rows * sizeof *next);
    sl_status st;
    SL_GO(sl_have("labels", 2, (const void *const[]){ first, next }, err));
    for (int64_t d = 0; d < r->c->n_docs; d++)
        first[d] = -1;
    for (int64_t i = 0; i < n_rows; i++) {
        next[i] = first[doc[i]];
        first[doc[i]] = (int32_t)i;
    }
    for (int64_t d = 0; d < r->c->n_docs; d++) {
        if (first[d] < 0)
            continue;
        sl_reader_open(r, (int32_t)d);
        int32_t language = language_of(r);
        for (int32_t i = first[d]; i >= 0; i = next[i])
            label(r, pos[i], language, i, sets);
    }
done:
    sl_free(r->ctx, next);
    sl_free(r->ctx, first);
    return st;
}

sl_status sl_labels_of_text(sl_ctx *ctx, const sl_corpus *c, const int32_t *doc, const int32_t *pos, int64_t n_rows, sl_label_set **out, int *n_sets, sl_err *err)
{
    sl_reader r = { 0 };
    sl_status st;
    *out = NULL;
    *n_sets = N_SETS;
    SL_GO(sl_eval_data_check(&(sl_eval_data){ .n_rows = n_rows, .corpus = c, .doc = doc, .pos = pos }, err));
    SL_GO(sl_reader_new(ctx, c, &r, err));
    SL_GO(make_sets(ctx, n_rows, out, err));
    SL_GO(walk(&r, doc, pos, n_rows, *out, err));
done:
    sl_reader_release(&r);
    if (st != SL_OK) {
        sl_labels_free(ctx, *out, N_SETS);
        *out = NULL;
        *n_sets = 0;
    }
    return st;
}

void sl_labels_free(sl_ctx *ctx, sl_label_set *sets, int n_sets)
{
    for (int i = 0; sets && i < n_sets; i++)
        sl_free(ctx, sets[i].y);
    sl_free(ctx, sets);
}

sl_status sl_labels_of_source(sl_ctx *ctx, const sl_act_info *info, const int64_t *rows, int64_t n_rows, sl_label_set **out, sl_err *err)
{
    enum { MOST = 64 };
    const char *seen[MOST];
    if (!info->labels || info->n_labels < 1)
        return sl_fail(err, SL_DATA, "labels", "one text a row", "the rows have no labels");
    sl_label_set *s = sl_alloc(ctx, sizeof *s);
    int32_t *y = sl_alloc(ctx, (size_t)n_rows * sizeof *y);
    sl_status st;
    SL_GO(sl_have("labels", 2, (const void *const[]){ s, y }, err));
    *s = (sl_label_set){ "source", 0, y };
    for (int64_t r = 0; r < n_rows; r++) {
        const char *text = info->labels[rows[r] % info->n_labels];
        int32_t k = 0;
        while (k < s->n_classes && strcmp(seen[k], text) != 0)
            k++;
        if (k == s->n_classes && k == MOST)
            SL_GO(sl_fail(err, SL_DATA, "labels", "at most 64 different ones", "row %lld brings another", (long long)r));
        if (k == s->n_classes)
            seen[s->n_classes++] = text;
        y[r] = k;
    }
    *out = s;
done:
    if (st != SL_OK) {
        sl_free(ctx, y);
        sl_free(ctx, s);
    }
    return st;
}
