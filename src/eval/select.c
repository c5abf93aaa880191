/* Family "selected": the best latent of each true feature (science.md D4). Latent and threshold are chosen on one half of the documents by F1,
 * and scored on the other half: z_j >= threshold predicts g. Means over the features that fire in at least LEAST rows of both halves.
 * Rows that do not determine a feature (`unknown`) are left out for it. Floors: rows of z shuffled, before the choice. */
#include "eval/families.h"
#include "eval/measured.h"

#include <stdlib.h>

enum { LEAST = 5, KINDS = 4 };
static const char *const names[] = { "f1_sel", "prec_sel", "rec_sel", "phi_sel", NULL };

typedef struct entry { float val; bool on; } entry;
typedef struct candidate { int64_t co; int32_t latent; } candidate;

typedef struct picker {
    const sl_eval_data *d;
    sl_columns z, g, unknown;
    const int32_t *perm;    /* [n_rows] row r of the truth goes with row perm[r] of z; NULL: the same */
    const int32_t *back;    /* its inverse */
    uint8_t *half;          /* [n_rows] 0 select, 1 test */
    int32_t *on, *left_out; /* [n_rows] the feature, from 1, that is on, or unknown, there */
    int64_t *co;            /* [d_sae] */
    candidate *list;        /* [d_sae] */
    entry *sorted;          /* [n_rows] */
} picker;

static int by_co(const void *a, const void *b)
{
    const candidate *x = a, *y = b;
    if (x->co != y->co)
        return x->co < y->co ? 1 : -1;
    return x->latent - y->latent;
}

static int by_value(const void *a, const void *b)
{
    const entry *x = a, *y = b;
    return x->val < y->val ? 1 : x->val > y->val ? -1 : (int)y->on - (int)x->on;
}

static int64_t truth_row(const picker *p, int64_t z_row)
{
    return p->back ? p->back[z_row] : z_row;
}

/* Best F1 of latent j on the first half over all thresholds. */
static double best_threshold(const picker *p, int32_t tag, int64_t j, int64_t n_on, float *threshold)
{
    int64_t n = 0, hits = 0;
    for (int64_t e = p->z.ptr[j]; e < p->z.ptr[j + 1]; e++) {
        int64_t row = truth_row(p, p->z.row[e]);
        if (p->half[row] == 0 && p->left_out[row] != tag)
            p->sorted[n++] = (entry){ p->z.val[e], p->on[row] == tag };
    }
    qsort(p->sorted, (size_t)n, sizeof *p->sorted, by_value);
    double best = 0;
    for (int64_t i = 0; i < n; i++) {
        hits += p->sorted[i].on;
        bool last_of_value = i + 1 == n || p->sorted[i + 1].val < p->sorted[i].val;
        double f1 = 2 * (double)hits / (double)(i + 1 + n_on);
        if (last_of_value && f1 > best) {
            best = f1;
            *threshold = p->sorted[i].val;
        }
    }
    return best;
}

/* Latents that fire with the feature in the first half, most first: 2 co / (co + n_on) bounds what a threshold can reach. */
static int64_t candidates(picker *p, int64_t g)
{
    int64_t n = 0;
    for (int64_t e = p->g.ptr[g]; e < p->g.ptr[g + 1]; e++) {
        int64_t row = p->g.row[e], z_row = p->perm ? p->perm[row] : row;
        if (p->half[row] != 0)
            continue;
        for (int64_t i = p->d->z.row_ptr[z_row]; i < p->d->z.row_ptr[z_row + 1]; i++)
            if (p->co[p->d->z.idx[i]]++ == 0)
                p->list[n++].latent = p->d->z.idx[i];
    }
    for (int64_t i = 0; i < n; i++) {
        p->list[i].co = p->co[p->list[i].latent];
        p->co[p->list[i].latent] = 0;
    }
    qsort(p->list, (size_t)n, sizeof *p->list, by_co);
    return n;
}

static sl_overlap on_test(const picker *p, int32_t tag, int64_t j, float threshold, int64_t n_on, int64_t n_rows)
{
    sl_overlap o = { .n = n_rows, .b = n_on };
    for (int64_t e = j < 0 ? 0 : p->z.ptr[j]; j >= 0 && e < p->z.ptr[j + 1]; e++) {
        int64_t row = truth_row(p, p->z.row[e]);
        if (p->half[row] == 1 && p->left_out[row] != tag && p->z.val[e] >= threshold) {
            o.a++;
            o.both += p->on[row] == tag;
        }
    }
    return o;
}

