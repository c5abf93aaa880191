/* saelab doctor: what this machine gives, and what is missing. */
#include "cmd.h"

#include <string.h>

static void processor(cli *c, const sl_machine *m)
{
    char why[160];
    json_t *j;
    if (sl_ctx_options(c->ctx)->n_threads > 0)
        snprintf(why, sizeof why, "as --threads says");
    else if (m->quota > 0 && m->quota < m->physical_cores)
        snprintf(why, sizeof why, "the container may use %.3g CPUs; %d physical cores", m->quota, m->physical_cores);
    else
        snprintf(why, sizeof why, "one for each physical core that this process may use");
    say(c, "cpu       %s\n          %s\n", m->cpu, m->isa);
    say(c, "kernels   %s\n", m->kernels);
    say(c, "threads   %d (%s)\n", m->threads, why);
    j = json_pack("{s:s, s:s, s:s, s:i, s:i, s:o, s:b, s:b, s:b, s:b, s:b}", "cpu", m->cpu, "isa", m->isa, "kernels", m->kernels, "threads", m->threads,
                  "physical_cores", m->physical_cores, "cgroup_cpus", m->quota > 0 ? json_real(m->quota) : json_null(), "avx2", m->has_avx2, "avx512",
                  m->has_avx512, "vnni", m->has_vnni, "bf16", m->has_bf16, "amx", m->has_amx);
    json_object_update(c->result, j);
    json_decref(j);
}

static bool self_test(cli *c)
{
    sl_err err = { 0 };
    bool ok = sl_kern_selftest(c->ctx, &err) == SL_OK;
    say(c, "self-test %s%s\n", ok ? "the fast kernels agree with the plain ones" : "FAILED: ", ok ? "" : err.msg);
    json_object_set_new(c->result, "self_test", ok ? json_string("ok") : json_string(err.msg));
    return ok;
}

static void storage(cli *c, const sl_machine *m)
{
    char a[32], b[32];
    sl_cache_entry *e = NULL;
    sl_err err;
    int n = 0;
    int64_t bytes = 0;
    if (sl_cache_list(c->ctx, &e, &n, &err) == SL_OK)
        for (int i = 0; i < n; i++)
            bytes += e[i].bytes;
    sl_free(c->ctx, e);
    say(c, "memory    %s, %s available\n", text_bytes(a, m->mem_total), text_bytes(b, m->mem_available));
    say(c, "cache     %s: %d stages, %s\n", sl_ctx_cache_dir(c->ctx), n, text_bytes(a, bytes));
    json_t *j = json_pack("{s:I, s:I, s:s, s:i, s:I}", "memory_bytes", (json_int_t)m->mem_total, "memory_available_bytes", (json_int_t)m->mem_available,
                          "cache_folder", sl_ctx_cache_dir(c->ctx), "cache_stages", n, "cache_bytes", (json_int_t)bytes);
    json_object_update(c->result, j);
    json_decref(j);
}

static void texts(cli *c)
{
    char path[512], here[512] = "";
    sl_err err;
    json_t *found = json_object();
    for (const sl_dataset_info *d = sl_datasets; d->name; d++) {
        if (sl_data_where(c->ctx, d->name, path, &err) != SL_OK || !*path)
            continue;
        snprintf(here + strlen(here), sizeof here - strlen(here), "%s%s", *here ? ", " : "", d->name);
        json_object_set_new(found, d->name, json_string(path));
    }
    say(c, "texts     %s\n", *here ? here : "none here: `saelab data get shakespeare_char`, or the fall-backs are used");
    json_object_set_new(c->result, "texts", found);
}

/* Returns the number of programs that are missing. */
static int programs(cli *c)
{
    static const struct { const char *program, *package, *why; } need[] = {
        { "gnuplot", "gnuplot-nox", "draws the plots" },
        { "dot", "graphviz", "draws graphs" },
        { "bible", "bible-kjv", "an English text where nothing can be downloaded" },
        { "curl", "curl", "downloads by hand" },
    };
    char packages[128] = "";
    json_t *missing = json_array();
    for (size_t i = 0; i < sizeof need / sizeof *need; i++) {
        bool there = on_path(need[i].program);
        say(c, "%-9s %s%s%s\n", need[i].program, there ? "found" : "MISSING", there ? "" : ": ", there ? "" : need[i].why);
        if (there)
            continue;
        snprintf(packages + strlen(packages), sizeof packages - strlen(packages), " %s", need[i].package);
        json_array_append_new(missing, json_string(need[i].package));
    }
    int n = (int)json_array_size(missing);
    json_object_set_new(c->result, "missing_packages", missing);
    if (n > 0)
        next_step(c, "apt-get install --no-install-recommends%s", packages);
    else
        next_step(c, "saelab demo");
    return n;
}

static sl_status doctor(cli *c, sl_err *err)
{
    sl_machine m;
    c->result = json_object();
    say(c, "saelab    %s\n", sl_version());
    json_object_set_new(c->result, "version", json_string(sl_version()));
    SL_TRY(sl_machine_info(c->ctx, &m, err));
    processor(c, &m);
    bool ok = self_test(c);
    storage(c, &m);
    texts(c);
    int missing = programs(c);
    say(c, "%s\n", !ok ? "result    the kernels give wrong results on this machine: use --kern ref" : missing ? "result    works; what is missing is optional" : "result    all is well");
    return ok ? SL_OK : sl_fail(err, SL_NUMERIC, "self-test", "--kern ref", "a fast kernel gives wrong results on this machine");
}

const command CMD_DOCTOR = {
    .name = "doctor", .args = "", .what = "What this machine gives, and what is missing.",
    .text = "CPU features, kernels and their self-test, threads and why so many, memory, cache, texts, helper programs.",
    .run = doctor,
};
