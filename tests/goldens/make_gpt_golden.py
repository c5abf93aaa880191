#!/usr/bin/env python3
"""Dumps what PyTorch computes for two tiny GPTs: tests/lm/test_golden.c compares ours with it.

Run once, in a virtual environment with torch (the numbers, not PyTorch, are needed to run the test):
    python tests/goldens/make_gpt_golden.py
Made with torch 2.15.0, numpy 2.4.6, safetensors 0.8.0; everything is computed in float64 on one thread.

Each file holds
    w/NAME      parameters before training (float32 values)          [out, in] for matrices, names as nanoGPT's
    ids         [11, B, T] int32: batch 0 gives logits, loss and gradients; batches 1-10 the ten optimizer steps
    targets     [11, B, T] int32, some of them -1 (not scored) in batch 0
    logits      [B, T, V], loss [1], g/NAME: gradients of the loss of batch 0
    p10/NAME    parameters after ten AdamW steps (decay on tensors of two or more dimensions, gradient clipping)
    norms       [10] gradient norms before clipping, losses [10]
and in its metadata the configuration and the optimizer's settings.
"""
import pathlib

import torch
from torch import nn
from torch.nn import functional as F
from safetensors.torch import save_file

L, H, C, T, V, B = 2, 2, 16, 8, 11, 3
LR, BETA1, BETA2, EPS, DECAY = 1e-3, 0.9, 0.99, 1e-8, 0.1


class Block(nn.Module):
    def __init__(self, bias):
        super().__init__()
        self.ln_1 = nn.LayerNorm(C, bias=bias)
        self.attn = nn.ModuleDict({"c_attn": nn.Linear(C, 3 * C, bias=bias), "c_proj": nn.Linear(C, C, bias=bias)})
        self.ln_2 = nn.LayerNorm(C, bias=bias)
        self.mlp = nn.ModuleDict({"c_fc": nn.Linear(C, 4 * C, bias=bias), "c_proj": nn.Linear(4 * C, C, bias=bias)})

    def forward(self, x):
        heads = lambda z: z.view(B, T, H, C // H).transpose(1, 2)
        q, k, v = self.attn["c_attn"](self.ln_1(x)).split(C, dim=2)
        y = F.scaled_dot_product_attention(heads(q), heads(k), heads(v), is_causal=True)
        x = x + self.attn["c_proj"](y.transpose(1, 2).reshape(B, T, C))
        return x + self.mlp["c_proj"](F.gelu(self.mlp["c_fc"](self.ln_2(x))))


class GPT(nn.Module):
    def __init__(self, bias):
        super().__init__()
        self.transformer = nn.ModuleDict({
            "wte": nn.Embedding(V, C), "wpe": nn.Embedding(T, C),
            "h": nn.ModuleList(Block(bias) for _ in range(L)), "ln_f": nn.LayerNorm(C, bias=bias)})

    def forward(self, ids):
        x = self.transformer["wte"](ids) + self.transformer["wpe"].weight
        for block in self.transformer["h"]:
            x = block(x)
        return self.transformer["ln_f"](x) @ self.transformer["wte"].weight.T  # tied head


def loss_of(model, ids, targets):
    logits = model(ids)
    return logits, F.cross_entropy(logits.view(-1, V), targets.view(-1), ignore_index=-1)


def make(bias, dtype, clip, path):
    torch.manual_seed(1337 + bias)
    model = GPT(bias)
    with torch.no_grad():  # larger than GPT-2's .02, so that attention and GELU are far from linear
        for p in model.parameters():
            p.copy_((torch.randn(p.shape) * 0.3 + (1.0 if p.dim() == 1 and bias is False else 0.0)))
    model = model.double()
    ids = torch.randint(0, V, (11, B, T))
    targets = torch.randint(0, V, (11, B, T))
    targets[0, 1, 3:6] = -1
    out = {"w/" + n: p.detach().float().clone() for n, p in model.named_parameters()}
    out.update(ids=ids.int(), targets=targets.int())

    logits, loss = loss_of(model, ids[0], targets[0])
    loss.backward()
    out.update(logits=logits.detach().to(dtype), loss=loss.detach().view(1).to(dtype))
    out.update({"g/" + n: p.grad.to(dtype) for n, p in model.named_parameters()})

    model.zero_grad()
    decayed = [p for p in model.parameters() if p.dim() >= 2]
    others = [p for p in model.parameters() if p.dim() < 2]
    adamw = torch.optim.AdamW([{"params": decayed, "weight_decay": DECAY}, {"params": others, "weight_decay": 0.0}],
                              lr=LR, betas=(BETA1, BETA2), eps=EPS)
    norms, losses = [], []
    for step in range(1, 11):
        _, loss = loss_of(model, ids[step], targets[step])
        loss.backward()
        norms.append(torch.nn.utils.clip_grad_norm_(model.parameters(), clip).item())
        losses.append(loss.item())
        adamw.step()
        adamw.zero_grad()
    assert min(norms) < clip < max(norms), norms  # both sides of the clip are exercised
    out.update({"p10/" + n: p.detach().to(dtype) for n, p in model.named_parameters()})
    out.update(norms=torch.tensor(norms, dtype=torch.float64), losses=torch.tensor(losses, dtype=torch.float64))
    meta = dict(n_layer=L, n_head=H, n_embd=C, block_size=T, vocab_size=V, batch_size=B, bias=int(bias), lr=LR, beta1=BETA1,
                beta2=BETA2, eps=EPS, weight_decay=DECAY, grad_clip=clip, torch=torch.__version__)
    save_file({n: t.contiguous() for n, t in out.items()}, str(path), {k: str(v) for k, v in meta.items()})
    print(path.name, path.stat().st_size, "bytes; norms", [round(n, 2) for n in norms])


if __name__ == "__main__":
    torch.set_num_threads(1)
    here = pathlib.Path(__file__).parent
    make(True, torch.float64, 0.6, here / "gpt_bias.safetensors")
    make(False, torch.float32, 3.8, here / "gpt_nobias.safetensors")
