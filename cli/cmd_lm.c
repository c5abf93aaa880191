/* saelab lm train | eval | sample | info | presets: language models. */
#include "cmd.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- train ---- */

typedef struct train_cfg {
    const char *preset, *text, *dataset, *out_dir;
    int tokenizer; /* 0: the preset's */
    sl_lm_config lm;
    sl_lm_train_config train;
} train_cfg;

static const char *const TOKENIZERS[] = { "preset", "char", "byte", "gpt2", NULL };

static const sl_opt TRAIN_OPTS[] = {
    OUT_DIR(train_cfg, "folder of the model (required)"),
    SL_OPT_STR(train_cfg, preset, "quick", "sizes and schedule; `saelab lm presets` lists them"),
    SL_OPT_STR(train_cfg, text, NULL, "text to train on"),
    SL_OPT_STR(train_cfg, dataset, NULL, "or a text of `saelab data list`; neither: the preset's"),
    SL_OPT_CHOICE(train_cfg, tokenizer, 0, TOKENIZERS, "kind of token"),
    SL_OPT_END
};

static const opt_group TRAIN_GROUPS[] = {
    { "Options", NULL, TRAIN_OPTS, 0 },
    { "Model", "lm", sl_lm_opts, offsetof(train_cfg, lm) },
    { "Training", "train", sl_lm_train_opts, offsetof(train_cfg, train) },
    { NULL, NULL, NULL, 0 }
};

static sl_status take_preset(cli *c, sl_err *err)
{
    train_cfg *t = c->cfg;
    const sl_lm_preset *p = sl_lm_preset_find(t->preset ? t->preset : "");
    if (!p)
        return sl_fail(err, SL_ARG, "--preset", "a name of `saelab lm presets`", "there is no preset '%s'", t->preset ? t->preset : "");
    t->lm = p->lm;
    t->train = p->train;
    return SL_OK;
}

static void train_report(cli *c, const train_cfg *t, const sl_corpus *corpus, const sl_lm *m, const sl_lm_result *r)
{
    char b[5][32], loss[2][32], speed[32];
    double per_s = r->total_train_time > 0 ? (double)r->tokens / r->total_train_time : 0;
    snprintf(loss[0], sizeof loss[0], "%.4f", r->final_train_loss);
    snprintf(loss[1], sizeof loss[1], "%.4f", r->best_val_loss);
    snprintf(speed, sizeof speed, "%s", text_count(b[4], (int64_t)per_s));
    const char *cells[] = {
        "text", corpus->name, "",
        "parameters", text_count(b[0], sl_lm_n_params(m, false)), "without position embeddings",
        "iterations", text_count(b[1], r->iters), "",
        "final_train_loss", loss[0], "nats/token",
        "best_val_loss", loss[1], "nats/token",
        "total_train_time", text_time(b[2], r->total_train_time), "",
        "tokens/s", speed, "",
    };
    say(c, "%s\n", t->out_dir);
    say_table(c, false, 7, 3, cells);
    c->result = json_pack("{s:s, s:s, s:s, s:i, s:I, s:I, s:I, s:o, s:o, s:o, s:o}", "model", t->out_dir, "dataset", corpus->name, "data_sha256",
                          corpus->sha256, "vocab_size", (int)sl_tok_vocab(corpus->tok), "n_params", (json_int_t)sl_lm_n_params(m, false), "iters",
                          (json_int_t)r->iters, "tokens", (json_int_t)r->tokens, "final_train_loss", json_real_or_null(r->final_train_loss), "best_val_loss",
                          json_real_or_null(r->best_val_loss), "total_train_time", json_real_or_null(r->total_train_time), "tokens_per_second",
                          json_real_or_null(per_s));
}

