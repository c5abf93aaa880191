/* The plots of a run, from its own files only: a changed plot retrains nothing. */
#include "study/draw.h"

#include <dirent.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { RATE_BINS = 24 /* of a quarter decade, from 1e-6 to 1 */ };

/* Is `name` one of the current data set's lists, <set>_<seed>_<tail>? */
static bool is_list(const sl_drawing *d, const char *name, const char *tail)
{
    size_t n = strlen(d->now);
    if (strncmp(name, d->now, n) != 0 || name[n] != '_')
        return false;
    const char *s = name + n + 1;
    size_t digits = strspn(s, "0123456789");
    return digits > 0 && strcmp(s + digits, tail) == 0;
}

double *sl_draw_numbers(sl_drawing *d, int64_t n) { return sl_arena_alloc(d->arena, (size_t)(n + 1) * sizeof(double)); }

sl_status sl_draw_done(sl_drawing *d, sl_status st, const sl_err *own, sl_err *err)
{
    if (st == SL_UNAVAILABLE) {
        if (!d->no_gnuplot)
            sl_log(d->ctx, SL_LOG_WARN, "plots: %s", own->msg);
        d->no_gnuplot = true;
        return SL_OK;
    }
    if (st != SL_OK && err)
        *err = *own;
    return st;
}

sl_status sl_draw_write(sl_drawing *d, const sl_plot *p, sl_err *err)
{
    sl_err own = { 0 };
    sl_plot q = *p;
    char name[160], title[256];
    snprintf(name, sizeof name, "%s%s", p->name, d->tag);
    snprintf(title, sizeof title, "%s%s%s%s", p->title, *d->tag ? " (" : "", *d->tag ? d->now : "", *d->tag ? ")" : "");
    q.name = name;
    q.title = title;
    return sl_draw_done(d, sl_plot_write(d->ctx, d->plots, &q, &own), &own, err);
}

sl_status sl_draw_read_curve(sl_drawing *d, const char *tail, const char *arm, const char *x_key, const char *y_key, sl_draw_curve *out, sl_err *err)
{
    int64_t cap = 0, *count;
    const char *name;
    json_t *list, *p;
    size_t k;
    *out = (sl_draw_curve){ 0 };
    json_object_foreach(d->all, name, list)
        cap += (int64_t)json_array_size(list);
    out->x = sl_draw_numbers(d, cap);
    out->y = sl_draw_numbers(d, cap);
    out->lo = sl_draw_numbers(d, cap);
    out->hi = sl_draw_numbers(d, cap);
    count = sl_arena_alloc(d->arena, (size_t)(cap + 1) * sizeof *count);
    if (!out->x || !out->y || !out->lo || !out->hi || !count)
        return sl_fail(err, SL_MEM, "plots", NULL, "no memory for %lld points", (long long)cap);
    json_object_foreach(d->all, name, list) {
        int64_t i = 0;
        if (!is_list(d, name, tail))
            continue;
        json_array_foreach(list, k, p) {
            const char *a = json_string_value(json_object_get(p, "arm"));
            json_t *x = json_object_get(p, x_key), *y = json_object_get(p, y_key);
            if (!a || strcmp(a, arm) != 0 || !json_is_number(x) || !json_is_number(y))
                continue;
            double v = json_number_value(y);
            if (i == out->n) {
                out->x[i] = json_number_value(x);
                out->y[i] = 0;
                out->lo[i] = out->hi[i] = v;
                count[i] = 0;
                out->n++;
            }
            out->y[i] += v;
            out->lo[i] = fmin(out->lo[i], v);
            out->hi[i] = fmax(out->hi[i], v);
            count[i++]++;
        }
    }
    for (int64_t i = 0; i < out->n; i++)
        out->y[i] /= (double)count[i];
    return SL_OK;
}

/* Names of the data sets: what stands before _0_final_info. */
static void find_sets(sl_drawing *d)
{
    static const char TAIL[] = "_0_final_info";
    const char *name;
    json_t *list;
    json_object_foreach(d->all, name, list) {
        size_t n = strlen(name);
        if (n > sizeof TAIL - 1 && strcmp(name + n - (sizeof TAIL - 1), TAIL) == 0 && d->n_sets < SL_DRAW_SETS)
            snprintf(d->set[d->n_sets++], sizeof d->set[0], "%.*s", (int)(n - (sizeof TAIL - 1)), name);
    }
}

