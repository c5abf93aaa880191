/* YAML documents through libyaml's node tree, with the limits that a file from anywhere needs: one document, plain keys that
 * appear once, no aliases (so the tree is a tree), bounded size and depth. The events are looked through before the tree is
 * made: libyaml's time grows with the square of the nesting, so that depth must be refused while it is read. */
#include "base/yaml.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum { MAX_DEPTH = 32, MAX_PAIRS = 1024, MAX_BYTES = 4 << 20 };

static const yaml_node_t *node_of(sl_ynode n)
{
    return n.doc && n.id > 0 ? &n.doc->tree.nodes.start[n.id - 1] : NULL;
}

static void mark_text(const char *name, yaml_mark_t at, char out[256])
{
    snprintf(out, 256, "%.200s:%zu:%zu", name, at.line + 1, at.column + 1);
}

/* ---- the tree ---- */

sl_ynode sl_yaml_root(const sl_yaml *y)
{
    bool empty = y->tree.nodes.start == y->tree.nodes.top;
    return (sl_ynode){ y, empty ? 0 : 1 };
}

sl_ykind sl_ynode_kind(sl_ynode n)
{
    const yaml_node_t *p = node_of(n);
    if (!p)
        return SL_Y_NONE;
    return p->type == YAML_SCALAR_NODE ? SL_Y_SCALAR : p->type == YAML_SEQUENCE_NODE ? SL_Y_LIST :
           p->type == YAML_MAPPING_NODE ? SL_Y_MAP : SL_Y_NONE;
}

const char *sl_ynode_text(sl_ynode n)
{
    return sl_ynode_kind(n) == SL_Y_SCALAR ? (const char *)node_of(n)->data.scalar.value : NULL;
}

bool sl_ynode_is_null(sl_ynode n)
{
    const char *text = sl_ynode_text(n);
    return text && node_of(n)->data.scalar.style == YAML_PLAIN_SCALAR_STYLE &&
           (!*text || strcmp(text, "~") == 0 || strcmp(text, "null") == 0);
}

int sl_ynode_len(sl_ynode n)
{
    const yaml_node_t *p = node_of(n);
    switch (sl_ynode_kind(n)) {
    case SL_Y_LIST: return (int)(p->data.sequence.items.top - p->data.sequence.items.start);
    case SL_Y_MAP: return (int)(p->data.mapping.pairs.top - p->data.mapping.pairs.start);
    default: return 0;
    }
}

sl_ynode sl_ynode_at(sl_ynode n, int i)
{
    sl_ynode out = { n.doc, 0 };
    if (i >= 0 && i < sl_ynode_len(n))
        out.id = sl_ynode_kind(n) == SL_Y_LIST ? node_of(n)->data.sequence.items.start[i] : node_of(n)->data.mapping.pairs.start[i].value;
    return out;
}

sl_ynode sl_ynode_key(sl_ynode n, int i)
{
    sl_ynode out = { n.doc, 0 };
    if (sl_ynode_kind(n) == SL_Y_MAP && i >= 0 && i < sl_ynode_len(n))
        out.id = node_of(n)->data.mapping.pairs.start[i].key;
    return out;
}

sl_ynode sl_ynode_get(sl_ynode map, const char *key)
{
    for (int i = 0; i < sl_ynode_len(map) && sl_ynode_kind(map) == SL_Y_MAP; i++)
        if (sl_name_equal(sl_ynode_text(sl_ynode_key(map, i)), key))
            return sl_ynode_at(map, i);
    return (sl_ynode){ map.doc, 0 };
}

void sl_ynode_where(sl_ynode n, char out[256])
{
    const yaml_node_t *p = node_of(n);
    if (p)
        mark_text(n.doc->name, p->start_mark, out);
    else
        snprintf(out, 256, "%.200s", n.doc ? n.doc->name : "");
}

/* ---- checks after loading ---- */

static sl_status bad(sl_ynode n, const char *expected, const char *what, sl_err *err)
{
    char where[256];
    sl_ynode_where(n, where);
    return sl_fail(err, SL_CONFIG, where, expected, "%s", what);
}

static sl_status check_keys(sl_ynode map, sl_err *err)
{
    if (sl_ynode_len(map) > MAX_PAIRS)
        return bad(map, "at most 1024", "too many keys in one map", err);
    for (int i = 0; i < sl_ynode_len(map); i++) {
        sl_ynode key = sl_ynode_key(map, i);
        const char *text = sl_ynode_text(key);
        if (!text || !*text)
            return bad(key, "key: value", "a key that is not one word", err);
        for (int j = 0; j < i; j++)
            if (sl_name_equal(text, sl_ynode_text(sl_ynode_key(map, j)))) {
                char what[160];
                snprintf(what, sizeof what, "the key '%.80s' is there twice", text);
                return bad(key, "each key once", what, err);
            }
    }
    return SL_OK;
}

static sl_status check_node(sl_ynode n, sl_err *err)
{
    const yaml_node_t *p = node_of(n);
    if (p->type == YAML_SCALAR_NODE && strlen((const char *)p->data.scalar.value) != p->data.scalar.length)
        return bad(n, "text without \\0", "text with a zero byte", err);
    bool map = p->type == YAML_MAPPING_NODE;
    if (map)
        SL_TRY(check_keys(n, err));
    for (int i = 0; i < sl_ynode_len(n); i++) {
        if (map)
            SL_TRY(check_node(sl_ynode_key(n, i), err));
        SL_TRY(check_node(sl_ynode_at(n, i), err));
    }
    return SL_OK;
}

