/* ref: attention of the active features of a row over each other, see sl_tokens in kern.h. */

#include "kern/tokens.h"

static double strength(const sl_tokens *a, int64_t e) { return a->by_token ? 1 : a->unit * (double)((const REAL *)a->z->val)[e]; }

/* ---- attention ---- */

/* at: i, then the m - 1 others of largest l (NULL: of lowest index), of n. */
static void make_list(const double *l, int64_t i, int64_t n, int64_t m, uint8_t *at)
{
    bool taken[SL_TOKENS_MAX] = { false };
    at[0] = (uint8_t)i;
    taken[i] = true;
    for (int64_t q = 1; q < m; q++) {
        int64_t best = -1;
        for (int64_t j = 0; j < n; j++)
            if (!taken[j] && (best < 0 || (l && m < n && l[j] > l[best])))
                best = j;
        taken[best] = true;
        at[q] = (uint8_t)best;
    }
}

static void list_softmax(const double *l, const uint8_t *at, int64_t m, REAL *P)
{
    double top = -INFINITY, sum = 0, p[SL_TOKENS_MAX];
    for (int64_t q = 0; q < m; q++)
        top = fmax(top, l[at[q]]);
    for (int64_t q = 0; q < m; q++)
        sum += p[q] = exp(l[at[q]] - top);
    for (int64_t q = 0; q < m; q++)
        P[q] = (REAL)(p[q] / sum);
}

static void attend_token(const sl_tokens *a, const REAL *qk, token_row t, int64_t i, bool chosen, REAL *P, uint8_t *at)
{
    int64_t w = a->d_c / a->n_head, m = n_listed(a, t.n);
    double l[SL_TOKENS_MAX] = { 0 };
    for (int h = 0; h < a->n_head; h++, P += a->keep, at += a->keep) {
        const REAL *q = qk ? qk + table_row(a, t.e0 + i) * 2 * a->d_c + h * w : NULL;
        for (int64_t j = 0; qk && j < t.n; j++) {
            const REAL *key = qk + table_row(a, t.e0 + j) * 2 * a->d_c + a->d_c + h * w;
            l[j] = 0;
            for (int64_t d = 0; d < w; d++)
                l[j] += (double)q[d] * (double)key[d];
            l[j] /= sqrt((double)w);
        }
        if (!chosen)
            make_list(qk ? l : NULL, i, t.n, m, at);
        list_softmax(l, at, m, P);
        for (int64_t x = m; x < a->keep; x++) {
            P[x] = 0;
            at[x] = 0;
        }
    }
}

static void tokens_attend(const sl_kern *k, const sl_tokens *a, const sl_tensor *QK, bool chosen, sl_tensor *P, sl_tensor *at)
{
    REAL *p = real(P);
    uint8_t *place = places_of(at);
    int64_t width = a->n_head * a->keep, used = n_tokens(a);
    assert(sl_numel(P) == a->z->capacity * width && sl_numel(at) == sl_numel(P));
    #pragma omp parallel for num_threads(sl_team(k, used * width)) schedule(static)
    for (int64_t r = 0; r < a->z->n_rows; r++) {
        token_row t = row_of_tokens(a, r);
        for (int64_t i = 0; i < t.n; i++)
            attend_token(a, QK ? real(QK) : NULL, t, i, chosen, p + (t.e0 + i) * width, place + (t.e0 + i) * width);
    }
    memset(p + used * width, 0, (size_t)(sl_numel(P) - used * width) * sizeof *p);
    memset(place + used * width, 0, (size_t)(sl_numel(P) - used * width));
}

