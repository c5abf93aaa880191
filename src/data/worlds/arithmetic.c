/* Addition: <bos> a + b = s, D digits each (D = 2 has only 10^4 instances; the default 3 has 10^6), loss on the digits of s alone. With order
 * `reversed` (the default, which a two-layer model learns surely) s comes least significant digit first: at every step the carry is at hand.
 * Activations at '=' and at all digits of s but the last, where s is being produced.
 *   atoms       the digits of a and b (a0 the units): indicators a0=0 .. b2=9
 *   composites  carry0 = [a0 + b0 >= 10] and s0 (order 2); carry1, s1, ... (order 3, with the carry before)
 * A fifth of the pairs (a0, b0) is withheld from SAE training. */
#include "data/worlds/world.h"

#include <string.h>

enum { PLUS = 1, DIGIT = 2, EQUALS = 12, VOCAB = 13, MAX_D = 4, PAIRS = 100, WITHHELD = 20, REVERSED = 1 };

static const sl_task_token vocabulary[VOCAB] = {
    { "\n", "<bos>" }, { "+", "+" }, { "0", "0" }, { "1", "1" }, { "2", "2" }, { "3", "3" }, { "4", "4" },
    { "5", "5" },      { "6", "6" }, { "7", "7" }, { "8", "8" }, { "9", "9" }, { "=", "=" },
};
static const char *const orders[] = { "plain", "reversed", NULL };

typedef struct options { int64_t digits; int order; } options;
static const sl_opt opts[] = {
    SL_OPT_INT(options, digits, 3, 1, MAX_D, "digits", "of each summand"),
    SL_OPT_CHOICE(options, order, REVERSED, orders, "of the sum's digits: most significant first, or reversed"),
    SL_OPT_END
};

typedef struct state { const uint8_t *withheld; } state; /* [PAIRS] at 10 a0 + b0 */

/* Features: a_i=v at 10 i + v, b_i=v at 10 (D + i) + v, carry_i at 20 D + i, s_i=v at 21 D + 10 i + v (i = 0 .. D, the top one 0 or 1). */
static int64_t first_carry(int64_t D) { return 20 * D; }
static int64_t first_sum(int64_t D) { return 21 * D; }

static void name_features(sl_world_feature *f, int64_t D)
{
    int32_t family = 0;
    for (int64_t i = 0; i < 2 * D; i++, family++)
        for (int v = 0; v < 10; v++)
            sl_task_feature(f++, 1, family, 0, NULL, "%c%d=%d", i < D ? 'a' : 'b', (int)(i % D), v);
    for (int64_t i = 0; i < D; i++, family++) {
        int32_t atom[] = { (int32_t)(10 * i), (int32_t)(10 * (D + i)), (int32_t)(first_carry(D) + i - 1) };
        sl_task_feature(f++, i ? 3 : 2, family, i ? 3 : 2, atom, "carry%d", (int)i);
    }
    for (int64_t i = 0; i <= D; i++, family++) {
        int32_t atom[] = { (int32_t)(10 * i), (int32_t)(10 * (D + i)), (int32_t)(first_carry(D) + i - 1) };
        for (int v = 0; v < (i < D ? 10 : 2); v++)
            if (i < D)
                sl_task_feature(f++, i ? 3 : 2, family, i ? 3 : 2, atom, "s%d=%d", (int)i, v);
            else
                sl_task_feature(f++, 3, family, 1, atom + 2, "s%d=%d", (int)i, v);
    }
}

static sl_status build(sl_world *w, sl_err *err)
{
    const options *o = (const void *)w->opts;
    int64_t D = o->digits;
    sl_world_feature *f;
    state *s = sl_world_alloc(w, sizeof *s);
    if (!s || !(s->withheld = sl_task_withhold(w, PAIRS, WITHHELD)))
        return sl_world_no_memory(w, err);
    w->state = s;
    SL_TRY(sl_task_build(w, vocabulary, VOCAB, 3 * D + 4, first_sum(D) + 10 * D + 2, &f, err));
    name_features(f, D);
    w->task.measure = "exact_match";
    w->task.gate = .99;
    w->task.steps = 4000;
    return SL_OK;
}

