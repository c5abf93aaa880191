/* The section `confirm` of a plan: its design and its slots. Worlds and arms are read as a run's. */
#include "study/confirm.h"

#include <string.h>

static const char *const rules[] = { "purification", "composition", NULL };

const sl_opt sl_design_opts[] = {
    SL_OPT_CHOICE(sl_design, rule, SL_RULE_PURIFICATION, rules, "the decision rule"),
    SL_OPT_INT(sl_design, seeds, 12, 2, 100, "seeds", "fresh ones"),
    SL_OPT_INT(sl_design, first_seed, 0, 0, 1000000, "", "the first of them"),
    SL_OPT_INT(sl_design, selection_seeds, 3, 1, 100, "seeds", "that settings are chosen on"),
    SL_OPT_INT(sl_design, first_selection, 100, 0, 1000000, "", "the first of them"),
    SL_OPT_INT(sl_design, finalists, 1, 1, 100, "families", "of a slot that screening leaves"),
    SL_OPT_STR(sl_design, pilot, NULL, "data set of the calibration arms (of: pilot)"),
    SL_OPT_STR(sl_design, screening, NULL, "data set of the first choice, between families"),
    SL_OPT_STR(sl_design, retuning, NULL, "data set of the second choice, between settings"),
    SL_OPT_STR(sl_design, worlds, NULL, "data sets of the confirmation, commas between them"),
    SL_OPT_STR(sl_design, once, NULL, "data sets shown for one seed, outside the rule"),
    SL_OPT_STR(sl_design, extended, NULL, "data sets of `--extended`: the claim's slots for every seed, outside the rule"),
    SL_OPT_STR(sl_design, select, "f1_h", "metric that settings are chosen by; the largest mean"),
    SL_OPT_STR(sl_design, treatment, "treatment", "slot that the claim is about"),
    SL_OPT_STR(sl_design, comparators, "base", "slots that it has to beat, commas between them"),
    SL_OPT_STR(sl_design, base, "base", "slot: the plain SAE at equal compute"),
    SL_OPT_STR(sl_design, base_1, "base_1", "slot: the plain SAE at equal steps"),
    SL_OPT_STR(sl_design, base_2, "base_2", "slot: the plain SAE with twice the steps"),
    SL_OPT_STR(sl_design, targeted, "inject", "slot: injection of chosen latents"),
    SL_OPT_STR(sl_design, uniform, "inject_uniform", "slot: injection of any latents"),
    SL_OPT_STR(sl_design, matched, "topk_matched", "slot: TopK with as many parameters as the treatment"),
    SL_OPT_STR(sl_design, shuffle, "comp_shuffle", "slot: the treatment with partners of other rows"),
    SL_OPT_STR(sl_design, noise, "", "kinds of noise of the robustness curves, commas between them"),
    SL_OPT_INT(sl_design, stability_rows, 2000, 2, 1000000, "rows", "that noise is measured on"),
    SL_OPT_END
};

typedef struct slot_words { const char *of, *like, *perturb_like; double at; } slot_words;
static const sl_opt slot_opts[] = {
    SL_OPT_STR(slot_words, of, NULL, "families that its arm is chosen from, commas between them"),
    SL_OPT_STR(slot_words, like, NULL, "slot whose arm is copied"),
    SL_OPT_STR(slot_words, perturb_like, NULL, "slot whose perturbation it gets"),
    SL_OPT_FLOAT(slot_words, at, -1, -1, 100, "", "steps in units of the treatment's; 0: at equal compute; negative: its arm's own"),
    SL_OPT_END
};
static const char *const SLOT_MAPS[] = { "perturb", NULL };

bool sl_listed(const char *list, const char *name)
{
    size_t n = strlen(name);
    for (const char *at = list; at && *at; at += strcspn(at, ","), at += *at == ',')
        if (strncmp(at, name, n) == 0 && (at[n] == 0 || at[n] == ','))
            return true;
    return false;
}

