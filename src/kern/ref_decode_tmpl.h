/* ref: one token at a time, for sampling: matrix times vector, and the attention of the last position over a cache. */
#include "kern/ref_common_tmpl.h"

static double weight_at(const sl_tensor *W, int64_t i)
{
    return W->dtype == SL_BF16 ? (double)sl_bf16_to_f32(((const uint16_t *)W->data)[i]) : (double)real(W)[i];
}

static void gemv(const sl_kern *k, const sl_tensor *W, const sl_tensor *x, const sl_tensor *bias, sl_act a, double beta, sl_tensor *y)
{
    const REAL *in = real(x), *b = bias ? real(bias) : NULL;
    REAL *out = real(y);
    int64_t n = sl_rows(W), d = sl_cols(W);
    assert(sl_numel(x) == d && sl_numel(y) == n && (!bias || sl_numel(bias) == n));
    #pragma omp parallel for num_threads(sl_team(k, n * d)) schedule(static)
    for (int64_t i = 0; i < n; i++) {
        double s = b ? (double)b[i] : 0;
        for (int64_t j = 0; j < d; j++)
            s += weight_at(W, i * d + j) * (double)in[j];
        out[i] = plus((REAL)act_value(a, s), beta, out + i);
    }
}

static void attend(const sl_kern *k, const sl_attn *a, const sl_tensor *qkv, sl_tensor *y)
{
    int64_t hd = a->C / a->n_head;
    assert(a->B == 1 && a->drop.p == 0 && hd * a->n_head == a->C && sl_cols(qkv) == 3 * a->C && sl_rows(qkv) >= a->T && sl_numel(y) == a->C);
    double *scratch = sl_kern_scratch(k, SL_SCRATCH_ROWS, (size_t)(k->n_threads * a->T) * sizeof(double));
    if (!scratch)
        return;
    #pragma omp parallel for num_threads(sl_team(k, a->T * a->C)) schedule(static)
    for (int64_t h = 0; h < a->n_head; h++) {
        head one = head_at(a, real(qkv), h);
        double *p = scratch + omp_get_thread_num() * a->T;
        head_weights(&one, a->T - 1, p);
        for (int64_t c = 0; c < hd; c++) {
            double s = 0;
            for (int64_t j = 0; j < a->T; j++)
                s += p[j] * (double)one.v[j * 3 * a->C + c];
            real(y)[h * hd + c] = (REAL)s;
        }
    }
}
