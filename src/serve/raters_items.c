/* Questions from material: what a rater sees, and what is right. No payload says which method or feature it is of. */
#include "serve/raters.h"

#include <saelab/rng.h>
#include <string.h>

const char *const sl__rater_task_name[RATE_N_TASKS] = { "intruder", "detection", "rating", "composition" };
const double sl__rater_chance[RATE_N_TASKS] = { 1. / RATERS_INTRUDERS, .5, 3, 1. / RATERS_COMPOSE };

int sl__rater_task_of(const char *name)
{
    for (int t = 0; name && t < RATE_N_TASKS; t++)
        if (strcmp(name, sl__rater_task_name[t]) == 0)
            return t;
    return -1;
}

typedef struct maker {
    sl_ctx *ctx;
    const sl__rater_material *m;
    const char *secret;
    sl__rater_items *items;
    sl_rng r;
} maker;

/* ---- lists of contexts ---- */

static void shuffle(sl_rng *r, json_t *list)
{
    for (size_t i = json_array_size(list); i > 1; i--) {
        size_t k = (size_t)sl_rng_below(r, i);
        json_t *a = json_incref(json_array_get(list, i - 1)), *b = json_array_get(list, k);
        json_array_set(list, i - 1, b);
        json_array_set_new(list, k, a);
    }
}

/* Moves the last context of `from` to `to`; false when there is none. */
static bool move(json_t *from, json_t *to)
{
    size_t n = json_array_size(from);
    if (n == 0)
        return false;
    json_array_append(to, json_array_get(from, n - 1));
    json_array_remove(from, n - 1);
    return true;
}

/* n contexts where the feature is silent: hard ones while there are, the rest at random. */
static bool silent(json_t *hard, json_t *any, int n_hard, int n, json_t *to)
{
    for (int i = 0; i < n; i++)
        if (!(i < n_hard && move(hard, to)) && !move(any, to))
            return false;
    return true;
}

/* The same contexts without their levels. */
static json_t *bare(const json_t *list)
{
    size_t i;
    json_t *c, *out = json_array();
    json_array_foreach(list, i, c)
        json_array_append_new(out, json_pack("{s:O, s:O}", "t", json_object_get(c, "t"), "f", json_object_get(c, "f")));
    return out;
}

/* ---- items ---- */

/* Takes payload and right. */
static sl_status add(maker *k, sl__rater_task task, int64_t unit, int32_t method, int64_t feature, int stratum, int trial, int decile, json_t *payload, json_t *right, sl_err *err)
{
    sl__rater_items *s = k->items;
    char hex[65], *text = NULL;
    if (s->n == s->cap) {
        int64_t cap = s->cap ? 2 * s->cap : 256;
        sl__rater_item *v = sl_alloc(k->ctx, (size_t)cap * sizeof *v);
        if (v && s->n)
            memcpy(v, s->v, (size_t)s->n * sizeof *v);
        sl_free(k->ctx, v ? s->v : NULL);
        s->v = v ? v : s->v;
        s->cap = v ? cap : s->cap;
    }
    bool room = s->n < s->cap;
    json_t *record = json_pack("{s:s, s:o, s:i, s:I, s:i, s:i, s:i, s:b, s:O}", "task", sl__rater_task_name[task], "method",
                               unit < 0 ? json_null() : json_string(k->m->method[method]), "group", unit < 0 ? -1 : method, "feature", (json_int_t)feature,
                               "stratum", stratum, "trial", trial, "decile", decile, "catch", unit < 0, "right", right);
    if (record)
        json_object_set_new(record, "unit", json_integer(unit));
    if (room && record && payload && right)
        text = json_dumps(record, JSON_COMPACT | JSON_SORT_KEYS);
    if (!text) {
        json_decref(record);
        json_decref(payload);
        json_decref(right);
        return sl_fail(err, SL_MEM, "items", NULL, "no memory for the questions");
    }
    sl__hmac_hex(k->secret, "item", text, hex);
    free(text);
    sl__rater_item *it = &s->v[s->n++];
    *it = (sl__rater_item){ .task = task, .feature = unit, .payload = payload, .right = right, .key = record };
    memcpy(it->id, hex, 32);
    json_object_set_new(record, "item", json_string(it->id));
    return SL_OK;
}

/* ---- intruder ---- */

