/* cfg.json of SAELens, read: version 6, where "metadata" describes model and hook, and before, where all keys lie flat. */
#include "sae/formats/saelens.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Architectures that are not called as our variant is. */
typedef struct alias { const char *architecture, *variant; bool training; } alias;
static const alias ALIASES[] = {
    { "batchtopk", "batchtopk", true },                 /* training checkpoints: codes are scaled by |d_j| unless the file says no */
    { "matryoshka_batchtopk", "matryoshka", true },
    { "topk_transcoder", "transcoder", false },
    { "topk_skip_transcoder", "skip_transcoder", false },
};

/* ---- keys ---- */

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

/* The text under the first key that has one. */
static void copy_text(const json_t *bag, const char *key, const char *old_key, char *out, size_t size)
{
    const char *text = json_string_value(json_object_get(bag, key));
    if (!text)
        text = json_string_value(json_object_get(bag, old_key));
    snprintf(out, size, "%s", text ? text : "");
}

/* ---- normalisation ---- */

static sl_status read_row_norm(const char *path, const json_t *cfg, sl_sae_file *f, sl_err *err)
{
    const json_t *v = json_object_get(cfg, "normalize_activations");
    const char *text = json_is_true(v) ? "expected_average_only_in" : json_string_value(v);
    if (!v || json_is_null(v) || json_is_false(v))
        return SL_OK;
    for (int kind = SL_ROWS_AS_THEY_ARE; text && kind <= SL_ROWS_STANDARD; kind++)
        if (strcmp(text, sl_row_norm_name((sl_rows_norm)kind)) == 0) {
            f->row_norm = (sl_rows_norm)kind;
            return SL_OK;
        }
    if (!text || strcmp(text, "expected_average_only_in") != 0)
        return sl_fail(err, SL_DATA, path, "none, expected_average_only_in, constant_norm_rescale or layer_norm", "\"normalize_activations\" is \"%s\"",
                       text ? text : "not text");
    sl_file_note(f, "norm: trained on activations times a factor that is not in the file (expected_average_only_in); used as it is, as SAELens does");
    return SL_OK;
}

static sl_status read_reshape(const char *path, const json_t *cfg, sl_err *err)
{
    const json_t *v = json_object_get(cfg, "reshape_activations");
    const char *text = json_string_value(v);
    if (!v || json_is_null(v) || (text && (strcmp(text, "none") == 0 || strcmp(text, "hook_z") == 0)))
        return SL_OK; /* hook_z: heads one after the other, as activations are stored here */
    return sl_fail(err, SL_DATA, path, "none or hook_z", "\"reshape_activations\" is \"%s\"", text ? text : "not text");
}

static sl_status read_own_normalisation(sl_ctx *ctx, const char *path, const json_t *saelab, sl_sae_file *f, sl_err *err)
{
    const json_t *mean = json_object_get(saelab, "mean"), *scale = json_object_get(saelab, "scale");
    f->scale = scale ? json_number_value(scale) : 1;
    if (!(f->scale > 0) || !isfinite(f->scale))
        return sl_fail(err, SL_DATA, path, "a positive number", "\"metadata.saelab.scale\" is not that");
    if (!mean || json_is_null(mean))
        return SL_OK;
    if (!json_is_array(mean) || json_array_size(mean) != (size_t)f->d_in)
        return sl_fail(err, SL_DATA, path, "d_in numbers", "\"metadata.saelab.mean\" is not that");
    f->mean = sl_alloc(ctx, (size_t)f->d_in * sizeof *f->mean);
    if (!f->mean)
        return sl_fail(err, SL_MEM, path, NULL, "no memory for a mean of %lld", (long long)f->d_in);
    for (int64_t j = 0; j < f->d_in; j++) {
        const json_t *v = json_array_get(mean, (size_t)j);
        f->mean[j] = (float)json_number_value(v);
        if (!json_is_number(v) || !isfinite(f->mean[j]))
            return sl_fail(err, SL_DATA, path, "d_in finite numbers", "\"metadata.saelab.mean\"[%lld] is not a finite number", (long long)j);
    }
    return SL_OK;
}

/* ---- variant ---- */

/* Before 6.0 a topk is a standard SAE with an activation function "topk" (pretrained_sae_loaders.py, handle_pre_6_0_config). */
static const char *old_architecture(const json_t *cfg)
{
    const char *name = json_string_value(json_object_get(cfg, "architecture")), *act = json_string_value(json_object_get(cfg, "activation_fn"));
    if (!act)
        act = json_string_value(json_object_get(cfg, "activation_fn_str"));
    return act && strcmp(act, "topk") == 0 ? "topk" : name ? name : "standard";
}

