/* Rows perturbed by one kind of noise at one strength, encoded and scored. */
#include "eval/robust.h"

#include "sae/variant.h"

#include <math.h>
#include <string.h>

enum { CHUNK_CODES = 1 << 21, CHUNK_ROWS = 512, PGD_STEPS = 10, PGD_STARTS = 3 };

sl_perturb_config sl_noise_config(const sl_subject *u, int type, double eps)
{
    sl_perturb_config c;
    sl_opts_default(sl_perturb_opts, &c);
    c.type = type;
    c.eps = eps;
    c.seed = u->o->seed;
    c.attack_steps = PGD_STEPS;
    c.restarts = PGD_STARTS;
    return c;
}

/* Kinds of noise that are made from data. */
static bool is_fitted(int type)
{
    return type == SL_PERTURB_SHAPED || type == SL_PERTURB_MASK_ROTATED || type == SL_PERTURB_INJECT || type == SL_PERTURB_DIRECT;
}

/* ---- codes that grow ---- */

static sl_status append(sl_ctx *ctx, sl_codes *to, const sl_codes *z, int64_t n, sl_err *err)
{
    int64_t have = to->row_ptr[to->n_rows], add = z->row_ptr[n];
    if (have + add > to->capacity) {
        int64_t room = 2 * (have + add);
        int32_t *idx = sl_alloc(ctx, (size_t)room * sizeof *idx);
        float *val = sl_alloc(ctx, (size_t)room * sizeof *val);
        if (!idx || !val) {
            sl_free(ctx, idx);
            sl_free(ctx, val);
            return sl_fail(err, SL_MEM, "stability", NULL, "no memory for %lld latents", (long long)room);
        }
        if (have > 0) {
            memcpy(idx, to->idx, (size_t)have * sizeof *idx);
            memcpy(val, to->val, (size_t)have * sizeof *val);
        }
        sl_free(ctx, to->idx);
        sl_free(ctx, to->val);
        to->idx = idx;
        to->val = val;
        to->capacity = room;
    }
    if (add > 0) {
        memcpy(to->idx + have, z->idx, (size_t)add * sizeof *z->idx);
        memcpy(to->val + have, z->val, (size_t)add * sizeof *z->val);
    }
    for (int64_t r = 1; r <= n; r++)
        to->row_ptr[to->n_rows + r] = have + z->row_ptr[r];
    to->n_rows += n;
    return SL_OK;
}

/* ---- the walk ---- */

typedef struct walk {
    const sl_subject *u;
    sl_noised *l;
    sl_perturber *p;
    sl_codes z, target;         /* of a chunk */
    float *x, *xhat;            /* [chunk, d_in] */
    int64_t chunk;
} walk;

static sl_status prepare(walk *w, const sl_perturb_config *c, int64_t n, bool keep_x, sl_err *err)
{
    sl_ctx *ctx = w->u->ctx;
    const sl_eval_data *d = &w->u->g.data;
    int64_t most = sl_sae_about(w->u->s).max_active + c->q, rows = CHUNK_CODES / most;
    size_t row = (size_t)d->d_in * sizeof(float);
    w->chunk = rows < 16 ? 16 : rows > CHUNK_ROWS ? CHUNK_ROWS : rows;
    SL_TRY(sl_codes_new(ctx, w->chunk, most, &w->z, err));
    SL_TRY(sl_codes_new(ctx, w->chunk, most, &w->target, err));
    w->x = sl_alloc(ctx, (size_t)w->chunk * row);
    w->xhat = sl_alloc(ctx, (size_t)w->chunk * row);
    w->l->target.row_ptr = sl_alloc(ctx, (size_t)(n + 1) * sizeof(int64_t));
    w->l->perturbed.row_ptr = sl_alloc(ctx, (size_t)(n + 1) * sizeof(int64_t));
    w->l->valid = sl_alloc(ctx, (size_t)n);
    w->l->x = keep_x ? sl_alloc(ctx, (size_t)n * row) : NULL;
    SL_TRY(sl_have("stability", 5, (const void *const[]){ w->x, w->xhat, w->l->target.row_ptr, w->l->perturbed.row_ptr, w->l->valid }, err));
    if (keep_x)
        SL_TRY(sl_have("stability", 1, (const void *const[]){ w->l->x }, err));
    bool fit = is_fitted(c->type);
    return sl_perturber_new(w->u->s, c, fit ? d->x : NULL, fit ? d->n_rows : 0, &w->p, err);
}

