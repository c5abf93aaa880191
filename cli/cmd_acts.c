/* saelab acts capture | import | info: stores of activations. */
#include "cmd.h"

#include <string.h>

static const char *const DTYPES[] = { "f32", "f16", "bf16", NULL };
static const sl_dtype DTYPE_OF[] = { SL_F32, SL_F16, SL_BF16 };

/* ---- what a store holds ---- */

/* Prints the store, and adds it to c->result (an array). */
static sl_status report(cli *c, const char *dir, bool verify, sl_err *err)
{
    sl_act_source *s;
    char b[2][32], scale[32], print[32];
    SL_TRY(sl_acts_open(c->ctx, dir, verify, &s, err));
    const sl_act_info *i = &s->info;
    snprintf(scale, sizeof scale, "%.6g", i->scale);
    snprintf(print, sizeof print, "%.16s", i->data_hash);
    const char *rows_are = i->n_labels > 0 ? "labelled" : i->has_tokens ? "tokens with document and position" : "without tokens";
    const char *cells[] = {
        "rows", text_count(b[0], i->n_rows), rows_are,
        "d_in", text_count(b[1], i->d_in), "",
        "hook", i->hook, "",
        "model", i->model, "",
        "dataset", i->dataset, "",
        "scale", scale, "mean of |(x - mean) scale|^2 is d_in",
        "fingerprint", print, verify ? "checksums verified" : "",
    };
    say(c, "%s\n", dir);
    say_table(c, false, 7, 3, cells);
    if (!c->result)
        c->result = json_array();
    json_array_append_new(c->result, json_pack("{s:s, s:I, s:I, s:s, s:s, s:s, s:s, s:o, s:b, s:I, s:b}", "acts", dir, "n_rows", (json_int_t)i->n_rows, "d_in",
                                               (json_int_t)i->d_in, "hook", i->hook, "model", i->model, "dataset", i->dataset, "data_hash", i->data_hash,
                                               "scale", json_real_or_null(i->scale), "has_tokens", i->has_tokens, "n_labels", (json_int_t)i->n_labels,
                                               "verified", verify));
    sl_act_source_free(s);
    return SL_OK;
}

typedef struct info_cfg { bool verify; } info_cfg;
static const sl_opt INFO_OPTS[] = { SL_OPT_BOOL(info_cfg, verify, 0, "read everything and compare the checksums"), SL_OPT_END };
static const opt_group INFO_GROUPS[] = { { "Options", NULL, INFO_OPTS, 0 }, { NULL, NULL, NULL, 0 } };

static sl_status info(cli *c, sl_err *err)
{
    const info_cfg *i = c->cfg;
    SL_TRY(report(c, c->args[0], i->verify, err));
    next_step(c, "saelab sae train --acts %s -o my_sae", c->args[0]);
    return SL_OK;
}

const command CMD_ACTS_INFO = {
    .name = "acts info", .args = "DIR", .min_args = 1, .max_args = 1, .what = "What a store of activations holds.",
    .groups = INFO_GROUPS, .cfg_size = sizeof(info_cfg), .run = info,
};

/* ---- capture ---- */

typedef struct capture_cfg {
    const char *lm, *text, *dataset, *out_dir;
    sl_strs hook;
    int split, dtype;
    int64_t tokens, seed;
    bool drop_first, shuffle;
} capture_cfg;

