/* Which latents are injected (science.md B2): candidates lack in the row and fire within the memory of the layer. nn, leak and cofire score
 * the neighbours of the row's active latents, s_j = max_i s_ij; fragile and margin score 64 random candidates. Of q draws without repetition
 * each is, with probability .9, proportional to exp(beta z-score), else uniform. */
#include "sae/perturb.h"

#include <math.h>
#include <string.h>

enum { SOME = 64, BLOCK = 256, ACTIVE = -1 };
static const double ALIVE = .05; /* firings left in memory below which a latent counts as dead here */

/* ---- neighbour lists ---- */

static void insert(sl_perturb *p, int64_t i, int32_t j, float s)
{
    int32_t *who = p->near + i * SL_NEAR;
    float *score = p->near_score + i * SL_NEAR;
    int at = SL_NEAR - 1;
    if (who[at] >= 0 && score[at] >= s)
        return;
    for (; at > 0 && (who[at - 1] < 0 || score[at - 1] < s); at--) {
        who[at] = who[at - 1];
        score[at] = score[at - 1];
    }
    who[at] = j;
    score[at] = s;
}

/* Rows i0 .. i0 + n - 1 of |A W_dec^T|, A = W_dec (nn) or W_enc (leak). */
static void list_block(sl_perturb *p, const sl_tensor *A, int64_t i0, int64_t n, float *dots)
{
    sl_tensor a = sl_tensor_of(SL_F32, (float *)A->data + i0 * p->d, 2, n, p->d), c = sl_tensor_of(SL_F32, dots, 2, n, p->F);
    p->k->gemm(p->k, &(sl_gemm){ .a = &a, .b = &p->s->W_dec->value, .tb = true, .c = &c, .alpha = 1 });
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < p->F; j++)
            if (j != i0 + i)
                insert(p, i0 + i, (int32_t)j, fabsf(dots[i * p->F + j]));
}

/* PMI = ln(n_ij N / (n_i n_j)), n_ij >= 5. The pairs are counted in a part of the rows: their N is the sum of the counts over latents. */
static void list_cofiring(sl_perturb *p)
{
    double scale = 0, pairs = 0, singles = 0;
    for (int64_t f = 0; f < p->F; f++)
        singles += p->act_n[f];
    for (int64_t e = 0; e < p->F * SL_PAIRS; e++)
        pairs += p->pair_n[e];
    scale = pairs > 0 ? singles / pairs : 0; /* a constant: it moves no z-score */
    for (int64_t i = 0; i < p->F; i++)
        for (int e = 0; e < SL_PAIRS; e++) {
            int32_t j = p->pair[i * SL_PAIRS + e];
            double n = p->pair_n[i * SL_PAIRS + e];
            if (j >= 0 && n >= 5 && p->act_n[i] > 0 && p->act_n[j] > 0)
                insert(p, i, j, (float)log(scale * n * p->v[PT_SEEN] / (p->act_n[i] * p->act_n[j])));
        }
}

void sl_perturb_refresh(sl_perturb *p)
{
    const sl_tensor *A = p->c->select == SL_SELECT_LEAK && p->s->W_enc ? &p->s->W_enc->value : &p->s->W_dec->value;
    if (p->c->select > SL_SELECT_LEAK)
        return;
    for (int64_t i = 0; i < p->F * SL_NEAR; i++)
        p->near[i] = -1;
    if (p->c->select == SL_SELECT_COFIRE) {
        list_cofiring(p);
        return;
    }
    float *dots = sl_alloc(p->ctx, (size_t)(BLOCK * p->F) * sizeof *dots);
    for (int64_t i = 0; dots && i < p->F; i += BLOCK)
        list_block(p, A, i, p->F - i < BLOCK ? p->F - i : BLOCK, dots);
    sl_free(p->ctx, dots); /* without memory the lists are empty, and the choice is uniform */
}

/* ---- candidates of a row ---- */

typedef struct choice { sl_perturb *p; const sl_csr *z; int64_t r; const float *x; sl_rng *g; int n; bool pooled; } choice;

static bool eligible(const choice *c, int32_t j, const int32_t *out, int n_out)
{
    if (c->p->act_n[j] < ALIVE || c->p->seat[j] == ACTIVE || (c->pooled && c->p->pool_of[j] < 0))
        return false;
    for (int i = 0; i < n_out; i++)
        if (out[i] == j)
            return false;
    return true;
}

