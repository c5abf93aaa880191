/* Names for latents and texts for rows of compositions. */
#include "study/compose_words.h"

#include <math.h>
#include <string.h>

enum { TEXT = 400, BEFORE = 24, AFTER = 8, MOST_FEATURES = 12 };
#define LEAST_PHI .5

/* ---- what a latent stands for ---- */

/* Matthews correlation of two binary variables from counts: rows, with a, with b, with both. */
static double phi_of(double n, double a, double b, double both)
{
    double spread = sqrt(a * (n - a)) * sqrt(b * (n - b));
    return spread > 0 ? (n * both - a * b) / spread : 0;
}

/* sum [d_sae, n] over rows of latents times what the row has: 1 a true feature, or the latent's value at a token. */
static void add_rows(const sl_words *w, int64_t n, double *sum, int64_t *has)
{
    const sl_eval_data *d = &w->rows->data;
    for (int64_t r = 0; r < d->n_rows; r++) {
        int64_t first = w->truth ? d->g.row_ptr[r] : 0, end = w->truth ? d->g.row_ptr[r + 1] : 1;
        for (int64_t e = first; e < end; e++) {
            int64_t f = w->truth ? d->g.idx[e] : w->rows->token[r];
            if (f < 0 || f >= n)
                continue;
            has[f]++;
            for (int64_t k = d->z.row_ptr[r]; k < d->z.row_ptr[r + 1]; k++)
                sum[d->z.idx[k] * n + f] += w->truth ? 1 : (double)d->z.val[k];
        }
    }
}

static void choose(const sl_words *w, int64_t n, const double *sum, const int64_t *has)
{
    const sl_eval_data *d = &w->rows->data;
    for (int64_t j = 0; j < d->d_sae; j++) {
        double best = w->truth ? LEAST_PHI : 0;
        w->meaning[j] = -1;
        for (int64_t f = 0; f < n; f++) {
            double v = w->truth ? phi_of((double)d->n_rows, (double)w->fired[j], (double)has[f], sum[j * n + f]) : sum[j * n + f];
            if (v > best) {
                best = v;
                w->meaning[j] = (int32_t)f;
            }
        }
    }
}

static sl_status find_meanings(sl_words *w, int64_t n, sl_err *err)
{
    const sl_eval_data *d = &w->rows->data;
    double *sum = sl_alloc(w->ctx, (size_t)(d->d_sae * n) * sizeof *sum);
    int64_t *has = sl_alloc(w->ctx, (size_t)n * sizeof *has);
    sl_status st = sum && has ? SL_OK : sl_fail(err, SL_MEM, "composition", NULL, "no memory for the names of %lld latents", (long long)d->d_sae);
    if (st == SL_OK) {
        add_rows(w, n, sum, has);
        choose(w, n, sum, has);
    }
    sl_free(w->ctx, has);
    sl_free(w->ctx, sum);
    return st;
}

sl_status sl_words_new(sl_run *r, const sl_ground *g, const sl_gathered *rows, sl_words *out, sl_err *err)
{
    const sl_eval_data *d = &rows->data;
    size_t m = (size_t)d->d_sae;
    *out = (sl_words){ .ctx = r->ctx, .rows = rows, .world = g->world, .truth = g->world && d->g.row_ptr ? sl_world_truth_of(g->world) : NULL };
    if (!g->world) {
        SL_TRY(sl_run_corpus(r, err));
        out->corpus = &r->corpus;
    }
    out->meaning = sl_alloc(r->ctx, m * sizeof *out->meaning);
    out->fired = sl_alloc(r->ctx, m * sizeof *out->fired);
    if (!out->meaning || !out->fired)
        return sl_fail(err, SL_MEM, "composition", NULL, "no memory for the names of latents");
    for (int64_t e = 0; e < d->z.row_ptr[d->n_rows]; e++)
        out->fired[d->z.idx[e]] += d->z.val[e] > 0;
    for (size_t j = 0; j < m; j++)
        out->meaning[j] = -1;
    int64_t n = out->truth ? out->truth->n : out->corpus && rows->token ? sl_tok_vocab(out->corpus->tok) : 0;
    return n > 0 ? find_meanings(out, n, err) : SL_OK;
}

void sl_words_release(sl_words *w)
{
    sl_free(w->ctx, w->meaning);
    sl_free(w->ctx, w->fired);
    *w = (sl_words){ .ctx = w->ctx };
}

bool sl_words_fires(const sl_words *w, int32_t latent) { return w->fired[latent] > 0; }

/* ---- texts ---- */

