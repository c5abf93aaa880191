/* Cases: dense latents of penalty variants. */
#include "cases.h"

static void run_jump(krun *r)
{
    sl_tensor a = kt_random(r, r->s.m, r->s.n, 0), theta = kt_random(r, r->s.n, 0, 0), z = kt_nan(r, r->s.m, r->s.n, 0);
    r->k->jump(r->k, &a, &theta, &z);
    kt_record(r, &z);
    r->k->jump(r->k, &a, &theta, &a);
    kt_record(r, &a);
}

static void run_jump_back(krun *r)
{
    int64_t m = r->s.m, n = r->s.n;
    sl_tensor a = kt_random(r, m, n, 0), theta = kt_random(r, n, 0, 0), dz = kt_random(r, m, n, 0);
    sl_tensor da = kt_nan(r, m, n, 0), more = kt_random(r, m, n, 0), dtheta = kt_random(r, n, 0, 0);
    r->k->jump_back(r->k, .75, &a, &theta, &dz, 0, &da, &dtheta);
    r->k->jump_back(r->k, .75, &a, &theta, &dz, -.5, &more, NULL);
    r->k->jump_back(r->k, .75, &a, &theta, &dz, 0, NULL, &dtheta);
    kt_record(r, &da);
    kt_record(r, &more);
    kt_record(r, &dtheta);
    r->k->jump_back(r->k, .75, &a, &theta, &dz, 0, &dz, &dtheta);
    kt_record(r, &dz);
    kt_record(r, &dtheta);
}

static void run_jump_near(krun *r)
{
    int64_t m = r->s.m, n = r->s.n;
    sl_tensor a0 = kt_random(r, m, n, 0), theta0 = kt_random(r, n, 0, 0), a = kt_random(r, m, n, 0), theta = kt_random(r, n, 0, 0);
    sl_tensor z = kt_nan(r, m, n, 0);
    r->k->jump_near(r->k, .75, &a0, &theta0, &a, &theta, &z);
    kt_record(r, &z);
}

static void run_count(krun *r)
{
    sl_tensor a = kt_random(r, r->s.m, r->s.n, 0), theta = kt_random(r, r->s.n, 0, 0);
    kt_number(r, r->k->count(r->k, &a, &theta));
}

static void run_count_back(krun *r)
{
    sl_tensor a = kt_random(r, r->s.m, r->s.n, 0), theta = kt_random(r, r->s.n, 0, 0), dtheta = kt_random(r, r->s.n, 0, 0);
    r->k->count_back(r->k, .75, &a, &theta, -.3, &dtheta);
    kt_record(r, &dtheta);
}

static void run_count_near(krun *r)
{
    sl_tensor a = kt_random(r, r->s.m, r->s.n, 0), theta0 = kt_random(r, r->s.n, 0, 0), theta = kt_random(r, r->s.n, 0, 0);
    kt_number(r, r->k->count_near(r->k, .75, &a, &theta0, &theta));
}

/* U8 [n], a third 1 */
static sl_tensor skipped(krun *r, int64_t n)
{
    sl_tensor s = kt_ids(r, n, 0, 3, false), u = s;
    u.dtype = SL_U8;
    for (int64_t i = 0; i < n; i++)
        ((uint8_t *)u.data)[i] = ((const int32_t *)s.data)[i] == 0; /* byte i is not read again */
    return u;
}

static void run_hinge(krun *r)
{
    sl_tensor a = kt_random(r, r->s.m, r->s.n, 0), theta = kt_random(r, r->s.n, 0, 0), skip = skipped(r, r->s.n);
    kt_number(r, r->k->hinge(r->k, &a, &theta, &skip));
}

static void run_hinge_back(krun *r)
{
    int64_t m = r->s.m, n = r->s.n;
    sl_tensor a = kt_random(r, m, n, 0), theta = kt_random(r, n, 0, 0), skip = skipped(r, n);
    sl_tensor da = kt_nan(r, m, n, 0), more = kt_random(r, m, n, 0), dtheta = kt_random(r, n, 0, 0);
    r->k->hinge_back(r->k, &a, &theta, &skip, 1.5, 0, &da, &dtheta);
    r->k->hinge_back(r->k, &a, &theta, &skip, .5, 1, &more, NULL);
    r->k->hinge_back(r->k, &a, &theta, &skip, .5, 1, NULL, &dtheta);
    kt_record(r, &da);
    kt_record(r, &more);
    kt_record(r, &dtheta);
}

