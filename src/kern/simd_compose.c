/* Attention of tokens over each other. A thread owns rows. Logits of NR tokens at a time are products of the register tile, a token a lane; then
 * each token chooses its list and takes the softmax of it: short lists VW tokens at once, others one by one. Where features are few, short lists
 * come from what simd_compose_rank.c knows of all pairs of them. */
#include "kern/simd_compose.h"
#include "kern/simd_math.h"

#include <math.h>
#include <omp.h>
#include <string.h>

/* ---- lists, one by one ---- */

static float top_of(const float *l, int64_t n)
{
    vf top = vf_load(l);
    for (int64_t j = VW; j < n; j += VW)
        top = vf_max(vf_load(l + j), top);
    return vf_top(top);
}

/* The first place of the largest of l, whose last vector ends with -inf; below n whatever l holds. */
static int64_t first_largest(const float *l, int64_t n)
{
    vf top = vf_set(top_of(l, n));
    for (int64_t j = 0; j < n; j += VW) {
        uint32_t hit = vf_not_below(vf_load(l + j), top);
        if (hit && j + __builtin_ctz(hit) < n)
            return j + __builtin_ctz(hit);
    }
    return 0;
}

/* Token i, then the m - 1 others of largest l, or all in their order. l is spoiled; chosen gets the values. */
static void make_list(float *l, int64_t i, int64_t n, int64_t m, uint8_t *at, float *chosen)
{
    for (int64_t j = n; j < sl_round_up(n, VW); j++)
        l[j] = -INFINITY;
    for (int64_t q = 0; q < m; q++) {
        int64_t j = q == 0 ? i : m == n ? q - (q <= i) : first_largest(l, n);
        at[q] = (uint8_t)j;
        chosen[q] = l[j];
        l[j] = m == n ? l[j] : -INFINITY;
    }
}

/* P [m] = softmax of l, which has room for whole vectors. */
static void list_softmax(float *l, int64_t m, float *P)
{
    for (int64_t q = m; q < sl_round_up(m, VW); q++)
        l[q] = -INFINITY;
    vf sum = vf_set(0), top = vf_set(top_of(l, m));
    for (int64_t q = 0; q < m; q += VW) {
        vf e = vf_exp(vf_load(l + q) - top);
        sum += e;
        vf_store(l + q, e);
    }
    vf inv = vf_set(1 / vf_sum(sum));
    for (int64_t q = 0; q < m; q += VW)
        vf_put(P + q, vf_load(l + q) * inv, m - q);
}

/* Lists of a row's tokens: n tokens, m entries each; P and at of token 0 and one head, those of the next token `width` further. */
typedef struct lists { int64_t n, m, keep, width; float *P; uint8_t *at; } lists;

static void end_list(const lists *s, int64_t at)
{
    for (int64_t x = s->m; x < s->keep; x++) {
        s->P[at + x] = 0;
        s->at[at + x] = 0;
    }
}

/* Token i, whose logits are in lane `lane`. */
static void long_list(const float *logit, int64_t lane, int64_t i, bool chosen, const lists *s)
{
    float l[SL_TOKENS_MAX] = { 0 }, some[SL_TOKENS_MAX] = { 0 };
    int64_t at = i * s->width;
    for (int64_t j = 0; logit && j < s->n; j++)
        l[j] = logit[j * NR + lane];
    if (chosen)
        for (int64_t q = 0; q < s->m; q++)
            some[q] = l[s->at[at + q]];
    else
        make_list(l, i, s->n, s->m, s->at + at, some);
    list_softmax(some, s->m, s->P + at);
    end_list(s, at);
}

/* ---- short lists, a token a lane ---- */

enum { SHORT = 4 };

/* best [m - 1]: the largest of v so far in falling order, of equal ones the earliest; place: where. v is at p. */
ALWAYS void insert(vf *best, vf *place, vf v, vf p, int64_t m)
{
    #pragma GCC unroll 4
    for (int64_t q = m - 2; q >= 0; q--) {
        vf from = q ? vf_lt(best[q - 1], v, place[q - 1], p) : p, value = q ? vf_min(best[q - 1], v) : v;
        place[q] = vf_lt(best[q], v, from, place[q]);
        best[q] = vf_lt(best[q], v, value, best[q]);
    }
}

