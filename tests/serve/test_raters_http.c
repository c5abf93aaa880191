/* The raters' server: what a link may do and what not, bent requests, twenty raters at once. `test_serve_raters_http SECONDS` keeps the twenty busy for
 * that long and prints how fast they were answered. */
#include "client.h"
#include "raters_material.h"

#include "serve/http.h"

#include <saelab/rng.h>
#include <pthread.h>
#include <time.h>

static sl_err err;
static double load_seconds; /* 0: a short one */

typedef struct site { sl_ctx *ctx; sl_raters *r; struct sl_http *h; int port; char dir[600]; char token[32][RATERS_TOKEN + 1]; } site;

static void open_site(site *s, const char *name, int n_methods, int64_t features, int raters)
{
    sl_raters_opts o;
    *s = (site){ .ctx = sl_test_ctx(1) };
    sl_opts_default(sl_raters_init_opts, &o);
    o.raters = o.per_feature = raters;
    o.session = 4;
    o.catches = 1;
    snprintf(s->dir, sizeof s->dir, "%s/study", sl_test_dir(name));
    s->r = material_study(s->ctx, s->dir, n_methods, features, 0, &o);
    material_tokens(s->dir, s->token, raters);
    sl_assert_ok(sl__raters_listen(s->r, &(sl_serve_config){ .host = "127.0.0.1", .port = 0 }, &s->h, &err));
    s->port = sl_http_port(s->h);
}

static void close_site(site *s)
{
    sl_http_close(s->h);
    sl_raters_close(s->r);
    sl_ctx_free(s->ctx);
}

/* One request with the link's secret (NULL: none). Free a.all. */
static answer ask(int port, const char *method, const char *target, const char *token, const char *body)
{
    char header[128];
    snprintf(header, sizeof header, "X-Rater: %s", token ? token : "");
    return client_ask_with(port, method, target, token ? header : NULL, body);
}

static json_t *ask_json(int port, const char *method, const char *target, const char *token, const char *body, int *status)
{
    answer a = ask(port, method, target, token, body);
    json_t *j = json_loads(a.body, 0, NULL);
    *status = a.status;
    free(a.all);
    return j;
}

static char *answer_body(const json_t *item, int k)
{
    json_t *body = json_pack("{s:O, s:o, s:i, s:s}", "item", json_object_get(item, "id"), "answer", material_answer(item, k), "ms", 1200 + k, "version", "test");
    char *text = json_dumps(body, JSON_COMPACT);
    json_decref(body);
    assert_non_null(text);
    return text;
}

static void all_hash(site *s, char hex[65])
{
    pthread_mutex_lock(&s->r->lock);
    sl_status st = sl__raters_hash(s->r, hex, &err);
    pthread_mutex_unlock(&s->r->lock);
    assert_int_equal(st, SL_OK);
}

/* ---- a link sees and changes its own ---- */

