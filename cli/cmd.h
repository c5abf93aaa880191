/* The commands, one file a group. */
#ifndef SL_CMD_H
#define SL_CMD_H

#include "cli.h"

extern const command CMD_VERSION, CMD_HELP, CMD_MAN, CMD_COMPLETION, CMD_DOCTOR, CMD_DEMO;
extern const command CMD_STUDY_LIST, CMD_STUDY_SHOW, CMD_STUDY_RUN, CMD_STUDY_PLOT, CMD_STUDY_CONFIRM;
extern const command CMD_DATA_LIST, CMD_DATA_GET;
extern const command CMD_LM_TRAIN, CMD_LM_EVAL, CMD_LM_SAMPLE, CMD_LM_INFO, CMD_LM_PRESETS;
extern const command CMD_ACTS_CAPTURE, CMD_ACTS_IMPORT, CMD_ACTS_INFO;
extern const command CMD_SAE_TRAIN, CMD_SAE_EVAL, CMD_SAE_INFO, CMD_SAE_CONVERT, CMD_SAE_GET, CMD_SAE_ENCODE, CMD_SAE_VARIANTS;
extern const command CMD_WORLD_LIST, CMD_WORLD_SAMPLE, CMD_WORLD_TRAIN;
extern const command CMD_BASELINE_PCA, CMD_BASELINE_TOPK_PCA, CMD_BASELINE_ICA, CMD_BASELINE_NMF, CMD_BASELINE_SEMI_NMF, CMD_BASELINE_KMEANS,
    CMD_BASELINE_FISTA, CMD_BASELINE_FISTA_ORACLE, CMD_BASELINE_RANDOM;
extern const command CMD_FEATURES_BUILD, CMD_FEATURES_SHOW, CMD_FEATURES_EXPORT, CMD_FEATURES_LABELS;
extern const command CMD_SERVE;
extern const command CMD_RATERS_INIT, CMD_RATERS_SERVE, CMD_RATERS_FREEZE, CMD_RATERS_ANALYSE, CMD_RATERS_EXPORT;
extern const command CMD_CACHE_LIST, CMD_CACHE_PRUNE;

/* ---- what several commands do (common.c) ---- */

/* Names the folder of results: the option -o, --out-dir. */
#define OUT_DIR(S, help_) { .name = "out_dir", .short_name = 'o', .type = SL_T_STR, .offset = offsetof(S, out_dir), .help = (help_) }

typedef enum split { SPLIT_TRAIN, SPLIT_VAL, SPLIT_TEST, SPLIT_ALL } split;
extern const char *const SPLITS[]; /* train|val|test|all */

/* The text (a file, or else a data set with its fall-backs) as a corpus. Says in a log line which text it is when that is not the one asked
 * for. tok NULL: a new tokenizer of `kind`; otherwise it is taken. */
sl_status corpus_open(cli *c, const char *text, const char *dataset, sl_tok_kind kind, sl_tok *tok, sl_corpus *out, sl_err *err);
void split_tokens(const sl_corpus *corpus, split s, int64_t *begin, int64_t *end);
void split_docs(const sl_corpus *corpus, split s, int64_t *first, int64_t *end);
/* The end of a training command: dir/result.json keeps c->result, and the checkpoints, which are larger than the model, go. */
sl_status training_done(cli *c, const char *dir, sl_err *err);
/* Is dir, claimed again, finished? Then its result.json is the result once more. */
bool training_was_done(cli *c, const char *dir);
/* Activations of a model on part of a text, for `acts capture` and `sae train --lm` (cmd_acts.c). */
typedef struct capture { const char *lm, *text, *dataset; split part; int64_t tokens; bool drop_first; sl_acts_opts store; } capture;
/* Its text, tokenized; takes tok. */
sl_status capture_text(cli *c, const capture *p, sl_tok *tok, sl_corpus *out, sl_err *err);
/* Captures each hook into dir, or with several hooks into dir/HOOK. text and dataset NULL: what the model was trained on. */
sl_status capture_hooks(cli *c, const capture *p, const sl_strs *hooks, const char *dir, sl_err *err);
/* The text of `key` at the top level of dir/config.yaml, interned; NULL when there is none: what a model or an SAE was trained on. */
const char *trained_on(cli *c, const char *dir, const char *key);
/* The world `name` with KEY=VALUE options (cmd_world.c). */
sl_status world_open(cli *c, const char *name, const sl_strs *set, int64_t seed, sl_world **out, sl_err *err);
sl_status free_space(const char *dir, int64_t need_bytes, sl_err *err); /* SL_IO when that is more than what is free */
bool on_path(const char *program); /* can it be started? */
/* Steering of `lm sample` (steer.c). Close it even after a failure. */
typedef struct steering { sl_sae *sae; sl_steer *steer; sl_clamp clamp[SL_STEER_CLAMPS]; int n; } steering;
sl_status steer_open(cli *c, const sl_strs *list, sl_lm *lm, steering *out, sl_err *err);
void steer_close(steering *s);
json_t *option_json(const sl_opt *o, const void *cfg);
json_t *json_text(const char *bytes, size_t n); /* not UTF-8: '?' for every byte that is not ASCII */

#endif
