/* dictionary_learning (dictionary_learning/dictionary.py): ae.pt, a state_dict, and config.json, which names its class. The classes share
 * keys, so that without config.json TopK and BatchTopK look the same; encoder.weight is [F, d], W_enc is [d, F]. */
#include "sae/formats/format.h"

#include <stdio.h>
#include <string.h>

static const sl_sae_names linear[] = { /* nn.Linear: [out, in] */
    { "W_enc", "encoder.weight", false, false }, { "b_enc", "encoder.bias", false, false }, { "b_enc", "gate_bias", false, false },
    { "b_mag", "mag_bias", false, false }, { "r_mag", "r_mag", false, false }, { "W_dec", "decoder.weight", true, false },
    { "b_dec", "b_dec", false, false }, { "b_dec", "bias", false, false }, { "b_dec", "decoder_bias", false, false },
    { "b_dec", "decoder.bias", false, false }, { 0 },
};
static const sl_sae_names plain[] = {
    { "W_enc", "W_enc", true, false }, { "b_enc", "b_enc", false, false }, { "W_dec", "W_dec", false, false }, { "b_dec", "b_dec", false, false },
    { "threshold", "threshold", false, false }, { 0 },
};

/* Its class, our variant, and whether its encoder sees x - b_dec. */
static const struct { const char *name, *variant; bool center; } CLASSES[] = {
    { "AutoEncoder", "standard", true }, { "AutoEncoderNew", "standard", false }, { "AutoEncoderTopK", "topk", true },
    { "BatchTopKSAE", "batchtopk", true }, { "MatryoshkaBatchTopKSAE", "matryoshka", true }, { "JumpReluAutoEncoder", "jumprelu", false },
    { "GatedAutoEncoder", "gated", true },
};
enum { N_CLASSES = sizeof CLASSES / sizeof CLASSES[0] };

/* The class that a state_dict's keys tell of. */
static const char *guess(const sl_dict *d, sl_sae_file *f)
{
    const sl_tensor *threshold = sl_dict_get(d, "threshold");
    if (sl_dict_get(d, "gate_bias"))
        return "GatedAutoEncoder";
    if (sl_dict_get(d, "group_sizes"))
        return "MatryoshkaBatchTopKSAE";
    if (sl_dict_get(d, "W_enc"))
        return threshold && threshold->n_dim == 1 ? "JumpReluAutoEncoder" : "AutoEncoder";
    if (sl_dict_get(d, "k")) {
        sl_file_note(f, "k or threshold: no config.json names the class, and TopK and BatchTopK have the same keys; read as TopK");
        return "AutoEncoderTopK";
    }
    return sl_dict_get(d, "decoder.bias") ? "AutoEncoderNew" : "AutoEncoder";
}

/* resid_post_layer_3 -> blocks.3.hook_resid_post; others stay as they are */
static void take_hook(const json_t *trainer, sl_sae_file *f)
{
    const char *submodule = json_string_value(json_object_get(trainer, "submodule_name")), *lm = json_string_value(json_object_get(trainer, "lm_name"));
    int layer, end = 0;
    if (submodule && sscanf(submodule, "resid_post_layer_%d%n", &layer, &end) == 1 && !submodule[end])
        snprintf(f->hook, sizeof f->hook, "blocks.%d.hook_resid_post", layer);
    else if (submodule)
        snprintf(f->hook, sizeof f->hook, "%s", submodule);
    snprintf(f->model, sizeof f->model, "%s", lm ? lm : "");
}

/* ---- scalars of the state_dict ---- */

static bool scalar(const sl_dict *d, const char *name, double *out)
{
    const sl_tensor *t = sl_dict_get(d, name);
    float v;
    if (!t || sl_numel(t) != 1 || (t->dtype != SL_I64 && t->dtype != SL_I32 && !sl_dtype_floating(t->dtype)))
        return false;
    if (t->dtype == SL_I64)
        *out = (double)*(const int64_t *)t->data;
    else if (t->dtype == SL_I32)
        *out = (double)*(const int32_t *)t->data;
    else {
        sl_to_f32(t->data, t->dtype, &v, 1);
        *out = (double)v;
    }
    return true;
}

static sl_status read_k(sl_ctx *ctx, const char *path, const sl_dict *d, sl_sae_file *f, sl_err *err)
{
    double k;
    if (!scalar(d, "k", &k) || !(k >= 1 && k <= INT32_MAX))
        return sl_fail(err, SL_DATA, path, "a whole number of at least 1", "the tensor 'k' is missing or not that");
    json_t *v = json_integer((json_int_t)k);
    sl_status st = v ? sl_file_option(ctx, path, f, "k", v, err) : sl_fail(err, SL_MEM, path, NULL, "no memory for k");
    json_decref(v);
    return st;
}

