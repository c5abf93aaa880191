/* experiment.yaml: checking and resolving. Precedence: table < preset or variant < run section < profile section. */
#include "study/plan_parts.h"

#include "study/cache.h"

#include <string.h>

const char *const sl_profiles[] = { "quick", "full", "smoke", NULL };

static const sl_opt run_opts[] = {
    SL_OPT_STR(sl_plan_run, what, "", "what the run does, in one line"),
    SL_OPT_STR(sl_plan_run, dataset, "shakespeare_char", "text that the language model is trained on"),
    SL_OPT_INT(sl_plan_run, seeds, 3, 1, 100, "seeds", "SAE seeds an arm"),
    SL_OPT_INT(sl_plan_run, folds, 1, 1, 20, "folds", "of the held-out text: SAEs are trained on all but one and measured on that; 1: no cross-validation"),
    SL_OPT_STR(sl_plan_run, stability, NULL, "kinds of noise to draw robustness curves of, commas between them; all; none: scores at one strength alone"),
    SL_OPT_BOOL(sl_plan_run, composition, 0, "measure whether SAEs compose: attribution, relations found, withheld combinations"),
    SL_OPT_STR(sl_plan_run, reference, NULL, "arm whose FVU the gains of the others on the same data set are taken from"),
    SL_OPT_END
};

const sl_opt sl_plan_lm_opts[] = {
    SL_OPT_STR(sl_plan_lm, preset, "quick", "language-model preset"),
    SL_OPT_INT(sl_plan_lm, seeds, 1, 1, 100, "seeds", "language-model seeds; the SAEs use the first"),
    SL_OPT_END
};

const sl_opt sl_plan_acts_opts[] = {
    SL_OPT_STR(sl_plan_acts, hook, "blocks.2.hook_resid_pre", "where activations are captured"),
    SL_OPT_INT(sl_plan_acts, train_tokens, 600000, 64, 1e12, "tokens", "activations that SAEs are trained on"),
    SL_OPT_INT(sl_plan_acts, eval_tokens, 60000, 64, 1e10, "tokens", "held-out activations that they are measured on"),
    SL_OPT_INT(sl_plan_acts, splice_tokens, 20000, 64, 1e10, "tokens", "held-out tokens for the spliced loss"),
    SL_OPT_END
};

static const char *const RUN_MAPS[] = { "lm", "acts", "worlds", "arms", "quick", "full", "smoke", NULL };
static const char *const CONFIRM_MAPS[] = { "lm", "acts", "worlds", "arms", "quick", "full", "smoke", "design", "slots", NULL }; /* confirm_plan.c reads the last two */
static const char *const PROFILE_MAPS[] = { "lm", "acts", "worlds", "every_world", "every_arm", "arms", "design", NULL };

static bool is_run(const char *key) { return strncmp(key, "run", 3) == 0; }
static bool is_confirm(const char *key) { return strcmp(key, "confirm") == 0; }

static sl_status names_of(sl_ynode root, char *out, size_t size, sl_err *err)
{
    size_t used = 0;
    out[0] = 0;
    for (int i = 0; i < sl_ynode_len(root); i++) {
        const char *key = sl_ynode_text(sl_ynode_key(root, i));
        char where[256];
        if (key && is_run(key)) {
            int n = snprintf(out + used, size - used, "%s%s", used ? ", " : "", key);
            used += n > 0 && (size_t)n < size - used ? (size_t)n : 0;
        } else if (!key || (strcmp(key, "study") != 0 && strcmp(key, "question") != 0 && !is_confirm(key))) {
            sl_ynode_where(sl_ynode_key(root, i), where);
            return sl_fail(err, SL_CONFIG, where, "study, question, confirm, or a run's name that starts with 'run'", "unknown key '%s'", key ? key : "?");
        }
    }
    return SL_OK;
}

static sl_status open_plan(sl_ctx *ctx, const char *study_dir, sl_yaml **y, sl_err *err)
{
    char path[SL_PATH];
    SL_TRY(sl_path_join(path, sizeof path, study_dir, "experiment.yaml", err));
    SL_TRY(sl_yaml_load(ctx, path, y, err));
    if (sl_ynode_kind(sl_yaml_root(*y)) == SL_Y_MAP)
        return SL_OK;
    sl_yaml_free(*y);
    *y = NULL;
    return sl_fail(err, SL_CONFIG, path, "a map with one section per run", "the file is not a map");
}

