/* Pictures of compositions: attention, interactions, the bipartite graph, reuse, sparsity while training, ablations, co-occurrence. Of the first
 * compositional arm of a data set where one SAE has to do, from its composition.json; of all arms elsewhere. The first data set with compositions
 * has plain names (attention_patterns), the others end in theirs. */
#include "study/draw.h"

#include <saelab/compose_eval.h>
#include <saelab/stats.h>

#include <math.h>
#include <string.h>

enum { HEAT_UNITS = 8, HEAT_MOST = 24, NAME = 64 };
/* Correlation with how often pairs fire together that PolySAE's authors report: of its interactions, of an SAE's covariance (arXiv 2602.01322). */
#define PUBLISHED_INTERACTION .06
#define PUBLISHED_COVARIANCE .82

/* composition.json of an arm's first replicate; NULL: it has none. */
static json_t *read_arm(const sl_drawing *d, const char *arm)
{
    char path[SL_PATH + 300], folder[150];
    json_t *j = NULL;
    sl_results_folder(folder, sizeof folder, d->is_world ? d->now : "", arm, 0);
    snprintf(path, sizeof path, "%.1000s/%s/composition.json", d->dir, folder);
    return sl_path_exists(path) && sl_json_load_file(d->ctx, path, &j, NULL) == SL_OK ? j : NULL;
}

/* ---- fields of colour ---- */

/* Up to `most` rows and columns of a square matrix, null as NaN. */
static sl_status matrix(sl_drawing *d, json_t *names, json_t *rows, int most, sl_heat_panel *out, sl_err *err)
{
    int n = (int)json_array_size(rows) < most ? (int)json_array_size(rows) : most;
    double *v = sl_draw_numbers(d, (int64_t)n * n);
    const char **name = sl_arena_alloc(d->arena, (size_t)(n + 1) * sizeof *name);
    if (!v || !name)
        return sl_fail(err, SL_MEM, "plots", NULL, "no memory for a matrix of %d", n);
    for (int i = 0; i < n; i++) {
        const char *text = json_string_value(json_array_get(names, (size_t)i));
        name[i] = text ? text : "";
        for (int j = 0; j < n; j++) {
            json_t *x = json_array_get(json_array_get(rows, (size_t)i), (size_t)j);
            v[i * n + j] = json_is_number(x) ? json_number_value(x) : NAN;
        }
    }
    *out = (sl_heat_panel){ .title = out->title, .names = name, .v = v, .n = n };
    return SL_OK;
}

static sl_status write_heat(sl_drawing *d, sl_heat *h, const char *stem, const char *what, const char *arm, sl_err *err)
{
    char name[160], title[256];
    snprintf(name, sizeof name, "%s%s", stem, d->tag);
    snprintf(title, sizeof title, "%s: %s on %s, seed 0", what, arm, d->now);
    h->name = name;
    h->title = title;
    sl_err own = { 0 };
    return sl_draw_done(d, sl_heat_write(d->ctx, d->plots, h, &own), &own, err);
}

static sl_status draw_attention(sl_drawing *d, const char *arm, json_t *j, sl_err *err)
{
    json_t *attention = json_object_get(j, "attention"), *heads = json_object_get(attention, "heads"), *rows;
    sl_heat_panel panel[SL_DRAW_ARMS] = { 0 };
    char title[SL_DRAW_ARMS][NAME];
    size_t h;
    int n = 0;
    json_array_foreach(heads, h, rows) {
        if (n == SL_DRAW_ARMS)
            break;
        snprintf(title[n], NAME, "head %d", n);
        panel[n].title = title[n];
        SL_TRY(matrix(d, json_object_get(attention, "names"), rows, HEAT_MOST, &panel[n], err));
        n++;
    }
    sl_heat p = { .x_label = "latent attended to", .y_label = "latent that attends", .panel = panel, .n_panels = n,
                  .caption = "Mean attention over rows with both latents; the most frequent latents, similar ones side by side. White: 0, or never both." };
    return n > 0 ? write_heat(d, &p, "attention_patterns", "Attention between latents", arm, err) : SL_OK;
}

