/* Cases: tokens, see sl_tokens. At most 12 rows and 48 features; 1, 2 or 8 heads of 5, 16 or k / 8 columns. */
#include "cases.h"

typedef struct tokens { sl_csr z; sl_tensor QK, V, gate, w, P, at; int64_t cap, d; sl_tokens a; } tokens;

static sl_tensor places(krun *r, int64_t n)
{
    sl_tensor t = kt_ids(r, n, 0, 1, false);
    t.dtype = SL_U8;
    return t;
}

static int64_t rows_of(const krun *r) { return r->s.m < 12 ? r->s.m : 12; }

/* Tables have a row a feature; `keep` of a list. */
static tokens make(krun *r, int64_t keep)
{
    const int heads[] = { 1, 2, 8 };
    tokens t = { .cap = 0 };
    int64_t F = r->s.n < 48 ? r->s.n : 48, H = heads[(r->s.m + r->s.k) % 3], w = H == 8 ? 16 : H == 2 ? 5 : r->s.k / 8 + 1;
    t.z = kt_csr_random(r, rows_of(r), F);
    t.cap = t.z.capacity = t.z.row_ptr[t.z.n_rows] + 3; /* a short tail */
    t.d = H * w;
    t.QK = kt_random(r, F, 2 * t.d, 0);
    t.V = kt_random(r, F, 2 * t.d, 0);
    t.gate = kt_random(r, F, 1, 0);
    t.w = kt_random(r, t.d, 1, 0);
    t.P = kt_nan(r, t.cap, H, keep);
    t.at = places(r, t.cap * H * keep);
    t.a = (sl_tokens){ .z = NULL, .d_c = t.d, .keep = keep, .n_head = (int)H, .unit = .7 };
    return t;
}

static void attend(krun *r, tokens *t, bool uniform)
{
    t->a.z = &t->z;
    r->k->tokens_attend(r->k, &t->a, uniform ? NULL : &t->QK, false, &t->P, &t->at);
}

/* A number of a tensor of the table's dtype. */
static void put(const krun *r, sl_tensor *t, int64_t i, double v)
{
    if (r->k->dtype == SL_F32)
        ((float *)t->data)[i] = (float)v;
    else
        ((double *)t->data)[i] = v;
}

/* Many rows of one table, where logits of all pairs of features pay: half of the features in most rows, a few in the others, so that no
 * ranking of some features has them. Halves give sums without rounding, and so ties. */
static void run_attend_few(krun *r)
{
    enum { ROWS = 160, F = 150, HEADS = 2, WIDTH = 16, MOST = 120 };
    int64_t keep = 2 + (r->s.m + r->s.k) % 4, n = 0;
    tokens t = { .z = kt_csr(r, ROWS, F, ROWS * MOST), .d = HEADS * WIDTH };
    for (int64_t i = 0; i < ROWS; i++) {
        t.z.row_ptr[i] = n;
        for (int32_t f = 0; f < F && n - t.z.row_ptr[i] < MOST; f++)
            if (sl_rng_below(&r->rng, i % 4 == 3 ? 20 : 2) == 0)
                t.z.idx[n++] = f;
    }
    t.z.row_ptr[ROWS] = n;
    t.cap = t.z.capacity = n + 3;
    t.QK = kt_random(r, F, 2 * t.d, 0);
    for (int64_t i = 0; i < sl_numel(&t.QK); i++)
        put(r, &t.QK, i, .5 * (double)sl_rng_below(&r->rng, 5) - 1);
    t.P = kt_nan(r, t.cap, HEADS, keep);
    t.at = places(r, t.cap * HEADS * keep);
    t.a = (sl_tokens){ .d_c = t.d, .keep = keep, .n_head = HEADS, .unit = 1 };
    attend(r, &t, false);
    kt_record(r, &t.P);
    for (int64_t x = 0; x < sl_numel(&t.P); x++)
        kt_number(r, (double)((const uint8_t *)t.at.data)[x]);
}

static void run_attend(krun *r)
{
    const int64_t keep[] = { 1, 4, 48 };
    for (int i = 0; i < 3; i++)
        for (int uniform = 0; uniform < 2; uniform++) {
            tokens t = make(r, keep[i]);
            attend(r, &t, uniform);
            kt_record(r, &t.P);
            for (int64_t x = 0; x < sl_numel(&t.P); x++)
                kt_number(r, (double)((const uint8_t *)t.at.data)[x]);
            sl_tensor again = t.P;
            r->k->tokens_attend(r->k, &t.a, uniform ? NULL : &t.QK, true, &again, &t.at);
            kt_record(r, &again);
        }
    run_attend_few(r);
}

/* up to the last entry */
static void record_used(krun *r, const tokens *t, sl_tensor *x)
{
    sl_tensor used = sl_tensor_of(x->dtype, x->data, 1, t->z.row_ptr[t->z.n_rows] * (sl_numel(x) / t->cap));
    kt_record(r, &used);
}

static void run_attend_back(krun *r)
{
    const int64_t keep[] = { 4, 48 };
    for (int i = 0; i < 2; i++) {
        tokens t = make(r, keep[i]);
        attend(r, &t, false);
        sl_tensor dP = kt_random(r, t.cap, t.a.n_head, keep[i]), d = kt_nan(r, t.cap, 2 * t.d, 0);
        r->k->tokens_attend_back(r->k, &t.a, &t.QK, &t.P, &t.at, &dP, &d);
        record_used(r, &t, &d);
    }
}

