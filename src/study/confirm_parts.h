/* What the writers of a confirmation's results share. */
#ifndef SL_STUDY_CONFIRM_PARTS_H
#define SL_STUDY_CONFIRM_PARTS_H

#include "report/html.h"
#include "study/confirm.h"

enum { SL_RATIOS = 3 }; /* the committed ratio, 1.0, 2.0 */

typedef struct sl_confirm_results {
    sl_confirm *c;
    sl_table t;
    const char **world, **arm;  /* of the table; owned */
    sl_decision decision[SL_RATIOS];
    sl_decision targeting;
    bool has_targeting;
    double common_share;        /* of the parents that any SAE matched: those that all did */
} sl_confirm_results;

/* Everything of report.html above its tables. */
sl_status sl_confirm_head(sl_html *h, const sl_confirm_results *r, sl_err *err) SL_USE_RESULT;
/* results.md and report.html: the same tables. */
sl_status sl_confirm_pages(const sl_confirm_results *r, sl_err *err) SL_USE_RESULT;

#endif
