/* ./run bench serve [FEATURES]: how fast the feature browser answers over loopback: pages of features, filter and sort of all rows, and 64 typed tokens with
 * a model of the quick preset's shape; and when Chromium paints first (first_paint.py; null where there is none). Makes its own data in a temporary
 * folder: directions at random as features, an untrained model. Prints JSON, ms. */
#include "figures.h"

#include <saelab/features.h>
#include <saelab/rng.h>
#include <saelab/serve.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { WIDTH = 128, ROWS = 3000, D_SAE = 1024, REPEATS = 40, PAINTS = 11 };

static void check(sl_status st, const sl_err *err)
{
    if (st == SL_OK)
        return;
    fprintf(stderr, "bench serve: %s\n", err->msg);
    exit(1);
}

/* ms until the whole answer is here; it has to be a 200. */
static double ask(int port, const char *request)
{
    static char answer[1 << 20];
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int fd = socket(AF_INET, SOCK_STREAM, 0), code = 0;
    double start = 1e3 * now();
    ssize_t n = 0, k = 1;
    if (connect(fd, (struct sockaddr *)&at, sizeof at) == 0 && send(fd, request, strlen(request), 0) > 0)
        while ((k = recv(fd, answer + n, sizeof answer - 1 - (size_t)n, 0)) > 0)
            n += k;
    close(fd);
    answer[n] = 0;
    if (sscanf(answer, "HTTP/1.1 %d", &code) != 1 || code != 200) {
        fprintf(stderr, "bench serve: answered %.400s\n", answer);
        exit(1);
    }
    return 1e3 * now() - start;
}

/* Median and largest of REPEATS requests; format gets a number that changes. */
static void measure(int port, const char *name, const char *format, int64_t end, const char *comma)
{
    double ms[REPEATS];
    char request[1024];
    for (int i = 0; i < REPEATS; i++) {
        snprintf(request, sizeof request, format, (int)((i * 7919LL + 13) % end));
        ms[i] = ask(port, request);
    }
    double mid = median(ms, REPEATS);
    printf("  \"%s_ms\": %.2f, \"%s_max_ms\": %.2f%s\n", name, mid, name, ms[REPEATS - 1], comma);
}

/* The same of first_paint.py: the first paint, and rows of the table. */
static void measure_paint(int port)
{
    char command[512], line[256] = "";
    double v[4];
    snprintf(command, sizeof command, "/usr/bin/python3 '" SL_BENCH_PEERS "/../serve/first_paint.py' http://127.0.0.1:%d/ %d", port, PAINTS);
    FILE *f = popen(command, "r");
    bool read = f && fgets(line, sizeof line, f);
    bool good = f && pclose(f) == 0 && read && sscanf(line, "ok %lf %lf %lf %lf", &v[0], &v[1], &v[2], &v[3]) == 4;
    if (good)
        printf("  \"first_paint_ms\": %.1f, \"first_paint_max_ms\": %.1f,\n  \"rows_drawn_ms\": %.1f, \"rows_drawn_max_ms\": %.1f\n", v[0], v[1], v[2], v[3]);
    else
        printf("  \"first_paint_ms\": null\n");
}

/* A store of random rows, tokens 0..25. */
static void make_rows(sl_ctx *ctx, const char *dir, sl_err *err)
{
    static float x[ROWS * WIDTH];
    static int32_t token[ROWS], doc[ROWS], pos[ROWS];
    sl_acts_writer *w;
    sl_rng r = sl_rng_at(1, SL_RNG_TEST, 0, 0);
    for (int i = 0; i < ROWS * WIDTH; i++)
        x[i] = (float)(sl_rng_uniform(&r) + sl_rng_uniform(&r) - 1);
    for (int i = 0; i < ROWS; i++) {
        token[i] = (int32_t)sl_rng_below(&r, 26);
        doc[i] = i / 500;
        pos[i] = i % 500;
    }
    check(sl_acts_create(ctx, dir, &(sl_act_info){ .d_in = WIDTH, .hook = "blocks.2.hook_resid_pre" }, ROWS, &(sl_acts_opts){ .dtype = SL_F32 }, &w, err), err);
    check(sl_acts_append(w, x, ROWS, token, doc, pos, err), err);
    check(sl_acts_finish(w, err), err);
}

static void build(sl_ctx *ctx, sl_features_input in, const char *acts, const char *dir, sl_err *err)
{
    sl_features_opts o;
    sl_features_built built;
    sl_opts_default(sl_features_options, &o);
    o.top = 5, o.quantiles = 4, o.per_quantile = 2, o.neighbours = 1;
    check(sl_acts_open(ctx, acts, false, &in.rows, err), err);
    check(sl_features_build(ctx, &in, &o, dir, &built, err), err);
    sl_act_source_free(in.rows);
}

