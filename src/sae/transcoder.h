/* What the transcoders share: all but the skip connection. */
#ifndef SL_SAE_TRANSCODER_H
#define SL_SAE_TRANSCODER_H

#include "sae/autotune.h"

extern const sl_opt sl_transcoder_opts[];
extern const sl_sae_scalar sl_transcoder_state[];

sl_status sl_transcoder_check(const void *opts, int64_t d_in, int64_t d_sae, sl_err *err) SL_USE_RESULT;
int64_t sl_transcoder_max_active(const void *opts, int64_t d_sae);
double sl_transcoder_l1(const sl_sae *s);
int64_t sl_transcoder_d_out(const void *opts, int64_t d_in);
void sl_transcoder_declare(sl_sae *s);
void sl_transcoder_init(sl_sae *s, const sl_kern *k);
sl_latents sl_transcoder_encode(sl_tape *t, const sl_sae *s, sl_var x, const sl_sae_batch *b);
sl_var sl_transcoder_loss(sl_tape *t, const sl_sae *s, const sl_sae_pass *p, const sl_sae_batch *b);
void sl_transcoder_after_step(sl_tape *t, sl_sae *s, const sl_sae_pass *p, const sl_sae_batch *b, const sl_sae_seen *seen);

#endif
