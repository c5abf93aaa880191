/* Perturbed copies of a batch: delta by type, its size, and what the code ought to be (science.md B1). Random numbers depend on (seed, step,
 * row, view) alone. */
#include "sae/perturb.h"

#include <math.h>
#include <string.h>

static const double TINY = 1e-6; /* rows of a smaller norm are not perturbed */

double sl_perturb_norm(const float *x, const float *mean, int64_t d)
{
    double sq = 0;
    for (int64_t j = 0; j < d; j++) {
        double v = (double)x[j] - (mean ? (double)mean[j] : 0);
        sq += v * v;
    }
    return sqrt(sq);
}

/* One batch on its way. */
typedef struct make {
    sl_perturb *p;
    const float *x, *mean;
    const sl_csr *z;
    int64_t n;
    sl_perturb_key key;
    double eps;
    sl_perturb_view *v;
} make;

static sl_rng row_stream(const make *m, int64_t r)
{
    return sl_rng_at((uint64_t)m->p->c->seed, SL_RNG_NOISE, (uint64_t)m->key.step, (uint64_t)(m->key.first + r) * 256 + 128 + (uint64_t)m->key.view);
}

/* ---- noise of full or low rank: any length, scaled later ---- */

static void product(make *m, int64_t r, const float *rows)
{
    const sl_kern *k = m->p->k;
    sl_tensor c = sl_tensor_of(SL_F32, m->p->small, 2, m->n, r), U = sl_tensor_of(SL_F32, (void *)(uintptr_t)rows, 2, r, m->p->d);
    sl_tensor y = sl_tensor_of(SL_F32, m->p->noise, 2, m->n, m->p->d);
    k->noise_rows(k, (uint64_t)m->p->c->seed, (uint64_t)m->key.step, m->key.first, m->key.view, false, &c);
    k->gemm(k, &(sl_gemm){ .a = &c, .b = &U, .c = &y, .alpha = 1 });
}

static bool noise(make *m)
{
    sl_perturb *p = m->p;
    if (p->c->type == SL_PERTURB_GAUSS && p->c->rank > 0) {
        if (!sl_perturb_directions(p, m->key.step))
            return false;
        product(m, p->c->rank, p->basis);
    } else if (p->c->type == SL_PERTURB_SHAPED)
        product(m, p->n_factor, p->factor);
    else {
        sl_tensor y = sl_tensor_of(SL_F32, p->noise, 2, m->n, p->d);
        p->k->noise_rows(p->k, (uint64_t)p->c->seed, (uint64_t)m->key.step, m->key.first, m->key.view, p->c->type == SL_PERTURB_UNIFORM, &y);
    }
    return true;
}

/* ---- masks, rounding ---- */

static void mask_row(const make *m, int64_t r, float *delta)
{
    sl_rng g = row_stream(m, r);
    const sl_perturb *p = m->p;
    double share = m->eps * m->eps;
    memset(delta, 0, (size_t)p->d * sizeof *delta);
    for (int64_t i = 0; i < p->d; i++) {
        if (!(sl_rng_uniform(&g) < share))
            continue;
        const float *u = p->turn ? p->turn + i * p->d : NULL;
        double along = u ? 0 : (double)m->x[r * p->d + i] - (m->mean ? (double)m->mean[i] : 0);
        for (int64_t j = 0; u && j < p->d; j++)
            along += (double)u[j] * ((double)m->x[r * p->d + j] - (m->mean ? (double)m->mean[j] : 0));
        for (int64_t j = 0; u && j < p->d; j++)
            delta[j] -= (float)(along * (double)u[j]);
        if (!u)
            delta[i] = (float)-along;
    }
}

