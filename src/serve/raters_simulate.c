/* Simulated raters of known skill, to test the pipeline: they know with probability `skill`, and guess otherwise. Expected scores: intruder and
 * composition s + (1 - s) chance, detection s + (1 - s) / 2, rating 5 s + 3 (1 - s). */
#include "serve/raters.h"

#include <saelab/rng.h>

json_t *sl__simulated_answer(const sl__rater_item *item, double skill, uint64_t seed, int64_t rater, int64_t n)
{
    sl_rng r = sl_rng_at(seed, SL_RNG_RATERS, 1000 + (uint64_t)rater, (uint64_t)n);
    bool knows = sl_rng_uniform(&r) < skill;
    int choices = item->task == RATE_INTRUDER ? RATERS_INTRUDERS : RATERS_COMPOSE;
    json_t *list;
    switch (item->task) {
    case RATE_RATING:
        return json_pack("{s:I, s:s}", "score", (json_int_t)(knows ? 5 : 1 + (int64_t)sl_rng_below(&r, 5)), "label", "SIMULATED");
    case RATE_DETECTION:
        list = json_array();
        for (size_t i = 0; i < RATERS_DETECT; i++) {
            bool right = json_integer_value(json_array_get(item->right, i)) != 0, known = sl_rng_uniform(&r) < skill;
            json_array_append_new(list, json_integer(known ? right : (int64_t)sl_rng_below(&r, 2)));
        }
        return json_pack("{s:o}", "active", list);
    default:
        return json_pack("{s:I}", "choice", (json_int_t)(knows ? json_integer_value(item->right) : (int64_t)sl_rng_below(&r, (uint64_t)choices)));
    }
}
