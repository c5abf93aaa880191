/* What tokens say to each other, gated and summed. A thread owns rows; a token's list is short, and each entry is an axpy (forward) or a dot
 * product and an axpy (backward) of the w columns of a head. */
#include "kern/simd_compose.h"
#include "kern/simd_sparse.h"

#include <math.h>
#include <omp.h>
#include <string.h>

typedef enum mix_kind { DIFFERENCE, PLAIN, PRODUCT } mix_kind;

/* Values of the tokens of one row, token j's times s[j]; to[j]: whose gradient it is. */
typedef struct values { const float *row[SL_TOKENS_MAX]; float s[SL_TOKENS_MAX]; uint8_t to[SL_TOKENS_MAX]; } values;

typedef struct mixing {
    const sl_tokens *a;
    const float *P, *V, *gate, *w;
    const uint8_t *at;
    int64_t width, head, keep; /* columns of a row of V, of a head; of a list */
    mix_kind kind;
    values own, partner, *seen; /* seen: own or partner */
    token_row t;
    int64_t m; /* entries of a list */
} mixing;

static mixing mixing_of(const sl_tokens *a, const sl_tokens_value *v)
{
    return (mixing){ .a = a, .P = v->P->data, .V = v->V->data, .gate = v->gate ? v->gate->data : NULL, .w = v->gate ? v->w->data : NULL, .at = places_of(v->at),
                     .width = (a->product ? 2 : 1) * a->d_c, .head = a->d_c / a->n_head, .keep = a->keep,
                     .kind = a->product ? PRODUCT : a->subtract ? DIFFERENCE : PLAIN };
}

/* n values: those of t's tokens, over and over; of a row without tokens, 0. */
static void find_values(const mixing *m, token_row t, int64_t n, values *v)
{
    const sl_tokens *a = m->a;
    const float *z = a->z->val;
    for (int64_t j = 0; j < n; j++) {
        int64_t e = t.n ? t.e0 + j % t.n : 0;
        v->row[j] = t.n ? m->V + table_row(a, e) * m->width : m->V;
        v->s[j] = t.n == 0 ? 0 : a->by_token ? 1 : (float)a->unit * z[e];
        v->to[j] = (uint8_t)(t.n ? j % t.n : 0);
    }
}

static void begin_row(mixing *m, int64_t r)
{
    m->t = row_of_tokens(m->a, r);
    m->m = n_listed(m->a, m->t.n);
    m->seen = m->a->shuffle ? &m->partner : &m->own;
    find_values(m, m->t, m->t.n, &m->own);
    if (m->a->shuffle)
        find_values(m, partner_of(m->a, r), m->t.n, &m->partner);
}

/* ---- forward ---- */

/* O [w] of token i and head h; P, at: its list. */
ALWAYS void mix_head(const mixing *m, int64_t i, int64_t h, const float *P, const uint8_t *at, float *O, int64_t w, mix_kind kind)
{
    const values *v = m->seen;
    for (int64_t c = 0; c < w; c += VW) {
        int64_t left = w - c, off = h * w + c;
        vf own = vf_set(m->own.s[i]) * vf_get(m->own.row[i] + off, left), sum = own * vf_set(kind == PLAIN ? P[0] : 0);
        vf less = own * vf_set(kind == DIFFERENCE ? 1 : 0);
        for (int64_t q = 1; q < m->m; q++) {
            int64_t j = at[q];
            sum = vf_fma(vf_set(P[q]), vf_fma(vf_set(v->s[j]), vf_get(v->row[j] + off, left), -less), sum);
        }
        if (kind == PRODUCT)
            sum *= vf_set(m->own.s[i]) * vf_get(m->own.row[i] + m->a->d_c + off, left);
        vf_put(O + off, sum, left);
    }
}

ALWAYS void mix_heads(const mixing *m, int64_t i, float *O, int64_t w, mix_kind kind)
{
    int64_t at = (m->t.e0 + i) * m->a->n_head * m->keep;
    for (int64_t h = 0; h < m->a->n_head; h++, at += m->keep)
        mix_head(m, i, h, m->P + at, m->at + at, O, w, kind);
}

static void mix_token(const mixing *m, int64_t i, float *O)
{
    bool usual = m->head == USUAL_HEAD;
    if (m->kind == DIFFERENCE && usual)
        mix_heads(m, i, O, USUAL_HEAD, DIFFERENCE);
    else if (m->kind == DIFFERENCE)
        mix_heads(m, i, O, m->head, DIFFERENCE);
    else if (m->kind == PLAIN)
        mix_heads(m, i, O, m->head, PLAIN);
    else
        mix_heads(m, i, O, m->head, PRODUCT);
}

