/* The command line: what a command is, how its options are described, and how it speaks.
 *
 *   main.c     finds the command, makes the context, runs it, reports        commands.c  the list of all commands
 *   args.c     popt tables from option tables; defaults < preset < file < flags
 *   help.c     --help       man.c  the man page       complete.c  bash completion       all from the same tables
 *   ui.c       progress and log events on stderr      out.c  results on stdout, as text or one JSON document
 *
 * Results go to stdout, chatter to stderr. This folder includes only <saelab/...>, popt and jansson. */
#ifndef SL_CLI_H
#define SL_CLI_H

#include <saelab/saelab.h>

#include <jansson.h>
#include <stdio.h>

typedef struct cli cli;

/* One option table of a command: it fills the struct at `offset` of the command's configuration. */
typedef struct opt_group {
    const char *title;      /* heading in --help; NULL ends the list */
    const char *section;    /* key in a configuration file; NULL: top level (at most one group) */
    const sl_opt *table;    /* NULL: the options of the SAE variant that was asked for */
    size_t offset;
} opt_group;

/* A group with the struct that it fills. */
typedef struct live_group { const char *title, *section; const sl_opt *table; void *base; const char *prefix; /* of its flags, or NULL */ } live_group;

enum { MAX_GROUPS = 8, VARIANT_BYTES = 256 /* room for any variant's options */ };

typedef struct command {
    const char *name;       /* "lm train" */
    const char *args;       /* "LM", "PATH...", "" */
    int min_args, max_args; /* max -1: any number */
    const char *what;       /* one line of the overview */
    const char *text;       /* a paragraph or two for --help; NULL: none */
    const char *examples;   /* lines, each a whole command; NULL: none */
    const opt_group *groups;
    size_t cfg_size;
    bool has_config_file;   /* takes --config FILE */
    bool has_sweep;         /* which may have a section `sweep`, that the command reads itself */
    const char *prefixed;   /* the section whose flags begin with its name, as --perturb-eps; NULL: none */
    /* After defaults, file and flags were read once: fills what a preset says; file and flags are then read again on top. NULL: none */
    sl_status (*preset)(cli *c, sl_err *err);
    sl_status (*run)(cli *c, sl_err *err);
} command;

extern const command *const COMMANDS[]; /* NULL-terminated, in the order of the overview */
extern const sl_opt COMMON[];           /* flags of every command */

typedef struct common {
    int64_t threads;
    int precision;          /* f32|bf16 */
    const char *data_dir, *kern;
    bool json;
    int progress;
    bool quiet, verbose, help;
} common;
enum { PROGRESS_AUTO, PROGRESS_BAR, PROGRESS_PLAIN, PROGRESS_JSON, PROGRESS_OFF };

typedef struct ui ui;
typedef struct flag { const live_group *group; const sl_opt *opt; bool negative; const char *text; } flag;

struct cli {
    const command *cmd;
    sl_ctx *words;          /* keeps the strings of the configuration; made before the flags are known, does no work */
    sl_ctx *ctx;
    common com;
    void *cfg;              /* the command's configuration, cmd->cfg_size bytes */
    const char *config;     /* --config FILE, or NULL */
    const char *config_more;/* further lines of config.yaml, or NULL */
    live_group group[MAX_GROUPS]; /* the command's groups, then those of every command; ended by table NULL */
    flag *flags;            /* the options of the command line, in order */
    int n_flags;
    const char **args;      /* positional arguments */
    int n_args;
    json_t *result;         /* what --json prints under "result"; the command fills it */
    char next[512];         /* what to do next, for the last line */
    ui *ui;
};

/* ---- args.c ---- */

/* Reads argv (after the command's words) into c->cfg, c->com and c->args. SL_ARG, SL_CONFIG, SL_MEM. */
sl_status args_read(cli *c, int argc, const char **argv, sl_err *err);
/* The same, and what the preset says: what --help shows. NULL: the default ones. Needs c->words for a preset. */
sl_status args_defaults(cli *c, const char *variant, const char *preset, sl_err *err);
/* --help for this command, with the options of the variant that is named. */
sl_status args_help(cli *c, int argc, const char **argv, sl_err *err);
void args_release(cli *c);
bool args_given(const cli *c, const char *option); /* was it on the command line? */
/* --json, -q and --help have to work before the rest is understood: is this bare flag there? */
bool args_has(int argc, const char **argv, const char *long_name, char short_name);

/* ---- config.c ---- */

/* Reads the --config file into the groups; a key that no group has is an error with its place. */
sl_status config_read(cli *c, sl_err *err);
/* The text of section.key in the --config file, interned; NULL when it is not there: for what decides which tables there are. */
sl_status config_peek(cli *c, const char *section, const char *key, const char **out, sl_err *err);
/* Makes the folder `dir` for this command: new or empty, or one of an earlier start of the same command with the same configuration (then
 * *again is true). Anything else is SL_ARG and stays untouched. dir/config.yaml holds everything resolved, as --config reads it back. */
sl_status config_claim(cli *c, const char *dir, bool *again, sl_err *err);

/* ---- help.c, man.c, complete.c ---- */

void help_overview(FILE *f);
void help_group(FILE *f, const char *word);   /* commands that begin with this word */
void help_command(FILE *f, const cli *c);
void man_page(FILE *f);
void completion_bash(FILE *f);
/* "N" or "DIR": what stands for the value in help. */
const char *value_word(const sl_opt *o);
/* "active latents (1 to 64; default 32)" */
void option_text(const sl_opt *o, const void *defaults, char *out, size_t size);
/* The flag of an option without its dashes: d_sae -> d-sae; of a group with a prefix: eps -> perturb-eps. NULL: of no group. */
void flag_name(const live_group *g, const sl_opt *o, char out[64]);
/* "no-cache" for cache, "cache" for no_cache */
void flag_negative(const live_group *g, const sl_opt *o, char out[64]);

/* ---- ui.c ---- */

ui *ui_new(const common *c); /* NULL without memory */
void ui_free(ui *u);         /* ends an open bar */
void ui_event(void *u, const sl_event *e);
bool ui_colour(FILE *f);     /* a terminal, and NO_COLOR is not set */

/* ---- out.c ---- */

/* Text for stdout; silent with --json. */
void say(const cli *c, const char *fmt, ...) SL_PRINTF(2, 3);
void next_step(cli *c, const char *fmt, ...) SL_PRINTF(2, 3);
/* A table with aligned columns, n_rows rows of n_cols texts. With a heading (the first row), columns of numbers go to the right. */
void say_table(const cli *c, bool heading, int n_rows, int n_cols, const char *const *cells);
/* "1,234,567", "4.4 MB", "1:02:03" */
const char *text_count(char out[32], int64_t n);
const char *text_bytes(char out[32], int64_t n);
const char *text_time(char out[32], double seconds);
json_t *json_real_or_null(double v); /* null when not finite */
/* The document of --json. */
void out_result(const cli *c);
void out_error(const char *name, const sl_err *err);
/* 0, 1, 2, or 128 + signal */
int exit_code(const cli *c, sl_status st);
sl_status out_file(const char *path, const char *text, sl_err *err); /* whole or not at all */

#endif
