"""Writes the golden files of hcrun-engine: losses, gradients and loss curves as PyTorch computes them.

    python scripts/golden/engine.py runtime/engine/testdata

Last run with Python 3.11, PyTorch 2.13.0, safetensors 0.8.0, on one CPU thread. Parameters and data come from
formulas that `runtime/engine/tests/golden.rs` repeats, so the files hold results only.
"""

import json
import math
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn

torch.set_num_threads(1)
torch.manual_seed(0)


def spread(index: int) -> float:
    """A number in [-0.5, 0.5) from an index, by Knuth's multiplicative hash."""
    return (index * 2654435761 % 2**32) / 2**32 - 0.5


def fill(model: nn.Module) -> None:
    """Parameter `i` in arena order is `0.4 * spread(i)`; scales of norms are one more."""
    index = 0
    for name, parameter in model.named_parameters():
        count = parameter.numel()
        values = torch.tensor([0.4 * spread(index + i) for i in range(count)], dtype=torch.float64)
        if ".ln_" in name and name.endswith("weight"):
            values += 1.0
        parameter.data.copy_(values.reshape(parameter.shape).to(torch.float32))
        index += count


class Block(nn.Module):
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.ln_1 = nn.LayerNorm(width)
        self.attn = nn.Module()
        self.attn.c_attn = nn.Linear(width, 3 * width)
        self.attn.c_proj = nn.Linear(width, width)
        self.ln_2 = nn.LayerNorm(width)
        self.mlp = nn.Module()
        self.mlp.c_fc = nn.Linear(width, 4 * width)
        self.mlp.c_proj = nn.Linear(4 * width, width)

    def forward(self, x):
        batch, length, width = x.shape
        q, k, v = self.attn.c_attn(self.ln_1(x)).split(width, dim=2)
        q, k, v = (t.view(batch, length, self.heads, -1).transpose(1, 2) for t in (q, k, v))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.attn.c_proj(y.transpose(1, 2).reshape(batch, length, width))
        return x + self.mlp.c_proj(F.gelu(self.mlp.c_fc(self.ln_2(x)), approximate="tanh"))


class Gpt(nn.Module):
    def __init__(self, layers: int, width: int, heads: int, context: int):
        super().__init__()
        self.transformer = nn.Module()
        self.transformer.wte = nn.Embedding(256, width)
        self.transformer.wpe = nn.Embedding(context, width)
        self.transformer.h = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.transformer.ln_f = nn.LayerNorm(width)

    def forward(self, tokens):
        x = self.transformer.wte(tokens) + self.transformer.wpe.weight[: tokens.shape[1]]
        for block in self.transformer.h:
            x = block(x)
        return self.transformer.ln_f(x) @ self.transformer.wte.weight.T


class Mlp(nn.Module):
    def __init__(self, widths: list[int]):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in zip(widths, widths[1:]))

    def forward(self, x):
        for layer in self.layers[:-1]:
            x = F.relu(layer(x))
        return self.layers[-1](x)


CONTEXT, SEQUENCES, ROWS, FEATURES, CLASSES = 8, 3, 10, 6, 3


