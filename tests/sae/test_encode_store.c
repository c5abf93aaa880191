/* Codes of a store in a file: what encoding at once gives, whole or not at all. And files of other programs that are wrong. */
#include "files.h"
#include "rows.h"
#include "support.h"

#include "io/io.h"
#include "sae/variant.h"

#include <math.h>
#include <string.h>

enum { N = 5000, D = 6, F = 12 }; /* more rows than one batch */

static sl_err err;
static sl_ctx *ctx;

static sl_sae *load(const char *name)
{
    char path[600];
    sl_sae *s;
    snprintf(path, sizeof path, "tests/goldens/sae_files/%s", name);
    sl_assert_ok(sl_sae_load(ctx, path, &s, &err));
    return s;
}

static void same_as_at_once(void **state)
{
    (void)state;
    static const char *const names[] = { "lens_topk", "lens_jumprelu" };
    for (int i = 0; i < 2; i++) {
        sl_sae *s = load(names[i]);
        rows r;
        sl_codes z;
        sl_dict d;
        sl_sae_encoded e;
        const sl_tensor *t;
        char path[600];
        rows_normal(&r, N, D, .5, 3);
        snprintf(path, sizeof path, "%s/codes.safetensors", sl_test_dir("codes"));
        sl_assert_ok(sl_sae_encode_store(s, &r.src, path, &e, &err));
        sl_assert_ok(sl_codes_new(ctx, N, F, &z, &err));
        sl_assert_ok(sl_sae_encode(s, r.x, N, &z, NULL, &err));
        int64_t nnz = z.row_ptr[N];
        assert_true(nnz > N && e.rows == N && e.nnz == nnz);
        sl_assert_ok(sl_safetensors_read(ctx, path, &d, &err));
        assert_int_equal(d.n, 3);
        sl_assert_ok(sl_dict_need_as(&d, path, "indptr", SL_I64, 1, (const int64_t[]){ N + 1 }, &t, &err));
        sl_assert_same_bits("indptr", t->data, z.row_ptr, (N + 1) * sizeof(int64_t));
        sl_assert_ok(sl_dict_need_as(&d, path, "idx", SL_I32, 1, &nnz, &t, &err));
        sl_assert_same_bits("idx", t->data, z.idx, (size_t)nnz * sizeof(int32_t));
        sl_assert_ok(sl_dict_need_as(&d, path, "val", SL_F32, 1, &nnz, &t, &err));
        sl_assert_same_bits("val", t->data, z.val, (size_t)nnz * sizeof(float));
        assert_string_equal(json_string_value(json_object_get(d.meta, "n_rows")), "5000");
        assert_string_equal(json_string_value(json_object_get(d.meta, "d_sae")), "12");
        sl_dict_release(&d);
        sl_codes_release(ctx, &z);
        rows_release(&r);
        sl_sae_free(s);
    }
}

/* A bad row, a full disk, a cancelled run, another width: an error, and no file. */
static void failures(void **state)
{
    (void)state;
    sl_sae *s = load("lens_topk");
    rows r;
    sl_sae_encoded e;
    char path[600];
    const char *dir = sl_test_dir("fail");
    snprintf(path, sizeof path, "%s/codes.safetensors", dir);
    rows_normal(&r, N, D, 0, 3);
    r.x[4500 * D + 2] = NAN;
    sl_assert_fails(sl_sae_encode_store(s, &r.src, path, &e, &err), SL_NUMERIC, "rows from 4096: ");
    assert_int_equal(count_entries(dir), 0);
    r.x[4500 * D + 2] = 0;
    int failed = 0;
    for (int64_t n = 1; n < 60; n++) {
        sl_io_fail_at(n);
        sl_status st = sl_sae_encode_store(s, &r.src, path, &e, &err);
        sl_io_fail_at(0);
        if (st == SL_OK)
            break;
        assert_int_equal(st, SL_IO);
        assert_int_equal(count_entries(dir), 0);
        failed++;
    }
    assert_true(failed > 5 && failed < 59);
    assert_int_equal(count_entries(dir), 1);
    rows_release(&r);
    rows_normal(&r, 10, D + 1, 0, 3);
    sl_assert_fails(sl_sae_encode_store(s, &r.src, path, &e, &err), SL_SHAPE, "rows of 7, and the SAE takes 6");
    rows_release(&r);
    sl_sae_free(s);
}

