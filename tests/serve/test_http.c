/* The HTTP layer: routes, limits, JSON in and out, files, the computing thread, ports. */
#include "client.h"

#include "serve/http.h"

#include <pthread.h>
#include <time.h>

static sl_err err;

typedef struct site {
    sl_ctx *ctx;
    sl_http *h;
    int port;
    pthread_t computing; /* the thread of the compute handler */
    int inside;          /* handlers that compute now: never two */
    bool twice, other_thread, seen;
} site;

/* ---- handlers ---- */

static sl_status hello(void *user, const sl_http_req *q, sl_http_reply *r, sl_err *e)
{
    int64_t n;
    (void)user;
    SL_TRY(sl_http_query_int(q, "n", 7, 0, 100, &n, e));
    const char *who = sl_http_query(q, "who");
    r->json = json_pack("{s:s, s:I}", "who", who ? who : "nobody", "n", (json_int_t)n);
    return SL_OK;
}

static sl_status parts(void *user, const sl_http_req *q, sl_http_reply *r, sl_err *e)
{
    int64_t id;
    (void)user;
    SL_TRY(sl_http_part_int(q, 1, 100, &id, e));
    r->json = json_pack("{s:s, s:I, s:s}", "name", q->part[0], "id", (json_int_t)id, "path", q->path);
    return SL_OK;
}

static sl_status echo(void *user, const sl_http_req *q, sl_http_reply *r, sl_err *e)
{
    const char *text;
    int64_t n;
    double x;
    bool on;
    (void)user;
    SL_TRY(sl_http_body_text(q, "text", 10, &text, e));
    SL_TRY(sl_http_body_int(q, "n", 1, 5, &n, e));
    SL_TRY(sl_http_body_real(q, "x", -1, 1, &x, e));
    SL_TRY(sl_http_body_bool(q, "on", &on, e));
    r->json = json_pack("{s:s, s:I, s:f, s:b}", "text", text, "n", (json_int_t)n, "x", x, "on", on);
    return SL_OK;
}

static sl_status table(void *user, const sl_http_req *q, sl_http_reply *r, sl_err *e)
{
    site *s = user;
    (void)q;
    (void)e;
    r->text = sl_strdup(s->ctx, "a,b\n1,2\n");
    r->n_text = 8;
    r->type = "text/csv; charset=utf-8";
    snprintf(r->download, sizeof r->download, "table.csv");
    snprintf(r->cookie, sizeof r->cookie, "seen=1; HttpOnly; SameSite=Strict");
    return SL_OK;
}

static sl_status compute(void *user, const sl_http_req *q, sl_http_reply *r, sl_err *e)
{
    site *s = user;
    (void)q;
    (void)e;
    s->twice |= __atomic_add_fetch(&s->inside, 1, __ATOMIC_SEQ_CST) > 1;
    s->other_thread |= s->seen && !pthread_equal(s->computing, pthread_self());
    s->computing = pthread_self();
    s->seen = true;
    nanosleep(&(struct timespec){ .tv_nsec = 2000000 }, NULL);
    __atomic_sub_fetch(&s->inside, 1, __ATOMIC_SEQ_CST);
    r->json = json_true();
    return SL_OK;
}

static sl_status fails(void *user, const sl_http_req *q, sl_http_reply *r, sl_err *e)
{
    (void)user;
    if (strcmp(q->part[0], "teapot") == 0)
        r->status = 418;
    for (int code = 1; code < SL_N_STATUS; code++)
        if (strcmp(sl_status_name((sl_status)code), q->part[0]) == 0)
            return sl_fail(e, (sl_status)code, "here", "\"better\"", "it is <bad>");
    return sl_fail(e, SL_ARG, NULL, NULL, "short and stout");
}

static const sl_http_route ROUTES[] = {
    { "GET", "api/hello", hello, 0, 0 },        { "GET", "api/sae/:/feature/:", parts, 0, 0 },
    { "POST", "api/echo", echo, 0, 200 },       { "GET", "api/table", table, 0, 0 },
    { "GET", "api/compute", compute, SL_HTTP_COMPUTE, 0 }, { "GET", "api/fail/:", fails, SL_HTTP_COMPUTE, 0 },
    { NULL, NULL, NULL, 0, 0 }
};
static const unsigned char PAGE[] = "<!doctype html>", STYLE[] = "a{}";
static const sl_http_file FILES[] = { { "index.html", PAGE, sizeof PAGE - 1 }, { "a.css", STYLE, sizeof STYLE - 1 }, { NULL, NULL, 0 } };

