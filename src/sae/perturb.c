/* The perturbation layer's life, its statistics of latents, and the covariance and rotation that two kinds of noise need. */
#include "sae/perturb.h"
#include "kern/linalg.h"

#include <math.h>
#include <string.h>

static const double MEMORY = 1e5; /* rows that statistics of latents look back */
enum { PAIR_ROWS = 256 };         /* rows of a batch whose pairs of latents are counted */

bool sl_perturb_selects(const sl_perturb_config *c) { return c->type == SL_PERTURB_INJECT || c->type == SL_PERTURB_DIRECT; }

bool sl_perturb_has_delta(const sl_perturb_config *c)
{
    return c->type != SL_PERTURB_NONE && c->mode != SL_STABILITY_CONTRACTIVE && c->mode != SL_STABILITY_ENC_L2;
}

bool sl_perturb_few(const sl_perturb_config *c) { return sl_perturb_selects(c) || (c->type == SL_PERTURB_GAUSS && c->rank > 0); }

static bool moves_latents(const sl_perturb_config *c)
{
    return sl_perturb_selects(c) || c->type == SL_PERTURB_FEATDROP || c->type == SL_PERTURB_LATENT;
}

static sl_status check_site(const sl_perturb_config *c, sl_err *err)
{
    if (c->site == SL_PERTURB_SITE_TOKEN)
        return sl_fail(err, SL_UNAVAILABLE, "site", "rows straight from a model (--lm), or a study's plan",
                       "tokens are out of reach of a trainer of activations");
    if (c->site != SL_PERTURB_SITE_BY_TYPE && moves_latents(c) != (c->site == SL_PERTURB_SITE_LATENT))
        return sl_fail(err, SL_ARG, "site", moves_latents(c) ? "latent_reencode" : "input", "this type does not enter there");
    return SL_OK;
}

static bool opposite_exists(const sl_perturb_config *c)
{
    return c->type == SL_PERTURB_GAUSS || c->type == SL_PERTURB_UNIFORM || c->type == SL_PERTURB_SHAPED || c->type == SL_PERTURB_DIRECT;
}

static sl_status check_shape(const sl_sae *s, const sl_perturb_config *c, sl_err *err)
{
    bool needs_encoder = c->type == SL_PERTURB_FGSM || c->type == SL_PERTURB_PGD || c->mode == SL_STABILITY_CONTRACTIVE || c->mode == SL_STABILITY_ENC_L2;
    if (needs_encoder && !s->W_enc)
        return sl_fail(err, SL_ARG, "perturb", "a variant with an encoder", "%s has none", s->ops->info.name);
    if (c->tied_weights && (!s->W_enc || s->d_in != s->d_out))
        return sl_fail(err, SL_ARG, "tied_weights", "an encoder of the decoder's shape", "%s has none", s->ops->info.name);
    if (moves_latents(c) && s->d_in != s->d_out)
        return sl_fail(err, SL_ARG, "type", "a decoder into the space of the input", "the decoder's directions are not the input's");
    if (c->rank > s->d_in || (c->type == SL_PERTURB_SHAPED && c->components < 1))
        return sl_fail(err, SL_ARG, "rank", "at most d_in", "%lld directions of %lld", (long long)c->rank, (long long)s->d_in);
    if (c->attack_latent >= s->d_sae || c->q > s->d_sae)
        return sl_fail(err, SL_ARG, "perturb", "latents of the SAE", "it has %lld latents", (long long)s->d_sae);
    return SL_OK;
}

