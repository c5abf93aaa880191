/* Artifacts of stages, by key. key(stage) = SHA-256 of its name and revision, the fields that it reads, its inputs' keys or data
 * hashes, the precision and the kernel-set id; never thread count or paths.
 *
 * An artifact is a folder ROOT/NAME-KEY16 with a stage.json {key, stage, revision, seconds, bytes, fields}. While it is made it is
 * NAME-KEY16.partial: a killed stage finds its own checkpoints there again. */
#ifndef SL_STUDY_CACHE_H
#define SL_STUDY_CACHE_H

#include <saelab/study.h>

#include "io/io.h"

enum { SL_PATH = 1024 };

typedef struct sl_stage {
    const char *name;
    int revision;          /* raised whenever the stage's numbers change */
    json_t *fields;        /* what it reads: configuration; owned by the caller */
    const char *input[4];  /* keys or data hashes, NULL when unused */
    /* Fills `dir` (which may hold a cut-off attempt). */
    sl_status (*run)(void *arg, const char *dir, sl_err *err);
    void *arg;
} sl_stage;

typedef struct sl_artifact {
    char key[65];
    char dir[SL_PATH];
    bool cached;
    double seconds;        /* that it took when it was made */
} sl_artifact;

typedef struct sl_cache {
    sl_ctx *ctx;
    char root[SL_PATH];
    char kernels[96];      /* kernel-set id and precision, part of every key */
} sl_cache;

/* root NULL: the context's cache folder. */
sl_status sl_cache_open(sl_ctx *ctx, const char *root, sl_cache *out, sl_err *err) SL_USE_RESULT;
sl_status sl_stage_key(const sl_cache *c, const sl_stage *s, char key[65], sl_err *err) SL_USE_RESULT;
/* Runs the stage, or finds it done. Another process at the same stage is waited for. */
sl_status sl_cache_stage(sl_cache *c, const sl_stage *s, sl_artifact *out, sl_err *err) SL_USE_RESULT;

/* {option: text} of a whole table, for `fields` and for config.yaml. NULL without memory. */
json_t *sl_opts_json(const sl_opt *table, const void *cfg);

#endif
