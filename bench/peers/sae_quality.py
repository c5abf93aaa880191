#!/usr/bin/env python3
"""Quality parity: FVU at equal L0, saelab against SAELens, on the same activations, with the same steps, batch and seeds.

    "$(./run peers)" bench/peers/sae_quality.py [--bin build/release/bin/saelab] [--acts ROWS.npy] [--steps 1500] [--seeds 3]
Both train under SAELens's defaults (saelab: --recipe saelens, no normalisation): Adam, constant learning rate, clipping at 1. Both are read
back by SAELens and judged by the same lines below on rows that neither saw: L0 of the saved SAE (jumprelu and batchtopk with their
thresholds) and FVU = sum |x - x^|^2 / sum |x - mean x|^2. topk has its k; batchtopk and jumprelu are trained at several strengths, and
FVU is taken at --k by straight lines through (L0, log FVU). SAELens's TopK family also without rescale_acts_by_decoder_norm, whose
selection saelab shares under every recipe. Without --acts rows are sums of about 16 of 2048 directions, power-law
frequencies, in --d dimensions. The last row of each shows saelab's own recipe. JSON on the last line.
"""
import argparse
import contextlib
import json
import math
import os
import pathlib
import subprocess
import tempfile
import time
import warnings

warnings.filterwarnings("ignore")

import numpy as np
import torch

ARMS = ("saelens", "saelens, not rescaled", "saelab, recipe saelens", "saelab")
STRENGTHS = {"topk": (1.0,), "batchtopk": (0.7, 1.0, 1.4), "jumprelu": (0.5, 1.0, 2.0)}  # of k, of k, of the L0 weight


