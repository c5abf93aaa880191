/* The active features of each row of a code as tokens (science.md C2); formulas, lists and layouts: sl_tokens in kern/kern.h. d_c columns in n_head heads.
 *   attend   P = softmax of Q_i . K_j / sqrt(d_c / n_head) over the list of token i: itself and the keep - 1 largest others
 *            dl = P (dP - sum P dP) / sqrt(d_c / n_head)    dQ_i += dl K_j    dK_j += dl Q_i
 *   uniform  P = 1 / n for every pair; keep 1: each token to itself. No gradient
 *   mix      y = sum_i g_i O_i, or a row an entry; gradients in science.md C3
 *   entropy  mean over tokens and heads of -sum_j P ln P      dP += -(ln P + 1) dy / (tokens n_head)
 *   code_rows  each entry of a code as a row of its own       dz += dy
 *   scale_by, softplus, decorrelate: further below.
 * Lists have no gradient; in gradient checks they are frozen. Tables have a row a feature, or a row an entry (by_token).
 * The variable of the lists is P [entries of capacity, n_head, keep], 0 where a list is shorter; kept: at, the places. */
#include "tape/node.h"

static const sl_csr *code_in(const sl_tape *t, const sl_node *n, int i) { return sl_node_at(t, n->in[i])->csr; }

/* ---- attend, uniform: args.i = n_head, args.f = keep, args.flag = by_token ---- */

enum { AT = 0 };

static sl_tokens tokens_of(const sl_tape *t, const sl_node *pairs)
{
    const sl_tensor *P = &pairs->out, *QK = pairs->in[1] ? sl_in(t, pairs, 1) : NULL;
    return (sl_tokens){ .z = code_in(t, pairs, 0), .d_c = QK ? sl_cols(QK) / 2 : P->dim[1], .keep = P->dim[2], .n_head = (int)P->dim[1], .by_token = pairs->args.flag, .unit = 1 };
}

static sl_status rows_fit(sl_tape *t, sl_node *n, const sl_csr *z, const char *name, const sl_tensor *x, int64_t cols, bool by_token)
{
    int64_t rows = by_token ? z->capacity : z->n_cols;
    if (x->n_dim == 2 && x->dim[0] == rows && x->dim[1] == cols)
        return SL_OK;
    char text[64];
    sl_shape_text(x, text);
    return sl_node_fail(t, n, SL_SHAPE, NULL, "%s is %s, expected [%lld, %lld]", name, text, (long long)rows, (long long)cols);
}

static sl_status attend_shape(sl_tape *t, sl_node *n)
{
    const sl_csr *z = code_in(t, n, 0);
    const sl_tensor *QK = n->in[1] ? sl_in(t, n, 1) : NULL;
    int64_t heads = n->args.i, keep = (int64_t)n->args.f;
    if (!z)
        return sl_node_fail(t, n, SL_ARG, "a code", "input 1 is no sparse code");
    if (QK && (QK->n_dim != 2 || heads < 1 || QK->dim[1] % (2 * heads) != 0))
        return sl_shape_bad(t, n, "QK", QK, "[.., 2 d_c], d_c a multiple of n_head");
    if (QK)
        SL_TRY(rows_fit(t, n, z, "QK", QK, QK->dim[1], n->args.flag));
    if (heads < 1 || keep < 1)
        return sl_node_fail(t, n, SL_ARG, "n_head, keep >= 1", "%lld heads, lists of %lld", (long long)heads, (long long)keep);
    for (int64_t r = 0; r < z->n_rows; r++)
        if (z->row_ptr[r + 1] - z->row_ptr[r] > SL_TOKENS_MAX)
            return sl_node_fail(t, n, SL_ARG, "at most 128", "row %lld has %lld tokens", (long long)r, (long long)(z->row_ptr[r + 1] - z->row_ptr[r]));
    n->out.n_dim = 3;
    n->out.dim[0] = z->capacity;
    n->out.dim[1] = heads;
    n->out.dim[2] = keep < SL_TOKENS_MAX ? keep : SL_TOKENS_MAX;
    return SL_OK;
}

