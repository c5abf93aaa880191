/* One feature: everything that its page shows, its marks, and more of the text around a place. */
#include "serve/browse.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { AROUND = 400 };

static json_t *marks_json(const sl_mark *m)
{
    json_t *labels = json_array();
    for (int i = 0; i < m->n_labels; i++)
        json_array_append_new(labels, json_pack("{s:s, s:s, s:o}", "text", m->label[i].text, "source", m->label[i].source, "score",
                                                m->label[i].has_score ? sl__json_number(m->label[i].score) : json_null()));
    return json_pack("{s:b, s:s, s:s, s:o}", "star", m->star, "tags", m->tags, "note", m->note, "labels", labels);
}

/* [[text, value], ...] */
static json_t *strings_json(const sl_features *f, int n, const int32_t *id, const float *value)
{
    json_t *list = json_array();
    for (int i = 0; i < n; i++)
        json_array_append_new(list, json_pack("[o, o]", sl__json_string(f, id[i]), sl__json_number(value[i])));
    return list;
}

json_t *sl__json_features(sl__set *s, int n, const int32_t *id, const float *value)
{
    json_t *list = json_array();
    const sl_features_column *top = sl_features_column_find(s->f, "top_token");
    pthread_rwlock_rdlock(&s->lock);
    for (int i = 0; i < n; i++) {
        int32_t token = top ? ((const int32_t *)top->v)[id[i]] : -1;
        json_array_append_new(list, json_pack("[i, o, o, o]", id[i], sl__json_number(value[i]), s->label[id[i]] ? json_string(s->label[id[i]]) : json_null(),
                                              token >= 0 ? sl__json_string(s->f, token) : json_null()));
    }
    pthread_rwlock_unlock(&s->lock);
    return list;
}

static json_t *counts_json(const int32_t *v, int n)
{
    json_t *list = json_array();
    for (int i = 0; i < n; i++)
        json_array_append_new(list, json_integer(v[i]));
    return list;
}

static json_t *context_json(const sl_features *f, int64_t i)
{
    static const char *const kinds[] = { [SL_CONTEXT_TOP] = "top", [SL_CONTEXT_QUANTILE] = "quantile", [SL_CONTEXT_NEAR] = "near", [SL_CONTEXT_SILENT] = "silent" };
    sl_context x;
    sl_features_context(f, i, &x);
    json_t *text = json_array(), *level = json_array();
    for (int k = 0; k < x.n; k++) {
        json_array_append_new(text, sl__json_string(f, x.string[k]));
        json_array_append_new(level, k == x.focus ? sl__json_number(x.value) : x.level[k] ? json_real((double)x.level[k] * (double)x.unit) : json_integer(0));
    }
    return json_pack("{s:s, s:i, s:I, s:I, s:i, s:i, s:o, s:i, s:i, s:o, s:o}", "kind", kinds[x.kind], "quantile", x.quantile, "at", (json_int_t)x.at, "row",
                     (json_int_t)x.source_row, "doc", x.doc, "pos", x.pos, "value", sl__json_number(x.value), "same", x.same, "focus", x.focus, "text", text,
                     "level", level);
}

static json_t *columns_json(const sl_features *f, int64_t id)
{
    int n;
    const sl_features_column *c = sl_features_columns(f, &n);
    json_t *o = json_object();
    for (int i = 0; i < n; i++)
        json_object_set_new(o, c[i].name, c[i].type == SL_COLUMN_STRING ? sl__json_string(f, ((const int32_t *)c[i].v)[id]) : sl__json_number(sl_features_value(&c[i], id)));
    return o;
}

/* Compositions that it takes part in: [[number, share], ...]. */
static json_t *linked_json(const sl_feature *j)
{
    json_t *list = json_array();
    for (int i = 0; i < j->n_linked; i++)
        json_array_append_new(list, json_pack("[i, f]", j->linked[i], (double)j->linked_share[i]));
    return list;
}

