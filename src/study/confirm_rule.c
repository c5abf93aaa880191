/* The decision rules of science.md G3: pure functions of a table. Where the text leaves room, the stricter reading is taken:
 *   the guards on mcc_adj, absorption, IR and noisy F1 are against the plain SAE at equal compute;
 *   no verdict in favour with a seed missing in one of the arms compared. */
#include "study/confirm.h"

#include <math.h>
#include <string.h>

const char *const sl_verdicts[] = { "SUPPORTED", "NOT SUPPORTED", "INCONCLUSIVE", "COMPOSES", "decoder capacity, not composition" };

/* What a check asks of its difference. */
typedef enum ask { LOWER_ABOVE, LOWER_AT_LEAST, EFFECT_AT_MOST } ask;

static void judge(sl_check *c, ask how, double bound)
{
    c->bound = bound;
    c->below = isfinite(c->diff.hi) && c->diff.hi < 0;
    bool known = isfinite(c->diff.effect) && isfinite(c->diff.lo);
    if (how == EFFECT_AT_MOST) {
        c->passed = isfinite(c->diff.effect) && c->diff.effect <= bound;
        c->below = isfinite(c->diff.lo) && c->diff.lo > 0;
    } else {
        c->passed = known && (how == LOWER_ABOVE ? c->diff.lo > bound : c->diff.lo >= bound);
    }
    c->passed = c->passed && c->complete;
}

static sl_check *add(sl_decision *d)
{
    return &d->check[d->n_checks < SL_CHECKS - 1 ? d->n_checks++ : SL_CHECKS - 1];
}

static bool complete(const sl_table *t, const char *metric, const char *world, const char *a, const char *b)
{
    return sl_table_missing(t, metric, world, a) == 0 && sl_table_missing(t, metric, world, b) == 0;
}

static sl_check *compare(sl_ctx *ctx, const sl_table *t, const char *metric, const char *world, const char *a, const char *b, ask how, double bound, sl_decision *d)
{
    sl_check *c = add(d);
    *c = (sl_check){ .diff = sl_table_diff(ctx, t, metric, world, a, b), .complete = complete(t, metric, world, a, b) };
    snprintf(c->metric, sizeof c->metric, "%s", metric);
    snprintf(c->world, sizeof c->world, "%s", world);
    snprintf(c->a, sizeof c->a, "%s", a);
    snprintf(c->b, sizeof c->b, "%s", b);
    snprintf(c->what, sizeof c->what, "%s: %.24s - %.24s", metric, a, b);
    judge(c, how, bound);
    return c;
}

/* ---- words ---- */

static void say(sl_decision *d, const char *fmt, ...) SL_PRINTF(2, 3);
static void say(sl_decision *d, const char *fmt, ...)
{
    size_t used = strlen(d->sentence);
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(d->sentence + used, sizeof d->sentence - used, fmt, ap);
    va_end(ap);
}

static void say_check(sl_decision *d, const sl_check *c)
{
    if (!isfinite(c->diff.effect))
        say(d, "%s against %s on %s: not measured", c->metric, c->b, c->world);
    else if (!isfinite(c->diff.lo))
        say(d, "%s against %s on %s %+.4f (one seed)", c->metric, c->b, c->world, c->diff.effect);
    else
        say(d, "%s against %s on %s %+.4f [%+.4f, %+.4f]%s", c->metric, c->b, c->world, c->diff.effect, c->diff.lo, c->diff.hi, c->complete ? "" : ", seeds missing");
}

/* At most `most` of the checks that did (not) pass. */
static void say_checks(sl_decision *d, bool passed, int most)
{
    int n = 0, all = 0;
    for (int i = 0; i < d->n_checks; i++)
        all += d->check[i].passed == passed;
    for (int i = 0; i < d->n_checks && n < most; i++)
        if (d->check[i].passed == passed) {
            say(d, "%s", n++ ? "; " : "");
            say_check(d, &d->check[i]);
        }
    if (all > n)
        say(d, "; and %d more", all - n);
}

static bool all_passed(const sl_decision *d)
{
    for (int i = 0; i < d->n_checks; i++)
        if (!d->check[i].passed)
            return false;
    return d->n_checks > 0;
}

/* Does an interval of the metric lie wholly on the wrong side? */
static bool any_below(const sl_decision *d, const char *metric)
{
    for (int i = 0; i < d->n_checks; i++)
        if (strcmp(d->check[i].metric, metric) == 0 && d->check[i].below)
            return true;
    return false;
}

/* The verdict of a claim that has to pass everything, and its sentence. */
static void conclude(sl_decision *d, const char *claim, const char *primary, sl_verdict in_favour)
{
    int n = 0;
    for (int i = 0; i < d->n_checks; i++)
        n += d->check[i].passed;
    d->sentence[0] = 0;
    d->verdict = all_passed(d) ? in_favour : any_below(d, primary) ? SL_NOT_SUPPORTED : SL_INCONCLUSIVE;
    say(d, "%s: %s. ", sl_verdicts[d->verdict], claim);
    if (d->verdict == in_favour) {
        say(d, "All %d conditions hold: ", n);
        say_checks(d, true, 8);
        say(d, ".");
        return;
    }
    say(d, "%d of %d conditions hold. Not met: ", n, d->n_checks);
    say_checks(d, false, 6);
    if (n > 0) {
        say(d, ". Met: ");
        say_checks(d, true, 3);
    }
    say(d, ".");
}

