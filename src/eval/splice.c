/* Splicing: the language model's loss with one point of its stream replaced, on held-out documents. The replacement goes in where the
 * stream is read, before the block runs (science.md A1 T1). Documents are cut into whole windows; the rest of a document is padded behind
 * its end, which a causal model never sees, and padding is not scored (T3). */
#include "lm/gpt.h"

#include <saelab/eval.h>
#include <math.h>
#include <string.h>

enum { BATCH_TOKENS = 4096, CHUNK_LOGITS = 1 << 23 };
enum { ORIGINAL, SPLICED, ZEROED, N_KINDS };

typedef struct splicer {
    sl_ctx *ctx;
    sl_lm *lm;
    const sl_coder *coder;  /* NULL: identity */
    sl_tape *tape;
    sl_hook_id at;
    sl_codes z;
    float *xhat;            /* [B * T, C] */
    int32_t *ids, *targets; /* [B, T] */
    int64_t B, T, C;
    double sum[N_KINDS];    /* nats */
    double kl[N_KINDS];     /* nats: sum of KL(original || kind) */
    float *hidden[N_KINDS]; /* [B * T, C] what the head reads */
    float *row_loss[N_KINDS], *p; /* [chunk], and [chunk, V] probabilities of the original */
    int64_t V, chunk;       /* chunk: positions whose logits are held at once */
    int64_t n;              /* tokens scored */
    sl_status status;       /* of the hook */
    sl_err *err;
} splicer;

/* ---- hooks ---- */

static sl_var put_in(sl_tape *t, sl_var x, const float *data)
{
    sl_tensor with = *sl_value(t, x);
    with.data = (void *)(uintptr_t)data;
    return sl_replace(t, x, sl_const(t, &with));
}

static sl_var reconstruct(void *user, sl_tape *t, sl_var x)
{
    splicer *p = user;
    const sl_tensor *v = sl_value(t, x);
    if (!v || p->status != SL_OK)
        return x;
    if (p->coder)
        p->status = p->coder->encode(p->coder->self, v->data, sl_rows(v), &p->z, p->xhat, p->err);
    else
        memcpy(p->xhat, v->data, sl_nbytes(v));
    return p->status == SL_OK ? put_in(t, x, p->xhat) : x;
}

static sl_var zero(void *user, sl_tape *t, sl_var x)
{
    splicer *p = user;
    const sl_tensor *v = sl_value(t, x);
    if (!v)
        return x;
    memset(p->xhat, 0, sl_nbytes(v));
    return put_in(t, x, p->xhat);
}

/* ---- batches ---- */

/* What the head reads, with the stream as it is and replaced. */
static sl_status run_model(splicer *p, int64_t rows)
{
    const sl_gpt_hook hooks[N_KINDS] = { { .at = p->at }, { p->at, reconstruct, p }, { p->at, zero, p } };
    sl_tensor ids = sl_tensor_of(SL_I32, p->ids, 2, rows, p->T);
    for (int kind = 0; kind < N_KINDS; kind++) {
        sl_tape_reset(p->tape);
        sl_var h = sl_gpt_hidden(p->tape, p->lm, &ids, kind == ORIGINAL ? NULL : &hooks[kind]);
        SL_TRY(p->status);
        SL_TRY(sl_tape_status(p->tape, p->err));
        memcpy(p->hidden[kind], sl_value(p->tape, h)->data, sl_nbytes(sl_value(p->tape, h)));
    }
    return SL_OK;
}

/* KL(p || q) of a position: sum_v p_v (lp_v - lq_v) - (log Z_p - log Z_q), log Z = loss + logit of the target. */
static double kl_row(const float *p, const float *lp, const float *lq, int64_t V, double z_p, double z_q)
{
    double kl = 0;
    for (int64_t v = 0; v < V; v++)
        kl += (double)p[v] * ((double)lp[v] - (double)lq[v]);
    return kl - (z_p - z_q);
}

static void add_rows(splicer *p, const float *const logits[N_KINDS], const int32_t *targets, int64_t n, int64_t counted)
{
    for (int64_t i = 0; i < n; i++) {
        if (targets[i] < 0)
            continue;
        float *prob = p->p + i * p->V; /* holds (p - 1[target]) / counted */
        for (int64_t v = 0; v < p->V; v++)
            prob[v] *= (float)counted;
        prob[targets[i]] += 1;
        double z[N_KINDS];
        for (int kind = 0; kind < N_KINDS; kind++) {
            z[kind] = (double)p->row_loss[kind][i] + (double)logits[kind][i * p->V + targets[i]];
            p->sum[kind] += (double)p->row_loss[kind][i];
        }
        for (int kind = SPLICED; kind < N_KINDS; kind++)
            p->kl[kind] += kl_row(prob, logits[ORIGINAL] + i * p->V, logits[kind] + i * p->V, p->V, z[ORIGINAL], z[kind]);
    }
}

