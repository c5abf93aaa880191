/* `saelab study confirm`: calibration, screening, retuning, confirmation, decision. */
#include "study/confirm.h"
#include "study/place.h"

#include <math.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

const sl_opt sl_confirm_opts[] = {
    { .name = "out_dir", .type = SL_T_STR, .offset = offsetof(sl_confirm_config, out_dir), .def_str = "confirm", .help = "folder of the results", .short_name = 'o' },
    SL_OPT_CHOICE(sl_confirm_config, profile, SL_PROFILE_QUICK, sl_profiles, "quick: the confirmation as the plan has it; smoke: seconds, to try the machinery"),
    SL_OPT_BOOL(sl_confirm_config, extended, 0, "repeat the claim on the data sets of the design's `extended`: other k, other widths; outside the rule, about as long again"),
    SL_OPT_END
};

/* ---- fits of the phases ---- */

static double cost(const sl_arm *a) { return a->baseline ? 10 : (double)a->train.steps * a->how.ratio; }

static void add_fit(sl_confirm *c, int phase, int set, int arm, const sl_arm *is, int64_t seed)
{
    sl_fit *f = &c->fit[c->n_fits++];
    *f = (sl_fit){ .phase = phase, .set = set, .arm = arm, .is = *is, .seed = seed, .weight = cost(is) };
    snprintf(f->name, sizeof f->name, "%s", is->name);
}

/* Seeds first, so that the arms of a seed run beside each other. */
static sl_status add_arms(sl_confirm *c, int phase, const char *world, int64_t first_seed, int64_t seeds, bool (*wanted)(const sl_confirm *, const char *), sl_err *err)
{
    int set = sl_confirm_set(c, world);
    for (int64_t s = 0; s < seeds; s++)
        for (int a = 0; a < c->plan.n_arms; a++) {
            sl_arm arm;
            const sl_arm *any = sl_confirm_arm(c, a);
            if (!any || !wanted(c, sl_arm_family(any)) || (any->how.seeds > 0 && s >= any->how.seeds))
                continue;
            SL_TRY(sl_confirm_arm_on(c, a, set, &arm, err));
            add_fit(c, phase, set, a, &arm, first_seed + s);
        }
    return SL_OK;
}

static sl_status add_slots(sl_confirm *c, int phase, const char *worlds, int64_t seeds, sl_err *err)
{
    for (int w = 1; w < c->plan.n_sets; w++)
        for (int64_t s = c->d.first_seed; s < c->d.first_seed + seeds; s++)
            for (int i = 0; i < c->n_slots && sl_listed(worlds, c->plan.set[w].name); i++) {
                sl_arm arm;
                if (phase == SL_PHASE_EXTENDED && !sl_confirm_in_claim(c, c->slot[i].name))
                    continue;
                SL_TRY(sl_confirm_slot_on(c, &c->slot[i], w, &arm, err));
                add_fit(c, phase, w, i, &arm, s);
            }
    return SL_OK;
}

static bool is_pilot(const sl_confirm *c, const char *family)
{
    (void)c;
    return strcmp(family, "pilot") == 0;
}

/* Plain steps of the whole, for the progress bar: of phases to come as if every slot had its first family. */
static double steps_of(const sl_confirm *c, const char *world, int64_t seeds, bool (*wanted)(const sl_confirm *, const char *))
{
    double sum = 0;
    sl_arm arm;
    int set = sl_confirm_set(c, world);
    for (int a = 0; set > 0 && a < c->plan.n_arms; a++) {
        const sl_arm *any = sl_confirm_arm(c, a);
        if (any && wanted(c, sl_arm_family(any)) && sl_confirm_arm_on(c, a, set, &arm, NULL) == SL_OK)
            sum += cost(&arm) * (double)(any->how.seeds > 0 && any->how.seeds < seeds ? any->how.seeds : seeds);
    }
    return sum;
}

static bool is_first(const sl_confirm *c, const char *family)
{
    size_t n = strlen(family);
    for (int i = 0; i < c->n_slots; i++)
        if (c->slot[i].of && strncmp(c->slot[i].of, family, n) == 0 && (c->slot[i].of[n] == 0 || c->slot[i].of[n] == ','))
            return true;
    return false;
}

