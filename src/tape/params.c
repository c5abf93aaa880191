/* Parameters: one span of memory, [values | m | v | gradients], each tensor at a multiple of 64 bytes. Gradients that may stay terms have
 * memory of their own, found when first needed. */
#include "tape/params.h"

#include <assert.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

sl_status sl_params_new(sl_ctx *ctx, sl_dtype dtype, sl_params **out, sl_err *err)
{
    *out = NULL;
    if (dtype != SL_F32 && dtype != SL_F64)
        return sl_fail(err, SL_ARG, "parameters", "F32 or F64", "parameters of %s", sl_dtype_name(dtype));
    sl_params *ps = sl_alloc(ctx, sizeof *ps);
    if (!ps)
        return sl_fail(err, SL_MEM, "parameters", NULL, "no memory for a set of parameters");
    ps->ctx = ctx;
    ps->dtype = dtype;
    sl_status st = sl_kern_get(ctx, dtype, &ps->kern, err);
    if (st != SL_OK)
        sl_free(ctx, ps);
    else
        *out = ps;
    return st;
}

void sl_params_free(sl_params *ps)
{
    if (!ps)
        return;
    for (int i = 0; i < ps->n; i++) {
        if (ps->p[i]->flags & SL_PARAM_TERMS)
            sl_free(ps->ctx, ps->p[i]->grad.data);
        sl_free(ps->ctx, ps->p[i]);
    }
    sl_free(ps->ctx, ps->p);
    sl_free(ps->ctx, ps->span);
    sl_free(ps->ctx, ps->muon);
    sl_free(ps->ctx, ps);
}

static bool grow(sl_params *ps)
{
    if (ps->n < ps->cap)
        return true;
    int cap = ps->cap ? 2 * ps->cap : 32;
    sl_param **bigger = sl_alloc(ps->ctx, (size_t)cap * sizeof *bigger);
    if (!bigger)
        return false;
    if (ps->p)
        memcpy(bigger, ps->p, (size_t)ps->n * sizeof *bigger);
    sl_free(ps->ctx, ps->p);
    ps->p = bigger;
    ps->cap = cap;
    return true;
}

sl_param *sl_params_add(sl_params *ps, unsigned flags, const char *name, int n_dim, ...)
{
    assert(!ps->span && n_dim >= 0 && n_dim <= SL_MAX_DIM);
    sl_param *p = grow(ps) ? sl_alloc(ps->ctx, sizeof *p) : NULL;
    if (!p) {
        ps->no_memory = true;
        return NULL;
    }
    snprintf(p->name, sizeof p->name, "%s", name);
    p->flags = flags;
    p->lr_scale = 1;
    p->set = ps;
    p->value = (sl_tensor){ .dim = { 1, 1, 1, 1 }, .n_dim = n_dim, .dtype = ps->dtype };
    va_list ap;
    va_start(ap, n_dim);
    for (int i = 0; i < n_dim; i++)
        p->value.dim[i] = va_arg(ap, int64_t);
    va_end(ap);
    p->grad = p->m = p->v = p->value;
    ps->p[ps->n++] = p;
    return p;
}

static size_t padded(const sl_tensor *x) { return (sl_nbytes(x) + 63) & ~(size_t)63; }

sl_status sl_params_build(sl_params *ps, bool with_moments, sl_err *err)
{
    assert(!ps->span);
    size_t values = 0, grads = 0;
    for (int i = 0; i < ps->n; i++) {
        values += padded(&ps->p[i]->value);
        grads += ps->p[i]->flags & SL_PARAM_TERMS ? 0 : padded(&ps->p[i]->grad);
    }
    size_t bytes = values * (with_moments ? 3 : 1) + grads;
    ps->span = ps->no_memory ? NULL : sl_alloc(ps->ctx, bytes);
    if (!ps->span)
        return sl_fail(err, SL_MEM, "parameters", NULL, "no memory for %.1f MB of parameters", (double)bytes / 1e6);
    char *at = ps->span, *grad = at + values * (with_moments ? 3 : 1);
    for (int i = 0; i < ps->n; i++) {
        sl_param *p = ps->p[i];
        p->value.data = at;
        p->m.data = with_moments ? at + values : NULL;
        p->v.data = with_moments ? at + 2 * values : NULL;
        at += padded(&p->value);
        if (p->flags & SL_PARAM_TERMS)
            continue;
        p->grad.data = grad;
        grad += padded(&p->grad);
    }
    return SL_OK;
}