static void attend_forward(sl_tape *t, sl_node *n)
{
    sl_tensor *at = &n->kept[AT];
    if (t->frozen)
        *at = sl_node_at(t->frozen, n->id)->kept[AT];
    else
        *at = sl_tensor_of(SL_U8, sl_tape_bytes(t, (size_t)sl_numel(&n->out)), 3, n->out.dim[0], n->out.dim[1], n->out.dim[2]);
    sl_tokens a = tokens_of(t, n);
    if (at->data)
        t->kern->tokens_attend(t->kern, &a, n->in[1] ? sl_in(t, n, 1) : NULL, t->frozen != NULL, &n->out, at);
}

/* ---- backward passes, a part of the rows at a time, so that what kernels give an entry stays in the caches until it is summed ---- */

enum { PART = 4096 }; /* entries */

typedef struct parts {
    const sl_csr *all;
    int64_t most, capacity; /* a part ends with the row that reaches `most` entries; rows of what is kept an entry */
    int64_t row0, rows, e0; /* of this part */
    sl_csr z;               /* it by itself */
    sl_csc at;              /* and by features, a row an entry */
} parts;

static bool is_whole(const parts *p) { return p->most == INT64_MAX; }

/* whole: in one part, as rows see each other, or as the gradient has a row an entry. */
static bool parts_of(sl_tape *t, const sl_csr *z, bool whole, parts *p)
{
    whole = whole || z->capacity <= PART;
    *p = (parts){ .all = z, .most = whole ? INT64_MAX : PART, .capacity = whole ? z->capacity : PART + SL_TOKENS_MAX, .z = { .n_cols = z->n_cols } };
    p->z.row_ptr = sl_tape_bytes(t, (size_t)(z->n_rows + 1) * sizeof *p->z.row_ptr);
    p->at = (sl_csc){ z->n_cols, sl_tape_bytes(t, (size_t)(z->n_cols + 1) * sizeof *p->at.ptr), sl_tape_bytes(t, (size_t)p->capacity * sizeof *p->at.entry),
                      sl_tape_bytes(t, (size_t)p->capacity * sizeof *p->at.row) };
    return t->status == SL_OK;
}

static bool next_part(sl_tape *t, parts *p)
{
    const sl_csr *all = p->all;
    p->row0 += p->rows;
    p->rows = 0;
    if (p->row0 == all->n_rows)
        return false;
    p->e0 = all->row_ptr[p->row0];
    do {
        p->z.row_ptr[p->rows] = all->row_ptr[p->row0 + p->rows] - p->e0;
        p->rows++;
    } while (p->row0 + p->rows < all->n_rows && all->row_ptr[p->row0 + p->rows] - p->e0 < p->most);
    p->z.n_rows = p->rows;
    p->z.capacity = p->z.row_ptr[p->rows] = all->row_ptr[p->row0 + p->rows] - p->e0;
    p->z.idx = all->idx + p->e0;
    p->z.val = (char *)all->val + (size_t)p->e0 * sl_dtype_size(t->dtype);
    t->kern->csr_transpose(t->kern, &p->z, &p->at);
    return true;
}

static sl_tensor rows_from(const sl_tensor *x, int64_t first, int64_t n)
{
    sl_tensor y = *x;
    y.data = (char *)x->data + (size_t)first * (sl_nbytes(x) / (size_t)x->dim[0]);
    y.dim[0] = n;
    return y;
}

/* This part's of x [capacity, ..]. */
static sl_tensor part_of(const parts *p, const sl_tensor *x) { return is_whole(p) ? *x : rows_from(x, p->e0, p->z.capacity); }

/* A temporary [rows, cols]. */
static bool temp_of(sl_tape *t, int64_t rows, int64_t cols, sl_temp *out)
{
    sl_tensor like = sl_tensor_of(t->dtype, NULL, 2, rows, cols);
    return sl_temp_get(t, &like, out);
}

static void clear_tail(sl_tape *t, const sl_csr *z, sl_tensor *x)
{
    int64_t used = z->row_ptr[z->n_rows], cols = sl_numel(x) / z->capacity;
    sl_tensor rest = sl_tensor_of(t->dtype, (char *)x->data + (size_t)(used * cols) * sl_dtype_size(t->dtype), 1, sl_numel(x) - used * cols);
    t->kern->fill(t->kern, 0, &rest);
}

