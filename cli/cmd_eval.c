/* saelab sae eval: held-out rows, the SAE inside its language model, ground truth of a world, probes, explanations, stability. */
#include "cmd.h"

#include <math.h>
#include <string.h>
#include <sys/stat.h>

typedef struct eval_cfg {
    const char *acts, *targets, *lm, *text, *dataset, *world;
    sl_strs world_set;
    int split;
    int64_t rows, tokens, sample, world_seed, seed;
    bool probes, explain, ood, stability;
    const char *noise;
} eval_cfg;

static const sl_opt OPTS[] = {
    SL_OPT_STR(eval_cfg, acts, NULL, "store of held-out rows; none: held_out in the SAE's folder"),
    SL_OPT_STR(eval_cfg, targets, NULL, "transcoders, with --acts: store of the same rows that they predict"),
    SL_OPT_STR(eval_cfg, lm, NULL, "model to splice the SAE into; none: the one it was trained with"),
    SL_OPT_STR(eval_cfg, text, NULL, "text for splicing; none: what the model was trained on"),
    SL_OPT_STR(eval_cfg, dataset, NULL, "or a text of `saelab data list`"),
    SL_OPT_CHOICE(eval_cfg, split, SPLIT_VAL, SPLITS, "part of that text"),
    SL_OPT_INT(eval_cfg, rows, 0, 0, 1e15, "rows", "at most so many; 0: all"),
    SL_OPT_INT(eval_cfg, tokens, 50000, 0, 1e15, "tokens", "splice over at most so many; 0: all"),
    SL_OPT_STR(eval_cfg, world, NULL, "compare with the truth of this world, on fresh rows of it; a task needs its model too (--lm)"),
    SL_OPT_STRS(eval_cfg, world_set, "KEY=VALUE: an option of the world"),
    SL_OPT_INT(eval_cfg, world_seed, 42, 0, 9e15, "", "of the world"),
    SL_OPT_BOOL(eval_cfg, ood, 0, "rows with the combinations that the world withholds from training"),
    SL_OPT_BOOL(eval_cfg, probes, 0, "probe codes for true features and for labels read off the text"),
    SL_OPT_BOOL(eval_cfg, explain, 0, "explain latents by predicates of the text"),
    SL_OPT_BOOL(eval_cfg, stability, 0, "perturb rows: do the codes survive? at most 4096 rows"),
    SL_OPT_STR(eval_cfg, noise, "gauss", "kinds of perturbation to draw curves of, commas between them, or all"),
    SL_OPT_INT(eval_cfg, sample, 20000, 100, 1e7, "rows", "for --world, --probes, --explain and --stability"),
    SL_OPT_INT(eval_cfg, seed, 0, 0, 9e15, "", "of splits, shuffled floors and the random decoder"),
    SL_OPT_END
};
static const opt_group GROUPS[] = { { "Options", NULL, OPTS, 0 }, { NULL, NULL, NULL, 0 } };

/* What one evaluation works on; all of it is released at its end. */
typedef struct bench {
    sl_sae *sae;
    sl_baseline *baseline;  /* in place of an SAE */
    sl_coder coder;
    char hook[96];
    bool transcoder;
    sl_world *world;
    sl_act_source *rows;
    sl_lm *lm;
    sl_corpus corpus;       /* tok NULL: none */
} bench;

static void release(cli *c, bench *b)
{
    sl_act_source_free(b->rows);
    sl_world_free(b->world);
    sl_corpus_release(c->ctx, &b->corpus);
    sl_lm_free(b->lm);
    sl_baseline_free(b->baseline);
    sl_sae_free(b->sae);
}

/* ---- opening ---- */

