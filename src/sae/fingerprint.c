/* What an SAE makes of a fixed vector: one line by which the same SAE is known in another file. */
#include "sae/variant.h"

#include <math.h>
#include <stdio.h>

static double probe(int64_t j)
{
    return sqrt(2) * sin((double)j + 1);
}

sl_status sl_sae_fingerprint(sl_sae *s, sl_sae_print *out, sl_err *err)
{
    float *x = sl_alloc(s->ctx, (size_t)(s->d_in + s->d_out) * sizeof *x), *y = x ? x + s->d_in : NULL;
    sl_codes z = { 0 };
    sl_status st;
    *out = (sl_sae_print){ 0 };
    if (!x)
        return sl_fail(err, SL_MEM, "fingerprint", NULL, "no memory for a row");
    for (int64_t j = 0; j < s->d_in; j++)
        x[j] = (float)probe(j);
    SL_GO(sl_codes_new(s->ctx, 1, s->ops->max_active(s->opts, s->d_sae), &z, err));
    SL_GO(sl_sae_encode(s, x, 1, &z, y, err));
    out->l0 = z.row_ptr[1];
    for (int64_t i = 0; i < s->d_out; i++) {
        out->norm += (double)y[i] * (double)y[i];
        out->dot += (double)y[i] * probe(i);
    }
    out->norm = sqrt(out->norm);
    snprintf(out->text, sizeof out->text, "l0 %lld, |x^| %.6g, x.x^ %.6g", (long long)out->l0, out->norm, out->dot);
done:
    sl_codes_release(s->ctx, &z);
    sl_free(s->ctx, x);
    return st;
}

const char *sl_sae_note(const sl_sae *s, int i)
{
    return i >= 0 && i < s->notes.n ? s->notes.text[i] : NULL;
}
