/* Arms of a run: each one resolved for each data set that it is on. */
#include "study/plan_parts.h"

#include "study/cache.h"

#include <math.h>
#include <string.h>

const sl_opt sl_arm_opts[] = {
    SL_OPT_INT(sl_arm_how, rows, 20000, 2, 1e7, "rows", "that a baseline is fitted to"),
    SL_OPT_FLOAT(sl_arm_how, budget, 1, .01, 100, "", "factor on the steps: a plain arm with the compute of a dearer one"),
    SL_OPT_INT(sl_arm_how, seeds, 0, 0, 100, "seeds", "of this arm, where it needs fewer than the run; 0: as many"),
    SL_OPT_STR(sl_arm_how, of, NULL, "confirmations: the family that the arm is a setting of; none: its own name"),
    SL_OPT_FLOAT(sl_arm_how, ratio, 1, .1, 100, "", "confirmations: compute of a step, a plain one being 1"),
    SL_OPT_FLOAT(sl_arm_how, at, 0, 0, 100, "", "confirmations: steps in units of the treatment's; 0: at equal compute, by ratio"),
    SL_OPT_INT(sl_arm_how, samples, 0, 0, 1e12, "rows", "that this arm is trained on, of a world; 0: what the world says"),
    SL_OPT_STR(sl_arm_how, steps_of, NULL, "an arm before this one, that may stop early: as many steps as it ran, times budget"),
    SL_OPT_STR(sl_arm_how, size_of, NULL, "topk: an SAE of the run, whose number of weights d_sae is chosen for"),
    SL_OPT_END
};

/* Where an arm's options go: option tables and the structs that they fill, in the order in which a key is looked for. */
typedef struct part { const char *map; /* nested under this key; NULL: beside one another */ const sl_opt *table; void *cfg; } part;
enum { MOST_PARTS = 6 };

static int parts_of(sl_arm *a, part out[MOST_PARTS])
{
    int n = 0;
    out[n++] = (part){ NULL, sl_arm_opts, &a->how };
    if (a->variant)
        out[n++] = (part){ NULL, sl_sae_train_opts, &a->train };
    if (a->variant)
        out[n++] = (part){ "perturb", sl_perturb_opts, &a->perturb };
    out[n++] = (part){ NULL, a->variant ? a->variant->opts : a->baseline->opts, a->own };
    return n;
}

static bool is_word(const char *key) { return strcmp(key, "on") == 0 || strcmp(key, "baseline") == 0 || strcmp(key, "variant") == 0 || strcmp(key, "sweep") == 0; }

static const part *part_with(const part *parts, int n, const char *key)
{
    for (int i = 0; i < n; i++)
        if (parts[i].map ? strcmp(parts[i].map, key) == 0 : parts[i].table && sl_opts_find(parts[i].table, key) != NULL)
            return &parts[i];
    return NULL;
}

/* One key of an arm's map; *found says whether the arm has it. */
static sl_status set_key(sl_plan *p, sl_arm *a, sl_ynode key_node, sl_ynode value, bool *found, sl_err *err)
{
    part parts[MOST_PARTS];
    int n = parts_of(a, parts);
    const char *key = sl_ynode_text(key_node), *text = sl_ynode_text(value);
    char where[256];
    sl_ynode_where(value, where);
    const part *to = key ? part_with(parts, n, key) : NULL;
    *found = to != NULL;
    if (!to)
        return SL_OK;
    if (to->map)
        return sl_opts_from_yaml(p->ctx, to->table, to->cfg, value, NULL, err);
    if (!text)
        return sl_fail(err, SL_CONFIG, where, "one value", "a list or map stands where a value belongs");
    return sl_opts_set(p->ctx, to->table, to->cfg, key, text, where, SL_CONFIG, err);
}