sl_status sl_plan_names(sl_ctx *ctx, const char *study_dir, char *out, size_t size, sl_err *err)
{
    sl_yaml *y = NULL;
    SL_TRY(open_plan(ctx, study_dir, &y, err));
    sl_status st = names_of(sl_yaml_root(y), out, size, err);
    sl_yaml_free(y);
    return st;
}

/* ---- sections ---- */

static const char *scalar(sl_ctx *ctx, sl_ynode map, const char *key)
{
    const char *text = sl_ynode_text(sl_ynode_get(map, key));
    return text ? sl_intern(ctx, text) : "";
}

/* The lm map: preset first, then any option of the model or of its training. */
static sl_status read_lm(sl_plan *p, sl_ynode map, bool defaults, sl_err *err)
{
    if (sl_ynode_kind(map) == SL_Y_NONE && !defaults)
        return SL_OK;
    const char *preset = sl_ynode_text(sl_ynode_get(map, "preset"));
    if (preset || defaults) {
        if (preset)
            p->lm.preset = sl_intern(p->ctx, preset);
        const sl_lm_preset *found = sl_lm_presets;
        while (found->name && strcmp(found->name, p->lm.preset) != 0)
            found++;
        if (!found->name) {
            char where[256], names[256] = "";
            for (const sl_lm_preset *q = sl_lm_presets; q->name; q++)
                snprintf(names + strlen(names), sizeof names - strlen(names), "%s%s", names[0] ? ", " : "", q->name);
            sl_ynode_where(sl_ynode_get(map, "preset"), where);
            return sl_fail(err, SL_CONFIG, where, names, "there is no language-model preset '%s'", p->lm.preset);
        }
        p->lm_config = found->lm;
        p->lm_train = found->train;
        p->lm_tok = found->tok;
    }
    for (int i = 0; i < sl_ynode_len(map); i++) {
        const char *key = sl_ynode_text(sl_ynode_key(map, i)), *text = sl_ynode_text(sl_ynode_at(map, i));
        char where[256];
        sl_ynode_where(sl_ynode_at(map, i), where);
        if (!key || !text)
            return sl_fail(err, SL_CONFIG, where, "one value", "a list or map stands where a value belongs");
        const sl_opt *table = sl_opts_find(sl_lm_opts, key) ? sl_lm_opts : sl_opts_find(sl_lm_train_opts, key) ? sl_lm_train_opts : sl_plan_lm_opts;
        void *cfg = table == sl_lm_opts ? (void *)&p->lm_config : table == sl_lm_train_opts ? (void *)&p->lm_train : (void *)&p->lm;
        if (!sl_opts_find(table, key)) {
            sl_ynode_where(sl_ynode_key(map, i), where);
            return sl_fail(err, SL_CONFIG, where, "preset, seeds, or an option of `saelab lm train --help`", "unknown key '%s'", key);
        }
        SL_TRY(sl_opts_set(p->ctx, table, cfg, key, text, where, SL_CONFIG, err));
    }
    return SL_OK;
}

static sl_status read_profile(sl_plan *p, sl_ynode map, sl_err *err)
{
    if (sl_ynode_kind(map) == SL_Y_NONE)
        return SL_OK;
    SL_TRY(sl_opts_from_yaml(p->ctx, run_opts, &p->run, map, PROFILE_MAPS, err));
    SL_TRY(read_lm(p, sl_ynode_get(map, "lm"), false, err));
    sl_ynode acts = sl_ynode_get(map, "acts");
    if (sl_ynode_kind(acts) != SL_Y_NONE)
        SL_TRY(sl_opts_from_yaml(p->ctx, sl_plan_acts_opts, &p->acts, acts, NULL, err));
    return sl_plan_change_sets(p, map, err);
}