/* To the gradient of input i, a table, from this part's rows, one an entry, times coef (by_token: times 1). */
static void table_backward(sl_tape *t, sl_node *n, int i, bool by_token, const parts *p, const sl_tensor *coef, sl_tensor *rows)
{
    double beta;
    sl_tensor *d = by_token ? sl_din(t, n, i, &beta) : sl_din_add(t, n, i);
    if (!d)
        return;
    if (by_token) {
        clear_tail(t, p->all, rows);
        t->kern->axpby(t->kern, 1, rows, beta, d);
        return;
    }
    sl_csc at = { p->at.n_cols, p->at.ptr, p->at.entry, p->at.entry }; /* a row an entry */
    if (sl_cols(rows) == 1 && sl_cols(d) == 1)
        t->kern->dict_grad(t->kern, &at, rows, rows, NULL, d);
    else
        t->kern->dict_grad(t->kern, &at, coef, rows, d, NULL);
}

static void attend_backward(sl_tape *t, sl_node *n)
{
    const sl_kern *k = t->kern;
    sl_tokens a = tokens_of(t, n);
    sl_temp rows, ones;
    parts p;
    if (!sl_wants(t, n, 1) || !parts_of(t, a.z, a.by_token, &p) || !temp_of(t, p.capacity, 2 * a.d_c, &rows))
        return;
    if (temp_of(t, p.capacity, 1, &ones)) {
        k->fill(k, 1, &ones.x);
        while (next_part(t, &p)) {
            sl_tensor P = part_of(&p, &n->out), at = part_of(&p, &n->kept[AT]), dP = part_of(&p, &n->grad);
            a.z = &p.z;
            k->tokens_attend_back(k, &a, sl_in(t, n, 1), &P, &at, &dP, &rows.x);
            table_backward(t, n, 1, a.by_token, &p, &ones.x, &rows.x);
        }
        sl_temp_done(t, &ones);
    }
    sl_temp_done(t, &rows);
}

static sl_code example_code(sl_tape *t, sl_example *e)
{
    sl_var x = sl_example_in(t, e, 4, 6, 0), W = sl_example_const(t, e, 9, 6, 0);
    return sl_encode_topk(t, x, W, sl_example_const(t, e, 9, 0, 0), 4);
}

/* 0: all pairs; 1: three of a list; 2: a row an entry */
static sl_var attend_example(sl_tape *t, sl_example *e, int which)
{
    sl_code z = example_code(t, e);
    sl_var QK = sl_example_in(t, e, which == 2 ? 16 : 9, 12, 0);
    return sl_attend(t, z, QK, 2, which == 1 ? 3 : 0, which == 2).v;
}

const sl_op sl_op_attend = { "attend", 2, 1, attend_shape, attend_forward, attend_backward, 3, attend_example };

sl_pairs sl_attend(sl_tape *t, sl_code z, sl_var QK, int n_head, int64_t keep, bool by_token)
{
    sl_args args = { .i = n_head, .f = keep > 0 ? (double)keep : SL_TOKENS_MAX, .flag = by_token };
    const sl_csr *code = sl_code_csr(t, z);
    int64_t widest = 1;
    for (int64_t r = 0; code && r < code->n_rows; r++)
        widest = code->row_ptr[r + 1] - code->row_ptr[r] > widest ? code->row_ptr[r + 1] - code->row_ptr[r] : widest;
    args.f = args.f < (double)widest ? args.f : (double)widest; /* lists are no longer than any row */
    return (sl_pairs){ sl_apply(t, &sl_op_attend, (sl_var[]){ z.v, QK }, &args) };
}

const sl_tensor *sl_pairs_at(const sl_tape *t, sl_pairs P) { return P.v.id ? &sl_node_at(t, P.v.id)->kept[AT] : NULL; }

/* ---- mix: args.i = flags, args.f = unit ---- */

enum { IN_P, IN_Z, IN_V, IN_GATE, IN_W };
enum { SUBTRACT = 1, PRODUCT = 2, SHUFFLE = 4, EACH = 8, BY_TOKEN = 16 };

