/* Two SAEs beside each other: for every feature of one its nearest in the other, by cosine of decoder rows; the lonely ones first. */
#include "serve/browse.h"

#include <saelab/match.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { TILE = 512, ROWS = 200 };

typedef struct pair { int32_t a, b; float cosine; bool mutual; } pair;

/* best[i] and its cosine of row i of a [n, d] among the rows of b [m, d]; back: of the rows of b among those of a. Tile by tile. */
static sl_status nearest(sl_ctx *ctx, const sl_tensor *a, const sl_tensor *b, pair *p, int32_t *back, sl_err *err)
{
    int64_t n = a->dim[0], m = b->dim[0], d = a->dim[1];
    float *cos = sl_alloc(ctx, (size_t)(TILE * m) * sizeof *cos), *most = sl_alloc(ctx, (size_t)m * sizeof *most);
    sl_status st = cos && most ? SL_OK : sl_fail(err, SL_MEM, "compare", NULL, "no memory for the cosines");
    for (int64_t j = 0; st == SL_OK && j < m; j++) {
        most[j] = -2;
        back[j] = -1;
    }
    for (int64_t i = 0; st == SL_OK && i < n; i += TILE) {
        int64_t rows = n - i < TILE ? n - i : TILE;
        st = sl_cosines(ctx, (const float *)a->data + i * d, rows, b->data, m, d, cos, err);
        if (st == SL_OK && sl_cancelled(ctx))
            st = sl_fail(err, SL_CANCELLED, "compare", NULL, "the server is stopping");
        for (int64_t r = 0; st == SL_OK && r < rows; r++) {
            pair *x = &p[i + r];
            *x = (pair){ .a = (int32_t)(i + r), .b = -1, .cosine = -2 };
            for (int64_t j = 0; j < m; j++) {
                float c = cos[r * m + j];
                if (c > x->cosine) {
                    x->cosine = c;
                    x->b = (int32_t)j;
                }
                if (c > most[j]) {
                    most[j] = c;
                    back[j] = (int32_t)(i + r);
                }
            }
        }
    }
    for (int64_t i = 0; st == SL_OK && i < n; i++)
        p[i].mutual = p[i].b >= 0 && back[p[i].b] == p[i].a;
    sl_free(ctx, cos);
    sl_free(ctx, most);
    return st;
}

/* Not each other's nearest first, then by cosine. */
static int lonely_first(const void *x, const void *y)
{
    const pair *a = x, *b = y;
    if (a->mutual != b->mutual)
        return a->mutual ? 1 : -1;
    return a->cosine < b->cosine ? -1 : a->cosine > b->cosine ? 1 : (a->a > b->a) - (a->a < b->a);
}

static json_t *side_json(sl__set *s, int64_t id)
{
    const sl_features_column *top = sl_features_column_find(s->f, "top_token"), *density = sl_features_column_find(s->f, "density");
    int32_t token = top ? ((const int32_t *)top->v)[id] : -1;
    return json_pack("{s:I, s:o, s:o, s:o}", "id", (json_int_t)id, "label", s->label[id] ? json_string(s->label[id]) : json_null(), "token",
                     token >= 0 ? sl__json_string(s->f, token) : json_null(), "density", density ? sl__json_number(sl_features_value(density, id)) : json_null());
}

static bool alive(const sl__set *s, int64_t id)
{
    const sl_features_column *c = sl_features_column_find(s->f, "fired");
    return !c || sl_features_value(c, id) > 0;
}

/* Features that never fire are left out; counts of mutual pairs go to `matched`. */
static int64_t keep_alive(const sl__set *s, const sl__set *t, pair *p, int64_t n, int64_t *matched, double *mean)
{
    int64_t kept = 0;
    double sum = 0;
    *matched = 0;
    for (int64_t i = 0; i < n; i++) {
        if (!alive(s, p[i].a))
            continue;
        p[i].mutual = p[i].mutual && alive(t, p[i].b);
        *matched += p[i].mutual;
        sum += (double)p[i].cosine;
        p[kept++] = p[i];
    }
    *mean = kept ? sum / (double)kept : NAN;
    return kept;
}

/* GET api/set/NAME/compare/OTHER ?from= &n=: pairs, lonely ones first. On the computing thread. */
sl_status sl__get_compare(void *user, const sl_http_req *q, sl_http_reply *r, sl_err *err)
{
    sl__browse *b = user;
    sl__set *s, *t = NULL;
    sl_tensor wa, wb;
    int64_t from, count, matched;
    double mean;
    SL_TRY(sl__browse_set(b, q, &s, err));
    for (int i = 0; i < b->n_sets; i++)
        t = strcmp(b->set[i].name, q->part[1]) == 0 ? &b->set[i] : t;
    if (!t)
        return sl_fail(err, SL_MISSING, q->path, NULL, "there is no SAE '%.60s'", q->part[1]);
    SL_TRY(sl_http_query_int(q, "from", 0, 0, INT32_MAX, &from, err));
    SL_TRY(sl_http_query_int(q, "n", 50, 1, ROWS, &count, err));
    SL_TRY(sl__set_sae(b, s, err));
    SL_TRY(sl__set_sae(b, t, err));
    SL_TRY(sl_sae_weight(s->sae, "W_dec", &wa, err));
    SL_TRY(sl_sae_weight(t->sae, "W_dec", &wb, err));
    if (wa.dim[1] != wb.dim[1])
        return sl_fail(err, SL_SHAPE, q->path, NULL, "their directions have %lld and %lld dimensions", (long long)wa.dim[1], (long long)wb.dim[1]);
    pair *p = sl_alloc(b->ctx, (size_t)wa.dim[0] * sizeof *p);
    int32_t *back = sl_alloc(b->ctx, (size_t)wb.dim[0] * sizeof *back);
    sl_status st = p && back ? nearest(b->ctx, &wa, &wb, p, back, err) : sl_fail(err, SL_MEM, "compare", NULL, "no memory for the pairs");
    if (st == SL_OK) {
        int64_t n = keep_alive(s, t, p, wa.dim[0], &matched, &mean);
        qsort(p, (size_t)n, sizeof *p, lonely_first);
        json_t *rows = json_array();
        pthread_rwlock_rdlock(&s->lock);
        if (t != s)
            pthread_rwlock_rdlock(&t->lock);
        for (int64_t i = from; i < n && i < from + count; i++)
            json_array_append_new(rows, json_pack("{s:o, s:o, s:o, s:b}", "a", side_json(s, p[i].a), "b", side_json(t, p[i].b), "cosine",
                                                  sl__json_number((double)p[i].cosine), "mutual", p[i].mutual));
        if (t != s)
            pthread_rwlock_unlock(&t->lock);
        pthread_rwlock_unlock(&s->lock);
        r->json = json_pack("{s:I, s:I, s:o, s:I, s:o}", "total", (json_int_t)n, "matched", (json_int_t)matched, "mean_cosine", sl__json_number(mean), "from",
                            (json_int_t)from, "rows", rows);
    }
    sl_free(b->ctx, p);
    sl_free(b->ctx, back);
    return st;
}
