/* Boolean logic: <bos> A=v;B=v;C=v;D=v;EXPR=ans, loss on the answer alone. EXPR is a literal (.1), (literal op literal) (.3) or (sub op sub) (.6),
 * where a sub is a literal or (literal op literal), evenly; a literal is a variable, negated with probability .25; variables are distinct, ops
 * uniform over AND, OR, XOR. Activations at the last '='.
 *   atoms       the values of A, B, C, D; the root's op; the ops of its left and right sub
 *   composites  the values of the left and right sub (order 2: a literal's; 3: an op's), the root's value
 * XOR is the case in which a linear decoder cannot use two atoms. Withheld from SAE training: 5 of the 27 combinations of the three ops.
 * Everything but the variables' values is labelled at the last '=' alone and unknown before it. */
#include "data/worlds/world.h"

#include <string.h>

enum { NOT = 1, AND = 2, OPEN = 3, CLOSE = 4, ZERO = 5, ONE = 6, SEMI = 7, EQUALS = 8, VAR_A = 9, XOR = 13, OR = 14, VOCAB = 15 };
enum { N_VAR = 4, START = 17, T_ALL = 36, OPS = 3, COMBOS = 27, WITHHELD = 5 };
enum { F_VALUE = 0, F_ROOT_OP = 4, F_LEFT_OP = 7, F_RIGHT_OP = 10, F_LEFT = 13, F_RIGHT = 14, F_ROOT = 15, N_FEATURES = 16 };

static const sl_task_token vocabulary[VOCAB] = {
    { "\n", "<bos>" }, { "!", "NOT" }, { "&", "AND" }, { "(", "(" }, { ")", ")" }, { "0", "0" }, { "1", "1" }, { ";", ";" },
    { "=", "=" },      { "A", "A" },   { "B", "B" },   { "C", "C" }, { "D", "D" }, { "^", "XOR" }, { "|", "OR" },
};
static const int32_t op_token[OPS] = { AND, OR, XOR };

typedef struct options { int64_t combinations; } options;
static const sl_opt opts[] = {
    SL_OPT_INT(options, combinations, WITHHELD, 1, COMBOS - 1, "", "of root, left and right op that SAE training never shows"),
    SL_OPT_END
};
typedef struct state { const uint8_t *withheld; } state; /* [COMBOS] at 9 root + 3 left + right */

static sl_status build(sl_world *w, sl_err *err)
{
    static const char *const op_name[OPS] = { "AND", "OR", "XOR" };
    const options *o = (const void *)w->opts;
    sl_world_feature *f;
    state *s = sl_world_alloc(w, sizeof *s);
    if (!s || !(s->withheld = sl_task_withhold(w, COMBOS, o->combinations)))
        return sl_world_no_memory(w, err);
    w->state = s;
    SL_TRY(sl_task_build(w, vocabulary, VOCAB, T_ALL, N_FEATURES, &f, err));
    for (int i = 0; i < N_VAR; i++)
        sl_task_feature(f + F_VALUE + i, 1, i, 0, NULL, "%c=1", 'A' + i);
    for (int i = 0; i < OPS; i++) {
        sl_task_feature(f + F_ROOT_OP + i, 1, 4, 0, NULL, "root_op=%s", op_name[i]);
        sl_task_feature(f + F_LEFT_OP + i, 1, 5, 0, NULL, "left_op=%s", op_name[i]);
        sl_task_feature(f + F_RIGHT_OP + i, 1, 6, 0, NULL, "right_op=%s", op_name[i]);
    }
    sl_task_feature(f + F_LEFT, 3, 7, 5, (int32_t[]){ 0, 1, 2, 3, F_LEFT_OP }, "left=1");
    sl_task_feature(f + F_RIGHT, 3, 8, 5, (int32_t[]){ 0, 1, 2, 3, F_RIGHT_OP }, "right=1");
    sl_task_feature(f + F_ROOT, 3, 9, 3, (int32_t[]){ F_LEFT, F_RIGHT, F_ROOT_OP }, "root=1");
    w->task.measure = "exact_match";
    w->task.gate = .98;
    w->task.steps = 4000;
    return SL_OK;
}

/* ---- reading an expression ---- */

typedef struct reader { const int32_t *tokens; int64_t at; bool value[N_VAR], good; } reader;
/* op: index, -1 for a literal; left, right: of the operands of an op */
typedef struct node { int op, left_op, right_op; bool value, left, right; } node;

static bool accept(reader *r, int32_t token)
{
    bool there = r->at < T_ALL && r->tokens[r->at] == token;
    r->at += there;
    return there;
}

static int op_of(reader *r)
{
    for (int i = 0; i < OPS; i++)
        if (accept(r, op_token[i]))
            return i;
    r->good = false;
    return 0;
}

static bool apply(int op, bool a, bool b) { return op == 0 ? a && b : op == 1 ? a || b : a != b; }

static bool read_literal(reader *r)
{
    bool negated = accept(r, NOT);
    for (int i = 0; i < N_VAR; i++)
        if (accept(r, VAR_A + i))
            return r->value[i] != negated;
    r->good = false;
    return false;
}

/* A literal or (literal op literal). */
static node read_sub(reader *r)
{
    node n = { .op = -1 };
    if (!accept(r, OPEN)) {
        n.value = read_literal(r);
        return n;
    }
    n.left = read_literal(r);
    n.op = op_of(r);
    n.right = read_literal(r);
    r->good = accept(r, CLOSE) && r->good;
    n.value = apply(n.op, n.left, n.right);
    return n;
}