static sl_status open_coder(cli *c, const char *dir, bench *b, sl_err *err)
{
    if (sl_baseline_is_dir(dir)) {
        SL_TRY(sl_baseline_load(c->ctx, dir, &b->baseline, err));
        b->coder = sl_baseline_coder(b->baseline);
        snprintf(b->hook, sizeof b->hook, "%s", sl_baseline_tell(b->baseline).hook);
        return SL_OK;
    }
    SL_TRY(sl_sae_load(c->ctx, dir, &b->sae, err));
    b->coder = sl_coder_of(b->sae);
    sl_sae_info about = sl_sae_about(b->sae);
    const eval_cfg *e = c->cfg;
    if (about.has_target && (e->world || e->probes || e->explain || e->lm))
        return sl_fail(err, SL_UNAVAILABLE, dir, "an SAE", "a %s predicts a target, which only the metrics of rows know", about.variant);
    if (about.has_target && (!e->acts || !e->targets))
        return sl_fail(err, SL_ARG, dir, "--acts FOLDER and --targets FOLDER", "a %s is measured on rows with targets", about.variant);
    if (!about.has_target && e->targets)
        return sl_fail(err, SL_ARG, "--targets", "a transcoder", "%s predicts its own input", dir);
    b->transcoder = about.has_target;
    snprintf(b->hook, sizeof b->hook, "%s", about.hook);
    return SL_OK;
}

/* The model, and the text that it is measured on unless it is a task's. */
static sl_status open_model(cli *c, const char *model, bench *b, sl_err *err)
{
    const eval_cfg *e = c->cfg;
    sl_tok *tok = NULL;
    const char *text = e->text, *dataset = e->dataset;
    SL_TRY(sl_lm_load(c->ctx, model, &b->lm, &tok, err));
    if (b->world) {
        sl_tok_free(tok);
        return SL_OK;
    }
    if (!text && !dataset) {
        text = trained_on(c, model, "text");
        dataset = trained_on(c, model, "dataset");
    }
    if (!text && !dataset) {
        sl_tok_free(tok);
        return sl_fail(err, SL_ARG, model, "--text FILE or --dataset NAME", "the folder does not say what it was trained on");
    }
    return corpus_open(c, text, dataset, sl_tok_what(tok), tok, &b->corpus, err);
}

static sl_status open_rows(cli *c, const char *dir, const char *acts, bench *b, sl_err *err)
{
    const eval_cfg *e = c->cfg;
    sl_world_split part = e->ood ? SL_WORLD_OOD : SL_WORLD_TEST;
    if (b->world && sl_world_task(b->world))
        return sl_task_open(b->lm, b->world, part, b->hook[0] ? b->hook : NULL, &b->rows, err);
    if (b->world)
        return sl_world_open(b->world, part, &b->rows, err);
    const char *own = trained_on(c, dir, "acts");
    if (acts && own && strcmp(acts, own) == 0)
        sl_log(c->ctx, SL_LOG_WARN, "%s: these are the rows that it was trained on", acts);
    if (acts)
        SL_TRY(sl_acts_open(c->ctx, acts, false, &b->rows, err));
    if (!b->transcoder)
        return SL_OK;
    sl_act_source *x = b->rows, *y;
    SL_TRY(sl_acts_open(c->ctx, e->targets, false, &y, err));
    return sl_acts_pair(c->ctx, x, y, &b->rows, err);
}

static sl_status open_all(cli *c, const char *dir, bench *b, sl_err *err)
{
    const eval_cfg *e = c->cfg;
    char held_out[1100];
    struct stat sb;
    const char *acts = e->acts, *lm = e->lm ? e->lm : e->world || b->transcoder ? NULL : trained_on(c, dir, "lm");
    if (e->world && acts)
        return sl_fail(err, SL_ARG, "--world", "one of them", "--acts and --world together");
    snprintf(held_out, sizeof held_out, "%.1000s/held_out", dir);
    if (!acts && !e->world && stat(held_out, &sb) == 0)
        acts = held_out;
    if (!acts && !lm && !e->world)
        return sl_fail(err, SL_ARG, dir, "--acts FOLDER of held-out rows, --lm FOLDER, both, or --world NAME", "what is it to be measured on?");
    if (!acts && !e->world && (e->probes || e->explain || e->stability))
        return sl_fail(err, SL_ARG, e->probes ? "--probes" : e->explain ? "--explain" : "--stability", "--acts FOLDER or --world NAME", "there are no rows to measure on");
    if (e->world)
        SL_TRY(world_open(c, e->world, &e->world_set, e->world_seed, &b->world, err));
    bool task = b->world && sl_world_task(b->world);
    if (b->world && task != (lm != NULL))
        return sl_fail(err, SL_ARG, "--world", task ? "--lm FOLDER of `saelab world train`" : "--world without --lm",
                       task ? "%s is a task: its activations are those of a model" : "%s has rows of its own", e->world);
    if (lm)
        SL_TRY(open_model(c, lm, b, err));
    return open_rows(c, dir, acts, b, err);
}

