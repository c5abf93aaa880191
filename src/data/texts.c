/* Finding a text: folders of the data search, then a download, then what the machine has. */
#include "data/fallback.h"
#include "data/fetch.h"
#include "data/search.h"
#include "data/unpack.h"
#include "io/io.h"

#include <saelab/data.h>

#include <stdio.h>
#include <string.h>

enum { GRAMMAR_BYTES = 2000000, GRAMMAR_SEED = 1, MAX_ARCHIVE = 64 << 20 };
static const size_t MAX_TEXT = (size_t)1 << 32;

/* Sources: the char-rnn repository; Matt Mahoney's page on large text compression (enwik8's SHA-256 and text8.zip's as published by many
 * users of them; no SHA-256 of the unpacked text8 is published, so that a text8 found on disk is known by its size alone). */
const sl_dataset_info sl_datasets[] = {
    { "shakespeare_char", "tiny Shakespeare, 65 characters", "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt",
      NULL, "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed", "public domain", 1115394 },
    { "enwik8", "first 10^8 bytes of English Wikipedia, 2006, XML", "http://mattmahoney.net/dc/enwik8.zip", NULL,
      "2b49720ec4d78c3c9fabaee6e4179a5e997302b3a70029f30f2d582218c024a8", "GFDL / CC BY-SA", 100000000 },
    { "text8", "English Wikipedia 2006 as a-z and space", "http://mattmahoney.net/dc/text8.zip",
      "a6640522afe85d1963ad56c05b0ede0a0c000dddc9671758a6cc09b7a38e5232", NULL, "GFDL / CC BY-SA", 100000000 },
    { "wikitext2_valid", "validation part of WikiText-2, raw", NULL, NULL,
      "4cd0f6876d07a413aa911261ff6d363c72d757d47f0fdd6015702014c89cb9c7", "CC BY-SA", 1146846 },
    { "tinystories", "3,117 short stories, <|endoftext|> after each", NULL, NULL, NULL, "CDLA-Sharing-1.0", 0 },
    { "king_james", "the King James Bible, printed by Debian's bible-kjv", NULL, NULL, NULL, "public domain", 0 },
    { "grammar", "sentences of a built-in grammar", NULL, NULL, NULL, "MIT", 0 },
    { NULL, NULL, NULL, NULL, NULL, NULL, 0 },
};

/* Where a data folder keeps a data set. `part` NULL: the whole, checked against the table above; else the name of a prefix. */
typedef struct place { const char *dataset, *file, *part, *sha256; int64_t bytes; } place;
static const place PLACES[] = {
    { "shakespeare_char", "tinyshakespeare/input.txt", NULL, NULL, 0 },
    { "shakespeare_char", "shakespeare_char/input.txt", NULL, NULL, 0 },
    { "shakespeare_char", "tinyshakespeare.txt", NULL, NULL, 0 },
    { "enwik8", "enwik8/enwik8", NULL, NULL, 0 },
    { "enwik8", "enwik8/enwik8.zip", NULL, NULL, 0 },
    { "enwik8", "enwik8", NULL, NULL, 0 },
    { "enwik8", "enwik8.zip", NULL, NULL, 0 },
    { "enwik8", "enwik8-prefix/enwik8.first4154399.gz", "enwik8_first4154399",
      "d502ac7ecb9dd47a062e7d19b8dcd3c753b07c142e48b13dcd521cb747116bdd", 4154399 },
    { "text8", "text8/text8", NULL, NULL, 0 },
    { "text8", "text8/text8.zip", NULL, NULL, 0 },
    { "text8", "text8", NULL, NULL, 0 },
    { "text8", "text8.zip", NULL, NULL, 0 },
    { "text8", "text8-prefix/text8.first3010294.gz", "text8_first3010294",
      "f3413b8d00bc41ef9dda3f92d1c7d028545d385ed476e518fdb0491f57e5a137", 3010294 },
    { "wikitext2_valid", "wikitext-2/wiki.valid.raw", NULL, NULL, 0 },
    { "wikitext2_valid", "wikitext-2-raw/wiki.valid.raw", NULL, NULL, 0 },
    { "tinystories", "tinystories/tinystories_a_3117.gpt2.u16.bin", "tinystories_a_3117",
      "6749f841e58f6ac9d65e7b76fae713e8adeb76e6418e62fb36d2e0252e981147", 2555528 },
};

enum { N_PLACES = sizeof PLACES / sizeof PLACES[0] };

