#!/usr/bin/env python3
"""One training step of every variant in every peer that has it: loss and gradients for tests/sae/test_peer_*.c.

Run by hand in the peers' environment: "$(./run peers)" bench/peers/sae_goldens.py
Writes tests/goldens/sae/{problem,saelens,dictionary_learning,sparsify}.safetensors.

problem: x and weights, f32, drawn from a seeded generator, matrices feature-major [d_sae, d_in] as in saelab's memory. W_dec has rows
    of norm 1, W_dec_free rows of norm .5 to 2. The latents from QUIET on have small encoder rows: they are positive, yet never among the
    selected, so that they can be the dead ones of AuxK. dead and few [d_sae] u8: all of these, and the last 5.
the others: CASE/loss [1], CASE/g/NAME gradients of the loss as the peer's own training code computes it, before projection and clipping
    (feature-major), CASE/threshold [1] after the step; metadata CASE: its options as JSON.
Every selection is far from a tie and no value lies on an edge of a rectangle: the script checks it.
"""
import json
import os
import pathlib

os.environ["SPARSIFY_DISABLE_TRITON"] = "1"

import torch
from safetensors.torch import save_file

D, F, B, K, QUIET = 16, 64, 32, 4, 24
WIDTHS = [8, 24, 64]
BANDWIDTH = 0.3
SEED = 2  # the first for which check_margins holds
HERE = pathlib.Path(__file__).resolve().parents[2] / "tests" / "goldens" / "sae"


def make_problem(seed):
    g = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(*shape, generator=g)
    p = {"x": draw(B, D) + 0.5 * draw(D), "W_enc": draw(F, D) / 3, "b_enc": 0.1 * draw(F), "b_dec": 0.3 * draw(D)}
    p["W_enc"][QUIET:] *= 0.1
    p["b_enc"][QUIET:] *= 0.1
    p["W_dec"] = torch.nn.functional.normalize(draw(F, D), dim=1)
    p["W_dec_free"] = p["W_dec"] * (0.5 + 1.5 * torch.rand(F, 1, generator=g))
    p["threshold"] = 0.02 + 0.5 * torch.rand(F, generator=g)
    p["r_mag"], p["b_mag"], p["b_gate"] = 0.2 * draw(F), 0.1 * draw(F), 0.1 * draw(F)
    p["dead"], p["few"] = torch.zeros(F, dtype=torch.uint8), torch.zeros(F, dtype=torch.uint8)
    p["dead"][QUIET:] = 1
    p["few"][-5:] = 1
    return p


