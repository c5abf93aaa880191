/* What a run knows of its SAEs: the world that their rows are of, how stable their features are, which other seeds have them. */
#include "cmd_features.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

bool file_in(const char *dir, const char *name)
{
    char path[1100];
    snprintf(path, sizeof path, "%.700s/%.300s", dir, name);
    return access(path, R_OK) == 0;
}

static sl_yaml *config_of(cli *c, const char *run)
{
    char path[1100];
    sl_yaml *y;
    sl_err none;
    snprintf(path, sizeof path, "%.1000s/config.yaml", run);
    return sl_yaml_load(c->words, path, &y, &none) == SL_OK ? y : NULL;
}

const char *run_dataset(cli *c, const char *run)
{
    sl_yaml *y = config_of(c, run);
    const char *name = y ? sl_ynode_text(sl_ynode_get(sl_ynode_get(sl_yaml_root(y), "text"), "name")) : NULL;
    name = name ? sl_intern(c->words, name) : NULL;
    sl_yaml_free(y);
    return name;
}

/* ---- worlds ---- */

enum { MOST_OPTIONS = 64 };

/* world, world_seed and world_options of a data set of the run. */
static sl_status open_set(cli *c, sl_ynode set, sl_world **out, sl_err *err)
{
    sl_ynode options = sl_ynode_get(set, "world_options");
    const char *words[MOST_OPTIONS], *name = sl_ynode_text(sl_ynode_get(set, "world")), *seed_text = sl_ynode_text(sl_ynode_get(set, "world_seed"));
    sl_strs list = { words, 0 };
    int64_t seed;
    if (!name || !seed_text || !sl_parse_int(seed_text, &seed))
        return sl_fail(err, SL_DATA, "config.yaml", "world and world_seed", "the run does not say what a world was made of");
    const sl_world_info *w = sl_world_find(name);
    if (w && w->kind == SL_WORLD_TASK)
        return sl_fail(err, SL_UNAVAILABLE, name, NULL, "rows of a task are made by its transformer, which the run does not keep");
    for (int i = 0; i < sl_ynode_len(options) && i < MOST_OPTIONS; i++) {
        char pair[300];
        snprintf(pair, sizeof pair, "%.100s=%.180s", sl_ynode_text(sl_ynode_key(options, i)), sl_ynode_text(sl_ynode_at(options, i)));
        words[list.n++] = sl_intern(c->words, pair);
    }
    return world_open(c, name, &list, seed, out, err);
}

sl_status run_world(cli *c, const char *run, const char *path, sl_world **out, sl_err *err)
{
    const char *slash = strrchr(path, '/'), *folder = slash ? slash + 1 : path;
    sl_yaml *y = config_of(c, run);
    sl_status st = SL_OK;
    *out = NULL;
    sl_ynode sets = y ? sl_ynode_get(sl_yaml_root(y), "data_sets") : (sl_ynode){ 0 };
    for (int i = 0; y && i < sl_ynode_len(sets); i++) {
        const char *key = sl_ynode_text(sl_ynode_key(sets, i));
        size_t n = key ? strlen(key) : 0;
        if (n && strcmp(key, "text") != 0 && strncmp(folder, "sae-", 4) == 0 && strncmp(folder + 4, key, n) == 0 && folder[4 + n] == '-') {
            st = open_set(c, sl_ynode_at(sets, i), out, err);
            break;
        }
    }
    sl_yaml_free(y);
    return st;
}

/* ---- scores ---- */

enum { MOST_SEEDS = 16, MATCHED = 4096 /* matching is exact, and its time grows with the cube */, RATE_ROWS = 20000, COMPOSED_ROWS = 4096, MOST_COMPOSITIONS = 4096 };

void scores_release(cli *c, scores *s)
{
    sl_free(c->ctx, s->fss);
    sl_free(c->ctx, s->sci);
    sl_free(c->ctx, s->reproducibility);
    sl_composition_pictures_release(c->ctx, &s->compositions);
    sl_gathered_release(c->ctx, &s->composed);
}

static sl_status stability(cli *c, sl_sae *s, sl_act_source *rows, int64_t n_rows, scores *out, sl_err *err)
{
    sl_stability_options o;
    sl_stability_report r = { 0 };
    sl_metrics m = { 0 };
    sl_err why;
    size_t bytes = (size_t)sl_sae_about(s).d_sae * sizeof(double);
    sl_opts_default(sl_stability_opts, &o);
    o.rows = n_rows;
    o.noise = "";
    o.draws = 0;
    sl_status st = sl_eval_stability(c->ctx, s, rows, &o, NULL, &m, &r, &why);
    if (st == SL_OK) {
        out->fss = sl_alloc(c->ctx, bytes);
        out->sci = sl_alloc(c->ctx, bytes);
        if (!out->fss || !out->sci)
            st = sl_fail(err, SL_MEM, "scores", NULL, "no memory");
        else {
            memcpy(out->fss, r.fss_j, bytes);
            memcpy(out->sci, r.sci_j, bytes);
        }
    } else if (st != SL_CANCELLED && st != SL_MEM) {
        sl_log(c->ctx, SL_LOG_WARN, "without FSS and SCI: %s", why.msg);
        st = SL_OK;
    } else
        sl_fail(err, st, why.where, why.expected, "%s", why.what);
    sl_metrics_release(c->ctx, &m);
    sl_stability_report_release(c->ctx, &r);
    return st;
}