static void find_arms(sl_drawing *d)
{
    const char *name;
    json_t *list, *p;
    size_t k;
    d->n_arms = 0;
    json_object_foreach(d->all, name, list) {
        if (!is_list(d, name, "_final_info"))
            continue;
        json_array_foreach(list, k, p) {
            const char *a = json_string_value(json_object_get(p, "arm"));
            int i = 0;
            while (a && i < d->n_arms && strcmp(d->arm[i], a) != 0)
                i++;
            if (a && i == d->n_arms && d->n_arms < SL_DRAW_ARMS)
                snprintf(d->arm[d->n_arms++], sizeof d->arm[0], "%s", a);
        }
    }
}

static sl_status draw_lm(sl_drawing *d, sl_err *err)
{
    sl_draw_curve train, val;
    SL_TRY(sl_draw_read_curve(d, "_train_info", "lm", "iter", "loss", &train, err));
    SL_TRY(sl_draw_read_curve(d, "_val_info", "lm", "iter", "loss", &val, err));
    sl_series s[] = { { .name = "train", .x = train.x, .y = train.y, .n = train.n }, { .name = "validation", .x = val.x, .y = val.y, .n = val.n } };
    sl_plot p = { .name = "lm_loss", .title = "Language model: loss", .x_label = "iteration", .y_label = "cross-entropy (nats per token)",
                  .caption = "Estimated on random windows of each split.", .kind = SL_PLOT_LINES, .series = s, .n_series = 2 };
    return sl_draw_write(d, &p, err);
}

/* tail: which lists, _train_info or _val_info. */
static sl_status draw_sae_curve(sl_drawing *d, const char *tail, const char *key, const char *plot, const char *title, const char *label, bool log_y, sl_err *err)
{
    sl_series s[SL_DRAW_ARMS];
    int n = 0;
    for (int i = 0; i < d->n_arms; i++) {
        sl_draw_curve c;
        SL_TRY(sl_draw_read_curve(d, tail, d->arm[i], "step", key, &c, err));
        if (c.n > 0)
            s[n++] = (sl_series){ .name = d->arm[i], .x = c.x, .y = c.y, .lo = c.lo, .hi = c.hi, .n = c.n };
    }
    sl_plot p = { .name = plot, .title = title, .x_label = "training step", .y_label = label, .caption = "Line: mean of the seeds; band: their range.",
                  .kind = SL_PLOT_LINES, .log_y = log_y, .series = s, .n_series = n };
    return n > 0 ? sl_draw_write(d, &p, err) : SL_OK;
}

/* ---- histograms over the SAEs of an arm: sae-ARM-seedN/FILE ---- */

typedef struct bins { double *x, *y; double dead, n; } bins;

/* A latent that never fired counts as dead. */
static sl_status add_rates(sl_drawing *d, const char *path, const char *key, bins *h, sl_err *err)
{
    sl_tensor t;
    (void)key;
    SL_TRY(sl_npy_read(d->ctx, path, &t, err));
    const float *r = t.data;
    for (int64_t i = 0; t.dtype == SL_F32 && i < sl_numel(&t); i++) {
        int b = r[i] > 0 ? (int)floor((log10((double)r[i]) + 6) * 4) : -1;
        h->n++;
        if (!(r[i] > 0))
            h->dead++;
        else
            h->y[b < 0 ? 0 : b >= RATE_BINS ? RATE_BINS - 1 : b]++;
    }
    sl_free(d->ctx, t.data);
    return SL_OK;
}

static sl_status add_counts(sl_drawing *d, const char *path, const char *key, bins *h, sl_err *err)
{
    json_t *j = NULL, *v;
    size_t i;
    SL_TRY(sl_json_load_file(d->ctx, path, &j, err));
    json_array_foreach(json_object_get(j, key), i, v) {
        h->y[i < SL_DIST_INPUT ? i : SL_DIST_INPUT - 1] += json_number_value(v);
        h->n += json_number_value(v);
    }
    json_decref(j);
    return SL_OK;
}

typedef struct histogram {
    const char *file, *key;
    sl_status (*add)(sl_drawing *d, const char *path, const char *key, bins *h, sl_err *err);
    int n_bins;
    double (*left)(int b);
} histogram;

