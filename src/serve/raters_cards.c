/* Contexts of a feature, from an index of features, as a rater sees them: texts of tokens and levels 0..10. */
#include "base/utf8.h"
#include "serve/raters.h"

#include <math.h>
#include <string.h>

/* What a feature needs for one card, one detection and four intruder questions. */
enum { PER_QUINTILE = 3, PER_TRIAL = RATERS_INTRUDERS - 1, NEED_SILENT = 8, NEED_OFF = 14 };

/* Bytes of a token as JSON text: what is no whole character is spelled <E2>. */
static json_t *text_of(const char *s, size_t n)
{
    char out[256];
    size_t used = 0;
    for (size_t i = 0; i < n && used + 8 < sizeof out;) {
        uint32_t cp;
        size_t k = sl_utf8_decode(s + i, n - i, &cp);
        if (k > 0 && cp != 0)
            memcpy(out + used, s + i, k);
        else
            snprintf(out + used, 8, "<%02X>", (unsigned char)s[i]);
        used += k > 0 && cp != 0 ? k : 4;
        i += k > 0 ? k : 1;
    }
    return json_stringn(out, used);
}

/* Level of an activation: ceil(10 z / max), as delphi marks them (science.md E1). */
static int level_of(double z, double max)
{
    if (!(z > 0) || !(max > 0))
        return 0;
    double v = ceil(10 * z / max - 1e-6); /* the quantum of the index is max / 255 */
    return v < 1 ? 1 : v > 10 ? 10 : (int)v;
}

static json_t *context_of(const sl_features *f, const sl_context *x, double max)
{
    json_t *texts = json_array(), *levels = json_array();
    for (int i = 0; i < x->n; i++) {
        size_t n;
        const char *s = sl_features_string(f, x->string[i], &n);
        json_array_append_new(texts, text_of(s, n));
        json_array_append_new(levels, json_integer(level_of(i == x->focus ? (double)x->value : x->level[i] * (double)x->unit, max)));
    }
    return json_pack("{s:o, s:o, s:i}", "t", texts, "a", levels, "f", x->focus);
}

static bool enough_of(const int n_on[RATERS_DECILES], int n_off, int n_silent)
{
    int trials = 0;
    for (int d = 0; d < RATERS_DECILES; d++) {
        if (n_on[d] < 1 || (d % 2 && n_on[d] + n_on[d - 1] < PER_QUINTILE))
            return false;
        trials += n_on[d] >= 2 + PER_TRIAL;
    }
    return trials >= RATERS_TRIALS && n_silent >= NEED_SILENT && n_off >= NEED_OFF;
}

sl_status sl__card_of(const sl_features *index, int64_t id, sl__rater_feature *f, bool *enough, sl_err *err)
{
    sl_feature j;
    sl_context x;
    int n_on[RATERS_DECILES] = { 0 }, n_off = 0, n_silent = 0;
    SL_TRY(sl_features_get(index, id, &j, err));
    for (int i = 0; i < j.n_contexts; i++) {
        sl_features_context(index, j.first_context + i, &x);
        if (x.kind == SL_CONTEXT_QUANTILE)
            n_on[x.quantile]++;
        n_off += x.kind == SL_CONTEXT_NEAR || x.kind == SL_CONTEXT_SILENT;
        n_silent += x.kind == SL_CONTEXT_SILENT;
    }
    *enough = enough_of(n_on, n_off, n_silent);
    if (!*enough || !f)
        return SL_OK;
    f->id = id;
    f->density = j.density;
    f->hard = json_array();
    f->silent = json_array();
    for (int d = 0; d < RATERS_DECILES; d++)
        f->decile[d] = json_array();
    for (int i = 0; i < j.n_contexts; i++) {
        sl_features_context(index, j.first_context + i, &x);
        json_t *list = x.kind == SL_CONTEXT_QUANTILE ? f->decile[x.quantile] : x.kind == SL_CONTEXT_NEAR ? f->hard : x.kind == SL_CONTEXT_SILENT ? f->silent : NULL;
        if (list)
            json_array_append_new(list, context_of(index, &x, (double)j.max));
    }
    return f->hard && f->silent && f->decile[0] ? SL_OK : sl_fail(err, SL_MEM, "cards", NULL, "no memory for feature %lld", (long long)id);
}

/* ---- compositions ---- */

/* Contexts of a kind, at most `most`, evenly over the list. */
static json_t *contexts_of(const sl_features *f, const sl_feature *j, bool fires, int most)
{
    sl_context x;
    int n = 0, taken = 0, at = 0;
    json_t *out = json_array();
    for (int pass = 0; pass < 2; pass++)
        for (int i = 0; i < j->n_contexts; i++) {
            sl_features_context(f, j->first_context + i, &x);
            if ((x.value > 0) != fires)
                continue;
            if (pass == 0)
                n++;
            else if (taken < most && (int64_t)at++ * most / n >= taken) {
                json_array_append_new(out, context_of(f, &x, (double)j->max));
                taken++;
            }
        }
    return out;
}

sl_status sl__pair_of(const sl_raters_method *m, int64_t id, sl__rater_pair *p, bool *enough, sl_err *err)
{
    enum { CARD = 5, SHOWN = 2 };
    sl_feature j, atom;
    SL_TRY(sl_features_get(m->compositions, id, &j, err));
    *enough = false;
    if (j.n_linked < 2 || j.fired < 1)
        return SL_OK;
    p->id = id;
    p->shows = contexts_of(m->compositions, &j, true, SHOWN);
    p->others = contexts_of(m->compositions, &j, false, 2 * (RATERS_COMPOSE - 1));
    for (int a = 0; a < 2; a++) {
        p->atom[a] = j.linked[a];
        SL_TRY(sl_features_get(m->index, p->atom[a], &atom, err));
        p->card[a] = contexts_of(m->index, &atom, true, CARD);
    }
    *enough = json_array_size(p->shows) >= 1 && json_array_size(p->others) >= RATERS_COMPOSE - 1 && json_array_size(p->card[0]) >= CARD && json_array_size(p->card[1]) >= CARD;
    return SL_OK;
}

static void release_pair(sl__rater_pair *p)
{
    json_decref(p->card[0]);
    json_decref(p->card[1]);
    json_decref(p->shows);
    json_decref(p->others);
}

void sl__material_release(sl_ctx *ctx, sl__rater_material *m)
{
    for (int64_t i = 0; i < m->n_features && m->feature; i++) {
        sl__rater_feature *f = &m->feature[i];
        for (int d = 0; d < RATERS_DECILES; d++)
            json_decref(f->decile[d]);
        json_decref(f->hard);
        json_decref(f->silent);
    }
    for (int64_t i = 0; i < m->n_pairs && m->pair; i++)
        release_pair(&m->pair[i]);
    sl_free(ctx, m->feature);
    sl_free(ctx, m->pair);
    *m = (sl__rater_material){ 0 };
}
