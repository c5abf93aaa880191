/* Option tables: defaults, reading one value from text, finding a name. Numbers are read whole: strtod would stop quietly at
 * "1e3x" and take "nan", "inf" and hexadecimal, so the characters are checked first. */
#include "base/utf8.h"

#include <saelab/opt.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *field(void *cfg, const sl_opt *o) { return (char *)cfg + o->offset; }

void sl_opts_default(const sl_opt *table, void *cfg)
{
    for (const sl_opt *o = table; o->type != SL_T_END; o++) {
        void *p = field(cfg, o);
        switch (o->type) {
        case SL_T_INT: *(int64_t *)p = (int64_t)o->def; break;
        case SL_T_FLOAT: *(double *)p = o->def; break;
        case SL_T_BOOL: *(bool *)p = o->def != 0; break;
        case SL_T_STR: *(const char **)p = o->def_str; break;
        case SL_T_CHOICE: *(int *)p = (int)o->def; break;
        case SL_T_STRS: *(sl_strs *)p = (sl_strs){ NULL, 0 }; break;
        case SL_T_END: break;
        }
    }
}

/* ---- names ---- */

static char fold(char c) { return c == '-' ? '_' : c; }

bool sl_name_equal(const char *a, const char *b)
{
    for (; *a && fold(*a) == fold(*b); a++, b++)
        ;
    return fold(*a) == fold(*b);
}

const sl_opt *sl_opts_find(const sl_opt *table, const char *name)
{
    for (const sl_opt *o = table; o->type != SL_T_END; o++)
        if (sl_name_equal(o->name, name))
            return o;
    return NULL;
}

/* Optimal string alignment: insertions, deletions, substitutions and swaps of neighbours, each 1. */
int sl_name_distance(const char *a, const char *b)
{
    enum { MAX = 48 };
    int na = (int)strlen(a), nb = (int)strlen(b), d[MAX + 1][MAX + 1];
    if (na > MAX || nb > MAX)
        return na > nb ? na : nb;
    for (int i = 0; i <= na; i++)
        d[i][0] = i;
    for (int j = 0; j <= nb; j++)
        d[0][j] = j;
    for (int i = 1; i <= na; i++)
        for (int j = 1; j <= nb; j++) {
            bool same = fold(a[i - 1]) == fold(b[j - 1]);
            int v = d[i - 1][j - 1] + !same;
            if (d[i - 1][j] + 1 < v)
                v = d[i - 1][j] + 1;
            if (d[i][j - 1] + 1 < v)
                v = d[i][j - 1] + 1;
            if (i > 1 && j > 1 && fold(a[i - 1]) == fold(b[j - 2]) && fold(a[i - 2]) == fold(b[j - 1]) && d[i - 2][j - 2] + 1 < v)
                v = d[i - 2][j - 2] + 1;
            d[i][j] = v;
        }
    return d[na][nb];
}

bool sl_name_close(const char *typed, const char *name)
{
    size_t n = strlen(typed);
    int allowed = n < 3 ? 1 : n < 6 ? 2 : (int)n / 3;
    bool prefix = n >= 2 && strncmp(typed, name, n) == 0;
    return prefix || (sl_name_distance(typed, name) <= allowed && sl_name_distance(typed, name) < (int)n);
}

const char *sl_opts_closest(const sl_opt *table, const char *name)
{
    const char *best = NULL;
    for (const sl_opt *o = table; o->type != SL_T_END; o++)
        if (sl_name_close(name, o->name) && (!best || sl_name_distance(name, o->name) < sl_name_distance(name, best)))
            best = o->name;
    return best;
}

/* "one of: a, b, c", cut at a whole name with "..." when it does not fit. */
static void append_name(char *out, size_t size, const char *name, bool first)
{
    size_t n = strlen(out);
    bool cut = n >= 4 && strcmp(out + n - 4, " ...") == 0;
    if (cut)
        return;
    if (n + strlen(name) + 8 < size)
        snprintf(out + n, size - n, "%s%s", first ? "" : ", ", name);
    else
        snprintf(out + n, size - n, ", ...");
}

static sl_status unknown(const sl_opt *table, const char *name, const char *where, sl_status code, sl_err *err)
{
    char names[256] = "one of: ", hint[96] = "";
    for (const sl_opt *o = table; o->type != SL_T_END; o++)
        append_name(names, sizeof names, o->name, o == table);
    const char *close = sl_opts_closest(table, name);
    if (close)
        snprintf(hint, sizeof hint, "; did you mean '%s'?", close);
    return sl_fail(err, code, where, table->type == SL_T_END ? "no options here" : names, "unknown option '%s'%s", name, hint);
}

/* ---- values ---- */

bool sl_parse_number(const char *text, double *out)
{
    char *end;
    size_t n = strlen(text);
    if (n == 0 || strspn(text, "0123456789+-.eE") != n)
        return false;
    double v = strtod(text, &end);
    if (*end || !isfinite(v))
        return false;
    *out = v;
    return true;
}

