#include "rates.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { N = 16384, ROOTS = 128, IN_TREE = 10880, GROUP = 64, BATCH = 1024 };
/* z of two counts of one rate: N(0, 1). Of 16,384 the largest passes 5.2 once in 300 runs; the rms of n has a standard error of 1 / sqrt(2 n). */
#define Z_LARGEST 5.2
#define RTOL .02

static bool count_ours(sl_ctx *ctx, int64_t rows, bool plain, double *count)
{
    _Alignas(max_align_t) char opts[SL_WORLD_OPTS];
    const sl_world_info *info = sl_world_find("synth16k");
    sl_world *w = NULL;
    sl_act_source *src = NULL;
    sl_act_batch batch;
    sl_err err;
    sl_opts_default(info->opts, opts);
    bool good = true;
    static const char *const zero[] = { "ortho_steps", "rank", "std_mean", "std_std" };
    for (int i = 0; i < (plain ? 4 : 1) && good; i++)
        good = sl_opts_set(ctx, info->opts, opts, zero[i], "0", "bench", SL_ARG, &err) == SL_OK;
    good = good && sl_world_new(ctx, info->name, opts, 42, &w, &err) == SL_OK && sl_world_open(w, SL_WORLD_TRAIN, &src, &err) == SL_OK;
    for (int64_t done = 0; good && done < rows; done += BATCH) {
        good = src->next(src, BATCH, &batch, &err) == SL_OK;
        for (int64_t i = 0; good && i < batch.truth->row_ptr[BATCH]; i++)
            count[batch.truth->idx[i]]++;
    }
    if (!good)
        fprintf(stderr, "bench_worlds: %s\n", err.msg);
    if (src)
        sl_act_source_free(src);
    sl_world_free(w);
    return good;
}

static bool count_theirs(peer *p, int64_t rows, bool plain, double *count)
{
    char path[] = "/tmp/saelab_rates_XXXXXX", drawn[64], l0[64];
    int fd = mkstemp(path);
    if (fd < 0)
        return false;
    bool good = peer_ask(p, drawn, l0, "%s %lld %s", plain ? "plain_rates" : "rates", (long long)rows, path) && strtod(drawn, NULL) == (double)rows &&
                read(fd, count, N * sizeof *count) == (ssize_t)(N * sizeof *count);
    close(fd);
    unlink(path);
    return good;
}

typedef struct level { const char *name; int from, to; bool free; } level; /* free: of parents */

/* One line of a level; false: they differ. */
static bool compare(const level *l, int64_t rows, bool plain, const double *a, const double *b)
{
    double sum_a = 0, sum_b = 0, squares = 0, largest = 0, group = 0;
    for (int i = l->from; i < l->to; i += GROUP) {
        double ga = 0, gb = 0;
        for (int j = i; j < i + GROUP && j < l->to; j++) {
            double p = (a[j] + b[j]) / (2. * (double)rows), var = (a[j] + b[j]) * (1 - p), z = var > 0 ? (a[j] - b[j]) / sqrt(var) : 0;
            ga += a[j];
            gb += b[j];
            squares += z * z;
            largest = fabs(z) > largest ? fabs(z) : largest;
        }
        sum_a += ga;
        sum_b += gb;
        group = fabs(ga / gb - 1) > group ? fabs(ga / gb - 1) : group;
    }
    int n = l->to - l->from;
    double ratio = sum_a / sum_b, rms = sqrt(squares / n);
    double noise = sqrt(2 * n / (GROUP * sum_b)); /* of a group's ratio */
    bool good = fabs(ratio - 1) <= RTOL && (!(plain || l->free) || group <= RTOL + 3 * noise);
    if (plain)
        good = good && largest <= Z_LARGEST && fabs(rms - 1) <= 4 / sqrt(2. * n);
    printf("  %-9s %5d features  l0 %7.4f and %7.4f, ratio %.4f   groups of %d: at most %.2f %%   z: rms %.3f, largest %.2f   %s\n", l->name, n,
           sum_a / (double)rows, sum_b / (double)rows, ratio, GROUP, 100 * group, rms, largest, good ? "agree" : "DIFFER");
    return good;
}

bool rates_agree(sl_ctx *ctx, peer *p, int64_t rows, bool plain)
{
    static const level levels[] = { { "roots", 0, ROOTS, true }, { "level 1", ROOTS, 640, false }, { "level 2", 640, 2688, false },
                                    { "level 3", 2688, IN_TREE, false }, { "free", IN_TREE, N, true } };
    double *a = calloc(2 * N, sizeof *a), *b = a + N;
    rows = (rows + BATCH - 1) / BATCH * BATCH;
    bool good = a && count_ours(ctx, rows, plain, a) && count_theirs(p, rows, plain, b);
    if (good) {
        printf("synth16k, %lld rows, %s: saelab and SAELens\n", (long long)rows, plain ? "without correlations, magnitudes constant" : "the recipe");
        for (size_t i = 0; i < sizeof levels / sizeof *levels; i++)
            good &= compare(levels + i, rows, plain, a, b);
        fflush(stdout);
    }
    free(a);
    return good;
}