int sl_params_count(const sl_params *ps) { return ps->n; }

sl_param *sl_params_at(sl_params *ps, int i)
{
    assert(i >= 0 && i < ps->n);
    return ps->p[i];
}

sl_param *sl_params_find(sl_params *ps, const char *name)
{
    for (int i = 0; i < ps->n; i++)
        if (strcmp(ps->p[i]->name, name) == 0)
            return ps->p[i];
    return NULL;
}

int64_t sl_params_numel(const sl_params *ps)
{
    int64_t n = 0;
    for (int i = 0; i < ps->n; i++)
        n += sl_numel(&ps->p[i]->value);
    return n;
}

void sl_params_zero_grad(sl_params *ps)
{
    for (int i = 0; i < ps->n; i++) {
        sl_param *p = ps->p[i];
        p->n_terms = 0;
        p->dense = false;
        if (!(p->flags & SL_PARAM_TERMS))
            ps->kern->fill(ps->kern, 0, &p->grad);
    }
}

bool sl_param_need_grad(sl_param *p)
{
    if (!(p->flags & SL_PARAM_TERMS) || p->dense)
        return true;
    if (!p->grad.data)
        p->grad.data = sl_alloc(p->set->ctx, sl_nbytes(&p->grad));
    if (!p->grad.data)
        return false;
    p->set->kern->fill(p->set->kern, 0, &p->grad);
    p->dense = true;
    return true;
}

bool sl_param_add_term(sl_param *p, const sl_csc *at, const sl_tensor *coef, const sl_tensor *rows)
{
    if (!(p->flags & SL_PARAM_TERMS) || p->n_terms == SL_PARAM_MAX_TERMS)
        return false;
    p->term[p->n_terms++] = (sl_term){ at, *coef, *rows };
    return true;
}

bool sl_param_make_dense(sl_param *p)
{
    const sl_kern *k = p->set->kern;
    if (!sl_param_need_grad(p))
        return false;
    for (int i = 0; i < p->n_terms; i++)
        k->dict_grad(k, p->term[i].at, &p->term[i].coef, &p->term[i].rows, &p->grad, NULL);
    p->n_terms = 0;
    return true;
}

sl_status sl_params_dense(sl_params *ps, sl_err *err)
{
    for (int i = 0; i < ps->n; i++)
        if (!sl_param_make_dense(ps->p[i]))
            return sl_fail(err, SL_MEM, ps->p[i]->name, NULL, "no memory for its gradient");
    return SL_OK;
}

void sl_param_touch(sl_param *p) { p->version++; }

static int index_of(const sl_params *ps, const sl_param *p)
{
    int i = 0;
    while (i < ps->n && ps->p[i] != p)
        i++;
    assert(i < ps->n);
    return i;
}

static void put(sl_param *p, int64_t i, double v)
{
    if (p->value.dtype == SL_F32)
        ((float *)p->value.data)[i] = (float)v;
    else
        ((double *)p->value.data)[i] = v;
}

void sl_param_normal(sl_params *ps, sl_param *p, uint64_t seed, double std)
{
    sl_rng r = sl_rng_at(seed, SL_RNG_INIT, 0, (uint64_t)index_of(ps, p));
    for (int64_t i = 0, n = sl_numel(&p->value); i < n; i++)
        put(p, i, std * sl_rng_normal(&r));
    sl_param_touch(p);
}

void sl_param_uniform(sl_params *ps, sl_param *p, uint64_t seed, double a)
{
    sl_rng r = sl_rng_at(seed, SL_RNG_INIT, 0, (uint64_t)index_of(ps, p));
    for (int64_t i = 0, n = sl_numel(&p->value); i < n; i++)
        put(p, i, a * (2 * sl_rng_uniform(&r) - 1));
    sl_param_touch(p);
}
