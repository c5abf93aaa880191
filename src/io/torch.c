/* Reading what torch.save wrote (PyTorch 1.6 or newer): a zip of NAME/data.pkl, a pickle that says which tensors there are, and
 * NAME/data/KEY, the bytes of their storages. The pickle is parsed as data and never run (pickle.h). */
#include "io/internal.h"
#include "io/pickle.h"
#include "io/zipped.h"

#include <string.h>

enum { MAX_DEPTH = 16, MAX_VALUES = 1 << 14, MAX_SHARING = 16, MAX_ENTRIES = 1 << 18 };

typedef struct storage { const sl_pk *first; char *data; size_t bytes; } storage; /* first: whose key it is */

typedef struct reader {
    sl_ctx *ctx;
    const char *path;
    zip_t *zip;
    char root[200];         /* "ae/": what the names of all entries begin with */
    sl_dict *out;
    storage *store;         /* those read so far */
    int n_store, cap_store;
    int n_values;           /* visited: a value may be used twice, so that small files could unfold into endless ones */
    int64_t bytes_left;     /* for the same reason: of tensors */
} reader;

/* ---- entries ---- */

static sl_status read_entry(const reader *r, const char *name, char **data, size_t *n, sl_err *err)
{
    char full[512], where[640];
    zip_stat_t s;
    snprintf(full, sizeof full, "%s%.250s", r->root, name);
    snprintf(where, sizeof where, "%.300s: %.300s", r->path, full);
    *data = NULL;
    if (zip_stat(r->zip, full, 0, &s) != 0)
        return sl_fail(err, SL_DATA, r->path, "a file of torch.save", "has no entry '%.250s'", full);
    SL_TRY(sl__zip_check(where, &s, err));
    zip_file_t *f = zip_fopen_index(r->zip, s.index, 0);
    if (!f)
        return sl__zip_fail(err, where, "a file of torch.save", zip_error_code_zip(zip_get_error(r->zip)));
    char *p = sl_alloc(r->ctx, (size_t)s.size + 1);
    sl_status st = p ? sl__zip_bytes(where, f, p, (size_t)s.size, err) : sl_fail(err, SL_MEM, where, NULL, "no memory for %llu bytes", (unsigned long long)s.size);
    if (st == SL_OK)
        st = sl__zip_end(where, f, err);
    zip_fclose(f);
    if (st != SL_OK) {
        sl_free(r->ctx, p);
        return st;
    }
    *data = p;
    *n = (size_t)s.size;
    return SL_OK;
}

/* The root folder, from the one entry that is called ROOT/data.pkl. */
static sl_status find_root(reader *r, sl_err *err)
{
    static const char pickle[] = "/data.pkl";
    zip_int64_t n = zip_get_num_entries(r->zip, 0);
    if (n > MAX_ENTRIES)
        return sl_fail(err, SL_DATA, r->path, "at most 262144", "%lld zip entries", (long long)n);
    r->bytes_left = 0;
    for (zip_int64_t i = 0; i < n; i++) {
        zip_stat_t s;
        const char *name = zip_get_name(r->zip, (zip_uint64_t)i, 0);
        size_t len = name ? strlen(name) : 0, tail = sizeof pickle - 1;
        if (zip_stat_index(r->zip, (zip_uint64_t)i, 0, &s) == 0 && (s.valid & ZIP_STAT_SIZE) && s.size < (zip_uint64_t)1 << 40)
            r->bytes_left += MAX_SHARING * (int64_t)s.size;
        if (len > tail && len < sizeof r->root && strcmp(name + len - tail, pickle) == 0 && !r->root[0])
            snprintf(r->root, sizeof r->root, "%.*s/", (int)(len - tail), name);
    }
    return r->root[0] ? SL_OK : sl_fail(err, SL_DATA, r->path, "a file of torch.save", "has no entry 'NAME/data.pkl'");
}

