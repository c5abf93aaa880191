#!/usr/bin/env python3
"""Files both ways: the peers load every SAE that saelab writes and reconstruct the same, and the reverse (max abs diff 1e-5).

    ninja -C build/release bench_sae_rows
    "$(./run peers)" bench/peers/saelens_files.py [--bin build/release/bench/peers/bench_sae_rows]
Every weight is random, no bias is 0. The last line counts what failed; exit 1 when anything did.
"""
import argparse
import contextlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import warnings

os.environ["SPARSIFY_DISABLE_TRITON"] = "1"
warnings.filterwarnings("ignore")

import numpy as np
import torch

D, F, ROWS = 24, 96, 200
WRITTEN = ("standard", "topk", "batchtopk", "matryoshka", "jumprelu", "gated", "p_anneal", "matching_pursuit", "transcoder", "skip_transcoder")
failed = []


def report(what, theirs, ours, tolerance=1e-5):
    if isinstance(theirs, str) or isinstance(ours, str):
        failed.append(what)
        print(f"FAILED  {what}: {theirs if isinstance(theirs, str) else ours}")
        return
    diff = float(np.abs(theirs - ours).max()) if theirs.shape == ours.shape else float("inf")
    worth = float(np.abs(ours).max())
    ok = diff <= tolerance * max(1, worth) and worth > 0.1
    if not ok:
        failed.append(what)
    print(f"{'ok' if ok else 'FAILED':7} {what}: max abs diff {diff:.2e}, largest {worth:.2f}")


def saelab(binary, *arguments):
    """An error line, or None."""
    r = subprocess.run([binary, *map(str, arguments)], capture_output=True, text=True)
    return None if r.returncode == 0 else (r.stderr.strip().splitlines() or ["no message"])[-1]


def attempt(compute):
    try:
        with contextlib.redirect_stdout(None), torch.no_grad():
            return compute()
    except Exception as e:  # whatever a peer throws is a line of the report
        return f"{type(e).__name__}: {str(e)[:200]}"


def ours_in_saelens(binary, dir, x, rows):
    from sae_lens import SAE
    for variant in WRITTEN:
        sae, xhat = dir / f"ours_{variant}", dir / "xhat.npy"
        error = saelab(binary, "make", variant, F, sae, rows, xhat)
        theirs = error or attempt(lambda: SAE.load_from_disk(str(sae), device="cpu")(x).numpy())
        report(f"SAELens loads our {variant}", theirs, error or np.load(xhat))


def ours_elsewhere(binary, dir, x, rows):
    from sparsify.sparse_coder import SparseCoder
    for variant in ("topk", "jumprelu"):
        made, xhat = dir / f"ours_{variant}", dir / "xhat.npy"
        saelab(binary, "make", variant, F, made, rows, xhat)
        out = dir / f"converted_{variant}"
        if variant == "topk":
            error = saelab(binary, "convert", "sparsify", made, out)
            theirs = error or attempt(lambda: SparseCoder.load_from_disk(str(out))(x).sae_out.numpy())
            report("sparsify loads our topk", theirs, np.load(xhat))
        error = saelab(binary, "convert", "npz", made, out)
        theirs = error or attempt(lambda: from_npz(out / "params.npz", x))
        report(f"Gemma Scope's params.npz of our {variant}", theirs, np.load(xhat)) if variant == "jumprelu" else None


def from_npz(path, x):
    """As Gemma Scope's tutorial reads it: no b_dec in the encoder."""
    p = {k: torch.from_numpy(v) for k, v in np.load(path).items()}
    a = x @ p["W_enc"] + p["b_enc"]
    return ((a > p["threshold"]) * a.relu() @ p["W_dec"] + p["b_dec"]).numpy()


def saelens_made():
    import sae_lens.saes as s
    common = dict(d_in=D, d_sae=F, device="cpu", dtype="float32")
    yield "standard", s.StandardTrainingSAE(s.StandardTrainingSAEConfig(**common))
    yield "standard without b_dec in the input", s.StandardTrainingSAE(s.StandardTrainingSAEConfig(**common, apply_b_dec_to_input=False))
    yield "topk", s.TopKTrainingSAE(s.TopKTrainingSAEConfig(**common, k=8))
    yield "topk, not rescaled", s.TopKTrainingSAE(s.TopKTrainingSAEConfig(**common, k=8, rescale_acts_by_decoder_norm=False))
    yield "batchtopk", s.BatchTopKTrainingSAE(s.BatchTopKTrainingSAEConfig(**common, k=8))
    yield "matryoshka", s.MatryoshkaBatchTopKTrainingSAE(s.MatryoshkaBatchTopKTrainingSAEConfig(**common, k=8, matryoshka_widths=[24, F]))
    yield "jumprelu", s.JumpReLUTrainingSAE(s.JumpReLUTrainingSAEConfig(**common))
    yield "gated", s.GatedTrainingSAE(s.GatedTrainingSAEConfig(**common))
    yield "matching_pursuit", s.MatchingPursuitTrainingSAE(s.MatchingPursuitTrainingSAEConfig(
        **common, residual_threshold=0.0, stop_on_duplicate_support=False, decoder_init_norm=1.0))
    yield "transcoder", s.Transcoder(s.TranscoderConfig(**common, d_out=D + 4, apply_b_dec_to_input=False))
    yield "skip_transcoder", s.SkipTranscoder(s.SkipTranscoderConfig(**common, d_out=D + 4, apply_b_dec_to_input=False))