static sl_status train(cli *c, sl_err *err)
{
    train_cfg *t = c->cfg;
    const sl_lm_preset *p = sl_lm_preset_find(t->preset);
    sl_corpus corpus = { 0 };
    sl_lm *m = NULL;
    sl_lm_result r = { 0 };
    sl_status st;
    bool again;
    if (!t->text && !t->dataset)
        t->dataset = p->dataset;
    sl_tok_kind kind = t->tokenizer == 0 ? p->tok : t->tokenizer == 1 ? SL_TOK_CHAR : t->tokenizer == 2 ? SL_TOK_BYTE : SL_TOK_GPT2;
    SL_GO(corpus_open(c, t->text, t->dataset, kind, NULL, &corpus, err));
    sl_lm_config cfg = t->lm;
    int64_t vocab = sl_tok_vocab(corpus.tok);
    if (cfg.vocab_size == 0)
        cfg.vocab_size = vocab;
    if (cfg.vocab_size < vocab)
        SL_GO(sl_fail(err, SL_ARG, "--vocab-size", "0, or at least the tokenizer's", "the tokenizer has %lld tokens", (long long)vocab));
    SL_GO(sl_lm_new(c->ctx, &cfg, (uint64_t)t->train.seed, &m, err));
    SL_GO(config_claim(c, t->out_dir, &again, err));
    next_step(c, "saelab lm sample %s", t->out_dir);
    if (again && training_was_done(c, t->out_dir))
        goto done;
    if (again)
        sl_log(c->ctx, SL_LOG_INFO, "%s: going on with the run that is there", t->out_dir);
    SL_GO(sl_lm_train(m, &corpus, &t->train, t->out_dir, &r, err));
    SL_GO(sl_lm_save(m, corpus.tok, t->out_dir, err));
    train_report(c, t, &corpus, m, &r);
    st = training_done(c, t->out_dir, err);
done:
    sl_free(c->ctx, r.curve);
    sl_lm_free(m);
    sl_corpus_release(c->ctx, &corpus);
    return st;
}

const command CMD_LM_TRAIN = {
    .name = "lm train", .args = "", .what = "Train a language model on a text.",
    .text = "Writes a model folder: weights, tokenizer, metrics.csv and config.yaml. An interrupted training goes on when the same command is given "
            "again. The defaults below are those of the preset.",
    .examples = "  saelab lm train -o my_lm\n  saelab lm train -o my_lm --preset nanogpt_char --text novel.txt\n",
    .groups = TRAIN_GROUPS, .cfg_size = sizeof(train_cfg), .has_config_file = true, .preset = take_preset, .run = train,
};

/* ---- presets ---- */

static sl_status presets(cli *c, sl_err *err)
{
    enum { COLS = 4, MAX = 32 };
    const char *cells[(MAX + 1) * COLS] = { "PRESET", "SHAPE", "TEXT", "WHAT" };
    char shape[MAX][64];
    int n = 0;
    (void)err;
    c->result = json_array();
    for (const sl_lm_preset *p = sl_lm_presets; p->name && n < MAX; p++, n++) {
        const char **row = cells + (n + 1) * COLS;
        snprintf(shape[n], sizeof shape[n], "%lldx%lldx%lld, %lld", (long long)p->lm.n_layer, (long long)p->lm.n_head, (long long)p->lm.n_embd,
                 (long long)p->lm.block_size);
        row[0] = p->name;
        row[1] = shape[n];
        row[2] = p->dataset;
        row[3] = p->what;
        json_array_append_new(c->result, json_pack("{s:s, s:s, s:s, s:I, s:I, s:I, s:I}", "name", p->name, "what", p->what, "dataset", p->dataset, "n_layer",
                                                   (json_int_t)p->lm.n_layer, "n_head", (json_int_t)p->lm.n_head, "n_embd", (json_int_t)p->lm.n_embd,
                                                   "block_size", (json_int_t)p->lm.block_size));
    }
    say_table(c, true, n + 1, COLS, cells);
    next_step(c, "saelab lm train -o my_lm --preset %s", sl_lm_presets[0].name);
    return SL_OK;
}

const command CMD_LM_PRESETS = { .name = "lm presets", .args = "", .what = "List the presets: blocks x heads x width, context.", .run = presets };

/* ---- eval ---- */

typedef struct eval_cfg { const char *text, *dataset; int split; int64_t tokens; } eval_cfg;

