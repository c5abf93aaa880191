/* saelab world list | sample | train: data whose features are known. */
#include "cmd.h"

#include <math.h>
#include <string.h>

/* ---- what a world is asked for: NAME, --set KEY=VALUE..., --world-seed ---- */

/* One of --set KEY=VALUE into the world's options. */
static sl_status set_one(cli *c, const sl_world_info *info, const char *text, void *opts, sl_err *err)
{
    char key[64];
    const char *equals = strchr(text, '=');
    if (!equals || equals == text || (size_t)(equals - text) >= sizeof key)
        return sl_fail(err, SL_ARG, "--set", "KEY=VALUE", "'%.100s'", text);
    snprintf(key, sizeof key, "%.*s", (int)(equals - text), text);
    return sl_opts_set(c->words, info->opts, opts, key, equals + 1, "--set", SL_ARG, err);
}

sl_status world_open(cli *c, const char *name, const sl_strs *set, int64_t seed, sl_world **out, sl_err *err)
{
    _Alignas(max_align_t) char opts[SL_WORLD_OPTS];
    const sl_world_info *info = sl_world_find(name);
    *out = NULL;
    if (!info)
        return sl_world_new(c->ctx, name, NULL, (uint64_t)seed, out, err); /* names the nearest one */
    sl_opts_default(info->opts, opts);
    for (int i = 0; i < set->n; i++)
        SL_TRY(set_one(c, info, set->v[i], opts, err));
    return sl_world_new(c->ctx, name, opts, (uint64_t)seed, out, err);
}

/* ---- list ---- */

static sl_status list(cli *c, sl_err *err)
{
    _Alignas(max_align_t) char cfg[SL_WORLD_OPTS];
    char text[512];
    (void)err;
    c->result = json_array();
    for (int i = 0; sl_world_at(i); i++) {
        const sl_world_info *w = sl_world_at(i);
        const char *kind = w->kind == SL_WORLD_TASK ? "task" : "superposition";
        json_t *options = json_object();
        say(c, "%s%s (%s): %s (%s)\n", i ? "\n" : "", w->name, kind, w->what, w->source);
        sl_opts_default(w->opts, cfg);
        for (const sl_opt *o = w->opts; o->type != SL_T_END; o++) {
            option_text(o, cfg, text, sizeof text);
            say(c, "  %-26s %s\n", o->name, text);
            json_object_set_new(options, o->name, option_json(o, cfg));
        }
        json_array_append_new(c->result, json_pack("{s:s, s:s, s:s, s:s, s:b, s:o}", "name", w->name, "kind", kind, "what", w->what, "source", w->source,
                                                   "has_ood", w->has_ood, "options", options));
    }
    next_step(c, "saelab world sample synth_comp --set beta=0");
    return SL_OK;
}

const command CMD_WORLD_LIST = { .name = "world list", .args = "", .what = "List the worlds and their options.", .run = list };

/* ---- sample ---- */

typedef struct sample_cfg { int64_t n, seed; int split; sl_strs set; } sample_cfg;

static const sl_opt SAMPLE_OPTS[] = {
    { .name = "n", .short_name = 'n', .type = SL_T_INT, .offset = offsetof(sample_cfg, n), .def = 3, .min = 1, .max = 1e6, .unit = "rows", .help = "rows or instances to show" },
    SL_OPT_CHOICE(sample_cfg, split, SL_WORLD_TRAIN, sl_world_splits, "which of its streams"),
    SL_OPT_INT(sample_cfg, seed, 42, 0, 9e15, "", "of the world"),
    SL_OPT_STRS(sample_cfg, set, "KEY=VALUE: an option of the world"),
    SL_OPT_END
};
static const opt_group SAMPLE_GROUPS[] = { { "Options", NULL, SAMPLE_OPTS, 0 }, { NULL, NULL, NULL, 0 } };

/* The compositions that a row completes. */
static void show_sets(const cli *c, const sl_world_truth *t, const sl_codes *z, int64_t r, json_t *out)
{
    for (int64_t s = 0; s < t->n_sets; s++) {
        int32_t found = 0;
        for (int64_t i = z->row_ptr[r]; i < z->row_ptr[r + 1]; i++)
            for (int32_t k = 0; k < t->set[s].order; k++)
                found += z->idx[i] == t->set[s].feature[k];
        if (found < t->set[s].order)
            continue;
        json_t *members = json_array();
        say(c, "   composition");
        for (int32_t k = 0; k < t->set[s].order; k++) {
            const char *name = t->feature[t->set[s].feature[k]].name;
            say(c, "%s%s", k ? " + " : " ", name);
            json_array_append_new(members, json_string(name));
        }
        say(c, "%s\n", t->set[s].withheld ? " (withheld)" : "");
        json_array_append_new(out, members);
    }
}

