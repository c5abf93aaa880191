/* One training step of a variant under a peer's recipe, against what the peer computed (bench/peers/sae_goldens.py made the numbers). */
#ifndef SL_TEST_PEER_H
#define SL_TEST_PEER_H

#include "support.h"

#include "io/io.h"
#include "sae/variant.h"

typedef struct peer {
    sl_ctx *ctx;
    const char *name;           /* saelens, dictionary_learning, sparsify: also the recipe */
    sl_dict problem, golden;
    const char *golden_case;    /* of the last step */
    sl_sae *s;                  /* with the gradients of the last step; freed by the next one and by peer_close */
    double loss;
} peer;

typedef struct peer_step {
    const char *variant;
    const void *opts;
    const char *dead;           /* "dead", "few" or NULL */
    bool free_decoder;          /* W_dec_free in place of W_dec */
    bool folded;                /* rows of W_dec divided by their norms, those of W_enc and b_enc times them */
    bool whole_input;           /* the encoder sees x, not x - b_dec */
    const sl_recipe *recipe;    /* NULL: the peer's */
} peer_step;

void peer_open(peer *p, const char *name);
void peer_close(peer *p);
/* Forward, loss, backward and after_step on the golden problem; then p->loss and the gradients in p->s are set. */
void peer_run(peer *p, const char *golden_case, const peer_step *step);
const sl_recipe *peer_recipe(const char *name);
const float *peer_tensor(const peer *p, const char *golden_case, const char *name, int64_t *n); /* of the golden, "loss" or "g/W_enc" */
const float *peer_grad(const peer *p, const char *name); /* ours, of the last step */

/* f32 sums of up to 2048 terms in another order: rtol 1e-4 of each element, atol 1e-5 of the tensor's largest. */
bool peer_close_to(const char *what, const float *got, const float *ref, int64_t n, bool loud);
void peer_same_loss(const peer *p);
void peer_same_grad(const peer *p, const char *name);
/* Loss and the gradient of every parameter that the golden has; fails when it lacks one of ours. */
void peer_same(const peer *p);

#endif
