/* Matryoshka SAE on BatchTopK (Bussmann, Nabeshima, Karvonen, Nanda 2025, arXiv 2503.17547).
 *   z as BatchTopK's      x^_{1:g} = b_dec + sum_{j < g} z_j d_j      prefixes g_1 < ... < g_G = d_sae
 *   L = sum_i w |x - x^_{1:g_i}|^2 / (B d_bar) + aux_alpha AuxK      w = 1 / G
 * Each prefix must reconstruct alone, so that early latents stay general. AuxK looks at the whole. x^_{1:g_i} is made from
 * x^_{1:g_(i-1)} and the slice between, so that all prefixes cost one decoding. Differs from the paper: w is 1 / G, theirs 1 (recipe
 * saelens), dictionary_learning's 1 / G^2; d_bar (recipe saelab). Saved for SAELens as jumprelu, as BatchTopK.
 * matryoshka_topk: the same loss on TopK's z, for comparisons among SAEs that all have exactly k latents a row; saved as topk. */
#include "sae/batchtopk.h"

#include <math.h>
#include <stdlib.h>

enum { MAX_PREFIXES = 16 };

static const sl_opt options[] = {
    SL_OPT_INT(sl_matryoshka_options, k, 32, 1, 65536, "latents", "active latents a row, on average over a batch"),
    SL_OPT_STR(sl_matryoshka_options, prefixes, "0.03125,0.125,0.5,1", "ends of the nested prefixes: shares of the width, rising to 1"),
    SL_OPT_INT(sl_matryoshka_options, k_aux, 0, 0, 1 << 20, "latents", "dead latents in AuxK; 0: half of d_in"),
    SL_OPT_FLOAT(sl_matryoshka_options, aux_alpha, 1 / 32., 0, 1e3, "", "weight of AuxK; 0: off"),
    SL_OPT_END
};

static const sl_sae_scalar state[] = { SL_BATCHTOPK_STATE, { 0 } };

/* Ends of the prefixes in latents, ascending; 0: the text is no such list. A share that is no whole number of latents is rounded up. */
static int read_prefixes(const char *text, int64_t d_sae, int64_t end[MAX_PREFIXES])
{
    double last = 0;
    int n = 0;
    for (const char *at = text ? text : ""; *at && n < MAX_PREFIXES;) {
        char *next;
        double share = strtod(at, &next);
        if (next == at || !(share > last) || share > 1 || (*next && *next != ','))
            return 0;
        end[n++] = (int64_t)ceil(share * (double)d_sae);
        last = share;
        at = *next ? next + 1 : next;
    }
    return last == 1 ? n : 0;
}

static sl_status check(const void *opts, int64_t d_in, int64_t d_sae, sl_err *err)
{
    const sl_matryoshka_options *o = opts;
    int64_t end[MAX_PREFIXES];
    (void)d_in;
    if (read_prefixes(o->prefixes, d_sae, end) == 0)
        return sl_fail(err, SL_ARG, "prefixes", "up to 16 rising shares that end with 1, as 0.25,0.5,1", "they are '%s'", o->prefixes ? o->prefixes : "");
    return sl_batchtopk_check(o->k, d_sae, err);
}

static sl_latents encode(sl_tape *t, const sl_sae *s, sl_var x, const sl_sae_batch *b)
{
    return sl_batchtopk_encode(t, s, x, ((const sl_matryoshka_options *)s->opts)->k, b);
}

static sl_var loss(sl_tape *t, const sl_sae *s, const sl_sae_pass *p, const sl_sae_batch *b)
{
    const sl_matryoshka_options *o = s->opts;
    sl_var W = sl_param_var(t, s->W_dec), part = { 0 }, sum = { 0 };
    int64_t end[MAX_PREFIXES];
    int n = read_prefixes(o->prefixes, s->d_sae, end);
    for (int i = 0; i < n; i++) {
        sl_code slice = sl_code_slice(t, p->z.sparse, i ? end[i - 1] : 0, end[i]);
        sl_var more = sl_sparse_decode(t, slice, W, i ? (sl_var){ 0 } : sl_param_var(t, s->b_dec));
        part = i ? sl_add(t, part, more) : more;
        sl_var err2 = sl_sq_dist(t, p->y, part);
        sum = i ? sl_add(t, sum, err2) : err2;
    }
    sl_var l = sl_scale(t, sum, sl_sae_reconstruction_factor(t, s, p, b) * pow(n, -s->recipe->prefix_mean));
    if (b->n_dead > 0 && o->aux_alpha > 0)
        l = sl_add(t, l, sl_sae_auxk(t, s, p, o->k_aux, o->aux_alpha, b));
    return l;
}

/* ---- on TopK ---- */

static int64_t max_active_topk(const void *opts, int64_t d_sae)
{
    (void)d_sae;
    return ((const sl_matryoshka_options *)opts)->k;
}

static sl_latents encode_topk(sl_tape *t, const sl_sae *s, sl_var x, const sl_sae_batch *b)
{
    return (sl_latents){ .sparse = sl_sae_encode_topk(t, s, x, ((const sl_matryoshka_options *)s->opts)->k, b) };
}

static const char *const cfg_keys_topk[] = { "k", NULL };

const sl_sae_ops sl_sae_matryoshka_topk = {
    .info = { "matryoshka_topk", "nested prefixes on TopK", "arXiv 2503.17547, 2406.04093", options, sizeof(sl_matryoshka_options) },
    .saelens = "topk", .cfg_keys = cfg_keys_topk,
    .check = check, .unit_decoder = sl_sae_always_unit, .max_active = max_active_topk,
    .encode = encode_topk, .loss = loss,
};

/* ---- on BatchTopK ---- */

const sl_sae_ops sl_sae_matryoshka = {
    .info = { "matryoshka", "nested prefixes on BatchTopK", "arXiv 2503.17547", options, sizeof(sl_matryoshka_options) },
    .saelens = "jumprelu", .state = state, .threshold = sl_batchtopk_threshold,
    .check = check, .unit_decoder = sl_sae_always_unit, .max_active = sl_sae_all_active,
    .encode = encode, .loss = loss, .after_step = sl_batchtopk_after_step,
};