/* ---- ground truth, probes, explanations ---- */

/* Is the text that of the rows? Their tokens say. */
static bool text_fits(const sl_corpus *corpus, const sl_gathered *g)
{
    if (!corpus->tok || !g->data.doc || !g->token)
        return false;
    for (int64_t r = 0; r < g->data.n_rows; r++) {
        int32_t doc = g->data.doc[r];
        if (doc < 0 || doc >= corpus->n_docs || g->data.pos[r] < 0 || corpus->doc[doc] + g->data.pos[r] >= corpus->doc[doc + 1]
            || corpus->ids[corpus->doc[doc] + g->data.pos[r]] != g->token[r])
            return false;
    }
    return true;
}

enum { MOST_SETS = 8, MOST_FAMILIES = 16 };
typedef struct labels { sl_label_set all[MOST_SETS], *text, *source; int n_text, n; } labels;

static sl_status add_labels(cli *c, const bench *b, sl_gathered *g, labels *l, sl_err *err)
{
    if (g->data.corpus)
        SL_TRY(sl_labels_of_text(c->ctx, g->data.corpus, g->data.doc, g->data.pos, g->data.n_rows, &l->text, &l->n_text, err));
    if (b->rows->info.labels)
        SL_TRY(sl_labels_of_source(c->ctx, &b->rows->info, g->row, g->data.n_rows, &l->source, err));
    for (int i = 0; i < l->n_text; i++)
        l->all[l->n++] = l->text[i];
    if (l->source)
        l->all[l->n++] = *l->source;
    g->data.labels = l->all;
    g->data.n_labels = l->n;
    return SL_OK;
}

static void add_truth(const bench *b, sl_gathered *g)
{
    const sl_world_truth *t = b->world ? sl_world_truth_of(b->world) : NULL;
    if (!t)
        return;
    g->data.n_truth = t->n;
    g->data.truth = t->d == g->data.d_in ? t->dir : NULL;
    g->data.parent = t->parent && t->n_in_tree ? t->parent : NULL;
}

/* A random decoder with as many latents, as many of them active a row: what chance finds by the same means. */
static sl_status fit_control(cli *c, const sl_gathered *g, sl_baseline **out, sl_err *err)
{
    const sl_eval_data *d = &g->data;
    int64_t k = (int64_t)llround((double)d->z.row_ptr[d->n_rows] / (double)d->n_rows), most = d->d_sae < 65536 ? d->d_sae : 65536;
    sl_random_options o = { .k = k < 1 ? 1 : k > most ? most : k, .d_sae = d->d_sae, .from = 0, .center = true };
    return sl_baseline_fit(c->ctx, "random", &(sl_baseline_data){ .x = d->x, .n = d->n_rows, .d_in = d->d_in }, &o, (uint64_t)((const eval_cfg *)c->cfg)->seed, out, err);
}

static void families(const eval_cfg *e, const char *names[MOST_FAMILIES])
{
    static const char *const world[] = { "directions", "codes", "firing", "selected", "hierarchy", "splitting" };
    static const char *const probes[] = { "truth_probes", "label_probes", "letters" };
    int n = 0;
    for (int i = 0; e->world && i < 6; i++)
        names[n++] = world[i];
    for (int i = 0; e->probes && i < 3; i++)
        names[n++] = probes[i];
    if (e->explain)
        names[n++] = "explain";
    names[n++] = "rates";
    names[n] = NULL;
}

