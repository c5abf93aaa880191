/* SAELens folders: the same codes after a reload, the keys that SAELens writes, SAELens's own files, and files that are wrong. */
#include "rows.h"
#include "support.h"

#include "io/io.h"
#include "sae/variant.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { D = 5, F = 16, N = 200 };

static sl_sae *trained(sl_ctx *ctx, const char *variant, const void *opts)
{
    sl_err err;
    rows r;
    rows_planted(&r, N, D, 8, 2, 1, NULL);
    for (int64_t i = 0; i < N * D; i++)
        r.x[i] = 4 * r.x[i] + 1;
    sl_sae *s;
    sl_assert_ok(sl_sae_new(ctx, variant, D, F, opts, 1, &s, &err));
    sl_sae_train_config c;
    sl_opts_default(sl_sae_train_opts, &c);
    c.steps = 30;
    c.batch = 50;
    sl_sae_result res;
    sl_assert_ok(sl_sae_train(s, &r.src, &c, NULL, &res, &err));
    sl_free(ctx, res.curve);
    rows_release(&r);
    return s;
}

static void same_codes(sl_ctx *ctx, sl_sae *a, sl_sae *b)
{
    sl_err err;
    rows r;
    rows_planted(&r, N, D, 8, 2, 77, NULL);
    sl_codes z[2];
    float *y[2];
    for (int i = 0; i < 2; i++) {
        sl_sae *s = i ? b : a;
        y[i] = malloc(N * D * sizeof **y);
        sl_assert_ok(sl_codes_new(ctx, N, sl_sae_about(s).max_active, &z[i], &err));
        sl_assert_ok(sl_sae_encode(s, r.x, N, &z[i], y[i], &err));
    }
    assert_true(z[0].row_ptr[N] > 0);
    sl_assert_same_bits("row_ptr", z[0].row_ptr, z[1].row_ptr, (N + 1) * sizeof(int64_t));
    sl_assert_same_bits("idx", z[0].idx, z[1].idx, (size_t)z[0].row_ptr[N] * sizeof(int32_t));
    sl_assert_same_bits("val", z[0].val, z[1].val, (size_t)z[0].row_ptr[N] * sizeof(float));
    sl_assert_same_bits("reconstruction", y[0], y[1], N * D * sizeof(float));
    for (int i = 0; i < 2; i++) {
        free(y[i]);
        sl_codes_release(ctx, &z[i]);
    }
    rows_release(&r);
}

static void reload(const char *variant, const void *opts)
{
    sl_ctx *ctx = sl_test_ctx(1);
    sl_err err;
    const char *dir = sl_test_dir("reload");
    sl_sae *s = trained(ctx, variant, opts), *back;
    sl_assert_ok(sl_sae_save(s, dir, &err));
    sl_assert_ok(sl_sae_load(ctx, dir, &back, &err));
    sl_sae_info a = sl_sae_about(s), b = sl_sae_about(back);
    assert_string_equal(a.variant, b.variant);
    assert_string_equal(b.hook, "blocks.1.hook_resid_pre");
    assert_string_equal(b.model, "tiny");
    assert_string_equal(b.dataset, "made_up");
    assert_true(a.d_in == b.d_in && a.d_sae == b.d_sae && a.scale == b.scale && b.has_mean && a.max_active == b.max_active && a.l1 == b.l1);
    sl_assert_same_bits("options", sl_sae_options(s), sl_sae_options(back), sl_variant_find(variant)->opts_size);
    sl_assert_same_bits("mean", s->mean, back->mean, D * sizeof(float));
    same_codes(ctx, s, back);
    sl_sae_free(s);
    sl_sae_free(back);
    sl_ctx_free(ctx);
}

static void topk_reloads(void **state)
{
    (void)state;
    sl_topk_options o;
    sl_opts_default(sl_variant_find("topk")->opts, &o);
    o.k = 3;
    o.aux_alpha = .1 + .2; /* a number without a short text */
    reload("topk", &o);
}

static void standard_reloads(void **state)
{
    (void)state;
    for (int decoder = 0; decoder < 2; decoder++) {
        sl_standard_options o;
        memset(&o, 0, sizeof o);
        o.l1 = 1 / 3.;
        o.decoder = decoder;
        reload("standard", &o);
    }
}