static const sl_dataset_info *dataset(const char *name)
{
    for (const sl_dataset_info *d = sl_datasets; d->name; d++)
        if (strcmp(d->name, name) == 0)
            return d;
    return NULL;
}

static sl_status unknown_dataset(const char *name, sl_err *err)
{
    char known[200] = "";
    for (const sl_dataset_info *d = sl_datasets; d->name; d++) {
        size_t n = strlen(known);
        snprintf(known + n, sizeof known - n, "%s%s", n ? ", " : "", d->name);
    }
    return sl_fail(err, SL_ARG, "data set", known, "there is no '%s'", name);
}

void sl_text_release(sl_ctx *ctx, sl_text *t)
{
    if (!t)
        return;
    sl_free(ctx, t->bytes);
    *t = (sl_text){ 0 };
}

/* ---- one file ---- */

/* GPT-2 tokens, uint16 little-endian, to the text that they are of. */
static sl_status detokenize(sl_ctx *ctx, const char *where, const char *data, size_t size, char **out, size_t *n, sl_err *err)
{
    sl_tok *t;
    size_t len, total = 0;
    const unsigned char *u = (const unsigned char *)data;
    *out = NULL;
    SL_TRY(sl_tok_new(ctx, SL_TOK_GPT2, NULL, 0, &t, err));
    for (int pass = 0; pass < 2; pass++) { /* counts, then writes */
        total = 0;
        for (size_t i = 0; i + 1 < size; i += 2) {
            const char *piece = sl_tok_piece(t, u[i] | u[i + 1] << 8, &len);
            if (pass)
                memcpy(*out + total, piece, len);
            total += len;
        }
        if (!pass && !(*out = sl_alloc(ctx, total + 1))) {
            sl_tok_free(t);
            return sl_fail(err, SL_MEM, where, NULL, "no memory for %zu bytes", total);
        }
    }
    sl_tok_free(t);
    *n = total;
    return SL_OK;
}

/* Replaces packed bytes by what they hold. */
static sl_status unpack(sl_ctx *ctx, const char *where, char **bytes, size_t *n, sl_err *err)
{
    bool tokens = strstr(where, ".gpt2.u16.bin") != NULL;
    bool gzip = sl_is_gzip(*bytes, *n), zip = *n > 4 && memcmp(*bytes, "PK\3\4", 4) == 0;
    if (!gzip && !zip && !tokens)
        return SL_OK;
    char *plain;
    size_t n_plain;
    SL_TRY(tokens ? detokenize(ctx, where, *bytes, *n, &plain, &n_plain, err)
           : gzip ? sl_gunzip(ctx, where, *bytes, *n, MAX_TEXT, &plain, &n_plain, err)
                : sl_unzip_first(ctx, where, *bytes, *n, MAX_TEXT, &plain, &n_plain, err));
    sl_free(ctx, *bytes);
    *bytes = plain;
    *n = n_plain;
    return SL_OK;
}

static sl_status read_text(sl_ctx *ctx, const char *path, const char *name, sl_text *out, sl_err *err)
{
    *out = (sl_text){ 0 };
    sl_status st = sl_file_read(ctx, path, &out->bytes, &out->n, err);
    if (st == SL_OK)
        st = unpack(ctx, path, &out->bytes, &out->n, err);
    if (st == SL_OK && out->n == 0)
        st = sl_fail(err, SL_DATA, path, "a text of at least one character", "the file is empty");
    if (st != SL_OK) {
        sl_text_release(ctx, out);
        return st;
    }
    snprintf(out->name, sizeof out->name, "%s", name);
    snprintf(out->path, sizeof out->path, "%s", path);
    sl_sha256_hex(out->bytes, out->n, out->sha256);
    return SL_OK;
}

sl_status sl_text_file(sl_ctx *ctx, const char *ref, sl_text *out, sl_err *err)
{
    char stem[sizeof out->name], path[1024];
    *out = (sl_text){ 0 };
    SL_TRY(sl_ref_path(ctx, ref, path, err));
    const char *slash = strrchr(path, '/');
    snprintf(stem, sizeof stem, "%.63s", slash ? slash + 1 : path);
    char *gz = strlen(stem) > 3 ? stem + strlen(stem) - 3 : NULL;
    if (gz && strcmp(gz, ".gz") == 0)
        *gz = 0;
    char *dot = strrchr(stem, '.');
    if (dot && dot != stem)
        *dot = 0;
    if (sl_path_is_dir(path))
        return sl_fail(err, SL_DATA, path, "a text file", "it is a folder");
    return read_text(ctx, path, stem, out, err);
}

