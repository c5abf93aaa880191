#include "composed.h"
#include "support.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define SOME .k = CK, .k_aux = 3, .aux_alpha = .5, .d_c = CC, .n_head = CH, .m_c = CM, .k_c = CKC, .k_aux_c = 2
#define USUAL SOME, .depth = 1, .order = 3, .self_subtraction = true, .residual = true, .gate = true

const arm arms[] = {
    { "usual", { USUAL } },
    { "all pairs", { SOME, .depth = 1, .self_subtraction = true, .residual = true, .gate = true } },
    { "products", { SOME, .depth = 1, .order = 3, .value = SL_COMP_HADAMARD, .residual = true, .gate = true } },
    { "depth 2", { SOME, .depth = 2, .order = 3, .self_subtraction = true, .residual = true, .gate = true } },
    { "depth 2, products", { SOME, .depth = 2, .value = SL_COMP_HADAMARD, .residual = true, .gate = true } },
    { "comp_in x", { USUAL, .comp_in = SL_COMP_IN_X } },
    { "no gate", { SOME, .depth = 1, .order = 3, .self_subtraction = true, .residual = true } },
    { "no self-subtraction", { SOME, .depth = 1, .order = 3, .residual = true, .gate = true } },
    { "no residual", { SOME, .depth = 1, .order = 3, .self_subtraction = true, .gate = true } },
    { "uniform", { USUAL, .attention = SL_COMP_UNIFORM } },
    { "frozen Q and K", { USUAL, .attention = SL_COMP_FROZEN_QK } },
    { "DeepSets", { USUAL, .attention = SL_COMP_DEEP_SETS } },
    { "length one", { USUAL, .attention = SL_COMP_LENGTH_ONE } },
    { "partner shuffle", { USUAL, .partner_shuffle = true } },
    { "regularised", { USUAL, .diversity = .1, .entropy = .1, .h_l2 = .1 } },
    { 0 }
};

static void fill(sl_param *p, uint64_t row, double scale, double mean)
{
    sl_rng g = sl_rng_at(5, SL_RNG_TEST, 70, row);
    for (int64_t i = 0; i < sl_numel(&p->value); i++) {
        double v = mean + scale * sl_rng_normal(&g);
        if (p->value.dtype == SL_F64)
            ((double *)p->value.data)[i] = v;
        else
            ((float *)p->value.data)[i] = (float)v;
    }
    sl_param_touch(p);
}

sl_sae *composed_sae(sl_ctx *ctx, const arm *a, sl_dtype dtype)
{
    sl_err err;
    sl_sae *s;
    sl_assert_ok(sl_sae_make(ctx, "compositional", CD, CF, &a->o, 3, dtype, true, &s, &err));
    for (int i = 0; i < sl_params_count(s->params); i++) {
        sl_param *p = sl_params_at(s->params, i);
        if (strcmp(p->name, "comp_idle") != 0)
            fill(p, (uint64_t)i, p->value.n_dim > 1 ? .6 : .3, p == s->b_enc ? -1.6 : 0);
    }
    fill(s->extra[SL_COMP_RHO], 0, 0, .8);
    s->state[0] = 2.25;
    s->stage = SL_SAE_READY;
    return s;
}

/* Element i of a weight, by its name. */
static double weight(const sl_sae *s, const char *name, const char *tail, int64_t i)
{
    char full[64];
    snprintf(full, sizeof full, "%s%s", name, tail);
    const sl_param *p = sl_params_find(s->params, full);
    if (!p)
        fail_msg("no weight %s", full);
    return p->value.dtype == SL_F64 ? ((const double *)p->value.data)[i] : (double)((const float *)p->value.data)[i];
}

static double sigmoid(double v) { return 1 / (1 + exp(-v)); }

/* Of one row in one block: T, and V by heads (with V' behind it). */
typedef struct block { int n; double T[CK][CC], unit[CK][CC], V[CK][2 * CC], O[CK][CC], U[CK][CC]; } block;

