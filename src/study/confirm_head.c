/* The first screen of a confirmation's report.html: question, decision, its conditions with every seed, warnings, how it was made. */
#include "study/confirm_parts.h"

#include "report/figures.h"
#include "report/forest.h"

#include <saelab/kern_info.h>

#include <math.h>
#include <string.h>

enum { MOST_WARNINGS = 12 };
#define L0_APART .05   /* share of the treatment's l0 that an arm may be away from it */
#define DEAD_SHARE .1

/* ---- the decision ---- */

static bool claims(const sl_confirm_results *r) { return r->c->plan.profile != SL_PROFILE_SMOKE; }

static void verdict(sl_html *h, const sl_confirm_results *r)
{
    const sl_decision *d = &r->decision[0];
    const char *badge = sl_verdicts[d->verdict], *rest = d->sentence;
    size_t n = strlen(badge);
    if (strncmp(rest, badge, n) == 0 && strncmp(rest + n, ": ", 2) == 0)
        rest += n + 2;
    sl_h(h, "<p class=\"verdict\"><span class=\"badge\">");
    sl_h_text(h, claims(r) ? badge : "NOT RUN");
    sl_h(h, "</span> ");
    if (!claims(r)) {
        sl_h(h, "profile smoke only tries the machinery; nothing is claimed</p>\n");
        return;
    }
    const char *stop = strstr(rest, ". "); /* the claim; then what is met and what is not */
    sl_h_textf(h, "%.*s", stop ? (int)(stop - rest + 1) : (int)strlen(rest), rest);
    sl_h(h, "</p>\n<p>");
    sl_h_text(h, stop ? stop + 2 : "");
    sl_h(h, "</p>\n");
}

/* A condition as an effect; label [120] keeps its name. Seeds are those of the two arms, where it is a difference of arms. */
static sl_arm_effect effect_of(const sl_confirm_results *r, const sl_check *c, char *label)
{
    sl_arm_effect e = { .dataset = c->world, .arm = label, .mean = c->diff.effect, .lo = c->diff.lo, .hi = c->diff.hi, .mark = c->bound, .has_mark = true };
    const double *a = sl_table_at(&r->t, c->metric, c->world, c->a), *b = sl_table_at(&r->t, c->metric, c->world, c->b);
    snprintf(label, 120, "%s %s", c->passed ? "✓" : "✗", c->what);
    e.has_interval = isfinite(e.lo) && isfinite(e.hi);
    for (int64_t s = 0; a && b && s < r->t.n_seeds && e.n < SL_EFFECT_SEEDS; s++)
        if (isfinite(a[s]) && isfinite(b[s]))
            e.d[e.n++] = a[s] - b[s];
    return e;
}

/* World by world, as the plan has them. */
static sl_status conditions(sl_html *h, const sl_confirm_results *r, sl_err *err)
{
    const sl_decision *d = &r->decision[0];
    int n = 0;
    sl_arm_effect *e = sl_alloc(r->c->ctx, SL_CHECKS * sizeof *e);
    char (*label)[120] = sl_alloc(r->c->ctx, SL_CHECKS * sizeof *label);
    if (e && label) {
        for (int w = 0; w < r->t.n_worlds; w++)
            for (int i = 0; i < d->n_checks; i++)
                if (strcmp(d->check[i].world, r->t.world[w]) == 0 && isfinite(d->check[i].diff.effect)) {
                    e[n] = effect_of(r, &d->check[i], label[n]);
                    n++;
                }
        sl_forest_of(h, e, n, "conditions", "Conditions of the decision rule");
        sl_h(h, "<p class=\"key\">✓ holds, ✗ does not. Small dots: fresh seeds; dot and bar: their mean difference and its 95 % interval; dashed mark: what the rule asks of the "
                "interval's lower end (of absorb_common: of the mean, from above).</p>\n");
    }
    bool made = e && label;
    sl_free(r->c->ctx, e);
    sl_free(r->c->ctx, label);
    return made ? SL_OK : sl_fail(err, SL_MEM, "report.html", NULL, "no memory for its conditions");
}

/* ---- the strip of warnings ---- */

static void warning(sl_html *h, int *n, const char *fmt, ...) SL_PRINTF(3, 4);
static void warning(sl_html *h, int *n, const char *fmt, ...)
{
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (++*n == 1)
        sl_h(h, "<div class=\"warnings\"><b>Read this first</b><ul>\n");
    if (*n > MOST_WARNINGS)
        return;
    sl_h(h, "<li>");
    sl_h_text(h, text);
    sl_h(h, "</li>\n");
}