/* The keys of SAELens 6 (sae_lens/saes/sae.py: SAEConfig and SAEMetadata; topk_sae.py). */
static void keys_of_saelens(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    sl_err err;
    const char *dir = sl_test_dir("keys");
    char path[600];
    sl_sae *s = trained(ctx, "topk", &(sl_topk_options){ .k = 3 });
    sl_assert_ok(sl_sae_save(s, dir, &err));
    json_t *cfg;
    snprintf(path, sizeof path, "%s/cfg.json", dir);
    sl_assert_ok(sl_json_load_file(ctx, path, &cfg, &err));
    static const char *const top[] = { "d_in", "d_sae", "dtype", "device", "apply_b_dec_to_input", "normalize_activations", "reshape_activations",
                                       "metadata", "architecture", "k", "rescale_acts_by_decoder_norm" };
    static const char *const meta[] = { "sae_lens_version", "sae_lens_training_version", "model_name", "hook_name", "hook_head_index",
                                        "model_class_name", "model_from_pretrained_kwargs", "prepend_bos", "exclude_special_tokens",
                                        "sequence_separator_token", "disable_concat_sequences", "context_size", "seqpos_slice", "dataset_path", "saelab" };
    assert_int_equal(json_object_size(cfg), sizeof top / sizeof *top);
    for (size_t i = 0; i < sizeof top / sizeof *top; i++)
        if (!json_object_get(cfg, top[i]))
            fail_msg("cfg.json lacks %s", top[i]);
    json_t *m = json_object_get(cfg, "metadata");
    assert_int_equal(json_object_size(m), sizeof meta / sizeof *meta);
    for (size_t i = 0; i < sizeof meta / sizeof *meta; i++)
        if (!json_object_get(m, meta[i]))
            fail_msg("metadata lacks %s", meta[i]);
    assert_string_equal(json_string_value(json_object_get(cfg, "architecture")), "topk");
    assert_string_equal(json_string_value(json_object_get(cfg, "dtype")), "float32");
    assert_int_equal(json_integer_value(json_object_get(cfg, "k")), 3);
    assert_true(json_is_true(json_object_get(cfg, "apply_b_dec_to_input")) && json_is_false(json_object_get(cfg, "rescale_acts_by_decoder_norm")));
    json_decref(cfg);
    sl_dict d;
    sl_dict_init(ctx, &d);
    snprintf(path, sizeof path, "%s/sae_weights.safetensors", dir);
    sl_assert_ok(sl_safetensors_read(ctx, path, &d, &err));
    assert_int_equal(d.n, 4);
    const sl_tensor *W = sl_dict_get(&d, "W_enc");
    assert_true(W && W->dim[0] == D && W->dim[1] == F); /* transposed on disk */
    float on_disk;
    memcpy(&on_disk, (const char *)W->data + (2 * F + 7) * sizeof(float), sizeof on_disk);
    assert_true(on_disk == ((float *)s->W_enc->value.data)[7 * D + 2]);
    sl_dict_release(&d);
    sl_sae_free(s);
    sl_ctx_free(ctx);
}

/* ---- files of others ---- */

typedef struct foreign { float W_enc[2 * 3], b_enc[3], W_dec[3 * 2], b_dec[2]; } foreign; /* d_in 2, d_sae 3, layout of SAELens */

static const foreign F0 = { { 1, 0, -1, 0, 2, 1 }, { .5f, 0, .25f }, { 3, 4, 0, 2, 1, 0 }, { .125f, -.25f } };

static void write_foreign(sl_ctx *ctx, const char *dir, const char *cfg, const foreign *w, sl_dtype dtype)
{
    sl_err err;
    char path[600];
    uint16_t half[6 + 3 + 6 + 2];
    sl_tensor t[4];
    const float *src[] = { w->W_enc, w->b_enc, w->W_dec, w->b_dec };
    const int64_t dim[4][2] = { { 2, 3 }, { 3, 1 }, { 3, 2 }, { 2, 1 } };
    uint16_t *h = half;
    for (int i = 0; i < 4; i++) {
        int64_t n = dim[i][0] * dim[i][1];
        if (dtype != SL_F32)
            sl_from_f32(src[i], dtype, h, n);
        t[i] = sl_tensor_of(dtype, dtype == SL_F32 ? (void *)(uintptr_t)src[i] : h, i % 2 ? 1 : 2, dim[i][0], dim[i][1]);
        h += n;
    }
    snprintf(path, sizeof path, "%s/sae_weights.safetensors", dir);
    sl_assert_ok(sl_safetensors_write(ctx, path, 4, (const char *const[]){ "W_enc", "b_enc", "W_dec", "b_dec" }, t, NULL, &err));
    snprintf(path, sizeof path, "%s/cfg.json", dir);
    sl_assert_ok(sl_file_write(ctx, path, cfg, strlen(cfg), &err));
}