/* Contexts as an intruder question shows them: texts and levels, no mark. */
static json_t *marked(const json_t *context, json_t *levels)
{
    return json_pack("{s:O, s:o}", "t", json_object_get(context, "t"), "a", levels);
}

/* Levels for a context where the feature is silent: as many tokens, and as strong, as in `like`; the token in question has the strongest. */
static json_t *false_levels(maker *k, const json_t *context, const json_t *like)
{
    size_t n = json_array_size(json_object_get(context, "t")), i, n_on = 0;
    int64_t order[256], on[256];
    json_t *v, *out = json_array();
    size_t focus = (size_t)json_integer_value(json_object_get(context, "f"));
    n = n < 256 ? n : 256;
    json_array_foreach(json_object_get(like, "a"), i, v)
        if (json_integer_value(v) > 0 && n_on < n)
            on[n_on++] = json_integer_value(v);
    for (i = 1; i < n_on; i++) /* the strongest first */
        if (on[i] > on[0]) {
            int64_t t = on[0];
            on[0] = on[i];
            on[i] = t;
        }
    sl_rng_perm(&k->r, order, (int64_t)n);
    for (i = 0; i < n; i++)
        json_array_append_new(out, json_integer(0));
    json_array_set_new(out, focus, json_integer(n_on ? on[0] : 10));
    for (size_t used = 1, at = 0; used < n_on && at < n; at++)
        if ((size_t)order[at] != focus)
            json_array_set_new(out, (size_t)order[at], json_integer(on[used++]));
    return out;
}

static sl_status intruder(maker *k, const sl__rater_feature *f, int64_t unit, int trial, int decile, sl_err *err)
{
    json_t *four = json_array(), *one = json_array(), *shown = json_array();
    bool good = true;
    for (int i = 0; i < RATERS_INTRUDERS - 1; i++)
        good = good && move(f->decile[decile], four);
    good = good && move(f->silent, one);
    int64_t at = (int64_t)sl_rng_below(&k->r, RATERS_INTRUDERS), like = (int64_t)sl_rng_below(&k->r, RATERS_INTRUDERS - 1);
    for (int i = 0, from = 0; good && i < RATERS_INTRUDERS; i++) {
        json_t *c = i == at ? json_array_get(one, 0) : json_array_get(four, (size_t)from++);
        json_array_append_new(shown, marked(c, i == at ? false_levels(k, c, json_array_get(four, (size_t)like)) : json_incref(json_object_get(c, "a"))));
    }
    json_decref(four);
    json_decref(one);
    if (!good) {
        json_decref(shown);
        return sl_fail(err, SL_DATA, k->m->method[f->method], NULL, "feature %lld has too few contexts for its questions", (long long)f->id);
    }
    return add(k, RATE_INTRUDER, unit, f->method, f->id, f->stratum, trial, decile, json_pack("{s:o}", "contexts", shown), json_integer(at), err);
}

/* ---- detection and rating ---- */

/* Ten contexts that fire, two of each quintile, the strongest first, and five that do not. */
static json_t *card(const sl__rater_feature *f, bool *good)
{
    json_t *on = json_array(), *off = json_array();
    for (int d = RATERS_DECILES - 1; d >= 0; d--)
        *good = move(f->decile[d], on) && *good;
    *good = silent(f->hard, f->silent, 3, 5, off) && *good;
    return json_pack("{s:o, s:o}", "on", on, "off", off);
}

static json_t *detection(maker *k, const sl__rater_feature *f, json_t **right, bool *good)
{
    json_t *on = json_array(), *off = json_array(), *all = json_array(), *shown;
    int64_t order[RATERS_DETECT];
    for (int q = 0; q < RATERS_DECILES / 2; q++) {
        size_t a = json_array_size(f->decile[2 * q]), b = json_array_size(f->decile[2 * q + 1]);
        *good = move(f->decile[2 * q + (b > a)], on) && *good;
    }
    *good = silent(f->hard, f->silent, 3, 5, off) && *good;
    *right = json_array();
    sl_rng_perm(&k->r, order, RATERS_DETECT);
    for (int i = 0; *good && i < RATERS_DETECT; i++) {
        bool fires = order[i] < RATERS_DETECT / 2;
        json_array_append(all, json_array_get(fires ? on : off, (size_t)order[i] % (RATERS_DETECT / 2)));
        json_array_append_new(*right, json_integer(fires));
    }
    shown = bare(all);
    json_decref(on);
    json_decref(off);
    json_decref(all);
    return shown;
}

