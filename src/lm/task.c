/* Training a small GPT on a task, with the loss on the tokens that count, until it passes the task's gate. */
#include "lm/task_train.h"
#include "lm/train.h"

#include <math.h>
#include <string.h>

#define GATE_FIRST ((int64_t)1 << 40) /* instances of gates, far from those of training */
enum { GATE_BATCH = 128, CONFIRM = 4 /* times gate_instances, before training ends early */ };

const sl_opt sl_task_train_opts[] = {
    SL_OPT_INT(sl_task_train_config, n_layer, 2, 1, 100, "blocks", "transformer blocks"),
    SL_OPT_INT(sl_task_train_config, n_head, 4, 1, 100, "heads", "attention heads; divides n_embd"),
    SL_OPT_INT(sl_task_train_config, n_embd, 64, 1, 65536, "", "width of the residual stream"),
    SL_OPT_INT(sl_task_train_config, steps, 0, 0, 1e9, "steps", "at most; 0: what the task needs"),
    SL_OPT_INT(sl_task_train_config, batch, 128, 1, 1e6, "instances", "a step"),
    SL_OPT_INT(sl_task_train_config, warmup, 100, 0, 1e9, "steps", "linear warm-up of the learning rate"),
    SL_OPT_INT(sl_task_train_config, seed, 1337, 0, 9e15, "", "of the weights"),
    SL_OPT_FLOAT(sl_task_train_config, lr, 1e-3, 1e-9, 100, "", "learning rate of Adam"),
    SL_OPT_FLOAT(sl_task_train_config, beta2, .99, 0, .999999, "", "of Adam"),
    SL_OPT_FLOAT(sl_task_train_config, max_seconds, 570, 0, 1e9, "s", "wall time; 0: without limit"),
    SL_OPT_INT(sl_task_train_config, gate_every, 250, 1, 1e9, "steps", "between tries of the gate"),
    SL_OPT_INT(sl_task_train_config, gate_instances, 512, 1, 1e7, "instances", "of a try"),
    SL_OPT_INT(sl_task_train_config, min_steps, 1000, 0, 1e9, "steps", "at least, so that a model that passes early settles"),
    SL_OPT_END
};

sl_lm_config sl_task_lm_config(const sl_world *w, const sl_task_train_config *t)
{
    const sl_task_info *task = sl_world_task(w);
    return (sl_lm_config){ .n_layer = t->n_layer, .n_head = t->n_head, .n_embd = t->n_embd, .block_size = task ? task->T : 0,
                           .vocab_size = task ? task->vocab : 0, .bias = true, .norm = SL_LM_LAYERNORM, .pos = SL_LM_LEARNED, .mlp = SL_LM_RELU };
}

sl_status sl_task_fits(const sl_lm *m, const sl_world *w, sl_err *err)
{
    const sl_task_info *task = sl_world_task(w);
    const char *name = sl_world_about(w)->name;
    if (!task)
        return sl_fail(err, SL_ARG, name, "a task of `saelab world list`", "a superposition world needs no model");
    if (m->c.vocab_size != task->vocab || m->c.block_size < task->T)
        return sl_fail(err, SL_ARG, name, "a model of this task", "the model has %lld tokens and a context of %lld, the task %lld and %lld",
                       (long long)m->c.vocab_size, (long long)m->c.block_size, (long long)task->vocab, (long long)task->T);
    return SL_OK;
}

static sl_status batch_new(sl_ctx *ctx, int64_t n, int64_t T, sl_task_batch *b, sl_err *err)
{
    size_t cells = (size_t)(n * T);
    *b = (sl_task_batch){ .ids = sl_alloc(ctx, cells * sizeof *b->ids), .targets = sl_alloc(ctx, cells * sizeof *b->targets), .uses = sl_alloc(ctx, cells), .n = n, .T = T };
    return b->ids && b->targets && b->uses ? SL_OK : sl_fail(err, SL_MEM, "task", NULL, "no memory for %lld instances", (long long)n);
}

static void batch_release(sl_ctx *ctx, sl_task_batch *b)
{
    sl_free(ctx, b->ids);
    sl_free(ctx, b->targets);
    sl_free(ctx, b->uses);
}

/* Instances first .. first + n - 1; targets: the next token where `use` is set, else -1. */
static sl_status batch_fill(const sl_world *w, int64_t first, int64_t n, uint8_t use, sl_task_batch *b, sl_err *err)
{
    SL_TRY(sl_task_instances(w, SL_WORLD_ALL, first, n, b->ids, b->uses, err));
    for (int64_t i = 0; i < n * b->T; i++)
        b->targets[i] = b->uses[i] & use && i % b->T + 1 < b->T ? b->ids[i + 1] : -1;
    return SL_OK;
}

