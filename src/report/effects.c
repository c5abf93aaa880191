/* Effects from the figures of a run. */
#include "report/effects.h"

#include <saelab/stats.h>

#include <string.h>

static json_t *seeds_of(const sl_facts *f, const char *arm, const char *metric)
{
    char key[160];
    snprintf(key, sizeof key, "%s_%s", arm, metric);
    return json_object_get(f->lists, key);
}

const char *sl_arm_score(const sl_facts *f)
{
    static const char *const SCORES[] = { "ce_loss_score", "f1_h", "ev", NULL };
    for (const char *const *m = SCORES; *m && f->n_arms > 0; m++)
        if (sl_facts_figure(f, f->arm[0], *m).known)
            return *m;
    return NULL;
}

static bool fill(const sl_facts *f, const char *arm, const char *metric, sl_arm_effect *e)
{
    json_t *a = seeds_of(f, arm, metric), *b = seeds_of(f, f->arm[0], metric);
    double x[SL_EFFECT_SEEDS], y[SL_EFFECT_SEEDS];
    sl_paired p;
    *e = (sl_arm_effect){ .dataset = f->dataset, .arm = arm, .base = f->arm[0], .metric = metric };
    for (size_t i = 0; i < json_array_size(a) && i < json_array_size(b) && e->n < SL_EFFECT_SEEDS; i++) {
        json_t *u = json_array_get(a, i), *v = json_array_get(b, i);
        if (!json_is_number(u) || !json_is_number(v))
            continue;
        x[e->n] = json_number_value(u);
        y[e->n] = json_number_value(v);
        e->d[e->n] = x[e->n] - y[e->n];
        e->mean += e->d[e->n++];
    }
    if (e->n == 0)
        return false;
    e->mean /= e->n;
    e->has_interval = e->n > 1 && sl_paired_test(f->ctx, x, y, e->n, .95, 0, &p, NULL) == SL_OK;
    e->lo = e->has_interval ? p.lo : e->mean;
    e->hi = e->has_interval ? p.hi : e->mean;
    sl_figure own = sl_facts_figure(f, arm, metric), base = sl_facts_figure(f, f->arm[0], metric);
    e->has_mark = own.has_floor && base.known;
    e->mark = own.floor - base.mean;
    return true;
}

int sl_arm_effects(sl_facts *f, sl_arm_effect *out, int most)
{
    int n = 0;
    for (int i = 0; i < f->n_datasets; i++) {
        sl_facts_dataset(f, i);
        const char *metric = f->n_arms > 1 ? sl_arm_score(f) : NULL;
        for (int a = 1; metric && a < f->n_arms && n < most; a++)
            n += fill(f, f->arm[a], metric, &out[n]);
    }
    sl_facts_dataset(f, 0);
    return n;
}
