/* The evaluation of composition: which parts apply to this SAE and these rows, and the reasons where one does not. */
#include "eval/compose.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

sl_composition_opts sl_composition_defaults(void)
{
    return (sl_composition_opts){ .seed = 1, .max_rows = 20000, .n_triples = 2000, .top_pairs = 256, .min_rows = 20, .n_units = 12, .n_attention = 40 };
}

static const char *const of_branch[] = { "l0_c", "dead_compositions", NULL };
static const char *const of_energy[] = { "branch_energy", "comp_energy", NULL };
static const char *const of_attribution[] = { "interaction_cooccurrence", "reuse_mean", "reuse_gini", "reuse_entropy", "mean_order", NULL };
static const char *const of_causal[] = { "attribution_error", "causal_pi", "index_pi", "index_attention", "index_mean", NULL };
static const char *const of_ood[] = { "comp_gap", "f1_h_gap", "mcc_code_gap", "fvu_ood_ratio", NULL };

/* ---- branch ---- */

static sl_status put_energy(sl_compose_work *w, sl_err *err)
{
    const sl_compose_part *t = &w->test;
    double left = 0, spread = 0, share = 0;
    int64_t n = 0, dim = t->d.d_in;
    if (w->linear || isnan(t->b.energy))
        return sl_put_nulls(w->ctx, w->out, of_energy, w->linear ? "the decoder is linear" : "the rows do not vary", err);
    SL_TRY(sl_metrics_put(w->ctx, w->out, "branch_energy", t->b.energy, t->d.n_rows, err));
    uint8_t *scored = sl_alloc(w->ctx, (size_t)t->d.n_rows);
    double *mean = sl_alloc(w->ctx, (size_t)dim * sizeof *mean);
    sl_err why = { 0 };
    sl_status st;
    SL_GO(sl_have("composition", 2, (const void *const[]){ scored, mean }, err));
    st = sl_ridge_left(w->ctx, &t->d, t->b.y, dim, &left, scored, &why);
    if (st == SL_DATA) {
        st = sl_metrics_null(w->ctx, w->out, "comp_energy", why.what, err);
        goto done;
    }
    SL_GO(st == SL_OK ? st : sl_fail(err, st, why.where, why.expected, "%s", why.what));
    for (int64_t r = 0; r < t->d.n_rows; r++)
        n += scored[r];
    for (int64_t i = 0; i < t->d.n_rows * dim; i++)
        mean[i % dim] += (double)t->d.x[i] / (double)t->d.n_rows;
    for (int64_t i = 0; i < t->d.n_rows * dim; i++)
        spread += scored[i / dim] ? ((double)t->d.x[i] - mean[i % dim]) * ((double)t->d.x[i] - mean[i % dim]) : 0;
    share = left / spread;
    st = sl_metrics_put(w->ctx, w->out, "comp_energy", share, n, err);
done:
    sl_free(w->ctx, mean);
    sl_free(w->ctx, scored);
    return st;
}

static sl_status put_branch(sl_compose_work *w, sl_err *err)
{
    const sl_branch *b = &w->test.b;
    if (!w->s)
        SL_TRY(sl_put_nulls(w->ctx, w->out, of_energy, "a baseline: only its codes are known", err));
    else
        SL_TRY(put_energy(w, err));
    if (!w->r)
        return sl_put_nulls(w->ctx, w->out, of_branch, "not a compositional SAE", err);
    int64_t n = w->test.d.n_rows, dead = b->m_c;
    sl_columns c;
    sl_sparse all = sl_sparse_of(&b->c, n, b->m_c);
    SL_TRY(sl_columns_new(w->ctx, &all, &c, err));
    dead -= sl_alive(&c);
    sl_columns_release(w->ctx, &c);
    SL_TRY(sl_metrics_put(w->ctx, w->out, "l0_c", (double)b->c.row_ptr[n] / (double)n, n, err));
    return sl_metrics_put(w->ctx, w->out, "dead_compositions", (double)dead / (double)b->m_c, b->m_c, err);
}

/* ---- attribution ---- */

