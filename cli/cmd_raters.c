/* saelab raters init | serve | freeze | analyse | export: people judge features, blinded. */
#include "cmd.h"

#include <string.h>

static void put_line(void *user, const char *line) { say(user, "%s\n", line); }

/* ---- init ---- */

typedef struct init_cfg { const char *out_dir; sl_strs compositions; sl_raters_opts study; } init_cfg;

static const sl_opt INIT_OPTS[] = {
    OUT_DIR(init_cfg, "folder of the study (required)"),
    SL_OPT_STRS(init_cfg, compositions, "METHOD=INDEX: index of the method's compositions, whose participants are features of its own; asks about them too"),
    SL_OPT_END
};
static const opt_group INIT_GROUPS[] = { { "Options", NULL, INIT_OPTS, 0 },
                                         { "Study", "study", sl_raters_init_opts, offsetof(init_cfg, study) },
                                         { NULL, NULL, NULL, 0 } };

/* "NAME=PATH", or a path whose last part (but `features`) names the method. */
static const char *split_name(cli *c, const char *arg, const char **path)
{
    char name[64];
    const char *equals = strchr(arg, '='), *slash = strchr(arg, '/');
    if (equals && equals > arg && (!slash || equals < slash)) {
        *path = equals + 1;
        snprintf(name, sizeof name, "%.*s", (int)(equals - arg), arg);
        return sl_intern(c->words, name);
    }
    size_t n = strlen(arg);
    *path = arg;
    for (int parts = 0; parts < 2; parts++) {
        while (n > 0 && arg[n - 1] == '/')
            n--;
        size_t from = n;
        while (from > 0 && arg[from - 1] != '/')
            from--;
        if (from > 0 && n - from == 8 && strncmp(arg + from, "features", 8) == 0) {
            n = from;
            continue;
        }
        snprintf(name, sizeof name, "%.*s", (int)(n - from), arg + from);
        return sl_intern(c->words, name);
    }
    return "method";
}

static sl_status open_method(cli *c, const char *arg, sl_raters_method *m, sl_features **index, sl_err *err)
{
    const char *path;
    m->name = split_name(c, arg, &path);
    sl_status st = sl_features_open(c->ctx, path, false, index, err);
    m->index = *index;
    if (st != SL_MISSING)
        return st;
    return sl_fail(err, SL_MISSING, path, "an index: saelab features build ... --quantiles 10 --per-quantile 6 --near-misses 6 --silent 14 --before 16 --after 16", "there is none");
}

/* One of --compositions METHOD=INDEX. */
static sl_status open_compositions(cli *c, const char *arg, sl_raters_method *m, sl_features **index, sl_err *err)
{
    const char *path, *name = split_name(c, arg, &path);
    for (int i = 0; i < c->n_args && path != arg; i++)
        if (strcmp(m[i].name, name) == 0 && !m[i].compositions) {
            sl_status st = sl_features_open(c->ctx, path, false, index, err);
            m[i].compositions = *index;
            return st;
        }
    return sl_fail(err, SL_ARG, "--compositions", "METHOD=INDEX, once for a method", "'%.100s'", arg);
}

static void show_made(cli *c, const sl_raters_method *m, const sl_raters_made *made)
{
    const init_cfg *o = c->cfg;
    json_t *methods = json_array();
    if (o->study.simulated)
        say(c, "SIMULATED study: nothing in it comes from people\n");
    say(c, "%s: %lld questions, at most %lld a rater\n", o->out_dir, (long long)made->n_items, (long long)made->n_per_rater);
    say(c, "features of each method: %lld that fire in less than %.3g of the rows, %lld, %lld in %.3g and more\n", (long long)made->stratum[0], made->bound[0],
        (long long)made->stratum[1], (long long)made->stratum[2], made->bound[1]);
    for (int i = 0; i < c->n_args; i++) {
        say(c, "  %-24s %lld features fire often enough to be drawn\n", m[i].name, (long long)made->n_eligible[i]);
        json_array_append_new(methods, json_pack("{s:s, s:I}", "method", m[i].name, "eligible", (json_int_t)made->n_eligible[i]));
    }
    say(c, "the key is sealed: %s/seal.key opens it. Give it away until the freeze, and nobody can look\n", o->out_dir);
    c->result = json_pack("{s:s, s:I, s:I, s:b, s:o}", "study", o->out_dir, "questions", (json_int_t)made->n_items, "per_rater", (json_int_t)made->n_per_rater, "simulated",
                          o->study.simulated, "methods", methods);
}

