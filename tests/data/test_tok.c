/* Tokenizers: known ids, round trips, files, bad input, failing allocations. */
#include "support.h"

#include "io/io.h"

#include <saelab/data.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static sl_ctx *ctx;
static sl_err err;

static void assert_ids(const sl_tok *t, const char *text, size_t n, const int32_t *want, int64_t n_want)
{
    int32_t *ids;
    int64_t n_ids;
    sl_assert_ok(sl_tok_encode(t, text, n, &ids, &n_ids, &err));
    if (n_ids != n_want || memcmp(ids, want, (size_t)n_want * sizeof *ids) != 0) {
        for (int64_t i = 0; i < n_ids; i++)
            fprintf(stderr, " %d", (int)ids[i]);
        fail_msg("wrong ids for '%s'", text);
    }
    sl_free(ctx, ids);
}

/* Text of n ids, 0-terminated; free by the caller. */
static char *decode(const sl_tok *t, const int32_t *ids, int64_t n, size_t *n_text)
{
    size_t len, total = 0;
    for (int64_t i = 0; i < n; i++) {
        sl_tok_piece(t, ids[i], &len);
        total += len;
    }
    char *text = malloc(total + 1), *at = text;
    for (int64_t i = 0; i < n; i++) {
        const char *piece = sl_tok_piece(t, ids[i], &len);
        memcpy(at, piece, len);
        at += len;
    }
    *at = 0;
    *n_text = total;
    return text;
}

static void chars(void **s)
{
    (void)s;
    static const char TEXT[] = "h\xC3\xA9llo w\xE2\x82\xACrld\n"; /* sorted: \n space d e-acute... by code point */
    sl_tok *t;
    size_t n;
    sl_assert_ok(sl_tok_new(ctx, SL_TOK_CHAR, TEXT, sizeof TEXT - 1, &t, &err));
    /* \n(10) space(32) d(100) h(104) l(108) o(111) r(114) w(119) U+E9 U+20AC */
    assert_int_equal(sl_tok_vocab(t), 10);
    assert_int_equal(sl_tok_what(t), SL_TOK_CHAR);
    static const int32_t WANT[] = { 3, 8, 4, 4, 5, 1, 7, 9, 6, 4, 2, 0 };
    assert_ids(t, TEXT, sizeof TEXT - 1, WANT, 12);
    assert_memory_equal(sl_tok_piece(t, 9, &n), "\xE2\x82\xAC", 3);
    assert_int_equal(n, 3);
    sl_tok_piece(t, 10, &n);
    assert_int_equal(n, 0);
    sl_tok_piece(t, -1, &n);
    assert_int_equal(n, 0);
    int32_t *ids;
    int64_t k;
    sl_assert_fails(sl_tok_encode(t, "hold x", 6, &ids, &k, &err), SL_DATA, "byte offset 5: character 'x' (U+0078) is not in the vocabulary of 10");
    sl_assert_fails(sl_tok_encode(t, "h\xC3\xA9\xC3\xA8", 5, &ids, &k, &err), SL_DATA, "byte offset 3: character '\xC3\xA8' (U+00E8)");
    sl_assert_fails(sl_tok_encode(t, "h\t", 2, &ids, &k, &err), SL_DATA, "byte offset 1: character '' (U+0009)");
    sl_assert_fails(sl_tok_encode(t, "ho\xFFh", 4, &ids, &k, &err), SL_DATA, "byte offset 2: byte 0xFF");
    assert_null(ids);
    assert_ids(t, "", 0, WANT, 0);
    sl_tok_free(t);
    sl_assert_fails(sl_tok_new(ctx, SL_TOK_CHAR, "", 0, &t, &err), SL_DATA, "the text is empty");
    sl_assert_fails(sl_tok_new(ctx, SL_TOK_CHAR, "ab\xC3", 3, &t, &err), SL_DATA, "byte offset 2: byte 0xC3");
    assert_null(t);
}

static void bytes(void **s)
{
    (void)s;
    static const char TEXT[] = "a\0\xFF\x80z";
    static const int32_t WANT[] = { 97, 0, 255, 128, 122 };
    sl_tok *t;
    size_t n;
    sl_assert_ok(sl_tok_new(ctx, SL_TOK_BYTE, NULL, 0, &t, &err));
    assert_int_equal(sl_tok_vocab(t), 256);
    assert_ids(t, TEXT, 5, WANT, 5);
    assert_int_equal((unsigned char)*sl_tok_piece(t, 200, &n), 200);
    assert_int_equal(n, 1);
    sl_tok_free(t);
}

