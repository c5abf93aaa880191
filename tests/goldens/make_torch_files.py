"""Writes torch/*.pt, small files of torch.save, and torch/expected.safetensors, the tensors that mixed.pt holds; made with PyTorch 2.15.
usage: python make_torch_files.py (needs torch, safetensors, numpy)"""
import collections
import os
import pathlib
import zipfile

import torch
from safetensors.torch import save_file

OUT = pathlib.Path(__file__).parent / "torch"


def mixed():
    """Every dtype, views, a shared storage, nested containers, numbers, things that are left out."""
    base = torch.arange(12, dtype=torch.float32).reshape(3, 4) / 8
    state = collections.OrderedDict()
    state["base"] = base
    state["transposed"] = base.T
    state["column"] = base[:, 1]
    state["tail"] = base[1:, 2:]
    state["scalar"] = torch.tensor(2.5)
    state["empty"] = torch.zeros(0, 3)
    state["parameter"] = torch.nn.Parameter(torch.tensor([1.0, -1.0]))
    for name, dtype in (("f64", torch.float64), ("f16", torch.float16), ("bf16", torch.bfloat16)):
        state[name] = torch.tensor([0.5, -2.0, 3.0], dtype=dtype)
    for name, dtype in (("i8", torch.int8), ("u8", torch.uint8), ("i32", torch.int32), ("i64", torch.int64), ("bool", torch.bool)):
        state[name] = torch.tensor([0, 1, 7], dtype=dtype)
    tensors = {k: v.detach().contiguous().clone() for k, v in state.items()}
    tensors["nested.step"] = torch.tensor(70000)
    tensors["nested.big"] = torch.tensor(-(2**40))
    tensors["nested.rate"] = torch.tensor(0.1, dtype=torch.float64)
    tensors["nested.list.0"] = torch.tensor(-3)
    tensors["nested.list.1"] = torch.tensor([9.0])
    tensors["nested.7"] = torch.tensor(True)
    state["nested"] = {"step": 70000, "big": -(2**40), "rate": 0.1, "name": "é", "none": None, "list": [-3, torch.tensor([9.0])], 7: True}
    return state, tensors


class Evil:
    def __reduce__(self):
        return os.system, ("touch /tmp/pwned",)


def main():
    OUT.mkdir(exist_ok=True)
    state, tensors = mixed()
    torch.save(state, OUT / "mixed.pt")
    torch.save(state, OUT / "protocol4.pt", pickle_protocol=4)
    save_file(tensors, OUT / "expected.safetensors")
    torch.save(torch.nn.Linear(3, 2).state_dict(), OUT / "linear.pt")
    torch.save({"w": torch.ones(2), "evil": Evil()}, OUT / "evil.pt")
    torch.save(torch.ones(3), OUT / "no_dict.pt")
    torch.save({"w": torch.ones(1).expand(1000, 1000)}, OUT / "expanded.pt")
    torch.save({"w": torch.ones(2, dtype=torch.complex64)}, OUT / "complex.pt")
    torch.save({"w": torch.ones(2)}, OUT / "old.pt", _use_new_zipfile_serialization=False)
    with zipfile.ZipFile(OUT / "linear.pt") as z, zipfile.ZipFile(OUT / "big_endian.pt", "w") as out:
        for name in z.namelist():
            out.writestr(name, b"big" if name.endswith("byteorder") else z.read(name))


if __name__ == "__main__":
    main()
