/* Configuration files: what --config reads and what a training command leaves beside its results. Lines that begin with '#' are
 * for people: they take no part in comparing two configurations. */
#include "cli.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- reading ---- */

static const live_group *with_section(const cli *c, const char *section)
{
    for (const live_group *g = c->group; g->table; g++)
        if (g->section && sl_name_equal(g->section, section))
            return g;
    return NULL;
}

static sl_status check_command(const cli *c, sl_ynode node, sl_err *err)
{
    char where[256], expected[96];
    const char *text = sl_ynode_text(node);
    if (text && strcmp(text, c->cmd->name) == 0)
        return SL_OK;
    sl_ynode_where(node, where);
    snprintf(expected, sizeof expected, "command: %s", c->cmd->name);
    return sl_fail(err, SL_CONFIG, where, expected, "a configuration of another command");
}

static sl_status read_map(cli *c, sl_ynode root, sl_err *err)
{
    const char *skip[MAX_GROUPS + 4] = { "command", "precision" };
    int n = 2;
    if (c->cmd->has_sweep)
        skip[n++] = "sweep";
    const live_group *top = NULL;
    for (const live_group *g = c->group; g->table && g->base != c && g->base != &c->com; g++) {
        if (g->section)
            skip[n++] = g->section;
        else
            top = g;
    }
    static const sl_opt NO_OPTIONS[] = { SL_OPT_END };
    SL_TRY(sl_opts_from_yaml(c->words, top ? top->table : NO_OPTIONS, top ? top->base : NULL, root, skip, err));
    for (int i = 0; i < sl_ynode_len(root); i++) {
        const char *key = sl_ynode_text(sl_ynode_key(root, i));
        sl_ynode value = sl_ynode_at(root, i);
        const live_group *g = with_section(c, key);
        char where[256];
        sl_ynode_where(value, where);
        if (g)
            SL_TRY(sl_opts_from_yaml(c->words, g->table, g->base, value, NULL, err));
        else if (sl_name_equal(key, "command"))
            SL_TRY(check_command(c, value, err));
        else if (sl_name_equal(key, "precision"))
            SL_TRY(sl_opts_set(c->words, COMMON, &c->com, key, sl_ynode_text(value) ? sl_ynode_text(value) : "", where, SL_CONFIG, err));
    }
    return SL_OK;
}

sl_status config_read(cli *c, sl_err *err)
{
    sl_yaml *y;
    if (!c->config)
        return SL_OK;
    sl_status st = sl_yaml_load(c->words, c->config, &y, err);
    if (st == SL_MISSING)
        return sl_fail(err, SL_ARG, "--config", "a YAML file", "%s: no such file", c->config);
    if (st != SL_OK)
        return st;
    st = read_map(c, sl_yaml_root(y), err);
    sl_yaml_free(y);
    return st;
}

sl_status config_peek(cli *c, const char *section, const char *key, const char **out, sl_err *err)
{
    sl_yaml *y;
    sl_status st = sl_yaml_load(c->words, c->config, &y, err);
    if (st == SL_MISSING)
        return sl_fail(err, SL_ARG, "--config", "a YAML file", "%s: no such file", c->config);
    if (st != SL_OK)
        return st;
    const char *text = sl_ynode_text(sl_ynode_get(sl_ynode_get(sl_yaml_root(y), section), key));
    *out = text ? sl_intern(c->words, text) : NULL;
    sl_yaml_free(y);
    return SL_OK;
}

/* ---- writing ---- */

typedef struct text { char *s; size_t n; } text; /* grows; s NULL after running out of memory */

static void put(void *user, const char *piece)
{
    text *t = user;
    size_t m = strlen(piece);
    char *s = t->s ? realloc(t->s, t->n + m + 1) : NULL;
    if (!s)
        free(t->s);
    else
        memcpy(s + t->n, piece, m + 1);
    t->s = s;
    t->n += m;
}

/* The table without what says where the results go. */
static void put_table(text *t, const live_group *g)
{
    for (const sl_opt *o = g->table; o->type != SL_T_END; o++) {
        const sl_opt one[] = { *o, SL_OPT_END };
        if (!sl_name_equal(o->name, "out_dir"))
            sl_opts_dump(one, g->base, g->section ? 2 : 0, put, t);
    }
}

