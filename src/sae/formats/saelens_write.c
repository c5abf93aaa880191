/* cfg.json of SAELens, as its version 6 writes it. Ours adds metadata.saelab, an extra key of an open bag. */
#include "sae/formats/saelens.h"

#include <stdio.h>
#include <string.h>

static const char FORMAT_OF[] = "6.0.0"; /* the SAELens whose format this is; its readers parse and compare it */

/* A choice "activation" beside SAELens's ReLU gets a name of its own, so that SAELens refuses what it would decode wrongly. */
/* The architecture in cfg.json: the variant's `saelens`, or its own name; "topk_transcoder" where SAELens's of that name is a ReLU. */
static void architecture_of(const sl_sae_ops *ops, const void *opts, char out[64])
{
    const sl_opt *o = ops->saelens ? sl_opts_find(ops->info.opts, "activation") : NULL;
    char activation[32] = "relu";
    if (o)
        sl_opts_text(o, opts, activation, sizeof activation);
    bool plain = strcmp(activation, "relu") == 0;
    snprintf(out, 64, "%.16s%s%.40s", plain ? "" : activation, plain ? "" : "_", ops->saelens ? ops->saelens : ops->info.name);
}

static json_t *option_value(const sl_opt *o, const void *opts)
{
    const char *field = (const char *)opts + o->offset;
    char text[1024];
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
    json_t *meta = json_pack("{s:s, s:n, s:s, s:s, s:n, s:s, s:{}, s:b, s:b, s:n, s:b, s:n, s:[n], s:s, s:o}",
                     "sae_lens_version", FORMAT_OF, "sae_lens_training_version", "model_name", s->model, "hook_name", s->hook,
                     "hook_head_index", "model_class_name", "HookedTransformer", "model_from_pretrained_kwargs", "prepend_bos", 0,
                     "exclude_special_tokens", 0, "sequence_separator_token", "disable_concat_sequences", 0, "context_size", "seqpos_slice",
                     "dataset_path", s->dataset, "saelab", saelab_bag(s));
    if (meta && s->hook_out[0])
        json_object_set_new(meta, "hook_name_out", json_string(s->hook_out));
    return meta;
}

json_t *sl_saelens_cfg_make(const sl_sae *s)
{
    char architecture[64];
    architecture_of(s->ops, s->opts, architecture);
    json_t *cfg = json_pack("{s:I, s:I, s:s, s:s, s:b, s:s, s:s, s:o, s:s}", "d_in", (json_int_t)s->d_in, "d_sae", (json_int_t)s->d_sae,
                            "dtype", "float32", "device", "cpu", "apply_b_dec_to_input", (int)s->center_input, "normalize_activations",
                            sl_row_norm_name(s->row_norm), "reshape_activations", "none", "metadata", metadata(s), "architecture", architecture);
    if (cfg && s->ops->d_out)
        json_object_set_new(cfg, "d_out", json_integer((json_int_t)s->d_out));
    for (int i = 0; cfg && s->ops->cfg_keys && s->ops->cfg_keys[i]; i++)
        json_object_set_new(cfg, s->ops->cfg_keys[i], option_value(sl_opts_find(s->ops->info.opts, s->ops->cfg_keys[i]), s->opts));
    if (cfg && strcmp(architecture, "topk") == 0)
        json_object_set_new(cfg, "rescale_acts_by_decoder_norm", json_false());
    if (cfg && strcmp(architecture, "matching_pursuit") == 0) { /* ours ends a row by max_iterations only */
        json_object_set_new(cfg, "residual_threshold", json_real(0));
        json_object_set_new(cfg, "stop_on_duplicate_support", json_false());
    }
    return cfg;
}
