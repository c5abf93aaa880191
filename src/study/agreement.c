/* Do the replicates of an arm find the same features? (science.md B8) */
#include "study/revisions.h"
#include "study/stages.h"

#include <saelab/match.h>
#include <saelab/stability.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 64, TENTHS = 10 };

/* The dictionaries of a cell, those of failed replicates left out. */
typedef struct set_of {
    sl_sae *sae[MOST];
    sl_baseline *baseline[MOST];
    uint8_t *alive[MOST];
    double *rate[MOST], *fss[MOST], *pi[MOST]; /* [d_sae] by latent; fss NULL: not measured */
    sl_dictionary dict[MOST];
    int n;
    int64_t d_in;
} set_of;

/* A number a latent, from a file of the evaluation; NaN where the file is shorter. */
static sl_status read_latents(sl_run *r, const sl_trained *t, const char *name, int64_t d_sae, double **out, sl_err *err)
{
    char path[SL_PATH + 32];
    sl_tensor file;
    snprintf(path, sizeof path, "%s/%s", t->eval.dir, name);
    SL_TRY(sl_npy_read(r->ctx, path, &file, err));
    *out = sl_alloc(r->ctx, (size_t)d_sae * sizeof **out);
    for (int64_t i = 0; *out && i < d_sae; i++)
        (*out)[i] = file.dtype == SL_F32 && i < sl_numel(&file) ? (double)((const float *)file.data)[i] : NAN;
    sl_free(r->ctx, file.data);
    return *out ? SL_OK : sl_fail(err, SL_MEM, path, NULL, "no memory");
}

static sl_status read_by_latent(sl_run *r, const sl_trained *t, set_of *s, int i, sl_err *err)
{
    int64_t d_sae = s->dict[i].d_sae;
    SL_TRY(read_latents(r, t, "firing_rates.npy", d_sae, &s->rate[i], err));
    if (r->plan->run.stability && t->arm->variant)
        SL_TRY(read_latents(r, t, "fss_latents.npy", d_sae, &s->fss[i], err));
    s->pi[i] = sl_alloc(r->ctx, (size_t)d_sae * sizeof *s->pi[i]);
    s->alive[i] = sl_alloc(r->ctx, (size_t)d_sae);
    if (!s->pi[i] || !s->alive[i])
        return sl_fail(err, SL_MEM, "agreement", NULL, "no memory for %lld latents", (long long)d_sae);
    for (int64_t j = 0; j < d_sae; j++)
        s->alive[i][j] = s->rate[i][j] > 0;
    return SL_OK;
}

static sl_status add(sl_run *r, const sl_trained *t, set_of *s, sl_err *err)
{
    char path[SL_PATH + 16];
    int i = s->n++;
    sl_dictionary *d = &s->dict[i];
    snprintf(path, sizeof path, "%s/model", t->sae.dir);
    if (t->arm->baseline) {
        SL_TRY(sl_baseline_load(r->ctx, path, &s->baseline[i], err));
        sl_baseline_about about = sl_baseline_tell(s->baseline[i]);
        *d = (sl_dictionary){ .W_dec = about.W_dec, .d_sae = about.d_sae };
        s->d_in = about.d_in;
    } else {
        sl_tensor dec, enc;
        SL_TRY(sl_sae_load(r->ctx, path, &s->sae[i], err));
        SL_TRY(sl_sae_weight(s->sae[i], "W_dec", &dec, err));
        *d = (sl_dictionary){ .W_dec = dec.data, .d_sae = sl_rows(&dec) };
        s->d_in = sl_cols(&dec);
        if (sl_sae_weight(s->sae[i], "W_enc", &enc, NULL) == SL_OK)
            d->W_enc = enc.data;
    }
    SL_TRY(read_by_latent(r, t, s, i, err));
    d->alive = s->alive[i];
    return SL_OK;
}

static void release(sl_run *r, set_of *s)
{
    for (int i = 0; i < s->n; i++) {
        sl_sae_free(s->sae[i]);
        sl_baseline_free(s->baseline[i]);
        sl_free(r->ctx, s->alive[i]);
        sl_free(r->ctx, s->rate[i]);
        sl_free(r->ctx, s->fss[i]);
        sl_free(r->ctx, s->pi[i]);
    }
}

static sl_status put(sl_run *r, const sl_pwmcc *p, sl_metrics *m, sl_err *err)
{
    SL_TRY(sl_metrics_put(r->ctx, m, "pwmcc", p->pwmcc, p->n_pairs, err));
    sl_metrics_floor(m, "pwmcc", p->floor);
    SL_TRY(sl_metrics_put(r->ctx, m, "pwmcc_floor", p->floor, p->n_pairs, err));
    SL_TRY(sl_metrics_put(r->ctx, m, "reproduced_07", p->share_07, p->n_pairs, err));
    SL_TRY(sl_metrics_put(r->ctx, m, "reproduced_09", p->share_09, p->n_pairs, err));
    SL_TRY(sl_metrics_put(r->ctx, m, "seed_mmcs", p->mmcs, p->n_pairs, err));
    return sl_metrics_put(r->ctx, m, "same_partner", p->same_partner, p->n_pairs, err);
}

/* ---- are the robust latents the reproducible ones? ---- */

typedef struct pair { double fss, pi; } pair;

static int by_fss(const void *a, const void *b)
{
    double x = ((const pair *)a)->fss, y = ((const pair *)b)->fss;
    return (x > y) - (x < y);
}

