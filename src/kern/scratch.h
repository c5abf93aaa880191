/* What belongs to a kernel table besides its slots: scratch memory, the failure flag and the state of the layers.
 * Slots are called by one thread at a time (parallel only inside), so one set of buffers a table is enough. */
#ifndef SL_KERN_SCRATCH_H
#define SL_KERN_SCRATCH_H

#include "kern/int8.h"

enum { SL_KERN_N_SCRATCH = 24, SL_KERN_N_LAYER = 4 };

/* Names of the buffers. A slot may use several; two slots may share one, since nothing survives a call. */
enum {
    SL_SCRATCH_ROWS,      /* per-thread rows: attention scores, pre-activations */
    SL_SCRATCH_PTR,       /* encode: the candidates, */
    SL_SCRATCH_ENTRY,     /* those that a row proposes */
    SL_SCRATCH_ENTRY_ROW, /* and what is known of their values */
    SL_SCRATCH_SIMD,      /* this and the next 7: the simd layer's */
    SL_SCRATCH_ONEDNN = SL_SCRATCH_SIMD + 8 /* this and the next 7: the onednn layer's */
};

enum { SL_INT8_SIMD, SL_INT8_ONEDNN, SL_INT8_N };
enum { SL_KERN_LAYER_REF, SL_KERN_LAYER_SIMD, SL_KERN_LAYER_ONEDNN };

/* Reductions cut n items into at most this many chunks, a partition that depends on n alone. */
enum { SL_N_PARTIAL = 4096 };

typedef struct sl_kern_impl {
    struct { void *p; size_t bytes; } scratch[SL_KERN_N_SCRATCH];
    struct { void *state; void (*free_fn)(sl_ctx *, void *); } layer[SL_KERN_N_LAYER]; /* freed with the table */
    double partial[SL_N_PARTIAL];
    bool failed;
    sl_screen screen;
    sl_int8 int8[SL_INT8_N];       /* made by their layers or when first asked for; */
    bool has_int8[SL_INT8_N];      /* those that passed their self-test */
    bool int8_fast;                /* the CPU has instructions for oneDNN's */
} sl_kern_impl;

/* Buffer `which` of at least `bytes`, 64-byte aligned, contents undefined; grown only when larger than ever before. NULL, with
 * the table's sticky flag set, without memory. Not inside parallel regions: ask for n_threads shares before. */
void *sl_kern_scratch(const sl_kern *k, int which, size_t bytes);

/* Keeps a product, tested. */
void sl_kern_add_int8(const sl_kern *k, int which, const sl_int8 *g);

static inline sl_kern_impl *sl_kern_impl_of(const sl_kern *k) { return k->impl; }

/* Items in a chunk of a reduction over n items, at least `least`. */
static inline int64_t sl_chunk_of(int64_t n, int64_t least)
{
    int64_t chunk = (n + SL_N_PARTIAL - 1) / SL_N_PARTIAL;
    return chunk > least ? chunk : least;
}

/* Threads worth starting for `work` inner steps: the result never depends on it, only the time. */
static inline int sl_team(const sl_kern *k, int64_t work) { return work < 8192 ? 1 : k->n_threads; }

#endif
