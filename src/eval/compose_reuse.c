/* Which latents take part in which compositions: the bipartite graph and its figures (science.md C7). */
#include "eval/compose.h"

#include <math.h>

static const char *const names[] = { "reuse_mean", "reuse_gini", "reuse_entropy", "mean_order", NULL };

/* Degree of each latent, edges of the graph, compositions with participants. */
static sl_status graph(sl_ctx *ctx, const double *share, int64_t m, int64_t d_sae, int64_t *reuse, int64_t *n_edges, int64_t *n_units, sl_composition_edge **edge,
                       sl_err *err)
{
    *n_edges = *n_units = 0;
    for (int64_t q = 0; q < m; q++) {
        int64_t before = *n_edges;
        for (int64_t i = 0; i < d_sae; i++)
            if (share[q * d_sae + i] >= SL_PARTICIPANT) {
                reuse[i]++;
                ++*n_edges;
            }
        *n_units += *n_edges > before;
    }
    *edge = sl_alloc(ctx, (size_t)*n_edges * sizeof **edge);
    SL_TRY(sl_have("reuse", 1, (const void *const[]){ *edge }, err));
    for (int64_t q = 0, at = 0; q < m; q++)
        for (int64_t i = 0; i < d_sae; i++)
            if (share[q * d_sae + i] >= SL_PARTICIPANT)
                (*edge)[at++] = (sl_composition_edge){ (int32_t)q, (int32_t)i, share[q * d_sae + i] };
    return SL_OK;
}

static sl_status put(sl_ctx *ctx, const int64_t *reuse, int64_t d_sae, const uint8_t *alive, int64_t n_edges, int64_t n_units, double *v, sl_metrics *out, sl_err *err)
{
    int64_t n = 0;
    double entropy = 0;
    for (int64_t i = 0; i < d_sae; i++)
        if (alive[i]) {
            double p = (double)reuse[i] / (double)n_edges;
            v[n++] = (double)reuse[i];
            entropy -= p > 0 ? p * log(p) : 0;
        }
    SL_TRY(sl_metrics_put(ctx, out, "reuse_mean", (double)n_edges / (double)n, n, err));
    SL_TRY(sl_metrics_put(ctx, out, "reuse_gini", sl_gini(v, n), n, err));
    if (n > 1)
        SL_TRY(sl_metrics_put(ctx, out, "reuse_entropy", entropy / log((double)n), n, err));
    else
        SL_TRY(sl_metrics_null(ctx, out, "reuse_entropy", "one live latent has no entropy", err));
    return sl_metrics_put(ctx, out, "mean_order", (double)n_edges / (double)n_units, n_units, err);
}

sl_status sl_put_reuse(sl_ctx *ctx, const double *share, int64_t m, int64_t d_sae, const uint8_t *alive, sl_metrics *out, sl_composition_pictures *p, sl_err *err)
{
    int64_t n_edges, n_units, *reuse = sl_alloc(ctx, (size_t)d_sae * sizeof *reuse);
    double *v = sl_alloc(ctx, (size_t)d_sae * sizeof *v);
    sl_composition_edge *edge = NULL;
    sl_status st;
    SL_GO(sl_have("reuse", 2, (const void *const[]){ reuse, v }, err));
    SL_GO(graph(ctx, share, m, d_sae, reuse, &n_edges, &n_units, &edge, err));
    if (n_edges == 0)
        st = sl_put_nulls(ctx, out, names, "no composition has a participant", err);
    else
        st = put(ctx, reuse, d_sae, alive, n_edges, n_units, v, out, err);
    if (st == SL_OK && p) {
        p->edge = edge;
        p->n_edges = n_edges;
        p->reuse = reuse;
        p->d_sae = d_sae;
        edge = NULL;
        reuse = NULL;
    }
done:
    sl_free(ctx, edge);
    sl_free(ctx, v);
    sl_free(ctx, reuse);
    return st;
}
