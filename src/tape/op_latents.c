/* Dense latents of the variants that a penalty keeps sparse: pre-activations a [.., F], codes z [.., F], one number a feature [F].
 *   jumprelu   z = a 1[a > theta_j], positive values only      da += 1[z > 0] dz     dtheta_j -= sum_b (theta_j / eps) K((a - theta_j) / eps) dz
 *   l0_step    y = number of the codes of jumprelu             dtheta_j -= dy sum_b K((a - theta_j) / eps) / eps
 *   hinge      y = sum of max(theta_j - a, 0) over features that are not skipped
 *   gate       z = 1[pi > 0] max(gain_j pi + shift_j, 0)       no gradient through the step: dpi += 1[z > 0] gain_j dz
 *   penalty    y = sum of phi(w_j z)                           dz += dy w_j phi'(w_j z)    dw_j += dy sum_b z phi'(w_j z)
 * K(u) = 1[|u| < 1/2]: the rectangular straight-through gradient of Rajamanoharan et al. 2024 (arXiv 2407.14435, eq. 11 and 12). It is no
 * derivative of the function computed; in gradient checks both operators are therefore evaluated as the function that has this gradient
 * at the point of the base tape (jump_near, count_near of kern.h), which moves the check to everything built on them. */
#include "tape/node.h"

/* a [.., F] and one or two vectors [F] */
static sl_status features_shape(sl_tape *t, sl_node *n, const char *a_name, const char *const *names)
{
    const sl_tensor *a = sl_in(t, n, 0);
    if (a->n_dim < 1)
        return sl_shape_bad(t, n, a_name, a, "at least one dimension");
    for (int i = 1; i < n->op->n_in; i++) {
        const sl_tensor *r = sl_in(t, n, i);
        if (r && (r->n_dim != 1 || r->dim[0] != sl_cols(a)))
            return sl_shape_mismatch(t, n, a_name, a, names[i - 1], r, "[.., F] and [F]");
    }
    return SL_OK;
}

static sl_status theta_shape(sl_tape *t, sl_node *n)
{
    if (!(n->args.f > 0))
        return sl_node_fail(t, n, SL_ARG, "a number > 0", "the width of the window is %g", n->args.f);
    return features_shape(t, n, "a", (const char *[]){ "theta" });
}

enum { A = 0, THETA = 1 };

/* On the base tape of a gradient check: a and theta as they are now. */
static bool keep_point(sl_tape *t, sl_node *n)
{
    for (int i = A; t->checked && i <= THETA; i++) {
        const sl_tensor *x = sl_in(t, n, i);
        sl_tensor *kept = sl_node_keep(t, n, i, x->n_dim, x->dim);
        if (!kept)
            return false;
        t->kern->copy(t->kern, x, kept);
    }
    return true;
}

/* a and theta of the base tape of a gradient check; NULL on any other tape. */
static const sl_tensor *point_of(const sl_tape *t, const sl_node *n) { return t->frozen ? sl_node_at(t->frozen, n->id)->kept : NULL; }

/* ---- jumprelu: args.f = eps ---- */

static sl_status jump_shape(sl_tape *t, sl_node *n)
{
    sl_shape_like(n, sl_in(t, n, 0));
    return theta_shape(t, n);
}

static void jump_forward(sl_tape *t, sl_node *n)
{
    const sl_kern *k = t->kern;
    const sl_tensor *at = point_of(t, n);
    if (at)
        k->jump_near(k, n->args.f, &at[A], &at[THETA], sl_in(t, n, 0), sl_in(t, n, 1), &n->out);
    else if (keep_point(t, n))
        k->jump(k, sl_in(t, n, 0), sl_in(t, n, 1), &n->out);
}

static void jump_backward(sl_tape *t, sl_node *n)
{
    double beta;
    sl_tensor *dtheta = sl_din_add(t, n, 1), *da = sl_din(t, n, 0, &beta);
    if (da || dtheta)
        t->kern->jump_back(t->kern, n->args.f, sl_in(t, n, 0), sl_in(t, n, 1), &n->grad, da ? beta : 0, da, dtheta);
}

