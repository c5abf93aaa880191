/* Activations of a hook point, document by document, into a store: one row a token, with token id, document and position. */
#include "lm/gpt.h"

#include <stdio.h>
#include <string.h>

typedef struct capture {
    sl_lm *m;
    const sl_corpus *c;
    int64_t first, end; /* documents */
    sl_hook_id at;
    sl_token_noise noise;
    int drop;           /* leading positions left out of every window: 0 or 1 */
    int64_t most;       /* windows a pass */
    int64_t n_rows;     /* rows to store */
    int64_t done;
    sl_acts_writer *store;
    int32_t *ids;                    /* [most, T] windows, zero after their end */
    int32_t *token, *doc, *pos;      /* [most * T] of the rows kept */
    struct window { int64_t doc, start, len; } *w; /* [most]; start: offset in the document */
    int64_t n_w;
} capture;

/* Rows that a document of n tokens gives: windows of T, each without its first `drop` positions. */
static int64_t rows_of(int64_t n, int64_t T, int drop)
{
    int64_t whole = n / T, rest = n % T;
    return whole * (T - drop) + (rest > drop ? rest - drop : 0);
}

static int64_t rows_there(const capture *k)
{
    int64_t rows = 0;
    for (int64_t d = k->first; d < k->end; d++)
        rows += rows_of(k->c->doc[d + 1] - k->c->doc[d], k->m->c.block_size, k->drop);
    return rows;
}

/* Keeps the wanted rows of the pass in front of x [n_w, T, C] (in place) and fills token, doc and pos. Returns how many. */
static int64_t keep_rows(capture *k, float *x)
{
    int64_t T = k->m->c.block_size, C = k->m->c.n_embd, n = 0;
    for (int64_t i = 0; i < k->n_w; i++)
        for (int64_t t = k->drop; t < k->w[i].len && k->done + n < k->n_rows; t++, n++) {
            memmove(x + n * C, x + (i * T + t) * C, (size_t)C * sizeof *x);
            k->token[n] = k->c->ids[k->c->doc[k->w[i].doc] + k->w[i].start + t];
            k->doc[n] = (int32_t)k->w[i].doc;
            k->pos[n] = (int32_t)(k->w[i].start + t);
        }
    return n;
}

static sl_status flush(capture *k, sl_err *err)
{
    if (k->n_w == 0)
        return SL_OK;
    int64_t T = k->m->c.block_size;
    sl_tape *t = k->m->tape;
    sl_tensor ids = sl_tensor_of(SL_I32, k->ids, 2, k->n_w, T);
    sl_tape_reset(t);
    sl_var v = sl_gpt_site(t, k->m, &ids, k->at);
    SL_TRY(sl_tape_status(t, err));
    int64_t n = keep_rows(k, sl_value(t, v)->data);
    SL_TRY(sl_acts_append(k->store, sl_value(t, v)->data, n, k->token, k->doc, k->pos, err));
    k->done += n;
    k->n_w = 0;
    sl_progress(k->m->ctx, "capture", (double)k->done, (double)k->n_rows, "tokens", NULL);
    if (sl_cancelled(k->m->ctx))
        return sl_fail(err, SL_CANCELLED, "capture", NULL, "stopped by a signal after %lld rows", (long long)k->done);
    return SL_OK;
}

static sl_status run(capture *k, sl_err *err)
{
    int64_t T = k->m->c.block_size;
    for (int64_t d = k->first; d < k->end && k->done < k->n_rows; d++)
        for (int64_t from = k->c->doc[d]; from < k->c->doc[d + 1] && k->done < k->n_rows; from += T) {
            int64_t left = k->c->doc[d + 1] - from, len = left < T ? left : T;
            int32_t *row = k->ids + k->n_w * T;
            memset(row, 0, (size_t)T * sizeof *row);
            memcpy(row, k->c->ids + from, (size_t)len * sizeof *row);
            sl_token_noise_apply(&k->noise, k->m->c.vocab_size, from, 0, row, len);
            k->w[k->n_w].doc = d;
            k->w[k->n_w].start = from - k->c->doc[d];
            k->w[k->n_w].len = len;
            if (++k->n_w == k->most)
                SL_TRY(flush(k, err));
        }
    return k->done < k->n_rows ? flush(k, err) : SL_OK;
}