static double whole(const sl_confirm *c)
{
    double sum = steps_of(c, c->d.pilot, c->d.seeds, is_pilot) + steps_of(c, c->d.screening, c->d.selection_seeds, sl_confirm_is_used) +
                 steps_of(c, c->d.retuning, c->d.selection_seeds, is_first), R = sl_confirm_ratio(c);
    for (int w = 1; w < c->plan.n_sets; w++) {
        const char *name = c->plan.set[w].name;
        int64_t seeds = sl_listed(c->d.worlds, name) || sl_listed(c->d.extended, name) ? c->d.seeds : sl_listed(c->d.once, name);
        const sl_arm *any = c->plan.n_cells ? sl_plan_cell(&c->plan, c->plan.cell[0].arm, w) : NULL;
        sum += any && any->variant ? (double)seeds * c->n_slots * (double)any->train.steps * R : 0;
    }
    return sum;
}

static sl_status room_for_fits(sl_confirm *c, sl_err *err)
{
    int64_t tuning = c->plan.n_arms * (2 * c->d.selection_seeds + c->d.seeds), fresh = (int64_t)c->n_slots * c->plan.n_sets * c->d.seeds;
    c->fit = sl_alloc(c->ctx, (size_t)(tuning + fresh + 1) * sizeof *c->fit);
    return c->fit ? SL_OK : sl_fail(err, SL_MEM, "confirm", NULL, "no memory for %lld fits", (long long)(tuning + fresh));
}

static sl_status run_from(sl_confirm *c, int first, sl_err *err)
{
    if (c->n_fits > first)
        sl_log(c->ctx, SL_LOG_INFO, "%s: %d fits, %d at a time", sl_phases[c->fit[first].phase], c->n_fits - first, sl_ctx_threads(c->ctx));
    return sl_confirm_fits(c, first, c->n_fits - first, err);
}

static sl_status phases(sl_confirm *c, sl_err *err)
{
    const sl_design *d = &c->d;
    int first = 0;
    SL_TRY(room_for_fits(c, err));
    c->total = whole(c);
    if (d->pilot)
        SL_TRY(add_arms(c, SL_PHASE_PILOT, d->pilot, 0, d->seeds, is_pilot, err));
    SL_TRY(run_from(c, first, err));
    first = c->n_fits;
    if (d->screening)
        SL_TRY(add_arms(c, SL_PHASE_SCREENING, d->screening, d->first_selection, d->selection_seeds, sl_confirm_is_used, err));
    SL_TRY(run_from(c, first, err));
    first = c->n_fits;
    if (d->retuning)
        SL_TRY(add_arms(c, SL_PHASE_RETUNING, d->retuning, d->first_selection, d->selection_seeds, sl_confirm_is_finalist, err));
    SL_TRY(run_from(c, first, err));
    first = c->n_fits;
    SL_TRY(sl_confirm_choose(c, err));
    SL_TRY(add_slots(c, SL_PHASE_CONFIRMATION, d->worlds, d->seeds, err));
    SL_TRY(add_slots(c, SL_PHASE_ONCE, d->once, 1, err));
    SL_TRY(add_slots(c, SL_PHASE_EXTENDED, d->extended, d->seeds, err));
    double left = 0;
    for (int i = first; i < c->n_fits; i++)
        left += c->fit[i].weight;
    c->total = c->done + left;
    return run_from(c, first, err);
}

/* ---- the folder ---- */

static json_t *slots_json(const sl_confirm *c)
{
    json_t *all = json_array();
    for (int i = 0; i < c->n_slots; i++) {
        const sl_slot *s = &c->slot[i];
        json_t *perturb = json_object();
        for (int k = 0; k < sl_ynode_len(s->perturb); k++)
            json_object_set_new(perturb, sl_ynode_text(sl_ynode_key(s->perturb, k)), json_string(sl_ynode_text(sl_ynode_at(s->perturb, k))));
        json_array_append_new(all, json_pack("{s:s, s:s?, s:s?, s:s?, s:f, s:o}", "name", s->name, "of", s->of, "like", s->like, "perturb_like", s->perturb_like, "at", s->at, "perturb", perturb));
    }
    return all;
}

