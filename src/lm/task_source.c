/* A task's activations as a source: instances are made and run through the model in chunks of a fixed size, so that the bits of a row do
 * not depend on how rows are cut into batches. */
#include "io/io.h"
#include "lm/task.h"

#include <stdio.h>
#include <string.h>

enum { CHUNK = 64 }; /* instances of one forward pass */

typedef struct source {
    sl_lm *m;
    const sl_world *w;
    const sl_task_info *task;
    sl_world_split split;
    sl_hook_id at;
    int64_t d, nf;
    int64_t first_row, chunk;    /* of the next chunk: the number of its first row; its own number */
    int32_t *ids;                /* [CHUNK, T] */
    uint8_t *uses, *on, *unknown;/* [CHUNK, T]; [T, nf] each, of one instance */
    /* the rows of the chunk in hand */
    int64_t n, given;            /* rows; of those delivered */
    float *x;                    /* [CHUNK T, d] */
    int32_t *token, *doc, *pos;  /* [CHUNK T] */
    uint8_t *label, *hidden;     /* [CHUNK T, nf] */
    /* the batch */
    int64_t cap;
    float *out_x;
    int64_t *out_row;
    int32_t *out_token, *out_doc, *out_pos;
    uint8_t *out_hidden;
    sl_codes truth;
} source;

static void free_batch(source *s)
{
    sl_ctx *ctx = s->m->ctx;
    void *all[] = { s->out_x, s->out_row, s->out_token, s->out_doc, s->out_pos, s->out_hidden };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        sl_free(ctx, all[i]);
    sl_codes_release(ctx, &s->truth);
    s->out_x = NULL;
    s->out_row = NULL;
    s->out_token = s->out_doc = s->out_pos = NULL;
    s->out_hidden = NULL;
    s->cap = 0;
}

static sl_status need_batch(source *s, int64_t n, sl_err *err)
{
    if (n <= s->cap)
        return SL_OK;
    sl_ctx *ctx = s->m->ctx;
    size_t rows = (size_t)n;
    free_batch(s);
    s->out_x = sl_alloc(ctx, rows * (size_t)s->d * sizeof *s->out_x);
    s->out_row = sl_alloc(ctx, rows * sizeof *s->out_row);
    s->out_token = sl_alloc(ctx, rows * sizeof *s->out_token);
    s->out_doc = sl_alloc(ctx, rows * sizeof *s->out_doc);
    s->out_pos = sl_alloc(ctx, rows * sizeof *s->out_pos);
    s->out_hidden = sl_alloc(ctx, rows * (size_t)s->nf);
    sl_status st = sl_codes_new(ctx, n, s->nf, &s->truth, err);
    if (st == SL_OK && s->out_x && s->out_row && s->out_token && s->out_doc && s->out_pos && s->out_hidden) {
        s->cap = n;
        return SL_OK;
    }
    free_batch(s);
    return sl_fail(err, SL_MEM, "task", NULL, "no memory for a batch of %lld rows", (long long)n);
}

/* ---- chunks ---- */

static sl_status chunk_instances(source *s, sl_err *err)
{
    return sl_task_instances(s->w, s->split, s->chunk * CHUNK, CHUNK, s->ids, s->uses, err);
}

static int64_t chunk_rows(const source *s)
{
    int64_t n = 0;
    for (int64_t i = 0; i < CHUNK * s->task->T; i++)
        n += (s->uses[i] & SL_TASK_ROW) != 0;
    return n;
}

/* Moves what belongs to the rows of one instance to the front. */
static sl_status keep_rows(source *s, int64_t i, const float *v, sl_err *err)
{
    int64_t T = s->task->T;
    SL_TRY(sl_task_labels(s->w, s->ids + i * T, s->on, s->unknown, err));
    for (int64_t t = 0; t < T; t++) {
        if (!(s->uses[i * T + t] & SL_TASK_ROW))
            continue;
        memcpy(s->x + s->n * s->d, v + (i * T + t) * s->d, (size_t)s->d * sizeof *v);
        memcpy(s->label + s->n * s->nf, s->on + t * s->nf, (size_t)s->nf);
        memcpy(s->hidden + s->n * s->nf, s->unknown + t * s->nf, (size_t)s->nf);
        s->token[s->n] = s->ids[i * T + t];
        s->doc[s->n] = (int32_t)((s->chunk * CHUNK + i) & INT32_MAX);
        s->pos[s->n++] = (int32_t)t;
    }
    return SL_OK;
}

