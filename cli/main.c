/* saelab: finds the command, reads its options, runs it, and says how it went. The only code that exits. */
#include "cli.h"

#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SPIN "5000" /* turns; gcc's own limit is 300000 */

/* A signal handler gets no argument, so this one pointer is the program's only mutable global. */
static sl_ctx *volatile running;

static void on_signal(int number)
{
    sl_ctx *ctx = running;
    if (!ctx || sl_cancelled(ctx))
        _exit(128 + number); /* the second one means it */
    sl_cancel(ctx, number);
}

static void catch_signals(sl_ctx *ctx)
{
    struct sigaction a = { .sa_handler = ctx ? on_signal : SIG_DFL };
    running = ctx;
    sigemptyset(&a.sa_mask);
    sigaction(SIGINT, &a, NULL);
    sigaction(SIGTERM, &a, NULL);
}

/* ---- which command ---- */

static const command *find_command(int argc, const char **argv, int *n_words)
{
    for (int i = 0; COMMANDS[i]; i++) {
        const char *name = COMMANDS[i]->name, *space = strchr(name, ' ');
        size_t n = space ? (size_t)(space - name) : strlen(name);
        if (argc < 1 || strlen(argv[0]) != n || strncmp(argv[0], name, n) != 0)
            continue;
        *n_words = space ? 2 : 1;
        if (!space || (argc > 1 && strcmp(argv[1], space + 1) == 0))
            return COMMANDS[i];
    }
    return NULL;
}

static bool is_group(const char *word)
{
    for (int i = 0; COMMANDS[i]; i++)
        if (strncmp(COMMANDS[i]->name, word, strlen(word)) == 0 && COMMANDS[i]->name[strlen(word)] == ' ')
            return true;
    return false;
}

/* The command nearest to what was typed, compared word by word. */
static const char *nearest(int argc, const char **argv)
{
    char typed[128];
    bool two = argc > 1 && argv[1][0] != '-';
    const char *best = NULL;
    snprintf(typed, sizeof typed, "%.60s%s%.60s", argv[0], two ? " " : "", two ? argv[1] : "");
    for (int i = 0; COMMANDS[i]; i++) {
        const char *name = COMMANDS[i]->name, *candidate = strchr(name, ' ') ? typed : argv[0];
        if (sl_name_close(candidate, name) && (!best || sl_name_distance(candidate, name) < sl_name_distance(typed, best)))
            best = name;
    }
    return best;
}

/* "saelab lm train: WHERE: WHAT (expected ...)" */
static int report(const char *name, const sl_err *err, bool json, int code)
{
    bool colour = ui_colour(stderr);
    fprintf(stderr, "%ssaelab%s%s:%s %s\n", colour ? "\033[1;31m" : "", *name ? " " : "", name, colour ? "\033[0m" : "", err->msg);
    if (json)
        out_error(name, err);
    return code;
}

/* argv does not begin with a command: nothing at all, flags alone, a group's word alone, or a mistake. */
static int no_command(int argc, const char **argv)
{
    bool json = args_has(argc, argv, "json", 0);
    sl_err err;
    if (argc > 0 && argv[0][0] == '-' && args_has(argc, argv, "help", 'h')) {
        help_overview(stdout);
        return 0;
    }
    if (argc == 0) {
        help_overview(stderr);
        return 2;
    }
    if (argv[0][0] == '-') {
        sl_fail(&err, SL_ARG, argv[0], "a command of `saelab help`", "flags without a command");
        return report("", &err, json, 2);
    }
    if (is_group(argv[0]) && (argc == 1 || argv[1][0] == '-')) {
        bool asked = args_has(argc, argv, "help", 'h');
        help_group(asked ? stdout : stderr, argv[0]);
        return asked ? 0 : 2;
    }
    const char *close = nearest(argc, argv);
    bool in_group = is_group(argv[0]) && argc > 1;
    sl_fail(&err, SL_ARG, NULL, "a command of `saelab help`", "unknown command '%s%s%s'%s%s%s", argv[0], in_group ? " " : "", in_group ? argv[1] : "",
            close ? "; did you mean '" : "", close ? close : "", close ? "'?" : "");
    return report("", &err, json, 2);
}

/* ---- running it ---- */

