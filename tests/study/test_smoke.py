#!/usr/bin/env python3
"""Every run of one shipped study, profile smoke, from its plan to its report: test_smoke.py STUDY"""
import json
import math
import os
import re
import shutil
import sys

from harness import Place

LM_KEYS = "final_train_loss best_val_loss total_train_time avg_inference_tokens_per_second".split()
FILES = {"final_info.json", "all_results.npy", "all_results.json", "results.jsonl", "config.yaml", "log.txt", "plots", "report.html", "run.json", "lm-seed0"}

# Pictures that the studies' briefs name.
PICTURES = {"compositional": {"attention_patterns", "feature_reuse", "sparsity_evolution", "interaction_maps", "cooccurrence"}}
OWN_FIGURES = {"compositional": {"diversity_loss", "attention_entropy", "l0_c"}}


def numbers(value):
    if isinstance(value, dict):
        for v in value.values():
            yield from numbers(v)
    elif isinstance(value, list):
        for v in value:
            yield from numbers(v)
    elif isinstance(value, float):
        yield value


def check_final_info(place, run, records):
    info = place.json(run, "final_info.json")
    assert all(math.isfinite(v) for v in numbers(info)), run
    assert {r["dataset"] for r in records} <= set(info), (run, set(info))
    text = info[next(iter(info))]
    for key in LM_KEYS:
        assert isinstance(text["means"][key + "_mean"], float), (run, key)
    for record in [r for r in records if "sweep" not in r]:
        values = info[record["dataset"]]["final_info_dict"].get(record["arm"] + "_fvu")
        assert record["status"] != "ok" or record["fvu"] in values, (run, record["arm"], record["dataset"])


def check_records(place, run):
    records = [json.loads(line) for line in open(place.path(run, "results.jsonl"))]
    assert records, run
    for r in records:
        assert all(math.isfinite(v) for v in numbers(r)), (run, r["arm"])
        assert r["status"] == "ok" or r["notes"], (run, r["arm"], r["status"])
        nulls = [k for k, v in r.items() if v is None and k != "hook"]
        missing = [k for k in nulls if not r["reasons"].get(k)]
        assert not missing, (run, r["arm"], r["dataset"], missing)
    return records


def check_compositions(place, run, study, records, stems):
    """Runs that measure composition: its pictures, and its own curves and metrics."""
    measured = [r for r in records if "covariance_cooccurrence" in r]
    composed = [r for r in measured if r["variant"] == "compositional"]
    if not composed:
        return
    missing = PICTURES[study] - stems
    assert not missing, (run, missing)
    curves = [p for key, points in place.json(run, "all_results.json").items() if key.endswith("_train_info") for p in points]
    own = [p for p in curves if p["arm"] == composed[0]["arm"]]
    assert own and all(OWN_FIGURES[study] <= set(p) for p in own), run
    assert any(p["l0_c"] is not None for p in own), run
    whole = [r for r in composed if r["status"] == "ok" and r["arm"] in ("comp", "whole", "both", "gate")]
    assert whole and all(r["branch_energy"] is not None and r["gain"] is not None for r in whole), run
    for r in whole:
        world = "" if r["dataset"] == "shakespeare_char" else r["dataset"] + "-"
        units = place.json(run, f"sae-{world}{r['arm']}-seed{r['seed_init']}", "composition.json")
        assert set(units) == {"units", "reuse", "attention", "dot"}, run


def trained_numbers(place, run, name):
    """Numbers in an SAE's file, without the state that is not trained."""
    with open(place.path(run, name, "sae_weights.safetensors"), "rb") as f:
        head = json.loads(f.read(int.from_bytes(f.read(8), "little")))
    return {k: math.prod(v["shape"]) for k, v in head.items() if k not in ("__metadata__", "comp_idle")}


def check_sizes(place, run, names):
    """topk_params is as large as comp, to half a latent (encoder row, decoder row, bias)."""
    for name in [n for n in names if n.startswith("sae-") and "topk_params" in n]:
        own, other = trained_numbers(place, run, name), trained_numbers(place, run, name.replace("topk_params", "comp"))
        assert abs(sum(own.values()) - sum(other.values())) <= own["b_dec"] + 1, (run, name, sum(own.values()), sum(other.values()))


def check_perturbed(place, run, records, stems):
    """What perturbation training leaves: the first experiment's keys, the checks of early stopping, pictures where their data is."""
    curves = place.json(run, "all_results.json")
    for key, points in curves.items():
        for p in points:
            if key.endswith("_train_info") and p["arm"] != "lm":
                assert {"epoch", "total_loss", "recon_loss", "l1_loss", "stability_loss", "fss"} <= set(p), (run, p["arm"])
                assert abs(p["total_loss"] - p["loss"]) < 1e-12 and p["recon_loss"] >= 0 and p["epoch"] > 0, (run, p)
    pictures = {"run_1": {"equal_fvu", "equal_fvu_toy_128", "equal_f1_h_toy_128", "overhead", "overhead_toy_128"}, "run_2": {"noise_eps_toy_128", "ablation_fvu"},
                "run_3": {"stop_fss_toy_128", "stop_fvu_toy_128", "ablation_f1_h_toy_128", "ablation_fss_toy_128"},
                "run_4": {"robustness_gauss", "robustness_gauss_toy_128", "activations_noise_base", "activations_noise_gauss_toy_128"}}
    missing = pictures.get(run, set()) - stems
    assert not missing, (run, missing)
    for r in [r for r in records if "perturb" in r and r["status"] == "ok" and r["perturb"]["type"] != "token"]:
        assert 0 <= r["generate_ms"] and 0 <= r["forward_ms"] and r["generate_ms"] + r["forward_ms"] <= r["step_ms"], (run, r["arm"])
    assert run != "run_1" or all(r["generate_ms"] > 0 and r["forward_ms"] > 0 for r in records if r["arm"] in ("gauss", "inject")), run
    if run == "run_3":
        assert any(p["arm"] == "gauss_early" and 0 < p["fss"] < 1 for p in curves["toy_128_0_val_info"])


def check_run(place, run, study):
    names = set(os.listdir(place.path(run)))
    assert FILES <= names, (run, FILES - names)
    records = check_records(place, run)
    check_final_info(place, run, records)
    good = [r for r in records if r["status"] == "ok"]
    assert len([n for n in names if n.startswith("sae-")]) == len([r for r in good if "sweep" not in r]), run
    plots = os.listdir(place.path(run, "plots"))
    stems = {p.rsplit(".", 1)[0] for p in plots}
    assert {"lm_loss"} <= stems, run
    if shutil.which("gnuplot"):
        assert all(s + ".svg" in plots and s + ".png" in plots for s in stems), run
    if study in PICTURES and shutil.which("gnuplot"):
        check_compositions(place, run, study, records, stems)
    check_sizes(place, run, names)
    if study == "purification":
        check_perturbed(place, run, records, stems)
    html = open(place.path(run, "report.html")).read()
    for dataset in {r["dataset"] for r in good}:
        assert dataset in html, (run, dataset)
    return len(good), len(records) - len(good)


def main(study):
    place = Place(plan=None, study=study)
    try:
        for run in re.findall(r"(?m)^(run_\d+):", open(place.path("experiment.yaml")).read()):
            out, _ = place.experiment("--out_dir=" + run, "--profile=smoke")
            assert not re.search(r"(?m)^(\w+_)?noisy ", out), "a metric stands among the arms"
            good, failed = check_run(place, run, study)
            print(f"ok {study} {run}: {good} models, {failed} failed", flush=True)
    finally:
        place.close()


if __name__ == "__main__":
    main(sys.argv[1])
