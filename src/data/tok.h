/* Tokenizers, inside. A token's text is a byte string ("piece"); pieces lie one after the other in one block. */
#ifndef SL_DATA_TOK_H
#define SL_DATA_TOK_H

#include <saelab/data.h>
#include <jansson.h>

typedef struct sl_bpe sl_bpe;

struct sl_tok {
    sl_ctx *ctx;
    sl_tok_kind kind;
    int32_t n_vocab;
    char *blob;      /* pieces, one after the other */
    uint32_t *off;   /* [n_vocab + 1] piece i is blob[off[i]] .. blob[off[i + 1]] */
    uint32_t *cp;    /* CHAR: [n_vocab] code points, ascending */
    sl_bpe *bpe;     /* GPT2 */
};

/* GPT-2's separator of documents. */
#define SL_EOT "<|endoftext|>"
enum { SL_EOT_LEN = sizeof SL_EOT - 1 };
/* The first separator in s[0..n), or NULL. */
const char *sl_find_eot(const char *s, size_t n);

/* A tokenizer without vocabulary; sl_tok_free frees it at any stage. */
sl_status sl_tok_blank(sl_ctx *ctx, sl_tok_kind kind, sl_tok **out, sl_err *err) SL_USE_RESULT;
/* CHAR from ascending code points. */
sl_status sl_tok_set_chars(sl_tok *t, const uint32_t *cp, int32_t n, sl_err *err) SL_USE_RESULT;

/* ---- GPT-2's byte-level BPE (tok_gpt2.c) ---- */

/* vocab: JSON list of pieces in id order; merges: JSON list of "left right" in rank order; both in GPT-2's printable alphabet, which
 * writes each of the 256 bytes as one visible character. `where` names the file in errors. */
sl_status sl_bpe_build(sl_tok *t, const char *where, const json_t *vocab, const json_t *merges, sl_err *err) SL_USE_RESULT;
void sl_bpe_free(sl_ctx *ctx, sl_bpe *b);
sl_status sl_bpe_encode(const sl_tok *t, const char *text, size_t n, int32_t **ids, int64_t *n_ids, sl_err *err) SL_USE_RESULT;
/* The same two lists again, for saving; NULL without memory. */
json_t *sl_bpe_vocab_json(const sl_tok *t);
json_t *sl_bpe_merges_json(const sl_tok *t);

#endif
