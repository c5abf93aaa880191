/* Text, tokens and activations.
 *   text --tokenizer--> corpus (token ids, documents, splits);   activations: sl_act_source, the one interface that batches come through. */
#ifndef SAELAB_DATA_H
#define SAELAB_DATA_H

#include <saelab/codes.h>
#include <saelab/opt.h>
#include <saelab/tensor.h>

/* ---- texts ---- */

typedef struct sl_text {
    char name[64];      /* the name of the text really used: "shakespeare_char", "enwik8_first4154399", "king_james", "grammar", or a file's stem */
    char path[512];     /* where it was read, "" when generated */
    char note[256];     /* one sentence when it is not what was asked for ("no network: ..."), else "" */
    char *bytes;        /* [n] and a 0 after them, owned */
    size_t n;
    char sha256[65];    /* of bytes, hexadecimal */
} sl_text;

typedef struct sl_dataset_info {
    const char *name, *what;
    const char *url;            /* NULL: nothing to download */
    const char *archive_sha256; /* of what the url gives when that is packed, or NULL */
    const char *sha256;         /* of the plain text; NULL: known by its size alone */
    const char *licence;
    int64_t bytes;              /* of the plain text; 0: not fixed */
} sl_dataset_info;
extern const sl_dataset_info sl_datasets[]; /* name NULL ends it */

/* Finds one of sl_datasets by name, whole or as a prefix with a name of its own. Looks through --data-dir, SAELAB_DATA, shared/data in the
 * four parents of the working folder and the cache (<cache>/data); a file there that has not the pinned size and SHA-256 is reported by a
 * warning and passed over. Then downloads (when built with libcurl, unless SAELAB_OFFLINE is set to 1). Then falls back as it says in
 * `note`: king_james (printed by the program of Debian's bible-kjv), then the built-in grammar.
 * Returns SL_ARG (no such name), SL_MISSING (`fallback` false and not to be had; the line says why), SL_CANCELLED, SL_MEM. */
sl_status sl_text_find(sl_ctx *ctx, const char *name, bool fallback, sl_text *out, sl_err *err) SL_USE_RESULT;
/* --text FILE: any file, gunzipped or unzipped when it is packed. Returns SL_MISSING, SL_IO, SL_MEM, SL_DATA (empty, a folder, cut off). */
sl_status sl_text_file(sl_ctx *ctx, const char *path, sl_text *out, sl_err *err) SL_USE_RESULT;
void sl_text_release(sl_ctx *ctx, sl_text *t);
/* Downloads a data set into the cache, checked, and gives its path there; returns at once when a whole one is in the cache already.
 * Returns SL_ARG, SL_UNAVAILABLE (offline, no libcurl, nothing to download), SL_IO (the line names the url), SL_DATA (not the pinned
 * contents; nothing is kept), SL_CANCELLED, SL_MEM. */
sl_status sl_data_get(sl_ctx *ctx, const char *name, char path[512], sl_err *err) SL_USE_RESULT;
/* Where a data set lies now, neither read nor downloaded; "" when it is built in. SL_MISSING: nowhere; SL_ARG: no such name. */
sl_status sl_data_where(sl_ctx *ctx, const char *name, char path[512], sl_err *err) SL_USE_RESULT;
/* Path of a data file ("gpt2-bpe/vocab.bpe") in the folders above, --data-dir first; SL_MISSING. */
sl_status sl_data_file(sl_ctx *ctx, const char *relative, char path[512], sl_err *err) SL_USE_RESULT;

/* ---- references to the Hugging Face hub, accepted wherever a path to a model, an SAE or a text is ---- */

/* A path as it is; of hf:[datasets/]OWNER/REPO[/FOLDER or FILE][@REVISION] the place of a local copy, downloaded first when there is none.
 * Looks into the hub library's cache (HF_HUB_CACHE, HF_HOME), then into saelab's. Of a folder the files directly in it come, only
 * safetensors, npz, json and text; each is resumed where an earlier download stopped, and checked by size and hash. HF_ENDPOINT is honoured.
 * Returns SL_ARG (not of this form), SL_MISSING (no such repository, revision, folder or file), SL_UNAVAILABLE (a pickle; needs an account;
 * SAELAB_OFFLINE is set; no libcurl), SL_IO, SL_DATA (wrong contents; nothing is kept), SL_BUSY (another process fetches it), SL_CANCELLED, SL_MEM. */
sl_status sl_ref_path(sl_ctx *ctx, const char *ref, char path[1024], sl_err *err) SL_USE_RESULT;
/* renew: asks the hub which commit the revision means now, and fetches what is not here of it. */
sl_status sl_ref_get(sl_ctx *ctx, const char *ref, bool renew, char path[1024], sl_err *err) SL_USE_RESULT;

/* ---- tokenizers ---- */

