/* The logit lens: what a feature's direction in the residual stream does to the logits, past the last norm's gain:
 *   logits_j = W_U (g * (d_j - mean d_j))      d_j decoder row, g gain of the last norm, W_U unembedding; RMS norm: without the mean
 * (nostalgebraist 2020, "interpreting GPT: the logit lens"; the folding of the norm as TransformerLens does it). */
#include "eval/features.h"
#include "kern/kern.h"
#include "lm/gpt.h"

#include <math.h>

static bool fits(const sl_fbuild *b)
{
    const sl_lm_config *c = b->in->lm ? sl_lm_cfg(b->in->lm) : NULL;
    return c && b->in->tok && c->n_embd == sl_fbuild_width(b) && c->vocab_size <= sl_tok_vocab(b->in->tok) && sl_fbuild_kind(b) == SL_ROWS_TOKENS;
}

/* g * (d - mean d) of features first .. first + n - 1. */
static void folded_rows(const sl_fbuild *b, int64_t first, int64_t n, float *out)
{
    const sl_lm *m = b->in->lm;
    const float *gain = m->ln_f_w->value.data;
    int64_t C = m->c.n_embd;
    for (int64_t r = 0; r < n; r++) {
        const float *d = b->coder.W_dec + (first + r) * C;
        double mean = 0;
        for (int64_t i = 0; i < C; i++)
            mean += d[i];
        mean = m->c.norm == SL_LM_LAYERNORM ? mean / (double)C : 0;
        for (int64_t i = 0; i < C; i++)
            out[r * C + i] = (float)(gain[i] * (d[i] - mean));
    }
}

static void histogram(sl_fbuild *b, int64_t j, const float *v, int64_t V)
{
    int32_t *hist = b->x.logit_hist + j * SL_FEATURE_BINS;
    float lo = v[0], hi = v[0];
    for (int64_t i = 1; i < V; i++) {
        lo = v[i] < lo ? v[i] : lo;
        hi = v[i] > hi ? v[i] : hi;
    }
    b->x.logit_min[j] = lo;
    b->x.logit_max[j] = hi;
    float step = hi - lo > 1e-20f ? SL_FEATURE_BINS / (hi - lo) : 0;
    for (int64_t i = 0; i < V; i++) {
        int bin = (int)((v[i] - lo) * step);
        hist[bin < SL_FEATURE_BINS ? bin : SL_FEATURE_BINS - 1]++;
    }
}

static void keep_logits(sl_fbuild *b, int64_t first, int64_t n, const float *logits, int64_t V)
{
    int64_t L = b->x.size[FD_LENS];
#pragma omp parallel for num_threads(sl_ctx_threads(b->ctx)) schedule(static)
    for (int64_t r = 0; r < n; r++) {
        int64_t j = first + r;
        const float *v = logits + r * V;
        sl_fbest up = { .room = (int)L, .id = b->x.up + j * L, .value = b->x.up_logit + j * L };
        sl_fbest down = { .room = (int)L, .id = b->x.down + j * L, .value = b->x.down_logit + j * L };
        for (int64_t i = 0; i < V; i++) {
            if (up.n < L || v[i] > up.value[L - 1])
                sl_fbest_add(&up, (int32_t)i, v[i]);
            if (down.n < L || -v[i] > down.value[L - 1])
                sl_fbest_add(&down, (int32_t)i, -v[i]);
        }
        for (int i = 0; i < down.n; i++)
            down.value[i] = -down.value[i];
        histogram(b, j, v, V);
    }
}

static sl_status make_arrays(sl_fbuild *b, int64_t V, sl_err *err)
{
    sl_findex *x = &b->x;
    void *all[] = { &x->up, &x->down, &x->up_logit, &x->down_logit, &x->logit_hist, &x->logit_min, &x->logit_max };
    x->size[FD_LENS] = V < SL_FEATURE_LENS ? V : SL_FEATURE_LENS;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        SL_TRY(sl_findex_make(b->ctx, x, all[i], err));
    return SL_OK;
}

sl_status sl_fbuild_lens(sl_fbuild *b, sl_err *err)
{
    if (!fits(b))
        return SL_OK;
    int64_t F = b->x.size[FD_FEATURES], C = b->in->lm->c.n_embd, V = b->in->lm->c.vocab_size, tile = sl_fproduct_rows(F, V);
    const sl_kern *k;
    SL_TRY(sl_kern_get(b->ctx, SL_F32, &k, err));
    SL_TRY(make_arrays(b, V, err));
    float *rows = sl_alloc(b->ctx, (size_t)(tile * C) * sizeof *rows), *logits = sl_alloc(b->ctx, (size_t)(tile * V) * sizeof *logits);
    sl_status st = rows && logits ? SL_OK : sl_fail(err, SL_MEM, "feature index", NULL, "no memory for the logits of %lld features", (long long)tile);
    for (int64_t first = 0; st == SL_OK && first < F; first += tile) {
        int64_t n = F - first < tile ? F - first : tile;
        sl_tensor a = sl_tensor_of(SL_F32, rows, 2, n, C), c = sl_tensor_of(SL_F32, logits, 2, n, V);
        folded_rows(b, first, n, rows);
        k->gemm(k, &(sl_gemm){ .a = &a, .b = &b->in->lm->head->value, .tb = true, .c = &c, .alpha = 1 });
        keep_logits(b, first, n, logits, V);
        sl_progress(b->ctx, "logit lens", (double)(first + n), (double)F, "features", NULL);
        if (sl_kern_failed(k))
            st = sl_fail(err, SL_MEM, "feature index", NULL, "no memory for the logits");
        else if (sl_cancelled(b->ctx))
            st = sl_fail(err, SL_CANCELLED, "feature index", NULL, "stopped");
    }
    sl_free(b->ctx, rows);
    sl_free(b->ctx, logits);
    return st;
}
