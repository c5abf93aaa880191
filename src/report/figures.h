/* What the pages of a run and of a study share: figures, durations, facts, files. */
#ifndef SL_REPORT_FIGURES_H
#define SL_REPORT_FIGURES_H

#include "report/facts.h"
#include "report/html.h"

const char *sl_or_unknown(const char *s); /* "" becomes "unknown" */
void sl_h_number(sl_html *h, double v, int digits);
/* A cell of a table: mean, standard error and chance where they are known, else why not. */
void sl_h_figure(sl_html *h, const sl_figure *v);
void sl_duration(char *out, size_t size, double s); /* "1 h 30 min" */
/* A name with its value in a <dl>. */
void sl_h_fact(sl_html *h, const char *name, const char *value);
/* A file's text, folded; nothing for NULL. */
void sl_h_file(sl_html *h, const char *name, const char *text);

#endif