/* A uniform one of the eligible: the first from a random place on; -1: none. */
static int32_t any(const choice *c, const int32_t *out, int n_out)
{
    const sl_perturb *p = c->p;
    int64_t n = c->pooled ? p->n_pool : p->F, at = 0;
    for (int tries = 0; tries < SOME && n > 0; tries++) {
        at = (int64_t)sl_rng_below(c->g, (uint64_t)n);
        int32_t j = c->pooled ? p->pool_latent[at] : (int32_t)at;
        if (eligible(c, j, out, n_out))
            return j;
    }
    for (int64_t i = 0; i < n; i++) {
        int32_t j = c->pooled ? p->pool_latent[(at + i) % n] : (int32_t)((at + i) % n);
        if (eligible(c, j, out, n_out))
            return j;
    }
    return -1;
}

static void offer(choice *c, int32_t j, float s)
{
    float *score = c->p->score;
    int32_t *seat = c->p->seat;
    if (seat[j] > 0) {
        score[seat[j] - 1] = s > score[seat[j] - 1] ? s : score[seat[j] - 1];
        return;
    }
    c->p->touched[c->n] = j;
    score[c->n++] = s;
    seat[j] = c->n;
}

static void offer_listed(choice *c, int64_t at)
{
    const sl_perturb *p = c->p;
    if (c->n < p->F && p->near[at] >= 0 && eligible(c, p->near[at], NULL, 0))
        offer(c, p->near[at], p->near_score[at]);
}

static void offer_neighbours(choice *c)
{
    const sl_perturb *p = c->p;
    for (int64_t e = c->z->row_ptr[c->r]; e < c->z->row_ptr[c->r + 1]; e++) {
        int64_t i = c->z->idx[e];
        for (int32_t n = c->pooled ? p->pool_from[i] : 0; c->pooled && n < p->pool_from[i + 1]; n++)
            offer_listed(c, p->pool_near[n]);
        for (int n = 0; !c->pooled && n < SL_NEAR / 4; n++) /* the best eight of each: a row has many active latents */
            offer_listed(c, i * SL_NEAR + n);
    }
}

/* - |a_j - tau| / |w_j|, tau the row's smallest active value. */
static float margin(const choice *c, int32_t j)
{
    const sl_sae *s = c->p->s;
    const float *w = s->W_enc ? (const float *)s->W_enc->value.data + (int64_t)j * c->p->d : (const float *)s->W_dec->value.data + (int64_t)j * c->p->d;
    const float *bias = s->center_input ? s->b_dec->value.data : NULL, *val = c->z->val;
    double a = s->b_enc ? (double)((const float *)s->b_enc->value.data)[j] : 0, sq = 0, tau = INFINITY;
    for (int64_t i = 0; i < c->p->d; i++) {
        a += (double)w[i] * ((double)c->x[i] - (bias ? (double)bias[i] : 0));
        sq += (double)w[i] * (double)w[i];
    }
    for (int64_t e = c->z->row_ptr[c->r]; e < c->z->row_ptr[c->r + 1]; e++)
        tau = fmin(tau, (double)val[e]);
    return (float)-(fabs(a - tau) / sqrt(fmax(sq, 1e-30)));
}

static void offer_some(choice *c)
{
    const sl_perturb *p = c->p;
    for (int i = 0; i < SOME && c->n < p->F; i++) {
        int32_t j = any(c, NULL, 0);
        if (j < 0)
            return;
        float fragile = p->fss_den[j] > 0 ? (float)(p->fss_num[j] / p->fss_den[j]) : 0;
        offer(c, j, p->c->select == SL_SELECT_MARGIN ? margin(c, j) : fragile);
    }
}

/* Scores become weights exp(beta z). */
static void weigh(choice *c)
{
    float *s = c->p->score;
    double mean = 0, var = 0, sd;
    for (int i = 0; i < c->n; i++)
        mean += (double)s[i] / c->n;
    for (int i = 0; i < c->n; i++)
        var += ((double)s[i] - mean) * ((double)s[i] - mean) / c->n;
    sd = sqrt(var);
    for (int i = 0; i < c->n; i++)
        s[i] = (float)exp(fmin(60, c->p->c->beta * (sd > 0 ? ((double)s[i] - mean) / sd : 0)));
}

static int32_t draw(choice *c, const int32_t *out, int n_out)
{
    float *s = c->p->score;
    double sum = 0;
    for (int i = 0; i < c->n; i++)
        sum += (double)s[i];
    if (!(sum > 0) || sl_rng_uniform(c->g) < .1)
        return any(c, out, n_out);
    double at = sum * sl_rng_uniform(c->g);
    int last = -1;
    for (int i = 0; i < c->n && at >= 0; i++) {
        if (!(s[i] > 0))
            continue;
        last = i;
        at -= (double)s[i];
    }
    s[last] = 0;
    return eligible(c, c->p->touched[last], out, n_out) ? c->p->touched[last] : any(c, out, n_out);
}

