/* The machine of pickle.h. Every opcode takes at least a byte and makes at most a constant number of values, so that memory and time
 * are linear in the pickle's size. Opcodes and their operands: Python's pickletools. */
#include "io/pickle.h"

#include <inttypes.h>
#include <string.h>

enum { MAX_PICKLE = 8 << 20, MAX_TEXT = 1 << 16 };

typedef struct machine {
    const char *file;
    const uint8_t *data;
    size_t n, at, op_at;    /* op_at: where the current opcode is */
    sl_arena *arena;
    sl_pk **stack, **memo;
    size_t n_stack, cap_stack, n_memo, cap_memo;
    sl_pk *result;
} machine;

typedef struct callable { const char *module, *name; sl_pk_name what; sl_dtype dtype; } callable;
static const callable CALLABLES[] = {
    { "collections", "OrderedDict", SL_PK_ORDERED_DICT, SL_F32 },
    { "torch._utils", "_rebuild_tensor_v2", SL_PK_REBUILD_TENSOR, SL_F32 },
    { "torch._utils", "_rebuild_parameter", SL_PK_REBUILD_PARAMETER, SL_F32 },
    { "torch", "FloatStorage", SL_PK_DTYPE, SL_F32 },   { "torch", "DoubleStorage", SL_PK_DTYPE, SL_F64 },
    { "torch", "HalfStorage", SL_PK_DTYPE, SL_F16 },    { "torch", "BFloat16Storage", SL_PK_DTYPE, SL_BF16 },
    { "torch", "CharStorage", SL_PK_DTYPE, SL_I8 },     { "torch", "ByteStorage", SL_PK_DTYPE, SL_U8 },
    { "torch", "IntStorage", SL_PK_DTYPE, SL_I32 },     { "torch", "LongStorage", SL_PK_DTYPE, SL_I64 },
    { "torch", "BoolStorage", SL_PK_DTYPE, SL_BOOL },
};

static sl_status bad(const machine *m, const char *expected, sl_err *err, const char *what)
{
    return sl_fail(err, SL_DATA, m->file, expected, "byte %zu of the pickle: %s", m->op_at, what);
}

static sl_status no_memory(const machine *m, sl_err *err)
{
    return sl_fail(err, SL_MEM, m->file, NULL, "no memory to read the pickle");
}

/* ---- bytes ---- */

static sl_status need(const machine *m, uint64_t n, sl_err *err)
{
    return n <= m->n - m->at ? SL_OK : sl_fail(err, SL_DATA, m->file, NULL, "byte %zu of the pickle: it is cut off", m->n);
}

/* Little-endian, n up to 8 bytes. */
static sl_status take_uint(machine *m, int n, uint64_t *out, sl_err *err)
{
    SL_TRY(need(m, (uint64_t)n, err));
    *out = 0;
    for (int i = 0; i < n; i++)
        *out |= (uint64_t)m->data[m->at + (size_t)i] << (8 * i);
    m->at += (size_t)n;
    return SL_OK;
}

static sl_status take_text(machine *m, uint64_t n, const char **out, sl_err *err)
{
    SL_TRY(need(m, n, err));
    if (n > MAX_TEXT || memchr(m->data + m->at, 0, (size_t)n))
        return bad(m, "at most 65536 bytes, none of them 0", err, "a text that cannot be a name");
    char *copy = sl_arena_alloc(m->arena, (size_t)n + 1);
    if (!copy)
        return no_memory(m, err);
    memcpy(copy, m->data + m->at, (size_t)n);
    copy[n] = 0;
    m->at += (size_t)n;
    *out = copy;
    return SL_OK;
}

/* Up to a newline, as GLOBAL has its names. */
static sl_status take_line(machine *m, const char **out, sl_err *err)
{
    const uint8_t *end = memchr(m->data + m->at, '\n', m->n - m->at);
    if (!end)
        return need(m, m->n - m->at + 1, err);
    SL_TRY(take_text(m, (uint64_t)(end - (m->data + m->at)), out, err));
    m->at++;
    return SL_OK;
}

/* ---- stack and memo ---- */

