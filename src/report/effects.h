/* Effects: the difference between two arms, seed by seed. */
#ifndef SL_REPORT_EFFECTS_H
#define SL_REPORT_EFFECTS_H

#include "report/facts.h"

enum { SL_EFFECTS = 64, SL_EFFECT_SEEDS = 32 }; /* of a run at most; seeds of one */

typedef struct sl_arm_effect {
    const char *dataset, *arm, *base, *metric; /* metric of arm less that of base; borrowed */
    double d[SL_EFFECT_SEEDS];   /* by seed; none where only the mean is known */
    double mean, lo, hi;         /* 95 % t interval, paired by seed (science.md F2); lo = hi = mean without one */
    double mark;                 /* where chance would be, or what a rule asks for */
    int n;
    bool has_interval, has_mark;
} sl_arm_effect;

/* The score that matters on the data set that is looked at: loss recovered for a text, F1_h for a world, else EV. NULL: the first arm has none of them. */
const char *sl_arm_score(const sl_facts *f);
/* Every other arm against the first, on each data set. Returns how many. Leaves f at its first data set. */
int sl_arm_effects(sl_facts *f, sl_arm_effect *out, int most);

#endif