static sl_tokens mix_of(const sl_tape *t, const sl_node *n)
{
    int64_t f = n->args.i;
    const sl_tensor *P = sl_in(t, n, IN_P);
    return (sl_tokens){ .z = code_in(t, n, IN_Z), .d_c = sl_cols(sl_in(t, n, IN_V)) / (f & PRODUCT ? 2 : 1), .keep = P->dim[2], .n_head = (int)P->dim[1],
                        .subtract = f & SUBTRACT, .product = f & PRODUCT, .shuffle = f & SHUFFLE, .each = f & EACH, .by_token = f & BY_TOKEN, .unit = n->args.f };
}

static sl_status mix_shape(sl_tape *t, sl_node *n)
{
    const sl_csr *z = code_in(t, n, IN_Z);
    const sl_tensor *P = sl_in(t, n, IN_P), *V = sl_in(t, n, IN_V), *w = n->in[IN_W] ? sl_in(t, n, IN_W) : NULL;
    if (sl_node_at(t, n->in[IN_P])->op != &sl_op_attend || !z || code_in(t, sl_node_at(t, n->in[IN_P]), 0) != z)
        return sl_node_fail(t, n, SL_ARG, "the pairs of the code", "inputs 1 and 2 do not belong together");
    sl_tokens a = mix_of(t, n);
    if (V->n_dim != 2 || a.d_c % a.n_head != 0 || a.d_c < 1)
        return sl_shape_bad(t, n, "V", V, "[.., d_c], or [.., 2 d_c] for products, d_c a multiple of n_head");
    SL_TRY(rows_fit(t, n, z, "V", V, V->dim[1], a.by_token));
    if (n->in[IN_GATE])
        SL_TRY(rows_fit(t, n, z, "gate", sl_in(t, n, IN_GATE), 1, a.by_token));
    if (!n->in[IN_GATE] != !w || (w && (w->n_dim != 2 || w->dim[0] != a.d_c || w->dim[1] != 1)))
        return sl_node_fail(t, n, SL_SHAPE, "gate [.., 1] and w [d_c, 1], or neither", "a gate without its weights, or weights of another width");
    (void)P;
    n->out.n_dim = 2;
    n->out.dim[0] = a.each ? z->capacity : z->n_rows;
    n->out.dim[1] = a.d_c;
    return SL_OK;
}

static sl_tokens_value value_of(const sl_tape *t, const sl_node *n)
{
    return (sl_tokens_value){ sl_in(t, n, IN_P), &sl_node_at(t, n->in[IN_P])->kept[AT], sl_in(t, n, IN_V), sl_in(t, n, IN_GATE), sl_in(t, n, IN_W) };
}

static void mix_forward(sl_tape *t, sl_node *n)
{
    sl_tokens a = mix_of(t, n);
    sl_tokens_value v = value_of(t, n);
    t->kern->tokens_mix(t->kern, &a, &v, &n->out);
}

/* Room for what the kernel gives: rows of values for a part, the others for all entries. */
enum { ROOM_P, ROOM_V, ROOM_V2, ROOM_GATE, ROOM_Z, ROOM_Z2, N_ROOM };
typedef struct room { sl_temp x[N_ROOM]; bool has[N_ROOM]; sl_tensor *P; /* its own, or the gradient itself */ } room;

static void room_for(sl_tape *t, room *r, int which, bool wanted, int64_t rows, int64_t cols)
{
    r->has[which] = wanted && temp_of(t, rows, cols, &r->x[which]);
}

/* The gradient of the pairs, 0, or room for what is added to it. */
static void room_for_pairs(sl_tape *t, sl_node *n, room *r)
{
    double beta;
    sl_tensor *d = sl_din(t, n, IN_P, &beta);
    if (d && beta != 0)
        room_for(t, r, ROOM_P, true, d->dim[0], sl_numel(d) / d->dim[0]);
    r->P = d && beta != 0 ? (r->has[ROOM_P] ? &r->x[ROOM_P].x : NULL) : d;
    if (r->P)
        t->kern->fill(t->kern, 0, r->P);
}

/* The gradient of input i, one number or row an entry of z, plus what is beyond the last entry: 0. */
static void add_rows_of(sl_tape *t, sl_node *n, int i, const sl_csr *z, room *r, int which)
{
    sl_tensor *d = r->has[which] ? sl_din_add(t, n, i) : NULL;
    if (!d)
        return;
    clear_tail(t, z, &r->x[which].x);
    sl_tensor same = *d; /* of the same number of elements */
    same.data = r->x[which].x.data;
    t->kern->axpby(t->kern, 1, &same, 1, d);
}