static void quant_row(const make *m, int64_t r, float *delta)
{
    static const double levels[] = { 127, 31, 7, 3 }; /* 2^(bits - 1) - 1 */
    int64_t d = m->p->d;
    int how = m->p->c->quant;
    double most = 0;
    for (int64_t j = 0; j < d; j++) {
        delta[j] = (float)((double)m->x[r * d + j] - (m->mean ? (double)m->mean[j] : 0));
        most = fmax(most, fabs((double)delta[j]));
    }
    for (int64_t j = 0; j < d; j++) {
        double step = how <= SL_QUANT_INT3 ? most / levels[how] : 0;
        float v = delta[j], to = how == SL_QUANT_BF16 ? sl_bf16_to_f32(sl_f32_to_bf16(v)) : how == SL_QUANT_FP16 ? sl_f16_to_f32(sl_f32_to_f16(v)) : v;
        delta[j] = step > 0 ? (float)(step * rint((double)v / step) - (double)v) : to - v;
    }
}

/* ---- along decoder rows ---- */

static void add_direction(const make *m, int32_t j, double by, float *delta)
{
    const float *w = (const float *)m->p->s->W_dec->value.data + (int64_t)j * m->p->d;
    for (int64_t i = 0; i < m->p->d; i++)
        delta[i] += (float)(by * (double)w[i]);
}

static void put(sl_csr *z, int64_t r, int32_t j, double v)
{
    z->idx[z->row_ptr[r + 1]] = j;
    ((float *)z->val)[z->row_ptr[r + 1]++] = (float)v;
}

static void inject_row(const make *m, int64_t r, float *delta)
{
    sl_perturb *p = m->p;
    int32_t who[16];
    sl_rng g = row_stream(m, r);
    int n = m->z->row_ptr[r + 1] > m->z->row_ptr[r] ? sl_perturb_pick(p, m->z, r, m->x + r * p->d, (int)p->c->q, &g, who) : 0;
    bool direct = p->c->type == SL_PERTURB_DIRECT, moves = !direct && p->c->target == SL_TARGET_EQUIVARIANT;
    for (int i = 0; i < n; i++) {
        double by = direct ? sl_rng_normal(&g) : p->c->alpha * p->act_sum[who[i]] / p->act_n[who[i]] * (.5 + sl_rng_uniform(&g));
        add_direction(m, who[i], by, delta);
        if (p->pool) {
            m->v->at[r * p->c->q + i] = p->pool_of[who[i]];
            m->v->coef[r * p->c->q + i] = (float)by;
        }
        if (moves && by > 0)
            put(&m->v->add, r, who[i], by);
    }
    m->v->valid[r] = m->v->valid[r] && n > 0;
    m->v->limit_room[r] = (int32_t)(m->z->row_ptr[r + 1] - m->z->row_ptr[r]) + n;
}

static void drop_row(const make *m, int64_t r, float *delta)
{
    sl_rng g = row_stream(m, r);
    const float *val = m->z->val;
    int64_t from = m->z->row_ptr[r], left = m->z->row_ptr[r + 1] - from, want = left < m->p->c->q ? left : m->p->c->q;
    m->v->valid[r] = m->v->valid[r] && left > 0;
    m->v->limit_room[r] = (int32_t)(left - want);
    for (int64_t e = from; want > 0; e++, left--) { /* each entry with the probability that makes every set of `want` as likely */
        if (!(sl_rng_uniform(&g) * (double)left < (double)want))
            continue;
        add_direction(m, m->z->idx[e], -(double)val[e], delta);
        put(&m->v->drop, r, m->z->idx[e], (double)val[e]);
        want--;
    }
}

/* z max(0, 1 + eps n) on active latents: z* is z + add, add of either sign. A row without room for its latents is left out. */
static void latent_row(const make *m, int64_t r, float *delta)
{
    sl_rng g = row_stream(m, r);
    const float *val = m->z->val;
    m->v->valid[r] = m->z->row_ptr[r + 1] > m->z->row_ptr[r] && m->v->add.row_ptr[r] + m->z->row_ptr[r + 1] - m->z->row_ptr[r] <= m->v->add.capacity;
    for (int64_t e = m->z->row_ptr[r]; m->v->valid[r] && e < m->z->row_ptr[r + 1]; e++) {
        double by = fmax(-1, m->eps * sl_rng_normal(&g)) * (double)val[e];
        add_direction(m, m->z->idx[e], by, delta);
        put(&m->v->add, r, m->z->idx[e], by);
    }
}