#define CFG(arch, input, more) "{\"d_in\":2,\"d_sae\":3,\"dtype\":\"float32\",\"device\":\"cpu\",\"apply_b_dec_to_input\":" input \
    ",\"normalize_activations\":\"none\",\"reshape_activations\":\"none\",\"metadata\":{\"sae_lens_version\":\"6.18.0\"," \
    "\"model_name\":\"gpt2\",\"hook_name\":\"blocks.8.hook_resid_pre\",\"prepend_bos\":true,\"seqpos_slice\":[null]},\"architecture\":\"" arch "\"" more "}"

/* x = (1, 1). Encodes x with the folder and compares the codes (zeros left out) and the reconstruction. */
static void expect(sl_ctx *ctx, const char *dir, int n, const int32_t *idx, const float *val, const float y[2])
{
    sl_err err;
    sl_sae *s;
    sl_codes z;
    float xhat[2], x[2] = { 1, 1 };
    sl_assert_ok(sl_sae_load(ctx, dir, &s, &err));
    sl_assert_ok(sl_codes_new(ctx, 1, 3, &z, &err));
    sl_assert_ok(sl_sae_encode(s, x, 1, &z, xhat, &err));
    assert_int_equal(z.row_ptr[1], n);
    assert_memory_equal(z.idx, idx, (size_t)n * sizeof *idx);
    sl_assert_close_f32("codes", z.val, val, n, 1e-6, 1e-6);
    sl_assert_close_f32("reconstruction", xhat, y, 2, 1e-6, 1e-6);
    assert_string_equal(sl_sae_about(s).hook, "blocks.8.hook_resid_pre");
    assert_string_equal(sl_sae_about(s).model, "gpt2");
    assert_false(sl_sae_about(s).has_mean);
    sl_codes_release(ctx, &z);
    sl_sae_free(s);
}

static void files_of_saelens(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    const char *dir = sl_test_dir("foreign");
    /* x - b_dec = (.875, 1.25): pre = (.875 + .5, 2.5, -.875 + 1.25 + .25) = (1.375, 2.5, .625) */
    write_foreign(ctx, dir, CFG("standard", "true", ""), &F0, SL_F32);
    expect(ctx, dir, 3, (int32_t[]){ 0, 1, 2 }, (float[]){ 1.375f, 2.5f, .625f }, (float[]){ 1.375f * 3 + .625f + .125f, 1.375f * 4 + 5 - .25f });
    /* without b_dec in the encoder: pre = (1.5, 2, .25) */
    write_foreign(ctx, dir, CFG("standard", "false", ""), &F0, SL_F32);
    expect(ctx, dir, 3, (int32_t[]){ 0, 1, 2 }, (float[]){ 1.5f, 2, .25f }, (float[]){ 4.5f + .25f + .125f, 6 + 4 - .25f });
    write_foreign(ctx, dir, CFG("topk", "true", ",\"k\":1,\"rescale_acts_by_decoder_norm\":false"), &F0, SL_BF16); /* these weights are exact in bf16 */
    expect(ctx, dir, 1, (int32_t[]){ 1 }, (float[]){ 2.5f }, (float[]){ .125f, 5 - .25f });
    /* decoder norms 5, 2, 1: pre |d| = (6.875, 5, .625), so that latent 0 wins; decoded with rows of norm 1 */
    write_foreign(ctx, dir, CFG("topk", "true", ",\"k\":1,\"rescale_acts_by_decoder_norm\":true"), &F0, SL_F16);
    expect(ctx, dir, 1, (int32_t[]){ 0 }, (float[]){ 6.875f }, (float[]){ 6.875f * .6f + .125f, 6.875f * .8f - .25f });
    sl_ctx_free(ctx);
}