static json_t *show_row(const cli *c, const sl_world_truth *t, const sl_act_batch *b, int64_t r)
{
    double sq = 0;
    json_t *features = json_object(), *sets = json_array();
    for (int64_t j = 0; j < t->d; j++)
        sq += (double)b->x[r * t->d + j] * (double)b->x[r * t->d + j];
    say(c, "row %lld: |x| %.3f\n  ", (long long)b->row[r], sqrt(sq));
    for (int64_t i = b->truth->row_ptr[r]; i < b->truth->row_ptr[r + 1]; i++) {
        int32_t f = b->truth->idx[i], parent = t->parent ? t->parent[f] : -1;
        say(c, " %s", t->feature[f].name);
        if (parent >= 0)
            say(c, " (of %s)", t->feature[parent].name);
        say(c, " %.2f;", (double)b->truth->val[i]);
        json_object_set_new(features, t->feature[f].name, json_real((double)b->truth->val[i]));
    }
    say(c, "\n");
    show_sets(c, t, b->truth, r, sets);
    return json_pack("{s:I, s:f, s:o, s:o}", "row", (json_int_t)b->row[r], "norm", sqrt(sq), "features", features, "compositions", sets);
}

static sl_status sample_rows(cli *c, const sl_world *w, const sample_cfg *s, sl_err *err)
{
    const sl_world_truth *t = sl_world_truth_of(w);
    sl_act_source *src;
    sl_act_batch b;
    json_t *rows = json_array();
    c->result = json_pack("{s:s, s:I, s:I, s:I, s:I, s:o}", "world", sl_world_about(w)->name, "features", (json_int_t)t->n, "d", (json_int_t)t->d, "in_trees",
                          (json_int_t)t->n_in_tree, "compositions", (json_int_t)t->n_sets, "rows", rows);
    SL_TRY(sl_world_open(w, (sl_world_split)s->split, &src, err));
    sl_status st = src->next(src, s->n, &b, err);
    say(c, "%s: %s\n%lld features in %lld dimensions, %lld of them in trees, %lld compositions\n", sl_world_about(w)->name, sl_world_about(w)->what, (long long)t->n,
        (long long)t->d, (long long)t->n_in_tree, (long long)t->n_sets);
    for (int64_t r = 0; r < s->n && st == SL_OK; r++)
        json_array_append_new(rows, show_row(c, t, &b, r));
    sl_act_source_free(src);
    return st;
}

/* The words of an instance, then the features of its positions. */
static json_t *show_instance(const cli *c, const sl_world *w, const int32_t *tokens, const uint8_t *uses, const uint8_t *on, const uint8_t *unknown)
{
    const sl_task_info *task = sl_world_task(w);
    const sl_world_truth *t = sl_world_truth_of(w);
    json_t *words = json_array(), *positions = json_array();
    for (int64_t p = 0; p < task->T; p++) {
        if (p > 0 && tokens[p] == 0)
            continue;
        say(c, "%s%s", p ? " " : "", task->word[tokens[p]]);
        json_array_append_new(words, json_string(task->word[tokens[p]]));
    }
    say(c, "\n");
    for (int64_t p = 0; p < task->T; p++) {
        if (!(uses[p] & SL_TASK_ROW))
            continue;
        json_t *features = json_array();
        int64_t hidden = 0;
        say(c, "  %2lld %-6s", (long long)p, task->word[tokens[p]]);
        for (int64_t f = 0; f < t->n; f++) {
            hidden += unknown[p * t->n + f];
            if (!on[p * t->n + f])
                continue;
            say(c, " %s", t->feature[f].name);
            json_array_append_new(features, json_string(t->feature[f].name));
        }
        if (hidden)
            say(c, "  (%lld not yet determined)", (long long)hidden);
        say(c, "\n");
        json_array_append_new(positions, json_pack("{s:I, s:o, s:I}", "position", (json_int_t)p, "on", features, "unknown", (json_int_t)hidden));
    }
    return json_pack("{s:o, s:o}", "words", words, "positions", positions);
}

