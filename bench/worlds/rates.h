/* How often each feature of synth16k fires: saelab's generator against SAELens's, same parameters. */
#ifndef SL_BENCH_RATES_H
#define SL_BENCH_RATES_H

#include "../lm/peer.h"

#include <saelab/world.h>

/* Draws `rows` rows on both sides and prints how they agree; false when they do not, or the peer fails.
 * plain: no correlations and magnitudes that do not vary, so that every feature's rate is a number of the recipe: all are judged one by one.
 * Otherwise the recipe itself. Its factors (rank 25) and deviations are drawn on both sides, and move the rate of a child, and of what may
 * come out negative, by some per cent; sums over a level are judged, and groups of 64 features where no factor matters. */
bool rates_agree(sl_ctx *ctx, peer *p, int64_t rows, bool plain);

#endif
