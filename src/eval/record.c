/* The result record. */
#include "eval/record.h"

#include <math.h>
#include <stddef.h>

typedef struct field { const char *key; enum { TEXT, WHOLE, REAL } type; size_t offset; } field;
#define FIELD(name, type) { #name, type, offsetof(sl_record, name) }

static const field fields[] = {
    FIELD(run_id, TEXT), FIELD(git, TEXT), FIELD(cpu, TEXT), FIELD(seed_init, WHOLE), FIELD(seed_data, WHOLE), FIELD(arm, TEXT),
    FIELD(config_hash, TEXT), FIELD(data_hash, TEXT), FIELD(steps, WHOLE), FIELD(samples, WHOLE), FIELD(wall_s, REAL), FIELD(flops, REAL),
    FIELD(peak_rss, REAL), FIELD(l0_target, REAL), FIELD(status, TEXT), FIELD(notes, TEXT),
};

static const char *const metric_keys[] = {
    "l0", "fvu", "ev", "ce_orig", "ce_sae", "ce_zero", "dead", "dense_gt10pct", "mcc_dec_abs", "mcc_dec_signed", "mcc_floor", "mcc_code",
    "uniq", "f1", "prec", "rec", "phi", "absorb", "split", "fss", "sci", "jaccard", "overlap", "csr_q", "auc", "sel", "inj_resp", "cos_ed",
    "noise_gain", "leak_rms", "comp_energy", "comp_f1", "ood_gap", NULL
};

typedef struct parts { json_t *all, *reasons, *n, *floor, *interval, *control; bool failed; } parts;

static void set(parts *p, json_t *object, const char *key, json_t *value)
{
    if (json_object_set_new(object, key, value) != 0)
        p->failed = true;
}

static void set_null(parts *p, const char *key, const char *reason)
{
    set(p, p->all, key, json_null());
    set(p, p->reasons, key, json_string(reason));
}

static void put_field(parts *p, const sl_record *r, const field *f)
{
    const char *at = (const char *)r + f->offset;
    json_t *value = NULL;
    if (f->type == TEXT && *(const char *const *)(const void *)at)
        value = json_string(*(const char *const *)(const void *)at);
    else if (f->type == WHOLE && *(const int64_t *)(const void *)at >= 0)
        value = json_integer(*(const int64_t *)(const void *)at);
    else if (f->type == REAL && isfinite(*(const double *)(const void *)at) && *(const double *)(const void *)at >= 0)
        value = json_real(*(const double *)(const void *)at);
    if (value)
        set(p, p->all, f->key, value);
    else
        set_null(p, f->key, "not recorded");
}

static void put_metric(parts *p, const sl_metric *m)
{
    if (m->is_null) {
        set_null(p, m->name, m->reason);
        return;
    }
    set(p, p->all, m->name, json_real(m->value));
    set(p, p->n, m->name, json_integer(m->n));
    if (m->has_floor)
        set(p, p->floor, m->name, json_real(m->floor));
    if (m->has_interval)
        set(p, p->interval, m->name, json_pack("[f, f]", m->lo, m->hi));
    if (m->has_control)
        set(p, p->control, m->name, json_real(m->control));
}

sl_status sl_record_json(const sl_record *r, const sl_metrics *m, json_t **out, sl_err *err)
{
    parts p = { json_object(), json_object(), json_object(), json_object(), json_object(), json_object(), false };
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        put_field(&p, r, &fields[i]);
    for (int i = 0; metric_keys[i]; i++)
        if (!sl_metrics_get(m, metric_keys[i]))
            set_null(&p, metric_keys[i], "not measured");
        else
            put_metric(&p, sl_metrics_get(m, metric_keys[i]));
    for (int i = 0; i < m->n; i++)
        if (!json_object_get(p.all, m->v[i].name))
            put_metric(&p, &m->v[i]);
    set(&p, p.all, "n", p.n);
    set(&p, p.all, "floor", p.floor);
    set(&p, p.all, "interval", p.interval);
    set(&p, p.all, "control", p.control);
    set(&p, p.all, "reasons", p.reasons);
    *out = p.failed ? NULL : p.all;
    if (!p.failed)
        return SL_OK;
    json_decref(p.all);
    return sl_fail(err, SL_MEM, "result record", NULL, "it could not be put together");
}