static void project(const sl_sae *s, const char *tail, block *b)
{
    const sl_compositional_options *o = s->opts;
    bool sets = o->attention == SL_COMP_DEEP_SETS;
    int wide = o->value == SL_COMP_HADAMARD && !sets ? 2 * CC : CC;
    double eps = sets || tail[0] ? 1e-6 : 0; /* the operator's, where tokens themselves are normalised; features are, with z still out */
    for (int i = 0; i < b->n; i++) {
        double sq = 0;
        for (int c = 0; c < CC; c++)
            sq += b->T[i][c] * b->T[i][c];
        for (int c = 0; c < CC; c++)
            b->unit[i][c] = b->T[i][c] / sqrt(sq / CC + eps);
        for (int u = 0; u < wide; u++) {
            b->V[i][u] = sets ? weight(s, "b_v", "", u) : 0;
            for (int c = 0; c < CC; c++)
                b->V[i][u] += b->T[i][c] * weight(s, "W_v", tail, c * wide + u);
            b->V[i][u] = sets ? fmax(0, b->V[i][u]) : b->V[i][u];
        }
    }
}

/* P of one token and head over all tokens: softmax over itself and the order - 1 others that it attends to most. */
static void attend(const sl_sae *s, const char *tail, const block *b, int h, int i, double P[CK])
{
    const sl_compositional_options *o = s->opts;
    bool alone = o->attention == SL_COMP_DEEP_SETS || o->attention == SL_COMP_LENGTH_ONE, uniform = o->attention == SL_COMP_UNIFORM;
    double l[CK] = { 0 }, sum = 0;
    for (int j = 0; j < b->n && !uniform && !alone; j++)
        for (int w = h * CC / CH; w < (h + 1) * CC / CH; w++) {
            double q = 0, k = 0;
            for (int c = 0; c < CC; c++) {
                q += b->unit[i][c] * weight(s, "W_qk", tail, c * 2 * CC + w);
                k += b->unit[j][c] * weight(s, "W_qk", tail, c * 2 * CC + CC + w);
            }
            l[j] += q * k / sqrt(CC / CH);
        }
    for (int j = 0; j < b->n; j++) {
        int above = 0; /* others that come before j */
        for (int x = 0; x < b->n; x++)
            above += x != i && x != j && (l[x] > l[j] || (l[x] == l[j] && x < j));
        bool kept = j == i || (!alone && (uniform || o->order == 0 || above < o->order - 1));
        P[j] = kept ? exp(l[j]) : 0;
        sum += P[j];
    }
    for (int j = 0; j < b->n; j++)
        P[j] /= sum;
}

/* O_i of one head; `others`: whose values the tokens see, themselves but for partner shuffle. */
static void mix(const sl_sae *s, const block *b, const block *others, int h, int i, const double P[CK], double *O)
{
    const sl_compositional_options *o = s->opts;
    bool alone = o->attention == SL_COMP_DEEP_SETS || o->attention == SL_COMP_LENGTH_ONE, product = o->value == SL_COMP_HADAMARD && !alone;
    for (int w = h * CC / CH; w < (h + 1) * CC / CH; w++) {
        O[w] = 0;
        for (int j = 0; j < b->n; j++) {
            const block *from = j == i ? b : others;
            double v = from->n ? from->V[j == i ? i : j % from->n][w] : 0;
            if (product)
                O[w] += j == i ? 0 : P[j] * v * b->V[i][CC + w];
            else
                O[w] += P[j] * (o->self_subtraction && !alone ? v - b->V[i][w] : v);
        }
    }
}

