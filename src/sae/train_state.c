/* Checkpoints of a training: param/ adam_m/ adam_v/ state/ in one safetensors file, and the metrics file beside them.
 * Everything that a step reads is in it, so that a resumed run equals an uninterrupted one bit for bit. */
#include "io/io.h"
#include "sae/train.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_TENSORS = 96, CURVE_COLS = 10 + SL_SAE_OWN, LINE = 320 };

/* ---- key ---- */

static void put_options(char *text, size_t size, const sl_opt *table, const void *cfg, const char *const *skip)
{
    for (const sl_opt *o = table; o->type != SL_T_END; o++) {
        bool skipped = false;
        for (int i = 0; skip && skip[i]; i++)
            skipped = skipped || strcmp(skip[i], o->name) == 0;
        if (skipped)
            continue;
        char value[128];
        sl_opts_text(o, cfg, value, sizeof value);
        size_t used = strlen(text);
        snprintf(text + used, size - used, "%s=%s\n", o->name, value);
    }
}

void sl_sae_trainer_make_key(sl_sae_trainer *t)
{
    /* these decide nothing here: the SAE is made already, and when checkpoints are taken changes no result */
    static const char *const skip[] = { "variant", "d_sae", "expansion", "seed", "checkpoint_seconds", NULL };
    const sl_sae *s = t->s;
    char text[8192];
    snprintf(text, sizeof text, "sae training 1\nvariant=%s\nd_in=%lld\nd_sae=%lld\nseed=%llu\nkernels=%s\ndata=%s\n", s->ops->info.name,
             (long long)s->d_in, (long long)s->d_sae, (unsigned long long)s->seed, t->k->id, t->src->info.data_hash);
    put_options(text, sizeof text, s->ops->info.opts, s->opts, NULL);
    put_options(text, sizeof text, sl_sae_train_opts, t->c, skip);
    if (t->pc)
        put_options(text, sizeof text, sl_perturb_opts, t->pc, NULL);
    sl_sha256_hex(text, strlen(text), t->key);
}

/* ---- the list of tensors: one place for saving and loading ---- */

typedef struct named { char name[112]; sl_tensor t; } named;

static void put(named *out, const char *name, sl_tensor v)
{
    snprintf(out->name, sizeof out->name, "state/perturb_%s", name);
    out->t = v;
}

static int list_perturbation(sl_sae_trainer *t, named *out)
{
    sl_perturb *p = t->perturb;
    int n = 0;
    if (!p)
        return 0;
    put(out + n++, "numbers", sl_tensor_of(SL_F64, p->v, 1, (int64_t)PT_N));
    put(out + n++, "active", sl_tensor_of(SL_F64, p->act_sum, 1, p->F));
    put(out + n++, "fired", sl_tensor_of(SL_F64, p->act_n, 1, p->F));
    put(out + n++, "fss_num", sl_tensor_of(SL_F64, p->fss_num, 1, p->F));
    put(out + n++, "fss_den", sl_tensor_of(SL_F64, p->fss_den, 1, p->F));
    put(out + n++, "near", sl_tensor_of(SL_I32, p->near, 2, p->F, (int64_t)SL_NEAR));
    put(out + n++, "near_score", sl_tensor_of(SL_F32, p->near_score, 2, p->F, (int64_t)SL_NEAR));
    if (p->pair) {
        put(out + n++, "pair", sl_tensor_of(SL_I32, p->pair, 2, p->F, (int64_t)SL_PAIRS));
        put(out + n++, "pair_n", sl_tensor_of(SL_F64, p->pair_n, 2, p->F, (int64_t)SL_PAIRS));
    }
    if (t->stop) {
        put(out + n++, "checks", sl_tensor_of(SL_F64, t->stop->check, 2, t->stop->room, (int64_t)SL_STOP_NUMBERS));
        put(out + n++, "kept", sl_tensor_of(SL_F64, t->stop->kept, 2, (int64_t)SL_STOP_KEEP, (int64_t)SL_STOP_NUMBERS));
        put(out + n++, "kept_weights", sl_tensor_of(SL_F32, t->stop->weights, 2, (int64_t)SL_STOP_KEEP, t->stop->n_weights));
        put(out + n++, "kept_state", sl_tensor_of(SL_F64, t->stop->state, 2, (int64_t)SL_STOP_KEEP, t->stop->n_state));
    }
    put(out + n++, "trace", sl_tensor_of(SL_F64, t->trace, 2, t->n_curve, (int64_t)(sizeof *t->trace / sizeof(double))));
    return n;
}