/* Shares of a part's compositions; w->why where this kind has no attribution. */
static sl_status attribute(sl_compose_work *w, sl_compose_part *t, double *strength, sl_composition_pictures *p, sl_err *err)
{
    sl_err why = { 0 };
    size_t n = (size_t)(t->b.m_c * t->d.d_sae);
    t->share = sl_alloc(w->ctx, n * sizeof *t->share);
    SL_TRY(sl_have("composition", 1, (const void *const[]){ t->share }, err));
    sl_status st = sl_attributions(w->ctx, w->r, &t->d, &t->b, w->o->n_units, t->share, strength, p, &why);
    if (st == SL_UNAVAILABLE) {
        snprintf(w->why, sizeof w->why, "%.*s", (int)sizeof w->why - 1, why.what);
        sl_free(w->ctx, t->share);
        t->share = NULL;
        if (p) {
            sl_free(w->ctx, p->unit);
            p->unit = NULL;
            p->n_units = p->n_compositions = 0;
        }
        return SL_OK;
    }
    return st == SL_OK ? st : sl_fail(err, st, why.where, why.expected, "%s", why.what);
}

static sl_status put_attribution(sl_compose_work *w, sl_err *err)
{
    const sl_compose_part *t = &w->test;
    int64_t m = t->d.d_sae;
    if (!w->r || !t->share) {
        SL_TRY(sl_put_nulls(w->ctx, w->out, of_causal, w->r ? w->why : "not a compositional SAE", err));
        return sl_put_nulls(w->ctx, w->out, of_attribution, w->r ? w->why : "not a compositional SAE", err);
    }
    uint8_t *alive = sl_alloc(w->ctx, (size_t)m);
    SL_TRY(sl_have("composition", 1, (const void *const[]){ alive }, err));
    for (int64_t e = 0; e < t->d.z.row_ptr[t->d.n_rows]; e++)
        alive[t->d.z.idx[e]] = 1;
    sl_status st = sl_put_reuse(w->ctx, t->share, t->b.m_c, m, alive, w->out, w->p, err);
    sl_free(w->ctx, alive);
    SL_TRY(st);
    if (w->p)
        SL_TRY(sl_attention_means(w->ctx, w->r, &t->d, w->o->n_attention, w->p, err));
    return sl_put_causal(w->ctx, w->r, &t->d, &t->b, w->o, w->out, err);
}

/* ---- with how often pairs fire together ---- */

static sl_status put_correlation(sl_compose_work *w, const char *name, const sl_pair *pair, int64_t n, double *a, double *b, sl_err *err)
{
    double r;
    for (int64_t k = 0; k < n; k++) {
        a[k] = pair[k].score;
        b[k] = (double)pair[k].both;
    }
    sl_pearson(a, b, n, &r);
    return sl_put_r(w->ctx, w->out, name, r, n, err);
}

static sl_status correlate(sl_compose_work *w, sl_pair *pair, int64_t n, double *a, double *b, sl_err *err)
{
    const sl_eval_data *d = &w->test.d;
    sl_columns c;
    for (int64_t k = 0; w->strength && k < n; k++)
        pair[k].score = w->strength[pair[k].i * d->d_sae + pair[k].j];
    if (w->strength && w->test.share)
        SL_TRY(put_correlation(w, "interaction_cooccurrence", pair, n, a, b, err));
    SL_TRY(sl_columns_new(w->ctx, &d->z, &c, err));
    sl_covariance_pairs(&c, pair, n);
    sl_columns_release(w->ctx, &c);
    SL_TRY(put_correlation(w, "covariance_cooccurrence", pair, n, a, b, err));
    if (!w->s || w->linear)
        return sl_metrics_null(w->ctx, w->out, "decoder_cooccurrence", w->s ? "the decoder is linear" : "a baseline: only its codes are known", err);
    sl_err why = { 0 };
    sl_status st = sl_decoder_pairs(w->ctx, w->s, &d->z, pair, n, &why);
    if (st == SL_UNAVAILABLE)
        return sl_metrics_null(w->ctx, w->out, "decoder_cooccurrence", why.what, err);
    SL_TRY(st == SL_OK ? st : sl_fail(err, st, why.where, why.expected, "%s", why.what));
    return put_correlation(w, "decoder_cooccurrence", pair, n, a, b, err);
}