static void run_block(const sl_sae *s, const char *tail, block *b, const block *others, composed *out)
{
    const sl_compositional_options *o = s->opts;
    for (int i = 0; i < b->n; i++) {
        double g = o->gate ? weight(s, "b_gate", tail, 0) : 0;
        for (int h = 0; h < CH; h++) {
            attend(s, tail, b, h, i, out->P[h][i]);
            mix(s, b, others, h, i, out->P[h][i], b->O[i]);
        }
        for (int u = 0; u < CC; u++) {
            b->U[i][u] = 0;
            for (int c = 0; c < CC; c++)
                b->U[i][u] += b->O[i][c] * weight(s, "W_o", tail, c * CC + u);
            g += o->gate ? weight(s, "w_gate", tail, u) * b->unit[i][u] + weight(s, "w_gate_u", tail, u) * b->U[i][u] : 0;
        }
        out->gate[i] = o->gate ? sigmoid(g) : 1;
        for (int u = 0; u < CC; u++)
            b->U[i][u] *= out->gate[i];
    }
}

static void tokens_of(const sl_sae *s, const sl_codes *z, int64_t row, block *b)
{
    int64_t e0 = z->row_ptr[row];
    b->n = (int)(z->row_ptr[row + 1] - e0);
    for (int i = 0; i < b->n; i++)
        for (int c = 0; c < CC; c++)
            b->T[i][c] = (double)z->val[e0 + i] / sqrt(s->state[0]) * weight(s, "E", "", z->idx[e0 + i] * CC + c);
}

/* h = sum of g U, over both blocks */
static void gather(const sl_sae *s, const sl_codes *z, int64_t row, const float *x, composed *out, double h[CC])
{
    const sl_compositional_options *o = s->opts;
    static block b, partner;
    memset(h, 0, CC * sizeof *h);
    for (int u = 0; o->comp_in == SL_COMP_IN_X && u < CC; u++)
        for (int c = 0; c < CD; c++)
            h[u] += ((double)x[c] - weight(s, "b_dec", "", c)) * weight(s, "W_comp_x", "", c * CC + u);
    if (o->comp_in == SL_COMP_IN_X)
        return;
    tokens_of(s, z, row, &b);
    tokens_of(s, z, (row + z->n_rows / 2) % z->n_rows, &partner);
    for (int i = 0; i < o->depth; i++) {
        const char *tail = i ? "_2" : "";
        project(s, tail, &b);
        project(s, tail, &partner);
        run_block(s, tail, &b, o->partner_shuffle ? &partner : &b, out);
        for (int t = 0; t < b.n; t++)
            for (int u = 0; u < CC; u++) {
                h[u] += b.U[t][u];
                b.T[t][u] += b.U[t][u];
            }
    }
}

void compose_by_the_book(const sl_sae *s, const sl_codes *z, int64_t row, const float *x, composed *out)
{
    double h[CC], rho = weight(s, "rho", "", 0);
    memset(out, 0, sizeof *out);
    out->n = (int)(z->row_ptr[row + 1] - z->row_ptr[row]);
    gather(s, z, row, x, out, h);
    for (int q = 0; q < CM; q++) {
        for (int u = 0; u < CC; u++)
            out->drive[q] += weight(s, "W_comp_in", "", q * CC + u) * h[u];
        out->c[q] = fmax(0, out->drive[q] - log1p(exp(weight(s, "theta", "", q))));
    }
    for (int q = 0; q < CM; q++) {
        int above = 0;
        for (int p = 0; p < CM; p++)
            above += out->drive[p] - log1p(exp(weight(s, "theta", "", p))) > out->drive[q] - log1p(exp(weight(s, "theta", "", q)));
        out->c[q] = above < CKC ? out->c[q] : 0;
    }
    for (int d = 0; d < CD; d++) {
        for (int q = 0; q < CM; q++)
            out->branch[d] += rho * out->c[q] * weight(s, "W_comp_dec", "", q * CD + d);
        out->xhat[d] = weight(s, "b_dec", "", d) + out->branch[d];
        for (int64_t e = z->row_ptr[row]; e < z->row_ptr[row + 1] && ((const sl_compositional_options *)s->opts)->residual; e++)
            out->xhat[d] += (double)z->val[e] * weight(s, "W_dec", "", z->idx[e] * CD + d);
    }
}
