/* A context-free grammar of English-like sentences. Long-range structure that a model can learn: the verb agrees with its subject across
 * a prepositional phrase or a relative clause, a pronoun with the subject before it, and a paragraph keeps its tense and its topic.
 *
 *   paragraph -> sentence{3..8}
 *   sentence  -> NP VP | NP VP "and" pronoun VP | adverb "," NP VP
 *   NP        -> det adjective? noun (PP | relative)?      relative -> "that" VP
 *   VP        -> verb NP | verb PP | copula adjective      PP -> preposition NP */
#include "data/fallback.h"

#include <saelab/rng.h>

#include <ctype.h>
#include <string.h>

typedef struct noun { const char *one, *many; } noun;
typedef struct verb { const char *one, *many, *past; } verb;

static const noun NOUNS[] = {
    { "dog", "dogs" }, { "child", "children" }, { "king", "kings" }, { "woman", "women" }, { "farmer", "farmers" },
    { "river", "rivers" }, { "house", "houses" }, { "teacher", "teachers" }, { "horse", "horses" }, { "soldier", "soldiers" },
    { "stone", "stones" }, { "bird", "birds" }, { "ship", "ships" }, { "tree", "trees" }, { "city", "cities" },
    { "letter", "letters" }, { "doctor", "doctors" }, { "mouse", "mice" }, { "road", "roads" }, { "garden", "gardens" },
    { "merchant", "merchants" }, { "mountain", "mountains" }, { "window", "windows" }, { "wolf", "wolves" },
};
static const verb TRANSITIVE[] = {
    { "sees", "see", "saw" }, { "follows", "follow", "followed" }, { "finds", "find", "found" }, { "loves", "love", "loved" },
    { "fears", "fear", "feared" }, { "carries", "carry", "carried" }, { "knows", "know", "knew" }, { "leaves", "leave", "left" },
    { "builds", "build", "built" }, { "watches", "watch", "watched" }, { "forgets", "forget", "forgot" }, { "helps", "help", "helped" },
};
static const verb INTRANSITIVE[] = {
    { "stands", "stand", "stood" }, { "waits", "wait", "waited" }, { "sleeps", "sleep", "slept" }, { "runs", "run", "ran" },
    { "falls", "fall", "fell" }, { "rests", "rest", "rested" }, { "works", "work", "worked" }, { "hides", "hide", "hid" },
};
static const char *const ADJECTIVES[] = { "old", "small", "red", "quiet", "brave", "dark", "green", "tired", "proud", "cold", "bright",
                                          "young", "lost", "rich", "strange", "white" };
static const char *const ADVERBS[] = { "in the morning", "at night", "sometimes", "once more", "in winter", "far away", "today" };
static const char *const PREPOSITIONS[] = { "near", "under", "behind", "beside", "above", "with", "in front of" };

#define PICK(g, table) ((table)[sl_rng_below(&(g)->rng, sizeof(table) / sizeof(table)[0])])

enum { MAX_DEPTH = 2, N_TOPIC = 4, SENTENCE_ROOM = 2048 };

typedef struct writer {
    sl_rng rng;
    char *text;
    size_t n;
    bool past;                  /* the paragraph's tense */
    const noun *topic[N_TOPIC]; /* nouns that the paragraph returns to */
} writer;

static bool chance(writer *w, uint64_t percent) { return sl_rng_below(&w->rng, 100) < percent; }

static void put(writer *w, const char *word)
{
    if (w->n && w->text[w->n - 1] != '\n')
        w->text[w->n++] = ' ';
    size_t len = strlen(word);
    memcpy(w->text + w->n, word, len);
    w->n += len;
}

static void put_verb(writer *w, const verb *v, bool many) { put(w, w->past ? v->past : many ? v->many : v->one); }

static void verb_phrase(writer *w, bool many, int depth);

/* Returns whether the noun phrase is plural. */
static bool noun_phrase(writer *w, int depth)
{
    bool many = chance(w, 40);
    const noun *n = chance(w, 60) ? w->topic[sl_rng_below(&w->rng, N_TOPIC)] : &PICK(w, NOUNS);
    put(w, chance(w, 50) ? "the" : many ? (chance(w, 50) ? "these" : "many") : (chance(w, 50) ? "this" : "every"));
    if (chance(w, 35))
        put(w, PICK(w, ADJECTIVES));
    put(w, many ? n->many : n->one);
    if (depth < MAX_DEPTH && chance(w, 18)) {
        put(w, PICK(w, PREPOSITIONS));
        noun_phrase(w, depth + 1);
    } else if (depth < MAX_DEPTH && chance(w, 18)) {
        put(w, "that");
        verb_phrase(w, many, depth + 1);
    }
    return many;
}

static void verb_phrase(writer *w, bool many, int depth)
{
    uint64_t kind = sl_rng_below(&w->rng, 10);
    if (kind < 6) {
        put_verb(w, &PICK(w, TRANSITIVE), many);
        noun_phrase(w, depth + 1);
    } else if (kind < 8) {
        put_verb(w, &PICK(w, INTRANSITIVE), many);
        put(w, PICK(w, PREPOSITIONS));
        noun_phrase(w, depth + 1);
    } else {
        put(w, w->past ? (many ? "were" : "was") : many ? "are" : "is");
        put(w, PICK(w, ADJECTIVES));
    }
}

static void sentence(writer *w)
{
    size_t start = w->n + (w->n && w->text[w->n - 1] != '\n');
    if (chance(w, 15)) {
        put(w, PICK(w, ADVERBS));
        w->text[w->n++] = ',';
    }
    bool many = noun_phrase(w, 0);
    verb_phrase(w, many, 0);
    if (chance(w, 20)) {
        put(w, many ? "and they" : "and it");
        verb_phrase(w, many, 1);
    }
    w->text[w->n++] = '.';
    w->text[start] = (char)toupper((unsigned char)w->text[start]);
}

static void paragraph(writer *w)
{
    w->past = chance(w, 50);
    for (int i = 0; i < N_TOPIC; i++)
        w->topic[i] = &PICK(w, NOUNS);
    for (uint64_t i = 3 + sl_rng_below(&w->rng, 6); i > 0; i--)
        sentence(w);
    w->text[w->n++] = '\n';
}

sl_status sl_grammar_text(sl_ctx *ctx, uint64_t seed, size_t min_bytes, char **out, size_t *n, sl_err *err)
{
    enum { PARAGRAPH_ROOM = 8 * SENTENCE_ROOM }; /* the depth limit keeps a sentence far below SENTENCE_ROOM */
    writer w = { .rng = sl_rng_at(seed, SL_RNG_WORLD, 0, 0), .text = sl_alloc(ctx, min_bytes + PARAGRAPH_ROOM + 1) };
    *out = w.text;
    *n = 0;
    if (!w.text)
        return sl_fail(err, SL_MEM, "grammar", NULL, "no memory for %zu bytes", min_bytes);
    while (w.n < min_bytes)
        paragraph(&w);
    w.text[w.n] = 0;
    *n = w.n;
    return SL_OK;
}