static char *config_text(const cli *c)
{
    text t = { calloc(1, 1), 0 };
    char head[512];
    sl_machine m = { 0 };
    bool known = sl_machine_info(c->ctx, &m, NULL) == SL_OK;
    snprintf(head, sizeof head, "# saelab %s, kernels %s, %d threads\n# saelab %s --config config.yaml -o NEW_FOLDER repeats this run\ncommand: %s\nprecision: %s\n",
             sl_version(), known ? m.kernels : "unknown", sl_ctx_threads(c->ctx), c->cmd->name, c->cmd->name,
             known && m.bf16 ? "bf16" : "f32");
    put(&t, head);
    for (int pass = 0; pass < 2; pass++) /* the top level comes before the sections */
        for (const live_group *g = c->group; g->table && g->base != c && g->base != &c->com; g++) {
            if ((g->section != NULL) != pass)
                continue;
            if (g->section) {
                put(&t, g->section);
                put(&t, ":\n");
            }
            put_table(&t, g);
        }
    put(&t, c->config_more ? c->config_more : "");
    return t.s;
}

/* ---- the folder of a command ---- */

static char *slurp(const char *path)
{
    FILE *f = fopen(path, "rb");
    char *s = f ? calloc(1, 1 << 20) : NULL;
    if (s)
        s[fread(s, 1, (1 << 20) - 1, f)] = 0;
    if (f)
        fclose(f);
    return s;
}

static const char *next_line(const char *s, char *line, size_t size)
{
    do {
        size_t n = strcspn(s, "\n");
        snprintf(line, size, "%.*s", (int)n, s);
        s += n + (s[n] == '\n');
    } while (line[0] == '#');
    return s;
}

/* The first line that differs, of each; false when there is none. */
static bool differ(const char *a, const char *b, char line_a[160], char line_b[160])
{
    do {
        a = next_line(a, line_a, 160);
        b = next_line(b, line_b, 160);
        if (strcmp(line_a, line_b) != 0)
            return true;
    } while (*a || *b);
    return false;
}

static sl_status make_dirs(const char *path, sl_err *err)
{
    char p[1024];
    if (strlen(path) >= sizeof p)
        return sl_fail(err, SL_ARG, "--out-dir", "a shorter path", "the path is too long");
    snprintf(p, sizeof p, "%s", path);
    for (char *s = p + 1;; s++) {
        if (*s && *s != '/')
            continue;
        char keep = *s;
        *s = 0;
        struct stat sb;
        int why = mkdir(p, 0777) == 0 ? 0 : errno;
        if (why == EEXIST)
            why = stat(p, &sb) == 0 && S_ISDIR(sb.st_mode) ? 0 : ENOTDIR;
        if (why)
            return sl_fail(err, SL_IO, p, "a folder that can be made", "%s", strerror(why));
        *s = keep;
        if (!keep)
            return SL_OK;
    }
}

static bool is_empty(const char *dir)
{
    DIR *d = opendir(dir);
    int n = 0;
    for (struct dirent *e = d ? readdir(d) : NULL; e; e = readdir(d))
        n += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
    if (d)
        closedir(d);
    return d && n == 0;
}

static sl_status compare_runs(const cli *c, const char *dir, const char *there, const char *here, sl_err *err)
{
    char a[160], b[160];
    const char *mark = strstr(there, "command: ");
    if (!mark || strncmp(mark + 9, c->cmd->name, strlen(c->cmd->name)) != 0)
        return sl_fail(err, SL_ARG, dir, "a new or empty folder", "the folder belongs to something else");
    if (differ(there, here, a, b))
        return sl_fail(err, SL_ARG, dir, "a new folder, or the same options", "it holds a run with '%.100s', not '%.100s'", a, b);
    return SL_OK;
}

sl_status config_claim(cli *c, const char *dir, bool *again, sl_err *err)
{
    struct stat sb;
    char path[1100];
    *again = false;
    if (!dir)
        return sl_fail(err, SL_ARG, "-o", "-o FOLDER", "where do the results go?");
    if (stat(dir, &sb) == 0 && !S_ISDIR(sb.st_mode))
        return sl_fail(err, SL_ARG, dir, "a new or empty folder", "a file is in the way");
    char *here = config_text(c);
    if (!here)
        return sl_fail(err, SL_MEM, NULL, NULL, "no memory for the configuration");
    snprintf(path, sizeof path, "%.1000s/config.yaml", dir);
    char *there = slurp(path);
    sl_status st = SL_OK;
    if (there) {
        st = compare_runs(c, dir, there, here, err);
        *again = st == SL_OK;
    } else if (stat(dir, &sb) == 0 && !is_empty(dir)) {
        st = sl_fail(err, SL_ARG, dir, "a new or empty folder", "the folder is not empty and holds no run of saelab");
    } else {
        st = make_dirs(dir, err);
        if (st == SL_OK)
            st = out_file(path, here, err);
    }
    free(there);
    free(here);
    return st;
}
