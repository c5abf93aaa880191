/* Damaged indexes: cut off, bent so that a number points outside, one bit wrong; none of them crashes a reader. */
#include "text_rows.h"

#include "eval/features.h"
#include "support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *index_path(char out[1200]) /* of a small index, made anew */
{
    sl_err err;
    sl_ctx *ctx = sl_test_ctx(1);
    text_rows t;
    sl_features_opts o;
    sl_features_built b;
    const char *dir = sl_test_dir("features_file");
    sl_opts_default(sl_features_options, &o);
    text_rows_new(&t, 300, 2);
    for (int i = 0; i < 300; i++) {
        t.token[i] = i % 17;
        t.x[i * 2 + i % 2] = i % 30 == 0 ? (float)i + 1 : 0;
    }
    sl_sae *s = identity_sae(ctx, 2, NULL);
    sl_assert_ok(sl_features_build(ctx, &(sl_features_input){ .sae = s, .rows = &t.src }, &o, dir, &b, &err));
    sl_sae_free(s);
    text_rows_release(&t);
    sl_ctx_free(ctx);
    snprintf(out, 1200, "%s/index.safetensors", dir);
    return out;
}

/* The file and its bytes; sl_free. */
static char *index_bytes(sl_ctx *ctx, char path[1200], size_t *n)
{
    sl_err err;
    char *bytes;
    index_path(path);
    sl_assert_ok(sl_file_read(ctx, path, &bytes, n, &err));
    return bytes;
}

static void write_bytes(sl_ctx *ctx, const char *path, const char *bytes, size_t n)
{
    sl_err err;
    sl_assert_ok(sl_file_write(ctx, path, bytes, n, &err));
}

static void test_cut(void **state)
{
    (void)state;
    sl_err err;
    sl_ctx *ctx = sl_test_ctx(1);
    char path[1200];
    size_t n;
    sl_features *f;
    char *bytes = index_bytes(ctx, path, &n);
    const size_t cuts[] = { 0, 1, 7, 8, 100, n / 4, n / 2, n - 1 };
    for (size_t i = 0; i < sizeof cuts / sizeof *cuts; i++) {
        write_bytes(ctx, path, bytes, cuts[i]);
        sl_assert_fails(sl_features_open(ctx, path, false, &f, &err), SL_DATA, "index.safetensors");
    }
    sl_free(ctx, bytes);
    sl_ctx_free(ctx);
}

/* The array and the element whose number is replaced, and what the line has to say. */
typedef struct bend { const char *array; int64_t at; int32_t value; const char *said; } bend;

static const bend BENDS[] = {
    { "context_at", 0, 300, "context_at[0]" },       { "context_at", 2, -1, "context_at[2]" },        { "context_ptr", 1, 100000, "context_ptr[" },
    { "context_ptr", 0, 1, "context_ptr[0]" },       { "row_string", 7, 17, "row_string[7]" },        { "passage", 1, 299, "passage[1]" },
    { "cosine_id", 0, 2, "cosine_id[0]" },           { "cofire_id", 1, -2, "cofire_id[1]" },          { "token", 0, 1000, "token[0]" },
    { "top_token", 1, 17, "top_token[1]" },          { "string_ptr", 2, 1 << 30, "string_ptr[" },
};

static void test_bent(void **state)
{
    (void)state;
    sl_err err;
    sl_ctx *ctx = sl_test_ctx(1);
    char path[1200];
    size_t n;
    char *bytes = index_bytes(ctx, path, &n);
    for (size_t i = 0; i < sizeof BENDS / sizeof *BENDS; i++) {
        sl_dict d;
        sl_features *f;
        sl_assert_ok(sl_safetensors_read(ctx, path, &d, &err));
        const sl_tensor *t = sl_dict_get(&d, BENDS[i].array);
        assert_non_null(t);
        assert_in_range((const uint8_t *)t->data - d.map.data, 8, n); /* read where it is mapped */
        int64_t at = (const uint8_t *)t->data - d.map.data + BENDS[i].at * (int64_t)sl_dtype_size(t->dtype);
        sl_dict_release(&d);
        char *bent = malloc(n);
        memcpy(bent, bytes, n);
        memcpy(bent + at, &BENDS[i].value, sizeof BENDS[i].value);
        write_bytes(ctx, path, bent, n);
        sl_assert_fails(sl_features_open(ctx, path, false, &f, &err), SL_DATA, BENDS[i].said);
        write_bytes(ctx, path, bytes, n);
        free(bent);
    }
    sl_free(ctx, bytes);
    sl_ctx_free(ctx);
}

/* What no check of numbers can see, the checksum does. */
static void test_checksum(void **state)
{
    (void)state;
    sl_err err;
    sl_ctx *ctx = sl_test_ctx(1);
    char path[1200];
    size_t n;
    sl_features *f;
    char *bytes = index_bytes(ctx, path, &n);
    bytes[n - 1] ^= 1;
    write_bytes(ctx, path, bytes, n);
    sl_assert_ok(sl_features_open(ctx, path, false, &f, &err));
    sl_features_close(f);
    sl_assert_fails(sl_features_open(ctx, path, true, &f, &err), SL_DATA, "the checksum is");
    sl_free(ctx, bytes);
    sl_ctx_free(ctx);
}

/* Metadata that is another format's, another version's, or says what cannot be. */
static void test_metadata(void **state)
{
    (void)state;
    static const struct { const char *key, *value, *said; } all[] = {
        { "format", "other", "this is no feature index" }, { "version", "2", "build it again" }, { "kind", "9", "'kind' is '9'" },
        { "before", "64", "'before' is '64'" },            { "quantiles", "x", "'quantiles' is 'x'" },
    };
    sl_err err;
    sl_ctx *ctx = sl_test_ctx(1);
    char path[1200], bent[1300];
    sl_features *f;
    index_path(path);
    snprintf(bent, sizeof bent, "%s.bent", path);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        sl_dict d;
        const char *names[64];
        sl_tensor t[64];
        sl_assert_ok(sl_safetensors_read(ctx, path, &d, &err));
        for (int k = 0; k < d.n; k++) {
            names[k] = d.v[k].name;
            t[k] = d.v[k].t;
        }
        json_object_set_new(d.meta, all[i].key, json_string(all[i].value));
        sl_assert_ok(sl_safetensors_write(ctx, bent, d.n, names, t, d.meta, &err));
        sl_assert_fails(sl_features_open(ctx, bent, false, &f, &err), SL_DATA, all[i].said);
        /* without one of its arrays */
        json_object_set_new(d.meta, "format", json_string("saelab-features"));
        json_object_set_new(d.meta, "version", json_string("1"));
        sl_assert_ok(sl_safetensors_write(ctx, bent, d.n - 1, names, t, d.meta, &err));
        sl_assert_fails(sl_features_open(ctx, bent, false, &f, &err), SL_DATA, "is missing");
        sl_dict_release(&d);
    }
    sl_ctx_free(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cut), cmocka_unit_test(test_bent), cmocka_unit_test(test_checksum), cmocka_unit_test(test_metadata),
    };
    return cmocka_run_group_tests_name("features_file", tests, NULL, NULL);
}
