/* From fits to results: the table of the fresh seeds, decisions, confirm.json, results.jsonl. */
#include "study/confirm_parts.h"

#include "eval/record.h"

#include <saelab/kern_info.h>

#include <math.h>
#include <string.h>

static const char *const purification_metrics[] = { "f1_h", "mcc_adj", "absorb_common", "absorb", "absorb_2k", "absorb_unmatched", "inj_resp", "noisy_f1_h", "fss", "auc_gauss",
                                                "auc_shaped", "csr_q", "jaccard", "cos_ed", "noise_gain", "leak_rms", "f1", "uniq", "split", "fvu", "l0", "dead", NULL };
static const char *const composition_metrics[] = { "comp_f1_withheld", "comp_precision_withheld", "comp_recall_withheld", "comp_f1", "comp_gap", "fvu", "fvu_ood_ratio", "branch_energy", "comp_energy",
                                               "f1_h", "f1_sel", "f1_h_gap", "mcc_adj", "causal_pi", "index_pi", "index_attention", "interaction_cooccurrence", "l0", "dead", "n_params", NULL };

/* ---- the table ---- */

const sl_fit *sl_fit_of(const sl_confirm *c, int phase, int set, int slot, int64_t seed)
{
    for (int i = 0; i < c->n_fits; i++) {
        const sl_fit *f = &c->fit[i];
        if (f->phase == phase && f->set == set && f->arm == slot && f->seed == seed)
            return f;
    }
    return NULL;
}

/* Parent p of a fit: its absorption; NaN where it is not matched or not scored. A fit that failed, or a control without a match, says nothing. */
static double absorption(const sl_fit *f, size_t p)
{
    json_t *v = json_array_get(json_object_get(f->result, "absorb"), p);
    return json_is_number(v) ? json_number_value(v) : NAN;
}

static bool takes_part(const sl_fit *f) { return f && f->result && f->is.variant; }

/* Mean absorption of every SAE over the parents that all SAEs of the seed matched; `share` of the parents that are so. */
static void common_absorption(const sl_confirm *c, int set, int64_t seed, double *out, double *share)
{
    size_t n = 0, parents = 0, common = 0;
    for (int a = 0; a < c->n_slots; a++) {
        const sl_fit *f = sl_fit_of(c, SL_PHASE_CONFIRMATION, set, a, seed);
        out[a] = takes_part(f) ? 0 : NAN;
        n = takes_part(f) ? json_array_size(json_object_get(f->result, "absorb")) : n;
    }
    for (size_t p = 0; p < n; p++) {
        bool all = true, any = false;
        for (int a = 0; a < c->n_slots; a++) {
            const sl_fit *f = sl_fit_of(c, SL_PHASE_CONFIRMATION, set, a, seed);
            bool scored = takes_part(f) && isfinite(absorption(f, p));
            all = all && (scored || !takes_part(f));
            any = any || scored;
        }
        parents += any;
        common += all && any;
        for (int a = 0; all && any && a < c->n_slots; a++)
            if (isfinite(out[a]))
                out[a] += absorption(sl_fit_of(c, SL_PHASE_CONFIRMATION, set, a, seed), p);
    }
    for (int a = 0; a < c->n_slots; a++)
        out[a] = common ? out[a] / (double)common : NAN;
    *share = parents ? (double)common / (double)parents : NAN;
}

static sl_status fill_common(sl_confirm_results *r, sl_err *err)
{
    const sl_confirm *c = r->c;
    double *one = sl_alloc(c->ctx, (size_t)(c->n_slots + 1) * sizeof *one), share = 0, n = 0;
    if (!one)
        return sl_fail(err, SL_MEM, "confirm", NULL, "no memory for absorption");
    r->common_share = 0;
    for (int w = 0; w < r->t.n_worlds; w++)
        for (int64_t s = 0; s < r->t.n_seeds; s++) {
            common_absorption(c, sl_confirm_set(c, r->t.world[w]), c->d.first_seed + s, one, &share);
            for (int a = 0; a < c->n_slots; a++)
                sl_table_at(&r->t, "absorb_common", r->t.world[w], r->t.arm[a])[s] = one[a];
            r->common_share += isfinite(share) ? share : 0;
            n += isfinite(share);
        }
    r->common_share = n > 0 ? r->common_share / n : NAN;
    sl_free(c->ctx, one);
    return SL_OK;
}

