"""One rank of Gloo's all-reduce as PyTorch calls it; reads commands from stdin, one a line.

    python gloo_allreduce.py --rank N --world N --init tcp://HOST:PORT --interface NAME

    allreduce BYTES WARMUP ITERATIONS     sums of f32, one after the other
    many BYTES COUNT WARMUP ITERATIONS    the same, with COUNT in flight at a time
    quit

All ranks must get the same commands. Each prints {"ready": true, ...} once it has found the others, and
a JSON line per command: seconds per iteration, user and system seconds of this process over the timed
iterations (also where it busily waits), largest resident size so far. It ends when stdin closes.
"""

import argparse
import json
import os
import resource
import sys
import time

os.environ["OMP_NUM_THREADS"] = "1"

import torch
import torch.distributed as dist


def cpu_s():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def measure(size, count, warmup, iterations):
    # Zeros stay zeros however often they are summed; values change no cost.
    buffers = [torch.zeros(size // 4) for _ in range(count)]
    seconds, cpu = [], 0.0
    for iteration in range(warmup + iterations):
        # No iteration counts the wait for a rank that came late to it.
        dist.barrier()
        start, cpu_start = time.perf_counter(), cpu_s()
        works = [dist.all_reduce(buffer, async_op=True) for buffer in buffers]
        for work in works:
            work.wait()
        if iteration >= warmup:
            seconds.append(time.perf_counter() - start)
            cpu += cpu_s() - cpu_start
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"bytes": size, "count": count, "seconds": seconds, "cpu_s": cpu, "max_rss_kib": most}


def obey(line):
    """False at the end; an unknown command is an error that names itself."""
    match line.split():
        case ["quit"]:
            return False
        case ["allreduce", size, warmup, iterations]:
            say(measure(int(size), 1, int(warmup), int(iterations)))
        case ["many", size, count, warmup, iterations]:
            say(measure(int(size), int(count), int(warmup), int(iterations)))
        case _:
            sys.exit(f"`{line.strip()}` is no command; see the head of {__file__}")
    return True


def say(answer):
    print(json.dumps(answer), flush=True)


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--rank", type=int, required=True)
    arguments.add_argument("--world", type=int, required=True)
    arguments.add_argument("--init", required=True)
    arguments.add_argument("--interface", required=True)
    a = arguments.parse_args()

    torch.set_num_threads(1)
    os.environ["GLOO_SOCKET_IFNAME"] = a.interface
    dist.init_process_group("gloo", init_method=a.init, rank=a.rank, world_size=a.world)
    say({"ready": True, "torch": torch.__version__})
    for line in sys.stdin:
        if not obey(line):
            break
    # Without this, ranks that end at different times complain about each other.
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
