#include "fixture.h"

#include "io/io.h"

#include <stdio.h>
#include <string.h>

static const char *const LINES[] = { "the old king went down to the river and waited for the morning\n", "she said that the bread was white and the wine was red\n",
                                     "two ships came over the sea with silver and salt and wool\n", "in the garden a small bird sang of summer and of rain\n",
                                     "who knows the way to the mill, asked the boy at the gate\n" };

/* A hundred lines, the five in turn. */
static sl_status corpus_of(sl_ctx *ctx, sl_corpus *out, sl_err *err)
{
    static char text[8192];
    sl_text t = { .name = "fixture", .bytes = text };
    for (int i = 0; i < 100; i++)
        t.n += (size_t)snprintf(text + t.n, sizeof text - t.n, "%s", LINES[(i * 7 + i / 5) % 5]);
    sl_sha256_hex(text, t.n, t.sha256);
    return sl_corpus_new(ctx, &t, SL_TOK_CHAR, NULL, out, err);
}

/* A TopK SAE trained for a moment on the store, saved in DIR/NAME. */
static sl_status sae_of(sl_ctx *ctx, int seed, const char *acts, const char *dir, const char *name, sl_sae **out, sl_err *err)
{
    sl_topk_options o = { 0 };
    sl_sae_train_config c;
    sl_sae_result r = { 0 };
    sl_act_source *rows;
    char path[600];
    sl_opts_default(sl_variant_find("topk")->opts, &o);
    sl_opts_default(sl_sae_train_opts, &c);
    o.k = FIXTURE_K;
    c.steps = 60 - 20 * seed, c.batch = 128, c.d_sae = FIXTURE_FEATURES, c.lr = 2e-3, c.seed = seed;
    SL_TRY(sl_sae_new(ctx, "topk", FIXTURE_WIDTH, FIXTURE_FEATURES, &o, (uint64_t)seed, out, err));
    SL_TRY(sl_acts_open(ctx, acts, false, &rows, err));
    sl_status st = sl_sae_train(*out, rows, &c, NULL, &r, err);
    sl_act_source_free(rows);
    sl_free(ctx, r.curve);
    SL_TRY(st);
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return sl_sae_save(*out, path, err);
}

static sl_status index_of(sl_ctx *ctx, sl_sae *s, sl_lm *lm, const sl_corpus *c, const char *acts, const char *dir, const char *name, sl_err *err)
{
    char path[600];
    sl_act_source *rows = NULL;
    sl_features_opts o;
    sl_features_built built;
    sl_opts_default(sl_features_options, &o);
    SL_TRY(sl_acts_open(ctx, acts, false, &rows, err));
    snprintf(path, sizeof path, "%s/%s/features", dir, name);
    char sae[600], model[600];
    snprintf(sae, sizeof sae, "%s/%s", dir, name);
    snprintf(model, sizeof model, "%s/lm", dir);
    sl_status st = sl_features_build(ctx, &(sl_features_input){ .sae = s, .rows = rows, .tok = c->tok, .lm = lm, .name = name, .sae_path = sae, .lm_path = model }, &o,
                                     path, &built, err);
    sl_act_source_free(rows);
    return st;
}

sl_status fixture_make(sl_ctx *ctx, const char *dir, sl_err *err)
{
    sl_corpus c = { 0 };
    sl_lm *lm = NULL;
    sl_sae *sae[2] = { NULL, NULL };
    char acts[600], path[600];
    static const char *const names[] = { "sae-a", "sae-b" };
    sl_lm_config cfg;
    sl_lm_train_config t;
    sl_lm_result r = { 0 };
    sl_status st;
    SL_GO(corpus_of(ctx, &c, err));
    sl_opts_default(sl_lm_opts, &cfg);
    cfg.n_layer = 2, cfg.n_head = 2, cfg.n_embd = FIXTURE_WIDTH, cfg.block_size = FIXTURE_BLOCK, cfg.vocab_size = sl_tok_vocab(c.tok);
    SL_GO(sl_lm_new(ctx, &cfg, 1, &lm, err));
    sl_opts_default(sl_lm_train_opts, &t);
    t.batch_size = 8, t.gradient_accumulation_steps = 1, t.max_iters = 60, t.lr_decay_iters = 60, t.warmup_iters = 5, t.eval_interval = 60, t.eval_iters = 2, t.learning_rate = 3e-3;
    snprintf(path, sizeof path, "%s/train", dir);
    SL_GO(sl_lm_train(lm, &c, &t, path, &r, err));
    snprintf(path, sizeof path, "%s/lm", dir);
    SL_GO(sl_lm_save(lm, c.tok, path, err));
    snprintf(acts, sizeof acts, "%s/acts", dir);
    SL_GO(sl_lm_capture(lm, "lm", &c, 0, c.n_docs, "blocks.1.hook_resid_pre", &(sl_capture_config){ .store = { .dtype = SL_F32 } }, acts, err));
    for (int i = 0; i < 2; i++) {
        SL_GO(sae_of(ctx, i, acts, dir, names[i], &sae[i], err));
        SL_GO(index_of(ctx, sae[i], lm, &c, acts, dir, names[i], err));
    }
done:
    sl_free(ctx, r.curve);
    sl_sae_free(sae[0]);
    sl_sae_free(sae[1]);
    sl_lm_free(lm);
    sl_corpus_release(ctx, &c);
    return st;
}
