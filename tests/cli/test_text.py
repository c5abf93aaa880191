"""What the program says about itself: help, manual page, completion. All come from the option tables."""
import os
import re
import shutil
import subprocess
import sys
import unittest

from support import BIN, Case, commands


class Help(Case):
    def test_overview(self):
        text = self.run_tool("help").stdout
        self.golden("overview.txt", re.sub(r"^saelab [^,]+", "saelab VERSION", text))
        self.assertEqual(text, self.run_tool("--help").stdout)

    def test_one_command(self):
        self.golden("cache_prune.txt", self.run_tool("cache", "prune", "--help").stdout)

    def test_group(self):
        self.golden("cache.txt", self.run_tool("cache", "--help").stdout)

    def test_prefixed_flags(self):
        text = self.run_tool("sae", "train", "--help").stdout
        begin = text.index("Perturbation training:")
        self.golden("sae_train_perturb.txt", text[begin:text.index("\n\n", begin) + 1])

    def test_every_command(self):
        names = commands()
        self.assertGreater(len(names), 20)
        for name in names:
            with self.subTest(command=name):
                p = self.run_tool(*name.split(), "--help")
                self.assertEqual(p.stderr, "")
                self.assertTrue(p.stdout.startswith(f"Usage: saelab {name}"), p.stdout[:80])
                self.assertEqual([line for line in p.stdout.splitlines() if len(line) > 80], [])
                self.assertIn("--threads N", p.stdout)
                flags = re.findall(r"^ {2}(?:-\w, | {4})--([\w-]+)", p.stdout, re.M)
                self.assertEqual(len(flags), len(set(flags)), "a flag is there twice")
                self.assertEqual(self.run_tool("help", *name.split()).stdout, p.stdout)

    def test_defaults_follow_preset_and_variant(self):
        self.assertIn("default 6)", self.run_tool("lm", "train", "--help", "--preset", "nanogpt_char").stdout)
        self.assertRegex(self.run_tool("sae", "train", "--help").stdout, r"--k N\s+active latents a row \(latents, 1 to 65536; default\s+32\)")
        self.assertIn("--l1 X", self.run_tool("sae", "train", "--variant=standard", "--help").stdout)

    def test_no_colour_codes_outside_a_terminal(self):
        p = self.run_tool("zzz", code=2, env={"TERM": "xterm"})
        self.assertNotIn("\x1b", p.stderr)


class Man(Case):
    def test_every_command_and_flag(self):
        page = self.run_tool("man").stdout.replace("\\-", "-")
        for name in commands():
            self.assertIn(f".SS saelab {name}", page)
        for flag in ("--out-dir", "--k", "--l1", "--max-new-tokens", "--threads"):
            self.assertIn(f"\\fB{flag}\\fR", page)

    @unittest.skipUnless(shutil.which("man"), "man is not installed")
    def test_renders_without_warnings(self):
        self.write("saelab.1", self.run_tool("man").stdout)
        p = subprocess.run(["man", "--warnings=w", "-l", "saelab.1"], cwd=self.dir, capture_output=True, text=True,
                           env={**self.env, "MANWIDTH": "80", "LC_ALL": "C.UTF-8"})
        self.assertEqual((p.returncode, p.stderr), (0, ""))
        self.assertIn("lm train", p.stdout)


class Completion(Case):
    def complete(self, *words):
        script = 'source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _saelab; printf "%s\\n" "${COMPREPLY[@]}"'
        self.write("completion", self.run_tool("completion", "bash").stdout)
        p = subprocess.run(["bash", "-c", script, "bash", self.path("completion"), *words], capture_output=True, text=True)
        self.assertEqual((p.returncode, p.stderr), (0, ""))
        return p.stdout.split()

    def test_words(self):
        first = self.complete("saelab", "")
        self.assertEqual(sorted(first), sorted({n.split()[0] for n in commands()}))
        self.assertEqual(self.complete("saelab", "lm", "tr"), ["train"])
        self.assertEqual(sorted(self.complete("saelab", "cache", "")), ["list", "prune"])

    def test_flags_and_choices(self):
        self.assertEqual(self.complete("saelab", "lm", "sample", "--temp"), ["--temperature"])
        self.assertEqual(self.complete("saelab", "doctor", "--thr"), ["--threads"])
        self.assertEqual(self.complete("saelab", "lm", "eval", "--split", "v"), ["val"])
        self.assertEqual(self.complete("saelab", "lm", "train", "--optimizer", ""), ["adamw", "muon"])


if __name__ == "__main__":
    unittest.main()
