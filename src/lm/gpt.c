/* The GPT: parameters and forward pass on the tape (nanoGPT's model.py: pre-norm blocks, exact GELU, tied head).
 *   x = wte[ids] + wpe[0..T)
 *   for each block:  x += proj(attention(c_attn(ln_1(x))));   x += mlp_proj(act(c_fc(ln_2(x))))
 *   hidden = ln_f(x),  logits = hidden head^T
 * with dropout on the embedding, the attention weights and both branches. */
#include "lm/gpt.h"

#include "io/io.h"

#include <assert.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>

/* ---- parameters: one table per block, walked by the constructor ---- */

typedef enum start { ONES, ZEROS, NORMAL, RESIDUAL } start;
typedef enum when { ALWAYS, WITH_BIAS, WITH_NORM_BIAS } when;

typedef struct row {
    const char *name;
    size_t member;      /* of sl_gpt_layer */
    int out, in;        /* in units of n_embd; in 0: a vector */
    when there;
    start init;
} row;

#define AT(m) offsetof(sl_gpt_layer, m)
static const row block_rows[] = {
    { "ln_1.weight", AT(ln_1_w), 1, 0, ALWAYS, ONES },
    { "ln_1.bias", AT(ln_1_b), 1, 0, WITH_NORM_BIAS, ZEROS },
    { "attn.c_attn.weight", AT(c_attn_w), 3, 1, ALWAYS, NORMAL },
    { "attn.c_attn.bias", AT(c_attn_b), 3, 0, WITH_BIAS, ZEROS },
    { "attn.c_proj.weight", AT(c_proj_w), 1, 1, ALWAYS, RESIDUAL },
    { "attn.c_proj.bias", AT(c_proj_b), 1, 0, WITH_BIAS, ZEROS },
    { "ln_2.weight", AT(ln_2_w), 1, 0, ALWAYS, ONES },
    { "ln_2.bias", AT(ln_2_b), 1, 0, WITH_NORM_BIAS, ZEROS },
    { "mlp.c_fc.weight", AT(c_fc_w), 4, 1, ALWAYS, NORMAL },
    { "mlp.c_fc.bias", AT(c_fc_b), 4, 0, WITH_BIAS, ZEROS },
    { "mlp.c_proj.weight", AT(mlp_proj_w), 1, 4, ALWAYS, RESIDUAL },
    { "mlp.c_proj.bias", AT(mlp_proj_b), 1, 0, WITH_BIAS, ZEROS },
};
enum { N_ROWS = sizeof block_rows / sizeof *block_rows };

static bool is_there(const sl_lm_config *c, when w)
{
    return w == ALWAYS || (c->bias && (w == WITH_BIAS || c->norm == SL_LM_LAYERNORM));
}

static sl_param **member(sl_gpt_layer *h, const row *r) { return (sl_param **)(void *)((char *)h + r->member); }

static bool add_block(sl_lm *m, int64_t layer)
{
    for (int i = 0; i < N_ROWS; i++) {
        const row *r = &block_rows[i];
        if (!is_there(&m->c, r->there))
            continue;
        char name[96];
        snprintf(name, sizeof name, "transformer.h.%d.%s", (int)layer, r->name);
        int64_t C = m->c.n_embd;
        sl_param *p = r->in ? sl_params_add(m->ps, SL_PARAM_DECAY | SL_PARAM_MATRIX, name, 2, r->out * C, r->in * C)
                            : sl_params_add(m->ps, 0, name, 1, r->out * C);
        if (!p)
            return false;
        *member(&m->h[layer], r) = p;
    }
    return true;
}