/* dl = P (dP - sum P dP) / sqrt(w), of the lists of token i; dq_i += dl k_j, dk_j += dl q_i. d [n, 2 d_c] */
static void attend_token_back(const sl_tokens *a, const REAL *qk, token_row t, int64_t i, const REAL *P, const uint8_t *at, const REAL *dP, double *d)
{
    int64_t w = a->d_c / a->n_head, m = n_listed(a, t.n), row = 2 * a->d_c;
    for (int h = 0; h < a->n_head; h++, P += a->keep, at += a->keep, dP += a->keep) {
        double sum = 0;
        for (int64_t q = 0; q < m; q++)
            sum += (double)P[q] * (double)dP[q];
        for (int64_t q = 0; q < m; q++) {
            double dl = (double)P[q] * ((double)dP[q] - sum) / sqrt((double)w);
            const REAL *qi = qk + table_row(a, t.e0 + i) * row + h * w, *kj = qk + table_row(a, t.e0 + at[q]) * row + a->d_c + h * w;
            for (int64_t c = 0; c < w; c++) {
                d[i * row + h * w + c] += dl * (double)kj[c];
                d[at[q] * row + a->d_c + h * w + c] += dl * (double)qi[c];
            }
        }
    }
}

static void tokens_attend_back(const sl_kern *k, const sl_tokens *a, const sl_tensor *QK, const sl_tensor *P, const sl_tensor *at, const sl_tensor *dP, sl_tensor *dQK)
{
    int64_t width = a->n_head * a->keep, row = 2 * a->d_c, size = SL_TOKENS_MAX * row;
    const REAL *p = real(P), *dp = real(dP), *qk = real(QK);
    REAL *out = real(dQK);
    int team = sl_team(k, n_tokens(a) * width);
    double *scratch = sl_kern_scratch(k, SL_SCRATCH_ROWS, (size_t)(team * size) * sizeof *scratch);
    #pragma omp parallel for num_threads(team) schedule(static)
    for (int64_t r = 0; r < (scratch ? a->z->n_rows : 0); r++) {
        token_row t = row_of_tokens(a, r);
        double *d = scratch + omp_get_thread_num() * size;
        memset(d, 0, (size_t)(t.n * row) * sizeof *d);
        for (int64_t i = 0, at_i = t.e0 * width; i < t.n; i++, at_i += width)
            attend_token_back(a, qk, t, i, p + at_i, places_of(at) + at_i, dp + at_i, d);
        for (int64_t x = 0; x < t.n * row; x++)
            out[t.e0 * row + x] = (REAL)d[x];
    }
}

/* ---- mixing ---- */

typedef struct mixing {
    const sl_tokens *a;
    const REAL *P, *V, *gate, *w;
    const uint8_t *at;
    int64_t width; /* of a row of V */
} mixing;

static mixing mixing_of(const sl_tokens *a, const sl_tokens_value *v)
{
    return (mixing){ a, real(v->P), real(v->V), v->gate ? real(v->gate) : NULL, v->gate ? real(v->w) : NULL, places_of(v->at), (a->product ? 2 : 1) * a->d_c };
}

/* The entry whose value token i sees at place j; -1: a partner without tokens, whose value is 0. */
static int64_t seen_entry(const sl_tokens *a, token_row t, token_row partner, int64_t i, int64_t j)
{
    if (!a->shuffle || i == j)
        return t.e0 + j;
    return partner.n ? partner.e0 + j % partner.n : -1;
}

static double value_at(const mixing *m, int64_t e, int64_t c) { return e < 0 ? 0 : strength(m->a, e) * (double)m->V[table_row(m->a, e) * m->width + c]; }

/* O_i [d_c] of one token; lists start at its own. */
static void mix_token(const mixing *m, token_row t, token_row partner, int64_t i, double *O)
{
    const sl_tokens *a = m->a;
    int64_t w = a->d_c / a->n_head, n = n_listed(a, t.n), at_i = (t.e0 + i) * a->n_head * a->keep;
    bool self = !a->subtract && !a->product;
    for (int64_t c = 0; c < a->d_c; c++) {
        const REAL *P = m->P + at_i + c / w * a->keep;
        const uint8_t *at = m->at + at_i + c / w * a->keep;
        double own = value_at(m, t.e0 + i, c), beside = a->product ? value_at(m, t.e0 + i, a->d_c + c) : 1;
        O[c] = 0;
        for (int64_t q = self ? 0 : 1; q < n; q++) {
            double v = value_at(m, seen_entry(a, t, partner, i, at[q]), c);
            O[c] += (double)P[q] * (a->product ? v * beside : a->subtract ? v - own : v);
        }
    }
}

