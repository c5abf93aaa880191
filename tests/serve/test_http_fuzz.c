/* Broken requests: bytes of good ones changed, cut, doubled and joined. The server answers or hangs up, never a file, and goes on serving. */
#include "client.h"

#include "serve/http.h"

#include <saelab/rng.h>

enum { ROUNDS = 400, LONGEST = 1 << 14 };
static const char SECRET[] = "root:x:";

static sl_status take(void *user, const sl_http_req *q, sl_http_reply *r, sl_err *e)
{
    const char *text;
    (void)user;
    SL_TRY(sl_http_body_text(q, "text", 100, &text, e));
    r->json = json_pack("{s:s}", "text", text);
    return SL_OK;
}

static sl_status show(void *user, const sl_http_req *q, sl_http_reply *r, sl_err *e)
{
    int64_t n;
    (void)user;
    SL_TRY(sl_http_query_int(q, "n", 0, 0, 10, &n, e));
    r->json = json_pack("{s:s, s:I}", "part", q->part[0], "n", (json_int_t)n);
    return SL_OK;
}

static const sl_http_route ROUTES[] = { { "POST", "api/take", take, 0, 256 }, { "GET", "api/show/:", show, SL_HTTP_COMPUTE, 0 }, { NULL, NULL, NULL, 0, 0 } };
static const unsigned char PAGE[] = "page";
static const sl_http_file FILES[] = { { "index.html", PAGE, 4 }, { NULL, NULL, 0 } };

static const char *const SEEDS[] = {
    "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    "GET /api/show/x?n=3&m=%41 HTTP/1.1\r\nHost: a\r\nCookie: a=b; c=d\r\nConnection: close\r\n\r\n",
    "GET /../../../../etc/passwd HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    "GET /api/show/..%2f..%2f..%2fetc%2fpasswd HTTP/1.0\r\n\r\n",
    "GET //etc/passwd HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    "POST /api/take HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 12\r\nConnection: close\r\n\r\n{\"text\":\"a\"}",
    "POST /api/take HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\nffffffff\r\n{}\r\n0\r\n\r\n",
    "POST /api/take HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: -1\r\nContent-Length: 5\r\nConnection: close\r\n\r\n{}",
};
enum { N_SEEDS = sizeof SEEDS / sizeof *SEEDS };

static uint32_t below(sl_rng *r, size_t n) { return (uint32_t)sl_rng_below(r, n); }

/* One broken request in `out`; its length. */
static size_t broken(sl_rng *d, char out[2 * LONGEST])
{
    static const char *const bits[] = { "%00", "%", "../", "\r\n", "\r\n\r\n", "\xff\xfe", "{", "\"", "Content-Length: 999999\r\n", "Host: b\r\n", "HTTP/9.9", "/" };
    size_t n = 0;
    for (uint32_t k = 0; k <= below(d, 2); k++) {
        const char *s = SEEDS[below(d, N_SEEDS)];
        memcpy(out + n, s, strlen(s));
        n += strlen(s);
    }
    for (uint32_t k = below(d, 6); k-- > 0;) {
        size_t at = below(d, n);
        switch (below(d, 4)) {
        case 0: out[at] = (char)below(d, 256); break;
        case 1: n = at + 1; break;
        case 2: {
            const char *b = bits[below(d, sizeof bits / sizeof *bits)];
            memmove(out + at + strlen(b), out + at, n - at);
            memcpy(out + at, b, strlen(b));
            n += strlen(b);
            break;
        }
        default: {
            size_t more = below(d, LONGEST / 8);
            memmove(out + at + more, out + at, n - at);
            memset(out + at, 'A', more);
            n += more;
        }
        }
    }
    return n;
}

static void breaking(void **state)
{
    static char bytes[8 * LONGEST];
    sl_err err;
    sl_http *h;
    sl_rng d = sl_rng_at(7, SL_RNG_TEST, 0, 0);
    int answered = 0;
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    sl_assert_ok(sl_http_open(ctx, &(sl_http_config){ .routes = ROUTES, .files = FILES }, &h, &err));
    int port = sl_http_port(h);
    for (int i = 0; i < ROUNDS; i++) {
        size_t n = i < N_SEEDS ? strlen(SEEDS[i]) : broken(&d, bytes);
        answer a = client_bytes(port, i < N_SEEDS ? SEEDS[i] : bytes, n, true);
        answered += a.status >= 200 && a.status < 600;
        assert_true(a.status == 0 || (a.status >= 200 && a.status < 600));
        assert_null(strstr(a.body, SECRET));
        free(a.all);
        if (i % 50 == 0) {
            answer good = client_ask(port, "GET", "/", NULL);
            assert_int_equal(good.status, 200);
            free(good.all);
        }
    }
    assert_true(answered > ROUNDS / 4);
    /* a body that never ends, and one that is far too large */
    memset(bytes, ' ', sizeof bytes);
    int head = snprintf(bytes, sizeof bytes, "POST /api/take HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n", 1 << 30);
    bytes[head] = ' ';
    answer a = client_bytes(port, bytes, sizeof bytes, true);
    assert_true(a.status == 413 || a.status == 0);
    free(a.all);
    a = client_ask(port, "GET", "/api/show/x?n=3", NULL);
    assert_int_equal(a.status, 200);
    free(a.all);
    sl_http_close(h);
    sl_ctx_free(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(breaking) };
    return cmocka_run_group_tests_name("http fuzz", tests, NULL, NULL);
}
