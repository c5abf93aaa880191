#!/usr/bin/env python3
"""kill -9 at ten random moments of a run, then start again: the same final_info.json except times."""
import json
import os
import random
import shutil
import time

from harness import KILL, main

TIMES = ("total_train_time", "avg_inference_tokens_per_second", "seconds")


def without_times(info):
    def strip(value):
        if isinstance(value, dict):
            return {k: strip(v) for k, v in value.items() if not any(t in k for t in TIMES)}
        return value
    return json.dumps(strip(info), sort_keys=True)


def killed_ten_times(place):
    start = time.monotonic()
    place.experiment("--out_dir=run_0")
    whole = time.monotonic() - start
    expected = without_times(place.json("run_0", "final_info.json"))
    rng = random.Random(20240607)
    for moment in range(10):
        shutil.rmtree(place.path("run_0"))
        shutil.rmtree(place.env["SAELAB_CACHE"])
        p = place.start("study", "run", "--study=" + place.study, "--out_dir=run_0")
        time.sleep(rng.uniform(.02, .95) * whole)
        p.send_signal(KILL)
        p.communicate()
        assert not os.path.exists(place.path("run_0")) or p.returncode == 0, "a half-written run stands under its final name"
        place.experiment("--out_dir=run_0")
        got = without_times(place.json("run_0", "final_info.json"))
        assert got == expected, f"moment {moment}: the numbers differ"


if __name__ == "__main__":
    main([killed_ten_times])
