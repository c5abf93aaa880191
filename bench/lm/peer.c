#include "peer.h"

#include <stdarg.h>
#include <sys/wait.h>
#include <unistd.h>

bool peer_start(peer *p, const char *python, const char *script, int threads)
{
    int in[2], out[2];
    char n[16];
    snprintf(n, sizeof n, "%d", threads);
    if (access(python, X_OK) != 0 || pipe(in) != 0 || pipe(out) != 0) {
        fprintf(stderr, "bench_lm: %s cannot be started\n", python);
        return false;
    }
    p->pid = fork();
    if (p->pid == 0) {
        dup2(in[0], 0);
        dup2(out[1], 1);
        close(in[1]);
        close(out[0]);
        execl(python, python, script, "--threads", n, (char *)NULL);
        _exit(127);
    }
    close(in[0]);
    close(out[1]);
    p->to = fdopen(in[1], "w");
    p->from = fdopen(out[0], "r");
    return p->pid > 0 && p->to && p->from;
}

bool peer_ask(peer *p, char a[64], char b[64], const char *fmt, ...)
{
    char line[256];
    va_list ap;
    va_start(ap, fmt);
    vfprintf(p->to, fmt, ap);
    va_end(ap);
    fputc('\n', p->to);
    fflush(p->to);
    return fgets(line, sizeof line, p->from) && sscanf(line, "ok %63s %63s", a, b) == 2;
}

void peer_stop(peer *p)
{
    if (p->pid <= 0)
        return;
    fclose(p->to); /* end of input ends it */
    fclose(p->from);
    waitpid(p->pid, NULL, 0);
    p->pid = 0;
}
