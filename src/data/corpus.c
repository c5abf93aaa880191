/* A corpus: a text as token ids, cut into splits and documents. */
#include "data/tok.h"

#include <stdio.h>
#include <string.h>

enum {
    BLOCK = 4096,   /* tokens; science.md B8 */
    FEWEST_REAL = 10 /* separated documents; a text with fewer is cut into blocks, so that every split has some */
};

static bool begins(const char *s, const char *with) { return strncmp(s, with, strlen(with)) == 0; }

/* Ends of train and validation part, as nanoGPT cuts them: int(n * 0.9); enwik8 and text8 keep a twentieth each for both. */
static void split(sl_corpus *c)
{
    bool wiki = strcmp(c->name, "enwik8") == 0 || strcmp(c->name, "text8") == 0 || begins(c->name, "enwik8_first") || begins(c->name, "text8_first");
    c->train_end = c->n / 10 * 9 + c->n % 10 * 9 / 10;
    c->val_end = wiki ? c->train_end + (c->n - c->train_end) / 2 : c->n;
}

/* Blocks of at least BLOCK tokens within [from, to), all of nearly the same length; one when there are fewer. Returns how many were
 * added. */
static int64_t blocks(int64_t *doc, int64_t from, int64_t to)
{
    int64_t n = to - from, k = n / BLOCK;
    if (n == 0)
        return 0;
    k = k ? k : 1;
    for (int64_t i = 0; i < k; i++)
        doc[i] = from + n / k * i + (n % k) * i / k;
    return k;
}

/* Tokens of text[from, to), which begins at token `start` and ends with a separator. */
static int64_t tokens_between(const sl_corpus *c, const char *from, const char *to, int64_t start)
{
    int64_t n = 0;
    if (sl_tok_what(c->tok) == SL_TOK_GPT2) { /* there the separator is one token */
        size_t len;
        const char *piece = sl_tok_piece(c->tok, c->ids[start], &len);
        for (n = 1; start + n < c->n && !(len == SL_EOT_LEN && memcmp(piece, SL_EOT, len) == 0); n++)
            piece = sl_tok_piece(c->tok, c->ids[start + n], &len);
        return n;
    }
    if (sl_tok_what(c->tok) == SL_TOK_BYTE)
        return to - from;
    for (; from < to; from++)
        n += ((unsigned char)*from & 0xC0) != 0x80; /* every byte that begins a character */
    return n;
}

/* Documents that end with <|endoftext|>; the separator belongs to the document that it ends. doc NULL: only counts. */
static int64_t real_documents(const sl_corpus *c, const sl_text *text, int64_t *doc)
{
    const char *s = text->bytes, *end = s + text->n;
    int64_t n = 0, start = 0;
    while (s < end) {
        if (doc)
            doc[n] = start;
        n++;
        const char *eot = sl_find_eot(s, (size_t)(end - s));
        const char *next = eot ? eot + SL_EOT_LEN : end;
        if (doc && next < end)
            start += tokens_between(c, s, next, start);
        s = next;
    }
    return n;
}

/* Where a split may be instead of `at`: the next start of a document, or the last one of all, so that no split is empty. */
static int64_t next_start(const sl_corpus *c, int64_t at)
{
    if (at == c->n)
        return at;
    int64_t i = 0;
    while (i + 1 < c->n_docs && c->doc[i] < at)
        i++;
    return c->doc[i];
}

static sl_status documents(sl_ctx *ctx, const sl_text *text, sl_corpus *c, sl_err *err)
{
    int64_t most = real_documents(c, text, NULL);
    bool real = most >= FEWEST_REAL;
    if (!real)
        most = c->n / BLOCK + 3;
    c->doc = sl_alloc(ctx, (size_t)(most + 1) * sizeof *c->doc);
    if (!c->doc)
        return sl_fail(err, SL_MEM, c->name, NULL, "no memory for %lld documents", (long long)most);
    if (real) {
        c->n_docs = real_documents(c, text, c->doc);
        c->train_end = next_start(c, c->train_end);
        c->val_end = next_start(c, c->val_end);
    } else {
        c->n_docs = blocks(c->doc, 0, c->train_end);
        c->n_docs += blocks(c->doc + c->n_docs, c->train_end, c->val_end);
        c->n_docs += blocks(c->doc + c->n_docs, c->val_end, c->n);
    }
    c->doc[c->n_docs] = c->n;
    return SL_OK;
}

sl_status sl_corpus_new(sl_ctx *ctx, const sl_text *text, sl_tok_kind kind, sl_tok *tok, sl_corpus *out, sl_err *err)
{
    *out = (sl_corpus){ .tok = tok };
    snprintf(out->name, sizeof out->name, "%s", text->name);
    snprintf(out->sha256, sizeof out->sha256, "%s", text->sha256);
    sl_status st = SL_OK;
    if (text->n == 0)
        SL_GO(sl_fail(err, SL_DATA, text->name, "at least one character", "the text is empty"));
    if (!tok)
        SL_GO(sl_tok_new(ctx, kind, text->bytes, text->n, &out->tok, err));
    SL_GO(sl_tok_encode(out->tok, text->bytes, text->n, &out->ids, &out->n, err));
    split(out);
    SL_GO(documents(ctx, text, out, err));
done:
    if (st != SL_OK)
        sl_corpus_release(ctx, out);
    return st;
}

void sl_corpus_release(sl_ctx *ctx, sl_corpus *c)
{
    if (!c)
        return;
    sl_tok_free(c->tok);
    sl_free(ctx, c->ids);
    sl_free(ctx, c->doc);
    *c = (sl_corpus){ 0 };
}
