/* saelab sae train | variants: sparse autoencoders. Sweeps: cmd_sae_sweep.c. */
#include "cmd_sae.h"

#include <stdlib.h>
#include <string.h>

static const sl_opt TRAIN_OPTS[] = {
    OUT_DIR(train_cfg, "folder of the SAE (required)"),
    SL_OPT_STR(train_cfg, acts, NULL, "store to train on: a folder of `saelab acts`"),
    SL_OPT_STR(train_cfg, targets, NULL, "transcoders, with --acts: store of the same rows that is to be predicted"),
    SL_OPT_STR(train_cfg, lm, NULL, "or a model, which runs beside the training and makes the rows as they are needed"),
    SL_OPT_STR(train_cfg, hook, NULL, "with --lm: where; none: the residual stream in the middle"),
    SL_OPT_STR(train_cfg, text, NULL, "with --lm: text to run over; none: what the model was trained on"),
    SL_OPT_STR(train_cfg, dataset, NULL, "with --lm: or a text of `saelab data list`"),
    SL_OPT_STR(train_cfg, world, NULL, "or a world of `saelab world list`; a task needs its model as well (--lm)"),
    SL_OPT_STRS(train_cfg, world_set, "KEY=VALUE: an option of the world"),
    SL_OPT_INT(train_cfg, world_seed, 42, 0, 9e15, "", "of the world"),
    SL_OPT_STR(train_cfg, held_out_acts, NULL, "rows that --perturb-early-stop looks at: a store; --lm and --world have such rows themselves"),
    SL_OPT_INT(train_cfg, tokens, 0, 0, 1e15, "rows", "with --lm: rows of the text to train on, over and over; 0: all"),
    SL_OPT_INT(train_cfg, held_out, 1e5, 0, 1e15, "rows", "with --lm: rows of the validation text to store for `saelab sae eval`; 0: none"),
    SL_OPT_INT(train_cfg, shuffle_rows, 32768, 1, 1e9, "rows", "with --lm: rows mixed with one another; twice as many are in memory"),
    SL_OPT_INT(train_cfg, shuffle_seed, 0, 0, 9e15, "", "with --lm: of the order of the rows"),
    SL_OPT_BOOL(train_cfg, dry_run, 0, "only say what time, memory and disk it needs"),
    SL_OPT_END
};

static const opt_group TRAIN_GROUPS[] = {
    { "Options", NULL, TRAIN_OPTS, 0 },
    { "Training", "train", sl_sae_train_opts, offsetof(train_cfg, train) },
    { "Variant", "variant", NULL, offsetof(train_cfg, variant) },
    { "Perturbation training", "perturb", sl_perturb_opts, offsetof(train_cfg, perturb) },
    { NULL, NULL, NULL, 0 }
};

/* ---- what it needs ---- */

int64_t width_of(const train_cfg *t, const sl_act_info *rows)
{
    return t->train.d_sae > 0 ? t->train.d_sae : t->train.expansion * rows->d_in;
}

/* Encoder and decoder four times over (weights, moments, gradients), packed copies, and a batch with its dense pre-activations, once more for every
 * perturbed view. */
need training_need(const train_cfg *t, const sl_act_info *rows)
{
    int64_t d_out = rows->d_out > 0 ? rows->d_out : rows->d_in, d_sae = width_of(t, rows), weights = 4 * d_sae * (rows->d_in + d_out);
    int64_t passes = 1 + (sl_perturb_wanted(&t->perturb) ? t->perturb.views : 0);
    return (need){ .memory = 4 * weights + weights / 4 + 4 * passes * t->train.batch * (3 * rows->d_in + 2 * d_out + 2 * d_sae), .disk = weights * (1 + 2 * 3) };
}

sl_status check_need(cli *c, const need *n, const char *dir, sl_err *err)
{
    sl_machine m;
    char a[32], b[32];
    SL_TRY(sl_machine_info(c->ctx, &m, err));
    if (m.mem_available > 0 && n->memory > m.mem_available)
        return sl_fail(err, SL_MEM, "sae train", "a smaller --d-sae or --batch", "it needs %s of memory and %s are available", text_bytes(a, n->memory),
                       text_bytes(b, m.mem_available));
    return free_space(dir ? dir : ".", n->disk, err);
}

