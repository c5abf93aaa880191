"""saelab baseline METHOD: fit, measure, repeat, evaluate, refuse."""
import unittest

from support import Case, commands

SMALL = ("--rows", "500", "--eval-rows", "200", "--k", "3")


class Baseline(Case):
    def test_every_method_on_a_world(self):
        methods = [n.split()[1] for n in commands() if n.startswith("baseline ")]
        self.assertEqual(len(methods), 9)
        more = {"nmf": ["--d-sae", "16", "--iterations", "20"], "semi_nmf": ["--d-sae", "16", "--iterations", "20"], "kmeans": ["--d-sae", "16"],
                "fista": ["--d-sae", "32", "--epochs", "2"], "random": ["--d-sae", "32"]}
        for m in methods:
            with self.subTest(method=m):
                r = self.json("baseline", m, "--world", "toy_song", "-o", m, *SMALL, *more.get(m, []))
                self.assertEqual((r["method"], r["d_in"], r["rows"], r["eval_rows"]), (m, 16, 500, 200))
                self.assertLessEqual(r["metrics"]["l0"], 3)
                self.assertLess(r["metrics"]["fvu"], 1)
                self.assertIn("mcc_dec_abs", r["metrics"])
                self.assertEqual(r["metrics"]["scr"], None)
                self.assertIn("NOT RUN", r["reasons"]["scr"])
        self.assertGreater(self.json("baseline", "fista_oracle", "--world", "toy_song", "-o", "fista_oracle", *SMALL)["metrics"]["mcc_dec_abs"], .999)

    def test_repeat_evaluate_and_reuse(self):
        first = self.json("baseline", "topk_pca", "--world", "toy_song", "-o", "b", *SMALL)
        files = self.read("b/baseline.safetensors")
        p = self.run_tool("baseline", "topk_pca", "--world", "toy_song", "-o", "b", *SMALL)
        self.assertIn("finished already", p.stderr)
        self.assertEqual(self.read("b/baseline.safetensors"), files)
        self.assertEqual(self.json("sae", "info", "b")["variant"], "topk")
        self.json("baseline", "topk_pca", "--world", "toy_song", "-o", "threads", "--threads", "1", *SMALL)
        self.assertEqual(self.read("threads/baseline.safetensors"), files)
        r = self.json("baseline", "fista_oracle", "--world", "toy_song", "--dictionary", "b", "-o", "c", *SMALL)
        self.assertEqual(r["d_sae"], first["d_sae"])

    def test_refusals(self):
        self.fails("baseline", "pca", "--world", "toy_song", line="where does the baseline go?")
        self.fails("baseline", "pca", "-o", "b", line="what is there to fit?")
        self.fails("baseline", "pca", "--world", "toy_song", "--acts", "x", "-o", "b", line="--acts and --world together")
        self.fails("baseline", "lda", "-o", "b", line="unknown command")
        self.fails("baseline", "pca", "--world", "toy_song", "-o", "b", "--k", "17", line="17 components of 16 columns")
        self.fails("baseline", "pca", "--acts", "nowhere", "-o", "b", code=1, line="nowhere")


if __name__ == "__main__":
    unittest.main()
