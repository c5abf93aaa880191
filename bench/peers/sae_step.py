#!/usr/bin/env python3
"""Whole TopK training steps of a peer on the CPU: what bench/sae is measured against.

    "$(./run peers)" bench/peers/sae_step.py --peer saelens --mode f32 --d 768 --F 24576 --k 32 --batch 4096 --steps 5
prints one JSON line: seconds_per_step (median; best and worst beside it), tokens_per_s (of the median), peak_rss_bytes of the process,
loss_first and loss_last. A step is the peer's own: forward, loss with AuxK, backward, gradient clipping at 1, Adam, decoder rows kept at
norm 1 where the peer does that (SAELens does not: it divides by their norms instead). sparsify's trainer is a loop around a language
model, so its step is put together here from its own pieces, with clipping added. bf16 is autocast.

--acts FILE.npy   rows [n, d] f32, taken in order and again from the start; without it sums of 8 of 2048 gaussian directions
--dead SHARE      that share of the latents (the last ones) counts as dead at every step, so that AuxK works
--skip N          steps before the clock starts (default 1)
"""
import argparse
import contextlib
import json
import os
import resource
import statistics
import time
import warnings

os.environ["SPARSIFY_DISABLE_TRITON"] = "1"
warnings.filterwarnings("ignore")

import numpy as np
import torch


def batches(a):
    """A function from the step to its batch."""
    if a.acts:
        rows = np.load(a.acts, mmap_mode="r")
        assert rows.ndim == 2 and rows.shape[1] == a.d and len(rows) >= a.batch, f"{a.acts}: {rows.shape} for rows of {a.d}, batches of {a.batch}"
        whole = len(rows) // a.batch

        def batch(step):
            at = step % whole * a.batch
            return torch.from_numpy(np.ascontiguousarray(rows[at:at + a.batch], dtype=np.float32))
        return batch
    directions = torch.randn(2048, a.d)

    def sums():
        x = torch.zeros(a.batch, a.d)
        for _ in range(8):
            x += torch.rand(a.batch, 1) * directions[torch.randint(0, 2048, (a.batch,))]
        return x
    made = [sums() for _ in range(4)]
    return lambda step: made[step % 4]


def quiet(W_enc_rows, n_dead):
    """Small encoder rows: positive sometimes, never among the k largest."""
    if n_dead:
        with torch.no_grad():
            W_enc_rows[-n_dead:] *= 0.01


def saelens(a, n_dead):
    from sae_lens.config import SAETrainerConfig
    from sae_lens.saes.topk_sae import TopKTrainingSAE, TopKTrainingSAEConfig
    from sae_lens.training.sae_trainer import SAETrainer
    sae = TopKTrainingSAE(TopKTrainingSAEConfig(d_in=a.d, d_sae=a.F, k=a.k, device="cpu", dtype="float32"))
    quiet(sae.W_enc.T, n_dead)
    cfg = SAETrainerConfig(total_training_samples=a.batch * 10**6, lr_end=3e-5, train_batch_size_samples=a.batch, autocast=a.mode == "bf16", device="cpu")
    trainer = SAETrainer(cfg, sae, iter(()))

    def step(i, x):
        trainer.n_forward_passes_since_fired[a.F - n_dead:] = 1e9
        loss = trainer.step(x).loss.item()
        trainer.n_training_steps += 1
        return loss
    return step


def autocast(a):
    return torch.autocast("cpu", dtype=torch.bfloat16) if a.mode == "bf16" else contextlib.nullcontext()


def dictionary_learning(a, n_dead):
    from dictionary_learning.trainers.top_k import TopKTrainer
    trainer = TopKTrainer(steps=10**6, activation_dim=a.d, dict_size=a.F, k=a.k, layer=0, lm_name="none", device="cpu", warmup_steps=0)
    quiet(trainer.ae.encoder.weight, n_dead)

    def step(i, x):
        trainer.num_tokens_since_fired[a.F - n_dead:] = 10**8
        with autocast(a):
            return trainer.update(i + 1, x)  # step 0 would look for the geometric median
    return step


def sparsify(a, n_dead):
    from sparsify.config import SparseCoderConfig
    from sparsify.sparse_coder import SparseCoder
    sae = SparseCoder(a.d, SparseCoderConfig(num_latents=a.F, k=a.k), device="cpu")
    quiet(sae.encoder.weight, n_dead)
    adam = torch.optim.Adam(sae.parameters(), lr=3e-4)
    dead = torch.zeros(a.F, dtype=torch.bool)
    dead[a.F - n_dead:] = n_dead > 0

    def step(i, x):
        sae.set_decoder_norm_to_unit_norm()
        with autocast(a):
            out = sae(x, dead_mask=dead if n_dead else None)
        loss = out.fvu + out.auxk_loss / 32
        loss.backward()
        sae.remove_gradient_parallel_to_decoder_directions()
        torch.nn.utils.clip_grad_norm_(sae.parameters(), 1.0)
        adam.step()
        adam.zero_grad()
        return loss.item()
    return step


PEERS = {"saelens": saelens, "dictionary_learning": dictionary_learning, "sparsify": sparsify}


def arguments():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--peer", choices=PEERS, required=True)
    p.add_argument("--mode", choices=("f32", "bf16"), default="f32")
    for name, default in (("d", 768), ("F", 24576), ("k", 32), ("batch", 4096), ("steps", 5), ("skip", 1), ("threads", 0), ("seed", 0)):
        p.add_argument(f"--{name}", type=int, default=default)
    p.add_argument("--dead", type=float, default=0.0)
    p.add_argument("--acts")
    return p.parse_args()


def main():
    a = arguments()
    if a.threads:
        torch.set_num_threads(a.threads)
    torch.manual_seed(a.seed)
    batch = batches(a)
    with contextlib.redirect_stdout(None):  # peers print when imported
        step = PEERS[a.peer](a, int(a.dead * a.F))
    seconds, losses = [], []
    for i in range(a.skip + a.steps):
        x = batch(i)
        start = time.perf_counter()
        losses.append(step(i, x))
        seconds.append(time.perf_counter() - start)
    timed = seconds[a.skip:]
    median = statistics.median(timed)
    print(json.dumps({
        "peer": a.peer, "mode": a.mode, "d": a.d, "F": a.F, "k": a.k, "batch": a.batch, "steps": a.steps, "skip": a.skip, "dead": a.dead,
        "threads": torch.get_num_threads(), "seconds_per_step": median, "best": min(timed), "worst": max(timed),
        "tokens_per_s": a.batch / median, "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "loss_first": losses[0], "loss_last": losses[-1]}))


if __name__ == "__main__":
    main()
