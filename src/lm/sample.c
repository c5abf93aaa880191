/* Sampling with a cache of keys and values. The cache of a layer holds whole q, k, v rows [block_size, 3C], so that a prompt runs as one
 * product and one attention straight into it; each further token reads every weight once (gemv), from f32 or from bf16 copies. The
 * prompt always runs in f32. When the window is full, its last half (the newest token included) runs again from position 0. */
#include "lm/gpt.h"

#include <math.h>
#include <string.h>

typedef struct layer_weights { sl_tensor c_attn, c_proj, c_fc, mlp_proj; } layer_weights; /* as gemv reads them */

typedef struct sampler {
    sl_lm *m;
    const sl_kern *k;
    const sl_lm_edit *edit;           /* NULL: none */
    layer_weights *w;                 /* [n_layer] */
    sl_tensor head;
    uint16_t *bf16;                   /* copies of all of them, or NULL */
    sl_tensor *cache;                 /* [n_layer] of [T, 3C]; data of all through cache[0].data */
    float *x, *a, *y, *qkv, *fc;      /* [T, C] stream, normed, branch; [T, 3C]; [T, 4C] */
    float *stat, *lse, *logits;       /* [T, 2], [H, T], [V] */
    int32_t *ids, *pos;               /* [T] ids and positions of the window */
    int64_t n;                        /* positions filled */
    double *weight;                   /* [V] exp of the scaled logits */
    float *top;                       /* [top_k] heap of the largest logits */
} sampler;

/* ---- set-up ---- */

static sl_tensor stored(const sl_param *p, uint16_t **at)
{
    sl_tensor t = p->value;
    if (*at) {
        t.dtype = SL_BF16;
        t.data = *at;
        sl_from_f32(p->value.data, SL_BF16, *at, sl_numel(&t));
        *at += sl_numel(&t);
    }
    return t;
}

static void store_weights(sampler *s)
{
    uint16_t *at = s->bf16;
    for (int64_t l = 0; l < s->m->c.n_layer; l++) {
        const sl_gpt_layer *h = &s->m->h[l];
        s->w[l] = (layer_weights){ stored(h->c_attn_w, &at), stored(h->c_proj_w, &at), stored(h->c_fc_w, &at),
                                   stored(h->mlp_proj_w, &at) };
    }
    s->head = stored(s->m->head, &at);
}

static void release(sampler *s)
{
    sl_ctx *ctx = s->m->ctx;
    if (s->cache)
        sl_free(ctx, s->cache[0].data);
    void *all[] = { s->w, s->bf16, s->cache, s->x, s->ids, s->weight, s->top };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        sl_free(ctx, all[i]);
}

static sl_status allocate(sampler *s, const sl_lm_sample_config *c, sl_err *err)
{
    sl_ctx *ctx = s->m->ctx;
    const sl_lm_config *m = &s->m->c;
    size_t T = (size_t)m->block_size, C = (size_t)m->n_embd, L = (size_t)m->n_layer, V = (size_t)m->vocab_size;
    s->w = sl_alloc(ctx, L * sizeof *s->w);
    s->cache = sl_alloc(ctx, L * sizeof *s->cache);
    float *rows = sl_alloc(ctx, L * T * 3 * C * sizeof *rows);
    if (s->cache)
        s->cache[0].data = rows;
    else
        sl_free(ctx, rows);
    s->x = sl_alloc(ctx, (T * (10 * C + 2 + (size_t)m->n_head) + V) * sizeof(float));
    s->ids = sl_alloc(ctx, 2 * T * sizeof *s->ids);
    s->weight = sl_alloc(ctx, V * sizeof *s->weight);
    s->top = sl_alloc(ctx, (size_t)c->top_k * sizeof *s->top);
    if (c->weights == SL_LM_WEIGHTS_BF16)
        s->bf16 = sl_alloc(ctx, (12 * L * C * C + V * C) * sizeof *s->bf16);
    if (!s->w || !rows || !s->cache || !s->x || !s->ids || !s->weight || !s->top || (c->weights == SL_LM_WEIGHTS_BF16 && !s->bf16))
        return sl_fail(err, SL_MEM, "sampling", NULL, "out of memory");
    s->a = s->x + T * C;
    s->y = s->a + T * C;
    s->qkv = s->y + T * C;
    s->fc = s->qkv + T * 3 * C;
    s->stat = s->fc + T * 4 * C;
    s->lse = s->stat + T * 2;
    s->logits = s->lse + T * (size_t)m->n_head;
    s->pos = s->ids + T;
    for (size_t i = 0; i < T; i++)
        s->pos[i] = (int32_t)i;
    for (size_t l = 0; l < L; l++)
        s->cache[l] = sl_tensor_of(SL_F32, rows + l * T * 3 * C, 2, (int64_t)T, (int64_t)(3 * C));
    store_weights(s);
    return SL_OK;
}

