/* Gradients of variables: buffers of a pool, handed back after their node's backward, shared where an operator passes its own
 * gradient on, and copied only when a shared one is about to be written. Gradients of parameters live in the parameter. */
#include "tape/node.h"
#include "tape/params.h"

#include <assert.h>

/* ---- the pool ---- */

/* The smallest free buffer of bytes .. 2 * bytes, else a new one. */
static sl_gbuf *take_buf(sl_tape *t, size_t bytes)
{
    sl_gbuf **best = NULL;
    for (sl_gbuf **p = &t->free_bufs; *p; p = &(*p)->next)
        if ((*p)->bytes >= bytes && (*p)->bytes <= 2 * bytes && (!best || (*p)->bytes < (*best)->bytes))
            best = p;
    sl_gbuf *b;
    if (best) {
        b = *best;
        *best = b->next;
    } else {
        b = sl_tape_bytes(t, sizeof *b);
        if (!b)
            return NULL;
        b->bytes = bytes;
        b->data = sl_tape_bytes(t, bytes);
        if (!b->data)
            return NULL;
    }
    b->refs = 1;
    b->next = NULL;
    return b;
}

static void drop_buf(sl_tape *t, sl_gbuf *b)
{
    assert(b->refs > 0);
    if (--b->refs == 0) {
        b->next = t->free_bufs;
        t->free_bufs = b;
    }
}

bool sl_temp_get(sl_tape *t, const sl_tensor *like, sl_temp *out)
{
    out->x = *like;
    out->buf = take_buf(t, sl_nbytes(like));
    out->x.data = out->buf ? out->buf->data : NULL;
    return out->buf;
}

void sl_temp_done(sl_tape *t, sl_temp *tmp) { drop_buf(t, tmp->buf); }

bool sl_temp_of_dout(sl_tape *t, sl_node *n, sl_temp *out)
{
    if (n->gbuf->refs > 1)
        return sl_temp_get(t, &n->grad, out);
    n->gbuf->refs++;
    out->x = n->grad;
    out->buf = n->gbuf;
    return true;
}

/* ---- gradients of nodes ---- */

bool sl_grad_new(sl_tape *t, sl_node *n)
{
    sl_temp tmp;
    if (n->gbuf)
        sl_grad_release(t, n);
    if (!sl_temp_get(t, &n->out, &tmp))
        return false;
    n->gbuf = tmp.buf;
    n->grad = tmp.x;
    return true;
}

void sl_grad_release(sl_tape *t, sl_node *n)
{
    drop_buf(t, n->gbuf);
    n->gbuf = NULL;
    n->grad.data = NULL;
}

/* Before a write that also reads: a shared buffer becomes the node's own copy. */
static bool own_grad(sl_tape *t, sl_node *n)
{
    sl_temp tmp;
    if (n->gbuf->refs == 1)
        return true;
    if (!sl_temp_get(t, &n->grad, &tmp))
        return false;
    t->kern->copy(t->kern, &n->grad, &tmp.x);
    drop_buf(t, n->gbuf);
    n->gbuf = tmp.buf;
    n->grad = tmp.x;
    return true;
}

double sl_dscalar(const sl_tape *t, const sl_node *n) { return t->kern->sum(t->kern, &n->grad); }

static sl_node *wanted(sl_tape *t, const sl_node *n, int i)
{
    sl_node *x = n->in[i] ? sl_node_at(t, n->in[i]) : NULL;
    return x && x->needs_grad && t->status == SL_OK ? x : NULL;
}

sl_tensor *sl_din(sl_tape *t, sl_node *n, int i, double *beta)
{
    sl_node *x = wanted(t, n, i);
    *beta = 1;
    if (!x)
        return NULL;
    if (x->param && !sl_param_need_grad(x->param))
        sl_tape_fail(t, SL_MEM, x->param->name, "no memory for its gradient");
    if (x->param)
        return t->status == SL_OK ? &x->param->grad : NULL;
    if (x->gbuf)
        return own_grad(t, x) ? &x->grad : NULL;
    *beta = 0;
    return sl_grad_new(t, x) ? &x->grad : NULL;
}

sl_tensor *sl_din_add(sl_tape *t, sl_node *n, int i)
{
    double beta;
    sl_tensor *dx = sl_din(t, n, i, &beta);
    if (dx && beta == 0)
        t->kern->fill(t->kern, 0, dx);
    return dx;
}

void sl_din_pass(sl_tape *t, sl_node *n, int i)
{
    sl_node *x = wanted(t, n, i);
    if (!x)
        return;
    if (!x->param && !x->gbuf) {
        n->gbuf->refs++;
        x->gbuf = n->gbuf;
        x->grad = n->grad;
        return;
    }
    double beta;
    sl_tensor *dx = sl_din(t, n, i, &beta);
    if (dx)
        t->kern->axpby(t->kern, 1, &n->grad, 1, dx);
}

void sl_din_fill(sl_tape *t, sl_node *n, int i, double v)
{
    double beta;
    sl_temp tmp;
    sl_tensor *dx = sl_din(t, n, i, &beta);
    if (!dx)
        return;
    if (beta == 0) {
        t->kern->fill(t->kern, v, dx);
        return;
    }
    if (!sl_temp_get(t, dx, &tmp))
        return;
    t->kern->fill(t->kern, v, &tmp.x);
    t->kern->axpby(t->kern, 1, &tmp.x, 1, dx);
    sl_temp_done(t, &tmp);
}
