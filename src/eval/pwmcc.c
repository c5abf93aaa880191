/* Agreement between SAEs trained from different seeds (science.md B8, K4). Dead latents are left out: a direction that was never trained is
 * no disagreement. */
#include "eval/measured.h"

#include <math.h>
#include <string.h>

#define SAME .7
#define CLOSE .9

typedef struct compact { /* the live rows of a dictionary */
    float *dec, *enc;
    int32_t *latent;        /* [n] their numbers */
    int64_t n;
} compact;

static void release(sl_ctx *ctx, compact *c, int n)
{
    for (int i = 0; c && i < n; i++) {
        sl_free(ctx, c[i].dec);
        sl_free(ctx, c[i].enc);
        sl_free(ctx, c[i].latent);
    }
    sl_free(ctx, c);
}

static sl_status take_live(sl_ctx *ctx, const sl_dictionary *s, int which, int64_t d, compact *c, sl_err *err)
{
    size_t row = (size_t)d * sizeof(float);
    c->dec = sl_alloc(ctx, (size_t)s->d_sae * row);
    c->enc = s->W_enc ? sl_alloc(ctx, (size_t)s->d_sae * row) : NULL;
    c->latent = sl_alloc(ctx, (size_t)s->d_sae * sizeof *c->latent);
    if (!c->dec || !c->latent || (s->W_enc && !c->enc))
        return sl_fail(err, SL_MEM, "agreement between seeds", NULL, "no memory for %lld directions", (long long)s->d_sae);
    for (int64_t j = 0; j < s->d_sae; j++) {
        if (s->alive && !s->alive[j])
            continue;
        memcpy(c->dec + c->n * d, s->W_dec + j * d, row);
        if (c->enc)
            memcpy(c->enc + c->n * d, s->W_enc + j * d, row);
        c->latent[c->n++] = (int32_t)j;
    }
    if (c->n == 0)
        return sl_fail(err, SL_DATA, "agreement between seeds", "latents that fire", "SAE %d has none", which);
    return SL_OK;
}

/* ---- one pair ---- */

typedef struct pair { double mcc, share_07, share_09, mmcs, same; bool has_same; } pair;

static double mean_max(const float *cos, int64_t n, int64_t m)
{
    double rows = 0, cols = 0;
    for (int64_t i = 0; i < n; i++) {
        float most = cos[i * m];
        for (int64_t j = 1; j < m; j++)
            most = fmaxf(most, cos[i * m + j]);
        rows += (double)most / (double)n;
    }
    for (int64_t j = 0; j < m; j++) {
        float most = cos[j];
        for (int64_t i = 1; i < n; i++)
            most = fmaxf(most, cos[i * m + j]);
        cols += (double)most / (double)m;
    }
    return (rows + cols) / 2;
}

typedef struct room { float *cos; int32_t *match, *other; } room;

static sl_status compare(sl_ctx *ctx, const compact *a, const compact *b, int64_t d, const room *w, pair *p, sl_err *err)
{
    double total, pairs = (double)(a->n < b->n ? a->n : b->n);
    *p = (pair){ 0 };
    SL_TRY(sl_cosines(ctx, a->dec, a->n, b->dec, b->n, d, w->cos, err));
    SL_TRY(sl_assign(ctx, w->cos, a->n, b->n, w->match, &total, err));
    p->mcc = total / pairs;
    p->mmcs = mean_max(w->cos, a->n, b->n);
    for (int64_t i = 0; i < a->n; i++) {
        if (w->match[i] < 0)
            continue;
        double cos = (double)w->cos[i * b->n + w->match[i]];
        p->share_07 += (cos >= SAME) / pairs;
        p->share_09 += (cos >= CLOSE) / pairs;
    }
    p->has_same = a->enc && b->enc;
    if (!p->has_same)
        return SL_OK;
    SL_TRY(sl_cosines(ctx, a->enc, a->n, b->enc, b->n, d, w->cos, err));
    SL_TRY(sl_assign(ctx, w->cos, a->n, b->n, w->other, &total, err));
    for (int64_t i = 0; i < a->n; i++)
        p->same += (w->match[i] >= 0 && w->other[i] == w->match[i]) / pairs;
    return SL_OK;
}

