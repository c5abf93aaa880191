/* What perturbation training costs over the plain step, and where its time goes.
 *
 *     bench_perturb [--shape 0..3] [--rounds N] [--steps N] [--skip N] [--rows N] [--quick] [--cpu] [--generate]
 *
 * First that the codes of perturbed rows are right (--rows). Then, at each shape, rounds in which the arms take turns, each in a process of its
 * own that runs the trainer: --skip steps to warm up (default 20; 2 at the largest shape), then --steps (200; 10), of which the median
 * counts. Ratios are the medians over rounds of the ratio within a round. generate: noise, the choice of latents, their statistics; forward:
 * the perturbed codes and the loss; backward: all else above the plain step. --quick: one round of few steps. --cpu: seconds of the process on one
 * thread instead of the clock's on all, for a machine that others use too. --generate: only how fast gaussian views are made at the first shape, by
 * threads, views and rank. The last line is one JSON object. */
#include "perturb.h"

#include <saelab/kern_info.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { MAX_ROUNDS = 16, N_SHAPE = 4 };
static const size shapes[N_SHAPE] = { { 512, 4096, 32, 512 }, { 768, 24576, 32, 4096 }, { 64, 128, 5, 256 }, { 128, 1024, 8, 256 } };

typedef struct options { const char *self; int64_t shape, rounds, steps, skip, rows; bool quick, cpu, generate; } options;
typedef struct series { double seconds[MAX_ROUNDS], to_plain[MAX_ROUNDS], to_dense[MAX_ROUNDS], spent[N_SPENT], rss; int n; } series;

static bool is_small(const size *s) { return s->F <= 1024; }

static void add(series *s, const arm_result *r, const arm_result *plain, const arm_result *dense)
{
    s->to_plain[s->n] = r->seconds / plain->seconds;
    s->to_dense[s->n] = r->seconds / dense->seconds;
    s->seconds[s->n++] = r->seconds;
    memcpy(s->spent, r->spent, sizeof s->spent);
    s->rss = fmax(s->rss, r->rss);
}

/* One round: every arm of the shape once; the first two are what the others are compared with. */
static bool turn(const options *o, const size *s, series *all)
{
    arm_result r[N_ARM];
    bool large = s->F > 4096, done[N_ARM] = { false };
    for (int i = 0; i < N_ARM; i++) {
        arm_job j = { *s, i, (int)(o->skip >= 0 ? o->skip : large ? 2 : 20), (int)(o->steps > 0 ? o->steps : large ? 10 : 200), o->cpu, .rank = -1 };
        if (o->quick)
            j.skip = 2, j.steps = large ? 3 : 20;
        if (!arms[i].everywhere && !is_small(s))
            continue;
        done[i] = arm_run(o->self, &j, &r[i]);
        if (!done[i] && i <= DENSE)
            return false;
    }
    for (int i = 0; i < N_ARM; i++)
        if (done[i])
            add(&all[i], &r[i], &r[PLAIN], &r[DENSE]);
    return true;
}

static void print_arm(const size *s, int i, series *a, double plain)
{
    double t = median(a->seconds, a->n), rest = t - plain - a->spent[PART_GENERATE] - a->spent[PART_FORWARD];
    printf("  %-22s %9.2f ms (%.2f to %.2f)  x plain %.2f (%.2f to %.2f)  x dense %.2f  %7.1f GFLOP  peak %4.0f MiB", arms[i].name, 1e3 * t, 1e3 * a->seconds[0],
           1e3 * a->seconds[a->n - 1], median(a->to_plain, a->n), a->to_plain[0], a->to_plain[a->n - 1], median(a->to_dense, a->n), 1e-9 * arm_flops(s, i),
           a->rss / (1 << 20));
    if (arms[i].type != SL_PERTURB_NONE)
        printf("  generate %.2f  forward %.2f  backward %.2f ms", 1e3 * a->spent[PART_GENERATE], 1e3 * a->spent[PART_FORWARD], 1e3 * rest);
    putchar('\n');
}

static void print_shape(const size *s, series *all)
{
    for (int i = 0; i < N_ARM; i++)
        if (all[i].n) {
            median(all[i].to_plain, all[i].n);
            median(all[i].to_dense, all[i].n);
            print_arm(s, i, &all[i], median(all[PLAIN].seconds, all[PLAIN].n));
        }
    fflush(stdout);
}

static void measure(const options *o, const size *s, series *all)
{
    printf("d %lld, F %lld, k %lld, batch %lld\n", (long long)s->d, (long long)s->F, (long long)s->k, (long long)s->B);
    for (int64_t r = 0; r < (o->quick ? 1 : o->rounds); r++)
        if (!turn(o, s, all))
            return;
    print_shape(s, all);
}

/* ---- making views ---- */

/* Million rows of noise a second, median over rounds of a step's median. */
static double generating(const options *o, int threads, int views, int rank)
{
    arm_job j = { shapes[0], rank ? GAUSS_LOWRANK : GAUSS_FULL, 5, o->quick ? 5 : 50, .threads = threads, .views = views, .rank = rank };
    double rate[MAX_ROUNDS];
    int n = 0;
    arm_result r;
    for (int64_t i = 0; i < (o->quick ? 1 : o->rounds); i++)
        if (arm_run(o->self, &j, &r))
            rate[n++] = 1e-6 * (double)(views * shapes[0].B) / r.spent[PART_GENERATE];
    return median(rate, n);
}

