/* The activation store on disk, shared by its writer and its reader.
 *   DIR/manifest.json            what the rows are, shards with their rows and checksums, scale
 *   DIR/mean.safetensors         mean [d_in] F32
 *   DIR/acts-%05d.safetensors    x [rows, d_in]; token, doc, pos [rows] I32 where known
 *   DIR/labels.txt               one line a row, where known
 * A row's id is its place in the store, counted over the shards. */
#ifndef SL_DATA_ACTS_STORE_H
#define SL_DATA_ACTS_STORE_H

#include "io/io.h"

#include <saelab/data.h>

enum { SL_ACTS_PATH = 1024, SL_ACTS_COLUMNS = 4, SL_ACTS_MAX_SHARDS = 512 };

/* ---- the shuffle: a permutation of 0..n-1 without memory ---- */

typedef struct sl__perm {
    uint64_t n, seed;
    int half;      /* bits of half a block; 0: identity */
} sl__perm;
sl__perm sl__perm_of(uint64_t n, uint64_t seed, bool shuffle);
uint64_t sl__perm_to(const sl__perm *p, uint64_t i);   /* place of input row i */
uint64_t sl__perm_from(const sl__perm *p, uint64_t i); /* input row at place i */

/* ---- manifest ---- */

typedef struct sl__acts_manifest {
    int64_t d_in, n_rows, shard_rows; /* every shard but the last has shard_rows */
    int64_t n_shards;
    sl_dtype dtype;
    bool shuffle, labels;
    bool col[SL_ACTS_COLUMNS];        /* x (always), token, doc, pos */
    uint64_t seed;
    char hook[96], model[128], dataset[64];
    double scale;
    uint64_t mean_sum, labels_sum;    /* XXH3 of the files; 0 without labels */
    uint64_t *shard_sum;              /* [n_shards], owned */
} sl__acts_manifest;

int64_t sl__acts_rows(const sl__acts_manifest *m, int64_t shard);
/* Names and tensors (data NULL) of a shard; returns how many. column[i]: which of x, token, doc, pos the i-th is. */
int sl__acts_tensors(const sl__acts_manifest *m, int64_t shard, const char *names[SL_ACTS_COLUMNS], sl_tensor t[SL_ACTS_COLUMNS],
                     int column[SL_ACTS_COLUMNS]);
sl_status sl__acts_file(const char *dir, int64_t shard, char path[SL_ACTS_PATH], sl_err *err);
sl_status sl__acts_save(sl_ctx *ctx, const char *dir, const sl__acts_manifest *m, sl_err *err);
/* Fills m (its shard_sum: sl_free) and hash; SL_MISSING when dir is no store, SL_DATA naming the field. */
sl_status sl__acts_load(sl_ctx *ctx, const char *dir, sl__acts_manifest *m, char hash[65], sl_err *err);

/* From here on errors name `source` (borrowed) and count its rows from 0. */
void sl__acts_source(sl_acts_writer *w, const char *source);

#endif