/* The map of one arm: every key must be its own. */
static sl_status read_arm(sl_plan *p, sl_arm *a, sl_ynode map, sl_err *err)
{
    for (int i = 0; i < sl_ynode_len(map); i++) {
        const char *key = sl_ynode_text(sl_ynode_key(map, i));
        bool found = key && is_word(key);
        char where[256];
        if (!found)
            SL_TRY(set_key(p, a, sl_ynode_key(map, i), sl_ynode_at(map, i), &found, err));
        sl_ynode_where(sl_ynode_key(map, i), where);
        if (!found)
            return sl_fail(err, SL_CONFIG, where, a->variant ? "an option of `saelab sae train --help`" : "an option of `saelab baseline --help`", "unknown key '%s' for %s %s",
                           key ? key : "?", a->variant ? "variant" : "baseline", a->variant ? a->variant->name : a->baseline->name);
    }
    return SL_OK;
}

/* The map of every arm of a data set (set -1: of all): keys that an arm does not have are not for it, but one of them must have each. */
static sl_status read_every(sl_plan *p, int set, sl_ynode map, sl_err *err)
{
    char where[256];
    for (int i = 0; i < sl_ynode_len(map); i++) {
        bool any = false, found;
        for (int c = 0; c < p->n_cells; c++) {
            if (set >= 0 && p->cell[c].set != set)
                continue;
            SL_TRY(set_key(p, &p->cell[c].is, sl_ynode_key(map, i), sl_ynode_at(map, i), &found, err));
            any = any || found;
        }
        sl_ynode_where(sl_ynode_key(map, i), where);
        if (!any && p->n_cells > 0)
            return sl_fail(err, SL_CONFIG, where, "an option of one of the arms", "no arm has the option '%s'", sl_ynode_text(sl_ynode_key(map, i)) ? sl_ynode_text(sl_ynode_key(map, i)) : "?");
    }
    return SL_OK;
}

static int arm_named(const sl_plan *p, const char *name)
{
    int a = 0;
    while (name && a < p->n_arms && strcmp(p->arm[a], name) != 0)
        a++;
    return name && a < p->n_arms ? a : -1;
}

/* {ARM: {options}} for the cells of one data set (set -1: of all). */
static sl_status read_named(sl_plan *p, int set, sl_ynode map, sl_err *err)
{
    for (int i = 0; i < sl_ynode_len(map); i++) {
        int arm = arm_named(p, sl_ynode_text(sl_ynode_key(map, i)));
        char where[256];
        sl_ynode_where(sl_ynode_key(map, i), where);
        const char *name = sl_ynode_text(sl_ynode_key(map, i));
        bool any = arm >= 0;
        for (int c = 0; name && c < p->n_cells; c++)
            if (p->cell[c].is.sweep && strcmp(p->cell[c].is.sweep, name) == 0 && (set < 0 || p->cell[c].set == set)) {
                SL_TRY(read_arm(p, &p->cell[c].is, sl_ynode_at(map, i), err));
                any = true;
            }
        if (!any)
            return sl_fail(err, SL_CONFIG, where, "an arm of the run", "there is no arm '%s'", sl_ynode_text(sl_ynode_key(map, i)) ? sl_ynode_text(sl_ynode_key(map, i)) : "?");
        for (int c = 0; c < p->n_cells; c++)
            if (p->cell[c].arm == arm && (set < 0 || p->cell[c].set == set))
                SL_TRY(read_arm(p, &p->cell[c].is, sl_ynode_at(map, i), err));
    }
    return SL_OK;
}

/* ---- the cells ---- */

static sl_status kind_of(sl_arm *a, sl_ynode map, sl_err *err)
{
    const char *variant = sl_ynode_text(sl_ynode_get(map, "variant")), *baseline = sl_ynode_text(sl_ynode_get(map, "baseline"));
    char names[512] = "", where[256];
    sl_ynode_where(map, where);
    if (variant && baseline)
        return sl_fail(err, SL_CONFIG, where, "one of them", "arm '%s' names a variant and a baseline", a->name);
    a->variant = variant ? sl_variant_find(variant) : NULL;
    a->baseline = baseline ? sl_baseline_find(baseline) : NULL;
    if (a->variant || a->baseline)
        return SL_OK;
    for (int i = 0; baseline && sl_baseline_at(i); i++)
        snprintf(names + strlen(names), sizeof names - strlen(names), "%s%s", i ? ", " : "", sl_baseline_at(i)->name);
    for (int i = 0; !baseline && sl_variant_at(i); i++)
        snprintf(names + strlen(names), sizeof names - strlen(names), "%s%s", i ? ", " : "", sl_variant_at(i)->name);
    if (variant || baseline)
        return sl_fail(err, SL_CONFIG, where, names, "there is no %s '%s'", variant ? "variant" : "baseline", variant ? variant : baseline);
    return sl_fail(err, SL_CONFIG, where, names, "arm '%s' names no variant and no baseline", a->name);
}