/* ---- forward ---- */

static sl_tensor rows_of(float *p, int64_t n, int64_t width) { return sl_tensor_of(SL_F32, p, 3, (int64_t)1, n, width); }

/* y = act(x W^T + b) + beta y for n rows: one row reads the stored weights, more use the parameter itself. */
static void product(const sampler *s, const sl_tensor *W, const sl_param *p, const sl_param *b, const sl_tensor *x, sl_act act,
                    double beta, sl_tensor *y)
{
    const sl_tensor *bias = b ? &b->value : NULL;
    if (sl_rows(x) == 1)
        s->k->gemv(s->k, W, x, bias, act, beta, y);
    else
        s->k->gemm(s->k, &(sl_gemm){ .a = x, .b = &p->value, .tb = true, .c = y, .alpha = 1, .beta = beta, .bias = bias, .act = act });
}

static void norm(const sampler *s, const sl_tensor *x, const sl_param *w, const sl_param *b, sl_tensor *y)
{
    sl_tensor stat = sl_tensor_of(SL_F32, s->stat, 2, sl_rows(x), (int64_t)2);
    if (s->m->c.norm == SL_LM_RMSNORM)
        s->k->rmsnorm(s->k, x, &w->value, SL_GPT_RMS_EPS, y, &stat);
    else
        s->k->layernorm(s->k, x, &w->value, b ? &b->value : NULL, SL_GPT_LN_EPS, y, &stat);
}

/* Rows s->n .. s->n + n of layer l: q, k, v into the cache, attention into y. */
static void attention(const sampler *s, int64_t l, const sl_tensor *a, int64_t n, sl_tensor *y)
{
    const sl_lm_config *c = &s->m->c;
    const sl_gpt_layer *h = &s->m->h[l];
    int64_t C = c->n_embd, end = s->n + n;
    sl_tensor into = rows_of((float *)s->cache[l].data + s->n * 3 * C, n, 3 * C), raw = rows_of(s->qkv, n, 3 * C);
    bool turn = c->pos == SL_LM_ROTARY;
    product(s, &s->w[l].c_attn, h->c_attn_w, h->c_attn_b, a, SL_ACT_NONE, 0, turn ? &raw : &into);
    if (turn)
        s->k->rotary(s->k, &raw, (int)c->n_head, s->n, SL_GPT_ROTARY_BASE, 1, 0, &into);
    sl_attn at = { .B = 1, .T = end, .C = C, .n_head = (int)c->n_head };
    sl_tensor lse = sl_tensor_of(SL_F32, s->lse, 3, (int64_t)1, c->n_head, n);
    if (n == 1)
        s->k->attend(s->k, &at, &s->cache[l], y);
    else
        s->k->attention(s->k, &at, &into, y, &lse); /* only from position 0: n == end */
}

/* The rows x [n, C] that stand at `site` of layer l, changed where that is asked for. */
static sl_status change(const sampler *s, int64_t l, int site, float *x, int64_t n, sl_err *err)
{
    const sl_lm_edit *e = s->edit;
    return e && e->at.layer == l && (int)e->at.site == site ? e->fn(e->user, x, n, err) : SL_OK;
}