static bool add_params(sl_lm *m)
{
    const sl_lm_config *c = &m->c;
    m->wte = sl_params_add(m->ps, SL_PARAM_DECAY, "transformer.wte.weight", 2, c->vocab_size, c->n_embd);
    bool ok = m->wte != NULL;
    if (c->pos == SL_LM_LEARNED)
        ok = ok && (m->wpe = sl_params_add(m->ps, SL_PARAM_DECAY, "transformer.wpe.weight", 2, c->block_size, c->n_embd));
    for (int64_t l = 0; l < c->n_layer; l++)
        ok = ok && add_block(m, l);
    ok = ok && (m->ln_f_w = sl_params_add(m->ps, 0, "transformer.ln_f.weight", 1, c->n_embd));
    if (is_there(c, WITH_NORM_BIAS))
        ok = ok && (m->ln_f_b = sl_params_add(m->ps, 0, "transformer.ln_f.bias", 1, c->n_embd));
    m->head = m->wte;
    if (!c->tie_head)
        ok = ok && (m->head = sl_params_add(m->ps, SL_PARAM_DECAY, "lm_head.weight", 2, c->vocab_size, c->n_embd));
    return ok;
}

static void init_param(sl_lm *m, sl_param *p, start s, uint64_t seed)
{
    const double std = 0.02;
    if (s == NORMAL || s == RESIDUAL)
        sl_param_normal(m->ps, p, seed, s == NORMAL ? std : std / sqrt(2. * (double)m->c.n_layer));
    else {
        sl_tape_kern(m->tape)->fill(sl_tape_kern(m->tape), s == ONES, &p->value);
        sl_param_touch(p);
    }
}

static void init_params(sl_lm *m, uint64_t seed)
{
    init_param(m, m->wte, NORMAL, seed);
    if (m->wpe)
        init_param(m, m->wpe, NORMAL, seed);
    for (int64_t l = 0; l < m->c.n_layer; l++)
        for (int i = 0; i < N_ROWS; i++)
            if (*member(&m->h[l], &block_rows[i]))
                init_param(m, *member(&m->h[l], &block_rows[i]), block_rows[i].init, seed);
    init_param(m, m->ln_f_w, ONES, seed);
    if (m->ln_f_b)
        init_param(m, m->ln_f_b, ZEROS, seed);
    if (m->head != m->wte)
        init_param(m, m->head, NORMAL, seed);
}

/* ---- construction ---- */

static sl_status check_config(const sl_lm_config *c, sl_err *err)
{
    if (c->n_layer < 1 || c->n_head < 1 || c->n_embd < 1)
        return sl_fail(err, SL_CONFIG, "n_layer, n_head, n_embd", "1 or more", "%lld, %lld, %lld", (long long)c->n_layer,
                       (long long)c->n_head, (long long)c->n_embd);
    if (c->n_embd % c->n_head)
        return sl_fail(err, SL_CONFIG, "n_embd", "a multiple of n_head", "%lld with %lld heads", (long long)c->n_embd,
                       (long long)c->n_head);
    if (c->pos == SL_LM_ROTARY && c->n_embd / c->n_head % 2)
        return sl_fail(err, SL_CONFIG, "n_embd", "an even head size for rotary positions", "heads of %lld",
                       (long long)(c->n_embd / c->n_head));
    if (c->block_size < 1)
        return sl_fail(err, SL_CONFIG, "block_size", "1 or more", "%lld", (long long)c->block_size);
    if (c->vocab_size < 1 || c->vocab_size > INT32_MAX)
        return sl_fail(err, SL_CONFIG, "vocab_size", "the tokenizer's, 1 or more", "%lld", (long long)c->vocab_size);
    if (!(c->dropout >= 0 && c->dropout < 1))
        return sl_fail(err, SL_CONFIG, "dropout", "from 0 to below 1", "%g", c->dropout);
    return SL_OK;
}

