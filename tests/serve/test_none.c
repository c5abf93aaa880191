/* The stand-in of a build without the server's libraries says what to install. */
#include "support.h"

#include <saelab/marks.h>
#include <saelab/serve.h>
#include <string.h>

static void says_what_to_install(void **state)
{
    sl_err err;
    sl_server *s;
    sl_marks *m;
    (void)state;
    sl_assert_fails(sl_serve_open(NULL, 0, NULL, NULL, &s, &err), SL_UNAVAILABLE, "libmicrohttpd-dev");
    assert_null(s);
    sl_assert_fails(sl_marks_open(NULL, "x", &m, &err), SL_UNAVAILABLE, "libsqlite3-dev");
    assert_null(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(says_what_to_install) };
    return cmocka_run_group_tests_name("serve none", tests, NULL, NULL);
}
