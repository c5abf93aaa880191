/* EleutherAI's sparsify (sparsify/sparse_coder.py): cfg.json and sae.safetensors, TopK with encoder.weight and W_dec [M, d], W_skip [d, d].
 * num_latents 0 means d_in * expansion_factor; transcode and skip_connection make transcoders, whose encoder sees x whole. */
#include "sae/formats/format.h"

#include <stdio.h>
#include <string.h>

static const sl_sae_names names[] = {
    { "W_enc", "encoder.weight", false, false }, { "b_enc", "encoder.bias", false, false }, { "W_dec", "W_dec", false, false },
    { "b_dec", "b_dec", false, false }, { "W_skip", "W_skip", false, false }, { 0 },
};

/* ---- reading ---- */

static sl_status flag(const json_t *cfg, const char *path, const char *key, bool *out, sl_err *err)
{
    *out = false;
    return json_object_get(cfg, key) ? sl_json_bool(cfg, path, key, out, err) : SL_OK;
}

static sl_status read_width(const json_t *cfg, const char *path, sl_sae_file *f, sl_err *err)
{
    int64_t expansion;
    f->d_sae = 0;
    SL_TRY(sl_json_int(cfg, path, "d_in", 1, INT32_MAX, &f->d_in, err));
    if (json_object_get(cfg, "num_latents"))
        SL_TRY(sl_json_int(cfg, path, "num_latents", 0, INT32_MAX, &f->d_sae, err));
    if (f->d_sae > 0)
        return SL_OK;
    SL_TRY(sl_json_int(cfg, path, "expansion_factor", 1, INT32_MAX, &expansion, err));
    f->d_sae = f->d_in * expansion;
    return f->d_sae <= INT32_MAX ? SL_OK : sl_fail(err, SL_DATA, path, "at most 2^31 - 1", "%lld latents", (long long)f->d_sae);
}

static sl_status read_variant(sl_ctx *ctx, const json_t *cfg, const char *path, sl_sae_file *f, sl_err *err)
{
    bool skip, transcode, multi;
    const char *activation = json_string_value(json_object_get(cfg, "activation"));
    json_t *topk = NULL;
    sl_status st;
    if (activation && strcmp(activation, "topk") != 0)
        return sl_fail(err, SL_UNAVAILABLE, path, "topk", "activation \"%s\" cannot be read", activation);
    SL_TRY(flag(cfg, path, "skip_connection", &skip, err));
    SL_TRY(flag(cfg, path, "transcode", &transcode, err));
    SL_TRY(flag(cfg, path, "multi_topk", &multi, err));
    SL_TRY(sl_file_variant(ctx, path, skip ? "skip_transcoder" : transcode ? "transcoder" : "topk", f, err));
    f->center_input = !transcode;
    if (!json_object_get(cfg, "k"))
        return sl_fail(err, SL_DATA, path, "a whole number", "\"k\" is missing");
    SL_GO(sl_file_option(ctx, path, f, "k", json_object_get(cfg, "k"), err));
    if (f->ops->d_out) {
        topk = json_string("topk");
        SL_GO(sl_file_option(ctx, path, f, "activation", topk, err));
    }
    if (skip && !transcode)
        sl_file_note(f, "transpose: a skip connection without transcode; read as a skip transcoder of x to x");
done:
    json_decref(topk);
    return st;
}

static sl_status read_cfg(sl_ctx *ctx, const char *path, sl_sae_file *f, sl_err *err)
{
    json_t *cfg;
    SL_TRY(sl_json_load_file(ctx, path, &cfg, err));
    sl_status st = read_width(cfg, path, f, err);
    if (st == SL_OK)
        st = read_variant(ctx, cfg, path, f, err);
    json_decref(cfg);
    return st;
}

/* Its folder is named as the hook point. */
static void take_hook(const char *dir, sl_sae_file *f)
{
    size_t n = strlen(dir);
    while (n > 0 && dir[n - 1] == '/')
        n--;
    size_t from = n;
    while (from > 0 && dir[from - 1] != '/')
        from--;
    snprintf(f->hook, sizeof f->hook, "%.*s", (int)(n - from < 90 ? n - from : 90), dir + from);
}

