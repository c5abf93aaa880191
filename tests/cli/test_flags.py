"""Flags and arguments: every wrong one gives one line with place and expectation, exit code 2, and touches nothing."""
import json
import os
import unittest

from support import Case


class Flags(Case):
    def test_unknown_commands(self):
        self.fails("lm", "trian", line="unknown command 'lm trian'; did you mean 'lm train'? (expected a command of `saelab help`)")
        self.fails("docter", line="unknown command 'docter'; did you mean 'doctor'?")
        self.fails("zzz", line="unknown command 'zzz' (expected a command of `saelab help`)")
        self.fails("cache", "purge", line="did you mean 'cache prune'?")

    def test_no_command(self):
        p = self.run_tool(code=2)
        self.assertEqual(p.stdout, "")
        self.assertIn("Usage: saelab COMMAND", p.stderr)
        self.fails("--threads", "3", line="saelab: --threads: flags without a command (expected a command of `saelab help`)")
        p = self.run_tool("lm", code=2)
        self.assertIn("lm train", p.stderr)
        self.assertNotIn("sae train", p.stderr)

    def test_unknown_flags(self):
        self.fails("lm", "train", "--learnin-rate", "1", line="saelab lm train: --learnin-rate: unknown option; did you mean --learning-rate?")
        self.fails("version", "--zebra", line="saelab version: --zebra: unknown option (expected an option of `saelab version --help`)")
        self.fails("version", "-Z", line="-Z: unknown option")

    def test_values(self):
        for flag, value, line in [
            ("--n-layer", "2.5", "--n-layer: n_layer is '2.5' (expected a whole number from 1 to 1000)"),
            ("--n_layer", "0", "--n-layer: n_layer is '0'"),
            ("--learning-rate", "nan", "--learning-rate: learning_rate is 'nan' (expected a number from 0 to 100)"),
            ("--learning-rate", "1e-3x", "learning_rate is '1e-3x'"),
            ("--learning_rate", "inf", "learning_rate is 'inf'"),
            ("--norm", "batch", "(expected one of: layernorm, rmsnorm)"),
            ("--threads", "-1", "--threads: threads is '-1'"),
            ("--precision", "f16", "(expected one of: f32, bf16)"),
            ("--preset", "huge", "--preset: there is no preset 'huge' (expected a name of `saelab lm presets`)"),
        ]:
            with self.subTest(flag=flag, value=value):
                self.fails("lm", "train", "-o", "m", flag, value, line=line)
                self.fails("lm", "train", "-o", "m", f"{flag}={value}", line=line)
        self.assertFalse(os.path.exists(self.path("m")))

    def test_forms(self):
        self.fails("lm", "sample", "m", "--top-k", line="--top-k: needs a value (expected a whole number")
        self.fails("version", "--json=yes", line="--json=yes: takes no value")
        self.fails("version", "x", line="saelab version: x: one argument too many (expected saelab version)")
        self.fails("lm", "info", line="saelab lm info: an argument is missing (expected saelab lm info LM)")
        for form in (["--no-json"], ["--threads=2"], ["--threads", "2"], ["--threads", "1e0"], ["--data_dir=x"], ["-q"]):
            self.assertIn("saelab", self.run_tool("version", *form).stdout)
            self.assertIn("saelab", self.run_tool(*form, "version").stdout)
        self.assertEqual(self.json("--kern=ref", "doctor", "--threads", "1")["kernels"], "ref")
        self.fails("--threads", "x", "cache", "list", line="saelab cache list: --threads: threads is 'x'")

    def test_missing_pieces(self):
        self.fails("sae", "train", "-o", "s", line="--acts: what is there to train on? (expected --acts FOLDER, --lm FOLDER, or --world NAME)")
        self.fails("sae", "train", "-o", "s", "--acts", "a", "--lm", "m", line="--acts and --lm together")
        self.fails("sae", "train", "-o", "s", "--acts", "a", code=1, line="a: is no activation store (expected a folder with manifest.json)")
        self.fails("sae", "train", "-o", "s", "--acts", "a", "--variant", "topkk", line="--variant: there is no variant 'topkk'")
        self.fails("sae", "train", "-o", "s", "--acts", "a", "--variant", "standard", "--k", "3", line="--k: unknown option")
        self.fails("acts", "capture", "--lm", "m", "-o", "a", line="--hook: which hook?")
        self.fails("acts", "capture", "--hook", "blocks.0.hook_resid_pre", "-o", "a", line="--lm: which model?")
        self.fails("acts", "import", "x.npy", line="-o: where does the store go? (expected -o FOLDER)")
        self.fails("lm", "eval", "m", code=1, line="m/config.json")
        self.fails("lm", "train", "-o", "m", "--text", "none.txt", code=1, line="none.txt")
        self.fails("data", "get", "shakespear", line="there is no 'shakespear'")
        self.fails("completion", "fish", line="fish: no completion for this shell (expected bash)")
        self.fails("study", "show", "nothing", line="nothing: there is no such study")
        self.assertEqual(sorted(os.listdir(self.dir)), [])

    def test_config_file(self):
        self.fails("lm", "train", "-o", "m", "--config", "none.yaml", line="--config: none.yaml: no such file")
        for text, line in [
            ("lm:\n  n_layers: 3\n", "bad.yaml:2:3: unknown option 'n_layers'; did you mean 'n_layer'?"),
            ("train:\n  learning_rate: nan\n", "bad.yaml:2:18: learning_rate is 'nan' (expected a number from 0 to 100)"),
            ("train: [1]\n", "bad.yaml:1:8: not a map"),
            ("command: sae train\n", "bad.yaml:1:10: a configuration of another command (expected command: lm train)"),
            ("model:\n  n_layer: 3\n", "bad.yaml:1:1: unknown option 'model'"),
            ("precision: f64\n", "bad.yaml:1:12: precision is 'f64'"),
            ("lm: {n_layer: 3\n", "bad.yaml:"),
        ]:
            with self.subTest(text=text):
                self.write("bad.yaml", text)
                self.fails("lm", "train", "-o", "m", "--config", "bad.yaml", line=line)
        self.assertFalse(os.path.exists(self.path("m")))

    def test_variant_of_config_file(self):
        self.write("v.yaml", "train:\n  variant: standard\n")
        self.fails("sae", "train", "-o", "s", "--acts", "a", "--config", "v.yaml", "--k", "3", line="--k: unknown option")
        self.fails("sae", "train", "-o", "s", "--acts", "a", "--config", "v.yaml", "--l1", "x", line="--l1: l1 is 'x'")
        self.fails("sae", "train", "-o", "s", "--acts", "a", "--config", "v.yaml", "--variant", "topk", "--k", "x", line="--k: k is 'x'")

    def test_full_disk_behind_stdout(self):
        with open("/dev/full", "w") as full:
            p = self.run_tool("version", code=1, stdout=full)
        self.assertEqual(p.stderr, "saelab version: standard output: cannot be written\n")


