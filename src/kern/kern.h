/* The kernel table: one slot is one tensor-level operation with its own single parallel region over fixed tiles.
 * Filled in layers, each only what it improves: ref (plain C, complete, f32 and f64, the oracle), simd (AVX2 / AVX-512,
 * chosen at run time), onednn (matrix products). Only kernels dereference tensor data.
 *
 * Rules for every slot: no allocation (scratch belongs to the table and grows only when a call needs more than any before,
 * so a steady loop allocates nothing; see kern/scratch.h), no atomics, and the same bits for any thread count:
 * work is cut into tiles that do not depend on n_threads, each output has one owner, reductions have a fixed partition and
 * tree. Shapes are the caller's promise (asserted); operators check them. "rows" means all dimensions but the last.
 * dx-type outputs of *_back slots are ADDED to (+=) unless said otherwise, and may be NULL: not wanted.
 * A factor beta == 0 means that the old value is not read. Element-wise slots may work in place (y == x).
 * A slot without memory for its scratch leaves its outputs undefined and sets a sticky flag: sl_kern_failed. */
#ifndef SL_KERN_H
#define SL_KERN_H

#include <saelab/rng.h>
#include <saelab/tensor.h>

typedef enum sl_act { SL_ACT_NONE, SL_ACT_RELU, SL_ACT_GELU /* exact, erf */, SL_ACT_RELU2 /* relu(x)^2 */, SL_ACT_EXP } sl_act;

/* Sparse codes: CSR with a fixed capacity; only positive values are stored; indices ascend within a row.
 * row r owns entries row_ptr[r] .. row_ptr[r+1]-1. */
typedef struct sl_csr {
    int64_t n_rows, n_cols, capacity;
    int64_t *row_ptr; /* [n_rows + 1] */
    int32_t *idx;     /* [capacity] */
    void *val;        /* [capacity] of the table's dtype */
} sl_csr;

/* A code in feature-major order: feature f owns places ptr[f] .. ptr[f+1]-1, rows ascending. */
typedef struct sl_csc {
    int64_t n_cols;
    int64_t *ptr;          /* [n_cols + 1] */
    int32_t *entry, *row;  /* [capacity of the code] index into the arrays of the sl_csr; its row */
} sl_csc;

/* What an encoder learnt of all pre-activations of rows x [B, d]: that of row r and feature f is at most unit[r] * top[r F + f]; byte 255:
 * nothing is known. For whoever encodes rows beside these. */
typedef struct sl_bounds {
    uint8_t *top;              /* [B, F] */
    float *unit;               /* [B] */
    double w_norm, b_max;      /* largest |w_f| and |b_f| */
} sl_bounds;

/* Rows x2 [B, d] beside rows x whose code is known: x2_r is about x_r + sum_i coef_ri dirs[at_ri]. What that leaves out is measured, so it
 * decides the speed alone. */
typedef struct sl_moved {
    const sl_tensor *x;
    const sl_csr *z;           /* code of x */
    const sl_bounds *bounds;   /* that its encoder kept */
    const sl_tensor *dirs;     /* [n, d], or NULL: x2 is anywhere, bounds are not used */
    const sl_tensor *lead;     /* [F, n] W dirs^T */
    const sl_tensor *coef;     /* [B, q] */
    const sl_tensor *at;       /* I32 [B, q], < 0: no more; or NULL: q = n, every direction in turn */
    const sl_tensor *latent;   /* I32 [n] or NULL: features that dirs are likely to make active */
} sl_moved;

/* A part of a dictionary's gradient that is never made whole: row f is the sum over f's places of coef[entry] * rows[row]. */
typedef struct sl_term { const sl_csc *at; sl_tensor coef, rows; } sl_term;

/* A dictionary W [F, d] before an optimizer's step: its gradient is grad (or NULL: 0) and the terms together. */
typedef struct sl_sweep {
    sl_tensor *W, *m, *v;
    const sl_tensor *grad;
    const sl_term *term;
    int n_terms;
    bool project;   /* each row of the gradient loses its part along the row of W */
    bool normalize; /* rows of W end with norm 1; a zero row stays */
} sl_sweep;

