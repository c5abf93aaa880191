/* Result files of a run: from the artifacts' result.json to final_info.json and the rest. */
#include "study/results.h"

#include "study/copy.h"

#include "kern/kern.h"

#include <saelab/kern_info.h>

#include <math.h>
#include <string.h>

static const char *const LM_KEYS[] = { "final_train_loss", "best_val_loss", "total_train_time", "avg_inference_tokens_per_second", NULL };

static sl_status load_result(sl_ctx *ctx, const char *dir, json_t **out, sl_err *err)
{
    char path[SL_PATH + 16];
    snprintf(path, sizeof path, "%s/result.json", dir);
    return sl_json_load_file(ctx, path, out, err);
}

static json_t *number_or_null(double v) { return isfinite(v) ? json_real(v) : json_null(); }

/* ---- final_info.json ---- */

/* means, stderrs and the list of every seed's value, under k_mean, k_stderr and k. Takes `values`. */
static void put_key(json_t *info, const char *key, json_t *values)
{
    double sum = 0, sq = 0;
    size_t n = 0, i;
    json_t *v;
    char name[160];
    json_array_foreach(values, i, v)
        if (json_is_number(v)) {
            sum += json_number_value(v);
            n++;
        }
    double mean = n ? sum / (double)n : NAN;
    json_array_foreach(values, i, v)
        if (json_is_number(v))
            sq += (json_number_value(v) - mean) * (json_number_value(v) - mean);
    snprintf(name, sizeof name, "%s_mean", key);
    json_object_set_new(json_object_get(info, "means"), name, number_or_null(mean));
    snprintf(name, sizeof name, "%s_stderr", key);
    json_object_set_new(json_object_get(info, "stderrs"), name, number_or_null(n > 1 ? sqrt(sq / (double)(n - 1) / (double)n) : NAN));
    json_object_set_new(json_object_get(info, "final_info_dict"), key, values);
}

static sl_status put_lm(const sl_run *r, json_t *info, sl_err *err)
{
    for (const char *const *key = LM_KEYS; *key; key++) {
        json_t *values = json_array();
        for (int64_t s = 0; s < r->plan->lm.seeds; s++) {
            json_t *res = NULL;
            sl_status st = load_result(r->ctx, r->lm[s].dir, &res, err);
            if (st != SL_OK) {
                json_decref(values);
                return st;
            }
            json_t *v = json_object_get(res, *key);
            json_array_append_new(values, json_is_number(v) ? json_real(json_number_value(v)) : json_null());
            json_decref(res);
        }
        put_key(info, *key, values);
    }
    return SL_OK;
}

/* Metric `key` of n evaluations, null where one has none. */
static json_t *values_of(json_t *const *evals, int64_t n, const char *key)
{
    json_t *values = json_array();
    for (int64_t i = 0; i < n; i++) {
        json_t *v = json_object_get(json_object_get(evals[i], key), "value");
        json_array_append_new(values, json_is_number(v) ? json_real(json_number_value(v)) : json_null());
    }
    return values;
}

/* The metrics of one arm: as ARM_metric, and of the first one (plain) under their own names too. */
static void put_arm(json_t *info, const char *arm, json_t *const *evals, int64_t n, bool plain)
{
    json_t *any = NULL, *v;
    const char *key;
    char name[128];
    for (int64_t i = 0; i < n && !any; i++)
        any = evals[i];
    json_object_foreach(any, key, v) {
        if (plain)
            put_key(info, key, values_of(evals, n, key));
        snprintf(name, sizeof name, "%s_%s", arm, key);
        put_key(info, name, values_of(evals, n, key));
    }
}

/* Every arm of a data set, each with what its replicates agree on. */
static sl_status put_arms(const sl_run *r, json_t *const *evals, int set, json_t *info, sl_err *err)
{
    bool first = true;
    for (int c = 0; c < r->plan->n_cells; c++) {
        const sl_cell *cell = &r->plan->cell[c];
        if (cell->set != set || cell->is.sweep)
            continue;
        int64_t n;
        const sl_trained *t = sl_run_replicates(r, cell->arm, set, &n);
        put_arm(info, cell->is.name, evals + (t - r->trained), n, first);
        if (r->agreement[c].key[0]) {
            json_t *agreement = NULL;
            SL_TRY(load_result(r->ctx, r->agreement[c].dir, &agreement, err));
            put_arm(info, cell->is.name, &agreement, 1, first);
            json_decref(agreement);
        }
        first = false;
    }
    return SL_OK;
}

