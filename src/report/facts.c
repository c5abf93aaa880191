/* Reading the files of a run. */
#include "report/facts.h"

#include <string.h>

SL_PRINTF(2, 3) static void warn(sl_facts *f, const char *fmt, ...)
{
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    for (int i = 0; i < f->n_warnings; i++)
        if (strcmp(f->warning[i], text) == 0)
            return;
    char *copy = f->n_warnings < SL_MAX_WARNINGS ? sl_strdup(f->ctx, text) : NULL;
    if (copy)
        f->warning[f->n_warnings++] = copy;
    else
        f->n_more++;
}

/* The whole file, or NULL after a warning that says why. */
static char *read_whole(sl_facts *f, const char *name, bool needed)
{
    char path[1100], *text = NULL;
    size_t n;
    sl_err why = { 0 };
    snprintf(path, sizeof path, "%s/%s", f->dir, name);
    sl_status st = sl_file_read(f->ctx, path, &text, &n, &why);
    if (st == SL_OK && strlen(text) == n)
        return text;
    sl_free(f->ctx, text);
    if (st == SL_OK)
        warn(f, "%s is damaged: it holds a zero byte", name);
    else if (st == SL_MISSING && needed)
        warn(f, "%s is missing", name);
    else if (st != SL_MISSING)
        warn(f, "%s cannot be read: %s", name, why.what);
    return NULL;
}

static void read_final_info(sl_facts *f)
{
    char *text = read_whole(f, "final_info.json", true);
    json_error_t e;
    if (!text)
        return;
    f->file = json_loads(text, JSON_REJECT_DUPLICATES, &e);
    sl_free(f->ctx, text);
    if (!f->file)
        warn(f, "final_info.json is damaged: line %d: %s", e.line, e.text);
    const char *name;
    json_t *info;
    json_object_foreach(f->file, name, info)
        if (f->n_datasets < SL_MAX_DATASETS)
            f->name[f->n_datasets++] = name;
    sl_facts_dataset(f, 0);
    if (f->file && !json_is_object(f->means))
        warn(f, "final_info.json holds no means");
}

/* A record that says no data set is of the one there is. */
static bool is_here(const sl_facts *f, json_t *r)
{
    const char *dataset = json_string_value(json_object_get(r, "dataset"));
    return !dataset || !f->dataset || strcmp(dataset, f->dataset) == 0;
}

static void find_arms(sl_facts *f)
{
    size_t i;
    json_t *r;
    json_array_foreach(f->records, i, r) {
        if (!is_here(f, r))
            continue;
        const char *arm = json_string_value(json_object_get(r, "arm")), *status = json_string_value(json_object_get(r, "status"));
        int k = 0;
        while (arm && k < f->n_arms && strcmp(f->arm[k], arm) != 0)
            k++;
        if (arm && k == f->n_arms && k < SL_MAX_ARMS)
            f->arm[f->n_arms++] = arm;
        if (arm && status && strcmp(status, "ok") != 0) {
            const char *notes = json_string_value(json_object_get(r, "notes"));
            warn(f, "%s%s%s, seed %lld: FAILED (%s) %s", arm, f->n_datasets > 1 ? " on " : "", f->n_datasets > 1 ? f->dataset : "", (long long)json_integer_value(json_object_get(r, "seed_init")), status, notes ? notes : "");
        }
    }
}

void sl_facts_dataset(sl_facts *f, int i)
{
    f->dataset = i < f->n_datasets ? f->name[i] : NULL;
    json_t *info = f->dataset ? json_object_get(f->file, f->dataset) : NULL;
    f->means = json_object_get(info, "means");
    f->stderrs = json_object_get(info, "stderrs");
    f->lists = json_object_get(info, "final_info_dict");
    f->n_arms = 0;
    if (f->records)
        find_arms(f);
}

static void read_records(sl_facts *f)
{
    f->records = json_array();
    char *text = read_whole(f, "results.jsonl", true), *save = NULL;
    int number = 0;
    for (char *line = text ? strtok_r(text, "\n", &save) : NULL; line; line = strtok_r(NULL, "\n", &save)) {
        json_error_t e;
        json_t *r = json_loads(line, 0, &e);
        number++;
        if (json_is_object(r)) {
            json_array_append_new(f->records, r);
            continue;
        }
        json_decref(r);
        warn(f, "results.jsonl, record %d is damaged", number);
    }
    sl_free(f->ctx, text);
}

static void read_config(sl_facts *f)
{
    f->config_text = read_whole(f, "config.yaml", true);
    sl_err why = { 0 };
    if (f->config_text && sl_yaml_parse(f->ctx, "config.yaml", f->config_text, strlen(f->config_text), &f->config, &why) != SL_OK) {
        f->config = NULL;
        warn(f, "config.yaml is damaged: %s", why.msg);
    }
    const char *note = sl_facts_config(f, "text.note");
    if (*note)
        warn(f, "%s", note);
}

