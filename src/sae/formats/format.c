/* Which format a path holds, and what all readers share. */
#include "sae/formats/format.h"

#include <saelab/data.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const sl_sae_format *const formats[] = { &sl_format_saelens, &sl_format_sparsify, &sl_format_dictionary_learning, &sl_format_gemma_scope, NULL };

/* ---- for readers ---- */

sl_status sl_file_variant(sl_ctx *ctx, const char *path, const char *variant, sl_sae_file *f, sl_err *err)
{
    f->ops = sl_sae_ops_find(variant);
    if (!f->ops)
        return sl_fail(err, SL_UNAVAILABLE, path, "a variant of this version", "it holds a '%s'", variant);
    f->opts = sl_alloc(ctx, f->ops->info.opts_size);
    if (!f->opts)
        return sl_fail(err, SL_MEM, path, NULL, "no memory for options");
    sl_opts_default(f->ops->info.opts, f->opts);
    for (int i = 0; i < sl_sae_n_state(f->ops); i++)
        f->state[i] = f->ops->state[i].first;
    return SL_OK;
}

sl_status sl_file_option(sl_ctx *ctx, const char *path, sl_sae_file *f, const char *name, const json_t *v, sl_err *err)
{
    char text[64], where[512];
    const char *value = text;
    snprintf(where, sizeof where, "%.400s: \"%.64s\"", path, name);
    if (json_is_integer(v))
        snprintf(text, sizeof text, "%lld", (long long)json_integer_value(v));
    else if (json_is_real(v))
        snprintf(text, sizeof text, "%.17g", json_real_value(v));
    else if (json_is_boolean(v))
        snprintf(text, sizeof text, "%s", json_is_true(v) ? "true" : "false");
    else if (json_is_string(v))
        value = json_string_value(v);
    else
        return sl_fail(err, SL_DATA, where, "a number or text", "an option of the variant has another kind of value");
    return sl_opts_set(ctx, f->ops->info.opts, f->opts, name, value, where, SL_DATA, err);
}

void sl_file_state(sl_sae_file *f, const char *name, double v)
{
    for (int i = 0; i < sl_sae_n_state(f->ops); i++)
        if (strcmp(f->ops->state[i].name, name) == 0)
            f->state[i] = v;
}

void sl_file_note(sl_sae_file *f, const char *fmt, ...)
{
    va_list ap;
    if (f->notes.n == SL_SAE_NOTES)
        return;
    va_start(ap, fmt);
    vsnprintf(f->notes.text[f->notes.n++], sizeof f->notes.text[0], fmt, ap);
    va_end(ap);
}

/* ---- finding ---- */

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* A folder that holds a format's weights, or those weights themselves. *dir and *weights are filled. */
static const sl_sae_format *find_format(const char *path, char dir[1024], char weights[1200])
{
    bool folder = sl_path_is_dir(path);
    for (int i = 0; formats[i]; i++) {
        if (!folder && strcmp(base_name(path), formats[i]->weights) != 0)
            continue;
        int n = folder ? (int)strlen(path) : (int)(base_name(path) - path);
        snprintf(dir, 1024, "%.*s", n < 1023 ? n : 1023, n > 0 ? path : "./");
        snprintf(weights, 1200, "%s%s%s", dir, *dir && dir[strlen(dir) - 1] != '/' ? "/" : "", formats[i]->weights);
        if (sl_path_exists(weights))
            return formats[i];
    }
    return NULL;
}

/* What is missing in a folder that begins like an SAE, and what is there in others. */
static sl_status nothing_here(const char *path, sl_err *err)
{
    char cfg[1100];
    snprintf(cfg, sizeof cfg, "%.1000s/cfg.json", path);
    if (sl_path_is_dir(path) && sl_path_exists(cfg))
        return sl_fail(err, SL_MISSING, path, "sae_weights.safetensors (SAELens) or sae.safetensors (sparsify)", "cfg.json is there, and no weights");
    return sl_fail(err, SL_MISSING, path, "cfg.json with sae_weights.safetensors or sae.safetensors, ae.pt, or params.npz", "holds no SAE");
}

static void release(sl_ctx *ctx, sl_sae_file *f, sl_dict *d)
{
    sl_free(ctx, f->opts);
    sl_free(ctx, f->mean);
    sl_dict_release(d);
}

sl_status sl_sae_load(sl_ctx *ctx, const char *ref, sl_sae **out, sl_err *err)
{
    char path[1024], dir[1024], weights[1200];
    sl_dict d;
    *out = NULL;
    SL_TRY(sl_ref_path(ctx, ref, path, err));
    const sl_sae_format *format = find_format(path, dir, weights);
    if (!format)
        return nothing_here(path, err);
    sl_sae_file f = { .format = format->name, .scale = 1, .center_input = true };
    sl_dict_init(ctx, &d);
    sl_status st = format->read(ctx, dir, weights, &f, &d, err);
    if (st == SL_OK)
        st = sl_sae_from_file(ctx, weights, &f, &d, out, err);
    for (int i = 0; st == SL_OK && i < f.notes.n; i++)
        sl_log(ctx, SL_LOG_WARN, "%s: %s", ref, f.notes.text[i]);
    release(ctx, &f, &d);
    if (st != SL_OK)
        return st;
    sl_sae_print print;
    st = sl_sae_fingerprint(*out, &print, err);
    if (st == SL_OK)
        sl_log(ctx, SL_LOG_DEBUG, "%s: %s, fingerprint %s", ref, format->name, print.text);
    else {
        sl_sae_free(*out);
        *out = NULL;
    }
    return st;
}

sl_status sl_sae_convert(sl_sae *s, const char *format, const char *dir, sl_err *err)
{
    SL_TRY(sl_sae_usable(s, err));
    for (int i = 0; formats[i]; i++)
        if (formats[i]->write && strcmp(formats[i]->name, format) == 0) {
            SL_TRY(sl_dir_make(dir, err));
            return formats[i]->write(s, dir, err);
        }
    return sl_fail(err, SL_ARG, "format", "saelens, sparsify or npz", "'%s' cannot be written", format);
}
