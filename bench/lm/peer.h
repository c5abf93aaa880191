/* A peer: a child process that answers one line to each line (bench/peers/torch_gpt.py). */
#ifndef SL_BENCH_PEER_H
#define SL_BENCH_PEER_H

#include <stdbool.h>
#include <stdio.h>
#include <sys/types.h>

typedef struct peer { pid_t pid; FILE *to, *from; } peer;

/* Starts `python script --threads n`; false with a line on stderr when it cannot. */
bool peer_start(peer *p, const char *python, const char *script, int threads);
/* Sends a request and reads "ok A B" into a and b (each char[64]). False: the peer failed or ended. */
bool peer_ask(peer *p, char a[64], char b[64], const char *fmt, ...) __attribute__((format(printf, 4, 5)));
void peer_stop(peer *p);

#endif