static void mix_part(sl_tape *t, sl_node *n, const sl_tokens *whole, const parts *p, room *r)
{
    sl_tokens a = *whole;
    sl_tokens_value v = value_of(t, n);
    sl_tensor some[N_ROOM], P = part_of(p, v.P), at = part_of(p, v.at), z = part_of(p, sl_in(t, n, IN_Z));
    sl_tensor dy = a.each ? part_of(p, &n->grad) : rows_from(&n->grad, p->row0, p->rows), dP = { 0 };
    for (int i = 0; i < N_ROOM; i++)
        if (r->has[i])
            some[i] = i == ROOM_V || i == ROOM_V2 ? r->x[i].x : part_of(p, &r->x[i].x);
    if (r->P)
        dP = part_of(p, r->P);
#define GIVEN(i) (r->has[i] ? &some[i] : NULL)
    sl_tokens_grad g = { r->P ? &dP : NULL, GIVEN(ROOM_V), GIVEN(ROOM_V2), GIVEN(ROOM_GATE), sl_din_add(t, n, IN_W), GIVEN(ROOM_Z), GIVEN(ROOM_Z2) };
#undef GIVEN
    a.z = &p->z;
    v.P = &P;
    v.at = &at;
    if (t->status == SL_OK)
        t->kern->tokens_mix_back(t->kern, &a, &v, &dy, &g);
    if (g.V)
        table_backward(t, n, IN_V, a.by_token, p, &z, g.V);
    if (g.V_of_partner)
        table_backward(t, n, IN_V, a.by_token, p, &z, g.V_of_partner);
    if (g.gate)
        table_backward(t, n, IN_GATE, a.by_token, p, NULL, g.gate);
}

static void mix_backward(sl_tape *t, sl_node *n)
{
    sl_tokens a = mix_of(t, n);
    room r = { .has = { false } };
    parts p;
    int64_t cap = a.z->capacity, width = sl_cols(sl_in(t, n, IN_V));
    bool dz = sl_wants(t, n, IN_Z) && !a.by_token, dV = sl_wants(t, n, IN_V);
    if (!parts_of(t, a.z, a.by_token || a.shuffle, &p))
        return;
    room_for_pairs(t, n, &r);
    room_for(t, &r, ROOM_V, dV, p.capacity, width);
    room_for(t, &r, ROOM_V2, dV && a.shuffle, p.capacity, width);
    room_for(t, &r, ROOM_GATE, sl_wants(t, n, IN_GATE), cap, 1);
    room_for(t, &r, ROOM_Z, dz, cap, 1);
    room_for(t, &r, ROOM_Z2, dz && a.shuffle, cap, 1);
    while (t->status == SL_OK && next_part(t, &p))
        mix_part(t, n, &a, &p, &r);
    add_rows_of(t, n, IN_P, a.z, &r, ROOM_P);
    add_rows_of(t, n, IN_Z, a.z, &r, ROOM_Z);
    add_rows_of(t, n, IN_Z, a.z, &r, ROOM_Z2);
    for (int i = 0; i < N_ROOM; i++)
        if (r.has[i])
            sl_temp_done(t, &r.x[i]);
}

/* 0: differences; 1: as they are, without gate; 2: products; 3: a row an entry of a table a row an entry; 4, 5: another row's values */
static sl_var mix_example(sl_tape *t, sl_example *e, int which)
{
    sl_code z = example_code(t, e);
    sl_pairs P = sl_attend(t, z, sl_example_in(t, e, 9, 12, 0), 2, which == 0 ? 3 : 0, false);
    int64_t rows = which == 3 ? 16 : 9;
    sl_mix m = { .unit = .7, .subtract = which != 1 && which != 2, .product = which == 2 || which == 5, .shuffle = which >= 4, .each = which == 3, .by_token = which == 3 };
    m.V = sl_example_in(t, e, rows, m.product ? 12 : 6, 0);
    if (which != 1) {
        m.gate = sl_example_in(t, e, rows, 1, 0);
        m.w = sl_example_in(t, e, 6, 1, 0);
    }
    return sl_mix_tokens(t, P, z, m);
}

