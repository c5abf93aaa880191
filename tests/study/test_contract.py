#!/usr/bin/env python3
"""The contract of a run: files, keys, finished runs, other people's folders, the shims, bad input."""
import io
import json
import math
import os
import pickle
import shutil
import subprocess
import sys

from harness import BIN, PLAN, error_line, main

LM_KEYS = "final_train_loss best_val_loss total_train_time avg_inference_tokens_per_second".split()
TEMPLATE_KEYS = ("transformer_loss transformer_perplexity autoencoder_loss downstream_loss_original downstream_loss_reconstructed "
                 "downstream_loss_delta_absolute downstream_loss_delta_percent neuron_sparsity latent_sparsity activation_entropy "
                 "latent_entropy reconstruction_error").split()
OUR_KEYS = "l0 density fvu ev dead ce_loss_score".split()


def untouched(place, name="run_0"):
    assert not os.path.exists(place.path(name)), "out_dir was touched"
    assert not os.path.exists(place.path(name + ".partial")), "a partial folder was left"


def finite(value):
    if isinstance(value, dict):
        return all(finite(v) for v in value.values())
    if isinstance(value, list):
        return all(finite(v) for v in value)
    return not isinstance(value, float) or math.isfinite(value)


def a_run_leaves_what_the_contract_says(place):
    place.experiment("--out_dir=run_0")
    names = set(os.listdir(place.path("run_0")))
    want = {"final_info.json", "all_results.npy", "all_results.json", "results.jsonl", "config.yaml", "log.txt", "plots", "report.html",
            "run.json", "lm-seed0", "sae-topk-seed0", "sae-topk-seed1", "sae-standard-seed0", "sae-standard-seed1"}
    assert want <= names, want - names
    info = place.json("run_0", "final_info.json")
    (dataset, d), = info.items()
    assert dataset == "shakespeare_char", dataset
    for key in LM_KEYS + TEMPLATE_KEYS + OUR_KEYS:
        assert isinstance(d["means"][key + "_mean"], float), (key, d["means"].get(key + "_mean"))
        values = d["final_info_dict"][key]
        assert len(values) == (1 if key in LM_KEYS else 2), key
        assert abs(sum(values) / len(values) - d["means"][key + "_mean"]) < 1e-9 * max(1, abs(values[0])), key
        stderr = d["stderrs"][key + "_stderr"]
        assert (stderr is None) == (key in LM_KEYS), (key, stderr)
    assert finite(info)
    fi = d["final_info_dict"]
    assert all(abs(f + e - 1) < 1e-6 for f, e in zip(fi["fvu"], fi["ev"]))
    assert all(0 < v <= 8 for v in fi["topk_l0"]), fi["topk_l0"]
    assert fi["transformer_loss"][0] > 1 and fi["best_val_loss"][0] > 1
    records = [json.loads(line) for line in open(place.path("run_0", "results.jsonl"))]
    assert len(records) == 4 and {r["arm"] for r in records} == {"topk", "standard"}
    assert all(r["fvu"] is not None and r["seed_init"] in (0, 1) for r in records)
    plots = set(os.listdir(place.path("run_0", "plots")))
    for stem in "lm_loss sae_fvu firing_rates activation_distribution latent_activations".split():
        assert {stem + ".dat", stem + ".gp"} <= plots, (stem, plots)
    if shutil.which("gnuplot"):
        assert {"lm_loss.svg", "lm_loss.png"} <= plots
    for folder in ("lm-seed0", "sae-topk-seed0"):
        lines = open(place.path("run_0", folder, "metrics.csv")).read().splitlines()
        assert len(lines) > 2 and "," in lines[0], lines[:2]


def numpy_reads_all_results(place):
    try:
        import numpy
    except ImportError:
        print("numpy is not installed: the pickle is checked by its own reader", flush=True)
        numpy = None
    place.experiment("--out_dir=run_0")
    expected = place.json("run_0", "all_results.json")
    if numpy:
        got = numpy.load(place.path("run_0", "all_results.npy"), allow_pickle=True).item()
    else:
        raw = open(place.path("run_0", "all_results.npy"), "rb").read()
        assert raw[:6] == b"\x93NUMPY"

        class Reader(pickle.Unpickler):
            def find_class(self, module, name):
                assert (module, name) == ("numpy", "array"), "the file runs nothing else"
                return lambda value: value

        header = 10 + int.from_bytes(raw[8:10], "little")
        got = Reader(io.BytesIO(raw[header:])).load()
    assert got == expected
    for suffix in ("train_info", "val_info", "final_info"):
        assert isinstance(got[f"shakespeare_char_0_{suffix}"], list) and got[f"shakespeare_char_0_{suffix}"]


