#!/usr/bin/env python3
"""usage: check_skips.py CTEST_LOG ALLOWED: lists the skipped tests, fails on any that ALLOWED does not name."""
import re
import sys

log, allowed_file = sys.argv[1:3]
with open(allowed_file) as f:
    allowed = {line.split("#")[0].strip() for line in f} - {""}
skipped = set(re.findall(r"Test +#\d+: (\S+) \.*\**Skipped", open(log, errors="replace").read()))
for name in sorted(skipped):
    print("skipped:", name, "" if name in allowed else "(not allowed)")
sys.exit(1 if skipped - allowed else 0)