static double rate_left(int b) { return pow(10, -6 + b / 4.0); }
static double latent_left(int b) { return pow(2, SL_DIST_LATENT_MIN + b / 2.0); }
static double input_left(int b) { return SL_DIST_INPUT_MIN + b * SL_DIST_INPUT_STEP; }

static sl_status arm_bins(sl_drawing *d, const char *arm, const histogram *h, bins *out, sl_err *err)
{
    *out = (bins){ .x = sl_draw_numbers(d, SL_DIST_INPUT), .y = sl_draw_numbers(d, SL_DIST_INPUT) };
    DIR *folder = opendir(d->dir);
    if (!out->x || !out->y || !folder) {
        if (folder)
            closedir(folder);
        return sl_fail(err, !folder ? SL_IO : SL_MEM, d->dir, NULL, "cannot read %s", h->file);
    }
    for (int b = 0; b < h->n_bins; b++) {
        out->x[b] = h->left(b);
        out->y[b] = 0;
    }
    char prefix[160], path[SL_PATH + 300];
    sl_results_folder(prefix, sizeof prefix, *d->tag ? d->now : "", arm, 0);
    prefix[strlen(prefix) - 1] = 0; /* any seed */
    sl_status st = SL_OK;
    for (struct dirent *e; st == SL_OK && (e = readdir(folder));) {
        if (strncmp(e->d_name, prefix, strlen(prefix)) != 0)
            continue;
        snprintf(path, sizeof path, "%s/%s/%s", d->dir, e->d_name, h->file);
        if (sl_path_exists(path)) /* baselines have no histograms */
            st = h->add(d, path, h->key, out, err);
    }
    closedir(folder);
    for (int b = 0; b < h->n_bins; b++)
        out->y[b] /= out->n > 0 ? out->n : 1;
    return st;
}

static sl_status draw_rates(sl_drawing *d, sl_err *err)
{
    static const histogram H = { "firing_rates.npy", NULL, add_rates, RATE_BINS, rate_left };
    sl_series s[SL_DRAW_ARMS];
    char name[SL_DRAW_ARMS][96];
    for (int i = 0; i < d->n_arms; i++) {
        bins b;
        SL_TRY(arm_bins(d, d->arm[i], &H, &b, err));
        snprintf(name[i], sizeof name[i], "%s (%.1f%% never fired)", d->arm[i], b.n > 0 ? 100 * b.dead / b.n : 0);
        s[i] = (sl_series){ .name = name[i], .x = b.x, .y = b.y, .n = RATE_BINS };
    }
    sl_plot p = { .name = "firing_rates", .title = "How often latents fire", .x_label = "firing rate (share of held-out rows)",
                  .y_label = "share of latents", .caption = "Held-out rows, quarter-decade bins; all seeds together.", .kind = SL_PLOT_STEPS, .log_x = true,
                  .series = s, .n_series = d->n_arms };
    return sl_draw_write(d, &p, err);
}

static sl_status draw_distributions(sl_drawing *d, sl_err *err)
{
    static const histogram LATENT = { "distributions.json", "latent", add_counts, SL_DIST_LATENT, latent_left };
    static const histogram INPUT = { "distributions.json", "input", add_counts, SL_DIST_INPUT, input_left };
    sl_series s[SL_DRAW_ARMS];
    bins b;
    for (int i = 0; i < d->n_arms; i++) {
        SL_TRY(arm_bins(d, d->arm[i], &LATENT, &b, err));
        s[i] = (sl_series){ .name = d->arm[i], .x = b.x, .y = b.y, .n = SL_DIST_LATENT };
    }
    sl_plot p = { .name = "latent_activations", .title = "How strongly latents fire", .x_label = "activation of a firing latent (normalised units)",
                  .y_label = "share of firings", .caption = "Held-out rows, half-octave bins; all seeds together.", .kind = SL_PLOT_STEPS,
                  .log_x = true, .series = s, .n_series = d->n_arms };
    SL_TRY(sl_draw_write(d, &p, err));
    if (*d->tag) /* of the text only */
        return SL_OK;
    SL_TRY(arm_bins(d, d->arm[0], &INPUT, &b, err)); /* the same rows for every arm */
    sl_series one = { .name = "residual stream", .x = b.x, .y = b.y, .n = SL_DIST_INPUT };
    sl_plot q = { .name = "activation_distribution", .title = "Residual stream: distribution of activations", .x_label = "(x - mean) * scale",
                  .y_label = "share of values", .caption = "Held-out text, every dimension; the outermost bins hold what lies beyond.",
                  .kind = SL_PLOT_STEPS, .log_y = true, .series = &one, .n_series = 1 };
    return sl_draw_write(d, &q, err);
}

