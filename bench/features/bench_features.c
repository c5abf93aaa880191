/* Time and size of a feature index: 24,576 features of a TopK SAE (k 32, d 768) over 1,000,000 tokens of GPT-2's vocabulary.
 *
 *     bench_features [--features F] [--rows N] [--d D] [--vectors] [--keep DIR]
 *
 * Rows are sums of two of 16,384 stored ones, each of 16 of the SAE's own directions (Zipf-distributed), so that nearly all features fire; they are made
 * as they are read, which is part of the time. Tokens are Zipf-distributed too, documents have 1,024. The logits are those of a random unembedding.
 * First the index is compared with the SAE: the values of 2,000 of its contexts. The last line is one JSON object. --vectors: the same directions as
 * vectors, active in 32 / F of the rows. cpu_seconds is processor time of all threads: what a busy machine does not change. --keep: the index stays there. */
#include <saelab/saelab.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { POOL = 16384, PARTS = 16, DOC = 1024, CHECKED = 2000, K = 32 };

typedef struct options { int64_t features, rows, d; bool vectors; const char *keep; } options;

/* ---- rows ---- */

typedef struct source {
    sl_act_source src;
    int64_t d, at, room;
    int32_t vocab;
    const float *pool;      /* [POOL, d] */
    float *x;
    int64_t *row;
    int32_t *token, *doc, *pos;
} source;

/* Zipf-like: small numbers are common. */
static int64_t zipf(sl_rng *r, int64_t n) { return (int64_t)(pow((double)n + 1, sl_rng_uniform(r)) - 1); }

static void *need(size_t n)
{
    void *p = calloc(1, n);
    if (!p) {
        fputs("bench_features: no memory\n", stderr);
        exit(1);
    }
    return p;
}

static void make_row(source *s, int64_t i, int64_t row)
{
    sl_rng r = sl_rng_at(1, SL_RNG_TEST, 1, (uint64_t)row);
    const float *a = s->pool + (int64_t)sl_rng_below(&r, POOL) * s->d, *b = s->pool + (int64_t)sl_rng_below(&r, POOL) * s->d;
    float *x = s->x + i * s->d;
    for (int64_t c = 0; c < s->d; c++)
        x[c] = a[c] + b[c];
    s->row[i] = row;
    s->token[i] = (int32_t)zipf(&r, s->vocab);
    s->doc[i] = (int32_t)(row / DOC);
    s->pos[i] = (int32_t)(row % DOC);
}

static sl_status next(sl_act_source *src, int64_t n, sl_act_batch *out, sl_err *err)
{
    source *s = src->impl;
    if (n > s->room)
        return sl_fail(err, SL_ARG, "rows", NULL, "a batch of %lld", (long long)n);
    for (int64_t i = 0; i < n; i++)
        make_row(s, i, s->at + i);
    s->at += n;
    *out = (sl_act_batch){ .x = s->x, .n = n, .row = s->row, .token = s->token, .doc = s->doc, .pos = s->pos };
    return SL_OK;
}

static sl_status seek(sl_act_source *src, int64_t row, sl_err *err)
{
    (void)err;
    ((source *)src->impl)->at = row;
    return SL_OK;
}

static void close_source(sl_act_source *src) { (void)src; }

/* W [F, d]: rows of norm 1. */
static float *make_directions(int64_t F, int64_t d)
{
    float *W = need((size_t)(F * d) * sizeof *W);
    for (int64_t j = 0; j < F; j++) {
        sl_rng r = sl_rng_at(1, SL_RNG_TEST, 2, (uint64_t)j);
        double sq = 0;
        for (int64_t c = 0; c < d; c++) {
            W[j * d + c] = (float)sl_rng_normal(&r);
            sq += (double)W[j * d + c] * W[j * d + c];
        }
        for (int64_t c = 0; c < d; c++)
            W[j * d + c] = (float)(W[j * d + c] / sqrt(sq));
    }
    return W;
}

static float *make_pool(const float *W, int64_t F, int64_t d)
{
    float *pool = need((size_t)(POOL * d) * sizeof *pool);
    for (int64_t i = 0; i < POOL; i++) {
        sl_rng r = sl_rng_at(1, SL_RNG_TEST, 3, (uint64_t)i);
        for (int p = 0; p < PARTS; p++) {
            const float *w = W + zipf(&r, F) * d;
            float c = (float)(.3 + sl_rng_uniform(&r));
            for (int64_t k = 0; k < d; k++)
                pool[i * d + k] += c * w[k];
        }
    }
    return pool;
}

