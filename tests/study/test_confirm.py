#!/usr/bin/env python3
"""`saelab study confirm`: what it leaves, that a killed one goes on to the same figures, that the number of threads changes nothing, its errors."""
import json
import os
import random
import shutil
import time

from harness import KILL, error_line, main

PLAN = """study: tiny
question: Does the machinery work?
confirm:
  what: a confirmation in seconds
  worlds:
    toy_128: {samples: 10000, eval_rows: 300, every_arm: {d_sae: 64, k: 5, batch: 100, lr: 2e-3}, arms: {gauss_1: {perturb: {eps: .25}}, gauss_2: {perturb: {eps: .25}}, inject: {perturb: {eps: .25}}}}
    copy: {like: toy_128}
    sparser: {like: copy, every_arm: {k: 3}}
  arms:
    base: {variant: topk}
    gauss_1: {of: gauss, ratio: 1.5, variant: topk, perturb: {type: gauss, eps: .3, gamma: .3}}
    gauss_2: {of: gauss, ratio: 1.5, variant: topk, perturb: {type: gauss, eps: .3, gamma: 3}}
    inject: {ratio: 2, variant: topk, perturb: {type: inject, gamma: .3}}
    wild: {variant: topk, lr: 10, clip: 0}
    random: {baseline: random, rows: 500}
    poly: {variant: polysae, rank: 8}
    as_large: {variant: topk, size_of: poly}
    pilot_base: {of: pilot, at: 1, seeds: 1, variant: topk}
  design: {rule: purification, seeds: 2, first_seed: 7, selection_seeds: 2, pilot: toy_128, screening: toy_128, retuning: toy_128, worlds: toy_128, extended: "copy,sparser", comparators: "base,wild",
           stability_rows: 200, noise: gauss, uniform: uniform}
  slots:
    base: {of: base}
    base_1: {like: base, at: 1}
    base_2: {like: base, at: 2}
    treatment: {of: "gauss,inject"}
    wild: {of: wild}
    inject: {of: inject}
    uniform: {like: inject, perturb: {select: uniform}}
    direct: {like: inject, perturb: {type: direct}}
    random: {of: random}
    as_large: {of: as_large}
    nested: {of: base, perturb_like: treatment}
"""


def confirm(place, *args, **kw):
    return place.run("study", "confirm", place.study, "-o", place.path("confirm"), *args, **kw)


def figures(place):
    got = place.json("confirm", "confirm.json")
    return json.dumps({k: got[k] for k in ("decision", "values", "chosen", "targeting")}, sort_keys=True)


def widths(place):
    """d_sae of all SAEs in the cache."""
    found = set()
    for folder, _, names in os.walk(place.env["SAELAB_CACHE"]):
        if "sae_weights.safetensors" in names:
            with open(os.path.join(folder, "sae_weights.safetensors"), "rb") as f:
                head = json.loads(f.read(int.from_bytes(f.read(8), "little")))
            found.add(head["W_enc"]["shape"][1])
    return found


def what_it_leaves(place):
    place.write("experiment.yaml", PLAN)
    out, _ = confirm(place)
    got = place.json("confirm", "confirm.json")
    assert got["decision"]["sentence"] in out
    assert got["decision"]["verdict"] in ("SUPPORTED", "NOT SUPPORTED", "INCONCLUSIVE")
    assert len(got["decision"]["checks"]) == 2 + 4 and len(got["targeting"]["checks"]) == 1
    arms = got["values"]["toy_128"]
    assert set(arms) == {"base", "base_1", "base_2", "treatment", "wild", "inject", "uniform", "direct", "random", "as_large", "nested"}
    assert all(len(arms[a]["f1_h"]) == 2 for a in arms)
    chosen = got["chosen"]
    ratio = got["ratio"]
    assert ratio == {"gauss_1": 1.5, "gauss_2": 1.5, "inject": 2}[chosen["treatment"]["setting"]]
    steps = {a: int(chosen[a]["options"]["toy_128"].get("steps", 0)) for a in chosen}
    assert steps["treatment"] == steps["base_1"] == 100 and steps["base_2"] == 200 and steps["base"] == round(100 * ratio), steps
    assert abs(steps["inject"] - 100 * ratio / 2) < 1
    direct = chosen["direct"]["options"]["toy_128"]["perturb"]
    assert direct["type"] == "direct" and 0 < float(direct["eps"]) < 1 and direct["eps"] != "0.2", "the norm of the injection"
    assert chosen["uniform"]["options"]["toy_128"]["perturb"]["select"] == "uniform"
    borrowed = chosen["nested"]["options"]["toy_128"]["perturb"]
    assert borrowed == chosen["treatment"]["options"]["toy_128"]["perturb"] and float(borrowed["eps"]) == .25, "as on this data set"
    records = [json.loads(line) for line in open(place.path("confirm", "results.jsonl"))]
    phases = [r["phase"] for r in records]
    assert phases.count("pilot") == 1 and phases.count("confirmation") == 22 and phases.count("screening") == 14 and phases.count("retuning") == {"i": 10, "g": 14}[chosen["treatment"]["setting"][0]]
    assert {r["seed_init"] for r in records if r["phase"] == "confirmation"} == {7, 8}
    assert {r["seed_init"] for r in records if r["phase"] == "screening"} == {100, 101}
    page, notes = open(place.path("confirm", "report.html")).read(), open(place.path("confirm", "results.md")).read()
    for word in ("Every seed: f1_h", "The pilot, run again", "Failed fits", "What the selection seeds chose"):
        assert word in page and word in notes, word
    for word in ('class="badge">' + got["decision"]["verdict"], 'id="conditions-title"', 'class="command">./run saelab study confirm', 'class="dot"'):
        assert word in page, word
    d, rank = 64, 8
    as_large = round((64 * (2 * d + 1) + d + 64 * rank + 2 * rank * d + 2 - d) / (2 * d + 1))  # polysae's W_enc, b_enc, W_dec, b_dec, U, C_2, C_3, lambdas
    assert widths(place) == {64, as_large}, widths(place)
    # the same arms and seeds see the same rows: base and base_1 differ by their steps alone
    assert arms["base"]["l0"] and arms["treatment"]["f1_h"] != arms["base"]["f1_h"]
    _, err = confirm(place)
    assert "finished already" in err


