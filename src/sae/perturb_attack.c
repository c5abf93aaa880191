/* Adversarial perturbations (science.md B3): normalised-gradient ascent on |z' - z|^2 on the sphere |delta| = eps |x|, from a random point of
 * it, since the gradient is 0 at delta = 0. With u = z' - z, a lost latent's share taken by its pre-activation, the gradient is
 * g = W_enc^T 2 u: 2 (z'_j - z_j) where j is active in x', -2 z_j where it was lost. suppress and activate: g = -w_j, +w_j. */
#include "sae/perturb.h"

#include <math.h>
#include <string.h>

typedef struct attack {
    sl_perturb *p;
    const float *x, *mean;
    const sl_csr *z;
    int64_t n;
    float *delta, *g, *best;    /* [n, d] */
    double *worst;              /* [n] the largest |z' - z|^2 so far */
} attack;

static void to_sphere(const attack *a, float *v, double eps)
{
    int64_t d = a->p->d;
    for (int64_t r = 0; r < a->n; r++) {
        double want = eps * sl_perturb_norm(a->x + r * d, a->mean, d), len = sl_perturb_norm(v + r * d, NULL, d);
        double by = len > 0 ? want / len : 1;
        for (int64_t j = 0; j < d; j++)
            v[r * d + j] = (float)(by * (double)v[r * d + j]);
    }
}

/* u of the codes at x + delta in *u, |z' - z|^2 a row in sq. */
static sl_status look(attack *a, sl_csr *u, double *sq, sl_err *err)
{
    sl_perturb *p = a->p;
    sl_tape *t = p->tape;
    sl_tape_reset(t);
    sl_tensor at = sl_tensor_of(SL_F32, sl_tape_scratch(t, (size_t)(a->n * p->d) * sizeof(float)), 2, a->n, p->d);
    SL_TRY(sl_tape_status(t, err));
    for (int64_t i = 0; i < a->n * p->d; i++)
        ((float *)at.data)[i] = a->x[i] + a->delta[i];
    sl_csr minus = *a->z;
    int64_t nnz = minus.row_ptr[a->n];
    minus.capacity = nnz > 0 ? nnz : 1;
    float *val = sl_tape_scratch(t, (size_t)minus.capacity * sizeof *val);
    SL_TRY(sl_tape_status(t, err));
    for (int64_t e = 0; e < nnz; e++)
        val[e] = -((const float *)a->z->val)[e];
    minus.val = val;
    sl_code got = sl_perturb_code(t, p->s->ops->encode(t, p->s, sl_const(t, &at), NULL));
    sl_code diff = sl_code_add(t, got, sl_code_const(t, &minus));
    SL_TRY(sl_tape_status(t, err));
    *u = *sl_code_csr(t, diff);
    for (int64_t r = 0; r < a->n; r++) {
        sq[r] = 0;
        for (int64_t e = u->row_ptr[r]; e < u->row_ptr[r + 1]; e++)
            sq[r] += (double)((float *)u->val)[e] * (double)((float *)u->val)[e];
    }
    return SL_OK;
}

static void keep_worst(attack *a, const double *sq)
{
    int64_t d = a->p->d;
    for (int64_t r = 0; r < a->n; r++)
        if (sq[r] > a->worst[r]) {
            a->worst[r] = sq[r];
            memcpy(a->best + r * d, a->delta + r * d, (size_t)d * sizeof *a->best);
        }
}

static void ascend(attack *a, const sl_csr *u, double step)
{
    const sl_kern *k = a->p->k;
    const sl_perturb_config *c = a->p->c;
    int64_t d = a->p->d;
    sl_tensor g = sl_tensor_of(SL_F32, a->g, 2, a->n, d);
    k->sparse_decode(k, u, &a->p->s->W_enc->value, NULL, &g);
    for (int64_t r = 0; r < a->n; r++) {
        const float *w = (const float *)a->p->s->W_enc->value.data + c->attack_latent * d;
        double size = sl_perturb_norm(a->x + r * d, a->mean, d), len;
        if (c->goal != SL_ATTACK_UNTARGETED)
            for (int64_t j = 0; j < d; j++)
                a->g[r * d + j] = c->goal == SL_ATTACK_SUPPRESS ? -w[j] : w[j];
        len = sl_perturb_norm(a->g + r * d, NULL, d);
        for (int64_t j = 0; len > 0 && j < d; j++)
            a->delta[r * d + j] += (float)(step * size * (double)a->g[r * d + j] / len);
    }
}

/* From one random start; every point on the way counts where the goal is to change the code. */
static sl_status climb(attack *a, sl_perturb_key key, int start, double eps, double *sq, sl_err *err)
{
    sl_perturb *p = a->p;
    sl_csr u;
    int64_t steps = p->c->type == SL_PERTURB_FGSM ? 1 : p->c->attack_steps;
    sl_tensor y = sl_tensor_of(SL_F32, a->delta, 2, a->n, p->d);
    p->k->noise_rows(p->k, (uint64_t)p->c->seed + (uint64_t)start * 0x9E3779B97F4A7C15u, (uint64_t)key.step, key.first, key.view, false, &y);
    to_sphere(a, a->delta, eps);
    for (int64_t i = 0; i < steps; i++) {
        SL_TRY(look(a, &u, sq, err));
        if (p->c->goal == SL_ATTACK_UNTARGETED && p->c->type == SL_PERTURB_PGD)
            keep_worst(a, sq);
        ascend(a, &u, 2.5 * eps / (double)steps);
        to_sphere(a, a->delta, eps);
    }
    SL_TRY(look(a, &u, sq, err));
    keep_worst(a, sq);
    return SL_OK;
}

sl_status sl_perturb_attack(sl_perturb *p, const float *x, const float *mean, const sl_csr *z, int64_t n, sl_perturb_key key, double eps, sl_err *err)
{
    size_t rows = (size_t)(n * p->d) * sizeof(float);
    attack a = { .p = p, .x = x, .mean = mean, .z = z, .n = n, .delta = sl_alloc(p->ctx, rows), .g = sl_alloc(p->ctx, rows), .best = p->noise,
                 .worst = sl_alloc(p->ctx, (size_t)n * sizeof(double)) };
    double *sq = sl_alloc(p->ctx, (size_t)n * sizeof *sq);
    sl_status st = a.delta && a.g && a.worst && sq ? SL_OK : sl_fail(err, SL_MEM, "perturb", NULL, "no memory for an attack on %lld rows", (long long)n);
    if (st == SL_OK && !p->tape) {
        st = sl_tape_new(p->ctx, SL_F32, &p->tape, err);
        if (st == SL_OK)
            sl_tape_no_grad(p->tape, true);
    }
    memset(p->noise, 0, rows);
    for (int64_t r = 0; r < n && st == SL_OK; r++)
        a.worst[r] = -1;
    for (int i = 0; i < (p->c->type == SL_PERTURB_FGSM ? 1 : p->c->restarts) && st == SL_OK; i++)
        st = climb(&a, key, i, eps, sq, err);
    sl_free(p->ctx, a.delta);
    sl_free(p->ctx, a.g);
    sl_free(p->ctx, a.worst);
    sl_free(p->ctx, sq);
    return st;
}