static bool grow(const machine *m, sl_pk ***v, size_t *cap, size_t want)
{
    size_t more = *cap ? 2 * *cap : 64;
    while (more < want)
        more *= 2;
    sl_pk **next = sl_arena_alloc(m->arena, more * sizeof *next);
    if (!next)
        return false;
    memset(next, 0, more * sizeof *next);
    if (*cap > 0)
        memcpy(next, *v, *cap * sizeof *next);
    *v = next;
    *cap = more;
    return true;
}

static sl_status push(machine *m, sl_pk *v, sl_err *err)
{
    if (!v || (m->n_stack == m->cap_stack && !grow(m, &m->stack, &m->cap_stack, m->n_stack + 1)))
        return no_memory(m, err);
    m->stack[m->n_stack++] = v;
    return SL_OK;
}

static sl_pk *value(const machine *m, sl_pk_kind kind)
{
    sl_pk *v = sl_arena_alloc(m->arena, sizeof *v);
    if (v)
        *v = (sl_pk){ .kind = kind };
    return v;
}

static sl_status push_int(machine *m, sl_pk_kind kind, int64_t i, sl_err *err)
{
    sl_pk *v = value(m, kind);
    if (v)
        v->i = i;
    return push(m, v, err);
}

static sl_status pop(machine *m, sl_pk **out, sl_err *err)
{
    if (m->n_stack == 0 || m->stack[m->n_stack - 1]->kind == SL_PK_MARK)
        return bad(m, NULL, err, "a value is missing on the stack");
    *out = m->stack[--m->n_stack];
    return SL_OK;
}

static sl_status pop_kind(machine *m, sl_pk_kind kind, const char *expected, sl_pk **out, sl_err *err)
{
    SL_TRY(pop(m, out, err));
    return (*out)->kind == kind ? SL_OK : bad(m, expected, err, "a value of the wrong kind");
}

static sl_status memo_put(machine *m, uint64_t i, sl_err *err)
{
    if (m->n_stack == 0 || i > m->n) /* every entry took a byte at least */
        return bad(m, NULL, err, "a wrong memo entry");
    if (i >= m->cap_memo && !grow(m, &m->memo, &m->cap_memo, (size_t)i + 1))
        return no_memory(m, err);
    m->memo[i] = m->stack[m->n_stack - 1];
    m->n_memo = i >= m->n_memo ? (size_t)i + 1 : m->n_memo;
    return SL_OK;
}

static sl_status memo_get(machine *m, uint64_t i, sl_err *err)
{
    if (i >= m->n_memo || !m->memo[i])
        return bad(m, NULL, err, "a memo entry that was not written");
    return push(m, m->memo[i], err);
}

/* ---- containers ---- */

static sl_status append(machine *m, sl_pk *to, sl_pk *key, sl_pk *v, sl_err *err)
{
    sl_pk_item *e = sl_arena_alloc(m->arena, sizeof *e);
    if (!e)
        return no_memory(m, err);
    *e = (sl_pk_item){ key, v, NULL };
    if (to->last)
        to->last->next = e;
    else
        to->first = e;
    to->last = e;
    to->n++;
    return SL_OK;
}

/* Where the values since the last mark begin; the mark itself is one below. */
static sl_status find_mark(machine *m, size_t *first, sl_err *err)
{
    for (size_t i = m->n_stack; i > 0; i--)
        if (m->stack[i - 1]->kind == SL_PK_MARK) {
            *first = i;
            return SL_OK;
        }
    return bad(m, NULL, err, "a mark is missing on the stack");
}

static sl_status collect(machine *m, size_t first, sl_err *err)
{
    sl_pk *t = value(m, SL_PK_TUPLE);
    if (!t)
        return no_memory(m, err);
    for (size_t i = first; i < m->n_stack; i++)
        SL_TRY(append(m, t, NULL, m->stack[i], err));
    m->n_stack = first;
    return push(m, t, err);
}

static sl_status short_tuple(machine *m, size_t n, sl_err *err)
{
    for (size_t i = 0; i < n; i++)
        if (m->n_stack <= i || m->stack[m->n_stack - 1 - i]->kind == SL_PK_MARK)
            return bad(m, NULL, err, "a value is missing on the stack");
    return collect(m, m->n_stack - n, err);
}