static source make_source(const options *o, const float *pool, int32_t vocab)
{
    int64_t room = 8192;
    source s = { .d = o->d, .room = room, .vocab = vocab, .pool = pool, .x = need((size_t)(room * o->d) * sizeof *s.x), .row = need((size_t)room * sizeof *s.row),
                 .token = need((size_t)room * sizeof *s.token), .doc = need((size_t)room * sizeof *s.doc), .pos = need((size_t)room * sizeof *s.pos) };
    s.src = (sl_act_source){ .info = { .n_rows = o->rows, .d_in = o->d, .scale = 1, .has_tokens = true }, .next = next, .seek = seek, .close = close_source };
    return s;
}

/* ---- the SAE and the unembedding ---- */

static void fail(const sl_err *err)
{
    fprintf(stderr, "bench_features: %s\n", err->msg);
    exit(1);
}

static sl_sae *make_sae(sl_ctx *ctx, const options *o, const float *W)
{
    sl_topk_options k = { .k = K };
    sl_sae *s;
    sl_tensor enc, dec;
    sl_err err;
    if (sl_sae_new(ctx, "topk", o->d, o->features, &k, 1, &s, &err) || sl_sae_weight(s, "W_enc", &enc, &err) || sl_sae_weight(s, "W_dec", &dec, &err))
        fail(&err);
    memcpy(enc.data, W, sl_nbytes(&enc)); /* nothing has packed them yet */
    memcpy(dec.data, W, sl_nbytes(&dec));
    return s;
}

static sl_lm *make_lm(sl_ctx *ctx, const options *o, int32_t vocab)
{
    sl_lm_config c;
    sl_lm *m;
    sl_err err;
    sl_opts_default(sl_lm_opts, &c);
    c.n_layer = c.n_head = 1;
    c.n_embd = o->d;
    c.block_size = 8;
    c.vocab_size = vocab;
    if (sl_lm_new(ctx, &c, 1, &m, &err))
        fail(&err);
    return m;
}

/* ---- correctness ---- */

/* Contexts whose value is not the SAE's own at that row. */
static int64_t wrong_contexts(sl_ctx *ctx, const sl_features *f, sl_sae *s, source *rows)
{
    const sl_features_info *info = sl_features_about(f);
    sl_codes z;
    sl_err err;
    sl_act_batch b = { 0 };
    int64_t wrong = 0;
    if (sl_codes_new(ctx, 1, sl_sae_about(s).max_active, &z, &err))
        fail(&err);
    for (int64_t i = 0; i < CHECKED; i++) {
        sl_context c;
        float v = 0;
        sl_features_context(f, i * info->n_contexts / CHECKED, &c);
        rows->at = (int64_t)c.doc * DOC + c.pos;
        if (next(&rows->src, 1, &b, &err) || sl_sae_encode(s, b.x, 1, &z, NULL, &err))
            fail(&err);
        for (int64_t e = 0; e < z.row_ptr[1]; e++)
            if (z.idx[e] == c.feature)
                v = z.val[e];
        wrong += v != c.value;
    }
    sl_codes_release(ctx, &z);
    return wrong;
}

/* ---- the program ---- */

static bool parse(options *o, int argc, char **argv)
{
    struct { const char *name; int64_t *number; } all[] = { { "--features", &o->features }, { "--rows", &o->rows }, { "--d", &o->d } };
    for (int i = 1; i < argc; i++) {
        size_t at = 0;
        if (strcmp(argv[i], "--vectors") == 0) {
            o->vectors = true;
            continue;
        }
        if (i + 1 == argc)
            return false;
        if (strcmp(argv[i], "--keep") == 0) {
            o->keep = argv[++i];
            continue;
        }
        while (at < sizeof all / sizeof *all && strcmp(argv[i], all[at].name) != 0)
            at++;
        if (at == sizeof all / sizeof *all || !sl_parse_int(argv[++i], all[at].number) || *all[at].number < 1)
            return false;
    }
    return true;
}

