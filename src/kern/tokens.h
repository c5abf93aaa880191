/* What the kernels of tokens (sl_tokens in kern.h) share, plain and of vectors. */
#ifndef SL_KERN_TOKENS_H
#define SL_KERN_TOKENS_H

#include "kern/kern.h"

#include <assert.h>

typedef struct token_row { int64_t e0, n; } token_row; /* its entries e0 .. e0 + n - 1 */

static inline token_row row_of_tokens(const sl_tokens *a, int64_t r)
{
    token_row t = { a->z->row_ptr[r], a->z->row_ptr[r + 1] - a->z->row_ptr[r] };
    assert(t.n <= SL_TOKENS_MAX);
    return t;
}

static inline token_row partner_of(const sl_tokens *a, int64_t r) { return row_of_tokens(a, (r + a->z->n_rows / 2) % a->z->n_rows); }
static inline int64_t table_row(const sl_tokens *a, int64_t e) { return a->by_token ? e : a->z->idx[e]; }
static inline int64_t n_listed(const sl_tokens *a, int64_t n) { return a->keep < n ? a->keep : n; }
static inline int64_t n_tokens(const sl_tokens *a) { return a->z->row_ptr[a->z->n_rows]; }

static inline uint8_t *places_of(const sl_tensor *at)
{
    assert(at->dtype == SL_U8);
    return at->data;
}

/* Gradients with respect to w are sums over so many chunks of rows, whatever the threads. */
enum { TOKEN_CHUNKS = 64 };

#endif
