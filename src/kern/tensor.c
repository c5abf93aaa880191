/* Shapes of tensors and conversions between number formats. */
#include <saelab/tensor.h>

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct { const char *name; size_t size; } dtypes[SL_N_DTYPE] = {
    [SL_F32] = { "F32", 4 }, [SL_F64] = { "F64", 8 }, [SL_F16] = { "F16", 2 }, [SL_BF16] = { "BF16", 2 },
    [SL_I8] = { "I8", 1 },   [SL_U8] = { "U8", 1 },   [SL_U16] = { "U16", 2 }, [SL_I32] = { "I32", 4 },
    [SL_I64] = { "I64", 8 }, [SL_BOOL] = { "BOOL", 1 },
};

size_t sl_dtype_size(sl_dtype dtype)
{
    assert((unsigned)dtype < SL_N_DTYPE);
    return dtypes[dtype].size;
}

const char *sl_dtype_name(sl_dtype dtype)
{
    assert((unsigned)dtype < SL_N_DTYPE);
    return dtypes[dtype].name;
}

sl_tensor sl_tensor_of(sl_dtype dtype, void *data, int n_dim, ...)
{
    assert(n_dim >= 0 && n_dim <= SL_MAX_DIM);
    sl_tensor t = { .data = data, .dim = { 1, 1, 1, 1 }, .n_dim = n_dim, .dtype = dtype };
    va_list ap;
    va_start(ap, n_dim);
    for (int i = 0; i < n_dim; i++) {
        t.dim[i] = va_arg(ap, int64_t);
        assert(t.dim[i] >= 0);
    }
    va_end(ap);
    return t;
}

int64_t sl_numel(const sl_tensor *t) { return sl_rows(t) * sl_cols(t); }
size_t sl_nbytes(const sl_tensor *t) { return (size_t)sl_numel(t) * sl_dtype_size(t->dtype); }
int64_t sl_cols(const sl_tensor *t) { return t->n_dim ? t->dim[t->n_dim - 1] : 1; }

int64_t sl_rows(const sl_tensor *t)
{
    int64_t n = 1;
    for (int i = 0; i + 1 < t->n_dim; i++)
        n *= t->dim[i];
    return n;
}

bool sl_same_shape(const sl_tensor *a, const sl_tensor *b)
{
    if (a->n_dim != b->n_dim)
        return false;
    for (int i = 0; i < a->n_dim; i++)
        if (a->dim[i] != b->dim[i])
            return false;
    return true;
}

void sl_shape_text(const sl_tensor *t, char out[64])
{
    size_t n = (size_t)snprintf(out, 64, "[");
    for (int i = 0; i < t->n_dim && n < 64; i++)
        n += (size_t)snprintf(out + n, 64 - n, "%s%lld", i ? ", " : "", (long long)t->dim[i]);
    if (n < 63)
        snprintf(out + n, 64 - n, "]");
}

/* ---- number formats ---- */

static uint32_t bits_of(float f)
{
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return u;
}

static float float_of(uint32_t u)
{
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

float sl_bf16_to_f32(uint16_t h) { return float_of((uint32_t)h << 16); }

uint16_t sl_f32_to_bf16(float f)
{
    uint32_t u = bits_of(f);
    if ((u & 0x7fffffffu) > 0x7f800000u)
        return (uint16_t)(u >> 16 | 0x40); /* quiet, or a payload in the low half would become infinity */
    return (uint16_t)((u + 0x7fffu + (u >> 16 & 1)) >> 16);
}

float sl_f16_to_f32(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000u) << 16, exponent = h >> 10 & 0x1f, fraction = h & 0x3ffu;
    if (exponent == 0x1f)
        return float_of(sign | 0x7f800000u | fraction << 13);
    if (exponent == 0) { /* subnormal: fraction * 2^-24, exact in f32 */
        float f = (float)fraction * 0x1p-24f;
        return sign ? -f : f;
    }
    return float_of(sign | (exponent + 112) << 23 | fraction << 13);
}

uint16_t sl_f32_to_f16(float f)
{
    uint32_t u = bits_of(f), sign = u >> 16 & 0x8000u, mag = u & 0x7fffffffu;
    if (mag > 0x7f800000u)
        return (uint16_t)(sign | 0x7e00u | (mag >> 13 & 0x1ffu));
    if (mag >= 0x477ff000u) /* 65520 and above round to infinity */
        return (uint16_t)(sign | 0x7c00u);
    if (mag < 0x38800000u) { /* below 2^-14: adding 1/2 makes the FPU round to multiples of 2^-24, ties to even */
        uint32_t sub = bits_of(float_of(mag) + 0.5f) - bits_of(0.5f);
        return (uint16_t)(sign | sub);
    }
    return (uint16_t)(sign | ((mag - (112u << 23) + 0xfffu + (mag >> 13 & 1)) >> 13));
}

void sl_to_f32(const void *src, sl_dtype dtype, float *dst, int64_t n)
{
    assert(dtype == SL_F32 || dtype == SL_F64 || dtype == SL_F16 || dtype == SL_BF16);
    const double *d = src;
    const uint16_t *h = src;
    if (dtype == SL_F32)
        memcpy(dst, src, (size_t)n * sizeof *dst);
    else if (dtype == SL_F64)
        for (int64_t i = 0; i < n; i++)
            dst[i] = (float)d[i];
    else if (dtype == SL_F16)
        for (int64_t i = 0; i < n; i++)
            dst[i] = sl_f16_to_f32(h[i]);
    else
        for (int64_t i = 0; i < n; i++)
            dst[i] = sl_bf16_to_f32(h[i]);
}

void sl_from_f32(const float *src, sl_dtype dtype, void *dst, int64_t n)
{
    assert(dtype == SL_F32 || dtype == SL_F64 || dtype == SL_F16 || dtype == SL_BF16);
    double *d = dst;
    uint16_t *h = dst;
    if (dtype == SL_F32)
        memcpy(dst, src, (size_t)n * sizeof *src);
    else if (dtype == SL_F64)
        for (int64_t i = 0; i < n; i++)
            d[i] = (double)src[i];
    else if (dtype == SL_F16)
        for (int64_t i = 0; i < n; i++)
            h[i] = sl_f32_to_f16(src[i]);
    else
        for (int64_t i = 0; i < n; i++)
            h[i] = sl_f32_to_bf16(src[i]);
}