/* A random stream of a mask: element e of the tensor is kept when its 16-bit lane of
 * philox(key; block = e / 8) is >= p * 65536. Lane e%8 is half e%2 of word (e%8)/2. */
typedef struct sl_mask_key {
    uint64_t seed, stream; /* stream: step and call site, mixed by the caller */
    double p;              /* probability of dropping, 0: nothing is dropped */
} sl_mask_key;

typedef struct sl_gemm {
    const sl_tensor *a, *b; /* op(a) [M, K], op(b) [K, N]; leading dimensions are collapsed to rows */
    bool ta, tb;            /* op is the transpose */
    sl_tensor *c;           /* [M, N] */
    double alpha, beta;     /* c = act(alpha op(a) op(b) + bias) + beta c */
    const sl_tensor *bias;  /* [N] or NULL */
    sl_act act;
    sl_tensor *pre;         /* [M, N] or NULL: receives the value before act */
} sl_gemm;

typedef struct sl_attn {
    int64_t B, T, C; /* C = n_head * head size */
    int n_head;
    sl_mask_key drop; /* on the attention weights; element index (((b * H + h) * T) + i) * T + j */
} sl_attn;

/* AdamW as PyTorch: m, v, bias correction, decoupled decay (0: Adam). step counts from 1. */
typedef struct sl_adam { double lr, beta1, beta2, eps, decay, grad_scale; int64_t step; } sl_adam;

/* phi of a penalty on codes: u; tanh(c u); (u + 1e-6)^c - 1e-6^c for u > 0 (science.md H, p-anneal), else 0 without slope. */
typedef enum sl_penalty_kind { SL_PENALTY_L1, SL_PENALTY_TANH, SL_PENALTY_POWER } sl_penalty_kind;
typedef struct sl_penalty { sl_penalty_kind kind; double c; } sl_penalty;
#define SL_POWER_OFFSET 1e-6

/* The active features of each row of a code as tokens (science.md C2): token i of a row is its i-th entry; n tokens a row, at most
 * SL_TOKENS_MAX. Tables have a row a feature, or, by_token, a row an entry. Rows of attention are lists: of P [capacity, n_head, keep] and
 * at (U8, the same shape) token i and head h use min(keep, n) elements: P_ij and j, its place in the row; the first is i itself. Others are 0.
 * Values V: rows [d_c], or [2 d_c], V and V', for products; a token's is its row times `unit` z, or as it stands, by_token.
 *   O_i = sum_j P_ij (V_j - V_i)   |   sum_j P_ij V_j (not subtract)   |   sum over j other than i of P_ij V_j * V'_i (product)
 * each head on its d_c / n_head columns. shuffle: V_j, j other than i, is that of token j % n' of row (r + rows / 2) % rows, of n' tokens (0: 0).
 *   y_i = g_i O_i,  g_i = 1 / (1 + exp(-(gate_i + w . O_i))), 1 without gate      y: a row an entry (each) or their sum over each row */
enum { SL_TOKENS_MAX = 128 };
typedef struct sl_tokens {
    const sl_csr *z;
    int64_t d_c, keep;
    int n_head;
    bool by_token, subtract, product, shuffle, each;
    double unit;
} sl_tokens;

typedef struct sl_tokens_value { const sl_tensor *P, *at, *V, *gate /* [F, 1], or by_token; NULL: g = 1 */, *w /* [d_c, 1] */; } sl_tokens_value;

/* Gradients of a mix; what is NULL is not wanted, all else is written whole up to the last entry. */
typedef struct sl_tokens_grad {
    sl_tensor *P;                /* as P; elements that no list uses are left alone */
    sl_tensor *V, *V_of_partner; /* a row an entry: the gradient of V's row is the sum of these times val (by_token: times 1); partner: shuffle only */
    sl_tensor *gate;             /* an element an entry */
    sl_tensor *w;                /* [d_c, 1], added to */
    sl_tensor *z, *z_of_partner; /* an element an entry; z: not by_token */
} sl_tokens_grad;

typedef struct sl_kern sl_kern;
struct sl_kern {
    char id[96];      /* "ref", "ref+simd/avx2+onednn 2.6.3": goes into cache keys */
    sl_dtype dtype;   /* SL_F32 or SL_F64: the dtype of every real tensor given to it */
    int n_threads;
    sl_ctx *ctx;
    void *impl;       /* scratch and primitives of the layers */

