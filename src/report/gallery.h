/* The plots of a run's page. */
#ifndef SL_REPORT_GALLERY_H
#define SL_REPORT_GALLERY_H

#include "report/facts.h"
#include "report/html.h"

/* Each SVG of plots/, with links to its picture, numbers and script; what cannot be shown says why. */
sl_status sl_gallery(sl_html *h, const sl_facts *f, sl_err *err) SL_USE_RESULT;

#endif
