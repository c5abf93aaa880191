/* cfg.json of SAELens: what is read, what is written. Ours adds metadata.saelab, an extra key of an open bag. */
#include "sae/formats/saelens.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const char FORMAT_OF[] = "6.0.0"; /* the SAELens whose format this is; its readers parse and compare it */

static const char *architecture_of(const sl_sae_ops *ops)
{
    return ops->saelens ? ops->saelens : ops->info.name;
}

/* ---- writing ---- */

static json_t *option_value(const sl_opt *o, const void *opts)
{
    const char *field = (const char *)opts + o->offset;
    char text[128];
    switch (o->type) {
    case SL_T_INT: return json_integer(*(const int64_t *)(const void *)field);
    case SL_T_FLOAT: return json_real(*(const double *)(const void *)field);
    case SL_T_BOOL: return json_boolean(*(const bool *)(const void *)field);
    default: sl_opts_text(o, opts, text, sizeof text); return json_string(text);
    }
}

static json_t *saelab_bag(const sl_sae *s)
{
    json_t *opts = json_object(), *state = json_object(), *mean = s->mean ? json_array() : json_null();
    for (const sl_opt *o = s->ops->info.opts; o->type != SL_T_END; o++)
        json_object_set_new(opts, o->name, option_value(o, s->opts));
    for (int i = 0; i < sl_sae_n_state(s->ops); i++)
        json_object_set_new(state, s->ops->state[i].name, json_real(s->state[i]));
    for (int64_t j = 0; s->mean && j < s->d_in; j++)
        json_array_append_new(mean, json_real((double)s->mean[j]));
    return json_pack("{s:i, s:s, s:s, s:s, s:o, s:o, s:o, s:f}", "format", 1, "version", sl_version(), "variant", s->ops->info.name, "recipe", s->recipe->name,
                     "options", opts, "state", state, "mean", mean, "scale", s->scale);
}

static json_t *metadata(const sl_sae *s)
{
    return json_pack("{s:s, s:n, s:s, s:s, s:n, s:s, s:{}, s:b, s:b, s:n, s:b, s:n, s:[n], s:s, s:o}",
                     "sae_lens_version", FORMAT_OF, "sae_lens_training_version", "model_name", s->model, "hook_name", s->hook,
                     "hook_head_index", "model_class_name", "HookedTransformer", "model_from_pretrained_kwargs", "prepend_bos", 0,
                     "exclude_special_tokens", 0, "sequence_separator_token", "disable_concat_sequences", 0, "context_size", "seqpos_slice",
                     "dataset_path", s->dataset, "saelab", saelab_bag(s));
}

json_t *sl_saelens_cfg_make(const sl_sae *s)
{
    json_t *cfg = json_pack("{s:I, s:I, s:s, s:s, s:b, s:s, s:s, s:o, s:s}", "d_in", (json_int_t)s->d_in, "d_sae", (json_int_t)s->d_sae,
                            "dtype", "float32", "device", "cpu", "apply_b_dec_to_input", (int)s->center_input, "normalize_activations", "none",
                            "reshape_activations", "none", "metadata", metadata(s), "architecture", architecture_of(s->ops));
    if (cfg && s->ops->d_out)
        json_object_set_new(cfg, "d_out", json_integer((json_int_t)s->d_out));
    for (int i = 0; cfg && s->ops->cfg_keys && s->ops->cfg_keys[i]; i++)
        json_object_set_new(cfg, s->ops->cfg_keys[i], option_value(sl_opts_find(s->ops->info.opts, s->ops->cfg_keys[i]), s->opts));
    if (cfg && strcmp(architecture_of(s->ops), "topk") == 0)
        json_object_set_new(cfg, "rescale_acts_by_decoder_norm", json_false());
    return cfg;
}

/* ---- reading ---- */

static sl_status need_int(const json_t *cfg, const char *path, const char *key, int64_t *out, sl_err *err)
{
    const json_t *v = json_object_get(cfg, key);
    if (!json_is_integer(v) || json_integer_value(v) < 1)
        return sl_fail(err, SL_DATA, path, "a whole number of at least 1", "\"%s\" is missing or not that", key);
    *out = json_integer_value(v);
    return SL_OK;
}