static sl_status read_threshold(const char *path, const sl_dict *d, sl_sae_file *f, sl_err *err)
{
    double theta;
    if (!scalar(d, "threshold", &theta))
        return sl_fail(err, SL_DATA, path, "a number", "the tensor 'threshold' is missing or not that");
    sl_file_state(f, "threshold", theta);
    if (theta < 0)
        sl_file_note(f, "threshold: it was never set (%g), as training had not come that far; every positive pre-activation counts", theta);
    return SL_OK;
}

/* Sizes of the groups as the shares at which they end. */
static sl_status read_groups(sl_ctx *ctx, const char *path, const sl_dict *d, sl_sae_file *f, sl_err *err)
{
    char text[512] = "";
    size_t at = 0;
    int64_t sum = 0;
    const sl_tensor *t = sl_dict_get(d, "group_sizes");
    if (!t || t->dtype != SL_I64 || t->n_dim != 1 || sl_numel(t) < 1 || sl_numel(t) > 16)
        return sl_fail(err, SL_DATA, path, "1 to 16 whole numbers", "the tensor 'group_sizes' is missing or not that");
    for (int64_t i = 0; i < sl_numel(t); i++) {
        int64_t size = ((const int64_t *)t->data)[i];
        if (size < 1 || size > f->d_sae - sum)
            return sl_fail(err, SL_DATA, path, "sizes that sum to d_sae", "the tensor 'group_sizes' has %lld", (long long)size);
        sum += size;
        at += (size_t)snprintf(text + at, sizeof text - at, "%s%.12g", i ? "," : "", (double)sum / (double)f->d_sae);
    }
    json_t *v = json_string(text);
    sl_status st = v ? sl_file_option(ctx, path, f, "prefixes", v, err) : sl_fail(err, SL_MEM, path, NULL, "no memory for the groups");
    json_decref(v);
    return sum == f->d_sae || st != SL_OK ? st : sl_fail(err, SL_DATA, path, "sizes that sum to d_sae", "those of 'group_sizes' sum to %lld", (long long)sum);
}

/* ---- the folder ---- */

static sl_status read_shape(const char *path, const sl_dict *d, sl_sae_file *f, sl_err *err)
{
    const sl_tensor *t;
    bool nn = sl_dict_get(d, "encoder.weight") != NULL;
    SL_TRY(sl_dict_need(d, path, nn ? "encoder.weight" : "W_enc", 2, (const int64_t[]){ -1, -1 }, &t, err));
    f->d_sae = t->dim[nn ? 0 : 1];
    f->d_in = t->dim[nn ? 1 : 0];
    f->names = nn ? linear : plain;
    return SL_OK;
}

static sl_status read_class(sl_ctx *ctx, const char *path, const char *name, const sl_dict *d, sl_sae_file *f, sl_err *err)
{
    int i = 0;
    while (i < N_CLASSES && strcmp(CLASSES[i].name, name) != 0)
        i++;
    if (i == N_CLASSES)
        return sl_fail(err, SL_UNAVAILABLE, path, NULL, "a dictionary of class \"%.60s\" cannot be read", name);
    SL_TRY(sl_file_variant(ctx, path, CLASSES[i].variant, f, err));
    f->center_input = CLASSES[i].center;
    const sl_tensor *W = sl_dict_get(d, f->names == linear ? "decoder.weight" : "W_dec");
    if (i == 0 && W && W->n_dim == 2 && sl_dtype_floating(W->dtype) && sl_norms_off_one(W, f->names == linear) > 1e-3)
        sl_file_note(f, "norm: rows of the decoder have other norms than 1; dictionary_learning rescales them when loading, here codes are those of training");
    if (sl_opts_find(f->ops->info.opts, "k"))
        SL_TRY(read_k(ctx, path, d, f, err));
    if (f->ops->threshold)
        SL_TRY(read_threshold(path, d, f, err));
    return strcmp(CLASSES[i].variant, "matryoshka") == 0 ? read_groups(ctx, path, d, f, err) : SL_OK;
}

static sl_status read_folder(sl_ctx *ctx, const char *dir, const char *weights, sl_sae_file *f, sl_dict *d, sl_err *err)
{
    char path[1024];
    json_t *cfg = NULL;
    SL_TRY(sl_torch_read(ctx, weights, d, err));
    SL_TRY(read_shape(weights, d, f, err));
    SL_TRY(sl_path_join(path, sizeof path, dir, "config.json", err));
    if (sl_path_exists(path))
        SL_TRY(sl_json_load_file(ctx, path, &cfg, err));
    const json_t *trainer = json_object_get(cfg, "trainer");
    const char *name = json_string_value(json_object_get(trainer, "dict_class"));
    sl_status st = read_class(ctx, weights, name ? name : guess(d, f), d, f, err);
    take_hook(trainer, f);
    json_decref(cfg);
    return st;
}

const sl_sae_format sl_format_dictionary_learning = { "dictionary_learning", "ae.pt", read_folder, NULL };
