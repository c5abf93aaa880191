/* Speed and memory of TopK training, ours against the peers' (bench/peers/sae_step.py), and of the encoder alone.
 *
 *     bench_sae [--python PYTHON] [--acts STORE] [--only wrong-rows|step|encoder|sweep|store] [--rounds N] [--skip N] [--steps N] [--rows N] [--quick]
 *
 * First that the codes are right: --rows rows (default 1,000,000) in every way of finding them. Whole steps: d 768, F 24576, k 32, B 4096, Adam,
 * clipping, unit decoder, in rounds in which ours and the peers' take turns, each in a process of its own: ours steps --skip .. --skip + --steps
 * (default 50, 200), theirs 3 after 1 to warm up, in bf16 1, once, ended after PEER_LIMIT seconds (some CPUs only emulate it). --quick: one round of
 * few steps, the peers in f32 on sparse sums only. STORE: a folder of activations of width 768 (saelab acts). Without PYTHON (./run peers)
 * the ratios to the peers are null. The last line is one JSON object. */
#include "bench.h"

#include <saelab/kern_info.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/io.h"

enum { MAX_ROUNDS = 16, N_PEER = 3, N_MODE = 2, STORE_ROWS = 16384 };
static const char *const peers[N_PEER] = { "saelens", "dictionary_learning", "sparsify" };
static const char *const modes[N_MODE] = { "f32", "bf16" };

typedef struct options { const char *self, *python, *acts, *only; int64_t rounds, skip, steps, rows; bool quick; } options;

typedef struct series { double seconds[MAX_ROUNDS], rss, part[N_PART]; int n; } series;

typedef struct figures { series ours, peer[N_PEER][N_MODE]; double encoder, hard, peak, bandwidth, busy; int64_t wrong; } figures;

static const size whole = { 768, 24576, 32, 4096 };

static bool wanted(const options *o, const char *what) { return !o->only || strcmp(o->only, what) == 0; }

static void add(series *s, const step_result *r)
{
    s->seconds[s->n++] = r->seconds;
    s->rss = fmax(s->rss, r->rss);
    memcpy(s->part, r->part, sizeof s->part);
}

static double tokens(const series *s)
{
    series copy = *s;
    return s->n ? (double)whole.B / median(copy.seconds, copy.n) : NAN;
}

static void print_series(const char *who, const char *mode, series *s)
{
    if (!s->n) {
        printf("  %-20s %-4s  NOT RUN (failed%s)\n", who, mode, strcmp(mode, "bf16") == 0 ? ", or took more than " PEER_LIMIT " s" : "");
        return;
    }
    double t = median(s->seconds, s->n);
    printf("  %-20s %-4s  %8.0f tokens/s  (%.3f s a step, %.3f to %.3f in %d rounds)  peak %.2f GiB\n", who, mode, (double)whole.B / t, t, s->seconds[0],
           s->seconds[s->n - 1], s->n, s->rss / (1 << 30));
    fflush(stdout);
}

static void print_parts(const double *part)
{
    printf("  %-25s", "  of which");
    for (int i = 0; i < N_PART; i++)
        printf("  %s %.1f ms", part_names[i], 1e3 * part[i]);
    putchar('\n');
}

/* ---- whole steps ---- */

/* Rows of the store as the peers read them; false: cannot. */
static bool export_rows(sl_ctx *ctx, const char *acts, const char *npy)
{
    sl_act_source *src;
    sl_act_batch b;
    sl_err err;
    sl_status st = sl_acts_open(ctx, acts, false, &src, &err);
    if (st == SL_OK) {
        st = src->next(src, STORE_ROWS, &b, &err);
        sl_tensor x = sl_tensor_of(SL_F32, (void *)(uintptr_t)b.x, 2, st == SL_OK ? b.n : 0, src->info.d_in);
        st = st == SL_OK ? sl_npy_write(ctx, npy, &x, &err) : st;
        sl_act_source_free(src);
    }
    if (st != SL_OK)
        fprintf(stderr, "bench_sae: %s\n", err.msg);
    return st == SL_OK;
}

/* One turn of a peer; emulated bf16 may take a minute a step, so that is one step. */
static void peer_turn(const options *o, const step_job *job, const char *npy, int p, int mode, figures *f)
{
    step_job theirs = *job;
    step_result r;
    theirs.skip = mode ? 0 : 1;
    theirs.steps = mode || o->quick ? 1 : 3;
    if (peer_run(o->python, peers[p], modes[mode], &theirs, npy, &r))
        add(&f->peer[p][mode], &r);
}

