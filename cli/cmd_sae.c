/* saelab sae train | variants: sparse autoencoders. */
#include "cmd.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

typedef struct train_cfg {
    const char *acts, *targets, *lm, *hook, *text, *dataset, *out_dir, *world;
    sl_strs world_set;
    int64_t world_seed;
    int64_t tokens, held_out;
    bool dry_run;
    sl_sae_train_config train;
    _Alignas(max_align_t) char variant[VARIANT_BYTES];
} train_cfg;

static const sl_opt TRAIN_OPTS[] = {
    OUT_DIR(train_cfg, "folder of the SAE (required)"),
    SL_OPT_STR(train_cfg, acts, NULL, "store to train on: a folder of `saelab acts`"),
    SL_OPT_STR(train_cfg, targets, NULL, "transcoders, with --acts: store of the same rows that is to be predicted"),
    SL_OPT_STR(train_cfg, lm, NULL, "or a model, whose activations are captured first, into the SAE's folder"),
    SL_OPT_STR(train_cfg, hook, NULL, "with --lm: where; none: the residual stream in the middle"),
    SL_OPT_STR(train_cfg, text, NULL, "with --lm: text to run over; none: what the model was trained on"),
    SL_OPT_STR(train_cfg, dataset, NULL, "with --lm: or a text of `saelab data list`"),
    SL_OPT_STR(train_cfg, world, NULL, "or a world of `saelab world list`; a task needs its model as well (--lm)"),
    SL_OPT_STRS(train_cfg, world_set, "KEY=VALUE: an option of the world"),
    SL_OPT_INT(train_cfg, world_seed, 42, 0, 9e15, "", "of the world"),
    SL_OPT_INT(train_cfg, tokens, 1e6, 1, 1e15, "rows", "with --lm: rows to capture"),
    SL_OPT_INT(train_cfg, held_out, 1e5, 1, 1e15, "rows", "with --lm: rows of the validation text to capture, for `saelab sae eval`"),
    SL_OPT_BOOL(train_cfg, dry_run, 0, "only say what time, memory and disk it needs"),
    SL_OPT_END
};

static const opt_group TRAIN_GROUPS[] = {
    { "Options", NULL, TRAIN_OPTS, 0 },
    { "Training", "train", sl_sae_train_opts, offsetof(train_cfg, train) },
    { "Variant", "variant", NULL, offsetof(train_cfg, variant) },
    { NULL, NULL, NULL, 0 }
};

/* ---- train ---- */

/* Weights, two moments and gradients of encoder and decoder, f32, and a batch with its dense pre-activations. */
static int64_t memory_need(int64_t d_in, int64_t d_sae, int64_t batch)
{
    return 4 * (2 * d_in * d_sae * 4 + batch * (3 * d_in + 2 * d_sae));
}

static sl_status check_memory(cli *c, int64_t need, sl_err *err)
{
    sl_machine m;
    char a[32], b[32];
    SL_TRY(sl_machine_info(c->ctx, &m, err));
    if (m.mem_available > 0 && need > m.mem_available)
        return sl_fail(err, SL_MEM, "sae train", "a smaller --d-sae or --batch", "it needs %s of memory and %s are available", text_bytes(a, need),
                       text_bytes(b, m.mem_available));
    return SL_OK;
}

/* Captures the train and held-out stores below the SAE's folder, unless an earlier start did. */
static sl_status capture_for(cli *c, train_cfg *t, sl_err *err)
{
    static const struct { const char *folder; split part; } stores[] = { { "acts", SPLIT_TRAIN }, { "held_out", SPLIT_VAL } };
    for (int i = 0; i < 2; i++) {
        char dir[1200];
        sl_act_source *there;
        sl_err none;
        snprintf(dir, sizeof dir, "%.1000s/%s", t->out_dir, stores[i].folder);
        if (sl_acts_open(c->ctx, dir, false, &there, &none) == SL_OK) {
            sl_act_source_free(there);
            continue;
        }
        capture p = { .lm = t->lm, .text = t->text, .dataset = t->dataset, .part = stores[i].part, .tokens = i ? t->held_out : t->tokens,
                      .store = { .dtype = SL_F32, .shuffle = true, .seed = (uint64_t)t->train.seed } };
        SL_TRY(capture_hooks(c, &p, &(sl_strs){ &t->hook, 1 }, dir, err));
    }
    return SL_OK;
}

