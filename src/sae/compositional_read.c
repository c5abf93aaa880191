/* Compositional SAEs from inside: <saelab/compose.h>. One call runs the network on a tape without gradients; attribution reads what it left there. */
#include "sae/compositional.h"

#include <saelab/compose.h>

#include <math.h>
#include <string.h>

struct sl_compose {
    sl_sae *s;
    sl_tape *t;
    sl_comp now;        /* of the last call */
    sl_code z;
    float *gate[2];     /* of each block, an element an entry */
    int64_t n_rows;
};

static const sl_compositional_options *opts_of(const sl_compose *c) { return c->s->opts; }

sl_status sl_compose_open(sl_sae *s, sl_compose **out, sl_err *err)
{
    *out = NULL;
    if (s->ops != &sl_sae_compositional)
        return sl_fail(err, SL_UNAVAILABLE, "sae", "a compositional SAE", "it is of variant %s", s->ops->info.name);
    SL_TRY(sl_sae_usable(s, err));
    sl_compose *c = sl_alloc(s->ctx, sizeof *c);
    if (!c)
        return sl_fail(err, SL_MEM, "compose", NULL, "no memory");
    *c = (sl_compose){ .s = s };
    sl_status st = sl_tape_new(s->ctx, SL_F32, &c->t, err);
    if (st == SL_OK) {
        sl_tape_no_grad(c->t, true);
        *out = c;
    } else {
        sl_free(s->ctx, c);
    }
    return st;
}

void sl_compose_close(sl_compose *c)
{
    if (!c)
        return;
    sl_tape_free(c->t);
    sl_free(c->s->ctx, c);
}

sl_compose_info sl_compose_about(const sl_compose *c)
{
    const sl_compositional_options *o = opts_of(c);
    return (sl_compose_info){ o->d_c, o->n_head, o->m_c, o->k_c, o->depth, (double)*(const float *)c->s->extra[SL_COMP_RHO]->value.data, 1 / sl_comp_unit(c->s) };
}

/* ---- views ---- */

static const float *data_of(const sl_compose *c, sl_var v)
{
    const sl_tensor *x = sl_value(c->t, v);
    return x ? x->data : NULL;
}

static sl_codes codes_of(const sl_csr *z) { return (sl_codes){ z->n_rows, z->capacity, z->row_ptr, z->idx, z->val }; }
static const sl_comp_block *last_block(const sl_compose *c) { return &c->now.block[opts_of(c)->depth - 1]; }
static bool by_token(const sl_compose *c, int block) { return block > 0 || opts_of(c)->attention == SL_COMP_DEEP_SETS; }

/* P of one row, whole: out [n_head, n, n], zero before. */
static void spread_lists(const sl_compose *c, const sl_comp_block *b, int64_t row, float *out)
{
    const sl_csr *z = sl_code_csr(c->t, c->z);
    const sl_tensor *P = sl_value(c->t, b->P.v), *at = sl_pairs_at(c->t, b->P);
    int64_t e0 = z->row_ptr[row], n = z->row_ptr[row + 1] - e0, H = P->dim[1], keep = P->dim[2], m = keep < n ? keep : n;
    for (int64_t i = 0; i < n; i++)
        for (int64_t h = 0; h < H; h++)
            for (int64_t q = 0; q < m; q++) {
                int64_t x = ((e0 + i) * H + h) * keep + q;
                out[(h * n + i) * n + ((const uint8_t *)at->data)[x]] = ((const float *)P->data)[x];
            }
}

/* O_i, a row an entry: the block's mix without a gate. */
static const float *plain_mix(const sl_compose *c, int block)
{
    const sl_compositional_options *o = opts_of(c);
    bool pairs = o->attention != SL_COMP_DEEP_SETS && o->attention != SL_COMP_LENGTH_ONE;
    const sl_comp_block *b = &c->now.block[block];
    sl_mix m = { .V = b->V, .unit = sl_comp_unit(c->s), .by_token = by_token(c, block), .each = true, .shuffle = pairs && o->partner_shuffle,
                 .subtract = pairs && o->self_subtraction, .product = pairs && o->value == SL_COMP_HADAMARD };
    return data_of(c, sl_mix_tokens(c->t, b->P, c->z, m));
}