static void run_gate(krun *r)
{
    sl_tensor pi = kt_random(r, r->s.m, r->s.n, 0), gain = kt_random(r, r->s.n, 0, 0), shift = kt_random(r, r->s.n, 0, 0);
    sl_tensor z = kt_nan(r, r->s.m, r->s.n, 0);
    r->k->gate(r->k, &pi, &gain, &shift, &z);
    kt_record(r, &z);
}

static void run_gate_back(krun *r)
{
    int64_t m = r->s.m, n = r->s.n;
    sl_tensor pi = kt_random(r, m, n, 0), gain = kt_random(r, n, 0, 0), z = kt_random(r, m, n, 0), dz = kt_random(r, m, n, 0);
    sl_tensor dpi = kt_nan(r, m, n, 0), more = kt_random(r, m, n, 0), dgain = kt_random(r, n, 0, 0), dshift = kt_random(r, n, 0, 0);
    r->k->gate_back(r->k, &pi, &gain, &z, &dz, 0, &dpi, &dgain, &dshift);
    r->k->gate_back(r->k, &pi, &gain, &z, &dz, 1, &more, NULL, NULL);
    r->k->gate_back(r->k, &pi, &gain, &z, &dz, 0, NULL, &dgain, NULL);
    r->k->gate_back(r->k, &pi, &gain, &z, &dz, 0, NULL, NULL, &dshift);
    kt_record(r, &dpi);
    kt_record(r, &more);
    kt_record(r, &dgain);
    kt_record(r, &dshift);
    r->k->gate_back(r->k, &pi, &gain, &z, &dz, 0, &dz, NULL, NULL);
    kt_record(r, &dz);
}

static const sl_penalty penalties[] = { { SL_PENALTY_L1, 0 }, { SL_PENALTY_TANH, 4 }, { SL_PENALTY_POWER, .2 }, { SL_PENALTY_POWER, 1 } };
enum { N_PENALTY = sizeof penalties / sizeof *penalties };

/* Norms: not negative. */
static sl_tensor weights(krun *r, int64_t n)
{
    sl_tensor w = kt_random(r, n, 0, 0);
    r->k->mul(r->k, &w, &w, 0, &w);
    return w;
}

static void run_penalty(krun *r)
{
    sl_tensor z = kt_random(r, r->s.m, r->s.n, 0), w = weights(r, r->s.n);
    for (int i = 0; i < N_PENALTY; i++) {
        kt_number(r, r->k->penalty(r->k, &penalties[i], &z, NULL));
        kt_number(r, r->k->penalty(r->k, &penalties[i], &z, &w));
    }
}

static void run_penalty_back(krun *r)
{
    int64_t m = r->s.m, n = r->s.n;
    sl_tensor z = kt_random(r, m, n, 0), w = weights(r, n), dz = kt_nan(r, m, n, 0), more = kt_random(r, m, n, 0), dw = kt_random(r, n, 0, 0);
    for (int i = 0; i < N_PENALTY; i++) {
        r->k->penalty_back(r->k, &penalties[i], &z, NULL, .7, 0, &dz, NULL);
        kt_record(r, &dz);
        r->k->penalty_back(r->k, &penalties[i], &z, &w, .3, 1, &more, &dw);
        r->k->penalty_back(r->k, &penalties[i], &z, &w, .7, 0, NULL, &dw);
        kt_record(r, &more);
        kt_record(r, &dw);
    }
}

/* Values that are chosen or counted are exact. Slopes of u^.2 reach 1e5 near 0, and sums run over up to 130 rows. */
const kcase kcases_latents[] = {
    KCASE(jump, run_jump, 0, 0),
    KCASE(jump_back, run_jump_back, 2e-6, 2e-6),
    KCASE(count, run_count, 0, 0),
    KCASE(count_back, run_count_back, 2e-6, 2e-6),
    KCASE(jump_near, run_jump_near, 2e-6, 2e-6),
    KCASE(count_near, run_count_near, 1e-6, 1e-6),
    KCASE(hinge, run_hinge, 1e-6, 1e-6),
    KCASE(hinge_back, run_hinge_back, 2e-6, 2e-6),
    KCASE(gate, run_gate, 1e-6, 1e-6),
    KCASE(gate_back, run_gate_back, 2e-6, 2e-6),
    KCASE(penalty, run_penalty, 1e-6, 1e-6),
    KCASE(penalty_back, run_penalty_back, 1e-5, 1e-5),
    { 0 }
};