/* A text that claims to be a data set has its size and, where one is pinned, its hash. */
static sl_status verify(const char *where, const sl_text *t, int64_t bytes, const char *sha256, sl_err *err)
{
    if (bytes > 0 && (int64_t)t->n != bytes) {
        char expected[64];
        snprintf(expected, sizeof expected, "%lld bytes", (long long)bytes);
        return sl_fail(err, SL_DATA, where, expected, "it holds %zu bytes", t->n);
    }
    if (sha256 && strcmp(sha256, t->sha256) != 0)
        return sl_fail(err, SL_DATA, where, sha256, "its SHA-256 is %s", t->sha256);
    return SL_OK;
}

/* ---- looking through the folders ---- */

/* The first place of the data set that exists and is whole. SL_MISSING: none; a file that is not what its name says is reported
 * through the log and passed over. */
static sl_status from_folders(sl_ctx *ctx, const sl_dataset_info *d, sl_text *out, sl_err *err)
{
    sl_folders f;
    sl_data_folders(ctx, &f);
    for (int p = 0; p < N_PLACES; p++) {
        const place *pl = &PLACES[p];
        for (int i = 0; strcmp(pl->dataset, d->name) == 0 && i < f.n; i++) {
            char path[sizeof out->path];
            if (sl_path_join(path, sizeof path, f.path[i], pl->file, NULL) != SL_OK || !sl_path_exists(path) || sl_path_is_dir(path))
                continue;
            sl_err why = { 0 };
            sl_status st = read_text(ctx, path, pl->part ? pl->part : d->name, out, &why);
            if (st == SL_OK)
                st = pl->part ? verify(path, out, pl->bytes, pl->sha256, &why) : verify(path, out, d->bytes, d->sha256, &why);
            if (st == SL_OK) {
                if (pl->part)
                    snprintf(out->note, sizeof out->note, "%s: a part of %s, %lld bytes", pl->part, d->name, (long long)pl->bytes);
                return SL_OK;
            }
            sl_text_release(ctx, out);
            if (st == SL_MEM)
                return sl_fail(err, st, path, NULL, "%s", why.what);
            sl_log(ctx, SL_LOG_WARN, "passed over as %s: %s", d->name, why.msg);
        }
    }
    return sl_fail(err, SL_MISSING, d->name, NULL, "not found in %d folders (%s ...)", f.n, f.n ? f.path[0] : "none");
}

/* Its file, unread: the listing must be quick even where the text is large. */
sl_status sl_data_where(sl_ctx *ctx, const char *name, char path[512], sl_err *err)
{
    sl_folders f;
    path[0] = 0;
    if (!dataset(name))
        return unknown_dataset(name, err);
    if (strcmp(name, "grammar") == 0)
        return SL_OK;
    sl_data_folders(ctx, &f);
    for (int p = 0; p < N_PLACES; p++)
        for (int i = 0; strcmp(PLACES[p].dataset, name) == 0 && i < f.n; i++)
            if (sl_path_join(path, 512, f.path[i], PLACES[p].file, NULL) == SL_OK && sl_path_exists(path) && !sl_path_is_dir(path))
                return SL_OK;
    path[0] = 0;
    return sl_fail(err, SL_MISSING, name, NULL, "not found in %d folders", f.n);
}

/* ---- downloads ---- */

static sl_status cached_path(sl_ctx *ctx, const sl_dataset_info *d, char path[512], sl_err *err)
{
    const char *file = strcmp(d->name, "shakespeare_char") == 0 ? "input.txt" : d->name;
    int n = snprintf(path, 512, "%s/data/%s/%s", sl_ctx_cache_dir(ctx), d->name, file);
    return n < 512 ? SL_OK : sl_fail(err, SL_ARG, sl_ctx_cache_dir(ctx), "a shorter path", "the cache folder's path is too long");
}

