/* The gradient checker: analytic gradients of a f64 tape on ref against central differences of fourth order,
 *   f'(x) = (8 (f(x+h) - f(x-h)) - (f(x+2h) - f(x-2h))) / 12h + O(h^4).
 * The error of an element is |a - n| / max(|a|, |n|, rms of its tensor's analytic gradient, 1e-5 max(1, |f|)): relative to
 * the size of the gradient that it belongs to, and never finer than what f itself resolves. Steps h = 1e-4, 1e-5 and 1e-3 are
 * tried in turn while the error exceeds 1e-8, and the best counts: rounding, curvature and a kink within 2h spoil single
 * steps, a wrong gradient spoils all. Selections of sparse codes are frozen: f at x +- h uses the choice made at x. */
#include "tape/node.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { MAX_INPUTS = 12, N_STEPS = 3 };

static const double STEP[N_STEPS] = { 1e-4, 1e-5, 1e-3 };
#define GOOD_ENOUGH 1e-8

/* ---- what is checked: a scalar function of some f64 arrays ---- */

typedef struct subject {
    sl_ctx *ctx;
    sl_var (*build)(sl_tape *t, void *user); /* the scalar */
    void *user;
    sl_tape *base, *moved; /* where it is differentiated; where it is evaluated, with base's selections */
    double f;              /* its value there */
    sl_gradcheck *out;
} subject;

static sl_status evaluate(subject *s, double *f, sl_err *err)
{
    sl_tape_reset(s->moved);
    sl_tape_no_grad(s->moved, true);
    sl_var y = s->build(s->moved, s->user);
    *f = sl_scalar(s->moved, y);
    return sl_tape_status(s->moved, err);
}

static sl_status central_difference(subject *s, double *x, double h, double *slope, sl_err *err)
{
    static const double at[] = { 1, -1, 2, -2 };
    double f[4], x0 = *x;
    sl_status st = SL_OK;
    for (int i = 0; i < 4 && st == SL_OK; i++) {
        *x = x0 + at[i] * h;
        st = evaluate(s, &f[i], err);
    }
    *x = x0;
    *slope = (8 * (f[0] - f[1]) - (f[2] - f[3])) / (12 * h);
    return st;
}

/* Compares element i of `name`, of value *x and analytic gradient a; `floor`: see the head of the file. */
static sl_status check_element(subject *s, const char *name, int64_t i, double *x, double a, double floor, sl_err *err)
{
    double best = INFINITY, best_n = NAN;
    for (int j = 0; j < N_STEPS && !(best < GOOD_ENOUGH); j++) {
        double n = 0;
        SL_TRY(central_difference(s, x, STEP[j], &n, err));
        double e = fabs(a - n) / fmax(fmax(fabs(a), fabs(n)), floor);
        if (e < best || j == 0) {
            best = e;
            best_n = n;
        }
    }
    if (!(best <= s->out->max_rel_err)) { /* a NaN is the worst */
        s->out->max_rel_err = isnan(best) ? INFINITY : best;
        snprintf(s->out->worst, sizeof s->out->worst, "%.60s element %lld: analytic %.10g, numeric %.10g", name, (long long)i, a,
                 best_n);
    }
    s->out->n_checked++;
    return SL_OK;
}

/* grad NULL: the analytic gradient is zero. */
static sl_status check_array(subject *s, const char *name, double *x, const double *grad, int64_t n, int64_t stride, sl_err *err)
{
    double sq = 0;
    for (int64_t i = 0; grad && i < n; i++)
        sq += grad[i] * grad[i];
    double floor = fmax(sqrt(sq / (double)(n > 0 ? n : 1)), 1e-5 * fmax(1, fabs(s->f)));
    for (int64_t i = 0; i < n; i += stride)
        SL_TRY(check_element(s, name, i, &x[i], grad ? grad[i] : 0, floor, err));
    return SL_OK;
}