static sl_status put_cooccurrence(sl_compose_work *w, sl_err *err)
{
    static const char *const names[] = { "decoder_cooccurrence", "covariance_cooccurrence", NULL };
    sl_pair *pair = NULL;
    double *a = NULL, *b = NULL;
    int64_t n = 0;
    sl_err why = { 0 };
    sl_status st = sl_pairs_of(w->ctx, &w->test.d.z, w->o->min_rows, &pair, &n, &why);
    if (st == SL_UNAVAILABLE)
        return sl_put_nulls(w->ctx, w->out, names, why.what, err);
    SL_GO(st == SL_OK ? st : sl_fail(err, st, why.where, why.expected, "%s", why.what));
    a = sl_alloc(w->ctx, (size_t)n * sizeof *a);
    b = sl_alloc(w->ctx, (size_t)n * sizeof *b);
    SL_GO(sl_have("composition", 2, (const void *const[]){ a, b }, err));
    SL_GO(correlate(w, pair, n, a, b, err));
done:
    sl_free(w->ctx, b);
    sl_free(w->ctx, a);
    sl_free(w->ctx, pair);
    return st;
}

/* ---- held-out combinations ---- */

static sl_status put_gap(sl_compose_work *w, const char *name, const sl_metric *test, const sl_metric *ood, sl_err *err)
{
    if (!test || !ood || test->is_null || ood->is_null)
        return sl_metrics_null(w->ctx, w->out, name, "not measured on both", err);
    return sl_metrics_put(w->ctx, w->out, name, test->value - ood->value, ood->n, err);
}

static sl_status put_ood(sl_compose_work *w, sl_err *err)
{
    static const char *const families[] = { "firing", "codes", NULL };
    sl_metrics test = { 0 }, ood = { 0 };
    if (!w->in->ood)
        return sl_put_nulls(w->ctx, w->out, of_ood, "no rows with withheld combinations", err);
    sl_status st;
    SL_GO(put_gap(w, "comp_gap", sl_metrics_get(w->out, "comp_f1"), sl_metrics_get(w->out, "comp_f1_withheld"), err));
    SL_GO(sl_measure(w->ctx, &w->test.d, NULL, families, &test, err));
    SL_GO(sl_measure(w->ctx, &w->ood.d, NULL, families, &ood, err));
    SL_GO(put_gap(w, "f1_h_gap", sl_metrics_get(&test, "f1_h"), sl_metrics_get(&ood, "f1_h"), err));
    SL_GO(put_gap(w, "mcc_code_gap", sl_metrics_get(&test, "mcc_code"), sl_metrics_get(&ood, "mcc_code"), err));
    if (!w->s)
        st = sl_metrics_null(w->ctx, w->out, "fvu_ood_ratio", "a baseline: only its codes are known", err);
    else if (!(w->test.b.fvu > 0) || isnan(w->ood.b.fvu))
        st = sl_metrics_null(w->ctx, w->out, "fvu_ood_ratio", "nothing is left unexplained, or the rows do not vary", err);
    else
        st = sl_metrics_put(w->ctx, w->out, "fvu_ood_ratio", w->ood.b.fvu / w->test.b.fvu, w->ood.d.n_rows, err);
done:
    sl_metrics_release(w->ctx, &ood);
    sl_metrics_release(w->ctx, &test);
    return st;
}

/* ---- the entry ---- */

static sl_status check_part(const sl_eval_data *d, const sl_sae *s, const sl_world_truth *t, sl_err *err)
{
    SL_TRY(sl_eval_data_check(d, err));
    if (!d->x || !d->z.row_ptr || !d->W_dec || d->n_rows < 1)
        return sl_fail(err, SL_DATA, "composition", "rows, their codes and the decoder", "something of them is missing");
    if (s && (sl_sae_about(s).d_in != d->d_in || sl_sae_about(s).d_sae != d->d_sae))
        return sl_fail(err, SL_SHAPE, "composition", NULL, "rows of %lld and %lld latents where the SAE has %lld and %lld", (long long)d->d_in, (long long)d->d_sae,
                       (long long)sl_sae_about(s).d_in, (long long)sl_sae_about(s).d_sae);
    if (t && d->g.row_ptr && d->n_truth != t->n)
        return sl_fail(err, SL_SHAPE, "composition", NULL, "true codes of %lld features where the world has %lld", (long long)d->n_truth, (long long)t->n);
    return SL_OK;
}

