/* A new study: a folder that appears whole or not at all. */
#include "serve/raters.h"

#include <saelab/rng.h>
#include <stdlib.h>
#include <string.h>

typedef struct maker {
    sl_ctx *ctx;
    const sl__rater_material *m;
    const sl_raters_opts *o;
    sl_raters *store;
    char secret[65];
    sl__rater_items items;
    uint8_t *judge;         /* [units, raters] */
    int64_t n_units;
    double skill[SL_MAX_GROUPS];
} maker;

/* ---- checks ---- */

static sl_status check(maker *k, sl_err *err)
{
    const sl_raters_opts *o = k->o;
    int n = k->m->n_methods;
    if (n < 2 || n > SL_MAX_GROUPS)
        return sl_fail(err, SL_ARG, "methods", "2 to 16 of them; 3 with a random control", "%d given", n);
    for (int a = 0; a < n; a++)
        for (int b = 0; b < a; b++)
            if (strcmp(k->m->method[a], k->m->method[b]) == 0)
                return sl_fail(err, SL_ARG, "methods", "a name for each (NAME=PATH)", "two are called '%s'", k->m->method[a]);
    if (o->per_feature > o->raters)
        return sl_fail(err, SL_ARG, "--per-feature", NULL, "%lld raters a feature of %lld", (long long)o->per_feature, (long long)o->raters);
    if (!o->simulated && (o->skill.n || o->careless))
        return sl_fail(err, SL_ARG, o->skill.n ? "--skill" : "--careless", "--simulated", "people are as skilled as they are");
    if (o->simulated && o->skill.n != 1 && o->skill.n != n)
        return sl_fail(err, SL_ARG, "--skill", "one, or one for each method", "%d given for %d methods", o->skill.n, n);
    for (int i = 0; o->simulated && i < n; i++) {
        const char *text = o->skill.v[o->skill.n == 1 ? 0 : i];
        if (!sl_parse_number(text, &k->skill[i]) || k->skill[i] < 0 || k->skill[i] > 1)
            return sl_fail(err, SL_ARG, "--skill", "a number from 0 to 1", "'%.60s'", text);
    }
    return SL_OK;
}

/* ---- the key ---- */

static sl_status seal(maker *k, const char *dir, sl_err *err)
{
    json_t *methods = json_array(), *features = json_array(), *records = json_array();
    for (int i = 0; i < k->m->n_methods; i++)
        json_array_append_new(methods, json_string(k->m->method[i]));
    for (int64_t i = 0; i < k->m->n_features; i++) {
        const sl__rater_feature *f = &k->m->feature[i];
        json_array_append_new(features, json_pack("{s:i, s:I, s:i, s:f}", "group", f->method, "feature", (json_int_t)f->id, "stratum", f->stratum, "density", f->density));
    }
    for (int64_t i = 0; i < k->items.n; i++)
        json_array_append(records, k->items.v[i].key);
    json_t *key = json_pack("{s:i, s:s, s:o, s:o, s:I, s:o}", "version", RATERS_VERSION, "secret", k->secret, "methods", methods, "features", features, "units",
                            (json_int_t)k->n_units, "items", records);
    sl_status st = key ? sl__seal(k->ctx, dir, key, err) : sl_fail(err, SL_MEM, dir, NULL, "no memory for the key");
    json_decref(key);
    return st;
}

/* ---- rows of the store ---- */

static sl_status put_items(maker *k, sl_err *err)
{
    for (int64_t i = 0; i < k->items.n; i++) {
        const sl__rater_item *it = &k->items.v[i];
        char hash[65], *payload = json_dumps(it->payload, JSON_COMPACT), *record = json_dumps(it->key, JSON_COMPACT | JSON_SORT_KEYS);
        sl_status st = payload && record ? SL_OK : sl_fail(err, SL_MEM, "items", NULL, "no memory");
        if (st == SL_OK) {
            sl__hmac_hex(k->secret, "key", record, hash);
            st = sl__sql_do(k->store, err, "INSERT INTO item(id, task, payload, key_hash) VALUES(?, ?, ?, ?)", "tttt", it->id, sl__rater_task_name[it->task], payload, hash);
        }
        free(payload);
        free(record);
        SL_TRY(st);
    }
    return SL_OK;
}