    /* ---- matrix products ---- */
    void (*gemm)(const sl_kern *k, const sl_gemm *g);

    /* ---- element-wise and rows ---- */
    void (*fill)(const sl_kern *k, double v, sl_tensor *y);
    void (*copy)(const sl_kern *k, const sl_tensor *x, sl_tensor *y);
    void (*axpby)(const sl_kern *k, double a, const sl_tensor *x, double b, sl_tensor *y);   /* y = a x + b y; b == 0 ignores y */
    void (*add)(const sl_kern *k, const sl_tensor *a, const sl_tensor *b, sl_tensor *y);     /* y = a + b, same shape */
    void (*mul)(const sl_kern *k, const sl_tensor *a, const sl_tensor *b, double beta, sl_tensor *y); /* y = a*b + beta y */
    void (*add_row)(const sl_kern *k, const sl_tensor *x, double s, const sl_tensor *r, sl_tensor *y); /* y = x + s r, r [D] */
    void (*mul_row)(const sl_kern *k, const sl_tensor *x, const sl_tensor *r, double beta, sl_tensor *y); /* y = x*r + beta y */
    void (*col_sum)(const sl_kern *k, double s, const sl_tensor *x, sl_tensor *y);           /* y [D] += s sum_rows x */
    void (*act)(const sl_kern *k, sl_act act, const sl_tensor *x, sl_tensor *y);
    void (*act_back)(const sl_kern *k, sl_act act, const sl_tensor *x, const sl_tensor *dy, double beta, sl_tensor *dx); /* dx = act'(x) dy + beta dx; may be in place of dy */
    void (*dropout)(const sl_kern *k, const sl_mask_key *key, const sl_tensor *x, double beta, sl_tensor *y); /* y = mask x / (1-p) + beta y */

    /* ---- reductions to one double ---- */
    double (*sum)(const sl_kern *k, const sl_tensor *x);
    double (*sum_sq)(const sl_kern *k, const sl_tensor *x);
    double (*dot)(const sl_kern *k, const sl_tensor *a, const sl_tensor *b);
    double (*sq_dist)(const sl_kern *k, const sl_tensor *a, const sl_tensor *b);             /* sum (a - b)^2 */
    int64_t (*not_finite)(const sl_kern *k, const sl_tensor *x);                             /* first index, or -1 */

    /* ---- normalisation: stat [rows, 2] = mean, 1/std (layernorm) or 0, 1/rms ---- */
    void (*layernorm)(const sl_kern *k, const sl_tensor *x, const sl_tensor *gain, const sl_tensor *bias, double eps, sl_tensor *y, sl_tensor *stat);
    void (*layernorm_back)(const sl_kern *k, const sl_tensor *x, const sl_tensor *gain, const sl_tensor *stat, const sl_tensor *dy, sl_tensor *dx, sl_tensor *dgain, sl_tensor *dbias);
    void (*rmsnorm)(const sl_kern *k, const sl_tensor *x, const sl_tensor *gain /* or NULL */, double eps, sl_tensor *y, sl_tensor *stat);
    void (*rmsnorm_back)(const sl_kern *k, const sl_tensor *x, const sl_tensor *gain, const sl_tensor *stat, const sl_tensor *dy, sl_tensor *dx, sl_tensor *dgain);

