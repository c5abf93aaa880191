/* Shapes and number formats. */
#include "support.h"

#include <saelab/rng.h>

#include <math.h>
#include <string.h>

static void shapes(void **state)
{
    (void)state;
    sl_tensor t = sl_tensor_of(SL_BF16, NULL, 3, (int64_t)2, (int64_t)3, (int64_t)5), s = sl_tensor_of(SL_F64, NULL, 0), u = t;
    char text[64];
    assert_int_equal(sl_numel(&t), 30);
    assert_int_equal(sl_nbytes(&t), 60);
    assert_int_equal(sl_rows(&t), 6);
    assert_int_equal(sl_cols(&t), 5);
    assert_int_equal(t.dim[3], 1);
    sl_shape_text(&t, text);
    assert_string_equal(text, "[2, 3, 5]");
    assert_int_equal(sl_numel(&s), 1);
    assert_int_equal(sl_rows(&s), 1);
    assert_int_equal(sl_cols(&s), 1);
    sl_shape_text(&s, text);
    assert_string_equal(text, "[]");
    assert_true(sl_same_shape(&t, &u));
    u.dim[1] = 4;
    assert_false(sl_same_shape(&t, &u));
    assert_false(sl_same_shape(&t, &s));
}

static void long_shape_is_cut(void **state)
{
    (void)state;
    int64_t d = 1000000000000000000;
    sl_tensor t = sl_tensor_of(SL_U8, NULL, 4, d, d, d, d);
    char text[65];
    text[64] = 'x';
    sl_shape_text(&t, text);
    assert_true(memchr(text, 0, 64) != NULL);
    assert_int_equal(text[64], 'x');
}

static void dtypes(void **state)
{
    (void)state;
    static const struct { sl_dtype dtype; const char *name; size_t size; } want[] = {
        { SL_F32, "F32", 4 }, { SL_F64, "F64", 8 }, { SL_F16, "F16", 2 }, { SL_BF16, "BF16", 2 }, { SL_I8, "I8", 1 },
        { SL_U8, "U8", 1 },   { SL_U16, "U16", 2 }, { SL_I32, "I32", 4 }, { SL_I64, "I64", 8 },   { SL_BOOL, "BOOL", 1 },
    };
    assert_int_equal(sizeof want / sizeof *want, SL_N_DTYPE);
    for (int i = 0; i < SL_N_DTYPE; i++) {
        assert_string_equal(sl_dtype_name(want[i].dtype), want[i].name);
        assert_int_equal(sl_dtype_size(want[i].dtype), want[i].size);
    }
}

typedef float (*widen_fn)(uint16_t);
typedef uint16_t (*narrow_fn)(float);

/* Every 16-bit number comes back; NaN stays NaN. */
static void round_trip(const char *name, widen_fn widen, narrow_fn narrow)
{
    for (uint32_t h = 0; h < 65536; h++) {
        float f = widen((uint16_t)h);
        uint16_t back = narrow(f);
        if (isnan(f) ? !isnan(widen(back)) : back != h)
            fail_msg("%s: %04x -> %.9g -> %04x", name, h, (double)f, back);
    }
}

/* The nearest number, found without knowing the rounding code: of the two neighbours the nearer one, of two equally near ones
 * the even one. inf: bits of infinity, reached from half a step beyond the largest finite number. */
static void nearest(const char *name, widen_fn widen, narrow_fn narrow, uint16_t inf, double largest, double step)
{
    sl_rng r = sl_rng_at(1, SL_RNG_TEST, 0, 0);
    for (int i = 0; i < 200000; i++) {
        uint32_t h = (uint32_t)sl_rng_below(&r, inf); /* [low, high]: neighbours; high may be infinity */
        double low = (double)widen((uint16_t)h), high = h + 1 == inf ? largest + step : (double)widen((uint16_t)(h + 1));
        double at = i % 3 == 0 ? .5 : sl_rng_uniform(&r); /* a third are ties */
        float f = (float)(low + at * (high - low));
        if ((double)f < low || (double)f > high)
            continue;
        double below = (double)f - low, above = high - (double)f;
        uint32_t want = below < above || (below == above && h % 2 == 0) ? h : h + 1;
        if (narrow(f) != want || narrow(-f) != (want | 0x8000))
            fail_msg("%s: %.9g gave %04x, expected %04x", name, (double)f, narrow(f), want);
    }
}

static void bf16(void **state)
{
    (void)state;
    round_trip("bf16", sl_bf16_to_f32, sl_f32_to_bf16);
    nearest("bf16", sl_bf16_to_f32, sl_f32_to_bf16, 0x7f80, 0x1.fep127, 0x1p120);
    assert_int_equal(sl_f32_to_bf16(1.0f), 0x3f80);
    assert_int_equal(sl_f32_to_bf16(INFINITY), 0x7f80);
    uint32_t low_payload = 0x7f800001;
    float f;
    memcpy(&f, &low_payload, sizeof f);
    assert_true(isnan(sl_bf16_to_f32(sl_f32_to_bf16(f))));
}

static void f16(void **state)
{
    (void)state;
    round_trip("f16", sl_f16_to_f32, sl_f32_to_f16);
    nearest("f16", sl_f16_to_f32, sl_f32_to_f16, 0x7c00, 65504, 32);
    assert_int_equal(sl_f32_to_f16(1.0f), 0x3c00);
    assert_int_equal(sl_f32_to_f16(-2.0f), 0xc000);
    assert_int_equal(sl_f32_to_f16(65504.0f), 0x7bff);
    assert_int_equal(sl_f32_to_f16(65519.0f), 0x7bff);
    assert_int_equal(sl_f32_to_f16(65520.0f), 0x7c00);
    assert_int_equal(sl_f32_to_f16(INFINITY), 0x7c00);
    assert_int_equal(sl_f32_to_f16(0x1p-24f), 1);
    assert_int_equal(sl_f32_to_f16(0x1p-25f), 0); /* a tie, to even */
    assert_int_equal(sl_f32_to_f16(-0.0f), 0x8000);
    assert_true(sl_f16_to_f32(0x3555) == 0x1.554p-2f);
    uint32_t low_payload = 0x7f800001;
    float f;
    memcpy(&f, &low_payload, sizeof f);
    assert_true(isnan(sl_f16_to_f32(sl_f32_to_f16(f))));
}

static void arrays(void **state)
{
    (void)state;
    const float in[5] = { 0, 1, -1.5f, 1e30f, 0.1f };
    static const sl_dtype dtype[] = { SL_F32, SL_F64, SL_F16, SL_BF16 };
    for (int i = 0; i < 4; i++) {
        double store[5];
        float back[5];
        sl_from_f32(in, dtype[i], store, 5);
        sl_to_f32(store, dtype[i], back, 5);
        for (int j = 0; j < 5; j++) {
            float want = dtype[i] == SL_F16 ? sl_f16_to_f32(sl_f32_to_f16(in[j])) : dtype[i] == SL_BF16 ? sl_bf16_to_f32(sl_f32_to_bf16(in[j])) : in[j];
            assert_true(back[j] == want);
        }
    }
    double d[5];
    sl_from_f32(in, SL_F64, d, 5);
    assert_true(d[2] == -1.5 && d[4] == (double)0.1f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shapes), cmocka_unit_test(long_shape_is_cut), cmocka_unit_test(dtypes),
        cmocka_unit_test(bf16), cmocka_unit_test(f16), cmocka_unit_test(arrays),
    };
    return cmocka_run_group_tests_name("kern_tensor", tests, NULL, NULL);
}