static int set_up(void **state)
{
    static site s;
    s = (site){ .ctx = sl_test_ctx(1) };
    sl_assert_ok(sl_http_open(s.ctx, &(sl_http_config){ .routes = ROUTES, .files = FILES, .user = &s }, &s.h, &err));
    s.port = sl_http_port(s.h);
    *state = &s;
    return 0;
}

static int tear_down(void **state)
{
    site *s = *state;
    sl_http_close(s->h);
    sl_ctx_free(s->ctx);
    return 0;
}

/* ---- tests ---- */

static void assert_text(const json_t *j, const char *key, const char *expected)
{
    const char *got = json_string_value(json_object_get(j, key));
    assert_non_null(got);
    assert_string_equal(got, expected);
}

static const char *error_of(json_t *j, const char *field)
{
    const char *v = json_string_value(json_object_get(json_object_get(j, "error"), field));
    return v ? v : "";
}

static void queries(void **state)
{
    site *s = *state;
    json_t *j = client_json(s->port, "GET", "/api/hello?who=%E2%82%AC+x&n=12", NULL, 200);
    assert_text(j, "who", "\xe2\x82\xac x");
    assert_int_equal(json_integer_value(json_object_get(j, "n")), 12);
    json_decref(j);
    j = client_json(s->port, "GET", "/api/hello", NULL, 200);
    assert_text(j, "who", "nobody");
    assert_int_equal(json_integer_value(json_object_get(j, "n")), 7);
    json_decref(j);
    static const char *const wrong[] = { "n=101", "n=-1", "n=x", "n=", "n=1.5", "n=nan", "n=1e999", "who=%ff" };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        char target[64];
        snprintf(target, sizeof target, "/api/hello?%s", wrong[i]);
        j = client_json(s->port, "GET", target, NULL, 400);
        assert_string_equal(error_of(j, "code"), "usage");
        json_decref(j);
    }
}

static void paths(void **state)
{
    site *s = *state;
    json_t *j = client_json(s->port, "GET", "/api/sae/a%20b/feature/42", NULL, 200);
    assert_text(j, "name", "a b");
    assert_text(j, "path", "api/sae/a b/feature/42");
    assert_int_equal(json_integer_value(json_object_get(j, "id")), 42);
    json_decref(j);
    static const char *const nowhere[] = { "/api/sae/x/feature/100", "/api/sae/x/feature/-1", "/api/sae/x/feature/1x", "/api/sae//feature/1", "/api/sae/x/feature/1/",
                                           "/api/sae/x/feature", "/api", "/../../etc/passwd", "/..%2f..%2fetc/passwd", "/%2e%2e/a.css", "/./a.css", "//a.css", "/a.css/",
                                           "/A.CSS", "/index.html/..", "/api/hello/" };
    for (size_t i = 0; i < sizeof nowhere / sizeof *nowhere; i++)
        json_decref(client_json(s->port, "GET", nowhere[i], NULL, 404));
    json_decref(client_json(s->port, "GET", "/a.css%00.html", NULL, 400));
    json_decref(client_json(s->port, "GET", "/%ff", NULL, 400));
    char longest[1200] = "/";
    memset(longest + 1, 'x', 1000);
    json_decref(client_json(s->port, "GET", longest, NULL, 414));
}

static void methods(void **state)
{
    site *s = *state;
    answer a = client_ask(s->port, "POST", "/api/hello", "{}");
    assert_int_equal(a.status, 405);
    assert_non_null(strstr(a.head, "Allow: GET"));
    free(a.all);
    json_decref(client_json(s->port, "POST", "/a.css", "{}", 405));
    json_decref(client_json(s->port, "GET", "/api/echo", NULL, 405));
    json_decref(client_json(s->port, "BREW", "/api/hello", NULL, 405));
    a = client_ask(s->port, "HEAD", "/api/hello", NULL);
    assert_int_equal(a.status, 200);
    assert_int_equal(a.n, 0);
    free(a.all);
}

