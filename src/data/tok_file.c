/* tokenizer.json of ours: {"format": "saelab-tokenizer", "version": 1, "kind": ..., and for
 *   char   "code_points": [ascending]
 *   gpt2   "vocab": [pieces in id order], "merges": ["left right" in rank order], in GPT-2's byte alphabet
 * so that a saved model needs no other file. */
#include "data/tok.h"
#include "io/io.h"

#include <string.h>

static const char *const KINDS[] = { [SL_TOK_CHAR] = "char", [SL_TOK_BYTE] = "byte", [SL_TOK_GPT2] = "gpt2" };
static const char FORMAT[] = "saelab-tokenizer";
enum { VERSION = 1, N_KINDS = sizeof KINDS / sizeof KINDS[0] };

sl_status sl_tok_save(const sl_tok *t, const char *path, sl_err *err)
{
    json_t *j = json_pack("{s:s, s:i, s:s}", "format", FORMAT, "version", VERSION, "kind", KINDS[t->kind]);
    if (t->kind == SL_TOK_CHAR) {
        json_t *list = json_array();
        for (int32_t i = 0; i < t->n_vocab; i++)
            json_array_append_new(list, json_integer((json_int_t)t->cp[i]));
        json_object_set_new(j, "code_points", list);
    } else if (t->kind == SL_TOK_GPT2) {
        json_object_set_new(j, "vocab", sl_bpe_vocab_json(t));
        json_object_set_new(j, "merges", sl_bpe_merges_json(t));
    }
    sl_status st = j ? sl_json_save(t->ctx, path, j, err) : sl_fail(err, SL_MEM, path, NULL, "no memory");
    json_decref(j);
    return st;
}

static sl_status load_chars(sl_tok *t, const char *path, const json_t *list, sl_err *err)
{
    size_t n = json_array_size(list);
    if (n == 0 || n > 0x110000)
        return sl_fail(err, SL_DATA, path, "code_points: a list of ascending integers", "%zu of them", n);
    uint32_t *cp = sl_alloc(t->ctx, n * sizeof *cp);
    if (!cp)
        return sl_fail(err, SL_MEM, path, NULL, "no memory");
    sl_status st = SL_OK;
    json_int_t last = -1;
    for (size_t i = 0; st == SL_OK && i < n; i++) {
        const json_t *v = json_array_get(list, i);
        json_int_t c = json_is_integer(v) ? json_integer_value(v) : -1;
        if (c <= last || c > 0x10FFFF || (c >= 0xD800 && c < 0xE000))
            st = sl_fail(err, SL_DATA, path, "ascending code points of Unicode", "code_points[%zu] is not", i);
        cp[i] = (uint32_t)c;
        last = c;
    }
    if (st == SL_OK)
        st = sl_tok_set_chars(t, cp, (int32_t)n, err);
    sl_free(t->ctx, cp);
    return st;
}

static sl_status load_kind(sl_ctx *ctx, const char *path, const json_t *j, sl_tok **out, sl_err *err)
{
    const char *format = json_string_value(json_object_get(j, "format")), *kind = json_string_value(json_object_get(j, "kind"));
    if (!format || strcmp(format, FORMAT) != 0 || json_integer_value(json_object_get(j, "version")) != VERSION)
        return sl_fail(err, SL_DATA, path, "format saelab-tokenizer, version 1", "not a tokenizer file of saelab");
    int k = 0;
    while (k < N_KINDS && (!kind || strcmp(kind, KINDS[k]) != 0))
        k++;
    if (k == N_KINDS)
        return sl_fail(err, SL_DATA, path, "kind char, byte or gpt2", "kind '%s'", kind ? kind : "");
    if (k == SL_TOK_BYTE)
        return sl_tok_new(ctx, SL_TOK_BYTE, NULL, 0, out, err);
    SL_TRY(sl_tok_blank(ctx, (sl_tok_kind)k, out, err));
    if (k == SL_TOK_CHAR)
        return load_chars(*out, path, json_object_get(j, "code_points"), err);
    return sl_bpe_build(*out, path, json_object_get(j, "vocab"), json_object_get(j, "merges"), err);
}

sl_status sl_tok_load(sl_ctx *ctx, const char *path, sl_tok **out, sl_err *err)
{
    json_t *j = NULL;
    *out = NULL;
    SL_TRY(sl_json_load_file(ctx, path, &j, err));
    sl_status st = load_kind(ctx, path, j, out, err);
    json_decref(j);
    if (st != SL_OK) {
        sl_tok_free(*out);
        *out = NULL;
    }
    return st;
}
