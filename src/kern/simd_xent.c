/* Cross-entropy of softmax: see softmax_xent in kern.h. */
#include "kern/simd.h"
#include "kern/simd_math.h"

#include <assert.h>
#include <math.h>
#include <string.h>

static float row_max(const float *x, int64_t n)
{
    vf top = vf_set(-INFINITY);
    int64_t j = 0;
    for (; j + VW <= n; j += VW)
        top = vf_max(vf_load(x + j), top);
    float lanes[VW], m = -INFINITY;
    vf_store(lanes, top);
    for (int i = 0; i < VW; i++)
        m = lanes[i] > m ? lanes[i] : m;
    for (; j < n; j++)
        m = x[j] > m ? x[j] : m;
    return m;
}

/* x <- e^(x - top), returns the sum. */
static float row_exp(float *x, int64_t n, float top, bool keep)
{
    vf sum = vf_set(0);
    int64_t j = 0;
    for (; j + VW <= n; j += VW) {
        vf e = vf_exp(vf_load(x + j) - vf_set(top));
        sum += e;
        if (keep)
            vf_store(x + j, e);
    }
    float s = vf_sum(sum), lanes[VW];
    if (j < n) {
        vf_store(lanes, vf_exp(vf_load_n(x + j, n - j) - vf_set(top)));
        for (int64_t i = 0; i < n - j; i++) {
            s += lanes[i];
            if (keep)
                x[j + i] = lanes[i];
        }
    }
    return s;
}

/* Loss of one row; x becomes weight (softmax - onehot) when `grad`. */
static double xent_row(float *x, int64_t n, int32_t target, bool grad, double weight)
{
    assert(target < n);
    if (target < 0) {
        if (grad)
            memset(x, 0, (size_t)n * sizeof *x);
        return 0;
    }
    float top = row_max(x, n), of_target = x[target], total = row_exp(x, n, top, grad);
    if (grad) {
        float scale = (float)(weight / (double)total);
        int64_t j = 0;
        for (; j + VW <= n; j += VW)
            vf_store(x + j, vf_set(scale) * vf_load(x + j));
        for (; j < n; j++)
            x[j] *= scale;
        x[target] -= (float)weight;
    }
    return (double)top + log((double)total) - (double)of_target;
}

double SL_V(sl_simd_softmax_xent)(const sl_kern *k, sl_tensor *logits, const sl_tensor *targets, bool grad, sl_tensor *row_loss)
{
    float *x = logits->data, *each = row_loss ? row_loss->data : NULL;
    const int32_t *target = targets->data;
    double *partial = sl_kern_impl_of(k)->partial, total = 0;
    int64_t rows = sl_rows(logits), n = sl_cols(logits), counted = k->count_targets(k, targets);
    int64_t chunk = sl_chunk_of(rows, 1), chunks = (rows + chunk - 1) / chunk;
    assert(sl_numel(targets) == rows && (!row_loss || sl_numel(row_loss) == rows));
    double weight = counted ? 1 / (double)counted : 0;
    #pragma omp parallel for num_threads(sl_team(k, rows * n)) schedule(static)
    for (int64_t c = 0; c < chunks; c++) {
        partial[c] = 0;
        for (int64_t i = c * chunk; i < sl_min64(rows, (c + 1) * chunk); i++) {
            double loss = xent_row(x + i * n, n, target[i], grad, weight);
            if (each)
                each[i] = (float)loss;
            partial[c] += loss;
        }
    }
    for (int64_t c = 0; c < chunks; c++)
        total += partial[c];
    return total * weight;
}
