/* Compositional SAE (science.md C2): the active latents of a TopK SAE attend to each other, and what they say adds to the linear decoder.
 *   z = TopK_k(W_enc (x - b_dec) + b_enc)    tokens i in S:  T_i = z_i / sigma_z E_i,  T^_i = RMSNorm(E_i) (T's scale cancels)
 *   P^h = softmax(Q^h K^h / sqrt(d_h)) over i's list (itself and the order - 1 largest others),  Q, K = T^ W_q, T^ W_k,  V = T W_v
 *   O_i = sum_j P_ij (V_j - V_i)    U = O W_o    g_i = sigmoid(w . [T^_i; U_i] + b_gate)    h = sum_i g_i U_i
 *   c = TopK_kc(ReLU(W_comp_in h - softplus(theta)))    x^ = b_dec + W_dec^T z + rho W_comp_dec^T c
 *   L = |x - x^|^2 / (B d_bar) + aux_alpha AuxK + aux_c_alpha AuxK of dead compositions + diversity, entropy, h_l2 terms
 * One active latent: O = 0, so that c = 0. rho starts at 0: a TopK SAE bit for bit. Q, K, V and the gate's first half are tables of features.
 * Depth 2: T' = T + g U, and h is the sum of both blocks' g U. Rows of W_comp_dec have norm 1. sigma_z is state: an exponential mean with .99.
 * Dead: rows since a composition fired ("comp_idle", counted from stage B on) reach the window. partner_shuffle: rows see each other, also when encoding. */
#include "sae/compositional.h"

#include <math.h>
#include <stdio.h>

#define S sl_compositional_options
static const char *const curricula[] = { "none", "rising", "falling", NULL }, *const values[] = { "linear", "hadamard", NULL };
static const char *const attentions[] = { "learned", "uniform", "frozen_qk", "deep_sets", "length_one", NULL }, *const inputs[] = { "z", "x", NULL };

static const sl_opt options[] = {
    SL_OPT_INT(S, k, 32, 1, SL_TOKENS_MAX, "latents", "active latents a row"),
    SL_OPT_INT(S, k_aux, 0, 0, 1 << 20, "latents", "dead latents in AuxK; 0: half of d_in"),
    SL_OPT_FLOAT(S, aux_alpha, 1 / 32., 0, 1e3, "", "weight of AuxK; 0: off"),
    SL_OPT_INT(S, d_c, 128, 1, 4096, "", "width of tokens, all heads together"),
    SL_OPT_INT(S, n_head, 8, 1, 64, "", "heads of attention"),
    SL_OPT_INT(S, m_c, 256, 2, 1 << 20, "", "compositions"),
    SL_OPT_INT(S, k_c, 8, 1, 4096, "", "active compositions a row"),
    SL_OPT_INT(S, depth, 1, 1, 2, "", "blocks of attention"),
    SL_OPT_INT(S, order, 4, 0, SL_TOKENS_MAX, "tokens", "entries of a token's row of attention, with its own; 0: all"),
    SL_OPT_CHOICE(S, curriculum, SL_COMP_RISING, curricula, "order over the thirds after stage A: none, rising to it or falling from it"),
    SL_OPT_FLOAT(S, stage_a, .2, 0, 1, "of the steps", "share of the run in which the linear SAE trains alone"),
    SL_OPT_CHOICE(S, value, SL_COMP_LINEAR, values, "what a pair says: V_j - V_i, or V_j * V'_i"),
    SL_OPT_CHOICE(S, attention, SL_COMP_LEARNED, attentions, "attention, or a control in its place"),
    SL_OPT_CHOICE(S, comp_in, SL_COMP_IN_Z, inputs, "what is composed: the code, or x itself (a control)"),
    SL_OPT_BOOL(S, self_subtraction, 1, "subtract a token's own value"),
    SL_OPT_BOOL(S, residual, 1, "keep the linear decoder"),
    SL_OPT_BOOL(S, gate, 1, "gate tokens"),
    SL_OPT_BOOL(S, partner_shuffle, 0, "partners' values from another row (a control)"),
    SL_OPT_INT(S, k_aux_c, 8, 1, 4096, "", "dead compositions that explain the residual"),
    SL_OPT_FLOAT(S, aux_c_alpha, 1 / 32., 0, 1e3, "", "weight of that; 0: off"),
    SL_OPT_INT(S, dead_window_c, 0, 0, 10000000, "rows", "a composition that did not fire for so long is dead; 0: a tenth of the run"),
    SL_OPT_FLOAT(S, diversity, 0, 0, 1e6, "", "weight of the mean squared correlation of compositions"),
    SL_OPT_FLOAT(S, entropy, 0, 0, 1e6, "", "weight of the mean entropy of attention"),
    SL_OPT_FLOAT(S, h_l2, 0, 0, 1e6, "", "weight of mean |h|^2"),
    SL_OPT_END
};
#undef S