sl_status sl_gpt_new(sl_ctx *ctx, const sl_lm_config *c, sl_dtype dtype, uint64_t seed, sl_lm **out, sl_err *err)
{
    *out = NULL;
    SL_TRY(check_config(c, err));
    sl_lm *m = sl_alloc(ctx, sizeof *m);
    if (!m)
        return sl_fail(err, SL_MEM, "language model", NULL, "out of memory");
    m->ctx = ctx;
    m->c = *c;
    sl_status st = SL_OK;
    m->h = sl_alloc(ctx, (size_t)c->n_layer * sizeof *m->h);
    if (!m->h) {
        st = sl_fail(err, SL_MEM, "language model", NULL, "out of memory");
        goto done;
    }
    SL_GO(sl_params_new(ctx, dtype, &m->ps, err));
    if (!add_params(m)) {
        st = sl_fail(err, SL_MEM, "language model", NULL, "no memory for the parameters' table");
        goto done;
    }
    SL_GO(sl_params_build(m->ps, true, err));
    SL_GO(sl_tape_new(ctx, dtype, &m->tape, err));
    init_params(m, seed);
    *out = m;
done:
    if (st != SL_OK)
        sl_lm_free(m);
    return st;
}

sl_status sl_lm_new(sl_ctx *ctx, const sl_lm_config *c, uint64_t seed, sl_lm **out, sl_err *err)
{
    return sl_gpt_new(ctx, c, SL_F32, seed, out, err);
}

void sl_lm_free(sl_lm *m)
{
    if (!m)
        return;
    sl_tape_free(m->tape);
    sl_params_free(m->ps);
    sl_free(m->ctx, m->h);
    sl_free(m->ctx, m);
}

const sl_lm_config *sl_lm_cfg(const sl_lm *m) { return &m->c; }

int64_t sl_lm_n_params(const sl_lm *m, bool embedding)
{
    return sl_params_numel(m->ps) - (embedding || !m->wpe ? 0 : sl_numel(&m->wpe->value));
}

uint64_t sl_gpt_weights_hash(const sl_lm *m)
{
    uint64_t hash = 0;
    for (int i = 0; i < sl_params_count(m->ps); i++) {
        const sl_tensor *v = &sl_params_at(m->ps, i)->value;
        uint64_t mix[2] = { hash, sl_xxh64(v->data, sl_nbytes(v)) };
        hash = sl_xxh64(mix, sizeof mix);
    }
    return hash;
}

const sl_param *sl_gpt_bad_param(sl_lm *m)
{
    const sl_kern *k = sl_tape_kern(m->tape);
    for (int i = 0; i < sl_params_count(m->ps); i++)
        if (k->not_finite(k, &sl_params_at(m->ps, i)->value) >= 0)
            return sl_params_at(m->ps, i);
    return NULL;
}

/* ---- forward ---- */

typedef struct pass {
    sl_tape *t;
    sl_lm *m;
    const sl_gpt_hook *hook;
    double p; /* dropout */
} pass;

static sl_var param(const pass *s, sl_param *p) { return p ? sl_param_var(s->t, p) : (sl_var){ 0 }; }

static sl_var norm(const pass *s, sl_var x, sl_param *w, sl_param *b)
{
    return s->m->c.norm == SL_LM_RMSNORM ? sl_rmsnorm(s->t, x, param(s, w)) : sl_layernorm(s->t, x, param(s, w), param(s, b));
}

static sl_var linear(const pass *s, sl_var x, sl_param *w, sl_param *b, sl_act act)
{
    return sl_linear(s->t, x, param(s, w), param(s, b), act);
}

static sl_var drop(const pass *s, sl_var x) { return s->p > 0 ? sl_dropout(s->t, x, s->p) : x; }

static sl_var hooked(const pass *s, int layer, int site, sl_var x)
{
    const sl_gpt_hook *h = s->hook;
    return h && h->at.layer == layer && (int)h->at.site == site ? h->fn(h->user, s->t, x) : x;
}

static sl_var attention(const pass *s, const sl_gpt_layer *h, sl_var x)
{
    const sl_lm_config *c = &s->m->c;
    sl_var qkv = linear(s, norm(s, x, h->ln_1_w, h->ln_1_b), h->c_attn_w, h->c_attn_b, SL_ACT_NONE); /* [B, T, 3C] */
    if (c->pos == SL_LM_ROTARY)
        qkv = sl_rotary(s->t, qkv, (int)c->n_head, SL_GPT_ROTARY_BASE);
    sl_var y = sl_attention(s->t, qkv, (int)c->n_head, s->p); /* [B, T, C] */
    return drop(s, linear(s, y, h->c_proj_w, h->c_proj_b, SL_ACT_NONE));
}

