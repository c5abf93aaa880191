/* Training and sampling speed of the GPT, ours against PyTorch, interleaved: A B A B ..., medians and spreads.
 *
 *     bench_lm [--python PYTHON] [--script bench/peers/torch_gpt.py] [--text FILE] [--reps N] [--threads N] [--only train|sample|cpu|run]
 *
 * PYTHON has torch (./run peers makes one); without it the ratios are NOT RUN. --text FILE adds whole trainings on that text: 2000
 * iterations of nanogpt_cpu on both sides (PyTorch's at nanoGPT's learning rate and at ours) and nanogpt_cpu_fast. The last line is one JSON
 * object. Checked first: what is timed computes what it should (a training whose loss falls). */
#include "figures.h"
#include "peer.h"

#include <saelab/lm.h>

#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_REPS = 32, SAMPLE_TOKENS = 300 };

typedef struct series { double v[MAX_REPS]; int n; } series;

typedef struct bench {
    sl_ctx *ctx;
    peer p;
    bool has_peer;
    int reps;
    const char *text, *only;
    double t_step[64]; /* s at the end of each of our iterations */
    int n_step;
} bench;

static void die(const sl_err *err)
{
    fprintf(stderr, "bench_lm: %s\n", err->msg);
    exit(1);
}

static void show(const char *what, series *s, const char *unit)
{
    if (s->n == 0)
        printf("%-44s NOT RUN\n", what);
    else {
        double m = median(s->v, s->n);
        printf("%-44s %10.1f %s   (%.1f to %.1f, %d runs)\n", what, m, unit, s->v[0], s->v[s->n - 1], s->n);
    }
    fflush(stdout);
}

/* ---- ours ---- */

static void on_event(void *user, const sl_event *e)
{
    bench *b = user;
    if (e->kind == SL_EVENT_PROGRESS && strcmp(e->task, "train lm") == 0 && b->n_step < 64)
        b->t_step[b->n_step++] = now();
}

static sl_corpus some_text(sl_ctx *ctx, int64_t n)
{
    sl_corpus c = { .name = "cycle", .n = n, .train_end = n / 2, .val_end = n };
    c.ids = sl_alloc(ctx, (size_t)n * sizeof *c.ids);
    for (int64_t i = 0; c.ids && i < n; i++)
        c.ids[i] = (int32_t)(i * i % 65);
    return c;
}

static sl_lm *new_model(bench *b, const char *preset)
{
    sl_lm_config c = sl_lm_preset_find(preset)->lm;
    sl_err err;
    sl_lm *m;
    c.vocab_size = 65;
    if (sl_lm_new(b->ctx, &c, 1, &m, &err) != SL_OK)
        die(&err);
    return m;
}

static char *scratch_dir(char dir[64])
{
    snprintf(dir, 64, "/tmp/bench_lm.XXXXXX");
    return mkdtemp(dir);
}

/* Tokens a second of `steps` updates after one to warm up, evaluations and checkpoints left out. */
static double train_ours(bench *b, const char *preset, int steps)
{
    const sl_lm_preset *p = sl_lm_preset_find(preset);
    sl_lm_train_config t = p->train;
    t.max_iters = t.lr_decay_iters = steps + 1;
    t.eval_iters = t.log_interval = 1;
    t.warmup_iters = 0;
    t.eval_interval = 1000000;
    t.checkpoint_seconds = 1000000;
    sl_corpus c = some_text(b->ctx, 100000);
    sl_lm *m = new_model(b, preset);
    sl_lm_result r;
    sl_err err;
    char dir[64];
    b->n_step = 0;
    if (!scratch_dir(dir) || sl_lm_train(m, &c, &t, dir, &r, &err) != SL_OK)
        die(&err);
    if (!(r.curve[0].train_loss > 4 && r.final_train_loss < r.curve[0].train_loss)) {
        snprintf(err.msg, sizeof err.msg, "the loss did not fall: %g, then %g", r.curve[0].train_loss, r.final_train_loss);
        die(&err);
    }
    char rm[128];
    snprintf(rm, sizeof rm, "rm -r %s", dir);
    if (system(rm) != 0)
        fprintf(stderr, "bench_lm: %s stays\n", dir);
    sl_free(b->ctx, r.curve);
    sl_free(b->ctx, c.ids);
    sl_lm_free(m);
    return (double)(steps * p->train.batch_size * p->lm.block_size) / (b->t_step[b->n_step - 1] - b->t_step[0]);
}