static json_t *arms_json(const sl_confirm *c)
{
    json_t *all = json_object();
    for (int a = 0; a < c->plan.n_arms; a++) {
        const sl_arm *arm = sl_confirm_arm(c, a);
        if (arm)
            json_object_set_new(all, c->plan.arm[a], json_pack("{s:s, s:f, s:f}", "of", sl_arm_family(arm), "ratio", arm->how.ratio, "at", arm->how.at));
    }
    return all;
}

static sl_status key_of(const sl_confirm *c, char key[65], sl_err *err)
{
    json_t *fields = json_pack("{s:o, s:o, s:o, s:o}", "plan", sl_plan_json(&c->plan), "design", sl_opts_json(sl_design_opts, &c->d), "slots", slots_json(c), "arms", arms_json(c));
    sl_stage s = { .name = "confirm", .revision = CONFIRM_REVISION, .fields = fields };
    sl_status st = fields ? sl_stage_key(&c->cache, &s, key, err) : sl_fail(err, SL_MEM, "confirm", NULL, "no memory for its key");
    json_decref(fields);
    return st;
}

static sl_status finish(const sl_confirm *c, const sl_place *p, const char *key, sl_err *err)
{
    json_t *j = json_pack("{s:s, s:s, s:s, s:s, s:s, s:I}", "key", key, "study", c->plan.study, "run", "confirm", "profile", sl_profiles[c->plan.profile], "saelab", sl_version(),
                          "finished", (json_int_t)time(NULL));
    SL_TRY(sl_run_save(c->ctx, p->partial, "run.json", j, err));
    SL_TRY(sl_place_move_old(c->ctx, p->out, err));
    return sl_path_rename(p->partial, p->out, err);
}

static sl_status work(sl_confirm *c, sl_place *p, const char *key, sl_err *err)
{
    char path[SL_PATH + 32];
    snprintf(path, sizeof path, "%s/log.txt", p->partial);
    p->log = fopen(path, "a");
    if (!p->log)
        return sl_fail(err, SL_IO, path, "a folder that can be written", "it cannot be opened");
    sl_ctx_tap(c->ctx, sl_place_log_line, p->log);
    c->dir = p->partial;
    sl_log(c->ctx, SL_LOG_INFO, "confirmation of study %s, profile %s; working in %s", c->plan.study, sl_profiles[c->plan.profile], p->partial);
    sl_status st = phases(c, err);
    if (st == SL_OK)
        st = sl_confirm_write(c, err);
    if (st == SL_OK)
        st = finish(c, p, key, err);
    sl_ctx_tap(c->ctx, NULL, NULL);
    fclose(p->log);
    return st;
}

sl_status sl_study_confirm(sl_ctx *ctx, const char *study_dir, const sl_confirm_config *config, sl_err *err)
{
    sl_place p;
    sl_confirm c = { 0 };
    char key[65], old[65];
    SL_TRY(sl_place_locate(config->out_dir, &p, err));
    sl_status st = sl_confirm_load(ctx, study_dir, config->profile, &c, err);
    if (!config->extended)
        c.d.extended = NULL; /* a part of the key */
    if (st == SL_OK)
        st = sl_cache_open(ctx, NULL, &c.cache, err);
    if (st == SL_OK)
        st = sl_place_finished_key(ctx, p.out, old, err);
    if (st == SL_OK)
        st = key_of(&c, key, err);
    if (st == SL_OK && strcmp(key, old) == 0) {
        sl_log(ctx, SL_LOG_INFO, "%s is finished already; nothing to do", p.out);
    } else if (st == SL_OK) {
        st = sl_place_lock(&p, err);
        if (st == SL_OK)
            st = work(&c, &p, key, err);
    }
    sl_dir_unlock(p.lock);
    sl_confirm_release(&c);
    return st;
}
