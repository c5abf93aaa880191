/* Model folders: config.json (the option table's fields), model.safetensors, tokenizer.json. */
#include "io/io.h"
#include "lm/gpt.h"

#include <stdio.h>
#include <string.h>

enum { PATH = 1024 };
static const char model_type[] = "saelab_gpt";

/* ---- config.json ---- */

static json_t *field_json(const sl_opt *o, const sl_lm_config *c)
{
    const void *p = (const char *)c + o->offset;
    switch (o->type) {
    case SL_T_INT: return json_integer(*(const int64_t *)p);
    case SL_T_FLOAT: return json_real(*(const double *)p);
    case SL_T_BOOL: return json_boolean(*(const bool *)p);
    default: return json_string(o->choices[*(const int *)p]);
    }
}

static sl_status save_config(sl_lm *m, const char *dir, sl_err *err)
{
    char path[PATH];
    SL_TRY(sl_path_join(path, sizeof path, dir, "config.json", err));
    json_t *j = json_object();
    bool ok = j && !json_object_set_new(j, "model_type", json_string(model_type));
    for (const sl_opt *o = sl_lm_opts; o->name; o++)
        ok = ok && !json_object_set_new(j, o->name, field_json(o, &m->c));
    sl_status st = ok ? sl_json_save(m->ctx, path, j, err) : sl_fail(err, SL_MEM, path, NULL, "out of memory");
    json_decref(j);
    return st;
}

static sl_status field_from_json(sl_ctx *ctx, const sl_opt *o, const json_t *v, const char *path, sl_lm_config *c, sl_err *err)
{
    char text[64], where[PATH + 64];
    snprintf(where, sizeof where, "%s: %s", path, o->name);
    if (json_is_integer(v))
        snprintf(text, sizeof text, "%lld", (long long)json_integer_value(v));
    else if (json_is_real(v))
        snprintf(text, sizeof text, "%.17g", json_real_value(v));
    else if (json_is_boolean(v))
        snprintf(text, sizeof text, "%s", json_is_true(v) ? "true" : "false");
    else if (json_is_string(v))
        snprintf(text, sizeof text, "%s", json_string_value(v));
    else
        return sl_fail(err, SL_CONFIG, where, o->help, v ? "not a scalar" : "the field is missing");
    return sl_opts_set(ctx, sl_lm_opts, c, o->name, text, where, SL_CONFIG, err);
}

static sl_status load_config(sl_ctx *ctx, const char *dir, sl_lm_config *c, sl_err *err)
{
    char path[PATH];
    SL_TRY(sl_path_join(path, sizeof path, dir, "config.json", err));
    json_t *j = NULL;
    SL_TRY(sl_json_load_file(ctx, path, &j, err));
    sl_status st = SL_OK;
    const char *type = json_string_value(json_object_get(j, "model_type"));
    if (!type || strcmp(type, model_type) != 0)
        st = sl_fail(err, SL_DATA, path, "a folder written by `saelab lm train`", "model_type is %s", type ? type : "missing");
    sl_opts_default(sl_lm_opts, c);
    for (const sl_opt *o = sl_lm_opts; o->name && st == SL_OK; o++)
        st = field_from_json(ctx, o, json_object_get(j, o->name), path, c, err);
    json_decref(j);
    return st;
}

/* ---- model.safetensors ---- */

static sl_status save_weights(sl_lm *m, const char *dir, sl_err *err)
{
    char path[PATH];
    SL_TRY(sl_path_join(path, sizeof path, dir, "model.safetensors", err));
    int n = sl_params_count(m->ps);
    const char **names = sl_alloc(m->ctx, (size_t)n * sizeof *names);
    sl_tensor *tensors = sl_alloc(m->ctx, (size_t)n * sizeof *tensors);
    json_t *meta = json_pack("{s:s}", "format", "pt");
    sl_status st;
    if (!names || !tensors || !meta) {
        st = sl_fail(err, SL_MEM, path, NULL, "out of memory");
        goto done;
    }
    for (int i = 0; i < n; i++) {
        names[i] = sl_params_at(m->ps, i)->name;
        tensors[i] = sl_params_at(m->ps, i)->value;
    }
    SL_GO(sl_safetensors_write(m->ctx, path, n, names, tensors, meta, err));
done:
    json_decref(meta);
    sl_free(m->ctx, tensors);
    sl_free(m->ctx, names);
    return st;
}

static sl_status load_weights(sl_lm *m, const char *dir, sl_err *err)
{
    char path[PATH];
    SL_TRY(sl_path_join(path, sizeof path, dir, "model.safetensors", err));
    sl_dict d;
    sl_dict_init(m->ctx, &d);
    sl_status st;
    SL_GO(sl_safetensors_read(m->ctx, path, &d, err));
    for (int i = 0; i < sl_params_count(m->ps); i++) {
        sl_param *p = sl_params_at(m->ps, i);
        const sl_tensor *t;
        SL_GO(sl_dict_need(&d, path, p->name, p->value.n_dim, p->value.dim, &t, err));
        sl_to_f32(t->data, t->dtype, p->value.data, sl_numel(t));
        sl_param_touch(p);
    }
    const sl_param *bad = sl_gpt_bad_param(m);
    if (bad)
        st = sl_fail(err, SL_NUMERIC, path, "finite weights", "%s holds a non-finite number", bad->name);
done:
    sl_dict_release(&d);
    return st;
}

/* ---- folders ---- */

sl_status sl_lm_save(sl_lm *m, const sl_tok *tok, const char *dir, sl_err *err)
{
    char path[PATH];
    SL_TRY(sl_dir_make(dir, err));
    SL_TRY(save_weights(m, dir, err));
    SL_TRY(sl_path_join(path, sizeof path, dir, "tokenizer.json", err));
    SL_TRY(sl_tok_save(tok, path, err));
    return save_config(m, dir, err); /* last: a folder with config.json is whole */
}

static sl_status load_tokenizer(sl_lm *m, const char *dir, sl_tok **tok, sl_err *err)
{
    char path[PATH];
    SL_TRY(sl_path_join(path, sizeof path, dir, "tokenizer.json", err));
    SL_TRY(sl_tok_load(m->ctx, path, tok, err));
    if (sl_tok_vocab(*tok) == m->c.vocab_size)
        return SL_OK;
    int32_t found = sl_tok_vocab(*tok);
    sl_tok_free(*tok);
    *tok = NULL;
    return sl_fail(err, SL_DATA, path, "the tokenizer that the model was trained with", "it has %d tokens, the model %lld", (int)found,
                   (long long)m->c.vocab_size);
}

sl_status sl_lm_load(sl_ctx *ctx, const char *ref, sl_lm **out, sl_tok **tok, sl_err *err)
{
    char dir[1024];
    sl_lm_config c;
    sl_lm *m = NULL;
    sl_status st;
    *out = NULL;
    if (tok)
        *tok = NULL;
    SL_TRY(sl_ref_path(ctx, ref, dir, err));
    SL_TRY(load_config(ctx, dir, &c, err));
    SL_TRY(sl_lm_new(ctx, &c, 0, &m, err));
    SL_GO(load_weights(m, dir, err));
    if (tok)
        SL_GO(load_tokenizer(m, dir, tok, err));
    *out = m;
    return SL_OK;
done:
    sl_lm_free(m);
    return st;
}
