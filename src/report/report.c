/* report.html: one page that says what was asked, what was found, and how to get it again. Nothing in it is fetched or run. */
#include "report/cards.h"
#include "report/figures.h"
#include "report/forest.h"
#include "report/gallery.h"
#include "report/html.h"
#include "report/rows.h"

#include <saelab/report.h>

#include <stdlib.h>
#include <string.h>

typedef struct page {
    sl_html h;
    sl_facts f;
} page;

/* ---- figures ---- */

/* One table; the columns are arms, or the run itself when n_arms is 0. */
static void figures(page *p, const char *title, const sl_report_row *rows, const char *const *arms, int n_arms)
{
    sl_html *h = &p->h;
    int columns = n_arms ? n_arms : 1;
    sl_h(h, "<table><thead><tr><th>");
    sl_h_text(h, title);
    sl_h(h, "</th>");
    for (int a = 0; a < columns; a++) {
        sl_h(h, "<th>");
        sl_h_text(h, n_arms ? arms[a] : "");
        sl_h(h, "</th>");
    }
    sl_h(h, "</tr></thead><tbody>\n");
    for (const sl_report_row *r = rows; r->key; r++) {
        sl_h(h, "<tr><td>");
        sl_h_text(h, r->label);
        sl_h(h, " <span class=\"unit\">");
        sl_h_text(h, r->unit);
        sl_h(h, "</span></td>");
        for (int a = 0; a < columns; a++) {
            sl_figure v = sl_facts_figure(&p->f, n_arms ? arms[a] : NULL, r->key);
            sl_h_figure(h, &v);
        }
        sl_h(h, "</tr>\n");
    }
    sl_h(h, "</tbody></table>\n");
}

/* ---- the first screen ---- */

/* Claims come from `saelab study confirm` alone; a run says what it is. */
static void verdict(page *p)
{
    const char *profile = sl_facts_config(&p->f, "profile"), *study = sl_facts_config(&p->f, "study");
    long long n = (long long)sl_facts_seeds(&p->f);
    sl_h(&p->h, "<p class=\"verdict\"><span class=\"badge\">NOT RUN</span> ");
    if (!p->f.means)
        sl_h(&p->h, "there are no results");
    else if (strcmp(profile, "full") == 0)
        sl_h_textf(&p->h, "full: measured (n=%lld), but no rule was fixed before; the claim is tested by saelab study confirm %s", n, study);
    else
        sl_h_textf(&p->h, "%s: no claim (n=%lld); the claim is tested by saelab study confirm %s", *profile ? profile : "unknown profile", n, study);
    sl_h(&p->h, "</p>\n");
}

static void head(page *p)
{
    const char *study = sl_or_unknown(sl_facts_config(&p->f, "study")), *run = sl_or_unknown(sl_facts_config(&p->f, "run"));
    sl_html *h = &p->h;
    sl_h(h, "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n<title>");
    sl_h_textf(h, "%s / %s", study, run);
    sl_h(h, "</title>\n");
    sl_h_style(h);
    sl_h(h, "</head>\n<body><main>\n<p class=\"run\">");
    sl_h_textf(h, "%s / %s: %s", study, run, sl_or_unknown(sl_facts_config(&p->f, "what")));
    sl_h(h, "</p>\n<h1>");
    sl_h_text(h, *sl_facts_config(&p->f, "question") ? sl_facts_config(&p->f, "question") : "The question is not recorded");
    sl_h(h, "</h1>\n");
    verdict(p);
}

/* Only where it was measured. */
static void composition_figures(page *p)
{
    bool any = false;
    for (int a = 0; a < p->f.n_arms; a++)
        any = any || sl_facts_figure(&p->f, p->f.arm[a], "covariance_cooccurrence").known;
    if (!any)
        return;
    sl_h(&p->h, "<div class=\"tables wide\">\n");
    figures(p, "Composition", sl_rows_composition, p->f.arm, p->f.n_arms);
    sl_h(&p->h, "</div>\n<p class=\"key\">A gain alone proves nothing: compositions can carry main effects. Formulas: docs/METRICS.md.</p>\n");
}

