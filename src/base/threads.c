/* Threads = min(physical cores, affinity, cgroup quota): hyperthreads share one set of vector units, and a quota below the
 * thread count makes every barrier wait for a throttled thread. */
#define _GNU_SOURCE
#include "base/threads.h"

#include <omp.h>
#include <sched.h>
#include <stdio.h>
#include <unistd.h>

static int read_int(const char *path, int fallback)
{
    FILE *f = fopen(path, "r");
    if (!f)
        return fallback;
    int v = fallback;
    if (fscanf(f, "%d", &v) != 1)
        v = fallback;
    fclose(f);
    return v;
}

int sl_physical_cores(void)
{
    enum { MAX = CPU_SETSIZE };
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) != 0)
        return (int)sysconf(_SC_NPROCESSORS_ONLN);
    static const char *const FMT = "/sys/devices/system/cpu/cpu%d/topology/%s";
    int seen[MAX][2], n = 0;
    for (int cpu = 0; cpu < MAX; cpu++) {
        if (!CPU_ISSET(cpu, &set))
            continue;
        char path[128];
        snprintf(path, sizeof path, FMT, cpu, "physical_package_id");
        int package = read_int(path, 0);
        snprintf(path, sizeof path, FMT, cpu, "core_id");
        int core = read_int(path, cpu), i = 0;
        while (i < n && (seen[i][0] != package || seen[i][1] != core))
            i++;
        if (i == n) {
            seen[n][0] = package;
            seen[n++][1] = core;
        }
    }
    return n > 0 ? n : 1;
}

double sl_cgroup_quota(void)
{
    double quota = 0, period = 0;
    FILE *f = fopen("/sys/fs/cgroup/cpu.max", "r");
    if (f) {
        int got = fscanf(f, "%lf %lf", &quota, &period); /* "max 100000" reads as no number */
        fclose(f);
        return got == 2 && quota > 0 && period > 0 ? quota / period : 0;
    }
    quota = read_int("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", -1);
    period = read_int("/sys/fs/cgroup/cpu/cpu.cfs_period_us", 100000);
    return quota > 0 && period > 0 ? quota / period : 0;
}

int sl_default_threads(void)
{
    int n = sl_physical_cores();
    double quota = sl_cgroup_quota();
    if (quota > 0 && quota < n)
        n = quota < 1 ? 1 : (int)quota;
    return n;
}

void sl_thread_begin(void) { omp_set_num_threads(1); }