static sl_status init(cli *c, sl_err *err)
{
    const init_cfg *o = c->cfg;
    sl_raters_method m[SL_MAX_GROUPS] = { { 0 } };
    sl_features *index[2 * SL_MAX_GROUPS] = { NULL };
    sl_raters_made made;
    sl_status st;
    if (!o->out_dir)
        return sl_fail(err, SL_ARG, "-o", "-o FOLDER", "where does the study go?");
    if (c->n_args > SL_MAX_GROUPS)
        return sl_fail(err, SL_ARG, "methods", "16 at most", "%d given", c->n_args);
    for (int i = 0; i < c->n_args; i++)
        SL_GO(open_method(c, c->args[i], &m[i], &index[i], err));
    for (int i = 0; i < o->compositions.n && i < SL_MAX_GROUPS; i++)
        SL_GO(open_compositions(c, o->compositions.v[i], m, &index[SL_MAX_GROUPS + i], err));
    SL_GO(sl_raters_init(c->ctx, o->out_dir, m, c->n_args, &o->study, &made, err));
    if (c->n_args < 3)
        sl_log(c->ctx, SL_LOG_WARN, "two methods: the protocol wants a third, a control with random directions (saelab baseline random)");
    show_made(c, m, &made);
    next_step(c, o->study.simulated ? "saelab raters freeze %s" : "saelab raters serve %s", o->out_dir);
done:
    for (int i = 0; i < 2 * SL_MAX_GROUPS; i++)
        sl_features_close(index[i]);
    return st;
}

const command CMD_RATERS_INIT = {
    .name = "raters init", .args = "INDEX...", .min_args = 2, .max_args = -1, .what = "Draw features of the methods to compare, and make their questions.",
    .text = "INDEX is an index of features (saelab features build), or a folder that has one in features/; NAME=INDEX names the method. The features' method and number "
            "stay hidden from raters, and, sealed, from you until the freeze.",
    .examples = "  saelab raters init topk=sae-1 proposed=sae-2 random=sae-3 -o study\n", .groups = INIT_GROUPS, .cfg_size = sizeof(init_cfg),
    .has_config_file = true, .run = init,
};

/* ---- serve ---- */

static const opt_group SERVE_GROUPS[] = { { "Options", NULL, sl_serve_opts, 0 }, { NULL, NULL, NULL, 0 } };

static void put_now(void *user, const char *line)
{
    put_line(user, line);
    fflush(stdout);
}

static sl_status serve(cli *c, sl_err *err)
{
    sl_raters *r;
    SL_TRY(sl_raters_open(c->ctx, c->args[0], &r, err));
    sl_status st = sl_raters_serve(r, c->cfg, put_now, c, err);
    sl_raters_state s = { 0 };
    if (st == SL_OK)
        st = sl_raters_tell(r, &s, err);
    sl_raters_close(r);
    SL_TRY(st);
    c->result = json_pack("{s:I, s:I, s:b}", "answers", (json_int_t)s.n_answers, "questions", (json_int_t)s.n_turns, "simulated", s.simulated);
    say(c, "%lld of %lld questions are answered\n", (long long)s.n_answers, (long long)s.n_turns);
    next_step(c, s.n_answers < s.n_turns ? "saelab raters serve %s" : "saelab raters freeze %s", c->args[0]);
    return SL_OK;
}

const command CMD_RATERS_SERVE = {
    .name = "raters serve", .args = "STUDY", .min_args = 1, .max_args = 1, .what = "Serve the questions to the raters, until Ctrl-C.",
    .text = "Prints a link for each rater. An answer is on the disk before it is acknowledged; the same link goes on where its rater stopped.",
    .examples = "  saelab raters serve study --port 8000\n", .groups = SERVE_GROUPS, .cfg_size = sizeof(sl_serve_config), .run = serve,
};

/* ---- freeze ---- */

