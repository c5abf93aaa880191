"""Writes sae_files/CASE/: small SAEs as other programs save them, and expected.safetensors: x [5, d_in], what their own code makes of it, codes
[5, d_sae] and xhat [5, d_out]. tests/sae/test_formats.c reads them.
Made with sae-lens 6.54.12, torch 2.15; dictionary_learning, sparsify and Gemma Scope by the formulas of their files, named beside each.
usage: python make_sae_files.py (needs sae-lens)"""
import json
import pathlib
import shutil

import numpy as np
import torch
from safetensors.torch import load_file, save_file

import sae_lens
from sae_lens.saes import gated_sae, jumprelu_sae, standard_sae, topk_sae, transcoder, batchtopk_sae, matryoshka_batchtopk_sae

OUT = pathlib.Path(__file__).parent / "sae_files"
D, F, Y = 6, 12, 4
META = dict(model_name="gpt2", hook_name="blocks.3.hook_resid_pre", prepend_bos=True, dataset_path="text")


def rnd(*shape, seed):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) / 2


X = rnd(5, D, seed=99) * 3


def case(name):
    path = OUT / name
    path.mkdir(parents=True)
    return path


def expect(path, codes, xhat):
    save_file({"x": X.clone(), "codes": codes.detach().float().contiguous(), "xhat": xhat.detach().float().contiguous()}, path / "expected.safetensors")


def fill(sae):
    """Every weight at random, thresholds positive; exact in bf16, so that dtypes do not matter."""
    for i, (name, p) in enumerate(sorted(sae.named_parameters())):
        v = rnd(*p.shape, seed=i).abs() if name == "threshold" else rnd(*p.shape, seed=i)
        p.data = v.bfloat16().to(p.dtype)
    return sae


def lens(name, cls, cfg_cls, dtype="float32", **cfg):
    sae = fill(cls(cfg_cls(d_in=D, d_sae=F, dtype=dtype, metadata=sae_lens.saes.sae.SAEMetadata(**META), **cfg)))
    path = case(name)
    sae.save_model(path)
    exact = sae.to(dtype=torch.float32) if dtype != "float32" else sae
    expect(path, exact.encode(X), exact(X))
    return path


def saelens():
    lens("lens_standard", standard_sae.StandardSAE, standard_sae.StandardSAEConfig)
    lens("lens_standard_whole", standard_sae.StandardSAE, standard_sae.StandardSAEConfig, apply_b_dec_to_input=False)
    lens("lens_layer_norm", standard_sae.StandardSAE, standard_sae.StandardSAEConfig, normalize_activations="layer_norm")
    lens("lens_rescale_bf16", standard_sae.StandardSAE, standard_sae.StandardSAEConfig, "bfloat16", normalize_activations="constant_norm_rescale")
    lens("lens_average", standard_sae.StandardSAE, standard_sae.StandardSAEConfig, normalize_activations="expected_average_only_in")
    lens("lens_topk", topk_sae.TopKSAE, topk_sae.TopKSAEConfig, k=3, rescale_acts_by_decoder_norm=False)
    lens("lens_topk_rescaled", topk_sae.TopKSAE, topk_sae.TopKSAEConfig, k=3, rescale_acts_by_decoder_norm=True)
    lens("lens_jumprelu", jumprelu_sae.JumpReLUSAE, jumprelu_sae.JumpReLUSAEConfig)
    lens("lens_gated", gated_sae.GatedSAE, gated_sae.GatedSAEConfig)
    lens("lens_transcoder", transcoder.Transcoder, transcoder.TranscoderConfig, d_out=Y, apply_b_dec_to_input=False)
    lens("lens_skip_transcoder", transcoder.SkipTranscoder, transcoder.SkipTranscoderConfig, d_out=Y, apply_b_dec_to_input=False)


