/* Perturbed codes without a second product (science.md B5): the codes of re-encoding bit for bit, leakage columns that say what an injection
 * does, the pool that a step injects from, and the same for any number of threads. */
#include "rows.h"
#include "support.h"

#include "sae/perturb.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { N = 160, D = 48, F = 300, K = 6 };

typedef struct step {
    sl_ctx *ctx;
    sl_sae *s;
    sl_tape *t;
    sl_perturb *p;
    sl_perturb_config c;
    rows x;
    sl_sae_pass clean;
    sl_perturb_terms terms;
    const sl_csr *z;
} step;

static void step_open(step *e, int type, int64_t rank, int threads)
{
    sl_err err;
    memset(e, 0, sizeof *e);
    e->ctx = sl_test_ctx(threads);
    sl_opts_default(sl_perturb_opts, &e->c);
    e->c.type = type;
    e->c.rank = rank;
    e->c.q = type == SL_PERTURB_GAUSS ? 1 : 2;
    e->c.seed = 4;
    rows_planted(&e->x, N, D, 200, K, 9, NULL);
    memset(e->x.x + 3 * D, 0, D * sizeof *e->x.x); /* a row that is not perturbed */
    sl_assert_ok(sl_sae_new(e->ctx, "topk", D, F, &(sl_topk_options){ .k = K }, 7, &e->s, &err));
    sl_assert_ok(sl_tape_new(e->ctx, SL_F32, &e->t, &err));
    sl_assert_ok(sl_perturb_new(e->s, &e->c, N, &e->p, &err));
    if (sl_perturb_selects(&e->c))
        assert_true(sl_perturb_use_pool(e->p));
}

/* What the trainer does with a batch, up to the loss. */
static void step_run(step *e, int64_t number)
{
    sl_err err;
    sl_tensor all = sl_tensor_of(SL_F32, e->x.x, 2, (int64_t)N, (int64_t)D);
    sl_sae_batch b = { .step = number, .steps = 100, .n = N, .d_bar = D, .keep = sl_perturb_few(&e->c) };
    sl_tape_reset(e->t);
    sl_var in = sl_const(e->t, &all);
    e->clean = sl_sae_forward(e->t, e->s, in, in, &b);
    sl_assert_ok(sl_tape_status(e->t, &err));
    e->z = sl_code_csr(e->t, e->clean.z.sparse);
    sl_perturb_see(e->p, e->z);
    if (sl_perturb_selects(&e->c))
        sl_perturb_refresh(e->p);
    sl_assert_ok(sl_perturb_make(e->p, e->x.x, NULL, e->z, N, (sl_perturb_key){ number, 0, 0 }, .3, 0, &err));
    e->terms = sl_perturb_loss(e->t, e->s, &e->c, &e->clean, &b, 1, e->p->view, 1);
    sl_assert_ok(sl_tape_status(e->t, &err));
}

static void step_close(step *e)
{
    sl_perturb_free(e->p);
    sl_tape_free(e->t);
    sl_sae_free(e->s);
    rows_release(&e->x);
    sl_ctx_free(e->ctx);
}

static void same_code(const sl_csr *got, const sl_csr *want)
{
    assert_memory_equal(got->row_ptr, want->row_ptr, (N + 1) * sizeof *got->row_ptr);
    assert_memory_equal(got->idx, want->idx, (size_t)want->row_ptr[N] * sizeof *got->idx);
    assert_memory_equal(got->val, want->val, (size_t)want->row_ptr[N] * sizeof(float));
}

static const struct { int type; int64_t rank; } kinds[] = { { SL_PERTURB_GAUSS, 4 }, { SL_PERTURB_GAUSS, 0 }, { SL_PERTURB_INJECT, 0 },
                                                           { SL_PERTURB_DIRECT, 0 }, { SL_PERTURB_FEATDROP, 0 } };
enum { N_KIND = sizeof kinds / sizeof *kinds };

/* The same rows through the encoder alone. */
static void codes_are_those_of_encoding_again(void **state)
{
    (void)state;
    sl_err err;
    for (int i = 0; i < N_KIND; i++) {
        static step e;
        step_open(&e, kinds[i].type, kinds[i].rank, 2);
        for (int64_t number = 0; number < 3; number++) {
            step_run(&e, number);
            const sl_perturb_view *v = &e.p->view[0];
            sl_sae_batch b = { .n = N, .perturbed = true, .k_limit = v->limit };
            sl_code again = e.s->ops->encode(e.t, e.s, sl_const(e.t, &v->x), &b).sparse;
            sl_assert_ok(sl_tape_status(e.t, &err));
            same_code(sl_code_csr(e.t, e.terms.got), sl_code_csr(e.t, again));
            assert_int_equal(v->n_valid, N - 1);
        }
        step_close(&e);
    }
}

static double dot(const float *a, const float *b)
{
    double sum = 0;
    for (int i = 0; i < D; i++)
        sum += (double)a[i] * (double)b[i];
    return sum;
}

/* I.6: a + sum coef W_enc dir is what the moved row gives, to 1e-4 of the largest: the columns of M for inject and direct, W_enc U for noise
 * of low rank. */
