/* Reading ahead changes nothing: rows, order, errors and their places are the source's own. */
#include "support.h"

#include <saelab/data.h>

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { D = 3, D_OUT = 2, N = 100, MOST = 64 };

/* Row r is r, r + .5, -r; its target 2 r, 1. Batches end at row N as a store's do not, so that shorter ones are seen too. */
typedef struct counting {
    sl_act_source src;
    int64_t at, calls, seeks, fail_at; /* fail_at: the row at which reading fails; -1: never */
    bool bare;                          /* only x */
    pthread_t reader;
    float x[MOST * D], y[MOST * D_OUT];
    int64_t row[MOST];
    int32_t token[MOST];
    bool closed;
} counting;

static sl_status next(sl_act_source *s, int64_t n, sl_act_batch *out, sl_err *err)
{
    counting *c = s->impl;
    c->calls++;
    c->reader = pthread_self();
    int64_t first = c->at % N;
    n = N - first < n ? N - first : n;
    if (c->fail_at >= c->at && c->fail_at < c->at + n)
        return sl_fail(err, SL_NUMERIC, "counting", NULL, "row %lld is bad", (long long)c->fail_at);
    for (int64_t i = 0; i < n; i++) {
        float r = (float)(first + i);
        memcpy(c->x + i * D, (float[]){ r, r + .5f, -r }, D * sizeof *c->x);
        memcpy(c->y + i * D_OUT, (float[]){ 2 * r, 1 }, D_OUT * sizeof *c->y);
        c->row[i] = first + i;
        c->token[i] = (int32_t)(1000 + first + i);
    }
    c->at += n;
    *out = (sl_act_batch){ .x = c->x, .n = n, .row = c->bare ? NULL : c->row, .token = c->bare ? NULL : c->token, .y = c->bare ? NULL : c->y };
    return SL_OK;
}

static sl_status seek(sl_act_source *s, int64_t row, sl_err *err)
{
    counting *c = s->impl;
    if (row < 0)
        return sl_fail(err, SL_ARG, "counting", NULL, "seek to row %lld", (long long)row);
    c->seeks++;
    c->at = row;
    return SL_OK;
}

static void close_counting(sl_act_source *s) { ((counting *)s->impl)->closed = true; }

static sl_act_source *start(sl_ctx *ctx, counting *c)
{
    sl_err err;
    sl_act_source *s;
    *c = (counting){ .fail_at = -1 };
    c->src = (sl_act_source){ .info = { .n_rows = N, .d_in = D, .d_out = D_OUT, .scale = 1 }, .impl = c, .next = next, .seek = seek, .close = close_counting };
    sl_assert_ok(sl_acts_prefetch(ctx, &c->src, &s, &err));
    assert_int_equal(s->info.n_rows, N);
    assert_int_equal(s->info.d_out, D_OUT);
    return s;
}

/* The batch that begins at row `first`, asked for as n rows. */
static void expect(sl_act_source *s, int64_t first, int64_t n)
{
    sl_err err;
    sl_act_batch b;
    sl_assert_ok(s->next(s, n, &b, &err));
    assert_int_equal(b.n, N - first % N < n ? N - first % N : n);
    assert_null(b.doc);
    assert_null(b.pos);
    for (int64_t i = 0; i < b.n; i++) {
        float r = (float)((first + i) % N);
        sl_assert_same_bits("x", b.x + i * D, (float[]){ r, r + .5f, -r }, D * sizeof *b.x);
        sl_assert_same_bits("y", b.y + i * D_OUT, (float[]){ 2 * r, 1 }, D_OUT * sizeof *b.y);
        assert_int_equal(b.row[i], (first + i) % N);
        assert_int_equal(b.token[i], 1000 + (first + i) % N);
    }
}

static void same_rows(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    counting c;
    sl_err err;
    sl_act_source *s = start(ctx, &c);
    for (int64_t at = 0; at < 3 * N; at += N - at % N < 16 ? N - at % N : 16)
        expect(s, at, 16);
    expect(s, 0, 7); /* other sizes: what was read ahead is read again, cut anew */
    expect(s, 7, 7);
    expect(s, 14, 50);
    sl_assert_ok(s->seek(s, 33, &err));
    expect(s, 33, 50);
    expect(s, 83, 50);
    expect(s, 100, 50);
    assert_false(pthread_equal(c.reader, pthread_self()));
    assert_false(c.closed);
    sl_act_source_free(s);
    assert_true(c.closed);
    sl_ctx_free(ctx);
}

static void only_x(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    counting c;
    sl_err err;
    sl_act_batch b;
    sl_act_source *s = start(ctx, &c);
    c.bare = true;
    sl_assert_ok(s->next(s, 4, &b, &err));
    assert_null(b.row);
    assert_null(b.token);
    assert_null(b.y);
    sl_act_source_free(s);
    sl_ctx_free(ctx);
}

/* A row that cannot be read is told when its batch is asked for, not before, and once it can be read reading goes on. */
static void failures(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    counting c;
    sl_err err;
    sl_act_batch b;
    sl_act_source *s = start(ctx, &c);
    c.fail_at = 25;
    expect(s, 0, 10);
    expect(s, 10, 10);
    sl_assert_fails(s->next(s, 10, &b, &err), SL_NUMERIC, "row 25 is bad");
    sl_assert_fails(s->next(s, 10, &b, &err), SL_NUMERIC, "row 25 is bad");
    sl_assert_ok(s->seek(s, 0, &err));
    c.fail_at = -1;
    expect(s, 0, 10);
    sl_assert_fails(s->next(s, 0, &b, &err), SL_ARG, "a batch of 0 rows");
    sl_assert_fails(s->seek(s, -2, &err), SL_ARG, "seek to row -2");
    expect(s, 10, 10);
    sl_act_source_free(s);
    c.src.info.n_rows = -1;
    c.closed = false;
    sl_assert_fails(sl_acts_prefetch(ctx, &c.src, &s, &err), SL_ARG, "rows of a world");
    assert_null(s);
    assert_true(c.closed); /* taken all the same */
    sl_ctx_free(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(same_rows), cmocka_unit_test(only_x), cmocka_unit_test(failures) };
    return cmocka_run_group_tests_name("data_acts_prefetch", tests, NULL, NULL);
}
