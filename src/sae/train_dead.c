/* Which latents are dead, and starting them anew. */
#include "sae/train.h"

#include <math.h>
#include <string.h>

static void mark_fired(void *user, int64_t first_row, const sl_csr *part)
{
    sl_sae_trainer *t = user;
    const float *val = part->val;
    (void)first_row;
    int64_t n = part->row_ptr[part->n_rows];
    for (int64_t i = 0; i < n; i++) {
        t->fired[part->idx[i]] = 1;
        t->seen.min_active = (double)val[i] < t->seen.min_active ? (double)val[i] : t->seen.min_active;
    }
    t->seen.nnz += n;
}

void sl_sae_trainer_see(sl_sae_trainer *t, sl_latents z, int64_t n)
{
    memset(t->fired, 0, (size_t)t->s->d_sae);
    t->seen = (sl_sae_seen){ .n = n, .min_active = INFINITY };
    sl_latents_visit(t->tape, z, mark_fired, t);
    t->seen.l0 = (double)t->seen.nnz / (double)n;
}

void sl_sae_trainer_count_dead(sl_sae_trainer *t)
{
    t->n_dead = 0;
    for (int64_t f = 0; f < t->s->d_sae; f++) {
        t->alive[f] = t->since[f] < t->window;
        t->n_dead += !t->alive[f];
    }
}

void sl_sae_trainer_age(sl_sae_trainer *t, int64_t n)
{
    for (int64_t f = 0; f < t->s->d_sae; f++)
        t->since[f] = t->fired[f] ? 0 : t->since[f] + n;
}

/* ---- resampling (Bricken et al. 2023, "Towards Monosemanticity", appendix "Neuron resampling") ----
 * Of the step's rows one is drawn for each dead latent, without repetition, with probability proportional to its squared loss. With u its
 * direction from b_dec: d_j = u, w_j = .2 u times the mean norm of the encoder rows that live, b_enc_j = 0, moments of all three 0. */

/* The row at `at` of the running sum of weights that are left; -1: none is. */
static int64_t draw(const double *weight, int64_t n, double at)
{
    int64_t last = -1;
    for (int64_t r = 0; r < n; r++) {
        if (!(weight[r] > 0))
            continue;
        last = r;
        at -= weight[r];
        if (at < 0)
            break;
    }
    return last;
}

static double squared(const float *a, const float *b, int64_t d)
{
    double sq = 0;
    for (int64_t j = 0; j < d; j++) {
        double v = (double)a[j] - (b ? (double)b[j] : 0);
        sq += v * v;
    }
    return sq;
}

static double mean_living_norm(const sl_sae_trainer *t)
{
    double sum = 0;
    int64_t n = 0, d = t->s->d_in;
    for (int64_t f = 0; f < t->s->d_sae; f++)
        if (t->alive[f]) {
            sum += sqrt(squared((const float *)t->s->W_enc->value.data + f * d, NULL, d));
            n++;
        }
    return n ? sum / (double)n : 1;
}

static void clear_row(sl_param *p, int64_t f)
{
    size_t row = sl_nbytes(&p->value) / (size_t)p->value.dim[0];
    memset((char *)p->m.data + (size_t)f * row, 0, row);
    memset((char *)p->v.data + (size_t)f * row, 0, row);
}

static void start_anew(sl_sae_trainer *t, int64_t f, const float *x, double encoder_norm)
{
    sl_sae *s = t->s;
    int64_t d = s->d_in;
    const float *b = s->b_dec->value.data;
    double length = sqrt(squared(x, b, d));
    if (!(length > 0))
        return;
    for (int64_t j = 0; j < d; j++) {
        double u = ((double)x[j] - (double)b[j]) / length;
        ((float *)s->W_dec->value.data)[f * d + j] = (float)u;
        ((float *)s->W_enc->value.data)[f * d + j] = (float)(.2 * encoder_norm * u);
    }
    ((float *)s->b_enc->value.data)[f] = 0;
    clear_row(s->W_enc, f);
    clear_row(s->b_enc, f);
    clear_row(s->W_dec, f);
    t->since[f] = 0;
}

sl_status sl_sae_trainer_resample(sl_sae_trainer *t, const sl_sae_pass *p, sl_err *err)
{
    const sl_tensor *x = sl_value(t->tape, p->x), *xhat = sl_value(t->tape, p->xhat);
    int64_t n = sl_rows(x), d = t->s->d_in;
    double *weight = sl_tape_scratch(t->tape, (size_t)n * sizeof *weight), sum = 0, norm = mean_living_norm(t);
    SL_TRY(sl_tape_status(t->tape, err));
    for (int64_t r = 0; r < n; r++) {
        double loss = squared((const float *)x->data + r * d, (const float *)xhat->data + r * d, d);
        weight[r] = loss * loss;
        sum += weight[r];
    }
    sl_rng g = sl_rng_at(t->s->seed, SL_RNG_RESAMPLE, (uint64_t)t->step, 0);
    for (int64_t f = 0; f < t->s->d_sae; f++) {
        if (t->alive[f])
            continue;
        int64_t r = draw(weight, n, sum * sl_rng_uniform(&g));
        if (r < 0)
            break;
        start_anew(t, f, (const float *)x->data + r * d, norm);
        sum -= weight[r];
        weight[r] = 0;
    }
    sl_param_touch(t->s->W_enc);
    sl_param_touch(t->s->b_enc);
    sl_param_touch(t->s->W_dec);
    return SL_OK;
}