static const sl_sae_scalar state[] = { { "z_mean_square", 0 }, { 0 } }; /* of active latents; 0: none seen yet */
#define MOST_IDLE 1e7 /* whole numbers so far in f32 */

static const sl_compositional_options *opts_of(const sl_sae *s) { return s->opts; }
static sl_var var_of(sl_tape *t, const sl_sae *s, int i) { return sl_param_var(t, s->extra[i]); }

static sl_status check(const void *opts, int64_t d_in, int64_t d_sae, sl_err *err)
{
    const sl_compositional_options *o = opts;
    (void)d_in;
    if (o->k > d_sae)
        return sl_fail(err, SL_ARG, "k", "at most d_sae", "%lld active latents of %lld", (long long)o->k, (long long)d_sae);
    if (o->d_c % o->n_head != 0)
        return sl_fail(err, SL_ARG, "d_c", "a multiple of n_head", "%lld columns in %lld heads", (long long)o->d_c, (long long)o->n_head);
    if (o->k_c > o->m_c)
        return sl_fail(err, SL_ARG, "k_c", "at most m_c", "%lld active compositions of %lld", (long long)o->k_c, (long long)o->m_c);
    if (o->depth > 1 && (o->attention == SL_COMP_DEEP_SETS || o->comp_in == SL_COMP_IN_X))
        return sl_fail(err, SL_ARG, "depth", "1", "two blocks without pairs of tokens");
    return SL_OK;
}

static int64_t max_active(const void *opts, int64_t d_sae)
{
    (void)d_sae;
    return ((const sl_compositional_options *)opts)->k;
}

/* ---- weights ---- */

static void add_block(sl_sae *s, int block)
{
    const sl_compositional_options *o = s->opts;
    sl_param **p = s->extra + block * SL_COMP_PER_BLOCK;
    const char *tail = block ? "_2" : "";
    char name[32];
    int64_t d = o->d_c;
    bool pairs = o->attention != SL_COMP_UNIFORM && o->attention != SL_COMP_DEEP_SETS;
    bool product = o->value == SL_COMP_HADAMARD && o->attention != SL_COMP_DEEP_SETS;
#define ADD(i, flags, text, ...) (snprintf(name, sizeof name, "%s%s", text, tail), p[i] = sl_params_add(s->params, flags, name, __VA_ARGS__))
    if (pairs)
        ADD(SL_COMP_QK, o->attention == SL_COMP_FROZEN_QK ? SL_PARAM_FROZEN : 0, "W_qk", 2, d, 2 * d);
    ADD(SL_COMP_V, 0, "W_v", 2, d, product ? 2 * d : d);
    ADD(SL_COMP_O, 0, "W_o", 2, d, d);
    if (!o->gate)
        return;
    ADD(SL_COMP_GATE, 0, "w_gate", 2, d, (int64_t)1);
    ADD(SL_COMP_GATE_U, 0, "w_gate_u", 2, d, (int64_t)1);
    ADD(SL_COMP_GATE_B, 0, "b_gate", 1, (int64_t)1);
#undef ADD
}