/* ---- files that are wrong ---- */

static void copy_case(const char *name, const char *file, const char *dir)
{
    char from[700], to[700], *data;
    size_t n;
    snprintf(from, sizeof from, "tests/goldens/sae_files/%s/%s", name, file);
    snprintf(to, sizeof to, "%s/%s", dir, file);
    sl_assert_ok(sl_file_read(ctx, from, &data, &n, &err));
    put_file(to, data, n);
    sl_free(ctx, data);
}

static void put_text(const char *dir, const char *file, const char *text)
{
    char path[700];
    snprintf(path, sizeof path, "%s/%s", dir, file);
    put_file(path, text, strlen(text));
}

#define SPARSIFY(more) "{\"activation\":\"topk\",\"expansion_factor\":2,\"num_latents\":0,\"d_in\":6," more "}"

static void wrong_texts(void **state)
{
    (void)state;
    static const struct { const char *name, *weights, *cfg, *text; sl_status code; const char *what; } bad[] = {
        { "sparsify_topk", "sae.safetensors", "cfg.json", SPARSIFY("\"k\":3,\"multi_topk\":1"), SL_DATA, "'multi_topk' has a wrong value" },
        { "sparsify_topk", "sae.safetensors", "cfg.json", SPARSIFY("\"transcode\":false"), SL_DATA, "\"k\" is missing" },
        { "sparsify_topk", "sae.safetensors", "cfg.json", SPARSIFY("\"k\":-1"), SL_DATA, "k" },
        { "sparsify_topk", "sae.safetensors", "cfg.json", SPARSIFY("\"k\":30"), SL_ARG, "30 active latents of 12" },
        { "sparsify_topk", "sae.safetensors", "cfg.json", SPARSIFY("\"k\":3,\"skip_connection\":true"), SL_MISSING, "has no tensor 'W_skip'" },
        { "sparsify_skip", "sae.safetensors", "cfg.json", SPARSIFY("\"k\":3"), SL_DATA, "there is a tensor 'W_skip'" },
        { "sparsify_topk", "sae.safetensors", "cfg.json", "{\"activation\":\"groupmax\",\"expansion_factor\":2,\"d_in\":6,\"k\":3}", SL_UNAVAILABLE, "activation \"groupmax\"" },
        { "sparsify_topk", "sae.safetensors", "cfg.json", "{\"d_in\":6,\"num_latents\":13,\"k\":3}", SL_SHAPE, "expected shape [13, 6]" },
        { "sparsify_topk", "sae.safetensors", "cfg.json", "{\"d_in\":600000000,\"num_latents\":2000000000,\"k\":3}", SL_SHAPE, "W_dec" },
        { "sparsify_topk", "sae.safetensors", "cfg.json", "{\"d_in\":6", SL_DATA, "cfg.json" },
        { "dl_topk", "ae.pt", "config.json", "{\"trainer\":{\"dict_class\":\"IdentityDict\"}}", SL_UNAVAILABLE, "class \"IdentityDict\" cannot be read" },
        { "dl_topk", "ae.pt", "config.json", "{\"trainer\":{\"dict_class\":\"GatedAutoEncoder\"}}", SL_MISSING, "has no tensor 'r_mag'" },
        { "dl_topk", "ae.pt", "config.json", "{\"trainer\":{\"dict_class\":\"MatryoshkaBatchTopKSAE\"}}", SL_DATA, "'group_sizes' is missing" },
        { "dl_standard", "ae.pt", "config.json", "{\"trainer\":{\"dict_class\":\"AutoEncoderTopK\"}}", SL_DATA, "the tensor 'k' is missing" },
        { "dl_standard", "ae.pt", "config.json", "[", SL_DATA, "config.json" },
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        sl_sae *s;
        const char *dir = sl_test_dir("wrong");
        copy_case(bad[i].name, bad[i].weights, dir);
        put_text(dir, bad[i].cfg, bad[i].text);
        sl_assert_fails(sl_sae_load(ctx, dir, &s, &err), bad[i].code, bad[i].what);
        assert_null(s);
    }
}

