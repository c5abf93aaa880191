/* Checkpoints of the training on a task. A resumed training equals an uninterrupted one bit for bit. */
#include "io/io.h"
#include "lm/task_train.h"
#include "lm/train.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { GROUPS = 3, NAME = 128, SCALARS = 8, PATH = 1024 };
static const char *const groups[GROUPS] = { "param", "adam_m", "adam_v" };

static void put_options(char *text, size_t size, const sl_opt *table, const void *cfg)
{
    for (const sl_opt *o = table; o->type != SL_T_END; o++) {
        char value[128];
        size_t used = strlen(text);
        sl_opts_text(o, cfg, value, sizeof value);
        snprintf(text + used, size - used, "%s=%s\n", o->name, value);
    }
}

/* Of everything that decides the weights. */
static void make_key(const sl_task_trainer *r, char key[65])
{
    char text[4096];
    snprintf(text, sizeof text, "task training 1\nworld=%s\nkernels=%s\n", sl_world_id(r->w), sl_tape_kern(r->m->tape)->id);
    put_options(text, sizeof text, sl_lm_opts, &r->m->c);
    put_options(text, sizeof text, sl_task_train_opts, r->t);
    sl_sha256_hex(text, strlen(text), key);
}

typedef struct listing { int n; char (*text)[NAME]; const char **names; sl_tensor *tensors; double scalars[SCALARS]; } listing;

static void release(sl_ctx *ctx, listing *l)
{
    sl_free(ctx, l->text);
    sl_free(ctx, l->names);
    sl_free(ctx, l->tensors);
}

static sl_status list(sl_task_trainer *r, listing *l, sl_err *err)
{
    sl_ctx *ctx = r->m->ctx;
    int n = sl_params_count(r->m->ps), all = GROUPS * n + 1;
    *l = (listing){ .text = sl_alloc(ctx, (size_t)all * NAME), .names = sl_alloc(ctx, (size_t)all * sizeof *l->names), .tensors = sl_alloc(ctx, (size_t)all * sizeof *l->tensors) };
    if (!l->text || !l->names || !l->tensors)
        return sl_fail(err, SL_MEM, "checkpoint", NULL, "out of memory");
    for (int g = 0; g < GROUPS; g++)
        for (int i = 0; i < n; i++, l->n++) {
            sl_param *p = sl_params_at(r->m->ps, i);
            snprintf(l->text[l->n], NAME, "%s/%s", groups[g], p->name);
            l->names[l->n] = l->text[l->n];
            l->tensors[l->n] = g == 0 ? p->value : g == 1 ? p->m : p->v;
        }
    l->names[l->n] = "state/scalars";
    l->tensors[l->n++] = sl_tensor_of(SL_F64, l->scalars, 1, (int64_t)SCALARS);
    return SL_OK;
}

sl_status sl_task_save(sl_task_trainer *r, sl_err *err)
{
    char path[PATH], key[65];
    listing l = { 0 };
    json_t *meta = NULL;
    if (!r->dir)
        return SL_OK;
    sl_status st;
    SL_GO(list(r, &l, err));
    const sl_task_result *o = &r->now;
    const double scalars[SCALARS] = { (double)o->steps, r->before + sl_lm_clock() - r->begin, o->loss, o->gate.score, o->gate.attractor, (double)o->gate.n, (double)o->gate.n_attractor,
                                      o->gate.passed };
    memcpy(l.scalars, scalars, sizeof scalars);
    make_key(r, key);
    meta = json_pack("{s:s, s:s}", "kind", "task", "key", key);
    SL_GO(meta ? SL_OK : sl_fail(err, SL_MEM, "checkpoint", NULL, "out of memory"));
    SL_GO(sl_path_join(path, sizeof path, r->dir, "checkpoints", err));
    SL_GO(sl_dir_make(path, err));
    SL_GO(sl_checkpoint_save(r->m->ctx, path, o->steps, l.n, l.names, l.tensors, meta, err));
    r->saved = sl_lm_clock();
done:
    json_decref(meta);
    release(r->m->ctx, &l);
    return st;
}

static sl_status take(sl_task_trainer *r, const sl_dict *d, const char *path, sl_err *err)
{
    listing l = { 0 };
    sl_status st;
    SL_GO(list(r, &l, err));
    for (int i = 0; i < l.n; i++) {
        const sl_tensor *t;
        SL_GO(sl_dict_need(d, path, l.names[i], l.tensors[i].n_dim, l.tensors[i].dim, &t, err));
        SL_GO(t->dtype == l.tensors[i].dtype ? SL_OK : sl_fail(err, SL_DATA, path, NULL, "%s is of another type", l.names[i]));
        memcpy(l.tensors[i].data, t->data, sl_nbytes(t));
    }
    for (int i = 0; i < sl_params_count(r->m->ps); i++)
        sl_param_touch(sl_params_at(r->m->ps, i));
    const double *v = l.scalars;
    r->now = (sl_task_result){ .steps = (int64_t)v[0], .seconds = v[1], .loss = v[2],
                               .gate = { .score = v[3], .attractor = v[4], .n = (int64_t)v[5], .n_attractor = (int64_t)v[6], .passed = v[7] > 0 } };
    r->before = v[1];
    r->opt.step = r->now.steps;
done:
    release(r->m->ctx, &l);
    return st;
}

sl_status sl_task_resume(sl_task_trainer *r, sl_err *err)
{
    char path[PATH], key[65];
    sl_dict d;
    int64_t step;
    if (!r->dir)
        return SL_OK;
    SL_TRY(sl_path_join(path, sizeof path, r->dir, "checkpoints", err));
    if (!sl_path_is_dir(path))
        return SL_OK;
    make_key(r, key);
    sl_dict_init(r->m->ctx, &d);
    sl_status st = sl_checkpoint_load(r->m->ctx, path, &d, &step, err);
    if (st == SL_MISSING) {
        sl_dict_release(&d);
        return SL_OK;
    }
    const char *theirs = st == SL_OK ? json_string_value(json_object_get(d.meta, "key")) : NULL;
    if (st == SL_OK && (!theirs || strcmp(theirs, key) != 0))
        st = sl_fail(err, SL_EXISTS, path, "an empty folder, or the settings that it was begun with", "these checkpoints belong to another task, configuration or kernel set");
    if (st == SL_OK)
        st = take(r, &d, path, err);
    if (st == SL_OK)
        sl_log(r->m->ctx, SL_LOG_INFO, "%s: going on from step %lld", r->dir, (long long)r->now.steps);
    sl_dict_release(&d);
    return st;
}