static sl_status check_byte_order(const reader *r, sl_err *err)
{
    char full[256], *text;
    size_t n;
    snprintf(full, sizeof full, "%sbyteorder", r->root);
    if (zip_name_locate(r->zip, full, 0) < 0)
        return SL_OK; /* PyTorch before 2.1 */
    SL_TRY(read_entry(r, "byteorder", &text, &n, err));
    bool little = n == 6 && memcmp(text, "little", 6) == 0;
    sl_free(r->ctx, text);
    return little ? SL_OK : sl_fail(err, SL_DATA, r->path, "little", "another byte order");
}

/* ---- tensors ---- */

static bool grow(reader *r)
{
    int cap = r->cap_store ? 2 * r->cap_store : 16;
    storage *v = sl_alloc(r->ctx, (size_t)cap * sizeof *v);
    if (!v)
        return false;
    if (r->n_store > 0)
        memcpy(v, r->store, (size_t)r->n_store * sizeof *v);
    sl_free(r->ctx, r->store);
    r->store = v;
    r->cap_store = cap;
    return true;
}

/* The bytes of a storage, read once. */
static sl_status need_storage(reader *r, const char *name, const sl_pk *s, const storage **out, sl_err *err)
{
    char entry[300];
    int64_t need;
    for (int i = r->n_store - 1; i >= 0; i--)
        if (strcmp(r->store[i].first->text, s->text) == 0) {
            *out = &r->store[i];
            if (sl__mul(s->i, (int64_t)sl_dtype_size(s->dtype), &need) && (uint64_t)need <= r->store[i].bytes)
                return SL_OK;
            return sl_fail(err, SL_DATA, r->path, NULL, "tensor '%.100s': two storages of different sizes share the key '%.40s'", name, s->text);
        }
    if (strchr(s->text, '/') || strlen(s->text) > 200)
        return sl_fail(err, SL_DATA, r->path, "a number", "tensor '%.100s': storage key '%.40s'", name, s->text);
    if (r->n_store == r->cap_store && !grow(r))
        return sl_fail(err, SL_MEM, r->path, NULL, "no memory for the list of storages");
    storage *v = &r->store[r->n_store];
    *v = (storage){ .first = s };
    snprintf(entry, sizeof entry, "data/%s", s->text);
    SL_TRY(read_entry(r, entry, &v->data, &v->bytes, err));
    r->n_store++;
    *out = v;
    if (!sl__mul(s->i, (int64_t)sl_dtype_size(s->dtype), &need) || (uint64_t)need != v->bytes)
        return sl_fail(err, SL_DATA, r->path, NULL, "tensor '%.100s': its storage has %zu bytes, %lld elements of %s need others", name, v->bytes,
                       (long long)s->i, sl_dtype_name(s->dtype));
    return SL_OK;
}

/* Shape and strides of a tensor, inside its storage and without repetition (an expanded tensor of a few bytes could be endless). */
static sl_status read_view(const reader *r, const char *name, const sl_pk *v, sl_tensor *t, int64_t stride[SL_MAX_DIM], sl_err *err)
{
    int64_t last = v->i, numel = 1;
    *t = (sl_tensor){ .dim = { 1, 1, 1, 1 }, .n_dim = (int)v->shape->n, .dtype = v->storage->dtype };
    if (v->shape->n != v->stride->n || v->shape->n > SL_MAX_DIM)
        return sl_fail(err, SL_DATA, r->path, "at most 4, and as many strides", "tensor '%.100s': %lld dimensions", name, (long long)v->shape->n);
    const sl_pk_item *d = v->shape->first, *s = v->stride->first;
    bool good = v->i >= 0;
    for (int i = 0; i < t->n_dim; i++, d = d->next, s = s->next) {
        t->dim[i] = d->value->i;
        stride[i] = s->value->i;
        good = good && t->dim[i] >= 0 && stride[i] >= 0 && sl__mul(numel, t->dim[i], &numel);
    }
    for (int i = 0; good && numel > 0 && i < t->n_dim; i++) {
        int64_t span;
        good = sl__mul(t->dim[i] - 1, stride[i], &span) && last <= INT64_MAX - span;
        last = good ? last + span : last;
    }
    if (!good || numel > v->storage->i || (numel > 0 && last >= v->storage->i))
        return sl_fail(err, SL_DATA, r->path, NULL, "tensor '%.100s': its shape and strides do not fit its storage of %lld elements", name, (long long)v->storage->i);
    return SL_OK;
}