/* ---- the gate ---- */

typedef struct tally { int64_t n, right, n_hard, right_hard; } tally;

static bool most_probable(const float *logits, int64_t vocab, int32_t token)
{
    for (int64_t v = 0; v < vocab; v++)
        if (v != token && logits[v] >= logits[token])
            return false;
    return true;
}

static bool right_side(const float *logits, const sl_task_info *task, int32_t token)
{
    double most = -INFINITY, sum[2] = { 0, 0 };
    for (int64_t v = 0; v < task->vocab; v++)
        if (task->side[v] && (double)logits[v] > most)
            most = (double)logits[v];
    for (int64_t v = 0; v < task->vocab; v++)
        if (task->side[v])
            sum[task->side[v] > 0] += exp((double)logits[v] - most);
    return sum[task->side[token] > 0] > sum[task->side[token] < 0];
}

static int64_t attractor_of(const sl_world_truth *t)
{
    for (int64_t f = 0; f < t->n; f++)
        if (strcmp(t->feature[f].name, "attractor") == 0)
            return f;
    return -1;
}

/* One instance: logits [T, vocab]. on, unknown: scratch for its labels, used where there are attractors. */
static sl_status count(const sl_world *w, const sl_task_batch *b, int64_t i, const float *logits, uint8_t *on, uint8_t *unknown, tally *c, sl_err *err)
{
    const sl_task_info *task = sl_world_task(w);
    int64_t attractor = attractor_of(sl_world_truth_of(w)), nf = sl_world_truth_of(w)->n;
    const int32_t *next = b->targets + i * b->T;
    bool all = true;
    if (attractor >= 0)
        SL_TRY(sl_task_labels(w, b->ids + i * b->T, on, unknown, err));
    for (int64_t t = 0; t < b->T; t++) {
        if (next[t] < 0)
            continue;
        bool right = task->side ? right_side(logits + t * task->vocab, task, next[t]) : most_probable(logits + t * task->vocab, task->vocab, next[t]);
        bool hard = attractor >= 0 && on[t * nf + attractor];
        all = all && right;
        c->n += task->side != NULL;
        c->right += task->side && right;
        c->n_hard += hard;
        c->right_hard += hard && right;
    }
    c->n += !task->side;
    c->right += !task->side && all;
    return SL_OK;
}

static sl_status gate_pass(sl_lm *m, const sl_world *w, int64_t first, int64_t n, sl_task_batch *b, uint8_t *labels, tally *c, sl_err *err)
{
    size_t cells = (size_t)(b->T * sl_world_truth_of(w)->n);
    SL_TRY(batch_fill(w, first, n, SL_TASK_SCORE, b, err));
    sl_tensor ids = sl_tensor_of(SL_I32, b->ids, 2, n, b->T);
    sl_tape_reset(m->tape);
    sl_var logits = sl_gpt_logits(m->tape, m, sl_gpt_hidden(m->tape, m, &ids, NULL));
    SL_TRY(sl_tape_status(m->tape, err));
    const float *v = sl_value(m->tape, logits)->data;
    for (int64_t i = 0; i < n; i++)
        SL_TRY(count(w, b, i, v + i * b->T * m->c.vocab_size, labels, labels + cells, c, err));
    return SL_OK;
}

sl_status sl_task_gate(sl_lm *m, const sl_world *w, int64_t first, int64_t n, sl_task_score *out, sl_err *err)
{
    SL_TRY(sl_task_fits(m, w, err));
    const sl_task_info *task = sl_world_task(w);
    sl_task_batch b = { 0 };
    tally c = { 0 };
    sl_status st;
    uint8_t *labels = sl_alloc(m->ctx, 2 * (size_t)(task->T * sl_world_truth_of(w)->n));
    SL_GO(labels ? batch_new(m->ctx, GATE_BATCH, task->T, &b, err) : sl_fail(err, SL_MEM, "task", NULL, "no memory for labels"));
    sl_tape_no_grad(m->tape, true);
    for (int64_t i = 0; i < n && st == SL_OK; i += GATE_BATCH)
        st = gate_pass(m, w, first + i, n - i < GATE_BATCH ? n - i : GATE_BATCH, &b, labels, &c, err);
    sl_tape_no_grad(m->tape, false);
    *out = (sl_task_score){ .score = (double)c.right / (double)(c.n ? c.n : 1), .n = c.n, .n_attractor = c.n_hard,
                            .attractor = c.n_hard ? (double)c.right_hard / (double)c.n_hard : NAN };
    out->passed = c.n > 0 && out->score >= task->gate && (c.n_hard == 0 || out->attractor >= task->gate);
done:
    sl_tape_reset(m->tape);
    batch_release(m->ctx, &b);
    sl_free(m->ctx, labels);
    return st;
}

