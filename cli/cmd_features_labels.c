/* saelab features labels: what people and explainers call features, as CSV in and out. */
#include "cmd.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- CSV (RFC 4180) ---- */

typedef struct reader { const char *path; char *at; int line; } reader;

/* Ends the field at r->at in place and steps over it; *last: it was the last of its line. Quoted fields may hold line ends. */
static sl_status field(reader *r, char **out, bool *last, sl_err *err)
{
    char *to = r->at, where[256];
    bool quoted = *r->at == '"';
    *out = to;
    snprintf(where, sizeof where, "%.200s:%d", r->path, r->line);
    r->at += quoted;
    for (; *r->at; r->at++) {
        r->line += quoted && *r->at == '\n';
        if (quoted && *r->at == '"') {
            if (r->at[1] != '"')
                break;
            r->at++;
        } else if (!quoted && strchr(",\r\n", *r->at))
            break;
        *to++ = *r->at;
    }
    if (quoted && !*r->at)
        return sl_fail(err, SL_DATA, where, "a closing quote", "a quoted field never ends");
    r->at += quoted;
    r->at += r->at[0] == '\r' && r->at[1] == '\n';
    char end = *r->at;
    if (end && end != ',' && end != '\n')
        return sl_fail(err, SL_DATA, where, "a comma or the end of the line", "something follows a quoted field");
    r->at += end != 0;
    *to = 0;
    *last = end != ',';
    r->line += end == '\n';
    return SL_OK;
}

enum { FIELDS = 4 };

/* feature,label,source,score; the last two may be missing. n: how many there were, 0 at an empty line. */
static sl_status record(reader *r, char *f[FIELDS], int *n, sl_err *err)
{
    static char nothing[] = "";
    bool last = false;
    int line = r->line;
    for (*n = 0; !last; ++*n) {
        char *text;
        SL_TRY(field(r, &text, &last, err));
        if (*n == FIELDS) {
            char where[256];
            snprintf(where, sizeof where, "%.200s:%d", r->path, line);
            return sl_fail(err, SL_DATA, where, "feature,label,source,score", "more than four fields");
        }
        f[*n] = text;
    }
    for (int i = *n; i < FIELDS; i++)
        f[i] = nothing;
    *n = *n == 1 && !*f[0] ? 0 : *n;
    return SL_OK;
}

/* ---- import ---- */

static sl_status import_one(const reader *r, int line, char *const f[FIELDS], int n, int64_t n_features, sl_marks *m, sl_err *err)
{
    char where[256];
    int64_t id;
    double score = NAN;
    snprintf(where, sizeof where, "%.200s:%d", r->path, line);
    if (n < 2)
        return sl_fail(err, SL_DATA, where, "feature,label,source,score", "only one field");
    if (!sl_parse_int(f[0], &id) || id < 0 || id >= n_features)
        return sl_fail(err, SL_DATA, where, NULL, "'%.40s' is no feature: they are 0 to %lld", f[0], (long long)n_features - 1);
    if (*f[3] && !sl_parse_number(f[3], &score))
        return sl_fail(err, SL_DATA, where, "a number, or nothing", "the score is '%.40s'", f[3]);
    sl_err why = { 0 };
    sl_status st = sl_marks_label(m, id, f[1], f[2], score, &why);
    return st == SL_OK ? SL_OK : sl_fail(err, st, where, why.expected, "%s%s%s", why.where, *why.where ? " " : "", why.what);
}

static sl_status import_rows(reader *r, int64_t n_features, sl_marks *m, int64_t *count, sl_err *err)
{
    char *f[FIELDS];
    for (bool first = true; *r->at; first = false) {
        int n, line = r->line;
        SL_TRY(record(r, f, &n, err));
        if (n == 0 || (first && strcmp(f[0], "feature") == 0))
            continue;
        SL_TRY(import_one(r, line, f, n, n_features, m, err));
        ++*count;
    }
    return SL_OK;
}