static void bodies(void **state)
{
    site *s = *state;
    json_t *j = client_json(s->port, "POST", "/api/echo", "{\"text\":\"\\u20ac\", \"n\":5, \"x\":1, \"on\":true}", 200);
    assert_text(j, "text", "\xe2\x82\xac");
    json_decref(j);
    static const char *const wrong[] = { "",
                                         "{",
                                         "[1]",
                                         "3",
                                         "{\"text\":1,\"n\":1,\"x\":0,\"on\":true}",
                                         "{\"text\":\"01234567890\",\"n\":1,\"x\":0,\"on\":true}",
                                         "{\"text\":\"a\",\"n\":6,\"x\":0,\"on\":true}",
                                         "{\"text\":\"a\",\"n\":1.5,\"x\":0,\"on\":true}",
                                         "{\"text\":\"a\",\"n\":1,\"x\":-2,\"on\":true}",
                                         "{\"text\":\"a\",\"n\":1,\"x\":0,\"on\":1}",
                                         "{\"text\":\"a\",\"n\":1,\"x\":0}",
                                         "{\"text\":\"a\",\"text\":\"b\",\"n\":1,\"x\":0,\"on\":true}",
                                         "{\"text\":\"\xff\",\"n\":1,\"x\":0,\"on\":true}",
                                         "{\"text\":\"\\u0000\",\"n\":1,\"x\":0,\"on\":true}" };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        json_decref(client_json(s->port, "POST", "/api/echo", wrong[i], 400));
    char large[300];
    memset(large, ' ', sizeof large - 1);
    large[sizeof large - 1] = 0;
    json_decref(client_json(s->port, "POST", "/api/echo", large, 413));
}

static void raw(site *s, const char *request, int status)
{
    answer a = client_bytes(s->port, request, strlen(request), false);
    if (a.status != status)
        fail_msg("%d instead of %d: %s", a.status, status, request);
    free(a.all);
}

static void framing(void **state)
{
    site *s = *state;
    raw(s, "POST /api/echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\nContent-Type: application/json\r\n\r\n2\r\n{}\r\n0\r\n\r\n", 411);
    raw(s, "POST /api/echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}", 415);
    raw(s, "POST /api/echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", 415);
    raw(s, "POST /api/echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Type: text/plain; application/json\r\nContent-Length: 2\r\n\r\n{}", 415);
    raw(s, "POST /api/echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: 99999999999999999999\r\n\r\n", 413);
    raw(s, "GET /a.css HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 200);
}

static void files(void **state)
{
    site *s = *state;
    answer a = client_ask(s->port, "GET", "/", NULL);
    assert_int_equal(a.status, 200);
    assert_string_equal(a.body, "<!doctype html>");
    static const char *const heads[] = { "Content-Type: text/html; charset=utf-8", "Content-Security-Policy: default-src 'none'; script-src 'self';",
                                         "X-Content-Type-Options: nosniff", "Referrer-Policy: no-referrer", "Cache-Control: no-cache", "ETag: \"" };
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++)
        if (!strstr(a.head, heads[i]))
            fail_msg("missing: %s in %s", heads[i], a.head);
    char again[256], etag[24];
    snprintf(etag, sizeof etag, "%.18s", strstr(a.head, "ETag: ") + 6);
    snprintf(again, sizeof again, "GET /index.html HTTP/1.1\r\nHost: a\r\nConnection: close\r\nIf-None-Match: %s\r\n\r\n", etag);
    free(a.all);
    raw(s, again, 304);
    a = client_ask(s->port, "GET", "/a.css?v=1", NULL);
    assert_non_null(strstr(a.head, "Content-Type: text/css"));
    free(a.all);
    a = client_ask(s->port, "GET", "/api/table", NULL);
    assert_string_equal(a.body, "a,b\n1,2\n");
    assert_non_null(strstr(a.head, "attachment; filename=\"table.csv\""));
    assert_non_null(strstr(a.head, "Set-Cookie: seen=1; HttpOnly"));
    assert_non_null(strstr(a.head, "Cache-Control: no-store"));
    free(a.all);
}

static void failures(void **state)
{
    site *s = *state;
    static const struct { const char *name; int status; } rows[] = { { "usage", 400 }, { "config", 400 }, { "missing", 404 }, { "exists", 409 }, { "busy", 503 },
                                                                     { "unavailable", 501 }, { "io", 500 }, { "memory", 503 }, { "teapot", 418 } };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char target[64];
        snprintf(target, sizeof target, "/api/fail/%s", rows[i].name);
        json_t *j = client_json(s->port, "GET", target, NULL, rows[i].status);
        if (rows[i].status != 418) {
            assert_string_equal(error_of(j, "code"), rows[i].name);
            assert_string_equal(error_of(j, "where"), "here");
            assert_string_equal(error_of(j, "what"), "it is <bad>");
            assert_string_equal(error_of(j, "expected"), "\"better\"");
        }
        json_decref(j);
    }
}

