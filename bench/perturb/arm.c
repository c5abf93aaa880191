/* One arm in a process of its own: the trainer itself, step by step, on rows that are there already. */
#include "perturb.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MADE = 4, DIRECTIONS = 2048, MAX_STEPS = 4096 };

const arm arms[N_ARM] = {
    [PLAIN] = { "plain", "topk", .everywhere = true },
    [DENSE] = { "plain, dense encoder", "topk", .dense = true, .everywhere = true },
    [GAUSS_LOWRANK] = { "gauss, rank 16", "topk", SL_PERTURB_GAUSS, .rank = RANK, .everywhere = true },
    [INJECT] = { "inject", "topk", SL_PERTURB_INJECT, .everywhere = true },
    [GAUSS_FULL] = { "gauss, full rank", "topk", SL_PERTURB_GAUSS, .everywhere = true },
    [DIRECT] = { "direct", "topk", SL_PERTURB_DIRECT },
    [FEATDROP] = { "featdrop", "topk", SL_PERTURB_FEATDROP },
    [DENOISE] = { "denoise", "topk", SL_PERTURB_GAUSS, SL_STABILITY_DENOISE },
    [CONTRACTIVE] = { "contractive", "topk", SL_PERTURB_NONE, SL_STABILITY_CONTRACTIVE },
    [ENC_L2] = { "enc_l2", "topk", SL_PERTURB_NONE, SL_STABILITY_ENC_L2 },
    [MATRYOSHKA] = { "matryoshka, plain", "matryoshka" },
};

sl_perturb_config arm_config(int which)
{
    const arm *a = &arms[which];
    sl_perturb_config c;
    sl_opts_default(sl_perturb_opts, &c);
    c.type = a->type;
    c.mode = a->mode;
    c.rank = a->rank;
    c.gamma_warmup = 0;
    c.gamma = a->mode == SL_STABILITY_ENC_L2 ? 1e-4 : .3;
    return c;
}

/* ---- rows ---- */

typedef struct made { float *x; int64_t n, d, at; } made;

static sl_status next(sl_act_source *s, int64_t n, sl_act_batch *out, sl_err *err)
{
    made *m = s->impl;
    (void)err;
    *out = (sl_act_batch){ .x = m->x + m->at % m->n * m->d, .n = n };
    m->at += n;
    return SL_OK;
}

static sl_status seek(sl_act_source *s, int64_t row, sl_err *err)
{
    (void)err;
    ((made *)s->impl)->at = row;
    return SL_OK;
}

static void close_made(sl_act_source *s) { free(((made *)s->impl)->x); }

static void make_source(made *m, const size *s, sl_act_source *out)
{
    float *A = room(DIRECTIONS * s->d);
    *m = (made){ .x = room(MADE * s->B * s->d), .n = MADE * s->B, .d = s->d };
    make_dictionary(A, DIRECTIONS, s->d, ROWS_SUMS);
    make_rows(m->x, m->n, A, DIRECTIONS, s->d, ROWS_SUMS, 1);
    free(A);
    *out = (sl_act_source){ .info = { .n_rows = m->n, .d_in = s->d, .scale = 1, .data_hash = "made rows" }, .impl = m, .next = next, .seek = seek,
                            .close = close_made };
}

/* ---- the child ---- */

typedef struct run {
    const arm_job *j;
    sl_sae_trainer t;
    sl_sae_train_config c;
    sl_perturb_config pc;
    double time[MAX_STEPS], spent[N_SPENT][MAX_STEPS];
} run;

static sl_status start(run *r, sl_ctx *ctx, sl_act_source *src, sl_err *err)
{
    const size *s = &r->j->s;
    const char *variant = arms[r->j->arm].variant;
    const sl_variant_info *info = sl_variant_find(variant);
    union { sl_topk_options topk; sl_matryoshka_options matryoshka; } o;
    sl_opts_default(info->opts, &o);
    *(strcmp(variant, "topk") == 0 ? &o.topk.k : &o.matryoshka.k) = s->k;
    sl_opts_default(sl_sae_train_opts, &r->c);
    r->c.batch = s->B;
    r->c.steps = 1000000; /* so that schedules stand still and little is logged */
    r->pc = arm_config(r->j->arm);
    r->pc.views = r->j->views > 0 ? r->j->views : r->pc.views;
    r->pc.rank = r->j->rank >= 0 ? r->j->rank : r->pc.rank;
    SL_TRY(sl_sae_new(ctx, variant, s->d, s->F, &o, 0, &r->t.s, err));
    r->t.src = src;
    r->t.c = &r->c;
    r->t.rows_at = -1;
    r->t.pc = sl_perturb_wanted(&r->pc) ? &r->pc : NULL;
    SL_TRY(sl_sae_trainer_open(&r->t, err));
    if (arms[r->j->arm].dense && !sl_kern_set_screen(r->t.k, SL_SCREEN_OFF))
        return sl_fail(err, SL_UNAVAILABLE, "encoder", NULL, "it cannot be made dense");
    return SL_OK;
}

