/* JSON files (jansson) with errors that name line and column, and checked fields. */
#include "io/internal.h"

#include <math.h>
#include <string.h>

typedef struct sink { sl_atomic *f; sl_err *err; sl_status st; } sink;

static int put(const char *text, size_t n, void *user)
{
    sink *s = user;
    s->st = sl_atomic_write(s->f, text, n, s->err);
    return s->st == SL_OK ? 0 : -1;
}

sl_status sl_json_save(sl_ctx *ctx, const char *path, const json_t *j, sl_err *err)
{
    if (!j) /* jansson makes no value from NaN or infinity */
        return sl_fail(err, SL_NUMERIC, path, "finite numbers", "a value that is not finite cannot be written as JSON");
    sink s = { .err = err, .st = SL_OK };
    SL_TRY(sl_atomic_open(ctx, path, &s.f, err));
    int bad = json_dump_callback(j, put, &s, JSON_INDENT(2) | JSON_REAL_PRECISION(17) | JSON_ENCODE_ANY);
    if (bad == 0)
        bad = put("\n", 1, &s);
    if (bad == 0)
        return sl_atomic_commit(s.f, err);
    sl_atomic_abort(s.f);
    return s.st != SL_OK ? s.st : sl_fail(err, SL_DATA, path, NULL, "cannot be written as JSON");
}

sl_status sl_json_load_file(sl_ctx *ctx, const char *path, json_t **out, sl_err *err)
{
    char *text;
    size_t n;
    json_error_t je;
    *out = NULL;
    SL_TRY(sl_file_read(ctx, path, &text, &n, err));
    *out = json_loadb(text, n, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &je);
    sl_free(ctx, text);
    if (*out)
        return SL_OK;
    char where[512];
    snprintf(where, sizeof where, "%.450s:%d:%d", path, je.line, je.column);
    return sl_fail(err, SL_DATA, where, "JSON", "%s", je.text);
}

static sl_status bad_field(const char *file, const char *key, const json_t *v, const char *expected, sl_err *err)
{
    return sl_fail(err, SL_DATA, file, expected, v ? "the field '%s' has a wrong value" : "the field '%s' is missing", key);
}

sl_status sl_json_int(const json_t *obj, const char *file, const char *key, int64_t min, int64_t max, int64_t *out, sl_err *err)
{
    const json_t *v = json_object_get(obj, key);
    char expected[96];
    snprintf(expected, sizeof expected, "a whole number from %lld to %lld", (long long)min, (long long)max);
    if (!json_is_integer(v) || json_integer_value(v) < min || json_integer_value(v) > max)
        return bad_field(file, key, v, expected, err);
    *out = json_integer_value(v);
    return SL_OK;
}

sl_status sl_json_real(const json_t *obj, const char *file, const char *key, double *out, sl_err *err)
{
    const json_t *v = json_object_get(obj, key);
    if (!json_is_number(v) || !isfinite(json_number_value(v)))
        return bad_field(file, key, v, "a finite number", err);
    *out = json_number_value(v);
    return SL_OK;
}

sl_status sl_json_bool(const json_t *obj, const char *file, const char *key, bool *out, sl_err *err)
{
    const json_t *v = json_object_get(obj, key);
    if (!json_is_boolean(v))
        return bad_field(file, key, v, "true or false", err);
    *out = json_is_true(v);
    return SL_OK;
}

sl_status sl_json_text(const json_t *obj, const char *file, const char *key, char *out, size_t size, sl_err *err)
{
    const json_t *v = json_object_get(obj, key);
    char expected[64];
    snprintf(expected, sizeof expected, "a text of at most %zu bytes", size - 1);
    if (!json_is_string(v) || json_string_length(v) >= size || strlen(json_string_value(v)) != json_string_length(v))
        return bad_field(file, key, v, expected, err);
    memcpy(out, json_string_value(v), json_string_length(v) + 1);
    return SL_OK;
}