/* Rounds of one kind of data; ours and the peers' in turns. Peers of bf16 run in the first round only. */
static void compare(const options *o, const step_job *job, const char *npy, bool bf16, figures *f)
{
    step_result r;
    bool with_peers = o->python && !(o->quick && (job->dead > 0 || job->acts));
    for (int64_t i = 0; i < o->rounds; i++) {
        if (step_run(o->self, job, &r))
            add(&f->ours, &r);
        for (int p = 0; with_peers && p < N_PEER; p++)
            for (int m = 0; m < (bf16 && i == 0 ? N_MODE : 1); m++)
                peer_turn(o, job, npy, p, m, f);
    }
    print_series("saelab", "f32", &f->ours);
    print_parts(f->ours.part);
    for (int p = 0; with_peers && p < N_PEER; p++)
        for (int m = 0; m < (bf16 ? N_MODE : 1); m++)
            print_series(peers[p], modes[m], &f->peer[p][m]);
}

static void whole_steps(const options *o, sl_ctx *ctx, figures *f)
{
    step_job job = { .s = whole, .skip = (int)o->skip, .steps = (int)o->steps };
    figures other[2];
    char npy[64];
    memset(other, 0, sizeof other);
    printf("whole step, d %lld F %lld k %lld B %lld, sums of 40 of 2048 directions, steps %lld to %lld\n", (long long)whole.d, (long long)whole.F, (long long)whole.k,
           (long long)whole.B, (long long)o->skip, (long long)(o->skip + o->steps));
    compare(o, &job, NULL, !o->quick, f);
    printf("the same, with 10 %% of the latents dead and AuxK at work\n");
    job.dead = .1;
    job.skip = job.skip > 5 ? 5 : job.skip;
    job.steps = job.steps > 20 ? 20 : job.steps;
    compare(o, &job, NULL, false, &other[0]);
    snprintf(npy, sizeof npy, "/tmp/bench_sae_rows_%d.npy", (int)(now() * 1000) & 0xffffff);
    if (!o->acts) {
        printf("the same from a store of activations: NOT RUN (give --acts)\n");
        return;
    }
    printf("the same from %s\n", o->acts);
    job = (step_job){ .s = whole, .skip = (int)o->skip, .steps = (int)o->steps, .acts = o->acts };
    compare(o, &job, export_rows(ctx, o->acts, npy) ? npy : NULL, false, &other[1]);
    remove(npy);
}

/* ---- how it grows ---- */

/* Bytes that a step must move besides the product: rows of W_dec for decode and its gradient, weights and moments in the sweep, x and x^. */
static double bytes_beside_product(const size *s)
{
    double row = 4 * (double)s->d, gathers = 2 * (double)(s->B * s->k) * row, sweep = 2 * (double)s->F * row * 7;
    return gathers + sweep + 4 * (double)s->B * row;
}

static void sweep_line(const options *o, const figures *f, const size *s)
{
    step_job job = { .s = *s, .skip = 2, .steps = o->quick ? 2 : 4 };
    step_result r;
    if (!step_run(o->self, &job, &r))
        return;
    double rest = r.seconds - r.part[PART_ENCODE];
    printf("  F %6lld  k %3lld  %8.1f ms  encode %7.1f (%4.0f GFLOP/s)  decode %6.1f  grad %6.1f  sweep %6.1f   all but encode: %4.1f GB/s, %3.0f %% of a copy\n",
           (long long)s->F, (long long)s->k, 1e3 * r.seconds, 1e3 * r.part[PART_ENCODE],
           2e-9 * (double)s->B * (double)s->d * (double)s->F / r.part[PART_ENCODE], 1e3 * r.part[PART_DECODE], 1e3 * r.part[PART_GRAD],
           1e3 * r.part[PART_SWEEP], 1e-9 * bytes_beside_product(s) / rest, 100e-9 * bytes_beside_product(s) / rest / f->bandwidth);
    fflush(stdout);
}

static void sweep(const options *o, figures *f)
{
    size s = { 768, 4096, 32, o->quick ? 1024 : 4096 };
    printf("where a step's time goes, d %lld B %lld\n", (long long)s.d, (long long)s.B);
    for (s.F = 4096; s.F <= (o->quick ? 16384 : 131072); s.F *= 2)
        sweep_line(o, f, &s);
    s.F = o->quick ? 8192 : 24576;
    for (s.k = 16; s.k <= 256; s.k *= 2)
        sweep_line(o, f, &s);
}

/* ---- the JSON line ---- */

static void put(const char *name, double v, const char *after)
{
    if (isfinite(v) && v > 0)
        printf("\"%s\":%.6g%s", name, v, after);
    else
        printf("\"%s\":null%s", name, after);
}

