/* results.md and report.html of a confirmation: the same headings, sentences and tables in both. */
#include "study/confirm_parts.h"

#include <math.h>
#include <string.h>

enum { COLS = 24, CELL = 160 };

typedef struct pages {
    const sl_confirm_results *r;
    sl_html h;
    sl_atomic *md;
    sl_status st;               /* of the Markdown; the page remembers its own */
    sl_err *err;
    char cell[COLS][CELL];
    int n;
} pages;

/* ---- both at once ---- */

static void put_md(pages *p, const char *fmt, ...) SL_PRINTF(2, 3);
static void put_md(pages *p, const char *fmt, ...)
{
    char text[2048];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (p->st == SL_OK)
        p->st = sl_atomic_write(p->md, text, strlen(text), p->err);
}

static void heading(pages *p, const char *text)
{
    put_md(p, "\n### %s\n\n", text);
    sl_h(&p->h, "<h2>");
    sl_h_text(&p->h, text);
    sl_h(&p->h, "</h2>\n");
}

static void paragraph(pages *p, const char *text)
{
    put_md(p, "%s\n\n", text);
    sl_h(&p->h, "<p>");
    sl_h_text(&p->h, text);
    sl_h(&p->h, "</p>\n");
}

static void cell(pages *p, const char *fmt, ...) SL_PRINTF(2, 3);
static void cell(pages *p, const char *fmt, ...)
{
    va_list ap;
    if (p->n >= COLS)
        return;
    va_start(ap, fmt);
    vsnprintf(p->cell[p->n++], CELL, fmt, ap);
    va_end(ap);
}

static void row(pages *p, bool head)
{
    sl_h(&p->h, head ? "<div class=\"wide\"><table><thead><tr>" : "<tr>");
    for (int i = 0; i < p->n; i++) {
        put_md(p, "| %s ", p->cell[i]);
        sl_h(&p->h, head ? "<th>" : "<td>");
        sl_h_text(&p->h, p->cell[i]);
        sl_h(&p->h, head ? "</th>" : "</td>");
    }
    put_md(p, "|\n");
    sl_h(&p->h, head ? "</tr></thead><tbody>\n" : "</tr>\n");
    for (int i = 0; head && i < p->n; i++)
        put_md(p, "|---");
    if (head)
        put_md(p, "|\n");
    p->n = 0;
}

static void end_table(pages *p)
{
    put_md(p, "\n");
    sl_h(&p->h, "</tbody></table></div>\n");
}

/* Mean and standard error over the values there are: "0.712 ± 0.003", "-". */
static void stat_cell(pages *p, const double *v, int64_t n)
{
    double kept[512];
    int64_t k = 0;
    for (int64_t i = 0; v && i < n && k < 512; i++)
        if (isfinite(v[i]))
            kept[k++] = v[i];
    if (k == 0) {
        cell(p, "-");
        return;
    }
    sl_stat s = sl_stat_of(kept, k);
    if (s.has_se && fabs(s.mean) < 1000)
        cell(p, "%.4f ± %.4f", s.mean, s.se);
    else
        cell(p, fabs(s.mean) < 1000 ? "%.4f" : "%.0f", s.mean);
}

/* ---- what was decided ---- */

static void checks(pages *p, const sl_decision *d)
{
    static const char *const head[] = { "condition", "on", "difference", "95 % interval", "p (sign flips)", "n", "asked", "holds" };
    for (size_t i = 0; i < sizeof head / sizeof *head; i++)
        cell(p, "%s", head[i]);
    row(p, true);
    for (int i = 0; i < d->n_checks; i++) {
        const sl_check *c = &d->check[i];
        cell(p, "%s", c->what);
        cell(p, "%s", c->world);
        cell(p, isfinite(c->diff.effect) ? "%+.4f" : "-", c->diff.effect);
        cell(p, isfinite(c->diff.lo) ? "%+.4f, %+.4f" : "-", c->diff.lo, c->diff.hi);
        cell(p, isfinite(c->diff.p) ? "%.4f" : "-", c->diff.p);
        cell(p, "%lld", (long long)c->diff.n);
        cell(p, strcmp(c->metric, "absorb_common") == 0 ? "mean at most %g" : c->bound < 0 ? "lower end at least %g" : "lower end above %g", c->bound);
        cell(p, "%s", c->passed ? "yes" : "no");
        row(p, false);
    }
    end_table(p);
}