static const sl_opt EVAL_OPTS[] = {
    SL_OPT_STR(eval_cfg, text, NULL, "text to score; none: what the model was trained on"),
    SL_OPT_STR(eval_cfg, dataset, NULL, "or a text of `saelab data list`"),
    SL_OPT_CHOICE(eval_cfg, split, SPLIT_VAL, SPLITS, "part of the text"),
    SL_OPT_INT(eval_cfg, tokens, 0, 0, 1e15, "tokens", "score at most so many; 0: all"),
    SL_OPT_END
};
static const opt_group EVAL_GROUPS[] = { { "Options", NULL, EVAL_OPTS, 0 }, { NULL, NULL, NULL, 0 } };

enum { MAX_BLOCKS = 20 };

/* Mean loss, and its standard error from the means of contiguous blocks (neighbouring windows are not independent). */
typedef struct scored { double loss; sl_stat blocks; int64_t n; } scored;

static sl_status score(cli *c, sl_lm *m, const int32_t *ids, int64_t n, scored *out, sl_err *err)
{
    int64_t window = sl_lm_cfg(m)->block_size, windows = (n - 1) / window, n_blocks = windows < MAX_BLOCKS ? windows : MAX_BLOCKS, got;
    double mean[MAX_BLOCKS] = { 0 }, sum = 0;
    *out = (scored){ 0 };
    if (windows < 1)
        return sl_fail(err, SL_DATA, "text", "a longer text", "%lld tokens are less than one window of %lld", (long long)n, (long long)window + 1);
    sl_progress(c->ctx, "score", 0, (double)(windows * window), "tokens", NULL);
    for (int64_t b = 0; b < n_blocks; b++) {
        int64_t first = b * windows / n_blocks, last = (b + 1) * windows / n_blocks;
        SL_TRY(sl_lm_eval(m, ids + first * window, (last - first) * window + 1, &mean[b], &got, err));
        sum += mean[b] * (double)got;
        out->n += got;
        sl_progress(c->ctx, "score", (double)(last * window), (double)(windows * window), "tokens", "loss %.4f", sum / (double)out->n);
        if (sl_cancelled(c->ctx))
            return sl_fail(err, SL_CANCELLED, NULL, NULL, "stopped");
    }
    out->loss = sum / (double)out->n;
    out->blocks = sl_stat_of(mean, n_blocks);
    return SL_OK;
}

/* Entropy of the tokens themselves: the loss of the best model that ignores context. */
static double unigram_entropy(cli *c, const int32_t *ids, int64_t n, int64_t vocab)
{
    int64_t *count = sl_alloc(c->ctx, (size_t)vocab * sizeof *count);
    double h = count ? 0 : NAN;
    for (int64_t i = 0; count && i < n; i++)
        count[ids[i]]++;
    for (int64_t v = 0; count && v < vocab; v++)
        if (count[v])
            h -= (double)count[v] / (double)n * log((double)count[v] / (double)n);
    sl_free(c->ctx, count);
    return h;
}

static void eval_report(cli *c, const char *text, const char *part, const scored *s, double floor)
{
    char v[4][64], count[32];
    double half = s->blocks.has_se ? (s->blocks.hi - s->blocks.lo) / 2 : NAN;
    snprintf(v[0], sizeof v[0], "%.4f", s->loss);
    snprintf(v[1], sizeof v[1], s->blocks.has_se ? "+- %.4f" : "", half);
    snprintf(v[2], sizeof v[2], "%.4f", floor);
    snprintf(v[3], sizeof v[3], "%.4f", exp(s->loss));
    const char *cells[] = { "METRIC", "VALUE", "95%", "WITHOUT CONTEXT", "loss", v[0], v[1], v[2], "perplexity", v[3], "", "" };
    say(c, "%s, %s: %s tokens, nats/token\n", text, part, text_count(count, s->n));
    say_table(c, true, 3, 4, cells);
    c->result = json_pack("{s:s, s:s, s:I, s:o, s:o, s:o, s:o, s:o}", "dataset", text, "split", part, "n_tokens", (json_int_t)s->n, "loss",
                          json_real_or_null(s->loss), "stderr", s->blocks.has_se ? json_real_or_null(s->blocks.se) : json_null(), "half_width_95",
                          json_real_or_null(half), "perplexity", json_real_or_null(exp(s->loss)), "floor_unigram", json_real_or_null(floor));
}