static sl_status make_names(sl_confirm_results *r, sl_err *err)
{
    const sl_confirm *c = r->c;
    r->world = sl_alloc(c->ctx, (size_t)c->plan.n_sets * sizeof *r->world);
    r->arm = sl_alloc(c->ctx, (size_t)(c->n_slots + 1) * sizeof *r->arm);
    if (!r->world || !r->arm)
        return sl_fail(err, SL_MEM, "confirm", NULL, "no memory for its table");
    for (int w = 1; w < c->plan.n_sets; w++)
        if (sl_listed(c->d.worlds, c->plan.set[w].name))
            r->world[r->t.n_worlds++] = c->plan.set[w].name;
    for (int a = 0; a < c->n_slots; a++)
        r->arm[a] = c->slot[a].name;
    r->t.world = r->world;
    r->t.arm = r->arm;
    r->t.n_arms = c->n_slots;
    r->t.n_seeds = c->d.seeds;
    r->t.metric = c->d.rule == SL_RULE_PURIFICATION ? purification_metrics : composition_metrics;
    while (r->t.metric[r->t.n_metrics])
        r->t.n_metrics++;
    return SL_OK;
}

static sl_status make_table(sl_confirm_results *r, sl_err *err)
{
    const sl_confirm *c = r->c;
    SL_TRY(make_names(r, err));
    sl_table *t = &r->t;
    t->v = sl_alloc(c->ctx, (size_t)(t->n_metrics * t->n_worlds * t->n_arms * t->n_seeds + 1) * sizeof *t->v);
    if (!t->v)
        return sl_fail(err, SL_MEM, "confirm", NULL, "no memory for its table");
    for (int m = 0; m < t->n_metrics; m++)
        for (int w = 0; w < t->n_worlds; w++)
            for (int a = 0; a < t->n_arms; a++)
                for (int64_t s = 0; s < t->n_seeds; s++) {
                    const sl_fit *f = sl_fit_of(c, SL_PHASE_CONFIRMATION, sl_confirm_set(c, t->world[w]), a, c->d.first_seed + s);
                    sl_table_at(t, t->metric[m], t->world[w], t->arm[a])[s] = f ? sl_fit_metric(f, t->metric[m]) : NAN;
                }
    return c->d.rule == SL_RULE_PURIFICATION ? fill_common(r, err) : SL_OK;
}

/* ---- decisions ---- */

static int split(sl_confirm_results *r, const char *list, const char **out, int most)
{
    int n = 0;
    for (int a = 0; a < r->t.n_arms; a++)
        if (sl_listed(list, r->t.arm[a]) && n < most)
            out[n++] = r->t.arm[a];
    return n;
}

static void decide_purification(sl_confirm_results *r)
{
    const sl_design *d = &r->c->d;
    const char *const bases[SL_RATIOS] = { d->base, d->base_1, d->base_2 };
    sl_purification_rule rule = { .treatment = d->treatment, .base = d->base };
    const char *names[8];
    int n = split(r, d->comparators, names, 8);
    for (int k = 0; k < SL_RATIOS; k++) {
        if (sl_table_arm(&r->t, bases[k]) < 0)
            continue;
        rule.n_comparators = n;
        for (int i = 0; i < n; i++)
            rule.comparator[i] = strcmp(names[i], d->base) == 0 ? bases[k] : names[i];
        rule.base = bases[k];
        sl_decide_purification(r->c->ctx, &r->t, &rule, &r->decision[k]);
    }
    r->has_targeting = sl_table_arm(&r->t, d->targeted) >= 0 && sl_table_arm(&r->t, d->uniform) >= 0;
    if (r->has_targeting)
        sl_decide_targeting(r->c->ctx, &r->t, d->targeted, d->uniform, &r->targeting);
}

static void decide_composition(sl_confirm_results *r)
{
    const sl_design *d = &r->c->d;
    sl_composition_rule rule = { .treatment = d->treatment, .shuffle = d->shuffle, .matched = d->matched, .null_world = r->t.world[0], .full_world = r->t.world[r->t.n_worlds - 1] };
    rule.n_comparators = split(r, d->comparators, rule.comparator, 8);
    sl_decide_composition(r->c->ctx, &r->t, &rule, &r->decision[0]);
}

