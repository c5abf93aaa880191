/* Online dictionary learning (Mairal et al. 2009, algorithms 1 and 2; forgetting of Mairal et al. 2010, section 3.4.2). A batch of rows x
 * with its codes z:
 *   A <- f A + z^T z,  C <- f C + z^T x,  f = (1 - 1 / t)^15       D_j <- unit( D_j + (C_j - A_j D) / A_jj ),  j ascending
 * A direction that no code has used lately is put on what is left of a row of the batch. Directions start as rows of the data. */
#include "eval/baselines/dictionary.h"

#include <saelab/rng.h>
#include <math.h>
#include <string.h>

typedef struct learner {
    sl_baseline *b;
    sl_tensor x, Z, B;      /* one batch: rows [batch, d], codes and x D^T [batch, m] */
    sl_tensor A, C, gram;   /* [m, m], [m, d], [m, m] */
    int64_t *order;         /* [n] */
    double *row;            /* [d] */
    int64_t t;              /* batches so far */
} learner;

static sl_status allocate(learner *l, int64_t n, int64_t batch, sl_err *err)
{
    sl_baseline *b = l->b;
    int64_t m = b->d_sae, d = b->d_in;
    l->order = sl_alloc(b->ctx, (size_t)n * sizeof *l->order);
    l->row = sl_alloc(b->ctx, (size_t)d * sizeof *l->row);
    if (!l->order || !l->row)
        return sl_fail(err, SL_MEM, "dictionary", NULL, "no memory for %lld rows", (long long)n);
    SL_TRY(sl_base_matrix(b, "dictionary", batch, d, &l->x, err));
    SL_TRY(sl_base_matrix(b, "dictionary", batch, m, &l->Z, err));
    SL_TRY(sl_base_matrix(b, "dictionary", batch, m, &l->B, err));
    SL_TRY(sl_base_matrix(b, "dictionary", m, m, &l->A, err));
    SL_TRY(sl_base_matrix(b, "dictionary", m, d, &l->C, err));
    return sl_base_matrix(b, "dictionary", m, m, &l->gram, err);
}

static void release(learner *l)
{
    void *owned[] = { l->order, l->row, l->x.data, l->Z.data, l->B.data, l->A.data, l->C.data, l->gram.data };
    for (size_t i = 0; i < sizeof owned / sizeof *owned; i++)
        sl_free(l->b->ctx, owned[i]);
}

/* D_j from the statistics, or from what is left of row `spare` when nothing uses it. */
static void update_direction(learner *l, int64_t j, int64_t spare)
{
    int64_t m = l->b->d_sae, d = l->b->d_in;
    float *D = l->b->W_dec.data;
    const float *A = (const float *)l->A.data + j * m, *C = (const float *)l->C.data + j * d, *x = (const float *)l->x.data + spare * d;
    bool used = A[j] > 1e-6f;
    double sq = 0;
    memset(l->row, 0, (size_t)d * sizeof *l->row);
    for (int64_t i = 0; used && i < m; i++)
        for (int64_t c = 0; c < d && A[i] != 0; c++)
            l->row[c] -= (double)A[i] * (double)D[i * d + c];
    for (int64_t c = 0; c < d; c++) {
        l->row[c] = used ? (double)D[j * d + c] + ((double)C[c] + l->row[c]) / (double)A[j] : (double)x[c];
        sq += l->row[c] * l->row[c];
    }
    for (int64_t c = 0; c < d && sq > 0; c++)
        D[j * d + c] = (float)(l->row[c] / sqrt(sq));
}

/* Codes of the batch and one update; *loss grows by its objective. */
static sl_status learn_batch(learner *l, int64_t n, double penalty, sl_rng *rng, double *loss, sl_err *err)
{
    sl_baseline *b = l->b;
    const sl_fista_options *o = (const void *)b->opts;
    const sl_kern *k = b->kern;
    sl_tensor x = l->x, Z = l->Z, B = l->B;
    double step, f = pow(1 - 1 / (double)++l->t, 15);
    x.dim[0] = Z.dim[0] = B.dim[0] = n;
    sl_base_gemm(k, 1, &b->W_dec, false, &b->W_dec, true, 0, &l->gram);
    SL_TRY(sl_fista_step(b, &b->W_dec, &step, err));
    sl_base_gemm(k, 1, &x, false, &b->W_dec, true, 0, &B);
    k->fill(k, 0, &Z);
    SL_TRY(sl_fista(b, &l->gram, &B, penalty, step, o->learn_iterations, 10 * o->tol, &Z, err));
    *loss += penalty * k->sum(k, &Z);
    sl_base_gemm(k, 1, &Z, true, &Z, false, f, &l->A);
    sl_base_gemm(k, 1, &Z, true, &x, false, f, &l->C);
    sl_base_gemm(k, -1, &Z, false, &b->W_dec, false, 1, &x);
    *loss += .5 * k->sum_sq(k, &x);
    for (int64_t j = 0; j < b->d_sae; j++)
        update_direction(l, j, (int64_t)sl_rng_below(rng, (uint64_t)n));
    return SL_OK;
}

static sl_status epoch(learner *l, const sl_tensor *xc, int64_t batch, int64_t number, double penalty, double *loss, sl_err *err)
{
    int64_t n = sl_rows(xc), d = sl_cols(xc);
    sl_rng rng = sl_rng_at(l->b->seed, SL_RNG_BATCH, (uint64_t)number, 0);
    *loss = 0;
    sl_rng_perm(&rng, l->order, n);
    for (int64_t r = 0; r < n; r += batch) {
        int64_t part = n - r < batch ? n - r : batch;
        for (int64_t i = 0; i < part; i++)
            memcpy((float *)l->x.data + i * d, (const float *)xc->data + l->order[r + i] * d, (size_t)d * sizeof(float));
        SL_TRY(learn_batch(l, part, penalty, &rng, loss, err));
    }
    *loss /= (double)n;
    return SL_OK;
}

sl_status sl_dictionary_learn(sl_baseline *b, const sl_tensor *xc, double penalty, sl_err *err)
{
    const sl_fista_options *o = (const void *)b->opts;
    int64_t n = sl_rows(xc), batch = o->batch < n ? o->batch : n;
    learner l = { .b = b };
    double loss;
    sl_status st;
    SL_GO(allocate(&l, n, batch, err));
    SL_GO(sl_base_random_rows(b, xc, &b->W_dec, err));
    b->kern->row_normalize(b->kern, &b->W_dec);
    for (int64_t i = 0; i < o->epochs; i++) {
        SL_GO(epoch(&l, xc, batch, i, penalty, &loss, err));
        SL_GO(sl_base_report(b, loss, i + 1, o->epochs, err));
    }
    b->converged = sl_base_settled(b, 1e-3);
done:
    release(&l);
    return st;
}