/* "c12: f3 + f17 (.92)" */
static void unit_title(json_t *unit, char out[NAME])
{
    const char *relation = json_string_value(json_object_get(unit, "relation"));
    int q = (int)json_integer_value(json_object_get(unit, "q"));
    if (relation)
        snprintf(out, NAME, "c%d: %.40s (phi %.2f)", q, relation, json_number_value(json_object_get(unit, "phi")));
    else
        snprintf(out, NAME, "c%d, %lld rows", q, (long long)json_integer_value(json_object_get(unit, "fired")));
}

static sl_status draw_interactions(sl_drawing *d, const char *arm, json_t *j, sl_err *err)
{
    sl_heat_panel panel[HEAT_UNITS] = { 0 };
    char title[HEAT_UNITS][NAME];
    json_t *unit;
    size_t u;
    int n = 0;
    json_array_foreach(json_object_get(j, "units"), u, unit) {
        json_t *heat = json_object_get(unit, "heat");
        if (n == HEAT_UNITS || json_array_size(json_object_get(heat, "rows")) < 2)
            continue;
        unit_title(unit, title[n]);
        panel[n].title = title[n];
        SL_TRY(matrix(d, json_object_get(heat, "names"), json_object_get(heat, "rows"), SL_UNIT_HEAT, &panel[n], err));
        n++;
    }
    sl_heat p = { .x_label = "latent attended to", .y_label = "latent that receives", .diverging = true, .panel = panel, .n_panels = n,
                  .caption = "Mean exact attribution of a composition to pairs of latents; each panel has its own scale." };
    return n > 0 ? write_heat(d, &p, "interaction_maps", "What compositions are made of", arm, err) : SL_OK;
}

static sl_status draw_graph(sl_drawing *d, const char *arm, json_t *j, sl_err *err)
{
    const char *dot = json_string_value(json_object_get(j, "dot"));
    char name[160], title[256];
    if (!dot || !strstr(dot, " -- ")) /* no composition has a participant */
        return SL_OK;
    snprintf(name, sizeof name, "composition_graph%s", d->tag);
    snprintf(title, sizeof title, "Compositions and their latents: %s on %s, seed 0", arm, d->now);
    sl_err own = { 0 };
    return sl_draw_done(d, sl_graph_write(d->ctx, d->plots, name, title, dot, &own), &own, err);
}

/* ---- how often latents are used again ---- */

static sl_status add_reuse(sl_drawing *d, json_t *j, const char *arm, sl_series *out, sl_err *err)
{
    enum { MOST = 41 };
    json_t *v;
    size_t i;
    double live = 0, *x = sl_draw_numbers(d, MOST), *y = sl_draw_numbers(d, MOST);
    if (!x || !y)
        return sl_fail(err, SL_MEM, "plots", NULL, "no memory for a histogram");
    *out = (sl_series){ .name = arm, .x = x, .y = y, .n = 0 };
    for (int b = 0; b < MOST; b++) {
        x[b] = b - .5;
        y[b] = 0;
    }
    json_array_foreach(json_object_get(j, "reuse"), i, v) {
        int64_t n = json_is_integer(v) ? json_integer_value(v) : -1;
        if (n < 0)
            continue;
        y[n < MOST ? n : MOST - 1]++;
        live++;
    }
    for (int b = 0; b < MOST && live > 0; b++) {
        y[b] /= live;
        out->n = y[b] > 0 ? b + 1 : out->n;
    }
    return SL_OK;
}

