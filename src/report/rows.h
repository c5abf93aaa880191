/* What the tables of a run's page show: metric, what it is called there, its unit. A key NULL ends each. */
#ifndef SL_REPORT_ROWS_H
#define SL_REPORT_ROWS_H

typedef struct sl_report_row { const char *key, *label, *unit; } sl_report_row;
extern const sl_report_row sl_rows_lm[], sl_rows_sae[], sl_rows_world[], sl_rows_composition[];

#endif
