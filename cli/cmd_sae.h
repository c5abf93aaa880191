/* saelab sae train, in two files: one SAE, and a sweep of many. */
#ifndef SL_CMD_SAE_H
#define SL_CMD_SAE_H

#include "cmd.h"

typedef struct train_cfg {
    const char *acts, *targets, *lm, *hook, *text, *dataset, *out_dir, *world, *held_out_acts;
    sl_strs world_set;
    int64_t world_seed;
    int64_t tokens, held_out, shuffle_rows, shuffle_seed;
    bool dry_run;
    sl_sae_train_config train;
    sl_perturb_config perturb;
    _Alignas(max_align_t) char variant[VARIANT_BYTES];
} train_cfg;

/* Where rows come from, and what lives as long. */
typedef struct input {
    sl_act_source *acts;
    sl_act_source *held_out; /* what early stopping looks at; NULL: none */
    sl_corpus corpus;       /* of --lm; tok NULL: none */
    sl_world *world;
    sl_lm *lm;              /* of a task */
} input;
sl_status input_open(cli *c, const train_cfg *t, input *in, sl_err *err);
/* in->held_out, where t stops early; store: folder of the held-out rows of a model. */
sl_status open_held_out(cli *c, const train_cfg *t, const char *store, input *in, sl_err *err);
void input_close(cli *c, input *in);

/* What a training needs: f32 weights, two moments and gradients, and its share of a step; files with two checkpoints. */
typedef struct need { int64_t memory, disk; } need;
need training_need(const train_cfg *t, const sl_act_info *rows);
/* One clear line when that does not fit. dir: where it would go. */
sl_status check_need(cli *c, const need *n, const char *dir, sl_err *err);
int64_t width_of(const train_cfg *t, const sl_act_info *rows); /* d_sae */
/* Rows of the validation text, stored in dir/held_out unless an earlier start did. */
sl_status keep_held_out(cli *c, const train_cfg *t, const sl_strs *hooks, const char *dir, sl_err *err);
/* "ESTIMATE" of a training of t->train.steps steps, of the seconds that FEW and MORE steps took, without what only the first ones cost. */
enum { FEW_STEPS = 2, MORE_STEPS = 12 };
void dry_report(cli *c, const train_cfg *t, const need *n, double few, double more);
/* The perturbation that is left for the trainer. */
sl_perturb_config perturb_of_rows(const train_cfg *t);
json_t *train_json(const char *dir, const sl_sae_info *about, const sl_sweep_run *run);

/* cmd_sae_sweep.c: does the --config file have a sweep, and its work. */
sl_status has_sweep(cli *c, bool *out, sl_err *err);
sl_status train_sweep(cli *c, sl_err *err);

/* ---- inside the sweep ---- */

enum { MOST_KEYS = 12, MOST_VALUES = 64, MOST_MEMBERS = 256, DIR = 1300, NAME = 200 };

typedef struct key { const char *name; sl_ynode node, value[MOST_VALUES]; int n; } key;

typedef struct member {
    train_cfg cfg;
    const sl_variant_info *v;
    char name[NAME], dir[DIR];
    input *in;
    sl_sae *sae;
    bool done;              /* by an earlier start */
    sl_sweep_run run;
    sl_metrics m;
    bool front;
} member;

typedef struct sweep {
    key key[MOST_KEYS];
    int n_keys;
    member *member;         /* [MOST_MEMBERS] */
    int n;
    input *input;           /* [MOST_VALUES] one a hook */
    const char *hook[MOST_VALUES]; /* of the input, as the sweep names it; NULL: there is one input */
    int n_inputs;
    need need;
} sweep;

/* cmd_sae_front.c: measures every SAE that was trained, prints the table, draws the frontier, fills c->result. seconds: of the training. */
sl_status sweep_report(cli *c, sweep *w, double seconds, sl_err *err);
/* Folder of the held-out rows of a member, where the pass stores some. */
void sweep_held_out(const train_cfg *base, const sweep *w, const member *m, char dir[DIR + 200]);

#endif
