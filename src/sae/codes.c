/* The way from a batch's latents to CSR. */
#include "sae/variant.h"

enum { DENSE_PART = 1 << 22 }; /* elements of dense latents that are turned into CSR at once */

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