static void declare(sl_sae *s)
{
    const sl_compositional_options *o = s->opts;
    if (o->comp_in == SL_COMP_IN_X) {
        s->extra[SL_COMP_X] = sl_params_add(s->params, 0, "W_comp_x", 2, s->d_in, o->d_c);
    } else {
        s->extra[SL_COMP_E] = sl_params_add(s->params, 0, "E", 2, s->d_sae, o->d_c);
        for (int i = 0; i < o->depth; i++)
            add_block(s, i);
    }
    if (o->comp_in == SL_COMP_IN_Z && o->attention == SL_COMP_DEEP_SETS)
        s->extra[SL_COMP_B_V] = sl_params_add(s->params, 0, "b_v", 1, o->d_c);
    s->extra[SL_COMP_IN] = sl_params_add(s->params, 0, "W_comp_in", 2, o->m_c, o->d_c);
    s->extra[SL_COMP_THETA] = sl_params_add(s->params, 0, "theta", 1, o->m_c);
    s->extra[SL_COMP_OUT] = sl_params_add(s->params, SL_PARAM_UNIT_ROWS, "W_comp_dec", 2, o->m_c, s->d_in);
    s->extra[SL_COMP_RHO] = sl_params_add(s->params, 0, "rho", 1, (int64_t)1);
    s->extra[SL_COMP_IDLE] = sl_params_add(s->params, SL_PARAM_FROZEN, "comp_idle", 1, o->m_c);
}

static void normal(sl_sae *s, int i, double std)
{
    if (s->extra[i])
        sl_param_normal(s->params, s->extra[i], s->seed, std);
}

static void init(sl_sae *s, const sl_kern *k)
{
    const sl_compositional_options *o = s->opts;
    double std = 1 / sqrt((double)o->d_c);
    normal(s, SL_COMP_E, 1);
    normal(s, SL_COMP_X, 1 / sqrt((double)s->d_in));
    for (int b = 0; b < 2 * SL_COMP_PER_BLOCK; b += SL_COMP_PER_BLOCK) {
        normal(s, b + SL_COMP_QK, std);
        normal(s, b + SL_COMP_V, std);
        normal(s, b + SL_COMP_O, std);
        if (o->attention == SL_COMP_UNIFORM) /* equal gates would make h = g sum_i (mean V - V_i) = 0, for ever */
            normal(s, b + SL_COMP_GATE, std);
        if (s->extra[b + SL_COMP_GATE_B])
            k->fill(k, -2, &s->extra[b + SL_COMP_GATE_B]->value);
    }
    normal(s, SL_COMP_IN, sqrt(2) * std); /* not 0: with theta > 0 that would have no gradient for ever */
    k->fill(k, -4, &s->extra[SL_COMP_THETA]->value);
    normal(s, SL_COMP_OUT, 1);
    k->row_normalize(k, &s->extra[SL_COMP_OUT]->value);
    k->fill(k, o->residual ? 0 : 1, &s->extra[SL_COMP_RHO]->value);
}

/* ---- the network ---- */

double sl_comp_unit(const sl_sae *s) { return s->state[0] > 0 ? 1 / sqrt(s->state[0]) : 1; }

static int64_t order_at(const sl_compositional_options *o, double part) /* of stage B, 0 to 1 */
{
    if (o->curriculum == SL_COMP_NONE || o->order == 0)
        return o->order;
    int third = part < 1 / 3. ? 0 : part < 2 / 3. ? 1 : 2;
    int64_t less = o->curriculum == SL_COMP_RISING ? 2 - third : third, order = o->order - less;
    return order > 2 ? order : o->order < 2 ? o->order : 2;
}

sl_comp sl_comp_settled(const sl_sae *s) { return (sl_comp){ .on = true, .order = order_at(opts_of(s), 1) }; }

static sl_comp comp_at(const sl_sae *s, const sl_sae_batch *b)
{
    const sl_compositional_options *o = opts_of(s);
    double at = b->steps > 0 ? (double)b->step / (double)b->steps : 1, a = o->residual ? o->stage_a : 0;
    return (sl_comp){ .on = at >= a, .order = order_at(o, a < 1 ? (at - a) / (1 - a) : 1) };
}

/* Tables of one block from T (rows of features, or of tokens) and its normalised rows. */
static void make_tables(sl_tape *t, const sl_sae *s, int block, sl_var T, sl_var unit_T, sl_var *QK, sl_comp_block *out)
{
    sl_param *const *p = s->extra + block * SL_COMP_PER_BLOCK;
    *QK = p[SL_COMP_QK] ? sl_matmul(t, unit_T, sl_param_var(t, p[SL_COMP_QK]), false) : (sl_var){ 0 };
    out->V = sl_matmul(t, T, sl_param_var(t, p[SL_COMP_V]), false);
    if (!p[SL_COMP_GATE])
        return;
    out->gate = sl_add_row(t, sl_matmul(t, unit_T, sl_param_var(t, p[SL_COMP_GATE]), false), sl_param_var(t, p[SL_COMP_GATE_B]));
    out->w = sl_matmul(t, sl_param_var(t, p[SL_COMP_O]), sl_param_var(t, p[SL_COMP_GATE_U]), false); /* w . O W_o = (W_o w) . O */
}

