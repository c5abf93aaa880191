/* One pass over held-out rows. */
#include "eval/pass.h"

enum { CHUNK_CODES = 1 << 22, CHUNK_ROWS = 1024 }; /* most latents and rows held at once */

static sl_status rows_wanted(const sl_coder *c, const sl_act_source *rows, int64_t max_rows, int64_t *want, sl_err *err)
{
    const sl_act_info *i = &rows->info;
    if (i->d_in != c->d_in)
        return sl_fail(err, SL_SHAPE, "activations", "rows as wide as the SAE's d_in", "rows of %lld for an SAE of d_in %lld", (long long)i->d_in, (long long)c->d_in);
    if (c->d_out > 0 && i->d_out != c->d_out)
        return sl_fail(err, SL_SHAPE, "activations", "rows with targets as wide as what it predicts", "targets of %lld for a transcoder to %lld", (long long)i->d_out, (long long)c->d_out);
    if (i->n_rows < 0 && max_rows <= 0)
        return sl_fail(err, SL_ARG, "max_rows", "at least 1", "an endless source needs a number of rows");
    *want = i->n_rows < 0 || (max_rows > 0 && max_rows < i->n_rows) ? max_rows : i->n_rows;
    if (*want < 1)
        return sl_fail(err, SL_DATA, "activations", "at least 1 row", "there are no rows to evaluate on");
    return SL_OK;
}

static sl_status walk(const sl_coder *c, sl_act_source *rows, int64_t want, sl_codes *z, float *xhat, void (*see)(void *, const sl_pass_chunk *), void *user, sl_err *err)
{
    SL_TRY(rows->seek(rows, 0, err));
    for (int64_t done = 0; done < want;) {
        sl_act_batch b;
        int64_t ask = want - done < z->n_rows ? want - done : z->n_rows;
        SL_TRY(rows->next(rows, ask, &b, err));
        if (b.n < 1 || b.n > ask)
            return sl_fail(err, SL_SHAPE, "activations", "1 row to as many as asked for", "%lld rows where %lld were asked for", (long long)b.n, (long long)ask);
        SL_TRY(c->encode(c->self, b.x, b.n, z, xhat, err));
        see(user, &(sl_pass_chunk){ c->d_out > 0 ? b.y : b.x, xhat, z, b.doc, b.n, want });
        done += b.n;
    }
    return SL_OK;
}

sl_status sl_eval_pass(sl_ctx *ctx, const sl_coder *c, sl_act_source *rows, int64_t max_rows, void (*see)(void *, const sl_pass_chunk *), void *user,
                       int64_t *n_rows, sl_err *err)
{
    SL_TRY(rows_wanted(c, rows, max_rows, n_rows, err));
    int64_t chunk = CHUNK_CODES / c->max_active;
    chunk = chunk < 16 ? 16 : chunk > CHUNK_ROWS ? CHUNK_ROWS : chunk;
    sl_codes z;
    SL_TRY(sl_codes_new(ctx, chunk, c->max_active, &z, err));
    float *xhat = sl_alloc(ctx, (size_t)(chunk * (c->d_out > 0 ? c->d_out : c->d_in)) * sizeof *xhat);
    sl_status st = xhat ? walk(c, rows, *n_rows, &z, xhat, see, user, err)
                        : sl_fail(err, SL_MEM, "evaluation", NULL, "no memory for %lld rows of %lld", (long long)chunk, (long long)c->d_in);
    sl_free(ctx, xhat);
    sl_codes_release(ctx, &z);
    return st;
}