static sl_status new_cell(sl_plan *p, sl_cell *c, sl_ynode map, sl_err *err)
{
    sl_arm *a = &c->is;
    snprintf(a->name, sizeof a->name, "%s", p->arm[c->arm]);
    SL_TRY(kind_of(a, map, err));
    a->own = sl_alloc(p->ctx, a->variant ? a->variant->opts_size : a->baseline->opts_size);
    if (!a->own)
        return sl_fail(err, SL_MEM, a->name, NULL, "no memory for the options of an arm");
    sl_opts_default(sl_arm_opts, &a->how);
    sl_opts_default(sl_sae_train_opts, &a->train);
    sl_opts_default(sl_perturb_opts, &a->perturb);
    if (a->variant)
        a->train.variant = a->variant->name;
    sl_opts_default(a->variant ? a->variant->opts : a->baseline->opts, a->own);
    return read_arm(p, a, map, err);
}

/* Is the arm on the data set? `on` none: yes. Names in it must be there. */
static sl_status is_on(const sl_plan *p, int set, sl_ynode map, bool *on, sl_err *err)
{
    sl_ynode list = sl_ynode_get(map, "on");
    char where[256];
    *on = sl_ynode_kind(list) == SL_Y_NONE;
    sl_ynode_where(list, where);
    if (!*on && sl_ynode_kind(list) != SL_Y_LIST)
        return sl_fail(err, SL_CONFIG, where, "on: [text, WORLD...]", "on is not a list");
    for (int i = 0; i < sl_ynode_len(list); i++) {
        const char *name = sl_ynode_text(sl_ynode_at(list, i));
        int s = 0;
        sl_ynode_where(sl_ynode_at(list, i), where);
        while (name && s < p->n_sets && strcmp(p->set[s].name, name) != 0)
            s++;
        if (!name || s == p->n_sets)
            return sl_fail(err, SL_CONFIG, where, "text, or a name under worlds", "the run has no data set '%s'", name ? name : "?");
        *on = *on || s == set;
    }
    return SL_OK;
}

static sl_status make_cells(sl_plan *p, sl_ynode arms, sl_err *err)
{
    for (int s = 0; s < p->n_sets; s++)
        for (int a = 0; a < p->n_arms; a++) {
            bool on;
            char where[256];
            sl_ynode map = sl_ynode_at(arms, p->arm_of[a]);
            sl_ynode_where(sl_ynode_key(arms, p->arm_of[a]), where);
            if (sl_ynode_kind(map) != SL_Y_MAP)
                return sl_fail(err, SL_CONFIG, where, "a map of options", "arm '%s' is not a map", p->arm[a]);
            SL_TRY(is_on(p, s, map, &on, err));
            if (!on)
                continue;
            sl_cell *c = &p->cell[p->n_cells++]; /* counted first, so that release frees what a failure leaves */
            *c = (sl_cell){ .arm = a, .set = s };
            SL_TRY(new_cell(p, c, map, err));
            if (p->arm_at[a] >= 0) {
                c->is.sweep = sl_intern(p->ctx, sl_ynode_text(sl_ynode_key(arms, p->arm_of[a])));
                SL_TRY(sl_plan_sweep_set(p, &c->is, map, p->arm_at[a], err));
            }
        }
    return SL_OK;
}

/* every_arm and arms of `from`, for the cells of set s: what it is like comes first. */
static sl_status read_of_set(sl_plan *p, sl_ynode worlds, int s, int from, sl_err *err)
{
    sl_ynode map = sl_ynode_get(worlds, p->set[from].name);
    if (p->set[from].like > 0)
        SL_TRY(read_of_set(p, worlds, s, p->set[from].like, err));
    SL_TRY(read_every(p, s, sl_ynode_get(map, "every_arm"), err));
    return read_named(p, s, sl_ynode_get(map, "arms"), err);
}