static void wrong_files(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    sl_err err;
    sl_sae *s = NULL;
    const char *dir = sl_test_dir("wrong");
    static const struct { const char *cfg; sl_status code; const char *text; } bad[] = {
        { "{\"d_in\":2", SL_DATA, "cfg.json" },
        { "[1]", SL_DATA, "something else" },
        { CFG("temporal", "true", ""), SL_UNAVAILABLE, "\"temporal\"" },
        { CFG("topk", "true", ""), SL_DATA, "\"k\" is missing" },
        { CFG("topk", "true", ",\"k\":\"three\""), SL_DATA, "k" },
        { CFG("topk", "true", ",\"k\":4"), SL_ARG, "4 active latents of 3" },
        { CFG("topk", "true", ",\"k\":[1]"), SL_DATA, "another kind of value" },
        { CFG("standard", "1", ""), SL_DATA, "apply_b_dec_to_input" },
        { "{\"architecture\":\"standard\",\"d_in\":-2,\"d_sae\":3}", SL_DATA, "\"d_in\"" },
        { "{\"architecture\":\"standard\",\"d_in\":2,\"d_sae\":2.5}", SL_DATA, "\"d_sae\"" },
        { "{\"architecture\":\"standard\",\"d_in\":2,\"d_sae\":3,\"normalize_activations\":\"batch_norm\"}", SL_DATA, "\"normalize_activations\" is \"batch_norm\"" },
        { "{\"architecture\":\"standard\",\"d_in\":2,\"d_sae\":3,\"reshape_activations\":\"hook_q\"}", SL_DATA, "\"reshape_activations\" is \"hook_q\"" },
        { "{\"architecture\":\"standard\",\"d_in\":2,\"d_sae\":4}", SL_SHAPE, "W_dec" },
        { "{\"architecture\":\"standard\",\"d_in\":1000000000,\"d_sae\":2000000000}", SL_SHAPE, "W_dec" },
        { "{\"architecture\":\"standard\",\"d_in\":2,\"d_sae\":3,\"metadata\":{\"saelab\":{\"mean\":[1]}}}", SL_DATA, "mean" },
        { "{\"architecture\":\"standard\",\"d_in\":2,\"d_sae\":3,\"metadata\":{\"saelab\":{\"mean\":[1,\"x\"]}}}", SL_DATA, "mean" },
        { "{\"architecture\":\"standard\",\"d_in\":2,\"d_sae\":3,\"metadata\":{\"saelab\":{\"scale\":0}}}", SL_DATA, "scale" },
        { "{\"architecture\":\"standard\",\"d_in\":2,\"d_sae\":3,\"metadata\":{\"saelab\":{\"options\":{\"l1\":-1}}}}", SL_DATA, "l1" },
    };
    sl_assert_fails(sl_sae_load(ctx, dir, &s, &err), SL_MISSING, "cfg.json");
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        write_foreign(ctx, dir, bad[i].cfg, &F0, SL_F32);
        sl_assert_fails(sl_sae_load(ctx, dir, &s, &err), bad[i].code, bad[i].text);
        assert_null(s);
    }
    foreign w = F0;
    w.W_enc[4] = NAN;
    write_foreign(ctx, dir, CFG("standard", "true", ""), &w, SL_F32);
    sl_assert_fails(sl_sae_load(ctx, dir, &s, &err), SL_NUMERIC, "W_enc: latent 1 has a weight of nan");
    write_foreign(ctx, dir, CFG("standard", "true", ""), &F0, SL_F32);
    char path[600], *bytes;
    size_t n;
    snprintf(path, sizeof path, "%s/sae_weights.safetensors", dir);
    sl_assert_ok(sl_file_read(ctx, path, &bytes, &n, &err));
    for (size_t keep = 0; keep < n; keep += 7) {
        sl_assert_ok(sl_file_write(ctx, path, bytes, keep, &err));
        sl_assert_fails(sl_sae_load(ctx, dir, &s, &err), SL_DATA, "sae_weights.safetensors");
    }
    sl_free(ctx, bytes);
    sl_ctx_free(ctx);
}

/* A save that fails on the disk leaves the folder loadable: each file is replaced whole or not at all. */
static void disk_full(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    sl_err err;
    const char *dir = sl_test_dir("full");
    sl_sae *s = trained(ctx, "topk", &(sl_topk_options){ .k = 3 }), *back;
    sl_assert_ok(sl_sae_save(s, dir, &err));
    int failed = 0;
    for (int64_t n = 1; n < 50; n++) {
        sl_io_fail_at(n);
        sl_status st = sl_sae_save(s, dir, &err);
        sl_io_fail_at(0);
        if (st == SL_OK)
            break;
        assert_int_equal(st, SL_IO);
        failed++;
        sl_assert_ok(sl_sae_load(ctx, dir, &back, &err));
        same_codes(ctx, s, back);
        sl_sae_free(back);
    }
    assert_true(failed >= 4 && failed < 49);
    sl_sae_free(s);
    sl_ctx_free(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(topk_reloads), cmocka_unit_test(standard_reloads), cmocka_unit_test(keys_of_saelens), cmocka_unit_test(files_of_saelens),
        cmocka_unit_test(wrong_files), cmocka_unit_test(disk_full),
    };
    return cmocka_run_group_tests_name("sae_files", tests, NULL, NULL);
}
