/* The search for an explanation. Rows that a term already covers are settled; of the others a new term should cover those that are on. */
#include "eval/explain.h"

#include <math.h>
#include <string.h>

enum { PAIRED = 8 }; /* single predicates that are tried with a second one */
#define PENALTY .01

typedef struct seeker {
    const sl_predicates *p;
    const uint8_t *use, *on;
    uint8_t *open;          /* [n] used and not yet covered */
    int64_t *hit, *all;     /* [n_ids] open rows with the predicate: that are on, and all */
    int64_t n_on;           /* of the used rows */
    int64_t covered, right; /* rows covered by the terms so far, and those of them that are on */
    int literals;
} seeker;

static bool holds(const sl_predicates *p, int64_t i, int32_t id)
{
    for (int64_t e = p->ptr[i]; e < p->ptr[i + 1]; e++)
        if (p->id[e] == id)
            return true;
    return id < 0;
}

static double f1_with(const seeker *s, int64_t hit, int64_t all)
{
    return 2 * (double)(s->right + hit) / (double)(s->covered + all + s->n_on);
}

/* Counts over the open rows in which `given` holds (-1: all). */
static void count(seeker *s, int32_t given)
{
    memset(s->hit, 0, (size_t)s->p->n_ids * sizeof *s->hit);
    memset(s->all, 0, (size_t)s->p->n_ids * sizeof *s->all);
    for (int64_t i = 0; i < s->p->n; i++) {
        if (!s->open[i] || !holds(s->p, i, given))
            continue;
        for (int64_t e = s->p->ptr[i]; e < s->p->ptr[i + 1]; e++) {
            s->all[s->p->id[e]]++;
            s->hit[s->p->id[e]] += s->on[i];
        }
    }
}

typedef struct term { int32_t literal[SL_LITERALS]; int64_t hit, all; double score; } term;

static void consider(const seeker *s, int32_t a, int32_t b, int64_t hit, int64_t all, term *best)
{
    double score = f1_with(s, hit, all) - PENALTY * (s->literals + 1 + (b >= 0));
    if (hit > 0 && score > best->score)
        *best = (term){ { a, b }, hit, all, score };
}

/* The PAIRED predicates with the most hits a row, weighed by hits: those that a second literal can make precise. */
static int promising(const seeker *s, int32_t out[PAIRED])
{
    double score[PAIRED];
    int n = 0;
    for (int32_t id = 0; id < s->p->n_ids; id++) {
        double v = s->hit[id] ? (double)s->hit[id] / sqrt((double)s->all[id]) : 0;
        if (!(v > 0) || (n == PAIRED && v <= score[PAIRED - 1]))
            continue;
        int at = n < PAIRED ? n++ : PAIRED - 1;
        for (; at > 0 && score[at - 1] < v; at--) {
            score[at] = score[at - 1];
            out[at] = out[at - 1];
        }
        score[at] = v;
        out[at] = id;
    }
    return n;
}

static void best_term(seeker *s, term *best)
{
    int32_t first[PAIRED];
    count(s, -1);
    for (int32_t id = 0; id < s->p->n_ids; id++)
        consider(s, id, -1, s->hit[id], s->all[id], best);
    int n = promising(s, first);
    for (int k = 0; k < n; k++) {
        count(s, first[k]);
        for (int32_t id = 0; id < s->p->n_ids; id++)
            if (id != first[k])
                consider(s, first[k], id, s->hit[id], s->all[id], best);
    }
}

static void close_rows(seeker *s, const term *t)
{
    for (int64_t i = 0; i < s->p->n; i++)
        if (s->open[i] && holds(s->p, i, t->literal[0]) && holds(s->p, i, t->literal[1]))
            s->open[i] = 0;
    s->covered += t->all;
    s->right += t->hit;
    s->literals += 1 + (t->literal[1] >= 0);
}

sl_status sl_explain(sl_ctx *ctx, const sl_predicates *p, const uint8_t *use, const uint8_t *on, sl_explanation *out, sl_err *err)
{
    seeker s = { .p = p, .use = use, .on = on };
    double score = 0;
    *out = (sl_explanation){ 0 };
    s.open = sl_alloc(ctx, (size_t)p->n);
    s.hit = sl_alloc(ctx, (size_t)p->n_ids * sizeof *s.hit);
    s.all = sl_alloc(ctx, (size_t)p->n_ids * sizeof *s.all);
    sl_status st;
    SL_GO(sl_have("explanations", 3, (const void *const[]){ s.open, s.hit, s.all }, err));
    for (int64_t i = 0; i < p->n; i++) {
        s.open[i] = use[i];
        s.n_on += use[i] && on[i];
    }
    while (out->n < SL_TERMS) {
        term best = { .score = score };
        best_term(&s, &best);
        if (!(best.score > score))
            break;
        score = best.score;
        out->literal[out->n][0] = best.literal[0];
        out->literal[out->n][1] = best.literal[1];
        out->precision[out->n++] = (double)best.hit / (double)best.all;
        close_rows(&s, &best);
        out->f1 = f1_with(&s, 0, 0);
    }
done:
    sl_free(ctx, s.all);
    sl_free(ctx, s.hit);
    sl_free(ctx, s.open);
    return st;
}

int sl_explained(const sl_predicates *p, const sl_explanation *e, int64_t i)
{
    for (int t = 0; t < e->n; t++)
        if (holds(p, i, e->literal[t][0]) && holds(p, i, e->literal[t][1]))
            return t;
    return -1;
}

double sl_fit(const sl_predicates *p, const sl_explanation *e, int64_t i)
{
    double best = 0;
    for (int t = 0; t < e->n; t++) {
        bool two = e->literal[t][1] >= 0;
        double share = (double)(holds(p, i, e->literal[t][0]) + (two && holds(p, i, e->literal[t][1]))) / (two ? 2 : 1);
        best = fmax(best, share * e->precision[t]);
    }
    return best;
}
