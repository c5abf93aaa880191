/* Muon (Keller Jordan 2024, kellerjordan.github.io/posts/muon): the momentum of a matrix, orthogonalised.
 *   m = mu m + g;  u = g + mu m  (Nesterov)
 *   X = u / |u|, then five times  A = X X^T,  X <- 3.4445 X + (-4.7750 A + 2.0315 A A) X     (quintic Newton-Schulz)
 *   w <- (1 - lr decay) w - lr sqrt(max(1, rows / cols)) X
 * A is formed on the shorter side (X^T X where rows > cols). A matrix of rows = 3 cols is q, k and v stacked: its three
 * square blocks are orthogonalised one by one, as in the author's modded-nanogpt. lr = muon_lr * lr_scale.
 * A long matrix is touched only at the ends: with P = a I + R, R = b A + c A A, every factor is a polynomial in the first A and they
 * commute, so a turn is A <- A P P and Q <- Q P in the shorter side alone, and X Q comes last. */
#include "tape/params.h"

#include <math.h>

#define NS_A 3.4445
#define NS_B (-4.7750)
#define NS_C 2.0315
#define NORM_EPS 1e-7
enum { NS_STEPS = 5 };

/* Scratch of one block: X and its successor [rows, cols]; A, R, Q less its multiple of I, and room for one more [side, side]. */
typedef struct muon_block { sl_tensor w, g, m, X, next, A, R, Q, room; } muon_block;
enum { SQUARES = 4, LONG = 2 }; /* from rows = 2 cols on the squares cost less */

bool sl_is_muon(const sl_param *p) { return p->flags & SL_PARAM_MATRIX && !(p->flags & SL_PARAM_FROZEN) && p->value.n_dim == 2; }

static int64_t block_rows(const sl_param *p)
{
    int64_t rows = p->value.dim[0], cols = p->value.dim[1];
    return rows == 3 * cols ? cols : rows;
}

static int64_t shorter(int64_t a, int64_t b) { return a < b ? a : b; }

sl_status sl_muon_prepare(sl_params *ps, sl_err *err)
{
    if (ps->muon)
        return SL_OK;
    int64_t most = 1;
    for (int i = 0; i < ps->n; i++) {
        if (!sl_is_muon(ps->p[i]))
            continue;
        int64_t rows = block_rows(ps->p[i]), cols = ps->p[i]->value.dim[1], side = shorter(rows, cols);
        int64_t need = 2 * rows * cols + SQUARES * side * side;
        most = need > most ? need : most;
    }
    ps->muon = sl_alloc(ps->ctx, (size_t)most * sl_dtype_size(ps->dtype));
    return ps->muon ? SL_OK : sl_fail(err, SL_MEM, "muon", NULL, "no memory for scratch");
}

static sl_tensor part(const sl_params *ps, void *base, int64_t from, int64_t rows, int64_t cols)
{
    return sl_tensor_of(ps->dtype, (char *)base + (size_t)from * sl_dtype_size(ps->dtype), 2, rows, cols);
}

static muon_block block_at(const sl_params *ps, const sl_param *p, int64_t r0, int64_t rows)
{
    int64_t cols = p->value.dim[1], side = shorter(rows, cols), size = rows * cols, square = side * side;
    return (muon_block){
        .w = part(ps, p->value.data, r0 * cols, rows, cols), .g = part(ps, p->grad.data, r0 * cols, rows, cols),
        .m = part(ps, p->m.data, r0 * cols, rows, cols), .X = part(ps, ps->muon, 0, rows, cols),
        .next = part(ps, ps->muon, size, rows, cols), .A = part(ps, ps->muon, 2 * size, side, side),
        .R = part(ps, ps->muon, 2 * size + square, side, side), .Q = part(ps, ps->muon, 2 * size + 2 * square, side, side),
        .room = part(ps, ps->muon, 2 * size + 3 * square, side, side),
    };
}