/* nanoGPT's shakespeare_char: 65 characters; "First Citizen" in its ids. */
static void shakespeare(void **s)
{
    (void)s;
    const char *path = sl_test_data("tinyshakespeare/input.txt");
    if (!path)
        skip();
    static const int32_t FIRST[] = { 18, 47, 56, 57, 58, 1, 15, 47, 58, 47, 64, 43, 52 };
    char *text;
    size_t n;
    sl_tok *t;
    sl_assert_ok(sl_file_read(ctx, path, &text, &n, &err));
    sl_assert_ok(sl_tok_new(ctx, SL_TOK_CHAR, text, n, &t, &err));
    assert_int_equal(sl_tok_vocab(t), 65);
    assert_ids(t, text, 13, FIRST, 13);
    int32_t *ids;
    int64_t k;
    sl_assert_fails(sl_tok_encode(t, "a#", 2, &ids, &k, &err), SL_DATA, "byte offset 1: character '#' (U+0023) is not in the vocabulary of 65");
    sl_tok_free(t);
    sl_free(ctx, text);
}

/* ---- GPT-2 ---- */

static sl_tok *gpt2(void)
{
    const char *file = sl_test_data("gpt2-bpe/vocab.bpe");
    sl_tok *t = NULL;
    if (file)
        sl_assert_ok(sl_tok_new(ctx, SL_TOK_GPT2, NULL, 0, &t, &err));
    return t;
}

typedef struct known { const char *text; int32_t n, ids[32]; } known;

/* ids by tiktoken 0.14 with OpenAI's pattern, vocab.bpe and encoder.json */
static const known KNOWN[] = {
    { "Hello,  world!\n\n  It's 2024; we'll see.  ", 17, { 15496, 11, 220, 995, 0, 628, 220, 632, 338, 48609, 26, 356, 1183, 766, 13, 220, 220 } },
    { "na\xC3\xAFve caf\xC3\xA9 \xE2\x80\x94 \xE6\x97\xA5\xE6\x9C\xAC\xE8\xAA\x9E \xF0\x9F\x98\x80\xC2\xA0x\xE3\x80\x80\xE3\x80\x80y", 20,
      { 2616, 38776, 40304, 851, 10545, 245, 98, 17312, 105, 45739, 252, 30325, 222, 1849, 87, 5099, 222, 5099, 222, 88 } },
    { "a\xE1\xA0\x8E" "b \xC2\x85" "c\td\r\n", 13, { 64, 157, 254, 236, 65, 220, 126, 227, 66, 197, 67, 201, 198 } },
    { "x<|endoftext|>y", 3, { 87, 50256, 88 } },
    { "'S 's DON'T don't", 9, { 6, 50, 705, 82, 23917, 6, 51, 836, 470 } },
    { "   ", 3, { 220, 220, 220 } },
    { "\xD9\xA0\xC2\xBD\xE2\x85\xA7 e\xCC\x81", 9, { 149, 254, 23141, 158, 227, 100, 304, 136, 223 } },
    { "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", 11, { 24794, 24794, 24794, 24794, 24794, 24794, 24794, 24794, 24794, 24794, 7252 } },
    { "", 0, { 0 } },
};

static void gpt2_known(void **s)
{
    (void)s;
    sl_tok *t = gpt2();
    if (!t)
        skip();
    assert_int_equal(sl_tok_vocab(t), 50257);
    for (size_t i = 0; i < sizeof KNOWN / sizeof KNOWN[0]; i++) {
        assert_ids(t, KNOWN[i].text, strlen(KNOWN[i].text), KNOWN[i].ids, KNOWN[i].n);
        size_t n;
        char *back = decode(t, KNOWN[i].ids, KNOWN[i].n, &n);
        assert_string_equal(back, KNOWN[i].text);
        free(back);
    }
    int32_t *ids;
    int64_t k;
    sl_assert_fails(sl_tok_encode(t, "ab\xFF", 3, &ids, &k, &err), SL_DATA, "byte offset 2: byte 0xFF");
    sl_tok_free(t);
}

/* prompt: '...' and tokenIds: [...] of a reference file */
static int32_t reference(const char *js, char prompt[256], int32_t ids[32])
{
    const char *p = strstr(js, "prompt: '"), *end = p ? strchr(p + 9, '\n') : NULL, *at = strstr(js, "tokenIds: [");
    assert_true(p && end && at && end - p < 256);
    snprintf(prompt, 256, "%.*s", (int)(end - p - 9 - 2), p + 9); /* without ', */
    int32_t n = 0;
    for (at += 11; *at != ']' && n < 32;) {
        char *next;
        ids[n++] = (int32_t)strtol(at, &next, 10);
        assert_true(next > at);
        at = next + (*next == ',');
    }
    return n;
}

