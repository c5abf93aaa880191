/* What a transformer needs besides products and norms.
 *   embed      y_r = table[ids_r]                            dtable[ids_r] += dy_r     ids [..] -> y [.., C]
 *   rotary     turns the q and k thirds of qkv [B, T, 3C]    dx += the inverse turn of dy
 *   attention  causal multi-head attention, qkv [B, T, 3C] -> [B, T, C]; keeps log-sum-exp [B, H, T], never T x T */
#include "tape/node.h"

/* ---- embed: args.data = ids ---- */

static sl_status embed_shape(sl_tape *t, sl_node *n)
{
    const sl_tensor *table = sl_in(t, n, 0), *ids = &n->args.data;
    if (table->n_dim != 2)
        return sl_shape_bad(t, n, "table", table, "[V, C]");
    if (ids->dtype != SL_I32 || ids->n_dim < 1 || ids->n_dim >= SL_MAX_DIM)
        return sl_shape_bad(t, n, "ids", ids, "I32 of one to three dimensions");
    for (int i = 0; i < ids->n_dim; i++)
        n->out.dim[i] = ids->dim[i];
    n->out.dim[ids->n_dim] = table->dim[1];
    n->out.n_dim = ids->n_dim + 1;
    return SL_OK;
}

static void embed_forward(sl_tape *t, sl_node *n)
{
    t->kern->embed(t->kern, &n->args.data, sl_in(t, n, 0), 0, &n->out);
}

static void embed_backward(sl_tape *t, sl_node *n)
{
    sl_tensor *dtable = sl_din_add(t, n, 0);
    if (dtable)
        t->kern->embed_back(t->kern, &n->args.data, &n->grad, dtable);
}

static sl_var embed_example(sl_tape *t, sl_example *e, int which)
{
    (void)which;
    return sl_embed(t, sl_example_ids(t, e, 9, 0, 5), sl_example_in(t, e, 5, 3, 0));
}

const sl_op sl_op_embed = { "embed", 1, 1, embed_shape, embed_forward, embed_backward, 1, embed_example };

sl_var sl_embed(sl_tape *t, const sl_tensor *ids, sl_var table)
{
    return sl_apply(t, &sl_op_embed, &table, &(sl_args){ .data = *ids });
}

/* ---- rotary: args.i = n_head, args.f = base ---- */

static sl_status heads_shape(sl_tape *t, sl_node *n, int64_t width)
{
    const sl_tensor *qkv = sl_in(t, n, 0);
    if (qkv->n_dim != 3 || n->args.i < 1 || qkv->dim[2] % (width * n->args.i) != 0) {
        char text[64];
        sl_shape_text(qkv, text);
        const char *expected = width == 3 ? "[B, T, 3C], C a multiple of n_head" : "[B, T, 3C], C a multiple of 2 n_head";
        return sl_node_fail(t, n, SL_SHAPE, expected, "qkv is %s with n_head %lld", text, (long long)n->args.i);
    }
    sl_shape_like(n, qkv);
    return SL_OK;
}

static sl_status rotary_shape(sl_tape *t, sl_node *n) { return heads_shape(t, n, 6); }

static void rotary_forward(sl_tape *t, sl_node *n)
{
    t->kern->rotary(t->kern, sl_in(t, n, 0), (int)n->args.i, 0, n->args.f, 1, 0, &n->out);
}

static void rotary_backward(sl_tape *t, sl_node *n)
{
    double beta;
    sl_tensor *dx = sl_din(t, n, 0, &beta);
    if (dx)
        t->kern->rotary(t->kern, &n->grad, (int)n->args.i, 0, n->args.f, -1, beta, dx);
}

static sl_var rotary_example(sl_tape *t, sl_example *e, int which)
{
    (void)which;
    return sl_rotary(t, sl_example_in(t, e, 2, 3, 24), 2, 10000);
}

const sl_op sl_op_rotary = { "rotary", 1, 1, rotary_shape, rotary_forward, rotary_backward, 1, rotary_example };

sl_var sl_rotary(sl_tape *t, sl_var qkv, int n_head, double base)
{
    return sl_apply(t, &sl_op_rotary, &qkv, &(sl_args){ .i = n_head, .f = base });
}

/* ---- attention: args.i = n_head, args.key = dropout of the weights ---- */

enum { LSE = 0 };

static sl_status attention_shape(sl_tape *t, sl_node *n)
{
    double p = n->args.key.p;
    if (!(p >= 0 && p < 1))
        return sl_node_fail(t, n, SL_ARG, "0 <= p < 1", "dropout p is %g", p);
    SL_TRY(heads_shape(t, n, 3));
    n->out.dim[2] /= 3;
    return SL_OK;
}

static sl_attn attention_of(const sl_node *n)
{
    return (sl_attn){ .B = n->out.dim[0], .T = n->out.dim[1], .C = n->out.dim[2], .n_head = (int)n->args.i, .drop = n->args.key };
}

static void attention_forward(sl_tape *t, sl_node *n)
{
    sl_attn a = attention_of(n);
    sl_tensor *lse = sl_node_keep(t, n, LSE, 3, (const int64_t[]){ a.B, a.n_head, a.T });
    if (lse)
        t->kern->attention(t->kern, &a, sl_in(t, n, 0), &n->out, lse);
}

static void attention_backward(sl_tape *t, sl_node *n)
{
    sl_attn a = attention_of(n);
    sl_tensor *dqkv = sl_din_add(t, n, 0);
    if (dqkv)
        t->kern->attention_back(t->kern, &a, sl_in(t, n, 0), &n->out, &n->kept[LSE], &n->grad, dqkv);
}

static sl_var attention_example(sl_tape *t, sl_example *e, int which)
{
    return sl_attention(t, sl_example_in(t, e, 2, 5, 12), which ? 1 : 2, which ? .25 : 0);
}

const sl_op sl_op_attention = { "attention", 1, 1, attention_shape, attention_forward, attention_backward, 2, attention_example };

sl_var sl_attention(sl_tape *t, sl_var qkv, int n_head, double dropout_p)
{
    sl_mask_key key = dropout_p == 0 ? (sl_mask_key){ 0 } : sl_next_key(t, dropout_p);
    return sl_apply(t, &sl_op_attention, &qkv, &(sl_args){ .i = n_head, .key = key });
}