static sl_status read_run(sl_plan *p, sl_ynode root, sl_err *err)
{
    p->study = scalar(p->ctx, root, "study");
    p->question = scalar(p->ctx, root, "question");
    if (!p->study || !p->question)
        return sl_fail(err, SL_MEM, "plan", NULL, "no memory for its strings");
    char names[512];
    SL_TRY(names_of(root, names, sizeof names, err));
    sl_ynode run = is_run(p->run_name) || is_confirm(p->run_name) ? sl_ynode_get(root, p->run_name) : (sl_ynode){ 0 };
    if (sl_ynode_kind(run) != SL_Y_MAP)
        return sl_fail(err, SL_ARG, "--out_dir", names, "the plan of study %s has no run named '%s'", p->study, p->run_name);
    sl_opts_default(run_opts, &p->run);
    sl_opts_default(sl_plan_lm_opts, &p->lm);
    sl_opts_default(sl_plan_acts_opts, &p->acts);
    SL_TRY(sl_opts_from_yaml(p->ctx, run_opts, &p->run, run, is_confirm(p->run_name) ? CONFIRM_MAPS : RUN_MAPS, err));
    SL_TRY(read_lm(p, sl_ynode_get(run, "lm"), true, err));
    sl_ynode acts = sl_ynode_get(run, "acts");
    if (sl_ynode_kind(acts) != SL_Y_NONE)
        SL_TRY(sl_opts_from_yaml(p->ctx, sl_plan_acts_opts, &p->acts, acts, NULL, err));
    sl_ynode profile = sl_ynode_get(run, sl_profiles[p->profile]);
    SL_TRY(sl_plan_read_sets(p, run, err));
    SL_TRY(read_profile(p, profile, err));
    return sl_plan_read_arms(p, run, profile, err);
}

/* Takes y. */
static sl_status resolve(sl_ctx *ctx, sl_yaml *y, const char *run_name, int profile, sl_plan *out, sl_err *err)
{
    *out = (sl_plan){ .ctx = ctx, .profile = profile };
    snprintf(out->run_name, sizeof out->run_name, "%s", run_name);
    sl_status st = read_run(out, sl_yaml_root(y), err);
    sl_yaml_free(y);
    if (st != SL_OK)
        sl_plan_release(out);
    return st;
}

sl_status sl_plan_load(sl_ctx *ctx, const char *study_dir, const char *run_name, int profile, sl_plan *out, sl_err *err)
{
    sl_yaml *y = NULL;
    SL_TRY(open_plan(ctx, study_dir, &y, err));
    return resolve(ctx, y, run_name, profile, out, err);
}

sl_status sl_plan_parse(sl_ctx *ctx, const char *name, const char *text, const char *run_name, int profile, sl_plan *out, sl_err *err)
{
    sl_yaml *y = NULL;
    SL_TRY(sl_yaml_parse(ctx, name, text, strlen(text), &y, err));
    return resolve(ctx, y, run_name, profile, out, err);
}

void sl_plan_release(sl_plan *p)
{
    for (int i = 0; i < p->n_cells; i++)
        sl_free(p->ctx, p->cell[i].is.own);
    for (int i = 0; i < p->n_sets; i++)
        sl_free(p->ctx, p->set[i].wopts);
    sl_free(p->ctx, p->cell);
    sl_free(p->ctx, p->arm);
    sl_free(p->ctx, p->arm_of);
    sl_free(p->ctx, p->arm_at);
    sl_free(p->ctx, p->set);
    p->cell = NULL;
    p->arm = NULL;
    p->arm_of = p->arm_at = NULL;
    p->set = NULL;
    p->n_cells = p->n_arms = p->n_sets = 0;
}

/* {data set: {options, arms: {ARM: options}}} */
static json_t *sets_json(const sl_plan *p)
{
    json_t *sets = json_object();
    for (int s = 0; s < p->n_sets; s++) {
        json_t *set = sl_plan_set_json(&p->set[s]), *arms = json_object();
        for (int c = 0; c < p->n_cells; c++)
            if (p->cell[c].set == s)
                json_object_set_new(arms, p->cell[c].is.name, sl_arm_json(&p->cell[c].is));
        json_object_set_new(set, "arms", arms);
        json_object_set_new(sets, p->set[s].name, set);
    }
    return sets;
}

json_t *sl_plan_json(const sl_plan *p)
{
    json_t *train = sl_opts_json(sl_lm_train_opts, &p->lm_train);
    json_object_del(train, "seed"); /* a replicate's, as for arms */
    return json_pack("{s:s, s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:o}", "study", p->study, "run", p->run_name, "profile",
                     sl_profiles[p->profile], "settings", sl_opts_json(run_opts, &p->run), "lm",
                     sl_opts_json(sl_plan_lm_opts, &p->lm), "lm_config", sl_opts_json(sl_lm_opts, &p->lm_config), "lm_train",
                     train, "acts", sl_opts_json(sl_plan_acts_opts, &p->acts), "data_sets", sets_json(p));
}
