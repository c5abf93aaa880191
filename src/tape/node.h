/* The inside of the tape: what operators see.
 *
 * An operator is a row of sl_op_table: a shape rule, a forward, a backward and examples for the gradient checker. sl_apply
 * makes the node, runs the shape rule, finds memory for the result and runs the forward. Operators hold no state, allocate
 * through the functions below only, and never touch a number of a tensor: kernels do.
 *
 * Memory. Results and what operators keep live in the step's arena until reset. Gradients of inner variables are buffers of a
 * pool over the same arena, handed back as soon as their node has run backward. A buffer may be shared by several variables
 * (an addition passes its gradient on without copying); whoever writes a shared one gets a copy first. */
#ifndef SL_NODE_H
#define SL_NODE_H

#include "tape/tape.h"

enum { SL_NODE_IN = 5, SL_NODE_KEPT = 2 };

/* Arguments of an operator that are not variables; each operator says which it reads. */
typedef struct sl_args {
    double f;
    int64_t i;
    bool flag;
    sl_act act;
    sl_mask_key key;
    sl_tensor data; /* borrowed integer tensor: ids, targets, a feature mask; data.data NULL when there is none */
    const void *own; /* until reset */
} sl_args;

/* A gradient buffer. */
typedef struct sl_gbuf {
    void *data;
    size_t bytes;
    int refs;
    struct sl_gbuf *next; /* in the list of free buffers */
} sl_gbuf;

typedef struct sl_node {
    const sl_op *op;             /* NULL: a constant, leaf or parameter */
    int32_t id;
    int32_t in[SL_NODE_IN];      /* 0: an optional input that was not given */
    sl_args args;
    sl_tensor out;
    double scalar;               /* the value in f64 when out.n_dim is 0 */
    bool needs_grad;
    sl_param *param;             /* then the gradient is the parameter's */
    sl_gbuf *gbuf;               /* NULL: no gradient has arrived yet */
    sl_tensor grad;
    sl_tensor kept[SL_NODE_KEPT]; /* what the forward keeps for the backward */
    sl_csr *csr;                 /* of a sparse code; csr->val is out.data */
    sl_csc *csc;                 /* the same in feature-major order, made when first needed */
    sl_bounds *bounds;           /* what the encoder kept for encode_moved; NULL: nothing */
} sl_node;

typedef struct sl_example sl_example;

struct sl_op {
    const char *name;
    int n_in, n_required;                              /* inputs; the first n_required must be given */
    sl_status (*shape)(sl_tape *t, sl_node *n);        /* sets the shape of n->out (its data too when it shares an input's) */
    void (*forward)(sl_tape *t, sl_node *n);           /* NULL: nothing to compute */
    void (*backward)(sl_tape *t, sl_node *n);          /* NULL: no gradient passes */
    int n_examples;
    sl_var (*example)(sl_tape *t, sl_example *e, int which);
};

/* ---- building ---- */

/* in [op->n_in]; args may be NULL. The variable {0} after a failure. */
sl_var sl_apply(sl_tape *t, const sl_op *op, const sl_var *in, const sl_args *args);
sl_node *sl_node_at(const sl_tape *t, int32_t id);
const sl_tensor *sl_in(const sl_tape *t, const sl_node *n, int i); /* value of input i, NULL when it was not given */
bool sl_wants(const sl_tape *t, const sl_node *n, int i);          /* will input i want a gradient? */
/* Fails the tape with op's name in front; returns the code. */
sl_status sl_node_fail(sl_tape *t, const sl_node *n, sl_status code, const char *expected, const char *fmt, ...)
    SL_PRINTF(5, 6);
sl_status sl_tape_fail(sl_tape *t, sl_status code, const char *where, const char *what);
/* "x is [2, 3], r is [4]" is what both of these say. */
sl_status sl_shape_mismatch(sl_tape *t, const sl_node *n, const char *a_name, const sl_tensor *a, const char *b_name,
                            const sl_tensor *b, const char *expected);
sl_status sl_shape_bad(sl_tape *t, const sl_node *n, const char *name, const sl_tensor *x, const char *expected);
void sl_shape_like(sl_node *n, const sl_tensor *x);          /* the result has x's shape */
void sl_shape_last(sl_node *n, const sl_tensor *x, int64_t d); /* x's shape with d as the last dimension */
void sl_set_scalar(sl_tape *t, sl_node *n, double v);        /* stores the value of a scalar result */
double sl_in_scalar(const sl_tape *t, const sl_node *n, int i);

/* Memory until reset. Both return NULL after making the tape fail. */
void *sl_tape_bytes(sl_tape *t, size_t bytes);               /* contents undefined */
sl_tensor *sl_node_keep(sl_tape *t, sl_node *n, int slot, int n_dim, const int64_t *dim);

/* ---- backward ---- */

double sl_dscalar(const sl_tape *t, const sl_node *n);       /* gradient of a scalar result */
/* Gradient tensor of input i, NULL when none is wanted. To be written as new + *beta * old (beta 0: first contribution). */
sl_tensor *sl_din(sl_tape *t, sl_node *n, int i, double *beta);
/* The same for kernels that only add: zeroed at the first contribution. */
sl_tensor *sl_din_add(sl_tape *t, sl_node *n, int i);
/* Adds the node's own gradient to that of input i (same shape), without copying where it can. */
void sl_din_pass(sl_tape *t, sl_node *n, int i);
/* Adds v to each element of the gradient of input i. */
void sl_din_fill(sl_tape *t, sl_node *n, int i, double v);
/* A temporary tensor of x's shape from the pool; false when the tape failed. Give it back with sl_temp_done. */
typedef struct sl_temp { sl_tensor x; sl_gbuf *buf; } sl_temp;
bool sl_temp_get(sl_tape *t, const sl_tensor *like, sl_temp *out);
void sl_temp_done(sl_tape *t, sl_temp *tmp);
/* The node's own gradient where it may be overwritten: in place when it is not shared, else uninitialised memory. */
bool sl_temp_of_dout(sl_tape *t, sl_node *n, sl_temp *out);

