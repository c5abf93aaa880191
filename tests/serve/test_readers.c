/* test_readers [SECONDS]: fifty readers at once for a bounded time; no error, and with SECONDS given the 99th percentile is printed. */
#include "client.h"
#include "fixture.h"

#include <pthread.h>
#include <saelab/serve.h>
#include <time.h>

enum { READERS = 50, MOST = 20000 };
static double seconds = 1;

typedef struct reader { pthread_t thread; int port, number; int64_t n; double ms[MOST / 10]; } reader;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void *reads(void *arg)
{
    reader *r = arg;
    double end = now() + seconds;
    while (now() < end && r->n < MOST / 10) {
        char path[128];
        int what = (int)((r->n + r->number) % 3), id = (int)((r->n * 31 + r->number) % FIXTURE_FEATURES);
        snprintf(path, sizeof path, what == 0 ? "/api/set/sae-a/feature/%d" : what == 1 ? "/api/set/sae-b/rows?q=%%23%d-90&sort=density" : "/api/set/sae-a/density?q=-%%23%d", id);
        double start = now();
        answer a = client_ask(r->port, "GET", path, NULL);
        r->ms[r->n++] = 1e3 * (now() - start);
        if (a.status != 200) {
            fprintf(stderr, "%s: %d\n", path, a.status);
            r->n = -1;
            free(a.all);
            return NULL;
        }
        free(a.all);
        nanosleep(&(struct timespec){ .tv_nsec = 40000000 }, NULL); /* a person looks at it; and other work on the machine goes on */
    }
    return NULL;
}

static int by_size(const void *a, const void *b) { return (*(const double *)a > *(const double *)b) - (*(const double *)a < *(const double *)b); }

static void fifty(void **state)
{
    sl_err err;
    sl_server *s;
    sl_ctx *ctx = sl_test_ctx(1);
    const char *dir = sl_test_dir("readers");
    reader *r = calloc(READERS, sizeof *r);
    double *all = calloc(READERS * (MOST / 10), sizeof *all);
    int64_t n = 0;
    (void)state;
    sl_assert_ok(fixture_make(ctx, dir, &err));
    sl_assert_ok(sl_serve_open(ctx, 1, &dir, &(sl_serve_config){ 0 }, &s, &err));
    for (int i = 0; i < READERS; i++) {
        r[i].port = sl_serve_port(s);
        r[i].number = i;
        assert_int_equal(pthread_create(&r[i].thread, NULL, reads, &r[i]), 0);
    }
    for (int i = 0; i < READERS; i++) {
        pthread_join(r[i].thread, NULL);
        assert_true(r[i].n > 0);
        memcpy(all + n, r[i].ms, (size_t)r[i].n * sizeof *all);
        n += r[i].n;
    }
    qsort(all, (size_t)n, sizeof *all, by_size);
    printf("readers: %d, answers: %lld, ms median %.2f, p99 %.2f, max %.2f\n", READERS, (long long)n, all[n / 2], all[n * 99 / 100], all[n - 1]);
    sl_serve_close(s);
    sl_ctx_free(ctx);
    free(r);
    free(all);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(fifty) };
    if (argc > 1)
        seconds = strtod(argv[1], NULL);
    return cmocka_run_group_tests_name("readers", tests, NULL, NULL);
}
