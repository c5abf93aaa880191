/* The search box: terms, which features fit, and their order. */
#include "serve/browse.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- terms ---- */

static sl_status bad_term(const char *term, const char *expected, const char *what, sl_err *err)
{
    return sl_fail(err, SL_ARG, term, expected, "%s", what);
}

static sl_status parse_id(const char *text, sl__term *t, sl_err *err)
{
    char first[64];
    size_t n = strspn(text + 1, "0123456789");
    const char *rest = text + 1 + n;
    snprintf(first, sizeof first, "%.*s", (int)n, text + 1);
    t->kind = SL__TERM_ID;
    if (n == 0 || n > 15 || !sl_parse_int(first, &t->id))
        return bad_term(text, "#123 or #100-199", "is no feature", err);
    t->id_end = t->id;
    if (*rest == 0)
        return SL_OK;
    bool digits = rest[0] == '-' && rest[1 + strspn(rest + 1, "0123456789")] == 0;
    return digits && sl_parse_int(rest + 1, &t->id_end) ? SL_OK : bad_term(text, "#123 or #100-199", "is no range of features", err);
}

/* "<1e-3", "<=2", ">0", ">=1", "=3", "3", "1..5" */
static sl_status parse_range(const char *term, const char *v, sl__term *t, sl_err *err)
{
    static const char expected[] = "COLUMN:<1e-3, COLUMN:>=2, COLUMN:1..5 or COLUMN:3";
    const char *dots = strstr(v, "..");
    char first[64];
    double x;
    t->kind = SL__TERM_RANGE;
    t->lo = -INFINITY;
    t->hi = INFINITY;
    if (dots) {
        snprintf(first, sizeof first, "%.*s", (int)(dots - v), v);
        return sl_parse_number(first, &t->lo) && sl_parse_number(dots + 2, &t->hi) ? SL_OK : bad_term(term, expected, "is no range", err);
    }
    char op = strchr("<>=", *v) ? *v : '=';
    v += *v == op;
    bool equal = op != '=' && *v == '=';
    v += equal;
    if (!*v || !sl_parse_number(v, &x))
        return bad_term(term, expected, "has no number", err);
    if (op != '>')
        t->hi = x;
    if (op != '<')
        t->lo = x;
    t->lo_open = op == '>' && !equal;
    t->hi_open = op == '<' && !equal;
    return SL_OK;
}

static void lower(char *s)
{
    for (; *s; s++)
        *s = (char)tolower((unsigned char)*s); /* bytes of other characters stay as they are */
}

static sl_status parse_term(const sl_features *f, const char *text, bool quoted, sl__term *t, sl_err *err)
{
    const char *colon = strchr(text, ':');
    char name[64];
    *t = (sl__term){ .kind = SL__TERM_WORD };
    if (!quoted && text[0] == '-' && text[1]) {
        t->not = true;
        text++;
        colon = strchr(text, ':');
    }
    if (!quoted && text[0] == '#' && isdigit((unsigned char)text[1]))
        return parse_id(text, t, err);
    if (!quoted && (strcmp(text, "starred") == 0 || strcmp(text, "labelled") == 0)) {
        t->kind = *text == 's' ? SL__TERM_STAR : SL__TERM_LABELLED;
        return SL_OK;
    }
    if (!quoted && colon && colon > text && (size_t)(colon - text) < sizeof name && colon[1]) {
        snprintf(name, sizeof name, "%.*s", (int)(colon - text), text);
        if (strcmp(name, "tag") == 0) {
            t->kind = SL__TERM_TAG;
            snprintf(t->word, sizeof t->word, "%s", colon + 1);
            lower(t->word);
            return SL_OK;
        }
        t->column = sl_features_column_find(f, name);
        if (!t->column)
            return bad_term(text, "a column of the table, or \"quotes\" around a word with a colon", "is no filter", err);
        if (t->column->type == SL_COLUMN_STRING)
            return bad_term(text, "a column of numbers", "cannot be compared", err);
        return parse_range(text, colon + 1, t, err);
    }
    size_t n = strlen(text);
    if (n >= sizeof t->word)
        return bad_term("search", NULL, "a word is too long", err);
    memcpy(t->word, text, n + 1);
    lower(t->word);
    return SL_OK;
}

sl_status sl__query_parse(const sl_features *f, const char *text, sl__query *out, sl_err *err)
{
    char word[512];
    *out = (sl__query){ .n = 0 };
    for (;;) {
        text += strspn(text, " \t\n");
        if (!*text)
            return SL_OK;
        bool opposite = text[0] == '-' && text[1] == '"', quoted = opposite || *text == '"';
        text += quoted + opposite;
        size_t n = strcspn(text, quoted ? "\"" : " \t\n");
        if (out->n == SL_BROWSE_TERMS)
            return sl_fail(err, SL_ARG, "search", NULL, "more than %d terms", SL_BROWSE_TERMS);
        if (n >= sizeof word)
            return bad_term("search", NULL, "a word is too long", err);
        snprintf(word, sizeof word, "%.*s", (int)n, text);
        text += n;
        text += quoted && *text == '"';
        if (n > 0) {
            SL_TRY(parse_term(f, word, quoted, &out->term[out->n], err));
            out->term[out->n++].not |= opposite;
        }
    }
}

/* ---- which fit ---- */