/* mode 0: differences, 1: as they are without a gate, 2: products, 3: partners' differences, 4: partners' products */
static sl_tokens_value value_of(tokens *t, int mode)
{
    t->a.subtract = mode == 0 || mode == 3;
    t->a.product = mode == 2 || mode == 4;
    t->a.shuffle = mode >= 3;
    t->V.dim[1] = (t->a.product ? 2 : 1) * t->d; /* of the same memory */
    return (sl_tokens_value){ &t->P, &t->at, &t->V, mode == 1 ? NULL : &t->gate, mode == 1 ? NULL : &t->w };
}

static void run_mix(krun *r)
{
    tokens t = make(r, 4);
    attend(r, &t, false);
    sl_tensor y = kt_nan(r, rows_of(r), t.d, 0), each = kt_nan(r, t.cap, t.d, 0);
    for (int mode = 0; mode < 5; mode++) {
        sl_tokens_value v = value_of(&t, mode);
        t.a.each = false;
        r->k->tokens_mix(r->k, &t.a, &v, &y);
        kt_record(r, &y);
        t.a.each = true;
        r->k->tokens_mix(r->k, &t.a, &v, &each);
        kt_record(r, &each);
    }
}

static void run_mix_back(krun *r)
{
    tokens t = make(r, 4);
    attend(r, &t, false);
    sl_tensor dy = kt_random(r, rows_of(r), t.d, 0), each = kt_random(r, t.cap, t.d, 0), dP = kt_random(r, t.cap, t.a.n_head, 4);
    sl_tensor dV = kt_nan(r, t.cap, 2 * t.d, 0), dV2 = kt_nan(r, t.cap, 2 * t.d, 0), dgate = kt_nan(r, t.cap, 1, 0), dw = kt_random(r, t.d, 1, 0);
    sl_tensor dz = kt_nan(r, t.cap, 1, 0), dz2 = kt_nan(r, t.cap, 1, 0);
    for (int mode = 0; mode < 5; mode++) {
        sl_tokens_value v = value_of(&t, mode);
        sl_tokens_grad g = { &dP, &dV, mode >= 3 ? &dV2 : NULL, &dgate, &dw, &dz, mode >= 3 ? &dz2 : NULL };
        dV.dim[1] = dV2.dim[1] = t.V.dim[1];
        t.a.each = mode == 2;
        r->k->tokens_mix_back(r->k, &t.a, &v, t.a.each ? &each : &dy, &g);
        sl_tensor *all[] = { &dP, &dV, &dgate, &dz, &dV2, &dz2 };
        for (int i = 0; i < (mode >= 3 ? 6 : 4); i++)
            record_used(r, &t, all[i]);
        kt_record(r, &dw);
    }
    sl_tokens_value v = value_of(&t, 0);
    t.a.each = false;
    r->k->tokens_mix_back(r->k, &t.a, &v, &dy, &(sl_tokens_grad){ .z = &dz });
    record_used(r, &t, &dz);
}

static void run_entropy(krun *r)
{
    tokens t = make(r, 4);
    attend(r, &t, false);
    kt_number(r, r->k->tokens_entropy(r->k, &t.a, &t.P));
}

static void run_entropy_back(krun *r)
{
    tokens t = make(r, 4);
    attend(r, &t, false);
    sl_tensor dP = kt_random(r, t.cap, t.a.n_head, 4);
    r->k->tokens_entropy_back(r->k, &t.a, &t.P, 1.5, &dP);
    kt_record(r, &dP);
}

static void run_softplus(krun *r)
{
    sl_tensor x = kt_random(r, r->s.m, r->s.n, 0), y = kt_nan(r, r->s.m, r->s.n, 0);
    r->k->softplus(r->k, &x, &y);
    kt_record(r, &y);
}

static void run_softplus_back(krun *r)
{
    sl_tensor x = kt_random(r, r->s.m, r->s.n, 0), dy = kt_random(r, r->s.m, r->s.n, 0), dx = kt_random(r, r->s.m, r->s.n, 0);
    r->k->softplus_back(r->k, &x, &dy, &dx);
    kt_record(r, &dx);
}

static void run_standardize(krun *r)
{
    sl_tensor x = kt_random(r, r->s.m, r->s.n, 0), y = kt_nan(r, r->s.m, r->s.n, 0);
    r->k->col_standardize(r->k, &x, &y);
    kt_record(r, &y);
}

static void run_standardize_back(krun *r)
{
    sl_tensor x = kt_random(r, r->s.m, r->s.n, 0), y = kt_random(r, r->s.m, r->s.n, 0), dy = kt_random(r, r->s.m, r->s.n, 0), dx = kt_random(r, r->s.m, r->s.n, 0);
    r->k->col_standardize_back(r->k, &x, &y, &dy, &dx);
    kt_record(r, &dx);
}

/* rounding of f32 sums of up to some hundred terms */
const kcase kcases_compose[] = {
    KCASE(tokens_attend, run_attend, 2e-5, 2e-5), KCASE(tokens_attend_back, run_attend_back, 3e-5, 3e-5),
    KCASE(tokens_mix, run_mix, 3e-5, 3e-5), KCASE(tokens_mix_back, run_mix_back, 2e-4, 1e-4),
    KCASE(tokens_entropy, run_entropy, 1e-5, 1e-5), KCASE(tokens_entropy_back, run_entropy_back, 1e-5, 1e-4),
    KCASE(softplus, run_softplus, 1e-6, 1e-6), KCASE(softplus_back, run_softplus_back, 1e-6, 1e-6),
    KCASE(col_standardize, run_standardize, 1e-5, 1e-5), KCASE(col_standardize_back, run_standardize_back, 2e-5, 2e-5),
    { NULL, 0, NULL, 0, 0 }
};