static void gather(const sl_tensor *t, const int64_t stride[SL_MAX_DIM], const char *src, char *dst)
{
    size_t size = sl_dtype_size(t->dtype);
    int64_t i[SL_MAX_DIM];
    for (i[0] = 0; i[0] < t->dim[0]; i[0]++)
        for (i[1] = 0; i[1] < t->dim[1]; i[1]++)
            for (i[2] = 0; i[2] < t->dim[2]; i[2]++)
                for (i[3] = 0; i[3] < t->dim[3]; i[3]++, dst += size) {
                    int64_t at = i[0] * stride[0] + i[1] * stride[1] + i[2] * stride[2] + i[3] * stride[3];
                    memcpy(dst, src + (size_t)at * size, size);
                }
}

static sl_status add_tensor(reader *r, const char *name, const sl_pk *v, sl_err *err)
{
    sl_tensor t;
    int64_t stride[SL_MAX_DIM] = { 0 };
    const storage *s = NULL;
    SL_TRY(read_view(r, name, v, &t, stride, err));
    SL_TRY(need_storage(r, name, v->storage, &s, err));
    r->bytes_left -= (int64_t)sl_nbytes(&t);
    if (r->bytes_left < 0)
        return sl_fail(err, SL_DATA, r->path, NULL, "tensor '%.100s': the tensors share their storages too often", name);
    t.data = sl_alloc(r->ctx, sl_nbytes(&t));
    if (!t.data)
        return sl_fail(err, SL_MEM, r->path, NULL, "no memory for tensor '%.100s' of %zu bytes", name, sl_nbytes(&t));
    if (sl_numel(&t) > 0)
        gather(&t, stride, s->data + (size_t)v->i * sl_dtype_size(t.dtype), t.data);
    sl_status st = sl_dict_add(r->out, name, t, err);
    return st == SL_EXISTS ? sl_fail(err, SL_DATA, r->path, NULL, "there are two values named '%.100s'", name) : st;
}

/* A number, as a tensor of no dimensions. */
static sl_status add_number(reader *r, const char *name, const sl_pk *v, sl_err *err)
{
    sl_tensor t = sl_tensor_of(v->kind == SL_PK_REAL ? SL_F64 : v->kind == SL_PK_INT ? SL_I64 : SL_BOOL, sl_alloc(r->ctx, 8), 0);
    if (!t.data)
        return sl_fail(err, SL_MEM, r->path, NULL, "no memory for '%.100s'", name);
    memcpy(t.data, v->kind == SL_PK_REAL ? (const void *)&v->r : (const void *)&v->i, 8);
    if (v->kind == SL_PK_BOOL)
        *(uint8_t *)t.data = v->i != 0;
    sl_status st = sl_dict_add(r->out, name, t, err);
    return st == SL_EXISTS ? sl_fail(err, SL_DATA, r->path, NULL, "there are two values named '%.100s'", name) : st;
}

/* ---- the tree of values, flattened to "a.b.0" ---- */

static sl_status add_value(reader *r, const char *name, const sl_pk *v, int depth, sl_err *err);