static int list_tensors(sl_sae_trainer *t, double *curve, named out[MAX_TENSORS])
{
    int n = 0;
    for (int i = 0; i < sl_params_count(t->s->params); i++) {
        sl_param *p = sl_params_at(t->s->params, i);
        const char *prefix[] = { "param", "adam_m", "adam_v" };
        const sl_tensor *v[] = { &p->value, &p->m, &p->v };
        for (int j = 0; j < 3; j++, n++) {
            snprintf(out[n].name, sizeof out[n].name, "%s/%s", prefix[j], p->name);
            out[n].t = *v[j];
        }
    }
    for (int i = 0; t->ema && i < sl_params_count(t->s->params); i++, n++) {
        snprintf(out[n].name, sizeof out[n].name, "ema/%s", sl_params_at(t->s->params, i)->name);
        out[n].t = sl_sae_trainer_ema_of(t, i);
    }
    snprintf(out[n].name, sizeof out[n].name, "state/since_fired");
    out[n++].t = sl_tensor_of(SL_I64, t->since, 1, t->s->d_sae);
    snprintf(out[n].name, sizeof out[n].name, "state/variant");
    out[n++].t = sl_tensor_of(SL_F64, t->s->state, 1, (int64_t)sl_sae_n_state(t->s->ops));
    n += list_perturbation(t, out + n);
    snprintf(out[n].name, sizeof out[n].name, "state/curve");
    out[n++].t = sl_tensor_of(SL_F64, curve, 2, t->n_curve, (int64_t)CURVE_COLS);
    return n;
}

static void curve_to_rows(const sl_sae_step *c, int64_t n, double *rows)
{
    for (int64_t i = 0; i < n; i++) {
        const double row[CURVE_COLS] = { (double)c[i].step, (double)c[i].samples, c[i].loss, c[i].fvu, c[i].l0, c[i].dead, c[i].lr, c[i].seconds,
                                          c[i].own[0], c[i].own[1], c[i].own[2], c[i].recon, c[i].penalty };
        memcpy(rows + i * CURVE_COLS, row, sizeof row);
    }
}

/* rows: in a mapped file, of any alignment */
static void curve_from_rows(const void *rows, int64_t n, sl_sae_step *c)
{
    double r[CURVE_COLS];
    for (int64_t i = 0; i < n; i++) {
        memcpy(r, (const char *)rows + (size_t)i * sizeof r, sizeof r);
        c[i] = (sl_sae_step){ .step = (int64_t)r[0], .samples = (int64_t)r[1], .loss = r[2], .fvu = r[3], .l0 = r[4], .dead = r[5], .lr = r[6], .seconds = r[7],
                              .own = { r[8], r[9], r[10] }, .recon = r[11], .penalty = r[12] };
    }
}

static sl_status checkpoint_dir(const sl_sae_trainer *t, char path[1024], sl_err *err)
{
    return sl_path_join(path, 1024, t->dir, "checkpoints", err);
}

sl_status sl_sae_trainer_save(sl_sae_trainer *t, sl_err *err)
{
    if (!t->dir || t->step == 0)
        return SL_OK;
    char path[1024];
    SL_TRY(checkpoint_dir(t, path, err));
    double *curve = sl_alloc(t->ctx, (size_t)(t->n_curve * CURVE_COLS) * sizeof *curve);
    char samples[32], seconds[32], wait[32];
    snprintf(samples, sizeof samples, "%lld", (long long)t->samples);
    snprintf(seconds, sizeof seconds, "%.17g", sl_sae_trainer_seconds(t));
    snprintf(wait, sizeof wait, "%.17g", t->wait);
    json_t *meta = json_pack("{ss ss ss ss ss}", "kind", "sae", "key", t->key, "samples", samples, "seconds", seconds, "wait", wait);
    sl_status st = SL_OK;
    if (!curve || !meta)
        st = sl_fail(err, SL_MEM, path, NULL, "no memory for a checkpoint");
    if (st == SL_OK) {
        curve_to_rows(t->curve, t->n_curve, curve);
        named v[MAX_TENSORS];
        const char *names[MAX_TENSORS];
        sl_tensor tensors[MAX_TENSORS];
        int n = list_tensors(t, curve, v);
        for (int i = 0; i < n; i++) {
            names[i] = v[i].name;
            tensors[i] = v[i].t;
        }
        st = sl_checkpoint_save(t->ctx, path, t->step, n, names, tensors, meta, err);
    }
    json_decref(meta);
    sl_free(t->ctx, curve);
    return st;
}

/* ---- loading ---- */

static double meta_number(const sl_dict *d, const char *name)
{
    const char *text = json_string_value(json_object_get(d->meta, name));
    return text ? strtod(text, NULL) : NAN;
}

