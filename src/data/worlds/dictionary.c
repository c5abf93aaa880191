/* Dictionaries and small things that worlds share. */
#include "data/worlds/world.h"
#include "io/io.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

float *sl_world_directions(sl_world *w, int64_t n, int64_t d, unsigned tensor)
{
    float *dir = sl_world_alloc(w, (size_t)(n * d) * sizeof *dir);
    if (!dir)
        return NULL;
#pragma omp parallel for num_threads(sl_ctx_threads(w->ctx)) schedule(static)
    for (int64_t i = 0; i < n; i++) {
        sl_rng r = sl_world_rng(w, SL_USE_TRUTH, tensor, (uint64_t)i);
        double sq = 0;
        for (int64_t j = 0; j < d; j++) {
            double v = sl_rng_normal(&r);
            dir[i * d + j] = (float)v;
            sq += v * v;
        }
        for (int64_t j = 0; j < d; j++)
            dir[i * d + j] = (float)((double)dir[i * d + j] / sqrt(sq));
    }
    return dir;
}

bool sl_world_plain_features(sl_world *w, int64_t n)
{
    sl_world_feature *f = sl_world_alloc(w, (size_t)n * sizeof *f);
    for (int64_t i = 0; f && i < n; i++) {
        snprintf(f[i].name, sizeof f[i].name, "f%lld", (long long)i);
        f[i].order = 1;
        f[i].family = (int32_t)i;
    }
    w->truth.feature = f;
    return f != NULL;
}

void sl_world_choose(sl_rng *r, int64_t n, int k, int32_t *out)
{
    for (int i = 0; i < k; i++) {
        int32_t top = (int32_t)(n - k + i), c = (int32_t)sl_rng_below(r, (uint64_t)top + 1);
        for (int j = 0; j < i; j++)
            if (out[j] == c) {
                c = top;
                break;
            }
        out[i] = c;
    }
}

/* ---- orthogonalisation ---- */

typedef struct ortho { int64_t n, d; float *f, *g, *m, *v, *gram; } ortho;

/* d/df_i = 4 sum_j (f_i.f_j) f_j - 4 |f_i|^2 f_i + 4 n (|f_i|^2 - 1) f_i, and sum_j (f_i.f_j) f_j = F (F^T F): d^2 work a row instead of n d. */
static void ortho_step(sl_world *w, const sl_kern *k, ortho *o, double lr, int64_t step)
{
    sl_tensor F = sl_tensor_of(SL_F32, o->f, 2, o->n, o->d), g = sl_tensor_of(SL_F32, o->g, 2, o->n, o->d);
    sl_tensor m = sl_tensor_of(SL_F32, o->m, 2, o->n, o->d), v = sl_tensor_of(SL_F32, o->v, 2, o->n, o->d);
    sl_tensor gram = sl_tensor_of(SL_F32, o->gram, 2, o->d, o->d);
    k->gemm(k, &(sl_gemm){ .a = &F, .b = &F, .ta = true, .c = &gram, .alpha = 1 });
    k->gemm(k, &(sl_gemm){ .a = &F, .b = &gram, .c = &g, .alpha = 1 });
#pragma omp parallel for num_threads(sl_ctx_threads(w->ctx)) schedule(static)
    for (int64_t i = 0; i < o->n; i++) {
        const float *f = o->f + i * o->d;
        float *gi = o->g + i * o->d;
        double sq = 0;
        for (int64_t j = 0; j < o->d; j++)
            sq += (double)f[j] * (double)f[j];
        float own = (float)((double)o->n * (sq - 1) - sq);
        for (int64_t j = 0; j < o->d; j++)
            gi[j] = 4 * (gi[j] + own * f[j]);
    }
    k->adam(k, &(sl_adam){ .lr = lr, .beta1 = .9, .beta2 = .999, .eps = 1e-8, .grad_scale = 1, .step = step }, &F, &g, &m, &v);
}