static sl_status read_folder(sl_ctx *ctx, const char *dir, const char *weights, sl_sae_file *f, sl_dict *d, sl_err *err)
{
    char path[1024];
    const sl_tensor *w;
    SL_TRY(sl_path_join(path, sizeof path, dir, "cfg.json", err));
    SL_TRY(read_cfg(ctx, path, f, err));
    SL_TRY(sl_safetensors_read(ctx, weights, d, err));
    SL_TRY(sl_dict_need(d, weights, "W_dec", 2, (const int64_t[]){ f->d_sae, f->d_in }, &w, err));
    if (sl_dict_get(d, "W_skip") && strcmp(f->ops->info.name, "skip_transcoder") != 0)
        return sl_fail(err, SL_DATA, weights, "\"skip_connection\": true in cfg.json", "there is a tensor 'W_skip'");
    f->names = names;
    take_hook(dir, f);
    return SL_OK;
}

/* ---- writing ---- */

static const char *their_name(const char *ours)
{
    for (const sl_sae_names *n = names; n->ours; n++)
        if (strcmp(n->ours, ours) == 0)
            return n->theirs;
    return ours;
}

/* k of a variant that takes the k largest of each row, else 0. */
static int64_t rows_k(const sl_sae *s)
{
    const sl_opt *k = sl_opts_find(s->ops->info.opts, "k"), *activation = sl_opts_find(s->ops->info.opts, "activation");
    char text[32] = "topk";
    if (activation)
        sl_opts_text(activation, s->opts, text, sizeof text);
    bool rows = k && !s->ops->threshold && !(s->ops->decode && !s->ops->d_out) && strcmp(text, "topk") == 0;
    return rows ? *(const int64_t *)(const void *)((const char *)s->opts + k->offset) : 0;
}

static sl_status check(const sl_sae *s, const char *dir, sl_err *err)
{
    if (rows_k(s) < 1)
        return sl_fail(err, SL_UNAVAILABLE, dir, "topk, or a transcoder of the k largest", "sparsify has no '%s'", s->ops->info.name);
    if (s->d_out != s->d_in)
        return sl_fail(err, SL_UNAVAILABLE, dir, "d_out = d_in", "sparsify has no transcoder of %lld to %lld", (long long)s->d_in, (long long)s->d_out);
    if (s->center_input == (s->ops->d_out != NULL) || s->row_norm)
        return sl_fail(err, SL_UNAVAILABLE, dir, NULL, "sparsify cannot say that %s", s->row_norm ? "rows are normalised" : s->center_input ? "b_dec is in the input" : "b_dec is not in the input");
    return SL_OK;
}

static sl_status write_folder(sl_sae *s, const char *dir, sl_err *err)
{
    char path[1024];
    const char *list[SL_SAE_EXTRA + 4];
    sl_tensor t[SL_SAE_EXTRA + 4];
    int n = sl_params_count(s->params);
    SL_TRY(check(s, dir, err));
    for (int i = 0; i < n; i++) {
        const sl_param *p = sl_params_at(s->params, i);
        list[i] = their_name(p->name);
        t[i] = p->value;
    }
    SL_TRY(sl_path_join(path, sizeof path, dir, "sae.safetensors", err));
    SL_TRY(sl_safetensors_write(s->ctx, path, n, list, t, NULL, err));
    bool transcode = s->ops->d_out != NULL, skip = sl_params_find(s->params, "W_skip") != NULL;
    json_t *cfg = json_pack("{s:s, s:i, s:b, s:I, s:I, s:b, s:b, s:b, s:I}", "activation", "topk", "expansion_factor", 32, "normalize_decoder",
                            (int)s->ops->unit_decoder(s->opts), "num_latents", (json_int_t)s->d_sae, "k", (json_int_t)rows_k(s), "multi_topk", 0,
                            "skip_connection", (int)skip, "transcode", (int)transcode, "d_in", (json_int_t)s->d_in);
    SL_TRY(sl_path_join(path, sizeof path, dir, "cfg.json", err));
    sl_status st = cfg ? sl_json_save(s->ctx, path, cfg, err) : sl_fail(err, SL_MEM, path, NULL, "the configuration could not be put together");
    json_decref(cfg);
    return st;
}

const sl_sae_format sl_format_sparsify = { "sparsify", "sae.safetensors", read_folder, write_folder };
