/* Tensors: a dtype, up to four dimensions, row-major contiguous data. Plain data: who owns `data` is said where it is used. */
#ifndef SAELAB_TENSOR_H
#define SAELAB_TENSOR_H

#include <saelab/ctx.h>

typedef enum sl_dtype { SL_F32, SL_F64, SL_F16, SL_BF16, SL_I8, SL_U8, SL_U16, SL_I32, SL_I64, SL_BOOL, SL_N_DTYPE } sl_dtype;

size_t sl_dtype_size(sl_dtype dtype);
const char *sl_dtype_name(sl_dtype dtype); /* "F32": as safetensors writes it */

#define SL_MAX_DIM 4

typedef struct sl_tensor {
    void *data;
    int64_t dim[SL_MAX_DIM]; /* dim[0] outermost; unused ones are 1 */
    int n_dim;               /* 0: a scalar of one element */
    sl_dtype dtype;
} sl_tensor;

sl_tensor sl_tensor_of(sl_dtype dtype, void *data, int n_dim, ...); /* dims as int64_t */
int64_t sl_numel(const sl_tensor *t);
size_t sl_nbytes(const sl_tensor *t);
int64_t sl_cols(const sl_tensor *t); /* last dimension (1 for a scalar) */
int64_t sl_rows(const sl_tensor *t); /* product of the others */
bool sl_same_shape(const sl_tensor *a, const sl_tensor *b);
void sl_shape_text(const sl_tensor *t, char out[64]); /* "[4, 128]" */

/* Number conversions, round to nearest even; NaN stays NaN. */
float sl_f16_to_f32(uint16_t h);
uint16_t sl_f32_to_f16(float f);
float sl_bf16_to_f32(uint16_t h);
uint16_t sl_f32_to_bf16(float f);
/* n values of a floating dtype (F32, F64, F16, BF16) to f32 and back */
void sl_to_f32(const void *src, sl_dtype dtype, float *dst, int64_t n);
void sl_from_f32(const float *src, sl_dtype dtype, void *dst, int64_t n);

#endif
