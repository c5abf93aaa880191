/* The demo: a tiny language model, an SAE on its residual stream, and features with the contexts in which they fire. */
#include "study/stages.h"

#include <stdio.h>
#include <string.h>

enum { CONTEXT = 24, N_CONTEXTS = 3, MAX_FEATURES = 100, BLOCK = 1024 };

typedef struct hit { float value; int64_t at; } hit; /* at: index of the token in the corpus */

typedef struct feature { int32_t id; int64_t fired; hit top[N_CONTEXTS]; } feature;

/* The plan of the demo, in code so that it needs no file. */
static const char PLAN[] =
    "study: demo\n"
    "question: What does a sparse autoencoder find in a tiny language model?\n"
    "run_demo:\n"
    "  what: tiny model, one SAE\n"
    "  seeds: 1\n"
    "  lm: {preset: nanogpt_cpu, max_iters: 400, lr_decay_iters: 400, eval_iters: 5, eval_interval: 200}\n"
    "  acts: {hook: blocks.2.hook_resid_pre, train_tokens: 200000, eval_tokens: 40000, splice_tokens: 4000}\n"
    "  arms:\n"
    "    topk: {variant: topk, d_sae: 512, k: 16, steps: 500, batch: 256, lr: 2e-3}\n";

/* Keeps the N_CONTEXTS largest, descending. */
static void keep(feature *f, float value, int64_t at)
{
    f->fired++;
    for (int i = 0; i < N_CONTEXTS; i++)
        if (value > f->top[i].value) {
            memmove(&f->top[i + 1], &f->top[i], (size_t)(N_CONTEXTS - 1 - i) * sizeof(hit));
            f->top[i] = (hit){ value, at };
            return;
        }
}

/* Fills f [d_sae] from the rows of the held-out store: document and position name the token. */
static sl_status scan(sl_run *r, sl_sae *sae, sl_act_source *rows, feature *f, int64_t *n_rows, sl_err *err)
{
    sl_sae_info info = sl_sae_about(sae);
    sl_codes z;
    SL_TRY(sl_codes_new(r->ctx, BLOCK, info.max_active, &z, err));
    sl_status st = SL_OK;
    for (int64_t done = 0; done < rows->info.n_rows && st == SL_OK;) {
        sl_act_batch b;
        int64_t n = rows->info.n_rows - done < BLOCK ? rows->info.n_rows - done : BLOCK;
        SL_GO(rows->next(rows, n, &b, err));
        SL_GO(sl_sae_encode(sae, b.x, b.n, &z, NULL, err));
        for (int64_t i = 0; i < b.n; i++)
            for (int64_t e = z.row_ptr[i]; e < z.row_ptr[i + 1]; e++)
                keep(&f[z.idx[e]], z.val[e], r->corpus.doc[b.doc[i]] + b.pos[i]);
        done += b.n;
    }
    *n_rows = rows->info.n_rows;
done:
    sl_codes_release(r->ctx, &z);
    return st;
}

/* One context as text: line breaks shown as a space, the firing token between brackets. */
static void context(const sl_corpus *c, int64_t at, char *out, size_t size)
{
    size_t used = 0;
    for (int64_t i = at - CONTEXT; i <= at + CONTEXT / 3 && used + 16 < size; i++) {
        if (i < 0 || i >= c->n)
            continue;
        size_t n;
        const char *piece = sl_tok_piece(c->tok, c->ids[i], &n);
        used += (size_t)snprintf(out + used, size - used, i == at ? "[%.*s]" : "%.*s", (int)n, piece);
    }
    for (char *p = out; *p; p++)
        if (*p == '\n' || *p == '\r' || *p == '\t')
            *p = ' ';
}

/* Features spread over the firing rates: neither dead, nor seen once, nor always on. */
static int choose(const feature *f, int64_t d_sae, int64_t n_rows, int want, int32_t *out)
{
    int found = 0;
    for (int64_t pass = 0; pass < 2 && found < want; pass++)
        for (int64_t i = 0; i < d_sae && found < want; i++) {
            double rate = (double)f[i].fired / (double)n_rows;
            bool good = f[i].fired >= 20 && rate < .05;
            if (pass == 0 ? good : f[i].fired >= N_CONTEXTS && !good)
                out[found++] = (int32_t)i;
        }
    return found;
}

static sl_status show(sl_run *r, int n_features, void (*put)(void *, const char *), void *user, sl_err *err)
{
    sl_act_source *rows = NULL;
    sl_sae *sae = NULL;
    feature *f = NULL;
    char path[SL_PATH + 16], line[512], text[256];
    int32_t chosen[MAX_FEATURES];
    int64_t n_rows = 0;
    sl_status st = SL_OK;
    snprintf(path, sizeof path, "%s/model", r->trained[0].sae.dir);
    SL_GO(sl_sae_load(r->ctx, path, &sae, err));
    SL_GO(sl_ground_open(r, &r->ground[0], SL_ROWS_TEST, &r->trained[0], &rows, err));
    int64_t d_sae = sl_sae_about(sae).d_sae;
    f = sl_alloc(r->ctx, (size_t)d_sae * sizeof *f);
    if (!f)
        SL_GO(sl_fail(err, SL_MEM, "demo", NULL, "no memory for %lld features", (long long)d_sae));
    SL_GO(scan(r, sae, rows, f, &n_rows, err));
    int n = choose(f, d_sae, n_rows, n_features < MAX_FEATURES ? n_features : MAX_FEATURES, chosen);
    snprintf(line, sizeof line, "%d of %lld features, with the contexts of %s in which they fire most ([token]):", n, (long long)d_sae, r->text.name);
    put(user, line);
    for (int i = 0; i < n; i++) {
        const feature *g = &f[chosen[i]];
        snprintf(line, sizeof line, "feature %d, fires on %.2f%% of the tokens", chosen[i], 100.0 * (double)g->fired / (double)n_rows);
        put(user, line);
        for (int k = 0; k < N_CONTEXTS && g->top[k].value > 0; k++) {
            context(&r->corpus, g->top[k].at, text, sizeof text);
            snprintf(line, sizeof line, "  %6.2f  %s", (double)g->top[k].value, text);
            put(user, line);
        }
    }
done:
    sl_free(r->ctx, f);
    sl_act_source_free(rows);
    sl_sae_free(sae);
    return st;
}

sl_status sl_study_demo(sl_ctx *ctx, int n_features, void (*put)(void *, const char *), void *user, sl_err *err)
{
    sl_plan plan = { .ctx = ctx };
    sl_cache cache;
    sl_run r = { .ctx = ctx, .plan = &plan, .cache = &cache };
    sl_status st = SL_OK;
    SL_TRY(sl_plan_parse(ctx, "demo", PLAN, "run_demo", SL_PROFILE_QUICK, &plan, err));
    SL_GO(sl_text_find(ctx, plan.run.dataset, true, &r.text, err));
    if (r.text.note[0])
        sl_log(ctx, SL_LOG_WARN, "text: %s", r.text.note);
    SL_GO(sl_cache_open(ctx, NULL, &cache, err));
    SL_GO(sl_run_stages(&r, err));
    SL_GO(sl_run_corpus(&r, err));
    if (r.trained[0].failed)
        SL_GO(sl_fail(err, r.trained[0].failed, "demo", NULL, "%s", r.trained[0].failure));
    st = show(&r, n_features, put, user, err);
done:
    sl_run_release(&r);
    sl_plan_release(&plan);
    return st;
}
