/* saelab study list | show | run | plot | confirm, and the demo. */
#include "cmd.h"

#include <dirent.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- where studies are ---- */

static bool has_plan(const char *dir)
{
    char path[PATH_MAX + 32];
    snprintf(path, sizeof path, "%.4000s/experiment.yaml", dir);
    return access(path, R_OK) == 0;
}

/* The folder `studies` of a checkout that holds `from`. */
static bool studies_above(const char *from, char out[PATH_MAX])
{
    char dir[PATH_MAX], probe[PATH_MAX + 32];
    snprintf(dir, sizeof dir, "%s", from);
    for (;;) {
        snprintf(probe, sizeof probe, "%s/studies/purification", dir);
        if (has_plan(probe)) {
            snprintf(out, PATH_MAX, "%.4000s/studies", dir);
            return true;
        }
        char *slash = strrchr(dir, '/');
        if (!slash || slash == dir)
            return false;
        *slash = 0;
    }
}

/* The checkout that ./run noted in the user's configuration folder; false when there is none. */
static bool noted_checkout(char out[PATH_MAX])
{
    const char *config = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");
    char path[PATH_MAX];
    bool xdg = config && *config;
    snprintf(path, sizeof path, "%.2000s%s/saelab/checkout", xdg ? config : home ? home : "", xdg ? "" : "/.config");
    FILE *f = fopen(path, "r");
    bool ok = f && fgets(out, PATH_MAX, f);
    if (f)
        fclose(f);
    if (ok)
        out[strcspn(out, "\n")] = 0;
    return ok && *out;
}

static bool studies_folder(char out[PATH_MAX])
{
    char here[PATH_MAX], program[PATH_MAX] = "", noted[PATH_MAX];
    if (getcwd(here, sizeof here) && studies_above(here, out))
        return true;
    if (readlink("/proc/self/exe", program, sizeof program - 1) > 0 && studies_above(program, out))
        return true;
    return noted_checkout(noted) && studies_above(noted, out);
}

/* asked: a folder with a plan, or the name of a study; NULL: the working folder if it holds a plan, else purification. */
static sl_status find_study(const char *asked, char out[PATH_MAX], sl_err *err)
{
    char root[PATH_MAX];
    if (!asked && has_plan("."))
        asked = ".";
    snprintf(out, PATH_MAX, "%.4000s", asked ? asked : "");
    if (asked && has_plan(asked))
        return SL_OK;
    const char *name = asked ? asked : "purification";
    if (!strchr(name, '/') && studies_folder(root)) {
        snprintf(out, PATH_MAX, "%.3900s/%.100s", root, name);
        if (has_plan(out))
            return SL_OK;
    }
    return sl_fail(err, SL_ARG, name, "a folder with experiment.yaml, or a name of `saelab study list`", "there is no such study");
}

/* ---- list ---- */

static char *plan_text(cli *c, const char *dir, const char *key)
{
    char path[PATH_MAX + 32];
    sl_yaml *y;
    sl_err err;
    snprintf(path, sizeof path, "%.4000s/experiment.yaml", dir);
    if (sl_yaml_load(c->words, path, &y, &err) != SL_OK)
        return NULL;
    const char *text = sl_ynode_text(sl_ynode_get(sl_yaml_root(y), key));
    char *copy = text ? sl_keep(c->words, strlen(text) + 1) : NULL;
    if (copy)
        memcpy(copy, text, strlen(text));
    sl_yaml_free(y);
    return copy;
}

static int by_name(const void *a, const void *b) { return strcmp(*(const char *const *)a, *(const char *const *)b); }

static sl_status list(cli *c, sl_err *err)
{
    enum { MAX = 64 };
    char root[PATH_MAX], dir[PATH_MAX + 300];
    const char *names[MAX];
    int n = 0;
    if (!studies_folder(root))
        return sl_fail(err, SL_MISSING, "studies", "to be below a checkout, or one in which ./run was used", "no studies found");
    DIR *d = opendir(root);
    for (struct dirent *e = d ? readdir(d) : NULL; e && n < MAX; e = readdir(d)) {
        snprintf(dir, sizeof dir, "%s/%s", root, e->d_name);
        if (e->d_name[0] != '.' && has_plan(dir) && (names[n] = sl_intern(c->words, e->d_name)))
            n++;
    }
    if (d)
        closedir(d);
    qsort(names, (size_t)n, sizeof *names, by_name);
    c->result = json_array();
    for (int i = 0; i < n; i++) {
        snprintf(dir, sizeof dir, "%s/%s", root, names[i]);
        const char *question = plan_text(c, dir, "question");
        say(c, "%-16s %s\n", names[i], question ? question : "");
        json_array_append_new(c->result, json_pack("{s:s, s:s, s:s?}", "name", names[i], "folder", dir, "question", question));
    }
    next_step(c, "saelab study show %s", n > 0 ? names[0] : "STUDY");
    return SL_OK;
}

