/* The manual page, saelab(1), from the tables that --help uses: `saelab man | man -l -`. */
#include "cli.h"

#include <stdlib.h>
#include <string.h>

/* Text with what roff would take for itself escaped; a newline becomes a line break. */
static void roff(FILE *f, const char *s)
{
    for (; *s; s++) {
        if (*s == '\\')
            fputs("\\e", f);
        else if (*s == '-')
            fputs("\\-", f);
        else if (*s == '\'')
            fputs("\\(aq", f);
        else if (*s == '`')
            fputs("\\(ga", f);
        else if (*s == '\n')
            fputs("\n.br\n", f);
        else if (*s == '.')
            fputs("\\&.", f);
        else
            fputc(*s, f);
    }
}

/* g: the group of a command; NULL: a variant's option with defaults in cfg */
static void option_entry(FILE *f, const live_group *g, const sl_opt *o, const void *cfg)
{
    char name[64], text[1024];
    bool on = o->type == SL_T_BOOL && *(const bool *)((const char *)cfg + o->offset);
    (on ? flag_negative : flag_name)(g, o, name);
    fputs(".TP\n", f);
    if (o->short_name)
        fprintf(f, "\\fB\\-%c\\fR, ", o->short_name);
    fputs("\\fB\\-\\-", f);
    roff(f, name);
    fprintf(f, "\\fR%s%s\n", *value_word(o) ? " " : "", value_word(o));
    option_text(o, cfg, text, sizeof text);
    roff(f, text);
    fputc('\n', f);
}

static void options(FILE *f, const live_group *g, bool common_too, const cli *c)
{
    for (; g->table; g++)
        if (common_too == (g->base == &c->com))
            for (const sl_opt *o = g->table; o->type != SL_T_END; o++)
                option_entry(f, g, o, g->base);
}

static void command_section(FILE *f, const cli *c)
{
    const command *k = c->cmd;
    fputs(".SS saelab ", f);
    roff(f, k->name);
    fprintf(f, " %s\n", k->args);
    roff(f, k->what);
    if (k->text) {
        fputs("\n.PP\n", f);
        roff(f, k->text);
    }
    fputc('\n', f);
    if (k->examples) {
        fputs(".PP\n.nf\n", f);
        for (const char *s = k->examples; *s; s += strcspn(s, "\n") + 1) {
            char line[256];
            snprintf(line, sizeof line, "%.*s", (int)strcspn(s, "\n"), s);
            roff(f, line);
            fputc('\n', f);
        }
        fputs(".fi\n", f);
    }
    options(f, c->group, false, c);
}

static void one_command(FILE *f, const command *k, bool common_too)
{
    sl_err err;
    cli c = { .cmd = k, .cfg = calloc(1, k->cfg_size + 1) };
    if (c.cfg && args_defaults(&c, NULL, NULL, &err) == SL_OK) {
        if (common_too)
            options(f, c.group, true, &c);
        else
            command_section(f, &c);
    }
    free(c.cfg);
}

static void variants(FILE *f)
{
    _Alignas(max_align_t) char buffer[VARIANT_BYTES];
    for (int i = 0; sl_variant_at(i); i++) {
        const sl_variant_info *v = sl_variant_at(i);
        fputs(".SS variant ", f);
        roff(f, v->name);
        fputc('\n', f);
        roff(f, v->what);
        fputc('\n', f);
        if (v->opts_size <= sizeof buffer) {
            sl_opts_default(v->opts, buffer);
            for (const sl_opt *o = v->opts; o->type != SL_T_END; o++)
                option_entry(f, NULL, o, buffer);
        }
    }
}

void man_page(FILE *f)
{
    fprintf(f, ".TH SAELAB 1 \"\" \"saelab %s\" \"User Commands\"\n", sl_version());
    fputs(".SH NAME\nsaelab \\- a laboratory for sparse autoencoders\n"
          ".SH SYNOPSIS\n.B saelab\n.I command\n[arguments] [options]\n"
          ".SH DESCRIPTION\nTrains or loads a transformer language model, captures its activations, trains sparse autoencoders on them,\n"
          "measures whether an idea helped, and shows the features.\n"
          "Results go to standard output, progress and messages to standard error.\n"
          "In option names \\- and _ are the same.\n.SH COMMANDS\n", f);
    for (int i = 0; COMMANDS[i]; i++)
        one_command(f, COMMANDS[i], false);
    fputs(".SH SAE VARIANTS\nOptions that each variant of an SAE adds to \\fBsaelab sae train\\fR.\n", f);
    variants(f);
    fputs(".SH OPTIONS OF EVERY COMMAND\n", f);
    one_command(f, COMMANDS[0], true);
    fputs(".SH EXIT STATUS\n.TP\n0\ndone\n.TP\n1\nfailed\n.TP\n2\nwrong usage or configuration\n.TP\n130, 143\n"
          "stopped by SIGINT or SIGTERM, after a checkpoint: the same command resumes\n"
          ".SH ENVIRONMENT\n.TP\nSAELAB_DATA\nwhere texts are looked for\n.TP\nSAELAB_CACHE\nthe cache folder (else $XDG_CACHE_HOME/saelab, ~/.cache/saelab)\n"
          ".TP\nNO_COLOR\nno colours when set\n", f);
}