/* pi_j of both SAEs: matches with cos >= .7, counted; the cosines of the decoders are made again where the encoders overwrote them. */
static sl_status count_partners(sl_ctx *ctx, const compact *a, const compact *b, int64_t d, const room *w, double *pi_a, double *pi_b, sl_err *err)
{
    SL_TRY(sl_cosines(ctx, a->dec, a->n, b->dec, b->n, d, w->cos, err));
    for (int64_t i = 0; i < a->n; i++)
        if (w->match[i] >= 0 && (double)w->cos[i * b->n + w->match[i]] >= SAME) {
            pi_a[a->latent[i]]++;
            pi_b[b->latent[w->match[i]]]++;
        }
    return SL_OK;
}

/* ---- all pairs ---- */

static void add(sl_pwmcc *out, const pair *p, double floor)
{
    out->pwmcc += p->mcc;
    out->floor += floor;
    out->share_07 += p->share_07;
    out->share_09 += p->share_09;
    out->mmcs += p->mmcs;
    out->same_partner += p->has_same ? p->same : NAN;
    out->n_pairs++;
}

static sl_status all_pairs(sl_ctx *ctx, const compact *c, int n, int64_t d, const room *w, double *const *pi, sl_pwmcc *out, sl_err *err)
{
    for (int a = 0; a < n; a++)
        for (int b = a + 1; b < n; b++) {
            pair p;
            sl_floor floor;
            SL_TRY(compare(ctx, &c[a], &c[b], d, w, &p, err));
            SL_TRY(sl_mcc_floor(ctx, c[a].n, c[b].n, d, false, &floor, err));
            add(out, &p, floor.mean);
            if (pi)
                SL_TRY(count_partners(ctx, &c[a], &c[b], d, w, pi[a], pi[b], err));
        }
    double *mean[] = { &out->pwmcc, &out->floor, &out->share_07, &out->share_09, &out->mmcs, &out->same_partner };
    for (size_t i = 0; i < sizeof mean / sizeof *mean; i++)
        *mean[i] /= (double)out->n_pairs;
    return SL_OK;
}

sl_status sl_pwmcc_of(sl_ctx *ctx, const sl_dictionary *sae, int n_saes, int64_t d_in, double *const *reproducible, sl_pwmcc *out, sl_err *err)
{
    *out = (sl_pwmcc){ 0 };
    if (n_saes < 2)
        return sl_fail(err, SL_DATA, "agreement between seeds", "at least 2 SAEs", "there %s %d", n_saes == 1 ? "is" : "are", n_saes);
    room w = { 0 };
    int64_t most = 0;
    compact *c = sl_alloc(ctx, (size_t)n_saes * sizeof *c);
    sl_status st = c ? SL_OK : sl_fail(err, SL_MEM, "agreement between seeds", NULL, "no memory");
    for (int i = 0; st == SL_OK && i < n_saes; i++) {
        st = take_live(ctx, &sae[i], i, d_in, &c[i], err);
        most = c[i].n > most ? c[i].n : most;
        out->n_alive += c[i].n;
        for (int64_t j = 0; reproducible && j < sae[i].d_sae; j++)
            reproducible[i][j] = sae[i].alive && !sae[i].alive[j] ? NAN : 0;
    }
    if (st != SL_OK)
        goto done;
    w.cos = sl_alloc(ctx, (size_t)(most * most) * sizeof *w.cos);
    w.match = sl_alloc(ctx, (size_t)most * sizeof *w.match);
    w.other = sl_alloc(ctx, (size_t)most * sizeof *w.other);
    SL_GO(sl_have("agreement between seeds", 3, (const void *const[]){ w.cos, w.match, w.other }, err));
    SL_GO(all_pairs(ctx, c, n_saes, d_in, &w, reproducible, out, err));
    for (int i = 0; reproducible && i < n_saes; i++)
        for (int64_t j = 0; j < sae[i].d_sae; j++)
            reproducible[i][j] /= n_saes - 1;
done:
    sl_free(ctx, w.other);
    sl_free(ctx, w.match);
    sl_free(ctx, w.cos);
    release(ctx, c, n_saes);
    return st;
}

sl_status sl_pwmcc_trajectory(sl_ctx *ctx, const sl_dictionary *sae, int n_times, int n_saes, int64_t d_in, sl_pwmcc *out, sl_err *err)
{
    for (int t = 0; t < n_times; t++)
        SL_TRY(sl_pwmcc_of(ctx, sae + (int64_t)t * n_saes, n_saes, d_in, NULL, &out[t], err));
    return SL_OK;
}