static sl_mix mix_of(const sl_sae *s, const sl_comp_block *b, bool by_token)
{
    const sl_compositional_options *o = opts_of(s);
    bool pairs = o->attention != SL_COMP_DEEP_SETS && o->attention != SL_COMP_LENGTH_ONE;
    return (sl_mix){ .V = b->V, .gate = b->gate, .w = b->w, .unit = sl_comp_unit(s), .by_token = by_token, .shuffle = pairs && o->partner_shuffle,
                     .subtract = pairs && o->self_subtraction, .product = pairs && o->value == SL_COMP_HADAMARD };
}

static void run_block(sl_tape *t, const sl_sae *s, int block, sl_var T, sl_var unit_T, sl_code z, bool by_token, const sl_comp *c, sl_comp_block *b)
{
    const sl_compositional_options *o = opts_of(s);
    sl_var QK;
    make_tables(t, s, block, T, unit_T, &QK, b);
    if (block == 0 && s->extra[SL_COMP_B_V])
        b->V = sl_activation(t, sl_add_row(t, b->V, var_of(t, s, SL_COMP_B_V)), SL_ACT_RELU);
    int64_t keep = o->attention == SL_COMP_DEEP_SETS || o->attention == SL_COMP_LENGTH_ONE ? 1 : o->attention == SL_COMP_UNIFORM ? 0 : c->order;
    b->P = sl_attend(t, z, QK, (int)o->n_head, keep, by_token);
    b->U = sl_matmul(t, sl_mix_tokens(t, b->P, z, mix_of(s, b, by_token)), var_of(t, s, block * SL_COMP_PER_BLOCK + SL_COMP_O), false);
}

static sl_var compose(sl_tape *t, const sl_sae *s, sl_code z, sl_comp *c)
{
    const sl_compositional_options *o = opts_of(s);
    bool sets = o->attention == SL_COMP_DEEP_SETS;
    sl_var E = var_of(t, s, SL_COMP_E), T = { 0 };
    if (sets || o->depth > 1)
        T = sl_scale(t, sl_sparse_decode(t, sl_code_rows(t, z), E, (sl_var){ 0 }), sl_comp_unit(s));
    sl_var from = sets ? T : E;
    run_block(t, s, 0, from, sl_rmsnorm(t, from, (sl_var){ 0 }), z, sets, c, &c->block[0]);
    if (o->depth == 1)
        return c->block[0].U;
    sl_mix each = mix_of(s, &c->block[0], false);
    each.each = true;
    sl_var gU = sl_matmul(t, sl_mix_tokens(t, c->block[0].P, z, each), var_of(t, s, SL_COMP_O), false);
    sl_var next = sl_add(t, T, gU);
    run_block(t, s, 1, next, sl_rmsnorm(t, next, (sl_var){ 0 }), z, true, c, &c->block[1]);
    return sl_add(t, c->block[0].U, c->block[1].U);
}

void sl_comp_forward(sl_tape *t, const sl_sae *s, sl_var x, sl_code z, sl_comp *c)
{
    const sl_compositional_options *o = opts_of(s);
    bool from_x = o->comp_in == SL_COMP_IN_X;
    c->on = c->on && (!from_x || x.id);
    if (!c->on)
        return;
    c->h = from_x ? sl_matmul(t, sl_sub_row(t, x, sl_param_var(t, s->b_dec)), var_of(t, s, SL_COMP_X), false) : compose(t, s, z, c);
    c->minus_theta = sl_scale(t, sl_softplus(t, var_of(t, s, SL_COMP_THETA)), -1);
    c->c = sl_encode_topk(t, c->h, var_of(t, s, SL_COMP_IN), c->minus_theta, o->k_c);
    sl_var e = sl_sparse_decode(t, c->c, var_of(t, s, SL_COMP_OUT), (sl_var){ 0 });
    c->branch = sl_scale_by(t, e, var_of(t, s, SL_COMP_RHO));
}

