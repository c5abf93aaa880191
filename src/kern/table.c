/* Kernel tables: made on first use from named layers, kept by the context, with their scratch. */
#include "kern/scratch.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ALL_LAYERS "ref+simd+onednn"

typedef struct table {
    sl_kern k; /* first: a table is handed out as its sl_kern */
    sl_kern_impl impl;
    char asked[64]; /* the layers' names as asked for */
    bool optional;  /* layers that cannot run here were left out */
    struct table *next;
} table;

typedef struct tables { table *first; } tables;

static const char tables_key;

static void free_table(sl_ctx *ctx, table *t)
{
    for (int i = 0; i < SL_KERN_N_LAYER; i++)
        if (t->impl.layer[i].free_fn)
            t->impl.layer[i].free_fn(ctx, t->impl.layer[i].state);
    for (int i = 0; i < SL_INT8_N; i++)
        if (t->impl.int8[i].free_fn)
            t->impl.int8[i].free_fn(ctx, t->impl.int8[i].state);
    for (int i = 0; i < SL_KERN_N_SCRATCH; i++)
        sl_free(ctx, t->impl.scratch[i].p);
    sl_free(ctx, t);
}

static void free_tables(sl_ctx *ctx, void *p)
{
    tables *all = p;
    while (all->first) {
        table *t = all->first;
        all->first = t->next;
        free_table(ctx, t);
    }
    sl_free(ctx, all);
}

static sl_status tables_of(sl_ctx *ctx, tables **out, sl_err *err)
{
    *out = sl_ctx_attachment(ctx, &tables_key);
    if (*out)
        return SL_OK;
    *out = sl_alloc(ctx, sizeof **out);
    if (!*out)
        return sl_fail(err, SL_MEM, "kernels", NULL, "no memory for the kernel tables");
    sl_status st = sl_ctx_attach(ctx, &tables_key, *out, free_tables, err);
    if (st != SL_OK)
        sl_free(ctx, *out);
    return st;
}

/* Fills t from "ref[+simd][+onednn]". `optional`: a layer that cannot run here is left out. */
static sl_status fill_layers(table *t, const char *layers, bool optional, sl_err *err)
{
    const char *p = layers;
    bool ref = false, simd = false, onednn = false;
    for (;;) {
        size_t n = strcspn(p, "+");
        if (!ref && n == 3 && memcmp(p, "ref", 3) == 0) {
            ref = true;
            sl_kern_ref_f32(&t->k);
        } else if (ref && !simd && !onednn && n == 4 && memcmp(p, "simd", 4) == 0) {
            simd = true;
            sl_kern_simd(&t->k);
        } else if (ref && !onednn && n == 6 && memcmp(p, "onednn", 6) == 0) {
            onednn = true;
            sl_status st = sl_kern_onednn(&t->k, err);
            if (st != SL_OK && !(optional && st == SL_UNAVAILABLE))
                return st;
        } else {
            return sl_fail(err, SL_ARG, "kernel layers", "ref, ref+simd, ref+onednn or ref+simd+onednn", "unknown layers '%s'", layers);
        }
        if (!p[n])
            return SL_OK;
        p += n + 1;
    }
}

/* The table of these layers, made on first use. f64 has ref only. */
static sl_status get(sl_ctx *ctx, sl_dtype dtype, const char *layers, bool optional, const sl_kern **out, sl_err *err)
{
    tables *all;
    *out = NULL;
    SL_TRY(tables_of(ctx, &all, err));
    for (table *t = all->first; t; t = t->next)
        if (t->k.dtype == dtype && t->optional == optional && strcmp(t->asked, layers) == 0) {
            *out = &t->k;
            return SL_OK;
        }
    table *t = sl_alloc(ctx, sizeof *t);
    if (!t)
        return sl_fail(err, SL_MEM, "kernels", NULL, "no memory for a kernel table");
    snprintf(t->asked, sizeof t->asked, "%s", layers);
    t->optional = optional;
    t->k.ctx = ctx;
    t->k.n_threads = sl_ctx_threads(ctx);
    t->k.impl = &t->impl;
    sl_status st = SL_OK;
    if (dtype == SL_F64)
        sl_kern_ref_f64(&t->k);
    else
        st = fill_layers(t, layers, optional, err);
    if (st == SL_OK && t->impl.failed)
        st = sl_fail(err, SL_MEM, "kernels", NULL, "no memory for the self-test of integer products");
    if (st != SL_OK) {
        free_table(ctx, t);
        return st;
    }
    t->next = all->first;
    all->first = t;
    *out = &t->k;
    return SL_OK;
}

sl_status sl_kern_get(sl_ctx *ctx, sl_dtype dtype, const sl_kern **out, sl_err *err)
{
    assert(dtype == SL_F32 || dtype == SL_F64);
    if (dtype == SL_F64)
        return get(ctx, SL_F64, "ref", false, out, err);
    const char *layers = sl_ctx_options(ctx)->kern;
    if (!layers || !*layers)
        layers = getenv("SL_KERN");
    if (layers && *layers)
        return sl_kern_named(ctx, layers, out, err);
    return get(ctx, SL_F32, ALL_LAYERS, true, out, err);
}

sl_status sl_kern_named(sl_ctx *ctx, const char *layers, const sl_kern **out, sl_err *err)
{
    return get(ctx, SL_F32, layers, false, out, err);
}

void *sl_kern_scratch(const sl_kern *k, int which, size_t bytes)
{
    assert(which >= 0 && which < SL_KERN_N_SCRATCH);
    sl_kern_impl *impl = sl_kern_impl_of(k);
    if (impl->scratch[which].p && impl->scratch[which].bytes >= bytes)
        return impl->scratch[which].p;
    void *p = sl_alloc(k->ctx, bytes);
    if (!p) {
        impl->failed = true;
        return NULL;
    }
    sl_free(k->ctx, impl->scratch[which].p);
    impl->scratch[which].p = p;
    impl->scratch[which].bytes = bytes;
    return p;
}

bool sl_kern_failed(const sl_kern *k) { return sl_kern_impl_of(k)->failed; }