static sl_status check_source(cli *c, train_cfg *t, sl_err *err)
{
    if (t->world && t->acts)
        return sl_fail(err, SL_ARG, "--world", "one of them", "--acts and --world together");
    if (t->world)
        return SL_OK;
    if (!t->acts == !t->lm)
        return sl_fail(err, SL_ARG, "--acts", "--acts FOLDER, --lm FOLDER, or --world NAME", "%s", t->acts ? "--acts and --lm together" : "what is there to train on?");
    if (t->acts)
        return SL_OK;
    sl_lm *m = NULL;
    sl_hook_id hook;
    char name[64];
    SL_TRY(sl_lm_load(c->ctx, t->lm, &m, NULL, err));
    snprintf(name, sizeof name, "blocks.%lld.hook_resid_pre", (long long)sl_lm_cfg(m)->n_layer / 2);
    if (!t->hook)
        t->hook = sl_intern(c->words, name);
    sl_status st = t->hook ? sl_hook_parse(t->hook, sl_lm_cfg(m), &hook, err) : sl_fail(err, SL_MEM, NULL, NULL, "no memory for the hook");
    int64_t d_in = sl_lm_cfg(m)->n_embd;
    sl_lm_free(m);
    if (st != SL_OK)
        return st;
    int64_t bytes = (t->tokens + t->held_out) * (4 * d_in + 12);
    char b[32];
    if (t->dry_run)
        say(c, "disk    %s of activations\n", text_bytes(b, bytes));
    return free_space(t->out_dir ? t->out_dir : ".", bytes, err);
}

/* Seconds of a training of `steps` steps that leaves nothing behind. */
static sl_status time_steps(cli *c, const train_cfg *t, sl_act_source *acts, int64_t d_sae, int64_t steps, double *seconds, sl_err *err)
{
    sl_sae *s;
    sl_sae_result r = { 0 };
    sl_sae_train_config few = t->train;
    few.steps = steps;
    SL_TRY(sl_sae_new(c->ctx, t->train.variant, acts->info.d_in, d_sae, t->variant, (uint64_t)t->train.seed, &s, err));
    sl_status st = sl_sae_train(s, acts, &few, NULL, &r, err);
    *seconds = r.seconds;
    sl_sae_free(s);
    sl_free(c->ctx, r.curve);
    return st;
}

/* What the command would need; the time is that of a few real steps, without what only the first ones cost. */
static sl_status dry_run(cli *c, const train_cfg *t, sl_act_source *acts, int64_t d_sae, sl_err *err)
{
    enum { FEW = 2, MORE = 12 };
    double few, more;
    char b[3][32];
    SL_TRY(time_steps(c, t, acts, d_sae, FEW, &few, err));
    SL_TRY(time_steps(c, t, acts, d_sae, MORE, &more, err));
    double seconds = few + (more > few ? more - few : 0) / (MORE - FEW) * (double)t->train.steps;
    int64_t memory = memory_need(acts->info.d_in, d_sae, t->train.batch), disk = 4 * 2 * acts->info.d_in * d_sae * (1 + 2 * 3);
    say(c, "time    about %s for %s steps\nmemory  %s\n", text_time(b[0], seconds), text_count(b[1], t->train.steps), text_bytes(b[2], memory));
    say(c, "disk    %s with two checkpoints\n", text_bytes(b[0], disk));
    c->result = json_pack("{s:f, s:I, s:I}", "seconds", seconds, "memory_bytes", (json_int_t)memory, "disk_bytes", (json_int_t)disk);
    return SL_OK;
}

