/* Recovery of relations by the ways that there are: units (compositions), pairs of a nonlinear decoder, and post-hoc pairs of any codes. */
#include "eval/compose.h"

#include <saelab/rng.h>

#include <stdio.h>

static const char *const of_recovery[] = { "comp_f1", "comp_precision", "comp_recall", "comp_claims", "comp_strict_f1", "comp_f1_units", "comp_f1_pairs", "comp_f1_posthoc", NULL };
static const char *const of_withheld[] = { "comp_f1_withheld", "comp_precision_withheld", "comp_recall_withheld", "comp_claims_withheld", "comp_strict_f1_withheld",
                                           "comp_f1_units_withheld", "comp_f1_pairs_withheld", "comp_f1_posthoc_withheld", NULL };
enum { UNITS, PAIRS, POSTHOC, WAYS };
enum { FLOOR_DRAWS = 5 };

typedef struct score {
    sl_compose_work *w;
    const sl_compose_part *t;
    sl_relations rel;
    bool withheld;
    const char *suffix;
} score;

static sl_status put_named(const score *k, const char *name, double v, int64_t n, sl_err *err)
{
    char full[64];
    snprintf(full, sizeof full, "%s%s", name, k->suffix);
    return sl_metrics_put(k->w->ctx, k->w->out, full, v, n, err);
}

static sl_status null_named(const score *k, const char *name, const char *reason, sl_err *err)
{
    char full[64];
    snprintf(full, sizeof full, "%s%s", name, k->suffix);
    return sl_metrics_null(k->w->ctx, k->w->out, full, reason, err);
}

/* Puts a way's result: by its name, and under comp_f1 where it is the way that fits the SAE. A pair is a claim in itself: its score is strict. */
static sl_status put_way(const score *k, int way, const sl_recovery *r, bool fits, sl_err *err)
{
    static const char *const name[WAYS] = { "comp_f1_units", "comp_f1_pairs", "comp_f1_posthoc" };
    bool strict = way == PAIRS;
    int64_t wrong = strict ? r->wrong_strict : r->wrong, claims = r->hits + wrong;
    double f1 = sl_recovery_f1(r, strict);
    SL_TRY(put_named(k, name[way], f1, r->targets, err));
    if (!fits)
        return SL_OK;
    SL_TRY(put_named(k, "comp_f1", f1, r->targets, err));
    SL_TRY(put_named(k, "comp_strict_f1", sl_recovery_f1(r, true), r->targets, err));
    SL_TRY(put_named(k, "comp_recall", (double)r->hits / (double)r->targets, r->targets, err));
    SL_TRY(put_named(k, "comp_claims", (double)claims, claims, err));
    return claims ? put_named(k, "comp_precision", (double)r->hits / (double)claims, claims, err) : null_named(k, "comp_precision", "nothing was claimed", err);
}

static sl_status score_units(const score *k, sl_err *err)
{
    const sl_compose_part *t = k->t;
    sl_composition_pictures *p = k->w->p;
    sl_units u = { t->b.m_c, t->d.d_sae, sl_sparse_of(&t->b.c, t->d.n_rows, t->b.m_c), t->share };
    int32_t *composite = sl_alloc(k->w->ctx, (size_t)u.n * sizeof *composite);
    double *phi = sl_alloc(k->w->ctx, (size_t)u.n * sizeof *phi);
    sl_recovery r;
    sl_status st;
    SL_GO(sl_have("composition", 2, (const void *const[]){ composite, phi }, err));
    SL_GO(sl_recover(k->w->ctx, &u, &k->rel, k->w->family, k->w->o->min_rows, k->withheld, composite, phi, &r, err));
    for (int64_t i = 0; p && !k->withheld && i < p->n_units; i++) {
        int32_t c = composite[p->unit[i].q];
        p->unit[i].relation = c < 0 ? -1 : k->rel.v[c].id;
        p->unit[i].phi = phi[p->unit[i].q];
    }
    SL_GO(put_way(k, UNITS, &r, true, err));
done:
    sl_free(k->w->ctx, phi);
    sl_free(k->w->ctx, composite);
    return st;
}

/* The first pairs as claims. */
static sl_status recover_pairs(const score *k, const sl_pair *pair, int64_t n, sl_recovery *r, sl_err *err)
{
    sl_units u;
    SL_TRY(sl_pair_units(k->w->ctx, &k->t->d.z, pair, n, &u, err));
    sl_status st = sl_recover(k->w->ctx, &u, &k->rel, k->w->family, k->w->o->min_rows, k->withheld, NULL, NULL, r, err);
    sl_units_release(k->w->ctx, &u);
    return st;
}

/* Brings the `top` pairs with the largest scores to the front. */
static void best_first(sl_pair *pair, int64_t n, int64_t top)
{
    for (int64_t a = 0; a < top && a < n; a++) {
        int64_t best = a;
        for (int64_t b = a + 1; b < n; b++)
            if (pair[b].score > pair[best].score)
                best = b;
        sl_pair t = pair[a];
        pair[a] = pair[best];
        pair[best] = t;
    }
}

