/* standard against SAELens's standard and dictionary_learning's two trainers: loss and all gradients of one step. */
#include "peer.h"

static void saelens(void **state)
{
    (void)state;
    peer p;
    peer_open(&p, "saelens");
    peer_run(&p, "standard", &(peer_step){ .variant = "standard", .opts = &(sl_standard_options){ .l1 = .7, .decoder = 1 }, .free_decoder = true });
    peer_same(&p);
    peer_close(&p);
}

static void dictionary_learning(void **state)
{
    (void)state;
    peer p;
    peer_open(&p, "dictionary_learning");
    peer_run(&p, "standard", &(peer_step){ .variant = "standard", .opts = &(sl_standard_options){ .l1 = .7, .decoder = 0 } });
    peer_same(&p);
    peer_run(&p, "april", &(peer_step){ .variant = "standard", .opts = &(sl_standard_options){ .l1 = .7, .decoder = 1 }, .free_decoder = true });
    peer_same(&p);
    peer_close(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(saelens), cmocka_unit_test(dictionary_learning) };
    return cmocka_run_group_tests_name("sae_peer_standard", tests, NULL, NULL);
}