static sl_status one_step(run *r, int step, sl_err *err)
{
    sl_perturb *p = r->t.perturb;
    double (*clock_of)(void) = r->j->cpu ? cpu_now : now;
    sl_act_batch b;
    SL_TRY(sl_sae_trainer_next(&r->t, r->j->s.B, &b, err));
    if (p)
        p->clock = clock_of;
    double before[N_SPENT] = { p ? p->generating : 0, p ? p->forward : 0 }, from = clock_of();
    SL_TRY(sl_sae_trainer_step(&r->t, &b, err));
    if (step < r->j->skip)
        return SL_OK;
    r->time[step - r->j->skip] = clock_of() - from;
    r->spent[PART_GENERATE][step - r->j->skip] = p ? p->generating - before[0] : 0;
    r->spent[PART_FORWARD][step - r->j->skip] = p ? p->forward - before[1] : 0;
    return SL_OK;
}

int arm_child(const arm_job *j)
{
    static run r;
    made m;
    sl_act_source src;
    sl_err err;
    r.j = j;
    sl_ctx *ctx = sl_ctx_new(&(sl_ctx_opts){ .n_threads = j->cpu ? 1 : j->threads });
    sl_status st = ctx ? SL_OK : SL_MEM;
    make_source(&m, &j->s, &src);
    if (st == SL_OK)
        st = start(&r, ctx, &src, &err);
    for (int step = 0; step < j->skip + j->steps && st == SL_OK; step++)
        st = one_step(&r, step, &err);
    if (st != SL_OK) {
        fprintf(stderr, "bench_perturb: %s\n", ctx ? err.msg : "no memory");
        return 1;
    }
    printf("{\"seconds\": %.9g, \"generate\": %.9g, \"forward\": %.9g, \"rss\": %.0f, \"loss\": %.9g}\n", median(r.time, j->steps),
           median(r.spent[PART_GENERATE], j->steps), median(r.spent[PART_FORWARD], j->steps), peak_rss(), r.t.curve[r.t.n_curve - 1].loss);
    sl_sae_trainer_close(&r.t);
    sl_sae_free(r.t.s);
    close_made(&src);
    sl_ctx_free(ctx);
    return 0;
}

/* ---- the parent's side ---- */

bool arm_run(const char *self, const arm_job *j, arm_result *out)
{
    char c[1024], line[1024] = "";
    snprintf(c, sizeof c, "'%s' --child %d %lld %lld %lld %lld %d %d %d %d %d %d", self, j->arm, (long long)j->s.d, (long long)j->s.F, (long long)j->s.k,
             (long long)j->s.B, j->skip, j->steps, j->cpu, j->threads, j->views, j->rank);
    FILE *f = popen(c, "r");
    bool read = f && fgets(line, sizeof line, f);
    if (!f || pclose(f) != 0 || !read || line[0] != '{') {
        fprintf(stderr, "bench_perturb: failed: %s\n", c);
        return false;
    }
    *out = (arm_result){ figure(line, "seconds"), { figure(line, "generate"), figure(line, "forward") }, figure(line, "rss"), figure(line, "loss") };
    return true;
}

double arm_flops(const size *s, int which)
{
    double B = (double)s->B, d = (double)s->d, F = (double)s->F, k = (double)s->k;
    double encoder = 2 * B * d * F, sparse = 2 * B * k * d; /* a product of the batch with a dictionary; one of its codes with rows */
    /* decode, and gradients of z, W_dec and W_enc; of perturbed rows: latents that were lost, W_enc for these and the others. What codes cost that are
     * found without a product depends on the data: as many exact values as are kept, at least. */
    double plain = encoder + 4 * sparse, again = encoder + 3 * sparse, beside = 4 * sparse;
    switch (which) {
    case GAUSS_LOWRANK: return plain + beside + 2 * RANK * (B * d + F * d + B * F);
    case INJECT:
    case DIRECT: return plain + beside + 2 * (B * d + F * d * B / 16 + B * F);
    case FEATDROP: return plain + again + 2 * B * d;
    case GAUSS_FULL: return plain + again;
    case CONTRACTIVE: return plain + 4 * F * d;
    case ENC_L2: return plain + 4 * F * d;
    default: return plain;
    }
}