void dry_report(cli *c, const train_cfg *t, const need *n, double few, double more)
{
    char b[3][32];
    double seconds = few + (more > few ? more - few : 0) / (MORE_STEPS - FEW_STEPS) * (double)t->train.steps;
    say(c, "ESTIMATE\ntime    about %s for %s steps, from %d measured ones\nmemory  %s\n", text_time(b[0], seconds), text_count(b[1], t->train.steps), MORE_STEPS,
        text_bytes(b[2], n->memory));
    say(c, "disk    %s with two checkpoints\n", text_bytes(b[0], n->disk));
    c->result = json_pack("{s:b, s:f, s:I, s:I}", "estimate", 1, "seconds", seconds, "memory_bytes", (json_int_t)n->memory, "disk_bytes", (json_int_t)n->disk);
}

/* ---- where rows come from ---- */

sl_status keep_held_out(cli *c, const train_cfg *t, const sl_strs *hooks, const char *dir, sl_err *err)
{
    char held_out[1200], first[1400];
    sl_act_source *there;
    sl_err none;
    snprintf(held_out, sizeof held_out, "%.1000s/held_out", dir);
    snprintf(first, sizeof first, hooks->n > 1 ? "%s/%.100s" : "%s", held_out, hooks->v[hooks->n - 1]);
    if (t->held_out == 0)
        return SL_OK;
    if (sl_acts_open(c->ctx, first, false, &there, &none) == SL_OK) {
        sl_act_source_free(there);
        return SL_OK;
    }
    capture p = { .lm = t->lm, .text = t->text, .dataset = t->dataset, .part = SPLIT_VAL, .tokens = t->held_out,
                  .store = { .dtype = SL_F32, .shuffle = true, .seed = (uint64_t)t->shuffle_seed } };
    return capture_hooks(c, &p, hooks, held_out, err);
}

/* The hook in the middle, where none is named. */
static sl_status choose_hook(cli *c, train_cfg *t, sl_err *err)
{
    sl_lm *m = NULL;
    sl_hook_id hook;
    char name[64];
    SL_TRY(sl_lm_load(c->ctx, t->lm, &m, NULL, err));
    snprintf(name, sizeof name, "blocks.%lld.hook_resid_pre", (long long)sl_lm_cfg(m)->n_layer / 2);
    if (!t->hook)
        t->hook = sl_intern(c->words, name);
    sl_status st = t->hook ? sl_hook_parse(t->hook, sl_lm_cfg(m), &hook, err) : sl_fail(err, SL_MEM, NULL, NULL, "no memory for the hook");
    int64_t bytes = t->held_out * (4 * sl_lm_cfg(m)->n_embd + 12);
    sl_lm_free(m);
    return st == SL_OK ? free_space(t->out_dir ? t->out_dir : ".", bytes, err) : st;
}

static sl_status check_source(cli *c, train_cfg *t, sl_err *err)
{
    if (t->targets && !t->acts)
        return sl_fail(err, SL_ARG, "--targets", "--acts FOLDER", "targets need the store of the rows that they belong to");
    if (t->world && t->acts)
        return sl_fail(err, SL_ARG, "--world", "one of them", "--acts and --world together");
    if (t->world)
        return SL_OK;
    if (!t->acts == !t->lm)
        return sl_fail(err, SL_ARG, "--acts", "--acts FOLDER, --lm FOLDER, or --world NAME", "%s", t->acts ? "--acts and --lm together" : "what is there to train on?");
    return t->lm ? choose_hook(c, t, err) : SL_OK;
}

/* Rows made as they are needed: of a superposition world, or of a model that was trained on a task. */
static sl_status open_world(cli *c, const train_cfg *t, input *in, sl_err *err)
{
    SL_TRY(world_open(c, t->world, &t->world_set, t->world_seed, &in->world, err));
    bool task = sl_world_task(in->world) != NULL;
    if (task != (t->lm != NULL))
        return sl_fail(err, SL_ARG, "--world", task ? "--lm FOLDER of `saelab world train`" : "--world without --lm",
                       task ? "%s is a task: its activations are those of a model" : "%s has rows of its own", t->world);
    if (!task)
        return sl_world_open(in->world, SL_WORLD_TRAIN, &in->acts, err);
    SL_TRY(sl_lm_load(c->ctx, t->lm, &in->lm, NULL, err));
    return sl_task_open(in->lm, in->world, SL_WORLD_TRAIN, t->hook, &in->acts, err);
}

