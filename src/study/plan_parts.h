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

#endif
