/* Inputs and records of the cases. */
#include "cases.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* tails and multiples of vector widths, one inner step, and one that is large enough for several threads */
static const kshape kshapes[N_SHAPE] = {
    { 1, 1, 1, 1, 1, 2, 1 },     { 7, 8, 7, 2, 7, 4, 1 },     { 63, 65, 33, 1, 63, 8, 3 },
    { 65, 63, 64, 2, 65, 6, 2 }, { 64, 128, 32, 4, 16, 32, 4 }, { 130, 129, 71, 3, 33, 16, 4 },
};

void kt_begin(krun *r, const sl_kern *k, int shape, uint64_t seed)
{
    *r = (krun){ .k = k, .s = kshapes[shape], .unaligned = shape % 2, .rng = sl_rng_at(seed, SL_RNG_TEST, 0, (uint64_t)shape) };
}

void kt_end(krun *r)
{
    for (int i = 0; i < r->n_block; i++)
        free(r->block[i]);
    free(r->out);
}

static void *block(krun *r, size_t bytes, size_t offset)
{
    assert_true(r->n_block < MAX_BLOCK);
    char *p = malloc(bytes + offset ? bytes + offset : 1);
    assert_non_null(p);
    r->block[r->n_block++] = p;
    return p + offset;
}

static sl_tensor tensor(krun *r, sl_dtype dtype, int64_t a, int64_t b, int64_t c)
{
    sl_tensor t = sl_tensor_of(dtype, NULL, c ? 3 : b ? 2 : 1, a, b, c);
    t.data = block(r, sl_nbytes(&t), r->unaligned ? sl_dtype_size(dtype) : 0);
    return t;
}

static void set(sl_tensor *t, int64_t i, double v)
{
    if (t->dtype == SL_F32)
        ((float *)t->data)[i] = (float)v;
    else
        ((double *)t->data)[i] = (double)(float)v;
}

sl_tensor kt_random(krun *r, int64_t a, int64_t b, int64_t c)
{
    sl_tensor t = tensor(r, r->k->dtype, a, b, c);
    int64_t n = sl_numel(&t);
    uint64_t bits = 0;
    for (int64_t i = 0; i < n; i++) { /* 16 bits an element: drawing is most of this test's time */
        bits = i % 4 ? bits >> 16 : sl_rng_u64(&r->rng);
        double lane = (double)(bits & 0xffff);
        set(&t, i, bits % 8 ? (lane - 32767.5) / 32768 * 1.7320508075688772 : 0);
    }
    return t;
}

sl_tensor kt_nan(krun *r, int64_t a, int64_t b, int64_t c)
{
    sl_tensor t = tensor(r, r->k->dtype, a, b, c);
    for (int64_t i = 0; i < sl_numel(&t); i++)
        set(&t, i, NAN);
    return t;
}

sl_tensor kt_ids(krun *r, int64_t a, int64_t b, int64_t below, bool some_negative)
{
    sl_tensor t = tensor(r, SL_I32, a, b, 0);
    for (int64_t i = 0; i < sl_numel(&t); i++) {
        int32_t id = (int32_t)sl_rng_below(&r->rng, (uint64_t)below);
        ((int32_t *)t.data)[i] = some_negative && sl_rng_below(&r->rng, 5) == 0 ? -1 : id;
    }
    return t;
}

sl_csr kt_csr(krun *r, int64_t rows, int64_t cols, int64_t capacity)
{
    sl_csr z = { .n_rows = rows, .n_cols = cols, .capacity = capacity };
    z.row_ptr = block(r, (size_t)(rows + 1) * sizeof *z.row_ptr, 0);
    z.idx = block(r, (size_t)capacity * sizeof *z.idx, 0);
    z.val = block(r, (size_t)capacity * sl_dtype_size(r->k->dtype), 0);
    return z;
}

sl_tensor kt_val(krun *r, const sl_csr *z) { return sl_tensor_of(r->k->dtype, z->val, 1, z->row_ptr[z->n_rows]); }

sl_csr kt_csr_random(krun *r, int64_t rows, int64_t cols)
{
    sl_csr z = kt_csr(r, rows, cols, rows * cols);
    int64_t n = 0;
    for (int64_t i = 0; i < rows; i++) {
        z.row_ptr[i] = n;
        for (int32_t j = 0; j < cols; j++)
            if (i % 6 != 5 && sl_rng_below(&r->rng, 4) == 0)
                z.idx[n++] = j;
    }
    z.row_ptr[rows] = n;
    sl_tensor val = kt_val(r, &z);
    for (int64_t i = 0; i < n; i++)
        set(&val, i, .01 + sl_rng_uniform(&r->rng));
    return z;
}

void kt_number(krun *r, double v)
{
    if (r->n_out == r->cap) {
        r->cap = r->cap ? 2 * r->cap : 1024;
        r->out = realloc(r->out, (size_t)r->cap * sizeof *r->out);
        assert_non_null(r->out);
    }
    r->out[r->n_out++] = v;
}

void kt_record(krun *r, const sl_tensor *t)
{
    for (int64_t i = 0; i < sl_numel(t); i++)
        kt_number(r, t->dtype == SL_F32 ? (double)((float *)t->data)[i] : ((double *)t->data)[i]);
}

void kt_record_csr(krun *r, const sl_csr *z)
{
    for (int64_t i = 0; i <= z->n_rows; i++)
        kt_number(r, (double)z->row_ptr[i]);
    for (int64_t e = 0; e < z->row_ptr[z->n_rows]; e++)
        kt_number(r, z->idx[e]);
    sl_tensor val = kt_val(r, z);
    kt_record(r, &val);
}
