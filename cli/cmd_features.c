/* saelab features build: the index of what features fire on, for one SAE, several, or all of a run. */
#include "cmd_features.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>

typedef struct build_cfg {
    const char *acts, *lm, *text, *dataset, *world, *vectors, *hook, *out_dir;
    sl_strs world_set;
    int64_t world_seed;
    int split;
    int64_t stability;
    sl_features_opts f;
} build_cfg;

static const sl_opt BUILD_OPTS[] = {
    OUT_DIR(build_cfg, "folder of the index; none: features/ in the SAE's folder"),
    SL_OPT_STR(build_cfg, acts, NULL, "store of activations to read: a folder of `saelab acts`"),
    SL_OPT_STR(build_cfg, lm, NULL, "model: makes the rows, gives tokens their text, and the logit lens; none: a run's own"),
    SL_OPT_STR(build_cfg, text, NULL, "with --lm: text to run over; none: what the model was trained on"),
    SL_OPT_STR(build_cfg, dataset, NULL, "with --lm: or a text of `saelab data list`"),
    SL_OPT_CHOICE(build_cfg, split, SPLIT_TRAIN, SPLITS, "with --lm: part of the text"),
    SL_OPT_STR(build_cfg, vectors, NULL, "in place of an SAE: .npy of directions [n, d_in], active where the rows' projections are largest"),
    SL_OPT_STR(build_cfg, hook, NULL, "with --vectors and --lm: where in the model"),
    SL_OPT_INT(build_cfg, stability, 0, 0, 1e9, "rows", "to measure FSS and SCI of each feature on; 0: without these columns"),
    SL_OPT_STR(build_cfg, world, NULL, "or rows of a world of `saelab world list`, with its true features"),
    SL_OPT_STRS(build_cfg, world_set, "KEY=VALUE: an option of the world"),
    SL_OPT_INT(build_cfg, world_seed, 42, 0, 9e15, "", "of the world"),
    SL_OPT_END
};
static const opt_group BUILD_GROUPS[] = {
    { "Options", NULL, BUILD_OPTS, 0 },
    { "Index", "index", sl_features_options, offsetof(build_cfg, f) },
    { NULL, NULL, NULL, 0 }
};

/* ---- which SAEs ---- */

enum { MOST_SAES = 512 };
typedef struct saes { char path[MOST_SAES][512]; int n; const char *run; /* the folder of the run that they are of, or NULL */ } saes;

static int by_name(const void *a, const void *b) { return strcmp(a, b); }

/* The SAEs of a run: its folders sae-ARM-seedN and sae-WORLD-ARM-seedN. */
static void list_run(const char *run, saes *out)
{
    DIR *d = opendir(run);
    for (struct dirent *e = d ? readdir(d) : NULL; e; e = readdir(d)) {
        char path[1100];
        snprintf(path, sizeof path, "%.700s/%.300s", run, e->d_name);
        if (strncmp(e->d_name, "sae-", 4) == 0 && file_in(path, "cfg.json") && out->n < MOST_SAES && strlen(path) < sizeof out->path[0])
            memcpy(out->path[out->n++], path, strlen(path) + 1);
    }
    if (d)
        closedir(d);
    qsort(out->path, (size_t)out->n, sizeof out->path[0], by_name);
}

static sl_status list_saes(cli *c, saes *out, sl_err *err)
{
    out->n = 0;
    out->run = NULL;
    if (c->n_args == 1 && file_in(c->args[0], "run.json")) {
        out->run = c->args[0];
        list_run(out->run, out);
        return out->n > 0 ? SL_OK : sl_fail(err, SL_MISSING, out->run, NULL, "the run has no SAEs");
    }
    for (int i = 0; i < c->n_args; i++) {
        if (strlen(c->args[i]) >= sizeof out->path[0] || out->n == MOST_SAES)
            return sl_fail(err, SL_ARG, c->args[i], NULL, "the path is too long, or there are too many");
        memcpy(out->path[out->n++], c->args[i], strlen(c->args[i]) + 1);
    }
    return SL_OK;
}

/* ---- where rows come from ---- */

typedef struct origin {
    sl_lm *lm;
    sl_tok *tok;
    sl_corpus corpus;       /* has the tokenizer when there is one */
    sl_world *world;
    char lm_path[1100];
} origin;

static void close_origin(cli *c, origin *o)
{
    sl_corpus_release(c->ctx, &o->corpus);
    sl_tok_free(o->tok);
    sl_lm_free(o->lm);
    sl_world_free(o->world);
}

/* The model that a store's rows come from, when it is where the store says: for the text of tokens, and the logits. */
static void model_of_store(cli *c, const char *acts, char out[1100])
{
    sl_act_source *rows;
    sl_err none;
    if (sl_acts_open(c->ctx, acts, false, &rows, &none) != SL_OK)
        return; /* said when it is opened for reading */
    if (rows->info.has_tokens && file_in(rows->info.model, "tokenizer.json"))
        snprintf(out, 1100, "%.1000s", rows->info.model);
    sl_act_source_free(rows);
}

