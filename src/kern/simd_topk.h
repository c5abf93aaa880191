/* Inside TopK encoding: the state of one call, and what its files give each other.
 *
 * A product of x and W, in f32 or in small integers, only proposes. For every value that it makes it knows an upper bound of the one that
 * kern/dot.h makes; a feature whose bound does not reach what the k-th largest value is known to reach (`limit`) is out. Bounds of the f32
 * product are so close that they raise the limit themselves; of others, those that look best are made exact while their part of W is at
 * hand, which raises it. The first part of W goes by the f32 product anyway, so that there is a limit to begin with. At the end all that
 * are left are made exact and the k largest are taken. So codes are those of kern/dot.h bit for
 * bit, whatever the product. */
#ifndef SL_SIMD_TOPK_H
#define SL_SIMD_TOPK_H

#include "kern/int8.h"
#include "kern/simd_sparse.h"

enum {
    TOPK_EXACT_ROWS = 8, /* rows without proposals share one reading of W */
    TOPK_DENSE = 1, TOPK_GAVE_UP = 2, TOPK_FAILED = 3
};

typedef struct topk {
    const float *x, *w, *bias;
    const int32_t *feature;      /* [n] the candidates, ascending */
    int64_t n, d, k;
    int64_t r0, m;               /* rows in hand, [r0, r0 + m), in blocks of mc: */
    int64_t mc, nc;              /* rows of a block; candidates of a part of W */
    int64_t cap, most;           /* proposals of a row: room; they are thinned out when there are more than most - NR */
    int32_t *at;                 /* [m, cap] proposed candidates, ascending; ~candidate where val is exact, */
    float *val;                  /* [m, cap] else an upper bound of it */
    float *norm, *limit;         /* [m] |x| rounded up; at most the k-th largest exact value, 0 while unknown */
    float *slack;                /* [m] what bounds of the product in f32 have been raised by at most */
    bool tight;                  /* all bounds are of that product: they alone tell the limit */
    int32_t *count;              /* [m] proposals, -1: exact values of all candidates needed */
    int32_t *exact;              /* [m] list of such rows */
    int64_t p0, p1;              /* the part of W in hand, [p0, p1) */
    float *share;                /* per thread: [n_share] */
    int64_t n_share;
    sl_csr *z;
    sl_bounds *keep;             /* or NULL; its rows are those of x */
    const sl_csr *near;          /* or NULL: codes of rows near these, whose features tell what limits to start from */

    /* product in f32 */
    int64_t kc, fc;              /* longest chain of a sum; rows at a time */
    double gamma, w_norm, b_max; /* w_norm, b_max: largest |w_f| and |b_f| of the candidates in hand and before (in int8: of all) */
    float *packed;               /* panels of NR candidates, [d, NR] each */

    /* product in int8: feature is 0 .. n - 1 */
    const sl_int8 *int8;         /* NULL: not used */
    int64_t d8, panels;          /* d padded; panels of W */
    size_t panel_bytes;
    int8_t *x8, *w8;             /* [m, d8]; [panels] */
    float *x_scale, *x_err;      /* [m] x = x_scale q + e, x_err: |e| rounded up */
    float *w_scale, *w_len, *w_err, *top; /* [panels * cols] the same; |w_scale q|, |e| + rounding, b + rounding, all rounded up */
    int64_t q;                   /* directions that rows share (simd_topk_shared.c); 0: none */
    float *dirs, *dir_norm;      /* [q, d]; [q] their norms rounded up */
    float *coef;                 /* [m in whole MR, q] of the rows in hand */
    float *rest, *extra;         /* [m] norm of what goes by integers, rounded up (q = 0: of x); what the roundings of all this add at most */
    float *lead;                 /* products with the directions: panels of NR candidates, [q, NR] each */
    int8_t *share8;              /* per thread: [n_share8] */
    int64_t n_share8;
    uint8_t *dense;              /* [blocks] TOPK_DENSE: goes on in f32, TOPK_GAVE_UP: from this part of W on, TOPK_FAILED: the product failed */
} topk;

static inline float *topk_pad(const topk *j, int thread) { return j->share + thread * j->n_share; }       /* [MR, d] */
static inline float *topk_sort(const topk *j, int thread) { return topk_pad(j, thread) + MR * j->d; } /* [cap], [TOPK_EXACT_ROWS + 1, n] */