/* Where another ratio gives another verdict the sentence says so. */
static void say_flips(sl_confirm_results *r)
{
    static const char *const ratio[SL_RATIOS] = { "", "1.0", "2.0" };
    char *s = r->decision[0].sentence;
    for (int k = 1; k < SL_RATIOS; k++) {
        if (r->decision[k].n_checks == 0 || r->decision[k].verdict == r->decision[0].verdict)
            continue;
        size_t used = strlen(s);
        snprintf(s + used, sizeof r->decision[0].sentence - used, " At a ratio of %s the verdict is %s.", ratio[k], sl_verdicts[r->decision[k].verdict]);
    }
}

/* ---- confirm.json ---- */

static json_t *number(double v) { return isfinite(v) ? json_real(v) : json_null(); }

static json_t *decision_json(const sl_decision *d)
{
    json_t *checks = json_array();
    for (int i = 0; i < d->n_checks; i++) {
        const sl_check *c = &d->check[i];
        json_array_append_new(checks, json_pack("{s:s, s:s, s:s, s:s, s:I, s:o, s:o, s:o, s:o, s:f, s:b}", "what", c->what, "world", c->world, "metric", c->metric, "against", c->b, "n",
                                                (json_int_t)c->diff.n, "effect", number(c->diff.effect), "lo", number(c->diff.lo), "hi", number(c->diff.hi), "p_sign_flip",
                                                number(c->diff.p), "bound", c->bound, "passed", c->passed));
    }
    return json_pack("{s:s, s:s, s:o}", "verdict", sl_verdicts[d->verdict], "sentence", d->sentence, "checks", checks);
}

static json_t *values_json(const sl_table *t)
{
    json_t *worlds = json_object();
    for (int w = 0; w < t->n_worlds; w++) {
        json_t *arms = json_object();
        for (int a = 0; a < t->n_arms; a++) {
            json_t *metrics = json_object();
            for (int m = 0; m < t->n_metrics; m++) {
                json_t *list = json_array();
                const double *v = sl_table_at(t, t->metric[m], t->world[w], t->arm[a]);
                for (int64_t s = 0; s < t->n_seeds; s++)
                    json_array_append_new(list, number(v[s]));
                json_object_set_new(metrics, t->metric[m], list);
            }
            json_object_set_new(arms, t->arm[a], metrics);
        }
        json_object_set_new(worlds, t->world[w], arms);
    }
    return worlds;
}

static json_t *chosen_json(const sl_confirm *c)
{
    json_t *all = json_object();
    for (int i = 0; i < c->n_slots; i++) {
        sl_arm arm;
        json_t *on = json_object();
        for (int w = 1; w < c->plan.n_sets; w++)
            if (sl_listed(c->d.worlds, c->plan.set[w].name) && sl_confirm_slot_on(c, &c->slot[i], w, &arm, NULL) == SL_OK)
                json_object_set_new(on, c->plan.set[w].name, sl_arm_json(&arm));
        json_object_set_new(all, c->slot[i].name, json_pack("{s:s, s:f, s:o}", "setting", c->plan.arm[c->slot[i].arm], "ratio", sl_confirm_arm(c, c->slot[i].arm)->how.ratio, "options", on));
    }
    return all;
}

static sl_status write_json(const sl_confirm_results *r, sl_err *err)
{
    json_t *j = json_pack("{s:s, s:s, s:s, s:o, s:o, s:f, s:o}", "study", r->c->plan.study, "profile", sl_profiles[r->c->plan.profile], "kernels", r->c->cache.kernels, "design",
                          sl_opts_json(sl_design_opts, &r->c->d), "decision", decision_json(&r->decision[0]), "ratio", sl_confirm_ratio(r->c), "chosen", chosen_json(r->c));
    if (j && r->decision[1].n_checks)
        json_object_set_new(j, "decision_at_1", decision_json(&r->decision[1]));
    if (j && r->decision[2].n_checks)
        json_object_set_new(j, "decision_at_2", decision_json(&r->decision[2]));
    if (j && r->has_targeting)
        json_object_set_new(j, "targeting", decision_json(&r->targeting));
    if (j)
        json_object_set_new(j, "values", values_json(&r->t));
    return sl_run_save(r->c->ctx, r->c->dir, "confirm.json", j, err);
}

