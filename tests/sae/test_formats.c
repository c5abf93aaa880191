/* SAEs of other programs: each folder of goldens/sae_files, written by the program itself or by its formulas (make_sae_files.py), gives the
 * same codes and reconstructions; and what is written for others reads back the same. */
#include "files.h"
#include "rows.h"
#include "support.h"

#include "io/io.h"
#include "sae/variant.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { N = 5, D = 6, F = 12 };

static sl_err err;
static sl_ctx *ctx;

/* Encodes x with the SAE into dense codes [N, F]. */
static void encode(sl_sae *s, const float *x, float *dense, float *xhat)
{
    sl_codes z;
    sl_assert_ok(sl_codes_new(ctx, N, sl_sae_about(s).max_active, &z, &err));
    sl_assert_ok(sl_sae_encode(s, x, N, &z, xhat, &err));
    memset(dense, 0, N * F * sizeof *dense);
    for (int r = 0; r < N; r++)
        for (int64_t i = z.row_ptr[r]; i < z.row_ptr[r + 1]; i++)
            dense[r * F + z.idx[i]] = z.val[i];
    sl_codes_release(ctx, &z);
}

static const float *need(const sl_dict *d, const char *name, int64_t cols)
{
    const sl_tensor *t;
    sl_assert_ok(sl_dict_need_as(d, "expected.safetensors", name, SL_F32, 2, (const int64_t[]){ N, cols }, &t, &err));
    return t->data;
}

static const struct { const char *name, *format, *variant, *note; int64_t d_out; } CASES[] = {
    { "lens_standard", "saelens", "standard", NULL, D },
    { "lens_standard_whole", "saelens", "standard", NULL, D },
    { "lens_layer_norm", "saelens", "standard", NULL, D },
    { "lens_rescale_bf16", "saelens", "standard", NULL, D },
    { "lens_average", "saelens", "standard", "norm: trained on activations times a factor", D },
    { "lens_topk", "saelens", "topk", NULL, D },
    { "lens_topk_rescaled", "saelens", "topk", NULL, D },
    { "lens_jumprelu", "saelens", "jumprelu", NULL, D },
    { "lens_gated", "saelens", "gated", NULL, D },
    { "lens_transcoder", "saelens", "transcoder", NULL, 4 },
    { "lens_skip_transcoder", "saelens", "skip_transcoder", NULL, 4 },
    { "lens_batchtopk", "saelens", "batchtopk", NULL, D },
    { "lens_matryoshka", "saelens", "matryoshka", NULL, D },
    { "old_standard", "saelens", "standard", NULL, D },
    { "old_topk", "saelens", "topk", NULL, D },
    { "old_finetuned", "saelens", "standard", NULL, D },
    { "sparsify_topk", "sparsify", "topk", NULL, D },
    { "sparsify_skip", "sparsify", "skip_transcoder", NULL, D },
    { "dl_standard", "dictionary_learning", "standard", NULL, D },
    { "dl_standard_free", "dictionary_learning", "standard", "norm: rows of the decoder have other norms than 1", D },
    { "dl_new", "dictionary_learning", "standard", NULL, D },
    { "dl_topk", "dictionary_learning", "topk", NULL, D },
    { "dl_topk_unnamed", "dictionary_learning", "topk", "k or threshold: no config.json names the class", D },
    { "dl_batchtopk", "dictionary_learning", "batchtopk", NULL, D },
    { "dl_matryoshka", "dictionary_learning", "matryoshka", NULL, D },
    { "dl_jumprelu", "dictionary_learning", "jumprelu", NULL, D },
    { "dl_gated", "dictionary_learning", "gated", NULL, D },
    { "gemma", "npz", "jumprelu", NULL, D },
    { "gemma_lower", "npz", "jumprelu", NULL, D },
};

static void load_case(const char *name, sl_sae **s, sl_dict *want)
{
    char path[600];
    snprintf(path, sizeof path, "tests/goldens/sae_files/%s/expected.safetensors", name);
    sl_assert_ok(sl_safetensors_read(ctx, path, want, &err));
    snprintf(path, sizeof path, "tests/goldens/sae_files/%s", name);
    sl_assert_ok(sl_sae_load(ctx, path, s, &err));
}

