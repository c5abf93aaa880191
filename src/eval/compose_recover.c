/* Composition recovery (science.md D4, G3): which of the relations that the truth knows did units find?
 *   relation   a composite (a set that is complete, or a feature that is a function of others) and its atoms
 *   claim      of a unit: composite = argmax phi(unit, relation) if >= .7; atoms = those (phi >= .7) of its participants
 *   hit        the atoms claimed are those of the composite claimed; relations of one family and the same atoms count once
 *   wrong      another claim with a composite; strictly also one of two atoms or more without a composite */
#include "eval/compose.h"

#include <math.h>
#include <string.h>

double sl_recovery_f1(const sl_recovery *r, bool strict)
{
    int64_t wrong = strict ? r->wrong_strict : r->wrong, missed = r->targets - r->hits;
    return r->hits ? 2 * (double)r->hits / (double)(2 * r->hits + wrong + missed) : 0;
}

/* ---- relations ---- */

/* Adds v to the rising list of n; returns its new length. */
static int32_t insert(int32_t *list, int32_t n, int32_t v)
{
    int32_t at = 0;
    while (at < n && list[at] < v)
        at++;
    if (at < n && list[at] == v)
        return n;
    for (int32_t i = n; i > at; i--)
        list[i] = list[i - 1];
    list[at] = v;
    return n + 1;
}

static void define(const sl_world_truth *t, sl_relations *out)
{
    for (int64_t s = 0; s < t->n_sets; s++) {
        sl_relation *r = &out->v[out->n++];
        *r = (sl_relation){ .id = (int32_t)s, .family = -1 - (int32_t)s, .withheld = t->set[s].withheld };
        for (int32_t a = 0; a < t->set[s].order; a++)
            r->n_atom = insert(r->atom, r->n_atom, t->feature[t->set[s].feature[a]].family);
    }
    for (int64_t g = 0; g < t->n; g++) {
        const sl_world_feature *f = &t->feature[g];
        if (f->order < 2)
            continue;
        sl_relation *r = &out->v[out->n++];
        *r = (sl_relation){ .id = (int32_t)(t->n_sets + g), .family = f->family };
        for (int32_t a = 0; a < f->n_atom; a++)
            r->n_atom = insert(r->atom, r->n_atom, t->feature[f->atom[a]].family);
    }
}

static bool holds(const sl_world_truth *t, const sl_relation *r, const uint8_t *on)
{
    if (r->id >= t->n_sets)
        return on[r->id - t->n_sets] != 0;
    const sl_world_set *s = &t->set[r->id];
    for (int32_t a = 0; a < s->order; a++)
        if (!on[s->feature[a]])
            return false;
    return true;
}

/* Entries of `on`; with NULL arrays only their number. */
static int64_t mark(const sl_world_truth *t, const sl_sparse *g, sl_relations *out, uint8_t *on, int64_t *ptr, int32_t *idx, float *val)
{
    int64_t nnz = 0;
    for (int64_t r = 0; r < g->n_rows; r++) {
        for (int64_t e = g->row_ptr[r]; e < g->row_ptr[r + 1]; e++)
            on[g->idx[e]] = 1;
        for (int64_t k = 0; k < out->n; k++) {
            if (!holds(t, &out->v[k], on))
                continue;
            if (idx) {
                idx[nnz] = (int32_t)k;
                val[nnz] = 1;
                out->v[k].fired++;
            }
            nnz++;
        }
        ptr[r + 1] = nnz;
        for (int64_t e = g->row_ptr[r]; e < g->row_ptr[r + 1]; e++)
            on[g->idx[e]] = 0;
    }
    return nnz;
}