static void put_json(const options *o, const sl_machine *m, const sl_features_built *b, int64_t wrong, double cpu)
{
    printf("{\"bench\":\"features\",\"cpu\":\"%s\",\"kernels\":\"%s\",\"threads\":%d,\"features\":%lld,\"rows\":%lld,\"d\":%lld,\"vectors\":%s,\"wrong_contexts\":%lld,"
           "\"active\":%lld,\"contexts\":%lld,\"bytes\":%lld,\"encode_seconds\":%.2f,\"contexts_seconds\":%.2f,\"neighbours_seconds\":%.2f,\"lens_seconds\":%.2f,"
           "\"cpu_seconds\":%.2f,"
           "\"features_seconds\":%.2f}\n",
           m->cpu, m->kernels, m->threads, (long long)o->features, (long long)o->rows, (long long)o->d, o->vectors ? "true" : "false", (long long)wrong,
           (long long)b->n_active, (long long)b->n_contexts, (long long)b->bytes, b->encode_seconds, b->contexts_seconds, b->neighbours_seconds, b->lens_seconds,
           cpu, b->seconds);
}

static int64_t run(sl_ctx *ctx, const options *o, const char *dir, sl_features_built *b, double *cpu)
{
    sl_err err;
    sl_tok *tok;
    sl_features *f;
    sl_features_opts opts;
    float *W = make_directions(o->features, o->d), *pool = make_pool(W, o->features, o->d);
    if (sl_tok_new(ctx, SL_TOK_GPT2, NULL, 0, &tok, &err) && sl_tok_new(ctx, SL_TOK_BYTE, NULL, 0, &tok, &err))
        fail(&err);
    source rows = make_source(o, pool, sl_tok_vocab(tok));
    sl_sae *s = make_sae(ctx, o, W);
    sl_lm *m = make_lm(ctx, o, sl_tok_vocab(tok));
    rows.src.impl = &rows;
    sl_opts_default(sl_features_options, &opts);
    opts.tokens = o->rows;
    opts.share = (double)K / (double)o->features;
    sl_features_input in = { .sae = o->vectors ? NULL : s, .vectors = o->vectors ? W : NULL, .n_vectors = o->vectors ? o->features : 0, .rows = &rows.src,
                             .tok = tok, .lm = m, .name = "bench" };
    clock_t start = clock();
    sl_status st = sl_features_build(ctx, &in, &opts, dir, b, &err);
    *cpu = (double)(clock() - start) / CLOCKS_PER_SEC;
    if (st || sl_features_open(ctx, dir, true, &f, &err))
        fail(&err);
    int64_t wrong = o->vectors ? 0 : wrong_contexts(ctx, f, s, &rows);
    sl_features_close(f);
    sl_lm_free(m);
    sl_sae_free(s);
    sl_tok_free(tok);
    void *all[] = { W, pool, rows.x, rows.row, rows.token, rows.doc, rows.pos };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        free(all[i]);
    return wrong;
}

int main(int argc, char **argv)
{
    options o = { .features = 24576, .rows = 1000000, .d = 768 };
    sl_machine m;
    sl_features_built b;
    sl_err err;
    char dir[] = "/tmp/bench_features_XXXXXX", path[64];
    if (!parse(&o, argc, argv))
        return fputs("usage: bench_features [--features F] [--rows N] [--d D] [--vectors] [--keep DIR]\n", stderr), 2;
    sl_ctx *ctx = sl_ctx_new(NULL);
    if (!ctx || sl_machine_info(ctx, &m, &err) != SL_OK || (!o.keep && !mkdtemp(dir)))
        return fputs("bench_features: no memory, or no folder for temporary files\n", stderr), 1;
    double cpu;
    int64_t wrong = run(ctx, &o, o.keep ? o.keep : dir, &b, &cpu);
    printf("%lld features, %lld rows of %lld: %.1f s (encode %.1f, contexts %.1f, neighbours %.1f, logits %.1f), %.1f MB, %lld wrong contexts\n",
           (long long)o.features, (long long)o.rows, (long long)o.d, b.seconds, b.encode_seconds, b.contexts_seconds, b.neighbours_seconds, b.lens_seconds,
           1e-6 * (double)b.bytes, (long long)wrong);
    put_json(&o, &m, &b, wrong, cpu);
    if (!o.keep) {
        snprintf(path, sizeof path, "%s/index.safetensors", dir);
        remove(path);
        remove(dir);
    }
    sl_ctx_free(ctx);
    return wrong ? 1 : 0;
}
