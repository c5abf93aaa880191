/* topk against SAELens, dictionary_learning and sparsify: loss and all gradients of one step, with and without AuxK; and the two defects
 * of peers in AuxK that topk does not share, both values of each. */
#include "peer.h"

#include <stdio.h>

static const sl_topk_options plain = { .k = 4, .aux_alpha = 0 }, half = { .k = 4, .aux_alpha = .5 }, paper = { .k = 4, .aux_alpha = 1 / 32. };

static void saelens(void **state)
{
    (void)state;
    peer p;
    peer_open(&p, "saelens");
    peer_run(&p, "topk", &(peer_step){ .variant = "topk", .opts = &plain });
    peer_same(&p);
    peer_run(&p, "topk_auxk", &(peer_step){ .variant = "topk", .opts = &half, .dead = "dead" });
    peer_same(&p);
    peer_close(&p);
}

static void dictionary_learning(void **state)
{
    (void)state;
    peer p;
    peer_open(&p, "dictionary_learning");
    peer_run(&p, "topk", &(peer_step){ .variant = "topk", .opts = &paper });
    peer_same(&p);
    peer_run(&p, "topk_auxk", &(peer_step){ .variant = "topk", .opts = &paper, .dead = "dead" });
    peer_same(&p);
    peer_run(&p, "topk_auxk_few", &(peer_step){ .variant = "topk", .opts = &paper, .dead = "few" });
    peer_same(&p);
    peer_close(&p);
}

static void sparsify(void **state)
{
    (void)state;
    peer p;
    peer_open(&p, "sparsify");
    peer_run(&p, "topk", &(peer_step){ .variant = "topk", .opts = &plain });
    peer_same(&p);
    peer_close(&p);
}

/* sparsify's fused encoder drops the gradient of AuxK: W_enc, b_enc, and b_dec as far as it is in the encoder's input, get what they
 * get without AuxK. Ours get it: theirs is exactly what ours loses when AuxK's weight is 0. */
static void sparsify_encoder_gets_nothing_from_auxk(void **state)
{
    (void)state;
    static const char *const encoder[] = { "W_enc", "b_enc", "b_dec" };
    static const char *const cases[][2] = { { "topk_auxk", "dead" }, { "topk_auxk_few", "few" } };
    peer p;
    peer_open(&p, "sparsify");
    for (int c = 0; c < 2; c++) {
        char name[16];
        int64_t n;
        peer_run(&p, cases[c][0], &(peer_step){ .variant = "topk", .opts = &half, .dead = cases[c][1] });
        peer_same_loss(&p);
        peer_same_grad(&p, "W_dec");
        for (int i = 0; i < 3; i++) {
            snprintf(name, sizeof name, "g/%s", encoder[i]);
            const float *theirs = peer_tensor(&p, cases[c][0], name, &n);
            peer_close_to(name, theirs, peer_tensor(&p, "topk", name, NULL), n, true);
            assert_false(peer_close_to(name, peer_grad(&p, encoder[i]), theirs, n, false));
        }
    }
    peer_close(&p);
}

enum { B = 32, D = 16, F = 64, FEW = 5 };

/* ramp / B sum |e - sum a_j d_j|^2 over the last five latents, all or only the positive; e of the pass without AuxK. */
static double auxk_of_few(const peer *p, const float *e, bool negative_too)
{
    const float *x = sl_dict_get(&p->problem, "x")->data, *We = sl_dict_get(&p->problem, "W_enc")->data, *Wd = sl_dict_get(&p->problem, "W_dec")->data;
    const float *be = sl_dict_get(&p->problem, "b_enc")->data, *bd = sl_dict_get(&p->problem, "b_dec")->data;
    double sum = 0;
    for (int r = 0; r < B; r++) {
        double left[D];
        for (int j = 0; j < D; j++)
            left[j] = (double)e[r * D + j];
        for (int f = F - FEW; f < F; f++) {
            double a = (double)be[f];
            for (int j = 0; j < D; j++)
                a += (double)We[f * D + j] * ((double)x[r * D + j] - (double)bd[j]);
            for (int j = 0; j < D && (a > 0 || negative_too); j++)
                left[j] -= a * (double)Wd[f * D + j];
        }
        for (int j = 0; j < D; j++)
            sum += left[j] * left[j];
    }
    return FEW / (double)(D / 2) * sum / B;
}

/* SAELens takes the largest dead latents without a ReLU: when fewer are dead than k_aux, negative ones explain the residual too, though
 * no latent can be negative. Ours takes the positive ones. Both values, from plain loops. */
static void saelens_auxk_takes_negative_latents(void **state)
{
    (void)state;
    peer p;
    float e[B * D];
    sl_err err;
    peer_open(&p, "saelens");
    peer_run(&p, "topk", &(peer_step){ .variant = "topk", .opts = &plain });
    double base = p.loss;
    const float *x = sl_dict_get(&p.problem, "x")->data;
    sl_codes z;
    sl_assert_ok(sl_codes_new(p.ctx, B, 4, &z, &err));
    sl_assert_ok(sl_sae_encode(p.s, x, B, &z, e, &err));
    for (int i = 0; i < B * D; i++)
        e[i] = x[i] - e[i];
    sl_codes_release(p.ctx, &z);
    float theirs = (float)(base + .5 * auxk_of_few(&p, e, true)), ours = (float)(base + .5 * auxk_of_few(&p, e, false));
    peer_run(&p, "topk_auxk_few", &(peer_step){ .variant = "topk", .opts = &half, .dead = "few" });
    float got = (float)p.loss;
    peer_close_to("SAELens's loss", peer_tensor(&p, "topk_auxk_few", "loss", NULL), &theirs, 1, true);
    peer_close_to("our loss", &got, &ours, 1, true);
    assert_false(peer_close_to("losses", &theirs, &ours, 1, false));
    peer_close(&p);
}

/* SAELens selects by a_j |d_j|, as if rows had norm 1. Ours by a_j: the same once the norms are folded into the encoder, as in its files. */
static void saelens_selects_by_scaled_latents(void **state)
{
    (void)state;
    peer p;
    peer_open(&p, "saelens");
    peer_run(&p, "topk_free", &(peer_step){ .variant = "topk", .opts = &plain, .free_decoder = true, .folded = true });
    peer_same_loss(&p);
    peer_same_grad(&p, "b_dec");
    peer_run(&p, "topk_free", &(peer_step){ .variant = "topk", .opts = &plain, .free_decoder = true });
    float unfolded = (float)p.loss;
    assert_false(peer_close_to("loss", &unfolded, peer_tensor(&p, "topk_free", "loss", NULL), 1, false));
    peer_close(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(saelens), cmocka_unit_test(dictionary_learning), cmocka_unit_test(sparsify),
        cmocka_unit_test(sparsify_encoder_gets_nothing_from_auxk), cmocka_unit_test(saelens_auxk_takes_negative_latents),
        cmocka_unit_test(saelens_selects_by_scaled_latents),
    };
    return cmocka_run_group_tests_name("sae_peer_topk", tests, NULL, NULL);
}