static void own_answers_only(void **state)
{
    (void)state;
    site s;
    int status;
    char before[65], after[65];
    open_site(&s, "own", 2, 2, 2);
    json_t *a = ask_json(s.port, "GET", "/api/rater/next", s.token[0], NULL, &status), *b = ask_json(s.port, "GET", "/api/rater/next", s.token[1], NULL, &status);
    const json_t *item_a = json_object_get(a, "item"), *item_b = json_object_get(b, "item");
    assert_int_equal(status, 200);
    assert_string_not_equal(json_string_value(json_object_get(item_a, "id")), json_string_value(json_object_get(item_b, "id")));
    assert_null(json_object_get(item_a, "key_hash"));
    char *body = answer_body(item_a, 1), *other = answer_body(item_a, 2);
    all_hash(&s, before);
    json_decref(ask_json(s.port, "POST", "/api/rater/answer", s.token[1], body, &status)); /* another rater's question, not up for this one */
    assert_int_equal(status, 400);
    const char *bad[] = { NULL, "", "x", "00000000000000000000000000000000", "' OR 1=1 --", "%00" };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        json_decref(ask_json(s.port, "POST", "/api/rater/answer", bad[i], body, &status));
        assert_int_equal(status, 403);
        json_decref(ask_json(s.port, "GET", "/api/rater/next", bad[i], NULL, &status));
        assert_int_equal(status, 403);
    }
    all_hash(&s, after);
    assert_string_equal(before, after);
    json_t *next = ask_json(s.port, "POST", "/api/rater/answer", s.token[0], body, &status);
    assert_true(status == 200 && json_integer_value(json_object_get(next, "done")) == 1);
    json_decref(next);
    all_hash(&s, before);
    next = ask_json(s.port, "POST", "/api/rater/answer", s.token[0], body, &status); /* replayed: kept once */
    assert_true(status == 200 && json_integer_value(json_object_get(next, "done")) == 1);
    json_decref(next);
    json_decref(ask_json(s.port, "POST", "/api/rater/answer", s.token[0], other, &status)); /* and never changed */
    assert_int_equal(status, 409);
    all_hash(&s, after);
    assert_string_equal(before, after);
    free(body);
    free(other);
    json_decref(a);
    json_decref(b);
    sl_assert_ok(sl_raters_freeze(s.r, &err));
    next = ask_json(s.port, "GET", "/api/rater/next", s.token[1], NULL, &status);
    assert_true(status == 200 && json_is_null(json_object_get(next, "item")));
    json_decref(next);
    json_decref(ask_json(s.port, "POST", "/api/rater/answer", s.token[1], "{\"item\":\"x\",\"answer\":{\"choice\":1},\"ms\":1,\"version\":\"t\"}", &status));
    assert_int_equal(status, 410);
    close_site(&s);
}

/* ---- bent requests ---- */

static void nothing_else_is_served(void **state)
{
    (void)state;
    site s;
    open_site(&s, "paths", 2, 2, 1);
    static const char *const target[] = { "/study.db", "/../study.db", "/%2e%2e/seal.key", "/seal.key", "/raters.txt", "/api/rater/next/../answer", "/api/raters", "/api/items", "//", "/raters.html/x" };
    for (size_t i = 0; i < sizeof target / sizeof *target; i++) {
        answer a = ask(s.port, "GET", target[i], s.token[0], NULL);
        assert_true(a.status == 404 || a.status == 400);
        free(a.all);
    }
    static const char *const page[] = { "/raters.html", "/raters.css", "/raters.js" };
    for (size_t i = 0; i < 3; i++) {
        answer a = ask(s.port, "GET", page[i], NULL, NULL);
        assert_true(a.status == 200 && a.n > 500);
        free(a.all);
    }
    answer a = ask(s.port, "DELETE", "/api/rater/answer", s.token[0], "{}");
    assert_int_equal(a.status, 405);
    free(a.all);
    close_site(&s);
}

/* Answers that are none, and a body larger than any answer. */
static void bad_answers(void **state)
{
    (void)state;
    site s;
    int status;
    char before[65], after[65], text[512];
    open_site(&s, "bad", 2, 2, 1);
    json_t *next = ask_json(s.port, "GET", "/api/rater/next", s.token[0], NULL, &status);
    const char *id = json_string_value(json_object_get(json_object_get(next, "item"), "id"));
    static const char *const value[] = { "null", "[]", "{}", "{\"choice\":-1}", "{\"choice\":5}", "{\"choice\":1.5}", "{\"choice\":\"1\"}", "{\"choice\":1,\"more\":2}", "{\"active\":[]}",
                                         "{\"score\":3,\"label\":\"\"}", "7", "\"1\"", "true", "{\"choice\":1e300}", "{\"choice\":99999999999999999999}" };
    all_hash(&s, before);
    for (size_t i = 0; i < sizeof value / sizeof *value; i++) {
        snprintf(text, sizeof text, "{\"item\":\"%s\",\"answer\":%s,\"ms\":10,\"version\":\"t\"}", id, value[i]);
        json_decref(ask_json(s.port, "POST", "/api/rater/answer", s.token[0], text, &status));
        assert_int_equal(status, 400);
    }
    static const char *const whole[] = { "", "[]", "{", "{\"item\":7}", "{\"item\":\"x\",\"version\":\"t\",\"ms\":-5,\"answer\":{}}", "{\"item\":\"x\",\"item\":\"y\"}" };
    for (size_t i = 0; i < sizeof whole / sizeof *whole; i++) {
        json_decref(ask_json(s.port, "POST", "/api/rater/answer", s.token[0], whole[i], &status));
        assert_int_equal(status, 400);
    }
    char *huge = malloc(2 << 20);
    memset(huge, ' ', 2 << 20);
    memcpy(huge, "{\"item\":\"", 9);
    huge[(2 << 20) - 1] = 0;
    json_decref(ask_json(s.port, "POST", "/api/rater/answer", s.token[0], huge, &status));
    assert_true(status == 413 || status == 0); /* the server may hang up before the client has sent it all */
    free(huge);
    all_hash(&s, after);
    assert_string_equal(before, after);
    json_decref(next);
    close_site(&s);
}

