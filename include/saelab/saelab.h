/* Everything public. Link with -lsaelab (see docs/DESIGN.md for the layers). */
#ifndef SAELAB_SAELAB_H
#define SAELAB_SAELAB_H

#include <saelab/agreement.h>
#include <saelab/baseline.h>
#include <saelab/codes.h>
#include <saelab/compose.h>
#include <saelab/compose_eval.h>
#include <saelab/ctx.h>
#include <saelab/data.h>
#include <saelab/eval.h>
#include <saelab/feature_export.h>
#include <saelab/features.h>
#include <saelab/kern_info.h>
#include <saelab/lm.h>
#include <saelab/marks.h>
#include <saelab/match.h>
#include <saelab/measure.h>
#include <saelab/opt.h>
#include <saelab/perturb.h>
#include <saelab/presence.h>
#include <saelab/probe.h>
#include <saelab/raters.h>
#include <saelab/report.h>
#include <saelab/rng.h>
#include <saelab/sae.h>
#include <saelab/serve.h>
#include <saelab/stability.h>
#include <saelab/stats.h>
#include <saelab/status.h>
#include <saelab/steer.h>
#include <saelab/study.h>
#include <saelab/sweep.h>
#include <saelab/task.h>
#include <saelab/tensor.h>
#include <saelab/world.h>

#endif