static void add_errors(walk *w, int64_t first, int64_t n)
{
    int64_t d = w->u->g.data.d_in;
    const float *x = w->u->g.data.x + first * d;
    for (int64_t r = 0; r < n; r++) {
        if (!w->l->valid[first + r])
            continue;
        w->l->n_valid++;
        for (int64_t i = r * d; i < (r + 1) * d; i++) {
            double e = (double)x[i] - (double)w->xhat[i];
            w->l->sq_err += e * e;
        }
    }
}

static sl_status step(walk *w, int64_t first, int64_t n, sl_err *err)
{
    const sl_subject *u = w->u;
    int64_t d = u->g.data.d_in, valid = 0;
    sl_perturbed out = { .x = w->x, .valid = w->l->valid + first, .target = &w->target };
    SL_TRY(sl_perturber_apply(w->p, u->g.data.x + first * d, n, first, 0, 0, -1, &out, err));
    SL_TRY(sl_sae_encode(u->s, w->x, n, &w->z, w->xhat, err));
    SL_TRY(append(u->ctx, &w->l->perturbed, &w->z, n, err));
    SL_TRY(append(u->ctx, &w->l->target, &w->target, n, err));
    for (int64_t r = 0; r < n; r++)
        valid += out.valid[r];
    w->l->achieved += out.achieved * (double)valid;
    if (w->l->x)
        memcpy(w->l->x + first * d, w->x, (size_t)(n * d) * sizeof *w->x);
    add_errors(w, first, n);
    return SL_OK;
}

/* Nothing happens to the rows: their own codes are those of the gathering. */
static sl_status no_noise(const sl_subject *u, int64_t n, sl_noised *out, sl_err *err)
{
    walk w = { .u = u, .l = out, .chunk = CHUNK_ROWS };
    sl_status st;
    int64_t d = u->g.data.d_in, most = sl_sae_about(u->s).max_active;
    w.chunk = CHUNK_CODES / most < 16 ? 16 : CHUNK_CODES / most > CHUNK_ROWS ? CHUNK_ROWS : CHUNK_CODES / most;
    out->valid = sl_alloc(u->ctx, (size_t)n);
    w.xhat = sl_alloc(u->ctx, (size_t)(w.chunk * d) * sizeof(float));
    SL_GO(sl_codes_new(u->ctx, w.chunk, most, &w.z, err));
    SL_GO(sl_have("stability", 2, (const void *const[]){ out->valid, w.xhat }, err));
    memset(out->valid, 1, (size_t)n);
    for (int64_t r = 0, m; r < n; r += m) {
        m = n - r < w.chunk ? n - r : w.chunk;
        SL_GO(sl_sae_encode(u->s, u->g.data.x + r * d, m, &w.z, w.xhat, err));
        add_errors(&w, r, m);
    }
done:
    sl_codes_release(u->ctx, &w.z);
    sl_free(u->ctx, w.xhat);
    return st;
}

sl_status sl_noised_run(const sl_subject *u, const sl_perturb_config *c, int64_t n, bool keep_x, sl_noised *out, sl_err *err)
{
    *out = (sl_noised){ 0 };
    if (!c)
        return no_noise(u, n, out, err);
    walk w = { .u = u, .l = out };
    sl_status st;
    SL_GO(prepare(&w, c, n, keep_x, err));
    for (int64_t r = 0; r < n; r += w.chunk) {
        if (sl_cancelled(u->ctx))
            SL_GO(sl_fail(err, SL_CANCELLED, "stability", NULL, "stopped"));
        SL_GO(step(&w, r, n - r < w.chunk ? n - r : w.chunk, err));
    }
    out->achieved /= out->n_valid > 0 ? (double)out->n_valid : 1;
done:
    sl_perturber_free(w.p);
    sl_codes_release(u->ctx, &w.z);
    sl_codes_release(u->ctx, &w.target);
    sl_free(u->ctx, w.x);
    sl_free(u->ctx, w.xhat);
    return st;
}