typedef enum sl_tok_kind { SL_TOK_CHAR /* sorted distinct characters of a text */, SL_TOK_BYTE, SL_TOK_GPT2 /* byte-level BPE */ } sl_tok_kind;
typedef struct sl_tok sl_tok;
/* A tokenizer. CHAR: the distinct characters of text[0..n), UTF-8, in the order of their code points (nanoGPT's prepare.py). BYTE: 256 ids.
 * GPT2: OpenAI's byte-level BPE (Radford et al. 2019, section 2.2), from gpt2-bpe/encoder.json and vocab.bpe found by sl_data_file; text
 * unused. Returns SL_DATA (empty, not UTF-8: "byte offset N"; damaged files), SL_MISSING (GPT2's files), SL_MEM. */
sl_status sl_tok_new(sl_ctx *ctx, sl_tok_kind kind, const char *text, size_t n, sl_tok **out, sl_err *err) SL_USE_RESULT;
/* tokenizer.json of ours: all that the tokenizer needs, GPT-2's vocabulary and merges included. Loading returns SL_MISSING, SL_DATA, SL_MEM. */
sl_status sl_tok_save(const sl_tok *t, const char *path, sl_err *err) SL_USE_RESULT;
sl_status sl_tok_load(sl_ctx *ctx, const char *path, sl_tok **out, sl_err *err) SL_USE_RESULT;
void sl_tok_free(sl_tok *t); /* NULL is legal */
sl_tok_kind sl_tok_what(const sl_tok *t);
int32_t sl_tok_vocab(const sl_tok *t);
/* Token ids of text[0..n), n may be 0; ids: sl_free by the caller. GPT2 gives <|endoftext|> its own id, 50256.
 * Returns SL_MEM, SL_DATA: "byte offset N: character 'x' (U+0078) is not in the vocabulary of 65", or not UTF-8 (CHAR, GPT2). */
sl_status sl_tok_encode(const sl_tok *t, const char *text, size_t n, int32_t **ids, int64_t *n_ids, sl_err *err) SL_USE_RESULT;
/* Bytes of one token, valid while t lives, not 0-terminated; may be part of a character for BYTE and GPT2. An id out of range: n 0. */
const char *sl_tok_piece(const sl_tok *t, int32_t id, size_t *n);

/* ---- corpora ---- */

typedef struct sl_corpus {
    char name[64];
    char sha256[65];       /* of the text */
    sl_tok *tok;           /* owned */
    int32_t *ids;          /* [n], owned */
    int64_t n;
    int64_t train_end, val_end; /* [0, train_end) train, [train_end, val_end) val, [val_end, n) test */
    int64_t *doc;          /* [n_docs + 1] starts of documents: real ones, or blocks of at least 4,096 tokens (science.md B8) */
    int64_t n_docs;
} sl_corpus;
/* A text as tokens. Splits as nanoGPT: .9/.1 for shakespeare_char and files; .9/.05/.05 for enwik8 and text8 and their prefixes. Documents
 * are those that <|endoftext|> ends, when there are ten or more (a split then moves to the next start of one), else blocks of at least
 * 4,096 tokens; no document lies in two splits. tok NULL: a new one of `kind`; else it counts, and is taken, on failure too.
 * Returns SL_DATA as sl_tok_encode does, SL_MISSING (GPT2's files), SL_MEM; then nothing is owned by *out. */
sl_status sl_corpus_new(sl_ctx *ctx, const sl_text *text, sl_tok_kind kind, sl_tok *tok, sl_corpus *out, sl_err *err) SL_USE_RESULT;
void sl_corpus_release(sl_ctx *ctx, sl_corpus *c);

/* ---- activations ---- */

typedef struct sl_act_info {
    int64_t n_rows;        /* -1: endless */
    int64_t d_in;
    char hook[96];         /* "blocks.3.hook_resid_pre" */
    char model[128];       /* fingerprint or name of the model */
    char dataset[64];
    char data_hash[65];    /* identifies the rows: goes into cache keys */
    float *mean;           /* [d_in] of the raw rows, or NULL */
    double scale;          /* x_normalised = (x - mean) * scale, so that the mean of |x|^2 is d_in; 1 when not computed */
    bool has_tokens;       /* rows have token, document and position */
    const char *const *labels; int64_t n_labels; /* one string a row in place of tokens, or NULL */
    int64_t d_out;         /* width of the targets y that rows are paired with (transcoders); 0: no targets */
    char hook_y[96];       /* where they come from; "" without targets */
    float *mean_y;         /* [d_out] and scale_y: of the targets, as mean and scale are of the rows */
    double scale_y;
} sl_act_info;

typedef struct sl_act_batch {
    const float *x;        /* [n, d_in] f32, RAW (not normalised), borrowed until the next call */
    int64_t n;
    const int64_t *row;    /* [n] row ids of the store */
    const int32_t *token, *doc, *pos; /* [n] or NULL; pos: token offset in its document, so that corpus.doc[doc] + pos is the token */
    const sl_codes *truth; /* rows of a world (saelab/world.h): which features are on and how much, [n] rows; or NULL */
    const uint8_t *unknown;/* [n, features] != 0: not yet determined at this row (tasks), left out of scores; or NULL */
    const float *y;        /* [n, d_out] targets of the same rows, RAW; NULL when d_out is 0 */
} sl_act_batch;

