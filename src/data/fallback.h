/* Texts that need no network: the King James Bible of Debian's bible-kjv, and a built-in grammar. */
#ifndef SL_DATA_FALLBACK_H
#define SL_DATA_FALLBACK_H

#include <saelab/ctx.h>

/* The output of `bible -f gen1:1-rev22:21`: one verse a line, "Ge1:1 In the beginning ...". sl_free by the caller.
 * Returns SL_UNAVAILABLE (not installed), SL_DATA (not the whole text), SL_IO, SL_CANCELLED, SL_MEM. */
sl_status sl_king_james(sl_ctx *ctx, char **out, size_t *n, sl_err *err) SL_USE_RESULT;

/* At least min_bytes of English-like sentences from a context-free grammar with agreement in number, in paragraphs; the same for
 * the same seed on every machine. sl_free by the caller. Returns SL_MEM. */
sl_status sl_grammar_text(sl_ctx *ctx, uint64_t seed, size_t min_bytes, char **out, size_t *n, sl_err *err) SL_USE_RESULT;

#endif