static sl_status sample_instances(cli *c, const sl_world *w, const sample_cfg *s, sl_err *err)
{
    const sl_task_info *task = sl_world_task(w);
    size_t T = (size_t)task->T, cells = T * (size_t)sl_world_truth_of(w)->n;
    int32_t *tokens = sl_alloc(c->ctx, T * sizeof *tokens);
    uint8_t *bytes = sl_alloc(c->ctx, T + 2 * cells);
    json_t *all = json_array();
    sl_status st = tokens && bytes ? SL_OK : sl_fail(err, SL_MEM, "world", NULL, "no memory for an instance");
    c->result = json_pack("{s:s, s:s, s:f, s:o}", "world", sl_world_about(w)->name, "measure", task->measure, "gate", task->gate, "instances", all);
    say(c, "%s: %s\n%lld tokens, %lld features, gate: %s >= %.2f\n", sl_world_about(w)->name, sl_world_about(w)->what, (long long)task->vocab,
        (long long)sl_world_truth_of(w)->n, task->measure, task->gate);
    for (int64_t i = 0; i < s->n && st == SL_OK; i++) {
        st = sl_task_instances(w, (sl_world_split)s->split, i, 1, tokens, bytes, err);
        if (st == SL_OK)
            st = sl_task_labels(w, tokens, bytes + T, bytes + T + cells, err);
        if (st == SL_OK)
            json_array_append_new(all, show_instance(c, w, tokens, bytes, bytes + T, bytes + T + cells));
    }
    sl_free(c->ctx, tokens);
    sl_free(c->ctx, bytes);
    return st;
}

static sl_status sample(cli *c, sl_err *err)
{
    const sample_cfg *s = c->cfg;
    sl_world *w;
    SL_TRY(world_open(c, c->args[0], &s->set, s->seed, &w, err));
    bool task = sl_world_about(w)->kind == SL_WORLD_TASK;
    sl_status st = task ? sample_instances(c, w, s, err) : sample_rows(c, w, s, err);
    if (task)
        next_step(c, "saelab world train %s -o my_%s", sl_world_about(w)->name, sl_world_about(w)->name);
    else
        next_step(c, "saelab sae train --world %s -o my_sae", sl_world_about(w)->name);
    sl_world_free(w);
    return st;
}

const command CMD_WORLD_SAMPLE = {
    .name = "world sample", .args = "WORLD", .min_args = 1, .max_args = 1, .what = "Show a few rows or instances of a world with their features.",
    .text = "Rows of a superposition world: the features that are on, their values, their parents and the compositions that they complete. Instances of a task: the words, "
            "and for every position that gives an activation the features that are on there.",
    .examples = "  saelab world sample toy_128\n  saelab world sample arithmetic -n 5 --split ood\n  saelab world sample synth_comp --set beta=0.3\n",
    .groups = SAMPLE_GROUPS, .cfg_size = sizeof(sample_cfg), .run = sample,
};

/* ---- train ---- */

typedef struct train_cfg { const char *out_dir; int64_t world_seed, presence; sl_strs set; sl_task_train_config train; } train_cfg;

static const sl_opt TRAIN_OPTS[] = {
    OUT_DIR(train_cfg, "folder of the model (required)"),
    SL_OPT_INT(train_cfg, world_seed, 42, 0, 9e15, "", "of the world: what is withheld, and the instances"),
    SL_OPT_INT(train_cfg, presence, 4000, 0, 1e7, "rows", "of the presence filter after training; 0: none"),
    SL_OPT_STRS(train_cfg, set, "KEY=VALUE: an option of the world"),
    SL_OPT_END
};
static const opt_group TRAIN_GROUPS[] = {
    { "Options", NULL, TRAIN_OPTS, 0 }, { "Training", "train", sl_task_train_opts, offsetof(train_cfg, train) }, { NULL, NULL, NULL, 0 }
};

/* Which features a probe finds in the activations; the others are listed, and no SAE is asked for them. */
static sl_status presence(cli *c, sl_lm *m, const sl_world *w, int64_t n, sl_err *err)
{
    const sl_world_truth *t = sl_world_truth_of(w);
    sl_act_source *src = NULL;
    sl_status st;
    int64_t there = 0;
    json_t *features = json_object();
    sl_presence *p = sl_alloc(c->ctx, (size_t)t->n * sizeof *p);
    SL_GO(p ? SL_OK : sl_fail(err, SL_MEM, "world", NULL, "no memory for the presence filter"));
    SL_GO(sl_task_open(m, w, SL_WORLD_TEST, NULL, &src, err));
    SL_GO(sl_presence_filter(c->ctx, src, n, t->n, p, err));
    for (int64_t f = 0; f < t->n; f++) {
        there += p[f].present;
        json_object_set_new(features, t->feature[f].name, json_pack("{s:o, s:b, s:I}", "auc", json_real_or_null(p[f].auc), "present", p[f].present, "n_on",
                                                                    (json_int_t)p[f].n_on));
    }
    say(c, "%lld of %lld features are present (probe AUC >= %g)%s\n", (long long)there, (long long)t->n, SL_PRESENT_AUC, there < t->n ? "; not:" : "");
    for (int64_t f = 0; f < t->n; f++)
        if (!p[f].present && p[f].reason)
            say(c, "  %-28s %s\n", t->feature[f].name, p[f].reason);
        else if (!p[f].present)
            say(c, "  %-28s AUC %.3f\n", t->feature[f].name, p[f].auc);
    json_object_set_new(c->result, "presence", features);
    features = NULL;
done:
    json_decref(features);
    sl_act_source_free(src);
    sl_free(c->ctx, p);
    return st;
}

