/* The end of a sweep: every SAE measured, the table, and the frontier of l0 against fidelity. */
#include "cmd_sae.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { EVAL_ROWS = 16384, EVAL_TOKENS = 20000 };

/* ---- measuring ---- */

static double metric(const member *m, const char *name)
{
    const sl_metric *v = sl_metrics_get(&m->m, name);
    return v && !v->is_null ? v->value : NAN;
}

void sweep_held_out(const train_cfg *base, const sweep *w, const member *m, char dir[DIR + 200])
{
    snprintf(dir, DIR + 200, w->n_inputs > 1 ? "%.1000s/held_out/%.200s" : "%.1000s/held_out", base->out_dir, m->in->acts->info.hook);
}

static sl_status measure_rows(cli *c, const train_cfg *base, const sweep *w, member *m, sl_err *err)
{
    char dir[DIR + 200];
    sl_act_source *held = NULL;
    if (base->lm && !base->world && base->held_out > 0) {
        sweep_held_out(base, w, m, dir);
        SL_TRY(sl_acts_open(c->ctx, dir, false, &held, err));
    }
    sl_status st = sl_eval_rows(c->ctx, m->sae, held ? held : m->in->acts, EVAL_ROWS, &m->m, NULL, err);
    sl_act_source_free(held);
    return st;
}

static sl_status measure_all(cli *c, sweep *w, sl_err *err)
{
    const train_cfg *base = c->cfg;
    sl_lm *lm = NULL;
    sl_status st = SL_OK;
    bool splice = base->lm && !base->world;
    if (splice)
        SL_TRY(sl_lm_load(c->ctx, base->lm, &lm, NULL, err));
    for (int i = 0; st == SL_OK && i < w->n; i++) {
        member *m = &w->member[i];
        int64_t first, end;
        if (m->run.status != SL_OK)
            continue;
        st = measure_rows(c, base, w, m, err);
        if (st == SL_OK && splice) {
            split_docs(&m->in->corpus, SPLIT_VAL, &first, &end);
            st = sl_eval_splice(c->ctx, lm, m->sae, m->in->acts->info.hook, &m->in->corpus, first, end, EVAL_TOKENS, &m->m, err);
        }
        sl_progress(c->ctx, "measure", i + 1, w->n, "SAEs", NULL);
    }
    sl_lm_free(lm);
    return st;
}

static sl_status find_front(sweep *w, sl_err *err)
{
    sl_point p[MOST_MEMBERS];
    int of[MOST_MEMBERS];
    int64_t front[MOST_MEMBERS], n = 0, n_front = 0;
    for (int i = 0; i < w->n; i++)
        if (isfinite(metric(&w->member[i], "l0")) && isfinite(metric(&w->member[i], "fvu"))) {
            of[n] = i;
            p[n++] = (sl_point){ metric(&w->member[i], "l0"), metric(&w->member[i], "fvu") };
        }
    if (n > 0)
        SL_TRY(sl_pareto(p, n, front, &n_front, err));
    for (int64_t i = 0; i < n_front; i++)
        w->member[of[front[i]]].front = true;
    return SL_OK;
}

/* ---- the report ---- */

enum { COLS = 6, CELL = 160 };

static void table(cli *c, const sweep *w)
{
    static const char *const head[COLS] = { "SAE", "L0", "FVU", "CE_DELTA", "DEAD", "FRONT" };
    static const char *const of[COLS] = { NULL, "l0", "fvu", "ce_delta", "dead", NULL };
    const char **cells = calloc((size_t)(w->n + 1) * COLS, sizeof *cells);
    char(*text)[COLS][CELL] = calloc((size_t)w->n, sizeof *text);
    if (cells && text)
        memcpy(cells, head, sizeof head);
    for (int i = 0; cells && text && i < w->n; i++) {
        const member *m = &w->member[i];
        for (int k = 1; k < COLS - 1; k++)
            snprintf(text[i][k], CELL, isfinite(metric(m, of[k])) ? "%.4g" : "-", metric(m, of[k]));
        snprintf(text[i][COLS - 1], CELL, "%.150s", m->run.status != SL_OK ? m->run.err.msg : m->front ? "*" : "");
        for (int k = 0; k < COLS; k++)
            cells[(i + 1) * COLS + k] = k ? text[i][k] : m->name;
    }
    if (cells && text)
        say_table(c, true, w->n + 1, COLS, cells);
    free(cells);
    free(text);
}