/* Of VW tokens: the logit of each with itself, the m - 1 largest others in falling order, and their places. */
typedef struct chosen_few { vf own, best[SHORT - 1], place[SHORT - 1]; } chosen_few;

/* Their softmax, as lists of tokens i0 .. i0 + VW - 1 as far as there are. */
ALWAYS void put_short(chosen_few *c, int64_t i0, const lists *s, int64_t m)
{
    float P[SHORT][VW], at[SHORT][VW];
    vf top = vf_max(c->own, c->best[0]), own = vf_exp(c->own - top), sum = own;
    for (int64_t q = 0; q < m - 1; q++)
        sum += c->best[q] = vf_exp(c->best[q] - top);
    for (int64_t q = 0; q < m; q++) {
        vf_store(P[q], (q ? c->best[q - 1] : own) / sum);
        vf_store(at[q], q ? c->place[q - 1] : vf_set(0));
    }
    for (int64_t i = 0; i < sl_min64(VW, s->n - i0); i++) {
        int64_t to = (i0 + i) * s->width;
        for (int64_t q = 0; q < m; q++) {
            s->P[to + q] = P[q][i];
            s->at[to + q] = (uint8_t)(q ? (int64_t)at[q][i] : i0 + i);
        }
        end_list(s, to);
    }
}

/* Tokens i0 .. i0 + VW - 1 as far as there are; logit is spoiled. */
ALWAYS void short_lists(float *logit, int64_t i0, const lists *s, int64_t m)
{
    chosen_few c;
    float mine[VW] = { 0 };
    for (int64_t i = 0; i < sl_min64(VW, s->n - i0); i++) {
        mine[i] = logit[(i0 + i) * NR + i];
        logit[(i0 + i) * NR + i] = -INFINITY;
    }
    c.own = vf_load(mine);
    for (int64_t q = 0; q < m - 1; q++) {
        c.best[q] = vf_set(-INFINITY);
        c.place[q] = vf_set(0);
    }
    for (int64_t j = 0; j < s->n; j++)
        insert(c.best, c.place, vf_load(logit + j * NR), vf_set((float)j), m);
    put_short(&c, i0, s, m);
}

/* The m tokens of largest logit with token i, the ranks of whose feature hold too few of the row. */
static void all_of_row(const token_ranks *R, int64_t h, const int32_t *feature, int64_t i, int64_t n, int64_t m, float (*best)[VW], float (*at)[VW], int64_t lane)
{
    float l[SL_TOKENS_MAX], value[SL_TOKENS_MAX];
    uint8_t place[SL_TOKENS_MAX];
    for (int64_t j = 0; j < n; j++)
        l[j] = ranked_logit(R, h, feature[i], feature[j]);
    make_list(l, i, n, m + 1, place, value);
    for (int64_t q = 0; q < m; q++) {
        best[q][lane] = value[q + 1];
        at[q][lane] = place[q + 1];
    }
}

/* The same from ranks of the features of head h; place: of the row's features, their token plus 1, of others 0. */
ALWAYS void ranked_lists(const token_ranks *R, int64_t h, const int32_t *feature, const uint8_t *place, int64_t i0, const lists *s, int64_t m)
{
    chosen_few c;
    float own[VW] = { 0 }, best[SHORT - 1][VW] = { { 0 } }, at[SHORT - 1][VW] = { { 0 } };
    for (int64_t i = 0; i < sl_min64(VW, s->n - i0); i++) {
        int64_t f = feature[i0 + i], found = 0;
        const token_best *b = R->best + (h * R->F + f) * R->n;
        own[i] = ranked_logit(R, h, f, f);
        for (int64_t r = 0; r < R->n && found < m - 1; r++) {
            best[found][i] = b[r].logit;
            at[found][i] = (float)(place[b[r].feature] - 1);
            found += place[b[r].feature] != 0;
        }
        if (found < m - 1)
            all_of_row(R, h, feature, i0 + i, s->n, m - 1, best, at, i);
    }
    c.own = vf_load(own);
    for (int64_t q = 0; q < m - 1; q++) {
        c.best[q] = vf_load(best[q]);
        c.place[q] = vf_load(at[q]);
    }
    put_short(&c, i0, s, m);
}

