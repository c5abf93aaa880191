/* GPT-2's byte-level BPE (Radford et al. 2019, section 2.2; the rules of OpenAI's encoder.py): a regular expression cuts the text into
 * words; within a word, of all neighbouring pairs of pieces the one that was learned first is merged, until none is left.
 * Merging by a heap of (rank, position) gives the same pieces as the rounds of encoder.py, because a merged piece takes part only in
 * pairs that were learned later; a word of n bytes costs O(n log n). Words are looked up first among those already seen. */
#include "data/tok.h"
#include "base/utf8.h"
#include "io/io.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdio.h>
#include <string.h>

/* \s of the original (White_Space of Unicode) is spelled out: PCRE2's own has U+180E too. */
#define WHITE "\\x{09}-\\x{0d}\\x{20}\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}"
static const char PATTERN[] = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^" WHITE "\\p{L}\\p{N}]+|[" WHITE "]+(?![^" WHITE "])|[" WHITE "]+";

/* ---- a map from byte strings to numbers; keys are borrowed ---- */

typedef struct slot { const char *key; uint32_t len; int32_t count; int64_t first; } slot; /* key NULL: free */
typedef struct words { sl_ctx *ctx; slot *v; size_t cap, n; } words;

static slot *words_find(const words *w, const char *key, size_t len)
{
    size_t i = (size_t)sl_xxh64(key, len) & (w->cap - 1);
    while (w->v[i].key && (w->v[i].len != len || memcmp(w->v[i].key, key, len) != 0))
        i = (i + 1) & (w->cap - 1);
    return &w->v[i];
}

static sl_status words_grow(words *w, size_t cap, sl_err *err)
{
    words bigger = { .ctx = w->ctx, .cap = cap, .n = w->n, .v = sl_alloc(w->ctx, cap * sizeof(slot)) };
    if (!bigger.v)
        return sl_fail(err, SL_MEM, "tokenizer", NULL, "no memory for %zu words", cap);
    for (size_t i = 0; i < w->cap; i++)
        if (w->v[i].key)
            *words_find(&bigger, w->v[i].key, w->v[i].len) = w->v[i];
    sl_free(w->ctx, w->v);
    *w = bigger;
    return SL_OK;
}

/* Puts a new word into the free slot that words_find gave. */
static sl_status words_put(words *w, slot *s, const char *key, size_t len, int64_t first, int32_t count, sl_err *err)
{
    *s = (slot){ .key = key, .len = (uint32_t)len, .first = first, .count = count };
    w->n++;
    return w->n * 2 > w->cap ? words_grow(w, w->cap * 2, err) : SL_OK;
}

/* ---- the tables ---- */

typedef struct pair { int32_t left, right, rank, merged; } pair; /* left < 0: free */

struct sl_bpe {
    pcre2_code *re;
    int32_t byte_id[256];
    int32_t eot;      /* id of <|endoftext|> */
    pair *pairs;      /* hash table, n_pairs a power of two */
    size_t n_pairs;
    int32_t n_merges;
};

static pair *find_pair(const sl_bpe *b, int32_t left, int32_t right)
{
    uint64_t h = ((uint64_t)(uint32_t)left << 32 | (uint32_t)right) * 0x9E3779B97F4A7C15u;
    size_t i = (size_t)(h >> 20) & (b->n_pairs - 1);
    while (b->pairs[i].left >= 0 && (b->pairs[i].left != left || b->pairs[i].right != right))
        i = (i + 1) & (b->n_pairs - 1);
    return &b->pairs[i];
}

void sl_bpe_free(sl_ctx *ctx, sl_bpe *b)
{
    if (!b)
        return;
    pcre2_code_free(b->re);
    sl_free(ctx, b->pairs);
    sl_free(ctx, b);
}