static sl_status put_turns(maker *k, int64_t rater, const sl__rater_turn *turn, int64_t n, sl_err *err)
{
    for (int64_t i = 0; i < n; i++)
        SL_TRY(sl__sql_do(k->store, err, "INSERT INTO turn(rater, position, session, item) VALUES(?, ?, ?, ?)", "iiit", rater + 1, i, turn[i].session,
                          k->items.v[turn[i].item].id));
    return SL_OK;
}

/* Simulated raters answer all at once, a second apart. */
static sl_status put_answers(maker *k, int64_t rater, const sl__rater_turn *turn, int64_t n, sl_err *err)
{
    bool careless = rater < k->o->careless;
    for (int64_t i = 0; i < n; i++) {
        const sl__rater_item *it = &k->items.v[turn[i].item];
        double skill = it->feature < 0 ? 1 : k->skill[json_integer_value(json_object_get(it->key, "group"))];
        json_t *answer = sl__simulated_answer(it, careless ? 0 : skill, (uint64_t)k->o->seed, rater, turn[i].item);
        sl_status st = answer ? sl__rater_keep(k->store, rater + 1, it->id, answer, 1000, "SIMULATED", err) : sl_fail(err, SL_MEM, "answers", NULL, "no memory");
        json_decref(answer);
        SL_TRY(st);
    }
    return SL_OK;
}

/* A rater: a secret link, of which the store keeps a hash only, and an order of questions. */
static sl_status put_rater(maker *k, int64_t rater, sl__rater_turn *turn, uint8_t *mine, int64_t *n, FILE *links, sl_err *err)
{
    char token[RATERS_TOKEN + 1], hash[65];
    SL_TRY(sl__random_hex(token, RATERS_TOKEN, err));
    sl_sha256_hex(token, RATERS_TOKEN, hash);
    fprintf(links, "%lld %s\n", (long long)rater + 1, token);
    SL_TRY(sl__sql_do(k->store, err, "INSERT INTO rater(id, token_hash) VALUES(?, ?)", "it", rater + 1, hash));
    for (int64_t u = 0; u < k->n_units; u++)
        mine[u] = k->judge[u * k->o->raters + rater];
    SL_TRY(sl__plan_turns(k->ctx, &k->items, mine, k->n_units, k->o, rater, turn, n, err));
    SL_TRY(put_turns(k, rater, turn, *n, err));
    return k->o->simulated ? put_answers(k, rater, turn, *n, err) : SL_OK;
}

static sl_status put_raters(maker *k, const char *dir, sl_raters_made *out, sl_err *err)
{
    char path[RATERS_PATH], *text = NULL;
    size_t size;
    FILE *links = open_memstream(&text, &size);
    sl__rater_turn *turn = sl_alloc(k->ctx, (size_t)k->items.n * sizeof *turn);
    uint8_t *mine = sl_alloc(k->ctx, (size_t)k->n_units);
    sl_status st = links && turn && mine ? SL_OK : sl_fail(err, SL_MEM, "raters", NULL, "no memory");
    for (int64_t r = 0; st == SL_OK && r < k->o->raters; r++) {
        int64_t n = 0;
        st = put_rater(k, r, turn, mine, &n, links, err);
        out->n_per_rater = n > out->n_per_rater ? n : out->n_per_rater;
    }
    if (links && fclose(links) != 0 && st == SL_OK)
        st = sl_fail(err, SL_MEM, "raters", NULL, "no memory");
    if (st == SL_OK)
        st = sl_path_join(path, sizeof path, dir, "raters.txt", err);
    if (st == SL_OK)
        st = sl__file_private(path, text, err);
    free(text);
    sl_free(k->ctx, turn);
    sl_free(k->ctx, mine);
    return st;
}