def training(name, cls, cfg_cls, **cfg):
    """A training checkpoint; expected is what its inference SAE, a jumprelu, gives."""
    sae = fill(cls(cfg_cls(d_in=D, d_sae=F, k=3, metadata=sae_lens.saes.sae.SAEMetadata(**META), **cfg)))
    sae.topk_threshold = torch.tensor(0.75, dtype=torch.double)
    path = case(name)
    sae.save_model(path)
    sae.save_inference_model(path / "inference")
    jump = sae_lens.SAE.load_from_disk(path / "inference")
    expect(path, jump.encode(X), jump(X))
    shutil.rmtree(path / "inference")


def old(name, cfg, extra=None):
    """Files from before version 6: flat keys."""
    path = case(name)
    w = {"W_enc": rnd(D, F, seed=1), "b_enc": rnd(F, seed=2), "W_dec": rnd(F, D, seed=3), "b_dec": rnd(D, seed=4), **(extra or {})}
    save_file(w, path / "sae_weights.safetensors")
    cfg = {"model_name": "gpt2-small", "hook_point_layer": 3, "hook_point_head_index": None, "d_in": D, "d_sae": F, "dtype": "torch.float32",
           "device": "cpu", "dataset_path": "text", "context_size": 128, "sae_lens_training_version": "3.0.0", **cfg}
    (path / "cfg.json").write_text(json.dumps(cfg))
    pre = (X - w["b_dec"]) @ w["W_enc"] + w["b_enc"]
    return path, w, pre


def before_6():
    path, w, pre = old("old_standard", {"hook_point": "blocks.3.hook_resid_pre", "normalize_activations": False})
    sae = sae_lens.SAE.load_from_disk(path)
    expect(path, sae.encode(X), sae(X))
    path, w, pre = old("old_topk", {"hook_name": "blocks.3.hook_resid_pre", "activation_fn_str": "topk", "activation_fn_kwargs": {"k": 3}})
    sae = sae_lens.SAE.load_from_disk(path)
    expect(path, sae.encode(X), sae(X))
    scale = rnd(F, seed=5).abs()
    path, w, pre = old("old_finetuned", {"hook_name": "blocks.3.hook_resid_pre", "architecture": "standard", "finetuning_scaling_factor": True}, {"scaling_factor": scale})
    codes = pre.relu()  # SAELens 5, sae_lens/sae.py, decode: acts times the factor
    expect(path, codes, (codes * scale) @ w["W_dec"] + w["b_dec"])


def topk(pre, k):
    values, index = pre.topk(k)
    return torch.zeros_like(pre).scatter(1, index, values.relu())


def sparsify():
    """sparsify/sparse_coder.py: encode, decode, forward"""
    for name, transcode, skip in (("sparsify_topk", False, False), ("sparsify_skip", True, True)):
        path = case(name)
        w = {"encoder.weight": rnd(F, D, seed=1), "encoder.bias": rnd(F, seed=2), "W_dec": rnd(F, D, seed=3), "b_dec": rnd(D, seed=4)}
        if skip:
            w["W_skip"] = rnd(D, D, seed=5)
        save_file(w, path / "sae.safetensors")
        (path / "cfg.json").write_text(json.dumps({"activation": "topk", "expansion_factor": 2, "normalize_decoder": True, "num_latents": 0, "k": 3, "multi_topk": False,
                                                   "skip_connection": skip, "transcode": transcode, "d_in": D}))
        codes = topk((X if transcode else X - w["b_dec"]) @ w["encoder.weight"].T + w["encoder.bias"], 3)
        expect(path, codes, codes @ w["W_dec"] + w["b_dec"] + (X @ w["W_skip"].T if skip else 0))