static double gate_of(const mixing *m, int64_t e, const double *O)
{
    if (!m->gate)
        return 1;
    double s = (double)m->gate[table_row(m->a, e)];
    for (int64_t c = 0; c < m->a->d_c; c++)
        s += (double)m->w[c] * O[c];
    return 1 / (1 + exp(-s));
}

static double *token_scratch(const sl_kern *k, int team, int64_t size) { return sl_kern_scratch(k, SL_SCRATCH_ROWS, (size_t)(team * size) * sizeof(double)); }

static void tokens_mix(const sl_kern *k, const sl_tokens *a, const sl_tokens_value *v, sl_tensor *y)
{
    mixing m = mixing_of(a, v);
    REAL *out = real(y);
    int64_t used = n_tokens(a);
    int team = sl_team(k, used * a->d_c);
    double *scratch = token_scratch(k, team, 2 * a->d_c);
    #pragma omp parallel for num_threads(team) schedule(static)
    for (int64_t r = 0; r < (scratch ? a->z->n_rows : 0); r++) {
        token_row t = row_of_tokens(a, r), partner = partner_of(a, r);
        double *O = scratch + omp_get_thread_num() * 2 * a->d_c, *sum = O + a->d_c;
        memset(sum, 0, (size_t)a->d_c * sizeof *sum);
        for (int64_t i = 0; i < t.n; i++) {
            mix_token(&m, t, partner, i, O);
            double g = gate_of(&m, t.e0 + i, O);
            for (int64_t c = 0; c < a->d_c; c++) {
                sum[c] += g * O[c];
                if (a->each)
                    out[(t.e0 + i) * a->d_c + c] = (REAL)(g * O[c]);
            }
        }
        for (int64_t c = 0; !a->each && c < a->d_c; c++)
            out[r * a->d_c + c] = (REAL)sum[c];
    }
    if (a->each)
        memset(out + used * a->d_c, 0, (size_t)(a->z->capacity - used) * (size_t)a->d_c * sizeof *out);
}

/* Gradients of a row with respect to its tokens' values (d_own) and its partner's (d_seen), [n, width]; without shuffle they are one array. */
typedef struct mixing_back {
    double *O, *dO, *dw, *d_own, *d_seen;
    REAL *dP, *dgate;
} mixing_back;

static void mix_pairs_back(const mixing *m, token_row t, token_row partner, int64_t i, const mixing_back *b)
{
    const sl_tokens *a = m->a;
    int64_t w = a->d_c / a->n_head, n = n_listed(a, t.n);
    for (int h = 0; h < a->n_head; h++)
        for (int64_t q = 0; q < n; q++) {
            int64_t x = ((t.e0 + i) * a->n_head + h) * a->keep + q, j = m->at[x], e = seen_entry(a, t, partner, i, j);
            bool counts = q > 0 || (!a->subtract && !a->product);
            double *d = a->shuffle && i != j ? b->d_seen + (partner.n ? j % partner.n : 0) * m->width : b->d_own + j * m->width, *own = b->d_own + i * m->width;
            double dP = 0;
            for (int64_t c = h * w; counts && c < (h + 1) * w; c++) {
                double v = value_at(m, e, c), mine = value_at(m, t.e0 + i, c), beside = a->product ? value_at(m, t.e0 + i, a->d_c + c) : 1, p = (double)m->P[x] * b->dO[c];
                dP += b->dO[c] * (a->product ? v * beside : a->subtract ? v - mine : v);
                d[c] += e < 0 ? 0 : p * beside;
                own[c] -= a->subtract && !a->product ? p : 0;
                if (a->product)
                    own[a->d_c + c] += p * v;
            }
            if (b->dP)
                b->dP[x] = (REAL)dP;
        }
}

/* From dy [d_c] of token i's y: dO = g dy + g (1 - g) (O . dy) w */
static void mix_token_back(const mixing *m, token_row t, token_row partner, int64_t i, const REAL *dy, const mixing_back *b)
{
    int64_t d = m->a->d_c;
    double dot = 0;
    mix_token(m, t, partner, i, b->O);
    double g = gate_of(m, t.e0 + i, b->O);
    for (int64_t c = 0; c < d; c++)
        dot += b->O[c] * (double)dy[c];
    double ds = m->gate ? g * (1 - g) * dot : 0;
    for (int64_t c = 0; c < d; c++) {
        b->dO[c] = g * (double)dy[c] + (m->gate ? ds * (double)m->w[c] : 0);
        b->dw[c] += ds * b->O[c];
    }
    if (b->dgate)
        b->dgate[t.e0 + i] = (REAL)ds;
    mix_pairs_back(m, t, partner, i, b);
}