def a_finished_run_returns_at_once(place):
    place.experiment("--out_dir=run_0")
    before = {n: os.stat(place.path("run_0", n)).st_mtime_ns for n in os.listdir(place.path("run_0"))}
    _, err = place.experiment("--out_dir=run_0")
    assert "finished already" in err
    after = {n: os.stat(place.path("run_0", n)).st_mtime_ns for n in os.listdir(place.path("run_0"))}
    assert before == after
    # another key: the old run is kept beside, cached stages are used
    place.write("experiment.yaml", PLAN.replace("k: 8", "k: 4"))
    _, err = place.experiment("--out_dir=run_0")
    assert os.path.exists(place.path("run_0.old-1", "final_info.json"))
    assert "lm_train: cached" in err and "acts_capture: cached" in err
    assert max(place.json("run_0", "final_info.json")["shakespeare_char"]["final_info_dict"]["topk_l0"]) <= 4


def without_a_cache_the_same_numbers(place):
    place.experiment("--out_dir=run_0")
    first = place.json("run_0", "final_info.json")["shakespeare_char"]["final_info_dict"]
    shutil.move(place.path("run_0"), place.path("kept"))
    place.experiment("--out_dir=run_0", "--no-cache", "--threads=1")
    second = place.json("run_0", "final_info.json")["shakespeare_char"]["final_info_dict"]
    for key in first:
        if "time" not in key and "seconds" not in key and "per_second" not in key:
            assert first[key] == second[key], key
    assert not os.path.exists(place.path("run_0", "stages")), "stages belong to no finished run"


def the_study_runs_where_it_was_copied(place):
    elsewhere = os.path.join(place.dir, "else where")
    shutil.copytree(place.study, elsewhere)
    env = dict(place.env, SAELAB_BIN=BIN)
    for command in (["experiment.py", "--out_dir=run_0"], ["plot.py"]):
        subprocess.run([sys.executable, *command], cwd=elsewhere, env=env, check=True, capture_output=True)
    assert os.path.exists(os.path.join(elsewhere, "run_0", "final_info.json"))
    assert os.path.exists(os.path.join(elsewhere, "run_0", "report.html"))
    page = open(os.path.join(elsewhere, "report.html"), encoding="utf-8").read()
    assert '<a href="run_0/report.html">run_0</a>' in page and '<span class="badge">NOT RUN</span>' in page and "Does the machinery work?" in page
    os.remove(os.path.join(elsewhere, "report.html"))
    subprocess.run([BIN, "study", "plot", "run_0"], cwd=elsewhere, env=place.env, check=True, capture_output=True)
    assert not os.path.exists(os.path.join(elsewhere, "report.html")), "one run has its own page alone"
    subprocess.run([BIN, "study", "plot", "run_0", "-o", "run_0/study.html"], cwd=elsewhere, env=place.env, check=True, capture_output=True)
    assert '<a href="report.html">run_0</a>' in open(os.path.join(elsewhere, "run_0", "study.html"), encoding="utf-8").read()
    p = subprocess.run([BIN, "study", "plot", "run_9"], cwd=elsewhere, env=place.env, capture_output=True, text=True)
    assert p.returncode == 1 and "run_9: there is no such folder" in p.stderr, p
    env = {"PATH": "/nonexistent", "HOME": place.dir, "XDG_CONFIG_HOME": place.dir}
    p = subprocess.run([sys.executable, "experiment.py", "--out_dir=run_1"], cwd=elsewhere, env=env, capture_output=True, text=True)
    assert p.returncode == 1 and p.stderr.startswith("saelab was not found") and p.stderr.count("\n") == 1, p.stderr


def bad_plans_name_line_and_column(place):
    cases = [
        (PLAN.replace("seeds: 2", "seeds: 2\n  reference: nobody"), 2, "reference", "nobody"),
        (PLAN.replace("seeds: 2", "seedz: 2"), 2, "experiment.yaml:6:3", "seedz"),
        (PLAN.replace("seeds: 2", "seeds: two"), 2, "experiment.yaml:6:10", "two"),
        (PLAN.replace("lr: 1e-3}\n    standard", "lr: nan}\n    standard"), 2, "experiment.yaml:10", "nan"),
        (PLAN.replace("k: 8", "k: 8, size_of: nobody"), 2, "experiment.yaml:10", "size_of of arm 'topk' is 'nobody'"),
        (PLAN.replace("k: 8", "k: 8, size_of: topk"), 2, "experiment.yaml:10", "size_of of arm 'topk' is 'topk'"),
        (PLAN.replace("k: 8", "k: 8, steps_of: standard"), 2, "experiment.yaml:10", "steps_of of arm 'topk' is 'standard'"),
        (PLAN.replace("k: 8", "k: [8, 16]"), 2, "experiment.yaml:10", "one value"),
        (PLAN.replace("preset: smoke", "preset: huge"), 2, "experiment.yaml:7", "huge"),
        (PLAN.replace("variant: topk", "variant: topp"), 2, "experiment.yaml:10", "topp"),
        (PLAN.replace("seeds: 2", "seeds: 2: 3"), 2, "experiment.yaml:6", ""),
        ("- a\n", 2, "experiment.yaml", "not a map"),
    ]
    for text, code, where, what in cases:
        place.write("experiment.yaml", text)
        _, err = place.experiment("--out_dir=run_0", code=code)
        line = error_line(err)
        assert where in line and what in line, (where, what, line)
        untouched(place)