def check_margins(p):
    for centred in (True, False):
        a = (p["x"] - centred * p["b_dec"]) @ p["W_enc"].T + p["b_enc"]
        for scale in (1, p["W_dec_free"].norm(dim=1)):
            rows, whole = (a * scale).sort(dim=1, descending=True).values, (a * scale).flatten().sort(descending=True).values
            assert (rows[:, K - 1] - rows[:, K]).min() > 1e-5 and rows[:, K - 1].min() > 1e-3
            assert whole[K * B - 1] - whole[K * B] > 1e-5
        edges = torch.stack([a - p["threshold"] + e for e in (0, BANDWIDTH / 2, -BANDWIDTH / 2)])
        assert edges.abs().min() > 1e-5 and a.abs().min() > 1e-6
    linear = (p["x"] - p["b_dec"]) @ p["W_enc"].T
    assert min((linear + p["b_gate"]).abs().min(), (linear * p["r_mag"].exp() + p["b_mag"]).abs().min()) > 1e-6
    a = linear + p["b_enc"]
    assert a[:, QUIET:].max() < a.topk(K, dim=1).values.min()  # the quiet ones are never selected
    aux = a[:, QUIET:].sort(dim=1, descending=True).values
    assert aux[:, D // 2 - 1].min() > 0 and (aux[:, D // 2 - 1] - aux[:, D // 2]).min() > 1e-6
    assert a[:, -5:].min() < 0  # SAELens and saelab differ in negative ones


class Goldens:
    def __init__(self):
        self.tensors, self.meta = {}, {}

    def add(self, case, loss, gradients, threshold=None, **options):
        loss.backward()
        self.tensors[f"{case}/loss"] = loss.detach().view(1).clone()
        for name, (parameter, turned) in gradients.items():
            g = parameter.grad if parameter.grad is not None else torch.zeros_like(parameter)
            self.tensors[f"{case}/g/{name}"] = (g.T if turned else g).detach().clone().contiguous()
        if threshold is not None:
            self.tensors[f"{case}/threshold"] = torch.as_tensor(threshold).detach().view(1).float()
        self.meta[case] = json.dumps(options)

    def save(self, name, versions):
        self.meta.update(versions)
        path = HERE / f"{name}.safetensors"
        save_file(dict(sorted(self.tensors.items())), str(path), self.meta)
        print(path.name, path.stat().st_size, "bytes,", len(self.meta) - len(versions), "cases")


def fill(pairs):
    with torch.no_grad():
        for parameter, value in pairs:
            assert parameter.shape == value.shape, (parameter.shape, value.shape)
            parameter.copy_(value)


# ---- SAELens ----

def saelens(p):
    from sae_lens.saes.batchtopk_sae import BatchTopKTrainingSAE, BatchTopKTrainingSAEConfig
    from sae_lens.saes.gated_sae import GatedTrainingSAE, GatedTrainingSAEConfig
    from sae_lens.saes.jumprelu_sae import JumpReLUTrainingSAE, JumpReLUTrainingSAEConfig
    from sae_lens.saes.matryoshka_batchtopk_sae import MatryoshkaBatchTopKTrainingSAE, MatryoshkaBatchTopKTrainingSAEConfig
    from sae_lens.saes.sae import TrainStepInput
    from sae_lens.saes.standard_sae import StandardTrainingSAE, StandardTrainingSAEConfig
    from sae_lens.saes.topk_sae import TopKTrainingSAE, TopKTrainingSAEConfig
    out = Goldens()

    def case(name, cls, cfg_cls, dead=None, free=False, coefficients=None, **cfg):
        sae = cls(cfg_cls(d_in=D, d_sae=F, device="cpu", dtype="float32", **cfg))
        W_dec = p["W_dec_free" if free else "W_dec"]
        fill([(sae.W_enc, p["W_enc"].T), (sae.W_dec, W_dec), (sae.b_dec, p["b_dec"])])
        gradients = {"W_enc": (sae.W_enc, True), "W_dec": (sae.W_dec, False), "b_dec": (sae.b_dec, False)}
        for extra in ("b_enc", "threshold", "r_mag", "b_mag", "b_gate"):
            if isinstance(getattr(sae, extra, None), torch.nn.Parameter):
                fill([(getattr(sae, extra), p[extra])])
                gradients[extra] = (getattr(sae, extra), False)
        mask = p[dead].bool() if dead else None
        step = TrainStepInput(sae_in=p["x"], coefficients=coefficients or {}, dead_neuron_mask=mask, n_training_steps=0, is_logging_step=False)
        loss = sae.training_forward_pass(step).loss
        threshold = getattr(sae, "topk_threshold", None)
        out.add(name, loss, gradients, threshold, dead=dead, free=free, **(coefficients or {}), **cfg)

    case("standard", StandardTrainingSAE, StandardTrainingSAEConfig, free=True, coefficients={"l1": 0.7})
    topk = TopKTrainingSAE, TopKTrainingSAEConfig
    case("topk", *topk, k=K)
    case("topk_free", *topk, free=True, k=K)
    case("topk_auxk", *topk, dead="dead", k=K, aux_loss_coefficient=0.5)
    case("topk_auxk_few", *topk, dead="few", k=K, aux_loss_coefficient=0.5)
    batchtopk = BatchTopKTrainingSAE, BatchTopKTrainingSAEConfig
    case("batchtopk", *batchtopk, k=K)
    case("batchtopk_auxk", *batchtopk, dead="dead", k=K, aux_loss_coefficient=0.5)
    matryoshka = MatryoshkaBatchTopKTrainingSAE, MatryoshkaBatchTopKTrainingSAEConfig
    case("matryoshka", *matryoshka, k=K, matryoshka_widths=WIDTHS)
    case("matryoshka_auxk", *matryoshka, dead="dead", k=K, matryoshka_widths=WIDTHS, aux_loss_coefficient=0.5)
    jumprelu = JumpReLUTrainingSAE, JumpReLUTrainingSAEConfig
    for mode in ("step", "tanh"):
        case(f"jumprelu_{mode}", *jumprelu, free=True, coefficients={"l0": 0.4}, jumprelu_bandwidth=BANDWIDTH, jumprelu_sparsity_loss_mode=mode)
    case("jumprelu_pre_act", *jumprelu, dead="dead", coefficients={"l0": 0.4}, jumprelu_bandwidth=BANDWIDTH, pre_act_loss_coefficient=0.3)
    case("gated", GatedTrainingSAE, GatedTrainingSAEConfig, free=True, coefficients={"l1": 0.7})
    return out


# ---- dictionary_learning ----

def dictionary_learning(p):
    from dictionary_learning.trainers.batch_top_k import BatchTopKTrainer
    from dictionary_learning.trainers.gdm import GatedSAETrainer
    from dictionary_learning.trainers.jumprelu import JumpReluTrainer
    from dictionary_learning.trainers.matryoshka_batch_top_k import MatryoshkaBatchTopKTrainer
    from dictionary_learning.trainers.standard import StandardTrainer, StandardTrainerAprilUpdate
    from dictionary_learning.trainers.top_k import TopKTrainer
    out = Goldens()
    LATE = 5000  # a step past every warm-up, and past the first of the threshold's average

    def layers(ae, free):
        """(ours, theirs, do they keep it as [d_in, d_sae]?)"""
        linear = hasattr(ae, "encoder")
        yield "W_enc", ae.encoder.weight if linear else ae.W_enc, not linear
        yield "W_dec", ae.decoder.weight if linear else ae.W_dec, linear
        yield "b_dec", next(getattr(ae, n) for n in ("b_dec", "bias", "decoder_bias") if hasattr(ae, n)), False
        if hasattr(ae, "gate_bias"):
            yield from (("b_gate", ae.gate_bias, False), ("b_mag", ae.mag_bias, False), ("r_mag", ae.r_mag, False))
        else:
            yield "b_enc", ae.encoder.bias if linear else ae.b_enc, False
        if isinstance(getattr(ae, "threshold", None), torch.nn.Parameter):
            yield "threshold", ae.threshold, False

    def case(name, trainer, dead=None, free=False, **options):
        tr = trainer(steps=10**6, activation_dim=D, dict_size=F, layer=0, lm_name="none", device="cpu", **options)
        mine = dict(p, W_dec=p["W_dec_free"]) if free else p
        parts = list(layers(tr.ae, free))
        fill([(theirs, mine[ours].T if turned else mine[ours]) for ours, theirs, turned in parts])
        if dead:
            tr.num_tokens_since_fired[p[dead].bool()] = 10_000_000
        loss = tr.loss(p["x"], step=LATE)
        threshold = getattr(tr.ae, "threshold", None)
        if isinstance(threshold, torch.nn.Parameter):
            threshold = None
        out.add(name, loss, {o: (t, turned) for o, t, turned in parts}, threshold, dead=dead, free=free, **options)

    case("standard", StandardTrainer, l1_penalty=0.7)
    case("april", StandardTrainerAprilUpdate, free=True, l1_penalty=0.7)
    for name, trainer, more in (("topk", TopKTrainer, {}), ("batchtopk", BatchTopKTrainer, {}),
                                ("matryoshka", MatryoshkaBatchTopKTrainer, {"group_fractions": [w / F for w in (8, 16, 40)]})):
        case(name, trainer, k=K, **more)
        case(f"{name}_auxk", trainer, dead="dead", k=K, **more)
    case("topk_auxk_few", TopKTrainer, dead="few", k=K)
    case("jumprelu", JumpReluTrainer, bandwidth=BANDWIDTH, sparsity_penalty=0.4, target_l0=5.0)
    case("gated", GatedSAETrainer, l1_penalty=0.7)
    return out


# ---- sparsify ----

def sparsify(p):
    from sparsify.config import SparseCoderConfig
    from sparsify.sparse_coder import SparseCoder
    out = Goldens()

    def case(name, dead, alpha):
        sae = SparseCoder(D, SparseCoderConfig(num_latents=F, k=K))
        fill([(sae.encoder.weight, p["W_enc"]), (sae.encoder.bias, p["b_enc"]), (sae.W_dec, p["W_dec"]), (sae.b_dec, p["b_dec"])])
        r = sae(p["x"], dead_mask=p[dead].bool() if dead else None)
        gradients = {"W_enc": (sae.encoder.weight, False), "b_enc": (sae.encoder.bias, False), "W_dec": (sae.W_dec, False), "b_dec": (sae.b_dec, False)}
        out.add(name, r.fvu + alpha * r.auxk_loss, gradients, k=K, dead=dead, auxk_alpha=alpha)

    case("topk", None, 0)
    case("topk_auxk", "dead", 0.5)
    case("topk_auxk_few", "few", 0.5)
    return out


if __name__ == "__main__":
    from importlib.metadata import version
    torch.set_num_threads(1)
    HERE.mkdir(parents=True, exist_ok=True)
    problem = make_problem(SEED)
    check_margins(problem)
    save_file({n: t.contiguous() for n, t in problem.items()}, str(HERE / "problem.safetensors"), {"seed": str(SEED)})
    for peer, package in ((saelens, "sae-lens"), (dictionary_learning, "dictionary-learning"), (sparsify, "eai-sparsify")):
        peer(problem).save(peer.__name__, {"version": version(package), "torch": torch.__version__})