/* ---- results.jsonl ---- */

static sl_status read_metrics(sl_ctx *ctx, const sl_fit *f, sl_metrics *out, sl_err *err)
{
    const char *key;
    json_t *m;
    json_object_foreach(json_object_get(f->result, "metrics"), key, m) {
        json_t *v = json_object_get(m, "value"), *floor = json_object_get(m, "floor");
        const char *reason = json_string_value(json_object_get(m, "reason"));
        if (json_is_number(v))
            SL_TRY(sl_metrics_put(ctx, out, key, json_number_value(v), json_integer_value(json_object_get(m, "n")), err));
        else
            SL_TRY(sl_metrics_null(ctx, out, key, reason ? reason : "not recorded", err));
        if (json_is_number(floor))
            sl_metrics_floor(out, key, json_number_value(floor));
    }
    return SL_OK;
}

static sl_status put_record(const sl_confirm *c, const sl_fit *f, const char *cpu, sl_atomic *to, sl_err *err)
{
    const sl_sae_train_config *t = &f->is.train;
    bool sae = f->is.variant != NULL;
    sl_metrics m = { 0 };
    json_t *j = NULL;
    sl_record rec = { .run_id = "confirm", .cpu = cpu, .arm = f->name, .config_hash = f->t.sae.key, .data_hash = c->plan.set[f->set].name, .status = f->t.failed ? sl_status_name(f->t.failed) : "ok",
                      .notes = f->t.failure, .seed_init = f->seed, .seed_data = f->seed, .steps = sae ? t->steps : 0, .samples = sae ? t->steps * t->batch : f->is.how.rows,
                      .wall_s = f->t.sae.seconds, .flops = NAN, .peak_rss = NAN, .l0_target = NAN };
    sl_status st = read_metrics(c->ctx, f, &m, err);
    if (st == SL_OK)
        st = sl_record_json(&rec, &m, &j, err);
    sl_metrics_release(c->ctx, &m);
    SL_TRY(st);
    json_object_set_new(j, "phase", json_string(sl_phases[f->phase]));
    json_object_set_new(j, "dataset", json_string(c->plan.set[f->set].name));
    json_object_set_new(j, "variant", json_string(sae ? f->is.variant->name : f->is.baseline->name));
    json_object_set_new(j, "ratio", json_real(f->is.how.ratio));
    char *text = json_dumps(j, JSON_COMPACT | JSON_REAL_PRECISION(17));
    json_decref(j);
    st = text ? sl_atomic_printf(to, err, "%s\n", text) : sl_fail(err, SL_MEM, "results.jsonl", NULL, "no memory for a record");
    free(text);
    return st;
}

static sl_status write_records(const sl_confirm *c, sl_err *err)
{
    char path[SL_PATH + 32];
    sl_machine machine;
    sl_atomic *f = NULL;
    snprintf(path, sizeof path, "%s/results.jsonl", c->dir);
    SL_TRY(sl_machine_info(c->ctx, &machine, err));
    SL_TRY(sl_atomic_open(c->ctx, path, &f, err));
    sl_status st = SL_OK;
    for (int i = 0; i < c->n_fits && st == SL_OK; i++)
        st = put_record(c, &c->fit[i], machine.cpu, f, err);
    if (st == SL_OK)
        return sl_atomic_commit(f, err);
    sl_atomic_abort(f);
    return st;
}

sl_status sl_confirm_write(sl_confirm *c, sl_err *err)
{
    sl_confirm_results r = { .c = c };
    sl_status st;
    SL_GO(make_table(&r, err));
    if (c->d.rule == SL_RULE_PURIFICATION)
        decide_purification(&r);
    else
        decide_composition(&r);
    say_flips(&r);
    SL_GO(write_json(&r, err));
    SL_GO(write_records(c, err));
    SL_GO(sl_confirm_pages(&r, err));
    sl_log(c->ctx, SL_LOG_INFO, "%s", r.decision[0].sentence);
done:
    sl_free(c->ctx, r.t.v);
    sl_free(c->ctx, r.world);
    sl_free(c->ctx, r.arm);
    return st;
}