/* sigmoid(gate_i + w_gate_u . U_i), as (W_o w_gate_u) . O_i; 1 without a gate. */
static void make_gates(sl_compose *c, int block)
{
    const sl_csr *z = sl_code_csr(c->t, c->z);
    const sl_comp_block *b = &c->now.block[block];
    const float *table = data_of(c, b->gate), *w = data_of(c, b->w), *O = table ? plain_mix(c, block) : NULL;
    int64_t d_c = opts_of(c)->d_c, used = z->row_ptr[z->n_rows];
    float *gate = c->gate[block] = sl_tape_scratch(c->t, (size_t)(used + 1) * sizeof *gate);
    for (int64_t e = 0; gate && (O || !table) && e < used; e++) {
        double sum = table ? (double)table[by_token(c, block) ? e : z->idx[e]] : 0;
        for (int64_t d = 0; table && d < d_c; d++)
            sum += (double)w[d] * (double)O[e * d_c + d];
        gate[e] = table ? (float)(1 / (1 + exp(-sum))) : 1;
    }
}

static sl_status fill_view(sl_compose *c, sl_compose_view *v, sl_err *err)
{
    const sl_compositional_options *o = opts_of(c);
    const sl_csr *z = sl_code_csr(c->t, c->z);
    SL_TRY(sl_tape_status(c->t, err));
    bool pairs = o->comp_in == SL_COMP_IN_Z && o->attention != SL_COMP_DEEP_SETS;
    int64_t *ptr = sl_tape_scratch(c->t, (size_t)(z->n_rows + 1) * sizeof *ptr);
    SL_TRY(sl_tape_status(c->t, err));
    for (int64_t r = 0; r < z->n_rows; r++) {
        int64_t n = z->row_ptr[r + 1] - z->row_ptr[r];
        ptr[r + 1] = ptr[r] + o->n_head * n * n;
    }
    float *P = sl_tape_scratch(c->t, (size_t)(ptr[z->n_rows] + 1) * sizeof *P);
    sl_var drive = sl_matmul(c->t, c->now.h, sl_param_var(c->t, c->s->extra[SL_COMP_IN]), true);
    for (int b = 0; b < o->depth; b++)
        make_gates(c, b);
    SL_TRY(sl_tape_status(c->t, err));
    for (int64_t r = 0; pairs && r < z->n_rows; r++)
        spread_lists(c, last_block(c), r, P + ptr[r]);
    *v = (sl_compose_view){ z->n_rows, codes_of(z), ptr, P, c->gate[o->depth - 1], data_of(c, drive), codes_of(sl_code_csr(c->t, c->now.c)), data_of(c, c->now.branch) };
    c->n_rows = z->n_rows;
    return SL_OK;
}

sl_status sl_compose_rows(sl_compose *c, const float *x, int64_t n, sl_compose_view *out, sl_err *err)
{
    const sl_kern *k = sl_tape_kern(c->t);
    sl_sae *s = c->s;
    c->n_rows = 0;
    if (n < 1)
        return sl_fail(err, SL_ARG, "rows", "at least 1", "%lld rows", (long long)n);
    sl_tensor rows = sl_tensor_of(SL_F32, (void *)(uintptr_t)x, 2, n, s->d_in);
    int64_t bad = k->not_finite(k, &rows);
    if (bad >= 0)
        return sl_fail(err, SL_NUMERIC, "activations", "finite numbers", "row %lld, column %lld is %g", (long long)(bad / s->d_in), (long long)(bad % s->d_in), (double)x[bad]);
    sl_tape_reset(c->t);
    if (s->row_norm)
        SL_TRY(sl_rows_normalize(c->t, s->row_norm, &rows, err));
    sl_var in = sl_const(c->t, &rows);
    c->z = s->ops->encode(c->t, s, in, NULL).sparse;
    c->now = sl_comp_settled(s);
    sl_comp_forward(c->t, s, in, c->z, &c->now);
    return fill_view(c, out, err);
}

