/* Dictionary learning behind `fista`. */
#ifndef SL_EVAL_DICTIONARY_H
#define SL_EVAL_DICTIONARY_H

#include "eval/baselines/baseline.h"

/* Learns W_dec [d_sae, d_in], rows of norm 1, from the centred rows xc. The curve is the mean objective of each epoch's batches. */
sl_status sl_dictionary_learn(sl_baseline *b, const sl_tensor *xc, double penalty, sl_err *err) SL_USE_RESULT;

#endif