/* Partial Spearman of every SAE, averaged. */
static sl_status put_partial(sl_run *r, const set_of *s, sl_metrics *m, sl_err *err)
{
    sl_partial p;
    double rho = 0, plain = 0;
    int64_t n = 0, latents = 0;
    for (int i = 0; i < s->n; i++) {
        if (!s->fss[i] || sl_partial_spearman(r->ctx, s->fss[i], s->pi[i], s->rate[i], s->dict[i].d_sae, &p, NULL) != SL_OK)
            continue;
        rho += p.rho;
        plain += p.plain;
        latents += p.n;
        n++;
    }
    if (n == 0)
        return sl_metrics_null(r->ctx, m, "robust_reproducible", "stability was not measured, or nothing varies between latents", err);
    SL_TRY(sl_metrics_put(r->ctx, m, "robust_reproducible", rho / (double)n, latents, err));
    return sl_metrics_put(r->ctx, m, "robust_reproducible_plain", plain / (double)n, latents, err);
}

/* reproducibility.json: latents of all SAEs in tenths by their FSS, with the mean of pi in each. */
static sl_status save_tenths(sl_run *r, const set_of *s, const char *dir, sl_err *err)
{
    int64_t n = 0, room = 1;
    for (int i = 0; i < s->n; i++)
        room += s->dict[i].d_sae;
    pair *all = sl_alloc(r->ctx, (size_t)room * sizeof *all);
    if (!all)
        return sl_fail(err, SL_MEM, "agreement", NULL, "no memory for %lld latents", (long long)room);
    for (int i = 0; i < s->n; i++)
        for (int64_t j = 0; s->fss[i] && j < s->dict[i].d_sae; j++)
            if (isfinite(s->fss[i][j]) && isfinite(s->pi[i][j]))
                all[n++] = (pair){ s->fss[i][j], s->pi[i][j] };
    qsort(all, (size_t)n, sizeof *all, by_fss);
    json_t *fss = json_array(), *pi = json_array(), *se = json_array();
    for (int64_t t = 0; t < TENTHS && n >= 4 * TENTHS; t++) {
        double sum[3] = { 0 };
        int64_t from = n * t / TENTHS, to = n * (t + 1) / TENTHS;
        for (int64_t i = from; i < to; i++) {
            sum[0] += all[i].fss;
            sum[1] += all[i].pi;
            sum[2] += all[i].pi * all[i].pi;
        }
        double k = (double)(to - from), mean = sum[1] / k;
        json_array_append_new(fss, json_real(sum[0] / k));
        json_array_append_new(pi, json_real(mean));
        json_array_append_new(se, json_real(sqrt(fmax(0, sum[2] / k - mean * mean) / (k - 1))));
    }
    sl_free(r->ctx, all);
    return sl_run_save(r->ctx, dir, "reproducibility.json", json_pack("{s:o, s:o, s:o, s:I}", "fss", fss, "pi", pi, "pi_se", se, "n", (json_int_t)n), err);
}

static sl_status run_agreement(void *arg, const char *dir, sl_err *err)
{
    sl_job *j = arg;
    sl_run *r = j->r;
    set_of s = { .n = 0 };
    sl_metrics m = { 0 };
    sl_pwmcc p;
    int64_t n;
    sl_status st;
    const sl_trained *t = sl_run_replicates(r, j->t->i_arm, j->t->i_set, &n);
    for (int64_t i = 0; i < n && s.n < MOST; i++)
        if (!t[i].failed)
            SL_GO(add(r, &t[i], &s, err));
    sl_err why = { 0 };
    st = sl_pwmcc_of(r->ctx, s.dict, s.n, s.d_in, (double *const *)s.pi, &p, &why);
    if (st == SL_OK) {
        SL_GO(put(r, &p, &m, err));
        SL_GO(put_partial(r, &s, &m, err));
    } else if (st == SL_DATA) { /* an SAE without a live latent: a result, not a failure of the run */
        for (int i = 0; i < s.n; i++)
            for (int64_t f = 0; f < s.dict[i].d_sae; f++)
                s.pi[i][f] = NAN;
        SL_GO(sl_metrics_null(r->ctx, &m, "pwmcc", why.what, err));
    } else
        SL_GO(sl_fail(err, st, why.where, why.expected, "%s", why.what));
    SL_GO(save_tenths(r, &s, dir, err));
    SL_GO(sl_run_save(r->ctx, dir, "result.json", sl_judge_json(&m), err));
done:
    release(r, &s);
    sl_metrics_release(r->ctx, &m);
    return st;
}

sl_status sl_agreement_stage(sl_run *r, int cell, sl_artifact *out, sl_err *err)
{
    const sl_cell *c = &r->plan->cell[cell];
    int64_t n;
    int good = 0;
    sl_trained *t = sl_run_replicates(r, c->arm, c->set, &n);
    json_t *keys = json_array();
    *out = (sl_artifact){ 0 };
    for (int64_t i = 0; i < n; i++)
        if (!t[i].failed) {
            json_array_append_new(keys, json_string(t[i].eval.key));
            good++;
        }
    if (good < 2) {
        json_decref(keys);
        return SL_OK;
    }
    sl_job j = { .r = r, .g = &r->ground[c->set], .t = t };
    return sl_run_stage(r, "agreement", REV_AGREEMENT, json_pack("{s:o}", "replicates", keys), (const char *const[4]){ NULL }, run_agreement, &j, out, err);
}
