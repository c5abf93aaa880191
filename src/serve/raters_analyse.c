/* The analysis of a frozen study: scores of methods, their differences, agreement of raters, and what the study could have found. */
#include "serve/raters.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum { ALPHA_OK = 667, CATEGORIES = 5 };
#define PLANNED_SD .25 /* of feature-level intruder accuracy (science.md E1) */

typedef struct analysis {
    sl_raters *r;
    const sl_raters_analysis_opts *o;
    void (*put)(void *, const char *);
    void *user;
    sl_raters_state state;
    sl__rater_scores s;
    const json_t *methods;
    int32_t n_methods;
    int64_t n_units, n_kept; /* features and pairs; raters */
    int32_t present[SL_MAX_GROUPS], n_present; /* of the task at hand: methods with answers */
    json_t *out;
} analysis;

static void line(const analysis *a, const char *fmt, ...) SL_PRINTF(2, 3);
static void line(const analysis *a, const char *fmt, ...)
{
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    int n = snprintf(text, sizeof text, "%s", a->state.simulated ? "SIMULATED  " : "");
    vsnprintf(text + n, sizeof text - (size_t)n, fmt, ap);
    va_end(ap);
    a->put(a->user, text);
}

static const char *method_name(const analysis *a, int64_t g) { return json_string_value(json_array_get(a->methods, (size_t)g)); }

/* ---- one task ---- */

static int64_t field(const json_t *record, const char *key) { return json_integer_value(json_object_get(record, key)); }

static bool counts(const analysis *a, const sl__rater_scored *v, sl__rater_task task)
{
    return !a->s.rater[v->rater - 1].dropped && !json_is_true(json_object_get(v->key, "catch")) &&
           sl__rater_task_of(json_string_value(json_object_get(v->key, "task"))) == (int)task;
}

static json_t *interval(double lo, double hi) { return json_pack("[f, f]", lo, hi); }

static void put_scores(analysis *a, const sl_two_way *w, json_t *out)
{
    json_t *methods = json_array(), *contrasts = json_array();
    line(a, "  %-24s %8s  %-18s %8s %9s", "METHOD", "SCORE", "95% INTERVAL", "SD", "FEATURES");
    for (int32_t g = 0; g < w->n_groups; g++) {
        const sl_group_score *s = &w->group[g];
        line(a, "  %-24.24s %8.3f  %7.3f .. %6.3f %8.3f %9lld", method_name(a, a->present[g]), s->value, s->lo, s->hi, s->sd, (long long)s->n_items);
        json_array_append_new(methods, json_pack("{s:s, s:f, s:o, s:f, s:f, s:I}", "method", method_name(a, a->present[g]), "score", s->value, "interval", interval(s->lo, s->hi), "se", s->se,
                                                 "sd", s->sd, "features", (json_int_t)s->n_items));
    }
    line(a, "  %-24s %8s  %-18s %8s %9s", "COMPARED", "EFFECT", "95% INTERVAL", "P (HOLM)", "DETECTS");
    for (int32_t i = 0; i < w->n_contrasts; i++) {
        const sl_contrast *c = &w->contrast[i];
        char name[64];
        snprintf(name, sizeof name, "%.28s - %.28s", method_name(a, a->present[c->a]), method_name(a, a->present[c->b]));
        line(a, "  %-24s %+8.3f  %+7.3f .. %+6.3f %8.4f %9.3f", name, c->effect, c->lo, c->hi, c->p_holm, c->mde);
        json_array_append_new(contrasts, json_pack("{s:s, s:s, s:f, s:o, s:f, s:f, s:f, s:f}", "method", method_name(a, a->present[c->a]), "against", method_name(a, a->present[c->b]), "effect", c->effect,
                                                   "interval", interval(c->lo, c->hi), "se", c->se, "p", c->p, "p_holm", c->p_holm, "minimum_detectable", c->mde));
    }
    json_object_set_new(out, "methods", methods);
    json_object_set_new(out, "contrasts", contrasts);
}

