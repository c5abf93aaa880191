/* saelab baseline METHOD: classical decompositions of activations, measured like an SAE. One command a method, each with its own options. */
#include "cmd.h"

#include <saelab/measure.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct baseline_cfg {
    const char *acts, *world, *dictionary, *out_dir;
    sl_strs world_set;
    int64_t rows, eval_rows, seed, world_seed;
    _Alignas(max_align_t) char method[SL_BASELINE_OPTS];
} baseline_cfg;

static const sl_opt OPTS[] = {
    OUT_DIR(baseline_cfg, "folder of the baseline (required)"),
    SL_OPT_STR(baseline_cfg, acts, NULL, "store to fit on: a folder of `saelab acts`"),
    SL_OPT_STR(baseline_cfg, world, NULL, "or a world of `saelab world list`, whose true features are then compared"),
    SL_OPT_STRS(baseline_cfg, world_set, "KEY=VALUE: an option of the world"),
    SL_OPT_INT(baseline_cfg, world_seed, 42, 0, 9e15, "", "of the world"),
    SL_OPT_STR(baseline_cfg, dictionary, NULL, "for fista_oracle: an SAE whose decoder gives the directions; none: the world's true ones"),
    SL_OPT_INT(baseline_cfg, rows, 20000, 2, 1e9, "rows", "to fit on; all are held in memory"),
    SL_OPT_INT(baseline_cfg, eval_rows, 5000, 1, 1e9, "rows", "behind those, or of the world's test stream, to measure on"),
    SL_OPT_INT(baseline_cfg, seed, 0, 0, 9e15, "", "of everything that is drawn"),
    SL_OPT_END
};

/* ---- rows in memory, as a source ---- */

typedef struct held {
    float *x;               /* [n, d] */
    int64_t *row;           /* [n] */
    int64_t n, d, at;
    sl_codes truth;         /* of a world's rows; row_ptr NULL: none */
} held;

static sl_status held_next(sl_act_source *s, int64_t n, sl_act_batch *out, sl_err *err)
{
    held *h = s->impl;
    if (n < 1)
        return sl_fail(err, SL_ARG, "rows", "at least 1", "%lld asked for", (long long)n);
    if (h->at == h->n)
        h->at = 0;
    int64_t part = n < h->n - h->at ? n : h->n - h->at;
    *out = (sl_act_batch){ .x = h->x + h->at * h->d, .n = part, .row = h->row + h->at };
    h->at += part;
    return SL_OK;
}

static sl_status held_seek(sl_act_source *s, int64_t row, sl_err *err)
{
    held *h = s->impl;
    (void)err;
    h->at = row % h->n;
    return SL_OK;
}

static sl_act_source source_of(held *h)
{
    return (sl_act_source){ .info = { .n_rows = h->n, .d_in = h->d, .scale = 1 }, .impl = h, .next = held_next, .seek = held_seek };
}

static void held_release(cli *c, held *h)
{
    sl_free(c->ctx, h->x);
    sl_free(c->ctx, h->row);
    sl_codes_release(c->ctx, &h->truth);
}

/* Copies the truth of a batch behind what is there. */
static sl_status keep_truth(cli *c, held *h, int64_t at, const sl_act_batch *b, sl_err *err)
{
    int64_t have = h->truth.row_ptr ? h->truth.row_ptr[at] : 0, more = b->truth->row_ptr[b->n] - b->truth->row_ptr[0], from = b->truth->row_ptr[0];
    if (!h->truth.row_ptr || have + more > h->truth.capacity) {
        sl_codes larger;
        SL_TRY(sl_codes_new(c->ctx, h->n, 2 * (have + more) / h->n + 1, &larger, err));
        if (h->truth.row_ptr) {
            memcpy(larger.row_ptr, h->truth.row_ptr, (size_t)(at + 1) * sizeof *larger.row_ptr);
            memcpy(larger.idx, h->truth.idx, (size_t)have * sizeof *larger.idx);
            memcpy(larger.val, h->truth.val, (size_t)have * sizeof *larger.val);
        }
        sl_codes_release(c->ctx, &h->truth);
        h->truth = larger;
    }
    memcpy(h->truth.idx + have, b->truth->idx + from, (size_t)more * sizeof *h->truth.idx);
    memcpy(h->truth.val + have, b->truth->val + from, (size_t)more * sizeof *h->truth.val);
    for (int64_t r = 0; r < b->n; r++)
        h->truth.row_ptr[at + r + 1] = have + b->truth->row_ptr[r + 1] - from;
    return SL_OK;
}