static sl_status measure(cli *c, bench *b, sl_metrics *m, sl_err *err)
{
    const eval_cfg *e = c->cfg;
    sl_gathered g = { 0 }, again = { 0 };
    labels l = { .n = 0 };
    sl_baseline *random = NULL;
    const char *names[MOST_FAMILIES];
    sl_status st;
    SL_GO(sl_gather(c->ctx, &b->coder, b->rows, e->sample, b->world ? sl_world_truth_of(b->world)->n : 0, &g, err));
    g.data.seed = (uint64_t)e->seed;
    add_truth(b, &g);
    if (text_fits(&b->corpus, &g))
        g.data.corpus = &b->corpus;
    else if (b->corpus.tok)
        sl_log(c->ctx, SL_LOG_WARN, "the rows are not of this text: nothing can be read off it");
    SL_GO(add_labels(c, b, &g, &l, err));
    SL_GO(fit_control(c, &g, &random, err));
    sl_coder control = sl_baseline_coder(random);
    SL_GO(sl_gather_again(c->ctx, &control, &g, &again, err));
    families(e, names);
    SL_GO(sl_measure(c->ctx, &g.data, &again.data, names, m, err));
done:
    sl_gathered_release(c->ctx, &again);
    sl_baseline_free(random);
    sl_labels_free(c->ctx, l.text, l.n_text);
    sl_labels_free(c->ctx, l.source, 1);
    sl_gathered_release(c->ctx, &g);
    return st;
}

/* ---- stability ---- */

static sl_status stability(cli *c, bench *b, const char *dir, sl_metrics *m, sl_stability_report *r, sl_err *err)
{
    const eval_cfg *e = c->cfg;
    sl_stability_options o;
    if (!b->sae)
        return sl_fail(err, SL_UNAVAILABLE, "--stability", "an SAE", "%s is a baseline", dir);
    sl_opts_default(sl_stability_opts, &o);
    o.rows = e->sample < o.rows ? e->sample : o.rows;
    o.noise = e->noise;
    o.seed = e->seed;
    return sl_eval_stability(c->ctx, b->sae, b->rows, &o, b->world ? sl_world_truth_of(b->world) : NULL, m, r, err);
}

/* ---- the report ---- */

static json_t *metric_json(const sl_metric *m)
{
    json_t *j = json_pack("{s:o, s:o, s:o, s:o, s:I}", "value", m->is_null ? json_null() : json_real_or_null(m->value), "interval",
                          m->has_interval ? json_pack("[f, f]", m->lo, m->hi) : json_null(), "floor", m->has_floor ? json_real_or_null(m->floor) : json_null(),
                          "random", m->has_control ? json_real_or_null(m->control) : json_null(), "n", (json_int_t)m->n);
    if (j && m->is_null)
        json_object_set_new(j, "reason", json_string(m->reason));
    return j;
}

static json_t *metrics_json(const sl_metrics *m)
{
    json_t *j = json_object();
    for (int i = 0; i < m->n; i++)
        json_object_set_new(j, m->v[i].name, metric_json(&m->v[i]));
    return j;
}

enum { COLS = 6, CELL = 48 };

/* Cells of a row of the table; what a null is for stands in the last one. */
static void metric_cells(const sl_metric *k, char cell[COLS - 1][CELL], const char **row)
{
    snprintf(cell[0], CELL, k->is_null ? "-" : "%.5g", k->value);
    snprintf(cell[1], CELL, k->has_interval ? "[%.4g, %.4g]" : "", k->lo, k->hi);
    snprintf(cell[2], CELL, k->has_floor ? "%.4g" : "", k->floor);
    snprintf(cell[3], CELL, k->has_control ? "%.4g" : "", k->control);
    row[0] = k->name;
    for (int i = 1; i < COLS - 1; i++)
        row[i] = cell[i - 1];
    row[COLS - 1] = k->is_null ? k->reason : text_count(cell[COLS - 2], k->n);
}

