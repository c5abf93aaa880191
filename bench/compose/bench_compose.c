/* A training step of the compositional SAE over one of a TopK SAE of equal d_sae, and PolySAE's over the same.
 *
 *     bench_compose [--rounds N] [--steps N] [--only ARM] [--quick]
 *
 * d 512, d_sae 256, batch 512, k 32 and k 90 (where stage B begins when k falls from 128), options as they are by default, and with lists
 * of all tokens (order 0). First that one step's loss and gradients are those of the plain kernels. Then rounds (default 21) in which every
 * SAE takes its turn of --steps steps (default 6, the first not counted), so that all of them see the same load. A ratio is the median over
 * rounds of the ratio within a round. --only: one of the SAEs alone, for a profile, without the check. The last line is one JSON object. */
#include "../sae/bench.h"
#include "sae/variant.h"

#include <saelab/kern_info.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { D = 512, F = 256, B = 512, MADE = 4, MAX_ROUNDS = 256, N_ARM = 4, N_K = 2, RUN_STEPS = 1 << 20 };
enum { TIME_FORWARD, TIME_BACKWARD, TIME_OPTIMIZER, N_TIME };
enum { TOPK, COMPOSITION, COMPOSITION_ALL, POLYSAE };
static const char *const arm_names[N_ARM] = { "topk", "compositional", "compositional, order 0", "polysae" };
static const char *const ratio_names[N_ARM] = { NULL, "composition_vs_topk", "composition_all_pairs_vs_topk", "polysae_vs_topk" };
static const int64_t all_k[N_K] = { 32, 90 };

typedef struct options { int64_t rounds, steps, only; /* an arm, or -1 */ } options;

/* One SAE in training, past stage A. */
typedef struct arm {
    sl_sae *s;
    sl_tape *t;
    sl_optim o;
    int64_t step;
    double loss, seconds[MAX_ROUNDS], part[N_TIME][MAX_ROUNDS], cpu[MAX_ROUNDS]; /* of a step, the mean of a turn; cpu: of all threads */
} arm;

static float *rows;

static void must(sl_status st, const sl_err *err)
{
    if (st == SL_OK)
        return;
    fprintf(stderr, "bench_compose: %s\n", err->msg);
    exit(1);
}

static void set(sl_ctx *ctx, const sl_opt *table, void *opts, const char *name, int64_t v)
{
    char text[32];
    sl_err err;
    snprintf(text, sizeof text, "%lld", (long long)v);
    must(sl_opts_set(ctx, table, opts, name, text, "bench", SL_ARG, &err), &err);
}

/* rho starts at 0, where half of the gradients are 0: here it is what it may be later. */
static void make(sl_ctx *ctx, int which, int64_t k, arm *a)
{
    _Alignas(max_align_t) char opts[4096];
    const char *variant = which == COMPOSITION_ALL ? "compositional" : arm_names[which];
    const sl_variant_info *info = &sl_sae_ops_find(variant)->info;
    sl_err err;
    sl_opts_default(info->opts, opts);
    set(ctx, info->opts, opts, "k", k);
    if (which == COMPOSITION_ALL)
        set(ctx, info->opts, opts, "order", 0);
    *a = (arm){ .o = { .kind = SL_OPTIM_ADAMW, .lr = 3e-4, .beta1 = .9, .beta2 = .999, .eps = 1e-8, .clip = 1 }, .step = RUN_STEPS / 2 };
    must(sl_sae_new(ctx, variant, D, F, opts, 0, &a->s, &err), &err);
    must(sl_tape_new(ctx, SL_F32, &a->t, &err), &err);
    sl_param *rho = sl_params_find(a->s->params, "rho");
    if (rho)
        *(float *)rho->value.data = .5f;
}

static void drop(arm *a)
{
    sl_tape_free(a->t);
    sl_sae_free(a->s);
}

/* Forward and backward; seconds of each. */
static sl_sae_pass learn(arm *a, const sl_sae_batch *b, double *part)
{
    sl_err err;
    sl_tensor x = sl_tensor_of(SL_F32, rows + a->step % MADE * B * D, 2, B, D);
    double at = now();
    sl_tape_reset(a->t);
    sl_sae_pass p = sl_sae_forward(a->t, a->s, sl_const(a->t, &x), (sl_var){ 0 }, b);
    sl_var loss = a->s->ops->loss(a->t, a->s, &p, b);
    must(sl_tape_status(a->t, &err), &err);
    part[TIME_FORWARD] = now() - at;
    at = now();
    sl_params_zero_grad(a->s->params);
    must(sl_tape_backward(a->t, loss, &err), &err);
    part[TIME_BACKWARD] = now() - at;
    a->loss = sl_scalar(a->t, loss);
    return p;
}