/* A pickle that calls, a params.npz of whole numbers, of a wrong shape, with NaN; every one of them cut. */
static void wrong_weights(void **state)
{
    (void)state;
    sl_sae *s;
    const char *dir = sl_test_dir("weights");
    char path[700], *data;
    size_t n;
    sl_assert_ok(sl_file_read(ctx, "tests/goldens/torch/evil.pt", &data, &n, &err));
    snprintf(path, sizeof path, "%s/ae.pt", dir);
    put_file(path, data, n);
    sl_free(ctx, data);
    sl_assert_fails(sl_sae_load(ctx, dir, &s, &err), SL_DATA, "wants to call 'posix.system', which is refused");
    static float W[6], b[3] = { 0, 0, NAN }, zero[3];
    static int32_t whole[6];
    static const char *const names[] = { "W_enc", "W_dec", "b_enc", "b_dec", "threshold" };
    sl_tensor t[] = { sl_tensor_of(SL_F32, W, 2, (int64_t)2, (int64_t)3), sl_tensor_of(SL_F32, W, 2, (int64_t)3, (int64_t)2), sl_tensor_of(SL_F32, b, 1, (int64_t)3),
                      sl_tensor_of(SL_F32, zero, 1, (int64_t)2), sl_tensor_of(SL_F32, zero, 1, (int64_t)3) };
    dir = sl_test_dir("npz");
    snprintf(path, sizeof path, "%s/params.npz", dir);
    sl_assert_ok(sl_npz_write(ctx, path, 5, names, t, &err));
    sl_assert_fails(sl_sae_load(ctx, dir, &s, &err), SL_NUMERIC, "b_enc: latent 2 has a weight of nan");
    t[2].data = zero;
    t[3].dim[0] = 1;
    sl_assert_ok(sl_npz_write(ctx, path, 5, names, t, &err));
    sl_assert_fails(sl_sae_load(ctx, dir, &s, &err), SL_SHAPE, "'b_dec' has shape [1]");
    t[3].dim[0] = 2;
    t[0] = sl_tensor_of(SL_I32, whole, 2, (int64_t)2, (int64_t)3);
    sl_assert_ok(sl_npz_write(ctx, path, 5, names, t, &err));
    sl_assert_fails(sl_sae_load(ctx, dir, &s, &err), SL_SHAPE, "'W_enc' has dtype I32");
    t[0] = sl_tensor_of(SL_F32, W, 2, (int64_t)2, (int64_t)3);
    sl_assert_ok(sl_npz_write(ctx, path, 5, names, t, &err));
    sl_assert_ok(sl_sae_load(ctx, dir, &s, &err));
    assert_non_null(s);
    sl_sae_free(s);
    sl_assert_ok(sl_npz_write(ctx, path, 4, names, t, &err));
    sl_assert_fails(sl_sae_load(ctx, dir, &s, &err), SL_MISSING, "has no tensor 'threshold'");
    sl_assert_fails(sl_npz_write(ctx, path, 2, (const char *const[]){ "a", "a" }, t, &err), SL_ARG, "names that differ");
    assert_int_equal(count_entries(dir), 1);
}

static int start(void **state) { (void)state; ctx = sl_ctx_new(&(sl_ctx_opts){ .n_threads = 1 }); return ctx ? 0 : -1; }
static int stop(void **state) { (void)state; sl_ctx_free(ctx); return 0; }

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_as_at_once), cmocka_unit_test(failures), cmocka_unit_test(wrong_texts), cmocka_unit_test(wrong_weights),
    };
    return cmocka_run_group_tests_name("sae_encode_store", tests, start, stop);
}
