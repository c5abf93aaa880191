#!/usr/bin/env python3
"""usage: test_sources.py ROOT BUILD: every source file is compiled by a target or included by one that is; nothing is over its size without a reason."""
import json
import pathlib
import re
import sys

ROOT, BUILD = (pathlib.Path(a).resolve() for a in sys.argv[1:3])
INCLUDE = re.compile(r'^\s*#\s*include\s*"([^"]+)"', re.M)


def reached(compiled):
    """compiled files and all that they include, directly or not"""
    todo, seen = list(compiled), set()
    while todo:
        path = todo.pop()
        if path in seen or not path.exists():
            continue
        seen.add(path)
        for header in INCLUDE.findall(path.read_text(errors="replace")):
            for base in (path.parent, ROOT / "src", ROOT / "tests", ROOT / "bench", ROOT / "fuzz"):
                if (base / header).exists():
                    todo.append((base / header).resolve())
        for header in re.findall(r"#\s*include\s*<(saelab/[^>]+)>", path.read_text(errors="replace")):
            todo.append((ROOT / "include" / header).resolve())
    return seen


def main():
    commands = json.loads((BUILD / "compile_commands.json").read_text())
    compiled = {pathlib.Path(c["file"]).resolve() for c in commands}
    folders = ["src", "cli", "tests", "bench", "fuzz", "include"]
    if not any("/bench/" in str(p) for p in compiled):
        folders.remove("bench")
    ours = {p.resolve() for d in folders for p in (ROOT / d).rglob("*") if p.suffix in {".c", ".h"}}
    lost = sorted(str(p.relative_to(ROOT)) for p in ours - reached(compiled))
    long = sorted(str(p.relative_to(ROOT)) for p in ours if len(p.read_text(errors="replace").splitlines()) > 500)
    for title, names in (("in no target", lost), ("over 500 lines", long)):
        for name in names:
            print(f"{title}: {name}")
    assert len(ours) > 20, "nothing to check: wrong folder?"
    return 1 if lost or long else 0


sys.exit(main())