static void *many(void *arg)
{
    site *s = arg;
    for (int i = 0; i < 10; i++)
        json_decref(client_json(s->port, "GET", "/api/compute", NULL, 200));
    return NULL;
}

static void computing(void **state)
{
    site *s = *state;
    pthread_t t[8];
    for (int i = 0; i < 8; i++)
        assert_int_equal(pthread_create(&t[i], NULL, many, s), 0);
    for (int i = 0; i < 8; i++)
        pthread_join(t[i], NULL);
    assert_true(s->seen);
    assert_false(s->twice);
    assert_false(s->other_thread);
}

static void stopping(void **state)
{
    site *s = *state;
    static const char ask[] = "GET /api/compute HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    char head[64] = "";
    int fd[3];
    for (int i = 0; i < 3; i++) {
        fd[i] = client_open(s->port);
        assert_int_equal(send(fd[i], ask, sizeof ask - 1, 0), sizeof ask - 1);
    }
    while (!__atomic_load_n(&s->seen, __ATOMIC_SEQ_CST))
        nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
    sl_http_close(s->h); /* with one that computes and two that wait */
    for (int i = 0; i < 3; i++) {
        ssize_t n = recv(fd[i], head, sizeof head - 1, 0);
        assert_true(n >= 0 || i > 0);
        close(fd[i]);
    }
    sl_assert_ok(sl_http_open(s->ctx, &(sl_http_config){ .routes = ROUTES, .port = s->port, .user = s }, &s->h, &err)); /* at once, on the same port */
    assert_int_equal(sl_http_port(s->h), s->port);
    sl_cancel(s->ctx, 15);
    sl_http_wait(s->h);
}

static void ports(void **state)
{
    site *s = *state;
    sl_http *next = NULL;
    sl_assert_ok(sl_http_open(s->ctx, &(sl_http_config){ .port = s->port }, &next, &err));
    assert_true(sl_http_port(next) > s->port);
    char url[64];
    snprintf(url, sizeof url, "http://127.0.0.1:%d/", sl_http_port(next));
    assert_string_equal(sl_http_url(next), url);
    json_decref(client_json(sl_http_port(next), "GET", "/", NULL, 404));
    sl_http_close(next);
    sl_assert_fails(sl_http_open(s->ctx, &(sl_http_config){ .port = s->port, .tries = 1 }, &next, &err), SL_BUSY, "busy");
    sl_assert_fails(sl_http_open(s->ctx, &(sl_http_config){ .host = "192.0.2.7" }, &next, &err), SL_ARG, "not an address of this machine");
    sl_assert_fails(sl_http_open(s->ctx, &(sl_http_config){ .host = "no such host" }, &next, &err), SL_ARG, "no such host");
}

static void tunnels(void **state)
{
    site *s = *state;
    sl_http *h;
    char line[128];
    assert_string_equal(sl_http_tunnel(s->h), "");
    setenv("SSH_CONNECTION", "10.0.0.9 50000 10.0.0.1 22", 1);
    setenv("USER", "ada", 1);
    sl_assert_ok(sl_http_open(s->ctx, &(sl_http_config){ 0 }, &h, &err));
    snprintf(line, sizeof line, "ssh -N -L %d:127.0.0.1:%d ada@10.0.0.1", sl_http_port(h), sl_http_port(h));
    assert_string_equal(sl_http_tunnel(h), line);
    sl_http_close(h);
    sl_assert_ok(sl_http_open(s->ctx, &(sl_http_config){ .host = "0.0.0.0" }, &h, &err));
    assert_string_equal(sl_http_tunnel(h), "");
    sl_http_close(h);
    unsetenv("SSH_CONNECTION");
}

int main(void)
{
    unsetenv("SSH_CONNECTION");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(queries, set_up, tear_down),   cmocka_unit_test_setup_teardown(paths, set_up, tear_down),
        cmocka_unit_test_setup_teardown(methods, set_up, tear_down),   cmocka_unit_test_setup_teardown(bodies, set_up, tear_down),
        cmocka_unit_test_setup_teardown(framing, set_up, tear_down),   cmocka_unit_test_setup_teardown(files, set_up, tear_down),
        cmocka_unit_test_setup_teardown(failures, set_up, tear_down),  cmocka_unit_test_setup_teardown(computing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(stopping, set_up, tear_down),  cmocka_unit_test_setup_teardown(ports, set_up, tear_down),
        cmocka_unit_test_setup_teardown(tunnels, set_up, tear_down),
    };
    return cmocka_run_group_tests_name("http", tests, NULL, NULL);
}
