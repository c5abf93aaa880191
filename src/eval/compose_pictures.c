/* What the pictures of a compositional SAE show beside its units: mean attention, and the bipartite graph in Graphviz's language. */
#include "eval/compose.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNK = 512 };

/* ---- order ---- */

/* Average linkage: of all clusters the two with the smallest mean distance are joined, the one with the lower first leaf goes first. */
sl_status sl_linkage_order(sl_ctx *ctx, const double *distance, int64_t n, int32_t *order, sl_err *err)
{
    double *mean = sl_alloc(ctx, (size_t)(n * n) * sizeof *mean);
    int64_t *size = sl_alloc(ctx, (size_t)n * sizeof *size);
    int32_t *leaf = sl_alloc(ctx, (size_t)(n * n) * sizeof *leaf); /* cluster k owns leaf[k n ..], size[k] of them */
    sl_status st;
    SL_GO(sl_have("linkage", 3, (const void *const[]){ mean, size, leaf }, err));
    memcpy(mean, distance, (size_t)(n * n) * sizeof *mean);
    for (int64_t k = 0; k < n; k++) {
        size[k] = 1;
        leaf[k * n] = (int32_t)k;
    }
    for (int64_t join = 1; join < n; join++) {
        int64_t a = -1, b = -1;
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = i + 1; j < n; j++)
                if (size[i] && size[j] && (a < 0 || mean[i * n + j] < mean[a * n + b])) {
                    a = i;
                    b = j;
                }
        for (int64_t k = 0; k < n; k++) {
            double far = ((double)size[a] * mean[a * n + k] + (double)size[b] * mean[b * n + k]) / (double)(size[a] + size[b]);
            mean[a * n + k] = mean[k * n + a] = far;
        }
        memcpy(leaf + a * n + size[a], leaf + b * n, (size_t)size[b] * sizeof *leaf);
        size[a] += size[b];
        size[b] = 0;
    }
    memcpy(order, leaf, (size_t)n * sizeof *order); /* cluster 0 is never the second of a join */
done:
    sl_free(ctx, leaf);
    sl_free(ctx, size);
    sl_free(ctx, mean);
    return st;
}

/* ---- attention ---- */

typedef struct attended {
    sl_compose *r;
    const sl_eval_data *d;
    int64_t n, n_head;
    int32_t *feature, *place; /* [n]; [d_sae] -1: not shown */
    double *sum, *both;     /* [n_head, n, n], [n, n] */
    bool any;               /* some attention is not 0 */
} attended;

static int by_count(const void *a, const void *b)
{
    const sl_pair *x = a, *y = b;
    return x->both != y->both ? (x->both > y->both ? -1 : 1) : (x->i > y->i) - (x->i < y->i);
}

/* The n latents that fire most, ordered by average linkage of 1 - rows with both / rows with either. */
static sl_status choose(sl_ctx *ctx, attended *k, sl_err *err)
{
    const sl_sparse *z = &k->d->z;
    int64_t m = k->d->d_sae, n = k->n;
    sl_pair *count = sl_alloc(ctx, (size_t)m * sizeof *count);
    double *distance = sl_alloc(ctx, (size_t)(n * n) * sizeof *distance);
    int32_t *order = sl_alloc(ctx, (size_t)n * sizeof *order);
    sl_status st;
    SL_GO(sl_have("attention", 3, (const void *const[]){ count, distance, order }, err));
    for (int64_t j = 0; j < m; j++)
        count[j].i = (int32_t)j;
    for (int64_t e = 0; e < z->row_ptr[z->n_rows]; e++)
        count[z->idx[e]].both++;
    qsort(count, (size_t)m, sizeof *count, by_count);
    for (int64_t a = 0; a < n; a++)
        k->place[count[a].i] = (int32_t)a;
    for (int64_t r = 0; r < z->n_rows; r++)
        for (int64_t a = z->row_ptr[r]; a < z->row_ptr[r + 1]; a++)
            for (int64_t b = z->row_ptr[r]; k->place[z->idx[a]] >= 0 && b < z->row_ptr[r + 1]; b++)
                if (k->place[z->idx[b]] >= 0)
                    distance[k->place[z->idx[a]] * n + k->place[z->idx[b]]]++;
    for (int64_t a = 0; a < n; a++)
        for (int64_t b = a; b < n; b++) {
            double either = (double)(count[a].both + count[b].both) - distance[a * n + b];
            distance[a * n + b] = distance[b * n + a] = either > 0 ? 1 - distance[a * n + b] / either : 1;
        }
    SL_GO(sl_linkage_order(ctx, distance, n, order, err));
    for (int64_t a = 0; a < n; a++) {
        k->feature[a] = count[order[a]].i;
        k->place[k->feature[a]] = (int32_t)a;
    }
done:
    sl_free(ctx, order);
    sl_free(ctx, distance);
    sl_free(ctx, count);
    return st;
}

static void add_row(attended *k, const sl_compose_view *v, int64_t r)
{
    const int32_t *token = v->z.idx + v->z.row_ptr[r];
    int64_t n = v->z.row_ptr[r + 1] - v->z.row_ptr[r];
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < n; j++) {
            int64_t a = k->place[token[i]], b = k->place[token[j]];
            if (a < 0 || b < 0)
                continue;
            k->both[a * k->n + b]++;
            for (int64_t h = 0; h < k->n_head; h++) {
                float p = v->attention[v->p_ptr[r] + (h * n + i) * n + j];
                k->sum[(h * k->n + a) * k->n + b] += (double)p;
                k->any = k->any || p > 0;
            }
        }
}