/* Valid requests with a few bytes changed: whatever they do, only the question that is up may get an answer, and that a valid one. */
static void fuzzed(void **state)
{
    (void)state;
    enum { TURNS = 300 };
    site s;
    int status;
    open_site(&s, "fuzz", 2, 2, 2);
    json_t *next = ask_json(s.port, "GET", "/api/rater/next", s.token[0], NULL, &status);
    char *body = answer_body(json_object_get(next, "item"), 1);
    for (int i = 0; i < TURNS; i++) {
        sl_rng r = sl_rng_at(3, SL_RNG_TEST, 0, (uint64_t)i);
        char bytes[2048];
        int n = snprintf(bytes, sizeof bytes, "POST /api/rater/answer HTTP/1.1\r\nHost: h\r\nX-Rater: %s\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s", s.token[0],
                         strlen(body), body);
        for (uint64_t k = 0, changes = 1 + sl_rng_below(&r, 4); k < changes; k++)
            bytes[sl_rng_below(&r, (uint64_t)n)] = (char)sl_rng_below(&r, 256);
        answer a = client_bytes(s.port, bytes, (size_t)n - (i % 7 == 0 ? sl_rng_below(&r, (uint64_t)n) : 0), true);
        assert_true(a.status < 500);
        free(a.all);
    }
    int64_t n = 0;
    pthread_mutex_lock(&s.r->lock);
    sl_assert_ok(sl__sql_int(s.r, &n, &err, "SELECT count(*) FROM answer WHERE rater <> 1 OR item <> ?", "t", json_string_value(json_object_get(json_object_get(next, "item"), "id"))));
    pthread_mutex_unlock(&s.r->lock);
    assert_int_equal(n, 0);
    free(body);
    json_decref(next);
    next = ask_json(s.port, "GET", "/api/rater/next", s.token[1], NULL, &status); /* it still serves */
    assert_int_equal(status, 200);
    json_decref(next);
    close_site(&s);
}

/* ---- twenty raters at once ---- */

enum { RATERS = 20, SHORT = 8 /* questions of the short version */, MOST = 4096 };

typedef struct person { const site *s; int number; int64_t answered, again, refused; char *sent[MOST]; char item[MOST][40]; double took[MOST]; int64_t n_took; bool bad; } person;

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* POSTs, timed; false when the status is not the one that is due. */
static bool post(person *p, const char *body, int due)
{
    double from = seconds();
    answer a = ask(p->s->port, "POST", "/api/rater/answer", p->s->token[p->number], body);
    if (p->n_took < MOST)
        p->took[p->n_took++] = seconds() - from;
    bool good = a.status == due;
    free(a.all);
    return good;
}

