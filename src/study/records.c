/* results.jsonl: one record a trained model (science of the fields: docs/METRICS.md). A missing metric is null with its reason. */
#include "study/results.h"

#include <saelab/kern_info.h>

#include <string.h>

/* Fields that come straight from the evaluation's metrics; those that a later study measures are named with why they are not here. */
static const char *const MEASURED[] = { "l0", "fvu", "ev", "ce_orig", "ce_sae", "ce_zero", "ce_loss_score", "dead", "dense_gt10pct", NULL };
static const char *const NEEDS_TRUTH[] = { "mcc_dec_abs", "mcc_dec_signed", "mcc_floor", "mcc_code", "uniq", "f1", "prec", "rec", "phi", "absorb", "split", NULL };
static const char *const NEEDS_NOISE[] = { "fss", "sci", "jaccard", "overlap", "csr_q", "auc", "sel", "inj_resp", NULL };

static void put_null(json_t *rec, json_t *why, const char *key, const char *reason)
{
    json_object_set_new(rec, key, json_null());
    json_object_set_new(why, key, json_string(reason));
}

static void put_metrics(json_t *rec, json_t *why, json_t *eval, const char *failure)
{
    for (const char *const *key = MEASURED; *key; key++) {
        json_t *m = json_object_get(eval, *key), *v = json_object_get(m, "value");
        const char *reason = json_string_value(json_object_get(m, "reason"));
        if (json_is_number(v))
            json_object_set(rec, *key, v);
        else
            put_null(rec, why, *key, failure[0] ? failure : reason ? reason : "not measured in this run");
    }
    for (const char *const *key = NEEDS_TRUTH; *key; key++)
        put_null(rec, why, *key, "no ground truth: real text");
    for (const char *const *key = NEEDS_NOISE; *key; key++)
        put_null(rec, why, *key, "no perturbation in this run");
}

static json_t *record(const sl_run *r, const sl_trained *t, json_t *eval, const sl_machine *m)
{
    json_t *why = json_object();
    json_t *rec = json_pack("{s:s, s:s, s:s, s:s, s:I, s:I, s:s, s:s, s:I, s:I, s:f, s:b, s:s}", "run_id", r->plan->run_name, "saelab",
                            sl_version(), "cpu", m->cpu, "kernels", m->kernels, "seed_init", (json_int_t)t->seed, "seed_data",
                            (json_int_t)t->seed, "arm", t->arm->name, "variant", t->arm->variant->name, "steps",
                            (json_int_t)t->arm->train.steps, "samples", (json_int_t)(t->arm->train.steps * t->arm->train.batch), "wall_s",
                            t->sae.seconds, "cached", t->sae.cached, "status", t->failed ? sl_status_name(t->failed) : "ok");
    json_object_set_new(rec, "config_hash", json_string(t->sae.key));
    json_object_set_new(rec, "data_hash", json_string(r->acts_train.key));
    json_object_set_new(rec, "dataset", json_string(r->text.name));
    json_object_set_new(rec, "hook", json_string(r->plan->acts.hook));
    put_metrics(rec, why, eval, t->failure);
    json_object_set_new(rec, "reasons", why);
    json_object_set_new(rec, "notes", json_string(t->failure));
    return rec;
}

sl_status sl_records_write(const sl_run *r, json_t *const *evals, const char *dir, sl_err *err)
{
    char path[SL_PATH + 32];
    sl_machine m;
    sl_atomic *f = NULL;
    SL_TRY(sl_machine_info(r->ctx, &m, err));
    snprintf(path, sizeof path, "%s/results.jsonl", dir);
    SL_TRY(sl_atomic_open(r->ctx, path, &f, err));
    sl_status st = SL_OK;
    for (int i = 0; i < r->n_trained && st == SL_OK; i++) {
        json_t *rec = record(r, &r->trained[i], evals[i], &m);
        char *text = rec ? json_dumps(rec, JSON_COMPACT | JSON_REAL_PRECISION(17)) : NULL;
        st = text ? sl_atomic_printf(f, err, "%s\n", text) : sl_fail(err, SL_MEM, path, NULL, "no memory for a record");
        free(text);
        json_decref(rec);
    }
    if (st == SL_OK)
        return sl_atomic_commit(f, err);
    sl_atomic_abort(f);
    return st;
}