/* False where the feature fires too rarely. */
static bool score_feature(picker *p, int64_t g, const int64_t half_rows[2], sl_overlap *out)
{
    int64_t on[2] = { 0 }, out_of[2] = { 0 };
    int32_t tag = (int32_t)g + 1;
    for (int64_t e = p->g.ptr[g]; e < p->g.ptr[g + 1]; e++) {
        p->on[p->g.row[e]] = tag;
        on[p->half[p->g.row[e]]]++;
    }
    for (int64_t e = p->unknown.ptr ? p->unknown.ptr[g] : 0; p->unknown.ptr && e < p->unknown.ptr[g + 1]; e++) {
        p->left_out[p->unknown.row[e]] = tag;
        out_of[p->half[p->unknown.row[e]]]++;
    }
    if (on[0] < LEAST || on[1] < LEAST)
        return false;
    int64_t n = candidates(p, g), chosen = -1;
    double best = 0;
    float threshold = 0;
    for (int64_t i = 0; i < n && 2 * (double)p->list[i].co / (double)(p->list[i].co + on[0]) > best; i++) {
        float at = 0;
        double f1 = best_threshold(p, tag, p->list[i].latent, on[0], &at);
        if (f1 > best) {
            best = f1;
            chosen = p->list[i].latent;
            threshold = at;
        }
    }
    *out = on_test(p, tag, chosen, threshold, on[1], half_rows[1] - out_of[1]);
    return true;
}

/* Means over the features that could be scored; their number. */
static int64_t score_all(picker *p, double mean[KINDS])
{
    int64_t n = 0, rows[2] = { 0 };
    for (int64_t r = 0; r < p->d->n_rows; r++) {
        rows[p->half[r]]++;
        p->on[r] = p->left_out[r] = 0;
    }
    for (int i = 0; i < KINDS; i++)
        mean[i] = 0;
    for (int64_t g = 0; g < p->d->n_truth; g++) {
        sl_overlap o;
        if (!score_feature(p, g, rows, &o))
            continue;
        double v[KINDS] = { sl_f1(o), sl_precision(o), sl_recall(o), sl_phi(o) };
        for (int i = 0; i < KINDS; i++)
            mean[i] += v[i];
        n++;
    }
    for (int i = 0; n && i < KINDS; i++)
        mean[i] /= (double)n;
    return n;
}

static sl_status prepare(sl_ctx *ctx, picker *p, sl_err *err)
{
    const sl_eval_data *d = p->d;
    SL_TRY(sl_columns_new(ctx, &d->z, &p->z, err));
    SL_TRY(sl_columns_new(ctx, &d->g, &p->g, err));
    if (d->unknown.row_ptr)
        SL_TRY(sl_columns_new(ctx, &d->unknown, &p->unknown, err));
    SL_TRY(sl_split_rows(ctx, d, 2, &p->half, err));
    p->on = sl_alloc(ctx, (size_t)d->n_rows * sizeof *p->on);
    p->left_out = sl_alloc(ctx, (size_t)d->n_rows * sizeof *p->left_out);
    p->co = sl_alloc(ctx, (size_t)d->d_sae * sizeof *p->co);
    p->list = sl_alloc(ctx, (size_t)d->d_sae * sizeof *p->list);
    p->sorted = sl_alloc(ctx, (size_t)d->n_rows * sizeof *p->sorted);
    return sl_have("best latents", 5, (const void *const[]){ p->on, p->left_out, p->co, p->list, p->sorted }, err);
}

static sl_status put(sl_ctx *ctx, picker *p, sl_metrics *out, sl_err *err)
{
    double got[KINDS], chance[KINDS];
    int64_t n = score_all(p, got);
    int32_t *perm = NULL, *back = NULL;
    if (n == 0)
        return sl_put_nulls(ctx, out, names, "no true feature fires in 5 rows of both halves", err);
    sl_status st;
    SL_GO(sl_shuffled_rows(ctx, p->d->seed, p->d->n_rows, &perm, err));
    back = sl_alloc(ctx, (size_t)p->d->n_rows * sizeof *back);
    SL_GO(sl_have("shuffled control", 1, (const void *const[]){ back }, err));
    for (int64_t r = 0; r < p->d->n_rows; r++)
        back[perm[r]] = (int32_t)r;
    p->perm = perm;
    p->back = back;
    score_all(p, chance);
    for (int i = 0; i < KINDS; i++)
        SL_GO(sl_put_floored(ctx, out, names[i], got[i], n, chance[i], err));
done:
    sl_free(ctx, back);
    sl_free(ctx, perm);
    return st;
}

static sl_status run(sl_ctx *ctx, const sl_eval_data *d, sl_metrics *out, sl_err *err)
{
    picker p = { .d = d };
    sl_status st = prepare(ctx, &p, err);
    if (st == SL_OK)
        st = sl_alive(&p.z) ? put(ctx, &p, out, err) : sl_put_nulls(ctx, out, names, "no latent fires", err);
    void *all[] = { p.half, p.on, p.left_out, p.co, p.list, p.sorted };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        sl_free(ctx, all[i]);
    sl_columns_release(ctx, &p.unknown);
    sl_columns_release(ctx, &p.g);
    sl_columns_release(ctx, &p.z);
    return st;
}

const sl_family sl_family_selected = { "selected", "the best latent of each feature", SL_NEED_CODES | SL_NEED_TRUE_CODES, names, run };
