/* What several commands do: texts, splits, what a folder was made from. */
#include "cmd.h"

#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

const char *const SPLITS[] = { "train", "val", "test", "all", NULL };

sl_status corpus_open(cli *c, const char *text, const char *dataset, sl_tok_kind kind, sl_tok *tok, sl_corpus *out, sl_err *err)
{
    sl_text t = { 0 };
    sl_status st = text ? sl_text_file(c->ctx, text, &t, err) : sl_text_find(c->ctx, dataset, true, &t, err);
    if (st != SL_OK) {
        sl_tok_free(tok);
        return st;
    }
    if (t.note[0])
        sl_log(c->ctx, SL_LOG_WARN, "%s", t.note);
    st = sl_corpus_new(c->ctx, &t, kind, tok, out, err);
    sl_text_release(c->ctx, &t);
    return st;
}

void split_tokens(const sl_corpus *corpus, split s, int64_t *begin, int64_t *end)
{
    *begin = s == SPLIT_VAL ? corpus->train_end : s == SPLIT_TEST ? corpus->val_end : 0;
    *end = s == SPLIT_TRAIN ? corpus->train_end : s == SPLIT_VAL ? corpus->val_end : corpus->n;
}

void split_docs(const sl_corpus *corpus, split s, int64_t *first, int64_t *end)
{
    int64_t a, b;
    split_tokens(corpus, s, &a, &b);
    for (*first = 0; *first < corpus->n_docs && corpus->doc[*first] < a; ++*first)
        ;
    for (*end = *first; *end < corpus->n_docs && corpus->doc[*end] < b; ++*end)
        ;
}

const char *trained_on(cli *c, const char *dir, const char *key)
{
    char path[1100];
    sl_yaml *y;
    sl_err err;
    snprintf(path, sizeof path, "%.1000s/config.yaml", dir);
    if (sl_yaml_load(c->words, path, &y, &err) != SL_OK)
        return NULL; /* a model from elsewhere has none */
    sl_ynode n = sl_ynode_get(sl_yaml_root(y), key);
    const char *text = sl_ynode_text(n) && !sl_ynode_is_null(n) ? sl_intern(c->words, sl_ynode_text(n)) : NULL;
    sl_yaml_free(y);
    return text;
}

/* The folder may not be there yet: asks the nearest parent that is. */
sl_status free_space(const char *dir, int64_t need_bytes, sl_err *err)
{
    char p[1024], need[32], have[32];
    struct statvfs v;
    snprintf(p, sizeof p, "%s", dir);
    while (statvfs(p, &v) != 0) {
        char *slash = strrchr(p, '/');
        if (!slash || slash == p)
            snprintf(p, sizeof p, "%s", slash ? "/" : ".");
        else
            *slash = 0;
        if (strcmp(p, ".") == 0 || strcmp(p, "/") == 0) {
            if (statvfs(p, &v) != 0)
                return SL_OK; /* cannot be known: the writing will tell */
            break;
        }
    }
    int64_t bytes = (int64_t)v.f_bavail * (int64_t)v.f_frsize;
    if (need_bytes <= bytes)
        return SL_OK;
    return sl_fail(err, SL_IO, dir, "a larger disk, or fewer tokens", "%s are needed and %s are free", text_bytes(need, need_bytes), text_bytes(have, bytes));
}

json_t *option_json(const sl_opt *o, const void *cfg)
{
    const void *p = (const char *)cfg + o->offset;
    char text[256];
    switch (o->type) {
    case SL_T_INT: return json_integer((json_int_t)*(const int64_t *)p);
    case SL_T_FLOAT: return json_real_or_null(*(const double *)p);
    case SL_T_BOOL: return json_boolean(*(const bool *)p);
    default: break;
    }
    sl_opts_text(o, cfg, text, sizeof text);
    return *text ? json_string(text) : json_null();
}

json_t *json_text(const char *bytes, size_t n)
{
    json_t *j = json_stringn(bytes, n);
    char *copy = j ? NULL : malloc(n + 1);
    if (!copy)
        return j;
    for (size_t i = 0; i < n; i++)
        copy[i] = (unsigned char)bytes[i] < 0x80 ? bytes[i] : '?';
    j = json_stringn(copy, n);
    free(copy);
    return j;
}
