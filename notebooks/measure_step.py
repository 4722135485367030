"""Time a training step, alone and shared by two processes, and the all-reduce: for notebook 12.

    torchrun ... measure_step.py FILE NUM_ROUNDS

Process 0 writes to FILE, as JSON, the seconds of each kind of work: the median of each round. The
network is built without the helper module, so that the processes start quickly.
"""

import json
import os
import sys
import time
from functools import partial
from pathlib import Path
from statistics import median

import torch
import torch.distributed as dist
from torch import nn

# The kinds of work take turns in rounds. A busy moment then slows a few runs of every kind, which
# the medians ignore, and not all runs of one.
RUNS = 40  # of a kind of work in a round
RUNS_OF_LARGE_BATCHES = 8  # of 512 images and more: they take longer, and differ less

BATCH_SIZES = (64, 256, 512, 1024, 2048)  # of all processes together
NUM_GRADIENTS = (1, 100_000, 300_000, 717_210)  # of which the last is all of the network's


def main(path: Path, num_rounds: int) -> None:
    dist.init_process_group("gloo")
    work = kinds_of_work()
    seconds = {name: [] for name in work}
    for _ in range(num_rounds):
        for name in work:
            dist.barrier()  # all begin together
            needs_both = name.startswith(("together", "all-reduce"))
            if needs_both or is_first():  # the other waits while one works alone
                torch.set_num_threads(2 if name.startswith("two threads") else 1)
                seconds[name].append(measure(work[name], runs_of(name)))
    if is_first():
        path.write_text(json.dumps(seconds), encoding="utf-8")
    os._exit(0)  # a normal exit would abort if a thread of gloo's still holds a tensor


def is_first() -> bool:
    return dist.get_rank() == 0


def kinds_of_work() -> dict:
    """Return a function for each kind of work, by its name and its size."""
    hidden = [nn.ReLU(), nn.Dropout(0.25)]
    layers = [nn.Linear(784, 784), *hidden, nn.Linear(784, 128), *hidden, nn.Linear(128, 10)]
    model = nn.Sequential(*layers)
    # With a rate of 0 the weights stay as they are, and each step has as much to do as the first.
    # Otherwise the gradients of this one batch would vanish, and so small numbers are slow.
    optimizer = torch.optim.Adam(model.parameters(), lr=0.0, fused=True)
    work = {}
    for batch_size in BATCH_SIZES:
        work[f"alone {batch_size}"] = partial(training_step, model, optimizer, batch_size)
    work["update 1"] = optimizer.step  # one update of all weights
    if dist.get_world_size() == 2:
        for batch_size in BATCH_SIZES:
            work[f"two threads {batch_size}"] = work[f"alone {batch_size}"]
        shared_model = nn.parallel.DistributedDataParallel(model)
        for batch_size in BATCH_SIZES:
            half = batch_size // 2
            work[f"together {batch_size}"] = partial(training_step, shared_model, optimizer, half)
        for num in NUM_GRADIENTS:
            work[f"all-reduce {num}"] = partial(dist.all_reduce, torch.zeros(num))
    return work


def training_step(model: nn.Module, optimizer: torch.optim.Optimizer, num_images: int) -> None:
    images = torch.ones(num_images, 784)
    labels = torch.arange(num_images) % 10
    loss = nn.functional.cross_entropy(model(images), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def runs_of(name: str) -> int:
    large = tuple(f" {size}" for size in BATCH_SIZES if size >= 512)
    return RUNS_OF_LARGE_BATCHES if name.endswith(large) else RUNS


def measure(run, num_runs: int) -> float:
    """Return the median of the seconds that the runs take."""
    times = []
    for _ in range(num_runs):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return median(times)


if __name__ == "__main__":
    main(Path(sys.argv[1]), num_rounds=int(sys.argv[2]))