def gpt_loss(model, step):
    """Summed loss of the batch of a step: bytes by a formula, targets one byte on."""
    count = SEQUENCES * CONTEXT
    text = [(97 + (i + 3 * step) * (i + 5) // 4 % 26) for i in range(count + 1)]
    inputs = torch.tensor(text[:-1]).view(SEQUENCES, CONTEXT)
    logits = model(inputs).view(count, 256)
    return F.cross_entropy(logits, torch.tensor(text[1:]), reduction="sum"), count


def mlp_rows(step):
    start = 1000 + step * ROWS * FEATURES
    values = torch.tensor([2 * spread(start + i) for i in range(ROWS * FEATURES)], dtype=torch.float64)
    return values.to(torch.float32).view(ROWS, FEATURES)


def class_loss(model, step):
    classes = torch.tensor([(row * row + step) % CLASSES for row in range(ROWS)])
    return F.cross_entropy(model(mlp_rows(step)), classes, reduction="sum"), ROWS


def value_loss(model, step):
    values = [3 * spread(7000 + step * ROWS + row) for row in range(ROWS)]
    targets = torch.tensor(values, dtype=torch.float64).to(torch.float32).view(ROWS, 1)
    return F.mse_loss(model(mlp_rows(step)), targets, reduction="sum"), ROWS


def gradients(model, loss_of):
    loss, _ = loss_of(model, 0)
    loss.backward()
    return loss.item(), {name: p.grad.clone() for name, p in model.named_parameters()}


def groups(model, decay):
    matrices = [p for p in model.parameters() if p.dim() > 1]
    others = [p for p in model.parameters() if p.dim() == 1]
    return [{"params": matrices, "weight_decay": decay}, {"params": others, "weight_decay": 0.0}]


def optimizer(name, model, rate, decay):
    parts = groups(model, decay)
    match name:
        case "sgd":
            return torch.optim.SGD(parts, lr=rate)
        case "momentum":
            return torch.optim.SGD(parts, lr=rate, momentum=0.9)
        case "nesterov":
            return torch.optim.SGD(parts, lr=rate, momentum=0.9, nesterov=True)
        case "adam":
            return torch.optim.Adam(parts, lr=rate, betas=(0.9, 0.95), eps=1e-8)
        case "adamw":
            return torch.optim.AdamW(parts, lr=rate, betas=(0.9, 0.95), eps=1e-8)


def cosine(step, peak, last, warmup, steps):
    if step < warmup:
        return peak * (step + 1) / warmup
    progress = (step - warmup) / (steps - warmup)
    return last + (peak - last) * 0.5 * (1 + math.cos(math.pi * progress))


def curve(model, name, loss_of, peak, clip):
    """Mean losses of 20 steps over four batches in turn, with 5 of warm-up, a cosine to a tenth, clipping and decay 0.1."""
    steps = optimizer(name, model, peak, 0.1)
    losses = []
    for step in range(20):
        for group in steps.param_groups:
            group["lr"] = cosine(step, peak, peak / 10, 5, 20)
        steps.zero_grad()
        loss, count = loss_of(model, step % 4)
        (loss / count).backward()
        nn.utils.clip_grad_norm_(model.parameters(), clip)
        steps.step()
        losses.append(loss.item() / count)
    return losses


def small_vector(name):
    """Parameters of a layer 3 to 2 after five steps of made-up gradients, decay 0.1."""
    model = Mlp([3, 2])
    fill(model)
    steps = optimizer(name, model, 0.05, 0.1)
    for step in range(5):
        index = 100 * (step + 1)
        for parameter in model.parameters():
            count = parameter.numel()
            values = torch.tensor([spread(index + i) for i in range(count)], dtype=torch.float64)
            parameter.grad = values.to(torch.float32).view(parameter.shape)
            index += count
        steps.step()
    return [x for p in model.parameters() for x in p.detach().flatten().tolist()]


def filled(model):
    fill(model)
    return model


def main():
    folder = Path(sys.argv[1])
    tiny_gpt = lambda: filled(Gpt(2, 16, 2, CONTEXT))
    class_mlp = lambda: filled(Mlp([FEATURES, 12, 7, CLASSES]))
    value_mlp = lambda: filled(Mlp([FEATURES, 12, 7, 1]))
    golden = {"torch": torch.__version__, "losses": {}, "curves": {}, "optimizers": {}}
    models = {"gpt": (tiny_gpt, gpt_loss), "class": (class_mlp, class_loss), "value": (value_mlp, value_loss)}
    for name, (model, loss_of) in models.items():
        golden["losses"][name], tensors = gradients(model(), loss_of)
        save_file(tensors, folder / f"{name}_gradient.safetensors")
    golden["curves"]["gpt"] = curve(tiny_gpt(), "adamw", gpt_loss, 3e-3, 1.0)
    golden["curves"]["class"] = curve(class_mlp(), "nesterov", class_loss, 0.1, 0.5)
    golden["curves"]["value"] = curve(value_mlp(), "adam", value_loss, 0.01, 1.0)
    for name in ["sgd", "momentum", "nesterov", "adam", "adamw"]:
        golden["optimizers"][name] = small_vector(name)
    (folder / "golden.json").write_text(json.dumps(golden, indent=1) + "\n")


main()