/* Numbers the methods that have answers to the task: place[method], -1 for the others, which are named. */
static void find_present(analysis *a, sl__rater_task task, int32_t place[SL_MAX_GROUPS])
{
    bool has[SL_MAX_GROUPS] = { false };
    a->n_present = 0;
    for (int64_t i = 0; i < a->s.n; i++)
        if (counts(a, &a->s.v[i], task))
            has[field(a->s.v[i].key, "group")] = true;
    for (int32_t g = 0; g < a->n_methods; g++) {
        place[g] = has[g] ? a->n_present : -1;
        if (has[g])
            a->present[a->n_present++] = g;
        else
            line(a, "  nothing of %s", method_name(a, g));
    }
}

/* Scores of a task as rater x feature. */
static sl_status compare(analysis *a, sl__rater_task task, json_t *out, sl_err *err)
{
    sl_ctx *ctx = a->r->ctx;
    sl_scored *v = sl_alloc(ctx, (size_t)a->s.n * sizeof *v);
    int32_t *group = sl_alloc(ctx, (size_t)a->n_units * sizeof *group);
    sl_two_way *w = sl_alloc(ctx, sizeof *w);
    sl_err why = { 0 };
    int64_t n = 0;
    int32_t place[SL_MAX_GROUPS];
    sl_status st = v && group && w ? SL_OK : sl_fail(err, SL_MEM, "analysis", NULL, "no memory");
    find_present(a, task, place);
    for (int64_t i = 0; st == SL_OK && i < a->s.n; i++)
        if (counts(a, &a->s.v[i], task)) {
            int64_t unit = field(a->s.v[i].key, "unit");
            v[n++] = (sl_scored){ (int32_t)a->s.v[i].rater - 1, (int32_t)unit, a->s.v[i].score };
            group[unit] = place[field(a->s.v[i].key, "group")];
        }
    if (st == SL_OK) {
        json_object_set_new(out, "answers", json_integer(n));
        st = sl_two_way_boot(ctx, v, n, (int32_t)a->s.n_raters, (int32_t)a->n_units, group, a->n_present, &(sl_boot_opts){ a->o->draws, .95, (uint64_t)a->o->seed }, w, &why);
        if (st == SL_OK)
            put_scores(a, w, out);
        else if (st == SL_DATA || n == 0) { /* too few answers: said, not failed */
            line(a, "  no scores: %s", why.msg);
            json_object_set_new(out, "reason", json_string(why.msg));
            st = SL_OK;
        } else if (err)
            *err = why;
    }
    sl_free(ctx, v);
    sl_free(ctx, group);
    sl_free(ctx, w);
    return st;
}

/* ---- agreement ---- */

/* Number of the values that one answer to this task gives. */
static int per_answer(sl__rater_task task) { return task == RATE_DETECTION ? RATERS_DETECT : 1; }

static int32_t value_of(sl__rater_task task, const json_t *answer, int i)
{
    switch (task) {
    case RATE_DETECTION: return (int32_t)json_integer_value(json_array_get(json_object_get(answer, "active"), (size_t)i));
    case RATE_RATING: return (int32_t)field(answer, "score") - 1;
    default: return (int32_t)field(answer, "choice");
    }
}

/* Rows of the table are items (detection: contexts), clusters are features. Items are numbered by unit and trial. */
static sl_status table(analysis *a, sl__rater_task task, sl_judged *j, int32_t **value, int32_t **cluster, sl_err *err)
{
    int64_t each = per_answer(task), trials = task == RATE_INTRUDER ? RATERS_TRIALS : 1, raters = a->s.n_raters;
    j->n_units = a->n_units * trials * each;
    j->n_raters = (int32_t)raters;
    j->n_categories = task == RATE_DETECTION ? 2 : CATEGORIES;
    *value = sl_alloc(a->r->ctx, (size_t)(j->n_units * raters) * sizeof **value);
    *cluster = sl_alloc(a->r->ctx, (size_t)j->n_units * sizeof **cluster);
    if (!*value || !*cluster)
        return sl_fail(err, SL_MEM, "analysis", NULL, "no memory");
    for (int64_t i = 0; i < j->n_units * raters; i++)
        (*value)[i] = -1;
    for (int64_t u = 0; u < j->n_units; u++)
        (*cluster)[u] = (int32_t)(u / (trials * each));
    for (int64_t i = 0; i < a->s.n; i++) {
        const sl__rater_scored *v = &a->s.v[i];
        if (!counts(a, v, task))
            continue;
        int64_t item = field(v->key, "unit") * trials + field(v->key, "trial");
        for (int k = 0; k < each; k++)
            (*value)[(item * each + k) * raters + v->rater - 1] = value_of(task, v->answer, k);
    }
    j->value = *value;
    j->cluster = *cluster;
    return SL_OK;
}