/* The model runs in a thread of its own, one batch ahead. */
static sl_status open_lm(cli *c, const train_cfg *t, input *in, sl_err *err)
{
    sl_lm *m;
    sl_tok *tok;
    int64_t first, end;
    capture p = { .lm = t->lm, .text = t->text, .dataset = t->dataset };
    SL_TRY(sl_lm_load(c->ctx, t->lm, &m, &tok, err));
    sl_lm_free(m);
    SL_TRY(capture_text(c, &p, tok, &in->corpus, err));
    split_docs(&in->corpus, SPLIT_TRAIN, &first, &end);
    sl_stream_config sc = { .n_tokens = t->tokens, .shuffle_rows = t->dry_run ? t->train.batch : t->shuffle_rows, .seed = (uint64_t)t->shuffle_seed };
    if (t->perturb.site == SL_PERTURB_SITE_TOKEN)
        sc.noise = (sl_token_noise){ .p = t->perturb.p_tok, .to = t->perturb.token_to, .seed = (uint64_t)t->perturb.seed };
    sl_act_source *rows;
    SL_TRY(sl_lm_stream(c->ctx, t->lm, &in->corpus, first, end, t->hook, &sc, &rows, err));
    return sl_acts_prefetch(c->ctx, rows, &in->acts, err);
}

static sl_status open_store(cli *c, const train_cfg *t, input *in, sl_err *err)
{
    sl_act_source *x, *y, *rows;
    SL_TRY(sl_acts_open(c->ctx, t->acts, false, &x, err));
    if (t->targets) {
        sl_status st = sl_acts_open(c->ctx, t->targets, false, &y, err);
        if (st != SL_OK) {
            sl_act_source_free(x);
            return st;
        }
        SL_TRY(sl_acts_pair(c->ctx, x, y, &rows, err));
        x = rows;
    }
    return sl_acts_prefetch(c->ctx, x, &in->acts, err);
}

sl_status input_open(cli *c, const train_cfg *t, input *in, sl_err *err)
{
    *in = (input){ .acts = NULL };
    return t->world ? open_world(c, t, in, err) : t->lm ? open_lm(c, t, in, err) : open_store(c, t, in, err);
}

/* Rows that early stopping looks at, which no training sees: of the world's test split, of the validation text, or those that were named. */
sl_status open_held_out(cli *c, const train_cfg *t, const char *store, input *in, sl_err *err)
{
    if (!t->perturb.early_stop || in->held_out)
        return SL_OK;
    if (in->world)
        return in->lm ? sl_task_open(in->lm, in->world, SL_WORLD_TEST, t->hook, &in->held_out, err) : sl_world_open(in->world, SL_WORLD_TEST, &in->held_out, err);
    store = t->held_out_acts ? t->held_out_acts : t->lm && t->held_out > 0 ? store : NULL;
    if (!store)
        return sl_fail(err, SL_ARG, "--perturb-early-stop", "--held-out-acts STORE", "stopping early needs rows that are not trained on");
    return sl_acts_open(c->ctx, store, false, &in->held_out, err);
}

void input_close(cli *c, input *in)
{
    sl_act_source_free(in->held_out);
    sl_act_source_free(in->acts);
    sl_lm_free(in->lm);
    sl_world_free(in->world);
    sl_corpus_release(c->ctx, &in->corpus);
}

/* Tokens were changed when the rows were made. */
sl_perturb_config perturb_of_rows(const train_cfg *t)
{
    sl_perturb_config p = t->perturb;
    if (p.site == SL_PERTURB_SITE_TOKEN && t->lm && !t->world)
        p.site = SL_PERTURB_SITE_BY_TYPE;
    return p;
}

/* ---- train ---- */

