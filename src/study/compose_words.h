/* Names for latents and texts for rows, so that pictures of compositions can be read. */
#ifndef SL_STUDY_COMPOSE_WORDS_H
#define SL_STUDY_COMPOSE_WORDS_H

#include "study/stages.h"

#include <saelab/compose_eval.h>

typedef struct sl_words {
    sl_ctx *ctx;
    const sl_gathered *rows;
    const sl_world *world;      /* NULL: text */
    const sl_corpus *corpus;    /* of the text */
    const sl_world_truth *truth;/* or NULL */
    int32_t *meaning;           /* [d_sae] true feature with the largest phi of at least .5, or the token with the largest sum; -1: none */
    int64_t *fired;             /* [d_sae] rows */
} sl_words;

/* rows must outlive *out. SL_MEM; what making the corpus says. */
sl_status sl_words_new(sl_run *r, const sl_ground *g, const sl_gathered *rows, sl_words *out, sl_err *err) SL_USE_RESULT;
void sl_words_release(sl_words *w);
bool sl_words_fires(const sl_words *w, int32_t latent);
/* Strings, new references: "f12 (latent 3)", "'th' (latent 9)", "latent 7"; the text around a row, its token in brackets, or the features that
 * are on; a relation by its number as sl_composition_unit has it, null for -1. */
json_t *sl_words_latent(const sl_words *w, int32_t latent);
json_t *sl_words_row(const sl_words *w, int64_t row);
json_t *sl_words_relation(const sl_words *w, int32_t relation);

#endif