/* The next n rows of src. */
static sl_status hold(cli *c, sl_act_source *src, int64_t n, held *out, sl_err *err)
{
    held h = { .n = n, .d = src->info.d_in };
    h.x = sl_alloc(c->ctx, (size_t)(n * h.d) * sizeof *h.x);
    h.row = sl_alloc(c->ctx, (size_t)n * sizeof *h.row);
    sl_status st = h.x && h.row ? SL_OK : sl_fail(err, SL_MEM, "--rows", "fewer rows", "no memory for %lld rows of %lld", (long long)n, (long long)h.d);
    for (int64_t at = 0; at < n && st == SL_OK;) {
        sl_act_batch b;
        SL_GO(src->next(src, n - at, &b, err));
        memcpy(h.x + at * h.d, b.x, (size_t)(b.n * h.d) * sizeof *h.x);
        memcpy(h.row + at, b.row, (size_t)b.n * sizeof *h.row);
        if (b.truth)
            SL_GO(keep_truth(c, &h, at, &b, err));
        at += b.n;
    }
done:
    *out = h;
    return st;
}

/* ---- what is fitted, and on what ---- */

typedef struct job {
    const char *method;
    sl_world *world;
    sl_sae *dictionary;
    sl_act_info from;       /* hook, model and data set are read */
    held fit, test;
    bool same_rows;         /* there were none left to measure on */
    sl_baseline *b;
} job;

static sl_status rows_of_store(cli *c, job *j, sl_err *err)
{
    const baseline_cfg *o = c->cfg;
    sl_act_source *src;
    SL_TRY(sl_acts_open(c->ctx, o->acts, false, &src, err));
    int64_t all = src->info.n_rows, n = o->rows < all ? o->rows : all, left = all - n;
    j->from = src->info;
    j->from.mean = NULL;
    j->same_rows = left < 1;
    sl_status st = hold(c, src, n, &j->fit, err);
    if (st == SL_OK && j->same_rows)
        st = src->seek(src, 0, err);
    left = j->same_rows ? n : left;
    if (st == SL_OK)
        st = hold(c, src, o->eval_rows < left ? o->eval_rows : left, &j->test, err);
    sl_act_source_free(src);
    if (st == SL_OK && j->same_rows)
        sl_log(c->ctx, SL_LOG_WARN, "%s: all rows were fitted, so they are measured on as well; fewer --rows leave some", o->acts);
    return st;
}

static sl_status rows_of_world(cli *c, job *j, sl_err *err)
{
    const baseline_cfg *o = c->cfg;
    static const sl_world_split splits[2] = { SL_WORLD_TRAIN, SL_WORLD_TEST };
    SL_TRY(world_open(c, o->world, &o->world_set, o->world_seed, &j->world, err));
    for (int i = 0; i < 2; i++) {
        sl_act_source *src;
        SL_TRY(sl_world_open(j->world, splits[i], &src, err));
        int64_t want = i ? o->eval_rows : o->rows, have = src->info.n_rows;
        j->from = src->info;
        sl_status st = hold(c, src, have > 0 && have < want ? have : want, i ? &j->test : &j->fit, err);
        sl_act_source_free(src);
        SL_TRY(st);
    }
    return SL_OK;
}

/* The directions of fista_oracle: of an SAE, or the world's. */
static sl_status directions_for(cli *c, job *j, sl_baseline_data *d, sl_err *err)
{
    const baseline_cfg *o = c->cfg;
    if (o->dictionary) {
        sl_tensor W, b;
        SL_TRY(sl_sae_load(c->ctx, o->dictionary, &j->dictionary, err));
        SL_TRY(sl_sae_weight(j->dictionary, "W_dec", &W, err));
        SL_TRY(sl_sae_weight(j->dictionary, "b_dec", &b, err));
        if (sl_cols(&W) != d->d_in)
            return sl_fail(err, SL_SHAPE, o->dictionary, "an SAE as wide as the rows", "directions of %lld, rows of %lld", (long long)sl_cols(&W), (long long)d->d_in);
        d->dictionary = W.data;
        d->n_dictionary = sl_rows(&W);
        d->bias = b.data;
    } else if (j->world && sl_baseline_find(j->method)->needs_dictionary) {
        const sl_world_truth *t = sl_world_truth_of(j->world);
        d->dictionary = t->dir;
        d->n_dictionary = t->n;
        d->bias = t->bias;
    }
    return SL_OK;
}

