/* Evaluation of a fit against the truth of its world. result.json:
 *   {metrics: {NAME: {value, n, floor, ...} | {value: null, reason}}, absorb: [by feature, null: none], matched: [0 or 1], achieved: mean |delta| / |x|} */
#include "study/confirm.h"

#include "sae/variant.h"

#include <saelab/compose_eval.h>
#include <saelab/measure.h>

#include <math.h>
#include <string.h>

typedef struct subject {
    sl_run *r;
    const sl_confirm *c;
    sl_fit *f;
    sl_sae *sae;
    sl_baseline *baseline;
    sl_coder coder;
    sl_metrics m;
    sl_gathered rows;           /* held-out rows with codes and truth */
    const sl_world_truth *truth;
    json_t *more;               /* what stands beside the metrics */
} subject;

static sl_status open_subject(subject *s, sl_err *err)
{
    char path[SL_PATH + 16];
    const sl_fit *f = s->f;
    snprintf(path, sizeof path, "%s/model", f->t.sae.dir);
    s->truth = sl_world_truth_of(s->r->ground[0].world);
    if (f->is.baseline) {
        SL_TRY(sl_baseline_load(s->r->ctx, path, &s->baseline, err));
        s->coder = sl_baseline_coder(s->baseline);
        return SL_OK;
    }
    SL_TRY(sl_sae_load(s->r->ctx, path, &s->sae, err));
    s->coder = sl_coder_of(s->sae);
    return SL_OK;
}

static sl_status open_rows(const subject *s, int which, sl_act_source **out, sl_err *err)
{
    return sl_ground_open(s->r, &s->r->ground[0], which, &s->f->t, out, err);
}

static int64_t n_rows(const subject *s) { return s->r->ground[0].set->size.eval_rows; }

static sl_status on_rows(subject *s, sl_err *err)
{
    sl_act_source *rows = NULL;
    SL_TRY(open_rows(s, SL_ROWS_TEST, &rows, err));
    sl_status st = sl_eval_coder_rows(s->r->ctx, &s->coder, rows, n_rows(s), &s->m, NULL, err);
    sl_act_source_free(rows);
    return st;
}

static void add_truth(const subject *s, sl_gathered *g)
{
    g->data.n_truth = s->truth->n;
    g->data.truth = s->truth->d == g->data.d_in ? s->truth->dir : NULL;
    g->data.parent = s->truth->parent && s->truth->n_in_tree ? s->truth->parent : NULL;
}

static sl_status gather(const subject *s, int which, sl_gathered *out, sl_err *err)
{
    sl_act_source *rows = NULL;
    SL_TRY(open_rows(s, which, &rows, err));
    sl_status st = sl_gather(s->r->ctx, &s->coder, rows, n_rows(s), s->truth->n, out, err);
    sl_act_source_free(rows);
    add_truth(s, out);
    return st;
}

static sl_status against_truth(subject *s, sl_err *err)
{
    static const char *const families[] = { "directions", "firing", "selected", "hierarchy", "splitting", NULL };
    SL_TRY(gather(s, SL_ROWS_TEST, &s->rows, err));
    return sl_measure(s->r->ctx, &s->rows.data, NULL, families, &s->m, err);
}

/* ---- absorption by parent, and with twice the latents ---- */

static sl_status put_parents(subject *s, sl_err *err)
{
    int64_t n = s->truth->n;
    double *score = sl_alloc(s->r->ctx, (size_t)n * sizeof *score);
    uint8_t *matched = sl_alloc(s->r->ctx, (size_t)n);
    sl_status st = score && matched ? sl_absorption_by_parent(s->r->ctx, &s->rows.data, score, matched, err) : sl_fail(err, SL_MEM, "absorption", NULL, "no memory for parents");
    json_t *by = json_array(), *found = json_array();
    for (int64_t g = 0; g < n && st == SL_OK; g++) {
        json_array_append_new(by, isfinite(score[g]) ? json_real(score[g]) : json_null());
        json_array_append_new(found, json_integer(matched[g]));
    }
    json_object_set_new(s->more, "absorb", by);
    json_object_set_new(s->more, "matched", found);
    sl_free(s->r->ctx, score);
    sl_free(s->r->ctx, matched);
    return st;
}