/* GPT-2's printable alphabet: bytes that are visible Latin-1 characters stand for themselves, the other 68 are U+0100 and up in order. */
static uint32_t byte_to_char(unsigned byte)
{
    if ((byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174)
        return byte;
    if (byte < 33)
        return 256 + byte;
    return byte < 161 ? 256 + 33 + (byte - 127) : 256 + 67; /* 127..160, then 173 */
}

static int char_to_byte(uint32_t cp)
{
    if (cp >= 256 && cp < 256 + 33)
        return (int)(cp - 256);
    if (cp >= 256 + 33 && cp < 256 + 67)
        return (int)(cp - 256 - 33 + 127);
    if (cp == 256 + 67)
        return 173;
    return cp < 256 && byte_to_char(cp) == cp ? (int)cp : -1;
}

/* Printable text to bytes; the number of bytes, or -1 when a character is not of the alphabet. out may be NULL to count. */
static int64_t to_bytes(const char *s, size_t n, char *out)
{
    int64_t k = 0;
    for (size_t i = 0, len; i < n; i += len, k++) {
        uint32_t cp;
        len = sl_utf8_decode(s + i, n - i, &cp);
        int byte = len ? char_to_byte(cp) : -1;
        if (byte < 0)
            return -1;
        if (out)
            out[k] = (char)byte;
    }
    return k;
}

static size_t to_printable(const char *bytes, size_t n, char *out)
{
    size_t k = 0;
    for (size_t i = 0; i < n; i++)
        k += sl_utf8_encode(byte_to_char((unsigned char)bytes[i]), out + k);
    return k;
}

/* ---- building ---- */

/* Pieces into the tokenizer's block, and a map from piece to id. */
static sl_status add_pieces(sl_tok *t, const char *where, const json_t *vocab, words *ids, sl_err *err)
{
    size_t n = json_array_size(vocab), total = 0;
    for (size_t i = 0; i < n; i++)
        total += json_string_length(json_array_get(vocab, i));
    if (n == 0 || n > INT32_MAX / 2 || total > UINT32_MAX)
        return sl_fail(err, SL_DATA, where, "a list of pieces", "%zu pieces", n);
    t->n_vocab = (int32_t)n;
    t->blob = sl_alloc(t->ctx, total + 1);
    t->off = sl_alloc(t->ctx, (n + 1) * sizeof *t->off);
    if (!t->blob || !t->off)
        return sl_fail(err, SL_MEM, where, NULL, "no memory");
    for (size_t i = 0; i < n; i++) {
        const json_t *j = json_array_get(vocab, i);
        char *at = t->blob + t->off[i];
        int64_t len = json_is_string(j) ? to_bytes(json_string_value(j), json_string_length(j), at) : -1;
        if (len <= 0)
            return sl_fail(err, SL_DATA, where, "text in GPT-2's byte alphabet", "piece %zu cannot be read", i);
        t->off[i + 1] = t->off[i] + (uint32_t)len;
        slot *s = words_find(ids, at, (size_t)len);
        if (s->key)
            return sl_fail(err, SL_DATA, where, NULL, "pieces %lld and %zu are the same", (long long)s->first, i);
        SL_TRY(words_put(ids, s, at, (size_t)len, (int64_t)i, 1, err));
    }
    return SL_OK;
}

static sl_status find_bytes(sl_tok *t, const char *where, const words *ids, sl_err *err)
{
    for (int i = 0; i < 256; i++) {
        char byte = (char)i;
        const slot *s = words_find(ids, &byte, 1);
        if (!s->key)
            return sl_fail(err, SL_DATA, where, "a piece for each of the 256 bytes", "byte 0x%02X has none", i);
        t->bpe->byte_id[i] = (int32_t)s->first;
    }
    const slot *s = words_find(ids, SL_EOT, SL_EOT_LEN);
    if (!s->key)
        return sl_fail(err, SL_DATA, where, "a piece " SL_EOT, "there is none");
    t->bpe->eot = (int32_t)s->first;
    return SL_OK;
}

/* "left right": the ids of both and of their concatenation. */
static bool read_merge(const json_t *j, const words *ids, char *scratch, int32_t id[3])
{
    const char *s = json_string_value(j), *space = s ? strchr(s, ' ') : NULL;
    if (!space)
        return false;
    size_t left_len = (size_t)(space - s), right_len = strlen(space + 1);
    int64_t a = to_bytes(s, left_len, scratch), b = a > 0 ? to_bytes(space + 1, right_len, scratch + a) : -1;
    if (a <= 0 || b <= 0)
        return false;
    const slot *left = words_find(ids, scratch, (size_t)a), *right = words_find(ids, scratch + a, (size_t)b),
               *both = words_find(ids, scratch, (size_t)(a + b));
    if (!left->key || !right->key || !both->key)
        return false;
    id[0] = (int32_t)left->first;
    id[1] = (int32_t)right->first;
    id[2] = (int32_t)both->first;
    return true;
}

static sl_status add_merges(sl_tok *t, const char *where, const json_t *merges, const words *ids, sl_err *err)
{
    sl_bpe *b = t->bpe;
    size_t n = json_array_size(merges), longest = 1;
    if (n > INT32_MAX / 4)
        return sl_fail(err, SL_DATA, where, NULL, "%zu merges", n);
    for (size_t i = 0; i < n; i++) {
        size_t len = json_string_length(json_array_get(merges, i));
        longest = len > longest ? len : longest;
    }
    b->n_pairs = 16;
    while (b->n_pairs < 2 * n)
        b->n_pairs *= 2;
    b->n_merges = (int32_t)n;
    b->pairs = sl_alloc(t->ctx, b->n_pairs * sizeof *b->pairs);
    char *scratch = sl_alloc(t->ctx, longest);
    sl_status st = b->pairs && scratch ? SL_OK : sl_fail(err, SL_MEM, where, NULL, "no memory");
    for (size_t i = 0; st == SL_OK && i < b->n_pairs; i++)
        b->pairs[i].left = -1;
    for (size_t i = 0; st == SL_OK && i < n; i++) {
        int32_t id[3];
        if (!read_merge(json_array_get(merges, i), ids, scratch, id)) {
            st = sl_fail(err, SL_DATA, where, "two pieces of the vocabulary whose union is one too", "merge %zu is not", i);
            break;
        }
        pair *p = find_pair(b, id[0], id[1]);
        if (p->left >= 0) {
            st = sl_fail(err, SL_DATA, where, NULL, "merges %d and %zu are the same", (int)p->rank, i);
            break;
        }
        *p = (pair){ .left = id[0], .right = id[1], .rank = (int32_t)i, .merged = id[2] };
    }
    sl_free(t->ctx, scratch);
    return st;
}

static sl_status compile(sl_bpe *b, sl_err *err)
{
    int code;
    PCRE2_SIZE at;
    b->re = pcre2_compile((PCRE2_SPTR)PATTERN, PCRE2_ZERO_TERMINATED, PCRE2_UTF | PCRE2_UCP | PCRE2_ANCHORED, &code, &at, NULL);
    if (!b->re)
        return sl_fail(err, SL_UNAVAILABLE, "PCRE2", "a PCRE2 with Unicode", "the words' pattern fails at %zu (code %d)", (size_t)at, code);
    (void)pcre2_jit_compile(b->re, PCRE2_JIT_COMPLETE); /* only faster; interpreted where there is no JIT */
    return SL_OK;
}

sl_status sl_bpe_build(sl_tok *t, const char *where, const json_t *vocab, const json_t *merges, sl_err *err)
{
    words ids = { .ctx = t->ctx };
    t->bpe = sl_alloc(t->ctx, sizeof *t->bpe);
    if (!t->bpe)
        return sl_fail(err, SL_MEM, where, NULL, "no memory");
    sl_status st = words_grow(&ids, 1024, err);
    if (st != SL_OK)
        return st;
    SL_GO(add_pieces(t, where, vocab, &ids, err));
    SL_GO(find_bytes(t, where, &ids, err));
    SL_GO(add_merges(t, where, merges, &ids, err));
    SL_GO(compile(t->bpe, err));
done:
    sl_free(t->ctx, ids.v);
    return st;
}

/* ---- saving ---- */

static json_t *printable(const char *bytes, size_t n, const char *more, size_t n_more)
{
    char text[1024]; /* a byte takes at most 2; longer pieces than 250 bytes do not occur in a BPE vocabulary */
    size_t k = to_printable(bytes, n, text);
    if (more) {
        text[k++] = ' ';
        k += to_printable(more, n_more, text + k);
    }
    return json_stringn(text, k);
}

json_t *sl_bpe_vocab_json(const sl_tok *t)
{
    json_t *list = json_array();
    for (int32_t i = 0; i < t->n_vocab; i++) {
        size_t n;
        const char *s = sl_tok_piece(t, i, &n);
        json_array_append_new(list, printable(s, n, NULL, 0));
    }
    return list;
}

json_t *sl_bpe_merges_json(const sl_tok *t)
{
    json_t *list = json_array();
    for (int32_t i = 0; i < t->bpe->n_merges; i++)
        json_array_append_new(list, json_null());
    for (size_t i = 0; i < t->bpe->n_pairs; i++) {
        const pair *p = &t->bpe->pairs[i];
        if (p->left < 0)
            continue;
        size_t nl, nr;
        const char *l = sl_tok_piece(t, p->left, &nl), *r = sl_tok_piece(t, p->right, &nr);
        json_array_set_new(list, (size_t)p->rank, printable(l, nl, r, nr));
    }
    return list;
}

/* ---- encoding ---- */

typedef struct symbol { int32_t id, prev, next; } symbol;          /* -1: none; id -1: merged away */
typedef struct candidate { int32_t rank, at, left, right; } candidate;

typedef struct encoder {
    const sl_tok *t;
    const sl_bpe *b;
    words seen;
    pcre2_match_data *match;
    symbol *sym;      /* [cap_word] */
    candidate *heap;  /* [3 * cap_word] */
    size_t cap_word, n_heap;
    int32_t *ids;     /* [cap] */
    int64_t n, cap;
} encoder;

static bool before(const candidate *a, const candidate *b) { return a->rank < b->rank || (a->rank == b->rank && a->at < b->at); }

static void heap_push(encoder *e, candidate c)
{
    size_t i = e->n_heap++;
    for (; i > 0 && before(&c, &e->heap[(i - 1) / 2]); i = (i - 1) / 2)
        e->heap[i] = e->heap[(i - 1) / 2];
    e->heap[i] = c;
}

static candidate heap_pop(encoder *e)
{
    candidate top = e->heap[0], last = e->heap[--e->n_heap];
    size_t i = 0;
    for (size_t child; (child = 2 * i + 1) < e->n_heap; i = child) {
        if (child + 1 < e->n_heap && before(&e->heap[child + 1], &e->heap[child]))
            child++;
        if (!before(&e->heap[child], &last))
            break;
        e->heap[i] = e->heap[child];
    }
    e->heap[i] = last;
    return top;
}

/* Offers the pair that begins at symbol i. */
static void offer(encoder *e, int32_t i)
{
    if (i < 0 || e->sym[i].next < 0)
        return;
    int32_t left = e->sym[i].id, right = e->sym[e->sym[i].next].id;
    const pair *p = find_pair(e->b, left, right);
    if (p->left >= 0)
        heap_push(e, (candidate){ p->rank, i, left, right });
}

static void merge_all(encoder *e)
{
    symbol *s = e->sym;
    while (e->n_heap > 0) {
        candidate c = heap_pop(e);
        int32_t next = s[c.at].next;
        if (s[c.at].id != c.left || next < 0 || s[next].id != c.right)
            continue; /* one of the two was merged meanwhile */
        s[c.at].id = find_pair(e->b, c.left, c.right)->merged;
        s[next].id = -1;
        s[c.at].next = s[next].next;
        if (s[next].next >= 0)
            s[s[next].next].prev = c.at;
        offer(e, s[c.at].prev);
        offer(e, c.at);
    }
}

static sl_status ids_room(encoder *e, int64_t more, sl_err *err)
{
    if (e->n + more <= e->cap)
        return SL_OK;
    int64_t cap = 2 * (e->n + more);
    int32_t *ids = sl_alloc(e->t->ctx, (size_t)cap * sizeof *ids);
    if (!ids)
        return sl_fail(err, SL_MEM, "tokenizer", NULL, "no memory for %lld tokens", (long long)cap);
    if (e->n)
        memcpy(ids, e->ids, (size_t)e->n * sizeof *ids);
    sl_free(e->t->ctx, e->ids);
    e->ids = ids;
    e->cap = cap;
    return SL_OK;
}

static sl_status word_room(encoder *e, size_t len, sl_err *err)
{
    if (len <= e->cap_word)
        return SL_OK;
    sl_free(e->t->ctx, e->sym);
    sl_free(e->t->ctx, e->heap);
    e->cap_word = 2 * len;
    e->sym = sl_alloc(e->t->ctx, e->cap_word * sizeof *e->sym);
    e->heap = sl_alloc(e->t->ctx, 3 * e->cap_word * sizeof *e->heap); /* n - 1 pairs at first, each merge adds two */
    return e->sym && e->heap ? SL_OK : sl_fail(err, SL_MEM, "tokenizer", NULL, "no memory for a word of %zu bytes", len);
}

/* Appends the tokens of one word; a word seen before copies them from where they were first written. */
static sl_status encode_word(encoder *e, const char *word, size_t len, sl_err *err)
{
    SL_TRY(ids_room(e, (int64_t)len, err));
    slot *s = words_find(&e->seen, word, len);
    if (s->key) {
        memcpy(e->ids + e->n, e->ids + s->first, (size_t)s->count * sizeof *e->ids);
        e->n += s->count;
        return SL_OK;
    }
    SL_TRY(word_room(e, len, err));
    int32_t n = (int32_t)len;
    for (int32_t i = 0; i < n; i++)
        e->sym[i] = (symbol){ e->b->byte_id[(unsigned char)word[i]], i - 1, i + 1 < n ? i + 1 : -1 };
    e->n_heap = 0;
    for (int32_t i = 0; i < n; i++)
        offer(e, i);
    merge_all(e);
    int64_t first = e->n;
    for (int32_t i = 0; i >= 0; i = e->sym[i].next)
        e->ids[e->n++] = e->sym[i].id;
    return words_put(&e->seen, s, word, len, first, (int32_t)(e->n - first), err);
}

/* Text without a document separator. */
static sl_status encode_part(encoder *e, const char *text, size_t n, sl_err *err)
{
    for (size_t at = 0; at < n;) {
        int found = pcre2_match(e->b->re, (PCRE2_SPTR)text, n, at, PCRE2_NO_UTF_CHECK, e->match, NULL);
        size_t end = found > 0 ? pcre2_get_ovector_pointer(e->match)[1] : at;
        if (end <= at)
            return sl_fail(err, SL_DATA, "text", NULL, "PCRE2 finds no word at byte %zu (code %d)", at, found);
        SL_TRY(encode_word(e, text + at, end - at, err));
        at = end;
    }
    return SL_OK;
}

static sl_status encode_all(encoder *e, const char *text, size_t n, sl_err *err)
{
    SL_TRY(words_grow(&e->seen, 1024, err));
    SL_TRY(ids_room(e, (int64_t)(n / 3 + 16), err));
    const char *end = text + n;
    for (;;) {
        const char *eot = sl_find_eot(text, (size_t)(end - text));
        SL_TRY(encode_part(e, text, (size_t)((eot ? eot : end) - text), err));
        if (!eot)
            return SL_OK;
        SL_TRY(ids_room(e, 1, err));
        e->ids[e->n++] = e->b->eot;
        text = eot + SL_EOT_LEN;
    }
}

sl_status sl_bpe_encode(const sl_tok *t, const char *text, size_t n, int32_t **ids, int64_t *n_ids, sl_err *err)
{
    size_t bad;
    if (n > INT32_MAX)
        return sl_fail(err, SL_DATA, "text", "at most 2 GiB at once", "%zu bytes", n);
    if (!sl_utf8_valid(text, n, &bad)) {
        char where[48];
        snprintf(where, sizeof where, "byte offset %zu", bad);
        return sl_fail(err, SL_DATA, where, "UTF-8 text", "byte 0x%02X does not begin a character", (unsigned char)text[bad]);
    }
    encoder e = { .t = t, .b = t->bpe, .seen = { .ctx = t->ctx }, .match = pcre2_match_data_create(1, NULL) };
    sl_status st = e.match ? encode_all(&e, text, n, err) : sl_fail(err, SL_MEM, "tokenizer", NULL, "no memory");
    pcre2_match_data_free(e.match);
    sl_free(t->ctx, e.seen.v);
    sl_free(t->ctx, e.sym);
    sl_free(t->ctx, e.heap);
    if (st != SL_OK) {
        sl_free(t->ctx, e.ids);
        return st;
    }
    *ids = e.ids;
    *n_ids = e.n;
    return SL_OK;
}
