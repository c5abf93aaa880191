/* Rows a second of every superposition world, instances a second of every task, and synth16k against SAELens's own generator, interleaved.
 *
 *     bench_worlds [--python PYTHON] [--script bench/peers/saelens_world.py] [--reps N] [--threads N] [--only WORLD] [--rates ROWS]
 *
 * --rates: nothing is timed; how often each feature fires in ROWS rows of both generators, without correlations (--only plain) and as the
 * recipe has them (--only recipe). 10^6 rows are most of an hour, all of it SAELens's.
 * PYTHON has SAELens (./run peers makes one); without it the ratio synth16k_vs_saelens is NOT RUN. The peer answers "sample ROWS" with
 * "ok SECONDS L0": both sides draw rows and codes of SynthSAEBench-16k (the dictionary is not spread on either side: it does not change
 * the work of a row). Checked first: the mean l0 of both is what the recipe gives. The last line is one JSON object. */
#include "figures.h"
#include "rates.h"

#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_REPS = 32, BATCH = 1024, PEER_ROWS = 1024, MAX_WORLDS = 32 };
#define L0_16K 34.3 /* of synth16k, +- 1 */

typedef struct series { double v[MAX_REPS]; int n; } series;

typedef struct bench {
    sl_ctx *ctx;
    const char *python, *script, *only;
    int reps, threads;
    int64_t rate_rows; /* 0: time */
    struct { const char *name; double rate; } result[MAX_WORLDS];
    int n_result;
    double ratio; /* NaN: not run */
} bench;

static void die(const sl_err *err)
{
    fprintf(stderr, "bench_worlds: %s\n", err->msg);
    exit(1);
}

static void show(bench *b, const char *name, series *s, const char *unit)
{
    double m = median(s->v, s->n);
    printf("%-28s %12.0f %s   (%d runs, %.0f to %.0f)\n", name, m, unit, s->n, s->v[0], s->v[s->n - 1]);
    fflush(stdout);
    if (b->n_result < MAX_WORLDS) {
        b->result[b->n_result].name = name;
        b->result[b->n_result++].rate = m;
    }
}

/* Draws n batches; rows a second, and the mean l0. */
static double draw(sl_act_source *src, int n, double *l0)
{
    sl_err err;
    sl_act_batch batch;
    int64_t nnz = 0;
    double begin = now();
    for (int i = 0; i < n; i++) {
        if (src->next(src, BATCH, &batch, &err) != SL_OK)
            die(&err);
        nnz += batch.truth->row_ptr[BATCH];
    }
    *l0 = (double)nnz / (n * BATCH);
    return n * BATCH / (now() - begin);
}

static sl_world *make(bench *b, const sl_world_info *info)
{
    _Alignas(max_align_t) char opts[SL_WORLD_OPTS];
    static const struct { const char *option, *text; } quick[] = { { "ortho_steps", "0" }, { "steps", "100" } }; /* building is not what is timed */
    sl_world *w;
    sl_err err;
    sl_opts_default(info->opts, opts);
    for (int i = 0; i < 2; i++)
        if (sl_opts_find(info->opts, quick[i].option) && sl_opts_set(b->ctx, info->opts, opts, quick[i].option, quick[i].text, "bench", SL_ARG, &err) != SL_OK)
            die(&err);
    if (sl_world_new(b->ctx, info->name, opts, 42, &w, &err) != SL_OK)
        die(&err);
    return w;
}

static void rows(bench *b, const sl_world_info *info)
{
    sl_world *w = make(b, info);
    sl_act_source *src;
    sl_err err;
    series s = { .n = 0 };
    double l0;
    if (sl_world_open(w, SL_WORLD_TRAIN, &src, &err) != SL_OK)
        die(&err);
    int n = (int)(draw(src, 2, &l0) * .2 / BATCH) + 1; /* about a fifth of a second a run */
    for (; s.n < b->reps; s.n++)
        s.v[s.n] = draw(src, n, &l0);
    show(b, info->name, &s, "rows/s");
    sl_act_source_free(src);
    sl_world_free(w);
}

static void instances(bench *b, const sl_world_info *info)
{
    enum { N = 4096 };
    sl_world *w = make(b, info);
    sl_err err;
    series s = { .n = 0 };
    size_t cells = N * (size_t)sl_world_task(w)->T;
    int32_t *tokens = malloc(cells * sizeof *tokens);
    uint8_t *uses = malloc(cells);
    for (; tokens && uses && s.n < b->reps; s.n++) {
        double begin = now();
        if (sl_task_instances(w, SL_WORLD_ALL, (int64_t)s.n * N, N, tokens, uses, &err) != SL_OK)
            die(&err);
        s.v[s.n] = N / (now() - begin);
    }
    show(b, info->name, &s, "instances/s");
    free(tokens);
    free(uses);
    sl_world_free(w);
}

static bool right_l0(const char *who, double l0)
{
    if (fabs(l0 - L0_16K) <= 1)
        return true;
    printf("%s: mean l0 %.2f, the recipe gives %.1f: not the same work\n", who, l0, L0_16K);
    return false;
}