/* The four deciles of the intruders: those with contexts enough, spread from the strongest down. */
static int trial_deciles(const sl__rater_feature *f, int out[RATERS_TRIALS])
{
    int have[RATERS_DECILES], n = 0;
    for (int d = RATERS_DECILES - 1; d >= 0; d--)
        if (json_array_size(f->decile[d]) >= RATERS_INTRUDERS - 1 + 2) /* two stay for card and detection */
            have[n++] = d;
    for (int t = 0; t < RATERS_TRIALS && n >= RATERS_TRIALS; t++)
        out[t] = have[t * (n - 1) / (RATERS_TRIALS - 1)];
    return n;
}

static sl_status feature_items(maker *k, int64_t unit, sl_err *err)
{
    const sl__rater_feature *f = &k->m->feature[unit];
    int decile[RATERS_TRIALS];
    bool good = true;
    json_t *right;
    for (int d = 0; d < RATERS_DECILES; d++)
        shuffle(&k->r, f->decile[d]);
    shuffle(&k->r, f->hard);
    shuffle(&k->r, f->silent);
    if (trial_deciles(f, decile) < RATERS_TRIALS)
        return sl_fail(err, SL_DATA, k->m->method[f->method], NULL, "feature %lld has too few contexts for its questions", (long long)f->id);
    for (int t = 0; t < RATERS_TRIALS; t++)
        SL_TRY(intruder(k, f, unit, t, decile[t], err));
    json_t *c = card(f, &good), *shown = detection(k, f, &right, &good);
    sl_status st = good ? SL_OK : sl_fail(err, SL_DATA, k->m->method[f->method], NULL, "feature %lld has too few contexts for its questions", (long long)f->id);
    if (st == SL_OK) {
        st = add(k, RATE_DETECTION, unit, f->method, f->id, f->stratum, 0, -1, json_pack("{s:O, s:o}", "card", c, "contexts", shown), right, err);
        if (st == SL_OK)
            st = add(k, RATE_RATING, unit, f->method, f->id, f->stratum, 0, -1, json_pack("{s:O}", "card", c), json_null(), err);
    } else {
        json_decref(shown);
        json_decref(right);
    }
    json_decref(c);
    return st;
}

/* ---- compositions ---- */

static sl_status pair_item(maker *k, int64_t i, sl_err *err)
{
    const sl__rater_pair *p = &k->m->pair[i];
    json_t *shown = json_array(), *atoms = json_array(), *without;
    shuffle(&k->r, p->shows);
    shuffle(&k->r, p->others);
    int64_t at = (int64_t)sl_rng_below(&k->r, RATERS_COMPOSE);
    for (int64_t c = 0, from = 0; c < RATERS_COMPOSE; c++)
        json_array_append(shown, c == at ? json_array_get(p->shows, 0) : json_array_get(p->others, (size_t)from++));
    without = bare(shown);
    json_decref(shown);
    for (int a = 0; a < 2; a++)
        json_array_append(atoms, p->card[a]);
    return add(k, RATE_COMPOSITION, k->m->n_features + i, p->method, p->id, -1, 0, -1, json_pack("{s:o, s:o}", "atoms", atoms, "contexts", without), json_integer(at), err);
}

/* ---- catch trials: four contexts mark the same token, the fifth another ---- */

typedef struct word { const char *text; const json_t *context; int64_t at; } word;

static int by_text(const void *a, const void *b) { return strcmp(((const word *)a)->text, ((const word *)b)->text); }

static bool visible(const char *s)
{
    return s[strspn(s, " \t\r\n")] != 0;
}

/* All visible tokens of the material's silent contexts, sorted by text. */
static int64_t gather(const sl__rater_material *m, word *out)
{
    int64_t n = 0;
    for (int64_t i = 0; i < m->n_features; i++) {
        size_t c, t;
        json_t *context, *text;
        json_array_foreach(m->feature[i].silent, c, context)
            json_array_foreach(json_object_get(context, "t"), t, text)
                if (visible(json_string_value(text))) {
                    if (out)
                        out[n] = (word){ json_string_value(text), context, (int64_t)t };
                    n++;
                }
    }
    if (out)
        qsort(out, (size_t)n, sizeof *out, by_text);
    return n;
}