static sl_status read_of_sets(sl_plan *p, sl_ynode section, sl_err *err)
{
    for (int s = 1; s < p->n_sets; s++)
        SL_TRY(read_of_set(p, sl_ynode_get(section, "worlds"), s, s, err));
    return SL_OK;
}

static void fix_steps(sl_plan *p)
{
    for (int c = 0; c < p->n_cells; c++) {
        sl_arm *a = &p->cell[c].is;
        int64_t samples = a->how.samples > 0 ? a->how.samples : p->set[p->cell[c].set].size.samples;
        if (!a->variant)
            continue;
        if (samples > 0)
            a->train.steps = samples / a->train.batch;
        a->train.steps = (int64_t)llround((double)a->train.steps * a->how.budget);
        a->train.steps = a->train.steps < 1 ? 1 : a->train.steps;
    }
}

/* Only a language model reads tokens that can be changed. */
static sl_status check_tokens(const sl_plan *p, const char *where, sl_err *err)
{
    for (int c = 0; c < p->n_cells; c++)
        if (p->cell[c].set > 0 && p->cell[c].is.variant && p->cell[c].is.perturb.site == SL_PERTURB_SITE_TOKEN)
            return sl_fail(err, SL_CONFIG, where, "on: [text]", "arm '%s' changes tokens, and world %s has none", p->cell[c].is.name, p->set[p->cell[c].set].name);
    return SL_OK;
}

/* steps_of names an SAE that is trained before, with as many seeds. */
static sl_status check_steps_of(const sl_plan *p, const char *where, sl_err *err)
{
    for (int c = 0; c < p->n_cells; c++) {
        const sl_arm *a = &p->cell[c].is, *of = NULL;
        int set = p->cell[c].set, other = arm_named(p, a->how.steps_of);
        if (!a->how.steps_of)
            continue;
        if (other >= 0 && other < p->cell[c].arm)
            of = sl_plan_cell(p, other, set);
        if (!of || !of->variant || sl_plan_replicates(p, of, set) < sl_plan_replicates(p, a, set))
            return sl_fail(err, SL_CONFIG, where, "an SAE before it on the same data, with as many seeds", "steps_of of arm '%s' is '%s'", a->name, a->how.steps_of);
    }
    return SL_OK;
}

/* size_of stands in a topk arm and names another SAE on the same data that has a size of its own. */
static sl_status resolve_size_of(sl_plan *p, const char *where, sl_err *err)
{
    for (int c = 0; c < p->n_cells; c++) {
        sl_arm *a = &p->cell[c].is;
        const sl_arm *of = sl_plan_cell(p, arm_named(p, a->how.size_of), p->cell[c].set);
        if (!a->how.size_of)
            continue;
        if (!a->variant || strcmp(a->variant->name, "topk") != 0 || !of || !of->variant || of->how.size_of)
            return sl_fail(err, SL_CONFIG, where, "in a topk arm, another SAE on the same data with a size of its own", "size_of of arm '%s' is '%s'", a->name, a->how.size_of);
        a->as_large_as = of;
    }
    return SL_OK;
}

/* The next arm of the list: the place-th under `arms`, or the at-th point of its grid. */
static sl_status add_arm(sl_plan *p, sl_ynode arms, int place, int at, sl_err *err)
{
    const char *name = sl_ynode_text(sl_ynode_key(arms, place));
    char of_grid[64], where[256];
    sl_ynode_where(sl_ynode_key(arms, place), where);
    if (name && at >= 0) {
        sl_plan_sweep_name(sl_ynode_at(arms, place), at, name, of_grid);
        name = of_grid;
    }
    if (!name || strlen(name) >= sizeof ((sl_arm *)0)->name)
        return sl_fail(err, SL_CONFIG, where, "a name of at most 47 letters", "arm '%s'", name ? name : "?");
    p->arm_of[p->n_arms] = place;
    p->arm_at[p->n_arms] = at;
    p->arm[p->n_arms] = sl_intern(p->ctx, name);
    return p->arm[p->n_arms++] ? SL_OK : sl_fail(err, SL_MEM, where, NULL, "no memory for an arm's name");
}

