/* What the files of a run say. Whatever is missing or damaged is said in words, and the rest is shown. */
#ifndef SL_REPORT_FACTS_H
#define SL_REPORT_FACTS_H

#include "io/io.h"

#include <saelab/opt.h>

enum { SL_MAX_ARMS = 24, SL_MAX_DATASETS = 12, SL_MAX_WARNINGS = 24 };

typedef struct sl_facts {
    sl_ctx *ctx;
    const char *dir;
    json_t *file;                 /* final_info.json whole, or NULL */
    json_t *means, *stderrs, *lists; /* of its data set; borrowed, NULL when missing */
    const char *dataset;          /* the one that is looked at: a text or a world, or NULL */
    const char *name[SL_MAX_DATASETS]; /* of all of them, the text first */
    int n_datasets;
    json_t *records;              /* list: the lines of results.jsonl */
    sl_yaml *config;              /* config.yaml, or NULL */
    char *config_text, *log;      /* the files as they are, or NULL */
    const char *arm[SL_MAX_ARMS]; /* on that data set, in the order of the records */
    int n_arms;
    char *warning[SL_MAX_WARNINGS]; /* owned */
    int n_warnings, n_more;       /* n_more: lines beyond those kept */
} sl_facts;

sl_status sl_facts_read(sl_ctx *ctx, const char *dir, sl_facts *out, sl_err *err) SL_USE_RESULT; /* SL_MISSING (no folder), SL_MEM */
void sl_facts_release(sl_facts *f);
/* Looks at data set i from now on. */
void sl_facts_dataset(sl_facts *f, int i);

/* A scalar of config.yaml by its path, "machine.cpu"; "" when it is not there. */
const char *sl_facts_config(const sl_facts *f, const char *path);

/* One figure over the seeds; arm NULL: the run's own key. */
typedef struct sl_figure {
    bool known, has_se, has_floor;
    double mean, se, floor;       /* floor: what chance gives, mean over the arm's records */
    int64_t n;                    /* seeds with a value */
    const char *reason;           /* why not known: from the records, or "NOT RUN" */
} sl_figure;
sl_figure sl_facts_figure(const sl_facts *f, const char *arm, const char *key);
/* Most seeds that any figure of the run has. */
int64_t sl_facts_seeds(const sl_facts *f);
/* Sum of a field over the arm's records; 0 when none has it. */
double sl_facts_sum(const sl_facts *f, const char *arm, const char *field);

#endif
