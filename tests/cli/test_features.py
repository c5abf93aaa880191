"""saelab features: build, show, export, from a text in the small."""
import csv
import json
import os
import struct
import unittest

from support import TEXT, Case

LM = ["--preset", "smoke", "--max-iters", "3", "--eval-iters", "1", "--block-size", "16", "--batch-size", "4"]
SAE = ["--variant", "topk", "--expansion", "2", "--k", "4", "--steps", "20", "--batch", "32"]


class Features(Case):
    def train(self):
        self.write("t.txt", TEXT)
        self.run_tool("lm", "train", "-o", "m", "--text", "t.txt", *LM)
        self.run_tool("acts", "capture", "--lm", "m", "--hook", "blocks.1.hook_resid_pre", "-o", "acts")
        self.run_tool("sae", "train", "--acts", "acts", "-o", "sae", *SAE)

    def test_build_show_export(self):
        """From the live model; then from its store, which names the model: the same figures."""
        self.train()
        built = self.json("features", "build", "sae", "--lm", "m")[0]
        self.assertEqual(built["index"], "sae/features")
        self.assertEqual(built["bytes"], os.path.getsize(self.path("sae/features/index.safetensors")))
        self.assertEqual(os.listdir(self.path("sae/features")), ["index.safetensors"])
        feature = next(f for f in (self.json("features", "show", "sae", str(i)) for i in range(64)) if f["fired"] > 20)
        self.assertIn("raises", feature)
        self.assertEqual(sum(feature["histogram"]), feature["fired"])
        top = feature["contexts"][0]
        self.assertEqual(top["kind"], "top")
        self.assertAlmostEqual(top["values"][top["focus"]], feature["max"], places=5)
        self.assertIn("".join(top["tokens"]), TEXT)
        text = self.run_tool("features", "show", "sae", str(feature["id"])).stdout
        self.assertIn("\u00ab", text)

        self.run_tool("features", "export", "sae", "--to", "csv", "-o", "f.csv")
        with open(self.path("f.csv"), newline="", encoding="utf-8") as f:
            rows = list(csv.DictReader(f))
        self.assertEqual(len(rows), built["n_features"])
        self.assertEqual(int(rows[feature["id"]]["fired"]), feature["fired"])
        self.assertEqual(rows[feature["id"]]["top_token"], feature["top_token"])
        self.run_tool("features", "export", "sae", "--to", "html", "--ids", f"{feature['id']}", "-o", "f.html")
        self.assertIn(f'id="f{feature["id"]}"', self.read("f.html").decode())
        self.run_tool("features", "export", "sae", "--to", "neuronpedia", "--ids", "0-2,5", "--model-id", "tiny", "-o", "np")
        batch = json.loads(self.read("np/batch-0.json"))
        self.assertEqual([f["feature_index"] for f in batch["features"]], [0, 1, 2, 5])
        self.assertEqual((batch["model_id"], batch["layer"]), ("tiny", 1))
        self.assertEqual(len(batch["features"][0]["neuron_alignment_indices"]), 3)

        self.run_tool("features", "build", "sae", "--acts", "acts", "-o", "index")
        self.assertEqual(self.json("features", "show", "index", "3"), self.json("features", "show", "sae", "3"))

        self.labels(feature["id"])

    def test_compositions(self):
        """What the compositions of a compositional SAE are, beside its index."""
        self.train()
        self.run_tool("sae", "train", "--acts", "acts", "-o", "comp", "--variant", "compositional", "--d-sae", "32", "--k", "4", "--m-c", "16", "--k-c", "4", "--steps", "40", "--batch", "32")
        built = self.json("features", "build", "comp", "--lm", "m")[0]
        found = json.loads(self.read("comp/features/compositions.json"))
        self.assertEqual((found["n"], found["rows"]), (16, min(4096, built["n_rows"])))
        self.assertTrue(0 < len(found["units"]) <= 16)
        self.assertAlmostEqual(sum(u["energy"] for u in found["units"]), 1, places=9)
        for u in found["units"]:
            self.assertTrue(0 < u["fired"] <= found["rows"] and len(u["heat"]["pi"]) == len(u["heat"]["latents"]))
            self.assertTrue(u["places"] and all(0 <= at < built["n_rows"] for at, _ in u["places"]), u["places"])
            values = [v for _, v in u["places"]]
            self.assertEqual(values, sorted(values, reverse=True))

    def labels(self, fid):
        """What goes in comes out, sorted; quotes, commas and line ends too; and it is in the exports."""
        rows = [[str(fid), "\u00fcber", "me", "0.25"], ["63", "a \"quoted\", label", "me", ""], ["63", "two\nlines", "gpt", "0.5"]]
        with open(self.path("l.csv"), "w", newline="", encoding="utf-8") as f:
            csv.writer(f).writerows([["feature", "label", "source", "score"], *rows])
        self.assertEqual(self.json("features", "labels", "import", "sae", "l.csv")["labels"], 3)
        self.run_tool("features", "labels", "export", "sae", "out.csv")
        with open(self.path("out.csv"), newline="", encoding="utf-8") as f:
            self.assertEqual(list(csv.reader(f))[1:], rows)
        self.run_tool("features", "labels", "import", "sae", "out.csv")
        self.run_tool("features", "labels", "export", "sae", "again.csv")
        self.assertEqual(self.read("out.csv"), self.read("again.csv"))
        self.run_tool("features", "export", "sae", "--to", "csv", "-o", "f.csv")
        with open(self.path("f.csv"), newline="", encoding="utf-8") as f:
            self.assertEqual(list(csv.DictReader(f))[fid]["label"], "\u00fcber")
        for text, line in [("1,x,me,y\n", "bad.csv:1: the score is 'y'"), ("1,ok\n64,x\n", "bad.csv:2: '64' is no feature"), ("1\n", "bad.csv:1: only one field"),
                           ("1,a,b,1,2\n", "bad.csv:1: more than four"), ("1,\"a\n", "never ends"), ("1,\"a\"b\n", "something follows")]:
            self.write("bad.csv", text)
            self.fails("features", "labels", "import", "sae", "bad.csv", code=1, line=line)
        self.run_tool("features", "labels", "export", "sae", "again.csv")
        self.assertEqual(self.read("out.csv"), self.read("again.csv"), "a file that is refused changes nothing")
        self.fails("features", "labels", "list", "sae", "x", code=2, line="what is to be done with the labels?")

    def test_imported(self):
        """Rows of somebody's own with labels: directions, an SAE, and what is refused."""
        self.write("x.npy", npy(400, 8, lambda i, j: ((i * 37 + j * 11) % 23) / 7 - 1))
        self.write("labels.txt", "".join(f"row of {i % 5}\n" for i in range(400)))
        self.run_tool("acts", "import", "x.npy", "--labels", "labels.txt", "-o", "acts", "--hook", "layer 3")
        self.write("dirs.npy", npy(2, 8, lambda i, j: float(i == j)))
        built = self.json("features", "build", "--vectors", "dirs.npy", "--acts", "acts", "-o", "vectors", "--share", ".05")[0]
        self.assertEqual(built["n_features"], 2)
        feature = self.json("features", "show", "vectors", "1")
        self.assertAlmostEqual(feature["density"], .05, delta=.03)
        self.assertTrue(feature["contexts"][0]["tokens"][0].startswith("row of "))
        self.run_tool("sae", "train", "--acts", "acts", "-o", "sae", *SAE)
        self.fails("features", "build", code=2, line="which SAE?")
        self.fails("features", "build", "sae", code=2, line="what rows does the SAE look at?")
        self.fails("features", "build", "sae", "--vectors", "x.npy", code=2, line="together")
        self.fails("features", "build", "--vectors", "x.npy", "--lm", "m", code=2, line="where does the index go?")
        self.fails("features", "build", "--vectors", "x.npy", "--lm", "m", "-o", "i", code=2, line="where in the model")
        self.fails("features", "show", "sae", "1", code=1, line="there is no feature index in it")
        self.run_tool("features", "build", "sae", "--acts", "acts")
        self.fails("features", "show", "sae", "x", code=2, line="this is no whole number")
        self.fails("features", "show", "sae", "99999", code=2, line="there is no feature 99999")
        self.fails("features", "export", "sae", "--ids", "1,b", code=2, line="'b' is neither")


def npy(rows, d, value):
    """A version 1.0 .npy of f32 [rows, d]."""
    head = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {d}), }}".encode()
    head += b" " * (63 - (10 + len(head)) % 64) + b"\n"
    data = b"".join(struct.pack("<f", value(i, j)) for i in range(rows) for j in range(d))
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head + data


if __name__ == "__main__":
    unittest.main()
