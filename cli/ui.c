/* Progress and log events on stderr: one bar that redraws itself on a terminal, a plain line every 30 s elsewhere, one JSON object a
 * line for programs, or nothing. Several tasks may be alive (an evaluation inside a training): the bar shows the last that spoke. */
#include "cli.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

enum { N_TASKS = 8, PLAIN_SECONDS = 30 };

typedef struct task {
    char name[64];
    double started, first_done; /* s; a resumed task does not begin at 0 */
    double drawn;               /* s: when a line was last written */
} task;

struct ui {
    int mode;
    bool quiet, verbose, colour, utf8;
    bool open;           /* an unfinished bar stands on the line */
    task tasks[N_TASKS]; /* name "" is free */
};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

bool ui_colour(FILE *f)
{
    const char *no = getenv("NO_COLOR"), *term = getenv("TERM");
    return isatty(fileno(f)) && !(no && *no) && term && strcmp(term, "dumb") != 0;
}

static bool terminal(void)
{
    const char *term = getenv("TERM");
    return isatty(STDERR_FILENO) && term && strcmp(term, "dumb") != 0;
}

static bool locale_is_utf8(void)
{
    const char *all = getenv("LC_ALL"), *type = getenv("LC_CTYPE"), *lang = getenv("LANG");
    const char *l = all && *all ? all : type && *type ? type : lang;
    return l && (strstr(l, "UTF-8") || strstr(l, "utf8"));
}

static int columns(void)
{
    struct winsize w;
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col >= 20)
        return w.ws_col < 120 ? w.ws_col : 120;
    return 80;
}

ui *ui_new(const common *c)
{
    ui *u = calloc(1, sizeof *u);
    if (!u)
        return NULL;
    u->mode = c->progress;
    u->quiet = c->quiet;
    u->verbose = c->verbose;
    u->colour = ui_colour(stderr);
    u->utf8 = locale_is_utf8();
    if (u->mode == PROGRESS_AUTO)
        u->mode = c->quiet ? PROGRESS_OFF : terminal() ? PROGRESS_BAR : PROGRESS_PLAIN;
    return u;
}

static void clear_line(ui *u)
{
    if (u->open)
        fprintf(stderr, "\r\033[K");
    u->open = false;
}

void ui_free(ui *u)
{
    if (u && u->open)
        fprintf(stderr, "\n");
    free(u);
}

/* ---- logs ---- */

static void json_line(json_t *o)
{
    char *s = o ? json_dumps(o, JSON_COMPACT | JSON_PRESERVE_ORDER) : NULL;
    if (s)
        fprintf(stderr, "%s\n", s);
    free(s);
    json_decref(o);
}

static void log_event(ui *u, const sl_event *e)
{
    static const char *const names[] = { "debug", "info", "warning" };
    if ((e->level == SL_LOG_DEBUG && !u->verbose) || (e->level == SL_LOG_INFO && u->quiet))
        return;
    if (u->mode == PROGRESS_JSON) {
        json_line(json_pack("{s:s, s:s, s:s}", "event", "log", "level", names[e->level], "text", e->text));
        return;
    }
    clear_line(u);
    bool warn = e->level == SL_LOG_WARN;
    fprintf(stderr, "%s%s%s%s\n", warn && u->colour ? "\033[33m" : "", warn ? "warning: " : "", warn && u->colour ? "\033[0m" : "", e->text);
}

/* ---- progress ---- */

static task *task_of(ui *u, const sl_event *e, double t)
{
    task *slot = &u->tasks[0];
    for (int i = 0; i < N_TASKS; i++) {
        if (strncmp(u->tasks[i].name, e->task, sizeof slot->name - 1) == 0 && *u->tasks[i].name)
            return &u->tasks[i];
        if (!*u->tasks[i].name)
            slot = &u->tasks[i];
    }
    *slot = (task){ .started = t, .first_done = e->done, .drawn = t };
    snprintf(slot->name, sizeof slot->name, "%s", e->task);
    return slot;
}

/* Seconds left at the mean speed so far; negative when unknown. */
static double remaining(const task *k, const sl_event *e, double t)
{
    double done = e->done - k->first_done;
    return e->total > 0 && done > 0 && t > k->started ? (t - k->started) * (e->total - e->done) / done : -1;
}

static void amount(char *out, size_t size, const sl_event *e)
{
    char a[32], b[32];
    bool bytes = e->unit && strcmp(e->unit, "bytes") == 0;
    const char *(*text)(char *, int64_t) = bytes ? text_bytes : text_count;
    if (e->total > 0)
        snprintf(out, size, "%s/%s%s%s", text(a, (int64_t)e->done), text(b, (int64_t)e->total), bytes || !e->unit ? "" : " ", bytes || !e->unit ? "" : e->unit);
    else
        snprintf(out, size, "%s%s%s", text(a, (int64_t)e->done), bytes || !e->unit ? "" : " ", bytes || !e->unit ? "" : e->unit);
}