static int by_l0(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* One series a variant, by rising l0. */
static sl_status plot(cli *c, const sweep *w, const char *name, const char *y, const char *label, sl_err *err)
{
    const train_cfg *base = c->cfg;
    static const char CAPTION[] = "One point an SAE; below and to the left is better.";
    double xy[2][MOST_MEMBERS];
    sl_series s[MOST_MEMBERS];
    int n_series = 0, n = 0;
    for (int i = 0; i < w->n; i++) {
        bool seen = false;
        double point[MOST_MEMBERS][2];
        int first = n, k = 0;
        for (int j = 0; j < i; j++)
            seen = seen || w->member[j].v == w->member[i].v;
        for (int j = i; !seen && j < w->n; j++)
            if (w->member[j].v == w->member[i].v && isfinite(metric(&w->member[j], "l0"))) {
                point[k][0] = metric(&w->member[j], "l0");
                point[k++][1] = metric(&w->member[j], y);
            }
        qsort(point, (size_t)k, sizeof *point, by_l0);
        for (int j = 0; j < k; j++, n++) {
            xy[0][n] = point[j][0];
            xy[1][n] = point[j][1];
        }
        if (k > 0)
            s[n_series++] = (sl_series){ .name = w->member[i].v->name, .x = xy[0] + first, .y = xy[1] + first, .n = k };
    }
    char dir[1200];
    snprintf(dir, sizeof dir, "%.1000s/plots", base->out_dir);
    sl_plot p = { .name = name, .title = "Sparsity and fidelity", .x_label = "l0 (active latents a row)", .y_label = label,
                  .caption = CAPTION, .kind = SL_PLOT_POINTS, .log_x = true,
                  .series = s, .n_series = n_series };
    sl_status st = sl_plot_write(c->ctx, dir, &p, err);
    if (st == SL_UNAVAILABLE) {
        sl_log(c->ctx, SL_LOG_WARN, "no picture, only its data: %s", err->msg);
        return SL_OK;
    }
    return st;
}

static json_t *sweep_json(const sweep *w, const char *dir, double seconds, double wait)
{
    json_t *list = json_array();
    for (int i = 0; i < w->n; i++) {
        const member *m = &w->member[i];
        json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:o, s:o, s:o, s:o, s:b, s:o}", "name", m->name, "sae", m->dir, "variant", m->v->name, "l0",
                                              json_real_or_null(metric(m, "l0")), "fvu", json_real_or_null(metric(m, "fvu")), "ce_delta",
                                              json_real_or_null(metric(m, "ce_delta")), "dead", json_real_or_null(metric(m, "dead")), "front",
                                              (int)m->front, "failed", m->run.status == SL_OK ? json_null() : json_string(m->run.err.msg)));
    }
    return json_pack("{s:s, s:o, s:o, s:o}", "sweep", dir, "saes", list, "seconds", json_real_or_null(seconds), "wait_share", json_real_or_null(wait));
}

sl_status sweep_report(cli *c, sweep *w, double seconds, sl_err *err)
{
    const train_cfg *base = c->cfg;
    char b[32];
    double wait = NAN;
    bool ce = false;
    SL_TRY(measure_all(c, w, err));
    SL_TRY(find_front(w, err));
    for (int i = 0; i < w->n; i++) {
        ce = ce || isfinite(metric(&w->member[i], "ce_delta"));
        if (!w->member[i].done && w->member[i].run.status == SL_OK)
            wait = w->member[i].run.result.wait_share;
    }
    say(c, "%s: %d SAEs in %s, %.1f%% of it waiting for rows; measured on %s rows\n", base->out_dir, w->n, text_time(b, seconds), isfinite(wait) ? 100 * wait : 0,
        base->lm && !base->world && base->held_out > 0 ? "held-out" : "training");
    table(c, w);
    SL_TRY(plot(c, w, "frontier_fvu", "fvu", "fvu", err));
    if (ce)
        SL_TRY(plot(c, w, "frontier_ce", "ce_delta", "ce_delta (nats)", err));
    c->result = sweep_json(w, base->out_dir, seconds, wait);
    next_step(c, "saelab sae info %s", w->member[0].dir);
    return training_done(c, base->out_dir, err);
}
