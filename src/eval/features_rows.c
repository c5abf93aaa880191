/* Rows in the order of the text, the passages that they make up, and the text of each. */
#include "eval/features.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- order and passages ---- */

typedef struct place { int32_t doc, pos, arrived; } place;

static int by_place(const void *a, const void *b)
{
    const place *x = a, *y = b;
    if (x->doc != y->doc)
        return x->doc < y->doc ? -1 : 1;
    if (x->pos != y->pos)
        return x->pos < y->pos ? -1 : 1;
    return x->arrived < y->arrived ? -1 : 1;
}

static bool follows(const sl_fbuild *b, const place *p, int64_t i)
{
    return b->doc && i > 0 && p[i].doc == p[i - 1].doc && p[i].pos == p[i - 1].pos + 1;
}

static sl_status make_passages(sl_fbuild *b, const place *p, sl_err *err)
{
    int64_t n = 0;
    for (int64_t i = 0; i < b->n; i++)
        n += !follows(b, p, i);
    b->x.size[FD_PASSAGES] = n;
    b->x.size[FD_PASSAGES_1] = n + 1;
    SL_TRY(sl_findex_make(b->ctx, &b->x, &b->x.passage, err));
    SL_TRY(sl_findex_make(b->ctx, &b->x, &b->x.passage_doc, err));
    SL_TRY(sl_findex_make(b->ctx, &b->x, &b->x.passage_pos, err));
    n = 0;
    for (int64_t i = 0; i < b->n; i++)
        if (!follows(b, p, i)) {
            b->x.passage[n] = (int32_t)i;
            b->x.passage_doc[n] = b->doc ? p[i].doc : -1;
            b->x.passage_pos[n++] = b->doc ? p[i].pos : -1;
        }
    b->x.passage[n] = (int32_t)b->n;
    return SL_OK;
}

static sl_status order_rows(sl_fbuild *b, sl_err *err)
{
    place *p = sl_alloc(b->ctx, (size_t)b->n * sizeof *p);
    b->arrived = sl_alloc(b->ctx, (size_t)b->n * sizeof *b->arrived);
    sl_status st = p && b->arrived ? SL_OK : sl_fail(err, SL_MEM, "feature index", "fewer tokens", "no memory for %lld rows", (long long)b->n);
    if (st == SL_OK) {
        for (int64_t i = 0; i < b->n; i++)
            p[i] = (place){ b->doc ? b->doc[i] : 0, b->doc ? b->pos[i] : (int32_t)i, (int32_t)i };
        if (b->doc)
            qsort(p, (size_t)b->n, sizeof *p, by_place);
        for (int64_t i = 0; i < b->n; i++)
            b->arrived[i] = p[i].arrived;
        st = make_passages(b, p, err);
    }
    sl_free(b->ctx, p);
    return st;
}

/* ---- the table of strings ---- */

/* Makes room for n strings of `bytes` in all. */
static sl_status make_strings(sl_fbuild *b, int64_t n, int64_t bytes, sl_err *err)
{
    sl_free(b->ctx, b->x.string_ptr);
    sl_free(b->ctx, b->x.string_bytes);
    b->x.string_ptr = NULL;
    b->x.string_bytes = NULL;
    b->x.size[FD_STRINGS_1] = n + 1;
    b->x.size[FD_BYTES] = bytes;
    SL_TRY(sl_findex_make(b->ctx, &b->x, &b->x.string_ptr, err));
    return sl_findex_make(b->ctx, &b->x, &b->x.string_bytes, err);
}

static void put_string(sl_fbuild *b, int64_t id, const char *text, size_t n)
{
    int64_t *ptr = b->x.string_ptr;
    if (n)
        memcpy(b->x.string_bytes + ptr[id], text, n);
    ptr[id + 1] = ptr[id] + (int64_t)n;
}

static sl_status token_strings(sl_fbuild *b, sl_err *err)
{
    const sl_tok *tok = b->in->tok;
    int32_t vocab = sl_tok_vocab(tok);
    int64_t bytes = 0;
    size_t n;
    for (int32_t i = 0; i < vocab; i++) {
        sl_tok_piece(tok, i, &n);
        bytes += (int64_t)n;
    }
    SL_TRY(make_strings(b, vocab, bytes, err));
    for (int32_t i = 0; i < vocab; i++) {
        const char *piece = sl_tok_piece(tok, i, &n);
        put_string(b, i, piece, n);
    }
    for (int64_t at = 0; at < b->n; at++) {
        int32_t id = b->token[b->arrived[at]];
        if (id < 0 || id >= vocab)
            return sl_fail(err, SL_DATA, "rows", "the tokenizer of the model that the rows come from", "token %d, and the tokenizer knows %d", (int)id, (int)vocab);
        b->x.row_string[at] = id;
    }
    return SL_OK;
}

