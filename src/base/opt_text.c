/* Values back to text: shortest decimals that read back to the same double, and YAML lines that read back to the same table. */
#include "base/utf8.h"

#include <saelab/opt.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int double_text(double v, char *out, size_t size)
{
    int n = 0;
    for (int digits = 15; digits <= 17; digits++) {
        n = snprintf(out, size, "%.*g", digits, v);
        if (n < 0 || (size_t)n >= size || strtod(out, NULL) == v)
            break;
    }
    return n;
}

typedef struct sink { void (*put)(void *, const char *); void *user; } sink;

static void put_code_point(sink s, const char *bytes, size_t len, uint32_t cp)
{
    char t[16];
    bool special = cp < 0x20 || (cp >= 0x7f && cp < 0xa0) || cp == 0xfeff || cp == 0x2028 || cp == 0x2029 || (cp & 0xfffe) == 0xfffe;
    if (special)
        snprintf(t, sizeof t, "\\U%08x", (unsigned)cp); /* libyaml refuses these unescaped */
    else
        snprintf(t, sizeof t, "%s%.*s", cp == '"' || cp == '\\' ? "\\" : "", (int)len, bytes);
    s.put(s.user, t);
}

static bool plain(const char *s)
{
    static const char *const safe = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./-";
    bool starts = (*s >= 'a' && *s <= 'z') || (*s >= 'A' && *s <= 'Z') || *s == '/' || *s == '.';
    return starts && strspn(s, safe) == strlen(s) && strcmp(s, "null") != 0 && strncmp(s, "...", 3) != 0;
}

static void put_string(sink s, const char *text)
{
    if (plain(text)) {
        s.put(s.user, text);
        return;
    }
    s.put(s.user, "\"");
    uint32_t cp;
    for (size_t n = strlen(text); n > 0;) {
        size_t len = sl_utf8_decode(text, n, &cp);
        if (len == 0) { /* cannot come from sl_opts_set; a default of the program's own */
            len = 1;
            cp = 0xfffd;
            put_code_point(s, "\xef\xbf\xbd", 3, cp);
        } else {
            put_code_point(s, text, len, cp);
        }
        text += len;
        n -= len;
    }
    s.put(s.user, "\"");
}

static void put_list(sink s, const sl_strs *l)
{
    s.put(s.user, "[");
    for (int i = 0; i < l->n; i++) {
        s.put(s.user, i ? ", " : "");
        put_string(s, l->v[i]);
    }
    s.put(s.user, "]");
}

/* Appends to a bounded text, counting what would have been written, as snprintf does. */
typedef struct bounded { char *out; size_t size, n; } bounded;

static void bounded_put(void *user, const char *text)
{
    bounded *b = user;
    for (; *text; text++, b->n++)
        if (b->n + 1 < b->size)
            b->out[b->n] = *text;
    if (b->size > 0)
        b->out[b->n < b->size ? b->n : b->size - 1] = 0;
}

int sl_opts_text(const sl_opt *o, const void *cfg, char *out, size_t size)
{
    const void *p = (const char *)cfg + o->offset;
    switch (o->type) {
    case SL_T_INT: return snprintf(out, size, "%lld", (long long)*(const int64_t *)p);
    case SL_T_FLOAT: return double_text(*(const double *)p, out, size);
    case SL_T_BOOL: return snprintf(out, size, "%s", *(const bool *)p ? "true" : "false");
    case SL_T_CHOICE: return snprintf(out, size, "%s", o->choices[*(const int *)p]);
    case SL_T_STR: {
        const char *s = *(const char *const *)p;
        return snprintf(out, size, "%s", s ? s : "");
    }
    case SL_T_STRS: {
        bounded b = { out, size, 0 };
        if (size > 0)
            out[0] = 0;
        put_list((sink){ bounded_put, &b }, p);
        return (int)b.n;
    }
    case SL_T_END: break;
    }
    return 0;
}

void sl_opts_dump(const sl_opt *table, const void *cfg, int indent, void (*put)(void *, const char *), void *user)
{
    sink s = { put, user };
    char text[128];
    for (const sl_opt *o = table; o->type != SL_T_END; o++) {
        const void *p = (const char *)cfg + o->offset;
        for (int i = 0; i < indent; i++)
            put(user, " ");
        put(user, o->name);
        put(user, ": ");
        if (o->type == SL_T_STR) {
            const char *str = *(const char *const *)p;
            if (str)
                put_string(s, str);
            else
                put(user, "null");
        } else if (o->type == SL_T_STRS) {
            put_list(s, p);
        } else {
            sl_opts_text(o, cfg, text, sizeof text);
            put(user, text);
        }
        put(user, "\n");
    }
}
