/* What the browser has open: indices found from the paths given, their marks, and models loaded when they are first needed. */
#include "io/io.h"
#include "serve/browse.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- sets ---- */

static sl_status copy_text(sl_ctx *ctx, const char *text, char **out, sl_err *err)
{
    char *copy = *text ? sl_strdup(ctx, text) : NULL;
    if (*text && !copy)
        return sl_fail(err, SL_MEM, NULL, NULL, "no memory for a mark");
    sl_free(ctx, *out);
    *out = copy;
    return SL_OK;
}

sl_status sl__set_mark(sl__set *s, int64_t id, bool star, const char *tags, const char *label, sl_err *err)
{
    if (id < 0 || id >= s->about->n_features)
        return SL_OK; /* marks of a larger index that was here before */
    pthread_rwlock_wrlock(&s->lock);
    s->star[id] = star;
    sl_status st = copy_text(s->ctx, tags, &s->tags[id], err);
    if (st == SL_OK)
        st = copy_text(s->ctx, label, &s->label[id], err);
    pthread_rwlock_unlock(&s->lock);
    return st;
}

typedef struct loading { sl__set *s; sl_status st; sl_err *err; } loading;

static void load_mark(void *user, int64_t id, bool star, const char *tags, const char *best)
{
    loading *l = user;
    if (l->st == SL_OK)
        l->st = sl__set_mark(l->s, id, star, tags, best, l->err);
}

static void release_set(sl__set *s)
{
    for (int64_t i = 0; s->label && s->tags && i < s->about->n_features; i++) {
        sl_free(s->ctx, s->label[i]);
        sl_free(s->ctx, s->tags[i]);
    }
    sl_free(s->ctx, s->label);
    sl_free(s->ctx, s->tags);
    sl_free(s->ctx, s->star);
    sl_marks_close(s->marks);
    sl_features_close(s->f);
    sl_sae_free(s->sae);
    json_decref(s->compositions);
    json_decref(s->stability);
    pthread_rwlock_destroy(&s->lock);
}

/* The last part of a path that says something: "runs/run_0/sae-topk/features" is "sae-topk". */
static void name_set(sl__browse *b, sl__set *s, const char *path)
{
    char copy[1024], *part;
    snprintf(copy, sizeof copy, "%s", path);
    for (;;) {
        size_t n = strlen(copy);
        while (n > 1 && copy[n - 1] == '/')
            copy[--n] = 0;
        part = strrchr(copy, '/');
        const char *last = part ? part + 1 : copy;
        if (!part || (strcmp(last, "features") != 0 && strcmp(last, "index.safetensors") != 0 && strcmp(last, ".") != 0))
            break;
        *part = 0;
    }
    snprintf(s->name, sizeof s->name, "%.48s", part ? part + 1 : copy);
    for (char *c = s->name; *c; c++)
        if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-", *c))
            *c = '-';
    size_t n = strlen(s->name);
    for (int i = 0, k = 2; i < b->n_sets; i++)
        if (strcmp(b->set[i].name, s->name) == 0) {
            snprintf(s->name + n, sizeof s->name - n, "-%d", k++);
            i = -1;
        }
}

/* The first of the candidates that is a folder with `file` in it. */
static void find_model(const char *file, int n, const char (*candidate)[1024], char out[1024])
{
    char path[1100];
    *out = 0;
    for (int i = 0; i < n && !*out; i++) {
        snprintf(path, sizeof path, "%.1000s/%s", candidate[i], file);
        if (candidate[i][0] && sl_path_exists(path))
            snprintf(out, 1024, "%.1000s", candidate[i]);
    }
}

static void parent_of(const char *path, char out[1024])
{
    snprintf(out, 1024, "%s", path);
    char *slash = strrchr(out, '/');
    snprintf(slash ? slash : out, slash ? (size_t)(1024 - (slash - out)) : 1024, "%s", slash ? "" : ".");
}

/* Where the index says that its SAE and model are, or where a run keeps them beside it. */
static void find_models(sl__set *s)
{
    char where[4][1024] = { "" }, home[1024], run[1024];
    const char *lm = strrchr(s->about->lm_path, '/');
    parent_of(s->about->dir, home);
    parent_of(home, run);
    snprintf(where[0], 1024, "%s", home);
    snprintf(where[1], 1024, "%s", s->about->sae_path);
    find_model("cfg.json", 2, (const char (*)[1024])where, s->sae_path);
    snprintf(where[0], 1024, "%s", s->about->lm_path);
    snprintf(where[1], 1024, "%.700s/%.300s", run, lm ? lm + 1 : s->about->lm_path);
    snprintf(where[2], 1024, "%.1000s/lm-seed0", run);
    find_model("config.json", *s->about->lm_path ? 3 : 0, (const char (*)[1024])where, s->lm_path);
}

static sl_status open_set(sl__browse *b, const char *path, sl_err *err)
{
    if (b->n_sets == SL_BROWSE_SETS)
        return sl_fail(err, SL_ARG, path, NULL, "more than %d indices", SL_BROWSE_SETS);
    sl__set *s = &b->set[b->n_sets];
    *s = (sl__set){ .ctx = b->ctx };
    SL_TRY(sl_features_open(b->ctx, path, false, &s->f, err));
    s->about = sl_features_about(s->f);
    pthread_rwlock_init(&s->lock, NULL);
    size_t n = (size_t)s->about->n_features;
    name_set(b, s, path);
    b->n_sets++;
    s->label = sl_alloc(b->ctx, n * sizeof *s->label);
    s->tags = sl_alloc(b->ctx, n * sizeof *s->tags);
    s->star = sl_alloc(b->ctx, n);
    if (!s->label || !s->tags || !s->star)
        return sl_fail(err, SL_MEM, path, NULL, "no memory for marks");
    find_models(s);
    sl__set_read_left(s);
    loading l = { .s = s, .st = SL_OK, .err = err };
    SL_TRY(sl_marks_open(b->ctx, s->about->dir, &s->marks, err));
    SL_TRY(sl_marks_each(s->marks, load_mark, &l, err));
    return l.st;
}

