/* What lies beside an index: compositions.json of `saelab features build`, stability.json of a run. Both are read and checked once, and then only read. */
#include "io/io.h"
#include "serve/browse.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { BEFORE = 39, AFTER = 24, MOST_MEMBERS = 64, MOST_POINTS = 64, MOST_COMPOSITIONS = 1 << 20 };

/* ---- checking ---- */

static bool is_whole(const json_t *v, int64_t end) { return json_is_integer(v) && json_integer_value(v) >= 0 && json_integer_value(v) < end; }

/* [[whole below end, number, ...], ...] */
static bool is_list(const json_t *list, int64_t end)
{
    size_t i;
    json_t *v;
    if (!json_is_array(list))
        return false;
    json_array_foreach(list, i, v)
        if (!is_whole(json_array_get(v, 0), end) || !json_is_number(json_array_get(v, 1)))
            return false;
    return true;
}

static bool is_square(const json_t *rows, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (json_array_size(json_array_get(rows, i)) != n)
            return false;
        for (size_t k = 0; k < n; k++)
            if (!json_is_number(json_array_get(json_array_get(rows, i), k)))
                return false;
    }
    return json_array_size(rows) == n;
}

static bool is_unit(const sl__set *s, const json_t *u, int64_t n)
{
    const json_t *heat = json_object_get(u, "heat"), *latents = json_object_get(heat, "latents"), *pairs = json_object_get(u, "pairs");
    size_t i;
    json_t *v;
    bool ok = is_whole(json_object_get(u, "q"), n) && is_whole(json_object_get(u, "fired"), INT32_MAX) && json_is_number(json_object_get(u, "energy"))
              && is_list(json_object_get(u, "members"), s->about->n_features) && json_array_size(json_object_get(u, "members")) <= MOST_MEMBERS
              && is_list(json_object_get(u, "places"), s->about->n_rows) && is_list(pairs, s->about->n_features) && json_is_array(latents)
              && json_array_size(latents) <= MOST_MEMBERS && is_square(json_object_get(heat, "pi"), json_array_size(latents));
    if (!ok)
        return false;
    json_array_foreach(latents, i, v)
        ok = ok && is_whole(v, s->about->n_features);
    json_array_foreach(pairs, i, v)
        ok = ok && is_whole(json_array_get(v, 1), s->about->n_features) && json_is_number(json_array_get(v, 2));
    return ok;
}

static bool are_compositions(const sl__set *s, const json_t *j)
{
    const json_t *n = json_object_get(j, "n"), *units = json_object_get(j, "units");
    const char *of = json_string_value(json_object_get(j, "fingerprint")); /* an older index may have been here */
    size_t i;
    json_t *u;
    if (!of || strcmp(of, s->about->fingerprint) != 0 || !is_whole(n, MOST_COMPOSITIONS) || !is_whole(json_object_get(j, "rows"), INT32_MAX) || !json_is_array(units))
        return false;
    json_array_foreach(units, i, u)
        if (!is_unit(s, u, json_integer_value(n)))
            return false;
    return true;
}

static json_t *read_file(const sl__set *s, const char *dir, const char *name)
{
    char path[1100];
    json_t *j = NULL;
    sl_err why;
    snprintf(path, sizeof path, "%.1000s/%s", dir, name);
    if (*dir && sl_path_exists(path) && sl_json_load_file(s->ctx, path, &j, &why) != SL_OK)
        sl_log(s->ctx, SL_LOG_WARN, "%s", why.msg);
    return j;
}

void sl__set_read_left(sl__set *s)
{
    s->stability = read_file(s, s->sae_path, "stability.json");
    s->compositions = read_file(s, s->about->dir, "compositions.json");
    if (!s->compositions || are_compositions(s, s->compositions))
        return;
    sl_log(s->ctx, SL_LOG_WARN, "%s/compositions.json is damaged, or of another index: left out", s->about->dir);
    json_decref(s->compositions);
    s->compositions = NULL;
}

/* ---- compositions ---- */

static int32_t id_at(const json_t *list, size_t i, size_t k) { return (int32_t)json_integer_value(json_array_get(json_array_get(list, i), k)); }

static json_t *members(sl__set *s, const json_t *unit)
{
    const json_t *list = json_object_get(unit, "members");
    int32_t id[MOST_MEMBERS];
    float share[MOST_MEMBERS];
    size_t n = json_array_size(list);
    for (size_t i = 0; i < n; i++) {
        id[i] = id_at(list, i, 0);
        share[i] = (float)json_number_value(json_array_get(json_array_get(list, i), 1));
    }
    return sl__json_features(s, (int)n, id, share);
}

static const json_t *unit_of(const sl__set *s, int64_t q)
{
    size_t i;
    json_t *u;
    json_array_foreach(json_object_get(s->compositions, "units"), i, u)
        if (json_integer_value(json_object_get(u, "q")) == q)
            return u;
    return NULL;
}

static sl_status have_compositions(const sl__set *s, sl_err *err)
{
    return s->compositions ? SL_OK : sl_fail(err, SL_MISSING, s->name, "a compositional SAE, and an index that `saelab features build` made of it", "there are no compositions");
}

