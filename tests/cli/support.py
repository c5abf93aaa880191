"""Runs the tool and keeps what it said. SAELAB_BIN names the program; every test works in a folder of its own."""
import json
import os
import shutil
import subprocess
import tempfile
import unittest

BIN = os.environ["SAELAB_BIN"]
GOLDEN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "golden")

TEXT = "".join(f"The {a} {b} saw {n} {c}s and said: well, {b}!\n" for n in range(2, 42) for a, b, c in
               [("old", "king", "ship"), ("young", "queen", "bird"), ("tired", "judge", "stone")])


class Case(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="saelab-cli-")
        self.addCleanup(shutil.rmtree, self.dir, ignore_errors=True)
        self.env = {k: v for k, v in os.environ.items() if not k.startswith(("SAELAB_", "XDG_")) and k not in ("NO_COLOR", "LC_ALL")}
        self.env.update(SAELAB_CACHE=os.path.join(self.dir, "cache"), SAELAB_OFFLINE="1", TERM="dumb")
        if "SAELAB_DATA" in os.environ:
            self.env["SAELAB_DATA"] = os.environ["SAELAB_DATA"]

    def path(self, name):
        return os.path.join(self.dir, name)

    def write(self, name, data):
        with open(self.path(name), "wb" if isinstance(data, bytes) else "w") as f:
            f.write(data)
        return name

    def read(self, name):
        with open(self.path(name), "rb") as f:
            return f.read()

    def run_tool(self, *args, code=0, env=None, stdout=subprocess.PIPE):
        p = subprocess.run([BIN, *args], stdout=stdout, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True, cwd=self.dir,
                           env={**self.env, **(env or {})}, timeout=250)
        self.assertEqual(p.returncode, code, f"saelab {' '.join(args)}\n{p.stdout}{p.stderr}")
        return p

    def fails(self, *args, code=2, line):
        """The command fails with this code and exactly one line on stderr, which begins with `saelab` and holds `line`."""
        p = self.run_tool(*args, code=code)
        lines = p.stderr.splitlines()
        self.assertEqual(len(lines), 1, p.stderr)
        self.assertTrue(lines[0].startswith("saelab"), lines[0])
        self.assertIn(line, lines[0])
        self.assertEqual(p.stdout, "")

    def json(self, *args, code=0):
        """The one document on stdout; error or result, as the code says."""
        p = self.run_tool(*args, "--json", code=code)
        doc = json.loads(p.stdout)
        self.assertEqual(doc["schema"], 1)
        self.assertEqual(set(doc), {"schema", "command", "error" if code else "result"})
        if code:
            self.assertEqual(set(doc["error"]), {"code", "where", "what", "expected"})
        return doc["error" if code else "result"]

    def golden(self, name, text):
        with open(os.path.join(GOLDEN, name)) as f:
            self.assertEqual(text, f.read(), f"{name}: the text changed; if that is meant, write it there")


def commands():
    """Names of all commands, as the overview lists them."""
    text = subprocess.run([BIN, "help"], capture_output=True, text=True, check=True).stdout
    names = []
    for line in text.splitlines():
        if line.startswith("  ") and not line.startswith("   "):
            words = line.split("  ")[1].split()
            names.append(" ".join(w for w in words if w.islower() and w != "bash"))
    return names
