"""One rank of PyTorch's DDP over Gloo, training the GPT of `cargo xtask bench train`.

    python ddp_gpt.py --settings FILE --rank N --world N --init URL --interface NAME --hook none|bf16

The settings are those of hcrun's job: shape, optimizer, learning rate of every step, and files with the
initial parameters and with the samples of every step, so that both sides compute the same updates. Rank 0
prints one JSON line at the end. A rank whose stdin closes ends at once: whoever started it is gone.

Time in exchange is from the moment at which backward hands the last gradient bucket to its all-reduce
(nothing is left to compute by then) to the return of backward.
"""

import argparse
import datetime
import json
import os
import platform
import threading
import time
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn
from torch.distributed.algorithms.ddp_comm_hooks import default_hooks
from torch.nn.parallel import DistributedDataParallel

HOOKS = {"none": default_hooks.allreduce_hook, "bf16": default_hooks.bf16_compress_hook}
# A rank that is lost must not let the others wait for long.
TIMEOUT = datetime.timedelta(seconds=120)


class Attention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.c_attn = nn.Linear(width, 3 * width)
        self.c_proj = nn.Linear(width, width)

    def forward(self, x):
        q, k, v = (t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in self.c_attn(x).chunk(3, dim=-1))
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.c_proj(mixed.transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.c_fc = nn.Linear(width, 4 * width)
        self.c_proj = nn.Linear(4 * width, width)

    def forward(self, x):
        return self.c_proj(F.gelu(self.c_fc(x), approximate="tanh"))


class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.ln_1, self.attn = nn.LayerNorm(width, eps=1e-5), Attention(width, heads)
        self.ln_2, self.mlp = nn.LayerNorm(width, eps=1e-5), Mlp(width)

    def forward(self, x):
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class Gpt(nn.Module):
    """The head is the token embedding; names are GPT-2's, as in a checkpoint of hcrun."""

    def __init__(self, layers, width, heads, context, vocab):
        super().__init__()
        parts = {"wte": nn.Embedding(vocab, width), "wpe": nn.Embedding(context, width)}
        parts["h"] = nn.ModuleList(Block(width, heads) for _ in range(layers))
        parts["ln_f"] = nn.LayerNorm(width, eps=1e-5)
        self.transformer = nn.ModuleDict(parts)

    def forward(self, inputs, targets):
        t = self.transformer
        x = t["wte"](inputs) + t["wpe"].weight[: inputs.shape[1]]
        for block in t["h"]:
            x = block(x)
        logits = F.linear(t["ln_f"](x), t["wte"].weight)
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


class Exchange:
    """Notes when the last bucket of a step was handed to a communication hook."""

    def __init__(self, hook):
        self.all_reduce = HOOKS[hook]
        self.handed_over = 0.0

    def hook(self, group, bucket):
        if bucket.is_last():
            self.handed_over = time.perf_counter()
        return self.all_reduce(group, bucket)


def load_parameters(model, path, segments):
    arena = torch.from_numpy(np.fromfile(path, dtype="<f4"))
    state = {s["name"]: arena[s["offset"] :][: int(np.prod(s["shape"]))].view(s["shape"]) for s in segments}
    model.load_state_dict(state)


def optimizer_of(model, train):
    matrices = [p for p in model.parameters() if p.dim() > 1]
    others = [p for p in model.parameters() if p.dim() <= 1]
    groups = [
        {"params": matrices, "weight_decay": train["weight_decay"]},
        {"params": others, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, betas=tuple(train["betas"]), eps=train["epsilon"], fused=True)


def interface_bytes(name):
    folder = Path("/sys/class/net") / name / "statistics"
    return [int((folder / counter).read_text()) for counter in ("tx_bytes", "rx_bytes")]


def train(settings, rank, world, exchange, interface):
    spec = settings["train"]
    model = Gpt(**settings["model"])
    load_parameters(model, settings["parameters"], settings["segments"])
    parameters = sum(p.numel() for p in model.parameters())
    optimizer = optimizer_of(model, spec)
    ddp = DistributedDataParallel(model, bucket_cap_mb=settings["bucket_mib"], gradient_as_bucket_view=True)
    ddp.register_comm_hook(dist.group.WORLD, exchange.hook)

    shape = (len(settings["learning_rates"]), spec["batch"], settings["model"]["context"] + 1)
    samples = np.fromfile(settings["samples"], dtype=np.uint8).reshape(shape)
    part = slice(spec["batch"] * rank // world, spec["batch"] * (rank + 1) // world)
    losses, times = [], {name: [] for name in ("step_s", "compute_s", "exchange_s", "update_s")}
    dist.barrier()
    before = interface_bytes(interface)
    for step, rate in enumerate(settings["learning_rates"]):
        start = time.perf_counter()
        batch = torch.from_numpy(samples[step, part].astype(np.int64))
        loss = ddp(batch[:, :-1], batch[:, 1:])
        loss.backward()
        exchanged = time.perf_counter()
        if spec["clip"] > 0:
            nn.utils.clip_grad_norm_(model.parameters(), spec["clip"], foreach=True)
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(loss.detach())
        end = time.perf_counter()
        times["step_s"].append(end - start)
        times["compute_s"].append(exchange.handed_over - start)
        times["exchange_s"].append(exchanged - exchange.handed_over)
        times["update_s"].append(end - exchanged)
    dist.barrier()
    sent, received = (after - first for after, first in zip(interface_bytes(interface), before))

    losses = torch.stack(losses)
    dist.all_reduce(losses)
    return {
        "torch": torch.__version__,
        "python": platform.python_version(),
        "parameters": parameters,
        "losses": (losses / world).tolist(),
        "interface_sent_bytes": sent,
        "interface_received_bytes": received,
        **times,
    }


def end_with_stdin():
    while os.read(0, 4096):
        pass
    os._exit(1)


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--settings", required=True)
    arguments.add_argument("--rank", type=int, required=True)
    arguments.add_argument("--world", type=int, required=True)
    arguments.add_argument("--init", required=True)
    arguments.add_argument("--interface", required=True)
    arguments.add_argument("--hook", choices=HOOKS, required=True)
    a = arguments.parse_args()

    threading.Thread(target=end_with_stdin, daemon=True).start()
    torch.set_num_threads(1)
    os.environ["GLOO_SOCKET_IFNAME"] = a.interface
    dist.init_process_group("gloo", init_method=a.init, rank=a.rank, world_size=a.world, timeout=TIMEOUT)
    settings = json.loads(Path(a.settings).read_text())
    results = train(settings, a.rank, a.world, Exchange(a.hook), a.interface)
    if a.rank == 0:
        print(json.dumps(results), flush=True)
    dist.destroy_process_group()
    # Autograd's threads, which have run the Python hook, may abort an interpreter that winds down.
    os._exit(0)


if __name__ == "__main__":
    main()