def bad_places(place):
    _, err = place.experiment("--out_dir=run_9", code=2)
    assert "run_0" in error_line(err) and "run_9" in error_line(err)
    untouched(place, "run_9")
    open(place.path("run_0"), "w").write("mine")
    _, err = place.experiment("--out_dir=run_0", code=2)
    assert "not a folder" in error_line(err) and open(place.path("run_0")).read() == "mine"
    os.remove(place.path("run_0"))
    os.mkdir(place.path("run_0"))
    open(place.path("run_0", "thesis.tex"), "w").write("mine")
    _, err = place.experiment("--out_dir=run_0", code=2)
    assert "other things" in error_line(err) and os.listdir(place.path("run_0")) == ["thesis.tex"]
    _, err = place.experiment("--out_dir=nowhere/run_0", code=2)
    assert "nowhere" in error_line(err)
    _, err = place.experiment(code=2)
    assert "--out-dir" in error_line(err)
    if os.geteuid() != 0:
        shutil.rmtree(place.path("run_0"))
        os.chmod(place.study, 0o555)
        _, err = place.experiment("--out_dir=run_0", code=1)
        os.chmod(place.study, 0o755)
        assert "cannot" in error_line(err)


def a_read_only_place_and_a_busy_one(place):
    first = place.start("study", "run", "--study=" + place.study, "--out_dir=run_0")
    while not os.path.exists(place.path("run_0.partial", "log.txt")) and first.poll() is None:
        pass
    if first.poll() is None:
        _, err = place.experiment("--out_dir=run_0", code=1)
        assert "another process" in error_line(err)
    first.communicate(timeout=280)
    assert first.returncode == 0
    _, err = place.experiment("--out_dir=/proc/run_0", code=1)
    assert "/proc/run_0.partial" in error_line(err)


def texts(place):
    empty, strange = os.path.join(place.dir, "empty.txt"), os.path.join(place.dir, "strange.txt")
    open(empty, "w").close()
    with open(strange, "w") as f:
        f.write("To be, or not to be: that is the \u20ac question.\n" * 50)
    for path, what in (("/nonexistent.txt", "/nonexistent.txt"), (empty, "empty")):
        _, err = place.run("lm", "train", "--text", path, "-o", place.path("lm"), code=1)
        assert what in error_line(err) and not os.path.exists(place.path("lm")), err
    place.experiment("--out_dir=run_0")
    _, err = place.run("lm", "eval", place.path("run_0", "lm-seed0"), "--text", strange, code=1)
    assert "byte" in error_line(err) and "\u20ac" in error_line(err), err


def disk_full(place):
    """SAELAB_FAIL_IO makes the n-th write fail as a full disk does; nothing half-written may stay under the run's name."""
    for n in (1, 5, 40):
        p = place.start("study", "run", "--study=" + place.study, "--out_dir=run_0", env={"SAELAB_FAIL_IO": str(n)})
        _, err = p.communicate(timeout=280)
        assert p.returncode == 1 and "No space left" in error_line(err), (n, p.returncode, err)
        assert not os.path.exists(place.path("run_0"))
    place.experiment("--out_dir=run_0")


def fallback_text_is_named(place):
    empty = os.path.join(place.dir, "no-data")
    os.makedirs(empty)
    lonely = os.path.join(place.dir, "lonely")
    shutil.copytree(place.study, lonely)
    p = subprocess.run([BIN, "study", "run", "--study=" + lonely, "--out_dir=run_0"], cwd=lonely, capture_output=True, text=True,
                       env=dict(place.env, SAELAB_DATA=empty))
    assert p.returncode == 0, p.stderr
    name, = json.load(open(os.path.join(lonely, "run_0", "final_info.json")))
    assert name in ("king_james", "grammar"), name
    assert name == "king_james" or not shutil.which("bible")


if __name__ == "__main__":
    main([a_run_leaves_what_the_contract_says, numpy_reads_all_results, a_finished_run_returns_at_once, without_a_cache_the_same_numbers,
          the_study_runs_where_it_was_copied, bad_plans_name_line_and_column, bad_places, a_read_only_place_and_a_busy_one, texts, disk_full,
          fallback_text_is_named])