static sl_status make_context(cli *c, sl_err *err)
{
    c->ui = ui_new(&c->com);
    c->ctx = c->ui ? sl_ctx_new(&(sl_ctx_opts){ .n_threads = (int)c->com.threads, .on_event = ui_event, .event_user = c->ui, .data_dir = c->com.data_dir,
                                                .kern = c->com.kern, .bf16 = c->com.precision == 1 }) : NULL;
    if (!c->ctx)
        return sl_fail(err, SL_MEM, NULL, NULL, "no memory to start");
    catch_signals(c->ctx);
    if (sl_ctx_options(c->ctx)->bf16) {
        sl_machine m;
        SL_TRY(sl_machine_info(c->ctx, &m, err));
        if (!m.has_bf16)
            sl_log(c->ctx, SL_LOG_WARN, "this CPU has no bf16 products: they are done in f32");
    }
    return SL_OK;
}

/* Runs the command and writes its results: a full disk behind stdout is a failure too. */
static sl_status run(cli *c, sl_err *err)
{
    SL_TRY(make_context(c, err));
    SL_TRY(c->cmd->run(c, err));
    if (c->com.json)
        out_result(c);
    if (fflush(stdout) != 0 || ferror(stdout))
        return sl_fail(err, SL_IO, "standard output", NULL, "cannot be written");
    return SL_OK;
}

static void farewell(const cli *c, sl_status st)
{
    bool colour = ui_colour(stderr);
    if (c->com.quiet || c->com.progress == PROGRESS_JSON)
        return;
    if (st == SL_OK && *c->next)
        fprintf(stderr, "%snext:%s %s\n", colour ? "\033[2m" : "", colour ? "\033[0m" : "", c->next);
    if (st == SL_CANCELLED)
        fprintf(stderr, "stopped; the same command resumes\n");
}

static int run_command(const command *k, int argc, const char **argv)
{
    cli c = { .cmd = k, .words = sl_ctx_new(&(sl_ctx_opts){ .n_threads = 1 }), .cfg = calloc(1, k->cfg_size + 1) };
    sl_err err = { 0 };
    bool json = args_has(argc, argv, "json", 0);
    sl_status st = c.words && c.cfg ? SL_OK : sl_fail(&err, SL_MEM, NULL, NULL, "no memory to start");
    if (st == SL_OK && args_has(argc, argv, "help", 'h')) {
        st = args_help(&c, argc, argv, &err);
    } else {
        st = st == SL_OK ? args_read(&c, argc, argv, &err) : st;
        st = st == SL_OK ? run(&c, &err) : st;
    }
    ui_free(c.ui);
    int code = exit_code(&c, st);
    if (st == SL_OK || st == SL_CANCELLED)
        farewell(&c, st);
    if (st != SL_OK && (st != SL_CANCELLED || json))
        report(k->name, &err, json, code);
    json_decref(c.result);
    args_release(&c);
    catch_signals(NULL);
    sl_ctx_free(c.ctx);
    sl_ctx_free(c.words);
    free(c.cfg);
    return code;
}

/* Flags of every command may stand before the command's words (`saelab --kern=ref doctor`): how many arguments are they? */
static int n_leading_flags(int argc, const char **argv)
{
    int i = 0;
    while (i < argc && argv[i][0] == '-' && argv[i][1]) {
        const sl_opt *o = strchr(argv[i], '=') ? NULL : sl_opts_find(COMMON, argv[i] + strspn(argv[i], "-"));
        i += o && o->type != SL_T_BOOL && i + 1 < argc ? 2 : 1;
    }
    return i;
}

/* Moves them behind the rest. */
static void rotate(int argc, const char **argv, int n)
{
    for (; n > 0; n--) {
        const char *first = argv[0];
        memmove(argv, argv + 1, (size_t)(argc - 1) * sizeof *argv);
        argv[argc - 1] = first;
    }
}

/* Threads that wait for each other spin, and with gcc's OpenMP they spin for long: when other programs want the cores, a small SAE trains
 * twice as fast with a lower limit, and as fast as before when none does (docs/BENCHMARKS.md). gcc reads the limit only when a program is
 * loaded, so it is set and the program loaded again. */
static void wait_briefly(const char **argv)
{
    char self[4096];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n <= 0 || getenv("GOMP_SPINCOUNT") || getenv("OMP_WAIT_POLICY") || setenv("GOMP_SPINCOUNT", SPIN, 1) != 0)
        return;
    self[n] = 0;
    execv(self, (char *const *)(uintptr_t)argv); /* where that fails, this one goes on and spins */
}

int main(int argc, const char **argv)
{
    int n_words = 0;
    wait_briefly(argv);
    argc--;
    argv++;
    if (argc > 0 && strcmp(argv[0], "--version") == 0)
        argv[0] = "version";
    int n_flags = n_leading_flags(argc, argv);
    if (n_flags < argc)
        rotate(argc, argv, n_flags);
    const command *k = find_command(argc, argv, &n_words);
    return k ? run_command(k, argc - n_words, argv + n_words) : no_command(argc, argv);
}