/* ---- paths ---- */

static bool has_index(const char *path)
{
    char file[1200];
    static const char *const ways[] = { "", "/index.safetensors", "/features/index.safetensors" };
    for (int i = 0; i < 3; i++) {
        snprintf(file, sizeof file, "%.1100s%s", path, ways[i]);
        if (sl_path_exists(file) && !sl_path_is_dir(file))
            return true;
    }
    return false;
}

static int by_name(const struct dirent **a, const struct dirent **b) { return strcmp((*a)->d_name, (*b)->d_name); }

/* The folder itself, or those in it (a run) that have an index. */
static sl_status open_path(sl__browse *b, const char *path, sl_err *err)
{
    if (has_index(path))
        return open_set(b, path, err);
    if (!sl_path_exists(path))
        return sl_fail(err, SL_MISSING, path, "a run, an SAE or an index of features", "there is no such folder");
    struct dirent **entry = NULL;
    int n = scandir(path, &entry, NULL, by_name), before = b->n_sets;
    sl_status st = SL_OK;
    char sub[1100];
    for (int i = 0; i < n; i++) {
        snprintf(sub, sizeof sub, "%.800s/%s", path, entry[i]->d_name);
        if (st == SL_OK && entry[i]->d_name[0] != '.' && sl_path_is_dir(sub) && has_index(sub))
            st = open_set(b, sub, err);
        free(entry[i]);
    }
    free(entry);
    if (st == SL_OK && b->n_sets == before)
        return sl_fail(err, SL_MISSING, path, NULL, "no index of features here; make one: saelab features build %s", path);
    return st;
}

sl_status sl__browse_open(sl_ctx *ctx, int n_paths, const char *const *paths, sl__browse **out, sl_err *err)
{
    static const char *const here[] = { "." };
    sl__browse *b = sl_alloc(ctx, sizeof *b);
    sl_status st = SL_OK;
    *out = NULL;
    if (!b)
        return sl_fail(err, SL_MEM, NULL, NULL, "no memory for the browser");
    b->ctx = ctx;
    for (int i = 0; i < (n_paths ? n_paths : 1); i++)
        SL_GO(open_path(b, n_paths ? paths[i] : here[0], err));
done:
    if (st == SL_OK)
        *out = b;
    else
        sl__browse_free(b);
    return st;
}

static void drop_model(sl__model *m)
{
    sl_steer_free(m->steer);
    sl_lm_free(m->lm);
    sl_tok_free(m->tok);
    *m = (sl__model){ .path = "" };
}

void sl__browse_free(sl__browse *b)
{
    if (!b)
        return;
    drop_model(&b->model);
    for (int i = 0; i < b->n_sets; i++)
        release_set(&b->set[i]);
    sl_free(b->ctx, b);
}

/* ---- for handlers ---- */

sl_status sl__browse_set(sl__browse *b, const sl_http_req *q, sl__set **out, sl_err *err)
{
    for (int i = 0; i < b->n_sets; i++)
        if (strcmp(b->set[i].name, q->part[0]) == 0) {
            *out = &b->set[i];
            return SL_OK;
        }
    return sl_fail(err, SL_MISSING, q->path, NULL, "there is no SAE '%.60s'", q->part[0]);
}

sl_status sl__set_sae(sl__browse *b, sl__set *s, sl_err *err)
{
    if (s->sae)
        return SL_OK;
    if (!*s->sae_path)
        return sl_fail(err, SL_UNAVAILABLE, s->name, NULL, "%s", s->about->vectors ? "these are directions, not an SAE" : "its weights are not beside the index");
    sl_sae *sae;
    SL_TRY(sl_sae_load(b->ctx, s->sae_path, &sae, err));
    if (sl_sae_about(sae).d_sae != s->about->n_features) {
        sl_sae_free(sae);
        return sl_fail(err, SL_UNAVAILABLE, s->name, NULL, "the SAE in its folder is another one than the index is of");
    }
    s->sae = sae;
    return SL_OK;
}

sl_status sl__set_model(sl__browse *b, sl__set *s, sl_err *err)
{
    sl__model *m = &b->model;
    SL_TRY(sl__set_sae(b, s, err));
    if (!*s->lm_path)
        return sl_fail(err, SL_UNAVAILABLE, s->name, NULL, "its language model is not at hand");
    if (m->lm && strcmp(m->path, s->lm_path) != 0)
        drop_model(m);
    if (!m->lm) {
        SL_TRY(sl_lm_load(b->ctx, s->lm_path, &m->lm, &m->tok, err));
        snprintf(m->path, sizeof m->path, "%s", s->lm_path);
    }
    if (m->of != s) {
        sl_steer_free(m->steer);
        m->steer = NULL;
        m->of = NULL;
        SL_TRY(sl_steer_new(b->ctx, m->lm, s->sae, s->about->hook, &m->steer, err));
        m->of = s;
    }
    return SL_OK;
}
