"""Starts `saelab study run` for the study in this folder: python experiment.py --out_dir=run_0"""
import os
import shutil
import sys


def program():
    """SAELAB_BIN, PATH, the checkout noted by ./run, then the parent folders."""
    yield os.environ.get("SAELAB_BIN")
    yield shutil.which("saelab")
    config = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    roots = []
    try:
        with open(os.path.join(config, "saelab", "checkout")) as f:
            roots.append(f.read().strip())
    except OSError:
        pass
    here = os.path.dirname(os.path.abspath(__file__))
    while here != os.path.dirname(here):
        here = os.path.dirname(here)
        roots.append(here)
    for root in roots:
        yield os.path.join(root, "build", "release", "bin", "saelab")


def start(verb):
    here = os.path.dirname(os.path.abspath(__file__))
    for path in program():
        if path and os.access(path, os.X_OK):
            os.execv(path, [path, "study", verb, "--study=" + here] + sys.argv[1:])
    sys.exit("saelab was not found: run ./run saelab version once in its checkout, or set SAELAB_BIN to the program")


if __name__ == "__main__":
    start("run")