static void gpt2_reference(void **s)
{
    (void)s;
    sl_tok *t = gpt2();
    if (!t)
        skip();
    int seen = 0;
    for (int i = 0; i < 3; i++) {
        char name[64], prompt[256], *js;
        int32_t ids[32];
        size_t n;
        snprintf(name, sizeof name, "gpt2-reference/ex%d.js", i);
        const char *path = sl_test_data(name);
        if (!path)
            continue;
        sl_assert_ok(sl_file_read(ctx, path, &js, &n, &err));
        int32_t k = reference(js, prompt, ids);
        assert_int_equal(k, 6);
        assert_ids(t, prompt, strlen(prompt), ids, k);
        sl_free(ctx, js);
        seen++;
    }
    sl_tok_free(t);
    if (!seen)
        skip();
}

/* Real documents that OpenAI's tokenizer cut: text of the ids, then ids of the text, all at once and the same. */
static void gpt2_round_trip(void **s)
{
    (void)s;
    sl_tok *t = gpt2();
    const char *path = sl_test_data("openwebtext-sample/owt_1000docs.gpt2.u16.bin");
    if (!t || !path) {
        sl_tok_free(t);
        skip();
    }
    char *raw;
    size_t size, n_text;
    sl_assert_ok(sl_file_read(ctx, path, &raw, &size, &err));
    int64_t n = (int64_t)(size / 2);
    assert_int_equal(n, 1203184);
    int32_t *want = malloc((size_t)n * sizeof *want);
    for (int64_t i = 0; i < n; i++)
        want[i] = (unsigned char)raw[2 * i] | (unsigned char)raw[2 * i + 1] << 8;
    char *text = decode(t, want, n, &n_text);
    assert_int_equal(n_text, 5286404);
    assert_ids(t, text, n_text, want, n);
    free(text);
    free(want);
    sl_free(ctx, raw);
    sl_tok_free(t);
}

/* One word of a hundred thousand bytes: quadratic merging would take minutes. */
static void gpt2_long_word(void **s)
{
    (void)s;
    sl_tok *t = gpt2();
    if (!t)
        skip();
    enum { N = 100000 };
    char *text = malloc(N);
    for (int i = 0; i < N; i++)
        text[i] = (char)('a' + i * 7 % 26);
    int32_t *ids;
    int64_t n_ids;
    size_t n;
    sl_assert_ok(sl_tok_encode(t, text, N, &ids, &n_ids, &err));
    char *back = decode(t, ids, n_ids, &n);
    assert_int_equal(n, N);
    assert_memory_equal(back, text, N);
    free(back);
    free(text);
    sl_free(ctx, ids);
    sl_tok_free(t);
}

/* ---- files ---- */

static void saved_and_loaded(sl_tok *t, const char *text, size_t n)
{
    char path[600];
    sl_tok *u;
    int32_t *ids;
    int64_t n_ids;
    snprintf(path, sizeof path, "%s/tokenizer.json", sl_test_dir("tok"));
    sl_assert_ok(sl_tok_save(t, path, &err));
    sl_assert_ok(sl_tok_load(ctx, path, &u, &err));
    assert_int_equal(sl_tok_what(u), sl_tok_what(t));
    assert_int_equal(sl_tok_vocab(u), sl_tok_vocab(t));
    sl_assert_ok(sl_tok_encode(t, text, n, &ids, &n_ids, &err));
    assert_ids(u, text, n, ids, n_ids);
    for (int32_t i = 0; i < sl_tok_vocab(t); i++) {
        size_t a, b;
        const char *p = sl_tok_piece(t, i, &a), *q = sl_tok_piece(u, i, &b);
        assert_int_equal(a, b);
        assert_memory_equal(p, q, a);
    }
    sl_free(ctx, ids);
    sl_tok_free(u);
    sl_tok_free(t);
}

static void files(void **s)
{
    (void)s;
    static const char TEXT[] = "z\0\"\\\n \xC3\xA9\xF0\x9F\x98\x80";
    sl_tok *t;
    sl_assert_ok(sl_tok_new(ctx, SL_TOK_CHAR, TEXT, sizeof TEXT - 1, &t, &err));
    saved_and_loaded(t, TEXT, sizeof TEXT - 1);
    sl_assert_ok(sl_tok_new(ctx, SL_TOK_BYTE, NULL, 0, &t, &err));
    saved_and_loaded(t, TEXT, sizeof TEXT - 1);
    t = gpt2();
    if (t)
        saved_and_loaded(t, "It's a test of \xC3\xA9t\xC3\xA9, 123 times.<|endoftext|>\n\n \xF0\x9F\x98\x80", 48);
}