const command CMD_STUDY_LIST = { .name = "study list", .args = "", .what = "List the studies of the checkout.", .run = list };

/* ---- show ---- */

typedef struct lines { cli *c; json_t *all; } lines;

static void put_line(void *user, const char *line)
{
    lines *l = user;
    say(l->c, "%s\n", line);
    json_array_append_new(l->all, json_text(line, strlen(line)));
}

static sl_status show(cli *c, sl_err *err)
{
    char dir[PATH_MAX];
    lines l = { c, json_array() };
    c->result = l.all;
    SL_TRY(find_study(c->n_args > 0 ? c->args[0] : NULL, dir, err));
    SL_TRY(sl_study_show(c->ctx, dir, put_line, &l, err));
    next_step(c, "saelab study run run_0 --study %s", dir);
    return SL_OK;
}

const command CMD_STUDY_SHOW = { .name = "study show", .args = "[STUDY]", .max_args = 1, .what = "What the runs of a study will do.", .run = show };

/* ---- run ---- */

typedef struct run_cfg { const char *study; sl_run_config run; } run_cfg;

static const sl_opt RUN_OPTS[] = {
    SL_OPT_STR(run_cfg, study, NULL, "name or folder of the study; none: this folder if it holds experiment.yaml, else purification"),
    SL_OPT_END
};
static const opt_group RUN_GROUPS[] = {
    { "Options", NULL, RUN_OPTS, 0 },
    { "Run", "run", sl_run_opts, offsetof(run_cfg, run) },
    { NULL, NULL, NULL, 0 }
};

/* RUN alone is the folder; RUN -o DIR is DIR where that is named RUN, else DIR/RUN. */
static sl_status run_folder(cli *c, run_cfg *r, sl_err *err)
{
    char path[PATH_MAX];
    const char *name = c->n_args > 0 ? c->args[0] : NULL, *dir = r->run.out_dir;
    if (!name && !dir)
        return sl_fail(err, SL_ARG, "--out-dir", "--out-dir=run_0, or RUN", "no run was named");
    if (name && strchr(name, '/') && dir)
        return sl_fail(err, SL_ARG, name, "the name of a run, as in the plan", "RUN is a path, and there is --out-dir too");
    if (!name || !dir) {
        r->run.out_dir = dir ? dir : name;
        return SL_OK;
    }
    if (strcmp(dir, ".") == 0) {
        r->run.out_dir = name;
        return SL_OK;
    }
    size_t n = strlen(dir);
    while (n > 1 && dir[n - 1] == '/')
        n--;
    bool named = n >= strlen(name) && strncmp(dir + n - strlen(name), name, strlen(name)) == 0 && (n == strlen(name) || dir[n - strlen(name) - 1] == '/');
    snprintf(path, sizeof path, named ? "%.*s" : "%.*s/%s", (int)(n < 3000 ? n : 3000), dir, name);
    r->run.out_dir = sl_intern(c->words, path);
    return r->run.out_dir ? SL_OK : sl_fail(err, SL_MEM, NULL, NULL, "no memory for the path");
}

/* Value and standard error of one key of final_info.json: "1.9312 +- .0043", "-" for null. */
static const char *cell(json_t *info, const char *key, char out[64])
{
    char name[160];
    snprintf(name, sizeof name, "%s_mean", key);
    json_t *mean = json_object_get(json_object_get(info, "means"), name);
    snprintf(name, sizeof name, "%s_stderr", key);
    json_t *se = json_object_get(json_object_get(info, "stderrs"), name);
    if (!json_is_number(mean))
        snprintf(out, 64, "-");
    else if (json_is_number(se))
        snprintf(out, 64, "%.5g +- %.2g", json_number_value(mean), json_number_value(se));
    else
        snprintf(out, 64, "%.5g", json_number_value(mean));
    return out;
}

/* Names of the arms: what stands before "_l0" and before "_fvu" (noisy_fvu alone is a metric). */
static int arms_of(json_t *info, char arms[][64], int max)
{
    static const char END[] = "_l0";
    json_t *all = json_object_get(info, "final_info_dict"), *v;
    const char *key;
    int n = 0;
    json_object_foreach(all, key, v) {
        char fvu[80];
        size_t len = strlen(key), name = len > sizeof END - 1 ? len - (sizeof END - 1) : 0;
        snprintf(fvu, sizeof fvu, "%.*s_fvu", (int)(name < 64 ? name : 0), key);
        if (n < max && name && strcmp(key + name, END) == 0 && json_object_get(all, fvu))
            snprintf(arms[n++], 64, "%.*s", (int)name, key);
    }
    return n;
}