static sl_var jump_example(sl_tape *t, sl_example *e, int which)
{
    sl_var a = sl_example_in(t, e, 6, 9, 0), theta = sl_example_in(t, e, 9, 0, 0);
    sl_var z = sl_jumprelu(t, a, theta, which == 1 ? .3 : 2);
    return which == 2 ? sl_add(t, a, z) : z; /* a residual: dz is shared, and may not be overwritten */
}

const sl_op sl_op_jumprelu = { "jumprelu", 2, 2, jump_shape, jump_forward, jump_backward, 3, jump_example };

sl_var sl_jumprelu(sl_tape *t, sl_var a, sl_var theta, double eps)
{
    return sl_apply(t, &sl_op_jumprelu, (sl_var[]){ a, theta }, &(sl_args){ .f = eps });
}

/* ---- l0_step: args.f = eps ---- */

static void l0_forward(sl_tape *t, sl_node *n)
{
    const sl_kern *k = t->kern;
    const sl_tensor *at = point_of(t, n);
    if (at)
        sl_set_scalar(t, n, k->count_near(k, n->args.f, &at[A], &at[THETA], sl_in(t, n, 1)));
    else if (keep_point(t, n))
        sl_set_scalar(t, n, k->count(k, sl_in(t, n, 0), sl_in(t, n, 1)));
}

static void l0_backward(sl_tape *t, sl_node *n)
{
    sl_tensor *dtheta = sl_din_add(t, n, 1);
    if (dtheta)
        t->kern->count_back(t->kern, n->args.f, sl_in(t, n, 0), sl_in(t, n, 1), sl_dscalar(t, n), dtheta);
}

static sl_var l0_example(sl_tape *t, sl_example *e, int which)
{
    (void)which;
    sl_var theta = sl_example_in(t, e, 9, 0, 0);
    return sl_l0_step(t, sl_example_in(t, e, 6, 9, 0), theta, 1.5);
}

const sl_op sl_op_l0_step = { "l0_step", 2, 2, theta_shape, l0_forward, l0_backward, 1, l0_example };

sl_var sl_l0_step(sl_tape *t, sl_var a, sl_var theta, double eps)
{
    return sl_apply(t, &sl_op_l0_step, (sl_var[]){ a, theta }, &(sl_args){ .f = eps });
}

/* ---- hinge: args.data = features that do not count ---- */

static sl_status hinge_shape(sl_tape *t, sl_node *n)
{
    const sl_tensor *a = sl_in(t, n, 0), *skip = &n->args.data;
    sl_status st = features_shape(t, n, "a", (const char *[]){ "theta" });
    if (st == SL_OK && (skip->dtype != SL_U8 || sl_numel(skip) != sl_cols(a)))
        return sl_shape_mismatch(t, n, "a", a, "skip", skip, "skip [F] of U8");
    return st;
}

static void hinge_forward(sl_tape *t, sl_node *n)
{
    sl_set_scalar(t, n, t->kern->hinge(t->kern, sl_in(t, n, 0), sl_in(t, n, 1), &n->args.data));
}

static void hinge_backward(sl_tape *t, sl_node *n)
{
    double beta;
    sl_tensor *dtheta = sl_din_add(t, n, 1), *da = sl_din(t, n, 0, &beta);
    if (da || dtheta)
        t->kern->hinge_back(t->kern, sl_in(t, n, 0), sl_in(t, n, 1), &n->args.data, sl_dscalar(t, n), da ? beta : 0, da, dtheta);
}

static sl_var hinge_example(sl_tape *t, sl_example *e, int which)
{
    (void)which;
    sl_var a = sl_example_in(t, e, 4, 7, 0), theta = sl_example_in(t, e, 7, 0, 0);
    return sl_hinge(t, a, theta, sl_example_mask(t, e, 7));
}

const sl_op sl_op_hinge = { "hinge", 2, 2, hinge_shape, hinge_forward, hinge_backward, 1, hinge_example };

sl_var sl_hinge(sl_tape *t, sl_var a, sl_var theta, const sl_tensor *skip)
{
    return sl_apply(t, &sl_op_hinge, (sl_var[]){ a, theta }, &(sl_args){ .data = *skip });
}

