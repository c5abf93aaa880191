/* Dyck-2 (as in Menon et al. 2024, arXiv 2410.11767): well-nested sequences of ( ) [ ] of a fixed length, at most 8 deep. At each step an
 * opening bracket with probability 1/2 where depth and what is left allow both. Scored where a closing bracket comes next: its kind.
 *   atoms       depth, one-hot 0 .. 8; the kind of the innermost open bracket, top=( and top=[
 *   composites  depth = d and top, d = 1 .. 8
 * Withheld from SAE training: one of the four combinations of the kinds at depths 3 and 4. */
#include "data/worlds/world.h"

enum { ROUND = 1, SQUARE = 3, VOCAB = 5, DEPTH = 8, COMBOS = 4 }; /* a closing token follows its opening one */
enum { F_DEPTH = 0, F_TOP = DEPTH + 1, F_BOTH = F_TOP + 2, N_FEATURES = F_BOTH + 2 * DEPTH };

static const sl_task_token vocabulary[VOCAB] = { { "\n", "<bos>" }, { "(", "(" }, { ")", ")" }, { "[", "[" }, { "]", "]" } };
static const int8_t side[VOCAB] = { 0, 0, 1, 0, -1 };

typedef struct options { int64_t length; } options;
static const sl_opt opts[] = { SL_OPT_INT(options, length, 32, 8, 256, "brackets", "of an instance; even"), SL_OPT_END };

typedef struct state { const uint8_t *withheld; } state; /* [COMBOS] at 2 (depth 3 is square) + (depth 4 is square) */

static sl_status build(sl_world *w, sl_err *err)
{
    const options *o = (const void *)w->opts;
    sl_world_feature *f;
    state *s = sl_world_alloc(w, sizeof *s);
    if (o->length % 2)
        return sl_fail(err, SL_ARG, "length", "an even number", "dyck2: %lld brackets", (long long)o->length);
    if (!s || !(s->withheld = sl_task_withhold(w, COMBOS, 1)))
        return sl_world_no_memory(w, err);
    w->state = s;
    SL_TRY(sl_task_build(w, vocabulary, VOCAB, o->length + 1, N_FEATURES, &f, err));
    for (int d = 0; d <= DEPTH; d++)
        sl_task_feature(f + F_DEPTH + d, 1, 0, 0, NULL, "depth=%d", d);
    for (int k = 0; k < 2; k++) {
        sl_task_feature(f + F_TOP + k, 1, 1, 0, NULL, "top=%c", "(["[k]);
        for (int d = 1; d <= DEPTH; d++)
            sl_task_feature(f + F_BOTH + 2 * (d - 1) + k, 2, 2, 2, (int32_t[]){ F_DEPTH + d, F_TOP + k }, "depth=%d,top=%c", d, "(["[k]);
    }
    w->task.measure = "agreement";
    w->task.side = side;
    w->task.gate = .98;
    w->task.steps = 4000;
    return SL_OK;
}

static void instance(const sl_world *w, sl_rng *rng, int32_t *tokens, uint8_t *uses)
{
    const options *o = (const void *)w->opts;
    int32_t open[DEPTH];
    int64_t depth = 0;
    for (int64_t t = 1; t <= o->length; t++) {
        int64_t left = o->length - t + 1;
        bool can_open = depth < DEPTH && depth < left, can_close = depth > 0; /* left - depth is even: depth == left leaves only closing */
        uses[t - 1] = SL_TASK_LOSS | SL_TASK_ROW;
        if (can_open && (!can_close || sl_rng_below(rng, 2) == 0)) {
            open[depth] = sl_rng_below(rng, 2) ? SQUARE : ROUND;
            tokens[t] = open[depth++];
        } else {
            tokens[t] = open[--depth] + 1;
            uses[t - 1] |= SL_TASK_SCORE;
        }
    }
    uses[o->length] = SL_TASK_ROW;
}

/* Follows one token; false: not well nested. */
static bool follow(int32_t token, int32_t *open, int64_t *depth)
{
    if (token == ROUND || token == SQUARE) {
        if (*depth == DEPTH)
            return false;
        open[(*depth)++] = token;
        return true;
    }
    return token > 0 && *depth > 0 && open[--*depth] == token - 1;
}

static bool withheld(const sl_world *w, const int32_t *tokens)
{
    const state *s = w->state;
    int32_t open[DEPTH];
    int64_t depth = 0;
    for (int64_t t = 1; t < w->task.T; t++)
        if (follow(tokens[t], open, &depth) && depth == 4 && s->withheld[2 * (open[2] == SQUARE) + (open[3] == SQUARE)])
            return true;
    return false;
}

static bool labels(const sl_world *w, const int32_t *tokens, uint8_t *on, uint8_t *unknown)
{
    int32_t open[DEPTH];
    int64_t depth = 0;
    (void)unknown; /* a prefix determines all of it */
    if (tokens[0] != 0)
        return false;
    for (int64_t t = 0; t < w->task.T; t++, on += N_FEATURES) {
        if (t > 0 && !follow(tokens[t], open, &depth))
            return false;
        on[F_DEPTH + depth] = 1;
        if (depth == 0)
            continue;
        int k = open[depth - 1] == SQUARE;
        on[F_TOP + k] = 1;
        on[F_BOTH + 2 * (depth - 1) + k] = 1;
    }
    return depth == 0;
}

const sl_world_ops sl_world_dyck2 = {
    .info = { .name = "dyck2", .what = "nested brackets of two kinds: depth and the innermost kind are atoms, both together composites", .source = "arXiv 2410.11767",
              .kind = SL_WORLD_TASK, .has_ood = true, .opts = opts, .opts_size = sizeof(options) },
    .build = build, .instance = instance, .withheld = withheld, .labels = labels,
};
