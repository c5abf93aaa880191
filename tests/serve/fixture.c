#include "fixture.h"

#include "io/io.h"

#include <math.h>
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

/* What a run and `saelab features build` leave of a compositional SAE, made up: four compositions of which two fire, and a robustness curve. */
static const sl_composition_edge EDGES[] = { { 0, 3, .75 }, { 0, 5, .25 }, { 2, 3, .5 }, { 2, 9, .5 } };
static const char STABILITY[] = "{\"curves\": {\"gauss\": {\"achieved\": [0, 0.1, 0.2, 0.4], \"fss\": {\"y\": [1, 0.75, null, 0.25], \"lo\": [1, 0.7, null, null], \"hi\": [1, 0.8, null, null]}}}}";

static sl_status left_beside(sl_ctx *ctx, const char *dir, const char *name, sl_err *err)
{
    char path[600];
    sl_features *f;
    sl_composition_unit u[] = {
        { .q = 0, .fired = 30, .energy = .8, .n_participants = 2, .participant = { 3, 5 }, .share = { .75, .25 }, .n_heat = 2, .heat_feature = { 3, 5 }, .heat = { { 0, .5f }, { -.25f, 0 } },
          .n_pairs = 1, .pair = { { 3, 5, .25, .125 } }, .n_rows = 2, .top = { { 1, 2.5 }, { 0, 1.5 } } },
        { .q = 2, .fired = 10, .energy = .2, .n_participants = 2, .participant = { 3, 9 }, .share = { .5, .5 }, .n_pairs = 1, .pair = { { 3, 9, .1, (double)NAN } } },
    };
    sl_composition_pictures p = { .unit = u, .n_units = 2, .n_compositions = 4 };
    int32_t doc[] = { 0, 0 }, pos[] = { 4, 9 };
    sl_gathered rows = { .data = { .n_rows = 100, .doc = doc, .pos = pos } };
    snprintf(path, sizeof path, "%s/%s", dir, name);
    SL_TRY(sl_features_open(ctx, path, false, &f, err));
    sl_status st = sl_features_compositions_save(ctx, f, &p, &rows, err);
    sl_features_close(f);
    SL_TRY(st);
    snprintf(path, sizeof path, "%s/%s/stability.json", dir, name);
    return sl_file_write(ctx, path, STABILITY, strlen(STABILITY), err);
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
    sl_status st = sl_features_build(ctx, &(sl_features_input){ .sae = s, .rows = rows, .tok = c->tok, .lm = lm, .name = name, .sae_path = sae, .lm_path = model, .edge = EDGES, .n_edges = strcmp(name, "sae-a") == 0 ? 4 : 0 }, &o,
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
    SL_GO(left_beside(ctx, dir, names[0], err));
done:
    sl_free(ctx, r.curve);
    sl_sae_free(sae[0]);
    sl_sae_free(sae[1]);
    sl_lm_free(lm);
    sl_corpus_release(ctx, &c);
    return st;
}