sl_status sl_perturb_check(const sl_sae *s, const sl_perturb_config *c, sl_err *err)
{
    SL_TRY(sl_sae_check_options(sl_perturb_opts, c, err));
    SL_TRY(check_site(c, err));
    SL_TRY(check_shape(s, c, err));
    if (c->antithetic && (!opposite_exists(c) || c->views % 2))
        return sl_fail(err, SL_ARG, "antithetic", "gauss, uniform, shaped or direct with an even number of views", "noise of this type has no opposite");
    if (c->mode == SL_STABILITY_TWO_VIEW && (c->views % 2 || c->type == SL_PERTURB_INJECT || c->type == SL_PERTURB_FEATDROP))
        return sl_fail(err, SL_ARG, "mode", "two_view with an even number of views and a target that is z", "views come in pairs");
    if (c->with_gauss > 0 && c->type != SL_PERTURB_INJECT)
        return sl_fail(err, SL_ARG, "with_gauss", "type inject", "this type takes no noise on top");
    if (c->early_stop && c->type == SL_PERTURB_NONE)
        return sl_fail(err, SL_ARG, "early_stop", "a type of noise to look at", "stability under no noise is 1");
    if (c->eps_min >= c->eps_max)
        return sl_fail(err, SL_ARG, "eps_min", "less than eps_max", "%g and %g", c->eps_min, c->eps_max);
    bool sized = opposite_exists(c) || c->type == SL_PERTURB_FGSM || c->type == SL_PERTURB_PGD || c->type == SL_PERTURB_LATENT || c->type == SL_PERTURB_MASK ||
                 c->type == SL_PERTURB_MASK_ROTATED;
    if (c->adaptive && (!sized || !sl_perturb_has_delta(c) || c->mode == SL_STABILITY_DENOISE))
        return sl_fail(err, SL_ARG, "adaptive", "a type whose strength is eps, and a stability loss", "there is no eps to steer");
    if ((c->type == SL_PERTURB_MASK || c->type == SL_PERTURB_MASK_ROTATED) && sl_perturb_eps(c) > 1)
        return sl_fail(err, SL_ARG, "eps", "at most 1 for a mask", "eps^2 is the share of coordinates that are lost");
    return SL_OK;
}

/* ---- life ---- */

/* rows orthonormal, from normal numbers; modified Gram-Schmidt in double, twice. */
static bool orthonormal(sl_perturb *p, uint64_t step, int64_t n, float *rows)
{
    int64_t d = p->d;
    double *w = sl_alloc(p->ctx, (size_t)(n * d) * sizeof *w);
    if (!w)
        return false;
    for (int64_t i = 0; i < n; i++) {
        sl_rng g = sl_rng_at((uint64_t)p->c->seed, SL_RNG_NOISE, step, ~(uint64_t)i);
        for (int64_t j = 0; j < d; j++)
            w[i * d + j] = sl_rng_normal(&g);
        for (int64_t m = 0; m < 2 * i; m++) {
            const double *u = w + m % i * d;
            double dot = 0;
            for (int64_t j = 0; j < d; j++)
                dot += u[j] * w[i * d + j];
            for (int64_t j = 0; j < d; j++)
                w[i * d + j] -= dot * u[j];
        }
        double sq = 0;
        for (int64_t j = 0; j < d; j++)
            sq += w[i * d + j] * w[i * d + j];
        for (int64_t j = 0; j < d; j++)
            rows[i * d + j] = (float)(w[i * d + j] /= sqrt(sq));
    }
    sl_free(p->ctx, w);
    return true;
}

bool sl_perturb_directions(sl_perturb *p, int64_t step)
{
    return orthonormal(p, (uint64_t)step, p->c->rank, p->basis);
}

static bool make_view(sl_perturb *p, sl_perturb_view *v)
{
    int64_t n = p->room, q = p->c->q, active = 4 * p->s->ops->max_active(p->s->opts, p->F);
    if (p->c->type == SL_PERTURB_LATENT) /* every active latent moves; more than k while k falls */
        q = active < p->F ? active : p->F;
    sl_csr *csr[] = { &v->add, &v->drop };
    v->x = sl_tensor_of(SL_F32, sl_alloc(p->ctx, (size_t)(n * p->d) * sizeof(float)), 2, n, p->d);
    v->valid = sl_alloc(p->ctx, (size_t)n);
    v->limit_room = sl_alloc(p->ctx, (size_t)n * sizeof *v->limit_room);
    bool ok = v->x.data && v->valid && v->limit_room;
    if (sl_perturb_few(p->c)) {
        int64_t each = p->c->type == SL_PERTURB_GAUSS ? p->c->rank : q;
        v->coef = sl_alloc(p->ctx, (size_t)(n * each) * sizeof *v->coef);
        v->at = sl_alloc(p->ctx, (size_t)(n * each) * sizeof *v->at);
        ok = ok && v->coef && v->at;
    }
    for (int i = 0; i < 2 && ok; i++) {
        *csr[i] = (sl_csr){ .n_cols = p->F, .capacity = n * q, .row_ptr = sl_alloc(p->ctx, (size_t)(n + 1) * sizeof(int64_t)),
                            .idx = sl_alloc(p->ctx, (size_t)(n * q) * sizeof(int32_t)), .val = sl_alloc(p->ctx, (size_t)(n * q) * sizeof(float)) };
        ok = csr[i]->row_ptr && csr[i]->idx && csr[i]->val;
    }
    return ok;
}