bool sl_confirm_in_claim(const sl_confirm *c, const char *slot)
{
    const sl_design *d = &c->d;
    bool pure = d->rule == SL_RULE_PURIFICATION;
    return strcmp(slot, d->treatment) == 0 || sl_listed(d->comparators, slot) || strcmp(slot, pure ? d->base_1 : d->matched) == 0 || strcmp(slot, pure ? d->base_2 : d->shuffle) == 0;
}

const char *sl_arm_family(const sl_arm *a) { return a->how.of ? a->how.of : a->name; }

int sl_confirm_set(const sl_confirm *c, const char *name)
{
    for (int s = 1; name && s < c->plan.n_sets; s++)
        if (strcmp(c->plan.set[s].name, name) == 0)
            return s;
    return -1;
}

static const sl_slot *slot_named(const sl_confirm *c, const char *name)
{
    for (int i = 0; i < c->n_slots; i++)
        if (strcmp(c->slot[i].name, name) == 0)
            return &c->slot[i];
    return NULL;
}

/* Every name of a list must be there. kind: "data set", "family", "slot". */
static sl_status check_list(const sl_confirm *c, const char *key, const char *list, const char *kind, sl_err *err)
{
    char name[64];
    for (const char *at = list; at && *at; at += strcspn(at, ","), at += *at == ',') {
        bool found = false;
        snprintf(name, sizeof name, "%.*s", (int)strcspn(at, ","), at);
        for (int a = 0; a < c->plan.n_cells && kind[0] == 'f'; a++)
            found = found || strcmp(sl_arm_family(&c->plan.cell[a].is), name) == 0;
        if (kind[0] == 'd')
            found = sl_confirm_set(c, name) > 0;
        if (kind[0] == 's')
            found = slot_named(c, name) != NULL;
        if (!found)
            return sl_fail(err, SL_CONFIG, key, "a name of the section confirm", "it has no %s '%s'", kind, name);
    }
    return SL_OK;
}

static sl_status read_slot(sl_confirm *c, sl_ynode key, sl_ynode map, sl_err *err)
{
    sl_slot *s = &c->slot[c->n_slots++];
    slot_words w;
    char where[256];
    const char *name = sl_ynode_text(key);
    sl_ynode_where(key, where);
    if (!name || strlen(name) >= sizeof s->name)
        return sl_fail(err, SL_CONFIG, where, "a name of at most 47 letters", "slot '%s'", name ? name : "?");
    sl_opts_default(slot_opts, &w);
    SL_TRY(sl_opts_from_yaml(c->ctx, slot_opts, &w, map, SLOT_MAPS, err));
    *s = (sl_slot){ .of = w.of, .like = w.like, .perturb_like = w.perturb_like, .at = w.at, .perturb = sl_ynode_get(map, "perturb"), .arm = -1, .eps = -1 };
    snprintf(s->name, sizeof s->name, "%s", name);
    if (!s->of == !s->like)
        return sl_fail(err, SL_CONFIG, where, "of: FAMILIES, or like: SLOT", "slot '%s' says both or neither", name);
    SL_TRY(check_list(c, name, s->of, "family", err));
    SL_TRY(check_list(c, name, s->like, "slot", err)); /* of those before it */
    return check_list(c, name, s->perturb_like, "slot", err);
}

static sl_status check_design(const sl_confirm *c, sl_err *err)
{
    const sl_design *d = &c->d;
    bool pure = d->rule == SL_RULE_PURIFICATION;
    const char *const sets[][2] = { { "pilot", d->pilot }, { "screening", d->screening }, { "retuning", d->retuning }, { "worlds", d->worlds }, { "once", d->once }, { "extended", d->extended } };
    const char *const slots[][2] = { { "treatment", d->treatment }, { "comparators", d->comparators }, { "base", pure ? d->base : NULL },
                                     { "matched", pure ? NULL : d->matched }, { "shuffle", pure ? NULL : d->shuffle } };
    for (size_t i = 0; i < sizeof sets / sizeof *sets; i++)
        SL_TRY(check_list(c, sets[i][0], sets[i][1], "data set", err));
    for (size_t i = 0; i < sizeof slots / sizeof *slots; i++)
        SL_TRY(check_list(c, slots[i][0], slots[i][1], "slot", err));
    if (!d->worlds)
        return sl_fail(err, SL_CONFIG, "design", "worlds: NAMES", "the confirmation has no data set");
    if (d->first_seed < d->first_selection + d->selection_seeds && d->first_selection < d->first_seed + d->seeds)
        return sl_fail(err, SL_CONFIG, "design", "fresh seeds that no setting was chosen on", "seeds %lld to %lld are also selection seeds", (long long)d->first_seed,
                       (long long)(d->first_seed + d->seeds - 1));
    return SL_OK;
}

