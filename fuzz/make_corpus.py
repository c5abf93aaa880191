"""Writes corpus/, small valid files that the fuzz targets start from. usage: python make_corpus.py (needs numpy, torch)"""
import io
import json
import pathlib
import pickle
import zipfile

import numpy as np
import torch

OUT = pathlib.Path(__file__).parent / "corpus"


def put(name, data):
    path = OUT / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def npy(array, version=None):
    f = io.BytesIO()
    np.lib.format.write_array(f, array, version)
    return f.getvalue()


def safetensors(header, data):
    text = json.dumps(header, separators=(",", ":")).encode()
    return len(text).to_bytes(8, "little") + text + data


def pt_pickle(value, protocol=2):
    f = io.BytesIO()
    torch.save(value, f, pickle_protocol=protocol)
    with zipfile.ZipFile(f) as z:
        return next(z.read(n) for n in z.namelist() if n.endswith("data.pkl"))


def main():
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    put("npy/c.npy", npy(x))
    put("npy/fortran.npy", npy(np.asfortranarray(x.astype(np.float64)), (2, 0)))
    put("npy/scalar.npy", npy(np.int64(3)))
    for name, save in (("stored", np.savez), ("deflated", np.savez_compressed)):
        f = io.BytesIO()
        save(f, W_enc=x, threshold=np.zeros(3, np.float32))
        put(f"npz/{name}.npz", f.getvalue())
    two = {"a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, "b": {"dtype": "U8", "shape": [3], "data_offsets": [24, 27]}}
    put("safetensors/two.safetensors", safetensors(two, x.tobytes() + b"abc"))
    put("safetensors/meta.safetensors", safetensors({"__metadata__": {"k": "v"}, "s": {"dtype": "I64", "shape": [], "data_offsets": [0, 8]}}, bytes(8)))
    put("safetensors/empty.safetensors", safetensors({}, b""))
    module = torch.nn.Linear(4, 4)
    put("pickle/state_dict.pkl", pt_pickle(module.state_dict()))
    put("pickle/protocol4.pkl", pt_pickle({"w": torch.ones(4, 4).T, "k": 3, "rate": 0.5, "on": True, "none": None, "list": [1, (2, 3)]}, 4))
    put("pickle/parameter.pkl", pt_pickle({"p": module.weight, "big": 2**40}))
    put("pickle/call.pkl", pickle.dumps(print, 2))
    put("json/fields.json", b'{"d_in": 3, "scale": 2.5e-1, "flag": true, "name": "x\\u00e9", "list": [1, null, {"a": []}]}')
    put("json/text.json", b'"alone"')
    own = {"variant": "topk", "options": {"k": 2}, "mean": [0, 1], "scale": 2.5}
    cfg = {"d_in": 2, "d_sae": 3, "apply_b_dec_to_input": True, "normalize_activations": "none", "metadata": {"hook_name": "h", "saelab": own}, "architecture": "topk", "k": 2}
    put("cfg/small.json", json.dumps(cfg, separators=(",", ":")).encode())


if __name__ == "__main__":
    main()