static void one_step(arm *a, double *part)
{
    sl_err err;
    sl_sae_batch b = { .step = a->step, .steps = RUN_STEPS, .n = B, .d_bar = D };
    sl_sae_seen seen = { .n = B };
    sl_sae_pass p = learn(a, &b, part);
    double at = now();
    must(sl_optim_step(&a->o, a->s->params, NULL, &err), &err);
    if (a->s->ops->after_step)
        a->s->ops->after_step(a->t, a->s, &p, &b, &seen);
    must(sl_tape_status(a->t, &err), &err);
    part[TIME_OPTIMIZER] = now() - at;
    a->step++;
}

/* ---- correctness ---- */

/* The largest over tensors of |difference of gradients| / |gradient|. */
static double difference(arm *a, arm *b)
{
    sl_err err;
    double worst = fabs(a->loss - b->loss) / fabs(b->loss);
    must(sl_params_dense(a->s->params, &err), &err);
    must(sl_params_dense(b->s->params, &err), &err);
    for (int i = 0; i < sl_params_count(a->s->params); i++) {
        const sl_param *p = sl_params_at(a->s->params, i), *q = sl_params_at(b->s->params, i);
        const float *u = p->grad.data, *v = q->grad.data;
        double off = 0, sq = 0;
        for (int64_t e = 0; !(p->flags & SL_PARAM_FROZEN) && e < sl_numel(&p->grad); e++) {
            off += ((double)u[e] - (double)v[e]) * ((double)u[e] - (double)v[e]);
            sq += (double)v[e] * (double)v[e];
        }
        worst = sq > 0 ? fmax(worst, sqrt(off / sq)) : off > 0 ? INFINITY : worst;
    }
    return worst;
}

/* A pair of logits, or of compositions, that differ by rounding may be chosen the other way round: hence not 1e-6. */
#define MOST_DIFFERENCE 1e-3

static double check(sl_ctx *ctx, sl_ctx *plain, int which, int64_t k)
{
    arm a, b;
    double part[N_TIME], d;
    sl_sae_batch batch = { .step = RUN_STEPS / 2, .steps = RUN_STEPS, .n = B, .d_bar = D };
    make(ctx, which, k, &a);
    make(plain, which, k, &b);
    learn(&a, &batch, part);
    learn(&b, &batch, part);
    d = difference(&a, &b);
    printf("  k %3lld  %-24s loss %.6f  largest difference of a gradient %.1e%s\n", (long long)k, arm_names[which], a.loss, d, d <= MOST_DIFFERENCE ? "" : "  WRONG");
    drop(&a);
    drop(&b);
    return d;
}

/* ---- time ---- */

static void turn(arm *a, int round, int64_t steps)
{
    double part[N_TIME], sum[N_TIME] = { 0 };
    one_step(a, part); /* brings its weights into the caches */
    double cpu = cpu_now();
    for (int64_t i = 0; i < steps; i++) {
        one_step(a, part);
        for (int p = 0; p < N_TIME; p++)
            sum[p] += part[p];
    }
    a->cpu[round] = (cpu_now() - cpu) / (double)steps;
    a->seconds[round] = 0;
    for (int p = 0; p < N_TIME; p++) {
        a->part[p][round] = sum[p] / (double)steps;
        a->seconds[round] += a->part[p][round];
    }
}

/* To the TopK step. */
typedef struct ratios { double wall[N_ARM], cpu[N_ARM]; } ratios;

