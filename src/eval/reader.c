/* Documents of a corpus as bytes. */
#include "eval/reader.h"

#include <string.h>

sl_status sl_reader_new(sl_ctx *ctx, const sl_corpus *c, sl_reader *out, sl_err *err)
{
    int64_t most_tokens = 0, most_bytes = 0;
    *out = (sl_reader){ .ctx = ctx, .c = c };
    for (int64_t d = 0; d < c->n_docs; d++) {
        int64_t bytes = 0, tokens = c->doc[d + 1] - c->doc[d];
        for (int64_t t = c->doc[d]; t < c->doc[d + 1]; t++) {
            size_t n;
            sl_tok_piece(c->tok, c->ids[t], &n);
            bytes += (int64_t)n;
        }
        most_tokens = tokens > most_tokens ? tokens : most_tokens;
        most_bytes = bytes > most_bytes ? bytes : most_bytes;
    }
    out->bytes = sl_alloc(ctx, (size_t)most_bytes);
    out->in_quotes = sl_alloc(ctx, (size_t)most_bytes);
    out->depth = sl_alloc(ctx, (size_t)most_bytes);
    out->start = sl_alloc(ctx, (size_t)(most_tokens + 1) * sizeof *out->start);
    return sl_have("text", 4, (const void *const[]){ out->bytes, out->in_quotes, out->depth, out->start }, err);
}

void sl_reader_release(sl_reader *r)
{
    sl_free(r->ctx, r->start);
    sl_free(r->ctx, r->depth);
    sl_free(r->ctx, r->in_quotes);
    sl_free(r->ctx, r->bytes);
    *r = (sl_reader){ 0 };
}

static void read_tokens(sl_reader *r, int32_t doc)
{
    int64_t first = r->c->doc[doc], end = r->c->doc[doc + 1];
    r->n = 0;
    for (int64_t t = first; t < end; t++) {
        size_t n;
        const char *piece = sl_tok_piece(r->c->tok, r->c->ids[t], &n);
        r->start[t - first] = r->n;
        if (n)
            memcpy(r->bytes + r->n, piece, n);
        r->n += (int64_t)n;
    }
    r->start[end - first] = r->n;
}

/* Straight quotes open and close in turn, curly ones by their kind; a blank line closes quotes and brackets. */
static void find_nesting(sl_reader *r)
{
    bool in = false;
    int depth = 0;
    for (int64_t i = 0; i < r->n; i++) {
        const char *b = r->bytes + i;
        bool open = r->n - i >= 3 && memcmp(b, "\xe2\x80\x9c", 3) == 0, close = r->n - i >= 3 && memcmp(b, "\xe2\x80\x9d", 3) == 0;
        if (open || close)
            in = open;
        else if (*b == '"')
            in = !in;
        else if (*b == '\n' && i + 1 < r->n && b[1] == '\n') {
            in = false;
            depth = 0;
        } else if (strchr("([{", *b) && *b && depth < 255)
            depth++;
        else if (strchr(")]}", *b) && *b && depth > 0)
            depth--;
        r->in_quotes[i] = in && *b != '"' && !open;
        r->depth[i] = (uint8_t)depth;
    }
}

void sl_reader_open(sl_reader *r, int32_t doc)
{
    read_tokens(r, doc);
    find_nesting(r);
}
