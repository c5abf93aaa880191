/* jumprelu and gated against SAELens and dictionary_learning: loss and all gradients of one step; and the defects of peers that recipe
 * saelab does not share, both values of each. */
#include "peer.h"

enum { TARGET, L0, TANH };
static const sl_jumprelu_options l0 = { .penalty = L0, .weight = .4, .bandwidth = .3, .threshold = .01, .tanh_scale = 4 },
                                 tanh4 = { .penalty = TANH, .weight = .4, .bandwidth = .3, .threshold = .01, .tanh_scale = 4 },
                                 raised = { .penalty = L0, .weight = .4, .bandwidth = .3, .threshold = .01, .tanh_scale = 4, .pre_act = .3 },
                                 target = { .penalty = TARGET, .weight = .4, .bandwidth = .3, .threshold = .01, .tanh_scale = 4, .target_l0 = 5 };
static const sl_gated_options gates = { .l1 = .7 };

enum { D = 16, F = 64 };

/* g less its part along each row of W, as before an optimizer step with unit rows. */
static void project(const float *g, const float *W, float *out)
{
    for (int f = 0; f < F; f++) {
        double along = 0, sq = 0;
        for (int j = 0; j < D; j++) {
            along += (double)g[f * D + j] * (double)W[f * D + j];
            sq += (double)W[f * D + j] * (double)W[f * D + j];
        }
        for (int j = 0; j < D; j++)
            out[f * D + j] = (float)((double)g[f * D + j] - along / sq * (double)W[f * D + j]);
    }
}

/* SAELens weighs the term for dead latents by |d_j|, ours does not: the same for rows of norm 1 but for W_dec's gradient along them. */
static void jumprelu_pre_act(peer *p)
{
    static const char *const rest[] = { "W_enc", "b_enc", "b_dec", "threshold" };
    float ours[F * D], theirs[F * D];
    peer_run(p, "jumprelu_pre_act", &(peer_step){ .variant = "jumprelu", .opts = &raised, .dead = "dead" });
    peer_same_loss(p);
    for (int i = 0; i < 4; i++)
        peer_same_grad(p, rest[i]);
    project(peer_grad(p, "W_dec"), p->s->W_dec->value.data, ours);
    project(peer_tensor(p, "jumprelu_pre_act", "g/W_dec", NULL), p->s->W_dec->value.data, theirs);
    peer_close_to("projected W_dec", ours, theirs, F * D, true);
}

static void jumprelu_saelens(void **state)
{
    (void)state;
    peer p;
    peer_open(&p, "saelens");
    peer_run(&p, "jumprelu_step", &(peer_step){ .variant = "jumprelu", .opts = &l0, .free_decoder = true });
    peer_same(&p);
    peer_run(&p, "jumprelu_tanh", &(peer_step){ .variant = "jumprelu", .opts = &tanh4, .free_decoder = true });
    peer_same(&p);
    jumprelu_pre_act(&p);
    peer_close(&p);
}

/* dictionary_learning takes the step of the code instead of the pre-activation: only the threshold's gradient can tell. */
static void jumprelu_dictionary_learning(void **state)
{
    (void)state;
    peer p;
    int64_t n;
    peer_open(&p, "dictionary_learning");
    peer_step step = { .variant = "jumprelu", .opts = &target, .whole_input = true };
    peer_run(&p, "jumprelu", &step);
    peer_same(&p);
    sl_recipe ours = *peer_recipe("dictionary_learning");
    ours.step_on_code = false;
    step.recipe = &ours;
    peer_run(&p, "jumprelu", &step);
    peer_same_loss(&p);
    static const char *const rest[] = { "W_enc", "b_enc", "W_dec", "b_dec" };
    for (int i = 0; i < 4; i++)
        peer_same_grad(&p, rest[i]);
    const float *theirs = peer_tensor(&p, "jumprelu", "g/threshold", &n);
    assert_false(peer_close_to("threshold", peer_grad(&p, "threshold"), theirs, n, false));
    peer_close(&p);
}

/* SAELens lets the decoder learn from the auxiliary term; ours and dictionary_learning's do not: W_dec and b_dec differ, the rest does not. */
static void gated_saelens(void **state)
{
    (void)state;
    peer p;
    int64_t n;
    peer_open(&p, "saelens");
    peer_step step = { .variant = "gated", .opts = &gates, .free_decoder = true };
    peer_run(&p, "gated", &step);
    peer_same(&p);
    sl_recipe ours = *peer_recipe("saelens");
    ours.gated_detach = true;
    step.recipe = &ours;
    peer_run(&p, "gated", &step);
    peer_same_loss(&p);
    peer_same_grad(&p, "W_enc");
    const float *theirs = peer_tensor(&p, "gated", "g/W_dec", &n);
    assert_false(peer_close_to("W_dec", peer_grad(&p, "W_dec"), theirs, n, false));
    peer_close(&p);
}

static void gated_dictionary_learning(void **state)
{
    (void)state;
    peer p;
    peer_open(&p, "dictionary_learning");
    peer_run(&p, "gated", &(peer_step){ .variant = "gated", .opts = &gates });
    peer_same(&p);
    peer_close(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(jumprelu_saelens), cmocka_unit_test(jumprelu_dictionary_learning), cmocka_unit_test(gated_saelens),
        cmocka_unit_test(gated_dictionary_learning),
    };
    return cmocka_run_group_tests_name("sae_peer_gates", tests, NULL, NULL);
}
