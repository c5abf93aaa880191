/* A tiny language model, SAEs on its stream and their indices of features, in a folder: what the browser's tests look at. */
#ifndef SL_TEST_FIXTURE_H
#define SL_TEST_FIXTURE_H

#include <saelab/features.h>

enum { FIXTURE_FEATURES = 96, FIXTURE_K = 6, FIXTURE_WIDTH = 32, FIXTURE_BLOCK = 32 };

/* Makes DIR/lm, DIR/sae-a and DIR/sae-b (two seeds), both with features/; beside sae-a lie compositions and a robustness curve, made up. The same bytes every time. */
sl_status fixture_make(sl_ctx *ctx, const char *dir, sl_err *err);

#endif
