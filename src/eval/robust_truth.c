/* F1 against the truth while the input is perturbed: the guard against codes that are stable because they do not listen (science.md B7). As families
 * "firing" (firing.c): f1 over all latents and their best feature by |cos|, f1_h over true features that fire and the latent matched to each. */
#include "eval/robust.h"

typedef struct counts { int64_t *a, *best, *one, *b; bool *on; } counts; /* latents: rows, with the best, with the matched feature; features: rows, now */

static void count_rows(const sl_subject *u, const sl_sparse *z, const uint8_t *valid, const counts *k)
{
    const sl_sparse *g = &u->g.data.g;
    for (int64_t r = 0; r < z->n_rows; r++) {
        if (!valid[r])
            continue;
        for (int64_t e = g->row_ptr[r]; e < g->row_ptr[r + 1]; e++) {
            k->on[g->idx[e]] = g->val[e] > 0;
            k->b[g->idx[e]] += g->val[e] > 0;
        }
        for (int64_t e = z->row_ptr[r]; e < z->row_ptr[r + 1]; e++) {
            int32_t j = z->idx[e], one = u->match.match[j];
            k->a[j]++;
            k->best[j] += k->on[u->match.best[j]];
            k->one[j] += one >= 0 && k->on[one];
        }
        for (int64_t e = g->row_ptr[r]; e < g->row_ptr[r + 1]; e++)
            k->on[g->idx[e]] = false;
    }
}

static sl_status put(const sl_subject *u, const counts *k, int64_t rows, sl_metrics *out, sl_err *err)
{
    double f1 = 0, f1_h = 0;
    int64_t firing = 0, m = u->g.data.d_sae, n = u->g.data.n_truth;
    for (int64_t j = 0; j < m; j++)
        f1 += sl_f1((sl_overlap){ rows, k->a[j], k->b[u->match.best[j]], k->best[j] });
    for (int64_t g = 0; g < n; g++) {
        int32_t j = u->match.of_truth[g];
        firing += k->b[g] > 0;
        f1_h += j >= 0 && k->b[g] > 0 ? sl_f1((sl_overlap){ rows, k->a[j], k->b[g], k->one[j] }) : 0;
    }
    if (firing == 0) {
        SL_TRY(sl_metrics_null(u->ctx, out, "f1", "no true feature fires", err));
        return sl_metrics_null(u->ctx, out, "f1_h", "no true feature fires", err);
    }
    SL_TRY(sl_metrics_put(u->ctx, out, "f1", f1 / (double)m, m, err));
    return sl_metrics_put(u->ctx, out, "f1_h", f1_h / (double)firing, firing, err);
}

sl_status sl_put_noisy_f1(const sl_subject *u, const sl_sparse *perturbed, const uint8_t *valid, sl_metrics *out, sl_err *err)
{
    size_t m = (size_t)u->g.data.d_sae, n = (size_t)u->g.data.n_truth;
    counts k = { sl_alloc(u->ctx, m * sizeof *k.a), sl_alloc(u->ctx, m * sizeof *k.best), sl_alloc(u->ctx, m * sizeof *k.one), sl_alloc(u->ctx, n * sizeof *k.b),
                 sl_alloc(u->ctx, n * sizeof *k.on) };
    sl_status st = sl_have("noisy F1", 5, (const void *const[]){ k.a, k.best, k.one, k.b, k.on }, err);
    if (st == SL_OK) {
        count_rows(u, perturbed, valid, &k);
        st = put(u, &k, perturbed->n_rows, out, err);
    }
    sl_free(u->ctx, k.a);
    sl_free(u->ctx, k.best);
    sl_free(u->ctx, k.one);
    sl_free(u->ctx, k.b);
    sl_free(u->ctx, k.on);
    return st;
}
