/* Character and byte tokenizers, and what all kinds share. */
#include "data/tok.h"
#include "base/utf8.h"
#include "io/io.h"

#include <stdio.h>
#include <string.h>

enum { N_CODE_POINTS = 0x110000 };

const char *sl_find_eot(const char *s, size_t n)
{
    const char *end = s + n;
    while (end - s >= SL_EOT_LEN) {
        s = memchr(s, SL_EOT[0], (size_t)(end - s) - SL_EOT_LEN + 1);
        if (!s || memcmp(s, SL_EOT, SL_EOT_LEN) == 0)
            return s;
        s++;
    }
    return NULL;
}

sl_status sl_tok_blank(sl_ctx *ctx, sl_tok_kind kind, sl_tok **out, sl_err *err)
{
    *out = sl_alloc(ctx, sizeof **out);
    if (!*out)
        return sl_fail(err, SL_MEM, "tokenizer", NULL, "no memory");
    (*out)->ctx = ctx;
    (*out)->kind = kind;
    return SL_OK;
}

void sl_tok_free(sl_tok *t)
{
    if (!t)
        return;
    sl_bpe_free(t->ctx, t->bpe);
    sl_free(t->ctx, t->blob);
    sl_free(t->ctx, t->off);
    sl_free(t->ctx, t->cp);
    sl_free(t->ctx, t);
}

sl_tok_kind sl_tok_what(const sl_tok *t) { return t->kind; }
int32_t sl_tok_vocab(const sl_tok *t) { return t->n_vocab; }

const char *sl_tok_piece(const sl_tok *t, int32_t id, size_t *n)
{
    if (id < 0 || id >= t->n_vocab) {
        *n = 0;
        return "";
    }
    *n = t->off[id + 1] - t->off[id];
    return t->blob + t->off[id];
}

/* ---- building ---- */

static sl_status room(sl_tok *t, int32_t n, size_t bytes, sl_err *err)
{
    t->n_vocab = n;
    t->blob = sl_alloc(t->ctx, bytes);
    t->off = sl_alloc(t->ctx, ((size_t)n + 1) * sizeof *t->off);
    return t->blob && t->off ? SL_OK : sl_fail(err, SL_MEM, "tokenizer", NULL, "no memory");
}

sl_status sl_tok_set_chars(sl_tok *t, const uint32_t *cp, int32_t n, sl_err *err)
{
    SL_TRY(room(t, n, (size_t)n * 4, err));
    t->cp = sl_alloc(t->ctx, (size_t)n * sizeof *cp);
    if (!t->cp)
        return sl_fail(err, SL_MEM, "tokenizer", NULL, "no memory");
    for (int32_t i = 0; i < n; i++) {
        t->cp[i] = cp[i];
        t->off[i + 1] = t->off[i] + (uint32_t)sl_utf8_encode(cp[i], t->blob + t->off[i]);
    }
    return SL_OK;
}

static sl_status set_bytes(sl_tok *t, sl_err *err)
{
    SL_TRY(room(t, 256, 256, err));
    for (int i = 0; i < 256; i++) {
        t->blob[i] = (char)i;
        t->off[i + 1] = (uint32_t)i + 1;
    }
    return SL_OK;
}

static sl_status not_utf8(const char *text, size_t at, sl_err *err)
{
    char where[48];
    snprintf(where, sizeof where, "byte offset %zu", at);
    return sl_fail(err, SL_DATA, where, "UTF-8 text", "byte 0x%02X does not begin a character", (unsigned char)text[at]);
}

/* One bit for each code point of the text. */
static sl_status mark_chars(const char *text, size_t n, uint8_t *seen, int32_t *count, sl_err *err)
{
    *count = 0;
    for (size_t i = 0, len; i < n; i += len) {
        uint32_t cp;
        len = sl_utf8_decode(text + i, n - i, &cp);
        if (len == 0)
            return not_utf8(text, i, err);
        uint8_t bit = (uint8_t)(1u << (cp & 7));
        *count += !(seen[cp >> 3] & bit);
        seen[cp >> 3] |= bit;
    }
    return SL_OK;
}

static sl_status chars_of(sl_tok *t, const char *text, size_t n, sl_err *err)
{
    if (n == 0)
        return sl_fail(err, SL_DATA, "text", "at least one character", "the text is empty");
    int32_t count = 0, k = 0;
    uint32_t *cp = NULL;
    uint8_t *seen = sl_alloc(t->ctx, N_CODE_POINTS / 8);
    sl_status st = seen ? mark_chars(text, n, seen, &count, err) : sl_fail(err, SL_MEM, "tokenizer", NULL, "no memory");
    if (st != SL_OK)
        goto done;
    cp = sl_alloc(t->ctx, (size_t)count * sizeof *cp);
    if (!cp)
        SL_GO(sl_fail(err, SL_MEM, "tokenizer", NULL, "no memory"));
    for (uint32_t c = 0; c < N_CODE_POINTS; c++)
        if (seen[c >> 3] & (1u << (c & 7)))
            cp[k++] = c;
    SL_GO(sl_tok_set_chars(t, cp, count, err));
done:
    sl_free(t->ctx, seen);
    sl_free(t->ctx, cp);
    return st;
}

/* The lines of vocab.bpe after its version line, as a JSON list. */
static sl_status merges_of(const char *path, char *text, json_t **out, sl_err *err)
{
    *out = json_array();
    char *save = NULL;
    for (char *line = strtok_r(text, "\r\n", &save); line; line = strtok_r(NULL, "\r\n", &save)) {
        if (strncmp(line, "#version", 8) == 0)
            continue;
        if (json_array_append_new(*out, json_string(line)) != 0) /* NULL: not UTF-8 */
            return sl_fail(err, SL_DATA, path, "lines of two pieces in UTF-8", "merge %zu cannot be read", json_array_size(*out));
    }
    return SL_OK;
}

