/* The families, one file each. */
#ifndef SL_EVAL_FAMILIES_H
#define SL_EVAL_FAMILIES_H

#include <saelab/measure.h>

extern const sl_family sl_family_directions;   /* match.c */
extern const sl_family sl_family_codes;        /* correlate.c */
extern const sl_family sl_family_firing;       /* firing.c */
extern const sl_family sl_family_selected;     /* select.c */
extern const sl_family sl_family_hierarchy;    /* absorption.c */
extern const sl_family sl_family_splitting;    /* splitting.c */
extern const sl_family sl_family_truth_probes; /* probes.c */
extern const sl_family sl_family_label_probes; /* probes.c */
extern const sl_family sl_family_letters;      /* letters.c */
extern const sl_family sl_family_explain;      /* explain.c */
extern const sl_family sl_family_rates;        /* rates.c */

#endif