def dictionary_learning():
    """dictionary_learning/dictionary.py and trainers/{top_k,batch_top_k,matryoshka_batch_top_k}.py: encode and decode of each class"""
    def save(name, dict_class, w, codes, bias):
        path = case(name)
        torch.save(w, path / "ae.pt")
        if dict_class:
            (path / "config.json").write_text(json.dumps({"trainer": {"dict_class": dict_class, "lm_name": "EleutherAI/pythia-70m", "submodule_name": "resid_post_layer_3"}}))
        W = w["decoder.weight"].T if "decoder.weight" in w else w["W_dec"]
        expect(path, codes, codes @ W + bias)

    W_enc, b_enc, W_dec, b = rnd(F, D, seed=1), rnd(F, seed=2), rnd(D, F, seed=3), rnd(D, seed=4)
    unit = W_dec / W_dec.norm(dim=0)
    pre = (X - b) @ W_enc.T + b_enc
    nn = {"encoder.weight": W_enc, "encoder.bias": b_enc, "decoder.weight": unit}
    save("dl_standard", "AutoEncoder", {"bias": b, **nn}, pre.relu(), b)
    save("dl_standard_free", None, {"bias": b, **nn, "decoder.weight": W_dec}, pre.relu(), b)
    save("dl_new", "AutoEncoderNew", {**nn, "decoder.bias": b}, (X @ W_enc.T + b_enc).relu(), b)
    top = {"k": torch.tensor(3), "threshold": torch.tensor(0.75), "b_dec": b, **nn}
    save("dl_topk", "AutoEncoderTopK", top, topk(pre.relu(), 3), b)
    save("dl_topk_unnamed", None, top, topk(pre.relu(), 3), b)
    save("dl_batchtopk", "BatchTopKSAE", top, pre.relu() * (pre.relu() > 0.75), b)
    mat = {"k": torch.tensor(3), "threshold": torch.tensor(0.75), "group_sizes": torch.tensor([3, 3, 6]), "W_enc": W_enc.T.contiguous(), "b_enc": b_enc,
           "W_dec": unit.T.contiguous(), "b_dec": b}
    save("dl_matryoshka", "MatryoshkaBatchTopKSAE", mat, pre.relu() * (pre.relu() > 0.75), b)
    theta = rnd(F, seed=6).abs()
    raw = X @ W_enc.T + b_enc
    save("dl_jumprelu", "JumpReluAutoEncoder", {"W_enc": W_enc.T.contiguous(), "b_enc": b_enc, "W_dec": unit.T.contiguous(), "b_dec": b, "threshold": theta},
         (raw * (raw > theta)).relu(), b)
    r, mag = rnd(F, seed=7), rnd(F, seed=8)
    x = (X - b) @ W_enc.T
    save("dl_gated", "GatedAutoEncoder", {"decoder_bias": b, "r_mag": r, "gate_bias": b_enc, "mag_bias": mag, "encoder.weight": W_enc, "decoder.weight": unit},
         (x + b_enc > 0) * (r.exp() * x + mag).relu(), b)


def gemma_scope():
    """sae_lens/loading/pretrained_sae_loaders.py, gemma_2_sae_huggingface_loader; JumpReLU of its paper"""
    W_enc, b_enc, W_dec, b, theta = rnd(D, F, seed=1), rnd(F, seed=2), rnd(F, D, seed=3), rnd(D, seed=4), rnd(F, seed=6).abs()
    pre = X @ W_enc + b_enc
    codes = pre * (pre > theta)
    for name, w in (("gemma", "W"), ("gemma_lower", "w")):
        path = case(name)
        np.savez(path / "params.npz", **{w + "_enc": W_enc.numpy(), w + "_dec": W_dec.numpy(), "b_enc": b_enc.numpy(), "b_dec": b.numpy(), "threshold": theta.numpy()})
        expect(path, codes, codes @ W_dec + b)


def main():
    shutil.rmtree(OUT, ignore_errors=True)
    torch.set_num_threads(1)
    saelens()
    training("lens_batchtopk", batchtopk_sae.BatchTopKTrainingSAE, batchtopk_sae.BatchTopKTrainingSAEConfig)
    training("lens_matryoshka", matryoshka_batchtopk_sae.MatryoshkaBatchTopKTrainingSAE, matryoshka_batchtopk_sae.MatryoshkaBatchTopKTrainingSAEConfig,
             matryoshka_widths=[3, 6, 12])
    before_6()
    sparsify()
    dictionary_learning()
    gemma_scope()


if __name__ == "__main__":
    with torch.no_grad():
        main()