/* ---- what it gives ---- */

/* Against the world's features: directions, codes, firing. */
static sl_status against_truth(cli *c, job *j, sl_metrics *m, sl_err *err)
{
    static const char *const families[] = { "directions", "codes", "firing", NULL };
    const baseline_cfg *o = c->cfg;
    const sl_world_truth *t = sl_world_truth_of(j->world);
    sl_baseline_about a = sl_baseline_tell(j->b);
    sl_codes z;
    SL_TRY(sl_codes_new(c->ctx, j->test.n, a.max_active, &z, err));
    sl_status st = sl_baseline_encode(j->b, j->test.x, j->test.n, &z, NULL, err);
    if (st == SL_OK) {
        sl_eval_data d = { .seed = (uint64_t)o->seed, .d_in = a.d_in, .d_sae = a.d_sae, .n_rows = j->test.n, .W_dec = a.W_dec, .x = j->test.x,
                           .z = sl_sparse_of(&z, j->test.n, a.d_sae), .n_truth = t->n, .truth = t->dir, .g = sl_sparse_of(&j->test.truth, j->test.n, t->n),
                           .parent = t->parent };
        st = sl_measure(c->ctx, &d, NULL, families, m, err);
    }
    sl_codes_release(c->ctx, &z);
    return st;
}

static void show(cli *c, const job *j, const sl_metrics *m)
{
    enum { COLS = 3, MAX = 48 };
    const baseline_cfg *o = c->cfg;
    sl_baseline_about a = sl_baseline_tell(j->b);
    const char *cells[(MAX + 1) * COLS] = { "METRIC", "VALUE", "FLOOR" };
    char v[MAX][32], f[MAX][160];
    json_t *metrics = json_object(), *reasons = json_object();
    int n = 0;
    for (int i = 0; i < m->n && n < MAX; i++, n++) {
        const sl_metric *k = &m->v[i];
        snprintf(v[n], sizeof v[n], k->is_null ? "-" : "%.5g", k->value);
        snprintf(f[n], sizeof f[n], k->has_floor ? "%.5g" : "", k->floor);
        if (k->is_null)
            snprintf(f[n], sizeof f[n], "%s", k->reason);
        cells[(n + 1) * COLS] = k->name;
        cells[(n + 1) * COLS + 1] = v[n];
        cells[(n + 1) * COLS + 2] = f[n];
        json_object_set_new(metrics, k->name, k->is_null ? json_null() : json_real_or_null(k->value));
        if (k->is_null)
            json_object_set_new(reasons, k->name, json_string(k->reason));
    }
    say(c, "%s\n", o->out_dir);
    say_table(c, true, n + 1, COLS, cells);
    json_t *curve = json_array();
    for (int64_t i = 0; i < a.n_curve; i++)
        json_array_append_new(curve, json_real_or_null(a.curve[i]));
    c->result = json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:s, s:o, s:b, s:o, s:o}", "baseline", o->out_dir, "method", j->method, "d_in", (json_int_t)a.d_in,
                          "d_sae", (json_int_t)a.d_sae, "rows", (json_int_t)j->fit.n, "eval_rows", (json_int_t)j->test.n, "objective", a.objective, "curve",
                          curve, "converged", a.converged, "metrics", metrics, "reasons", reasons);
}

static sl_status measure(cli *c, job *j, sl_err *err)
{
    sl_metrics m = { 0 };
    sl_coder coder = sl_baseline_coder(j->b);
    sl_act_source rows = source_of(&j->test);
    sl_status st;
    SL_GO(sl_eval_coder_rows(c->ctx, &coder, &rows, 0, &m, NULL, err));
    if (j->world)
        SL_GO(against_truth(c, j, &m, err));
    show(c, j, &m);
done:
    sl_metrics_release(c->ctx, &m);
    return st;
}

/* ---- the command ---- */

