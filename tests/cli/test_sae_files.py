"""saelab sae info, convert, get, encode on SAEs of other programs."""
import json
import os
import struct
import unittest

from support import Case

CASES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "goldens", "sae_files")


def sae(name):
    return os.path.abspath(os.path.join(CASES, name))


class Files(Case):
    def test_info(self):
        d = self.json("sae", "info", sae("dl_topk_unnamed"))
        self.assertEqual((d["variant"], d["format"], d["d_in"], d["d_sae"], d["options"]["k"]), ("topk", "dictionary_learning", 6, 12, 3))
        self.assertIn("k or threshold", d["ambiguous"][0])
        p = self.run_tool("sae", "info", sae("dl_topk_unnamed"))
        self.assertRegex(p.stdout, r"fingerprint +l0 \d+, \|x\^\| ")
        self.assertIn("warning", p.stderr)
        self.assertIn("fingerprint l0", self.run_tool("sae", "info", "-v", sae("gemma")).stderr)
        self.fails("sae", "info", "none", code=1, line="none: holds no SAE (expected cfg.json with")
        self.fails("sae", "info", "hf:own/sae", code=1, line="hf:own/sae: not downloaded: SAELAB_OFFLINE is set")
        self.fails("sae", "info", "hf:own", line="hf:own: is no reference to the hub (expected hf:OWNER/REPO")

    def test_convert(self):
        d = self.json("sae", "convert", sae("lens_topk"), "--to", "sparsify", "-o", "p")
        self.assertEqual(d["fingerprint"], d["fingerprint_before"])
        self.assertEqual(sorted(os.listdir(self.path("p"))), ["cfg.json", "sae.safetensors"])
        self.assertEqual(self.json("sae", "convert", "p", "-o", "s")["fingerprint"], d["fingerprint"])
        self.fails("sae", "convert", "p", "-o", "s", line="s: there are files in it (expected a new or empty folder)")
        self.fails("sae", "convert", sae("lens_gated"), "--to", "npz", "-o", "n", code=1, line="a JumpReLU, which 'gated' is not")
        self.fails("sae", "convert", "p", line="-o: where does the SAE go?")
        self.fails("sae", "convert", "p", "--to", "onnx", "-o", "o", line="(expected one of: saelens, sparsify, npz)")

    def test_get(self):
        self.fails("sae", "get", "my_sae", line="my_sae: is no reference to the hub (expected hf:OWNER/REPO[/FOLDER][@REVISION])")
        self.fails("sae", "get", "hf:own/sae/ae.pt", code=1, line="ae.pt is a pickle, which can run code where others load it")
        self.fails("sae", "get", "hf:own/sae", code=1, line="SAELAB_OFFLINE is set")

    def npy(self, name, rows):
        head = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({len(rows)}, {len(rows[0])}), }}"
        head = head.ljust(128 - 11) + "\n"
        self.write(name, b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head.encode() + b"".join(struct.pack(f"<{len(r)}f", *r) for r in rows))

    def test_encode(self):
        self.npy("x.npy", [[(i * 7 + j * 3) % 11 - 5.0 for j in range(6)] for i in range(40)])
        self.run_tool("acts", "import", "x.npy", "-o", "acts")
        d = self.json("sae", "encode", sae("lens_topk"), "--acts", "acts", "-o", "codes.safetensors")
        self.assertEqual(d["rows"], 40)
        data = self.read("codes.safetensors")
        n = struct.unpack("<Q", data[:8])[0]
        header = json.loads(data[8:8 + n])
        self.assertEqual((header["indptr"]["shape"], header["idx"]["shape"]), ([41], [d["nnz"]]))
        self.assertEqual(header["__metadata__"]["n_rows"], "40")
        begin = 8 + n + header["indptr"]["data_offsets"][0]
        indptr = struct.unpack("<41q", data[begin:begin + 41 * 8])
        self.assertEqual((indptr[0], indptr[-1]), (0, d["nnz"]))
        self.assertTrue(all(0 <= b - a <= 3 for a, b in zip(indptr, indptr[1:])))
        self.fails("sae", "encode", sae("lens_topk"), "--acts", "acts", line="-o: where do the codes go?")
        self.fails("sae", "encode", sae("lens_topk"), "-o", "c", line="--acts: which activations?")
        self.assertFalse(os.path.exists(self.path("codes.safetensors.values")))


if __name__ == "__main__":
    unittest.main()
