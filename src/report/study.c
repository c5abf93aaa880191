/* report.html of a study: one page over its runs and its confirmation. Nothing in it is fetched or run. */
#include "report/figures.h"
#include "report/forest.h"
#include "report/links.h"

#include <saelab/report.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { CHECKS = 64, OPEN_WARNINGS = 12 };

typedef struct page {
    sl_ctx *ctx;
    const sl_study_page *p;
    const char *path;
    sl_html h;
    sl_facts *f;             /* [n_runs]; ctx NULL: the run is not there */
    sl_arm_effect *effect;       /* [SL_EFFECTS] of the run that is looked at */
    json_t *confirm;         /* confirm.json, or NULL */
    char *plan;
    char wrong[400];         /* what is wrong with the confirmation, or "" */
} page;

/* ---- small parts ---- */

static bool is_there(const page *p, int run) { return p->f[run].ctx != NULL; }
static const char *config(const page *p, int run, const char *key) { return sl_facts_config(&p->f[run], key); }

static void link_to(page *p, const char *dir, const char *file, const char *text)
{
    char href[4096];
    sl_h(&p->h, "<a href=\"");
    sl_h_text(&p->h, sl_relative_link(p->path, dir, file, href, sizeof href));
    sl_h(&p->h, "\">");
    sl_h_text(&p->h, text);
    sl_h(&p->h, "</a>");
}

