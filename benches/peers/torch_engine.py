"""PyTorch on one thread, measured in turns with hcrun by `cargo xtask bench engine --peer torch`.

    python torch_engine.py

Says {"torch": VERSION} and then obeys lines on stdin; each is answered by {"seconds": mean of one step}:

    gpt LAYERS WIDTH HEADS CONTEXT BATCH f32|bf16 STEPS    bf16: autocast
    mlp BATCH STEPS WIDTH...                               mean squared error if the last width is 1
    adamw ELEMS STEPS                                      the update alone

A step is forward, backward, norm, clip and fused AdamW. What a line sets up is kept for its next time. It
ends when stdin closes.
"""

import contextlib
import functools
import json
import os
import sys
import time

os.environ["OMP_NUM_THREADS"] = "1"

import torch
import torch.nn.functional as F
from torch import nn

CLIP = 1.0


class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.ln_1, self.ln_2 = nn.LayerNorm(width, eps=1e-5), nn.LayerNorm(width, eps=1e-5)
        self.c_attn, self.c_proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.wide, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def attend(self, x):
        q, k, v = (t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in self.c_attn(x).chunk(3, dim=-1))
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.c_proj(mixed.transpose(1, 2).flatten(2))

    def forward(self, x):
        x = x + self.attend(self.ln_1(x))
        return x + self.narrow(F.gelu(self.wide(self.ln_2(x)), approximate="tanh"))


class Gpt(nn.Module):
    """The head is the token embedding, as in hcrun's."""

    def __init__(self, layers, width, heads, context, vocab=256):
        super().__init__()
        self.wte, self.wpe = nn.Embedding(vocab, width), nn.Embedding(context, width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.ln_f = nn.LayerNorm(width, eps=1e-5)
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.normal_(parameter, std=0.02)

    def forward(self, inputs):
        x = self.wte(inputs) + self.wpe.weight[: inputs.shape[1]]
        for block in self.blocks:
            x = block(x)
        return F.linear(self.ln_f(x), self.wte.weight)


def steps_of(model, loss_of, context=contextlib.nullcontext):
    parameters = list(model.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=1e-3, weight_decay=0.01, fused=True)

    def step():
        with context():
            loss = loss_of(model)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, CLIP, foreach=True)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


@functools.cache
def gpt(layers, width, heads, context, batch, precision):
    text = torch.randint(256, (batch, context + 1))
    autocast = functools.partial(torch.autocast, "cpu", torch.bfloat16, enabled=precision == "bf16")

    def loss_of(model):
        logits = model(text[:, :-1])
        return F.cross_entropy(logits.flatten(0, 1).float(), text[:, 1:].flatten())

    return steps_of(Gpt(layers, width, heads, context), loss_of, autocast)


@functools.cache
def mlp(batch, *widths):
    layers = [nn.Linear(widths[0], widths[1])]
    for inputs, outputs in zip(widths[1:], widths[2:]):
        layers += [nn.ReLU(), nn.Linear(inputs, outputs)]
    features = torch.randn(batch, widths[0])
    if widths[-1] == 1:
        values = torch.randn(batch, 1)
        return steps_of(nn.Sequential(*layers), lambda model: F.mse_loss(model(features), values))
    classes = torch.randint(widths[-1], (batch,))
    return steps_of(nn.Sequential(*layers), lambda model: F.cross_entropy(model(features), classes))


@functools.cache
def adamw(elems):
    parameter = nn.Parameter(torch.randn(elems))
    parameter.grad = torch.randn(elems)
    return torch.optim.AdamW([parameter], lr=1e-3, weight_decay=0.01, fused=True).step


def measure(step, steps):
    # A few steps outside of the clock: the other side has had the caches since the last time.
    for _ in range(max(steps // 10, 1)):
        step()
    start = time.perf_counter()
    for _ in range(steps):
        step()
    return {"seconds": (time.perf_counter() - start) / steps}


def obey(line):
    match line.split():
        case ["gpt", *shape, precision, steps]:
            return measure(gpt(*map(int, shape), precision), int(steps))
        case ["mlp", batch, steps, *widths]:
            return measure(mlp(int(batch), *map(int, widths)), int(steps))
        case ["adamw", elems, steps]:
            return measure(adamw(int(elems)), int(steps))
        case _:
            sys.exit(f"`{line.strip()}` is no command; see the head of {__file__}")


def say(answer):
    print(json.dumps(answer), flush=True)


def main():
    torch.set_num_threads(1)
    torch.manual_seed(1)
    say({"torch": torch.__version__})
    for line in sys.stdin:
        say(obey(line))


if __name__ == "__main__":
    main()
