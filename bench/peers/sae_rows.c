/* SAE folders and their reconstructions for saelens_files.py, which compares them with SAELens's.
 *   bench_sae_rows make VARIANT D_SAE DIR ROWS.npy XHAT.npy   a random SAE, every weight of it, saved in DIR; x^ of the rows
 *   bench_sae_rows read DIR ROWS.npy XHAT.npy                 x^ of the SAE in DIR, of any format that is read
 *   bench_sae_rows convert FORMAT DIR OUT                     the SAE in DIR as sl_sae_convert writes it */
#include "io/io.h"
#include "sae/variant.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Weights of a size at which some latents are active, biases and thresholds that are not 0; rows of norm 1 only where encoding needs them. */
static void randomize(sl_sae *s, const sl_kern *k)
{
    for (int i = 0; i < sl_params_count(s->params); i++) {
        sl_param *p = sl_params_at(s->params, i);
        double std = p->value.n_dim > 1 ? 1 / sqrt((double)p->value.dim[1]) : .1;
        sl_param_normal(s->params, p, 7, std);
        for (int64_t j = 0; strcmp(p->name, "threshold") == 0 && j < sl_numel(&p->value); j++)
            ((float *)p->value.data)[j] = fabsf(((float *)p->value.data)[j]);
        sl_param_touch(p);
    }
    if (s->ops->no_encoder)
        k->row_normalize(k, &s->W_dec->value);
    if (s->ops->threshold) /* the scalar of BatchTopK and Matryoshka */
        s->state[0] = .3;
}

static sl_status encode(sl_ctx *ctx, sl_sae *s, const char *rows, const char *xhat, sl_err *err)
{
    sl_tensor x = { 0 };
    sl_codes z = { 0 };
    sl_sae_info info = sl_sae_about(s);
    sl_status st = sl_npy_read(ctx, rows, &x, err);
    if (st != SL_OK)
        return st;
    int64_t n = sl_rows(&x);
    float *y = sl_alloc(ctx, (size_t)(n * info.d_out) * sizeof *y);
    if (x.dtype != SL_F32 || sl_cols(&x) != info.d_in)
        st = sl_fail(err, SL_SHAPE, rows, "f32 rows of d_in", "they are something else");
    else if (!y)
        st = sl_fail(err, SL_MEM, rows, NULL, "no memory for %lld rows", (long long)n);
    else
        st = sl_codes_new(ctx, n, info.max_active, &z, err);
    if (st == SL_OK)
        st = sl_sae_encode(s, x.data, n, &z, y, err);
    sl_tensor out = sl_tensor_of(SL_F32, y, 2, n, info.d_out);
    if (st == SL_OK)
        st = sl_npy_write(ctx, xhat, &out, err);
    sl_codes_release(ctx, &z);
    sl_free(ctx, y);
    sl_free(ctx, x.data);
    return st;
}

static sl_status make(sl_ctx *ctx, char **arg, sl_err *err)
{
    sl_tensor x;
    sl_sae *s = NULL;
    const sl_kern *k;
    int64_t d_sae;
    if (!sl_parse_int(arg[1], &d_sae))
        return sl_fail(err, SL_ARG, "D_SAE", "a whole number", "it is '%s'", arg[1]);
    SL_TRY(sl_kern_get(ctx, SL_F32, &k, err));
    SL_TRY(sl_npy_read(ctx, arg[3], &x, err));
    sl_status st = sl_sae_new(ctx, arg[0], sl_cols(&x), d_sae, NULL, 0, &s, err);
    sl_free(ctx, x.data);
    if (st == SL_OK) {
        randomize(s, k);
        st = sl_sae_save(s, arg[2], err);
    }
    if (st == SL_OK)
        st = encode(ctx, s, arg[3], arg[4], err);
    sl_sae_free(s);
    return st;
}

static sl_status run(sl_ctx *ctx, int n, char **arg, sl_err *err)
{
    sl_sae *s = NULL;
    if (n == 6 && strcmp(arg[0], "make") == 0)
        return make(ctx, arg + 1, err);
    bool convert = n == 4 && strcmp(arg[0], "convert") == 0;
    if (!convert && !(n == 4 && strcmp(arg[0], "read") == 0))
        return sl_fail(err, SL_ARG, "arguments", "make, read or convert", "see the head of sae_rows.c");
    SL_TRY(sl_sae_load(ctx, arg[convert ? 2 : 1], &s, err));
    sl_status st = convert ? sl_sae_convert(s, arg[1], arg[3], err) : encode(ctx, s, arg[2], arg[3], err);
    sl_sae_free(s);
    return st;
}

int main(int argc, char **argv)
{
    sl_ctx *ctx = sl_ctx_new(NULL);
    sl_err err;
    sl_status st = ctx ? run(ctx, argc - 1, argv + 1, &err) : SL_MEM;
    if (st != SL_OK)
        fprintf(stderr, "bench_sae_rows: %s\n", ctx ? err.msg : "no memory");
    sl_ctx_free(ctx);
    return st == SL_OK ? 0 : 1;
}
