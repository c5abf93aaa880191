/* The parts of a run section that lists of names make up. */
#ifndef SL_STUDY_PLAN_PARTS_H
#define SL_STUDY_PLAN_PARTS_H

#include "study/plan.h"

/* ---- plan_sets.c ---- */

/* The data sets of a run section: the text, then its worlds. */
sl_status sl_plan_read_sets(sl_plan *p, sl_ynode run, sl_err *err) SL_USE_RESULT;
/* What a profile's section changes of them: worlds, every_world. */
sl_status sl_plan_change_sets(sl_plan *p, sl_ynode profile, sl_err *err) SL_USE_RESULT;

/* ---- plan_arms.c ---- */

/* The cells of a run section with its profile's section, which may be none. */
sl_status sl_plan_read_arms(sl_plan *p, sl_ynode run, sl_ynode profile, sl_err *err) SL_USE_RESULT;

/* ---- plan_sweep.c ---- */

enum { SL_SWEEP_MOST = 1000 };
/* Arms that the `sweep` of an arm's map makes; 0: it has none. */
sl_status sl_plan_sweep_count(sl_ynode arm, int *out, sl_err *err) SL_USE_RESULT;
void sl_plan_sweep_name(sl_ynode arm, int i, const char *base, char out[64]); /* of the i-th of them */
sl_status sl_plan_sweep_set(sl_plan *p, sl_arm *a, sl_ynode arm, int i, sl_err *err) SL_USE_RESULT; /* its values into a->perturb */

#endif