static sl_status chunk_run(source *s, sl_err *err)
{
    sl_tape *t = s->m->tape;
    sl_tensor ids = sl_tensor_of(SL_I32, s->ids, 2, (int64_t)CHUNK, s->task->T);
    sl_tape_no_grad(t, true);
    sl_tape_reset(t);
    sl_var v = sl_gpt_site(t, s->m, &ids, s->at);
    sl_status st = sl_tape_status(t, err);
    s->n = s->given = 0;
    for (int64_t i = 0; i < CHUNK && st == SL_OK; i++)
        st = keep_rows(s, i, sl_value(t, v)->data, err);
    sl_tape_no_grad(t, false);
    sl_tape_reset(t);
    return st;
}

static sl_status next_chunk(source *s, sl_err *err)
{
    SL_TRY(chunk_instances(s, err));
    SL_TRY(chunk_run(s, err));
    s->first_row += s->n;
    s->chunk++;
    return SL_OK;
}

/* ---- the source ---- */

static void give(source *s, int64_t to, int64_t n)
{
    int64_t from = s->given;
    memcpy(s->out_x + to * s->d, s->x + from * s->d, (size_t)(n * s->d) * sizeof *s->x);
    memcpy(s->out_token + to, s->token + from, (size_t)n * sizeof *s->token);
    memcpy(s->out_doc + to, s->doc + from, (size_t)n * sizeof *s->doc);
    memcpy(s->out_pos + to, s->pos + from, (size_t)n * sizeof *s->pos);
    memcpy(s->out_hidden + to * s->nf, s->hidden + from * s->nf, (size_t)(n * s->nf));
    for (int64_t i = 0; i < n; i++) {
        int64_t at = s->truth.row_ptr[to + i];
        s->out_row[to + i] = s->first_row - s->n + from + i;
        for (int64_t f = 0; f < s->nf; f++)
            if (s->label[(from + i) * s->nf + f]) {
                s->truth.idx[at] = (int32_t)f;
                s->truth.val[at++] = 1;
            }
        s->truth.row_ptr[to + i + 1] = at;
    }
    s->given += n;
}

static sl_status next(sl_act_source *src, int64_t n, sl_act_batch *out, sl_err *err)
{
    source *s = src->impl;
    if (n < 1 || n > INT32_MAX)
        return sl_fail(err, SL_ARG, src->info.dataset, "at least one row", "a batch of %lld rows", (long long)n);
    SL_TRY(need_batch(s, n, err));
    for (int64_t got = 0; got < n;) {
        if (s->given == s->n)
            SL_TRY(next_chunk(s, err));
        int64_t take = n - got < s->n - s->given ? n - got : s->n - s->given;
        give(s, got, take);
        got += take;
    }
    *out = (sl_act_batch){ .x = s->out_x, .n = n, .row = s->out_row, .token = s->out_token, .doc = s->out_doc, .pos = s->out_pos, .truth = &s->truth,
                           .unknown = s->out_hidden };
    return SL_OK;
}

static sl_status seek(sl_act_source *src, int64_t row, sl_err *err)
{
    source *s = src->impl;
    if (row < 0)
        return sl_fail(err, SL_ARG, src->info.dataset, "from 0", "seek to row %lld", (long long)row);
    s->first_row = s->chunk = s->n = s->given = 0;
    for (int64_t left = row; left > 0;) {
        SL_TRY(chunk_instances(s, err));
        int64_t rows = chunk_rows(s);
        if (rows > left) {
            SL_TRY(next_chunk(s, err));
            s->given = left;
            break;
        }
        s->first_row += rows;
        s->chunk++;
        left -= rows;
    }
    return SL_OK;
}

