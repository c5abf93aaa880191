/* A baseline's folder: baseline.json (method, options, how the fit went) and baseline.safetensors (W_dec, b_dec, and the encoder's own W_enc and
 * b_enc where there are any). */
#include "eval/baselines/baseline.h"

#include "io/io.h"

#include <string.h>

enum { VERSION = 1 };

/* ---- saving ---- */

static json_t *options_json(const sl_baseline *b)
{
    char text[256];
    json_t *o = json_object();
    for (const sl_opt *p = b->ops->info.opts; o && p->type != SL_T_END; p++) {
        sl_opts_text(p, b->opts, text, sizeof text);
        json_object_set_new(o, p->name, json_string(text));
    }
    return o;
}

static sl_status save_json(const sl_baseline *b, const char *path, sl_err *err)
{
    json_t *value = b->n_curve ? json_real(b->curve[b->n_curve - 1]) : json_null();
    json_t *j = json_pack("{s:s, s:i, s:s, s:o, s:s, s:s, s:s, s:I, s:I, s:I, s:s, s:o, s:I, s:b}", "format", "saelab_baseline", "version", (int)VERSION, "method",
                          b->ops->info.name, "options", options_json(b), "hook", b->hook, "model", b->model,
                          "dataset", b->dataset, "d_in", (json_int_t)b->d_in, "d_sae", (json_int_t)b->d_sae, "seed",
                          (json_int_t)b->seed, "objective", b->ops->objective, "value", value, "iterations", (json_int_t)b->n_curve, "converged",
                          b->converged);
    sl_status st = j ? sl_json_save(b->ctx, path, j, err) : sl_fail(err, SL_MEM, path, NULL, "no memory for the description");
    json_decref(j);
    return st;
}

sl_status sl_baseline_save(const sl_baseline *b, const char *dir, sl_err *err)
{
    char path[1024];
    const char *names[4] = { "W_dec", "b_dec", "W_enc", "b_enc" };
    const sl_tensor *all[4] = { &b->W_dec, &b->b_dec, &b->W_enc, &b->b_enc };
    const char *given[4];
    sl_tensor tensors[4];
    int n = 0;
    for (int i = 0; i < 4; i++)
        if (all[i]->data) {
            given[n] = names[i];
            tensors[n++] = *all[i];
        }
    tensors[0] = sl_tensor_of(SL_F32, b->W_dec.data, 2, b->d_sae, b->d_in);
    SL_TRY(sl_dir_make(dir, err));
    SL_TRY(sl_path_join(path, sizeof path, dir, "baseline.safetensors", err));
    SL_TRY(sl_safetensors_write(b->ctx, path, n, given, tensors, NULL, err));
    SL_TRY(sl_path_join(path, sizeof path, dir, "baseline.json", err));
    return save_json(b, path, err);
}

/* ---- loading ---- */

bool sl_baseline_is_dir(const char *dir)
{
    char path[1024];
    return sl_path_join(path, sizeof path, dir, "baseline.json", NULL) == SL_OK && sl_path_exists(path);
}

static sl_status load_options(sl_baseline *b, const json_t *options, const char *path, sl_err *err)
{
    const char *name;
    json_t *v;
    sl_opts_default(b->ops->info.opts, b->opts);
    if (!json_is_object(options))
        return sl_fail(err, SL_DATA, path, "an object", "options are missing");
    json_object_foreach((json_t *)(uintptr_t)options, name, v) {
        if (!json_is_string(v))
            return sl_fail(err, SL_DATA, path, "text", "option %s", name);
        SL_TRY(sl_opts_set(b->ctx, b->ops->info.opts, b->opts, name, json_string_value(v), path, SL_DATA, err));
    }
    return SL_OK;
}

