/* The SAELens folder in parts: cfg.json read (saelens_cfg.c) and written (saelens_write.c), and the folder as a format (saelens.c). Key
 * names and meanings as in SAELens 6 (sae_lens/saes/sae.py) and before (sae_lens/loading/pretrained_sae_loaders.py). */
#ifndef SL_SAE_SAELENS_H
#define SL_SAE_SAELENS_H

#include "sae/formats/format.h"

sl_status sl_saelens_cfg_read(sl_ctx *ctx, const char *path, sl_sae_file *f, sl_err *err) SL_USE_RESULT;
json_t *sl_saelens_cfg_make(const sl_sae *s); /* NULL without memory */

#endif
