/* Everybody's own activations into a store: .npy, .npz or .safetensors, [n, d] or [batch, pos, d], several files one after the other.
 * A first pass looks at the shapes, a second one copies rows. npy (C order) and safetensors are mapped, so that memory holds a
 * chunk of rows; an npz is unpacked in memory, one file at a time. */
#include "data/acts_store.h"

#include <inttypes.h>
#include <string.h>

enum { CHUNK_BYTES = 4 << 20 };

/* One input: PATH, or PATH:NAME for one of several tensors. */
typedef struct input {
    char path[SL_ACTS_PATH];
    const char *name;      /* NULL: the only one that can be meant */
    int64_t rows, pos;     /* pos: length of a sequence, 0 for [n, d] */
} input;

typedef struct import {
    sl_ctx *ctx;
    const sl_acts_import_opts *o;
    const char *dir;
    input *in;
    int n_in;
    int64_t d_in, n_rows;
    sl_dict tokens_file;
    int32_t *token;        /* [n_rows] or NULL */
    char *label_text;
    const char **labels;   /* [n_rows] or NULL */
    float *x;              /* [chunk, d_in] */
    int32_t *doc, *pos;    /* [chunk] */
    int64_t chunk;
    sl_acts_writer *w;
} import;

/* ---- opening an input ---- */

static bool ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), k = strlen(end);
    return n >= k && strcmp(s + n - k, end) == 0;
}

/* PATH or PATH:NAME; the path may be a reference to the hub, which has a colon of its own. */
static sl_status split_path(sl_ctx *ctx, const char *arg, input *in, sl_err *err)
{
    char whole[1024], path[1024];
    bool hub = strncmp(arg, "hf:", 3) == 0;
    if (strlen(arg) >= sizeof whole)
        return sl_fail(err, SL_ARG, arg, NULL, "the path is too long");
    memcpy(whole, arg, strlen(arg) + 1);
    char *colon = hub ? strchr(whole + 3, ':') : strrchr(whole, ':');
    if (colon && (hub || !sl_path_exists(arg))) {
        *colon = 0;
        in->name = arg + (colon - whole) + 1;
    }
    SL_TRY(sl_ref_path(ctx, whole, path, err));
    if (strlen(path) >= sizeof in->path)
        return sl_fail(err, SL_ARG, arg, NULL, "the path is too long");
    memcpy(in->path, path, strlen(path) + 1);
    return SL_OK;
}

static sl_status open_file(sl_ctx *ctx, const char *path, sl_dict *d, sl_err *err)
{
    if (ends_with(path, ".npy"))
        return sl_npy_open(ctx, path, d, err);
    if (ends_with(path, ".npz"))
        return sl_npz_read(ctx, path, d, err);
    if (ends_with(path, ".safetensors"))
        return sl_safetensors_read(ctx, path, d, err);
    sl_dict_init(ctx, d);
    return sl_fail(err, SL_ARG, path, ".npy, .npz or .safetensors", "activations cannot be read from this kind of file");
}

static bool rows_of_numbers(const sl_tensor *t) { return sl_dtype_floating(t->dtype) && (t->n_dim == 2 || t->n_dim == 3); }

static sl_status choose(const input *in, const sl_dict *d, const sl_tensor **out, sl_err *err)
{
    const sl_tensor *t = NULL;
    int n = 0;
    if (in->name && !(t = sl_dict_get(d, in->name)))
        return sl_fail(err, SL_MISSING, in->path, NULL, "has no tensor '%.100s'", in->name);
    for (int i = 0; !in->name && i < d->n; i++)
        if (rows_of_numbers(&d->v[i].t)) {
            t = &d->v[i].t;
            n++;
        }
    if (n > 1)
        return sl_fail(err, SL_ARG, in->path, "PATH:NAME", "%d tensors could be the activations", n);
    if (!t && d->n == 1)
        t = &d->v[0].t;
    if (!t || !rows_of_numbers(t)) {
        char shape[64] = "";
        if (t)
            sl_shape_text(t, shape);
        return sl_fail(err, SL_SHAPE, in->path, "[n, d] or [batch, pos, d] of F32, F16, BF16 or F64", "holds no activations: %s %s",
                       t ? sl_dtype_name(t->dtype) : "no such tensor", shape);
    }
    *out = t;
    return SL_OK;
}

