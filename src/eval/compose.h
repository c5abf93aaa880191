/* Parts of the evaluation of composition (saelab/compose_eval.h), over plain arrays. */
#ifndef SL_EVAL_COMPOSE_H
#define SL_EVAL_COMPOSE_H

#include "eval/measured.h"

#include <saelab/compose_eval.h>

/* Streams of SL_RNG_EVAL beside those of measured.h. */
enum { SL_DRAW_TRIPLES = (1 << 20) + 16, SL_DRAW_PAIRS };

#define SL_PARTICIPANT .1   /* least share of a participant (science.md C7) */
#define SL_RELATION_PHI .7  /* least phi of a composite, and of an atom (D4) */
enum { SL_COMPOSE_LATENTS = 4096 }; /* most latents that the pair matrices are made for */

/* ---- correlations ---- */

/* Pearson's r of a, b [n], and Spearman's: Pearson's of mid-ranks. *r is NaN when n < 3 or one does not vary. SL_MEM. */
void sl_pearson(const double *a, const double *b, int64_t n, double *r);
sl_status sl_spearman(sl_ctx *ctx, const double *a, const double *b, int64_t n, double *r, sl_err *err) SL_USE_RESULT;
/* Puts r, or null: a NaN because there are fewer than 3, or nothing varies. */
sl_status sl_put_r(sl_ctx *ctx, sl_metrics *out, const char *name, double r, int64_t n, sl_err *err) SL_USE_RESULT;

/* ---- what the decoder adds to its linear part ---- */

typedef struct sl_branch {
    float *y;               /* [n_rows, d_in] x^ - b_dec - W_dec^T z */
    sl_codes c;             /* compositions; row_ptr NULL: it has none */
    int64_t m_c;
    double energy;          /* sum |y|^2 / sum |x - mean|^2 */
    double fvu;             /* of x^ on these rows; NaN: the rows do not vary */
} sl_branch;
/* r NULL: an SAE without compositions. SL_UNAVAILABLE: rows are normalised one by one, or it predicts a target. */
sl_status sl_branch_new(sl_ctx *ctx, sl_sae *s, sl_compose *r, const sl_eval_data *d, sl_branch *out, sl_err *err) SL_USE_RESULT;
void sl_branch_release(sl_ctx *ctx, sl_branch *b);

/* Held-out ridge regression of y [n_rows, d] on [1, z, 1(z > 0)]: *left is the sum of squares that it leaves on a fifth of the rows, *rows of
 * them in `scored` [n_rows] 1. Three fifths fit, one chooses the penalty. Parts as sl_split_rows. SL_DATA: fewer than 50 rows, a part without
 * rows, or more than SL_RIDGE_LATENTS live latents. */
enum { SL_RIDGE_LATENTS = 2048 };
sl_status sl_ridge_left(sl_ctx *ctx, const sl_eval_data *d, const float *y, int64_t dim, double *left, uint8_t *scored, sl_err *err) SL_USE_RESULT;

/* ---- units: whatever claims to be a composition of latents ---- */

typedef struct sl_units {
    int64_t n, d_sae;
    sl_sparse fires;        /* [n_rows, n] */
    double *share;          /* [n, d_sae] of each latent in the unit; a row sums to 1, or is 0 */
} sl_units;

/* Mean attribution I_q(i,j) of one composition, over the first SL_MEAN_ROWS rows in which it is active. */
enum { SL_MEAN_ROWS = 256 };
typedef struct sl_mean_pi {
    int64_t d_sae, n_touched, *touched; /* indices i d_sae + j with count > 0, in the order of their first touch */
    double *mean;           /* [d_sae, d_sae] */
    int32_t *count;
} sl_mean_pi;
sl_status sl_mean_pi_new(sl_ctx *ctx, int64_t d_sae, sl_mean_pi *out, sl_err *err) SL_USE_RESULT;
void sl_mean_pi_release(sl_ctx *ctx, sl_mean_pi *m);
void sl_mean_pi_clear(sl_mean_pi *m);
void sl_mean_pi_add(sl_mean_pi *m, const int32_t *token, int64_t n, const float *pi); /* pi [n, n] */
void sl_mean_pi_finish(sl_mean_pi *m); /* sums become means */
void sl_mean_pi_shares(const sl_mean_pi *m, double *share); /* [d_sae] sum_j (|I(i,j)| + |I(j,i)|) / (2 sum |I|) */

/* All compositions: shares [m_c, d_sae], strength [d_sae, d_sae] += |I_q(i,j)| into i < j, and (p not NULL) the units of the pictures. */
sl_status sl_attributions(sl_ctx *ctx, sl_compose *r, const sl_eval_data *d, const sl_branch *b, int64_t n_units, double *share, double *strength,
                          sl_composition_pictures *p, sl_err *err) SL_USE_RESULT;
/* Puts reuse_mean, reuse_gini, reuse_entropy, mean_order; edges and reuse of the pictures. alive [d_sae]. */
sl_status sl_put_reuse(sl_ctx *ctx, const double *share, int64_t m, int64_t d_sae, const uint8_t *alive, sl_metrics *out, sl_composition_pictures *p, sl_err *err) SL_USE_RESULT;
double sl_gini(double *v, int64_t n); /* sorts v [n] >= 0, sum > 0; 0: all equal */

/* Puts attribution_error, causal_pi, index_pi, index_attention, index_mean. */
sl_status sl_put_causal(sl_ctx *ctx, sl_compose *r, const sl_eval_data *d, const sl_branch *b, const sl_composition_opts *o, sl_metrics *out, sl_err *err) SL_USE_RESULT;