/* The log's own warnings: "2026-01-01T00:00:00Z warning: ...". */
static void read_log(sl_facts *f)
{
    f->log = read_whole(f, "log.txt", true);
    const char *note = sl_facts_config(f, "text.note");
    for (const char *s = f->log; s && *s; s = strchr(s, '\n') ? strchr(s, '\n') + 1 : NULL) {
        char line[400];
        size_t n = strcspn(s, "\n");
        snprintf(line, sizeof line, "%.*s", (int)(n < sizeof line ? n : sizeof line - 1), s);
        const char *w = strstr(line, " warning: ");
        if (w && !(*note && strstr(w, note)))
            warn(f, "%s", w + strlen(" warning: "));
    }
}

sl_status sl_facts_read(sl_ctx *ctx, const char *dir, sl_facts *out, sl_err *err)
{
    *out = (sl_facts){ .ctx = ctx, .dir = dir };
    if (!sl_path_is_dir(dir))
        return sl_fail(err, SL_MISSING, dir, "the folder of a run", "there is no such folder");
    read_final_info(out);
    read_records(out);
    read_config(out);
    for (int i = out->n_datasets; i-- > 0;) /* ends at the first; the failed SAEs of each are noted on the way */
        sl_facts_dataset(out, i);
    if (out->n_datasets == 0)
        find_arms(out);
    read_log(out);
    return SL_OK;
}

void sl_facts_release(sl_facts *f)
{
    for (int i = 0; i < f->n_warnings; i++)
        sl_free(f->ctx, f->warning[i]);
    json_decref(f->file);
    json_decref(f->records);
    if (f->config)
        sl_yaml_free(f->config);
    sl_free(f->ctx, f->config_text);
    sl_free(f->ctx, f->log);
}

const char *sl_facts_config(const sl_facts *f, const char *path)
{
    if (!f->config)
        return "";
    sl_ynode n = sl_yaml_root(f->config);
    char key[64];
    for (const char *s = path; *s;) {
        size_t len = strcspn(s, ".");
        snprintf(key, sizeof key, "%.*s", (int)len, s);
        n = sl_ynode_get(n, key);
        s += len + (s[len] == '.');
    }
    const char *text = sl_ynode_text(n);
    return text ? text : "";
}

/* ---- figures ---- */

/* The first reason in the arm's records for which the key is null. */
static const char *reason_of(const sl_facts *f, const char *arm, const char *key)
{
    size_t i;
    json_t *r;
    json_array_foreach(f->records, i, r) {
        const char *a = json_string_value(json_object_get(r, "arm")), *why = json_string_value(json_object_get(json_object_get(r, "reasons"), key));
        if (why && (!arm || (a && strcmp(a, arm) == 0)) && is_here(f, r))
            return why;
    }
    return "NOT RUN";
}

static void find_floor(const sl_facts *f, const char *arm, const char *key, sl_figure *out)
{
    size_t i;
    json_t *r;
    int n = 0;
    json_array_foreach(f->records, i, r) {
        const char *a = json_string_value(json_object_get(r, "arm"));
        json_t *floor = json_object_get(json_object_get(r, "floor"), key);
        if (a && arm && strcmp(a, arm) == 0 && json_is_number(floor) && is_here(f, r)) {
            out->floor += json_number_value(floor);
            n++;
        }
    }
    out->has_floor = n > 0;
    out->floor /= n > 0 ? n : 1;
}

sl_figure sl_facts_figure(const sl_facts *f, const char *arm, const char *key)
{
    sl_figure out = { .reason = "" };
    char name[160], full[200];
    snprintf(name, sizeof name, "%s%s%s", arm ? arm : "", arm ? "_" : "", key);
    snprintf(full, sizeof full, "%s_mean", name);
    json_t *mean = json_object_get(f->means, full), *v;
    snprintf(full, sizeof full, "%s_stderr", name);
    json_t *se = json_object_get(f->stderrs, full);
    size_t i;
    json_array_foreach(json_object_get(f->lists, name), i, v)
        out.n += json_is_number(v);
    out.known = json_is_number(mean);
    out.mean = json_number_value(mean);
    out.has_se = json_is_number(se);
    out.se = json_number_value(se);
    if (!out.known)
        out.reason = reason_of(f, arm, key);
    find_floor(f, arm, key, &out);
    return out;
}

int64_t sl_facts_seeds(const sl_facts *f)
{
    int64_t most = 0;
    const char *key;
    json_t *list;
    json_object_foreach(f->lists, key, list)
        if ((int64_t)json_array_size(list) > most)
            most = (int64_t)json_array_size(list);
    return most;
}

double sl_facts_sum(const sl_facts *f, const char *arm, const char *field)
{
    double sum = 0;
    size_t i;
    json_t *r;
    json_array_foreach(f->records, i, r) {
        const char *a = json_string_value(json_object_get(r, "arm"));
        if (!arm || (a && strcmp(a, arm) == 0))
            sum += json_number_value(json_object_get(r, field));
    }
    return sum;
}
