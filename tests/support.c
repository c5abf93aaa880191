/* Helpers of the tests. */
#define _GNU_SOURCE
#include "support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void to_stderr(void *user, const sl_event *e)
{
    (void)user;
    if (e->kind == SL_EVENT_LOG && e->level == SL_LOG_WARN)
        fprintf(stderr, "warning: %s\n", e->text);
}

sl_ctx *sl_test_ctx(int n_threads)
{
    sl_ctx_opts o = { .n_threads = n_threads, .on_event = to_stderr };
    sl_ctx *ctx = sl_ctx_new(&o);
    if (!ctx)
        abort();
    return ctx;
}

const char *sl_test_data(const char *name)
{
    static char path[8][1024];
    static int slot;
    char *p = path[slot++ % 8];
    const char *env = getenv("SAELAB_DATA");
    const char *roots[] = { env, "../shared/data", "../../shared/data", NULL };
    for (int i = 0; i < 3; i++) {
        if (!roots[i] || !*roots[i])
            continue;
        snprintf(p, sizeof path[0], "%s/%s", roots[i], name);
        if (access(p, R_OK) == 0)
            return p;
    }
    fprintf(stderr, "SKIP: missing test data %s\n", name);
    return NULL;
}

const char *sl_test_dir(const char *name)
{
    static char path[4][512];
    static int slot;
    char *p = path[slot++ % 4], cmd[600];
    const char *tmp = getenv("TMPDIR");
    snprintf(p, sizeof path[0], "%s/saelab-test-%d-%s", tmp && *tmp ? tmp : "/tmp", (int)getpid(), name);
    snprintf(cmd, sizeof cmd, "rm -rf '%s'", p);
    if (system(cmd) != 0 || mkdir(p, 0777) != 0)
        fail_msg("cannot make %s", p);
    return p;
}

void sl_assert_close_f32(const char *what, const float *got, const float *ref, int64_t n, double atol, double rtol)
{
    for (int64_t i = 0; i < n; i++)
        if (!(fabs((double)got[i] - (double)ref[i]) <= atol + rtol * fabs((double)ref[i])))
            fail_msg("%s[%lld]: got %.9g, expected %.9g (atol %g, rtol %g)", what, (long long)i, (double)got[i], (double)ref[i], atol, rtol);
}

void sl_assert_close_f64(const char *what, const double *got, const double *ref, int64_t n, double atol, double rtol)
{
    for (int64_t i = 0; i < n; i++)
        if (!(fabs(got[i] - ref[i]) <= atol + rtol * fabs(ref[i])))
            fail_msg("%s[%lld]: got %.17g, expected %.17g (atol %g, rtol %g)", what, (long long)i, got[i], ref[i], atol, rtol);
}

void sl_assert_same_bits(const char *what, const void *got, const void *ref, size_t bytes)
{
    const unsigned char *a = got, *b = ref;
    for (size_t i = 0; i < bytes; i++)
        if (a[i] != b[i])
            fail_msg("%s: byte %zu of %zu differs (%02x, expected %02x)", what, i, bytes, a[i], b[i]);
}