static const sl_opt CAPTURE_OPTS[] = {
    OUT_DIR(capture_cfg, "folder of the store (required); with several hooks, of one store each"),
    SL_OPT_STR(capture_cfg, lm, NULL, "folder of the model (required)"),
    SL_OPT_STRS(capture_cfg, hook, "blocks.L.hook_resid_pre, blocks.L.hook_resid_post or blocks.L.hook_mlp_out (required)"),
    SL_OPT_STR(capture_cfg, text, NULL, "text to run over; none: what the model was trained on"),
    SL_OPT_STR(capture_cfg, dataset, NULL, "or a text of `saelab data list`"),
    SL_OPT_CHOICE(capture_cfg, split, SPLIT_TRAIN, SPLITS, "part of the text"),
    SL_OPT_INT(capture_cfg, tokens, 1e6, 0, 1e15, "rows", "at most so many; 0: all"),
    SL_OPT_BOOL(capture_cfg, drop_first, 0, "leave out the first position of every window"),
    SL_OPT_CHOICE(capture_cfg, dtype, 0, DTYPES, "numbers on disk"),
    SL_OPT_BOOL(capture_cfg, shuffle, 1, "rows in random order"),
    SL_OPT_INT(capture_cfg, seed, 0, 0, 9e15, "", "of the shuffle"),
    SL_OPT_END
};
static const opt_group CAPTURE_GROUPS[] = { { "Options", NULL, CAPTURE_OPTS, 0 }, { NULL, NULL, NULL, 0 } };

sl_status capture_text(cli *c, const capture *p, sl_tok *tok, sl_corpus *out, sl_err *err)
{
    const char *text = p->text, *dataset = p->dataset;
    if (!text && !dataset) {
        text = trained_on(c, p->lm, "text");
        dataset = trained_on(c, p->lm, "dataset");
    }
    if (!text && !dataset) {
        sl_tok_free(tok);
        return sl_fail(err, SL_ARG, p->lm, "--text FILE or --dataset NAME", "the folder does not say what it was trained on");
    }
    return corpus_open(c, text, dataset, sl_tok_what(tok), tok, out, err);
}

sl_status capture_hooks(cli *c, const capture *p, const sl_strs *hooks, const char *dir, sl_err *err)
{
    sl_lm *m = NULL;
    sl_tok *tok = NULL;
    sl_corpus corpus = { 0 };
    sl_hook_id hook;
    int64_t first, end, begin_token, end_token;
    sl_status st;
    SL_GO(sl_lm_load(c->ctx, p->lm, &m, &tok, err));
    SL_GO(capture_text(c, p, tok, &corpus, err));
    for (int i = 0; i < hooks->n; i++)
        SL_GO(sl_hook_parse(hooks->v[i], sl_lm_cfg(m), &hook, err));
    split_docs(&corpus, p->part, &first, &end);
    split_tokens(&corpus, p->part, &begin_token, &end_token);
    int64_t n = p->tokens > 0 && p->tokens < end_token - begin_token ? p->tokens : end_token - begin_token;
    SL_GO(free_space(dir, n * hooks->n * (sl_lm_cfg(m)->n_embd * (int64_t)sl_dtype_size(p->store.dtype) + 12), err));
    sl_capture_config cc = { .n_tokens = p->tokens, .drop_first = p->drop_first, .store = p->store };
    for (int i = 0; i < hooks->n; i++) {
        char sub[1200];
        snprintf(sub, sizeof sub, hooks->n > 1 ? "%.1000s/%s" : "%.1000s", dir, hooks->v[i]);
        SL_GO(sl_lm_capture(m, p->lm, &corpus, first, end, hooks->v[i], &cc, sub, err));
    }
done:
    sl_corpus_release(c->ctx, &corpus);
    sl_lm_free(m);
    return st;
}

static sl_status capture_run(cli *c, sl_err *err)
{
    const capture_cfg *k = c->cfg;
    if (!k->lm)
        return sl_fail(err, SL_ARG, "--lm", "--lm FOLDER", "which model?");
    if (k->hook.n == 0)
        return sl_fail(err, SL_ARG, "--hook", "--hook blocks.L.hook_resid_pre", "which hook? `saelab lm info %s` lists them", k->lm);
    if (!k->out_dir)
        return sl_fail(err, SL_ARG, "-o", "-o FOLDER", "where does the store go?");
    capture p = { .lm = k->lm, .text = k->text, .dataset = k->dataset, .part = (split)k->split, .tokens = k->tokens, .drop_first = k->drop_first,
                  .store = { .dtype = DTYPE_OF[k->dtype], .shuffle = k->shuffle, .seed = (uint64_t)k->seed } };
    SL_TRY(capture_hooks(c, &p, &k->hook, k->out_dir, err));
    for (int i = 0; i < k->hook.n; i++) {
        char sub[1200];
        snprintf(sub, sizeof sub, k->hook.n > 1 ? "%.1000s/%s" : "%.1000s", k->out_dir, k->hook.v[i]);
        SL_TRY(report(c, sub, false, err));
    }
    next_step(c, "saelab sae train --acts %s%s%s -o my_sae", k->out_dir, k->hook.n > 1 ? "/" : "", k->hook.n > 1 ? k->hook.v[0] : "");
    return SL_OK;
}

