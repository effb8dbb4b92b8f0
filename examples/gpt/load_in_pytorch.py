"""Loads a checkpoint of `hcrun` into PyTorch and answers what `hcrun predict --json` answers for a text.

    python examples/gpt/load_in_pytorch.py runs/latest/checkpoints/step-NUMBER TEXT_FILE

It needs torch and safetensors. `loss` is in nats per byte, `next` are the logits of the byte after the text.
"""

import json
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file

folder = Path(sys.argv[1])
shape = json.loads((folder / "model.json").read_text())["model"]
p = {name.removeprefix("transformer."): tensor for name, tensor in load_file(folder / "model.safetensors").items()}


def linear(x, name):
    return F.linear(x, p[name + ".weight"], p[name + ".bias"])


def norm(x, name):
    return F.layer_norm(x, x.shape[-1:], p[name + ".weight"], p[name + ".bias"])


def logits(text):
    x = p["wte.weight"][text] + p["wpe.weight"][: len(text)]
    for block in (f"h.{layer}." for layer in range(shape["layers"])):
        qkv = linear(norm(x, block + "ln_1"), block + "attn.c_attn").chunk(3, dim=-1)
        q, k, v = (t.unflatten(-1, (shape["heads"], -1)).transpose(0, 1) for t in qkv)
        attended = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(0, 1).flatten(1)
        x = x + linear(attended, block + "attn.c_proj")
        wide = F.gelu(linear(norm(x, block + "ln_2"), block + "mlp.c_fc"), approximate="tanh")
        x = x + linear(wide, block + "mlp.c_proj")
    return norm(x, "ln_f") @ p["wte.weight"].T


text = torch.tensor(list(Path(sys.argv[2]).read_bytes()))
context = shape["context"]
windows = [text[start : start + context + 1] for start in range(0, len(text) - 1, context)]
loss = sum(F.cross_entropy(logits(w[:-1]), w[1:], reduction="sum") for w in windows) / max(len(text) - 1, 1)
print(json.dumps({"loss": float(loss), "next": logits(text[-context:])[-1].tolist()}))
