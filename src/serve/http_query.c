/* What handlers ask of a request. */
#include "serve/http_internal.h"

#include <saelab/opt.h>

#include <stdio.h>
#include <string.h>

const char *sl_http_query(const sl_http_req *q, const char *key)
{
    return MHD_lookup_connection_value(q->connection, MHD_GET_ARGUMENT_KIND, key);
}

const char *sl_http_header(const sl_http_req *q, const char *name)
{
    return MHD_lookup_connection_value(q->connection, MHD_HEADER_KIND, name);
}

sl_status sl_http_query_int(const sl_http_req *q, const char *key, int64_t otherwise, int64_t min, int64_t max, int64_t *out, sl_err *err)
{
    char expected[96];
    const char *text = sl_http_query(q, key);
    *out = otherwise;
    if (!text || (sl_parse_int(text, out) && *out >= min && *out <= max))
        return SL_OK;
    snprintf(expected, sizeof expected, "a whole number from %lld to %lld", (long long)min, (long long)max);
    return sl_fail(err, SL_ARG, key, expected, "'%.60s'", text);
}

sl_status sl_http_part_int(const sl_http_req *q, int i, int64_t end, int64_t *out, sl_err *err)
{
    char expected[96];
    size_t n = strspn(q->part[i], "0123456789");
    if (n == strlen(q->part[i]) && sl_parse_int(q->part[i], out) && *out < end)
        return SL_OK;
    snprintf(expected, sizeof expected, "0 to %lld", (long long)end - 1);
    return sl_fail(err, SL_MISSING, q->path, expected, "there is no '%.60s'", q->part[i]);
}

/* ---- the body ---- */

static sl_status field(const sl_http_req *q, const char *key, const char *expected, json_t **out, sl_err *err)
{
    *out = json_object_get(q->body, key);
    return *out ? SL_OK : sl_fail(err, SL_ARG, key, expected, q->body ? "is missing" : "the request has no JSON object");
}

sl_status sl_http_body_text(const sl_http_req *q, const char *key, size_t max, const char **out, sl_err *err)
{
    json_t *v;
    SL_TRY(field(q, key, "text", &v, err));
    if (!json_is_string(v))
        return sl_fail(err, SL_ARG, key, "text", "is not text");
    if (json_string_length(v) > max)
        return sl_fail(err, SL_ARG, key, NULL, "is longer than %zu bytes", max);
    *out = json_string_value(v);
    return SL_OK;
}

sl_status sl_http_body_int(const sl_http_req *q, const char *key, int64_t min, int64_t max, int64_t *out, sl_err *err)
{
    json_t *v;
    char expected[96];
    snprintf(expected, sizeof expected, "a whole number from %lld to %lld", (long long)min, (long long)max);
    SL_TRY(field(q, key, expected, &v, err));
    *out = json_integer_value(v);
    return json_is_integer(v) && *out >= min && *out <= max ? SL_OK : sl_fail(err, SL_ARG, key, expected, "is something else");
}

sl_status sl_http_body_real(const sl_http_req *q, const char *key, double min, double max, double *out, sl_err *err)
{
    json_t *v;
    char expected[96];
    snprintf(expected, sizeof expected, "a number from %g to %g", min, max);
    SL_TRY(field(q, key, expected, &v, err));
    *out = json_number_value(v);
    return json_is_number(v) && *out >= min && *out <= max ? SL_OK : sl_fail(err, SL_ARG, key, expected, "is something else");
}

sl_status sl_http_body_bool(const sl_http_req *q, const char *key, bool *out, sl_err *err)
{
    json_t *v;
    SL_TRY(field(q, key, "true or false", &v, err));
    *out = json_is_true(v);
    return json_is_boolean(v) ? SL_OK : sl_fail(err, SL_ARG, key, "true or false", "is something else");
}