/* The language model's figures stand with the text, whether or not an arm is on it. */
static sl_status write_final_info(const sl_run *r, json_t *const *evals, const char *dir, sl_err *err)
{
    json_t *all = json_object();
    sl_status st = all ? SL_OK : sl_fail(err, SL_MEM, "final_info", NULL, "no memory");
    for (int s = 0; s < r->plan->n_sets && st == SL_OK; s++) {
        json_t *info = json_pack("{s:{}, s:{}, s:{}}", "means", "stderrs", "final_info_dict");
        if (s == 0)
            st = put_lm(r, info, err);
        if (st == SL_OK)
            st = put_arms(r, evals, s, info, err);
        json_object_set_new(all, r->ground[s].name, info);
    }
    if (st != SL_OK) {
        json_decref(all);
        return st;
    }
    return sl_run_save(r->ctx, dir, "final_info.json", all, err);
}

/* ---- all_results ---- */

/* SAE curves of one data set and seed, appended as {arm, step, loss, ...}; the checks of early stopping go to val. */
static sl_status append_curves(const sl_run *r, int set, int64_t seed, json_t *train, json_t *val, sl_err *err)
{
    for (int i = 0; i < r->n_trained; i++) {
        const sl_trained *t = &r->trained[i];
        if (t->replicate != seed || t->i_set != set || t->failed || t->arm->sweep)
            continue;
        json_t *res = NULL, *p;
        size_t k;
        SL_TRY(load_result(r->ctx, t->sae.dir, &res, err));
        json_array_foreach(json_object_get(res, "curve"), k, p) {
            json_object_set_new(p, "arm", json_string(t->arm->name));
            json_array_append(train, p);
        }
        json_array_foreach(json_object_get(json_object_get(res, "perturb"), "checks"), k, p) {
            json_object_set_new(p, "arm", json_string(t->arm->name));
            json_array_append(val, p);
        }
        json_decref(res);
    }
    return SL_OK;
}

/* The language model's curve of one seed into train (iter, loss, lr) and val (iter, loss). */
static sl_status append_lm(const sl_run *r, int64_t seed, json_t *train, json_t *val, sl_err *err)
{
    if (seed >= r->plan->lm.seeds)
        return SL_OK;
    json_t *res = NULL, *p;
    size_t k;
    SL_TRY(load_result(r->ctx, r->lm[seed].dir, &res, err));
    json_array_foreach(json_object_get(res, "curve"), k, p) {
        json_t *iter = json_object_get(p, "iter");
        json_array_append_new(train, json_pack("{s:s, s:O, s:O, s:O}", "arm", "lm", "iter", iter, "loss", json_object_get(p, "train_loss"), "lr", json_object_get(p, "lr")));
        json_array_append_new(val, json_pack("{s:s, s:O, s:O}", "arm", "lm", "iter", iter, "loss", json_object_get(p, "val_loss")));
    }
    json_decref(res);
    return SL_OK;
}

static json_t *seed_finals(const sl_run *r, json_t *const *evals, int set, int64_t seed)
{
    json_t *list = json_array();
    for (int i = 0; i < r->n_trained; i++) {
        const sl_trained *t = &r->trained[i];
        if (t->replicate != seed || t->i_set != set || t->arm->sweep)
            continue;
        json_t *o = json_pack("{s:s, s:I, s:I}", "arm", t->arm->name, "seed", (json_int_t)t->seed, "fold", (json_int_t)t->fold), *v;
        const char *key;
        json_object_foreach(evals[i], key, v)
            json_object_set(o, key, json_object_get(v, "value"));
        if (t->failed)
            json_object_set_new(o, "failed", json_string(t->failure));
        json_array_append_new(list, o);
    }
    return list;
}

/* <dataset>_<seed>_train_info, _val_info, _final_info of one data set and seed. */
static sl_status put_seed(const sl_run *r, json_t *const *evals, int set, int64_t seed, json_t *all, sl_err *err)
{
    json_t *train = json_array(), *val = json_array();
    char name[160];
    sl_status st = set == 0 ? append_lm(r, seed, train, val, err) : SL_OK;
    if (st == SL_OK)
        st = append_curves(r, set, seed, train, val, err);
    snprintf(name, sizeof name, "%s_%lld_train_info", r->ground[set].name, (long long)seed);
    json_object_set_new(all, name, train);
    snprintf(name, sizeof name, "%s_%lld_val_info", r->ground[set].name, (long long)seed);
    json_object_set_new(all, name, val);
    snprintf(name, sizeof name, "%s_%lld_final_info", r->ground[set].name, (long long)seed);
    json_object_set_new(all, name, seed_finals(r, evals, set, seed));
    return st;
}