static sl_status marked_tuple(machine *m, sl_err *err)
{
    size_t first = 0;
    SL_TRY(find_mark(m, &first, err));
    for (size_t i = first; i < m->n_stack; i++)
        m->stack[i - 1] = m->stack[i]; /* over the mark */
    m->n_stack--;
    return collect(m, first - 1, err);
}

/* Values above `first` go into the container below it (the mark lies between them when `marked`). */
static sl_status store(machine *m, sl_pk_kind kind, size_t first, bool marked, sl_err *err)
{
    size_t below = first - (marked ? 1 : 0), step = kind == SL_PK_DICT ? 2 : 1;
    if (below == 0 || m->stack[below - 1]->kind != kind || (m->n_stack - first) % step != 0)
        return bad(m, kind == SL_PK_DICT ? "a dictionary and pairs" : "a list", err, "items without a container");
    sl_pk *to = m->stack[below - 1];
    for (size_t i = first; i < m->n_stack; i += step)
        SL_TRY(append(m, to, step == 2 ? m->stack[i] : NULL, m->stack[i + step - 1], err));
    m->n_stack = below;
    return SL_OK;
}

static sl_status store_marked(machine *m, sl_pk_kind kind, sl_err *err)
{
    size_t first = 0;
    SL_TRY(find_mark(m, &first, err));
    return store(m, kind, first, true, err);
}

static sl_status store_one(machine *m, sl_pk_kind kind, sl_err *err)
{
    size_t n = kind == SL_PK_DICT ? 2 : 1;
    for (size_t i = 0; i < n; i++)
        if (m->n_stack <= i || m->stack[m->n_stack - 1 - i]->kind == SL_PK_MARK)
            return bad(m, NULL, err, "a value is missing on the stack");
    return store(m, kind, m->n_stack - n, false, err);
}

/* ---- names and what they are called with ---- */

static sl_status push_name(machine *m, const char *module, const char *name, sl_err *err)
{
    for (size_t i = 0; i < sizeof CALLABLES / sizeof *CALLABLES; i++)
        if (strcmp(CALLABLES[i].module, module) == 0 && strcmp(CALLABLES[i].name, name) == 0) {
            sl_pk *v = value(m, SL_PK_NAME);
            if (!v)
                return no_memory(m, err);
            v->name = CALLABLES[i].what;
            v->dtype = CALLABLES[i].dtype;
            return push(m, v, err);
        }
    return sl_fail(err, SL_DATA, m->file, "plain tensors; nothing of a pickle is ever run", "byte %zu of the pickle: it wants to call '%.60s.%.60s', which is refused",
                   m->op_at, module, name);
}

static sl_status stack_global(machine *m, sl_err *err)
{
    sl_pk *module, *name;
    SL_TRY(pop_kind(m, SL_PK_TEXT, "a text", &name, err));
    SL_TRY(pop_kind(m, SL_PK_TEXT, "a text", &module, err));
    return push_name(m, module->text, name->text, err);
}

/* The i-th item of a tuple, NULL when there is none or it is of another kind. */
static sl_pk *item(const sl_pk *t, int64_t i, sl_pk_kind kind)
{
    const sl_pk_item *e = t->first;
    for (; e && i > 0; i--)
        e = e->next;
    return e && e->value->kind == kind ? e->value : NULL;
}

static bool all_ints(const sl_pk *t)
{
    bool good = t != NULL;
    for (const sl_pk_item *e = good ? t->first : NULL; e; e = e->next)
        good = good && e->value->kind == SL_PK_INT;
    return good;
}

/* _rebuild_tensor_v2(storage, offset, size, stride, requires_grad, hooks) */
static sl_status rebuild_tensor(machine *m, const sl_pk *args, sl_err *err)
{
    const sl_pk *storage = item(args, 0, SL_PK_STORAGE), *offset = item(args, 1, SL_PK_INT);
    const sl_pk *shape = item(args, 2, SL_PK_TUPLE), *stride = item(args, 3, SL_PK_TUPLE);
    if (!storage || !offset || !all_ints(shape) || !all_ints(stride))
        return bad(m, "storage, offset, size and stride", err, "a tensor with wrong arguments");
    sl_pk *t = value(m, SL_PK_TENSOR);
    if (!t)
        return no_memory(m, err);
    t->storage = storage;
    t->shape = shape;
    t->stride = stride;
    t->i = offset->i;
    return push(m, t, err);
}

