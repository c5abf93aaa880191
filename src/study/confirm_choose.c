/* Which setting of which family stands in a slot: chosen on the selection seeds alone. */
#include "study/confirm.h"

#include <math.h>
#include <string.h>

/* Mean of the choosing metric over the fits of an arm in a phase; NaN: there are none, or one failed. */
static double score(const sl_confirm *c, int phase, int arm)
{
    double sum = 0, n = 0;
    for (int i = 0; i < c->n_fits; i++)
        if (c->fit[i].phase == phase && c->fit[i].arm == arm) {
            sum += sl_fit_metric(&c->fit[i], c->d.select);
            n++;
        }
    return n > 0 ? sum / n : NAN;
}

/* The arm's first cell: family and ratio are the same on all data sets. */
const sl_arm *sl_confirm_arm(const sl_confirm *c, int arm)
{
    for (int i = 0; i < c->plan.n_cells; i++)
        if (c->plan.cell[i].arm == arm)
            return &c->plan.cell[i].is;
    return NULL;
}

/* The arm with the best score among the families of a list; -1: none has one. */
static int best_arm(const sl_confirm *c, int phase, const char *families)
{
    int best = -1;
    double most = NAN;
    for (int a = 0; a < c->plan.n_arms; a++) {
        const sl_arm *arm = sl_confirm_arm(c, a);
        double v = arm && sl_listed(families, sl_arm_family(arm)) ? score(c, phase, a) : NAN;
        if (isfinite(v) && !(v <= most)) {
            most = v;
            best = a;
        }
    }
    return best;
}

/* The only arm of a list of families; -1: none, or several. */
static int only_arm(const sl_confirm *c, const char *families)
{
    int found = -1, n = 0;
    for (int a = 0; a < c->plan.n_arms; a++) {
        const sl_arm *arm = sl_confirm_arm(c, a);
        if (arm && sl_listed(families, sl_arm_family(arm))) {
            found = a;
            n++;
        }
    }
    return n == 1 ? found : -1;
}

/* How many families of the list do better in screening than this one. */
static int64_t better(const sl_confirm *c, const char *list, const char *family)
{
    char name[64];
    int mine = best_arm(c, SL_PHASE_SCREENING, family);
    double own = mine < 0 ? -INFINITY : score(c, SL_PHASE_SCREENING, mine);
    int64_t n = 0;
    for (const char *at = list; at && *at; at += strcspn(at, ","), at += *at == ',') {
        snprintf(name, sizeof name, "%.*s", (int)strcspn(at, ","), at);
        int a = best_arm(c, SL_PHASE_SCREENING, name);
        n += a >= 0 && score(c, SL_PHASE_SCREENING, a) > own;
    }
    return n;
}

bool sl_confirm_is_finalist(const sl_confirm *c, const char *family)
{
    for (int i = 0; i < c->n_slots; i++)
        if (sl_listed(c->slot[i].of, family) && (!c->d.screening || better(c, c->slot[i].of, family) < c->d.finalists))
            return true;
    return false;
}

bool sl_confirm_is_used(const sl_confirm *c, const char *family)
{
    for (int i = 0; i < c->n_slots; i++)
        if (sl_listed(c->slot[i].of, family))
            return true;
    return false;
}

static sl_slot *slot_of(const sl_confirm *c, const char *name)
{
    for (int i = 0; name && i < c->n_slots; i++)
        if (strcmp(c->slot[i].name, name) == 0)
            return &c->slot[i];
    return NULL;
}

/* Mean achieved magnitude of the perturbations of an arm, in thousandths; negative: nothing was measured. */
static double achieved(const sl_confirm *c, int phase, int arm)
{
    double sum = 0, n = 0;
    for (int i = 0; i < c->n_fits; i++) {
        json_t *v = json_object_get(c->fit[i].result, "achieved");
        if (c->fit[i].phase != phase || c->fit[i].arm != arm || !json_is_number(v))
            continue;
        sum += json_number_value(v);
        n++;
    }
    return n > 0 ? rint(1000 * sum / n) / 1000 : -1;
}