/* Texts of rows that repeat: sorted, each once. */
typedef struct labelled { const char *text; int32_t at; } labelled;

static int by_text(const void *a, const void *b)
{
    const labelled *x = a, *y = b;
    int c = strcmp(x->text, y->text);
    return c != 0 ? c : x->at < y->at ? -1 : x->at > y->at;
}

static sl_status distinct_strings(sl_fbuild *b, labelled *l, sl_err *err)
{
    int64_t n = 0, bytes = 0;
    qsort(l, (size_t)b->n, sizeof *l, by_text);
    for (int64_t i = 0; i < b->n; i++)
        if (i == 0 || strcmp(l[i].text, l[i - 1].text) != 0) {
            n++;
            bytes += (int64_t)strlen(l[i].text);
        }
    SL_TRY(make_strings(b, n, bytes, err));
    n = -1;
    for (int64_t i = 0; i < b->n; i++) {
        if (i == 0 || strcmp(l[i].text, l[i - 1].text) != 0)
            put_string(b, ++n, l[i].text, strlen(l[i].text));
        b->x.row_string[l[i].at] = (int32_t)n;
    }
    return SL_OK;
}

/* Labels of the source, or "#17" for tokens without a tokenizer. */
static sl_status label_strings(sl_fbuild *b, sl_err *err)
{
    bool numbers = b->in->rows->info.n_labels == 0;
    labelled *l = sl_alloc(b->ctx, (size_t)b->n * sizeof *l);
    char (*number)[16] = numbers ? sl_alloc(b->ctx, (size_t)b->n * sizeof *number) : NULL;
    sl_status st = l && (number || !numbers) ? SL_OK : sl_fail(err, SL_MEM, "feature index", "fewer tokens", "no memory for %lld labels", (long long)b->n);
    for (int64_t at = 0; st == SL_OK && at < b->n; at++) {
        int32_t row = b->arrived[at];
        if (numbers)
            snprintf(number[at], sizeof number[at], "#%d", (int)b->token[row]);
        l[at] = (labelled){ numbers ? number[at] : b->in->rows->info.labels[row], (int32_t)at };
    }
    if (st == SL_OK)
        st = distinct_strings(b, l, err);
    sl_free(b->ctx, number);
    sl_free(b->ctx, l);
    return st;
}

/* Rows of each string, by counting. */
static sl_status list_rows(sl_fbuild *b, sl_err *err)
{
    int64_t n = b->x.size[FD_STRINGS_1];
    int32_t *ptr = sl_alloc(b->ctx, (size_t)(n + 1) * sizeof *ptr);
    b->string_rows_ptr = ptr;
    b->string_rows = sl_alloc(b->ctx, (size_t)b->n * sizeof *b->string_rows);
    if (!ptr || !b->string_rows)
        return sl_fail(err, SL_MEM, "feature index", "fewer tokens", "no memory for %lld rows", (long long)b->n);
    for (int64_t at = 0; at < b->n; at++)
        ptr[b->x.row_string[at] + 2]++;
    for (int64_t i = 2; i <= n; i++)
        ptr[i] += ptr[i - 1];
    for (int64_t at = 0; at < b->n; at++)
        b->string_rows[ptr[b->x.row_string[at] + 1]++] = (int32_t)at;
    return SL_OK;
}

sl_rows_kind sl_fbuild_kind(const sl_fbuild *b)
{
    if (b->token && b->in->tok)
        return SL_ROWS_TOKENS;
    if (b->in->truth)
        return SL_ROWS_WORLD;
    if (b->in->rows->info.n_labels > 0)
        return SL_ROWS_LABELS;
    return b->token ? SL_ROWS_TOKENS : SL_ROWS_PLAIN;
}

sl_status sl_fbuild_rows(sl_fbuild *b, sl_err *err)
{
    sl_rows_kind kind = sl_fbuild_kind(b);
    if (!b->doc != !b->pos)
        return sl_fail(err, SL_DATA, "rows", NULL, "they have a document or a position, and not both");
    SL_TRY(order_rows(b, err));
    b->x.size[FD_ROWS] = b->n;
    SL_TRY(sl_findex_make(b->ctx, &b->x, &b->x.row_string, err));
    if (kind == SL_ROWS_WORLD || kind == SL_ROWS_PLAIN) {
        for (int64_t at = 0; at < b->n; at++)
            b->x.row_string[at] = -1;
        return make_strings(b, 0, 0, err);
    }
    SL_TRY(kind == SL_ROWS_TOKENS && b->in->tok ? token_strings(b, err) : label_strings(b, err));
    return list_rows(b, err);
}