static sl_status reduce(machine *m, sl_err *err)
{
    sl_pk *args, *f;
    SL_TRY(pop_kind(m, SL_PK_TUPLE, "a tuple of arguments", &args, err));
    SL_TRY(pop_kind(m, SL_PK_NAME, "a name to call", &f, err));
    if (f->name == SL_PK_ORDERED_DICT && args->n == 0)
        return push(m, value(m, SL_PK_DICT), err);
    if (f->name == SL_PK_REBUILD_TENSOR)
        return rebuild_tensor(m, args, err);
    if (f->name == SL_PK_REBUILD_PARAMETER && item(args, 0, SL_PK_TENSOR))
        return push(m, item(args, 0, SL_PK_TENSOR), err);
    return bad(m, "OrderedDict(), a tensor or a parameter", err, "a call with wrong arguments");
}

/* ('storage', type, key, location, elements) */
static sl_status persistent(machine *m, sl_err *err)
{
    sl_pk *id;
    SL_TRY(pop_kind(m, SL_PK_TUPLE, "a tuple that names a storage", &id, err));
    const sl_pk *tag = item(id, 0, SL_PK_TEXT), *type = item(id, 1, SL_PK_NAME), *key = item(id, 2, SL_PK_TEXT), *n = item(id, 4, SL_PK_INT);
    if (!tag || strcmp(tag->text, "storage") != 0 || !type || type->name != SL_PK_DTYPE || !key || !n || n->i < 0)
        return bad(m, "('storage', type, key, location, elements)", err, "a persistent id that is no storage");
    sl_pk *s = value(m, SL_PK_STORAGE);
    if (!s)
        return no_memory(m, err);
    s->dtype = type->dtype;
    s->text = key->text;
    s->i = n->i;
    return push(m, s, err);
}

/* OrderedDict carries attributes (state_dict's _metadata): they are dropped. */
static sl_status build(machine *m, sl_err *err)
{
    sl_pk *state;
    SL_TRY(pop(m, &state, err));
    if (m->n_stack == 0 || m->stack[m->n_stack - 1]->kind != SL_PK_DICT)
        return bad(m, "attributes of a dictionary", err, "an object with a state");
    return SL_OK;
}

/* ---- opcodes ---- */

static sl_status push_long(machine *m, uint64_t n, sl_err *err)
{
    uint64_t v = 0;
    if (n > 8)
        return bad(m, "at most 64 bits", err, "a whole number that is too large");
    SL_TRY(take_uint(m, (int)n, &v, err));
    if (n > 0 && n < 8 && v >> (8 * n - 1)) /* two's complement */
        v |= UINT64_MAX << (8 * n);
    return push_int(m, SL_PK_INT, (int64_t)v, err);
}

static sl_status push_real(machine *m, sl_err *err)
{
    uint64_t bits = 0;
    SL_TRY(need(m, 8, err));
    for (int i = 0; i < 8; i++) /* big-endian */
        bits = bits << 8 | m->data[m->at++];
    sl_pk *v = value(m, SL_PK_REAL);
    if (v)
        memcpy(&v->r, &bits, sizeof v->r);
    return push(m, v, err);
}

static sl_status push_text(machine *m, int size_bytes, sl_err *err)
{
    uint64_t n;
    SL_TRY(take_uint(m, size_bytes, &n, err));
    sl_pk *v = value(m, SL_PK_TEXT);
    if (!v)
        return no_memory(m, err);
    SL_TRY(take_text(m, n, &v->text, err));
    return push(m, v, err);
}