/* ---- purification ---- */

void sl_decide_purification(sl_ctx *ctx, const sl_table *t, const sl_purification_rule *r, sl_decision *out)
{
    *out = (sl_decision){ 0 };
    for (int w = 0; w < t->n_worlds; w++)
        for (int i = 0; i < r->n_comparators; i++)
            compare(ctx, t, "f1_h", t->world[w], r->treatment, r->comparator[i], LOWER_ABOVE, 0, out);
    for (int w = 0; w < t->n_worlds; w++) {
        compare(ctx, t, "mcc_adj", t->world[w], r->treatment, r->base, LOWER_AT_LEAST, -.01, out);
        compare(ctx, t, "absorb_common", t->world[w], r->treatment, r->base, EFFECT_AT_MOST, 0, out);
        compare(ctx, t, "inj_resp", t->world[w], r->treatment, r->base, LOWER_AT_LEAST, -.02, out);
        compare(ctx, t, "noisy_f1_h", t->world[w], r->treatment, r->base, LOWER_AT_LEAST, -.02, out);
    }
    conclude(out, "targeted perturbation training finds true features better than every comparator at equal compute", "f1_h", SL_SUPPORTED);
}

void sl_decide_targeting(sl_ctx *ctx, const sl_table *t, const char *targeted, const char *uniform, sl_decision *out)
{
    *out = (sl_decision){ 0 };
    for (int w = 0; w < t->n_worlds; w++)
        compare(ctx, t, "f1_h", t->world[w], targeted, uniform, LOWER_ABOVE, 0, out);
    conclude(out, "choosing what is injected beats injecting any latent at equal norm", "f1_h", SL_SUPPORTED);
}

/* ---- composition ---- */

/* gain = fvu(matched) - fvu(arm) by seed, into out [n_seeds]. */
static void gains(const sl_table *t, const char *world, const char *matched, const char *arm, double *out)
{
    const double *a = sl_table_at(t, "fvu", world, matched), *b = sl_table_at(t, "fvu", world, arm);
    for (int64_t i = 0; i < t->n_seeds; i++)
        out[i] = a && b ? a[i] - b[i] : NAN;
}

static double mean_of(const double *v, int64_t n)
{
    double sum = 0, k = 0;
    for (int64_t i = 0; i < n; i++)
        if (isfinite(v[i])) {
            sum += v[i];
            k++;
        }
    return k > 0 ? sum / k : NAN;
}

static void add_gain(sl_ctx *ctx, const sl_table *t, const char *what, const char *world, const char *b, const double *x, const double *y, sl_decision *d)
{
    sl_check *c = add(d);
    *c = (sl_check){ .diff = sl_diff_of(ctx, x, y, t->n_seeds) };
    c->complete = c->diff.n == t->n_seeds;
    snprintf(c->metric, sizeof c->metric, "%s", what);
    snprintf(c->what, sizeof c->what, "%s", what);
    snprintf(c->world, sizeof c->world, "%s", world);
    snprintf(c->b, sizeof c->b, "%s", b);
    judge(c, LOWER_ABOVE, 0);
}

void sl_decide_composition(sl_ctx *ctx, const sl_table *t, const sl_composition_rule *r, sl_decision *out)
{
    int64_t n = t->n_seeds;
    *out = (sl_decision){ 0 };
    double *g = sl_alloc(ctx, (size_t)(4 * n + 1) * sizeof *g);
    if (!g) {
        out->verdict = SL_INCONCLUSIVE;
        say(out, "INCONCLUSIVE: no memory for the gains");
        return;
    }
    double *full = g, *null = g + n, *shuffled = g + 2 * n, *half = g + 3 * n;
    gains(t, r->full_world, r->matched, r->treatment, full);
    gains(t, r->null_world, r->matched, r->treatment, null);
    gains(t, r->full_world, r->matched, r->shuffle, shuffled);
    for (int64_t i = 0; i < n; i++)
        half[i] = full[i] / 2;
    for (int i = 0; i < r->n_comparators; i++)
        compare(ctx, t, "comp_f1_withheld", r->full_world, r->treatment, r->comparator[i], LOWER_ABOVE, 0, out);
    add_gain(ctx, t, "gain less that of the null", r->full_world, r->null_world, full, null, out);
    add_gain(ctx, t, "half the gain less that of shuffled partners", r->full_world, r->shuffle, half, shuffled, out);
    conclude(out, "features that compose through attention recover withheld combinations better than every comparator, by composition", "comp_f1_withheld", SL_COMPOSES);
    double in_full = mean_of(full, n), in_null = mean_of(null, n);
    if (in_full > 0 && in_null >= in_full / 2) {
        out->verdict = SL_DECODER_CAPACITY;
        out->sentence[0] = 0;
        say(out, "%s: the gain in fvu over TopK with as many parameters is %.4f where nothing composes (%s) and %.4f where features do (%s). ", sl_verdicts[SL_DECODER_CAPACITY], in_null,
            r->null_world, in_full, r->full_world);
        say_checks(out, false, 6);
    }
    sl_free(ctx, g);
}
