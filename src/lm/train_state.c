/* Checkpoints and metrics.csv of the trainer.
 *   dir/checkpoints/step-*.safetensors: param/NAME, adam_m/NAME, adam_v/NAME, state/best/NAME, state/scalars, state/curve
 * Random numbers need no state: their streams are keyed by iteration and row. */
#include "io/io.h"
#include "lm/train.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

static const char *const groups[] = { "param", "adam_m", "adam_v", "state/best" };
enum { N_GROUPS = 4, NAME = 128, N_SCALARS = 4 /* iter, best_val, elapsed, finished */, CURVE_COLS = 5 };

double sl_lm_clock(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

double sl_trainer_seconds(const sl_trainer *r) { return r->elapsed + sl_lm_clock() - r->t_start; }

/* ---- key ---- */

typedef struct text { char *at; size_t left; } text;

static void put_option(text *s, const sl_opt *o, const void *cfg)
{
    char value[64];
    sl_opts_text(o, cfg, value, sizeof value);
    int n = snprintf(s->at, s->left, "%s=%s\n", o->name, value);
    size_t used = n > 0 && (size_t)n < s->left ? (size_t)n : 0;
    s->at += used;
    s->left -= used;
}

sl_status sl_trainer_key(sl_trainer *r, sl_err *err)
{
    enum { ROOM = 8192 };
    char *all = sl_alloc(r->m->ctx, ROOM);
    if (!all)
        return sl_fail(err, SL_MEM, "training", NULL, "out of memory");
    text s = { all, ROOM };
    for (const sl_opt *o = sl_lm_opts; o->name; o++)
        put_option(&s, o, &r->m->c);
    for (const sl_opt *o = sl_lm_train_opts; o->name; o++)
        if (strcmp(o->name, "checkpoint_seconds") != 0 && strcmp(o->name, "log_interval") != 0)
            put_option(&s, o, r->t);
    snprintf(s.at, s.left, "text=%s train_end=%lld val_end=%lld kernels=%s", r->c->sha256, (long long)r->c->train_end,
             (long long)r->c->val_end, sl_tape_kern(r->m->tape)->id);
    sl_sha256_hex(all, strlen(all), r->key);
    sl_free(r->m->ctx, all);
    return SL_OK;
}

/* ---- the tensors of a checkpoint ---- */

typedef struct listing { /* [N_GROUPS * parameters + 2] */
    int n;
    char (*text)[NAME];
    const char **names;
    sl_tensor *tensors;
    double scalars[N_SCALARS];
    double *curve; /* [n_curve, CURVE_COLS] */
} listing;

static void listing_release(sl_ctx *ctx, listing *l)
{
    sl_free(ctx, l->text);
    sl_free(ctx, l->names);
    sl_free(ctx, l->tensors);
    sl_free(ctx, l->curve);
}

static sl_tensor group_tensor(const sl_trainer *r, int group, int i)
{
    const sl_param *p = sl_params_at(r->m->ps, i);
    return group == 0 ? p->value : group == 1 ? p->m : group == 2 ? p->v : r->best[i];
}

static sl_status listing_init(const sl_trainer *r, listing *l, sl_err *err)
{
    sl_ctx *ctx = r->m->ctx;
    int n_params = sl_params_count(r->m->ps), n = N_GROUPS * n_params + 2;
    *l = (listing){ .text = sl_alloc(ctx, (size_t)n * NAME), .names = sl_alloc(ctx, (size_t)n * sizeof(char *)),
                    .tensors = sl_alloc(ctx, (size_t)n * sizeof(sl_tensor)) };
    if (!l->text || !l->names || !l->tensors)
        return sl_fail(err, SL_MEM, "checkpoint", NULL, "out of memory");
    for (int g = 0; g < N_GROUPS; g++)
        for (int i = 0; i < n_params; i++, l->n++) {
            snprintf(l->text[l->n], NAME, "%s/%s", groups[g], sl_params_at(r->m->ps, i)->name);
            l->names[l->n] = l->text[l->n];
            l->tensors[l->n] = group_tensor(r, g, i);
        }
    return SL_OK;
}

static void list_state(const sl_trainer *r, listing *l)
{
    const double scalars[N_SCALARS] = { (double)r->iter, r->best_val, sl_trainer_seconds(r), r->finished };
    memcpy(l->scalars, scalars, sizeof scalars);
    l->names[l->n] = "state/scalars";
    l->tensors[l->n++] = sl_tensor_of(SL_F64, l->scalars, 1, (int64_t)N_SCALARS);
    for (int64_t i = 0; i < r->n_curve; i++) {
        const sl_lm_curve *c = &r->curve[i];
        const double row[CURVE_COLS] = { (double)c->iter, c->train_loss, c->val_loss, c->lr, c->seconds };
        memcpy(l->curve + i * CURVE_COLS, row, sizeof row);
    }
    l->names[l->n] = "state/curve";
    l->tensors[l->n++] = sl_tensor_of(SL_F64, l->curve, 2, r->n_curve, (int64_t)CURVE_COLS);
}

sl_status sl_trainer_save(sl_trainer *r, sl_err *err)
{
    sl_ctx *ctx = r->m->ctx;
    char path[SL_LM_PATH];
    listing l;
    json_t *meta = json_pack("{s:s, s:s}", "kind", "lm", "key", r->key);
    sl_status st;
    SL_GO(listing_init(r, &l, err));
    l.curve = sl_alloc(ctx, (size_t)r->n_curve * CURVE_COLS * sizeof *l.curve);
    if (!meta || !l.curve) {
        st = sl_fail(err, SL_MEM, "checkpoint", NULL, "out of memory");
        goto done;
    }
    list_state(r, &l);
    SL_GO(sl_path_join(path, sizeof path, r->dir, "checkpoints", err));
    SL_GO(sl_dir_make(path, err));
    SL_GO(sl_checkpoint_save(ctx, path, r->iter, l.n, l.names, l.tensors, meta, err));
    r->t_saved = sl_lm_clock();
done:
    json_decref(meta);
    listing_release(ctx, &l);
    return st;
}

/* ---- resume ---- */

static sl_status take_tensors(sl_trainer *r, const sl_dict *d, const char *path, sl_err *err)
{
    listing l;
    sl_status st;
    SL_GO(listing_init(r, &l, err));
    for (int i = 0; i < l.n; i++) {
        const sl_tensor *t;
        SL_GO(sl_dict_need(d, path, l.names[i], l.tensors[i].n_dim, l.tensors[i].dim, &t, err));
        sl_to_f32(t->data, t->dtype, l.tensors[i].data, sl_numel(t));
    }
    for (int i = 0; i < sl_params_count(r->m->ps); i++)
        sl_param_touch(sl_params_at(r->m->ps, i));
done:
    listing_release(r->m->ctx, &l);
    return st;
}

static sl_status grow_curve(sl_trainer *r, int64_t n, sl_err *err)
{
    if (n <= r->cap_curve)
        return SL_OK;
    int64_t cap = 2 * n < 64 ? 64 : 2 * n;
    sl_lm_curve *more = sl_alloc(r->m->ctx, (size_t)cap * sizeof *more);
    if (!more)
        return sl_fail(err, SL_MEM, "loss curve", NULL, "out of memory");
    if (r->n_curve)
        memcpy(more, r->curve, (size_t)r->n_curve * sizeof *more);
    sl_free(r->m->ctx, r->curve);
    r->curve = more;
    r->cap_curve = cap;
    return SL_OK;
}

static sl_status take_state(sl_trainer *r, const sl_dict *d, const char *path, sl_err *err)
{
    const sl_tensor *s, *c;
    SL_TRY(sl_dict_need(d, path, "state/scalars", 1, (const int64_t[]){ N_SCALARS }, &s, err));
    SL_TRY(sl_dict_need(d, path, "state/curve", 2, (const int64_t[]){ -1, CURVE_COLS }, &c, err));
    if (s->dtype != SL_F64 || c->dtype != SL_F64)
        return sl_fail(err, SL_DATA, path, "F64", "state/scalars or state/curve is of another type");
    double v[N_SCALARS];
    memcpy(v, s->data, sizeof v);
    SL_TRY(grow_curve(r, c->dim[0], err));
    for (int64_t i = 0; i < c->dim[0]; i++) {
        double row[CURVE_COLS];
        memcpy(row, (const char *)c->data + (size_t)i * sizeof row, sizeof row);
        r->curve[i] = (sl_lm_curve){ (int64_t)row[0], row[1], row[2], row[3], row[4] };
    }
    r->n_curve = c->dim[0];
    r->iter = r->opt.step = (int64_t)v[0];
    r->best_val = v[1];
    r->elapsed = v[2];
    r->finished = v[3] != 0;
    return SL_OK;
}

static void curve_line(const sl_trainer *r, const sl_lm_curve *c, char *out, size_t size)
{
    snprintf(out, size, "%lld,%.9g,%.9g,%.9g,%.3f,%lld\n", (long long)c->iter, c->train_loss, c->val_loss, c->lr, c->seconds,
             (long long)(c->iter * r->t->batch_size * r->t->gradient_accumulation_steps * r->m->c.block_size));
}

static sl_status rewrite_metrics(const sl_trainer *r, sl_err *err)
{
    char path[SL_LM_PATH], line[256];
    SL_TRY(sl_path_join(path, sizeof path, r->dir, "metrics.csv", err));
    sl_atomic *f;
    SL_TRY(sl_atomic_open(r->m->ctx, path, &f, err));
    sl_status st = sl_atomic_printf(f, err, "iter,train_loss,val_loss,lr,seconds,tokens\n");
    for (int64_t i = 0; i < r->n_curve && st == SL_OK; i++) {
        curve_line(r, &r->curve[i], line, sizeof line);
        st = sl_atomic_write(f, line, strlen(line), err);
    }
    if (st == SL_OK)
        return sl_atomic_commit(f, err);
    sl_atomic_abort(f);
    return st;
}

sl_status sl_trainer_resume(sl_trainer *r, sl_err *err)
{
    char path[SL_LM_PATH];
    sl_dict d;
    int64_t step;
    SL_TRY(sl_path_join(path, sizeof path, r->dir, "checkpoints", err));
    sl_dict_init(r->m->ctx, &d);
    sl_status st = sl_checkpoint_load(r->m->ctx, path, &d, &step, err);
    if (st == SL_MISSING) {
        sl_dict_release(&d);
        return rewrite_metrics(r, err);
    }
    if (st != SL_OK)
        goto done;
    const char *key = json_string_value(json_object_get(d.meta, "key"));
    if (!key || strcmp(key, r->key) != 0) {
        st = sl_fail(err, SL_EXISTS, path, "an empty folder, or the settings that it was begun with",
                     "these checkpoints belong to another configuration, text or kernel set");
        goto done;
    }
    SL_GO(take_tensors(r, &d, path, err));
    SL_GO(take_state(r, &d, path, err));
    SL_GO(rewrite_metrics(r, err));
    sl_log(r->m->ctx, SL_LOG_INFO, "%s: going on from iteration %lld", r->dir, (long long)r->iter);
done:
    sl_dict_release(&d);
    return st;
}

sl_status sl_trainer_log(sl_trainer *r, const sl_lm_curve *row, sl_err *err)
{
    char path[SL_LM_PATH], line[256];
    SL_TRY(grow_curve(r, r->n_curve + 1, err));
    r->curve[r->n_curve++] = *row;
    curve_line(r, row, line, sizeof line);
    SL_TRY(sl_path_join(path, sizeof path, r->dir, "metrics.csv", err));
    return sl_file_append(r->m->ctx, path, line, err);
}

void sl_trainer_save_bad_batch(sl_trainer *r)
{
    char path[SL_LM_PATH], iter[32];
    sl_err e;
    snprintf(iter, sizeof iter, "%lld", (long long)r->iter);
    json_t *meta = json_pack("{s:s}", "iteration", iter);
    sl_status st = sl_path_join(path, sizeof path, r->dir, "bad-batch.safetensors", &e);
    if (st == SL_OK)
        st = sl_safetensors_write(r->m->ctx, path, 2, (const char *const[]){ "ids", "targets" }, (const sl_tensor[]){ r->x, r->y }, meta, &e);
    if (st != SL_OK)
        sl_log(r->m->ctx, SL_LOG_WARN, "the offending batch could not be saved: %s", e.msg);
    json_decref(meta);
}
