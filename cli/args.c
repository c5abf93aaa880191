/* Flags: one popt table made from all option tables of a command. Values are applied in the order defaults, configuration file,
 * flags; a preset comes in after the defaults, so with one the last two are read again. */
#include "cli.h"

#include <popt.h>
#include <stdlib.h>
#include <string.h>

static const char *const PRECISION[] = { "f32", "bf16", NULL };
static const char *const PROGRESS[] = { "auto", "bar", "plain", "json", "off", NULL };

const sl_opt COMMON[] = {
    SL_OPT_INT(common, threads, 0, 0, 1024, "", "compute threads; 0: physical cores that this process may use"),
    SL_OPT_CHOICE(common, precision, 0, PRECISION, "of matrix products; bf16 only where the CPU has it"),
    SL_OPT_STR(common, data_dir, NULL, "where texts are looked for first (else SAELAB_DATA, ../shared/data, the cache)"),
    SL_OPT_STR(common, kern, NULL, "kernel layers to use, for comparisons: ref, ref+simd; none: the fastest"),
    SL_OPT_BOOL(common, json, 0, "print one JSON document on stdout instead of text"),
    SL_OPT_CHOICE(common, progress, PROGRESS_AUTO, PROGRESS, "on stderr; auto: a bar on a terminal, else a line every 30 s"),
    { .name = "quiet", .short_name = 'q', .type = SL_T_BOOL, .offset = offsetof(common, quiet), .max = 1, .help = "only results, warnings and errors" },
    { .name = "verbose", .short_name = 'v', .type = SL_T_BOOL, .offset = offsetof(common, verbose), .max = 1, .help = "also what is of interest to developers" },
    { .name = "help", .short_name = 'h', .type = SL_T_BOOL, .offset = offsetof(common, help), .max = 1, .help = "this text" },
    SL_OPT_END
};

static const sl_opt CONFIG_FILE[] = {
    SL_OPT_STR(cli, config, NULL, "read options from a YAML file first, for example a config.yaml of an earlier run"),
    SL_OPT_END
};

void flag_name(const live_group *g, const sl_opt *o, char out[64])
{
    bool prefixed = g && g->prefix;
    snprintf(out, 64, "%.30s%s%.32s", prefixed ? g->prefix : "", prefixed ? "-" : "", o->name);
    for (char *s = out; *s; s++)
        *s = *s == '_' ? '-' : *s;
}

void flag_negative(const live_group *g, const sl_opt *o, char out[64])
{
    char name[64];
    flag_name(g, o, name);
    if (strncmp(name, "no-", 3) == 0)
        memmove(out, name + 3, strlen(name + 3) + 1);
    else
        snprintf(out, 64, "no-%.60s", name);
}

bool args_has(int argc, const char **argv, const char *long_name, char short_name)
{
    for (int i = 0; i < argc && strcmp(argv[i], "--") != 0; i++)
        if ((strncmp(argv[i], "--", 2) == 0 && sl_name_equal(argv[i] + 2, long_name)) ||
            (short_name && argv[i][0] == '-' && argv[i][1] == short_name && !argv[i][2]))
            return true;
    return false;
}

bool args_given(const cli *c, const char *option)
{
    for (int i = 0; i < c->n_flags; i++)
        if (sl_name_equal(c->flags[i].opt->name, option))
            return true;
    return false;
}

/* ---- groups ---- */

static void *at(void *base, size_t offset) { return (char *)base + offset; }

/* The variant of a command that has none named: the default of its option. */
static const char *default_variant(const command *k)
{
    for (const opt_group *g = k->groups; g && g->title; g++) {
        const sl_opt *o = g->table ? sl_opts_find(g->table, "variant") : NULL;
        if (o)
            return o->def_str;
    }
    return NULL;
}

/* Fills c->group and sets every field to its default; variant NULL: the default one. Needs c->cmd and c->cfg. SL_ARG: no such variant. */
static sl_status groups_of(cli *c, const char *variant, sl_err *err)
{
    int n = 0;
    if (!variant)
        variant = default_variant(c->cmd);
    for (const opt_group *g = c->cmd->groups; g && g->title; g++) {
        const sl_opt *table = g->table;
        if (!table) {
            const sl_variant_info *v = sl_variant_find(variant ? variant : "");
            if (!v)
                return sl_fail(err, SL_ARG, "--variant", "a name of `saelab sae variants`", "there is no variant '%s'", variant ? variant : "");
            if (v->opts_size > VARIANT_BYTES)
                return sl_fail(err, SL_MEM, variant, NULL, "its options need %zu bytes", v->opts_size);
            table = v->opts;
        }
        bool prefixed = g->section && c->cmd->prefixed && strcmp(g->section, c->cmd->prefixed) == 0;
        c->group[n++] = (live_group){ g->title, g->section, table, at(c->cfg, g->offset), prefixed ? g->section : NULL };
    }
    if (c->cmd->has_config_file)
        c->group[n++] = (live_group){ "Everywhere", NULL, CONFIG_FILE, c, NULL };
    c->group[n++] = (live_group){ "Everywhere", NULL, COMMON, &c->com, NULL };
    c->group[n] = (live_group){ NULL, NULL, NULL, NULL, NULL };
    for (int i = 0; i < n; i++)
        sl_opts_default(c->group[i].table, c->group[i].base);
    return SL_OK;
}