    /* ---- language model ---- */
    void (*embed)(const sl_kern *k, const sl_tensor *ids /* I32 */, const sl_tensor *table /* [V, C] */, double beta, sl_tensor *y /* [rows, C] */);
    void (*embed_back)(const sl_kern *k, const sl_tensor *ids, const sl_tensor *dy, sl_tensor *dtable);
    /* Rotary positions (Su et al. 2021, arXiv 2104.09864, in the half-split pairing of GPT-NeoX): in the q and k thirds of
     * x [B, T, 3C], C = n_head * hd, elements i and i + hd/2 of a head turn by (pos0 + t) * base^(-2i/hd); the v third is
     * passed on. y = turned x + beta y; sign -1: the inverse, which is the backward. In place when beta is 0. */
    void (*rotary)(const sl_kern *k, const sl_tensor *x, int n_head, int64_t pos0, double base, double sign, double beta, sl_tensor *y);
    void (*attention)(const sl_kern *k, const sl_attn *a, const sl_tensor *qkv /* [B, T, 3C] */, sl_tensor *y /* [B, T, C] */, sl_tensor *lse /* [B, H, T] */);
    void (*attention_back)(const sl_kern *k, const sl_attn *a, const sl_tensor *qkv, const sl_tensor *y, const sl_tensor *lse, const sl_tensor *dy, sl_tensor *dqkv /* += */);
    /* One token at a time, for sampling. y [N] = act(W x + bias) + beta y; W [N, K] of the table's dtype, or BF16 with sums as wide as ever. */
    void (*gemv)(const sl_kern *k, const sl_tensor *W, const sl_tensor *x /* [K] */, const sl_tensor *bias /* [N] or NULL */, sl_act act, double beta, sl_tensor *y);
    /* Attention of position T - 1 over positions 0..T-1 (B 1, no dropout): qkv [>= T, 3C] is a cache of rows, y [C]. */
    void (*attend)(const sl_kern *k, const sl_attn *a, const sl_tensor *qkv, sl_tensor *y);
    /* mean over rows with target >= 0 of -log softmax(logits)[target]; logits are overwritten by d(loss)/d(logits) when
     * `grad`; row_loss [rows] may be NULL. Returns the mean (0 when no row counts). */
    double (*softmax_xent)(const sl_kern *k, sl_tensor *logits, const sl_tensor *targets /* I32 [rows] */, bool grad, sl_tensor *row_loss); /* row_loss and gradient of a row that does not count: 0 */
    int64_t (*count_targets)(const sl_kern *k, const sl_tensor *targets); /* how many are >= 0: the rows that softmax_xent counts */