static void generation(const options *o, int threads)
{
    static const int views[] = { 1, 2, 4 }, ranks[] = { 4, 16, 64, 0 };
    printf("gaussian views, d %lld, batch %lld: million rows a second (rank 0: full)\n  threads  views", (long long)shapes[0].d, (long long)shapes[0].B);
    for (int k = 0; k < 4; k++)
        printf("   rank %2d", ranks[k]);
    putchar('\n');
    for (int t = 1; t <= threads; t *= 2)
        for (int v = 0; v < 3; v++) {
            printf("  %7d  %5d", t, views[v]);
            for (int k = 0; k < 4; k++)
                printf("  %8.3f", generating(o, t, views[v], ranks[k]));
            putchar('\n');
            fflush(stdout);
        }
}

/* ---- the JSON line ---- */

static void put(const char *name, const char *to, double v, bool last)
{
    if (isfinite(v))
        printf("\"%s_vs_%s\":%.4g%s", name, to, v, last ? "" : ",");
    else
        printf("\"%s_vs_%s\":null%s", name, to, last ? "" : ",");
}

static void put_json(const sl_machine *m, int64_t wrong, series all[N_SHAPE][N_ARM])
{
    static const struct { int arm; const char *name; } ratio[] = {
        { GAUSS_LOWRANK, "gauss_lowrank" }, { INJECT, "inject" }, { GAUSS_FULL, "gauss_full" }, { DIRECT, "direct" }, { FEATDROP, "featdrop" },
        { DENOISE, "denoise" }, { CONTRACTIVE, "contractive" }, { ENC_L2, "enc_l2" }, { MATRYOSHKA, "matryoshka" } };
    enum { N = sizeof ratio / sizeof *ratio };
    printf("{\"bench\":\"perturb\",\"cpu\":\"%s\",\"kernels\":\"%s\",\"threads\":%d,\"wrong_rows\":%lld,\"shapes\":[", m->cpu, m->kernels, m->threads, (long long)wrong);
    for (int i = 0; i < N_SHAPE; i++) {
        const size *s = &shapes[i];
        series *a = all[i];
        printf("%s{\"d\":%lld,\"F\":%lld,\"k\":%lld,\"batch\":%lld,\"ratios\":{", i ? "," : "", (long long)s->d, (long long)s->F, (long long)s->k, (long long)s->B);
        for (int q = 0; q < N; q++) {
            series *v = &a[ratio[q].arm];
            put(ratio[q].name, "plain", v->n ? median(v->to_plain, v->n) : NAN, false);
            put(ratio[q].name, "dense", v->n ? median(v->to_dense, v->n) : NAN, q == N - 1);
        }
        printf("}}");
    }
    printf("]}\n");
}

/* ---- the program ---- */

static int usage(void)
{
    fputs("usage: bench_perturb [--shape 0..3] [--rounds N] [--steps N] [--skip N] [--rows N] [--quick] [--cpu] [--generate]\n", stderr);
    return 2;
}

static int child(int argc, char **argv)
{
    int64_t v[11];
    for (int i = 0; i < 11; i++)
        if (argc != 13 || !sl_parse_int(argv[i + 2], &v[i]))
            return usage();
    return arm_child(&(arm_job){ { v[1], v[2], v[3], v[4] }, (int)v[0], (int)v[5], (int)v[6], v[7] != 0, (int)v[8], (int)v[9], (int)v[10] });
}

static bool parse(options *o, int argc, char **argv)
{
    struct { const char *name; int64_t *number; } all[] = { { "--shape", &o->shape }, { "--rounds", &o->rounds }, { "--steps", &o->steps },
                                                            { "--skip", &o->skip }, { "--rows", &o->rows } };
    for (int i = 1; i < argc; i++) {
        size_t at = 0;
        bool *flag = strcmp(argv[i], "--quick") == 0 ? &o->quick : strcmp(argv[i], "--cpu") == 0 ? &o->cpu : strcmp(argv[i], "--generate") == 0 ? &o->generate : NULL;
        if (flag) {
            *flag = true;
            continue;
        }
        while (at < sizeof all / sizeof *all && strcmp(argv[i], all[at].name) != 0)
            at++;
        if (at == sizeof all / sizeof *all || i + 1 == argc || !sl_parse_int(argv[++i], all[at].number) || *all[at].number < 0)
            return false;
    }
    return o->shape < N_SHAPE && o->rounds >= 1 && o->rounds <= MAX_ROUNDS && o->steps <= 2048 && o->skip <= 2048;
}

int main(int argc, char **argv)
{
    static series all[N_SHAPE][N_ARM];
    options o = { .self = argv[0], .shape = -1, .rounds = 3, .steps = -1, .skip = -1, .rows = 10240 };
    sl_machine m;
    sl_err err;
    if (argc > 1 && strcmp(argv[1], "--child") == 0)
        return child(argc, argv);
    if (!parse(&o, argc, argv))
        return usage();
    sl_ctx *ctx = sl_ctx_new(NULL);
    if (!ctx || sl_machine_info(ctx, &m, &err) != SL_OK)
        return fprintf(stderr, "bench_perturb: %s\n", ctx ? err.msg : "no memory"), 1;
    printf("%s, %s, %d threads; f32 instruction peak %.0f GFLOP/s\n", m.cpu, m.kernels, m.threads, fma_gflops(m.threads));
    printf("perturbed codes against the definition\n");
    int64_t wrong = check_codes(ctx, o.quick ? 512 : o.rows);
    if (o.generate)
        generation(&o, m.threads);
    for (int i = 0; i < N_SHAPE && !o.generate; i++)
        if (o.shape < 0 || o.shape == i)
            measure(&o, &shapes[i], all[i]);
    put_json(&m, wrong, all);
    sl_ctx_free(ctx);
    return wrong ? 1 : 0;
}