static sl_var mlp(const pass *s, const sl_gpt_layer *h, sl_var x)
{
    sl_act act = sl_gpt_act(&s->m->c);
    sl_var y = linear(s, norm(s, x, h->ln_2_w, h->ln_2_b), h->c_fc_w, h->c_fc_b, act); /* [B, T, 4C] */
    return drop(s, linear(s, y, h->mlp_proj_w, h->mlp_proj_b, SL_ACT_NONE));
}

static sl_var embedding(const pass *s, const sl_tensor *ids)
{
    sl_var x = sl_embed(s->t, ids, param(s, s->m->wte));
    if (s->m->wpe) {
        int32_t *pos = sl_tape_scratch(s->t, (size_t)sl_numel(ids) * sizeof *pos);
        for (int64_t i = 0; pos && i < sl_numel(ids); i++)
            pos[i] = (int32_t)(i % sl_cols(ids));
        sl_tensor at = *ids;
        at.data = pos;
        x = sl_add(s->t, x, sl_embed(s->t, &at, param(s, s->m->wpe)));
    }
    return drop(s, x);
}

/* The stream after `n` blocks. [B, T, C] */
static sl_var stream(const pass *s, const sl_tensor *ids, int64_t n)
{
    assert(ids->dtype == SL_I32 && ids->n_dim == 2 && ids->dim[1] <= s->m->c.block_size);
    sl_var x = embedding(s, ids);
    for (int l = 0; l < n; l++) {
        const sl_gpt_layer *h = &s->m->h[l];
        x = hooked(s, l, SL_HOOK_RESID_PRE, x);
        x = sl_add(s->t, x, attention(s, h, x));
        x = sl_add(s->t, x, hooked(s, l, SL_HOOK_MLP_OUT, mlp(s, h, x)));
        x = hooked(s, l, SL_HOOK_RESID_POST, x);
    }
    return x;
}

static sl_var hidden(const pass *s, const sl_tensor *ids)
{
    return norm(s, stream(s, ids, s->m->c.n_layer), s->m->ln_f_w, s->m->ln_f_b);
}

sl_var sl_gpt_hidden(sl_tape *t, sl_lm *m, const sl_tensor *ids, const sl_gpt_hook *hook)
{
    return hidden(&(pass){ t, m, hook, 0 }, ids);
}

sl_var sl_gpt_logits(sl_tape *t, sl_lm *m, sl_var x) { return sl_matmul(t, x, sl_param_var(t, m->head), true); }

static sl_var loss(const pass *s, const sl_tensor *ids, const sl_tensor *targets)
{
    return sl_head_xent(s->t, hidden(s, ids), param(s, s->m->head), targets);
}

sl_var sl_gpt_loss(sl_tape *t, sl_lm *m, const sl_tensor *ids, const sl_tensor *targets, const sl_gpt_hook *hook)
{
    return loss(&(pass){ t, m, hook, 0 }, ids, targets);
}

sl_var sl_gpt_train_loss(sl_tape *t, sl_lm *m, const sl_tensor *ids, const sl_tensor *targets)
{
    return loss(&(pass){ t, m, NULL, m->c.dropout }, ids, targets);
}

static sl_var keep(void *user, sl_tape *t, sl_var x)
{
    (void)t;
    *(sl_var *)user = x;
    return x;
}

sl_var sl_gpt_site(sl_tape *t, sl_lm *m, const sl_tensor *ids, sl_hook_id at)
{
    sl_var found = { 0 };
    sl_gpt_hook hook = { at, keep, &found };
    pass s = { t, m, &hook, 0 };
    sl_var x = stream(&s, ids, at.site == SL_HOOK_RESID_PRE ? at.layer : at.layer + 1);
    return at.site == SL_HOOK_RESID_PRE ? x : found;
}