/* What settings are chosen between has to differ: a world's every_arm that sets what its arms differ in would make them one. */
static sl_status check_settings(const sl_confirm *c, const char *world, sl_err *err)
{
    int set = sl_confirm_set(c, world);
    for (int i = 0; set > 0 && i < c->plan.n_arms; i++)
        for (int k = 0; k < i; k++) {
            const sl_arm *a = sl_plan_cell(&c->plan, i, set), *b = sl_plan_cell(&c->plan, k, set);
            if (!a || !b || strcmp(sl_arm_family(a), sl_arm_family(b)) != 0 || a->how.at != b->how.at)
                continue;
            json_t *one = sl_arm_json(a), *other = sl_arm_json(b);
            bool same = json_equal(one, other);
            json_decref(one);
            json_decref(other);
            if (same)
                return sl_fail(err, SL_CONFIG, b->name, "settings that differ", "on %s arm '%s' is the same (does every_arm set what they differ in?)", world, a->name);
        }
    return SL_OK;
}

static sl_status read_section(sl_confirm *c, sl_ynode section, sl_ynode profile, sl_err *err)
{
    sl_ynode slots = sl_ynode_get(section, "slots");
    sl_opts_default(sl_design_opts, &c->d);
    SL_TRY(sl_opts_from_yaml(c->ctx, sl_design_opts, &c->d, sl_ynode_get(section, "design"), NULL, err));
    SL_TRY(sl_opts_from_yaml(c->ctx, sl_design_opts, &c->d, sl_ynode_get(profile, "design"), NULL, err));
    c->slot = sl_alloc(c->ctx, (size_t)(sl_ynode_len(slots) + 1) * sizeof *c->slot);
    if (!c->slot)
        return sl_fail(err, SL_MEM, "slots", NULL, "no memory for them");
    for (int i = 0; i < sl_ynode_len(slots); i++)
        SL_TRY(read_slot(c, sl_ynode_key(slots, i), sl_ynode_at(slots, i), err));
    SL_TRY(check_design(c, err));
    SL_TRY(check_settings(c, c->d.screening, err));
    return check_settings(c, c->d.retuning, err);
}

sl_status sl_confirm_load(sl_ctx *ctx, const char *study_dir, int profile, sl_confirm *out, sl_err *err)
{
    char path[SL_PATH];
    *out = (sl_confirm){ .ctx = ctx, .plan = { .ctx = ctx } };
    SL_TRY(sl_path_join(path, sizeof path, study_dir, "experiment.yaml", err));
    SL_TRY(sl_yaml_load(ctx, path, &out->doc, err));
    sl_ynode section = sl_ynode_get(sl_yaml_root(out->doc), "confirm");
    if (sl_ynode_kind(section) != SL_Y_MAP)
        return sl_fail(err, SL_MISSING, path, "a section confirm", "the plan confirms nothing");
    SL_TRY(sl_plan_load(ctx, study_dir, "confirm", profile, &out->plan, err));
    return read_section(out, section, sl_ynode_get(section, sl_profiles[profile]), err);
}

void sl_confirm_release(sl_confirm *c)
{
    for (int i = 0; i < c->n_fits; i++)
        json_decref(c->fit[i].result);
    sl_free(c->ctx, c->fit);
    sl_free(c->ctx, c->slot);
    sl_plan_release(&c->plan);
    sl_yaml_free(c->doc);
}
