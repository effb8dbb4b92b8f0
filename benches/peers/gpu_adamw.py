"""PyTorch's fused AdamW on 64 Mi parameters: 28 bytes a parameter are read and written.

The one argument is the index of the GPU.
"""

import json
import statistics
import sys

import torch

ELEMS = 64 << 20
BYTES_PER_ELEM = 28

device = torch.device("cuda", int(sys.argv[1]))
torch.cuda.set_device(device)
torch.manual_seed(1)
parameter = torch.nn.Parameter(torch.randn(ELEMS, device=device))
parameter.grad = torch.randn(ELEMS, device=device)
optimizer = torch.optim.AdamW([parameter], lr=1e-3, betas=(0.9, 0.95), weight_decay=0.1, fused=True)


def step():
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    start.record()
    optimizer.step()
    end.record()
    end.synchronize()
    return start.elapsed_time(end) / 1e3


for _ in range(3):
    step()
seconds = statistics.median(step() for _ in range(21))
print(
    json.dumps(
        {
            "torch": torch.__version__,
            "cuda": torch.version.cuda,
            "device": torch.cuda.get_device_name(device),
            "elems": ELEMS,
            "bytes_per_elem": BYTES_PER_ELEM,
            "microseconds": seconds * 1e6,
            "bytes_per_s": ELEMS * BYTES_PER_ELEM / seconds,
        }
    )
)