static float gate_of(const mixing *m, int64_t i, const float *O)
{
    if (!m->gate)
        return 1;
    float s = m->gate[table_row(m->a, m->t.e0 + i)] + vf_exact_dot(m->w, O, m->a->d_c);
    return 1 / (1 + expf(-s));
}

static void mix_row(mixing *m, int64_t r, float *O, float *y)
{
    int64_t d = m->a->d_c;
    begin_row(m, r);
    float *to = y + (m->a->each ? m->t.e0 : r) * d;
    memset(to, 0, (size_t)((m->a->each ? m->t.n : 1) * d) * sizeof *to);
    for (int64_t i = 0; i < m->t.n; i++) {
        mix_token(m, i, O);
        vf_add_to(m->a->each ? to + i * d : to, gate_of(m, i, O), O, d);
    }
}

void SL_V(sl_simd_tokens_mix)(const sl_kern *k, const sl_tokens *a, const sl_tokens_value *v, sl_tensor *y)
{
    int64_t used = n_tokens(a), size = sl_round_up(a->d_c, 16);
    float *room = sl_kern_scratch(k, SL_SIMD_ROWS, (size_t)(k->n_threads * size) * sizeof *room), *out = y->data;
    #pragma omp parallel num_threads(sl_team(k, used * a->d_c))
    {
        mixing m = mixing_of(a, v);
        #pragma omp for schedule(static)
        for (int64_t r = 0; r < (room ? a->z->n_rows : 0); r++)
            mix_row(&m, r, room + omp_get_thread_num() * size, out);
    }
    if (a->each)
        memset(out + used * a->d_c, 0, (size_t)((a->z->capacity - used) * a->d_c) * sizeof *out);
}

/* ---- backward ---- */

/* Of a thread: O and dO [d_c] of a token; of a row: gradients of its own values and of those that it sees [n, width]. */
typedef struct mixing_back { float *O, *dO, *dw, *d_own, *d_seen, *dP, *dgate; } mixing_back;

ALWAYS void back_head(const mixing *m, int64_t i, int64_t h, int64_t list, const mixing_back *b, int64_t w, mix_kind kind)
{
    const values *v = m->seen;
    const float *P = m->P + list;
    const uint8_t *at = m->at + list;
    float *mine = b->d_own + i * m->width;
    vf dot[SL_TOKENS_MAX];
    for (int64_t q = 0; q < m->m; q++)
        dot[q] = vf_set(0);
    for (int64_t c = 0; c < w; c += VW) {
        int64_t left = w - c, off = h * w + c;
        vf g = vf_get(b->dO + off, left), s = vf_set(m->own.s[i]), own = s * vf_get(m->own.row[i] + off, left), u = g, all = vf_set(0);
        vf less = own * vf_set(kind == DIFFERENCE ? 1 : 0);
        if (kind == PRODUCT)
            u *= s * vf_get(m->own.row[i] + m->a->d_c + off, left);
        for (int64_t q = 1; q < m->m; q++) {
            int64_t j = at[q];
            float *to = b->d_seen + v->to[j] * m->width + off;
            vf p = vf_set(P[q]), x = vf_fma(vf_set(v->s[j]), vf_get(v->row[j] + off, left), -less);
            dot[q] = vf_fma(u, x, dot[q]);
            vf_put(to, vf_fma(p, u, vf_get(to, left)), left);
            if (kind == PRODUCT)
                all = vf_fma(p, x, all);
            else
                all -= p;
        }
        if (kind == PLAIN) {
            dot[0] = vf_fma(u, own, dot[0]);
            all = vf_set(P[0]);
        }
        float *to = mine + off + (kind == PRODUCT ? m->a->d_c : 0);
        vf_put(to, vf_fma(all, g, vf_get(to, left)), left);
    }
    for (int64_t q = 0; b->dP && q < m->m; q++)
        b->dP[list + q] = vf_sum(dot[q]);
}

ALWAYS void back_heads(const mixing *m, int64_t i, const mixing_back *b, int64_t w, mix_kind kind)
{
    int64_t at = (m->t.e0 + i) * m->a->n_head * m->keep;
    for (int64_t h = 0; h < m->a->n_head; h++, at += m->keep)
        back_head(m, i, h, at, b, w, kind);
}

static void back_pairs(const mixing *m, int64_t i, const mixing_back *b)
{
    bool usual = m->head == USUAL_HEAD;
    if (m->kind == DIFFERENCE && usual)
        back_heads(m, i, b, USUAL_HEAD, DIFFERENCE);
    else if (m->kind == DIFFERENCE)
        back_heads(m, i, b, m->head, DIFFERENCE);
    else if (m->kind == PLAIN)
        back_heads(m, i, b, m->head, PLAIN);
    else
        back_heads(m, i, b, m->head, PRODUCT);
}