static sl_status unknown_architecture(const char *path, const char *architecture, sl_err *err)
{
    char known[200] = "";
    for (int i = 0; sl_variant_at(i); i++) {
        const char *name = sl_sae_ops_find(sl_variant_at(i)->name)->saelens;
        size_t n = strlen(known);
        if (name && !strstr(known, name))
            snprintf(known + n, sizeof known - n, "%s%s", n ? ", " : "", name);
    }
    return sl_fail(err, SL_UNAVAILABLE, path, known, "architecture \"%s\" cannot be read", architecture);
}

/* The variant that a file of this architecture becomes: ours says which, SAELens's own have the variant's name or an alias. */
static const char *variant_of(const char *architecture, const char *own, bool *training)
{
    const sl_sae_ops *ops = sl_sae_ops_find(own ? own : architecture);
    for (size_t i = 0; i < sizeof ALIASES / sizeof *ALIASES; i++)
        if (strcmp(ALIASES[i].architecture, architecture) == 0 && (!own || strcmp(ALIASES[i].variant, own) == 0)) {
            *training = ALIASES[i].training;
            return ALIASES[i].variant;
        }
    if (ops && strcmp(ops->saelens ? ops->saelens : ops->info.name, architecture) == 0)
        return ops->info.name;
    return NULL;
}

static sl_status read_options(sl_ctx *ctx, const char *path, const json_t *cfg, const json_t *saelab, sl_sae_file *f, sl_err *err)
{
    const json_t *own = json_object_get(saelab, "options"), *kwargs = json_object_get(cfg, "activation_fn_kwargs");
    for (const sl_opt *o = f->ops->info.opts; o->type != SL_T_END; o++)
        if (json_object_get(own, o->name))
            SL_TRY(sl_file_option(ctx, path, f, o->name, json_object_get(own, o->name), err));
    for (int i = 0; f->ops->cfg_keys && f->ops->cfg_keys[i]; i++) { /* SAELens's own keys decide */
        const char *key = f->ops->cfg_keys[i];
        const json_t *v = json_object_get(cfg, key) ? json_object_get(cfg, key) : json_object_get(kwargs, key);
        if (!v)
            return sl_fail(err, SL_DATA, path, "a key of its architecture", "\"%s\" is missing", key);
        if (json_is_null(v) && strcmp(key, "max_iterations") == 0) /* SAELens's default */
            v = json_object_get(cfg, "d_in");
        SL_TRY(sl_file_option(ctx, path, f, key, v, err));
    }
    if (f->ops->d_out && json_object_get(cfg, "d_out"))
        SL_TRY(sl_file_option(ctx, path, f, "d_out", json_object_get(cfg, "d_out"), err));
    return SL_OK;
}

/* SAELens keeps k of a training checkpoint as a real number. */
static sl_status read_training_k(sl_ctx *ctx, const char *path, const json_t *cfg, sl_sae_file *f, sl_err *err)
{
    double k = json_number_value(json_object_get(cfg, "k"));
    if (!(k >= .5) || k > 1e6)
        return sl_fail(err, SL_DATA, path, "a positive number", "\"k\" is missing or not that");
    json_t *whole = json_integer((json_int_t)(k + .5));
    sl_status st = whole ? sl_file_option(ctx, path, f, "k", whole, err) : sl_fail(err, SL_MEM, path, NULL, "no memory for \"k\"");
    json_decref(whole);
    return st;
}

/* SAELens's pursuit can end a row before max_iterations; ours ends it only when nothing is positive (matching_pursuit.c). */
static sl_status read_pursuit(const char *path, const json_t *cfg, sl_sae_file *f, sl_err *err)
{
    bool repeats;
    const json_t *least = json_object_get(cfg, "residual_threshold");
    SL_TRY(read_bool(cfg, path, "stop_on_duplicate_support", true, &repeats, err));
    if (repeats || !least || json_number_value(least) > 0)
        sl_file_note(f, "stop: SAELens ends a row early, by residual_threshold or stop_on_duplicate_support; here each row has max_iterations choices");
    return SL_OK;
}

