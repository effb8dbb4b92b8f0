"""Training GPT-2 124M with PyTorch, eager and compiled: bf16 autocast, flash attention, fused AdamW.

Arguments: index of the GPU, sequences a step, steps. One line of JSON.
"""

import json
import sys
import time

import torch
from torch import nn
from torch.nn import functional

LAYERS, WIDTH, HEADS, CONTEXT, VOCABULARY = 12, 768, 12, 1024, 50304

device = torch.device("cuda", int(sys.argv[1]))
SEQUENCES, STEPS = int(sys.argv[2]), int(sys.argv[3])
torch.cuda.set_device(device)
torch.set_float32_matmul_precision("high")


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.c_attn, self.c_out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.c_fc, self.c_proj = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x):
        batch, length, _ = x.shape
        heads = [
            part.view(batch, length, HEADS, WIDTH // HEADS).transpose(1, 2)
            for part in self.c_attn(self.ln_1(x)).split(WIDTH, dim=2)
        ]
        mixed = functional.scaled_dot_product_attention(*heads, is_causal=True)
        x = x + self.c_out(mixed.transpose(1, 2).reshape(batch, length, WIDTH))
        return x + self.c_proj(functional.gelu(self.c_fc(self.ln_2(x)), approximate="tanh"))


class Gpt(nn.Module):
    def __init__(self):
        super().__init__()
        self.wte, self.wpe = nn.Embedding(VOCABULARY, WIDTH), nn.Embedding(CONTEXT, WIDTH)
        self.blocks, self.ln_f = nn.Sequential(*(Block() for _ in range(LAYERS))), nn.LayerNorm(WIDTH)
        nn.init.normal_(self.wte.weight, std=0.02)

    def forward(self, tokens, targets):
        x = self.wte(tokens) + self.wpe.weight
        logits = functional.linear(self.ln_f(self.blocks(x)), self.wte.weight)
        return functional.cross_entropy(logits.view(-1, VOCABULARY), targets.view(-1))


def tokens_per_s(compiled):
    torch.manual_seed(1)
    model = Gpt().to(device)
    step_of = torch.compile(model) if compiled else model
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    text = torch.randint(0, 256, (SEQUENCES, CONTEXT + 1), device=device)

    def step():
        with torch.autocast("cuda", torch.bfloat16):
            loss = step_of(text[:, :-1].contiguous(), text[:, 1:].contiguous())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    for _ in range(5):
        step()
    torch.cuda.synchronize(device)
    start = time.perf_counter()
    for _ in range(STEPS):
        step()
    torch.cuda.synchronize(device)
    return STEPS * SEQUENCES * CONTEXT / (time.perf_counter() - start)


print(
    json.dumps(
        {
            "torch": torch.__version__,
            "device": torch.cuda.get_device_name(device),
            "tokens_a_step": SEQUENCES * CONTEXT,
            "steps": STEPS,
            "eager_tokens_per_s": tokens_per_s(False),
            "compiled_tokens_per_s": tokens_per_s(True),
        }
    )
)
