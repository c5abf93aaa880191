/* YAML documents through libyaml's node tree, with the limits that a file from anywhere needs: one document, plain keys that
 * appear once, no aliases (so the tree is a tree), bounded size and depth. */
#include "base/yaml.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum { MAX_DEPTH = 32, MAX_PAIRS = 4096, MAX_BYTES = 4 << 20 };

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
        return bad(map, "at most 4096", "too many keys in one map", err);
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

/* Depth first; `seen` finds a node reached twice, which only an alias can do (a cycle, too, ends there). */
static sl_status check_node(sl_ynode n, int depth, bool *seen, sl_err *err)
{
    const yaml_node_t *p = node_of(n);
    if (depth > MAX_DEPTH)
        return bad(n, "at most 32 levels", "nested too deeply", err);
    if (seen[n.id - 1])
        return bad(n, "the value written out", "used again through an alias (*)", err);
    seen[n.id - 1] = true;
    if (p->type == YAML_SCALAR_NODE && strlen((const char *)p->data.scalar.value) != p->data.scalar.length)
        return bad(n, "text without \\0", "text with a zero byte", err);
    bool map = p->type == YAML_MAPPING_NODE;
    if (map)
        SL_TRY(check_keys(n, err));
    for (int i = 0; i < sl_ynode_len(n); i++) {
        if (map)
            SL_TRY(check_node(sl_ynode_key(n, i), depth + 1, seen, err));
        SL_TRY(check_node(sl_ynode_at(n, i), depth + 1, seen, err));
    }
    return SL_OK;
}

static sl_status check_tree(sl_ctx *ctx, const sl_yaml *y, sl_err *err)
{
    size_t n = (size_t)(y->tree.nodes.top - y->tree.nodes.start);
    if (n == 0)
        return SL_OK;
    bool *seen = sl_alloc(ctx, n * sizeof *seen);
    if (!seen)
        return sl_fail(err, SL_MEM, y->name, NULL, "no memory to check the file");
    sl_status st = check_node(sl_yaml_root(y), 1, seen, err);
    sl_free(ctx, seen);
    return st;
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

/* Loads the one document; `more` is a second one that must be empty. */
static sl_status load_documents(yaml_parser_t *p, sl_yaml *y, sl_err *err)
{
    yaml_document_t more;
    if (!yaml_parser_load(p, &y->tree))
        return syntax_error(p, y->name, err);
    y->loaded = true;
    if (y->tree.nodes.start == y->tree.nodes.top)
        return SL_OK;
    if (!yaml_parser_load(p, &more))
        return syntax_error(p, y->name, err);
    bool second = more.nodes.start != more.nodes.top;
    char where[256];
    mark_text(y->name, more.start_mark, where);
    yaml_document_delete(&more);
    return second ? sl_fail(err, SL_CONFIG, where, "one", "a second document starts here") : SL_OK;
}

sl_status sl_yaml_parse(sl_ctx *ctx, const char *name, const char *text, size_t len, sl_yaml **out, sl_err *err)
{
    yaml_parser_t p;
    *out = NULL;
    if (len > MAX_BYTES)
        return sl_fail(err, SL_CONFIG, name, "at most 4 MB", "%zu bytes are too many for a configuration", len);
    sl_yaml *y = sl_alloc(ctx, sizeof *y);
    if (!y || !(y->name = sl_strdup(ctx, name)) || !yaml_parser_initialize(&p)) {
        if (y)
            sl_free(ctx, y->name);
        sl_free(ctx, y);
        return sl_fail(err, SL_MEM, name, NULL, "no memory to read the file");
    }
    y->ctx = ctx;
    yaml_parser_set_input_string(&p, (const unsigned char *)text, len);
    sl_status st = load_documents(&p, y, err);
    yaml_parser_delete(&p);
    if (st == SL_OK)
        st = check_tree(ctx, y, err);
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
