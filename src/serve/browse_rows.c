/* Lists: the sets that are open, rows of the table, densities. */
#include "base/utf8.h"
#include "serve/browse.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { ROWS = 200, BINS = 60 };
#define DENSE .1       /* fires on more than a tenth of the tokens */
#define LOWEST -7.     /* log10 of the density at the left end of the histogram */

/* ---- values ---- */

json_t *sl__json_number(double v) { return isfinite(v) ? json_real(v) : json_null(); }

/* Whole characters as they are; a byte that is part of none as \xNN, so that byte tokens can be told apart. */
json_t *sl__json_bytes(const char *s, size_t n)
{
    char out[4096];
    size_t o = 0;
    for (size_t i = 0; i < n && o + 8 < sizeof out;) {
        uint32_t cp;
        size_t k = sl_utf8_decode(s + i, n - i, &cp);
        if (k && cp != 0) {
            memcpy(out + o, s + i, k);
            o += k;
            i += k;
        } else
            o += (size_t)snprintf(out + o, sizeof out - o, "\\x%02x", (unsigned char)s[i++]);
    }
    return json_stringn(out, o);
}

json_t *sl__json_string(const sl_features *f, int32_t id)
{
    size_t n;
    const char *s = sl_features_string(f, id, &n);
    return sl__json_bytes(s, n);
}

static json_t *value_of(const sl__set *s, const sl_features_column *c, int64_t id)
{
    double v = sl_features_value(c, id);
    if (c->type == SL_COLUMN_STRING)
        return isnan(v) ? json_null() : sl__json_string(s->f, ((const int32_t *)c->v)[id]);
    if (c->type == SL_COLUMN_INT && !isnan(v))
        return json_integer((json_int_t)v);
    return sl__json_number(v);
}

/* ---- sets ---- */

/* Over the features that have a value; null: none has, or it is no real number. */
static json_t *mean_of(const sl__set *s, const sl_features_column *c)
{
    double sum = 0, n = 0;
    for (int64_t id = 0; c->type == SL_COLUMN_REAL && id < s->about->n_features; id++) {
        double v = sl_features_value(c, id);
        sum += isnan(v) ? 0 : v;
        n += !isnan(v);
    }
    return sl__json_number(n > 0 ? sum / n : NAN);
}

static json_t *set_json(const sl__set *s)
{
    static const char *const kinds[] = { [SL_ROWS_TOKENS] = "tokens", [SL_ROWS_LABELS] = "labels", [SL_ROWS_WORLD] = "world", [SL_ROWS_PLAIN] = "plain" };
    const sl_features_info *a = s->about;
    int n;
    const sl_features_column *c = sl_features_columns(s->f, &n);
    json_t *columns = json_array();
    for (int i = 0; i < n; i++)
        json_array_append_new(columns, json_pack("{s:s, s:s, s:s, s:o, s:s}", "name", c[i].name, "title", c[i].title, "help", c[i].help, "mean", mean_of(s, &c[i]), "type",
                                                 c[i].type == SL_COLUMN_STRING ? "text" : c[i].type == SL_COLUMN_INT ? "int" : "real"));
    return json_pack("{s:s, s:I, s:I, s:s, s:s, s:s, s:s, s:s, s:s, s:b, s:b, s:b, s:b, s:i, s:o}", "name", s->name, "features", (json_int_t)a->n_features, "rows",
                     (json_int_t)a->n_rows, "kind", kinds[a->kind], "title", *a->name ? a->name : s->name, "variant", a->variant, "hook", a->hook, "model", a->model,
                     "dataset", a->dataset, "sae", *s->sae_path != 0, "lm", *s->sae_path && *s->lm_path, "vectors", a->vectors, "compositions", s->compositions != NULL, "quantiles", (int)a->quantiles,
                     "columns", columns);
}

sl_status sl__get_sets(void *user, const sl_http_req *q, sl_http_reply *r, sl_err *err)
{
    const sl__browse *b = user;
    (void)q;
    json_t *list = json_array();
    for (int i = 0; i < b->n_sets; i++)
        json_array_append_new(list, set_json(&b->set[i]));
    r->json = json_pack("{s:o, s:s}", "sets", list, "version", sl_version());
    return r->json ? SL_OK : sl_fail(err, SL_MEM, NULL, NULL, "no memory for the list");
}

/* ---- rows ---- */

/* The ids that ?q= asks for, ascending; sl_free. */
static sl_status search(sl__set *s, const sl_http_req *q, int32_t **ids, int64_t *n, sl_err *err)
{
    sl__query query;
    const char *text = sl_http_query(q, "q");
    *ids = NULL;
    SL_TRY(sl__query_parse(s->f, text ? text : "", &query, err));
    *ids = sl_alloc(s->ctx, (size_t)s->about->n_features * sizeof **ids);
    if (!*ids)
        return sl_fail(err, SL_MEM, "search", NULL, "no memory for its result");
    *n = sl__query_run(s, &query, *ids);
    return SL_OK;
}