def the_claim_elsewhere(place):
    place.write("experiment.yaml", PLAN)
    out, _ = confirm(place, "--extended")
    arms = place.json("confirm", "confirm.json")["values"]
    assert set(arms) == {"toy_128"}, "outside the rule"
    records = [json.loads(line) for line in open(place.path("confirm", "results.jsonl"))]
    extended = [r for r in records if r["phase"] == "extended"]
    assert {r["arm"] for r in extended} == {"base", "base_1", "base_2", "treatment", "wild"} and len(extended) == 5 * 2 * 2
    at = {(r["dataset"], r["arm"], r["seed_init"]): r for r in extended}
    for arm in ("base", "treatment"):
        for i, seed in enumerate((7, 8)):
            assert at["copy", arm, seed]["f1_h"] == arms["toy_128"][arm]["f1_h"][i], "a copy is the same, perturbation of its arms included"
            assert 0 < at["sparser", arm, seed]["l0"] <= 3 < at["copy", arm, seed]["l0"]
    for name in ("report.html", "results.md"):
        assert "The claim elsewhere" in open(place.path("confirm", name)).read()
    table = open(place.path("confirm", "results.md")).read().split("The claim elsewhere")[1].split("###")[0]
    assert "f1_h: treatment less arm" in table and table.count("| seeds |") == 2, table


def killed_and_threads(place):
    place.write("experiment.yaml", PLAN)
    start = time.monotonic()
    confirm(place)
    whole = time.monotonic() - start
    expected = figures(place)
    rng = random.Random(7)
    for threads in (1, 2):
        shutil.rmtree(place.path("confirm"))
        shutil.rmtree(place.env["SAELAB_CACHE"])
        p = place.start("study", "confirm", place.study, "-o", place.path("confirm"), "--threads", str(threads))
        time.sleep(rng.uniform(.2, .8) * whole)
        p.send_signal(KILL)
        p.communicate()
        assert not os.path.exists(place.path("confirm")) or p.returncode == 0
        confirm(place, "--threads", str(threads))
        assert figures(place) == expected, f"{threads} threads"


def its_errors(place):
    _, err = place.run("study", "confirm", place.study, "-o", place.path("confirm"), code=1)
    assert "section confirm" in error_line(err), err
    place.write("experiment.yaml", PLAN.replace('comparators: "base,wild"', "comparators: nobody"))
    _, err = confirm(place, code=2)
    assert "nobody" in error_line(err), err
    place.write("experiment.yaml", PLAN.replace("base: {of: base}", "base: {of: base, like: base}"))
    _, err = confirm(place, code=2)
    assert "base" in error_line(err), err
    place.write("experiment.yaml", PLAN.replace("screening: toy_128", "screening: toy_129"))
    _, err = confirm(place, code=2)
    assert "toy_129" in error_line(err), err
    place.write("experiment.yaml", PLAN.replace("like: copy", "like: sparser"))
    _, err = confirm(place, code=2)
    assert "sparser" in error_line(err) and "before it" in error_line(err), err
    place.write("experiment.yaml", PLAN.replace("first_seed: 7", "first_seed: 100"))
    _, err = confirm(place, code=2)
    assert "selection seeds" in error_line(err), err
    place.write("experiment.yaml", PLAN.replace("perturb: {type: gauss, eps: .3, gamma: 3}", "perturb: {type: gauss, eps: .3, gamma: .3}"))
    _, err = confirm(place, code=2)
    assert "gauss_2" in error_line(err) and "gauss_1" in error_line(err) and "same" in error_line(err), err


if __name__ == "__main__":
    main([what_it_leaves, the_claim_elsewhere, killed_and_threads, its_errors])