static sl_status look_at(import *m, int i, sl_err *err)
{
    input *in = &m->in[i];
    const sl_tensor *t;
    sl_dict d;
    SL_TRY(open_file(m->ctx, in->path, &d, err));
    sl_status st = choose(in, &d, &t, err);
    if (st == SL_OK) {
        int64_t width = sl_cols(t);
        in->rows = sl_rows(t);
        in->pos = t->n_dim == 3 ? t->dim[1] : 0;
        if (i == 0)
            m->d_in = width;
        if (width != m->d_in)
            st = sl_fail(err, SL_SHAPE, in->path, NULL, "rows of %" PRId64 " values, but %s has rows of %" PRId64, width, m->in[0].path, m->d_in);
        else if ((in->pos == 0) != (m->in[0].pos == 0))
            st = sl_fail(err, SL_SHAPE, in->path, NULL, "only one of this file and %s has positions ([batch, pos, d])", m->in[0].path);
        else if (in->rows == 0 || width == 0)
            st = sl_fail(err, SL_DATA, in->path, "at least one row", "holds no activations");
        m->n_rows += in->rows;
    }
    sl_dict_release(&d);
    return st;
}

/* ---- tokens and labels ---- */

static int64_t token_at(const sl_tensor *t, int64_t i)
{
    switch (t->dtype) {
    case SL_I32: return ((const int32_t *)t->data)[i];
    case SL_I64: return ((const int64_t *)t->data)[i];
    case SL_U16: return ((const uint16_t *)t->data)[i];
    default: return ((const uint8_t *)t->data)[i];
    }
}

static sl_status read_tokens(import *m, sl_err *err)
{
    const char *path = m->o->tokens;
    SL_TRY(sl_npy_open(m->ctx, path, &m->tokens_file, err));
    const sl_tensor *t = &m->tokens_file.v[0].t;
    if (t->dtype != SL_I32 && t->dtype != SL_I64 && t->dtype != SL_U16 && t->dtype != SL_U8)
        return sl_fail(err, SL_SHAPE, path, "I32, I64, U16 or U8", "token ids of dtype %s", sl_dtype_name(t->dtype));
    if (sl_numel(t) != m->n_rows)
        return sl_fail(err, SL_SHAPE, path, NULL, "%" PRId64 " tokens for %" PRId64 " rows", sl_numel(t), m->n_rows);
    m->token = sl_alloc(m->ctx, (size_t)m->n_rows * sizeof *m->token);
    if (!m->token)
        return sl_fail(err, SL_MEM, path, NULL, "no memory for %" PRId64 " tokens", m->n_rows);
    for (int64_t i = 0; i < m->n_rows; i++) {
        int64_t v = token_at(t, i);
        if (v < 0 || v > INT32_MAX)
            return sl_fail(err, SL_DATA, path, "from 0 to 2147483647", "token %" PRId64 " is %" PRId64, i, v);
        m->token[i] = (int32_t)v;
    }
    return SL_OK;
}

/* Lines end in \n or \r\n; the last may end with the file. */
static sl_status read_labels(import *m, sl_err *err)
{
    const char *path = m->o->labels;
    size_t n;
    SL_TRY(sl_file_read(m->ctx, path, &m->label_text, &n, err));
    if (memchr(m->label_text, 0, n))
        return sl_fail(err, SL_DATA, path, "text, one line a row", "holds a zero byte");
    m->labels = sl_alloc(m->ctx, (size_t)m->n_rows * sizeof *m->labels);
    if (!m->labels)
        return sl_fail(err, SL_MEM, path, NULL, "no memory for %" PRId64 " labels", m->n_rows);
    int64_t lines = 0;
    for (char *p = m->label_text, *end = m->label_text + n; p < end; lines++) {
        char *stop = memchr(p, '\n', (size_t)(end - p));
        stop = stop ? stop : end;
        *stop = 0;
        if (stop > p && stop[-1] == '\r')
            stop[-1] = 0;
        if (lines < m->n_rows)
            m->labels[lines] = p;
        p = stop + 1;
    }
    if (lines != m->n_rows)
        return sl_fail(err, SL_SHAPE, path, "one line a row", "%" PRId64 " labels for %" PRId64 " rows", lines, m->n_rows);
    return SL_OK;
}

/* ---- copying ---- */

static void set_text(char *out, size_t size, const char *text) { snprintf(out, size, "%s", text ? text : ""); }

/* The stem of the first file. */
static void set_dataset(char out[64], const char *path)
{
    const char *base = strrchr(path, '/');
    base = base ? base + 1 : path;
    const char *dot = strrchr(base, '.');
    snprintf(out, 64, "%.*s", dot && dot > base ? (int)(dot - base) : (int)strlen(base), base);
}