/* ---- gate ---- */

static sl_status gate_shape(sl_tape *t, sl_node *n)
{
    sl_shape_like(n, sl_in(t, n, 0));
    return features_shape(t, n, "pi", (const char *[]){ "gain", "shift" });
}

static void gate_forward(sl_tape *t, sl_node *n)
{
    t->kern->gate(t->kern, sl_in(t, n, 0), sl_in(t, n, 1), sl_in(t, n, 2), &n->out);
}

static void gate_backward(sl_tape *t, sl_node *n)
{
    double beta;
    sl_tensor *dgain = sl_din_add(t, n, 1), *dshift = sl_din_add(t, n, 2), *dpi = sl_din(t, n, 0, &beta);
    if (dpi || dgain || dshift)
        t->kern->gate_back(t->kern, sl_in(t, n, 0), sl_in(t, n, 1), &n->out, &n->grad, dpi ? beta : 0, dpi, dgain, dshift);
}

static sl_var gate_example(sl_tape *t, sl_example *e, int which)
{
    sl_var pi = sl_example_in(t, e, 5, 6, 0), z = sl_gate(t, pi, sl_example_in(t, e, 6, 0, 0), sl_example_in(t, e, 6, 0, 0));
    return which == 0 ? z : sl_add(t, pi, z); /* a residual: dz is shared, and may not be overwritten */
}

const sl_op sl_op_gate = { "gate", 3, 3, gate_shape, gate_forward, gate_backward, 2, gate_example };

sl_var sl_gate(sl_tape *t, sl_var pi, sl_var gain, sl_var shift) { return sl_apply(t, &sl_op_gate, (sl_var[]){ pi, gain, shift }, NULL); }

/* ---- penalty: args.i = kind, args.f = c ---- */

static sl_penalty penalty_of(const sl_node *n) { return (sl_penalty){ (sl_penalty_kind)n->args.i, n->args.f }; }

static sl_status penalty_shape(sl_tape *t, sl_node *n)
{
    if (n->args.i != SL_PENALTY_L1 && !(n->args.f > 0))
        return sl_node_fail(t, n, SL_ARG, "a number > 0", "its constant is %g", n->args.f);
    return features_shape(t, n, "z", (const char *[]){ "w" });
}

static void penalty_forward(sl_tape *t, sl_node *n)
{
    sl_penalty p = penalty_of(n);
    sl_set_scalar(t, n, t->kern->penalty(t->kern, &p, sl_in(t, n, 0), sl_in(t, n, 1)));
}

static void penalty_backward(sl_tape *t, sl_node *n)
{
    sl_penalty p = penalty_of(n);
    double beta;
    sl_tensor *dw = sl_din_add(t, n, 1), *dz = sl_din(t, n, 0, &beta);
    if (dz || dw)
        t->kern->penalty_back(t->kern, &p, sl_in(t, n, 0), sl_in(t, n, 1), sl_dscalar(t, n), dz ? beta : 0, dz, dw);
}

static sl_var penalty_example(sl_tape *t, sl_example *e, int which)
{
    static const sl_penalty p[] = { { SL_PENALTY_L1, 0 }, { SL_PENALTY_TANH, 1.5 }, { SL_PENALTY_POWER, .4 } };
    sl_var z = sl_activation(t, sl_example_in(t, e, 5, 6, 0), SL_ACT_EXP); /* codes: u^.4 has no derivative at 0 to compare with */
    sl_var w = which % 2 ? sl_activation(t, sl_example_in(t, e, 6, 0, 0), SL_ACT_EXP) : (sl_var){ 0 };
    return sl_penalize(t, z, w, p[which / 2]);
}

const sl_op sl_op_penalty = { "penalty", 2, 1, penalty_shape, penalty_forward, penalty_backward, 6, penalty_example };

sl_var sl_penalize(sl_tape *t, sl_var z, sl_var w, sl_penalty p)
{
    return sl_apply(t, &sl_op_penalty, (sl_var[]){ z, w }, &(sl_args){ .f = p.c, .i = p.kind });
}