static sl_status draw_reuse(sl_drawing *d, sl_err *err)
{
    sl_series s[SL_DRAW_ARMS];
    int n = 0;
    sl_status st = SL_OK;
    for (int i = 0; i < d->n_arms && st == SL_OK; i++) {
        json_t *j = read_arm(d, d->arm[i]);
        if (json_array_size(json_object_get(j, "reuse")) > 0)
            st = add_reuse(d, j, d->arm[i], &s[n++], err);
        json_decref(j);
    }
    sl_plot p = { .name = "feature_reuse", .title = "How many compositions a latent takes part in", .x_label = "compositions with at least a tenth of their attribution from the latent",
                  .y_label = "share of live latents", .caption = "Seed 0. Mean, Gini and entropy: reuse_mean, reuse_gini, reuse_entropy.", .kind = SL_PLOT_STEPS, .series = s,
                  .n_series = n };
    return st == SL_OK && n > 0 ? sl_draw_write(d, &p, err) : st;
}

/* ---- sparsity while training ---- */

/* The same to within a twentieth all along. */
static bool alike(const sl_series *a, const sl_draw_curve *b)
{
    bool same = a->n == b->n;
    for (int64_t i = 0; same && i < a->n; i++)
        same = fabs(a->y[i] - b->y[i]) <= .05 * fabs(a->y[i]);
    return same;
}

/* Arms that run alike share a line, named by the first of them. */
static sl_status draw_sparsity(sl_drawing *d, sl_err *err)
{
    static const char *const KEYS[] = { "l0", "l0_c" };
    sl_series s[2 * SL_DRAW_ARMS];
    char name[2 * SL_DRAW_ARMS][NAME + 48];
    int n = 0;
    for (int k = 0; k < 2; k++) {
        int first = n, more[2 * SL_DRAW_ARMS] = { 0 };
        const char *arm[2 * SL_DRAW_ARMS];
        for (int i = 0; i < d->n_arms; i++) {
            sl_draw_curve c;
            SL_TRY(sl_draw_read_curve(d, "_train_info", d->arm[i], "step", KEYS[k], &c, err));
            int at = first;
            while (at < n && !alike(&s[at], &c))
                at++;
            if (c.n == 0 || at < n) {
                more[at] += c.n > 0;
                continue;
            }
            arm[n] = d->arm[i];
            s[n++] = (sl_series){ .x = c.x, .y = c.y, .lo = c.lo, .hi = c.hi, .n = c.n };
        }
        for (int i = first; i < n; i++) {
            char others[32] = "";
            if (more[i])
                snprintf(others, sizeof others, " and %d more", more[i]);
            snprintf(name[i], sizeof name[i], "%s%s%s", arm[i], others, k ? ": compositions" : "");
            s[i].name = name[i];
        }
    }
    sl_plot p = { .name = "sparsity_evolution", .title = "Active latents and compositions while training", .x_label = "training step", .y_label = "active per row",
                  .caption = "Line: mean of the seeds; band: their range. Compositions begin with stage B.", .kind = SL_PLOT_LINES, .log_y = true, .series = s, .n_series = n };
    return n > 0 ? sl_draw_write(d, &p, err) : SL_OK;
}

/* ---- ablations ---- */

static const char *text_of(json_t *r, const char *key) { return json_string_value(json_object_get(r, key)) ? json_string_value(json_object_get(r, key)) : ""; }

static bool is_of(const sl_drawing *d, json_t *r, const char *arm) { return strcmp(text_of(r, "dataset"), d->now) == 0 && strcmp(text_of(r, "arm"), arm) == 0; }

static json_t *record_of(const sl_drawing *d, const char *arm, json_int_t seed)
{
    json_t *r;
    size_t k;
    json_array_foreach(d->records, k, r)
        if (is_of(d, r, arm) && json_integer_value(json_object_get(r, "seed_init")) == seed)
            return r;
    return NULL;
}

/* Differences of an arm from the whole one, seed by seed; returns how many there are. */
static int64_t differences(const sl_drawing *d, const char *whole, const char *arm, const char *key, double *out, int64_t room)
{
    int64_t n = 0;
    for (json_int_t seed = 0; seed < room; seed++) {
        json_t *a = json_object_get(record_of(d, arm, seed), key), *b = json_object_get(record_of(d, whole, seed), key);
        if (json_is_number(a) && json_is_number(b))
            out[n++] = json_number_value(a) - json_number_value(b);
    }
    return n;
}