    /* ---- sparse codes: x [B, d_in], W feature-major [F, d_in] ---- */
    /* The min(k, number positive) largest of x W^T + b in each row; order of selection: value descending, index ascending.
     * skip [F] U8 or NULL: features with skip != 0 are not candidates (AuxK chooses among the dead).
     * z->capacity >= B * min(n_active, F). A pre-activation is sl_dot of kern/dot.h plus b, bit for bit in every layer. */
    void (*encode_topk)(const sl_kern *k, const sl_tensor *x, const sl_tensor *W, const sl_tensor *b, const sl_tensor *skip, int64_t n_active, sl_csr *z);
    /* encode_topk without skip, which also fills `keep`, the caller's memory. */
    void (*encode_topk_keep)(const sl_kern *k, const sl_tensor *x, const sl_tensor *W, const sl_tensor *b, int64_t n_active, sl_bounds *keep, sl_csr *z);
    /* encode_topk of x2, bit for bit; sooner, since candidates come from what is known of x: no product of the batch with W. */
    void (*encode_moved)(const sl_kern *k, const sl_moved *m, const sl_tensor *x2, const sl_tensor *W, const sl_tensor *b, int64_t n_active, sl_csr *z);
    /* Values of a frozen selection: z.val = x . W[idx] + b[idx], the index structure kept (gradient checks). */
    void (*encode_at)(const sl_kern *k, const sl_tensor *x, const sl_tensor *W, const sl_tensor *b, sl_csr *z);
    /* Rows row0 .. of z, after those before: the min(most, number positive) largest of each row of `dense` [.., F], as encode_topk selects.
     * z->capacity >= (row0 + rows) * min(most, F). */
    void (*csr_topk)(const sl_kern *k, const sl_tensor *dense, int64_t most, int64_t row0, sl_csr *z);
    /* Feature f with skip[f] == 0 owns one place; its entry, its row and its place in ids (I32 [F]) are its number among these. */
    void (*csc_of_mask)(const sl_kern *k, const sl_tensor *skip /* U8 [F] */, sl_csc *t, sl_tensor *ids);
    void (*csr_from_dense)(const sl_kern *k, const sl_tensor *dense, sl_csr *z); /* entries > 0; capacity >= rows * F */
    void (*csr_to_dense)(const sl_kern *k, const sl_csr *z, sl_tensor *dense);
    /* The `total` largest of all entries of `in`, whose values are positive; order: value descending, then row, then feature. out->capacity >=
     * min(total, entries). False when a row with per_row entries keeps them all: had `in` been cut at per_row a row, that row may have more. */
    bool (*csr_keep_largest)(const sl_kern *k, const sl_csr *in, int64_t per_row, int64_t total, sl_csr *out);
    void (*csr_slice)(const sl_kern *k, const sl_csr *in, int64_t from, int64_t to, sl_csr *out); /* entries of features from <= f < to */
    void (*csr_add)(const sl_kern *k, const sl_csr *a, const sl_csr *b, sl_csr *out); /* out->capacity >= entries of both */
    void (*csr_pick)(const sl_kern *k, const sl_csr *from, const sl_tensor *val, const sl_csr *to, sl_tensor *out); /* out[e] += val of the entry of `from` with e's row and feature, where there is one; both run over entries */
    void (*csr_minus)(const sl_kern *k, const sl_csr *a, const sl_csr *b, sl_csr *out); /* entries of a that b has none beside; out->capacity >= a's entries */
    void (*csr_keep_rows)(const sl_kern *k, const sl_csr *in, const sl_tensor *limit /* I32 [rows] */, sl_csr *out); /* the limit[r] largest of row r; of equals the first */
    /* Stability of codes (science.md B4). w_b = keep_b / ((|z_b|^2 + kappa) sum keep), kappa = 1e-3 mean_b |clean_b|^2; keep [rows] U8; all 0 when
     * nothing is kept or the codes are all 0. */
    void (*csr_row_weights)(const sl_kern *k, const sl_csr *z, const sl_csr *clean, const sl_tensor *keep, sl_tensor *w);
    /* u = val of p - val of z's entry of the same row and feature, times w of the row; returns sum u (p - z). Entries of z beside none of p are not seen. */
    double (*csr_residual)(const sl_kern *k, const sl_csr *p, const sl_csr *z, const sl_tensor *w, sl_tensor *u);
    void (*csr_col_weights)(const sl_kern *k, const sl_csr *z, const sl_tensor *w, sl_tensor *c); /* c [F] = sum of w over the rows that have the feature */
    /* Rows of y [B, d] from streams (seed, SL_RNG_NOISE, step, (first + r) * 256 + view), whatever the rows before: N(0, 1) or U(-1, 1). */
    void (*noise_rows)(const sl_kern *k, uint64_t seed, uint64_t step, int64_t first, int view, bool uniform, sl_tensor *y);
    void (*sparse_decode)(const sl_kern *k, const sl_csr *z, const sl_tensor *W /* [F, D] */, const sl_tensor *bias /* [D] or NULL */, sl_tensor *y /* [B, D] */);
    /* dval[i] (+)= dy[row] . W[idx[i]] */
    void (*sparse_dval)(const sl_kern *k, const sl_csr *z, const sl_tensor *W, const sl_tensor *dy, double beta, sl_tensor *dval);
    void (*csr_transpose)(const sl_kern *k, const sl_csr *z, sl_csc *t); /* the caller's arrays; entries of z fit in int32 */
    /* dW[f] += sum over places p of feature f of coef[entry] * rows[row];  db[f] += sum coef[entry]. dW, db: each may be NULL. One thread
     * owns a feature. coef: values of the code or their gradients. */
    void (*dict_grad)(const sl_kern *k, const sl_csc *z, const sl_tensor *coef, const sl_tensor *rows, sl_tensor *dW, sl_tensor *db);
    void (*mix_rows)(const sl_kern *k, double s, const sl_tensor *c /* [F] */, const sl_tensor *W, sl_tensor *y /* [d] */); /* y += s sum_f c_f W_f */

