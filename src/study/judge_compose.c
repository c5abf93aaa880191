/* Does an SAE compose? sl_eval_composition on the held-out rows of a data set, and what its pictures and cards are drawn from in composition.json:
 * latents by names that mean something (a true feature, or the token that they fire on), compositions with their pairs and contexts. */
#include "study/compose_words.h"

#include <math.h>

/* Rows of the test stream, or of those with withheld combinations. */
static sl_status gather(sl_run *r, const sl_ground *g, const sl_trained *t, const sl_coder *coder, int rows, sl_gathered *out, sl_err *err)
{
    const sl_world_truth *truth = g->world ? sl_world_truth_of(g->world) : NULL;
    int64_t n = sl_ground_eval_rows(r, g), most = sl_composition_defaults().max_rows;
    sl_act_source *src = NULL;
    SL_TRY(sl_ground_open(r, g, rows, t, &src, err));
    sl_status st = sl_gather(r->ctx, coder, src, n < most ? n : most, truth ? truth->n : 0, out, err);
    sl_act_source_free(src);
    SL_TRY(st);
    if (truth) {
        out->data.n_truth = truth->n;
        out->data.truth = truth->d == out->data.d_in ? truth->dir : NULL;
    }
    return SL_OK;
}

/* ---- composition.json ---- */

static json_t *heat_json(const sl_words *w, const sl_composition_unit *u)
{
    json_t *names = json_array(), *rows = json_array();
    for (int32_t i = 0; i < u->n_heat; i++) {
        json_t *row = json_array();
        for (int32_t j = 0; j < u->n_heat; j++)
            json_array_append_new(row, json_real((double)u->heat[i][j]));
        json_array_append_new(rows, row);
        json_array_append_new(names, sl_words_latent(w, u->heat_feature[i]));
    }
    return json_pack("{s:o, s:o}", "names", names, "rows", rows);
}

static json_t *pairs_json(const sl_words *w, const sl_composition_unit *u)
{
    json_t *all = json_array();
    for (int32_t k = 0; k < u->n_pairs; k++)
        json_array_append_new(all, json_pack("{s:o, s:o, s:f, s:o}", "i", sl_words_latent(w, u->pair[k].i), "j", sl_words_latent(w, u->pair[k].j), "attribution",
                                             u->pair[k].attribution, "index", isfinite(u->pair[k].index) ? json_real(u->pair[k].index) : json_null()));
    return all;
}

static json_t *unit_json(const sl_words *w, const sl_composition_unit *u)
{
    json_t *who = json_array(), *rows = json_array();
    for (int32_t k = 0; k < u->n_participants; k++)
        json_array_append_new(who, json_pack("{s:i, s:o, s:f}", "latent", (int)u->participant[k], "name", sl_words_latent(w, u->participant[k]), "share", u->share[k]));
    for (int32_t k = 0; k < u->n_rows; k++)
        json_array_append_new(rows, json_pack("{s:f, s:o}", "value", u->top[k].value, "text", sl_words_row(w, u->top[k].row)));
    return json_pack("{s:i, s:I, s:o, s:f, s:o, s:o, s:o, s:o}", "q", (int)u->q, "fired", (json_int_t)u->fired, "relation", sl_words_relation(w, u->relation), "phi",
                     u->phi, "participants", who, "heat", heat_json(w, u), "pairs", pairs_json(w, u), "rows", rows);
}

static json_t *attention_json(const sl_words *w, const sl_composition_pictures *p)
{
    json_t *names = json_array(), *heads = json_array();
    int64_t n = p->n_attention;
    for (int64_t i = 0; i < n; i++)
        json_array_append_new(names, sl_words_latent(w, p->attention_feature[i]));
    for (int64_t h = 0; n > 0 && h < p->n_head; h++) {
        json_t *rows = json_array();
        for (int64_t i = 0; i < n; i++) {
            json_t *row = json_array();
            for (int64_t j = 0; j < n; j++) {
                double v = (double)p->attention[(h * n + i) * n + j];
                json_array_append_new(row, isfinite(v) ? json_real(v) : json_null());
            }
            json_array_append_new(rows, row);
        }
        json_array_append_new(heads, rows);
    }
    return json_pack("{s:o, s:o}", "names", names, "heads", heads);
}

static void label(void *user, int32_t latent, char text[64])
{
    json_t *name = sl_words_latent(user, latent);
    snprintf(text, 64, "%.63s", json_string_value(name) ? json_string_value(name) : "?");
    json_decref(name);
}

static sl_status pictures_json(sl_run *r, const sl_words *w, const sl_composition_pictures *p, json_t **out, sl_err *err)
{
    char *dot = NULL;
    if (p->n_units > 0)
        SL_TRY(sl_composition_dot(r->ctx, p, label, (void *)(uintptr_t)w, &dot, err));
    json_t *units = json_array(), *reuse = json_array();
    for (int64_t u = 0; u < p->n_units; u++)
        json_array_append_new(units, unit_json(w, &p->unit[u]));
    for (int64_t j = 0; p->reuse && j < p->d_sae; j++)
        json_array_append_new(reuse, sl_words_fires(w, (int32_t)j) ? json_integer(p->reuse[j]) : json_null());
    *out = json_pack("{s:o, s:o, s:o, s:o}", "units", units, "reuse", reuse, "attention", attention_json(w, p), "dot", dot ? json_string(dot) : json_null());
    sl_free(r->ctx, dot);
    return SL_OK;
}

/* ---- the entry ---- */

sl_status sl_judge_composition(sl_run *r, const sl_ground *g, const sl_trained *t, sl_sae *sae, const sl_coder *coder, const char *dir, sl_metrics *m, sl_err *err)
{
    sl_gathered test = { 0 }, ood = { 0 };
    sl_composition_pictures pictures = { 0 };
    sl_composition_opts o = sl_composition_defaults();
    sl_words words = { .ctx = r->ctx };
    json_t *j = NULL;
    bool has_ood = g->world && g->set->world->has_ood;
    sl_status st;
    SL_GO(gather(r, g, t, coder, SL_ROWS_TEST, &test, err));
    if (has_ood)
        SL_GO(gather(r, g, t, coder, SL_ROWS_OOD, &ood, err));
    sl_composition_input in = { &test.data, has_ood ? &ood.data : NULL, g->world ? sl_world_truth_of(g->world) : NULL };
    SL_GO(sl_eval_composition(r->ctx, sae, &in, &o, m, &pictures, err));
    SL_GO(sl_words_new(r, g, &test, &words, err));
    SL_GO(pictures_json(r, &words, &pictures, &j, err));
    st = sl_run_save(r->ctx, dir, "composition.json", j, err);
done:
    sl_words_release(&words);
    sl_composition_pictures_release(r->ctx, &pictures);
    sl_gathered_release(r->ctx, &ood);
    sl_gathered_release(r->ctx, &test);
    return st;
}
