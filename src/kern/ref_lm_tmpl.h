/* ref: embeddings, rotary positions, causal attention, cross-entropy. */
#include "kern/ref_common_tmpl.h"

static void embed(const sl_kern *k, const sl_tensor *ids, const sl_tensor *table, double beta, sl_tensor *y)
{
    const int32_t *id = ids_of(ids);
    const REAL *w = real(table);
    REAL *o = real(y);
    int64_t rows = sl_numel(ids), d = sl_cols(table), vocab = sl_rows(table);
    assert(sl_numel(y) == rows * d);
    #pragma omp parallel for num_threads(sl_team(k, rows * d)) schedule(static)
    for (int64_t i = 0; i < rows; i++) {
        assert(id[i] >= 0 && id[i] < vocab);
        for (int64_t j = 0; j < d; j++)
            o[i * d + j] = plus(w[id[i] * d + j], beta, o + i * d + j);
    }
    (void)vocab;
}

static void embed_back(const sl_kern *k, const sl_tensor *ids, const sl_tensor *dy, sl_tensor *dtable)
{
    const int32_t *id = ids_of(ids);
    const REAL *g = real(dy);
    REAL *o = real(dtable);
    int64_t rows = sl_numel(ids), d = sl_cols(dtable);
    enum { OWN = 16 }; /* columns that one owner adds to: two rows may share a table row */
    int64_t tiles = (d + OWN - 1) / OWN;
    assert(sl_numel(dy) == rows * d);
    #pragma omp parallel for num_threads(sl_team(k, rows * d)) schedule(static)
    for (int64_t t = 0; t < tiles; t++)
        for (int64_t i = 0; i < rows; i++)
            for (int64_t j = t * OWN; j < at_most(d, t * OWN + OWN); j++)
                o[id[i] * d + j] += g[i * d + j];
}

/* turn [T, hd / 2, 2]: cosine and sine of the angle of every position and pair, shared by all heads and sequences */
static void rotary_angles(double *turn, int64_t T, int64_t hd, int64_t pos0, double base, double sign)
{
    for (int64_t i = 0; i < hd / 2; i++) {
        double speed = pow(base, -2.0 * (double)i / (double)hd);
        for (int64_t t = 0; t < T; t++) {
            double angle = (double)(pos0 + t) * speed;
            turn[(t * (hd / 2) + i) * 2] = cos(angle);
            turn[(t * (hd / 2) + i) * 2 + 1] = sign * sin(angle);
        }
    }
}

/* One head's hd elements at x, turned into y; turn: its position's row. */
static void rotary_head(const REAL *x, int64_t hd, const double *turn, double beta, REAL *y)
{
    int64_t half = hd / 2;
    for (int64_t i = 0; i < half; i++) {
        double a = (double)x[i], b = (double)x[i + half], c = turn[2 * i], s = turn[2 * i + 1];
        y[i] = plus((REAL)(a * c - b * s), beta, y + i);
        y[i + half] = plus((REAL)(b * c + a * s), beta, y + i + half);
    }
}

static void rotary(const sl_kern *k, const sl_tensor *x, int n_head, int64_t pos0, double base, double sign, double beta, sl_tensor *y)
{
    const REAL *in = real(x);
    REAL *o = real(y);
    int64_t rows = sl_rows(x), width = sl_cols(x), T = x->dim[x->n_dim - 2], C = width / 3, hd = C / n_head;
    assert(x->n_dim >= 2 && width == 3 * C && C == n_head * hd && hd % 2 == 0 && sl_numel(y) == rows * width);
    double *turn = sl_kern_scratch(k, SL_SCRATCH_ROWS, (size_t)(T * hd) * sizeof *turn);
    if (!turn)
        return;
    rotary_angles(turn, T, hd, pos0, base, sign);
    #pragma omp parallel for num_threads(sl_team(k, rows * width)) schedule(static)
    for (int64_t r = 0; r < rows; r++) {
        for (int64_t h = 0; h < 2 * n_head; h++) /* heads of q, then of k */
            rotary_head(in + r * width + h * hd, hd, turn + r % T * hd, beta, o + r * width + h * hd);
        for (int64_t j = r * width + 2 * C; j < (r + 1) * width; j++)
            o[j] = plus(in[j], beta, o + j);
    }
}

/* ---- attention: scores s_ij = q_i . k_j / sqrt(hd), j <= i; p = softmax; y_i = sum_j p_ij mask_ij / (1 - p) v_j ---- */

typedef struct head { /* one head of one sequence */
    const REAL *q, *k, *v; /* row t at + t * 3C */
    int64_t row0, T, C, hd; /* row0: index of its first weight row, (b * H + h) * T */
    double scale, keep;     /* 1 / sqrt(hd), 1 / (1 - p) */
    const sl_mask_key *drop;
    uint32_t limit;
} head;