typedef struct sl_act_source sl_act_source;
struct sl_act_source {
    sl_act_info info;
    void *impl;
    sl_status (*next)(sl_act_source *s, int64_t n, sl_act_batch *out, sl_err *err); /* the next n rows; wraps around at the end of an epoch */
    sl_status (*seek)(sl_act_source *s, int64_t row, sl_err *err);                  /* rows delivered so far, for resume */
    void (*close)(sl_act_source *s);
};

/* The store: dir/manifest.json + dir/acts-%05d.safetensors (x [n, d_in] f32|f16|bf16, token/doc/pos I32), globally shuffled when written,
 * mapped when read. Row ids are places in the store. Non-finite rows: SL_NUMERIC naming shard, row and column, counted from 0.
 * It is written in dir.partial and renamed when finished: a capture that was cut off starts again. The same rows, options and
 * seed give the same bytes, however the rows are cut into appends. */
typedef struct sl_acts_writer sl_acts_writer;
typedef struct sl_acts_opts {
    sl_dtype dtype;        /* F32, F16 or BF16 on disk */
    bool shuffle;          /* global shuffle by seed (true for training stores) */
    uint64_t seed;
    int64_t shard_rows;    /* 0: 256 MB shards, larger ones where there would be more than 256; at most 512 shards */
} sl_acts_opts;
/* n_rows must be known: rows are scattered to their shuffled place as they come, so that nothing is held in memory. info: d_in, hook, model,
 * dataset and labels (in the order of the input) are read. SL_EXISTS when dir is there, SL_BUSY while another process writes it,
 * SL_IO when the disk has no room for it. */
sl_status sl_acts_create(sl_ctx *ctx, const char *dir, const sl_act_info *info, int64_t n_rows, const sl_acts_opts *opts, sl_acts_writer **out, sl_err *err) SL_USE_RESULT;
/* x [n, d_in]; token, doc, pos [n], each with all rows or with none (NULL). After a failure only finish (which fails too) or abort are legal.
 * SL_NUMERIC: "row 17 of the input, column 3", from 0; also for numbers too large for F16. */
sl_status sl_acts_append(sl_acts_writer *w, const float *x, int64_t n, const int32_t *token, const int32_t *doc, const int32_t *pos, sl_err *err) SL_USE_RESULT;
/* mean, scale = sqrt(d_in / mean |x - mean|^2) of the rows as stored, checksums, manifest; frees w in every case, and leaves nothing when
 * it fails. SL_DATA: rows are missing, or all are the same. */
sl_status sl_acts_finish(sl_acts_writer *w, sl_err *err) SL_USE_RESULT;
void sl_acts_abort(sl_acts_writer *w); /* leaves nothing; NULL is legal */
/* verify: reads all shards and compares their checksums (SL_DATA); sizes and shapes are checked always. SL_MISSING: no store, or a
 * shard is missing. Labels come in the order of row ids. */
sl_status sl_acts_open(sl_ctx *ctx, const char *dir, bool verify, sl_act_source **out, sl_err *err) SL_USE_RESULT;
/* Everybody's own activations: .npy, .npz, .safetensors (PATH, or PATH:NAME where a file holds several arrays); [n, d] or [batch, pos, d],
 * whose sequences and positions become doc and pos; f32, f16, bf16, f64. Files follow one another. SL_SHAPE: widths differ, or tokens
 * or labels are not one a row. */
typedef struct sl_acts_import_opts { const char *hook, *model, *tokens /* npy of ids, or NULL */, *labels /* one line a row, or NULL */; sl_acts_opts store; } sl_acts_import_opts;
sl_status sl_acts_import(sl_ctx *ctx, int n_paths, const char *const *paths, const char *dir, const sl_acts_import_opts *o, sl_err *err) SL_USE_RESULT;
/* Rows of x with those of y as their targets (transcoders): two sources of the same rows in the same order, as two captures of one text with
 * equal options give. Labels, tokens and places are x's. Takes both, on failure too. SL_SHAPE: their numbers of rows differ; SL_ARG: one has
 * targets already; SL_MEM. Reading it, SL_DATA: row id, token, document or position of a row (where both have it) is not its target's. */
sl_status sl_acts_pair(sl_ctx *ctx, sl_act_source *x, sl_act_source *y, sl_act_source **out, sl_err *err) SL_USE_RESULT;
/* Reads s ahead in a thread of its own: while the caller works on one batch, the next, of as many rows, is fetched and copied, so that a disk or a
 * model behind s is waited for only when it is slower than the caller. Rows, order and errors are those of s. Takes s, on failure too; nothing
 * else may use s meanwhile. SL_ARG: s is a world's, whose truth it does not pass on (n_rows -1); SL_MEM. */
sl_status sl_acts_prefetch(sl_ctx *ctx, sl_act_source *s, sl_act_source **out, sl_err *err) SL_USE_RESULT;
void sl_act_source_free(sl_act_source *s); /* calls close, which frees s itself; NULL is legal */

#endif