static sl_status freeze(cli *c, sl_err *err)
{
    sl_raters *r;
    sl_raters_state s = { 0 };
    SL_TRY(sl_raters_open(c->ctx, c->args[0], &r, err));
    sl_status st = sl_raters_freeze(r, err);
    if (st == SL_OK)
        st = sl_raters_tell(r, &s, err);
    sl_raters_close(r);
    SL_TRY(st);
    c->result = json_pack("{s:I, s:I, s:b, s:b}", "answers", (json_int_t)s.n_answers, "questions", (json_int_t)s.n_turns, "simulated", s.simulated, "frozen", true);
    say(c, "%sfrozen with %lld of %lld questions answered, by %lld of %lld raters\n", s.simulated ? "SIMULATED  " : "", (long long)s.n_answers, (long long)s.n_turns,
        (long long)s.n_raters_begun, (long long)s.n_raters);
    next_step(c, "saelab raters analyse %s", c->args[0]);
    return SL_OK;
}

const command CMD_RATERS_FREEZE = {
    .name = "raters freeze", .args = "STUDY", .min_args = 1, .max_args = 1, .what = "End the answering for good.", .examples = "  saelab raters freeze study\n", .run = freeze,
};

/* ---- analyse ---- */

static const opt_group ANALYSE_GROUPS[] = { { "Options", NULL, sl_raters_analyse_opts, 0 }, { NULL, NULL, NULL, 0 } };

static sl_status analyse(cli *c, sl_err *err)
{
    sl_raters *r;
    char path[1200];
    SL_TRY(sl_raters_open(c->ctx, c->args[0], &r, err));
    sl_status st = sl_raters_analyse(r, c->cfg, put_line, c, err);
    sl_raters_close(r);
    SL_TRY(st);
    snprintf(path, sizeof path, "%.1100s/analysis.json", c->args[0]);
    c->result = json_load_file(path, 0, NULL);
    next_step(c, "saelab raters export %s --open-key", c->args[0]);
    return SL_OK;
}

const command CMD_RATERS_ANALYSE = {
    .name = "raters analyse", .args = "STUDY", .min_args = 1, .max_args = 1, .what = "Open the key of a frozen study, and compare the methods.",
    .text = "Writes STUDY/analysis.json. Without answers the result is NOT RUN. Raters with fewer than 80 % of the catch trials right are left out.",
    .examples = "  saelab raters analyse study\n", .groups = ANALYSE_GROUPS, .cfg_size = sizeof(sl_raters_analysis_opts), .run = analyse,
};

/* ---- export ---- */

typedef struct export_cfg { bool open_key; const char *seal; } export_cfg;
static const sl_opt EXPORT_OPTS[] = {
    SL_OPT_BOOL(export_cfg, open_key, 0, "also key.json and scores.csv; before the freeze this ends the blinding, and analyse will refuse"),
    SL_OPT_STR(export_cfg, seal, NULL, "the file that opens the key, where it was kept elsewhere"),
    SL_OPT_END
};
static const opt_group EXPORT_GROUPS[] = { { "Options", NULL, EXPORT_OPTS, 0 }, { NULL, NULL, NULL, 0 } };

static sl_status export_study(cli *c, sl_err *err)
{
    const export_cfg *o = c->cfg;
    sl_raters *r;
    sl_raters_state s = { 0 };
    SL_TRY(sl_raters_open(c->ctx, c->args[0], &r, err));
    sl_status st = sl_raters_export(r, o->open_key, o->seal, err);
    if (st == SL_OK)
        st = sl_raters_tell(r, &s, err);
    sl_raters_close(r);
    SL_TRY(st);
    say(c, "%s%s/export: items.jsonl, answers.jsonl, answers.csv%s\n", s.simulated ? "SIMULATED  " : "", c->args[0], o->open_key ? ", key.json, scores.csv" : "");
    c->result = json_pack("{s:I, s:I, s:b, s:b}", "answers", (json_int_t)s.n_answers, "items", (json_int_t)s.n_items, "simulated", s.simulated, "key", o->open_key);
    return SL_OK;
}

const command CMD_RATERS_EXPORT = {
    .name = "raters export", .args = "STUDY", .min_args = 1, .max_args = 1, .what = "Write questions and answers as JSON lines and CSV.", .examples = "  saelab raters export study\n",
    .groups = EXPORT_GROUPS, .cfg_size = sizeof(export_cfg), .run = export_study,
};
