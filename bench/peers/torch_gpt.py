#!/usr/bin/env python3
"""The GPTs of saelab's presets in PyTorch, from its own modules and fused attention: the peer of bench/lm.

Reads one request a line from standard input and answers each with one line, so that a benchmark can alternate with it:
    train PRESET MODE BATCH STEPS   -> ok TOKENS SECONDS     updates on random tokens (AdamW, clipping), after one to warm up
    sample MODE TOKENS              -> ok TOKENS SECONDS     nanogpt_char at batch 1, no cache, as nanoGPT's generate
    run PRESET MODE ITERS LR TEXT   -> ok VAL_LOSS SECONDS   a whole training on TEXT with nanoGPT's schedule and evaluations
    version                         -> ok VERSION THREADS
MODE is f32 or bf16 (autocast; sampling: bf16 weights). Started by bench_lm --python PYTHON; by hand:
    echo "train nanogpt_cpu f32 12 50" | python bench/peers/torch_gpt.py --threads 2
"""
import argparse
import contextlib
import math
import sys
import time

import torch
from torch import nn
from torch.nn import functional as F

PRESETS = {  # as saelab's
    "nanogpt_char": dict(n_layer=6, n_head=6, n_embd=384, block_size=256, dropout=0.2),
    "nanogpt_cpu": dict(n_layer=4, n_head=4, n_embd=128, block_size=64, dropout=0.0),
}
VOCAB = 65


class Block(nn.Module):
    def __init__(self, n_head, n_embd, dropout):
        super().__init__()
        self.n_head, self.dropout = n_head, dropout
        self.ln_1, self.ln_2 = nn.LayerNorm(n_embd, bias=False), nn.LayerNorm(n_embd, bias=False)
        self.c_attn = nn.Linear(n_embd, 3 * n_embd, bias=False)
        self.c_proj = nn.Linear(n_embd, n_embd, bias=False)
        self.c_fc = nn.Linear(n_embd, 4 * n_embd, bias=False)
        self.mlp_proj = nn.Linear(4 * n_embd, n_embd, bias=False)
        self.drop = nn.Dropout(dropout)

    def forward(self, x):
        B, T, C = x.shape
        q, k, v = (z.view(B, T, self.n_head, -1).transpose(1, 2) for z in self.c_attn(self.ln_1(x)).split(C, dim=2))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True, dropout_p=self.dropout if self.training else 0.0)
        x = x + self.drop(self.c_proj(y.transpose(1, 2).reshape(B, T, C)))
        return x + self.drop(self.mlp_proj(F.gelu(self.c_fc(self.ln_2(x)))))


class GPT(nn.Module):
    def __init__(self, n_layer, n_head, n_embd, block_size, dropout):
        super().__init__()
        self.block_size = block_size
        self.wte, self.wpe = nn.Embedding(VOCAB, n_embd), nn.Embedding(block_size, n_embd)
        self.drop = nn.Dropout(dropout)
        self.h = nn.ModuleList(Block(n_head, n_embd, dropout) for _ in range(n_layer))
        self.ln_f = nn.LayerNorm(n_embd, bias=False)
        for name, p in self.named_parameters():  # GPT-2's initialisation
            if p.dim() >= 2:
                nn.init.normal_(p, std=0.02 / math.sqrt(2 * n_layer) if "proj" in name else 0.02)

    def forward(self, ids):
        x = self.drop(self.wte(ids) + self.wpe.weight[: ids.shape[1]])
        for block in self.h:
            x = block(x)
        return F.linear(self.ln_f(x), self.wte.weight)


def autocast(mode):
    return torch.autocast("cpu", dtype=torch.bfloat16) if mode == "bf16" else contextlib.nullcontext()


def optimizer(model):
    groups = [{"params": [p for p in model.parameters() if p.dim() >= 2], "weight_decay": 0.1},
              {"params": [p for p in model.parameters() if p.dim() < 2], "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.99), fused=True)


def loss_of(model, x, y, mode):
    with autocast(mode):
        logits = model(x)
    return F.cross_entropy(logits.float().view(-1, VOCAB), y.reshape(-1))


def update(model, adamw, x, y, mode):
    loss_of(model, x, y, mode).backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    adamw.step()
    adamw.zero_grad(set_to_none=True)


class Trainings:
    """One warm model a (preset, mode, batch)."""

    def __init__(self):
        self.kept = {}

    def train(self, preset, mode, batch, steps):
        batch, steps, T = int(batch), int(steps), PRESETS[preset]["block_size"]
        key = (preset, mode, batch)
        if key not in self.kept:
            model = GPT(**PRESETS[preset])
            self.kept[key] = model, optimizer(model)
            x = torch.randint(0, VOCAB, (min(batch, 4), T))
            update(*self.kept[key], x, x, mode)
        model, adamw = self.kept[key]
        x = torch.randint(0, VOCAB, (batch, T + 1))
        start = time.perf_counter()
        for _ in range(steps):
            update(model, adamw, x[:, :-1], x[:, 1:], mode)
        return batch * T * steps, time.perf_counter() - start


def sample(mode, n):
    model = GPT(**PRESETS["nanogpt_char"]).eval()
    if mode == "bf16":
        model = model.bfloat16()
    with torch.no_grad():
        ids = torch.zeros(1, 1, dtype=torch.long)
        model(ids)
        start = time.perf_counter()
        for _ in range(int(n)):
            logits = model(ids[:, -model.block_size:])[:, -1, :].float() / 0.8
            ids = torch.cat([ids, torch.multinomial(F.softmax(logits, dim=-1), 1)], dim=1)
        return int(n), time.perf_counter() - start


def run(preset, mode, iters, peak, text):
    """nanoGPT's README command for CPUs: batch 12, evaluation of 20 batches of both splits every 250 iterations."""
    iters, peak, batch, T = int(iters), float(peak), 12, PRESETS[preset]["block_size"]
    chars = open(text, encoding="utf-8").read()
    table = {c: i for i, c in enumerate(sorted(set(chars)))}
    data = torch.tensor([table[c] for c in chars])
    splits = data[: int(0.9 * len(data))], data[int(0.9 * len(data)):]
    torch.manual_seed(1337)

    def windows(split):
        at = torch.randint(len(split) - T, (batch,))
        return torch.stack([split[i:i + T] for i in at]), torch.stack([split[i + 1:i + 1 + T] for i in at])

    def estimate(model):
        model.eval()
        with torch.no_grad():
            losses = [sum(loss_of(model, *windows(s), mode).item() for _ in range(20)) / 20 for s in splits]
        model.train()
        return losses

    model = GPT(**PRESETS[preset])
    adamw = optimizer(model)
    best, start = math.inf, time.perf_counter()
    for i in range(iters + 1):
        if i % 250 == 0 or i == iters:
            best = min(best, estimate(model)[1])
        if i == iters:
            break
        lr = peak * (i + 1) / 101 if i < 100 else 1e-4 + 0.5 * (1 + math.cos(math.pi * (i - 100) / (iters - 100))) * (peak - 1e-4)
        for group in adamw.param_groups:
            group["lr"] = lr
        update(model, adamw, *windows(splits[0]), mode)
    return f"{best:.6f}", time.perf_counter() - start


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--threads", type=int, default=2)
    torch.set_num_threads(args.parse_args().threads)
    requests = {"train": Trainings().train, "sample": sample, "run": run,
                "version": lambda: (torch.__version__, torch.get_num_threads())}
    for line in sys.stdin:
        verb, *rest = line.split()
        print("ok", *requests[verb](*rest), flush=True)


if __name__ == "__main__":
    main()
