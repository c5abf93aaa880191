/* How many threads this process may really use. */
#ifndef SL_THREADS_H
#define SL_THREADS_H

int sl_physical_cores(void);   /* distinct (package, core) pairs among the CPUs of the affinity mask */
double sl_cgroup_quota(void);  /* CPUs allowed by cgroup v2 cpu.max or v1 cfs quota; 0: no limit */
int sl_default_threads(void);  /* min(physical cores, affinity, quota), at least 1 */
/* What a thread of ours that computes does first: libraries called outside of our parallel regions open none of their own. */
void sl_thread_begin(void);

#endif