/* Does `text` contain `word` (lower case), ASCII letters taken as one? */
static bool contains(const char *text, size_t n, const char *word)
{
    size_t m = strlen(word);
    for (size_t i = 0; i + m <= n; i++) {
        size_t k = 0;
        while (k < m && tolower((unsigned char)text[i + k]) == (unsigned char)word[k])
            k++;
        if (k == m)
            return true;
    }
    return false;
}

/* A label contains it, or one of the tokens that hold most of its activation. */
static bool word_fits(const sl__set *s, int64_t id, const char *word)
{
    sl_feature j;
    sl_err err;
    if (s->label[id] && contains(s->label[id], strlen(s->label[id]), word))
        return true;
    if (sl_features_get(s->f, id, &j, &err) != SL_OK)
        return false;
    for (int i = 0; i < j.n_tokens; i++) {
        size_t n;
        const char *text = sl_features_string(s->f, j.token[i], &n);
        if (contains(text, n, word))
            return true;
    }
    return false;
}

static bool has_tag(const char *tags, const char *tag)
{
    size_t m = strlen(tag);
    while (tags && *tags) {
        size_t n = strcspn(tags, " ");
        if (n == m && contains(tags, n, tag))
            return true;
        tags += n + (tags[n] == ' ');
    }
    return false;
}

static bool in_range(const sl__term *t, double v)
{
    return !isnan(v) && (t->lo_open ? v > t->lo : v >= t->lo) && (t->hi_open ? v < t->hi : v <= t->hi);
}

static bool fits(const sl__set *s, const sl__term *t, int64_t id)
{
    switch (t->kind) {
    case SL__TERM_ID: return id >= t->id && id <= t->id_end;
    case SL__TERM_STAR: return s->star[id];
    case SL__TERM_LABELLED: return s->label[id] != NULL;
    case SL__TERM_TAG: return has_tag(s->tags[id], t->word);
    case SL__TERM_RANGE: return in_range(t, sl_features_value(t->column, id));
    default: return word_fits(s, id, t->word);
    }
}

int64_t sl__query_run(sl__set *s, const sl__query *q, int32_t *ids)
{
    int64_t n = 0;
    pthread_rwlock_rdlock(&s->lock);
    for (int64_t id = 0; id < s->about->n_features; id++) {
        int k = 0;
        while (k < q->n && fits(s, &q->term[k], id) != q->term[k].not)
            k++;
        ids[n] = (int32_t)id;
        n += k == q->n;
    }
    pthread_rwlock_unlock(&s->lock);
    return n;
}

/* ---- order ---- */

typedef struct key { double v; const char *text; size_t n; int32_t id; } key;

static int by_id(const key *a, const key *b) { return (a->id > b->id) - (a->id < b->id); }

static int by_value(const void *x, const void *y)
{
    const key *a = x, *b = y;
    if (isnan(a->v) || isnan(b->v))
        return isnan(a->v) == isnan(b->v) ? by_id(a, b) : isnan(a->v) ? 1 : -1;
    return a->v < b->v ? -1 : a->v > b->v ? 1 : by_id(a, b);
}

static int by_text(const void *x, const void *y)
{
    const key *a = x, *b = y;
    if (!a->text || !b->text)
        return !a->text == !b->text ? by_id(a, b) : !a->text ? 1 : -1;
    int c = memcmp(a->text, b->text, a->n < b->n ? a->n : b->n);
    return c ? c : a->n != b->n ? (a->n > b->n) - (a->n < b->n) : by_id(a, b);
}

/* What a feature is sorted by; *text: by its text. */
static bool key_of(const sl__set *s, const char *name, const sl_features_column *c, int64_t id, key *k)
{
    *k = (key){ .v = NAN, .id = (int32_t)id };
    if (c && c->type == SL_COLUMN_STRING) {
        k->text = sl_features_string(s->f, ((const int32_t *)c->v)[id], &k->n);
        if (k->n == 0)
            k->text = NULL;
    } else if (c)
        k->v = sl_features_value(c, id);
    else if (strcmp(name, "star") == 0)
        k->v = s->star[id] ? 1 : NAN;
    else if (strcmp(name, "label") == 0) {
        k->text = s->label[id];
        k->n = k->text ? strlen(k->text) : 0;
    } else
        k->v = (double)id;
    return (c && c->type == SL_COLUMN_STRING) || strcmp(name, "label") == 0;
}

sl_status sl__query_sort(sl__set *s, const char *column, bool down, int32_t *ids, int64_t n, sl_err *err)
{
    const char *name = column ? column : "id";
    const sl_features_column *c = sl_features_column_find(s->f, name);
    if (!c && strcmp(name, "id") != 0 && strcmp(name, "label") != 0 && strcmp(name, "star") != 0)
        return sl_fail(err, SL_ARG, "sort", "a column of the table", "there is no '%.60s'", name);
    key *k = sl_alloc(s->ctx, (size_t)n * sizeof *k);
    bool text = false;
    int64_t with = 0;
    if (!k)
        return sl_fail(err, SL_MEM, "sort", NULL, "no memory for %lld rows", (long long)n);
    pthread_rwlock_rdlock(&s->lock);
    for (int64_t i = 0; i < n; i++)
        text = key_of(s, name, c, ids[i], &k[i]);
    qsort(k, (size_t)n, sizeof *k, text ? by_text : by_value);
    pthread_rwlock_unlock(&s->lock);
    while (with < n && (text ? k[with].text != NULL : !isnan(k[with].v)))
        with++;
    for (int64_t i = 0; i < n; i++)
        ids[i] = k[down && i < with ? with - 1 - i : i].id;
    sl_free(s->ctx, k);
    return SL_OK;
}
