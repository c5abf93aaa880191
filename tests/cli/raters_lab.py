"""What the tests of human studies judge: two SAEs of a tiny model, with indexes that have contexts enough for cards."""
import random

NEEDS = ["--quantiles", "10", "--per-quantile", "6", "--near-misses", "6", "--silent", "14", "--before", "16", "--after", "16"]


def sentences(n):
    """A text that does not repeat itself: n characters of small sentences."""
    r, out, have = random.Random(4), [], 0
    who, did = ["the king", "an old judge", "my sister", "a bird", "the tired queen", "somebody"], ["saw", "forgot", "carried", "sang of", "lost", "sold"]
    what, when = ["a ship", "two stones", "the letter", "winter", "some bread", "the other door"], ["at noon", "in May", "again", "by the river", "12 times", "slowly"]
    while have < n:
        out.append(f"{r.choice(who)} {r.choice(did)} {r.choice(what)} {r.choice(when)}{r.choice(['.', '!', ', and then'])}\n")
        have += len(out[-1])
    return "".join(out)[:n]


def make(run, text):
    """run(*arguments) is the tool; text: the file's name. Leaves m, plain and other."""
    run("lm", "train", "-o", "m", "--text", text, "--preset", "smoke", "--max-iters", "20", "--eval-iters", "1", "--block-size", "64", "--batch-size", "4", "--threads", "1")
    for name, seed in (("plain", "0"), ("other", "1")):
        run("sae", "train", "--lm", "m", "--hook", "blocks.1.hook_resid_pre", "-o", name, "--d-sae", "64", "--k", "4", "--steps", "60", "--batch", "64", "--seed", seed, "--threads", "1")
        run("features", "build", name, "--lm", "m", "--tokens", "30000", *NEEDS, "--threads", "1")
