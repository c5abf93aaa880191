/* The inside of the perturbation layer: what a view of a batch is, the loss on the tape, and the layer's state. Split over perturb.c (state
 * and life), perturb_noise.c, perturb_select.c, perturb_attack.c, perturb_loss.c, perturb_control.c, perturb_train.c and perturb_stop.c. */
#ifndef SL_SAE_PERTURB_H
#define SL_SAE_PERTURB_H

#include "sae/variant.h"
#include <saelab/perturb.h>

/* One perturbed copy of a batch, of the tape's dtype. */
typedef struct sl_perturb_view {
    sl_tensor x;                /* [n, d_in] x + delta */
    uint8_t *valid;             /* [n] */
    sl_csr add, drop;           /* of the target: z* = z + add, without the latents of drop; n_rows 0: none. Values of drop are not read */
    int32_t *limit;             /* [n] latents that a TopK keeps of the row: |S| + |T| or |S| - |T|; NULL: as ever */
    int32_t *limit_room;        /* [n] its memory */
    sl_move move;               /* delta along few directions, as the encoder takes it; dirs.data NULL: along any. clean is not set */
    float *coef;                /* [n, q or rank] its memory, */
    int32_t *at;                /* [n, q] and this */
    int64_t n_valid;
    double achieved;            /* mean |delta| / |x| over valid rows */
} sl_perturb_view;

/* The values of the terms, to be looked at. */
typedef struct sl_perturb_terms {
    sl_var loss;                /* gamma L_stab + rho |y - decode(z')|^2 / (B d_bar); id 0: none */
    sl_var stability;           /* L_stab; id 0: none */
    sl_code got, target;        /* z' and z* of the last view */
} sl_perturb_terms;

/* The stability loss of a clean pass and its views (perturb.h's formulas); n_views 0 for contractive and enc_l2. batch: of the clean pass. */
sl_perturb_terms sl_perturb_loss(sl_tape *t, const sl_sae *s, const sl_perturb_config *c, const sl_sae_pass *clean, const sl_sae_batch *batch,
                                 double gamma, const sl_perturb_view *views, int n_views);
sl_code sl_perturb_code(sl_tape *t, sl_latents z); /* latents as a code */

enum { SL_PERTURB_BESIDE = 96 }; /* d_in from which few directions save time: measured, `./run bench perturb` */
enum { SL_NEAR = 32, SL_PAIRS = 64, SL_PERTURB_VIEWS = 16 };
/* Numbers of state, checkpointed. */
enum { PT_LN_EPS, PT_FSS_NUM, PT_FSS_DEN, PT_LAST_F, PT_SATURATED, PT_SKIPPED, PT_ROWS, PT_SEEN, PT_STABLE, PT_LAST_FSS, PT_LAST_FVU, PT_DECAY_FROM, PT_NEAR_MADE, PT_BEST_FVU, PT_CHECKS, PT_N };

typedef struct sl_perturb {
    sl_ctx *ctx;
    const sl_kern *k;
    sl_sae *s;
    const sl_perturb_config *c;
    int64_t F, d, room;         /* room: rows that the buffers hold */
    /* state */
    double *act_sum, *act_n;    /* [F] sums over about the last 1e5 rows: active values, firings */
    double *fss_num, *fss_den;  /* [F] sum |z' - z*|, sum z' + z* */
    int32_t *near;              /* [F, SL_NEAR] neighbours, best first, -1: none */
    float *near_score;          /* [F, SL_NEAR] */
    int32_t *pair;              /* [F, SL_PAIRS] latents counted together with each, -1: a free place (cofire) */
    double *pair_n;             /* [F, SL_PAIRS] */
    double v[PT_N];
    /* made from the data or the seed */
    float *factor;              /* shaped: [components, d] */
    float *turn;                /* mask_rotated: [d, d] rows orthonormal */
    int64_t n_factor;
    /* buffers */
    float *noise, *small, *basis; /* [room, d]; [room, rank or components]; [rank, d] */
    float *score;               /* [F] */
    int32_t *touched, *seat;    /* [F] the candidates of a row; their places among these from 1, 0: not there, -1: active in the row */
    float *pool;                /* [pool_room, d] decoder rows of the latents that inject and direct take in a step of training; NULL: any latent */
    int32_t *pool_latent, *pool_of; /* [pool_room] which; [F] their places in the pool, -1: not in it */
    int32_t *pool_from, *pool_near; /* [F + 1], [F, SL_NEAR]: the places of each latent's list that hold latents of the pool */
    int64_t pool_room, n_pool;
    sl_perturb_view view[SL_PERTURB_VIEWS];
    sl_tape *tape;              /* of attacks */
    double (*clock)(void);      /* of these: seconds spent on making views, and on their codes and loss */
    double generating, forward;
} sl_perturb;