static sl_status agree(analysis *a, sl__rater_task task, json_t *out, sl_err *err)
{
    sl_judged j;
    int32_t *value = NULL, *cluster = NULL;
    sl_alpha alpha;
    sl_err why = { 0 };
    sl_boot_opts boot = { a->o->draws, .95, (uint64_t)a->o->seed };
    sl_status st = table(a, task, &j, &value, &cluster, err);
    if (st == SL_OK) {
        st = sl_krippendorff(a->r->ctx, &j, task == RATE_RATING ? SL_SCALE_ORDINAL : SL_SCALE_NOMINAL, &boot, &alpha, &why);
        if (st == SL_OK) {
            bool low = alpha.value * 1000 < ALPHA_OK;
            char range[48] = "";
            if (alpha.has_interval)
                snprintf(range, sizeof range, " (%.3f .. %.3f)", alpha.lo, alpha.hi);
            line(a, "  agreement: alpha %.3f%s, %lld values%s", alpha.value, range, (long long)alpha.n_values, low && task == RATE_RATING ? "; below .667: these ratings describe only, accuracies decide" : "");
            json_object_set_new(out, "alpha", json_pack("{s:s, s:f, s:o, s:I, s:b}", "scale", task == RATE_RATING ? "ordinal" : "nominal", "value", alpha.value, "interval",
                                                        alpha.has_interval ? interval(alpha.lo, alpha.hi) : json_null(), "values", (json_int_t)alpha.n_values, "descriptive_only",
                                       low && task == RATE_RATING));
        } else if (st == SL_DATA) {
            line(a, "  agreement: none, %s", why.msg);
            json_object_set_new(out, "alpha", json_null());
            json_object_set_new(out, "alpha_reason", json_string(why.msg));
            st = SL_OK;
        } else if (err)
            *err = why;
    }
    sl_free(a->r->ctx, value);
    sl_free(a->r->ctx, cluster);
    return st;
}

/* ---- the whole ---- */

static const char *const TITLE[RATE_N_TASKS] = {
    "intruder: the one of five contexts that does not belong (guessing: .2)",
    "detection: is the marked token of an unseen context active? balanced accuracy (guessing: .5)",
    "rating: 1 no pattern .. 5 one clear pattern",
    "composition: the one of four contexts that shows it (guessing: .25)",
};

static sl_status tasks(analysis *a, sl_err *err)
{
    json_t *all = json_object();
    json_object_set_new(a->out, "tasks", all);
    for (int t = 0; t < RATE_N_TASKS; t++) {
        int64_t n = 0;
        for (int64_t i = 0; i < a->s.n; i++)
            n += counts(a, &a->s.v[i], (sl__rater_task)t);
        if (n == 0 && t == RATE_COMPOSITION)
            continue; /* only where compositions were asked about */
        json_t *out = json_pack("{s:f}", "guessing", sl__rater_chance[t]);
        json_object_set_new(all, sl__rater_task_name[t], out);
        line(a, "%s", "");
        line(a, "%s", TITLE[t]);
        SL_TRY(compare(a, (sl__rater_task)t, out, err));
        SL_TRY(agree(a, (sl__rater_task)t, out, err));
    }
    return SL_OK;
}

static void put_raters(analysis *a)
{
    json_t *raters = json_array();
    for (int64_t i = 0; i < a->s.n_raters; i++) {
        const sl__rater_catches *c = &a->s.rater[i];
        a->n_kept += !c->dropped;
        if (c->dropped)
            line(a, "left out: rater %lld, %lld of %lld catch trials right", (long long)i + 1, (long long)c->right, (long long)c->n);
        json_array_append_new(raters, json_pack("{s:I, s:I, s:I, s:b}", "rater", (json_int_t)i + 1, "catches_right", (json_int_t)c->right, "catches", (json_int_t)c->n, "left_out",
                                                c->dropped));
    }
    json_object_set_new(a->out, "raters", raters);
    json_object_set_new(a->out, "exclusion", json_string("fewer than 80 % of the catch trials right, fixed before the study"));
}

