/* --help from the option tables, 80 columns wide. */
#include "cli.h"

#include <ctype.h>
#include <math.h>
#include <string.h>

enum { WIDTH = 80, INDENT = 28 };

/* ---- words about one option ---- */

const char *value_word(const sl_opt *o)
{
    static const struct { const char *names, *word; } texts[] = {
        { " out_dir data_dir acts lm study ", "DIR" }, { " text config tokens labels ", "FILE" }, { " dataset preset variant hook model kern ", "NAME" },
    };
    char name[72];
    switch (o->type) {
    case SL_T_INT: return "N";
    case SL_T_FLOAT: return "X";
    case SL_T_CHOICE: return "WORD";
    case SL_T_BOOL: return "";
    default: break;
    }
    snprintf(name, sizeof name, " %.64s ", o->name);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (strstr(texts[i].names, name))
            return texts[i].word;
    return "TEXT";
}

static void append(char *out, size_t size, const char *sep, const char *text)
{
    size_t n = strlen(out);
    snprintf(out + n, size - n, "%s%s", n ? sep : "", text);
}

static void append_range(const sl_opt *o, char *out, size_t size)
{
    char t[96] = "";
    bool lo = o->min > -1e5, hi = o->max < 1e5; /* larger bounds are there against overflow and tell a reader nothing */
    if (lo && hi)
        snprintf(t, sizeof t, "%.10g to %.10g", o->min, o->max);
    else if (lo && (o->min != 0 || o->type == SL_T_FLOAT))
        snprintf(t, sizeof t, "at least %.10g", o->min);
    else if (hi)
        snprintf(t, sizeof t, "at most %.10g", o->max);
    if (o->unit && *o->unit)
        append(out, size, ", ", o->unit);
    if (*t)
        append(out, size, ", ", t);
}

static void append_default(const sl_opt *o, const void *cfg, char *out, size_t size)
{
    char value[256], t[300];
    if (o->type == SL_T_STRS) {
        append(out, size, ", ", "may be repeated");
        return;
    }
    sl_opts_text(o, cfg, value, sizeof value);
    if (o->type == SL_T_BOOL || !*value)
        return;
    snprintf(t, sizeof t, "default %s", value);
    append(out, size, "; ", t);
}

/* A switch that is on by default is shown by the flag that turns it off. */
static bool default_on(const sl_opt *o, const void *cfg)
{
    return o->type == SL_T_BOOL && *(const bool *)((const char *)cfg + o->offset);
}

void option_text(const sl_opt *o, const void *cfg, char *out, size_t size)
{
    char facts[400] = "";
    if (o->type == SL_T_CHOICE)
        for (int i = 0; o->choices[i]; i++)
            append(facts, sizeof facts, "|", o->choices[i]);
    if (o->type == SL_T_INT || o->type == SL_T_FLOAT)
        append_range(o, facts, sizeof facts);
    append_default(o, cfg, facts, sizeof facts);
    snprintf(out, size, "%s%s%s%s%s", default_on(o, cfg) ? "turns off: " : "", o->help ? o->help : "", *facts ? " (" : "", facts, *facts ? ")" : "");
}

/* ---- layout ---- */

/* Length of the next word; of a list of choices that fills more than a line, as many as fit in it. */
static size_t word_length(const char *text, size_t room)
{
    size_t n = strcspn(text, " \n"), cut = n;
    while (cut > room || (cut < n && text[cut - 1] != '|'))
        if (--cut == 0)
            return n;
    return cut;
}

/* Words of text from column `col` on, lines broken at WIDTH and indented. */
static void wrap(FILE *f, const char *text, int col, int indent)
{
    for (bool glued = false; *text;) {
        size_t n = word_length(text, (size_t)(WIDTH - indent));
        bool line_end = text[n] == '\n', space = col > indent && !glued;
        if (col > indent && col + space + (int)n > WIDTH) {
            fprintf(f, "\n%*s", indent, "");
            col = indent;
            space = false;
        }
        col += fprintf(f, "%s%.*s", space ? " " : "", (int)n, text);
        text += n;
        glued = *text && *text != ' ' && !line_end;
        if (line_end) {
            fprintf(f, "\n%*s", indent, "");
            col = indent;
        }
        text += *text && !glued;
    }
    fputc('\n', f);
}