static void lm_table(const cli *c, json_t *info)
{
    static const char *const keys[] = { "final_train_loss", "best_val_loss", "total_train_time", "avg_inference_tokens_per_second" };
    static const char *const units[] = { "nats/token", "nats/token", "s", "" };
    const char *cells[12];
    char v[4][64];
    for (int i = 0; i < 4; i++) {
        cells[3 * i] = keys[i];
        cells[3 * i + 1] = cell(info, keys[i], v[i]);
        cells[3 * i + 2] = units[i];
    }
    say_table(c, false, 4, 3, cells);
}

/* A row an arm. On a world the truth is there to compare with. */
static void arms_table(const cli *c, json_t *info, bool world)
{
    enum { ARMS = 16, COLS = 7 };
    static const char *const text[COLS] = { "", "l0", "fvu", "dead", "ce_loss_score", "ce_delta", "latent_entropy" };
    static const char *const truth[COLS] = { "", "l0", "fvu", "dead", "mcc_dec_abs", "f1_h", "f1_sel" };
    const char *cells[(ARMS + 1) * COLS];
    char arms[ARMS][64], v[ARMS][COLS][64];
    int n = arms_of(info, arms, ARMS);
    memcpy(cells, world ? truth : text, sizeof text);
    for (int a = 0; a < n; a++) {
        cells[(a + 1) * COLS] = arms[a];
        for (int i = 1; i < COLS; i++) {
            char key[160];
            snprintf(key, sizeof key, "%.64s_%.64s", arms[a], cells[i]);
            cells[(a + 1) * COLS + i] = cell(info, key, v[a][i]);
        }
    }
    if (n > 0)
        say_table(c, true, n + 1, COLS, cells);
}

static sl_status run_report(cli *c, const run_cfg *r, sl_err *err)
{
    char path[PATH_MAX];
    json_error_t why;
    const char *dataset;
    json_t *info;
    snprintf(path, sizeof path, "%.4000s/final_info.json", r->run.out_dir);
    json_t *all = json_load_file(path, 0, &why);
    if (!all)
        return sl_fail(err, SL_DATA, path, "JSON", "line %d: %s", why.line, why.text);
    size_t seeds = 0;
    json_object_foreach(all, dataset, info) {
        bool world = !json_object_get(json_object_get(info, "final_info_dict"), "final_train_loss");
        say(c, "%s on %s\n\n", r->run.out_dir, dataset);
        if (!world) {
            lm_table(c, info);
            say(c, "\n");
        }
        arms_table(c, info, world);
        say(c, "\n");
        size_t n = json_array_size(json_object_get(json_object_get(info, "final_info_dict"), "fvu"));
        seeds = n > seeds ? n : seeds;
    }
    const sl_opt *profile = sl_opts_find(sl_run_opts, "profile");
    const char *word = profile->choices[r->run.profile];
    say(c, "mean +- standard error; %s: %s(n=%zu)\n", word, strcmp(word, "full") == 0 ? "" : "no claim ", seeds);
    c->result = json_pack("{s:s, s:o}", "out_dir", r->run.out_dir, "final_info", all);
    next_step(c, "open %s/report.html", r->run.out_dir);
    return SL_OK;
}

static sl_status run(cli *c, sl_err *err)
{
    run_cfg *r = c->cfg;
    char dir[PATH_MAX];
    SL_TRY(find_study(r->study, dir, err));
    SL_TRY(run_folder(c, r, err));
    SL_TRY(sl_study_run(c->ctx, dir, &r->run, err));
    return run_report(c, r, err);
}

const command CMD_STUDY_RUN = {
    .name = "study run", .args = "[RUN]", .max_args = 1, .what = "Do one run of a study, from text to report.",
    .text = "The run's name is the last part of --out-dir, or RUN. Work happens in OUT_DIR.partial, which becomes OUT_DIR at the end; stages come from the "
            "cache where they can, and an interrupted run goes on when the same command is given again.",
    .examples = "  saelab study run --out-dir=run_0\n  saelab study run run_0 -o results --study compositional --profile smoke\n",
    .groups = RUN_GROUPS, .cfg_size = sizeof(run_cfg), .run = run,
};

/* ---- plot ---- */

typedef struct plot_cfg { const char *study, *out_file; } plot_cfg;
static const sl_opt PLOT_OPTS[] = {
    SL_OPT_STR(plot_cfg, study, NULL, "name or folder of the study; none: this folder if it holds experiment.yaml, else purification"),
    { .name = "out_file", .type = SL_T_STR, .offset = offsetof(plot_cfg, out_file), .help = "page of the study; none: report.html beside the runs", .short_name = 'o' },
    SL_OPT_END
};
static const opt_group PLOT_GROUPS[] = { { "Options", NULL, PLOT_OPTS, 0 }, { NULL, NULL, NULL, 0 } };

