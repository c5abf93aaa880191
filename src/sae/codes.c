/* Sparse codes as callers hold them, and the way from a batch's latents to CSR. */
#include "sae/variant.h"

enum { DENSE_PART = 1 << 22 }; /* elements of dense latents that are turned into CSR at once */

sl_status sl_codes_new(sl_ctx *ctx, int64_t n_rows, int64_t max_active, sl_codes *out, sl_err *err)
{
    *out = (sl_codes){ 0 };
    if (n_rows < 0 || max_active < 0 || (max_active > 0 && n_rows > INT64_MAX / 8 / max_active))
        return sl_fail(err, SL_ARG, "codes", "0 or more", "%lld rows of %lld latents", (long long)n_rows, (long long)max_active);
    sl_codes z = { .n_rows = n_rows, .capacity = n_rows * max_active };
    z.row_ptr = sl_alloc(ctx, (size_t)(n_rows + 1) * sizeof *z.row_ptr);
    z.idx = sl_alloc(ctx, (size_t)z.capacity * sizeof *z.idx);
    z.val = sl_alloc(ctx, (size_t)z.capacity * sizeof *z.val);
    *out = z;
    if (z.row_ptr && z.idx && z.val)
        return SL_OK;
    sl_codes_release(ctx, out);
    return sl_fail(err, SL_MEM, "codes", NULL, "no memory for %lld rows of %lld latents", (long long)n_rows, (long long)max_active);
}

void sl_codes_release(sl_ctx *ctx, sl_codes *z)
{
    sl_free(ctx, z->row_ptr);
    sl_free(ctx, z->idx);
    sl_free(ctx, z->val);
    *z = (sl_codes){ 0 };
}

static void visit_dense(sl_tape *t, const sl_tensor *z, sl_latents_fn visit, void *user)
{
    int64_t n = sl_rows(z), f = sl_cols(z), part = DENSE_PART / f;
    part = part < 1 ? 1 : part > n ? n : part;
    size_t size = sl_dtype_size(z->dtype);
    sl_csr csr = { .n_cols = f, .capacity = part * f };
    csr.row_ptr = sl_tape_scratch(t, (size_t)(part + 1) * sizeof *csr.row_ptr);
    csr.idx = sl_tape_scratch(t, (size_t)csr.capacity * sizeof *csr.idx);
    csr.val = sl_tape_scratch(t, (size_t)csr.capacity * size);
    if (!csr.row_ptr || !csr.idx || !csr.val)
        return; /* the tape has failed */
    const sl_kern *k = sl_tape_kern(t);
    for (int64_t r = 0; r < n; r += part) {
        csr.n_rows = n - r < part ? n - r : part;
        sl_tensor rows = sl_tensor_of(z->dtype, (char *)z->data + (size_t)(r * f) * size, 2, csr.n_rows, f);
        k->csr_from_dense(k, &rows, &csr);
        visit(user, r, &csr);
    }
}

void sl_latents_visit(sl_tape *t, sl_latents z, sl_latents_fn visit, void *user)
{
    const sl_tensor *dense = z.dense.id ? sl_value(t, z.dense) : NULL;
    const sl_csr *sparse = z.dense.id ? NULL : sl_code_csr(t, z.sparse);
    if (dense && sl_rows(dense) > 0)
        visit_dense(t, dense, visit, user);
    if (sparse)
        visit(user, 0, sparse);
}
