"""From a text to an evaluated SAE, in the small: what each command writes, says and refuses."""
import json
import os
import pty
import signal
import struct
import subprocess
import time
import unittest

from support import BIN, TEXT, Case

LM = ["--preset", "smoke", "--max-iters", "3", "--eval-iters", "1", "--block-size", "16", "--batch-size", "4"]
SAE = ["--expansion", "2", "--k", "4", "--steps", "20", "--batch", "32"]


def npy(rows, d, value):
    """A version 1.0 .npy of f32 [rows, d]."""
    head = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {d}), }}".encode()
    head += b" " * (63 - (10 + len(head)) % 64) + b"\n"
    data = b"".join(struct.pack("<f", value(i, j)) for i in range(rows) for j in range(d))
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head + data


class Flow(Case):
    def setUp(self):
        super().setUp()
        self.write("t.txt", TEXT)

    def train_lm(self, out="m", *more):
        return self.run_tool("lm", "train", "-o", out, "--text", "t.txt", *LM, *more)

    def import_acts(self, out="acts", rows=200):
        self.write("x.npy", npy(rows, 8, lambda i, j: ((i * 37 + j * 11) % 23) / 7 - 1))
        return self.json("acts", "import", "x.npy", "-o", out, "--hook", "layer 3", "--model", "toy")

    def test_model(self):
        p = self.train_lm()
        self.assertTrue(p.stdout.startswith("m\n"))
        self.assertTrue(p.stderr.endswith("next: saelab lm sample m\n"))
        self.assertEqual(sorted(os.listdir(self.path("m"))), ["config.json", "config.yaml", "metrics.csv", "model.safetensors", "result.json", "tokenizer.json"])
        info = self.json("lm", "info", "m")
        self.assertEqual((info["n_layer"], info["block_size"], info["vocab_size"]), (2, 16, len(set(TEXT))))
        score = self.json("lm", "eval", "m")
        self.assertEqual((score["dataset"], score["split"]), ("t", "val"))
        self.assertTrue(0 < score["loss"] < 20)
        self.assertGreater(score["floor_unigram"], 1)
        sample = ["lm", "sample", "m", "-p", "The old", "--max-new-tokens", "12"]
        said = self.json(*sample)
        self.assertEqual((said["n_tokens"], len(said["text"]), said["text"][:7]), (12, 19, "The old"))
        self.assertEqual(self.run_tool(*sample, "-q").stdout, said["text"] + "\n")
        self.fails("lm", "sample", "m", "-p", "\u00fc", code=1, line="is not in the vocabulary")
        self.write("other.txt", "#" * 500)
        self.fails("lm", "eval", "m", "--text", "other.txt", code=1, line="other.txt: byte offset 0: character '#'")

    def test_repeat_and_config(self):
        self.train_lm()
        before = self.read("m/model.safetensors")
        p = self.train_lm()
        self.assertIn("m: finished already, nothing to do", p.stderr)
        self.run_tool("lm", "train", "--config", "m/config.yaml", "-o", "again", "-q")
        self.assertEqual(self.read("again/model.safetensors"), before)
        self.assertEqual(self.read("again/config.yaml"), self.read("m/config.yaml"))
        self.fails("lm", "train", "-o", "m", "--text", "t.txt", *LM, "--seed", "5", line="m: it holds a run with '  seed: 1337', not '  seed: 5'")
        self.run_tool("lm", "train", "--config", "m/config.yaml", "-o", "flag", "--seed", "5", "-q")
        self.assertNotEqual(self.read("flag/model.safetensors"), before)

    def test_quiet(self):
        p = self.train_lm("m", "-q")
        self.assertEqual(p.stderr, "")

    def test_folders_of_others(self):
        self.write("file", "x")
        os.mkdir(self.path("full"))
        self.write("full/mine", "x")
        self.fails("lm", "train", "-o", "file", "--text", "t.txt", *LM, line="file: a file is in the way (expected a new or empty folder)")
        self.fails("lm", "train", "-o", "full", "--text", "t.txt", *LM, line="full: the folder is not empty and holds no run of saelab")
        self.fails("lm", "train", "-o", "file/below", "--text", "t.txt", *LM, code=1, line="Not a directory (expected a folder that can be made)")
        self.fails("lm", "train", "--text", "t.txt", *LM, line="-o: where do the results go? (expected -o FOLDER)")
        self.assertEqual(os.listdir(self.path("full")), ["mine"])
        self.assertEqual(self.read("file"), b"x")

    def test_bad_texts_touch_nothing(self):
        self.write("empty.txt", "")
        self.fails("lm", "train", "-o", "m", "--text", "empty.txt", *LM, code=1, line="empty.txt: the file is empty")
        self.write("short.txt", "abc")
        self.run_tool("lm", "train", "-o", "m", "--text", "short.txt", *LM, code=1)
        self.fails("lm", "train", "-o", "n", "--text", "t.txt", *LM, "--n-head", "5", line="n_head")
        self.assertFalse(os.path.exists(self.path("n")))

    def test_capture_to_sae(self):
        self.train_lm()
        self.fails("acts", "capture", "--lm", "m", "--hook", "blocks.7.hook_resid_pre", "-o", "a", line="blocks.7")
        hooks = ["--hook", "blocks.1.hook_resid_pre", "--hook", "blocks.0.hook_mlp_out"]
        stores = self.json("acts", "capture", "--lm", "m", *hooks, "--tokens", "300", "-o", "a")
        self.assertEqual([s["hook"] for s in stores], ["blocks.1.hook_resid_pre", "blocks.0.hook_mlp_out"])
        self.assertEqual([s["n_rows"] for s in stores], [300, 300])
        self.assertTrue(self.json("acts", "info", "a/blocks.0.hook_mlp_out", "--verify")[0]["verified"])
        trained = self.json("sae", "train", "--lm", "m", "-o", "s", "--tokens", "300", "--held-out", "100", *SAE)
        self.assertEqual((trained["variant"], trained["d_sae"], trained["steps"]), ("topk", 64, 20))
        metrics = self.json("sae", "eval", "s", "--tokens", "200")[0]["metrics"]
        self.assertEqual(metrics["l0"]["value"], 4)
        self.assertEqual(metrics["l0"]["n"], 100)
        self.assertTrue(0 < metrics["ce_orig"]["value"] < 20)
        self.assertEqual(self.json("sae", "info", "s")["options"]["k"], 4)
        self.assertFalse(os.path.exists(self.path("s/acts")))
        self.assertTrue(0 <= trained["wait_share"] <= 1)
        self.run_tool("sae", "train", "--lm", "m", "-o", "s2", "--tokens", "300", "--held-out", "0", *SAE)
        self.assertEqual(self.read("s2/sae_weights.safetensors"), self.read("s/sae_weights.safetensors"))
        need = self.json("sae", "train", "--lm", "m", "--dry-run", *SAE)
        self.assertTrue(need["estimate"] and need["seconds"] > 0)

    def test_transcoder(self):
        self.train_lm()
        hooks = ["--hook", "blocks.0.hook_resid_pre", "--hook", "blocks.0.hook_mlp_out"]
        self.run_tool("acts", "capture", "--lm", "m", *hooks, "--tokens", "300", "-o", "a")
        x, y = "a/blocks.0.hook_resid_pre", "a/blocks.0.hook_mlp_out"
        flags = ["--d-sae", "64", "--steps", "60", "--batch", "64", "--lr", "5e-3"]
        pair = ["--variant", "skip_transcoder", "--acts", x, "--targets", y]
        trained = self.json("sae", "train", *pair, "-o", "t", *flags)
        self.assertEqual((trained["variant"], trained["d_sae"]), ("skip_transcoder", 64))
        self.assertLess(trained["fvu"], .9)
        info = self.json("sae", "info", "t")
        self.assertEqual((info["hook"], info["hook_out"]), ("blocks.0.hook_resid_pre", "blocks.0.hook_mlp_out"))
        self.fails("sae", "eval", "t", "--acts", x, line="t: a skip_transcoder is measured on rows with targets (expected --acts FOLDER and --targets FOLDER)")
        metrics = self.json("sae", "eval", "t", "--acts", x, "--targets", y)[0]["metrics"]
        self.assertTrue(0 < metrics["fvu"]["value"] < .9)
        self.assertEqual(metrics["fvu"]["n"], 300)
        self.fails("sae", "eval", "t", "--acts", x, "--targets", y, "--probes", code=1, line="only the metrics of rows know")
        self.fails("sae", "train", "--variant", "topk", "--acts", x, "--targets", y, "-o", "u", *flags, line="--targets: topk predicts its own input")
        self.assertFalse(os.path.exists(self.path("u")))
        self.fails("sae", "train", "--variant", "transcoder", "--acts", x, "-o", "u", *flags, code=1, line="targets")
        self.fails("sae", "train", "--variant", "transcoder", "--lm", "m", "--targets", y, "-o", "v", *flags, line="--targets")

    def test_imported(self):
        info = self.import_acts()[0]
        self.assertEqual((info["n_rows"], info["d_in"], info["hook"], info["model"]), (200, 8, "layer 3", "toy"))
        p = self.run_tool("sae", "train", "--acts", "acts", "-o", "s", *SAE)
        self.assertTrue(p.stderr.endswith("next: saelab sae eval s --acts HELD_OUT_STORE\n"))
        self.assertFalse(os.path.exists(self.path("s/checkpoints")))
        p = self.run_tool("sae", "eval", "s", "--acts", "acts")
        self.assertIn("warning: acts: these are the rows that it was trained on", p.stderr)
        self.assertRegex(p.stdout, r"(?m)^METRIC +VALUE +INTERVAL +FLOOR +RANDOM +N$")
        self.fails("sae", "eval", "s", line="s: what is it to be measured on?")
        self.fails("acts", "import", "x.npy", "-o", "acts", line="acts")
        need = self.json("sae", "train", "--acts", "acts", "-o", "dry", "--dry-run", *SAE)
        self.assertEqual(set(need), {"estimate", "seconds", "memory_bytes", "disk_bytes"})
        self.assertIn("ESTIMATE\n", self.run_tool("sae", "train", "--acts", "acts", "--dry-run", *SAE).stdout)
        self.assertFalse(os.path.exists(self.path("dry")))
        self.fails("sae", "train", "--acts", "acts", "-o", "huge", "--d-sae", "16000000", "--batch", "1000000", code=1, line="of memory and")
        self.assertFalse(os.path.exists(self.path("huge")))

    def test_perturbed(self):
        self.import_acts()
        train = ["sae", "train", "--acts", "acts", *SAE, "--perturb-type", "gauss"]
        r = self.json(*train, "-o", "p", "--perturb-eps", ".3", "--no-perturb-adaptive")
        self.assertEqual((r["perturb"]["eps"], r["perturb"]["stopped_at"], r["perturb"]["skipped"]), (0.3, 0, 0))
        self.assertGreater(r["perturb"]["rows"], 0)
        self.assertIn("noise", self.run_tool(*train, "-o", "q", "--perturb_eps=.3").stdout)
        self.assertIn(b"perturb:\n  type: gauss\n", self.read("p/config.yaml"))
        self.assertEqual(self.read("p/sae_weights.safetensors"), self.read("q/sae_weights.safetensors"))
        self.run_tool("sae", "train", "--config", "p/config.yaml", "-o", "again", "-q")
        self.assertEqual(self.read("again/sae_weights.safetensors"), self.read("p/sae_weights.safetensors"))
        self.run_tool("sae", "train", "--acts", "acts", *SAE, "-o", "plain", "-q")
        self.assertNotEqual(self.read("plain/sae_weights.safetensors"), self.read("p/sae_weights.safetensors"))
        self.assertIsNone(json.loads(self.read("plain/result.json"))["perturb"])
        brief = self.json(*train, "-o", "brief", "--perturb-noise-std", ".3", "--perturb-stability-coefficient", "1", "--perturb-eps", ".9", "--perturb-gamma", "7")
        self.assertEqual(brief["perturb"]["eps"], 0.3)
        self.assertEqual(self.read("brief/sae_weights.safetensors"), self.read("p/sae_weights.safetensors"))
        self.assertIn("ESTIMATE", self.run_tool(*train, "--dry-run", "--perturb-early-stop", "--held-out-acts", "acts").stdout)
        for flags, code, line in ((["--perturb-eps", "x"], 2, "--perturb-eps: eps is 'x'"), (["--perturb-ep", "1"], 2, "did you mean --perturb-eps?"),
                                  (["--eps", "1"], 2, "--eps: unknown option"), (["--perturb-rank", "9"], 2, "9 directions of 8"),
                                  (["--perturb-site", "token"], 1, "tokens are out of reach"), (["--perturb-early-stop"], 2, "--held-out-acts STORE")):
            with self.subTest(flags=flags):
                self.fails(*train, "-o", f"no{len(flags)}{flags[0]}", *flags, code=code, line=line)

    def test_early_stop(self):
        self.import_acts()
        self.import_acts("other", 300)
        r = self.json("sae", "train", "--acts", "acts", "-o", "p", *SAE, "--dead-window", "100000", "--perturb-type", "gauss", "--perturb-early-stop",
                      "--held-out-acts", "other", "--lr", "1e-3")
        self.assertTrue(0 < r["perturb"]["chosen_step"] <= r["steps"] <= 20)
        self.write("s.yaml", "sweep:\n  perturb_type: [none, gauss]\n  perturb-eps: [0.1, 0.3]\n")
        r = self.json("sae", "train", "--acts", "acts", "-o", "sweep", *SAE, "--config", "s.yaml")
        self.assertEqual(sorted(os.listdir(self.path("sweep")))[:4], ["config.yaml", "perturb_typegauss_perturb-eps0.1", "perturb_typegauss_perturb-eps0.3", "perturb_typenone_perturb-eps0.1"])
        self.write("s.yaml", "sweep:\n  perturb_p_tok: [0.1, 0.3]\n")
        self.fails("sae", "train", "--acts", "acts", "-o", "no", *SAE, "--config", "s.yaml", line="perturb_p_tok is the same for all SAEs of a pass")

    def test_changed_tokens(self):
        self.train_lm()
        train = ["sae", "train", "--lm", "m", "--tokens", "300", "--held-out", "100", *SAE]
        self.run_tool(*train, "-o", "plain", "-q")
        r = self.json(*train, "-o", "changed", "--perturb-site", "token", "--perturb-p-tok", ".3")
        self.assertNotEqual(self.read("plain/sae_weights.safetensors"), self.read("changed/sae_weights.safetensors"))
        self.assertEqual(self.read("plain/held_out/manifest.json"), self.read("changed/held_out/manifest.json"))
        self.assertEqual(r["steps"], 20)
        self.fails(*train, "-o", "no", "--perturb-site", "token", "--perturb-token-to", "9999", line="the vocabulary has")

    def test_odd_rows(self):
        """A NaN, rows that are all alike: refused with their place, nothing is written. Constant features: trained, every number finite."""
        value = lambda i, j: ((i * 37 + j * 11) % 23) / 7 - 1
        self.write("nan.npy", npy(200, 8, lambda i, j: float("nan") if (i, j) == (150, 3) else value(i, j)))
        self.write("zero.npy", npy(200, 8, lambda i, j: 0))
        self.write("constant.npy", npy(200, 8, lambda i, j: 2.5 if j < 3 else value(i, j)))
        self.fails("acts", "import", "nan.npy", "-o", "no", code=1, line="nan.npy: row 150 of the input, column 3: nan (expected finite numbers)")
        self.fails("acts", "import", "zero.npy", "-o", "no", code=1, line="all 200 rows are the same: the variance is zero")
        self.assertFalse(os.path.exists(self.path("no/manifest.json")))
        self.run_tool("acts", "import", "constant.npy", "-o", "acts", "-q")
        self.run_tool("sae", "train", "--acts", "acts", "-o", "p", *SAE, "--perturb-type", "gauss", "-q")
        self.run_tool("sae", "eval", "p", "--acts", "acts", "--stability", "-q")
        for name in os.listdir(self.path("p")):
            if not name.endswith(".safetensors"):
                self.assertNotRegex(self.read("p/" + name).decode().lower(), r"\b(nan|inf|infinity)\b", name)

    def test_sweep(self):
        self.import_acts()
        self.write("s.yaml", "acts: acts\ntrain:\n  steps: 20\n  batch: 32\n  expansion: 2\nvariant:\n  k: 4\n"
                             "sweep:\n  variant: [topk, batchtopk, standard]\n  k: [2, 3]\n  l1: [0.01]\n  seed: [0, 1]\n")
        need = self.json("sae", "train", "--config", "s.yaml", "--dry-run")
        self.assertTrue(need["estimate"])
        r = self.json("sae", "train", "--config", "s.yaml", "-o", "w")
        names = [s["name"] for s in r["saes"]]
        self.assertEqual(sorted(names), sorted([f"{v}_k{k}_seed{s}" for v in ("topk", "batchtopk") for k in (2, 3) for s in (0, 1)] +
                                               [f"standard_l10.01_seed{s}" for s in (0, 1)]))
        self.assertTrue(all(s["failed"] is None and s["fvu"] > 0 for s in r["saes"]) and any(s["front"] for s in r["saes"]))
        for name in ("topk_k3_seed1", "batchtopk_k2_seed0", "standard_l10.01_seed1"): # each as it would be alone, by its own configuration
            self.run_tool("sae", "train", "--config", f"w/{name}/config.yaml", "-o", f"alone/{name}")
            for file in ("sae_weights.safetensors", "cfg.json"):
                self.assertEqual(self.read(f"alone/{name}/{file}"), self.read(f"w/{name}/{file}"))
        self.assertTrue(os.path.exists(self.path("w/plots/frontier_fvu.dat")) and os.path.exists(self.path("w/plots/frontier_fvu.gp")))
        self.assertEqual(self.json("sae", "train", "--config", "s.yaml", "-o", "w")["saes"], r["saes"]) # finished: told again
        self.assertEqual(self.json("sae", "train", "--config", "w/config.yaml", "-o", "w2")["saes"][0]["fvu"], r["saes"][0]["fvu"])
        self.fails("sae", "train", "--config", "s.yaml", "-o", "w", "--lr", "0.1", line="it holds a run with")
        for text, line in (("sweep:\n  batch: [1, 2]\n", "bad.yaml:2:3: batch is the same for all SAEs of a pass"), ("sweep: 3\n", "bad.yaml:1:8: the sweep is no map"),
                           ("sweep:\n  kk: [1]\n", "bad.yaml:2:3: none of these SAEs has the option 'kk'"), ("sweep:\n  k: []\n", "bad.yaml:2:6: k is none"),
                           ("sweep:\n  k: [x]\n", "bad.yaml:2:7: k is 'x'"), ("sweep:\n  variant: [topkk]\n", "bad.yaml:2:13: there is no variant 'topkk'")):
            self.write("bad.yaml", text)
            self.fails("sae", "train", "--acts", "acts", "--config", "bad.yaml", "-o", "n", line=line)
        self.write("big.yaml", "sweep:\n  d_sae: [8000000, 16000000]\n")
        self.fails("sae", "train", "--acts", "acts", "--config", "big.yaml", "-o", "n", code=1, line="of memory and")
        self.assertFalse(os.path.exists(self.path("n")))

    def test_sweep_of_a_model(self):
        self.train_lm()
        self.write("s.yaml", "sweep:\n  hook: [blocks.0.hook_mlp_out, blocks.1.hook_resid_pre]\n  seed: [0, 1]\n")
        r = self.json("sae", "train", "--config", "s.yaml", "--lm", "m", "-o", "w", "--held-out", "100", "--shuffle-rows", "200", *SAE)
        self.assertEqual([s["name"] for s in r["saes"]], ["blocks.0.hook_mlp_out_seed0", "blocks.1.hook_resid_pre_seed0", "blocks.0.hook_mlp_out_seed1",
                                                           "blocks.1.hook_resid_pre_seed1"])
        self.assertTrue(all(s["ce_delta"] is not None for s in r["saes"]))
        self.assertTrue(os.path.exists(self.path("w/plots/frontier_ce.dat")))
        self.run_tool("sae", "train", "--config", "w/blocks.1.hook_resid_pre_seed1/config.yaml", "-o", "alone")
        self.assertEqual(self.read("alone/sae_weights.safetensors"), self.read("w/blocks.1.hook_resid_pre_seed1/sae_weights.safetensors"))


