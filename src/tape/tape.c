/* The tape: nodes in order of creation, one arena, one sticky failure. Backward walks the nodes from the loss down. */
#include "tape/node.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { FIRST_ARENA = 1 << 20, FIRST_SEEN = 256 };

/* ---- life ---- */

sl_status sl_tape_new(sl_ctx *ctx, sl_dtype dtype, sl_tape **out, sl_err *err)
{
    *out = NULL;
    if (dtype != SL_F32 && dtype != SL_F64)
        return sl_fail(err, SL_ARG, "tape", "F32 or F64", "a tape of %s", sl_dtype_name(dtype));
    const sl_kern *kern;
    SL_TRY(sl_kern_get(ctx, dtype, &kern, err));
    sl_tape *t = sl_alloc(ctx, sizeof *t);
    if (!t)
        return sl_fail(err, SL_MEM, "tape", NULL, "no memory for a tape");
    t->ctx = ctx;
    t->kern = kern;
    t->dtype = dtype;
    t->round = 1;
    t->arena = sl_arena_new(ctx, FIRST_ARENA);
    t->cap_seen = FIRST_SEEN;
    t->seen = sl_alloc(ctx, FIRST_SEEN * sizeof *t->seen);
    if (!t->arena || !t->seen) {
        sl_tape_free(t);
        return sl_fail(err, SL_MEM, "tape", NULL, "no memory for a tape");
    }
    *out = t;
    return SL_OK;
}

void sl_tape_free(sl_tape *t)
{
    if (!t)
        return;
    for (int i = 0; i < t->n_chunks; i++)
        sl_free(t->ctx, t->chunk[i]);
    sl_free(t->ctx, t->chunk);
    sl_free(t->ctx, t->seen);
    sl_arena_free(t->arena);
    sl_free(t->ctx, t);
}

void sl_tape_reset(sl_tape *t)
{
    sl_arena_reset(t->arena);
    t->n_nodes = 0;
    t->free_bufs = NULL;
    t->n_seen = 0;
    t->round++;
    t->site = 0;
    t->status = SL_OK;
}

void sl_tape_no_grad(sl_tape *t, bool on) { t->no_grad = on; }

void sl_tape_random(sl_tape *t, uint64_t seed, uint64_t step)
{
    t->seed = seed;
    t->step = step;
    t->site = 0;
}

sl_mask_key sl_next_key(sl_tape *t, double p)
{
    return (sl_mask_key){ .seed = t->seed, .stream = t->step << 20 | (t->site++ & 0xfffff), .p = p };
}

const sl_kern *sl_tape_kern(const sl_tape *t) { return t->kern; }

/* ---- failure ---- */

sl_status sl_tape_status(const sl_tape *t, sl_err *err)
{
    if (t->status != SL_OK && err)
        *err = t->err;
    return t->status;
}

sl_status sl_tape_fail(sl_tape *t, sl_status code, const char *where, const char *what)
{
    if (t->status == SL_OK)
        t->status = sl_fail(&t->err, code, where, NULL, "%s", what);
    return t->status;
}

sl_status sl_node_fail(sl_tape *t, const sl_node *n, sl_status code, const char *expected, const char *fmt, ...)
{
    char what[384];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    if (t->status == SL_OK)
        t->status = sl_fail(&t->err, code, n->op->name, expected, "%s", what);
    return code;
}

sl_status sl_shape_mismatch(sl_tape *t, const sl_node *n, const char *a_name, const sl_tensor *a, const char *b_name,
                            const sl_tensor *b, const char *expected)
{
    char a_text[64], b_text[64];
    sl_shape_text(a, a_text);
    sl_shape_text(b, b_text);
    return sl_node_fail(t, n, SL_SHAPE, expected, "%s is %s, %s is %s", a_name, a_text, b_name, b_text);
}

