/* Windows of text: random ones for training and its evaluations, consecutive ones for sl_lm_eval. */
#include "lm/gpt.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

int64_t sl_lm_micro_rows(int64_t rows, int64_t T, int64_t tokens)
{
    int64_t best = 1;
    for (int64_t d = 2; d <= rows; d++)
        if (rows % d == 0 && d * T <= tokens)
            best = d;
    return best;
}

void sl_lm_windows(const sl_windows *w, uint64_t iter, int64_t r0, const sl_tensor *x, const sl_tensor *y)
{
    int64_t T = sl_cols(x);
    for (int64_t i = 0; i < sl_rows(x); i++) {
        sl_rng r = sl_rng_at(w->seed, w->purpose, iter, (uint64_t)(r0 + i));
        const int32_t *from = w->ids + sl_rng_below(&r, (uint64_t)(w->n - T));
        memcpy((int32_t *)x->data + i * T, from, (size_t)T * sizeof *from);
        memcpy((int32_t *)y->data + i * T, from + 1, (size_t)T * sizeof *from);
    }
}

sl_status sl_lm_check_ids(const sl_lm *m, const int32_t *ids, int64_t n, sl_err *err)
{
    for (int64_t i = 0; i < n; i++)
        if (ids[i] < 0 || ids[i] >= m->c.vocab_size) {
            char where[64];
            snprintf(where, sizeof where, "token %lld", (long long)i);
            return sl_fail(err, SL_DATA, where, "an id of the model's vocabulary", "id %d of %lld", (int)ids[i],
                           (long long)m->c.vocab_size);
        }
    return SL_OK;
}

/* Windows first..first+rows of ids, with their successors. */
static void consecutive(const int32_t *ids, int64_t first, const sl_tensor *x, const sl_tensor *y)
{
    size_t bytes = (size_t)sl_numel(x) * sizeof *ids;
    memcpy(x->data, ids + first * sl_cols(x), bytes);
    memcpy(y->data, ids + first * sl_cols(x) + 1, bytes);
}

static sl_status eval_windows(sl_lm *m, const int32_t *ids, int64_t n_windows, int32_t *space, double *loss, sl_err *err)
{
    int64_t T = m->c.block_size, most = sl_lm_micro_rows(1 << 12, T, 1 << 12);
    double sum = 0;
    for (int64_t w = 0; w < n_windows; w += most) {
        int64_t rows = n_windows - w < most ? n_windows - w : most;
        sl_tensor x = sl_tensor_of(SL_I32, space, 2, rows, T), y = sl_tensor_of(SL_I32, space + most * T, 2, rows, T);
        consecutive(ids, w, &x, &y);
        sl_tape_reset(m->tape);
        double mean = sl_scalar(m->tape, sl_gpt_loss(m->tape, m, &x, &y, NULL));
        SL_TRY(sl_tape_status(m->tape, err));
        if (!isfinite(mean)) {
            const sl_param *bad = sl_gpt_bad_param(m);
            return sl_fail(err, SL_NUMERIC, bad ? bad->name : "loss", "finite weights", "the loss of window %lld is %g", (long long)w, mean);
        }
        sum += mean * (double)rows;
        if (sl_cancelled(m->ctx))
            return sl_fail(err, SL_CANCELLED, "evaluation", NULL, "stopped by a signal");
        sl_progress(m->ctx, "evaluate lm", (double)(w + rows), (double)n_windows, "windows", NULL);
    }
    *loss = sum / (double)n_windows;
    return SL_OK;
}

sl_status sl_lm_eval(sl_lm *m, const int32_t *ids, int64_t n, double *loss, int64_t *n_scored, sl_err *err)
{
    int64_t T = m->c.block_size, n_windows = (n - 1) / T;
    if (n < T + 1)
        return sl_fail(err, SL_DATA, "text", "more tokens than the model's block_size", "%lld tokens, block_size %lld", (long long)n,
                       (long long)T);
    SL_TRY(sl_lm_check_ids(m, ids, n, err));
    int32_t *space = sl_alloc(m->ctx, 2 * sizeof *space * (size_t)(T * sl_lm_micro_rows(1 << 12, T, 1 << 12)));
    if (!space)
        return sl_fail(err, SL_MEM, "evaluation", NULL, "out of memory");
    sl_tape_no_grad(m->tape, true);
    sl_status st = eval_windows(m, ids, n_windows, space, loss, err);
    sl_tape_no_grad(m->tape, false);
    sl_tape_reset(m->tape);
    sl_free(m->ctx, space);
    if (n_scored)
        *n_scored = n_windows * T;
    return st;
}