static sl_status draw_ablation(sl_drawing *d, const char *const *arm, int n_arms, const char *key, const char *what, sl_err *err)
{
    enum { SEEDS = 32 };
    double *each_x = sl_draw_numbers(d, n_arms * SEEDS), *each = sl_draw_numbers(d, n_arms * SEEDS), *x = sl_draw_numbers(d, n_arms), *y = sl_draw_numbers(d, n_arms);
    double *lo = sl_draw_numbers(d, n_arms), *hi = sl_draw_numbers(d, n_arms), v[SEEDS];
    int64_t n = 0, n_each = 0;
    char name[NAME], label[128], title[128];
    if (!each_x || !each || !x || !y || !lo || !hi)
        return sl_fail(err, SL_MEM, "plots", NULL, "no memory for ablations");
    for (int i = 1; i < n_arms; i++) {
        int64_t k = differences(d, arm[0], arm[i], key, v, SEEDS);
        if (k == 0)
            continue;
        for (int64_t s = 0; s < k; s++) {
            each_x[n_each] = i - 1 - .12 - .16 * (k > 1 ? (double)s / (double)(k - 1) : 0);
            each[n_each++] = v[s];
        }
        sl_stat t = sl_stat_of(v, k);
        x[n] = i - 1 + .1;
        y[n] = t.mean;
        lo[n] = t.has_se ? t.lo : t.mean;
        hi[n++] = t.has_se ? t.hi : t.mean;
    }
    if (n == 0)
        return SL_OK;
    sl_series s[] = { { .name = "each seed", .x = each_x, .y = each, .n = n_each }, { .name = "mean and 95% interval", .x = x, .y = y, .lo = lo, .hi = hi, .n = n } };
    snprintf(name, sizeof name, "ablation_%s", key);
    snprintf(title, sizeof title, "Ablations: %s", what);
    snprintf(label, sizeof label, "difference from %s", arm[0]);
    sl_plot p = { .name = name, .title = title, .x_label = "", .y_label = label, .caption = "Differences paired by seed; t interval over seeds.", .kind = SL_PLOT_POINTS,
                  .series = s, .n_series = 2, .categories = arm + 1, .n_categories = n_arms - 1 };
    return sl_draw_write(d, &p, err);
}

/* The first compositional arm against the others, where there are three or more. */
static sl_status draw_ablations(sl_drawing *d, sl_err *err)
{
    static const char *const KEYS[][2] = { { "fvu", "FVU" }, { "comp_f1", "composition F1" }, { "comp_f1_withheld", "composition F1 on withheld pairs" }, { "comp_energy", "composition energy" } };
    const char *arm[SL_DRAW_ARMS];
    int n = 0;
    for (int i = 0; i < d->n_arms; i++)
        if (strcmp(text_of(record_of(d, d->arm[i], 0), "variant"), "compositional") == 0)
            arm[n++] = d->arm[i];
    for (size_t k = 0; n >= 3 && k < sizeof KEYS / sizeof *KEYS; k++)
        SL_TRY(draw_ablation(d, arm, n, KEYS[k][0], KEYS[k][1], err));
    return SL_OK;
}

/* ---- co-occurrence ---- */

typedef struct dots { double *x, *y; int64_t n; } dots;

static void add_mean(const sl_drawing *d, const char *arm, const char *key, double x, dots *to)
{
    double sum = 0;
    int64_t n = 0;
    json_t *r;
    size_t k;
    json_array_foreach(d->records, k, r)
        if (is_of(d, r, arm) && json_is_number(json_object_get(r, key))) {
            sum += json_number_value(json_object_get(r, key));
            n++;
        }
    if (n == 0)
        return;
    to->x[to->n] = x;
    to->y[to->n++] = sum / (double)n;
}