static head head_at(const sl_attn *a, const REAL *qkv, int64_t bh)
{
    int64_t hd = a->C / a->n_head, b = bh / a->n_head, h = bh % a->n_head;
    const REAL *q = qkv + b * a->T * 3 * a->C + h * hd;
    return (head){ .q = q, .k = q + a->C, .v = q + 2 * a->C, .row0 = bh * a->T, .T = a->T, .C = a->C, .hd = hd,
                   .scale = 1 / sqrt((double)hd), .keep = 1 / (1 - a->drop.p), .drop = &a->drop, .limit = mask_limit(&a->drop) };
}

static double row_dot(const REAL *a, const REAL *b, int64_t n)
{
    double s = 0;
    for (int64_t i = 0; i < n; i++)
        s += (double)a[i] * (double)b[i];
    return s;
}

/* keep[j] = 0 or 1 / (1 - p) for the weights (i, 0..i) */
static void head_mask(const head *h, int64_t i, double *keep)
{
    int64_t first = (h->row0 + i) * h->T;
    uint32_t lane[8] = { 0 };
    for (int64_t j = 0; j <= i; j++) {
        if (h->limit && (j == 0 || (first + j) % 8 == 0))
            mask_lanes(h->drop, (uint64_t)(first + j) / 8, lane);
        keep[j] = lane[(first + j) % 8] < h->limit ? 0 : h->keep;
    }
}

/* Row i: p[j] for j <= i, returns log sum exp of the scores. */
static double head_weights(const head *h, int64_t i, double *p)
{
    int64_t ld = 3 * h->C;
    double top = -INFINITY, total = 0;
    for (int64_t j = 0; j <= i; j++) {
        p[j] = h->scale * row_dot(h->q + i * ld, h->k + j * ld, h->hd);
        top = p[j] > top ? p[j] : top;
    }
    for (int64_t j = 0; j <= i; j++)
        total += p[j] = exp(p[j] - top);
    for (int64_t j = 0; j <= i; j++)
        p[j] /= total;
    return top + log(total);
}

static void attention_head(const head *h, double *scratch, REAL *y, REAL *lse)
{
    double *p = scratch, *keep = p + h->T, *acc = keep + h->T;
    for (int64_t i = 0; i < h->T; i++) {
        lse[i] = (REAL)head_weights(h, i, p);
        head_mask(h, i, keep);
        memset(acc, 0, (size_t)h->hd * sizeof *acc);
        for (int64_t j = 0; j <= i; j++)
            for (int64_t c = 0; c < h->hd; c++)
                acc[c] += p[j] * keep[j] * (double)h->v[j * 3 * h->C + c];
        for (int64_t c = 0; c < h->hd; c++)
            y[i * h->C + c] = (REAL)acc[c];
    }
}

static void attention(const sl_kern *k, const sl_attn *a, const sl_tensor *qkv, sl_tensor *y, sl_tensor *lse)
{
    const REAL *in = real(qkv);
    REAL *out = real(y), *l = real(lse);
    int64_t hd = a->C / a->n_head, share = 2 * a->T + hd, heads = a->B * a->n_head;
    assert(hd * a->n_head == a->C && sl_numel(qkv) == a->B * a->T * 3 * a->C && sl_numel(y) == a->B * a->T * a->C);
    double *scratch = sl_kern_scratch(k, SL_SCRATCH_ROWS, (size_t)(k->n_threads * share) * sizeof(double));
    if (!scratch)
        return;
    #pragma omp parallel for num_threads(sl_team(k, heads * a->T * a->T * hd)) schedule(static)
    for (int64_t bh = 0; bh < heads; bh++) {
        head h = head_at(a, in, bh);
        REAL *dst = out + bh / a->n_head * a->T * a->C + bh % a->n_head * hd;
        attention_head(&h, scratch + omp_get_thread_num() * share, dst, l + bh * a->T);
    }
}

/* Gradients of one head. The weights are made again from q and k; lse is for layers that keep only that.
 *   dv_j += w_ij dy_i   dw_ij = keep_ij dy_i . v_j   ds_ij = p_ij (dw_ij - sum_l p_il dw_il)   dq_i += scale ds_ij k_j   dk_j += scale ds_ij q_i */