static sl_status score_pairs(const score *k, bool fits, sl_err *err)
{
    sl_compose_work *w = k->w;
    sl_pair *pair = NULL;
    int64_t n = 0, top;
    double chance = 0;
    sl_recovery r;
    sl_status st;
    SL_GO(sl_pairs_of(w->ctx, &k->t->d.z, w->o->min_rows, &pair, &n, err));
    top = n < w->o->top_pairs ? n : w->o->top_pairs;
    SL_GO(sl_decoder_pairs(w->ctx, w->s, &k->t->d.z, pair, n, err));
    best_first(pair, n, top);
    SL_GO(recover_pairs(k, pair, top, &r, err));
    SL_GO(put_way(k, PAIRS, &r, fits, err));
    sl_rng rng = sl_rng_at(w->o->seed, SL_RNG_EVAL, SL_DRAW_PAIRS, k->withheld);
    for (int draw = 0; draw < FLOOR_DRAWS; draw++) {
        for (int64_t a = 0; a < n; a++)
            pair[a].score = sl_rng_uniform(&rng);
        best_first(pair, n, top);
        SL_GO(recover_pairs(k, pair, top, &r, err));
        chance += sl_recovery_f1(&r, true) / FLOOR_DRAWS;
    }
    sl_metrics_floor(w->out, k->withheld ? "comp_f1_pairs_withheld" : "comp_f1_pairs", chance);
    if (fits)
        sl_metrics_floor(w->out, k->withheld ? "comp_f1_withheld" : "comp_f1", chance);
done:
    sl_free(w->ctx, pair);
    return st;
}

static sl_status score_posthoc(const score *k, bool fits, sl_err *err)
{
    sl_units u;
    sl_recovery r;
    SL_TRY(sl_posthoc_units(k->w->ctx, &k->t->d, k->w->o->min_rows, k->w->o->top_pairs, &u, err));
    sl_status st = sl_recover(k->w->ctx, &u, &k->rel, k->w->family, k->w->o->min_rows, k->withheld, NULL, NULL, &r, err);
    sl_units_release(k->w->ctx, &u);
    return st == SL_OK ? put_way(k, POSTHOC, &r, fits, err) : st;
}

/* A way that this SAE is too wide for becomes null. */
static sl_status or_null(const score *k, const char *name, sl_status st, const sl_err *why, sl_err *err)
{
    if (st == SL_UNAVAILABLE)
        return null_named(k, name, why->what, err);
    return st == SL_OK ? st : sl_fail(err, st, why->where, why->expected, "%s", why->what);
}

static sl_status score_ways(const score *k, sl_err *err)
{
    const sl_compose_work *w = k->w;
    bool has_units = k->t->share != NULL, has_pairs = w->s && !w->linear;
    sl_err why = { 0 };
    if (has_units)
        SL_TRY(score_units(k, err));
    else
        SL_TRY(null_named(k, "comp_f1_units", w->r ? w->why : "not a compositional SAE", err));
    if (has_pairs)
        SL_TRY(or_null(k, "comp_f1_pairs", score_pairs(k, !w->r, &why), &why, err));
    else
        SL_TRY(null_named(k, "comp_f1_pairs", w->s ? "the decoder is linear" : "a baseline: only its codes are known", err));
    if (w->o->posthoc || (!has_pairs && !has_units))
        return or_null(k, "comp_f1_posthoc", score_posthoc(k, !has_units && !has_pairs, &why), &why, err);
    return null_named(k, "comp_f1_posthoc", "not asked for", err);
}

static int64_t targets(const score *k)
{
    int64_t n = 0;
    for (int64_t r = 0; r < k->rel.n; r++)
        n += k->rel.v[r].withheld == k->withheld && k->rel.v[r].fired >= k->w->o->min_rows;
    return n;
}

sl_status sl_put_recovery(sl_compose_work *w, const sl_compose_part *t, bool withheld, sl_err *err)
{
    score k = { .w = w, .t = t, .withheld = withheld, .suffix = withheld ? "_withheld" : "" };
    const char *const *names = withheld ? of_withheld : of_recovery;
    const char *reason = !w->in->truth || !w->test.d.g.row_ptr || !t->d.g.row_ptr ? "no ground truth" : !t->d.z.row_ptr ? "no codes" : NULL;
    if (reason)
        return sl_put_nulls(w->ctx, w->out, names, withheld && !w->in->ood ? "no rows with withheld combinations" : reason, err);
    SL_TRY(sl_put_nulls(w->ctx, w->out, names, "not measured for this SAE", err)); /* those that no way puts */
    SL_TRY(sl_relations_of(w->ctx, w->in->truth, &t->d.g, &k.rel, err));
    sl_status st = targets(&k) > 0 ? score_ways(&k, err) : sl_put_nulls(w->ctx, w->out, names, withheld ? "the world withholds no relation" : "no relation holds often enough", err);
    sl_relations_release(w->ctx, &k.rel);
    return st;
}