static sl_status draw_cooccurrence(sl_drawing *d, sl_err *err)
{
    const char *names[SL_DRAW_ARMS + 1];
    dots p[2] = { { sl_draw_numbers(d, 2 * d->n_arms + 2), sl_draw_numbers(d, 2 * d->n_arms + 2), 0 }, { sl_draw_numbers(d, d->n_arms + 1), sl_draw_numbers(d, d->n_arms + 1), 0 } };
    if (!p[0].x || !p[0].y || !p[1].x || !p[1].y)
        return sl_fail(err, SL_MEM, "plots", NULL, "no memory for correlations");
    for (int i = 0; i < d->n_arms; i++) {
        names[i] = d->arm[i];
        int64_t before = p[0].n;
        add_mean(d, d->arm[i], "interaction_cooccurrence", i - .08, &p[0]);
        if (p[0].n == before)
            add_mean(d, d->arm[i], "decoder_cooccurrence", i - .08, &p[0]);
        add_mean(d, d->arm[i], "covariance_cooccurrence", i + .08, &p[1]);
    }
    if (p[1].n == 0)
        return SL_OK;
    names[d->n_arms] = "published";
    p[0].x[p[0].n] = d->n_arms - .08;
    p[0].y[p[0].n++] = PUBLISHED_INTERACTION;
    p[1].x[p[1].n] = d->n_arms + .08;
    p[1].y[p[1].n++] = PUBLISHED_COVARIANCE;
    sl_series s[] = { { .name = "interactions", .x = p[0].x, .y = p[0].y, .n = p[0].n }, { .name = "covariance of the codes", .x = p[1].x, .y = p[1].y, .n = p[1].n } };
    sl_plot q = { .name = "cooccurrence", .title = "Are interactions more than co-occurrence?", .x_label = "", .y_label = "Pearson r with rows that have both",
                  .caption = "Mean of the seeds. Interactions: attribution of compositions, or second differences of other nonlinear decoders. published: PolySAE, GPT-2 small.", .kind = SL_PLOT_POINTS, .series = s,
                  .n_series = 2, .categories = names, .n_categories = d->n_arms + 1 };
    return sl_draw_write(d, &q, err);
}

/* ---- all of a data set ---- */

static sl_status draw_one(sl_drawing *d, const char *arm, json_t *j, sl_err *err)
{
    SL_TRY(draw_attention(d, arm, j, err));
    SL_TRY(draw_interactions(d, arm, j, err));
    return draw_graph(d, arm, j, err);
}

static sl_status draw_all(sl_drawing *d, sl_err *err)
{
    for (int i = 0; i < d->n_arms; i++) {
        json_t *j = read_arm(d, d->arm[i]);
        bool composes = json_array_size(json_object_get(j, "units")) > 0;
        sl_status st = composes ? draw_one(d, d->arm[i], j, err) : SL_OK;
        json_decref(j);
        SL_TRY(st);
        if (composes)
            break;
    }
    SL_TRY(draw_reuse(d, err));
    SL_TRY(draw_sparsity(d, err));
    SL_TRY(draw_ablations(d, err));
    return draw_cooccurrence(d, err);
}

sl_status sl_draw_compositions(sl_drawing *d, sl_err *err)
{
    char tag[sizeof d->tag];
    bool measured = false;
    json_t *r;
    size_t k;
    json_array_foreach(d->records, k, r)
        measured = measured || (strcmp(text_of(r, "dataset"), d->now) == 0 && json_object_get(r, "covariance_cooccurrence"));
    if (!measured)
        return SL_OK;
    memcpy(tag, d->tag, sizeof tag);
    if (!d->composed)
        d->tag[0] = 0;
    sl_status st = draw_all(d, err);
    memcpy(d->tag, tag, sizeof tag);
    d->composed = true;
    return st;
}