/* Appends what fits. Bytes that would not print become a space; parts of UTF-8 characters of byte tokenizers are left to the reader of JSON. */
static void add(char text[TEXT], const char *s, size_t n)
{
    size_t used = strlen(text);
    for (size_t i = 0; i < n && used + 1 < TEXT; i++)
        text[used++] = s[i] == '\n' ? ' ' : (unsigned char)s[i] < 32 || (unsigned char)s[i] > 126 ? '?' : s[i];
    text[used] = 0;
}

static void add_text(char text[TEXT], const char *s) { add(text, s, strlen(s)); }

json_t *sl_words_latent(const sl_words *w, int32_t latent)
{
    char text[TEXT] = "";
    int32_t f = w->meaning[latent];
    if (f >= 0 && w->truth) {
        add_text(text, w->truth->feature[f].name);
    } else if (f >= 0) {
        size_t n;
        const char *piece = sl_tok_piece(w->corpus->tok, f, &n);
        add_text(text, n == 1 && *piece == '\n' ? "newline" : "'");
        if (n != 1 || *piece != '\n') {
            add(text, piece, n);
            add_text(text, "'");
        }
    }
    snprintf(text + strlen(text), TEXT - strlen(text), "%s%d", *text ? " #" : "#", (int)latent);
    return json_string(text);
}

/* The text about a token, which stands in brackets. */
static void corpus_row(const sl_words *w, int64_t row, char text[TEXT])
{
    const sl_eval_data *d = &w->rows->data;
    int64_t at = w->corpus->doc[d->doc[row]] + d->pos[row], first = w->corpus->doc[d->doc[row]], end = w->corpus->doc[d->doc[row] + 1];
    for (int64_t i = at - BEFORE < first ? first : at - BEFORE; i < end && i <= at + AFTER; i++) {
        size_t n;
        const char *piece = sl_tok_piece(w->corpus->tok, w->corpus->ids[i], &n);
        add_text(text, i == at ? "[" : "");
        add(text, piece, n);
        add_text(text, i == at ? "]" : "");
    }
}

/* The words of a task's instance, up to the position. */
static bool task_row(const sl_words *w, int64_t row, char text[TEXT])
{
    const sl_eval_data *d = &w->rows->data;
    const sl_task_info *task = sl_world_task(w->world);
    size_t T = (size_t)task->T;
    int32_t *tokens = sl_alloc(w->ctx, T * sizeof *tokens);
    uint8_t *uses = sl_alloc(w->ctx, T);
    bool good = tokens && uses && sl_task_instances(w->world, SL_WORLD_TEST, d->doc[row], 1, tokens, uses, NULL) == SL_OK;
    for (int64_t p = 1; good && p < task->T && (p <= d->pos[row] || tokens[p] != 0); p++) {
        add_text(text, p == d->pos[row] ? " [" : " ");
        add_text(text, task->word[tokens[p]]);
        add_text(text, p == d->pos[row] ? "]" : "");
    }
    sl_free(w->ctx, uses);
    sl_free(w->ctx, tokens);
    return good;
}

/* True features that are on and how much: a superposition world's rows have nothing else to show. */
static void features_row(const sl_words *w, int64_t row, char text[TEXT])
{
    const sl_sparse *g = &w->rows->data.g;
    for (int64_t e = g->row_ptr[row]; e < g->row_ptr[row + 1] && e < g->row_ptr[row] + MOST_FEATURES; e++) {
        char one[64];
        snprintf(one, sizeof one, "%s%s %.2f", e > g->row_ptr[row] ? ", " : "", w->truth->feature[g->idx[e]].name, (double)g->val[e]);
        add_text(text, one);
    }
}

json_t *sl_words_row(const sl_words *w, int64_t row)
{
    char text[TEXT] = "";
    const sl_eval_data *d = &w->rows->data;
    if (w->corpus && d->doc && d->pos)
        corpus_row(w, row, text);
    else if (w->world && sl_world_task(w->world) && d->doc && d->pos && task_row(w, row, text))
        ;
    else if (w->truth)
        features_row(w, row, text);
    return json_string(text);
}

json_t *sl_words_relation(const sl_words *w, int32_t relation)
{
    char text[TEXT] = "";
    if (relation < 0 || !w->truth)
        return json_null();
    if (relation >= w->truth->n_sets)
        return json_string(w->truth->feature[relation - w->truth->n_sets].name);
    const sl_world_set *s = &w->truth->set[relation];
    for (int32_t k = 0; k < s->order; k++) {
        add_text(text, k ? " + " : "");
        add_text(text, w->truth->feature[s->feature[k]].name);
    }
    return json_string(text);
}