static void bad_files(void **s)
{
    (void)s;
    static const struct { const char *json, *line; } CASES[] = {
        { "{\"format\": \"other\"}", "not a tokenizer file of saelab" },
        { "{\"format\": \"saelab-tokenizer\", \"version\": 2, \"kind\": \"byte\"}", "not a tokenizer file of saelab" },
        { "{\"format\": \"saelab-tokenizer\", \"version\": 1, \"kind\": \"words\"}", "kind 'words'" },
        { "{\"format\": \"saelab-tokenizer\", \"version\": 1}", "kind ''" },
        { "{\"format\": \"saelab-tokenizer\", \"version\": 1, \"kind\": \"char\"}", "code_points" },
        { "{\"format\": \"saelab-tokenizer\", \"version\": 1, \"kind\": \"char\", \"code_points\": [5, 5]}", "code_points[1]" },
        { "{\"format\": \"saelab-tokenizer\", \"version\": 1, \"kind\": \"char\", \"code_points\": [5, \"6\"]}", "code_points[1]" },
        { "{\"format\": \"saelab-tokenizer\", \"version\": 1, \"kind\": \"char\", \"code_points\": [5, 55296]}", "code_points[1]" },
        { "{\"format\": \"saelab-tokenizer\", \"version\": 1, \"kind\": \"char\", \"code_points\": [1114112]}", "code_points[0]" },
        { "{\"format\": \"saelab-tokenizer\", \"version\": 1, \"kind\": \"gpt2\"}", "a list of pieces" },
        { "{\"format\": \"saelab-tokenizer\", \"version\": 1, \"kind\": \"gpt2\", \"vocab\": [\"a\", \"b\"], \"merges\": []}", "byte 0x00 has none" },
        { "{\"format\": \"saelab-tokenizer\", \"version\": 1, \"kind\": \"gpt2\", \"vocab\": [\"a\", \"a\"], \"merges\": []}", "pieces 0 and 1 are the same" },
        { "{\"format\": \"saelab-tokenizer\", \"version\": 1, \"kind\": \"gpt2\", \"vocab\": [\"a\", \"\"], \"merges\": []}", "piece 1 cannot be read" },
        { "{\"format\": \"saelab-tokenizer\", \"version\": 1, \"kind\": \"gpt2\", \"vocab\": [\"a\", 7], \"merges\": []}", "piece 1 cannot be read" },
        { "{\"format\": \"saelab-tokenizer\", \"version\": 1, \"kind\": \"gpt2\", \"vocab\": [\"a b\"], \"merges\": []}", "piece 0 cannot be read" },
        { "[1, 2]", "not a tokenizer file of saelab" },
    };
    char path[600];
    sl_tok *t;
    snprintf(path, sizeof path, "%s/bad.json", sl_test_dir("badtok"));
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        sl_assert_ok(sl_file_write(ctx, path, CASES[i].json, strlen(CASES[i].json), &err));
        sl_assert_fails(sl_tok_load(ctx, path, &t, &err), SL_DATA, CASES[i].line);
        assert_null(t);
    }
    sl_assert_ok(sl_file_write(ctx, path, "{\"format\":", 10, &err));
    assert_int_not_equal(sl_tok_load(ctx, path, &t, &err), SL_OK);
    sl_assert_fails(sl_tok_load(ctx, "/no/such/tokenizer.json", &t, &err), SL_MISSING, "/no/such/tokenizer.json");
}