class Signals(Case):
    def lines(self):
        return self.read("m/metrics.csv").count(b"\n") if os.path.exists(self.path("m/metrics.csv")) else 1

    def start(self, *args):
        """A training that has done three more steps than any before."""
        self.write("t.txt", TEXT)
        before = self.lines()
        p = subprocess.Popen([BIN, "lm", "train", "-o", "m", "--text", "t.txt", *LM, "--max-iters", "1000000", "--eval-interval", "1", *args], cwd=self.dir, env=self.env,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(400):
            if self.lines() > before + 3:
                return p
            time.sleep(.1)
        p.kill()
        self.fail("it did not start: " + p.communicate()[1])

    def test_stopped_and_resumed(self):
        for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
            p = self.start()
            p.send_signal(number)
            out, err = p.communicate(timeout=60)
            self.assertEqual((p.returncode, out), (code, ""))
            self.assertTrue(err.endswith("stopped; the same command resumes\n"), err)
            self.assertTrue(os.listdir(self.path("m/checkpoints")))
        self.assertIn("m: going on with the run that is there", err)

    def test_json(self):
        p = self.start("--json")
        p.send_signal(signal.SIGTERM)
        out, _ = p.communicate(timeout=60)
        self.assertEqual((p.returncode, json.loads(out)["error"]["code"]), (143, "cancelled"))


class Terminal(Case):
    """On a terminal there is one bar that is redrawn, and colours unless NO_COLOR."""

    def on_terminal(self, *args, **env):
        pid, fd = pty.fork()
        if pid == 0:
            os.chdir(self.dir)
            os.execve(BIN, [BIN, *args], {**self.env, "TERM": "xterm", "LANG": "C.UTF-8", **env})
        text = b""
        while True:
            try:
                piece = os.read(fd, 4096)
            except OSError:
                piece = b""
            if not piece:
                break
            text += piece
        os.close(fd)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), text.decode()

    def test_bar(self):
        self.write("t.txt", TEXT)
        code, text = self.on_terminal("lm", "train", "-o", "m", "--text", "t.txt", *LM, "--max-iters", "40")
        self.assertEqual(code, 0, text)
        self.assertIn("\r\x1b[K", text)
        self.assertIn("train lm  \x1b[32m", text)
        self.assertNotIn("\x1b[K\n", text)
        for line in text.replace("\r", "\n").split("\n"):
            plain = line.replace("\x1b[K", "").replace("\x1b[32m", "").replace("\x1b[0m", "").replace("\x1b[2m", "")
            if plain.startswith("train lm  "):
                self.assertLessEqual(len(plain), 79)

    def test_no_color(self):
        code, text = self.on_terminal("zzz")
        self.assertEqual(code, 2)
        self.assertTrue(text.startswith("\x1b[1;31msaelab:\x1b[0m unknown command"), text)
        code, text = self.on_terminal("zzz", NO_COLOR="1")
        self.assertTrue(text.startswith("saelab: unknown command"), text)


if __name__ == "__main__":
    unittest.main()
