/* First that the codes are right: those of perturbed rows, as training makes them, against the definition. */
#include "perturb.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct check {
    sl_ctx *ctx;
    const sl_kern *ref;
    sl_sae *s;
    sl_tape *t;
    sl_perturb *p;
    int64_t B;
} check;

/* Rows of a and b that differ. */
static int64_t different(const sl_csr *a, const sl_csr *b)
{
    int64_t wrong = 0;
    for (int64_t r = 0; r < a->n_rows; r++) {
        int64_t n = a->row_ptr[r + 1] - a->row_ptr[r];
        wrong += n != b->row_ptr[r + 1] - b->row_ptr[r]
              || memcmp(a->idx + a->row_ptr[r], b->idx + b->row_ptr[r], (size_t)n * sizeof *a->idx)
              || memcmp((const float *)a->val + a->row_ptr[r], (const float *)b->val + b->row_ptr[r], (size_t)n * sizeof(float));
    }
    return wrong;
}

/* The code of the view's rows by the definition, limits of rows obeyed. */
static sl_status by_definition(check *c, const sl_perturb_view *v, int64_t k, sl_csr *z, sl_err *err)
{
    sl_tape *t = c->t;
    int64_t most = v->limit ? k + 16 : k;
    sl_tensor in = sl_tensor_of(SL_F32, sl_tape_scratch(t, (size_t)(c->B * c->s->d_in) * sizeof(float)), 2, c->B, c->s->d_in);
    sl_csr all = { .n_rows = c->B, .n_cols = c->s->d_sae, .capacity = c->B * most, .row_ptr = sl_tape_scratch(t, (size_t)(c->B + 1) * sizeof(int64_t)),
                   .idx = sl_tape_scratch(t, (size_t)(c->B * most) * sizeof(int32_t)), .val = sl_tape_scratch(t, (size_t)(c->B * most) * sizeof(float)) };
    *z = all;
    z->row_ptr = sl_tape_scratch(t, (size_t)(c->B + 1) * sizeof(int64_t));
    z->idx = sl_tape_scratch(t, (size_t)(c->B * most) * sizeof(int32_t));
    z->val = sl_tape_scratch(t, (size_t)(c->B * most) * sizeof(float));
    SL_TRY(sl_tape_status(t, err));
    c->ref->add_row(c->ref, &v->x, -1, &c->s->b_dec->value, &in);
    c->ref->encode_topk(c->ref, &in, &c->s->W_enc->value, &c->s->b_enc->value, NULL, most, v->limit ? &all : z);
    sl_tensor limit = sl_tensor_of(SL_I32, v->limit, 1, c->B);
    if (v->limit)
        c->ref->csr_keep_rows(c->ref, &all, &limit, z);
    return SL_OK;
}

static sl_status one_batch(check *c, const float *x, int64_t step, const sl_perturb_config *pc, int64_t k, int64_t *wrong, sl_err *err)
{
    sl_tape *t = c->t;
    sl_tensor rows = sl_tensor_of(SL_F32, (void *)(uintptr_t)x, 2, c->B, c->s->d_in);
    sl_sae_batch b = { .step = step, .steps = 100, .n = c->B, .d_bar = 1, .keep = sl_perturb_few(pc) };
    sl_csr want;
    sl_tape_reset(t);
    sl_var in = sl_const(t, &rows);
    sl_sae_pass pass = sl_sae_forward(t, c->s, in, in, &b);
    SL_TRY(sl_tape_status(t, err));
    const sl_csr *z = sl_code_csr(t, pass.z.sparse);
    sl_perturb_see(c->p, z);
    if (sl_perturb_selects(pc))
        sl_perturb_refresh(c->p);
    SL_TRY(sl_perturb_make(c->p, x, NULL, z, c->B, (sl_perturb_key){ step, 0, 0 }, sl_perturb_eps(pc), 0, err));
    sl_perturb_terms terms = sl_perturb_loss(t, c->s, pc, &pass, &b, 1, c->p->view, 1);
    SL_TRY(sl_tape_status(t, err));
    SL_TRY(by_definition(c, &c->p->view[0], k, &want, err));
    *wrong += different(sl_code_csr(t, terms.got), &want);
    return SL_OK;
}

static sl_status one_arm(check *c, int which, int64_t n_rows, int64_t *wrong, sl_err *err)
{
    const size s = { 512, 2048, 16, 256 };
    sl_perturb_config pc = arm_config(which);
    float *W = room(s.F * s.d), *x = room(s.B * s.d);
    c->B = s.B;
    make_dictionary(W, s.F, s.d, ROWS_SUMS);
    sl_status st = sl_sae_new(c->ctx, "topk", s.d, s.F, &(sl_topk_options){ .k = s.k }, 1, &c->s, err);
    if (st == SL_OK)
        st = sl_perturb_new(c->s, &pc, s.B, &c->p, err);
    if (st == SL_OK && sl_perturb_selects(&pc) && !sl_perturb_use_pool(c->p))
        st = sl_fail(err, SL_MEM, "bench", NULL, "no memory");
    if (st == SL_OK)
        st = sl_tape_new(c->ctx, SL_F32, &c->t, err);
    for (int64_t i = 0; i * s.B < n_rows && st == SL_OK; i++) {
        make_rows(x, s.B, W, s.F, s.d, ROWS_SUMS, (uint64_t)i);
        st = one_batch(c, x, i, &pc, s.k, wrong, err);
    }
    sl_tape_free(c->t);
    sl_perturb_free(c->p);
    sl_sae_free(c->s);
    c->t = NULL, c->p = NULL, c->s = NULL;
    free(W);
    free(x);
    return st;
}

int64_t check_codes(sl_ctx *ctx, int64_t n_rows)
{
    static const int which[] = { GAUSS_LOWRANK, INJECT, GAUSS_FULL, DIRECT, FEATDROP };
    check c = { .ctx = ctx };
    int64_t all = 0;
    sl_err err;
    sl_status st = sl_kern_named(ctx, "ref", &c.ref, &err);
    for (size_t i = 0; i < sizeof which / sizeof *which && st == SL_OK; i++) {
        int64_t wrong = 0;
        st = one_arm(&c, which[i], n_rows, &wrong, &err);
        all += wrong;
        if (st == SL_OK)
            printf("  %-22s %lld wrong of %lld rows\n", arms[which[i]].name, (long long)wrong, (long long)n_rows);
    }
    if (st != SL_OK) {
        fprintf(stderr, "bench_perturb: %s\n", err.msg);
        exit(1);
    }
    return all;
}