/* A GPT-2 file whose merges are spoilt one by one. */
static void bad_merges(void **s)
{
    (void)s;
    static const struct { const char *merge, *line; } CASES[] = {
        { "ab", "merge 1 is not" }, { "a z", "merge 1 is not" }, { "a \xE2\x82\xAC", "merge 1 is not" }, { "a ", "merge 1 is not" }, { "a b", "merges 0 and 1 are the same" },
    };
    sl_tok *t;
    char path[600], *text;
    size_t n;
    snprintf(path, sizeof path, "%s/bad.json", sl_test_dir("badmerge"));
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        json_t *vocab = json_array();
        for (int b = 0; b < 256; b++) { /* the printable alphabet in any order: Latin-1's visible characters and U+0100..U+0143 */
            bool shown = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
            int c = shown ? b : 256 + (b < 33 ? b : b < 161 ? b - 94 : 67);
            json_array_append_new(vocab, json_pack("s#", (char[]){ (char)(c < 128 ? c : 0xC0 | c >> 6), (char)(0x80 | (c & 63)) }, c < 128 ? 1 : 2));
        }
        json_array_append_new(vocab, json_string("<|endoftext|>"));
        json_array_append_new(vocab, json_string("ab"));
        json_t *j = json_pack("{s:s, s:i, s:s, s:o, s:[s, s]}", "format", "saelab-tokenizer", "version", 1, "kind", "gpt2", "vocab", vocab,
                              "merges", "a b", CASES[i].merge);
        assert_non_null(j);
        sl_assert_ok(sl_json_save(ctx, path, j, &err));
        sl_assert_fails(sl_tok_load(ctx, path, &t, &err), SL_DATA, CASES[i].line);
        json_array_remove(json_object_get(j, "merges"), 1);
        sl_assert_ok(sl_json_save(ctx, path, j, &err));
        sl_assert_ok(sl_tok_load(ctx, path, &t, &err)); /* the rest of the file is good */
        static const int32_t WANT[] = { 257, 98 - 0, 257 };
        assert_ids(t, "abbab", 5, WANT, 3);
        sl_tok_free(t);
        json_array_remove(json_object_get(j, "vocab"), 256);
        sl_assert_ok(sl_json_save(ctx, path, j, &err));
        sl_assert_fails(sl_tok_load(ctx, path, &t, &err), SL_DATA, "expected a piece <|endoftext|>");
        json_decref(j);
    }
    sl_assert_ok(sl_file_read(ctx, path, &text, &n, &err));
    sl_free(ctx, text);
}

/* Every allocation fails once; nothing leaks (the address sanitizer sees to it) and the status is SL_MEM. */
static void allocations(void **s)
{
    (void)s;
    static const char TEXT[] = "some text to cut";
    char path[600];
    snprintf(path, sizeof path, "%s/tokenizer.json", sl_test_dir("alloc"));
    int failures = 0;
    for (int64_t at = 1; at < 100; at++) {
        sl_ctx *c = sl_ctx_new(&(sl_ctx_opts){ .n_threads = 1, .fail_alloc_at = at });
        sl_tok *t = NULL, *u = NULL;
        int32_t *ids = NULL;
        int64_t n;
        sl_status st = sl_tok_new(c, SL_TOK_CHAR, TEXT, sizeof TEXT - 1, &t, &err);
        if (st == SL_OK)
            st = sl_tok_encode(t, TEXT, sizeof TEXT - 1, &ids, &n, &err);
        if (st == SL_OK)
            st = sl_tok_save(t, path, &err);
        if (st == SL_OK)
            st = sl_tok_load(c, path, &u, &err);
        sl_free(c, ids);
        sl_tok_free(t);
        sl_tok_free(u);
        sl_ctx_free(c);
        if (st == SL_OK)
            break;
        assert_int_equal(st, SL_MEM);
        failures++;
    }
    assert_in_range(failures, 5, 98);
}

static void gpt2_allocations(void **s)
{
    (void)s;
    if (!sl_test_data("gpt2-bpe/vocab.bpe"))
        skip();
    int failures = 0;
    for (int64_t at = 1; at < 100; at += at < 10 ? 1 : 6) {
        sl_ctx *c = sl_ctx_new(&(sl_ctx_opts){ .n_threads = 1, .fail_alloc_at = at });
        sl_tok *t = NULL;
        int32_t *ids = NULL;
        int64_t n;
        sl_status st = sl_tok_new(c, SL_TOK_GPT2, NULL, 0, &t, &err);
        if (st == SL_OK)
            st = sl_tok_encode(t, "words and words", 15, &ids, &n, &err);
        sl_free(c, ids);
        sl_tok_free(t);
        sl_ctx_free(c);
        if (st == SL_OK)
            break;
        assert_int_equal(st, SL_MEM);
        failures++;
    }
    assert_in_range(failures, 5, 98);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chars),           cmocka_unit_test(bytes),          cmocka_unit_test(shakespeare), cmocka_unit_test(gpt2_known),
        cmocka_unit_test(gpt2_reference),  cmocka_unit_test(gpt2_round_trip), cmocka_unit_test(gpt2_long_word), cmocka_unit_test(files),
        cmocka_unit_test(bad_files),       cmocka_unit_test(bad_merges),     cmocka_unit_test(allocations), cmocka_unit_test(gpt2_allocations),
    };
    ctx = sl_test_ctx(1);
    int failed = cmocka_run_group_tests_name("data_tok", tests, NULL, NULL);
    sl_ctx_free(ctx);
    return failed;
}