static sl_status eval(cli *c, sl_err *err)
{
    eval_cfg *e = c->cfg;
    sl_lm *m = NULL;
    sl_tok *tok = NULL;
    sl_corpus corpus = { 0 };
    scored s;
    sl_status st;
    SL_GO(sl_lm_load(c->ctx, c->args[0], &m, &tok, err));
    if (!e->text && !e->dataset) {
        e->text = trained_on(c, c->args[0], "text");
        e->dataset = trained_on(c, c->args[0], "dataset");
    }
    if (!e->text && !e->dataset) {
        sl_tok_free(tok);
        SL_GO(sl_fail(err, SL_ARG, c->args[0], "--text FILE or --dataset NAME", "the folder does not say what it was trained on"));
    }
    SL_GO(corpus_open(c, e->text, e->dataset, sl_tok_what(tok), tok, &corpus, err));
    int64_t begin, end;
    split_tokens(&corpus, (split)e->split, &begin, &end);
    if (e->tokens > 0 && end - begin > e->tokens + 1)
        end = begin + e->tokens + 1;
    SL_GO(score(c, m, corpus.ids + begin, end - begin, &s, err));
    eval_report(c, corpus.name, SPLITS[e->split], &s, unigram_entropy(c, corpus.ids + begin, end - begin, sl_lm_cfg(m)->vocab_size));
    next_step(c, "saelab acts capture --lm %s --hook blocks.%lld.hook_resid_pre -o my_acts", c->args[0], (long long)sl_lm_cfg(m)->n_layer / 2);
done:
    sl_corpus_release(c->ctx, &corpus);
    sl_lm_free(m);
    return st;
}

const command CMD_LM_EVAL = {
    .name = "lm eval", .args = "LM", .min_args = 1, .max_args = 1, .what = "Loss of a model on a text, in nats per token.",
    .text = "Whole windows that do not overlap; the interval comes from contiguous blocks of the text. Beside it stands what a model without context "
            "could reach: the entropy of the tokens.",
    .examples = "  saelab lm eval my_lm\n  saelab lm eval my_lm --text other.txt --split all\n",
    .groups = EVAL_GROUPS, .cfg_size = sizeof(eval_cfg), .run = eval,
};

/* ---- sample ---- */

typedef struct sample_cfg { const char *prompt; sl_strs steer; sl_lm_sample_config sample; } sample_cfg;

static const sl_opt SAMPLE_OPTS[] = {
    { .name = "prompt", .short_name = 'p', .type = SL_T_STR, .offset = offsetof(sample_cfg, prompt), .help = "text to go on from; none: a line's start" },
    SL_OPT_STRS(sample_cfg, steer, "SAE:FEATURE=VALUE holds a feature of an SAE at a value while it writes; 0 ablates it; again for more features of the same SAE"),
    SL_OPT_END
};
static const opt_group SAMPLE_GROUPS[] = {
    { "Options", NULL, SAMPLE_OPTS, 0 },
    { "Sampling", "sample", sl_lm_sample_opts, offsetof(sample_cfg, sample) },
    { NULL, NULL, NULL, 0 }
};

typedef struct written { cli *c; const sl_tok *tok; FILE *to; int64_t n; } written;

static bool write_token(void *user, int32_t id)
{
    written *w = user;
    size_t n;
    const char *piece = sl_tok_piece(w->tok, id, &n);
    fwrite(piece, 1, n, w->to);
    fflush(w->to); /* a person reads along */
    w->n++;
    return !ferror(w->to) && !sl_cancelled(w->c->ctx);
}

