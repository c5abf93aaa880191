/* Cards of compositions in a run's page. */
#ifndef SL_REPORT_CARDS_H
#define SL_REPORT_CARDS_H

#include "report/facts.h"
#include "report/html.h"

/* A card for each composition in the composition.json of the run's SAEs: what it is, its latents, its pairs with attribution and interaction index, the
 * rows that it fires most on. Of each data set the first SAE that has any. Nothing where there are none. SL_IO. */
sl_status sl_cards(sl_html *h, const sl_facts *f, sl_err *err) SL_USE_RESULT;

#endif