static sl_status add_items(reader *r, const char *name, const sl_pk *v, int depth, sl_err *err)
{
    int64_t i = 0;
    for (const sl_pk_item *e = v->first; e; e = e->next, i++) {
        char part[256], full[256];
        if (e->key && e->key->kind == SL_PK_TEXT)
            snprintf(part, sizeof part, "%.255s", e->key->text);
        else if (!e->key || e->key->kind == SL_PK_INT)
            snprintf(part, sizeof part, "%lld", (long long)(e->key ? e->key->i : i));
        else
            return sl_fail(err, SL_DATA, r->path, "texts or whole numbers", "a key below '%.100s' of the pickle", name);
        int n = snprintf(full, sizeof full, "%s%s%s", name, *name ? "." : "", part);
        if (n < 0 || (size_t)n >= sizeof full)
            return sl_fail(err, SL_DATA, r->path, "at most 255 bytes", "the name '%.100s...' in the pickle", full);
        SL_TRY(add_value(r, full, e->value, depth + 1, err));
    }
    return SL_OK;
}

static sl_status add_value(reader *r, const char *name, const sl_pk *v, int depth, sl_err *err)
{
    if (depth > MAX_DEPTH || ++r->n_values > MAX_VALUES)
        return sl_fail(err, SL_DATA, r->path, "16 levels and 16384 values", "'%.100s' of the pickle: too many values within values", name);
    switch (v->kind) {
    case SL_PK_TUPLE:
    case SL_PK_LIST:
    case SL_PK_DICT: return add_items(r, name, v, depth, err);
    case SL_PK_TENSOR: return add_tensor(r, name, v, err);
    case SL_PK_BOOL:
    case SL_PK_INT:
    case SL_PK_REAL: return add_number(r, name, v, err);
    case SL_PK_NONE:
    case SL_PK_TEXT: return SL_OK;
    default: return sl_fail(err, SL_DATA, r->path, "tensors and numbers", "'%.100s' of the pickle is neither", name);
    }
}

/* ---- the file ---- */

static sl_status read_pickle(reader *r, sl_arena *arena, sl_err *err)
{
    char *bytes = NULL;
    size_t n;
    const sl_pk *root;
    sl_status st;
    SL_TRY(find_root(r, err));
    SL_TRY(check_byte_order(r, err));
    SL_TRY(read_entry(r, "data.pkl", &bytes, &n, err));
    SL_GO(sl_pickle_parse(r->path, (const uint8_t *)bytes, n, arena, &root, err));
    if (root->kind != SL_PK_DICT)
        SL_GO(sl_fail(err, SL_DATA, r->path, "a dictionary of tensors, as state_dict() gives", "the pickle holds something else"));
    SL_GO(add_value(r, "", root, 0, err));
done:
    sl_free(r->ctx, bytes);
    return st;
}

static sl_status old_format(const char *path, sl_err *err)
{
    sl_mmap m;
    SL_TRY(sl_mmap_open(path, &m, err));
    bool pickle = m.n > 2 && m.data[0] == 0x80 && m.data[1] >= 2 && m.data[1] <= 5;
    sl_mmap_close(&m);
    return pickle ? sl_fail(err, SL_DATA, path, "a zip, as torch.save writes since PyTorch 1.6", "a bare pickle; load and save it again with PyTorch") : SL_OK;
}

sl_status sl_torch_read(sl_ctx *ctx, const char *path, sl_dict *out, sl_err *err)
{
    reader r = { .ctx = ctx, .path = path, .out = out };
    sl_dict_init(ctx, out);
    SL_TRY(old_format(path, err));
    SL_TRY(sl__zip_open(path, "a file of torch.save", &r.zip, err));
    sl_arena *arena = sl_arena_new(ctx, 1 << 16);
    sl_status st = arena ? read_pickle(&r, arena, err) : sl_fail(err, SL_MEM, path, NULL, "no memory to read the pickle");
    for (int i = 0; i < r.n_store; i++)
        sl_free(ctx, r.store[i].data);
    sl_free(ctx, r.store);
    sl_arena_free(arena);
    zip_discard(r.zip);
    if (st != SL_OK)
        sl_dict_release(out);
    return st;
}