static sl_status create(import *m, sl_err *err)
{
    sl_act_info info = { .n_rows = m->n_rows, .d_in = m->d_in, .labels = m->labels, .n_labels = m->labels ? m->n_rows : 0 };
    set_text(info.hook, sizeof info.hook, m->o->hook);
    set_text(info.model, sizeof info.model, m->o->model);
    set_dataset(info.dataset, m->in[0].path);
    m->chunk = CHUNK_BYTES / (m->d_in * (int64_t)sizeof(float)) + 1;
    m->x = sl_alloc(m->ctx, (size_t)(m->chunk * m->d_in) * sizeof *m->x);
    m->doc = sl_alloc(m->ctx, (size_t)m->chunk * sizeof *m->doc);
    m->pos = sl_alloc(m->ctx, (size_t)m->chunk * sizeof *m->pos);
    if (!m->x || !m->doc || !m->pos)
        return sl_fail(err, SL_MEM, m->dir, NULL, "no memory for a chunk of rows");
    return sl_acts_create(m->ctx, m->dir, &info, m->n_rows, &m->o->store, &m->w, err);
}

/* done, docs: rows and sequences of the files before this one. */
static sl_status copy_rows(import *m, const input *in, const sl_tensor *t, int64_t done, int64_t docs, sl_err *err)
{
    const char *src = t->data;
    size_t row = (size_t)m->d_in * sl_dtype_size(t->dtype);
    for (int64_t at = 0; at < in->rows;) {
        int64_t n = in->rows - at < m->chunk ? in->rows - at : m->chunk;
        if (sl_cancelled(m->ctx))
            return sl_fail(err, SL_CANCELLED, m->dir, NULL, "the import was stopped; nothing was written");
        sl_to_f32(src + (size_t)at * row, t->dtype, m->x, n * m->d_in);
        for (int64_t i = 0; in->pos > 0 && i < n; i++) {
            m->doc[i] = (int32_t)(docs + (at + i) / in->pos);
            m->pos[i] = (int32_t)((at + i) % in->pos);
        }
        SL_TRY(sl_acts_append(m->w, m->x, n, m->token ? m->token + done + at : NULL, in->pos ? m->doc : NULL, in->pos ? m->pos : NULL, err));
        at += n;
        sl_progress(m->ctx, "import activations", (double)(done + at), (double)m->n_rows, "rows", NULL);
    }
    return SL_OK;
}

static sl_status copy_file(import *m, const input *in, int64_t done, int64_t docs, sl_err *err)
{
    sl_dict d;
    const sl_tensor *t;
    SL_TRY(open_file(m->ctx, in->path, &d, err));
    sl_status st = choose(in, &d, &t, err);
    if (st == SL_OK && (sl_rows(t) != in->rows || sl_cols(t) != m->d_in))
        st = sl_fail(err, SL_DATA, in->path, NULL, "changed while it was imported");
    if (st == SL_OK && in->pos > 0 && in->rows / in->pos > INT32_MAX - docs)
        st = sl_fail(err, SL_DATA, in->path, "at most 2147483647", "too many sequences");
    if (st == SL_OK) {
        sl__acts_source(m->w, in->path);
        st = copy_rows(m, in, t, done, docs, err);
    }
    sl_dict_release(&d);
    return st;
}

static sl_status run(import *m, const char *const *paths, sl_err *err)
{
    if (m->n_in < 1)
        return sl_fail(err, SL_ARG, m->dir, "at least one PATH", "there is nothing to import");
    m->in = sl_alloc(m->ctx, (size_t)m->n_in * sizeof *m->in);
    if (!m->in)
        return sl_fail(err, SL_MEM, m->dir, NULL, "no memory for the list of files");
    for (int i = 0; i < m->n_in; i++) {
        SL_TRY(split_path(m->ctx, paths[i], &m->in[i], err));
        SL_TRY(look_at(m, i, err));
    }
    if (m->o->tokens)
        SL_TRY(read_tokens(m, err));
    if (m->o->labels)
        SL_TRY(read_labels(m, err));
    SL_TRY(create(m, err));
    for (int64_t i = 0, done = 0, docs = 0; i < m->n_in; i++) {
        const input *in = &m->in[i];
        SL_TRY(copy_file(m, in, done, docs, err));
        done += in->rows;
        docs += in->pos ? in->rows / in->pos : 0;
    }
    sl_acts_writer *w = m->w;
    m->w = NULL;
    return sl_acts_finish(w, err);
}

sl_status sl_acts_import(sl_ctx *ctx, int n_paths, const char *const *paths, const char *dir, const sl_acts_import_opts *o, sl_err *err)
{
    import m = { .ctx = ctx, .o = o, .dir = dir, .n_in = n_paths };
    sl_dict_init(ctx, &m.tokens_file);
    sl_status st = run(&m, paths, err);
    sl_acts_abort(m.w);
    sl_dict_release(&m.tokens_file);
    sl_free(ctx, m.in);
    sl_free(ctx, m.token);
    sl_free(ctx, m.label_text);
    sl_free(ctx, (void *)m.labels);
    sl_free(ctx, m.x);
    sl_free(ctx, m.doc);
    sl_free(ctx, m.pos);
    return st;
}
