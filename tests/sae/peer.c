#include "peer.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { ROWS = 32 };

static void read_golden(peer *p, const char *name, sl_dict *d)
{
    char path[128];
    sl_err err;
    snprintf(path, sizeof path, "tests/goldens/sae/%s.safetensors", name);
    sl_dict_init(p->ctx, d);
    sl_assert_ok(sl_safetensors_read(p->ctx, path, d, &err));
}

void peer_open(peer *p, const char *name)
{
    *p = (peer){ .ctx = sl_test_ctx(2), .name = name };
    read_golden(p, "problem", &p->problem);
    read_golden(p, name, &p->golden);
}

void peer_close(peer *p)
{
    sl_sae_free(p->s);
    sl_dict_release(&p->problem);
    sl_dict_release(&p->golden);
    sl_ctx_free(p->ctx);
}

const sl_recipe *peer_recipe(const char *name)
{
    for (int i = 0; sl_recipe_at(i); i++)
        if (strcmp(sl_recipe_at(i)->name, name) == 0)
            return sl_recipe_at(i);
    fail_msg("there is no recipe %s", name);
    return NULL;
}

static const sl_tensor *of_problem(const peer *p, const char *name)
{
    const sl_tensor *t = sl_dict_get(&p->problem, name);
    if (!t)
        fail_msg("the golden problem has no %s", name);
    return t;
}

const float *peer_tensor(const peer *p, const char *golden_case, const char *name, int64_t *n)
{
    char full[160];
    snprintf(full, sizeof full, "%s/%s", golden_case, name);
    const sl_tensor *t = sl_dict_get(&p->golden, full);
    if (!t)
        fail_msg("the golden of %s has no %s", p->name, full);
    if (n)
        *n = sl_numel(t);
    return t->data;
}

const float *peer_grad(const peer *p, const char *name)
{
    const sl_param *w = sl_params_find(p->s->params, name);
    if (!w)
        fail_msg("%s has no %s", p->s->ops->info.name, name);
    return w->grad.data;
}

/* What the goldens call a weight of ours: SAELens's name where that differs. */
static const char *golden_name(const sl_sae *s, const char *name)
{
    for (const sl_sae_rename *r = s->ops->names; r && r->ours; r++)
        if (strcmp(r->ours, name) == 0)
            return r->theirs;
    return name;
}

static void fold_norms(sl_sae *s)
{
    float *W_enc = s->W_enc->value.data, *b_enc = s->b_enc->value.data, *W_dec = s->W_dec->value.data;
    for (int64_t f = 0; f < s->d_sae; f++) {
        double sq = 0;
        for (int64_t j = 0; j < s->d_in; j++)
            sq += (double)W_dec[f * s->d_in + j] * (double)W_dec[f * s->d_in + j];
        float norm = (float)sqrt(sq);
        b_enc[f] *= norm;
        for (int64_t j = 0; j < s->d_in; j++) {
            W_enc[f * s->d_in + j] *= norm;
            W_dec[f * s->d_in + j] /= norm;
        }
    }
}

static void make(peer *p, const peer_step *step)
{
    sl_err err;
    const sl_tensor *W = of_problem(p, "W_dec");
    sl_sae_free(p->s);
    p->s = NULL;
    sl_assert_ok(sl_sae_make(p->ctx, step->variant, W->dim[1], W->dim[0], step->opts, 0, SL_F32, true, &p->s, &err));
    p->s->recipe = step->recipe ? step->recipe : peer_recipe(p->name);
    p->s->center_input = !step->whole_input;
    if (step->free_decoder) /* as the trainer does under a recipe without unit rows */
        p->s->W_dec->flags &= ~(unsigned)SL_PARAM_UNIT_ROWS;
    for (int i = 0; i < sl_params_count(p->s->params); i++) {
        sl_param *w = sl_params_at(p->s->params, i);
        const sl_tensor *v = of_problem(p, step->free_decoder && strcmp(w->name, "W_dec") == 0 ? "W_dec_free" : golden_name(p->s, w->name));
        assert_true(sl_same_shape(v, &w->value));
        memcpy(w->value.data, v->data, sl_nbytes(v));
        sl_param_touch(w);
    }
    if (step->folded)
        fold_norms(p->s);
}