/* A copy of an injection in other directions is given its norm. */
static sl_status match_norm(sl_confirm *c, int phase, sl_slot *s, sl_err *err)
{
    sl_perturb_config p = sl_confirm_arm(c, s->arm)->perturb;
    int before = p.type;
    SL_TRY(sl_opts_from_yaml(c->ctx, sl_perturb_opts, &p, s->perturb, NULL, err));
    if (p.type == SL_PERTURB_DIRECT && before == SL_PERTURB_INJECT)
        s->eps = achieved(c, phase, s->arm);
    return SL_OK;
}

sl_status sl_confirm_choose(sl_confirm *c, sl_err *err)
{
    int phase = c->d.retuning ? SL_PHASE_RETUNING : SL_PHASE_SCREENING;
    for (int i = 0; i < c->n_slots; i++) {
        sl_slot *s = &c->slot[i];
        if (s->like) {
            s->arm = slot_of(c, s->like)->arm;
            SL_TRY(match_norm(c, phase, s, err));
            continue;
        }
        s->arm = only_arm(c, s->of);
        if (s->arm < 0)
            s->arm = best_arm(c, phase, s->of);
        if (s->arm < 0)
            return sl_fail(err, SL_DATA, s->name, "a setting whose seeds all gave a value", "no setting of %s has a %s on the selection seeds", s->of, c->d.select);
        sl_log(c->ctx, SL_LOG_INFO, "%s: %s", s->name, c->plan.arm[s->arm]);
    }
    return SL_OK;
}

/* R: what a step of the treatment costs; of the dearest of its families while it is not chosen. */
double sl_confirm_ratio(const sl_confirm *c)
{
    const sl_slot *t = slot_of(c, c->d.treatment);
    double most = 1;
    if (t->arm >= 0)
        return sl_confirm_arm(c, t->arm)->how.ratio;
    for (int a = 0; a < c->plan.n_arms; a++) {
        const sl_arm *arm = sl_confirm_arm(c, a);
        if (arm && sl_listed(t->of, sl_arm_family(arm)))
            most = fmax(most, arm->how.ratio);
    }
    return most;
}

static void set_steps(sl_arm *a, double at, double ratio, double R)
{
    double factor = at > 0 ? at : R / ratio;
    a->how.ratio = ratio;
    a->train.steps = (int64_t)llround((double)a->train.steps * factor);
    a->train.steps = a->train.steps < 1 ? 1 : a->train.steps;
}

sl_status sl_confirm_arm_on(const sl_confirm *c, int arm, int set, sl_arm *out, sl_err *err)
{
    const sl_arm *cell = sl_plan_cell(&c->plan, arm, set);
    if (!cell)
        return sl_fail(err, SL_CONFIG, c->plan.arm[arm], "an arm that is on all data sets of its phase", "it is not on %s", c->plan.set[set].name);
    *out = *cell;
    set_steps(out, cell->how.at, cell->how.ratio, sl_confirm_ratio(c));
    return SL_OK;
}

sl_status sl_confirm_slot_on(const sl_confirm *c, const sl_slot *s, int set, sl_arm *out, sl_err *err)
{
    const sl_arm *cell = sl_plan_cell(&c->plan, s->arm, set);
    const sl_slot *like = slot_of(c, s->perturb_like);
    const sl_arm *from = like ? sl_plan_cell(&c->plan, like->arm, set) : NULL; /* as it is on this data set */
    if (!cell || (like && !from))
        return sl_fail(err, SL_CONFIG, c->plan.arm[cell ? like->arm : s->arm], "an arm that is on all data sets of the confirmation", "it is not on %s", c->plan.set[set].name);
    *out = *cell;
    snprintf(out->name, sizeof out->name, "%s", s->name);
    double ratio = cell->how.ratio;
    if (from) {
        out->perturb = from->perturb;
        ratio *= from->how.ratio;
    }
    SL_TRY(sl_opts_from_yaml(c->ctx, sl_perturb_opts, &out->perturb, s->perturb, NULL, err));
    if (s->eps >= 0)
        out->perturb.eps = s->eps;
    set_steps(out, s->at >= 0 ? s->at : cell->how.at, ratio, sl_confirm_ratio(c));
    return SL_OK;
}