/* A model of the quick preset's shape, and an SAE after one step, with an index. */
static void make_model(sl_ctx *ctx, const char *root, const char *acts, sl_tok *tok, sl_err *err)
{
    char lm_path[600], path[600];
    sl_lm_config c = sl_lm_preset_find("quick")->lm;
    sl_sae_train_config t;
    sl_sae_result result = { 0 };
    sl_act_source *rows;
    sl_lm *lm;
    sl_sae *sae;
    c.vocab_size = sl_tok_vocab(tok);
    snprintf(lm_path, sizeof lm_path, "%s/lm", root);
    snprintf(path, sizeof path, "%s/sae", root);
    check(sl_lm_new(ctx, &c, 1, &lm, err), err);
    check(sl_lm_save(lm, tok, lm_path, err), err);
    sl_opts_default(sl_sae_train_opts, &t);
    t.steps = 1;
    t.batch = 256;
    check(sl_sae_new(ctx, "topk", WIDTH, D_SAE, NULL, 1, &sae, err), err);
    check(sl_acts_open(ctx, acts, false, &rows, err), err);
    check(sl_sae_train(sae, rows, &t, NULL, &result, err), err);
    sl_act_source_free(rows);
    sl_free(ctx, result.curve);
    check(sl_sae_save(sae, path, err), err);
    char index[640];
    snprintf(index, sizeof index, "%s/features", path);
    build(ctx, (sl_features_input){ .sae = sae, .tok = tok, .sae_path = path, .lm_path = lm_path }, acts, index, err);
    sl_sae_free(sae);
    sl_lm_free(lm);
}

int main(int argc, char **argv)
{
    int64_t n = argc > 1 ? strtoll(argv[1], NULL, 10) : 100000;
    char root[] = "/tmp/bench-serve-XXXXXX", acts[64], many[64], sae[64];
    sl_err err;
    sl_tok *tok;
    sl_server *s;
    sl_ctx *ctx = sl_ctx_new(NULL);
    if (!ctx || n < 100 || !mkdtemp(root))
        return 2;
    snprintf(acts, sizeof acts, "%s/acts", root);
    snprintf(many, sizeof many, "%s/many", root);
    snprintf(sae, sizeof sae, "%s/sae", root);
    make_rows(ctx, acts, &err);
    check(sl_tok_new(ctx, SL_TOK_CHAR, "abcdefghijklmnopqrstuvwxyz", 26, &tok, &err), &err);
    float *v = sl_alloc(ctx, (size_t)(n * WIDTH) * sizeof *v);
    sl_rng r = sl_rng_at(2, SL_RNG_TEST, 0, 0);
    for (int64_t i = 0; v && i < n * WIDTH; i++)
        v[i] = (float)(sl_rng_uniform(&r) - .5);
    fprintf(stderr, "bench serve: an index of %lld features ...\n", (long long)n);
    build(ctx, (sl_features_input){ .vectors = v, .n_vectors = n, .tok = tok }, acts, many, &err);
    sl_free(ctx, v);
    make_model(ctx, root, acts, tok, &err);
    sl_tok_free(tok);
    const char *paths[] = { many, sae };
    check(sl_serve_open(ctx, 2, paths, &(sl_serve_config){ .port = 0 }, &s, &err), &err);
    int port = sl_serve_port(s);
    printf("{\n  \"features\": %lld,\n", (long long)n);
    measure(port, "page", "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", n, ",");
    measure(port, "feature", "GET /api/set/many/feature/%d HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", n, ",");
    measure(port, "filter_sort", "GET /api/set/many/rows?q=max:%%3E0.%d&sort=max&down=1&n=100 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 9, ",");
    measure(port, "word_sort", "GET /api/set/many/rows?q=%%2361-99999+a&sort=top_token&n=100&find=%d HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", n, ",");
    measure(port, "density", "GET /api/set/many/density?q=max:%%3E0.%d HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 9, ",");
    static const char text[] = "{\"text\": \"abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijkl\"}";
    char request[512];
    snprintf(request, sizeof request, "POST /api/set/sae/text HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
             strlen(text), text);
    ask(port, request); /* the first one loads the model */
    measure(port, "text_64_tokens", request, n, ",");
    measure_paint(port);
    printf("}\n");
    sl_serve_close(s);
    sl_ctx_free(ctx);
    char clean[128];
    snprintf(clean, sizeof clean, "rm -r %s", root);
    return system(clean) != 0;
}
