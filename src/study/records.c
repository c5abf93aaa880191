/* results.jsonl: one record a trained SAE (science of the fields: docs/METRICS.md). A missing metric is null with its reason. */
#include "study/results.h"

#include "eval/record.h"

#include <saelab/kern_info.h>

#include <math.h>
#include <string.h>

/* What stands beside a value. */
static void read_beside(sl_metrics *out, const char *key, json_t *m)
{
    json_t *v = json_object_get(m, "floor"), *interval = json_object_get(m, "interval");
    if (json_is_number(v))
        sl_metrics_floor(out, key, json_number_value(v));
    if (json_array_size(interval) == 2)
        sl_metrics_interval(out, key, json_number_value(json_array_get(interval, 0)), json_number_value(json_array_get(interval, 1)));
    v = json_object_get(m, "control");
    if (json_is_number(v))
        sl_metrics_control(out, key, json_number_value(v));
}

/* The evaluation's result.json, {metric: {value, n, ...} | {value: null, reason}}, as a list of metrics again. */
static sl_status read_metrics(sl_ctx *ctx, json_t *eval, sl_metrics *out, sl_err *err)
{
    const char *key;
    json_t *m;
    json_object_foreach(eval, key, m) {
        json_t *v = json_object_get(m, "value");
        const char *reason = json_string_value(json_object_get(m, "reason"));
        if (json_is_number(v))
            SL_TRY(sl_metrics_put(ctx, out, key, json_number_value(v), json_integer_value(json_object_get(m, "n")), err));
        else
            SL_TRY(sl_metrics_null(ctx, out, key, reason ? reason : "not recorded", err));
        read_beside(out, key, m);
    }
    return SL_OK;
}

/* step_ms, milliseconds of a training step, over the whole training; of these generate_ms, making views, and forward_ms, their codes and loss. */
static void put_times(const sl_run *r, const sl_trained *t, json_t *record)
{
    static const char *const part[][2] = { { "generate_ms", "generate_share" }, { "forward_ms", "forward_share" } };
    char path[SL_PATH + 16];
    json_t *result = NULL;
    snprintf(path, sizeof path, "%s/result.json", t->sae.dir);
    if (!t->failed && t->arm->variant && sl_json_load_file(r->ctx, path, &result, NULL) == SL_OK) {
        double s = json_number_value(json_object_get(result, "seconds")), n = json_number_value(json_object_get(result, "steps"));
        if (s > 0 && n > 0)
            json_object_set_new(record, "step_ms", json_real(1000 * s / n));
        for (int i = 0; i < 2 && s > 0 && n > 0; i++) {
            json_t *share = json_object_get(json_object_get(result, "perturb"), part[i][1]);
            if (json_is_number(share))
                json_object_set_new(record, part[i][0], json_real(1000 * s / n * json_number_value(share)));
        }
    }
    json_decref(result);
}

/* On the axis of its kind, more being stronger: eps, or alpha, q, 2^-bits, share of the tokens. */
static double strength(const sl_perturb_config *c)
{
    static const double bits[] = { 8, 6, 4, 3, 9, 11 }; /* of sl_perturb_quant; bf16 and fp16 have so many significant ones */
    if (c->site == SL_PERTURB_SITE_TOKEN)
        return c->p_tok;
    return c->type == SL_PERTURB_INJECT ? c->alpha : c->type == SL_PERTURB_FEATDROP ? (double)c->q : c->type == SL_PERTURB_QUANT ? pow(2, -bits[c->quant]) : sl_perturb_eps(c);
}

/* What the arm is perturbed with; NULL: nothing. */
static json_t *perturb_json(const sl_arm *a)
{
    if (!a->variant || !sl_perturb_wanted(&a->perturb))
        return NULL;
    json_t *all = sl_opts_json(sl_perturb_opts, &a->perturb);
    bool token = a->perturb.site == SL_PERTURB_SITE_TOKEN;
    json_t *target = token ? json_string(a->perturb.token_to < 0 ? "random" : "special") : json_incref(json_object_get(all, "target"));
    json_t *j = json_pack("{s:O, s:o, s:O, s:f, s:f}", "type", json_object_get(all, token ? "site" : "type"), "target", target, "mode",
                          json_object_get(all, "mode"), "strength", strength(&a->perturb), "gamma", sl_perturb_gamma(&a->perturb));
    json_decref(all);
    return j;
}

static sl_status make_record(const sl_run *r, const sl_trained *t, json_t *eval, const char *cpu, json_t **out, sl_err *err)
{
    const sl_sae_train_config *c = &t->arm->train;
    const sl_ground *g = &r->ground[t->i_set];
    const sl_baseline_info *baseline = t->arm->baseline;
    sl_metrics m = { 0 };
    sl_record rec = { .run_id = r->plan->run_name, .cpu = cpu, .arm = t->arm->name, .config_hash = t->sae.key, .data_hash = sl_ground_key(g, false),
                      .status = t->failed ? sl_status_name(t->failed) : "ok", .notes = t->failure, .seed_init = t->seed, .seed_data = t->seed,
                      .steps = t->steps, .samples = baseline ? t->arm->how.rows : t->steps * c->batch, .wall_s = t->sae.seconds,
                      .flops = NAN, .peak_rss = NAN, .l0_target = NAN };
    sl_status st = read_metrics(r->ctx, eval, &m, err);
    if (st == SL_OK)
        st = sl_record_json(&rec, &m, out, err);
    sl_metrics_release(r->ctx, &m);
    SL_TRY(st);
    json_object_set_new(*out, "fold", json_integer(t->fold));
    json_object_set_new(*out, "variant", json_string(baseline ? baseline->name : t->arm->variant->name));
    json_object_set_new(*out, "dataset", json_string(g->name));
    json_t *perturb = perturb_json(t->arm);
    if (perturb)
        json_object_set_new(*out, "perturb", perturb);
    put_times(r, t, *out);
    if (t->arm->sweep)
        json_object_set_new(*out, "sweep", json_string(t->arm->sweep));
    json_object_set_new(*out, "hook", g->world ? json_null() : json_string(r->plan->acts.hook));
    json_object_set_new(*out, "kernels", json_string(r->cache->kernels));
    json_object_set_new(*out, "cached", json_boolean(t->sae.cached));
    return SL_OK;
}

static sl_status put_records(const sl_run *r, json_t *const *evals, sl_atomic *f, sl_err *err)
{
    sl_machine machine;
    SL_TRY(sl_machine_info(r->ctx, &machine, err));
    for (int i = 0; i < r->n_trained; i++) {
        json_t *rec = NULL;
        SL_TRY(make_record(r, &r->trained[i], evals[i], machine.cpu, &rec, err));
        char *text = json_dumps(rec, JSON_COMPACT | JSON_REAL_PRECISION(17));
        json_decref(rec);
        sl_status st = text ? sl_atomic_printf(f, err, "%s\n", text) : sl_fail(err, SL_MEM, "results.jsonl", NULL, "no memory for a record");
        free(text);
        SL_TRY(st);
    }
    return SL_OK;
}

sl_status sl_records_write(const sl_run *r, json_t *const *evals, const char *dir, sl_err *err)
{
    char path[SL_PATH + 32];
    sl_atomic *f = NULL;
    snprintf(path, sizeof path, "%s/results.jsonl", dir);
    SL_TRY(sl_atomic_open(r->ctx, path, &f, err));
    sl_status st = put_records(r, evals, f, err);
    if (st == SL_OK)
        return sl_atomic_commit(f, err);
    sl_atomic_abort(f);
    return st;
}