static void close_source(sl_act_source *src)
{
    source *s = src->impl;
    sl_ctx *ctx = s->m->ctx;
    void *all[] = { s->ids, s->uses, s->on, s->unknown, s->x, s->token, s->doc, s->pos, s->label, s->hidden };
    free_batch(s);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        sl_free(ctx, all[i]);
    sl_free(ctx, s);
    sl_free(ctx, src);
}

static sl_status allocate(source *s, sl_err *err)
{
    sl_ctx *ctx = s->m->ctx;
    size_t T = (size_t)s->task->T, cells = CHUNK * T, nf = (size_t)s->nf;
    s->ids = sl_alloc(ctx, cells * sizeof *s->ids);
    s->uses = sl_alloc(ctx, cells);
    s->on = sl_alloc(ctx, T * nf);
    s->unknown = sl_alloc(ctx, T * nf);
    s->x = sl_alloc(ctx, cells * (size_t)s->d * sizeof *s->x);
    s->token = sl_alloc(ctx, cells * sizeof *s->token);
    s->doc = sl_alloc(ctx, cells * sizeof *s->doc);
    s->pos = sl_alloc(ctx, cells * sizeof *s->pos);
    s->label = sl_alloc(ctx, cells * nf);
    s->hidden = sl_alloc(ctx, cells * nf);
    if (!s->ids || !s->uses || !s->on || !s->unknown || !s->x || !s->token || !s->doc || !s->pos || !s->label || !s->hidden)
        return sl_fail(err, SL_MEM, "task", NULL, "no memory for the activations of %d instances", (int)CHUNK);
    return SL_OK;
}

/* The rows are those of world, seed, split and weights. */
static void describe(const source *s, const char *hook, sl_act_info *info)
{
    const char *name = sl_world_about(s->w)->name;
    char what[512];
    uint64_t weights = sl_gpt_weights_hash(s->m);
    *info = (sl_act_info){ .n_rows = -1, .d_in = s->d, .scale = 1, .has_tokens = true };
    snprintf(info->hook, sizeof info->hook, "%s", hook);
    snprintf(info->model, sizeof info->model, "%s-%016llx", name, (unsigned long long)weights);
    snprintf(info->dataset, sizeof info->dataset, "%s", name);
    snprintf(what, sizeof what, "%s %s %s %016llx", sl_world_id(s->w), sl_world_splits[s->split], hook, (unsigned long long)weights);
    sl_sha256_hex(what, strlen(what), info->data_hash);
}

sl_status sl_task_open(sl_lm *m, const sl_world *w, sl_world_split split, const char *hook, sl_act_source **out, sl_err *err)
{
    char own[96];
    sl_hook_id at;
    *out = NULL;
    SL_TRY(sl_task_fits(m, w, err));
    if ((int)split < 0 || split >= SL_WORLD_N_SPLIT)
        return sl_fail(err, SL_ARG, sl_world_about(w)->name, "train, test, ood or all", "split %d", (int)split);
    int64_t layer = sl_world_task(w)->layer, last = m->c.n_layer - 1;
    snprintf(own, sizeof own, "blocks.%lld.hook_resid_post", (long long)(layer < last ? layer : last));
    hook = hook ? hook : own;
    SL_TRY(sl_hook_parse(hook, &m->c, &at, err));
    sl_act_source *src = sl_alloc(m->ctx, sizeof *src);
    source *s = sl_alloc(m->ctx, sizeof *s);
    if (!src || !s) {
        sl_free(m->ctx, src);
        sl_free(m->ctx, s);
        return sl_fail(err, SL_MEM, "task", NULL, "no memory for a source");
    }
    *s = (source){ .m = m, .w = w, .task = sl_world_task(w), .split = split, .at = at, .d = m->c.n_embd, .nf = sl_world_truth_of(w)->n };
    *src = (sl_act_source){ .impl = s, .next = next, .seek = seek, .close = close_source };
    sl_status st = allocate(s, err);
    if (st != SL_OK) {
        close_source(src);
        return st;
    }
    describe(s, hook, &src->info);
    *out = src;
    return SL_OK;
}
