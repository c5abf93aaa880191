/* Files of SAEs. A format is one file that says what a folder holds (sl_sae_file) and under which names its tensors are (sl_sae_names);
 * format.c finds the format, and weights.c makes the SAE from both. A variant's own names in SAELens are in its row (variant.h). */
#ifndef SL_SAE_FORMAT_H
#define SL_SAE_FORMAT_H

#include "io/io.h"
#include "sae/variant.h"

/* Where one weight of ours is. Several rows for one weight: the first whose tensor is there. A weight without a row keeps its name in
 * SAELens; W_enc is then [d_in, d_sae]. */
typedef struct sl_sae_names {
    const char *ours, *theirs;
    bool transposed;        /* on disk it is [d_in, d_sae] (W_enc) or [d_out, d_sae] (W_dec) */
    bool optional;          /* not there: zeros */
} sl_sae_names;

/* What a file says before it becomes an SAE. */
typedef struct sl_sae_file {
    const char *format;             /* "saelens" */
    const sl_sae_ops *ops;
    void *opts;                     /* owned: sl_free */
    int64_t d_in, d_sae;
    bool center_input;
    bool rescale_by_decoder_norm;   /* codes are a |d_j|, to be folded into the weights */
    sl_rows_norm row_norm;
    char hook[96], hook_out[96], model[128], dataset[64];
    float *mean;                    /* owned, or NULL */
    double scale;
    double state[SL_SAE_SCALARS];
    const sl_recipe *recipe;        /* that it was trained by; NULL: nothing says */
    sl_sae_notes notes;
    const sl_sae_names *names;      /* ended by {NULL}; NULL: those of SAELens */
    const char *decoder_scale;      /* a tensor [d_sae] that multiplies the rows of W_dec, or NULL */
    const char *single_decoder_scale; /* the same, where it must be ones (SAELens before 6.0 without finetuning), or NULL */
} sl_sae_file;

/* Reads from `dir` the tensors into d and the rest into f, which come initialised and are released in every case. */
typedef struct sl_sae_format {
    const char *name, *weights;     /* weights: the file that shows it */
    sl_status (*read)(sl_ctx *ctx, const char *dir, const char *weights, sl_sae_file *f, sl_dict *d, sl_err *err);
    sl_status (*write)(sl_sae *s, const char *dir, sl_err *err); /* NULL: only read */
} sl_sae_format;

extern const sl_sae_format sl_format_saelens, sl_format_sparsify, sl_format_dictionary_learning, sl_format_gemma_scope;

/* The SAE of a file whose tensors are d; `weights` names it in errors. */
sl_status sl_sae_from_file(sl_ctx *ctx, const char *weights, sl_sae_file *f, const sl_dict *d, sl_sae **out, sl_err *err) SL_USE_RESULT;
/* y [cols, rows] = x [rows, cols] transposed */
void sl_transpose(const float *x, int64_t rows, int64_t cols, float *y);
const char *sl_saelens_name(const sl_sae *s, const sl_param *p); /* of a weight */

/* f->ops becomes the variant's row and f->opts its defaults. */
sl_status sl_file_variant(sl_ctx *ctx, const char *path, const char *variant, sl_sae_file *f, sl_err *err) SL_USE_RESULT;
/* Sets one option from a JSON number, truth or text. */
sl_status sl_file_option(sl_ctx *ctx, const char *path, sl_sae_file *f, const char *name, const json_t *v, sl_err *err) SL_USE_RESULT;
/* Sets the state of this name. */
void sl_file_state(sl_sae_file *f, const char *name, double v);
/* A warning of the file: what in it has more than one meaning. */
void sl_file_note(sl_sae_file *f, const char *fmt, ...) SL_PRINTF(2, 3);
/* The largest distance of a row's norm in t [d_sae, d] (transposed: [d, d_sae]) from 1. */
double sl_norms_off_one(const sl_tensor *t, bool transposed);

#endif