sl_status sl_shape_bad(sl_tape *t, const sl_node *n, const char *name, const sl_tensor *x, const char *expected)
{
    char text[64];
    sl_shape_text(x, text);
    return sl_node_fail(t, n, SL_SHAPE, expected, "%s is %s", name, text);
}

/* ---- memory ---- */

void *sl_tape_bytes(sl_tape *t, size_t bytes)
{
    void *p = sl_arena_alloc(t->arena, bytes ? bytes : 1);
    if (!p)
        sl_tape_fail(t, SL_MEM, "tape", "no memory for a step");
    return p;
}

void *sl_tape_scratch(sl_tape *t, size_t bytes)
{
    void *p = t->status == SL_OK ? sl_tape_bytes(t, bytes) : NULL;
    return p ? memset(p, 0, bytes) : NULL;
}

sl_tensor *sl_node_keep(sl_tape *t, sl_node *n, int slot, int n_dim, const int64_t *dim)
{
    sl_tensor *x = &n->kept[slot];
    *x = (sl_tensor){ .dim = { 1, 1, 1, 1 }, .n_dim = n_dim, .dtype = t->dtype };
    for (int i = 0; i < n_dim; i++)
        x->dim[i] = dim[i];
    x->data = sl_tape_bytes(t, sl_nbytes(x));
    return x->data ? x : NULL;
}

/* ---- nodes ---- */

sl_node *sl_node_at(const sl_tape *t, int32_t id)
{
    assert(id >= 1 && id <= t->n_nodes);
    return &t->chunk[(id - 1) / SL_TAPE_CHUNK][(id - 1) % SL_TAPE_CHUNK];
}

static bool more_chunks(sl_tape *t)
{
    if (t->n_chunks == t->cap_chunks) {
        int cap = t->cap_chunks ? 2 * t->cap_chunks : 16;
        sl_node **bigger = sl_alloc(t->ctx, (size_t)cap * sizeof *bigger);
        if (!bigger)
            return false;
        if (t->chunk)
            memcpy(bigger, t->chunk, (size_t)t->n_chunks * sizeof *bigger);
        sl_free(t->ctx, t->chunk);
        t->chunk = bigger;
        t->cap_chunks = cap;
    }
    t->chunk[t->n_chunks] = sl_alloc(t->ctx, SL_TAPE_CHUNK * sizeof **t->chunk);
    if (!t->chunk[t->n_chunks])
        return false;
    t->n_chunks++;
    return true;
}

static sl_node *new_node(sl_tape *t)
{
    if (t->n_nodes == t->n_chunks * SL_TAPE_CHUNK && !more_chunks(t)) {
        sl_tape_fail(t, SL_MEM, "tape", "no memory for a step");
        return NULL;
    }
    sl_node *n = sl_node_at(t, ++t->n_nodes);
    memset(n, 0, sizeof *n);
    n->id = t->n_nodes;
    return n;
}

void sl_shape_like(sl_node *n, const sl_tensor *x)
{
    n->out = *x;
    n->out.data = NULL;
}

void sl_shape_last(sl_node *n, const sl_tensor *x, int64_t d)
{
    sl_shape_like(n, x);
    n->out.dim[n->out.n_dim - 1] = d;
}

const sl_tensor *sl_in(const sl_tape *t, const sl_node *n, int i)
{
    return n->in[i] ? &sl_node_at(t, n->in[i])->out : NULL;
}

bool sl_wants(const sl_tape *t, const sl_node *n, int i)
{
    return n->needs_grad && n->in[i] && sl_node_at(t, n->in[i])->needs_grad;
}

double sl_in_scalar(const sl_tape *t, const sl_node *n, int i) { return sl_node_at(t, n->in[i])->scalar; }

void sl_set_scalar(sl_tape *t, sl_node *n, double v)
{
    n->scalar = v;
    t->kern->fill(t->kern, v, &n->out);
}

