/* make_fixture DIR: the folder that the tests of the pages browse. */
#include "fixture.h"

#include <stdio.h>

int main(int argc, char **argv)
{
    sl_err err;
    sl_ctx *ctx = sl_ctx_new(NULL);
    if (argc != 2 || !ctx)
        return 2;
    sl_status st = fixture_make(ctx, argv[1], &err);
    if (st != SL_OK)
        fprintf(stderr, "make_fixture: %s\n", err.msg);
    sl_ctx_free(ctx);
    return st != SL_OK;
}