static json_t *unit_json(sl__set *s, const json_t *u, int64_t q)
{
    return json_pack("{s:I, s:I, s:f, s:o}", "q", (json_int_t)q, "fired", json_integer_value(json_object_get(u, "fired")), "energy", json_number_value(json_object_get(u, "energy")), "members",
                     members(s, u));
}

/* GET api/set/NAME/compositions: every one of them; those that never fired have fired 0 and no members. */
sl_status sl__get_compositions(void *user, const sl_http_req *q, sl_http_reply *r, sl_err *err)
{
    sl__set *s;
    SL_TRY(sl__browse_set(user, q, &s, err));
    SL_TRY(have_compositions(s, err));
    int64_t n = json_integer_value(json_object_get(s->compositions, "n"));
    const json_t **of = sl_alloc(s->ctx, (size_t)(n + 1) * sizeof *of);
    if (!of)
        return sl_fail(err, SL_MEM, q->path, NULL, "no memory for the list");
    size_t i;
    json_t *u, *list = json_array();
    json_array_foreach(json_object_get(s->compositions, "units"), i, u)
        of[json_integer_value(json_object_get(u, "q"))] = u;
    for (int64_t k = 0; k < n; k++)
        json_array_append_new(list, unit_json(s, of[k], k));
    sl_free(s->ctx, (void *)(uintptr_t)of);
    r->json = json_pack("{s:I, s:o}", "rows", json_integer_value(json_object_get(s->compositions, "rows")), "list", list);
    return r->json ? SL_OK : sl_fail(err, SL_MEM, q->path, NULL, "no memory for the list");
}

static json_t *context(const sl__set *s, const json_t *place)
{
    int n, focus;
    int64_t at = json_integer_value(json_array_get(place, 0));
    const int32_t *string = sl_features_around(s->f, at, BEFORE, AFTER, &n, &focus);
    json_t *text = json_array();
    for (int i = 0; i < n; i++)
        json_array_append_new(text, sl__json_string(s->f, string[i]));
    return json_pack("{s:I, s:i, s:f, s:o}", "at", (json_int_t)at, "focus", focus, "value", json_number_value(json_array_get(place, 1)), "text", text);
}

/* GET api/set/NAME/composition/Q: its members, pi_q(i, j) of those with the largest shares (row i receives, column j is attended to), pairs
 * [i, j, attribution, interaction by ablation or null], and where it is strongest. */
sl_status sl__get_composition(void *user, const sl_http_req *q, sl_http_reply *r, sl_err *err)
{
    sl__set *s;
    int64_t number;
    size_t i;
    json_t *place;
    SL_TRY(sl__browse_set(user, q, &s, err));
    SL_TRY(have_compositions(s, err));
    SL_TRY(sl_http_part_int(q, 1, json_integer_value(json_object_get(s->compositions, "n")), &number, err));
    const json_t *u = unit_of(s, number);
    json_t *contexts = json_array();
    json_array_foreach(json_object_get(u, "places"), i, place)
        json_array_append_new(contexts, context(s, place));
    r->json = unit_json(s, u, number);
    json_object_set_new(r->json, "rows", json_integer(json_integer_value(json_object_get(s->compositions, "rows"))));
    json_object_set_new(r->json, "heat", u ? json_deep_copy(json_object_get(u, "heat")) : json_null());
    json_object_set_new(r->json, "pairs", u ? json_deep_copy(json_object_get(u, "pairs")) : json_array());
    json_object_set_new(r->json, "contexts", contexts);
    return r->json ? SL_OK : sl_fail(err, SL_MEM, q->path, NULL, "no memory for the page");
}

/* ---- robustness ---- */

/* [[achieved magnitude, FSS, low, high], ...]; points without a number are left out. */
static json_t *points(const json_t *curve)
{
    const json_t *x = json_object_get(curve, "achieved"), *fss = json_object_get(curve, "fss");
    json_t *list = json_array();
    for (size_t i = 0; i < json_array_size(x) && i < MOST_POINTS; i++) {
        const json_t *at = json_array_get(x, i), *y = json_array_get(json_object_get(fss, "y"), i), *lo = json_array_get(json_object_get(fss, "lo"), i),
                     *hi = json_array_get(json_object_get(fss, "hi"), i);
        if (!json_is_number(at) || !json_is_number(y))
            continue;
        json_array_append_new(list, json_pack("[f, f, f, f]", json_number_value(at), json_number_value(y), json_number_value(json_is_number(lo) ? lo : y),
                                              json_number_value(json_is_number(hi) ? hi : y)));
    }
    return list;
}

/* GET api/set/NAME/stability: the robustness curves of the SAE, one a kind of noise; none where no run left them. */
sl_status sl__get_stability(void *user, const sl_http_req *q, sl_http_reply *r, sl_err *err)
{
    sl__set *s;
    const char *noise;
    json_t *curve, *all = json_array();
    sl_status st = sl__browse_set(user, q, &s, err);
    if (st != SL_OK) {
        json_decref(all);
        return st;
    }
    json_object_foreach(json_object_get(s->stability, "curves"), noise, curve)
        json_array_append_new(all, json_pack("{s:s, s:o}", "noise", noise, "points", points(curve)));
    r->json = json_pack("{s:o}", "curves", all);
    return SL_OK;
}