/* ---- all rows ---- */

typedef void (*row_fn)(const make *m, int64_t r, float *delta);

static void each_row(make *m, row_fn fn)
{
    sl_perturb_view *v = m->v;
    memset(m->p->noise, 0, (size_t)(m->n * m->p->d) * sizeof(float));
    v->add.row_ptr[0] = v->drop.row_ptr[0] = 0;
    for (int64_t r = 0; r < m->n; r++) {
        v->add.row_ptr[r + 1] = v->add.row_ptr[r];
        v->drop.row_ptr[r + 1] = v->drop.row_ptr[r];
        if (v->valid[r])
            fn(m, r, m->p->noise + r * m->p->d);
        else
            v->limit_room[r] = 1;
    }
}

/* delta as coefficients of few directions: what was drawn, in the size that it has now. */
static void scale_coefficients(const make *m, int64_t r, double by)
{
    const sl_perturb *p = m->p;
    int64_t q = sl_cols(&m->v->move.coef);
    for (int64_t i = 0; i < q; i++) {
        double drawn = p->pool ? (double)m->v->coef[r * q + i] : (double)p->small[r * q + i];
        m->v->coef[r * q + i] = (float)(by * drawn);
    }
}

/* delta += g, |g| = with_gauss |x|, of the rows that are perturbed. The view's own rows, not yet written, hold the noise. */
static void add_gauss(make *m)
{
    const sl_perturb *p = m->p;
    sl_tensor y = m->v->x;
    if (!(p->c->with_gauss > 0))
        return;
    p->k->noise_rows(p->k, (uint64_t)p->c->seed, (uint64_t)m->key.step, m->key.first, m->key.view, false, &y);
    for (int64_t r = 0; r < m->n; r++) {
        const float *g = (const float *)y.data + r * p->d;
        float *delta = p->noise + r * p->d;
        double length = sl_perturb_norm(g, NULL, p->d);
        double by = m->v->valid[r] && length > 0 ? p->c->with_gauss * sl_perturb_norm(m->x + r * p->d, m->mean, p->d) / length : 0;
        for (int64_t j = 0; j < p->d; j++)
            delta[j] += (float)(by * (double)g[j]);
    }
}

/* x + delta, each valid row's delta at its size; counts what was achieved. */
static void finish(make *m, bool relative, double sign)
{
    sl_perturb_view *v = m->v;
    int64_t d = m->p->d;
    float *out = v->x.data;
    v->n_valid = 0;
    v->achieved = 0;
    for (int64_t r = 0; r < m->n; r++) {
        const float *x = m->x + r * d, *delta = m->p->noise + r * d;
        double size = sl_perturb_norm(x, m->mean, d), length = sl_perturb_norm(delta, NULL, d);
        v->valid[r] = v->valid[r] && length > 0 && isfinite(length);
        double by = !v->valid[r] ? 0 : relative ? sign * m->eps * size / length : 1;
        for (int64_t j = 0; j < d; j++)
            out[r * d + j] = by != 0 ? (float)((double)x[j] + by * (double)delta[j]) : x[j];
        if (v->move.dirs.data)
            scale_coefficients(m, r, by);
        v->n_valid += v->valid[r];
        v->achieved += v->valid[r] ? fabs(by) * length / size : 0;
    }
    v->achieved = v->n_valid ? v->achieved / (double)v->n_valid : 0;
}