static sl_status take_inputs(sl_tape *t, sl_node *n, const sl_var *in)
{
    for (int i = 0; i < n->op->n_in; i++) {
        if (in[i].id == 0 && i < n->op->n_required)
            return sl_node_fail(t, n, SL_ARG, NULL, "input %d is missing", i + 1);
        n->in[i] = in[i].id;
        if (in[i].id && sl_node_at(t, in[i].id)->needs_grad)
            n->needs_grad = true;
    }
    n->needs_grad = n->needs_grad && !t->no_grad && n->op->backward;
    return SL_OK;
}

/* A kernel without scratch leaves undefined results, which nobody may read: sparse codes would lead anywhere. */
static void check_kernels(sl_tape *t)
{
    if (t->status == SL_OK && sl_kern_failed(t->kern))
        sl_tape_fail(t, SL_MEM, "kernels", "no memory for scratch");
}

sl_var sl_apply(sl_tape *t, const sl_op *op, const sl_var *in, const sl_args *args)
{
    const sl_var none = { 0 };
    if (t->status != SL_OK)
        return none;
    sl_node *n = new_node(t);
    if (!n)
        return none;
    n->op = op;
    n->out = (sl_tensor){ .dim = { 1, 1, 1, 1 }, .dtype = t->dtype }; /* a scalar, unless the shape rule says otherwise */
    if (args)
        n->args = *args;
    if (take_inputs(t, n, in) != SL_OK || op->shape(t, n) != SL_OK)
        return none;
    if (!n->out.data)
        n->out.data = sl_tape_bytes(t, sl_nbytes(&n->out));
    if (t->status == SL_OK && op->forward)
        op->forward(t, n);
    check_kernels(t);
    return t->status == SL_OK ? (sl_var){ n->id } : none;
}

/* ---- variables without an operator ---- */

static sl_var new_input(sl_tape *t, const sl_tensor *x, bool needs_grad, sl_param *param)
{
    const sl_var none = { 0 };
    if (t->status != SL_OK)
        return none;
    if (x->dtype != t->dtype) {
        t->status = sl_fail(&t->err, SL_SHAPE, param ? param->name : "tape input", sl_dtype_name(t->dtype), "it is %s",
                            sl_dtype_name(x->dtype));
        return none;
    }
    sl_node *n = new_node(t);
    if (!n)
        return none;
    n->out = *x;
    n->needs_grad = needs_grad && !t->no_grad;
    n->param = param;
    if (x->n_dim == 0)
        n->scalar = t->kern->sum(t->kern, x);
    return (sl_var){ n->id };
}

sl_var sl_const(sl_tape *t, const sl_tensor *x) { return new_input(t, x, false, NULL); }
sl_var sl_leaf(sl_tape *t, const sl_tensor *x) { return new_input(t, x, true, NULL); }

sl_code sl_const_code(sl_tape *t, const sl_csr *z)
{
    sl_tensor val = sl_tensor_of(t->dtype, z->val, 1, z->capacity);
    sl_code code = { new_input(t, &val, false, NULL) };
    sl_csr *own = code.v.id ? sl_tape_bytes(t, sizeof *own) : NULL;
    if (!own)
        return (sl_code){ { 0 } };
    *own = *z;
    sl_node_at(t, code.v.id)->csr = own;
    return code;
}

/* Slot of p in the table of this step: either p's or a free one. */
static uint32_t seen_slot(const sl_tape *t, const sl_param *p)
{
    uint32_t mask = t->cap_seen - 1, i = (uint32_t)((uintptr_t)p >> 6) * 0x9E3779B9u & mask;
    while (t->seen[i].round == t->round && t->seen[i].param != p)
        i = (i + 1) & mask;
    return i;
}

