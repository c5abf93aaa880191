/* Running another program (bible, gnuplot) without a shell: arguments are passed as they are, output is captured. */
#ifndef SL_DATA_SPAWN_H
#define SL_DATA_SPAWN_H

#include <saelab/ctx.h>

typedef struct sl_spawn_opts {
    double limit_s;      /* wall-clock limit, seconds; then the program is killed */
    bool merge_stderr;   /* capture standard error with the output; else it is dropped */
    const char *folder;  /* where it runs, NULL: here */
} sl_spawn_opts;

/* Runs argv[0], looked for in PATH, with standard input empty.
 *   out  its output, 0-terminated, n bytes; sl_free by the caller; set on SL_OK, and on SL_IO when it ran to its end
 * Returns SL_UNAVAILABLE (no such program), SL_IO (time limit, a signal, exit code not 0), SL_CANCELLED, SL_MEM. */
sl_status sl_spawn(sl_ctx *ctx, const char *const *argv, const sl_spawn_opts *o, char **out, size_t *n, sl_err *err)
    SL_USE_RESULT;

#endif