static sl_status check_codes(const sl_compose *c, const sl_codes *z, int64_t first, int64_t n, sl_err *err)
{
    if (opts_of(c)->comp_in == SL_COMP_IN_X)
        return sl_fail(err, SL_UNAVAILABLE, "codes", "sl_compose_rows", "this SAE composes x, which codes alone do not say");
    if (n < 1 || first < 0 || first + n > z->n_rows)
        return sl_fail(err, SL_ARG, "codes", "rows that are there", "rows %lld to %lld of %lld", (long long)first, (long long)(first + n - 1), (long long)z->n_rows);
    for (int64_t r = first; r < first + n; r++) {
        if (z->row_ptr[r + 1] - z->row_ptr[r] > SL_TOKENS_MAX)
            return sl_fail(err, SL_ARG, "codes", "at most 128 active latents", "row %lld has %lld", (long long)r, (long long)(z->row_ptr[r + 1] - z->row_ptr[r]));
        for (int64_t e = z->row_ptr[r]; e < z->row_ptr[r + 1]; e++)
            if (z->idx[e] < 0 || z->idx[e] >= c->s->d_sae)
                return sl_fail(err, SL_ARG, "codes", "0 to d_sae - 1", "row %lld has latent %d", (long long)r, (int)z->idx[e]);
    }
    return SL_OK;
}

sl_status sl_compose_codes(sl_compose *c, const sl_codes *z, int64_t first, int64_t n, sl_compose_view *out, sl_err *err)
{
    c->n_rows = 0;
    SL_TRY(check_codes(c, z, first, n, err));
    sl_tape_reset(c->t);
    int64_t from = z->row_ptr[first], used = z->row_ptr[first + n] - from;
    int64_t *ptr = sl_tape_scratch(c->t, (size_t)(n + 1) * sizeof *ptr);
    void *nothing = sl_tape_scratch(c->t, sizeof(int64_t));
    SL_TRY(sl_tape_status(c->t, err));
    for (int64_t r = 0; r <= n; r++)
        ptr[r] = z->row_ptr[first + r] - from;
    sl_csr csr = { n, c->s->d_sae, used, ptr, z->idx + from, z->val + from };
    if (used == 0) /* a capacity of 1 all the same */
        csr = (sl_csr){ n, c->s->d_sae, 1, ptr, nothing, nothing };
    c->z = sl_const_code(c->t, &csr);
    c->now = sl_comp_settled(c->s);
    sl_comp_forward(c->t, c->s, (sl_var){ 0 }, c->z, &c->now);
    return fill_view(c, out, err);
}

/* ---- attribution ---- */

/* What one row of one block is made of. */
typedef struct pairs_of { const sl_csr *z; const float *P, *V, *gate; const uint8_t *at; int64_t H, keep, d, width; bool tokens; double unit; } pairs_of;

static double value(const pairs_of *p, int64_t e, int64_t col)
{
    int64_t row = p->tokens ? e : p->z->idx[e];
    return (p->tokens ? 1 : p->unit * (double)((const float *)p->z->val)[e]) * (double)p->V[row * p->width + col];
}