/* Seconds of a training of `steps` steps that leaves nothing behind. */
static sl_status time_steps(cli *c, const train_cfg *t, sl_act_source *acts, int64_t steps, double *seconds, sl_err *err)
{
    sl_sae *s;
    sl_sae_result r = { 0 };
    sl_sae_train_config few = t->train;
    few.steps = steps;
    sl_perturb_config without_stop = perturb_of_rows(t); /* every step counts */
    without_stop.early_stop = false;
    SL_TRY(sl_sae_new(c->ctx, t->train.variant, acts->info.d_in, width_of(t, &acts->info), t->variant, (uint64_t)t->train.seed, &s, err));
    sl_status st = sl_sae_train_perturbed(s, acts, &few, &without_stop, NULL, &r, NULL, err);
    *seconds = r.seconds;
    sl_sae_free(s);
    sl_free(c->ctx, r.curve);
    return st;
}

static sl_status dry_run(cli *c, const train_cfg *t, sl_act_source *acts, const need *n, sl_err *err)
{
    double few, more;
    SL_TRY(time_steps(c, t, acts, FEW_STEPS, &few, err));
    SL_TRY(time_steps(c, t, acts, MORE_STEPS, &more, err));
    dry_report(c, t, n, few, more);
    return SL_OK;
}

static json_t *perturb_json(const sl_perturb_result *p)
{
    return json_pack("{s:o, s:I, s:I, s:I, s:I, s:I}", "eps", json_real_or_null(p->eps), "rows", (json_int_t)p->rows, "skipped", (json_int_t)p->skipped,
                     "saturated", (json_int_t)p->saturated, "stopped_at", (json_int_t)p->stopped_at, "chosen_step", (json_int_t)p->chosen_step);
}

json_t *train_json(const char *dir, const sl_sae_info *about, const sl_sweep_run *run)
{
    const sl_sae_result *r = &run->result;
    double per_s = r->seconds > 0 ? (double)r->last.samples / r->seconds : 0;
    return json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "sae", dir, "variant", about->variant, "d_in",
                     (json_int_t)about->d_in, "d_sae", (json_int_t)about->d_sae, "steps", (json_int_t)r->last.step, "rows",
                     (json_int_t)r->last.samples, "loss", json_real_or_null(r->last.loss), "fvu", json_real_or_null(r->last.fvu), "l0",
                     json_real_or_null(r->last.l0), "dead", json_real_or_null(r->last.dead), "seconds", json_real_or_null(r->seconds),
                     "rows_per_second", json_real_or_null(per_s), "wait_share", json_real_or_null(r->wait_share), "perturb",
                     run->perturb && sl_perturb_wanted(run->perturb) ? perturb_json(&run->perturbed) : json_null());
}

static void train_report(cli *c, const train_cfg *t, const sl_sae_info *about, const sl_sweep_run *run)
{
    const sl_sae_result *r = &run->result;
    const sl_perturb_result *p = &run->perturbed;
    char b[3][32], v[6][32];
    double per_s = r->seconds > 0 ? (double)r->last.samples / r->seconds : 0;
    snprintf(v[0], sizeof v[0], "%.4f", r->last.fvu);
    snprintf(v[1], sizeof v[1], "%.2f", r->last.l0);
    snprintf(v[2], sizeof v[2], "%.2f%%", 100 * r->last.dead);
    snprintf(v[3], sizeof v[3], "%.1f%%", 100 * r->wait_share);
    snprintf(v[4], sizeof v[4], "%.3g", p->eps);
    snprintf(v[5], sizeof v[5], "%lld", (long long)p->chosen_step);
    bool noise = sl_perturb_wanted(&t->perturb) && t->perturb.type != SL_PERTURB_NONE;
    const char *cells[] = {
        "variant", about->variant, "",
        "d_sae", text_count(b[0], about->d_sae), "latents",
        "fvu", v[0], "of the last batch",
        "l0", v[1], "active latents a row",
        "dead", v[2], "of the latents",
        "time", text_time(b[1], r->seconds), "",
        "rows/s", text_count(b[2], (int64_t)per_s), "",
        "waiting", v[3], "of the time, for rows",
        "noise", v[4], "of |x|, at the end",
        "chosen", v[5], "is the step whose weights these are",
    };
    say(c, "%s\n", t->out_dir);
    say_table(c, false, 8 + noise + (noise && p->chosen_step > 0), 3, cells);
    c->result = train_json(t->out_dir, about, run);
}

