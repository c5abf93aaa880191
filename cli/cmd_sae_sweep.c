/* saelab sae train --config FILE with a section `sweep`: all combinations of its lists, in one pass over the rows.
 *     sweep:
 *       variant: [topk, jumprelu]
 *       k: [16, 32]              an option that a variant does not have is left out for it
 *       seed: [0, 1, 2]
 * One folder an SAE, OUT_DIR/topk_k16_seed0, whose config.yaml trains the same SAE alone. */
#include "cmd_sae.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* ---- reading ---- */

sl_status has_sweep(cli *c, bool *out, sl_err *err)
{
    sl_yaml *y;
    *out = false;
    if (!c->config)
        return SL_OK;
    SL_TRY(sl_yaml_load(c->words, c->config, &y, err));
    *out = sl_ynode_kind(sl_ynode_get(sl_yaml_root(y), "sweep")) != SL_Y_NONE;
    sl_yaml_free(y);
    return SL_OK;
}

static sl_status read_key(sweep *w, sl_ynode name, sl_ynode list, sl_err *err)
{
    char where[256];
    bool one = sl_ynode_kind(list) == SL_Y_SCALAR;
    key *k = &w->key[w->n_keys];
    sl_ynode_where(list, where);
    if (w->n_keys == MOST_KEYS)
        return sl_fail(err, SL_CONFIG, where, "at most 12", "too many options in one sweep");
    *k = (key){ .name = sl_ynode_text(name), .node = name, .n = one ? 1 : sl_ynode_len(list) };
    if (!one && (sl_ynode_kind(list) != SL_Y_LIST || k->n < 1 || k->n > MOST_VALUES))
        return sl_fail(err, SL_CONFIG, where, "a list of 1 to 64 values", "%s is none", k->name);
    for (int i = 0; i < k->n; i++) {
        k->value[i] = one ? list : sl_ynode_at(list, i);
        sl_ynode_where(k->value[i], where);
        if (!sl_ynode_text(k->value[i]))
            return sl_fail(err, SL_CONFIG, where, "one value", "an item of %s is a list or a map", k->name);
    }
    static const char *const shared[] = { "batch", "checkpoint_seconds", "perturb_site", "perturb_p_tok", "perturb_token_to" };
    bool one_for_all = false;
    for (size_t i = 0; i < sizeof shared / sizeof *shared; i++)
        one_for_all = one_for_all || sl_name_equal(k->name, shared[i]);
    if (one_for_all) {
        sl_ynode_where(name, where);
        return sl_fail(err, SL_CONFIG, where, "its section of the file", "%s is the same for all SAEs of a pass", k->name);
    }
    w->n_keys++;
    return SL_OK;
}

/* Options of the configuration for an SAE of another variant: those that it has too and that were changed. */
static sl_status take_options(cli *c, const train_cfg *base, member *m, sl_err *err)
{
    const sl_variant_info *from = sl_variant_find(base->train.variant);
    _Alignas(max_align_t) char plain[VARIANT_BYTES];
    char text[256], usual[256];
    if (m->v == from)
        return SL_OK;
    sl_opts_default(m->v->opts, m->cfg.variant);
    sl_opts_default(from->opts, plain);
    for (const sl_opt *o = from->opts; o->type != SL_T_END; o++) {
        sl_opts_text(o, base->variant, text, sizeof text);
        sl_opts_text(o, plain, usual, sizeof usual);
        if (strcmp(text, usual) != 0 && sl_opts_find(m->v->opts, o->name))
            SL_TRY(sl_opts_set(c->words, m->v->opts, m->cfg.variant, o->name, text, c->config, SL_CONFIG, err));
    }
    return SL_OK;
}