/* Token places: a_i at D - i, b_i at 2 D + 1 - i, '=' at 2 D + 2, s_i behind it. */
static int64_t place_a(int64_t D, int64_t i) { return D - i; }
static int64_t place_b(int64_t D, int64_t i) { return 2 * D + 1 - i; }
static int64_t place_s(const options *o, int64_t i) { return 2 * o->digits + 3 + (o->order == REVERSED ? i : o->digits - i); }

static void instance(const sl_world *w, sl_rng *rng, int32_t *tokens, uint8_t *uses)
{
    const options *o = (const void *)w->opts;
    int64_t D = o->digits, carry = 0;
    tokens[D + 1] = PLUS;
    tokens[2 * D + 2] = EQUALS;
    for (int64_t i = 0; i < D; i++) {
        int32_t a = (int32_t)sl_rng_below(rng, 10), b = (int32_t)sl_rng_below(rng, 10);
        int64_t s = a + b + carry;
        tokens[place_a(D, i)] = DIGIT + a;
        tokens[place_b(D, i)] = DIGIT + b;
        tokens[place_s(o, i)] = DIGIT + (int32_t)(s % 10);
        carry = s / 10;
    }
    tokens[place_s(o, D)] = DIGIT + (int32_t)carry;
    for (int64_t t = 2 * D + 2; t < 3 * D + 3; t++)
        uses[t] = SL_TASK_LOSS | SL_TASK_ROW | SL_TASK_SCORE;
}

static int digit(const int32_t *tokens, int64_t place) { return tokens[place] - DIGIT; }

static bool withheld(const sl_world *w, const int32_t *tokens)
{
    const options *o = (const void *)w->opts;
    const state *s = w->state;
    return s->withheld[10 * digit(tokens, place_a(o->digits, 0)) + digit(tokens, place_b(o->digits, 0))];
}

static bool is_instance(const options *o, const int32_t *tokens)
{
    int64_t D = o->digits, carry = 0;
    bool good = tokens[0] == 0 && tokens[D + 1] == PLUS && tokens[2 * D + 2] == EQUALS;
    for (int64_t t = 1; t < 3 * D + 4; t++)
        good = good && (t == D + 1 || t == 2 * D + 2 || (tokens[t] >= DIGIT && tokens[t] < DIGIT + 10));
    for (int64_t i = 0; i < D && good; i++) {
        int64_t s = digit(tokens, place_a(D, i)) + digit(tokens, place_b(D, i)) + carry;
        good = digit(tokens, place_s(o, i)) == s % 10;
        carry = s / 10;
    }
    return good && digit(tokens, place_s(o, D)) == carry;
}

/* A value v of the indicators that begin at feature f, known from position `from` on. */
static void mark(const sl_world *w, uint8_t *on, uint8_t *unknown, int64_t f, int n_values, int v, int64_t from)
{
    for (int64_t t = 0; t < w->task.T; t++)
        for (int i = 0; i < n_values; i++) {
            on[t * w->truth.n + f + i] = t >= from && i == v;
            unknown[t * w->truth.n + f + i] = t < from;
        }
}

static bool labels(const sl_world *w, const int32_t *tokens, uint8_t *on, uint8_t *unknown)
{
    const options *o = (const void *)w->opts;
    int64_t D = o->digits;
    int carry = 0;
    if (!is_instance(o, tokens))
        return false;
    for (int64_t i = 0; i < D; i++) {
        int a = digit(tokens, place_a(D, i)), b = digit(tokens, place_b(D, i)), s = a + b + carry;
        int64_t known = place_b(D, 0); /* carries come from the units, which are read last */
        carry = s >= 10;
        mark(w, on, unknown, 10 * i, 10, a, place_a(D, i));
        mark(w, on, unknown, 10 * (D + i), 10, b, place_b(D, i));
        mark(w, on, unknown, first_carry(D) + i, 1, carry ? 0 : -1, known);
        mark(w, on, unknown, first_sum(D) + 10 * i, 10, s % 10, known);
    }
    mark(w, on, unknown, first_sum(D) + 10 * D, 2, carry, place_b(D, 0));
    return true;
}

const sl_world_ops sl_world_arithmetic = {
    .info = { .name = "arithmetic", .what = "addition of two numbers: digits are atoms; carries and the digits of the sum are composites", .source = "this project",
              .kind = SL_WORLD_TASK, .has_ood = true, .opts = opts, .opts_size = sizeof(options) },
    .build = build, .instance = instance, .withheld = withheld, .labels = labels,
};