static sl_status open_origin(cli *c, const build_cfg *k, const saes *s, origin *o, sl_err *err)
{
    const char *dataset = k->dataset;
    if (k->world)
        return world_open(c, k->world, &k->world_set, k->world_seed, &o->world, err);
    if (k->lm)
        snprintf(o->lm_path, sizeof o->lm_path, "%.1000s", k->lm);
    else if (s->run)
        snprintf(o->lm_path, sizeof o->lm_path, "%.1000s/lm-seed0", s->run);
    else if (k->acts)
        model_of_store(c, k->acts, o->lm_path);
    if (!o->lm_path[0])
        return SL_OK;
    SL_TRY(sl_lm_load(c->ctx, o->lm_path, &o->lm, &o->tok, err));
    if (k->acts)
        return SL_OK;
    if (!k->text && !dataset && s->run)
        dataset = run_dataset(c, s->run);
    capture p = { .lm = o->lm_path, .text = k->text, .dataset = dataset };
    sl_tok *tok = o->tok;
    o->tok = NULL;
    return capture_text(c, &p, tok, &o->corpus, err);
}

static sl_status open_rows(cli *c, const build_cfg *k, origin *o, sl_sae *s, sl_act_source **out, sl_err *err)
{
    int64_t first, end;
    sl_act_source *rows;
    if (o->world)
        return sl_world_open(o->world, SL_WORLD_TEST, out, err);
    if (k->acts) {
        SL_TRY(sl_acts_open(c->ctx, k->acts, false, &rows, err));
        return sl_acts_prefetch(c->ctx, rows, out, err);
    }
    if (!o->lm)
        return sl_fail(err, SL_ARG, "--acts", "--acts FOLDER, --lm FOLDER, or --world NAME", "what rows does the SAE look at?");
    split_docs(&o->corpus, (split)k->split, &first, &end);
    sl_stream_config sc = { .n_tokens = k->f.tokens, .shuffle_rows = 4096, .seed = (uint64_t)k->f.seed };
    sl_sae_info about = s ? sl_sae_about(s) : (sl_sae_info){ 0 };
    SL_TRY(sl_lm_stream(c->ctx, o->lm_path, &o->corpus, first, end, k->hook ? k->hook : about.hook, &sc, &rows, err));
    return sl_acts_prefetch(c->ctx, rows, out, err);
}

/* ---- build ---- */

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash && slash[1] ? slash + 1 : path;
}

static void report(cli *c, const char *dir, const sl_features_built *b)
{
    char t[5][32];
    const char *cells[] = {
        "features", text_count(t[0], b->n_features), "",
        "rows", text_count(t[1], b->n_rows), "",
        "contexts", text_count(t[2], b->n_contexts), "",
        "size", text_bytes(t[3], b->bytes), "",
        "time", text_time(t[4], b->seconds), "",
    };
    say(c, "%s\n", dir);
    say_table(c, false, 5, 3, cells);
    json_array_append_new(c->result, json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:f, s:f}", "index", dir, "n_features", (json_int_t)b->n_features, "n_rows",
                                               (json_int_t)b->n_rows, "n_active", (json_int_t)b->n_active, "n_contexts", (json_int_t)b->n_contexts, "bytes",
                                               (json_int_t)b->bytes, "seconds", b->seconds, "encode_seconds", b->encode_seconds));
}

/* Where the index of `path` goes. */
static void index_dir(const build_cfg *k, const char *path, int n_saes, char out[1100])
{
    if (!k->out_dir)
        snprintf(out, 1100, "%.1000s/features", path);
    else
        snprintf(out, 1100, n_saes > 1 ? "%.700s/%.300s" : "%.700s", k->out_dir, base_name(path));
}

/* How many rows: a stream ends by itself, and part of a shuffled store has gaps in its text, so that all of it is read unless a number is asked for. */
static sl_features_opts options_for(cli *c, const build_cfg *k, const origin *o, const sl_act_source *rows)
{
    sl_features_opts f = k->f;
    bool asked = args_given(c, "tokens");
    if ((!k->acts && !o->world) || (k->acts && !asked))
        f.tokens = 0;
    if (k->acts && asked && f.tokens > 0 && f.tokens < rows->info.n_rows)
        sl_log(c->ctx, SL_LOG_WARN, "--tokens %lld of the %lld rows of a store: where it is shuffled, contexts have gaps", (long long)f.tokens,
               (long long)rows->info.n_rows);
    return f;
}

/* What its compositions are, beside the index. */
static sl_status save_compositions(cli *c, const char *dir, const scores *sc, sl_err *err)
{
    sl_features *f;
    SL_TRY(sl_features_open(c->ctx, dir, false, &f, err));
    sl_status st = sl_features_compositions_save(c->ctx, f, &sc->compositions, &sc->composed, err);
    sl_features_close(f);
    return st;
}

