/* Model folders: what is saved is loaded; what is wrong with a folder is said in one line. */
#include "fixture.h"
#include "io/io.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const char alphabet[] = "abcdefghijk"; /* eleven tokens */

typedef struct saved { sl_ctx *ctx; sl_lm *m; sl_tok *tok; const char *dir; char path[1024]; } saved;

static saved save(bool fast, const char *name)
{
    sl_err err;
    saved s = { .ctx = sl_test_ctx(1), .dir = sl_test_dir(name) };
    sl_lm_config c = tiny_config(!fast, fast);
    s.m = tiny_model(s.ctx, &c, SL_F32, 3);
    shake(s.m, 4, .1);
    sl_assert_ok(sl_tok_new(s.ctx, SL_TOK_CHAR, alphabet, strlen(alphabet), &s.tok, &err));
    sl_assert_ok(sl_lm_save(s.m, s.tok, s.dir, &err));
    return s;
}

static void forget(saved *s)
{
    sl_tok_free(s->tok);
    sl_lm_free(s->m);
    sl_ctx_free(s->ctx);
}

static const char *file(saved *s, const char *name)
{
    snprintf(s->path, sizeof s->path, "%s/%s", s->dir, name);
    return s->path;
}

static void round_trip(void **state)
{
    (void)state;
    for (int fast = 0; fast < 2; fast++) {
        saved s = save(fast, "lm_round_trip");
        sl_err err;
        sl_lm *m;
        sl_tok *tok;
        sl_assert_ok(sl_lm_load(s.ctx, s.dir, &m, &tok, &err));
        const sl_lm_config *a = sl_lm_cfg(s.m), *b = sl_lm_cfg(m);
        assert_true(a->n_layer == b->n_layer && a->n_head == b->n_head && a->n_embd == b->n_embd && a->block_size == b->block_size);
        assert_true(a->vocab_size == b->vocab_size && a->bias == b->bias && a->norm == b->norm && a->pos == b->pos && a->mlp == b->mlp);
        assert_true(a->tie_head == b->tie_head && a->dropout == b->dropout);
        assert_same_weights(s.m, m);
        assert_int_equal(sl_tok_vocab(tok), 11);
        sl_tok_free(tok);
        sl_lm_free(m);
        forget(&s);
    }
}

static void expect(saved *s, sl_status code, const char *line)
{
    sl_err err;
    sl_lm *m = NULL;
    sl_tok *tok = NULL;
    sl_assert_fails(sl_lm_load(s->ctx, s->dir, &m, &tok, &err), code, line);
    assert_null(m);
    assert_null(tok);
}

static void write_text(saved *s, const char *name, const char *text)
{
    sl_err err;
    sl_assert_ok(sl_file_write(s->ctx, file(s, name), text, strlen(text), &err));
}

static void bad_folders(void **state)
{
    (void)state;
    saved s = save(false, "lm_bad");
    sl_err err;
    char *bytes;
    size_t n;

    sl_assert_ok(sl_file_read(s.ctx, file(&s, "model.safetensors"), &bytes, &n, &err));
    for (size_t keep = 0; keep < n; keep += n / 7) { /* truncated anywhere */
        sl_assert_ok(sl_file_write(s.ctx, file(&s, "model.safetensors"), bytes, keep, &err));
        expect(&s, SL_DATA, "model.safetensors");
    }
    sl_free(s.ctx, bytes);
    assert_int_equal(remove(file(&s, "model.safetensors")), 0);
    expect(&s, SL_MISSING, "model.safetensors");

    sl_assert_ok(sl_lm_save(s.m, s.tok, s.dir, &err));
    sl_tok *other;
    sl_assert_ok(sl_tok_new(s.ctx, SL_TOK_CHAR, "abc", 3, &other, &err));
    sl_assert_ok(sl_tok_save(other, file(&s, "tokenizer.json"), &err));
    sl_tok_free(other);
    expect(&s, SL_DATA, "it has 3 tokens, the model 11");
    assert_int_equal(remove(file(&s, "tokenizer.json")), 0);
    expect(&s, SL_MISSING, "tokenizer.json");

    sl_assert_ok(sl_lm_save(s.m, s.tok, s.dir, &err));
    sl_param *p = sl_params_find(s.m->ps, "transformer.h.1.ln_2.bias");
    ((float *)p->value.data)[3] = INFINITY;
    sl_assert_ok(sl_lm_save(s.m, s.tok, s.dir, &err));
    expect(&s, SL_NUMERIC, "transformer.h.1.ln_2.bias");
    forget(&s);
}