/* ---- training ---- */

static sl_status step(sl_task_trainer *r, int64_t s, double *loss, sl_err *err)
{
    sl_lm *m = r->m;
    sl_tensor ids = sl_tensor_of(SL_I32, r->b.ids, 2, r->b.n, r->b.T), targets = sl_tensor_of(SL_I32, r->b.targets, 2, r->b.n, r->b.T);
    SL_TRY(batch_fill(r->w, s * r->b.n, r->b.n, SL_TASK_LOSS, &r->b, err));
    sl_tape_reset(m->tape);
    sl_params_zero_grad(m->ps);
    sl_var v = sl_gpt_loss(m->tape, m, &ids, &targets, NULL);
    SL_TRY(sl_tape_backward(m->tape, v, err));
    *loss = sl_scalar(m->tape, v);
    if (!isfinite(*loss))
        return sl_fail(err, SL_NUMERIC, "task", "finite numbers", "step %lld: the loss is %g", (long long)s, *loss);
    r->opt.lr = sl_schedule_at(&r->schedule, s);
    return sl_optim_step(&r->opt, m->ps, NULL, err);
}

/* A try, and where it is passed a second one on more instances, so that chance does not end the training. */
static sl_status try_gate(sl_task_trainer *r, sl_task_score *out, sl_err *err)
{
    int64_t n = r->t->gate_instances;
    SL_TRY(sl_task_gate(r->m, r->w, GATE_FIRST, n, out, err));
    return out->passed ? sl_task_gate(r->m, r->w, GATE_FIRST + n, CONFIRM * n, out, err) : SL_OK;
}

static sl_status loop(sl_task_trainer *r, sl_err *err)
{
    const sl_task_train_config *t = r->t;
    sl_task_result *out = &r->now;
    int64_t steps = r->schedule.steps;
    while ((!out->gate.passed || out->steps < t->min_steps) && out->steps < steps && !(t->max_seconds > 0 && out->seconds >= t->max_seconds)) {
        SL_TRY(step(r, out->steps++, &out->loss, err));
        out->seconds = r->before + sl_lm_clock() - r->begin;
        bool last = out->steps == steps || (t->max_seconds > 0 && out->seconds >= t->max_seconds);
        if (out->steps % t->gate_every == 0 || last) {
            SL_TRY(try_gate(r, &out->gate, err));
            sl_log(r->m->ctx, SL_LOG_INFO, "step %lld: loss %.4f, gate %.4f", (long long)out->steps, out->loss, out->gate.score);
        }
        if (sl_cancelled(r->m->ctx)) {
            SL_TRY(sl_task_save(r, err));
            return sl_fail(err, SL_CANCELLED, "task", NULL, "stopped by a signal at step %lld", (long long)out->steps);
        }
        if (sl_lm_clock() - r->saved >= SL_TASK_SAVE_S)
            SL_TRY(sl_task_save(r, err));
        if (out->steps % 10 == 0 && !last)
            sl_progress(r->m->ctx, "train task", (double)out->steps, (double)steps, "steps", "loss %.4f  gate %.4f", out->loss, out->gate.score);
    }
    out->seconds = r->before + sl_lm_clock() - r->begin;
    sl_progress(r->m->ctx, "train task", (double)out->steps, (double)out->steps, "steps", "loss %.4f  gate %.4f", out->loss, out->gate.score);
    return SL_OK;
}

sl_status sl_task_train(sl_lm *m, const sl_world *w, const sl_task_train_config *t, const char *dir, sl_task_result *out, sl_err *err)
{
    sl_task_trainer r = { .m = m, .w = w, .t = t, .dir = dir, .begin = sl_lm_clock(), .saved = sl_lm_clock(), .now.gate.attractor = NAN };
    SL_TRY(sl_task_fits(m, w, err));
    r.opt = (sl_optim){ .kind = SL_OPTIM_ADAMW, .beta1 = .9, .beta2 = t->beta2, .eps = 1e-8, .clip = 1 };
    r.schedule = (sl_schedule){ .kind = SL_SCHED_COSINE, .lr = t->lr, .min_lr = t->lr / 20, .warmup = t->warmup,
                                .steps = t->steps > 0 ? t->steps : sl_world_task(w)->steps };
    sl_status st = batch_new(m->ctx, t->batch, sl_world_task(w)->T, &r.b, err);
    if (st == SL_OK)
        st = sl_task_resume(&r, err);
    if (st == SL_OK)
        st = loop(&r, err);
    *out = r.now;
    sl_tape_reset(m->tape);
    batch_release(m->ctx, &r.b);
    return st;
}
