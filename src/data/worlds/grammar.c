/* A small grammar with agreement (science.md D3), 36 tokens, one a word:
 *   S -> NP[n] VP[n]        NP[n] -> NP0[n] .7 | NP0[n] P NP0[m] .2 | NP0[n] that VT[n] NP0[m] .1        n, m fair coins
 *   NP0[n] -> Det N[n] .7 | Det Adj N[n] .3       Det: the, or a (singular), some (plural), evenly
 *   VP[n] -> VI[n] .4 | VT[n] NP0[m] .5 | VI[n] today .1
 * Loss on every token; the gate is the number of the main verb. Activations at all positions but <bos> and <eos>.
 *   atoms       part of speech (Det N Adj P Rel VI VT Adv, mark for <bos> and <eos>), head_sg, last_sg (the last noun), in_PP and in_Rel (until
 *               the main verb), expects (the main verb may come next)
 *   composites  need_sg = head_sg and expects; attractor = head_sg xor last_sg; need_sg and attractor; the same and in_PP
 * What a prefix does not determine is unknown: head_sg after "the". Withheld from SAE training: 7 of the 36 pairs (head noun, main verb). */
#include "data/worlds/world.h"

enum { BOS = 0, EOS = 1, THE = 2, A = 3, SOME = 4, NOUN = 5, ADJ = 17, PREP = 20, REL = 22, VI = 23, VT = 29, ADV = 35, VOCAB = 36 };
enum { LEMMAS = 6, PER_VERB = 3, PAIRS = 36, WITHHELD = 7, T_ALL = 14 };
enum { P_DET, P_N, P_ADJ, P_P, P_REL, P_VI, P_VT, P_ADV, P_MARK, F_HEAD, F_LAST, F_IN_PP, F_IN_REL, F_EXPECTS, F_NEED, F_ATTRACTOR, F_BOTH, F_ALL, N_FEATURES };

/* Nouns and verbs: singular at even offsets from NOUN, VI, VT, plural at odd ones. */
static const sl_task_token vocabulary[VOCAB] = {
    { "\n", "<bos>" }, { ".", "<eos>" }, { "A", "the" },   { "B", "a" },     { "C", "some" },   { "D", "dog" },   { "E", "dogs" },  { "F", "cat" },  { "G", "cats" },
    { "H", "boy" },    { "I", "boys" },  { "J", "girl" },  { "K", "girls" }, { "L", "king" },   { "M", "kings" }, { "N", "ship" },  { "O", "ships" }, { "P", "red" },
    { "Q", "big" },    { "R", "old" },   { "S", "near" },  { "T", "with" },  { "U", "that" },   { "V", "runs" },  { "W", "run" },   { "X", "sleeps" }, { "Y", "sleep" },
    { "Z", "sings" },  { "a", "sing" },  { "b", "sees" },  { "c", "see" },   { "d", "likes" },  { "e", "like" },  { "f", "chases" }, { "g", "chase" }, { "h", "today" },
};
static const int8_t side[VOCAB] = { [VI] = 1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1 };

typedef struct options { int64_t pairs; } options;
static const sl_opt opts[] = { SL_OPT_INT(options, pairs, WITHHELD, 1, PAIRS - 1, "", "of head noun and main verb that SAE training never shows"), SL_OPT_END };
typedef struct state { const uint8_t *withheld; } state; /* [PAIRS] at 6 noun + verb */

static bool is_noun(int32_t t) { return t >= NOUN && t < ADJ; }
static bool is_verb(int32_t t) { return t >= VI && t < ADV; }
static bool singular(int32_t t) { return (is_noun(t) ? t - NOUN : t - VI) % 2 == 0; }
static int part_of_speech(int32_t t)
{
    return t <= EOS ? P_MARK : t < NOUN ? P_DET : t < ADJ ? P_N : t < PREP ? P_ADJ : t < REL ? P_P : t < VI ? P_REL : t < VT ? P_VI : t < ADV ? P_VT : P_ADV;
}

