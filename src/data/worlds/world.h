/* A world from the inside: what a file of this folder fills in. One file a world, ending in its ops row; world.c makes rows into batches.
 *
 * Every random number comes from a stream keyed (seed, SL_RNG_WORLD, use and split, row or tensor), so that truth depends on the seed
 * alone and a row on nothing but its number. */
#ifndef SL_WORLD_OPS_H
#define SL_WORLD_OPS_H

#include "kern/kern.h"

#include <saelab/world.h>

typedef enum sl_world_use { SL_USE_TRUTH = 1, SL_USE_ROW, SL_USE_NOISE, SL_USE_BATCH, SL_USE_TASK } sl_world_use;
/* part: the split of a row or a batch, the number of a tensor of the truth (0 to 255); item: the row, the batch, the row of the tensor. */
sl_rng sl_world_rng(const sl_world *w, sl_world_use use, unsigned part, uint64_t item);

/* One row in the making. Entries beyond cap are counted and lost: the row is then made again with more room. */
typedef struct sl_world_row {
    sl_rng rng;              /* the row's own stream */
    sl_world_split split;
    int64_t row;
    int64_t n, cap;
    int32_t *idx;            /* each feature once, in any order */
    float *val;
    void *scratch;           /* ops->scratch bytes of this thread, zeroed when the source was opened */
} sl_world_row;

/* Feature i is on with value v; values that are not positive are not on. */
static inline void sl_world_put(sl_world_row *r, int32_t i, double v)
{
    if (!((float)v > 0))
        return;
    if (r->n < r->cap) {
        r->idx[r->n] = i;
        r->val[r->n] = (float)v;
    }
    r->n++;
}

typedef struct sl_world_ops {
    sl_world_info info;
    /* Fills w->truth and w->state from w->seed and w->opts; memory from sl_world_alloc. */
    sl_status (*build)(sl_world *w, sl_err *err);
    /* superposition: puts the features of row r->row. Called by several threads at once. */
    void (*row)(const sl_world *w, sl_world_row *r);
    /* adds what is not linear in the features to x [d]; r holds the finished row, indices ascending, and no stream. NULL: nothing */
    void (*finish)(const sl_world *w, const sl_world_row *r, float *x);
    int64_t (*n_rows)(const sl_world *w, sl_world_split split); /* size of the data set; NULL: endless */
    size_t (*scratch)(const sl_world *w);                       /* bytes a thread; NULL: none */
    /* tasks: draws one instance, tokens [T] and uses [T], both zeroed before */
    void (*instance)(const sl_world *w, sl_rng *rng, int32_t *tokens, uint8_t *uses);
    bool (*withheld)(const sl_world *w, const int32_t *tokens); /* does an instance hold a withheld combination? */
    /* on and unknown [T, features], both zeroed before; false: no instance of the task */
    bool (*labels)(const sl_world *w, const int32_t *tokens, uint8_t *on, uint8_t *unknown);
} sl_world_ops;

struct sl_world {
    sl_ctx *ctx;
    const sl_world_ops *ops;
    uint64_t seed;
    _Alignas(max_align_t) char opts[SL_WORLD_OPTS];
    char id[65];             /* hash of name, revision, options and seed */
    sl_arena *arena;
    sl_world_truth truth;
    sl_task_info task;       /* tok owned */
    void *state;             /* the world's own, in the arena */
};

/* Zeroed memory that lives as long as the world. NULL without memory; the build then ends with sl_world_no_memory (SL_MEM). */
void *sl_world_alloc(sl_world *w, size_t bytes);
sl_status sl_world_no_memory(const sl_world *w, sl_err *err) SL_USE_RESULT;

/* ---- parts that worlds share (dictionary.c) ---- */

/* [n, d] rows of unit Gaussian directions from stream `tensor`; NULL without memory. */
float *sl_world_directions(sl_world *w, int64_t n, int64_t d, unsigned tensor);
/* n features "f0" ..., order 1, each its own family; false without memory. */
bool sl_world_plain_features(sl_world *w, int64_t n);
/* Adam steps on sum_{i != j} (f_i.f_j)^2 + n sum (|f_i|^2 - 1)^2 from dir [n, d], rows renormalised: SynthSAEBench's (Chanin et al. 2026,
 * arXiv 2602.14687; SAELens synthetic/feature_dictionary.py). Kept in the user's cache, because it takes a minute at n = 16,384. */
sl_status sl_world_orthogonalize(sl_world *w, float *dir, int64_t n, int64_t d, int64_t steps, double lr, sl_err *err) SL_USE_RESULT;

/* ---- parts that tasks share (task.c) ---- */

typedef struct sl_task_token { const char *character, *word; } sl_task_token;
/* Tokenizer and spellings from a table in the order of code points, whose first row is <bos>, and room for n features (returned, empty). */
sl_status sl_task_build(sl_world *w, const sl_task_token *table, int64_t vocab, int64_t T, int64_t n_features, sl_world_feature **out, sl_err *err) SL_USE_RESULT;
/* Names one feature; atoms: n_atom features that it is a function of. */
void sl_task_feature(sl_world_feature *f, int32_t order, int32_t family, int n_atom, const int32_t *atom, const char *fmt, ...) SL_PRINTF(6, 7);
/* k of the combinations 0 .. n-1, chosen by the world's seed, as a table [n] of 0 and 1; NULL without memory. */
uint8_t *sl_task_withhold(sl_world *w, int64_t n, int64_t k);

/* k distinct numbers below n, in random order (Floyd's sampling; k is small). */
void sl_world_choose(sl_rng *r, int64_t n, int k, int32_t *out);

extern const sl_world_ops sl_world_toy_song, sl_world_toy_sharkey, sl_world_toy_elhage, sl_world_toy_composed, sl_world_comp_ood, sl_world_toy_128;
extern const sl_world_ops sl_world_synth1k, sl_world_synth_hier, sl_world_synth16k, sl_world_synth_comp;
extern const sl_world_ops sl_world_arithmetic, sl_world_boolean, sl_world_grammar, sl_world_dyck2;

#endif