static sl_status list_arms(sl_plan *p, sl_ynode arms, sl_err *err)
{
    int n = 0, of_grid;
    for (int i = 0; i < sl_ynode_len(arms); i++) {
        SL_TRY(sl_plan_sweep_count(sl_ynode_at(arms, i), &of_grid, err));
        n += of_grid > 0 ? of_grid : 1;
    }
    p->arm = sl_alloc(p->ctx, (size_t)n * sizeof *p->arm);
    p->arm_of = sl_alloc(p->ctx, (size_t)n * sizeof *p->arm_of);
    p->arm_at = sl_alloc(p->ctx, (size_t)n * sizeof *p->arm_at);
    p->cell = sl_alloc(p->ctx, (size_t)(n * p->n_sets) * sizeof *p->cell);
    if (!p->arm || !p->arm_of || !p->arm_at || !p->cell)
        return sl_fail(err, SL_MEM, "plan", NULL, "no memory for %d arms", n);
    for (int i = 0; i < sl_ynode_len(arms); i++) {
        SL_TRY(sl_plan_sweep_count(sl_ynode_at(arms, i), &of_grid, err));
        for (int k = 0; k < of_grid; k++)
            SL_TRY(add_arm(p, arms, i, k, err));
        if (of_grid == 0)
            SL_TRY(add_arm(p, arms, i, -1, err));
    }
    return SL_OK;
}

sl_status sl_plan_read_arms(sl_plan *p, sl_ynode run, sl_ynode profile, sl_err *err)
{
    sl_ynode arms = sl_ynode_get(run, "arms");
    char where[256];
    sl_ynode_where(arms, where);
    if (sl_ynode_kind(arms) != SL_Y_MAP || sl_ynode_len(arms) == 0)
        return sl_fail(err, SL_CONFIG, where, "arms: {NAME: {variant: ...}}", "run %s has no arms", p->run_name);
    SL_TRY(list_arms(p, arms, err));
    SL_TRY(make_cells(p, arms, err));
    SL_TRY(read_of_sets(p, run, err));
    SL_TRY(read_every(p, -1, sl_ynode_get(profile, "every_arm"), err));
    SL_TRY(read_named(p, -1, sl_ynode_get(profile, "arms"), err));
    SL_TRY(read_of_sets(p, profile, err));
    fix_steps(p);
    if (p->run.reference && arm_named(p, p->run.reference) < 0)
        return sl_fail(err, SL_CONFIG, "reference", "an arm of the run", "run %s has no arm '%s'", p->run_name, p->run.reference);
    SL_TRY(check_tokens(p, where, err));
    SL_TRY(check_steps_of(p, where, err));
    return resolve_size_of(p, where, err);
}

const sl_arm *sl_plan_cell(const sl_plan *p, int arm, int set)
{
    for (int c = 0; c < p->n_cells; c++)
        if (p->cell[c].arm == arm && p->cell[c].set == set)
            return &p->cell[c].is;
    return NULL;
}

int64_t sl_plan_replicates(const sl_plan *p, const sl_arm *a, int set)
{
    int64_t seeds = a->how.seeds > 0 && a->how.seeds < p->run.seeds ? a->how.seeds : p->run.seeds;
    return set == 0 ? seeds * p->run.folds : seeds;
}

json_t *sl_arm_json(const sl_arm *a)
{
    json_t *own = sl_opts_json(a->variant ? a->variant->opts : a->baseline->opts, a->own);
    if (a->baseline)
        return json_pack("{s:s, s:I, s:o}", "baseline", a->baseline->name, "rows", (json_int_t)a->how.rows, "baseline_options", own);
    json_t *j = sl_opts_json(sl_sae_train_opts, &a->train);
    json_object_set_new(j, "variant_options", own);
    if (sl_perturb_wanted(&a->perturb)) {
        json_t *perturb = sl_opts_json(sl_perturb_opts, &a->perturb);
        json_object_del(perturb, "seed");
        json_object_set_new(j, "perturb", perturb);
    }
    json_object_del(j, "seed"); /* the seed is the replicate, not the arm */
    return j;
}