static sl_status build(sl_world *w, sl_err *err)
{
    static const char *const atoms[] = { "Det", "N", "Adj", "P", "Rel", "VI", "VT", "Adv", "mark", "head_sg", "last_sg", "in_PP", "in_Rel", "expects" };
    const options *o = (const void *)w->opts;
    sl_world_feature *f;
    state *s = sl_world_alloc(w, sizeof *s);
    if (!s || !(s->withheld = sl_task_withhold(w, PAIRS, o->pairs)))
        return sl_world_no_memory(w, err);
    w->state = s;
    SL_TRY(sl_task_build(w, vocabulary, VOCAB, T_ALL, N_FEATURES, &f, err));
    for (int i = 0; i <= F_EXPECTS; i++)
        sl_task_feature(f + i, 1, i <= P_MARK ? 0 : i, 0, NULL, "%s", atoms[i]);
    sl_task_feature(f + F_NEED, 2, F_NEED, 2, (int32_t[]){ F_HEAD, F_EXPECTS }, "need_sg");
    sl_task_feature(f + F_ATTRACTOR, 2, F_ATTRACTOR, 2, (int32_t[]){ F_HEAD, F_LAST }, "attractor");
    sl_task_feature(f + F_BOTH, 3, F_BOTH, 3, (int32_t[]){ F_HEAD, F_EXPECTS, F_LAST }, "need_sg_attractor");
    sl_task_feature(f + F_ALL, 4, F_ALL, 4, (int32_t[]){ F_HEAD, F_EXPECTS, F_LAST, F_IN_PP }, "need_sg_attractor_in_PP");
    w->task.measure = "agreement";
    w->task.side = side;
    w->task.gate = .98;
    w->task.steps = 2000;
    return SL_OK;
}

/* ---- writing ---- */

typedef struct writer { sl_rng *rng; int32_t *tokens; int64_t at; } writer;

static void put(writer *o, int32_t token) { o->tokens[o->at++] = token; }
static int below(writer *o, int n) { return (int)sl_rng_below(o->rng, (uint64_t)n); }
static void put_verb(writer *o, int32_t first, int plural) { put(o, first + 2 * below(o, PER_VERB) + plural); }

static void put_np0(writer *o, int plural)
{
    put(o, below(o, 2) ? THE : plural ? SOME : A);
    if (sl_rng_uniform(o->rng) < .3)
        put(o, ADJ + below(o, 3));
    put(o, NOUN + 2 * below(o, LEMMAS) + plural);
}

static void instance(const sl_world *w, sl_rng *rng, int32_t *tokens, uint8_t *uses)
{
    writer o = { .rng = rng, .tokens = tokens, .at = 1 };
    int plural = below(&o, 2);
    (void)w;
    put_np0(&o, plural);
    double kind = sl_rng_uniform(rng);
    if (kind >= .7) {
        if (kind < .9)
            put(&o, PREP + below(&o, 2));
        else {
            put(&o, REL);
            put_verb(&o, VT, plural);
        }
        put_np0(&o, below(&o, 2));
    }
    uses[o.at - 1] |= SL_TASK_SCORE;
    kind = sl_rng_uniform(rng);
    put_verb(&o, kind < .5 ? VI : VT, plural);
    if (kind >= .5)
        put_np0(&o, below(&o, 2));
    else if (kind >= .4)
        put(&o, ADV);
    put(&o, EOS);
    for (int64_t t = 0; t + 1 < o.at; t++)
        uses[t] |= t ? SL_TASK_LOSS | SL_TASK_ROW : SL_TASK_LOSS;
}

/* ---- reading, word by word ---- */

enum { UNKNOWN = -1 };
/* What a prefix determines. head, last: 1 singular, 0 plural. */
typedef struct prefix { int head, last; bool has_head, in_pp, in_rel, expects, main_verb, ended; int32_t det, noun, verb; } prefix;

static bool follow_noun(prefix *p, int32_t t)
{
    bool agrees = p->det != A || singular(t);
    if (!p->has_head) {
        p->noun = (t - NOUN) / 2;
        p->has_head = true;
        p->head = singular(t);
    }
    p->last = singular(t);
    p->expects = !p->main_verb;
    return agrees && (p->det != SOME || !singular(t));
}

