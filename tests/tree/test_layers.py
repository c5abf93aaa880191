#!/usr/bin/env python3
"""The layer law: walks every #include of the tree and fails where a folder uses one that it may not."""
import pathlib
import re
import sys

ROOT = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ".")
# lowest first; folders of one row never use each other
LAYERS = [["base"], ["kern"], ["tape"], ["io"], ["data"], ["lm", "sae"], ["eval"], ["report"], ["study", "serve"]]
RANK = {name: i for i, row in enumerate(LAYERS) for name in row}
# a public header belongs to the layer that implements it
PUBLIC = {"status": "base", "ctx": "base", "rng": "base", "opt": "base", "tensor": "kern", "kern_info": "kern",
          "codes": "data", "data": "data", "world": "data", "lm": "lm", "task": "lm", "sae": "sae", "sae_variants": "sae", "sweep": "sae",
          "perturb": "sae", "compose": "sae", "eval": "eval", "stats": "eval", "agreement": "eval", "baseline": "eval", "measure": "eval", "match": "eval",
          "probe": "eval", "features": "eval", "feature_export": "report", "presence": "eval", "stability": "eval", "compose_eval": "eval", "report": "report", "study": "study", "serve": "serve", "raters": "serve", "marks": "serve", "steer": "eval", "saelab": None}
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"][^>"]+)[>"]', re.M)


def owner(include):
    """The layer that an include (with its opening < or ") names, None for anything that is not ours."""
    header = include[1:]
    if header.startswith("saelab/"):
        stem = header[7:].removesuffix(".h")
        if stem not in PUBLIC:
            return "unknown public header"
        return PUBLIC[stem] or "all"
    first = header.split("/")[0]
    return first if first in RANK and include[0] == '"' else None


def allowed(user, used):
    if used is None or used == user:
        return True
    return used in RANK and RANK[used] < RANK[user]


def check(files, rule):
    bad = []
    for path in files:
        for header in INCLUDE.findall(path.read_text(errors="replace")):
            why = rule(path, header)
            if why:
                bad.append(f"{path}: includes {header[1:]}: {why}")
    return bad


def in_src(path, header):
    user = path.relative_to(ROOT / "src").parts[0]
    if user not in RANK:
        return f"folder {user} is not in the layer law"
    if header[0] == '"' and "/" not in header:
        return "write the folder too"
    return None if allowed(user, owner(header)) else f"{user} may not use {owner(header)}"


def in_cli(path, header):
    if header[1:].startswith("saelab/") or owner(header) is None and not (ROOT / "src" / header[1:]).exists():
        return None
    return "cli sees only include/"


def in_public(path, header):
    user = PUBLIC.get(path.stem, "unknown")
    if user is None:
        return None
    if user not in RANK:
        return "add the header to PUBLIC in this test"
    return None if header[1:].startswith("saelab/") and allowed(user, owner(header)) or owner(header) is None \
        else f"{path.stem}.h of layer {user} may not use {header}"


def self_test():
    assert allowed("tape", "kern") and not allowed("kern", "tape") and not allowed("lm", "sae") and not allowed("study", "serve")
    assert owner("<saelab/lm.h") == "lm" and owner("<stdio.h") is None and owner('"tape/tape.h') == "tape"


def main():
    self_test()
    src = sorted(p for p in (ROOT / "src").rglob("*") if p.suffix in {".c", ".h", ".cu"})
    cli = sorted(p for p in (ROOT / "cli").rglob("*") if p.suffix in {".c", ".h"})
    public = sorted((ROOT / "include" / "saelab").glob("*.h"))
    assert src and cli and public, "nothing to check: wrong folder?"
    bad = check(src, in_src) + check(cli, in_cli) + check(public, in_public)
    print("\n".join(bad) or f"layer law holds: {len(src) + len(cli) + len(public)} files")
    return 1 if bad else 0


sys.exit(main())