static sl_status ortho_run(sl_world *w, ortho *o, int64_t steps, double lr, sl_err *err)
{
    const sl_kern *k;
    SL_TRY(sl_kern_get(w->ctx, SL_F32, &k, err));
    for (int64_t s = 1; s <= steps; s++) {
        if (sl_cancelled(w->ctx))
            return sl_fail(err, SL_CANCELLED, w->ops->info.name, NULL, "stopped by a signal while its dictionary was made");
        ortho_step(w, k, o, lr, s);
        sl_progress(w->ctx, "make dictionary", (double)s, (double)steps, "steps", NULL);
    }
    sl_tensor F = sl_tensor_of(SL_F32, o->f, 2, o->n, o->d);
    k->row_normalize(k, &F);
    return sl_kern_failed(k) ? sl_world_no_memory(w, err) : SL_OK;
}

/* cache/worlds/dictionary-KEY.safetensors; the key names everything that its numbers depend on. */
static sl_status cache_path(const sl_world *w, const ortho *o, int64_t steps, double lr, char path[1024], sl_err *err)
{
    const sl_kern *k;
    char what[512], key[65], dir[900], name[100];
    SL_TRY(sl_kern_get(w->ctx, SL_F32, &k, err));
    sl_sha256_hex(o->f, (size_t)(o->n * o->d) * sizeof *o->f, key);
    snprintf(what, sizeof what, "ortho 1 %s %lld %lld %lld %.17g %s", key, (long long)o->n, (long long)o->d, (long long)steps, lr, k->id);
    sl_sha256_hex(what, strlen(what), key);
    snprintf(name, sizeof name, "dictionary-%.64s.safetensors", key);
    SL_TRY(sl_path_join(dir, sizeof dir, sl_ctx_cache_dir(w->ctx), "worlds", err));
    return sl_path_join(path, 1024, dir, name, err);
}

static bool cache_read(const sl_world *w, const char *path, ortho *o)
{
    sl_dict dict;
    const sl_tensor *t;
    sl_err none;
    if (!sl_path_exists(path) || sl_safetensors_read(w->ctx, path, &dict, &none) != SL_OK)
        return false;
    bool good = sl_dict_need_as(&dict, path, "dir", SL_F32, 2, (int64_t[]){ o->n, o->d }, &t, &none) == SL_OK;
    if (good)
        memcpy(o->f, t->data, sl_nbytes(t));
    sl_dict_release(&dict);
    return good;
}

/* A cache that cannot be written to costs a minute the next time, no more. */
static void cache_write(const sl_world *w, const char *path, const ortho *o)
{
    char dir[1024];
    sl_err why;
    sl_tensor t = sl_tensor_of(SL_F32, o->f, 2, o->n, o->d);
    const char *name = "dir";
    if (sl_path_join(dir, sizeof dir, sl_ctx_cache_dir(w->ctx), "worlds", &why) != SL_OK || sl_dir_make(dir, &why) != SL_OK ||
        sl_safetensors_write(w->ctx, path, 1, &name, &t, NULL, &why) != SL_OK)
        sl_log(w->ctx, SL_LOG_WARN, "the dictionary is not kept: %s", why.msg);
}

sl_status sl_world_orthogonalize(sl_world *w, float *dir, int64_t n, int64_t d, int64_t steps, double lr, sl_err *err)
{
    if (steps < 1)
        return SL_OK;
    char path[1024];
    ortho o = { .n = n, .d = d, .f = dir };
    bool worth = n * d * steps > 1 << 26; /* below that it takes less than a second */
    SL_TRY(cache_path(w, &o, steps, lr, path, err));
    if (worth && cache_read(w, path, &o))
        return SL_OK;
    size_t cells = (size_t)(n * d);
    o.g = sl_alloc(w->ctx, cells * sizeof *o.g);
    o.m = sl_alloc(w->ctx, cells * sizeof *o.m);
    o.v = sl_alloc(w->ctx, cells * sizeof *o.v);
    o.gram = sl_alloc(w->ctx, (size_t)(d * d) * sizeof *o.gram);
    sl_status st = o.g && o.m && o.v && o.gram ? ortho_run(w, &o, steps, lr, err) : sl_world_no_memory(w, err);
    sl_free(w->ctx, o.g);
    sl_free(w->ctx, o.m);
    sl_free(w->ctx, o.v);
    sl_free(w->ctx, o.gram);
    if (st == SL_OK && worth)
        cache_write(w, path, &o);
    return st;
}