static void read_others(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        sl_sae *s;
        sl_dict want;
        float codes[N * F], xhat[N * D];
        load_case(CASES[i].name, &s, &want);
        sl_sae_info about = sl_sae_about(s);
        if (strcmp(about.variant, CASES[i].variant) || strcmp(about.format, CASES[i].format) || about.d_out != CASES[i].d_out || about.d_in != D || about.d_sae != F)
            fail_msg("%s: a %s of %s, %lld outputs", CASES[i].name, about.variant, about.format, (long long)about.d_out);
        const char *note = sl_sae_note(s, 0);
        if (CASES[i].note ? !note || !strstr(note, CASES[i].note) : note != NULL)
            fail_msg("%s: note '%s'", CASES[i].name, note ? note : "none");
        encode(s, need(&want, "x", D), codes, xhat);
        sl_assert_close_f32(CASES[i].name, codes, need(&want, "codes", F), N * F, 2e-6, 2e-5);
        sl_assert_close_f32(CASES[i].name, xhat, need(&want, "xhat", about.d_out), N * about.d_out, 4e-6, 2e-5);
        sl_dict_release(&want);
        sl_sae_free(s);
    }
}

static void descriptions(void **state)
{
    (void)state;
    static const struct { const char *name, *hook, *model; } is[] = {
        { "lens_topk", "blocks.3.hook_resid_pre", "gpt2" }, { "old_standard", "blocks.3.hook_resid_pre", "gpt2-small" },
        { "dl_topk", "blocks.3.hook_resid_post", "EleutherAI/pythia-70m" }, { "sparsify_topk", "sparsify_topk", "" },
    };
    for (size_t i = 0; i < sizeof is / sizeof *is; i++) {
        sl_sae *s;
        sl_dict want;
        load_case(is[i].name, &s, &want);
        assert_string_equal(sl_sae_about(s).hook, is[i].hook);
        assert_string_equal(sl_sae_about(s).model, is[i].model);
        sl_dict_release(&want);
        sl_sae_free(s);
    }
}

/* A file may be named instead of its folder. */
static void by_file(void **state)
{
    (void)state;
    sl_sae *s;
    sl_assert_ok(sl_sae_load(ctx, "tests/goldens/sae_files/dl_gated/ae.pt", &s, &err));
    sl_sae_free(s);
    sl_assert_ok(sl_sae_load(ctx, "tests/goldens/sae_files/gemma/params.npz", &s, &err));
    sl_sae_free(s);
    sl_assert_fails(sl_sae_load(ctx, "tests/goldens", &s, &err), SL_MISSING, "holds no SAE");
}

/* Everything that was read is written as SAELens's and read again: the same codes bit for bit. */
static void through_saelens(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        sl_sae *s, *back;
        sl_dict want;
        float codes[2][N * F], xhat[2][N * D];
        const char *dir = sl_test_dir("through");
        load_case(CASES[i].name, &s, &want);
        sl_assert_ok(sl_sae_convert(s, "saelens", dir, &err));
        sl_assert_ok(sl_sae_load(ctx, dir, &back, &err));
        assert_string_equal(sl_sae_about(s).variant, sl_sae_about(back).variant);
        encode(s, need(&want, "x", D), codes[0], xhat[0]);
        encode(back, need(&want, "x", D), codes[1], xhat[1]);
        sl_assert_same_bits(CASES[i].name, codes[1], codes[0], sizeof codes[0]);
        sl_assert_same_bits(CASES[i].name, xhat[1], xhat[0], (size_t)(N * CASES[i].d_out) * sizeof(float));
        sl_sae_print a, b;
        sl_assert_ok(sl_sae_fingerprint(s, &a, &err));
        sl_assert_ok(sl_sae_fingerprint(back, &b, &err));
        assert_string_equal(a.text, b.text);
        sl_dict_release(&want);
        sl_sae_free(s);
        sl_sae_free(back);
    }
}

/* From a case to a format and back; text: what the error says when that format cannot. */
static const struct { const char *name, *format, *variant, *text; } CONVERT[] = {
    { "lens_topk_rescaled", "sparsify", "topk", NULL },
    { "sparsify_skip", "sparsify", "skip_transcoder", NULL },
    { "lens_gated", "sparsify", NULL, "sparsify has no 'gated'" },
    { "lens_batchtopk", "sparsify", NULL, "sparsify has no 'batchtopk'" },
    { "lens_transcoder", "sparsify", NULL, "sparsify has no 'transcoder'" },
    { "lens_jumprelu", "npz", "jumprelu", NULL },
    { "lens_standard", "npz", "jumprelu", NULL },
    { "lens_batchtopk", "npz", "jumprelu", NULL },
    { "gemma", "npz", "jumprelu", NULL },
    { "lens_topk", "npz", NULL, "a JumpReLU, which 'topk' is not" },
    { "lens_layer_norm", "npz", NULL, "a JumpReLU, which 'standard' is not" },
    { "lens_gated", "npz", NULL, "a JumpReLU, which 'gated' is not" },
};

