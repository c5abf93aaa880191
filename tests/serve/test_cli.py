#!/usr/bin/env python3
"""usage: test_cli.py MAKE_FIXTURE: saelab serve and lm sample --steer from the outside."""
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import unittest
import urllib.request

BIN, MAKE = os.environ["SAELAB_BIN"], sys.argv.pop(1)


def run(*args, cwd=None):
    return subprocess.run([BIN, *args, "--quiet"], capture_output=True, text=True, cwd=cwd, timeout=200)


class Outside(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.temporary = tempfile.TemporaryDirectory()
        cls.dir = cls.temporary.name
        subprocess.run([MAKE, cls.dir], check=True)
        cls.lm, cls.sae = cls.dir + "/lm", cls.dir + "/sae-a"

    @classmethod
    def tearDownClass(cls):
        cls.temporary.cleanup()

    def sample(self, *more):
        p = run("lm", "sample", self.lm, "-p", "the old ", "--max-new-tokens", "40", "--temperature", "0", "--json", *more)
        self.assertEqual(p.returncode, 0, p.stderr)
        return json.loads(p.stdout)["result"]["text"]

    def test_steer(self):
        plain, steered = self.sample(), self.sample("--steer", self.sae + ":7=40")
        self.assertTrue(plain.startswith("the old "))
        self.assertNotEqual(plain, steered)
        self.assertEqual(steered, self.sample("--steer", self.sae + ":7=40"))
        self.assertEqual(self.sample("--steer", self.sae + ":7=40", "--steer", self.sae + ":3=20"), self.sample("--steer", self.sae + ":3=20", "--steer", self.sae + ":7=40"))

    def test_steer_mistakes(self):
        for text, code, why in ((":7=1", 2, "SAE:FEATURE=VALUE"), ("x", 2, "SAE:FEATURE=VALUE"), (self.sae + ":7=", 2, "SAE:FEATURE=VALUE"), (self.sae + ":96=1", 2, "no feature 96"),
                                (self.sae + ":1=-2", 2, "cannot be held"), (self.dir + "/none:1=2", 1, "none")):
            p = run("lm", "sample", self.lm, "--steer", text)
            self.assertEqual(p.returncode, code, p.stderr)
            self.assertIn(why, p.stderr)

    def test_serve(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            p = subprocess.Popen([BIN, "serve", self.dir, "--port", "0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env={**os.environ, "SSH_CONNECTION": "10.0.0.9 5 10.0.0.1 22"})
            line, tunnel = p.stdout.readline(), p.stdout.readline()
            port = re.match(r"http://127\.0\.0\.1:(\d+)/  \(2 SAEs\)", line).group(1)
            self.assertIn(f"ssh -N -L {port}:127.0.0.1:{port} ", tunnel)
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/sets", timeout=60) as reply:
                self.assertEqual(len(json.load(reply)["sets"]), 2)
            p.send_signal(number)
            self.assertEqual(p.wait(timeout=60), 0)
            p.stdout.close()

    def test_nothing_to_serve(self):
        p = run("serve", self.lm)
        self.assertEqual(p.returncode, 1)
        self.assertIn("saelab features build", p.stderr)


unittest.main()