sl_status sl_relations_of(sl_ctx *ctx, const sl_world_truth *t, const sl_sparse *g, sl_relations *out, sl_err *err)
{
    int64_t *ptr = sl_alloc(ctx, (size_t)(g->n_rows + 1) * sizeof *ptr);
    uint8_t *on = sl_alloc(ctx, (size_t)t->n);
    *out = (sl_relations){ .v = sl_alloc(ctx, (size_t)(t->n_sets + t->n) * sizeof *out->v), .on = { .n_rows = g->n_rows, .row_ptr = ptr } };
    sl_status st;
    SL_GO(sl_have("relations", 3, (const void *const[]){ ptr, on, out->v }, err));
    define(t, out);
    int64_t nnz = mark(t, g, out, on, ptr, NULL, NULL);
    int32_t *idx = sl_alloc(ctx, (size_t)nnz * sizeof *idx);
    float *val = sl_alloc(ctx, (size_t)nnz * sizeof *val);
    out->on = (sl_sparse){ g->n_rows, out->n, ptr, idx, val };
    SL_GO(sl_have("relations", 2, (const void *const[]){ idx, val }, err));
    mark(t, g, out, on, ptr, idx, val);
done:
    sl_free(ctx, on);
    if (st != SL_OK)
        sl_relations_release(ctx, out);
    return st;
}

void sl_relations_release(sl_ctx *ctx, sl_relations *r)
{
    sl_free(ctx, (void *)(uintptr_t)r->on.row_ptr);
    sl_free(ctx, (void *)(uintptr_t)r->on.idx);
    sl_free(ctx, (void *)(uintptr_t)r->on.val);
    sl_free(ctx, r->v);
    *r = (sl_relations){ 0 };
}

/* ---- the best column for each unit ---- */

typedef struct best {
    const sl_columns *unit;
    const int64_t *fired;   /* [columns] */
    const sl_world_truth *only_atoms; /* columns are features, of which composites do not count; NULL: all count */
    int32_t *at;            /* [units] */
    double *phi;
} best;

static void see(void *user, const sl_cross_row *c)
{
    best *b = user;
    for (int64_t k = 0; k < c->n; k++) {
        int32_t f = c->feature[k];
        if (b->only_atoms && b->only_atoms->feature[f].order != 1)
            continue;
        double phi = sl_phi((sl_overlap){ b->unit->n_rows, sl_fired(b->unit, c->latent), b->fired[f], c->co[f] });
        if (phi >= SL_RELATION_PHI && (phi > b->phi[c->latent] || (phi == b->phi[c->latent] && f < b->at[c->latent]))) {
            b->phi[c->latent] = phi;
            b->at[c->latent] = f;
        }
    }
}

/* at [units]: the column of g with the largest phi, -1 below SL_RELATION_PHI. */
static sl_status best_columns(sl_ctx *ctx, const sl_sparse *units, const sl_sparse *g, const sl_world_truth *only_atoms, int32_t *at, double *phi, sl_err *err)
{
    sl_columns u = { 0 };
    int64_t *fired = sl_alloc(ctx, (size_t)g->n_cols * sizeof *fired);
    sl_status st;
    SL_GO(sl_have("composition recovery", 1, (const void *const[]){ fired }, err));
    SL_GO(sl_columns_new(ctx, units, &u, err));
    for (int64_t e = 0; e < g->row_ptr[g->n_rows]; e++)
        fired[g->idx[e]]++;
    for (int64_t k = 0; k < units->n_cols; k++) {
        at[k] = -1;
        phi[k] = 0;
    }
    SL_GO(sl_cross(ctx, &u, g, NULL, see, &(best){ &u, fired, only_atoms, at, phi }, err));
done:
    if (u.ptr)
        sl_columns_release(ctx, &u);
    sl_free(ctx, fired);
    return st;
}

sl_status sl_atoms_of(sl_ctx *ctx, const sl_world_truth *t, const sl_sparse *z, const sl_sparse *g, int32_t *family, sl_err *err)
{
    double *phi = sl_alloc(ctx, (size_t)z->n_cols * sizeof *phi);
    SL_TRY(sl_have("composition recovery", 1, (const void *const[]){ phi }, err));
    sl_status st = best_columns(ctx, z, g, t, family, phi, err);
    for (int64_t j = 0; st == SL_OK && j < z->n_cols; j++)
        family[j] = family[j] < 0 ? -1 : t->feature[family[j]].family;
    sl_free(ctx, phi);
    return st;
}

/* ---- claims ---- */