/* Linear ones are written as an SAE too, for whatever takes only those. */
static sl_status save(cli *c, const job *j, sl_err *err)
{
    const baseline_cfg *o = c->cfg;
    sl_sae *s;
    SL_TRY(sl_baseline_save(j->b, o->out_dir, err));
    if (!sl_baseline_find(j->method)->linear)
        return SL_OK;
    SL_TRY(sl_baseline_to_sae(j->b, &s, err));
    sl_status st = sl_sae_save(s, o->out_dir, err);
    sl_sae_free(s);
    return st;
}

static sl_status work(cli *c, job *j, sl_err *err)
{
    const baseline_cfg *o = c->cfg;
    bool again;
    SL_TRY(o->world ? rows_of_world(c, j, err) : rows_of_store(c, j, err));
    sl_baseline_data d = { .x = j->fit.x, .n = j->fit.n, .d_in = j->fit.d, .hook = j->from.hook, .model = j->from.model, .dataset = j->from.dataset };
    SL_TRY(directions_for(c, j, &d, err));
    SL_TRY(config_claim(c, o->out_dir, &again, err));
    next_step(c, "saelab sae eval %s --acts HELD_OUT_STORE", o->out_dir);
    if (again && training_was_done(c, o->out_dir))
        return SL_OK;
    SL_TRY(sl_baseline_fit(c->ctx, j->method, &d, o->method, (uint64_t)o->seed, &j->b, err));
    SL_TRY(save(c, j, err));
    SL_TRY(measure(c, j, err));
    return training_done(c, o->out_dir, err);
}

static sl_status run(cli *c, sl_err *err)
{
    const baseline_cfg *o = c->cfg;
    job j = { .method = strchr(c->cmd->name, ' ') + 1 };
    if (!o->out_dir)
        return sl_fail(err, SL_ARG, "-o", "-o FOLDER", "where does the baseline go?");
    if (!o->acts == !o->world)
        return sl_fail(err, SL_ARG, "--acts", "--acts FOLDER or --world NAME", "%s", o->acts ? "--acts and --world together" : "what is there to fit?");
    sl_status st = work(c, &j, err);
    sl_baseline_free(j.b);
    held_release(c, &j.fit);
    held_release(c, &j.test);
    sl_sae_free(j.dictionary);
    sl_world_free(j.world);
    return st;
}

#define METHOD(ID, name_, table_, what_)                                                                                                       \
    static const opt_group GROUPS_##ID[] = { { "Options", NULL, OPTS, 0 },                                                                     \
                                             { "Method", "method", table_, offsetof(baseline_cfg, method) },                                   \
                                             { NULL, NULL, NULL, 0 } };                                                                        \
    const command CMD_BASELINE_##ID = {                                                                                                        \
        .name = "baseline " name_, .args = "", .what = what_, .text = TEXT,                                                                    \
        .examples = "  saelab baseline " name_ " --world synth1k -o my_baseline\n", .groups = GROUPS_##ID, .cfg_size = sizeof(baseline_cfg),   \
        .has_config_file = true, .run = run,                                                                                                   \
    }
#define TEXT "Writes codes' directions to a folder that `saelab sae eval` takes (baseline.json, baseline.safetensors; a linear method also as a SAELens folder), " \
             "and measures it on rows that were not fitted."

METHOD(PCA, "pca", sl_pca_opts, "Principal components, the k leading ones.");
METHOD(TOPK_PCA, "topk_pca", sl_topk_pca_opts, "Principal components, the k largest of each row.");
METHOD(ICA, "ica", sl_ica_opts, "FastICA, the k largest sources of each row.");
METHOD(NMF, "nmf", sl_nmf_opts, "Non-negative factors of the rows' two signs.");
METHOD(SEMI_NMF, "semi_nmf", sl_semi_nmf_opts, "Non-negative codes of free directions.");
METHOD(KMEANS, "kmeans", sl_kmeans_opts, "The nearest of the centroids.");
METHOD(FISTA, "fista", sl_fista_opts, "Sparse coding with a learned dictionary.");
METHOD(FISTA_ORACLE, "fista_oracle", sl_fista_oracle_opts, "Sparse coding with a given dictionary.");
METHOD(RANDOM, "random", sl_random_opts, "Random directions: the floor.");
