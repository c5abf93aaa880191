/* The absorption of one word, for its test. */
#ifndef SL_EVAL_LETTERS_H
#define SL_EVAL_LETTERS_H

#include "eval/measured.h"

/* One word with projection P = x . p of its row: proj [n] z_j (d_j . p), cos [n] cos(d_j, p), active [n] z_j > 0, is_main [n]. M = sum of proj over the
 * main latents, A = the three largest of the others with cos >= .1. fraction: 0 if M >= P or A / P < .4; 1 if M <= 0; else a / (a + M),
 * a = min(A, P - M). full: no main latent is active, and the largest of the others has cos >= .025 and at least .4 of P >= 0. */
void sl_letter_word(const double *proj, const double *cos, const uint8_t *active, const uint8_t *is_main, int64_t n, double P, double *fraction, bool *full);

#endif