/* d [n, width] of the tokens of t: rows of dV without their strength, and dz. */
static void put_values_back(const mixing *m, token_row t, const double *d, sl_tensor *dV, sl_tensor *dz)
{
    double unit = m->a->by_token ? 1 : m->a->unit;
    for (int64_t i = 0; i < t.n; i++) {
        const REAL *V = m->V + table_row(m->a, t.e0 + i) * m->width;
        double dot = 0;
        for (int64_t c = 0; c < m->width; c++) {
            dot += (double)V[c] * d[i * m->width + c];
            if (dV)
                real(dV)[(t.e0 + i) * m->width + c] = (REAL)(unit * d[i * m->width + c]);
        }
        if (dz)
            real(dz)[t.e0 + i] = (REAL)(unit * dot);
    }
}

static void mix_row_back(const mixing *m, int64_t r, const REAL *dy, const sl_tokens_grad *g, mixing_back *b)
{
    const sl_tokens *a = m->a;
    token_row t = row_of_tokens(a, r), partner = partner_of(a, r);
    memset(b->d_own, 0, (size_t)(t.n * m->width) * sizeof *b->d_own);
    if (a->shuffle)
        memset(b->d_seen, 0, (size_t)(at_most(partner.n, SL_TOKENS_MAX) * m->width) * sizeof *b->d_seen);
    for (int64_t i = 0; i < t.n; i++)
        mix_token_back(m, t, partner, i, dy + (a->each ? t.e0 + i : r) * a->d_c, b);
    put_values_back(m, t, b->d_own, g->V, g->z);
    if (a->shuffle)
        put_values_back(m, partner, b->d_seen, g->V_of_partner, g->z_of_partner);
}

static void tokens_mix_back(const sl_kern *k, const sl_tokens *a, const sl_tokens_value *v, const sl_tensor *dy, const sl_tokens_grad *g)
{
    mixing m = mixing_of(a, v);
    int64_t rows = a->z->n_rows, per = (rows + TOKEN_CHUNKS - 1) / TOKEN_CHUNKS, tokens = SL_TOKENS_MAX * m.width, size = 2 * a->d_c + 2 * tokens;
    int team = sl_team(k, n_tokens(a) * a->d_c);
    double *scratch = token_scratch(k, 1, team * size + TOKEN_CHUNKS * a->d_c), *dw = scratch ? scratch + team * size : NULL;
    if (!scratch)
        return;
    memset(dw, 0, (size_t)(TOKEN_CHUNKS * a->d_c) * sizeof *dw);
    #pragma omp parallel for num_threads(team) schedule(static, 1)
    for (int64_t chunk = 0; chunk < TOKEN_CHUNKS; chunk++) {
        double *mine = scratch + omp_get_thread_num() * size;
        mixing_back b = { mine, mine + a->d_c, dw + chunk * a->d_c, mine + 2 * a->d_c, mine + 2 * a->d_c + tokens, g->P ? real(g->P) : NULL, g->gate ? real(g->gate) : NULL };
        for (int64_t r = chunk * per; r < at_most((chunk + 1) * per, rows); r++)
            mix_row_back(&m, r, real(dy), g, &b);
    }
    for (int64_t c = 0; g->w && c < a->d_c; c++) {
        double sum = 0;
        for (int64_t chunk = 0; chunk < TOKEN_CHUNKS; chunk++)
            sum += dw[chunk * a->d_c + c];
        real(g->w)[c] += (REAL)sum;
    }
}

/* ---- entropy ---- */