static void convert(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof CONVERT / sizeof *CONVERT; i++) {
        sl_sae *s, *back;
        sl_dict want;
        float codes[N * F], xhat[N * D];
        const char *dir = sl_test_dir("convert");
        load_case(CONVERT[i].name, &s, &want);
        if (CONVERT[i].text) {
            sl_assert_fails(sl_sae_convert(s, CONVERT[i].format, dir, &err), SL_UNAVAILABLE, CONVERT[i].text);
            assert_int_equal(count_entries(dir), 0);
        } else {
            sl_assert_ok(sl_sae_convert(s, CONVERT[i].format, dir, &err));
            sl_assert_ok(sl_sae_load(ctx, dir, &back, &err));
            assert_string_equal(sl_sae_about(back).variant, CONVERT[i].variant);
            assert_string_equal(sl_sae_about(back).format, CONVERT[i].format);
            encode(back, need(&want, "x", D), codes, xhat);
            sl_assert_close_f32(CONVERT[i].name, codes, need(&want, "codes", F), N * F, 4e-6, 2e-5);
            sl_assert_close_f32(CONVERT[i].name, xhat, need(&want, "xhat", D), N * D, 4e-6, 2e-5);
            sl_sae_free(back);
        }
        sl_dict_release(&want);
        sl_sae_free(s);
    }
    sl_sae *s;
    sl_assert_ok(sl_sae_load(ctx, "tests/goldens/sae_files/gemma", &s, &err));
    sl_assert_fails(sl_sae_convert(s, "onnx", sl_test_dir("onnx"), &err), SL_ARG, "'onnx' cannot be written");
    sl_codes z;
    sl_assert_ok(sl_codes_new(ctx, 1, F, &z, &err));
    sl_sae_free(s);
    sl_assert_ok(sl_sae_load(ctx, "tests/goldens/sae_files/lens_layer_norm", &s, &err));
    float y[D];
    sl_assert_fails(sl_sae_decode(s, &z, 1, y, &err), SL_UNAVAILABLE, "normalises each row");
    sl_codes_release(ctx, &z);
    sl_sae_free(s);
}

/* The fingerprint is what encoding the probe by hand gives. */
static void fingerprint(void **state)
{
    (void)state;
    sl_sae *s;
    sl_dict want;
    float x[N * D] = { 0 }, codes[N * F], xhat[N * D];
    double norm = 0, dot = 0;
    int64_t l0 = 0;
    sl_sae_print p;
    load_case("lens_topk", &s, &want);
    for (int j = 0; j < D; j++)
        x[j] = (float)(sqrt(2) * sin(j + 1));
    encode(s, x, codes, xhat);
    for (int j = 0; j < D; j++) {
        norm += (double)xhat[j] * (double)xhat[j];
        dot += (double)xhat[j] * sqrt(2) * sin(j + 1);
    }
    for (int f = 0; f < F; f++)
        l0 += codes[f] > 0;
    sl_assert_ok(sl_sae_fingerprint(s, &p, &err));
    assert_int_equal(p.l0, l0);
    sl_assert_close_f64("norm", &p.norm, &(double){ sqrt(norm) }, 1, 1e-9, 1e-9);
    sl_assert_close_f64("dot", &p.dot, &dot, 1, 1e-9, 1e-9);
    assert_non_null(strstr(p.text, "l0 "));
    sl_dict_release(&want);
    sl_sae_free(s);
}

static int start(void **state) { (void)state; ctx = sl_ctx_new(&(sl_ctx_opts){ .n_threads = 1 }); return ctx ? 0 : -1; }
static int stop(void **state) { (void)state; sl_ctx_free(ctx); return 0; }

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(read_others), cmocka_unit_test(descriptions), cmocka_unit_test(by_file), cmocka_unit_test(through_saelens),
        cmocka_unit_test(convert), cmocka_unit_test(fingerprint),
    };
    return cmocka_run_group_tests_name("sae_formats", tests, start, stop);
}