def rows_of(a):
    if a.acts:
        x = np.load(a.acts).astype(np.float32)
    else:
        g = np.random.default_rng(0)
        directions = g.standard_normal((2048, a.d)).astype(np.float32)
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        p = np.arange(1, 2049) ** -0.7
        p *= 16 / p.sum()
        parts = [((g.random((5000, 2048)) < p) * g.uniform(0.5, 1.5, (5000, 2048))).astype(np.float32) @ directions for _ in range(-(-a.rows // 5000))]
        x = np.concatenate(parts) + 0.3
    x /= np.sqrt((x**2).sum(1).mean() / x.shape[1])  # mean square norm d, as SAEs are usually fed
    held = len(x) // 10
    return np.ascontiguousarray(x[held:]), np.ascontiguousarray(x[:held])


def measure(folder, held):
    from sae_lens import SAE
    with torch.no_grad():
        sae = SAE.load_from_disk(str(folder), device="cpu")
        x = torch.from_numpy(held)
        z = sae.encode(x)
        e = x - sae.decode(z)
        return float((z > 0).float().sum(1).mean()), float((e**2).sum() / ((x - x.mean(0))**2).sum())


def saelens(a, variant, strength, seed, train, folder, rescale=True):
    import sae_lens.saes as s
    from sae_lens.config import SAETrainerConfig
    from sae_lens.training.sae_trainer import SAETrainer
    torch.manual_seed(seed)
    common = dict(d_in=train.shape[1], d_sae=a.F, device="cpu", dtype="float32")
    sae = {
        "topk": lambda: s.TopKTrainingSAE(s.TopKTrainingSAEConfig(**common, k=a.k, rescale_acts_by_decoder_norm=rescale)),
        "batchtopk": lambda: s.BatchTopKTrainingSAE(s.BatchTopKTrainingSAEConfig(**common, k=float(round(a.k * strength)), rescale_acts_by_decoder_norm=rescale)),
        "jumprelu": lambda: s.JumpReLUTrainingSAE(s.JumpReLUTrainingSAEConfig(**common, l0_coefficient=a.l0 * strength, l0_warm_up_steps=a.steps // 10)),
    }[variant]()
    order = torch.Generator().manual_seed(seed)
    x = torch.from_numpy(train)

    def batches():
        while True:
            for part in torch.randperm(len(x), generator=order)[: len(x) // a.batch * a.batch].view(-1, a.batch):
                yield x[part]
    cfg = SAETrainerConfig(total_training_samples=a.steps * a.batch, train_batch_size_samples=a.batch, lr=a.lr, lr_end=a.lr / 10, device="cpu")
    with open(os.devnull, "w") as quiet, contextlib.redirect_stderr(quiet):  # its progress bar
        SAETrainer(cfg, sae, batches()).fit()
    sae.save_inference_model(str(folder))


def saelab(a, variant, strength, seed, store, folder, recipe):
    own = recipe == "saelab"
    options = {
        "topk": ["--k", a.k],
        "batchtopk": ["--k", round(a.k * strength)],
        "jumprelu": ["--penalty", "l0", "--weight", a.l0 * strength / (store[1] if own else 1), "--l0-warmup", 0.1, "--target-l0", 0, "--pre-act", 0],
    }[variant]
    if variant != "jumprelu":
        options += ["--aux-alpha", 1 / 32 if own else 1]
    command = [a.bin, "sae", "train", "--acts", store[0], "-o", folder, "--variant", variant, "--recipe", recipe, "--d-sae", a.F, "--steps", a.steps,
               "--batch", a.batch, "--seed", seed, "--lr", a.lr, "--schedule", "constant", "--warmup", 0, "--dead-window", 1000 * a.batch,
               "--checkpoint-seconds", 0, "-q", *options] + ([] if own else ["--no-normalize"])
    subprocess.run([str(c) for c in command], check=True, stdout=subprocess.DEVNULL)


def at_k(points, k):
    """FVU where L0 is k, by lines through (L0, log FVU); NaN where k is not between them, to a tenth."""
    points = sorted(points)
    if not points[0][0] / 1.1 <= k <= points[-1][0] * 1.1:
        return math.nan
    if len(points) == 1:
        return points[0][1]
    i = min(max(sum(l0 < k for l0, _ in points), 1), len(points) - 1)
    (l0, f0), (l1, f1) = points[i - 1], points[i]
    return float(np.exp(np.log(f0) + (np.log(f1) - np.log(f0)) * (k - l0) / (l1 - l0)))


def arguments():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--bin", default="build/release/bin/saelab")
    p.add_argument("--acts")
    p.add_argument("--variants", default="topk,batchtopk,jumprelu")
    p.add_argument("--arms", default=";".join(ARMS), help="which of them, between semicolons")
    for name, default in (("d", 64), ("F", 1024), ("k", 16), ("batch", 1024), ("steps", 1500), ("seeds", 3), ("rows", 200000)):
        p.add_argument(f"--{name}", type=int, default=default)
    p.add_argument("--lr", type=float, default=1e-3)
    p.add_argument("--l0", type=float, default=0.35, help="weight of jumprelu's L0 penalty; halved and doubled too, and k has to lie between what they give (NaN: NOT MATCHED)")
    return p.parse_args()


def main():
    a = arguments()
    train, held = rows_of(a)
    result = {}
    with tempfile.TemporaryDirectory() as name:
        dir = pathlib.Path(name)
        np.save(dir / "train.npy", train)
        subprocess.run([a.bin, "acts", "import", str(dir / "train.npy"), "-o", str(dir / "store"), "-q"], check=True, stdout=subprocess.DEVNULL)
        store = dir / "store", float(((train - train.mean(0))**2).sum(1).mean())
        makers = {"saelens": lambda *r: saelens(a, *r, train, dir / "sae"), "saelens, not rescaled": lambda *r: saelens(a, *r, train, dir / "sae", False),
                  "saelab, recipe saelens": lambda *r: saelab(a, *r, store, dir / "sae", "saelens"),
                  "saelab": lambda *r: saelab(a, *r, store, dir / "sae", "saelab")}
        for variant in a.variants.split(","):
            for who, make in makers.items():
                if who not in a.arms.split(";"):
                    continue
                if variant == "jumprelu" and who == "saelens, not rescaled":
                    continue  # its threshold does not see the norms
                fvu, all_points, start = [], [], time.perf_counter()
                for seed in range(a.seeds):
                    points = []
                    for strength in STRENGTHS[variant]:
                        subprocess.run(["rm", "-rf", str(dir / "sae")], check=True)
                        make(variant, strength, seed)
                        points.append(measure(dir / "sae", held))
                    fvu.append(at_k(points, a.k))
                    all_points.append(points)
                result.setdefault(variant, {})[who] = {"fvu": float(np.mean(fvu)), "per_seed": fvu, "l0_fvu": all_points, "seconds": time.perf_counter() - start}
                base = result[variant].get("saelens", {"fvu": math.nan})["fvu"]
                l0 = ", ".join(f"{p[0]:.1f}" for p in all_points[0])
                if math.isnan(np.mean(fvu)):
                    print(f"{variant:10} {who:24} NOT MATCHED: L0 {l0}, wanted {a.k}", flush=True)
                    continue
                print(f"{variant:10} {who:24} FVU {np.mean(fvu):.4f} ({', '.join(f'{f:.4f}' for f in fvu)})  ratio {np.mean(fvu) / base:.3f}  L0 {l0}", flush=True)
    print(json.dumps(result).replace("NaN", "null"))


if __name__ == "__main__":
    main()