static bool is_brief(const lists *s) { return s->m < s->n && s->m >= 2 && s->m <= SHORT; }

static void block_lists(float *logit, int64_t i0, bool chosen, const lists *s)
{
    bool brief = !chosen && is_brief(s);
    for (int64_t i = i0; i < sl_min64(i0 + NR, s->n); i += brief ? VW : 1) {
        float *l = logit + i - i0;
        if (!brief)
            long_list(logit, i - i0, i, chosen, s);
        else if (s->m == 2)
            short_lists(l, i, s, 2);
        else if (s->m == 3)
            short_lists(l, i, s, 3);
        else
            short_lists(l, i, s, 4);
    }
}

/* ---- rows ---- */

static void attend_row(const sl_tokens *a, const float *qk, token_row t, bool chosen, const token_desk *d, lists s)
{
    int64_t w = a->d_c / a->n_head;
    if (qk)
        token_desk_bring(a, qk, t, d);
    for (int64_t h = 0; h < a->n_head; h++, s.P += a->keep, s.at += a->keep) {
        if (qk)
            SL_V(sl_simd_pack)(d->q + h * w, a->d_c, true, w, t.n, d->panel);
        for (int64_t i = 0; i < t.n; i += NR) {
            for (int64_t j = 0; qk && j < t.n; j += MR)
                SL_V(sl_simd_micro)(w, d->key + j * a->d_c + h * w, a->d_c, 1, d->panel + i * w, d->logit + j * NR, NR);
            if (qk)
                block_lists(d->logit, i, chosen, &s);
            for (int64_t x = i; !qk && x < sl_min64(i + NR, t.n); x++)
                long_list(NULL, 0, x, chosen, &s);
        }
    }
}

/* place: [F], zeros, which it is again afterwards. */
static void attend_row_ranked(const sl_tokens *a, const token_ranks *R, token_row t, uint8_t *place, lists s)
{
    const int32_t *feature = a->z->idx + t.e0;
    for (int64_t j = 0; j < t.n; j++)
        place[feature[j]] = (uint8_t)(j + 1);
    for (int64_t h = 0; h < a->n_head; h++, s.P += a->keep, s.at += a->keep)
        for (int64_t i = 0; i < t.n; i += VW)
            if (s.m == 2)
                ranked_lists(R, h, feature, place, i, &s, 2);
            else if (s.m == 3)
                ranked_lists(R, h, feature, place, i, &s, 3);
            else
                ranked_lists(R, h, feature, place, i, &s, 4);
    for (int64_t j = 0; j < t.n; j++)
        place[feature[j]] = 0;
}

void SL_V(sl_simd_tokens_attend)(const sl_kern *k, const sl_tokens *a, const sl_tensor *QK, bool chosen, sl_tensor *P, sl_tensor *at)
{
    float *p = P->data;
    uint8_t *place = places_of(at);
    int64_t width = a->n_head * a->keep, used = n_tokens(a), most = most_tokens(a), size = token_desk_floats(a, most);
    token_ranks R = { .F = 0 };
    assert(sl_numel(P) == a->z->capacity * width && sl_numel(at) == sl_numel(P));
    float *room = sl_kern_scratch(k, SL_SIMD_ATTN, (size_t)(k->n_threads * size) * sizeof *room);
    bool ranked = QK && !chosen && a->keep <= SHORT && SL_V(sl_tokens_rank)(k, a, QK->data, &R);
    #pragma omp parallel for num_threads(sl_team(k, used * width)) schedule(static)
    for (int64_t r = 0; r < (room ? a->z->n_rows : 0); r++) {
        token_row t = row_of_tokens(a, r);
        token_desk d = token_desk_at(a, most, room + omp_get_thread_num() * size);
        lists s = { t.n, n_listed(a, t.n), a->keep, width, p + t.e0 * width, place + t.e0 * width };
        if (ranked && is_brief(&s))
            attend_row_ranked(a, &R, t, R.place + omp_get_thread_num() * R.F, s);
        else
            attend_row(a, QK ? QK->data : NULL, t, chosen, &d, s);
    }
    memset(p + used * width, 0, (size_t)(sl_numel(P) - used * width) * sizeof *p);
    memset(place + used * width, 0, (size_t)(sl_numel(P) - used * width));
}

