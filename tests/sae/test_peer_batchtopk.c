/* batchtopk and matryoshka against SAELens and dictionary_learning: loss, all gradients and the threshold after one step. */
#include "peer.h"

static const char prefixes[] = "0.125,0.375,1"; /* 8, 24 and 64 latents */

static void same_with_threshold(const peer *p)
{
    float theta = (float)p->s->state[0];
    peer_same(p);
    peer_close_to("threshold", &theta, peer_tensor(p, p->golden_case, "threshold", NULL), 1, true);
}

static void batchtopk(const char *name, double aux_alpha)
{
    peer p;
    sl_batchtopk_options o = { .k = 4, .aux_alpha = aux_alpha };
    peer_open(&p, name);
    peer_run(&p, "batchtopk", &(peer_step){ .variant = "batchtopk", .opts = &o });
    same_with_threshold(&p);
    peer_run(&p, "batchtopk_auxk", &(peer_step){ .variant = "batchtopk", .opts = &o, .dead = "dead" });
    same_with_threshold(&p);
    peer_close(&p);
}

static void batchtopk_saelens(void **state)
{
    (void)state;
    batchtopk("saelens", .5);
}

static void batchtopk_dictionary_learning(void **state)
{
    (void)state;
    batchtopk("dictionary_learning", 1 / 32.);
}

static void matryoshka(const char *name, double aux_alpha)
{
    peer p;
    sl_matryoshka_options o = { .k = 4, .prefixes = prefixes, .aux_alpha = aux_alpha };
    peer_open(&p, name);
    peer_run(&p, "matryoshka", &(peer_step){ .variant = "matryoshka", .opts = &o });
    same_with_threshold(&p);
    peer_run(&p, "matryoshka_auxk", &(peer_step){ .variant = "matryoshka", .opts = &o, .dead = "dead" });
    same_with_threshold(&p);
    peer_close(&p);
}

static void matryoshka_saelens(void **state)
{
    (void)state;
    matryoshka("saelens", .5);
}

/* Its weights 1 / G are averaged over the G prefixes once more, so that each counts 1 / G^2. Ours are 1 / G: both values. */
static void matryoshka_dictionary_learning(void **state)
{
    (void)state;
    matryoshka("dictionary_learning", 1 / 32.);
    peer p;
    sl_recipe once = *peer_recipe("dictionary_learning");
    once.prefix_mean = peer_recipe("saelab")->prefix_mean;
    peer_open(&p, "dictionary_learning");
    peer_run(&p, "matryoshka", &(peer_step){ .variant = "matryoshka", .opts = &(sl_matryoshka_options){ .k = 4, .prefixes = prefixes }, .recipe = &once });
    float third = (float)(p.loss / 3);
    peer_close_to("a third of our loss", &third, peer_tensor(&p, "matryoshka", "loss", NULL), 1, true);
    peer_close(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(batchtopk_saelens), cmocka_unit_test(batchtopk_dictionary_learning), cmocka_unit_test(matryoshka_saelens),
        cmocka_unit_test(matryoshka_dictionary_learning),
    };
    return cmocka_run_group_tests_name("sae_peer_batchtopk", tests, NULL, NULL);
}