static void swap(sl_tensor *a, sl_tensor *b)
{
    sl_tensor c = *a;
    *a = *b;
    *b = c;
}

/* to = beta from + alpha a b */
static void add_product(const sl_kern *k, double beta, const sl_tensor *from, double alpha, const sl_tensor *a, const sl_tensor *b, sl_tensor *to)
{
    k->copy(k, from, to);
    k->gemm(k, &(sl_gemm){ .a = a, .b = b, .c = to, .alpha = alpha, .beta = beta });
}

static void gram(const sl_kern *k, muon_block *b, bool tall)
{
    k->gemm(k, &(sl_gemm){ .a = &b->X, .ta = tall, .b = &b->X, .tb = !tall, .c = &b->A, .alpha = 1 });
    add_product(k, NS_B, &b->A, NS_C, &b->A, &b->A, &b->R);
}

/* X <- beta X + X M, or + M X where X is wide. */
static void apply(const sl_kern *k, muon_block *b, bool tall, double beta, const sl_tensor *M)
{
    add_product(k, beta, &b->X, 1, tall ? &b->X : M, tall ? M : &b->X, &b->next);
    swap(&b->X, &b->next);
}

static void iterate(const sl_kern *k, muon_block *b, bool tall)
{
    for (int i = 0; i < NS_STEPS; i++) {
        gram(k, b, tall);
        apply(k, b, tall, NS_A, &b->R);
    }
}

/* The same for a long X. Q = scale I + b->Q. */
static void iterate_gram(const sl_kern *k, muon_block *b, bool tall)
{
    double scale = NS_A;
    gram(k, b, tall);
    k->copy(k, &b->R, &b->Q);
    for (int i = 1; i < NS_STEPS; i++) {
        add_product(k, NS_A, &b->A, 1, &b->A, &b->R, &b->room);
        add_product(k, NS_A, &b->room, 1, &b->room, &b->R, &b->A);
        add_product(k, NS_B, &b->A, NS_C, &b->A, &b->A, &b->R);
        add_product(k, NS_A, &b->Q, 1, &b->Q, &b->R, &b->room);
        k->axpby(k, scale, &b->R, 1, &b->room);
        swap(&b->Q, &b->room);
        scale *= NS_A;
    }
    apply(k, b, tall, scale, &b->Q);
}

/* b->X becomes roughly the nearest orthogonal matrix of b->X. */
static void orthogonalise(const sl_kern *k, muon_block *b)
{
    int64_t rows = b->X.dim[0], cols = b->X.dim[1], side = shorter(rows, cols);
    double norm = sqrt(k->sum_sq(k, &b->X));
    k->axpby(k, 1 / (norm + NORM_EPS), &b->X, 0, &b->next);
    swap(&b->X, &b->next);
    if (rows * cols >= LONG * side * side)
        iterate_gram(k, b, rows > cols);
    else
        iterate(k, b, rows > cols);
}

static void step_block(const sl_kern *k, muon_block *b, double mu, double lr, double decay, double grad_scale)
{
    k->axpby(k, grad_scale, &b->g, mu, &b->m);
    k->axpby(k, grad_scale, &b->g, 0, &b->X);
    k->axpby(k, mu, &b->m, 1, &b->X);
    orthogonalise(k, b);
    double tall = (double)b->w.dim[0] / (double)b->w.dim[1];
    k->axpby(k, -lr * sqrt(tall > 1 ? tall : 1), &b->X, 1 - lr * decay, &b->w);
}

void sl_muon_step(sl_params *ps, const sl_optim *o, sl_param *p, double grad_scale)
{
    int64_t rows = block_rows(p);
    double lr = o->muon_lr * p->lr_scale, decay = p->flags & SL_PARAM_DECAY ? o->weight_decay : 0;
    for (int64_t r0 = 0; r0 < p->value.dim[0]; r0 += rows) {
        muon_block b = block_at(ps, p, r0, rows);
        step_block(ps->kern, &b, o->muon_momentum, lr, decay, grad_scale);
    }
}