/* The SAE with another number of active latents: the k largest positive pre-activations. */
typedef struct more_active { sl_linear_encoder e; double *x, *a; uint8_t *on; } more_active;

static sl_status encode_more(void *self, const float *x, int64_t n, sl_codes *z, float *xhat, sl_err *err)
{
    more_active *m = self;
    (void)xhat;
    z->row_ptr[0] = 0;
    for (int64_t r = 0; r < n; r++) {
        int64_t at = z->row_ptr[r];
        for (int64_t i = 0; i < m->e.d_in; i++)
            m->x[i] = (double)x[r * m->e.d_in + i];
        if (at + sl_linear_support(&m->e, m->x, m->a, m->on) > z->capacity)
            return sl_fail(err, SL_SHAPE, "codes", NULL, "no room for more active latents");
        for (int32_t j = 0; j < m->e.d_sae; j++)
            if (m->on[j]) {
                z->idx[at] = j;
                z->val[at++] = (float)m->a[j];
            }
        z->row_ptr[r + 1] = at;
    }
    return SL_OK;
}

/* absorb_2k: `absorb` of the same SAE with twice its realised l0: a k below the true l0 confounds it (science.md G3). */
static sl_status put_absorb_2k(subject *s, sl_err *err)
{
    sl_ctx *ctx = s->r->ctx;
    more_active m = { 0 };
    sl_gathered again = { 0 };
    sl_metrics own = { 0 };
    static const char *const family[] = { "hierarchy", NULL };
    const sl_metric *l0 = sl_metrics_get(&s->m, "l0");
    sl_status st;
    if (!s->sae || !l0 || l0->is_null)
        return sl_metrics_null(ctx, &s->m, "absorb_2k", "no encoder, or no latent fires", err);
    SL_GO(sl_linear_encoder_of(s->sae, &m.e, err));
    m.e.k = (int64_t)llround(fmax(1, 2 * l0->value));
    m.e.k = m.e.k < m.e.d_sae ? m.e.k : m.e.d_sae;
    m.x = sl_alloc(ctx, (size_t)m.e.d_in * sizeof *m.x);
    m.a = sl_alloc(ctx, (size_t)m.e.d_sae * sizeof *m.a);
    m.on = sl_alloc(ctx, (size_t)m.e.d_sae);
    if (!m.x || !m.a || !m.on)
        SL_GO(sl_fail(err, SL_MEM, "absorb_2k", NULL, "no memory for a row"));
    sl_coder coder = s->coder;
    coder.self = &m;
    coder.encode = encode_more;
    coder.max_active = m.e.k;
    SL_GO(sl_gather_again(ctx, &coder, &s->rows, &again, err));
    SL_GO(sl_measure(ctx, &again.data, NULL, family, &own, err));
    const sl_metric *a = sl_metrics_get(&own, "absorb");
    if (a && !a->is_null)
        SL_GO(sl_metrics_put(ctx, &s->m, "absorb_2k", a->value, a->n, err));
    else
        SL_GO(sl_metrics_null(ctx, &s->m, "absorb_2k", a ? a->reason : "not measured", err));
done:
    if (st == SL_UNAVAILABLE)
        st = sl_metrics_null(ctx, &s->m, "absorb_2k", "the encoder is not linear", err);
    sl_metrics_release(ctx, &own);
    sl_gathered_release(ctx, &again);
    sl_linear_encoder_release(ctx, &m.e);
    sl_free(ctx, m.x);
    sl_free(ctx, m.a);
    sl_free(ctx, m.on);
    return st;
}

/* ---- the parts of each study ---- */