/* Makes both tapes and runs forward and backward on the first. */
static sl_status begin(subject *s, sl_err *err)
{
    SL_TRY(sl_tape_new(s->ctx, SL_F64, &s->base, err));
    SL_TRY(sl_tape_new(s->ctx, SL_F64, &s->moved, err));
    s->moved->frozen = s->base;
    s->base->checked = true;
    sl_var y = s->build(s->base, s->user);
    s->f = sl_scalar(s->base, y);
    return sl_tape_backward(s->base, y, err);
}

static void end(subject *s)
{
    sl_tape_free(s->base);
    sl_tape_free(s->moved);
}

/* ---- operators ---- */

struct sl_example {
    const sl_op *op;
    sl_ctx *ctx;
    int which;
    bool again; /* every input also has another use, whose gradient arrives first: the operator must add to it */
    sl_rng rng;
    struct { void *data; sl_tensor x; bool checked; int32_t id; } in[MAX_INPUTS]; /* in the order of the example's calls */
    int n, next;
};

/* The next array of the example: made at the first run, the same ever after. NULL, and the tape fails, without memory. */
static sl_tensor *next_array(sl_tape *t, sl_example *e, sl_dtype dtype, int n_dim, const int64_t dim[3], bool *made)
{
    *made = false;
    if (e->next < e->n)
        return &e->in[e->next++].x;
    assert(e->n < MAX_INPUTS);
    sl_tensor *x = &e->in[e->n].x;
    *x = (sl_tensor){ .dim = { 1, 1, 1, 1 }, .n_dim = n_dim, .dtype = dtype };
    for (int i = 0; i < n_dim; i++)
        x->dim[i] = dim[i];
    x->data = e->in[e->n].data = sl_alloc(e->ctx, sl_nbytes(x));
    if (!x->data) {
        sl_tape_fail(t, SL_MEM, e->op->name, "no memory for an example");
        return NULL;
    }
    *made = true;
    e->n++;
    e->next++;
    return x;
}

static sl_tensor *next_normal(sl_tape *t, sl_example *e, int64_t d0, int64_t d1, int64_t d2)
{
    bool made;
    sl_tensor *x = next_array(t, e, SL_F64, (d0 > 0) + (d1 > 0) + (d2 > 0), (const int64_t[]){ d0, d1, d2 }, &made);
    if (x && made)
        for (int64_t i = 0, n = sl_numel(x); i < n; i++)
            ((double *)x->data)[i] = sl_rng_normal(&e->rng);
    return x;
}

sl_var sl_example_in(sl_tape *t, sl_example *e, int64_t d0, int64_t d1, int64_t d2)
{
    sl_tensor *x = next_normal(t, e, d0, d1, d2);
    sl_var v = x ? sl_leaf(t, x) : (sl_var){ 0 };
    if (x && !t->frozen) {
        e->in[e->next - 1].checked = true;
        e->in[e->next - 1].id = v.id;
    }
    return v;
}

sl_var sl_example_const(sl_tape *t, sl_example *e, int64_t d0, int64_t d1, int64_t d2)
{
    sl_tensor *x = next_normal(t, e, d0, d1, d2);
    return x ? sl_const(t, x) : (sl_var){ 0 };
}

static const sl_tensor NOTHING = { .dim = { 0, 1, 1, 1 }, .n_dim = 1, .dtype = SL_U8 }; /* of a tape that has failed */

const sl_tensor *sl_example_ids(sl_tape *t, sl_example *e, int64_t n, int64_t lowest, int64_t above)
{
    bool made;
    sl_tensor *x = next_array(t, e, SL_I32, 1, (const int64_t[]){ n, 0, 0 }, &made);
    for (int64_t i = 0; x && made && i < n; i++)
        ((int32_t *)x->data)[i] = (int32_t)(lowest + (int64_t)sl_rng_below(&e->rng, (uint64_t)(above - lowest)));
    return x ? x : &NOTHING;
}

const sl_tensor *sl_example_mask(sl_tape *t, sl_example *e, int64_t n)
{
    bool made;
    sl_tensor *x = next_array(t, e, SL_U8, 1, (const int64_t[]){ n, 0, 0 }, &made);
    for (int64_t i = 0; x && made && i < n; i++)
        ((uint8_t *)x->data)[i] = i % 3 == 2;
    return x ? x : &NOTHING;
}

