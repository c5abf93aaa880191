/* Corpora: splits as nanoGPT's, documents, hashes, bad input. */
#include "support.h"

#include <saelab/data.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static sl_ctx *ctx;
static sl_err err;

/* A text of n bytes in memory; the words repeat. */
static sl_text text_of(const char *name, size_t n)
{
    sl_text t = { .bytes = malloc(n + 1), .n = n };
    snprintf(t.name, sizeof t.name, "%s", name);
    memset(t.sha256, 'a', 64);
    for (size_t i = 0; i < n; i++)
        t.bytes[i] = "abc def ghi\n"[i % 12];
    t.bytes[n] = 0;
    return t;
}

static void check_documents(const sl_corpus *c)
{
    assert_int_equal(c->doc[0], 0);
    assert_int_equal(c->doc[c->n_docs], c->n);
    bool train = false, val = false;
    for (int64_t i = 0; i < c->n_docs; i++) {
        assert_true(c->doc[i] < c->doc[i + 1]);
        train |= c->doc[i + 1] == c->train_end;
        val |= c->doc[i + 1] == c->val_end;
    }
    assert_true(train && val); /* no document lies in two splits */
}

static void splits(void **s)
{
    (void)s;
    static const struct { const char *name; size_t n; int64_t train_end, val_end; } CASES[] = {
        { "shakespeare_char", 1115394, 1003854, 1115394 }, /* nanoGPT: 1,003,854 and 111,540 tokens */
        { "king_james", 100003, 90002, 100003 },
        { "enwik8", 200000, 180000, 190000 },
        { "enwik8_first4154399", 200001, 180000, 190000 },
        { "text8_first3010294", 100000, 90000, 95000 },
        { "text8_notes", 100000, 90000, 100000 },
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        sl_text t = text_of(CASES[i].name, CASES[i].n);
        sl_corpus c;
        sl_assert_ok(sl_corpus_new(ctx, &t, SL_TOK_CHAR, NULL, &c, &err));
        assert_string_equal(c.name, CASES[i].name);
        assert_string_equal(c.sha256, t.sha256);
        assert_int_equal(c.n, CASES[i].n);
        assert_int_equal(c.train_end, CASES[i].train_end);
        assert_int_equal(c.val_end, CASES[i].val_end);
        check_documents(&c);
        for (int64_t d = 0; d < c.n_docs; d++)
            assert_in_range(c.doc[d + 1] - c.doc[d], 4096, 8191);
        sl_corpus_release(ctx, &c);
        assert_null(c.ids);
        free(t.bytes);
    }
}

static void short_texts(void **s)
{
    (void)s;
    for (size_t n = 1; n < 30; n++) {
        sl_text t = text_of("short", n);
        sl_corpus c;
        sl_assert_ok(sl_corpus_new(ctx, &t, SL_TOK_BYTE, NULL, &c, &err));
        assert_int_equal(c.train_end, n * 9 / 10);
        assert_int_equal(c.doc[c.n_docs], n);
        assert_true(c.n_docs <= 2);
        sl_corpus_release(ctx, &c);
        free(t.bytes);
    }
}

/* Document i has i % 7 + 1 words of three letters, then the separator. */
static sl_text separated(int n_docs)
{
    sl_text t = { .name = "stories", .bytes = calloc(1, (size_t)n_docs * 64) };
    for (int i = 0; i < n_docs; i++) {
        for (int w = 0; w <= i % 7; w++)
            t.n += (size_t)sprintf(t.bytes + t.n, "\xC3\xA9t ");
        t.n += (size_t)sprintf(t.bytes + t.n, "<|endoftext|>");
    }
    return t;
}

static void real_documents(void **s)
{
    (void)s;
    enum { N = 200 };
    sl_text t = separated(N);
    for (int kind = SL_TOK_CHAR; kind <= SL_TOK_GPT2; kind++) {
        sl_corpus c;
        if (kind == SL_TOK_GPT2 && !sl_test_data("gpt2-bpe/vocab.bpe"))
            continue;
        sl_assert_ok(sl_corpus_new(ctx, &t, (sl_tok_kind)kind, NULL, &c, &err));
        assert_int_equal(c.n_docs, N);
        check_documents(&c);
        assert_true(c.train_end >= c.n * 9 / 10 && c.train_end < c.n && c.val_end == c.n);
        for (int i = 0; i < N; i++) { /* characters a word: 3, bytes: 4, and 13 for the separator, which GPT-2 has as one token */
            int64_t len = c.doc[i + 1] - c.doc[i], words = i % 7 + 1;
            if (kind != SL_TOK_GPT2)
                assert_int_equal(len, words * (kind == SL_TOK_CHAR ? 3 : 4) + 13);
            else
                assert_int_equal(c.ids[c.doc[i + 1] - 1], 50256);
        }
        sl_corpus_release(ctx, &c);
    }
    free(t.bytes);
}