static void ratios(pages *p)
{
    static const char *const name[SL_RATIOS] = { "as committed", "1.0 (equal steps)", "2.0" };
    const sl_confirm_results *r = p->r;
    if (r->decision[1].n_checks + r->decision[2].n_checks == 0)
        return;
    heading(p, "The verdict at other ratios of compute");
    cell(p, "compute of the plain SAE");
    cell(p, "verdict");
    cell(p, "conditions that hold");
    row(p, true);
    for (int k = 0; k < SL_RATIOS; k++) {
        const sl_decision *d = &r->decision[k];
        int n = 0;
        for (int i = 0; i < d->n_checks; i++)
            n += d->check[i].passed;
        if (d->n_checks == 0)
            continue;
        cell(p, k ? "%s" : "%s, %.1f", name[k], sl_confirm_ratio(r->c));
        cell(p, "%s", sl_verdicts[d->verdict]);
        cell(p, "%d of %d", n, d->n_checks);
        row(p, false);
    }
    end_table(p);
}

static void settings(pages *p)
{
    const sl_confirm *c = p->r->c;
    static const char *const head[] = { "arm", "setting", "ratio", "steps", "lr", "perturbation" };
    heading(p, "What the selection seeds chose");
    for (size_t i = 0; i < sizeof head / sizeof *head; i++)
        cell(p, "%s", head[i]);
    row(p, true);
    for (int i = 0; i < c->n_slots; i++) {
        sl_arm a;
        if (sl_confirm_slot_on(c, &c->slot[i], sl_confirm_set(c, p->r->t.world[0]), &a, NULL) != SL_OK)
            continue;
        const sl_perturb_config *q = &a.perturb;
        cell(p, "%s", c->slot[i].name);
        cell(p, "%s", c->plan.arm[c->slot[i].arm]);
        cell(p, "%.1f", a.how.ratio);
        cell(p, a.variant ? "%lld" : "-", (long long)a.train.steps);
        cell(p, a.variant ? "%g" : "-", a.train.lr);
        if (!a.variant || !sl_perturb_wanted(q))
            cell(p, "-");
        else
            cell(p, "%s, %s, eps %g, gamma %g%s%s", sl_opts_find(sl_perturb_opts, "type")->choices[q->type], sl_opts_find(sl_perturb_opts, "mode")->choices[q->mode], sl_perturb_eps(q),
                 sl_perturb_gamma(q), q->type == SL_PERTURB_INJECT || q->type == SL_PERTURB_DIRECT ? ", select " : "",
                 q->type == SL_PERTURB_INJECT || q->type == SL_PERTURB_DIRECT ? sl_opts_find(sl_perturb_opts, "select")->choices[q->select] : "");
        row(p, false);
    }
    end_table(p);
}

/* ---- figures ---- */

static void means(pages *p, const char *world)
{
    const sl_table *t = &p->r->t;
    enum { A_TABLE = 8 };
    for (int m = 0; m < t->n_metrics; m += A_TABLE) {
        cell(p, "%s", world);
        for (int k = m; k < m + A_TABLE && k < t->n_metrics; k++)
            cell(p, "%s", t->metric[k]);
        row(p, true);
        for (int a = 0; a < t->n_arms; a++) {
            cell(p, "%s", t->arm[a]);
            for (int k = m; k < m + A_TABLE && k < t->n_metrics; k++)
                stat_cell(p, sl_table_at(t, t->metric[k], world, t->arm[a]), t->n_seeds);
            row(p, false);
        }
        end_table(p);
    }
}

