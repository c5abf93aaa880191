/* Speed of TopK training: tokens/s of whole steps, and where the time of a step goes. Rows are gaussian and made beforehand, so that no
 * source is waited for. Arguments: d_in d_sae k batch steps (defaults 384 3072 32 1024 20). Last line: JSON. */
#include "sae/variant.h"

#include <math.h>
#include <saelab/kern_info.h>
#include <saelab/rng.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { ENCODE, DECODE, BACKWARD, OPTIMIZER, N_PARTS, REPS_MAX = 1000 };
static const char *const parts[] = { "encode", "decode_loss", "backward", "optimizer" };

typedef struct bench { int64_t d, f, k, batch, steps; sl_sae *s; sl_tape *t; sl_optim o; sl_tensor x; double ms[N_PARTS + 1][REPS_MAX]; } bench;

static double now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return 1e3 * (double)t.tv_sec + 1e-6 * (double)t.tv_nsec;
}

static sl_status one_step(bench *b, int64_t rep, sl_err *err)
{
    double at[N_PARTS + 1];
    sl_sae_batch info = { .step = rep, .steps = b->steps, .n = b->batch, .d_bar = (double)b->d };
    at[0] = now_ms();
    sl_tape_reset(b->t);
    sl_var x = sl_const(b->t, &b->x);
    sl_sae_pass p = { .x = x, .y = x, .z = b->s->ops->encode(b->t, b->s, x, &info) };
    at[1] = now_ms();
    p.xhat = sl_sae_reconstruct(b->t, b->s, p.z);
    sl_var loss = b->s->ops->loss(b->t, b->s, &p, &info);
    at[2] = now_ms();
    sl_params_zero_grad(b->s->params);
    SL_TRY(sl_tape_backward(b->t, loss, err));
    at[3] = now_ms();
    SL_TRY(sl_optim_step(&b->o, b->s->params, NULL, err));
    at[4] = now_ms();
    for (int i = 0; i < N_PARTS; i++)
        b->ms[i][rep] = at[i + 1] - at[i];
    b->ms[N_PARTS][rep] = at[N_PARTS] - at[0];
    if (!isfinite(sl_scalar(b->t, loss)))
        return sl_fail(err, SL_NUMERIC, "loss", NULL, "the loss is not finite");
    return SL_OK;
}

/* What is timed must also be right: with gaussian rows and no biases more than k latents are positive, so each row has k (tests/sae checks which). */
static sl_status check(bench *b, sl_ctx *ctx, sl_err *err)
{
    sl_codes z;
    SL_TRY(sl_codes_new(ctx, b->batch, b->k, &z, err));
    sl_status st = sl_sae_encode(b->s, b->x.data, b->batch, &z, NULL, err);
    for (int64_t r = 0; r < b->batch && st == SL_OK; r++)
        if (z.row_ptr[r + 1] - z.row_ptr[r] != b->k)
            st = sl_fail(err, SL_NUMERIC, "codes", "k latents", "row %lld has %lld", (long long)r, (long long)(z.row_ptr[r + 1] - z.row_ptr[r]));
    sl_codes_release(ctx, &z);
    return st;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *v, int64_t n)
{
    qsort(v, (size_t)n, sizeof *v, by_size);
    return v[n / 2];
}

static void print(bench *b, const sl_machine *m)
{
    double total = median(b->ms[N_PARTS], b->steps), gflop = 2 * (double)b->batch * (double)b->d * (double)b->f * 1e-9;
    printf("topk d_in %lld d_sae %lld k %lld batch %lld, %s, %d threads\n", (long long)b->d, (long long)b->f, (long long)b->k, (long long)b->batch, m->kernels, m->threads);
    for (int i = 0; i < N_PARTS; i++)
        printf("  %-12s %8.2f ms\n", parts[i], median(b->ms[i], b->steps));
    printf("  %-12s %8.2f ms (best %.2f, worst %.2f), %.0f tokens/s; encoder product %.1f GFLOP, %.0f GFLOP/s\n", "step", total, b->ms[N_PARTS][0],
           b->ms[N_PARTS][b->steps - 1], 1e3 * (double)b->batch / total, gflop, 1e3 * gflop / median(b->ms[ENCODE], b->steps));
    printf("{\"bench\":\"sae\",\"variant\":\"topk\",\"d_in\":%lld,\"d_sae\":%lld,\"k\":%lld,\"batch\":%lld,\"threads\":%d,\"kernels\":\"%s\",\"cpu\":\"%s\",\"steps\":%lld,",
           (long long)b->d, (long long)b->f, (long long)b->k, (long long)b->batch, m->threads, m->kernels, m->cpu, (long long)b->steps);
    for (int i = 0; i < N_PARTS; i++)
        printf("\"%s_ms\":%.3f,", parts[i], median(b->ms[i], b->steps));
    printf("\"step_ms\":%.3f,\"tokens_per_s\":%.1f,\"ratios\":{}}\n", total, 1e3 * (double)b->batch / total);
}

static sl_status run(bench *b, sl_ctx *ctx, sl_err *err)
{
    sl_machine m;
    SL_TRY(sl_machine_info(ctx, &m, err));
    SL_TRY(sl_sae_new(ctx, "topk", b->d, b->f, &(sl_topk_options){ .k = b->k, .aux_alpha = 1 / 32. }, 0, &b->s, err));
    SL_TRY(sl_tape_new(ctx, SL_F32, &b->t, err));
    b->o = (sl_optim){ .kind = SL_OPTIM_ADAMW, .lr = 1e-3, .beta1 = .9, .beta2 = .999, .eps = 1e-8, .clip = 1 };
    SL_TRY(check(b, ctx, err));
    for (int64_t rep = 0; rep < 3; rep++)
        SL_TRY(one_step(b, rep, err));
    for (int64_t rep = 0; rep < b->steps; rep++)
        SL_TRY(one_step(b, rep, err));
    print(b, &m);
    return SL_OK;
}

int main(int argc, char **argv)
{
    static bench b = { .d = 384, .f = 3072, .k = 32, .batch = 1024, .steps = 20 };
    int64_t *const arg[] = { &b.d, &b.f, &b.k, &b.batch, &b.steps };
    for (int i = 1; i < argc && i <= 5; i++)
        if (!sl_parse_int(argv[i], arg[i - 1]) || *arg[i - 1] < 1)
            return fprintf(stderr, "usage: bench_sae [d_in d_sae k batch steps]\n"), 2;
    b.steps = b.steps > REPS_MAX ? REPS_MAX : b.steps;
    sl_ctx *ctx = sl_ctx_new(NULL);
    sl_err err;
    float *x = ctx ? sl_alloc(ctx, (size_t)(b.batch * b.d) * sizeof *x) : NULL;
    if (!x)
        return fprintf(stderr, "out of memory\n"), 1;
    sl_rng g = sl_rng_at(0, SL_RNG_TEST, 0, 0);
    for (int64_t i = 0; i < b.batch * b.d; i++)
        x[i] = (float)sl_rng_normal(&g);
    b.x = sl_tensor_of(SL_F32, x, 2, b.batch, b.d);
    sl_status st = run(&b, ctx, &err);
    if (st != SL_OK)
        fprintf(stderr, "%s\n", err.msg);
    sl_tape_free(b.t);
    sl_sae_free(b.s);
    sl_free(ctx, x);
    sl_ctx_free(ctx);
    return st == SL_OK ? 0 : 1;
}
