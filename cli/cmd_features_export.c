/* saelab features export: an index for others. */
#include "cmd.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { TO_NEURONPEDIA, TO_HTML, TO_CSV, MOST_IDS = 100000, PAGE = 50 };
static const char *const FORMATS[] = { "neuronpedia", "html", "csv", NULL };

typedef struct export_cfg { const char *out_dir, *ids, *model_id, *sae_set; int to; int64_t layer, per_file; } export_cfg;

static const sl_opt EXPORT_OPTS[] = {
    OUT_DIR(export_cfg, "folder (neuronpedia) or file that is written; none: neuronpedia, features.html or features.csv"),
    SL_OPT_CHOICE(export_cfg, to, TO_HTML, FORMATS, "format"),
    SL_OPT_STR(export_cfg, ids, NULL, "features, as 3,17,20-29; none: all, and on a page the first 50 that fire"),
    SL_OPT_STR(export_cfg, model_id, NULL, "neuronpedia: name of the model; none: that of the index"),
    SL_OPT_STR(export_cfg, sae_set, NULL, "neuronpedia: name of the set of SAEs; none: that of the index"),
    SL_OPT_INT(export_cfg, layer, -1, -1, 10000, "", "neuronpedia: of the hook; -1: as its name says"),
    SL_OPT_INT(export_cfg, per_file, 128, 1, 1e6, "features", "neuronpedia: in a file"),
    SL_OPT_END
};
static const opt_group EXPORT_GROUPS[] = { { "Options", NULL, EXPORT_OPTS, 0 }, { NULL, NULL, NULL, 0 } };

/* ---- which features ---- */

typedef struct ids { int64_t *v, n; } ids;

static sl_status add_id(ids *l, int64_t id, sl_err *err)
{
    if (l->n == MOST_IDS)
        return sl_fail(err, SL_ARG, "--ids", NULL, "more than %d features", MOST_IDS);
    l->v[l->n++] = id;
    return SL_OK;
}

/* "3" or "20-29" */
static sl_status add_range(ids *l, char *word, sl_err *err)
{
    int64_t first, last;
    char *dash = strchr(word, '-');
    if (dash)
        *dash = 0;
    if (!sl_parse_int(word, &first) || !sl_parse_int(dash ? dash + 1 : word, &last) || first < 0 || last < first)
        return sl_fail(err, SL_ARG, "--ids", "numbers and ranges, as 3,17,20-29", "'%s%s%s' is neither", word, dash ? "-" : "", dash ? dash + 1 : "");
    for (int64_t id = first; id <= last; id++)
        SL_TRY(add_id(l, id, err));
    return SL_OK;
}

static sl_status parse_ids(cli *c, const char *text, ids *l, sl_err *err)
{
    char *copy = sl_strdup(c->ctx, text), *rest = NULL;
    sl_status st = copy ? SL_OK : sl_fail(err, SL_MEM, "--ids", NULL, "no memory");
    for (char *w = copy ? strtok_r(copy, ",", &rest) : NULL; w && st == SL_OK; w = strtok_r(NULL, ",", &rest))
        st = add_range(l, w, err);
    if (st == SL_OK && l->n == 0)
        st = sl_fail(err, SL_ARG, "--ids", "numbers and ranges, as 3,17,20-29", "there are none");
    sl_free(c->ctx, copy);
    return st;
}

/* Of a page: the first that fire. */
static void first_active(const sl_features *f, ids *l)
{
    const sl_features_column *fired = sl_features_column_find(f, "fired");
    for (int64_t j = 0; j < sl_features_about(f)->n_features && l->n < PAGE; j++)
        if (sl_features_value(fired, j) > 0)
            l->v[l->n++] = j;
}

/* ---- labels: the best of each feature ---- */

typedef struct called { sl_ctx *ctx; const char **v; int64_t n; } called;

static void keep_name(void *user, int64_t id, bool star, const char *tags, const char *best)
{
    const called *l = user;
    (void)star;
    (void)tags;
    if (*best && id >= 0 && id < l->n)
        l->v[id] = sl_intern(l->ctx, best);
}

static const char *name_of(void *user, int64_t id) { return ((const called *)user)->v[id]; }

