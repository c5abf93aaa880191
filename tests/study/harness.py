"""What the script tests of runs share: starting the program in a folder of its own, with a cache of its own."""
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BIN = os.environ["SAELAB_BIN"]

# A plan small enough for seconds; the smoke profile of the shipped plans is tested too, in test_contract.py.
PLAN = """study: tiny
question: Does the machinery work?
run_0:
  what: a tiny baseline
  dataset: shakespeare_char
  seeds: 2
  lm: {preset: smoke, seeds: 1}
  acts: {hook: blocks.1.hook_resid_pre, train_tokens: 6000, eval_tokens: 3000, splice_tokens: 1500}
  arms:
    topk: {variant: topk, d_sae: 96, k: 8, steps: 60, batch: 128, lr: 1e-3}
    standard: {variant: standard, d_sae: 96, steps: 60, batch: 128, lr: 1e-3}
"""


class Place:
    """A temporary folder with a study in it."""

    def __init__(self, plan=PLAN, study="purification"):
        self.dir = tempfile.mkdtemp(prefix="saelab-study-")
        self.study = os.path.join(self.dir, "study")
        shutil.copytree(os.path.join(ROOT, "studies", study), self.study)
        if plan is not None:
            self.write("experiment.yaml", plan)
        self.env = dict(os.environ, SAELAB_CACHE=os.path.join(self.dir, "cache"), SAELAB_OFFLINE="1",
                        XDG_CONFIG_HOME=os.path.join(self.dir, "config"))
        self.env.setdefault("SAELAB_DATA", os.path.join(ROOT, "..", "shared", "data"))
        if not os.path.exists(os.path.join(self.env["SAELAB_DATA"], "tinyshakespeare", "input.txt")):
            print("SKIP: missing test data tinyshakespeare/input.txt")
            sys.exit(77)

    def write(self, name, text):
        with open(os.path.join(self.study, name), "w") as f:
            f.write(text)

    def start(self, *args, env=None):
        return subprocess.Popen([BIN, *args], cwd=self.study, env=dict(self.env, **(env or {})), stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True)

    def run(self, *args, env=None, code=0):
        p = self.start(*args, env=env)
        out, err = p.communicate(timeout=280)
        assert p.returncode == code, f"{args}: exit {p.returncode}, expected {code}\n{out}\n{err}"
        return out, err

    def experiment(self, *args, **kw):
        return self.run("study", "run", "--study=" + self.study, *args, **kw)

    def path(self, *parts):
        return os.path.join(self.study, *parts)

    def json(self, *parts):
        with open(self.path(*parts)) as f:
            return json.load(f)

    def close(self):
        shutil.rmtree(self.dir, ignore_errors=True)


def error_line(err):
    """The one line that says what went wrong."""
    lines = [line for line in err.splitlines() if line.startswith("saelab")]
    assert lines, err
    return lines[-1]


def main(tests):
    for test in tests:
        place = Place()
        try:
            test(place)
            print("ok", test.__name__, flush=True)
        finally:
            place.close()
    print(f"{len(tests)} passed, 0 failed")
    sys.exit(0)


KILL = signal.SIGKILL
