/* Parameters: one span of memory, [values | gradients | m | v], each tensor at a multiple of 64 bytes. */
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
    for (int i = 0; i < ps->n; i++)
        sl_free(ps->ctx, ps->p[i]);
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
    size_t part = 0;
    for (int i = 0; i < ps->n; i++)
        part += padded(&ps->p[i]->value);
    size_t bytes = part * (with_moments ? 4 : 2);
    ps->span = ps->no_memory ? NULL : sl_alloc(ps->ctx, bytes);
    if (!ps->span)
        return sl_fail(err, SL_MEM, "parameters", NULL, "no memory for %.1f MB of parameters", (double)bytes / 1e6);
    char *at = ps->span;
    for (int i = 0; i < ps->n; i++) {
        sl_param *p = ps->p[i];
        p->value.data = at;
        p->grad.data = at + part;
        p->m.data = with_moments ? at + 2 * part : NULL;
        p->v.data = with_moments ? at + 3 * part : NULL;
        at += padded(&p->value);
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
    for (int i = 0; i < ps->n; i++)
        ps->kern->fill(ps->kern, 0, &ps->p[i]->grad);
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