static sl_latents encode(sl_tape *t, const sl_sae *s, sl_var x, const sl_sae_batch *b)
{
    const sl_compositional_options *o = opts_of(s);
    sl_var W = sl_param_var(t, s->W_enc), c = sl_param_var(t, s->b_enc);
    sl_latents z = { .sparse = sl_encode_topk(t, sl_sae_center(t, s, x), W, c, sl_sae_k_now(b, o->k, s->d_sae)) };
    sl_comp *own = b ? sl_tape_scratch(t, sizeof *own) : NULL;
    if (own)
        *own = comp_at(s, b);
    z.own = own;
    return z;
}

static sl_var decode(sl_tape *t, const sl_sae *s, sl_var x, sl_latents z)
{
    sl_comp alone = sl_comp_settled(s), *c = z.own ? z.own : &alone;
    sl_comp_forward(t, s, x, z.sparse, c);
    if (!opts_of(s)->residual && c->on)
        return sl_add_row(t, c->branch, sl_param_var(t, s->b_dec));
    sl_var linear = sl_sae_reconstruct(t, s, z);
    return c->on ? sl_add(t, linear, c->branch) : linear;
}

/* ---- loss ---- */

/* Compositions that are not dead: U8 [m_c], and how many are. */
static int64_t mark_alive(sl_tape *t, const sl_sae *s, const sl_sae_batch *b, sl_tensor *alive)
{
    const sl_compositional_options *o = opts_of(s);
    const sl_tensor *idle = &s->extra[SL_COMP_IDLE]->value;
    double window = o->dead_window_c > 0 ? (double)o->dead_window_c : fmin(MOST_IDLE, .1 * (double)b->steps * (double)b->n);
    uint8_t *mark = sl_tape_scratch(t, (size_t)o->m_c);
    int64_t dead = 0;
    for (int64_t q = 0; mark && q < o->m_c; q++) {
        mark[q] = (idle->dtype == SL_F64 ? ((const double *)idle->data)[q] : (double)((const float *)idle->data)[q]) < window;
        dead += !mark[q];
    }
    *alive = sl_tensor_of(SL_U8, mark, 1, o->m_c);
    return dead;
}

/* As AuxK, of the residual with rho as it is: alpha |e - rho W_comp_dec^T c'|^2 / |e|^2_var, c' the k_aux_c largest of the dead. */
static sl_var revive(sl_tape *t, const sl_sae *s, const sl_sae_pass *p, const sl_comp *c, const sl_sae_batch *b, sl_var l)
{
    const sl_compositional_options *o = opts_of(s);
    sl_tensor *alive = sl_tape_scratch(t, sizeof *alive);
    int64_t dead = alive ? mark_alive(t, s, b, alive) : 0;
    if (dead == 0)
        return l;
    sl_var e = b->residual ? sl_const(t, b->residual) : sl_freeze(t, sl_sub(t, p->y, p->xhat));
    sl_code z = sl_encode_topk_among(t, c->h, var_of(t, s, SL_COMP_IN), c->minus_theta, o->k_aux_c < dead ? o->k_aux_c : dead, alive);
    sl_var found = sl_scale_by(t, sl_sparse_decode(t, z, var_of(t, s, SL_COMP_OUT), (sl_var){ 0 }), sl_freeze(t, var_of(t, s, SL_COMP_RHO)));
    double spread = sl_sae_spread(t, e);
    return sl_add(t, l, sl_scale(t, sl_sq_dist(t, e, found), spread > 0 ? o->aux_c_alpha / spread : 0));
}

static sl_var diversity(sl_tape *t, const sl_sae *s, const sl_comp *c)
{
    return sl_decorrelate(t, sl_linear(t, c->h, var_of(t, s, SL_COMP_IN), c->minus_theta, SL_ACT_RELU));
}

static sl_var regularise(sl_tape *t, const sl_sae *s, const sl_comp *c, const sl_sae_batch *b, sl_var l)
{
    const sl_compositional_options *o = opts_of(s);
    if (o->diversity > 0)
        l = sl_add(t, l, sl_scale(t, diversity(t, s, c), o->diversity));
    for (int i = 0; o->entropy > 0 && i < o->depth && o->comp_in == SL_COMP_IN_Z; i++)
        l = sl_add(t, l, sl_scale(t, sl_pairs_entropy(t, c->block[i].P), o->entropy / (double)o->depth));
    if (o->h_l2 > 0)
        l = sl_add(t, l, sl_scale(t, sl_sum(t, sl_mul(t, c->h, c->h)), o->h_l2 / (double)b->n));
    return l;
}