static void attention_back_head(const head *h, double *scratch, const REAL *dy, REAL *dq)
{
    int64_t ld = 3 * h->C, hd = h->hd, T = h->T;
    double *p = scratch, *keep = p + T, *dw = keep + T, *acc = dw + T, *dk = acc + hd, *dv = dk + T * hd;
    memset(dk, 0, (size_t)(2 * T * hd) * sizeof *dk);
    for (int64_t i = 0; i < T; i++) {
        double mean = 0;
        head_weights(h, i, p);
        head_mask(h, i, keep);
        for (int64_t j = 0; j <= i; j++) {
            dw[j] = keep[j] * row_dot(dy + i * h->C, h->v + j * ld, hd);
            mean += p[j] * dw[j];
        }
        memset(acc, 0, (size_t)hd * sizeof *acc);
        for (int64_t j = 0; j <= i; j++) {
            double ds = h->scale * p[j] * (dw[j] - mean), w = p[j] * keep[j];
            for (int64_t c = 0; c < hd; c++) {
                acc[c] += ds * (double)h->k[j * ld + c];
                dk[j * hd + c] += ds * (double)h->q[i * ld + c];
                dv[j * hd + c] += w * (double)dy[i * h->C + c];
            }
        }
        for (int64_t c = 0; c < hd; c++)
            dq[i * ld + c] += (REAL)acc[c];
    }
    for (int64_t j = 0; j < T; j++)
        for (int64_t c = 0; c < hd; c++) {
            dq[j * ld + h->C + c] += (REAL)dk[j * hd + c];
            dq[j * ld + 2 * h->C + c] += (REAL)dv[j * hd + c];
        }
}

static void attention_back(const sl_kern *k, const sl_attn *a, const sl_tensor *qkv, const sl_tensor *y, const sl_tensor *lse,
                           const sl_tensor *dy, sl_tensor *dqkv)
{
    const REAL *in = real(qkv), *grad = real(dy);
    REAL *out = real(dqkv);
    int64_t hd = a->C / a->n_head, share = 3 * a->T + hd + 2 * a->T * hd, heads = a->B * a->n_head;
    (void)y;
    (void)lse;
    double *scratch = sl_kern_scratch(k, SL_SCRATCH_ROWS, (size_t)(k->n_threads * share) * sizeof(double));
    if (!scratch)
        return;
    #pragma omp parallel for num_threads(sl_team(k, heads * a->T * a->T * hd)) schedule(static)
    for (int64_t bh = 0; bh < heads; bh++) {
        head h = head_at(a, in, bh);
        int64_t b = bh / a->n_head, col = bh % a->n_head * hd;
        attention_back_head(&h, scratch + omp_get_thread_num() * share, grad + b * a->T * a->C + col, out + b * a->T * 3 * a->C + col);
    }
}

/* ---- cross-entropy ---- */

/* Loss of one row; x becomes weight * (softmax - onehot) when `grad`. target < 0: the row does not count. */
static double xent_row(REAL *x, int64_t n, int32_t target, bool grad, double weight)
{
    double top = -INFINITY, total = 0;
    assert(target < n);
    if (target < 0) {
        for (int64_t j = 0; grad && j < n; j++)
            x[j] = 0;
        return 0;
    }
    for (int64_t j = 0; j < n; j++)
        top = (double)x[j] > top ? (double)x[j] : top;
    for (int64_t j = 0; j < n; j++)
        total += exp((double)x[j] - top);
    double loss = top + log(total) - (double)x[target];
    for (int64_t j = 0; grad && j < n; j++)
        x[j] = (REAL)(weight * (exp((double)x[j] - top) / total - (j == target ? 1 : 0)));
    return loss;
}

static int64_t count_targets(const sl_kern *k, const sl_tensor *targets)
{
    const int32_t *target = ids_of(targets);
    int64_t n = sl_numel(targets), counted = 0;
    #pragma omp parallel for num_threads(sl_team(k, n)) schedule(static) reduction(+ : counted)
    for (int64_t i = 0; i < n; i++)
        counted += target[i] >= 0;
    return counted;
}

static double softmax_xent(const sl_kern *k, sl_tensor *logits, const sl_tensor *targets, bool grad, sl_tensor *row_loss)
{
    REAL *x = real(logits), *each = row_loss ? real(row_loss) : NULL;
    const int32_t *target = ids_of(targets);
    double *partial = sl_kern_impl_of(k)->partial, total = 0;
    int64_t rows = sl_rows(logits), n = sl_cols(logits), counted = count_targets(k, targets), chunk = sl_chunk_of(rows, 1), chunks = (rows + chunk - 1) / chunk;
    assert(sl_numel(targets) == rows && (!row_loss || sl_numel(row_loss) == rows));
    double weight = counted ? 1 / (double)counted : 0;
    #pragma omp parallel for num_threads(sl_team(k, rows * n)) schedule(static)
    for (int64_t c = 0; c < chunks; c++) {
        partial[c] = 0;
        for (int64_t i = c * chunk; i < at_most(rows, (c + 1) * chunk); i++) {
            double loss = xent_row(x + i * n, n, target[i], grad, weight);
            if (each)
                each[i] = (REAL)loss;
            partial[c] += loss;
        }
    }
    for (int64_t c = 0; c < chunks; c++)
        total += partial[c];
    return total * weight;
}