/* The text with its language model, then each world. */
static void main_figures(page *p)
{
    sl_h(&p->h, "<div class=\"tables wide\">\n");
    if (p->f.n_arms)
        figures(p, "Sparse autoencoders", sl_rows_sae, p->f.arm, p->f.n_arms);
    else if (p->f.n_datasets < 2)
        figures(p, "Sparse autoencoder", sl_rows_sae, NULL, 0);
    figures(p, "Language model", sl_rows_lm, NULL, 0);
    sl_h(&p->h, "</div>\n<p class=\"key\">Mean over seeds ± standard error; one seed has none. On held-out text of ");
    sl_h_text(&p->h, p->f.dataset ? p->f.dataset : "an unknown data set");
    sl_h(&p->h, ", but for the training loss.</p>\n");
    composition_figures(p);
    for (int i = 1; i < p->f.n_datasets; i++) {
        sl_facts_dataset(&p->f, i);
        if (!p->f.n_arms)
            continue;
        sl_h(&p->h, "<div class=\"tables wide\">\n");
        figures(p, p->f.dataset, sl_rows_world, p->f.arm, p->f.n_arms);
        sl_h(&p->h, "</div>\n<p class=\"key\">On fresh rows of the world ");
        sl_h_text(&p->h, p->f.dataset);
        sl_h(&p->h, ", against its truth.</p>\n");
        composition_figures(p);
    }
    sl_facts_dataset(&p->f, 0);
}

static void warnings(page *p)
{
    if (p->f.n_warnings == 0)
        return;
    sl_h(&p->h, "<div class=\"warnings\"><b>Read this first</b><ul>\n");
    for (int i = 0; i < p->f.n_warnings; i++) {
        sl_h(&p->h, "<li>");
        sl_h_text(&p->h, p->f.warning[i]);
        sl_h(&p->h, "</li>\n");
    }
    if (p->f.n_more) {
        sl_h(&p->h, "<li>");
        sl_h_textf(&p->h, "and %d more lines, in log.txt", p->f.n_more);
        sl_h(&p->h, "</li>\n");
    }
    sl_h(&p->h, "</ul></div>\n");
}

static void how(page *p)
{
    const sl_facts *f = &p->f;
    char text[600], lm[64], sae[64];
    sl_figure t = sl_facts_figure(f, NULL, "total_train_time");
    sl_duration(lm, sizeof lm, t.known ? t.mean * (double)(t.n ? t.n : 1) : 0);
    sl_duration(sae, sizeof sae, sl_facts_sum(f, NULL, "wall_s"));
    sl_h(&p->h, "<h2>How it was made</h2>\n<dl>\n");
    snprintf(text, sizeof text, "%s for the language model, %s for %zu sparse autoencoders%s", t.known ? lm : "unknown", sae, json_array_size(f->records),
             strstr(f->log ? f->log : "", "cache") ? " (as measured when they were trained; some came from the cache)" : "");
    sl_h_fact(&p->h, "training time", text);
    snprintf(text, sizeof text, "%s, %s threads, kernels %s, %s", sl_or_unknown(sl_facts_config(f, "machine.cpu")), sl_or_unknown(sl_facts_config(f, "machine.threads")),
             sl_or_unknown(sl_facts_config(f, "machine.kernels")), sl_or_unknown(sl_facts_config(f, "machine.precision")));
    sl_h_fact(&p->h, "machine", text);
    snprintf(text, sizeof text, "%s, SHA-256 %s", sl_or_unknown(sl_facts_config(f, "text.name")), sl_or_unknown(sl_facts_config(f, "text.sha256")));
    sl_h_fact(&p->h, "text", text);
    snprintf(text, sizeof text, "saelab %s, profile %s", sl_or_unknown(sl_facts_config(f, "saelab")), sl_or_unknown(sl_facts_config(f, "profile")));
    sl_h_fact(&p->h, "program", text);
    sl_h(&p->h, "</dl>\n<p>To get it again, in a checkout of saelab:</p>\n<pre class=\"command\">");
    const char *study = sl_facts_config(f, "study"), *run = sl_facts_config(f, "run"), *profile = sl_facts_config(f, "profile");
    sl_h_textf(&p->h, "./run experiment %s --out_dir=%s%s%s", *study ? study : "STUDY", *run ? run : "RUN",
               *profile && strcmp(profile, "quick") != 0 ? " --profile=" : "", *profile && strcmp(profile, "quick") != 0 ? profile : "");
    sl_h(&p->h, "</pre>\n");
}