static sl_status import(cli *c, const sl_features *f, sl_marks *m, const char *path, int64_t *count, sl_err *err)
{
    sl_text text;
    SL_TRY(sl_text_file(c->ctx, path, &text, err));
    reader r = { path, text.bytes, 1 };
    if (text.n >= 3 && memcmp(text.bytes, "\xEF\xBB\xBF", 3) == 0)
        r.at += 3; /* a byte order mark */
    sl_status st = strlen(text.bytes) == text.n ? sl_marks_begin(m, err) : sl_fail(err, SL_DATA, path, "a text", "there is a byte 0 in it");
    if (st == SL_OK) {
        st = import_rows(&r, sl_features_about(f)->n_features, m, count, err);
        sl_status end = sl_marks_end(m, st == SL_OK, st == SL_OK ? err : NULL);
        st = st == SL_OK ? end : st;
    }
    sl_text_release(c->ctx, &text);
    return st;
}

/* ---- export ---- */

typedef struct buffer { char *s; size_t n, room; bool full; } buffer;

static void put(buffer *b, const char *s, size_t n)
{
    if (b->n + n + 1 > b->room && !b->full) {
        size_t room = 2 * (b->n + n) + 4096;
        char *more = realloc(b->s, room);
        b->full = !more;
        b->s = more ? more : b->s;
        b->room = more ? room : b->room;
    }
    if (b->full)
        return;
    memcpy(b->s + b->n, s, n);
    b->n += n;
    b->s[b->n] = 0;
}

static void put_field(buffer *b, const char *s)
{
    bool quoted = strpbrk(s, ",\"\r\n") != NULL;
    put(b, "\"", quoted);
    for (; *s; s++)
        put(b, *s == '"' ? "\"\"" : s, *s == '"' ? 2 : 1);
    put(b, "\"", quoted);
}

typedef struct listing { buffer b; int64_t count; } listing;

static void put_label(void *user, int64_t id, const sl_label *l)
{
    listing *x = user;
    char text[64];
    put(&x->b, text, (size_t)snprintf(text, sizeof text, "%lld,", (long long)id));
    put_field(&x->b, l->text);
    put(&x->b, ",", 1);
    put_field(&x->b, l->source);
    put(&x->b, text, (size_t)(l->has_score ? snprintf(text, sizeof text, ",%.17g\r\n", l->score) : snprintf(text, sizeof text, ",\r\n")));
    x->count++;
}

static sl_status export(sl_marks *m, const char *path, int64_t *count, sl_err *err)
{
    listing x = { .count = 0 };
    put(&x.b, "feature,label,source,score\r\n", 28);
    sl_status st = sl_marks_labels(m, put_label, &x, err);
    if (st == SL_OK)
        st = x.b.full ? sl_fail(err, SL_MEM, path, NULL, "no memory for the labels") : out_file(path, x.b.s, err);
    *count = x.count;
    free(x.b.s);
    return st;
}

/* ---- the command ---- */

static sl_status labels(cli *c, sl_err *err)
{
    bool in = strcmp(c->args[0], "import") == 0;
    sl_features *f;
    sl_marks *m = NULL;
    int64_t count = 0;
    if (!in && strcmp(c->args[0], "export") != 0)
        return sl_fail(err, SL_ARG, c->args[0], "import or export", "what is to be done with the labels?");
    SL_TRY(sl_features_open(c->ctx, c->args[1], false, &f, err));
    sl_status st = sl_marks_open(c->ctx, sl_features_about(f)->dir, &m, err);
    if (st == SL_OK)
        st = in ? import(c, f, m, c->args[2], &count, err) : export(m, c->args[2], &count, err);
    if (st == SL_OK) {
        say(c, "%lld labels %s %s\n", (long long)count, in ? "read from" : "written to", c->args[2]);
        c->result = json_pack("{s:I, s:s}", "labels", (json_int_t)count, "path", c->args[2]);
        next_step(c, "saelab serve %s", c->args[1]);
    }
    sl_marks_close(m);
    sl_features_close(f);
    return st;
}

const command CMD_FEATURES_LABELS = {
    .name = "features labels", .args = "IMPORT|EXPORT SAE FILE", .min_args = 3, .max_args = 3, .what = "Read or write what features are called.",
    .text = "CSV with the fields feature, label, source and score, so that any explainer can be plugged in: source says who or what explained it, score (which may be "
            "missing) how well. One label a feature and source: a later one replaces it, an empty one removes it. All of a file is taken, or nothing.",
    .examples = "  saelab features labels import my_sae labels.csv\n  saelab features labels export my_sae labels.csv\n", .run = labels,
};