static void every_seed(pages *p, const char *metric)
{
    const sl_table *t = &p->r->t;
    char title[96];
    snprintf(title, sizeof title, "Every seed: %s", metric);
    heading(p, title);
    for (int w = 0; w < t->n_worlds; w++) {
        cell(p, "%s", t->world[w]);
        for (int64_t s = 0; s < t->n_seeds; s++)
            cell(p, "%lld", (long long)(p->r->c->d.first_seed + s));
        row(p, true);
        for (int a = 0; a < t->n_arms; a++) {
            const double *v = sl_table_at(t, metric, t->world[w], t->arm[a]);
            cell(p, "%s", t->arm[a]);
            for (int64_t s = 0; s < t->n_seeds; s++)
                cell(p, isfinite(v[s]) ? "%.4f" : "-", v[s]);
            row(p, false);
        }
        end_table(p);
    }
}

/* The treatment less an arm of `extended` on its data set, paired by seed. */
static void difference_cell(pages *p, const sl_fit *arm, const char *metric)
{
    const sl_confirm *c = p->r->c;
    double a[512], b[512];
    int64_t n = 0;
    for (int i = 0; i < c->n_fits && n < 512; i++) {
        const sl_fit *t = &c->fit[i];
        if (t->phase != SL_PHASE_EXTENDED || t->set != arm->set || strcmp(t->name, c->d.treatment) != 0)
            continue;
        const sl_fit *other = sl_fit_of(c, SL_PHASE_EXTENDED, arm->set, arm->arm, t->seed);
        if (other) {
            a[n] = sl_fit_metric(t, metric);
            b[n++] = sl_fit_metric(other, metric);
        }
    }
    sl_diff d = sl_diff_of(c->ctx, a, b, n);
    if (strcmp(arm->name, c->d.treatment) == 0 || !isfinite(d.lo))
        cell(p, "-");
    else
        cell(p, "%+.4f [%+.4f, %+.4f]", d.effect, d.lo, d.hi);
}

/* Arms of a phase beside the confirmation, a table a data set: means over their seeds. */
static void phase(pages *p, int which, const char *title, const char *const *metrics)
{
    const sl_confirm *c = p->r->c;
    int begun = -1; /* data set of the open table */
    double v[512];
    for (int i = 0; i < c->n_fits; i++) {
        const sl_fit *f = &c->fit[i];
        bool seen = f->phase != which;
        for (int j = 0; j < i && !seen; j++)
            seen = c->fit[j].phase == which && c->fit[j].arm == f->arm && c->fit[j].set == f->set;
        if (seen)
            continue;
        if (begun < 0)
            heading(p, title);
        if (begun != f->set) {
            if (begun >= 0)
                end_table(p);
            cell(p, "%s", c->plan.set[f->set].name);
            cell(p, "seeds");
            cell(p, "steps");
            for (const char *const *m = metrics; *m; m++)
                cell(p, "%s", *m);
            if (which == SL_PHASE_EXTENDED)
                cell(p, "%s: %s less arm", metrics[0], c->d.treatment);
            row(p, true);
        }
        begun = f->set;
        cell(p, "%s", f->name);
        int64_t n = 0;
        for (const char *const *m = metrics; *m; m++) {
            n = 0;
            for (int j = 0; j < c->n_fits && n < 512; j++)
                if (c->fit[j].phase == which && c->fit[j].arm == f->arm && c->fit[j].set == f->set)
                    v[n++] = sl_fit_metric(&c->fit[j], *m);
            if (m == metrics) {
                cell(p, "%lld", (long long)n);
                cell(p, f->is.variant ? "%lld" : "-", (long long)f->is.train.steps);
            }
            stat_cell(p, v, n);
        }
        if (which == SL_PHASE_EXTENDED)
            difference_cell(p, f, metrics[0]);
        row(p, false);
    }
    if (begun >= 0)
        end_table(p);
}