/* ---- sparse codes, op_sparse.c ---- */

sl_csr *sl_tape_csr(sl_tape *t, int64_t n_rows, int64_t n_cols, int64_t capacity); /* without val; NULL after making the tape fail */
sl_csc *sl_tape_csc(sl_tape *t, const sl_csr *z); /* z in feature-major order; NULL after making the tape fail */
void sl_code_frozen(sl_tape *t, sl_node *n);     /* the selection of the same node of t->frozen, values of in 0, 1, 2: x, W_enc, b_enc */
void sl_code_clear_tail(sl_tape *t, sl_node *n); /* zeroes the values beyond the last entry, so that any operator may take the whole array */
sl_status sl_encode_shape(sl_tape *t, sl_node *n); /* of an encoder with the inputs x, W_enc, b_enc and args.i latents */
void sl_encode_backward(sl_tape *t, sl_node *n); /* of an encoder with the inputs x, W_enc, b_enc */
bool sl_is_shifted(const sl_tape *t, const sl_node *x); /* only the row that x's rows are shifted by takes a gradient */

/* ---- examples of the gradient checker: the same calls in the same order give the same data ---- */

/* An input [d0, d1, d2] of N(0, 1) whose gradient is checked; 0: no such dimension. */
sl_var sl_example_in(sl_tape *t, sl_example *e, int64_t d0, int64_t d1, int64_t d2);
sl_var sl_example_const(sl_tape *t, sl_example *e, int64_t d0, int64_t d1, int64_t d2); /* the same, not checked */
/* [n] I32, lowest <= id < above */
const sl_tensor *sl_example_ids(sl_tape *t, sl_example *e, int64_t n, int64_t lowest, int64_t above);
const sl_tensor *sl_example_mask(sl_tape *t, sl_example *e, int64_t n); /* [n] U8, every third element 1 */

/* ---- the tape itself ---- */

enum { SL_TAPE_CHUNK = 256 };

struct sl_tape {
    sl_ctx *ctx;
    const sl_kern *kern;
    sl_dtype dtype;
    sl_arena *arena;
    sl_node **chunk;      /* nodes in chunks that never move: pointers to values stay valid until reset */
    int n_chunks, cap_chunks;
    int32_t n_nodes;      /* ids 1 .. n_nodes */
    bool no_grad;
    uint64_t seed, step, site; /* keys of dropout; site: call sites so far in this step */
    struct { sl_param *param; int32_t id; uint32_t round; } *seen; /* open addressing: parameters asked for in this step */
    uint32_t n_seen, cap_seen, round;
    sl_gbuf *free_bufs;
    const sl_tape *frozen; /* gradient checks: sparse codes reuse the selection of the same node there */
    bool checked;         /* it is such a base: operators keep what the check needs, as its inputs will be moved in place */
    sl_status status;
    sl_err err;
};

/* Hands the gradient of a node back. */
void sl_grad_release(sl_tape *t, sl_node *n);
/* Makes a gradient for n, uninitialised. false when the tape failed. */
bool sl_grad_new(sl_tape *t, sl_node *n);
/* The key of the next random call site. */
sl_mask_key sl_next_key(sl_tape *t, double p);

/* Rows of the operator table, by file. */
extern const sl_op sl_op_add, sl_op_sub, sl_op_mul, sl_op_scale;                 /* op_arith.c */
extern const sl_op sl_op_add_row, sl_op_sub_row, sl_op_mul_row, sl_op_row_norm;  /* op_rows.c */
extern const sl_op sl_op_matmul, sl_op_linear;                                   /* op_product.c */
extern const sl_op sl_op_activation, sl_op_dropout;                              /* op_pointwise.c */
extern const sl_op sl_op_layernorm, sl_op_rmsnorm;                               /* op_norm.c */
extern const sl_op sl_op_embed, sl_op_rotary, sl_op_attention;                   /* op_lm.c */
extern const sl_op sl_op_xent, sl_op_head_xent;                                  /* op_xent.c */
extern const sl_op sl_op_sum, sl_op_mean, sl_op_sq_dist;                         /* op_reduce.c */
extern const sl_op sl_op_stop_grad, sl_op_freeze, sl_op_replace;                 /* op_pass.c */
extern const sl_op sl_op_encode_batch, sl_op_code_slice, sl_op_code_add;         /* op_codes.c */
extern const sl_op sl_op_encode_topk, sl_op_encode_topk_among, sl_op_sparse_decode; /* op_sparse.c */
extern const sl_op sl_op_decode_among;                                           /* op_among.c */
extern const sl_op sl_op_encode_moved;                                           /* op_moved.c */
extern const sl_op sl_op_jumprelu, sl_op_l0_step, sl_op_hinge, sl_op_gate, sl_op_penalty; /* op_latents.c */
extern const sl_op sl_op_attend, sl_op_mix, sl_op_pairs_entropy, sl_op_code_rows;          /* op_compose.c */
extern const sl_op sl_op_scale_by, sl_op_softplus, sl_op_decorrelate;                      /* op_compose_more.c */
extern const sl_op sl_op_encode_at, sl_op_code_of, sl_op_code_minus, sl_op_code_keep, sl_op_row_weights, sl_op_col_weights, sl_op_stability; /* op_stability.c */

#endif
