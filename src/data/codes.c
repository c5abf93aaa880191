/* Sparse codes as callers hold them. */
#include <saelab/codes.h>

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