/* One seed of the arm: its directions, and which of them fire. */
typedef struct seed { sl_sae *sae; float *rate; uint8_t *alive; double *pi; } seed;

static sl_status open_seed(cli *c, const char *path, sl_act_source *rows, seed *out, sl_dictionary *d, sl_err *err)
{
    sl_metrics m = { 0 };
    sl_tensor W;
    SL_TRY(sl_sae_load(c->ctx, path, &out->sae, err));
    size_t n = (size_t)sl_sae_about(out->sae).d_sae;
    out->rate = sl_alloc(c->ctx, n * sizeof *out->rate);
    out->alive = sl_alloc(c->ctx, n);
    out->pi = sl_alloc(c->ctx, n * sizeof *out->pi);
    if (!out->rate || !out->alive || !out->pi)
        return sl_fail(err, SL_MEM, path, NULL, "no memory for the seeds");
    SL_TRY(sl_sae_weight(out->sae, "W_dec", &W, err));
    sl_status st = sl_eval_rows(c->ctx, out->sae, rows, RATE_ROWS, &m, out->rate, err);
    sl_metrics_release(c->ctx, &m);
    for (size_t j = 0; j < n; j++)
        out->alive[j] = out->rate[j] > 0;
    *d = (sl_dictionary){ .W_dec = W.data, .alive = out->alive, .d_sae = (int64_t)n };
    return st;
}

/* The folder of each seed of the arm; the first is `path` itself. */
static int list_seeds(const char *path, char out[MOST_SEEDS][512])
{
    const char *at = NULL;
    for (const char *s = strstr(path, "-seed"); s; s = strstr(s + 1, "-seed"))
        at = s;
    if (!at || strlen(path) > 480)
        return 0;
    snprintf(out[0], 512, "%s", path);
    int n = 1;
    for (int i = 0; i < MOST_SEEDS && n < MOST_SEEDS; i++) {
        snprintf(out[n], 512, "%.*s-seed%d", (int)(at - path), path, i);
        n += strcmp(out[n], path) != 0 && file_in(out[n], "cfg.json");
    }
    return n;
}

static sl_status reproducibility(cli *c, const char *path, sl_act_source *rows, int64_t d_in, scores *out, sl_err *err)
{
    char folder[MOST_SEEDS][512];
    seed all[MOST_SEEDS] = { { 0 } };
    sl_dictionary d[MOST_SEEDS];
    double *pi[MOST_SEEDS];
    sl_pwmcc p;
    int n = list_seeds(path, folder);
    sl_status st = SL_OK;
    for (int i = 0; i < n && n > 1 && st == SL_OK; i++) {
        st = open_seed(c, folder[i], rows, &all[i], &d[i], err);
        pi[i] = all[i].pi;
    }
    if (n > 1 && st == SL_OK)
        st = sl_pwmcc_of(c->ctx, d, n, d_in, pi, &p, err);
    if (n > 1 && st == SL_OK) {
        out->reproducibility = all[0].pi;
        all[0].pi = NULL;
    }
    for (int i = 0; i < n; i++) {
        sl_sae_free(all[i].sae);
        sl_free(c->ctx, all[i].rate);
        sl_free(c->ctx, all[i].alive);
        sl_free(c->ctx, all[i].pi);
    }
    return st;
}

/* Which latents take part in which compositions, and how. */
static sl_status compositions(cli *c, sl_sae *s, sl_act_source *rows, scores *out, sl_err *err)
{
    sl_coder coder = sl_coder_of(s);
    sl_gathered *g = &out->composed;
    sl_metrics m = { 0 };
    sl_composition_opts o = sl_composition_defaults();
    int64_t have = rows->info.n_rows;
    o.max_rows = COMPOSED_ROWS;
    o.n_units = MOST_COMPOSITIONS;
    sl_status st = sl_gather(c->ctx, &coder, rows, have >= 0 && have < COMPOSED_ROWS ? have : COMPOSED_ROWS, 0, g, err);
    if (st == SL_OK)
        st = sl_eval_composition(c->ctx, s, &(sl_composition_input){ .test = &g->data }, &o, &m, &out->compositions, err);
    sl_metrics_release(c->ctx, &m);
    return st;
}

sl_status scores_of(cli *c, sl_sae *s, sl_act_source *rows, const char *path, int64_t rows_scored, scores *out, sl_err *err)
{
    sl_sae_info i = sl_sae_about(s);
    sl_err why;
    sl_status st = rows_scored > 0 ? stability(c, s, rows, rows_scored, out, err) : SL_OK;
    if (st == SL_OK && strcmp(i.variant, "compositional") == 0)
        st = compositions(c, s, rows, out, err);
    if (st != SL_OK || i.d_sae > MATCHED || i.has_target)
        return st;
    st = reproducibility(c, path, rows, i.d_in, out, &why);
    if (st == SL_OK || st == SL_CANCELLED || st == SL_MEM)
        return st == SL_OK ? SL_OK : sl_fail(err, st, why.where, why.expected, "%s", why.what);
    sl_log(c->ctx, SL_LOG_WARN, "without reproducibility: %s", why.msg);
    return SL_OK;
}