static void text_cell(sl_html *h, const char *fmt, ...) SL_PRINTF(2, 3);
static void text_cell(sl_html *h, const char *fmt, ...)
{
    char text[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    sl_h(h, "<td>");
    sl_h_text(h, text);
    sl_h(h, "</td>");
}

static void table_head(sl_html *h, const char *const *name)
{
    sl_h(h, "<div class=\"wide\"><table><thead><tr>");
    for (; *name; name++) {
        sl_h(h, "<th>");
        sl_h_text(h, *name);
        sl_h(h, "</th>");
    }
    sl_h(h, "</tr></thead><tbody>\n");
}

/* ---- the decision ---- */

static const char *decided(const page *p, const char *key)
{
    const char *text = json_string_value(json_object_get(json_object_get(p->confirm, "decision"), key));
    return text ? text : "";
}

static bool is_claim(const page *p)
{
    const char *profile = json_string_value(json_object_get(p->confirm, "profile"));
    return profile && strcmp(profile, "smoke") != 0 && *decided(p, "verdict");
}

static void verdict(page *p)
{
    const char *sentence = decided(p, "sentence"), *badge = decided(p, "verdict");
    size_t n = strlen(badge);
    sl_h(&p->h, "<p class=\"verdict\"><span class=\"badge\">");
    sl_h_text(&p->h, is_claim(p) ? badge : "NOT RUN");
    sl_h(&p->h, "</span> ");
    if (is_claim(p))
        sl_h_text(&p->h, strncmp(sentence, badge, n) == 0 && strncmp(sentence + n, ": ", 2) == 0 ? sentence + n + 2 : sentence);
    else if (p->confirm)
        sl_h(&p->h, "the confirmation that is here only tried the machinery (profile smoke); nothing is claimed");
    else
        sl_h_textf(&p->h, "nothing is claimed: runs only measure, the claim is tested by saelab study confirm %s", p->p->study);
    sl_h(&p->h, "</p>\n");
}

static const char *world_of(json_t *check)
{
    const char *world = json_string_value(json_object_get(check, "world"));
    return world ? world : "";
}

static bool read_check(json_t *c, sl_arm_effect *out, char label[120])
{
    const char *what = json_string_value(json_object_get(c, "what"));
    json_t *effect = json_object_get(c, "effect"), *lo = json_object_get(c, "lo"), *hi = json_object_get(c, "hi");
    if (!what || !json_is_number(effect))
        return false;
    snprintf(label, 120, "%s %s", json_is_true(json_object_get(c, "passed")) ? "✓" : "✗", what);
    bool known = json_is_number(lo) && json_is_number(hi);
    *out = (sl_arm_effect){ .dataset = world_of(c), .arm = label, .mean = json_number_value(effect), .has_interval = known, .has_mark = true };
    out->mark = json_number_value(json_object_get(c, "bound"));
    out->lo = known ? json_number_value(lo) : out->mean;
    out->hi = known ? json_number_value(hi) : out->mean;
    return true;
}

/* The conditions of the rule as effects, world by world; label [CHECKS] keeps their names. Returns how many. */
static int checks_of(const page *p, sl_arm_effect *out, char label[CHECKS][120])
{
    json_t *all = json_object_get(json_object_get(p->confirm, "decision"), "checks"), *first, *c;
    size_t i, k;
    int n = 0;
    json_array_foreach(all, i, first) {
        bool begun = false;
        for (k = 0; k < i; k++)
            begun = begun || strcmp(world_of(json_array_get(all, k)), world_of(first)) == 0;
        for (k = i; !begun && k < json_array_size(all) && n < CHECKS; k++) {
            c = json_array_get(all, k);
            n += strcmp(world_of(c), world_of(first)) == 0 && read_check(c, &out[n], label[n]);
        }
    }
    return n;
}

static void conditions(page *p)
{
    char label[CHECKS][120];
    int n = is_claim(p) ? checks_of(p, p->effect, label) : 0;
    if (n == 0)
        return;
    sl_h(&p->h, "<h2>Conditions of the decision</h2>\n");
    sl_forest_of(&p->h, p->effect, n, "conditions", "Conditions of the decision rule");
    sl_h(&p->h, "<p class=\"key\">✓ holds, ✗ does not. Dot and bar: mean difference over fresh seeds and its 95 % interval; dashed mark: what the rule asks of the interval's lower end "
                "(of absorb_common: of the mean, from above). ");
    link_to(p, p->p->confirm, "report.html", "The whole confirmation");
    sl_h(&p->h, "</p>\n");
}

/* ---- the strip of warnings ---- */

static bool warns(const sl_facts *f, const char *text)
{
    for (int i = 0; i < f->n_warnings; i++)
        if (strcmp(f->warning[i], text) == 0)
            return true;
    return false;
}

static void warning(page *p, int *n, const char *who, const char *text)
{
    if ((*n)++ == 0)
        sl_h(&p->h, "<div class=\"warnings\"><b>Read this first</b><ul>\n");
    else if (*n == OPEN_WARNINGS + 1)
        sl_h(&p->h, "</ul><details><summary>More warnings</summary><ul>\n");
    sl_h(&p->h, "<li>");
    sl_h_text(&p->h, who);
    sl_h(&p->h, *who ? ": " : "");
    sl_h_text(&p->h, text);
    sl_h(&p->h, "</li>\n");
}

/* A line of several runs comes once, with their names. */
static void warnings_of(page *p, int run, int *n)
{
    const sl_facts *f = &p->f[run];
    for (int w = 0; w < f->n_warnings; w++) {
        char who[300] = "";
        bool seen = false;
        for (int i = 0; i < p->p->n_runs; i++) {
            if (!warns(&p->f[i], f->warning[w]))
                continue;
            seen = seen || i < run;
            size_t used = strlen(who);
            snprintf(who + used, sizeof who - used, "%s%s", used ? ", " : "", p->p->run[i].name);
        }
        if (!seen)
            warning(p, n, who, f->warning[w]);
    }
    if (f->n_more) {
        char more[64];
        snprintf(more, sizeof more, "and %d more lines, in its log.txt", f->n_more);
        warning(p, n, p->p->run[run].name, more);
    }
}

/* Do the runs that are there differ in this? */
static bool differ(const page *p, const char *key)
{
    const char *first = NULL;
    for (int i = 0; i < p->p->n_runs; i++) {
        if (!is_there(p, i))
            continue;
        if (first && strcmp(first, config(p, i, key)) != 0)
            return true;
        first = config(p, i, key);
    }
    return false;
}

static void warnings(page *p)
{
    static const char *const SAME[][2] = { { "profile", "The runs are not all of one profile" }, { "saelab", "The runs are of several versions of saelab" }, { "machine.kernels", "The runs were made with different kernels" } };
    int n = 0;
    for (int i = 0; i < p->p->n_runs; i++)
        if (!is_there(p, i))
            warning(p, &n, p->p->run[i].name, "NOT RUN");
    if (*p->wrong)
        warning(p, &n, "", p->wrong);
    for (size_t i = 0; i < sizeof SAME / sizeof *SAME; i++)
        if (differ(p, SAME[i][0]))
            warning(p, &n, "", SAME[i][1]);
    for (int i = 0; i < p->p->n_runs; i++)
        if (is_there(p, i))
            warnings_of(p, i, &n);
    if (n > 0)
        sl_h(&p->h, n > OPEN_WARNINGS ? "</ul></details></div>\n" : "</ul></div>\n");
}

/* ---- the runs ---- */

static int64_t failed(const sl_facts *f)
{
    int64_t n = 0;
    size_t i;
    json_t *r;
    json_array_foreach(f->records, i, r) {
        const char *status = json_string_value(json_object_get(r, "status"));
        n += status && strcmp(status, "ok") != 0;
    }
    return n;
}

/* Seconds of training that a run reports; the language model's and the SAEs'. */
static double train_time(const sl_facts *f)
{
    sl_figure t = sl_facts_figure(f, NULL, "total_train_time");
    return (t.known ? t.mean * (double)(t.n ? t.n : 1) : 0) + sl_facts_sum(f, NULL, "wall_s");
}

static void run_row(page *p, int run)
{
    const sl_page_run *r = &p->p->run[run];
    const sl_facts *f = &p->f[run];
    char text[64];
    sl_h(&p->h, "<tr><td>");
    if (is_there(p, run))
        link_to(p, r->dir, "report.html", r->name);
    else
        sl_h_text(&p->h, r->name);
    sl_h(&p->h, ": ");
    sl_h_text(&p->h, r->what);
    sl_h(&p->h, "</td>");
    if (!is_there(p, run)) {
        sl_h(&p->h, "<td>NOT RUN</td><td></td><td></td><td></td><td></td><td></td></tr>\n");
        return;
    }
    text_cell(&p->h, "%s", sl_or_unknown(config(p, run, "profile")));
    text_cell(&p->h, "%lld", (long long)sl_facts_seeds(f));
    text_cell(&p->h, "%zu", json_array_size(f->records));
    text_cell(&p->h, "%lld", (long long)failed(f));
    sl_duration(text, sizeof text, train_time(f));
    text_cell(&p->h, "%s", text);
    text_cell(&p->h, "%s, %s threads", sl_or_unknown(config(p, run, "machine.cpu")), sl_or_unknown(config(p, run, "machine.threads")));
    sl_h(&p->h, "</tr>\n");
}

static void runs(page *p)
{
    static const char *const head[] = { "run", "profile", "seeds", "SAEs", "failed", "training time", "machine", NULL };
    sl_h(&p->h, "<h2>Runs</h2>\n");
    table_head(&p->h, head);
    for (int i = 0; i < p->p->n_runs; i++)
        run_row(p, i);
    sl_h(&p->h, "</tbody></table></div>\n<p class=\"key\">Times as measured when each model was trained; what runs share through the cache counts in each of them.</p>\n");
}

/* ---- effects ---- */

static void forests(page *p)
{
    bool any = false;
    for (int i = 0; i < p->p->n_runs; i++) {
        char id[32];
        int n = is_there(p, i) ? sl_arm_effects(&p->f[i], p->effect, SL_EFFECTS) : 0;
        if (n == 0)
            continue;
        sl_h(&p->h, any ? "<h3>" : "<h2>Effects, run by run</h2>\n<h3>");
        link_to(p, p->p->run[i].dir, "report.html", p->p->run[i].name);
        sl_h(&p->h, ": ");
        sl_h_text(&p->h, p->p->run[i].what);
        sl_h(&p->h, "</h3>\n");
        snprintf(id, sizeof id, "forest%d", i);
        sl_forest_of(&p->h, p->effect, n, id, p->p->run[i].name);
        any = true;
    }
    if (any)
        sl_forest_key(&p->h);
}

static const sl_arm_effect *effect_of(const page *p, int n, const char *dataset, const char *arm)
{
    for (int i = 0; i < n; i++)
        if (strcmp(p->effect[i].dataset, dataset) == 0 && strcmp(p->effect[i].arm, arm) == 0)
            return &p->effect[i];
    return NULL;
}

static void arm_row(page *p, int run, int n_effects, const char *arm, const char *metric)
{
    const sl_facts *f = &p->f[run];
    sl_figure l0 = sl_facts_figure(f, arm, "l0"), v = { .reason = "NOT RUN" };
    const sl_arm_effect *e = effect_of(p, n_effects, f->dataset, arm);
    if (metric)
        v = sl_facts_figure(f, arm, metric);
    bool has_floor = v.has_floor;
    v.has_floor = l0.has_floor = false;
    sl_h(&p->h, "<tr>");
    text_cell(&p->h, "%s", p->p->run[run].name);
    text_cell(&p->h, "%s", f->dataset);
    text_cell(&p->h, "%s", arm);
    sl_h_figure(&p->h, &l0);
    text_cell(&p->h, "%s", metric ? metric : "-");
    sl_h_figure(&p->h, &v);
    if (e)
        text_cell(&p->h, "%+.4f", e->mean);
    else
        text_cell(&p->h, "%s", arm == f->arm[0] ? "reference" : "-");
    text_cell(&p->h, e && e->has_interval ? "%+.4f to %+.4f" : "-", e ? e->lo : 0, e ? e->hi : 0);
    text_cell(&p->h, has_floor ? "%.4f" : "-", v.floor);
    text_cell(&p->h, "%lld", (long long)v.n);
    sl_h(&p->h, "</tr>\n");
}

static void every_arm(page *p)
{
    static const char *const head[] = { "run", "data set", "arm", "l0", "score", "mean", "less the first arm", "95 % interval", "chance", "seeds", NULL };
    sl_h(&p->h, "<h2>Every arm</h2>\n<details><summary>Score, effect, interval, chance and seeds of every arm of every run</summary>\n");
    table_head(&p->h, head);
    for (int i = 0; i < p->p->n_runs; i++) {
        sl_facts *f = &p->f[i];
        int n = is_there(p, i) ? sl_arm_effects(f, p->effect, SL_EFFECTS) : 0;
        for (int d = 0; d < f->n_datasets; d++) {
            sl_facts_dataset(f, d);
            const char *metric = sl_arm_score(f);
            for (int a = 0; a < f->n_arms; a++)
                arm_row(p, i, n, f->arm[a], metric);
        }
        sl_facts_dataset(f, 0);
    }
    sl_h(&p->h, "</tbody></table></div></details>\n");
}

/* ---- how ---- */

static void how(page *p)
{
    double s = 0;
    char text[64];
    sl_h(&p->h, "<h2>How to get it again</h2>\n<p>In a checkout of saelab:</p>\n<pre class=\"command\">");
    for (int i = 0; i < p->p->n_runs; i++) {
        const char *profile = is_there(p, i) ? config(p, i, "profile") : "";
        bool said = *profile && strcmp(profile, "quick") != 0;
        s += is_there(p, i) ? train_time(&p->f[i]) : 0;
        sl_h_textf(&p->h, "./run experiment %s --out_dir=%s%s%s\n", p->p->study, p->p->run[i].name, said ? " --profile=" : "", said ? profile : "");
    }
    if (p->confirm) {
        const char *profile = json_string_value(json_object_get(p->confirm, "profile"));
        sl_h_textf(&p->h, "./run saelab study confirm %s%s%s\n", p->p->study, profile && strcmp(profile, "quick") != 0 ? " --profile=" : "", profile && strcmp(profile, "quick") != 0 ? profile : "");
    }
    sl_h_textf(&p->h, "./run plot %s", p->p->study);
    for (int i = 0; i < p->p->n_runs; i++)
        if (is_there(p, i))
            sl_h_textf(&p->h, " %s", p->p->run[i].name);
    sl_duration(text, sizeof text, s);
    sl_h(&p->h, "</pre>\n<p class=\"key\">Training took ");
    sl_h_textf(&p->h, "%s over all runs.", text);
    sl_h(&p->h, "</p>\n");
}

static sl_status whole_page(page *p)
{
    sl_h(&p->h, "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n<title>");
    sl_h_textf(&p->h, "%s: the study", p->p->study);
    sl_h(&p->h, "</title>\n");
    sl_h_style(&p->h);
    sl_h(&p->h, "</head>\n<body><main>\n<p class=\"run\">");
    sl_h_textf(&p->h, "%s: the study, over %d runs", p->p->study, p->p->n_runs);
    sl_h(&p->h, "</p>\n<h1>");
    sl_h_text(&p->h, *p->p->question ? p->p->question : "The question is not recorded");
    sl_h(&p->h, "</h1>\n");
    verdict(p);
    warnings(p);
    conditions(p);
    runs(p);
    forests(p);
    every_arm(p);
    how(p);
    sl_h(&p->h, "<h2>Everything else</h2>\n");
    sl_h_file(&p->h, "experiment.yaml, the plan", p->plan);
    sl_h(&p->h, "<footer>Made by saelab from the files of the runs; each run's own page has its plots, figures, configuration and log.</footer>\n</main>\n");
    sl_h_script(&p->h);
    sl_h(&p->h, "</body></html>\n");
    return p->h.st;
}

/* ---- reading ---- */

static void read_confirm(page *p)
{
    char path[1100];
    sl_err why = { 0 };
    if (!p->p->confirm)
        return;
    snprintf(path, sizeof path, "%.1000s/confirm.json", p->p->confirm);
    sl_status st = sl_json_load_file(p->ctx, path, &p->confirm, &why);
    if (st == SL_OK && !*decided(p, "verdict"))
        st = sl_fail(&why, SL_DATA, path, NULL, "it holds no decision");
    if (st == SL_OK)
        return;
    json_decref(p->confirm);
    p->confirm = NULL;
    snprintf(p->wrong, sizeof p->wrong, "the confirmation cannot be read: %.300s", why.msg);
}

static sl_status read_all(page *p, sl_err *err)
{
    size_t n;
    p->f = sl_alloc(p->ctx, (size_t)(p->p->n_runs + 1) * sizeof *p->f);
    p->effect = sl_alloc(p->ctx, SL_EFFECTS * sizeof *p->effect);
    if (!p->f || !p->effect)
        return sl_fail(err, SL_MEM, p->path, NULL, "no memory for %d runs", p->p->n_runs);
    for (int i = 0; i < p->p->n_runs; i++)
        if (p->p->run[i].dir)
            SL_TRY(sl_facts_read(p->ctx, p->p->run[i].dir, &p->f[i], err));
    read_confirm(p);
    if (p->p->plan && sl_file_read(p->ctx, p->p->plan, &p->plan, &n, NULL) != SL_OK)
        p->plan = NULL;
    return SL_OK;
}

static sl_status write_page(page *p, sl_err *err)
{
    SL_TRY(read_all(p, err));
    SL_TRY(sl_atomic_open(p->ctx, p->path, &p->h.f, err));
    sl_status st = whole_page(p);
    if (st == SL_OK)
        return sl_atomic_commit(p->h.f, err);
    sl_atomic_abort(p->h.f);
    return st;
}

sl_status sl_report_study(sl_ctx *ctx, const sl_study_page *about, const char *path, sl_err *err)
{
    page p = { .ctx = ctx, .p = about, .path = path, .h = { .err = err } };
    sl_status st = write_page(&p, err);
    for (int i = 0; p.f && i < about->n_runs; i++)
        if (p.f[i].ctx)
            sl_facts_release(&p.f[i]);
    sl_free(ctx, p.f);
    sl_free(ctx, p.effect);
    sl_free(ctx, p.plan);
    json_decref(p.confirm);
    return st;
}