static sl_status read_json(sl_baseline *b, const json_t *j, const char *path, sl_err *err)
{
    char text[64];
    int64_t version, seed;
    SL_TRY(sl_json_text(j, path, "format", text, sizeof text, err));
    SL_TRY(sl_json_int(j, path, "version", 1, VERSION, &version, err));
    SL_TRY(sl_json_text(j, path, "method", text, sizeof text, err));
    SL_TRY(sl_json_text(j, path, "hook", b->hook, sizeof b->hook, err));
    SL_TRY(sl_json_text(j, path, "model", b->model, sizeof b->model, err));
    SL_TRY(sl_json_text(j, path, "dataset", b->dataset, sizeof b->dataset, err));
    SL_TRY(sl_json_int(j, path, "d_in", 1, 1 << 24, &b->d_in, err));
    SL_TRY(sl_json_int(j, path, "d_sae", 1, 1 << 24, &b->d_sae, err));
    SL_TRY(sl_json_int(j, path, "seed", INT64_MIN, INT64_MAX, &seed, err));
    SL_TRY(sl_json_bool(j, path, "converged", &b->converged, err));
    b->seed = (uint64_t)seed;
    b->ops = sl_baseline_ops_find(text);
    if (!b->ops)
        return sl_fail(err, SL_DATA, path, "a method of this version", "method '%s' is unknown", text);
    SL_TRY(load_options(b, json_object_get(j, "options"), path, err));
    b->k = b->ops->k(b->opts);
    if (b->k > b->d_sae)
        return sl_fail(err, SL_DATA, path, "at most d_sae", "k is %lld of %lld latents", (long long)b->k, (long long)b->d_sae);
    return SL_OK;
}

/* Copies a tensor of the file; rows 0: of one dimension. */
static sl_status take(sl_baseline *b, const sl_dict *d, const char *file, const char *name, int64_t rows, int64_t cols, sl_tensor *out, sl_err *err)
{
    const sl_tensor *t;
    SL_TRY(sl_dict_need_as(d, file, name, SL_F32, rows ? 2 : 1, rows ? (int64_t[]){ rows, cols } : (int64_t[]){ cols }, &t, err));
    SL_TRY(sl_base_matrix(b, name, rows ? rows : 1, cols, out, err));
    memcpy(out->data, t->data, sl_nbytes(t));
    int64_t bad = b->kern->not_finite(b->kern, out);
    if (bad >= 0)
        return sl_fail(err, SL_NUMERIC, file, "finite numbers", "%s: element %lld is %g", name, (long long)bad, (double)((const float *)out->data)[bad]);
    return SL_OK;
}

static sl_status read_tensors(sl_baseline *b, const char *file, sl_err *err)
{
    sl_dict d;
    sl_dict_init(b->ctx, &d);
    sl_status st;
    SL_GO(sl_safetensors_read(b->ctx, file, &d, err));
    SL_GO(take(b, &d, file, "W_dec", b->d_sae, b->d_in, &b->W_dec, err));
    SL_GO(take(b, &d, file, "b_dec", 0, b->d_in, &b->b_dec, err));
    if (b->ops->enc_width)
        SL_GO(take(b, &d, file, "W_enc", b->d_sae, b->ops->enc_width * b->d_in, &b->W_enc, err));
    if (b->ops->has_b_enc)
        SL_GO(take(b, &d, file, "b_enc", 0, b->d_sae, &b->b_enc, err));
done:
    sl_dict_release(&d);
    return st;
}

sl_status sl_baseline_load(sl_ctx *ctx, const char *dir, sl_baseline **out, sl_err *err)
{
    char path[1024];
    json_t *j = NULL;
    *out = NULL;
    sl_baseline *b = sl_alloc(ctx, sizeof *b);
    if (!b)
        return sl_fail(err, SL_MEM, dir, NULL, "no memory");
    *b = (sl_baseline){ .ctx = ctx };
    sl_status st;
    SL_GO(sl_kern_get(ctx, SL_F32, &b->kern, err));
    SL_GO(sl_path_join(path, sizeof path, dir, "baseline.json", err));
    SL_GO(sl_json_load_file(ctx, path, &j, err));
    SL_GO(read_json(b, j, path, err));
    SL_GO(sl_path_join(path, sizeof path, dir, "baseline.safetensors", err));
    SL_GO(read_tensors(b, path, err));
    *out = b;
done:
    json_decref(j);
    if (st != SL_OK)
        sl_baseline_free(b);
    return st;
}