/* "train lm  840/2,000 steps  loss 1.91  ETA 0:41", without the bar itself */
static void figures(char *out, size_t size, const task *k, const sl_event *e, double t)
{
    char much[96], eta[32] = "", left[48] = "";
    double s = remaining(k, e, t);
    amount(much, sizeof much, e);
    bool told = e->text && strstr(e->text, "ETA"); /* the task may know better, for example a limit on its time */
    if (s >= 0 && !told)
        snprintf(left, sizeof left, "  ETA %s", text_time(eta, s));
    snprintf(out, size, "%s%s%s%s", much, e->text && *e->text ? "  " : "", e->text ? e->text : "", left);
}

/* At most `limit` code points. */
static int cut(const char *s, int limit)
{
    int n = 0, bytes = 0;
    for (; s[bytes]; bytes++)
        if (((unsigned char)s[bytes] & 0xc0) != 0x80 && n++ == limit)
            break;
    return bytes;
}

static void draw_bar(ui *u, const task *k, const sl_event *e, double t)
{
    enum { BAR = 20 };
    char text[512];
    figures(text, sizeof text, k, e, t);
    clear_line(u);
    int room = columns() - 1 - (int)strlen(k->name) - 2;
    fprintf(stderr, "%s  ", k->name);
    if (e->total > 0 && room > BAR + 30) {
        double share = e->done < e->total ? e->done / e->total : 1;
        int full = (int)(share * BAR);
        fprintf(stderr, "%s", u->colour ? "\033[32m" : "");
        for (int i = 0; i < BAR; i++) {
            if (i == full && u->colour)
                fprintf(stderr, "\033[0m\033[2m");
            fprintf(stderr, "%s", i < full ? (u->utf8 ? "\xe2\x94\x81" : "=") : u->colour && u->utf8 ? "\xe2\x94\x81" : "-");
        }
        fprintf(stderr, "%s %3d%%  ", u->colour ? "\033[0m" : "", (int)(100 * share));
        room -= BAR + 7;
    }
    fprintf(stderr, "%.*s", cut(text, room), text);
    fflush(stderr);
    u->open = true;
}

/* One line about a task that has ended. */
static void draw_end(ui *u, const task *k, const sl_event *e, double t)
{
    char much[96], took[32];
    clear_line(u);
    for (int i = 0; i < N_TASKS; i++)
        if (*u->tasks[i].name && &u->tasks[i] != k)
            return; /* a part of something larger, which will say its own */
    if (t - k->started < 1)
        return; /* too short to be worth a line */
    sl_event whole = *e;
    whole.total = 0;
    amount(much, sizeof much, &whole);
    const char *text = e->text ? e->text : "", *eta = strstr(text, "  ETA");
    int n = (int)(eta ? (size_t)(eta - text) : strlen(text));
    fprintf(stderr, "%s: %s in %s%s%.*s\n", k->name, much, text_time(took, t - k->started), n ? "  " : "", n, text);
}

static void draw_json(const task *k, const sl_event *e, double t)
{
    json_line(json_pack("{s:s, s:s, s:f, s:o, s:s, s:s, s:f}", "event", "progress", "task", k->name, "done", e->done, "total",
                        e->total > 0 ? json_real(e->total) : json_null(), "unit", e->unit ? e->unit : "", "text", e->text ? e->text : "",
                        "seconds", t - k->started));
}

static void progress_event(ui *u, const sl_event *e)
{
    static const double every[] = { [PROGRESS_BAR] = .1, [PROGRESS_PLAIN] = PLAIN_SECONDS, [PROGRESS_JSON] = 1, [PROGRESS_OFF] = 1e9 };
    double t = now();
    task *k = task_of(u, e, t);
    bool end = e->total > 0 && e->done >= e->total;
    char text[512];
    if (end || t - k->drawn >= every[u->mode] || (u->mode == PROGRESS_BAR && !u->open)) {
        k->drawn = t;
        if (u->mode == PROGRESS_JSON)
            draw_json(k, e, t);
        else if (end && u->mode != PROGRESS_OFF)
            draw_end(u, k, e, t);
        else if (u->mode == PROGRESS_BAR)
            draw_bar(u, k, e, t);
        else if (u->mode == PROGRESS_PLAIN) {
            figures(text, sizeof text, k, e, t);
            fprintf(stderr, "%s: %s\n", k->name, text);
        }
    }
    if (end)
        k->name[0] = 0;
}

void ui_event(void *user, const sl_event *e)
{
    if (e->kind == SL_EVENT_LOG)
        log_event(user, e);
    else
        progress_event(user, e);
}
