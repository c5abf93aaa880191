/* Where the server listens, and what to tell a person about it. */
#include "serve/http_internal.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { TRIES = 20, BACKLOG = 128 };

static bool everybody(const char *host)
{
    return strcmp(host, "0.0.0.0") == 0 || strcmp(host, "::") == 0;
}

/* A listening socket, or -1 and errno. *port becomes the real one. */
static int listen_at(const struct addrinfo *a, int *port)
{
    struct sockaddr_storage at;
    socklen_t n = a->ai_addrlen;
    memcpy(&at, a->ai_addr, n);
    struct sockaddr_in *v4 = (struct sockaddr_in *)&at;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&at;
    in_port_t *place = at.ss_family == AF_INET6 ? &v6->sin6_port : &v4->sin_port;
    *place = htons((uint16_t)*port);
    int fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    if (fd < 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on); /* a server that was stopped starts again at once */
    if (bind(fd, (struct sockaddr *)&at, n) != 0 || listen(fd, BACKLOG) != 0 || getsockname(fd, (struct sockaddr *)&at, &n) != 0) {
        int why = errno;
        close(fd);
        errno = why;
        return -1;
    }
    *port = ntohs(*place);
    return fd;
}

/* SSH_CONNECTION is "client port server port". */
static void describe(sl_http *h, const char *host)
{
    const char *at = everybody(host) ? "127.0.0.1" : host, *ssh = getenv("SSH_CONNECTION"), *user = getenv("USER");
    bool v6 = strchr(at, ':') != NULL;
    char server[64];
    snprintf(h->url, sizeof h->url, "http://%s%.80s%s:%d/", v6 ? "[" : "", at, v6 ? "]" : "", h->port);
    if (!ssh || everybody(host) || sscanf(ssh, "%*s %*s %63s", server) != 1)
        return;
    snprintf(h->tunnel, sizeof h->tunnel, "ssh -N -L %d:%s%.80s%s:%d %.32s%s%s", h->port, v6 ? "[" : "", at, v6 ? "]" : "", h->port, user ? user : "",
             user ? "@" : "", server);
}

sl_status sl__http_listen(sl_http *h, int *fd, sl_err *err)
{
    const char *host = h->c.host ? h->c.host : "127.0.0.1";
    int first = h->c.port, tries = first == 0 ? 1 : h->c.tries > 0 ? h->c.tries : TRIES, why = EADDRINUSE;
    struct addrinfo want = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE }, *found = NULL;
    int bad = getaddrinfo(host, NULL, &want, &found);
    if (bad != 0)
        return sl_fail(err, SL_ARG, host, "an address or a name of this machine", "%s", gai_strerror(bad));
    *fd = -1;
    for (int i = 0; i < tries && *fd < 0 && why == EADDRINUSE && first + i <= 65535; i++) {
        h->port = first + i;
        *fd = listen_at(found, &h->port);
        why = *fd < 0 ? errno : 0;
    }
    freeaddrinfo(found);
    if (why == EADDRINUSE)
        return sl_fail(err, SL_BUSY, host, "another --port", "port %d%s busy", first, tries > 1 ? " and those after it are" : " is");
    if (why == EADDRNOTAVAIL)
        return sl_fail(err, SL_ARG, host, "an address of this machine", "is not an address of this machine");
    if (*fd < 0)
        return sl_fail(err, SL_IO, host, NULL, "cannot listen on port %d: %s", h->port, strerror(why));
    describe(h, host);
    return SL_OK;
}