static void against_saelens(bench *b)
{
    sl_world *w = make(b, sl_world_find("synth16k"));
    sl_act_source *src;
    sl_err err;
    peer p = { 0 };
    series ours = { .n = 0 }, theirs = { .n = 0 }, ratio = { .n = 0 };
    char seconds[64], text[64];
    double l0;
    if (sl_world_open(w, SL_WORLD_TRAIN, &src, &err) != SL_OK)
        die(&err);
    draw(src, 2, &l0);
    bool good = peer_start(&p, b->python, b->script, b->threads) && peer_ask(&p, seconds, text, "sample %d", PEER_ROWS);
    good = good && right_l0("saelab", l0) && right_l0("SAELens", strtod(text, NULL));
    for (; good && ours.n < b->reps; ours.n++, theirs.n++, ratio.n++) {
        ours.v[ours.n] = draw(src, 8, &l0);
        good = peer_ask(&p, seconds, text, "sample %d", PEER_ROWS);
        theirs.v[theirs.n] = PEER_ROWS / strtod(seconds, NULL);
        ratio.v[ratio.n] = ours.v[ours.n] / theirs.v[theirs.n];
    }
    peer_stop(&p);
    if (good) {
        show(b, "synth16k, interleaved", &ours, "rows/s");
        show(b, "synth16k in SAELens", &theirs, "rows/s");
        b->ratio = median(ratio.v, ratio.n);
        printf("synth16k_vs_saelens %.1f (%.1f to %.1f)\n", b->ratio, ratio.v[0], ratio.v[ratio.n - 1]);
    } else
        printf("synth16k_vs_saelens NOT RUN: the peer failed\n");
    sl_act_source_free(src);
    sl_world_free(w);
}

/* Exit status of --rates. */
static int rates(bench *b)
{
    peer p = { 0 };
    if (!b->python)
        printf("rates NOT RUN: needs --python PYTHON with SAELens (./run peers)\n");
    bool good = b->python && peer_start(&p, b->python, b->script, b->threads);
    for (int plain = 1; good && plain >= 0; plain--)
        if (!b->only || strcmp(b->only, plain ? "plain" : "recipe") == 0)
            good = rates_agree(b->ctx, &p, b->rate_rows, plain);
    peer_stop(&p);
    printf("{\"bench\":\"worlds\",\"rows\":%lld,\"rates_agree\":%s}\n", (long long)b->rate_rows, good ? "true" : "false");
    return good ? 0 : 1;
}

static void json(const bench *b)
{
    printf("{\"bench\":\"worlds\",\"threads\":%d", b->threads);
    for (int i = 0; i < b->n_result; i++)
        printf(",\"%s\":%.1f", b->result[i].name, b->result[i].rate);
    if (isnan(b->ratio))
        printf(",\"synth16k_vs_saelens\":null}\n");
    else
        printf(",\"synth16k_vs_saelens\":%.2f}\n", b->ratio);
}

int main(int argc, char **argv)
{
    bench b = { .script = SL_BENCH_PEERS "/saelens_world.py", .reps = 5, .ratio = NAN };
    for (int i = 1; i + 1 < argc; i += 2)
        if (strcmp(argv[i], "--python") == 0)
            b.python = argv[i + 1];
        else if (strcmp(argv[i], "--script") == 0)
            b.script = argv[i + 1];
        else if (strcmp(argv[i], "--only") == 0)
            b.only = argv[i + 1];
        else if (strcmp(argv[i], "--reps") == 0)
            b.reps = (int)strtol(argv[i + 1], NULL, 10);
        else if (strcmp(argv[i], "--rates") == 0)
            b.rate_rows = strtoll(argv[i + 1], NULL, 10);
        else if (strcmp(argv[i], "--threads") == 0)
            b.threads = (int)strtol(argv[i + 1], NULL, 10);
    b.reps = b.reps < 1 ? 1 : b.reps > MAX_REPS ? MAX_REPS : b.reps;
    signal(SIGPIPE, SIG_IGN); /* a peer that died is reported, not died of */
    b.ctx = sl_ctx_new(&(sl_ctx_opts){ .n_threads = b.threads });
    if (!b.ctx)
        return 1;
    b.threads = sl_ctx_threads(b.ctx);
    if (b.rate_rows > 0) {
        int status = rates(&b);
        sl_ctx_free(b.ctx);
        return status;
    }
    for (int i = 0; sl_world_at(i); i++) {
        const sl_world_info *info = sl_world_at(i);
        if (b.only && strcmp(b.only, info->name) != 0)
            continue;
        if (info->kind == SL_WORLD_TASK)
            instances(&b, info);
        else
            rows(&b, info);
    }
    if (b.python)
        against_saelens(&b);
    else
        printf("synth16k_vs_saelens NOT RUN: needs --python PYTHON with SAELens (./run peers)\n");
    json(&b);
    sl_ctx_free(b.ctx);
    return 0;
}