static void report(cli *c, const char *dir, const sl_task_info *task, const sl_task_result *r)
{
    char b[3][32], v[2][32];
    snprintf(v[0], sizeof v[0], "%.4f", r->gate.score);
    snprintf(v[1], sizeof v[1], "%.4f", r->gate.attractor);
    const char *cells[] = {
        task->measure, v[0], r->gate.passed ? "passes the gate" : "misses the gate",
        "steps", text_count(b[0], r->steps), "",
        "time", text_time(b[1], r->seconds), "",
        "with attractors", v[1], text_count(b[2], r->gate.n_attractor),
    };
    say(c, "%s\n", dir);
    say_table(c, false, r->gate.n_attractor ? 4 : 3, 3, cells);
    c->result = json_pack("{s:s, s:s, s:f, s:f, s:b, s:o, s:I, s:f, s:f}", "lm", dir, "measure", task->measure, "score", r->gate.score, "gate", task->gate, "passed",
                          r->gate.passed, "attractor", json_real_or_null(r->gate.attractor), "steps", (json_int_t)r->steps, "seconds", r->seconds, "loss", r->loss);
}

/* A model that misses the gate is kept, and is a failure now and when the command is given again. */
static sl_status check_gate(const cli *c, const char *dir, sl_err *err)
{
    if (json_is_true(json_object_get(c->result, "passed")))
        return SL_OK;
    return sl_fail(err, SL_DATA, dir, "a model that passes the gate before its activations are used: more --steps, or --n-layer 3", "%s is %.4f, the gate is %.2f",
                   json_string_value(json_object_get(c->result, "measure")), json_number_value(json_object_get(c->result, "score")),
                   json_number_value(json_object_get(c->result, "gate")));
}

static sl_status train_model(cli *c, const train_cfg *t, const sl_world *w, sl_err *err)
{
    const sl_task_info *task = sl_world_task(w);
    sl_lm_config config = sl_task_lm_config(w, &t->train);
    sl_lm *m;
    sl_task_result r = { 0 };
    SL_TRY(sl_lm_new(c->ctx, &config, (uint64_t)t->train.seed, &m, err));
    sl_status st;
    SL_GO(sl_task_train(m, w, &t->train, t->out_dir, &r, err));
    SL_GO(sl_lm_save(m, task->tok, t->out_dir, err));
    report(c, t->out_dir, task, &r);
    if (t->presence > 0)
        SL_GO(presence(c, m, w, t->presence, err));
    SL_GO(training_done(c, t->out_dir, err));
    SL_GO(check_gate(c, t->out_dir, err));
    next_step(c, "saelab sae train --world %s --lm %s -o my_sae", sl_world_about(w)->name, t->out_dir);
done:
    sl_lm_free(m);
    return st;
}

static sl_status train(cli *c, sl_err *err)
{
    const train_cfg *t = c->cfg;
    sl_world *w;
    bool again = false;
    if (!t->out_dir)
        return sl_fail(err, SL_ARG, "-o", "-o FOLDER", "where does the model go?");
    SL_TRY(world_open(c, c->args[0], &t->set, t->world_seed, &w, err));
    sl_status st = sl_world_task(w) ? SL_OK : sl_fail(err, SL_ARG, c->args[0], "a task of `saelab world list`", "a superposition world needs no model");
    if (st == SL_OK)
        st = config_claim(c, t->out_dir, &again, err);
    next_step(c, "saelab sae train --world %s --lm %s -o my_sae", sl_world_about(w)->name, t->out_dir);
    if (st == SL_OK)
        st = again && training_was_done(c, t->out_dir) ? check_gate(c, t->out_dir, err) : train_model(c, t, w, err);
    sl_world_free(w);
    return st;
}

const command CMD_WORLD_TRAIN = {
    .name = "world train", .args = "WORLD", .min_args = 1, .max_args = 1, .what = "Train a small transformer on a task until it passes the gate.",
    .text = "The model is a pre-LN decoder with learned positions and a ReLU MLP, trained on instances made as they are needed. It must pass the task's gate before its "
            "activations mean anything; a model that does not is kept, and the command fails. Then a logistic probe a feature says which of the true features are in the "
            "activations at all. An interrupted training goes on where it stopped.",
    .examples = "  saelab world train arithmetic -o my_arithmetic\n  saelab world train arithmetic -o plain --set order=plain --n-layer 3\n",
    .groups = TRAIN_GROUPS, .cfg_size = sizeof(train_cfg), .has_config_file = true, .run = train,
};