static void leakage_says_what_moves(void **state)
{
    (void)state;
    for (int i = 0; i < N_KIND; i++) {
        static step e;
        if (kinds[i].type == SL_PERTURB_FEATDROP || (kinds[i].type == SL_PERTURB_GAUSS && !kinds[i].rank))
            continue;
        step_open(&e, kinds[i].type, kinds[i].rank, 1);
        step_run(&e, 1);
        const sl_perturb_view *v = &e.p->view[0];
        const sl_move *m = &v->move;
        const float *W = e.s->W_enc->value.data, *dirs = m->dirs.data, *coef = m->coef.data, *x2 = v->x.data;
        const int32_t *at = m->at.data;
        int64_t q = sl_cols(&m->coef);
        double size = 0;
        for (int r = 0; r < N; r++)
            for (int f = 0; f < F; f += 7) {
                double moved = dot(e.x.x + r * D, W + f * D), direct = dot(x2 + r * D, W + f * D);
                for (int64_t t = 0; t < q && (!at || at[r * q + t] >= 0); t++)
                    moved += (double)coef[r * q + t] * dot(dirs + (at ? at[r * q + t] : t) * D, W + f * D);
                assert_true(fabs(moved - direct) < 1e-4 * (1 + fabs(direct)));
                size = fmax(size, fabs(direct - dot(e.x.x + r * D, W + f * D)));
            }
        assert_true(size > .1); /* rows did move */
        step_close(&e);
    }
}

static void a_step_injects_from_its_pool(void **state)
{
    (void)state;
    static step e;
    int32_t first[N / 16] = { 0 };
    int64_t n_first = 0;
    step_open(&e, SL_PERTURB_INJECT, 0, 1);
    for (int64_t number = 0; number < 2; number++) {
        step_run(&e, number);
        const sl_csr *add = &e.p->view[0].add;
        assert_true(e.p->n_pool > 3 && e.p->n_pool <= N / 16);
        assert_true(add->row_ptr[N] > N);
        for (int64_t i = 0; i < e.p->n_pool; i++)
            assert_memory_equal(e.p->pool + i * D, (const float *)e.s->W_dec->value.data + e.p->pool_latent[i] * D, D * sizeof(float));
        for (int r = 0; r < N; r++)
            for (int64_t a = add->row_ptr[r]; a < add->row_ptr[r + 1]; a++) {
                int32_t place = e.p->pool_of[add->idx[a]];
                assert_true(place >= 0 && e.p->pool_latent[place] == add->idx[a]);
                for (int64_t i = e.z->row_ptr[r]; i < e.z->row_ptr[r + 1]; i++)
                    assert_int_not_equal(e.z->idx[i], add->idx[a]);
            }
        if (number == 0) {
            n_first = e.p->n_pool;
            memcpy(first, e.p->pool_latent, (size_t)n_first * sizeof *first);
        }
    }
    assert_true(n_first != e.p->n_pool || memcmp(first, e.p->pool_latent, (size_t)n_first * sizeof *first) != 0); /* each step draws its own */
    step_close(&e);
}

/* I.10, of all that a view is made of. */
static void threads_change_nothing(void **state)
{
    (void)state;
    static const int threads[] = { 1, 2, 8 };
    for (int i = 0; i < N_KIND; i++) {
        static step e[3];
        for (int t = 0; t < 3; t++) {
            step_open(&e[t], kinds[i].type, kinds[i].rank, threads[t]);
            step_run(&e[t], 5);
            assert_memory_equal(e[t].p->view[0].x.data, e[0].p->view[0].x.data, N * D * sizeof(float));
            same_code(sl_code_csr(e[t].t, e[t].terms.got), sl_code_csr(e[0].t, e[0].terms.got));
            assert_true(sl_scalar(e[t].t, e[t].terms.loss) == sl_scalar(e[0].t, e[0].terms.loss));
        }
        for (int t = 0; t < 3; t++)
            step_close(&e[t]);
    }
}

/* What does not fit is refused by the operator. */
static void wrong_moves_are_refused(void **state)
{
    (void)state;
    static step e;
    sl_err err;
    step_open(&e, SL_PERTURB_GAUSS, 4, 1);
    for (int which = 0; which < 3; which++) {
        step_run(&e, 0);
        sl_move m = e.p->view[0].move;
        sl_var W = sl_param_var(e.t, e.s->W_enc), b = sl_param_var(e.t, e.s->b_enc), x = sl_const(e.t, &e.p->view[0].x);
        m.clean = which == 0 ? (sl_code){ { 0 } } : e.clean.z.sparse;
        if (which == 1)
            m.coef.dim[1]--;
        if (which == 2)
            m.at = m.coef;
        assert_int_equal(sl_encode_moved(e.t, x, W, b, K, &m).v.id, 0);
        assert_int_equal(sl_tape_status(e.t, &err), which == 0 ? SL_ARG : SL_SHAPE);
    }
    step_close(&e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(codes_are_those_of_encoding_again),
        cmocka_unit_test(leakage_says_what_moves),
        cmocka_unit_test(a_step_injects_from_its_pool),
        cmocka_unit_test(threads_change_nothing),
        cmocka_unit_test(wrong_moves_are_refused),
    };
    return cmocka_run_group_tests_name("sae_perturb_moved", tests, NULL, NULL);
}
