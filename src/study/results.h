/* What a finished run leaves: final_info.json, all_results.npy and .json, results.jsonl, config.yaml, models, plots, report. */
#ifndef SL_STUDY_RESULTS_H
#define SL_STUDY_RESULTS_H

#include "study/stages.h"

enum { SL_RESULTS_REVISION = 2 }; /* raised when the files of a run change: finished runs are then made again */

/* Writes everything into dir. */
sl_status sl_results_write(const sl_run *r, const char *dir, sl_err *err) SL_USE_RESULT;
/* results.jsonl: one record (science of the fields: docs/METRICS.md) per trained model and evaluation; evals [n_trained] as loaded. */
sl_status sl_records_write(const sl_run *r, json_t *const *evals, const char *dir, sl_err *err) SL_USE_RESULT;
/* The folder of a trained SAE in a run: sae-ARM-seedN (the N-th replicate) on the text (world ""), sae-WORLD-ARM-seedN. */
void sl_results_folder(char *out, size_t size, const char *world, const char *arm, int64_t seed);
/* Draws the plots of a run folder again from its all_results.json and results. SL_UNAVAILABLE without gnuplot. */
sl_status sl_draw_run(sl_ctx *ctx, const char *dir, sl_err *err) SL_USE_RESULT;

#endif