static void measure(sl_ctx *ctx, int64_t k, const options *o, ratios *ratio)
{
    static arm a[N_ARM];
    static double r[N_ARM][MAX_ROUNDS], c[N_ARM][MAX_ROUNDS];
    int rounds = (int)o->rounds, first = o->only < 0 ? 0 : (int)o->only, end = o->only < 0 ? N_ARM : first + 1;
    for (int i = first; i < end; i++)
        make(ctx, i, k, &a[i]);
    for (int n = 0; n < rounds; n++)
        for (int i = first; i < end; i++) {
            turn(&a[i], n, o->steps);
            r[i][n] = a[i].seconds[n] / a[first].seconds[n];
            c[i][n] = a[i].cpu[n] / a[first].cpu[n];
        }
    for (int i = first; i < end; i++) {
        ratio->wall[i] = median(r[i], rounds);
        ratio->cpu[i] = median(c[i], rounds);
        printf("  k %3lld  %-24s %7.2f ms a step  (forward %.2f, backward %.2f, optimizer %.2f; CPU %.2f)", (long long)k, arm_names[i], 1e3 * median(a[i].seconds, rounds),
               1e3 * median(a[i].part[0], rounds), 1e3 * median(a[i].part[1], rounds), 1e3 * median(a[i].part[2], rounds), 1e3 * median(a[i].cpu, rounds));
        if (i != first)
            printf("  %.2f times topk (%.2f to %.2f in %d rounds), in CPU time %.2f", ratio->wall[i], r[i][0], r[i][rounds - 1], rounds, ratio->cpu[i]);
        putchar('\n');
        drop(&a[i]);
    }
}

/* ---- the program ---- */

static int usage(void)
{
    fputs("usage: bench_compose [--rounds N] [--steps N] [--only topk|compositional|order0|polysae] [--quick]\n", stderr);
    return 2;
}

static bool parse(int argc, char **argv, options *o)
{
    static const char *const names[N_ARM] = { "topk", "compositional", "order0", "polysae" };
    for (int i = 1; i < argc; i++) {
        int64_t *to = strcmp(argv[i], "--rounds") == 0 ? &o->rounds : strcmp(argv[i], "--steps") == 0 ? &o->steps : NULL;
        if (strcmp(argv[i], "--quick") == 0) {
            o->rounds = 3;
            o->steps = 2;
        } else if (strcmp(argv[i], "--only") == 0 && i + 1 < argc) {
            for (i++, o->only = 0; o->only < N_ARM && strcmp(argv[i], names[o->only]) != 0;)
                o->only++;
        } else if (!to || i + 1 == argc || !sl_parse_int(argv[++i], to)) {
            return false;
        }
    }
    return o->rounds >= 1 && o->rounds <= MAX_ROUNDS && o->steps >= 1 && o->only < N_ARM;
}

static void put_json(const sl_machine *m, const ratios ratio[N_K], double worst)
{
    printf("{\"bench\":\"compose\",\"cpu\":\"%s\",\"kernels\":\"%s\",\"threads\":%d,\"largest_difference\":%.3g,\"ratios\":{", m->cpu, m->kernels, m->threads, worst);
    for (int k = 0; k < N_K; k++)
        for (int i = 1; i < N_ARM; i++)
            printf("%s\"%s%s\":%.4g,\"%s%s_cpu\":%.4g", k + i > 1 ? "," : "", ratio_names[i], k ? "_at_k_90" : "", ratio[k].wall[i], ratio_names[i],
                   k ? "_at_k_90" : "", ratio[k].cpu[i]);
    puts("}}");
}

int main(int argc, char **argv)
{
    options o = { 21, 6, -1 };
    static ratios ratio[N_K];
    double worst = 0;
    sl_machine m;
    sl_err err;
    if (!parse(argc, argv, &o))
        return usage();
    setvbuf(stdout, NULL, _IOLBF, 0);
    sl_ctx *ctx = sl_ctx_new(NULL), *plain = sl_ctx_new(&(sl_ctx_opts){ .kern = "ref" });
    if (!ctx || !plain)
        return fputs("bench_compose: no memory\n", stderr), 1;
    must(sl_machine_info(ctx, &m, &err), &err);
    float *directions = room((int64_t)F * D);
    rows = room((int64_t)MADE * B * D);
    make_dictionary(directions, F, D, ROWS_SUMS);
    make_rows(rows, (int64_t)MADE * B, directions, F, D, ROWS_SUMS, 1);
    printf("%s, %s, %d threads; d %d, d_sae %d, batch %d\none step against plain C\n", m.cpu, m.kernels, m.threads, D, F, B);
    for (int k = 0; k < N_K && o.only < 0; k++)
        for (int i = 0; i < N_ARM; i++)
            worst = fmax(worst, check(ctx, plain, i, all_k[k]));
    puts("steps in turns");
    for (int k = 0; k < N_K; k++)
        measure(ctx, all_k[k], &o, &ratio[k]);
    if (o.only < 0)
        put_json(&m, ratio, worst);
    free(directions);
    free(rows);
    sl_ctx_free(plain);
    sl_ctx_free(ctx);
    return worst <= MOST_DIFFERENCE ? 0 : 1;
}