/* pi += g_i sum_h P_ij a^h . (what j says to i)^h, a = W_o W_comp_in[q] */
static void add_pairs(const sl_compose *c, const pairs_of *p, int64_t row, const double *a, float *pi)
{
    const sl_compositional_options *o = opts_of(c);
    int64_t e0 = p->z->row_ptr[row], n = p->z->row_ptr[row + 1] - e0, m = p->keep < n ? p->keep : n, w = p->d / p->H;
    int64_t partner = (row + p->z->n_rows / 2) % p->z->n_rows, f0 = p->z->row_ptr[partner], n2 = p->z->row_ptr[partner + 1] - f0;
    bool alone = o->attention == SL_COMP_LENGTH_ONE, product = !alone && o->value == SL_COMP_HADAMARD, subtract = !alone && o->self_subtraction && !product;
    for (int64_t i = 0; i < n; i++) {
        double g = (double)p->gate[e0 + i];
        for (int64_t h = 0; h < p->H; h++)
            for (int64_t q = subtract || product ? 1 : 0; q < m; q++) {
                int64_t x = ((e0 + i) * p->H + h) * p->keep + q, j = p->at[x];
                int64_t e = !o->partner_shuffle || alone || j == i ? e0 + j : n2 ? f0 + j % n2 : -1;
                double dot = 0;
                for (int64_t d = h * w; d < (h + 1) * w; d++) {
                    double v = e < 0 ? 0 : value(p, e, d);
                    dot += a[d] * (product ? v * value(p, e0 + i, p->d + d) : subtract ? v - value(p, e0 + i, d) : v);
                }
                pi[i * n + j] += (float)(g * (double)p->P[x] * dot);
            }
    }
}

static bool is_active(const sl_compose *c, int64_t row, int64_t q)
{
    const sl_csr *k = sl_code_csr(c->t, c->now.c);
    for (int64_t e = k->row_ptr[row]; e < k->row_ptr[row + 1]; e++)
        if (k->idx[e] == q)
            return true;
    return false;
}

sl_status sl_compose_attribution(sl_compose *c, int64_t row, int64_t q, bool even_inactive, float *pi, sl_err *err)
{
    const sl_compositional_options *o = opts_of(c);
    if (o->comp_in == SL_COMP_IN_X || o->attention == SL_COMP_DEEP_SETS)
        return sl_fail(err, SL_UNAVAILABLE, "compose", "pairs of tokens", "this SAE has none");
    if (row < 0 || row >= c->n_rows || q < 0 || q >= o->m_c)
        return sl_fail(err, SL_ARG, "compose", "a row of the last call, a composition", "row %lld, composition %lld", (long long)row, (long long)q);
    const sl_csr *z = sl_code_csr(c->t, c->z);
    int64_t n = z->row_ptr[row + 1] - z->row_ptr[row];
    memset(pi, 0, (size_t)(n * n) * sizeof *pi);
    if (!even_inactive && !is_active(c, row, q))
        return SL_OK;
    double *a = sl_alloc(c->s->ctx, (size_t)o->d_c * sizeof *a);
    if (!a)
        return sl_fail(err, SL_MEM, "compose", NULL, "no memory");
    for (int b = 0; b < o->depth; b++) {
        const sl_comp_block *k = &c->now.block[b];
        const sl_tensor *P = sl_value(c->t, k->P.v), *V = sl_value(c->t, k->V);
        const float *W = c->s->extra[b * SL_COMP_PER_BLOCK + SL_COMP_O]->value.data, *in = (const float *)c->s->extra[SL_COMP_IN]->value.data + q * o->d_c;
        for (int64_t d = 0; d < o->d_c; d++) {
            a[d] = 0;
            for (int64_t u = 0; u < o->d_c; u++)
                a[d] += (double)W[d * o->d_c + u] * (double)in[u];
        }
        pairs_of p = { z, P->data, V->data, c->gate[b], sl_pairs_at(c->t, k->P)->data,
                       P->dim[1], P->dim[2], o->d_c, sl_cols(V), by_token(c, b), sl_comp_unit(c->s) };
        add_pairs(c, &p, row, a, pi);
    }
    sl_free(c->s->ctx, a);
    return SL_OK;
}
