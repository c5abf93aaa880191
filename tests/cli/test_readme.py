"""The README's commands are those that work: every `./run saelab ...` line in order, as written (training with fewer steps), and every verb of
`./run` that it names is one."""
import os
import re
import shlex
import struct
import subprocess
import unittest

import support

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")


def commands(name):
    """The indented lines of a document that start ./run, without their comments."""
    with open(os.path.join(ROOT, name)) as f:
        return [line.split("#")[0].strip() for line in f if re.match(r"    \./run\b", line)]


class Readme(support.Case):
    def npy(self, rows, d):
        values = [((i * 37 + j * 11) % 23) / 7 - 1 for i in range(rows) for j in range(d)]
        head = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {d}), }}"
        head += " " * ((-11 - len(head)) % 64) + "\n"
        return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head.encode() + struct.pack(f"<{rows * d}f", *values)

    def test_its_own_activations(self):
        self.write("acts.npy", self.npy(1200, 8))
        told = [shlex.split(c)[2:] for c in commands("README.md") if c.startswith("./run saelab ")]
        self.assertGreaterEqual(len(told), 3)
        for words in told:
            fewer = ["--steps", "20", "--d-sae", "64", "--batch", "64"] if words[:2] == ["sae", "train"] else []
            self.run_tool(*words, *fewer)
        self.assertTrue(os.path.isfile(self.path("my_sae/cfg.json")))

    def test_its_verbs(self):
        verbs = {shlex.split(c)[1] for c in commands("README.md")}
        self.assertTrue({"experiment", "demo", "test", "saelab"} <= verbs)
        told = subprocess.run([os.path.join(ROOT, "run"), "--help"], capture_output=True, text=True)
        self.assertEqual(told.returncode, 0, told.stderr)
        for verb in verbs:
            self.assertRegex(told.stdout + told.stderr, rf"(?m)^\s+{verb}\b")


if __name__ == "__main__":
    unittest.main()