/* GET api/set/NAME/feature/ID */
sl_status sl__get_feature(void *user, const sl_http_req *q, sl_http_reply *r, sl_err *err)
{
    sl__set *s;
    int64_t id;
    sl_feature j;
    sl_mark mark;
    SL_TRY(sl__browse_set(user, q, &s, err));
    SL_TRY(sl_http_part_int(q, 1, s->about->n_features, &id, err));
    SL_TRY(sl_features_get(s->f, id, &j, err));
    SL_TRY(sl_marks_get(s->marks, id, &mark, err));
    json_t *contexts = json_array();
    for (int i = 0; i < j.n_contexts; i++)
        json_array_append_new(contexts, context_json(s->f, j.first_context + i));
    r->json = json_pack("{s:I, s:I, s:o, s:o, s:o, s:o}", "id", (json_int_t)id, "fired", (json_int_t)j.fired, "density", sl__json_number(j.density), "max",
                        sl__json_number(j.max), "mean", sl__json_number(j.mean), "marks", marks_json(&mark));
    json_object_set_new(r->json, "columns", columns_json(s->f, id));
    json_object_set_new(r->json, "hist", counts_json(j.hist, SL_FEATURE_BINS));
    json_object_set_new(r->json, "tokens", strings_json(s->f, j.n_tokens, j.token, j.token_share));
    json_object_set_new(r->json, "cosine", sl__json_features(s, j.n_cosine, j.cosine_id, j.cosine));
    json_object_set_new(r->json, "cofire", sl__json_features(s, j.n_cofire, j.cofire_id, j.cofire));
    json_object_set_new(r->json, "contexts", contexts);
    if (j.n_lens > 0)
        json_object_set_new(r->json, "lens", json_pack("{s:o, s:o, s:o, s:o, s:o}", "up", strings_json(s->f, j.n_lens, j.up, j.up_logit), "down",
                                                       strings_json(s->f, j.n_lens, j.down, j.down_logit), "hist", counts_json(j.logit_hist, SL_FEATURE_BINS), "min",
                                                       sl__json_number(j.logit_min), "max", sl__json_number(j.logit_max)));
    json_object_set_new(r->json, "compositions", linked_json(&j));
    return r->json ? SL_OK : sl_fail(err, SL_MEM, q->path, NULL, "no memory for the page");
}

/* GET api/set/NAME/around/ROW: more of the text on both sides. */
sl_status sl__get_around(void *user, const sl_http_req *q, sl_http_reply *r, sl_err *err)
{
    sl__set *s;
    int64_t at;
    int n, focus;
    SL_TRY(sl__browse_set(user, q, &s, err));
    SL_TRY(sl_http_part_int(q, 1, s->about->n_rows, &at, err));
    const int32_t *string = sl_features_around(s->f, at, AROUND, AROUND, &n, &focus);
    json_t *text = json_array();
    for (int i = 0; i < n; i++)
        json_array_append_new(text, sl__json_string(s->f, string[i]));
    r->json = json_pack("{s:i, s:o}", "focus", focus, "text", text);
    return SL_OK;
}

/* POST api/set/NAME/mark/ID {"star": bool}, {"tags": text}, {"note": text} or {"label": text}: answers the marks as they are then. */
sl_status sl__post_mark(void *user, const sl_http_req *q, sl_http_reply *r, sl_err *err)
{
    sl__set *s;
    int64_t id;
    bool star;
    const char *text;
    sl_mark mark;
    SL_TRY(sl__browse_set(user, q, &s, err));
    SL_TRY(sl_http_part_int(q, 1, s->about->n_features, &id, err));
    if (json_object_get(q->body, "star")) {
        SL_TRY(sl_http_body_bool(q, "star", &star, err));
        SL_TRY(sl_marks_star(s->marks, id, star, err));
    } else if (json_object_get(q->body, "tags")) {
        SL_TRY(sl_http_body_text(q, "tags", SL_MARK_TAGS - 1, &text, err));
        SL_TRY(sl_marks_tags(s->marks, id, text, err));
    } else if (json_object_get(q->body, "note")) {
        SL_TRY(sl_http_body_text(q, "note", SL_MARK_NOTE - 1, &text, err));
        SL_TRY(sl_marks_note(s->marks, id, text, err));
    } else {
        SL_TRY(sl_http_body_text(q, "label", sizeof mark.label[0].text - 1, &text, err));
        SL_TRY(sl_marks_label(s->marks, id, text, "me", NAN, err));
    }
    SL_TRY(sl_marks_get(s->marks, id, &mark, err));
    SL_TRY(sl__set_mark(s, id, mark.star, mark.tags, mark.n_labels ? mark.label[0].text : "", err));
    r->json = marks_json(&mark);
    return SL_OK;
}