static sl_status block(const sampler *s, int64_t l, int64_t n, sl_tensor *x, sl_err *err)
{
    int64_t C = s->m->c.n_embd;
    const sl_gpt_layer *h = &s->m->h[l];
    sl_act act = sl_gpt_act(&s->m->c);
    sl_tensor a = rows_of(s->a, n, C), y = rows_of(s->y, n, C), fc = rows_of(s->fc, n, 4 * C);
    SL_TRY(change(s, l, SL_HOOK_RESID_PRE, x->data, n, err));
    norm(s, x, h->ln_1_w, h->ln_1_b, &a);
    attention(s, l, &a, n, &y);
    product(s, &s->w[l].c_proj, h->c_proj_w, h->c_proj_b, &y, SL_ACT_NONE, 1, x);
    norm(s, x, h->ln_2_w, h->ln_2_b, &a);
    product(s, &s->w[l].c_fc, h->c_fc_w, h->c_fc_b, &a, act, 0, &fc);
    if (s->edit && s->edit->at.layer == l && s->edit->at.site == SL_HOOK_MLP_OUT) { /* the branch alone */
        product(s, &s->w[l].mlp_proj, h->mlp_proj_w, h->mlp_proj_b, &fc, SL_ACT_NONE, 0, &y);
        SL_TRY(change(s, l, SL_HOOK_MLP_OUT, y.data, n, err));
        s->k->add(s->k, x, &y, x);
    } else
        product(s, &s->w[l].mlp_proj, h->mlp_proj_w, h->mlp_proj_b, &fc, SL_ACT_NONE, 1, x);
    return change(s, l, SL_HOOK_RESID_POST, x->data, n, err);
}

/* Runs n tokens (n > 1 only in an empty window) and leaves the logits of the last. */
static sl_status feed(sampler *s, const int32_t *ids, int64_t n, sl_err *err)
{
    sl_lm *m = s->m;
    int64_t C = m->c.n_embd;
    memmove(s->ids + s->n, ids, (size_t)n * sizeof *ids);
    sl_tensor x = rows_of(s->x, n, C), id = sl_tensor_of(SL_I32, s->ids + s->n, 1, n), pos = sl_tensor_of(SL_I32, s->pos + s->n, 1, n);
    s->k->embed(s->k, &id, &m->wte->value, 0, &x);
    if (m->wpe)
        s->k->embed(s->k, &pos, &m->wpe->value, 1, &x);
    for (int64_t l = 0; l < m->c.n_layer; l++)
        SL_TRY(block(s, l, n, &x, err));
    sl_tensor last = rows_of(s->x + (n - 1) * C, 1, C), a = rows_of(s->a, 1, C), logits = rows_of(s->logits, 1, m->c.vocab_size);
    norm(s, &last, m->ln_f_w, m->ln_f_b, &a);
    product(s, &s->head, m->head, NULL, &a, SL_ACT_NONE, 0, &logits);
    s->n += n;
    return SL_OK;
}

static sl_status add_token(sampler *s, int32_t id, sl_err *err)
{
    int64_t T = s->m->c.block_size, keep = T / 2 > 1 ? T / 2 : 1;
    if (s->n < T)
        return feed(s, &id, 1, err);
    memmove(s->ids, s->ids + T - (keep - 1), (size_t)(keep - 1) * sizeof *s->ids);
    s->ids[keep - 1] = id;
    s->n = 0;
    return feed(s, s->ids, keep, err);
}

/* ---- choice ---- */