void sl_noised_release(sl_ctx *ctx, sl_noised *l)
{
    sl_codes_release(ctx, &l->target);
    sl_codes_release(ctx, &l->perturbed);
    sl_free(ctx, l->valid);
    sl_free(ctx, l->x);
    *l = (sl_noised){ 0 };
}

/* ---- scores ---- */

static void fill_report(const sl_tally *t, const sl_stability_codes *c, sl_stability_report *r, int64_t *room)
{
    const sl_sparse *z[2] = { &c->clean, &c->perturbed };
    int64_t *magnitude[2] = { r->magnitude, r->magnitude_perturbed }, m = c->clean.n_cols;
    for (int64_t j = 0; j < m; j++) {
        r->fss_j[j] = t->fss[j];
        r->sci_j[j] = t->sci[j];
        r->rate[j] = t->n_valid ? (double)t->fired[j] / (double)t->n_valid : 0;
        r->rate_perturbed[j] = t->n_valid ? (double)t->fired_perturbed[j] / (double)t->n_valid : 0;
    }
    for (int s = 0; s < 2; s++) {
        sl_rate_histograms(z[s], room, room + m);
        memset(magnitude[s], 0, SL_RATE_BINS * sizeof *magnitude[s]);
        for (int64_t i = 0; i < m * SL_RATE_BINS; i++)
            magnitude[s][i % SL_RATE_BINS] += room[m + i];
    }
}

static sl_status put_fvu(const sl_subject *u, const sl_noised *l, sl_metrics *out, sl_err *err)
{
    if (l->n_valid == 0 || !(u->spread > 0))
        return sl_metrics_null(u->ctx, out, "fvu", l->n_valid ? "the rows do not vary" : "no row could be perturbed", err);
    return sl_metrics_put(u->ctx, out, "fvu", l->sq_err / (double)l->n_valid / u->spread, l->n_valid, err);
}

sl_status sl_noised_score(const sl_subject *u, const sl_noised *l, sl_stability_point *p, sl_cluster_sums *part, sl_stability_report *report, sl_err *err)
{
    const sl_eval_data *d = &u->g.data;
    bool noise = l->perturbed.row_ptr != NULL;
    sl_stability_codes c = { .clean = d->z, .target = noise ? sl_sparse_of(&l->target, d->n_rows, d->d_sae) : d->z,
                             .perturbed = noise ? sl_sparse_of(&l->perturbed, d->n_rows, d->d_sae) : d->z, .valid = l->valid, .doc = d->doc,
                             .pos = d->pos, .classes = u->classes, .draws = u->o->draws, .seed = (uint64_t)u->o->seed };
    int64_t *room = NULL;
    sl_tally t;
    sl_status st;
    SL_GO(sl_tally_new(u->ctx, &c, &t, err));
    SL_GO(sl_tally_put(u->ctx, &t, &p->m, err));
    SL_GO(put_fvu(u, l, &p->m, err));
    if (u->has_truth)
        SL_GO(sl_put_noisy_f1(u, &c.perturbed, l->valid, &p->m, err));
    p->achieved = l->achieved;
    p->valid = l->n_valid;
    p->skipped = d->n_rows - l->n_valid;
    if (part)
        memcpy(part, t.part, sizeof t.part);
    if (report) {
        room = sl_alloc(u->ctx, (size_t)(d->d_sae * (SL_RATE_BINS + 1)) * sizeof *room);
        SL_GO(sl_have("stability", 1, (const void *const[]){ room }, err));
        fill_report(&t, &c, report, room);
    }
done:
    sl_free(u->ctx, room);
    sl_tally_release(u->ctx, &t);
    return st;
}
