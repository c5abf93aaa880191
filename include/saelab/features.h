/* The feature index: what each feature of an SAE fires on, in one mapped file (layout: docs/FORMATS.md, use: docs/FEATURES.md).
 *
 *   build   sl_features_build(ctx, &(sl_features_input){ .sae = s, .rows = acts, .tok = tok }, &opts, "my_sae/features", &built, err)
 *   read    sl_features *f;  sl_features_open(ctx, "my_sae", true, &f, err);
 *           const sl_features_column *c = sl_features_column_find(f, "density");       // all features at once, for filters and sorting
 *           sl_feature j;  sl_features_get(f, 123, &j, err);                           // one feature
 *           sl_context x;  for (int i = 0; i < j.n_contexts; i++) { sl_features_context(f, j.first_context + i, &x); ... }
 *
 * An open index never changes: everything but open and close takes it const, allocates nothing and may be called by several threads at once.
 * All pointers that are handed out are borrowed until sl_features_close.
 *
 * Texts lie in one table of strings. A row of activations has a string: its token (of a text), its label (of imported activations), the names of the
 * true features that are on (of a world; only rows that are shown), or none. Rows are kept in the order of the text: row `at` + 1 is the next token. */
#ifndef SAELAB_FEATURES_H
#define SAELAB_FEATURES_H

#include <saelab/compose_eval.h>
#include <saelab/eval.h>
#include <saelab/world.h>

/* ---- building ---- */

typedef struct sl_features_opts { /* option table sl_features_options */
    int64_t tokens;         /* rows at most; 0: all that the source has */
    int64_t top;            /* strongest contexts a feature */
    int64_t quantiles;      /* equal parts of its active rows by activation, and from each part */
    int64_t per_quantile;   /* so many contexts, at random */
    int64_t near_misses;    /* contexts of the tokens that it fires on most, where it is silent */
    int64_t silent;         /* contexts at random where it is silent */
    int64_t before, after;  /* tokens of a context around the one in question */
    int64_t neighbours;     /* by cosine, and as many by co-firing */
    double share;           /* vectors only: share of rows in which a direction counts as active, by its largest projections */
    int64_t seed;           /* of what is chosen at random */
} sl_features_opts;
extern const sl_opt sl_features_options[];

typedef struct sl_features_input { /* borrowed; NULL: not there */
    sl_sae *sae;            /* this, or */
    const float *vectors;   /* [n_vectors, d_in] directions of any norm > 0: active where (x - mean) . v / |v| is among the largest `share` */
    int64_t n_vectors;
    sl_act_source *rows;    /* read from its first row, once (vectors: the first rows twice; worlds: the rows shown again) */
    const sl_tok *tok;      /* gives tokens their text; NULL: the source's labels, else "#17" */
    sl_lm *lm;              /* logit lens, when tok is there too and its width fits */
    const sl_world_truth *truth; /* of the world that rows are of: names, F1 of each feature with its best true feature */
    const double *fss, *sci, *reproducibility; /* [d_sae] a column each, NaN where unknown: sl_stability_report, sl_pwmcc_of */
    const sl_composition_edge *edge; int64_t n_edges; /* compositions and the latents that take part: sl_composition_pictures */
    const char *name, *sae_path, *lm_path; /* kept in the index as they are */
} sl_features_input;

typedef struct sl_features_built {
    int64_t n_features, n_rows, n_active, n_contexts, bytes;
    double seconds, encode_seconds, contexts_seconds, neighbours_seconds, lens_seconds;
} sl_features_built;
/* Writes dir/index.safetensors (dir is made), whole or not at all. The same bytes for any number of threads. Codes wait in a scratch file in dir, 8
 * bytes an active latent, that is removed at the end. Progress: tasks "encode" (rows), "contexts" (features), "neighbours", "logit lens".
 * SL_SHAPE: d_in differs; SL_DATA: no rows, a token that tok does not know; SL_ARG: neither or both of sae and vectors, an option out of range, an
 * endless source without `tokens`; SL_UNAVAILABLE: more than 2^31 - 1 rows; SL_NUMERIC: a row that is not finite; SL_CANCELLED; SL_IO; SL_MEM. */
