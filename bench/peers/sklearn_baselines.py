#!/usr/bin/env python3
"""saelab's baselines against scikit-learn's on the same rows: PCA, NMF of [x+; x-], FastICA, k-means.

    sklearn_baselines.py SAELAB [--rows N] [--seeds S]       prints one JSON document; exit 1 when something differs by more than it may

Accepted: objective within 1 %, PCA subspace angle below 1e-3 (radians), matched ICA sources |correlation| above .99. NMF and k-means have many
minima: for each program the best of S seeds counts.
"""
import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
import warnings

import numpy as np
import scipy.linalg
import scipy.optimize
import sklearn
from sklearn.cluster import KMeans
from sklearn.decomposition import NMF, PCA, FastICA

K_PCA, RANK, CLUSTERS, SOURCES = 6, 12, 10, 12


def rows(n, d=24, seed=0):
    """Sums of sparse Laplacian sources through a random mixing, and three offsets, so that every method has something to find."""
    rng = np.random.default_rng(seed)
    mix = rng.normal(size=(SOURCES, d))
    x = rng.laplace(size=(n, SOURCES)) @ mix + 4 * rng.normal(size=(CLUSTERS, d))[rng.integers(0, CLUSTERS, n)] + .1 * rng.normal(size=(n, d))
    return x.astype(np.float32)


def tensors(path):
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8:8 + length])
    return {k: np.frombuffer(data, np.float32, offset=8 + length + v["data_offsets"][0],
                             count=(v["data_offsets"][1] - v["data_offsets"][0]) // 4).reshape(v["shape"]).astype(np.float64)
            for k, v in header.items() if k != "__metadata__"}


class Saelab:
    def __init__(self, binary, folder, x):
        self.binary, self.folder = binary, folder
        np.save(folder / "x.npy", x)
        self.n = len(x)
        self.tool("acts", "import", folder / "x.npy", "-o", folder / "acts")

    def tool(self, *args):
        p = subprocess.run([self.binary, *map(str, args), "--json", "--progress", "off", "-q"], capture_output=True, text=True)
        if p.returncode:
            raise SystemExit(f"{' '.join(map(str, args))}: {p.stderr}")
        return json.loads(p.stdout)["result"]

    def fit(self, method, seed, *options):
        out = self.folder / f"{method}-{seed}"
        r = self.tool("baseline", method, "--acts", self.folder / "acts", "--rows", self.n, "--seed", seed, "-o", out, *options)
        return r, tensors(out / "baseline.safetensors")


def pca(tool, x, _):
    r, t = tool.fit("pca", 0, "--k", K_PCA)
    ref = PCA(K_PCA).fit(x.astype(np.float64))
    angle = float(np.max(scipy.linalg.subspace_angles(t["W_dec"][:K_PCA].T, ref.components_.T)))
    centred = x - x.mean(0, dtype=np.float64)
    def rest(v):
        return float(np.sum((centred - centred @ v.T @ v) ** 2))
    ours, theirs = rest(t["W_dec"][:K_PCA]), rest(ref.components_)
    return {"ours": ours, "sklearn": theirs, "ratio": ours / theirs, "subspace_angle": angle, "ok": angle < 1e-3 and abs(ours / theirs - 1) < .01}


def best(values):
    return float(min(values))


def nmf(tool, x, seeds):
    centred = x - x.mean(0, dtype=np.float64)
    y = np.concatenate([np.maximum(centred, 0), np.maximum(-centred, 0)], 1)
    ours = best(tool.fit("nmf", s, "--d-sae", RANK, "--k", 4, "--iterations", 1000, "--tol", 1e-6)[0]["curve"][-1] for s in range(seeds))
    theirs = best(NMF(RANK, init="random", solver="cd", max_iter=1000, tol=1e-6, random_state=s).fit(y).reconstruction_err_ ** 2 for s in range(seeds))
    return {"ours": ours, "sklearn": theirs, "ratio": ours / theirs, "ok": abs(ours / theirs - 1) < .01}


def kmeans(tool, x, seeds):
    ours = best(tool.fit("kmeans", s, "--d-sae", CLUSTERS, "--restarts", 4)[0]["curve"][-1] for s in range(seeds))
    theirs = best(KMeans(CLUSTERS, n_init=4, random_state=s).fit(x).inertia_ for s in range(seeds))
    return {"ours": ours, "sklearn": theirs, "ratio": ours / theirs, "ok": abs(ours / theirs - 1) < .01}


def log_cosh(s):
    s = (s - s.mean(0)) / s.std(0)
    return float(np.mean(np.logaddexp(s, -s) - np.log(2)))


def ica(tool, x, _):
    r, t = tool.fit("ica", 0, "--k", 4, "--components", SOURCES, "--iterations", 1000, "--tol", 1e-6)
    ours = (x - t["b_dec"]) @ t["W_enc"][:SOURCES].T
    theirs = FastICA(SOURCES, algorithm="parallel", fun="logcosh", whiten="unit-variance", max_iter=1000, tol=1e-6, random_state=0).fit_transform(x.astype(np.float64))
    cor = np.abs(np.corrcoef(ours.T, theirs.T)[:SOURCES, SOURCES:])
    i, j = scipy.optimize.linear_sum_assignment(-cor)
    a, b = log_cosh(ours), log_cosh(theirs)
    worst = float(cor[i, j].min())
    return {"ours": a, "sklearn": b, "ratio": a / b, "worst_matched_correlation": worst, "converged": r["converged"], "ok": abs(a / b - 1) < .01 and worst > .99}


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("saelab")
    p.add_argument("--rows", type=int, default=4000)
    p.add_argument("--seeds", type=int, default=4)
    a = p.parse_args()
    warnings.filterwarnings("ignore")
    x = rows(a.rows)
    with tempfile.TemporaryDirectory() as folder:
        tool = Saelab(a.saelab, pathlib.Path(folder), x)
        result = {m.__name__: m(tool, x, a.seeds) for m in (pca, nmf, ica, kmeans)}
    print(json.dumps({"schema": 1, "sklearn": sklearn.__version__, "rows": a.rows, "seeds": a.seeds, "methods": result}, indent=2))
    return 0 if all(m["ok"] for m in result.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