static sl_status read_bool(const json_t *cfg, const char *path, const char *key, bool otherwise, bool *out, sl_err *err)
{
    const json_t *v = json_object_get(cfg, key);
    *out = v && !json_is_null(v) ? json_is_true(v) : otherwise;
    if (v && !json_is_null(v) && !json_is_boolean(v))
        return sl_fail(err, SL_DATA, path, "true or false", "\"%s\" is neither", key);
    return SL_OK;
}

static sl_status only_none(const json_t *cfg, const char *path, const char *key, sl_err *err)
{
    const json_t *v = json_object_get(cfg, key);
    if (!v || json_is_null(v) || (json_is_string(v) && strcmp(json_string_value(v), "none") == 0))
        return SL_OK;
    return sl_fail(err, SL_UNAVAILABLE, path, "\"none\": fold it before saving", "\"%s\" is \"%s\"", key, json_is_string(v) ? json_string_value(v) : "not text");
}

static void copy_text(const json_t *bag, const char *key, char *out, size_t size)
{
    const char *text = json_string_value(json_object_get(bag, key));
    snprintf(out, size, "%s", text ? text : "");
}

static sl_status set_option(sl_ctx *ctx, const sl_saelens_cfg *c, const char *path, const char *name, const json_t *v, sl_err *err)
{
    char text[64], where[512];
    const char *value = text;
    snprintf(where, sizeof where, "%s: \"%s\"", path, name);
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
    return sl_opts_set(ctx, c->ops->info.opts, c->opts, name, value, where, SL_DATA, err);
}

static sl_status read_options(sl_ctx *ctx, const char *path, const json_t *cfg, const json_t *saelab, sl_saelens_cfg *c, sl_err *err)
{
    c->opts = sl_alloc(ctx, c->ops->info.opts_size);
    if (!c->opts)
        return sl_fail(err, SL_MEM, path, NULL, "no memory for options");
    sl_opts_default(c->ops->info.opts, c->opts);
    const json_t *own = json_object_get(saelab, "options");
    for (const sl_opt *o = c->ops->info.opts; o->type != SL_T_END; o++)
        if (json_object_get(own, o->name))
            SL_TRY(set_option(ctx, c, path, o->name, json_object_get(own, o->name), err));
    for (int i = 0; c->ops->cfg_keys && c->ops->cfg_keys[i]; i++) { /* SAELens's own keys decide */
        const json_t *v = json_object_get(cfg, c->ops->cfg_keys[i]);
        if (!v)
            return sl_fail(err, SL_DATA, path, "a key of its architecture", "\"%s\" is missing", c->ops->cfg_keys[i]);
        SL_TRY(set_option(ctx, c, path, c->ops->cfg_keys[i], v, err));
    }
    return SL_OK;
}

static sl_status read_state(const char *path, const json_t *saelab, sl_saelens_cfg *c, sl_err *err)
{
    const json_t *state = json_object_get(saelab, "state");
    for (int i = 0; i < sl_sae_n_state(c->ops); i++) {
        const json_t *v = json_object_get(state, c->ops->state[i].name);
        c->state[i] = v ? json_number_value(v) : c->ops->state[i].first;
        if (v && (!json_is_number(v) || !isfinite(c->state[i])))
            return sl_fail(err, SL_DATA, path, "a finite number", "\"metadata.saelab.state.%s\" is not that", c->ops->state[i].name);
    }
    return SL_OK;
}