/* What each type has: how delta is made, and whether it is scaled to eps |x|. */
static sl_status fill_delta(make *m, bool *relative, sl_err *err)
{
    sl_perturb *p = m->p;
    *relative = false;
    switch (p->c->type) {
    case SL_PERTURB_GAUSS:
    case SL_PERTURB_UNIFORM:
    case SL_PERTURB_SHAPED:
        *relative = true;
        return noise(m) ? SL_OK : sl_fail(err, SL_MEM, "perturb", NULL, "no memory for %lld directions", (long long)p->c->rank);
    case SL_PERTURB_DIRECT:
        *relative = true;
        each_row(m, inject_row);
        return SL_OK;
    case SL_PERTURB_FGSM:
    case SL_PERTURB_PGD:
        return sl_perturb_attack(p, m->x, m->mean, m->z, m->n, m->key, m->eps, err);
    case SL_PERTURB_MASK:
    case SL_PERTURB_MASK_ROTATED: each_row(m, mask_row); return SL_OK;
    case SL_PERTURB_QUANT: each_row(m, quant_row); return SL_OK;
    case SL_PERTURB_INJECT:
        each_row(m, inject_row);
        add_gauss(m);
        return SL_OK;
    case SL_PERTURB_FEATDROP: each_row(m, drop_row); return SL_OK;
    default: each_row(m, latent_row); return SL_OK;
    }
}

/* Where delta lies along few directions: these, and room for the coefficients. */
static void begin_move(make *m)
{
    sl_perturb *p = m->p;
    sl_perturb_view *v = m->v;
    v->move = (sl_move){ 0 };
    if (p->pool) {
        if (m->key.view == 0)
            sl_perturb_draw_pool(p, m->x, m->z, m->n, m->key.step);
        if (p->n_pool == 0)
            return;
        v->move = (sl_move){ .dirs = sl_tensor_of(SL_F32, p->pool, 2, p->n_pool, p->d), .coef = sl_tensor_of(SL_F32, v->coef, 2, m->n, p->c->q),
                             .at = sl_tensor_of(SL_I32, v->at, 2, m->n, p->c->q), .latent = sl_tensor_of(SL_I32, p->pool_latent, 1, p->n_pool) };
        for (int64_t i = 0; i < m->n * p->c->q; i++) {
            v->at[i] = -1;
            v->coef[i] = 0;
        }
    } else if (p->c->type == SL_PERTURB_GAUSS && p->c->rank > 0)
        v->move = (sl_move){ .dirs = sl_tensor_of(SL_F32, p->basis, 2, p->c->rank, p->d), .coef = sl_tensor_of(SL_F32, v->coef, 2, m->n, p->c->rank) };
    if (p->c->with_gauss > 0) /* then delta lies along any direction */
        v->move = (sl_move){ 0 };
}

sl_status sl_perturb_make(sl_perturb *p, const float *x, const float *mean, const sl_csr *z, int64_t n, sl_perturb_key key, double eps, int at, sl_err *err)
{
    sl_perturb_view *v = &p->view[at];
    double sign = p->c->antithetic && key.view % 2 ? -1 : 1;
    bool relative;
    key.view -= sign < 0 ? 1 : 0;
    make m = { p, x, mean, z, n, key, eps, v };
    v->x.dim[0] = n;
    v->limit = p->c->type == SL_PERTURB_INJECT || p->c->type == SL_PERTURB_FEATDROP ? v->limit_room : NULL;
    v->add.n_rows = p->c->type == SL_PERTURB_INJECT || p->c->type == SL_PERTURB_LATENT ? n : 0;
    v->drop.n_rows = p->c->type == SL_PERTURB_FEATDROP ? n : 0;
    for (int64_t r = 0; r < n; r++)
        v->valid[r] = sl_perturb_norm(x + r * p->d, mean, p->d) >= TINY;
    begin_move(&m);
    SL_TRY(fill_delta(&m, &relative, err));
    finish(&m, relative, sign);
    p->v[PT_ROWS] += (double)n;
    p->v[PT_SKIPPED] += (double)(n - v->n_valid);
    return SL_OK;
}