static void train_report(cli *c, const train_cfg *t, const sl_sae_info *about, const sl_sae_result *r)
{
    char b[4][32], v[3][32];
    double per_s = r->seconds > 0 ? (double)r->last.samples / r->seconds : 0;
    snprintf(v[0], sizeof v[0], "%.4f", r->last.fvu);
    snprintf(v[1], sizeof v[1], "%.2f", r->last.l0);
    snprintf(v[2], sizeof v[2], "%.2f%%", 100 * r->last.dead);
    const char *cells[] = {
        "variant", about->variant, "",
        "d_sae", text_count(b[0], about->d_sae), "latents",
        "fvu", v[0], "of the last batch",
        "l0", v[1], "active latents a row",
        "dead", v[2], "of the latents",
        "time", text_time(b[1], r->seconds), "",
        "rows/s", text_count(b[2], (int64_t)per_s), "",
    };
    say(c, "%s\n", t->out_dir);
    say_table(c, false, 7, 3, cells);
    c->result = json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:o, s:o, s:o, s:o, s:o, s:o}", "sae", t->out_dir, "variant", about->variant, "d_in",
                          (json_int_t)about->d_in, "d_sae", (json_int_t)about->d_sae, "steps", (json_int_t)r->last.step, "rows",
                          (json_int_t)r->last.samples, "loss", json_real_or_null(r->last.loss), "fvu", json_real_or_null(r->last.fvu), "l0",
                          json_real_or_null(r->last.l0), "dead", json_real_or_null(r->last.dead), "seconds", json_real_or_null(r->seconds),
                          "rows_per_second", json_real_or_null(per_s));
}

static sl_status train_on(cli *c, train_cfg *t, sl_act_source *acts, sl_err *err)
{
    sl_sae *s = NULL;
    sl_sae_result r = { 0 };
    sl_status st;
    bool again = false;
    int64_t d_sae = t->train.d_sae > 0 ? t->train.d_sae : t->train.expansion * acts->info.d_in;
    SL_TRY(check_memory(c, memory_need(acts->info.d_in, d_sae, t->train.batch), err));
    if (t->dry_run)
        return dry_run(c, t, acts, d_sae, err);
    SL_GO(sl_sae_new(c->ctx, t->train.variant, acts->info.d_in, d_sae, t->variant, (uint64_t)t->train.seed, &s, err));
    if (!t->lm || t->world) /* with --lm the folder is ours already */
        SL_GO(config_claim(c, t->out_dir, &again, err));
    next_step(c, "saelab sae eval %s%s", t->out_dir, t->lm && !t->world ? "" : " --acts HELD_OUT_STORE");
    if ((again || (t->lm && !t->world)) && training_was_done(c, t->out_dir))
        goto done;
    SL_GO(sl_sae_train(s, acts, &t->train, t->out_dir, &r, err));
    SL_GO(sl_sae_save(s, t->out_dir, err));
    sl_sae_info about = sl_sae_about(s);
    train_report(c, t, &about, &r);
    st = training_done(c, t->out_dir, err);
done:
    sl_free(c->ctx, r.curve);
    sl_sae_free(s);
    return st;
}

/* Rows made as they are needed: of a superposition world, or of a model that was trained on a task. */
static sl_status train_on_world(cli *c, train_cfg *t, sl_err *err)
{
    sl_world *w = NULL;
    sl_lm *m = NULL;
    sl_act_source *acts = NULL;
    sl_status st;
    SL_GO(world_open(c, t->world, &t->world_set, t->world_seed, &w, err));
    bool task = sl_world_task(w) != NULL;
    if (task != (t->lm != NULL))
        SL_GO(sl_fail(err, SL_ARG, "--world", task ? "--lm FOLDER of `saelab world train`" : "--world without --lm",
                      task ? "%s is a task: its activations are those of a model" : "%s has rows of its own", t->world));
    if (task)
        SL_GO(sl_lm_load(c->ctx, t->lm, &m, NULL, err));
    SL_GO(task ? sl_task_open(m, w, SL_WORLD_TRAIN, t->hook, &acts, err) : sl_world_open(w, SL_WORLD_TRAIN, &acts, err));
    st = train_on(c, t, acts, err);
done:
    sl_act_source_free(acts);
    sl_lm_free(m);
    sl_world_free(w);
    return st;
}

