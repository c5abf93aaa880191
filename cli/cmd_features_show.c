/* saelab features show: one feature in the terminal. */
#include "cmd.h"

#include <stdlib.h>
#include <string.h>

/* A token as text: new lines and tabs become visible, bytes that are no character '?'. */
static void token_text(const sl_features *f, int32_t id, char *out, size_t size)
{
    size_t n, len = 0;
    const char *s = sl_features_string(f, id, &n);
    json_t *whole = json_stringn(s, n);
    for (size_t i = 0; i < n && len + 4 < size; i++) {
        unsigned char b = (unsigned char)s[i];
        const char *word = b == '\n' ? "\u23ce" : b == '\t' ? "\u21e5" : b < 32 || b == 127 || (b > 127 && !whole) ? "?" : NULL;
        len += (size_t)(word ? snprintf(out + len, size - len, "%s", word) : snprintf(out + len, size - len, "%c", b));
    }
    out[len] = 0;
    json_decref(whole);
}

static json_t *token_json(const sl_features *f, int32_t id)
{
    size_t n;
    const char *s = sl_features_string(f, id, &n);
    return json_text(s, n);
}

/* ---- parts ---- */

static void show_columns(cli *c, const sl_features *f, int64_t id, json_t *out)
{
    int n;
    const sl_features_column *col = sl_features_columns(f, &n);
    for (int i = 0; i < n; i++) {
        double v = sl_features_value(&col[i], id);
        char text[256];
        if (col[i].type == SL_COLUMN_STRING && v == v) {
            token_text(f, (int32_t)v, text, sizeof text);
            say(c, "%-22s '%s'\n", col[i].title, text);
            json_object_set_new(out, col[i].name, token_json(f, (int32_t)v));
        } else {
            if (v == v)
                say(c, "%-22s %.6g\n", col[i].title, v);
            json_object_set_new(out, col[i].name, json_real_or_null(v));
        }
    }
}

static void show_list(cli *c, const char *what, int n, const int32_t *id, const float *value, json_t *out)
{
    json_t *list = json_array();
    if (n > 0)
        say(c, "%-22s", what);
    for (int i = 0; i < n; i++) {
        say(c, " %d (%.2f)", (int)id[i], (double)value[i]);
        json_array_append_new(list, json_pack("{s:i, s:f}", "id", (int)id[i], "value", (double)value[i]));
    }
    if (n > 0)
        say(c, "\n");
    json_object_set_new(out, what, list);
}

static void show_words(cli *c, const sl_features *f, const char *what, int n, const int32_t *id, const float *value, json_t *out)
{
    json_t *list = json_array();
    if (n > 0)
        say(c, "%-22s", what);
    for (int i = 0; i < n; i++) {
        char text[64];
        token_text(f, id[i], text, sizeof text);
        say(c, " '%s' (%.2f)", text, (double)value[i]);
        json_array_append_new(list, json_pack("{s:o, s:f}", "token", token_json(f, id[i]), "value", (double)value[i]));
    }
    if (n > 0)
        say(c, "\n");
    json_object_set_new(out, what, list);
}

/* The token in question stands between double angle marks. */
static void show_context(cli *c, const sl_features *f, int64_t i, json_t *list)
{
    static const char *const kinds[] = { "top", "quantile", "near", "silent" };
    sl_context x;
    char text[400];
    sl_features_context(f, i, &x);
    json_t *tokens = json_array(), *values = json_array();
    int from = x.focus > 20 ? x.focus - 20 : 0, end = x.focus + 11 < x.n ? x.focus + 11 : x.n;
    say(c, "  %-8s %8.3f  ", kinds[x.kind], (double)x.value);
    for (int k = 0; k < x.n; k++) {
        token_text(f, x.string[k], text, sizeof text);
        if (k >= from && k < end)
            say(c, k == x.focus ? "\u00ab%s\u00bb" : "%s", text);
        json_array_append_new(tokens, token_json(f, x.string[k]));
        json_array_append_new(values, json_real(k == x.focus ? (double)x.value : (double)x.level[k] * (double)x.unit));
    }
    say(c, "\n");
    json_array_append_new(list, json_pack("{s:s, s:i, s:f, s:I, s:i, s:i, s:i, s:i, s:o, s:o}", "kind", kinds[x.kind], "quantile", x.quantile, "value", (double)x.value, "at",
                                          (json_int_t)x.at, "doc", (int)x.doc, "pos", (int)x.pos, "focus", x.focus, "same", x.same, "tokens", tokens, "values", values));
}

static void show_feature(cli *c, const sl_features *f, const sl_feature *j)
{
    json_t *contexts = json_array(), *hist = json_array();
    c->result = json_pack("{s:I}", "id", (json_int_t)j->id);
    say(c, "%s, feature %lld\n", sl_features_about(f)->name, (long long)j->id);
    show_columns(c, f, j->id, c->result);
    show_words(c, f, "tokens", j->n_tokens, j->token, j->token_share, c->result);
    show_list(c, "nearest", j->n_cosine, j->cosine_id, j->cosine, c->result);
    show_list(c, "fires with", j->n_cofire, j->cofire_id, j->cofire, c->result);
    show_words(c, f, "raises", j->n_lens, j->up, j->up_logit, c->result);
    show_words(c, f, "lowers", j->n_lens, j->down, j->down_logit, c->result);
    for (int b = 0; b < SL_FEATURE_BINS; b++)
        json_array_append_new(hist, json_integer(j->hist[b]));
    json_object_set_new(c->result, "histogram", hist);
    say(c, "contexts\n");
    for (int i = 0; i < j->n_contexts; i++)
        show_context(c, f, j->first_context + i, contexts);
    json_object_set_new(c->result, "contexts", contexts);
}

static sl_status show(cli *c, sl_err *err)
{
    sl_features *f;
    sl_feature j;
    int64_t id;
    if (!sl_parse_int(c->args[1], &id))
        return sl_fail(err, SL_ARG, c->args[1], "the number of a feature", "this is no whole number");
    SL_TRY(sl_features_open(c->ctx, c->args[0], false, &f, err));
    sl_status st = sl_features_get(f, id, &j, err);
    if (st == SL_OK)
        show_feature(c, f, &j);
    sl_features_close(f);
    return st;
}

const command CMD_FEATURES_SHOW = {
    .name = "features show", .args = "SAE ID", .min_args = 2, .max_args = 2, .what = "What one feature fires on.",
    .text = "Reads the index that `saelab features build` made: of an SAE's folder, or the folder of the index itself. The token in question is between \u00ab and \u00bb.",
    .examples = "  saelab features show my_sae 123\n", .run = show,
};