typedef struct judge {
    const sl_relations *rel;
    int64_t min_rows;
    bool withheld;
    uint8_t *hit;           /* [n] at the first relation of each key */
} judge;

static bool is_target(const judge *k, const sl_relation *r) { return r->withheld == k->withheld && r->fired >= k->min_rows; }

static bool same_atoms(const sl_relation *r, const int32_t *atom, int32_t n)
{
    return r->n_atom == n && memcmp(r->atom, atom, (size_t)n * sizeof *atom) == 0;
}

/* The first relation of r's family and atoms: they count once. */
static int64_t key_of(const sl_relations *rel, int64_t r)
{
    int64_t k = 0;
    while (rel->v[k].family != rel->v[r].family || !same_atoms(&rel->v[k], rel->v[r].atom, rel->v[r].n_atom))
        k++;
    return k;
}

/* Atoms of no relation but one that is asked for elsewhere (withheld, or too rare): such a claim is no error. */
static bool known_elsewhere(const judge *k, const int32_t *atom, int32_t n)
{
    for (int64_t r = 0; r < k->rel->n; r++)
        if (!is_target(k, &k->rel->v[r]) && same_atoms(&k->rel->v[r], atom, n))
            return true;
    return false;
}

static void judge_claim(const judge *k, int32_t composite, const int32_t *atom, int32_t n, sl_recovery *out)
{
    const sl_relation *r = composite >= 0 ? &k->rel->v[composite] : NULL;
    if (r && same_atoms(r, atom, n)) {
        if (is_target(k, r))
            k->hit[key_of(k->rel, composite)] = 1;
        return;
    }
    bool wrong = r && is_target(k, r);
    out->wrong += wrong;
    out->wrong_strict += wrong || (!r && n >= 2 && !known_elsewhere(k, atom, n));
}

/* Families of the participants' atoms, rising; at most 10 participants have a share of .1. */
static int32_t claimed_atoms(const sl_units *u, int64_t q, const int32_t *family, int32_t *atom)
{
    int32_t n = 0;
    for (int64_t i = 0; i < u->d_sae; i++)
        if (u->share[q * u->d_sae + i] >= SL_PARTICIPANT && family[i] >= 0)
            n = insert(atom, n, family[i]);
    return n;
}

static void judge_all(judge *k, const sl_units *u, const int32_t *family, const int32_t *composite, sl_recovery *out)
{
    *out = (sl_recovery){ 0 };
    uint8_t *target = k->hit + k->rel->n;
    for (int64_t q = 0; q < u->n; q++) {
        int32_t atom[SL_UNIT_PARTICIPANTS + 1], n = claimed_atoms(u, q, family, atom);
        judge_claim(k, composite[q], atom, n, out);
    }
    for (int64_t r = 0; r < k->rel->n; r++)
        if (is_target(k, &k->rel->v[r]))
            target[key_of(k->rel, r)] = 1;
    for (int64_t r = 0; r < k->rel->n; r++) {
        out->targets += target[r];
        out->hits += k->hit[r];
    }
}

sl_status sl_recover(sl_ctx *ctx, const sl_units *u, const sl_relations *rel, const int32_t *family, int64_t min_rows, bool withheld, int32_t *composite,
                     double *phi, sl_recovery *out, sl_err *err)
{
    judge k = { rel, min_rows, withheld, sl_alloc(ctx, 2 * (size_t)rel->n) };
    int32_t *at = sl_alloc(ctx, (size_t)u->n * sizeof *at);
    double *best_phi = sl_alloc(ctx, (size_t)u->n * sizeof *best_phi);
    sl_status st;
    SL_GO(sl_have("composition recovery", 3, (const void *const[]){ k.hit, at, best_phi }, err));
    SL_GO(best_columns(ctx, &u->fires, &rel->on, NULL, at, best_phi, err));
    judge_all(&k, u, family, at, out);
    if (composite)
        memcpy(composite, at, (size_t)u->n * sizeof *at);
    if (phi)
        memcpy(phi, best_phi, (size_t)u->n * sizeof *phi);
done:
    sl_free(ctx, best_phi);
    sl_free(ctx, at);
    sl_free(ctx, k.hit);
    return st;
}