/* Without a file of labels, or the library for it, features have none. */
static void read_names(const sl_features *f, called *l)
{
    sl_marks *m = NULL;
    sl_err none;
    if (sl_marks_open(l->ctx, sl_features_about(f)->dir, &m, &none) == SL_OK && sl_marks_each(m, keep_name, l, &none) != SL_OK)
        sl_log(l->ctx, SL_LOG_WARN, "the labels cannot be read: %s", none.msg);
    sl_marks_close(m);
}

/* ---- writing ---- */

static sl_status neuronpedia(cli *c, const export_cfg *k, const sl_features *f, const sl_feature_list *which, const char *to, sl_err *err)
{
    const sl_features_info *i = sl_features_about(f);
    sl_neuronpedia_opts o = { .model_id = k->model_id ? k->model_id : i->model, .sae_set = k->sae_set ? k->sae_set : i->name, .layer = k->layer, .per_file = k->per_file };
    sl_sae *s = NULL;
    sl_err none;
    int64_t n = 0;
    if (*i->sae_path && sl_sae_load(c->ctx, i->sae_path, &s, &none) != SL_OK)
        sl_log(c->ctx, SL_LOG_WARN, "%s: the SAE is not there, so that the neurons it is aligned with are left out", i->sae_path);
    sl_status st = sl_features_neuronpedia(c->ctx, f, s, which, &o, to, &n, err);
    if (st == SL_OK)
        say(c, "%s: %lld files\n", to, (long long)n);
    sl_sae_free(s);
    return st;
}

static sl_status write_to(cli *c, const export_cfg *k, const sl_features *f, const sl_feature_list *which, sl_err *err)
{
    static const char *const names[] = { "neuronpedia", "features.html", "features.csv" };
    const char *to = k->out_dir ? k->out_dir : names[k->to];
    c->result = json_pack("{s:s, s:s}", "format", FORMATS[k->to], "path", to);
    if (k->to == TO_NEURONPEDIA)
        return neuronpedia(c, k, f, which, to, err);
    SL_TRY(k->to == TO_HTML ? sl_features_html(c->ctx, f, which, to, err) : sl_features_csv(c->ctx, f, which, to, err));
    say(c, "%s\n", to);
    return SL_OK;
}

static sl_status run_export(cli *c, sl_err *err)
{
    const export_cfg *k = c->cfg;
    sl_features *f;
    ids l = { .v = sl_alloc(c->ctx, MOST_IDS * sizeof *l.v) };
    if (!l.v)
        return sl_fail(err, SL_MEM, "--ids", NULL, "no memory");
    sl_status st = sl_features_open(c->ctx, c->args[0], false, &f, err);
    if (st == SL_OK && k->ids)
        st = parse_ids(c, k->ids, &l, err);
    else if (st == SL_OK && k->to == TO_HTML)
        first_active(f, &l);
    called best = { .ctx = c->ctx, .n = st == SL_OK ? sl_features_about(f)->n_features : 0 };
    if (st == SL_OK && !(best.v = sl_alloc(c->ctx, (size_t)best.n * sizeof *best.v)))
        st = sl_fail(err, SL_MEM, "labels", NULL, "no memory");
    sl_feature_list which = { .id = k->ids || k->to == TO_HTML ? l.v : NULL, .n = l.n, .label = name_of, .user = &best };
    if (st == SL_OK) {
        read_names(f, &best);
        st = write_to(c, k, f, &which, err);
    }
    sl_free(c->ctx, best.v);
    sl_features_close(f);
    sl_free(c->ctx, l.v);
    return st;
}

const command CMD_FEATURES_EXPORT = {
    .name = "features export", .args = "SAE", .min_args = 1, .max_args = 1, .what = "Write an index for Neuronpedia, as a page, or as a table.",
    .text = "neuronpedia: a folder of SAEDashboard's batch files. html: one page that needs nothing else. csv: one row a feature. Reads the index that "
            "`saelab features build` made.",
    .examples = "  saelab features export my_sae --to html --ids 3,17,20-29 -o some.html\n  saelab features export my_sae --to neuronpedia -o exported\n",
    .groups = EXPORT_GROUPS, .cfg_size = sizeof(export_cfg), .run = run_export,
};
