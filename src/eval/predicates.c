/* Predicates of rows. Each is a 64-bit key (its kind and a hash of its value); keys are numbered in the order of their values. */
#include "eval/predicates.h"

#include "eval/reader.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

enum { LEAST = 10, MOST_OF_ROW = 40, POSITION_BUCKETS = 6 };
enum { TOKEN = 1, BEFORE, AFTER, BIGRAM, TRIGRAM, CLASS, SUFFIX, PREFIX, POSITION, DEPTH, QUOTES, FEATURE };

typedef struct stated { uint64_t key; int32_t row; } stated;
typedef struct list { stated *v; int64_t n, room; } list;

static uint64_t key_of(int kind, const void *value, size_t n)
{
    uint64_t h = 1469598103934665603u ^ (uint64_t)kind; /* FNV-1a */
    for (size_t i = 0; i < n; i++)
        h = (h ^ ((const unsigned char *)value)[i]) * 1099511628211u;
    return h;
}

static void state(list *l, int32_t row, int kind, const void *value, size_t n)
{
    if (l->n < l->room)
        l->v[l->n++] = (stated){ key_of(kind, value, n), row };
}

static void state_number(list *l, int32_t row, int kind, int64_t value) { state(l, row, kind, &value, sizeof value); }

static int class_of(unsigned char c)
{
    return isdigit(c) ? 1 : isupper(c) ? 2 : islower(c) ? 3 : ispunct(c) ? 4 : isspace(c) ? 5 : 6;
}

static bool in_word(char c) { return isalpha((unsigned char)c) || (unsigned char)c >= 128; }

static void tokens(list *l, int32_t i, const sl_corpus *c, int64_t first, int64_t end, int64_t t)
{
    int32_t three[3] = { t >= first + 2 ? c->ids[t - 2] : -1, t >= first + 1 ? c->ids[t - 1] : -1, c->ids[t] };
    state(l, i, TOKEN, &three[2], sizeof *three);
    state(l, i, BEFORE, &three[1], sizeof *three);
    state(l, i, BIGRAM, &three[1], 2 * sizeof *three);
    state(l, i, TRIGRAM, three, sizeof three);
    int32_t after = t + 1 < end ? c->ids[t + 1] : -1;
    state(l, i, AFTER, &after, sizeof after);
}

static void spelling(list *l, int32_t i, const sl_reader *r, int64_t token, int64_t pos)
{
    int64_t from = r->start[token], end = r->start[token + 1], word = from;
    for (int64_t n = 1; n <= 4 && n <= end; n++)
        state(l, i, SUFFIX, r->bytes + end - n, (size_t)n);
    while (word < end && isspace((unsigned char)r->bytes[word]))
        word++;
    if (word < end) {
        state_number(l, i, CLASS, class_of((unsigned char)r->bytes[word]));
        state_number(l, i, DEPTH, r->depth[word]);
        state_number(l, i, QUOTES, r->in_quotes[word]);
    }
    bool is_word = word < end && in_word(r->bytes[word]);
    while (is_word && word > 0 && in_word(r->bytes[word - 1]))
        word--;
    for (int64_t n = 1; is_word && n <= 4 && word + n <= r->n && in_word(r->bytes[word + n - 1]); n++)
        state(l, i, PREFIX, r->bytes + word, (size_t)n);
    int bucket = 0;
    for (int64_t p = pos; p > 0 && bucket < POSITION_BUCKETS - 1; p /= 4)
        bucket++;
    state_number(l, i, POSITION, bucket);
}