/* The k-th largest of n logits: the root of a heap of the k largest. */
static float kth_largest(const float *v, int64_t n, float *heap, int64_t k)
{
    for (int64_t i = 0; i < n; i++) {
        int64_t at = i < k ? i : 0;
        if (i >= k && v[i] <= heap[0])
            continue;
        if (i < k) { /* rises from the end */
            for (; at > 0 && heap[(at - 1) / 2] > v[i]; at = (at - 1) / 2)
                heap[at] = heap[(at - 1) / 2];
        } else { /* sinks from the root */
            for (int64_t c; (c = 2 * at + 1) < k; at = c) {
                c += c + 1 < k && heap[c + 1] < heap[c];
                if (heap[c] >= v[i])
                    break;
                heap[at] = heap[c];
            }
        }
        heap[at] = v[i];
    }
    return heap[0];
}

static int32_t most_probable(const float *v, int64_t n)
{
    int64_t best = 0;
    for (int64_t i = 1; i < n; i++)
        best = v[i] > v[best] ? i : best;
    return (int32_t)best;
}

/* Draws from softmax(logits / temperature) among the top_k (ties with the k-th stay, as in nanoGPT). */
static int32_t choose(const sampler *s, const sl_lm_sample_config *c, int64_t step)
{
    int64_t V = s->m->c.vocab_size;
    int32_t best = most_probable(s->logits, V);
    if (c->temperature == 0)
        return best;
    float least = c->top_k > 0 && c->top_k < V ? kth_largest(s->logits, V, s->top, c->top_k) : -INFINITY;
    double total = 0;
    for (int64_t i = 0; i < V; i++) {
        s->weight[i] = s->logits[i] < least ? 0 : exp(((double)s->logits[i] - (double)s->logits[best]) / c->temperature);
        total += s->weight[i];
    }
    sl_rng r = sl_rng_at((uint64_t)c->seed, SL_RNG_SAMPLE, (uint64_t)step, 0);
    double left = sl_rng_uniform(&r) * total;
    for (int64_t i = 0; i < V; i++) {
        left -= s->weight[i];
        if (left < 0)
            return (int32_t)i;
    }
    return best; /* rounding ate the last sliver */
}

static sl_status generate(sampler *s, const sl_lm_sample_config *c, bool (*token)(void *, int32_t), void *user, sl_err *err)
{
    for (int64_t i = 0; i < c->max_new_tokens; i++) {
        sl_tensor logits = rows_of(s->logits, 1, s->m->c.vocab_size);
        if (s->k->not_finite(s->k, &logits) >= 0)
            return sl_fail(err, SL_NUMERIC, "sampling", "finite weights", "the logits of new token %lld are not finite", (long long)i);
        int32_t id = choose(s, c, i);
        if (!token(user, id))
            return SL_OK;
        if (sl_cancelled(s->m->ctx))
            return sl_fail(err, SL_CANCELLED, "sampling", NULL, "stopped by a signal after %lld tokens", (long long)i + 1);
        if (i + 1 < c->max_new_tokens)
            SL_TRY(add_token(s, id, err));
    }
    return SL_OK;
}

sl_status sl_lm_sample(sl_lm *m, const int32_t *prompt, int64_t n_prompt, const sl_lm_sample_config *c, bool (*token)(void *, int32_t),
                       void *user, sl_err *err)
{
    return sl_lm_sample_edited(m, prompt, n_prompt, c, NULL, token, user, err);
}

sl_status sl_lm_sample_edited(sl_lm *m, const int32_t *prompt, int64_t n_prompt, const sl_lm_sample_config *c, const sl_lm_edit *edit,
                              bool (*token)(void *, int32_t), void *user, sl_err *err)
{
    static const int32_t newline = 0;
    if (n_prompt == 0) {
        prompt = &newline;
        n_prompt = 1;
    }
    SL_TRY(sl_lm_check_ids(m, prompt, n_prompt, err));
    sampler s = { .m = m, .k = sl_tape_kern(m->tape), .edit = edit };
    int64_t n = n_prompt < m->c.block_size ? n_prompt : m->c.block_size;
    sl_status st = allocate(&s, c, err);
    if (st == SL_OK) {
        st = feed(&s, prompt + n_prompt - n, n, err);
        if (st == SL_OK)
            st = generate(&s, c, token, user, err);
    }
    release(&s);
    return st;
}