/* ---- what unfolds ---- */

static void all_figures(page *p)
{
    sl_html *h = &p->h;
    const char *key;
    json_t *list, *v;
    size_t i;
    if (json_object_size(p->f.lists) == 0)
        return;
    sl_h(h, "<details><summary>Every figure, every seed (");
    sl_h_text(h, p->f.dataset);
    sl_h(h, ")</summary><div class=\"wide\"><table><thead><tr><th>figure</th><th>mean</th><th>each seed</th></tr></thead><tbody>\n");
    json_object_foreach(p->f.lists, key, list) {
        sl_figure f = sl_facts_figure(&p->f, NULL, key);
        f.has_floor = false;
        f.reason = "null";
        sl_h(h, "<tr><td>");
        sl_h_text(h, key);
        sl_h(h, "</td>");
        sl_h_figure(h, &f);
        sl_h(h, "<td>");
        json_array_foreach(list, i, v) {
            sl_h(h, i ? ", " : "");
            if (json_is_number(v))
                sl_h_textf(h, "%.6g", json_number_value(v));
            else
                sl_h(h, "null");
        }
        sl_h(h, "</td></tr>\n");
    }
    sl_h(h, "</tbody></table></div></details>\n");
}

static sl_status whole_page(page *p, sl_err *err)
{
    head(p);
    warnings(p);
    SL_TRY(sl_forest(&p->h, &p->f, err));
    how(p);
    sl_h(&p->h, "<h2>Figures</h2>\n");
    main_figures(p);
    SL_TRY(sl_gallery(&p->h, &p->f, err));
    SL_TRY(sl_cards(&p->h, &p->f, err));
    sl_h(&p->h, "<h2>Everything else</h2>\n");
    for (int i = 0; i < p->f.n_datasets; i++) {
        sl_facts_dataset(&p->f, i);
        all_figures(p);
    }
    sl_facts_dataset(&p->f, 0);
    sl_h_file(&p->h, "config.yaml", p->f.config_text);
    sl_h_file(&p->h, "log.txt", p->f.log);
    sl_h(&p->h, "<footer>Made by saelab from the files of this folder; final_info.json, all_results.json and results.jsonl hold the numbers.</footer>\n"
                "</main>\n");
    sl_h_script(&p->h);
    sl_h(&p->h, "</body></html>\n");
    return p->h.st;
}

sl_status sl_report_run(sl_ctx *ctx, const char *run_dir, sl_err *err)
{
    char path[1100];
    page p = { .h = { .err = err } };
    if (snprintf(path, sizeof path, "%s/report.html", run_dir) >= (int)sizeof path - 32)
        return sl_fail(err, SL_ARG, run_dir, "a shorter path", "the path is too long");
    SL_TRY(sl_facts_read(ctx, run_dir, &p.f, err));
    sl_status st = sl_atomic_open(ctx, path, &p.h.f, err);
    if (st == SL_OK) {
        st = whole_page(&p, err);
        if (st == SL_OK)
            st = sl_atomic_commit(p.h.f, err);
        else
            sl_atomic_abort(p.h.f);
    }
    sl_facts_release(&p.f);
    return st;
}