/* Opcodes that push a constant. *known is false for the others. */
static sl_status constants(machine *m, uint8_t op, bool *known, sl_err *err)
{
    uint64_t u = 0;
    *known = true;
    switch (op) {
    case '(': return push(m, value(m, SL_PK_MARK), err);
    case 'N': return push(m, value(m, SL_PK_NONE), err);
    case 0x88: return push_int(m, SL_PK_BOOL, 1, err);
    case 0x89: return push_int(m, SL_PK_BOOL, 0, err);
    case 'K': SL_TRY(take_uint(m, 1, &u, err)); return push_int(m, SL_PK_INT, (int64_t)u, err);
    case 'M': SL_TRY(take_uint(m, 2, &u, err)); return push_int(m, SL_PK_INT, (int64_t)u, err);
    case 'J': SL_TRY(take_uint(m, 4, &u, err)); return push_int(m, SL_PK_INT, (int32_t)(uint32_t)u, err);
    case 0x8a: SL_TRY(take_uint(m, 1, &u, err)); return push_long(m, u, err);
    case 'G': return push_real(m, err);
    case 'X': return push_text(m, 4, err);
    case 0x8c: return push_text(m, 1, err);
    case 0x8d: return push_text(m, 8, err);
    case ')': return push(m, value(m, SL_PK_TUPLE), err);
    case ']': return push(m, value(m, SL_PK_LIST), err);
    case '}': return push(m, value(m, SL_PK_DICT), err);
    default: *known = false; return SL_OK;
    }
}

static sl_status global(machine *m, sl_err *err)
{
    const char *module, *name;
    SL_TRY(take_line(m, &module, err));
    SL_TRY(take_line(m, &name, err));
    return push_name(m, module, name, err);
}

static sl_status step(machine *m, uint8_t op, sl_err *err)
{
    uint64_t u = 0;
    bool known;
    SL_TRY(constants(m, op, &known, err));
    if (known)
        return SL_OK;
    switch (op) {
    case 0x80: SL_TRY(take_uint(m, 1, &u, err)); return u >= 2 && u <= 5 ? SL_OK : bad(m, "2 to 5", err, "an unknown protocol");
    case 0x95: return take_uint(m, 8, &u, err); /* FRAME: only a hint */
    case 'q': SL_TRY(take_uint(m, 1, &u, err)); return memo_put(m, u, err);
    case 'r': SL_TRY(take_uint(m, 4, &u, err)); return memo_put(m, u, err);
    case 0x94: return memo_put(m, m->n_memo, err);
    case 'h': SL_TRY(take_uint(m, 1, &u, err)); return memo_get(m, u, err);
    case 'j': SL_TRY(take_uint(m, 4, &u, err)); return memo_get(m, u, err);
    case 't': return marked_tuple(m, err);
    case 0x85: return short_tuple(m, 1, err);
    case 0x86: return short_tuple(m, 2, err);
    case 0x87: return short_tuple(m, 3, err);
    case 'a': return store_one(m, SL_PK_LIST, err);
    case 'e': return store_marked(m, SL_PK_LIST, err);
    case 's': return store_one(m, SL_PK_DICT, err);
    case 'u': return store_marked(m, SL_PK_DICT, err);
    case 'c': return global(m, err);
    case 0x93: return stack_global(m, err);
    case 'Q': return persistent(m, err);
    case 'R': return reduce(m, err);
    case 'b': return build(m, err);
    case '.': return pop(m, &m->result, err);
    default:
        return sl_fail(err, SL_DATA, m->file, "plain tensors; nothing of a pickle is ever run", "byte %zu of the pickle: opcode 0x%02x is refused", m->op_at, op);
    }
}

sl_status sl_pickle_parse(const char *file, const uint8_t *data, size_t n, sl_arena *a, const sl_pk **out, sl_err *err)
{
    machine m = { .file = file, .data = data, .n = n, .arena = a };
    *out = NULL;
    if (n > MAX_PICKLE)
        return sl_fail(err, SL_DATA, file, "at most 8 MB", "a pickle of %zu bytes", n);
    while (!m.result) {
        m.op_at = m.at;
        SL_TRY(need(&m, 1, err));
        SL_TRY(step(&m, m.data[m.at++], err));
    }
    *out = m.result;
    return SL_OK;
}