/* Few documents are no split: blocks; and the last document of many may be longer than a tenth of the text. */
static void odd_documents(void **s)
{
    (void)s;
    sl_text t = separated(9);
    sl_corpus c;
    sl_assert_ok(sl_corpus_new(ctx, &t, SL_TOK_BYTE, NULL, &c, &err));
    assert_int_equal(c.n_docs, 2);
    assert_int_equal(c.train_end, t.n * 9 / 10);
    sl_corpus_release(ctx, &c);
    free(t.bytes);
    t = separated(20);
    t.bytes = realloc(t.bytes, t.n + 5000);
    memset(t.bytes + t.n, 'x', 5000);
    int64_t last = (int64_t)t.n;
    t.n += 5000;
    sl_assert_ok(sl_corpus_new(ctx, &t, SL_TOK_CHAR, NULL, &c, &err));
    assert_int_equal(c.n_docs, 21);
    assert_int_equal(c.train_end, c.doc[20]);
    assert_true(c.doc[20] < last); /* in characters, not bytes */
    assert_int_equal(c.val_end, c.n);
    sl_corpus_release(ctx, &c);
    free(t.bytes);
}

/* A model's own tokenizer on a text that has more characters. */
static void with_tokenizer(void **s)
{
    (void)s;
    sl_text t = text_of("text", 5000);
    sl_tok *tok;
    sl_corpus c;
    sl_assert_ok(sl_tok_new(ctx, SL_TOK_CHAR, "\n abcdefghijk", 13, &tok, &err));
    sl_assert_ok(sl_corpus_new(ctx, &t, SL_TOK_BYTE, tok, &c, &err)); /* the tokenizer counts, not the kind */
    assert_int_equal(sl_tok_vocab(c.tok), 13);
    assert_int_equal(c.ids[0], 2);
    sl_corpus_release(ctx, &c);
    t.bytes[4321] = 'Z';
    sl_assert_ok(sl_tok_new(ctx, SL_TOK_CHAR, "\n abcdefghijk", 13, &tok, &err));
    sl_assert_fails(sl_corpus_new(ctx, &t, SL_TOK_CHAR, tok, &c, &err), SL_DATA, "byte offset 4321: character 'Z' (U+005A) is not in the vocabulary of 13");
    assert_null(c.tok); /* taken and freed */
    free(t.bytes);
    t = (sl_text){ .name = "nothing" };
    sl_assert_fails(sl_corpus_new(ctx, &t, SL_TOK_CHAR, NULL, &c, &err), SL_DATA, "nothing: the text is empty");
}

static void allocations(void **s)
{
    (void)s;
    sl_text t = text_of("text", 20000);
    int failures = 0;
    for (int64_t n = 1; n < 40; n++) {
        sl_ctx *c = sl_ctx_new(&(sl_ctx_opts){ .n_threads = 1, .fail_alloc_at = n });
        sl_corpus corpus;
        sl_status st = sl_corpus_new(c, &t, SL_TOK_CHAR, NULL, &corpus, &err);
        sl_corpus_release(c, &corpus);
        sl_ctx_free(c);
        if (st == SL_OK)
            break;
        assert_int_equal(st, SL_MEM);
        failures++;
    }
    assert_in_range(failures, 5, 38);
    free(t.bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(splits),        cmocka_unit_test(short_texts),    cmocka_unit_test(real_documents),
        cmocka_unit_test(odd_documents), cmocka_unit_test(with_tokenizer), cmocka_unit_test(allocations),
    };
    ctx = sl_test_ctx(1);
    int failed = cmocka_run_group_tests_name("data_corpus", tests, NULL, NULL);
    sl_ctx_free(ctx);
    return failed;
}