/* One token's, over all heads; dP NULL or that times s. */
static double entropy_token(const sl_tokens *a, int64_t n, const REAL *P, double s, REAL *dP)
{
    double sum = 0;
    for (int64_t h = 0; h < a->n_head; h++)
        for (int64_t x = h * a->keep; x < h * a->keep + n; x++) {
            double p = (double)P[x], ln = p > 0 ? log(p) : 0;
            sum -= p * ln;
            if (dP)
                dP[x] = (REAL)(-s * (ln + 1));
        }
    return sum;
}

static double entropy_all(const sl_tokens *a, const sl_tensor *P, double s, sl_tensor *dP)
{
    int64_t width = a->n_head * a->keep, used = n_tokens(a);
    double sum = 0, share = used ? 1 / (double)(used * a->n_head) : 0;
    for (int64_t r = 0; r < a->z->n_rows; r++) {
        token_row t = row_of_tokens(a, r);
        for (int64_t e = t.e0; e < t.e0 + t.n; e++)
            sum += entropy_token(a, n_listed(a, t.n), real(P) + e * width, s * share, dP ? real(dP) + e * width : NULL);
    }
    return sum * share;
}

static double tokens_entropy(const sl_kern *k, const sl_tokens *a, const sl_tensor *P)
{
    (void)k;
    return entropy_all(a, P, 0, NULL);
}

static void tokens_entropy_back(const sl_kern *k, const sl_tokens *a, const sl_tensor *P, double dy, sl_tensor *dP)
{
    (void)k;
    entropy_all(a, P, dy, dP);
}

/* ---- softplus ---- */

static void softplus(const sl_kern *k, const sl_tensor *x, sl_tensor *y)
{
    (void)k;
    for (int64_t i = 0; i < sl_numel(x); i++) {
        double v = (double)real(x)[i];
        real(y)[i] = (REAL)(fmax(v, 0) + log1p(exp(-fabs(v))));
    }
}

static void softplus_back(const sl_kern *k, const sl_tensor *x, const sl_tensor *dy, sl_tensor *dx)
{
    (void)k;
    for (int64_t i = 0; i < sl_numel(x); i++)
        real(dx)[i] += (REAL)((double)real(dy)[i] / (1 + exp(-(double)real(x)[i])));
}

/* ---- columns of norm 1 ---- */

/* Mean of column c, and 1 / its norm once centred. */
static double column_unit(const REAL *x, int64_t rows, int64_t cols, int64_t c, double *mean)
{
    double sum = 0, sq = 0, size = 0;
    for (int64_t r = 0; r < rows; r++)
        sum += (double)x[r * cols + c];
    *mean = sum / (double)rows;
    for (int64_t r = 0; r < rows; r++) {
        double v = (double)x[r * cols + c];
        sq += (v - *mean) * (v - *mean);
        size += v * v;
    }
    return sq > 1e-12 * size ? 1 / sqrt(sq) : 0;
}

static void col_standardize(const sl_kern *k, const sl_tensor *x, sl_tensor *y)
{
    int64_t rows = sl_rows(x), cols = sl_cols(x);
    #pragma omp parallel for num_threads(sl_team(k, rows * cols)) schedule(static)
    for (int64_t c = 0; c < cols; c++) {
        double mean, unit = column_unit(real(x), rows, cols, c, &mean);
        for (int64_t r = 0; r < rows; r++)
            real(y)[r * cols + c] = (REAL)(((double)real(x)[r * cols + c] - mean) * unit);
    }
}

static void col_standardize_back(const sl_kern *k, const sl_tensor *x, const sl_tensor *y, const sl_tensor *dy, sl_tensor *dx)
{
    int64_t rows = sl_rows(x), cols = sl_cols(x);
    const REAL *v = real(y), *g = real(dy);
    #pragma omp parallel for num_threads(sl_team(k, rows * cols)) schedule(static)
    for (int64_t c = 0; c < cols; c++) {
        double mean, unit = column_unit(real(x), rows, cols, c, &mean), sum = 0, along = 0;
        for (int64_t r = 0; r < rows; r++) {
            sum += (double)g[r * cols + c];
            along += (double)g[r * cols + c] * (double)v[r * cols + c];
        }
        for (int64_t r = 0; r < rows; r++)
            real(dx)[r * cols + c] += (REAL)(unit * ((double)g[r * cols + c] - sum / (double)rows - along * (double)v[r * cols + c]));
    }
}