/* ---- worlds: names of true features, and of what is on in rows that are shown ---- */

enum { NAMES = 8, NAME_BYTES = 400 };

/* "f3 f17", strongest first. */
static void row_name(const sl_world_truth *truth, const sl_codes *g, char out[NAME_BYTES])
{
    int32_t id[NAMES];
    float value[NAMES];
    sl_fbest best = { .room = NAMES, .id = id, .value = value };
    int len = 0;
    for (int64_t e = g->row_ptr[0]; e < g->row_ptr[1]; e++)
        sl_fbest_add(&best, g->idx[e], g->val[e]);
    out[0] = 0;
    for (int i = 0; i < best.n && len < NAME_BYTES - 48; i++)
        len += snprintf(out + len, (size_t)(NAME_BYTES - len), "%s%s", i ? " " : "", truth->feature[best.id[i]].name);
}

/* Gives each row that a context shows a string id from `first` on; returns how many. */
static int64_t number_shown(sl_fbuild *b, int64_t first)
{
    int64_t n = 0;
    for (int64_t i = 0; i < b->x.size[FD_CONTEXTS]; i++) {
        int32_t *s = &b->x.row_string[b->x.context_at[i]];
        if (*s < 0)
            *s = (int32_t)(first + n++);
    }
    return n;
}

/* Rows of a world lie in their source's order. */
static sl_status read_names(sl_fbuild *b, int64_t first, char (*name)[NAME_BYTES], sl_err *err)
{
    sl_act_source *rows = b->in->rows;
    sl_act_batch a;
    for (int64_t at = 0; at < b->n; at++)
        if (b->x.row_string[at] >= first) {
            SL_TRY(rows->seek(rows, at, err));
            SL_TRY(rows->next(rows, 1, &a, err));
            row_name(b->in->truth, a.truth, name[b->x.row_string[at] - first]);
        }
    return SL_OK;
}

/* The strings so far, then names of true features, then n of rows. */
static sl_status extend_strings(sl_fbuild *b, int64_t n, char (*name)[NAME_BYTES], sl_err *err)
{
    const sl_world_truth *truth = b->in->truth;
    int64_t old = b->x.size[FD_STRINGS_1] - 1, bytes = b->x.size[FD_BYTES], *ptr = b->x.string_ptr;
    uint8_t *text = b->x.string_bytes;
    b->x.string_ptr = NULL;
    b->x.string_bytes = NULL;
    for (int64_t i = 0; i < truth->n + n; i++)
        bytes += (int64_t)strlen(i < truth->n ? truth->feature[i].name : name[i - truth->n]);
    sl_status st = make_strings(b, old + truth->n + n, bytes, err);
    for (int64_t i = 0; st == SL_OK && i < old; i++)
        put_string(b, i, (const char *)text + ptr[i], (size_t)(ptr[i + 1] - ptr[i]));
    for (int64_t i = 0; st == SL_OK && i < truth->n + n; i++) {
        const char *s = i < truth->n ? truth->feature[i].name : name[i - truth->n];
        put_string(b, old + i, s, strlen(s));
    }
    sl_free(b->ctx, ptr);
    sl_free(b->ctx, text);
    return st;
}

sl_status sl_fbuild_truth_strings(sl_fbuild *b, sl_err *err)
{
    if (!b->in->truth)
        return SL_OK;
    b->truth_string = b->x.size[FD_STRINGS_1] - 1;
    int64_t first = b->truth_string + b->in->truth->n;
    int64_t n = sl_fbuild_kind(b) == SL_ROWS_WORLD ? number_shown(b, first) : 0;
    char (*name)[NAME_BYTES] = sl_alloc(b->ctx, (size_t)n * sizeof *name);
    sl_status st = name ? SL_OK : sl_fail(err, SL_MEM, "feature index", NULL, "no memory for the names of %lld rows", (long long)n);
    if (st == SL_OK && n > 0)
        st = read_names(b, first, name, err);
    if (st == SL_OK)
        st = extend_strings(b, n, name, err);
    sl_free(b->ctx, name);
    return st;
}