static sl_status download(sl_ctx *ctx, const sl_dataset_info *d, const char *path, sl_err *err)
{
    sl_text t = { 0 };
    char folder[512], sha[65];
    SL_TRY(sl_fetch(ctx, d->url, d->name, MAX_ARCHIVE, &t.bytes, &t.n, err));
    sl_sha256_hex(t.bytes, t.n, sha);
    sl_status st = SL_OK;
    if (d->archive_sha256 && strcmp(sha, d->archive_sha256) != 0)
        SL_GO(sl_fail(err, SL_DATA, d->url, d->archive_sha256, "the download's SHA-256 is %s", sha));
    SL_GO(unpack(ctx, d->url, &t.bytes, &t.n, err));
    sl_sha256_hex(t.bytes, t.n, t.sha256);
    SL_GO(verify(d->url, &t, d->bytes, d->sha256, err));
    snprintf(folder, sizeof folder, "%.*s", (int)(strrchr(path, '/') - path), path);
    SL_GO(sl_dir_make(folder, err));
    SL_GO(sl_file_write(ctx, path, t.bytes, t.n, err));
done:
    sl_text_release(ctx, &t);
    return st;
}

sl_status sl_data_get(sl_ctx *ctx, const char *name, char path[512], sl_err *err)
{
    const sl_dataset_info *d = dataset(name);
    if (!d)
        return unknown_dataset(name, err);
    if (!d->url)
        return sl_fail(err, SL_UNAVAILABLE, name, NULL, "there is nothing to download: %s", d->what);
    SL_TRY(cached_path(ctx, d, path, err));
    if (sl_path_exists(path)) {
        sl_text t;
        sl_status st = read_text(ctx, path, name, &t, err);
        if (st == SL_OK)
            st = verify(path, &t, d->bytes, d->sha256, err);
        sl_text_release(ctx, &t);
        if (st == SL_OK || st == SL_MEM)
            return st;
        sl_log(ctx, SL_LOG_WARN, "%s is not whole, downloading it again", path);
    }
    return download(ctx, d, path, err);
}

/* ---- what is asked for, or the next best ---- */

static sl_status made_here(sl_ctx *ctx, bool bible, sl_text *out, sl_err *err)
{
    *out = (sl_text){ 0 };
    SL_TRY(bible ? sl_king_james(ctx, &out->bytes, &out->n, err)
                 : sl_grammar_text(ctx, GRAMMAR_SEED, GRAMMAR_BYTES, &out->bytes, &out->n, err));
    snprintf(out->name, sizeof out->name, "%s", bible ? "king_james" : "grammar");
    sl_sha256_hex(out->bytes, out->n, out->sha256);
    return SL_OK;
}

static sl_status fall_back(sl_ctx *ctx, const char *name, const char *why, sl_text *out, sl_err *err)
{
    sl_err no_bible = { 0 };
    if (strcmp(name, "king_james") != 0) {
        sl_status st = made_here(ctx, true, out, &no_bible);
        if (st == SL_OK)
            snprintf(out->note, sizeof out->note, "%s is not here (%.140s): the King James text is used instead", name, why);
        if (st == SL_OK || st == SL_CANCELLED || st == SL_MEM)
            return st == SL_OK ? st : sl_fail(err, st, name, NULL, "%s", no_bible.what);
    }
    SL_TRY(made_here(ctx, false, out, err));
    snprintf(out->note, sizeof out->note, "%s is not here (%.140s): text of a built-in grammar is used instead", name, why);
    return SL_OK;
}

/* The data set itself, from the folders, a download or the program that prints it. */
static sl_status find_exactly(sl_ctx *ctx, const sl_dataset_info *d, sl_text *out, sl_err *err)
{
    bool bible = strcmp(d->name, "king_james") == 0;
    if (bible || strcmp(d->name, "grammar") == 0)
        return made_here(ctx, bible, out, err);
    sl_status st = from_folders(ctx, d, out, err);
    if (st != SL_MISSING || !d->url)
        return st;
    char path[512];
    SL_TRY(sl_data_get(ctx, d->name, path, err));
    return read_text(ctx, path, d->name, out, err);
}

sl_status sl_text_find(sl_ctx *ctx, const char *name, bool fallback, sl_text *out, sl_err *err)
{
    *out = (sl_text){ 0 };
    const sl_dataset_info *d = dataset(name);
    if (!d)
        return unknown_dataset(name, err);
    sl_err why = { 0 };
    sl_status st = find_exactly(ctx, d, out, &why);
    if (st == SL_OK || st == SL_MEM || st == SL_CANCELLED)
        return st == SL_OK ? st : sl_fail(err, st, why.where, NULL, "%s", why.what);
    if (fallback)
        return fall_back(ctx, name, why.msg, out, err);
    return sl_fail(err, SL_MISSING, name, d->url ? "it below --data-dir or SAELAB_DATA, or a network for `saelab data get`" : NULL,
                   "%s", why.msg);
}