/* Answers question after question; now and then sends one twice, or changes its mind, which is refused. */
static void *one_person(void *arg)
{
    person *p = arg;
    double end = seconds() + load_seconds;
    for (int k = 0; !p->bad && k < MOST && (load_seconds > 0 ? seconds() < end : k < SHORT); k++) {
        int status;
        json_t *next = ask_json(p->s->port, "GET", "/api/rater/next", p->s->token[p->number], NULL, &status);
        const json_t *item = json_object_get(next, "item");
        if (status != 200 || !json_is_object(item)) {
            p->bad = status != 200;
            json_decref(next);
            break;
        }
        char *body = answer_body(item, k + p->number), *other = answer_body(item, k + p->number + 1);
        p->bad = !post(p, body, 200);
        snprintf(p->item[p->answered], sizeof p->item[0], "%s", json_string_value(json_object_get(item, "id")));
        json_t *value = material_answer(item, k + p->number);
        p->sent[p->answered++] = json_dumps(value, JSON_COMPACT | JSON_SORT_KEYS);
        json_decref(value);
        if (k % 5 == 0)
            p->bad = p->bad || !post(p, body, 200);
        if (k % 7 == 0)
            p->bad = p->bad || !post(p, other, 409);
        free(body);
        free(other);
        json_decref(next);
        if (load_seconds > 0)
            nanosleep(&(struct timespec){ .tv_nsec = 150000000 }, NULL);
    }
    return NULL;
}

static int rising(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Every acknowledged answer is there, once, as it was sent; and no other. */
static void check_store(site *s, person *p)
{
    int64_t all = 0, sum = 0;
    for (int q = 0; q < RATERS; q++) {
        assert_false(p[q].bad);
        sum += p[q].answered;
        for (int64_t k = 0; k < p[q].answered; k++) {
            int64_t n = 0;
            sl_assert_ok(sl__sql_int(s->r, &n, &err, "SELECT count(*) FROM answer WHERE rater = ? AND item = ? AND answer = ?", "itt", (int64_t)q + 1, p[q].item[k], p[q].sent[k]));
            assert_int_equal(n, 1);
            free(p[q].sent[k]);
        }
    }
    sl_assert_ok(sl__sql_int(s->r, &all, &err, "SELECT count(*) FROM answer", ""));
    assert_int_equal(all, sum);
    assert_true(all >= (load_seconds > 0 ? RATERS : RATERS * SHORT));
}

static void twenty_raters(void **state)
{
    (void)state;
    site s;
    pthread_t thread[RATERS];
    person *p = calloc(RATERS, sizeof *p);
    double *took = malloc(RATERS * MOST * sizeof *took);
    int64_t n = 0;
    assert_true(p && took);
    open_site(&s, "twenty", 2, load_seconds > 0 ? 40 : 1, RATERS);
    for (int q = 0; q < RATERS; q++) {
        p[q].s = &s;
        p[q].number = q;
        assert_int_equal(pthread_create(&thread[q], NULL, one_person, &p[q]), 0);
    }
    for (int q = 0; q < RATERS; q++)
        pthread_join(thread[q], NULL);
    check_store(&s, p);
    for (int q = 0; q < RATERS; q++)
        for (int64_t k = 0; k < p[q].n_took; k++)
            took[n++] = p[q].took[k];
    qsort(took, (size_t)n, sizeof *took, rising);
    printf("20 raters: %lld answers sent, median %.1f ms, p99 %.1f ms\n", (long long)n, 1e3 * took[n / 2], 1e3 * took[n * 99 / 100]);
    close_site(&s);
    free(took);
    free(p);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(own_answers_only), cmocka_unit_test(nothing_else_is_served), cmocka_unit_test(bad_answers), cmocka_unit_test(fuzzed),
                                        cmocka_unit_test(twenty_raters) };
    const struct CMUnitTest load[] = { cmocka_unit_test(twenty_raters) };
    load_seconds = argc > 1 ? atof(argv[1]) : 0;
    return load_seconds > 0 ? cmocka_run_group_tests_name("raters load", load, NULL, NULL) : cmocka_run_group_tests_name("raters http", tests, NULL, NULL);
}