/* ---- popt ---- */

/* Two entries for a switch (--x, --no-x); val is 1 + 2 * index of the option over all groups, + 1 for the negative. */
typedef struct popt_table { struct poptOption *v; int n; char (*names)[64]; } popt_table;

static void add_entry(popt_table *t, const live_group *g, const sl_opt *o, int index, bool negative)
{
    bool is_switch = o->type == SL_T_BOOL;
    (negative ? flag_negative : flag_name)(g, o, t->names[t->n]);
    t->v[t->n] = (struct poptOption){ .longName = t->names[t->n], .shortName = negative ? '\0' : o->short_name,
                                      .argInfo = is_switch ? POPT_ARG_NONE : POPT_ARG_STRING, .val = 1 + 2 * index + negative };
    t->n++;
}

static sl_status popt_table_new(const cli *c, popt_table *t, sl_err *err)
{
    int n = 1, index = 0;
    for (const live_group *g = c->group; g->table; g++)
        for (const sl_opt *o = g->table; o->type != SL_T_END; o++)
            n += 2;
    *t = (popt_table){ calloc((size_t)n, sizeof *t->v), 0, calloc((size_t)n, sizeof *t->names) };
    if (!t->v || !t->names)
        return sl_fail(err, SL_MEM, NULL, NULL, "no memory for the options");
    for (const live_group *g = c->group; g->table; g++)
        for (const sl_opt *o = g->table; o->type != SL_T_END; o++, index++) {
            add_entry(t, g, o, index, false);
            if (o->type == SL_T_BOOL)
                add_entry(t, g, o, index, true);
        }
    return SL_OK;
}

static flag flag_of(const cli *c, int val)
{
    int index = (val - 1) / 2;
    for (const live_group *g = c->group; g->table; g++)
        for (const sl_opt *o = g->table; o->type != SL_T_END; o++)
            if (index-- == 0)
                return (flag){ .group = g, .opt = o, .negative = (val - 1) % 2 };
    return (flag){ 0 };
}

static sl_status popt_failure(const cli *c, int rc, const char *bad, sl_err *err)
{
    char expected[256], near[64] = "", typed[64];
    snprintf(typed, sizeof typed, "%.60s", bad + strspn(bad, "-"));
    typed[strcspn(typed, "=")] = 0;
    int best = 1000;
    const sl_opt *known = NULL;
    for (const live_group *g = c->group; g->table; g++)
        for (const sl_opt *o = g->table; o->type != SL_T_END; o++) {
            char name[64];
            flag_name(g, o, name);
            if (sl_name_equal(name, typed) || (!typed[1] && typed[0] == o->short_name))
                known = o;
            else if (bad[1] == '-' && sl_name_close(typed, name) && sl_name_distance(typed, name) < best) {
                best = sl_name_distance(typed, name);
                memcpy(near, name, sizeof near);
            }
        }
    if (rc == POPT_ERROR_NOARG && known) {
        sl_opts_expected(known, expected, sizeof expected);
        return sl_fail(err, SL_ARG, bad, expected, "needs a value");
    }
    if (rc == POPT_ERROR_UNWANTEDARG)
        return sl_fail(err, SL_ARG, bad, "the flag alone", "takes no value");
    if (rc != POPT_ERROR_BADOPT)
        return sl_fail(err, SL_ARG, bad, NULL, "%s", poptStrerror(rc));
    snprintf(expected, sizeof expected, "an option of `saelab %s --help`", c->cmd->name);
    return sl_fail(err, SL_ARG, bad, expected, "unknown option%s%s%s", *near ? "; did you mean --" : "", near, *near ? "?" : "");
}

static sl_status take_flags(cli *c, poptContext p, sl_err *err)
{
    int rc;
    while ((rc = poptGetNextOpt(p)) > 0) {
        flag f = flag_of(c, rc);
        char *text = poptGetOptArg(p);
        f.text = text ? sl_intern(c->words, text) : f.negative ? "false" : "true";
        free(text);
        flag *more = realloc(c->flags, ((size_t)c->n_flags + 1) * sizeof *more);
        if (!more || !f.text)
            return sl_fail(err, SL_MEM, NULL, NULL, "no memory for the options");
        c->flags = more;
        c->flags[c->n_flags++] = f;
    }
    if (rc < -1)
        return popt_failure(c, rc, poptBadOption(p, POPT_BADOPTION_NOALIAS), err);
    const char **rest = poptGetArgs(p);
    while (rest && rest[c->n_args])
        c->n_args++;
    c->args = calloc((size_t)c->n_args + 1, sizeof *c->args);
    for (int i = 0; c->args && i < c->n_args; i++)
        if (!(c->args[i] = sl_intern(c->words, rest[i])))
            c->n_args = 0;
    return c->args ? SL_OK : sl_fail(err, SL_MEM, NULL, NULL, "no memory for the arguments");
}