/* encoder.json maps piece to id: the pieces in id order. */
static sl_status pieces_of(const char *path, const json_t *encoder, json_t **out, sl_err *err)
{
    size_t n = json_object_size(encoder);
    *out = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(*out, json_null());
    const char *piece;
    json_t *id;
    json_object_foreach((json_t *)encoder, piece, id) {
        json_int_t i = json_is_integer(id) ? json_integer_value(id) : -1;
        if (i < 0 || (size_t)i >= n || !json_is_null(json_array_get(*out, (size_t)i)))
            return sl_fail(err, SL_DATA, path, "ids 0 to n - 1, each once", "bad id of piece '%s'", piece);
        if (json_array_set_new(*out, (size_t)i, json_string(piece)) != 0)
            return sl_fail(err, SL_MEM, path, NULL, "no memory");
    }
    return n ? SL_OK : sl_fail(err, SL_DATA, path, "an object of pieces and ids", "it has none");
}

static sl_status gpt2_from_files(sl_tok *t, sl_err *err)
{
    char encoder_path[512], bpe_path[512], *text = NULL;
    size_t n;
    json_t *encoder = NULL, *vocab = NULL, *merges = NULL;
    SL_TRY(sl_data_file(t->ctx, "gpt2-bpe/encoder.json", encoder_path, err));
    SL_TRY(sl_data_file(t->ctx, "gpt2-bpe/vocab.bpe", bpe_path, err));
    sl_status st = sl_json_load_file(t->ctx, encoder_path, &encoder, err);
    if (st != SL_OK)
        return st;
    SL_GO(pieces_of(encoder_path, encoder, &vocab, err));
    SL_GO(sl_file_read(t->ctx, bpe_path, &text, &n, err));
    SL_GO(merges_of(bpe_path, text, &merges, err));
    SL_GO(sl_bpe_build(t, bpe_path, vocab, merges, err));
done:
    sl_free(t->ctx, text);
    json_decref(encoder);
    json_decref(vocab);
    json_decref(merges);
    return st;
}

sl_status sl_tok_new(sl_ctx *ctx, sl_tok_kind kind, const char *text, size_t n, sl_tok **out, sl_err *err)
{
    SL_TRY(sl_tok_blank(ctx, kind, out, err));
    sl_status st = kind == SL_TOK_CHAR ? chars_of(*out, text, n, err) : kind == SL_TOK_BYTE ? set_bytes(*out, err) : gpt2_from_files(*out, err);
    if (st != SL_OK) {
        sl_tok_free(*out);
        *out = NULL;
    }
    return st;
}

/* ---- encoding ---- */

static sl_status unknown_char(const sl_tok *t, const char *s, size_t len, uint32_t cp, size_t at, sl_err *err)
{
    char where[48], shown[8] = "";
    snprintf(where, sizeof where, "byte offset %zu", at);
    if (cp >= 0x20 && cp != 0x7F)
        memcpy(shown, s, len);
    return sl_fail(err, SL_DATA, where, NULL, "character '%s' (U+%04X) is not in the vocabulary of %d", shown, (unsigned)cp, (int)t->n_vocab);
}

static int32_t char_id(const sl_tok *t, uint32_t cp)
{
    int32_t lo = 0, hi = t->n_vocab; /* the first code point >= cp lies in [lo, hi] */
    while (lo < hi) {
        int32_t mid = lo + (hi - lo) / 2;
        if (t->cp[mid] < cp)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < t->n_vocab && t->cp[lo] == cp ? lo : -1;
}

static sl_status encode_chars(const sl_tok *t, const char *text, size_t n, int32_t *ids, int64_t *n_ids, sl_err *err)
{
    int32_t ascii[128];
    int64_t k = 0;
    for (uint32_t c = 0; c < 128; c++)
        ascii[c] = char_id(t, c);
    for (size_t i = 0, len; i < n; i += len) {
        uint32_t cp;
        len = sl_utf8_decode(text + i, n - i, &cp);
        if (len == 0)
            return not_utf8(text, i, err);
        int32_t id = cp < 128 ? ascii[cp] : char_id(t, cp);
        if (id < 0)
            return unknown_char(t, text + i, len, cp, i, err);
        ids[k++] = id;
    }
    *n_ids = k;
    return SL_OK;
}

static sl_status encode_bytes(const char *text, size_t n, int32_t *ids, int64_t *n_ids)
{
    for (size_t i = 0; i < n; i++)
        ids[i] = (unsigned char)text[i];
    *n_ids = (int64_t)n;
    return SL_OK;
}

sl_status sl_tok_encode(const sl_tok *t, const char *text, size_t n, int32_t **ids, int64_t *n_ids, sl_err *err)
{
    *ids = NULL;
    *n_ids = 0;
    if (t->kind == SL_TOK_GPT2)
        return sl_bpe_encode(t, text, n, ids, n_ids, err);
    *ids = sl_alloc(t->ctx, n * sizeof **ids);
    if (!*ids)
        return sl_fail(err, SL_MEM, "tokenizer", NULL, "no memory for %zu tokens", n);
    sl_status st = t->kind == SL_TOK_CHAR ? encode_chars(t, text, n, *ids, n_ids, err) : encode_bytes(text, n, *ids, n_ids);
    if (st != SL_OK) {
        sl_free(t->ctx, *ids);
        *ids = NULL;
    }
    return st;
}