static void bad_configs(void **state)
{
    (void)state;
    saved s = save(false, "lm_bad_config");
    sl_err err;
    char *json;
    size_t n;
    sl_assert_ok(sl_file_read(s.ctx, file(&s, "config.json"), &json, &n, &err));
    const struct { const char *from, *to; sl_status code; const char *line; } edits[] = {
        { "\"n_layer\": 2", "\"n_layer\": 2.5", SL_CONFIG, "config.json: n_layer" },
        { "\"n_layer\": 2", "\"n_layer\": \"two\"", SL_CONFIG, "config.json: n_layer" },
        { "\"n_layer\": 2", "\"n_layer\": -1", SL_CONFIG, "config.json: n_layer" },
        { "\"n_layer\": 2", "\"n_layer\": null", SL_CONFIG, "config.json: n_layer" },
        { "\"n_layer\": 2", "\"layers\": 2", SL_CONFIG, "config.json: n_layer: the field is missing" },
        { "\"layernorm\"", "\"batchnorm\"", SL_CONFIG, "config.json: norm" },
        { "\"n_head\": 2", "\"n_head\": 3", SL_CONFIG, "a multiple of n_head" },
        { "\"n_layer\": 2", "\"n_layer\": 3", SL_MISSING, "transformer.h.2." },
        { "\"n_embd\": 16", "\"n_embd\": 32", SL_SHAPE, "[11, 16]" },
        { "\"saelab_gpt\"", "\"gpt2\"", SL_DATA, "model_type is gpt2" },
        { "{", "[", SL_DATA, "config.json" },
    };
    for (size_t i = 0; i < sizeof edits / sizeof *edits; i++) {
        char text[2048];
        const char *at = strstr(json, edits[i].from);
        assert_non_null(at);
        snprintf(text, sizeof text, "%.*s%s%s", (int)(at - json), json, edits[i].to, at + strlen(edits[i].from));
        write_text(&s, "config.json", text);
        expect(&s, edits[i].code, edits[i].line);
    }
    sl_free(s.ctx, json);
    assert_int_equal(remove(file(&s, "config.json")), 0);
    expect(&s, SL_MISSING, "config.json");
    s.dir = "/nonexistent/model";
    expect(&s, SL_MISSING, "/nonexistent/model");
    forget(&s);
}

/* A disk that is full at any write leaves no folder that looks whole but is not. */
static void full_disk(void **state)
{
    (void)state;
    saved s = save(false, "lm_full_disk");
    sl_err err;
    int failures = 0;
    for (int64_t at = 1; at < 100; at++) {
        s.dir = sl_test_dir("lm_full_disk");
        sl_io_fail_at(at);
        sl_status st = sl_lm_save(s.m, s.tok, s.dir, &err);
        sl_io_fail_at(0);
        sl_lm *m = NULL;
        sl_tok *tok = NULL;
        if (st == SL_OK) {
            sl_assert_ok(sl_lm_load(s.ctx, s.dir, &m, &tok, &err));
        } else {
            failures++;
            assert_int_equal(st, SL_IO);
            assert_int_not_equal(sl_lm_load(s.ctx, s.dir, &m, &tok, &err), SL_OK);
        }
        sl_tok_free(tok);
        sl_lm_free(m);
        if (st == SL_OK)
            break;
    }
    assert_true(failures > 5);
    forget(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(round_trip), cmocka_unit_test(bad_folders), cmocka_unit_test(bad_configs), cmocka_unit_test(full_disk) };
    return cmocka_run_group_tests_name("lm_files", tests, NULL, NULL);
}