static bool allocate(sl_perturb *p)
{
    size_t F = (size_t)p->F;
    int64_t small = p->c->rank > p->c->components ? p->c->rank : p->c->components;
    p->act_sum = sl_alloc(p->ctx, F * sizeof(double));
    p->act_n = sl_alloc(p->ctx, F * sizeof(double));
    p->fss_num = sl_alloc(p->ctx, F * sizeof(double));
    p->fss_den = sl_alloc(p->ctx, F * sizeof(double));
    p->near = sl_alloc(p->ctx, F * SL_NEAR * sizeof *p->near);
    p->near_score = sl_alloc(p->ctx, F * SL_NEAR * sizeof *p->near_score);
    p->score = sl_alloc(p->ctx, F * sizeof *p->score);
    p->touched = sl_alloc(p->ctx, F * sizeof *p->touched);
    p->seat = sl_alloc(p->ctx, F * sizeof *p->seat);
    p->noise = sl_alloc(p->ctx, (size_t)(p->room * p->d) * sizeof(float));
    p->small = sl_alloc(p->ctx, (size_t)(p->room * small) * sizeof(float));
    p->basis = sl_alloc(p->ctx, (size_t)(small * p->d) * sizeof(float));
    bool ok = p->act_sum && p->act_n && p->fss_num && p->fss_den && p->near && p->near_score && p->score && p->touched && p->seat && p->noise && p->small && p->basis;
    if (p->c->select == SL_SELECT_COFIRE) {
        p->pair = sl_alloc(p->ctx, F * SL_PAIRS * sizeof *p->pair);
        p->pair_n = sl_alloc(p->ctx, F * SL_PAIRS * sizeof *p->pair_n);
        ok = ok && p->pair && p->pair_n;
    }
    for (int i = 0; i < p->c->views && ok; i++)
        ok = make_view(p, &p->view[i]);
    for (size_t i = 0; ok && i < F * SL_NEAR; i++)
        p->near[i] = -1;
    for (size_t i = 0; ok && p->pair && i < F * SL_PAIRS; i++)
        p->pair[i] = -1;
    return ok;
}

sl_status sl_perturb_new(sl_sae *s, const sl_perturb_config *c, int64_t room, sl_perturb **out, sl_err *err)
{
    *out = NULL;
    SL_TRY(sl_perturb_check(s, c, err));
    sl_perturb *p = sl_alloc(s->ctx, sizeof *p);
    if (!p)
        return sl_fail(err, SL_MEM, "perturb", NULL, "no memory for the perturbation layer");
    *p = (sl_perturb){ .ctx = s->ctx, .s = s, .c = c, .F = s->d_sae, .d = s->d_in, .room = room };
    p->v[PT_LN_EPS] = log(fmax(sl_perturb_eps(c), 1e-30));
    p->v[PT_LAST_F] = p->v[PT_LAST_FSS] = NAN;
    sl_status st = sl_kern_get(s->ctx, SL_F32, &p->k, err);
    bool ok = st == SL_OK && allocate(p);
    if (ok && c->type == SL_PERTURB_MASK_ROTATED) {
        p->turn = sl_alloc(s->ctx, (size_t)(p->d * p->d) * sizeof(float));
        ok = p->turn && orthonormal(p, ~(uint64_t)0, p->d, p->turn);
    }
    if (st == SL_OK && !ok)
        st = sl_fail(err, SL_MEM, "perturb", NULL, "no memory for batches of %lld rows", (long long)room);
    if (st == SL_OK)
        *out = p;
    else
        sl_perturb_free(p);
    return st;
}

