/* posix_spawn, a pipe and a deadline. */
#define _GNU_SOURCE /* posix_spawn_file_actions_addchdir_np */
#include "data/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { SLICE_MS = 100 }; /* how often cancellation and the deadline are looked at */

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Starts the program with its output going to `write_end`. Returns errno's number, 0 for success. */
static int start(const char *const *argv, const sl_spawn_opts *o, int write_end, pid_t *pid)
{
    posix_spawn_file_actions_t fa;
    int e = posix_spawn_file_actions_init(&fa);
    if (e)
        return e;
    e = posix_spawn_file_actions_addopen(&fa, 0, "/dev/null", O_RDONLY, 0);
    if (!e)
        e = posix_spawn_file_actions_adddup2(&fa, write_end, 1);
    if (!e)
        e = o->merge_stderr ? posix_spawn_file_actions_adddup2(&fa, write_end, 2)
                            : posix_spawn_file_actions_addopen(&fa, 2, "/dev/null", O_WRONLY, 0);
    if (!e && o->folder)
        e = posix_spawn_file_actions_addchdir_np(&fa, o->folder);
    if (!e)
        e = posix_spawnp(pid, argv[0], &fa, NULL, (char *const *)argv, environ);
    posix_spawn_file_actions_destroy(&fa);
    return e;
}

typedef struct capture { sl_ctx *ctx; char *data; size_t n, cap; } capture;

static sl_status take(capture *c, const char *part, size_t n, sl_err *err)
{
    if (c->n + n + 1 > c->cap) {
        size_t cap = 2 * (c->n + n + 1) > 65536 ? 2 * (c->n + n + 1) : 65536;
        char *data = sl_alloc(c->ctx, cap);
        if (!data)
            return sl_fail(err, SL_MEM, "output of a program", NULL, "no memory for %zu bytes", cap);
        if (c->n)
            memcpy(data, c->data, c->n);
        sl_free(c->ctx, c->data);
        c->data = data;
        c->cap = cap;
    }
    memcpy(c->data + c->n, part, n);
    c->n += n;
    c->data[c->n] = 0;
    return SL_OK;
}

/* Reads until the program closes its output. */
static sl_status drain(sl_ctx *ctx, const char *name, int fd, double deadline, capture *c, sl_err *err)
{
    char part[16384];
    for (;;) {
        if (sl_cancelled(ctx))
            return sl_fail(err, SL_CANCELLED, name, NULL, "stopped while it ran");
        if (seconds() > deadline)
            return sl_fail(err, SL_IO, name, NULL, "did not end in time and was stopped");
        struct pollfd p = { .fd = fd, .events = POLLIN };
        int ready = poll(&p, 1, SLICE_MS);
        if (ready == 0 || (ready < 0 && errno == EINTR))
            continue;
        ssize_t got = ready < 0 ? -1 : read(fd, part, sizeof part);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return sl_fail(err, SL_IO, name, NULL, "reading its output: %s", strerror(errno));
        if (got == 0)
            return SL_OK;
        SL_TRY(take(c, part, (size_t)got, err));
    }
}

/* Waits for the end of a program that closed its output; kills it at the deadline, or at once when `now`. */
static int reap(pid_t pid, double deadline, bool now)
{
    int code = 0;
    while (!now && waitpid(pid, &code, WNOHANG) == 0) {
        poll(NULL, 0, 2);
        now = seconds() > deadline;
    }
    if (now) {
        kill(pid, SIGKILL);
        while (waitpid(pid, &code, 0) < 0 && errno == EINTR)
            ;
    }
    return code;
}

sl_status sl_spawn(sl_ctx *ctx, const char *const *argv, const sl_spawn_opts *o, char **out, size_t *n, sl_err *err)
{
    int fd[2];
    pid_t pid = 0;
    *out = NULL;
    *n = 0;
    if (pipe(fd) != 0)
        return sl_fail(err, SL_IO, argv[0], NULL, "no pipe: %s", strerror(errno));
    fcntl(fd[0], F_SETFD, FD_CLOEXEC);
    fcntl(fd[1], F_SETFD, FD_CLOEXEC);
    int e = start(argv, o, fd[1], &pid);
    close(fd[1]);
    if (e) {
        close(fd[0]);
        if (e == ENOENT)
            return sl_fail(err, SL_UNAVAILABLE, argv[0], NULL, "the program is not installed");
        return sl_fail(err, SL_IO, argv[0], NULL, "cannot start: %s", strerror(e));
    }
    capture c = { .ctx = ctx };
    double deadline = seconds() + o->limit_s;
    sl_status st = take(&c, "", 0, err);
    if (st == SL_OK)
        st = drain(ctx, argv[0], fd[0], deadline, &c, err);
    close(fd[0]);
    int code = reap(pid, deadline, st != SL_OK);
    if (st != SL_OK) {
        sl_free(ctx, c.data);
        return st;
    }
    *out = c.data;
    *n = c.n;
    if (WIFEXITED(code) && WEXITSTATUS(code) == 0)
        return SL_OK;
    if (WIFEXITED(code))
        return sl_fail(err, SL_IO, argv[0], NULL, "ended with code %d", WEXITSTATUS(code));
    return sl_fail(err, SL_IO, argv[0], NULL, "ended by signal %d", WTERMSIG(code));
}
