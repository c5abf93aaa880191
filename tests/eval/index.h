/* Building an index in a test and looking into it. */
#ifndef SL_TEST_INDEX_H
#define SL_TEST_INDEX_H

#include "support.h"

#include <saelab/features.h>
#include <string.h>

static inline sl_features_opts defaults(void)
{
    sl_features_opts o;
    sl_opts_default(sl_features_options, &o);
    return o;
}

/* Builds into a fresh folder and opens it, checked. */
static inline sl_features *built(sl_ctx *ctx, const sl_features_input *in, const sl_features_opts *o, const char *name, sl_features_built *b)
{
    sl_err err;
    sl_features *f;
    const char *dir = sl_test_dir(name);
    sl_assert_ok(sl_features_build(ctx, in, o, dir, b, &err));
    sl_assert_ok(sl_features_open(ctx, dir, true, &f, &err));
    return f;
}

static inline double column(const sl_features *f, const char *name, int64_t id)
{
    const sl_features_column *c = sl_features_column_find(f, name);
    if (!c)
        fail_msg("no column %s", name);
    return sl_features_value(c, id);
}

static inline sl_feature feature(const sl_features *f, int64_t id)
{
    sl_err err;
    sl_feature j;
    sl_assert_ok(sl_features_get(f, id, &j, &err));
    return j;
}

static inline sl_context context(const sl_features *f, const sl_feature *j, int i)
{
    sl_context x;
    sl_features_context(f, j->first_context + i, &x);
    assert_int_equal(x.feature, j->id);
    return x;
}

static inline int count(const sl_features *f, const sl_feature *j, sl_context_kind kind)
{
    int n = 0;
    for (int i = 0; i < j->n_contexts; i++)
        n += context(f, j, i).kind == kind;
    return n;
}

static inline void is_string(const sl_features *f, int32_t id, const char *text)
{
    size_t n;
    const char *s = sl_features_string(f, id, &n);
    if (n != strlen(text) || memcmp(s, text, n) != 0)
        fail_msg("string %d is '%.*s', not '%s'", (int)id, (int)n, s, text);
}

#endif
