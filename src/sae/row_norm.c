/* Normalisation of each row by itself, as SAELens has it (sae_lens/saes/sae.py, _setup_activation_normalization):
 *   constant_norm_rescale   x sqrt(d) / |x|
 *   layer_norm              (x - mu) / (sigma + 1e-5), sigma with d - 1; undone as x sigma + mu, without the 1e-5
 * A row of norm 0 stays as it is. It cannot be folded into weights. */
#include "sae/variant.h"

#include <math.h>

typedef struct affine { double shift, in, out; } affine; /* y = (x - shift) in; x^ = y^ out + shift */

static affine statistics(sl_rows_norm kind, const float *x, int64_t d)
{
    double sum = 0, sq = 0;
    affine a = { 0, 1, 1 };
    if (kind == SL_ROWS_STANDARD)
        for (int64_t j = 0; j < d; j++)
            sum += (double)x[j];
    a.shift = sum / (double)d;
    for (int64_t j = 0; j < d; j++)
        sq += ((double)x[j] - a.shift) * ((double)x[j] - a.shift);
    if (kind == SL_ROWS_RESCALED && sq > 0) {
        a.in = sqrt((double)d / sq);
        a.out = 1 / a.in;
    }
    if (kind == SL_ROWS_STANDARD) {
        a.out = d > 1 ? sqrt(sq / (double)(d - 1)) : 0;
        a.in = 1 / (a.out + 1e-5);
    }
    return a;
}

sl_status sl_rows_normalize(sl_tape *t, sl_rows_norm kind, sl_tensor *rows, sl_err *err)
{
    int64_t n = sl_rows(rows), d = sl_cols(rows);
    const float *x = rows->data;
    float *y = sl_tape_scratch(t, sl_nbytes(rows));
    SL_TRY(sl_tape_status(t, err));
    for (int64_t i = 0; i < n; i++) {
        affine a = statistics(kind, x + i * d, d);
        for (int64_t j = 0; j < d; j++)
            y[i * d + j] = (float)(((double)x[i * d + j] - a.shift) * a.in);
    }
    rows->data = y;
    return SL_OK;
}

void sl_rows_restore(sl_rows_norm kind, const float *x, int64_t n, int64_t d, float *xhat)
{
    for (int64_t i = 0; kind != SL_ROWS_AS_THEY_ARE && i < n; i++) {
        affine a = statistics(kind, x + i * d, d);
        for (int64_t j = 0; j < d; j++)
            xhat[i * d + j] = (float)((double)xhat[i * d + j] * a.out + a.shift);
    }
}

const char *sl_row_norm_name(sl_rows_norm kind)
{
    return kind == SL_ROWS_RESCALED ? "constant_norm_rescale" : kind == SL_ROWS_STANDARD ? "layer_norm" : "none";
}
