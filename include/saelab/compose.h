/* Compositional SAEs (variant "compositional") from inside: for given rows or codes, the active tokens, their attention, gates and
 * compositions, and the exact additive attribution of a composition to pairs of features (science.md C2, C7).
 *   tokens i, j: the active latents S of a row, ascending; P^h_ij attention, g_i gate, drive = W_comp_in h,  c = TopK(ReLU(drive - theta))
 *   pi_q(i,j) = 1[c_q > 0] g_i W_comp_in[q] . W_O^T (sum over heads P^h_ij (V_j - V_i)^h)        sum_ij pi_q(i,j) = 1[c_q > 0] drive_q
 * hadamard: V_j * V'_i in place of V_j - V_i; without self-subtraction: V_j. Given P and g this is exact: no gradient, no approximation.
 * Weights by name from sl_sae_weight: "W_comp_dec" [m_c, d_in] (rows e_q, norm 1) and "rho" [1]; x^ = W_dec^T z + b_dec + rho sum_q c_q e_q. */
#ifndef SAELAB_COMPOSE_H
#define SAELAB_COMPOSE_H

#include <saelab/sae.h>

typedef struct sl_compose_info {
    int64_t d_c, n_head, m_c, k_c, depth;
    double rho, sigma;          /* sigma: rms of active latents in training, the unit of a token's strength */
} sl_compose_info;

/* What one call found in n_rows rows. Borrowed until the next call on the same reader. n(r) = tokens of row r. */
typedef struct sl_compose_view {
    int64_t n_rows;
    sl_codes z;                 /* tokens: row r's are entries z.row_ptr[r] .. z.row_ptr[r+1]-1 (feature, value) */
    const int64_t *p_ptr;       /* [n_rows + 1]: row r's attention starts at element p_ptr[r], */
    const float *attention;     /* [n_head, n(r), n(r)], (h, i, j) with j last; 0 where row sparsity left nothing. All 0 where there is no attention */
    const float *gate;          /* [tokens]; 1 without a gate */
    const float *drive;         /* [n_rows, m_c]: W_comp_in h, before theta */
    sl_codes c;                 /* compositions: at most k_c a row, features q < m_c */
    const float *branch;        /* [n_rows, d_in]: rho sum_q c_q e_q, in the space of raw activations */
} sl_compose_view;

typedef struct sl_compose sl_compose;

/* A reader of s, which it borrows; s may not change meanwhile. SL_UNAVAILABLE: s is not compositional; SL_ARG: its training has not finished; SL_MEM. */
sl_status sl_compose_open(sl_sae *s, sl_compose **out, sl_err *err) SL_USE_RESULT;
void sl_compose_close(sl_compose *c); /* NULL is legal */
sl_compose_info sl_compose_about(const sl_compose *c);

/* Raw rows x [n, d_in], n >= 1; keep n to a few thousand, everything of the call is in memory. SL_NUMERIC names the first element that is not
 * finite; SL_ARG: n < 1. Depth 2: attention and gates are those of the last block. */
sl_status sl_compose_rows(sl_compose *c, const float *x, int64_t n, sl_compose_view *out, sl_err *err) SL_USE_RESULT;
/* Rows first .. first + n - 1 of codes, for example with features removed: what the composition network makes of them. SL_ARG: these rows are
 * not there, an index is not 0 .. d_sae - 1, a row has more than 128; SL_UNAVAILABLE: comp_in is x, which codes alone do not determine. */
sl_status sl_compose_codes(sl_compose *c, const sl_codes *z, int64_t first, int64_t n, sl_compose_view *out, sl_err *err) SL_USE_RESULT;

/* pi [n(row), n(row)] of the last call's row `row` and composition q: pi_q(i, j) at pi[i n + j]. All 0 where c_q is 0, unless even_inactive:
 * then the factor 1[c_q > 0] is left out, and the sum is drive_q. Depth 2: the sum over both blocks, each with its own P and g.
 * SL_ARG: no such row or composition; SL_UNAVAILABLE: attention is deep_sets or comp_in is x, where there are no pairs. */
sl_status sl_compose_attribution(sl_compose *c, int64_t row, int64_t q, bool even_inactive, float *pi, sl_err *err) SL_USE_RESULT;

#endif