static sl_var example_scalar(sl_tape *t, void *user)
{
    sl_example *e = user;
    e->next = 0;
    sl_tape_random(t, 1, 0);
    sl_var y = e->op->example(t, e, e->which);
    const sl_tensor *value = sl_value(t, y);
    if (!value)
        return y;
    int64_t d[3] = { 0 };
    for (int i = 0; i < value->n_dim && i < 3; i++)
        d[i] = value->dim[i];
    sl_tensor *w = next_normal(t, e, d[0], d[1], d[2]); /* the checked scalar is y . w */
    sl_var f = w ? sl_sum(t, sl_mul(t, y, sl_const(t, w))) : (sl_var){ 0 };
    for (int i = 0; e->again && i < e->n; i++)
        if (e->in[i].checked)
            f = sl_add(t, f, sl_scale(t, sl_sum(t, (sl_var){ e->in[i].id }), .5)); /* ids are the same on both tapes */
    return f;
}

static double *flipped(sl_ctx *ctx, const double *g, int64_t n)
{
    double *neg = sl_alloc(ctx, (size_t)n * sizeof *neg);
    for (int64_t i = 0; neg && i < n; i++)
        neg[i] = -g[i];
    return neg;
}

static sl_status check_inputs(subject *s, sl_example *e, bool flip, sl_err *err)
{
    for (int i = 0, input = 0; i < e->n; i++) {
        if (!e->in[i].checked)
            continue;
        char name[80];
        const sl_tensor *g = sl_grad(s->base, (sl_var){ e->in[i].id });
        double *neg = NULL;
        int64_t n = sl_numel(&e->in[i].x);
        snprintf(name, sizeof name, "%s, example %d%s, input %d", e->op->name, e->which, e->again ? " again" : "", ++input);
        if (flip && input == 1 && g && !(neg = flipped(s->ctx, g->data, n)))
            return sl_fail(err, SL_MEM, name, NULL, "no memory for a gradient");
        sl_status st = check_array(s, name, e->in[i].data, neg ? neg : g ? g->data : NULL, n, 1, err);
        sl_free(s->ctx, neg);
        SL_TRY(st);
    }
    return SL_OK;
}

sl_status sl_op_check(sl_ctx *ctx, const sl_op *op, uint64_t seed, bool flip, sl_gradcheck *out, sl_err *err)
{
    *out = (sl_gradcheck){ 0 };
    sl_status st = SL_OK;
    for (int run = 0; run < 2 * op->n_examples && st == SL_OK; run++) {
        sl_example e = { .op = op, .ctx = ctx, .which = run / 2, .again = run % 2, .rng = sl_rng_at(seed, SL_RNG_TEST, 0, (uint64_t)run) };
        subject s = { .ctx = ctx, .build = example_scalar, .user = &e, .out = out };
        st = begin(&s, err);
        if (st == SL_OK)
            st = check_inputs(&s, &e, flip, err);
        end(&s);
        for (int i = 0; i < e.n; i++)
            sl_free(ctx, e.in[i].data);
    }
    return st;
}

/* ---- whole models ---- */

static sl_status check_params(subject *s, sl_params *ps, int64_t stride, sl_err *err)
{
    for (int i = 0; i < sl_params_count(ps); i++) {
        sl_param *p = sl_params_at(ps, i);
        if (!(p->flags & SL_PARAM_FROZEN))
            SL_TRY(check_array(s, p->name, p->value.data, p->grad.data, sl_numel(&p->value), stride, err));
    }
    return SL_OK;
}

sl_status sl_params_check(sl_ctx *ctx, sl_params *ps, sl_var (*build)(sl_tape *t, void *user), void *user, int64_t stride,
                          sl_gradcheck *out, sl_err *err)
{
    *out = (sl_gradcheck){ 0 };
    subject s = { .ctx = ctx, .build = build, .user = user, .out = out };
    sl_params_zero_grad(ps);
    sl_status st = begin(&s, err);
    if (st == SL_OK)
        st = sl_params_dense(ps, err);
    if (st == SL_OK)
        st = check_params(&s, ps, stride < 1 ? 1 : stride, err);
    end(&s);
    return st;
}
