/* Rows through a bank are the source's rows, whoever asks first, in whatever pieces, and beyond its room. */
#include "study/bank.h"
#include "support.h"

#include <saelab/world.h>

#include <string.h>

enum { D = 64, ROWS = 300, FROM = 1000 };

static sl_act_source *open_world(sl_world *w)
{
    sl_err err;
    sl_act_source *s;
    sl_assert_ok(sl_world_open(w, SL_WORLD_TRAIN, &s, &err));
    return s;
}

/* Rows at .. at + n of a source in pieces. */
static void read_rows(sl_act_source *s, int64_t at, int64_t n, int64_t piece, float *x, int64_t *row)
{
    sl_err err;
    sl_act_batch b;
    sl_assert_ok(s->seek(s, at, &err));
    for (int64_t have = 0; have < n; have += b.n) {
        sl_assert_ok(s->next(s, n - have < piece ? n - have : piece, &b, &err));
        memcpy(x + have * D, b.x, (size_t)(b.n * D) * sizeof *x);
        memcpy(row + have, b.row, (size_t)b.n * sizeof *row);
    }
}

static void rows_are_the_sources(void **state)
{
    (void)state;
    static float want[ROWS * D], got[ROWS * D];
    int64_t want_row[ROWS], got_row[ROWS];
    sl_err err;
    sl_ctx *ctx = sl_test_ctx(1);
    sl_world *w;
    sl_bank *b;
    sl_assert_ok(sl_world_new(ctx, "toy_128", NULL, 3, &w, &err));
    sl_act_source *s = open_world(w), *through;
    read_rows(s, FROM, ROWS, 64, want, want_row);
    sl_act_source_free(s);
    sl_assert_ok(sl_bank_new(ctx, 200, D, &b, &err)); /* less room than rows */
    for (int turn = 0; turn < 4; turn++) {
        static const int64_t piece[] = { 50, 7, 64, 300 };
        sl_assert_ok(sl_bank_open(b, open_world(w), FROM, &through, &err));
        read_rows(through, 0, ROWS, piece[turn], got, got_row);
        sl_assert_same_bits("rows", got, want, sizeof want);
        sl_assert_same_bits("row ids", got_row, want_row, sizeof want_row);
        read_rows(through, 150, 100, piece[turn], got, got_row); /* as after a resume */
        sl_assert_same_bits("rows from 150", got, want + 150 * D, 100 * D * sizeof *want);
        assert_true(b->n <= b->room && through->info.d_in == D);
        sl_act_source_free(through);
    }
    sl_bank_free(b);
    sl_assert_ok(sl_bank_new(ctx, 200, D + 1, &b, &err));
    sl_assert_fails(sl_bank_open(b, open_world(w), 0, &through, &err), SL_SHAPE, "another width");
    sl_bank_free(b);
    sl_bank_free(NULL);
    sl_world_free(w);
    sl_ctx_free(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(rows_are_the_sources) };
    return cmocka_run_group_tests_name("study_bank", tests, NULL, NULL);
}