/* Losses and divergences of n positions from `at` on. */
static sl_status score_chunk(splicer *p, int64_t at, int64_t n)
{
    const sl_kern *k = sl_tape_kern(p->tape);
    const float *logits[N_KINDS];
    sl_tensor targets = sl_tensor_of(SL_I32, p->targets + at, 1, n);
    int64_t counted = k->count_targets(k, &targets);
    if (counted == 0)
        return SL_OK;
    sl_tape_reset(p->tape);
    for (int kind = 0; kind < N_KINDS; kind++) {
        sl_tensor h = sl_tensor_of(SL_F32, p->hidden[kind] + at * p->C, 2, n, p->C);
        sl_var l = sl_gpt_logits(p->tape, p->lm, sl_const(p->tape, &h));
        SL_TRY(sl_tape_status(p->tape, p->err));
        sl_tensor value = *sl_value(p->tape, l), loss = sl_tensor_of(SL_F32, p->row_loss[kind], 1, n);
        logits[kind] = value.data;
        if (kind == ORIGINAL) { /* its probabilities come out of the gradient, which overwrites a copy */
            memcpy(p->p, value.data, sl_nbytes(&value));
            value.data = p->p;
        }
        k->softmax_xent(k, &value, &targets, kind == ORIGINAL, &loss);
    }
    if (sl_kern_failed(k))
        return sl_fail(p->err, SL_MEM, "splicing", NULL, "no memory for the losses");
    add_rows(p, logits, p->targets + at, n, counted);
    return SL_OK;
}

static sl_status score(splicer *p, int64_t rows, int64_t scored)
{
    SL_TRY(run_model(p, rows));
    for (int64_t at = 0; at < rows * p->T; at += p->chunk)
        SL_TRY(score_chunk(p, at, rows * p->T - at < p->chunk ? rows * p->T - at : p->chunk));
    p->n += scored;
    return SL_OK;
}

/* One window from ids[at]; returns how many of its positions are scored. */
static int64_t fill_row(splicer *p, int64_t row, const sl_corpus *c, int64_t at, int64_t end)
{
    int64_t n = end - 1 - at < p->T ? end - 1 - at : p->T;
    for (int64_t i = 0; i < p->T; i++) {
        p->ids[row * p->T + i] = i < n ? c->ids[at + i] : c->ids[at];
        p->targets[row * p->T + i] = i < n ? c->ids[at + i + 1] : -1;
    }
    return n;
}

static sl_status walk(splicer *p, const sl_corpus *c, int64_t first_doc, int64_t end_doc, int64_t max_tokens)
{
    int64_t rows = 0, scored = 0;
    for (int64_t doc = first_doc; doc < end_doc; doc++)
        for (int64_t at = c->doc[doc], end = c->doc[doc + 1]; at + 1 < end; at += p->T) {
            scored += fill_row(p, rows++, c, at, end);
            bool enough = max_tokens > 0 && p->n + scored >= max_tokens;
            if (rows == p->B || enough) {
                SL_TRY(score(p, rows, scored));
                rows = scored = 0;
            }
            if (enough)
                return SL_OK;
        }
    return rows ? score(p, rows, scored) : SL_OK;
}

/* ---- results ---- */

static sl_status put_score(splicer *p, double orig, double sae, double zeroed, sl_metrics *out)
{
    if (!(zeroed - orig > 1e-9))
        return sl_metrics_null(p->ctx, out, "ce_loss_score", "replacing the stream by zeros does not raise the loss", p->err);
    return sl_metrics_put(p->ctx, out, "ce_loss_score", (zeroed - sae) / (zeroed - orig), p->n, p->err);
}

/* Rounding may leave a divergence of 0 just below it. */
static sl_status put_kl(splicer *p, sl_metrics *out)
{
    double sae = fmax(p->kl[SPLICED] / (double)p->n, 0), zeroed = fmax(p->kl[ZEROED] / (double)p->n, 0);
    SL_TRY(sl_metrics_put(p->ctx, out, "kl_sae", sae, p->n, p->err));
    SL_TRY(sl_metrics_put(p->ctx, out, "kl_zero", zeroed, p->n, p->err));
    if (!(zeroed > 1e-9))
        return sl_metrics_null(p->ctx, out, "kl_score", "replacing the stream by zeros does not change what is predicted", p->err);
    return sl_metrics_put(p->ctx, out, "kl_score", (zeroed - sae) / zeroed, p->n, p->err);
}