static void put_json(const figures *f, const sl_machine *m)
{
    double f32 = 0, any = 0, lean = INFINITY, ours = tokens(&f->ours);
    for (int p = 0; p < N_PEER; p++)
        for (int q = 0; q < N_MODE; q++) {
            double t = f->peer[p][q].n ? tokens(&f->peer[p][q]) : 0;
            any = fmax(any, t);
            f32 = q == 0 ? fmax(f32, t) : f32;
            if (q == 0 && f->peer[p][q].n)
                lean = fmin(lean, f->peer[p][q].rss);
        }
    printf("{\"bench\":\"sae\",\"cpu\":\"%s\",\"kernels\":\"%s\",\"threads\":%d,\"wrong_rows\":%lld,", m->cpu, m->kernels, m->threads, (long long)f->wrong);
    put("tokens_per_s", ours, ",");
    put("peak_rss_bytes", f->ours.rss, ",");
    put("fma_peak_gflops", f->peak, ",");
    put("copy_gbytes_per_s", f->bandwidth, ",");
    put("trainer_busy_at_500_MB_per_s", f->busy, ",");
    put("screening_on_rows_made_to_defeat_it_vs_dense", f->hard, ",\"ratios\":{");
    put("topk_f32_vs_fastest_f32", ours / f32, ",");
    put("topk_f32_vs_fastest_any", ours / any, ",");
    put("topk_f32_vs_saelens_f32", ours / (f->peer[0][0].n ? tokens(&f->peer[0][0]) : NAN), ",");
    put("memory_vs_leanest", f->ours.rss / lean, ",");
    put("encoder_vs_f32_peak", f->encoder, "}}\n");
}

/* ---- the program ---- */

static int usage(void)
{
    fputs("usage: bench_sae [--python PYTHON] [--acts STORE] [--only wrong-rows|step|encoder|sweep|store] [--rounds N] [--skip N] [--steps N] [--rows N] [--quick]\n", stderr);
    return 2;
}

static int child(int argc, char **argv)
{
    if (argc != 9 && argc != 10)
        return usage();
    step_job j = { .s = { strtoll(argv[2], NULL, 10), strtoll(argv[3], NULL, 10), strtoll(argv[4], NULL, 10), strtoll(argv[5], NULL, 10) },
                   .skip = (int)strtol(argv[6], NULL, 10), .steps = (int)strtol(argv[7], NULL, 10), .dead = strtod(argv[8], NULL),
                   .acts = argc == 10 ? argv[9] : NULL };
    return step_child(&j);
}

static bool parse(options *o, int argc, char **argv)
{
    struct { const char *name; const char **text; int64_t *number; } all[] = {
        { "--python", &o->python, NULL }, { "--acts", &o->acts, NULL }, { "--only", &o->only, NULL }, { "--rounds", NULL, &o->rounds },
        { "--skip", NULL, &o->skip }, { "--steps", NULL, &o->steps }, { "--rows", NULL, &o->rows },
    };
    for (int i = 1; i < argc; i++) {
        size_t at = 0;
        if (strcmp(argv[i], "--quick") == 0) {
            *o = (options){ o->self, o->python, o->acts, o->only, 1, 2, 5, 50000, true };
            continue;
        }
        while (at < sizeof all / sizeof *all && strcmp(argv[i], all[at].name) != 0)
            at++;
        if (at == sizeof all / sizeof *all || i + 1 == argc)
            return false;
        i++;
        if (all[at].text)
            *all[at].text = argv[i];
        else if (!sl_parse_int(argv[i], all[at].number) || *all[at].number < 0)
            return false;
    }
    return o->rounds >= 1 && o->rounds <= MAX_ROUNDS && o->steps >= 1 && o->skip + o->steps <= 4096;
}

int main(int argc, char **argv)
{
    static figures f = { .encoder = NAN, .hard = NAN, .busy = NAN };
    options o = { .self = argv[0], .rounds = 3, .skip = 50, .steps = 200, .rows = 1000000 };
    sl_machine m;
    sl_err err;
    if (argc > 1 && strcmp(argv[1], "--child") == 0)
        return child(argc, argv);
    if (!parse(&o, argc, argv))
        return usage();
    setvbuf(stdout, NULL, _IOLBF, 0);
    sl_ctx *ctx = sl_ctx_new(NULL);
    if (!ctx || sl_machine_info(ctx, &m, &err) != SL_OK)
        return fprintf(stderr, "bench_sae: %s\n", ctx ? err.msg : "no memory"), 1;
    f.peak = fma_gflops(m.threads);
    f.bandwidth = copy_gbytes(m.threads);
    printf("%s, %s, %d threads; f32 instruction peak %.0f GFLOP/s, copy %.1f GB/s\n", m.cpu, m.kernels, m.threads, f.peak, f.bandwidth);
    if (wanted(&o, "wrong-rows")) {
        printf("codes against the definition\n");
        f.wrong = check_rows(ctx, o.rows);
    }
    if (wanted(&o, "step"))
        whole_steps(&o, ctx, &f);
    if (wanted(&o, "encoder")) {
        printf("encoder alone, F %d, k 32\n", o.quick ? 8192 : 24576);
        f.encoder = encoder_table(ctx, o.acts, o.quick, &f.hard);
    }
    if (wanted(&o, "sweep"))
        sweep(&o, &f);
    if (wanted(&o, "store")) {
        printf("rows from a slow disk\n");
        f.busy = store_busy(ctx, o.quick);
    }
    put_json(&f, &m);
    sl_ctx_free(ctx);
    return f.wrong ? 1 : 0;
}
