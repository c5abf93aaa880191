/* A comparison as one JSON object of results.jsonl. */
#ifndef SL_EVAL_EFFECT_H
#define SL_EVAL_EFFECT_H

#include <jansson.h>
#include <saelab/stats.h>

/* {metric, treatment, control, effect, lo, hi, level, n, p, floor, l0_matched, compute_matched}; what is not known is null, and a null effect
 * has a "reason". The caller decrefs. SL_MEM. */
sl_status sl_effect_json(const sl_effect *e, json_t **out, sl_err *err) SL_USE_RESULT;

#endif