sl_status sl_features_build(sl_ctx *ctx, const sl_features_input *in, const sl_features_opts *o, const char *dir, sl_features_built *out, sl_err *err) SL_USE_RESULT;

/* Directions from an .npy file: [n, d] of floats, in *out (sl_free). SL_SHAPE: not of two dimensions, or d differs from `d` (-1: any width); SL_MISSING,
 * SL_DATA, SL_MEM. */
sl_status sl_features_vectors(sl_ctx *ctx, const char *path, int64_t d, float **out, int64_t *n, sl_err *err) SL_USE_RESULT;

typedef struct sl_features sl_features;

/* compositions.json beside an open index: every composition in `p` with its members, its attribution, its strongest pairs, and where in the index it is
 * strongest (layout: docs/FORMATS.md). rows: what the rows of `p` count in. SL_IO, SL_NUMERIC, SL_MEM. */
sl_status sl_features_compositions_save(sl_ctx *ctx, const sl_features *f, const sl_composition_pictures *p, const sl_gathered *rows, sl_err *err) SL_USE_RESULT;

/* ---- opening ---- */

/* path: the index, its folder, or a folder that has it in features/. Every length and number that later reading relies on is checked; verify: the
 * checksum of all contents too (SL_DATA). SL_MISSING: no index there; SL_DATA names file, tensor and place: truncated, bent, of another version. */
sl_status sl_features_open(sl_ctx *ctx, const char *path, bool verify, sl_features **out, sl_err *err) SL_USE_RESULT;
void sl_features_close(sl_features *f); /* NULL is legal */

typedef enum sl_rows_kind { SL_ROWS_TOKENS, SL_ROWS_LABELS, SL_ROWS_WORLD, SL_ROWS_PLAIN /* rows without any text */ } sl_rows_kind;
typedef struct sl_features_info {
    int64_t n_features, n_rows, n_contexts, n_strings;
    sl_rows_kind kind;
    const char *dir;        /* folder of the index: labels lie beside it */
    const char *name, *sae_path, *lm_path, *variant, *hook, *model, *dataset, *fingerprint, *data_hash; /* "" where unknown */
    int32_t before, after;  /* tokens of a context at most */
    int32_t quantiles;
    bool has_lens, has_truth, vectors; /* vectors: features are directions, not an SAE's latents */
} sl_features_info;
const sl_features_info *sl_features_about(const sl_features *f);

/* The n bytes of string `id`, not 0-terminated, maybe part of a character; n 0 for an id without one (-1). With kind TOKENS and a tokenizer, ids
 * below the vocabulary are the tokenizer's. */
const char *sl_features_string(const sl_features *f, int32_t id, size_t *n);

/* ---- columns: one value a feature, for tables ---- */

typedef enum sl_column_type { SL_COLUMN_REAL /* float, NaN: none */, SL_COLUMN_INT /* int32_t, -1: none */, SL_COLUMN_STRING /* int32_t string id, -1: none */ } sl_column_type;
typedef struct sl_features_column {
    const char *name, *title, *help;
    sl_column_type type;
    const void *v;          /* [n_features] float or int32_t */
} sl_features_column;
/* Those that this index has, of: density, fired, max, mean, top_token, top_token_share, max_cosine, norm, logit_max, fss, sci, reproducibility, f1, truth,
 * compositions. The id is no column. */
const sl_features_column *sl_features_columns(const sl_features *f, int *n);
const sl_features_column *sl_features_column_find(const sl_features *f, const char *name); /* NULL: none of that name */
double sl_features_value(const sl_features_column *c, int64_t id); /* NaN: none; string ids as numbers */