static sl_status take_state(sl_sae_trainer *t, const sl_dict *d, const char *file, sl_err *err)
{
    const int64_t any[2] = { -1, CURVE_COLS };
    const sl_tensor *curve;
    SL_TRY(sl_dict_need(d, file, "state/curve", 2, any, &curve, err));
    int64_t room = t->c->steps / t->log_every + 2;
    t->n_curve = curve->dim[0] < room ? curve->dim[0] : room;
    named v[MAX_TENSORS];
    int n = list_tensors(t, NULL, v);
    for (int i = 0; i < n; i++) {
        const sl_tensor *got = sl_dict_get(d, v[i].name);
        if (!got || got->dtype != v[i].t.dtype || !sl_same_shape(got, &v[i].t))
            return sl_fail(err, SL_SHAPE, file, "the tensors that this training saves", "checkpoint tensor %s is missing or of another shape", v[i].name);
        if (v[i].t.data)
            memcpy(v[i].t.data, got->data, sl_nbytes(got));
    }
    curve_from_rows(curve->data, t->n_curve, t->curve);
    double samples = meta_number(d, "samples"), seconds = meta_number(d, "seconds"), wait = meta_number(d, "wait");
    if (!(samples >= 0) || !(seconds >= 0) || !(wait >= 0))
        return sl_fail(err, SL_DATA, file, "samples, seconds and wait", "the checkpoint's metadata is incomplete");
    t->samples = (int64_t)samples;
    t->before = seconds;
    t->wait = wait;
    for (int i = 0; i < sl_params_count(t->s->params); i++)
        sl_param_touch(sl_params_at(t->s->params, i));
    return SL_OK;
}

/* ---- metrics.csv ---- */

static int n_watched(const sl_sae_trainer *t)
{
    int n = 0;
    while (n < SL_SAE_OWN && t->s->ops->watched && t->s->ops->watched[n])
        n++;
    return n;
}

/* A number of 6 digits after a comma; nothing after it when it is not known. */
static void csv_number(char out[LINE], double v)
{
    size_t n = strlen(out);
    snprintf(out + n, LINE - n, isfinite(v) ? ",%.6g" : ",", v);
}

static void csv_head(const sl_sae_trainer *t, char out[LINE])
{
    snprintf(out, LINE, "step,samples,loss,fvu,l0,dead,lr,recon_loss,penalty");
    for (int i = 0; i < n_watched(t); i++)
        snprintf(out + strlen(out), LINE - strlen(out), ",%s", t->s->ops->watched[i]);
    snprintf(out + strlen(out), LINE - strlen(out), ",seconds\n");
}

static void csv_row(const sl_sae_trainer *t, const sl_sae_step *r, char out[LINE])
{
    const double v[] = { r->loss, r->fvu, r->l0, r->dead, r->lr, r->recon, r->penalty };
    snprintf(out, LINE, "%lld,%lld", (long long)r->step, (long long)r->samples);
    for (size_t i = 0; i < sizeof v / sizeof *v; i++)
        csv_number(out, v[i]);
    for (int i = 0; i < n_watched(t); i++)
        csv_number(out, r->own[i]);
    snprintf(out + strlen(out), LINE - strlen(out), ",%.3f\n", r->seconds);
}

static sl_status rewrite_metrics(sl_sae_trainer *t, sl_err *err)
{
    char path[1024], row[LINE];
    SL_TRY(sl_path_join(path, sizeof path, t->dir, "metrics.csv", err));
    sl_atomic *f;
    SL_TRY(sl_atomic_open(t->ctx, path, &f, err));
    csv_head(t, row);
    sl_status st = sl_atomic_write(f, row, strlen(row), err);
    for (int64_t i = 0; i < t->n_curve && st == SL_OK; i++) {
        csv_row(t, &t->curve[i], row);
        st = sl_atomic_write(f, row, strlen(row), err);
    }
    if (st == SL_OK)
        return sl_atomic_commit(f, err);
    sl_atomic_abort(f);
    return st;
}

sl_status sl_sae_trainer_resume(sl_sae_trainer *t, sl_err *err)
{
    if (!t->dir)
        return SL_OK;
    char path[1024];
    SL_TRY(checkpoint_dir(t, path, err));
    sl_dict d;
    sl_dict_init(t->ctx, &d);
    int64_t step = 0;
    sl_status st = sl_path_is_dir(path) ? sl_checkpoint_load(t->ctx, path, &d, &step, err) : SL_MISSING;
    if (st == SL_OK) {
        const char *key = json_string_value(json_object_get(d.meta, "key"));
        if (!key || strcmp(key, t->key) != 0)
            st = sl_fail(err, SL_EXISTS, path, "an empty folder, or the same configuration, data and kernels", "checkpoints of another training are there");
        if (st == SL_OK)
            st = take_state(t, &d, path, err);
        t->step = t->optim.step = step;
    } else if (st == SL_MISSING)
        st = SL_OK;
    sl_dict_release(&d);
    SL_TRY(st);
    if (t->perturb && t->perturb->v[PT_DECAY_FROM] > 0)
        sl_sae_trainer_decay_from(t, (int64_t)t->perturb->v[PT_DECAY_FROM]);
    if (t->step > 0)
        SL_TRY(t->src->seek(t->src, t->samples, err));
    return rewrite_metrics(t, err);
}

sl_status sl_sae_trainer_log(sl_sae_trainer *t, const sl_sae_step *row, sl_err *err)
{
    if (t->trace)
        t->trace[t->n_curve] = t->point;
    t->curve[t->n_curve++] = *row;
    if (!t->dir)
        return SL_OK;
    char path[1024], line[LINE];
    SL_TRY(sl_path_join(path, sizeof path, t->dir, "metrics.csv", err));
    csv_row(t, row, line);
    return sl_file_append(t->ctx, path, line, err);
}
