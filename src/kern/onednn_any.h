/* What differs between oneDNN 2 and 3: 2 describes an operation before its primitive and keeps shapes by value, 3 makes primitives at once and
 * keeps shapes behind pointers. For the files of the onednn layer only. */
#ifndef SL_ONEDNN_ANY_H
#define SL_ONEDNN_ANY_H

#include <oneapi/dnnl/dnnl.h>
#include <stdbool.h>
#include <stdint.h>

typedef dnnl_memory_desc_t onednn_shape;

#if DNNL_VERSION_MAJOR >= 3
typedef const_dnnl_memory_desc_t onednn_shape_in;
static inline onednn_shape_in onednn_shape_of(const onednn_shape *s) { return *s; }
static inline dnnl_status_t onednn_shape_make(onednn_shape *s, int64_t rows, int64_t cols, dnnl_data_type_t type, dnnl_format_tag_t tag)
{
    return dnnl_memory_desc_create_with_tag(s, 2, (dnnl_dims_t){ rows, cols }, type, tag);
}
static inline dnnl_status_t onednn_shape_strided(onednn_shape *s, int64_t rows, int64_t cols, dnnl_data_type_t type, int64_t by_row, int64_t by_col)
{
    return dnnl_memory_desc_create_with_strides(s, 2, (dnnl_dims_t){ rows, cols }, type, (dnnl_dims_t){ by_row, by_col });
}
static inline void onednn_shape_free(onednn_shape *s)
{
    if (*s)
        dnnl_memory_desc_destroy(*s);
}
static inline dnnl_status_t onednn_add_to(dnnl_post_ops_t ops, float scale) { return dnnl_post_ops_append_sum(ops, scale, 0, dnnl_data_type_undef); }
static inline dnnl_status_t onednn_matmul(dnnl_primitive_desc_t *pd, dnnl_engine_t e, const onednn_shape *a, const onednn_shape *b, const onednn_shape *c,
                                          dnnl_primitive_attr_t attr)
{
    return dnnl_matmul_primitive_desc_create(pd, e, *a, *b, NULL, *c, attr);
}
#else
typedef const dnnl_memory_desc_t *onednn_shape_in;
static inline onednn_shape_in onednn_shape_of(const onednn_shape *s) { return s; }
static inline dnnl_status_t onednn_shape_make(onednn_shape *s, int64_t rows, int64_t cols, dnnl_data_type_t type, dnnl_format_tag_t tag)
{
    return dnnl_memory_desc_init_by_tag(s, 2, (dnnl_dims_t){ rows, cols }, type, tag);
}
static inline dnnl_status_t onednn_shape_strided(onednn_shape *s, int64_t rows, int64_t cols, dnnl_data_type_t type, int64_t by_row, int64_t by_col)
{
    return dnnl_memory_desc_init_by_strides(s, 2, (dnnl_dims_t){ rows, cols }, type, (dnnl_dims_t){ by_row, by_col });
}
static inline void onednn_shape_free(onednn_shape *s) { (void)s; }
static inline dnnl_status_t onednn_add_to(dnnl_post_ops_t ops, float scale) { return dnnl_post_ops_append_sum(ops, scale); }
static inline dnnl_status_t onednn_matmul(dnnl_primitive_desc_t *pd, dnnl_engine_t e, const onednn_shape *a, const onednn_shape *b, const onednn_shape *c,
                                          dnnl_primitive_attr_t attr)
{
    dnnl_matmul_desc_t op;
    dnnl_status_t st = dnnl_matmul_desc_init(&op, a, b, NULL, c);
    return st == dnnl_success ? dnnl_primitive_desc_create(pd, &op, attr, e, NULL) : st;
}
#endif

#endif