static void option_line(FILE *f, const live_group *g, const sl_opt *o)
{
    char name[64], left[128], text[1024], shorts[8] = "    ";
    (default_on(o, g->base) ? flag_negative : flag_name)(g, o, name);
    if (o->short_name)
        snprintf(shorts, sizeof shorts, "-%c, ", o->short_name);
    const char *word = value_word(o);
    snprintf(left, sizeof left, "  %s--%s%s%s", shorts, name, *word ? " " : "", word);
    option_text(o, g->base, text, sizeof text);
    fprintf(f, "%s", left);
    if ((int)strlen(left) + 2 > INDENT)
        fprintf(f, "\n%*s", INDENT, "");
    else
        fprintf(f, "%*s", INDENT - (int)strlen(left), "");
    wrap(f, text, INDENT, INDENT);
}

void help_command(FILE *f, const cli *c)
{
    const command *k = c->cmd;
    const char *title = "";
    fprintf(f, "Usage: saelab %s%s%s [options]\n\n", k->name, *k->args ? " " : "", k->args);
    wrap(f, k->what, 0, 0);
    if (k->text) {
        fputc('\n', f);
        wrap(f, k->text, 0, 0);
    }
    if (k->examples)
        fprintf(f, "\nExamples:\n%s", k->examples);
    for (const live_group *g = c->group; g->table; g++) {
        if (g->table->type == SL_T_END)
            continue;
        if (strcmp(title, g->title) != 0)
            fprintf(f, "\n%s:\n", g->title);
        title = g->title;
        for (const sl_opt *o = g->table; o->type != SL_T_END; o++)
            option_line(f, g, o);
    }
}

static bool in_group(const command *k, const char *word)
{
    size_t n = strlen(word);
    return strncmp(k->name, word, n) == 0 && (k->name[n] == ' ' || !k->name[n]);
}

static void command_line(FILE *f, const command *k)
{
    char left[80];
    snprintf(left, sizeof left, "  %s%s%s", k->name, *k->args ? " " : "", k->args);
    fprintf(f, "%s", left);
    if ((int)strlen(left) + 2 > INDENT)
        fprintf(f, "\n%*s", INDENT, "");
    else
        fprintf(f, "%*s", INDENT - (int)strlen(left), "");
    wrap(f, k->what, INDENT, INDENT);
}

void help_group(FILE *f, const char *word)
{
    fprintf(f, "Usage: saelab %s COMMAND [options]\n\n", word);
    for (int i = 0; COMMANDS[i]; i++)
        if (in_group(COMMANDS[i], word))
            command_line(f, COMMANDS[i]);
    fprintf(f, "\n`saelab %s COMMAND --help` describes one.\n", word);
}

void help_overview(FILE *f)
{
    char group[32] = "";
    fprintf(f, "saelab %s, a laboratory for sparse autoencoders\n\nUsage: saelab COMMAND [options]\n", sl_version());
    for (int i = 0; COMMANDS[i]; i++) {
        const command *k = COMMANDS[i];
        char word[32];
        bool alone = !strchr(k->name, ' ');
        snprintf(word, sizeof word, "%.*s", (int)strcspn(k->name, " "), alone ? "-" : k->name);
        if (strcmp(word, group) != 0)
            fputc('\n', f);
        snprintf(group, sizeof group, "%s", word);
        command_line(f, k);
    }
    fprintf(f, "\n`saelab COMMAND --help` describes one, with its options and their defaults.\n"
               "Start with `saelab demo`; `saelab doctor` says what is missing.\n");
}