static sl_status not_run(analysis *a, const char *reason)
{
    line(a, "NOT RUN: %s", reason);
    json_object_set_new(a->out, "status", json_string("NOT RUN"));
    json_object_set_new(a->out, "reason", json_string(reason));
    return SL_OK;
}

/* The answers must be those that were frozen, and the key unopened until then. */
static sl_status check_freeze(analysis *a, sl_err *err)
{
    int64_t early = 0, same = 0;
    char hex[65];
    if (!a->state.frozen)
        return sl_fail(err, SL_ARG, a->r->dir, "`saelab raters freeze` first", "raters may still answer");
    SL_TRY(sl__sql_int(a->r, &early, err, "SELECT count(*) FROM event WHERE what = 'key opened' AND n < (SELECT min(n) FROM event WHERE what = 'frozen')", ""));
    if (early)
        return sl_fail(err, SL_DATA, a->r->dir, "a key that was sealed while people answered", "the key was opened before the freeze");
    SL_TRY(sl__raters_hash(a->r, hex, err));
    SL_TRY(sl__sql_int(a->r, &same, err, "SELECT count(*) FROM event WHERE what = 'frozen' AND more = ?", "t", hex));
    return same ? SL_OK : sl_fail(err, SL_DATA, a->r->dir, NULL, "the answers are not those that were frozen");
}

static sl_status work(analysis *a, sl_err *err)
{
    char features[16];
    if (a->state.n_answers == 0)
        return not_run(a, "nobody has answered");
    SL_TRY(check_freeze(a, err));
    SL_TRY(sl__scores_read(a->r, a->o->seal, &a->s, err));
    a->methods = json_object_get(a->s.key, "methods");
    a->n_methods = (int32_t)json_array_size(a->methods);
    a->n_units = field(a->s.key, "units");
    if (a->n_methods < 2 || a->n_methods > SL_MAX_GROUPS || a->n_units < 1)
        return sl_fail(err, SL_DATA, "key.sealed", NULL, "it has %d methods", a->n_methods);
    SL_TRY(sl__raters_setting(a->r, "features", features, sizeof features, err));
    double planned = sl_min_detectable(PLANNED_SD, atoll(features), 0, .05, .8);
    line(a, "%d methods of %s features, %lld raters, %lld of %lld questions answered", a->n_methods, features, (long long)a->state.n_raters, (long long)a->state.n_answers,
         (long long)a->state.n_turns);
    line(a, "planned to detect differences of %.2f in intruder accuracy (power .8 at .05, sd .25); DETECTS is what it was in the end", planned);
    json_object_set_new(a->out, "planned_minimum_detectable", json_real(planned));
    json_object_set_new(a->out, "methods", json_incref((json_t *)(uintptr_t)a->methods));
    put_raters(a);
    if (a->n_kept == 0)
        return not_run(a, "every rater is left out");
    json_object_set_new(a->out, "status", json_string(a->state.simulated ? "SIMULATED" : "RUN"));
    if (a->n_kept < 3)
        line(a, "fewer than three raters are left: read the intervals with care");
    return tasks(a, err);
}

static sl_status analyse(analysis *a, sl_err *err)
{
    char path[RATERS_PATH];
    SL_TRY(sl__raters_tell(a->r, &a->state, err));
    a->out = json_pack("{s:b, s:I, s:I, s:I, s:b}", "simulated", a->state.simulated, "n_raters", (json_int_t)a->state.n_raters, "questions", (json_int_t)a->state.n_turns, "answers",
                       (json_int_t)a->state.n_answers, "frozen", a->state.frozen);
    if (!a->out)
        return sl_fail(err, SL_MEM, "analysis", NULL, "no memory");
    sl_status st = work(a, err);
    if (st == SL_OK)
        st = sl__raters_file(a->r, "analysis.json", path, err);
    return st == SL_OK ? sl_json_save(a->r->ctx, path, a->out, err) : st;
}

sl_status sl_raters_analyse(sl_raters *r, const sl_raters_analysis_opts *o, void (*put)(void *, const char *), void *user, sl_err *err)
{
    analysis a = { .r = r, .o = o, .put = put, .user = user };
    pthread_mutex_lock(&r->lock);
    sl_status st = analyse(&a, err);
    pthread_mutex_unlock(&r->lock);
    sl__scores_release(r->ctx, &a.s);
    json_decref(a.out);
    return st;
}
