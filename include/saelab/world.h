/* Worlds: data whose features are known.
 *
 *   superposition   rows x = sum_i z_i f_i (+ what compositions add) + bias, made on the fly: a world is an activation source
 *   task            sequences that a small transformer learns, with ground-truth labels for every position (saelab/task.h trains on them)
 *
 * A row is a pure function of (world, options, seed, split, row number): the same bits for any number of threads and any way of cutting
 * rows into batches; seek resumes anywhere. Definitions and parameters: docs/WORLDS.md. */
#ifndef SAELAB_WORLD_H
#define SAELAB_WORLD_H

#include <saelab/data.h>

typedef enum sl_world_kind { SL_WORLD_SUPERPOSITION, SL_WORLD_TASK } sl_world_kind;

/* Streams of rows that never share one. Combinations are withheld by comp_ood, synth_comp and the tasks. */
typedef enum sl_world_split {
    SL_WORLD_TRAIN,         /* without the combinations that the world withholds */
    SL_WORLD_TEST,          /* fresh rows of the same distribution as TRAIN */
    SL_WORLD_OOD,           /* rows with a withheld combination only */
    SL_WORLD_ALL,           /* nothing withheld: what a task's transformer is trained on */
    SL_WORLD_N_SPLIT
} sl_world_split;
extern const char *const sl_world_splits[]; /* "train", "test", "ood", "all", NULL */

typedef struct sl_world_info {
    const char *name, *what, *source;
    sl_world_kind kind;
    bool has_ood;           /* SL_WORLD_OOD is there */
    const sl_opt *opts;     /* the world's own options */
    size_t opts_size;       /* bytes of the struct that they fill: sl_opts_default(opts, buffer of opts_size) */
} sl_world_info;
enum { SL_WORLD_OPTS = 256 }; /* no world's opts_size is larger */
const sl_world_info *sl_world_at(int i);              /* i from 0; NULL past the end */
const sl_world_info *sl_world_find(const char *name); /* '-' equals '_'; NULL when there is none */

typedef struct sl_world sl_world;
/* Builds the ground truth (dictionary, probabilities, structure) from the seed. wopts: the struct of the world's own options, NULL for its
 * defaults. SL_ARG: no such world (the nearest one is named), an option out of range or options that contradict one another; SL_MEM. */
sl_status sl_world_new(sl_ctx *ctx, const char *name, const void *wopts, uint64_t seed, sl_world **out, sl_err *err) SL_USE_RESULT;
void sl_world_free(sl_world *w); /* after its sources; NULL is legal */
const sl_world_info *sl_world_about(const sl_world *w);
const char *sl_world_id(const sl_world *w);      /* 64 hexadecimal digits: of name, revision, options and seed */

/* ---- ground truth ---- */

enum { SL_WORLD_ATOMS = 8 };

/* One feature. order 1: an atom; order q: a function of q atoms (tasks' composites). */
typedef struct sl_world_feature {
    char name[40];          /* "f17", "carry0", "head_number=sg" */
    int32_t order;
    int32_t family;         /* features of one family are values of one variable ("s0=0" .. "s0=9"): a relation counts once for all of them */
    int32_t n_atom, atom[SL_WORLD_ATOMS]; /* one feature of each family that it is a function of; none for atoms */
} sl_world_feature;

/* Features that act together: something is added to x when all of them are on (synth_comp, with dir), or a combination that the
 * world draws as one (comp_ood, toy_composed; dir NULL). */
typedef struct sl_world_set {
    int32_t order, feature[4]; /* ascending */
    bool withheld;          /* never complete in TRAIN and TEST; complete in every row of OOD for at least one set */
    double p;               /* probability that all are on in a row of ALL; NaN where it has no closed form */
    const float *dir;       /* [d] of norm 1: beta form(z) dir is added to x, or NULL */
} sl_world_set;

typedef enum sl_world_form { SL_FORM_PRODUCT, SL_FORM_MIN, SL_FORM_INDICATOR } sl_world_form;