/* ---- one feature ---- */

enum { SL_FEATURE_BINS = 50, SL_FEATURE_TOKENS = 5, SL_FEATURE_LENS = 10 };
typedef struct sl_feature {
    int64_t id, fired;      /* rows in which it is active */
    double density;         /* fired / rows */
    float max, mean;        /* of active values; 0 when it never fires */
    const int32_t *hist;    /* [SL_FEATURE_BINS] active rows with b max / BINS <= z < (b + 1) max / BINS, max itself in the last */
    int n_tokens;           /* strings that hold most of its activation, largest first: */
    const int32_t *token;   /* [n_tokens] string ids */
    const float *token_share; /* [n_tokens] of the sum of its activations */
    int n_cosine;           /* nearest by cosine of decoder rows, largest first */
    const int32_t *cosine_id;
    const float *cosine;
    int n_cofire;           /* by correlation phi of firing, largest first: (P(ij) - P(i) P(j)) / sqrt(P(i)(1 - P(i)) P(j)(1 - P(j))) */
    const int32_t *cofire_id;
    const float *cofire;    /* phi; of features active in more than 2048 rows, from 2048 of them, evenly spaced */
    int n_lens;             /* 0: no language model was at hand */
    const int32_t *up, *down;         /* [n_lens] string ids of the tokens whose logits rise most, and fall most */
    const float *up_logit, *down_logit;
    const int32_t *logit_hist;        /* [SL_FEATURE_BINS] tokens by logit, equal bins from logit_min to logit_max */
    float logit_min, logit_max;
    int n_linked;           /* compositions that it takes part in, largest share first */
    const int32_t *linked;
    const float *linked_share; /* share of the interaction */
    int64_t first_context;  /* of sl_features_context */
    int n_contexts;
} sl_feature;
/* SL_ARG: no such feature. */
sl_status sl_features_get(const sl_features *f, int64_t id, sl_feature *out, sl_err *err) SL_USE_RESULT;

/* ---- contexts ---- */

/* Contexts of a feature come in this order: TOP by value, QUANTILE from the highest part down, NEAR, SILENT. No two that fire, and no two that do
 * not, are within 16 tokens of each other, or end in the same 16 tokens. */
typedef enum sl_context_kind { SL_CONTEXT_TOP, SL_CONTEXT_QUANTILE, SL_CONTEXT_NEAR /* same token, silent */, SL_CONTEXT_SILENT } sl_context_kind;
typedef struct sl_context {
    sl_context_kind kind;
    int quantile;           /* of QUANTILE: 0 is the weakest part; else -1 */
    int64_t feature;
    int64_t at;             /* row in question */
    int64_t source_row;     /* kinds WORLD, LABELS and PLAIN: its id in the source where rows stand alone; else -1 */
    int32_t doc, pos;       /* of the row; -1 where rows have none */
    float value;            /* activation there; 0 for NEAR and SILENT */
    int same;               /* of TOP: as strong or weaker ones that end in the same tokens and were left out for it, at most 255 */
    int n, focus;           /* rows of the context; index of the row in question among them */
    const int32_t *string;  /* [n] string ids */
    const uint8_t *level;   /* [n] activation of each row: about level * unit, exact at focus (value); 0 exactly where silent */
    float unit;             /* max of the feature / 255 */
} sl_context;
/* i: 0 .. n_contexts of the index (the caller's promise). */
void sl_features_context(const sl_features *f, int64_t i, sl_context *out);

/* The row at a place of the text; -1: the index does not hold it. */
int64_t sl_features_find(const sl_features *f, int32_t doc, int32_t pos);

/* The strings around row `at` beyond what a context keeps, within its passage of the text: [n] with `at` at index *focus. Activations there are not kept. */
const int32_t *sl_features_around(const sl_features *f, int64_t at, int64_t before, int64_t after, int *n, int *focus);

#endif