void sl_perturb_free(sl_perturb *p)
{
    if (!p)
        return;
    void *all[] = { p->act_sum, p->act_n, p->fss_num, p->fss_den, p->near, p->near_score, p->pair, p->pair_n, p->factor, p->turn, p->noise, p->small,
                    p->basis, p->score, p->touched, p->seat, p->pool, p->pool_latent, p->pool_of,
                    p->pool_from, p->pool_near };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        sl_free(p->ctx, all[i]);
    for (int i = 0; i < SL_PERTURB_VIEWS; i++) {
        sl_perturb_view *v = &p->view[i];
        void *its[] = { v->x.data, v->valid, v->limit_room, v->coef, v->at, v->add.row_ptr, v->add.idx, v->add.val, v->drop.row_ptr, v->drop.idx, v->drop.val };
        for (size_t j = 0; j < sizeof its / sizeof *its; j++)
            sl_free(p->ctx, its[j]);
    }
    sl_tape_free(p->tape);
    sl_free(p->ctx, p);
}

/* ---- what is learnt from data ---- */

sl_status sl_perturb_fit(sl_perturb *p, const float *rows, int64_t n, sl_err *err)
{
    int64_t d = p->d, m = p->c->components < d ? p->c->components : d;
    double *cov = sl_alloc(p->ctx, (size_t)(d * d) * sizeof *cov), *w = sl_alloc(p->ctx, (size_t)d * sizeof *w);
    sl_free(p->ctx, p->factor);
    p->factor = sl_alloc(p->ctx, (size_t)(m * d) * sizeof *p->factor);
    sl_status st = cov && w && p->factor ? SL_OK : sl_fail(err, SL_MEM, "perturb", NULL, "no memory for a covariance of %lld columns", (long long)d);
    for (int64_t r = 0; r < n && st == SL_OK; r++)
        for (int64_t i = 0; i < d; i++)
            for (int64_t j = 0; j < d; j++)
                cov[i * d + j] += (double)rows[r * d + i] * (double)rows[r * d + j] / (double)n;
    if (st == SL_OK)
        st = sl_eigh(cov, d, w, err);
    for (int64_t i = 0; i < m && st == SL_OK; i++)
        for (int64_t j = 0; j < d; j++)
            p->factor[i * d + j] = (float)(sqrt(fmax(w[i], 0)) * cov[i * d + j]);
    p->n_factor = m;
    sl_free(p->ctx, cov);
    sl_free(p->ctx, w);
    return st;
}

/* One more of j beside i: a free place or, where all are taken, the place of the rarest, whose count it takes over (space-saving sketch). */
static void count_pair(sl_perturb *p, int32_t i, int32_t j)
{
    int32_t *who = p->pair + (int64_t)i * SL_PAIRS;
    double *n = p->pair_n + (int64_t)i * SL_PAIRS;
    int least = 0;
    for (int e = 0; e < SL_PAIRS; e++) {
        if (who[e] == j || who[e] < 0) {
            n[e] += 1;
            who[e] = j;
            return;
        }
        least = n[e] < n[least] ? e : least;
    }
    who[least] = j;
    n[least] += 1;
}

static void count_pairs(sl_perturb *p, const sl_csr *z, double keep)
{
    int64_t rows = z->n_rows < PAIR_ROWS ? z->n_rows : PAIR_ROWS;
    for (int64_t i = 0; i < p->F * SL_PAIRS; i++)
        p->pair_n[i] *= keep;
    for (int64_t r = 0; r < rows; r++)
        for (int64_t a = z->row_ptr[r]; a < z->row_ptr[r + 1]; a++)
            for (int64_t b = z->row_ptr[r]; b < z->row_ptr[r + 1]; b++)
                if (a != b)
                    count_pair(p, z->idx[a], z->idx[b]);
}

void sl_perturb_see(sl_perturb *p, const sl_csr *z)
{
    const float *val = z->val;
    double keep = exp(-(double)z->n_rows / MEMORY);
    for (int64_t f = 0; f < p->F; f++) {
        p->act_sum[f] *= keep;
        p->act_n[f] *= keep;
        p->fss_num[f] *= keep;
        p->fss_den[f] *= keep;
    }
    p->v[PT_SEEN] = p->v[PT_SEEN] * keep + (double)z->n_rows;
    for (int64_t e = 0; e < z->row_ptr[z->n_rows]; e++) {
        p->act_sum[z->idx[e]] += (double)val[e];
        p->act_n[z->idx[e]] += 1;
    }
    if (p->pair)
        count_pairs(p, z, keep);
}