    /* ---- dense latents: pre-activations a, codes z [B, F]; thresholds and weights of features [F]. K(u) = 1[|u| < 1/2] ---- */
    /* z = a where a > theta and a > 0, else 0. back, straight-through with a window eps > 0 (Rajamanoharan et al. 2024, arXiv 2407.14435,
     * eq. 11): da = 1[z > 0] dz + beta da,  dtheta_j -= sum_b (theta_j / eps) K((a - theta_j) / eps) dz. */
    void (*jump)(const sl_kern *k, const sl_tensor *a, const sl_tensor *theta, sl_tensor *z);
    void (*jump_back)(const sl_kern *k, double eps, const sl_tensor *a, const sl_tensor *theta, const sl_tensor *dz, double beta, sl_tensor *da, sl_tensor *dtheta);
    /* Number of codes that jump leaves. back (their eq. 12): dtheta_j -= dy sum_b K((a - theta_j) / eps) / eps; a has no gradient. */
    double (*count)(const sl_kern *k, const sl_tensor *a, const sl_tensor *theta);
    void (*count_back)(const sl_kern *k, double eps, const sl_tensor *a, const sl_tensor *theta, double dy, sl_tensor *dtheta);
    /* Gradient checks: the functions of a and theta that have jump's and count's value and straight-through gradient at (a0, theta0). */
    void (*jump_near)(const sl_kern *k, double eps, const sl_tensor *a0, const sl_tensor *theta0, const sl_tensor *a, const sl_tensor *theta, sl_tensor *z);
    double (*count_near)(const sl_kern *k, double eps, const sl_tensor *a0, const sl_tensor *theta0, const sl_tensor *theta);
    /* sum of max(theta_j - a, 0) over features with skip [F] U8 == 0. back: da = -dy 1[a < theta] + beta da, dtheta_j += dy sum_b 1[a < theta]. */
    double (*hinge)(const sl_kern *k, const sl_tensor *a, const sl_tensor *theta, const sl_tensor *skip);
    void (*hinge_back)(const sl_kern *k, const sl_tensor *a, const sl_tensor *theta, const sl_tensor *skip, double dy, double beta, sl_tensor *da, sl_tensor *dtheta);
    /* z = max(gain pi + shift, 0) where pi > 0, else 0. back: dpi = 1[z > 0] gain dz + beta dpi, dgain += sum_b 1[z > 0] pi dz, dshift likewise. */
    void (*gate)(const sl_kern *k, const sl_tensor *pi, const sl_tensor *gain, const sl_tensor *shift, sl_tensor *z);
    void (*gate_back)(const sl_kern *k, const sl_tensor *pi, const sl_tensor *gain, const sl_tensor *z, const sl_tensor *dz, double beta, sl_tensor *dpi, sl_tensor *dgain, sl_tensor *dshift);
    /* sum of phi(w_j z); w [F] or NULL: 1. back: dz = dy w_j phi'(w_j z) + beta dz, dw_j += dy sum_b z phi'(w_j z). */
    double (*penalty)(const sl_kern *k, const sl_penalty *p, const sl_tensor *z, const sl_tensor *w);
    void (*penalty_back)(const sl_kern *k, const sl_penalty *p, const sl_tensor *z, const sl_tensor *w, double dy, double beta, sl_tensor *dz, sl_tensor *dw);

    /* ---- tokens, see sl_tokens ---- */
    /* P = softmax over the list of Q_i . K_j / sqrt(d_c / n_head), QK [.., 2 d_c] a table; the list: i and the keep - 1 others of largest
     * product, in descending order, the lower j first where equal; all others, ascending, where keep >= n. chosen: lists are read from at.
     * QK NULL: 1 / length of the list, the others ascending. back: dQK a row an entry, written. */
    void (*tokens_attend)(const sl_kern *k, const sl_tokens *a, const sl_tensor *QK, bool chosen, sl_tensor *P, sl_tensor *at);
    void (*tokens_attend_back)(const sl_kern *k, const sl_tokens *a, const sl_tensor *QK, const sl_tensor *P, const sl_tensor *at, const sl_tensor *dP, sl_tensor *dQK);
    void (*tokens_mix)(const sl_kern *k, const sl_tokens *a, const sl_tokens_value *v, sl_tensor *y);
    void (*tokens_mix_back)(const sl_kern *k, const sl_tokens *a, const sl_tokens_value *v, const sl_tensor *dy, const sl_tokens_grad *g);
    /* Mean over heads and tokens of -sum_j P_ij ln P_ij; 0 without tokens. back: dP of the lists = that of dy times it. */
    double (*tokens_entropy)(const sl_kern *k, const sl_tokens *a, const sl_tensor *P);
    void (*tokens_entropy_back)(const sl_kern *k, const sl_tokens *a, const sl_tensor *P, double dy, sl_tensor *dP);
    void (*softplus)(const sl_kern *k, const sl_tensor *x, sl_tensor *y);                                                /* ln(1 + e^x) */
    void (*softplus_back)(const sl_kern *k, const sl_tensor *x, const sl_tensor *dy, sl_tensor *dx);                    /* dx += dy / (1 + e^-x) */
    /* y: columns of x [B, D] centred, of norm 1; 0 where a column is constant (to 1e-12 of its mean square). back: dx += */
    void (*col_standardize)(const sl_kern *k, const sl_tensor *x, sl_tensor *y);
    void (*col_standardize_back)(const sl_kern *k, const sl_tensor *x, const sl_tensor *y, const sl_tensor *dy, sl_tensor *dx);