static sl_status read_normalisation(sl_ctx *ctx, const char *path, const json_t *saelab, sl_saelens_cfg *c, sl_err *err)
{
    const json_t *mean = json_object_get(saelab, "mean"), *scale = json_object_get(saelab, "scale");
    c->scale = scale ? json_number_value(scale) : 1;
    if (!(c->scale > 0) || !isfinite(c->scale))
        return sl_fail(err, SL_DATA, path, "a positive number", "\"metadata.saelab.scale\" is not that");
    if (!mean || json_is_null(mean))
        return SL_OK;
    if (!json_is_array(mean) || json_array_size(mean) != (size_t)c->d_in)
        return sl_fail(err, SL_DATA, path, "d_in numbers", "\"metadata.saelab.mean\" is not that");
    c->mean = sl_alloc(ctx, (size_t)c->d_in * sizeof *c->mean);
    if (!c->mean)
        return sl_fail(err, SL_MEM, path, NULL, "no memory for a mean of %lld", (long long)c->d_in);
    for (int64_t j = 0; j < c->d_in; j++) {
        const json_t *v = json_array_get(mean, (size_t)j);
        c->mean[j] = (float)json_number_value(v);
        if (!json_is_number(v) || !isfinite(c->mean[j]))
            return sl_fail(err, SL_DATA, path, "d_in finite numbers", "\"metadata.saelab.mean\"[%lld] is not a finite number", (long long)j);
    }
    return SL_OK;
}

static const sl_sae_ops *find_ops(const char *variant, const char *architecture)
{
    for (int i = 0; sl_variant_at(i); i++) {
        const sl_sae_ops *ops = sl_sae_ops_find(sl_variant_at(i)->name);
        if (strcmp(architecture_of(ops), architecture) == 0 && strcmp(ops->info.name, variant ? variant : architecture) == 0)
            return ops;
    }
    return NULL;
}

static sl_status read_cfg(sl_ctx *ctx, const char *path, const json_t *cfg, sl_saelens_cfg *c, sl_err *err)
{
    const json_t *meta = json_object_get(cfg, "metadata"), *saelab = json_object_get(meta, "saelab");
    const char *architecture = json_string_value(json_object_get(cfg, "architecture"));
    if (!architecture)
        return sl_fail(err, SL_DATA, path, "\"standard\" or \"topk\"", "\"architecture\" is missing or not text");
    c->ops = find_ops(json_string_value(json_object_get(saelab, "variant")), architecture);
    if (!c->ops)
        return sl_fail(err, SL_UNAVAILABLE, path, "\"standard\" or \"topk\"", "architecture \"%s\" cannot be read", architecture);
    SL_TRY(need_int(cfg, path, "d_in", &c->d_in, err));
    SL_TRY(need_int(cfg, path, "d_sae", &c->d_sae, err));
    SL_TRY(only_none(cfg, path, "normalize_activations", err));
    SL_TRY(only_none(cfg, path, "reshape_activations", err));
    SL_TRY(read_bool(cfg, path, "apply_b_dec_to_input", true, &c->apply_b_dec_to_input, err));
    SL_TRY(read_bool(cfg, path, "rescale_acts_by_decoder_norm", false, &c->rescale_by_decoder_norm, err));
    copy_text(meta, "hook_name", c->hook, sizeof c->hook);
    copy_text(meta, "model_name", c->model, sizeof c->model);
    copy_text(meta, "dataset_path", c->dataset, sizeof c->dataset);
    SL_TRY(read_options(ctx, path, cfg, saelab, c, err));
    SL_TRY(read_state(path, saelab, c, err));
    return read_normalisation(ctx, path, saelab, c, err);
}

sl_status sl_saelens_cfg_read(sl_ctx *ctx, const char *path, sl_saelens_cfg *out, sl_err *err)
{
    *out = (sl_saelens_cfg){ 0 };
    json_t *cfg;
    SL_TRY(sl_json_load_file(ctx, path, &cfg, err));
    sl_status st = json_is_object(cfg) ? read_cfg(ctx, path, cfg, out, err) : sl_fail(err, SL_DATA, path, "a JSON object", "the file holds something else");
    json_decref(cfg);
    return st;
}

void sl_saelens_cfg_release(sl_ctx *ctx, sl_saelens_cfg *c)
{
    sl_free(ctx, c->opts);
    sl_free(ctx, c->mean);
    *c = (sl_saelens_cfg){ 0 };
}