static sl_status put_settings(maker *k, sl_err *err)
{
    char text[32];
    SL_TRY(sl__raters_set(k->store, "simulated", k->o->simulated ? "SIMULATED" : "no", err));
    snprintf(text, sizeof text, "%.3f", RATERS_CATCH_SHARE);
    SL_TRY(sl__raters_set(k->store, "catch_share", text, err));
    snprintf(text, sizeof text, "%lld", (long long)k->o->features);
    SL_TRY(sl__raters_set(k->store, "features", text, err));
    return sl__raters_note(k->store, "made", "", err);
}

/* ---- all of it ---- */

static sl_status judges(maker *k, sl_err *err)
{
    const sl__rater_material *m = k->m;
    int64_t raters = k->o->raters, each = k->o->per_feature ? k->o->per_feature : raters < 3 ? raters : 3;
    k->n_units = m->n_features + m->n_pairs;
    int32_t *method = sl_alloc(k->ctx, (size_t)k->n_units * sizeof *method);
    k->judge = sl_alloc(k->ctx, (size_t)(k->n_units * raters));
    sl_status st = method && k->judge ? SL_OK : sl_fail(err, SL_MEM, "raters", NULL, "no memory");
    for (int64_t i = 0; st == SL_OK && i < k->n_units; i++)
        method[i] = i < m->n_features ? m->feature[i].method : m->pair[i - m->n_features].method;
    if (st == SL_OK)
        st = sl__plan_judges(k->ctx, method, k->n_units, m->n_methods, raters, each, (uint64_t)k->o->seed, k->judge, err);
    sl_free(k->ctx, method);
    return st;
}

static sl_status fill(maker *k, const char *dir, sl_raters_made *out, sl_err *err)
{
    int64_t most = (k->m->n_features + k->m->n_pairs + k->o->session - 1) / k->o->session; /* sessions, if one rater judged everything */
    SL_TRY(sl__random_hex(k->secret, 64, err));
    SL_TRY(sl__items_make(k->ctx, k->m, most * k->o->catches, k->secret, (uint64_t)k->o->seed, &k->items, err));
    SL_TRY(judges(k, err));
    SL_TRY(sl__raters_create(k->ctx, dir, &k->store, err));
    SL_TRY(sl__sql_do(k->store, err, "BEGIN IMMEDIATE", ""));
    SL_TRY(put_settings(k, err));
    SL_TRY(put_items(k, err));
    SL_TRY(put_raters(k, dir, out, err));
    SL_TRY(sl__sql_do(k->store, err, "COMMIT", ""));
    out->n_items = k->items.n;
    return seal(k, dir, err);
}

sl_status sl__raters_make(sl_ctx *ctx, const char *dir, const sl__rater_material *m, const sl_raters_opts *o, sl_raters_made *out, sl_err *err)
{
    maker k = { .ctx = ctx, .m = m, .o = o };
    char partial[RATERS_PATH];
    SL_TRY(check(&k, err));
    if (snprintf(partial, sizeof partial, "%s.partial", dir) >= (int)sizeof partial - 16)
        return sl_fail(err, SL_ARG, dir, "a shorter path", "too long");
    SL_TRY(sl_dir_remove(partial, err));
    SL_TRY(sl_dir_make(partial, err));
    sl_status st = fill(&k, partial, out, err);
    sl_raters_close(k.store); /* its log becomes part of study.db */
    if (st == SL_OK)
        st = sl_path_rename(partial, dir, err);
    if (st != SL_OK)
        (void)!sl_dir_remove(partial, NULL);
    sl__items_release(ctx, &k.items);
    sl_free(ctx, k.judge);
    return st;
}

sl_status sl_raters_init(sl_ctx *ctx, const char *dir, const sl_raters_method *methods, int n_methods, const sl_raters_opts *o, sl_raters_made *out, sl_err *err)
{
    sl__rater_material m = { 0 };
    *out = (sl_raters_made){ 0 };
    if (n_methods < 2 || n_methods > SL_MAX_GROUPS)
        return sl_fail(err, SL_ARG, "methods", "2 to 16 of them; 3 with a random control", "%d given", n_methods);
    sl_status st = sl__pick_features(ctx, methods, n_methods, o, &m, out, err);
    if (st == SL_OK)
        st = sl__raters_make(ctx, dir, &m, o, out, err);
    sl__material_release(ctx, &m);
    return st;
}