    /* ---- optimizers and constraints ---- */
    void (*adam)(const sl_kern *k, const sl_adam *a, sl_tensor *w, const sl_tensor *g, sl_tensor *m, sl_tensor *v);
    /* A dictionary's step in two passes, rows of the gradient made twice and kept by nobody: their squared norm, projected, in a fixed order
     * (not finite where a gradient is not); then Adam on every row, and normalisation. */
    double (*sweep_sq)(const sl_kern *k, const sl_sweep *s);
    void (*sweep_adam)(const sl_kern *k, const sl_sweep *s, const sl_adam *a);
    void (*row_norms)(const sl_kern *k, const sl_tensor *W, sl_tensor *norm);            /* [F, D] -> [F] */
    void (*row_norms_back)(const sl_kern *k, const sl_tensor *W, const sl_tensor *norm, const sl_tensor *dnorm, sl_tensor *dW); /* dW_f += dnorm_f w_f / norm_f; a zero row adds 0 */
    void (*row_normalize)(const sl_kern *k, sl_tensor *W);                                /* rows to norm 1; a zero row stays */
    void (*row_project)(const sl_kern *k, const sl_tensor *W, sl_tensor *dW);             /* dW_f -= (dW_f . w_f) w_f / |w_f|^2 */
};

/* True once a slot of this table found no memory for its scratch; stays true. Whoever ran slots then reports SL_MEM. */
bool sl_kern_failed(const sl_kern *k);

/* How encode_topk finds its candidates; codes are the same bits either way. AUTO: integers where the CPU and the shape make them faster
 * than the f32 product (OFF); SIMD, ONEDNN: these integer products wherever numbers allow it. For tests and benchmarks. */
typedef enum sl_screen { SL_SCREEN_AUTO, SL_SCREEN_OFF, SL_SCREEN_SIMD, SL_SCREEN_ONEDNN } sl_screen;
bool sl_kern_set_screen(const sl_kern *k, sl_screen how); /* false, and nothing changed: this table has no such product, or a wrong one */

/* The table of a context for SL_F32 (best layers allowed by ctx options' `kern`, else the variable SL_KERN, else all) or
 * SL_F64 (ref). Lives as long as ctx. SL_ARG: unknown layer; SL_UNAVAILABLE: a layer asked for by name cannot run here. */
sl_status sl_kern_get(sl_ctx *ctx, sl_dtype dtype, const sl_kern **out, sl_err *err) SL_USE_RESULT;
/* The f32 table of named layers ("ref", "ref+simd", "ref+simd+onednn"), for tests and benchmarks. Lives as long as ctx. */
sl_status sl_kern_named(sl_ctx *ctx, const char *layers, const sl_kern **out, sl_err *err) SL_USE_RESULT;

/* Layers: each overrides the slots that it improves and appends its name to id ("+simd/avx2"), or leaves the table alone
 * where the CPU lacks what it needs. State of a layer hangs in sl_kern_impl (kern/scratch.h). */
void sl_kern_ref_f32(sl_kern *k);
void sl_kern_ref_f64(sl_kern *k);
void sl_kern_simd(sl_kern *k);
sl_status sl_kern_onednn(sl_kern *k, sl_err *err) SL_USE_RESULT;

#endif
