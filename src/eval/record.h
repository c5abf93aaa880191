/* The result record (one JSON line a trained model x evaluation; science.md K5). */
#ifndef SL_EVAL_RECORD_H
#define SL_EVAL_RECORD_H

#include <jansson.h>
#include <saelab/eval.h>

typedef struct sl_record {  /* text NULL, numbers negative or NaN: unknown, written as null with the reason "not recorded" */
    const char *run_id, *git, *cpu, *arm, *config_hash, *data_hash, *status, *notes;
    int64_t seed_init, seed_data, steps, samples;
    double wall_s, flops, peak_rss, l0_target;  /* s, FLOP, bytes, latents */
} sl_record;

/* All keys of K5; then whatever else is in m, in its order; then "n" {metric: count}, "floor" {metric: chance}, "interval" {metric: [lo, hi]}, "control" {metric: of a random decoder} and "reasons" {key: why
 * it is null}. The caller decrefs. SL_MEM. */
sl_status sl_record_json(const sl_record *r, const sl_metrics *m, json_t **out, sl_err *err) SL_USE_RESULT;

#endif