static sl_status from_text(sl_ctx *ctx, const sl_eval_data *d, const int32_t *rows, int64_t n, list *l, sl_err *err)
{
    const sl_corpus *c = d->corpus;
    sl_reader r = { 0 };
    int32_t *first = sl_alloc(ctx, (size_t)c->n_docs * sizeof *first), *next = sl_alloc(ctx, (size_t)n * sizeof *next);
    sl_status st;
    SL_GO(sl_have("predicates", 2, (const void *const[]){ first, next }, err));
    SL_GO(sl_reader_new(ctx, c, &r, err));
    for (int64_t doc = 0; doc < c->n_docs; doc++)
        first[doc] = -1;
    for (int64_t i = n - 1; i >= 0; i--) {
        next[i] = first[d->doc[rows[i]]];
        first[d->doc[rows[i]]] = (int32_t)i;
    }
    for (int64_t doc = 0; doc < c->n_docs; doc++) {
        if (first[doc] < 0)
            continue;
        sl_reader_open(&r, (int32_t)doc);
        for (int32_t i = first[doc]; i >= 0; i = next[i]) {
            int64_t pos = d->pos[rows[i]];
            tokens(l, i, c, c->doc[doc], c->doc[doc + 1], c->doc[doc] + pos);
            spelling(l, i, &r, pos, pos);
        }
    }
done:
    if (r.ctx)
        sl_reader_release(&r);
    sl_free(ctx, next);
    sl_free(ctx, first);
    return st;
}

static int by_key(const void *a, const void *b)
{
    const stated *x = a, *y = b;
    if (x->key != y->key)
        return x->key < y->key ? -1 : 1;
    return x->row - y->row;
}

static int by_row(const void *a, const void *b)
{
    const stated *x = a, *y = b;
    if (x->row != y->row)
        return x->row - y->row;
    return x->key < y->key ? -1 : x->key > y->key;
}

/* Numbers the keys that hold in enough rows, in place; the others go. */
static int64_t number_keys(list *l)
{
    int64_t kept = 0, ids = 0;
    qsort(l->v, (size_t)l->n, sizeof *l->v, by_key);
    for (int64_t i = 0, end; i < l->n; i = end) {
        for (end = i; end < l->n && l->v[end].key == l->v[i].key; end++)
            ;
        if (end - i < LEAST)
            continue;
        for (int64_t e = i; e < end; e++)
            l->v[kept++] = (stated){ (uint64_t)ids, l->v[e].row };
        ids++;
    }
    l->n = kept;
    qsort(l->v, (size_t)l->n, sizeof *l->v, by_row);
    return ids;
}

sl_status sl_predicates_new(sl_ctx *ctx, const sl_eval_data *d, const int32_t *rows, int64_t n, sl_predicates *out, sl_err *err)
{
    list l = { .room = d->corpus ? n * MOST_OF_ROW : 0 };
    *out = (sl_predicates){ .n = n };
    for (int64_t i = 0; d->g.row_ptr && i < n; i++)
        l.room += d->g.row_ptr[rows[i] + 1] - d->g.row_ptr[rows[i]];
    l.v = sl_alloc(ctx, (size_t)l.room * sizeof *l.v);
    out->ptr = sl_alloc(ctx, (size_t)(n + 1) * sizeof *out->ptr);
    sl_status st;
    SL_GO(sl_have("predicates", 2, (const void *const[]){ l.v, out->ptr }, err));
    if (d->corpus)
        SL_GO(from_text(ctx, d, rows, n, &l, err));
    for (int64_t i = 0; d->g.row_ptr && i < n; i++)
        for (int64_t e = d->g.row_ptr[rows[i]]; e < d->g.row_ptr[rows[i] + 1]; e++)
            state_number(&l, (int32_t)i, FEATURE, d->g.idx[e]);
    out->n_ids = number_keys(&l);
    out->id = sl_alloc(ctx, (size_t)l.n * sizeof *out->id);
    SL_GO(sl_have("predicates", 1, (const void *const[]){ out->id }, err));
    for (int64_t e = 0; e < l.n; e++) {
        out->id[e] = (int32_t)l.v[e].key;
        out->ptr[l.v[e].row + 1]++;
    }
    for (int64_t i = 0; i < n; i++)
        out->ptr[i + 1] += out->ptr[i];
done:
    sl_free(ctx, l.v);
    if (st != SL_OK)
        sl_predicates_release(ctx, out);
    return st;
}

void sl_predicates_release(sl_ctx *ctx, sl_predicates *p)
{
    sl_free(ctx, p->ptr);
    sl_free(ctx, p->id);
    *p = (sl_predicates){ 0 };
}