static json_t *pointed(const word *w)
{
    json_t *levels = json_array();
    for (size_t i = 0; i < json_array_size(json_object_get(w->context, "t")); i++)
        json_array_append_new(levels, json_integer((int64_t)i == w->at ? 10 : 0));
    return marked(w->context, levels);
}

/* Five words of w [n]: four of one text in different contexts, the fifth another text. */
static bool choose(maker *k, const word *w, int64_t n, const word *four[], const word **other)
{
    for (int tries = 0; tries < 1000; tries++) {
        int64_t at = (int64_t)sl_rng_below(&k->r, (uint64_t)n), lo = at, hi = at; /* a token at random: frequent ones come more often */
        while (lo > 0 && strcmp(w[lo - 1].text, w[at].text) == 0)
            lo--;
        while (hi < n && strcmp(w[hi].text, w[at].text) == 0)
            hi++;
        int found = 0;
        for (int draws = 0; draws < 64 && found < RATERS_INTRUDERS - 1; draws++) {
            const word *c = &w[lo + (int64_t)sl_rng_below(&k->r, (uint64_t)(hi - lo))];
            bool again = false;
            for (int i = 0; i < found; i++)
                again = again || four[i]->context == c->context;
            if (!again)
                four[found++] = c;
        }
        *other = &w[sl_rng_below(&k->r, (uint64_t)n)];
        if (found == RATERS_INTRUDERS - 1 && strcmp((*other)->text, four[0]->text) != 0)
            return true;
    }
    return false;
}

static sl_status catches(maker *k, int64_t n_catches, sl_err *err)
{
    int64_t n = gather(k->m, NULL);
    word *w = sl_alloc(k->ctx, (size_t)(n + 1) * sizeof *w);
    sl_status st = w ? SL_OK : sl_fail(err, SL_MEM, "items", NULL, "no memory for catch trials");
    if (st == SL_OK && n > 0)
        gather(k->m, w);
    for (int64_t i = 0; st == SL_OK && i < n_catches; i++) {
        const word *four[RATERS_INTRUDERS - 1], *other;
        if (n == 0 || !choose(k, w, n, four, &other)) {
            st = sl_fail(err, SL_DATA, "catch trials", "texts in which a word comes back", "no token is in four contexts");
            break;
        }
        json_t *shown = json_array();
        int64_t at = (int64_t)sl_rng_below(&k->r, RATERS_INTRUDERS);
        for (int64_t c = 0, from = 0; c < RATERS_INTRUDERS; c++)
            json_array_append_new(shown, pointed(c == at ? other : four[from++]));
        st = add(k, RATE_INTRUDER, -1, -1, -1, -1, (int)i, -1, json_pack("{s:o}", "contexts", shown), json_integer(at), err);
    }
    sl_free(k->ctx, w);
    return st;
}

/* ---- all ---- */

sl_status sl__items_make(sl_ctx *ctx, const sl__rater_material *m, int64_t n_catches, const char *secret, uint64_t seed, sl__rater_items *out, sl_err *err)
{
    maker k = { .ctx = ctx, .m = m, .secret = secret, .items = out, .r = sl_rng_at(seed, SL_RNG_RATERS, 5, 0) };
    sl_status st = catches(&k, n_catches, err); /* first: the questions use the contexts up */
    for (int64_t i = 0; st == SL_OK && i < m->n_features; i++) {
        k.r = sl_rng_at(seed, SL_RNG_RATERS, 6, (uint64_t)i);
        st = feature_items(&k, i, err);
    }
    for (int64_t i = 0; st == SL_OK && i < m->n_pairs; i++) {
        k.r = sl_rng_at(seed, SL_RNG_RATERS, 7, (uint64_t)i);
        st = pair_item(&k, i, err);
    }
    return st;
}

void sl__items_release(sl_ctx *ctx, sl__rater_items *items)
{
    for (int64_t i = 0; i < items->n; i++) {
        json_decref(items->v[i].payload);
        json_decref(items->v[i].right);
        json_decref(items->v[i].key);
    }
    sl_free(ctx, items->v);
    *items = (sl__rater_items){ 0 };
}