static sl_status check(const sl_sae *s, const sl_composition_input *in, const sl_composition_opts *o, sl_err *err)
{
    const struct { const char *name; int64_t v; } positive[] = { { "max_rows", o->max_rows }, { "n_triples", o->n_triples }, { "top_pairs", o->top_pairs },
                                                                 { "min_rows", o->min_rows }, { "n_units", o->n_units }, { "n_attention", o->n_attention } };
    for (size_t i = 0; i < sizeof positive / sizeof *positive; i++)
        if (positive[i].v < 1 || positive[i].v > INT32_MAX)
            return sl_fail(err, SL_ARG, positive[i].name, "1 to 2^31 - 1", "%lld", (long long)positive[i].v);
    SL_TRY(check_part(in->test, s, in->truth, err));
    return in->ood ? check_part(in->ood, s, in->truth, err) : SL_OK;
}

static sl_eval_data first_rows(const sl_eval_data *d, int64_t n)
{
    sl_eval_data out = *d;
    out.n_rows = n < d->n_rows ? n : d->n_rows;
    out.z.n_rows = out.g.n_rows = out.unknown.n_rows = out.n_rows;
    return out;
}

static sl_status learn(sl_compose_work *w, sl_err *err)
{
    int64_t m = w->in->test->d_sae;
    w->test.d = first_rows(w->in->test, w->o->max_rows);
    if (w->in->ood)
        w->ood.d = first_rows(w->in->ood, w->o->max_rows);
    w->linear = false;
    if (w->s) {
        SL_TRY(sl_branch_new(w->ctx, w->s, w->r, &w->test.d, &w->test.b, err));
        if (w->in->ood)
            SL_TRY(sl_branch_new(w->ctx, w->s, w->r, &w->ood.d, &w->ood.b, err));
        w->linear = !w->r && !(w->test.b.energy > 1e-10); /* rounding of x^ - W_dec^T z */
    }
    if (w->r && m <= SL_COMPOSE_LATENTS) {
        w->strength = sl_alloc(w->ctx, (size_t)(m * m) * sizeof *w->strength);
        double *unused = w->in->ood ? sl_alloc(w->ctx, (size_t)(m * m) * sizeof *unused) : NULL;
        sl_status st = sl_have("composition", w->in->ood ? 2 : 1, (const void *const[]){ w->strength, unused }, err);
        if (st == SL_OK)
            st = attribute(w, &w->test, w->strength, w->p, err);
        if (st == SL_OK && w->in->ood)
            st = attribute(w, &w->ood, unused, NULL, err);
        sl_free(w->ctx, unused);
        SL_TRY(st);
    } else if (w->r)
        snprintf(w->why, sizeof w->why, "more than %d latents: no room for their pairs", (int)SL_COMPOSE_LATENTS);
    w->family = sl_alloc(w->ctx, (size_t)m * sizeof *w->family);
    SL_TRY(sl_have("composition", 1, (const void *const[]){ w->family }, err));
    return w->in->truth && w->test.d.g.row_ptr ? sl_atoms_of(w->ctx, w->in->truth, &w->test.d.z, &w->test.d.g, w->family, err) : SL_OK;
}

static void release_part(sl_ctx *ctx, sl_compose_part *t)
{
    sl_branch_release(ctx, &t->b);
    sl_free(ctx, t->share);
}

sl_status sl_eval_composition(sl_ctx *ctx, sl_sae *s, const sl_composition_input *in, const sl_composition_opts *o, sl_metrics *out,
                              sl_composition_pictures *pictures, sl_err *err)
{
    sl_compose_work w = { .ctx = ctx, .s = s, .in = in, .o = o, .out = out, .p = pictures };
    SL_TRY(check(s, in, o, err));
    if (s && strcmp(sl_sae_about(s).variant, "compositional") == 0)
        SL_TRY(sl_compose_open(s, &w.r, err));
    sl_status st;
    SL_GO(learn(&w, err));
    SL_GO(put_branch(&w, err));
    SL_GO(put_attribution(&w, err));
    SL_GO(put_cooccurrence(&w, err));
    SL_GO(sl_put_recovery(&w, &w.test, false, err));
    SL_GO(sl_put_recovery(&w, &w.ood, true, err));
    SL_GO(put_ood(&w, err));
done:
    sl_free(ctx, w.family);
    sl_free(ctx, w.strength);
    release_part(ctx, &w.ood);
    release_part(ctx, &w.test);
    sl_compose_close(w.r);
    return st;
}