static sl_status put_all(splicer *p, sl_metrics *out)
{
    double n = (double)p->n, orig = p->sum[ORIGINAL] / n, sae = p->sum[SPLICED] / n, zeroed = p->sum[ZEROED] / n;
    const struct { const char *name; double value; } v[] = {
        { "ce_orig", orig }, { "ce_sae", sae }, { "ce_zero", zeroed }, { "ce_delta", sae - orig },
        { "transformer_loss", orig }, { "transformer_perplexity", exp(orig) },
        { "downstream_loss_original", orig }, { "downstream_loss_reconstructed", sae }, { "downstream_loss_delta_absolute", sae - orig },
    };
    for (size_t i = 0; i < sizeof v / sizeof *v; i++)
        SL_TRY(sl_metrics_put(p->ctx, out, v[i].name, v[i].value, p->n, p->err));
    SL_TRY(put_score(p, orig, sae, zeroed, out));
    SL_TRY(put_kl(p, out));
    if (!(orig > 0))
        return sl_metrics_null(p->ctx, out, "downstream_loss_delta_percent", "the original loss is 0", p->err);
    return sl_metrics_put(p->ctx, out, "downstream_loss_delta_percent", 100 * (sae - orig) / orig, p->n, p->err);
}

/* ---- setting up ---- */

static sl_status check(splicer *p, const char *hook, const sl_corpus *c, int64_t first_doc, int64_t end_doc, sl_err *err)
{
    const sl_lm_config *cfg = sl_lm_cfg(p->lm);
    SL_TRY(sl_hook_parse(hook, cfg, &p->at, err));
    p->T = cfg->block_size;
    p->C = cfg->n_embd;
    p->V = cfg->vocab_size;
    p->chunk = CHUNK_LOGITS / p->V > 16 ? CHUNK_LOGITS / p->V : 16;
    p->B = BATCH_TOKENS / p->T > 0 ? BATCH_TOKENS / p->T : 1;
    int64_t d_in = p->coder ? p->coder->d_in : p->C;
    if (d_in != p->C)
        return sl_fail(err, SL_SHAPE, hook, "an SAE of the model's width", "the stream has %lld dimensions, the SAE d_in %lld", (long long)p->C, (long long)d_in);
    if (first_doc < 0 || end_doc > c->n_docs || first_doc > end_doc)
        return sl_fail(err, SL_ARG, "documents", "a range of those that the corpus has", "%lld to %lld of %lld", (long long)first_doc, (long long)end_doc, (long long)c->n_docs);
    int64_t from = c->doc[first_doc];
    return sl_lm_check_ids(p->lm, c->ids + from, c->doc[end_doc] - from, err);
}

static sl_status allocate(splicer *p, sl_err *err)
{
    size_t tokens = (size_t)(p->B * p->T);
    p->ids = sl_alloc(p->ctx, tokens * sizeof *p->ids);
    p->targets = sl_alloc(p->ctx, tokens * sizeof *p->targets);
    p->xhat = sl_alloc(p->ctx, tokens * (size_t)p->C * sizeof *p->xhat);
    bool there = p->ids && p->targets && p->xhat;
    p->chunk = p->chunk < p->B * p->T ? p->chunk : p->B * p->T;
    p->p = sl_alloc(p->ctx, (size_t)(p->chunk * p->V) * sizeof *p->p);
    for (int kind = 0; kind < N_KINDS; kind++) {
        p->hidden[kind] = sl_alloc(p->ctx, tokens * (size_t)p->C * sizeof *p->hidden[kind]);
        p->row_loss[kind] = sl_alloc(p->ctx, (size_t)p->chunk * sizeof *p->row_loss[kind]);
        there = there && p->hidden[kind] && p->row_loss[kind];
    }
    if (!there || !p->p)
        return sl_fail(err, SL_MEM, "splicing", NULL, "no memory for %zu tokens", tokens);
    if (p->coder)
        SL_TRY(sl_codes_new(p->ctx, (int64_t)tokens, p->coder->max_active, &p->z, err));
    SL_TRY(sl_tape_new(p->ctx, SL_F32, &p->tape, err));
    sl_tape_no_grad(p->tape, true);
    return SL_OK;
}

sl_status sl_eval_coder_splice(sl_ctx *ctx, sl_lm *lm, const sl_coder *c, const char *hook, const sl_corpus *text, int64_t first_doc, int64_t end_doc, int64_t max_tokens, sl_metrics *out, sl_err *err)
{
    splicer p = { .ctx = ctx, .lm = lm, .coder = c, .err = err };
    sl_status st;
    SL_GO(check(&p, hook, text, first_doc, end_doc, err));
    SL_GO(allocate(&p, err));
    SL_GO(walk(&p, text, first_doc, end_doc, max_tokens));
    if (p.n == 0) {
        st = sl_fail(err, SL_DATA, "documents", "at least one of two tokens or more", "there is nothing to score");
        goto done;
    }
    SL_GO(put_all(&p, out));
done:
    sl_tape_free(p.tape);
    sl_codes_release(ctx, &p.z);
    for (int kind = 0; kind < N_KINDS; kind++) {
        sl_free(ctx, p.row_loss[kind]);
        sl_free(ctx, p.hidden[kind]);
    }
    sl_free(ctx, p.p);
    sl_free(ctx, p.xhat);
    sl_free(ctx, p.targets);
    sl_free(ctx, p.ids);
    return st;
}
