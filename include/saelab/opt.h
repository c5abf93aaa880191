/* Option tables. One table per configuration struct gives the YAML check (unknown key, wrong type, out of range:
 * file:line:column), the command line flags, --help with defaults, the man page, completion and the resolved dump.
 * Numbers are parsed whole and finite; '-' and '_' are the same in names. */
#ifndef SAELAB_OPT_H
#define SAELAB_OPT_H

#include <saelab/ctx.h>

typedef enum sl_opt_type {
    SL_T_END, SL_T_INT /* int64_t */, SL_T_FLOAT /* double */, SL_T_BOOL /* bool */,
    SL_T_STR /* const char *, interned in the context */, SL_T_CHOICE /* int: index into choices */,
    SL_T_STRS /* sl_strs: repeatable flag, YAML list */
} sl_opt_type;

typedef struct sl_strs { const char **v; int n; } sl_strs;

typedef struct sl_opt {
    const char *name;              /* snake_case; the flag is --name with '-' for '_' */
    sl_opt_type type;
    size_t offset;                 /* in the configuration struct */
    double def;                    /* default of INT, FLOAT, BOOL, CHOICE */
    double min, max;               /* inclusive */
    const char *def_str;           /* default of STR; NULL is "none" */
    const char *const *choices;    /* NULL-terminated */
    const char *unit;              /* "latents", "1/step", "" */
    const char *help;
    char short_name;               /* 'o' for -o, 0 for none */
} sl_opt;

#define SL_OPT_INT(S, f, dflt, lo, hi, unit_, help_) \
    { .name = #f, .type = SL_T_INT, .offset = offsetof(S, f), .def = (dflt), .min = (lo), .max = (hi), .unit = (unit_), .help = (help_) }
#define SL_OPT_FLOAT(S, f, dflt, lo, hi, unit_, help_) \
    { .name = #f, .type = SL_T_FLOAT, .offset = offsetof(S, f), .def = (dflt), .min = (lo), .max = (hi), .unit = (unit_), .help = (help_) }
#define SL_OPT_BOOL(S, f, dflt, help_) \
    { .name = #f, .type = SL_T_BOOL, .offset = offsetof(S, f), .def = (dflt), .max = 1, .help = (help_) }
#define SL_OPT_STR(S, f, dflt, help_) \
    { .name = #f, .type = SL_T_STR, .offset = offsetof(S, f), .def_str = (dflt), .help = (help_) }
#define SL_OPT_CHOICE(S, f, dflt, choices_, help_) \
    { .name = #f, .type = SL_T_CHOICE, .offset = offsetof(S, f), .def = (dflt), .choices = (choices_), .help = (help_) }
#define SL_OPT_STRS(S, f, help_) { .name = #f, .type = SL_T_STRS, .offset = offsetof(S, f), .help = (help_) }
#define SL_OPT_END { .name = NULL, .type = SL_T_END }

/* Sets every field of cfg to its default. */
void sl_opts_default(const sl_opt *table, void *cfg);
/* Sets one field from text. `where` ("--lr", "experiment.yaml:4:9") opens the error line.
 * INT takes 200000 and 2e5, but not 2.5 or 1_000; BOOL true|yes|on|1 and false|no|off|0; STR "" is none (NULL);
 * STRS appends one item (a repeatable flag). Text must be UTF-8.
 * `code` (SL_ARG or SL_CONFIG) when the name is unknown (with the nearest one named), the text is not whole, not finite, out of
 * range or not among the choices; SL_MEM. The field is untouched on failure. */
sl_status sl_opts_set(sl_ctx *ctx, const sl_opt *table, void *cfg, const char *name, const char *text, const char *where,
                      sl_status code, sl_err *err) SL_USE_RESULT;
const sl_opt *sl_opts_find(const sl_opt *table, const char *name); /* NULL when there is none; '-' equals '_' */
/* The option that a mistyped name probably means, or NULL. */
const char *sl_opts_closest(const sl_opt *table, const char *name);
/* What a value must be: "a whole number from 1 to 64", "one of: adamw, muon". */
void sl_opts_expected(const sl_opt *o, char *out, size_t size);
/* The value of one field as text that sl_opts_set reads back to the same value (a list, which it appends to, is shown as [a, b]).
 * Returns snprintf's length. */
int sl_opts_text(const sl_opt *o, const void *cfg, char *out, size_t size);
/* "name: value" lines in table order, indented by `indent` spaces, that sl_opts_from_yaml reads back to the same values. put gets
 * pieces to append, the newlines among them. */
void sl_opts_dump(const sl_opt *table, const void *cfg, int indent, void (*put)(void *, const char *), void *user);

/* Parts that callers with words or numbers of their own use too. */
bool sl_parse_number(const char *text, double *out);       /* whole, finite, decimal; *out untouched when false */
bool sl_parse_int(const char *text, int64_t *out);         /* as INT above */
bool sl_name_equal(const char *a, const char *b);          /* '-' equals '_' */
int sl_name_distance(const char *a, const char *b);        /* edits (insert, delete, replace, swap neighbours) */
bool sl_name_close(const char *typed, const char *name);   /* near enough for "did you mean" */

/* ---- YAML: libyaml's node tree with line marks ---- */

typedef struct sl_yaml sl_yaml;            /* a parsed document */
typedef struct sl_ynode { const sl_yaml *doc; int id; } sl_ynode; /* id 0: none */

/* SL_MISSING (no file), SL_IO, SL_MEM, SL_CONFIG (syntax: file:line:column, more than one document, a key twice, a key that is not
 * a word, an alias, more than 32 levels, 1,024 keys a map or 4 MB). An empty file is a document whose root is SL_Y_NONE. */
sl_status sl_yaml_load(sl_ctx *ctx, const char *path, sl_yaml **out, sl_err *err) SL_USE_RESULT;
sl_status sl_yaml_parse(sl_ctx *ctx, const char *name, const char *text, size_t len, sl_yaml **out, sl_err *err) SL_USE_RESULT;
void sl_yaml_free(sl_yaml *y);
sl_ynode sl_yaml_root(const sl_yaml *y);
typedef enum sl_ykind { SL_Y_NONE, SL_Y_SCALAR, SL_Y_LIST, SL_Y_MAP } sl_ykind;
sl_ykind sl_ynode_kind(sl_ynode n);
const char *sl_ynode_text(sl_ynode n);     /* scalar text, else NULL */
int sl_ynode_len(sl_ynode n);              /* items of a list or pairs of a map */
sl_ynode sl_ynode_at(sl_ynode n, int i);   /* i-th item, or value of the i-th pair */
sl_ynode sl_ynode_key(sl_ynode n, int i);  /* key node of the i-th pair */
sl_ynode sl_ynode_get(sl_ynode map, const char *key); /* '-' equals '_' */
bool sl_ynode_is_null(sl_ynode n);         /* an empty value, ~ or null, unquoted */
void sl_ynode_where(sl_ynode n, char out[256]); /* "file:line:column", from 1 */
/* Walks a map: every key must be in the table; the fields named are set, the others stay. Keys in `skip` (NULL-terminated, may
 * be NULL) are left to the caller. A list where a scalar belongs is SL_CONFIG; null is none for text. No map at all (an empty
 * file or value) sets nothing. */
sl_status sl_opts_from_yaml(sl_ctx *ctx, const sl_opt *table, void *cfg, sl_ynode map, const char *const *skip, sl_err *err)
    SL_USE_RESULT;

#endif