static void failures(pages *p)
{
    const sl_confirm *c = p->r->c;
    int n = 0;
    char text[700];
    heading(p, "Failed fits");
    for (int i = 0; i < c->n_fits; i++)
        if (c->fit[i].t.failed != SL_OK) {
            snprintf(text, sizeof text, "%s: %s on %s, seed %lld: %.500s", sl_phases[c->fit[i].phase], c->fit[i].name, c->plan.set[c->fit[i].set].name, (long long)c->fit[i].seed, c->fit[i].t.failure);
            paragraph(p, text);
            n++;
        }
    snprintf(text, sizeof text, "%d of %d fits failed.", n, c->n_fits);
    paragraph(p, text);
}

static void body(pages *p)
{
    static const char *const pilot[] = { "mcc_dec_abs", "f1", "fvu", "absorb_rate", "absorb", "fss", "jaccard", "cos_ed", "noise_gain", "f1_h", NULL };
    static const char *const pure[] = { "f1_h", "mcc_adj", "absorb", "fvu", "fss", "inj_resp", "noisy_f1_h", "l0", NULL };
    static const char *const comp[] = { "comp_f1_withheld", "comp_f1", "fvu", "fvu_ood_ratio", "f1_sel", "f1_h_gap", "comp_energy", "l0", "n_params", NULL };
    const sl_confirm_results *r = p->r;
    bool purification = r->c->d.rule == SL_RULE_PURIFICATION;
    char text[512];
    if (r->c->plan.profile == SL_PROFILE_SMOKE)
        put_md(p, "Profile smoke: the machinery was tried, nothing is claimed.\n\n");
    heading(p, "Conditions");
    checks(p, &r->decision[0]);
    ratios(p);
    if (r->has_targeting) {
        heading(p, "Does targeting help?");
        paragraph(p, r->targeting.sentence);
        checks(p, &r->targeting);
    }
    settings(p);
    heading(p, "All arms, fresh seeds (mean ± standard error)");
    if (purification) {
        snprintf(text, sizeof text, "absorb_common is over the parents that every SAE of a seed matched: %.0f %% of those that any matched.", 100 * r->common_share);
        paragraph(p, text);
    }
    for (int w = 0; w < r->t.n_worlds; w++)
        means(p, r->t.world[w]);
    every_seed(p, purification ? "f1_h" : "comp_f1_withheld");
    every_seed(p, purification ? "mcc_adj" : "fvu");
    phase(p, SL_PHASE_ONCE, "One seed, outside the rule", purification ? pure : comp);
    phase(p, SL_PHASE_EXTENDED, "The claim elsewhere, outside the rule (--extended)", purification ? pure : comp);
    phase(p, SL_PHASE_RETUNING, "Retuning", purification ? pure : comp);
    phase(p, SL_PHASE_SCREENING, "Screening", purification ? pure : comp);
    phase(p, SL_PHASE_PILOT, "The pilot, run again", pilot);
    failures(p);
}

sl_status sl_confirm_pages(const sl_confirm_results *r, sl_err *err)
{
    char path[SL_PATH + 32];
    sl_atomic *html = NULL;
    pages p = { .r = r, .err = err };
    const sl_confirm *c = r->c;
    snprintf(path, sizeof path, "%s/results.md", c->dir);
    SL_TRY(sl_atomic_open(c->ctx, path, &p.md, err));
    snprintf(path, sizeof path, "%s/report.html", c->dir);
    sl_status st = sl_atomic_open(c->ctx, path, &html, err);
    if (st == SL_OK) {
        p.h = (sl_html){ .f = html, .err = err };
        put_md(&p, "## Confirmation: %s\n\n%s\n\n", c->plan.study, r->decision[0].sentence);
        st = sl_confirm_head(&p.h, r, err);
    }
    if (st == SL_OK) {
        body(&p);
        sl_h(&p.h, "</main>\n");
        sl_h_script(&p.h);
        sl_h(&p.h, "</body></html>\n");
        st = p.h.st != SL_OK ? p.h.st : p.st;
    }
    if (st == SL_OK)
        st = sl_atomic_commit(html, err);
    else
        sl_atomic_abort(html);
    if (st == SL_OK)
        return sl_atomic_commit(p.md, err);
    sl_atomic_abort(p.md);
    return st;
}
