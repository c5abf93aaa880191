/* Do the replicates of an arm find the same features? (science.md B8) */
#include "study/revisions.h"
#include "study/stages.h"

#include <saelab/match.h>

enum { MOST = 64 };

/* The dictionaries of a cell, those of failed replicates left out. */
typedef struct set_of {
    sl_sae *sae[MOST];
    sl_baseline *baseline[MOST];
    uint8_t *alive[MOST];
    sl_dictionary dict[MOST];
    int n;
    int64_t d_in;
} set_of;

static sl_status read_alive(sl_run *r, const sl_trained *t, int64_t d_sae, uint8_t **out, sl_err *err)
{
    char path[SL_PATH + 32];
    sl_tensor rate;
    snprintf(path, sizeof path, "%s/firing_rates.npy", t->eval.dir);
    SL_TRY(sl_npy_read(r->ctx, path, &rate, err));
    const float *v = rate.data;
    *out = sl_alloc(r->ctx, (size_t)d_sae);
    for (int64_t i = 0; *out && rate.dtype == SL_F32 && i < d_sae && i < sl_numel(&rate); i++)
        (*out)[i] = v[i] > 0;
    sl_free(r->ctx, rate.data);
    return *out ? SL_OK : sl_fail(err, SL_MEM, path, NULL, "no memory");
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
    SL_TRY(read_alive(r, t, d->d_sae, &s->alive[i], err));
    d->alive = s->alive[i];
    return SL_OK;
}

static void release(sl_run *r, set_of *s)
{
    for (int i = 0; i < s->n; i++) {
        sl_sae_free(s->sae[i]);
        sl_baseline_free(s->baseline[i]);
        sl_free(r->ctx, s->alive[i]);
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
    st = sl_pwmcc_of(r->ctx, s.dict, s.n, s.d_in, NULL, &p, &why);
    if (st == SL_OK)
        SL_GO(put(r, &p, &m, err));
    else if (st == SL_DATA) /* an SAE without a live latent: a result, not a failure of the run */
        SL_GO(sl_metrics_null(r->ctx, &m, "pwmcc", why.what, err));
    else
        SL_GO(sl_fail(err, st, why.where, why.expected, "%s", why.what));
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