class Study(Case):
    PLAN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "studies", "purification")

    def test_show(self):
        self.assertIn("run_0", self.run_tool("study", "show", self.PLAN).stdout)
        os.mkdir(self.path("mine"))
        self.write("mine/experiment.yaml", "study: mine\nrun_0: {lm: {preset: [smoke]}}\n")
        self.fails("study", "show", "mine", line="mine/experiment.yaml:2:")

    def test_run_names_a_run_of_the_plan(self):
        at = ["--study", self.PLAN]
        self.fails("study", "run", *at, line="--out-dir: no run was named (expected --out-dir=run_0, or RUN)")
        for form in (["run_9"], ["--out_dir=run_9"], ["run_9", "-o", "x/run_9"], ["run_9", "-o", "."], ["-o", "y/run_9/"]):
            os.makedirs(self.path("x"), exist_ok=True)
            os.makedirs(self.path("y"), exist_ok=True)
            with self.subTest(form=form):
                self.fails("study", "run", *form, *at, line="has no run named 'run_9'")
        self.fails("study", "run", "a/run_0", "-o", "b", *at, line="RUN is a path, and there is --out-dir too")
        self.write("run_0", "mine")
        self.fails("study", "run", "run_0", "-o", self.dir, "--profile", "smoke", *at, line="run_0")
        self.assertEqual(self.read("run_0"), b"mine")
        self.assertEqual(sorted(os.listdir(self.dir)), ["run_0", "x", "y"])


class Json(Case):
    def test_errors(self):
        e = self.json("lm", "train", "--n-layer", "x", code=2)
        self.assertEqual((e["code"], e["where"], e["what"]), ("usage", "--n-layer", "n_layer is 'x'"))
        e = self.json("lm", "info", "nowhere", code=1)
        self.assertEqual(e["code"], "missing")
        e = self.json("zzz", code=2)
        self.assertEqual(e["expected"], "a command of `saelab help`")

    def test_listings(self):
        self.assertRegex(self.json("version")["version"], r"^\d+\.\d+\.\d+$")
        self.assertIn("nanogpt_char", [p["name"] for p in self.json("lm", "presets")])
        variants = {v["name"]: v for v in self.json("sae", "variants")}
        self.assertEqual(variants["topk"]["options"]["k"], 32)
        data = {d["name"]: d for d in self.json("data", "list")}
        self.assertEqual(data["enwik8"]["bytes"], 100000000)
        self.assertEqual(data["grammar"]["state"], "built in")
        self.assertEqual(self.json("cache", "list"), {"folder": self.path("cache"), "entries": [], "bytes": 0})
        self.assertEqual(self.json("cache", "prune", "--keep", "0"), {"freed_bytes": 0})
        self.assertIn("Usage: saelab lm eval LM", self.json("help", "lm", "eval")["text"])

    def test_doctor(self):
        d = self.json("doctor", "--threads", "1")
        self.assertEqual((d["threads"], d["self_test"]), (1, "ok"))
        self.assertGreater(d["memory_bytes"], 1e8)
        self.assertIsInstance(d["missing_packages"], list)

    def test_doctor_names_the_package(self):
        d = self.run_tool("doctor", env={"PATH": self.dir})
        self.assertIn("gnuplot   MISSING: draws the plots", d.stdout)
        self.assertIn("next: apt-get install --no-install-recommends gnuplot-nox graphviz bible-kjv curl\n", d.stderr)

    def test_found_data(self):
        os.makedirs(self.path("texts/tinyshakespeare"))
        self.write("texts/tinyshakespeare/input.txt", "x")
        data = {d["name"]: d for d in self.json("data", "list", "--data-dir", self.path("texts"))}
        self.assertEqual(data["shakespeare_char"]["path"], self.path("texts/tinyshakespeare/input.txt"))

    def test_progress_events(self):
        self.write("t.txt", "abcdefgh\n" * 200)
        p = self.run_tool("lm", "train", "-o", "m", "--text", "t.txt", "--preset", "smoke", "--max-iters", "2", "--eval-iters", "1", "--progress", "json")
        events = [json.loads(line) for line in p.stderr.splitlines()]
        last = [e for e in events if e["event"] == "progress" and e["task"] == "train lm"][-1]
        self.assertEqual((last["done"], last["total"], last["unit"]), (2, 2, "iterations"))


if __name__ == "__main__":
    unittest.main()