static json_t *report(cli *c, const char *sae, const sl_metrics *m)
{
    size_t rows = (size_t)m->n + 1;
    const char **cells = sl_alloc(c->ctx, rows * COLS * sizeof *cells);
    char(*text)[COLS - 1][CELL] = sl_alloc(c->ctx, rows * sizeof *text);
    if (cells && text) {
        static const char *const head[COLS] = { "METRIC", "VALUE", "INTERVAL", "FLOOR", "RANDOM", "N" };
        memcpy(cells, head, sizeof head);
        for (int i = 0; i < m->n; i++)
            metric_cells(&m->v[i], text[i], cells + (i + 1) * COLS);
        say(c, "%s\n", sae);
        say_table(c, true, m->n + 1, COLS, cells);
    }
    sl_free(c->ctx, text);
    sl_free(c->ctx, cells);
    return json_pack("{s:s, s:o}", "sae", sae, "metrics", metrics_json(m));
}

/* The curves: [{noise, axis, points: [{strength, achieved, valid, skipped, metrics}]}]. */
static json_t *curves_json(const sl_stability_report *r)
{
    json_t *all = json_array();
    for (int i = 0; i < r->n_curves; i++) {
        const sl_stability_curve *k = &r->curve[i];
        json_t *points = json_array();
        for (int p = 0; p < k->n; p++)
            json_array_append_new(points, json_pack("{s:f, s:f, s:I, s:I, s:o}", "strength", k->point[p].strength, "achieved", k->point[p].achieved,
                                                    "valid", (json_int_t)k->point[p].valid, "skipped", (json_int_t)k->point[p].skipped,
                                                    "metrics", metrics_json(&k->point[p].m)));
        json_array_append_new(all, json_pack("{s:s, s:s, s:o}", "noise", k->noise, "axis", k->axis, "points", points));
    }
    return all;
}

static sl_status eval_one(cli *c, const char *dir, sl_err *err)
{
    const eval_cfg *e = c->cfg;
    bench b = { 0 };
    sl_metrics m = { 0 };
    sl_stability_report curves = { 0 };
    int64_t first, end;
    sl_status st;
    SL_GO(open_coder(c, dir, &b, err));
    SL_GO(open_all(c, dir, &b, err));
    if (b.rows)
        SL_GO(sl_eval_coder_rows(c->ctx, &b.coder, b.rows, e->rows ? e->rows : b.rows->info.n_rows < 0 ? e->sample : 0, &m, NULL, err));
    if (e->world || e->probes || e->explain)
        SL_GO(measure(c, &b, &m, err));
    if (e->stability)
        SL_GO(stability(c, &b, dir, &m, &curves, err));
    if (b.corpus.tok) {
        split_docs(&b.corpus, (split)e->split, &first, &end);
        SL_GO(sl_eval_coder_splice(c->ctx, b.lm, &b.coder, b.hook, &b.corpus, first, end, e->tokens, &m, err));
    }
    json_t *told = report(c, dir, &m);
    if (e->stability)
        json_object_set_new(told, "curves", curves_json(&curves));
    json_array_append_new(c->result, told);
done:
    sl_stability_report_release(c->ctx, &curves);
    sl_metrics_release(c->ctx, &m);
    release(c, &b);
    return st;
}

static sl_status eval(cli *c, sl_err *err)
{
    c->result = json_array();
    for (int i = 0; i < c->n_args; i++) {
        say(c, "%s", i ? "\n" : "");
        SL_TRY(eval_one(c, c->args[i], err));
    }
    if (!sl_baseline_is_dir(c->args[0]))
        next_step(c, "saelab sae info %s", c->args[0]);
    return SL_OK;
}

const command CMD_SAE_EVAL = {
    .name = "sae eval", .args = "SAE...", .min_args = 1, .max_args = -1, .what = "Measure SAEs on held-out rows and inside their model.",
    .text = "With --acts: reconstruction, sparsity, dead latents. With --lm: the model's loss as it is, with the SAE in place of the stream, and with zeros "
            "in its place. With --world: directions and codes against the truth. With --probes and --explain: what can be read off the codes, and whether "
            "latents can be put into words. With --stability: whether codes survive perturbed rows. FLOOR is what chance gives, RANDOM what a random decoder of the same l0 gives. docs/METRICS.md defines every line.",
    .examples = "  saelab sae eval my_sae --acts held_out --lm my_lm\n"
                "  saelab sae eval my_sae --world synth1k --probes\n",
    .groups = GROUPS, .cfg_size = sizeof(eval_cfg), .run = eval,
};