static void add_name(member *m, const key *k, const char *text)
{
    size_t n = strlen(m->name);
    bool bare = sl_name_equal(k->name, "variant") || sl_name_equal(k->name, "hook");
    snprintf(m->name + n, NAME - n, "%s%s%s", n ? "_" : "", bare ? "" : k->name, text);
    for (char *s = m->name; *s; s++)
        if (!strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-+", *s))
            *s = '-';
}

/* Sets one option; *has says whether this SAE has it. */
static sl_status set_value(cli *c, member *m, const key *k, sl_ynode value, bool *has, sl_err *err)
{
    const char *text = sl_ynode_text(value);
    char where[256];
    sl_ynode_where(value, where);
    *has = true;
    if (sl_name_equal(k->name, "hook")) {
        m->cfg.hook = sl_intern(c->words, text);
        return m->cfg.hook ? SL_OK : sl_fail(err, SL_MEM, NULL, NULL, "no memory for the hook");
    }
    if (sl_opts_find(sl_sae_train_opts, k->name))
        return sl_opts_set(c->words, sl_sae_train_opts, &m->cfg.train, k->name, text, where, SL_CONFIG, err);
    if ((strncmp(k->name, "perturb_", 8) == 0 || strncmp(k->name, "perturb-", 8) == 0) && sl_opts_find(sl_perturb_opts, k->name + 8))
        return sl_opts_set(c->words, sl_perturb_opts, &m->cfg.perturb, k->name + 8, text, where, SL_CONFIG, err);
    *has = sl_opts_find(m->v->opts, k->name) != NULL;
    return *has ? sl_opts_set(c->words, m->v->opts, m->cfg.variant, k->name, text, where, SL_CONFIG, err) : SL_OK;
}

static sl_status choose_variant(cli *c, const sweep *w, const int *at, member *m, sl_err *err)
{
    char where[256];
    for (int i = 0; i < w->n_keys; i++)
        if (sl_name_equal(w->key[i].name, "variant")) {
            sl_ynode value = w->key[i].value[at[i]];
            sl_ynode_where(value, where);
            m->v = sl_variant_find(sl_ynode_text(value));
            if (!m->v)
                return sl_fail(err, SL_CONFIG, where, "one of `saelab sae variants`", "there is no variant '%s'", sl_ynode_text(value));
            m->cfg.train.variant = m->v->name;
        }
    return take_options(c, c->cfg, m, err);
}

/* The SAE of one combination; the same one again (where options did not apply) is left out. */
static sl_status add_member(cli *c, sweep *w, const int *at, bool *used, sl_err *err)
{
    const train_cfg *base = c->cfg;
    if (w->n == MOST_MEMBERS)
        return sl_fail(err, SL_CONFIG, c->config, "at most 256 SAEs", "the sweep has more combinations");
    member *m = &w->member[w->n];
    *m = (member){ .cfg = *base, .v = sl_variant_find(base->train.variant) };
    SL_TRY(choose_variant(c, w, at, m, err));
    for (int i = 0; i < w->n_keys; i++) {
        bool has;
        SL_TRY(set_value(c, m, &w->key[i], w->key[i].value[at[i]], &has, err));
        if (has)
            add_name(m, &w->key[i], sl_ynode_text(w->key[i].value[at[i]]));
        used[i] = used[i] || has;
    }
    for (int j = 0; j < w->n; j++)
        if (strcmp(w->member[j].name, m->name) == 0)
            return SL_OK;
    w->n++;
    return SL_OK;
}

static sl_status combine(cli *c, sweep *w, sl_err *err)
{
    int at[MOST_KEYS] = { 0 }, i = 0;
    bool used[MOST_KEYS] = { false };
    char where[256];
    while (i < w->n_keys) {
        SL_TRY(add_member(c, w, at, used, err));
        for (i = 0; i < w->n_keys && ++at[i] == w->key[i].n; i++)
            at[i] = 0;
    }
    for (i = 0; i < w->n_keys; i++)
        if (!used[i]) {
            sl_ynode_where(w->key[i].node, where);
            return sl_fail(err, SL_CONFIG, where, "an option of `saelab sae train --help`, or hook", "none of these SAEs has the option '%s'", w->key[i].name);
        }
    return SL_OK;
}

/* The section as it goes into config.yaml. */
static const char *section_text(cli *c, const sweep *w)
{
    enum { ROOM = MOST_KEYS * MOST_VALUES * 64 };
    char *text = sl_keep(c->words, ROOM);
    size_t n = text ? (size_t)snprintf(text, ROOM, "sweep:\n") : 0;
    for (int i = 0; text && i < w->n_keys; i++) {
        n += (size_t)snprintf(text + n, ROOM - n, "  %.60s: [", w->key[i].name);
        for (int k = 0; k < w->key[i].n; k++)
            n += (size_t)snprintf(text + n, ROOM - n, "%s%.60s", k ? ", " : "", sl_ynode_text(w->key[i].value[k]));
        n += (size_t)snprintf(text + n, ROOM - n, "]\n");
    }
    return text;
}

static sl_status read_sweep(cli *c, sweep *w, sl_yaml *y, sl_err *err)
{
    sl_ynode map = sl_ynode_get(sl_yaml_root(y), "sweep");
    char where[256];
    sl_ynode_where(map, where);
    if (sl_ynode_kind(map) != SL_Y_MAP)
        return sl_fail(err, SL_CONFIG, where, "option: [values]", "the sweep is no map");
    for (int i = 0; i < sl_ynode_len(map); i++)
        SL_TRY(read_key(w, sl_ynode_key(map, i), sl_ynode_at(map, i), err));
    SL_TRY(combine(c, w, err));
    c->config_more = section_text(c, w);
    return c->config_more ? SL_OK : sl_fail(err, SL_MEM, NULL, NULL, "no memory for the sweep");
}

/* ---- rows ---- */

/* A swept hook of a model is its hook; of stores, a folder below --acts, as `acts capture` with several hooks writes them. */
static sl_status place_member(cli *c, member *m, bool hooks, sl_err *err)
{
    train_cfg *t = &m->cfg;
    char path[DIR];
    if (hooks && t->world)
        return sl_fail(err, SL_ARG, "--world", "--acts or --lm", "a world has no hooks to sweep over");
    if (hooks && t->acts) {
        snprintf(path, sizeof path, "%.1000s/%.200s", t->acts, t->hook);
        t->acts = sl_intern(c->words, path);
        t->hook = NULL;
    }
    snprintf(m->dir, sizeof m->dir, "%.1000s/%s", t->out_dir ? t->out_dir : ".", m->name);
    t->out_dir = sl_intern(c->words, m->dir);
    t->dry_run = false;
    return t->out_dir && (t->acts || t->lm || t->world) ? SL_OK : sl_fail(err, SL_MEM, NULL, NULL, "no memory for the paths");
}

static sl_status open_inputs(cli *c, sweep *w, sl_err *err)
{
    const train_cfg *base = c->cfg;
    bool hooks = false;
    for (int i = 0; i < w->n_keys; i++)
        hooks = hooks || sl_name_equal(w->key[i].name, "hook");
    for (int i = 0; i < w->n; i++) {
        member *m = &w->member[i];
        const char *hook = hooks ? m->cfg.hook : NULL;
        int k = 0;
        SL_TRY(place_member(c, m, hooks, err));
        while (k < w->n_inputs && hook && strcmp(w->hook[k], hook) != 0)
            k++;
        if (k == w->n_inputs) {
            train_cfg t = m->cfg;
            t.dry_run = base->dry_run;
            w->hook[w->n_inputs++] = hook;
            SL_TRY(input_open(c, &t, &w->input[k], err));
        }
        m->in = &w->input[k];
    }
    return SL_OK;
}

static void add_needs(sweep *w)
{
    for (int i = 0; i < w->n; i++) {
        need n = training_need(&w->member[i].cfg, &w->member[i].in->acts->info);
        w->need.memory += n.memory;
        w->need.disk += n.disk;
    }
}

/* ---- training ---- */

static sl_status new_sae(cli *c, member *m, sl_err *err)
{
    const sl_act_info *rows = &m->in->acts->info;
    SL_TRY(sl_sae_new(c->ctx, m->v->name, rows->d_in, width_of(&m->cfg, rows), m->cfg.variant, (uint64_t)m->cfg.train.seed, &m->sae, err));
    if (m->cfg.targets && !sl_sae_about(m->sae).has_target)
        return sl_fail(err, SL_ARG, "--targets", "--variant transcoder or skip_transcoder", "%s predicts its own input", m->v->name);
    return SL_OK;
}

/* The SAE's folder with the configuration that trains it alone. */
static sl_status claim(cli *c, member *m, sl_err *err)
{
    train_cfg all = *(train_cfg *)c->cfg;
    live_group *g = c->group;
    const sl_opt *table;
    const char *more = c->config_more;
    char path[DIR + 16];
    struct stat sb;
    bool again;
    while (!g->section || strcmp(g->section, "variant") != 0)
        g++;
    table = g->table;
    *(train_cfg *)c->cfg = m->cfg;
    g->table = m->v->opts;
    c->config_more = NULL;
    sl_status st = config_claim(c, m->dir, &again, err);
    c->config_more = more;
    g->table = table;
    *(train_cfg *)c->cfg = all;
    snprintf(path, sizeof path, "%s/result.json", m->dir);
    m->done = st == SL_OK && again && stat(path, &sb) == 0;
    return st;
}

static sl_status prepare(cli *c, const sweep *w, member *m, sl_err *err)
{
    char store[DIR + 200];
    sweep_held_out(c->cfg, w, m, store);
    SL_TRY(open_held_out(c, &m->cfg, store, m->in, err));
    SL_TRY(claim(c, m, err));
    return m->done ? sl_sae_load(c->ctx, m->dir, &m->sae, err) : new_sae(c, m, err);
}

static sl_status save(cli *c, member *m, sl_err *err)
{
    SL_TRY(sl_sae_save(m->sae, m->dir, err));
    sl_sae_info about = sl_sae_about(m->sae);
    c->result = train_json(m->dir, &about, &m->run);
    sl_status st = training_done(c, m->dir, err);
    json_decref(c->result);
    c->result = NULL;
    return st;
}

/* Trains those that are not done, `steps` steps each (0: all) with or without folders. */
static sl_status train_members(sweep *w, int64_t steps, bool keep, double *seconds, sl_err *err)
{
    sl_sweep_run *runs = calloc((size_t)w->n, sizeof *runs);
    sl_sae_train_config *few = calloc((size_t)w->n, sizeof *few);
    sl_perturb_config *perturb = calloc((size_t)w->n, sizeof *perturb);
    int n = 0;
    sl_status st = runs && few && perturb ? SL_OK : sl_fail(err, SL_MEM, NULL, NULL, "no memory for the sweep");
    for (int i = 0; st == SL_OK && i < w->n; i++) {
        member *m = &w->member[i];
        few[i] = m->cfg.train;
        few[i].steps = steps ? steps : few[i].steps;
        perturb[i] = perturb_of_rows(&m->cfg);
        if (!m->done)
            runs[n++] = (sl_sweep_run){ .sae = m->sae, .acts = m->in->acts, .train = &few[i], .perturb = &perturb[i], .held_out = m->in->held_out, .dir = keep ? m->dir : NULL };
    }
    if (st == SL_OK && n > 0)
        st = sl_sae_train_many(runs, n, err);
    for (int i = 0, k = 0; runs && few && perturb && i < w->n; i++)
        if (!w->member[i].done) {
            w->member[i].run = runs[k++];
            w->member[i].run.perturb = &w->member[i].cfg.perturb;
            *seconds = fmax(*seconds, w->member[i].run.result.seconds);
        }
    free(runs);
    free(few);
    free(perturb);
    return st;
}

/* ---- the command ---- */

static sl_status dry_run(cli *c, sweep *w, sl_err *err)
{
    const train_cfg *t = c->cfg;
    double few = 0, more = 0;
    for (int i = 0; i < w->n; i++) {
        w->member[i].cfg.perturb.early_stop = false; /* every step counts */
        SL_TRY(new_sae(c, &w->member[i], err));
    }
    SL_TRY(train_members(w, FEW_STEPS, false, &few, err));
    for (int i = 0; i < w->n; i++) {
        sl_sae_free(w->member[i].sae);
        sl_free(c->ctx, w->member[i].run.result.curve);
        sl_perturb_result_release(c->ctx, &w->member[i].run.perturbed);
        w->member[i].sae = NULL;
        SL_TRY(new_sae(c, &w->member[i], err));
    }
    SL_TRY(train_members(w, MORE_STEPS, false, &more, err));
    say(c, "%d SAEs in one pass\n", w->n);
    dry_report(c, t, &w->need, few, more);
    return SL_OK;
}

static sl_status train_and_report(cli *c, sweep *w, sl_err *err)
{
    const train_cfg *t = c->cfg;
    double seconds = 0;
    bool again;
    SL_TRY(config_claim(c, t->out_dir, &again, err));
    if (again && training_was_done(c, t->out_dir))
        return SL_OK;
    if (t->lm && !t->world) {
        const char *hooks[MOST_VALUES];
        for (int i = 0; i < w->n_inputs; i++)
            hooks[i] = w->input[i].acts->info.hook;
        SL_TRY(keep_held_out(c, t, &(sl_strs){ hooks, w->n_inputs }, t->out_dir, err));
    }
    for (int i = 0; i < w->n; i++)
        SL_TRY(prepare(c, w, &w->member[i], err));
    SL_TRY(train_members(w, 0, true, &seconds, err));
    int failed = 0;
    for (int i = 0; i < w->n; i++) {
        failed += w->member[i].run.status != SL_OK;
        if (!w->member[i].done && w->member[i].run.status == SL_OK)
            SL_TRY(save(c, &w->member[i], err));
    }
    if (failed == w->n) {
        *err = w->member[0].run.err;
        return w->member[0].run.status;
    }
    return sweep_report(c, w, seconds, err);
}

static void release(cli *c, sweep *w)
{
    for (int i = 0; w->member && i < w->n; i++) {
        sl_sae_free(w->member[i].sae);
        sl_free(c->ctx, w->member[i].run.result.curve);
        sl_perturb_result_release(c->ctx, &w->member[i].run.perturbed);
        sl_metrics_release(c->ctx, &w->member[i].m);
    }
    for (int i = 0; w->input && i < w->n_inputs; i++)
        input_close(c, &w->input[i]);
    free(w->member);
    free(w->input);
}

sl_status train_sweep(cli *c, sl_err *err)
{
    const train_cfg *t = c->cfg;
    sweep w = { .member = calloc(MOST_MEMBERS, sizeof *w.member), .input = calloc(MOST_VALUES, sizeof *w.input) };
    sl_yaml *y = NULL;
    sl_status st = w.member && w.input ? sl_yaml_load(c->words, c->config, &y, err) : sl_fail(err, SL_MEM, NULL, NULL, "no memory for the sweep");
    if (st == SL_OK)
        st = read_sweep(c, &w, y, err);
    if (st == SL_OK)
        st = open_inputs(c, &w, err);
    if (st == SL_OK) {
        add_needs(&w);
        st = check_need(c, &w.need, t->out_dir, err);
    }
    if (st == SL_OK)
        st = t->dry_run ? dry_run(c, &w, err) : train_and_report(c, &w, err);
    release(c, &w);
    sl_yaml_free(y);
    return st;
}