static bool count(void *user, int32_t id)
{
    (void)id;
    ++*(int *)user;
    return true;
}

static double sample_ours(sl_lm *m, int weights)
{
    sl_lm_sample_config s = { .max_new_tokens = SAMPLE_TOKENS, .temperature = .8, .seed = 1, .weights = weights };
    sl_err err;
    int n = 0;
    double start = now();
    if (sl_lm_sample(m, NULL, 0, &s, count, &n, &err) != SL_OK)
        die(&err);
    return n / (now() - start);
}

/* ---- the peer ---- */

static void add_rate(bench *b, series *s, const char *request)
{
    char tokens[64], seconds[64];
    if (!b->has_peer)
        return;
    if (peer_ask(&b->p, tokens, seconds, "%s", request))
        s->v[s->n++] = strtod(tokens, NULL) / strtod(seconds, NULL);
    else {
        fprintf(stderr, "bench_lm: the peer failed at '%s'\n", request);
        b->has_peer = false;
    }
}

/* ---- the comparisons ---- */

typedef struct figures {
    double train, torch_train_f32, torch_train_bf16, sample_f32, sample_bf16, torch_sample_f32, torch_sample_bf16;
    double cpu, torch_cpu, run_seconds, run_val, torch_run_seconds, torch_run_val, fast_seconds, fast_val, torch_high_seconds, torch_high_val;
} figures;

static bool wanted(const bench *b, const char *what) { return !b->only || strcmp(b->only, what) == 0; }

static void compare_training(bench *b, figures *f)
{
    series ours = { .n = 0 }, f32 = { .n = 0 }, bf16 = { .n = 0 };
    for (int i = 0; i < b->reps; i++) {
        ours.v[ours.n++] = train_ours(b, "nanogpt_char", 2);
        add_rate(b, &f32, "train nanogpt_char f32 64 1");
    }
    add_rate(b, &bf16, "train nanogpt_char bf16 2 1"); /* batch 2: on a CPU without bf16 products a whole batch takes minutes */
    if (bf16.n && bf16.v[0] > .5 * median(f32.v, f32.n))
        for (bf16.n = 0; bf16.n < b->reps && b->has_peer;)
            add_rate(b, &bf16, "train nanogpt_char bf16 64 1");
    show("nanogpt_char training, saelab f32", &ours, "tokens/s");
    show("nanogpt_char training, PyTorch f32", &f32, "tokens/s");
    show(bf16.n == 1 ? "nanogpt_char training, PyTorch bf16 (batch 2)" : "nanogpt_char training, PyTorch bf16", &bf16, "tokens/s");
    f->train = median(ours.v, ours.n), f->torch_train_f32 = median(f32.v, f32.n), f->torch_train_bf16 = median(bf16.v, bf16.n);
}

static void compare_cpu_steps(bench *b, figures *f)
{
    series ours = { .n = 0 }, f32 = { .n = 0 };
    for (int i = 0; i < b->reps; i++) {
        ours.v[ours.n++] = train_ours(b, "nanogpt_cpu", 40);
        add_rate(b, &f32, "train nanogpt_cpu f32 12 40");
    }
    show("nanogpt_cpu training, saelab f32", &ours, "tokens/s");
    show("nanogpt_cpu training, PyTorch f32", &f32, "tokens/s");
    f->cpu = median(ours.v, ours.n), f->torch_cpu = median(f32.v, f32.n);
}