/* Columns named in ?columns=a,b; those of a small table without it. */
static sl_status columns_of(const sl__set *s, const sl_http_req *q, const sl_features_column *out[32], int *n, sl_err *err)
{
    const char *text = sl_http_query(q, "columns");
    char name[64];
    for (*n = 0, text = text ? text : "density,max"; *text;) {
        size_t k = strcspn(text, ",");
        snprintf(name, sizeof name, "%.*s", (int)(k < 60 ? k : 60), text);
        const sl_features_column *c = sl_features_column_find(s->f, name);
        if (!c || *n == 32)
            return sl_fail(err, SL_ARG, "columns", "columns of the table", "there is no '%.60s'", name);
        out[(*n)++] = c;
        text += k + (text[k] == ',');
    }
    return SL_OK;
}

static json_t *row_json(const sl__set *s, int64_t id, const sl_features_column *const *c, int n)
{
    json_t *row = json_array();
    json_array_append_new(row, json_integer((json_int_t)id));
    json_array_append_new(row, json_boolean(s->star[id]));
    json_array_append_new(row, s->label[id] ? json_string(s->label[id]) : json_null());
    for (int i = 0; i < n; i++)
        json_array_append_new(row, value_of(s, c[i], id));
    return row;
}

/* GET api/set/NAME/rows ?q= &sort= &down=1 &from= &n= &columns= &find=ID: rows [id, star, label, columns ...] from..from+n of those that fit; `place`
 * of feature `find` among them, or -1. */
sl_status sl__get_rows(void *user, const sl_http_req *q, sl_http_reply *r, sl_err *err)
{
    sl__set *s;
    const sl_features_column *column[32];
    int n_columns;
    int32_t *ids = NULL;
    int64_t total = 0, from, n, down, find, place = -1;
    sl_status st = SL_OK;
    SL_TRY(sl__browse_set(user, q, &s, err));
    SL_TRY(sl_http_query_int(q, "from", 0, 0, INT32_MAX, &from, err));
    SL_TRY(sl_http_query_int(q, "n", 50, 0, ROWS, &n, err));
    SL_TRY(sl_http_query_int(q, "down", 0, 0, 1, &down, err));
    SL_TRY(sl_http_query_int(q, "find", -1, -1, INT32_MAX, &find, err));
    SL_TRY(columns_of(s, q, column, &n_columns, err));
    SL_GO(search(s, q, &ids, &total, err));
    SL_GO(sl__query_sort(s, sl_http_query(q, "sort"), down != 0, ids, total, err));
    json_t *rows = json_array();
    pthread_rwlock_rdlock(&s->lock);
    for (int64_t i = from; i < total && i < from + n; i++)
        json_array_append_new(rows, row_json(s, ids[i], column, n_columns));
    pthread_rwlock_unlock(&s->lock);
    for (int64_t i = 0; i < total && find >= 0 && place < 0; i++)
        place = ids[i] == find ? i : -1;
    r->json = json_pack("{s:I, s:I, s:I, s:o}", "total", (json_int_t)total, "from", (json_int_t)from, "place", (json_int_t)place, "rows", rows);
done:
    sl_free(s->ctx, ids);
    return st;
}

/* GET api/set/NAME/density ?q=: how many features have each log10 density: of all, and of those that fit. Dead ones stand apart. */
sl_status sl__get_density(void *user, const sl_http_req *q, sl_http_reply *r, sl_err *err)
{
    sl__set *s;
    int32_t *ids = NULL;
    int64_t total = 0, all[BINS] = { 0 }, fit[BINS] = { 0 }, dead[2] = { 0 }, dense[2] = { 0 };
    sl_status st = SL_OK;
    SL_TRY(sl__browse_set(user, q, &s, err));
    const sl_features_column *c = sl_features_column_find(s->f, "density");
    SL_GO(search(s, q, &ids, &total, err));
    int64_t at = 0;
    for (int64_t id = 0; id < s->about->n_features; id++) {
        bool in = at < total && ids[at] == id;
        double v = c ? sl_features_value(c, id) : 0;
        at += in;
        if (!(v > 0)) {
            dead[0]++;
            dead[1] += in;
            continue;
        }
        int b = (int)floor((log10(v) - LOWEST) / -LOWEST * BINS);
        b = b < 0 ? 0 : b >= BINS ? BINS - 1 : b;
        all[b]++;
        fit[b] += in;
        dense[0] += v > DENSE;
        dense[1] += in && v > DENSE;
    }
    json_t *a = json_array(), *f = json_array();
    for (int b = 0; b < BINS; b++) {
        json_array_append_new(a, json_integer((json_int_t)all[b]));
        json_array_append_new(f, json_integer((json_int_t)fit[b]));
    }
    r->json = json_pack("{s:f, s:f, s:I, s:[I, I], s:[I, I], s:o, s:o}", "lowest", LOWEST, "dense_from", log10(DENSE), "total", (json_int_t)total, "dead",
                        (json_int_t)dead[0], (json_int_t)dead[1], "dense", (json_int_t)dense[0], (json_int_t)dense[1], "all", a, "fit", f);
done:
    sl_free(s->ctx, ids);
    return st;
}
