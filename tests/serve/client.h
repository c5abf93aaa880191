/* A client of one request, for tests of the server: bytes as they are, so that they may be wrong. */
#ifndef SL_TEST_CLIENT_H
#define SL_TEST_CLIENT_H

#include "support.h"

#include <arpa/inet.h>
#include <jansson.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

enum { CLIENT_BYTES = 8 << 20 };

typedef struct answer { int status; char *head, *body; size_t n; char *all; } answer;

static inline int client_open(int port)
{
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct timeval patience = { .tv_sec = 20 };
    assert_true(fd >= 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    assert_int_equal(connect(fd, (struct sockaddr *)&at, sizeof at), 0);
    return fd;
}

/* Sends the bytes and reads until the server closes; `end` says that no more will come, which may also end what is under way. status 0: it closed
 * without a word. */
static inline answer client_bytes(int port, const void *bytes, size_t n, bool end)
{
    answer a = { 0 };
    int fd = client_open(port);
    size_t sent = 0;
    for (ssize_t k; sent < n && (k = send(fd, (const char *)bytes + sent, n - sent, MSG_NOSIGNAL)) > 0; sent += (size_t)k)
        ;
    if (end)
        shutdown(fd, SHUT_WR);
    size_t cap = 1 << 16;
    a.all = malloc(cap + 1);
    for (ssize_t k; a.all && (k = recv(fd, a.all + a.n, cap - a.n, 0)) > 0;) {
        a.n += (size_t)k;
        if (a.n == cap) {
            assert_true(cap < CLIENT_BYTES);
            a.all = realloc(a.all, 2 * cap + 1);
            cap *= 2;
        }
    }
    close(fd);
    assert_non_null(a.all);
    a.all[a.n] = 0;
    if (sscanf(a.all, "HTTP/1.%*d %d", &a.status) != 1)
        a.status = 0;
    char *blank = strstr(a.all, "\r\n\r\n");
    a.head = a.all;
    a.body = blank ? blank + 4 : a.all + a.n;
    a.n -= (size_t)(a.body - a.all);
    if (blank)
        blank[2] = 0;
    return a;
}

/* METHOD /target with a header line ("Name: value") and a JSON body (NULL: none). Free a.all. */
static inline answer client_ask_with(int port, const char *method, const char *target, const char *header, const char *json)
{
    char *bytes = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&bytes, &n);
    assert_non_null(f);
    fprintf(f, "%s %s HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n", method, target);
    if (header)
        fprintf(f, "%s\r\n", header);
    if (json)
        fprintf(f, "Content-Type: application/json\r\nContent-Length: %zu\r\n", strlen(json));
    fprintf(f, "\r\n%s", json ? json : "");
    fclose(f);
    answer a = client_bytes(port, bytes, n, false);
    free(bytes);
    return a;
}

static inline answer client_ask(int port, const char *method, const char *target, const char *json) { return client_ask_with(port, method, target, NULL, json); }

/* The same, with the status that is expected and the answer as JSON; json_decref. */
static inline json_t *client_json(int port, const char *method, const char *target, const char *json, int status)
{
    answer a = client_ask(port, method, target, json);
    if (a.status != status)
        fail_msg("%s %s: %d instead of %d: %.300s", method, target, a.status, status, a.body);
    json_t *j = json_loads(a.body, JSON_DECODE_ANY, NULL);
    if (!j)
        fail_msg("%s %s: not JSON: %.300s", method, target, a.body);
    free(a.all);
    return j;
}

#endif