/* Plain decimals keep all 63 bits; 1e6 and 2.5e3 are taken while a double holds them exactly. */
bool sl_parse_int(const char *text, int64_t *out)
{
    static const char *const BIG = "9223372036854775807";
    const char *digits = text + (*text == '-' || *text == '+');
    double v;
    if (*digits && strspn(digits, "0123456789") == strlen(digits)) {
        while (*digits == '0' && digits[1])
            digits++;
        if (strlen(digits) > 19 || (strlen(digits) == 19 && strcmp(digits, BIG) > 0))
            return false;
        *out = strtoll(text, NULL, 10);
        return true;
    }
    if (!sl_parse_number(text, &v) || v != floor(v) || fabs(v) > 9007199254740992.0)
        return false;
    *out = (int64_t)v;
    return true;
}

static bool parse_bool(const char *text, bool *out)
{
    static const char *const yes[] = { "true", "yes", "on", "1", NULL }, *const no[] = { "false", "no", "off", "0", NULL };
    for (int i = 0; yes[i]; i++)
        if (strcmp(text, yes[i]) == 0 || strcmp(text, no[i]) == 0) {
            *out = strcmp(text, yes[i]) == 0;
            return true;
        }
    return false;
}

/* What a value must be, for error lines and --help: "a whole number from 1 to 64", "one of: a, b". */
void sl_opts_expected(const sl_opt *o, char *out, size_t size)
{
    const char *kind = o->type == SL_T_INT ? "a whole number" : "a number";
    bool has_max = o->max < 1e15, has_min = o->min > -1e15;
    switch (o->type) {
    case SL_T_INT:
    case SL_T_FLOAT:
        if (has_min && has_max)
            snprintf(out, size, "%s from %.10g to %.10g", kind, o->min, o->max);
        else if (has_min)
            snprintf(out, size, "%s of at least %.10g", kind, o->min);
        else if (has_max)
            snprintf(out, size, "%s of at most %.10g", kind, o->max);
        else
            snprintf(out, size, "%s", kind);
        break;
    case SL_T_BOOL: snprintf(out, size, "true or false"); break;
    case SL_T_CHOICE:
        snprintf(out, size, "one of: ");
        for (int i = 0; o->choices[i]; i++)
            append_name(out, size, o->choices[i], i == 0);
        break;
    default: snprintf(out, size, "text"); break;
    }
}

static bool set_number(const sl_opt *o, void *p, const char *text)
{
    double v;
    int64_t i;
    if (o->type == SL_T_FLOAT) {
        if (!sl_parse_number(text, &v) || v < o->min || v > o->max)
            return false;
        *(double *)p = v;
        return true;
    }
    if (!sl_parse_int(text, &i) || (double)i < o->min || (double)i > o->max)
        return false;
    *(int64_t *)p = i;
    return true;
}

static bool set_choice(const sl_opt *o, void *p, const char *text)
{
    for (int i = 0; o->choices[i]; i++)
        if (sl_name_equal(o->choices[i], text)) {
            *(int *)p = i;
            return true;
        }
    return false;
}

/* STRS: a new array each time, so that copies of a configuration never share one that grows. */
static sl_status set_text(sl_ctx *ctx, const sl_opt *o, void *p, const char *text, const char *where, sl_err *err)
{
    const char *copy = *text ? sl_intern(ctx, text) : NULL;
    if (*text && !copy)
        return sl_fail(err, SL_MEM, where, NULL, "no memory for the text");
    if (o->type == SL_T_STR) {
        *(const char **)p = copy;
        return SL_OK;
    }
    sl_strs *l = p;
    const char **v = sl_keep(ctx, ((size_t)l->n + 1) * sizeof *v);
    if (!v)
        return sl_fail(err, SL_MEM, where, NULL, "no memory for the list");
    if (l->n > 0)
        memcpy(v, l->v, (size_t)l->n * sizeof *v);
    v[l->n] = copy ? copy : "";
    *l = (sl_strs){ v, l->n + 1 };
    return SL_OK;
}

sl_status sl_opts_set(sl_ctx *ctx, const sl_opt *table, void *cfg, const char *name, const char *text, const char *where,
                      sl_status code, sl_err *err)
{
    const sl_opt *o = sl_opts_find(table, name);
    if (!o)
        return unknown(table, name, where, code, err);
    void *p = field(cfg, o);
    bool ok = true;
    switch (o->type) {
    case SL_T_INT:
    case SL_T_FLOAT: ok = set_number(o, p, text); break;
    case SL_T_BOOL: ok = parse_bool(text, p); break;
    case SL_T_CHOICE: ok = set_choice(o, p, text); break;
    case SL_T_STR:
    case SL_T_STRS:
        if (!sl_utf8_valid(text, strlen(text), NULL))
            return sl_fail(err, code, where, "UTF-8 text", "%s is not UTF-8", o->name);
        return set_text(ctx, o, p, text, where, err);
    case SL_T_END: break;
    }
    if (ok)
        return SL_OK;
    char expected[256];
    sl_opts_expected(o, expected, sizeof expected);
    return sl_fail(err, code, where, expected, "%s is '%.80s'", o->name, text);
}