static sl_status write_all_results(const sl_run *r, json_t *const *evals, const char *dir, sl_err *err)
{
    json_t *all = json_object();
    int64_t seeds = r->plan->lm.seeds;
    for (int i = 0; i < r->n_trained; i++)
        seeds = r->trained[i].replicate >= seeds ? r->trained[i].replicate + 1 : seeds;
    sl_status st = SL_OK;
    for (int set = 0; set < r->plan->n_sets; set++)
        for (int64_t s = 0; s < seeds && st == SL_OK; s++)
            st = put_seed(r, evals, set, s, all, err);
    char path[SL_PATH + 32];
    if (st == SL_OK) {
        snprintf(path, sizeof path, "%s/all_results.json", dir);
        st = sl_json_save(r->ctx, path, all, err);
    }
    if (st == SL_OK) {
        snprintf(path, sizeof path, "%s/all_results.npy", dir);
        st = sl_npy_write_pickled(r->ctx, path, all, err);
    }
    json_decref(all);
    return st;
}

/* ---- config.yaml ---- */

/* A JSON tree as YAML: maps and strings only, which is all that a resolved plan holds. */
static sl_status put_yaml(sl_atomic *f, json_t *o, int indent, sl_err *err)
{
    const char *key;
    json_t *v;
    json_object_foreach(o, key, v) {
        if (json_is_object(v)) {
            SL_TRY(sl_atomic_printf(f, err, "%*s%s:\n", indent, "", key));
            SL_TRY(put_yaml(f, v, indent + 2, err));
        } else {
            char *text = json_dumps(v, JSON_ENCODE_ANY | JSON_REAL_PRECISION(17)); /* a JSON scalar is a YAML scalar */
            sl_status st = text ? sl_atomic_printf(f, err, "%*s%s: %s\n", indent, "", key, text) : sl_fail(err, SL_MEM, key, NULL, "no memory");
            free(text);
            SL_TRY(st);
        }
    }
    return SL_OK;
}

static sl_status write_config(const sl_run *r, const char *dir, sl_err *err)
{
    char path[SL_PATH + 32];
    sl_machine m;
    SL_TRY(sl_machine_info(r->ctx, &m, err));
    snprintf(path, sizeof path, "%s/config.yaml", dir);
    json_t *o = json_pack("{s:s, s:{s:s, s:s, s:s}, s:{s:s, s:s, s:i, s:s}}", "saelab", sl_version(), "text", "name", r->text.name, "sha256",
                          r->text.sha256, "note", r->text.note, "machine", "cpu", m.cpu, "kernels", m.kernels, "threads", m.threads,
                          "precision", m.bf16 ? "bf16" : "f32");
    json_t *plan = sl_plan_json(r->plan);
    json_object_update(o, plan);
    json_decref(plan);
    json_object_set_new(o, "question", json_string(r->plan->question));
    json_object_set_new(o, "what", json_string(r->plan->run.what));
    sl_atomic *f = NULL;
    sl_status st = sl_atomic_open(r->ctx, path, &f, err);
    if (st == SL_OK && (st = put_yaml(f, o, 0, err)) != SL_OK) {
        sl_atomic_abort(f);
        f = NULL;
    }
    if (f)
        st = sl_atomic_commit(f, err);
    json_decref(o);
    return st;
}

/* ---- models and curves ---- */

void sl_results_folder(char *out, size_t size, const char *world, const char *arm, int64_t seed)
{
    snprintf(out, size, "sae-%s%s%s-seed%lld", world, *world ? "-" : "", arm, (long long)seed);
}

/* What the replicates of t's arm agree on, kept with the first of them; NULL: nothing. */
static const sl_artifact *agreement_of(const sl_run *r, const sl_trained *t)
{
    for (int c = 0; c < r->plan->n_cells; c++)
        if (r->plan->cell[c].arm == t->i_arm && r->plan->cell[c].set == t->i_set && t->replicate == 0 && r->agreement[c].key[0])
            return &r->agreement[c];
    return NULL;
}