const sl_op sl_op_mix = { "mix", 5, 3, mix_shape, mix_forward, mix_backward, 6, mix_example };

sl_var sl_mix_tokens(sl_tape *t, sl_pairs P, sl_code z, sl_mix m)
{
    int64_t flags = (m.subtract ? SUBTRACT : 0) | (m.product ? PRODUCT : 0) | (m.shuffle ? SHUFFLE : 0) | (m.each ? EACH : 0) | (m.by_token ? BY_TOKEN : 0);
    return sl_apply(t, &sl_op_mix, (sl_var[]){ P.v, z.v, m.V, m.gate, m.w }, &(sl_args){ .i = flags, .f = m.unit });
}

/* ---- entropy ---- */

static sl_status entropy_shape(sl_tape *t, sl_node *n)
{
    if (sl_node_at(t, n->in[0])->op != &sl_op_attend)
        return sl_node_fail(t, n, SL_ARG, "the result of attend", "input 1 has no lists");
    return SL_OK;
}

static void entropy_forward(sl_tape *t, sl_node *n)
{
    sl_tokens a = tokens_of(t, sl_node_at(t, n->in[0]));
    sl_set_scalar(t, n, t->kern->tokens_entropy(t->kern, &a, sl_in(t, n, 0)));
}

static void entropy_backward(sl_tape *t, sl_node *n)
{
    sl_tokens a = tokens_of(t, sl_node_at(t, n->in[0]));
    sl_temp tmp;
    sl_tensor *dP = sl_din_add(t, n, 0);
    if (!dP || !sl_temp_get(t, dP, &tmp))
        return;
    t->kern->fill(t->kern, 0, &tmp.x);
    t->kern->tokens_entropy_back(t->kern, &a, sl_in(t, n, 0), sl_dscalar(t, n), &tmp.x);
    t->kern->axpby(t->kern, 1, &tmp.x, 1, dP);
    sl_temp_done(t, &tmp);
}

static sl_var entropy_example(sl_tape *t, sl_example *e, int which)
{
    sl_code z = example_code(t, e);
    return sl_pairs_entropy(t, sl_attend(t, z, sl_example_in(t, e, 9, 12, 0), 2, which == 1 ? 3 : 0, false));
}

const sl_op sl_op_pairs_entropy = { "pairs_entropy", 1, 1, entropy_shape, entropy_forward, entropy_backward, 2, entropy_example };

sl_var sl_pairs_entropy(sl_tape *t, sl_pairs P) { return sl_apply(t, &sl_op_pairs_entropy, &P.v, NULL); }

/* ---- code_rows ---- */

static sl_status rows_shape(sl_tape *t, sl_node *n)
{
    const sl_csr *z = code_in(t, n, 0);
    if (!z)
        return sl_node_fail(t, n, SL_ARG, "a code", "input 1 is no sparse code");
    n->csr = sl_tape_csr(t, z->capacity, z->n_cols, z->capacity);
    if (!n->csr)
        return t->status;
    int64_t used = z->row_ptr[z->n_rows];
    for (int64_t e = 0; e <= z->capacity; e++)
        n->csr->row_ptr[e] = e < used ? e : used;
    n->csr->idx = z->idx;
    n->csr->val = z->val;
    sl_shape_like(n, sl_in(t, n, 0));
    n->out.data = sl_in(t, n, 0)->data;
    return SL_OK;
}

static void rows_backward(sl_tape *t, sl_node *n) { sl_din_pass(t, n, 0); }

static sl_var rows_example(sl_tape *t, sl_example *e, int which)
{
    (void)which;
    return sl_sparse_decode(t, sl_code_rows(t, example_code(t, e)), sl_example_in(t, e, 9, 5, 0), (sl_var){ 0 });
}

const sl_op sl_op_code_rows = { "code_rows", 1, 1, rows_shape, NULL, rows_backward, 1, rows_example };

sl_code sl_code_rows(sl_tape *t, sl_code z) { return (sl_code){ sl_apply(t, &sl_op_code_rows, &z.v, NULL) }; }