/* From dy [d_c] of token i's y: dO = g dy + g (1 - g) (O . dy) w */
static void back_token(const mixing *m, int64_t i, const float *dy, const mixing_back *b)
{
    int64_t d = m->a->d_c;
    mix_token(m, i, b->O);
    float g = gate_of(m, i, b->O), ds = m->gate ? g * (1 - g) * vf_exact_dot(b->O, dy, d) : 0;
    for (int64_t c = 0; c < d; c += VW)
        vf_put(b->dO + c, vf_set(g) * vf_get(dy + c, d - c), d - c);
    if (m->gate) {
        vf_add_to(b->dO, ds, m->w, d);
        vf_add_to(b->dw, ds, b->O, d);
    }
    if (b->dgate)
        b->dgate[m->t.e0 + i] = ds;
    back_pairs(m, i, b);
}

/* d [n, width] of the tokens of t: rows of dV without their strength, and dz. */
static void put_values_back(const mixing *m, token_row t, const float *d, sl_tensor *dV, sl_tensor *dz)
{
    float unit = m->a->by_token ? 1 : (float)m->a->unit;
    for (int64_t i = 0; i < t.n; i++, d += m->width) {
        float *to = dV ? (float *)dV->data + (t.e0 + i) * m->width : NULL;
        for (int64_t c = 0; to && c < m->width; c += VW)
            vf_put(to + c, vf_set(unit) * vf_get(d + c, m->width - c), m->width - c);
        if (dz)
            ((float *)dz->data)[t.e0 + i] = unit * vf_exact_dot(m->V + table_row(m->a, t.e0 + i) * m->width, d, m->width);
    }
}

static void back_row(mixing *m, int64_t r, const float *dy, const sl_tokens_grad *g, const mixing_back *b)
{
    const sl_tokens *a = m->a;
    token_row partner = partner_of(a, r);
    begin_row(m, r);
    memset(b->d_own, 0, (size_t)(m->t.n * m->width) * sizeof *b->d_own);
    if (a->shuffle)
        memset(b->d_seen, 0, (size_t)((partner.n + 1) * m->width) * sizeof *b->d_seen);
    for (int64_t i = 0; i < m->t.n; i++)
        back_token(m, i, dy + (a->each ? m->t.e0 + i : r) * a->d_c, b);
    put_values_back(m, m->t, b->d_own, g->V, g->z);
    if (a->shuffle)
        put_values_back(m, partner, b->d_seen, g->V_of_partner, g->z_of_partner);
}

static mixing_back back_at(const sl_tokens *a, int64_t width, int64_t most, const sl_tokens_grad *g, float *room)
{
    mixing_back b = { .O = room, .dO = room + a->d_c, .d_own = room + 2 * a->d_c, .dP = g->P ? g->P->data : NULL, .dgate = g->gate ? g->gate->data : NULL };
    b.d_seen = a->shuffle ? b.d_own + most * width : b.d_own;
    return b;
}

void SL_V(sl_simd_tokens_mix_back)(const sl_kern *k, const sl_tokens *a, const sl_tokens_value *v, const sl_tensor *dy, const sl_tokens_grad *g)
{
    int64_t rows = a->z->n_rows, per = (rows + TOKEN_CHUNKS - 1) / TOKEN_CHUNKS, width = (a->product ? 2 : 1) * a->d_c, most = most_tokens(a);
    int64_t size = sl_round_up(2 * a->d_c + (2 * most + 1) * width, 16);
    float *room = sl_kern_scratch(k, SL_SIMD_ROWS, (size_t)(k->n_threads * size) * sizeof *room);
    float *dw = sl_kern_scratch(k, SL_SIMD_PART, (size_t)(TOKEN_CHUNKS * a->d_c) * sizeof *dw);
    if (!room || !dw)
        return;
    memset(dw, 0, (size_t)(TOKEN_CHUNKS * a->d_c) * sizeof *dw);
    #pragma omp parallel num_threads(sl_team(k, n_tokens(a) * a->d_c))
    {
        mixing m = mixing_of(a, v);
        mixing_back b = back_at(a, width, most, g, room + omp_get_thread_num() * size);
        #pragma omp for schedule(static, 1)
        for (int64_t chunk = 0; chunk < TOKEN_CHUNKS; chunk++) {
            b.dw = dw + chunk * a->d_c;
            for (int64_t r = chunk * per; r < sl_min64((chunk + 1) * per, rows); r++)
                back_row(&m, r, dy->data, g, &b);
        }
    }
    for (int64_t chunk = 0; g->w && chunk < TOKEN_CHUNKS; chunk++)
        vf_add_to(g->w->data, 1, dw + chunk * a->d_c, a->d_c);
}