typedef struct sl_perturb_key { int64_t step, first; int view; } sl_perturb_key;

sl_status sl_perturb_new(sl_sae *s, const sl_perturb_config *c, int64_t room, sl_perturb **out, sl_err *err) SL_USE_RESULT;
void sl_perturb_free(sl_perturb *p);
bool sl_perturb_few(const sl_perturb_config *c);       /* delta lies along few directions, in training */
/* Training: inject and direct take latents from a pool of at most room / 16, drawn each step (science.md B5). False: no memory. */
bool sl_perturb_use_pool(sl_perturb *p);
void sl_perturb_draw_pool(sl_perturb *p, const float *x, const sl_csr *z, int64_t n, int64_t step);
sl_status sl_perturb_check(const sl_sae *s, const sl_perturb_config *c, sl_err *err) SL_USE_RESULT;
bool sl_perturb_has_delta(const sl_perturb_config *c); /* rows are perturbed at all */
bool sl_perturb_selects(const sl_perturb_config *c);   /* inject and direct */
bool sl_perturb_directions(sl_perturb *p, int64_t step); /* fills basis with `rank` orthonormal rows; false: no memory */
/* rows [n, d] centred: the covariance of shaped. SL_MEM, SL_NUMERIC. */
sl_status sl_perturb_fit(sl_perturb *p, const float *rows, int64_t n, sl_err *err) SL_USE_RESULT;
/* The codes of a batch: mean active values, co-firing. */
void sl_perturb_see(sl_perturb *p, const sl_csr *z);
void sl_perturb_refresh(sl_perturb *p); /* neighbour lists from the weights or counts of now */
/* The clean code z and rows x [n, d] (mean NULL, or [d]: norms are of x - mean) to p->view[at]. */
sl_status sl_perturb_make(sl_perturb *p, const float *x, const float *mean, const sl_csr *z, int64_t n, sl_perturb_key key, double eps, int at, sl_err *err) SL_USE_RESULT;

/* perturb_select.c: up to q latents that row r of z lacks; returns how many. x: the row. */
int sl_perturb_pick(sl_perturb *p, const sl_csr *z, int64_t r, const float *x, int q, sl_rng *g, int32_t *out);
/* perturb_attack.c: p->noise [n, d] becomes delta of norm eps |x - mean| */
sl_status sl_perturb_attack(sl_perturb *p, const float *x, const float *mean, const sl_csr *z, int64_t n, sl_perturb_key key, double eps, sl_err *err) SL_USE_RESULT;
double sl_perturb_norm(const float *x, const float *mean, int64_t d);

/* Sums |z' - z*| and z' + z* of the valid rows, and the mean of |z' - z*|^2 / |z*|^2; keep: also by latent, into p (perturb_train.c). */
typedef struct sl_perturb_seen { double num, den, change; } sl_perturb_seen;
sl_perturb_seen sl_perturb_compare(sl_perturb *p, const sl_csr *got, const sl_csr *want, const uint8_t *valid, bool keep);

/* perturb_control.c */
double sl_perturb_eps_now(const sl_perturb *p);
void sl_perturb_steer(sl_perturb *p, double num, double den); /* after a step: sums of |z' - z*| and z' + z* */
/* A check of early stopping: true when the final decay shall begin. share: of the budget done. */
bool sl_perturb_settled(sl_perturb *p, double fss, double fvu, double share);

#endif