/* The rows of --targets become the targets of *acts, which is taken. */
static sl_status add_targets(cli *c, const train_cfg *t, sl_act_source **acts, sl_err *err)
{
    sl_act_source *x = *acts, *y;
    *acts = NULL;
    sl_status st = sl_acts_open(c->ctx, t->targets, false, &y, err);
    if (st == SL_OK)
        return sl_acts_pair(c->ctx, x, y, acts, err);
    sl_act_source_free(x);
    return st;
}

static sl_status train(cli *c, sl_err *err)
{
    train_cfg *t = c->cfg;
    sl_act_source *acts = NULL;
    char dir[1200];
    bool again;
    if (!t->out_dir && !t->dry_run)
        return sl_fail(err, SL_ARG, "-o", "-o FOLDER", "where does the SAE go?");
    if (t->targets && !t->acts)
        return sl_fail(err, SL_ARG, "--targets", "--acts FOLDER", "targets need the store of the rows that they belong to");
    SL_TRY(check_source(c, t, err));
    if (t->world)
        return train_on_world(c, t, err);
    if (t->lm && t->dry_run)
        return SL_OK;
    if (t->lm) {
        SL_TRY(config_claim(c, t->out_dir, &again, err));
        SL_TRY(capture_for(c, t, err));
    }
    snprintf(dir, sizeof dir, t->lm ? "%.1000s/acts" : "%.1000s", t->lm ? t->out_dir : t->acts);
    SL_TRY(sl_acts_open(c->ctx, dir, false, &acts, err));
    if (t->targets)
        SL_TRY(add_targets(c, t, &acts, err));
    sl_status st = train_on(c, t, acts, err);
    sl_act_source_free(acts);
    return st;
}

const command CMD_SAE_TRAIN = {
    .name = "sae train", .args = "", .what = "Train a sparse autoencoder on activations.",
    .text = "Writes a SAELens folder (cfg.json, sae_weights.safetensors) with metrics.csv and config.yaml. An interrupted training goes on when the same "
            "command is given again. `--help --variant V` shows the options of another variant.",
    .examples = "  saelab sae train --acts my_acts -o my_sae --k 32 --d-sae 4096\n  saelab sae train --lm my_lm -o my_sae --variant standard\n"
                "  saelab sae train --world synth1k -o my_sae --k 8 --d-sae 1024\n"
                "  saelab sae train --variant transcoder --acts acts/blocks.2.hook_resid_pre \\\n    --targets acts/blocks.2.hook_mlp_out -o my_transcoder\n",
    .groups = TRAIN_GROUPS, .cfg_size = sizeof(train_cfg), .has_config_file = true, .run = train,
};

/* ---- variants ---- */

static sl_status variants(cli *c, sl_err *err)
{
    _Alignas(max_align_t) char cfg[VARIANT_BYTES];
    char text[512];
    (void)err;
    c->result = json_array();
    for (int i = 0; sl_variant_at(i); i++) {
        const sl_variant_info *v = sl_variant_at(i);
        json_t *options = json_object();
        say(c, "%s%s: %s (%s)\n", i ? "\n" : "", v->name, v->what, v->paper);
        if (v->opts_size <= sizeof cfg)
            sl_opts_default(v->opts, cfg);
        for (const sl_opt *o = v->opts; o->type != SL_T_END && v->opts_size <= sizeof cfg; o++) {
            char name[64];
            flag_name(o->name, name);
            option_text(o, cfg, text, sizeof text);
            say(c, "  --%-14s %s\n", name, text);
            json_object_set_new(options, o->name, option_json(o, cfg));
        }
        json_array_append_new(c->result, json_pack("{s:s, s:s, s:s, s:o}", "name", v->name, "what", v->what, "paper", v->paper, "options", options));
    }
    next_step(c, "saelab sae train --acts my_acts -o my_sae --variant %s", sl_variant_at(0)->name);
    return SL_OK;
}

const command CMD_SAE_VARIANTS = { .name = "sae variants", .args = "", .what = "List the kinds of SAE and their options.", .run = variants };