/* pair[].index of u, composition u->q in columns c of the compositions' rows. */
sl_status sl_unit_indices(sl_ctx *ctx, sl_compose *r, const sl_sparse *z, const sl_columns *c, sl_composition_unit *u, sl_err *err) SL_USE_RESULT;

/* Mean attention over the most frequent latents. */
sl_status sl_attention_means(sl_ctx *ctx, sl_compose *r, const sl_eval_data *d, int64_t n, sl_composition_pictures *p, sl_err *err) SL_USE_RESULT;
/* Order of n leaves by average linkage of distance [n, n]. */
sl_status sl_linkage_order(sl_ctx *ctx, const double *distance, int64_t n, int32_t *order, sl_err *err) SL_USE_RESULT;

/* ---- pairs of latents ---- */

typedef struct sl_pair { int32_t i, j; int64_t both; double score; } sl_pair; /* i < j; rows with both */
/* Pairs that fire together in at least min_rows rows, at most SL_PAIRS_MAX: those that do so most often. sl_free. */
enum { SL_PAIRS_MAX = 50000 };
sl_status sl_pairs_of(sl_ctx *ctx, const sl_sparse *z, int64_t min_rows, sl_pair **out, int64_t *n, sl_err *err) SL_USE_RESULT;
/* score: |x^(i,j) - x^(i) - x^(j) + x^()| of the decoder at the mean active values of z. */
sl_status sl_decoder_pairs(sl_ctx *ctx, sl_sae *s, const sl_sparse *z, sl_pair *pair, int64_t n, sl_err *err) SL_USE_RESULT;
void sl_covariance_pairs(const sl_columns *z, sl_pair *pair, int64_t n); /* score: the covariance of the two latents */
/* The first `n` pairs as units; release with sl_units_release. */
sl_status sl_pair_units(sl_ctx *ctx, const sl_sparse *z, const sl_pair *pair, int64_t n, sl_units *out, sl_err *err) SL_USE_RESULT;
/* Best `top` triples (i, j; l) by the cross-validated partial R^2 of z_i z_j for z_l beyond 1, z_i, z_j; latents l become units. Only l that
 * fires in min_rows rows with the pair. */
sl_status sl_posthoc_units(sl_ctx *ctx, const sl_eval_data *d, int64_t min_rows, int64_t top, sl_units *out, sl_err *err) SL_USE_RESULT;
void sl_units_release(sl_ctx *ctx, sl_units *u); /* of pairs and post-hoc analyses: what they own */

/* ---- against the truth ---- */

typedef struct sl_relation {
    int32_t id;             /* a set's number, or n_sets + a feature's */
    int32_t family;         /* relations of one family and of the same atoms count once; -1 - set for sets */
    int32_t n_atom, atom[SL_WORLD_ATOMS]; /* families of its atoms, ascending */
    bool withheld;
    int64_t fired;          /* rows */
} sl_relation;

typedef struct sl_recovery { int64_t hits, wrong, wrong_strict, targets; } sl_recovery; /* wrong_strict: with the claims without a composite */
double sl_recovery_f1(const sl_recovery *r, bool strict);

typedef struct sl_relations {
    sl_relation *v; int64_t n;
    sl_sparse on;           /* [n_rows, n] where each relation holds */
} sl_relations;
sl_status sl_relations_of(sl_ctx *ctx, const sl_world_truth *t, const sl_sparse *g, sl_relations *out, sl_err *err) SL_USE_RESULT;
void sl_relations_release(sl_ctx *ctx, sl_relations *r);

/* family [d_sae]: of the atom with the largest phi, -1 where that is below SL_RELATION_PHI. */
sl_status sl_atoms_of(sl_ctx *ctx, const sl_world_truth *t, const sl_sparse *z, const sl_sparse *g, int32_t *family, sl_err *err) SL_USE_RESULT;
/* composite [u->n], phi [u->n]: index of the relation with the largest phi, -1 below SL_RELATION_PHI; either may be NULL. Targets: relations
 * that hold in at least min_rows rows, withheld ones only if `withheld`. */
sl_status sl_recover(sl_ctx *ctx, const sl_units *u, const sl_relations *rel, const int32_t *family, int64_t min_rows, bool withheld, int32_t *composite,
                     double *phi, sl_recovery *out, sl_err *err) SL_USE_RESULT;

/* ---- one evaluation ---- */

/* One data set with everything known of it. */
typedef struct sl_compose_part {
    sl_eval_data d;
    sl_branch b;
    double *share;          /* [m_c, d_sae], or NULL */
} sl_compose_part;

typedef struct sl_compose_work {
    sl_ctx *ctx;
    sl_sae *s;
    sl_compose *r;          /* NULL: not compositional */
    bool linear;            /* the decoder adds nothing to its linear part */
    const sl_composition_input *in;
    const sl_composition_opts *o;
    sl_metrics *out;
    sl_composition_pictures *p;
    sl_compose_part test, ood;
    double *strength;       /* [d_sae, d_sae] sum_q |I_q(i,j)| of i < j */
    int32_t *family;        /* [d_sae] atoms of the latents */
    char why[128];          /* why there is no attribution */
} sl_compose_work;

/* Puts comp_f1 and the like of a part; names end in _withheld where withheld relations are asked for. */
sl_status sl_put_recovery(sl_compose_work *w, const sl_compose_part *t, bool withheld, sl_err *err) SL_USE_RESULT;

#endif