static sl_status read_state(const char *path, const json_t *saelab, sl_sae_file *f, sl_err *err)
{
    const json_t *state = json_object_get(saelab, "state");
    for (int i = 0; i < sl_sae_n_state(f->ops); i++) {
        const json_t *v = json_object_get(state, f->ops->state[i].name);
        if (!v)
            continue;
        f->state[i] = json_number_value(v);
        if (!json_is_number(v) || !isfinite(f->state[i]))
            return sl_fail(err, SL_DATA, path, "a finite number", "\"metadata.saelab.state.%s\" is not that", f->ops->state[i].name);
    }
    return SL_OK;
}

static sl_status read_variant(sl_ctx *ctx, const char *path, const json_t *cfg, const json_t *saelab, bool old, sl_sae_file *f, sl_err *err)
{
    bool training = false;
    const char *architecture = old ? old_architecture(cfg) : json_string_value(json_object_get(cfg, "architecture"));
    const char *own = json_string_value(json_object_get(saelab, "variant"));
    if (!architecture)
        return sl_fail(err, SL_DATA, path, "\"standard\", \"topk\", ...", "\"architecture\" is missing or not text");
    const char *variant = variant_of(architecture, own, &training);
    if (!variant)
        return unknown_architecture(path, architecture, err);
    SL_TRY(sl_file_variant(ctx, path, variant, f, err));
    SL_TRY(read_options(ctx, path, cfg, saelab, f, err));
    SL_TRY(read_bool(cfg, path, "rescale_acts_by_decoder_norm", training, &f->rescale_by_decoder_norm, err));
    if (strcmp(architecture, "matching_pursuit") == 0)
        SL_TRY(read_pursuit(path, cfg, f, err));
    if (training)
        SL_TRY(read_training_k(ctx, path, cfg, f, err));
    return read_state(path, saelab, f, err);
}

/* Decoder rows were scaled by a finetuned factor before 6.0. */
static sl_status read_finetuning(const char *path, const json_t *cfg, sl_sae_file *f, sl_err *err)
{
    bool finetuned;
    SL_TRY(read_bool(cfg, path, "finetuning_scaling_factor", false, &finetuned, err));
    f->single_decoder_scale = finetuned ? NULL : "scaling_factor";
    f->decoder_scale = finetuned ? "scaling_factor" : NULL;
    return SL_OK;
}

static sl_status read_cfg(sl_ctx *ctx, const char *path, const json_t *cfg, sl_sae_file *f, sl_err *err)
{
    const json_t *meta = json_object_get(cfg, "metadata"), *saelab = json_object_get(meta, "saelab");
    bool old = !json_is_object(meta);
    SL_TRY(read_variant(ctx, path, cfg, saelab, old, f, err));
    SL_TRY(need_int(cfg, path, "d_in", &f->d_in, err));
    SL_TRY(need_int(cfg, path, "d_sae", &f->d_sae, err));
    SL_TRY(read_row_norm(path, cfg, f, err));
    SL_TRY(read_reshape(path, cfg, err));
    SL_TRY(read_bool(cfg, path, "apply_b_dec_to_input", !f->ops->d_out, &f->center_input, err));
    if (f->ops->d_out && f->center_input)
        return sl_fail(err, SL_DATA, path, "false: b_dec is in the space of the output", "\"apply_b_dec_to_input\" of a transcoder is true");
    SL_TRY(read_finetuning(path, cfg, f, err));
    copy_text(old ? cfg : meta, "hook_name", "hook_point", f->hook, sizeof f->hook);
    copy_text(old ? cfg : meta, "hook_name_out", "hook_point_out", f->hook_out, sizeof f->hook_out);
    copy_text(old ? cfg : meta, "model_name", "model_name", f->model, sizeof f->model);
    copy_text(old ? cfg : meta, "dataset_path", "dataset_path", f->dataset, sizeof f->dataset);
    f->recipe = sl_recipe_find(json_string_value(json_object_get(saelab, "recipe")));
    return read_own_normalisation(ctx, path, saelab, f, err);
}

sl_status sl_saelens_cfg_read(sl_ctx *ctx, const char *path, sl_sae_file *f, sl_err *err)
{
    json_t *cfg;
    SL_TRY(sl_json_load_file(ctx, path, &cfg, err));
    sl_status st = json_is_object(cfg) ? read_cfg(ctx, path, cfg, f, err) : sl_fail(err, SL_DATA, path, "a JSON object", "the file holds something else");
    json_decref(cfg);
    return st;
}
