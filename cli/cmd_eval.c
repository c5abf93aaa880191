/* saelab sae eval: held-out rows, and the SAE inside its language model. */
#include "cmd.h"

#include <string.h>
#include <sys/stat.h>

typedef struct eval_cfg {
    const char *acts, *lm, *text, *dataset;
    int split;
    int64_t rows, tokens;
} eval_cfg;

static const sl_opt OPTS[] = {
    SL_OPT_STR(eval_cfg, acts, NULL, "store of held-out rows; none: held_out in the SAE's folder"),
    SL_OPT_STR(eval_cfg, lm, NULL, "model to splice the SAE into; none: the one it was trained with"),
    SL_OPT_STR(eval_cfg, text, NULL, "text for splicing; none: what the model was trained on"),
    SL_OPT_STR(eval_cfg, dataset, NULL, "or a text of `saelab data list`"),
    SL_OPT_CHOICE(eval_cfg, split, SPLIT_VAL, SPLITS, "part of that text"),
    SL_OPT_INT(eval_cfg, rows, 0, 0, 1e15, "rows", "at most so many; 0: all"),
    SL_OPT_INT(eval_cfg, tokens, 50000, 0, 1e15, "tokens", "splice over at most so many; 0: all"),
    SL_OPT_END
};
static const opt_group GROUPS[] = { { "Options", NULL, OPTS, 0 }, { NULL, NULL, NULL, 0 } };

static sl_status rows(cli *c, sl_sae *s, const char *dir, int64_t n, sl_metrics *m, sl_err *err)
{
    sl_act_source *acts;
    SL_TRY(sl_acts_open(c->ctx, dir, false, &acts, err));
    sl_status st = sl_eval_rows(c->ctx, s, acts, n, m, NULL, err);
    sl_act_source_free(acts);
    return st;
}

static sl_status splice(cli *c, const eval_cfg *e, sl_sae *s, const char *model, sl_metrics *m, sl_err *err)
{
    sl_lm *lm = NULL;
    sl_tok *tok = NULL;
    sl_corpus corpus = { 0 };
    const char *text = e->text, *dataset = e->dataset;
    int64_t first, end;
    sl_status st;
    SL_GO(sl_lm_load(c->ctx, model, &lm, &tok, err));
    if (!text && !dataset) {
        text = trained_on(c, model, "text");
        dataset = trained_on(c, model, "dataset");
    }
    if (!text && !dataset) {
        sl_tok_free(tok);
        SL_GO(sl_fail(err, SL_ARG, model, "--text FILE or --dataset NAME", "the folder does not say what it was trained on"));
    }
    SL_GO(corpus_open(c, text, dataset, sl_tok_what(tok), tok, &corpus, err));
    split_docs(&corpus, (split)e->split, &first, &end);
    sl_sae_info about = sl_sae_about(s);
    SL_GO(sl_eval_splice(c->ctx, lm, s, about.hook, &corpus, first, end, e->tokens, m, err));
done:
    sl_corpus_release(c->ctx, &corpus);
    sl_lm_free(lm);
    return st;
}

static json_t *metric_json(const sl_metric *m)
{
    json_t *j = json_pack("{s:o, s:o, s:I}", "value", m->is_null ? json_null() : json_real_or_null(m->value), "floor",
                          m->has_floor ? json_real_or_null(m->floor) : json_null(), "n", (json_int_t)m->n);
    if (j && m->is_null)
        json_object_set_new(j, "reason", json_string(m->reason));
    return j;
}

static json_t *report(const cli *c, const char *sae, const sl_metrics *m)
{
    enum { COLS = 4, MAX = 64 };
    const char *cells[(MAX + 1) * COLS] = { "METRIC", "VALUE", "FLOOR", "N" };
    char v[MAX][32], f[MAX][32], n[MAX][32];
    json_t *metrics = json_object();
    int rows_shown = 0;
    for (int i = 0; i < m->n && i < MAX; i++, rows_shown++) {
        const sl_metric *k = &m->v[i];
        const char **row = cells + (i + 1) * COLS;
        snprintf(v[i], sizeof v[i], k->is_null ? "-" : "%.5g", k->value);
        snprintf(f[i], sizeof f[i], k->has_floor ? "%.5g" : "", k->floor);
        row[0] = k->name;
        row[1] = v[i];
        row[2] = f[i];
        row[3] = k->is_null ? k->reason : text_count(n[i], k->n);
        json_object_set_new(metrics, k->name, metric_json(k));
    }
    say(c, "%s\n", sae);
    say_table(c, true, rows_shown + 1, COLS, cells);
    return json_pack("{s:s, s:o}", "sae", sae, "metrics", metrics);
}

static sl_status eval_one(cli *c, const char *dir, sl_err *err)
{
    const eval_cfg *e = c->cfg;
    sl_sae *s = NULL;
    sl_metrics m = { 0 };
    sl_status st;
    char held_out[1100];
    struct stat sb;
    const char *acts = e->acts, *lm = e->lm ? e->lm : trained_on(c, dir, "lm");
    snprintf(held_out, sizeof held_out, "%.1000s/held_out", dir);
    if (!acts && stat(held_out, &sb) == 0)
        acts = held_out;
    SL_GO(sl_sae_load(c->ctx, dir, &s, err));
    if (!acts && !lm)
        SL_GO(sl_fail(err, SL_ARG, dir, "--acts FOLDER of held-out rows, --lm FOLDER, or both", "what is it to be measured on?"));
    const char *own = trained_on(c, dir, "acts");
    if (acts && own && strcmp(acts, own) == 0)
        sl_log(c->ctx, SL_LOG_WARN, "%s: these are the rows that it was trained on", acts);
    if (acts)
        SL_GO(rows(c, s, acts, e->rows, &m, err));
    if (lm)
        SL_GO(splice(c, e, s, lm, &m, err));
    json_array_append_new(c->result, report(c, dir, &m));
done:
    sl_metrics_release(c->ctx, &m);
    sl_sae_free(s);
    return st;
}

static sl_status eval(cli *c, sl_err *err)
{
    c->result = json_array();
    for (int i = 0; i < c->n_args; i++) {
        say(c, "%s", i ? "\n" : "");
        SL_TRY(eval_one(c, c->args[i], err));
    }
    next_step(c, "saelab sae info %s", c->args[0]);
    return SL_OK;
}

const command CMD_SAE_EVAL = {
    .name = "sae eval", .args = "SAE...", .min_args = 1, .max_args = -1, .what = "Measure SAEs on held-out rows and inside their model.",
    .text = "With --acts: reconstruction, sparsity, dead latents. With --lm: the model's loss as it is, with the SAE in place of the stream, and with zeros "
            "in its place. docs/METRICS.md defines every line.",
    .examples = "  saelab sae eval my_sae --acts held_out --lm my_lm\n",
    .groups = GROUPS, .cfg_size = sizeof(eval_cfg), .run = eval,
};
