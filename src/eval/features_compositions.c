/* What each composition of a compositional SAE is, beside the index of its features: compositions.json. */
#include "eval/features.h"

#include <string.h>

enum { SCHEMA = 1 };

/* Where the top rows of a composition are in the index: [row, value]. Rows that it does not hold are left out. */
static json_t *places(const sl_features *f, const sl_gathered *rows, const sl_composition_unit *u)
{
    json_t *all = json_array();
    for (int32_t k = 0; k < u->n_rows; k++) {
        int64_t r = u->top[k].row, at = rows->data.doc ? sl_features_find(f, rows->data.doc[r], rows->data.pos[r]) : r;
        if (at >= 0 && at < sl_features_about(f)->n_rows)
            json_array_append_new(all, json_pack("[I, f]", (json_int_t)at, u->top[k].value));
    }
    return all;
}

static json_t *heat(const sl_composition_unit *u)
{
    json_t *latents = json_array(), *pi = json_array();
    for (int32_t i = 0; i < u->n_heat; i++) {
        json_t *row = json_array();
        for (int32_t j = 0; j < u->n_heat; j++)
            json_array_append_new(row, json_real((double)u->heat[i][j]));
        json_array_append_new(pi, row);
        json_array_append_new(latents, json_integer(u->heat_feature[i]));
    }
    return json_pack("{s:o, s:o}", "latents", latents, "pi", pi);
}

static json_t *unit(const sl_features *f, const sl_gathered *rows, const sl_composition_unit *u)
{
    json_t *members = json_array(), *pairs = json_array();
    for (int32_t k = 0; k < u->n_participants; k++)
        json_array_append_new(members, json_pack("[i, f]", (int)u->participant[k], u->share[k]));
    for (int32_t k = 0; k < u->n_pairs; k++)
        json_array_append_new(pairs, json_pack("[i, i, f, o]", (int)u->pair[k].i, (int)u->pair[k].j, u->pair[k].attribution,
                                               u->pair[k].index == u->pair[k].index ? json_real(u->pair[k].index) : json_null())); /* NaN: no row with both */
    return json_pack("{s:i, s:I, s:f, s:o, s:o, s:o, s:o}", "q", (int)u->q, "fired", (json_int_t)u->fired, "energy", u->energy, "members", members, "heat", heat(u), "pairs", pairs,
                     "places", places(f, rows, u));
}

sl_status sl_features_compositions_save(sl_ctx *ctx, const sl_features *f, const sl_composition_pictures *p, const sl_gathered *rows, sl_err *err)
{
    char path[1100];
    json_t *units = json_array();
    snprintf(path, sizeof path, "%s/compositions.json", sl_features_about(f)->dir);
    for (int64_t k = 0; k < p->n_units; k++)
        json_array_append_new(units, unit(f, rows, &p->unit[k]));
    json_t *j = json_pack("{s:i, s:s, s:I, s:I, s:o}", "schema", SCHEMA, "fingerprint", sl_features_about(f)->fingerprint, "n", (json_int_t)p->n_compositions, "rows", (json_int_t)rows->data.n_rows, "units", units);
    sl_status st = sl_json_save(ctx, path, j, err);
    json_decref(j);
    return st;
}
