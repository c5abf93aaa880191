/* One optimizer step: finite check, projection, global norm, clip, AdamW or Muon, renormalisation; and the schedules. Dictionaries take
 * two passes over their rows (kern.h, sl_sweep): the first makes norms, the second does all the rest. */
#include "tape/params.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>

#define PI 3.14159265358979323846

static bool active(const sl_param *p) { return !(p->flags & SL_PARAM_FROZEN); }

/* "W_enc[3, 5]" */
static void element_text(const sl_param *p, int64_t i, char out[192])
{
    int64_t at[SL_MAX_DIM];
    for (int d = p->grad.n_dim - 1; d >= 0; d--) {
        at[d] = i % p->grad.dim[d];
        i /= p->grad.dim[d];
    }
    int len = snprintf(out, 192, "%s[", p->name);
    for (int d = 0; d < p->grad.n_dim; d++)
        len += snprintf(out + len, 192 - (size_t)len, "%s%lld", d ? ", " : "", (long long)at[d]);
    snprintf(out + len, 192 - (size_t)len, "]");
}

static sl_status not_finite(const sl_optim *o, const sl_params *ps, sl_param *p, sl_err *err)
{
    char where[32], element[192];
    if (!sl_param_make_dense(p))
        return sl_fail(err, SL_MEM, p->name, NULL, "no memory to look for what is not finite in its gradient");
    int64_t i = ps->kern->not_finite(ps->kern, &p->grad);
    snprintf(where, sizeof where, "step %lld", (long long)o->step);
    if (i < 0)
        return sl_fail(err, SL_NUMERIC, where, NULL, "norm of the gradient of %s is not finite", p->name);
    element_text(p, i, element);
    return sl_fail(err, SL_NUMERIC, where, NULL, "gradient of %s is not finite", element);
}

/* A dictionary is swept by rows; everything else is an array of numbers. */
static bool is_swept(const sl_optim *o, const sl_param *p)
{
    return p->value.n_dim == 2 && (p->flags & (SL_PARAM_UNIT_ROWS | SL_PARAM_TERMS)) && !(o->kind == SL_OPTIM_MUON && sl_is_muon(p));
}

static sl_sweep sweep_of(sl_param *p)
{
    bool unit = p->flags & SL_PARAM_UNIT_ROWS, whole = !(p->flags & SL_PARAM_TERMS) || p->dense;
    return (sl_sweep){ .W = &p->value, .m = &p->m, .v = &p->v, .grad = whole ? &p->grad : NULL, .term = p->term, .n_terms = p->n_terms,
                       .project = unit && !(p->flags & SL_PARAM_NO_PROJECT), .normalize = unit };
}

static double swept_sq(const sl_kern *k, sl_param *p, bool project)
{
    sl_sweep s = sweep_of(p);
    s.project = s.project && project;
    return k->sweep_sq(k, &s);
}

/* Squared norm of all gradients; those of unit rows are projected unless that comes later. Nothing is changed here. */
static sl_status gradient_sq(const sl_optim *o, sl_params *ps, double *sq, sl_err *err)
{
    const sl_kern *k = ps->kern;
    *sq = 0;
    for (int i = 0; i < ps->n; i++) {
        sl_param *p = ps->p[i];
        if (!active(p))
            continue;
        double s = is_swept(o, p) ? swept_sq(k, p, !o->clip_first) : k->sum_sq(k, &p->grad);
        if (!isfinite(s))
            return not_finite(o, ps, p, err);
        *sq += s;
    }
    return SL_OK;
}

static void update(const sl_optim *o, sl_params *ps, sl_param *p, double grad_scale)
{
    const sl_kern *k = ps->kern;
    if (o->kind == SL_OPTIM_MUON && sl_is_muon(p)) {
        sl_muon_step(ps, o, p, grad_scale);
    } else {
        sl_adam a = { .lr = o->lr * p->lr_scale, .beta1 = o->beta1, .beta2 = o->beta2, .eps = o->eps,
                      .decay = p->flags & SL_PARAM_DECAY ? o->weight_decay : 0, .grad_scale = grad_scale, .step = o->step + 1 };
        sl_sweep s = sweep_of(p);
        if (is_swept(o, p))
            k->sweep_adam(k, &s, &a);
        else
            k->adam(k, &a, &p->value, &p->grad, &p->m, &p->v);
    }
    sl_param_touch(p);
}

sl_status sl_optim_step(sl_optim *o, sl_params *ps, double *grad_norm, sl_err *err)
{
    assert(ps->n == 0 || ps->p[0]->m.data);
    double sq;
    if (o->kind == SL_OPTIM_MUON)
        SL_TRY(sl_muon_prepare(ps, err));
    SL_TRY(gradient_sq(o, ps, &sq, err));
    double norm = sqrt(sq), grad_scale = 1;
    if (o->clip > 0 && o->clip < norm + 1e-6)
        grad_scale = o->clip / (norm + 1e-6); /* torch.nn.utils.clip_grad_norm_ */
    for (int i = 0; i < ps->n; i++)
        if (active(ps->p[i]))
            update(o, ps, ps->p[i], grad_scale);
    o->step++;
    if (grad_norm)
        *grad_norm = norm;
    if (sl_kern_failed(ps->kern))
        return sl_fail(err, SL_MEM, "kernels", NULL, "no memory for scratch");
    return SL_OK;
}

/* ---- schedules ---- */

double sl_schedule_at(const sl_schedule *s, int64_t step)
{
    if (step < s->warmup)
        return s->lr * (double)(step + 1) / (double)(s->warmup + 1);
    if (s->kind == SL_SCHED_CONSTANT)
        return s->lr;
    if (step > s->steps)
        return s->min_lr;
    int64_t from = s->kind == SL_SCHED_COSINE ? s->warmup : s->decay_start;
    if (step <= from)
        return s->lr;
    double part = (double)(step - from) / (double)(s->steps - from); /* in (0, 1]: from < step <= steps */
    double share = s->kind == SL_SCHED_COSINE ? .5 * (1 + cos(PI * part)) : 1 - part;
    return s->min_lr + share * (s->lr - s->min_lr);
}