def shuffle_weights(module, seed):
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in module.named_parameters():
            p.copy_(torch.randn(p.shape, generator=g) * (0.1 if p.dim() == 1 else p.shape[1 if "enc" not in name else 0] ** -0.5))
            if "threshold" in name:
                p.abs_()
        if "pursuit" in type(module).__name__.lower():
            module.W_dec /= module.W_dec.norm(dim=1, keepdim=True)
        if hasattr(module, "topk_threshold"):
            module.topk_threshold.fill_(0.3)


def theirs_in_ours(binary, dir, x, rows):
    from sae_lens import SAE
    for i, (name, sae) in enumerate(saelens_made()):
        shuffle_weights(sae, i)
        folder, xhat = dir / f"saelens_{i}", dir / "xhat.npy"
        attempt(lambda: (sae.save_inference_model if hasattr(sae, "save_inference_model") else sae.save_model)(str(folder)))
        theirs = attempt(lambda: SAE.load_from_disk(str(folder), device="cpu")(x).numpy())
        error = saelab(binary, "read", folder, rows, xhat)
        report(f"saelab loads SAELens's {name}", theirs, error or np.load(xhat))


def sparsify_in_ours(binary, dir, x, rows):
    from sparsify.config import SparseCoderConfig
    from sparsify.sparse_coder import SparseCoder
    for skip in (False, True):
        sae = SparseCoder(D, SparseCoderConfig(num_latents=F, k=8, skip_connection=skip, transcode=skip))
        shuffle_weights(sae, 100 + skip)
        folder, xhat = dir / f"sparsify_{skip}", dir / "xhat.npy"
        sae.save_to_disk(folder)
        error = saelab(binary, "read", folder, rows, xhat)
        report(f"saelab loads sparsify's {'skip transcoder' if skip else 'topk'}", attempt(lambda: sae(x).sae_out.numpy()), error or np.load(xhat))


def dictionaries():
    """(name, trainer_class, dict_class, autoencoder, further keys of config.json)"""
    from dictionary_learning.dictionary import AutoEncoder, GatedAutoEncoder, JumpReluAutoEncoder
    from dictionary_learning.trainers.batch_top_k import BatchTopKSAE
    from dictionary_learning.trainers.matryoshka_batch_top_k import MatryoshkaBatchTopKSAE
    from dictionary_learning.trainers.top_k import AutoEncoderTopK
    yield "standard", "StandardTrainer", AutoEncoder(D, F), {}
    yield "topk", "TopKTrainer", AutoEncoderTopK(D, F, 8), {"k": 8}
    yield "batchtopk", "BatchTopKTrainer", BatchTopKSAE(D, F, 8), {"k": 8}
    yield "matryoshka", "MatryoshkaBatchTopKTrainer", MatryoshkaBatchTopKSAE(D, F, 8, [24, F - 24]), {"k": 8, "group_sizes": [24, F - 24]}
    yield "jumprelu", "JumpReluTrainer", JumpReluAutoEncoder(D, F), {}
    yield "gated", "GatedSAETrainer", GatedAutoEncoder(D, F), {}


def dictionary_learning_in_ours(binary, dir, x, rows):
    for i, (name, trainer, ae, more) in enumerate(dictionaries()):
        shuffle_weights(ae, 200 + i)
        if "threshold" in dict(ae.named_buffers()):
            ae.threshold.fill_(0.3)
        folder, xhat = dir / f"dictionary_learning_{i}", dir / "xhat.npy"
        folder.mkdir()
        torch.save(ae.state_dict(), folder / "ae.pt")
        config = {"trainer_class": trainer, "dict_class": type(ae).__name__, "activation_dim": D, "dict_size": F, "layer": 0, "lm_name": "none",
                  "submodule_name": "resid", **more}
        (folder / "config.json").write_text(json.dumps({"trainer": config, "buffer": {}}))
        error = saelab(binary, "read", folder, rows, xhat)
        report(f"saelab loads dictionary_learning's {name}", attempt(lambda: ae(x).numpy()), error or np.load(xhat))


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--bin", default="build/release/bench/peers/bench_sae_rows")
    binary = p.parse_args().bin
    x = torch.randn(ROWS, D, generator=torch.Generator().manual_seed(1))
    with tempfile.TemporaryDirectory() as name:
        dir = pathlib.Path(name)
        np.save(dir / "rows.npy", x.numpy())
        for part in (ours_in_saelens, ours_elsewhere, theirs_in_ours, sparsify_in_ours, dictionary_learning_in_ours):
            part(binary, dir, x, dir / "rows.npy")
    print(f"{len(failed)} failed")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