static sl_status attend(attended *k, sl_err *err)
{
    for (int64_t first = 0; first < k->d->n_rows; first += CHUNK) {
        int64_t n = k->d->n_rows - first < CHUNK ? k->d->n_rows - first : CHUNK;
        sl_compose_view v;
        SL_TRY(sl_compose_rows(k->r, k->d->x + first * k->d->d_in, n, &v, err));
        for (int64_t r = 0; r < n; r++)
            add_row(k, &v, r);
    }
    return SL_OK;
}

sl_status sl_attention_means(sl_ctx *ctx, sl_compose *r, const sl_eval_data *d, int64_t n, sl_composition_pictures *p, sl_err *err)
{
    attended k = { .r = r, .d = d, .n = n < d->d_sae ? n : d->d_sae, .n_head = sl_compose_about(r).n_head };
    size_t square = (size_t)(k.n * k.n), all = (size_t)k.n_head * square;
    float *mean = sl_alloc(ctx, all * sizeof *mean);
    k.feature = sl_alloc(ctx, (size_t)k.n * sizeof *k.feature);
    k.place = sl_alloc(ctx, (size_t)d->d_sae * sizeof *k.place);
    k.sum = sl_alloc(ctx, all * sizeof *k.sum);
    k.both = sl_alloc(ctx, square * sizeof *k.both);
    sl_status st;
    SL_GO(sl_have("attention", 5, (const void *const[]){ mean, k.feature, k.place, k.sum, k.both }, err));
    for (int64_t j = 0; j < d->d_sae; j++)
        k.place[j] = -1;
    SL_GO(choose(ctx, &k, err));
    SL_GO(attend(&k, err));
    if (!k.any)
        goto done;
    for (size_t e = 0; e < all; e++)
        mean[e] = k.both[e % square] > 0 ? (float)(k.sum[e] / k.both[e % square]) : NAN;
    p->n_head = k.n_head;
    p->n_attention = k.n;
    p->attention = mean;
    p->attention_feature = k.feature;
    mean = NULL;
    k.feature = NULL;
done:
    sl_free(ctx, k.both);
    sl_free(ctx, k.sum);
    sl_free(ctx, k.place);
    sl_free(ctx, k.feature);
    sl_free(ctx, mean);
    return st;
}

/* ---- the graph ---- */

typedef struct text { char *at; size_t n, room; } text;

static void add_label(text *t, const char *label)
{
    for (; *label; label++) {
        unsigned char c = (unsigned char)*label;
        bool quoted = c == '"' || c == '\\';
        if (t->n + 3 < t->room && quoted)
            t->at[t->n++] = '\\';
        if (t->n + 2 < t->room)
            t->at[t->n++] = c < 32 ? ' ' : (char)c;
    }
    t->at[t->n] = 0;
}

static void add_node(text *t, int32_t feature, void (*label)(void *, int32_t, char[64]), void *user)
{
    char name[64];
    snprintf(name, sizeof name, "%d", (int)feature);
    if (label)
        label(user, feature, name);
    t->n += (size_t)snprintf(t->at + t->n, t->room - t->n, "  f%d [label=\"", (int)feature);
    add_label(t, name);
    t->n += (size_t)snprintf(t->at + t->n, t->room - t->n, "\"];\n");
}

static bool shown_before(const sl_composition_pictures *p, int64_t u, int32_t i)
{
    for (int64_t v = 0; v <= u; v++)
        for (int32_t k = 0; k < (v < u ? p->unit[v].n_participants : i); k++)
            if (p->unit[v].participant[k] == p->unit[u].participant[i])
                return true;
    return false;
}

sl_status sl_composition_dot(sl_ctx *ctx, const sl_composition_pictures *p, void (*label)(void *, int32_t, char[64]), void *user, char **dot, sl_err *err)
{
    enum { LINE = 64 + 2 * 64 };
    *dot = NULL;
    if (p->n_units < 1)
        return sl_fail(err, SL_DATA, "graph of compositions", NULL, "there is none to draw");
    text t = { .room = 256 + (size_t)p->n_units * (1 + 2 * SL_UNIT_PARTICIPANTS) * LINE };
    t.at = sl_alloc(ctx, t.room);
    SL_TRY(sl_have("graph of compositions", 1, (const void *const[]){ t.at }, err));
    t.n += (size_t)snprintf(t.at, t.room, "graph compositions {\n  rankdir=LR;\n  node [shape=box, fontsize=10];\n");
    for (int64_t u = 0; u < p->n_units; u++) {
        t.n += (size_t)snprintf(t.at + t.n, t.room - t.n, "  c%d [shape=ellipse, label=\"c%d\"];\n", (int)p->unit[u].q, (int)p->unit[u].q);
        for (int32_t i = 0; i < p->unit[u].n_participants; i++)
            if (!shown_before(p, u, i))
                add_node(&t, p->unit[u].participant[i], label, user);
    }
    for (int64_t u = 0; u < p->n_units; u++)
        for (int32_t i = 0; i < p->unit[u].n_participants; i++)
            t.n += (size_t)snprintf(t.at + t.n, t.room - t.n, "  f%d -- c%d [penwidth=%.2f];\n", (int)p->unit[u].participant[i], (int)p->unit[u].q,
                                    .5 + 8 * p->unit[u].share[i]);
    snprintf(t.at + t.n, t.room - t.n, "}\n");
    *dot = t.at;
    return SL_OK;
}

void sl_composition_pictures_release(sl_ctx *ctx, sl_composition_pictures *p)
{
    sl_free(ctx, p->unit);
    sl_free(ctx, p->edge);
    sl_free(ctx, p->reuse);
    sl_free(ctx, p->attention_feature);
    sl_free(ctx, p->attention);
    *p = (sl_composition_pictures){ 0 };
}