static void mark_active(const choice *c, int32_t as)
{
    for (int64_t e = c->z->row_ptr[c->r]; e < c->z->row_ptr[c->r + 1]; e++)
        c->p->seat[c->z->idx[e]] = as;
}

static int pick(choice *c, int q, int32_t *out)
{
    const sl_perturb *p = c->p;
    int n = 0;
    mark_active(c, ACTIVE);
    if (p->c->select == SL_SELECT_FRAGILE || p->c->select == SL_SELECT_MARGIN)
        offer_some(c);
    else if (p->c->select != SL_SELECT_UNIFORM)
        offer_neighbours(c);
    weigh(c);
    while (n < q) {
        int32_t j = draw(c, out, n);
        if (j < 0)
            break;
        int at = n++;
        for (; at > 0 && out[at - 1] > j; at--)
            out[at] = out[at - 1];
        out[at] = j;
    }
    mark_active(c, 0);
    for (int i = 0; i < c->n; i++)
        p->seat[p->touched[i]] = 0;
    return n;
}

int sl_perturb_pick(sl_perturb *p, const sl_csr *z, int64_t r, const float *x, int q, sl_rng *g, int32_t *out)
{
    return pick(&(choice){ p, z, r, x, g, 0, p->pool != NULL }, q, out);
}

/* ---- the pool of a step ---- */

enum { POOL_SHARE = 16 }; /* rows a latent of the pool */
static const uint64_t POOL_STREAM = ~((uint64_t)1 << 32); /* beside the rows' and the directions' streams */

bool sl_perturb_use_pool(sl_perturb *p)
{
    p->pool_room = p->room / POOL_SHARE > 0 ? p->room / POOL_SHARE : 1;
    p->pool = sl_alloc(p->ctx, (size_t)(p->pool_room * p->d) * sizeof *p->pool);
    p->pool_latent = sl_alloc(p->ctx, (size_t)p->pool_room * sizeof *p->pool_latent);
    p->pool_of = sl_alloc(p->ctx, (size_t)p->F * sizeof *p->pool_of);
    p->pool_from = sl_alloc(p->ctx, (size_t)(p->F + 1) * sizeof *p->pool_from);
    p->pool_near = sl_alloc(p->ctx, (size_t)(p->F * SL_NEAR) * sizeof *p->pool_near);
    return p->pool && p->pool_latent && p->pool_of && p->pool_from && p->pool_near;
}

static void list_pool(sl_perturb *p)
{
    int32_t n = 0;
    for (int64_t f = 0; f < p->F; f++) {
        for (int i = 0; i < SL_NEAR; i++)
            if (p->near[f * SL_NEAR + i] >= 0 && p->pool_of[p->near[f * SL_NEAR + i]] >= 0)
                p->pool_near[n++] = (int32_t)(f * SL_NEAR + i);
        p->pool_from[f + 1] = n;
    }
}

/* Every sixteenth row, from a random one on, picks one latent of all by its own scores; the pool is what they picked. */
void sl_perturb_draw_pool(sl_perturb *p, const float *x, const sl_csr *z, int64_t n, int64_t step)
{
    sl_rng g = sl_rng_at((uint64_t)p->c->seed, SL_RNG_NOISE, (uint64_t)step, POOL_STREAM);
    int64_t first = (int64_t)sl_rng_below(&g, (uint64_t)(n < POOL_SHARE ? n : POOL_SHARE));
    const float *W = p->s->W_dec->value.data;
    p->n_pool = 0;
    for (int64_t f = 0; f < p->F; f++)
        p->pool_of[f] = -1;
    for (int64_t r = first; r < n && p->n_pool < p->pool_room; r += POOL_SHARE) {
        int32_t j;
        if (z->row_ptr[r + 1] == z->row_ptr[r] || !pick(&(choice){ p, z, r, x + r * p->d, &g, 0, false }, 1, &j) || p->pool_of[j] >= 0)
            continue;
        p->pool_of[j] = (int32_t)p->n_pool;
        p->pool_latent[p->n_pool] = j;
        memcpy(p->pool + p->n_pool++ * p->d, W + (int64_t)j * p->d, (size_t)p->d * sizeof *p->pool);
    }    list_pool(p);
}
