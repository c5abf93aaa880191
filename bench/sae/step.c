/* A whole training step, in a process of its own: this program's, or a peer's driver (bench/peers/sae_step.py), which prints the same keys. */
#include "bench.h"
#include "sae/variant.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MADE = 4, MAX_STEPS = 4096 }; /* batches made beforehand where there is no store */
const char *const part_names[N_PART] = { "encode", "decode", "grad", "sweep" };

typedef struct run {
    const step_job *j;
    sl_ctx *ctx;
    sl_sae *s;
    sl_tape *t;
    sl_optim o;
    sl_act_source *src;
    float *made;
    uint8_t *alive;
    double time[N_PART + 1][MAX_STEPS], first, last;
} run;

static sl_status rows_of(run *r, int step, sl_tensor *x, sl_err *err)
{
    const size *s = &r->j->s;
    if (!r->src) {
        *x = sl_tensor_of(SL_F32, r->made + step % MADE * s->B * s->d, 2, s->B, s->d);
        return SL_OK;
    }
    sl_act_batch b;
    SL_TRY(r->src->next(r->src, s->B, &b, err));
    *x = sl_tensor_of(SL_F32, (void *)(uintptr_t)b.x, 2, s->B, s->d);
    return SL_OK;
}

static sl_status one_step(run *r, int step, sl_err *err)
{
    const size *s = &r->j->s;
    double at[N_PART + 1];
    sl_tensor x, alive = sl_tensor_of(SL_U8, r->alive, 1, s->F);
    int64_t dead = (int64_t)(r->j->dead * (double)s->F);
    sl_sae_batch b = { .step = step, .steps = MAX_STEPS, .n = s->B, .d_bar = (double)s->d, .n_dead = dead, .alive = dead ? &alive : NULL };
    at[0] = now();
    SL_TRY(rows_of(r, step, &x, err));
    sl_tape_reset(r->t);
    sl_var in = sl_const(r->t, &x);
    sl_sae_pass p = { .x = in, .y = in, .z = r->s->ops->encode(r->t, r->s, in, &b) };
    at[1] = now();
    p.xhat = sl_sae_reconstruct(r->t, r->s, p.z);
    sl_var loss = r->s->ops->loss(r->t, r->s, &p, &b);
    at[2] = now();
    sl_params_zero_grad(r->s->params);
    SL_TRY(sl_tape_backward(r->t, loss, err));
    at[3] = now();
    SL_TRY(sl_optim_step(&r->o, r->s->params, NULL, err));
    at[4] = now();
    r->last = sl_scalar(r->t, loss);
    if (step == 0)
        r->first = r->last;
    if (!isfinite(r->last))
        return sl_fail(err, SL_NUMERIC, "loss", NULL, "step %d: the loss is not finite", step);
    if (step < r->j->skip)
        return SL_OK;
    for (int i = 0; i < N_PART; i++)
        r->time[i][step - r->j->skip] = at[i + 1] - at[i];
    r->time[N_PART][step - r->j->skip] = at[N_PART] - at[0];
    return SL_OK;
}

/* Latents that count as dead must not be among the k largest: their rows of W_enc are made small, as the peers' driver does. */
static void make_dead(run *r)
{
    const size *s = &r->j->s;
    int64_t dead = (int64_t)(r->j->dead * (double)s->F);
    float *W = r->s->W_enc->value.data;
    for (int64_t i = (s->F - dead) * s->d; i < s->F * s->d; i++)
        W[i] *= .01f;
    sl_param_touch(r->s->W_enc);
    for (int64_t f = 0; f < s->F; f++)
        r->alive[f] = f < s->F - dead;
}