/* Is the slot's setting the first or the last of three or more of its family? */
static bool at_edge(const sl_confirm *c, const sl_slot *s)
{
    int before = 0, after = 0;
    const sl_arm *own = s->arm >= 0 ? sl_confirm_arm(c, s->arm) : NULL;
    for (int a = 0; own && a < c->plan.n_arms; a++) {
        const sl_arm *other = sl_confirm_arm(c, a);
        if (!other || strcmp(sl_arm_family(other), sl_arm_family(own)) != 0)
            continue;
        before += a < s->arm;
        after += a > s->arm;
    }
    return before + after >= 2 && (before == 0 || after == 0);
}

static void edges(sl_html *h, const sl_confirm *c, int *n)
{
    char list[300] = "";
    for (int i = 0; i < c->n_slots; i++)
        if (c->slot[i].of && at_edge(c, &c->slot[i])) {
            size_t used = strlen(list);
            snprintf(list + used, sizeof list - used, "%s%s (%s)", used ? ", " : "", c->slot[i].name, c->plan.arm[c->slot[i].arm]);
        }
    if (*list)
        warning(h, n, "Chosen at the edge of the settings tried, so that a better one may lie beyond: %s", list);
}

static void warnings(sl_html *h, const sl_confirm_results *r)
{
    const sl_confirm *c = r->c;
    int n = 0, failed = 0;
    for (int i = 0; i < c->n_fits; i++)
        failed += c->fit[i].t.failed != SL_OK;
    if (failed)
        warning(h, &n, "%d of %d fits failed; they are listed at the end", failed, c->n_fits);
    edges(h, c, &n);
    for (int w = 0; w < r->t.n_worlds; w++) {
        double l0 = sl_table_mean(&r->t, "l0", r->t.world[w], c->d.treatment);
        for (int a = 0; a < r->t.n_arms; a++) {
            double own = sl_table_mean(&r->t, "l0", r->t.world[w], r->t.arm[a]), dead = sl_table_mean(&r->t, "dead", r->t.world[w], r->t.arm[a]);
            if (isfinite(l0) && isfinite(own) && fabs(own - l0) > L0_APART * l0)
                warning(h, &n, "%s on %s has l0 %.2f, %s %.2f: not matched", r->t.arm[a], r->t.world[w], own, c->d.treatment, l0);
            if (isfinite(dead) && dead > DEAD_SHARE)
                warning(h, &n, "%s on %s: %.0f %% of the latents are dead", r->t.arm[a], r->t.world[w], 100 * dead);
        }
    }
    if (n > MOST_WARNINGS) {
        sl_h(h, "<li>");
        sl_h_textf(h, "and %d more", n - MOST_WARNINGS);
        sl_h(h, "</li>\n");
    }
    if (n)
        sl_h(h, "</ul></div>\n");
}

/* ---- how ---- */

static sl_status how(sl_html *h, const sl_confirm_results *r, sl_err *err)
{
    const sl_confirm *c = r->c;
    sl_machine m;
    double s = 0;
    char text[400], time[64];
    SL_TRY(sl_machine_info(c->ctx, &m, err));
    for (int i = 0; i < c->n_fits; i++)
        s += isfinite(c->fit[i].t.sae.seconds) ? c->fit[i].t.sae.seconds : 0;
    sl_duration(time, sizeof time, s);
    sl_h(h, "<dl>\n");
    snprintf(text, sizeof text, "%s of training in %d fits of one thread each, as measured when they ran", time, c->n_fits);
    sl_h_fact(h, "time", text);
    snprintf(text, sizeof text, "%s, %d threads, kernels %s", m.cpu, sl_ctx_threads(c->ctx), c->cache.kernels);
    sl_h_fact(h, "machine", text);
    snprintf(text, sizeof text, "saelab %s, profile %s", sl_version(), sl_profiles[c->plan.profile]);
    sl_h_fact(h, "program", text);
    sl_h(h, "</dl>\n<p>To get it again, in a checkout of saelab:</p>\n<pre class=\"command\">");
    sl_h_textf(h, "./run saelab study confirm %s -o confirm%s%s", c->plan.study, c->plan.profile == SL_PROFILE_QUICK ? "" : " --profile ",
               c->plan.profile == SL_PROFILE_QUICK ? "" : sl_profiles[c->plan.profile]);
    sl_h(h, "</pre>\n");
    return SL_OK;
}

sl_status sl_confirm_head(sl_html *h, const sl_confirm_results *r, sl_err *err)
{
    sl_h(h, "<!doctype html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>");
    sl_h_textf(h, "%s: confirmation", r->c->plan.study);
    sl_h(h, "</title>\n");
    sl_h_style(h);
    sl_h(h, "</head>\n<body><main>\n<p class=\"run\">");
    sl_h_textf(h, "%s: confirmation", r->c->plan.study);
    sl_h(h, "</p>\n<h1>");
    sl_h_text(h, r->c->plan.question);
    sl_h(h, "</h1>\n");
    verdict(h, r);
    SL_TRY(conditions(h, r, err));
    warnings(h, r);
    return how(h, r, err);
}