static sl_status sample(cli *c, sl_err *err)
{
    const sample_cfg *s = c->cfg;
    sl_lm *m = NULL;
    sl_tok *tok = NULL;
    int32_t *ids = NULL;
    int64_t n = 0;
    char *kept = NULL, count[2][32];
    size_t n_kept = 0;
    const char *prompt = s->prompt ? s->prompt : "";
    written w = { .c = c, .to = stdout };
    steering held = { .n = 0 };
    sl_status st;
    SL_GO(sl_lm_load(c->ctx, c->args[0], &m, &tok, err));
    if (s->steer.n > 0)
        SL_GO(steer_open(c, &s->steer, m, &held, err));
    if (*prompt)
        SL_GO(sl_tok_encode(tok, prompt, strlen(prompt), &ids, &n, err));
    if (c->com.json)
        w.to = open_memstream(&kept, &n_kept);
    if (!w.to)
        SL_GO(sl_fail(err, SL_MEM, NULL, NULL, "no memory for the text"));
    w.tok = tok;
    fputs(prompt, w.to);
    double start = now();
    SL_GO(held.n ? sl_steer_sample(held.steer, held.clamp, held.n, ids, n, &s->sample, write_token, &w, err)
                 : sl_lm_sample(m, ids, n, &s->sample, write_token, &w, err));
    double seconds = now() - start, per_s = seconds > 0 ? (double)w.n / seconds : 0;
    say(c, "\n");
    sl_log(c->ctx, SL_LOG_INFO, "%s tokens, %s tokens/s", text_count(count[0], w.n), text_count(count[1], (int64_t)per_s));
    if (c->com.json) {
        fflush(w.to);
        c->result = json_pack("{s:o, s:I, s:o, s:o}", "text", json_text(kept, n_kept), "n_tokens", (json_int_t)w.n, "seconds", json_real_or_null(seconds),
                              "tokens_per_second", json_real_or_null(per_s));
    }
done:
    if (w.to && w.to != stdout)
        fclose(w.to);
    free(kept);
    steer_close(&held);
    sl_free(c->ctx, ids);
    sl_tok_free(tok);
    sl_lm_free(m);
    return st;
}

const command CMD_LM_SAMPLE = {
    .name = "lm sample", .args = "LM", .min_args = 1, .max_args = 1, .what = "Let a model write.",
    .examples = "  saelab lm sample my_lm -p \"ROMEO:\" --max-new-tokens 200\n"
                "  saelab lm sample my_lm -p \"ROMEO:\" --steer my_sae:17=8\n",
    .groups = SAMPLE_GROUPS, .cfg_size = sizeof(sample_cfg), .run = sample,
};

/* ---- info ---- */

static sl_status info(cli *c, sl_err *err)
{
    sl_lm *m = NULL;
    sl_tok *tok = NULL;
    char b[2][32], fields[16][32];
    const char *cells[40];
    int n = 0;
    SL_TRY(sl_lm_load(c->ctx, c->args[0], &m, &tok, err));
    const sl_lm_config *cfg = sl_lm_cfg(m);
    c->result = json_pack("{s:s, s:I, s:I}", "model", c->args[0], "n_params", (json_int_t)sl_lm_n_params(m, false), "n_params_all",
                          (json_int_t)sl_lm_n_params(m, true));
    for (const sl_opt *o = sl_lm_opts; o->type != SL_T_END && n < 16; o++, n++) {
        sl_opts_text(o, cfg, fields[n], sizeof fields[n]);
        cells[2 * n] = o->name;
        cells[2 * n + 1] = fields[n];
        json_object_set_new(c->result, o->name, option_json(o, cfg));
    }
    const char *more[] = { "parameters", text_count(b[0], sl_lm_n_params(m, false)), "with positions", text_count(b[1], sl_lm_n_params(m, true)) };
    memcpy(cells + 2 * n, more, sizeof more);
    say_table(c, false, n + 2, 2, cells);
    say(c, "hooks: blocks.0 .. blocks.%lld, each .hook_resid_pre, .hook_resid_post, .hook_mlp_out; d_in %lld\n", (long long)cfg->n_layer - 1,
        (long long)cfg->n_embd);
    next_step(c, "saelab acts capture --lm %s --hook blocks.%lld.hook_resid_pre -o my_acts", c->args[0], (long long)cfg->n_layer / 2);
    sl_tok_free(tok);
    sl_lm_free(m);
    return SL_OK;
}

const command CMD_LM_INFO = { .name = "lm info", .args = "LM", .min_args = 1, .max_args = 1, .what = "Shape, size and hooks of a model.", .run = info };