static sl_status check(const capture *k, sl_err *err)
{
    if (k->first < 0 || k->end > k->c->n_docs || k->first >= k->end)
        return sl_fail(err, SL_ARG, k->c->name, "documents of the corpus", "documents %lld to %lld of %lld", (long long)k->first,
                       (long long)k->end, (long long)k->c->n_docs);
    return sl_lm_check_ids(k->m, k->c->ids + k->c->doc[k->first], k->c->doc[k->end] - k->c->doc[k->first], err);
}

static sl_status allocate(capture *k, sl_err *err)
{
    size_t n = (size_t)(k->most * k->m->c.block_size);
    k->ids = sl_alloc(k->m->ctx, n * sizeof *k->ids);
    k->token = sl_alloc(k->m->ctx, n * sizeof *k->token);
    k->doc = sl_alloc(k->m->ctx, n * sizeof *k->doc);
    k->pos = sl_alloc(k->m->ctx, n * sizeof *k->pos);
    k->w = sl_alloc(k->m->ctx, (size_t)k->most * sizeof *k->w);
    return k->ids && k->token && k->doc && k->pos && k->w ? SL_OK : sl_fail(err, SL_MEM, "capture", NULL, "out of memory");
}

static void release(capture *k)
{
    sl_ctx *ctx = k->m->ctx;
    sl_free(ctx, k->ids);
    sl_free(ctx, k->token);
    sl_free(ctx, k->doc);
    sl_free(ctx, k->pos);
    sl_free(ctx, k->w);
}

static sl_status open_store(capture *k, const char *model_name, const char *hook, const sl_acts_opts *o, const char *dir, sl_err *err)
{
    sl_act_info info = { .n_rows = k->n_rows, .d_in = k->m->c.n_embd, .has_tokens = true };
    snprintf(info.hook, sizeof info.hook, "%s", hook);
    snprintf(info.model, sizeof info.model, "%s", model_name);
    snprintf(info.dataset, sizeof info.dataset, "%s", k->c->name);
    return sl_acts_create(k->m->ctx, dir, &info, k->n_rows, o, &k->store, err);
}

sl_status sl_lm_capture(sl_lm *m, const char *model_name, const sl_corpus *c, int64_t first_doc, int64_t end_doc, const char *hook,
                        const sl_capture_config *cc, const char *dir, sl_err *err)
{
    int64_t T = m->c.block_size;
    capture k = { .m = m, .c = c, .first = first_doc, .end = end_doc, .noise = cc->noise, .drop = cc->drop_first };
    k.most = cc->batch > 0 ? cc->batch : T < 4096 ? 4096 / T : 1;
    sl_status st;
    SL_TRY(sl_hook_parse(hook, &m->c, &k.at, err));
    SL_TRY(check(&k, err));
    SL_TRY(sl_token_noise_check(&cc->noise, m->c.vocab_size, err));
    int64_t there = rows_there(&k);
    k.n_rows = cc->n_tokens > 0 && cc->n_tokens < there ? cc->n_tokens : there;
    if (k.n_rows == 0)
        return sl_fail(err, SL_DATA, c->name, "at least one token", "documents %lld to %lld give no rows", (long long)first_doc,
                       (long long)end_doc);
    sl_tape_no_grad(m->tape, true);
    SL_GO(allocate(&k, err));
    SL_GO(open_store(&k, model_name, hook, &cc->store, dir, err));
    st = run(&k, err);
    if (st == SL_OK)
        st = sl_acts_finish(k.store, err);
    else
        sl_acts_abort(k.store);
done:
    sl_tape_no_grad(m->tape, false);
    sl_tape_reset(m->tape);
    release(&k);
    return st;
}