static sl_status build_one(cli *c, const build_cfg *k, origin *o, const char *path, int n_saes, sl_err *err)
{
    sl_act_source *rows = NULL;
    sl_features_built built;
    scores sc = { 0 };
    char dir[1100];
    float *vectors = NULL;
    sl_features_input in = { .tok = o->corpus.tok ? o->corpus.tok : o->tok, .lm = o->lm, .truth = o->world ? sl_world_truth_of(o->world) : NULL, .name = base_name(path),
                             .sae_path = k->vectors ? NULL : path, .lm_path = o->lm_path };
    sl_status st = k->vectors ? SL_OK : sl_sae_load(c->ctx, path, &in.sae, err);
    if (st == SL_OK)
        st = open_rows(c, k, o, in.sae, &rows, err);
    if (st == SL_OK && k->vectors)
        st = sl_features_vectors(c->ctx, path, rows->info.d_in, &vectors, &in.n_vectors, err);
    if (st == SL_OK && in.sae)
        st = scores_of(c, in.sae, rows, path, k->stability, &sc, err);
    in.rows = rows;
    in.vectors = vectors;
    in.fss = sc.fss;
    in.sci = sc.sci;
    in.reproducibility = sc.reproducibility;
    in.edge = sc.compositions.edge;
    in.n_edges = sc.compositions.n_edges;
    index_dir(k, path, n_saes, dir);
    sl_features_opts f = st == SL_OK ? options_for(c, k, o, rows) : k->f;
    if (st == SL_OK)
        st = sl_features_build(c->ctx, &in, &f, dir, &built, err);
    if (st == SL_OK && sc.compositions.n_compositions > 0)
        st = save_compositions(c, dir, &sc, err);
    if (st == SL_OK)
        report(c, dir, &built);
    scores_release(c, &sc);
    sl_free(c->ctx, vectors);
    sl_act_source_free(rows);
    sl_sae_free(in.sae);
    return st;
}

/* An SAE of a run: over the text, or over the world that it is of. */
static sl_status build_of_run(cli *c, const build_cfg *k, origin *o, const saes *s, int i, sl_err *err)
{
    origin own = { 0 };
    sl_err why;
    sl_status st = run_world(c, s->run, s->path[i], &own.world, &why);
    if (st == SL_UNAVAILABLE) {
        sl_log(c->ctx, SL_LOG_WARN, "%s: left out: %s", s->path[i], why.msg);
        return SL_OK;
    }
    if (st != SL_OK)
        return sl_fail(err, st, why.where, why.expected, "%s", why.what);
    st = build_one(c, k, own.world ? &own : o, s->path[i], s->n, err);
    sl_world_free(own.world);
    return st;
}

static sl_status check(const cli *c, const build_cfg *k, sl_err *err)
{
    if (!k->vectors)
        return c->n_args > 0 ? SL_OK : sl_fail(err, SL_ARG, "features build", "the folder of an SAE or of a run", "which SAE?");
    if (c->n_args > 0)
        return sl_fail(err, SL_ARG, "--vectors", "one of them", "an SAE and --vectors together");
    if (!k->out_dir)
        return sl_fail(err, SL_ARG, "-o", "-o FOLDER", "where does the index go?");
    return k->acts || k->hook ? SL_OK : sl_fail(err, SL_ARG, "--hook", "--hook blocks.L.hook_resid_pre", "where in the model are the vectors?");
}

static sl_status build(cli *c, sl_err *err)
{
    const build_cfg *k = c->cfg;
    origin o = { 0 };
    SL_TRY(check(c, k, err));
    saes *s = sl_alloc(c->ctx, sizeof *s);
    sl_status st = s ? list_saes(c, s, err) : sl_fail(err, SL_MEM, NULL, NULL, "no memory for the list of SAEs");
    if (st == SL_OK)
        st = open_origin(c, k, s, &o, err);
    c->result = json_array();
    for (int i = 0; st == SL_OK && i < s->n; i++)
        st = s->run && !k->world ? build_of_run(c, k, &o, s, i, err) : build_one(c, k, &o, s->path[i], s->n, err);
    if (st == SL_OK && k->vectors)
        st = build_one(c, k, &o, k->vectors, 1, err);
    char first[1100];
    index_dir(k, k->vectors ? k->vectors : st == SL_OK ? s->path[0] : "", s ? s->n : 0, first);
    if (st == SL_OK)
        next_step(c, "saelab serve %s", s->run && !k->out_dir ? s->run : first);
    close_origin(c, &o);
    sl_free(c->ctx, s);
    return st;
}

const command CMD_FEATURES_BUILD = {
    .name = "features build", .args = "[RUN|SAE...]", .max_args = -1, .what = "Make the index of what an SAE's features fire on.",
    .text = "Runs the SAE over the rows of a store (--acts), of a model on a text (--lm), or of a world, and writes what each feature fires on: contexts, "
            "histogram, tokens, neighbours, logits. Of a run, all its SAEs, on its own text and "
            "worlds. Among the seeds of an arm (folders NAME-seedN) each feature also has its reproducibility: the share of the others that have it.",
    .examples = "  saelab features build my_sae --lm my_lm --tokens 200000\n  saelab features build my_sae --acts my_acts -o my_index\n"
                "  saelab features build --vectors probes.npy --acts my_acts -o my_probes\n",
    .groups = BUILD_GROUPS, .cfg_size = sizeof(build_cfg), .run = build,
};