/* Reads one word; before: the word before it. What the next word may be follows from the two and the state. */
static bool follow(prefix *p, int32_t before, int32_t t)
{
    bool after_noun = is_noun(before), det = t >= THE && t <= SOME;
    if (p->ended)
        return t == BOS;
    p->expects = false;
    if (det) {
        bool opens = before == BOS || part_of_speech(before) == P_P || part_of_speech(before) == P_VT;
        p->det = t;
        if (!p->has_head && t != THE)
            p->head = t == A;
        return opens;
    }
    bool after_det = before >= THE && before <= SOME;
    if (part_of_speech(t) == P_ADJ)
        return after_det;
    if (is_noun(t))
        return (after_det || part_of_speech(before) == P_ADJ) && follow_noun(p, t);
    if (t == EOS) {
        p->ended = true;
        return p->main_verb && (after_noun || part_of_speech(before) == P_VI || before == ADV);
    }
    if (t == ADV)
        return part_of_speech(before) == P_VI;
    if (is_verb(t) && before == REL)
        return part_of_speech(t) == P_VT && singular(t) == p->head;
    if (!after_noun || p->main_verb)
        return false;
    if (is_verb(t)) {
        p->main_verb = true;
        p->in_pp = p->in_rel = false;
        p->verb = (t - VI) / 2;
        return singular(t) == p->head;
    }
    bool plain = !p->in_pp && !p->in_rel;
    p->in_pp = p->in_pp || part_of_speech(t) == P_P;
    p->in_rel = p->in_rel || t == REL;
    return plain && (part_of_speech(t) == P_P || t == REL);
}

static prefix begin(void) { return (prefix){ .head = UNKNOWN, .last = UNKNOWN }; }

static bool withheld(const sl_world *w, const int32_t *tokens)
{
    const state *s = w->state;
    prefix p = begin();
    for (int64_t t = 1; t < T_ALL; t++)
        follow(&p, tokens[t - 1], tokens[t]);
    return s->withheld[LEMMAS * p.noun + p.verb];
}

static void set(uint8_t *on, uint8_t *unknown, int f, bool known, bool v)
{
    on[f] = known && v;
    unknown[f] = !known;
}

static void label(const prefix *p, int32_t token, uint8_t *on, uint8_t *unknown)
{
    bool head = p->head != UNKNOWN, both = head && p->last != UNKNOWN;
    bool need = p->head == 1 && p->expects, attractor = p->head != p->last;
    on[part_of_speech(token)] = 1;
    set(on, unknown, F_HEAD, head, p->head == 1);
    set(on, unknown, F_LAST, p->last != UNKNOWN, p->last == 1);
    set(on, unknown, F_IN_PP, true, p->in_pp);
    set(on, unknown, F_IN_REL, true, p->in_rel);
    set(on, unknown, F_EXPECTS, true, p->expects);
    set(on, unknown, F_NEED, head || !p->expects, need); /* where no main verb can come next it is 0 whatever the head will be */
    set(on, unknown, F_ATTRACTOR, both, attractor);
    set(on, unknown, F_BOTH, both || !p->expects, need && attractor);
    set(on, unknown, F_ALL, both || !p->expects, need && attractor && p->in_pp);
}

static bool labels(const sl_world *w, const int32_t *tokens, uint8_t *on, uint8_t *unknown)
{
    prefix p = begin();
    (void)w;
    if (tokens[0] != BOS)
        return false;
    for (int64_t t = 0; t < T_ALL; t++, on += N_FEATURES, unknown += N_FEATURES) {
        if (t > 0 && !follow(&p, tokens[t - 1], tokens[t]))
            return false;
        label(&p, tokens[t], on, unknown);
    }
    return p.ended;
}

const sl_world_ops sl_world_grammar = {
    .info = { .name = "grammar", .what = "sentences with number agreement across attractors: parts of speech and numbers are atoms", .source = "this project",
              .kind = SL_WORLD_TASK, .has_ood = true, .opts = opts, .opts_size = sizeof(options) },
    .build = build, .instance = instance, .withheld = withheld, .labels = labels,
};