static sl_status plot(cli *c, sl_err *err)
{
    const plot_cfg *p = c->cfg;
    char dir[PATH_MAX], page[1024];
    SL_TRY(find_study(p->study, dir, err));
    SL_TRY(sl_study_plot(c->ctx, dir, c->n_args, c->args, p->out_file, page, err));
    c->result = json_pack("{s:s, s:s?}", "study", dir, "page", *page ? page : NULL);
    if (*page)
        next_step(c, "open %s", page);
    return SL_OK;
}

const command CMD_STUDY_PLOT = {
    .name = "study plot", .args = "[RUN...]", .max_args = -1, .what = "Draw the plots and the report of finished runs again.",
    .text = "RUN is the folder of a finished run; none: all runs of the plan that are here. Over several runs, or with --out-file, the page of the study is "
            "written too: its decision when `study confirm` has been run, warnings, effects and every arm of all runs.",
    .examples = "  saelab study plot\n  saelab study plot run_0 run_1 -o study.html --study compositional\n",
    .groups = PLOT_GROUPS, .cfg_size = sizeof(plot_cfg), .run = plot,
};

/* ---- confirm ---- */

static const opt_group CONFIRM_GROUPS[] = { { "Options", NULL, sl_confirm_opts, 0 }, { NULL, NULL, NULL, 0 } };

/* Verdict and sentence. */
static sl_status confirm_report(cli *c, const sl_confirm_config *f, sl_err *err)
{
    char path[PATH_MAX];
    json_error_t why;
    snprintf(path, sizeof path, "%.4000s/confirm.json", f->out_dir);
    json_t *all = json_load_file(path, 0, &why);
    if (!all)
        return sl_fail(err, SL_DATA, path, "JSON", "line %d: %s", why.line, why.text);
    const char *sentence = json_string_value(json_object_get(json_object_get(all, "decision"), "sentence"));
    say(c, "%s\n", sentence ? sentence : "");
    c->result = json_pack("{s:s, s:O, s:O?, s:O?, s:O?}", "out_dir", f->out_dir, "decision", json_object_get(all, "decision"), "decision_at_1", json_object_get(all, "decision_at_1"),
                          "decision_at_2", json_object_get(all, "decision_at_2"), "targeting", json_object_get(all, "targeting"));
    json_decref(all);
    next_step(c, "open %s/report.html", f->out_dir);
    return SL_OK;
}

static sl_status confirm(cli *c, sl_err *err)
{
    const sl_confirm_config *f = c->cfg;
    char dir[PATH_MAX];
    SL_TRY(find_study(c->n_args > 0 ? c->args[0] : NULL, dir, err));
    SL_TRY(sl_study_confirm(c->ctx, dir, f, err));
    return confirm_report(c, f, err);
}

const command CMD_STUDY_CONFIRM = {
    .name = "study confirm", .args = "[STUDY]", .max_args = 1, .what = "Decide a study's claim on fresh seeds.",
    .text = "Settings are chosen on selection seeds, then every arm is trained on fresh ones, and the decision rule writes the sentence. As many fits run at a time as there are "
            "threads; an interrupted confirmation goes on when the same command is given again.",
    .examples = "  saelab study confirm purification -o confirm\n  saelab study confirm compositional --profile smoke\n",
    .groups = CONFIRM_GROUPS, .cfg_size = sizeof(sl_confirm_config), .run = confirm,
};

/* ---- demo ---- */

typedef struct demo_cfg { int64_t features; } demo_cfg;
static const sl_opt DEMO_OPTS[] = { SL_OPT_INT(demo_cfg, features, 20, 1, 100, "features", "features to show"), SL_OPT_END };
static const opt_group DEMO_GROUPS[] = { { "Options", NULL, DEMO_OPTS, 0 }, { NULL, NULL, NULL, 0 } };

static sl_status demo(cli *c, sl_err *err)
{
    const demo_cfg *d = c->cfg;
    lines l = { c, json_array() };
    c->result = l.all;
    SL_TRY(sl_study_demo(c->ctx, (int)d->features, put_line, &l, err));
    next_step(c, "saelab study run --out-dir=run_0");
    return SL_OK;
}

const command CMD_DEMO = {
    .name = "demo", .args = "", .what = "A tiny model, an SAE, and features of it in their contexts.",
    .text = "Trains a small language model, captures its residual stream, trains an SAE on that, and shows where some of its features fire: within a minute.",
    .groups = DEMO_GROUPS, .cfg_size = sizeof(demo_cfg), .run = demo,
};