/* Training curves and distributions of one data set. */
static sl_status draw_set(sl_drawing *d, sl_err *err)
{
    find_arms(d);
    if (d->n_arms == 0)
        return SL_OK;
    SL_TRY(draw_sae_curve(d, "_train_info", "fvu", "sae_fvu", "Sparse autoencoders: unexplained variance", "FVU (training batches)", true, err));
    SL_TRY(draw_sae_curve(d, "_train_info", "l0", "sae_l0", "Sparse autoencoders: active latents", "L0 (latents per row)", true, err));
    SL_TRY(draw_sae_curve(d, "_train_info", "eps", "noise_eps", "Magnitude of the training noise", "eps (share of |x|)", true, err));
    SL_TRY(draw_sae_curve(d, "_train_info", "fss", "noise_fss", "Stability while training", "FSS of the batch under its own noise", false, err));
    SL_TRY(draw_sae_curve(d, "_val_info", "fss", "stop_fss", "Early stopping: stability of held-out codes", "FSS under the same noise at every check", false, err));
    SL_TRY(draw_sae_curve(d, "_val_info", "fvu", "stop_fvu", "Early stopping: fidelity on held-out rows", "FVU", true, err));
    SL_TRY(draw_rates(d, err));
    SL_TRY(draw_distributions(d, err));
    SL_TRY(draw_sae_curve(d, "_train_info", "attention_entropy", "attention_entropy", "How widely latents attend", "entropy of a row of attention (nats)", false, err));
    SL_TRY(draw_sae_curve(d, "_train_info", "diversity_loss", "diversity_loss", "How alike compositions are", "mean squared correlation", true, err));
    SL_TRY(sl_draw_arms(d, err));
    SL_TRY(sl_draw_compositions(d, err));
    SL_TRY(sl_draw_stability(d, err));
    return sl_draw_robustness(d, err);
}

static sl_status draw_all(sl_drawing *d, sl_err *err)
{
    SL_TRY(sl_dir_make(d->plots, err));
    find_sets(d);
    for (int s = 0; s < d->n_sets; s++) {
        d->now = d->set[s];
        d->is_world = s > 0;
        snprintf(d->tag, sizeof d->tag, "%s%s", s ? "_" : "", s ? d->now : "");
        if (s == 0)
            SL_TRY(draw_lm(d, err));
        SL_TRY(draw_set(d, err));
    }
    return sl_report_run(d->ctx, d->dir, err);
}

/* The lines of results.jsonl that can be read. */
static json_t *read_records(sl_ctx *ctx, const char *dir)
{
    char path[SL_PATH + 32], *text = NULL, *save = NULL;
    size_t n;
    json_t *all = json_array();
    snprintf(path, sizeof path, "%.1000s/results.jsonl", dir);
    if (sl_file_read(ctx, path, &text, &n, NULL) != SL_OK)
        return all;
    for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        json_t *r = json_loads(line, 0, NULL);
        if (r)
            json_array_append_new(all, r);
    }
    sl_free(ctx, text);
    return all;
}

sl_status sl_draw_run(sl_ctx *ctx, const char *dir, sl_err *err)
{
    sl_drawing d = { .ctx = ctx, .dir = dir };
    char path[SL_PATH + 32];
    snprintf(d.plots, sizeof d.plots, "%.1000s/plots", dir);
    snprintf(path, sizeof path, "%s/all_results.json", dir);
    SL_TRY(sl_json_load_file(ctx, path, &d.all, err));
    d.records = read_records(ctx, dir);
    d.arena = sl_arena_new(ctx, 1 << 16);
    sl_status st = d.arena ? draw_all(&d, err) : sl_fail(err, SL_MEM, dir, NULL, "no memory for the plots");
    sl_arena_free(d.arena);
    json_decref(d.all);
    json_decref(d.records);
    return st;
}