static void compare_sampling(bench *b, figures *f)
{
    series f32 = { .n = 0 }, bf16 = { .n = 0 }, torch_f32 = { .n = 0 }, torch_bf16 = { .n = 0 };
    sl_lm *m = new_model(b, "nanogpt_char");
    sample_ours(m, SL_LM_WEIGHTS_BF16); /* warm up */
    for (int i = 0; i < b->reps; i++) {
        f32.v[f32.n++] = sample_ours(m, SL_LM_WEIGHTS_F32);
        add_rate(b, &torch_f32, "sample f32 300");
        bf16.v[bf16.n++] = sample_ours(m, SL_LM_WEIGHTS_BF16);
    }
    add_rate(b, &torch_bf16, "sample bf16 30"); /* its first 30 tokens are its fastest */
    if (torch_bf16.n && torch_bf16.v[0] > median(torch_f32.v, torch_f32.n))
        for (torch_bf16.n = 0; torch_bf16.n < b->reps && b->has_peer;)
            add_rate(b, &torch_bf16, "sample bf16 300");
    show("nanogpt_char sampling, saelab f32 weights", &f32, "tokens/s");
    show("nanogpt_char sampling, saelab bf16 weights", &bf16, "tokens/s");
    show("nanogpt_char sampling, PyTorch f32", &torch_f32, "tokens/s");
    show(torch_bf16.n == 1 ? "nanogpt_char sampling, PyTorch bf16 (30)" : "nanogpt_char sampling, PyTorch bf16", &torch_bf16, "tokens/s");
    f->sample_f32 = median(f32.v, f32.n), f->sample_bf16 = median(bf16.v, bf16.n);
    f->torch_sample_f32 = median(torch_f32.v, torch_f32.n), f->torch_sample_bf16 = median(torch_bf16.v, torch_bf16.n);
    sl_lm_free(m);
}

/* A whole training of a preset, as the tool does it. */
static void run_ours(bench *b, const sl_corpus *c, const char *preset, double *val, double *seconds)
{
    const sl_lm_preset *p = sl_lm_preset_find(preset);
    sl_lm *m = new_model(b, preset);
    sl_lm_result r;
    sl_err err;
    char dir[64];
    if (!scratch_dir(dir) || sl_lm_train(m, c, &p->train, dir, &r, &err) != SL_OK)
        die(&err);
    *val = r.best_val_loss, *seconds = r.total_train_time;
    printf("%-18s %4lld iterations, saelab   %10.4f nats    in %.1f s\n", preset, (long long)p->train.max_iters, *val, *seconds);
    sl_free(b->ctx, r.curve);
    sl_lm_free(m);
}

/* PyTorch's 2000 iterations at a learning rate. */
static void run_torch(bench *b, const char *lr, double *val, double *seconds)
{
    char v[64], s[64];
    if (!b->has_peer || !peer_ask(&b->p, v, s, "run nanogpt_cpu f32 2000 %s %s", lr, b->text))
        return;
    *val = strtod(v, NULL), *seconds = strtod(s, NULL);
    printf("%-18s 2000 iterations, PyTorch  %10.4f nats    in %.1f s   learning rate %s\n", "nanogpt_cpu", *val, *seconds, lr);
}

static void compare_runs(bench *b, figures *f)
{
    sl_text text;
    sl_corpus c;
    sl_err err;
    if (sl_text_file(b->ctx, b->text, &text, &err) != SL_OK || sl_corpus_new(b->ctx, &text, SL_TOK_CHAR, NULL, &c, &err) != SL_OK)
        die(&err);
    run_ours(b, &c, "nanogpt_cpu", &f->run_val, &f->run_seconds);
    run_torch(b, "1e-3", &f->torch_run_val, &f->torch_run_seconds);
    run_ours(b, &c, "nanogpt_cpu_fast", &f->fast_val, &f->fast_seconds);
    run_torch(b, "4e-3", &f->torch_high_val, &f->torch_high_seconds);
    sl_corpus_release(b->ctx, &c);
    sl_text_release(b->ctx, &text);
}

/* ---- the JSON line ---- */

static void put(const char *name, double v, bool last)
{
    if (isfinite(v))
        printf("\"%s\":%.6g%s", name, v, last ? "" : ",");
    else
        printf("\"%s\":null%s", name, last ? "" : ",");
}

