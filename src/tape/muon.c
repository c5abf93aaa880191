/* Muon (Keller Jordan 2024, kellerjordan.github.io/posts/muon): the momentum of a matrix, orthogonalised.
 *   m = mu m + g;  u = g + mu m  (Nesterov)
 *   X = u / |u|, then five times  A = X X^T,  X <- 3.4445 X + (-4.7750 A + 2.0315 A A) X     (quintic Newton-Schulz)
 *   w <- (1 - lr decay) w - lr sqrt(max(1, rows / cols)) X
 * A is formed on the shorter side (X^T X where rows > cols). A matrix of rows = 3 cols is q, k and v stacked: its three
 * square blocks are orthogonalised one by one, as in the author's modded-nanogpt. lr = muon_lr * lr_scale. */
#include "tape/params.h"

#include <math.h>

#define NS_A 3.4445
#define NS_B (-4.7750)
#define NS_C 2.0315
#define NORM_EPS 1e-7
enum { NS_STEPS = 5 };

/* Scratch of one block: X and its successor [rows, cols], A and its polynomial [side, side]. */
typedef struct muon_block { sl_tensor w, g, m, X, next, A, poly; } muon_block;

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
        int64_t need = 2 * rows * cols + 2 * side * side;
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
    int64_t cols = p->value.dim[1], side = shorter(rows, cols), size = rows * cols;
    return (muon_block){
        .w = part(ps, p->value.data, r0 * cols, rows, cols), .g = part(ps, p->grad.data, r0 * cols, rows, cols),
        .m = part(ps, p->m.data, r0 * cols, rows, cols), .X = part(ps, ps->muon, 0, rows, cols),
        .next = part(ps, ps->muon, size, rows, cols), .A = part(ps, ps->muon, 2 * size, side, side),
        .poly = part(ps, ps->muon, 2 * size + side * side, side, side),
    };
}

/* b->X becomes roughly the nearest orthogonal matrix of b->X. */
static void orthogonalise(const sl_kern *k, muon_block *b)
{
    bool tall = b->X.dim[0] > b->X.dim[1];
    double norm = sqrt(k->sum_sq(k, &b->X));
    k->axpby(k, 1 / (norm + NORM_EPS), &b->X, 0, &b->next);
    sl_tensor X = b->next, next = b->X;
    for (int i = 0; i < NS_STEPS; i++) {
        k->gemm(k, &(sl_gemm){ .a = &X, .ta = tall, .b = &X, .tb = !tall, .c = &b->A, .alpha = 1 });
        k->copy(k, &b->A, &b->poly);
        k->gemm(k, &(sl_gemm){ .a = &b->A, .b = &b->A, .c = &b->poly, .alpha = NS_C, .beta = NS_B });
        k->copy(k, &X, &next);
        k->gemm(k, &(sl_gemm){ .a = tall ? &X : &b->poly, .b = tall ? &b->poly : &X, .c = &next, .alpha = 1, .beta = NS_A });
        sl_tensor swap = X;
        X = next;
        next = swap;
    }
    b->X = X;
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
