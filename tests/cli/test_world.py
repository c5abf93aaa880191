"""Worlds on the command line: what there is, what a person sees, training on them."""
import json
import os
import unittest

from support import Case

TINY = ["--set", "digits=1", "--n-layer", "1", "--n-head", "1", "--n-embd", "8", "--batch", "8", "--gate-instances", "50", "--presence", "300"]


class World(Case):
    def test_list(self):
        worlds = {w["name"]: w for w in self.json("world", "list")}
        self.assertEqual(len(worlds), 14)
        self.assertEqual(worlds["synth16k"]["options"]["n"], 16384)
        self.assertIs(worlds["synth16k"]["options"]["scale_children_by_parent"], False)
        self.assertEqual(worlds["grammar"]["kind"], "task")
        self.assertTrue(worlds["comp_ood"]["has_ood"])
        self.assertFalse(worlds["toy_128"]["has_ood"])
        text = self.run_tool("world", "list").stdout
        for name in worlds:
            self.assertIn(f"{name} (", text)

    def test_sample_rows(self):
        r = self.json("world", "sample", "toy_song", "-n", "4")
        self.assertEqual((r["features"], r["d"], len(r["rows"])), (32, 16, 4))
        self.assertEqual([len(row["features"]) for row in r["rows"]], [3] * 4)
        self.assertEqual([row["row"] for row in r["rows"]], [0, 1, 2, 3])
        self.assertEqual(r, self.json("world", "sample", "toy_song", "-n", "4", "--threads", "3"))
        self.assertNotEqual(r["rows"], self.json("world", "sample", "toy_song", "-n", "4", "--seed", "1")["rows"])
        ood = self.json("world", "sample", "synth_comp", "--split", "ood", "--set", "beta=0.3")
        self.assertTrue(all(row["compositions"] for row in ood["rows"]))
        text = self.run_tool("world", "sample", "toy_128", "-n", "20").stdout
        self.assertIn("(of f", text)

    def test_sample_instances(self):
        r = self.json("world", "sample", "arithmetic", "-n", "3")
        self.assertEqual(r["measure"], "exact_match")
        for i in r["instances"]:
            a, b = ("".join(i["words"][k:k + 3]) for k in (1, 5))
            self.assertEqual(int("".join(i["words"][9:][::-1])), int(a) + int(b))
            self.assertEqual([p["position"] for p in i["positions"]], [8, 9, 10, 11])
            self.assertIn(f"a0={a[2]}", i["positions"][0]["on"])
            self.assertEqual("carry0" in i["positions"][0]["on"], int(a[2]) + int(b[2]) >= 10)
        self.assertIn("not yet determined", self.run_tool("world", "sample", "grammar").stdout)

    def test_refused(self):
        self.fails("world", "sample", "toy_129", line="toy_128")
        self.fails("world", "sample", "toy_128", "--set", "zzz=1", line="--set")
        self.fails("world", "sample", "toy_128", "--set", "d", line="KEY=VALUE")
        self.fails("world", "sample", "toy_128", "--set", "l0=1", line="free features")
        self.fails("world", "sample", "toy_128", "--split", "ood", line="nothing is withheld")
        self.fails("world", "train", "grammar", line="where does the model go?")
        self.fails("world", "train", "toy_128", "-o", "m", line="needs no model")
        self.assertFalse(os.path.exists(self.path("m")))
        self.fails("sae", "train", "--world", "grammar", "-o", "s", line="--lm FOLDER of `saelab world train`")
        self.fails("sae", "train", "--world", "toy_128", "--lm", "m", "-o", "s", line="rows of its own")
        self.fails("sae", "train", "--world", "toy_128", "--acts", "m", "-o", "s", line="--acts and --world together")

    def test_sae_on_a_world(self):
        r = self.json("sae", "train", "--world", "toy_128", "--world-set", "d=32", "-o", "s", "--k", "5", "--d-sae", "64", "--steps", "40", "--batch", "64")
        self.assertEqual((r["d_in"], r["d_sae"], r["rows"]), (32, 64, 40 * 64))

    def test_task(self):
        p = self.run_tool("world", "train", "arithmetic", "-o", "m", "--steps", "20", *TINY, code=1)
        self.assertIn("misses the gate", p.stdout)
        self.assertIn("features are present", p.stdout)
        self.assertEqual(len([line for line in p.stderr.splitlines() if "passes the gate before" in line]), 1)
        again = self.run_tool("world", "train", "arithmetic", "-o", "m", "--steps", "20", *TINY, code=1)
        self.assertIn("passes the gate before", again.stderr)
        kept = json.loads(self.read("m/result.json"))
        self.assertFalse(kept["passed"])
        self.assertIn("carry0", kept["presence"])
        r = self.json("sae", "train", "--world", "arithmetic", "--world-set", "digits=1", "--lm", "m", "-o", "s", "--k", "4", "--d-sae", "16", "--hook",
                      "blocks.0.hook_resid_post", "--steps", "20", "--batch", "32")
        self.assertEqual((r["d_in"], r["rows"]), (8, 640))


if __name__ == "__main__":
    unittest.main()
