/* What `saelab features build` finds out of a run (cmd_features_run.c). */
#ifndef SL_CMD_FEATURES_H
#define SL_CMD_FEATURES_H

#include "cmd.h"

bool file_in(const char *dir, const char *name); /* can it be read? */

/* The world that the SAE folder `path` of a run is of, by the run's config.yaml; *out NULL: it is of the text. SL_UNAVAILABLE: of a task's transformer. */
sl_status run_world(cli *c, const char *run, const char *path, sl_world **out, sl_err *err);
/* The text that a run was made of, interned; NULL: it does not say. */
const char *run_dataset(cli *c, const char *run);

/* Scores of each feature, NULL where there are none. */
typedef struct scores { double *fss, *sci, *reproducibility; sl_composition_pictures compositions; sl_gathered composed; /* the rows that those count in */ } scores;
/* FSS and SCI on `rows_scored` rows (0: none); reproducibility among the seeds of the same arm, path being .../NAME-seedN; the compositions
 * that take part of a compositional SAE. What cannot be scored is
 * said in the log. */
sl_status scores_of(cli *c, sl_sae *s, sl_act_source *rows, const char *path, int64_t rows_scored, scores *out, sl_err *err);
void scores_release(cli *c, scores *s);

#endif
