/* Does an SAE compose? Everything of science.md C7, D4 and G3 (composition) that can be measured on given rows; formulas: docs/METRICS.md.
 *
 *   sl_composition_opts o = sl_composition_defaults();
 *   sl_eval_composition(ctx, sae, &(sl_composition_input){ &test, &ood, truth }, &o, &metrics, &pictures, err)
 *
 * Works for every SAE and baseline: what only compositional ones have (attention, attribution, gates) is null with a reason for others. */
#ifndef SAELAB_COMPOSE_EVAL_H
#define SAELAB_COMPOSE_EVAL_H

#include <saelab/compose.h>
#include <saelab/measure.h>
#include <saelab/world.h>

typedef struct sl_composition_input { /* borrowed */
    const sl_eval_data *test;       /* x, z and W_dec needed; g and n_truth with truth; doc where there are documents */
    const sl_eval_data *ood;        /* rows with withheld combinations, of the same SAE; NULL: none */
    const sl_world_truth *truth;    /* what g's columns are and which of them compose; NULL: no ground truth */
} sl_composition_input;

typedef struct sl_composition_opts {
    uint64_t seed;
    int64_t max_rows;       /* of test that attention and attribution look at */
    int64_t n_triples;      /* (row, composition, feature) of the causal check, and as many pairs of the interaction index; science.md: at least 2000 */
    int64_t top_pairs;      /* pairs of latents that the analyses of pairs may claim */
    int64_t min_rows;       /* rows in which a pair, or a true relation, has to occur to take part */
    int64_t n_units, n_attention; /* pictures: compositions, and latents of the attention matrices */
    bool posthoc;           /* post-hoc pair analysis of every SAE, not only of linear ones */
} sl_composition_opts;
sl_composition_opts sl_composition_defaults(void); /* 1, 20000, 2000, 256, 20, 12, 40, false */

/* ---- what the pictures show ---- */

enum { SL_UNIT_HEAT = 12, SL_UNIT_PAIRS = 5, SL_UNIT_ROWS = 8, SL_UNIT_PARTICIPANTS = 10 };

typedef struct sl_composition_unit {
    int32_t q;
    int64_t fired;          /* rows with c_q > 0 */
    double energy;          /* sum of c_q^2 over all rows, as a share of that of all compositions: directions e_q have norm 1 */
    int32_t n_participants, participant[SL_UNIT_PARTICIPANTS]; /* latents with at least .1 of sum |I_q|, largest first */
    double share[SL_UNIT_PARTICIPANTS];
    int32_t n_heat, heat_feature[SL_UNIT_HEAT]; /* latents with the largest shares */
    float heat[SL_UNIT_HEAT][SL_UNIT_HEAT];     /* I_q(i, j) of them: row i receives, column j is attended to */
    int32_t n_pairs;        /* largest |I_q(i,j) + I_q(j,i)| first, i < j */
    struct { int32_t i, j; double attribution, index; } pair[SL_UNIT_PAIRS]; /* index: mean Delta_ij of ablations, over at most 32 rows with q, i and j; NaN: no such row */
    int32_t n_rows;         /* largest c_q first */
    struct { int64_t row; double value; } top[SL_UNIT_ROWS]; /* row: index into test */
    int32_t relation;       /* of the truth, with the largest phi of at least .7: a set's number, or n_sets + a feature's; -1: none */
    double phi;             /* of that relation; 0 */
} sl_composition_unit;

typedef struct sl_composition_edge { int32_t q, feature; double share; } sl_composition_edge;

typedef struct sl_composition_pictures { /* start from { 0 } */
    sl_composition_unit *unit; int64_t n_units;         /* those that fire most, at most n_units */
    int64_t n_compositions;                             /* of the SAE, with those that never fire */
    sl_composition_edge *edge; int64_t n_edges;         /* all participants of all compositions: the bipartite graph */
    int64_t d_sae, *reuse;                              /* [d_sae] compositions that a latent takes part in */
    int64_t n_head, n_attention;                        /* 0: there is no attention */
    int32_t *attention_feature;                         /* [n_attention] most frequent latents, ordered by average linkage of co-firing */
    float *attention;                                   /* [n_head, n_attention, n_attention] mean P_ij over rows with both; NaN: never both */
} sl_composition_pictures;
void sl_composition_pictures_release(sl_ctx *ctx, sl_composition_pictures *p);

/* The bipartite graph of `unit` and their participants in Graphviz's dot language, edges as wide as shares. label(user, latent, text): writes
 * a latent's name (at most 63 characters) and may be NULL. *dot: sl_free. SL_DATA: no units; SL_MEM. */
sl_status sl_composition_dot(sl_ctx *ctx, const sl_composition_pictures *p, void (*label)(void *, int32_t, char[64]), void *user, char **dot, sl_err *err) SL_USE_RESULT;

/* ---- the entry ---- */

/* s NULL: a baseline, of which only the codes are known. pictures NULL: none; else to be released, after a failure too.
 * Puts (null with a reason where the SAE or the input has no such thing):
 *   l0_c, dead_compositions, branch_energy, comp_energy                     the composition branch
 *   attribution_error, causal_pi, index_pi, index_attention, index_mean      attribution, and its check by ablation
 *   interaction_cooccurrence, decoder_cooccurrence, covariance_cooccurrence  Pearson with how often a pair fires together
 *   reuse_mean, reuse_gini, reuse_entropy, mean_order                        participants
 *   comp_f1, comp_precision, comp_recall, comp_claims and comp_strict_f1 of the way that fits the SAE, `_withheld` of each on ood rows; the ways by
 *   name: comp_f1_units, comp_f1_pairs, comp_f1_posthoc (and _withheld); floor of pairs: as many at random
 *   comp_gap, f1_h_gap, mcc_code_gap, fvu_ood_ratio                          held-out combinations
 * SL_SHAPE: sizes that contradict one another; SL_DATA: no rows; SL_NUMERIC: names the first value that is not finite; SL_ARG: an option out of
 * range; SL_UNAVAILABLE: it predicts a target, or its rows are normalised one by one; SL_MEM; SL_CANCELLED. */
sl_status sl_eval_composition(sl_ctx *ctx, sl_sae *s, const sl_composition_input *in, const sl_composition_opts *o, sl_metrics *out,
                              sl_composition_pictures *pictures, sl_err *err) SL_USE_RESULT;

#endif