static void count(void *user, int64_t first_row, const sl_csr *part)
{
    sl_sae_seen *seen = user;
    (void)first_row;
    seen->nnz += part->row_ptr[part->n_rows];
    for (int64_t i = 0; i < part->row_ptr[part->n_rows]; i++)
        seen->min_active = fmin(seen->min_active, (double)((const float *)part->val)[i]);
}

void peer_run(peer *p, const char *golden_case, const peer_step *step)
{
    sl_err err;
    sl_tape *t;
    uint8_t alive[64];
    make(p, step);
    p->golden_case = golden_case;
    sl_tensor alive_t = sl_tensor_of(SL_U8, alive, 1, p->s->d_sae);
    sl_sae_batch b = { .step = 5000, .steps = 1000000, .n = ROWS, .d_bar = 1 };
    assert_int_equal(p->s->d_sae, sizeof alive);
    for (int f = 0; step->dead && f < p->s->d_sae; f++) {
        alive[f] = !((const uint8_t *)of_problem(p, step->dead)->data)[f];
        b.n_dead += !alive[f];
    }
    b.alive = step->dead ? &alive_t : NULL;
    sl_assert_ok(sl_tape_new(p->ctx, SL_F32, &t, &err));
    sl_sae_pass pass = sl_sae_forward(t, p->s, sl_const(t, of_problem(p, "x")), (sl_var){ 0 }, &b);
    sl_var loss = p->s->ops->loss(t, p->s, &pass, &b);
    p->loss = sl_scalar(t, loss);
    sl_params_zero_grad(p->s->params);
    sl_assert_ok(sl_tape_backward(t, loss, &err));
    sl_assert_ok(sl_params_dense(p->s->params, &err));
    sl_sae_seen seen = { .n = b.n, .min_active = INFINITY };
    sl_latents_visit(t, pass.z, count, &seen);
    seen.l0 = (double)seen.nnz / (double)seen.n;
    if (p->s->ops->after_step)
        p->s->ops->after_step(t, p->s, &pass, &b, &seen);
    sl_assert_ok(sl_tape_status(t, &err));
    sl_tape_free(t);
}

bool peer_close_to(const char *what, const float *got, const float *ref, int64_t n, bool loud)
{
    double most = 0;
    for (int64_t i = 0; i < n; i++)
        most = fmax(most, fabs((double)ref[i]));
    for (int64_t i = 0; i < n; i++)
        if (!(fabs((double)got[i] - (double)ref[i]) <= 1e-5 * most + 1e-4 * fabs((double)ref[i]))) {
            if (loud)
                fail_msg("%s[%lld]: %.7g, the peer has %.7g (largest %.3g)", what, (long long)i, (double)got[i], (double)ref[i], most);
            return false;
        }
    return true;
}

static void same(const peer *p, const char *name, const float *got, int64_t n)
{
    char what[128];
    int64_t n_ref;
    const float *ref = peer_tensor(p, p->golden_case, name, &n_ref);
    snprintf(what, sizeof what, "%s %s/%s", p->name, p->golden_case, name);
    assert_int_equal(n, n_ref);
    peer_close_to(what, got, ref, n, true);
}

void peer_same_loss(const peer *p)
{
    float loss = (float)p->loss;
    same(p, "loss", &loss, 1);
}

void peer_same_grad(const peer *p, const char *name)
{
    char full[112];
    snprintf(full, sizeof full, "g/%s", golden_name(p->s, name));
    same(p, full, peer_grad(p, name), sl_numel(&sl_params_find(p->s->params, name)->value));
}

void peer_same(const peer *p)
{
    peer_same_loss(p);
    for (int i = 0; i < sl_params_count(p->s->params); i++)
        peer_same_grad(p, sl_params_at(p->s->params, i)->name);
}
