/* What the tasks share: tokens, instances and their splits. */
#include "data/worlds/world.h"
#include "io/io.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { TEST_SHARE = 10 }; /* one instance in ten belongs to TEST, by a hash of its tokens */

sl_status sl_task_build(sl_world *w, const sl_task_token *table, int64_t vocab, int64_t T, int64_t n_features, sl_world_feature **out, sl_err *err)
{
    char text[256];
    size_t n = 0;
    const char **word = sl_world_alloc(w, (size_t)vocab * sizeof *word);
    *out = sl_world_alloc(w, (size_t)n_features * sizeof **out);
    if (!word || !*out)
        return sl_world_no_memory(w, err);
    for (int64_t i = 0; i < vocab; i++) {
        word[i] = table[i].word;
        memcpy(text + n, table[i].character, strlen(table[i].character));
        n += strlen(table[i].character);
    }
    sl_tok *tok;
    SL_TRY(sl_tok_new(w->ctx, SL_TOK_CHAR, text, n, &tok, err));
    w->task.tok = tok;
    w->task.word = word;
    w->task.vocab = vocab;
    w->task.T = T;
    w->task.layer = 1;
    w->truth.n = n_features;
    w->truth.feature = *out;
    return SL_OK;
}

void sl_task_feature(sl_world_feature *f, int32_t order, int32_t family, int n_atom, const int32_t *atom, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(f->name, sizeof f->name, fmt, ap);
    va_end(ap);
    f->order = order;
    f->family = family;
    f->n_atom = n_atom;
    for (int i = 0; i < n_atom; i++)
        f->atom[i] = atom[i];
}

uint8_t *sl_task_withhold(sl_world *w, int64_t n, int64_t k)
{
    uint8_t *out = sl_world_alloc(w, (size_t)n);
    sl_rng r = sl_world_rng(w, SL_USE_TRUTH, 0, 0);
    for (int64_t left = k; out && left > 0;) {
        uint64_t i = sl_rng_below(&r, (uint64_t)n);
        left -= !out[i];
        out[i] = 1;
    }
    return out;
}

static bool belongs(const sl_world *w, sl_world_split split, const int32_t *tokens)
{
    if (split == SL_WORLD_ALL)
        return true;
    bool withheld = w->ops->withheld(w, tokens);
    if (withheld || split == SL_WORLD_OOD)
        return withheld && split == SL_WORLD_OOD;
    bool test = sl_xxh64(tokens, (size_t)w->task.T * sizeof *tokens) % TEST_SHARE == 0;
    return test == (split == SL_WORLD_TEST);
}

static sl_status need_task(const sl_world *w, sl_err *err)
{
    if (w->ops->info.kind == SL_WORLD_TASK)
        return SL_OK;
    return sl_fail(err, SL_ARG, w->ops->info.name, "a task of `saelab world list`", "a superposition world has rows, not instances");
}

sl_status sl_task_instances(const sl_world *w, sl_world_split split, int64_t first, int64_t n, int32_t *tokens, uint8_t *uses, sl_err *err)
{
    SL_TRY(need_task(w, err));
    if ((int)split < 0 || split >= SL_WORLD_N_SPLIT || first < 0)
        return sl_fail(err, SL_ARG, w->ops->info.name, "train, test, ood or all, from instance 0", "split %d, instance %lld", (int)split, (long long)first);
    int64_t T = w->task.T;
    for (int64_t i = 0; i < n; i++) {
        sl_rng r = sl_world_rng(w, SL_USE_TASK, split, (uint64_t)(first + i));
        do {
            memset(tokens + i * T, 0, (size_t)T * sizeof *tokens);
            memset(uses + i * T, 0, (size_t)T);
            w->ops->instance(w, &r, tokens + i * T, uses + i * T);
        } while (!belongs(w, split, tokens + i * T));
    }
    return SL_OK;
}

sl_status sl_task_labels(const sl_world *w, const int32_t *tokens, uint8_t *on, uint8_t *unknown, sl_err *err)
{
    SL_TRY(need_task(w, err));
    size_t cells = (size_t)(w->task.T * w->truth.n);
    memset(on, 0, cells);
    memset(unknown, 0, cells);
    for (int64_t t = 0; t < w->task.T; t++)
        if (tokens[t] < 0 || tokens[t] >= w->task.vocab)
            return sl_fail(err, SL_DATA, w->ops->info.name, "a token of the task", "token %lld is %d", (long long)t, (int)tokens[t]);
    if (!w->ops->labels(w, tokens, on, unknown))
        return sl_fail(err, SL_DATA, w->ops->info.name, "an instance of the task", "these tokens are none");
    return SL_OK;
}