static sl_status train_on(cli *c, train_cfg *t, input *in, sl_err *err)
{
    sl_sae *s = NULL;
    sl_perturb_config perturb = perturb_of_rows(t);
    sl_sweep_run run = { .train = &t->train, .perturb = &perturb, .dir = t->out_dir };
    sl_status st;
    bool again = false;
    char store[1100];
    sl_act_source *acts = in->acts;
    need n = training_need(t, &acts->info);
    SL_TRY(check_need(c, &n, t->out_dir, err));
    SL_GO(sl_sae_new(c->ctx, t->train.variant, acts->info.d_in, width_of(t, &acts->info), t->variant, (uint64_t)t->train.seed, &s, err));
    sl_sae_info about = sl_sae_about(s);
    if (t->targets && !about.has_target)
        SL_GO(sl_fail(err, SL_ARG, "--targets", "--variant transcoder or skip_transcoder", "%s predicts its own input", about.variant));
    if (t->dry_run) {
        st = dry_run(c, t, acts, &n, err);
        goto done;
    }
    SL_GO(config_claim(c, t->out_dir, &again, err));
    bool held_out = t->lm && !t->world && t->held_out > 0;
    next_step(c, "saelab sae eval %s%s%s", t->out_dir, held_out ? "" : " --acts HELD_OUT_STORE", about.has_target ? " --targets THEIR_TARGETS" : "");
    if (again && training_was_done(c, t->out_dir))
        goto done;
    if (held_out)
        SL_GO(keep_held_out(c, t, &(sl_strs){ &t->hook, 1 }, t->out_dir, err));
    snprintf(store, sizeof store, "%.1000s/held_out", t->out_dir);
    SL_GO(open_held_out(c, t, store, in, err));
    run.sae = s;
    run.acts = acts;
    run.held_out = in->held_out;
    SL_GO(sl_sae_train_many(&run, 1, err));
    SL_GO(sl_sae_save(s, t->out_dir, err));
    about = sl_sae_about(s);
    train_report(c, t, &about, &run);
    st = training_done(c, t->out_dir, err);
done:
    sl_perturb_result_release(c->ctx, &run.perturbed);
    sl_free(c->ctx, run.result.curve);
    sl_sae_free(s);
    return st;
}

static sl_status train(cli *c, sl_err *err)
{
    train_cfg *t = c->cfg;
    input in;
    bool many;
    if (!t->out_dir && !t->dry_run)
        return sl_fail(err, SL_ARG, "-o", "-o FOLDER", "where does the SAE go?");
    SL_TRY(has_sweep(c, &many, err));
    SL_TRY(check_source(c, t, err));
    if (many)
        return train_sweep(c, err);
    sl_status st = input_open(c, t, &in, err);
    if (st == SL_OK)
        st = train_on(c, t, &in, err);
    input_close(c, &in);
    return st;
}

const command CMD_SAE_TRAIN = {
    .name = "sae train", .args = "", .what = "Train a sparse autoencoder on activations.",
    .text = "Writes a SAELens folder (cfg.json, sae_weights.safetensors) with metrics.csv and config.yaml. An interrupted training goes on when the same "
            "command is given again. `--help --variant V` shows the options of another variant. With --lm rows come straight from the model, which runs "
            "in a thread beside the training. A section `sweep:` in the --config file, with lists of values (variant, k, d_sae, seed, hook, lr ...), trains all "
            "combinations in one pass over the rows, each in a folder of its own. The --perturb options train with a perturbation layer and a stability loss; "
            "in a sweep they are perturb_eps, perturb_type ...",
    .examples = "  saelab sae train --acts my_acts -o my_sae --k 32 --d-sae 4096\n  saelab sae train --lm my_lm -o my_sae --variant standard\n"
                "  saelab sae train --world synth1k -o my_sae --k 8 --d-sae 1024\n"
                "  saelab sae train --world toy_128 -o robust --k 5 --d-sae 128 \\\n    --perturb-type gauss --perturb-eps .3\n"
                "  saelab sae train --variant transcoder --acts acts/blocks.2.hook_resid_pre \\\n    --targets acts/blocks.2.hook_mlp_out -o my_transcoder\n",
    .groups = TRAIN_GROUPS, .cfg_size = sizeof(train_cfg), .has_config_file = true, .has_sweep = true, .prefixed = "perturb", .run = train,
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
            flag_name(NULL, o, name);
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