const command CMD_ACTS_CAPTURE = {
    .name = "acts capture", .args = "", .what = "Store a model's activations on a text.",
    .text = "One row a token, shuffled over the whole store as it is written, with token, document and position beside each. Rows of --split val are for "
            "evaluation: the model did not train on them.",
    .examples = "  saelab acts capture --lm my_lm --hook blocks.2.hook_resid_pre -o my_acts\n"
                "  saelab acts capture --lm my_lm --hook blocks.2.hook_resid_pre \\\n    --split val -o held_out\n",
    .groups = CAPTURE_GROUPS, .cfg_size = sizeof(capture_cfg), .run = capture_run,
};

/* ---- import ---- */

typedef struct import_cfg { const char *hook, *model, *tokens, *labels, *out_dir; int dtype; int64_t seed; bool shuffle; } import_cfg;

static const sl_opt IMPORT_OPTS[] = {
    OUT_DIR(import_cfg, "folder of the store (required)"),
    SL_OPT_STR(import_cfg, hook, "unknown", "where in the model the rows come from"),
    SL_OPT_STR(import_cfg, model, "unknown", "which model"),
    SL_OPT_STR(import_cfg, tokens, NULL, ".npy of token ids, one a row"),
    SL_OPT_STR(import_cfg, labels, NULL, "text with one line a row, shown in place of tokens"),
    SL_OPT_CHOICE(import_cfg, dtype, 0, DTYPES, "numbers on disk"),
    SL_OPT_BOOL(import_cfg, shuffle, 1, "rows in random order"),
    SL_OPT_INT(import_cfg, seed, 0, 0, 9e15, "", "of the shuffle"),
    SL_OPT_END
};
static const opt_group IMPORT_GROUPS[] = { { "Options", NULL, IMPORT_OPTS, 0 }, { NULL, NULL, NULL, 0 } };

static sl_status import(cli *c, sl_err *err)
{
    const import_cfg *k = c->cfg;
    if (!k->out_dir)
        return sl_fail(err, SL_ARG, "-o", "-o FOLDER", "where does the store go?");
    sl_acts_import_opts o = { .hook = k->hook, .model = k->model, .tokens = k->tokens, .labels = k->labels,
                              .store = { .dtype = DTYPE_OF[k->dtype], .shuffle = k->shuffle, .seed = (uint64_t)k->seed } };
    SL_TRY(sl_acts_import(c->ctx, c->n_args, c->args, k->out_dir, &o, err));
    SL_TRY(report(c, k->out_dir, false, err));
    next_step(c, "saelab sae train --acts %s -o my_sae", k->out_dir);
    return SL_OK;
}

const command CMD_ACTS_IMPORT = {
    .name = "acts import", .args = "PATH...", .min_args = 1, .max_args = -1, .what = "Store activations of any model from files.",
    .text = "Reads .npy, .npz and .safetensors, of shape [n, d] or [batch, position, d], in f32, f64, f16 or bf16, and writes one shuffled store.",
    .examples = "  saelab acts import layer6-*.npy --hook blocks.6.hook_resid_pre -o my_acts\n",
    .groups = IMPORT_GROUPS, .cfg_size = sizeof(import_cfg), .run = import,
};