/* ---- loading ---- */

static sl_status syntax_error(const yaml_parser_t *p, const char *name, sl_err *err)
{
    char where[256];
    if (p->error == YAML_MEMORY_ERROR)
        return sl_fail(err, SL_MEM, name, NULL, "no memory to read the file");
    if (p->error == YAML_READER_ERROR)
        snprintf(where, sizeof where, "%.200s: byte %zu", name, p->problem_offset);
    else
        mark_text(name, p->problem_mark, where);
    return sl_fail(err, SL_CONFIG, where, "YAML", "%s%s%s", p->context ? p->context : "", p->context ? ": " : "",
                   p->problem ? p->problem : "cannot be read");
}

static sl_status refuse(const char *name, yaml_mark_t at, const char *expected, const char *what, sl_err *err)
{
    char where[256];
    mark_text(name, at, where);
    return sl_fail(err, SL_CONFIG, where, expected, "%s", what);
}

static sl_status check_event(const yaml_event_t *e, const char *name, int *depth, int *documents, sl_err *err)
{
    switch (e->type) {
    case YAML_DOCUMENT_START_EVENT:
        return ++*documents > 1 ? refuse(name, e->start_mark, "one", "a second document starts here", err) : SL_OK;
    case YAML_ALIAS_EVENT: return refuse(name, e->start_mark, "the value written out", "an alias (*)", err);
    case YAML_SEQUENCE_START_EVENT:
    case YAML_MAPPING_START_EVENT:
        return ++*depth > MAX_DEPTH ? refuse(name, e->start_mark, "at most 32 levels", "nested too deeply", err) : SL_OK;
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT: --*depth; return SL_OK;
    default: return SL_OK;
    }
}

static sl_status check_events(yaml_parser_t *p, const char *name, sl_err *err)
{
    int depth = 0, documents = 0;
    for (bool end = false; !end;) {
        yaml_event_t e;
        if (!yaml_parser_parse(p, &e))
            return syntax_error(p, name, err);
        end = e.type == YAML_STREAM_END_EVENT;
        sl_status st = check_event(&e, name, &depth, &documents, err);
        yaml_event_delete(&e);
        SL_TRY(st);
    }
    return SL_OK;
}

static sl_status load_tree(yaml_parser_t *p, sl_yaml *y, sl_err *err)
{
    if (!yaml_parser_load(p, &y->tree))
        return syntax_error(p, y->name, err);
    y->loaded = true;
    sl_ynode root = sl_yaml_root(y);
    return root.id ? check_node(root, err) : SL_OK;
}

/* Two passes over the text: events, then the tree. */
static sl_status read_text(sl_yaml *y, const char *text, size_t len, sl_err *err)
{
    sl_status st = SL_OK;
    for (int pass = 0; pass < 2 && st == SL_OK; pass++) {
        yaml_parser_t p;
        if (!yaml_parser_initialize(&p))
            return sl_fail(err, SL_MEM, y->name, NULL, "no memory to read the file");
        yaml_parser_set_input_string(&p, (const unsigned char *)text, len);
        st = pass == 0 ? check_events(&p, y->name, err) : load_tree(&p, y, err);
        yaml_parser_delete(&p);
    }
    return st;
}

sl_status sl_yaml_parse(sl_ctx *ctx, const char *name, const char *text, size_t len, sl_yaml **out, sl_err *err)
{
    *out = NULL;
    if (len > MAX_BYTES)
        return sl_fail(err, SL_CONFIG, name, "at most 4 MB", "%zu bytes are too many for a configuration", len);
    sl_yaml *y = sl_alloc(ctx, sizeof *y);
    if (y) {
        y->ctx = ctx;
        y->name = sl_strdup(ctx, name);
    }
    sl_status st = y && y->name ? read_text(y, text, len, err) : sl_fail(err, SL_MEM, name, NULL, "no memory to read the file");
    if (st == SL_OK)
        *out = y;
    else
        sl_yaml_free(y);
    return st;
}

void sl_yaml_free(sl_yaml *y)
{
    if (!y)
        return;
    if (y->loaded)
        yaml_document_delete(&y->tree);
    sl_free(y->ctx, y->name);
    sl_free(y->ctx, y);
}

sl_status sl_yaml_load(sl_ctx *ctx, const char *path, sl_yaml **out, sl_err *err)
{
    *out = NULL;
    FILE *f = fopen(path, "rb");
    if (!f)
        return sl_fail(err, errno == ENOENT ? SL_MISSING : SL_IO, path, "a YAML file", "%s", strerror(errno));
    char *text = sl_alloc(ctx, MAX_BYTES + 1);
    size_t n = text ? fread(text, 1, MAX_BYTES + 1, f) : 0;
    int bad_read = text && ferror(f) ? errno : 0;
    fclose(f);
    sl_status st = !text ? sl_fail(err, SL_MEM, path, NULL, "no memory to read the file") :
                   bad_read ? sl_fail(err, SL_IO, path, "a YAML file", "%s", strerror(bad_read)) :
                   sl_yaml_parse(ctx, path, text, n, out, err);
    sl_free(ctx, text);
    return st;
}