static sl_status under_noise(subject *s, sl_err *err)
{
    sl_stability_options o;
    sl_act_source *rows = NULL;
    if (!s->sae)
        return sl_metrics_null(s->r->ctx, &s->m, "fss", "a baseline is not perturbed", err);
    sl_opts_default(sl_stability_opts, &o);
    o.noise = sl_confirm_noise(s->c, s->f);
    o.rows = n_rows(s) < s->c->d.stability_rows ? n_rows(s) : s->c->d.stability_rows;
    o.draws = 0; /* replicates are seeds */
    SL_TRY(open_rows(s, SL_ROWS_TEST, &rows, err));
    sl_status st = sl_eval_stability(s->r->ctx, s->sae, rows, &o, s->truth->d ? s->truth : NULL, &s->m, NULL, err);
    sl_act_source_free(rows);
    return st;
}

static sl_status compositions(subject *s, sl_err *err)
{
    bool withheld = s->r->ground[0].set->world->has_ood;
    sl_gathered ood = { 0 };
    sl_status st;
    if (withheld)
        SL_GO(gather(s, SL_ROWS_OOD, &ood, err));
    sl_composition_opts o = sl_composition_defaults();
    sl_composition_input in = { &s->rows.data, withheld ? &ood.data : NULL, s->truth };
    SL_GO(sl_eval_composition(s->r->ctx, s->sae, &in, &o, &s->m, NULL, err));
done:
    sl_gathered_release(s->r->ctx, &ood);
    return st;
}

/* Trained numbers, so that arms of one size can be told from others. */
static sl_status put_size(subject *s, sl_err *err)
{
    if (!s->sae)
        return SL_OK;
    int64_t n = sl_params_numel(s->sae->params);
    return sl_metrics_put(s->r->ctx, &s->m, "n_params", (double)n, n, err);
}

/* Mean |delta| / |x| over the second half of the training; null where nothing was perturbed. */
static sl_status put_achieved(subject *s, sl_err *err)
{
    char path[SL_PATH + 16];
    json_t *fit = NULL, *point;
    size_t i, n;
    double sum = 0, count = 0;
    snprintf(path, sizeof path, "%s/result.json", s->f->t.sae.dir);
    SL_TRY(sl_json_load_file(s->r->ctx, path, &fit, err));
    n = json_array_size(json_object_get(fit, "curve"));
    json_array_foreach(json_object_get(fit, "curve"), i, point) {
        json_t *a = json_object_get(point, "achieved");
        if (2 * i >= n && json_is_number(a)) {
            sum += json_number_value(a);
            count++;
        }
    }
    json_object_set_new(s->more, "achieved", count > 0 ? json_real(sum / count) : json_null());
    json_decref(fit);
    return SL_OK;
}

static sl_status save(subject *s, sl_err *err)
{
    json_t *all = json_copy(s->more);
    json_object_set_new(all, "metrics", sl_judge_json(&s->m));
    return sl_run_save(s->r->ctx, s->f->t.eval.dir, "result.json", all, err);
}

sl_status sl_confirm_judge(sl_run *r, const sl_confirm *c, sl_fit *f, sl_err *err)
{
    subject s = { .r = r, .c = c, .f = f, .more = json_object() };
    sl_status st;
    SL_GO(open_subject(&s, err));
    SL_GO(on_rows(&s, err));
    SL_GO(against_truth(&s, err));
    SL_GO(put_size(&s, err));
    SL_GO(put_achieved(&s, err));
    if (s.rows.data.parent)
        SL_GO(put_parents(&s, err));
    if (s.rows.data.parent)
        SL_GO(put_absorb_2k(&s, err));
    if (c->d.rule == SL_RULE_PURIFICATION)
        SL_GO(under_noise(&s, err));
    else
        SL_GO(compositions(&s, err));
    SL_GO(save(&s, err));
done:
    json_decref(s.more);
    sl_gathered_release(r->ctx, &s.rows);
    sl_metrics_release(r->ctx, &s.m);
    sl_baseline_free(s.baseline);
    sl_sae_free(s.sae);
    return st;
}