static sl_status copy_trained(const sl_run *r, const sl_trained *t, const char *dir, sl_err *err)
{
    char from[SL_PATH + 32], to[SL_PATH + 160], folder[150];
    sl_results_folder(folder, sizeof folder, t->i_set == 0 ? "" : r->ground[t->i_set].name, t->arm->name, t->replicate);
    snprintf(to, sizeof to, "%.1000s/%s", dir, folder);
    snprintf(from, sizeof from, "%s/model", t->sae.dir);
    SL_TRY(sl_copy_dir(r->ctx, from, to, err));
    SL_TRY(sl_copy_file(r->ctx, t->sae.dir, to, "metrics.csv", err));
    SL_TRY(sl_copy_file(r->ctx, t->eval.dir, to, "firing_rates.npy", err));
    const sl_artifact *agreement = agreement_of(r, t);
    if (agreement)
        SL_TRY(sl_copy_file(r->ctx, agreement->dir, to, "reproducibility.json", err));
    if (!t->arm->variant)
        return SL_OK;
    if (r->plan->run.stability)
        SL_TRY(sl_copy_file(r->ctx, t->eval.dir, to, "fss_latents.npy", err));
    if (r->plan->run.stability)
        SL_TRY(sl_copy_file(r->ctx, t->eval.dir, to, "stability.json", err));
    if (r->plan->run.composition)
        SL_TRY(sl_copy_file(r->ctx, t->eval.dir, to, "composition.json", err));
    return sl_copy_file(r->ctx, t->eval.dir, to, "distributions.json", err);
}

static sl_status copy_models(const sl_run *r, const char *dir, sl_err *err)
{
    char from[SL_PATH + 32], to[SL_PATH + 128];
    for (int64_t s = 0; s < r->plan->lm.seeds; s++) {
        snprintf(to, sizeof to, "%s/lm-seed%lld", dir, (long long)s);
        snprintf(from, sizeof from, "%s/model", r->lm[s].dir);
        SL_TRY(sl_copy_dir(r->ctx, from, to, err));
        SL_TRY(sl_copy_file(r->ctx, r->lm[s].dir, to, "metrics.csv", err));
    }
    for (int i = 0; i < r->n_trained; i++)
        if (!r->trained[i].failed && !r->trained[i].arm->sweep)
            SL_TRY(copy_trained(r, &r->trained[i], dir, err));
    return SL_OK;
}

/* ---- gains ---- */

static json_t *value_of(json_t *eval, const char *key) { return json_object_get(json_object_get(eval, key), "value"); }

/* gain of every SAE: fvu of the reference arm of the same data set and replicate, less its own. */
static void put_gains(const sl_run *r, json_t **evals)
{
    int reference = 0;
    while (reference < r->plan->n_arms && strcmp(r->plan->arm[reference], r->plan->run.reference) != 0)
        reference++;
    for (int i = 0; i < r->n_trained; i++) {
        int64_t n;
        const sl_trained *t = &r->trained[i], *first = sl_run_replicates(r, reference, t->i_set, &n);
        json_t *own = value_of(evals[i], "fvu"), *other = first && t->replicate < n ? value_of(evals[first - r->trained + t->replicate], "fvu") : NULL;
        if (!evals[i])
            continue;
        if (json_is_number(own) && json_is_number(other))
            json_object_set_new(evals[i], "gain", json_pack("{s:f, s:O}", "value", json_number_value(other) - json_number_value(own), "n",
                                                            json_object_get(json_object_get(evals[i], "fvu"), "n")));
        else
            json_object_set_new(evals[i], "gain", json_pack("{s:n, s:s}", "value", "reason", first ? "one of the two has no fvu" : "the reference arm is not on this data set"));
    }
}

sl_status sl_results_write(const sl_run *r, const char *dir, sl_err *err)
{
    json_t **evals = sl_alloc(r->ctx, (size_t)(r->n_trained + 1) * sizeof *evals);
    if (!evals)
        return sl_fail(err, SL_MEM, dir, NULL, "no memory for the results");
    sl_status st = SL_OK;
    for (int i = 0; i < r->n_trained && st == SL_OK; i++)
        if (!r->trained[i].failed)
            st = load_result(r->ctx, r->trained[i].eval.dir, &evals[i], err);
    if (st == SL_OK && r->plan->run.reference)
        put_gains(r, evals);
    if (st == SL_OK)
        st = write_final_info(r, evals, dir, err);
    if (st == SL_OK)
        st = write_all_results(r, evals, dir, err);
    if (st == SL_OK)
        st = sl_records_write(r, evals, dir, err);
    if (st == SL_OK)
        st = write_config(r, dir, err);
    if (st == SL_OK)
        st = copy_models(r, dir, err);
    if (st == SL_OK)
        st = sl_draw_run(r->ctx, dir, err);
    for (int i = 0; i < r->n_trained; i++)
        json_decref(evals[i]);
    sl_free(r->ctx, evals);
    return st;
}