static sl_status parse_flags(cli *c, int argc, const char **argv, sl_err *err)
{
    popt_table t;
    sl_status st = popt_table_new(c, &t, err);
    if (st == SL_OK) {
        poptContext p = poptGetContext("saelab", argc, argv, t.v, POPT_CONTEXT_KEEP_FIRST);
        st = p ? take_flags(c, p, err) : sl_fail(err, SL_MEM, NULL, NULL, "no memory for the options");
        poptFreeContext(p);
    }
    free(t.v);
    free(t.names);
    return st;
}

/* ---- all sources of values ---- */

static sl_status apply_flags(cli *c, sl_err *err)
{
    for (int i = 0; i < c->n_flags; i++) { /* a list on the command line replaces that of the file */
        const flag *f = &c->flags[i];
        if (f->opt->type == SL_T_STRS)
            *(sl_strs *)at(f->group->base, f->opt->offset) = (sl_strs){ NULL, 0 };
    }
    for (int i = 0; i < c->n_flags; i++) {
        const flag *f = &c->flags[i];
        char where[72] = "--";
        flag_name(f->group, f->opt, where + 2);
        SL_TRY(sl_opts_set(c->words, f->group->table, f->group->base, f->opt->name, f->text, where, SL_ARG, err));
    }
    return SL_OK;
}

static sl_status check_args(const cli *c, sl_err *err)
{
    char expected[128];
    const command *k = c->cmd;
    snprintf(expected, sizeof expected, "saelab %s%s%s", k->name, *k->args ? " " : "", k->args);
    if (c->n_args < k->min_args)
        return sl_fail(err, SL_ARG, NULL, expected, "an argument is missing");
    if (k->max_args >= 0 && c->n_args > k->max_args)
        return sl_fail(err, SL_ARG, c->args[k->max_args], expected, "one argument too many");
    return SL_OK;
}

/* "--d_sae=3" means "--d-sae=3". */
static sl_status fold_names(cli *c, int argc, const char **argv, sl_err *err)
{
    for (int i = 0; i < argc && strcmp(argv[i], "--") != 0; i++) {
        if (strncmp(argv[i], "--", 2) != 0 || !strchr(argv[i], '_'))
            continue;
        char *copy = sl_keep(c->words, strlen(argv[i]) + 1);
        if (!copy)
            return sl_fail(err, SL_MEM, NULL, NULL, "no memory for the options");
        memcpy(copy, argv[i], strlen(argv[i]));
        for (char *s = copy; *s && *s != '='; s++)
            *s = *s == '_' ? '-' : *s;
        argv[i] = copy;
    }
    return SL_OK;
}

/* The value of --name before popt knows the table; NULL when it is not there. */
static const char *scan_value(int argc, const char **argv, const char *name)
{
    const char *value = NULL;
    size_t n = strlen(name);
    for (int i = 0; i < argc && strcmp(argv[i], "--") != 0; i++) {
        if (strncmp(argv[i], "--", 2) != 0 || strncmp(argv[i] + 2, name, n) != 0)
            continue;
        if (argv[i][2 + n] == '=')
            value = argv[i] + 3 + n;
        else if (!argv[i][2 + n] && i + 1 < argc)
            value = argv[i + 1];
    }
    return value;
}

sl_status args_read(cli *c, int argc, const char **argv, sl_err *err)
{
    const char *variant = NULL;
    SL_TRY(fold_names(c, argc, argv, err));
    if (c->cmd->has_config_file)
        c->config = scan_value(argc, argv, "config");
    variant = scan_value(argc, argv, "variant");
    if (!variant && c->config)
        SL_TRY(config_peek(c, "train", "variant", &variant, err));
    SL_TRY(groups_of(c, variant, err));
    SL_TRY(parse_flags(c, argc, argv, err));
    SL_TRY(apply_flags(c, err)); /* before the file, so that a wrong flag is told first */
    SL_TRY(check_args(c, err));
    SL_TRY(config_read(c, err));
    SL_TRY(apply_flags(c, err));
    if (!c->cmd->preset)
        return SL_OK;
    SL_TRY(c->cmd->preset(c, err));
    SL_TRY(config_read(c, err));
    return apply_flags(c, err);
}

sl_status args_defaults(cli *c, const char *variant, const char *preset, sl_err *err)
{
    SL_TRY(groups_of(c, variant, err));
    if (!c->cmd->preset)
        return SL_OK;
    if (preset)
        SL_TRY(sl_opts_set(c->words, c->group[0].table, c->group[0].base, "preset", preset, "--preset", SL_ARG, err));
    return c->cmd->preset(c, err);
}

sl_status args_help(cli *c, int argc, const char **argv, sl_err *err)
{
    SL_TRY(args_defaults(c, scan_value(argc, argv, "variant"), scan_value(argc, argv, "preset"), err));
    help_command(stdout, c);
    return SL_OK;
}

void args_release(cli *c)
{
    free(c->flags);
    free(c->args);
}
