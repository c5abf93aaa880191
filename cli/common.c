/* What several commands do: texts, splits, what a folder was made from. */
#include "cmd.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

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
    sl_err why = { 0 };
    st = sl_corpus_new(c->ctx, &t, kind, tok, out, &why);
    if (st != SL_OK) {
        char where[256];
        snprintf(where, sizeof where, "%.120s%s%.120s", t.path[0] ? t.path : t.name, why.where[0] ? ": " : "", why.where);
        sl_fail(err, st, where, why.expected, "%s", why.what);
    }
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

/* ---- the end of a training ---- */

static void remove_checkpoints(const char *dir)
{
    char folder[1100], path[1400];
    snprintf(folder, sizeof folder, "%.1000s/checkpoints", dir);
    DIR *d = opendir(folder);
    for (struct dirent *e = d ? readdir(d) : NULL; e; e = readdir(d)) {
        snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
        if (e->d_name[0] != '.')
            unlink(path);
    }
    if (d)
        closedir(d);
    rmdir(folder);
}

sl_status training_done(cli *c, const char *dir, sl_err *err)
{
    char path[1100];
    snprintf(path, sizeof path, "%.1000s/result.json", dir);
    char *text = c->result ? json_dumps(c->result, JSON_INDENT(2) | JSON_PRESERVE_ORDER | JSON_REAL_PRECISION(17)) : NULL;
    sl_status st = text ? out_file(path, text, err) : sl_fail(err, SL_MEM, path, NULL, "no memory for the result");
    free(text);
    if (st == SL_OK)
        remove_checkpoints(dir);
    return st;
}

bool training_was_done(cli *c, const char *dir)
{
    char path[1100], value[64];
    const char *key;
    json_t *v;
    snprintf(path, sizeof path, "%.1000s/result.json", dir);
    c->result = json_load_file(path, 0, NULL);
    if (!c->result)
        return false;
    sl_log(c->ctx, SL_LOG_INFO, "%s: finished already, nothing to do", dir);
    json_object_foreach(c->result, key, v) {
        if (json_is_object(v) || json_is_array(v))
            continue;
        if (json_is_string(v) || json_is_boolean(v))
            snprintf(value, sizeof value, "%.60s", json_is_string(v) ? json_string_value(v) : json_is_true(v) ? "yes" : "no");
        else
            snprintf(value, sizeof value, "%.6g", json_number_value(v));
        say(c, "%-18s %s\n", key, value);
    }
    return true;
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

bool on_path(const char *program)
{
    const char *path = getenv("PATH");
    char file[1200];
    while (path && *path) {
        size_t n = strcspn(path, ":");
        snprintf(file, sizeof file, "%.*s/%s", (int)n, path, program);
        if (access(file, X_OK) == 0)
            return true;
        path += n + (path[n] == ':');
    }
    return false;
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
