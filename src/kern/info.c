/* What the machine gives, from Linux's /proc; what cannot be read there stays empty or 0. */
#include "base/threads.h"
#include "kern/kern.h"

#include <saelab/kern_info.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LINE = 8192 }; /* a line of CPU flags is about 2,000 bytes */

/* The text after ":" of the first line of `path` that begins with `key`, without blanks around it; "" when there is none. */
static void proc_value(const char *path, const char *key, char *out, size_t size)
{
    char line[LINE];
    FILE *f = fopen(path, "r");
    out[0] = 0;
    while (f && !out[0] && fgets(line, sizeof line, f)) {
        char *colon = strchr(line, ':');
        if (!colon || strncmp(line, key, strlen(key)) != 0)
            continue;
        char *value = colon + 1 + strspn(colon + 1, " \t");
        value[strcspn(value, "\n")] = 0;
        snprintf(out, size, "%s", value);
    }
    if (f)
        fclose(f);
}

static int64_t proc_kilobytes(const char *key)
{
    char text[64];
    proc_value("/proc/meminfo", key, text, sizeof text);
    return strtoll(text, NULL, 10) * 1024;
}

/* Is `flag` one of the words of `flags`? */
static bool has_word(const char *flags, const char *flag)
{
    size_t n = strlen(flag);
    for (const char *p = flags; (p = strstr(p, flag)) != NULL; p += n)
        if ((p == flags || p[-1] == ' ') && (p[n] == ' ' || p[n] == 0))
            return true;
    return false;
}

static void instruction_sets(sl_machine *m, const char *flags)
{
    static const char *const told[] = { "avx2", "fma", "f16c", "avx_vnni", "avx512f", "avx512bw", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8" };
    size_t n = 0;
    for (size_t i = 0; i < sizeof told / sizeof *told; i++)
        if (has_word(flags, told[i]) && n < sizeof m->isa)
            n += (size_t)snprintf(m->isa + n, sizeof m->isa - n, "%s%s", n ? " " : "", told[i]);
    m->has_avx2 = has_word(flags, "avx2") && has_word(flags, "fma");
    m->has_avx512 = has_word(flags, "avx512f") && has_word(flags, "avx512bw");
    m->has_vnni = has_word(flags, "avx512_vnni") || has_word(flags, "avx_vnni");
    m->has_bf16 = has_word(flags, "avx512_bf16") || has_word(flags, "amx_bf16");
    m->has_amx = has_word(flags, "amx_bf16") || has_word(flags, "amx_int8");
}

sl_status sl_machine_info(sl_ctx *ctx, sl_machine *out, sl_err *err)
{
    char flags[LINE];
    const sl_kern *k;
    *out = (sl_machine){ .physical_cores = sl_physical_cores(), .threads = sl_ctx_threads(ctx), .quota = sl_cgroup_quota() };
    SL_TRY(sl_kern_get(ctx, SL_F32, &k, err));
    snprintf(out->kernels, sizeof out->kernels, "%s", k->id);
    out->bf16 = strstr(k->id, " bf16") != NULL;
    proc_value("/proc/cpuinfo", "model name", out->cpu, sizeof out->cpu);
    proc_value("/proc/cpuinfo", "flags", flags, sizeof flags);
    instruction_sets(out, flags);
    out->mem_total = proc_kilobytes("MemTotal");
    out->mem_available = proc_kilobytes("MemAvailable");
    return SL_OK;
}