/* ---- backward ---- */

/* One head of one token: dl = P (dP - sum P dP) / sqrt(w); dq = sum dl k_j, dk_j += dl q. key[j] and dk + j row: token j's, from column 0. */
ALWAYS void head_back(const float *q, float *dq, const float *const *key, float *dk, int64_t row, int64_t off, const float *P, const float *dP,
                      const uint8_t *at, int64_t m, int64_t w)
{
    float sum = 0, scale = (float)(1 / sqrt((double)w)), dl[SL_TOKENS_MAX];
    for (int64_t x = 0; x < m; x++)
        sum += P[x] * dP[x];
    for (int64_t x = 0; x < m; x++)
        dl[x] = P[x] * (dP[x] - sum) * scale;
    #pragma GCC unroll 2
    for (int64_t c = 0; c < w; c += VW) {
        vf mine = vf_get(q + c, w - c), to = vf_set(0);
        for (int64_t x = 0; x < m; x++) {
            float *dkj = dk + at[x] * row + off + c;
            vf_put(dkj, vf_fma(vf_set(dl[x]), mine, vf_get(dkj, w - c)), w - c);
            to = vf_fma(vf_set(dl[x]), vf_get(key[at[x]] + off + c, w - c), to);
        }
        vf_put(dq + c, to, w - c);
    }
}

/* d [n, 2 d_c]: the gradient of the row's queries and keys. */
static void row_back(const sl_tokens *a, const float *qk, token_row t, const float *P, const float *dP, const uint8_t *at, float *d)
{
    int64_t w = a->d_c / a->n_head, m = n_listed(a, t.n), row = 2 * a->d_c;
    const float *key[SL_TOKENS_MAX];
    for (int64_t i = 0; i < t.n; i++) {
        memset(d + i * row + a->d_c, 0, (size_t)a->d_c * sizeof *d);
        key[i] = qk + table_row(a, t.e0 + i) * row + a->d_c;
    }
    for (int64_t i = 0; i < t.n; i++)
        for (int64_t h = 0; h < a->n_head; h++, P += a->keep, dP += a->keep, at += a->keep) {
            const float *q = key[i] - a->d_c + h * w;
            if (w == USUAL_HEAD)
                head_back(q, d + i * row + h * w, key, d + a->d_c, row, h * w, P, dP, at, m, USUAL_HEAD);
            else
                head_back(q, d + i * row + h * w, key, d + a->d_c, row, h * w, P, dP, at, m, w);
        }
}

void SL_V(sl_simd_tokens_attend_back)(const sl_kern *k, const sl_tokens *a, const sl_tensor *QK, const sl_tensor *P, const sl_tensor *at,
                                      const sl_tensor *dP, sl_tensor *dQK)
{
    int64_t width = a->n_head * a->keep;
    const float *p = P->data, *dp = dP->data;
    const uint8_t *place = places_of(at);
    float *out = dQK->data;
    #pragma omp parallel for num_threads(sl_team(k, n_tokens(a) * width)) schedule(static)
    for (int64_t r = 0; r < a->z->n_rows; r++) {
        token_row t = row_of_tokens(a, r);
        row_back(a, QK->data, t, p + t.e0 * width, dp + t.e0 * width, place + t.e0 * width, out + t.e0 * 2 * a->d_c);
    }
}
