/* The optimizer's step of a dictionary in two passes over its rows (kern.h, sl_sweep). A row of the gradient is made in cache from the rows
 * of the batch that its feature fired in, once for the norm and once for the step: the gradient as a whole is never written. A row has
 * one owner, and sums have a fixed partition. */
#include "kern/simd_adam.h"
#include "kern/simd_double.h"
#include "kern/simd_sparse.h"

#include <assert.h>
#include <omp.h>
#include <string.h>

/* Row f of the gradient, projected where asked for. False: it is 0. */
static bool make_row(const sl_sweep *s, int64_t f, int64_t d, float *g)
{
    bool any = s->grad;
    listed l;
    l.n = 0;
    if (s->grad)
        memcpy(g, (const float *)s->grad->data + f * d, (size_t)d * sizeof *g);
    else
        memset(g, 0, (size_t)d * sizeof *g);
    for (int i = 0; i < s->n_terms; i++) {
        const sl_term *t = &s->term[i];
        any = any || t->at->ptr[f] < t->at->ptr[f + 1];
        SL_V(sl_simd_list_places)(&l, t->at, f, t->coef.data, t->rows.data, d, g);
    }
    SL_V(sl_simd_add_listed)(&l, d, g);
    if (any && s->project)
        vd_project((const float *)s->W->data + f * d, g, d);
    return any;
}

static float *row_buffers(const sl_kern *k, int64_t d) { return sl_kern_scratch(k, SL_SIMD_A, (size_t)(k->n_threads * sl_round_up(d, 16)) * sizeof(float)); }

double SL_V(sl_simd_sweep_sq)(const sl_kern *k, const sl_sweep *s)
{
    double *partial = sl_kern_impl_of(k)->partial, sum = 0;
    int64_t F = sl_rows(s->W), d = sl_cols(s->W), chunk = sl_chunk_of(F, 1), chunks = (F + chunk - 1) / chunk;
    float *rows = row_buffers(k, d);
    if (!rows)
        return 0;
    #pragma omp parallel for num_threads(sl_team(k, F * d)) schedule(dynamic, 4)
    for (int64_t c = 0; c < chunks; c++) {
        float *g = rows + omp_get_thread_num() * sl_round_up(d, 16);
        partial[c] = 0;
        for (int64_t f = c * chunk; f < sl_min64(F, (c + 1) * chunk); f++)
            if (make_row(s, f, d, g))
                partial[c] += vd_dot(g, g, d);
    }
    for (int64_t c = 0; c < chunks; c++)
        sum += partial[c];
    return sum;
}

void SL_V(sl_simd_sweep_adam)(const sl_kern *k, const sl_sweep *s, const sl_adam *a)
{
    int64_t F = sl_rows(s->W), d = sl_cols(s->W);
    float *w = s->W->data, *m = s->m->data, *v = s->v->data, *rows = row_buffers(k, d);
    vf_adam numbers = vf_adam_of(a);
    assert(sl_numel(s->m) == F * d && sl_numel(s->v) == F * d && a->step >= 1);
    if (!rows)
        return;
    #pragma omp parallel for num_threads(sl_team(k, F * d)) schedule(dynamic, 16)
    for (int64_t f = 0; f < F; f++) {
        float *g = rows + omp_get_thread_num() * sl_round_up(d, 16);
        make_row(s, f, d, g);
        vf_adam_step(&numbers, d, g, w + f * d, m + f * d, v + f * d);
        if (s->normalize)
            vd_normalize(w + f * d, d);
    }
}

/* Rows are mixed in chunks of a size that depends on F alone, then the chunks in order. */
void SL_V(sl_simd_mix_rows)(const sl_kern *k, double s, const sl_tensor *c, const sl_tensor *W, sl_tensor *y)
{
    enum { CHUNKS = 64 };
    const float *coef = c->data, *w = W->data;
    float *out = y->data;
    int64_t F = sl_rows(W), d = sl_cols(W), chunk = (F + CHUNKS - 1) / CHUNKS;
    assert(sl_numel(c) == F && sl_numel(y) == d);
    float *part = sl_kern_scratch(k, SL_SIMD_PART, (size_t)(CHUNKS * d) * sizeof *part);
    if (!part)
        return;
    memset(part, 0, (size_t)(CHUNKS * d) * sizeof *part);
    #pragma omp parallel for num_threads(sl_team(k, F * d)) schedule(static)
    for (int64_t i = 0; i < CHUNKS; i++)
        for (int64_t f = i * chunk; f < sl_min64(F, (i + 1) * chunk); f++)
            for (int64_t j = 0; coef[f] != 0 && j < d; j += VW)
                vf_put(part + i * d + j, vf_fma(vf_set(coef[f]), vf_get(w + f * d + j, d - j), vf_get(part + i * d + j, d - j)), d - j);
    for (int64_t j = 0; j < d; j++) {
        double sum = 0;
        for (int64_t i = 0; i < CHUNKS; i++)
            sum += (double)part[i * d + j];
        out[j] += (float)(s * sum);
    }
}
