/* What the SAE sees in a typed text, and the model with features held at a value. On the computing thread. */
#include "serve/browse.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TEXT = 20000, STRONGEST = 8, NEW_TOKENS = 200 };

/* ---- reading ---- */

typedef struct tokens { int32_t *all, *ids; int64_t n, cut; } tokens; /* ids: the last n of all, which fit the model; cut: how many did not */

static sl_status tokens_of(const sl__model *m, const char *text, int64_t room, tokens *t, sl_err *err)
{
    int64_t n;
    *t = (tokens){ 0 };
    SL_TRY(sl_tok_encode(m->tok, text, strlen(text), &t->all, &n, err));
    int64_t most = sl_lm_cfg(m->lm)->block_size - room;
    t->cut = n > most ? n - most : 0;
    t->ids = t->all + t->cut;
    t->n = n - t->cut;
    return SL_OK;
}

static json_t *piece_json(const sl_tok *tok, int32_t id)
{
    size_t n;
    const char *s = sl_tok_piece(tok, id, &n);
    return sl__json_bytes(s, n);
}

/* The strongest features of row r, largest first: [[id, value], ...]. */
static json_t *strongest(const sl_codes *z, int64_t r)
{
    int64_t best[STRONGEST];
    int n = 0;
    for (int64_t e = z->row_ptr[r]; e < z->row_ptr[r + 1]; e++) {
        if (n == STRONGEST && z->val[best[n - 1]] >= z->val[e])
            continue;
        int at = n < STRONGEST ? n++ : n - 1;
        for (; at > 0 && z->val[best[at - 1]] < z->val[e]; at--)
            best[at] = best[at - 1];
        best[at] = e;
    }
    json_t *list = json_array();
    for (int i = 0; i < n; i++)
        json_array_append_new(list, json_pack("[i, f]", z->idx[best[i]], (double)z->val[best[i]]));
    return list;
}

/* Labels of the features that are shown, by id as text. */
static json_t *labels_of(sl__set *s, json_t *rows)
{
    json_t *labels = json_object(), *row, *pair;
    size_t i, k;
    char id[24];
    pthread_rwlock_rdlock(&s->lock);
    json_array_foreach(rows, i, row) {
        json_array_foreach(json_object_get(row, "top"), k, pair) {
            json_int_t j = json_integer_value(json_array_get(pair, 0));
            snprintf(id, sizeof id, "%lld", (long long)j);
            if (s->label[j])
                json_object_set_new(labels, id, json_string(s->label[j]));
        }
    }
    pthread_rwlock_unlock(&s->lock);
    return labels;
}

/* Adds "pre" and "need" of one feature to the rows: why it fired, or did not. */
static json_t *why(sl__browse *b, const sl_reading *read, int64_t feature, int64_t n, sl_status *st, sl_err *err)
{
    float *v = sl_alloc(b->ctx, 2 * (size_t)n * sizeof *v);
    json_t *pre = json_array(), *need = json_array(), *value = json_array();
    *st = v ? sl_steer_why(b->model.steer, feature, v, v + n, err) : sl_fail(err, SL_MEM, NULL, NULL, "no memory");
    for (int64_t r = 0; r < n; r++) {
        double z = 0;
        for (int64_t e = read->z.row_ptr[r]; e < read->z.row_ptr[r + 1]; e++)
            z = read->z.idx[e] == feature ? (double)read->z.val[e] : z;
        json_array_append_new(value, json_real(z));
        json_array_append_new(pre, *st == SL_OK ? sl__json_number((double)v[r]) : json_null());
        json_array_append_new(need, *st == SL_OK ? sl__json_number((double)v[n + r]) : json_null());
    }
    sl_free(b->ctx, v);
    json_t *out = json_pack("{s:I, s:o, s:o, s:o, s:s}", "feature", (json_int_t)feature, "value", value, "pre", pre, "need", need, "reason",
                            *st == SL_UNAVAILABLE ? err->what : "");
    if (*st == SL_UNAVAILABLE)
        *st = SL_OK; /* values are known all the same */
    return out;
}

