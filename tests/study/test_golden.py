#!/usr/bin/env python3
"""Figures of every stage with the plain C kernels beside the revisions in src/study/revisions.h: when a stage's figures change its revision has
to be raised, because finished artifacts in people's caches would be taken for the new ones.
test_golden.py --update writes the figures of today."""
import json
import os
import re
import sys

from harness import ROOT, Place

PLAN = """study: golden
question: Are the numbers the same?
run_0:
  what: every stage, small
  dataset: shakespeare_char
  seeds: 2
  composition: true
  lm: {preset: smoke, seeds: 1, max_iters: 20, lr_decay_iters: 20, eval_interval: 20}
  acts: {hook: blocks.1.hook_resid_pre, train_tokens: 3000, eval_tokens: 1500, splice_tokens: 1000}
  worlds:
    toy_128: {samples: 10000, eval_rows: 1000, every_arm: {d_sae: 64, k: 5, batch: 100}}
    arithmetic: {samples: 2000, eval_rows: 300, task: {steps: 4, gate_every: 4, gate_instances: 16}, every_arm: {d_sae: 64, k: 5, batch: 100}}
  arms:
    topk: {variant: topk, d_sae: 64, k: 8, steps: 30, batch: 100, lr: 1e-3}
    pca: {baseline: pca, rows: 500, k: 8}
    comp: {variant: compositional, on: [toy_128], d_c: 16, n_head: 2, m_c: 16, k_c: 4, seeds: 1}
"""
GOLDEN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "golden.json")
RTOL = 2e-3  # libm and compilers differ in last digits, which twenty steps of training multiply

# Figures in which a change of the stage shows, and does not come from a stage before it alone.
FIGURES = {
    "LM": [("shakespeare_char", "best_val_loss"), ("shakespeare_char", "final_train_loss")],
    "ACTS": [("shakespeare_char", "topk_neuron_sparsity"), ("shakespeare_char", "topk_activation_entropy")],
    "TASK": [("arithmetic", "topk_neuron_sparsity"), ("arithmetic", "topk_activation_entropy")],
    "SAE": [("shakespeare_char", "topk_fvu"), ("toy_128", "topk_fvu"), ("arithmetic", "topk_fvu"), ("toy_128", "comp_fvu")],
    "BASELINE": [("shakespeare_char", "pca_fvu"), ("toy_128", "pca_fvu")],
    "EVAL": [("shakespeare_char", "topk_ce_loss_score"), ("toy_128", "topk_mcc_dec_abs"), ("toy_128", "topk_f1_h"), ("toy_128", "topk_latent_entropy")],
    "COMPOSITION": [("toy_128", "topk_covariance_cooccurrence"), ("toy_128", "comp_branch_energy"), ("toy_128", "comp_index_mean")],
    "AGREEMENT": [("toy_128", "topk_pwmcc")],
}


def revisions():
    text = open(os.path.join(ROOT, "src", "study", "revisions.h")).read()
    return {name: int(n) for name, n in re.findall(r"REV_(\w+) = (\d+)", text)}


def measure():
    place = Place(plan=PLAN)
    try:
        place.experiment("--out_dir=run_0", env={"SL_KERN": "ref"})
        info = place.json("run_0", "final_info.json")
    finally:
        place.close()
    return {stage: {f"{d}/{k}": info[d]["final_info_dict"][k] for d, k in keys} for stage, keys in FIGURES.items()}


def differ(a, b):
    return len(a) != len(b) or any(abs(x - y) > RTOL * max(abs(x), abs(y), 1e-3) for x, y in zip(a, b))


def main():
    now = {"revisions": revisions(), "figures": measure()}
    assert set(now["revisions"]) == set(FIGURES), "every stage has its figures"
    if sys.argv[1:] == ["--update"]:
        with open(GOLDEN, "w") as f:
            json.dump(now, f, indent=1)
            f.write("\n")
        return
    old = json.load(open(GOLDEN))
    wrong = []
    for stage, figures in now["figures"].items():
        changed = [k for k, v in figures.items() if k not in old["figures"].get(stage, {}) or differ(v, old["figures"][stage][k])]
        for k in changed:
            print(stage, k, old["figures"].get(stage, {}).get(k), "->", figures[k])
        if changed and now["revisions"][stage] == old["revisions"].get(stage):
            wrong.append(f"REV_{stage}")
        if now["revisions"][stage] != old["revisions"].get(stage):
            wrong.append(f"golden.json (REV_{stage} is {now['revisions'][stage]} there {old['revisions'].get(stage)}: test_golden.py --update)")
    assert not wrong, "numbers changed: raise " + ", ".join(wrong)
    print("ok golden")


if __name__ == "__main__":
    main()