static void put_json(bench *b, const figures *f)
{
    double best_train = fmax(f->torch_train_f32, f->torch_train_bf16), best_sample = fmax(f->torch_sample_f32, f->torch_sample_bf16);
    printf("{\"bench\":\"lm\",\"threads\":%d,", sl_ctx_threads(b->ctx));
    put("train_tokens_per_second", f->train, false);
    put("torch_train_f32", f->torch_train_f32, false);
    put("torch_train_bf16", f->torch_train_bf16, false);
    put("nanogpt_cpu_tokens_per_second", f->cpu, false);
    put("torch_nanogpt_cpu", f->torch_cpu, false);
    put("sample_f32_tokens_per_second", f->sample_f32, false);
    put("sample_bf16_tokens_per_second", f->sample_bf16, false);
    put("torch_sample_f32", f->torch_sample_f32, false);
    put("torch_sample_bf16", f->torch_sample_bf16, false);
    put("nanogpt_cpu_val_loss", f->run_val, false);
    put("nanogpt_cpu_seconds", f->run_seconds, false);
    put("torch_nanogpt_cpu_val_loss", f->torch_run_val, false);
    put("torch_nanogpt_cpu_seconds", f->torch_run_seconds, false);
    put("nanogpt_cpu_fast_val_loss", f->fast_val, false);
    put("nanogpt_cpu_fast_seconds", f->fast_seconds, false);
    put("torch_nanogpt_cpu_4e-3_val_loss", f->torch_high_val, false);
    put("torch_nanogpt_cpu_4e-3_seconds", f->torch_high_seconds, false);
    printf("\"ratios\":{");
    put("train_vs_torch_best", f->train / best_train, false);
    put("train_f32_vs_torch_f32", f->train / f->torch_train_f32, false);
    put("sample_vs_torch_best", fmax(f->sample_f32, f->sample_bf16) / best_sample, false);
    put("nanogpt_cpu_steps_vs_torch", f->cpu / f->torch_cpu, false);
    put("nanogpt_cpu_run_vs_torch", f->torch_run_seconds / f->run_seconds, false);
    put("nanogpt_cpu_fast_vs_torch", f->torch_run_seconds / f->fast_seconds, true);
    printf("}}\n");
}

static int usage(void)
{
    fprintf(stderr, "usage: bench_lm [--python PYTHON] [--script FILE] [--text FILE] [--reps N] [--threads N] [--only train|sample|cpu|run]\n");
    return 2;
}

int main(int argc, char **argv)
{
    bench b = { .reps = 5 };
    const char *python = NULL, *script = SL_BENCH_PEERS "/torch_gpt.py";
    int threads = 0;
    for (int i = 1; i < argc; i += 2) {
        const char *v = i + 1 < argc ? argv[i + 1] : NULL;
        if (!v)
            return usage();
        if (strcmp(argv[i], "--python") == 0)
            python = v;
        else if (strcmp(argv[i], "--script") == 0)
            script = v;
        else if (strcmp(argv[i], "--text") == 0)
            b.text = v;
        else if (strcmp(argv[i], "--only") == 0)
            b.only = v;
        else if (strcmp(argv[i], "--reps") == 0)
            b.reps = (int)strtol(v, NULL, 10);
        else if (strcmp(argv[i], "--threads") == 0)
            threads = (int)strtol(v, NULL, 10);
        else
            return usage();
    }
    if (b.reps < 1 || b.reps > MAX_REPS)
        return usage();
    signal(SIGPIPE, SIG_IGN);
    b.ctx = sl_ctx_new(&(sl_ctx_opts){ .n_threads = threads, .on_event = on_event, .event_user = &b });
    b.has_peer = python && peer_start(&b.p, python, script, sl_ctx_threads(b.ctx));
    if (!b.has_peer)
        printf("NOT RUN: the ratios to PyTorch (give --python)\n");
    figures f = { NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN };
    if (wanted(&b, "sample"))
        compare_sampling(&b, &f);
    if (wanted(&b, "cpu"))
        compare_cpu_steps(&b, &f);
    if (wanted(&b, "train"))
        compare_training(&b, &f);
    if (b.text && wanted(&b, "run"))
        compare_runs(&b, &f);
    put_json(&b, &f);
    peer_stop(&b.p);
    sl_ctx_free(b.ctx);
    return 0;
}