/* Bytes of the bounds of VW candidates from p on, n of which exist: ceil(bound / unit), 255 from there on and for NaN. Adding .5 and rounding to
 * nearest is never below the ceiling; 1e-5 is for the roundings on the way. */
static inline void topk_put_bytes(const topk *j, int64_t r, int64_t p, vf bound, int64_t n)
{
    uint8_t *to = j->keep->top + (j->r0 + r) * j->n + p, bytes[VW];
    vf steps = vf_fma(bound, vf_set((1 + 1e-5f) / j->keep->unit[j->r0 + r]), vf_set(.5f));
    vi_put_bytes(n >= VW ? to : bytes, vf_to_vi(vf_min(steps, vf_set(255))));
    for (int64_t i = 0; n < VW && i < n; i++)
        to[i] = bytes[i];
}

/* The same of one exact value. */
static inline void topk_put_byte(const topk *j, int64_t r, int32_t f, float v)
{
    float steps = v * ((1 + 1e-5f) / j->keep->unit[j->r0 + r]) + .5f;
    j->keep->top[(j->r0 + r) * j->n + f] = !(steps < 255) ? 255 : steps < 0 ? 0 : (uint8_t)(steps + .5f);
}

bool SL_V(sl_topk_memory)(topk *j, const sl_kern *k, int64_t packed); /* of m rows, cap proposals each; packed: floats */
/* encode_topk of rows near others, whose code it starts from. */
void SL_V(sl_topk_encode_near)(const sl_kern *k, const sl_tensor *x, const sl_tensor *W, const sl_tensor *b, int64_t n_active, const sl_csr *near, sl_csr *z);
void SL_V(sl_topk_compact)(sl_csr *z, int64_t from, int64_t rows, int64_t k);

/* |x|, not below the true one, from the squares' sum in f32; inf or NaN when that is not known. */
float SL_V(sl_topk_norm)(const float *x, int64_t d);
float SL_V(sl_topk_root)(float sum_sq, int64_t d);

/* simd_topk_f32.c */
void SL_V(sl_topk_f32_cut)(topk *j, int64_t B, int team);
void SL_V(sl_topk_f32_pack)(topk *j, int team);              /* the part of W in hand */
void SL_V(sl_topk_f32_screen)(topk *j, int64_t i, int64_t m, float *pad); /* rows i .. i + m against it; pad [MR, d] */

/* simd_topk_int8.c */
bool SL_V(sl_topk_int8_begin)(topk *j, const sl_kern *k, int64_t B); /* false: no memory, or not worth while: f32 then */
void SL_V(sl_topk_int8_rows)(topk *j, int team);             /* the rows in hand */
/* The block of rows i .. i + m; where bounds tell too little it gives up, and the part is as if it had not been looked at. */
void SL_V(sl_topk_int8_screen)(topk *j, int64_t i, int64_t m, int thread);

/* simd_topk_shared.c */
void SL_V(sl_topk_shared_find)(topk *j, const sl_kern *k, int64_t B); /* q, dirs, dir_norm from the rows of x, B of them */
void SL_V(sl_topk_shared_lead)(topk *j, int64_t f);
void SL_V(sl_topk_shared_row)(topk *j, int64_t r, float *y);          /* y [d] = what is left of row r in hand */
void SL_V(sl_topk_shared_sums)(const topk *j, int64_t i, int64_t m, int64_t p, float *sums); /* [m in whole MR, NR]: rows i .. and candidates p .. */

/* simd_topk_decide.c */
float SL_V(sl_topk_exact)(const topk *j, int64_t r, int32_t f); /* pre-activation of row r in hand and feature f */
void SL_V(sl_topk_propose)(topk *j, int64_t r, int64_t p, uint32_t hits, const float *bounds); /* candidates p + bits of hits */
void SL_V(sl_topk_rescore)(topk *j, int64_t r);              /* at the end of a part of W: what looks best is made exact, which raises the limit */
int64_t SL_V(sl_topk_to_rescore)(const topk *j, int64_t r);  /* how many of the part in hand that would be */
void SL_V(sl_topk_forget)(topk *j, int64_t r);               /* the proposals of the part in hand */
void SL_V(sl_topk_decide)(topk *j, int team);
float SL_V(sl_topk_kth)(float *v, int64_t n, int64_t k);     /* the k-th largest (k from 1) of v [n], none of them NaN; v is reordered */

#endif