static sl_var loss(sl_tape *t, const sl_sae *s, const sl_sae_pass *p, const sl_sae_batch *b)
{
    const sl_compositional_options *o = opts_of(s);
    const sl_comp *c = p->z.own;
    sl_var l = sl_sae_topk_loss(t, s, p, o->k_aux, o->aux_alpha, b);
    if (!c || !c->on)
        return l;
    if (o->aux_c_alpha > 0)
        l = revive(t, s, p, c, b, l);
    return regularise(t, s, c, b, l);
}

/* ---- what a logged step shows: the terms of regularise without their weights, and active compositions a row ---- */

enum { WATCH_DIVERSITY, WATCH_ENTROPY, WATCH_L0 };
static const char *const watched[] = { "diversity_loss", "attention_entropy", "l0_c", NULL };

static void watch(sl_tape *t, const sl_sae *s, const sl_sae_pass *p, double own[SL_SAE_OWN])
{
    const sl_compositional_options *o = opts_of(s);
    const sl_comp *c = p->z.own;
    if (!c || !c->on)
        return;
    const sl_csr *csr = sl_code_csr(t, c->c);
    own[WATCH_DIVERSITY] = sl_scalar(t, diversity(t, s, c));
    own[WATCH_L0] = csr && csr->n_rows > 0 ? (double)csr->row_ptr[csr->n_rows] / (double)csr->n_rows : NAN;
    if (o->comp_in == SL_COMP_IN_X)
        return; /* nothing attends */
    own[WATCH_ENTROPY] = 0;
    for (int i = 0; i < o->depth; i++)
        own[WATCH_ENTROPY] += sl_scalar(t, sl_pairs_entropy(t, c->block[i].P)) / (double)o->depth;
}

/* ---- after a step ---- */

static void see_strength(sl_tape *t, sl_sae *s, sl_code z)
{
    const sl_csr *csr = sl_code_csr(t, z);
    int64_t n = csr ? csr->row_ptr[csr->n_rows] : 0;
    if (n == 0)
        return;
    double now = sl_tape_kern(t)->sum_sq(sl_tape_kern(t), sl_value(t, z.v)) / (double)n;
    s->state[0] = s->state[0] > 0 ? .99 * s->state[0] + .01 * now : now;
}

static void see_compositions(sl_tape *t, sl_sae *s, sl_code c, int64_t rows)
{
    const sl_csr *csr = sl_code_csr(t, c);
    float *idle = s->extra[SL_COMP_IDLE]->value.data;
    if (!csr)
        return;
    for (int64_t q = 0; q < csr->n_cols; q++)
        idle[q] = (float)fmin(MOST_IDLE, (double)idle[q] + (double)rows);
    for (int64_t e = 0; e < csr->row_ptr[csr->n_rows]; e++)
        idle[csr->idx[e]] = 0;
    sl_param_touch(s->extra[SL_COMP_IDLE]);
}

static void after_step(sl_tape *t, sl_sae *s, const sl_sae_pass *p, const sl_sae_batch *b, const sl_sae_seen *seen)
{
    const sl_comp *c = p->z.own;
    (void)seen;
    see_strength(t, s, p->z.sparse);
    if (c && c->on)
        see_compositions(t, s, c->c, b->n);
}

/* Latents are the same numbers before and after: what comes out changes its unit by rho, so that rows of W_comp_dec keep norm 1. */
static bool fold(const sl_kern *k, sl_sae *s, const sl_sae_fold *f)
{
    sl_tensor *rho = &s->extra[SL_COMP_RHO]->value, *X = s->extra[SL_COMP_X] ? &s->extra[SL_COMP_X]->value : NULL;
    k->axpby(k, 1 / f->scale_out, rho, 0, rho);
    if (X)
        k->axpby(k, f->scale, X, 0, X);
    return sl_sae_fold_linear(k, s, f);
}

const sl_sae_ops sl_sae_compositional = {
    .info = { "compositional", "TopK latents that compose through attention", "science.md C2", options, sizeof(sl_compositional_options) },
    .state = state,
    .check = check, .unit_decoder = sl_sae_always_unit, .max_active = max_active,
    .declare = declare, .init = init, .encode = encode, .decode = decode, .loss = loss, .watched = watched, .watch = watch, .after_step = after_step, .fold = fold,
};