static node read_root(reader *r)
{
    node n = { .op = -1, .left_op = -1, .right_op = -1 };
    if (!accept(r, OPEN)) {
        n.value = read_literal(r);
        return n;
    }
    node left = read_sub(r);
    n.op = op_of(r);
    node right = read_sub(r);
    r->good = accept(r, CLOSE) && r->good;
    n.left_op = left.op;
    n.right_op = right.op;
    n.left = left.value;
    n.right = right.value;
    n.value = apply(n.op, n.left, n.right);
    return n;
}

/* The instance's tree; *at: the place of its last '='. */
static bool read_instance(const int32_t *tokens, reader *r, node *root, int64_t *at)
{
    *r = (reader){ .tokens = tokens, .at = 1, .good = tokens[0] == 0 };
    for (int i = 0; i < N_VAR; i++) {
        r->good = accept(r, VAR_A + i) && accept(r, EQUALS) && r->good;
        r->value[i] = accept(r, ONE);
        r->good = (r->value[i] || accept(r, ZERO)) && accept(r, SEMI) && r->good;
    }
    *root = read_root(r);
    *at = r->at;
    return r->good && accept(r, EQUALS) && accept(r, root->value ? ONE : ZERO);
}

/* ---- writing one ---- */

typedef struct writer { sl_rng *rng; int32_t *tokens; int64_t at; int32_t variable[N_VAR]; int used; } writer;

static void put(writer *o, int32_t token) { o->tokens[o->at++] = token; }

static void put_literal(writer *o)
{
    if (sl_rng_uniform(o->rng) < .25)
        put(o, NOT);
    put(o, VAR_A + o->variable[o->used++]);
}

static void put_op(writer *o) { put(o, op_token[sl_rng_below(o->rng, OPS)]); }

static void put_sub(writer *o)
{
    if (sl_rng_below(o->rng, 2) == 0) {
        put_literal(o);
        return;
    }
    put(o, OPEN);
    put_literal(o);
    put_op(o);
    put_literal(o);
    put(o, CLOSE);
}

static void put_root(writer *o)
{
    double kind = sl_rng_uniform(o->rng);
    if (kind < .1) {
        put_literal(o);
        return;
    }
    put(o, OPEN);
    if (kind < .4) {
        put_literal(o);
        put_op(o);
        put_literal(o);
    } else {
        put_sub(o);
        put_op(o);
        put_sub(o);
    }
    put(o, CLOSE);
}

static void instance(const sl_world *w, sl_rng *rng, int32_t *tokens, uint8_t *uses)
{
    (void)w;
    writer o = { .rng = rng, .tokens = tokens, .at = 1 };
    reader r = { .tokens = tokens, .good = true };
    for (int i = 0; i < N_VAR; i++) {
        r.value[i] = sl_rng_below(rng, 2) == 1;
        put(&o, VAR_A + i);
        put(&o, EQUALS);
        put(&o, r.value[i] ? ONE : ZERO);
        put(&o, SEMI);
    }
    sl_world_choose(rng, N_VAR, N_VAR, o.variable);
    r.at = o.at;
    put_root(&o);
    put(&o, EQUALS);
    put(&o, read_root(&r).value ? ONE : ZERO);
    uses[o.at - 2] = SL_TASK_LOSS | SL_TASK_ROW | SL_TASK_SCORE;
}

static bool withheld(const sl_world *w, const int32_t *tokens)
{
    const state *s = w->state;
    reader r;
    node root;
    int64_t at;
    read_instance(tokens, &r, &root, &at);
    return root.left_op >= 0 && root.right_op >= 0 && s->withheld[9 * root.op + 3 * root.left_op + root.right_op];
}

static bool labels(const sl_world *w, const int32_t *tokens, uint8_t *on, uint8_t *unknown)
{
    reader r;
    node root;
    int64_t at;
    (void)w;
    if (!read_instance(tokens, &r, &root, &at))
        return false;
    for (int64_t t = 0; t < T_ALL; t++, on += N_FEATURES, unknown += N_FEATURES) {
        for (int i = 0; i < N_VAR; i++) {
            unknown[F_VALUE + i] = t < 3 + 4 * i; /* "A=v;": the value stands at 3, 7, 11, 15 */
            on[F_VALUE + i] = !unknown[F_VALUE + i] && r.value[i];
        }
        if (t < at) {
            memset(unknown + F_ROOT_OP, 1, N_FEATURES - F_ROOT_OP);
            continue;
        }
        for (int i = 0; i < OPS; i++) {
            on[F_ROOT_OP + i] = root.op == i;
            on[F_LEFT_OP + i] = root.left_op == i;
            on[F_RIGHT_OP + i] = root.right_op == i;
        }
        on[F_ROOT] = root.value;
        on[F_LEFT] = root.op >= 0 && root.left;
        on[F_RIGHT] = root.op >= 0 && root.right;
        unknown[F_LEFT] = unknown[F_RIGHT] = root.op < 0; /* a lone literal has no sides */
    }
    return true;
}

const sl_world_ops sl_world_boolean = {
    .info = { .name = "boolean", .what = "formulas of two levels over four variables: ops and values are atoms, values of sub-formulas composites", .source = "this project",
              .kind = SL_WORLD_TASK, .has_ood = true, .opts = opts, .opts_size = sizeof(options) },
    .build = build, .instance = instance, .withheld = withheld, .labels = labels,
};
