/* The SAELens folder, described in two parts: cfg.json (saelens_cfg.c) and sae_weights.safetensors (saelens.c). Key names and meanings as
 * in SAELens 6 (decoderesearch/SAELens, sae_lens/saes/sae.py). */
#ifndef SL_SAE_SAELENS_H
#define SL_SAE_SAELENS_H

#include "io/io.h"
#include "sae/variant.h"

typedef struct sl_saelens_cfg {
    const sl_sae_ops *ops;
    void *opts;                     /* owned: sl_free */
    int64_t d_in, d_sae;
    bool apply_b_dec_to_input;
    bool rescale_by_decoder_norm;   /* topk: codes are a |d_j|, to be folded into the weights */
    char hook[96], model[128], dataset[64];
    float *mean;                    /* owned, or NULL */
    double scale;
    double state[SL_SAE_SCALARS];
} sl_saelens_cfg;

sl_status sl_saelens_cfg_read(sl_ctx *ctx, const char *path, sl_saelens_cfg *out, sl_err *err) SL_USE_RESULT; /* release in every case */
void sl_saelens_cfg_release(sl_ctx *ctx, sl_saelens_cfg *c);
json_t *sl_saelens_cfg_make(const sl_sae *s); /* NULL without memory */

#endif