typedef struct sl_world_truth {
    int64_t n, d;           /* features; width of x (tasks: 0, the model's) */
    const float *dir;       /* [n, d] directions of norm 1, so that x = sum_i code_i dir_i + compositions + bias; NULL for tasks */
    const float *bias;      /* [d], or NULL */
    const double *p;        /* [n] firing probability by the world's definition; NULL where only sampling tells (tasks) */
    const double *mean, *std; /* [n] of the normal draw behind the magnitude max(0, mean + std N); NULL where magnitudes are drawn otherwise */
    const int32_t *parent;  /* [n] a child is on only when its parent is, at most one child of a parent at a time; -1: none. NULL: no hierarchy */
    int64_t n_in_tree;      /* features with a parent or a child */
    const sl_world_feature *feature; /* [n] */
    const sl_world_set *set;         /* [n_sets] */
    int64_t n_sets;
    double beta;            /* weight of the compositions; 0 where there are none */
    sl_world_form form;
} sl_world_truth;
const sl_world_truth *sl_world_truth_of(const sl_world *w); /* borrowed until sl_world_free */
/* form(values of the members): their product, minimum, or 1. order values, all > 0. */
double sl_world_form_value(sl_world_form form, const float *value, int32_t order);

/* ---- rows of a superposition world ---- */

/* A source of the rows of a split; any number may be open on one world. Batches carry `truth`, the codes of their rows (CSR over the n
 * features, values > 0), and row numbers. info.n_rows: -1, or the size of the data set where the world has one; info.mean is NULL.
 * next: SL_ARG (n < 1), SL_MEM. open: SL_ARG for a task, and for OOD where nothing is withheld. Free with sl_act_source_free. */
sl_status sl_world_open(const sl_world *w, sl_world_split split, sl_act_source **out, sl_err *err) SL_USE_RESULT;

/* ---- instances of a task ---- */

typedef struct sl_task_info {
    const sl_tok *tok;      /* one id a token; the character of each is its short spelling */
    const char *const *word;/* [vocab] full spelling: "AND", "<bos>" */
    int64_t vocab, T;       /* tokens an instance at most; shorter ones are filled with id 0 (<bos>), never scored */
    int64_t layer;          /* activations are taken after this block (from 0) */
    const char *measure;    /* what the gate asks for. "exact_match": share of instances with every scored token right;
                             * "agreement": share of scored positions where the tokens of the right side are the more probable ones */
    const int8_t *side;     /* agreement: [vocab] 1 or -1 (singular and plural verbs; the two closing brackets), 0: neither; else NULL */
    double gate;            /* to proceed the model must reach this */
    int64_t steps;          /* of training (128 instances each) that reach it */
} sl_task_info;
const sl_task_info *sl_world_task(const sl_world *w); /* NULL: not a task */

/* What a position is for; several may hold. */
enum { SL_TASK_LOSS = 1 /* the NEXT token counts in the loss */, SL_TASK_ROW = 2 /* an activation row is taken here */,
       SL_TASK_SCORE = 4 /* the NEXT token decides the gate */ };

/* Instances [first, first + n) of a split: tokens [n, T] and uses [n, T] (bits above). TRAIN and TEST share no instance.
 * SL_ARG: not a task, or a split that there is not. */
sl_status sl_task_instances(const sl_world *w, sl_world_split split, int64_t first, int64_t n, int32_t *tokens, uint8_t *uses, sl_err *err) SL_USE_RESULT;
/* Labels of the positions of one instance, as sl_task_instances gave its tokens [T]: on [T, n_features] 0 or 1, unknown [T, n_features]
 * 1 where the tokens up to that position do not determine the feature (on is 0 there). SL_DATA: tokens are no instance of the task. */
sl_status sl_task_labels(const sl_world *w, const int32_t *tokens, uint8_t *on, uint8_t *unknown, sl_err *err) SL_USE_RESULT;

#endif