static sl_status start(run *r, sl_err *err)
{
    const size *s = &r->j->s;
    SL_TRY(sl_sae_new(r->ctx, "topk", s->d, s->F, &(sl_topk_options){ .k = s->k, .aux_alpha = 1 / 32. }, 0, &r->s, err));
    SL_TRY(sl_tape_new(r->ctx, SL_F32, &r->t, err));
    r->o = (sl_optim){ .kind = SL_OPTIM_ADAMW, .lr = 3e-4, .beta1 = .9, .beta2 = .999, .eps = 1e-8, .clip = 1 };
    r->alive = sl_alloc(r->ctx, (size_t)s->F);
    if (!r->alive)
        return sl_fail(err, SL_MEM, "bench", NULL, "no memory");
    make_dead(r);
    if (r->j->acts)
        return sl_acts_open(r->ctx, r->j->acts, false, &r->src, err);
    int64_t directions = 2048; /* of which rows are sums */
    float *A = room(directions * s->d);
    r->made = room(MADE * s->B * s->d);
    make_dictionary(A, directions, s->d, ROWS_SUMS);
    make_rows(r->made, MADE * s->B, A, directions, s->d, ROWS_SUMS, 1);
    free(A);
    return SL_OK;
}

int step_child(const step_job *j)
{
    static run r;
    sl_err err;
    r.j = j;
    r.ctx = sl_ctx_new(NULL);
    sl_status st = r.ctx ? start(&r, &err) : SL_MEM;
    for (int step = 0; step < j->skip + j->steps && st == SL_OK; step++)
        st = one_step(&r, step, &err);
    if (st != SL_OK) {
        fprintf(stderr, "bench_sae: %s\n", r.ctx ? err.msg : "no memory");
        return 1;
    }
    printf("{\"seconds_per_step\": %.9g", median(r.time[N_PART], j->steps));
    for (int i = 0; i < N_PART; i++)
        printf(", \"%s\": %.9g", part_names[i], median(r.time[i], j->steps));
    printf(", \"peak_rss_bytes\": %.0f, \"loss_first\": %.9g, \"loss_last\": %.9g}\n", peak_rss(), r.first, r.last);
    sl_act_source_free(r.src);
    sl_tape_free(r.t);
    sl_sae_free(r.s);
    sl_free(r.ctx, r.alive);
    free(r.made);
    sl_ctx_free(r.ctx);
    return 0;
}

/* ---- the parent's side ---- */

/* Runs the command and reads the last line of what it prints. */
static bool ask(const char *command, step_result *out)
{
    char line[4096] = "", last[4096] = "";
    FILE *f = popen(command, "r");
    while (f && fgets(line, sizeof line, f))
        memcpy(last, line, sizeof last);
    if (!f || pclose(f) != 0 || last[0] != '{') {
        fprintf(stderr, "bench_sae: failed: %s\n", command);
        return false;
    }
    *out = (step_result){ .seconds = figure(last, "seconds_per_step"), .rss = figure(last, "peak_rss_bytes"),
                          .loss_first = figure(last, "loss_first"), .loss_last = figure(last, "loss_last") };
    for (int i = 0; i < N_PART; i++)
        out->part[i] = figure(last, part_names[i]);
    return true;
}

bool step_run(const char *self, const step_job *j, step_result *out)
{
    char c[1024];
    snprintf(c, sizeof c, "'%s' --child %lld %lld %lld %lld %d %d %g %s%s%s", self, (long long)j->s.d, (long long)j->s.F, (long long)j->s.k,
             (long long)j->s.B, j->skip, j->steps, j->dead, j->acts ? "'" : "", j->acts ? j->acts : "", j->acts ? "'" : "");
    return ask(c, out);
}

bool peer_run(const char *python, const char *peer, const char *mode, const step_job *j, const char *npy, step_result *out)
{
    char c[1024];
    snprintf(c, sizeof c, "timeout %s '%s' '" SL_BENCH_PEERS "/sae_step.py' --peer %s --mode %s --d %lld --F %lld --k %lld --batch %lld --skip %d --steps %d --dead %g %s%s%s",
             strcmp(mode, "bf16") == 0 ? PEER_LIMIT : "0", python, peer, mode, (long long)j->s.d, (long long)j->s.F, (long long)j->s.k, (long long)j->s.B, j->skip, j->steps, j->dead,
             npy ? "--acts '" : "", npy ? npy : "", npy ? "'" : "");
    return ask(c, out);
}