static bool grow_seen(sl_tape *t)
{
    uint32_t old_cap = t->cap_seen;
    void *bigger = sl_alloc(t->ctx, 2 * (size_t)old_cap * sizeof *t->seen), *old = t->seen;
    if (!bigger) {
        sl_tape_fail(t, SL_MEM, "tape", "no memory for a step");
        return false;
    }
    t->seen = bigger;
    t->cap_seen = 2 * old_cap;
    for (int32_t id = 1; id <= t->n_nodes; id++) {
        sl_param *p = sl_node_at(t, id)->param;
        if (!p)
            continue;
        uint32_t i = seen_slot(t, p);
        t->seen[i].param = p;
        t->seen[i].id = id;
        t->seen[i].round = t->round;
    }
    sl_free(t->ctx, old);
    return true;
}

sl_var sl_param_var(sl_tape *t, sl_param *p)
{
    const sl_var none = { 0 };
    if (t->status != SL_OK || (2 * t->n_seen >= t->cap_seen && !grow_seen(t)))
        return none;
    uint32_t i = seen_slot(t, p);
    if (t->seen[i].round == t->round && (sl_node_at(t, t->seen[i].id)->needs_grad || t->no_grad || p->flags & SL_PARAM_FROZEN))
        return (sl_var){ t->seen[i].id };
    sl_var v = new_input(t, &p->value, !(p->flags & SL_PARAM_FROZEN), p);
    if (v.id) {
        t->n_seen += t->seen[i].round != t->round;
        t->seen[i].param = p;
        t->seen[i].id = v.id;
        t->seen[i].round = t->round;
    }
    return v;
}

/* ---- reading ---- */

const sl_tensor *sl_value(const sl_tape *t, sl_var v) { return v.id ? &sl_node_at(t, v.id)->out : NULL; }

const sl_tensor *sl_grad(const sl_tape *t, sl_var v)
{
    const sl_node *n = v.id ? sl_node_at(t, v.id) : NULL;
    if (!n)
        return NULL;
    if (n->param)
        return &n->param->grad;
    return n->gbuf ? &n->grad : NULL;
}

double sl_scalar(const sl_tape *t, sl_var v)
{
    const sl_node *n = v.id ? sl_node_at(t, v.id) : NULL;
    return n && n->out.n_dim == 0 ? n->scalar : NAN;
}

const sl_csr *sl_code_csr(const sl_tape *t, sl_code z) { return z.v.id ? sl_node_at(t, z.v.id)->csr : NULL; }

/* ---- backward ---- */

static sl_status ready_for_backward(sl_tape *t, sl_var loss, sl_err *err)
{
    if (t->status != SL_OK)
        return sl_tape_status(t, err);
    const sl_node *n = loss.id ? sl_node_at(t, loss.id) : NULL;
    if (!n)
        return sl_fail(err, SL_ARG, "backward", NULL, "the loss is no variable");
    if (n->out.n_dim != 0) {
        char text[64];
        sl_shape_text(&n->out, text);
        return sl_fail(err, SL_SHAPE, "backward", "a scalar", "the loss is %s", text);
    }
    if (!n->needs_grad)
        return sl_fail(err, SL_ARG, "backward", NULL, "the loss depends on nothing that has a gradient");
    return SL_OK;
}

sl_status sl_tape_backward_scaled(sl_tape *t, sl_var loss, double scale, sl_err *err)
{
    SL_TRY(ready_for_backward(t, loss, err));
    sl_node *top = sl_node_at(t, loss.id);
    if (sl_grad_new(t, top))
        t->kern->fill(t->kern, scale, &top->grad);
    for (int32_t id = loss.id; id >= 1 && t->status == SL_OK; id--) {
        sl_node *n = sl_node_at(t, id);
        if (!n->op || !n->gbuf)
            continue;
        n->op->backward(t, n);
        sl_grad_release(t, n);
        check_kernels(t);
    }
    return sl_tape_status(t, err);
}

sl_status sl_tape_backward(sl_tape *t, sl_var loss, sl_err *err) { return sl_tape_backward_scaled(t, loss, 1, err); }