/* POST api/set/NAME/text {"text", "feature" (may be left out)} */
sl_status sl__post_text(void *user, const sl_http_req *q, sl_http_reply *r, sl_err *err)
{
    sl__browse *b = user;
    sl__set *s;
    const char *text;
    int64_t feature = -1;
    tokens t = { 0 };
    sl_reading read;
    SL_TRY(sl__browse_set(b, q, &s, err));
    SL_TRY(sl_http_body_text(q, "text", TEXT, &text, err));
    if (json_object_get(q->body, "feature"))
        SL_TRY(sl_http_body_int(q, "feature", 0, s->about->n_features - 1, &feature, err));
    SL_TRY(sl__set_model(b, s, err));
    sl_status st = tokens_of(&b->model, text, 0, &t, err);
    if (st == SL_OK && t.n == 0)
        st = sl_fail(err, SL_ARG, "text", "at least one character", "is empty");
    if (st == SL_OK)
        st = sl_steer_read(b->model.steer, t.ids, t.n, &read, err);
    if (st == SL_OK) {
        json_t *rows = json_array();
        for (int64_t i = 0; i < t.n; i++)
            json_array_append_new(rows, json_pack("{s:o, s:o, s:o, s:I, s:o}", "text", piece_json(b->model.tok, t.ids[i]), "loss", sl__json_number((double)read.loss[i]),
                                                  "spliced", sl__json_number((double)read.loss_spliced[i]), "l0", (json_int_t)(read.z.row_ptr[i + 1] - read.z.row_ptr[i]),
                                                  "top", strongest(&read.z, i)));
        r->json = json_pack("{s:I, s:o}", "cut", (json_int_t)t.cut, "labels", labels_of(s, rows));
        if (feature >= 0)
            json_object_set_new(r->json, "why", why(b, &read, feature, t.n, &st, err));
        json_object_set_new(r->json, "tokens", rows);
    }
    sl_free(b->ctx, t.all);
    return st;
}

/* ---- steering ---- */

static sl_status clamps_of(const sl_http_req *q, const sl__set *s, sl_clamp clamp[SL_STEER_CLAMPS], int *n, sl_err *err)
{
    json_t *list = json_object_get(q->body, "clamps");
    if (!json_is_array(list) || json_array_size(list) > SL_STEER_CLAMPS)
        return sl_fail(err, SL_ARG, "clamps", "a list of at most 16", "is something else");
    for (*n = 0; *n < (int)json_array_size(list); ++*n) {
        json_t *c = json_array_get(list, (size_t)*n), *id = json_object_get(c, "feature"), *v = json_object_get(c, "value");
        if (!json_is_integer(id) || !json_is_number(v) || json_integer_value(id) >= s->about->n_features)
            return sl_fail(err, SL_ARG, "clamps", "{\"feature\": ID, \"value\": V}", "entry %d is something else", *n + 1);
        clamp[*n] = (sl_clamp){ json_integer_value(id), json_number_value(v) };
    }
    return SL_OK;
}

typedef struct written { const sl_tok *tok; json_t *pieces; const sl_ctx *ctx; } written;

static bool write_piece(void *user, int32_t id)
{
    written *w = user;
    json_array_append_new(w->pieces, piece_json(w->tok, id));
    return !sl_cancelled(w->ctx);
}

static sl_status settings_of(const sl_http_req *q, sl_lm_sample_config *c, sl_err *err)
{
    sl_opts_default(sl_lm_sample_opts, c);
    c->max_new_tokens = 60;
    if (json_object_get(q->body, "tokens"))
        SL_TRY(sl_http_body_int(q, "tokens", 1, NEW_TOKENS, &c->max_new_tokens, err));
    if (json_object_get(q->body, "seed"))
        SL_TRY(sl_http_body_int(q, "seed", 0, INT32_MAX, &c->seed, err));
    if (json_object_get(q->body, "temperature"))
        SL_TRY(sl_http_body_real(q, "temperature", 0, 10, &c->temperature, err));
    return SL_OK;
}

/* POST api/set/NAME/steer {"text", "clamps": [{"feature", "value"}], "tokens", "seed", "temperature"}: the text goes on plainly and steered. */
sl_status sl__post_steer(void *user, const sl_http_req *q, sl_http_reply *r, sl_err *err)
{
    sl__browse *b = user;
    sl__set *s;
    const char *text;
    sl_clamp clamp[SL_STEER_CLAMPS];
    sl_lm_sample_config c;
    int n = 0;
    tokens t = { 0 };
    SL_TRY(sl__browse_set(b, q, &s, err));
    SL_TRY(sl_http_body_text(q, "text", TEXT, &text, err));
    SL_TRY(clamps_of(q, s, clamp, &n, err));
    SL_TRY(settings_of(q, &c, err));
    SL_TRY(sl__set_model(b, s, err));
    written w[2] = { { b->model.tok, json_array(), b->ctx }, { b->model.tok, json_array(), b->ctx } };
    sl_status st = tokens_of(&b->model, text, 0, &t, err);
    for (int i = 0; i < 2 && st == SL_OK; i++)
        st = sl_steer_sample(b->model.steer, clamp, i ? n : 0, t.ids, t.n, &c, write_piece, &w[i], err);
    r->json = json_pack("{s:o, s:o}", "plain", w[0].pieces, "steered", w[1].pieces);
    sl_free(b->ctx, t.all);
    return st;
}
